/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Of a check: the bitmaps of chunks and the records of split ones, against what the entries of the map have. Both follow from
 * the map, so a repair mends them; but while an entry is damaged, what may be its stays used.
 */
#include "array/store/pool/check.h"

#include <string.h>
#include "array/util/bytes.h"

/* ---- split chunks ---------------------------------------------------------------------------------- */

/* Which blocks of the chunk entries have; NULL: no group of it is split. */
static uint16_t *blocks_of(const struct check *c, uint64_t phys)
{
	uint16_t *group = c->blocks[phys / POOL_GROUP_CHUNKS];

	return group ? &group[phys % POOL_GROUP_CHUNKS] : NULL;
}

void pool_check_split(struct check *c, const struct pool_map_key *key, uint64_t phys, uint16_t mask)
{
	uint16_t **group = &c->blocks[phys / POOL_GROUP_CHUNKS], *have;

	if (!*group) {
		*group = pool_xrealloc(NULL, POOL_GROUP_CHUNKS * sizeof((*group)[0]));
		memset(*group, 0, POOL_GROUP_CHUNKS * sizeof((*group)[0]));
	}
	have = blocks_of(c, phys);
	if (bit(c->seen, phys) && (!*have || (*have & mask)))
		pool_finding(c, UNSAFE, "branch %llu chunk %llu: blocks of chunk %llu are used twice",
			(unsigned long long)key->branch, (unsigned long long)key->chunk,
			(unsigned long long)phys);
	if (!bit(c->seen, phys) || *have)
		*have |= mask;
	bit_set(c->seen, phys);
}

/* What the record has to say of a chunk. While an entry is damaged, blocks that may be its stay used. */
static uint16_t split_want(const struct check *c, uint64_t phys, uint16_t have)
{
	const uint16_t *blocks = blocks_of(c, phys);
	uint16_t want = blocks ? *blocks : 0;

	if (c->damaged_entry && (want || !bit(c->seen, phys)))
		want |= have;
	return want;
}

static int check_split_record(struct check *c, uint64_t index)
{
	static const uint8_t none[POOL_SPLIT_BYTES];
	uint8_t key[8], want[POOL_SPLIT_BYTES], have[POOL_SPLIT_BYTES] = {0};
	uint64_t first = index * POOL_SPLIT_CHUNKS;
	MDB_val k = {.mv_size = 8, .mv_data = key}, v;
	unsigned leaked = 0, missing = 0;
	bool same = true;
	int rc;

	put_be64(key, index);
	rc = mdb_get(c->txn, c->meta.table[POOL_TABLE_SPLIT], &k, &v);
	if (rc && rc != MDB_NOTFOUND)
		return pool_errno(rc);
	if (!rc && v.mv_size == POOL_SPLIT_BYTES + 4 &&
		pool_value_ok(c->super.id, POOL_TABLE_SPLIT, key, 8, v.mv_data, v.mv_size)) {
		memcpy(have, v.mv_data, sizeof(have));
	} else if (!rc) {
		pool_finding(c, pool_mended(c), "the record of the split chunks from %llu on is damaged",
			(unsigned long long)first);
		same = false;
		/* Nothing tells which blocks a damaged entry has. */
		if (c->damaged_entry)
			memset(have, 0xff, sizeof(have));
	}
	for (unsigned i = 0; i < POOL_SPLIT_CHUNKS; i++) {
		bool ours = first + i && first + i < c->super.capacity_chunks;
		uint16_t is = get_be16(have + (size_t)2 * i),
			 should = ours ? split_want(c, first + i, is) : 0;

		if (!same && ours && should == POOL_ALL_BLOCKS && !bit(c->seen, first + i))
			should = 0; /* unknown: the bitmap says whether it is used, then as a whole */
		if (should)         /* the bitmap says so, too, then */
			bit_set(c->seen, first + i);
		put_be16(want + (size_t)2 * i, should);
		leaked += same ? (unsigned)__builtin_popcount(is & ~should) : 0;
		missing += same ? (unsigned)__builtin_popcount(should & ~is) : 0;
	}
	if (leaked)
		pool_finding(c, pool_mended(c),
			"%u blocks of split chunks from %llu on are marked as used, but nothing uses them",
			leaked, (unsigned long long)first);
	if (missing)
		pool_finding(c, pool_mended(c),
			"%u blocks of split chunks from %llu on are in use, but marked as free", missing,
			(unsigned long long)first);
	if (!c->repair || (same && !leaked && !missing))
		return 0;
	if (memcmp(want, none, sizeof(none)) == 0)
		return pool_meta_del(&c->meta, c->txn, POOL_TABLE_SPLIT, key, 8);
	return pool_meta_put(&c->meta, c->txn, POOL_TABLE_SPLIT, key, 8, want, POOL_SPLIT_BYTES);
}

