/* SPDX-License-Identifier: Apache-2.0 */
/* Disks in memory: all of them, found by id. A disk is the head of a branch. */
#include "array/store/pool/pool.h"

#include <stdlib.h>

struct pool_disk *pool_disk_find(struct pool *p, uint64_t id)
{
	list_for_each (n, pool_bucket(p->disk_hash, id)) {
		struct pool_disk *d = container_of(n, struct pool_disk, hash_link);

		if (d->id == id)
			return d;
	}
	return NULL;
}

struct pool_disk *pool_disk_new(struct pool *p, uint64_t id, struct pool_branch *b, uint64_t size_bytes)
{
	struct pool_disk *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->base.store = &p->store;
	d->id = id;
	d->size_bytes = size_bytes;
	d->branch = b;
	list_init(&d->reserves);
	b->disk = d;
	list_push_back(pool_bucket(p->disk_hash, id), &d->hash_link);
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
