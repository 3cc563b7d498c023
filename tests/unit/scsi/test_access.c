/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Target port groups: what is reported of them, what a LUN answers in each access state, what goes to the owner and how
 * it is carried out there, and sessions that go on at another target.
 */
#include "tests/unit/scsi/two.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/scsi/command.h"
#include "array/scsi/nexus.h"
#include "array/util/bytes.h"

#define RTPG(format) CDB(0xA3, 0x0A | (format) << 5, 0, 0, 0, 0, 0, 0, 1, 0)

/* ---- what is reported ---------------------------------------------------------------------------------- */

TEST(all_groups_are_reported_on_every_path)
{
	static const uint8_t want[] = {0, 0, 0, 28,                   /* */
		0x80, 0x8D, 0, 1, 0, 2, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, /* */
		0x02, 0x8D, 0, 2, 0, 2, 0, 1, 0, 0, 0, 3};
	struct client *clients[] = {&test_a, &standby};

	for (unsigned i = 0; i < 2; i++) {
		expect_good(client_run(clients[i], 1, RTPG(0), NO_DATA));
		assert_int_equal(test_last.len, sizeof(want));
		assert_memory_equal(test_last.data, want, sizeof(want));
		expect_good(client_run(clients[i], 1, RTPG(1), NO_DATA));
		assert_int_equal(test_last.len, sizeof(want) + 4);
		assert_memory_equal(test_last.data + 3, "\x20\x10\x3C\0\0", 5);
		assert_memory_equal(test_last.data + 8, want + 4, sizeof(want) - 4);
		/* 88h: the ports of both */
		expect_good(client_run(clients[i], 1, CDB(0x12, 1, 0x88, 1, 0, 0), NO_DATA));
		assert_int_equal(test_last.len, 4 + 3 * 20);
		assert_int_equal(get_be16(test_last.data + 4 + 40 + 2), 3);
		/* 83h: the port that was asked, and its group, at the end */
		expect_good(client_run(clients[i], 1, CDB(0x12, 1, 0x83, 1, 0, 0), NO_DATA));
		assert_memory_equal(test_last.data + test_last.len - 16,
			i ? "\x51\x94\0\x04\0\0\0\x03\x51\x95\0\x04\0\0\0\x02"
			  : "\x51\x94\0\x04\0\0\0\x01\x51\x95\0\x04\0\0\0\x01",
			16);
		/* implicit ALUA, several ports */
		expect_good(client_run(clients[i], 1, CDB(0x12, 0, 0, 0, 96, 0), NO_DATA));
		assert_int_equal(test_last.data[5] & 0x30, 0x10);
		assert_int_equal(test_last.data[6] & 0x10, 0x10);
	}
}

TEST(groups_that_contradict_each_other_are_refused)
{
	struct scsi_target_options options = {.array = fake_again(),
		.target_name = "iqn.test:target",
		.groups = groups,
		.group_count = 2,
		.group = 3};
	struct scsi_target *t;

	assert_int_equal(scsi_target_create(&options, &t), -EINVAL); /* not among them */
	groups[1].ports[0] = 1;
	assert_int_equal(scsi_target_set_groups(owner, groups, 2), -EINVAL); /* a port twice */
	groups[1].ports[0] = 3;
	groups[1].id = 1;
	assert_int_equal(scsi_target_set_groups(owner, groups, 2), -EINVAL); /* an id twice */
	groups[1].id = 2;
	groups[0].id = 5;
	assert_int_equal(scsi_target_set_groups(owner, groups, 2), -EINVAL); /* without its own */
	groups[0].id = 1;
	groups[1].port_count = SCSI_PORTS_MAX - 1;
	for (unsigned i = 0; i < SCSI_PORTS_MAX - 1; i++)
		groups[1].ports[i] = (uint16_t)(10 + i);
	assert_int_equal(scsi_target_set_groups(owner, groups, 2), -EINVAL); /* too many ports */
	assert_int_equal(scsi_target_set_groups(owner, groups, SCSI_PORT_GROUPS_MAX + 1), -EINVAL);
	/* nothing has changed, and nobody was told of anything */
	expect_good(run(a, 1, RTPG(0), NO_DATA));
	assert_int_equal(test_last.len, 32);
	assert_int_equal(test_last.data[31], 3);
}

