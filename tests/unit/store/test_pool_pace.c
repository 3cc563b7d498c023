/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reclaim beside clients: it rests while they are there, and not when nobody is or somebody waits for chunks; and what it will
 * give back is told before it has come to it.
 */
#include "array/store/pool/background/background.h"
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define COPIES   24u
#define CHUNKS   8u
#define EVENT_NS 500000u /* what everything takes, however little it is */
#define LEAP_NS                                                                                              \
	(20 * UINT64_C(                                                                                      \
		      1000000)) /* a timer came before what was to be done at once: nobody worked meanwhile */

static uint64_t now_ns(struct world *w)
{
	struct pool_host *host = world_pool(w)->base.host;

	return host->ops->now_ns(host);
}

static struct store_stats stats_of(struct world *w)
{
	struct store_stats stats;

	w->store->ops->stats(w->store, &stats);
	return stats;
}

/* Two disks whose copies were all deleted, each holding two chunks back; reclaim has not begun. */
static struct model *deleted_copies(struct world *w, uint64_t seed, uint64_t capacity)
{
	struct model *disk[2], *copy[8];

	world_begin(w, seed, capacity);
	for (unsigned i = 0; i < 2; i++) {
		disk[i] = world_create_disk(w, CHUNKS * CHUNK_SECTORS);
		assert_int_equal(world_write(w, disk[i], 0, CHUNKS * CHUNK_SECTORS, 0), 0);
	}
	for (unsigned round = 0; round < COPIES / 8; round++) {
		for (unsigned i = 0; i < 8; i++) { /* the world has few disks */
			struct model *m = disk[i % 2];

			copy[i] = world_fork(w, m);
			assert_int_equal(world_write(w, m, i * CHUNK_SECTORS + 16, 8, 0), 0);
			assert_int_equal(world_write(w, m, (i + 3) % CHUNKS * CHUNK_SECTORS + 16, 8, 0), 0);
		}
		world_settle(w);
		pool_reclaim_stop(world_pool(w));
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(world_delete_disk(w, copy[i]), 0);
		assert_int_equal(world_close(w), 0);
		if (round + 1 < COPIES / 8) {
			assert_int_equal(world_open(w), 0);
			pool_reclaim_stop(world_pool(w));
		}
	}
	assert_int_equal(world_open(w), 0);
	w->sim.event_ns = EVENT_NS;
	return disk[0];
}

/* How long reclaim rests beside a client that reads, or alone. Returns how long it takes. */
static uint64_t reclaim_ns(uint64_t seed, bool client, uint64_t *rested)
{
	uint64_t begun, before;
	struct model *m;
	struct world w;

	m = deleted_copies(&w, seed, UINT64_C(16) << 20);
	begun = before = now_ns(&w);
	for (unsigned n = 0; stats_of(&w).reclaim_pending_steps; n++) {
		bool rests = pool_reclaim_rests(world_pool(&w));

		assert_true(n < 1000000);
		if (client && n % 8 == 0)
			world_start_read(&w, m, 0, 8);
		sim_step(&w.sim, true);
		if (rests)
			*rested += now_ns(&w) - before;
		else if (now_ns(&w) - before > LEAP_NS)
			begun += now_ns(&w) - before;
		before = now_ns(&w);
	}
	begun = before - begun;
	world_settle(&w);
	assert_true(world_used_chunks(&w) <= 2 * CHUNKS);
	world_verify_end(&w);
	return begun;
}

TEST(reclaim_rests_while_a_client_reads_and_not_when_nobody_does)
{
	uint64_t seed = test_seed(), alone = 0, took = 0, rested = 0;

	for (unsigned n = 0; n < 8; n++) {
		reclaim_ns(seed + n, false, &alone);
		took += reclaim_ns(seed + n, true, &rested);
	}
	assert_int_equal(alone, 0);
	assert_true(rested > took * 90 / 100); /* 95 but for the last work, which no rest follows */
}

static struct pool_host *ticking;

static void ticked(struct pool_timer *t)
{
	ticking->ops->timer_arm(ticking, t, 1);
}

