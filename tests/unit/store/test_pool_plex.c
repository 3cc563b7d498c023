/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that take another one's content, and copies that become independent of all others: what that costs,
 * what it gives back, what it leaves alone, and what may happen at the same time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

/* ---- repoint --------------------------------------------------------------------------------------- */

/* An original goes back to its copy: no data moves, what only the original held returns, other copies keep
 * what they have, over a crash too. */
TEST(a_repoint_moves_no_data_and_frees_what_only_it_held)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 12; i++) {
		struct model *a, *s1, *s2;
		uint64_t written;
		struct world w;

		world_begin(&w, seed + i, UINT64_C(16) << 20);
		a = world_create_disk(&w, 16 * CHUNK_SECTORS);
		assert_int_equal(world_write(&w, a, 0, 8 * CHUNK_SECTORS, 0), 0);
		s1 = world_fork(&w, a);
		assert_int_equal(world_write(&w, a, 0, 4 * CHUNK_SECTORS, 0), 0);
		s2 = world_fork(&w, a);
		assert_int_equal(world_write(&w, a, 2 * CHUNK_SECTORS, 14 * CHUNK_SECTORS, 0), 0);
		assert_int_equal(world_write(&w, s1, 3 * CHUNK_SECTORS, 2 * CHUNK_SECTORS, 0), 0);
		written = world_pool(&w)->data_writes;
		assert_int_equal(world_used_chunks(&w), 8 + 4 + 14 + 2);
		assert_int_equal(world_repoint(&w, s1, a), 0);
		assert_int_equal(world_pool(&w)->data_writes, written);
		world_verify(&w, false);
		if (i % 3 == 0)
			world_crash(&w);
		world_settle(&w);
		assert_int_equal(world_used_chunks(&w), 8 + 4 + 2);
		assert_int_equal(world_write(&w, a, 100, 3 * CHUNK_SECTORS, 0), 0);
		world_verify(&w, false);
		assert_int_equal(world_delete_disk(&w, i % 2 ? s1 : a), 0);
		world_settle(&w);
		world_verify(&w, false);
		assert_int_equal(world_delete_disk(&w, i % 2 ? a : s1), 0);
		world_settle(&w);
		world_verify(&w, false);
		assert_int_equal(world_delete_disk(&w, s2), 0);
		world_settle(&w);
		assert_int_equal(world_used_chunks(&w), 0);
		world_end(&w);
	}
}

/* The disk takes the size of what it takes; the same transaction may make it larger again. One that is
 * dropped has changed nothing and left nothing. */
TEST(a_repointed_disk_takes_the_size_and_may_be_resized_at_once)
{
	struct store_disk *disk;
	struct store_cut cut = {.disks = &disk, .count = 1};
	struct model *a, *b;
	struct store_txn *t;
	struct world w;
	int end = 0;

	world_begin(&w, test_seed(), UINT64_C(8) << 20);
	a = world_create_disk(&w, 2 * CHUNK_SECTORS);
	b = world_create_disk(&w, 8 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, a, 0, 2 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_write(&w, b, 0, 8 * CHUNK_SECTORS, 0), 0);
	disk = a->disk;
	w.store->ops->cut(w.store, &cut, world_ended, &end);
	assert_int_equal(end, 1);
	t = w.store->ops->txn_begin(w.store);
	assert_int_equal(w.store->ops->txn_disk_repoint(t, &cut, 0, b->disk), 0);
	w.store->ops->txn_drop(t);
	w.store->ops->cut_drop(&cut);
	world_settle(&w);
	world_verify(&w, false);
	assert_int_equal(world_used_chunks(&w), 10);

	assert_int_equal(world_repoint(&w, a, b), 0); /* asserts the size */
	world_settle(&w);
	assert_int_equal(b->sectors, 2 * CHUNK_SECTORS);
	assert_int_equal(world_used_chunks(&w), 2);
	world_verify(&w, false);

	end = 0;
	w.store->ops->cut(w.store, &cut, world_ended, &end);
	end = 0;
	t = w.store->ops->txn_begin(w.store);
	assert_int_equal(w.store->ops->txn_disk_repoint(t, &cut, 0, b->disk), 0);
	assert_int_equal(w.store->ops->txn_disk_resize(t, b->disk, 6 * CHUNK_SECTORS * SECTOR), 0);
	world_put_name(&w, t, b->disk_id, 6 * CHUNK_SECTORS, b->version);
	w.store->ops->cut_commit(&cut, t, world_ended, &end);
	world_settle(&w);
	assert_int_equal(end, 1);
	assert_int_equal(w.store->ops->disk_size(b->disk), 6 * CHUNK_SECTORS * SECTOR);
	world_verify(&w, false); /* as far as the model goes */
	world_end(&w);
}

