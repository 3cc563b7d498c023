/* SPDX-License-Identifier: Apache-2.0 */
/* Text keys: splitting, numbers, binary values, lists; the negotiation table's result functions. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "array/iscsi/params.h"
#include "array/iscsi/text.h"
#include "tests/support/test.h"

/* ---- reading ---- */

static int first_key(const char *bytes, size_t len, const char **key, const char **value)
{
	static char buf[512];
	struct iscsi_text_in in;

	memcpy(buf, bytes, len);
	iscsi_text_begin(&in, buf, len);
	return iscsi_text_next(&in, key, value);
}

TEST(pairs_are_read_one_after_another)
{
	char buf[] = "A=1\0Key.x-y=\0\0\0B=c=d";
	struct iscsi_text_in in;
	const char *key, *value;

	iscsi_text_begin(&in, buf, sizeof(buf));
	assert_int_equal(iscsi_text_next(&in, &key, &value), 1);
	assert_string_equal(key, "A");
	assert_string_equal(value, "1");
	assert_int_equal(iscsi_text_next(&in, &key, &value), 1);
	assert_string_equal(key, "Key.x-y");
	assert_string_equal(value, "");
	assert_int_equal(iscsi_text_next(&in, &key, &value), 1);
	assert_string_equal(key, "B");
	assert_string_equal(value, "c=d");
	assert_int_equal(iscsi_text_next(&in, &key, &value), 0);
}

TEST(malformed_pairs_are_refused)
{
	char long_key[80];
	const char *k, *v;

	assert_int_equal(first_key("A=1", 3, &k, &v), -EBADMSG); /* no NUL */
	assert_int_equal(first_key("A\0", 2, &k, &v), -EBADMSG); /* no = */
	assert_int_equal(first_key("=1\0", 3, &k, &v), -EBADMSG);
	assert_int_equal(first_key("A b=1\0", 6, &k, &v), -EBADMSG);
	assert_int_equal(first_key("\x80=1\0", 4, &k, &v), -EBADMSG);
	assert_int_equal(first_key("", 0, &k, &v), 0);
	assert_int_equal(first_key("\0\0\0", 3, &k, &v), 0);
	memset(long_key, 'k', sizeof(long_key));
	long_key[ISCSI_KEY_MAX_BYTES] = '=';
	long_key[ISCSI_KEY_MAX_BYTES + 1] = '\0';
	assert_int_equal(first_key(long_key, ISCSI_KEY_MAX_BYTES + 2, &k, &v), 1);
	long_key[ISCSI_KEY_MAX_BYTES] = 'k';
	long_key[ISCSI_KEY_MAX_BYTES + 1] = '=';
	long_key[ISCSI_KEY_MAX_BYTES + 2] = '\0';
	assert_int_equal(first_key(long_key, ISCSI_KEY_MAX_BYTES + 3, &k, &v), -EBADMSG);
}

TEST(writing_stops_at_the_end)
{
	char buf[10];
	struct iscsi_text_out out = {.buf = buf, .cap = sizeof(buf)};

	iscsi_text_put(&out, "A", "12");
	assert_int_equal(out.len, 5);
	assert_memory_equal(buf, "A=12\0", 5);
	iscsi_text_put(&out, "B", "345"); /* 6 bytes, 5 are left */
	assert_true(out.overflow);
	assert_int_equal(out.len, 5);
	iscsi_text_put(&out, "C", ""); /* nothing after an overflow */
	assert_int_equal(out.len, 5);
}

TEST(numbers_are_read_within_their_bounds)
{
	uint64_t n;

	assert_true(iscsi_text_number("0", 10, &n) && n == 0);
	assert_true(iscsi_text_number("16777215", 16777215, &n) && n == 16777215);
	assert_true(iscsi_text_number("0x1F", 31, &n) && n == 31);
	assert_true(iscsi_text_number("18446744073709551615", UINT64_MAX, &n) && n == UINT64_MAX);
	assert_false(iscsi_text_number("16777216", 16777215, &n));
	assert_false(iscsi_text_number("18446744073709551616", UINT64_MAX, &n));
	assert_false(iscsi_text_number("", 10, &n));
	assert_false(iscsi_text_number("0x", 10, &n));
	assert_false(iscsi_text_number("-1", 10, &n));
	assert_false(iscsi_text_number("1 ", 10, &n));
	assert_false(iscsi_text_number("1a", 100, &n));
	assert_false(iscsi_text_number("5", 4, &n));
	assert_false(iscsi_text_number("9", 5, &n));
}

