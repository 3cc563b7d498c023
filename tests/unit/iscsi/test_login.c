/* SPDX-License-Identifier: Apache-2.0 */
/* The login state machine and CHAP, without a server: requests in, responses out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/iscsi/login.h"
#include "tests/support/test.h"

#define TARGET_NAME "iqn.2026-01.org.umbra:t"
#define OPEN_NAME   "iqn.x:open"
#define CHAP_NAME   "iqn.x:chap"
#define MUTUAL_NAME "iqn.x:mutual"
#define WHO(name)   "InitiatorName=" name "\nTargetName=" TARGET_NAME "\nSessionType=Normal\n"

#define SECURITY    0x00
#define OPERATIONAL 0x04
#define TO_OP       (ISCSI_FINAL | 1)
#define TO_FULL     (ISCSI_FINAL | 3)

static void account(void *ctx, const char *initiator, struct iscsi_account *out)
{
	(void)ctx;
	if (strcmp(initiator, OPEN_NAME) == 0) {
		out->known = true;
	} else if (strcmp(initiator, CHAP_NAME) == 0) {
		out->known = true;
		snprintf(out->secret, sizeof(out->secret), "initiator-secret");
	} else if (strcmp(initiator, MUTUAL_NAME) == 0) {
		out->known = true;
		snprintf(out->user, sizeof(out->user), "alice");
		snprintf(out->secret, sizeof(out->secret), "initiator-secret");
		snprintf(out->mutual_secret, sizeof(out->mutual_secret), "the-target-secret");
	}
}

static int no_luck(void *ctx, uint8_t *bytes, size_t len)
{
	(void)ctx;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i + 7);
	return 0;
}

static const struct iscsi_login_ops ops = {.account = account, .random = no_luck};
static struct iscsi_login login;
static struct iscsi_login_response response;

static int setup(void **state)
{
	struct iscsi_login_options options = {.ops = &ops,
		.target_name = TARGET_NAME,
		.portal_group_tag = 1,
		.wishes = {262144, 1048576, 262144, 8}};

	(void)state;
	iscsi_login_init(&login, &options);
	return 0;
}

static enum iscsi_login_result step(uint8_t flags, const char *keys)
{
	uint8_t bhs[ISCSI_BHS_BYTES];
	static char text[ISCSI_TEXT_MAX_BYTES + 100];
	size_t len = strlen(keys);

	assert_true(len < sizeof(text));
	for (size_t i = 0; i < len; i++)
		text[i] = keys[i] == '\n' ? '\0' : keys[i];
	iscsi_pdu_init(bhs, ISCSI_LOGIN, flags, 1);
	put_be16(bhs + ISCSI_AT_CID, 3);
	return iscsi_login_step(&login, bhs, text, len, &response);
}

static const char *answered(const char *key)
{
	size_t key_len = strlen(key);

	for (size_t at = 0; at < response.text.len; at += strlen(response.buf + at) + 1)
		if (strncmp(response.buf + at, key, key_len) == 0 && response.buf[at + key_len] == '=')
			return response.buf + at + key_len + 1;
	return NULL;
}

static void expect_failure(uint8_t flags, const char *keys, enum iscsi_login_status status)
{
	assert_int_equal(step(flags, keys), ISCSI_LOGIN_FAILED);
	assert_int_equal(response.status, status);
	assert_int_equal(response.text.len, 0);
	assert_true(response.reason[0] != '\0');
	/* an administrator's to mend: it says how */
	bool his = status == ISCSI_LOGIN_AUTH_FAILED || status == ISCSI_LOGIN_FORBIDDEN ||
		   status == ISCSI_LOGIN_NOT_FOUND;
	if (his && !strchr(response.reason, ':'))
		fail_msg("without a remedy: %s", response.reason);
}

/* ---- without CHAP ---- */

TEST(a_login_may_be_one_request)
{
	assert_int_equal(step(OPERATIONAL | TO_FULL, WHO(OPEN_NAME) "MaxBurstLength=65536\nFoo=1\n"),
		ISCSI_LOGIN_DONE);
	assert_int_equal(response.flags, OPERATIONAL | TO_FULL);
	assert_string_equal(answered("TargetPortalGroupTag"), "1");
	assert_string_equal(answered("MaxBurstLength"), "65536");
	assert_string_equal(answered("Foo"), "NotUnderstood");
	assert_string_equal(answered("MaxRecvDataSegmentLength"), "262144");
	assert_false(login.authenticated);
}

