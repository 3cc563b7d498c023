/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The LMDB environment `meta`: catalogue, disks, branches, block map, index of generations, allocator, to-do
 * list. Everything here blocks and runs at open, at close or on worker threads. Every value's CRC covers
 * pool id, table and key. Never NOSYNC, NOMETASYNC, MAPASYNC or WRITEMAP.
 */
#include "array/store/pool/durable/meta.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "array/store/pool/durable/digest.h"
#include "array/store/pool/durable/pages.h"

static const char *const table_names[POOL_TABLES] = {
	[POOL_TABLE_STATE] = "state",
	[POOL_TABLE_CATALOGUE] = "catalogue",
	[POOL_TABLE_DISK] = "disk",
	[POOL_TABLE_BRANCH] = "branch",
	[POOL_TABLE_MAP] = "map",
	[POOL_TABLE_GEN] = "gen",
	[POOL_TABLE_SPACE] = "space",
	[POOL_TABLE_TODO] = "todo",
	[POOL_TABLE_REFS] = "refs",
	[POOL_TABLE_LOOSE] = "loose",
	[POOL_TABLE_DIGEST] = "digest",
	[POOL_TABLE_SPLIT] = "split",
};

const char *pool_meta_table_name(enum pool_table table)
{
	return table_names[table];
}

bool pool_meta_has(const struct pool_meta *m, enum pool_table table)
{
	switch (table) {
	case POOL_TABLE_REFS:
	case POOL_TABLE_LOOSE:
		return m->shares;
	case POOL_TABLE_DIGEST:
		return m->digests;
	case POOL_TABLE_SPLIT:
		return m->splits;
	default:
		return true;
	}
}

static const char state_key[] = "state";

int pool_errno(int lmdb)
{
	switch (lmdb) {
	case 0:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_MAP_FULL: /* unlike a full file system nothing that passes */
		return -EFBIG;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_VERSION_MISMATCH:
	case MDB_BAD_DBI:
	case MDB_INCOMPATIBLE:
		return -EUCLEAN;
	default:
		return lmdb > 0 ? -lmdb : -EIO;
	}
}

/* ---- single values ---------------------------------------------------------------------------------- */

int pool_meta_get(struct pool_meta *m, MDB_txn *txn, enum pool_table table, const void *key, size_t key_len,
	const uint8_t **value, size_t *len)
{
	MDB_val k = {.mv_size = key_len, .mv_data = (void *)key}, v;
	int rc = mdb_get(txn, m->table[table], &k, &v);

	if (rc)
		return pool_errno(rc);
	if (!pool_value_ok(m->id, table, key, key_len, v.mv_data, v.mv_size))
		return -EUCLEAN;
	*value = v.mv_data;
	*len = v.mv_size - 4;
	return 0;
}

int pool_meta_put(struct pool_meta *m, MDB_txn *txn, enum pool_table table, const void *key, size_t key_len,
	const void *value, size_t value_len)
{
	MDB_val k = {.mv_size = key_len, .mv_data = (void *)key};
	MDB_val v = {.mv_size = value_len + 4}, old;
	uint8_t *copy = malloc(value_len + 4);
	int rc;

	if (!copy)
		return -ENOMEM;
	if (value_len)
		memcpy(copy, value, value_len);
	pool_value_seal(m->id, table, key, key_len, copy, value_len + 4);
	v.mv_data = copy;
	rc = m->digests ? mdb_get(txn, m->table[table], &k, &old) : MDB_NOTFOUND;
	if (!rc || rc == MDB_NOTFOUND) {
		pool_digest_note(m, table, key, key_len, rc ? NULL : &old, copy, value_len + 4);
		rc = mdb_put(txn, m->table[table], &k, &v, 0);
	}
	free(copy);
	return pool_errno(rc);
}

int pool_meta_del(struct pool_meta *m, MDB_txn *txn, enum pool_table table, const void *key, size_t key_len)
{
	MDB_val k = {.mv_size = key_len, .mv_data = (void *)key}, old;
	int rc = m->digests ? mdb_get(txn, m->table[table], &k, &old) : 0;

	if (!rc && m->digests)
		pool_digest_note(m, table, key, key_len, &old, NULL, 0);
	if (!rc)
		rc = mdb_del(txn, m->table[table], &k, NULL);
	return rc == MDB_NOTFOUND ? 0 : pool_errno(rc);
}

