/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a well-behaved initiator does, PDU by PDU: data in and out in all the ways that can be negotiated,
 * residuals, the CmdSN window, task management, NOP, text, logout, sessions that replace each other.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include "tests/support/test.h"
#include "tests/unit/iscsi/harness.h"

static uint8_t pattern[1 << 20];

static int start(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 31 + (i >> 8) * 7 + 1);
	harness_start(NULL);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	harness_stop();
	return 0;
}

static void expect_response(struct raw *r, uint8_t status, uint8_t flags, uint32_t residual)
{
	raw_expect(r, ISCSI_SCSI_RESPONSE);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), r->itt);
	assert_int_equal(r->bhs[3], status);
	assert_int_equal(r->bhs[1], ISCSI_FINAL | flags);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_RESIDUAL), residual);
}

static void expect_sense(struct raw *r, uint8_t key, uint16_t asc)
{
	raw_expect(r, ISCSI_SCSI_RESPONSE);
	assert_int_equal(r->bhs[3], SCSI_STATUS_CHECK_CONDITION);
	assert_int_equal(r->data_len, 20);
	assert_int_equal(get_be16(r->data), 18);
	assert_int_equal(r->data[2 + 2], key);
	assert_int_equal(get_be16(r->data + 2 + 12), asc);
}

/* Answers R2Ts with Data-Outs of at most `segment` bytes until the response is there. Returns R2Ts seen. */
static unsigned feed(struct raw *r, const uint8_t *data, uint32_t segment)
{
	unsigned r2ts = 0;

	for (;;) {
		uint32_t ttt, offset, len, datasn = 0;

		assert_true(raw_receive(r));
		if (iscsi_opcode(r->bhs) == ISCSI_SCSI_RESPONSE)
			return r2ts;
		assert_int_equal(iscsi_opcode(r->bhs), ISCSI_R2T);
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_DATASN), r2ts);
		r2ts++;
		ttt = get_be32(r->bhs + ISCSI_AT_TTT);
		offset = get_be32(r->bhs + ISCSI_AT_OFFSET);
		len = get_be32(r->bhs + ISCSI_AT_DESIRED_LEN);
		while (len > 0) {
			uint32_t n = len < segment ? len : segment;

			raw_data_out(r, n == len, r->itt, ttt, datasn++, offset, data + offset, n);
			offset += n;
			len -= n;
		}
	}
}

/* Collects Data-In PDUs into r->data order; expects the status in the last. */
static uint32_t collect(struct raw *r, uint8_t *to, uint32_t segment_max)
{
	uint32_t got = 0, datasn = 0;

	for (;;) {
		raw_expect(r, ISCSI_DATA_IN);
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_DATASN), datasn++);
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_OFFSET), got);
		assert_true(r->data_len <= segment_max);
		memcpy(to + got, r->data, r->data_len);
		got += r->data_len;
		if (r->bhs[1] & ISCSI_STATUS_PRESENT) {
			assert_true(r->bhs[1] & ISCSI_FINAL);
			assert_int_equal(r->bhs[3], 0);
			return got;
		}
	}
}

/* ---- data ---------------------------------------------------------------------------------------------- */

static void write_then_read(struct raw *r, bool immediate, uint32_t segment, uint32_t segment_in)
{
	uint8_t bhs[ISCSI_BHS_BYTES], *back = malloc(262144);

	raw_write10(r, bhs, true, 8, 512);
	raw_send(r, bhs, pattern, immediate ? 8192 : 0);
	feed(r, pattern, segment);
	assert_int_equal(r->bhs[3], 0);
	raw_read10(r, bhs, 8, 512);
	raw_send(r, bhs, NULL, 0);
	assert_int_equal(collect(r, back, segment_in), 262144);
	assert_memory_equal(back, pattern, 262144);
	free(back);
}

TEST(data_is_asked_for_by_r2t)
{
	struct raw *r = raw_session(
		"ImmediateData=No\nInitialR2T=Yes\nMaxBurstLength=16384\nMaxRecvDataSegmentLength=4096\n");

	write_then_read(r, false, 4096, 4096);
	raw_close(r);
}

TEST(data_may_come_with_the_command)
{
	struct raw *r = raw_session("ImmediateData=Yes\nMaxRecvDataSegmentLength=262144\n");

	write_then_read(r, true, 262144, 262144);
	raw_close(r);
}

