/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SCSI commands between two controllers (array/peer_scsi.c): the real calls over a wire that loses nothing, and a target that the
 * test plays. What one end passes on is what the other carries out, and each end of it has its own word for the SCSI layer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/peer_scsi.h"
#include "tests/support/playwire.h"
#include "tests/support/test.h"

#define EPOCH 3u

struct end {
	struct play_end wire;
	struct peer_scsi *scsi;
};

static struct reactor *reactor;
static struct end owner, standby;

/* ---- the owner's target ---- */

static int a_target;
static struct scsi_target *const target = (struct scsi_target *)&a_target;
static unsigned executed, lost_all;
static struct scsi_remote seen, lost; /* what was carried out last, and which nexus has ended */
static uint8_t seen_data[64];
static struct scsi_remote reply; /* what it answers, */
static bool waits;               /* or not yet */
static struct scsi_remote *waiting;

static void carry_out(struct scsi_remote *r)
{
	r->err = reply.err;
	r->status = reply.status;
	r->sense_len = reply.sense_len;
	memcpy(r->sense, reply.sense, sizeof(r->sense));
	if (r->direction == SCSI_TO_INITIATOR) {
		memset(r->data, 0xD5, r->data_len);
		if (reply.data_len < r->data_len)
			r->data_len = reply.data_len;
	}
	r->done(r);
}

void scsi_remote_execute(struct scsi_target *t, struct scsi_remote *r)
{
	assert_ptr_equal(t, target);
	executed++;
	seen = *r;
	if (r->direction == SCSI_FROM_INITIATOR)
		memcpy(seen_data, r->data, r->data_len < sizeof(seen_data) ? r->data_len : sizeof(seen_data));
	if (waits)
		waiting = r;
	else
		carry_out(r);
}

void scsi_remote_manage(struct scsi_target *t, struct scsi_remote *r)
{
	assert_ptr_equal(t, target);
	executed++;
	seen = *r;
	r->err = reply.err;
	r->done(r);
}

void scsi_remote_lost(struct scsi_target *t, const struct scsi_remote *r)
{
	assert_ptr_equal(t, target);
	if (r)
		lost = *r;
	else
		lost_all++;
}

/* ---- a command of a host's ---- */

struct command {
	struct scsi_remote base;
	bool over;
};

static uint8_t room[PEER_DATA_MAX_BYTES + 512];

static void done(struct scsi_remote *r)
{
	struct command *c = container_of(r, struct command, base);

	assert_false(c->over);
	c->over = true;
}

static void begin(struct command *c, enum scsi_direction direction, uint32_t data_len)
{
	*c = (struct command){.base = {.initiator = "iqn.test:a",
				      .isid = {0x80, 1, 2, 3, 4, 5},
				      .port = 2,
				      .authenticated = true,
				      .lun_id = {9, 8, 7},
				      .cdb = {0x5E, 1},
				      .cdb_len = 10,
				      .direction = direction,
				      .data = room,
				      .data_len = data_len,
				      .done = done}};
	const struct scsi_standby_ops *to = peer_scsi_standby(standby.scsi);

	to->forward(to->ctx, &c->base);
}

static int await(const struct command *c)
{
	while (!c->over)
		assert_true(reactor_turn(reactor, 1000) >= 0);
	return c->base.err;
}

static int run(struct command *c, enum scsi_direction direction, uint32_t data_len)
{
	begin(c, direction, data_len);
	return await(c);
}

static void some_turns(unsigned count)
{
	while (count--)
		assert_true(reactor_turn(reactor, 0) >= 0);
}

static void plug_in(struct end *e, struct end *other, bool is_owner)
{
	play_end_init(&e->wire, &other->wire, reactor, is_owner, EPOCH);
	assert_int_equal(peer_scsi_create(&e->wire.peer, reactor, &e->scsi), 0);
	play_end_up(&e->wire);
}

static void unplug(struct end *e)
{
	peer_stop(e->wire.peer);
	some_turns(5);
	peer_scsi_serve(e->scsi, NULL);
	play_end_down(&e->wire);
	peer_scsi_destroy(e->scsi);
	peer_destroy(e->wire.peer);
}

