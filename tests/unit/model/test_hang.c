/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hangs in the store, as where a cluster's OSD does not answer: a cut, disks that are made ready, I/O. Who waits for it is told in
 * time, nobody else waits, or not for long, and when the store has done with it at last nothing of it is there.
 */
#include <stdio.h>
#include "array/model/lun/internal.h"
#include "array/util/gpt.h"
#include "tests/unit/model/harness.h"

#define PATIENCE_MS    120000 /* with what has no deadline */
#define DRAIN_MS       10000  /* with I/O, while others wait */
#define DRAIN_AGAIN_MS 1000   /* when that was in vain just before */
#define PREPARED_MOST  16u

static const enum memstore_kind cut_steps[] = {MEMSTORE_CUT, MEMSTORE_CUT_COMMIT};
static const enum memstore_kind resync_steps[] = {MEMSTORE_CUT, MEMSTORE_PREPARE, MEMSTORE_CUT_COMMIT};
static const enum memstore_kind prepared[] = {MEMSTORE_PREPARE};

/* A case for each of the steps that may hang, and each way of the case's own; every time with a new array. */
static void in_steps(void **state, const enum memstore_kind *steps, unsigned count,
	void (*run)(struct harness *h, enum memstore_kind step, unsigned way), unsigned ways)
{
	for (unsigned i = 0; i < ways * count; i++) {
		struct harness *h;

		assert_int_equal(harness_setup(state), 0);
		h = *state;
		memstore_let_cuts_hang(h->memory);
		harness_reopen(h);
		run(h, steps[i / ways], i % ways);
		harness_teardown(state);
	}
}