TEST(data_goes_with_digests_and_padding)
{
	struct raw *r =
		raw_session("HeaderDigest=CRC32C\nDataDigest=CRC32C\nMaxRecvDataSegmentLength=65536\n");

	write_then_read(r, true, 65536, 65536);
	raw_close(r);
	r = raw_session("HeaderDigest=CRC32C,None\nMaxRecvDataSegmentLength=65536\n");
	write_then_read(r, false, 5000, 65536); /* odd pieces */
	raw_close(r);
	r = raw_session("DataDigest=CRC32C,None\nMaxRecvDataSegmentLength=65532\n");
	write_then_read(r, false, 5001, 65532); /* with padding */
	raw_close(r);
}

TEST(data_may_come_unsolicited_up_to_the_first_burst)
{
	struct raw *r = raw_session(
		"InitialR2T=No\nImmediateData=Yes\nFirstBurstLength=65536\nMaxRecvDataSegmentLength=8192\n");
	uint8_t bhs[ISCSI_BHS_BYTES];
	uint32_t at = 4096, datasn = 0;

	raw_write10(r, bhs, false, 0, 256); /* 128 KiB: 4 immediate, 60 unsolicited, the rest by R2T */
	raw_send(r, bhs, pattern, 4096);
	while (at < 65536) {
		uint32_t n = 65536 - at < 8192 ? 65536 - at : 8192;

		raw_data_out(r, at + n == 65536, r->itt, ISCSI_TAG_RESERVED, datasn++, at, pattern + at, n);
		at += n;
	}
	assert_int_equal(feed(r, pattern, 8192), 1);
	assert_int_equal(r->bhs[3], 0);
	assert_memory_equal(stub.disk, pattern, 131072);
	raw_close(r);
}

TEST(several_r2ts_at_once)
{
	struct raw *r = raw_session("MaxOutstandingR2T=4\nMaxBurstLength=4096\nImmediateData=No\n");
	uint8_t bhs[ISCSI_BHS_BYTES];
	uint32_t ttts[4];

	raw_write10(r, bhs, true, 0, 64); /* 8 bursts */
	raw_send(r, bhs, NULL, 0);
	for (unsigned i = 0; i < 4; i++) {
		raw_expect(r, ISCSI_R2T);
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_OFFSET), i * 4096);
		ttts[i] = get_be32(r->bhs + ISCSI_AT_TTT);
	}
	for (unsigned i = 0; i < 4; i++)
		raw_data_out(r, true, r->itt, ttts[i], 0, i * 4096, pattern + i * 4096, 4096);
	for (unsigned i = 4; i < 8; i++) {
		raw_expect(r, ISCSI_R2T);
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_OFFSET), i * 4096);
		ttts[i - 4] = get_be32(r->bhs + ISCSI_AT_TTT);
	}
	for (unsigned i = 4; i < 8; i++)
		raw_data_out(r, true, r->itt, ttts[i - 4], 0, i * 4096, pattern + i * 4096, 4096);
	expect_response(r, 0, 0, 0);
	assert_memory_equal(stub.disk, pattern, 32768);
	raw_close(r);
}

TEST(bursts_end_with_f)
{
	struct raw *r = raw_session("MaxBurstLength=8192\nMaxRecvDataSegmentLength=4096\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_read10(r, bhs, 0, 48); /* 24 KiB: 6 PDUs, every second ends a burst */
	raw_send(r, bhs, NULL, 0);
	for (unsigned i = 0; i < 6; i++) {
		raw_expect(r, ISCSI_DATA_IN);
		assert_int_equal(!!(r->bhs[1] & ISCSI_FINAL), i % 2);
		assert_int_equal(!!(r->bhs[1] & ISCSI_STATUS_PRESENT), i == 5);
	}
	raw_close(r);
}

/* More than one send holds, to a peer that takes its time. */
TEST(large_reads_to_a_slow_reader)
{
	struct raw *r =
		raw_session("MaxRecvDataSegmentLength=131072\nHeaderDigest=CRC32C\nDataDigest=CRC32C\n");
	uint8_t bhs[ISCSI_BHS_BYTES], *back = malloc(4 << 20);
	uint8_t cdb[16] = {0x88};

	for (unsigned i = 0; i < STUB_DISK_BYTES; i++)
		stub.disk[i] = (uint8_t)(i * 13 + (i >> 12));
	put_be32(cdb + 10, (4 << 20) / 512);
	for (unsigned i = 0; i < 8; i++) { /* 32 MiB */
		put_be64(cdb + 2, i * 1024);
		raw_command(r, bhs, ISCSI_FINAL | ISCSI_COMMAND_READ, 4 << 20, cdb, sizeof(cdb));
		raw_send(r, bhs, NULL, 0);
	}
	usleep(100000);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(collect(r, back, 131072), 4 << 20);
		assert_memory_equal(back, stub.disk + i * 1024 * 512, 4 << 20);
	}
	raw_test_unit_ready(r);
	free(back);
	raw_close(r);
}