/* ---- hydration ------------------------------------------------------------------------------------- */

static uint64_t blocks_copied(struct world *w)
{
	uint64_t n = world_pool(w)->copied_blocks;

	world_pool(w)->copied_blocks = 0;
	return n;
}

static uint64_t own_chunks(const struct model *m)
{
	return pool_disk_of(m->disk)->branch->blocks / POOL_BLOCKS;
}

/* What is copied: the blocks that the copy inherits and has not written or unmapped itself, once each. */
TEST(hydration_copies_each_inherited_block_once)
{
	struct model *a, *s;
	struct world w;

	world_begin_whole(&w, test_seed(), UINT64_C(16) << 20);
	a = world_create_disk(&w, 40 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, a, 0, 4 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_write(&w, a, 20 * CHUNK_SECTORS + 8, 8, 0), 0);
	assert_int_equal(world_unmap(&w, a, CHUNK_SECTORS, 64), 0);
	s = world_fork(&w, a);
	assert_int_equal(world_write(&w, a, 0, 30 * CHUNK_SECTORS, 0), 0); /* too new: not the copy's */
	assert_int_equal(world_write(&w, s, 16, 16, 0), 0);
	assert_int_equal(world_unmap(&w, s, 2 * CHUNK_SECTORS, CHUNK_SECTORS), 0);
	blocks_copied(&w);
	assert_int_equal(world_hydrate(&w, s), 0);
	/* Chunk 0: 14; 1: 8; 2: nothing; 3: 16; 20: 1. */
	assert_int_equal(blocks_copied(&w), 14 + 8 + 16 + 1);
	assert_int_equal(own_chunks(s), 4);
	world_verify(&w, false);
	assert_int_equal(world_hydrate(&w, s), 0);
	assert_int_equal(world_hydrate(&w, a), 0);
	assert_int_equal(blocks_copied(&w), 0);
	world_crash(&w);
	world_settle(&w);
	assert_int_equal(world_used_chunks(&w), 30 + 4); /* nothing old is kept */
	assert_int_equal(world_delete_disk(&w, a), 0);
	world_settle(&w);
	assert_int_equal(world_used_chunks(&w), 4);
	world_verify(&w, false);
	world_end(&w);
}

struct raw_hydration {
	struct store_hydration h;
	int end;
};

static unsigned told;

static void raw_passed(struct store_hydration *h)
{
	assert_true(h->passed_bytes > 0 && h->passed_bytes <= h->total_bytes);
	told++;
}

static void raw_hydrated(struct store_hydration *h, int err)
{
	world_ended(&container_of(h, struct raw_hydration, h)->end, err);
}

/* A disk of 256 TiB costs what is mapped of it; so does one of whose original much was written since. */
TEST(hydration_of_a_huge_disk_costs_only_what_is_mapped)
{
	static uint8_t block[POOL_BLOCK_BYTES];
	struct store_disk *a, *s;
	struct store_cut cut = {.disks = &a, .count = 1};
	struct raw_hydration x = {.end = 0};
	struct store_txn *t;
	uint64_t events, size = UINT64_C(1) << 48;
	struct world w;
	int end = 0;

	world_begin(&w, test_seed(), UINT64_C(64) << 20);
	t = w.store->ops->txn_begin(w.store);
	assert_int_equal(w.store->ops->txn_disk_create(t, size, &a), 0);
	w.store->ops->txn_commit(t, world_ended, &end);
	world_settle(&w);
	for (unsigned i = 0; i < 208; i++) {
		uint64_t at =
			i < 8 ? (size / 8) * (i + 1) - POOL_BLOCK_BYTES : (uint64_t)i << POOL_CHUNK_SHIFT;

		assert_int_equal(world_raw(&w, a, STORE_WRITE, at, block, sizeof(block)), 0);
		if (i != 7)
			continue;
		w.store->ops->cut(w.store, &cut, world_ended, &end);
		t = w.store->ops->txn_begin(w.store);
		assert_int_equal(w.store->ops->txn_disk_fork(t, &cut, 0, &s), 0);
		w.store->ops->cut_commit(&cut, t, world_ended, &end);
		world_settle(&w);
	}
	world_settle(&w);
	blocks_copied(&w);
	events = w.sim.events;
	x.end = 0;
	told = 0;
	x.h = (struct store_hydration){.disk = s, .passed = raw_passed, .done = raw_hydrated};
	w.store->ops->hydrate(&x.h);
	while (!x.end)
		assert_true(sim_step(&w.sim, true));
	assert_int_equal(x.end, 1);
	assert_int_equal(x.h.passed_bytes, size);
	assert_true(told > 2);
	assert_int_equal(x.h.total_bytes, size);
	assert_int_equal(blocks_copied(&w), 8);
	assert_true(w.sim.events - events < 200);
	world_end(&w);
}

