/* SPDX-License-Identifier: Apache-2.0 */
/* Mailboxes: sending again, waiting, giving up, bounds, malformed messages; a seeded random campaign. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include "tests/support/test.h"
#include "tests/unit/control/rig.h"

static struct rig rig;
static struct up_msg ask, reply;
static struct lun *data;
static uint8_t wire[UP_REQUEST_MAX_BYTES * 2];
static const uint8_t set_one[UP_ID_BYTES] = {1, 2, 3};

#define H1      (&rig.nexus[0])
#define WAIT_MS 20

static int open_rig(void **state)
{
	(void)state;
	rig_open(&rig, NULL,
		&(struct inband_options){.mailboxes_per_host = 3, .mailboxes_max = 6, .wait_ms = WAIT_MS});
	data = rig_lun(&rig, "data", 8 << 20);
	rig_map(&rig, 0, data);
	return 0;
}

static int close_rig(void **state)
{
	(void)state;
	rig_close(&rig);
	return 0;
}

static int post_bytes(const uint8_t *bytes, size_t len)
{
	return inband_out(rig.inband, H1, NULL, 1, bytes, len);
}

static void begin(void)
{
	rig_request(&rig, &ask, UP_OP_SET_BEGIN);
	rig_set_id(&ask, set_one);
}

/* An armed set whose commit stays under way until the store is told to go on. */
static void hold_a_commit(uint64_t *request_id)
{
	begin();
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_OK);
	rig_request(&rig, &ask, UP_OP_SET_ADD);
	rig_set_id(&ask, set_one);
	rig_lun_id(&ask, data->id);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_OK);
	rig_request(&rig, &ask, UP_OP_SET_ARM);
	rig_set_id(&ask, set_one);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_OK);
	memstore_timing(rig.memory, MEMSTORE_CUT_COMMIT, MEMSTORE_MANUAL, 0);
	rig_request(&rig, &ask, UP_OP_SET_COMMIT);
	rig_set_id(&ask, set_one);
	ask.deadline_ms = 5000;
	ask.has |= UP_HAS(UP_TAG_DEADLINE_MS);
	*request_id = ask.request_id;
	assert_int_equal(rig_post(&rig, H1, NULL, 1, &ask), 0);
	rig_turn(&rig, 3);
	assert_int_equal(memstore_pending_kind(rig.memory, MEMSTORE_CUT_COMMIT), 1);
}

static void let_it_go(void)
{
	memstore_timing(rig.memory, MEMSTORE_CUT_COMMIT, MEMSTORE_INLINE, 0);
	memstore_complete_kind(rig.memory, MEMSTORE_CUT_COMMIT);
}

struct waiting {
	uint8_t bytes[UP_REPLY_MAX_BYTES];
	bool done;
	long result;
};

static void waited(void *arg, long result)
{
	struct waiting *w = arg;

	assert_false(w->done);
	w->done = true;
	w->result = result;
}

TEST(nothing_posted_is_an_error)
{
	assert_false(rig_fetch(&rig, H1, 1, &reply));
	begin();
	assert_int_equal(rig_post(&rig, H1, NULL, 1, &ask), 0);
	assert_false(rig_fetch(&rig, H1, 2, &reply));
	assert_false(rig_fetch(&rig, &rig.nexus[1], 1, &reply));
	assert_true(rig_fetch(&rig, H1, 1, &reply));
	assert_true(rig_fetch(&rig, H1, 1, &reply)); /* again, and over another path */
	assert_true(rig_fetch(&rig, &rig.second, 1, &reply));
	assert_int_equal(reply.request_id, ask.request_id);
}

