/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate and the commit's window, step by step: the store's operations end when the test says so. What
 * queues, what passes, in which order it goes on; the deadline and the abort at each step; who waits for
 * whom.
 */
#include <stdio.h>
#include "array/model/lun/internal.h"
#include "tests/unit/model/harness.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"

/* An I/O whose end is noted in a log. */
struct step_io {
	struct lun_io io;
	struct iovec iov;
	uint8_t data[1024];
	char name;
	unsigned done;
	int err, recheck;
};

static char done_log[64];
static unsigned done_count;

static void step_done(struct lun_io *io, int err)
{
	struct step_io *s = container_of(io, struct step_io, io);

	s->done++;
	s->err = err;
	assert_true(done_count < sizeof(done_log) - 1);
	done_log[done_count++] = s->name;
	done_log[done_count] = 0;
}

static int step_recheck(struct lun_io *io)
{
	return container_of(io, struct step_io, io)->recheck;
}

static void step_start(struct step_io *s, char name, struct lun *lun, enum store_io_op op, uint8_t byte)
{
	int recheck = s->recheck;

	memset(s, 0, sizeof(*s));
	s->recheck = recheck;
	s->name = name;
	memset(s->data, byte, sizeof(s->data));
	s->iov.iov_base = s->data;
	s->iov.iov_len = op == STORE_COMPARE_WRITE ? 1024 : 512;
	s->io.io.op = op;
	s->io.io.len = op == STORE_FLUSH ? 0 : 512;
	s->io.io.iov = &s->iov;
	s->io.io.iov_count = 1;
	s->io.lun = lun;
	s->io.done = step_done;
	s->io.recheck = step_recheck;
	lun_submit(&s->io);
}

static int setup(void **state)
{
	done_count = 0;
	done_log[0] = 0;
	return harness_setup(state);
}

static void manual(struct harness *h, enum memstore_kind kind)
{
	memstore_timing(h->memory, kind, MEMSTORE_MANUAL, 0);
}

static void all_inline(struct harness *h)
{
	memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
	memstore_complete_all(h->memory);
}

/* ---- the gate ---- */

TEST(writes_queue_at_a_closed_gate_and_go_on_in_order)
{
	struct harness *h = *state;
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};
	struct step_io w = {0}, u = {0}, c = {0}, r = {0}, f = {0}, other = {0}, last = {0};
	struct waiter commit;
	uint8_t ids[1][UP_ID_BYTES];

	make_armed(h, set_id(1), "", l, 1, ids);
	manual(h, MEMSTORE_CUT);
	set_commit(h->array, set_id(1), "", 0, waiter_init(&commit));
	step_start(&w, 'w', l[0], STORE_WRITE, 0x11);
	step_start(&c, 'c', l[0], STORE_COMPARE_WRITE, 0x11);
	step_start(&u, 'u', l[0], STORE_UNMAP, 0);
	step_start(&last, 'l', l[0], STORE_WRITE, 0x12);
	step_start(&r, 'r', l[0], STORE_READ, 0xFF);
	step_start(&f, 'f', l[0], STORE_FLUSH, 0);
	step_start(&other, 'o', l[1], STORE_WRITE, 0x33);
	assert_string_equal(done_log, "rfo");
	assert_int_equal(r.data[0], 0);
	assert_true(memstore_complete_kind(h->memory, MEMSTORE_CUT));
	assert_string_equal(done_log, "rfowcul");
	assert_int_equal(w.err | c.err | u.err | last.err, 0);
	assert_int_equal(waiter_wait(h, &commit), 0);
	assert_int_equal(do_read(h, l[0], 0), 0x12);
	assert_int_equal(do_read(h, lun_find(h->array, ids[0]), 0), 0); /* none of them is in the copy */
}

