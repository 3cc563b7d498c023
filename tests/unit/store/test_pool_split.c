/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split chunks (space/split.c): what small writes over copies cost, how entries grow and move, what becomes of that when the
 * power goes at any step, when there is no room, when a write fails; that nothing of a chunk is lost or has two owners.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/bytes.h"
#include "tests/support/test.h"
#include "array/store/pool/background/background.h"
#include "tests/unit/store/world.h"

#define CHUNK 128u /* sectors */
#define BLOCK 8u

static void put(struct world *w, struct model *m, unsigned chunk, unsigned block, unsigned blocks)
{
	assert_int_equal(world_write(w, m, chunk * CHUNK + block * BLOCK, blocks * BLOCK, 0), 0);
}

/* A disk of `chunks` chunks, all of them written, and a copy of it. */
static struct model *copied(struct world *w, unsigned chunks, struct model **copy)
{
	struct model *m = world_create_disk(w, chunks * CHUNK), *c;

	assert_int_equal(world_write(w, m, 0, chunks * CHUNK, 0), 0);
	c = world_fork(w, m);
	if (copy)
		*copy = c;
	return m;
}

static const struct pool_entry *newest(struct world *w, const struct model *m, unsigned chunk)
{
	static struct pool_entry unpacked;
	const struct pool_entry *e = NULL;
	struct pool_leaf *leaf = pool_map_peek(pool_disk_of(m->disk)->branch, chunk);

	(void)w;
	assert_true(leaf && pool_map_entries(leaf, chunk, &e, &unpacked));
	return e;
}

static uint64_t used(struct world *w)
{
	world_settle(w);
	return world_used_blocks(w);
}

/* What memory says is free is what the next start finds to be. */
static void assert_nothing_lost(struct world *w)
{
	uint64_t blocks = used(w), chunks = world_used_chunks(w);

	assert_int_equal(world_close(w), 0);
	assert_int_equal(world_check(w, false), 0);
	assert_int_equal(world_open(w), 0);
	assert_int_equal(world_used_blocks(w), blocks);
	assert_int_equal(world_used_chunks(w), chunks);
}

/* ---- costs ------------------------------------------------------------------------------------------ */

TEST(a_small_write_over_a_copy_takes_what_it_writes)
{
	struct model *m, *copy;
	struct world w;
	struct pool *p;

	world_begin_split(&w, test_seed(), UINT64_C(16) << 20);
	m = copied(&w, 32, &copy);
	assert_int_equal(used(&w), 32 * 16);
	p = world_pool(&w);
	p->data_writes = p->data_write_bytes = p->data_reads = 0;
	for (unsigned i = 0; i < 16; i++)
		put(&w, m, i, i, 1);
	for (unsigned i = 16; i < 24; i++)
		put(&w, m, i, i % 8 * 2, 2);
	assert_int_equal(p->data_writes, 24);
	assert_int_equal(p->data_write_bytes, 32 * 4096);
	assert_int_equal(p->data_reads, 0);
	assert_int_equal(used(&w), 32 * 16 + 32);
	assert_int_equal(world_used_chunks(&w), 32 + 2);
	/* The same again is written in place. */
	put(&w, m, 3, 3, 1);
	assert_int_equal(used(&w), 32 * 16 + 32);
	/* A whole chunk is one; so is what nobody has a copy of. */
	put(&w, m, 30, 0, 16);
	assert_false(newest(&w, m, 30)->split);
	assert_int_equal(used(&w), 32 * 16 + 32 + 16);
	assert_nothing_lost(&w);
	world_verify(&w, false);
	assert_int_equal(world_delete_disk(&w, copy), 0);
	assert_int_equal(used(&w), 32 * 16); /* merged */
	assert_int_equal(world_used_chunks(&w), 32);
	assert_int_equal(world_delete_disk(&w, m), 0);
	assert_int_equal(world_used(&w), 0);
	world_verify_end(&w);
}

TEST(what_nobody_has_a_copy_of_takes_whole_chunks)
{
	struct model *m;
	struct world w;

	world_begin_split(&w, test_seed(), UINT64_C(16) << 20);
	m = world_create_disk(&w, 8 * CHUNK);
	for (unsigned i = 0; i < 4; i++)
		put(&w, m, i, i, 1);
	assert_int_equal(world_used(&w), 4);
	world_fork(&w, m);
	put(&w, m, 6, 3, 1); /* nothing is below */
	assert_false(newest(&w, m, 6)->split);
	world_verify_end(&w);
}

/* Copies by the thousand, raw: the world has few disks. Each write's tag is (copy, number). */
struct many {
	struct world w;
	struct store_disk *disk;
	uint64_t chunks;
	uint64_t *now; /* by block: the last tag */
	/* some copies, and what they hold */
	struct store_disk *copy[8];
	uint64_t *then[8];
	uint64_t written;
};

static void raw(struct many *x, struct store_disk *d, enum store_io_op op, uint64_t block, uint64_t count,
	uint64_t *buf)
{
	assert_int_equal(world_raw(&x->w, d, op, block * 4096, buf, (uint32_t)count * 4096), 0);
}

static void many_write(struct many *x, uint64_t block, uint64_t tag)
{
	static uint64_t buf[512];

	for (unsigned i = 0; i < 512; i++)
		buf[i] = tag;
	raw(x, x->disk, STORE_WRITE, block, 1, buf);
	x->now[block] = tag;
	x->written++;
}