int pool_meta_count(struct pool_meta *m, MDB_txn *txn, enum pool_table table, uint64_t *out)
{
	MDB_stat stat;
	int rc = mdb_stat(txn, m->table[table], &stat);

	*out = rc ? 0 : stat.ms_entries;
	return pool_errno(rc);
}

int pool_meta_state(struct pool_meta *m, MDB_txn *txn, struct pool_state *out)
{
	const uint8_t *value;
	size_t len;
	int err = pool_meta_get(m, txn, POOL_TABLE_STATE, state_key, sizeof(state_key), &value, &len);

	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	return pool_state_decode(value, len + 4, out) ? 0 : -EUCLEAN;
}

int pool_meta_put_state(struct pool_meta *m, MDB_txn *txn, const struct pool_state *state)
{
	uint8_t buf[POOL_STATE_SHUT_BYTES];
	size_t len = pool_state_encode(buf, state);

	return pool_meta_put(m, txn, POOL_TABLE_STATE, state_key, sizeof(state_key), buf, len - 4);
}

/* ---- open and close --------------------------------------------------------------------------------- */

/* The address space set aside (nothing else): far more than the map of a full pool takes, with room for known
 * zeros, which take no chunk and so are not bounded by the capacity. */
static size_t map_size(const struct pool_super *super)
{
	uint64_t each = super->features_refuse & POOL_FEATURE_SPLIT ? POOL_META_EACH_SPLIT : POOL_META_EACH;
	uint64_t bytes = super->capacity_chunks * 2 * each + (UINT64_C(1) << (sizeof(void *) == 8 ? 36 : 30));

	if (sizeof(void *) == 8 && bytes > (UINT64_C(1) << 42))
		bytes = UINT64_C(1) << 42;
	return (size_t)(bytes + 4095) / 4096 * 4096;
}

/*
 * LMDB reads through a mapping, and believes what it finds: a file that is shorter than its pages say, or a disk that
 * cannot read one, comes as SIGBUS, a damaged page as SIGSEGV or as a failed assertion of its own, in the middle of
 * anything. pages.c has looked before, but not at every leaf of a large file, and a disk may fail later. What is durable
 * stays so; nothing can go on. Signals that come from elsewhere take their course. Only async-signal-safe calls.
 */
static _Thread_local volatile sig_atomic_t transactions; /* of this thread */
static struct sigaction signals_before[2];               /* SIGBUS, SIGSEGV */

static void cannot_go_on(void)
{
	static const char text[] =
		"pool: the pool's metadata cannot be read: meta/data.mdb is damaged or shorter than it should be, or its "
		"disk fails. Look at the disk and the kernel's log, and at what `umbractl pool check` says; else bring the "
		"metadata back with `umbractl pool restore` from the mirror or a backup\n";
	ssize_t written = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)written;
	_exit(1);
}

static void mapping_failed(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (transactions > 0 || (number == SIGBUS && info->si_code == BUS_ADRERR))
		cannot_go_on();
	sigaction(number, &signals_before[number == SIGSEGV], NULL); /* it comes again */
}

static void assertion_failed(MDB_env *env, const char *text)
{
	(void)env;
	(void)text;
	cannot_go_on();
}

static void watch_mapping(void)
{
	struct sigaction action = {.sa_sigaction = mapping_failed, .sa_flags = SA_SIGINFO}, now;

	sigemptyset(&action.sa_mask);
	for (unsigned i = 0; i < 2; i++) {
		int number = i ? SIGSEGV : SIGBUS;

		sigaction(number, NULL, &now);
		if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == mapping_failed)
			continue;
		signals_before[i] = now;
		sigaction(number, &action, NULL);
	}
}

static int env_open(struct pool_meta *m, const char *path, const struct pool_super *super, unsigned flags)
{
	int rc = mdb_env_create(&m->env);

	if (rc)
		return pool_errno(rc);
	watch_mapping();
	mdb_env_set_assert(m->env, assertion_failed);
	rc = mdb_env_set_mapsize(m->env, map_size(super));
	if (!rc)
		rc = mdb_env_set_maxdbs(m->env, POOL_TABLES);
	if (!rc)
		rc = mdb_env_open(m->env, path, flags | MDB_NOTLS | MDB_NORDAHEAD, 0600);
	if (rc) {
		mdb_env_close(m->env);
		m->env = NULL;
	}
	return pool_errno(rc);
}