TEST(a_login_may_go_through_both_stages)
{
	assert_int_equal(step(SECURITY | TO_OP, WHO(OPEN_NAME) "AuthMethod=CHAP,None\n"), ISCSI_LOGIN_MORE);
	assert_int_equal(response.flags, SECURITY | TO_OP);
	assert_string_equal(answered("AuthMethod"), "None");
	assert_int_equal(step(OPERATIONAL | TO_FULL, "InitialR2T=No\n"), ISCSI_LOGIN_DONE);
	assert_null(answered("TargetPortalGroupTag"));
	assert_int_equal(login.negotiation.params.initial_r2t, 0);
}

TEST(names_have_no_case)
{
	assert_int_equal(
		step(OPERATIONAL | TO_FULL, "InitiatorName=IQN.X:Open\nTargetName=IQN.2026-01.org.UMBRA:t\n"),
		ISCSI_LOGIN_DONE);
	assert_string_equal(login.initiator, OPEN_NAME);
}

TEST(a_key_may_come_in_parts)
{
	assert_int_equal(step(OPERATIONAL | ISCSI_CONTINUE, "InitiatorName=iqn.x:op"), ISCSI_LOGIN_MORE);
	assert_int_equal(response.flags, OPERATIONAL);
	assert_int_equal(response.text.len, 0);
	assert_int_equal(step(OPERATIONAL | TO_FULL, "en\nTargetName=" TARGET_NAME "\n"), ISCSI_LOGIN_DONE);
}

TEST(strangers_may_discover_unless_chap_is_wanted)
{
	assert_int_equal(step(OPERATIONAL | TO_FULL, "InitiatorName=iqn.x:stranger\nSessionType=Discovery\n"),
		ISCSI_LOGIN_DONE);
	assert_true(login.discovery);
	assert_null(answered("TargetPortalGroupTag"));
	setup(NULL);
	login.options.discovery_needs_chap = true;
	expect_failure(OPERATIONAL | TO_FULL, "InitiatorName=iqn.x:stranger\nSessionType=Discovery\n",
		ISCSI_LOGIN_FORBIDDEN);
	setup(NULL);
	login.options.discovery_needs_chap = true;
	expect_failure(OPERATIONAL | TO_FULL, "InitiatorName=" CHAP_NAME "\nSessionType=Discovery\n",
		ISCSI_LOGIN_AUTH_FAILED);
}