TEST(a_gate_stays_open_while_the_store_gets_ready)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	struct step_io before = {0}, meanwhile = {0};
	struct waiter commit, late;
	uint8_t ids[1][UP_ID_BYTES];

	make_armed(h, set_id(1), "", &l, 1, ids);
	manual(h, MEMSTORE_CUT_READY);
	manual(h, MEMSTORE_CUT);
	set_commit(h->array, set_id(1), "", 0, waiter_init(&commit));
	harness_advance(h, 100);
	step_start(&before, 'b', l, STORE_WRITE, 0x11);
	assert_string_equal(done_log, "b");
	assert_true(memstore_complete_kind(h->memory, MEMSTORE_CUT_READY));
	step_start(&meanwhile, 'm', l, STORE_WRITE, 0x22);
	assert_string_equal(done_log, "b");
	harness_advance(h, 1);
	assert_true(memstore_complete_kind(h->memory, MEMSTORE_CUT));
	assert_string_equal(done_log, "bm");
	assert_int_equal(waiter_wait(h, &commit), 0);
	assert_in_range(commit.call.window_ns, 1, 50000000); /* nor is it in the window */
	assert_int_equal(do_read(h, lun_find(h->array, ids[0]), 0), 0x11);

	make_armed(h, set_id(2), "", &l, 1, NULL);
	set_commit(h->array, set_id(2), "", 1000, waiter_init(&late));
	harness_advance(h, 1000);
	assert_int_equal(late.call.fault.err, -ETIME);
	assert_true(memstore_complete_kind(h->memory, MEMSTORE_CUT_READY)); /* it closes nothing any more */
	step_start(&before, 'n', l, STORE_WRITE, 0x33);
	assert_string_equal(done_log, "bmn");
	all_inline(h);
}

TEST(what_queued_is_asked_again)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	struct step_io a = {.recheck = -EPERM}, b = {0};
	struct waiter commit;

	make_armed(h, set_id(1), "", &l, 1, NULL);
	step_start(&a, 'x', l, STORE_WRITE, 1); /* an open gate asks nothing */
	assert_int_equal(a.err, 0);
	manual(h, MEMSTORE_CUT);
	set_commit(h->array, set_id(1), "", 0, waiter_init(&commit));
	step_start(&a, 'a', l, STORE_WRITE, 2);
	step_start(&b, 'b', l, STORE_WRITE, 3);
	memstore_complete_kind(h->memory, MEMSTORE_CUT);
	assert_string_equal(done_log, "xab");
	assert_int_equal(a.err, -EPERM);
	assert_int_equal(b.err, 0);
	assert_int_equal(waiter_wait(h, &commit), 0);
}

TEST(a_queued_write_is_withdrawn)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	struct step_io a = {0}, b = {0}, r = {0};
	struct waiter commit;

	make_armed(h, set_id(1), "", &l, 1, NULL);
	manual(h, MEMSTORE_CUT);
	manual(h, MEMSTORE_READ);
	set_commit(h->array, set_id(1), "", 0, waiter_init(&commit));
	step_start(&a, 'a', l, STORE_WRITE, 1);
	step_start(&b, 'b', l, STORE_WRITE, 2);
	step_start(&r, 'r', l, STORE_READ, 0);
	assert_true(lun_io_withdraw(&a.io));
	assert_false(lun_io_withdraw(&a.io));
	assert_false(lun_io_withdraw(&r.io));
	all_inline(h);
	assert_int_equal(a.done, 0);
	assert_int_equal(b.done, 1);
	assert_false(lun_io_withdraw(&b.io));
	assert_int_equal(waiter_wait(h, &commit), 0);
	assert_int_equal(do_abort(h, set_id(1), ""), 0);
	assert_int_equal(do_delete(h, l), 0); /* no I/O is counted any more */
}

TEST(deletion_waits_for_io)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	struct step_io a = {0}, b = {0};
	struct waiter w;

	manual(h, MEMSTORE_WRITE);
	step_start(&a, 'a', l, STORE_WRITE, 1);
	lun_delete(l, waiter_init(&w));
	assert_int_equal(w.done, 0);
	step_start(&b, 'b', l, STORE_READ, 1);
	assert_int_equal(b.err, -ENODEV);
	memstore_complete_kind(h->memory, MEMSTORE_WRITE);
	assert_int_equal(a.err, 0);
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(memstore_disks(h->memory), 0);
}

