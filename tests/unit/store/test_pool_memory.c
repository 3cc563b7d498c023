/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocations that fail in the pool, where it says that it can stand it: the I/O fails, or reclaim tries again later.
 * No entry loses its chunk, no chunk is freed twice or for ever in use.
 *
 * The linker puts the functions here between the pool's files and those that allocate; one fails only when it would
 * have to allocate.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/pool/io/io.h"
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define CHUNK 128u /* sectors */

/* One in so many calls fails; 0: none. */
static unsigned fail_one_in;
static unsigned fail_moves; /* so many of the next entries with known zeros are not inserted */
static bool fail_scans;     /* what reclaim asks LMDB */
static uint64_t dice, failed;

static bool fails(void)
{
	if (!fail_one_in)
		return false;
	dice = dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
	if ((dice >> 33) % fail_one_in)
		return false;
	failed++;
	return true;
}

/* ---- between ---------------------------------------------------------------------------------------- */

#define WRAP(type, name, ...)                                                                                \
	type __real_##name(__VA_ARGS__);                                                                     \
	type __wrap_##name(__VA_ARGS__);                                                                     \
	type __wrap_##name(__VA_ARGS__)

WRAP(int, pool_map_insert, struct pool_map *map, struct pool_leaf *leaf, uint64_t chunk,
	const struct pool_entry *entry)
{
	uint64_t slot = leaf->slot[chunk % POOL_LEAF_CHUNKS];
	const struct pool_chain *c = (const struct pool_chain *)(uintptr_t)slot;
	bool allocates = slot == 0 || (slot & 1) || c->count == c->cap;

	if (fail_moves && allocates && entry->zero) {
		fail_moves--;
		return -ENOMEM;
	}
	return allocates && fails() ? -ENOMEM : __real_pool_map_insert(map, leaf, chunk, entry);
}

WRAP(struct pool_entry *, pool_map_edit, struct pool_map *map, struct pool_leaf *leaf, uint64_t chunk,
	uint32_t gen)
{
	bool allocates = leaf->slot[chunk % POOL_LEAF_CHUNKS] & 1;

	return allocates && fails() ? NULL : __real_pool_map_edit(map, leaf, chunk, gen);
}

WRAP(int, pool_map_leaf, struct pool_map *map, struct pool_branch *b, uint64_t chunk, bool make,
	struct pool_waiter *w, struct pool_leaf **out)
{
	bool allocates = !pool_map_peek(b, chunk) && (make || !b->fresh);

	*out = NULL;
	return allocates && fails() ? -ENOMEM : __real_pool_map_leaf(map, b, chunk, make, w, out);
}

WRAP(uint8_t *, pool_bounce_get, struct pool *p)
{
	return fails() ? NULL : __real_pool_bounce_get(p);
}

WRAP(struct pool_sub *, pool_sub_new, struct store_io *io, const struct pool_sub_ops *ops, uint64_t offset,
	uint64_t len, uint64_t io_offset)
{
	return fails() ? NULL : __real_pool_sub_new(io, ops, offset, len, io_offset);
}

WRAP(int, pool_meta_load, struct pool_meta *m, uint64_t branch, uint64_t leaf, struct pool_meta_leaf *out)
{
	memset(out, 0, sizeof(*out));
	return fails() ? -ENOMEM : __real_pool_meta_load(m, branch, leaf, out);
}

WRAP(int, pool_meta_scan_branch, struct pool_meta *m, const struct pool_map_key *from, size_t max,
	struct pool_meta_entry **out, size_t *out_count)
{
	*out = NULL;
	*out_count = 0;
	return fail_scans || fails() ? -ENOMEM : __real_pool_meta_scan_branch(m, from, max, out, out_count);
}

WRAP(int, pool_meta_scan_gens, struct pool_meta *m, const struct pool_map_key *from, uint32_t last_gen,
	size_t max, struct pool_map_key *out, size_t *out_count)
{
	*out_count = 0;
	return fail_scans || fails() ? -ENOMEM
				     : __real_pool_meta_scan_gens(m, from, last_gen, max, out, out_count);
}

