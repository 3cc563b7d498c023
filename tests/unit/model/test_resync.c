/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resync jobs: what may be resynced from what, what the target answers meanwhile, cancelling at each step, what
 * its hosts hear, restarts and failures.
 */
#include <stdio.h>
#include "tests/unit/model/harness.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"
#define IQN_B "iqn.1991-05.com.microsoft:b"

/* Starts; the job's number, or a negative errno. */
static int start(struct harness *h, const char *owner, struct lun *shadow, struct lun *target)
{
	struct waiter w;

	lun_resync_start(h->array, owner, shadow, target, 0, waiter_init(&w));
	int err = waiter_wait(h, &w);
	if (!err)
		assert_true(w.call.job > 0);
	return err ? err : (int)w.call.job;
}

static struct lun_resync_view view(struct harness *h, int job)
{
	struct lun_resync_view v;

	assert_int_equal(lun_resync_view_of(h->array, NULL, (uint32_t)job, &v), 0);
	return v;
}

static enum lun_resync_state finish(struct harness *h, int job)
{
	for (int i = 0; view(h, job).state == LUN_RESYNC_RUNS && i < 10000; i++)
		harness_advance(h, 1);
	return view(h, job).state;
}

/* LUN "a" with 0x11 in block 3, its shadow LUN, then 0x22. */
static struct lun *make_shadow(struct harness *h)
{
	struct lun *a = make_lun(h, "a", 2 * MIB);
	uint8_t ids[1][UP_ID_BYTES];

	assert_int_equal(do_write(h, a, 3, 0x11), 0);
	make_armed(h, set_id(1), IQN_A, &a, 1, ids);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	assert_int_equal(do_write(h, a, 3, 0x22), 0);
	/* the first write to it is noted in the catalogue: that is not what these tests are about */
	assert_int_equal(do_write(h, lun_find(h->array, ids[0]), 7, 0x77), 0);
	return lun_find(h->array, ids[0]);
}

TEST(the_original_gets_its_data_back)
{
	struct harness *h = *state;
	struct lun *shadow = make_shadow(h), *a = lun_find_name(h->array, "a");
	struct host *host = make_host(h, "a", IQN_A), *other = make_host(h, "b", IQN_B);
	struct watcher one, two;
	uint8_t id[UP_ID_BYTES];
	int job;

	memcpy(id, shadow->id, sizeof(id));
	assert_int_equal(do_map(h, host, a, 1), 1);
	assert_int_equal(do_map(h, other, shadow, 1), 1);
	assert_int_equal(watcher_attach(h, &one, IQN_A, true), 0);
	assert_int_equal(watcher_attach(h, &two, IQN_B, true), 0);
	/* what the shadow LUN holds now counts, not what it held at its cut */
	assert_int_equal(do_write(h, shadow, 5, 0x55), 0);
	job = start(h, IQN_A, shadow, a);
	assert_int_equal(finish(h, job), LUN_RESYNC_DONE);
	assert_int_equal(view(h, job).percent, 100);
	assert_int_equal(one.replaced, 1);
	assert_int_equal(one.resized, 0);
	assert_int_equal(two.replaced, 0);
	assert_int_equal(do_read(h, a, 3), 0x11);
	assert_int_equal(do_read(h, a, 5), 0x55);
	/* each goes its own way */
	assert_int_equal(do_write(h, a, 3, 0x33), 0);
	assert_int_equal(do_write(h, shadow, 5, 0x66), 0);
	assert_int_equal(do_read(h, shadow, 3), 0x11);
	assert_int_equal(do_read(h, a, 5), 0x55);
	/* twice from one source */
	assert_int_equal(finish(h, start(h, IQN_A, shadow, a)), LUN_RESYNC_DONE);
	assert_int_equal(do_read(h, a, 3), 0x11);
	assert_int_equal(do_read(h, a, 5), 0x66);
	assert_int_equal(one.replaced, 2);
	watcher_detach(h, &one);
	watcher_detach(h, &two);
	harness_reopen(h);
	a = lun_find_name(h->array, "a");
	assert_int_equal(do_read(h, a, 3), 0x11);
	assert_int_equal(do_read(h, a, 5), 0x66);
	assert_int_equal(map_number(host_find(h->array, "a"), a), 1);
	assert_int_equal(do_read(h, lun_find(h->array, id), 3), 0x11);
	assert_int_equal(set_state(h, set_id(1)), UP_SET_KEPT);
}