TEST(binary_values_are_read_in_both_encodings)
{
	uint8_t b[8];
	char hex[20];

	assert_int_equal(iscsi_text_binary("0x0102ff", b, 8), 3);
	assert_memory_equal(b, "\x01\x02\xff", 3);
	assert_int_equal(iscsi_text_binary("0XAbc", b, 8), 2);
	assert_memory_equal(b, "\x0a\xbc", 2);
	assert_int_equal(iscsi_text_binary("0bAQID", b, 8), 3);
	assert_memory_equal(b, "\x01\x02\x03", 3);
	assert_int_equal(iscsi_text_binary("0bAQI=", b, 8), 2);
	assert_int_equal(iscsi_text_binary("0bAQ==", b, 8), 1);
	assert_int_equal(iscsi_text_binary("0bA", b, 8), -1);
	assert_int_equal(iscsi_text_binary("0b====", b, 8), -1);
	assert_int_equal(iscsi_text_binary("0x", b, 8), -1);
	assert_int_equal(iscsi_text_binary("0x0g", b, 8), -1);
	assert_int_equal(iscsi_text_binary("12", b, 8), -1);
	assert_int_equal(iscsi_text_binary("0x010203040506070809", b, 8), -1);
	assert_int_equal(iscsi_text_binary("0bAQIDBAUGBwgJ", b, 8), -1);
	iscsi_text_hex((const uint8_t *)"\x00\xab", 2, hex, sizeof(hex));
	assert_string_equal(hex, "0x00ab");
}

TEST(the_first_known_word_of_a_list_is_chosen)
{
	static const char *const words[] = {"None", "CRC32C"};

	assert_int_equal(iscsi_text_choose("CRC32C,None", words, 2), 1);
	assert_int_equal(iscsi_text_choose("X,None,CRC32C", words, 2), 0);
	assert_int_equal(iscsi_text_choose("none", words, 2), -1);
	assert_int_equal(iscsi_text_choose("", words, 2), -1);
	assert_int_equal(iscsi_text_choose(",,None", words, 2), 0);
	assert_int_equal(iscsi_text_choose("NoneCRC32C", words, 2), -1);
	assert_true(iscsi_text_listed("a,CHAP", "CHAP"));
	assert_false(iscsi_text_listed("CHAPS", "CHAP"));
}

/* ---- negotiation ---- */

static const struct iscsi_wishes wishes = {
	.max_recv_segment = 262144, .max_burst = 1048576, .first_burst = 262144, .max_outstanding_r2t = 8};

/* The answer to one key in a fresh negotiation; "" when there is none. */
static const char *answer(struct iscsi_negotiation *n, const char *key, const char *value, int expect)
{
	static char buf[256];
	struct iscsi_text_out out = {.buf = buf, .cap = sizeof(buf)};

	memset(buf, 0, sizeof(buf));
	iscsi_negotiation_init(n, &wishes);
	assert_int_equal(iscsi_negotiate(n, key, value, &out), expect);
	iscsi_negotiate_end(n, &out);
	return buf;
}

static void expect_answer(const char *key, const char *value, const char *result)
{
	struct iscsi_negotiation n;
	char expected[256] = "";

	if (result)
		snprintf(expected, sizeof(expected), "%s=%s", key, result);
	assert_string_equal(answer(&n, key, value, 0), expected);
}