/* How long reclaim rests beside clients that begin so many I/Os in a millisecond while it works, and ten while it rests. */
static uint64_t rests_beside(uint64_t seed, uint64_t meanwhile)
{
	struct pool_timer tick = {.fire = ticked};
	uint64_t before, rested = 0, rate;
	struct world w;

	deleted_copies(&w, seed, UINT64_C(16) << 20);
	ticking = world_pool(&w)->base.host;
	ticked(&tick); /* no rest is over in one step */
	before = now_ns(&w);
	for (unsigned n = 0; stats_of(&w).reclaim_pending_steps; n++) {
		bool rests = pool_reclaim_rests(world_pool(&w));

		assert_true(n < 1000000);
		sim_step(&w.sim, true);
		rested += rests ? now_ns(&w) - before : 0;
		rate = rests ? 10 : meanwhile;
		world_pool(&w)->client_ios +=
			now_ns(&w) * rate / 1000000 - before * rate / 1000000; /* with them it only counts */
		before = now_ns(&w);
	}
	ticking->ops->timer_disarm(ticking, &tick);
	world_settle(&w);
	world_verify_end(&w);
	return rested;
}

TEST(reclaim_rests_by_what_clients_lose_while_it_works)
{
	uint64_t seed = test_seed(), all = 0, half = 0, none = 0;

	for (unsigned n = 0; n < 8; n++) {
		all += rests_beside(seed + n, 1);
		half += rests_beside(seed + n, 5);
		none += rests_beside(seed + n, 10);
	}
	assert_true(half > all * 9 / 10); /* who loses much is taken to lose all */
	assert_true(none < all / 3);      /* of clients that are new it takes the worst */
}

TEST(reclaim_does_not_rest_when_a_client_waits_for_a_chunk)
{
	uint64_t before, rested = 0;
	struct world_io *writes[16];
	unsigned written = 0, waited = 0;
	struct world w;
	struct model *m, *other;
	struct list *waiters;

	m = deleted_copies(&w, test_seed(), (2 * CHUNKS + 2 * COPIES + 2) * UINT64_C(65536));
	other = world_create_disk(&w, 16 * CHUNK_SECTORS);
	waiters = &world_pool(&w)->space.alloc_waiters;
	for (unsigned n = 0; stats_of(&w).reclaim_pending_steps || written < 16; n++) {
		bool waits = !list_empty(waiters);

		assert_true(n < 1000000);
		if (n % 16 == 0)
			world_start_read(&w, m, 0, 8);
		if (!waits && n % 4 == 0 && written < 16) {
			writes[written] = world_start_write(&w, other, written * CHUNK_SECTORS, 8);
			written++;
		}
		before = w.sim.now_ms;
		sim_step(&w.sim, true);
		waited += waits;
		rested += waits && pool_reclaim_rests(world_pool(&w)) ? w.sim.now_ms - before : 0;
	}
	for (unsigned i = 0; i < written; i++)
		assert_int_equal(world_wait(&w, writes[i]), 0);
	assert_true(waited > 0);
	assert_int_equal(rested, 0);
	world_settle(&w);
	world_verify_end(&w);
}

TEST(what_deleted_copies_will_give_back_is_told_before_reclaim_has_come_to_it)
{
	uint64_t told = 0, first, used, left;
	struct world w;
	struct model *m = deleted_copies(&w, test_seed(), UINT64_C(16) << 20);

	w.sim.event_ns = 4 * EVENT_NS; /* its rests are longer than the count waits */
	first = stats_of(&w).reclaim_pending_bytes >> POOL_CHUNK_SHIFT;
	used = world_used_chunks(&w);
	for (unsigned n = 0; stats_of(&w).reclaim_pending_steps; n++) {
		assert_true(n < 1000000);
		left = (stats_of(&w).reclaim_pending_bytes >> POOL_CHUNK_SHIFT) + used -
		       world_used_chunks(&w);
		if (!pool_frees_blocks(&world_pool(&w)->space)) /* which is known */
			told = left > told ? left : told;
		if (n % 8 == 0)
			world_start_read(&w, m, 0, 8);
		sim_step(&w.sim, true);
	}
	world_settle(&w);
	used -= world_used_chunks(&w);
	assert_true(used >= 2 * COPIES - 2 * CHUNKS);
	assert_true(first > 0);        /* at once that there is something, */
	assert_true(told >= used - 1); /* soon how much */
	assert_true(told <= used + 2 * CHUNKS);
	assert_int_equal(stats_of(&w).reclaim_pending_bytes, 0);
	world_verify_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reclaim_rests_while_a_client_reads_and_not_when_nobody_does),
		cmocka_unit_test(reclaim_rests_by_what_clients_lose_while_it_works),
		cmocka_unit_test(reclaim_does_not_rest_when_a_client_waits_for_a_chunk),
		cmocka_unit_test(what_deleted_copies_will_give_back_is_told_before_reclaim_has_come_to_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