static int open_tables(struct pool_meta *m, bool create)
{
	MDB_txn *txn;
	int rc = pool_meta_begin(m, !create, &txn);

	if (rc)
		return rc;
	for (unsigned i = 0; i < POOL_TABLES && !rc; i++)
		if (pool_meta_has(m, i))
			rc = mdb_dbi_open(txn, table_names[i], create ? MDB_CREATE : 0, &m->table[i]);
	if (rc) {
		pool_meta_abort(txn);
		return rc == MDB_NOTFOUND ? -EUCLEAN : pool_errno(rc);
	}
	return pool_meta_commit(txn);
}

/* Room for LMDB to go on in when the file system below is full. */
static void reserve_room(const char *path, uint32_t bytes)
{
	char file[4200];
	int fd;

	snprintf(file, sizeof(file), "%s/data.mdb", path);
	fd = open(file, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	/* Not every file system can; then it is as it is. */
	int rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, bytes);
	(void)rc;
	close(fd);
}

int pool_meta_no_room(const struct pool_super *super, struct fault *fault)
{
	return fault_set(fault, -ENOMEM,
		"the pool's metadata wants %llu GiB of address space, which costs no memory: raise the limit of this program (LimitAS= of its unit, ulimit -v), or take it away",
		(unsigned long long)(map_size(super) >> 30) + 1);
}

int pool_meta_create(struct pool_host *host, const struct pool_super *super)
{
	struct pool_meta m = {.host = host,
		.capacity_chunks = super->capacity_chunks,
		.shares = (super->features_refuse & POOL_FEATURE_SHARED) != 0,
		.digests = (super->features_refuse & POOL_FEATURE_DIGESTS) != 0,
		.splits = (super->features_refuse & POOL_FEATURE_SPLIT) != 0};
	struct pool_state state = {
		.incarnation = 1, .log_offset = POOL_LOG_START, .next_branch = 1, .next_disk = 1};
	const char *path = host->ops->meta_path(host);
	MDB_txn *txn;
	int err;

	memcpy(m.id, super->id, POOL_ID_BYTES);
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	err = env_open(&m, path, super, 0);
	if (err)
		return err;
	err = open_tables(&m, true);
	if (!err)
		err = pool_meta_begin(&m, false, &txn);
	if (!err) {
		err = pool_meta_put_state(&m, txn, &state);
		if (err)
			pool_meta_abort(txn);
		else
			err = pool_meta_commit(txn);
	}
	mdb_env_close(m.env);
	if (!err && host->meta_reserve_bytes)
		reserve_room(path, host->meta_reserve_bytes);
	return err;
}

static int meta_open(struct pool_meta *m, struct pool_host *host, const struct pool_super *super,
	enum pool_meta_use use, bool make_tables, struct fault *fault)
{
	const char *path = host->ops->meta_path(host);
	int err = pool_pages_check(path, map_size(super), use == POOL_META_CHECK, fault);

	memset(m, 0, sizeof(*m));
	if (err)
		return err;
	m->host = host;
	m->capacity_chunks = super->capacity_chunks;
	m->shares = (super->features_refuse & POOL_FEATURE_SHARED) != 0;
	m->digests = (super->features_refuse & POOL_FEATURE_DIGESTS) != 0;
	m->splits = (super->features_refuse & POOL_FEATURE_SPLIT) != 0;
	memcpy(m->id, super->id, POOL_ID_BYTES);
	err = env_open(m, path, super, 0);
	if (!err)
		err = open_tables(m, make_tables);
	if (!err)
		return 0;
	pool_meta_close(m);
	if (err == -ENOMEM)
		return pool_meta_no_room(super, fault);
	if (err == -EACCES || err == -EROFS || err == -EIO)
		return fault_set(fault, err,
			"the pool's metadata %s cannot be opened (%s): look at its owner and mode, at the disk and the kernel's log",
			path, strerror(-err));
	return fault_set(fault, -EUCLEAN,
		"the pool's metadata %s is damaged (%s): bring it back with `umbractl pool restore` from the mirror or a backup",
		path, err == -ENOENT ? "missing" : mdb_strerror(-err));
}

int pool_meta_open(struct pool_meta *m, struct pool_host *host, const struct pool_super *super,
	enum pool_meta_use use, struct fault *fault)
{
	return meta_open(m, host, super, use, false, fault);
}

