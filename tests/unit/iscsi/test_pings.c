/* SPDX-License-Identifier: Apache-2.0 */
/* When an initiator counts as silent: it is pinged, and must answer. */
#include <string.h>
#include <unistd.h>
#include "tests/support/test.h"
#include "tests/unit/iscsi/harness.h"

#define INTERVAL_MS 100
#define TIMEOUT_MS  200

static int start(void **state)
{
	(void)state;
	harness_start(NULL);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	harness_stop();
	return 0;
}

TEST(does_not_answer_pings)
{
	struct raw *r = raw_session("");

	harness_patience(0, INTERVAL_MS, TIMEOUT_MS);
	raw_expect(r, ISCSI_NOP_IN);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), ISCSI_TAG_RESERVED);
	assert_int_not_equal(get_be32(r->bhs + ISCSI_AT_TTT), ISCSI_TAG_RESERVED);
	assert_false(raw_receive(r));
	assert_true(stub_saw_event("does not answer"));
	raw_close(r);
}

TEST(who_answers_pings_stays)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES];

	harness_patience(0, INTERVAL_MS, 0);
	for (unsigned i = 0; i < 5; i++) {
		raw_expect(r, ISCSI_NOP_IN);
		iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, ISCSI_TAG_RESERVED);
		bhs[0] |= ISCSI_IMMEDIATE;
		memcpy(bhs + ISCSI_AT_TTT, r->bhs + ISCSI_AT_TTT, 4);
		put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
		raw_send(r, bhs, NULL, 0);
	}
	raw_test_unit_ready(r);
	raw_close(r);
}

static void release_all(void *arg)
{
	(void)arg;
	stub_release_all();
}

static bool one_is_running(void)
{
	return stub.running == 1;
}

/* For longer than it takes a server to ping and to give up: it does neither while an answer is due from it. */
TEST(waits_for_a_long_command)
{
	struct raw *r = raw_session("");
	uint8_t bhs[ISCSI_BHS_BYTES];
	const uint8_t hang[6] = {STUB_OPCODE_HANG};

	raw_command(r, bhs, ISCSI_FINAL, 0, hang, sizeof(hang));
	raw_send(r, bhs, NULL, 0);
	harness_wait(one_is_running);
	harness_patience(0, INTERVAL_MS, TIMEOUT_MS);
	usleep(2000 * (INTERVAL_MS + TIMEOUT_MS));
	harness_call(release_all, NULL);
	raw_expect(r, ISCSI_SCSI_RESPONSE);
	raw_expect(r, ISCSI_NOP_IN); /* its silence counts from here */
	raw_close(r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(does_not_answer_pings),
		T(who_answers_pings_stays),
		T(waits_for_a_long_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
