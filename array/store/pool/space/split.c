/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split chunks: a small write over what a copy holds takes a few blocks, not a chunk. Several entries of the map have blocks
 * of one chunk, none of them the same one.
 *
 * Invariants:
 * - Block n of an entry's chunk lies in block n of the chunk that it has, as ever: only who has which block is new. So for
 *   an entry any chunk will do where its blocks are free, and it can grow in place while those that it wants are. Writes
 *   to arbitrary places take all blocks alike, so chunks become full.
 * - A block of a split chunk is free (a bit here), or one entry's (pool_entry.held), or on the long way of what is freed.
 *   A chunk all of whose blocks are free is no split one: it goes on that way as a whole.
 * - LMDB's table `split` has the blocks that are used, as the log's records say. It follows those, not this.
 * - The metadata of a split chunk is larger than its share (an entry for each block, at worst): when the map has more entries
 *   than it was given room for, chunks are taken whole again.
 */
#include "array/store/pool/space/space.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "array/util/bytes.h"

#define LOOKED_MAX 4096u /* chunks, for several blocks; then a new one is taken */
#define FREE_FEW   512u  /* blocks, whatever is in use */

bool pool_may_split(const struct pool_space *s)
{
	uint64_t each = s->super->entries_each ? s->super->entries_each : POOL_ENTRIES_OLD;

	return s->meta->splits && s->entries < each * s->super->capacity_chunks;
}

static uint16_t *free_of(const struct pool_space *s, uint64_t phys)
{
	uint16_t *group = s->split_groups[phys / POOL_GROUP_CHUNKS];

	return group ? &group[phys % POOL_GROUP_CHUNKS] : NULL;
}

/* Room to note free blocks of the chunk. NULL: no memory. */
static uint16_t *free_make(struct pool_space *s, uint64_t phys)
{
	uint16_t **group = &s->split_groups[phys / POOL_GROUP_CHUNKS];

	if (!*group)
		*group = calloc(POOL_GROUP_CHUNKS, sizeof((*group)[0]));
	return *group ? &(*group)[phys % POOL_GROUP_CHUNKS] : NULL;
}

static void note_free(struct pool_space *s, uint64_t phys, uint16_t *free, uint16_t mask)
{
	assert(!(*free & mask));
	*free |= mask;
	s->split_open[phys / POOL_GROUP_CHUNKS] |= mask;
	s->split_free += (unsigned)__builtin_popcount(mask);
	for (uint16_t m = mask; m; m &= (uint16_t)(m - 1)) {
		uint64_t *from = &s->split_from[__builtin_ctz(m)];

		if (phys < *from)
			*from = phys;
	}
}

/* ---- taking ----------------------------------------------------------------------------------------- */

static void take(struct pool_space *s, uint16_t *free, uint16_t mask)
{
	*free &= (uint16_t)~mask;
	s->split_free -= (unsigned)__builtin_popcount(mask);
}

bool pool_split_has(const struct pool_space *s, uint64_t phys, uint16_t mask)
{
	const uint16_t *free = free_of(s, phys);

	return free && (*free & mask) == mask;
}

bool pool_split_take(struct pool_space *s, uint64_t phys, uint16_t mask)
{
	uint16_t *free = free_of(s, phys);

	if (!free || (*free & mask) != mask)
		return false;
	take(s, free, mask);
	return true;
}

/* The first chunk of the group, from `at` on, where all are free; 0: none. */
static uint64_t find_in(struct pool_space *s, uint64_t group, unsigned at, uint16_t mask)
{
	const uint16_t *free = s->split_groups[group];
	uint16_t open = 0;

	for (unsigned i = at; i < POOL_GROUP_CHUNKS; i++) {
		if ((free[i] & mask) == mask)
			return group * POOL_GROUP_CHUNKS + i;
		open |= free[i];
	}
	if (at == 0)
		s->split_open[group] = open;
	return 0;
}

static uint64_t find(struct pool_space *s, uint16_t mask)
{
	uint64_t end = s->group_count * POOL_GROUP_CHUNKS, from = 0, looked = 0;
	bool one = (mask & (mask - 1)) == 0;

	for (uint16_t m = mask; m; m &= (uint16_t)(m - 1)) {
		if (s->split_from[__builtin_ctz(m)] > from)
			from = s->split_from[__builtin_ctz(m)];
	}
	while (from < end && (one || looked < LOOKED_MAX)) {
		uint64_t group = from / POOL_GROUP_CHUNKS, found = 0;

		if (s->split_groups[group] && (s->split_open[group] & mask) == mask) {
			found = find_in(s, group, from % POOL_GROUP_CHUNKS, mask);
			looked += POOL_GROUP_CHUNKS - from % POOL_GROUP_CHUNKS;
		}
		looked++;
		if (one)
			s->split_from[__builtin_ctz(mask)] = found ? found : (group + 1) * POOL_GROUP_CHUNKS;
		if (found)
			return found;
		from = (group + 1) * POOL_GROUP_CHUNKS;
	}
	return 0;
}

