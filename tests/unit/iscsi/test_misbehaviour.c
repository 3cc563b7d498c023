/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One small test for each way in which a peer may misbehave. Afterwards the server must still serve others,
 * and nothing of the peer may be left (harness_stop checks).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include "tests/support/test.h"
#include "tests/unit/iscsi/harness.h"

#define WHO_A       "InitiatorName=" HOST_A "\nTargetName=" TARGET "\nSessionType=Normal\n"
#define OPERATIONAL (1 << 2)
#define TO_FULL     (ISCSI_FINAL | 1 << 2 | 3)

/* The impatience of a server whose end of patience is tested. */
#define LOGIN_MS    200
#define INTERVAL_MS 100

static uint8_t data[1 << 20];

static int start(void **state)
{
	(void)state;
	memset(data, 0x5a, sizeof(data));
	harness_start(NULL);
	return 0;
}

static int start_poor(void **state)
{
	struct iscsi_options options = {.buffer_bytes_max = 1 << 20, .max_recv_segment_bytes = 65536};

	(void)state;
	harness_start(&options);
	return 0;
}

static int stop(void **state)
{
	struct raw *r;

	(void)state;
	harness_patience(0, 0, 0);
	r = raw_session(""); /* others are still served */
	raw_test_unit_ready(r);
	raw_close(r);
	harness_stop();
	return 0;
}

static void expect_reject(struct raw *r, enum iscsi_reject reason, const uint8_t *bhs)
{
	raw_expect(r, ISCSI_REJECT);
	assert_int_equal(r->bhs[2], reason);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), ISCSI_TAG_RESERVED);
	assert_int_equal(r->data_len, ISCSI_BHS_BYTES);
	assert_memory_equal(r->data, bhs, ISCSI_BHS_BYTES);
}

static void expect_sense(struct raw *r, uint8_t key, uint16_t asc)
{
	raw_expect(r, ISCSI_SCSI_RESPONSE);
	assert_int_equal(r->bhs[3], SCSI_STATUS_CHECK_CONDITION);
	assert_int_equal(r->data[2 + 2], key);
	assert_int_equal(get_be16(r->data + 2 + 12), asc);
}

/* ---- before the login is complete ---------------------------------------------------------------------- */

static bool one_left(void)
{
	return stub.nexuses == 1;
}

TEST(who_never_says_anything_is_dropped)
{
	struct raw *r;

	harness_patience(LOGIN_MS, 0, 0);
	r = raw_connect();
	assert_false(raw_receive(r));
	assert_true(stub_saw_event("took too long"));
	raw_close(r);
}

TEST(who_never_finishes_a_login_is_dropped)
{
	struct raw *r = raw_connect();

	raw_login_request(r, OPERATIONAL, WHO_A);
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0);
	harness_patience(LOGIN_MS, 0, 0);
	raw_expect_end(r);
	raw_close(r);
}

TEST(login_drips_for_ever)
{
	struct raw *r;
	uint8_t bhs[ISCSI_BHS_BYTES];

	harness_patience(LOGIN_MS, 0, 0);
	r = raw_connect();
	iscsi_pdu_init(bhs, ISCSI_LOGIN, TO_FULL, 1);
	for (unsigned i = 0; i < 40; i++) { /* the deadline is for the whole */
		raw_bytes(r, bhs, 1);
		usleep(10000);
	}
	raw_expect_end(r);
	raw_close(r);
}

TEST(hangs_up_in_mid_header)
{
	struct raw *r = raw_connect();

	raw_bytes(r, data, 20);
	raw_close(r);
}

TEST(another_pdu_before_login)
{
	struct raw *r = raw_connect();
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_read10(r, bhs, 0, 1);
	raw_send(r, bhs, NULL, 0);
	assert_false(raw_receive(r));
	assert_int_equal(stub.executed, 0);
	raw_close(r);
}

TEST(noise_instead_of_login)
{
	struct raw *r = raw_connect();

	raw_bytes(r, "GET / HTTP/1.1\r\nHost: example.org\r\nUser-Agent: somebody who is lost\r\n\r\n", 72);
	assert_false(raw_receive(r));
	raw_close(r);
}

TEST(login_segment_too_long)
{
	struct raw *r = raw_connect();
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_LOGIN, TO_FULL, 1);
	bhs[0] |= ISCSI_IMMEDIATE;
	raw_send(r, bhs, data, ISCSI_LOGIN_TEXT_BYTES + 1);
	raw_expect_end(r);
	raw_close(r);
}

TEST(login_text_is_garbage)
{
	struct raw *r = raw_connect();

	raw_login_request(r, TO_FULL, "\x80\x81\xff no key at all");
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0x0200);
	assert_false(raw_receive(r));
	raw_close(r);
}

