/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Task management and the data of the tasks that it ends (RFC 7143 4.2.3.3): what is waited for, what comes late,
 * and whose it is when the tag has another task by then.
 */
#include <stdlib.h>
#include <string.h>
#include "tests/support/test.h"
#include "tests/unit/iscsi/harness.h"

#define FUNCTIONS 4
static const uint8_t functions[FUNCTIONS] = {
	SCSI_ABORT_TASK_SET, SCSI_CLEAR_TASK_SET, SCSI_LUN_RESET, SCSI_TARGET_WARM_RESET};

static uint8_t old_data[65536], new_data[65536];

static int start(void **state)
{
	(void)state;
	memset(old_data, 0x0d, sizeof(old_data));
	memset(new_data, 0x2e, sizeof(new_data));
	harness_start(NULL);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	harness_stop();
	return 0;
}

static void send_management(struct raw *r, uint8_t function, uint32_t ref_itt, uint32_t tag)
{
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_TASK_MANAGEMENT, ISCSI_FINAL | function, tag);
	bhs[0] |= ISCSI_IMMEDIATE;
	bhs[9] = 1;
	put_be32(bhs + ISCSI_AT_REFERENCED_TAG, ref_itt);
	put_be32(bhs + ISCSI_AT_REF_CMDSN, r->cmdsn - 1);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
	raw_send(r, bhs, NULL, 0);
}

static void expect_managed(struct raw *r, uint32_t tag)
{
	raw_expect(r, ISCSI_TASK_MANAGEMENT_RESPONSE);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), tag);
	assert_int_equal(r->bhs[2], 0);
}

/* Everything that was sent before has been taken in, and nothing else is answered yet. */
static void echo(struct raw *r)
{
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, 0x0e0e);
	bhs[0] |= ISCSI_IMMEDIATE;
	put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_NOP_IN);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), 0x0e0e);
}

/* A write with this tag: its R2T's tag. */
static uint32_t begin_write(struct raw *r, uint32_t itt, uint32_t lba, uint32_t blocks)
{
	uint8_t bhs[ISCSI_BHS_BYTES];

	r->itt = itt - 1;
	raw_write10(r, bhs, true, lba, blocks);
	assert_int_equal(get_be32(bhs + ISCSI_AT_ITT), itt);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_R2T);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), itt);
	return get_be32(r->bhs + ISCSI_AT_TTT);
}

static void expect_good(struct raw *r, uint32_t itt)
{
	raw_expect(r, ISCSI_SCSI_RESPONSE);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), itt);
	assert_int_equal(r->bhs[3], 0);
}

static void nothing_written(uint32_t lba, uint32_t blocks)
{
	for (uint32_t i = lba * 512; i < (lba + blocks) * 512; i++)
		assert_int_equal(stub.disk[i], 0);
}

/* What was asked for of the function's tasks comes first, however short it is; then the answer. */
TEST(a_reset_waits_for_data)
{
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		struct raw *r = raw_session("ImmediateData=No\n");
		uint32_t a = begin_write(r, 100, 0, 128), b = begin_write(r, 101, 128, 64);

		send_management(r, functions[i], ISCSI_TAG_RESERVED, 200);
		echo(r); /* no answer to the function yet */
		raw_data_out(r, false, 101, b, 0, 0, old_data, 20000);
		echo(r);
		raw_data_out(r, true, 101, b, 1, 20000, old_data, 12768);
		echo(r);
		raw_data_out(r, true, 100, a, 0, 0, old_data, 0); /* the end of the burst, and no data */
		expect_managed(r, 200);
		nothing_written(0, 192);
		raw_test_unit_ready(r);
		raw_close(r);
	}
	assert_int_equal(stub.executed, FUNCTIONS);
}

/* It never comes: the wait has an end. Then the tag is free, and what comes late is nobody's. */
TEST(a_reset_without_data)
{
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		struct raw *r = raw_session("ImmediateData=No\n");
		uint32_t old = begin_write(r, 100, 0, 128), now;

		send_management(r, functions[i], ISCSI_TAG_RESERVED, 200);
		expect_managed(r, 200);
		now = begin_write(r, 100, 1024, 128);
		raw_data_out(r, false, 100, old, 0, 0, old_data, 30000);
		raw_data_out(r, false, 100, now, 0, 0, new_data, 30000);
		raw_data_out(r, true, 100, old, 1, 30000, old_data, 35536);
		raw_data_out(r, true, 100, now, 1, 30000, new_data, 35536);
		expect_good(r, 100);
		nothing_written(0, 128);
		assert_memory_equal(stub.disk + 1024 * 512, new_data, 65536);
		memset(stub.disk, 0, sizeof(stub.disk));
		raw_data_out(r, false, 100, old, 2, 65536, old_data,
			512); /* after the end of its burst: nobody's */
		raw_test_unit_ready(r);
		raw_close(r);
	}
	assert_int_equal(stub.executed, 2 * FUNCTIONS);
}

