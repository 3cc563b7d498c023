/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata's mirror. What is promised: while the stamp on the data says that there is a mirror, it can take the place of
 * the pool's directory, and nothing that was acknowledged is missing. Where it fails the pool goes on, and the stamp says that
 * it is behind before anything more is acknowledged.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define CHUNK 128u /* sectors */

static const char *mirror_of(struct world *w)
{
	static struct store_stats stats;

	w->store->ops->stats(w->store, &stats);
	return stats.mirror;
}

static void workload(struct world *w, unsigned ops)
{
	for (unsigned i = 0; i < ops && !world_dead(w); i++) {
		uint64_t kind = sim_below(&w->sim, 40);
		struct model *m = world_any_disk(w);

		if (kind == 0 && m) {
			struct model *set[1] = {m};
			unsigned n = 0;

			for (unsigned k = 0; k < WORLD_DISKS; k++)
				n += w->disk[k].disk_id || w->disk[k].maybe;
			world_drain(w);
			if (n < WORLD_DISKS - 1 && !world_dead(w))
				world_cut_start(w, set, 1, false);
		} else if (kind == 1 && m) {
			world_drain(w);
			if (m->disk_id && !m->maybe && m != &w->disk[0] && !world_dead(w))
				world_delete_disk(w, m);
		} else {
			world_random_op(w);
		}
		for (uint64_t k = sim_below(&w->sim, 5); k > 0; k--)
			sim_step(&w->sim, true);
		while (w->inflight > 12)
			sim_step(&w->sim, true);
	}
}

/* Opened with a mirror, of its log too. */
static void start(struct world *w, uint64_t seed)
{
	world_init(w, seed, UINT64_C(24) << 20, 1 << 20);
	w->packs = 2;
	w->sim.direct = seed & 1;
	w->map_memory = seed % 3 == 0;
	w->mirrored = w->log_mirrored = true;
	assert_int_equal(world_open(w), 0);
	assert_string_equal(mirror_of(w), "current");
	for (unsigned i = 0; i < 3; i++)
		assert_non_null(world_create_disk(w, CHUNK * 4));
}

static void crash(struct world *w)
{
	world_drain(w);
	sim_power_off(&w->sim);
	world_close(w);
	sim_power_on(&w->sim);
}

/* Is the mirror what the stamp on the data says that there is? */
static bool is_current(struct world *w)
{
	struct pool_host *host = sim_mirror_host(&w->sim);
	struct pool_stamp data, own;
	struct pool_super super;
	struct pool_file *f;
	struct fault fault;
	bool current = false;

	if (!pool_read_super(host, &super, &fault) &&
		!host->ops->file_open(host, "data.0", POOL_FILE_READONLY, &f)) {
		assert_int_equal(pool_stamp_read(f, super.id, &data), 0);
		assert_int_equal(pool_stamp_read_mirror(host, super.id, &own), 0);
		current = pool_stamp_current(&data, &own);
		host->ops->file_close(f);
	}
	host->ops->free(host);
	return current;
}

/* The power goes at any step; the pool's directory is lost with it. The mirror takes its place. */
TEST(the_mirror_has_all_that_was_acknowledged_whenever_the_power_goes)
{
	uint64_t seed = test_seed();
	unsigned runs = test_runs(60);

	for (unsigned n = 1; n <= runs; n++) {
		struct world w;

		start(&w, seed + n / 20);
		workload(&w, 60);
		w.sim.off_at = w.sim.steps + n;
		workload(&w, 400);
		crash(&w);
		assert_true(is_current(&w));
		w.from_mirror = true;
		w.mirrored = w.log_mirrored = false;
		assert_int_equal(world_open(&w), 0);
		world_verify(&w, true);
		workload(&w, 40);
		world_drain(&w);
		world_verify(&w, false);
		assert_int_equal(world_close(&w), 0);
		world_destroy(&w);
	}
}

/* It fails at any step; the pool goes on. Then the power goes: the pool has everything. Is the mirror said to be current, it
 * has everything, too. */
