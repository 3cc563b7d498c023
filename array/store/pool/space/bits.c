/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which physical chunks are in use: bitmaps per 1,024 chunks in memory (LMDB's follow the log's records, not these),
 * and those who wait for a chunk.
 */
#include "array/store/pool/space/space.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "array/util/bytes.h"

bool pool_bit_get(const struct pool_space *s, uint64_t phys)
{
	const uint64_t *g = s->groups[phys / POOL_GROUP_CHUNKS];
	unsigned at = phys % POOL_GROUP_CHUNKS;

	return g && (g[at / 64] >> (at % 64) & 1);
}

bool pool_bit_set(struct pool_space *s, uint64_t phys)
{
	uint64_t **g = &s->groups[phys / POOL_GROUP_CHUNKS];
	unsigned at = phys % POOL_GROUP_CHUNKS;

	if (!*g && !(*g = calloc(POOL_GROUP_CHUNKS / 64, sizeof(uint64_t))))
		return false;
	assert(!pool_bit_get(s, phys));
	(*g)[at / 64] |= UINT64_C(1) << (at % 64);
	s->group_free[phys / POOL_GROUP_CHUNKS]--;
	s->used_chunks++;
	return true;
}

void pool_bit_clear(struct pool_space *s, uint64_t phys)
{
	uint64_t *g = s->groups[phys / POOL_GROUP_CHUNKS];
	unsigned at = phys % POOL_GROUP_CHUNKS;

	assert(pool_bit_get(s, phys));
	g[at / 64] &= ~(UINT64_C(1) << (at % 64));
	s->group_free[phys / POOL_GROUP_CHUNKS]++;
	s->used_chunks--;
}

uint64_t pool_bit_find(const struct pool_space *s)
{
	uint64_t groups = (s->grown_chunks + POOL_GROUP_CHUNKS - 1) / POOL_GROUP_CHUNKS;
	uint64_t start = s->cursor < s->grown_chunks ? s->cursor : 0;

	for (uint64_t i = 0; i <= groups; i++) {
		uint64_t g = (start / POOL_GROUP_CHUNKS + i) % groups;
		unsigned at = i == 0 ? start % POOL_GROUP_CHUNKS : 0;

		if (!s->group_free[g])
			continue;
		for (; at < POOL_GROUP_CHUNKS; at++) {
			uint64_t phys = g * POOL_GROUP_CHUNKS + at;

			if (phys >= s->grown_chunks)
				break;
			if (!pool_bit_get(s, phys))
				return phys;
		}
	}
	return 0;
}

static int load_group(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct pool_space *s = arg;
	uint64_t group;

	if (!intact || key_len != 8 || value_len != POOL_GROUP_BYTES)
		return -EUCLEAN;
	group = get_be64(key);
	if (group >= s->group_count)
		return -EUCLEAN;
	for (unsigned i = 0; i < POOL_GROUP_CHUNKS; i++) {
		uint64_t phys = group * POOL_GROUP_CHUNKS + i;

		if (!(value[i / 8] >> (i % 8) & 1) || phys == 0)
			continue;
		if (phys >= s->grown_chunks) { /* its data file has lost its end */
			s->beyond = phys < s->super->capacity_chunks ? phys : 0;
			return -EUCLEAN;
		}
		if (!pool_bit_set(s, phys))
			return -ENOMEM;
	}
	return 0;
}

int pool_bits_load(struct pool_space *s, MDB_txn *txn)
{
	uint64_t capacity = s->super->capacity_chunks;

	s->group_count = (capacity + POOL_GROUP_CHUNKS - 1) / POOL_GROUP_CHUNKS;
	s->groups = calloc(s->group_count, sizeof(s->groups[0]));
	s->group_free = malloc(s->group_count * sizeof(s->group_free[0]));
	if (!s->groups || !s->group_free)
		return -ENOMEM;
	for (uint64_t g = 0; g < s->group_count; g++)
		s->group_free[g] = POOL_GROUP_CHUNKS;
	if (!pool_bit_set(s, 0)) /* never handed out */
		return -ENOMEM;
	return pool_meta_all(s->meta, txn, POOL_TABLE_SPACE, load_group, s);
}

int pool_bits_grow(struct pool_space *s, uint64_t capacity_chunks)
{
	uint64_t count = (capacity_chunks + POOL_GROUP_CHUNKS - 1) / POOL_GROUP_CHUNKS;
	uint64_t **groups = realloc(s->groups, count * sizeof(groups[0]));
	uint16_t *group_free;

	if (!groups)
		return -ENOMEM;
	s->groups = groups;
	group_free = realloc(s->group_free, count * sizeof(group_free[0]));
	if (!group_free)
		return -ENOMEM;
	s->group_free = group_free;
	if (pool_split_grow(s, count))
		return -ENOMEM;
	for (; s->group_count < count; s->group_count++) {
		s->groups[s->group_count] = NULL;
		s->group_free[s->group_count] = POOL_GROUP_CHUNKS;
	}
	return 0;
}

/* ---- who waits -------------------------------------------------------------------------------------- */

void pool_alloc_wait(struct pool_space *s, struct pool_waiter *w)
{
	if (s->map->dirty_count && pool_dirty_full(s->map))
		pool_ask_commit(s->base);
	list_push_back(&s->alloc_waiters, &w->link);
	if (w->since)
		pool_patience_start(s->base);
}

void pool_alloc_wake(struct pool_space *s, int err)
{
	pool_wake_all(&s->alloc_waiters, err);
}
