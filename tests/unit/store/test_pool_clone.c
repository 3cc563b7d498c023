/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STORE_CLONE in the pool: what is shared and what is copied, what that costs, who gives the space back, and
 * the places where a shared chunk could be written to or freed under somebody's eyes. The random tests (model,
 * crash, space) clone, too; here is what chance hardly finds.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define CHUNK   CHUNK_SECTORS
#define CHUNK64 ((uint64_t)POOL_CHUNK_BYTES)

static void write_all(struct world *w, struct model *m, uint64_t sector, uint64_t count)
{
	assert_int_equal(world_write(w, m, sector, count, 0), 0);
}

static uint64_t clone(struct world *w, struct model *m, uint64_t sector, uint64_t count, struct model *from,
	uint64_t from_sector)
{
	uint64_t shared = 0;

	assert_int_equal(world_clone(w, m, sector, count, from, from_sector, &shared), 0);
	return shared / CHUNK64;
}

/* ---- what is shared, what it costs ----------------------------------------------------------------- */

TEST(whole_chunks_are_shared_and_the_rest_is_copied)
{
	struct model *a, *b;
	struct world w;

	world_begin(&w, 1, UINT64_C(16) << 20);
	assert_true(w.store->ops->clones);
	a = world_create_disk(&w, 8 * CHUNK);
	b = world_create_disk(&w, 10 * CHUNK);
	write_all(&w, a, 0, 8 * CHUNK);
	assert_int_equal(clone(&w, b, 0, 8 * CHUNK, a, 0), 8);
	assert_int_equal(world_used(&w), 8);
	/* Alike, but not whole: the ends are copied. */
	assert_int_equal(clone(&w, b, CHUNK / 2, 3 * CHUNK, a, 5 * CHUNK - CHUNK / 2), 2);
	world_verify(&w, false);
	/* Not alike: all of it is. Within one disk. */
	assert_int_equal(clone(&w, b, 6 * CHUNK + 3, 2 * CHUNK, b, 3 * CHUNK), 0);
	assert_int_equal(clone(&w, a, 7, 11, a, 18), 0);
	world_verify(&w, false);
	assert_int_equal(clone(&w, b, 5 * CHUNK, 2 * CHUNK, b, 0), 2);
	world_verify(&w, false);
	world_crash(&w);
	assert_int_equal(world_delete_disk(&w, a), 0);
	world_verify(&w, false);
	assert_int_equal(world_delete_disk(&w, b), 0);
	assert_int_equal(world_used(&w), 0);
	world_verify_end(&w);
}

/* A full pool still shares; what must be copied has no room. */
TEST(a_full_pool_still_shares)
{
	struct model *a, *b;
	struct world w;

	world_begin(&w, 2, UINT64_C(1) << 20);
	a = world_create_disk(&w, 16 * CHUNK);
	b = world_create_disk(&w, 16 * CHUNK);
	write_all(&w, a, 0, 16 * CHUNK);
	assert_int_equal(world_clone(&w, b, 1, 16, a, 0, NULL), -ENOSPC);
	assert_int_equal(clone(&w, b, 0, 16 * CHUNK, a, 0), 16);
	assert_int_equal(world_write(&w, a, 0, 8, 0), -ENOSPC);
	world_verify(&w, false);
	/* The last entry of a chunk gives it back, to who waits for one. */
	assert_int_equal(world_unmap(&w, a, 0, 2 * CHUNK), 0);
	assert_int_equal(world_unmap(&w, b, 0, CHUNK), 0);
	assert_int_equal(world_write(&w, a, 3 * CHUNK, 8, 0), 0);
	world_verify(&w, false);
	assert_int_equal(world_used(&w), 16);
	assert_int_equal(world_delete_disk(&w, b), 0);
	assert_int_equal(world_used(&w), 14);
	world_verify_end(&w);
}

/* The first write to a shared chunk takes a new one, on either side; the last of the old one's is freed. */
TEST(the_first_write_to_a_shared_chunk_takes_a_new_one)
{
	struct model *a, *b;
	struct world w;

	for (unsigned direct = 0; direct < 2; direct++) {
		world_begin(&w, 3, UINT64_C(16) << 20);
		w.sim.direct = direct;
		a = world_create_disk(&w, 2 * CHUNK);
		b = world_create_disk(&w, 2 * CHUNK);
		write_all(&w, a, 0, 24); /* three blocks */
		write_all(&w, a, CHUNK, CHUNK);
		assert_int_equal(world_flush(&w, a), 0);
		assert_int_equal(clone(&w, b, 0, 2 * CHUNK, a, 0), 2);
		assert_int_equal(world_used(&w), 2);
		write_all(&w, a, 8, 8);
		write_all(&w, b, CHUNK + 3, 2);
		world_verify(&w, false);
		assert_int_equal(world_used(&w), 4);
		write_all(&w, a, 16, 8); /* in place by now */
		write_all(&w, b, CHUNK + 17, 100);
		assert_int_equal(world_used(&w), 4);
		write_all(&w, b, 40, 8);
		write_all(&w, a, CHUNK, CHUNK);
		assert_int_equal(world_used(&w), 4); /* the two that were shared are free */
		world_crash(&w);
		world_verify_end(&w);
	}
}