TEST(a_mirror_that_fails_is_struck_off_before_anything_more_is_acknowledged)
{
	uint64_t seed = test_seed();
	unsigned runs = test_runs(60), struck = 0;

	for (unsigned n = 1; n <= runs; n++) {
		struct world w;
		bool current;

		start(&w, seed + n / 20);
		workload(&w, 20 + n);
		w.sim.mirror_fails = true;
		if (n % 2)
			w.sim.off_at = w.sim.steps + 1 + n / 2;
		workload(&w, 100);
		world_drain(&w);
		if (!w.sim.power_off) {
			world_settle(&w);
			assert_memory_equal(mirror_of(&w), "lost: ", 6);
			assert_int_equal(w.notices, 1);
			assert_false(world_dead(&w));
			world_verify(&w, false);
		}
		crash(&w);
		w.sim.mirror_fails = false;
		current = is_current(&w);
		struck += !current;
		w.from_mirror = current;
		w.mirrored = w.log_mirrored = !current; /* made anew */
		assert_int_equal(world_open(&w), 0);
		world_verify(&w, true);
		workload(&w, 40);
		world_drain(&w);
		assert_string_equal(mirror_of(&w), current ? "none" : "current");
		world_verify(&w, false);
		crash(&w);
		assert_true(current || is_current(&w));
		w.from_mirror = true;
		w.mirrored = w.log_mirrored = false;
		assert_int_equal(world_open(&w), 0);
		world_verify(&w, true);
		assert_int_equal(world_close(&w), 0);
		world_destroy(&w);
	}
	assert_true(struck > runs / 4);
}

/* Until it is current, or the power has gone: that, or a failure of the mirror, comes so many steps after its making began, or
 * not (0). Timers that come by themselves again and again have an end. */
static void wait_for_mirror(struct world *w, unsigned off_after, unsigned fail_after)
{
	for (unsigned n = 0; n < 6000 && !world_dead(w) && strcmp(mirror_of(w), "current") != 0; n++) {
		bool busy = pool_remake_busy(&world_pool(w)->commit);
		struct model *m;

		if (busy && off_after)
			w->sim.off_at = w->sim.steps + off_after;
		if (busy && fail_after)
			w->sim.fail_at = w->sim.steps + fail_after;
		if (busy)
			off_after = fail_after = 0;
		if (busy || n % 64 == 0)
			workload(w, 1);
		m = world_any_disk(w);
		if (busy && m && !m->maybe && !world_dead(w)) /* acknowledged meanwhile */
			world_write(w, m, sim_below(&w->sim, 16) * 8, 8, STORE_IO_FUA);
		if (!world_dead(w))
			sim_step(&w->sim, true);
	}
}

static void lose_mirror(struct world *w)
{
	w->sim.mirror_fails = true;
	for (unsigned n = 0; n < 200 && strcmp(mirror_of(w), "current") == 0; n++)
		workload(w, 5);
	assert_int_equal(strncmp(mirror_of(w), "lost", 4), 0);
	w->sim.mirror_fails = false;
}

/* Its place comes back while the pool is open. The power goes, or it fails again, at any step of its making, or a while later:
 * it is said to be current only when it has everything. */
TEST(a_lost_mirror_is_made_anew_on_line_and_is_never_wrongly_current)
{
	uint64_t seed = test_seed();
	unsigned runs = test_runs(80), current = 0, stale = 0;

	for (unsigned n = 0; n < runs; n++) {
		struct world w;

		start(&w, seed + n / 12);
		workload(&w, 40);
		lose_mirror(&w);
		w.sim.fail_only = "mirror";
		wait_for_mirror(&w, n % 4 == 0 ? 1 + n / 2 : 0, n % 4 == 1 ? 1 + n / 4 : 0);
		w.sim.fail_at = 0;
		if (!world_dead(&w)) {
			wait_for_mirror(&w, 0, 0); /* tried again */
			assert_string_equal(mirror_of(&w), "current");
		}
		if (!world_dead(&w) && n % 4 == 1)
			lose_mirror(&w);
		if (!world_dead(&w) && n % 4 != 3)
			workload(&w, n % 20);
		if (!world_dead(&w) && n % 4 == 3) /* as soon as it is current */
			sim_power_off(&w.sim);
		crash(&w);
		w.from_mirror = is_current(&w);
		current += w.from_mirror;
		stale += !w.from_mirror;
		w.mirrored = w.log_mirrored = false;
		assert_int_equal(world_open(&w), 0);
		world_verify(&w, true);
		workload(&w, 20);
		world_drain(&w);
		world_verify(&w, false);
		assert_int_equal(world_close(&w), 0);
		world_destroy(&w);
	}
	assert_true(current > runs / 4 && stale > runs / 8);
}