int pool_meta_open_more(
	struct pool_meta *m, struct pool_host *host, const struct pool_super *super, struct fault *fault)
{
	return meta_open(m, host, super, POOL_META_CHECK, true, fault);
}

int pool_meta_empty(struct pool_meta *m, MDB_txn *txn, enum pool_table table)
{
	return pool_errno(mdb_drop(txn, m->table[table], 0));
}

void pool_meta_close(struct pool_meta *m)
{
	if (m->env)
		mdb_env_close(m->env);
	m->env = NULL;
	free(m->changes);
	m->changes = NULL;
	m->change_count = m->change_cap = 0;
}

void pool_meta_grown(struct pool_meta *m, uint64_t capacity_chunks)
{
	__atomic_store_n(&m->capacity_chunks, capacity_chunks, __ATOMIC_RELAXED);
}

uint64_t pool_meta_mapped(const struct pool_meta *m)
{
	MDB_envinfo info;

	return mdb_env_info(m->env, &info) ? 0 : info.me_mapsize;
}

int pool_meta_copy_to(struct pool_meta *m, const char *path)
{
	static const char *const files[] = {"data.mdb", "lock.mdb"};
	char name[4200];
	int err, fd;

	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(name, sizeof(name), "%s/%s", path, files[i]);
		if (unlink(name) && errno != ENOENT)
			return -errno;
	}
	err = pool_errno(mdb_env_copy(m->env, path));
	if (err)
		return err;
	for (unsigned i = 0; i < 2; i++) { /* the file, its name */
		snprintf(name, sizeof(name), "%s%s", path, i ? "" : "/data.mdb");
		fd = open(name, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fsync(fd))
			err = -errno;
		if (fd >= 0)
			close(fd);
	}
	return err;
}

int pool_meta_copy(struct pool_meta *m, struct pool_host *to)
{
	const char *path = to->ops->meta_path(to);

	return mkdir(path, 0700) && errno != EEXIST ? -errno : pool_meta_copy_to(m, path);
}

int pool_meta_begin(struct pool_meta *m, bool read_only, MDB_txn **out)
{
	int rc;

	*out = NULL;
	if (!read_only)
		m->change_count = 0;
	transactions++;
	rc = mdb_txn_begin(m->env, NULL, read_only ? MDB_RDONLY : 0, out);
	if (rc)
		transactions--;
	return pool_errno(rc);
}

int pool_meta_commit(MDB_txn *txn)
{
	int rc = mdb_txn_commit(txn);

	transactions--;
	return pool_errno(rc);
}