WRAP(int, pool_meta_scan_chunks, struct pool_meta *m, const struct pool_map_key *chain, size_t chain_count,
	uint64_t from, size_t max, uint64_t *out, size_t *out_count, uint64_t *next)
{
	*out_count = 0;
	return fails() ? -ENOMEM
		       : __real_pool_meta_scan_chunks(m, chain, chain_count, from, max, out, out_count, next);
}

WRAP(int, pool_refs_scan_loose, struct pool_meta *m, uint64_t from, size_t max, uint64_t *out, size_t *count)
{
	*count = 0;
	return fail_scans || fails() ? -ENOMEM : __real_pool_refs_scan_loose(m, from, max, out, count);
}

/* ---- what all tests need ---------------------------------------------------------------------------- */

static void open_world(struct world *w, uint64_t seed, uint64_t capacity_bytes)
{
	world_init(w, seed, capacity_bytes, 1 << 20);
	w->packs = 2;
	w->map_memory = seed % 3 == 0;
	assert_int_equal(world_open(w), 0);
}

/* ---- splice ----------------------------------------------------------------------------------------- */

/* An entry of the branch that goes has data that the child hides, and known zeros that it does not: its chunk is
 * free, its zeros move. The move finds no memory, once and again; the chunk is another's by then. */
TEST(a_splice_without_memory_is_tried_again_and_harms_no_chunk)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 12; i++) {
		struct model *a, *b, *f, *g;
		struct world w;

		open_world(&w, seed + i, UINT64_C(1) << 20);
		a = world_create_disk(&w, 2 * CHUNK);
		b = world_create_disk(&w, 16 * CHUNK);
		assert_int_equal(world_write(&w, a, 0, CHUNK, 0), 0);
		f = world_fork(&w, a); /* to be spliced into its copy */
		assert_int_equal(world_write(&w, f, 0, 64, 0), 0);
		assert_int_equal(world_unmap(&w, f, 64, 64), 0);
		g = world_fork(&w, f);
		assert_int_equal(world_write(&w, g, 0, 64, 0), 0);
		world_settle(&w);
		fail_moves = 1 + i % 3;
		assert_int_equal(world_delete_disk(&w, f), 0);
		for (unsigned k = 0; k < 13; k++) {
			assert_int_equal(world_write(&w, b, k * CHUNK, CHUNK, 0), 0);
			sim_step(&w.sim, true);
		}
		world_settle(&w);
		assert_int_equal(fail_moves, 0);
		world_verify(&w, false);
		world_crash(&w);
		world_settle(&w);
		world_verify(&w, false);
		assert_int_equal(world_delete_disk(&w, a), 0);
		assert_int_equal(world_delete_disk(&w, b), 0);
		assert_int_equal(world_delete_disk(&w, g), 0);
		assert_int_equal(world_used(&w), 0);
		world_verify_end(&w);
	}
}

/* ---- reclaim ---------------------------------------------------------------------------------------- */

/* Reclaim has failed over and over, so a writer without room is not kept waiting. As soon as there is something new to
 * give back it waits for that; and what failed is tried again without anybody asking. */
TEST(reclaim_that_failed_goes_on_and_writers_wait_for_new_room)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 12; i++) {
		struct model *a, *b, *c;
		struct world w;

		open_world(&w, seed + i, UINT64_C(1) << 20);
		a = world_create_disk(&w, 8 * CHUNK);
		b = world_create_disk(&w, 4 * CHUNK);
		c = world_create_disk(&w, 16 * CHUNK);
		assert_int_equal(world_write(&w, a, 0, 8 * CHUNK, 0), 0);
		assert_int_equal(world_write(&w, b, 0, 4 * CHUNK, 0), 0);
		assert_int_equal(world_write(&w, c, 0, 4 * CHUNK, 0), 0);
		fail_scans = true;
		assert_int_equal(world_delete_disk(&w, a), 0);
		assert_int_equal(world_used(&w), 16);
		assert_int_equal(world_write(&w, c, 4 * CHUNK, CHUNK, 0), -ENOSPC);
		fail_scans = false;
		if (i % 2) {
			assert_int_equal(world_delete_disk(&w, b), 0);
			assert_int_equal(world_write(&w, c, 4 * CHUNK, CHUNK, 0), 0);
			assert_int_equal(world_used(&w), 5);
		} else {
			assert_int_equal(world_used(&w), 8);
			assert_int_equal(world_write(&w, c, 4 * CHUNK, CHUNK, 0), 0);
		}
		world_verify_end(&w);
	}
}

