/* SPDX-License-Identifier: Apache-2.0 */
/* A pool gets more capacity: while it is open, while nobody has it open, and with a crash at each step. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define CHUNK  128u /* sectors */
#define CHUNKS 16u  /* in the pool, at first */

struct growth {
	struct store_grow request;
	int done; /* 1, or the error */
};

static void ended(struct store_grow *request, int err)
{
	container_of(request, struct growth, request)->done = err ? err : 1;
}

static void start(struct world *w, struct growth *g, uint64_t chunks)
{
	*g = (struct growth){
		.request = {.store = w->store, .capacity_bytes = chunks << POOL_CHUNK_SHIFT, .done = ended}};
	w->store->ops->grow(&g->request);
}

/* 0 or the error; of an open pool. */
static int grow(struct world *w, uint64_t chunks, struct fault *fault)
{
	struct growth g;

	start(w, &g, chunks);
	while (!g.done)
		assert_true(sim_step(&w->sim, true));
	if (fault)
		*fault = g.request.fault;
	if (g.done == 1)
		assert_true(!chunks || g.request.capacity_bytes == chunks << POOL_CHUNK_SHIFT);
	return g.done == 1 ? 0 : g.done;
}

static int grow_closed(struct world *w, uint64_t chunks, uint64_t *capacity, struct fault *fault)
{
	struct pool_options options = {.path = "sim", .capacity_bytes = chunks << POOL_CHUNK_SHIFT};
	struct pool_host *host = sim_host(&w->sim);
	int err = pool_grow_on(host, &options, capacity, fault);

	host->ops->free(host);
	return err;
}

static uint64_t capacity_chunks(struct world *w)
{
	struct store_stats stats;

	w->store->ops->stats(w->store, &stats);
	return stats.capacity_bytes >> POOL_CHUNK_SHIFT;
}

/* A disk that takes all that is free; one chunk more finds no room. */
static struct model *fill(struct world *w)
{
	struct model *m = world_create_disk(w, 6000 * CHUNK);

	world_settle(w);
	assert_int_equal(world_write(w, m, 0, CHUNKS * CHUNK, 0), 0);
	assert_int_equal(world_write(w, m, CHUNKS * CHUNK, CHUNK, 0), -ENOSPC);
	return m;
}

TEST(a_full_pool_that_has_grown_takes_writes_again)
{
	struct world w;
	struct model *m;

	world_begin(&w, test_seed(), CHUNKS << POOL_CHUNK_SHIFT);
	m = fill(&w);
	assert_int_equal(grow(&w, 3 * CHUNKS, NULL), 0);
	assert_int_equal(capacity_chunks(&w), 3 * CHUNKS);
	assert_int_equal(world_write(&w, m, CHUNKS * CHUNK, 2 * CHUNKS * CHUNK, 0), 0);
	assert_int_equal(world_write(&w, m, 3 * CHUNKS * CHUNK, CHUNK, 0), -ENOSPC);
	/* over the first group of the bitmaps */
	assert_int_equal(grow(&w, 3000, NULL), 0);
	for (uint64_t chunk = 3 * CHUNKS; chunk < 2000; chunk += 50)
		assert_int_equal(world_write(&w, m, chunk * CHUNK, 50 * CHUNK, 0), 0);
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(capacity_chunks(&w), 3000);
	world_verify_end(&w);
}

TEST(a_pool_without_a_size_takes_what_its_file_system_has)
{
	struct fault fault;
	struct world w;

	world_begin(&w, test_seed(), CHUNKS << POOL_CHUNK_SHIFT);
	fill(&w);
	w.sim.fs_bytes = UINT64_C(60) << 20; /* what the metadata keeps leaves nothing */
	assert_int_equal(grow(&w, 0, &fault), -ENOSPC);
	assert_non_null(strstr(fault.text, "enlarge it"));
	assert_int_equal(capacity_chunks(&w), CHUNKS);
	w.sim.fs_bytes = UINT64_C(400) << 20;
	assert_int_equal(grow(&w, 0, &fault), 0);
	assert_true(capacity_chunks(&w) > 200 << 4 && capacity_chunks(&w) < 400 << 4);
	world_verify_end(&w);
}

TEST(a_pool_does_not_become_smaller)
{
	struct fault fault = {0};
	uint64_t capacity = 0;
	struct world w;

	world_begin(&w, test_seed(), CHUNKS << POOL_CHUNK_SHIFT);
	assert_int_equal(grow(&w, CHUNKS - 1, &fault), -EINVAL);
	assert_non_null(strstr(fault.text, "cannot become smaller"));
	assert_int_equal(grow(&w, CHUNKS, &fault), 0); /* it is so large already */
	assert_int_equal(world_close(&w), 0);
	fault = (struct fault){0};
	assert_int_equal(grow_closed(&w, CHUNKS - 1, &capacity, &fault), -EINVAL);
	assert_non_null(strstr(fault.text, "cannot become smaller"));
	assert_int_equal(grow_closed(&w, 2 * CHUNKS, &capacity, &fault), 0);
	assert_int_equal(capacity, 2 * CHUNKS << POOL_CHUNK_SHIFT);
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(capacity_chunks(&w), 2 * CHUNKS);
	world_end(&w);
}