/* The power goes while a pool with a mirror is opened: the next start, or the mirror, finds all. */
TEST(power_loss_while_the_mirror_is_made_or_catches_up_loses_nothing)
{
	uint64_t seed = test_seed();
	unsigned runs = test_runs(24), current = 0;

	for (unsigned n = 1; n <= runs; n++) {
		struct world w;

		start(&w, seed + n);
		workload(&w, 100);
		world_drain(&w);
		if (n % 3 == 0) { /* one session without it: it is made anew */
			assert_int_equal(world_close(&w), 0);
			w.mirrored = w.log_mirrored = false;
			assert_int_equal(world_open(&w), 0);
			workload(&w, 50);
		}
		crash(&w);
		w.mirrored = w.log_mirrored = true;
		w.sim.off_at = 1 + n % 8;
		if (!world_open(&w))
			world_close(&w);
		sim_power_off(&w.sim);
		sim_power_on(&w.sim);
		w.from_mirror = is_current(&w);
		current += w.from_mirror;
		w.mirrored = w.log_mirrored = !w.from_mirror;
		assert_int_equal(world_open(&w), 0);
		world_verify(&w, true);
		assert_int_equal(world_close(&w), 0);
		world_destroy(&w);
	}
	assert_true(current > 0 && current < runs);
}

/* Old metadata in the place of the newest. */
TEST(metadata_that_is_older_than_the_data_is_refused)
{
	struct world w;

	start(&w, test_seed());
	workload(&w, 60);
	world_drain(&w);
	assert_int_equal(world_close(&w), 0);
	w.mirrored = w.log_mirrored = false;
	assert_int_equal(world_open(&w), 0); /* goes on without the mirror */
	workload(&w, 60);
	world_drain(&w);
	assert_int_equal(world_close(&w), 0);
	assert_false(is_current(&w));
	w.from_mirror = true;
	w.sim.fail_at = UINT64_MAX; /* no noise */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(world_open(&w), -EUCLEAN);
	w.sim.fail_at = 0;
	w.from_mirror = false;
	assert_int_equal(world_open(&w), 0);
	world_verify_end(&w);
}

/* Without the log in the mirror: the pool's own log has what the mirror lacks. */
TEST(a_mirror_without_a_log_follows_the_checkpoints)
{
	struct world w;

	world_begin(&w, test_seed(), UINT64_C(24) << 20);
	assert_int_equal(world_close(&w), 0);
	w.mirrored = true;
	assert_int_equal(world_open(&w), 0);
	assert_non_null(world_create_disk(&w, CHUNK * 4));
	workload(&w, 200);
	world_settle(&w);
	assert_string_equal(mirror_of(&w), "current");
	assert_int_equal(world_pool(&w)->mirror.log == NULL, 1);
	crash(&w);
	assert_true(is_current(&w));
	assert_int_equal(world_open(&w), 0); /* catches up */
	assert_true(is_current(&w));
	world_verify(&w, true);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_mirror_has_all_that_was_acknowledged_whenever_the_power_goes),
		cmocka_unit_test(a_mirror_that_fails_is_struck_off_before_anything_more_is_acknowledged),
		cmocka_unit_test(a_lost_mirror_is_made_anew_on_line_and_is_never_wrongly_current),
		cmocka_unit_test(power_loss_while_the_mirror_is_made_or_catches_up_loses_nothing),
		cmocka_unit_test(metadata_that_is_older_than_the_data_is_refused),
		cmocka_unit_test(a_mirror_without_a_log_follows_the_checkpoints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
