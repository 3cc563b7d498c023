/* SPDX-License-Identifier: Apache-2.0 */
/* See snapshot.h. Records and disks are arrays in the order in which they came; disks are found by a sorted copy. */
#include "array/store/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct record {
	enum store_table table;
	size_t key_len, value_len;
	uint8_t *bytes; /* key, then value */
};

struct disk {
	struct store_disk base;
	uint64_t id, size_bytes, data;
};

struct snapshot {
	struct store base;
	struct record *records;
	size_t record_count, record_room;
	struct disk *disks; /* sorted by id when `sorted` */
	size_t disk_count, disk_room;
	bool sorted;
	uint64_t sum; /* of all of it, in whatever order */
};

static struct snapshot *snapshot_of(struct store *store)
{
	return (struct snapshot *)store;
}

/* ---- filling it ---- */

/* FNV-1a */
static uint64_t hash(uint64_t h, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len-- > 0)
		h = (h ^ *p++) * UINT64_C(0x100000001B3);
	return h;
}

/* Sums do not mind the order; a finisher spreads each part over all bits. */
static uint64_t spread(uint64_t h)
{
	h ^= h >> 33;
	h *= UINT64_C(0xFF51AFD7ED558CCD);
	h ^= h >> 33;
	return h;
}

/* Room for one more. False: no memory. */
static bool grow(void **list, size_t count, size_t *room, size_t size)
{
	size_t more = *room ? 2 * *room : 64;
	void *fresh;

	if (count < *room)
		return true;
	fresh = realloc(*list, more * size);
	if (!fresh)
		return false;
	*list = fresh;
	*room = more;
	return true;
}

int snapshot_record(struct snapshot *s, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len)
{
	struct record *r;
	uint64_t h = hash(UINT64_C(0xCBF29CE484222325), &table, sizeof(table));

	if (key_len > STORE_KEY_MAX_BYTES || value_len > STORE_VALUE_MAX_BYTES)
		return -EMSGSIZE;
	if (!grow((void **)&s->records, s->record_count, &s->record_room, sizeof(*r)))
		return -ENOMEM;
	r = &s->records[s->record_count];
	*r = (struct record){table, key_len, value_len, malloc(key_len + value_len + 1)};
	if (!r->bytes)
		return -ENOMEM;
	memcpy(r->bytes, key, key_len);
	memcpy(r->bytes + key_len, value, value_len);
	s->record_count++;
	h = hash(h, &key_len, sizeof(key_len));
	if (table != STORE_TABLE_META)
		s->sum += spread(hash(h, r->bytes, key_len + value_len));
	return 0;
}

int snapshot_disk(struct snapshot *s, uint64_t id, uint64_t size_bytes, uint64_t data)
{
	uint64_t all[3] = {id, size_bytes, data};

	if (!grow((void **)&s->disks, s->disk_count, &s->disk_room, sizeof(s->disks[0])))
		return -ENOMEM;
	s->disks[s->disk_count++] =
		(struct disk){.base.store = &s->base, .id = id, .size_bytes = size_bytes, .data = data};
	s->sorted = false;
	s->sum += spread(hash(1, all, sizeof(all)));
	return 0;
}

uint64_t snapshot_digest(const struct snapshot *s)
{
	uint64_t all[2] = {s->disk_count, s->sum};

	return hash(2, all, sizeof(all));
}

void snapshot_free(struct snapshot *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->record_count; i++)
		free(s->records[i].bytes);
	free(s->records);
	free(s->disks);
	free(s);
}

/* ---- as a store ---- */

static void close_store(struct store *store, void (*done)(void *arg, int err), void *arg)
{
	snapshot_free(snapshot_of(store));
	done(arg, 0);
}

static void stats(struct store *store, struct store_stats *out)
{
	(void)store;
	memset(out, 0, sizeof(*out));
}

