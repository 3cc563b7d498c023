/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COMPARE AND WRITE over several chunks: without room for all of them nothing is written (the world's model
 * knows no other answer to -ENOSPC); while it waits for room, or for another write, it is in nobody's way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define CHUNK  128u /* sectors */
#define CHUNKS 16u  /* in the pool */

static void open_world(struct world *w, uint64_t seed)
{
	world_init(w, seed, CHUNKS << POOL_CHUNK_SHIFT, 1 << 20);
	w->sim.direct = seed & 1;
	assert_int_equal(world_open(w), 0);
}

/* Where the number of chunks is certain that a write over a copy takes. */
static void open_whole(struct world *w, uint64_t seed)
{
	world_init_whole(w, seed, CHUNKS << POOL_CHUNK_SHIFT, 1 << 20);
	w->sim.direct = seed & 1;
	assert_int_equal(world_open(w), 0);
}

/* A disk that leaves so many chunks free. */
static struct model *filler(struct world *w, unsigned leave)
{
	struct model *m = world_create_disk(w, CHUNKS * CHUNK);
	uint64_t chunks = CHUNKS - leave - world_used(w);

	assert_int_equal(world_write(w, m, 0, chunks * CHUNK, 0), 0);
	assert_int_equal(world_used(w), CHUNKS - leave);
	return m;
}

static int compare(struct world *w, struct model *m, uint64_t sector, uint64_t count)
{
	return world_wait(w, world_start_compare(w, m, sector, count));
}

/* ---- no room --------------------------------------------------------------------------------------- */

enum before {
	NOTHING,
	FIRST_OWN,  /* the first chunk is written in place */
	MIDDLE_OWN, /* of three */
	COPIED,     /* a copy has all chunks */
	ZEROS,      /* known zeros over a copy's data */
	SHARED,     /* by a clone */
	KINDS
};

/* The chunks that the range needs. */
static unsigned prepare(
	struct world *w, struct model *m, struct model *other, enum before kind, unsigned chunks)
{
	switch (kind) {
	case NOTHING:
		return chunks;
	case FIRST_OWN:
		assert_int_equal(world_write(w, m, 0, CHUNK, 0), 0);
		return chunks - 1;
	case MIDDLE_OWN:
		assert_int_equal(world_write(w, m, CHUNK + 16, 8, 0), 0);
		return chunks - 1;
	case SHARED:
		assert_int_equal(world_write(w, m, 0, 3 * CHUNK, 0), 0);
		assert_int_equal(world_clone(w, other, 0, 3 * CHUNK, m, 0, NULL), 0);
		return chunks;
	default:
		assert_int_equal(world_write(w, m, 0, 3 * CHUNK, 0), 0);
		assert_int_equal(world_cut(w, &m, 1), 0);
		if (kind == ZEROS)
			assert_int_equal(world_unmap(w, m, 0, 3 * CHUNK), 0);
		return chunks;
	}
}

static void no_room(uint64_t seed, enum before kind, unsigned chunks)
{
	uint64_t sector = CHUNK - 3, count = chunks == 2 ? 20 : CHUNK + 40, before;
	struct model *m, *other, *fill;
	struct world w;
	unsigned needs;

	open_whole(&w, seed);
	m = world_create_disk(&w, 4 * CHUNK);
	other = world_create_disk(&w, 4 * CHUNK);
	needs = prepare(&w, m, other, kind, chunks);
	fill = filler(&w, needs - 1);
	before = world_used(&w);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(compare(&w, m, sector, count), -ENOSPC);
		world_verify(&w, false);
		assert_int_equal(world_used(&w), before);
	}
	if (seed & 2) {
		world_crash(&w);
		assert_int_equal(world_used(&w), before);
	}
	/* What it had taken is there for others; and with room it goes through. */
	for (unsigned i = 0; i + 1 < needs; i++)
		assert_int_equal(world_write(&w, fill, (CHUNKS - 1 - i) * CHUNK, 8, 0), 0);
	assert_int_equal(compare(&w, m, sector, count), -ENOSPC);
	assert_int_equal(world_unmap(&w, fill, 0, (uint64_t)needs * CHUNK), 0);
	assert_int_equal(compare(&w, m, sector, count), 0);
	world_verify(&w, false);
	world_crash(&w);
	world_verify_end(&w);
}