TEST(a_change_is_told_to_every_nexus_on_every_lun)
{
	reset_groups(SCSI_ACCESS_OPTIMIZED, SCSI_ACCESS_STANDBY);
	assert_int_equal(scsi_target_set_groups(owner, groups, 2), 0);
	expect_good(run(a, 1, TUR, NO_DATA)); /* it is as it was */
	groups[1].access = SCSI_ACCESS_UNAVAILABLE;
	assert_int_equal(scsi_target_set_groups(owner, groups, 2), 0);
	for (unsigned lun = 1; lun <= FAKE_LUNS; lun++) {
		expect_sense(run(a, lun, TUR, NO_DATA), 6, 0x2A06);
		expect_sense(run(b, lun, TUR, NO_DATA), 6, 0x2A06);
		expect_good(run(a, lun, TUR, NO_DATA));
		expect_good(run(b, lun, TUR, NO_DATA));
	}
	expect_good(run(c, 0, TUR, NO_DATA)); /* the control LU has no ports to tell of */
	expect_good(run(a, 1, RTPG(0), NO_DATA));
	assert_int_equal(test_last.data[20], 0x03);
	groups[1].port_count = 2; /* the other controller has come back with one more portal */
	groups[1].ports[1] = 4;
	assert_int_equal(scsi_target_set_groups(owner, groups, 2), 0);
	expect_sense(run(a, 1, TUR, NO_DATA), 6, 0x2A06);
	expect_good(run(a, 1, RTPG(0), NO_DATA));
	assert_int_equal(test_last.len, 36);
}

/* ---- what is answered ---------------------------------------------------------------------------------- */

enum answer {
	NOT_HERE,
	HERE,
	AT_THE_OWNER
};

static bool is_one_of(uint8_t opcode, const uint8_t *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == opcode)
			return true;
	return false;
}

/* What SPC-4 5.15.2 wants of the commands that there are, the control channel, and the reports of what is supported. */
static enum answer expected(const struct scsi_command *row, enum scsi_access access)
{
	static const uint8_t always[] = {0x03, 0x12, 0xA0}, channel[] = {0xA2, 0xB5, 0xC2, 0xC5},
			     owners[] = {0x15, 0x1A, 0x1D, 0x4D, 0x55, 0x5A, 0x5E, 0x5F};

	if (access == SCSI_ACCESS_OPTIMIZED || is_one_of(row->opcode, always, sizeof(always)) ||
		(row->opcode == 0xA3 && row->service_action == 0x0A))
		return HERE;
	if (access != SCSI_ACCESS_STANDBY)
		return NOT_HERE;
	if (is_one_of(row->opcode, owners, sizeof(owners)))
		return AT_THE_OWNER;
	return row->opcode == 0xA3 || is_one_of(row->opcode, channel, sizeof(channel)) ? HERE : NOT_HERE;
}

TEST(each_command_is_answered_where_the_standard_says)
{
	static const struct {
		enum scsi_access access;
		unsigned asc;
	} states[] = {{SCSI_ACCESS_OPTIMIZED, 0}, {SCSI_ACCESS_STANDBY, 0x040B},
		{SCSI_ACCESS_UNAVAILABLE, 0x040C}, {SCSI_ACCESS_TRANSITIONING, 0x040A}};

	forward_error = -EIO;
	for (unsigned s = 0; s < 4; s++) {
		reset_groups(SCSI_ACCESS_STANDBY, states[s].access);
		assert_int_equal(scsi_target_set_groups(other, groups, 2), 0);
		client_clear_attentions(&standby);
		client_run(&standby, 1, TUR, NO_DATA);
		for (unsigned i = 0; i < scsi_command_count; i++) {
			const struct scsi_command *row = &scsi_commands[i];
			uint8_t cdb[16] = {row->opcode, row->flags & CMD_SA ? row->service_action : 0};
			unsigned before = forwards, refusals;
			bool here;

			client_run(&standby, 1, cdb, sizeof(cdb), NULL, 0);
			refusals = test_last.key == 2 && test_last.asc == states[s].asc;
			here = !refusals && forwards == before;
			assert_int_equal(expected(row, states[s].access), here                ? HERE
									  : forwards > before ? AT_THE_OWNER
											      : NOT_HERE);
			assert_true(states[s].asc || test_last.key != 2);
		}
	}
	/* what nobody knows is as wrong as ever; LUNs that are not there are not there */
	expect_sense(client_run(&standby, 1, CDB(0xEE, 0, 0, 0, 0, 0), NO_DATA), 5, 0x2000);
	expect_sense(client_run(&standby, 9, TUR, NO_DATA), 5, 0x2500);
}

TEST(request_sense_tells_the_state)
{
	expect_good(client_run(&standby, 1, CDB(0x03, 0, 0, 0, 18, 0), NO_DATA));
	assert_int_equal(test_last.data[2], 2);
	assert_int_equal(get_be16(test_last.data + 12), 0x040B);
	reset_groups(SCSI_ACCESS_UNAVAILABLE, SCSI_ACCESS_TRANSITIONING);
	assert_int_equal(scsi_target_set_groups(other, groups, 2), 0);
	expect_good(client_run(&standby, 1, CDB(0x03, 0, 0, 0, 18, 0), NO_DATA));
	assert_int_equal(get_be16(test_last.data + 12), 0x2A06); /* first what has happened */
	expect_good(client_run(&standby, 1, CDB(0x03, 0, 0, 0, 18, 0), NO_DATA));
	assert_int_equal(get_be16(test_last.data + 12), 0x040A);
}

