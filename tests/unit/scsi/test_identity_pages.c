/* SPDX-License-Identifier: Apache-2.0 */
/* What an initiator learns of a LUN: INQUIRY, VPD pages, REPORT LUNS, capacity; byte for byte. */
#include "tests/unit/scsi/client.h"

#include <string.h>
#include "array/util/bytes.h"
#include "proto/identity.h"

TEST(inquiry_tells_vendor_and_versions)
{
	const uint8_t *d;

	expect_good(run(a, 1, CDB(0x12, 0, 0, 0, 255, 0), NO_DATA));
	d = test_last.data;
	assert_int_equal(test_last.len, 96);
	assert_int_equal(d[0], 0x00);
	assert_int_equal(d[1], 0x00);
	assert_int_equal(d[2], 0x06);
	assert_int_equal(d[3] & 0x0F, 2);
	assert_int_equal(d[4], 91);
	assert_int_equal(d[5], 0x18); /* TPGS: implicit; 3PC */
	assert_int_equal(d[7], 0x02); /* CMDQUE */
	assert_memory_equal(d + 8, "UMBRADEV", 8);
	assert_memory_equal(d + 16, "UMBRA-DISK-LUN-1", 16);
	assert_memory_equal(d + 32, "0001", 4);
	/* truncated by the allocation length, header unchanged */
	expect_good(run(a, 1, CDB(0x12, 0, 0, 0, 5, 0), NO_DATA));
	assert_int_equal(test_last.len, 5);
	assert_int_equal(test_last.data[4], 91);
	expect_good(run(a, 1, CDB(0x12, 0, 0, 0, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 0);
	/* page code without EVPD, unknown page, obsolete CMDDT */
	expect_sense(run(a, 1, CDB(0x12, 0, 0x80, 0, 255, 0), NO_DATA), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x12, 1, 0x8E, 0, 255, 0), NO_DATA), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x12, 2, 0, 0, 255, 0), NO_DATA), 5, 0x2400);
}

TEST(absent_and_unmapped_luns_answer_inquiry)
{
	static const unsigned luns[] = {0, 9, 300};
	for (unsigned i = 0; i < 3; i++) {
		expect_good(run(a, luns[i], CDB(0x12, 0, 0, 0, 36, 0), NO_DATA));
		assert_int_equal(test_last.data[0], 0x7F);
		assert_int_equal(test_last.len, 36);
		expect_sense(run(a, luns[i], CDB(0x12, 1, 0x83, 0, 36, 0), NO_DATA), 5, 0x2400);
		expect_sense(run(a, luns[i], CDB(0x00, 0, 0, 0, 0, 0), NO_DATA), 5, 0x2500);
		expect_sense(run(a, luns[i], CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA), 5, 0x2500);
		expect_sense(run(a, luns[i], CDB(0xFF), NO_DATA), 5, 0x2500);
		expect_good(run(a, luns[i], CDB(0x03, 0, 0, 0, 18, 0), NO_DATA));
		assert_int_equal(test_last.data[2], 5);
		assert_int_equal(get_be16(test_last.data + 12), 0x2500);
	}
	expect_sense(run(a, 9, CDB(0xA0, 0, 0, 0, 0, 0, 0, 0, 64, 0), NO_DATA), 5, 0x2500);
}