/* Cancelled or cut short by a crash again and again: it gets on, and copies no more than a few chunks twice. */
TEST(a_hydration_that_stops_often_copies_little_twice)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 4; i++) {
		struct model *a, *s;
		uint64_t copied = 0, lost = 0;
		unsigned stops = 0;
		struct world w;
		int err;

		world_begin(&w, seed + i, UINT64_C(32) << 20);
		a = world_create_disk(&w, 160 * CHUNK_SECTORS);
		for (unsigned k = 0; k < 160; k += 10)
			assert_int_equal(world_write(&w, a, k * CHUNK_SECTORS, 400, 0), 0);
		s = world_fork(&w, a);
		do {
			uint64_t passed = 0;

			world_hydrate_start(&w, s, 0);
			for (unsigned k = 20 + (unsigned)sim_below(&w.sim, 40); k > 0 && s->hydration; k--) {
				sim_step(&w.sim, true);
				assert_true(!s->hydration || world_passed(s) >= passed);
				passed = s->hydration ? world_passed(s) : 0;
			}
			err = s->hydration ? 1 : 0;
			copied += blocks_copied(&w);
			stops++;
			lost += 4 * 16;
			if (sim_below(&w.sim, 3) == 0) {
				lost += 16 * world_pool(&w)->map.dirty_count; /* and what is in a frame */
				lost += 16 * world_pool(&w)->log.frame.records;
				world_crash(&w);
			} else {
				world_hydrate_cancel(&w, s);
			}
			copied += blocks_copied(&w);
		} while (err && !s->alone && stops < 400);
		assert_true(s->alone && stops > 1);
		assert_true(copied >= 16 * 50 && copied <= 16 * 50 + lost);
		world_verify(&w, false);
		world_end(&w);
	}
}

/* No room: it stops, nobody's data suffers, and it goes on when there is room. */
TEST(a_hydration_stops_without_room_and_goes_on_with_it)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 4; i++) {
		struct model *a, *b, *s;
		struct world w;

		world_begin(&w, seed + i, UINT64_C(4) << 20); /* 64 chunks */
		a = world_create_disk(&w, 40 * CHUNK_SECTORS);
		b = world_create_disk(&w, 16 * CHUNK_SECTORS);
		assert_int_equal(world_write(&w, a, 0, 30 * CHUNK_SECTORS, 0), 0);
		assert_int_equal(world_write(&w, b, 0, 16 * CHUNK_SECTORS, 0), 0);
		s = world_fork(&w, a);
		assert_int_equal(world_hydrate(&w, s), -ENOSPC);
		assert_true(own_chunks(s) >= 14 && own_chunks(s) <= 18);
		world_verify(&w, false);
		/* It leaves the last of 64 chunks to the writers. */
		assert_int_equal(world_write(&w, a, 0, CHUNK_SECTORS, 0), 0);
		assert_int_equal(world_write(&w, a, CHUNK_SECTORS, CHUNK_SECTORS, 0), -ENOSPC);
		assert_int_equal(world_write(&w, b, 0, CHUNK_SECTORS, 0), 0);
		assert_int_equal(world_write(&w, s, 0, 1, 0), 0);
		if (i % 2)
			world_crash(&w);
		/* Once the original is deleted what is left to copy is simply the copy's. */
		assert_int_equal(world_delete_disk(&w, i % 4 < 2 ? b : a), 0);
		assert_int_equal(world_hydrate(&w, s), 0);
		world_verify(&w, false);
		world_settle(&w);
		assert_int_equal(world_used_chunks(&w), i % 4 < 2 ? 60 : 46);
		world_crash(&w);
		world_end(&w);
	}
}