static void many_verify(struct many *x, struct store_disk *d, const uint64_t *want)
{
	static uint64_t buf[16 * 512];

	for (uint64_t c = 0; c < x->chunks; c++) {
		raw(x, d, STORE_READ, c * 16, 16, buf);
		for (unsigned i = 0; i < 16 * 512; i++)
			assert_int_equal(buf[i], want[c * 16 + i / 512]);
	}
}

static void ended(void *arg, int err)
{
	*(int *)arg = err ? err : 1;
}

static struct store_disk *many_txn(struct many *x, bool cut)
{
	const struct store_ops *ops = x->w.store->ops;
	struct store_cut c = {.disks = &x->disk, .count = 1};
	struct store_txn *t = ops->txn_begin(x->w.store);
	struct store_disk *out;
	int done = 0;

	if (cut) {
		int was_cut = 0;

		ops->cut(x->w.store, &c, ended, &was_cut);
		assert_int_equal(was_cut, 1);
		assert_int_equal(ops->txn_disk_fork(t, &c, 0, &out), 0);
		ops->cut_commit(&c, t, ended, &done);
	} else {
		assert_int_equal(ops->txn_disk_create(t, x->chunks << POOL_CHUNK_SHIFT, &out), 0);
		ops->txn_commit(t, ended, &done);
	}
	while (!done)
		assert_true(sim_step(&x->w.sim, true));
	assert_int_equal(done, 1);
	return out;
}

static void many_begin(struct many *x, bool whole, uint64_t seed, uint64_t chunks)
{
	memset(x, 0, sizeof(*x));
	if (whole)
		world_begin_whole(&x->w, seed, UINT64_C(4) << 30);
	else
		world_begin_split(&x->w, seed, UINT64_C(4) << 30);
	x->chunks = chunks;
	x->now = calloc(chunks * 16, sizeof(x->now[0]));
	assert_non_null(x->now);
	x->disk = many_txn(x, false);
	for (uint64_t b = 0; b < chunks * 16; b++)
		many_write(x, b, 1 + b);
	x->written = 0;
}

static void many_end(struct many *x)
{
	int closed = 0;

	many_verify(x, x->disk, x->now);
	for (unsigned i = 0; i < 8; i++) {
		if (x->copy[i])
			many_verify(x, x->copy[i], x->then[i]);
		free(x->then[i]);
	}
	free(x->now);
	world_drain(&x->w);
	x->w.store->ops->close(x->w.store, ended, &closed);
	while (!closed)
		assert_true(sim_step(&x->w.sim, true));
	x->w.store = NULL;
	assert_int_equal(world_check(&x->w, false), 0);
	world_destroy(&x->w);
}

/* Bytes of the pool, in hundredths, for each byte written. */
static unsigned many_run(bool whole, unsigned copies, unsigned writes, uint64_t chunks)
{
	uint64_t seed = test_seed(), before, took;
	struct many x;
	unsigned cost;

	many_begin(&x, whole, seed, chunks);
	world_settle(&x.w);
	before = world_used_chunks(&x.w);
	for (unsigned c = 0; c < copies; c++) {
		struct store_disk *copy = many_txn(&x, true);

		if (c % (copies / 8) == copies / 16) {
			unsigned i = c / (copies / 8);

			x.copy[i] = copy;
			x.then[i] = malloc(chunks * 16 * sizeof(x.now[0]));
			assert_non_null(x.then[i]);
			memcpy(x.then[i], x.now, chunks * 16 * sizeof(x.now[0]));
		}
		for (unsigned i = 0; i < writes; i++)
			many_write(&x, sim_below(&x.w.sim, chunks * 16), (uint64_t)(c + 1) << 32 | i);
	}
	world_settle(&x.w);
	took = (world_used_chunks(&x.w) - before) * 16;
	cost = (unsigned)(took * 100 / x.written);
	printf("%s chunks: %u copies, %u writes of 4 KiB over %llu chunks after each: %u.%02u bytes a byte\n",
		whole ? "whole" : "split", copies, writes, (unsigned long long)chunks, cost / 100,
		cost % 100);
	many_end(&x);
	return cost;
}

TEST(random_small_writes_over_a_thousand_copies_take_little_more_than_they_write)
{
	assert_true(many_run(false, 1008, 20, 256) <= 130);
	assert_true(many_run(false, 40, 256, 256) <= 130); /* one a chunk: many get a second, a third */
	assert_true(many_run(true, 16, 20, 256) > 900);    /* what it was before */
}

/* Of a chunk that lies in many places each is asked once, not for each run of blocks. */
TEST(a_chunk_in_many_places_is_read_with_few_requests)
{
	static uint64_t buf[16 * 512];
	struct many x;

	many_begin(&x, false, test_seed(), 4);
	for (unsigned k = 0; k < 7; k++) {
		many_txn(&x, true);
		many_write(&x, 2 * k + 1, 100 + k);
	}
	world_pool(&x.w)->data_reads = 0;
	raw(&x, x.disk, STORE_READ, 0, 16, buf);
	assert_true(world_pool(&x.w)->data_reads <= 1 + 7);
	world_pool(&x.w)->data_reads = 0;
	raw(&x, x.disk, STORE_READ, 2, 9, buf);
	assert_true(world_pool(&x.w)->data_reads <= 1 + 4);
	many_end(&x);
}

/* Takes a copy, which many_end compares in the place of the one before. */
static void many_copy(struct many *x, unsigned i)
{
	x->copy[i] = many_txn(x, true);
	free(x->then[i]);
	x->then[i] = malloc(x->chunks * 16 * sizeof(x->now[0]));
	assert_non_null(x->then[i]);
	memcpy(x->then[i], x->now, x->chunks * 16 * sizeof(x->now[0]));
}