TEST(wrong_logins_are_refused_each_with_its_status)
{
	static const struct {
		uint8_t flags;
		const char *keys;
		enum iscsi_login_status status;
	} cases[] = {
		{OPERATIONAL | TO_FULL, WHO("iqn.x:stranger"), ISCSI_LOGIN_FORBIDDEN},
		{OPERATIONAL | TO_FULL, "InitiatorName=" OPEN_NAME "\nTargetName=iqn.other\n",
			ISCSI_LOGIN_NOT_FOUND},
		{OPERATIONAL | TO_FULL, "TargetName=" TARGET_NAME "\n", ISCSI_LOGIN_MISSING_PARAMETER},
		{OPERATIONAL | TO_FULL, "InitiatorName=" OPEN_NAME "\n", ISCSI_LOGIN_MISSING_PARAMETER},
		{OPERATIONAL | TO_FULL, "InitiatorName=" OPEN_NAME "\nSessionType=Odd\n",
			ISCSI_LOGIN_SESSION_TYPE},
		{OPERATIONAL | TO_FULL, "InitiatorName=a b\n", ISCSI_LOGIN_INITIATOR_ERROR},
		{OPERATIONAL | TO_FULL, "InitiatorName=\x01\n", ISCSI_LOGIN_INITIATOR_ERROR},
		{OPERATIONAL | TO_FULL, "InitiatorName=\n", ISCSI_LOGIN_INITIATOR_ERROR},
		{OPERATIONAL | TO_FULL, "InitiatorName=a\nInitiatorName=b\n", ISCSI_LOGIN_INITIATOR_ERROR},
		{OPERATIONAL | TO_FULL, "no equals sign\n", ISCSI_LOGIN_INITIATOR_ERROR},
		{OPERATIONAL | TO_FULL, "InitiatorName=" OPEN_NAME, ISCSI_LOGIN_INITIATOR_ERROR},
		{OPERATIONAL | TO_FULL, WHO(OPEN_NAME) "MaxBurstLength=512\nMaxBurstLength=512\n",
			ISCSI_LOGIN_INITIATOR_ERROR},
		{OPERATIONAL | TO_FULL, WHO(OPEN_NAME) "AuthMethod=None\n", ISCSI_LOGIN_INITIATOR_ERROR},
		{SECURITY | TO_FULL, WHO(OPEN_NAME) "AuthMethod=None\nAuthMethod=None\n",
			ISCSI_LOGIN_INITIATOR_ERROR},
		{SECURITY | TO_FULL, WHO(OPEN_NAME) "AuthMethod=CHAP\n", ISCSI_LOGIN_AUTH_FAILED},
		{SECURITY | TO_FULL, WHO(OPEN_NAME) "AuthMethod=KRB5\n", ISCSI_LOGIN_AUTH_FAILED},
		{SECURITY | TO_FULL, WHO(OPEN_NAME) "CHAP_A=5\n", ISCSI_LOGIN_INITIATOR_ERROR},
		{SECURITY | TO_FULL, WHO(CHAP_NAME), ISCSI_LOGIN_AUTH_FAILED},
		{SECURITY | TO_FULL, WHO(CHAP_NAME) "AuthMethod=None\n", ISCSI_LOGIN_AUTH_FAILED},
		{OPERATIONAL | TO_FULL, WHO(CHAP_NAME), ISCSI_LOGIN_AUTH_FAILED},
		{OPERATIONAL, WHO(CHAP_NAME), ISCSI_LOGIN_AUTH_FAILED},
		{0x08 | TO_FULL, WHO(OPEN_NAME), ISCSI_LOGIN_INITIATOR_ERROR},
		{0x0c, WHO(OPEN_NAME), ISCSI_LOGIN_INITIATOR_ERROR},
		{OPERATIONAL | ISCSI_FINAL | 1, WHO(OPEN_NAME), ISCSI_LOGIN_INITIATOR_ERROR},
		{OPERATIONAL | ISCSI_FINAL | 2, WHO(OPEN_NAME), ISCSI_LOGIN_INITIATOR_ERROR},
		{OPERATIONAL | ISCSI_FINAL | 0, WHO(OPEN_NAME), ISCSI_LOGIN_INITIATOR_ERROR},
		{OPERATIONAL | ISCSI_CONTINUE | TO_FULL, WHO(OPEN_NAME), ISCSI_LOGIN_INITIATOR_ERROR},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup(NULL);
		if (step(cases[i].flags, cases[i].keys) != ISCSI_LOGIN_FAILED ||
			response.status != cases[i].status)
			fail_msg("case %u: status %04x, expected %04x", i, response.status, cases[i].status);
	}
}

/* Hosts are sent to another portal before they prove anything; strangers learn nothing; discovery is served. */
TEST(a_host_is_redirected_before_it_proves_anything)
{
	for (unsigned moved = 0; moved < 2; moved++) {
		setup(NULL);
		login.options.redirect = "10.0.0.2:3260";
		login.options.moved = moved;
		assert_int_equal(step(SECURITY | TO_OP, WHO(CHAP_NAME) "AuthMethod=CHAP\nFoo=1\n"),
			ISCSI_LOGIN_FAILED);
		assert_int_equal(response.status, moved ? 0x0102 : 0x0101);
		assert_string_equal(answered("TargetAddress"), "10.0.0.2:3260"); /* no portal group */
		assert_int_equal(response.text.len, sizeof("TargetAddress=10.0.0.2:3260"));
		assert_int_equal(response.flags, SECURITY);
	}
	setup(NULL);
	login.options.redirect = "10.0.0.2:3260";
	expect_failure(OPERATIONAL | TO_FULL, WHO("iqn.x:stranger"), ISCSI_LOGIN_FORBIDDEN);
	setup(NULL);
	login.options.redirect = "10.0.0.2:3260";
	expect_failure(OPERATIONAL | TO_FULL, "InitiatorName=" OPEN_NAME "\nTargetName=iqn.other\n",
		ISCSI_LOGIN_NOT_FOUND);
	setup(NULL);
	login.options.redirect = "10.0.0.2:3260";
	assert_int_equal(step(OPERATIONAL | TO_FULL, "InitiatorName=" OPEN_NAME "\nSessionType=Discovery\n"),
		ISCSI_LOGIN_DONE);
}