/* The limit is kept, and may change meanwhile. */
TEST(a_hydration_keeps_its_limit_which_may_change_meanwhile)
{
	struct model *a, *s;
	uint64_t start;
	struct world w;

	world_begin(&w, test_seed(), UINT64_C(16) << 20);
	a = world_create_disk(&w, 64 * CHUNK_SECTORS);
	for (unsigned k = 0; k < 64; k += 2)
		assert_int_equal(world_write(&w, a, k * CHUNK_SECTORS, 256, 0), 0);
	s = world_fork(&w, a);
	start = w.sim.now_ms;
	world_hydrate_start(&w, s, 1 << 20); /* 4 MiB */
	while (s->hydration)
		assert_true(sim_step(&w.sim, true));
	assert_true(s->alone && w.sim.now_ms - start >= 3500);
	s = world_fork(&w, a);
	start = w.sim.now_ms;
	world_hydrate_start(&w, s, 1 << 20);
	while (w.sim.now_ms < start + 1000)
		assert_true(sim_step(&w.sim, true));
	assert_true(own_chunks(s) > 0 && own_chunks(s) <= 24);
	world_hydrate_rate(s, 0);
	while (s->hydration)
		assert_true(sim_step(&w.sim, true));
	assert_true(s->alone);
	world_verify(&w, false);
	world_end(&w);
}

/* The log does not answer: hydration stops at half of what may be dirty, writes go on. */
TEST(a_hydration_leaves_room_for_writes_when_the_log_is_full)
{
	struct model *a, *s;
	struct pool *p;
	struct world w;

	world_begin(&w, test_seed(), UINT64_C(160) << 20);
	p = world_pool(&w);
	a = world_create_disk(&w, 1200 * CHUNK_SECTORS);
	for (unsigned k = 0; k < 1200; k++)
		assert_int_equal(world_write(&w, a, k * CHUNK_SECTORS, 8, 0), 0);
	s = world_fork(&w, a);
	world_settle(&w);
	world_hydrate_start(&w, s, 0);
	while (own_chunks(s) == 0)
		assert_true(sim_step(&w.sim, true));
	p->commit.no_room = true;
	world_settle(&w);
	assert_true(s->hydration && p->map.dirty_count > 0);
	assert_true(p->map.dirty_count + p->map.dirty_pending <= p->map.dirty_max / 2 + 4);
	for (unsigned k = 0; k < 20; k++)
		assert_int_equal(world_write(&w, a, k * CHUNK_SECTORS + 16, 8, 0), 0);
	pool_commit_log_has_room(&p->commit);
	world_settle(&w);
	assert_true(s->alone);
	world_verify(&w, false);
	world_end(&w);
}

/* ---- what happens meanwhile ------------------------------------------------------------------------ */

enum meanwhile {
	CUT_COPY,
	WRITE_ALL,
	UNMAP_COPY,
	DELETE_ORIGINAL,
	DELETE_CHILD,
	DELETE_BOTH,
	REPOINT_ORIGINAL,
	RESIZE,
	HYDRATE_OTHERS,
	MEANWHILE
};

static void meanwhile(struct world *w, enum meanwhile what, struct model *a, struct model *s, struct model *c)
{
	switch (what) {
	case CUT_COPY:
		world_cut(w, &s, 1);
		break;
	case WRITE_ALL:
		assert_int_equal(world_write(w, a, 100, 600, 0), 0);
		assert_int_equal(world_write(w, s, 300, 100, 0), 0);
		assert_int_equal(world_write(w, c, 700, 150, STORE_IO_FUA), 0);
		assert_int_equal(world_write(w, s, 710, 1, STORE_IO_FUA), 0);
		break;
	case UNMAP_COPY:
		assert_int_equal(world_unmap(w, s, 64, 3 * CHUNK_SECTORS), 0);
		assert_int_equal(world_flush(w, s), 0);
		break;
	case DELETE_ORIGINAL:
		assert_int_equal(world_delete_disk(w, a), 0);
		break;
	case DELETE_CHILD:
		assert_int_equal(world_delete_disk(w, c), 0);
		break;
	case DELETE_BOTH:
		assert_int_equal(world_delete_disk(w, c), 0);
		assert_int_equal(world_delete_disk(w, a), 0);
		break;
	case REPOINT_ORIGINAL:
		assert_int_equal(world_repoint(w, s, a), 0);
		break;
	case RESIZE:
		assert_int_equal(world_resize(w, s, 10 * CHUNK_SECTORS), 0);
		assert_int_equal(world_write(w, s, 9 * CHUNK_SECTORS, 100, STORE_IO_FUA), 0);
		break;
	case HYDRATE_OTHERS:
		world_hydrate_start(w, c, 0);
		break;
	default:
		break;
	}
}