TEST(each_key_is_answered_by_its_rule)
{
	expect_answer("HeaderDigest", "CRC32C,None", "CRC32C");
	expect_answer("HeaderDigest", "None,CRC32C", "None");
	expect_answer("DataDigest", "SHA", "Reject");
	expect_answer("MaxConnections", "8", "1");
	expect_answer("MaxConnections", "0", "Reject");
	expect_answer("InitialR2T", "Yes", "Yes");
	expect_answer("InitialR2T", "No", "No");
	expect_answer("InitialR2T", "yes", "Reject");
	expect_answer("ImmediateData", "Yes", "Yes");
	expect_answer("ImmediateData", "No", "No");
	expect_answer("MaxRecvDataSegmentLength", "8192", NULL);
	expect_answer("MaxRecvDataSegmentLength", "511", "Reject");
	expect_answer("MaxRecvDataSegmentLength", "16777216", "Reject");
	expect_answer("MaxBurstLength", "16776192", "1048576");
	expect_answer("MaxBurstLength", "0x4000", "16384");
	expect_answer("FirstBurstLength", "65536", "65536");
	expect_answer("FirstBurstLength", "511", "Reject");
	expect_answer("DefaultTime2Wait", "2", "2");
	expect_answer("DefaultTime2Wait", "3601", "Reject");
	expect_answer("DefaultTime2Retain", "20", "0");
	expect_answer("MaxOutstandingR2T", "1", "1");
	expect_answer("MaxOutstandingR2T", "100", "8");
	expect_answer("DataPDUInOrder", "No", "Yes");
	expect_answer("DataSequenceInOrder", "No", "Yes");
	expect_answer("ErrorRecoveryLevel", "2", "0");
	expect_answer("ErrorRecoveryLevel", "3", "Reject");
	expect_answer("TaskReporting", "FastAbort,RFC3720", "RFC3720");
	expect_answer("TaskReporting", "FastAbort", "Reject");
	expect_answer("iSCSIProtocolLevel", "2", "1");
	expect_answer("IFMarker", "Yes", "No");
	expect_answer("OFMarkInt", "1~2048", "Reject");
	expect_answer("InitiatorAlias", "anything at all", NULL);
}

TEST(values_take_effect)
{
	struct iscsi_negotiation n;

	answer(&n, "MaxRecvDataSegmentLength", "4096", 0);
	assert_int_equal(n.params.max_send_segment, 4096);
	answer(&n, "HeaderDigest", "CRC32C", 0);
	assert_int_equal(n.params.header_digest, 1);
	answer(&n, "MaxBurstLength", "512", 0);
	assert_int_equal(n.params.max_burst, 512);
	assert_int_equal(n.params.first_burst, 512); /* never more */
	answer(&n, "MaxBurstLength", "banana", 0);
	assert_int_equal(n.params.max_burst, 262144); /* a rejected key keeps its default */
	answer(&n, "X-com.example.key", "1", -ENOENT);
}

TEST(a_key_comes_once)
{
	struct iscsi_negotiation n;
	char buf[256];
	struct iscsi_text_out out = {.buf = buf, .cap = sizeof(buf)};

	iscsi_negotiation_init(&n, &wishes);
	assert_int_equal(iscsi_negotiate(&n, "MaxBurstLength", "512", &out), 0);
	assert_int_equal(iscsi_negotiate(&n, "MaxBurstLength", "1024", &out), -EALREADY);
	assert_int_equal(n.params.max_burst, 512);
	iscsi_negotiation_declare(&n, &out);
	assert_int_equal(n.params.max_recv_segment, 262144);
	out.len = 0;
	iscsi_negotiation_declare(&n, &out);
	assert_int_equal(out.len, 0);
}

TEST(only_the_segment_length_changes_later)
{
	struct iscsi_negotiation n;
	char buf[256] = "";
	struct iscsi_text_out out = {.buf = buf, .cap = sizeof(buf)};

	iscsi_negotiation_init(&n, &wishes);
	assert_int_equal(iscsi_renegotiate(&n.params, "MaxRecvDataSegmentLength", "1024", &out), 0);
	assert_int_equal(n.params.max_send_segment, 1024);
	assert_int_equal(out.len, 0);
	assert_int_equal(iscsi_renegotiate(&n.params, "MaxBurstLength", "1024", &out), 0);
	assert_string_equal(buf, "MaxBurstLength=Reject");
	assert_int_equal(n.params.max_burst, 262144);
	assert_int_equal(iscsi_renegotiate(&n.params, "Unknown", "1", &out), -ENOENT);
}

/* A Text request without data has no buffer. */
TEST(a_text_without_a_buffer_has_no_key)
{
	struct iscsi_text_in in;
	const char *key, *value;

	iscsi_text_begin(&in, NULL, 0);
	assert_int_equal(iscsi_text_next(&in, &key, &value), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_are_read_one_after_another),
		cmocka_unit_test(malformed_pairs_are_refused),
		cmocka_unit_test(a_text_without_a_buffer_has_no_key),
		cmocka_unit_test(writing_stops_at_the_end),
		cmocka_unit_test(numbers_are_read_within_their_bounds),
		cmocka_unit_test(binary_values_are_read_in_both_encodings),
		cmocka_unit_test(the_first_known_word_of_a_list_is_chosen),
		cmocka_unit_test(each_key_is_answered_by_its_rule),
		cmocka_unit_test(values_take_effect),
		cmocka_unit_test(a_key_comes_once),
		cmocka_unit_test(only_the_segment_length_changes_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
