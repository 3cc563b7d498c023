/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cut that hangs, as where a cluster's OSD does not answer: who waits for it is told in time, nobody else waits, and when the store
 * has done with it at last nothing of it is there.
 */
#include "tests/unit/model/harness.h"

#define PATIENCE_MS 120000 /* with what has no deadline */

/* A case for each of the two steps that a cut may hang in, and each way of the case's own; every time with a new array. */
static void in_each_step(
	void **state, void (*run)(struct harness *h, enum memstore_kind step, unsigned way), unsigned ways)
{
	static const enum memstore_kind steps[] = {MEMSTORE_CUT, MEMSTORE_CUT_COMMIT};

	for (unsigned i = 0; i < ways * sizeof(steps) / sizeof(steps[0]); i++) {
		struct harness *h;

		assert_int_equal(harness_setup(state), 0);
		h = *state;
		memstore_let_cuts_hang(h->memory);
		harness_reopen(h);
		run(h, steps[i / ways], i % ways);
		harness_teardown(state);
	}
}

static void hangs_from_now(struct harness *h, enum memstore_kind step)
{
	memstore_timing(h->memory, step, MEMSTORE_MANUAL, 0);
}

static void answers_from_now(struct harness *h)
{
	memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
}

static void assert_left(struct harness *h, unsigned luns, unsigned sets)
{
	memstore_complete_all(h->memory);
	assert_int_equal(memstore_disks(h->memory), luns);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_LUN), luns);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_SET), sets);
	harness_reopen(h);
	assert_int_equal(memstore_disks(h->memory), luns);
}

/* The first set is vetoed by its deadline, and the second, which came right behind it and has the same one, is not. */
static void next_one(struct harness *h, enum memstore_kind step, unsigned way)
{
	struct lun *a = make_lun(h, "a", MIB), *b = make_lun(h, "b", MIB);
	struct waiter hung, next;

	(void)way;
	assert_int_equal(do_write(h, a, 1, 0x11), 0);
	make_armed(h, set_id(1), "", &a, 1, NULL);
	make_armed(h, set_id(2), "", &b, 1, NULL);
	hangs_from_now(h, step);
	set_commit(h->array, set_id(1), "", 1000, waiter_init(&hung));
	set_commit(h->array, set_id(2), "", 1500, waiter_init(&next));
	answers_from_now(h);
	harness_advance(h, 990);
	assert_int_equal(hung.done + next.done, 0);
	harness_advance(h, 20);
	assert_int_equal(hung.done, 1);
	assert_int_equal(hung.call.fault.err, -ETIME);
	assert_non_null(strstr(hung.call.fault.text, "no answer for LUN a;"));
	assert_int_equal(next.done, 1);
	assert_int_equal(next.call.fault.err, 0);
	assert_int_equal(memstore_pending_kind(h->memory, MEMSTORE_CUT), 1);
	assert_int_equal(set_state(h, set_id(1)), UP_SET_ABORTED);
	assert_int_equal(do_keep(h, set_id(2), ""), 0);
	/* Its LUN goes on, and may be copied again, changed and deleted, before the store has done with the first copy. */
	assert_int_equal(do_write(h, a, 1, 0x22), 0);
	make_armed(h, set_id(3), "", &a, 1, NULL);
	assert_int_equal(do_commit(h, set_id(3), "", 1000), 0);
	assert_int_equal(do_abort(h, set_id(3), ""), 0);
	assert_int_equal(do_abort(h, set_id(1), ""), 0);
	assert_int_equal(do_delete(h, a), 0);
	assert_int_equal(memstore_pending_kind(h->memory, MEMSTORE_CUT), 1);
	assert_left(h, 2, 1);
}

TEST(the_next_set_is_cut_when_one_hangs)
{
	in_each_step(state, next_one, 1);
}

