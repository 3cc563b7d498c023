/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space: what a write costs right after a cut, a full pool, what deletions give back in whatever order, and
 * that a chunk that is used again never shows what its former owner wrote.
 */
#include <errno.h>
#include <string.h>
#include "array/store/pool/background/background.h"
#include "array/store/pool/io/io.h"
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

/* ---- the first write after a cut ------------------------------------------------------------------- */

TEST(an_overwrite_after_a_cut_costs_one_write)
{
	struct model *m;
	struct pool *p;
	struct world w;

	world_init(&w, 1, UINT64_C(16) << 20, 1 << 20);
	w.sim.direct = true;
	assert_int_equal(world_open(&w), 0);
	p = world_pool(&w);
	m = world_create_disk(&w, 8 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, m, 0, 8 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_flush(&w, m), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(world_cut(&w, &m, 1), 0);
		p->data_writes = p->data_write_bytes = p->data_reads = p->copied_blocks = 0;
		/* Two blocks of the chunk, one after the other; then one of them again, in place. */
		assert_int_equal(world_write(&w, m, 24, 8, 0), 0);
		assert_int_equal(p->data_writes, 1);
		assert_int_equal(p->data_write_bytes, 4096);
		assert_int_equal(world_write(&w, m, 40, 8, 0), 0);
		assert_int_equal(world_write(&w, m, 24, 8, 0), 0);
		assert_int_equal(p->data_writes, 3);
		assert_int_equal(p->data_write_bytes, 3 * 4096);
		assert_int_equal(p->data_reads, 0);
		assert_int_equal(p->copied_blocks, 0);
	}
	world_verify(&w, false);
	assert_int_equal(world_close(&w), 0);
	world_destroy(&w);
}

/* Where chunks are not split, one is never spread over more than a few places, however many cuts there are. */
TEST(a_chunk_lies_in_few_places_however_many_cuts)
{
	struct pool_places places;
	struct model *m;
	struct world w;

	world_begin_whole(&w, 2, UINT64_C(24) << 20);
	m = world_create_disk(&w, 2 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, m, 0, 2 * CHUNK_SECTORS, 0), 0);
	for (unsigned i = 0; i < 9; i++) {
		assert_int_equal(world_cut(&w, &m, 1), 0);
		assert_int_equal(world_write(&w, m, 8 * (i % 16), 8, 0), 0);
		assert_int_equal(pool_map_resolve(&world_pool(&w)->map, pool_disk_of(m->disk)->branch,
					 POOL_GEN_HEAD, 0, POOL_ALL_BLOCKS, NULL, &places),
			0);
		assert_true(places.entries <= POOL_ANCESTOR_MAX + 1);
	}
	world_verify(&w, false);
	world_end(&w);
}

/* ---- a full pool ----------------------------------------------------------------------------------- */

TEST(a_full_pool_does_all_that_needs_no_new_chunk)
{
	struct model *a, *b, *set[2];
	struct store_stats stats;
	struct world w;
	uint64_t chunk = 0;
	unsigned live = 0;

	world_begin(&w, 3, UINT64_C(3) << 20);
	a = world_create_disk(&w, 100 * CHUNK_SECTORS);
	b = world_create_disk(&w, 100 * CHUNK_SECTORS);
	while (world_write(&w, chunk % 2 ? a : b, chunk / 2 * CHUNK_SECTORS, 8, 0) == 0)
		assert_true(++chunk < 200);
	assert_true(w.enospc > 0);
	w.store->ops->stats(w.store, &stats);
	assert_int_equal(stats.used_bytes, stats.capacity_bytes);
	/* What needs no new chunk goes on: overwriting, flushing, sets, UNMAP, deleting. */
	assert_int_equal(world_write(&w, a, 8, 8, 0), 0);
	assert_int_equal(world_flush(&w, a), 0);
	set[0] = a;
	set[1] = b;
	assert_int_equal(world_cut(&w, set, 2), 0);
	assert_int_equal(world_write(&w, a, 16, 8, 0), -ENOSPC);
	assert_int_equal(world_unmap(&w, a, 0, 16), 0);
	world_verify(&w, false);
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		if (w.disk[i].disk_id && w.disk[i].parent)
			assert_int_equal(world_delete_disk(&w, &w.disk[i]), 0);
	}
	assert_int_equal(world_delete_disk(&w, b), 0);
	world_settle(&w);
	assert_int_equal(world_write(&w, a, 90 * CHUNK_SECTORS, 8, 0), 0);
	world_verify(&w, false);
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(world_check(&w, false), 0);
	for (unsigned i = 0; i < WORLD_DISKS; i++)
		live += w.disk[i].disk_id != 0;
	assert_int_equal(live, 1);
	world_destroy(&w);
}

