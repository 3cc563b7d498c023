/* SPDX-License-Identifier: Apache-2.0 */
/* Identity: the derived strings are exact, stable and free of padding. */
#include <string.h>
#include "proto/identity.h"
#include "tests/support/test.h"

static const uint8_t sample[UP_ID_BYTES] = {
	0xAB, 0xCD, 0xEF, 0x01, 0x23, 0x45, 0x67, 0x89, 0x98, 0x76, 0x54, 0x32, 0x10, 0xFE, 0xDC, 0xBA};

TEST(serial_is_lower_hex)
{
	char serial[UP_SERIAL_BYTES + 1];

	up_id_format(sample, serial);
	assert_string_equal(serial, "abcdef01234567899876543210fedcba");
}

TEST(parse_accepts_hex_and_guid_forms)
{
	uint8_t id[UP_ID_BYTES];

	assert_true(up_id_parse("abcdef01234567899876543210fedcba", id));
	assert_memory_equal(id, sample, sizeof(sample));
	assert_true(up_id_parse("{ABCDEF01-2345-6789-9876-543210FEDCBA}", id));
	assert_memory_equal(id, sample, sizeof(sample));
}

TEST(parse_refuses_all_else_and_leaves_the_id)
{
	static const char *const bad[] = {"", "abc", "abcdef01234567899876543210fedcb",
		"abcdef01234567899876543210fedcba0", "gbcdef01234567899876543210fedcba",
		"abcdef01234567899876543210fedcb "};
	uint8_t id[UP_ID_BYTES];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(id, 0x5A, sizeof(id));
		assert_false(up_id_parse(bad[i], id));
		for (size_t j = 0; j < sizeof(id); j++)
			assert_int_equal(id[j], 0x5A);
	}
}

TEST(designators_follow_spc)
{
	struct up_designator d[UP_DESIGNATORS];
	static const uint8_t naa[8] = {0x3A, 0xBC, 0xDE, 0xF0, 0x12, 0x34, 0x56, 0x78};

	up_id_designators(sample, d);
	assert_int_equal(d[0].type, 1);
	assert_int_equal(d[0].code_set, 2);
	assert_int_equal(d[0].len_bytes, 40);
	assert_memory_equal(d[0].bytes, UP_VENDOR "abcdef01234567899876543210fedcba", 40);
	assert_int_equal(d[1].type, 3);
	assert_int_equal(d[1].code_set, 1);
	assert_int_equal(d[1].len_bytes, 8);
	assert_memory_equal(d[1].bytes, naa, 8);
	assert_int_equal(d[2].type, 8);
	assert_int_equal(d[2].code_set, 3);
	assert_int_equal(d[2].len_bytes, 24);
	assert_memory_equal(d[2].bytes, "naa.3ABCDEF012345678\0\0\0\0", 24);
}

TEST(vpd83_is_the_designators)
{
	uint8_t page[128];

	size_t len = up_id_vpd83(sample, page, sizeof(page));
	assert_int_equal(len, 3 * 4 + 40 + 8 + 24);
	assert_int_equal(page[1], 1);
	assert_int_equal(page[3], 40);
	assert_int_equal(page[44], 1);
	assert_int_equal(page[45], 3);
	assert_int_equal(page[56 + 1], 8);
	for (size_t cap = 0; cap < len; cap++)
		assert_int_equal(up_id_vpd83(sample, page, cap), 0);
}

TEST(fixed_strings_fill_their_fields)
{
	assert_int_equal(strlen(UP_VENDOR), 8);
	assert_int_equal(strlen(UP_PRODUCT), 16);
	assert_int_equal(strlen(UP_PRODUCT_CONTROL), 16);
	assert_int_equal(strlen(UP_REVISION), 4);
	assert_null(strchr(UP_VENDOR UP_PRODUCT UP_PRODUCT_CONTROL UP_REVISION, ' '));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(serial_is_lower_hex),
		cmocka_unit_test(parse_accepts_hex_and_guid_forms),
		cmocka_unit_test(parse_refuses_all_else_and_leaves_the_id),
		cmocka_unit_test(designators_follow_spc),
		cmocka_unit_test(vpd83_is_the_designators),
		cmocka_unit_test(fixed_strings_fill_their_fields),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