TEST(the_largest_write_arrives_whole)
{
	struct raw *r = raw_session(
		"ImmediateData=Yes\nMaxOutstandingR2T=2\nMaxBurstLength=1048576\nDataDigest=CRC32C\n");
	uint8_t bhs[ISCSI_BHS_BYTES], *data = malloc(4 << 20), cdb[16] = {0x8a};

	for (unsigned i = 0; i < 4 << 20; i++)
		data[i] = (uint8_t)(i * 11 + (i >> 10));
	put_be32(cdb + 10, (4 << 20) / 512);
	raw_command(r, bhs, ISCSI_FINAL | ISCSI_COMMAND_WRITE, 4 << 20, cdb, sizeof(cdb));
	raw_send(r, bhs, data, 1000);
	assert_int_equal(feed(r, data, 262144), 4);
	assert_int_equal(r->bhs[3], 0);
	assert_memory_equal(stub.disk, data, 4 << 20);
	free(data);
	raw_close(r);
}

/* ---- residuals ----------------------------------------------------------------------------------------- */

TEST(residuals_tell_what_was_not_moved)
{
	struct raw *r = raw_session("ImmediateData=Yes\nMaxRecvDataSegmentLength=65536\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_read10(r, bhs, 0, 1); /* expects more */
	put_be32(bhs + ISCSI_AT_EXPECTED_LEN, 1024);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_DATA_IN);
	assert_int_equal(r->data_len, 512);
	assert_int_equal(r->bhs[1], ISCSI_FINAL | ISCSI_STATUS_PRESENT | ISCSI_UNDERFLOW);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_RESIDUAL), 512);

	raw_read10(r, bhs, 0, 2); /* expects less */
	put_be32(bhs + ISCSI_AT_EXPECTED_LEN, 512);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_DATA_IN);
	assert_int_equal(r->data_len, 512);
	assert_int_equal(r->bhs[1], ISCSI_FINAL | ISCSI_STATUS_PRESENT | ISCSI_OVERFLOW);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_RESIDUAL), 512);

	raw_read10(r, bhs, 0, 1); /* expects nothing */
	bhs[1] &= (uint8_t)~ISCSI_COMMAND_READ;
	put_be32(bhs + ISCSI_AT_EXPECTED_LEN, 0);
	raw_send(r, bhs, NULL, 0);
	expect_response(r, 0, ISCSI_OVERFLOW, 512);

	raw_write10(r, bhs, true, 0, 2); /* sends less than the CDB says: the rest is not written */
	memset(stub.disk, 0xee, 2048);
	put_be32(bhs + ISCSI_AT_EXPECTED_LEN, 512);
	raw_send(r, bhs, pattern, 512);
	expect_response(r, 0, ISCSI_OVERFLOW, 512);
	assert_memory_equal(stub.disk, pattern, 512);
	assert_int_equal(stub.disk[512], 0xee);

	raw_write10(r, bhs, true, 0, 1); /* sends more than the CDB says */
	put_be32(bhs + ISCSI_AT_EXPECTED_LEN, 1024);
	raw_send(r, bhs, pattern + 4096, 1024);
	expect_response(r, 0, ISCSI_UNDERFLOW, 512);
	assert_memory_equal(stub.disk, pattern + 4096, 512);
	assert_int_equal(stub.disk[512], 0xee);
	raw_close(r);
}

