/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifying a pool that nobody has open: the log is applied inside an LMDB transaction, everything is
 * compared with everything in it (map, index, bitmaps, branches, disks, catalogue, to-dos, file sizes), and
 * the transaction is committed only to repair. What a repair mends: bitmaps and the indexes, which follow from
 * the map, and the next ids; and it gives up what comes after a damaged place of the log. What it does not touch:
 * values whose CRC is wrong; those need a backup.
 *
 * A chunk that an entry has, or may have, is never given back: a finding that hides one keeps what the bitmaps say, and
 * where they say nothing either, all of it counts as used. What is left is either SAFE, for the pool that is opened
 * answers with errors where it lies (decode_entry), or UNSAFE: then the repair shuts the pool, in the same
 * transaction, until one that finds nothing of the kind opens it again.
 */
#include "array/store/pool/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/pool/durable/digest.h"
#include "array/util/bytes.h"

#define LINES_MAX 50u

static void tell(struct check *c, unsigned percent)
{
	if (c->progress)
		c->progress(c->arg, percent);
	c->percent = percent;
}

static void step(struct check *c)
{
	unsigned percent = (unsigned)(++c->steps * 100 / c->steps_in_all);

	if (percent > c->percent && percent < 100)
		tell(c, percent);
}

/* Before the map is gone through. */
static int steps_begin(struct check *c)
{
	MDB_stat stat;
	int rc = mdb_stat(c->txn, c->meta.table[POOL_TABLE_MAP], &stat);

	if (rc)
		return pool_errno(rc);
	c->steps_in_all = (c->data ? 3 : 2) * stat.ms_entries + 1;
	tell(c, 0);
	return 0;
}

void pool_finding(struct check *c, enum outcome outcome, const char *format, ...)
{
	char line[256];
	size_t len;
	va_list args;

	if (outcome == MENDED)
		c->repaired++;
	else
		c->findings++;
	c->unsafe += outcome == UNSAFE;
	if (c->findings + c->repaired > LINES_MAX || !c->report)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	len = strlen(line);
	if (outcome == MENDED)
		snprintf(line + len, sizeof(line) - len, " (repaired)");
	c->report(c->arg, line);
	if (c->findings + c->repaired == LINES_MAX)
		c->report(c->arg, "there is more; only the first findings are shown");
}

/* ---- branches and disks ---------------------------------------------------------------------------- */