/* Only silence ends the wait: a slow initiator may go on. A PDU that is arriving when the wait ends does no
 * harm. */
TEST(a_reset_and_data_half_way)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint32_t old = begin_write(r, 100, 0, 128), now;
	uint8_t bhs[ISCSI_BHS_BYTES];

	send_management(r, SCSI_LUN_RESET, ISCSI_TAG_RESERVED, 200);
	iscsi_pdu_init(bhs, ISCSI_DATA_OUT, ISCSI_FINAL, 100);
	put_be32(bhs + ISCSI_AT_TTT, old);
	put_be24(bhs + 5, 65536);
	raw_bytes(r, bhs, sizeof(bhs));
	raw_bytes(r, old_data, 30000);
	expect_managed(r, 200);
	raw_bytes(r, old_data, 35536);
	now = begin_write(r, 100, 1024, 128);
	raw_data_out(r, true, 100, now, 0, 0, new_data, 65536);
	expect_good(r, 100);
	nothing_written(0, 128);
	assert_memory_equal(stub.disk + 1024 * 512, new_data, 65536);
	raw_close(r);
}

/* ABORT TASK does not wait. The tag is used again at once, by a write to another place. */
TEST(an_abort_and_late_data)
{
	struct raw *r = raw_session("ImmediateData=No\nMaxBurstLength=16384\nMaxOutstandingR2T=4\n");
	uint8_t bhs[ISCSI_BHS_BYTES];
	uint32_t old[4], now;

	old[0] = begin_write(r, 100, 0, 128);
	for (unsigned i = 1; i < 4; i++) {
		raw_expect(r, ISCSI_R2T);
		old[i] = get_be32(r->bhs + ISCSI_AT_TTT);
	}
	send_management(r, SCSI_ABORT_TASK, 100, 200);
	expect_managed(r, 200);
	r->itt = 99;
	raw_write10(r, bhs, true, 1024, 32);
	raw_send(r, bhs, NULL, 0);
	for (unsigned i = 0; i < 3; i++) /* before the new R2T can have come */
		raw_data_out(r, true, 100, old[i], 0, i * 16384, old_data, 16384);
	raw_expect(r, ISCSI_R2T);
	now = get_be32(r->bhs + ISCSI_AT_TTT);
	raw_data_out(r, false, 100, now, 0, 0, new_data, 8192);
	raw_data_out(r, false, 100, old[3], 0, 49152, old_data, 8192);
	raw_data_out(r, true, 100, old[3], 1, 57344, old_data, 8192);
	raw_data_out(r, true, 100, now, 1, 8192, new_data, 8192);
	expect_good(r, 100);
	nothing_written(0, 1024);
	assert_memory_equal(stub.disk + 1024 * 512, new_data, 16384);
	begin_write(r, 100, 0, 16);
	raw_data_out(
		r, true, 100, old[0], 0, 0, old_data, 8192); /* its burst has ended before: nobody's now */
	raw_expect(r, ISCSI_REJECT);
	raw_expect_end(r);
	raw_close(r);
}

static void abort_parsed(void *arg)
{
	(void)arg;
	stub_abort_parsed();
}

/* Another initiator's function: this one is told nothing, and may go on to send. */
TEST(anothers_reset_and_late_data)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint32_t old = begin_write(r, 100, 0, 128), now;

	harness_call(abort_parsed, NULL);
	now = begin_write(r, 100, 1024, 128);
	raw_data_out(r, true, 100, old, 0, 0, old_data, 65536);
	raw_data_out(r, true, 100, now, 0, 0, new_data, 65536);
	expect_good(r, 100);
	nothing_written(0, 128);
	raw_close(r);
}