TEST(a_failed_command_has_its_sense)
{
	struct raw *r = raw_session("ImmediateData=Yes\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_read10(r, bhs, 0xfffffff0, 8);
	raw_send(r, bhs, NULL, 0);
	expect_sense(r, 5, 0x2100);
	assert_int_equal(r->bhs[1] & ISCSI_UNDERFLOW, ISCSI_UNDERFLOW);
	raw_write10(r, bhs, true, 0xfffffff0, 8); /* its immediate data is thrown away */
	raw_send(r, bhs, pattern, 4096);
	expect_sense(r, 5, 0x2100);
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(failed_command_with_unsolicited_data)
{
	struct raw *r = raw_session("ImmediateData=Yes\nInitialR2T=No\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_write10(r, bhs, false, 0xfffffff0, 16);
	raw_send(r, bhs, pattern, 4096);
	raw_data_out(r, true, r->itt, ISCSI_TAG_RESERVED, 0, 4096, pattern, 4096);
	expect_sense(r, 5, 0x2100);
	raw_test_unit_ready(r);
	raw_close(r);
}

/* ---- order and window ---------------------------------------------------------------------------------- */

/* What was sent before has been taken in. */
static void echo(struct raw *r)
{
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, 0x7777);
	bhs[0] |= ISCSI_IMMEDIATE;
	put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_NOP_IN);
}

TEST(window_closes_and_opens)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES], cdb[6] = {STUB_OPCODE_HANG};
	uint32_t window, expcmdsn;

	window = get_be32(r->bhs + ISCSI_AT_MAXCMDSN) - get_be32(r->bhs + ISCSI_AT_EXPCMDSN) + 1;
	assert_int_equal(window, 128);
	for (unsigned i = 0; i < window; i++) {
		raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
		raw_send(r, bhs, NULL, 0);
	}
	echo(r);
	expcmdsn = get_be32(r->bhs + ISCSI_AT_EXPCMDSN);
	assert_int_equal(expcmdsn, r->cmdsn);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_MAXCMDSN), expcmdsn - 1); /* closed */
	cdb[0] = 0;
	raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb)); /* one past it: not even looked at */
	raw_send(r, bhs, NULL, 0);
	r->cmdsn--;
	echo(r);
	harness_call((void (*)(void *))(void (*)(void))stub_release_all, NULL);
	for (unsigned i = 0; i < window; i++)
		raw_expect(r, ISCSI_SCSI_RESPONSE);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_EXPCMDSN), expcmdsn);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_MAXCMDSN), expcmdsn + window - 1);
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(statsn_counts_statuses)
{
	struct raw *r = raw_session("MaxRecvDataSegmentLength=4096\n");
	uint8_t bhs[ISCSI_BHS_BYTES], *back = malloc(65536);
	uint32_t statsn;

	raw_test_unit_ready(r);
	statsn = get_be32(r->bhs + ISCSI_AT_STATSN);
	raw_read10(r, bhs, 0, 64);
	raw_send(r, bhs, NULL, 0);
	collect(r, back, 4096);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_STATSN), statsn + 1);
	raw_test_unit_ready(r);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_STATSN), statsn + 2);
	free(back);
	raw_close(r);
}

TEST(cmdsn_wraps_around)
{
	struct raw *r = raw_connect();

	r->cmdsn = 0xfffffffe;
	raw_login_request(r, ISCSI_FINAL | 1 << 2 | 3, "InitiatorName=" HOST_A "\nTargetName=" TARGET "\n");
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_EXPCMDSN), 0xfffffffe);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_MAXCMDSN), 125);
	for (unsigned i = 0; i < 5; i++)
		raw_test_unit_ready(r);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_EXPCMDSN), 3);
	raw_close(r);
}

/* ---- task management ----------------------------------------------------------------------------------- */

static void manage(
	struct raw *r, uint8_t function, uint32_t ref_itt, uint32_t ref_cmdsn, unsigned lun, uint8_t expect)
{
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_TASK_MANAGEMENT, ISCSI_FINAL | function, ++r->itt);
	bhs[0] |= ISCSI_IMMEDIATE;
	bhs[9] = (uint8_t)lun;
	put_be32(bhs + ISCSI_AT_REFERENCED_TAG, ref_itt);
	put_be32(bhs + ISCSI_AT_REF_CMDSN, ref_cmdsn);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_TASK_MANAGEMENT_RESPONSE);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), r->itt);
	assert_int_equal(r->bhs[2], expect);
}

TEST(abort_a_running_task)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES], cdb[6] = {STUB_OPCODE_HANG};

	raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
	raw_send(r, bhs, NULL, 0);
	manage(r, SCSI_ABORT_TASK, r->itt, r->cmdsn - 1, 1, 0);
	manage(r, SCSI_ABORT_TASK, r->itt - 1, r->cmdsn - 1, 1, 1); /* gone: no such task */
	raw_test_unit_ready(r);
	assert_int_equal(stub.aborted, 1);
	raw_close(r);
}

TEST(abort_a_task_that_collects)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint8_t bhs[ISCSI_BHS_BYTES];
	uint32_t ttt, itt;

	raw_write10(r, bhs, true, 0, 8);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_R2T);
	ttt = get_be32(r->bhs + ISCSI_AT_TTT);
	itt = r->itt;
	manage(r, SCSI_ABORT_TASK, itt, r->cmdsn - 1, 1, 0);
	raw_data_out(r, true, itt, ttt, 0, 0, pattern, 4096); /* was under way: thrown away */
	raw_test_unit_ready(r);
	assert_int_equal(stub.discarded, 1);
	assert_int_equal(stub.executed, 1);
	raw_close(r);
}