static struct check_branch *find_branch(struct check *c, uint64_t id)
{
	size_t lo = 0, hi = c->branch_count; /* LMDB gives them in order */

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (c->branches[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < c->branch_count && c->branches[lo].id == id ? &c->branches[lo] : NULL;
}

static int each_branch(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct check *c = arg;

	if (!intact || key_len != 8 || value_len != POOL_BRANCH_VALUE_BYTES - 4) {
		pool_finding(c, UNSAFE, "a branch record is damaged");
		return 0;
	}
	if (c->branch_count == c->branch_cap) {
		c->branch_cap = c->branch_cap ? 2 * c->branch_cap : 64;
		c->branches = pool_xrealloc(c->branches, c->branch_cap * sizeof(c->branches[0]));
	}
	c->branches[c->branch_count].id = get_be64(key);
	c->branches[c->branch_count].disk = 0;
	if (get_be64(key) >= c->branches_end)
		c->branches_end = get_be64(key) + 1;
	pool_branch_value_decode(value, &c->branches[c->branch_count++].value);
	return 0;
}

static int each_disk(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct check *c = arg;
	struct pool_disk_value v;
	struct check_branch *b;

	if (!intact || key_len != 8 || value_len != POOL_DISK_VALUE_BYTES - 4) {
		pool_finding(c, UNSAFE, "a disk record is damaged");
		return 0;
	}
	pool_disk_value_decode(value, &v);
	if (get_be64(key) >= c->disks_end)
		c->disks_end = get_be64(key) + 1;
	b = find_branch(c, v.branch);
	if (!b)
		pool_finding(c, UNSAFE, "disk %llu lies on branch %llu, which is missing",
			(unsigned long long)get_be64(key), (unsigned long long)v.branch);
	else if (b->disk)
		pool_finding(c, UNSAFE, "disks %llu and %llu lie on the same branch",
			(unsigned long long)b->disk, (unsigned long long)get_be64(key));
	else
		b->disk = get_be64(key);
	return 0;
}

static void check_branches(struct check *c)
{
	for (size_t i = 0; i < c->branch_count; i++) {
		const struct check_branch *b = &c->branches[i];
		const struct check_branch *parent;

		if (!b->value.parent)
			continue;
		parent = find_branch(c, b->value.parent);
		if (!parent)
			pool_finding(
				c, UNSAFE, "the parent of branch %llu is missing", (unsigned long long)b->id);
		else if (parent->id >= b->id || b->value.parent_gen == 0 ||
			 b->value.parent_gen >= parent->value.gen || b->value.gen <= b->value.parent_gen)
			pool_finding(c, UNSAFE,
				"branch %llu (generation %u, from %u of branch %llu at %u) does not fit its parent",
				(unsigned long long)b->id, b->value.gen, b->value.parent_gen,
				(unsigned long long)parent->id, parent->value.gen);
	}
}

/* ---- digests --------------------------------------------------------------------------------------- */

/* Of a small table: all of it, and of now. */
static int check_table(struct check *c, enum pool_table table,
	int (*each)(void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len,
		bool intact))
{
	bool derived = table == POOL_TABLE_SPACE || table == POOL_TABLE_LOOSE || table == POOL_TABLE_SPLIT;
	int err = pool_meta_all(&c->meta, c->txn, table, each, c);

	if (err != -EUCLEAN)
		return err;
	pool_finding(c, derived ? pool_mended(c) : UNSAFE, "records of the table %s are missing, or are old",
		pool_meta_table_name(table));
	return 0;
}

static int each_any(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	(void)arg;
	(void)key;
	(void)key_len;
	(void)value;
	(void)value_len;
	(void)intact;
	return 0;
}

/* Is one of the part's entries damaged? That is told of the entry. */
static bool part_damaged(struct check *c, const uint8_t *key)
{
	uint8_t first[POOL_MAP_KEY_BYTES] = {0};
	MDB_val k = {.mv_size = sizeof(first), .mv_data = first}, v;
	MDB_cursor *cursor;
	bool damaged = false;

	memcpy(first, key, 8);
	put_be64(first + 8, get_be64(key + 8) / POOL_DIGEST_CHUNKS * POOL_DIGEST_CHUNKS);
	if (mdb_cursor_open(c->txn, c->meta.table[POOL_TABLE_MAP], &cursor))
		return false;
	for (int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
		!rc && !damaged && k.mv_size >= 16 && pool_digest_same(POOL_TABLE_MAP, k.mv_data, key);
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT))
		damaged = !pool_value_ok(
			c->super.id, POOL_TABLE_MAP, k.mv_data, k.mv_size, v.mv_data, v.mv_size);
	mdb_cursor_close(cursor);
	return damaged;
}

/* Of the map: what is lost answers with errors, and its chunks are used. Of refs: they follow the map. */
static int part_wrong(void *arg, enum pool_table table, const uint8_t *key, const struct pool_digest *found)
{
	struct check *c = arg;
	size_t len = table == POOL_TABLE_MAP ? POOL_MAP_KEY_BYTES : 8;
	int mend = c->repair && found ? pool_digest_mend(&c->meta, c->txn, table, key, len, found) : 0;

	if (mend < 0)
		return mend;
	if (table == POOL_TABLE_REFS) {
		pool_finding(c, pool_mended(c),
			"entries of the index of shared chunks around %llu are missing, or are old",
			(unsigned long long)get_be64(key));
		return 0;
	}
	c->damaged_entry = true;
	if (found && part_damaged(c, key))
		return 0;
	pool_finding(c, mend ? MENDED : SAFE,
		"branch %llu: entries around chunk %llu are missing, or are old, or their digest is damaged",
		(unsigned long long)get_be64(key), (unsigned long long)get_be64(key + 8));
	return 0;
}

static int check_digests(struct check *c)
{
	int err;

	if (!c->meta.digests)
		return 0;
	err = pool_digest_parts(&c->meta, c->txn, part_wrong, c);
	if (!err)
		err = check_table(c, POOL_TABLE_SPACE, each_any);
	if (!err && c->meta.splits)
		err = check_table(c, POOL_TABLE_SPLIT, each_any);
	return err ? err : check_table(c, POOL_TABLE_LOOSE, each_any);
}

/* What a repair has changed, in the digests, too. */
static int digests_follow(struct check *c)
{
	static const enum pool_table derived[] = {POOL_TABLE_SPACE, POOL_TABLE_REFS, POOL_TABLE_LOOSE};
	int err = pool_digest_flush(&c->meta, c->txn);

	for (unsigned i = 0; i < 3 && !err; i++)
		err = pool_digest_rebuild(&c->meta, c->txn, derived[i]);
	if (!err && c->meta.splits)
		err = pool_digest_rebuild(&c->meta, c->txn, POOL_TABLE_SPLIT);
	return err;
}

/* ---- map and index --------------------------------------------------------------------------------- */

static int has_key(struct check *c, enum pool_table table, const void *key, size_t len)
{
	MDB_val k = {.mv_size = len, .mv_data = (void *)key}, v;
	int rc = mdb_get(c->txn, c->meta.table[table], &k, &v);

	return rc == 0 ? 1 : rc == MDB_NOTFOUND ? 0 : pool_errno(rc);
}

static void check_place(struct check *c, const struct pool_map_key *key, const struct pool_map_value *v)
{
	uint64_t phys = v->phys;
	bool shared = v->shared;
	bool beyond = phys >= c->super.capacity_chunks; /* such an entry is not believed */

	if (beyond || phys >= c->grown_chunks)
		pool_finding(c, beyond ? SAFE : UNSAFE,
			"branch %llu chunk %llu: chunk %llu lies beyond the data",
			(unsigned long long)key->branch, (unsigned long long)key->chunk,
			(unsigned long long)phys);
	if (beyond)
		return;
	if (v->split) {
		pool_check_split(c, key, phys, v->valid);
		return;
	}
	if (bit(c->seen, phys) && !(shared && bit(c->shared, phys)))
		pool_finding(c, UNSAFE, "branch %llu chunk %llu: chunk %llu is used twice",
			(unsigned long long)key->branch, (unsigned long long)key->chunk,
			(unsigned long long)phys);
	bit_set(c->seen, phys);
	if (shared)
		bit_set(c->shared, phys);
}

/* A shared entry is in the table `refs`. */
static int check_ref(struct check *c, const struct pool_map_key *key, uint64_t phys)
{
	uint8_t ref[POOL_REF_KEY_BYTES];
	int rc = 0;

	if (c->meta.shares) {
		pool_ref_key_encode(ref, phys, key);
		rc = has_key(c, POOL_TABLE_REFS, ref, sizeof(ref));
		if (rc)
			return rc < 0 ? rc : 0;
		if (c->repair)
			rc = pool_meta_put(&c->meta, c->txn, POOL_TABLE_REFS, ref, sizeof(ref), NULL, 0);
	}
	pool_finding(c, c->repair && c->meta.shares ? MENDED : UNSAFE,
		"branch %llu chunk %llu: missing in the index of shared chunks",
		(unsigned long long)key->branch, (unsigned long long)key->chunk);
	return rc;
}

static int each_entry(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct check *c = arg;
	struct pool_map_key k;
	struct pool_map_value v;
	const struct check_branch *b;
	uint8_t index[POOL_GEN_KEY_BYTES];
	int rc;

	step(c);
	if (!intact || key_len != POOL_MAP_KEY_BYTES || value_len != POOL_MAP_VALUE_BYTES - 4) {
		pool_finding(c, SAFE, "a map entry is damaged");
		c->damaged_entry = true;
		return 0;
	}
	pool_map_key_decode(key, &k);
	pool_map_value_decode(value, &v);
	b = find_branch(c, k.branch);
	if (k.branch >= c->branches_end && k.branch < UINT64_MAX)
		c->branches_end = k.branch + 1;
	if (!b)
		pool_finding(c, SAFE, "branch %llu chunk %llu: the branch is missing",
			(unsigned long long)k.branch, (unsigned long long)k.chunk);
	else if (k.gen == 0 || k.gen > b->value.gen)
		pool_finding(c, SAFE, "branch %llu chunk %llu: generation %u is from the future",
			(unsigned long long)k.branch, (unsigned long long)k.chunk, k.gen);
	if ((v.valid & v.zero) || (!v.valid && !v.zero) || (v.valid && !v.phys) || (!v.valid && v.phys) ||
		(v.split && (!v.valid || v.shared || !c->meta.splits)))
		pool_finding(c, SAFE, "branch %llu chunk %llu: the entry contradicts itself",
			(unsigned long long)k.branch, (unsigned long long)k.chunk);
	if (v.shared && !v.valid)
		pool_finding(c, SAFE, "branch %llu chunk %llu: the entry shares nothing",
			(unsigned long long)k.branch, (unsigned long long)k.chunk);
	if (v.phys)
		check_place(c, &k, &v);
	rc = v.shared ? check_ref(c, &k, v.phys) : 0;
	if (rc < 0)
		return rc;
	pool_gen_key_encode(index, &k);
	rc = has_key(c, POOL_TABLE_GEN, index, sizeof(index));
	if (rc < 0)
		return rc;
	if (rc == 0) {
		if (c->repair)
			rc = pool_meta_put(&c->meta, c->txn, POOL_TABLE_GEN, index, sizeof(index), NULL, 0);
		pool_finding(c, pool_mended(c), "branch %llu chunk %llu: missing in the index of generations",
			(unsigned long long)k.branch, (unsigned long long)k.chunk);
	}
	return rc < 0 ? rc : 0;
}

static int check_index(struct check *c)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = mdb_cursor_open(c->txn, c->meta.table[POOL_TABLE_GEN], &cursor), has = 0;

