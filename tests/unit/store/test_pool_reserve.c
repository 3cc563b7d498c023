/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room set aside: the ends of disks, and of their copies, can be written in a full pool, and nothing else can; it is
 * refused when it is not there, waited for when it comes, and given back. And what background work leaves free.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define MIB         (UINT64_C(1) << 20)
#define CHUNKS(mib) ((mib)*16u)
#define A_CHUNKS    12u

struct room {
	struct store_reserve r;
	struct store_disk *disks[WORLD_DISKS];
	unsigned done;
	int err;
};

static void room_done(struct store_reserve *r, int err)
{
	struct room *x = container_of(r, struct room, r);

	x->done++;
	x->err = err;
	r->disks = NULL; /* nobody's any more */
}

static void room_start(struct room *x, struct model *const *set, unsigned count, bool at_hand)
{
	memset(x, 0, sizeof(*x));
	for (unsigned i = 0; i < count; i++)
		x->disks[i] = set[i]->disk;
	x->r = (struct store_reserve){
		.disks = x->disks, .count = count, .at_hand = at_hand, .done = room_done};
	set[0]->disk->store->ops->reserve(&x->r);
}

static int room_get(struct world *w, struct room *x, struct model *const *set, unsigned count)
{
	room_start(x, set, count, false);
	while (!x->done) {
		bool went = sim_step(&w->sim, true);

		if (!went)
			fail_msg("room never comes");
	}
	assert_int_equal(x->done, 1);
	return x->err;
}

static void room_end(struct world *w, struct room *x)
{
	w->store->ops->reserve_end(&x->r);
	assert_null(x->r.priv);
}

/* Until there is no room for others. */
static void fill(struct world *w, struct model *filler)
{
	uint64_t chunk = 0;

	while (world_write(w, filler, chunk * CHUNK_SECTORS, 8, 0) == 0)
		assert_true(++chunk < filler->sectors / CHUNK_SECTORS);
}

static struct model *disk(struct world *w, uint64_t chunks)
{
	struct model *m = world_create_disk(w, chunks * CHUNK_SECTORS);

	assert_non_null(m);
	return m;
}

/* The first chunk and the last two of a disk. */
static const unsigned ends[] = {0, A_CHUNKS - 2, A_CHUNKS - 1};

static int write_chunk(struct world *w, struct model *m, uint64_t chunk)
{
	return world_write(w, m, chunk * CHUNK_SECTORS + sim_below(&w->sim, 4), 8 + sim_below(&w->sim, 5), 0);
}

static void write_ends(struct world *w, struct model *m, int want)
{
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(write_chunk(w, m, ends[i]), want);
}

static struct model *newest_of(struct world *w, const struct model *m)
{
	struct model *newest = NULL;

	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		struct model *f = &w->disk[i];

		if (f->disk_id && f->parent == m->disk_id && (!newest || f->disk_id > newest->disk_id))
			newest = f;
	}
	assert_non_null(newest);
	return newest;
}

static void delete_forks(struct world *w)
{
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		if (w->disk[i].disk_id && w->disk[i].parent)
			assert_int_equal(world_delete_disk(w, &w->disk[i]), 0);
	}
}

/* Without copies and filler only what the two originals hold is in use. */
static void end_with_originals(struct world *w, struct model *filler)
{
	delete_forks(w);
	assert_int_equal(world_delete_disk(w, filler), 0);
	world_settle(w);
	assert_int_equal(world_used_chunks(w), 2 * A_CHUNKS);
	world_verify(w, false);
	world_end(w);
}

/* ---- a full pool ----------------------------------------------------------------------------------- */