/* Where the source has nothing, the target has nothing afterwards. */
TEST(where_the_source_has_nothing_the_target_has_nothing)
{
	struct model *a, *b, *f;
	struct world w;

	world_begin(&w, 4, UINT64_C(16) << 20);
	a = world_create_disk(&w, 4 * CHUNK);
	b = world_create_disk(&w, 4 * CHUNK);
	write_all(&w, b, 0, 4 * CHUNK);
	assert_int_equal(clone(&w, b, CHUNK, CHUNK, a, CHUNK), 1);
	assert_int_equal(world_used(&w), 3);
	f = world_fork(&w, b);
	assert_int_equal(clone(&w, b, 2 * CHUNK, CHUNK, a, 0), 1); /* hides what f still sees */
	assert_int_equal(clone(&w, b, 3, 20, a, 3), 0);
	assert_int_equal(clone(&w, f, 3 * CHUNK + 8, 24, a, 16), 0);
	world_verify(&w, false);
	assert_int_equal(world_flush(&w, b), 0);
	world_crash(&w);
	assert_int_equal(world_delete_disk(&w, f), 0);
	assert_int_equal(world_used(&w), 2);
	world_verify_end(&w);
}

/* Shared entries are metadata without chunks: more than was set aside for them are not made. */
TEST(sharing_ends_where_its_metadata_has_no_room)
{
	struct model *a, *b;
	struct world w;

	world_begin(&w, 13, UINT64_C(16) << 20);
	a = world_create_disk(&w, 2 * CHUNK);
	b = world_create_disk(&w, 2 * CHUNK);
	write_all(&w, a, 0, 2 * CHUNK);
	world_pool(&w)->space.refs_count = 65536;
	assert_int_equal(clone(&w, b, 0, CHUNK, a, 0), 0);
	world_used(&w); /* LMDB has been asked again */
	assert_int_equal(clone(&w, b, CHUNK, CHUNK, a, CHUNK), 1);
	assert_int_equal(world_used(&w), 3);
	assert_int_equal(world_pool(&w)->space.refs_count, 2);
	world_verify_end(&w);
}

/* ---- generations ----------------------------------------------------------------------------------- */

/* A viewer of the target's old chunk keeps it; source and target in the forms that branches give them. */
TEST(a_copy_of_the_target_keeps_what_it_saw)
{
	struct model *a, *b, *f, *g;
	struct world w;

	world_begin(&w, 5, UINT64_C(16) << 20);
	a = world_create_disk(&w, 3 * CHUNK);
	b = world_create_disk(&w, 3 * CHUNK);
	write_all(&w, a, 0, 3 * CHUNK);
	write_all(&w, b, 0, 3 * CHUNK);
	f = world_fork(&w, b);
	assert_int_equal(clone(&w, b, 0, 2 * CHUNK, a, 0), 2);
	world_verify(&w, false);
	/* From a fork, whose data is its parent's, to the parent: the same chunk of the same branch. */
	assert_int_equal(clone(&w, b, 0, 3 * CHUNK, f, 0), 3);
	world_verify(&w, false);
	write_all(&w, b, 5, 20);
	write_all(&w, f, 50, 20);
	g = world_fork(&w, b);
	assert_int_equal(clone(&w, g, CHUNK, CHUNK, g, 0), 1);
	assert_int_equal(clone(&w, a, 0, 2 * CHUNK, g, 0), 2);
	world_verify(&w, false);
	world_crash(&w);
	assert_int_equal(world_delete_disk(&w, b), 0);
	world_used(&w);
	world_verify(&w, false);
	assert_int_equal(world_delete_disk(&w, a), 0);
	world_used(&w);
	assert_int_equal(world_delete_disk(&w, g), 0);
	world_used(&w);
	world_verify(&w, false);
	assert_int_equal(world_delete_disk(&w, f), 0);
	assert_int_equal(world_used(&w), 0);
	world_verify_end(&w);
}

/* The source's blocks lie in one entry that says nothing of the others, and older data shows through it for
 * somebody else: it must not be shared, else a merge would have to write into a shared chunk. */