TEST(the_same_request_does_its_work_once)
{
	uint64_t id;
	static struct waiting first, second;

	hold_a_commit(&id);
	memset(&first, 0, sizeof(first));
	memset(&second, 0, sizeof(second));
	assert_non_null(inband_in(rig.inband, H1, 1, first.bytes, sizeof(first.bytes), waited, &first));
	/* sent again while it runs, over the other path, which then waits too */
	assert_int_equal(rig_post(&rig, &rig.second, NULL, 1, &ask), 0);
	assert_non_null(
		inband_in(rig.inband, &rig.second, 1, second.bytes, sizeof(second.bytes), waited, &second));
	assert_int_equal(memstore_pending_kind(rig.memory, MEMSTORE_CUT_COMMIT), 1);
	assert_false(first.done);
	let_it_go();
	rig_until(&rig, &first.done);
	rig_until(&rig, &second.done);
	assert_int_equal(first.result, second.result);
	assert_memory_equal(first.bytes, second.bytes, (size_t)first.result);
	assert_int_equal(up_decode(&reply, first.bytes, (size_t)first.result), UP_OK);
	assert_int_equal(reply.status, UP_OK);
	assert_int_equal(reply.request_id, id);
	/* and afterwards; a new id is a second commit */
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_OK);
	assert_int_equal(reply.state, UP_SET_COMMITTED);
	ask.request_id = ++rig.next_request_id;
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_BAD_STATE);
}

TEST(a_wait_given_up_leaves_the_request)
{
	uint64_t id;
	static struct waiting w;

	hold_a_commit(&id);
	memset(&w, 0, sizeof(w));
	void *token = inband_in(rig.inband, H1, 1, w.bytes, sizeof(w.bytes), waited, &w);
	assert_non_null(token);
	inband_cancel(rig.inband, token);
	let_it_go();
	rig_turn(&rig, 5);
	assert_false(w.done);
	assert_true(rig_fetch(&rig, H1, 1, &reply));
	assert_int_equal(reply.request_id, id);
	assert_int_equal(reply.status, UP_OK);
}

/* Windows resets a LUN whose command takes longer than a disk's may: IN comes back, and is sent again. */
TEST(what_takes_long_is_pending)
{
	static struct waiting w;

	begin();
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_OK);
	rig_request(&rig, &ask, UP_OP_SET_ADD);
	rig_set_id(&ask, set_one);
	rig_lun_id(&ask, data->id);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_OK);
	memstore_timing(rig.memory, MEMSTORE_RESERVE, MEMSTORE_MANUAL, 0);
	rig_request(&rig, &ask, UP_OP_SET_ARM);
	rig_set_id(&ask, set_one);
	assert_int_equal(rig_post(&rig, H1, NULL, 1, &ask), 0);
	for (int i = 0; i < 3; i++) {
		uint64_t begun_ns = reactor_now_ns(rig.reactor);
		assert_true(rig_fetch(&rig, i == 1 ? &rig.second : H1, 1, &reply));
		assert_int_equal(reply.status, UP_PENDING);
		assert_int_equal(reply.op, UP_OP_SET_ARM);
		assert_int_equal(reply.request_id, ask.request_id);
		assert_true(reactor_now_ns(rig.reactor) - begun_ns >= UINT64_C(1000000) * (WAIT_MS - 1));
	}
	/* given up while it waits; one that waits gets the reply as soon as it is there */
	void *token = inband_in(rig.inband, H1, 1, w.bytes, sizeof(w.bytes), waited, &w);
	inband_cancel(rig.inband, token);
	memset(&w, 0, sizeof(w));
	assert_non_null(inband_in(rig.inband, H1, 1, w.bytes, sizeof(w.bytes), waited, &w));
	memstore_timing(rig.memory, MEMSTORE_RESERVE, MEMSTORE_INLINE, 0);
	assert_true(memstore_complete_kind(rig.memory, MEMSTORE_RESERVE));
	rig_until(&rig, &w.done);
	assert_int_equal(up_decode(&reply, w.bytes, (size_t)w.result), UP_OK);
	assert_int_equal(reply.status, UP_OK);
	assert_int_equal(reply.state, UP_SET_ARMED);
	assert_true(rig_fetch(&rig, H1, 1, &reply));
	assert_int_equal(reply.status, UP_OK);
}

/* Its deadline bounds it. */
TEST(a_commit_is_waited_for)
{
	static struct waiting w;
	uint64_t id;

	hold_a_commit(&id);
	memset(&w, 0, sizeof(w));
	assert_non_null(inband_in(rig.inband, H1, 1, w.bytes, sizeof(w.bytes), waited, &w));
	uint64_t until_ns = reactor_now_ns(rig.reactor) + UINT64_C(1000000) * 3 * WAIT_MS;
	while (reactor_now_ns(rig.reactor) < until_ns) {
		rig_turn(&rig, 1);
		assert_false(w.done);
	}
	let_it_go();
	rig_until(&rig, &w.done);
	assert_int_equal(up_decode(&reply, w.bytes, (size_t)w.result), UP_OK);
	assert_int_equal(reply.status, UP_OK);
}