void pool_meta_abort(MDB_txn *txn)
{
	if (!txn)
		return;
	mdb_txn_abort(txn);
	transactions--;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static int decode_entry(struct pool_meta *m, const MDB_val *k, const MDB_val *v, struct pool_meta_entry *out)
{
	if (k->mv_size != POOL_MAP_KEY_BYTES || v->mv_size != POOL_MAP_VALUE_BYTES ||
		!pool_value_ok(m->id, POOL_TABLE_MAP, k->mv_data, k->mv_size, v->mv_data, v->mv_size))
		return -EUCLEAN;
	pool_map_key_decode(k->mv_data, &out->key);
	pool_map_value_decode(v->mv_data, &out->value);
	if (out->key.gen == 0 || out->value.phys >= pool_meta_capacity(m) ||
		(out->value.valid & out->value.zero) || !(out->value.valid | out->value.zero) ||
		!out->value.valid != !out->value.phys ||
		((out->value.shared || out->value.split) && !out->value.valid) ||
		(out->value.shared && out->value.split) || (out->value.split && !m->splits))
		return -EUCLEAN;
	return 0;
}

/* Opens a read transaction and a cursor at the first key >= key. -ENOENT: none. */
static int scan_begin(struct pool_meta *m, enum pool_table table, const uint8_t *key, size_t key_len,
	MDB_txn **txn, MDB_cursor **cursor, MDB_val *k, MDB_val *v)
{
	int rc = pool_meta_begin(m, true, txn);

	*cursor = NULL;
	if (rc)
		return rc;
	rc = mdb_cursor_open(*txn, m->table[table], cursor);
	k->mv_size = key_len;
	k->mv_data = (void *)key;
	if (!rc)
		rc = mdb_cursor_get(*cursor, k, v, MDB_SET_RANGE);
	if (!rc)
		return 0;
	if (*cursor)
		mdb_cursor_close(*cursor);
	pool_meta_abort(*txn);
	return pool_errno(rc);
}

/* Ends what scan_begin began. err: of the last step. 0: all was read, or the caller had enough. */
static int scan_end(MDB_txn *txn, MDB_cursor *cursor, int err)
{
	mdb_cursor_close(cursor);
	pool_meta_abort(txn);
	return err == -ENOENT ? 0 : err;
}

/* A leaf that is being read. */
struct leaf_read {
	struct pool_meta *m;
	MDB_txn *txn;
	struct pool_map_key from; /* the first key that it may have */
	struct pool_digest digest;
	uint8_t last[POOL_MAP_KEY_BYTES]; /* the key before */
	struct pool_meta_leaf *out;
	size_t cap;
};

/* A damaged record: 0: its key is right, so only that chunk is damaged; -ENOENT: it lies behind the leaf, or says so.
 *
 * The key is right when the index of generations has it, all keys of the leaf ascend, and there are as many as the digest
 * says: so many different keys of a set of that size are the set. */
static int leaf_damaged(struct leaf_read *r, const MDB_val *k)
{
	uint8_t index[POOL_GEN_KEY_BYTES];
	struct pool_map_key key;
	const uint8_t *value;
	uint64_t chunk;
	size_t len;

	if (!r->m->digests || k->mv_size != POOL_MAP_KEY_BYTES)
		return -EUCLEAN;
	pool_map_key_decode(k->mv_data, &key);
	chunk = key.chunk - r->from.chunk;
	if (key.branch != r->from.branch || chunk >= POOL_DIGEST_CHUNKS)
		return -ENOENT;
	pool_gen_key_encode(index, &key);
	if (pool_meta_get(r->m, r->txn, POOL_TABLE_GEN, index, sizeof(index), &value, &len))
		return -EUCLEAN;
	r->out->bad[chunk / 64] |= UINT64_C(1) << chunk % 64;
	r->out->damaged++;
	return 0;
}

/* -ENOENT: it lies behind the leaf. */
static int leaf_record(struct leaf_read *r, const MDB_val *k, const MDB_val *v)
{
	struct pool_meta_leaf *out = r->out;
	struct pool_meta_entry e;
	int err = decode_entry(r->m, k, v, &e);

	if (!err && (e.key.branch != r->from.branch || e.key.chunk - r->from.chunk >= POOL_DIGEST_CHUNKS))
		return -ENOENT;
	if (err == -EUCLEAN) {
		err = leaf_damaged(r, k);
	} else {
		if (out->count == r->cap) {
			r->cap = r->cap ? 2 * r->cap : 512;
			out->entries = pool_xrealloc(out->entries, r->cap * sizeof(out->entries[0]));
		}
		out->entries[out->count++] = e;
	}
	if (err)
		return err;
	if (r->digest.count && memcmp(r->last, k->mv_data, sizeof(r->last)) >= 0)
		return -EUCLEAN;
	memcpy(r->last, k->mv_data, sizeof(r->last));
	pool_digest_add(&r->digest, v->mv_data, v->mv_size);
	return 0;
}

static int leaf_read(struct leaf_read *r)
{
	uint8_t first[POOL_MAP_KEY_BYTES];
	MDB_val k = {.mv_size = sizeof(first), .mv_data = first}, v;
	MDB_cursor *cursor;
	int err = pool_errno(mdb_cursor_open(r->txn, r->m->table[POOL_TABLE_MAP], &cursor));

	if (err)
		return err;
	pool_map_key_encode(first, &r->from);
	err = pool_errno(mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE));
	while (!err) {
		err = leaf_record(r, &k, &v);
		if (!err)
			err = pool_errno(mdb_cursor_get(cursor, &k, &v, MDB_NEXT));
	}
	mdb_cursor_close(cursor);
	if (err != -ENOENT)
		return err;
	pool_map_key_encode(first, &r->from);
	return pool_digest_check(
		r->m, r->txn, POOL_TABLE_MAP, first, sizeof(first), &r->digest, r->out->damaged > 0);
}

/* Of a chunk with a damaged entry none is believed. */
static void leaf_leave_out(struct pool_meta_leaf *leaf)
{
	size_t kept = 0;

	for (size_t i = 0; i < leaf->count; i++) {
		uint64_t chunk = leaf->entries[i].key.chunk % POOL_DIGEST_CHUNKS;

		if (!(leaf->bad[chunk / 64] >> chunk % 64 & 1))
			leaf->entries[kept++] = leaf->entries[i];
	}
	leaf->count = kept;
}

