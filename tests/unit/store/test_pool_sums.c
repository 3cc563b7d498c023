/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums of the data: damage is seen in every block that is not believed as a crash left it, and nothing is ever said to be
 * damaged that is not. (That no crash makes a false one is also looked at by all tests of the store that crash.)
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define MIB UINT64_C(1048576)

struct one_read {
	struct store_io io;
	struct iovec iov;
	uint8_t buf[8 * SECTOR];
	int done; /* 1 or the error */
};

static void one_read_done(struct store_io *io, int err)
{
	container_of(io, struct one_read, io)->done = err ? err : 1;
}

/* Reads `count` sectors by an I/O of its own: 0 or the error. */
static int read_at(struct world *w, struct model *m, uint64_t sector, unsigned count, uint64_t *damaged)
{
	struct one_read r = {.io = {.op = STORE_READ,
				     .offset = sector * SECTOR,
				     .len = count * SECTOR,
				     .iov_count = 1,
				     .done = one_read_done}};

	r.iov = (struct iovec){.iov_base = r.buf, .iov_len = count * SECTOR};
	r.io.iov = &r.iov;
	r.io.disk = m->disk;
	w->store->ops->submit(&r.io);
	while (!r.done)
		assert_true(sim_step(&w->sim, true));
	if (damaged)
		*damaged = r.io.damaged_offset;
	return r.done == 1 ? 0 : r.done;
}

/* Where the block of the disk lies in data.0, bytes; 0: nowhere. */
static uint64_t place_of(struct world *w, struct model *m, uint64_t block)
{
	struct pool_places places;
	struct pool *p = world_pool(w);
	int err;

	while ((err = pool_map_resolve(&p->map, pool_disk_of(m->disk)->branch, POOL_GEN_HEAD, block / 16,
			POOL_ALL_BLOCKS, NULL, &places)) == -EAGAIN)
		assert_int_equal(read_at(w, m, block * 8, 8, NULL), 0); /* brings the leaf into memory */
	assert_int_equal(err, 0);
	return places.phys[block % 16]
		       ? (places.phys[block % 16] << POOL_CHUNK_SHIFT) + (block % 16 << POOL_BLOCK_SHIFT)
		       : 0;
}

struct check_lines {
	unsigned damaged, not_compared;
	char last[256];
};

static void check_line(void *arg, const char *line)
{
	struct check_lines *l = arg;

	if (strstr(line, "is damaged")) {
		l->damaged++;
		snprintf(l->last, sizeof(l->last), "%s", line);
	} else if (strstr(line, "not compared")) {
		l->not_compared++;
	}
}

/* A check of the closed pool's data: findings. */
static int check_data(struct world *w, struct check_lines *lines)
{
	struct pool_options options = {.path = "sim", .data = true};
	struct pool_host *h = sim_host(&w->sim);
	struct fault fault = {0};
	int findings;

	*lines = (struct check_lines){0};
	findings = pool_check_on(h, &options, false, check_line, lines, &fault);
	h->ops->free(h);
	assert_true(findings >= 0);
	return findings;
}

static void reopen(struct world *w)
{
	assert_int_equal(world_close(w), 0);
	assert_int_equal(world_open(w), 0);
}

/* Flips a bit of the closed pool's data, looks at all blocks of all disks, and flips it back. */
static unsigned damaged_blocks(struct world *w, uint64_t byte, bool alone, uint64_t *where)
{
	struct check_lines lines;
	unsigned found = 0;
	char wanted[64];

	assert_int_equal(world_close(w), 0);
	assert_int_equal(check_data(w, &lines), 0);
	assert_int_equal(lines.not_compared, 0);
	sim_flip(&w->sim, "data.0", byte * 8 + sim_below(&w->sim, 8));
	/* A finding for each entry of the map that has it: clones share chunks. */
	assert_true(check_data(w, &lines) > 0 && lines.damaged > 0);
	if (alone)
		assert_int_equal(lines.damaged, 1);
	snprintf(wanted, sizeof(wanted), "data.0 at byte %llu", (unsigned long long)(byte & ~4095ull));
	assert_non_null(strstr(lines.last, wanted));
	assert_int_equal(world_open(w), 0);
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		struct model *m = &w->disk[i];

		for (uint64_t b = 0; m->disk_id && b < m->sectors / 8; b++) {
			uint64_t damaged;
			int err = read_at(w, m, b * 8, 8, &damaged);

			if (!err)
				continue;
			assert_int_equal(err, -EUCLEAN);
			assert_int_equal(damaged, b * 8 * SECTOR);
			*where = (uint64_t)i << 32 | b;
			found++;
		}
	}
	return found;
}

