/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that move the medium's data: right bytes, right bounds, right flags, right errors. */
#include "tests/unit/scsi/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/bytes.h"

#define BLOCK 512u
#define LAST  (FAKE_LUN_BYTES / BLOCK - 1)

static uint8_t buf[1u << 20];

/* A CDB with an LBA and a length where the opcode's group has them. */
static size_t build(uint8_t cdb[16], uint8_t opcode, uint8_t flags, uint64_t lba, uint32_t blocks)
{
	memset(cdb, 0, 16);
	cdb[0] = opcode;
	switch (opcode >> 5) {
	case 0:
		put_be24(cdb + 1, (uint32_t)lba & 0x1FFFFF);
		cdb[4] = (uint8_t)blocks;
		return 6;
	case 1:
	case 2:
		cdb[1] = flags;
		put_be32(cdb + 2, (uint32_t)lba);
		put_be16(cdb + 7, (uint16_t)blocks);
		return 10;
	case 5:
		cdb[1] = flags;
		put_be32(cdb + 2, (uint32_t)lba);
		put_be32(cdb + 6, blocks);
		return 12;
	default:
		cdb[1] = flags;
		put_be64(cdb + 2, lba);
		put_be32(cdb + 10, blocks);
		return 16;
	}
}

static uint8_t io(uint8_t opcode, uint8_t flags, uint64_t lba, uint32_t blocks, const void *send, size_t len)
{
	uint8_t cdb[16];
	size_t cdb_len = build(cdb, opcode, flags, lba, blocks);

	return client_run(&test_a, 1, cdb, cdb_len, send, len);
}

static const uint8_t reads[] = {0x08, 0x28, 0xA8, 0x88};
static const uint8_t writes[] = {0x0A, 0x2A, 0xAA, 0x8A};

TEST(reads_give_the_data)
{
	for (size_t i = 0; i < sizeof(reads); i++) {
		expect_good(io(reads[i], 0, 0, 1, NO_DATA));
		assert_int_equal(test_last.len, BLOCK);
		assert_memory_equal(test_last.data, fake_luns[0].data, BLOCK);
		expect_good(io(reads[i], 0, 17, 9, NO_DATA));
		assert_int_equal(test_last.len, 9 * BLOCK);
		assert_memory_equal(test_last.data, fake_luns[0].data + 17 * BLOCK, 9 * BLOCK);
		expect_good(io(reads[i], 0, LAST, 1, NO_DATA));
		assert_memory_equal(test_last.data, fake_luns[0].data + LAST * BLOCK, BLOCK);
	}
	/* READ(6) of length 0 is 256 blocks; the others move nothing. */
	expect_good(io(0x08, 0, 3, 0, NO_DATA));
	assert_int_equal(test_last.len, 256 * BLOCK);
	for (size_t i = 1; i < sizeof(reads); i++) {
		expect_good(io(reads[i], 0, 3, 0, NO_DATA));
		assert_int_equal(test_last.len, 0);
	}
	expect_good(io(0x28, 0x18, 1, 1, NO_DATA)); /* DPO, FUA */
}

TEST(writes_change_just_the_range)
{
	static uint8_t before[FAKE_LUN_BYTES];

	for (size_t i = 0; i < sizeof(writes); i++) {
		memcpy(before, fake_luns[0].data, sizeof(before));
		memset(buf, (int)(0x31 + i), sizeof(buf));
		expect_good(io(writes[i], 0, 100 + i, 5, buf, 5 * BLOCK));
		memcpy(before + (100 + i) * BLOCK, buf, 5 * BLOCK);
		assert_memory_equal(before, fake_luns[0].data, sizeof(before));
	}
	assert_int_equal(fake_luns[0].writes, 4);
	assert_int_equal(fake_luns[0].fua_writes, 0);
	for (size_t i = 1; i < sizeof(writes); i++)
		expect_good(io(writes[i], 0x08, 1, 1, buf, BLOCK));
	assert_int_equal(fake_luns[0].fua_writes, 3);
	expect_good(io(0x2A, 0, 4, 0, NO_DATA));
	assert_int_equal(fake_luns[0].writes, 7);
}

/* iSCSI's expected length was shorter: whole blocks that came are written, no more. */
TEST(short_write_writes_what_came)
{
	memset(buf, 0x77, sizeof(buf));
	expect_good(io(0x2A, 0, 10, 2, buf, BLOCK + 100));
	assert_memory_equal(fake_luns[0].data + 10 * BLOCK, buf, BLOCK);
	assert_memory_not_equal(fake_luns[0].data + 11 * BLOCK, buf, 100);
	assert_int_equal(test_last.task.data_len, 2 * BLOCK);
	expect_good(io(0x2A, 0, 20, 1, buf, 200));
	assert_memory_not_equal(fake_luns[0].data + 20 * BLOCK, buf, 100);
}