int pool_meta_load(struct pool_meta *m, uint64_t branch, uint64_t leaf, struct pool_meta_leaf *out)
{
	struct leaf_read r = {.m = m,
		.from = {.branch = branch, .chunk = leaf * POOL_DIGEST_CHUNKS, .gen = UINT32_MAX},
		.out = out};
	int err = pool_meta_begin(m, true, &r.txn);

	memset(out, 0, sizeof(*out));
	if (err)
		return err;
	err = leaf_read(&r);
	pool_meta_abort(r.txn);
	if (!err && out->damaged)
		leaf_leave_out(out);
	return err;
}

int pool_meta_scan_branch(struct pool_meta *m, const struct pool_map_key *from, size_t max,
	struct pool_meta_entry **out, size_t *out_count)
{
	uint8_t key[POOL_MAP_KEY_BYTES];
	size_t cap = 0;
	MDB_cursor *cursor;
	MDB_txn *txn;
	MDB_val k, v;
	int err;

	*out = NULL;
	*out_count = 0;
	pool_map_key_encode(key, from);
	err = scan_begin(m, POOL_TABLE_MAP, key, sizeof(key), &txn, &cursor, &k, &v);
	if (err)
		return err == -ENOENT ? 0 : err;
	while (!err && *out_count < max) {
		if (*out_count == cap) {
			cap = cap ? 2 * cap : 512;
			*out = pool_xrealloc(*out, cap * sizeof(**out));
		}
		err = decode_entry(m, &k, &v, &(*out)[*out_count]);
		if (err || (*out)[*out_count].key.branch != from->branch)
			break;
		(*out_count)++;
		err = pool_errno(mdb_cursor_get(cursor, &k, &v, MDB_NEXT));
	}
	return scan_end(txn, cursor, err);
}

int pool_meta_scan_map(struct pool_meta *m, const struct pool_map_key *from, size_t max,
	struct pool_meta_entry **out, size_t *out_count, uint64_t *all)
{
	uint8_t key[POOL_MAP_KEY_BYTES];
	MDB_cursor *cursor;
	MDB_stat stat = {0};
	MDB_txn *txn;
	MDB_val k, v;
	int err;

	*out = pool_xrealloc(NULL, max * sizeof(**out));
	*out_count = 0;
	pool_map_key_encode(key, from);
	err = scan_begin(m, POOL_TABLE_MAP, key, sizeof(key), &txn, &cursor, &k, &v);
	if (err)
		return err == -ENOENT ? 0 : err;
	if (!mdb_stat(txn, m->table[POOL_TABLE_MAP], &stat))
		*all = stat.ms_entries;
	while (!err && *out_count < max) {
		if (!decode_entry(m, &k, &v, &(*out)[*out_count]))
			(*out_count)++;
		err = pool_errno(mdb_cursor_get(cursor, &k, &v, MDB_NEXT));
	}
	return scan_end(txn, cursor, err);
}

/* The keys of the index from `from` on, up to `max`: into `out`, or (NULL) only the last one, into *last. */
static int walk_gens(struct pool_meta *m, const struct pool_map_key *from, uint32_t last_gen, uint64_t max,
	struct pool_map_key *out, struct pool_map_key *last, uint64_t *count)
{
	uint8_t key[POOL_GEN_KEY_BYTES];
	struct pool_map_key at;
	MDB_cursor *cursor;
	MDB_txn *txn;
	MDB_val k, v;
	int err;

	*count = 0;
	pool_gen_key_encode(key, from);
	err = scan_begin(m, POOL_TABLE_GEN, key, sizeof(key), &txn, &cursor, &k, &v);
	if (err)
		return err == -ENOENT ? 0 : err;
	while (!err && *count < max) {
		if (k.mv_size != POOL_GEN_KEY_BYTES) {
			err = -EUCLEAN;
			break;
		}
		pool_gen_key_decode(k.mv_data, &at);
		if (at.branch != from->branch || at.gen > last_gen)
			break;
		*(out ? &out[*count] : last) = at;
		(*count)++;
		err = pool_errno(mdb_cursor_get(cursor, &k, &v, MDB_NEXT));
	}
	return scan_end(txn, cursor, err);
}

