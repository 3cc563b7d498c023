/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to-dos may give back, before reclaim has come to them: the chunks that were written again between the viewer that is gone
 * and the next one. Counted once for each, by a worker, from the index of generations; an upper bound.
 */
#ifndef UMBRA_POOL_PENDING_H
#define UMBRA_POOL_PENDING_H

#include "array/store/pool/pool.h"

struct pool_pending_item {
	uint64_t branch;
	uint32_t gen;             /* the to-do's */
	struct pool_map_key from; /* where the count goes on */
	uint32_t last;            /* up to this generation */
	uint64_t chunks;
	bool counted;
};

struct pool_pending {
	struct pool *pool;
	bool running, stopping, armed;
	struct pool_timer timer;
	struct pool_job job;
	struct pool_pending_item *items;
	size_t count, at;
};

void pool_pending_count(struct pool_pending *pending); /* there may be some to count: in a moment */
void pool_pending_stop(struct pool_pending *pending);
void pool_pending_free(struct pool_pending *pending); /* what it has; nothing is under way */
bool pool_pending_busy(const struct pool_pending *pending);
/* Chunks that deleted disks may give back: to-dos, and branches that nobody has. */
uint64_t pool_pending_chunks(struct pool *p);

#endif