TEST(login_text_without_end)
{
	struct raw *r = raw_connect();
	char text[8001];

	memset(text, 'a', sizeof(text) - 1);
	text[8000] = '\0';
	for (unsigned i = 0; i < 2; i++) {
		raw_login_request(r, OPERATIONAL | ISCSI_CONTINUE, text);
		raw_expect(r, ISCSI_LOGIN_RESPONSE);
		assert_int_equal(raw_login_status(r), 0);
	}
	raw_login_request(r, OPERATIONAL | ISCSI_CONTINUE, text);
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0x0200);
	raw_expect_end(r);
	raw_close(r);
}

TEST(an_unknown_initiator_is_refused_with_an_event)
{
	struct raw *r = raw_connect();

	raw_login_request(r, TO_FULL, "InitiatorName=iqn.x:stranger\nTargetName=" TARGET "\n");
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0x0202);
	assert_false(raw_receive(r));
	assert_true(stub_saw_event("iqn.x:stranger"));
	assert_true(stub_saw_event("no host has this initiator name"));
	raw_close(r);
}

TEST(another_target_is_not_found)
{
	struct raw *r = raw_connect();

	raw_login_request(r, TO_FULL, "InitiatorName=" HOST_A "\nTargetName=iqn.x:elsewhere\n");
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0x0203);
	raw_close(r);
}

TEST(a_wrong_secret_is_refused_with_an_event)
{
	struct raw *r = raw_connect();

	raw_login_request(r, 0, "InitiatorName=" HOST_C "\nTargetName=" TARGET "\nAuthMethod=CHAP\n");
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	raw_login_request(r, 0, "CHAP_A=5\n");
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0);
	raw_login_request(r, ISCSI_FINAL | 1, "CHAP_N=user\nCHAP_R=0x00112233445566778899aabbccddeeff\n");
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0x0201);
	assert_false(raw_receive(r));
	assert_true(stub_saw_event("wrong CHAP secret"));
	raw_close(r);
}

TEST(nobody_skips_chap)
{
	struct raw *r = raw_connect();

	raw_login_request(r, TO_FULL, "InitiatorName=" HOST_C "\nTargetName=" TARGET "\n");
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0x0201);
	assert_int_equal(stub.nexuses, 0);
	raw_close(r);
}

static void give_secret(void *arg)
{
	struct host_record *record = &stub.hosts[0];

	snprintf(record->chap_secret, sizeof(record->chap_secret), "%s", (const char *)arg);
}

/* A login that began before its host had a secret is refused when the host has one by the end, as the
 * sessions of that time are ended. A discovery session has nothing to prove. */
TEST(secret_comes_during_the_login)
{
	struct raw *r = raw_connect(), *d = raw_connect();

	raw_login_request(r, OPERATIONAL, WHO_A);
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0);
	raw_login_request(d, OPERATIONAL, "InitiatorName=" HOST_A "\nSessionType=Discovery\n");
	raw_expect(d, ISCSI_LOGIN_RESPONSE);
	harness_call(give_secret, SECRET);
	raw_login_request(r, TO_FULL, "");
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0x0201);
	assert_false(raw_receive(r));
	assert_int_equal(stub.nexuses, 0);
	raw_login_request(d, TO_FULL, "");
	raw_expect(d, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(d), 0);
	harness_call(give_secret, "");
	raw_close(r);
	raw_close(d);
}

/* ---- in the full feature phase ------------------------------------------------------------------------- */

TEST(hangs_up_in_mid_data)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_write10(r, bhs, true, 0, 512);
	put_be24(bhs + 5, 65536);
	raw_bytes(r, bhs, sizeof(bhs));
	raw_bytes(r, data, 30000); /* into the task's own buffer */
	usleep(20000);
	raw_close(r);
}

static bool idle(void)
{
	return stub.nexuses == 0 && stub.running == 0 && stub.parsed_unfinished == 0;
}

TEST(hangs_up_with_tasks_running)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint8_t bhs[ISCSI_BHS_BYTES], cdb[6] = {STUB_OPCODE_HANG};

	for (unsigned i = 0; i < 20; i++) {
		raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
		raw_send(r, bhs, NULL, 0);
		raw_write10(r, bhs, true, 0, 8);
		raw_send(r, bhs, NULL, 0);
	}
	raw_expect(r, ISCSI_R2T);
	raw_close(r);
	harness_wait(idle);
}

TEST(a_segment_too_long_ends_the_connection)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_write10(r, bhs, true, 0, 1024);
	raw_send(r, bhs, data, 262145);
	raw_expect(r, ISCSI_REJECT);
	assert_int_equal(r->bhs[2], ISCSI_REJECT_PROTOCOL);
	raw_close(r);
}

