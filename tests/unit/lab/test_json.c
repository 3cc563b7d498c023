/* SPDX-License-Identifier: Apache-2.0 */
/* The lab's JSON: what is written reads back; what is not JSON, or out of bounds, is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lab/coordinator/json.h"
#include "tests/support/test.h"

static struct json_value *parse(const char *text)
{
	return json_parse(text, strlen(text));
}

TEST(what_is_written_is_read_again)
{
	struct json_out j = {0};
	const uint8_t bytes[] = {0, 0x7f, 0x80, 0xff};
	json_open(&j, NULL, '{');
	json_string(&j, "text", "a \"b\" \\ \n \x01 \xc3\xa4");
	json_int(&j, "number", -42);
	json_ms(&j, "ms", 1234567);
	json_bool(&j, "yes", true);
	json_hex32(&j, "hex", 0x80042308);
	json_bytes(&j, "bytes", bytes, sizeof bytes);
	json_bytes(&j, "none", NULL, 0);
	json_open(&j, "list", '[');
	json_int(&j, NULL, 1);
	json_open(&j, NULL, '{');
	json_close(&j, '}');
	json_close(&j, ']');
	json_close(&j, '}');
	assert_false(j.failed);
	assert_non_null(strstr(j.text, "1234.567"));
	char *ms = strstr(j.text, "1234.567"); /* the reader takes whole numbers only */
	memcpy(ms, "12340567", 8);
	struct json_value *v = parse(j.text);
	assert_non_null(v);
	assert_string_equal(json_get_string(v, "text"), "a \"b\" \\ \n \x01 \xc3\xa4");
	assert_int_equal(json_get_int(v, "number", 0), -42);
	assert_string_equal(json_get_string(v, "hex"), "0x80042308");
	uint8_t *back;
	size_t count;
	assert_true(json_get_bytes(v, "bytes", &back, &count));
	assert_int_equal(count, sizeof bytes);
	assert_memory_equal(back, bytes, count);
	free(back);
	assert_true(json_get_bytes(v, "none", &back, &count));
	assert_null(back);
	assert_int_equal(json_get(v, "list", JSON_ARRAY)->child->number, 1);
	assert_null(json_get(v, "list", JSON_OBJECT));
	assert_null(json_get(v, "missing", JSON_INT));
	assert_int_equal(json_get_int(v, "text", 7), 7);
	json_free(v);
	json_out_free(&j);
}

TEST(what_is_no_json_is_refused)
{
	static const char *const bad[] = {"", " ", "{", "}", "[1", "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}",
		"[1 2]", "1.5", "1e3", "-", "99999999999999999999", "\"", "\"\\\"", "\"\\x\"", "\"\\u00\"",
		"\"\\u0000\"", "\"\\ud800\"", "\"\x01\"", "tru", "nul", "1 1", "[\"a\":1]", "{\"a\":1,}",
		"{\"a\":1 \"b\":2}"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct json_value *v = parse(bad[i]);
		if (v)
			print_message("taken: %s\n", bad[i]);
		assert_null(v);
	}
}

TEST(depth_and_nodes_are_bounded)
{
	char deep[200];
	memset(deep, '[', 100);
	memset(deep + 100, ']', 100);
	assert_null(json_parse(deep, 200));
	struct json_value *v = json_parse(deep + 84, 32);
	assert_non_null(v);
	json_free(v);
	size_t len = 2 * (JSON_MAX_NODES + 1) + 1;
	char *wide = malloc(len);
	for (size_t i = 0; i < len; i++)
		wide[i] = i % 2 ? '1' : ',';
	wide[0] = '[';
	wide[len - 1] = ']';
	assert_null(json_parse(wide, len));
	free(wide);
}

TEST(every_prefix_of_a_document_is_refused)
{
	static const char text[] = "{\"a\": [1, true, null, \"\\u00e4\\n\"], \"b\": {\"c\": \"00ff\"}}";
	for (size_t len = 0; len < sizeof text - 1; len++)
		assert_null(json_parse(text, len));
	struct json_value *v = json_parse(text, sizeof text - 1);
	assert_non_null(v);
	json_free(v);
}

TEST(a_writer_that_nests_too_deep_fails)
{
	struct json_out j = {0};
	for (int i = 0; i <= JSON_MAX_LEVELS; i++)
		json_open(&j, NULL, '[');
	assert_true(j.failed);
	json_out_free(&j);
	json_close(&j, ']');
	assert_true(j.failed);
	json_out_free(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_written_is_read_again),
		cmocka_unit_test(what_is_no_json_is_refused), cmocka_unit_test(depth_and_nodes_are_bounded),
		cmocka_unit_test(every_prefix_of_a_document_is_refused),
		cmocka_unit_test(a_writer_that_nests_too_deep_fails)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
