/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power loss after N steps, N = 1, 2, 3 …, over a workload with several disks, cuts, forks, deletions,
 * repoints, hydrations and reopenings: whatever N is, after the next start every flushed block is there, every other one is old or
 * new sector by sector, every acknowledged set holds exactly its cut, no transaction is there by half, and a
 * check finds nothing. Then the same with a failing write, sync or commit in place of the power loss.
 */
#include <stdio.h>
#include <stdlib.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

static unsigned live(struct world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < WORLD_DISKS; i++)
		n += w->disk[i].disk_id || w->disk[i].maybe;
	return n;
}

/* Everything at once, until the power goes (or the pool has gone read-only). */
static void workload(struct world *w, unsigned ops)
{
	for (unsigned i = 0; i < ops && !world_dead(w); i++) {
		uint64_t kind = sim_below(&w->sim, 60);

		if (kind == 0 && live(w) < WORLD_DISKS - 3) {
			world_create_disk(w, 128 * (1 + sim_below(&w->sim, 5)));
		} else if (kind == 1 && live(w) > 4) {
			struct model *m = world_any_disk(w);

			world_drain(w);
			if (m && m->disk_id && !m->maybe && !world_dead(w))
				world_delete_disk(w, m);
		} else if (kind < 5 && live(w) < WORLD_DISKS - 2) {
			struct model *set[2] = {world_any_disk(w), world_any_disk(w)};

			world_drain(w);
			if (!set[0] || world_dead(w))
				continue;
			for (unsigned k = 0; k < 4; k++)
				world_random_op(w);
			world_cut_start(
				w, set, set[0] == set[1] || !set[1] ? 1 : 2, sim_below(&w->sim, 6) == 0);
		} else if (kind == 6 || kind == 7) {
			struct model *m = world_any_disk(w);

			if (m)
				world_hydrate_start(w, m, 0);
		} else if (kind == 5) {
			struct model *from = world_any_disk(w), *to = world_any_disk(w);

			world_drain(w);
			if (!from || from == to)
				continue;
			world_hydrate_cancel(w, to);
			if (world_dead(w))
				continue;
			to->maybe = true;
			for (unsigned k = 0; k < 4; k++)
				world_random_op(w);
			to->maybe = false;
			world_repoint_start(w, from, to);
		} else {
			world_random_op(w);
		}
		for (uint64_t k = sim_below(&w->sim, 5); k > 0; k--)
			sim_step(&w->sim, true);
		while (w->inflight > 12)
			sim_step(&w->sim, true);
	}
}

