/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of Ceph's that hang, as where an OSD does not answer: what the caller gives up is over for it, others go on, and when the calls
 * come back at last nothing is left of it.
 */
#include "tests/unit/store/rbd_hung.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MANY 4u /* as many as a cut has workers there */

static bool one_has_snapshots(const void *two_disks)
{
	struct store_disk *const *d = two_disks;

	return (snapshots(d[0]) > 0) + (snapshots(d[1]) > 0) == 1;
}

static bool none_has_snapshots(const void *two_disks)
{
	struct store_disk *const *d = two_disks;

	return snapshots(d[0]) + snapshots(d[1]) == 0;
}

static unsigned gates_closed;

static void gates_close(struct store_cut *cut)
{
	(void)cut;
	gates_closed++;
}

struct labelled {
	struct store_disk *disk;
	const char *lun;
};

static bool is_labelled(const void *labelled)
{
	const struct labelled *l = labelled;
	char command[300];

	snprintf(command, sizeof(command), "rbd -p %s image-meta get %s umbra.lun 2>/dev/null | grep -x %s",
		options().ceph_pool, rbd_disk_of(l->disk)->image->name, l->lun);
	return output_lines(command) == 1;
}

static int put(const char *key)
{
	struct store_txn *t = s->ops->txn_begin(s);
	struct wait w = {0};

	assert_int_equal(s->ops->txn_put(t, STORE_TABLE_META, key, strlen(key), "x", 1), 0);
	s->ops->txn_commit(t, ended, &w);
	return wait_for(&w);
}

/* ---- the tests ---- */