bool pool_split_find(struct pool_space *s, uint16_t mask, uint64_t *phys)
{
	uint64_t found = find(s, mask);

	if (!found)
		return false;
	take(s, free_of(s, found), mask);
	*phys = found;
	return true;
}

uint16_t pool_split_best(struct pool_space *s, uint16_t mask, uint64_t *phys)
{
	uint64_t at = s->split_look;
	int most = 0, perfect = POOL_BLOCKS * __builtin_popcount(mask);
	uint16_t best = 0;

	for (unsigned looked = 0; looked < LOOKED_MAX && most < perfect; looked++) {
		uint64_t group = at / POOL_GROUP_CHUNKS;
		const uint16_t *free = group < s->group_count ? s->split_groups[group] : NULL;
		uint16_t has =
			free && (s->split_open[group] & mask) ? free[at % POOL_GROUP_CHUNKS] & mask : 0;
		int worth = has ? (POOL_BLOCKS + 1) * __builtin_popcount(has) -
					    __builtin_popcount(free[at % POOL_GROUP_CHUNKS])
				: 0;

		if (worth > most) {
			most = worth;
			best = has;
			*phys = at;
		}
		at = free ? at + 1 : (group + 1) * POOL_GROUP_CHUNKS;
		if (at >= s->group_count * POOL_GROUP_CHUNKS)
			at = 0;
	}
	s->split_look = at;
	return best;
}

int pool_split_alloc(struct pool_space *s, uint16_t mask, uint64_t *phys)
{
	uint16_t *free;
	int err;

	if (pool_split_find(s, mask, phys))
		return 0;
	err = pool_alloc(s, phys);
	if (err)
		return err;
	free = free_make(s, *phys);
	if (!free) {
		pool_bit_clear(s, *phys);
		*phys = 0;
		return -ENOMEM;
	}
	s->split_chunks++;
	note_free(s, *phys, free, (uint16_t)~mask);
	return 0;
}

bool pool_split_spare(const struct pool_space *s)
{
	uint64_t free = s->split_free + pool_frees_blocks(s), all = s->split_chunks * POOL_BLOCKS;
	uint64_t used = all > free ? all - free : 0;
	return free + 2 * POOL_BLOCKS <= (used / 4 > FREE_FEW ? used / 4 : FREE_FEW);
}

bool pool_split_freed(struct pool_space *s, uint64_t phys, uint16_t mask)
{
	uint16_t *free = free_make(s, phys);

	if (!free) /* lost until the next start; nothing else */
		return false;
	note_free(s, phys, free, mask);
	if (*free != POOL_ALL_BLOCKS)
		return false;
	take(s, free, POOL_ALL_BLOCKS);
	s->split_chunks--;
	return true;
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static int load_record(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct pool_space *s = arg;
	uint64_t first;

	if (!intact || key_len != 8 || value_len != POOL_SPLIT_BYTES ||
		get_be64(key) >= s->group_count * (POOL_GROUP_CHUNKS / POOL_SPLIT_CHUNKS))
		return -EUCLEAN;
	first = get_be64(key) * POOL_SPLIT_CHUNKS;
	for (unsigned i = 0; i < POOL_SPLIT_CHUNKS; i++) {
		uint16_t used = get_be16(value + (size_t)2 * i), *free;

		if (!used)
			continue;
		if (first + i >= s->grown_chunks || !pool_bit_get(s, first + i))
			return -EUCLEAN;
		s->split_chunks++;
		if (used == POOL_ALL_BLOCKS)
			continue;
		free = free_make(s, first + i);
		if (!free)
			return -ENOMEM;
		note_free(s, first + i, free, (uint16_t)~used);
	}
	return 0;
}

int pool_split_grow(struct pool_space *s, uint64_t count)
{
	uint16_t **groups = realloc(s->split_groups, count * sizeof(groups[0])), *open;

	if (!groups)
		return -ENOMEM;
	s->split_groups = groups;
	open = realloc(s->split_open, count * sizeof(open[0]));
	if (!open)
		return -ENOMEM;
	s->split_open = open;
	for (uint64_t g = s->split_count; g < count; g++) {
		groups[g] = NULL;
		open[g] = 0;
	}
	s->split_count = count;
	return 0;
}

int pool_split_load(struct pool_space *s, MDB_txn *txn)
{
	int err = pool_split_grow(s, s->group_count);

	for (unsigned i = 0; i < POOL_BLOCKS; i++)
		s->split_from[i] = s->group_count * POOL_GROUP_CHUNKS;
	if (err || !s->meta->splits)
		return err;
	return pool_meta_all(s->meta, txn, POOL_TABLE_SPLIT, load_record, s);
}

void pool_split_destroy(struct pool_space *s)
{
	for (uint64_t g = 0; g < s->split_count; g++)
		free(s->split_groups[g]);
	free(s->split_groups);
	free(s->split_open);
}