TEST(a_chunk_through_which_older_data_shows_is_not_shared)
{
	struct model *a, *b, *f, *g;
	struct world w;

	world_begin(&w, 6, UINT64_C(16) << 20);
	a = world_create_disk(&w, CHUNK);
	b = world_create_disk(&w, CHUNK);
	write_all(&w, a, 0, CHUNK);
	f = world_fork(&w, a);
	write_all(&w, a, 0, 64);
	g = world_fork(&w, a);
	assert_int_equal(world_unmap(&w, a, 64, 64), 0);
	assert_int_equal(clone(&w, b, 0, CHUNK, a, 0), 0);
	world_verify(&w, false);
	/* What g sees is merged into one chunk; b must not see it. */
	assert_int_equal(world_delete_disk(&w, f), 0);
	world_used(&w);
	world_verify(&w, false);
	assert_int_equal(clone(&w, b, 0, CHUNK, a, 0), 1);
	assert_int_equal(world_delete_disk(&w, a), 0);
	world_used(&w);
	world_verify(&w, false);
	assert_int_equal(world_delete_disk(&w, g), 0);
	assert_int_equal(world_used(&w), 1);
	world_verify_end(&w);
}

/* A merge moves a shared chunk to a newer entry: it stays shared there. */
TEST(a_chunk_that_a_merge_moves_stays_shared)
{
	struct model *a, *b, *f;
	struct world w;

	world_begin(&w, 7, UINT64_C(16) << 20);
	a = world_create_disk(&w, 2 * CHUNK);
	b = world_create_disk(&w, 2 * CHUNK);
	write_all(&w, a, 0, 2 * CHUNK);
	assert_int_equal(clone(&w, b, 0, 2 * CHUNK, a, 0), 2);
	f = world_fork(&w, a);
	assert_int_equal(world_unmap(&w, a, 0, 32), 0); /* zeros, no chunk */
	write_all(&w, a, CHUNK, 32); /* a chunk: the others are moved out of the shared one */
	assert_int_equal(world_delete_disk(&w, f), 0);
	assert_int_equal(world_used(&w), 3);
	world_verify(&w, false);
	write_all(&w, a, 64, 8);
	write_all(&w, a, CHUNK + 64, 8);
	world_verify(&w, false); /* b */
	world_crash(&w);
	assert_int_equal(world_delete_disk(&w, b), 0);
	assert_int_equal(world_used(&w), 2);
	world_verify_end(&w);
}

/* UNMAP of a part of a shared chunk touches this entry only; nothing older comes to light. */
TEST(unmap_of_a_shared_chunk_touches_one_disk_only)
{
	struct model *a, *b, *f;
	struct world w;

	world_begin(&w, 8, UINT64_C(16) << 20);
	a = world_create_disk(&w, CHUNK);
	b = world_create_disk(&w, CHUNK);
	write_all(&w, a, 0, CHUNK);
	write_all(&w, b, 0, CHUNK);
	f = world_fork(&w, b);
	assert_int_equal(clone(&w, b, 0, CHUNK, a, 0), 1);
	assert_int_equal(world_unmap(&w, b, 16, 16), 0);
	assert_int_equal(world_unmap(&w, a, 80, 16), 0);
	world_verify(&w, false);
	assert_int_equal(world_delete_disk(&w, f), 0);
	assert_int_equal(world_used(&w), 1);
	world_verify(&w, false);
	write_all(&w, b, 24, 8);
	assert_int_equal(world_unmap(&w, a, 0, CHUNK), 0);
	assert_int_equal(world_used(&w), 1);
	world_verify_end(&w);
}

/* ---- while others are at work ---------------------------------------------------------------------- */

/* A write into a shared chunk that a cut sees waits for a chunk; the cut is given up, and the entry is the
 * write's after all, which has not read all of its blocks. */
TEST(a_write_that_waits_outlives_a_cut_that_is_dropped)
{
	struct model *a, *b, *c;
	struct world_io *io;
	struct store_disk *disk;
	struct store_cut made;
	struct world w;
	int err = 0;

	world_begin(&w, 12, UINT64_C(1) << 20);
	a = world_create_disk(&w, 2 * CHUNK);
	b = world_create_disk(&w, 2 * CHUNK);
	c = world_create_disk(&w, 15 * CHUNK);
	write_all(&w, a, 0, CHUNK);
	assert_int_equal(clone(&w, b, 0, CHUNK, a, 0), 1);
	write_all(&w, c, 0, 15 * CHUNK);
	disk = a->disk;
	made = (struct store_cut){.disks = &disk, .count = 1};
	w.store->ops->cut(w.store, &made, world_ended, &err);
	assert_int_equal(err, 1);
	assert_int_equal(world_unmap(&w, c, 0, CHUNK), 0); /* a chunk is on its way */
	io = world_start_write(&w, a, 8, 8);
	assert_false(list_empty(&world_pool(&w)->space.alloc_waiters));
	w.store->ops->cut_drop(&made);
	assert_int_equal(world_wait(&w, io), 0);
	world_verify(&w, false);
	assert_int_equal(world_used(&w), 16);
	world_crash(&w);
	world_verify_end(&w);
}