/* Every chunk in use holds a block that a reader finds there. */
static bool nothing_hidden(struct world *w, struct model *m)
{
	const struct pool_branch *b = pool_disk_of(m->disk)->branch;
	const struct pool_leaf *leaf;

	world_verify(w, false); /* loads it */
	leaf = pool_map_peek(b, 0);
	assert_non_null(leaf);
	for (uint64_t chunk = 0; chunk < 10; chunk++) {
		const struct pool_entry *e = NULL;
		struct pool_entry room;
		unsigned n = pool_map_entries(leaf, chunk, &e, &room);
		uint16_t seen = 0;

		for (unsigned i = 0; i < n; i++) {
			if (e[i].phys && !(e[i].valid & ~seen))
				return false;
			seen |= e[i].valid | e[i].zero;
		}
	}
	return true;
}

/* A grandparent, a copy of a copy, and the copy that hydrates; after `steps` events something happens. */
static void interleave(uint64_t seed, unsigned steps, enum meanwhile what)
{
	struct model *g, *a, *s, *c;
	uint64_t want;
	bool spliced;
	struct world w;

	world_begin(&w, seed, UINT64_C(16) << 20);
	w.map_memory = seed % 3 == 0;
	g = world_create_disk(&w, 8 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, g, 0, 5 * CHUNK_SECTORS, 0), 0);
	a = world_fork(&w, g);
	assert_int_equal(world_write(&w, a, 64, 400, 0), 0);
	assert_int_equal(world_unmap(&w, a, 4 * CHUNK_SECTORS, 64), 0);
	s = world_fork(&w, a);
	assert_int_equal(world_write(&w, s, 40, 24, 0), 0);
	c = world_fork(&w, s);
	assert_int_equal(world_write(&w, s, 200, 80, 0), 0);
	assert_int_equal(world_write(&w, c, 300, 80, 0), 0);
	if (seed % 4 == 1)
		assert_int_equal(world_delete_disk(&w, g), 0);
	if (seed % 4 == 2)
		world_crash(&w);
	world_hydrate_start(&w, s, 0);
	for (unsigned i = 0; i < steps && s->hydration; i++)
		sim_step(&w.sim, true);
	meanwhile(&w, what, a, s, c);
	if (seed % 2)
		world_crash(&w);
	world_verify(&w, false);
	if (!s->hydration)
		assert_int_equal(world_hydrate(&w, s), 0);
	world_settle(&w);
	assert_true(s->alone);
	world_verify(&w, false);
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		if (w.disk[i].disk_id && &w.disk[i] != s)
			assert_int_equal(world_delete_disk(&w, &w.disk[i]), 0);
	}
	world_settle(&w);
	world_crash(&w);
	world_settle(&w);
	want = what == RESIZE || what == WRITE_ALL ? 6 : what == UNMAP_COPY ? 3 : 5;
	/* A splice leaves a chunk in two places that the copy had written in part. */
	spliced = what == DELETE_ORIGINAL || what == DELETE_BOTH || what == REPOINT_ORIGINAL || seed % 4 == 1;
	assert_true(!spliced || nothing_hidden(&w, s));
	if (world_used_chunks(&w) != want && !(spliced && world_used_chunks(&w) < want + 4))
		fail_msg("seed %llu, %u steps, then %u: %llu chunks, not %llu", (unsigned long long)seed,
			steps, what, (unsigned long long)world_used_chunks(&w), (unsigned long long)want);
	assert_int_equal(world_delete_disk(&w, s), 0);
	world_settle(&w);
	assert_int_equal(world_used_chunks(&w), 0);
	world_end(&w);
}

TEST(whatever_happens_meanwhile_a_copy_becomes_independent)
{
	uint64_t seed = test_seed();
	unsigned runs = test_runs(36);

	for (unsigned i = 0; i < runs; i++) {
		if (getenv("UMBRA_TEST_VERBOSE"))
			printf("run %u\n", i);
		interleave(seed + i, 7 * (i % 17) + i / MEANWHILE % 7, i % MEANWHILE);
	}
}

/* Hydrates until the frame that ends it is asked for. */
static void until_end_waits(struct world *w, struct model *s)
{
	world_hydrate_start(w, s, 0);
	for (;;) {
		assert_true(sim_step(&w->sim, true));
		list_for_each (n, &world_pool(w)->commit.riders) {
			if (container_of(n, struct pool_rider, link)->refresh)
				return;
		}
	}
}