TEST(who_logs_in_and_how_cannot_change_half_way)
{
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_LOGIN, OPERATIONAL | TO_FULL, 1);
	bhs[3] = 1;
	assert_int_equal(iscsi_login_step(&login, bhs, "", 0, &response), ISCSI_LOGIN_FAILED);
	assert_int_equal(response.status, ISCSI_LOGIN_VERSION);

	setup(NULL); /* another CID, another stage in mid login */
	assert_int_equal(step(OPERATIONAL, WHO(OPEN_NAME)), ISCSI_LOGIN_MORE);
	iscsi_pdu_init(bhs, ISCSI_LOGIN, OPERATIONAL | TO_FULL, 1);
	assert_int_equal(iscsi_login_step(&login, bhs, "", 0, &response), ISCSI_LOGIN_FAILED);
	setup(NULL);
	assert_int_equal(step(OPERATIONAL, WHO(OPEN_NAME)), ISCSI_LOGIN_MORE);
	expect_failure(SECURITY | TO_FULL, "", ISCSI_LOGIN_INITIATOR_ERROR);
	setup(NULL); /* who it is may be said again, but not changed */
	assert_int_equal(step(OPERATIONAL, WHO(OPEN_NAME)), ISCSI_LOGIN_MORE);
	assert_int_equal(step(OPERATIONAL, WHO(OPEN_NAME)), ISCSI_LOGIN_MORE);
	expect_failure(OPERATIONAL | TO_FULL, "InitiatorName=" CHAP_NAME "\n", ISCSI_LOGIN_INITIATOR_ERROR);
	setup(NULL);
	assert_int_equal(step(OPERATIONAL, WHO(OPEN_NAME)), ISCSI_LOGIN_MORE);
	expect_failure(OPERATIONAL | TO_FULL, "TargetName=iqn.other\n", ISCSI_LOGIN_NOT_FOUND);
	setup(NULL);
	assert_int_equal(step(OPERATIONAL, WHO(OPEN_NAME)), ISCSI_LOGIN_MORE);
	expect_failure(OPERATIONAL | TO_FULL, "SessionType=Discovery\n", ISCSI_LOGIN_INITIATOR_ERROR);
	setup(NULL); /* a discovery session does not become one with a target */
	assert_int_equal(
		step(OPERATIONAL, "InitiatorName=" OPEN_NAME "\nSessionType=Discovery\n"), ISCSI_LOGIN_MORE);
	expect_failure(OPERATIONAL | TO_FULL, "TargetName=" TARGET_NAME "\n", ISCSI_LOGIN_INITIATOR_ERROR);
}

TEST(keys_and_text_are_bounded)
{
	char keys[ISCSI_TEXT_MAX_BYTES + 50];
	size_t at = 0;

	/* too many keys */
	at += (size_t)snprintf(keys, sizeof(keys), "%s", WHO(OPEN_NAME));
	for (unsigned i = 0; i < ISCSI_TEXT_KEYS_MAX; i++)
		at += (size_t)snprintf(keys + at, sizeof(keys) - at, "x%u=\n", i);
	expect_failure(OPERATIONAL | TO_FULL, keys, ISCSI_LOGIN_INITIATOR_ERROR);

	/* a text without end, in parts */
	setup(NULL);
	memset(keys, 'a', 8000);
	keys[8000] = '\0';
	assert_int_equal(step(OPERATIONAL | ISCSI_CONTINUE, keys), ISCSI_LOGIN_MORE);
	assert_int_equal(step(OPERATIONAL | ISCSI_CONTINUE, keys), ISCSI_LOGIN_MORE);
	expect_failure(OPERATIONAL | ISCSI_CONTINUE, keys, ISCSI_LOGIN_INITIATOR_ERROR);

	/* an answer longer than a PDU */
	setup(NULL);
	at = (size_t)snprintf(keys, sizeof(keys), "%s", WHO(OPEN_NAME));
	for (unsigned i = 0; i < 120; i++)
		at += (size_t)snprintf(keys + at, sizeof(keys) - at, "%063u=\n", i);
	expect_failure(OPERATIONAL | TO_FULL, keys, ISCSI_LOGIN_INITIATOR_ERROR);
}

/* ---- CHAP ---- */