TEST(with_room_set_aside_the_ends_are_written_in_a_full_pool)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 6; i++) {
		struct model *set[2], *filler, *copies[2];
		struct store_stats stats;
		struct room x;
		struct pool *p;
		struct world w;

		world_begin(&w, seed + i, 6 * MIB);
		p = world_pool(&w);
		set[0] = disk(&w, A_CHUNKS);
		set[1] = disk(&w, A_CHUNKS);
		filler = disk(&w, 200);
		for (unsigned k = 0; k < 2; k++)
			assert_int_equal(world_write(&w, set[k], 0, A_CHUNKS * CHUNK_SECTORS, 0), 0);
		assert_int_equal(world_cut(&w, set, 2), 0); /* an older copy has the tables as they are */
		assert_int_equal(room_get(&w, &x, set, 2), 0);
		assert_int_equal(p->space.reserved_chunks, 2 * STORE_RESERVE_CHUNKS);
		w.store->ops->stats(w.store, &stats);
		assert_int_equal(stats.reserved_bytes, p->space.reserved_chunks << POOL_CHUNK_SHIFT);
		fill(&w, filler);
		assert_int_equal(world_used_chunks(&w), CHUNKS(6) - 2 * STORE_RESERVE_CHUNKS);
		assert_int_equal(write_chunk(&w, set[0], 5), -ENOSPC);
		write_ends(&w, set[0], 0);
		write_ends(&w, set[1], 0);
		write_ends(&w, set[1], 0); /* in place */
		assert_int_equal(p->space.reserved_chunks, 2 * STORE_RESERVE_CHUNKS - 6);
		if (i % 3 == 2)
			assert_int_equal(world_flush(&w, set[0]), 0);
		assert_int_equal(world_cut(&w, set, 2), 0);
		for (unsigned k = 0; k < 2; k++)
			copies[k] = newest_of(&w, set[k]);
		assert_int_equal(write_chunk(&w, set[1], 5), -ENOSPC);
		write_ends(&w, set[1], 0);
		write_ends(&w, set[0], 0);
		write_ends(&w, set[0], 0);
		assert_int_equal(p->space.reserved_chunks, 6);
		write_ends(&w, copies[0], -ENOSPC);
		for (unsigned k = 0; k < 2; k++)
			w.store->ops->reserve_join(&x.r, copies[k]->disk);
		assert_int_equal(write_chunk(&w, copies[1], 5), -ENOSPC);
		write_ends(&w, copies[1], 0);
		write_ends(&w, copies[0], 0);
		assert_int_equal(p->space.reserved_chunks, 0);
		assert_int_equal(world_used_chunks(&w), CHUNKS(6));
		assert_int_equal(world_flush(&w, set[0]), 0);
		world_verify(&w, false);
		room_end(&w, &x);
		if (i % 2)
			world_crash(&w);
		end_with_originals(&w, filler);
	}
}

/* Without it they are not: what this is all about. */
TEST(without_room_set_aside_the_ends_are_not_written)
{
	struct model *a, *filler;
	struct world w;

	world_begin(&w, test_seed(), 3 * MIB);
	a = disk(&w, A_CHUNKS);
	filler = disk(&w, 200);
	assert_int_equal(world_write(&w, a, 0, A_CHUNKS * CHUNK_SECTORS, 0), 0);
	fill(&w, filler);
	assert_int_equal(world_cut(&w, &a, 1), 0);
	write_ends(&w, a, -ENOSPC);
	world_end(&w);
}

