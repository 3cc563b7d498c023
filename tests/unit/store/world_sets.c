/* SPDX-License-Identifier: Apache-2.0 */
/* The world's disks come and go, and are cut. See world.h. */
#include "tests/unit/store/world.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One set: a cut, forks, a record in the catalogue. */
struct world_cut {
	struct world *w;
	struct store_cut cut;
	struct store_disk *disks[WORLD_DISKS], *forks[WORLD_DISKS];
	struct model *from[WORLD_DISKS], *to[WORLD_DISKS];
	unsigned count;
	uint64_t set;
	bool done;
	int err;
};

static struct model *model_slot(struct world *w)
{
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		if (!w->disk[i].disk_id && !w->disk[i].maybe)
			return &w->disk[i];
	}
	return NULL;
}

void world_txn_done(void *arg, int err)
{
	struct world_wait *t = arg;

	t->done = true;
	t->err = err;
}

int world_txn_wait(struct world *w, struct world_wait *t)
{
	while (!t->done) {
		bool went = sim_step(&w->sim, true);

		assert(went && "a transaction never ends");
	}
	return t->err;
}

/* The catalogue names every disk: "disk-ID" → size in sectors, number of the repoint that made its content. */
void world_put_name(struct world *w, struct store_txn *t, uint64_t id, uint64_t sectors, uint64_t version)
{
	uint64_t value[2] = {sectors, version};
	char key[32];
	int n = snprintf(key, sizeof(key), "disk-%llu", (unsigned long long)id);
	int err = w->store->ops->txn_put(t, STORE_TABLE_LUN, key, (size_t)n, value, sizeof(value));

	assert(!err);
}

static void del_name(struct world *w, struct store_txn *t, uint64_t id)
{
	char key[32];
	int n = snprintf(key, sizeof(key), "disk-%llu", (unsigned long long)id);
	int err = w->store->ops->txn_del(t, STORE_TABLE_LUN, key, (size_t)n);

	assert(!err);
}

struct model *world_create_disk(struct world *w, uint64_t sectors)
{
	const struct store_ops *ops = w->store->ops;
	struct model *m = model_slot(w);
	struct world_wait wait = {0};
	struct store_disk *disk;
	struct store_txn *t;
	uint64_t id;
	int err;

	if (!m)
		return NULL;
	world_model_init(m, sectors);
	m->maybe = true;
	t = ops->txn_begin(w->store);
	err = ops->txn_disk_create(t, sectors * SECTOR, &disk);
	assert(!err);
	id = m->disk_id = ops->disk_id(disk);
	world_put_name(w, t, id, sectors, 0);
	ops->txn_commit(t, world_txn_done, &wait);
	err = world_txn_wait(w, &wait);
	if (err) {
		/* Whether it is there is found at the next open. */
		if (!world_dead(w))
			world_model_free(m);
		return NULL;
	}
	m->maybe = false;
	m->disk = disk;
	return m;
}

int world_delete_disk(struct world *w, struct model *m)
{
	const struct store_ops *ops = w->store->ops;
	struct world_wait wait = {0};
	struct store_txn *t;
	int err;

	m->held = true;
	world_hydrate_cancel(w, m);
	while (m->inflight) {
		bool went = sim_step(&w->sim, true);

		assert(went);
	}
	m->maybe = true;
	t = ops->txn_begin(w->store);
	err = ops->txn_disk_delete(t, m->disk);
	assert(!err);
	del_name(w, t, m->disk_id);
	ops->txn_commit(t, world_txn_done, &wait);
	err = world_txn_wait(w, &wait);
	if (!err)
		world_model_free(m);
	else if (!world_dead(w))
		m->maybe = m->held = false;
	return err;
}

static void copy_models(struct world_cut *c)
{
	for (unsigned i = 0; i < c->count; i++) {
		struct model *from = c->from[i], *to = c->to[i];

		memset(to, 0, sizeof(*to));
		to->maybe = true;
		to->sectors = from->sectors;
		to->s = world_sectors_copy(from);
	}
}

static void cut_taken(void *arg, int err)
{
	struct world_cut *c = arg;

	if (err && !c->w->sim.power_off)
		assert(err == -EROFS);
	c->err = err;
	for (unsigned i = 0; i < c->count; i++)
		trace("set %llu: cut of disk %llu", (unsigned long long)c->set,
			(unsigned long long)c->from[i]->disk_id);
	if (!err)
		copy_models(c);
}

static void cut_committed(void *arg, int err)
{
	struct world_cut *c = arg;
	struct world *w = c->w;

	c->done = true;
	c->err = err;
	w->inflight--;
	for (unsigned i = 0; i < c->count; i++)
		trace("set %llu: disk %llu committed: %d", (unsigned long long)c->set,
			(unsigned long long)c->to[i]->disk_id, err);
	for (unsigned i = 0; i < c->count; i++) {
		struct model *m = c->to[i];

		if (!err) {
			m->disk = c->forks[i];
			m->maybe = false;
		} else if (!world_dead(w)) {
			world_model_free(m);
		}
	}
	if (!err) { /* durable, the cut's content included; the originals' content as of the cut, too */
		w->acked_sets++;
	}
	free(c);
}

struct world_cut *world_cut_start(struct world *w, struct model *const *set, unsigned count, bool drop)
{
	const struct store_ops *ops = w->store->ops;
	struct world_cut *c = calloc(1, sizeof(*c));
	struct store_txn *t;
	uint64_t ids[WORLD_DISKS];
	char key[32];
	int n, err;

	assert(c);
	c->w = w;
	c->count = count;
	c->set = ++w->next_set;
	for (unsigned i = 0; i < count; i++) {
		c->from[i] = set[i];
		c->disks[i] = set[i]->disk;
		c->to[i] = model_slot(w);
		if (!c->to[i]) { /* no slot left: give back the ones taken */
			while (i--)
				c->to[i]->maybe = false;
			free(c);
			return NULL;
		}
		c->to[i]->maybe = true;
	}
	c->cut.disks = c->disks;
	c->cut.count = count;
	ops->cut(w->store, &c->cut, cut_taken, c);
	if (c->err || drop) {
		if (!c->err)
			ops->cut_drop(&c->cut);
		for (unsigned i = 0; i < count; i++) {
			if (c->err)
				c->to[i]->maybe = false;
			else
				world_model_free(c->to[i]);
		}
		free(c);
		return NULL;
	}
	t = ops->txn_begin(w->store);
	for (unsigned i = 0; i < count; i++) {
		err = ops->txn_disk_fork(t, &c->cut, i, &c->forks[i]);
		assert(!err);
		ids[i] = c->to[i]->disk_id = ops->disk_id(c->forks[i]);
		c->to[i]->parent = c->from[i]->disk_id;
		world_put_name(w, t, ids[i], c->to[i]->sectors, 0);
	}
	n = snprintf(key, sizeof(key), "set-%llu", (unsigned long long)c->set);
	err = ops->txn_put(t, STORE_TABLE_SET, key, (size_t)n, ids, count * sizeof(ids[0]));
	assert(!err);
	w->inflight++;
	ops->cut_commit(&c->cut, t, cut_committed, c);
	return c;
}

int world_cut(struct world *w, struct model *const *set, unsigned count)
{
	uint64_t before = w->acked_sets;

	if (!world_cut_start(w, set, count, false))
		return -EAGAIN;
	world_drain(w);
	return w->acked_sets > before ? 0 : -EIO;
}