	if (rc)
		return pool_errno(rc);
	while (has >= 0 && !(rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT))) {
		uint8_t map_key[POOL_MAP_KEY_BYTES];
		struct pool_map_key key = {0};

		step(c);
		has = 0;
		if (k.mv_size == POOL_GEN_KEY_BYTES) {
			pool_gen_key_decode(k.mv_data, &key);
			pool_map_key_encode(map_key, &key);
			has = has_key(c, POOL_TABLE_MAP, map_key, sizeof(map_key));
		}
		if (has == 0) {
			if (c->repair && mdb_cursor_del(cursor, 0))
				has = -EIO;
			pool_finding(c, pool_mended(c),
				"branch %llu chunk %llu: in the index of generations only",
				(unsigned long long)key.branch, (unsigned long long)key.chunk);
		}
	}
	mdb_cursor_close(cursor);
	if (has < 0)
		return has;
	return rc == MDB_NOTFOUND ? 0 : pool_errno(rc);
}

/* ---- shared chunks --------------------------------------------------------------------------------- */

/* Does the map say what the key of `refs` says? */
static bool ref_true(struct check *c, const MDB_val *k)
{
	uint8_t key[POOL_MAP_KEY_BYTES];
	MDB_val map = {.mv_size = sizeof(key), .mv_data = key}, v;
	struct pool_map_value value;
	struct pool_map_key at;
	uint64_t phys;

	if (k->mv_size != POOL_REF_KEY_BYTES)
		return false;
	pool_ref_key_decode(k->mv_data, &phys, &at);
	pool_map_key_encode(key, &at);
	if (mdb_get(c->txn, c->meta.table[POOL_TABLE_MAP], &map, &v) || v.mv_size != POOL_MAP_VALUE_BYTES)
		return false;
	pool_map_value_decode(v.mv_data, &value);
	return value.shared && value.phys == phys;
}