/* A write that waits for space on its way back, and a second growth, while one is under way. */
TEST(one_growth_at_a_time_and_close_waits_for_it)
{
	struct growth first, second;
	struct world w;
	int end = 0;

	world_begin(&w, test_seed(), CHUNKS << POOL_CHUNK_SHIFT);
	start(&w, &first, 2 * CHUNKS);
	start(&w, &second, 3 * CHUNKS);
	assert_int_equal(second.done, -EBUSY);
	w.store->ops->close(w.store, world_ended, &end);
	while (!end)
		assert_true(sim_step(&w.sim, true));
	assert_int_equal(first.done, 1);
	w.store = NULL;
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(capacity_chunks(&w), 2 * CHUNKS);
	world_end(&w);
}

/* The power goes at each step of the growth and of the writes that use it: the capacity is the old one or the new one, and
 * what was flushed is there. */
TEST(power_loss_while_a_pool_grows_loses_nothing)
{
	uint64_t seed = test_seed();
	unsigned runs = test_runs(20), kept = 0, grown = 0;

	for (unsigned n = 1; n <= runs; n++) {
		struct growth g;
		struct world w;
		struct model *m;

		world_begin(&w, seed + n, CHUNKS << POOL_CHUNK_SHIFT);
		w.map_memory = n & 1;
		m = fill(&w);
		world_flush(&w, m);
		w.sim.off_at = w.sim.steps + 1 + n % 10;
		start(&w, &g, 2 * CHUNKS);
		while (!g.done)
			assert_true(sim_step(&w.sim, true));
		for (uint64_t chunk = CHUNKS; chunk < 2 * CHUNKS && !w.sim.power_off; chunk++) {
			world_write(&w, m, chunk * CHUNK, CHUNK, 0);
			world_flush(&w, m);
		}
		world_drain(&w);
		sim_power_off(&w.sim);
		world_close(&w);
		sim_power_on(&w.sim);
		assert_int_equal(world_check(&w, false), 0);
		assert_int_equal(world_open(&w), 0);
		assert_true(capacity_chunks(&w) == CHUNKS || capacity_chunks(&w) == 2 * CHUNKS);
		assert_true(g.done != 1 || capacity_chunks(&w) == 2 * CHUNKS);
		kept += capacity_chunks(&w) == CHUNKS;
		grown += capacity_chunks(&w) != CHUNKS;
		world_verify(&w, true);
		assert_int_equal(grow(&w, 4 * CHUNKS, NULL), 0);
		assert_int_equal(world_write(&w, m, 2 * CHUNKS * CHUNK, CHUNK, 0), 0);
		world_verify_end(&w);
	}
	assert_true(kept && grown);
}

/* A step fails: an error, and the pool goes on with the capacity that it had. */
TEST(a_growth_that_fails_changes_nothing)
{
	uint64_t seed = test_seed();

	for (unsigned n = 1; n <= 8; n++) {
		struct fault fault;
		struct world w;
		struct model *m;

		world_begin(&w, seed + n, CHUNKS << POOL_CHUNK_SHIFT);
		m = fill(&w);
		world_idle(&w);
		w.sim.fail_at = w.sim.steps + 1 + n % 2;
		assert_int_equal(grow(&w, 2 * CHUNKS, &fault), -EIO);
		assert_non_null(strstr(fault.text, "cannot be written"));
		assert_int_equal(capacity_chunks(&w), CHUNKS);
		w.sim.fail_at = 0;
		assert_int_equal(world_write(&w, m, CHUNKS * CHUNK, CHUNK, 0), -ENOSPC);
		assert_int_equal(world_write(&w, m, 0, CHUNK, 0), 0);
		assert_int_equal(world_close(&w), 0);
		assert_int_equal(world_check(&w, false), 0);
		assert_int_equal(world_open(&w), 0);
		assert_int_equal(grow(&w, 2 * CHUNKS, NULL), 0);
		assert_int_equal(world_write(&w, m, CHUNKS * CHUNK, CHUNK, 0), 0);
		world_verify_end(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_pool_that_has_grown_takes_writes_again),
		cmocka_unit_test(a_pool_without_a_size_takes_what_its_file_system_has),
		cmocka_unit_test(a_pool_does_not_become_smaller),
		cmocka_unit_test(one_growth_at_a_time_and_close_waits_for_it),
		cmocka_unit_test(power_loss_while_a_pool_grows_loses_nothing),
		cmocka_unit_test(a_growth_that_fails_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