/* Its healthy images are let go of at once, those that hang when they answer. */
TEST(a_cut_that_is_given_up_lets_the_next_one_go)
{
	struct store_disk *disks[3];
	struct store_cut both = {.disks = disks, .count = 2}, second = {.disks = disks, .count = 1};
	struct store_cut fourth = {.disks = disks, .count = 1, .begins = gates_close};
	struct wait never = {0}, later = {0};
	unsigned first;

	make_disks(disks, 3);
	gates_closed = 0;
	delete_disk(copy_of(disks[1])); /* open */
	hang(CALL_SNAP);
	s->ops->cut(s, &both, ended, &never);
	wait_until_hang(2);
	assert_int_equal(s->ops->cut_waits(&both, &first), 2);
	assert_int_equal(first, 0);
	assert_true(s->ops->cut_give_up(&both));
	assert_null(both.priv);
	hang_no_more();
	assert_true(s->ops->rest(s, true)); /* who waits for nothing of it does not close the store */
	s->ops->rest(s, false);
	delete_disk(copy_of(disks[2]));
	/* One more through an image that hangs waits for it, without a worker and with open gates; given up or not. */
	s->ops->cut(s, &second, ended, &never);
	s->ops->cut(s, &fourth, ended, &later);
	for (unsigned i = 0; i < 20; i++)
		assert_true(reactor_turn(reactor, 10) >= 0);
	assert_true(s->ops->cut_give_up(&second));
	assert_int_equal(put("a"), 0);
	assert_int_equal(later.done, 0);
	assert_int_equal(gates_closed, 0); /* no host waits for it */
	let_go();
	assert_int_equal(wait_for(&later), 0);
	assert_int_equal(gates_closed, 1);
	s->ops->cut_drop(&fourth);
	assert_left(3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(snapshots(disks[i]), 0);
	assert_false(s->ops->rest(s, true));
	s->ops->rest(s, false);
	assert_int_equal(never.done, 0);
	assert_true(list_empty(&rbd_disk_of(disks[0])->image->cuts));
	assert_int_equal(rbd_disk_of(disks[0])->image->hangs, 0);
}

/* Nor one whose header hangs, for which no host has waited. */
TEST(a_cut_waits_for_headers_with_open_gates)
{
	struct store_disk *disks[2], *copy;
	struct store_cut both = {.disks = disks, .count = 2, .begins = gates_close};
	struct store_cut again = {.disks = disks, .count = 2, .begins = gates_close};
	struct wait never = {0}, later = {0};

	make_disks(disks, 2);
	gates_closed = 0;
	hang_some(CALL_HEADER, 1);
	s->ops->cut(s, &both, ended, &never);
	wait_until_hang(1);
	hang_no_more();
	assert_true(s->ops->cut_give_up(&both));
	s->ops->cut(s, &again, ended, &later);
	assert_int_equal(put("a"), 0);
	assert_int_equal(gates_closed + later.done, 0);
	let_go();
	assert_int_equal(wait_for(&later), 0);
	assert_int_equal(gates_closed, 1);
	s->ops->cut_drop(&again);
	copy = copy_of(disks[0]);
	delete_disk(copy);
	assert_left(2);
	assert_int_equal(snapshots(disks[0]) + snapshots(disks[1]), 0);
	assert_int_equal(never.done, 0);
}

/* One snapshot is there, the other hangs. */
TEST(snapshots_that_were_made_go_at_once)
{
	struct store_disk *disks[2];
	struct store_cut both = {.disks = disks, .count = 2};
	struct wait never = {0};

	make_disks(disks, 2);
	hang_some(CALL_SNAP, 1);
	s->ops->cut(s, &both, ended, &never);
	wait_until_hang(1);
	assert_true(until(one_has_snapshots, disks));
	assert_true(s->ops->cut_give_up(&both));
	assert_true(until(none_has_snapshots, disks));
	let_go();
	assert_left(2);
	assert_int_equal(snapshots(disks[0]) + snapshots(disks[1]), 0);
	assert_int_equal(never.done, 0);
}

TEST(many_that_hang_leave_workers_for_the_next)
{
	struct store_disk *disks[MANY + 1];
	struct store_cut cuts[2] = {
		{.disks = disks, .count = MANY / 2}, {.disks = disks + MANY / 2, .count = MANY / 2}};
	struct wait never = {0};
	struct rbd_lane_state *lane = &rbd_store_of(s)->workers.lanes[RBD_LANE_CUT];

	lane->own = lane->max = MANY;
	make_disks(disks, MANY + 1);
	hang(CALL_SNAP);
	for (unsigned i = 0; i < 2; i++)
		s->ops->cut(s, &cuts[i], ended, &never);
	wait_until_hang(MANY);
	for (unsigned i = 0; i < 2; i++)
		assert_true(s->ops->cut_give_up(&cuts[i]));
	hang_no_more();
	assert_int_equal(lane->max, 2 * MANY);
	copy_of(disks[MANY]);
	let_go();
	assert_left(MANY + 2);
	assert_int_equal(lane->max, MANY);
	for (unsigned i = 0; i < MANY; i += MANY - 1)
		assert_int_equal(snapshots(disks[i]), 0);
	assert_int_equal(never.done, 0);
}

/* Nor does a transaction whose clones hang keep up others; given up, it leaves nothing. */
TEST(a_transaction_whose_images_hang_is_passed_by_others)
{
	struct store_disk *disks[3], *copies[2], *copy;
	struct store_cut c = {.disks = disks, .count = 2};
	struct wait cut = {0}, never = {0};
	struct store_txn *t;

	make_disks(disks, 3);
	s->ops->cut(s, &c, ended, &cut);
	assert_int_equal(wait_for(&cut), 0);
	t = s->ops->txn_begin(s);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(s->ops->txn_disk_fork(t, &c, i, &copies[i]), 0);
	hang(CALL_CLONE);
	s->ops->cut_commit(&c, t, ended, &never);
	wait_until_hang(2);
	hang_no_more();
	assert_int_equal(put("a"), 0);
	copy = copy_of(disks[2]);
	assert_int_equal(never.done, 0);
	assert_true(s->ops->cut_give_up(&c));
	assert_null(c.priv);
	copy_of(disks[0]);
	delete_disk(disks[1]);
	delete_disk(copy);
	let_go();
	assert_left(3); /* two disks, a copy */
	assert_int_equal(snapshots(disks[2]), 0);
	assert_int_equal(never.done, 0);
}

TEST(what_is_being_written_is_not_given_up)
{
	struct store_disk *disk, *copy;
	struct store_cut c = {.disks = &disk, .count = 1};
	struct wait cut = {0}, w = {0};

	make_disks(&disk, 1);
	s->ops->cut(s, &c, ended, &cut);
	assert_int_equal(wait_for(&cut), 0);
	commit_fork(&c, 0, &copy, &w);
	while (!rbd_store_of(s)->writing)
		assert_true(reactor_turn(reactor, 10) >= 0);
	assert_false(s->ops->cut_give_up(&c));
	assert_int_equal(wait_for(&w), 0);
	delete_disk(copy);
	assert_left(1);
	assert_int_equal(snapshots(disk), 0);
}

/* One that is not prepared, too: who waits for it is told in the end. */
TEST(a_disk_that_hangs_is_given_up_in_the_end)
{
	struct store_disk *disk, *fresh;
	struct store_txn *t;
	struct wait w[2] = {{0}};

	make_disks(&disk, 1);
	rbd_store_of(s)->patience_ms = 300;
	hang(CALL_CREATE);
	t = s->ops->txn_begin(s);
	assert_int_equal(s->ops->txn_disk_create(t, 4 * MIB, &fresh), 0);
	s->ops->txn_commit(t, ended, &w[0]);
	assert_int_equal(wait_for(&w[0]), -ETIME);
	wait_until_hang(1);
	hang(CALL_RESIZE);
	t = s->ops->txn_begin(s);
	assert_int_equal(s->ops->txn_disk_resize(t, disk, 8 * MIB), 0);
	s->ops->txn_commit(t, ended, &w[1]);
	assert_int_equal(wait_for(&w[1]), -ETIME);
	assert_int_equal(s->ops->disk_size(disk), 4 * MIB);
	delete_disk(disk);
	let_go();
	assert_left(0);
	assert_true(w[0].done == 1 && w[1].done == 1);
}

/* ---- what is made ready ahead of the commit ---- */

/* Enlarged, and a new one. */
static struct store_txn *prepare_both(
	struct store_disk *disk, uint64_t bytes, struct store_disk **fresh, struct wait *ready)
{
	struct store_txn *t = s->ops->txn_begin(s);

	assert_int_equal(s->ops->txn_disk_create(t, 4 * MIB, fresh), 0);
	assert_int_equal(s->ops->txn_disk_resize(t, disk, bytes), 0);
	s->ops->txn_prepare(t, NULL, ended, ready);
	return t;
}

static uint64_t image_bytes(struct store_disk *d)
{
	const struct rbd_store *store = rbd_store_of(s);
	rbd_image_t image;
	uint64_t bytes;

	assert_int_equal(rbd_open_read_only(store->cluster.io, rbd_disk_of(d)->image->name, &image, NULL), 0);
	assert_int_equal(rbd_get_size(image, &bytes), 0);
	rbd_close(image);
	return bytes;
}

/* Once they are ready the commit needs nothing more than the catalogue. */
TEST(disks_that_are_ready_are_only_written_down_by_the_commit)
{
	static const enum call calls[] = {CALL_CREATE, CALL_RESIZE, CALL_HEADER, CALL_OPENED};
	struct store_disk *disk, *fresh;
	struct store_txn *t;

	make_disks(&disk, 1);
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct wait ready = {0}, w = {0};

		t = prepare_both(disk, 4 * MIB * (i + 2), &fresh, &ready);
		assert_int_equal(wait_for(&ready), 0);
		assert_int_equal(images(), 2);
		assert_int_equal(s->ops->disk_size(disk), 4 * MIB * (i + 1)); /* not yet */
		assert_false(s->ops->rest(s, true));
		s->ops->rest(s, false);
		assert_int_equal(s->ops->txn_put(t, STORE_TABLE_META, "a", 1, "x", 1), 0);
		hang(calls[i]);
		s->ops->txn_commit(t, ended, &w);
		assert_int_equal(wait_for(&w), 0);
		hang_no_more();
		assert_int_equal(s->ops->disk_size(disk), 4 * MIB * (i + 2));
		access_end(access_begin(fresh, STORE_WRITE, 7));
		assert_int_equal(access_end(access_begin(fresh, STORE_READ, 0)), 7);
		delete_disk(fresh);
		assert_left(1);
		assert_int_equal(ready.done, 1);
	}
}