TEST(the_longest_header_extension_is_passed_over)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_read10(r, bhs, 0, 1);
	bhs[4] = 255; /* of zeros: nonsense */
	raw_bytes(r, bhs, sizeof(bhs));
	memset(data, 0, ISCSI_AHS_MAX_BYTES);
	raw_bytes(r, data, ISCSI_AHS_MAX_BYTES);
	raw_expect(r, ISCSI_SCSI_RESPONSE + 0x04); /* extensions of type 0 are passed over: Data-In */
	bhs[4] = 1;
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
	put_be32(bhs + ISCSI_AT_ITT, ++r->itt);
	raw_bytes(r, bhs, sizeof(bhs));
	raw_bytes(r, "\xff\xff\x01\x00", 4); /* longer than the header says */
	expect_reject(r, ISCSI_REJECT_INVALID_FIELD, bhs);
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(a_wrong_header_digest_ends_the_connection)
{
	struct raw *r = raw_session("HeaderDigest=CRC32C\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_test_unit_ready(r);
	raw_read10(r, bhs, 0, 1);
	raw_bytes(r, bhs, sizeof(bhs));
	raw_bytes(r, "\0\0\0\0", 4);
	assert_false(raw_receive(r));
	assert_true(stub_saw_event("header digest"));
	raw_close(r);
}

TEST(wrong_data_digest_of_a_command)
{
	struct raw *r = raw_session("DataDigest=CRC32C\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_write10(r, bhs, true, 0, 8);
	put_be24(bhs + 5, 4096);
	raw_bytes(r, bhs, sizeof(bhs));
	raw_bytes(r, data, 4096);
	raw_bytes(r, "\0\0\0\0", 4);
	expect_reject(r, ISCSI_REJECT_DATA_DIGEST, bhs);
	assert_int_equal(stub.executed, 0);
	assert_false(raw_receive(r)); /* at level 0 nobody may close the gap that it leaves */
	assert_true(stub_saw_event("a data digest of"));
	raw_close(r);
}

TEST(wrong_data_digest_beside_tasks_under_way)
{
	struct raw *r = raw_session("DataDigest=CRC32C\nImmediateData=No\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_write10(r, bhs, true, 0, 32);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_R2T);
	iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, 77);
	put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn++);
	put_be24(bhs + 5, 4);
	raw_bytes(r, bhs, sizeof(bhs));
	raw_bytes(r, "ping\0\0\0\0", 8);
	expect_reject(r, ISCSI_REJECT_DATA_DIGEST, bhs);
	assert_false(raw_receive(r));
	assert_int_equal(stub.executed, 0);
	raw_close(r);
}

TEST(wrong_data_digest_of_data_out)
{
	struct raw *r = raw_session(
		"DataDigest=CRC32C\nImmediateData=No\nMaxBurstLength=4096\nMaxOutstandingR2T=2\n");
	uint8_t bhs[ISCSI_BHS_BYTES];
	uint32_t ttt[2];

	raw_write10(r, bhs, true, 0, 32); /* 4 bursts, 2 asked for */
	raw_send(r, bhs, NULL, 0);
	for (unsigned i = 0; i < 2; i++) {
		raw_expect(r, ISCSI_R2T);
		ttt[i] = get_be32(r->bhs + ISCSI_AT_TTT);
	}
	iscsi_pdu_init(bhs, ISCSI_DATA_OUT, ISCSI_FINAL, r->itt);
	put_be32(bhs + ISCSI_AT_TTT, ttt[0]);
	put_be24(bhs + 5, 4096);
	raw_bytes(r, bhs, sizeof(bhs));
	raw_bytes(r, data, 4096);
	raw_bytes(r, "\0\0\0\0", 4);
	expect_reject(r, ISCSI_REJECT_DATA_DIGEST, bhs);
	raw_data_out(r, true, r->itt, ttt[1], 0, 4096, data, 4096); /* what was asked for comes first */
	expect_sense(r, 0x0b, 0x4705);
	assert_int_equal(stub.executed, 0);
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(a_command_that_came_before_is_ignored)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_test_unit_ready(r);
	raw_write10(r, bhs, true, 0, 8);
	put_be32(bhs + ISCSI_AT_CMDSN, --r->cmdsn - 1);
	raw_send(r, bhs, data, 4096); /* ignored, data and all */
	raw_test_unit_ready(r);
	assert_int_equal(stub.executed, 2);
	raw_close(r);
}

TEST(a_command_beyond_the_window_is_ignored)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_read10(r, bhs, 0, 1);
	put_be32(bhs + ISCSI_AT_CMDSN, --r->cmdsn + 1000);
	raw_send(r, bhs, NULL, 0);
	raw_test_unit_ready(r);
	assert_int_equal(stub.executed, 1);
	raw_close(r);
}