/* Whole chunks, as a backup reads them. */
static void many_read(struct many *x, struct store_disk *d, uint64_t chunks)
{
	static uint64_t buf[16 * 512];

	for (uint64_t c = 0; c < chunks; c++)
		raw(x, d, STORE_READ, c * 16, 16, buf);
	world_settle(&x->w);
}

/* Who reads chunks that lie in many places has them brought together: no block more is in use, and copies have what they had. */
TEST(chunks_that_are_read_from_many_places_are_packed)
{
	enum {
		CHUNKS = 32,
		COPIES = 16
	};
	uint64_t blocks, reads, packed;
	unsigned more;
	struct pool *p;
	struct many x;

	for (unsigned how = 0; how < 2; how++) { /* read by the disk, by the last copy */
		many_begin(&x, false, test_seed() + how, CHUNKS);
		for (unsigned k = 0; k < COPIES; k++) {
			many_copy(&x, k / 2);
			for (unsigned c = 1; c < CHUNKS; c++) /* the first one stays in one place */
				many_write(&x, c * 16 + sim_below(&x.w.sim, 16), (uint64_t)(k + 1) << 32 | c);
		}
		p = world_pool(&x.w);
		world_settle(&x.w);
		blocks = world_used_blocks(&x.w);
		p->data_reads = 0;
		many_read(&x, how ? x.copy[COPIES / 2 - 1] : x.disk, CHUNKS);
		reads = p->data_reads;
		packed = pool_pack_count(p);
		assert_true(packed >= CHUNKS / 2);
		assert_int_equal(world_used_blocks(&x.w), blocks);
		p->data_reads = 0;
		many_read(&x, x.disk, CHUNKS);
		printf("%llu requests for %u chunks before, %llu after\n", (unsigned long long)reads, CHUNKS,
			(unsigned long long)p->data_reads);
		assert_true(2 * p->data_reads < reads);
		for (more = 0; pool_pack_count(p) > packed && more < 8; more++) {
			packed = pool_pack_count(p);
			many_read(&x, x.disk, CHUNKS);
		}
		assert_true(more < 8); /* and that was it */
		assert_true(packed < 2 * CHUNKS);
		assert_int_equal(world_used_blocks(&x.w), blocks);
		many_end(&x);
	}
}

/* More than half of a disk's blocks, a few after each copy: the room that packing may leave free is soon used, and what is
 * packed then must find its place in what others have left. */
TEST(what_has_no_place_of_its_own_is_packed_where_others_left_room)
{
	enum {
		CHUNKS = 512,
		COPIES = 20
	};
	static unsigned order[CHUNKS * 16];
	uint64_t before, look, packed = UINT64_MAX, requests[64];
	unsigned n = 0;
	struct many x;
	struct pool *p;

	many_begin(&x, false, test_seed(), CHUNKS);
	p = world_pool(&x.w);
	world_settle(&x.w);
	before = world_used_chunks(&x.w);
	for (unsigned i = 0; i < CHUNKS * 16; i++) { /* no block is written twice */
		unsigned at = (unsigned)sim_below(&x.w.sim, i + 1);

		order[i] = order[at];
		order[at] = i;
	}
	for (unsigned i = 0; i < COPIES * CHUNKS / 2; i++) {
		if (i % (CHUNKS / 2) == 0)
			many_txn(&x, true);
		many_write(&x, order[i], UINT64_C(1) << 32 | i);
	}
	for (; pool_pack_count(p) != packed; n++) { /* until nothing more is */
		assert_true(n < 64);
		packed = pool_pack_count(p);
		x.w.sim.now_ms += 60000; /* it may have found nothing that fits, lately */
		p->data_reads = 0;
		many_read(&x, x.disk, CHUNKS);
		requests[n] = p->data_reads;
	}
	printf("%llu requests for %u chunks before, %llu after\n", (unsigned long long)requests[0], CHUNKS,
		(unsigned long long)requests[n - 1]);
	assert_true(requests[0] > 9 * CHUNKS && 10 * requests[n - 1] <= 55 * CHUNKS);
	assert_true((world_used_chunks(&x.w) - before) * 1600 <= 130 * x.written);
	look = p->space.split_look; /* nothing fits: nobody looks for room again at once */
	many_read(&x, x.disk, CHUNKS);
	assert_int_equal(p->space.split_look, look);
	many_end(&x);
}

/* A copy an hour, each read as a whole by its backup, in a pool with room: most bytes a byte after a tenth of them, in hundredths,
 * and what the last tenth's readers asked for. */
static unsigned backups_run(unsigned copies, unsigned writes, uint64_t chunks, bool packs, uint64_t *requests)
{
	uint64_t before;
	unsigned most = 0;
	struct pool *p;
	struct many x;

	many_begin(&x, false, test_seed(), chunks);
	p = world_pool(&x.w);
	if (!packs)
		pool_pack_few(p, POOL_BLOCKS);
	world_settle(&x.w);
	before = world_used_chunks(&x.w);
	*requests = 0;
	for (unsigned c = 0; c < copies; c++) {
		struct store_disk *copy = many_txn(&x, true);
		unsigned cost;

		p->data_reads = 0;
		many_read(&x, copy, chunks);
		if (c >= copies - copies / 10)
			*requests += p->data_reads;
		for (unsigned i = 0; i < writes; i++)
			many_write(&x, sim_below(&x.w.sim, chunks * 16), (uint64_t)(c + 1) << 32 | i);
		world_settle(&x.w);
		cost = (unsigned)((world_used_chunks(&x.w) - before) * 1600 / x.written);
		if (c >= copies / 10 && cost > most)
			most = cost;
	}
	printf("%u copies, %u writes of 4 KiB over %llu chunks after each, each copy read: %llu chunks packed, %u.%02u bytes a byte, "
	       "%llu.%02llu requests a chunk; %llu blocks moved\n",
		copies, writes, (unsigned long long)chunks, (unsigned long long)pool_pack_count(p),
		most / 100, most % 100, (unsigned long long)(*requests / (copies / 10) / chunks),
		(unsigned long long)(*requests * 100 / (copies / 10) / chunks % 100),
		(unsigned long long)p->copied_blocks);
	many_end(&x);
	return most;
}

