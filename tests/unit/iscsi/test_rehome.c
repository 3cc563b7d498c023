/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions that go on at another SCSI target (the controller has become the array's owner, or is it no more): the
 * connection stays, every command is answered, and none is lost or carried out twice. And the other controller's
 * portals in SendTargets.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "array/iscsi/internal.h"
#include "tests/support/test.h"
#include "tests/unit/iscsi/harness.h"

static struct scsi_target *const elsewhere = (struct scsi_target *)&stub; /* never looked into */
static struct array *const other_array = (struct array *)&stub;
static uint8_t data[65536];

static int start(void **state)
{
	(void)state;
	memset(data, 0x5a, sizeof(data));
	harness_start(NULL);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	harness_stop();
	return 0;
}

static void rehome_now(void *arg)
{
	struct iscsi_server *s = harness_server();

	(void)arg;
	iscsi_server_rehome(s, other_array, elsewhere);
	assert_ptr_equal(s->options.array, other_array);
}

static void rehome(void)
{
	harness_call(rehome_now, NULL);
}

static void expect_status(struct raw *r, uint32_t itt, uint8_t status)
{
	raw_expect(r, ISCSI_SCSI_RESPONSE);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), itt);
	assert_int_equal(r->bhs[3], status);
}

/* The sense follows its length in the data segment. */
static void expect_sense(struct raw *r, uint32_t itt, uint8_t key, uint16_t asc)
{
	expect_status(r, itt, SCSI_STATUS_CHECK_CONDITION);
	assert_int_equal(r->data[2 + 2], key);
	assert_int_equal(get_be16(r->data + 2 + 12), asc);
}

static void hang(struct raw *r)
{
	uint8_t bhs[ISCSI_BHS_BYTES];
	const uint8_t cdb[6] = {STUB_OPCODE_HANG};

	raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
	raw_send(r, bhs, NULL, 0);
}

static bool one_is_running(void)
{
	return stub.running == 1;
}

static void release_all(void *arg)
{
	(void)arg;
	stub_release_all();
}

static uint32_t begin_write(struct raw *r, uint32_t lba, uint32_t blocks)
{
	uint8_t bhs[ISCSI_BHS_BYTES];

	raw_write10(r, bhs, true, lba, blocks);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_R2T);
	return get_be32(r->bhs + ISCSI_AT_TTT);
}

TEST(the_connection_stays)
{
	struct raw *r = raw_session(""), *later;

	raw_test_unit_ready(r);
	rehome();
	assert_int_equal(stub.rehomed, 1);
	assert_int_equal(stub.nexuses, 1);
	assert_ptr_equal(stub.target, elsewhere);
	raw_test_unit_ready(r);
	stub.target = NULL;
	later = raw_session("");
	assert_ptr_equal(stub.target, elsewhere);
	raw_test_unit_ready(later);
	raw_close(later);
	raw_close(r);
}

TEST(what_was_withdrawn_is_answered)
{
	struct raw *r = raw_session("");

	hang(r);
	harness_wait(one_is_running);
	rehome();
	expect_sense(r, r->itt, 6, 0x2a06);
	raw_test_unit_ready(r);
	raw_close(r);
}

/* It runs on at the old target, and its answer goes out when it is over. */
TEST(what_runs_on_is_answered_when_it_is_over)
{
	struct raw *r = raw_session("");
	uint32_t itt;

	stub.flags = STUB_STUBBORN;
	hang(r);
	itt = r->itt;
	harness_wait(one_is_running);
	rehome();
	raw_test_unit_ready(r);
	harness_call(release_all, NULL);
	expect_status(r, itt, SCSI_STATUS_GOOD);
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(a_session_that_ends_meanwhile)
{
	struct raw *r = raw_session("");

	stub.flags = STUB_STUBBORN;
	hang(r);
	harness_wait(one_is_running);
	rehome();
	raw_close(r);
	harness_call(release_all, NULL);
}

TEST(a_write_goes_on_collecting_its_data)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint32_t ttt = begin_write(r, 64, 128), itt = r->itt;

	raw_data_out(r, false, itt, ttt, 0, 0, data, 20000);
	rehome();
	raw_data_out(r, true, itt, ttt, 1, 20000, data + 20000, 65536 - 20000);
	expect_status(r, itt, SCSI_STATUS_GOOD);
	assert_memory_equal(stub.disk + 64 * 512, data, 65536);
	raw_close(r);
}

/* There it is refused: it is answered all the same, when its initiator has sent what it was asked for. */
TEST(a_write_that_is_refused_there)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint32_t ttt = begin_write(r, 64, 128), itt = r->itt;

	stub.flags = STUB_STANDBY;
	rehome();
	raw_data_out(r, true, itt, ttt, 0, 0, data, 65536);
	expect_sense(r, itt, 2, 0x040b);
	for (unsigned i = 64 * 512; i < 64 * 512 + 65536; i++)
		assert_int_equal(stub.disk[i], 0);
	stub.flags = 0;
	raw_test_unit_ready(r);
	raw_close(r);
}

/* A reset of another initiator ended it before: it stays ended. */
TEST(a_write_that_was_aborted_stays_so)
{
	struct raw *r = raw_session("ImmediateData=No\n");
	uint32_t ttt = begin_write(r, 64, 128), itt = r->itt;

	stub.told = true;
	rehome();
	raw_data_out(r, true, itt, ttt, 0, 0, data, 65536);
	expect_status(r, itt, SCSI_STATUS_TASK_ABORTED);
	assert_int_equal(stub.disk[64 * 512], 0);
	raw_close(r);
}