TEST(without_a_way_to_the_owner_its_commands_are_refused)
{
	reset_groups(SCSI_ACCESS_STANDBY, SCSI_ACCESS_OPTIMIZED);
	assert_int_equal(scsi_target_set_groups(owner, groups, 2), 0);
	client_clear_attentions(&test_a);
	run(a, 1, TUR, NO_DATA);
	expect_sense(run(a, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 0, 8, 0), NO_DATA), 2, 0x040B);
	expect_sense(run(a, 1, CDB(0x1A, 0, 0x3F, 0, 255, 0), NO_DATA), 2, 0x040B);
}

TEST(what_waits_when_the_state_changes_changes_nothing)
{
	struct exchange gated = {0}, running = {0};
	uint8_t block[512] = {1};

	memset(block, 0x5A, sizeof(block));
	fake_hold_io = true;
	client_begin(&test_a, &running, 1, CDB(0x2A, 0, 0, 0, 0, 8, 0, 0, 1, 0), block, sizeof(block));
	fake_hold_io = false;
	fake_gate(true);
	client_begin(&test_a, &gated, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), block, sizeof(block));
	assert_int_equal(fake_gate_queued, 1);
	reset_groups(SCSI_ACCESS_STANDBY, SCSI_ACCESS_TRANSITIONING);
	assert_int_equal(scsi_target_set_groups(owner, groups, 2), 0);
	fake_gate(false);
	assert_true(gated.done);
	assert_int_equal(gated.key, 2);
	assert_int_equal(gated.asc, 0x040B);
	assert_int_equal(fake_luns[0].writes, 0);
	/* what had begun ends as it does */
	fake_complete();
	assert_true(running.done);
	assert_int_equal(running.task.status, SCSI_STATUS_GOOD);
	exchange_free(&gated);
	exchange_free(&running);
}

TEST(a_store_that_has_lost_the_array_is_in_transition)
{
	fake_io_error = -ESHUTDOWN;
	expect_sense(run(a, 1, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA), 2, 0x040A);
}

/* ---- the way to the owner ------------------------------------------------------------------------------ */

TEST(a_registration_in_standby_is_that_ports_at_the_owner)
{
	expect_good(pr_out(&standby, 0, 0, 0, 7));
	expect_good(pr_out(&test_a, 0, 0, 0, 7));
	expect_good(pr_out(&test_a, 1, 5, 7, 0));
	expect_good(run(a, 1, CDB(0x5E, 3, 0, 0, 0, 0, 0, 4, 0, 0), NO_DATA));
	assert_int_equal(get_be16(test_last.data + 8 + 18), 3); /* relative target port of the first */
	assert_int_equal(test_last.data[8 + 12], 0);
	assert_memory_equal(test_last.data + 8 + 24 + 4, "iqn.test:a,i,0x800000000007", 28);
	/* read on both paths alike */
	expect_good(client_run(&standby, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 4, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 8 + 2 * 8);
	assert_int_equal(get_be32(test_last.data), 2);
	/* data of which there is more than room */
	expect_good(client_run(&standby, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 0, 8, 0), NO_DATA));
	assert_int_equal(test_last.len, 8);
	assert_int_equal(forwards, 3);
	/* refused there, refused here, with the sense from there */
	expect_conflict(pr_out(&standby, 1, 5, 8, 0));
	expect_sense(client_run(&standby, 1, CDB(0x5F, 0, 0, 0, 0, 0, 0, 0, 23, 0), (uint8_t[23]){0}, 23), 5,
		0x1A00);
	/* a preemption finds it, and it is told with what it asks next */
	expect_good(pr_out(&test_b, 0, 0, 0, 9));
	expect_good(pr_out(&test_b, 4, 5, 9, 7));
	expect_sense(client_run(&standby, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 4, 0, 0), NO_DATA), 6, 0x2A05);
	expect_good(client_run(&standby, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 4, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 8 + 8);
}

