/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EIO, ENOSPC and ENOMEM at every read, write, sync, allocation and commit of a short history in turn, and at every look into
 * LMDB: once, and for three seconds. The I/O that it concerns fails with that reason, or waits; the other disk goes on; nothing is acknowledged that
 * is not so; and when the fault has gone, so has everything that came of it, without a restart. The pool stays read-only in
 * two cases alone, for then what was written may be lost without another word, or an old copy could be taken for the newest:
 * a sync of data failed, or a mirror that fails could not be struck off.
 *
 * All are too many for each run: UMBRA_TEST_RUNS says how many are taken, spread over all (0: all); another seed takes others.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define RUNS 160u

static const int errs[] = {-EIO, -ENOSPC, -ENOMEM};
static const uint64_t lasts[] = {0, 3000}; /* ms; 0: once */
#define ERRS  (sizeof(errs) / sizeof(errs[0]))
#define LASTS (sizeof(lasts) / sizeof(lasts[0]))

/* ---- looks into LMDB: wrapped (meson.build) ---------------------------------------------------------- */

static struct {
	struct sim *sim; /* NULL: none fails */
	uint64_t looks, fail_at, lasts_ms, until_ms;
	uint64_t branch; /* whose leaf could not be loaded first; 0: of nobody */
	int err;
} lmdb;

static int look_fails(const char *what, uint64_t branch)
{
	lmdb.looks++;
	if (!lmdb.sim || lmdb.looks < lmdb.fail_at)
		return 0;
	if (lmdb.looks == lmdb.fail_at) {
		lmdb.until_ms = lmdb.sim->now_ms + lmdb.lasts_ms;
		lmdb.branch = branch;
		snprintf(lmdb.sim->failed, sizeof(lmdb.sim->failed), "look %s", what);
		return lmdb.err;
	}
	return lmdb.sim->now_ms < lmdb.until_ms ? lmdb.err : 0;
}

#define WRAP(name, ...)                                                                                      \
	int __real_##name(__VA_ARGS__);                                                                      \
	int __wrap_##name(__VA_ARGS__);                                                                      \
	int __wrap_##name(__VA_ARGS__)

WRAP(pool_meta_load, struct pool_meta *m, uint64_t branch, uint64_t leaf, struct pool_meta_leaf *out)
{
	int err = look_fails("load", branch);

	memset(out, 0, sizeof(*out));
	return err ? err : __real_pool_meta_load(m, branch, leaf, out);
}

WRAP(pool_meta_scan_branch, struct pool_meta *m, const struct pool_map_key *from, size_t max,
	struct pool_meta_entry **out, size_t *out_count)
{
	int err = look_fails("branch", 0);

	*out = NULL;
	*out_count = 0;
	return err ? err : __real_pool_meta_scan_branch(m, from, max, out, out_count);
}

WRAP(pool_meta_scan_gens, struct pool_meta *m, const struct pool_map_key *from, uint32_t last_gen, size_t max,
	struct pool_map_key *out, size_t *out_count)
{
	int err = look_fails("gens", 0);

	*out_count = 0;
	return err ? err : __real_pool_meta_scan_gens(m, from, last_gen, max, out, out_count);
}

WRAP(pool_meta_count_gens, struct pool_meta *m, struct pool_map_key *from, uint32_t last_gen, uint64_t max,
	uint64_t *count)
{
	int err = look_fails("count", 0);

	*count = 0;
	return err ? err : __real_pool_meta_count_gens(m, from, last_gen, max, count);
}

WRAP(pool_meta_scan_chunks, struct pool_meta *m, const struct pool_map_key *chain, size_t chain_count,
	uint64_t from, size_t max, uint64_t *out, size_t *out_count, uint64_t *next)
{
	int err = look_fails("chunks", 0);

	*out_count = 0;
	return err ? err
		   : __real_pool_meta_scan_chunks(m, chain, chain_count, from, max, out, out_count, next);
}

