/* SPDX-License-Identifier: Apache-2.0 */
/* Disks in memory: all of them, found by id. A disk is the head of a branch. */
#include "array/store/pool/map/map.h"

#include <errno.h>
#include <stdlib.h>
#include "array/util/bytes.h"

struct pool_disk *pool_disk_find(struct pool_map *map, uint64_t id)
{
	list_for_each (n, pool_bucket(map->disk_hash, id)) {
		struct pool_disk *d = container_of(n, struct pool_disk, hash_link);

		if (d->id == id)
			return d;
	}
	return NULL;
}

struct pool_disk *pool_disk_new(struct pool_map *map, uint64_t id, struct pool_branch *b, uint64_t size_bytes)
{
	struct pool_disk *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->base.store = map->store;
	d->id = id;
	d->size_bytes = size_bytes;
	d->branch = b;
	list_init(&d->reserves);
	b->disk = d;
	list_push_back(pool_bucket(map->disk_hash, id), &d->hash_link);
	return d;
}

void pool_disk_free(struct pool_disk *d)
{
	while (list_pop(&d->reserves)) /* it leaves them */
		;
	if (d->branch)
		d->branch->disk = NULL;
	list_remove(&d->hash_link);
	free(d);
}

static int load_disk(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct pool_map *map = arg;
	struct pool_disk_value v;
	struct pool_branch *b;

	if (!intact || key_len != 8 || value_len != POOL_DISK_VALUE_BYTES - 4)
		return -EUCLEAN;
	pool_disk_value_decode(value, &v);
	b = pool_branch_find(map, v.branch);
	if (!b || b->disk)
		return -EUCLEAN;
	return pool_disk_new(map, get_be64(key), b, v.size_bytes) ? 0 : -ENOMEM;
}

int pool_disks_load(struct pool_map *map, MDB_txn *txn)
{
	return pool_meta_all(map->meta, txn, POOL_TABLE_DISK, load_disk, map);
}