/* A clone, a write to its target and a cut of it wait for the same chunk, in that order. */
TEST(a_disk_is_cut_while_clones_to_it_wait)
{
	for (unsigned i = 0; i < 40; i++) {
		struct model *a, *b, *f;
		struct world_io *io[3];
		struct world w;

		world_begin(&w, 200 + i, UINT64_C(4) << 20);
		a = world_create_disk(&w, 4 * CHUNK);
		b = world_create_disk(&w, 4 * CHUNK);
		write_all(&w, a, 0, 4 * CHUNK);
		write_all(&w, b, 0, 2 * CHUNK);
		if (i % 2)
			world_fork(&w, a);
		io[0] = world_start_write(&w, b, CHUNK + 3, 1); /* holds the second chunk */
		io[1] = world_start_clone(&w, b, 0, CHUNK, a, 0);
		io[2] = world_start_clone(&w, b, 2 * CHUNK, 2 * CHUNK, a, 2 * CHUNK);
		for (unsigned k = 0; k < i % 8; k++)
			sim_step(&w.sim, true);
		f = world_fork(&w, b);
		for (unsigned k = 0; k < 3; k++)
			assert_int_equal(world_wait(&w, io[k]), 0);
		write_all(&w, b, 0, 8);
		write_all(&w, f, 2 * CHUNK + 8, 8);
		world_verify(&w, false);
		world_crash(&w);
		world_verify_end(&w);
	}
}

/* ---- hydration ------------------------------------------------------------------------------------- */

static void assert_shares_nothing(struct world *w, const struct model *m)
{
	const struct pool_branch *b = pool_disk_of(m->disk)->branch;

	assert_null(b->parent);
	for (uint64_t chunk = 0; chunk * CHUNK < m->sectors; chunk++) {
		struct pool_leaf *leaf = pool_map_peek(b, chunk);
		const struct pool_entry *e = NULL;
		struct pool_entry room;
		unsigned count = leaf ? pool_map_entries(leaf, chunk, &e, &room) : 0;

		if (count)
			assert_false(e[0].shared && e[0].valid);
	}
	(void)w;
}

/* A disk that hydrates lets go of what clones made it share, with and without a parent, be its entries its own
 * or seen by a copy of it. */
TEST(a_hydrated_disk_shares_nothing_with_clones)
{
	for (unsigned i = 0; i < 24; i++) {
		struct model *a, *b, *f, *g;
		struct world w;

		world_begin(&w, 300 + i, UINT64_C(8) << 20);
		w.map_memory = i & 1;
		a = world_create_disk(&w, 6 * CHUNK + 40);
		b = world_create_disk(&w, 5 * CHUNK);
		write_all(&w, a, 0, 6 * CHUNK + 40);
		write_all(&w, b, 0, 2 * CHUNK);
		assert_int_equal(clone(&w, b, CHUNK, 2 * CHUNK, a, CHUNK), 2);
		f = world_fork(&w, b);
		assert_int_equal(clone(&w, b, 3 * CHUNK, CHUNK, a, 3 * CHUNK), 1);
		assert_int_equal(clone(&w, f, 2 * CHUNK, CHUNK, a, 5 * CHUNK), 1);
		write_all(&w, b, CHUNK + 8, 8);
		g = i & 2 ? f : b;
		if (i & 4) {
			for (unsigned k = 0; k < 6; k++)
				world_random_op(&w);
			world_drain(&w);
			world_hydrate_start(&w, g, 0);
			for (unsigned k = 0; k < 10 + i; k++) {
				world_random_op(&w);
				sim_step(&w.sim, true);
			}
			world_hydrate_cancel(&w, g);
			world_drain(&w);
		}
		assert_int_equal(world_hydrate(&w, g), 0);
		world_verify(&w, false);
		assert_shares_nothing(&w, g);
		world_crash(&w);
		assert_shares_nothing(&w, g); /* durably */
		if (i & 8)
			assert_int_equal(world_hydrate(&w, a), 0);
		assert_int_equal(world_delete_disk(&w, a), 0);
		world_used(&w);
		world_verify(&w, false);
		assert_int_equal(world_delete_disk(&w, b), 0);
		assert_int_equal(world_delete_disk(&w, f), 0);
		assert_int_equal(world_used(&w), 0);
		world_verify_end(&w);
	}
}

/* ---- a long one ------------------------------------------------------------------------------------ */