/* The tag is taken until the answer; an abort of what is ended already frees it. */
TEST(the_tag_while_data_is_waited_for)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint8_t bhs[ISCSI_BHS_BYTES], cdb[6] = {0};

	begin_write(r, 100, 0, 128);
	send_management(r, SCSI_LUN_RESET, ISCSI_TAG_RESERVED, 200);
	r->itt = 99;
	raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_REJECT);
	assert_int_equal(r->bhs[2], ISCSI_REJECT_TASK_IN_PROGRESS);
	r->cmdsn--;
	send_management(r, SCSI_ABORT_TASK, 100, 201);
	expect_managed(r, 201);
	expect_managed(r, 200);
	raw_send(r, bhs, NULL, 0);
	expect_good(r, 100);
	raw_close(r);
}

/* The session ends in each way while functions wait. */
TEST(the_end_while_data_is_waited_for)
{
	for (unsigned way = 0; way < 3; way++) {
		struct raw *r = raw_session("ImmediateData=No\n");
		uint8_t bhs[ISCSI_BHS_BYTES];

		begin_write(r, 100, 0, 128);
		send_management(r, SCSI_LUN_RESET, ISCSI_TAG_RESERVED, 200);
		r->cmdsn++; /* one is missing */
		send_management(r, SCSI_CLEAR_TASK_SET, ISCSI_TAG_RESERVED, 201);
		echo(r);
		if (way == 0) {
			iscsi_pdu_init(bhs, ISCSI_LOGOUT, ISCSI_FINAL, 300);
			bhs[0] |= ISCSI_IMMEDIATE;
			put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
			raw_send(r, bhs, NULL, 0);
			raw_expect(r, ISCSI_LOGOUT_RESPONSE);
			raw_expect_end(r);
		} else if (way == 1) {
			raw_data_out(r, true, 100, 0x7777, 0, 0, old_data, 512);
			raw_expect(r, ISCSI_REJECT);
			raw_expect_end(r);
		}
		raw_close(r);
	}
}

/* A function on a LUN comes after what has a CmdSN before its own, and before what has one after it: whoever is
 * late. One on the target does not wait. */
TEST(a_reset_and_its_turn)
{
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		struct raw *r = raw_session("ImmediateData=Yes\n");
		uint8_t late[ISCSI_BHS_BYTES], bhs[ISCSI_BHS_BYTES], cdb[6] = {STUB_OPCODE_HANG};
		bool on_target = functions[i] == SCSI_TARGET_WARM_RESET;

		stub.aborted = 0;
		r->itt = 99;
		raw_command(r, late, ISCSI_FINAL, 0, cdb, sizeof(cdb)); /* kept back */
		raw_write10(r, bhs, true, 0, 1);
		raw_send(r, bhs, old_data, 512);
		send_management(r, functions[i], ISCSI_TAG_RESERVED, 200);
		raw_write10(r, bhs, true, 1, 1);
		raw_send(r, bhs, new_data, 512);
		if (!on_target) {
			echo(r);
			raw_send(r, late, NULL, 0);
			expect_good(r, 101);
		}
		raw_receive(r);
		if (iscsi_opcode(r->bhs) == ISCSI_SCSI_RESPONSE) /* the two have no order */
			assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), 102);
		else
			assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), 200);
		raw_receive(r);
		if (on_target)
			raw_send(r, late, NULL, 0); /* counts as received: not looked at */
		raw_test_unit_ready(r);
		assert_int_equal(stub.aborted, on_target ? 0 : 1);
		assert_int_equal(stub.disk[512], 0x2e);
		assert_int_equal(stub.disk[0], on_target ? 0 : 0x0d);
		memset(stub.disk, 0, sizeof(stub.disk));
		raw_close(r);
	}
}

/* The target's own tags are never 0 nor the reserved one, and an unused entry matches none. */
TEST(a_target_tag_of_zero_answers_no_r2t)
{
	struct raw *r = raw_session("ImmediateData=No\n");

	begin_write(r, 100, 0, 128);
	raw_data_out(r, true, 100, 0, 0, 0, old_data, 65536);
	raw_expect(r, ISCSI_REJECT);
	raw_expect_end(r);
	raw_close(r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_reset_waits_for_data),
		T(a_reset_without_data),
		T(a_reset_and_data_half_way),
		T(an_abort_and_late_data),
		T(anothers_reset_and_late_data),
		T(the_tag_while_data_is_waited_for),
		T(the_end_while_data_is_waited_for),
		T(a_reset_and_its_turn),
		T(a_target_tag_of_zero_answers_no_r2t),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