/* Of a loose chunk: no entry holds it, and it is used until it has been freed. */
static bool loose_true(struct check *c, const MDB_val *k)
{
	uint64_t phys = k->mv_size == POOL_LOOSE_KEY_BYTES ? get_be64(k->mv_data) : 0;

	if (phys == 0 || phys >= c->super.capacity_chunks || bit(c->seen, phys))
		return false;
	bit_set(c->loose, phys);
	return true;
}

int pool_check_keys(struct check *c, enum pool_table table,
	bool (*is_true)(struct check *c, const MDB_val *k), const char *what)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = mdb_cursor_open(c->txn, c->meta.table[table], &cursor), err = 0;

	if (rc)
		return pool_errno(rc);
	while (!err && !(rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT))) {
		if (is_true(c, &k))
			continue;
		if (c->repair)
			err = pool_errno(mdb_cursor_del(cursor, 0));
		pool_finding(c, pool_mended(c), "%s", what);
	}
	mdb_cursor_close(cursor);
	return err ? err : rc == MDB_NOTFOUND ? 0 : pool_errno(rc);
}

static int check_shared(struct check *c)
{
	int err;

	if (!c->meta.shares || c->damaged_entry) /* nobody knows what that one shares */
		return 0;
	err = pool_check_keys(c, POOL_TABLE_REFS, ref_true, "a shared chunk is in its index only");
	return err ? err
		   : pool_check_keys(
			     c, POOL_TABLE_LOOSE, loose_true, "a chunk that is used waits to be freed");
}