/* Another session's reset: what is to be answered goes on to collect, and then gets its answer. */
TEST(a_task_that_is_told_collects_first)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint8_t bhs[ISCSI_BHS_BYTES];
	uint32_t ttt, itt;

	stub.told = true;
	raw_write10(r, bhs, true, 0, 8);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_R2T);
	ttt = get_be32(r->bhs + ISCSI_AT_TTT);
	itt = r->itt;
	stub_abort_parsed();
	raw_test_unit_ready(r); /* the session is as it was */
	raw_data_out(r, true, itt, ttt, 0, 0, pattern, 4096);
	raw_expect(r, ISCSI_SCSI_RESPONSE);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), itt);
	assert_int_equal(stub.discarded, 0);
	raw_close(r);
}

TEST(abort_plugs_a_gap)
{
	struct raw *r = raw_session("");

	manage(r, SCSI_ABORT_TASK, 0x4711, r->cmdsn, 1, 1); /* not even sent */
	r->cmdsn++;
	manage(r, SCSI_ABORT_TASK, 0x4711, r->cmdsn - 1, 1, 0); /* a command that never came */
	manage(r, SCSI_ABORT_TASK, 0x4711, r->cmdsn - 1, 1, 1); /* by now it counts as received */
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(resets_end_tasks_and_answer)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint8_t bhs[ISCSI_BHS_BYTES], cdb[6] = {STUB_OPCODE_HANG};
	static const uint8_t functions[] = {
		SCSI_ABORT_TASK_SET, SCSI_CLEAR_TASK_SET, SCSI_LUN_RESET, SCSI_TARGET_WARM_RESET};

	for (unsigned i = 0; i < sizeof(functions); i++) {
		raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
		raw_send(r, bhs, NULL, 0);
		raw_write10(r, bhs, true, 0, 8);
		raw_send(r, bhs, NULL, 0);
		raw_expect(r, ISCSI_R2T);
		manage(r, functions[i], ISCSI_TAG_RESERVED, 0, 1, 0);
		assert_int_equal(stub.aborted, i + 1);
		assert_int_equal(stub.discarded, i + 1);
	}
	manage(r, SCSI_LUN_RESET, ISCSI_TAG_RESERVED, 0, 9, 2);
	manage(r, SCSI_CLEAR_ACA, ISCSI_TAG_RESERVED, 0, 1, 5);
	manage(r, 8, ISCSI_TAG_RESERVED, 0, 1, 4);
	manage(r, 0x55, ISCSI_TAG_RESERVED, 0, 1, 255);
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(cold_reset_ends_all_sessions)
{
	struct raw *a = raw_session(""), *b = raw_connect();

	raw_login_request(b, ISCSI_FINAL | 1 << 2 | 3, "InitiatorName=iqn.none\nSessionType=Discovery\n");
	raw_expect(b, ISCSI_LOGIN_RESPONSE);
	manage(a, SCSI_TARGET_COLD_RESET, ISCSI_TAG_RESERVED, 0, 0, 0);
	raw_expect_end(a);
	raw_expect_end(b);
	raw_close(a);
	raw_close(b);
}

/* ---- NOP, text, logout --------------------------------------------------------------------------------- */

TEST(a_nop_is_echoed)
{
	struct raw *r = raw_session("MaxRecvDataSegmentLength=4096\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, 77);
	put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn++);
	raw_send(r, bhs, pattern, 1001);
	raw_expect(r, ISCSI_NOP_IN);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), 77);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_TTT), ISCSI_TAG_RESERVED);
	assert_int_equal(r->data_len, 1001);
	assert_memory_equal(r->data, pattern, 1001);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn++);
	raw_send(r, bhs, pattern, 9000); /* as much as the initiator takes */
	raw_expect(r, ISCSI_NOP_IN);
	assert_int_equal(r->data_len, 4096);
	raw_test_unit_ready(r);
	raw_close(r);
}

static void text(struct raw *r, uint8_t flags, uint32_t ttt, const char *bytes, size_t len)
{
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_TEXT, flags, 55);
	put_be32(bhs + ISCSI_AT_TTT, ttt);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn++);
	raw_send(r, bhs, bytes, (uint32_t)len);
}