TEST(another_request_does_not_wait_for_the_first)
{
	uint64_t id;
	struct up_msg commit;

	hold_a_commit(&id);
	commit = ask;
	rig_request(&rig, &ask, UP_OP_SET_STATE);
	rig_set_id(&ask, set_one);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_OK);
	assert_int_equal(reply.state, UP_SET_COMMITTING);
	let_it_go();
	rig_turn(&rig, 5);
	assert_int_equal(rig_ask(&rig, H1, &commit, &reply), UP_OK);
	assert_int_equal(reply.request_id, id);
}

TEST(an_id_used_for_something_else_is_told)
{
	begin();
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_OK);
	struct up_msg other = ask;
	other.op = UP_OP_SET_ABORT;
	assert_int_equal(rig_ask(&rig, H1, &other, &reply), UP_ID_CONFLICT);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_OK);
	assert_int_equal(reply.state, UP_SET_PREPARING);
	/* other slots have other ids */
	assert_int_equal(rig_post(&rig, H1, NULL, 2, &other), 0);
	assert_true(rig_fetch(&rig, H1, 2, &reply));
	assert_int_equal(reply.status, UP_OK);
}

TEST(malformed_messages_get_replies)
{
	size_t len;

	begin();
	len = up_encode(&ask, wire, sizeof(wire));
	for (size_t cut = 0; cut < len; cut++) {
		assert_int_equal(post_bytes(wire, cut), 0);
		assert_true(rig_fetch(&rig, H1, 1, &reply));
		assert_int_equal(reply.status, UP_BAD_MESSAGE);
		assert_true(strlen(reply.text) > 20);
		assert_int_equal(reply.request_id, cut >= UP_HEADER_BYTES ? ask.request_id : 0);
	}
	assert_null(set_find(rig.array, set_one, NULL));
	wire[0] = 'X'; /* magic */
	assert_int_equal(post_bytes(wire, len), 0);
	assert_true(rig_fetch(&rig, H1, 1, &reply));
	assert_int_equal(reply.status, UP_BAD_MESSAGE);
	wire[0] = 'U';
	wire[4] = 9; /* major version */
	assert_int_equal(post_bytes(wire, len), 0);
	assert_true(rig_fetch(&rig, H1, 1, &reply));
	assert_int_equal(reply.status, UP_BAD_VERSION);
	assert_int_equal(reply.version_major, UP_VERSION_MAJOR);
	assert_int_equal(reply.request_id, ask.request_id);
	wire[4] = UP_VERSION_MAJOR;
	wire[15] = 1; /* a reply */
	assert_int_equal(post_bytes(wire, len), 0);
	assert_true(rig_fetch(&rig, H1, 1, &reply));
	assert_int_equal(reply.status, UP_BAD_MESSAGE);
	wire[15] = 0;
	wire[23] = 0x77; /* another id than the refused one; a longer transfer than the message */
	assert_int_equal(post_bytes(wire, sizeof(wire)), 0);
	assert_true(rig_fetch(&rig, H1, 1, &reply));
	assert_int_equal(reply.status, UP_OK);
}

TEST(too_long_messages_get_replies)
{
	begin();
	size_t len = up_encode(&ask, wire, sizeof(wire));
	memset(wire + len, 0, sizeof(wire) - len);
	for (size_t at = len; at + 4 <= sizeof(wire); at += 4)
		wire[at] = 0x70; /* unknown fields of no length */
	wire[8] = 0;
	wire[9] = 0;
	wire[10] = (UP_REQUEST_MAX_BYTES + 4) >> 8;
	wire[11] = (UP_REQUEST_MAX_BYTES + 4) & 0xFF;
	assert_int_equal(post_bytes(wire, sizeof(wire)), 0);
	assert_true(rig_fetch(&rig, H1, 1, &reply));
	assert_int_equal(reply.status, UP_BAD_MESSAGE);
	assert_non_null(strstr(reply.text, "16384"));
	wire[10] = UP_REQUEST_MAX_BYTES >> 8;
	wire[11] = UP_REQUEST_MAX_BYTES & 0xFF;
	assert_int_equal(post_bytes(wire, UP_REQUEST_MAX_BYTES), 0);
	assert_true(rig_fetch(&rig, H1, 1, &reply));
	assert_int_equal(reply.status, UP_OK);
}