/* In the soak with four times as many writes to a disk four times as large. */
TEST(packing_takes_little_room_where_a_thousand_copies_are_read)
{
	unsigned scale = test_runs(1) ? 1 : 4;
	uint64_t packed, apart;

	assert_true(backups_run(1000, 20 * scale, 64 * scale, true, &packed) <= 130);
	assert_true(backups_run(1000, 20 * scale, 64 * scale, false, &apart) <= 130);
	assert_true(3 * packed < 2 * apart);
}

/* Blocks of one split chunk go from the older entry to the newer one as they are. */
TEST(a_merge_within_one_split_chunk_copies_nothing)
{
	struct model *m, *copy;
	const struct pool_entry *e;
	struct world w;
	uint64_t before;

	world_begin_split(&w, test_seed(), UINT64_C(16) << 20);
	m = copied(&w, 4, NULL);
	before = used(&w);
	put(&w, m, 0, 1, 3);
	copy = world_fork(&w, m);
	put(&w, m, 0, 8, 2);
	e = newest(&w, m, 0);
	assert_true(e[0].split && e[1].split && e[0].phys == e[1].phys);
	assert_int_equal(used(&w), before + 5);
	assert_int_equal(world_delete_disk(&w, copy), 0);
	assert_int_equal(used(&w), before + 5);
	e = newest(&w, m, 0);
	assert_int_equal(e->valid, 0x30e);
	assert_int_equal(e->held, 0x30e);
	assert_int_equal(world_pool(&w)->copied_blocks, 0);
	assert_nothing_lost(&w);
	world_verify_end(&w);
}

static void many_delete(struct many *x, struct store_disk *d)
{
	const struct store_ops *ops = x->w.store->ops;
	struct store_txn *t = ops->txn_begin(x->w.store);
	int done = 0;

	assert_int_equal(ops->txn_disk_delete(t, d), 0);
	ops->txn_commit(t, ended, &done);
	while (!done)
		assert_true(sim_step(&x->w.sim, true));
	assert_int_equal(done, 1);
}

/* The first copy stays, those after it go, in any order: what the disk has of what was written since is brought together. */
TEST(what_is_left_of_many_copies_does_not_lie_about)
{
	enum {
		COPIES = 120,
		CHUNKS = 64
	};
	struct store_disk *copy[COPIES];
	uint64_t before, blocks, chunks;
	struct many x;

	many_begin(&x, false, test_seed(), CHUNKS);
	for (unsigned c = 0; c < COPIES; c++) {
		copy[c] = many_txn(&x, true);
		if (c == 0) {
			x.copy[0] = copy[0];
			x.then[0] = malloc(CHUNKS * 16 * sizeof(x.now[0]));
			assert_non_null(x.then[0]);
			memcpy(x.then[0], x.now, CHUNKS * 16 * sizeof(x.now[0]));
		}
		for (unsigned i = 0; i < 40; i++)
			many_write(&x, sim_below(&x.w.sim, CHUNKS * 16), (uint64_t)(c + 1) << 32 | i);
	}
	world_settle(&x.w);
	before = world_used_chunks(&x.w);
	for (unsigned left = COPIES - 1; left; left--) {
		unsigned i = 1 + (unsigned)sim_below(&x.w.sim, left);

		many_delete(&x, copy[i]);
		copy[i] = copy[left];
	}
	world_settle(&x.w);
	world_settle(&x.w);
	blocks = world_used_blocks(&x.w);
	chunks = world_used_chunks(&x.w);
	printf("%llu chunks, then %llu, for %llu blocks\n", (unsigned long long)before,
		(unsigned long long)chunks, (unsigned long long)blocks);
	assert_true(blocks <= 2 * CHUNKS * 16);
	assert_true(chunks * 16 <= blocks * 13 / 10);
	many_end(&x);
}

/* ---- growing ---------------------------------------------------------------------------------------- */

TEST(an_entry_grows_where_it_is_and_moves_where_it_cannot)
{
	struct model *m;
	struct world w;
	uint64_t place, before;

	world_begin_split(&w, test_seed(), UINT64_C(16) << 20);
	m = copied(&w, 8, NULL);
	before = used(&w);
	put(&w, m, 0, 3, 1);
	place = newest(&w, m, 0)->phys;
	put(&w, m, 0, 4, 2); /* free there */
	assert_int_equal(newest(&w, m, 0)->phys, place);
	put(&w, m, 1, 7, 1); /* beside it */
	assert_int_equal(newest(&w, m, 1)->phys, place);
	put(&w, m, 1, 4, 1); /* taken: moves */
	assert_int_not_equal(newest(&w, m, 1)->phys, place);
	assert_int_equal(newest(&w, m, 1)->held, 1 << 7 | 1 << 4);
	assert_int_equal(used(&w), before + 3 + 2);
	world_verify(&w, false);
	/* Of what was given up others may have it. */
	put(&w, m, 2, 7, 1);
	assert_int_equal(newest(&w, m, 2)->phys, place);
	/* Part of a block; and more than one copies on the way: a chunk. */
	assert_int_equal(world_write(&w, m, 2 * CHUNK + 4 * BLOCK + 3, 2, 0), 0);
	assert_int_not_equal(newest(&w, m, 2)->phys, place);
	put(&w, m, 3, 0, 5);
	put(&w, m, 4, 6, 1);
	put(&w, m, 3, 6, 1);
	assert_true(!newest(&w, m, 3)->split || newest(&w, m, 3)->phys != newest(&w, m, 4)->phys);
	assert_nothing_lost(&w);
	world_verify_end(&w);
}