/* A gap that nobody closes ends the connection, with what waited behind it. */
TEST(a_gap_that_nobody_closes_ends_the_connection)
{
	struct raw *r = raw_session("ImmediateData=Yes\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	r->cmdsn++;
	raw_write10(r, bhs, true, 0, 8);
	raw_send(r, bhs, data, 4096);
	iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, 77);
	put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn++);
	raw_send(r, bhs, data, 1000);
	harness_patience(LOGIN_MS, INTERVAL_MS, 0);
	while (raw_receive(r)) { /* pings, which are answered */
		assert_int_equal(iscsi_opcode(r->bhs), ISCSI_NOP_IN);
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), ISCSI_TAG_RESERVED);
		iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, ISCSI_TAG_RESERVED);
		bhs[0] |= ISCSI_IMMEDIATE;
		memcpy(bhs + ISCSI_AT_TTT, r->bhs + ISCSI_AT_TTT, 4);
		put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
		raw_send(r, bhs, NULL, 0);
	}
	assert_true(stub_saw_event("never came"));
	assert_int_equal(stub.executed, 0);
	raw_close(r);
}

/* Requests ahead of their turn wait, duplicates of them count for nothing, and all are carried out in order when
 * the gap is closed: by the missing one, or by an abort of it. */
TEST(a_gap_is_closed)
{
	for (unsigned abort = 0; abort < 2; abort++) {
		struct raw *r = raw_session("ImmediateData=Yes\nInitialR2T=No\n");
		uint8_t late[ISCSI_BHS_BYTES], bhs[ISCSI_BHS_BYTES];
		uint32_t write_tag, read_tag;

		stub.executed = 0;
		raw_write10(r, late, true, 0, 1); /* kept back */
		raw_write10(r, bhs, false, 0, 2);
		write_tag = r->itt;
		raw_send(r, bhs, data, 512);
		raw_send(r, bhs, data, 512); /* again */
		raw_data_out(r, true, write_tag, ISCSI_TAG_RESERVED, 0, 512, data, 512);
		raw_read10(r, bhs, 0, 1);
		read_tag = r->itt;
		raw_send(r, bhs, NULL, 0);
		iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, 77);
		put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
		put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn++);
		raw_send(r, bhs, "hello", 5);
		iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, 78); /* immediate: not held up */
		bhs[0] |= ISCSI_IMMEDIATE;
		put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
		put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
		raw_send(r, bhs, NULL, 0);
		raw_expect(r, ISCSI_NOP_IN);
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), 78);
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_EXPCMDSN), get_be32(late + ISCSI_AT_CMDSN));
		assert_int_equal(stub.executed, 0);
		if (abort) {
			iscsi_pdu_init(bhs, ISCSI_TASK_MANAGEMENT, ISCSI_FINAL | SCSI_ABORT_TASK, 79);
			bhs[0] |= ISCSI_IMMEDIATE;
			bhs[9] = 1;
			memcpy(bhs + ISCSI_AT_REFERENCED_TAG, late + ISCSI_AT_ITT, 4);
			memcpy(bhs + ISCSI_AT_REF_CMDSN, late + ISCSI_AT_CMDSN, 4);
			put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
			raw_send(r, bhs, NULL, 0);
		} else {
			raw_send(r, late, data, 512);
			raw_expect(r, ISCSI_SCSI_RESPONSE);
			assert_memory_equal(r->bhs + ISCSI_AT_ITT, late + ISCSI_AT_ITT, 4);
		}
		raw_expect(r, ISCSI_SCSI_RESPONSE);
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), write_tag);
		assert_int_equal(r->bhs[3], 0);
		raw_expect(r, ISCSI_DATA_IN);
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), read_tag);
		raw_expect(r, ISCSI_NOP_IN);
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), 77);
		assert_memory_equal(r->data, "hello", 5);
		if (abort) {
			raw_expect(r, ISCSI_TASK_MANAGEMENT_RESPONSE);
			assert_int_equal(r->bhs[2], 0);
		}
		assert_int_equal(get_be32(r->bhs + ISCSI_AT_EXPCMDSN), r->cmdsn);
		assert_int_equal(stub.executed, abort ? 2 : 3);
		raw_test_unit_ready(r);
		raw_close(r);
	}
}

