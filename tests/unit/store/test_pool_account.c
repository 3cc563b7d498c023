/* SPDX-License-Identifier: Apache-2.0 */
/* What a disk costs (account.c): what it alone shows, what it shows with others, and what its deletion gives back, which is
 * compared with what it does give back. */
#include <errno.h>
#include <string.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define CHUNK  128u   /* sectors */
#define CHUNKS 12u    /* of a disk */
#define BYTES  65536u /* of a chunk */

struct cost {
	struct store_account account;
	int done; /* 1, or the error */
};

static void counted(struct store_account *a, int err)
{
	container_of(a, struct cost, account)->done = err ? err : 1;
}

static struct store_account cost(struct world *w, struct model *m)
{
	struct cost c = {.account = {.disk = m->disk, .done = counted}};

	w->store->ops->account(&c.account);
	while (!c.done)
		assert_true(sim_step(&w->sim, true));
	assert_int_equal(c.done, 1);
	return c.account;
}

static void assert_cost(struct world *w, struct model *m, uint64_t exclusive, uint64_t shared, uint64_t freed)
{
	struct store_account a = cost(w, m);

	assert_int_equal(a.exclusive_bytes, exclusive);
	assert_int_equal(a.shared_bytes, shared);
	assert_int_equal(a.freed_bytes, freed);
}

TEST(each_byte_is_somebodys)
{
	struct model *m, *c1, *c2;
	struct world w;

	world_begin_whole(&w, test_seed(), UINT64_C(16) << 20);
	m = world_create_disk(&w, CHUNKS * CHUNK);
	assert_cost(&w, m, 0, 0, 0);
	assert_int_equal(world_write(&w, m, 0, 8 * CHUNK, 0), 0);
	assert_cost(&w, m, 8 * BYTES, 0, 8 * BYTES);
	c1 = world_fork(&w, m);
	assert_cost(&w, m, 0, 8 * BYTES, 0);
	assert_cost(&w, c1, 0, 8 * BYTES, 0);
	/* two chunks, and a block of a third */
	assert_int_equal(world_write(&w, m, 0, 2 * CHUNK, 0), 0);
	assert_int_equal(world_write(&w, m, 3 * CHUNK, 8, 0), 0);
	assert_cost(&w, m, 2 * BYTES + 4096, 6 * BYTES - 4096, 3 * BYTES);
	assert_cost(&w, c1, 2 * BYTES + 4096, 6 * BYTES - 4096, 3 * BYTES);
	/* one more copy: what the original has now is that one's, too; what only the first shows stays so */
	c2 = world_fork(&w, m);
	assert_cost(&w, m, 0, 8 * BYTES, 0);
	assert_cost(&w, c1, 2 * BYTES + 4096, 6 * BYTES - 4096, 3 * BYTES);
	assert_cost(&w, c2, 0, 8 * BYTES, 0);
	/* what a copy got is its own */
	assert_int_equal(world_write(&w, c2, 9 * CHUNK, CHUNK, 0), 0);
	assert_cost(&w, c2, BYTES, 8 * BYTES, BYTES);
	world_verify_end(&w);
}

/* A random tree of copies. `still`: only the original is written to; then what is said is what comes back, exactly, where
 * chunks are not split. Else what is hidden comes back, too, that nobody had looked for. */
static void deletions(uint64_t seed, bool still)
{
	struct world w;

	world_begin(&w, seed, UINT64_C(64) << 20);
	w.map_memory = seed % 3 == 0;
	assert_non_null(world_create_disk(&w, CHUNKS * CHUNK));
	for (unsigned i = 0; i < 60; i++) {
		struct model *m = still ? &w.disk[0] : world_any_disk(&w);
		uint64_t at = sim_below(&w.sim, CHUNKS * 16) * 8;
		uint64_t count = 8 * (1 + sim_below(&w.sim, sim_below(&w.sim, 3) ? 3 : 30));

		if (at + count > CHUNKS * CHUNK)
			count = CHUNKS * CHUNK - at;
		if (sim_below(&w.sim, 8) == 0)
			assert_int_equal(world_unmap(&w, m, at, count), 0);
		else
			assert_int_equal(world_write(&w, m, at, count, 0), 0);
		if (sim_below(&w.sim, 8) == 0 && !w.disk[WORLD_DISKS - 1].disk_id)
			world_fork(&w, world_any_disk(&w));
	}
	for (;;) {
		struct model *m = world_any_disk(&w);
		uint64_t used, said;

		if (!m)
			break;
		world_settle(&w);
		used = world_used_blocks(&w);
		said = cost(&w, m).freed_bytes / 4096;
		assert_int_equal(world_delete_disk(&w, m), 0);
		world_settle(&w);
		used -= world_used_blocks(&w);
		if (still && !world_pool(&w)->meta.splits ? used != said : used < said)
			fail_msg("seed %llu: %llu blocks were said, %llu came back", (unsigned long long)seed,
				(unsigned long long)said, (unsigned long long)used);
	}
	assert_int_equal(world_used(&w), 0);
	world_end(&w);
}

static void still(uint64_t seed)
{
	deletions(seed, true);
}

static void lively(uint64_t seed)
{
	deletions(seed, false);
}

TEST(a_deletion_gives_back_what_was_said)
{
	test_seeds(20, still);
}

TEST(a_deletion_gives_back_no_less_than_was_said)
{
	test_seeds(10, lively);
}

/* The pool closes, or is read-only. */
TEST(an_account_ends_with_the_pool_and_goes_on_without_writes)
{
	struct cost c;
	struct world w;
	struct model *m;
	int closed = 0;

	world_begin(&w, test_seed(), UINT64_C(16) << 20);
	m = world_create_disk(&w, CHUNKS * CHUNK);
	assert_int_equal(world_write(&w, m, 0, 4 * CHUNK, STORE_IO_FUA), 0);
	assert_non_null(world_fork(&w, m));
	world_settle(&w);
	c = (struct cost){.account = {.disk = m->disk, .done = counted}};
	w.store->ops->account(&c.account);
	w.store->ops->close(w.store, world_ended, &closed);
	while (!closed)
		assert_true(sim_step(&w.sim, true));
	assert_true(c.done == 1 || c.done == -ECANCELED);
	w.store = NULL;
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(world_write(&w, m, 0, CHUNK, 0), 0);
	w.sim.fail_at = w.sim.steps + 1;
	w.sim.fail_forever = true;
	world_flush(&w, m);
	assert_true(world_dead(&w));
	assert_int_equal(cost(&w, m).shared_bytes, 4 * BYTES);
	world_recover(&w);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_byte_is_somebodys),
		cmocka_unit_test(a_deletion_gives_back_what_was_said),
		cmocka_unit_test(a_deletion_gives_back_no_less_than_was_said),
		cmocka_unit_test(an_account_ends_with_the_pool_and_goes_on_without_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
