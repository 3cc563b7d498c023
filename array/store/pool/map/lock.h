/* SPDX-License-Identifier: Apache-2.0 */
/* The locks of chunks (lock.c says who holds one, and how). */
#ifndef UMBRA_POOL_LOCK_H
#define UMBRA_POOL_LOCK_H

#include <stdbool.h>
#include <stdint.h>
#include "array/util/list.h"

#define POOL_LOCK_BUCKETS 4096u

struct pool_locks {
	struct list hash[POOL_LOCK_BUCKETS];
	struct list free; /* locks that nobody has */
};

struct pool_lock_wait {
	struct list_node link;
	struct pool_lock *lock;
	bool exclusive; /* how it is held */
	/* May it be held shared, and is everything prepared for it, without waiting? NULL: never. */
	bool (*try_shared)(struct pool_lock_wait *w);
	void (*granted)(struct pool_lock_wait *w);
};

struct pool_lock {
	struct list_node hash_link;
	uint64_t branch, chunk;
	unsigned shared;
	bool exclusive, pumping;
	struct list queue;
};

void pool_locks_init(struct pool_locks *l);
void pool_locks_destroy(struct pool_locks *l); /* nobody holds one */

/* Queues w at the chunk's lock. Does not grant: pool_lock_pump does. */
void pool_lock_enqueue(struct pool_locks *l, uint64_t branch, uint64_t chunk, struct pool_lock_wait *w);
void pool_lock_pump(struct pool_locks *l, uint64_t branch, uint64_t chunk); /* no such lock: nothing to do */
void pool_lock_release(struct pool_locks *l, struct pool_lock_wait *w);
bool pool_lock_idle(
	struct pool_locks *l, uint64_t branch, uint64_t chunk); /* nobody holds it or waits for it */

#endif