static int by_id(const void *a, const void *b)
{
	const struct disk *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static int disk_open(struct store *store, uint64_t id, struct store_disk **out)
{
	struct snapshot *s = snapshot_of(store);
	struct disk key = {.id = id}, *d;

	if (!s->sorted && s->disk_count)
		qsort(s->disks, s->disk_count, sizeof(s->disks[0]), by_id);
	s->sorted = true;
	d = s->disk_count ? bsearch(&key, s->disks, s->disk_count, sizeof(key), by_id) : NULL;
	if (!d)
		return -ENOENT;
	*out = &d->base;
	return 0;
}

static uint64_t disk_id(const struct store_disk *d)
{
	return ((const struct disk *)d)->id;
}

static uint64_t disk_size(const struct store_disk *d)
{
	return ((const struct disk *)d)->size_bytes;
}

static uint64_t disk_data(const struct store_disk *d)
{
	return ((const struct disk *)d)->data;
}

static uint64_t disk_used(const struct store_disk *d)
{
	(void)d;
	return 0;
}

static void submit(struct store_io *io)
{
	io->done(io, -ESHUTDOWN);
}

/* A transaction that can hold nothing: it exists so that its end can say why. */
struct store_txn {
	struct store *store;
};

static struct store_txn *txn_begin(struct store *store)
{
	struct store_txn *t = malloc(sizeof(*t));

	if (t)
		t->store = store;
	return t;
}

static int txn_put(struct store_txn *t, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len)
{
	(void)t, (void)table, (void)key, (void)key_len, (void)value, (void)value_len;
	return 0;
}

static int txn_del(struct store_txn *t, enum store_table table, const void *key, size_t key_len)
{
	(void)t, (void)table, (void)key, (void)key_len;
	return 0;
}

static int txn_disk_create(struct store_txn *t, uint64_t size_bytes, struct store_disk **out)
{
	(void)t, (void)size_bytes, (void)out;
	return -ESHUTDOWN;
}

static int txn_disk_fork(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk **out)
{
	(void)t, (void)cut, (void)index, (void)out;
	return -ESHUTDOWN;
}

static int txn_disk_delete(struct store_txn *t, struct store_disk *d)
{
	(void)t, (void)d;
	return -ESHUTDOWN;
}

static int txn_disk_resize(struct store_txn *t, struct store_disk *d, uint64_t size_bytes)
{
	(void)t, (void)d, (void)size_bytes;
	return -ESHUTDOWN;
}

static int txn_disk_repoint(
	struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk *disk)
{
	(void)t, (void)cut, (void)index, (void)disk;
	return -ESHUTDOWN;
}

static void txn_commit(struct store_txn *t, void (*done)(void *arg, int err), void *arg)
{
	free(t);
	done(arg, -ESHUTDOWN);
}

static void txn_drop(struct store_txn *t)
{
	free(t);
}

static int iterate(struct store *store, enum store_table table,
	int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len),
	void *arg)
{
	struct snapshot *s = snapshot_of(store);
	int err = 0;

	for (size_t i = 0; i < s->record_count && !err; i++) {
		const struct record *r = &s->records[i];

		if (r->table == table)
			err = each(arg, r->bytes, r->key_len, r->bytes + r->key_len, r->value_len);
	}
	return err;
}

static void cut(struct store *store, struct store_cut *c, void (*cut_done)(void *arg, int err), void *arg)
{
	(void)store, (void)c;
	cut_done(arg, -ESHUTDOWN);
}

static void cut_commit(struct store_cut *c, struct store_txn *t, void (*done)(void *arg, int err), void *arg)
{
	(void)c;
	free(t);
	done(arg, -ESHUTDOWN);
}

static void cut_drop(struct store_cut *c)
{
	(void)c;
}

static void hydrate(struct store_hydration *h)
{
	h->done(h, -ESHUTDOWN);
}

static void hydrate_cancel(struct store_hydration *h)
{
	(void)h;
}

static const struct store_ops ops = {
	.name = "snapshot",
	.close = close_store,
	.stats = stats,
	.disk_open = disk_open,
	.disk_id = disk_id,
	.disk_size = disk_size,
	.disk_used = disk_used,
	.disk_data = disk_data,
	.submit = submit,
	.txn_begin = txn_begin,
	.txn_put = txn_put,
	.txn_del = txn_del,
	.txn_disk_create = txn_disk_create,
	.txn_disk_fork = txn_disk_fork,
	.txn_disk_delete = txn_disk_delete,
	.txn_disk_resize = txn_disk_resize,
	.txn_disk_repoint = txn_disk_repoint,
	.txn_commit = txn_commit,
	.txn_drop = txn_drop,
	.iterate = iterate,
	.cut = cut,
	.cut_commit = cut_commit,
	.cut_drop = cut_drop,
	.hydrate = hydrate,
	.hydrate_cancel = hydrate_cancel,
};

struct snapshot *snapshot_new(struct reactor *reactor)
{
	struct snapshot *s = calloc(1, sizeof(*s));

	if (s)
		s->base = (struct store){.ops = &ops, .reactor = reactor};
	return s;
}

struct store *snapshot_store(struct snapshot *s)
{
	return &s->base;
}
