/* SPDX-License-Identifier: Apache-2.0 */
/* What the pool's tests begin and end with, and what they look at: a test fails where it goes wrong. See world.h. */
#include <stdio.h>
#include <stdlib.h>
#include "tests/support/test.h"
#include "array/store/pool/durable/digest.h"
#include "tests/unit/store/world.h"

unsigned test_runs(unsigned normal)
{
	const char *env = getenv("UMBRA_TEST_RUNS");

	return env ? (unsigned)strtoul(env, NULL, 10) : normal;
}

void test_seeds(unsigned normal, void (*run)(uint64_t seed))
{
	unsigned runs = test_runs(normal);
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < runs; i++) {
		trace("run %u", i);
		run(seed + i);
	}
}

void world_begin(struct world *w, uint64_t seed, uint64_t capacity_bytes)
{
	world_init(w, seed, capacity_bytes, 1 << 20);
	assert_int_equal(world_open(w), 0);
}

void world_begin_whole(struct world *w, uint64_t seed, uint64_t capacity_bytes)
{
	world_init_whole(w, seed, capacity_bytes, 1 << 20);
	assert_int_equal(world_open(w), 0);
}

void world_begin_split(struct world *w, uint64_t seed, uint64_t capacity_bytes)
{
	world_init_split(w, seed, capacity_bytes, 1 << 20);
	assert_int_equal(world_open(w), 0);
}

void world_end(struct world *w)
{
	assert_int_equal(world_close(w), 0);
	assert_int_equal(world_check(w, false), 0);
	world_destroy(w);
}

void world_verify_end(struct world *w)
{
	world_verify(w, false);
	world_end(w);
}

bool world_dead(struct world *w)
{
	struct store_stats stats;

	if (w->sim.power_off)
		return true;
	w->store->ops->stats(w->store, &stats);
	return stats.read_only;
}

void world_recover(struct world *w)
{
	world_drain(w);
	sim_power_off(&w->sim);
	if (w->store)
		world_close(w);
	sim_power_on(&w->sim);
	assert_int_equal(world_check(w, false), 0);
	assert_int_equal(world_open(w), 0);
	world_verify(w, true);
}

void world_settle(struct world *w)
{
	world_drain(w);
	world_idle(w);
}

void world_hold(struct world *w, enum pool_op_kind kind, struct list *held)
{
	list_init(held);
	while (list_empty(held)) {
		list_for_each_safe (n, &w->sim.ops) {
			const struct pool_op *op = container_of(n, struct pool_op, link);

			if (op->kind != kind || op->file != world_pool(w)->space.data[0].file)
				continue;
			list_remove(n);
			list_push_back(held, n);
		}
		assert_true(!list_empty(held) || sim_step(&w->sim, true));
	}
}

void world_release(struct world *w, struct list *held)
{
	struct list_node *n;

	while ((n = list_pop(held)))
		list_push_back(&w->sim.ops, n);
}

void world_ended(void *arg, int err)
{
	*(int *)arg = err ? err : 1;
}

struct model *world_any_disk(struct world *w)
{
	unsigned start = (unsigned)sim_below(&w->sim, WORLD_DISKS);

	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		struct model *m = &w->disk[(start + i) % WORLD_DISKS];

		if (m->disk_id && !m->maybe && !m->held)
			return m;
	}
	return NULL;
}

struct model *world_fork(struct world *w, struct model *m)
{
	struct model *newest = NULL;

	assert_int_equal(world_cut(w, &m, 1), 0);
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		struct model *f = &w->disk[i];

		if (f->disk_id && f->parent == m->disk_id && (!newest || f->disk_id > newest->disk_id))
			newest = f;
	}
	assert_non_null(newest);
	return newest;
}

uint64_t world_used_chunks(struct world *w)
{
	struct store_stats stats;

	w->store->ops->stats(w->store, &stats);
	return stats.used_bytes >> POOL_CHUNK_SHIFT;
}

uint64_t world_used_blocks(struct world *w)
{
	return world_used_chunks(w) * POOL_BLOCKS - world_pool(w)->space.split_free;
}

uint64_t world_used(struct world *w)
{
	world_settle(w);
	return world_used_chunks(w);
}

void world_release_jobs(struct world *w, struct list *held)
{
	struct list_node *n;

	while ((n = list_pop(held)))
		list_push_back(&w->sim.jobs, n);
}

void world_edit_begin(struct world *w, struct world_edit *e)
{
	struct pool_super super;

	e->host = sim_host(&w->sim);
	assert_int_equal(pool_read_super(e->host, &super, NULL), 0);
	assert_int_equal(pool_meta_open(&e->meta, e->host, &super, POOL_META_USE, NULL), 0);
	assert_int_equal(pool_meta_begin(&e->meta, false, &e->txn), 0);
}

void world_edit_end(struct world_edit *e)
{
	assert_int_equal(pool_digest_flush(&e->meta, e->txn), 0);
	assert_int_equal(pool_meta_commit(e->txn), 0);
	pool_meta_close(&e->meta);
	e->host->ops->free(e->host);
}

/* ---- raw I/O ---------------------------------------------------------------------------------------- */

static void raw_done(struct store_io *io, int err)
{
	struct world_raw *r = container_of(io, struct world_raw, io);

	r->done = true;
	r->err = err;
}

void world_raw_start(struct world_raw *r, struct store_disk *disk, enum store_io_op op, uint64_t offset,
	void *buf, uint32_t len)
{
	*r = (struct world_raw){.iov = {.iov_base = buf, .iov_len = len}};
	r->io = (struct store_io){.op = op,
		.disk = disk,
		.offset = offset,
		.len = len,
		.iov = &r->iov,
		.iov_count = 1,
		.done = raw_done};
	disk->store->ops->submit(&r->io);
}

int world_raw_wait(struct world *w, struct world_raw *r)
{
	for (unsigned i = 0; !r->done; i++) {
		assert_true(i < 1000000);
		sim_step(&w->sim, true);
	}
	return r->err;
}

int world_raw(struct world *w, struct store_disk *disk, enum store_io_op op, uint64_t offset, void *buf,
	uint32_t len)
{
	struct world_raw r;

	world_raw_start(&r, disk, op, offset, buf, len);
	return world_raw_wait(w, &r);
}