/* Over several leaves, while leaves come and go and the log is small: all is shared, what waits stays bounded. */
TEST(a_long_clone_shares_all_and_what_waits_is_bounded)
{
	const uint64_t chunks = 5 * POOL_LEAF_CHUNKS + 3;
	struct model *a, *b;
	struct world w;

	world_init(&w, 9, (chunks + 16) << POOL_CHUNK_SHIFT, 1 << 20);
	w.map_memory = 1;
	assert_int_equal(world_open(&w), 0);
	a = world_create_disk(&w, chunks * CHUNK);
	b = world_create_disk(&w, chunks * CHUNK);
	for (uint64_t i = 0; i < chunks; i++)
		write_all(&w, a, i * CHUNK + 8 * (i % 16), 8);
	assert_int_equal(world_flush(&w, a), 0);
	world_crash(&w);
	assert_int_equal(clone(&w, b, 0, chunks * CHUNK, a, 0), chunks);
	assert_true(world_pool(&w)->map.dirty_count <= world_pool(&w)->map.dirty_max + 1);
	assert_int_equal(world_used(&w), chunks);
	world_crash(&w);
	assert_int_equal(world_delete_disk(&w, a), 0);
	assert_int_equal(world_used(&w), chunks);
	assert_int_equal(world_delete_disk(&w, b), 0);
	assert_int_equal(world_used(&w), 0);
	world_verify_end(&w);
}

/* ---- power loss ------------------------------------------------------------------------------------ */

/* At each step of sharing, writing on both sides and deleting both: afterwards all is old or new, a check finds
 * nothing, and in the end no chunk stays used. */
TEST(power_loss_at_any_step_leaves_old_or_new_and_no_chunk_used)
{
	for (unsigned n = 1; n < 120; n++) {
		struct model *a, *b;
		struct world w;
		bool over;

		world_begin(&w, 100 + n / 8, UINT64_C(4) << 20);
		a = world_create_disk(&w, 3 * CHUNK);
		b = world_create_disk(&w, 3 * CHUNK);
		write_all(&w, a, 0, 2 * CHUNK);
		write_all(&w, b, 0, 3 * CHUNK);
		w.sim.steps = 0;
		w.sim.off_at = n;
		world_clone(&w, b, 0, 3 * CHUNK, a, 0, NULL);
		if (!w.sim.power_off && n % 2)
			world_flush(&w, b);
		if (!w.sim.power_off)
			world_write(&w, a, 8, 8, STORE_IO_FUA);
		if (!w.sim.power_off)
			world_write(&w, b, CHUNK + 3, 5, STORE_IO_FUA);
		if (!w.sim.power_off)
			world_unmap(&w, a, 0, 2 * CHUNK);
		if (!w.sim.power_off)
			world_delete_disk(&w, a);
		if (!w.sim.power_off)
			world_delete_disk(&w, b);
		for (unsigned i = 0; i < 5000 && !w.sim.power_off; i++)
			sim_step(&w.sim, true);
		over = !w.sim.power_off;
		world_crash(&w);
		for (unsigned i = 0; i < WORLD_DISKS; i++) {
			if (w.disk[i].disk_id)
				assert_int_equal(world_delete_disk(&w, &w.disk[i]), 0);
		}
		if (world_used(&w) != 0)
			fail_msg("step %u: %llu chunks are left", n, (unsigned long long)world_used(&w));
		world_verify_end(&w);
		if (over)
			return;
	}
	fail_msg("it never ended");
}

/* Written, shared and let go of by all within one frame: the log never had an entry with the chunk. It is used all
 * the same until it has been freed, also after a restart. */
TEST(a_chunk_shared_and_let_go_in_one_frame_is_freed)
{
	for (unsigned crash = 0; crash < 2; crash++) {
		struct model *a, *b, *c;
		struct world w;

		world_begin(&w, 14, UINT64_C(1) << 20);
		a = world_create_disk(&w, CHUNK);
		b = world_create_disk(&w, CHUNK);
		c = world_create_disk(&w, 16 * CHUNK);
		write_all(&w, a, 0, CHUNK);
		assert_int_equal(clone(&w, b, 0, CHUNK, a, 0), 1);
		assert_int_equal(world_unmap(&w, a, 0, CHUNK), 0);
		assert_int_equal(world_unmap(&w, b, 0, CHUNK), 0);
		assert_int_equal(world_flush(&w, a), 0);
		if (crash) {
			world_crash(&w);
		} else {
			assert_int_equal(world_close(&w), 0);
			assert_int_equal(world_check(&w, false), 0);
			assert_int_equal(world_open(&w), 0);
		}
		write_all(&w, c, 0, 15 * CHUNK); /* at once, before it is freed */
		assert_int_equal(world_used(&w), 15);
		write_all(&w, c, 15 * CHUNK, CHUNK);
		world_verify(&w, false);
		assert_int_equal(world_delete_disk(&w, c), 0);
		assert_int_equal(world_used(&w), 0);
		world_verify_end(&w);
	}
}

