/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handing out chunks.
 *
 * grown_chunks - used_chunks >= reserved_chunks, always: what is set aside (reserve.c) is a number of free chunks, not
 * certain ones, and nobody else's allocation goes below it.
 */
#include "array/store/pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* The part of the pool that background work leaves free. */
#define SPARE_SHARE 64u

uint64_t pool_alloc_room(const struct pool *p)
{
	return p->grown_chunks - p->used_chunks - p->reserved_chunks;
}

static int take(struct pool *p, uint64_t *phys)
{
	*phys = pool_bit_find(p);
	assert(*phys);
	if (!pool_bit_set(p, *phys))
		return -ENOMEM;
	p->cursor = *phys + 1;
	return 0;
}

int pool_alloc_reserved(struct pool *p, uint64_t *phys)
{
	int err;

	assert(p->reserved_chunks > 0);
	err = take(p, phys);
	if (!err)
		p->reserved_chunks--;
	return err;
}

/* `keep` chunks stay free. */
static int alloc_above(struct pool *p, uint64_t keep, uint64_t *phys)
{
	uint64_t room = pool_alloc_room(p);

	if (room < pool_data_step(p) / 2)
		pool_data_grow(p);
	return room > keep ? take(p, phys) : pool_alloc_more(p);
}

int pool_alloc(struct pool *p, uint64_t *phys)
{
	return alloc_above(p, 0, phys);
}

static uint64_t spare_chunks(const struct pool *p)
{
	return p->super.capacity_chunks / SPARE_SHARE;
}

int pool_alloc_spare(struct pool *p, uint64_t *phys)
{
	return alloc_above(p, spare_chunks(p), phys);
}

bool pool_alloc_spare_room(const struct pool *p)
{
	return pool_alloc_room(p) > spare_chunks(p);
}

int pool_alloc_more(struct pool *p)
{
	pool_data_grow(p);
	if (p->growing)
		return -EAGAIN;
	if (p->base.latched)
		return -EROFS;
	if (p->base.closing) /* freed chunks stay where they are; a hydration that asks ends with it */
		return -ENOSPC;
	if (pool_frees_under_way(p)) {
		if (p->free_new.count)
			pool_ask_commit(&p->base);
		return -EAGAIN;
	}
	return pool_ask_may_free(&p->base) ? -EAGAIN : -ENOSPC;
}

void pool_alloc_destroy(struct pool *p)
{
	for (uint64_t g = 0; p->groups && g < p->group_count; g++)
		free(p->groups[g]);
	free(p->groups);
	free(p->group_free);
	free(p->free_new.phys);
	free(p->free_logged.phys);
	free(p->free_grace.phys);
	free(p->free_discard.phys);
	free(p->cycle_frees.phys);
	free(p->unshared.phys);
}