TEST(there_is_one_set_of_mode_pages)
{
	uint8_t swp[8 + 4 + 12] = {0};

	/* MODE SENSE(6), the control page, tells what it is; changed on the standby path */
	expect_good(client_run(&standby, 1, CDB(0x1A, 8, 0x0A, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 4 + 12);
	memcpy(swp, test_last.data, test_last.len);
	swp[0] = swp[2] = 0;
	swp[4 + 4] |= 0x08;
	expect_good(client_run(&standby, 1, CDB(0x15, 0x10, 0, 0, 16, 0), swp, 16));
	run(a, 1, TUR, NO_DATA); /* 2A/01 */
	expect_sense(run(a, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), swp, 512), 7, 0x2702);
}

/* A length of 0 is no error (SPC-4 4.2.5.6): as at the owner. */
TEST(an_owner_is_asked_without_data_too)
{
	static const uint8_t cdbs[][10] = {{0x1A, 8, 0x3F}, {0x5A, 8, 0x3F}, {0x15, 0x10}, {0x55, 0x10},
		{0x4D, 0, 0x40}, {0x5E, 0}, {0x5E, 1}, {0x5E, 2}, {0x5E, 3}};

	for (size_t i = 0; i < sizeof(cdbs) / sizeof(cdbs[0]); i++) {
		size_t len = cdbs[i][0] < 0x20 ? 6 : 10;

		expect_good(run(a, 1, cdbs[i], len, NO_DATA));
		expect_good(client_run(&standby, 1, cdbs[i], len, NO_DATA));
	}
	assert_int_equal(forwards, sizeof(cdbs) / sizeof(cdbs[0]));
	expect_sense(client_run(&standby, 1, CDB(0x5F, 0, 0, 0, 0, 0, 0, 0, 0, 0), NO_DATA), 5, 0x1A00);
}

TEST(the_owners_answer_may_take_its_time)
{
	struct exchange x = {0};

	forward_waits = true;
	client_begin(&standby, &x, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 0, 8, 0), NO_DATA);
	assert_false(x.done);
	assert_string_equal(kept->initiator, "iqn.test:a");
	assert_memory_equal(kept->isid, "\x80\0\0\0\0\x07", 6);
	assert_int_equal(kept->port, 3);
	assert_true(kept->authenticated);
	assert_memory_equal(kept->lun_id, fake_luns[0].lun.id, UP_ID_BYTES);
	assert_int_equal(kept->cdb_len, 10);
	scsi_remote_execute(owner, kept);
	assert_true(x.done);
	assert_int_equal(x.task.status, SCSI_STATUS_GOOD);
	assert_int_equal(x.len, 8);
	/* the session ends before the answer comes: nobody is answered, nothing is lost */
	client_begin(&standby, &x, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 0, 8, 0), NO_DATA);
	scsi_nexus_destroy(standby.nexus);
	standby.nexus = NULL;
	assert_false(x.done);
	scsi_remote_execute(owner, kept);
	assert_true(x.done);
	assert_true(x.task.aborted);
	exchange_free(&x);
}

TEST(an_owner_that_does_not_answer)
{
	forward_error = -ESHUTDOWN;
	expect_sense(client_run(&standby, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 0, 8, 0), NO_DATA), 2, 0x040B);
	forward_error = -EAGAIN;
	assert_int_equal(
		client_run(&standby, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 0, 8, 0), NO_DATA), SCSI_STATUS_BUSY);
}

static unsigned ends;

static void ended(struct scsi_remote *r)
{
	(void)r;
	ends++;
}

static int carried_out(void (*call)(struct scsi_target *t, struct scsi_remote *r), struct scsi_remote *r)
{
	unsigned before = ends;

	r->done = ended;
	r->err = 1;
	call(owner, r);
	assert_int_equal(ends, before + 1);
	return r->err;
}

static int remote(struct scsi_remote *r)
{
	return carried_out(scsi_remote_execute, r);
}

/* The other controller is believed in what only it can know, and in nothing else. */
TEST(the_owner_carries_out_nothing_else)
{
	uint8_t data[512] = {0};
	const struct scsi_remote good = {.initiator = "iqn.test:a",
		.isid = {0x80, 0, 0, 0, 0, 7},
		.port = 3,
		.authenticated = true,
		.cdb = {0x5E, 0, 0, 0, 0, 0, 0, 0, 8},
		.cdb_len = 10,
		.direction = SCSI_TO_INITIATOR,
		.data = data,
		.data_len = 8};
	struct scsi_remote r = good;

	memcpy(r.lun_id, fake_luns[0].lun.id, UP_ID_BYTES);
	assert_int_equal(remote(&r), 0);
	assert_int_equal(r.status, SCSI_STATUS_GOOD);
	assert_int_equal(fake_nexuses, 6); /* the four, the one in standby, and the one that stands for it */
	assert_int_equal(remote(&r), 0);
	assert_int_equal(fake_nexuses, 6);
	/* a LUN that the host does not see */
	memset(r.lun_id, 0xEE, UP_ID_BYTES);
	assert_int_equal(remote(&r), 0);
	assert_int_equal(r.status, SCSI_STATUS_CHECK_CONDITION);
	assert_int_equal(get_be16(r.sense + 12), 0x2500);
	/* a port that is ours, one that is nobody's */
	r = good;
	r.port = 1;
	assert_int_equal(remote(&r), -EINVAL);
	r.port = 77;
	assert_int_equal(remote(&r), -EINVAL);
	/* a write; a command that there is not; no command; another direction */
	r = good;
	memcpy(r.cdb, "\x2A\0\0\0\0\0\0\0\x01\0", 10);
	r.direction = SCSI_FROM_INITIATOR;
	r.data_len = 512;
	assert_int_equal(remote(&r), -EINVAL);
	r.cdb[0] = 0xEE;
	assert_int_equal(remote(&r), -EINVAL);
	r.cdb_len = 0;
	assert_int_equal(remote(&r), -EINVAL);
	r = good;
	r.direction = SCSI_FROM_INITIATOR;
	assert_int_equal(remote(&r), -EINVAL);
	/* an initiator that is no host's */
	r = good;
	snprintf(r.initiator, sizeof(r.initiator), "iqn.test:nobody");
	assert_int_equal(remote(&r), -EACCES);
	/* fewer bytes than the command says */
	r = good;
	memcpy(r.lun_id, fake_luns[0].lun.id, UP_ID_BYTES);
	memcpy(r.cdb, "\x5F\0\0\0\0\0\0\0\x18\0", 10);
	r.direction = SCSI_FROM_INITIATOR;
	assert_int_equal(remote(&r), 0);
	assert_int_equal(get_be16(r.sense + 12), 0x1A00);
	/* not by a controller that is in standby itself */
	r = good;
	reset_groups(SCSI_ACCESS_STANDBY, SCSI_ACCESS_STANDBY);
	assert_int_equal(scsi_target_set_groups(owner, groups, 2), 0);
	assert_int_equal(remote(&r), -ESHUTDOWN);
	/* the session at the other controller ends, and is not there any more */
	scsi_remote_lost(owner, &good);
	assert_int_equal(fake_nexuses, 5);
	scsi_remote_lost(owner, &good);
	assert_int_equal(fake_luns[0].writes, 0);
}