int pool_meta_scan_gens(struct pool_meta *m, const struct pool_map_key *from, uint32_t last_gen, size_t max,
	struct pool_map_key *out, size_t *out_count)
{
	uint64_t count;
	int err = walk_gens(m, from, last_gen, max, out, NULL, &count);

	*out_count = (size_t)count;
	return err;
}

int pool_meta_count_gens(
	struct pool_meta *m, struct pool_map_key *from, uint32_t last_gen, uint64_t max, uint64_t *count)
{
	struct pool_map_key last;
	int err = walk_gens(m, from, last_gen, max, NULL, &last, count);

	if (*count) {
		*from = last;
		from->chunk++;
	}
	return err;
}

static int cursor_entry(struct pool_meta *m, MDB_cursor *cursor, MDB_cursor_op op,
	const struct pool_map_key *at, struct pool_meta_entry *out)
{
	uint8_t bytes[POOL_MAP_KEY_BYTES];
	MDB_val k = {.mv_size = sizeof(bytes), .mv_data = bytes}, v;
	int err;

	if (at)
		pool_map_key_encode(bytes, at);
	err = pool_errno(mdb_cursor_get(cursor, &k, &v, op));
	return err ? err : decode_entry(m, &k, &v, out);
}

static bool same_chunk(const struct pool_map_key *a, const struct pool_map_key *b)
{
	return a->branch == b->branch && a->chunk == b->chunk;
}

/* An entry that another viewer below sees, too, is not above `before`; one that a viewer above sees directly has none
 * newer that this one does not see. Else the newer ones hide blocks of it. They will get the others, or give their own for its
 * chunk; of a split one the others stay where they are. */
static int sole_entry(struct pool_meta *m, MDB_cursor *cursor, const struct pool_map_key *key,
	const struct pool_sole_range *range, struct pool_sole *sum)
{
	uint16_t within = 0, hidden = 0;
	struct pool_meta_entry e, newer, above = {0};
	bool older = false;
	int err = cursor_entry(m, cursor, MDB_SET_RANGE, key, &e);

	if (err)
		return err == -ENOENT ? 0 : err;
	if (!same_chunk(&e.key, key) || e.key.gen != key->gen || e.value.shared || !e.value.phys)
		return 0;
	while (!(err = cursor_entry(m, cursor, MDB_PREV, NULL, &newer)) && same_chunk(&newer.key, key)) {
		uint16_t has = newer.value.valid | newer.value.zero;

		if (newer.key.gen <= range->last) {
			older = true;
			within |= has;
			continue;
		}
		if (!range->seen_above || newer.key.gen > range->next)
			break;
		if (!above.key.gen)
			above = newer;
		hidden |= has;
	}
	if (err && err != -ENOENT)
		return err;
	if (range->seen_above && !above.key.gen)
		return 0;
	if (older && !e.value.split) /* it will be merged anyway */
		return 0;
	if (!range->seen_above)
		hidden = POOL_ALL_BLOCKS;
	sum->blocks += (unsigned)__builtin_popcount(e.value.valid & hidden & ~within);
	if (e.value.split)
		sum->freed += (unsigned)__builtin_popcount(e.value.valid & hidden);
	else if (range->seen_above && above.value.split && (e.value.valid & ~hidden)) /* it gets the chunk */
		sum->freed += (unsigned)__builtin_popcount(above.value.valid);
	else if (!range->seen_above || above.value.phys || !(e.value.valid & ~hidden))
		sum->freed += POOL_BLOCKS;
	return 0;
}

int pool_meta_sole(struct pool_meta *m, const struct pool_map_key *keys, size_t count,
	const struct pool_sole_range *range, struct pool_sole *sum)
{
	MDB_cursor *cursor = NULL;
	MDB_txn *txn = NULL;
	int err = pool_meta_begin(m, true, &txn);

	if (!err)
		err = pool_errno(mdb_cursor_open(txn, m->table[POOL_TABLE_MAP], &cursor));
	for (size_t i = 0; i < count && !err; i++)
		err = sole_entry(m, cursor, &keys[i], range, sum);
	if (cursor)
		mdb_cursor_close(cursor);
	pool_meta_abort(txn);
	return err;
}

/* What a scan knows of one branch: nothing before `chunk`, and there something, if `sure`. */
struct scan_place {
	uint64_t chunk;
	bool sure;
};