TEST(unmapping_waits_for_the_io_before_it_only)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	struct host *a = make_host(h, "a", IQN_A), *b = make_host(h, "b", "iqn.b");
	struct step_io first = {0}, second = {0}, third = {0}, fourth = {0};
	struct waiter w, v;

	assert_int_equal(do_map(h, a, l, 0), 1);
	assert_int_equal(do_map(h, b, l, 0), 1);
	manual(h, MEMSTORE_READ);
	step_start(&first, '1', l, STORE_READ, 0);
	map_remove(a, l, NULL, waiter_init(&w));
	assert_int_equal(map_number(a, l), 0);
	step_start(&second, '2', l, STORE_READ, 0);
	map_remove(b, l, NULL, waiter_init(&v));
	step_start(&third, '3', l, STORE_READ, 0);
	assert_int_equal(w.done + v.done, 0);
	memstore_complete(h->memory, 0);
	assert_int_equal(w.done, 1);
	assert_int_equal(v.done, 0);
	step_start(&fourth, '4', l, STORE_READ, 0);
	memstore_complete(h->memory, 0);
	memstore_complete(h->memory, 0);
	assert_int_equal(second.done + third.done, 2);
	assert_int_equal(v.done, 1); /* the fourth came after: never waited for, however many follow */
	assert_int_equal(fourth.done, 0);
	all_inline(h);
}

/* ---- the window ---- */

TEST(gates_close_for_the_members_of_one_set_at_a_time)
{
	struct harness *h = *state;
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};
	struct waiter one, two;

	make_armed(h, set_id(1), "", &l[0], 1, NULL);
	make_armed(h, set_id(2), "", l, 2, NULL);
	manual(h, MEMSTORE_CUT);
	manual(h, MEMSTORE_CUT_COMMIT);
	set_commit(h->array, set_id(1), "", 0, waiter_init(&one));
	set_commit(h->array, set_id(2), "", 0, waiter_init(&two));
	assert_int_equal(lun_box_of(l[0])->gate_closed, 1);
	assert_int_equal(lun_box_of(l[1])->gate_closed, 0);
	assert_int_equal(set_state(h, set_id(2)), UP_SET_COMMITTING);
	memstore_complete_kind(h->memory, MEMSTORE_CUT);
	assert_int_equal(lun_box_of(l[0])->gate_closed, 0);
	assert_int_equal(memstore_pending_kind(h->memory, MEMSTORE_CUT), 0);
	memstore_complete_kind(h->memory, MEMSTORE_CUT_COMMIT);
	assert_int_equal(one.done, 1);
	assert_int_equal(two.done, 0);
	assert_int_equal(lun_box_of(l[0])->gate_closed, 1);
	assert_int_equal(lun_box_of(l[1])->gate_closed, 1);
	all_inline(h);
	assert_int_equal(two.done, 1);
	assert_int_equal(one.call.fault.err | two.call.fault.err, 0);
}

/* Where a commit stands when the deadline passes or the abort comes. */
enum stop {
	STOP_WAITING,
	STOP_IN_CUT,
	STOP_IN_COMMIT,
	STOPS
};

static void stop_prepare(struct harness *h, enum stop stop, struct lun **l, uint32_t deadline_ms,
	struct waiter *other, struct waiter *w, uint8_t ids[2][UP_ID_BYTES])
{
	make_armed(h, set_id(1), "", &l[0], 1, NULL);
	make_armed(h, set_id(2), IQN_A, l, 2, ids);
	waiter_init(other);
	if (stop == STOP_WAITING) {
		manual(h, MEMSTORE_CUT_COMMIT);
		set_commit(h->array, set_id(1), "", 5000, &other->call);
	}
	manual(h, stop == STOP_IN_CUT ? MEMSTORE_CUT : MEMSTORE_CUT_COMMIT);
	set_commit(h->array, set_id(2), IQN_A, deadline_ms, waiter_init(w));
	assert_int_equal(w->done, 0);
	assert_int_equal(lun_box_of(l[0])->gate_closed, stop == STOP_IN_CUT);
	assert_int_equal(set_state(h, set_id(2)), UP_SET_COMMITTING);
}