static void start(struct world *w, uint64_t seed)
{
	world_init(w, seed, UINT64_C(24) << 20, 1 << 20);
	w->sim.direct = seed & 1;
	w->sim.slow = seed % 4 ? 0 : 20;
	w->map_memory = seed % 3 == 0;
	w->packs = 2;
	assert_int_equal(world_open(w), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_non_null(world_create_disk(w, 128 * 4));
	workload(w, 60);
	world_drain(w);
}

static void say(unsigned n, uint64_t seed)
{
	if (getenv("UMBRA_TEST_VERBOSE"))
		fprintf(stderr, "step %u: seed %llu\n", n, (unsigned long long)seed);
}

/* The power goes at step n of the workload; two crashes a run, the second in what the first left. */
TEST(power_loss_at_any_step_keeps_what_was_promised)
{
	uint64_t seed = test_seed();
	unsigned runs = test_runs(60);

	for (unsigned n = 1; n <= runs; n++) {
		struct world w;

		say(n, seed + n / 40);
		start(&w, seed + n / 40); /* the same start for some steps in a row */
		w.sim.steps = 0;
		w.sim.off_at = n;
		workload(&w, 400);
		world_recover(&w);
		w.sim.off_at = 1 + sim_below(&w.sim, 60);
		workload(&w, 200);
		world_recover(&w);
		workload(&w, 40);
		world_drain(&w);
		world_verify(&w, false);
		world_end(&w);
	}
}

/* The power goes while the pool is being opened (the replay) and while it closes. */
TEST(power_loss_while_opening_or_closing_loses_nothing)
{
	uint64_t seed = test_seed();
	unsigned runs = test_runs(12);

	for (unsigned n = 1; n <= runs; n++) {
		struct world w;

		say(n, seed + n);
		start(&w, seed + n);
		workload(&w, 100);
		sim_power_off(&w.sim);
		world_drain(&w);
		world_close(&w);
		for (unsigned k = 1; k < 3; k++) {
			sim_power_on(&w.sim);
			w.sim.off_at = 1;
			assert_int_not_equal(world_open(&w), 0);
		}
		sim_power_on(&w.sim);
		assert_int_equal(world_open(&w), 0);
		world_verify(&w, true);
		workload(&w, 50);
		world_drain(&w);
		w.sim.off_at = w.sim.steps + 1 + sim_below(&w.sim, 4);
		world_close(&w);
		world_recover(&w);
		world_end(&w);
	}
}

/* A write, a sync or a commit fails once, or from then on: nothing is acknowledged that is not so, readers go
 * on, and after a restart the pool is as after a power loss. */
TEST(a_failing_write_sync_or_commit_acknowledges_nothing_untrue)
{
	uint64_t seed = test_seed();
	unsigned runs = test_runs(48);
	unsigned latched = 0;

	for (unsigned n = 1; n <= runs; n++) {
		struct world w;

		say(n, seed + n / 30);
		start(&w, seed + n / 30);
		w.sim.steps = 0;
		w.sim.fail_at = n;
		w.sim.fail_forever = n % 3 == 0;
		workload(&w, 300);
		world_drain(&w);
		if (world_dead(&w)) {
			struct store_stats stats;

			latched++;
			w.store->ops->stats(w.store, &stats);
			assert_true(stats.read_only && stats.read_only_reason[0]);
			for (unsigned i = 0; i < 20; i++)
				world_random_op(&w);
			world_drain(&w);
			world_verify(&w, false); /* readers go on */
		}
		world_recover(&w);
		workload(&w, 40);
		world_drain(&w);
		world_verify(&w, false);
		world_end(&w);
	}
	assert_true(latched > 0);
}

/* Fills the first 64 MiB of a larger pool, nearly, until more room is about to be made: that job is in `held`. */
static struct model *until_growth(struct world *w, uint64_t seed, struct list *held)
{
	struct model *m;

	list_init(held);
	world_begin(w, seed, UINT64_C(256) << 20);
	m = world_create_disk(w, 1000 * CHUNK_SECTORS);
	for (uint64_t chunk = 0; list_empty(held); chunk += 10) {
		struct world_io *io;
		struct list_node *n;

		world_idle(w);
		io = world_start_write(w, m, chunk * CHUNK_SECTORS, 10 * CHUNK_SECTORS);
		while (world_pool(w)->space.growing && (n = list_pop(&w->sim.jobs)))
			list_push_back(held, n);
		assert_int_equal(world_wait(w, io), 0);
	}
	return m;
}

/* The first sync of a data file after it has grown fails. The kernel tells of data that it lost once: it is a flush that
 * must learn of it. */
TEST(a_sync_that_fails_after_growth_fails_the_flush)
{
	struct list held;
	struct model *m;
	struct world w;

	m = until_growth(&w, test_seed(), &held);
	while (sim_step(&w.sim, false))
		;                                         /* what else is under way takes steps, too */
	assert_int_equal(world_write(&w, m, 0, 8, 0), 0); /* something to sync; nobody wants more room */
	w.sim.fail_at = w.sim.steps + 2;                  /* more room is step 1 */
	world_release_jobs(&w, &held);
	while (world_pool(&w)->space.growing)
		assert_true(sim_step(&w.sim, false));
	assert_int_not_equal(world_flush(&w, m), 0);
	assert_true(world_dead(&w));
	world_verify(&w, false);
	world_recover(&w);
	world_end(&w);
}

/* The power goes while the data files grow, and when the new room is first used. */
TEST(power_loss_while_data_files_grow_loses_nothing)
{
	uint64_t seed = test_seed();
	unsigned runs = test_runs(6);

	for (unsigned n = 1; n <= runs; n++) {
		struct list held;
		struct model *m;
		struct world w;

		m = until_growth(&w, seed + n, &held);
		world_pool(&w)->space.cursor =
			world_pool(&w)->space.grown_chunks; /* the next chunk lies in the new room */
		w.sim.off_at = w.sim.steps + n;
		world_release_jobs(&w, &held);
		for (unsigned i = 0; world_pool(&w)->space.growing && i < 100; i++)
			sim_step(&w.sim, false);
		for (uint64_t chunk = 900; chunk < 904 && !world_dead(&w); chunk++) {
			world_write(&w, m, chunk * CHUNK_SECTORS, CHUNK_SECTORS, 0);
			world_flush(&w, m);
		}
		world_recover(&w);
		assert_int_equal(world_write(&w, m, 0, 10 * CHUNK_SECTORS, 0), 0);
		world_verify(&w, false);
		world_end(&w);
	}
}

/* A read of the medium fails: that I/O ends with an error, nothing else does. */
TEST(a_failed_read_does_not_make_the_pool_read_only)
{
	uint64_t seed = test_seed();
	unsigned runs = test_runs(30), errors = 0;

	for (unsigned n = 1; n <= runs; n++) {
		struct world w;

		say(n, seed + n);
		start(&w, seed + n);
		w.sim.reads = 0;
		w.sim.fail_read_at = n;
		workload(&w, 200);
		world_drain(&w);
		assert_false(world_dead(&w));
		errors += w.eio;
		w.sim.fail_read_at = 0;
		world_verify(&w, false);
		world_recover(&w);
		world_end(&w);
	}
	assert_true(errors > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(power_loss_at_any_step_keeps_what_was_promised),
		cmocka_unit_test(power_loss_while_opening_or_closing_loses_nothing),
		cmocka_unit_test(a_failing_write_sync_or_commit_acknowledges_nothing_untrue),
		cmocka_unit_test(a_sync_that_fails_after_growth_fails_the_flush),
		cmocka_unit_test(power_loss_while_data_files_grow_loses_nothing),
		cmocka_unit_test(a_failed_read_does_not_make_the_pool_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
