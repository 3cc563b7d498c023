/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interleavings of the pool that chance hardly finds, each brought about on purpose: background work that
 * ends between two steps of a cut or of a read, a pool without a free chunk, a log without room.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

static struct pool_branch *branch_of(const struct model *m)
{
	return pool_disk_of(m->disk)->branch;
}

/* ---- splice ---------------------------------------------------------------------------------------- */

/* An original of `sectors` with some data, its fork, and the original deleted. */
static struct model *orphan(struct world *w, uint64_t sectors)
{
	struct model *a = world_create_disk(w, sectors), *f;

	assert_int_equal(world_write(w, a, 0, 256, 0), 0);
	f = world_fork(w, a);
	assert_int_equal(world_write(w, f, 0, 64, 0), 0);
	assert_int_equal(world_delete_disk(w, a), 0);
	return f;
}

/* Up to where the frame that ends the splice is asked for. */
static void until_spliced(struct world *w, uint64_t parent)
{
	struct pool_branch *b = pool_branch_find(&world_pool(w)->map, parent);

	while (b && !b->dead) {
		assert_true(sim_step(&w->sim, true));
		b = pool_branch_find(&world_pool(w)->map, parent);
	}
	assert_non_null(b);
}

/* The child is cut while the record that gives it its new parent waits: that record must not bring back the
 * generation from before the cut, in which writes would go into the copy. */
TEST(a_cut_during_a_splice_keeps_its_new_generation)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 20; i++) {
		struct world w;
		struct model *f;

		world_begin(&w, seed + i, UINT64_C(8) << 20);
		f = orphan(&w, 512);
		until_spliced(&w, branch_of(f)->parent->id);
		world_fork(&w, f);
		world_crash(&w);
		assert_int_equal(world_write(&w, f, 0, 64, 0), 0);
		assert_int_equal(world_flush(&w, f), 0);
		world_verify(&w, false); /* the copy, too */
		world_idle(&w);
		world_verify(&w, false);
		world_end(&w);
	}
}

/* A read through the branch that is spliced waits for a leaf of it. */
TEST(a_read_through_a_branch_being_spliced_ends_well)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 8; i++) {
		struct world w;
		struct model *f;

		/* Two leaves of which the second has nothing in it; reopened: both must be loaded. */
		world_begin(&w, seed + i, UINT64_C(8) << 20);
		f = orphan(&w, (POOL_LEAF_CHUNKS + 4) * CHUNK_SECTORS);
		assert_true(pool_branch_find(&world_pool(&w)->map, branch_of(f)->parent->id) != NULL);
		world_crash(&w);
		if (branch_of(f)->parent) {
			until_spliced(&w, branch_of(f)->parent->id);
			world_start_read(&w, f, POOL_LEAF_CHUNKS * CHUNK_SECTORS, 64);
		}
		world_drain(&w);
		world_idle(&w);
		world_verify(&w, false);
		world_end(&w);
	}
}

/* ---- a full pool ----------------------------------------------------------------------------------- */

/* A partial write has read its block and waits for a chunk; the chunks that will be free wait for all I/O
 * that began before: not for this one. */
TEST(a_partial_write_waits_for_chunks_that_become_free)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 20; i++) {
		struct world w;
		struct model *a, *b;
		uint64_t chunk = 0;

		world_begin(&w, seed + i, UINT64_C(1) << 20);
		a = world_create_disk(&w, 4 * CHUNK_SECTORS);
		b = world_create_disk(&w, 32 * CHUNK_SECTORS);
		assert_int_equal(world_write(&w, a, 0, 4 * CHUNK_SECTORS, 0), 0);
		assert_int_equal(world_cut(&w, &a, 1), 0);
		while (world_write(&w, b, chunk * CHUNK_SECTORS, CHUNK_SECTORS, 0) == 0)
			chunk++;
		assert_int_equal(chunk, 12);
		assert_int_equal(world_unmap(&w, b, 0, 4 * CHUNK_SECTORS), 0);
		assert_int_equal(world_write(&w, a, 3, 1, 0), 0);
		world_verify(&w, false);
		world_end(&w);
	}
}

/* ---- a log without room ---------------------------------------------------------------------------- */

#define MANY 240u