static void nothing_is_left(struct harness *h, struct lun **l, uint8_t ids[2][UP_ID_BYTES])
{
	assert_int_equal(set_state(h, set_id(2)), UP_SET_ABORTED);
	assert_null(lun_find(h->array, ids[0]));
	assert_null(lun_find(h->array, ids[1]));
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_SET),
		set_state(h, set_id(1)) >= UP_SET_COMMITTED && set_state(h, set_id(1)) <= UP_SET_KEPT);
	assert_int_equal(lun_box_of(l[0])->gate_closed + lun_box_of(l[1])->gate_closed, 0);
	assert_int_equal(do_write(h, l[0], 0, 1), 0);
	assert_int_equal(do_delete(h, l[1]), 0);
}

TEST(past_the_deadline_nothing_is_kept_at_any_step)
{
	struct harness *h = *state;

	for (enum stop stop = 0; stop < STOPS; stop++) {
		struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};
		struct step_io held = {0};
		struct waiter other, w;
		uint8_t ids[2][UP_ID_BYTES];

		stop_prepare(h, stop, l, 100, &other, &w, ids);
		step_start(&held, 'h', l[0], STORE_WRITE, 9);
		assert_int_equal(held.done, stop != STOP_IN_CUT);
		harness_advance(h, 99);
		assert_int_equal(w.done, 0);
		harness_advance(h, 1);
		assert_int_equal(w.done, 1); /* at once, whatever the store does */
		assert_int_equal(w.call.fault.err, -ETIME);
		assert_int_equal(held.done, 1);
		assert_int_equal(set_state(h, set_id(2)), UP_SET_ABORTED);
		all_inline(h);
		assert_int_equal(do_abort(h, set_id(1), ""), 0);
		harness_advance(h, 10);
		assert_int_equal(w.done, 1);
		nothing_is_left(h, l, ids);
		harness_reopen(h);
		assert_int_equal(set_state(h, set_id(2)), 0);
		assert_null(lun_find(h->array, ids[0]));
		assert_int_equal(do_delete(h, lun_find_name(h->array, "a")), 0);
		assert_int_equal(memstore_disks(h->memory), 0);
	}
}

TEST(abort_at_any_step_of_a_commit)
{
	struct harness *h = *state;

	for (enum stop stop = 0; stop < STOPS; stop++) {
		struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};
		struct waiter other, w, abort, again;
		uint8_t ids[2][UP_ID_BYTES];

		stop_prepare(h, stop, l, 1000, &other, &w, ids);
		set_abort(h->array, set_id(2), IQN_A, waiter_init(&abort));
		assert_int_equal(w.done, 1);
		assert_int_equal(w.call.fault.err, -ECANCELED);
		/* It is only done when nothing of it can come any more. */
		assert_int_equal(abort.done, stop == STOP_WAITING);
		set_abort(h->array, set_id(2), IQN_A, waiter_init(&again));
		assert_int_equal(again.done, stop == STOP_WAITING);
		assert_int_equal(do_keep(h, set_id(2), IQN_A), -EBADFD);
		all_inline(h);
		harness_advance(h, 10);
		assert_int_equal(abort.done, 1);
		assert_int_equal(again.done, 1);
		assert_int_equal(abort.call.fault.err | again.call.fault.err, 0);
		assert_int_equal(do_abort(h, set_id(1), ""), 0);
		nothing_is_left(h, l, ids);
		harness_reopen(h);
		assert_int_equal(do_delete(h, lun_find_name(h->array, "a")), 0);
		assert_int_equal(memstore_disks(h->memory), 0);
	}
}

/* The answer was -ETIME, then the power failed after the copies had become durable: the lease removes them.
 */
TEST(a_crash_before_the_undo_leaves_a_set_for_the_lease)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	struct waiter w;
	uint8_t ids[1][UP_ID_BYTES];

	make_armed(h, set_id(2), "", &l, 1, ids);
	manual(h, MEMSTORE_CUT_COMMIT);
	manual(h, MEMSTORE_TXN);
	set_commit(h->array, set_id(2), "", 50, waiter_init(&w));
	harness_advance(h, 60);
	assert_int_equal(w.call.fault.err, -ETIME);
	memstore_complete_kind(h->memory, MEMSTORE_CUT_COMMIT);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_SET), 1);
	memstore_crash(h->memory, 0);
	array_close(h->array);
	memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
	h->options.lease_ms = 100;
	harness_open(h);
	assert_int_equal(set_state(h, set_id(2)), UP_SET_COMMITTED);
	harness_advance(h, 150);
	assert_int_equal(set_state(h, set_id(2)), UP_SET_ABORTED);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_SET), 0);
	assert_int_equal(memstore_disks(h->memory), 1);
}