TEST(a_flipped_bit_is_found_where_it_is_and_a_new_write_heals_it)
{
	struct world w;
	struct model *m;
	uint64_t place, where = 0, damaged;

	world_begin(&w, test_seed(), 24 * MIB);
	m = world_create_disk(&w, 64 * 128);
	assert_int_equal(world_write(&w, m, 0, 512, 0), 0);
	assert_int_equal(world_write(&w, m, 20, 3, 0), 0); /* parts of blocks */
	world_settle(&w);
	place = place_of(&w, m, 17);
	assert_true(place);
	assert_int_equal(damaged_blocks(&w, place + 4000, true, &where), 1);
	assert_int_equal(where & 0xffffffff, 17);
	assert_int_equal(w.damaged, 1); /* told once */
	assert_int_equal(w.damage.disk_offset, 17 * 4096);
	assert_int_equal(w.damage.file_offset, place);
	assert_string_equal(w.damage.file, "data.0");
	/* A part of the block; and a block before it: the sector that is wanted first. */
	assert_int_equal(read_at(&w, m, 17 * 8 + 5, 1, &damaged), -EUCLEAN);
	assert_int_equal(damaged, (17 * 8 + 5) * SECTOR);
	assert_int_equal(read_at(&w, m, 17 * 8 - 2, 4, &damaged), -EUCLEAN);
	assert_int_equal(damaged, 17 * 8 * SECTOR);
	/* What would need the rest of it cannot be written, the whole can. */
	assert_int_equal(world_write(&w, m, 17 * 8, 8, 0), 0);
	assert_int_equal(read_at(&w, m, 17 * 8, 8, NULL), 0);
	world_verify_end(&w);
}

TEST(copies_and_their_original_see_the_same_damage)
{
	struct world w;
	struct model *m, *copy;
	uint64_t where;

	world_begin(&w, test_seed(), 24 * MIB);
	m = world_create_disk(&w, 16 * 128);
	assert_int_equal(world_write(&w, m, 0, 256, 0), 0);
	copy = world_fork(&w, m);
	assert_non_null(copy);
	assert_int_equal(world_write(&w, m, 8, 8, 0), 0);
	assert_int_equal(damaged_blocks(&w, place_of(&w, copy, 3), true, &where), 2);
	sim_flip(&w.sim, "data.0", 0); /* chunk 0 holds no data: nothing of it is read */
	assert_int_equal(world_write(&w, m, 3 * 8, 8, 0), 0);
	assert_int_equal(read_at(&w, m, 3 * 8, 8, NULL), 0);
	assert_int_equal(read_at(&w, copy, 3 * 8, 8, NULL), -EUCLEAN);
	assert_int_equal(world_close(&w), 0);
	world_destroy(&w);
}

/* Whatever happened before, a crash included: once things have settled, a flipped bit of any block is seen. */
static void run_any(uint64_t seed)
{
	struct world w;

	world_begin(&w, seed, 24 * MIB);
	for (unsigned i = 0; i < 3; i++)
		assert_non_null(world_create_disk(&w, 4 * 128));
	for (unsigned i = 0; i < 150; i++)
		world_random_op(&w);
	world_drain(&w);
	if (seed % 4) {
		w.sim.off_at = 1 + sim_below(&w.sim, 40);
		for (unsigned i = 0; i < 100 && !world_dead(&w); i++) {
			world_random_op(&w);
			sim_step(&w.sim, true);
		}
		world_recover(&w);
	}
	world_settle(&w);
	assert_int_equal(world_pool(&w)->space.sums.counts.lost, 0);
	for (unsigned i = 0; i < 6; i++) {
		struct model *m = world_any_disk(&w);
		uint64_t block = m ? sim_below(&w.sim, m->sectors / 8) : 0, place, where;
		struct check_lines lines;
		uint64_t bit;

		if (!m || !(place = place_of(&w, m, block)))
			continue;
		assert_int_equal(world_close(&w), 0);
		bit = place * 8 + sim_below(&w.sim, 4096 * 8);
		sim_flip(&w.sim, "data.0", bit);
		assert_true(check_data(&w, &lines) > 0 && lines.damaged > 0);
		assert_int_equal(world_open(&w), 0);
		assert_int_equal(read_at(&w, m, block * 8, 8, &where), -EUCLEAN);
		assert_int_equal(world_close(&w), 0);
		sim_flip(&w.sim, "data.0", bit);
		assert_int_equal(check_data(&w, &lines), 0);
		assert_int_equal(world_open(&w), 0);
		assert_int_equal(read_at(&w, m, block * 8, 8, NULL), 0);
	}
	world_verify_end(&w);
}