struct many_io {
	struct store_io io;
	struct iovec iov;
	bool done;
	int err;
};

static void many_done(struct store_io *io, int err)
{
	struct many_io *x = container_of(io, struct many_io, io);

	x->done = true;
	x->err = err;
}

static void submit(struct many_io *x, struct store_disk *d, enum store_io_op op, uint64_t offset, void *buf)
{
	memset(x, 0, sizeof(*x));
	x->iov = (struct iovec){buf, POOL_BLOCK_BYTES};
	x->io = (struct store_io){.op = op,
		.disk = d,
		.offset = offset,
		.len = op == STORE_FLUSH ? 0 : POOL_BLOCK_BYTES,
		.iov = &x->iov,
		.iov_count = 1,
		.done = many_done};
	d->store->ops->submit(&x->io);
}

/* Jobs that the simulator does not see. */
static void jobs_hold(struct world *w, struct list *held)
{
	struct list_node *n;

	while ((n = list_pop(&w->sim.jobs)))
		list_push_back(held, n);
}

/* Steps without any job until nothing else happens. */
static void step_without_jobs(struct world *w, struct list *held)
{
	do
		jobs_hold(w, held);
	while (sim_step(&w->sim, false) || !list_empty(&w->sim.jobs));
}

/* Frames that describe many branches fill the log to its end while the checkpoint stands still. */
TEST(a_log_filled_by_many_branches_goes_on_after_a_checkpoint)
{
	static uint8_t data[POOL_BLOCK_BYTES];
	struct store_disk *disk[MANY];
	struct many_io io[MANY], flush;
	struct store_txn *t;
	struct list held;
	struct world w;
	int end = 0;

	list_init(&held);
	world_begin(&w, test_seed(), UINT64_C(72) << 20);
	t = w.store->ops->txn_begin(w.store);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(w.store->ops->txn_disk_create(t, 1 << 20, &disk[i]), 0);
	w.store->ops->txn_commit(t, world_ended, &end);
	world_idle(&w);
	assert_int_equal(end, 1);
	for (unsigned round = 0;; round++) {
		for (unsigned i = 0; i < MANY; i++)
			submit(&io[i], disk[i], STORE_WRITE, round * POOL_BLOCK_BYTES, data);
		step_without_jobs(&w, &held);
		for (unsigned i = 0; i < MANY; i++)
			assert_true(io[i].done && !io[i].err);
		submit(&flush, disk[0], STORE_FLUSH, 0, NULL);
		step_without_jobs(&w, &held);
		if (!flush.done)
			break;
		assert_int_equal(flush.err, 0);
		assert_true(round < 64);
	}
	world_release_jobs(&w, &held);
	while (!flush.done)
		assert_true(sim_step(&w.sim, true));
	assert_int_equal(flush.err, 0);
	world_end(&w);
}

/* What waits for a frame is bounded, new blocks of old chunks included. */
TEST(what_waits_for_a_frame_is_bounded)
{
	enum {
		COUNT = 1500
	};
	static uint8_t data[POOL_BLOCK_BYTES];
	static struct many_io io[COUNT];
	struct store_disk *disk;
	struct store_txn *t;
	struct list held;
	struct world w;
	int end = 0;

	list_init(&held);
	world_begin(&w, test_seed(), UINT64_C(128) << 20);
	t = w.store->ops->txn_begin(w.store);
	assert_int_equal(w.store->ops->txn_disk_create(t, (uint64_t)COUNT << POOL_CHUNK_SHIFT, &disk), 0);
	w.store->ops->txn_commit(t, world_ended, &end);
	world_idle(&w);
	assert_int_equal(end, 1);
	for (unsigned i = 0; i < COUNT; i++) {
		submit(&io[i], disk, STORE_WRITE, (uint64_t)i << POOL_CHUNK_SHIFT, data);
		world_idle(&w);
		assert_true(io[i].done && !io[i].err);
	}
	/* The log's file does not answer: no frame ends. */
	world_pool(&w)->commit.no_room = true;
	for (unsigned i = 0; i < COUNT; i++)
		submit(&io[i], disk, STORE_WRITE, ((uint64_t)i << POOL_CHUNK_SHIFT) + POOL_BLOCK_BYTES, data);
	step_without_jobs(&w, &held);
	assert_true(world_pool(&w)->map.dirty_count > 0);
	assert_true(world_pool(&w)->map.dirty_count <= world_pool(&w)->map.dirty_max);
	world_release_jobs(&w, &held);
	pool_commit_log_has_room(&world_pool(&w)->commit);
	world_idle(&w);
	for (unsigned i = 0; i < COUNT; i++)
		assert_true(io[i].done && !io[i].err);
	world_end(&w);
}