/* Requests whose turn has not come, a reset among them, are the new target's. */
TEST(what_waits_for_its_turn_has_it_there)
{
	struct raw *r = raw_session("ImmediateData=Yes\n");
	uint8_t late[ISCSI_BHS_BYTES], bhs[ISCSI_BHS_BYTES];

	raw_write10(r, late, true, 0, 1); /* kept back */
	raw_write10(r, bhs, true, 8, 1);
	raw_send(r, bhs, data, 512);
	iscsi_pdu_init(bhs, ISCSI_TASK_MANAGEMENT, ISCSI_FINAL | SCSI_LUN_RESET, 78);
	bhs[0] |= ISCSI_IMMEDIATE;
	bhs[9] = 1;
	put_be32(bhs + ISCSI_AT_REFERENCED_TAG, ISCSI_TAG_RESERVED);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
	raw_send(r, bhs, NULL, 0);
	iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, 79);
	bhs[0] |= ISCSI_IMMEDIATE;
	put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_NOP_IN); /* all of it is here */
	rehome();
	raw_send(r, late, data, 512);
	expect_status(r, get_be32(late + ISCSI_AT_ITT), SCSI_STATUS_GOOD);
	expect_status(r, r->itt, SCSI_STATUS_GOOD);
	raw_expect(r, ISCSI_TASK_MANAGEMENT_RESPONSE);
	assert_int_equal(r->bhs[2], 0);
	assert_int_equal(stub.tmfs, 1);
	assert_memory_equal(stub.disk + 8 * 512, data, 512);
	raw_test_unit_ready(r);
	raw_close(r);
}

static void forget_hosts(void *arg)
{
	(void)arg;
	stub.host_count = 0;
}

TEST(who_is_no_host_there_is_ended)
{
	struct raw *r = raw_session("ImmediateData=No\n");

	begin_write(r, 64, 128);
	harness_call(forget_hosts, NULL);
	rehome();
	raw_expect_end(r);
	raw_close(r);
	assert_true(stub_saw_event("may not use the array any more"));
}

/* ---- SendTargets --------------------------------------------------------------------------------------- */

static const struct iscsi_peer_portal good[] = {{"192.0.2.9", 3260, 2}, {"2001:db8::9", 3261, 3}};
static int peers_result;

static void set_peers(void *arg)
{
	peers_result = iscsi_server_set_peers(harness_server(), arg, 2);
}

static void clear_peers(void *arg)
{
	(void)arg;
	peers_result = iscsi_server_set_peers(harness_server(), NULL, 0);
}

static void expect_targets(const char *peers, size_t len)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES];
	char ours[100];
	size_t ours_len = (size_t)snprintf(
		ours, sizeof(ours), "TargetName=" TARGET "%cTargetAddress=127.0.0.1:%u,1", 0, harness_port());

	iscsi_pdu_init(bhs, ISCSI_TEXT, ISCSI_FINAL, 55);
	put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn++);
	raw_send(r, bhs, "SendTargets=All", 16);
	raw_expect(r, ISCSI_TEXT_RESPONSE);
	assert_int_equal(r->data_len, ours_len + 1 + len);
	assert_memory_equal(r->data, ours, ours_len + 1);
	assert_memory_equal(r->data + ours_len + 1, peers, len);
	raw_close(r);
}

TEST(the_other_controllers_portals_are_told)
{
	static const char theirs[] = "TargetAddress=192.0.2.9:3260,2\0TargetAddress=[2001:db8::9]:3261,3";
	struct iscsi_peer_portal bad[2];

	harness_call(set_peers, (void *)(uintptr_t)good);
	assert_int_equal(peers_result, 0);
	expect_targets(theirs, sizeof(theirs));
	/* what no host could use is refused, and nothing changes */
	for (unsigned i = 0; i < 4; i++) {
		memcpy(bad, good, sizeof(bad));
		if (i == 0)
			snprintf(bad[1].address, sizeof(bad[1].address), "0.0.0.0");
		else if (i == 1)
			snprintf(bad[1].address, sizeof(bad[1].address), "array.example");
		else if (i == 2)
			bad[1].port = 0;
		else
			bad[1].group = 0;
		harness_call(set_peers, bad);
		assert_int_equal(peers_result, -EINVAL);
	}
	assert_int_equal(iscsi_server_set_peers(harness_server(), good, ISCSI_PEER_PORTALS_MAX + 1), -EINVAL);
	expect_targets(theirs, sizeof(theirs));
	harness_call(clear_peers, NULL);
	assert_int_equal(peers_result, 0);
	expect_targets("", 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		T(the_connection_stays),
		T(what_was_withdrawn_is_answered),
		T(what_runs_on_is_answered_when_it_is_over),
		T(a_session_that_ends_meanwhile),
		T(a_write_goes_on_collecting_its_data),
		T(a_write_that_is_refused_there),
		T(a_write_that_was_aborted_stays_so),
		T(what_waits_for_its_turn_has_it_there),
		T(who_is_no_host_there_is_ended),
		T(the_other_controllers_portals_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