/* ---- the rest -------------------------------------------------------------------------------------- */

static int each_record(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	(void)key;
	(void)value;
	(void)value_len;
	if (!intact || key_len == 0)
		pool_finding(arg, UNSAFE, "a record of the catalogue is damaged");
	return 0;
}

static int each_todo(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	(void)key;
	(void)value;
	(void)value_len;
	if (!intact || key_len != POOL_TODO_KEY_BYTES)
		pool_finding(arg, UNSAFE, "a record of the to-do list is damaged");
	return 0;
}

static int find_grown(struct check *c, const struct pool_options *options, struct fault *fault)
{
	for (unsigned i = 0; i < POOL_SEGMENTS_MAX; i++) {
		struct pool_file *f;
		char name[32];
		const char *what = name;
		uint64_t size = 0;
		int err;

		snprintf(name, sizeof(name), "data.%u", i);
		if (c->super.data_device)
			what = options->data_device;
		err = c->host->ops->file_open(c->host, what, POOL_FILE_READONLY, &f);
		if (err == -ENOENT && i > 0)
			return 0;
		if (err)
			return pool_data_fault(fault, err, what);
		err = c->host->ops->file_size(f, &size);
		if (err)
			err = pool_data_fault(fault, err, what);
		else if (c->super.data_device)
			err = pool_device_check(f, what, &c->super, fault);
		c->host->ops->file_close(f);
		if (err)
			return err;
		c->grown_chunks = (uint64_t)i * POOL_SEGMENT_CHUNKS + (size >> POOL_CHUNK_SHIFT);
		if (c->super.data_device || size >> POOL_CHUNK_SHIFT < POOL_SEGMENT_CHUNKS)
			return 0;
	}
	return 0;
}

/* An id that is taken must never be given to another. */
static int check_ids(struct check *c)
{
	bool low = false;

	if (c->state.next_branch < c->branches_end) {
		pool_finding(c, pool_mended(c), "branch %llu is beyond the next id",
			(unsigned long long)c->branches_end - 1);
		c->state.next_branch = c->branches_end;
		low = true;
	}
	if (c->state.next_disk < c->disks_end) {
		pool_finding(c, pool_mended(c), "disk %llu is beyond the next id",
			(unsigned long long)c->disks_end - 1);
		c->state.next_disk = c->disks_end;
		low = true;
	}
	return low && c->repair ? pool_meta_put_state(&c->meta, c->txn, &c->state) : 0;
}

/* ---- the data --------------------------------------------------------------------------------------- */

/* Who sees the chunk: a disk, or only copies of one that is gone. */
static void name_owner(struct check *c, const struct pool_map_key *key, char *out, size_t size)
{
	const struct check_branch *b = find_branch(c, key->branch);

	if (b && b->disk)
		snprintf(out, size, "disk %llu", (unsigned long long)b->disk);
	else
		snprintf(out, size, "branch %llu", (unsigned long long)key->branch);
}

static void data_damaged(void *arg, const struct pool_map_key *key, unsigned block, const char *where)
{
	uint64_t at = (key->chunk << POOL_CHUNK_SHIFT) + ((uint64_t)block << POOL_BLOCK_SHIFT);
	char owner[40];

	name_owner(arg, key, owner, sizeof(owner));
	pool_finding(arg, SAFE, "%s, generation %u: the block at LBA %llu is damaged (%s)", owner, key->gen,
		(unsigned long long)(at / STORE_BLOCK_BYTES), where);
}

static void data_unreadable(
	void *arg, const struct pool_map_key *key, const char *file, uint64_t offset, int err)
{
	char owner[40];

	name_owner(arg, key, owner, sizeof(owner));
	pool_finding(arg, SAFE, "%s: 64 KiB at LBA %llu cannot be read (%s at byte %llu: %s)", owner,
		(unsigned long long)((key->chunk << POOL_CHUNK_SHIFT) / STORE_BLOCK_BYTES), file,
		(unsigned long long)offset, strerror(-err));
}

