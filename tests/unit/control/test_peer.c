/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls between two controllers over a wire that a test plays: what is lost, said twice, damaged, or comes from one that has been
 * replaced; a call is carried out once at most, and its end is the true one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/peer.h"
#include "tests/support/playwire.h"
#include "tests/support/test.h"

#define EPOCH 7u

static struct reactor *reactor;
static struct play_end owner, standby;

/* ---- who calls, and who serves ---- */

struct call {
	struct peer_call base;
	bool over;
	int err;
	uint32_t len;
	uint8_t first;
};

static unsigned served, gone;
static bool serve_waits;
static struct peer_asked *waiting;

static void done(struct peer_call *c, int err, const uint8_t *data, uint32_t len)
{
	struct call *k = container_of(c, struct call, base);

	assert_false(k->over);
	k->over = true;
	k->err = err;
	k->len = len;
	k->first = len ? data[0] : 0;
}

static void serve(void *arg, struct peer_asked *q)
{
	(void)arg;
	served++;
	if (serve_waits) {
		assert_null(waiting);
		waiting = q;
		return;
	}
	peer_answer(q, q->len && q->data[0] == 0xEE ? -EACCES : 0, q->data, q->len);
}

static void on_gone(void *arg)
{
	(void)arg;
	gone++;
}

static void begin(struct call *k, struct peer *p, const void *data, uint32_t len, uint32_t patience_ms)
{
	*k = (struct call){.base = {.topic = PEER_SCSI,
				   .data = data,
				   .len = len,
				   .patience_ms = patience_ms,
				   .done = done}};
	peer_call(p, &k->base);
	assert_false(k->over); /* never from inside */
}

static int await(const struct call *k)
{
	while (!k->over)
		assert_true(reactor_turn(reactor, 1000) >= 0);
	return k->err;
}

static int call(const void *data, uint32_t len)
{
	struct call k;

	begin(&k, standby.peer, data, len, 60000);
	return await(&k);
}

static void some_turns(unsigned count)
{
	while (count--)
		assert_true(reactor_turn(reactor, 0) >= 0);
}

static void plug_in(struct play_end *e, struct play_end *other, bool is_owner)
{
	struct peer_options options = {.reactor = reactor, .gone = on_gone};

	play_end_init(e, other, reactor, is_owner, EPOCH);
	assert_int_equal(peer_create(&options, &e->peer), 0);
	play_end_up(e);
}

static void unplug(struct play_end *e)
{
	peer_stop(e->peer);
	some_turns(5);
	play_end_down(e);
	peer_destroy(e->peer);
}

/* Who asks for the first time asks twice: it learns the other one's clock. */
static int know_the_clock(struct peer *p)
{
	struct call k;

	begin(&k, p, NULL, 0, 60000);
	if (await(&k) != 0 || standby.asks + owner.asks != 2)
		return -1;
	served = standby.asks = owner.asks = 0;
	return 0;
}

static int setup(void **state)
{
	(void)state;
	served = gone = 0;
	serve_waits = false;
	waiting = NULL;
	if (reactor_create(&reactor, NULL))
		return -1;
	plug_in(&owner, &standby, true);
	plug_in(&standby, &owner, false);
	peer_serve(owner.peer, PEER_SCSI, false, serve, NULL);
	return know_the_clock(standby.peer);
}

static int teardown(void **state)
{
	(void)state;
	unplug(&standby);
	unplug(&owner);
	reactor_destroy(reactor);
	return 0;
}

/* ---- the tests ---- */

TEST(a_call_is_carried_out_and_answered)
{
	static uint8_t much[PEER_PAYLOAD_MAX_BYTES] = {5};
	struct call k;

	begin(&k, standby.peer, "abc", 3, 60000);
	assert_int_equal(await(&k), 0);
	assert_int_equal(k.len, 3);
	assert_int_equal(k.first, 'a');
	begin(&k, standby.peer, much, sizeof(much), 60000);
	assert_int_equal(await(&k), 0);
	assert_int_equal(k.len, sizeof(much));
	assert_int_equal(call(NULL, 0), 0);
	assert_int_equal(call("\xEE", 1), -EACCES);
	assert_int_equal(served, 4);
	assert_int_equal(standby.asks, 4);
	peer_serve(owner.peer, PEER_SCSI, false, NULL, NULL);
	assert_int_equal(call("x", 1), -EOPNOTSUPP);
}