TEST(without_room_for_all_its_chunks_nothing_is_written)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 2 * KINDS; i++)
		no_room(seed + i, (enum before)(i / 2), i / 2 == MIDDLE_OWN || i % 2 ? 3 : 2);
}

/* Two want more than there is: one has it, none hangs. */
TEST(of_two_that_want_the_last_room_one_has_it)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 12; i++) {
		struct world_io *io[2];
		struct model *m;
		struct world w;
		int err[2];

		open_world(&w, seed + i);
		m = world_create_disk(&w, 4 * CHUNK);
		filler(&w, 2 + i % 2);
		io[0] = world_start_compare(&w, m, CHUNK - 8, 16);
		io[1] = world_start_compare(&w, m, 3 * CHUNK - 8, 16);
		err[0] = world_wait(&w, io[0]);
		err[1] = world_wait(&w, io[1]);
		assert_true(err[0] + err[1] == -ENOSPC);
		world_verify(&w, false);
		world_verify_end(&w);
	}
}

/* ---- waiting --------------------------------------------------------------------------------------- */

/* A copied disk's write needs chunks, of which some are on their way. */
static struct model *copied(struct world *w)
{
	struct model *m = world_create_disk(w, 4 * CHUNK);

	assert_int_equal(world_write(w, m, 0, 4 * CHUNK, 0), 0);
	assert_int_equal(world_cut(w, &m, 1), 0);
	return m;
}

TEST(an_atomic_write_waits_for_chunks_on_their_way_if_enough)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 20; i++) {
		struct model *m, *fill;
		struct world w;

		open_whole(&w, seed + i);
		m = copied(&w);
		fill = filler(&w, i % 2);
		assert_int_equal(world_unmap(&w, fill, 0, (2 - i % 2) * CHUNK), 0);
		assert_int_equal(compare(&w, m, CHUNK - 8, 16), 0);
		assert_int_equal(compare(&w, m, CHUNK - 8, 16), 0);
		/* One comes, two are needed. */
		assert_int_equal(world_unmap(&w, fill, 4 * CHUNK, CHUNK), 0);
		assert_int_equal(compare(&w, m, 3 * CHUNK - 8, 16), -ENOSPC);
		assert_int_equal(world_used(&w), CHUNKS - 1);
		assert_int_equal(world_write(&w, fill, 4 * CHUNK, 8, 0), 0);
		world_verify_end(&w);
	}
}

/* It has read one chunk and waits for the other one's lock; the write that has it waits for chunks that wait until
 * all I/O that began before has ended: not for this one. */
TEST(an_atomic_write_never_blocks_the_write_it_waits_for)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 40; i++) {
		struct world_io *write, *caw;
		struct model *m, *fill;
		struct world w;

		open_world(&w, seed + i);
		m = copied(&w);
		fill = filler(&w, 0);
		assert_int_equal(world_unmap(&w, fill, 0, 4 * CHUNK), 0);
		write = world_start_write(&w, m, CHUNK + 3, 1);
		for (unsigned k = 0; k < i % 8; k++)
			sim_step(&w.sim, true);
		caw = world_start_compare(&w, m, CHUNK - 4, 6);
		assert_int_equal(world_wait(&w, write), 0);
		assert_int_equal(world_wait(&w, caw), 0);
		world_verify_end(&w);
	}
}