static void data_step(void *arg)
{
	step(arg);
}

static int check_data(struct check *c)
{
	struct pool_check_data with = {.host = c->host,
		.super = &c->super,
		.data_device = c->data_device,
		.incarnation = c->incarnation,
		.grown_chunks = c->grown_chunks,
		.damaged = data_damaged,
		.unreadable = data_unreadable,
		.step = data_step,
		.arg = c};
	char line[200];
	int err = pool_check_data(&with, &c->meta, c->txn);

	if (err)
		return err;
	if (with.lost)
		pool_finding(c, SAFE,
			"%llu sectors of the files `sums` and `touched` are damaged: what they say is not used",
			(unsigned long long)with.lost);
	if ((with.unknown || with.unsure) && c->report) {
		snprintf(line, sizeof(line),
			"not compared: %llu of %llu blocks, which have no checksum (%llu), or were being written when the pool was last "
			"left (%llu)",
			(unsigned long long)(with.unknown + with.unsure), (unsigned long long)with.blocks,
			(unsigned long long)with.unknown, (unsigned long long)with.unsure);
		c->report(c->arg, line);
	}
	return 0;
}

/* What the array would say of it at its start. It refuses by itself what does not fit. */
static int check_catalogue(struct check *c)
{
	struct fault fault = {0};
	int err = 0;

	if (c->catalogue && !c->unsafe)
		err = pool_check_catalogue(&c->meta, c->txn, c->catalogue, &fault);
	if (err == -ENOMEM)
		return err;
	if (err)
		pool_finding(c, SAFE, "the catalogue: %s", fault.text);
	return 0;
}

static int check_all(struct check *c)
{
	uint64_t groups = (c->super.capacity_chunks + POOL_GROUP_CHUNKS - 1) / POOL_GROUP_CHUNKS;
	int err;

	c->seen = calloc(groups, POOL_GROUP_BYTES);
	c->shared = calloc(groups, POOL_GROUP_BYTES);
	c->loose = calloc(groups, POOL_GROUP_BYTES);
	c->blocks = calloc(groups, sizeof(c->blocks[0]));
	if (!c->seen || !c->shared || !c->loose || !c->blocks)
		return -ENOMEM;
	err = check_table(c, POOL_TABLE_BRANCH, each_branch);
	if (!err)
		err = check_table(c, POOL_TABLE_DISK, each_disk);
	if (!err)
		check_branches(c);
	if (!err)
		err = check_digests(c);
	if (!err)
		err = steps_begin(c);
	if (!err)
		err = pool_meta_each(&c->meta, c->txn, POOL_TABLE_MAP, each_entry, c);
	if (!err)
		err = check_index(c);
	if (!err)
		err = check_shared(c);
	if (!err)
		err = pool_check_space(c);
	if (!err)
		err = check_ids(c);
	if (!err)
		err = check_table(c, POOL_TABLE_CATALOGUE, each_record);
	if (!err)
		err = check_table(c, POOL_TABLE_TODO, each_todo);
	if (!err)
		err = check_catalogue(c);
	if (!err && c->data)
		err = check_data(c);
	tell(c, 100);
	return err;
}

/* A repair that leaves what is unsafe shuts the pool; one that leaves nothing of it opens it. */
static int check_shut(struct check *c)
{
	bool shut = c->unsafe > 0;

	if (c->state.shut && !shut)
		pool_finding(c, pool_mended(c), "the pool is shut since a repair that could not mend all");
	if (!c->repair || c->state.shut == shut)
		return 0;
	if (shut) {
		c->repaired++; /* to be written */
		if (c->report)
			c->report(c->arg,
				"the pool stays shut, so that no more is lost: restore what is named above from a backup of this pool, then repair again");
	}
	c->state.shut = shut;
	return pool_meta_put_state(&c->meta, c->txn, &c->state);
}

