/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue of a pool that nobody has open, for who knows what its records mean: a store that reads within one
 * transaction of LMDB, and, for an edit, writes within it; and does nothing else.
 */
#include "array/store/pool/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/bytes.h"

struct look_disk {
	struct store_disk disk;
	struct list_node link;
	uint64_t id, size_bytes;
};

struct look {
	struct store store;
	struct pool_meta *meta;
	MDB_txn *txn;
	struct list disks;
};

struct look_table {
	enum store_table table;
	int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len);
	void *arg;
};

static struct look *look_of(struct store *s)
{
	return container_of(s, struct look, store);
}

static const struct look_disk *disk_of(const struct store_disk *d)
{
	return container_of(d, struct look_disk, disk);
}

static int look_disk_open(struct store *s, uint64_t id, struct store_disk **out)
{
	struct look *l = look_of(s);
	struct pool_disk_value v;
	struct look_disk *d;
	const uint8_t *value;
	uint8_t key[8];
	size_t len;
	int err;

	put_be64(key, id);
	err = pool_meta_get(l->meta, l->txn, POOL_TABLE_DISK, key, sizeof(key), &value, &len);
	if (!err && len != POOL_DISK_VALUE_BYTES - 4)
		err = -EUCLEAN;
	if (err)
		return err;
	pool_disk_value_decode(value, &v);
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->disk.store = s;
	d->id = id;
	d->size_bytes = v.size_bytes;
	list_push_back(&l->disks, &d->link);
	*out = &d->disk;
	return 0;
}

static uint64_t look_disk_id(const struct store_disk *d)
{
	return disk_of(d)->id;
}

static uint64_t look_disk_size(const struct store_disk *d)
{
	return disk_of(d)->size_bytes;
}

static int look_each(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	const struct look_table *t = arg;

	if (!intact || key_len < 1 || key[0] != t->table) /* what is damaged has been told */
		return 0;
	return t->each(t->arg, key + 1, key_len - 1, value, value_len);
}

static int look_iterate(struct store *s, enum store_table table,
	int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len),
	void *arg)
{
	struct look_table t = {table, each, arg};

	return pool_meta_each(look_of(s)->meta, look_of(s)->txn, POOL_TABLE_CATALOGUE, look_each, &t);
}

/* ---- to write: at once, for the edit as a whole is kept or not ---- */

static struct store_txn *look_txn_begin(struct store *s)
{
	return (struct store_txn *)look_of(s);
}

static size_t catalogue_key(
	uint8_t out[1 + STORE_KEY_MAX_BYTES], enum store_table table, const void *key, size_t key_len)
{
	out[0] = (uint8_t)table;
	memcpy(out + 1, key, key_len);
	return 1 + key_len;
}

static int look_txn_put(struct store_txn *t, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len)
{
	struct look *l = (struct look *)t;
	uint8_t whole[1 + STORE_KEY_MAX_BYTES];

	if (key_len > STORE_KEY_MAX_BYTES || value_len > STORE_VALUE_MAX_BYTES)
		return -EMSGSIZE;
	return pool_meta_put(l->meta, l->txn, POOL_TABLE_CATALOGUE, whole,
		catalogue_key(whole, table, key, key_len), value, value_len);
}

static int look_txn_del(struct store_txn *t, enum store_table table, const void *key, size_t key_len)
{
	struct look *l = (struct look *)t;
	uint8_t whole[1 + STORE_KEY_MAX_BYTES];

	if (key_len > STORE_KEY_MAX_BYTES)
		return -EMSGSIZE;
	return pool_meta_del(
		l->meta, l->txn, POOL_TABLE_CATALOGUE, whole, catalogue_key(whole, table, key, key_len));
}

static void look_txn_drop(struct store_txn *t)
{
	(void)t;
}

static const struct store_ops look_ops = {
	.disk_open = look_disk_open,
	.disk_id = look_disk_id,
	.disk_size = look_disk_size,
	.iterate = look_iterate,
};

static const struct store_ops edit_ops = {
	.disk_open = look_disk_open,
	.disk_id = look_disk_id,
	.disk_size = look_disk_size,
	.iterate = look_iterate,
	.txn_begin = look_txn_begin,
	.txn_put = look_txn_put,
	.txn_del = look_txn_del,
	.txn_drop = look_txn_drop,
};

static void look_end(struct look *l)
{
	struct list_node *n;

	while ((n = list_pop(&l->disks)))
		free(container_of(n, struct look_disk, link));
}

int pool_check_catalogue(struct pool_meta *meta, MDB_txn *txn,
	int (*look)(struct store *store, struct fault *fault), struct fault *fault)
{
	struct look l = {.store = {.ops = &look_ops}, .meta = meta, .txn = txn};
	int err;

	list_init(&l.disks);
	err = look(&l.store, fault);
	look_end(&l);
	return err;
}

int pool_catalogue_edit(struct pool_meta *meta, MDB_txn *txn,
	int (*edit)(void *arg, struct store *store, struct fault *fault), void *arg, struct fault *fault)
{
	struct look l = {.store = {.ops = &edit_ops}, .meta = meta, .txn = txn};
	int err;

	list_init(&l.disks);
	err = edit(arg, &l.store, fault);
	look_end(&l);
	return err;
}