/* Sharing over what was shared a moment ago makes nothing dirty that was not; the frame has an end all the same. */
TEST(sharing_over_and_over_stays_bounded)
{
	struct model *a, *b, *c;
	struct world w;

	world_begin(&w, 15, UINT64_C(16) << 20);
	a = world_create_disk(&w, 16 * CHUNK);
	b = world_create_disk(&w, 16 * CHUNK);
	c = world_create_disk(&w, 16 * CHUNK);
	write_all(&w, a, 0, 16 * CHUNK);
	write_all(&w, b, 0, 16 * CHUNK);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(clone(&w, c, 0, 16 * CHUNK, i % 2 ? a : b, 0), 16);
		assert_true(world_pool(&w)->space.unshared.count <= world_pool(&w)->map.dirty_max);
	}
	world_verify(&w, false);
	assert_int_equal(world_used(&w), 32);
	world_verify_end(&w);
}

/* One of: write, clone, unmap, cut, deletion, repoint, flush, power loss. The first three of m are disks, the others
 * their forks, or NULL. */
static void churn_step(struct world *w, struct model **m)
{
	struct model *a = m[sim_below(&w->sim, 3)], *b = m[sim_below(&w->sim, 3)], **f;
	uint64_t at = sim_below(&w->sim, 3) * CHUNK, from = sim_below(&w->sim, 3) * CHUNK;

	f = &m[3 + sim_below(&w->sim, 2)];
	switch (sim_below(&w->sim, 16)) {
	case 0:
	case 1:
	case 2:
		write_all(w, a, at, CHUNK);
		break;
	case 3:
		write_all(w, a, at + sim_below(&w->sim, 64), 1 + sim_below(&w->sim, 64));
		break;
	case 4:
	case 5:
		assert_int_equal(world_unmap(w, a, at, CHUNK), 0);
		break;
	case 6:
		assert_int_equal(world_unmap(w, a, at + 8, 8 + sim_below(&w->sim, 100)), 0);
		break;
	case 7:
		if (*f)
			assert_int_equal(world_delete_disk(w, *f), 0);
		*f = *f ? NULL : world_fork(w, a);
		break;
	case 8:
		if (*f)
			clone(w, a, at, CHUNK, *f, from);
		break;
	case 9:
		if (*f)
			clone(w, *f, at, CHUNK, a, from);
		break;
	case 10:
		assert_int_equal(world_flush(w, a), 0);
		break;
	case 11:
		if (sim_below(&w->sim, 3) == 0)
			world_crash(w);
		else if (*f)
			assert_int_equal(world_repoint(w, *f, a), 0);
		break;
	case 12:
		if (sim_below(&w->sim, 4) == 0)
			assert_int_equal(world_hydrate(w, a), 0);
		break;
	default:
		if (a != b || at != from)
			clone(w, a, at, CHUNK, b, from);
		break;
	}
}

/* Few chunks, few flushes: the same chunks again and again between two frames. */
static void churn(uint64_t seed)
{
	struct model *m[5] = {0};
	struct world w;

	world_init(&w, seed, UINT64_C(4) << 20, 1 << 20);
	w.map_memory = seed % 3 == 0;
	assert_int_equal(world_open(&w), 0);
	for (unsigned i = 0; i < 3; i++)
		m[i] = world_create_disk(&w, 3 * CHUNK);
	for (unsigned i = 0; i < 150; i++)
		churn_step(&w, m);
	world_verify(&w, false);
	for (unsigned i = 0; i < 5; i++) {
		if (m[i])
			assert_int_equal(world_delete_disk(&w, m[i]), 0);
	}
	assert_int_equal(world_used(&w), 0);
	world_verify_end(&w);
}

TEST(random_changes_to_few_chunks_lose_no_data_and_no_chunk)
{
	test_seeds(20, churn);
}

/* ---- pools of before, checks ----------------------------------------------------------------------- */

static void super_edit(struct world *w, uint64_t features)
{
	struct pool_host *h = sim_host(&w->sim);
	uint8_t buf[POOL_SUPER_BYTES];
	struct pool_super super;
	struct pool_file *f;

	assert_int_equal(pool_read_super(h, &super, NULL), 0);
	assert_int_equal(super.features_refuse | POOL_FEATURE_SPLIT,
		POOL_FEATURES_NEW | POOL_FEATURE_SUMS); /* an older program refuses a new pool */
	super.features_refuse = features;
	pool_super_encode(buf, &super);
	assert_int_equal(h->ops->file_open(h, "pool", 0, &f), 0);
	assert_int_equal(h->ops->file_pwrite(f, buf, sizeof(buf), 0), 0);
	assert_int_equal(h->ops->file_sync(f), 0);
	h->ops->file_close(f);
	h->ops->free(h);
}

/* A pool that was made without shared chunks stays so: everything is copied. */
TEST(a_pool_made_without_shared_chunks_copies_everything)
{
	struct model *a, *b;
	struct world w;

	world_init(&w, 10, UINT64_C(4) << 20, 1 << 20);
	super_edit(&w, 0);
	assert_int_equal(world_open(&w), 0);
	a = world_create_disk(&w, 4 * CHUNK);
	b = world_create_disk(&w, 4 * CHUNK);
	write_all(&w, a, CHUNK, 2 * CHUNK);
	assert_int_equal(clone(&w, b, 0, 4 * CHUNK, a, 0), 0);
	assert_int_equal(world_used(&w), 4);
	world_verify_end(&w);
}