/* Looks for the first chunk from `from` on of which the branch has an entry not newer than in->gen. */
static int scan_place_find(MDB_cursor *cursor, const struct pool_map_key *in, uint64_t from, unsigned steps,
	struct scan_place *out)
{
	*out = (struct scan_place){.chunk = from};
	while (steps-- > 0) {
		struct pool_map_key key = {.branch = in->branch, .chunk = out->chunk, .gen = in->gen};
		uint8_t bytes[POOL_MAP_KEY_BYTES];
		MDB_val k = {.mv_size = sizeof(bytes), .mv_data = bytes}, v;
		int err;

		pool_map_key_encode(bytes, &key);
		err = pool_errno(mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE));
		if (err && err != -ENOENT)
			return err;
		if (!err && k.mv_size != POOL_MAP_KEY_BYTES)
			return -EUCLEAN;
		if (!err)
			pool_map_key_decode(k.mv_data, &key);
		if (err || key.branch != in->branch) {
			*out = (struct scan_place){.chunk = UINT64_MAX, .sure = true};
			return 0;
		}
		out->chunk = key.chunk; /* beyond the last, if its newest entry was all too new */
		out->sure = key.gen <= in->gen;
		if (out->sure)
			return 0;
	}
	return 0;
}

#define SCAN_STEPS 65536u /* a reader is short */

int pool_meta_scan_chunks(struct pool_meta *m, const struct pool_map_key *chain, size_t chain_count,
	uint64_t from, size_t max, uint64_t *out, size_t *out_count, uint64_t *next)
{
	struct scan_place *at = pool_xrealloc(NULL, (chain_count + 1) * sizeof(*at));
	unsigned steps = 2 + SCAN_STEPS / (unsigned)(chain_count + 1);
	MDB_cursor *cursor = NULL;
	MDB_txn *txn = NULL;
	int err = pool_meta_begin(m, true, &txn);

	if (!err)
		err = pool_errno(mdb_cursor_open(txn, m->table[POOL_TABLE_MAP], &cursor));
	for (size_t i = 0; i < chain_count && !err; i++)
		err = scan_place_find(cursor, &chain[i], from, steps, &at[i]);
	*out_count = 0;
	*next = from;
	while (!err && *out_count < max) {
		struct scan_place first = {.chunk = UINT64_MAX, .sure = true};

		for (size_t i = 0; i < chain_count; i++) {
			if (at[i].chunk < first.chunk)
				first = at[i];
			else if (at[i].chunk == first.chunk)
				first.sure = first.sure || at[i].sure;
		}
		*next = first.chunk;
		if (first.chunk == UINT64_MAX || !first.sure)
			break;
		out[(*out_count)++] = first.chunk;
		*next = first.chunk + 1;
		for (size_t i = 0; i < chain_count && !err; i++) {
			if (at[i].chunk < *next)
				err = scan_place_find(cursor, &chain[i], *next, steps, &at[i]);
		}
	}
	if (cursor)
		mdb_cursor_close(cursor);
	pool_meta_abort(txn);
	free(at);
	return err;
}

int pool_meta_each(struct pool_meta *m, MDB_txn *txn, enum pool_table table,
	int (*each)(void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len,
		bool intact),
	void *arg)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = mdb_cursor_open(txn, m->table[table], &cursor), err = 0;

	if (rc)
		return pool_errno(rc);
	rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
	while (!rc && !err) {
		bool intact = pool_value_ok(m->id, table, k.mv_data, k.mv_size, v.mv_data, v.mv_size);

		err = each(arg, k.mv_data, k.mv_size, v.mv_data, v.mv_size < 4 ? 0 : v.mv_size - 4, intact);
		if (!err)
			rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	if (err)
		return err;
	return rc == MDB_NOTFOUND ? 0 : pool_errno(rc);
}

struct all {
	struct pool_digest digest;
	int (*each)(void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len,
		bool intact);
	void *arg;
};

static int all_each(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct all *all = arg;

	pool_digest_add(&all->digest, value, intact ? value_len + 4 : 0);
	return all->each(all->arg, key, key_len, value, value_len, intact);
}

int pool_meta_all(struct pool_meta *m, MDB_txn *txn, enum pool_table table,
	int (*each)(void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len,
		bool intact),
	void *arg)
{
	struct all all = {.each = each, .arg = arg};
	int err = pool_meta_each(m, txn, table, all_each, &all);

	return err ? err : pool_digest_check(m, txn, table, NULL, 0, &all.digest, false);
}