TEST(the_owner_may_ask_too)
{
	struct call k = {.base = {.topic = PEER_SCSI,
				 .to_standby = true,
				 .data = "o",
				 .len = 1,
				 .patience_ms = 60000,
				 .done = done}};

	peer_serve(standby.peer, PEER_SCSI, true, serve, NULL);
	peer_call(owner.peer, &k.base);
	assert_int_equal(await(&k), 0);
	assert_int_equal(k.first, 'o');
	/* the owner is not asked by itself */
	begin(&k, owner.peer, "x", 1, 60000);
	assert_int_equal(await(&k), -EAGAIN);
	assert_int_equal(served, 1);
}

TEST(what_is_lost_is_sent_again_and_carried_out_once)
{
	standby.lose_questions = 2;
	assert_int_equal(call("a", 1), 0);
	assert_int_equal(served, 1);
	standby.lose_answers = 2;
	assert_int_equal(call("b", 1), 0);
	assert_int_equal(served, 2);
	standby.twice = 1;
	assert_int_equal(call("c", 1), 0);
	some_turns(5);
	assert_int_equal(served, 3);
	standby.damage_answers = 1;
	assert_int_equal(call("d", 1), 0);
	assert_int_equal(served, 4);
}

/* While it runs its repetitions wait for the same answer. */
TEST(a_call_that_takes_long_is_not_begun_again)
{
	struct call k;

	serve_waits = true;
	standby.twice = 1;
	begin(&k, standby.peer, "a", 1, 60000);
	some_turns(10);
	assert_non_null(waiting);
	assert_int_equal(served, 1);
	peer_answer(waiting, 0, "z", 1);
	assert_int_equal(await(&k), 0);
	assert_int_equal(k.first, 'z');
	assert_int_equal(served, 1);
}

TEST(many_are_under_way_at_a_time_and_each_gets_its_own_answer)
{
	enum {
		MANY = 500
	};
	static struct call calls[MANY];
	static uint8_t data[MANY];

	standby.lose_answers = 20;
	for (unsigned i = 0; i < MANY; i++) {
		data[i] = (uint8_t)(i % 200);
		begin(&calls[i], standby.peer, &data[i], 1, 60000);
	}
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(await(&calls[i]), 0);
		assert_int_equal(calls[i].first, data[i]);
	}
	assert_int_equal(served, MANY);
}

TEST(without_an_owner_a_call_ends_at_once)
{
	standby.epoch = 0;
	assert_int_equal(call("a", 1), -ESHUTDOWN);
	assert_int_equal(standby.asks, 0);
	peer_stop(standby.peer);
	standby.epoch = EPOCH;
	assert_int_equal(call("a", 1), -ESHUTDOWN);
}

TEST(patience_ends_and_says_whether_it_may_have_been_carried_out)
{
	struct call k;

	standby.deaf = true;
	begin(&k, standby.peer, "a", 1, 300);
	assert_int_equal(await(&k), -EAGAIN);
	standby.deaf = false;
	standby.lose_answers = 1000;
	begin(&k, standby.peer, "a", 1, 300);
	assert_int_equal(await(&k), -ETIMEDOUT);
	assert_int_equal(served, 1);
}

/* A store that does not reach Ceph waits for it without a bound, and so does not say that nobody answers. */
TEST(a_question_that_does_not_end_is_waited_for_no_longer)
{
	struct call k, next;

	serve_waits = true;
	begin(&k, standby.peer, "a", 1, 1);
	assert_int_equal(await(&k), -ETIMEDOUT);
	assert_int_equal(standby.asks, 1);
	/* its answer, in the end, is nobody's; others get theirs */
	serve_waits = false;
	begin(&next, standby.peer, "b", 1, 60000);
	peer_answer(waiting, 0, "c", 1);
	assert_int_equal(await(&next), 0);
	assert_int_equal(next.first, 'b');
	assert_int_equal(served, 2);
}

/* Neither does it carry out what is asked of another epoch, nor while its lease is out. */
TEST(one_that_has_been_replaced_is_not_believed)
{
	struct call k;

	standby.epoch = EPOCH + 1;
	begin(&k, standby.peer, "a", 1, 300);
	assert_int_equal(await(&k), -EAGAIN);
	owner.epoch = EPOCH + 1;
	owner.owns = false;
	begin(&k, standby.peer, "a", 1, 300);
	assert_int_equal(await(&k), -EAGAIN);
	assert_int_equal(served, 0);
	/* it was carried out, and the lease is out when the answer is there */
	owner.owns = true;
	serve_waits = true;
	begin(&k, standby.peer, "a", 1, 60000);
	some_turns(5);
	owner.owns = false;
	peer_answer(waiting, 0, "z", 1);
	some_turns(5);
	assert_false(k.over);
	owner.owns = true; /* it came back */
	assert_int_equal(await(&k), 0);
	assert_int_equal(k.first, 'z');
	assert_int_equal(served, 1);
}

