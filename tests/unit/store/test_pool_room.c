/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks that are on their way back: who waits for them, who ends without them, and what an administrator is told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define CHUNK  128u /* sectors */
#define CHUNKS 16u  /* in the pool */

/* A disk that takes what is free. */
static struct model *filler(struct world *w)
{
	struct model *m = world_create_disk(w, CHUNKS * CHUNK);

	world_settle(w);
	assert_int_equal(world_write(w, m, 0, (CHUNKS - world_used_chunks(w)) * CHUNK, 0), 0);
	return m;
}

static uint64_t pending_chunks(struct world *w)
{
	struct store_stats stats;

	w->store->ops->stats(w->store, &stats);
	return stats.reclaim_pending_bytes >> POOL_CHUNK_SHIFT;
}

/* ---- closing ---------------------------------------------------------------------------------------- */

/* A hydration copies, or waits for chunks that are on their way back: I/O that is under way holds them up. */
static struct model *start_hydration(
	struct world *w, uint64_t seed, bool shares, unsigned steps, struct model **fill, unsigned *epoch)
{
	struct model *a, *b;

	world_init(w, seed, CHUNKS << POOL_CHUNK_SHIFT, 1 << 20);
	w->map_memory = seed & 1;
	assert_int_equal(world_open(w), 0);
	a = world_create_disk(w, 4 * CHUNK);
	assert_int_equal(world_write(w, a, 0, 4 * CHUNK, 0), 0);
	if (shares) {
		b = world_create_disk(w, 4 * CHUNK);
		assert_int_equal(world_clone(w, b, 0, 4 * CHUNK, a, 0, NULL), 0);
	} else {
		b = world_fork(w, a);
	}
	*fill = filler(w);
	if (seed & 2) { /* the map is in LMDB only */
		assert_int_equal(world_close(w), 0);
		assert_int_equal(world_open(w), 0);
	}
	*epoch = pool_epoch_enter(&world_pool(w)->space);
	assert_int_equal(world_unmap(w, *fill, 0, CHUNK), 0);
	world_hydrate_start(w, b, 0);
	for (unsigned i = 0; i < steps; i++)
		sim_step(&w->sim, true);
	return b;
}

static void goes_on(struct world *w, struct model *b, struct model *fill)
{
	world_verify(w, false);
	assert_int_equal(world_delete_disk(w, fill), 0);
	assert_int_equal(world_hydrate(w, b), 0);
	world_verify_end(w);
}

/* They do not come any more, and the hydration ends. What it copied stays. */
static void close_while_hydrating(uint64_t seed, bool shares, unsigned steps)
{
	struct model *b, *fill;
	struct world w;
	unsigned epoch;
	int end = 0;

	b = start_hydration(&w, seed, shares, steps, &fill, &epoch);
	w.store->ops->close(w.store, world_ended, &end);
	pool_epoch_leave(&world_pool(&w)->space, epoch);
	while (!end)
		assert_true(sim_step(&w.sim, true));
	assert_int_equal(end, 1);
	assert_null(b->hydration);
	w.store = NULL;
	assert_int_equal(world_check(&w, false), 0);
	sim_power_on(&w.sim);
	assert_int_equal(world_open(&w), 0);
	goes_on(&w, b, fill);
}

TEST(close_ends_a_hydration_that_waits_for_chunks)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 60; i++)
		close_while_hydrating(seed + i, i & 4, 3 * i);
}

/* One that is given up does not wait for them. */
TEST(a_cancelled_hydration_does_not_wait_for_chunks)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 60; i++) {
		struct model *b, *fill;
		struct world w;
		unsigned epoch;

		b = start_hydration(&w, seed + i, false, i, &fill, &epoch);
		world_hydrate_cancel(&w, b);
		pool_epoch_leave(&world_pool(&w)->space, epoch);
		goes_on(&w, b, fill);
	}
}

/* ---- loose chunks ----------------------------------------------------------------------------------- */

/* A write holds the lock that a splice wants, and waits for a chunk; there is one that nobody has any more. */
TEST(a_write_that_waits_gets_a_loose_chunk_despite_a_splice)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 20; i++) {
		struct model *a, *f, *x, *y;
		struct world w;

		world_begin(&w, seed + i, CHUNKS << POOL_CHUNK_SHIFT);
		a = world_create_disk(&w, 2 * CHUNK);
		x = world_create_disk(&w, CHUNK);
		y = world_create_disk(&w, CHUNK);
		assert_int_equal(world_write(&w, a, 0, 2 * CHUNK, 0), 0);
		assert_int_equal(world_write(&w, x, 0, CHUNK, 0), 0);
		f = world_fork(&w, a);
		assert_int_equal(world_clone(&w, y, 0, CHUNK, x, 0, NULL), 0);
		filler(&w);
		world_settle(&w);
		assert_int_equal(world_unmap(&w, x, 0, CHUNK), 0);
		assert_int_equal(world_unmap(&w, y, 0, CHUNK), 0);
		assert_int_equal(world_delete_disk(&w, a), 0);
		assert_int_equal(world_write(&w, f, 3, 1, 0), 0);
		world_settle(&w);
		world_verify_end(&w);
	}
}

