/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every key of RFC 7143 chapters 12 and 13, offered in every way that matters: what the login answers, what holds
 * afterwards, and what the full feature phase answers.
 */
#include <stdio.h>
#include <string.h>
#include "array/iscsi/login.h"
#include "tests/support/test.h"

#define TARGET    "iqn.2026-01.org.umbra:t"
#define NORMAL    "InitiatorName=iqn.x:a\nTargetName=" TARGET "\n"
#define DISCOVERY "InitiatorName=iqn.x:a\nSessionType=Discovery\n"
#define SILENCE   "" /* a declaration is not answered */
#define REFUSED   NULL

static void account(void *ctx, const char *initiator, struct iscsi_account *out)
{
	(void)ctx;
	(void)initiator;
	out->known = true;
}

static int numbers(void *ctx, uint8_t *bytes, size_t len)
{
	(void)ctx;
	memset(bytes, 7, len);
	return 0;
}

static const struct iscsi_login_ops ops = {.account = account, .random = numbers};
static struct iscsi_login login;
static struct iscsi_login_response response;

static enum iscsi_login_result offer(const char *who, const char *keys)
{
	struct iscsi_login_options options = {.ops = &ops,
		.target_name = TARGET,
		.portal_group_tag = 1,
		.wishes = {262144, 1048576, 131072, 8}};
	uint8_t bhs[ISCSI_BHS_BYTES];
	char text[1000];
	int len = snprintf(text, sizeof(text), "%s%s\n", who, keys);

	for (int i = 0; i < len; i++)
		text[i] = text[i] == '\n' ? '\0' : text[i];
	iscsi_login_init(&login, &options);
	iscsi_pdu_init(bhs, ISCSI_LOGIN, 0x87, 1); /* operational, to the full feature phase */
	return iscsi_login_step(&login, bhs, text, (size_t)len, &response);
}

static const char *answer_in(const char *buf, size_t len, const char *key)
{
	size_t key_len = strlen(key);

	for (size_t at = 0; at < len; at += strlen(buf + at) + 1)
		if (strncmp(buf + at, key, key_len) == 0 && buf[at + key_len] == '=')
			return buf + at + key_len + 1;
	return SILENCE;
}