TEST(the_deadline_is_at_most_the_budget)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	static const uint32_t asked[] = {0, 5001, UINT32_MAX};

	manual(h, MEMSTORE_CUT_COMMIT);
	for (unsigned i = 0; i < 3; i++) {
		struct waiter w;

		make_armed(h, set_id(10 + i), "", &l, 1, NULL);
		set_commit(h->array, set_id(10 + i), "", asked[i], waiter_init(&w));
		harness_advance(h, 4999);
		assert_int_equal(w.done, 0);
		harness_advance(h, 1);
		assert_int_equal(w.call.fault.err, -ETIME);
		memstore_complete_kind(h->memory, MEMSTORE_CUT_COMMIT);
	}
}

TEST(the_row_of_commits_is_bounded)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	static struct waiter w[80];
	unsigned busy = 0;

	manual(h, MEMSTORE_CUT);
	for (unsigned i = 0; i < 80; i++) {
		make_armed(h, set_id(i), "", &l, 1, NULL);
		set_commit(h->array, set_id(i), "", 1000, waiter_init(&w[i]));
		busy += w[i].done;
		if (w[i].done) {
			assert_int_equal(w[i].call.fault.err, -EBUSY);
			assert_int_equal(set_state(h, set_id(i)), UP_SET_ARMED); /* it may try again */
		}
	}
	assert_int_equal(busy, 80 - 65);
	all_inline(h);
	for (unsigned i = 0; i < 80; i++)
		assert_int_equal(w[i].done, 1);
	assert_int_equal(do_commit(h, set_id(79), "", 0), 0);
}

/* Every queued write is admitted before the next cut closes the gate again. */
TEST(queued_writes_go_before_the_next_cut)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	struct step_io a = {0};
	struct waiter one, two;
	uint8_t id1[1][UP_ID_BYTES], id2[1][UP_ID_BYTES];

	make_armed(h, set_id(1), "", &l, 1, id1);
	make_armed(h, set_id(2), "", &l, 1, id2);
	manual(h, MEMSTORE_CUT);
	set_commit(h->array, set_id(1), "", 0, waiter_init(&one));
	set_commit(h->array, set_id(2), "", 0, waiter_init(&two));
	step_start(&a, 'a', l, STORE_WRITE, 0x44);
	memstore_complete_kind(h->memory, MEMSTORE_CUT);
	assert_int_equal(a.done, 1);
	assert_int_equal(memstore_pending_kind(h->memory, MEMSTORE_CUT), 1);
	all_inline(h);
	assert_int_equal(do_read(h, lun_find(h->array, id1[0]), 0), 0);
	assert_int_equal(do_read(h, lun_find(h->array, id2[0]), 0), 0x44);
}

TEST(attentions_are_not_put_off_for_ever)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	struct host *a = make_host(h, "a", IQN_A);
	struct watcher w;

	assert_int_equal(watcher_attach(h, &w, IQN_A, true), 0);
	make_armed(h, set_id(1), "", &l, 1, NULL);
	assert_int_equal(do_map(h, a, l, 0), 1);
	harness_advance(h, 59000);
	assert_int_equal(w.mappings_changed, 0);
	harness_advance(h, 2000);
	assert_int_equal(w.mappings_changed, 1);
	assert_int_equal(do_unmap(h, a, l), 0);
	assert_int_equal(w.mappings_changed, 1);
	watcher_detach(h, &w); /* with one waiting */
	assert_int_equal(do_abort(h, set_id(1), ""), 0);
	assert_int_equal(w.mappings_changed, 1);
}