/* The next owner knows nothing of what its predecessor may have done. */
TEST(a_call_is_not_repeated_at_another_owner)
{
	struct call k;

	standby.lose_answers = 1000;
	begin(&k, standby.peer, "a", 1, 60000);
	while (standby.lose_answers == 1000 || k.base.attempt)
		some_turns(1);
	standby.epoch = owner.epoch = EPOCH + 1;
	assert_int_equal(await(&k), -ETIMEDOUT);
	assert_int_equal(served, 1);
}

TEST(a_takeover_ends_what_is_under_way)
{
	struct call first, second;

	serve_waits = true;
	begin(&first, standby.peer, "a", 1, 60000);
	some_turns(5);
	standby.deaf = true;
	begin(&second, standby.peer, "b", 1, 60000);
	while (second.base.attempt) /* between two attempts: none is under way */
		some_turns(1);
	standby.owns = true;
	standby.epoch = EPOCH + 1;
	peer_abandon(standby.peer);
	assert_int_equal(await(&first), -ETIMEDOUT);
	assert_int_equal(await(&second), -EAGAIN);
	peer_answer(waiting, 0, NULL, 0);
	some_turns(5);
}

/* A controller that was started again is another caller, and its numbers begin anew. */
TEST(another_process_is_another_caller)
{
	assert_int_equal(call("a", 1), 0);
	assert_int_equal(gone, 0);
	unplug(&standby);
	plug_in(&standby, &owner, false);
	assert_int_equal(call("b", 1), 0);
	assert_int_equal(served, 2);
	assert_int_equal(gone, 1);
}

/* As many bytes as there may be, none of them ours, or a piece of one: nothing but an answer without bytes. */
TEST(foreign_bytes_are_refused)
{
	uint8_t bytes[PEER_HEADER_BYTES + 3];
	struct peer_message m = {.kind = PEER_CALL,
				    .topic = PEER_SCSI,
				    .epoch = EPOCH,
				    .caller = 99,
				    .number = 1,
				    .floor = 1,
				    .data = (const uint8_t *)"abc",
				    .len = 3},
			    out;

	assert_int_equal(peer_encode(&m, bytes, sizeof(bytes)), sizeof(bytes));
	assert_true(peer_decode(bytes, sizeof(bytes), &out));
	assert_int_equal(out.len, 3);
	assert_int_equal(out.caller, 99);
	assert_int_equal(peer_encode(&m, bytes, sizeof(bytes) - 1), 0);
	for (size_t len = 0; len < sizeof(bytes); len++)
		assert_false(peer_decode(bytes, len, &out));
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(peer_decode(bytes, sizeof(bytes), &out));
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	m.floor = 2; /* above its own number */
	peer_encode(&m, bytes, sizeof(bytes));
	assert_false(peer_decode(bytes, sizeof(bytes), &out));
	m.floor = 0;
	peer_encode(&m, bytes, sizeof(bytes));
	assert_false(peer_decode(bytes, sizeof(bytes), &out));
}

static uint64_t call_clock;

/* A call that arrives at the owner, of whoever. */
static void call_as(uint64_t caller, uint64_t number, uint64_t floor)
{
	uint8_t bytes[PEER_HEADER_BYTES];
	const struct peer_message m = {.kind = PEER_CALL,
		.topic = PEER_SCSI,
		.epoch = EPOCH,
		.caller = caller,
		.number = number,
		.floor = floor,
		.clock = call_clock};
	struct store_wire_ask a = {.to_owner = true, .data = bytes, .len = sizeof(bytes)};

	peer_encode(&m, bytes, sizeof(bytes));
	play_say(&standby, &a);
	some_turns(5);
}