static const struct row {
	const char *key, *value, *answer;
} rows[] = {
	/* 13.1: lists, the first that we have */
	{"HeaderDigest", "None", "None"},
	{"HeaderDigest", "CRC32C", "CRC32C"},
	{"HeaderDigest", "CRC32C,None", "CRC32C"},
	{"HeaderDigest", "None,CRC32C", "None"},
	{"HeaderDigest", "X-com.example,CRC32C", "CRC32C"},
	{"HeaderDigest", "X-com.example", "Reject"},
	{"HeaderDigest", "", "Reject"},
	{"HeaderDigest", "crc32c", "Reject"}, /* case counts */
	{"DataDigest", "None", "None"},
	{"DataDigest", "CRC32C,None", "CRC32C"},
	{"DataDigest", "X-com.example", "Reject"},
	/* 13.2 */
	{"MaxConnections", "1", "1"},
	{"MaxConnections", "8", "1"},
	{"MaxConnections", "65535", "1"},
	{"MaxConnections", "0", "Reject"},
	{"MaxConnections", "65536", "Reject"},
	/* 13.3, 13.6, 13.8, 13.9: not an initiator's in a login */
	{"SendTargets", "All", "Reject"},
	{"TargetAlias", "disk", "Reject"},
	{"TargetAddress", "10.0.0.1:3260,1", "Reject"},
	{"TargetPortalGroupTag", "5", "Reject"}, /* ours comes besides */
	/* 13.7 */
	{"InitiatorAlias", "db1", SILENCE},
	{"InitiatorAlias", "", SILENCE},
	/* 13.10: OR; 13.11: AND */
	{"InitialR2T", "Yes", "Yes"},
	{"InitialR2T", "No", "No"},
	{"InitialR2T", "yes", "Reject"},
	{"InitialR2T", "1", "Reject"},
	{"ImmediateData", "Yes", "Yes"},
	{"ImmediateData", "No", "No"},
	{"ImmediateData", "", "Reject"},
	/* 13.12: each side declares its own */
	{"MaxRecvDataSegmentLength", "512", "262144"},
	{"MaxRecvDataSegmentLength", "0x1000", "262144"},
	{"MaxRecvDataSegmentLength", "16777215", "262144"},
	{"MaxRecvDataSegmentLength", "511", "Reject"},
	{"MaxRecvDataSegmentLength", "16777216", "Reject"},
	/* 13.13, 13.14: minimum */
	{"MaxBurstLength", "512", "512"},
	{"MaxBurstLength", "1048577", "1048576"},
	{"MaxBurstLength", "16777215", "1048576"},
	{"MaxBurstLength", "511", "Reject"},
	{"MaxBurstLength", "16777216", "Reject"},
	{"MaxBurstLength", "-1", "Reject"},
	{"MaxBurstLength", "1e6", "Reject"},
	{"MaxBurstLength", "4096 ", "Reject"},
	{"MaxBurstLength", "0X2000", "8192"},
	{"MaxBurstLength", "18446744073709551616", "Reject"},
	{"FirstBurstLength", "512", "512"},
	{"FirstBurstLength", "16777215", "131072"},
	{"FirstBurstLength", "0", "Reject"},
	/* 13.15: maximum, 13.16: minimum; nothing is retained at ERL 0 */
	{"DefaultTime2Wait", "0", "0"},
	{"DefaultTime2Wait", "3600", "3600"},
	{"DefaultTime2Wait", "3601", "Reject"},
	{"DefaultTime2Retain", "20", "0"},
	{"DefaultTime2Retain", "3601", "Reject"},
	/* 13.17 */
	{"MaxOutstandingR2T", "1", "1"},
	{"MaxOutstandingR2T", "65535", "8"},
	{"MaxOutstandingR2T", "0", "Reject"},
	/* 13.18, 13.19: OR, and we want order */
	{"DataPDUInOrder", "No", "Yes"},
	{"DataPDUInOrder", "Yes", "Yes"},
	{"DataPDUInOrder", "Maybe", "Reject"},
	{"DataSequenceInOrder", "No", "Yes"},
	/* 13.20 */
	{"ErrorRecoveryLevel", "0", "0"},
	{"ErrorRecoveryLevel", "2", "0"},
	{"ErrorRecoveryLevel", "3", "Reject"},
	/* 13.22: extensions that nobody here knows */
	{"X-com.example.key", "1", "NotUnderstood"},
	{"X#something", "1", "NotUnderstood"},
	{"Y-com.example", "CRC32C", "NotUnderstood"},
	{"Z-com.example", "x", "NotUnderstood"},
	{"maxburstlength", "8192", "NotUnderstood"}, /* case counts */
	{"NoSuchKey", "", "NotUnderstood"},
	/* 13.23, 13.24 */
	{"TaskReporting", "RFC3720", "RFC3720"},
	{"TaskReporting", "FastAbort,ResponseFence,RFC3720", "RFC3720"},
	{"TaskReporting", "FastAbort", "Reject"},
	{"iSCSIProtocolLevel", "1", "1"},
	{"iSCSIProtocolLevel", "2", "1"},
	{"iSCSIProtocolLevel", "0", "0"},
	{"iSCSIProtocolLevel", "32", "Reject"},
	/* 13.25: obsolete */
	{"IFMarker", "Yes", "No"},
	{"OFMarker", "Yes", "No"},
	{"IFMarkInt", "2048~8192", "Reject"},
	{"OFMarkInt", "2048~8192", "Reject"},
	/* reserved words are answers, never offers (6.2) */
	{"MaxBurstLength", "Reject", "Reject"},
	{"MaxBurstLength", "Irrelevant", "Reject"},
	{"MaxBurstLength", "NotUnderstood", "Reject"},
	{"MaxBurstLength", "None", "Reject"},
	{"MaxBurstLength", "?", "Reject"},
	{"InitialR2T", "NotUnderstood", "Reject"},
	{"HeaderDigest", "?", "Reject"},
	/* 12.1, 13.21: not now, or not so */
	{"AuthMethod", "None", REFUSED},
	{"CHAP_A", "5", REFUSED},
	{"CHAP_I", "5", REFUSED},
	{"CHAP_C", "0x00", REFUSED},
	{"CHAP_N", "a", REFUSED},
	{"CHAP_R", "0x00", REFUSED},
	{"SessionType", "Discovery,Normal", REFUSED},
	{"TargetName", "iqn.another", REFUSED},
	{"InitiatorName", "iqn.another", REFUSED},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

TEST(every_key_is_answered)
{
	char keys[400];

	for (size_t i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		const char *answer;

		snprintf(keys, sizeof(keys), "%s=%s", r->key, r->value);
		if (r->answer == REFUSED) {
			if (offer(NORMAL, keys) != ISCSI_LOGIN_FAILED)
				fail_msg("%s was not refused", keys);
			assert_int_equal(response.status >> 8, 2);
			continue;
		}
		if (offer(NORMAL, keys) != ISCSI_LOGIN_DONE)
			fail_msg("%s: login refused, %s", keys, response.reason);
		answer = answer_in(response.buf, response.text.len, r->key);
		if (strcmp(answer, r->answer) != 0)
			fail_msg("%s: answered \"%s\", not \"%s\"", keys, answer, r->answer);
	}
}

/* Known keys may come once in a login (6.2); what nobody knows is not understood as often as it comes. */
TEST(repeated_keys_end_the_login)
{
	char keys[400];

	for (size_t i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		bool unknown = r->answer && strcmp(r->answer, "NotUnderstood") == 0;

		if (r->answer == REFUSED)
			continue;
		snprintf(keys, sizeof(keys), "%s=%s\n%s=%s", r->key, r->value, r->key, r->value);
		if (offer(NORMAL, keys) != (unknown ? ISCSI_LOGIN_DONE : ISCSI_LOGIN_FAILED))
			fail_msg("%s twice", r->key);
		if (!unknown)
			assert_int_equal(response.status, ISCSI_LOGIN_INITIATOR_ERROR);
	}
}

/* FirstBurstLength is never answered with more than MaxBurstLength, in whatever order the two come (13.14). */
TEST(the_first_burst_is_no_longer_than_a_burst)
{
	static const char *const offers[] = {"FirstBurstLength=262144\nMaxBurstLength=65536",
		"MaxBurstLength=65536\nFirstBurstLength=262144"};

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(offer(NORMAL, offers[i]), ISCSI_LOGIN_DONE);
		assert_string_equal(answer_in(response.buf, response.text.len, "MaxBurstLength"), "65536");
		assert_string_equal(answer_in(response.buf, response.text.len, "FirstBurstLength"), "65536");
		assert_int_equal(login.negotiation.params.first_burst, 65536);
	}
	assert_int_equal(offer(NORMAL, "FirstBurstLength=65536"), ISCSI_LOGIN_DONE);
	response.text.len = 0;
	assert_int_equal(iscsi_negotiate(&login.negotiation, "MaxBurstLength", "4096", &response.text), 0);
	assert_string_equal(answer_in(response.buf, response.text.len, "MaxBurstLength"), "Reject");
	assert_true(login.negotiation.params.first_burst <= login.negotiation.params.max_burst);
}