TEST(a_short_buffer_gets_the_beginning)
{
	static struct waiting w;

	begin();
	assert_int_equal(rig_post(&rig, H1, NULL, 1, &ask), 0);
	memset(&w, 0, sizeof(w));
	assert_null(inband_in(rig.inband, H1, 1, w.bytes, 16, waited, &w));
	assert_int_equal(w.result, 16);
	assert_int_equal(w.bytes[16], 0);
	assert_true(rig_fetch(&rig, H1, 1, &reply));
}

TEST(mailboxes_are_bounded_and_the_idle_make_room)
{
	/* more slots than an initiator's share: the oldest goes */
	for (uint16_t slot = 1; slot <= 4; slot++) {
		begin();
		assert_int_equal(rig_post(&rig, H1, NULL, slot, &ask), 0);
	}
	assert_false(rig_fetch(&rig, H1, 1, &reply));
	assert_true(rig_fetch(&rig, H1, 4, &reply));
	/* more initiators than there is room for */
	for (unsigned h = 1; h < 3; h++)
		for (uint16_t slot = 1; slot <= 3; slot++) {
			rig_request(&rig, &ask, UP_OP_IDENTIFY);
			assert_int_equal(rig_post(&rig, &rig.nexus[h], NULL, slot, &ask), 0);
		}
	assert_true(rig_fetch(&rig, &rig.nexus[2], 3, &reply));
	assert_false(rig_fetch(&rig, H1, 2, &reply));
}

/* Who it is it says, and that it stands by; nothing else is done or kept, so that what was asked is asked elsewhere. */
TEST(a_controller_that_stands_by_says_who_it_is_and_no_more)
{
	static struct waiting w;

	rig_request(&rig, &ask, UP_OP_IDENTIFY);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_OK);
	assert_false(reply.capabilities & UP_CAP_STANDBY);
	array_stand_by(rig.array);
	rig_request(&rig, &ask, UP_OP_IDENTIFY);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_OK);
	assert_true(reply.capabilities & UP_CAP_STANDBY);
	assert_memory_equal(reply.array_id, array_id(rig.array), UP_ID_BYTES);
	rig_request(&rig, &ask, UP_OP_LIST);
	assert_int_equal(rig_post(&rig, H1, NULL, 9, &ask), -ESHUTDOWN);
	memset(&w, 0, sizeof(w));
	assert_null(inband_in(rig.inband, H1, 9, w.bytes, sizeof(w.bytes), waited, &w));
	assert_int_equal(w.result, -ESHUTDOWN);
	/* what is no message is told so, here as elsewhere */
	assert_int_equal(post_bytes((const uint8_t *)"x", 1), 0);
	assert_true(rig_fetch(&rig, H1, 1, &reply));
	assert_int_equal(reply.status, UP_BAD_MESSAGE);
}

TEST(what_runs_keeps_its_mailbox)
{
	uint64_t id;
	static struct waiting w[4];

	hold_a_commit(&id);
	/* aborts wait for the commit: four of them fill slot 2 */
	for (unsigned i = 0; i < 4; i++) {
		rig_request(&rig, &ask, UP_OP_SET_ABORT);
		rig_set_id(&ask, set_one);
		assert_int_equal(rig_post(&rig, H1, NULL, 2, &ask), 0);
		memset(&w[i], 0, sizeof(w[i]));
		void *token = inband_in(rig.inband, H1, 2, w[i].bytes, sizeof(w[i].bytes), waited, &w[i]);
		if (!token)
			break; /* the model answered at once */
	}
	if (!w[0].done) {
		rig_request(&rig, &ask, UP_OP_SET_ABORT);
		rig_set_id(&ask, set_one);
		assert_int_equal(rig_post(&rig, H1, NULL, 2, &ask), 0);
		assert_true(rig_fetch(&rig, H1, 2, &reply));
		assert_int_equal(reply.status, UP_BUSY);
	}
	let_it_go();
	for (unsigned i = 0; i < 4; i++)
		rig_until(&rig, &w[i].done);
	rig_turn(&rig, 5);
	assert_null(lun_next(rig.array, data));
}