/* It lay in the store, and its caller has given up. */
TEST(a_call_that_comes_too_late_is_not_carried_out)
{
	struct call k;

	call_clock = 0; /* of whom that is, it does not know */
	call_as(99, 1, 1);
	call_clock = standby.clock - 1000;
	call_as(99, 2, 1);
	call_clock = standby.clock + 24 * 3600 * 1000; /* the clock of another process */
	call_as(99, 3, 1);
	assert_int_equal(served, 0);
	call_clock = standby.clock + 60000;
	call_as(99, 2, 1);
	assert_int_equal(served, 1);
	/* it has been begun: its answer is the same, however late it is asked for */
	serve_waits = true;
	call_as(99, 4, 1);
	call_clock = 0;
	call_as(99, 4, 1);
	assert_int_equal(served, 2);
	peer_answer(waiting, 0, NULL, 0);
	waiting = NULL;
	serve_waits = false;
	/* a caller whose question is late asks again as long as it has patience; the other end is another process by now */
	unplug(&owner);
	plug_in(&owner, &standby, true);
	peer_serve(owner.peer, PEER_SCSI, false, serve, NULL);
	standby.asks = 0;
	begin(&k, standby.peer, "a", 1, 60000);
	assert_int_equal(await(&k), 0);
	assert_int_equal(standby.asks, 2);
	assert_int_equal(served, 3);
}

TEST(a_caller_cannot_have_more_kept_than_its_window)
{
	call_clock = standby.clock + 60000;
	call_as(99, 1000, 1);
	assert_int_equal(served, 0);
	call_as(99, 1000, 999);
	assert_int_equal(served, 1);
}

/* Each start of the other controller is another caller. Of those before, what was kept goes, the oldest first. */
TEST(the_other_one_may_be_started_again_and_again)
{
	enum {
		STARTS = 20
	};

	call_clock = standby.clock + 60000;
	for (unsigned i = 0; i < STARTS; i++) {
		call_as(1000 + i, 1, 1);
		assert_int_equal(served, i + 1);
	}
	call_as(1000 + STARTS - 1, 1, 1); /* what is said twice is carried out once */
	call_as(1000 + STARTS - 2, 1, 1);
	assert_int_equal(served, STARTS);
	assert_int_equal(call("a", 1), 0);
	assert_int_equal(served, STARTS + 1);
}

/* Nobody is forgotten of whom something is under way. */
TEST(too_many_callers_are_refused)
{
	struct peer_asked *running[20];
	unsigned count = 0;

	call_clock = standby.clock + 60000;
	serve_waits = true;
	for (unsigned i = 0; i < 20; i++) {
		call_as(1000 + i, 1, 1);
		if (waiting)
			running[count++] = waiting;
		waiting = NULL;
	}
	assert_in_range(count, 2, 8);
	assert_int_equal(served, count);
	call_as(1000, 1, 1); /* a repetition: it waits, too */
	assert_int_equal(served, count);
	while (count)
		peer_answer(running[--count], 0, NULL, 0);
	serve_waits = false;
	assert_int_equal(call("a", 1), 0);
}

TEST(scsi_commands_and_answers_come_out_as_they_went_in)
{
	static uint8_t bytes[PEER_SCSI_MAX_BYTES], data[24] = {1, 2, 3}, room[64];
	struct scsi_remote r = {.initiator = "iqn.test:a",
				   .isid = {0x80, 1, 2, 3, 4, 5},
				   .port = 2,
				   .authenticated = true,
				   .lun_id = {9, 8, 7},
				   .cdb = {0x5F, 6},
				   .cdb_len = 10,
				   .direction = SCSI_FROM_INITIATOR,
				   .data = data,
				   .data_len = sizeof(data)},
			   out;
	const uint8_t *sent;
	size_t len = peer_scsi_encode(&r, bytes, sizeof(bytes));

	assert_true(peer_scsi_decode(bytes, len, &out, &sent));
	assert_string_equal(out.initiator, r.initiator);
	assert_memory_equal(out.isid, r.isid, 6);
	assert_memory_equal(out.lun_id, r.lun_id, UP_ID_BYTES);
	assert_memory_equal(out.cdb, r.cdb, SCSI_CDB_MAX_BYTES);
	assert_int_equal(out.port, 2);
	assert_true(out.authenticated);
	assert_int_equal(out.direction, SCSI_FROM_INITIATOR);
	assert_int_equal(out.data_len, sizeof(data));
	assert_memory_equal(sent, data, sizeof(data));
	assert_false(peer_scsi_decode(bytes, len - 1, &out, &sent));
	assert_false(peer_scsi_decode(bytes, len + 1, &out, &sent));
	bytes[9] = 3;
	assert_false(peer_scsi_decode(bytes, len, &out, &sent));
	bytes[9] = 2;
	bytes[8] = 2;
	assert_false(peer_scsi_decode(bytes, len, &out, &sent));
	r.data_len = PEER_DATA_MAX_BYTES + 1;
	assert_int_equal(peer_scsi_encode(&r, bytes, sizeof(bytes)), 0);

	r = (struct scsi_remote){.direction = SCSI_TO_INITIATOR,
		.data = data,
		.data_len = sizeof(data),
		.status = 2,
		.sense = {0x70},
		.sense_len = 18};
	len = peer_scsi_answer_encode(&r, bytes, sizeof(bytes));
	out = (struct scsi_remote){.direction = SCSI_TO_INITIATOR, .data = room, .data_len = sizeof(room)};
	assert_true(peer_scsi_answer_decode(bytes, len, &out));
	assert_int_equal(out.status, 2);
	assert_int_equal(out.sense_len, 18);
	assert_int_equal(out.data_len, sizeof(data));
	assert_memory_equal(room, data, sizeof(data));
	out.data_len = sizeof(data) - 1; /* more than there is room for */
	assert_false(peer_scsi_answer_decode(bytes, len, &out));
}