TEST(a_larger_lun_takes_the_size)
{
	struct harness *h = *state;
	struct lun *shadow = make_shadow(h), *b = make_lun(h, "b", 4 * MIB), *small = make_lun(h, "s", MIB);
	struct host *host = make_host(h, "a", IQN_A);
	struct watcher one;

	assert_int_equal(do_map(h, host, b, 1), 1);
	assert_int_equal(watcher_attach(h, &one, IQN_A, true), 0);
	assert_int_equal(do_write(h, b, 3, 0x77), 0);
	assert_int_equal(do_write(h, b, 6000, 0x77), 0);
	assert_int_equal(start(h, "", shadow, small), -EINVAL);
	assert_int_equal(finish(h, start(h, "", shadow, b)), LUN_RESYNC_DONE);
	assert_int_equal(b->size_bytes, 2 * MIB);
	assert_int_equal(one.replaced, 1);
	assert_int_equal(one.resized, 1);
	assert_int_equal(do_read(h, b, 3), 0x11);
	assert_int_equal(do_read(h, b, 6000), -ERANGE);
	watcher_detach(h, &one);
	harness_reopen(h);
	b = lun_find_name(h->array, "b");
	assert_int_equal(b->size_bytes, 2 * MIB);
	assert_int_equal(do_read(h, b, 3), 0x11);
}

TEST(what_cannot_be_resynced_is_refused)
{
	struct harness *h = *state;
	struct lun *shadow = make_shadow(h), *a = lun_find_name(h->array, "a"),
		   *b = make_lun(h, "b", 2 * MIB);
	uint8_t ids[1][UP_ID_BYTES];

	assert_int_equal(start(h, "", a, b), -EINVAL);
	assert_int_equal(start(h, "", shadow, shadow), -EINVAL);
	make_armed(h, set_id(2), IQN_A, &b, 1, ids);
	assert_int_equal(start(h, "", shadow, b), -EBUSY); /* a member of an unkept set */
	assert_int_equal(do_commit(h, set_id(2), IQN_A, 0), 0);
	assert_int_equal(start(h, "", lun_find(h->array, ids[0]), a), -EBUSY); /* of a set that is not kept */
	assert_int_equal(do_keep(h, set_id(2), IQN_A), 0);
	b->sanitizing = true; /* its end would be told, and half of the data be there again */
	assert_int_equal(start(h, "", shadow, b), -EBUSY);
	b->sanitizing = false;
	assert_int_equal(finish(h, start(h, "", shadow, b)), LUN_RESYNC_DONE);
	lun_hold(b);
	assert_int_equal(do_delete(h, b), 0);
	assert_int_equal(start(h, "", shadow, b), -ENODEV);
	lun_release(b);
	struct lun_resync_view v;
	assert_int_equal(lun_resync_view_of(h->array, NULL, 1, &v), -ENOENT);
	assert_int_equal(lun_resync_cancel(h->array, NULL, 1, NULL), -ENOENT);
}