TEST(after_a_crash_too_any_settled_block_is_watched)
{
	test_seeds(12, run_any);
}

/* What is not known, or lost, or of before, never makes a false error. */
TEST(damaged_lost_and_old_checksums_are_no_damage_of_the_data)
{
	struct world w;
	struct model *m;
	uint64_t bytes, seed = test_seed();
	uint8_t *old;

	world_begin(&w, seed, 24 * MIB);
	m = world_create_disk(&w, 64 * 128);
	assert_int_equal(world_write(&w, m, 0, 512, 0), 0);
	world_settle(&w);
	assert_int_equal(world_close(&w), 0);
	old = sim_take(&w.sim, "sums", &bytes);
	for (unsigned i = 0; i < 20; i++)
		sim_flip(&w.sim, "sums", 4096 * 8 + sim_below(&w.sim, (bytes - 4096) * 8));
	assert_int_equal(world_open(&w), 0);
	world_verify(&w, false);
	assert_true(world_pool(&w)->space.sums.counts.lost > 0);
	assert_int_equal(world_write(&w, m, 64, 300, 0), 0);
	reopen(&w);
	assert_int_equal(world_write(&w, m, 0, 256, 0), 0);
	assert_int_equal(world_close(&w), 0);
	sim_put(&w.sim, "sums", old, bytes); /* of two openings ago */
	assert_int_equal(world_open(&w), 0);
	world_verify(&w, false);
	assert_int_equal(world_close(&w), 0);
	sim_put(&w.sim, "sums", NULL, 0);
	sim_put(&w.sim, "touched", NULL, 0);
	assert_int_equal(world_open(&w), 0);
	world_verify(&w, false);
	free(old);
	world_verify_end(&w);
}

/* A pool of before: nothing is compared, and it is written on as it is. */
TEST(a_pool_without_checksums_stays_one)
{
	struct world w = {0};
	struct model *m;
	uint64_t place;

	world_init_plain(&w, test_seed(), 24 * MIB, 1 << 20);
	assert_int_equal(world_open(&w), 0);
	m = world_create_disk(&w, 64 * 128);
	assert_int_equal(world_write(&w, m, 0, 512, 0), 0);
	world_settle(&w);
	assert_false(world_pool(&w)->space.sums.on);
	place = place_of(&w, m, 17);
	assert_int_equal(world_close(&w), 0);
	sim_flip(&w.sim, "data.0", (place + 4) * 8);
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(read_at(&w, m, 17 * 8, 8, NULL), 0);
	assert_int_equal(world_close(&w), 0);
	world_destroy(&w);
}

/* Right after a crash, too, a check says nothing false; a repair, which begins a new incarnation, keeps the sums. */
static void run_checks(uint64_t seed)
{
	struct check_lines lines;
	struct world_edit edit;
	uint64_t where;
	struct world w;
	struct model *m;

	world_begin(&w, seed, 24 * MIB);
	m = world_create_disk(&w, 4 * 128);
	assert_int_equal(world_write(&w, m, 0, 4 * 128, 0), 0);
	world_settle(&w);
	w.sim.off_at = w.sim.steps + 1 + sim_below(&w.sim, 12);
	for (unsigned i = 0; i < 100 && !world_dead(&w); i++) {
		world_random_op(&w);
		sim_step(&w.sim, true);
	}
	world_drain(&w);
	sim_power_off(&w.sim);
	world_close(&w);
	sim_power_on(&w.sim);
	assert_int_equal(check_data(&w, &lines), 0);
	assert_int_equal(world_open(&w), 0);
	world_verify(&w, true);
	world_settle(&w);
	assert_int_equal(world_close(&w), 0);
	world_edit_begin(&w, &edit); /* an index lacks an entry: to be repaired */
	assert_int_equal(mdb_drop(edit.txn, edit.meta.table[POOL_TABLE_GEN], 0), 0);
	world_edit_end(&edit);
	assert_int_equal(world_check(&w, true), 0);
	assert_int_equal(world_open(&w), 0);
	if (place_of(&w, m, 3))
		assert_true(damaged_blocks(&w, place_of(&w, m, 3), false, &where) > 0);
	assert_int_equal(world_close(&w), 0);
	world_destroy(&w);
}