/* Nor are digests kept where they have not been from the beginning. */
TEST(a_pool_made_without_digests_shares_chunks_and_frees_them)
{
	struct model *a, *b;
	struct world w;

	world_init(&w, 12, UINT64_C(4) << 20, 1 << 20);
	super_edit(&w, POOL_FEATURE_SHARED);
	assert_int_equal(world_open(&w), 0);
	a = world_create_disk(&w, 4 * CHUNK);
	b = world_create_disk(&w, 4 * CHUNK);
	write_all(&w, a, 0, 4 * CHUNK);
	assert_int_equal(clone(&w, b, 0, 4 * CHUNK, a, 0), 4);
	assert_int_equal(world_used(&w), 4);
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(world_check(&w, false), 0);
	assert_int_equal(world_open(&w), 0);
	world_verify(&w, false);
	assert_int_equal(world_delete_disk(&w, a), 0);
	assert_int_equal(world_delete_disk(&w, b), 0);
	assert_int_equal(world_used(&w), 0);
	world_verify_end(&w);
}

static int upgrade(struct world *w, bool *changed)
{
	struct pool_options options = {.path = "sim"};
	struct pool_host *h = sim_host(&w->sim);
	struct fault fault = {0};
	int err = pool_upgrade_on(h, &options, changed, &fault);

	h->ops->free(h);
	return err;
}

/* Whatever it was made without, and however the upgrade before ended: then it has all that new ones have. */
static void upgraded(uint64_t seed)
{
	static const uint64_t before[] = {0, POOL_FEATURE_SHARED, POOL_FEATURE_SUMS,
		POOL_FEATURE_SHARED | POOL_FEATURE_SUMS, POOL_FEATURE_SHARED | POOL_FEATURE_DIGESTS,
		POOL_FEATURE_SHARED | POOL_FEATURE_DIGESTS | POOL_FEATURE_SUMS};
	struct world_edit edit;
	struct world w;
	MDB_stat st;
	bool changed;

	world_init(&w, seed, UINT64_C(24) << 20, 1 << 20);
	super_edit(&w, before[seed % 6]);
	assert_int_equal(world_open(&w), 0);
	assert_non_null(world_create_disk(&w, 4 * CHUNK));
	for (unsigned n = 0; n < 2; n++) {
		for (unsigned i = 0; i < 80; i++)
			world_random_op(&w);
		world_drain(&w);
		assert_non_null(world_any_disk(&w) ? world_any_disk(&w) : world_create_disk(&w, 4 * CHUNK));
		if (seed % 3)
			world_settle(&w);
		if (seed % 3 == 2)
			world_crash(&w); /* the log has what LMDB lacks */
		assert_int_equal(world_close(&w), 0);
		if (!n && seed % 2) { /* ends before the superblock says so */
			w.sim.fail_only = "pool";
			w.sim.fail_at = w.sim.steps + 1;
			w.sim.fail_forever = true;
			assert_int_not_equal(upgrade(&w, &changed), 0);
			w.sim.fail_at = 0;
			w.sim.fail_forever = false;
			w.sim.fail_only = NULL;
			assert_int_equal(world_open(&w), 0);
			continue;
		}
		assert_int_equal(upgrade(&w, &changed), 0);
		assert_int_equal(changed, n == (seed % 2));
		assert_int_equal(world_check(&w, false), 0);
		assert_int_equal(world_open(&w), 0);
	}
	world_verify(&w, false);
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(world_check(&w, false), 0);
	world_edit_begin(&w, &edit);
	assert_true(edit.meta.digests && edit.meta.shares && edit.meta.splits);
	assert_int_equal(mdb_stat(edit.txn, edit.meta.table[POOL_TABLE_DIGEST], &st), 0);
	assert_true(st.ms_entries > 0);
	assert_int_equal(mdb_drop(edit.txn, edit.meta.table[POOL_TABLE_DISK], 0), 0);
	world_edit_end(&edit);
	assert_true(world_check(&w, false) > 0);
	assert_int_equal(world_open(&w), -EUCLEAN); /* what is missing is found now */
	world_destroy(&w);
}

TEST(a_pool_made_by_an_earlier_version_is_upgraded)
{
	test_seeds(24, upgraded);
}