/* ---- the log --------------------------------------------------------------------------------------- */

enum {
	FRAMES = 6
};

enum log_damage {
	IN_HEAD,
	IN_PAYLOAD,
	ZEROED
};

static void damage_frame(struct world *w, struct pool_file *log, uint64_t at, enum log_damage how)
{
	uint8_t block[POOL_LOG_ALIGN];

	assert_int_equal(log->host->ops->file_pread(log, block, sizeof(block), at), 0);
	if (how == ZEROED)
		memset(block, 0, sizeof(block));
	else if (how == IN_HEAD)
		block[sim_below(&w->sim, 48)] ^= 1; /* none of what the CRC leaves out */
	else
		block[POOL_FRAME_HEAD_SIZE + sim_below(&w->sim, 16)] ^= 1;
	assert_int_equal(log->host->ops->file_pwrite(log, block, sizeof(block), at), 0);
}

/* FRAMES frames in the log that LMDB does not have; then the process is killed or the power goes, and the frames from
 * `first` on, `count` of them, are damaged. */
static void end_and_damage(struct world *w, bool killed, unsigned first, unsigned count, enum log_damage how)
{
	uint64_t at[FRAMES], applied;
	struct pool_checkpoint *checkpoint;
	struct pool_file *log;
	struct pool_host *h;
	struct model *m;

	world_begin(w, test_seed(), UINT64_C(8) << 20);
	m = world_create_disk(w, FRAMES * CHUNK_SECTORS);
	applied = world_pool(w)->log.sequence;
	checkpoint = &world_pool(w)->commit.checkpoint;
	checkpoint->base->host->ops->timer_disarm(checkpoint->base->host, &checkpoint->timer);
	checkpoint->timer_armed = true; /* LMDB gets nothing of what follows */
	for (unsigned i = 0; i < FRAMES; i++) {
		assert_int_equal(world_write(w, m, i * CHUNK_SECTORS, CHUNK_SECTORS, 0), 0);
		at[i] = world_pool(w)->log.offset;
		assert_int_equal(world_flush(w, m), 0);
		assert_true(world_pool(w)->log.offset > at[i]);
	}
	assert_int_equal(world_pool(w)->log.sequence, applied + FRAMES);
	assert_true(world_pool(w)->map.applied <= applied);
	while (killed && world_pool(w)->log.mark_busy)
		sim_step(&w->sim, false);
	assert_true(world_pool(w)->map.applied <= applied);
	if (killed)
		sim_keep(&w->sim);
	sim_power_off(&w->sim);
	world_drain(w);
	world_close(w);
	sim_power_on(&w->sim);
	h = sim_host(&w->sim);
	assert_int_equal(h->ops->file_open(h, "log", 0, &log), 0);
	for (unsigned i = 0; i < count; i++)
		damage_frame(w, log, at[first + i], how);
	assert_int_equal(h->ops->file_sync(log), 0);
	h->ops->file_close(log);
	h->ops->free(h);
}

static void lose_mark(struct world *w)
{
	struct pool_host *h = sim_host(&w->sim);
	uint8_t junk[POOL_MARK_BYTES] = {1};
	struct pool_file *mark;

	assert_int_equal(h->ops->file_open(h, "mark", 0, &mark), 0);
	assert_int_equal(h->ops->file_pwrite(mark, junk, sizeof(junk), 0), 0);
	assert_int_equal(h->ops->file_sync(mark), 0);
	h->ops->file_close(mark);
	h->ops->free(h);
}

static void opens_only_after_repair(struct world *w)
{
	assert_int_equal(world_open(w), -EUCLEAN);
	assert_int_equal(world_check(w, false), 1);
	assert_int_equal(world_open(w), -EUCLEAN);
	assert_int_equal(world_check(w, true), 0);
	assert_int_equal(world_open(w), 0);
	assert_int_equal(world_close(w), 0);
	assert_int_equal(world_check(w, false), 0);
	world_destroy(w);
}