TEST(a_check_after_a_crash_finds_nothing_and_a_repair_keeps_the_sums)
{
	test_seeds(12, run_checks);
}

/* ---- scrub ------------------------------------------------------------------------------------------ */

static struct store_scrub scrub_view(struct world *w)
{
	struct store_scrub v;

	w->store->ops->scrub_view(w->store, &v);
	return v;
}

static struct store_scrub scrub(struct world *w)
{
	assert_int_equal(w->store->ops->scrub_start(w->store, 0), 0);
	while (scrub_view(w).running)
		assert_true(sim_step(&w->sim, true));
	return scrub_view(w);
}

/* Finds what is damaged and nothing else, while clients go on, and whatever a crash left. */
static void run_scrub(uint64_t seed)
{
	struct model *m, *copy;
	struct store_scrub v;
	uint64_t place, bit;
	struct world w;

	world_begin(&w, seed, 24 * MIB);
	m = world_create_disk(&w, 16 * 128);
	assert_int_equal(world_write(&w, m, 0, 1000, 0), 0);
	copy = world_fork(&w, m);
	assert_non_null(copy);
	for (unsigned i = 0; i < 100; i++)
		world_random_op(&w);
	world_settle(&w);
	v = scrub(&w);
	assert_true(v.finished && v.bytes > 0 && !v.damaged && !v.unreadable);
	assert_int_equal(w.damaged, 0);
	while (!(place = place_of(&w, m, bit = sim_below(&w.sim, 16 * 16))))
		;
	assert_int_equal(world_close(&w), 0);
	sim_flip(&w.sim, "data.0", place * 8 + sim_below(&w.sim, 32768));
	assert_int_equal(world_open(&w), 0);
	v = scrub(&w);
	assert_true(v.finished && v.damaged > 0);
	assert_int_equal(w.damaged, 1);
	assert_int_equal(w.damage.file_offset, place);
	assert_int_equal(world_close(&w), 0);
	world_destroy(&w);
}

TEST(a_scrub_finds_what_is_damaged_and_nothing_else)
{
	test_seeds(8, run_scrub);
}

TEST(a_scrub_beside_clients_and_over_crashes_finds_nothing)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 6; i++) {
		struct world w;

		world_begin(&w, seed + i, 24 * MIB);
		w.sim.direct = i & 1;
		for (unsigned k = 0; k < 3; k++)
			assert_non_null(world_create_disk(&w, 4 * 128));
		for (unsigned k = 0; k < 4; k++) {
			assert_int_equal(w.store->ops->scrub_start(w.store, k & 1 ? 1 << 20 : 0), 0);
			for (unsigned n = 0; n < 150; n++) {
				world_random_op(&w);
				sim_step(&w.sim, true);
			}
			if (k == 1)
				world_crash(&w);
			world_drain(&w);
			while (scrub_view(&w).running)
				assert_true(sim_step(&w.sim, true));
			assert_int_equal(scrub_view(&w).damaged, 0);
		}
		assert_int_equal(w.damaged, 0);
		world_verify_end(&w);
	}
}

TEST(a_scrub_stops_goes_on_and_goes_on_after_a_restart)
{
	struct store_scrub v;
	struct world w;
	struct model *m;

	world_begin(&w, test_seed(), 64 * MIB);
	m = world_create_disk(&w, 600 * 128);
	for (unsigned i = 0; i < 600; i++)
		assert_int_equal(world_write(&w, m, i * 128, 8, 0), 0);
	world_settle(&w);
	assert_int_equal(w.store->ops->scrub_start(w.store, 64 << 10), 0);
	while ((v = scrub_view(&w)).passed < 300)
		assert_true(sim_step(&w.sim, true));
	w.store->ops->scrub_stop(w.store);
	while (scrub_view(&w).running)
		assert_true(sim_step(&w.sim, true));
	v = scrub_view(&w);
	assert_true(!v.finished && !v.err && v.passed >= 300 && v.passed < 600);
	reopen(&w);
	world_settle(&w);
	assert_false(scrub_view(&w).running); /* was stopped by who may */
	assert_int_equal(scrub_view(&w).passed, v.passed);
	assert_int_equal(w.store->ops->scrub_start(w.store, 64 << 10), 0);
	while (scrub_view(&w).passed < v.passed + 100)
		assert_true(sim_step(&w.sim, true));
	reopen(&w);
	assert_true(scrub_view(&w).running); /* by itself */
	assert_true(scrub_view(&w).passed >= v.passed + 100);
	while (scrub_view(&w).running)
		assert_true(sim_step(&w.sim, true));
	v = scrub_view(&w);
	assert_true(v.finished && v.passed == v.total && !v.damaged);
	world_verify_end(&w);
}