TEST(jobs_belong_to_their_owner)
{
	struct harness *h = *state;
	struct lun *shadow = make_shadow(h), *a = lun_find_name(h->array, "a");
	struct lun_resync_view v;
	int job = start(h, IQN_A, shadow, a), second;

	assert_int_equal(finish(h, job), LUN_RESYNC_DONE);
	assert_int_equal(lun_resync_view_of(h->array, IQN_A, (uint32_t)job, &v), 0);
	assert_int_equal(lun_resync_view_of(h->array, "IQN.1991-05.com.microsoft:A", (uint32_t)job, &v),
		-ENOENT); /* a host's name, to the letter */
	assert_string_equal(v.owner, IQN_A);
	assert_memory_equal(v.shadow_id, shadow->id, UP_ID_BYTES);
	assert_memory_equal(v.target_id, a->id, UP_ID_BYTES);
	assert_int_equal(lun_resync_view_of(h->array, IQN_B, (uint32_t)job, &v), -ENOENT);
	assert_int_equal(lun_resync_cancel(h->array, IQN_B, (uint32_t)job, NULL), -ENOENT);
	second = start(h, "", shadow, a);
	assert_true(second > job);
	assert_int_equal(finish(h, second), LUN_RESYNC_DONE);
	assert_int_equal(lun_resync_next(h->array, 0), job);
	assert_int_equal(lun_resync_next(h->array, (uint32_t)job), second);
	assert_int_equal(lun_resync_next(h->array, (uint32_t)second), 0);
	/* what has ended stays as it ended */
	assert_int_equal(lun_resync_cancel(h->array, "", (uint32_t)second, NULL), 0);
	assert_int_equal(view(h, second).state, LUN_RESYNC_DONE);
}

#ifndef HARNESS_POOL

TEST(ended_jobs_are_forgotten_after_a_while)
{
	struct harness *h = *state;
	struct lun *shadow = make_shadow(h), *a = lun_find_name(h->array, "a");
	int first = start(h, "", shadow, a), last = first;
	struct lun_resync_view v;
	unsigned known = 0;

	for (unsigned i = 0; i < 300; i++)
		last = start(h, "", shadow, a);
	for (uint32_t j = lun_resync_next(h->array, 0); j; j = lun_resync_next(h->array, j))
		known++;
	assert_int_equal(known, 256);
	assert_int_equal(lun_resync_view_of(h->array, NULL, (uint32_t)first, &v), -ENOENT);
	assert_int_equal(view(h, last).state, LUN_RESYNC_DONE);
	/* the numbers of before a restart are unknown after it */
	harness_reopen(h);
	assert_int_equal(lun_resync_view_of(h->array, NULL, (uint32_t)last, &v), -ENOENT);
}

struct slow_write {
	struct lun_io io;
	struct iovec iov;
	uint8_t data[512];
	unsigned done;
	int err;
};

static void slow_done(struct lun_io *io, int err)
{
	struct slow_write *w = container_of(io, struct slow_write, io);

	w->done++;
	w->err = err;
}

static void slow_submit(struct slow_write *w, struct lun *lun, enum store_io_op op)
{
	memset(w, 0, sizeof(*w));
	memset(w->data, 0x44, sizeof(w->data));
	w->iov = (struct iovec){.iov_base = w->data, .iov_len = sizeof(w->data)};
	w->io.io.op = op;
	w->io.io.offset = 3 * 512;
	w->io.io.len = op == STORE_FLUSH ? 0 : 512;
	w->io.io.iov = &w->iov;
	w->io.io.iov_count = 1;
	w->io.lun = lun;
	w->io.done = slow_done;
	lun_submit(&w->io);
}

/* The target waits for its I/O, then for the cut, then for the store; it refuses all I/O meanwhile, and the
 * shadow LUN is served. */
