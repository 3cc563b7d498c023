/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast reclaim may go. While clients' I/O goes on it rests 19 times as long as it has worked, so that what it takes of
 * the machine, whatever that is (the disk, flushes, a processor, locks), is a twentieth at most, which leaves
 * room below a tenth for the checkpoints that follow. Nobody there, or somebody who waits for chunks, or hardly a chunk left: then
 * it does not rest.
 */
#ifndef UMBRA_POOL_PACE_H
#define UMBRA_POOL_PACE_H

#include "array/store/pool/pool.h"

struct pool_pace {
	struct pool *pool;
	bool resting, stopped;
	uint64_t since_ns;   /* the work began; 0: there is none */
	uint64_t ios;        /* of clients, by then */
	uint64_t discard_ns; /* spent on discards, by then */
	uint64_t before_ns;  /* worked before a pause */
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