/* A reset of the target while commands wait: they are gone, their numbers are not waited for. */
TEST(a_reset_takes_what_waits)
{
	struct raw *r = raw_session("");
	uint8_t late[ISCSI_BHS_BYTES], bhs[ISCSI_BHS_BYTES], cdb[6] = {0};

	raw_command(r, late, ISCSI_FINAL, 0, cdb, sizeof(cdb)); /* kept back */
	raw_write10(r, bhs, true, 0, 1);
	raw_send(r, bhs, data, 512);
	iscsi_pdu_init(bhs, ISCSI_TASK_MANAGEMENT, ISCSI_FINAL | SCSI_TARGET_WARM_RESET, 79);
	bhs[0] |= ISCSI_IMMEDIATE;
	bhs[9] = 1;
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_TASK_MANAGEMENT_RESPONSE);
	assert_int_equal(r->bhs[2], 0);
	raw_send(r, late, NULL, 0);
	raw_test_unit_ready(r);
	assert_int_equal(stub.executed, 1);
	raw_close(r);
}

TEST(an_unknown_opcode_is_rejected)
{
	static const struct {
		uint8_t opcode, reason;
	} cases[] = {{0x3c, ISCSI_REJECT_UNSUPPORTED}, {0x07, ISCSI_REJECT_UNSUPPORTED},
		{0x21, ISCSI_REJECT_UNSUPPORTED}, {ISCSI_SNACK, ISCSI_REJECT_SNACK},
		{ISCSI_LOGIN, ISCSI_REJECT_PROTOCOL}};
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		iscsi_pdu_init(bhs, (enum iscsi_opcode)cases[i].opcode, ISCSI_FINAL, 5);
		raw_send(r, bhs, data, 1000);
		expect_reject(r, (enum iscsi_reject)cases[i].reason, bhs);
	}
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(data_out_for_no_task)
{
	struct raw *r = raw_session("");

	raw_data_out(r, true, 0x1234, 1, 0, 0, data, 100000);
	raw_data_out(r, true, 0x1234, ISCSI_TAG_RESERVED, 0, 0, data, 5);
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(a_tag_in_use_is_rejected)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES], cdb[6] = {STUB_OPCODE_HANG};

	raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
	raw_send(r, bhs, NULL, 0);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
	raw_send(r, bhs, NULL, 0);
	expect_reject(r, ISCSI_REJECT_TASK_IN_PROGRESS, bhs);
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(reserved_tag_and_attribute)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES], cdb[6] = {0};

	raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
	put_be32(bhs + ISCSI_AT_ITT, ISCSI_TAG_RESERVED);
	raw_send(r, bhs, NULL, 0);
	expect_reject(r, ISCSI_REJECT_INVALID_FIELD, bhs);
	put_be32(bhs + ISCSI_AT_ITT, 9);
	bhs[1] = ISCSI_FINAL | 7;
	raw_send(r, bhs, NULL, 0);
	expect_reject(r, ISCSI_REJECT_INVALID_FIELD, bhs);
	bhs[1] = SCSI_SIMPLE; /* neither final nor a write */
	raw_send(r, bhs, NULL, 0);
	expect_reject(r, ISCSI_REJECT_INVALID_FIELD, bhs);
	r->cmdsn--;
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(immediate_data_not_negotiated)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_write10(r, bhs, true, 0, 8);
	raw_send(r, bhs, data, 4096);
	expect_sense(r, 0x0b, 0x0c0c);
	raw_test_unit_ready(r);
	assert_int_equal(stub.executed, 1);
	raw_close(r);
}