TEST(unmap_of_a_part_gives_that_part_back)
{
	struct model *m;
	struct world w;
	uint64_t before;

	world_begin_split(&w, test_seed(), UINT64_C(16) << 20);
	m = copied(&w, 4, NULL);
	before = used(&w);
	put(&w, m, 0, 2, 6);
	assert_int_equal(used(&w), before + 6);
	assert_int_equal(world_unmap(&w, m, 4 * BLOCK, 2 * BLOCK), 0);
	assert_int_equal(used(&w), before + 4);
	put(&w, m, 1, 4, 2); /* takes them */
	assert_int_equal(newest(&w, m, 1)->phys, newest(&w, m, 0)->phys);
	put(&w, m, 0, 4, 1); /* and so this one moves */
	assert_int_equal(used(&w), before + 4 + 2 + 1);
	world_verify(&w, false);
	assert_nothing_lost(&w);
	assert_int_equal(world_unmap(&w, m, 0, CHUNK), 0);
	assert_int_equal(world_unmap(&w, m, CHUNK, CHUNK), 0);
	assert_int_equal(used(&w), before);
	world_verify_end(&w);
}

/* An older entry that is only seen through a newer one loses what that one hides, as it is written. */
TEST(what_a_write_hides_for_good_is_given_back)
{
	struct model *m, *copy;
	struct world w;
	uint64_t before;

	world_begin_split(&w, test_seed(), UINT64_C(16) << 20);
	m = copied(&w, 4, NULL);
	before = used(&w);
	put(&w, m, 0, 1, 4);
	copy = world_fork(&w, m);
	put(&w, m, 0, 1, 1);
	assert_int_equal(used(&w), before + 5);
	assert_int_equal(world_delete_disk(&w, copy), 0);
	assert_int_equal(used(&w), before + 4);
	put(&w, m, 0, 2, 2);
	assert_int_equal(used(&w), before + 4);
	assert_int_equal(world_unmap(&w, m, 4 * BLOCK, BLOCK), 0);
	assert_int_equal(used(&w), before + 3);
	assert_nothing_lost(&w);
	world_verify_end(&w);
}

/* ---- slow I/O --------------------------------------------------------------------------------------- */

/* A read has found its blocks, and the disk is slow: nobody else writes there meanwhile, whatever becomes of the entry. */
TEST(a_late_read_sees_nothing_of_who_has_its_blocks_next)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 12; i++) {
		struct model *m, *copy;
		struct list held;
		struct world w;

		world_begin_split(&w, seed + i, UINT64_C(8) << 20);
		m = copied(&w, 20, &copy);
		put(&w, m, 0, 4, 1);
		put(&w, m, 1, 6, 1);
		world_settle(&w);
		world_start_read(&w, m, 4 * BLOCK, BLOCK);
		world_hold(&w, POOL_OP_READ, &held);
		if (i % 3 == 0)
			assert_int_equal(world_unmap(&w, m, 0, CHUNK), 0);
		else if (i % 3 == 1)
			put(&w, m, 0, 6, 1); /* moves */
		else
			assert_int_equal(world_delete_disk(&w, copy), 0); /* merges */
		assert_int_equal(world_flush(&w, m), 0);
		for (unsigned k = 0; k < 200; k++)
			sim_step(&w.sim, true);
		if (i % 3 == 2) /* something is to be below */
			world_cut_start(&w, &m, 1, false);
		for (unsigned k = 2; k < 20; k++) /* any free block 4 is taken */
			assert_int_equal(world_write(&w, m, k * CHUNK + 4 * BLOCK, BLOCK, 0), 0);
		world_release(&w, &held);
		world_drain(&w); /* the read is compared with what there was, or is */
		world_verify(&w, false);
		assert_nothing_lost(&w);
		world_end(&w);
	}
}

static struct world_raw *raw_start(struct store_disk *d, uint64_t block, uint64_t tag)
{
	struct world_raw *r = calloc(1, sizeof(*r));
	uint64_t *buf = aligned_alloc(4096, 4096);

	assert_true(r && buf);
	for (unsigned i = 0; i < 512; i++)
		buf[i] = tag;
	world_raw_start(r, d, STORE_WRITE, block * 4096, buf, 4096);
	return r;
}

static void raw_end(struct many *x, struct world_raw *r)
{
	void *buf = r->iov.iov_base;

	assert_int_equal(world_raw_wait(&x->w, r), 0);
	free(buf);
	free(r);
}

/* A write of a generation that a cut froze is slow, one of the next hides its block, and the cut is given up: the older entry
 * keeps what is still being written. */