/* The frame that ends the hydration is not durable yet: the original still writes beside what the copy shows. */
TEST(the_original_may_be_written_before_the_end_is_durable)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 20; i++) {
		struct model *a, *s;
		struct world_io *io;
		struct world w;

		world_begin(&w, seed + i, UINT64_C(8) << 20);
		a = world_create_disk(&w, 4 * CHUNK_SECTORS);
		assert_int_equal(world_write(&w, a, 0, 300, 0), 0);
		s = world_fork(&w, a);
		world_settle(&w);
		until_end_waits(&w, s);
		io = world_start_write(&w, a, 0, 300);
		for (unsigned k = 0; k < i % 10; k++)
			sim_step(&w.sim, true);
		world_crash(&w);
		world_wait(&w, io);
		assert_int_equal(world_hydrate(&w, s), 0);
		world_verify(&w, false);
		world_end(&w);
	}
}

/* The frame that ends the hydration waits, and the copy is cut: its new generation must not be taken back, or
 * what is written next would go into the cut. */
TEST(a_cut_at_the_end_keeps_its_new_generation)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 6; i++) {
		struct model *a, *s, *c;
		struct world w;

		world_begin(&w, seed + i, UINT64_C(8) << 20);
		a = world_create_disk(&w, 4 * CHUNK_SECTORS);
		assert_int_equal(world_write(&w, a, 0, 300, 0), 0);
		s = world_fork(&w, a);
		world_settle(&w);
		until_end_waits(&w, s);
		c = world_fork(&w, s);
		assert_true(s->alone);
		world_crash(&w);
		assert_int_equal(world_write(&w, s, 0, 300, 0), 0);
		assert_int_equal(world_flush(&w, s), 0);
		world_verify(&w, false);
		assert_int_equal(world_delete_disk(&w, c), 0);
		world_end(&w);
	}
}

/* With nothing of the map in memory. */
static void reopen(struct world *w)
{
	assert_int_equal(world_close(w), 0);
	sim_power_on(&w->sim);
	assert_int_equal(world_open(w), 0);
}

/* Jobs of one queue that the simulator does not see, but for the first `pass`. */
struct holder {
	struct list jobs;
	enum pool_queue queue;
	struct list_node *passed; /* the last one that was let through; it may not have begun */
	unsigned pass;
};

static void hold_jobs(struct world *w, struct holder *h)
{
	bool waits = false;

	list_for_each (n, &w->sim.jobs)
		waits = waits || n == h->passed;
	if (!waits)
		h->passed = NULL;
	list_for_each_safe (n, &w->sim.jobs) {
		if (container_of(n, struct pool_job, link)->queue != h->queue || n == h->passed)
			continue;
		if (h->pass) {
			h->pass--;
			h->passed = n;
			return;
		}
		list_remove(n);
		list_push_back(&h->jobs, n);
	}
}

/* The original is being spliced into its last copy when that becomes independent. */
TEST(an_original_is_spliced_while_its_copy_becomes_independent)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 8; i++) {
		struct model *g, *a, *s;
		struct holder held = {.pass = i % 8};
		struct world w;

		list_init(&held.jobs);
		world_begin(&w, seed + i, UINT64_C(8) << 20);
		g = world_create_disk(&w, 8 * CHUNK_SECTORS);
		assert_int_equal(world_write(&w, g, 0, 8 * CHUNK_SECTORS, 0), 0);
		a = world_fork(&w, g);
		assert_int_equal(world_write(&w, a, 0, 4 * CHUNK_SECTORS, 0), 0);
		s = world_fork(&w, a);
		world_settle(&w);
		world_hydrate_start(&w, s, 1 << 20);
		while (own_chunks(s) == 0)
			assert_true(sim_step(&w.sim, true));
		assert_int_equal(world_delete_disk(&w, a), 0);
		while (s->hydration) {
			hold_jobs(&w, &held);
			if (!list_empty(&held.jobs))
				world_hydrate_rate(s, 0);
			assert_true(sim_step(&w.sim, true));
		}
		assert_true(s->alone);
		world_release_jobs(&w, &held.jobs);
		world_settle(&w);
		assert_null(pool_disk_of(s->disk)->branch->parent);
		world_verify(&w, false);
		assert_int_equal(world_used_chunks(&w), 8 + 8);
		world_crash(&w);
		assert_int_equal(world_delete_disk(&w, g), 0);
		world_settle(&w);
		assert_int_equal(world_used_chunks(&w), 8);
		world_verify(&w, false);
		world_end(&w);
	}
}