/* The file system below is full before the pool is. */
TEST(a_full_file_system_below_refuses_writes_until_it_has_room)
{
	struct model *m;
	struct world w;
	uint64_t i = 0;

	world_init(&w, 4, UINT64_C(256) << 20, 1 << 20);
	w.sim.fs_bytes = UINT64_C(70) << 20;
	assert_int_equal(world_open(&w), 0);
	m = world_create_disk(&w, 2000 * CHUNK_SECTORS);
	while (i < 2000 && world_write(&w, m, i * CHUNK_SECTORS, 8, 0) == 0)
		i++;
	assert_int_equal(w.enospc, 1);
	assert_true(i > 900 && i < 1100);
	assert_int_equal(world_flush(&w, m), 0);
	w.sim.fs_bytes = 0;
	world_settle(&w);
	assert_int_equal(world_write(&w, m, i * CHUNK_SECTORS, 8, 0), 0);
	assert_int_equal(world_unmap(&w, m, 0, 2000 * CHUNK_SECTORS), 0);
	world_settle(&w);
	assert_int_equal(world_used_chunks(&w), 0);
	world_end(&w);
}

/* A chunk that was taken for a write that failed is free again. */
TEST(the_chunk_of_a_failed_write_is_free_again)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 12; i++) {
		struct model *m;
		struct world w;

		world_begin(&w, seed + i, UINT64_C(4) << 20);
		m = world_create_disk(&w, 16 * CHUNK_SECTORS);
		if (i % 3 == 1) { /* known zeros over a copy's data */
			assert_int_equal(world_write(&w, m, 0, 4 * CHUNK_SECTORS, 0), 0);
			assert_int_equal(world_cut(&w, &m, 1), 0);
			assert_int_equal(world_unmap(&w, m, 0, 4 * CHUNK_SECTORS), 0);
		}
		world_settle(&w);
		for (unsigned k = 0; k < 8; k++) {
			uint64_t used = world_used_chunks(&w);

			w.sim.fail_at = w.sim.steps + 1;
			assert_int_equal(world_write(&w, m, k % 4 * CHUNK_SECTORS + i, 8 + k, 0), -EIO);
			world_settle(&w);
			assert_int_equal(world_used_chunks(&w), used);
		}
		assert_int_equal(world_write(&w, m, 0, 4 * CHUNK_SECTORS, 0), 0);
		world_verify(&w, false);
		world_crash(&w);
		world_end(&w);
	}
}