/* One that is aborted while it hangs, by its host or for its lease, is over at once; so is another of the same LUN. */
static void aborted(struct harness *h, enum memstore_kind step, unsigned way)
{
	struct lun *a = make_lun(h, "a", MIB);
	struct waiter hung;

	(void)way;
	for (unsigned i = 0; i < 2; i++) {
		make_armed(h, set_id(i), "", &a, 1, NULL);
		hangs_from_now(h, step);
		set_commit(h->array, set_id(i), "", 1000, waiter_init(&hung));
		answers_from_now(h);
		assert_int_equal(do_abort(h, set_id(i), ""), 0);
		assert_int_equal(hung.done, 1);
		assert_int_equal(hung.call.fault.err, -ECANCELED);
		assert_int_equal(memstore_pending_kind(h->memory, MEMSTORE_CUT), i + 1);
	}
	assert_int_equal(do_delete(h, a), 0);
	assert_left(h, 0, 0);
}

TEST(an_aborted_set_does_not_wait_for_the_store)
{
	in_each_step(state, aborted, 1);
}

/* The power goes, or the array is closed, while one hangs that was given up, and one that was not. */
static void ends(struct harness *h, enum memstore_kind step, unsigned crash)
{
	struct lun *a = make_lun(h, "a", MIB);
	struct waiter w;
	/* What was to be written when the array was closed is written by its store. */
	bool lost = crash || step == MEMSTORE_CUT;

	make_armed(h, set_id(1), "", &a, 1, NULL);
	hangs_from_now(h, step);
	set_commit(h->array, set_id(1), "", 1000, waiter_init(&w));
	harness_advance(h, 1010);
	assert_int_equal(w.call.fault.err, -ETIME);
	make_armed(h, set_id(2), "", &a, 1, NULL);
	set_commit(h->array, set_id(2), "", 1000, waiter_init(&w));
	assert_int_equal(w.done, 0);
	assert_int_equal(memstore_pending_kind(h->memory, MEMSTORE_CUT) +
				 memstore_pending_kind(h->memory, MEMSTORE_CUT_COMMIT),
		2);
	if (crash) {
		memstore_crash(h->memory, 0);
		array_close(h->array);
		harness_open(h);
	} else {
		harness_reopen(h);
	}
	answers_from_now(h);
	assert_left(h, lost ? 1 : 2, lost ? 0 : 1);
}

TEST(the_array_ends_while_cuts_hang)
{
	in_each_step(state, ends, 2);
}

static struct lun *make_copy(struct harness *h, struct lun *of)
{
	uint8_t id[UP_ID_BYTES];

	make_armed(h, set_id(9), "", &of, 1, &id);
	assert_int_equal(do_commit(h, set_id(9), "", 1000), 0);
	assert_int_equal(do_keep(h, set_id(9), ""), 0);
	return lun_find(h->array, id);
}

static enum lun_resync_state resync_state(struct harness *h, uint32_t job)
{
	struct lun_resync_view v;

	assert_int_equal(lun_resync_view_of(h->array, "", job, &v), 0);
	return v.state;
}

/* How a resync that hangs ends: by itself, or cancelled. Sets do not wait for it; what changes the catalogue does, so it has an end. */
static void resync(struct harness *h, enum memstore_kind step, unsigned cancelled)
{
	struct lun *a = make_lun(h, "a", MIB), *b = make_lun(h, "b", MIB), *copy;
	struct waiter job, rename;

	assert_int_equal(do_write(h, a, 1, 0x11), 0);
	copy = make_copy(h, a);
	assert_int_equal(do_write(h, a, 1, 0x22), 0);
	hangs_from_now(h, step);
	lun_resync_start(h->array, "", copy, a, 0, waiter_init(&job));
	answers_from_now(h);
	assert_int_equal(job.call.fault.err, 0);
	lun_rename(b, "c", waiter_init(&rename));
	make_armed(h, set_id(1), "", &b, 1, NULL);
	assert_int_equal(do_commit(h, set_id(1), "", 1000), 0);
	if (cancelled)
		assert_int_equal(lun_resync_cancel(h->array, "", job.call.job, NULL), 0);
	else
		harness_advance(h, PATIENCE_MS - 100);
	assert_int_equal(resync_state(h, job.call.job), cancelled ? LUN_RESYNC_CANCELLED : LUN_RESYNC_RUNS);
	assert_int_equal(rename.done, cancelled);
	harness_advance(h, 200);
	assert_int_equal(resync_state(h, job.call.job), cancelled ? LUN_RESYNC_CANCELLED : LUN_RESYNC_FAILED);
	assert_int_equal(rename.done, 1);
	assert_int_equal(rename.call.fault.err, 0);
	assert_int_equal(memstore_pending_kind(h->memory, MEMSTORE_CUT), 1);
	assert_int_equal(do_write(h, copy, 2, 0x33), 0);
	assert_int_equal(do_read(h, a, 1), 0x22);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	lun_resync_start(h->array, "", copy, a, 0, waiter_init(&job));
	assert_int_equal(resync_state(h, job.call.job), LUN_RESYNC_DONE);
	assert_int_equal(do_read(h, a, 1), 0x11);
	assert_int_equal(do_delete(h, copy), 0);
	assert_left(h, 3, 1);
}