/* They are on their way back, and said to be. */
TEST(loose_chunks_are_told_as_pending)
{
	struct model *x, *y;
	struct world w;

	world_begin(&w, test_seed(), CHUNKS << POOL_CHUNK_SHIFT);
	x = world_create_disk(&w, 4 * CHUNK);
	y = world_create_disk(&w, 4 * CHUNK);
	assert_int_equal(world_write(&w, x, 0, 4 * CHUNK, 0), 0);
	assert_int_equal(world_clone(&w, y, 0, 4 * CHUNK, x, 0, NULL), 0);
	world_settle(&w);
	world_pool(&w)->commit.flush_timer_armed = true; /* nobody looks */
	assert_int_equal(world_unmap(&w, x, 0, 3 * CHUNK), 0);
	assert_int_equal(world_unmap(&w, y, 0, 3 * CHUNK), 0);
	assert_int_equal(world_flush(&w, x), 0);
	world_settle(&w);
	assert_int_equal(world_used_chunks(&w), 4);
	assert_int_equal(pending_chunks(&w), 3);
	world_pool(&w)->commit.flush_timer_armed = false;
	world_crash(&w);
	world_settle(&w);
	assert_int_equal(world_used_chunks(&w), 1);
	assert_int_equal(pending_chunks(&w), 0);
	world_verify_end(&w);
}

/* ---- what waits for a frame is bounded -------------------------------------------------------------- */

/* Written and unmapped over and over: that makes nothing dirty that was not, but each time a chunk is freed. */
TEST(what_is_freed_before_a_frame_is_bounded)
{
	struct world_io *io[64];
	unsigned count = 0;
	struct model *m;
	struct pool *p;
	struct world w;

	world_begin(&w, test_seed(), UINT64_C(64) << 20);
	p = world_pool(&w);
	m = world_create_disk(&w, 4 * CHUNK);
	assert_int_equal(world_write(&w, m, 0, CHUNK, 0), 0);
	world_fork(&w, m);
	p->commit.no_room = true; /* the log is full */
	p->map.dirty_max = 4;
	while (count < 64) {
		io[count++] = world_start_write(&w, m, 0, 8);
		for (unsigned i = 0; i < 100; i++)
			sim_step(&w.sim, false);
		if (!list_empty(&p->space.alloc_waiters))
			break;
		assert_int_equal(world_unmap(&w, m, 0, CHUNK), 0);
	}
	assert_true(p->space.free_new.count <= 2 * p->map.dirty_max);
	pool_commit_log_has_room(&p->commit);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(world_wait(&w, io[i]), 0);
	world_verify_end(&w);
}

/* ---- a to-do in the frame under way ----------------------------------------------------------------- */

/* Who waits for what it will give back does not ask again and again until the frame is written. */
TEST(who_waits_for_a_frame_does_not_ask_again_and_again)
{
	struct model *a, *fill;
	struct world_io *write;
	struct store_disk *disk;
	struct store_cut made;
	struct list_node *n;
	struct list held;
	unsigned steps = 0;
	struct world w;
	int err = 0;

	list_init(&held);
	world_begin(&w, test_seed(), CHUNKS << POOL_CHUNK_SHIFT);
	a = world_create_disk(&w, CHUNK);
	assert_int_equal(world_write(&w, a, 0, CHUNK, 0), 0);
	fill = filler(&w);
	assert_int_equal(world_unmap(&w, fill, 0, CHUNK), 0);
	world_settle(&w);
	disk = a->disk;
	made = (struct store_cut){.disks = &disk, .count = 1};
	w.store->ops->cut(w.store, &made, world_ended, &err);
	assert_int_equal(err, 1);
	assert_int_equal(world_write(&w, a, 0, CHUNK, 0), 0); /* the last chunk */
	w.store->ops->cut_drop(&made);
	pool_commit_request(&world_pool(&w)->commit);
	while (list_empty(&w.sim.ops))
		assert_true(sim_step(&w.sim, false));
	write = world_start_write(&w, fill, 0, 8);
	do {
		while ((n = list_pop(&w.sim.ops)))
			list_push_back(&held, n);
		assert_true(++steps < 1000);
	} while (sim_step(&w.sim, false) || !list_empty(&w.sim.ops));
	while ((n = list_pop(&held)))
		list_push_back(&w.sim.ops, n);
	assert_int_equal(world_wait(&w, write), 0);
	world_verify_end(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(close_ends_a_hydration_that_waits_for_chunks),
		cmocka_unit_test(a_cancelled_hydration_does_not_wait_for_chunks),
		cmocka_unit_test(a_write_that_waits_gets_a_loose_chunk_despite_a_splice),
		cmocka_unit_test(loose_chunks_are_told_as_pending),
		cmocka_unit_test(what_is_freed_before_a_frame_is_bounded),
		cmocka_unit_test(who_waits_for_a_frame_does_not_ask_again_and_again),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