TEST(a_late_write_finds_its_entry_though_it_is_hidden)
{
	for (unsigned i = 0; i < 8; i++) {
		struct store_cut cut = {.count = 1};
		struct world_raw *first, *second;
		struct list held;
		struct many x;
		int was_cut = 0;

		many_begin(&x, false, test_seed() + i, 4);
		many_txn(&x, true);
		if (i % 2)
			many_write(&x, 5, 41);
		if (i / 2 % 2)
			many_write(&x, 6, 42);
		world_settle(&x.w);
		first = raw_start(x.disk, 5, 51);
		world_hold(&x.w, POOL_OP_WRITE, &held);
		cut.disks = &x.disk;
		x.w.store->ops->cut(x.w.store, &cut, ended, &was_cut);
		assert_int_equal(was_cut, 1);
		second = raw_start(x.disk, 5, 52);
		x.w.store->ops->cut_drop(&cut);
		raw_end(&x, second);
		if (i / 4) { /* and the reclaim that follows a cut that is given up looks at the chunk */
			for (unsigned k = 0; k < 100; k++)
				sim_step(&x.w.sim, true);
		}
		world_release(&x.w, &held);
		raw_end(&x, first);
		x.now[5] = 52;
		world_settle(&x.w);
		assert_int_equal(world_used_blocks(&x.w), 4 * 16 + 1 + i / 2 % 2);
		many_end(&x);
	}
}

/* ---- no room ---------------------------------------------------------------------------------------- */

TEST(a_full_pool_still_gives_out_blocks)
{
	struct model *m, *fill, *copy;
	struct world w;
	uint64_t chunk = 0, blocks;
	unsigned more = 0;

	world_begin_split(&w, test_seed(), UINT64_C(4) << 20);
	m = copied(&w, 40, &copy);
	put(&w, m, 0, 0, 1);
	fill = world_create_disk(&w, 64 * CHUNK);
	while (world_write(&w, fill, chunk * CHUNK, CHUNK, 0) == 0)
		assert_true(++chunk < 64);
	blocks = used(&w);
	for (unsigned i = 1; i < 40; i++) /* block 0 is taken, the others are there once */
		more += world_write(&w, m, i * CHUNK + i % 16 * BLOCK, BLOCK, 0) == 0;
	assert_int_equal(more, 15);
	assert_int_equal(used(&w), blocks + 15);
	/* One that cannot move stays as it is. */
	assert_int_equal(world_write(&w, m, CHUNK + 5 * BLOCK, BLOCK, 0), -ENOSPC);
	assert_int_equal(world_wait(&w, world_start_compare(&w, m, 2 * CHUNK + 5 * BLOCK, BLOCK)), -ENOSPC);
	assert_int_equal(used(&w), blocks + 15);
	put(&w, m, 1, 1, 1);
	world_verify(&w, false);
	assert_int_equal(world_unmap(&w, fill, 0, CHUNK), 0);
	put(&w, m, 1, 5, 1);
	assert_int_equal(world_wait(&w, world_start_compare(&w, m, 2 * CHUNK + 7 * BLOCK, BLOCK)), 0);
	assert_nothing_lost(&w);
	world_verify(&w, false);
	/* Deleting needs no room. */
	assert_int_equal(world_delete_disk(&w, copy), 0);
	assert_int_equal(world_used(&w), 40 + chunk - 1);
	world_verify_end(&w);
}

TEST(the_blocks_of_a_failed_write_are_free_again)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 24; i++) {
		struct model *m;
		struct world w;

		world_begin_split(&w, seed + i, UINT64_C(8) << 20);
		m = copied(&w, 8, NULL);
		put(&w, m, 0, 4, 2);
		put(&w, m, 1, 8, 2);
		if (i % 4 == 1)
			assert_int_equal(world_unmap(&w, m, 2 * CHUNK, 4 * CHUNK), 0);
		for (unsigned k = 0; k < 8; k++) {
			uint64_t before = used(&w);

			w.sim.fail_at = w.sim.steps + 1;
			/* new, in place, moved, parts of blocks */
			assert_int_equal(
				world_write(&w, m, k % 4 * CHUNK + 5 * BLOCK + i % 3, 16 + 8 * (k / 4), 0),
				-EIO);
			assert_int_equal(used(&w), before);
		}
		world_verify(&w, false);
		assert_nothing_lost(&w);
		world_verify_end(&w);
	}
}

/* Where the metadata was given room for whole chunks, it is not filled with parts of them. */
TEST(with_more_entries_than_there_is_room_for_chunks_are_whole)
{
	struct model *m;
	struct world w;

	world_begin_split(&w, test_seed(), UINT64_C(16) << 20);
	m = copied(&w, 8, NULL);
	put(&w, m, 0, 1, 1);
	assert_true(newest(&w, m, 0)->split);
	world_pool(&w)->space.entries = 16 * world_pool(&w)->super.capacity_chunks;
	put(&w, m, 1, 1, 1);
	assert_false(newest(&w, m, 1)->split);
	put(&w, m, 0, 1, 3); /* grows all the same, or becomes whole */
	world_verify(&w, false);
	world_settle(&w);
	assert_true(world_pool(&w)->space.entries < 100);
	put(&w, m, 2, 1, 1);
	assert_true(newest(&w, m, 2)->split);
	assert_nothing_lost(&w);
	world_verify_end(&w);
}

/* ---- anything at all -------------------------------------------------------------------------------- */

