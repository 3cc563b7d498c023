/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The LMDB environment `meta`: catalogue, disks, branches, block map, index of generations, allocator, to-do
 * list. Everything here blocks and runs at open, at close or on worker threads. Every value's CRC covers
 * pool id, table and key. Never NOSYNC, NOMETASYNC, MAPASYNC or WRITEMAP.
 */
#include "array/store/pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <linux/falloc.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "array/util/bytes.h"

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
};

#define RESERVE_BYTES (16 << 20)

static const char state_key[] = "state";

int pool_errno(int lmdb)
{
	switch (lmdb) {
	case 0:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_MAP_FULL:
		return -ENOSPC;
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

/* ---- open and close -------------------------------------------------------------------------------- */

/* The address space set aside (nothing else): far more than the map of a full pool takes, with room for known
 * zeros, which take no chunk and so are not bounded by the capacity. */
static size_t map_size(const struct pool_super *super)
{
	uint64_t bytes = super->capacity_chunks * 512 + (UINT64_C(1) << (sizeof(void *) == 8 ? 36 : 30));

	if (sizeof(void *) == 8 && bytes > (UINT64_C(1) << 42))
		bytes = UINT64_C(1) << 42;
	return (size_t)(bytes + 4095) / 4096 * 4096;
}

/*
 * LMDB reads through a mapping: a file that is shorter than its pages say, or a disk that cannot read one, comes as
 * SIGBUS, in the middle of anything. What is durable stays so; nothing can go on. Only async-signal-safe calls.
 */
static void mapping_failed(int number, siginfo_t *info, void *context)
{
	static const char text[] =
		"pool: the pool's metadata cannot be read: meta/data.mdb is shorter than it should be, or its disk "
		"fails. Look at the disk and the kernel's log; else restore the directory `meta` from a backup of "
		"this pool\n";

	(void)context;
	if (info->si_code != BUS_ADRERR) {
		signal(number, SIG_DFL);
		raise(number);
		return;
	}
	ssize_t written = write(STDERR_FILENO, text, sizeof(text) - 1);
	(void)written;
	_exit(1);
}

static void watch_mapping(void)
{
	struct sigaction action = {.sa_sigaction = mapping_failed, .sa_flags = SA_SIGINFO};

	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, NULL);
}

static int env_open(struct pool_meta *m, const char *path, const struct pool_super *super, unsigned flags)
{
	int rc = mdb_env_create(&m->env);

	if (rc)
		return pool_errno(rc);
	watch_mapping();
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
	int rc = mdb_txn_begin(m->env, NULL, create ? 0 : MDB_RDONLY, &txn);

	if (rc)
		return pool_errno(rc);
	for (unsigned i = 0; i < (m->shares ? POOL_TABLES : POOL_TABLE_REFS) && !rc; i++)
		rc = mdb_dbi_open(txn, table_names[i], create ? MDB_CREATE : 0, &m->table[i]);
	if (rc) {
		mdb_txn_abort(txn);
		return rc == MDB_NOTFOUND ? -EUCLEAN : pool_errno(rc);
	}
	return pool_errno(mdb_txn_commit(txn));
}

/* Room for LMDB to go on in when the file system below is full. */
static void reserve_room(const char *path)
{
	char file[4200];
	int fd;

	snprintf(file, sizeof(file), "%s/data.mdb", path);
	fd = open(file, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	/* Not every file system can; then it is as it is. */
	int rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, RESERVE_BYTES);
	(void)rc;
	close(fd);
}

int pool_meta_create(struct pool_host *host, const struct pool_super *super)
{
	struct pool_meta m = {.host = host,
		.capacity_chunks = super->capacity_chunks,
		.shares = (super->features_refuse & POOL_FEATURE_SHARED) != 0};
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
		err = pool_meta_apply(&m, txn, NULL, 0, &state);
		if (err)
			mdb_txn_abort(txn);
		else
			err = pool_errno(mdb_txn_commit(txn));
	}
	mdb_env_close(m.env);
	if (!err)
		reserve_room(path);
	return err;
}