/* Frames that were acknowledged stand behind a damaged one: it was not torn. Nothing is given up without a word. The
 * head of one frame is enough, also if nothing else of the log is left. */
TEST(a_pool_with_damage_within_its_log_opens_only_after_repair)
{
	for (unsigned damaged = 0; damaged + 1 < FRAMES; damaged++) {
		struct world w;

		end_and_damage(&w, false, damaged, 1, damaged % 2 ? IN_HEAD : IN_PAYLOAD);
		lose_mark(&w);
		opens_only_after_repair(&w);
	}
	for (unsigned first = 0; first + 1 < FRAMES; first++) {
		struct world w;

		end_and_damage(&w, false, first, FRAMES - first, IN_PAYLOAD);
		lose_mark(&w);
		opens_only_after_repair(&w);
	}
}

/* After a kill the mark says how far the log went, so the last frames cannot go either, whatever is left of them. */
TEST(damage_at_the_end_of_the_log_is_found_after_a_kill)
{
	for (unsigned i = 0; i < 9; i++) {
		static const unsigned counts[] = {1, 3, FRAMES};
		struct world w;

		end_and_damage(&w, true, FRAMES - counts[i / 3], counts[i / 3], (enum log_damage)(i % 3));
		opens_only_after_repair(&w);
	}
}

/* When the power goes the mark may be old; of the last frame nobody can tell then whether it was torn. */
TEST(damage_at_the_end_of_the_log_is_taken_for_a_torn_frame_without_a_mark)
{
	struct world w;

	end_and_damage(&w, false, FRAMES - 1, 1, IN_PAYLOAD);
	lose_mark(&w);
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(world_check(&w, false), 0);
	world_destroy(&w);
}

static void copy_meta(struct world *w, const char *from, const char *to)
{
	char command[512];

	snprintf(command, sizeof(command), "cp %s/%s %s/%s", w->sim.meta, from, w->sim.meta, to);
	assert_int_equal(system(command), 0);
}

/* An old copy of `meta` beside a log that went on: not believed, and no incarnation of the log comes again. */
TEST(metadata_older_than_the_log_opens_only_after_repair)
{
	struct pool_state found;
	struct world_edit edit;
	struct model *m;
	struct world w;
	uint64_t incarnation = 0;
	char old[128];

	world_begin(&w, test_seed(), UINT64_C(8) << 20);
	m = world_create_disk(&w, 4 * CHUNK_SECTORS);
	assert_int_equal(world_close(&w), 0);
	copy_meta(&w, "data.mdb", "old");
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(world_open(&w), 0);
		assert_int_equal(world_write(&w, m, i * CHUNK_SECTORS, 8, STORE_IO_FUA), 0);
		incarnation = world_pool(&w)->log.incarnation;
		assert_int_equal(world_close(&w), 0);
	}
	copy_meta(&w, "old", "data.mdb");
	snprintf(old, sizeof(old), "%s/old", w.sim.meta);
	assert_int_equal(remove(old), 0);
	assert_int_equal(world_open(&w), -EUCLEAN);
	assert_int_equal(world_check(&w, false), 1);
	assert_int_equal(world_check(&w, true), 0);
	world_edit_begin(&w, &edit);
	assert_int_equal(pool_meta_state(&edit.meta, edit.txn, &found), 0);
	assert_true(found.incarnation > incarnation);
	world_edit_end(&edit);
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(world_close(&w), 0);
	world_destroy(&w);
}

/* ---- repair ---------------------------------------------------------------------------------------- */

