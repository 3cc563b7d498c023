/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that take another one's content: what that costs, what it gives back, and what it leaves alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include "tests/unit/store/world.h"

#define CHUNK_SECTORS 128u

static void open_world(struct world *w, uint64_t seed, uint64_t capacity_bytes)
{
	world_init(w, seed, capacity_bytes, 1 << 20);
	assert_int_equal(world_open(w), 0);
}

static void close_world(struct world *w)
{
	if (w->store)
		assert_int_equal(world_close(w), 0);
	assert_int_equal(world_check(w, false), 0);
	world_destroy(w);
}

static struct model *fork_of(struct world *w, struct model *from)
{
	struct model *found = NULL;

	assert_int_equal(world_cut(w, &from, 1), 0);
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		if (w->disk[i].disk_id && w->disk[i].parent == from->disk_id &&
			(!found || found->disk_id < w->disk[i].disk_id))
			found = &w->disk[i];
	}
	assert_non_null(found);
	return found;
}

static uint64_t used_chunks(struct world *w)
{
	struct store_stats stats;

	w->store->ops->stats(w->store, &stats);
	return stats.used_bytes >> POOL_CHUNK_SHIFT;
}

static void settle(struct world *w)
{
	world_drain(w);
	world_idle(w);
}

static void done(void *arg, int err)
{
	*(int *)arg = err ? err : 1;
}

/* ---- repoint --------------------------------------------------------------------------------------- */

/* An original goes back to its copy: no data moves, what only the original held returns, other copies keep
 * what they have, over a crash too. */
static void test_repoint(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		struct model *a, *s1, *s2;
		uint64_t written;
		struct world w;

		open_world(&w, seed + i, UINT64_C(16) << 20);
		a = world_create_disk(&w, 16 * CHUNK_SECTORS);
		assert_int_equal(world_write(&w, a, 0, 8 * CHUNK_SECTORS, 0), 0);
		s1 = fork_of(&w, a);
		assert_int_equal(world_write(&w, a, 0, 4 * CHUNK_SECTORS, 0), 0);
		s2 = fork_of(&w, a);
		assert_int_equal(world_write(&w, a, 2 * CHUNK_SECTORS, 14 * CHUNK_SECTORS, 0), 0);
		assert_int_equal(world_write(&w, s1, 3 * CHUNK_SECTORS, 2 * CHUNK_SECTORS, 0), 0);
		written = world_pool(&w)->data_writes;
		assert_int_equal(used_chunks(&w), 8 + 4 + 14 + 2);
		assert_int_equal(world_repoint(&w, s1, a), 0);
		assert_int_equal(world_pool(&w)->data_writes, written);
		world_verify(&w, false);
		if (i % 3 == 0)
			world_crash(&w);
		settle(&w);
		assert_int_equal(used_chunks(&w), 8 + 4 + 2);
		assert_int_equal(world_write(&w, a, 100, 3 * CHUNK_SECTORS, 0), 0);
		world_verify(&w, false);
		assert_int_equal(world_delete_disk(&w, i % 2 ? s1 : a), 0);
		settle(&w);
		world_verify(&w, false);
		assert_int_equal(world_delete_disk(&w, i % 2 ? a : s1), 0);
		settle(&w);
		world_verify(&w, false);
		assert_int_equal(world_delete_disk(&w, s2), 0);
		settle(&w);
		assert_int_equal(used_chunks(&w), 0);
		close_world(&w);
	}
}

/* The disk takes the size of what it takes; the same transaction may make it larger again. One that is
 * dropped has changed nothing and left nothing. */
static void test_repoint_size(void **state)
{
	struct store_disk *disk;
	struct store_cut cut = {.disks = &disk, .count = 1};
	struct model *a, *b;
	struct store_txn *t;
	struct world w;
	int end = 0;

	(void)state;
	open_world(&w, test_seed(), UINT64_C(8) << 20);
	a = world_create_disk(&w, 2 * CHUNK_SECTORS);
	b = world_create_disk(&w, 8 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, a, 0, 2 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_write(&w, b, 0, 8 * CHUNK_SECTORS, 0), 0);
	disk = a->disk;
	w.store->ops->cut(w.store, &cut, done, &end);
	assert_int_equal(end, 1);
	t = w.store->ops->txn_begin(w.store);
	assert_int_equal(w.store->ops->txn_disk_repoint(t, &cut, 0, b->disk), 0);
	w.store->ops->txn_drop(t);
	w.store->ops->cut_drop(&cut);
	settle(&w);
	world_verify(&w, false);
	assert_int_equal(used_chunks(&w), 10);

	assert_int_equal(world_repoint(&w, a, b), 0); /* asserts the size */
	settle(&w);
	assert_int_equal(b->sectors, 2 * CHUNK_SECTORS);
	assert_int_equal(used_chunks(&w), 2);
	world_verify(&w, false);

	end = 0;
	w.store->ops->cut(w.store, &cut, done, &end);
	end = 0;
	t = w.store->ops->txn_begin(w.store);
	assert_int_equal(w.store->ops->txn_disk_repoint(t, &cut, 0, b->disk), 0);
	assert_int_equal(w.store->ops->txn_disk_resize(t, b->disk, 6 * CHUNK_SECTORS * SECTOR), 0);
	world_put_name(&w, t, b->disk_id, 6 * CHUNK_SECTORS, b->version);
	w.store->ops->cut_commit(&cut, t, done, &end);
	settle(&w);
	assert_int_equal(end, 1);
	assert_int_equal(w.store->ops->disk_size(b->disk), 6 * CHUNK_SECTORS * SECTOR);
	world_verify(&w, false); /* as far as the model goes */
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(world_check(&w, false), 0);
	world_destroy(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repoint),
		cmocka_unit_test(test_repoint_size),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