/* ---- task management ----------------------------------------------------------------------------------- */

struct function {
	struct scsi_tmf_call call;
	enum scsi_tmf_result result;
	unsigned done;
};

static void function_done(struct scsi_tmf_call *call, enum scsi_tmf_result result)
{
	struct function *f = container_of(call, struct function, call);

	f->done++;
	f->result = result;
}

/* By the path in standby. */
static void function_begin(struct function *f, enum scsi_tmf function)
{
	*f = (struct function){.call = {.function = function,
				       .lun = {0, function >= SCSI_TARGET_WARM_RESET ? 0 : 1},
				       .nexus = standby.nexus,
				       .done = function_done}};
	scsi_tmf(&f->call);
}

static struct exchange written;

static void write_begins(struct client *c)
{
	static const uint8_t data[512];

	memset(&written.task, 0, sizeof(written.task));
	client_begin(c, &written, 1, CDB(0x2A, 0, 0, 0, 0, 8, 0, 0, 1, 0), data, sizeof(data));
	assert_false(written.done);
}

/* A reset is the LUN's, and so are the tasks that are cleared: those of other hosts at the owner end, are told, and are waited for. */
TEST(task_management_in_standby_is_the_owners)
{
	static const struct {
		enum scsi_tmf function;
		unsigned asc; /* that all are told afterwards */
	} rows[] = {{SCSI_CLEAR_TASK_SET, 0}, {SCSI_LUN_RESET, 0x2903}, {SCSI_TARGET_WARM_RESET, 0x2902},
		{SCSI_TARGET_COLD_RESET, 0x2902}};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct function f;

		fake_hold_io = true;
		write_begins(&test_b);
		function_begin(&f, rows[i].function);
		assert_int_equal(f.done, 0);
		assert_int_equal(forwards, i + 1);
		fake_complete();
		fake_hold_io = false;
		assert_int_equal(f.done, 1);
		assert_int_equal(f.result, SCSI_TMF_COMPLETE);
		assert_true(written.done);
		assert_int_equal(written.task.status, SCSI_STATUS_TASK_ABORTED);
		if (rows[i].asc) {
			expect_sense(run(a, 1, TUR, NO_DATA), 6, rows[i].asc);
			expect_sense(run(b, 1, TUR, NO_DATA), 6, rows[i].asc);
		}
		client_clear_attentions(&test_a);
		client_clear_attentions(&test_b);
		expect_good(run(b, 1, TUR, NO_DATA));
	}
	exchange_free(&written);
}

/* What concerns the asking nexus alone is over with its tasks here. */
TEST(the_sets_of_one_nexus_are_aborted_here)
{
	struct function f;

	fake_hold_io = true;
	write_begins(&test_b);
	function_begin(&f, SCSI_ABORT_TASK_SET);
	assert_int_equal(f.done, 1);
	assert_int_equal(f.result, SCSI_TMF_COMPLETE);
	assert_int_equal(forwards, 0);
	assert_false(written.done);
	fake_complete();
	fake_hold_io = false;
	expect_good(written.task.status);
	exchange_free(&written);
}