static void steps_held(struct world *w, struct holder *first, struct holder *second, unsigned steps)
{
	for (; steps > 0; steps--) {
		hold_jobs(w, first);
		if (second)
			hold_jobs(w, second);
		sim_step(&w->sim, true);
	}
}

/* The original's own original, deleted, is spliced into it just when the hydration of the copy begins: between
 * the flush at its start and LMDB's having it. What has moved is not in LMDB where it is looked for. */
TEST(a_hydration_may_begin_in_the_middle_of_a_splice)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 8; i++) {
		struct holder workers = {.queue = POOL_QUEUE_WORKERS, .pass = i % 8};
		struct holder checkpoint = {.queue = POOL_QUEUE_CHECKPOINT};
		struct model *g, *a, *s;
		struct world w;

		list_init(&workers.jobs);
		list_init(&checkpoint.jobs);
		world_begin(&w, seed + i, UINT64_C(8) << 20);
		g = world_create_disk(&w, 8 * CHUNK_SECTORS);
		assert_int_equal(world_write(&w, g, 0, 8 * CHUNK_SECTORS, 0), 0);
		a = world_fork(&w, g);
		assert_int_equal(world_write(&w, a, 0, 4 * CHUNK_SECTORS, 0), 0);
		s = world_fork(&w, a);
		world_settle(&w);
		assert_int_equal(world_delete_disk(&w, g), 0);
		steps_held(&w, &workers, NULL, 150);
		assert_int_equal(world_write(&w, a, 0, 8, 0), 0);
		world_hydrate_start(&w, s, 0);
		steps_held(&w, &workers, &checkpoint, 60);
		world_release_jobs(&w, &workers.jobs);
		steps_held(&w, &checkpoint, NULL, 60);
		world_release_jobs(&w, &checkpoint.jobs);
		world_settle(&w);
		assert_true(s->alone);
		world_verify(&w, false);
		world_end(&w);
	}
}

/* A read through the copy waits for a leaf of the original when that is no longer its parent, and dropped. */
TEST(a_read_that_waits_for_a_leaf_outlives_the_parent)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 4; i++) {
		struct model *a, *s;
		struct holder held = {.pass = 1}; /* the copy's own leaf */
		struct world w;

		list_init(&held.jobs);
		world_begin(&w, seed + i, UINT64_C(8) << 20);
		a = world_create_disk(&w, (POOL_LEAF_CHUNKS + 4) * CHUNK_SECTORS);
		assert_int_equal(world_write(&w, a, 0, 300, 0), 0);
		s = world_fork(&w, a);
		reopen(&w);
		world_start_read(&w, s, POOL_LEAF_CHUNKS * CHUNK_SECTORS, 64);
		while (list_empty(&held.jobs)) {
			hold_jobs(&w, &held);
			assert_true(!list_empty(&held.jobs) || sim_step(&w.sim, true));
		}
		assert_int_equal(world_hydrate(&w, s), 0);
		assert_int_equal(world_delete_disk(&w, a), 0);
		world_idle(&w);
		world_release_jobs(&w, &held.jobs);
		world_settle(&w);
		assert_int_equal(world_used_chunks(&w), 3);
		world_verify(&w, false);
		world_end(&w);
	}
}

/* Reads that the simulator does not see. */
static void hold_reads(struct world *w, struct list *held)
{
	list_for_each_safe (n, &w->sim.ops) {
		if (container_of(n, struct pool_op, link)->kind != POOL_OP_READ)
			continue;
		list_remove(n);
		list_push_back(held, n);
	}
}

static void release_reads(struct world *w, struct list *held)
{
	struct list_node *n;

	while ((n = list_pop(held)))
		list_push_back(&w->sim.ops, n);
}

/* A read of the copy, or of a copy's copy, has found its data with the original, and the disk is slow: the original may
 * not write there before it has ended, though the copy has everything itself by then. */