TEST(ranges_are_checked)
{
	static const uint8_t with_range[] = {0x28, 0xA8, 0x88, 0x2A, 0xAA, 0x8A, 0x2E, 0xAE, 0x8E, 0x2F, 0xAF,
		0x8F, 0x35, 0x91, 0x41, 0x93};

	for (size_t i = 0; i < sizeof(with_range); i++) {
		uint8_t op = with_range[i];

		expect_sense(io(op, 0, LAST, 2, buf, 2 * BLOCK), 5, 0x2100);
		expect_sense(io(op, 0, LAST + 1, 1, buf, BLOCK), 5, 0x2100);
		expect_sense(io(op, 0, LAST + 2, 0, NO_DATA), 5, 0x2100);
		expect_sense(io(op, 0, 0xFFFFFFFF, 1, buf, BLOCK), 5, 0x2100);
		if (op >> 5 != 4)
			continue;
		/* 64 bits: sums and products must not wrap */
		expect_sense(io(op, 0, UINT64_MAX, 1, buf, BLOCK), 5, 0x2100);
		expect_sense(io(op, 0, UINT64_MAX, UINT32_MAX, buf, BLOCK), 5, 0x2100);
		expect_sense(io(op, 0, UINT64_C(1) << 55, 1, buf, BLOCK), 5, 0x2100);
		expect_sense(io(op, 0, UINT64_MAX - 1, 3, buf, BLOCK), 5, 0x2100);
	}
	expect_sense(io(0x08, 0, LAST, 0, NO_DATA), 5, 0x2100);
	assert_int_equal(fake_luns[0].writes + fake_luns[0].unmaps, 0);
}

TEST(too_long_a_transfer_is_refused)
{
	uint32_t blocks = SCSI_TRANSFER_MAX_BYTES / BLOCK + 1;

	fake_luns[0].lun.size_bytes = UINT64_C(1) << 42;
	expect_sense(io(0x28, 0, 0, blocks, NO_DATA), 5, 0x2400);
	assert_int_equal(get_be16(test_last.task.sense + 16), 7);
	expect_sense(io(0x88, 0, 0, UINT32_MAX, NO_DATA), 5, 0x2400);
	assert_int_equal(get_be16(test_last.task.sense + 16), 10);
	expect_sense(io(0xAA, 0, 0, blocks, NO_DATA), 5, 0x2400);
	assert_int_equal(get_be16(test_last.task.sense + 16), 6);
}

TEST(synchronize_flushes)
{
	expect_good(io(0x35, 0, 0, 0, NO_DATA));
	expect_good(io(0x91, 0x02, 5, 9, NO_DATA));
	assert_int_equal(fake_luns[0].flushes, 2);
	expect_good(run(a, 1, CDB(0x1B, 0, 0, 0, 0, 0), NO_DATA)); /* STOP */
	assert_int_equal(fake_luns[0].flushes, 3);
	expect_good(run(a, 1, CDB(0x1B, 0, 0, 0, 1, 0), NO_DATA));
	expect_good(run(a, 1, CDB(0x1B, 0, 0, 0, 4, 0), NO_DATA));
	assert_int_equal(fake_luns[0].flushes, 3);
	expect_sense(run(a, 1, CDB(0x1B, 0, 0, 0, 0x20, 0), NO_DATA), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x1B, 0, 0, 0, 0x02, 0), NO_DATA), 5, 0x2400);
}

TEST(store_errors_become_sense)
{
	static const struct {
		int err;
		uint8_t status;
		unsigned key, asc_read, asc_write;
	} rows[] = {
		{-EIO, 2, 0x3, 0x1100, 0x0C00},
		{-ENOSPC, 2, 0x7, 0x2707, 0x2707},
		{-EROFS, 2, 0x7, 0x2700, 0x2700},
		{-ENODEV, 2, 0x5, 0x2500, 0x2500},
		{-ERANGE, 2, 0x5, 0x2100, 0x2100},
		{-ESHUTDOWN, 2, 0x2, 0x0400, 0x0400},
		{-ECANCELED, 2, 0xB, 0x0000, 0x0000},
		{-EINVAL, 2, 0x4, 0x4400, 0x4400},
		{-ENOMEM, 8, 0, 0, 0},
		{-EAGAIN, 8, 0, 0, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fake_error = rows[i].err;
		assert_int_equal(io(0x28, 0, 0, 1, NO_DATA), rows[i].status);
		assert_int_equal(test_last.key, rows[i].key);
		assert_int_equal(test_last.asc, rows[i].asc_read);
		assert_int_equal(test_last.len, 0);
		assert_int_equal(io(0x2A, 0, 0, 1, buf, BLOCK), rows[i].status);
		assert_int_equal(test_last.key, rows[i].key);
		assert_int_equal(test_last.asc, rows[i].asc_write);
		assert_int_equal(io(0x2E, 0, 0, 1, buf, BLOCK), rows[i].status);
		assert_int_equal(io(0x35, 0, 0, 1, NO_DATA), rows[i].status);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, client_setup, client_teardown)
	const struct CMUnitTest tests[] = {T(reads_give_the_data), T(writes_change_just_the_range),
		T(short_write_writes_what_came), T(ranges_are_checked), T(too_long_a_transfer_is_refused),
		T(synchronize_flushes), T(store_errors_become_sense)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