/* Nobody is told that it was done. A session that ends meanwhile waits for its end. */
TEST(task_management_that_the_owner_does_not_carry_out_is_rejected)
{
	static const int errors[] = {-EAGAIN, -ESHUTDOWN, -ETIMEDOUT};
	struct function f;

	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		forward_error = errors[i];
		function_begin(&f, SCSI_LUN_RESET);
		assert_int_equal(f.done, 1);
		assert_int_equal(f.result, SCSI_TMF_REJECTED);
		expect_good(run(b, 1, TUR, NO_DATA));
	}
	forward_error = 0;
	forward_waits = true;
	function_begin(&f, SCSI_LUN_RESET);
	assert_int_equal(f.done, 0);
	scsi_nexus_destroy(standby.nexus);
	standby.nexus = NULL;
	kept->err = 0;
	kept->done(kept);
	assert_int_equal(f.done, 1);
}

static int remote_manage(struct scsi_remote *r)
{
	return carried_out(scsi_remote_manage, r);
}

/* Nor is one complete while the array is nobody's: what waits here ends, and the host tries again. */
TEST(task_management_in_transition_is_rejected)
{
	static const enum scsi_tmf functions[] = {
		SCSI_CLEAR_TASK_SET, SCSI_LUN_RESET, SCSI_TARGET_WARM_RESET};
	struct function f;

	reset_groups(SCSI_ACCESS_UNAVAILABLE, SCSI_ACCESS_TRANSITIONING);
	assert_int_equal(scsi_target_set_groups(other, groups, 2), 0);
	for (unsigned i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		function_begin(&f, functions[i]);
		assert_int_equal(f.done, 1);
		assert_int_equal(f.result, SCSI_TMF_REJECTED);
	}
	function_begin(&f, SCSI_ABORT_TASK_SET);
	assert_int_equal(f.result, SCSI_TMF_COMPLETE);
	assert_int_equal(forwards, 0);
}

/* What another controller may ask for; of a LUN that its host does not see nothing. */
TEST(the_owner_manages_nothing_else)
{
	struct scsi_remote good = {.initiator = "iqn.test:a",
				   .isid = {0x80, 0, 0, 0, 0, 7},
				   .port = 3,
				   .authenticated = true,
				   .cdb_len = 1},
			   r;

	memcpy(good.lun_id, fake_luns[0].lun.id, UP_ID_BYTES);
	for (unsigned function = 0; function < 256; function++) {
		r = good;
		r.cdb[0] = (uint8_t)function;
		assert_int_equal(remote_manage(&r),
			function == SCSI_CLEAR_TASK_SET ||
					(function >= SCSI_LUN_RESET && function <= SCSI_TARGET_COLD_RESET)
				? 0
				: -EINVAL);
	}
	good.cdb[0] = SCSI_LUN_RESET;
	r = good;
	r.cdb_len = 6;
	assert_int_equal(remote_manage(&r), -EINVAL);
	r = good;
	r.direction = SCSI_TO_INITIATOR;
	assert_int_equal(remote_manage(&r), -EINVAL);
	r = good;
	r.port = 1; /* the owner's own */
	assert_int_equal(remote_manage(&r), -EINVAL);
	r = good;
	memset(r.lun_id, 0xEE, UP_ID_BYTES);
	assert_int_equal(remote_manage(&r), -ENODEV);
	r = good;
	snprintf(r.initiator, sizeof(r.initiator), "iqn.test:nobody");
	assert_int_equal(remote_manage(&r), -EACCES);
	r = good;
	reset_groups(SCSI_ACCESS_STANDBY, SCSI_ACCESS_STANDBY);
	assert_int_equal(scsi_target_set_groups(owner, groups, 2), 0);
	assert_int_equal(remote_manage(&r), -ESHUTDOWN);
}

TEST(a_host_that_is_revoked_is_so_for_the_other_controller)
{
	struct scsi_nexus *n = NULL;

	expect_good(pr_out(&standby, 0, 0, 0, 7));
	assert_int_equal(fake_nexuses, 6);
	list_for_each (node, &owner->nexuses) {
		n = container_of(node, struct scsi_nexus, link);
		if (n->portal_group_tag == 3)
			break;
	}
	assert_int_equal(n->portal_group_tag, 3);
	n->array.ops->host_revoked(&n->array);
	assert_int_equal(fake_nexuses, 6); /* not under the model's hands */
	forward_error = 0;
	client_run(&standby, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 0, 8, 0), NO_DATA);
	assert_int_not_equal(test_last.task.status, SCSI_STATUS_GOOD);
	fake_advance(0);
	assert_int_equal(fake_nexuses, 5);
}

/* ---- sessions that go on elsewhere --------------------------------------------------------------------- */

static bool stopped;

static void stop_done(void *arg)
{
	(void)arg;
	stopped = true;
}