/* All kinds of changes draw on it, and only as much as they need. */
TEST(all_kinds_of_writes_draw_only_what_they_need)
{
	struct model *a, *filler;
	struct room x;
	struct world w;

	world_begin(&w, test_seed(), 3 * MIB);
	a = disk(&w, A_CHUNKS);
	filler = disk(&w, 200);
	assert_int_equal(world_write(&w, a, 0, A_CHUNKS * CHUNK_SECTORS, 0), 0);
	assert_int_equal(room_get(&w, &x, &a, 1), 0);
	fill(&w, filler);
	assert_int_equal(world_cut(&w, &a, 1), 0);
	assert_int_equal(world_write(&w, a, 3, 1, STORE_IO_FUA), 0);                    /* part of a block */
	assert_int_equal(world_unmap(&w, a, (A_CHUNKS - 1) * CHUNK_SECTORS + 1, 2), 0); /* zeros in one */
	assert_int_equal(world_pool(&w)->space.reserved_chunks, STORE_RESERVE_CHUNKS - 2);
	/* A COMPARE AND WRITE in one chunk; one over two would have to give its chunk back. */
	assert_int_equal(world_cut(&w, &a, 1), 0);
	assert_int_equal(world_wait(&w, world_start_compare(&w, a, 5, 8)), 0);
	assert_int_equal(
		world_wait(&w, world_start_compare(&w, a, (A_CHUNKS - 2) * CHUNK_SECTORS - 2, 4)), -ENOSPC);
	assert_int_equal(world_pool(&w)->space.reserved_chunks, STORE_RESERVE_CHUNKS - 3);
	/* The end of one that goes over into a chunk that is no end: that part fails. */
	assert_int_equal(world_write(&w, a, (A_CHUNKS - 3) * CHUNK_SECTORS, 2 * CHUNK_SECTORS, 0), -ENOSPC);
	assert_int_equal(world_pool(&w)->space.reserved_chunks, STORE_RESERVE_CHUNKS - 4);
	room_end(&w, &x);
	assert_int_equal(world_pool(&w)->space.reserved_chunks, 0);
	world_end(&w);
}

/* Small disks are all ends. */
TEST(small_disks_are_all_ends)
{
	for (unsigned chunks = 1; chunks <= 3; chunks++) {
		struct model *a, *filler;
		struct room x;
		struct world w;

		world_begin(&w, test_seed(), 3 * MIB);
		a = world_create_disk(&w, chunks * CHUNK_SECTORS - 8);
		filler = disk(&w, 200);
		assert_int_equal(world_write(&w, a, 0, a->sectors, 0), 0);
		assert_int_equal(room_get(&w, &x, &a, 1), 0);
		fill(&w, filler);
		assert_int_equal(world_cut(&w, &a, 1), 0);
		assert_int_equal(world_write(&w, a, 0, a->sectors, 0), 0);
		world_verify(&w, false);
		room_end(&w, &x);
		world_end(&w);
	}
}

/* ---- getting it, giving it back -------------------------------------------------------------------- */

TEST(room_that_is_not_there_is_refused)
{
	struct model *a, *b, *set[2];
	struct room x, y;
	struct pool *p;
	struct world w;

	world_begin(&w, test_seed(), 3 * MIB);
	p = world_pool(&w);
	set[0] = a = disk(&w, A_CHUNKS);
	set[1] = b = disk(&w, 200);
	/* All but one of what two disks ask. */
	for (uint64_t i = 0; i < CHUNKS(3) - 2 * STORE_RESERVE_CHUNKS + 1; i++)
		assert_int_equal(write_chunk(&w, b, i), 0);
	assert_int_equal(room_get(&w, &x, set, 2), -ENOSPC);
	assert_null(x.r.priv);
	assert_int_equal(p->space.reserved_chunks, 0);
	assert_int_equal(room_get(&w, &x, set, 1), 0);
	assert_int_equal(room_get(&w, &y, &b, 1), -ENOSPC);
	assert_int_equal(p->space.reserved_chunks, STORE_RESERVE_CHUNKS);
	/* Two of one disk are two. */
	room_end(&w, &x);
	assert_int_equal(world_unmap(&w, b, 0, 2 * CHUNK_SECTORS), 0);
	assert_int_equal(room_get(&w, &x, &a, 1), 0);
	assert_int_equal(room_get(&w, &y, &a, 1), 0);
	assert_int_equal(p->space.reserved_chunks, 2 * STORE_RESERVE_CHUNKS);
	room_end(&w, &x);
	fill(&w, b);
	write_ends(&w, a, 0);
	room_end(&w, &y);
	assert_int_equal(p->space.reserved_chunks, 0);
	fill(&w, b);
	assert_int_equal(room_get(&w, &x, &a, 1), -ENOSPC);
	/* What is at hand is taken though it be less, or nothing. */
	assert_int_equal(world_unmap(&w, b, 5 * CHUNK_SECTORS, CHUNK_SECTORS), 0);
	world_settle(&w);
	room_start(&x, &a, 1, true);
	assert_int_equal(x.done, 1);
	assert_int_equal(x.err, 0);
	assert_int_equal(p->space.reserved_chunks, 1);
	room_start(&y, &a, 1, true);
	assert_int_equal(y.done, 1);
	assert_int_equal(p->space.reserved_chunks, 1);
	room_end(&w, &y);
	room_end(&w, &x);
	world_verify(&w, false);
	world_end(&w);
}