static int setup(void **state)
{
	(void)state;
	executed = lost_all = 0;
	waits = false;
	waiting = NULL;
	memset(&seen, 0, sizeof(seen));
	memset(&lost, 0, sizeof(lost));
	memset(&reply, 0, sizeof(reply));
	memset(room, 0, sizeof(room));
	if (reactor_create(&reactor, NULL))
		return -1;
	plug_in(&owner, &standby, true);
	plug_in(&standby, &owner, false);
	peer_scsi_serve(owner.scsi, target);
	return 0;
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

TEST(a_command_is_carried_out_for_the_nexus_that_gave_it)
{
	struct command c;

	reply.data_len = 24;
	assert_int_equal(run(&c, SCSI_TO_INITIATOR, 100), 0);
	assert_string_equal(seen.initiator, "iqn.test:a");
	assert_memory_equal(seen.isid, c.base.isid, sizeof(seen.isid));
	assert_memory_equal(seen.lun_id, c.base.lun_id, sizeof(seen.lun_id));
	assert_memory_equal(seen.cdb, c.base.cdb, 10);
	assert_int_equal(seen.cdb_len, 10);
	assert_int_equal(seen.port, 2);
	assert_true(seen.authenticated);
	assert_int_equal(seen.direction, SCSI_TO_INITIATOR);
	assert_int_equal(seen.data_len, 100); /* room */
	assert_int_equal(c.base.data_len, 24);
	assert_int_equal(room[23], 0xD5);
	assert_int_equal(room[24], 0);

	memset(room, 0x6B, sizeof(room));
	assert_int_equal(run(&c, SCSI_FROM_INITIATOR, 24), 0);
	assert_int_equal(seen.data_len, 24);
	assert_int_equal(seen_data[0], 0x6B);
	assert_int_equal(seen_data[23], 0x6B);
	assert_int_equal(run(&c, SCSI_NONE, 0), 0);
	assert_int_equal(seen.direction, SCSI_NONE);
	assert_int_equal(executed, 3);
}

TEST(status_and_sense_are_those_of_the_owner)
{
	struct command c;

	reply.status = SCSI_STATUS_CHECK_CONDITION;
	reply.sense_len = 18;
	memcpy(reply.sense, "\x70\0\5\0\0\0\0\x0A\0\0\0\0\x24", 13);
	assert_int_equal(run(&c, SCSI_TO_INITIATOR, 100), 0);
	assert_int_equal(c.base.status, SCSI_STATUS_CHECK_CONDITION);
	assert_int_equal(c.base.sense_len, 18);
	assert_memory_equal(c.base.sense, reply.sense, 18);
	assert_int_equal(c.base.data_len, 0);
}

/* Room beyond what any answer has is no reason to refuse; data beyond what any command has is. */
TEST(lengths_have_their_bounds)
{
	struct command c;

	reply.data_len = UINT32_MAX;
	assert_int_equal(run(&c, SCSI_TO_INITIATOR, sizeof(room)), 0);
	assert_int_equal(seen.data_len, PEER_DATA_MAX_BYTES);
	assert_int_equal(c.base.data_len, PEER_DATA_MAX_BYTES);
	assert_int_equal(room[PEER_DATA_MAX_BYTES], 0);
	assert_int_equal(run(&c, SCSI_FROM_INITIATOR, PEER_DATA_MAX_BYTES), 0);
	assert_int_equal(executed, 2);
	begin(&c, SCSI_FROM_INITIATOR, PEER_DATA_MAX_BYTES + 1);
	assert_int_equal(await(&c), 0);
	assert_int_equal(executed, 2);
	assert_int_equal(c.base.status, SCSI_STATUS_CHECK_CONDITION);
	assert_int_equal(c.base.sense[2], 5);
	assert_int_equal(c.base.sense[12], 0x1A);
}

/* -ESHUTDOWN: this path cannot have it (02/04/0B), and a host goes to the other one; -EAGAIN: it tries again (BUSY), which only
 * helps where something changes by itself. */
TEST(what_the_owner_refuses_for_good_is_not_tried_again)
{
	static const struct {
		int said, told;
	} rows[] = {
		{-EINVAL,
			-ESHUTDOWN}, /* a port of which it does not know as the other controller's, or no such command */
		{-ESHUTDOWN, -ESHUTDOWN}, {-ECANCELED, -ECANCELED}, {-ENOMEM, -EAGAIN}, {-ENOBUFS, -EAGAIN},
		{-EACCES, -EAGAIN}};
	struct command c;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		reply.err = rows[i].said;
		assert_int_equal(run(&c, SCSI_TO_INITIATOR, 100), rows[i].told);
		assert_int_equal(c.base.data_len, 0);
		assert_int_equal(run(&c, SCSI_FROM_INITIATOR, 24), rows[i].told);
		assert_false(c.base.unsure);
	}
	peer_serve(owner.wire.peer, PEER_SCSI, false, NULL, NULL); /* one that has no such calls */
	assert_int_equal(run(&c, SCSI_TO_INITIATOR, 100), -ESHUTDOWN);
}

/* A read is tried again; a write may have been carried out, and its host has to look. */
TEST(what_may_have_been_carried_out_is_told_as_that)
{
	struct command c;

	reply.sense_len = SCSI_SENSE_MAX_BYTES + 1; /* no answer has room for it */
	assert_int_equal(run(&c, SCSI_TO_INITIATOR, 100), -EAGAIN);
	assert_true(c.base.unsure);
	assert_int_equal(run(&c, SCSI_FROM_INITIATOR, 24), -ETIMEDOUT);
	assert_true(c.base.unsure);
	assert_int_equal(run(&c, SCSI_NONE, 0), -EAGAIN);
	waits = true;
	begin(&c, SCSI_FROM_INITIATOR, 24);
	some_turns(5);
	assert_non_null(waiting);
	standby.wire.owns = true; /* it takes the array over */
	standby.wire.epoch = EPOCH + 1;
	peer_abandon(standby.wire.peer);
	assert_int_equal(await(&c), -ETIMEDOUT);
	reply.sense_len = 0;
	carry_out(waiting); /* the one before ends it all the same */
	some_turns(5);
}

