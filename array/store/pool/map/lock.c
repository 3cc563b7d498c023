/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The range lock of a chunk: shared by whole-block writes that need nothing else of the chunk, exclusive for
 * partial writes, COMPARE AND WRITE, UNMAP, merges and moves. First in, first out, so that within a chunk
 * writes take effect in the order in which they were submitted (and so in that of their generations).
 * An I/O queues at all its chunks in one go: two I/Os can never wait for each other.
 */
#include "array/store/pool/map/lock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/pool/base/base.h"

static struct list *bucket(struct pool_locks *l, uint64_t branch, uint64_t chunk)
{
	uint64_t h = (chunk * UINT64_C(0x9e3779b97f4a7c15)) ^ (branch * UINT64_C(0xc2b2ae3d27d4eb4f));

	return &l->hash[(h >> 32) % POOL_LOCK_BUCKETS];
}

static struct pool_lock *find(struct pool_locks *l, uint64_t branch, uint64_t chunk)
{
	list_for_each (n, bucket(l, branch, chunk)) {
		struct pool_lock *lock = container_of(n, struct pool_lock, hash_link);

		if (lock->branch == branch && lock->chunk == chunk)
			return lock;
	}
	return NULL;
}

void pool_lock_enqueue(struct pool_locks *l, uint64_t branch, uint64_t chunk, struct pool_lock_wait *w)
{
	struct pool_lock *lock = find(l, branch, chunk);

	if (!lock) {
		struct list_node *n = list_pop(&l->free);

		lock = n ? container_of(n, struct pool_lock, hash_link) : pool_xrealloc(NULL, sizeof(*lock));
		memset(lock, 0, sizeof(*lock));
		lock->branch = branch;
		lock->chunk = chunk;
		list_init(&lock->queue);
		list_push_front(bucket(l, branch, chunk), &lock->hash_link);
	}
	w->lock = lock;
	list_push_back(&lock->queue, &w->link);
}

static void pump(struct pool_locks *l, struct pool_lock *lock)
{
	if (lock->pumping)
		return;
	lock->pumping = true;
	while (!list_empty(&lock->queue) && !lock->exclusive) {
		struct pool_lock_wait *w = container_of(lock->queue.head.next, struct pool_lock_wait, link);

		if (w->try_shared && w->try_shared(w)) {
			w->exclusive = false;
			lock->shared++;
		} else if (lock->shared == 0) {
			w->exclusive = true;
			lock->exclusive = true;
		} else {
			break;
		}
		list_remove(&w->link);
		w->granted(w); /* may end and release it at once */
	}
	lock->pumping = false;
	if (list_empty(&lock->queue) && !lock->exclusive && lock->shared == 0) {
		list_remove(&lock->hash_link);
		list_push_front(&l->free, &lock->hash_link);
	}
}

void pool_lock_pump(struct pool_locks *l, uint64_t branch, uint64_t chunk)
{
	struct pool_lock *lock = find(l, branch, chunk);

	if (lock)
		pump(l, lock);
}

bool pool_lock_idle(struct pool_locks *l, uint64_t branch, uint64_t chunk)
{
	const struct pool_lock *lock = find(l, branch, chunk);

	return !lock || (!lock->exclusive && lock->shared == 0 && list_empty(&lock->queue));
}

void pool_lock_release(struct pool_locks *l, struct pool_lock_wait *w)
{
	struct pool_lock *lock = w->lock;

	w->lock = NULL;
	if (w->exclusive) {
		assert(lock->exclusive);
		lock->exclusive = false;
	} else {
		assert(lock->shared > 0);
		lock->shared--;
	}
	pump(l, lock);
}

void pool_locks_init(struct pool_locks *l)
{
	for (unsigned i = 0; i < POOL_LOCK_BUCKETS; i++)
		list_init(&l->hash[i]);
	list_init(&l->free);
}

void pool_locks_destroy(struct pool_locks *l)
{
	struct list_node *n;

	while ((n = list_pop(&l->free)))
		free(container_of(n, struct pool_lock, hash_link));
}