TEST(send_targets_names_the_portal)
{
	static const char *const cases[] = {"SendTargets=All", "SendTargets=" TARGET};
	char expected[200];

	snprintf(expected, sizeof(expected), "TargetName=" TARGET "%cTargetAddress=127.0.0.1:%u,1", 0,
		harness_port());
	for (unsigned i = 0; i < 2; i++) {
		struct raw *r = raw_connect();

		raw_login_request(
			r, ISCSI_FINAL | 1 << 2 | 3, "InitiatorName=" HOST_A "\nSessionType=Discovery\n");
		raw_expect(r, ISCSI_LOGIN_RESPONSE);
		text(r, ISCSI_FINAL, ISCSI_TAG_RESERVED, cases[i], strlen(cases[i]) + 1);
		raw_expect(r, ISCSI_TEXT_RESPONSE);
		assert_int_equal(r->bhs[1], ISCSI_FINAL);
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_TTT), ISCSI_TAG_RESERVED);
		assert_memory_equal(r->data, expected, strlen("TargetName=" TARGET) + 1);
		assert_string_equal(
			(char *)r->data + strlen("TargetName=" TARGET) + 1, strchr(expected, 0) + 1);
		raw_close(r);
	}
}

TEST(strangers_discover_nothing)
{
	struct raw *r = raw_connect();

	raw_login_request(
		r, ISCSI_FINAL | 1 << 2 | 3, "InitiatorName=iqn.a:stranger\nSessionType=Discovery\n");
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0);
	text(r, ISCSI_FINAL, ISCSI_TAG_RESERVED, "SendTargets=All", 16);
	raw_expect(r, ISCSI_TEXT_RESPONSE);
	assert_int_equal(r->data_len, 0);
	raw_close(r);
}

TEST(text_goes_in_parts_both_ways)
{
	struct raw *r = raw_session("MaxRecvDataSegmentLength=512\n");
	char keys[800], all[4000];
	size_t len = 0, got = 0;
	uint32_t ttt;

	for (unsigned i = 0; len < 500; i++)
		len += (size_t)snprintf(keys + len, sizeof(keys) - len, "key%u=x", i) + 1;
	text(r, ISCSI_CONTINUE, ISCSI_TAG_RESERVED, keys, 100);
	raw_expect(r, ISCSI_TEXT_RESPONSE);
	assert_int_equal(r->bhs[1], 0);
	assert_int_equal(r->data_len, 0);
	ttt = get_be32(r->bhs + ISCSI_AT_TTT);
	assert_int_not_equal(ttt, ISCSI_TAG_RESERVED);
	text(r, ISCSI_FINAL, ttt, keys + 100, len - 100);
	for (;;) { /* the answer has more than 512 bytes */
		raw_expect(r, ISCSI_TEXT_RESPONSE);
		assert_true(r->data_len <= 512 && got + r->data_len <= sizeof(all));
		memcpy(all + got, r->data, r->data_len);
		got += r->data_len;
		if (r->bhs[1] & ISCSI_FINAL)
			break;
		assert_int_equal(r->bhs[1], ISCSI_CONTINUE);
		text(r, ISCSI_FINAL, get_be32(r->bhs + ISCSI_AT_TTT), NULL, 0);
	}
	assert_string_equal(all, "key0=NotUnderstood");
	assert_true(got > 512 && all[got - 1] == '\0');
	raw_test_unit_ready(r);
	raw_close(r);
}

static void logout(struct raw *r, uint8_t reason, uint16_t cid, uint8_t expect)
{
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_LOGOUT, ISCSI_FINAL | reason, 99);
	put_be16(bhs + ISCSI_AT_CID, cid);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn++);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_LOGOUT_RESPONSE);
	assert_int_equal(r->bhs[2], expect);
}

TEST(a_logout_is_answered_by_its_reason)
{
	struct raw *r = raw_session("");

	logout(r, 2, 1, 2); /* recovery: not at ERL 0 */
	logout(r, 1, 5, 1); /* no such connection */
	raw_test_unit_ready(r);
	logout(r, 1, 1, 0);
	assert_false(raw_receive(r));
	raw_close(r);
	r = raw_session("");
	logout(r, 0, 0, 0);
	assert_false(raw_receive(r));
	raw_close(r);
}

TEST(logout_with_running_tasks)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint8_t bhs[ISCSI_BHS_BYTES], cdb[6] = {STUB_OPCODE_HANG};

	raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
	raw_send(r, bhs, NULL, 0);
	raw_write10(r, bhs, true, 0, 8);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_R2T);
	logout(r, 0, 0, 0);
	assert_false(raw_receive(r));
	assert_int_equal(stub.running, 0);
	raw_close(r);
}

/* ---- sessions ------------------------------------------------------------------------------------------ */

static void count_sessions(void *arg)
{
	struct iscsi_session_view view;
	unsigned *count = arg;

	while (iscsi_session_view(harness_server(), *count, &view)) {
		assert_string_equal(view.initiator, HOST_A);
		assert_memory_equal(view.peer, "127.0.0.1:", 10);
		++*count;
	}
}