/* What is let go of while it hangs, or when it is ready, leaves nothing; its disks may be used and deleted meanwhile. */
TEST(what_was_prepared_may_be_dropped)
{
	struct rbd_store *store = rbd_store_of(s);
	struct rbd_lane_state *lane = &store->workers.lanes[RBD_LANE_SHORT];
	struct store_disk *disk, *fresh;
	struct wait ready = {0}, never = {0};
	struct store_txn *t;
	unsigned max = lane->max;

	make_disks(&disk, 1);
	t = prepare_both(disk, 8 * MIB, &fresh, &ready);
	assert_int_equal(wait_for(&ready), 0);
	s->ops->txn_drop(t);
	assert_left(1);
	hang(CALL_CREATE);
	t = prepare_both(disk, 8 * MIB, &fresh, &never);
	wait_until_hang(1);
	assert_true(s->ops->rest(s, true)); /* the close would wait for it */
	s->ops->rest(s, false);
	assert_int_equal(put("a"), 0);
	s->ops->txn_drop(t);
	assert_int_equal(store->hung, 1);
	assert_int_equal(lane->max, max + 1); /* others do not do without its worker */
	assert_true(s->ops->rest(s, true));
	s->ops->rest(s, false);
	hang_no_more();
	assert_int_equal(s->ops->disk_size(disk), 4 * MIB);
	delete_disk(disk);
	let_go();
	assert_left(0);
	assert_int_equal(store->hung, 0);
	assert_int_equal(lane->max, max);
	assert_false(s->ops->rest(s, true));
	s->ops->rest(s, false);
	assert_int_equal(never.done, 0);
}