/* ---- random --------------------------------------------------------------------------------------- */

static uint64_t seed;

static uint32_t next_random(uint32_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 33) % below;
}

/* Property: whatever comes, in whatever order and over whatever path, gets one reply that belongs to the
 * request posted last; the same request the same reply; and at the end no unkept set leaves a LUN. */
TEST(random_requests_are_all_answered)
{
	const char *given = getenv("UMBRA_TEST_SEED");
	static uint8_t ids[4][UP_ID_BYTES], shadows[16][UP_ID_BYTES], before[UP_REPLY_MAX_BYTES];
	unsigned known = 0, fine = 0;

	seed = given ? strtoull(given, NULL, 0) : 20260103;
	print_message("seed %llu (UMBRA_TEST_SEED)\n", (unsigned long long)seed);
	memstore_timing(rig.memory, MEMSTORE_KINDS, MEMSTORE_DEFERRED, 0);
	for (unsigned i = 0; i < 4; i++)
		ids[i][0] = (uint8_t)(i + 1);
	for (unsigned round = 0; round < 6000; round++) {
		unsigned host = next_random(RIG_HOSTS);
		struct host_nexus *n = host == 0 && next_random(2) ? &rig.second : &rig.nexus[host];
		uint16_t slot = (uint16_t)next_random(2);
		rig_request(&rig, &ask, (enum up_op)next_random(UP_OP_COUNT + 1));
		rig_set_id(&ask, ids[next_random(4)]);
		rig_lun_id(&ask, known && next_random(3) ? shadows[next_random(known)] : data->id);
		ask.has |= UP_HAS(UP_TAG_DEADLINE_MS) | UP_HAS(UP_TAG_SCOPE);
		ask.deadline_ms = next_random(3) * 1000;
		ask.scope = 1 + next_random(3);
		size_t len = up_encode(&ask, wire, sizeof(wire));
		if (!next_random(8))
			wire[next_random((uint32_t)len)] ^= (uint8_t)(1u << next_random(8));
		assert_int_equal(inband_out(rig.inband, n, next_random(2) ? data : NULL, slot, wire, len), 0);
		if (next_random(2)) {
			assert_int_equal(inband_out(rig.inband, n, NULL, slot, wire, len), 0);
			rig_turn(&rig, 1);
		}
		assert_true(rig_fetch(&rig, n, slot, &reply));
		fine += reply.status == UP_OK;
		assert_true(reply.status == UP_OK || reply.text[0]);
		size_t first = up_encode(&reply, before, sizeof(before));
		if (reply.status != UP_BAD_MESSAGE && reply.status != UP_BAD_VERSION) {
			assert_int_equal(inband_out(rig.inband, n, NULL, slot, wire, len), 0);
			assert_true(rig_fetch(&rig, n, slot, &reply));
			assert_int_equal(up_encode(&reply, wire, sizeof(wire)), first);
			assert_memory_equal(wire, before, first);
		}
		if (reply.op == UP_OP_SET_ADD && reply.status == UP_OK)
			memcpy(shadows[known < 16 ? known++ : next_random(16)], reply.lun_id, UP_ID_BYTES);
	}
	print_message("%u of 6000 were fine\n", fine);
	assert_true(fine > 600);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(nothing_posted_is_an_error),
		WITH_RIG(the_same_request_does_its_work_once),
		WITH_RIG(a_wait_given_up_leaves_the_request),
		WITH_RIG(what_takes_long_is_pending),
		WITH_RIG(a_commit_is_waited_for),
		WITH_RIG(another_request_does_not_wait_for_the_first),
		WITH_RIG(an_id_used_for_something_else_is_told),
		WITH_RIG(malformed_messages_get_replies),
		WITH_RIG(too_long_messages_get_replies),
		WITH_RIG(a_short_buffer_gets_the_beginning),
		WITH_RIG(mailboxes_are_bounded_and_the_idle_make_room),
		WITH_RIG(a_controller_that_stands_by_says_who_it_is_and_no_more),
		WITH_RIG(what_runs_keeps_its_mailbox),
		WITH_RIG(random_requests_are_all_answered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