static int replay_and_check(struct check *c, struct fault *fault)
{
	struct pool_replay r = {0};
	struct pool_file *log;
	int err = c->host->ops->file_open(c->host, "log", POOL_FILE_READONLY | POOL_FILE_HOLD, &log);

	if (err == -EBUSY)
		return fault_set(fault, err,
			"a process that was killed still has writes of this pool under way: try again when its disk has answered");
	if (err)
		return fault_set(fault, -EUCLEAN,
			"the pool's file `log` is missing: restore it from a backup of this pool");
	err = pool_log_check(c->host, log, &c->super);
	if (err) {
		c->host->ops->file_close(log);
		return fault_set(fault, err == -EBADMSG ? -EUCLEAN : err,
			"the pool's file `log` is damaged or was cut short: restore it from a backup of this pool");
	}
	err = pool_meta_begin(&c->meta, false, &c->txn);
	if (!err)
		err = pool_meta_state(&c->meta, c->txn, &c->state);
	c->incarnation = c->state.incarnation;
	if (!err)
		err = pool_log_read(c->host, log, &c->super, &c->state, &r);
	if (!err && r.cut_short)
		pool_finding(c, pool_mended(c),
			"the log is damaged after frame %llu: what was flushed and set up after that is lost, and blocks may show what others wrote%s",
			(unsigned long long)r.state.applied_sequence,
			c->repair ? "" : "; restore a backup of this pool, or give it up by --repair");
	if (!err && r.meta_old)
		pool_finding(c, pool_mended(c),
			"the metadata is older than the log: what was flushed and set up since is lost, and blocks may show what others wrote%s",
			c->repair ? "" : "; restore a backup of this pool, or give it up by --repair");
	if (!err) {
		pool_replay_begin(&r);
		err = pool_meta_apply(&c->meta, c->txn, r.payloads, r.count, &r.state);
		c->state = r.state;
	}
	pool_replay_free(&r);
	c->host->ops->file_close(log);
	if (!err)
		err = check_all(c);
	if (!err)
		err = check_shut(c);
	if (!err && c->repaired)
		err = digests_follow(c);
	if (!err && c->repaired && (c->super.features_refuse & POOL_FEATURE_SUMS))
		err = pool_sums_carry(c->host, c->super.id, c->incarnation, c->state.incarnation);
	if (!err && c->repaired) {
		err = c->host->ops->meta_commit(c->host, c->txn);
		c->txn = NULL;
	}
	pool_meta_abort(c->txn);
	free(c->seen);
	free(c->shared);
	free(c->loose);
	for (uint64_t g = 0;
		c->blocks && g < (c->super.capacity_chunks + POOL_GROUP_CHUNKS - 1) / POOL_GROUP_CHUNKS; g++)
		free(c->blocks[g]);
	free(c->blocks);
	free(c->branches);
	if (err == -EUCLEAN || err == -EBADMSG)
		return fault_set(fault, -EUCLEAN,
			"the pool's log or metadata is damaged beyond repair: restore a backup of this pool");
	return err ? fault_set(fault, err,
			     "the pool cannot be checked (%s): look at the disk and the kernel's log",
			     strerror(-err))
		   : 0;
}

int pool_check_on(struct pool_host *host, const struct pool_options *options, bool repair,
	void (*report)(void *arg, const char *line), void *arg, struct fault *fault)
{
	struct check c = {.host = host,
		.repair = repair,
		.report = report,
		.progress = options->progress,
		.arg = arg,
		.catalogue = options->catalogue,
		.data = options->data,
		.data_device = options->data_device};
	int err = pool_read_super(host, &c.super, fault);

	if (!err)
		err = pool_super_usable(&c.super, fault);
	if (err)
		return err;
	if (c.super.data_device && !options->data_device)
		return fault_set(
			fault, -ENXIO, "the pool keeps its data on a device: name it with --data-device");
	if (!c.super.data_device && options->data_device)
		return fault_set(fault, -EINVAL,
			"the pool keeps its data in its directory, so %s is not looked at: leave out --data-device, or name the pool that was made with it",
			options->data_device);
	if (c.data && !(c.super.features_refuse & POOL_FEATURE_SUMS))
		return fault_set(fault, -ENOTSUP,
			"the pool keeps no checksums, so its data cannot be checked: `umbractl pool checksums PATH on` lets it keep some of what is written from then on");
	err = find_grown(&c, options, fault);
	if (err)
		return err;
	err = pool_meta_open(&c.meta, host, &c.super, POOL_META_CHECK, fault);
	if (err)
		return err;
	err = replay_and_check(&c, fault);
	pool_meta_close(&c.meta);
	return err ? err : (int)c.findings;
}