WRAP(pool_refs_scan_loose, struct pool_meta *m, uint64_t from, size_t max, uint64_t *out, size_t *count)
{
	int err = look_fails("loose", 0);

	*count = 0;
	return err ? err : __real_pool_refs_scan_loose(m, from, max, out, count);
}

/* ---- the history ------------------------------------------------------------------------------------ */

struct growth {
	struct store_grow request;
	int done; /* 1, or the error */
};

static void grown(struct store_grow *request, int err)
{
	container_of(request, struct growth, request)->done = err ? err : 1;
}

static void grow(struct world *w)
{
	struct growth g = {.request = {.store = w->store,
				   .capacity_bytes = world_pool(w)->super.capacity_chunks + 16,
				   .done = grown}};

	g.request.capacity_bytes <<= POOL_CHUNK_SHIFT;
	w->store->ops->grow(&g.request);
	while (!g.done)
		assert_true(sim_step(&w->sim, true));
	if (g.done < 0) { /* told in words, and changes nothing */
		assert_true(g.request.fault.text[0]);
		assert_true(w->sim.failed[0]);
	}
}

static void other_goes_on(struct world *w)
{
	struct model *b = &w->disk[1];
	bool dead = world_dead(w);
	int err;

	world_start_read(w, b, 0, 64);
	world_drain(w);
	err = world_write(w, b, 8 * sim_below(&w->sim, 16), 8, 0);
	assert_true(err == 0 || dead || world_dead(w) || w->sim.failed[0]);
	if (lmdb.branch && !lmdb.lasts_ms) /* another one's leaf: nothing to this disk */
		assert_true(err == 0 || lmdb.branch == pool_disk_of(b->disk)->branch->id);
}

/* Each step is of the first disk; the second one has its own I/O meanwhile. */
static void history(struct world *w)
{
	struct model *a = &w->disk[0], *copy = NULL;

	for (unsigned step = 0; step < 12 && !world_dead(w); step++) {
		other_goes_on(w);
		switch (world_dead(w) ? 12 : step) {
		case 0:
			world_write(w, a, 16, 200, 0);
			break;
		case 1:
		case 6:
		case 10:
			world_flush(w, a);
			break;
		case 2:
			world_write(w, a, 300, 8, STORE_IO_FUA);
			break;
		case 3:
			world_cut(w, &a, 1);
			break;
		case 4: /* parts of blocks, of what a copy shares */
			world_write(w, a, 30, 150, 0);
			break;
		case 5:
			world_unmap(w, a, 256, 128);
			break;
		case 7:
			grow(w);
			break;
		case 8:
			copy = &w->disk[2];
			if (copy->disk_id && !copy->maybe)
				world_hydrate_start(w, copy, 0);
			world_settle(w);
			break;
		case 9:
			if (copy->disk_id && !copy->maybe)
				world_delete_disk(w, copy);
			break;
		default:
			world_settle(w);
			break;
		}
	}
	world_drain(w);
}