/* Keys that mean nothing in a discovery session are answered all the same: 6.2 allows "Irrelevant", but there are
 * initiators that know no such number. */
TEST(discovery_answers_keys_that_mean_nothing_there)
{
	assert_int_equal(
		offer(DISCOVERY, "MaxConnections=2\nInitialR2T=No\nMaxBurstLength=8192\nHeaderDigest="
				 "CRC32C\nMaxRecvDataSegmentLength=4096\nErrorRecoveryLevel=2"),
		ISCSI_LOGIN_DONE);
	assert_string_equal(answer_in(response.buf, response.text.len, "MaxConnections"), "1");
	assert_string_equal(answer_in(response.buf, response.text.len, "MaxBurstLength"), "8192");
	assert_string_equal(answer_in(response.buf, response.text.len, "HeaderDigest"), "CRC32C");
	assert_string_equal(answer_in(response.buf, response.text.len, "ErrorRecoveryLevel"), "0");
	assert_string_equal(answer_in(response.buf, response.text.len, "TargetPortalGroupTag"), SILENCE);
	assert_int_equal(login.negotiation.params.max_send_segment, 4096);
}

/* Where nothing, or only what was rejected, is offered, the defaults of chapter 13 hold. */
TEST(without_an_acceptable_offer_the_defaults_hold)
{
	static const char *const offers[] = {"InitiatorAlias=a",
		"MaxBurstLength=1\nFirstBurstLength=1\nMaxOutstandingR2T=0\nInitialR2T=x\nImmediateData=x\n"
		"HeaderDigest=x\nDataDigest=x\nMaxRecvDataSegmentLength=1\nDefaultTime2Wait=9999"};

	for (unsigned i = 0; i < 2; i++) {
		const struct iscsi_params *p = &login.negotiation.params;

		assert_int_equal(offer(NORMAL, offers[i]), ISCSI_LOGIN_DONE);
		assert_int_equal(p->max_send_segment, 8192);
		assert_int_equal(p->max_burst, 262144);
		assert_int_equal(p->first_burst, 65536);
		assert_int_equal(p->max_outstanding_r2t, 1);
		assert_int_equal(p->time2wait, 2);
		assert_true(p->initial_r2t && p->immediate_data && p->data_pdu_in_order &&
			    p->data_sequence_in_order);
		assert_false(p->header_digest || p->data_digest || p->error_recovery_level);
		assert_int_equal(p->max_connections, 1);
	}
}