TEST(a_session_goes_on_at_another_target)
{
	struct exchange running = {0}, gated = {0}, ordered = {0};
	uint8_t block[512];

	memset(block, 0x5A, sizeof(block));
	stopped = false;
	fake_hold_io = true;
	client_begin(&test_a, &running, 1, CDB(0x2A, 0, 0, 0, 0, 8, 0, 0, 1, 0), block, sizeof(block));
	fake_hold_io = false;
	fake_gate(true);
	client_begin(&test_a, &gated, 2, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), block, sizeof(block));
	client_begin_attribute(&test_a, &ordered, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), block,
		sizeof(block), SCSI_ORDERED, 5);
	rehome(&test_a, other);
	/* answered, though they did nothing */
	assert_true(gated.done && ordered.done);
	assert_false(gated.task.aborted || ordered.task.aborted);
	assert_int_equal(gated.key << 16 | gated.asc, 0x62A06);
	assert_int_equal(ordered.key << 16 | ordered.asc, 0x62A06);
	assert_false(running.done);
	fake_gate(false);
	/* the new nexus tells once, and then is what its target is; 29/00 would say that the array was reset */
	expect_sense(run(a, 1, TUR, NO_DATA), 6, 0x2A06);
	expect_sense(run(a, 1, TUR, NO_DATA), 2, 0x040B);
	expect_sense(run(a, 2, TUR, NO_DATA), 6, 0x2A06);
	/* what ran says how it ended, and then the old target has nobody any more */
	client_teardown_sessions();
	scsi_target_stop(owner, stop_done, NULL);
	assert_false(stopped);
	fake_complete();
	assert_true(running.done);
	assert_false(running.task.aborted);
	assert_int_equal(running.task.status, SCSI_STATUS_GOOD);
	assert_true(stopped);
	assert_int_equal(fake_luns[0].writes + fake_luns[1].writes, 1);
	exchange_free(&running);
	exchange_free(&gated);
	exchange_free(&ordered);
}

TEST(what_was_not_told_yet_is_told_there)
{
	/* 2A/05 waits for b when it moves */
	expect_good(pr_out(&test_b, 0, 0, 0, 9));
	expect_good(pr_out(&test_a, 0, 0, 0, 7));
	expect_good(pr_out(&test_a, 4, 5, 7, 9));
	rehome(&test_b, other);
	expect_sense(run(b, 1, TUR, NO_DATA), 6, 0x2A06);
	expect_sense(run(b, 1, TUR, NO_DATA), 6, 0x2A05);
	/* RESERVE(6) ends with the nexus that made it */
	expect_good(run(a, 2, CDB(0x16, 0, 0, 0, 0, 0), NO_DATA));
	rehome(&test_a, other);
	expect_sense(run(a, 2, TUR, NO_DATA), 6, 0x2A06);
	expect_sense(run(a, 2, TUR, NO_DATA), 6, 0x2A04);
	expect_good(run(a2, 2, TUR, NO_DATA)); /* nobody holds it any more */
}

TEST(what_is_different_there_is_told)
{
	static struct lun grown, strange;
	struct host *twin = fake_twin(0);

	grown = fake_luns[1].lun;
	grown.size_bytes *= 2;
	strange = fake_luns[2].lun;
	strange.id[0] ^= 1;
	grown.scsi = strange.scsi = NULL;
	fake_map(twin, 1, &fake_luns[0].lun);
	fake_map(twin, 2, &grown);
	fake_map(twin, 3, &strange); /* another one by this number, and none by 4 */
	rehome(&test_a, other);
	expect_sense(run(a, 1, TUR, NO_DATA), 6, 0x3F0E);
	expect_sense(run(a, 1, TUR, NO_DATA), 6, 0x2A06);
	expect_sense(run(a, 1, TUR, NO_DATA), 2, 0x040B);
	expect_sense(run(a, 2, TUR, NO_DATA), 6, 0x2A06);
	expect_sense(run(a, 2, TUR, NO_DATA), 6, 0x2A09);
	expect_sense(run(a, 3, TUR, NO_DATA), 6, 0x2A06);
	expect_sense(run(a, 4, TUR, NO_DATA), 5, 0x2500);
	/* where the list is the same nobody is told that it is not */
	fake_map(twin, 3, &fake_luns[2].lun);
	fake_map(twin, 4, &fake_luns[3].lun);
	rehome(&test_a2, other);
	expect_sense(run(a2, 1, TUR, NO_DATA), 6, 0x2A06);
	scsi_nexus_destroy(test_a.nexus);
	scsi_nexus_destroy(test_a2.nexus);
	test_a.nexus = test_a2.nexus = NULL;
	for (struct lun *l = &grown; l; l = l == &grown ? &strange : NULL)
		if (l->scsi)
			l->scsi_free(l->scsi);
}

static uint64_t is_resynced(const struct store_disk *d)
{
	(void)d;
	return 3;
}