static void start(struct world *w, uint64_t seed, bool mirrored)
{
	world_init(w, seed, UINT64_C(2) << 20, 1 << 20);
	w->packs = 2;
	w->sim.direct = seed & 1;
	w->mirrored = w->log_mirrored = mirrored;
	w->no_memory = true;
	assert_int_equal(world_open(w), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_non_null(world_create_disk(w, 3 * CHUNK_SECTORS));
	assert_int_equal(world_write(w, &w->disk[0], 0, 3 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_write(w, &w->disk[1], 0, CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_flush(w, &w->disk[0]), 0);
	world_idle(w);
	w->sim.steps = w->sim.reads = w->sim.preads = 0;
}

/* The fault has gone. */
static void afterwards(struct world *w, int err)
{
	struct store_stats stats;

	world_settle(w);
	w->sim.fail_at = w->sim.fail_read_at = 0;
	w->store->ops->stats(w->store, &stats);
	if (stats.read_only) {
		if (!w->sim.failed_durable)
			fail_msg("%s, %s: the pool is read-only: %s", w->sim.failed, strerror(-err),
				stats.read_only_reason);
		assert_non_null(strstr(stats.read_only_reason, "restart umbrad"));
		world_verify(w, false);
	} else {
		unsigned eio = w->eio, enospc = w->enospc;

		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(world_write(w, &w->disk[i], 64, 64, 0), 0);
			assert_int_equal(world_flush(w, &w->disk[i]), 0);
		}
		world_verify(w, false);
		assert_int_equal(w->eio + w->enospc, eio + enospc);
	}
	assert_true(w->eio == 0 || err == -EIO || stats.read_only);
	assert_true(w->enospc == 0 || err == -ENOSPC);
	assert_true(w->erofs == 0 || stats.read_only);
	world_recover(w);
	assert_int_equal(world_write(w, &w->disk[0], 0, 64, STORE_IO_FUA), 0);
	world_verify(w, false);
	world_end(w);
}

/* What the history has to fail. */
struct places {
	uint64_t steps, reads, preads;
};

static struct places count(uint64_t seed, bool mirrored)
{
	struct places p;
	struct world w;

	start(&w, seed, mirrored);
	history(&w);
	world_settle(&w);
	assert_int_equal(w.eio + w.enospc + w.erofs + w.busy, 0);
	p = (struct places){.steps = w.sim.steps, .reads = w.sim.reads};
	assert_int_equal(world_close(&w), 0);
	w.sim.preads = 0;
	assert_int_equal(world_open(&w), 0);
	p.preads = w.sim.preads;
	world_verify_end(&w);
	return p;
}

static bool one(uint64_t seed, bool mirrored, bool reads, uint64_t place, int err, uint64_t lasts_ms)
{
	struct world w;

	trace("seed %llu, %s %llu, %s, %s", (unsigned long long)seed, reads ? "read" : "step",
		(unsigned long long)place, strerror(-err), lasts_ms ? "for a while" : "once");
	start(&w, seed, mirrored);
	w.sim.fail_err = err;
	w.sim.fail_ms = lasts_ms;
	if (reads)
		w.sim.fail_read_at = place;
	else
		w.sim.fail_at = place;
	history(&w);
	trace("failed: %s", w.sim.failed);
	if (!w.sim.failed[0]) { /* the history was shorter this time */
		w.sim.fail_at = w.sim.fail_read_at = 0;
		world_settle(&w);
		world_verify_end(&w);
		return false;
	}
	afterwards(&w, err);
	return true;
}

TEST(a_fault_at_any_place_is_told_rightly_and_leaves_nothing_behind)
{
	unsigned wanted = test_runs(RUNS), hit = 0, all = 0, done = 0;
	uint64_t seed = test_seed();

	for (unsigned mirrored = 0; mirrored < 2; mirrored++) {
		struct places p = count(seed, mirrored);

		all += (unsigned)(p.steps * ERRS * LASTS + p.reads * ERRS);
	}
	for (unsigned mirrored = 0; mirrored < 2; mirrored++) {
		struct places p = count(seed, mirrored);
		uint64_t n = p.steps * ERRS * LASTS + p.reads * ERRS;

		for (uint64_t i = 0; i < n; i++) {
			uint64_t k = i % (p.steps * ERRS * LASTS);
			bool reads = i >= p.steps * ERRS * LASTS;
			uint64_t place = 1 + (reads ? k / ERRS : k / ERRS / LASTS);

			if (wanted && (seed + i * wanted) % all >= wanted)
				continue;
			done++;
			hit += one(seed, mirrored, reads, place, errs[k % ERRS],
				lasts[reads ? 0 : k / ERRS % LASTS]);
		}
	}
	fprintf(stderr, "%u of %u faults, %u of them met\n", done, all, hit);
	assert_true(hit > done / 2);
}

/* The same history after a start, for which LMDB is asked. */
static uint64_t looks(uint64_t seed, uint64_t fail_at, int err, uint64_t lasts_ms)
{
	struct world w;
	uint64_t n;

	start(&w, seed, false);
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(world_open(&w), 0);
	memset(&lmdb, 0, sizeof(lmdb));
	lmdb.fail_at = fail_at;
	lmdb.lasts_ms = lasts_ms;
	lmdb.err = err;
	lmdb.sim = fail_at ? &w.sim : NULL;
	history(&w);
	world_settle(&w);
	lmdb.sim = NULL;
	n = lmdb.looks;
	assert_int_equal(w.enospc + w.erofs, 0);
	assert_true(w.eio == 0 || err == -EIO);
	lmdb.branch = 0;
	afterwards(&w, err);
	return n;
}

TEST(a_look_into_the_metadata_that_fails_concerns_who_needs_it_and_leaves_nothing_behind)
{
	static const int failures[] = {-EIO, -ENOMEM};
	uint64_t seed = test_seed(), all = looks(seed, 0, -EIO, 0);

	assert_true(all >= 6);
	for (uint64_t at = 1; at <= all; at++)
		for (unsigned i = 0; i < 4; i++)
			looks(seed, at, failures[i % 2], lasts[i / 2]);
	fprintf(stderr, "%llu looks, each failed 4 times\n", (unsigned long long)all);
}

/* It only helps to tell damage from a power loss: nobody waits for it, and without it nothing is lost. */
TEST(a_mark_that_cannot_be_written_is_missed_by_nobody)
{
	uint64_t seed = test_seed();

	for (uint64_t at = 1; at <= 24; at++) {
		struct world w;

		start(&w, seed, at & 1);
		w.sim.marks = 0;
		w.sim.fail_mark_at = at;
		w.sim.fail_err = errs[at % ERRS];
		history(&w);
		world_settle(&w);
		if (at < 4)
			assert_non_null(strstr(w.sim.failed, "mark"));
		assert_int_equal(w.eio + w.enospc + w.erofs + w.busy, 0);
		assert_false(world_dead(&w));
		world_verify(&w, false);
		world_recover(&w);
		world_verify_end(&w);
	}
}

/* ---- waiting ---------------------------------------------------------------------------------------- */

/* For two minutes nothing can be written to a file. */
static void begin_fault(struct world *w, int err, const char *only)
{
	w->sim.failing_until = 0;
	w->sim.fail_err = err;
	w->sim.fail_only = only;
	w->sim.fail_ms = 120000;
	w->sim.fail_at = w->sim.steps + 1;
}

static void end_fault(struct world *w)
{
	struct store_stats stats;

	w->sim.fail_at = 0;
	world_settle(w);
	w->store->ops->stats(w->store, &stats);
	assert_false(stats.read_only);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(world_write(w, &w->disk[i], 8, 64, STORE_IO_FUA), 0);
	world_verify(w, false);
	world_recover(w);
	world_end(w);
}

/* Initiators give up after 30 s. */
static void assert_busy(struct world *w, int err, uint64_t since_ms)
{
	assert_int_equal(err, -EAGAIN);
	assert_true(w->sim.now_ms - since_ms <= 25000);
}

TEST(while_the_log_cannot_be_written_a_flush_is_answered_busy_in_time)
{
	static const int passing[] = {-ENOMEM, -ENOSPC};

	for (unsigned i = 0; i < 2; i++) {
		struct model *a;
		struct world w;
		uint64_t since;

		start(&w, test_seed(), i);
		a = &w.disk[0];
		assert_int_equal(world_cut(&w, &a, 1), 0); /* so that what is written next changes the map */
		begin_fault(&w, passing[i], "log");
		since = w.sim.now_ms;
		assert_busy(&w, world_write(&w, a, 0, 8, STORE_IO_FUA), since);
		since = w.sim.now_ms;
		assert_busy(&w, world_flush(&w, a), since);
		/* It has written: tried again, it would miscompare. */
		assert_int_equal(world_wait(&w, world_start_compare_fua(&w, a, 256, 8)), -EIO);
		world_start_read(&w, &w.disk[1], 0, CHUNK_SECTORS);
		assert_int_equal(world_write(&w, &w.disk[1], 0, 8, 0), 0);
		w.sim.now_ms += 120000;
		end_fault(&w);
	}
}

TEST(while_the_metadata_cannot_be_written_and_the_log_is_full_io_is_answered_busy_in_time)
{
	static const int passing[] = {-ENOMEM, -ENOSPC};

	for (unsigned i = 0; i < 2; i++) {
		struct world w;
		uint64_t since = 0;
		int err = 0;

		start(&w, test_seed(), i);
		begin_fault(&w, passing[i], "meta");
		w.sim.fail_ms = UINT64_MAX / 2;
		for (unsigned n = 0; !err; n++) {
			assert_true(n < 2000);
			since = w.sim.now_ms;
			err = world_unmap(&w, &w.disk[n & 1], n % 40 * 8, 8);
			if (!err)
				err = world_write(&w, &w.disk[n & 1], n % 40 * 8, 8, STORE_IO_FUA);
		}
		assert_busy(&w, err, since);
		end_fault(&w);
	}
}

/* A pool is full, and what a deletion gives back does not come: whoever needs a chunk is told in time. */
TEST(a_write_that_waits_for_a_chunk_is_answered_busy_in_time)
{
	struct model *c, *full;
	uint64_t since;
	struct world w;
	int err = 0;

	start(&w, test_seed(), false);
	c = world_create_disk(&w, 8 * CHUNK_SECTORS);
	full = world_create_disk(&w, 40 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, c, 0, 8 * CHUNK_SECTORS, 0), 0);
	for (uint64_t i = 0; !err; i++)
		err = world_write(&w, full, i * CHUNK_SECTORS, CHUNK_SECTORS, 0);
	assert_int_equal(err, -ENOSPC);
	world_settle(&w);
	begin_fault(&w, -ENOSPC, "meta");
	w.sim.fail_ms = UINT64_MAX / 2;
	assert_int_equal(world_delete_disk(&w, c), 0);
	since = w.sim.now_ms;
	err = world_write(&w, full, 36 * CHUNK_SECTORS, CHUNK_SECTORS, 0);
	assert_busy(&w, err, since);
	w.sim.fail_at = 0;
	assert_int_equal(world_write(&w, full, 36 * CHUNK_SECTORS, CHUNK_SECTORS, 0), 0);
	end_fault(&w);
}

/* A start that fails says why, and the next one finds everything. */
TEST(a_start_that_cannot_read_fails_with_words_and_the_next_one_does_not)
{
	uint64_t seed = test_seed();
	struct places p = count(seed, false);

	for (uint64_t place = 1; place <= p.preads; place += 1 + p.preads / 12) {
		struct world w;

		start(&w, seed, false);
		history(&w);
		world_settle(&w);
		assert_int_equal(world_close(&w), 0);
		w.sim.preads = 0;
		w.sim.fail_pread_at = place;
		w.sim.fail_err = errs[place % ERRS];
		assert_true(world_open(&w) != 0 || strstr(w.sim.failed, "mark"));
		w.sim.fail_pread_at = 0;
		if (!w.store)
			assert_int_equal(world_open(&w), 0);
		world_verify_end(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fault_at_any_place_is_told_rightly_and_leaves_nothing_behind),
		cmocka_unit_test(
			a_look_into_the_metadata_that_fails_concerns_who_needs_it_and_leaves_nothing_behind),
		cmocka_unit_test(a_mark_that_cannot_be_written_is_missed_by_nobody),
		cmocka_unit_test(while_the_log_cannot_be_written_a_flush_is_answered_busy_in_time),
		cmocka_unit_test(
			while_the_metadata_cannot_be_written_and_the_log_is_full_io_is_answered_busy_in_time),
		cmocka_unit_test(a_write_that_waits_for_a_chunk_is_answered_busy_in_time),
		cmocka_unit_test(a_start_that_cannot_read_fails_with_words_and_the_next_one_does_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
