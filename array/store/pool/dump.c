/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pool that nobody has open holds, row by row. The log is applied inside an LMDB transaction that is
 * thrown away: so the rows are what the next start would find, and nothing changes. If the log cannot be
 * applied, that is said and the rows are LMDB's alone. Values whose CRC is wrong are said to be damaged.
 */
#include "array/store/pool/pool.h"

#include <stdio.h>
#include <string.h>
#include "array/util/bytes.h"

struct dump {
	struct pool_host *host;
	struct pool_super super;
	struct pool_meta meta;
	struct pool_state state;
	MDB_txn *txn;
	enum pool_table table; /* at hand */
	bool entries;          /* the map's, one by one */
	void (*row)(void *arg, const char *table, const struct pool_dump_field *fields, unsigned count);
	void *arg;
	/* the map of the branch at hand, and of all */
	uint64_t branch, branch_entries;
	uint64_t total, with_data, shared, split, zeros, damaged;
	uint64_t damaged_of[POOL_TABLES];
	uint64_t records[STORE_TABLE_COUNT], record_bytes[STORE_TABLE_COUNT];
	uint64_t used_chunks;
};

static struct pool_dump_field number(const char *name, uint64_t value)
{
	return (struct pool_dump_field){.name = name, .number = value};
}

static struct pool_dump_field text(const char *name, const char *value)
{
	return (struct pool_dump_field){.name = name, .text = value};
}

/* ---- the superblock and the log -------------------------------------------------------------------- */

static void dump_super(struct dump *d)
{
	char id[2 * POOL_ID_BYTES + 1];
	const struct pool_super *s = &d->super;

	for (unsigned i = 0; i < POOL_ID_BYTES; i++)
		snprintf(id + 2 * i, 3, "%02x", s->id[i]);
	d->row(d->arg, "pool",
		(struct pool_dump_field[]){text("id", id), number("version", s->version),
			number("features_refuse", s->features_refuse),
			number("features_data_readonly", s->features_data_readonly),
			number("features_meta_readonly", s->features_meta_readonly),
			text("data", s->data_device ? "device" : "files"),
			number("capacity_bytes", (s->capacity_chunks - 1) << POOL_CHUNK_SHIFT),
			number("chunk_bytes", POOL_CHUNK_BYTES), number("log_bytes", s->log_bytes)},
		9);
}

static void dump_log(struct dump *d, const char *state, size_t frames, uint64_t bytes)
{
	d->row(d->arg, "log",
		(struct pool_dump_field[]){text("state", state), number("frames_not_in_meta", frames),
			number("bytes_not_in_meta", bytes), number("incarnation", d->state.incarnation),
			number("sequence", d->state.applied_sequence),
			number("next_branch", d->state.next_branch), number("next_disk", d->state.next_disk)},
		7);
}

/* Brings the transaction to what the next start would find; in a new one without the log if that fails. */
static int apply_log(struct dump *d)
{
	struct pool_replay r = {0};
	struct pool_file *log;
	uint64_t bytes = 0;
	int err = pool_meta_state(&d->meta, d->txn, &d->state), bad;

	if (err)
		return err;
	bad = d->host->ops->file_open(d->host, "log", POOL_FILE_READONLY, &log);
	if (!bad) {
		bad = pool_log_check(d->host, log, &d->super);
		if (!bad)
			bad = pool_log_read(d->host, log, &d->super, &d->state, &r);
		d->host->ops->file_close(log);
	}
	for (size_t i = 0; !bad && i < r.count; i++)
		bytes += r.payloads[i].len;
	if (!bad && r.count)
		bad = pool_meta_apply(&d->meta, d->txn, r.payloads, r.count, &r.state);
	if (!bad)
		d->state = r.state;
	dump_log(d, bad || r.cut_short || r.meta_old ? "damaged" : "good", bad ? 0 : r.count, bytes);
	pool_replay_free(&r);
	if (!bad)
		return 0;
	pool_meta_abort(d->txn);
	d->txn = NULL;
	return pool_meta_begin(&d->meta, true, &d->txn);
}

/* ---- the tables ------------------------------------------------------------------------------------ */

static void dump_disk(struct dump *d, const uint8_t *key, const uint8_t *value)
{
	struct pool_disk_value v;

	pool_disk_value_decode(value, &v);
	d->row(d->arg, "disk",
		(struct pool_dump_field[]){number("id", get_be64(key)), number("branch", v.branch),
			number("size_bytes", v.size_bytes)},
		3);
}

static void dump_branch(struct dump *d, const uint8_t *key, const uint8_t *value)
{
	struct pool_branch_value v;

	pool_branch_value_decode(value, &v);
	d->row(d->arg, "branch",
		(struct pool_dump_field[]){number("id", get_be64(key)), number("generation", v.gen),
			number("parent", v.parent), number("parent_generation", v.parent_gen),
			number("blocks", v.blocks)},
		5);
}

static void dump_todo(struct dump *d, const uint8_t *key)
{
	d->row(d->arg, "todo",
		(struct pool_dump_field[]){
			number("branch", get_be64(key)), number("generation", get_be32(key + 8))},
		2);
}

static void dump_branch_map(struct dump *d)
{
	if (d->branch_entries && !d->entries)
		d->row(d->arg, "map",
			(struct pool_dump_field[]){
				number("branch", d->branch), number("entries", d->branch_entries)},
			2);
	d->branch_entries = 0;
}