TEST(the_target_refuses_io_meanwhile)
{
	static const enum store_io_op ops[] = {STORE_READ, STORE_WRITE, STORE_FLUSH, STORE_UNMAP};
	struct harness *h = *state;
	struct lun *shadow = make_shadow(h), *a = lun_find_name(h->array, "a"),
		   *b = make_lun(h, "b", 2 * MIB);
	struct slow_write slow, other;
	uint8_t id[UP_ID_BYTES];
	int job;

	memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_MANUAL, 0);
	slow_submit(&slow, a, STORE_WRITE);
	job = start(h, IQN_A, shadow, a);
	for (unsigned step = 0; step < 4; step++) {
		assert_int_equal(view(h, job).state, LUN_RESYNC_RUNS);
		assert_true(a->resyncing);
		for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
			slow_submit(&other, a, ops[i]);
			assert_int_equal(other.done, 1);
			assert_int_equal(other.err, -EBUSY);
		}
		/* the same pair again is the same job; another pair waits its turn */
		assert_int_equal(start(h, IQN_A, shadow, a), job);
		assert_int_equal(start(h, IQN_B, shadow, a), -EBUSY);
		assert_int_equal(set_begin(h->array, set_id(9), "", NULL), 0);
		assert_int_equal(set_add(h->array, set_id(9), "", a, UP_COPY_DEFAULT, id, NULL), -EBUSY);
		slow_submit(&other, shadow, STORE_READ);
		assert_int_equal(other.done, 0);
		assert_true(memstore_complete_kind(h->memory, MEMSTORE_READ));
		assert_int_equal(other.err, 0);
		if (step == 0)
			assert_true(memstore_complete_kind(h->memory, MEMSTORE_WRITE));
		else if (step < 3)
			assert_true(memstore_complete_kind(
				h->memory, step == 1 ? MEMSTORE_CUT_READY : MEMSTORE_CUT));
	}
	assert_int_equal(slow.done, 1);
	assert_int_equal(slow.err, 0);
	slow_submit(&other, shadow, STORE_WRITE); /* after the cut: the target does not get it */
	assert_true(memstore_complete_kind(h->memory, MEMSTORE_WRITE));
	assert_int_equal(lun_resync_cancel(h->array, IQN_A, (uint32_t)job, NULL), 0); /* too late */
	assert_int_equal(view(h, job).state, LUN_RESYNC_RUNS);
	assert_true(memstore_complete_kind(h->memory, MEMSTORE_CUT_COMMIT));
	assert_int_equal(view(h, job).state, LUN_RESYNC_DONE);
	assert_false(a->resyncing);
	memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
	assert_int_equal(do_read(h, a, 3), 0x11);
	assert_int_equal(do_read(h, shadow, 3), 0x44);
	assert_int_equal(finish(h, start(h, "", shadow, b)), LUN_RESYNC_DONE);
	assert_int_equal(do_read(h, b, 3), 0x44);
}

/* A write that waits at the target's closed gate when the resync begins is refused, and never lands in the new
 * data. */
TEST(a_queued_write_is_refused)
{
	struct harness *h = *state;
	struct lun *shadow = make_shadow(h), *a = lun_find_name(h->array, "a");
	struct slow_write queued;
	struct waiter image;
	int job;

	memstore_timing(h->memory, MEMSTORE_CUT, MEMSTORE_MANUAL, 0);
	lun_image_take(a, waiter_init(&image));
	slow_submit(&queued, a, STORE_WRITE);
	assert_int_equal(queued.done, 0);
	job = start(h, "", shadow, a);
	assert_true(a->resyncing);
	assert_true(memstore_complete_kind(h->memory, MEMSTORE_CUT));
	assert_int_equal(queued.done, 1);
	assert_int_equal(queued.err, -EBUSY);
	assert_int_equal(image.done, 1);
	assert_int_equal(image.call.fault.err, 0);
	memstore_timing(h->memory, MEMSTORE_CUT, MEMSTORE_INLINE, 0);
	memstore_complete_all(h->memory);
	assert_int_equal(finish(h, job), LUN_RESYNC_DONE);
	assert_int_equal(do_read(h, a, 3), 0x11);
	lun_image_release(image.call.image);
}