/* And what fails is gone: by itself in the end, or where too much hangs already. */
TEST(what_cannot_be_made_ready_is_freed)
{
	struct rbd_store *store = rbd_store_of(s);
	struct store_disk *disk, *fresh;
	struct wait ready[2] = {{0}};

	make_disks(&disk, 1);
	store->patience_ms = 300;
	hang(CALL_RESIZE);
	prepare_both(disk, 8 * MIB, &fresh, &ready[0]);
	assert_int_equal(wait_for(&ready[0]), -ETIME);
	wait_until_hang(1);
	hang_no_more();
	store->hung += RBD_HUNG_MOST;
	prepare_both(disk, 8 * MIB, &fresh, &ready[1]);
	assert_int_equal(wait_for(&ready[1]), -EBUSY);
	store->hung -= RBD_HUNG_MOST;
	assert_int_equal(s->ops->disk_size(disk), 4 * MIB);
	let_go();
	assert_left(1);
	assert_true(ready[0].done == 1 && ready[1].done == 1);
}

static struct store_txn *prepare_repoint(
	struct store_cut *cut, struct store_disk *target, void (*ready)(void *arg, int err), struct wait *w)
{
	struct store_txn *t = s->ops->txn_begin(s);

	assert_int_equal(s->ops->txn_disk_repoint(t, cut, 0, target), 0);
	s->ops->txn_prepare(t, cut, ready, w);
	return t;
}