TEST(more_than_the_first_burst)
{
	struct raw *r = raw_session("InitialR2T=No\nFirstBurstLength=8192\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_write10(r, bhs, true, 0, 64);
	raw_send(r, bhs, data, 8196); /* immediate */
	expect_sense(r, 0x0b, 0x0c0c);
	raw_write10(r, bhs, false, 0, 64);
	raw_send(r, bhs, data, 4096);
	raw_data_out(r, true, r->itt, ISCSI_TAG_RESERVED, 0, 4096, data, 4100); /* unsolicited */
	expect_sense(r, 0x0b, 0x0c0c);
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(unsolicited_data_that_was_not_negotiated_fails_the_command)
{
	struct raw *r = raw_session("InitialR2T=Yes\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_write10(r, bhs, false, 0, 16);
	raw_send(r, bhs, data, 4096);
	raw_data_out(r, true, r->itt, ISCSI_TAG_RESERVED, 0, 4096, data, 4096);
	expect_sense(r, 0x0b, 0x0c0c);
	raw_test_unit_ready(r);
	raw_close(r);
}

/* A write whose R2T is out. */
static struct raw *with_r2t(uint32_t *ttt)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_write10(r, bhs, true, 0, 16);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_R2T);
	*ttt = get_be32(r->bhs + ISCSI_AT_TTT);
	return r;
}

TEST(data_that_nobody_asked_for)
{
	for (unsigned i = 0; i < 2; i++) {
		uint32_t ttt;
		struct raw *r = with_r2t(&ttt);

		raw_data_out(r, true, r->itt, i ? ISCSI_TAG_RESERVED : ttt + 1, 0, 0, data, 8192);
		raw_expect(r, ISCSI_REJECT);
		assert_int_equal(r->bhs[2], ISCSI_REJECT_PROTOCOL);
		raw_expect_end(r);
		raw_close(r);
	}
	assert_int_equal(stub.executed, 0);
}

TEST(data_that_breaks_an_r2t_fails_the_command)
{
	static const struct {
		uint32_t datasn, offset, len;
		bool final;
		uint16_t sense;
	} cases[] = {
		{1, 0, 8192, true, 0x4705},          /* DataSN */
		{0xffffffff, 0, 8192, true, 0x4705}, /* likewise */
		{0, 512, 7680, true, 0x4705},        /* not where it should begin */
		{0, 0xfffffff0, 8192, true, 0x4705}, /* far off */
		{0, 0, 8196, true, 0x0c0d},          /* too much */
		{0, 0, 4096, true, 0x0c0d},          /* too little */
		{0, 0, 8192, false, 0x0c0d},         /* no end */
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t ttt;
		struct raw *r = with_r2t(&ttt);

		raw_data_out(
			r, cases[i].final, r->itt, ttt, cases[i].datasn, cases[i].offset, data, cases[i].len);
		if (!cases[i].final) /* its end, out of all bounds */
			raw_data_out(r, true, r->itt, ttt, 7, 1 << 30, data, 100000);
		expect_sense(r, 0x0b, cases[i].sense);
		raw_test_unit_ready(r);
		raw_close(r);
	}
	assert_int_equal(stub.executed, sizeof(cases) / sizeof(cases[0]));
}

TEST(bursts_out_of_order)
{
	struct raw *r = raw_session("ImmediateData=No\nMaxBurstLength=4096\nMaxOutstandingR2T=3\n");
	uint8_t bhs[ISCSI_BHS_BYTES];
	uint32_t ttt[3];

	raw_write10(r, bhs, true, 0, 32);
	raw_send(r, bhs, NULL, 0);
	for (unsigned i = 0; i < 3; i++) {
		raw_expect(r, ISCSI_R2T);
		ttt[i] = get_be32(r->bhs + ISCSI_AT_TTT);
	}
	raw_data_out(r, true, r->itt, ttt[1], 0, 4096, data, 4096);
	raw_data_out(r, true, r->itt, ttt[2], 0, 8192, data, 4096);
	raw_data_out(r, true, r->itt, ttt[0], 0, 0, data, 4096);
	expect_sense(r, 0x0b, 0x4705);
	raw_test_unit_ready(r);
	assert_int_equal(stub.executed, 1);
	raw_close(r);
}

TEST(data_out_for_a_running_task)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES], cdb[6] = {STUB_OPCODE_HANG};

	raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
	raw_send(r, bhs, NULL, 0);
	raw_data_out(r, true, r->itt, ISCSI_TAG_RESERVED, 0, 0, data, 512);
	raw_expect(r, ISCSI_REJECT);
	raw_expect_end(r);
	raw_close(r);
	harness_wait(idle);
}

TEST(too_many_immediate_commands)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES], cdb[6] = {STUB_OPCODE_HANG};

	for (unsigned i = 0; i < 9; i++) {
		raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
		bhs[0] |= ISCSI_IMMEDIATE;
		put_be32(bhs + ISCSI_AT_CMDSN, --r->cmdsn);
		raw_send(r, bhs, NULL, 0);
	}
	expect_reject(r, ISCSI_REJECT_IMMEDIATE, bhs);
	raw_test_unit_ready(r);
	raw_close(r);
}

/* The peer never reads what comes back. The server must stop taking its pings in, so that in the end it can
 * send no more. */
static unsigned reset_answer(struct raw *r, uint32_t tag)
{
	raw_expect(r, ISCSI_TASK_MANAGEMENT_RESPONSE);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), tag);
	return r->bhs[2];
}

