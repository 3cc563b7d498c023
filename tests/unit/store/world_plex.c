/* SPDX-License-Identifier: Apache-2.0 */
/* The world's disks that take another one's content, and copies that become independent. See world.h. */
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
		m->alone = false;
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

	assert(r && from != to && !to->inflight && !to->hydration);
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

	world_hydrate_cancel(w, to);
	world_drain(w);
	before = to->version;
	if (!world_repoint_start(w, from, to))
		return -EROFS;
	world_drain(w);
	return to->version != before ? 0 : -EIO;
}

/* ---- resize ---------------------------------------------------------------------------------------- */

static void resized(void *arg, int err)
{
	*(int *)arg = err ? err : 1;
}

void world_model_grow(struct model *m, uint64_t sectors)
{
	m->s = realloc(m->s, sectors * sizeof(m->s[0]));
	assert(m->s);
	for (; m->sectors < sectors; m->sectors++) {
		struct sector *s = &m->s[m->sectors];

		*s = (struct sector){.tags = calloc(2, sizeof(s->tags[0])), .count = 1, .room = 2};
		assert(s->tags);
		s->tags[0].completed = 1;
	}
}

int world_resize(struct world *w, struct model *m, uint64_t sectors)
{
	struct store_txn *t = w->store->ops->txn_begin(w->store);
	int err = w->store->ops->txn_disk_resize(t, m->disk, sectors * SECTOR), end = 0;

	assert(!err && sectors >= m->sectors);
	world_put_name(w, t, m->disk_id, sectors, m->version);
	m->resizing = sectors;
	w->store->ops->txn_commit(t, resized, &end);
	while (!end) {
		bool went = sim_step(&w->sim, true);

		assert(went && "a transaction never ends");
	}
	if (end < 0)
		return end;
	m->resizing = 0;
	world_model_grow(m, sectors);
	return 0;
}

/* ---- hydration ------------------------------------------------------------------------------------- */

struct world_hydration {
	struct store_hydration h;
	struct world *w;
	struct model *m;
	uint64_t passed;
	int *result;
};

static void hydrated(struct store_hydration *h, int err)
{
	struct world_hydration *x = container_of(h, struct world_hydration, h);
	struct world *w = x->w;

	trace("disk %llu hydrated: %d (%llu of %llu)", (unsigned long long)x->m->disk_id, err,
		(unsigned long long)h->passed_bytes, (unsigned long long)h->total_bytes);
	if (err && err != -ECANCELED && err != -ENOSPC && err != -EIO && err != -EROFS && err != -ENOMEM)
		fprintf(stderr, "unexpected error %d\n", err);
	assert(!err || err == -ECANCELED || err == -ENOSPC || err == -EIO || err == -EROFS ||
		(w->no_memory && err == -ENOMEM));
	if (!err) {
		assert(h->passed_bytes == h->total_bytes);
		assert(!pool_disk_of(x->m->disk)->branch->parent);
		x->m->alone = true;
		w->hydrated++;
	}
	if (x->result)
		*x->result = err ? err : 1;
	x->m->hydration = NULL;
	free(x);
}

static void hydrate_start(struct world *w, struct model *m, uint64_t bytes_per_s, int *result)
{
	struct world_hydration *x = calloc(1, sizeof(*x));

	assert(x && !m->hydration);
	w->hydrations++;
	x->w = w;
	x->m = m;
	x->result = result;
	x->h = (struct store_hydration){.disk = m->disk, .bytes_per_s = bytes_per_s, .done = hydrated};
	m->hydration = x;
	trace("disk %llu hydrates", (unsigned long long)m->disk_id);
	m->disk->store->ops->hydrate(&x->h);
}

void world_hydrate_start(struct world *w, struct model *m, uint64_t bytes_per_s)
{
	if (!m->hydration)
		hydrate_start(w, m, bytes_per_s, NULL);
}

void world_hydrate_cancel(struct world *w, struct model *m)
{
	if (!m->hydration)
		return;
	m->disk->store->ops->hydrate_cancel(&m->hydration->h);
	while (m->hydration) {
		bool went = sim_step(&w->sim, true);

		assert(went && "a hydration never ends");
	}
}

int world_hydrate(struct world *w, struct model *m)
{
	int result = 0;

	hydrate_start(w, m, 0, &result);
	while (!result) {
		bool went = sim_step(&w->sim, true);

		assert(went && "a hydration never ends");
	}
	return result > 0 ? 0 : result;
}

uint64_t world_passed(const struct model *m)
{
	return m->hydration->h.passed_bytes;
}

void world_hydrate_rate(struct model *m, uint64_t bytes_per_s)
{
	m->hydration->h.bytes_per_s = bytes_per_s;
}