static void dump_entry(struct dump *d, const uint8_t *key, const uint8_t *value)
{
	struct pool_map_key k;
	struct pool_map_value v;
	char valid[5], zero[5];

	pool_map_key_decode(key, &k);
	pool_map_value_decode(value, &v);
	if (k.branch != d->branch)
		dump_branch_map(d);
	d->branch = k.branch;
	d->branch_entries++;
	d->total++;
	d->with_data += v.phys != 0;
	d->shared += v.shared;
	d->split += v.split;
	d->zeros += v.zero != 0;
	if (!d->entries)
		return;
	snprintf(valid, sizeof(valid), "%04x", v.valid);
	snprintf(zero, sizeof(zero), "%04x", v.zero);
	d->row(d->arg, "map",
		(struct pool_dump_field[]){number("branch", k.branch), number("chunk", k.chunk),
			number("generation", k.gen), number("place", v.phys), text("valid", valid),
			text("zero", zero), number("shared", v.shared), number("split", v.split)},
		8);
}

static void count_record(struct dump *d, const uint8_t *key, size_t key_len, size_t value_len)
{
	if (key_len && key[0] < STORE_TABLE_COUNT) {
		d->records[key[0]]++;
		d->record_bytes[key[0]] += key_len - 1 + value_len;
	}
}

static const struct {
	size_t key, value; /* without the CRC; 0: any */
	const char *name;
} shapes[POOL_TABLES] = {
	[POOL_TABLE_DISK] = {8, POOL_DISK_VALUE_BYTES - 4, "disk"},
	[POOL_TABLE_BRANCH] = {8, POOL_BRANCH_VALUE_BYTES - 4, "branch"},
	[POOL_TABLE_TODO] = {POOL_TODO_KEY_BYTES, 0, "todo"},
	[POOL_TABLE_MAP] = {POOL_MAP_KEY_BYTES, POOL_MAP_VALUE_BYTES - 4, "map"},
	[POOL_TABLE_SPACE] = {8, POOL_GROUP_BYTES, "space"},
	[POOL_TABLE_CATALOGUE] = {0, 0, "catalogue"},
};

static int each(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct dump *d = arg;
	size_t want_key = shapes[d->table].key, want_value = shapes[d->table].value;

	if (!intact || (want_key && key_len != want_key) || (want_value && value_len != want_value)) {
		d->damaged++;
		d->damaged_of[d->table]++;
		return 0;
	}
	if (d->table == POOL_TABLE_DISK)
		dump_disk(d, key, value);
	else if (d->table == POOL_TABLE_BRANCH)
		dump_branch(d, key, value);
	else if (d->table == POOL_TABLE_TODO)
		dump_todo(d, key);
	else if (d->table == POOL_TABLE_MAP)
		dump_entry(d, key, value);
	else if (d->table == POOL_TABLE_CATALOGUE)
		count_record(d, key, key_len, value_len);
	for (unsigned i = 0; d->table == POOL_TABLE_SPACE && i < POOL_GROUP_BYTES; i++)
		d->used_chunks += (unsigned)__builtin_popcount(value[i]);
	return 0;
}

static void dump_totals(struct dump *d)
{
	static const char *const names[STORE_TABLE_COUNT] = {[STORE_TABLE_META] = "meta",
		[STORE_TABLE_LUN] = "lun",
		[STORE_TABLE_HOST] = "host",
		[STORE_TABLE_MAP] = "map",
		[STORE_TABLE_SET] = "set",
		[STORE_TABLE_RESERVATION] = "reservation"};

	for (unsigned i = 1; i < STORE_TABLE_COUNT; i++)
		d->row(d->arg, "catalogue",
			(struct pool_dump_field[]){text("table", names[i] ? names[i] : "?"),
				number("records", d->records[i]), number("bytes", d->record_bytes[i])},
			3);
	for (unsigned i = 0; i < POOL_TABLES; i++) {
		if (d->damaged_of[i])
			d->row(d->arg, "damaged",
				(struct pool_dump_field[]){
					text("table", shapes[i].name), number("values", d->damaged_of[i])},
				2);
	}
	d->row(d->arg, "total",
		(struct pool_dump_field[]){number("entries", d->total),
			number("entries_with_data", d->with_data), number("entries_shared", d->shared),
			number("entries_split", d->split), number("entries_with_zeros", d->zeros),
			number("chunks_used", d->used_chunks), number("damaged", d->damaged)},
		7);
}

static int dump_all(struct dump *d)
{
	static const enum pool_table order[] = {POOL_TABLE_DISK, POOL_TABLE_BRANCH, POOL_TABLE_TODO,
		POOL_TABLE_MAP, POOL_TABLE_SPACE, POOL_TABLE_CATALOGUE};
	int err;

	dump_super(d);
	err = apply_log(d);
	for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]) && !err; i++) {
		d->table = order[i];
		err = pool_meta_each(&d->meta, d->txn, order[i], each, d);
		if (d->table == POOL_TABLE_MAP)
			dump_branch_map(d);
	}
	if (!err)
		dump_totals(d);
	return err;
}

int pool_dump_on(struct pool_host *host, bool entries,
	void (*row)(void *arg, const char *table, const struct pool_dump_field *fields, unsigned count),
	void *arg, struct fault *fault)
{
	struct dump d = {.host = host, .entries = entries, .row = row, .arg = arg};
	int err = pool_read_super(host, &d.super, fault);

	if (err)
		return err;
	err = pool_meta_open(&d.meta, host, &d.super, POOL_META_CHECK, fault);
	if (err)
		return err;
	err = pool_meta_begin(&d.meta, false, &d.txn);
	if (!err)
		err = dump_all(&d);
	pool_meta_abort(d.txn);
	pool_meta_close(&d.meta);
	return err ? fault_set(fault, err,
			     "the pool cannot be read (%s): look at the disk and the kernel's log",
			     strerror(-err))
		   : 0;
}