/* A full pool may be about to get chunks back. */
TEST(room_on_its_way_is_waited_for)
{
	struct model *a, *b;
	struct room x;
	struct pool *p;
	struct world w;

	world_begin(&w, test_seed(), 3 * MIB);
	p = world_pool(&w);
	a = disk(&w, A_CHUNKS);
	b = disk(&w, 200);
	fill(&w, b);
	assert_int_equal(world_unmap(&w, b, 0, 20 * CHUNK_SECTORS), 0);
	room_start(&x, &a, 1, false);
	assert_int_equal(x.done, 0);
	room_end(&w, &x); /* asked for no more */
	world_settle(&w);
	assert_int_equal(x.done, 0);
	assert_int_equal(p->space.reserved_chunks, 0);
	fill(&w, b);
	assert_int_equal(world_delete_disk(&w, b), 0);
	room_start(&x, &a, 1, false);
	assert_int_equal(x.done, 0);
	assert_int_equal(room_get(&w, &(struct room){0}, &a, 1), 0);
	assert_int_equal(x.done, 1);
	assert_int_equal(x.err, 0);
	assert_int_equal(p->space.reserved_chunks, 2 * STORE_RESERVE_CHUNKS);
	/* The pool closes with what nobody has ended. */
	world_end(&w);
}

/* The file system below is full: what the pool could grow by is no room. */
TEST(what_the_file_system_below_lacks_is_no_room)
{
	struct model *a, *b;
	struct room x;
	struct world w;
	uint64_t i = 0;

	world_init(&w, test_seed(), UINT64_C(256) << 20, 1 << 20);
	w.sim.fs_bytes = UINT64_C(4) << 20;
	assert_int_equal(world_open(&w), 0);
	a = disk(&w, A_CHUNKS);
	b = disk(&w, 2000);
	while (world_write(&w, b, i * CHUNK_SECTORS, 8, 0) == 0)
		assert_true(++i < 2000);
	assert_int_equal(room_get(&w, &x, &a, 1), -ENOSPC);
	w.sim.fs_bytes = 0;
	world_settle(&w);
	assert_int_equal(room_get(&w, &x, &a, 1), 0);
	room_end(&w, &x);
	world_end(&w);
}

/* A disk that is deleted leaves; the others keep theirs. */
TEST(a_deleted_disk_gives_up_its_room_and_others_keep_theirs)
{
	struct model *set[2], *filler;
	struct room x;
	struct world w;

	world_begin(&w, test_seed(), 4 * MIB);
	set[0] = disk(&w, A_CHUNKS);
	set[1] = disk(&w, A_CHUNKS);
	filler = disk(&w, 200);
	assert_int_equal(write_chunk(&w, set[1], 0), 0);
	assert_int_equal(room_get(&w, &x, set, 2), 0);
	assert_int_equal(world_delete_disk(&w, set[0]), 0);
	world_settle(&w);
	fill(&w, filler);
	write_ends(&w, set[1], 0);
	room_end(&w, &x);
	fill(&w, filler);
	assert_int_equal(world_used_chunks(&w), CHUNKS(4));
	world_end(&w);
}