/* Nobody knows which chunk a damaged entry holds: a repair gives none back. */
TEST(a_repair_frees_no_chunk_while_an_entry_is_damaged)
{
	static uint8_t junk[POOL_MAP_VALUE_BYTES];
	uint8_t key[8] = {0}, before[POOL_SPACE_VALUE_BYTES];
	MDB_val k, v, space = {.mv_size = 8, .mv_data = key};
	MDB_dbi map, table;
	MDB_txn *txn;
	MDB_env *env;
	MDB_cursor *c;
	struct world w;

	world_begin(&w, test_seed(), UINT64_C(8) << 20);
	assert_int_equal(world_write(&w, world_create_disk(&w, 1024), 0, 1024, 0), 0);
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, POOL_TABLES), 0);
	assert_int_equal(mdb_env_open(env, w.sim.meta, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "map", 0, &map), 0);
	assert_int_equal(mdb_dbi_open(txn, "space", 0, &table), 0);
	assert_int_equal(mdb_get(txn, table, &space, &v), 0);
	memcpy(before, v.mv_data, sizeof(before));
	assert_int_equal(mdb_cursor_open(txn, map, &c), 0);
	assert_int_equal(mdb_cursor_get(c, &k, &v, MDB_FIRST), 0);
	v = (MDB_val){.mv_size = sizeof(junk), .mv_data = junk};
	assert_int_equal(mdb_cursor_put(c, &k, &v, MDB_CURRENT), 0);
	mdb_cursor_close(c);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	assert_int_equal(world_check(&w, true), 1);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, POOL_TABLES), 0);
	assert_int_equal(mdb_env_open(env, w.sim.meta, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "space", 0, &table), 0);
	assert_int_equal(mdb_get(txn, table, &space, &v), 0);
	assert_memory_equal(v.mv_data, before, sizeof(before));
	mdb_txn_abort(txn);
	mdb_env_close(env);
	world_destroy(&w);
}

/* ---- the end ---------------------------------------------------------------------------------------- */

static void timer_comes(struct sim *s)
{
	struct list_node *n = list_pop(&s->timers);

	if (n) {
		struct pool_timer *t = container_of(n, struct pool_timer, link);

		s->now_ms = t->at > s->now_ms ? t->at : s->now_ms;
		t->fire(t);
	}
}

/* Something that the pool waited for ends, and a timer comes, between the word that it is to close and the beginning of that. */
static void closes(uint64_t seed)
{
	struct world w;
	struct model *m, *copy;
	int closed = 0;

	world_begin(&w, seed, UINT64_C(16) << 20);
	m = world_create_disk(&w, 8 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, m, 0, 8 * CHUNK_SECTORS, 0), 0);
	copy = world_fork(&w, m);
	assert_int_equal(world_write(&w, m, 0, 8 * CHUNK_SECTORS, 0), 0);
	world_settle(&w);
	assert_int_equal(world_delete_disk(&w, copy), 0);
	sim_power_off(&w.sim);
	world_drain(&w);
	world_close(&w);
	sim_power_on(&w.sim);
	assert_int_equal(world_open(&w), 0); /* what the copy left is to be counted soon */
	w.store->ops->close(w.store, world_ended, &closed);
	pool_close_step(world_pool(&w));
	while (!closed) {
		timer_comes(&w.sim);
		assert_true(sim_step(&w.sim, false));
	}
	w.store = NULL;
	assert_int_equal(closed, 1);
	assert_int_equal(world_open(&w), 0);
	world_verify_end(&w);
}

/* The simulator sees that nothing of a pool that is gone comes later. */
TEST(a_pool_that_is_to_close_begins_with_that_whatever_ends_before)
{
	test_seeds(20, closes);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_during_a_splice_keeps_its_new_generation),
		cmocka_unit_test(a_read_through_a_branch_being_spliced_ends_well),
		cmocka_unit_test(a_partial_write_waits_for_chunks_that_become_free),
		cmocka_unit_test(a_log_filled_by_many_branches_goes_on_after_a_checkpoint),
		cmocka_unit_test(what_waits_for_a_frame_is_bounded),
		cmocka_unit_test(a_pool_with_damage_within_its_log_opens_only_after_repair),
		cmocka_unit_test(damage_at_the_end_of_the_log_is_found_after_a_kill),
		cmocka_unit_test(damage_at_the_end_of_the_log_is_taken_for_a_torn_frame_without_a_mark),
		cmocka_unit_test(metadata_older_than_the_log_opens_only_after_repair),
		cmocka_unit_test(a_repair_frees_no_chunk_while_an_entry_is_damaged),
		cmocka_unit_test(a_pool_that_is_to_close_begins_with_that_whatever_ends_before),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
