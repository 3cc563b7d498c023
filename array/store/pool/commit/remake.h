/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lost mirror is made anew while the pool is open. Every ten seconds its place is looked at; when it can be written,
 *
 *   1. its own stamp is cleared: from now on it is worth nothing, whatever comes;
 *   2. the checkpoint is held, so that the metadata stands still, and a worker copies it. The log must hold what comes meanwhile:
 *      when it fills, or memory does, the copy is given up, and tried again later;
 *   3. the checkpoint goes on, into both;
 *   4. no cycle begins any more; when both have every frame, the mirror's stamp is written, then the data's: it is current.
 *
 * Invariant: the stamp on the data says that there is a mirror only when 4 has ended. A crash before it leaves none.
 */
#ifndef UMBRA_POOL_REMAKE_H
#define UMBRA_POOL_REMAKE_H

#include "array/store/pool/base/base.h"

struct pool_commit;

enum pool_remake_phase {
	POOL_REMAKE_IDLE,
	POOL_REMAKE_OPENS,   /* 1 */
	POOL_REMAKE_HOLDS,   /* 2: a batch of the checkpoint is under way yet */
	POOL_REMAKE_COPIES,  /* 2 */
	POOL_REMAKE_FOLLOWS, /* 3 */
	POOL_REMAKE_STAMPS,  /* 4 */
};

struct pool_remake {
	struct pool_commit *commit;
	enum pool_remake_phase phase;
	struct pool_timer timer;
	struct pool_job job;
	bool stopped, armed;
	int given_up; /* why */
	int err, latch;
};

void pool_remake_later(struct pool_commit *c); /* the mirror is not there, though it is wanted */
void pool_remake_step(struct pool_commit *c);  /* a cycle or a batch has ended */
/* Something waits for the checkpoint: a copy gives way. */
void pool_remake_pressed(struct pool_commit *c);
bool pool_remake_busy(const struct pool_commit *c);
void pool_remake_stop(struct pool_commit *c);

#endif