/* Its image, from which the target is made, has the size of before. */
TEST(a_copy_that_grows_while_it_is_mended_is_refused)
{
	struct harness *h = *state;
	struct lun *shadow = make_shadow(h), *a = lun_find_name(h->array, "a");
	struct waiter job, resize;

	lun_resize(a, 2 * a->size_bytes, waiter_init(&resize));
	assert_int_equal(waiter_wait(h, &resize), 0);
	memstore_timing(h->memory, MEMSTORE_READ, MEMSTORE_MANUAL, 0);
	lun_resync_start(h->array, "", shadow, a, LUN_MEND_MARKS, waiter_init(&job));
	lun_resize(shadow, a->size_bytes, waiter_init(&resize));
	assert_int_equal(waiter_wait(h, &resize), 0);
	memstore_timing(h->memory, MEMSTORE_READ, MEMSTORE_INLINE, 0);
	memstore_complete_all(h->memory);
	assert_int_equal(finish(h, (int)job.call.job), LUN_RESYNC_FAILED);
	assert_int_equal(view(h, (int)job.call.job).fault.err, -EBUSY);
	assert_int_equal(do_read(h, a, a->size_bytes / 512 - 1), 0);
}

/* step 0: in the row of changes; 1: the target's I/O; 2: its turn at the cut; 3: the store gets ready; 4: the cut. */
static void cancelled_at(struct harness *h, unsigned step)
{
	struct lun *shadow = make_shadow(h), *a = lun_find_name(h->array, "a"), *b = make_lun(h, "b", MIB);
	struct slow_write slow, queued;
	struct waiter rename, commit;
	char *before, *after;
	int job;

	memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_MANUAL, 0);
	if (step == 0)
		lun_rename(b, "c", waiter_init(&rename));
	if (step == 1)
		slow_submit(&slow, a, STORE_READ);
	if (step == 2) {
		make_armed(h, set_id(2), "", &b, 1, NULL);
		set_commit(h->array, set_id(2), "", 0, waiter_init(&commit));
	}
	job = start(h, "", shadow, a);
	assert_int_equal(a->resyncing, step > 0);
	if (step == 4)
		assert_true(memstore_complete_kind(h->memory, MEMSTORE_CUT_READY));
	if (step >= 3) {
		slow_submit(&queued, shadow, STORE_WRITE); /* 4: meets a closed gate */
		assert_int_equal(memstore_pending_kind(h->memory, MEMSTORE_WRITE), step == 3);
	}
	assert_int_equal(lun_resync_cancel(h->array, "", (uint32_t)job, NULL), 0);
	assert_int_equal(view(h, job).state, LUN_RESYNC_CANCELLED);
	assert_false(a->resyncing);
	if (step >= 3) {
		assert_int_equal(memstore_pending_kind(h->memory, MEMSTORE_WRITE), 1);
		assert_int_equal(do_delete(h, shadow), -EBUSY); /* the store has it in its cut still */
	}
	for (unsigned i = 0; i < 50; i++) {
		memstore_complete_all(h->memory);
		harness_advance(h, 1);
	}
	memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
	assert_int_equal(view(h, job).state, LUN_RESYNC_CANCELLED);
	assert_int_equal(lun_resync_cancel(h->array, "", (uint32_t)job, NULL), 0);
	assert_int_equal(do_read(h, a, 3), 0x22);
	before = harness_dump(h);
	harness_reopen(h);
	after = harness_dump(h);
	assert_string_equal(before, after);
	free(before);
	free(after);
	a = lun_find_name(h->array, "a");
	assert_int_equal(do_read(h, a, 3), 0x22);
	for (struct lun *l = lun_next(h->array, NULL); l; l = lun_next(h->array, l))
		if (l->kind == LUN_SHADOW && !memcmp(l->set_id, set_id(1), UP_ID_BYTES))
			shadow = l;
	assert_int_equal(finish(h, start(h, "", lun_find_name(h->array, shadow->name), a)), LUN_RESYNC_DONE);
}

TEST(a_cancelled_job_changes_nothing)
{
	for (unsigned step = 0; step < 5; step++) {
		assert_int_equal(harness_setup(state), 0);
		cancelled_at(*state, step);
		harness_teardown(state);
	}
}

/* Whatever call of the store fails: the job fails and says why, the target has its own data, and the next job
 * succeeds. */
