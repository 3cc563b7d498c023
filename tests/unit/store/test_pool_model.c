/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool against a trivial model: random reads, writes, UNMAPs, COMPARE AND WRITEs, flushes, cuts, forks,
 * deletions, repoints, hydrations and reopenings, many at a time, in an order of events that the seed decides.
 */
#include <stdio.h>
#include <stdlib.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

static unsigned pick_disks(struct world *w, struct model **out, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < WORLD_DISKS && n < max; i++) {
		struct model *m = &w->disk[i];

		if (m->disk_id && !m->maybe && !m->held && sim_below(&w->sim, 3) == 0)
			out[n++] = m;
	}
	return n;
}

static unsigned live(struct world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < WORLD_DISKS; i++)
		n += w->disk[i].disk_id != 0;
	return n;
}

/* I/O among which `m` is to be repointed. */
static void random_op_but(struct world *w, struct model *m)
{
	m->maybe = true;
	world_random_op(w);
	m->maybe = false;
}

static void round_of(struct world *w, unsigned ops)
{
	bool cutting = false;

	for (unsigned i = 0; i < ops; i++) {
		struct model *set[3];
		uint64_t kind = sim_below(&w->sim, 200);

		if (kind == 0 && live(w) < WORLD_DISKS - 2)
			world_create_disk(w, 128 * (1 + sim_below(&w->sim, 12)) - sim_below(&w->sim, 2) * 3);
		if (kind == 1 && live(w) > 4) {
			unsigned n = pick_disks(w, set, 1);

			if (n) {
				world_drain(w);
				world_delete_disk(w, set[0]);
			}
		}
		if (kind < 8 && kind > 1 && !cutting && live(w) < WORLD_DISKS - 3) {
			unsigned n = pick_disks(w, set, 3);

			/* One cut at a time: begun and left to end among the I/O that follows. */
			if (n) {
				world_drain(w);
				for (unsigned k = 0; k < 6; k++)
					world_random_op(w);
				world_cut_start(w, set, n, sim_below(&w->sim, 5) == 0);
			}
		}
		if ((kind == 8 || kind == 9) && live(w) > 1) {
			unsigned n = pick_disks(w, set, 2);

			if (n == 2) {
				world_hydrate_cancel(w, set[kind - 8]);
				world_drain(w);
				for (unsigned k = 0; k < 6; k++)
					random_op_but(w, set[kind - 8]);
				world_repoint_start(w, set[9 - kind], set[kind - 8]);
			}
		}
		if (kind > 10 && kind < 16 && pick_disks(w, set, 1)) {
			static const uint64_t rates[] = {0, 0, 1 << 20, 16 << 20};

			if (kind == 11)
				world_hydrate_cancel(w, set[0]);
			else
				world_hydrate_start(w, set[0], rates[kind - 12]);
		}
		world_random_op(w);
		for (uint64_t k = sim_below(&w->sim, 6); k > 0; k--)
			sim_step(&w->sim, true);
		while (w->inflight > 24)
			sim_step(&w->sim, true);
	}
	world_drain(w);
}

static void model_run(uint64_t seed, bool direct, uint64_t map_memory, unsigned *hydrated)
{
	struct world w;

	world_init(&w, seed, UINT64_C(48) << 20, 1 << 20);
	w.sim.direct = direct;
	w.sim.slow = seed % 4 ? 0 : 20;
	w.map_memory = map_memory;
	w.packs = 2;
	assert_int_equal(world_open(&w), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_non_null(world_create_disk(&w, 128 * 10));
	for (unsigned i = 0; i < 6; i++) {
		round_of(&w, 400);
		world_verify(&w, false);
		if (sim_below(&w.sim, 2)) {
			assert_int_equal(world_close(&w), 0);
			sim_power_on(&w.sim);
			assert_int_equal(world_check(&w, false), 0);
			assert_int_equal(world_open(&w), 0);
			world_verify(&w, false);
		}
	}
	assert_int_equal(w.eio + w.erofs, 0);
	*hydrated += w.hydrated;
	world_end(&w);
}

TEST(random_operations_agree_with_the_model)
{
	uint64_t seed = test_seed();
	unsigned hydrated = 0;
	unsigned runs = test_runs(12);

	for (unsigned i = 0; i < runs; i++) {
		if (getenv("UMBRA_TEST_VERBOSE"))
			printf("run %u: UMBRA_TEST_SEED=%llu\n", i, (unsigned long long)(seed + i));
		model_run(seed + i, i % 2, i % 3 == 2, &hydrated);
	}
	assert_true(runs < 8 || hydrated > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_operations_agree_with_the_model)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