int pool_meta_open(struct pool_meta *m, struct pool_host *host, const struct pool_super *super,
	bool read_only, struct fault *fault)
{
	const char *path = host->ops->meta_path(host);
	int err;

	memset(m, 0, sizeof(*m));
	m->host = host;
	m->capacity_chunks = super->capacity_chunks;
	m->shares = (super->features_refuse & POOL_FEATURE_SHARED) != 0;
	memcpy(m->id, super->id, POOL_ID_BYTES);
	err = env_open(m, path, super, read_only ? MDB_RDONLY : 0);
	if (!err)
		err = open_tables(m, false);
	if (!err)
		return 0;
	pool_meta_close(m);
	if (err == -EACCES || err == -EROFS || err == -ENOMEM || err == -EIO)
		return fault_set(fault, err,
			"the pool's metadata %s cannot be opened (%s): look at its owner and mode, at the disk and the kernel's log",
			path, strerror(-err));
	return fault_set(fault, -EUCLEAN,
		"the pool's metadata %s is damaged (%s): restore the directory `meta` from a backup of this pool",
		path, err == -ENOENT ? "missing" : mdb_strerror(-err));
}

void pool_meta_close(struct pool_meta *m)
{
	if (m->env)
		mdb_env_close(m->env);
	m->env = NULL;
}

int pool_meta_begin(struct pool_meta *m, bool read_only, MDB_txn **out)
{
	return pool_errno(mdb_txn_begin(m->env, NULL, read_only ? MDB_RDONLY : 0, out));
}

/* ---- single values --------------------------------------------------------------------------------- */

static int get(struct pool_meta *m, MDB_txn *txn, enum pool_table table, const void *key, size_t key_len,
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
	MDB_val v = {.mv_size = value_len + 4};
	uint8_t *copy = malloc(value_len + 4);
	int rc;

	if (!copy)
		return -ENOMEM;
	if (value_len)
		memcpy(copy, value, value_len);
	pool_value_seal(m->id, table, key, key_len, copy, value_len + 4);
	v.mv_data = copy;
	rc = mdb_put(txn, m->table[table], &k, &v, 0);
	free(copy);
	return pool_errno(rc);
}

static int del(struct pool_meta *m, MDB_txn *txn, enum pool_table table, const void *key, size_t key_len)
{
	MDB_val k = {.mv_size = key_len, .mv_data = (void *)key};
	int rc = mdb_del(txn, m->table[table], &k, NULL);

	return rc == MDB_NOTFOUND ? 0 : pool_errno(rc);
}

int pool_meta_state(struct pool_meta *m, MDB_txn *txn, struct pool_state *out)
{
	const uint8_t *value;
	size_t len;
	int err = get(m, txn, POOL_TABLE_STATE, state_key, sizeof(state_key), &value, &len);

	if (err)
		return err == -ENOENT ? -EUCLEAN : err;
	if (len != POOL_STATE_VALUE_BYTES - 4)
		return -EUCLEAN;
	pool_state_decode(value, out);
	return 0;
}

static int put_state(struct pool_meta *m, MDB_txn *txn, const struct pool_state *state)
{
	uint8_t buf[POOL_STATE_VALUE_BYTES];

	pool_state_encode(buf, state);
	return pool_meta_put(
		m, txn, POOL_TABLE_STATE, state_key, sizeof(state_key), buf, POOL_STATE_VALUE_BYTES - 4);
}

/* ---- applying frames ------------------------------------------------------------------------------- */

/* One change of the map or of the allocator, in the order of the log. */
struct map_change {
	struct pool_map_key key;
	struct pool_map_value value;
	uint32_t order;
	bool put;
};

struct space_change {
	uint64_t phys, count;
	uint32_t order;
	bool used;
};

struct batch {
	struct map_change *map;
	struct space_change *space;
	size_t map_count, map_room, space_count, space_room;
	struct pool_free_list unshared;
	uint32_t order;
};