static void in_each_step(
	void **state, void (*run)(struct harness *h, enum memstore_kind step, unsigned way), unsigned ways)
{
	in_steps(state, cut_steps, 2, run, ways);
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

/* A copy with 0x11 in a block that is 0x22 in the LUN now. */
static struct lun *make_older(struct harness *h, struct lun *of)
{
	struct lun *copy;

	assert_int_equal(do_write(h, of, 1, 0x11), 0);
	copy = make_copy(h, of);
	assert_int_equal(do_write(h, of, 1, 0x22), 0);
	return copy;
}

static enum lun_resync_state resync_state(struct harness *h, uint32_t job)
{
	struct lun_resync_view v;

	assert_int_equal(lun_resync_view_of(h->array, "", job, &v), 0);
	return v.state;
}

/* How a resync that hangs ends: by itself, or cancelled. Neither sets nor changes wait for it, but for one whose records are written. */
static void resync(struct harness *h, enum memstore_kind step, unsigned cancelled)
{
	struct lun *a = make_lun(h, "a", MIB), *b = make_lun(h, "b", MIB), *copy;
	bool writes = step == MEMSTORE_CUT_COMMIT;
	struct waiter job, rename;

	copy = make_older(h, a);
	hangs_from_now(h, step);
	lun_resync_start(h->array, "", copy, a, 0, waiter_init(&job));
	answers_from_now(h);
	assert_int_equal(job.call.fault.err, 0);
	lun_rename(b, "c", waiter_init(&rename));
	assert_int_equal(rename.done, !writes);
	make_armed(h, set_id(1), "", &b, 1, NULL);
	assert_int_equal(do_commit(h, set_id(1), "", 1000), 0);
	if (cancelled)
		assert_int_equal(lun_resync_cancel(h->array, "", job.call.job, NULL), 0);
	else
		harness_advance(h, PATIENCE_MS - 100);
	assert_int_equal(resync_state(h, job.call.job), cancelled ? LUN_RESYNC_CANCELLED : LUN_RESYNC_RUNS);
	assert_int_equal(rename.done, cancelled || !writes);
	harness_advance(h, 200);
	if (step == MEMSTORE_PREPARE &&
		!cancelled) /* of its cut, which is over, it has had no more time than that */
		assert_int_equal(memstore_pending_kind(h->memory, step), 1);
	assert_int_equal(resync_state(h, job.call.job), cancelled ? LUN_RESYNC_CANCELLED : LUN_RESYNC_FAILED);
	assert_int_equal(rename.done, 1);
	assert_int_equal(rename.call.fault.err, 0);
	assert_int_equal(memstore_pending_kind(h->memory, step == MEMSTORE_PREPARE ? step : MEMSTORE_CUT), 1);
	assert_int_equal(do_write(h, copy, 2, 0x33), 0);
	assert_int_equal(do_read(h, a, 1), 0x22);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	lun_resync_start(h->array, "", copy, a, 0, waiter_init(&job));
	assert_int_equal(resync_state(h, job.call.job), LUN_RESYNC_DONE);
	assert_int_equal(do_read(h, a, 1), 0x11);
	assert_int_equal(do_delete(h, copy), 0);
	assert_left(h, 3, 1);
}

TEST(a_resync_that_hangs_keeps_up_nobody_and_fails_in_the_end)
{
	in_steps(state, resync_steps, 3, resync, 2);
}

/* What others do meanwhile to the LUNs of a resync that was checked already. */
enum meanwhile {
	DELETES,
	SHADOW_GROWS,
	TARGET_GROWS,
	IS_CANCELLED_WHEN_READY,
	RUNS_OUT_OF_TIME_WHEN_READY,
	CLOSES,
	CLOSES_WHEN_READY,
	MEANWHILES
};

static void meanwhile(struct harness *h, enum memstore_kind step, unsigned way)
{
	struct lun *a = make_lun(h, "a", MIB), *b = make_lun(h, "b", MIB), *copy;
	struct waiter job, other, rename;

	copy = make_older(h, a);
	hangs_from_now(h, step);
	lun_resync_start(h->array, "", copy, a, 0, waiter_init(&job));
	answers_from_now(h);
	assert_int_equal(do_read(h, a, 1), -EBUSY);
	if (way == DELETES) {
		assert_int_equal(do_delete(h, a), -EBUSY);
		assert_int_equal(do_delete(h, copy), -EBUSY);
		assert_int_equal(do_set_delete(h, set_id(9)), -EBUSY);
		lun_break(copy, 0, waiter_init(&other));
		assert_int_equal(waiter_wait(h, &other), -EBUSY);
	}
	if (way == SHADOW_GROWS || way == TARGET_GROWS) {
		lun_resize(a, 2 * MIB, waiter_init(&other));
		assert_int_equal(waiter_wait(h, &other), 0);
	}
	if (way == SHADOW_GROWS) {
		lun_resize(copy, 2 * MIB, waiter_init(&other));
		assert_int_equal(waiter_wait(h, &other), 0);
	}
	if (way == CLOSES) {
		harness_close(h);
		harness_open(h);
		assert_left(h, 3, 1);
		return;
	}
	if (way >= IS_CANCELLED_WHEN_READY) { /* its second turn comes behind the rename */
		hangs_from_now(h, MEMSTORE_TXN);
		lun_rename(b, "c", waiter_init(&rename));
		answers_from_now(h);
		while (memstore_complete_kind(h->memory, step))
			;
		assert_int_equal(resync_state(h, job.call.job), LUN_RESYNC_RUNS);
	}
	if (way == IS_CANCELLED_WHEN_READY)
		assert_int_equal(lun_resync_cancel(h->array, "", job.call.job, NULL), 0);
	if (way == RUNS_OUT_OF_TIME_WHEN_READY)
		harness_advance(h, PATIENCE_MS + 100);
	if (way == CLOSES_WHEN_READY) {
		memstore_crash(h->memory, 0);
		array_close(h->array);
		harness_open(h);
		assert_left(h, 3, 1);
		return;
	}
	memstore_complete_all(h->memory);
	if (way == DELETES || way == TARGET_GROWS) {
		assert_int_equal(resync_state(h, job.call.job), LUN_RESYNC_DONE);
		assert_int_equal(do_read(h, a, 1), 0x11);
		assert_int_equal(a->size_bytes, MIB);
	} else {
		assert_int_equal(resync_state(h, job.call.job),
			way == IS_CANCELLED_WHEN_READY ? LUN_RESYNC_CANCELLED : LUN_RESYNC_FAILED);
		assert_int_equal(do_read(h, a, 1), 0x22);
	}
	assert_int_equal(do_delete(h, copy), 0);
	assert_int_equal(do_delete(h, a), 0);
	assert_left(h, 1, 0);
}

TEST(a_resync_is_checked_again_when_it_is_ready)
{
	in_steps(state, resync_steps, 2, meanwhile, MEANWHILES);
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

/* ---- disks that are made ready ---- */

static void created(struct harness *h, enum memstore_kind step, unsigned way)
{
	struct lun *b = make_lun(h, "b", MIB);
	struct waiter first, second, rename;

	hangs_from_now(h, step);
	lun_create(h->array, "a", MIB, waiter_init(&first));
	lun_create(h->array, "a", MIB, waiter_init(&second));
	answers_from_now(h);
	lun_rename(b, way == 1 ? "a" : "c", waiter_init(&rename));
	assert_int_equal(rename.done, 1);
	assert_int_equal(rename.call.fault.err, 0);
	assert_int_equal(first.done + second.done, 0);
	assert_int_equal(memstore_pending_kind(h->memory, step), 2);
	if (way == 2) { /* nobody is called back */
		harness_reopen(h);
		assert_left(h, 1, 0);
		return;
	}
	assert_true(memstore_complete_kind(h->memory, step));
	assert_true(memstore_complete_kind(h->memory, step));
	assert_int_equal(first.done + second.done, 2);
	assert_int_equal(first.call.fault.err, way == 1 ? -EEXIST : 0);
	assert_int_equal(second.call.fault.err, -EEXIST);
	assert_left(h, way == 1 ? 1 : 2, 0);
}

TEST(a_lun_that_cannot_be_made_keeps_up_no_change)
{
	in_steps(state, prepared, 1, created, 3);
}

static void grown(struct harness *h, enum memstore_kind step, unsigned way)
{
	struct lun *a = make_lun(h, "a", MIB);
	struct waiter w, other;

	hangs_from_now(h, step);
	lun_resize(a, 4 * MIB, waiter_init(&w));
	answers_from_now(h);
	if (way == 0)
		assert_int_equal(do_delete(h, a), 0);
	if (way >= 1) { /* by more, by less, or as much */
		lun_resize(a, (1 + 2 * way) * MIB - (way == 3 ? 3 * MIB : 0), waiter_init(&other));
		assert_int_equal(waiter_wait(h, &other), 0);
	}
	assert_int_equal(w.done, 0);
	assert_true(memstore_complete_kind(h->memory, step));
	assert_int_equal(w.done, 1);
	if (way == 0) {
		assert_int_equal(w.call.fault.err, -ENODEV);
		assert_left(h, 0, 0);
		return;
	}
	assert_int_equal(w.call.fault.err, way == 2 ? -EINVAL : 0);
	assert_int_equal(a->size_bytes, way == 2 ? 5 * MIB : 4 * MIB);
	assert_int_equal(do_write(h, a, a->size_bytes / 512 - 1, 0x11), 0);
	assert_left(h, 1, 0);
}

TEST(a_lun_that_cannot_be_enlarged_keeps_up_no_change_not_its_own_either)
{
	in_steps(state, prepared, 1, grown, 4);
}

/* No more than a few at a time; the others' turn comes. */
static void many(struct harness *h, enum memstore_kind step, unsigned way)
{
	struct waiter w[PREPARED_MOST + 4];
	char name[16];

	hangs_from_now(h, step);
	for (unsigned i = 0; i < PREPARED_MOST + 4; i++) {
		snprintf(name, sizeof(name), "l%u", i);
		lun_create(h->array, name, MIB, waiter_init(&w[i]));
	}
	assert_int_equal(memstore_pending_kind(h->memory, step), PREPARED_MOST);
	if (way == 1) {
		harness_reopen(h);
		assert_left(h, 0, 0);
		return;
	}
	for (unsigned i = 0; i < PREPARED_MOST + 4; i++) {
		assert_true(memstore_complete_kind(h->memory, step));
		assert_int_equal(w[i].done, 1);
		assert_int_equal(w[i].call.fault.err, 0);
	}
	assert_left(h, PREPARED_MOST + 4, 0);
}

TEST(few_are_made_ready_at_a_time)
{
	in_steps(state, prepared, 1, many, 2);
}

/* ---- I/O that a change waits for ---- */

struct hung_io {
	struct lun_io io;
	struct iovec iov;
	unsigned done;
	int err;
};

static void hung_done(struct lun_io *io, int err)
{
	struct hung_io *w = container_of(io, struct hung_io, io);

	w->done++;
	w->err = err;
}

static void write_at(struct hung_io *w, struct lun *lun, uint64_t offset, void *data, size_t len)
{
	memset(w, 0, sizeof(*w));
	w->iov = (struct iovec){.iov_base = data, .iov_len = len};
	w->io.io = (struct store_io){
		.op = STORE_WRITE, .offset = offset, .len = len, .iov = &w->iov, .iov_count = 1};
	w->io.lun = lun;
	w->io.done = hung_done;
	lun_submit(&w->io);
}

static void write_begin(struct hung_io *w, struct lun *lun)
{
	static uint8_t data[512] = {0x77};

	write_at(w, lun, 0, data, sizeof(data));
}

/* One end of a partition table: the header, of the first copy or the second, and the entries, of which one is marked by VSS. */
static void table_end(struct hung_io *w, struct lun *lun, bool second)
{
	static const uint8_t type_data[16] = {0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0,
		0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7};
	static uint8_t bytes[(1 + GPT_MAX_ENTRIES / 4) * 512];
	uint64_t last = lun->size_bytes / 512 - 1, entries_blocks = GPT_MAX_ENTRIES / 4;
	uint64_t at[2] = {second ? last : 1, second ? 1 : last};
	uint64_t entries_at = second ? last - entries_blocks : 2, bits = GPT_SHADOW_BITS;
	uint8_t *header = second ? bytes + sizeof(bytes) - 512 : bytes,
		*entries = second ? bytes : bytes + 512;
	uint32_t numbers[2] = {GPT_MAX_ENTRIES, 128}, header_bytes = 92, crc;

	memset(bytes, 0, sizeof(bytes));
	memcpy(entries, type_data, sizeof(type_data));
	memcpy(entries + 48, &bits, 8);
	memcpy(header, "EFI PART", 8);
	memcpy(header + 12, &header_bytes, 4);
	memcpy(header + 24, at, sizeof(at));
	memset(header + 56, 0xd1, 16);
	memcpy(header + 72, &entries_at, 8);
	memcpy(header + 80, numbers, sizeof(numbers));
	crc = gpt_crc32(entries, GPT_MAX_ENTRIES * 128);
	memcpy(header + 88, &crc, 4);
	crc = gpt_crc32(header, header_bytes);
	memcpy(header + 16, &crc, 4);
	write_at(w, lun, (second ? entries_at : 1) * 512, bytes, sizeof(bytes));
	assert_int_equal(w->done, 1);
	assert_int_equal(w->err, 0);
}

static void mark_table(struct lun *lun)
{
	uint8_t protective[512] = {[446 + 4] = 0xee, [510] = 0x55, [511] = 0xaa};
	struct hung_io w;

	write_at(&w, lun, 0, protective, sizeof(protective));
	assert_int_equal(w.err, 0);
	table_end(&w, lun, false);
	table_end(&w, lun, true);
}

enum waits {
	DELETION,
	SET_DELETION,
	LOCK,
	BREAK,
	WAITS
};

static void wait_begin(struct harness *h, struct lun *copy, unsigned way, struct waiter *w)
{
	waiter_init(w);
	if (way == DELETION)
		lun_delete(copy, &w->call);
	else if (way == SET_DELETION)
		set_delete(h->array, set_id(9), &w->call);
	else if (way == LOCK)
		set_lock_for(h->array, set_id(9), 60000, &w->call);
	else
		lun_break(copy, LUN_MEND_MARKS, &w->call);
}

static void assert_waits(struct harness *h, struct lun *copy, struct lun *other, unsigned way, unsigned ms)
{
	static const char *const names[] = {"x", "y"};
	struct waiter w, rename;

	wait_begin(h, copy, way, &w);
	lun_rename(other, names[strcmp(other->name, "x") == 0], waiter_init(&rename));
	harness_advance(h, ms - 100);
	assert_int_equal(w.done + rename.done, 0);
	harness_advance(h, 200);
	assert_int_equal(w.done, 1);
	assert_int_equal(w.call.fault.err, -ETIME);
	assert_non_null(strstr(w.call.fault.text, copy->name));
	assert_int_equal(rename.done, 1);
	assert_int_equal(rename.call.fault.err, 0);
}

/* It fails, with the LUN as it was, so that others go on; the next ones sooner. When the I/O has ended it can be had. */
static void waits(struct harness *h, enum memstore_kind step, unsigned way)
{
	struct lun *a = make_lun(h, "a", MIB), *copy = make_copy(h, a);
	struct hung_io slow, quick;
	struct waiter w;

	assert_int_equal(do_write(h, copy, 1, 0x11), 0);
	hangs_from_now(h, step);
	write_begin(&slow, copy);
	answers_from_now(h);
	assert_waits(h, copy, a, way, DRAIN_MS);
	write_begin(&quick, copy);
	assert_int_equal(quick.done, 1);
	assert_int_equal(quick.err, 0);
	assert_int_equal(do_read(h, copy, 1), 0x11);
	assert_waits(h, copy, a, way, DRAIN_AGAIN_MS);
	assert_int_equal(slow.done, 0);
	assert_true(memstore_complete_kind(h->memory, step));
	assert_int_equal(slow.done, 1);
	assert_int_equal(slow.err, 0);
	harness_advance(h, 60000);
	hangs_from_now(h, step);
	write_begin(&slow, copy);
	answers_from_now(h);
	assert_waits(h, copy, a, way, DRAIN_MS);
	assert_true(memstore_complete_kind(h->memory, step));
	wait_begin(h, copy, way, &w);
	assert_int_equal(w.done, 1);
	assert_int_equal(w.call.fault.err, 0);
	assert_left(h, way <= SET_DELETION ? 1 : 2, way == LOCK);
}

TEST(a_change_does_not_wait_for_io_for_ever)
{
	static const enum memstore_kind steps[] = {MEMSTORE_WRITE};

	in_steps(state, steps, 1, waits, WAITS);
}

/* What the mend of a break reads hangs, or what it writes: the gate stays closed until the store has answered, and the LUN stays. */
static void mends(struct harness *h, enum memstore_kind step, unsigned way)
{
	struct lun *a = make_lun(h, "a", MIB), *copy;
	struct hung_io queued;
	struct waiter w;

	mark_table(a);
	copy = make_copy(h, a);
	hangs_from_now(h, step);
	assert_waits(h, copy, a, BREAK, DRAIN_MS);
	answers_from_now(h);
	assert_int_equal(memstore_pending_kind(h->memory, step), 1);
	write_begin(&queued, copy);
	assert_int_equal(queued.done, 0);
	assert_int_equal(do_delete(h, copy), -EBUSY);
	assert_int_equal(do_set_delete(h, set_id(9)), -EBUSY);
	wait_begin(h, copy, BREAK, &w);
	assert_int_equal(w.call.fault.err, -EBUSY);
	if (way == 1) {
		memstore_crash(h->memory, 0);
		array_close(h->array);
		harness_open(h);
		assert_left(h, 2, 1);
		return;
	}
	if (step == MEMSTORE_READ)
		hangs_from_now(h, step);
	assert_true(memstore_complete_kind(h->memory, step));
	assert_int_equal(memstore_pending_kind(h->memory, step), 0); /* no further step of it */
	answers_from_now(h);
	assert_int_equal(queued.done, 1);
	assert_int_equal(queued.err, 0);
	wait_begin(h, copy, BREAK, &w);
	assert_int_equal(w.done, 1);
	assert_int_equal(w.call.fault.err, 0);
	assert_int_equal(do_delete(h, copy), 0);
	assert_left(h, 1, 0);
}

TEST(a_break_whose_mend_hangs_lets_others_go_and_keeps_the_gate)
{
	static const enum memstore_kind steps[] = {MEMSTORE_READ, MEMSTORE_WRITE};

	in_steps(state, steps, 2, mends, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_next_set_is_cut_when_one_hangs),
		cmocka_unit_test(the_lun_that_a_set_failed_for_is_named),
		cmocka_unit_test(an_aborted_set_does_not_wait_for_the_store),
		cmocka_unit_test(the_array_ends_while_cuts_hang),
		cmocka_unit_test(a_resync_that_hangs_keeps_up_nobody_and_fails_in_the_end),
		cmocka_unit_test(a_resync_is_checked_again_when_it_is_ready),
		cmocka_unit_test(an_image_that_hangs_keeps_up_no_set_and_fails_in_the_end),
		cmocka_unit_test(a_lun_that_cannot_be_made_keeps_up_no_change),
		cmocka_unit_test(a_lun_that_cannot_be_enlarged_keeps_up_no_change_not_its_own_either),
		cmocka_unit_test(few_are_made_ready_at_a_time),
		cmocka_unit_test(a_change_does_not_wait_for_io_for_ever),
		cmocka_unit_test(a_break_whose_mend_hangs_lets_others_go_and_keeps_the_gate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