/* The clone of a resync: ready, or let go of. */
TEST(what_a_disk_becomes_is_made_ready_before_the_commit)
{
	struct store_disk *disks[2]; /* the second one becomes as the first */
	struct store_cut c = {.disks = disks, .count = 1};
	struct wait cut[3] = {{0}}, ready = {0}, never = {0}, w = {0};
	struct store_txn *t;

	make_disks(disks, 2);
	access_end(access_begin(disks[0], STORE_WRITE, 7));
	for (unsigned i = 0; i < 3; i++) {
		s->ops->cut(s, &c, ended, &cut[i]);
		assert_int_equal(wait_for(&cut[i]), 0);
		if (i == 0)
			hang(CALL_CLONE);
		t = prepare_repoint(&c, disks[1], ended, i == 0 ? &never : &ready);
		if (i == 0) {
			wait_until_hang(1);
			hang_no_more();
			assert_int_equal(put("a"), 0);
			assert_true(s->ops->cut_give_up(&c));
			assert_null(c.priv);
			let_go();
			assert_left(2);
			continue;
		}
		assert_int_equal(wait_for(&ready), 0);
		ready.done = 0;
		if (i == 1) {
			assert_true(s->ops->cut_give_up(&c));
			assert_null(c.priv);
			assert_left(2);
		}
	}
	assert_int_equal(snapshots(disks[0]), 1);
	assert_int_equal(access_end(access_begin(disks[1], STORE_READ, 0)), 0); /* as before */
	access_end(access_begin(disks[0], STORE_WRITE, 8));
	assert_int_equal(s->ops->txn_put(t, STORE_TABLE_META, "b", 1, "x", 1), 0);
	hang(CALL_CLONE);
	s->ops->cut_commit(&c, t, ended, &w);
	assert_int_equal(wait_for(&w), 0);
	hang_no_more();
	assert_int_equal(access_end(access_begin(disks[1], STORE_READ, 0)), 7);
	assert_left(2);
	assert_int_equal(never.done, 0);
	delete_disk(disks[1]);
	delete_disk(disks[0]);
	assert_left(0);
}

/* One that was enlarged, and becomes another one before that is committed. */
TEST(a_disk_with_another_image_than_was_enlarged_is_enlarged_again)
{
	struct store_disk *disks[2], *fresh;
	struct store_cut c = {.disks = disks, .count = 1};
	struct wait cut = {0}, ready[2] = {{0}}, w[2] = {{0}};
	struct store_txn *t, *other;

	make_disks(disks, 2);
	t = prepare_both(disks[1], 8 * MIB, &fresh, &ready[0]);
	assert_int_equal(wait_for(&ready[0]), 0);
	s->ops->cut(s, &c, ended, &cut);
	assert_int_equal(wait_for(&cut), 0);
	other = prepare_repoint(&c, disks[1], ended, &ready[1]);
	assert_int_equal(wait_for(&ready[1]), 0);
	s->ops->cut_commit(&c, other, ended, &w[0]);
	assert_int_equal(wait_for(&w[0]), 0);
	assert_int_equal(image_bytes(disks[1]), 4 * MIB);
	s->ops->txn_commit(t, ended, &w[1]);
	assert_int_equal(wait_for(&w[1]), 0);
	assert_int_equal(s->ops->disk_size(disks[1]), 8 * MIB);
	assert_int_equal(image_bytes(disks[1]), 8 * MIB);
	assert_left(3);
}

/* ---- lanes with few threads ---- */