static unsigned sessions(void)
{
	unsigned count = 0;

	harness_call(count_sessions, &count);
	return count;
}

static bool one_session(void)
{
	unsigned count = 0;

	count_sessions(&count);
	return count == 1 && stub.nexuses == 1;
}

TEST(the_same_session_again)
{
	struct raw *a = raw_session(""), *b;
	uint8_t bhs[ISCSI_BHS_BYTES], cdb[6] = {STUB_OPCODE_HANG};

	raw_command(a, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
	raw_send(a, bhs, NULL, 0);
	b = raw_session("");
	raw_expect_end(a); /* the first is over */
	raw_test_unit_ready(b);
	assert_int_equal(sessions(), 1);
	assert_int_equal(stub.aborted, 1);
	assert_true(stub_saw_event("began the session anew"));
	raw_close(a);
	raw_close(b);
}

static void be_stubborn(void *arg)
{
	(void)arg;
	stub.flags = STUB_HANG_WRITES | STUB_STUBBORN;
}

static void release(void *arg)
{
	(void)arg;
	stub_release_all();
}

static bool old_session_is_dying(void)
{
	return stub.nexuses == 0 && stub.running == 1;
}

/* A write of the old session that cannot be called back: the new one must not begin before it is over. */
TEST(a_new_session_waits_for_the_old_ones_writes)
{
	struct raw *a = raw_session(""), *b = raw_connect(), *other;
	uint8_t bhs[ISCSI_BHS_BYTES], peek;

	harness_call(be_stubborn, NULL);
	raw_write10(a, bhs, true, 0, 8);
	raw_send(a, bhs, pattern, 4096);
	raw_test_unit_ready(a);
	raw_login_request(b, ISCSI_FINAL | 1 << 2 | 3, "InitiatorName=" HOST_A "\nTargetName=" TARGET "\n");
	harness_wait(old_session_is_dying);
	usleep(50000);
	assert_true(recv(b->fd, &peek, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN);
	other = raw_connect(); /* a third of the same name and ISID: the second makes way */
	raw_login_request(
		other, ISCSI_FINAL | 1 << 2 | 3, "InitiatorName=" HOST_A "\nTargetName=" TARGET "\n");
	raw_expect_end(b);
	assert_true(recv(other->fd, &peek, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN);
	harness_call(release, NULL);
	raw_expect(other, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(other), 0);
	assert_memory_equal(stub.disk, pattern, 4096);
	raw_test_unit_ready(other);
	raw_close(a);
	raw_close(b);
	raw_close(other);
}

TEST(logout_waits_for_writes)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES], peek;

	harness_call(be_stubborn, NULL);
	raw_write10(r, bhs, true, 0, 8);
	raw_send(r, bhs, pattern, 4096);
	iscsi_pdu_init(bhs, ISCSI_LOGOUT, ISCSI_FINAL, 99);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
	raw_send(r, bhs, NULL, 0);
	harness_wait(old_session_is_dying);
	usleep(50000);
	assert_true(recv(r->fd, &peek, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN);
	harness_call(release, NULL);
	raw_expect(r, ISCSI_SCSI_RESPONSE);
	raw_expect(r, ISCSI_LOGOUT_RESPONSE);
	assert_false(raw_receive(r));
	raw_close(r);
}

/* Asks for a session, or for a connection of one. */
static struct raw *ask_for_session(uint8_t isid, uint16_t tsih, uint16_t cid)
{
	struct raw *r = raw_connect();
	uint8_t bhs[ISCSI_BHS_BYTES];
	static const char keys[] = "InitiatorName=" HOST_A "\0TargetName=" TARGET;

	iscsi_pdu_init(bhs, ISCSI_LOGIN, ISCSI_FINAL | 1 << 2 | 3, 1);
	bhs[0] |= ISCSI_IMMEDIATE;
	bhs[13] = isid;
	put_be16(bhs + ISCSI_AT_TSIH, tsih);
	put_be16(bhs + ISCSI_AT_CID, cid);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
	raw_send(r, bhs, keys, sizeof(keys));
	return r;
}

static struct raw *session_with_isid(uint8_t isid, uint16_t tsih, uint16_t cid, unsigned status)
{
	struct raw *r = ask_for_session(isid, tsih, cid);

	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), status);
	return r;
}

static bool only_the_write_runs(void)
{
	return stub.nexuses == 1 && stub.running == 1 && stub.moves == 1;
}

