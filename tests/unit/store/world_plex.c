/* SPDX-License-Identifier: Apache-2.0 */
/* The world's disks that take another one's content. See world.h. */
#include "tests/unit/store/world.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct world_repoint {
	struct world *w;
	struct store_cut cut;
	struct store_disk *disk;
	struct model *from, *to;
	int err;
};

static void repoint_cut(void *arg, int err)
{
	struct world_repoint *r = arg;

	r->err = err;
	if (err)
		return;
	world_sectors_free(r->to->next_s, r->to->next_sectors); /* of one that failed before */
	r->to->next_s = world_sectors_copy(r->from);
	r->to->next_sectors = r->from->sectors;
	r->to->next_version = ++r->w->next_version;
}

static void repoint_done(void *arg, int err)
{
	struct world_repoint *r = arg;
	struct model *m = r->to;

	trace("disk %llu repointed to disk %llu: %d", (unsigned long long)m->disk_id,
		(unsigned long long)r->from->disk_id, err);
	r->w->inflight--;
	if (!err) {
		world_sectors_free(m->s, m->sectors);
		m->s = m->next_s;
		m->sectors = m->next_sectors;
		m->version = m->next_version;
		m->next_s = NULL;
		assert(m->disk->store->ops->disk_size(m->disk) == m->sectors * SECTOR);
	}
	/* After an error the old content is read until the next start, and then either. */
	if (!err || !r->w->sim.power_off)
		m->maybe = m->held = false;
	free(r);
}

bool world_repoint_start(struct world *w, struct model *from, struct model *to)
{
	const struct store_ops *ops = w->store->ops;
	struct world_repoint *r = calloc(1, sizeof(*r));
	struct store_txn *t;
	int err;

	assert(r && from != to && !to->inflight);
	r->w = w;
	r->from = from;
	r->to = to;
	r->disk = from->disk;
	r->cut.disks = &r->disk;
	r->cut.count = 1;
	ops->cut(w->store, &r->cut, repoint_cut, r);
	if (r->err) {
		assert(r->err == -EROFS || w->sim.power_off);
		free(r);
		return false;
	}
	to->held = to->maybe = true;
	t = ops->txn_begin(w->store);
	err = ops->txn_disk_repoint(t, &r->cut, 0, to->disk);
	assert(!err);
	world_put_name(w, t, to->disk_id, to->next_sectors, to->next_version);
	w->inflight++;
	ops->cut_commit(&r->cut, t, repoint_done, r);
	return true;
}

int world_repoint(struct world *w, struct model *from, struct model *to)
{
	uint64_t before;

	world_drain(w);
	before = to->version;
	if (!world_repoint_start(w, from, to))
		return -EROFS;
	world_drain(w);
	return to->version != before ? 0 : -EIO;
}