/* 16 of them wait for a command before them that has not come; the next is rejected, and they are not. */
TEST(functions_beyond_the_bound_are_rejected)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES];

	for (uint32_t tag = 1000; tag < 1017; tag++) {
		iscsi_pdu_init(bhs, ISCSI_TASK_MANAGEMENT, ISCSI_FINAL | SCSI_LUN_RESET, tag);
		bhs[0] |= ISCSI_IMMEDIATE;
		bhs[9] = 1;
		put_be32(bhs + ISCSI_AT_REFERENCED_TAG, ISCSI_TAG_RESERVED);
		put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn + 1);
		raw_send(r, bhs, NULL, 0);
	}
	assert_int_equal(reset_answer(r, 1016), 255);
	iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, 5); /* what they wait for */
	put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn++);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_NOP_IN);
	for (uint32_t tag = 1000; tag < 1016; tag++)
		assert_int_equal(reset_answer(r, tag), 0);
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(who_pings_without_reading_is_read_no_further)
{
	static uint8_t ping[ISCSI_BHS_BYTES + 262144];
	struct raw *r = raw_session("MaxRecvDataSegmentLength=262144\n");
	size_t at = 0, total = 0;
	unsigned stuck = 0;

	iscsi_pdu_init(ping, ISCSI_NOP_OUT, ISCSI_FINAL, 5);
	ping[0] |= ISCSI_IMMEDIATE;
	put_be32(ping + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
	put_be24(ping + 5, 262144);
	while (stuck < 25 && total < (200u << 20)) {
		ssize_t n = send(r->fd, ping + at, sizeof(ping) - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			at = (at + (size_t)n) % sizeof(ping);
			total += (size_t)n;
			stuck = 0;
		} else {
			assert_int_equal(errno, EAGAIN);
			stuck++;
			usleep(20000);
		}
	}
	assert_true(total < (200u << 20));
	raw_close(r);
}

/* 20 * 64 KiB of writes, none of which is given its data: so many are asked for it, the others answered. */
static void hoard(struct raw *r, unsigned *asked, unsigned *full)
{
	uint8_t bhs[ISCSI_BHS_BYTES];
	unsigned answered = 0;

	*asked = *full = 0;
	for (unsigned i = 0; i < 20; i++) {
		raw_write10(r, bhs, true, 0, 128);
		raw_send(r, bhs, NULL, 0);
	}
	while (*asked + answered < 20) {
		assert_true(raw_receive(r));
		if (iscsi_opcode(r->bhs) == ISCSI_R2T) {
			(*asked)++;
		} else {
			answered++;
			*full += r->bhs[3] == SCSI_STATUS_TASK_SET_FULL;
		}
	}
}

static void expect_read(struct raw *r)
{
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_read10(r, bhs, 0, 128);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_DATA_IN);
	assert_int_equal(r->data_len, 65536);
}

static void add_other(void *arg)
{
	(void)arg;
	stub_add_host("iqn.other", "", "");
}

/* There is 1 MiB. A host's sessions have half of it for their writes, an eighth more for reads; another host has room
 * all the same, until all writes have seven eighths. */
TEST(a_host_has_half_of_the_buffers_for_writes)
{
	struct raw *r = raw_session("ImmediateData=No\nMaxRecvDataSegmentLength=65536\n");
	struct raw *other = raw_connect();
	unsigned asked, full;

	harness_call(add_other, NULL);
	raw_login_request(other, TO_FULL,
		"InitiatorName=iqn.other\nTargetName=" TARGET
		"\nSessionType=Normal\nImmediateData=No\nMaxRecvDataSegmentLength=65536\n");
	raw_expect(other, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(other), 0);
	hoard(r, &asked, &full);
	assert_int_equal(asked, 8);
	assert_int_equal(full, 12);
	expect_read(r); /* reads still have room */
	expect_read(other);
	hoard(other, &asked, &full);
	assert_int_equal(asked, 6);
	assert_int_equal(full, 14);
	expect_read(other);
	expect_read(r);
	raw_close(r);
	harness_wait(one_left);
	hoard(other, &asked, &full); /* what the first had is free again, a half is the most */
	assert_int_equal(asked, 2);
	raw_close(other);
	harness_wait(idle);
}

/* Whoever is no host has next to nothing: requests that wait for one that never comes keep what they hold. */
TEST(strangers_cannot_hoard_buffers)
{
	static uint8_t text[65536];
	struct raw *stranger = raw_connect(), *r;
	uint8_t bhs[ISCSI_BHS_BYTES];
	unsigned refused = 0;

	raw_login_request(stranger, TO_FULL, "InitiatorName=iqn.stranger\nSessionType=Discovery\n");
	raw_expect(stranger, ISCSI_LOGIN_RESPONSE);
	stranger->cmdsn++; /* left out */
	for (unsigned i = 0; i < 20; i++) {
		iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, 77 + i);
		put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
		put_be32(bhs + ISCSI_AT_CMDSN, stranger->cmdsn++);
		raw_send(stranger, bhs, text, sizeof(text));
	}
	for (; refused < 19; refused++) {
		raw_expect(stranger, ISCSI_REJECT);
		assert_int_equal(stranger->bhs[2], ISCSI_REJECT_IMMEDIATE);
	}
	r = raw_session("MaxRecvDataSegmentLength=65536\n");
	expect_read(r);
	raw_close(r);
	raw_close(stranger);
}

