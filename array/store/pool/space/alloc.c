/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handing out chunks.
 *
 * grown_chunks - used_chunks >= reserved_chunks, always: what is set aside (reserve.c) is a number of free chunks, not
 * certain ones, and nobody else's allocation goes below it.
 */
#include "array/store/pool/space/space.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "array/store/pool/durable/refs.h"

/* The part of the pool that background work leaves free. */
#define SPARE_SHARE 64u

uint64_t pool_alloc_room(const struct pool_space *s)
{
	return s->grown_chunks - s->used_chunks - s->reserved_chunks;
}

static int take(struct pool_space *s, uint64_t *phys)
{
	*phys = pool_bit_find(s);
	assert(*phys);
	if (!pool_bit_set(s, *phys))
		return -ENOMEM;
	s->cursor = *phys + 1;
	return 0;
}

int pool_alloc_reserved(struct pool_space *s, uint64_t *phys)
{
	int err;

	assert(s->reserved_chunks > 0);
	err = take(s, phys);
	if (!err)
		s->reserved_chunks--;
	return err;
}

/* `keep` chunks stay free. */
static int alloc_above(struct pool_space *s, uint64_t keep, uint64_t *phys)
{
	uint64_t room = pool_alloc_room(s);

	if (room < pool_data_step(s) / 2)
		pool_data_grow(s);
	return room > keep ? take(s, phys) : pool_alloc_more(s);
}

int pool_alloc(struct pool_space *s, uint64_t *phys)
{
	return alloc_above(s, 0, phys);
}

static uint64_t spare_chunks(const struct pool_space *s)
{
	return s->super->capacity_chunks / SPARE_SHARE;
}

int pool_alloc_spare(struct pool_space *s, uint64_t *phys)
{
	return alloc_above(s, spare_chunks(s), phys);
}

bool pool_alloc_spare_room(const struct pool_space *s)
{
	return pool_alloc_room(s) > spare_chunks(s);
}

int pool_alloc_more(struct pool_space *s)
{
	pool_data_grow(s);
	if (s->growing)
		return -EAGAIN;
	if (s->base->latched)
		return -EROFS;
	if (s->base->closing) /* freed chunks stay where they are; a hydration that asks ends with it */
		return -ENOSPC;
	if (pool_frees_under_way(s)) {
		if (s->free_new.count)
			pool_ask_commit(s->base);
		return -EAGAIN;
	}
	if (pool_ask_may_free(s->base))
		return -EAGAIN;
	/* There may be room, but making it failed: the reason is that. */
	return s->grow_err && s->grow_err != -ENOSPC && s->grow_err != -EDQUOT ? s->grow_err : -ENOSPC;
}

/* ---- the whole -------------------------------------------------------------------------------------- */

void pool_space_init(struct pool_space *s, struct pool_base *base, const struct pool_super *super,
	struct pool_meta *meta, struct pool_map *map)
{
	s->base = base;
	s->super = super;
	s->meta = meta;
	s->map = map;
	list_init(&s->alloc_waiters);
	list_init(&s->reserves);
	list_init(&s->grace_waiters);
	list_init(&s->grace_running_waiters);
	pool_sums_init(&s->sums, base, super, s);
}

static int each_loose(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	(void)arg;
	(void)key;
	(void)value;
	(void)value_len;
	return intact && key_len == POOL_LOOSE_KEY_BYTES ? 0 : -EUCLEAN;
}

int pool_space_open(struct pool_space *s, MDB_txn *txn)
{
	int err = pool_refs_loose_count(s->meta, txn, &s->loose_count);

	if (!err)
		err = pool_refs_count(s->meta, txn, &s->refs_count);
	s->loose_likely = s->loose_count > 0;
	if (!err && s->meta->shares) /* what stands there is freed */
		err = pool_meta_all(s->meta, txn, POOL_TABLE_LOOSE, each_loose, NULL);
	if (!err)
		err = pool_meta_count(s->meta, txn, POOL_TABLE_MAP, &s->entries);
	if (!err)
		err = pool_bits_load(s, txn);
	return err ? err : pool_split_load(s, txn);
}

void pool_space_destroy(struct pool_space *s)
{
	for (uint64_t g = 0; s->groups && g < s->group_count; g++)
		free(s->groups[g]);
	free(s->groups);
	free(s->group_free);
	pool_split_destroy(s);
	free(s->free_new.phys);
	free(s->free_logged.phys);
	free(s->free_grace.phys);
	free(s->free_discard.phys);
	free(s->free_framed.phys);
	free(s->unshared.phys);
	pool_sums_destroy(&s->sums);
	pool_data_close(s);
}

bool pool_space_busy(const struct pool_space *s)
{
	return s->growing || s->discard_running;
}