/* ---- chance ---------------------------------------------------------------------------------------- */

/* Writers everywhere while cuts are made; the ends never fail, whatever comes in between; sometimes power goes. */
static void interleave(uint64_t seed)
{
	struct world_io *io[24];
	struct model *set[2], *filler;
	bool must[24];
	struct room x;
	struct world w;

	world_begin(&w, seed, 6 * MIB);
	set[0] = disk(&w, A_CHUNKS);
	set[1] = disk(&w, A_CHUNKS);
	filler = disk(&w, 200);
	for (unsigned k = 0; k < 2; k++)
		assert_int_equal(world_write(&w, set[k], 0, A_CHUNKS * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_cut(&w, set, 2), 0);
	assert_int_equal(room_get(&w, &x, set, 2), 0);
	for (unsigned round = 0; round < 4; round++) {
		unsigned n = 0;

		for (unsigned k = 0; k < 24; k++) {
			uint64_t kind = sim_below(&w.sim, 4);
			struct model *m = kind < 3 ? set[sim_below(&w.sim, 2)] : filler;
			uint64_t chunk = kind < 2 ? ends[sim_below(&w.sim, 3)]
						  : sim_below(&w.sim, m->sectors / CHUNK_SECTORS);

			must[n] = kind < 2;
			io[n++] = world_start_write(
				&w, m, chunk * CHUNK_SECTORS + k * 5, 1 + sim_below(&w.sim, 5));
			for (uint64_t s = sim_below(&w.sim, 5); s > 0; s--)
				sim_step(&w.sim, false);
		}
		for (unsigned k = 0; k < n; k++) {
			int err = world_wait(&w, io[k]);

			assert_true(err == 0 || (err == -ENOSPC && !must[k]));
		}
		if (round == 0)
			fill(&w, filler);
		if (round == 1)
			assert_int_equal(world_cut(&w, set, 2), 0);
	}
	world_verify(&w, false);
	if (seed % 2)
		room_end(&w, &x);
	world_crash(&w);
	/* What was set aside is free after a crash, and is there to be set aside before anybody writes. */
	room_start(&x, set, 2, true);
	assert_int_equal(x.err, 0);
	room_end(&w, &x);
	end_with_originals(&w, filler);
}

TEST(writes_of_ends_never_fail_whatever_comes_between)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 20; i++)
		interleave(seed + i);
}

/* Power goes between the reserve and the second write of the ends: what was left is free, and is enough. */
TEST(after_a_crash_there_is_room_to_write_the_ends_again)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 8; i++) {
		struct model *a, *filler;
		struct room x;
		struct world w;

		world_begin(&w, seed + i, 3 * MIB);
		a = disk(&w, A_CHUNKS);
		filler = disk(&w, 200);
		assert_int_equal(world_write(&w, a, 0, A_CHUNKS * CHUNK_SECTORS, 0), 0);
		assert_int_equal(world_cut(&w, &a, 1), 0);
		assert_int_equal(room_get(&w, &x, &a, 1), 0);
		fill(&w, filler);
		write_ends(&w, a, 0);
		assert_int_equal(world_cut(&w, &a, 1), 0);
		if (i % 2)
			assert_int_equal(write_chunk(&w, a, 0), 0);
		world_crash(&w);
		for (unsigned k = 0; k < WORLD_DISKS; k++) { /* found again by the world */
			if (w.disk[k].disk_id && !w.disk[k].parent &&
				w.disk[k].sectors == A_CHUNKS * CHUNK_SECTORS)
				a = &w.disk[k];
		}
		room_start(&x, &a, 1, true);
		assert_int_equal(x.err, 0);
		assert_true(world_pool(&w)->space.reserved_chunks >= 3);
		fill(&w, filler);
		write_ends(&w, a, 0);
		world_verify(&w, false);
		room_end(&w, &x);
		world_end(&w);
	}
}

/* ---- background work ------------------------------------------------------------------------------- */