TEST(other_data_and_a_lock_are_told)
{
	static const struct store_ops ops = {.disk_data = is_resynced};
	static struct store store = {.ops = &ops};
	static struct store_disk disk = {.store = &store};
	static struct lun resynced, locked;
	struct host *twin = fake_twin(0);

	resynced = fake_luns[0].lun;
	resynced.disk = &disk;
	locked = fake_luns[1].lun;
	locked.locked = true;
	resynced.scsi = locked.scsi = NULL;
	fake_map(twin, 1, &resynced);
	fake_map(twin, 2, &locked);
	fake_map(twin, 3, &fake_luns[2].lun);
	fake_map(twin, 4, &fake_luns[3].lun);
	rehome(&test_a, other);
	expect_sense(run(a, 1, TUR, NO_DATA), 6, 0x2800);
	expect_sense(run(a, 1, TUR, NO_DATA), 6, 0x2A06);
	expect_sense(run(a, 1, TUR, NO_DATA), 2, 0x040B);
	expect_sense(run(a, 2, TUR, NO_DATA), 6, 0x2A06);
	expect_sense(run(a, 2, TUR, NO_DATA), 6, 0x2A01);
	expect_sense(run(a, 2, TUR, NO_DATA), 2, 0x040B);
	expect_sense(run(a, 3, TUR, NO_DATA), 6, 0x2A06);
	expect_sense(run(a, 3, TUR, NO_DATA), 2, 0x040B);
	scsi_nexus_destroy(test_a.nexus);
	test_a.nexus = NULL;
	for (struct lun *l = &resynced; l; l = l == &resynced ? &locked : NULL)
		if (l->scsi)
			l->scsi_free(l->scsi);
}

/* From one snapshot of the catalogue to the next: the access states are the same, and only what differs is told. */
TEST(the_same_states_there_are_not_told)
{
	static struct scsi_target *again;
	struct scsi_target_options options = {.array = fake_again(),
		.target_name = "iqn.test:target",
		.groups = groups,
		.group_count = 2,
		.group = 1};

	assert_int_equal(scsi_target_create(&options, &again), 0);
	rehome(&test_a, again);
	expect_good(run(a, 1, TUR, NO_DATA));
	scsi_nexus_destroy(test_a.nexus);
	test_a.nexus = NULL;
	scsi_target_destroy(again);
}

/* With APTPL or without: the other controller knows them when it takes over. */
TEST(reservations_are_kept_for_the_other_controller)
{
	expect_good(pr_out(&test_a, 0, 0, 0, 7));
	expect_good(pr_out(&test_a, 1, 5, 7, 0));
	assert_int_equal(fake_keeps, 2);
	scsi_nexus_destroy(test_a.nexus);
	test_a.nexus = NULL;
	fake_restart();
	client_login(&test_a, "iqn.test:a", 1, 1);
	client_clear_attentions(&test_a);
	expect_good(run(b, 1, CDB(0x5E, 1, 0, 0, 0, 0, 0, 4, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 8 + 16);
	assert_int_equal(get_be32(test_last.data), 1); /* the generation: a takeover is no loss of power */
	assert_int_equal(test_last.data[8 + 13], 5);
	expect_conflict(run(b, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA));
	expect_good(pr_out(&test_a, 3, 0, 7, 0)); /* CLEAR: nothing else is kept any more */
	assert_int_equal(fake_luns[0].lun.reservations_len, 7);
	fake_restart();
	expect_good(run(b, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 4, 0, 0), NO_DATA));
	assert_int_equal(get_be32(test_last.data), 2);
}

TEST(nobody_who_may_not_goes_on)
{
	struct scsi_nexus *n = NULL;
	char *name = test_a.nexus->array.initiator;

	name[9] = 'x';
	assert_int_equal(scsi_nexus_rehome(test_a.nexus, other, &n), -EACCES);
	name[9] = 'a';
	expect_good(run(a, 1, TUR, NO_DATA)); /* it is where it was */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, two_setup, two_teardown)
	const struct CMUnitTest tests[] = {T(all_groups_are_reported_on_every_path),
		T(groups_that_contradict_each_other_are_refused),
		T(a_change_is_told_to_every_nexus_on_every_lun),
		T(each_command_is_answered_where_the_standard_says), T(request_sense_tells_the_state),
		T(without_a_way_to_the_owner_its_commands_are_refused),
		T(what_waits_when_the_state_changes_changes_nothing),
		T(a_store_that_has_lost_the_array_is_in_transition),
		T(a_registration_in_standby_is_that_ports_at_the_owner), T(there_is_one_set_of_mode_pages),
		T(an_owner_is_asked_without_data_too), T(the_owners_answer_may_take_its_time),
		T(an_owner_that_does_not_answer), T(the_owner_carries_out_nothing_else),
		T(task_management_in_standby_is_the_owners), T(the_sets_of_one_nexus_are_aborted_here),
		T(task_management_that_the_owner_does_not_carry_out_is_rejected),
		T(task_management_in_transition_is_rejected), T(the_owner_manages_nothing_else),
		T(a_host_that_is_revoked_is_so_for_the_other_controller),
		T(a_session_goes_on_at_another_target), T(what_was_not_told_yet_is_told_there),
		T(what_is_different_there_is_told), T(other_data_and_a_lock_are_told),
		T(the_same_states_there_are_not_told), T(reservations_are_kept_for_the_other_controller),
		T(nobody_who_may_not_goes_on)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