TEST(control_lu_is_a_controller)
{
	expect_good(run(c, 0, CDB(0x12, 0, 0, 0, 96, 0), NO_DATA));
	assert_int_equal(test_last.data[0], 0x0C);
	assert_memory_equal(test_last.data + 8, "UMBRADEVUMBRA-CONTROL-LU", 24);
	expect_good(run(c, 0, CDB(0x12, 1, 0x83, 1, 0, 0), NO_DATA));
	assert_memory_equal(
		test_last.data + test_last.len - 16, "\x51\x94\0\4\0\0\0\1\x51\x95\0\4\0\0\0\1", 16);
	expect_good(run(c, 0, CDB(0x12, 1, 0x00, 0, 96, 0), NO_DATA));
	assert_int_equal(test_last.len, 9);
	assert_memory_equal(test_last.data, "\x0C\x00\x00\x05\x00\x80\x83\x86\x88", 9);
	expect_good(run(c, 0, CDB(0x12, 1, 0x80, 0, 96, 0), NO_DATA));
	assert_memory_equal(test_last.data + 4, "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5", 32);
	expect_good(run(c, 0, CDB(0x00, 0, 0, 0, 0, 0), NO_DATA));
	expect_sense(run(c, 0, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA), 5, 0x2000);
	expect_sense(run(c, 0, CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), NO_DATA), 5, 0x2000);
	expect_sense(run(c, 1, CDB(0x00, 0, 0, 0, 0, 0), NO_DATA), 5, 0x2500);
}