TEST(garbage_as_text_is_rejected)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_TEXT, ISCSI_FINAL, 5);
	bhs[0] |= ISCSI_IMMEDIATE;
	put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
	raw_send(r, bhs, data, 100);
	expect_reject(r, ISCSI_REJECT_NEGOTIATION, bhs);
	raw_send(r, bhs, data, ISCSI_LOGIN_TEXT_BYTES * 4); /* too long */
	expect_reject(r, ISCSI_REJECT_NEGOTIATION, bhs);
	raw_send(r, bhs, "SendTargets=\0SendTargets=\0", 26); /* one and the same key twice */
	expect_reject(r, ISCSI_REJECT_NEGOTIATION, bhs);
	put_be32(bhs + ISCSI_AT_TTT, 77); /* continues nothing */
	raw_send(r, bhs, "A=b", 4);
	expect_reject(r, ISCSI_REJECT_INVALID_FIELD, bhs);
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(discovery_session_with_commands)
{
	struct raw *r = raw_connect();
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_login_request(r, TO_FULL, "InitiatorName=" HOST_A "\nSessionType=Discovery\n");
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	raw_read10(r, bhs, 0, 1);
	raw_send(r, bhs, NULL, 0);
	expect_reject(r, ISCSI_REJECT_PROTOCOL, bhs);
	iscsi_pdu_init(bhs, ISCSI_TASK_MANAGEMENT, ISCSI_FINAL | SCSI_LUN_RESET, 7);
	raw_send(r, bhs, NULL, 0);
	expect_reject(r, ISCSI_REJECT_PROTOCOL, bhs);
	assert_int_equal(stub.executed + stub.tmfs, 0);
	raw_close(r);
}

TEST(an_unknown_logout_reason_is_rejected)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_LOGOUT, ISCSI_FINAL | 9, 7);
	bhs[0] |= ISCSI_IMMEDIATE;
	raw_send(r, bhs, NULL, 0);
	expect_reject(r, ISCSI_REJECT_INVALID_FIELD, bhs);
	raw_test_unit_ready(r);
	raw_close(r);
}

#define T(name)         cmocka_unit_test_setup_teardown(name, start, stop)
#define T_WITH(name, s) cmocka_unit_test_setup_teardown(name, s, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(who_never_says_anything_is_dropped),
		T(who_never_finishes_a_login_is_dropped),
		T(login_drips_for_ever),
		T(hangs_up_in_mid_header),
		T(another_pdu_before_login),
		T(noise_instead_of_login),
		T(login_segment_too_long),
		T(login_text_is_garbage),
		T(login_text_without_end),
		T(an_unknown_initiator_is_refused_with_an_event),
		T(another_target_is_not_found),
		T(a_wrong_secret_is_refused_with_an_event),
		T(nobody_skips_chap),
		T(secret_comes_during_the_login),
		T(hangs_up_in_mid_data),
		T(hangs_up_with_tasks_running),
		T(a_segment_too_long_ends_the_connection),
		T(the_longest_header_extension_is_passed_over),
		T(a_wrong_header_digest_ends_the_connection),
		T(wrong_data_digest_of_a_command),
		T(wrong_data_digest_beside_tasks_under_way),
		T(wrong_data_digest_of_data_out),
		T(a_command_that_came_before_is_ignored),
		T(a_command_beyond_the_window_is_ignored),
		T(a_gap_that_nobody_closes_ends_the_connection),
		T(a_gap_is_closed),
		T(a_reset_takes_what_waits),
		T(an_unknown_opcode_is_rejected),
		T(data_out_for_no_task),
		T(a_tag_in_use_is_rejected),
		T(reserved_tag_and_attribute),
		T(immediate_data_not_negotiated),
		T(more_than_the_first_burst),
		T(unsolicited_data_that_was_not_negotiated_fails_the_command),
		T(data_that_nobody_asked_for),
		T(data_that_breaks_an_r2t_fails_the_command),
		T(bursts_out_of_order),
		T(data_out_for_a_running_task),
		T(too_many_immediate_commands),
		T(functions_beyond_the_bound_are_rejected),
		T(who_pings_without_reading_is_read_no_further),
		T_WITH(a_host_has_half_of_the_buffers_for_writes, start_poor),
		T_WITH(strangers_cannot_hoard_buffers, start_poor),
		T(garbage_as_text_is_rejected),
		T(discovery_session_with_commands),
		T(an_unknown_logout_reason_is_rejected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