TEST(moves_and_what_the_owner_says_come_out_as_they_went_in)
{
	struct peer_move_answer out, a = {.state = PEER_MOVE_FAILED,
					     .err = -EBUSY,
					     .message = 0x92CC14,
					     .text = "it is being moved"};
	uint8_t call[PEER_MOVE_BYTES + 1] = {0}, bytes[PEER_MOVE_ANSWER_MAX_BYTES + 1] = {0};
	enum peer_move_what what;
	bool force;
	size_t len;

	peer_move_encode(PEER_MOVE_BEGIN, true, call);
	assert_true(peer_move_decode(call, PEER_MOVE_BYTES, &what, &force));
	assert_true(what == PEER_MOVE_BEGIN && force);
	assert_false(peer_move_decode(call, PEER_MOVE_BYTES - 1, &what, &force));
	assert_false(peer_move_decode(call, PEER_MOVE_BYTES + 1, &what, &force));
	call[1] = 2;
	assert_false(peer_move_decode(call, PEER_MOVE_BYTES, &what, &force));
	peer_move_encode(PEER_MOVE_LOOK, false, call);
	assert_true(peer_move_decode(call, PEER_MOVE_BYTES, &what, &force));
	assert_true(what == PEER_MOVE_LOOK && !force);
	call[0] = 3;
	assert_false(peer_move_decode(call, PEER_MOVE_BYTES, &what, &force));

	len = peer_move_answer_encode(&a, bytes);
	assert_true(peer_move_answer_decode(bytes, len, &out));
	assert_int_equal(out.state, PEER_MOVE_FAILED);
	assert_int_equal(out.err, -EBUSY);
	assert_int_equal(out.message, 0x92CC14);
	assert_string_equal(out.text, a.text);
	bytes[len - 1] = 0x1B; /* for a terminal */
	assert_true(peer_move_answer_decode(bytes, len, &out));
	assert_string_equal(out.text, "it is being move?");
	assert_false(peer_move_answer_decode(bytes, 7, &out));
	assert_false(peer_move_answer_decode(bytes, sizeof(bytes), &out));
	bytes[0] = 3;
	assert_false(peer_move_answer_decode(bytes, len, &out));
	memset(a.text, 'x', sizeof(a.text) - 1);
	assert_int_equal(peer_move_answer_encode(&a, bytes), PEER_MOVE_ANSWER_MAX_BYTES);
	assert_true(peer_move_answer_decode(bytes, PEER_MOVE_ANSWER_MAX_BYTES, &out));
	assert_string_equal(out.text, a.text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(a_call_is_carried_out_and_answered), T(the_owner_may_ask_too),
		T(what_is_lost_is_sent_again_and_carried_out_once),
		T(a_call_that_takes_long_is_not_begun_again),
		T(many_are_under_way_at_a_time_and_each_gets_its_own_answer),
		T(without_an_owner_a_call_ends_at_once),
		T(patience_ends_and_says_whether_it_may_have_been_carried_out),
		T(a_question_that_does_not_end_is_waited_for_no_longer),
		T(one_that_has_been_replaced_is_not_believed), T(a_call_is_not_repeated_at_another_owner),
		T(a_call_that_comes_too_late_is_not_carried_out), T(a_takeover_ends_what_is_under_way),
		T(another_process_is_another_caller), T(foreign_bytes_are_refused),
		T(a_caller_cannot_have_more_kept_than_its_window),
		T(the_other_one_may_be_started_again_and_again), T(too_many_callers_are_refused),
		T(scsi_commands_and_answers_come_out_as_they_went_in),
		T(moves_and_what_the_owner_says_come_out_as_they_went_in)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