TEST(a_late_read_sees_nothing_that_the_original_wrote_since)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 8; i++) {
		struct model *a, *s, *c;
		struct list held;
		struct world w;

		list_init(&held);
		world_begin(&w, seed + i, UINT64_C(8) << 20);
		a = world_create_disk(&w, 4 * CHUNK_SECTORS);
		assert_int_equal(world_write(&w, a, 0, 300, 0), 0);
		s = world_fork(&w, a);
		c = i % 2 ? world_fork(&w, s) : s;
		world_settle(&w);
		world_start_read(&w, c, 0, 200);
		hold_reads(&w, &held);
		assert_false(list_empty(&held));
		world_hydrate_start(&w, s, 0);
		for (unsigned k = 0; k < 400; k++)
			sim_step(&w.sim, true);
		assert_int_equal(world_write(&w, a, 0, 200, 0), 0);
		if (i % 4 > 1)
			world_hydrate_cancel(&w, s);
		release_reads(&w, &held); /* compared with what the copy holds */
		world_settle(&w);
		assert_true(s->alone || i % 4 > 1);
		world_verify(&w, false);
		world_end(&w);
	}
}

/* Known zeros over an ancestor's data, then a write to them that fails, then a splice: still zeros. */
TEST(zeros_survive_a_failed_write_and_a_splice)
{
	struct model *g, *a, *s;
	struct world w;

	world_begin(&w, test_seed(), UINT64_C(8) << 20);
	g = world_create_disk(&w, 2 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, g, 0, 2 * CHUNK_SECTORS, 0), 0);
	a = world_fork(&w, g);
	assert_int_equal(world_unmap(&w, a, 0, CHUNK_SECTORS), 0);
	world_settle(&w); /* else another step may be the one that fails */
	w.sim.fail_at = w.sim.steps + 1;
	assert_int_equal(world_write(&w, a, 8, 8, 0), -EIO);
	s = world_fork(&w, a);
	assert_int_equal(world_delete_disk(&w, a), 0);
	world_settle(&w);
	assert_int_equal(pool_disk_of(s->disk)->branch->parent->id, pool_disk_of(g->disk)->branch->id);
	world_verify(&w, false);
	assert_int_equal(world_hydrate(&w, s), 0);
	world_crash(&w);
	world_end(&w);
}

/* A write waits for a chunk that is being copied, and the generation that it belongs to is cut off by a cut
 * that is given up: the copied blocks must not become newer than it. */
TEST(copied_blocks_are_never_newer_than_a_write_that_waited)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 30; i++) {
		struct model *a, *s;
		struct world_io *io;
		struct world w;

		world_begin(&w, seed + i, UINT64_C(8) << 20);
		a = world_create_disk(&w, 8 * CHUNK_SECTORS);
		assert_int_equal(world_write(&w, a, 0, 8 * CHUNK_SECTORS, 0), 0);
		s = world_fork(&w, a);
		reopen(&w);
		world_hydrate_start(&w, s, 0);
		for (unsigned k = 0; k < i; k++)
			sim_step(&w.sim, true);
		io = world_start_write(&w, s, 8, 400);
		assert_null(world_cut_start(&w, &s, 1, true));
		assert_int_equal(world_wait(&w, io), 0);
		assert_int_equal(world_write(&w, s, 100, 60, 0), 0);
		world_settle(&w);
		assert_true(s->alone);
		world_verify(&w, false);
		world_end(&w);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_repoint_moves_no_data_and_frees_what_only_it_held),
		cmocka_unit_test(a_repointed_disk_takes_the_size_and_may_be_resized_at_once),
		cmocka_unit_test(hydration_copies_each_inherited_block_once),
		cmocka_unit_test(hydration_of_a_huge_disk_costs_only_what_is_mapped),
		cmocka_unit_test(a_hydration_that_stops_often_copies_little_twice),
		cmocka_unit_test(a_hydration_stops_without_room_and_goes_on_with_it),
		cmocka_unit_test(a_hydration_keeps_its_limit_which_may_change_meanwhile),
		cmocka_unit_test(a_hydration_leaves_room_for_writes_when_the_log_is_full),
		cmocka_unit_test(whatever_happens_meanwhile_a_copy_becomes_independent),
		cmocka_unit_test(the_original_may_be_written_before_the_end_is_durable),
		cmocka_unit_test(a_cut_at_the_end_keeps_its_new_generation),
		cmocka_unit_test(an_original_is_spliced_while_its_copy_becomes_independent),
		cmocka_unit_test(a_hydration_may_begin_in_the_middle_of_a_splice),
		cmocka_unit_test(a_read_that_waits_for_a_leaf_outlives_the_parent),
		cmocka_unit_test(a_late_read_sees_nothing_that_the_original_wrote_since),
		cmocka_unit_test(zeros_survive_a_failed_write_and_a_splice),
		cmocka_unit_test(copied_blocks_are_never_newer_than_a_write_that_waited),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