TEST(vpd_pages_have_the_identity)
{
	uint8_t expect83[256];
	size_t len;

	expect_good(run(a, 1, CDB(0x12, 1, 0x00, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 13);
	assert_memory_equal(test_last.data, "\0\0\0\x09\x00\x80\x83\x86\x88\x8F\xB0\xB1\xB2", 13);

	expect_good(run(a, 2, CDB(0x12, 1, 0x80, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 36);
	assert_memory_equal(test_last.data,
		"\0\x80\0\x20"
		"11111111111111111111111111111111",
		36);

	len = up_id_vpd83(fake_luns[0].lun.id, expect83, sizeof(expect83));
	expect_good(run(a, 1, CDB(0x12, 1, 0x83, 1, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 4 + len + 16);
	assert_int_equal(get_be16(test_last.data + 2), len + 16);
	assert_memory_equal(test_last.data + 4, expect83, len);
	assert_memory_equal(test_last.data + 4 + len, "\x51\x94\0\4\0\0\0\1\x51\x95\0\4\0\0\0\1", 16);
	/* the same on another path but for the port */
	expect_good(run(b, 1, CDB(0x12, 1, 0x83, 1, 0, 0), NO_DATA));
	assert_memory_equal(test_last.data + 4, expect83, len);
	assert_memory_equal(test_last.data + 4 + len, "\x51\x94\0\4\0\0\0\2", 8);

	expect_good(run(a, 1, CDB(0x12, 1, 0x86, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 64);
	assert_memory_equal(test_last.data, "\0\x86\0\x3C\0\x07\x01\0", 8);

	/* two ports: both in page 88h, and MULTIP */
	expect_good(run(a, 1, CDB(0x12, 1, 0x88, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 44);
	assert_memory_equal(test_last.data,
		"\0\x88\0\x28\0\0\0\1\0\0\0\0\0\0\0\x08\x51\x94\0\4\0\0\0\1"
		"\0\0\0\2\0\0\0\0\0\0\0\x08\x51\x94\0\4\0\0\0\2",
		44);
	expect_good(run(b, 1, CDB(0x12, 0, 0, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.data[6], 0x10);
}

TEST(vpd_block_pages_have_the_limits)
{
	const uint8_t *d;

	expect_good(run(a, 1, CDB(0x12, 1, 0xB0, 0, 255, 0), NO_DATA));
	d = test_last.data;
	assert_int_equal(test_last.len, 64);
	assert_memory_equal(d, "\0\xB0\0\x3C\x01\xFF\0\x08", 8);
	assert_int_equal(get_be32(d + 8), 8192);
	assert_int_equal(get_be32(d + 12), 2048);
	assert_int_equal(get_be32(d + 20), 1u << 20);
	assert_int_equal(get_be32(d + 24), 256);
	assert_int_equal(get_be32(d + 28), 128);
	assert_int_equal(get_be32(d + 32), 0x80000000);
	assert_int_equal(get_be64(d + 36), 1u << 15);

	expect_good(run(a, 1, CDB(0x12, 1, 0xB1, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 64);
	assert_memory_equal(test_last.data, "\0\xB1\0\x3C\0\x01\0\x40", 8);

	expect_good(run(a, 1, CDB(0x12, 1, 0xB2, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 8);
	assert_memory_equal(test_last.data, "\0\xB2\0\x04\x0B\xE4\x02\0", 8);
}

TEST(report_luns_lists_what_is_mapped)
{
	fake_map(fake_host(0), 300, &fake_luns[3].lun);
	expect_good(run(a, 0, CDB(0xA0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 8 + 5 * 8);
	assert_int_equal(get_be32(test_last.data), 40);
	assert_memory_equal(test_last.data + 8, "\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0", 16);
	assert_memory_equal(test_last.data + 8 + 32, "\x41\x2C\0\0\0\0\0\0", 8);
	/* truncated: the length still tells all */
	expect_good(run(a, 1, CDB(0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 20);
	assert_int_equal(get_be32(test_last.data), 40);
	/* with a control LU and nothing mapped */
	expect_good(run(c, 0, CDB(0xA0, 0, 2, 0, 0, 0, 0, 0, 2, 0, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 16);
	assert_memory_equal(test_last.data, "\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	expect_good(run(a, 0, CDB(0xA0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 8);
	expect_sense(run(a, 0, CDB(0xA0, 0, 3, 0, 0, 0, 0, 0, 2, 0, 0, 0), NO_DATA), 5, 0x2400);
	expect_sense(run(a, 0, CDB(0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0), NO_DATA), 5, 0x2400);
}

TEST(a_lun_is_addressed_in_either_form_and_no_other)
{
	static const struct {
		uint8_t lun[8];
		bool is_lun1;
	} forms[] = {
		{{0, 1}, true},
		{{0x40, 1}, true},
		{{0x01, 1}, false},
		{{0x80, 1}, false},
		{{0xC1, 1}, false},
		{{0, 1, 0, 1}, false},
		{{0x40, 1, 0, 0, 0, 0, 0, 1}, false},
		{{0x7F, 0xFF}, false},
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct scsi_task t = {.nexus = test_a.nexus, .cdb_len = 16};

		memcpy(t.lun, forms[i].lun, 8);
		assert_int_equal(scsi_task_parse(&t), forms[i].is_lun1);
		if (forms[i].is_lun1)
			scsi_task_discard(&t);
		else
			assert_int_equal(get_be16(t.sense + 12), 0x2500);
	}
}

TEST(read_capacity_tells_the_size)
{
	expect_good(run(a, 1, CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 8);
	assert_memory_equal(test_last.data, "\0\0\x07\xFF\0\0\x02\0", 8);
	expect_sense(run(a, 1, CDB(0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0), NO_DATA), 5, 0x2400);
	expect_good(run(a, 1, CDB(0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255), NO_DATA));
	assert_int_equal(test_last.len, 32);
	assert_memory_equal(test_last.data, "\0\0\0\0\0\0\x07\xFF\0\0\x02\0\0\x03\xC0\0\0\0\0\0\0\0\0\0", 24);
	/* larger than READ CAPACITY(10) can say */
	fake_luns[1].lun.size_bytes = UINT64_C(3) << 40;
	expect_good(run(a, 2, CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), NO_DATA));
	assert_int_equal(get_be32(test_last.data), UINT32_MAX);
	expect_good(run(a, 2, CDB(0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12), NO_DATA));
	assert_int_equal(test_last.len, 12);
	assert_int_equal(get_be64(test_last.data), (UINT64_C(3) << 31) - 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, client_setup, client_teardown)
	const struct CMUnitTest tests[] = {T(inquiry_tells_vendor_and_versions),
		T(absent_and_unmapped_luns_answer_inquiry), T(control_lu_is_a_controller),
		T(vpd_pages_have_the_identity), T(vpd_block_pages_have_the_limits),
		T(report_luns_lists_what_is_mapped), T(a_lun_is_addressed_in_either_form_and_no_other),
		T(read_capacity_tells_the_size)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