/* Small changes to few chunks over copies that come and go. */
static void churn_step(struct world *w)
{
	struct model *m = world_any_disk(w);
	uint64_t kind = sim_below(&w->sim, 40), at, count;

	if (!m || world_dead(w))
		return;
	at = sim_below(&w->sim, m->sectors / BLOCK) * BLOCK;
	count = BLOCK * (1 + sim_below(&w->sim, sim_below(&w->sim, 4) ? 2 : 6));
	if (at + count > m->sectors)
		count = m->sectors - at;
	if (kind < 2) {
		world_drain(w);
		if (!world_dead(w) && !w->disk[WORLD_DISKS - 3].disk_id) {
			for (unsigned i = 0; i < 3; i++)
				world_random_op(w);
			world_cut_start(w, &m, 1, kind == 0 && sim_below(&w->sim, 3) == 0);
		}
	} else if (kind == 2) {
		unsigned disks = 0;

		for (unsigned i = 0; i < WORLD_DISKS; i++)
			disks += w->disk[i].disk_id != 0;
		world_drain(w);
		if (disks > 3 && (m = world_any_disk(w)) && !world_dead(w))
			world_delete_disk(w, m);
	} else if (kind == 3) {
		world_hydrate_start(w, m, 0);
	} else if (kind < 8) {
		world_random_op(w);
	} else {
		world_start(w, m,
			kind < 12   ? STORE_UNMAP
			: kind < 14 ? STORE_COMPARE_WRITE
				    : STORE_WRITE,
			at + (kind == 15), count - 2 * (kind == 15));
	}
	for (uint64_t k = sim_below(&w->sim, 4); k > 0; k--)
		sim_step(&w->sim, true);
	while (w->inflight > 10)
		sim_step(&w->sim, true);
}

static void churn_begin(struct world *w, uint64_t seed)
{
	world_init_split(w, seed, UINT64_C(12) << 20, 1 << 20);
	w->packs = 2;
	w->map_memory = seed % 3 == 0;
	w->sim.slow = seed % 5 ? 0 : 20;
	w->sim.direct = seed & 1;
	assert_int_equal(world_open(w), 0);
	for (unsigned i = 0; i < 2; i++)
		copied(w, 3, NULL);
}

static void churn(uint64_t seed)
{
	struct model *m;
	struct world w;

	churn_begin(&w, seed);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 120; i++)
			churn_step(&w);
		world_drain(&w);
		world_verify(&w, false);
		for (unsigned i = 0; i < WORLD_DISKS; i++)
			world_hydrate_cancel(&w, &w.disk[i]);
		assert_nothing_lost(&w);
	}
	while ((m = world_any_disk(&w)))
		assert_int_equal(world_delete_disk(&w, m), 0);
	assert_int_equal(world_used(&w), 0);
	assert_int_equal(world_pool(&w)->space.split_free, 0);
	world_verify_end(&w);
}

TEST(random_small_changes_lose_no_data_and_no_block)
{
	test_seeds(40, churn);
}

/* The power goes at any step of that, and again. */
static void torn(uint64_t seed)
{
	struct model *m;
	struct world w;

	churn_begin(&w, seed);
	for (unsigned round = 0; round < 4; round++) {
		w.sim.off_at = w.sim.steps + 1 + sim_below(&w.sim, 60);
		for (unsigned i = 0; i < 300 && !world_dead(&w); i++)
			churn_step(&w);
		world_recover(&w);
		assert_nothing_lost(&w);
		if (!world_any_disk(&w))
			copied(&w, 3, NULL);
	}
	while ((m = world_any_disk(&w)))
		assert_int_equal(world_delete_disk(&w, m), 0);
	assert_int_equal(world_used(&w), 0);
	world_verify_end(&w);
}

TEST(power_loss_at_any_step_loses_no_data_and_no_block)
{
	test_seeds(80, torn);
}

/* At every step of an entry's growth, of its move to another chunk, and of what follows. */
TEST(power_loss_at_every_step_of_a_growth)
{
	uint64_t seed = test_seed();
	unsigned states = 0;

	for (unsigned how = 0; how < 6; how++) {
		for (unsigned step = 1; step < 40; step++) {
			struct model *m, *copy;
			struct world w;
			bool went;

			world_begin_split(&w, seed + how * 40 + step, UINT64_C(8) << 20);
			m = copied(&w, 4, &copy);
			put(&w, m, 0, 4, 2);
			put(&w, m, 1, 6, 2);
			assert_int_equal(world_flush(&w, m), 0);
			w.sim.off_at = w.sim.steps + step;
			if (how == 0)
				world_start(&w, m, STORE_WRITE, 6 * BLOCK, BLOCK); /* moves */
			else if (how == 1)
				world_start(&w, m, STORE_WRITE, 6 * BLOCK + 1, 3); /* of a part of a block */
			else if (how == 2)
				world_start(&w, m, STORE_WRITE, 3 * BLOCK, BLOCK); /* in place */
			else if (how == 3)
				world_start(&w, m, STORE_COMPARE_WRITE, 5 * BLOCK, 2 * BLOCK);
			else
				world_start(&w, m, STORE_WRITE, CHUNK + 4 * BLOCK, 2 * BLOCK);
			if (how == 4) /* a cut in the middle of it */
				world_cut_start(&w, &m, 1, false);
			world_drain(&w);
			if (!world_dead(&w))
				world_flush(&w, m);
			if (how == 5 && !world_dead(&w))
				world_delete_disk(&w, copy);
			for (unsigned i = 0; i < 200 && !world_dead(&w); i++)
				sim_step(&w.sim, true);
			went = world_dead(&w);
			states += went;
			world_recover(&w);
			assert_nothing_lost(&w);
			while ((m = world_any_disk(&w)))
				assert_int_equal(world_delete_disk(&w, m), 0);
			assert_int_equal(world_used(&w), 0);
			world_end(&w);
			if (!went)
				break;
		}
	}
	assert_true(states > 40);
	printf("%u states\n", states);
}

/* ---- a check ---------------------------------------------------------------------------------------- */