TEST(any_call_fails_once)
{
	for (unsigned n = 1;; n++) {
		struct harness *h;
		struct lun *shadow, *a;
		struct lun_resync_view v;
		int job;

		assert_int_equal(harness_setup(state), 0);
		h = *state;
		shadow = make_shadow(h);
		a = lun_find_name(h->array, "a");
		memstore_fail(h->memory, n, n % 2 ? -ENOSPC : -EIO, false);
		job = start(h, "", shadow, a);
		v = view(h, job);
		bool failed = memstore_failed(h->memory);
		memstore_fail(h->memory, 0, 0, false);
		assert_int_equal(v.state, failed ? LUN_RESYNC_FAILED : LUN_RESYNC_DONE);
		if (failed)
			assert_true(v.fault.err < 0 && strlen(v.fault.text) > 10);
		assert_false(a->resyncing);
		assert_int_equal(do_read(h, a, 3), failed ? 0x22 : 0x11);
		harness_reopen(h);
		a = lun_find_name(h->array, "a");
		assert_int_equal(do_read(h, a, 3), failed ? 0x22 : 0x11);
		shadow = lun_next(h->array, a);
		assert_int_equal(finish(h, start(h, "", shadow, a)), LUN_RESYNC_DONE);
		assert_int_equal(do_set_delete(h, set_id(1)), 0);
		assert_int_equal(do_delete(h, a), 0);
		assert_int_equal(memstore_disks(h->memory), 0);
		harness_teardown(state);
		if (!failed) {
			assert_true(n > 4);
			break;
		}
	}
}

/* The power goes, or the array is closed, with the job at each step: old data or new, never something else. */
TEST(the_power_goes_at_any_step)
{
	for (unsigned n = 0; n < 20; n++) {
		struct harness *h;
		struct lun *shadow, *a;
		struct slow_write slow;
		int job, value;

		assert_int_equal(harness_setup(state), 0);
		h = *state;
		shadow = make_shadow(h);
		a = lun_find_name(h->array, "a");
		assert_int_equal(do_flush(h, a), 0);
		memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_MANUAL, 0);
		slow_submit(&slow, a, STORE_READ);
		job = start(h, "", shadow, a);
		for (unsigned i = 0; i < n % 5; i++)
			if (memstore_pending(h->memory))
				memstore_complete(h->memory, 0);
		enum lun_resync_state now = view(h, job).state;
		assert_int_equal(now, n % 5 == 4 ? LUN_RESYNC_DONE : LUN_RESYNC_RUNS);
		if (n < 10) {
			memstore_crash(h->memory, n < 5 ? 0 : n);
			array_close(h->array);
			memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
			harness_open(h);
		} else {
			memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
			if (slow.done)
				harness_reopen(h);
			else
				memstore_complete_all(h->memory);
		}
		a = lun_find_name(h->array, "a");
		value = do_read(h, a, 3);
		assert_true(value == 0x11 || value == 0x22);
		if (now == LUN_RESYNC_DONE)
			assert_int_equal(value, 0x11);
		assert_int_equal(do_set_delete(h, set_id(1)), 0);
		assert_int_equal(do_delete(h, a), 0);
		assert_int_equal(memstore_disks(h->memory), 0);
		harness_teardown(state);
	}
}

#endif

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(the_original_gets_its_data_back),
		t(a_larger_lun_takes_the_size),
		t(what_cannot_be_resynced_is_refused),
		t(jobs_belong_to_their_owner),
#ifndef HARNESS_POOL
		t(ended_jobs_are_forgotten_after_a_while),
		t(the_target_refuses_io_meanwhile),
		t(a_queued_write_is_refused),
		t(a_copy_that_grows_while_it_is_mended_is_refused),
		cmocka_unit_test(a_cancelled_job_changes_nothing),
		cmocka_unit_test(any_call_fails_once),
		cmocka_unit_test(the_power_goes_at_any_step),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