/* The same ISID, TSIH and CID: the connection is replaced, the session and its nexus go on. */
TEST(the_same_connection_again)
{
	struct raw *a = session_with_isid(7, 0, 3, 0), *b, *c;
	uint16_t tsih = get_be16(a->bhs + ISCSI_AT_TSIH);
	uint8_t bhs[ISCSI_BHS_BYTES], peek;

	harness_call(be_stubborn, NULL);
	raw_write10(a, bhs, true, 0, 8);
	raw_send(a, bhs, pattern, 4096); /* runs, and cannot be called back */
	raw_write10(a, bhs, true, 0, 4096);
	raw_send(a, bhs, NULL, 0);
	raw_expect(a, ISCSI_R2T);
	b = ask_for_session(7, tsih, 3);
	raw_expect_end(a);
	harness_wait(only_the_write_runs);
	usleep(50000);
	assert_true(recv(b->fd, &peek, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN);
	harness_call(release, NULL);
	raw_expect(b, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(b), 0);
	assert_int_equal(get_be16(b->bhs + ISCSI_AT_TSIH), tsih);
	assert_int_equal(get_be32(b->bhs + ISCSI_AT_EXPCMDSN), 102); /* its CmdSN 100 was used before */
	b->cmdsn = 102;
	stub.flags = 0;
	raw_test_unit_ready(b);
	assert_int_equal(sessions(), 1);
	assert_int_equal(stub.moves, 1);
	c = session_with_isid(7, tsih, 3, 0); /* and again */
	raw_expect_end(b);
	raw_close(c);
	raw_close(a);
	raw_close(b);
}

TEST(a_host_may_have_several_sessions)
{
	struct raw *a = session_with_isid(1, 0, 0, 0), *b = session_with_isid(2, 0, 0, 0), *c;
	uint16_t tsih = get_be16(b->bhs + ISCSI_AT_TSIH);

	assert_int_not_equal(tsih, 0);
	assert_int_not_equal(tsih, get_be16(a->bhs + ISCSI_AT_TSIH));
	raw_test_unit_ready(a);
	raw_test_unit_ready(b);
	assert_int_equal(sessions(), 2);
	c = session_with_isid(2, tsih, 1, 0x0206); /* a second connection of it */
	raw_expect_end(c);
	raw_close(c);
	c = session_with_isid(2, (uint16_t)(tsih + 1), 0, 0x020a);
	raw_close(c);
	raw_close(a);
	harness_wait(one_session);
	raw_test_unit_ready(b);
	raw_close(b);
}

static void write_in_flight(void *arg)
{
	(void)arg;
	stub.flags = STUB_HANG_WRITES;
}

TEST(stopping_with_sessions)
{
	struct raw *r = raw_session(""), *half = raw_connect();
	uint8_t bhs[ISCSI_BHS_BYTES];

	harness_call(write_in_flight, NULL);
	raw_write10(r, bhs, true, 0, 8);
	raw_send(r, bhs, pattern, 4096);
	raw_login_request(half, 1 << 2, "InitiatorName=" HOST_A "\nTargetName=" TARGET "\n");
	raw_expect(half, ISCSI_LOGIN_RESPONSE);
	harness_stop(); /* asks, waits, ends */
	raw_expect(r, ISCSI_ASYNC);
	assert_int_equal(r->bhs[ISCSI_AT_ASYNC_EVENT], 1);
	raw_expect_end(r);
	raw_expect_end(half);
	raw_close(r);
	raw_close(half);
	harness_start(NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(data_is_asked_for_by_r2t),
		T(data_may_come_with_the_command),
		T(data_goes_with_digests_and_padding),
		T(data_may_come_unsolicited_up_to_the_first_burst),
		T(several_r2ts_at_once),
		T(bursts_end_with_f),
		T(large_reads_to_a_slow_reader),
		T(the_largest_write_arrives_whole),
		T(residuals_tell_what_was_not_moved),
		T(a_failed_command_has_its_sense),
		T(failed_command_with_unsolicited_data),
		T(window_closes_and_opens),
		T(statsn_counts_statuses),
		T(cmdsn_wraps_around),
		T(abort_a_running_task),
		T(abort_a_task_that_collects),
		T(a_task_that_is_told_collects_first),
		T(abort_plugs_a_gap),
		T(resets_end_tasks_and_answer),
		T(cold_reset_ends_all_sessions),
		T(a_nop_is_echoed),
		T(send_targets_names_the_portal),
		T(strangers_discover_nothing),
		T(text_goes_in_parts_both_ways),
		T(a_logout_is_answered_by_its_reason),
		T(logout_with_running_tasks),
		T(the_same_session_again),
		T(a_new_session_waits_for_the_old_ones_writes),
		T(logout_waits_for_writes),
		T(the_same_connection_again),
		T(a_host_may_have_several_sessions),
		T(stopping_with_sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