/* The map's entry of a chunk, of the newest generation, is another one. */
static void edit_entry(struct world_edit *e, uint64_t branch, uint64_t chunk,
	void (*edit)(struct pool_map_value *v, const struct pool_map_value *other),
	const struct pool_map_value *other, struct pool_map_value *was)
{
	struct pool_map_key key = {.branch = branch, .chunk = chunk, .gen = UINT32_MAX};
	uint8_t bytes[POOL_MAP_KEY_BYTES], value[POOL_MAP_VALUE_BYTES];
	MDB_val k = {.mv_size = sizeof(bytes), .mv_data = bytes}, v;
	struct pool_map_value entry;
	MDB_cursor *c;

	pool_map_key_encode(bytes, &key);
	assert_int_equal(mdb_cursor_open(e->txn, e->meta.table[POOL_TABLE_MAP], &c), 0);
	assert_int_equal(mdb_cursor_get(c, &k, &v, MDB_SET_RANGE), 0);
	memcpy(bytes, k.mv_data, sizeof(bytes));
	pool_map_value_decode(v.mv_data, &entry);
	assert_true(entry.split);
	if (was)
		*was = entry;
	mdb_cursor_close(c);
	if (!edit)
		return;
	edit(&entry, other);
	pool_map_value_encode(value, &entry);
	assert_int_equal(pool_meta_put(&e->meta, e->txn, POOL_TABLE_MAP, bytes, sizeof(bytes), value,
				 POOL_MAP_VALUE_BYTES - 4),
		0);
}

static void same_blocks(struct pool_map_value *v, const struct pool_map_value *other)
{
	v->phys = other->phys;
	v->valid |= other->valid;
}

static void as_whole(struct pool_map_value *v, const struct pool_map_value *other)
{
	(void)other;
	v->split = false;
}

TEST(check_finds_two_owners_of_a_block_and_mends_what_follows_from_the_map)
{
	for (unsigned kind = 0; kind < 5; kind++) {
		uint8_t key[8] = {0}, bits[POOL_SPLIT_BYTES] = {0};
		struct world_edit edit;
		struct pool_map_value other;
		struct model *m;
		struct world w;
		uint64_t branch;

		world_begin_split(&w, test_seed() + kind, UINT64_C(8) << 20);
		m = copied(&w, 4, NULL);
		branch = pool_disk_of(m->disk)->branch->id;
		put(&w, m, 0, 4, 2);
		put(&w, m, 1, 6, 2);
		world_settle(&w);
		assert_int_equal(world_close(&w), 0);
		world_edit_begin(&w, &edit);
		edit_entry(&edit, branch, 0, NULL, NULL, &other);
		if (kind == 0)
			edit_entry(&edit, branch, 1, same_blocks, &other, NULL);
		else if (kind == 1)
			edit_entry(&edit, branch, 1, as_whole, NULL, NULL);
		else if (kind == 2)
			assert_int_equal(mdb_drop(edit.txn, edit.meta.table[POOL_TABLE_SPLIT], 0), 0);
		else {
			put_be16(bits + 2 * other.phys, kind == 3 ? 0x0010 : 0xffff);
			assert_int_equal(pool_meta_put(&edit.meta, edit.txn, POOL_TABLE_SPLIT, key,
						 sizeof(key), bits, sizeof(bits)),
				0);
		}
		world_edit_end(&edit);
		assert_true(world_check(&w, false) > 0);
		if (kind < 2) { /* nobody knows whose it is: it is not opened */
			assert_true(world_check(&w, true) > 0);
			assert_int_equal(world_open(&w), -EUCLEAN);
			world_destroy(&w);
			continue;
		}
		if (kind == 2)
			assert_int_equal(world_open(&w), -EUCLEAN);
		assert_int_equal(world_check(&w, true), 0);
		assert_int_equal(world_check(&w, false), 0);
		assert_int_equal(world_open(&w), 0);
		world_verify(&w, false);
		assert_nothing_lost(&w);
		world_end(&w);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_small_write_over_a_copy_takes_what_it_writes),
		cmocka_unit_test(what_nobody_has_a_copy_of_takes_whole_chunks),
		cmocka_unit_test(random_small_writes_over_a_thousand_copies_take_little_more_than_they_write),
		cmocka_unit_test(a_chunk_in_many_places_is_read_with_few_requests),
		cmocka_unit_test(chunks_that_are_read_from_many_places_are_packed),
		cmocka_unit_test(what_has_no_place_of_its_own_is_packed_where_others_left_room),
		cmocka_unit_test(packing_takes_little_room_where_a_thousand_copies_are_read),
		cmocka_unit_test(a_merge_within_one_split_chunk_copies_nothing),
		cmocka_unit_test(what_is_left_of_many_copies_does_not_lie_about),
		cmocka_unit_test(an_entry_grows_where_it_is_and_moves_where_it_cannot),
		cmocka_unit_test(unmap_of_a_part_gives_that_part_back),
		cmocka_unit_test(what_a_write_hides_for_good_is_given_back),
		cmocka_unit_test(a_late_read_sees_nothing_of_who_has_its_blocks_next),
		cmocka_unit_test(a_late_write_finds_its_entry_though_it_is_hidden),
		cmocka_unit_test(a_full_pool_still_gives_out_blocks),
		cmocka_unit_test(the_blocks_of_a_failed_write_are_free_again),
		cmocka_unit_test(with_more_entries_than_there_is_room_for_chunks_are_whole),
		cmocka_unit_test(random_small_changes_lose_no_data_and_no_block),
		cmocka_unit_test(power_loss_at_any_step_loses_no_data_and_no_block),
		cmocka_unit_test(power_loss_at_every_step_of_a_growth),
		cmocka_unit_test(check_finds_two_owners_of_a_block_and_mends_what_follows_from_the_map),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