/* Its sessions go on at another array, which knows nothing of what waits here, and sees no difference. */
TEST(attentions_are_told_before_the_array_stands_by)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB), *grows = make_lun(h, "b", MIB);
	struct host *a = make_host(h, "a", IQN_A);
	struct watcher w;
	struct waiter resize;

	assert_int_equal(do_map(h, a, grows, 0), 1);
	assert_int_equal(watcher_attach(h, &w, IQN_A, true), 0);
	make_armed(h, set_id(1), "", &l, 1, NULL);
	assert_int_equal(do_map(h, a, l, 0), 2);
	lun_resize(grows, 2 * MIB, waiter_init(&resize));
	assert_int_equal(waiter_wait(h, &resize), 0);
	assert_int_equal(w.mappings_changed, 0);
	assert_int_equal(w.resized, 0);
	array_stand_by(h->array);
	assert_int_equal(w.mappings_changed, 1);
	assert_int_equal(w.resized, 1);
	array_stand_by(h->array);
	assert_int_equal(w.mappings_changed, 1);
	watcher_detach(h, &w);
}

/* Closing with a change or a commit under way: nobody is called, nothing leaks, the store's answer is
 * survived. */
TEST(closing_orphans_what_is_under_way)
{
	struct harness *h = *state;
	struct lun *l;
	struct waiter w, v, u;

	for (unsigned step = 0; step < 3; step++) {
		l = make_lun(h, "a", MIB);
		make_armed(h, set_id(1), "", &l, 1, NULL);
		manual(h, step == 0 ? MEMSTORE_CUT : MEMSTORE_CUT_COMMIT);
		manual(h, MEMSTORE_TXN);
		set_commit(h->array, set_id(1), "", 0, waiter_init(&w));
		lun_create(h->array, "b", MIB, waiter_init(&v));
		lun_create(h->array, "c", MIB, waiter_init(&u));
		if (step == 2)
			set_abort(h->array, set_id(1), "", waiter_init(&u));
		array_close(h->array);
		all_inline(h);
		h->array = NULL;
		harness_reopen(h);
		assert_int_equal(v.done + u.done + (step < 2 ? w.done : 0), 0);
		assert_non_null(lun_find_name(h->array, "b"));
		assert_null(lun_find_name(h->array, "c"));
		if (set_state(h, set_id(1)))
			assert_int_equal(do_abort(h, set_id(1), ""), 0);
		assert_int_equal(do_delete(h, lun_find_name(h->array, "a")), 0);
		assert_int_equal(do_delete(h, lun_find_name(h->array, "b")), 0);
		assert_int_equal(memstore_disks(h->memory), 0);
		harness_reopen(h); /* forgets the aborted set */
	}
}

TEST(a_lun_of_another_store_is_refused)
{
	struct harness *h = *state;
	void *other;
	struct lun *l;
	uint8_t id[UP_ID_BYTES];

	assert_int_equal(harness_setup(&other), 0);
	l = make_lun(other, "far", MIB);
	assert_int_equal(set_begin(h->array, set_id(1), "", NULL), 0);
	assert_int_equal(set_add(h->array, set_id(1), "", l, UP_COPY_DEFAULT, id, NULL), -EXDEV);
	harness_teardown(&other);
}

#define t(name) cmocka_unit_test_setup_teardown(name, setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(writes_queue_at_a_closed_gate_and_go_on_in_order),
		t(a_gate_stays_open_while_the_store_gets_ready),
		t(what_queued_is_asked_again),
		t(a_queued_write_is_withdrawn),
		t(deletion_waits_for_io),
		t(unmapping_waits_for_the_io_before_it_only),
		t(gates_close_for_the_members_of_one_set_at_a_time),
		t(past_the_deadline_nothing_is_kept_at_any_step),
		t(abort_at_any_step_of_a_commit),
		t(a_crash_before_the_undo_leaves_a_set_for_the_lease),
		t(the_deadline_is_at_most_the_budget),
		t(the_row_of_commits_is_bounded),
		t(queued_writes_go_before_the_next_cut),
		t(attentions_are_not_put_off_for_ever),
		t(attentions_are_told_before_the_array_stands_by),
		t(closing_orphans_what_is_under_way),
		t(a_lun_of_another_store_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