/* The metadata of a deleted disk is damaged: it stays, others' space returns, and nobody waits for it for ever. */
TEST(a_deleted_disk_with_damage_keeps_nobody_waiting)
{
	static uint8_t junk[POOL_MAP_VALUE_BYTES];
	struct model *bad, *a, *b;
	struct world_edit edit;
	MDB_val k, v = {.mv_size = sizeof(junk), .mv_data = junk};
	MDB_cursor *c;
	struct world w;
	uint64_t at = 0;

	world_begin(&w, test_seed(), UINT64_C(3) << 20);
	bad = world_create_disk(&w, 4 * CHUNK_SECTORS); /* the lowest branch: the first entry is its */
	a = world_create_disk(&w, 64 * CHUNK_SECTORS);
	b = world_create_disk(&w, 8 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, bad, 0, 4 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_write(&w, b, 0, 8 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_close(&w), 0);
	world_edit_begin(&w, &edit);
	assert_int_equal(mdb_cursor_open(edit.txn, edit.meta.table[POOL_TABLE_MAP], &c), 0);
	assert_int_equal(mdb_cursor_get(c, &k, &(MDB_val){0}, MDB_FIRST), 0);
	assert_int_equal(mdb_cursor_put(c, &k, &v, MDB_CURRENT), 0);
	mdb_cursor_close(c);
	world_edit_end(&edit);
	sim_power_on(&w.sim);
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(world_delete_disk(&w, bad), 0);
	assert_int_equal(world_delete_disk(&w, b), 0);
	while (at < 64 && world_write(&w, a, at * CHUNK_SECTORS, 8, 0) == 0)
		at++;
	assert_int_equal(at, 48 - 4);
	assert_int_equal(w.enospc, 1);
	world_verify(&w, false);
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(world_check(&w, false), 1);
	world_destroy(&w);
}

/* ---- deletions give everything back ---------------------------------------------------------------- */

/* A forest of disks and forks of forks, deleted in a random order, with reopenings and crashes. */
static void delete_all(uint64_t seed)
{
	struct model *m;
	struct world w;

	world_init(&w, seed, UINT64_C(24) << 20, 1 << 20);
	w.map_memory = seed & 1;
	assert_int_equal(world_open(&w), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_non_null(world_create_disk(&w, 6 * CHUNK_SECTORS));
	for (unsigned i = 0; i < 12; i++) {
		for (unsigned k = 0; k < 12; k++)
			world_random_op(&w);
		world_drain(&w);
		m = world_any_disk(&w);
		if (sim_below(&w.sim, 4) == 0)
			world_delete_disk(&w, m);
		else
			world_cut(&w, &m, 1);
		if (!world_any_disk(&w))
			world_create_disk(&w, 6 * CHUNK_SECTORS);
	}
	while ((m = world_any_disk(&w))) {
		uint64_t kind = sim_below(&w.sim, 6);

		for (unsigned k = 0; k < 6; k++)
			world_random_op(&w);
		world_drain(&w);
		if (kind == 0) {
			world_crash(&w);
			continue;
		}
		if (kind == 1)
			world_settle(&w);
		world_verify(&w, false);
		world_delete_disk(&w, m);
	}
	world_settle(&w);
	if (world_used_chunks(&w) != 0)
		fail_msg("seed %llu: %llu chunks are left", (unsigned long long)seed,
			(unsigned long long)world_used_chunks(&w));
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++)
		assert_true(list_empty(&world_pool(&w)->map.branch_hash[i]));
	assert_true(list_empty(&world_pool(&w)->commit.todos.list));
	world_end(&w);
}

TEST(deletions_in_any_order_give_everything_back)
{
	uint64_t seed = test_seed();
	unsigned runs = test_runs(25);

	for (unsigned i = 0; i < runs; i++)
		delete_all(seed + i);
}

/* ---- a used chunk shows nothing -------------------------------------------------------------------- */

static void foreign(uint64_t seed)
{
	struct world w;

	world_begin(&w, seed, UINT64_C(4) << 20);
	for (unsigned round = 0; round < 6; round++) {
		struct model *a, *b;

		/* Without discards: what was written stays on the medium. */
		world_pool(&w)->space.data[0].file->no_discard = sim_below(&w.sim, 2);
		a = world_create_disk(&w, 48 * CHUNK_SECTORS);
		assert_non_null(a);
		assert_int_equal(world_write(&w, a, 0, 48 * CHUNK_SECTORS, STORE_IO_FUA), 0);
		assert_int_equal(world_delete_disk(&w, a), 0);
		if (sim_below(&w.sim, 2))
			world_settle(&w);
		b = world_create_disk(&w, 48 * CHUNK_SECTORS);
		assert_non_null(b);
		for (unsigned i = 0; i < 40; i++)
			world_write(&w, b, sim_below(&w.sim, 48 * CHUNK_SECTORS - 2),
				1 + sim_below(&w.sim, 2), sim_below(&w.sim, 6) ? 0 : STORE_IO_FUA);
		world_verify(&w, false);
		if (sim_below(&w.sim, 2))
			world_crash(&w);
		for (unsigned i = 0; i < WORLD_DISKS; i++) {
			if (w.disk[i].disk_id)
				assert_int_equal(world_delete_disk(&w, &w.disk[i]), 0);
		}
	}
	world_end(&w);
}

TEST(a_chunk_used_again_shows_nothing_of_its_former_owner)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 12; i++)
		foreign(seed + i);
}

/* ---- check finds and repairs ----------------------------------------------------------------------- */