/* Of a pool that began without them: a scrub gives blocks the checksums that they lack. */
TEST(a_scrub_gives_checksums_to_blocks_that_have_none)
{
	struct check_lines lines;
	struct world w;
	struct model *m;
	uint64_t where;

	world_begin(&w, test_seed(), 24 * MIB);
	m = world_create_disk(&w, 16 * 128);
	assert_int_equal(world_write(&w, m, 0, 512, 0), 0);
	world_settle(&w);
	assert_int_equal(world_close(&w), 0);
	sim_put(&w.sim, "sums", NULL, 0);
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(check_data(&w, &lines), 0);
	assert_int_equal(lines.not_compared, 1);
	assert_int_equal(world_open(&w), 0);
	assert_true(scrub(&w).finished);
	assert_true(damaged_blocks(&w, place_of(&w, m, 9), true, &where) ==
		    1); /* which checks that all are compared */
	assert_int_equal(world_close(&w), 0);
	world_destroy(&w);
}

/* ---- notes ------------------------------------------------------------------------------------------ */

#define REGIONS 290u /* of the pool of these tests: most of a page of `touched` */

/* A write in the region, as the notes see it: was it to wait for one? */
static unsigned note(struct world *w, uint64_t region, unsigned chunk)
{
	struct pool_sums *s = &world_pool(w)->space.sums;
	uint64_t phys = region * POOL_SUMS_CHUNKS + chunk;
	unsigned waited = 0;

	while (s->marking && sim_below(&w->sim, 4)) /* one that nobody waits for may end meanwhile, or not */
		assert_true(sim_step(&w->sim, false));
	for (; !pool_touched_is(s, phys); waited = 1) {
		assert_int_equal(pool_touched_wish(s, phys), 0);
		pool_touched_write(s);
		while (s->marking)
			assert_true(sim_step(&w->sim, false));
	}
	pool_touched_ended(s, region);
	return waited;
}

static unsigned noted_regions(struct world *w)
{
	unsigned count = 0;

	while (world_pool(w)->space.sums.marking)
		assert_true(sim_step(&w->sim, false));
	for (uint64_t r = 0; r < REGIONS; r++)
		count += pool_touched_is(&world_pool(w)->space.sums, r * POOL_SUMS_CHUNKS + 1);
	return count;
}

static void begin_notes(struct world *w)
{
	world_begin(w, test_seed(), REGIONS * POOL_SUMS_CHUNKS * (uint64_t)POOL_CHUNK_BYTES);
	assert_int_equal(noted_regions(w), 0);
}

/* One place after the other, none of them written before: seldom does a write wait for a note. */
TEST(scattered_writes_to_places_at_rest_wait_for_few_notes)
{
	unsigned waited = 0, at;
	struct world w;

	begin_notes(&w);
	at = (unsigned)sim_below(&w.sim, REGIONS);
	for (unsigned i = 0; i < REGIONS; i++, at = (at + 89) % REGIONS)
		waited += note(&w, at, i % POOL_SUMS_CHUNKS);
	assert_in_range(waited, 1, 12);
	for (unsigned i = 0; i < REGIONS; i++)
		waited += note(&w, i, (i + 1) % POOL_SUMS_CHUNKS);
	assert_in_range(waited, 1, 12);
	world_settle(&w);
	assert_int_equal(noted_regions(&w), 0);
	world_verify_end(&w);
}

TEST(a_stream_waits_for_few_notes)
{
	unsigned waited = 0;
	struct world w;

	begin_notes(&w);
	for (unsigned i = 0; i < REGIONS; i++) {
		for (unsigned k = 0; k < POOL_SUMS_CHUNKS; k += 5)
			waited += note(&w, i, k);
	}
	assert_in_range(waited, 1, 12);
	world_settle(&w);
	assert_int_equal(noted_regions(&w), 0);
	world_verify_end(&w);
}