/* For room in the next frame, too. */
TEST(an_atomic_write_waits_for_room_in_the_next_frame)
{
	struct world_io *io[3];
	struct model *m;
	struct pool *p;
	struct world w;

	open_world(&w, test_seed());
	p = world_pool(&w);
	m = world_create_disk(&w, 12 * CHUNK);
	p->commit.no_room = true; /* the log is full */
	p->map.dirty_max = 3;
	for (unsigned i = 0; i < 3; i++)
		io[i] = world_start_compare(&w, m, (4 * i + 1) * CHUNK - 8, 16);
	for (unsigned i = 0; i < 1000; i++)
		sim_step(&w.sim, false);
	assert_true(p->map.dirty_count >= 3 && p->map.dirty_count <= 4);
	assert_int_equal(p->map.dirty_pending, 0);
	pool_commit_log_has_room(&p->commit);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(world_wait(&w, io[i]), 0);
	assert_int_equal(p->map.dirty_pending, 0);
	world_verify_end(&w);
}

/* The pool goes read-only under one that waits. */
TEST(an_atomic_write_ends_when_the_pool_goes_read_only)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 12; i++) {
		struct world_io *caw;
		struct model *m, *fill;
		struct world w;
		int err;

		open_world(&w, seed + i);
		m = copied(&w);
		fill = filler(&w, i % 2);
		w.sim.fail_at = w.sim.steps + 1;
		w.sim.fail_forever = true;
		assert_int_equal(world_unmap(&w, fill, 0, CHUNK), 0);
		caw = world_start_compare(&w, m, CHUNK - 8, 16);
		err = world_wait(&w, caw);
		assert_true(err == -EROFS || err == -EIO ||
			    err == -EAGAIN); /* it may have waited too long before */
		world_verify(&w, false);
		world_crash(&w);
		world_verify_end(&w);
	}
}

/* ---- a write that fails ---------------------------------------------------------------------------- */

/* Each sector is old or new, and no chunk is lost. */
TEST(a_failed_write_leaves_sectors_old_or_new_and_no_chunk_lost)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 4 * KINDS; i++) {
		struct model *m, *other;
		struct world w;

		/* Without checksums, whose notes would be steps of their own. */
		world_init_plain(&w, seed + i, CHUNKS << POOL_CHUNK_SHIFT, 1 << 20);
		w.sim.direct = (seed + i) & 1;
		assert_int_equal(world_open(&w), 0);
		m = world_create_disk(&w, 4 * CHUNK);
		other = world_create_disk(&w, 4 * CHUNK);
		prepare(&w, m, other, (enum before)(i / 4), 3);
		assert_int_equal(world_flush(&w, m), 0);
		world_settle(&w);
		world_pool(&w)->commit.flush_timer_armed = true; /* no other step comes between */
		w.sim.fail_at = w.sim.steps + 1 + i % 4;
		assert_int_equal(compare(&w, m, CHUNK - 8, CHUNK + 32), i % 4 < 3 ? -EIO : 0);
		w.sim.fail_at = 0;
		world_pool(&w)->commit.flush_timer_armed = false;
		world_verify(&w, false);
		world_settle(&w);
		if (i & 1)
			world_crash(&w);
		assert_int_equal(world_write(&w, m, 0, 4 * CHUNK, 0), 0);
		for (unsigned k = 0; k < WORLD_DISKS; k++) {
			if (w.disk[k].disk_id && &w.disk[k] != m)
				assert_int_equal(world_delete_disk(&w, &w.disk[k]), 0);
		}
		assert_int_equal(world_used(&w), 4);
		world_verify_end(&w);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_room_for_all_its_chunks_nothing_is_written),
		cmocka_unit_test(of_two_that_want_the_last_room_one_has_it),
		cmocka_unit_test(an_atomic_write_waits_for_chunks_on_their_way_if_enough),
		cmocka_unit_test(an_atomic_write_never_blocks_the_write_it_waits_for),
		cmocka_unit_test(an_atomic_write_waits_for_room_in_the_next_frame),
		cmocka_unit_test(an_atomic_write_ends_when_the_pool_goes_read_only),
		cmocka_unit_test(a_failed_write_leaves_sectors_old_or_new_and_no_chunk_lost),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