/* Up to the challenge. */
static void challenge(const char *who, const char *algorithms, const char *chosen)
{
	char keys[1000];

	snprintf(keys, sizeof(keys), "InitiatorName=%s\nTargetName=" TARGET_NAME "\nAuthMethod=CHAP,None\n",
		who);
	assert_int_equal(step(SECURITY | TO_OP, keys), ISCSI_LOGIN_MORE);
	assert_int_equal(response.flags, SECURITY); /* T is not granted yet */
	assert_string_equal(answered("AuthMethod"), "CHAP");
	snprintf(keys, sizeof(keys), "CHAP_A=%s\n", algorithms);
	assert_int_equal(step(SECURITY, keys), ISCSI_LOGIN_MORE);
	assert_string_equal(answered("CHAP_A"), chosen);
	assert_non_null(answered("CHAP_I"));
	assert_non_null(answered("CHAP_C"));
}

/* CHAP_N and CHAP_R computed from what the target said. */
static const char *proof(const char *name, const char *secret)
{
	static char keys[1000];
	uint8_t c[CHAP_DIGEST_MAX_BYTES], r[CHAP_DIGEST_MAX_BYTES];
	char hex[2 * CHAP_DIGEST_MAX_BYTES + 3];
	unsigned algorithm = (unsigned)strtoul(answered("CHAP_A"), NULL, 10);
	int n = iscsi_text_binary(answered("CHAP_C"), c, sizeof(c));

	assert_int_equal(n, chap_digest_len(algorithm));
	assert_int_equal(chap_response(algorithm, (uint8_t)strtoul(answered("CHAP_I"), NULL, 10), secret, c,
				 (size_t)n, r),
		0);
	iscsi_text_hex(r, chap_digest_len(algorithm), hex, sizeof(hex));
	snprintf(keys, sizeof(keys), "CHAP_N=%s\nCHAP_R=%s\n", name, hex);
	return keys;
}

TEST(chap_works_with_every_algorithm)
{
	static const char *const numbers[] = {"5", "6", "7", "8"};

	for (unsigned i = 0; i < 4; i++) {
		setup(NULL);
		challenge(CHAP_NAME, numbers[i], numbers[i]);
		assert_int_equal(
			step(SECURITY | TO_OP, proof(CHAP_NAME, "initiator-secret")), ISCSI_LOGIN_MORE);
		assert_int_equal(response.flags, SECURITY | TO_OP);
		assert_true(login.authenticated);
		assert_int_equal(step(OPERATIONAL | TO_FULL, ""), ISCSI_LOGIN_DONE);
	}
}

TEST(chap_takes_the_first_known)
{
	challenge(CHAP_NAME, "99,7,5", "7");
	setup(NULL);
	step(SECURITY, WHO(CHAP_NAME) "AuthMethod=CHAP\n");
	expect_failure(SECURITY, "CHAP_A=4,55\n", ISCSI_LOGIN_AUTH_FAILED);
}

TEST(a_wrong_chap_answer_is_refused)
{
	challenge(CHAP_NAME, "5", "5");
	expect_failure(SECURITY | TO_OP, proof(CHAP_NAME, "another-secret"), ISCSI_LOGIN_AUTH_FAILED);
	setup(NULL);
	challenge(CHAP_NAME, "5", "5");
	expect_failure(SECURITY | TO_OP, proof("bob", "initiator-secret"), ISCSI_LOGIN_AUTH_FAILED);
	setup(NULL);
	challenge(MUTUAL_NAME, "5", "5");
	expect_failure(SECURITY | TO_OP, proof("ALICE", "initiator-secret"), ISCSI_LOGIN_AUTH_FAILED);
	setup(NULL);
	challenge(CHAP_NAME, "5", "5");
	expect_failure(SECURITY | TO_OP, "CHAP_N=" CHAP_NAME "\n", ISCSI_LOGIN_MISSING_PARAMETER);
	setup(NULL);
	challenge(CHAP_NAME, "5", "5");
	expect_failure(SECURITY | TO_OP, "CHAP_N=" CHAP_NAME "\nCHAP_R=0x00\n", ISCSI_LOGIN_AUTH_FAILED);
	setup(NULL);
	challenge(CHAP_NAME, "5", "5");
	expect_failure(SECURITY | TO_OP, "CHAP_N=" CHAP_NAME "\nCHAP_R=xyz\n", ISCSI_LOGIN_AUTH_FAILED);
	setup(NULL); /* a second attempt needs a new connection: the state machine has none */
	challenge(CHAP_NAME, "5", "5");
	expect_failure(SECURITY | TO_OP, "CHAP_A=5\n", ISCSI_LOGIN_INITIATOR_ERROR);
	setup(NULL); /* leaving the stage with the challenge open is not granted */
	challenge(CHAP_NAME, "5", "5");
	assert_int_equal(step(SECURITY | TO_FULL, ""), ISCSI_LOGIN_MORE);
	assert_int_equal(response.flags, SECURITY);
}