/* What a crash makes unsure is little more than what was written. */
TEST(few_places_have_few_notes)
{
	struct world w;
	unsigned before;

	begin_notes(&w);
	for (unsigned i = 0; i < 200; i++)
		note(&w, i % 2 ? 7 : 250, i % POOL_SUMS_CHUNKS);
	assert_int_equal(noted_regions(&w), 2);
	note(&w, 11, 3);
	note(&w, 13, 3); /* the third of a sector of the file */
	before = noted_regions(&w);
	assert_in_range(before, 4, POOL_TOUCHED_IN_SECTOR + 1);
	world_settle(&w);
	assert_int_equal(noted_regions(&w), 0);
	world_verify_end(&w);
}

/* Notes that cannot be read are of places that the pool has. */
TEST(damaged_notes_make_what_is_there_unsure_and_no_more)
{
	const struct pool_sums_counts *counts;
	uint64_t bytes;
	struct world w;
	struct model *m;

	world_begin(&w, test_seed(), 24 * MIB);
	m = world_create_disk(&w, 64 * 128);
	assert_int_equal(world_write(&w, m, 0, 512, 0), 0);
	world_settle(&w);
	assert_int_equal(world_close(&w), 0);
	free(sim_take(&w.sim, "touched", &bytes));
	for (uint64_t at = 0; at < bytes; at += POOL_SUMS_SECTOR)
		sim_flip(&w.sim, "touched", at * 8 + sim_below(&w.sim, POOL_SUMS_SECTOR * 8));
	assert_int_equal(world_open(&w), 0);
	counts = &world_pool(&w)->space.sums.counts;
	assert_true(counts->lost > 0);
	assert_in_range(counts->unsure, 1, world_pool(&w)->super.capacity_chunks);
	world_settle(&w);
	assert_int_equal(counts->settled, counts->unsure);
	assert_int_equal(counts->replaced, 0);
	assert_false(pool_touched_any(&world_pool(&w)->space.sums));
	world_verify_end(&w);
}

TEST(notes_go_when_nothing_is_written)
{
	struct world w;
	struct model *m;

	world_begin(&w, test_seed(), 24 * MIB);
	m = world_create_disk(&w, 64 * 128);
	assert_int_equal(world_write(&w, m, 0, 512, 0), 0);
	assert_true(pool_touched_any(&world_pool(&w)->space.sums));
	world_settle(&w);
	assert_false(pool_touched_any(&world_pool(&w)->space.sums));
	world_crash(&w);
	assert_int_equal(world_pool(&w)->space.sums.counts.unsure, 0);
	assert_int_equal(world_write(&w, m, 0, 8, 0), 0);
	world_crash(&w);
	assert_true(world_pool(&w)->space.sums.counts.unsure > 0);
	world_settle(&w);
	assert_false(pool_touched_any(&world_pool(&w)->space.sums));
	world_verify_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flipped_bit_is_found_where_it_is_and_a_new_write_heals_it),
		cmocka_unit_test(copies_and_their_original_see_the_same_damage),
		cmocka_unit_test(after_a_crash_too_any_settled_block_is_watched),
		cmocka_unit_test(damaged_lost_and_old_checksums_are_no_damage_of_the_data),
		cmocka_unit_test(a_pool_without_checksums_stays_one),
		cmocka_unit_test(a_check_after_a_crash_finds_nothing_and_a_repair_keeps_the_sums),
		cmocka_unit_test(a_scrub_finds_what_is_damaged_and_nothing_else),
		cmocka_unit_test(a_scrub_beside_clients_and_over_crashes_finds_nothing),
		cmocka_unit_test(a_scrub_stops_goes_on_and_goes_on_after_a_restart),
		cmocka_unit_test(a_scrub_gives_checksums_to_blocks_that_have_none),
		cmocka_unit_test(scattered_writes_to_places_at_rest_wait_for_few_notes),
		cmocka_unit_test(a_stream_waits_for_few_notes),
		cmocka_unit_test(few_places_have_few_notes),
		cmocka_unit_test(damaged_notes_make_what_is_there_unsure_and_no_more),
		cmocka_unit_test(notes_go_when_nothing_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