TEST(without_an_owner_or_its_target_a_command_ends_at_once)
{
	struct command c;

	peer_scsi_serve(owner.scsi, NULL);
	assert_int_equal(lost_all, 1);
	assert_int_equal(run(&c, SCSI_TO_INITIATOR, 100), -ESHUTDOWN);
	standby.wire.epoch = 0;
	assert_int_equal(run(&c, SCSI_TO_INITIATOR, 100), -ESHUTDOWN);
	assert_int_equal(executed, 0);
}

/* The wire goes while the target has a command: it ends there, and nobody is told. */
TEST(a_command_may_outlive_the_wire_it_came_by)
{
	struct command c;

	waits = true;
	begin(&c, SCSI_TO_INITIATOR, 100);
	some_turns(5);
	assert_non_null(waiting);
	play_end_down(&owner.wire);
	assert_int_equal(lost_all, 1); /* whose nexuses they were is gone */
	carry_out(waiting);
	assert_non_null(owner.wire.unanswered);
	peer_stop(standby.wire.peer);
	owner.wire.base.ops->answer(&owner.wire.base, owner.wire.unanswered, NULL, 0); /* the wire's end */
	assert_int_equal(await(&c), -EAGAIN);
}

TEST(the_end_of_a_session_is_told)
{
	const struct scsi_standby_ops *to = peer_scsi_standby(standby.scsi);
	struct command c;

	assert_int_equal(run(&c, SCSI_TO_INITIATOR, 100), 0);
	c.base.direction = SCSI_NONE;
	to->lost(to->ctx, &c.base);
	some_turns(5);
	assert_string_equal(lost.initiator, "iqn.test:a");
	assert_memory_equal(lost.isid, c.base.isid, sizeof(lost.isid));
	assert_int_equal(lost.port, 2);
	assert_int_equal(lost_all, 0);
	peer_stop(standby.wire.peer);
	memset(&lost, 0, sizeof(lost));
	to->lost(to->ctx, &c.base);
	some_turns(5);
	assert_int_equal(lost.port, 0);
}

struct raw {
	struct peer_call base;
	bool over;
	int err;
};

static void answered(struct peer_call *c, int err, const uint8_t *data, uint32_t len)
{
	struct raw *raw = container_of(c, struct raw, base);

	(void)data, (void)len;
	raw->over = true;
	raw->err = err;
}

/* A task management function goes the same way, and has no answer but its end. */
TEST(a_function_is_carried_out_for_the_nexus_that_asked)
{
	const struct scsi_standby_ops *to = peer_scsi_standby(standby.scsi);

	for (unsigned i = 0; i < 2; i++) {
		struct command c = {.base = {.initiator = "iqn.test:a",
					    .isid = {0x80, 1, 2, 3, 4, 5},
					    .port = 2,
					    .lun_id = {9, 8, 7},
					    .cdb = {SCSI_LUN_RESET},
					    .cdb_len = 1,
					    .direction = SCSI_NONE,
					    .done = done}};

		reply.err = i ? -ENODEV : 0;
		to->manage(to->ctx, &c.base);
		assert_int_equal(await(&c), reply.err);
		assert_string_equal(seen.initiator, "iqn.test:a");
		assert_memory_equal(seen.lun_id, c.base.lun_id, sizeof(seen.lun_id));
		assert_int_equal(seen.cdb_len, 1);
		assert_int_equal(seen.cdb[0], SCSI_LUN_RESET);
		assert_int_equal(seen.port, 2);
	}
	assert_int_equal(executed, 2);
}

/* In a good message, as one that may write to the store can make it. */
TEST(what_is_no_command_is_refused_and_reaches_no_target)
{
	static const enum peer_topic topics[] = {PEER_SCSI, PEER_NEXUS_LOST, PEER_MANAGE};
	uint8_t bytes[64];

	memset(bytes, 0xFF, sizeof(bytes));
	for (size_t t = 0; t < sizeof(topics) / sizeof(topics[0]); t++)
		for (uint32_t len = 0; len <= sizeof(bytes); len += 16) {
			struct raw raw = {.base = {.topic = topics[t],
						  .data = bytes,
						  .len = len,
						  .patience_ms = 60000,
						  .done = answered}};

			peer_call(standby.wire.peer, &raw.base);
			while (!raw.over)
				assert_true(reactor_turn(reactor, 1000) >= 0);
			assert_int_equal(raw.err, -EINVAL);
		}
	assert_int_equal(executed, 0);
	assert_int_equal(lost.port, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(a_command_is_carried_out_for_the_nexus_that_gave_it),
		T(status_and_sense_are_those_of_the_owner), T(lengths_have_their_bounds),
		T(what_the_owner_refuses_for_good_is_not_tried_again),
		T(what_may_have_been_carried_out_is_told_as_that),
		T(without_an_owner_or_its_target_a_command_ends_at_once),
		T(a_command_may_outlive_the_wire_it_came_by), T(the_end_of_a_session_is_told),
		T(a_function_is_carried_out_for_the_nexus_that_asked),
		T(what_is_no_command_is_refused_and_reaches_no_target)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
