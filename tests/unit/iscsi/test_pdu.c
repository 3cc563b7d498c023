/* SPDX-License-Identifier: Apache-2.0 */
/* Header fields, extended CDBs, and CRC32C against the examples of RFC 7143 (appendix A.4 of RFC 3720). */
#include <string.h>
#include "array/iscsi/pdu.h"
#include "tests/support/test.h"

static void expect_crc(const uint8_t *data, size_t len, const uint8_t wire[4])
{
	uint8_t out[4];

	iscsi_digest_put(out, iscsi_digest_add(ISCSI_DIGEST_BEGIN, data, len));
	assert_memory_equal(out, wire, 4);
	assert_true(iscsi_digest_matches(wire, iscsi_digest_add(ISCSI_DIGEST_BEGIN, data, len)));
	out[2] ^= 1;
	assert_false(iscsi_digest_matches(out, iscsi_digest_add(ISCSI_DIGEST_BEGIN, data, len)));
}

TEST(crc32c_gives_the_examples_of_the_rfc)
{
	static const uint8_t read10[48] = {
		0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02};
	uint8_t b[32];

	memset(b, 0, sizeof(b));
	expect_crc(b, 32, (const uint8_t[]){0xaa, 0x36, 0x91, 0x8a});
	memset(b, 0xff, sizeof(b));
	expect_crc(b, 32, (const uint8_t[]){0x43, 0xab, 0xa8, 0x62});
	for (unsigned i = 0; i < 32; i++)
		b[i] = (uint8_t)i;
	expect_crc(b, 32, (const uint8_t[]){0x4e, 0x79, 0xdd, 0x46});
	for (unsigned i = 0; i < 32; i++)
		b[i] = (uint8_t)(31 - i);
	expect_crc(b, 32, (const uint8_t[]){0x5c, 0xdb, 0x3f, 0x11});
	expect_crc(read10, 48, (const uint8_t[]){0x56, 0x3a, 0x96, 0xd9});
}

TEST(crc32c_in_pieces_is_that_of_the_whole)
{
	uint8_t b[100];
	uint32_t crc = ISCSI_DIGEST_BEGIN;

	for (unsigned i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(i * 7);
	for (unsigned i = 0; i < sizeof(b); i += 10)
		crc = iscsi_digest_add(crc, b + i, 10);
	assert_int_equal(crc, iscsi_digest_add(ISCSI_DIGEST_BEGIN, b, sizeof(b)));
}

TEST(header_fields_are_where_the_rfc_says)
{
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_NOP_OUT, ISCSI_FINAL, 0x01020304);
	assert_int_equal(iscsi_opcode(bhs), ISCSI_NOP_OUT);
	assert_false(iscsi_immediate(bhs));
	bhs[0] |= ISCSI_IMMEDIATE;
	assert_true(iscsi_immediate(bhs));
	assert_int_equal(bhs[19], 4);
	bhs[4] = 255;
	assert_int_equal(iscsi_ahs_len(bhs), ISCSI_AHS_MAX_BYTES);
	put_be24(bhs + 5, 0x123456);
	assert_int_equal(iscsi_data_len(bhs), 0x123456);
	assert_int_equal(iscsi_pad_len(0), 0);
	assert_int_equal(iscsi_pad_len(1), 3);
	assert_int_equal(iscsi_pad_len(4), 0);
	assert_int_equal(iscsi_pad_len(0xfffffd), 3);
}

TEST(serial_numbers_wrap)
{
	assert_true(iscsi_sn_lt(0xffffffff, 0));
	assert_false(iscsi_sn_lt(0, 0xffffffff));
	assert_true(iscsi_sn_le(5, 5));
	assert_true(iscsi_sn_lt(0x7fffffff, 0x80000000));
}

TEST(a_long_cdb_goes_on_in_the_header_extension)
{
	uint8_t header[ISCSI_BHS_BYTES + 64] = {0}, cdb[32];

	memset(header + ISCSI_AT_CDB, 0x11, 16);
	assert_int_equal(iscsi_pdu_cdb(header, cdb, 32), 16);
	assert_int_equal(cdb[15], 0x11);

	/* 32-byte CDB: AHSLength 17 = reserved byte + 16; 20 bytes of AHS */
	header[4] = 5;
	put_be16(header + 48, 17);
	header[50] = 1;
	memset(header + 52, 0x22, 16);
	assert_int_equal(iscsi_pdu_cdb(header, cdb, 32), 32);
	assert_int_equal(cdb[31], 0x22);

	put_be16(header + 48, 18); /* 33 bytes: too long */
	assert_int_equal(iscsi_pdu_cdb(header, cdb, 32), 0);
	put_be16(header + 48, 17);
	header[4] = 4; /* the segment is longer than all of them */
	assert_int_equal(iscsi_pdu_cdb(header, cdb, 32), 0);
	header[4] = 5;
	header[50] = 2; /* bidirectional read length: not ours to read */
	assert_int_equal(iscsi_pdu_cdb(header, cdb, 32), 16);
	put_be16(header + 48, 0); /* an empty extension */
	header[50] = 1;
	assert_int_equal(iscsi_pdu_cdb(header, cdb, 32), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_gives_the_examples_of_the_rfc),
		cmocka_unit_test(crc32c_in_pieces_is_that_of_the_whole),
		cmocka_unit_test(header_fields_are_where_the_rfc_says),
		cmocka_unit_test(serial_numbers_wrap),
		cmocka_unit_test(a_long_cdb_goes_on_in_the_header_extension),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