/* In the full feature phase only the segment length may change; names of an initiator are no question. */
TEST(little_may_change_later)
{
	struct iscsi_params before, params;

	assert_int_equal(offer(NORMAL, "MaxBurstLength=65536"), ISCSI_LOGIN_DONE);
	before = login.negotiation.params;
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		char buf[400];
		struct iscsi_text_out out = {.buf = buf, .cap = sizeof(buf)};
		bool known, segment = strcmp(r->key, "MaxRecvDataSegmentLength") == 0;
		const char *answer;

		params = before;
		known = iscsi_renegotiate(&params, r->key, r->value, &out) == 0;
		assert_int_equal(known, !r->answer || strcmp(r->answer, "NotUnderstood") != 0);
		if (!known)
			continue;
		answer = answer_in(buf, out.len, r->key);
		if (strcmp(r->key, "InitiatorAlias") == 0 || (segment && strcmp(r->answer, "Reject") != 0))
			assert_string_equal(answer, SILENCE);
		else if (strcmp(answer, "Reject") != 0)
			fail_msg("%s=%s: \"%s\" in the full feature phase", r->key, r->value, answer);
		if (segment)
			params.max_send_segment = before.max_send_segment;
		assert_memory_equal(&params, &before, sizeof(params));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_is_answered),
		cmocka_unit_test(repeated_keys_end_the_login),
		cmocka_unit_test(discovery_answers_keys_that_mean_nothing_there),
		cmocka_unit_test(the_first_burst_is_no_longer_than_a_burst),
		cmocka_unit_test(without_an_acceptable_offer_the_defaults_hold),
		cmocka_unit_test(little_may_change_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