TEST(a_resync_that_hangs_keeps_up_no_set_and_fails_in_the_end)
{
	in_each_step(state, resync, 2);
}

static void image_taken(struct harness *h, enum memstore_kind step, unsigned way)
{
	struct lun *a = make_lun(h, "a", MIB);
	struct waiter image;

	(void)way;
	hangs_from_now(h, step);
	lun_image_take(a, waiter_init(&image));
	answers_from_now(h);
	make_armed(h, set_id(1), "", &a, 1, NULL);
	assert_int_equal(do_commit(h, set_id(1), "", 1000), 0);
	assert_int_equal(do_abort(h, set_id(1), ""), 0);
	harness_advance(h, PATIENCE_MS - 100);
	assert_int_equal(image.done, 0);
	harness_advance(h, 200);
	assert_int_equal(image.done, 1);
	assert_int_equal(image.call.fault.err, -ETIME);
	assert_null(image.call.image);
	assert_int_equal(do_write(h, a, 1, 0x11), 0);
	assert_left(h, 1, 0);
}

TEST(an_image_that_hangs_keeps_up_no_set_and_fails_in_the_end)
{
	in_each_step(state, image_taken, 1);
}

/* Of a set of several: for which of its LUNs it still waits. */
static void is_waited_for(struct harness *h, enum memstore_kind step, unsigned way)
{
	struct lun *luns[] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB), make_lun(h, "c", MIB)};
	struct waiter w;

	(void)way;
	make_armed(h, set_id(1), "", luns, 3, NULL);
	hangs_from_now(h, step);
	set_commit(h->array, set_id(1), "", 1000, waiter_init(&w));
	answers_from_now(h);
	harness_advance(h, 1010);
	assert_int_equal(w.call.fault.err, -ETIME);
	assert_non_null(strstr(w.call.fault.text, "no answer for LUN "));
	assert_non_null(strstr(w.call.fault.text, " and 2 more;"));
	assert_int_equal(do_abort(h, set_id(1), ""), 0);
	assert_left(h, 3, 0);
}

/* And for which it failed: any call of a commit, until it is the step's. */
static void has_failed(struct harness *h, enum memstore_kind step, unsigned way)
{
	struct lun *luns[] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB), make_lun(h, "c", MIB)};
	const char *said = step == MEMSTORE_CUT ? "the cut failed at LUN " : "made durable at LUN ";
	struct waiter w;

	(void)way;
	for (unsigned nth = 1;; nth++) {
		make_armed(h, set_id(nth), "", luns, 3, NULL);
		memstore_fail(h->memory, nth, -EIO, false);
		set_commit(h->array, set_id(nth), "", 1000, waiter_init(&w));
		assert_true(memstore_failed(h->memory)); /* else no call was the step's */
		assert_int_equal(do_abort(h, set_id(nth), ""), 0);
		if (strstr(w.call.fault.text, said))
			break;
	}
	assert_left(h, 3, 0);
}

TEST(the_lun_that_a_set_failed_for_is_named)
{
	in_each_step(state, is_waited_for, 1);
	in_each_step(state, has_failed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_set_is_cut_when_one_hangs),
		cmocka_unit_test(the_lun_that_a_set_failed_for_is_named),
		cmocka_unit_test(an_aborted_set_does_not_wait_for_the_store),
		cmocka_unit_test(the_array_ends_while_cuts_hang),
		cmocka_unit_test(a_resync_that_hangs_keeps_up_no_set_and_fails_in_the_end),
		cmocka_unit_test(an_image_that_hangs_keeps_up_no_set_and_fails_in_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