TEST(the_target_proves_itself_when_asked)
{
	uint8_t theirs[16], ours[CHAP_DIGEST_MAX_BYTES];
	char keys[1500];

	challenge(MUTUAL_NAME, "5", "5");
	snprintf(keys, sizeof(keys), "%sCHAP_I=9\nCHAP_C=0x00112233445566778899\n",
		proof("alice", "initiator-secret"));
	assert_int_equal(step(SECURITY | TO_OP, keys), ISCSI_LOGIN_MORE);
	assert_string_equal(answered("CHAP_N"), TARGET_NAME);
	assert_int_equal(iscsi_text_binary(answered("CHAP_R"), theirs, sizeof(theirs)), 16);
	assert_int_equal(chap_response(5, 9, "the-target-secret",
				 (const uint8_t *)"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99", 10, ours),
		0);
	assert_memory_equal(theirs, ours, 16);

	setup(NULL); /* our own challenge comes back: no proof for that */
	challenge(MUTUAL_NAME, "5", "5");
	snprintf(keys, sizeof(keys), "CHAP_C=%s\nCHAP_I=1\n", answered("CHAP_C"));
	snprintf(keys + strlen(keys), sizeof(keys) - strlen(keys), "%s", proof("alice", "initiator-secret"));
	expect_failure(SECURITY | TO_OP, keys, ISCSI_LOGIN_AUTH_FAILED);

	setup(NULL); /* no secret for it */
	challenge(CHAP_NAME, "5", "5");
	snprintf(keys, sizeof(keys), "%sCHAP_I=9\nCHAP_C=0x0011\n", proof(CHAP_NAME, "initiator-secret"));
	expect_failure(SECURITY | TO_OP, keys, ISCSI_LOGIN_AUTH_FAILED);

	setup(NULL);
	challenge(MUTUAL_NAME, "5", "5");
	snprintf(keys, sizeof(keys), "%sCHAP_I=256\nCHAP_C=0x0011\n", proof("alice", "initiator-secret"));
	expect_failure(SECURITY | TO_OP, keys, ISCSI_LOGIN_INITIATOR_ERROR);
}

TEST(chap_responses_are_those_of_another_implementation)
{
	uint8_t r[CHAP_DIGEST_MAX_BYTES];

	/* MD5("\x01" "secret" "challenge"), by another implementation */
	assert_int_equal(chap_response(5, 1, "secret", (const uint8_t *)"challenge", 9, r), 0);
	assert_memory_equal(r, "\x46\xe4\x77\x70\x03\x0e\x2b\x4e\x26\xa0\xdb\x72\xa7\xef\xec\x00", 16);
	assert_true(chap_response(4, 1, "secret", (const uint8_t *)"c", 1, r) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_login_may_be_one_request, setup),
		cmocka_unit_test_setup(a_login_may_go_through_both_stages, setup),
		cmocka_unit_test_setup(names_have_no_case, setup),
		cmocka_unit_test_setup(a_key_may_come_in_parts, setup),
		cmocka_unit_test_setup(strangers_may_discover_unless_chap_is_wanted, setup),
		cmocka_unit_test_setup(wrong_logins_are_refused_each_with_its_status, setup),
		cmocka_unit_test_setup(a_host_is_redirected_before_it_proves_anything, setup),
		cmocka_unit_test_setup(who_logs_in_and_how_cannot_change_half_way, setup),
		cmocka_unit_test_setup(keys_and_text_are_bounded, setup),
		cmocka_unit_test_setup(chap_works_with_every_algorithm, setup),
		cmocka_unit_test_setup(chap_takes_the_first_known, setup),
		cmocka_unit_test_setup(a_wrong_chap_answer_is_refused, setup),
		cmocka_unit_test_setup(the_target_proves_itself_when_asked, setup),
		cmocka_unit_test_setup(chap_responses_are_those_of_another_implementation, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