TEST(check_finds_and_repairs_a_wrong_bitmap)
{
	struct world_edit edit;
	struct model *m;
	struct world w;
	uint8_t key[8] = {0}, bits[POOL_GROUP_BYTES];

	world_begin(&w, 5, UINT64_C(16) << 20);
	m = world_create_disk(&w, 8 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, m, 0, 8 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(world_check(&w, false), 0);
	/* The bitmap says something else: one chunk leaked, one in use said to be free. */
	world_edit_begin(&w, &edit);
	memset(bits, 0, sizeof(bits));
	bits[0] = 0xfc; /* 2 … 7 of 1 … 8 */
	bits[2] = 0x10;
	assert_int_equal(
		pool_meta_put(&edit.meta, edit.txn, POOL_TABLE_SPACE, key, 8, bits, sizeof(bits)), 0);
	world_edit_end(&edit);
	assert_int_equal(world_check(&w, false), 2);
	assert_int_equal(world_check(&w, true), 0);
	assert_int_equal(world_check(&w, false), 0);
	assert_int_equal(world_open(&w), 0);
	world_verify(&w, false);
	assert_int_equal(world_used_chunks(&w), 8);
	assert_int_equal(world_close(&w), 0);
	world_destroy(&w);
}

/* What a copy held back is merged by copying what was written since, not what was not. The power may go meanwhile. */
TEST(a_merge_copies_the_fewer_blocks)
{
	uint64_t seed = test_seed(), copied = 0;

	for (unsigned n = 0; n < 30; n++) {
		struct model *m, *copy;
		struct world w;

		world_begin_whole(&w, seed + n, UINT64_C(8) << 20);
		m = world_create_disk(&w, 8 * CHUNK_SECTORS);
		assert_int_equal(world_write(&w, m, 0, 8 * CHUNK_SECTORS, 0), 0);
		copy = world_fork(&w, m);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(world_write(&w, m, i * CHUNK_SECTORS + 16, 8, 0), 0);
		assert_int_equal(world_write(&w, m, CHUNK_SECTORS + 32, 88, 0), 0); /* more than half of it */
		if (n % 3)
			assert_int_equal(world_flush(&w, m), 0);
		assert_int_equal(world_used_chunks(&w), 16);
		assert_int_equal(world_delete_disk(&w, copy), 0);
		world_pool(&w)->copied_blocks = 0;
		if (n % 2) {
			w.sim.off_at = w.sim.steps + 1 + sim_below(&w.sim, 40);
			for (unsigned k = 0; k < 600 && !world_dead(&w); k++)
				sim_step(&w.sim, true);
			world_recover(&w);
		} else {
			assert_int_equal(world_used(&w), 8);
			copied = world_pool(&w)->copied_blocks;
			assert_int_equal(copied, 7 + 4);
		}
		assert_int_equal(world_used(&w), 8);
		world_verify_end(&w);
	}
	assert_true(copied > 0);
}

#define MANY 6u

/* Of many copies that were deleted, what was written between them in the same chunks. Returns how many blocks are not hidden. */
static unsigned deleted_many(struct world *w, struct model **m)
{
	struct model *copy[MANY];
	uint16_t blocks[2] = {0};

	*m = world_create_disk(w, 2 * CHUNK_SECTORS);
	assert_int_equal(world_write(w, *m, 0, 2 * CHUNK_SECTORS, 0), 0);
	for (unsigned i = 0; i < MANY; i++) {
		copy[i] = world_fork(w, *m);
		for (unsigned chunk = 0; chunk < 2; chunk++) {
			unsigned block = (unsigned)sim_below(&w->sim, 16);

			blocks[chunk] |= (uint16_t)(1u << block);
			assert_int_equal(world_write(w, *m, chunk * CHUNK_SECTORS + block * 8, 8, 0), 0);
		}
	}
	world_settle(w);
	pool_reclaim_stop(world_pool(w)); /* they go together */
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(world_delete_disk(w, copy[i]), 0);
	assert_int_equal(world_close(w), 0);
	assert_int_equal(world_open(w), 0);
	world_pool(w)->copied_blocks = 0;
	return (unsigned)(__builtin_popcount(blocks[0]) + __builtin_popcount(blocks[1]));
}

/* However many there were. The power may go meanwhile, or a read or a write fail. */
TEST(what_many_deleted_copies_leave_is_copied_once)
{
	uint64_t seed = test_seed();

	for (unsigned n = 0; n < 80; n++) {
		struct model *m;
		struct world w;
		unsigned blocks;

		world_begin_split(&w, seed + n, UINT64_C(8) << 20);
		blocks = deleted_many(&w, &m);
		if (n % 4 == 1) {
			w.sim.off_at = w.sim.steps + 1 + sim_below(&w.sim, 60);
			for (unsigned k = 0; k < 800 && !world_dead(&w); k++)
				sim_step(&w.sim, true);
			world_recover(&w);
		} else if (n % 4 == 2) {
			w.sim.fail_read_at = w.sim.reads + 1 + sim_below(&w.sim, 12);
		} else if (n % 4 == 3) {
			w.sim.fail_only = "data";
			w.sim.fail_at = w.sim.steps + 1 + sim_below(&w.sim, 20);
		}
		world_settle(&w);
		w.sim.fail_at = w.sim.fail_read_at = 0;
		if (n % 4 == 0)
			assert_int_equal(world_pool(&w)->copied_blocks, blocks);
		if (world_pool(&w)->base.latched) /* a flush failed */
			world_recover(&w);
		if (n % 4 < 2)
			assert_int_equal(world_used(&w), 2);
		world_verify_end(&w);
	}
}

/* Copies that were deleted together go together: the frames that it takes do not grow with their number. */
TEST(deleted_copies_share_frames)
{
	uint64_t seed = test_seed(), frames[2];

	for (unsigned round = 0; round < 2; round++) {
		unsigned copies = round ? 9 : 3;
		struct model *m, *copy[9];
		struct store_stats stats;
		struct world w;

		world_begin(&w, seed, UINT64_C(8) << 20);
		m = world_create_disk(&w, 8 * CHUNK_SECTORS);
		for (unsigned i = 0; i < copies; i++) {
			assert_int_equal(world_write(&w, m, sim_below(&w.sim, 60) * 16, 16, 0), 0);
			copy[i] = world_fork(&w, m);
		}
		world_settle(&w);
		pool_reclaim_stop(world_pool(&w)); /* they come together */
		for (unsigned i = 0; i < copies; i++)
			assert_int_equal(world_delete_disk(&w, copy[i]), 0);
		assert_int_equal(world_close(&w), 0);
		assert_int_equal(world_open(&w), 0);
		frames[round] = world_pool(&w)->log.sequence;
		w.store->ops->stats(w.store, &stats);
		assert_int_equal(stats.reclaim_pending_steps, copies);
		world_settle(&w);
		w.store->ops->stats(w.store, &stats);
		assert_int_equal(stats.reclaim_pending_steps, 0);
		frames[round] = world_pool(&w)->log.sequence - frames[round];
		assert_true(world_used_chunks(&w) <= 8); /* all of theirs is back */
		for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
			list_for_each (n, &world_pool(&w)->map.branch_hash[i])
				assert_non_null(container_of(n, struct pool_branch, hash_link)->disk);
		}
		assert_true(list_empty(&world_pool(&w)->commit.todos.list));
		world_verify_end(&w);
	}
	assert_true(frames[1] <= frames[0] + 2);
}