static int compare_map(const void *va, const void *vb)
{
	const struct map_change *a = va, *b = vb;

	if (a->key.branch != b->key.branch)
		return a->key.branch < b->key.branch ? -1 : 1;
	if (a->key.chunk != b->key.chunk)
		return a->key.chunk < b->key.chunk ? -1 : 1;
	if (a->key.gen != b->key.gen)
		return a->key.gen > b->key.gen ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

static int compare_space(const void *va, const void *vb)
{
	const struct space_change *a = va, *b = vb;
	uint64_t ga = a->phys / POOL_GROUP_CHUNKS, gb = b->phys / POOL_GROUP_CHUNKS;

	if (ga != gb)
		return ga < gb ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

static void add_space(struct batch *b, uint64_t phys, uint64_t count, bool used)
{
	while (count) { /* never across a group */
		uint64_t part = POOL_GROUP_CHUNKS - phys % POOL_GROUP_CHUNKS;

		if (part > count)
			part = count;
		if (b->space_count == b->space_room) {
			b->space_room = b->space_room ? 2 * b->space_room : 1024;
			b->space = pool_xrealloc(b->space, b->space_room * sizeof(b->space[0]));
		}
		b->space[b->space_count++] = (struct space_change){phys, part, b->order, used};
		phys += part;
		count -= part;
	}
}

static void add_map(struct batch *b, const struct pool_record *r)
{
	if (b->map_count == b->map_room) {
		b->map_room = b->map_room ? 2 * b->map_room : 1024;
		b->map = pool_xrealloc(b->map, b->map_room * sizeof(b->map[0]));
	}
	b->map[b->map_count++] =
		(struct map_change){r->map.key, r->map.value, b->order, r->type == POOL_RECORD_MAP_PUT};
	if (r->type == POOL_RECORD_MAP_PUT && r->map.value.phys)
		add_space(b, r->map.value.phys, 1, true);
}

/* The table `refs` follows the map. */
static int apply_refs(struct pool_meta *m, MDB_txn *txn, const struct map_change *c, const MDB_val *old)
{
	struct pool_map_value was;
	bool known = old && old->mv_size == POOL_MAP_VALUE_BYTES;

	if (!m->shares)
		return 0;
	if (known)
		pool_map_value_decode(old->mv_data, &was);
	return pool_refs_change(m, txn, &c->key, known ? &was : NULL, c->put ? &c->value : NULL);
}

static int apply_map(struct pool_meta *m, MDB_txn *txn, const struct map_change *c)
{
	uint8_t key[POOL_MAP_KEY_BYTES], index[POOL_GEN_KEY_BYTES], value[POOL_MAP_VALUE_BYTES];
	MDB_val k = {.mv_size = sizeof(key), .mv_data = key}, old;
	int err, rc;

	pool_map_key_encode(key, &c->key);
	pool_gen_key_encode(index, &c->key);
	rc = mdb_get(txn, m->table[POOL_TABLE_MAP], &k, &old);
	if (rc && rc != MDB_NOTFOUND)
		return pool_errno(rc);
	err = apply_refs(m, txn, c, rc ? NULL : &old);
	if (err)
		return err;
	if (!c->put) {
		if (rc == MDB_NOTFOUND)
			return 0;
		err = del(m, txn, POOL_TABLE_MAP, key, sizeof(key));
		return err ? err : del(m, txn, POOL_TABLE_GEN, index, sizeof(index));
	}
	pool_map_value_encode(value, &c->value);
	err = pool_meta_put(m, txn, POOL_TABLE_MAP, key, sizeof(key), value, POOL_MAP_VALUE_BYTES - 4);
	if (!err && rc == MDB_NOTFOUND)
		err = pool_meta_put(m, txn, POOL_TABLE_GEN, index, sizeof(index), NULL, 0);
	return err;
}

/* All changes of one group. */
static int apply_group(struct pool_meta *m, MDB_txn *txn, const struct space_change *c, size_t count)
{
	uint64_t group = c->phys / POOL_GROUP_CHUNKS;
	uint8_t key[8], bits[POOL_GROUP_BYTES] = {0};
	const uint8_t *old;
	size_t len;
	int err;

	put_be64(key, group);
	err = get(m, txn, POOL_TABLE_SPACE, key, sizeof(key), &old, &len);
	if (!err && len != POOL_GROUP_BYTES)
		err = -EUCLEAN;
	if (err && err != -ENOENT)
		return err;
	if (!err)
		memcpy(bits, old, POOL_GROUP_BYTES);
	for (size_t i = 0; i < count; i++) {
		for (uint64_t at = c[i].phys; at < c[i].phys + c[i].count; at++) {
			unsigned bit = at % POOL_GROUP_CHUNKS;

			if (c[i].used)
				bits[bit / 8] |= (uint8_t)(1u << (bit % 8));
			else
				bits[bit / 8] &= (uint8_t) ~(1u << (bit % 8));
		}
	}
	return pool_meta_put(m, txn, POOL_TABLE_SPACE, key, sizeof(key), bits, POOL_GROUP_BYTES);
}

static int apply_other(
	struct pool_meta *m, MDB_txn *txn, const struct pool_record *r, struct pool_state *state)
{
	uint8_t key[1 + STORE_KEY_MAX_BYTES], value[POOL_BRANCH_VALUE_BYTES];

	switch (r->type) {
	case POOL_RECORD_BRANCH_PUT:
		put_be64(key, r->branch.id);
		pool_branch_value_encode(value, &r->branch.value);
		return pool_meta_put(m, txn, POOL_TABLE_BRANCH, key, 8, value, POOL_BRANCH_VALUE_BYTES - 4);
	case POOL_RECORD_BRANCH_DEL:
		put_be64(key, r->branch.id);
		return del(m, txn, POOL_TABLE_BRANCH, key, 8);
	case POOL_RECORD_DISK_PUT:
		put_be64(key, r->disk.id);
		pool_disk_value_encode(value, &r->disk.value);
		return pool_meta_put(m, txn, POOL_TABLE_DISK, key, 8, value, POOL_DISK_VALUE_BYTES - 4);
	case POOL_RECORD_DISK_DEL:
		put_be64(key, r->disk.id);
		return del(m, txn, POOL_TABLE_DISK, key, 8);
	case POOL_RECORD_CATALOGUE_PUT:
	case POOL_RECORD_CATALOGUE_DEL:
		key[0] = r->catalogue.table;
		memcpy(key + 1, r->catalogue.key, r->catalogue.key_len);
		if (r->type == POOL_RECORD_CATALOGUE_DEL)
			return del(m, txn, POOL_TABLE_CATALOGUE, key, 1u + r->catalogue.key_len);
		return pool_meta_put(m, txn, POOL_TABLE_CATALOGUE, key, 1u + r->catalogue.key_len,
			r->catalogue.value, r->catalogue.value_len);
	case POOL_RECORD_TODO_PUT:
	case POOL_RECORD_TODO_DEL:
		put_be64(key, r->todo.branch);
		put_be32(key + 8, r->todo.gen);
		if (r->type == POOL_RECORD_TODO_DEL)
			return del(m, txn, POOL_TABLE_TODO, key, POOL_TODO_KEY_BYTES);
		return pool_meta_put(m, txn, POOL_TABLE_TODO, key, POOL_TODO_KEY_BYTES, NULL, 0);
	case POOL_RECORD_IDS:
		state->next_branch = r->ids.next_branch;
		state->next_disk = r->ids.next_disk;
		return 0;
	default:
		return -EUCLEAN;
	}
}

static int apply_payload(struct pool_meta *m, MDB_txn *txn, const struct pool_payload *payload,
	struct batch *b, struct pool_state *state)
{
	size_t at = 0;

	while (at < payload->len) {
		struct pool_record r;
		int64_t size = pool_record_decode(payload->data + at, payload->len - at, &r);
		int err = 0;

		if (size < 0)
			return -EUCLEAN;
		b->order++;
		switch (r.type) {
		case POOL_RECORD_MAP_PUT:
			if (r.map.value.phys >= m->capacity_chunks || (r.map.value.shared && !m->shares))
				return -EUCLEAN;
			add_map(b, &r);
			break;
		case POOL_RECORD_MAP_DEL:
			add_map(b, &r);
			break;
		case POOL_RECORD_FREE:
			if (r.run.phys + r.run.count > m->capacity_chunks)
				return -EUCLEAN;
			add_space(b, r.run.phys, r.run.count, false);
			break;
		case POOL_RECORD_UNSHARE:
			if (!m->shares || r.run.phys + r.run.count > m->capacity_chunks)
				return -EUCLEAN;
			/* Perhaps no frame ever had an entry with it. */
			add_space(b, r.run.phys, r.run.count, true);
			for (uint64_t i = 0; i < r.run.count; i++)
				pool_free_list_add(&b->unshared, r.run.phys + i);
			break;
		default:
			err = apply_other(m, txn, &r, state);
			break;
		}
		if (err)
			return err;
		at += (size_t)size;
	}
	return 0;
}

static int apply_loose(struct pool_meta *m, MDB_txn *txn, struct batch *b)
{
	uint64_t loose;
	int err = pool_refs_loose_count(m, txn, &loose);

	for (size_t i = 0; i < b->space_count && loose && !err; i++) {
		if (!b->space[i].used)
			err = pool_refs_freed(m, txn, b->space[i].phys, b->space[i].count);
	}
	return err ? err : pool_refs_settle(m, txn, &b->unshared);
}

static int apply_batch(struct pool_meta *m, MDB_txn *txn, struct batch *b)
{
	int err = 0;

	if (b->map_count)
		qsort(b->map, b->map_count, sizeof(b->map[0]), compare_map);
	for (size_t i = 0; i < b->map_count && !err; i++) {
		const struct map_change *c = &b->map[i];

		if (i + 1 < b->map_count && c[1].key.branch == c->key.branch &&
			c[1].key.chunk == c->key.chunk && c[1].key.gen == c->key.gen)
			continue; /* the last one counts */
		err = apply_map(m, txn, c);
	}
	if (b->space_count)
		qsort(b->space, b->space_count, sizeof(b->space[0]), compare_space);
	for (size_t i = 0, n; i < b->space_count && !err; i += n) {
		n = 1;
		while (i + n < b->space_count &&
			b->space[i + n].phys / POOL_GROUP_CHUNKS == b->space[i].phys / POOL_GROUP_CHUNKS)
			n++;
		err = apply_group(m, txn, b->space + i, n);
	}
	if (!err)
		err = apply_loose(m, txn, b);
	return err;
}

int pool_meta_apply(struct pool_meta *m, MDB_txn *txn, const struct pool_payload *payloads, size_t count,
	struct pool_state *state)
{
	struct batch b = {0};
	struct pool_state old;
	int err = 0;

	/* The next ids are only in records: keep what is known when none speaks of them. */
	if (!pool_meta_state(m, txn, &old)) {
		if (state->next_branch < old.next_branch)
			state->next_branch = old.next_branch;
		if (state->next_disk < old.next_disk)
			state->next_disk = old.next_disk;
	}
	for (size_t i = 0; i < count && !err; i++)
		err = apply_payload(m, txn, &payloads[i], &b, state);
	if (!err)
		err = apply_batch(m, txn, &b);
	if (!err)
		err = put_state(m, txn, state);
	free(b.map);
	free(b.space);
	free(b.unshared.phys);
	return err;
}

/* ---- reading --------------------------------------------------------------------------------------- */

static int decode_entry(struct pool_meta *m, const MDB_val *k, const MDB_val *v, struct pool_meta_entry *out)
{
	if (k->mv_size != POOL_MAP_KEY_BYTES || v->mv_size != POOL_MAP_VALUE_BYTES ||
		!pool_value_ok(m->id, POOL_TABLE_MAP, k->mv_data, k->mv_size, v->mv_data, v->mv_size))
		return -EUCLEAN;
	pool_map_key_decode(k->mv_data, &out->key);
	pool_map_value_decode(v->mv_data, &out->value);
	if (out->value.phys >= m->capacity_chunks || (out->value.valid & out->value.zero) ||
		(out->value.valid && !out->value.phys) || (out->value.shared && !out->value.valid))
		return -EUCLEAN;
	return 0;
}

/* Opens a read transaction and a cursor at the first key >= key. -ENOENT: none. */
static int scan_begin(struct pool_meta *m, enum pool_table table, const uint8_t *key, size_t key_len,
	MDB_txn **txn, MDB_cursor **cursor, MDB_val *k, MDB_val *v)
{
	int rc = mdb_txn_begin(m->env, NULL, MDB_RDONLY, txn);

	*cursor = NULL;
	if (rc)
		return pool_errno(rc);
	rc = mdb_cursor_open(*txn, m->table[table], cursor);
	k->mv_size = key_len;
	k->mv_data = (void *)key;
	if (!rc)
		rc = mdb_cursor_get(*cursor, k, v, MDB_SET_RANGE);
	if (!rc)
		return 0;
	if (*cursor)
		mdb_cursor_close(*cursor);
	mdb_txn_abort(*txn);
	return pool_errno(rc);
}

/* Ends what scan_begin began. err: of the last step. 0: all was read, or the caller had enough. */
static int scan_end(MDB_txn *txn, MDB_cursor *cursor, int err)
{
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	return err == -ENOENT ? 0 : err;
}

static int scan_map(struct pool_meta *m, const struct pool_map_key *from, uint64_t end_chunk, size_t max,
	struct pool_meta_entry **out, size_t *out_count)
{
	uint8_t key[POOL_MAP_KEY_BYTES];
	size_t room = 0;
	MDB_cursor *cursor;
	MDB_txn *txn;
	MDB_val k, v;
	int err;

	*out_count = 0;
	pool_map_key_encode(key, from);
	err = scan_begin(m, POOL_TABLE_MAP, key, sizeof(key), &txn, &cursor, &k, &v);
	if (err)
		return err == -ENOENT ? 0 : err;
	while (!err && *out_count < max) {
		if (*out_count == room) {
			room = room ? 2 * room : 512;
			*out = pool_xrealloc(*out, room * sizeof(**out));
		}
		err = decode_entry(m, &k, &v, &(*out)[*out_count]);
		if (err || (*out)[*out_count].key.branch != from->branch ||
			(*out)[*out_count].key.chunk >= end_chunk)
			break;
		(*out_count)++;
		err = pool_errno(mdb_cursor_get(cursor, &k, &v, MDB_NEXT));
	}
	return scan_end(txn, cursor, err);
}

int pool_meta_load(struct pool_meta *m, uint64_t branch, uint64_t chunk, uint64_t count,
	struct pool_meta_entry **out, size_t *out_count)
{
	struct pool_map_key from = {.branch = branch, .chunk = chunk, .gen = UINT32_MAX};

	*out = NULL;
	return scan_map(m, &from, chunk + count, SIZE_MAX, out, out_count);
}

int pool_meta_scan_branch(struct pool_meta *m, const struct pool_map_key *from, size_t max,
	struct pool_meta_entry **out, size_t *out_count)
{
	*out = NULL;
	return scan_map(m, from, UINT64_MAX, max, out, out_count);
}

int pool_meta_scan_gens(struct pool_meta *m, const struct pool_map_key *from, uint32_t last_gen, size_t max,
	struct pool_map_key *out, size_t *out_count)
{
	uint8_t key[POOL_GEN_KEY_BYTES];
	MDB_cursor *cursor;
	MDB_txn *txn;
	MDB_val k, v;
	int err;

	*out_count = 0;
	pool_gen_key_encode(key, from);
	err = scan_begin(m, POOL_TABLE_GEN, key, sizeof(key), &txn, &cursor, &k, &v);
	if (err)
		return err == -ENOENT ? 0 : err;
	while (!err && *out_count < max) {
		if (k.mv_size != POOL_GEN_KEY_BYTES) {
			err = -EUCLEAN;
			break;
		}
		pool_gen_key_decode(k.mv_data, &out[*out_count]);
		if (out[*out_count].branch != from->branch || out[*out_count].gen > last_gen)
			break;
		(*out_count)++;
		err = pool_errno(mdb_cursor_get(cursor, &k, &v, MDB_NEXT));
	}
	return scan_end(txn, cursor, err);
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
	if (txn)
		mdb_txn_abort(txn);
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
