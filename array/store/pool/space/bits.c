/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which physical chunks are in use: bitmaps per 1,024 chunks in memory (LMDB's follow the log's records, not these),
 * and those who wait for a chunk.
 */
#include "array/store/pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "array/util/bytes.h"

bool pool_bit_get(const struct pool *p, uint64_t phys)
{
	const uint64_t *g = p->groups[phys / POOL_GROUP_CHUNKS];
	unsigned at = phys % POOL_GROUP_CHUNKS;

	return g && (g[at / 64] >> (at % 64) & 1);
}

bool pool_bit_set(struct pool *p, uint64_t phys)
{
	uint64_t **g = &p->groups[phys / POOL_GROUP_CHUNKS];
	unsigned at = phys % POOL_GROUP_CHUNKS;

	if (!*g && !(*g = calloc(POOL_GROUP_CHUNKS / 64, sizeof(uint64_t))))
		return false;
	assert(!pool_bit_get(p, phys));
	(*g)[at / 64] |= UINT64_C(1) << (at % 64);
	p->group_free[phys / POOL_GROUP_CHUNKS]--;
	p->used_chunks++;
	return true;
}

void pool_bit_clear(struct pool *p, uint64_t phys)
{
	uint64_t *g = p->groups[phys / POOL_GROUP_CHUNKS];
	unsigned at = phys % POOL_GROUP_CHUNKS;

	assert(pool_bit_get(p, phys));
	g[at / 64] &= ~(UINT64_C(1) << (at % 64));
	p->group_free[phys / POOL_GROUP_CHUNKS]++;
	p->used_chunks--;
}

uint64_t pool_bit_find(const struct pool *p)
{
	uint64_t groups = (p->grown_chunks + POOL_GROUP_CHUNKS - 1) / POOL_GROUP_CHUNKS;
	uint64_t start = p->cursor < p->grown_chunks ? p->cursor : 0;

	for (uint64_t i = 0; i <= groups; i++) {
		uint64_t g = (start / POOL_GROUP_CHUNKS + i) % groups;
		unsigned at = i == 0 ? start % POOL_GROUP_CHUNKS : 0;

		if (!p->group_free[g])
			continue;
		for (; at < POOL_GROUP_CHUNKS; at++) {
			uint64_t phys = g * POOL_GROUP_CHUNKS + at;

			if (phys >= p->grown_chunks)
				break;
			if (!pool_bit_get(p, phys))
				return phys;
		}
	}
	return 0;
}

static int load_group(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct pool *p = arg;
	uint64_t group;

	if (!intact || key_len != 8 || value_len != POOL_GROUP_BYTES)
		return -EUCLEAN;
	group = get_be64(key);
	if (group >= p->group_count)
		return -EUCLEAN;
	for (unsigned i = 0; i < POOL_GROUP_CHUNKS; i++) {
		uint64_t phys = group * POOL_GROUP_CHUNKS + i;

		if (!(value[i / 8] >> (i % 8) & 1) || phys == 0)
			continue;
		if (phys >= p->grown_chunks) /* its data file has lost its end */
			return -EUCLEAN;
		if (!pool_bit_set(p, phys))
			return -ENOMEM;
	}
	return 0;
}

int pool_bits_load(struct pool *p)
{
	uint64_t capacity = p->super.capacity_chunks;
	MDB_txn *txn;
	int err;

	p->group_count = (capacity + POOL_GROUP_CHUNKS - 1) / POOL_GROUP_CHUNKS;
	p->groups = calloc(p->group_count, sizeof(p->groups[0]));
	p->group_free = malloc(p->group_count * sizeof(p->group_free[0]));
	if (!p->groups || !p->group_free)
		return -ENOMEM;
	for (uint64_t g = 0; g < p->group_count; g++)
		p->group_free[g] = POOL_GROUP_CHUNKS;
	if (!pool_bit_set(p, 0)) /* never handed out */
		return -ENOMEM;
	err = pool_meta_begin(&p->meta, true, &txn);
	if (err)
		return err;
	err = pool_meta_each(&p->meta, txn, POOL_TABLE_SPACE, load_group, p);
	mdb_txn_abort(txn);
	return err;
}

/* ---- who waits -------------------------------------------------------------------------------------- */

void pool_alloc_wait(struct pool *p, struct pool_waiter *w)
{
	if (p->map.dirty_count && pool_dirty_full(&p->map))
		pool_ask_commit(&p->base);
	list_push_back(&p->alloc_waiters, &w->link);
}

void pool_alloc_wake(struct pool *p, int err)
{
	pool_wake_all(&p->alloc_waiters, err);
}