/* A copy that becomes independent leaves a 64th of the pool to the writers, and to sets that are armed. */
TEST(a_hydration_leaves_a_64th_of_the_pool_to_writers)
{
	struct model *a, *s, *b, *c;
	struct room x;
	struct pool *p;
	struct world w;

	world_begin(&w, test_seed(), 40 * MIB); /* 640 chunks: 10 */
	p = world_pool(&w);
	a = disk(&w, 250);
	b = disk(&w, 250);
	c = disk(&w, 250);
	for (unsigned i = 0; i < 250; i += 125) {
		assert_int_equal(world_write(&w, a, i * CHUNK_SECTORS, 125 * CHUNK_SECTORS, 0), 0);
		assert_int_equal(world_write(&w, c, i * CHUNK_SECTORS, 100 * CHUNK_SECTORS, 0), 0);
	}
	s = world_fork(&w, a);
	assert_int_equal(world_hydrate(&w, s), -ENOSPC);
	assert_int_equal(pool_alloc_room(&p->space), 10);
	assert_int_equal(room_get(&w, &x, &a, 1), 0);
	assert_int_equal(write_chunk(&w, b, 0), 0);
	assert_int_equal(write_chunk(&w, b, 1), -ENOSPC);
	assert_int_equal(write_chunk(&w, a, 249), 0);
	room_end(&w, &x);
	world_verify(&w, false);
	/* It goes on when there is room. */
	assert_int_equal(world_delete_disk(&w, c), 0);
	assert_int_equal(world_hydrate(&w, s), 0);
	world_verify(&w, false);
	world_end(&w);
}

/* Also one that lets go of chunks shared by a clone; and one that waits can be cancelled. */
TEST(a_hydration_that_unshares_leaves_a_64th_and_is_cancelled)
{
	struct model *a, *b, *filler;
	struct pool *p;
	struct world w;
	uint64_t shared;

	world_begin(&w, test_seed(), 8 * MIB); /* 128 chunks: 2 */
	p = world_pool(&w);
	a = disk(&w, 40);
	b = disk(&w, 40);
	filler = disk(&w, 70);
	assert_int_equal(world_write(&w, a, 0, 40 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_write(&w, filler, 0, 70 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_clone(&w, b, 0, 40 * CHUNK_SECTORS, a, 0, &shared), 0);
	assert_int_equal(shared, 40 * POOL_CHUNK_BYTES);
	assert_int_equal(world_hydrate(&w, b), -ENOSPC);
	assert_int_equal(pool_alloc_room(&p->space), 2);
	world_verify(&w, false);
	assert_int_equal(world_unmap(&w, filler, 0, 70 * CHUNK_SECTORS), 0);
	world_hydrate_start(&w, b, 0);
	for (unsigned i = 0; i < 40; i++)
		sim_step(&w.sim, false);
	world_hydrate_cancel(&w, b);
	assert_int_equal(world_hydrate(&w, b), 0);
	world_verify(&w, false);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(with_room_set_aside_the_ends_are_written_in_a_full_pool),
		cmocka_unit_test(without_room_set_aside_the_ends_are_not_written),
		cmocka_unit_test(all_kinds_of_writes_draw_only_what_they_need),
		cmocka_unit_test(small_disks_are_all_ends),
		cmocka_unit_test(room_that_is_not_there_is_refused),
		cmocka_unit_test(room_on_its_way_is_waited_for),
		cmocka_unit_test(what_the_file_system_below_lacks_is_no_room),
		cmocka_unit_test(a_deleted_disk_gives_up_its_room_and_others_keep_theirs),
		cmocka_unit_test(writes_of_ends_never_fail_whatever_comes_between),
		cmocka_unit_test(after_a_crash_there_is_room_to_write_the_ends_again),
		cmocka_unit_test(a_hydration_leaves_a_64th_of_the_pool_to_writers),
		cmocka_unit_test(a_hydration_that_unshares_leaves_a_64th_and_is_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