struct held {
	struct rbd_job job;
	bool hangs, done;
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static unsigned at_work, at_work_most;

static void held_work(struct rbd_job *job)
{
	const struct held *h = container_of(job, struct held, job);
	struct timespec moment = {.tv_nsec = 20000000};

	if (h->hangs) {
		comes(CALL_HELD);
		return;
	}
	pthread_mutex_lock(&lock);
	at_work_most = ++at_work > at_work_most ? at_work : at_work_most;
	pthread_mutex_unlock(&lock);
	nanosleep(&moment, NULL); /* so that others come, too, if they may */
	pthread_mutex_lock(&lock);
	at_work--;
	pthread_mutex_unlock(&lock);
}

static void held_done(struct rbd_job *job)
{
	container_of(job, struct held, job)->done = true;
}

static bool is_over(const void *held)
{
	return ((const struct held *)held)->done;
}

static void begin(struct held *h, unsigned count, enum rbd_lane lane, bool hangs)
{
	for (unsigned i = 0; i < count; i++) {
		h[i] = (struct held){.job = {.work = held_work, .done = held_done}, .hangs = hangs};
		rbd_work(&rbd_store_of(s)->workers, lane, &h[i].job);
	}
}

static void all_over(struct held *h, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		assert_true(until(is_over, &h[i]));
}

/* They hang since the machine was started, which is longer ago than this. */
#define LONG_MS 15000u

static void since_the_start(struct held *h, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		atomic_store(&h[i].job.lived_ms, 0);
}

/* As many hang as work there at a time, and one more: others are taken all the same; but while they may just be slow, none is. When
 * they go on, as many work at a time as before. */
TEST(jobs_that_hang_leave_their_lane_to_others)
{
	struct rbd_workers *w = &rbd_store_of(s)->workers;
	struct held hung[8], next[8];

	for (unsigned lane = RBD_LANE_LOOK; lane < RBD_LANES; lane++) {
		unsigned own = w->lanes[lane].own;

		assert_true(until(is_idle, NULL));
		w->lost_ms = LONG_MS;
		hang(CALL_HELD);
		begin(hung, own, lane, true);
		wait_until_hang(own);
		begin(next, 1, lane, false);
		for (unsigned i = 0; i < 60; i++)
			assert_true(reactor_turn(reactor, 10) >= 0);
		assert_false(next[0].done);
		since_the_start(hung, own);
		all_over(next, 1);
		begin(hung + own, 1, lane, true);
		wait_until_hang(own + 1);
		since_the_start(hung + own, 1);
		at_work_most = 0;
		begin(next, 8, lane, false);
		all_over(next, 8);
		assert_true(at_work_most <= own);
		let_go();
		all_over(hung, own + 1);
		begin(next, 8, lane, false);
		all_over(next, 8);
		assert_true(at_work_most <= own);
		assert_int_equal(w->lanes[lane].lost + w->lanes[lane].busy, 0);
	}
}

static bool one_is_labelled(const void *unused)
{
	(void)unused;
	return rbd_store_of(s)->labels == 1;
}

/* Of an image's labels the last one stays, though the one before hangs; none of another image waits for it. */
TEST(labels_of_an_image_come_in_their_order)
{
	struct store_disk *disks[2];
	struct store_label label = {.kind = "lun"};

	make_disks(disks, 2);
	rbd_store_of(s)->workers.lost_ms = 50;
	hang(CALL_LABEL);
	label.lun = "first";
	assert_true(s->ops->label(disks[0], &label));
	wait_until_hang(1);
	hang_no_more();
	for (unsigned i = 0; i < 2; i++) {
		label.lun = i ? "third" : "second";
		assert_true(s->ops->label(disks[0], &label));
	}
	label.lun = "other";
	assert_true(s->ops->label(disks[1], &label));
	assert_true(until(is_labelled, &(struct labelled){disks[1], "other"}));
	assert_true(until(one_is_labelled, NULL));
	let_go();
	assert_true(until(is_idle, NULL));
	assert_true(is_labelled(&(struct labelled){disks[0], "third"}));
	for (unsigned i = 0; i < 2; i++)
		delete_disk(disks[i]);
	assert_left(0);
}

static bool hydration_hangs(const void *hydration)
{
	return s->ops->hydrate_hangs(&((const struct hydration *)hydration)->h);
}

static bool one_is_queued(const void *workers)
{
	struct rbd_workers *w = (struct rbd_workers *)workers;

	pthread_mutex_lock(&w->lock);
	bool queued = !list_empty(&w->lanes[RBD_LANE_HYDRATE].jobs);
	pthread_mutex_unlock(&w->lock);
	return queued;
}

#define NEVER_MS (1u << 30)

/* While its image is being opened, and while a worker has it; one that only waits for those in front of it does not. */
TEST(a_hydration_that_hangs_is_told_from_one_that_waits)
{
	static const enum call calls[] = {CALL_OPENED, CALL_STRIPE};
	struct rbd_workers *w = &rbd_store_of(s)->workers;
	struct store_disk *originals[2], *copies[2];
	struct hydration hydrations[2];
	unsigned own = w->lanes[RBD_LANE_HYDRATE].own, most = w->lanes[RBD_LANE_HYDRATE].most;

	for (unsigned i = 0; i < 2; i++) {
		make_disks(originals, 2);
		for (unsigned j = 0; j < 2; j++) {
			copies[j] = copy_of(originals[j]);
			hydrations[j] = (struct hydration){.h = {.disk = copies[j], .done = hydrated}};
		}
		assert_true(until(is_idle, NULL));
		w->lost_ms = NEVER_MS;
		w->lanes[RBD_LANE_HYDRATE].own = w->lanes[RBD_LANE_HYDRATE].most = 1;
		hang(calls[i]);
		s->ops->hydrate(&hydrations[0].h);
		wait_until_hang(1);
		assert_false(hydration_hangs(&hydrations[0]));
		w->lost_ms = 50;
		assert_true(until(hydration_hangs, &hydrations[0]));
		hang_no_more();
		s->ops->hydrate(&hydrations[1].h);
		if (calls[i] == CALL_STRIPE) {
			assert_true(until(one_is_queued, w));
			for (unsigned turns = 0; turns < 20; turns++)
				assert_true(reactor_turn(reactor, 10) >= 0);
			assert_false(hydration_hangs(&hydrations[1]));
			assert_false(hydrations[1].wait.done);
			w->lanes[RBD_LANE_HYDRATE].most = most;
		}
		assert_int_equal(wait_for(&hydrations[1].wait), 0);
		assert_true(hydration_hangs(&hydrations[0]));
		w->lost_ms = NEVER_MS;
		let_go();
		assert_int_equal(wait_for(&hydrations[0].wait), 0);
		w->lanes[RBD_LANE_HYDRATE].own = own;
		w->lanes[RBD_LANE_HYDRATE].most = most;
		for (unsigned j = 0; j < 2; j++) {
			delete_disk(copies[j]);
			delete_disk(originals[j]);
		}
		assert_left(0);
	}
}

static bool trash_is_empty(const void *unused)
{
	char command[300];

	(void)unused;
	snprintf(command, sizeof(command), "rbd -p %s trash ls --all", options().ceph_pool);
	return output_lines(command) == 0;
}

/* Of the only image there. */
static const char *trash_id(void)
{
	static char id[RBD_ID_BYTES];
	rbd_trash_image_info_t entries[1];
	size_t count = 1;

	assert_int_equal(rbd_trash_list(rbd_store_of(s)->cluster.io, entries, &count), 1);
	snprintf(id, sizeof(id), "%s", entries[0].id);
	rbd_trash_list_cleanup(entries, count);
	return id;
}

static void into_the_trash(const char *image)
{
	char command[300];

	snprintf(command, sizeof(command), "rbd -p %s create --size 4M %s && rbd -p %s trash mv %s",
		options().ceph_pool, image, options().ceph_pool, image);
	assert_int_equal(system(command), 0);
}

static bool is_parked(const void *todo)
{
	return ((const struct rbd_todo *)todo)->parked;
}

/* In the trash, it waits for another deletion, which ends after the worker has found that, and before the reactor knows. */
TEST(an_image_for_which_what_it_waits_ends_while_it_is_looked_at_goes)
{
	const struct timespec while_it_looks = {.tv_sec = 1};
	struct rbd_store *store = rbd_store_of(s);
	struct rbd_removal removal;

	into_the_trash("hang.lun-99");
	rbd_removal_begin(store, &removal, "");
	assert_true(rbd_reclaim(store, "hang.lun-99", true, NULL, 0));
	nanosleep(&while_it_looks, NULL);
	rbd_removal_end(store, &removal);
	rbd_reclaim_parked(store);
	nanosleep(&while_it_looks, NULL);
	assert_true(until(trash_is_empty, NULL));
}

/* What lies in the trash is deleted meanwhile, but for what librbd may take from there by itself when that deletion goes on. */
TEST(a_deletion_that_hangs_keeps_up_only_what_may_go_with_it)
{
	struct rbd_store *store = rbd_store_of(s);
	struct store_disk *original, *copy, *copy_of_it;
	struct rbd_removal removal;
	struct rbd_tie tie = {0};
	struct rbd_todo *todo;
	struct rbd_header h;

	make_disks(&original, 1);
	copy = copy_of(original);
	copy_of_it = copy_of(copy);
	assert_int_equal(rbd_image_id(store, rbd_disk_of(copy)->image->name, tie.id), 0);
	assert_int_equal(rbd_header_read(store->cluster.io, tie.id, RBD_HEAD, &h), 0);
	tie.parent = h.parent;
	assert_false(rbd_removal_may_take(store, h.parent.id));
	hang_some(CALL_REMOVE, 1);
	delete_disk(copy_of_it);
	wait_until_hang(1);
	assert_true(rbd_removal_may_take(store, tie.id));
	assert_true(rbd_removal_may_take(store, h.parent.id));
	into_the_trash("hang.lun-99");
	assert_true(rbd_reclaim(store, "hang.lun-99", true, NULL, 0));
	assert_true(until(trash_is_empty, NULL));
	/* one of which no copy is known, and which a deletion may take */
	rbd_removal_of_tie(store, &removal, &tie.parent);
	let_go();
	delete_disk(copy);
	assert_left(1);
	into_the_trash("hang.lun-98");
	snprintf(removal.ids[0], RBD_ID_BYTES, "%s", trash_id());
	assert_true(rbd_reclaim(store, "hang.lun-98", true, NULL, 0));
	todo = container_of(store->todos.head.prev, struct rbd_todo, link);
	assert_true(until(is_parked, todo));
	assert_false(trash_is_empty(NULL));
	rbd_removal_end(store, &removal);
	rbd_reclaim_parked(store);
	assert_true(until(trash_is_empty, NULL));
	delete_disk(original);
	assert_left(0);
}

#define t(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(a_cut_that_is_given_up_lets_the_next_one_go),
		t(a_cut_waits_for_headers_with_open_gates),
		t(snapshots_that_were_made_go_at_once),
		t(many_that_hang_leave_workers_for_the_next),
		t(a_transaction_whose_images_hang_is_passed_by_others),
		t(what_is_being_written_is_not_given_up),
		t(a_disk_that_hangs_is_given_up_in_the_end),
		t(disks_that_are_ready_are_only_written_down_by_the_commit),
		t(what_was_prepared_may_be_dropped),
		t(what_cannot_be_made_ready_is_freed),
		t(what_a_disk_becomes_is_made_ready_before_the_commit),
		t(a_disk_with_another_image_than_was_enlarged_is_enlarged_again),
		t(jobs_that_hang_leave_their_lane_to_others),
		t(labels_of_an_image_come_in_their_order),
		t(a_hydration_that_hangs_is_told_from_one_that_waits),
		t(an_image_for_which_what_it_waits_ends_while_it_is_looked_at_goes),
		t(a_deletion_that_hangs_keeps_up_only_what_may_go_with_it),
	};
	struct reactor_options o = {.workers = 1};

	if (reactor_create(&reactor, &o))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