/* What lacks something already would be taken for whole. */
TEST(a_damaged_pool_is_not_upgraded)
{
	struct world_edit edit;
	struct world w;
	bool changed;

	world_init(&w, test_seed(), UINT64_C(4) << 20, 1 << 20);
	super_edit(&w, POOL_FEATURE_SHARED);
	assert_int_equal(world_open(&w), 0);
	assert_non_null(world_create_disk(&w, 4 * CHUNK));
	assert_int_equal(world_write(&w, &w.disk[0], 0, 4 * CHUNK, 0), 0);
	world_settle(&w);
	assert_int_equal(world_close(&w), 0);
	world_edit_begin(&w, &edit);
	assert_int_equal(mdb_drop(edit.txn, edit.meta.table[POOL_TABLE_GEN], 0), 0);
	world_edit_end(&edit);
	assert_int_equal(upgrade(&w, &changed), -EUCLEAN);
	assert_int_equal(world_check(&w, true), 0);
	assert_int_equal(upgrade(&w, &changed), 0);
	assert_true(changed);
	assert_int_equal(world_open(&w), 0);
	world_verify_end(&w);
}

/* The index of shared chunks follows from the map: a check finds what is wrong with it, a repair mends it. */
TEST(check_finds_and_repairs_a_wrong_index_of_shared_chunks)
{
	struct world_edit edit;
	struct model *a, *b;
	struct world w;
	MDB_cursor *cursor;
	MDB_val k, v;
	uint8_t key[POOL_LOOSE_KEY_BYTES] = {0}, stray[POOL_REF_KEY_BYTES] = {0};

	world_begin(&w, 11, UINT64_C(4) << 20);
	a = world_create_disk(&w, 4 * CHUNK);
	b = world_create_disk(&w, 4 * CHUNK);
	write_all(&w, a, 0, 4 * CHUNK);
	assert_int_equal(clone(&w, b, 0, 4 * CHUNK, a, 0), 4);
	assert_int_equal(world_close(&w), 0);
	world_edit_begin(&w, &edit);
	/* One key is missing, one is a stray, a used chunk is said to be loose. */
	assert_int_equal(mdb_cursor_open(edit.txn, edit.meta.table[POOL_TABLE_REFS], &cursor), 0);
	assert_int_equal(mdb_cursor_get(cursor, &k, &v, MDB_FIRST), 0);
	key[7] = ((const uint8_t *)k.mv_data)[7];
	assert_int_equal(mdb_cursor_del(cursor, 0), 0);
	mdb_cursor_close(cursor);
	stray[7] = 1;
	assert_int_equal(
		pool_meta_put(&edit.meta, edit.txn, POOL_TABLE_REFS, stray, sizeof(stray), NULL, 0), 0);
	assert_int_equal(pool_meta_put(&edit.meta, edit.txn, POOL_TABLE_LOOSE, key, sizeof(key), NULL, 0), 0);
	world_edit_end(&edit);
	assert_int_equal(world_check(&w, false), 4); /* its digest tells, too */
	assert_int_equal(world_check(&w, true), 0);
	assert_int_equal(world_check(&w, false), 0);
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(world_delete_disk(&w, a), 0);
	assert_int_equal(world_used(&w), 4);
	world_verify(&w, false);
	assert_int_equal(world_delete_disk(&w, b), 0);
	assert_int_equal(world_used(&w), 0);
	world_verify_end(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_chunks_are_shared_and_the_rest_is_copied),
		cmocka_unit_test(a_full_pool_still_shares),
		cmocka_unit_test(the_first_write_to_a_shared_chunk_takes_a_new_one),
		cmocka_unit_test(where_the_source_has_nothing_the_target_has_nothing),
		cmocka_unit_test(sharing_ends_where_its_metadata_has_no_room),
		cmocka_unit_test(a_copy_of_the_target_keeps_what_it_saw),
		cmocka_unit_test(a_chunk_through_which_older_data_shows_is_not_shared),
		cmocka_unit_test(a_chunk_that_a_merge_moves_stays_shared),
		cmocka_unit_test(unmap_of_a_shared_chunk_touches_one_disk_only),
		cmocka_unit_test(a_write_that_waits_outlives_a_cut_that_is_dropped),
		cmocka_unit_test(a_disk_is_cut_while_clones_to_it_wait),
		cmocka_unit_test(a_hydrated_disk_shares_nothing_with_clones),
		cmocka_unit_test(a_long_clone_shares_all_and_what_waits_is_bounded),
		cmocka_unit_test(power_loss_at_any_step_leaves_old_or_new_and_no_chunk_used),
		cmocka_unit_test(a_chunk_shared_and_let_go_in_one_frame_is_freed),
		cmocka_unit_test(sharing_over_and_over_stays_bounded),
		cmocka_unit_test(random_changes_to_few_chunks_lose_no_data_and_no_chunk),
		cmocka_unit_test(a_pool_made_without_shared_chunks_copies_everything),
		cmocka_unit_test(a_pool_made_without_digests_shares_chunks_and_frees_them),
		cmocka_unit_test(a_pool_made_by_an_earlier_version_is_upgraded),
		cmocka_unit_test(a_damaged_pool_is_not_upgraded),
		cmocka_unit_test(check_finds_and_repairs_a_wrong_index_of_shared_chunks),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
