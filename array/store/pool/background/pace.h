/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast reclaim may go. It works for some milliseconds at a time and then rests, and what clients get done is counted in
 * both: the less they get done while it works, the longer it rests, so that in all they have 19 of 20 parts of what they have
 * without it, and a tenth is left for the checkpoints that follow. Clients that it is not in the way of, whatever they leave idle
 * (the disk, a processor), it rests for only as long as it takes to see that. Of clients of which little was seen the worst is
 * taken. Nobody there, or somebody who waits for chunks, or hardly a chunk left: then it does not rest.
 */
#ifndef UMBRA_POOL_PACE_H
#define UMBRA_POOL_PACE_H

#include "array/store/pool/pool.h"

/* What clients began, and in how long. */
struct pool_pace_side {
	uint64_t ios, ns;
};

struct pool_pace {
	struct pool *pool;
	bool resting, stopped;
	uint64_t since_ns;                    /* the work began; 0: there is none */
	uint64_t ios;                         /* of clients, by then */
	uint64_t discard_ns;                  /* spent on discards, by then */
	uint64_t before_ns;                   /* worked before a pause */
	uint64_t from_ios;                    /* of clients, when what is counted began */
	uint64_t before_ios;                  /* what clients began before a pause, while it worked */
	uint64_t rest_ns;                     /* the rest began */
	struct pool_pace_side worked, rested; /* lately */
	struct pool_timer timer;
	struct pool_call call;
	void (*resume)(void *arg);
	void *arg;
};

void pool_pace_begin(struct pool_pace *pace); /* it works, from now on or on and on */
void pool_pace_end(struct pool_pace *pace);   /* there is nothing to do */
void pool_pace_pause(
	struct pool_pace *pace); /* the same, but more will come soon: what was worked still counts then */
/* Would it rest now? */
bool pool_pace_due(struct pool_pace *pace);
/* False: it may go on. True: it rests; then `resume` is called. */
bool pool_pace_rest(struct pool_pace *pace, void (*resume)(void *arg), void *arg);
void pool_pace_hurry(struct pool_pace *pace); /* a rest ends: somebody waits */
/* The pool closes: nobody rests any more. `resume` of a rest under way is called if the work has an end to come to. */
void pool_pace_stop(struct pool_pace *pace, bool working);

#endif