static uint64_t checkpoints(struct world *w)
{
	MDB_envinfo info;

	assert_int_equal(mdb_env_info(world_pool(w)->meta.env, &info), 0);
	return info.me_last_txnid;
}

/* However many disks there are of which copies were deleted: one checkpoint comes before all of them. */
TEST(deleted_copies_of_many_disks_share_a_checkpoint)
{
	uint64_t seed = test_seed(), count[2];

	for (unsigned round = 0; round < 2; round++) {
		unsigned disks = round ? 6 : 1;
		struct model *copy[6];
		struct world w;

		world_begin(&w, seed, UINT64_C(8) << 20);
		for (unsigned i = 0; i < disks; i++) {
			struct model *m = world_create_disk(&w, 4 * CHUNK_SECTORS);

			assert_int_equal(world_write(&w, m, 0, 4 * CHUNK_SECTORS, 0), 0);
			copy[i] = world_fork(&w, m);
			assert_int_equal(world_write(&w, m, 0, 16, 0), 0);
		}
		world_settle(&w);
		pool_reclaim_stop(world_pool(&w)); /* they come together */
		for (unsigned i = 0; i < disks; i++)
			assert_int_equal(world_delete_disk(&w, copy[i]), 0);
		assert_int_equal(world_close(&w), 0);
		assert_int_equal(world_open(&w), 0);
		count[round] = checkpoints(&w);
		world_settle(&w);
		count[round] = checkpoints(&w) - count[round];
		assert_int_equal(world_used_chunks(&w), disks * 4);
		assert_true(list_empty(&world_pool(&w)->commit.todos.list));
		world_verify_end(&w);
	}
	assert_true(count[1] <= count[0] + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_merge_copies_the_fewer_blocks),
		cmocka_unit_test(what_many_deleted_copies_leave_is_copied_once),
		cmocka_unit_test(deleted_copies_share_frames),
		cmocka_unit_test(deleted_copies_of_many_disks_share_a_checkpoint),
		cmocka_unit_test(an_overwrite_after_a_cut_costs_one_write),
		cmocka_unit_test(a_chunk_lies_in_few_places_however_many_cuts),
		cmocka_unit_test(a_full_pool_does_all_that_needs_no_new_chunk),
		cmocka_unit_test(a_full_file_system_below_refuses_writes_until_it_has_room),
		cmocka_unit_test(the_chunk_of_a_failed_write_is_free_again),
		cmocka_unit_test(a_deleted_disk_with_damage_keeps_nobody_waiting),
		cmocka_unit_test(deletions_in_any_order_give_everything_back),
		cmocka_unit_test(a_chunk_used_again_shows_nothing_of_its_former_owner),
		cmocka_unit_test(check_finds_and_repairs_a_wrong_bitmap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