/* ---- anywhere --------------------------------------------------------------------------------------- */

static void hydrate_some(struct world *w, struct model *m)
{
	world_hydrate_start(w, m, 0);
	for (unsigned i = 0; i < 100; i++)
		sim_step(&w->sim, true);
	world_hydrate_cancel(w, m);
}

static void churn(uint64_t seed)
{
	struct model *m[5] = {0};
	struct world w;

	open_world(&w, seed, UINT64_C(4) << 20);
	w.no_memory = true;
	dice = seed;
	for (unsigned i = 0; i < 3; i++)
		m[i] = world_create_disk(&w, 3 * CHUNK);
	for (unsigned i = 0; i < 120; i++) {
		struct model **f = &m[3 + sim_below(&w.sim, 2)];

		fail_one_in = 4 + (unsigned)(seed % 3) * 8;
		for (unsigned k = 0; k < 4; k++)
			world_random_op(&w);
		switch (sim_below(&w.sim, 8)) {
		case 0:
			world_drain(&w);
			if (*f)
				assert_int_equal(world_delete_disk(&w, *f), 0);
			*f = *f ? NULL : world_fork(&w, m[sim_below(&w.sim, 3)]);
			break;
		case 1:
			hydrate_some(&w, m[sim_below(&w.sim, 3)]);
			break;
		case 2:
			if (*f)
				hydrate_some(&w, *f);
			break;
		case 3:
			fail_one_in = 0;
			if (sim_below(&w.sim, 4) == 0)
				world_crash(&w);
			break;
		default:
			for (unsigned k = 0; k < 20; k++)
				sim_step(&w.sim, true);
			break;
		}
		if (sim_below(&w.sim, 8) == 0) {
			world_drain(&w);
			fail_one_in = 0;
			world_verify(&w, false);
		}
	}
	world_drain(&w);
	fail_one_in = 0;
	world_verify(&w, false);
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		if (w.disk[i].disk_id)
			assert_int_equal(world_delete_disk(&w, &w.disk[i]), 0);
	}
	if (world_used(&w) != 0)
		fail_msg("seed %llu: %llu chunks are left", (unsigned long long)seed,
			(unsigned long long)world_used(&w));
	world_verify_end(&w);
}

TEST(allocations_that_fail_lose_no_data_and_no_chunk)
{
	test_seeds(20, churn);
	assert_true(failed > 0);
}

/* A moment without memory is not a broken disk: the checkpoint is tried again, and nobody is turned away. */
TEST(a_checkpoint_without_memory_is_tried_again)
{
	struct store_stats stats;
	struct model *m;
	struct world w;

	world_begin(&w, test_seed(), UINT64_C(8) << 20);
	m = world_create_disk(&w, 16 * CHUNK_SECTORS);
	for (unsigned i = 0; i < 3; i++) {
		w.sim.no_memory = 3;
		assert_int_equal(world_write(&w, m, i * CHUNK_SECTORS, CHUNK_SECTORS, STORE_IO_FUA), 0);
		world_settle(&w);
		assert_int_equal(w.sim.no_memory, 0);
		assert_int_equal(world_pool(&w)->map.applied, world_pool(&w)->log.sequence);
		w.store->ops->stats(w.store, &stats);
		assert_false(stats.read_only);
	}
	world_verify_end(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_checkpoint_without_memory_is_tried_again),
		cmocka_unit_test(a_splice_without_memory_is_tried_again_and_harms_no_chunk),
		cmocka_unit_test(reclaim_that_failed_goes_on_and_writers_wait_for_new_room),
		cmocka_unit_test(allocations_that_fail_lose_no_data_and_no_chunk),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
