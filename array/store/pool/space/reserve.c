/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks that are set aside for writes to the ends of disks. After a cut the first write to each chunk needs
 * a new one. A full pool may refuse most writes, but the partition tables must be written all the same. Else
 * a volume that VSS has hidden for a shadow copy stays hidden, and the copy cannot be imported beside its
 * original.
 *
 * Invariants:
 * - A reserve is a number (`left`). It is a part of pool_space.reserved_chunks, which no other allocation
 *   touches (alloc.c). It is in memory only: in LMDB and in the log the chunks are free, so a crash loses
 *   nothing.
 * - A write draws on it only when its allocation has failed. As long as there is room, the reserve stays
 *   whole.
 * - After a cut each end needs at most one chunk, taken by the first write there. Later writes find that
 *   chunk in place. So a reserve is enough for one cut: for the original before and after it, and for the
 *   copy.
 */
#include "array/store/pool/space/space.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define LAST_CHUNKS 2u /* a table at the end may begin in the last chunk but one */

_Static_assert(STORE_RESERVE_CHUNKS == 3 * (1 + LAST_CHUNKS), "before a cut, after it, the copy");

struct pool_reserve_member {
	struct list_node link; /* pool_disk.reserves */
	struct pool_reserve *reserve;
};

struct pool_reserve {
	struct pool_space *space;
	struct store_reserve *owner;
	struct list_node link; /* pool_space.reserves */
	uint64_t left;
	struct pool_waiter waiter;
	unsigned disks, count;                /* asked for; they and those that have joined */
	struct pool_reserve_member members[]; /* room for 2 * disks */
};

static void reserve_free(struct pool_reserve *r)
{
	for (unsigned i = 0; i < r->count; i++)
		list_remove(&r->members[i].link);
	list_remove(&r->waiter.link);
	list_remove(&r->link);
	r->space->reserved_chunks -= r->left;
	free(r);
}

static void reserve_step(struct pool_reserve *r)
{
	struct store_reserve *owner = r->owner;
	struct pool_space *s = r->space;
	uint64_t want = (uint64_t)r->disks * STORE_RESERVE_CHUNKS, room = pool_alloc_room(s);
	int err = 0;

	if (s->base->latched)
		err = -EROFS;
	else if (room < want && owner->at_hand)
		want = room;
	else if (room < want)
		err = pool_alloc_more(s);
	if (err == -EAGAIN) {
		pool_alloc_wait(s, &r->waiter);
		return;
	}
	if (err) {
		owner->priv = NULL;
		reserve_free(r);
	} else {
		r->left = want;
		s->reserved_chunks += want;
	}
	owner->done(owner, err);
}

static void woken(struct pool_waiter *w, int err)
{
	(void)err; /* latched: the step sees it, too */
	reserve_step(container_of(w, struct pool_reserve, waiter));
}

static void member_add(struct pool_reserve *r, struct store_disk *disk)
{
	struct pool_disk *d = pool_disk_of(disk);
	struct pool_reserve_member *m = &r->members[r->count++];

	assert(!d->pending);
	m->reserve = r;
	list_push_back(&d->reserves, &m->link);
}

void pool_reserve_begin(struct pool_space *s, struct store_reserve *owner)
{
	struct pool_reserve *r = calloc(1, sizeof(*r) + 2 * owner->count * sizeof(r->members[0]));

	owner->priv = r;
	if (!r) {
		owner->done(owner, -ENOMEM);
		return;
	}
	r->space = s;
	r->owner = owner;
	r->disks = owner->count;
	r->waiter.wake = woken;
	list_push_back(&s->reserves, &r->link);
	for (unsigned i = 0; i < owner->count; i++)
		member_add(r, owner->disks[i]);
	reserve_step(r);
}

void pool_reserve_join(struct store_reserve *owner, struct store_disk *d)
{
	struct pool_reserve *r = owner->priv;

	if (r->count < 2 * r->disks)
		member_add(r, d);
}

static void wake_called(struct pool_call *call)
{
	struct pool_space *s = container_of(call, struct pool_space, reserve_call);

	s->reserve_called = false;
	pool_alloc_wake(s, 0);
}

void pool_reserve_end(struct store_reserve *owner)
{
	struct pool_reserve *r = owner->priv;
	struct pool_space *s = r->space;

	owner->priv = NULL;
	reserve_free(r);
	if (list_empty(&s->alloc_waiters) || s->reserve_called)
		return;
	s->reserve_called = true; /* the waiters are woken later, not from inside the caller */
	s->reserve_call.call = wake_called;
	s->base->host->ops->call(s->base->host, &s->reserve_call);
}

static bool at_an_end(const struct pool_disk *d, uint64_t chunk)
{
	return chunk == 0 || chunk + LAST_CHUNKS > (d->size_bytes - 1) >> POOL_CHUNK_SHIFT;
}

bool pool_reserve_take(struct pool_space *s, struct pool_disk *d, uint64_t chunk, uint64_t *phys)
{
	if (list_empty(&d->reserves) || !at_an_end(d, chunk) || s->base->latched)
		return false;
	list_for_each (n, &d->reserves) {
		struct pool_reserve *r = container_of(n, struct pool_reserve_member, link)->reserve;

		if (r->left == 0)
			continue;
		if (pool_alloc_reserved(s, phys)) {
			*phys = 0;
			return false;
		}
		r->left--;
		return true;
	}
	return false;
}

void pool_reserves_destroy(struct pool_space *s)
{
	struct list_node *n;

	while ((n = s->reserves.head.next) != &s->reserves.head)
		reserve_free(container_of(n, struct pool_reserve, link));
}