static bool split_true(struct check *c, const MDB_val *k)
{
	return k->mv_size == 8 &&
	       get_be64(k->mv_data) < (c->super.capacity_chunks + POOL_SPLIT_CHUNKS - 1) / POOL_SPLIT_CHUNKS;
}

static int check_splits(struct check *c)
{
	uint64_t records = (c->super.capacity_chunks + POOL_SPLIT_CHUNKS - 1) / POOL_SPLIT_CHUNKS;
	int err = 0;

	if (!c->meta.splits)
		return 0;
	for (uint64_t i = 0; i < records && !err; i++)
		err = check_split_record(c, i);
	return err ? err
		   : pool_check_keys(c, POOL_TABLE_SPLIT, split_true,
			     "a record of split chunks is of chunks that the pool does not have");
}

/* ---- allocator ------------------------------------------------------------------------------------- */

struct group_count {
	unsigned leaked, missing, outside, beyond;
};

static void group_report(struct check *c, uint64_t first, const struct group_count *n)
{
	if (n->leaked)
		pool_finding(c, pool_mended(c),
			"%u chunks from %llu on are marked as used, but nothing uses them", n->leaked,
			(unsigned long long)first);
	if (n->outside)
		pool_finding(c, pool_mended(c),
			"%u chunks from %llu on are marked as used, but are none of the pool's", n->outside,
			(unsigned long long)first);
	if (n->missing)
		pool_finding(c, pool_mended(c), "%u chunks from %llu on are in use, but marked as free",
			n->missing, (unsigned long long)first);
	if (n->beyond)
		pool_finding(c, UNSAFE, "%u chunks from %llu on are in use, but data.%u ends before them",
			n->beyond, (unsigned long long)first,
			(unsigned)(c->grown_chunks / POOL_SEGMENT_CHUNKS));
}

/* What the bitmap has to say. */
static void group_want(struct check *c, uint64_t first, const uint8_t *have, uint8_t *want)
{
	struct group_count n = {0};

	for (unsigned i = 0; i < POOL_GROUP_CHUNKS; i++) {
		uint64_t phys = first + i;
		bool used = bit(c->seen, phys) || bit(c->loose, phys), marked = bit(have, i);

		if (phys >= c->super.capacity_chunks) {
			n.outside += marked;
			continue;
		}
		used = used || (marked && phys && c->damaged_entry);
		want[i / 8] |= (uint8_t)(used << (i % 8));
		n.leaked += marked && !used;
		n.missing += used && !marked;
		n.beyond += used && phys >= c->grown_chunks;
	}
	group_report(c, first, &n);
}

static int check_group(struct check *c, uint64_t group)
{
	uint8_t key[8], want[POOL_GROUP_BYTES] = {0}, have[POOL_GROUP_BYTES] = {0};
	uint64_t first = group * POOL_GROUP_CHUNKS;
	MDB_val k = {.mv_size = 8, .mv_data = key}, v;
	bool same = true;
	int rc;

	put_be64(key, group);
	rc = mdb_get(c->txn, c->meta.table[POOL_TABLE_SPACE], &k, &v);
	if (rc && rc != MDB_NOTFOUND)
		return pool_errno(rc);
	if (!rc && v.mv_size == POOL_SPACE_VALUE_BYTES &&
		pool_value_ok(c->super.id, POOL_TABLE_SPACE, key, 8, v.mv_data, v.mv_size)) {
		memcpy(have, v.mv_data, POOL_GROUP_BYTES);
	} else if (!rc) {
		pool_finding(
			c, pool_mended(c), "the bitmap of chunks %llu is damaged", (unsigned long long)first);
		same = false;
		/* Nothing tells which of them a damaged entry has. */
		for (unsigned i = 0; c->damaged_entry && i < POOL_GROUP_CHUNKS; i++)
			if (first + i < c->grown_chunks && first + i < c->super.capacity_chunks)
				have[i / 8] |= (uint8_t)(1u << (i % 8));
	}
	group_want(c, first, have, want);
	if (c->repair && !(same && memcmp(want, have, sizeof(want)) == 0))
		return pool_meta_put(&c->meta, c->txn, POOL_TABLE_SPACE, key, 8, want, POOL_GROUP_BYTES);
	return 0;
}

/* Bitmaps of chunks that the pool does not have. */
static bool group_true(struct check *c, const MDB_val *k)
{
	return k->mv_size == 8 &&
	       get_be64(k->mv_data) < (c->super.capacity_chunks + POOL_GROUP_CHUNKS - 1) / POOL_GROUP_CHUNKS;
}

int pool_check_space(struct check *c)
{
	uint64_t groups = (c->super.capacity_chunks + POOL_GROUP_CHUNKS - 1) / POOL_GROUP_CHUNKS;
	int err = check_splits(c);

	for (uint64_t g = 0; g < groups && !err; g++)
		err = check_group(c, g);
	return err ? err
		   : pool_check_keys(c, POOL_TABLE_SPACE, group_true,
			     "a bitmap is of chunks that the pool does not have");
}
