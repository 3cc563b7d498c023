/* SPDX-License-Identifier: Apache-2.0 */
/* VERIFY, WRITE AND VERIFY, UNMAP, WRITE SAME, COMPARE AND WRITE, GET LBA STATUS; MODE SENSE and SELECT. */
#include "tests/unit/scsi/client.h"

#include <errno.h>
#include <string.h>
#include "array/scsi/steps.h"
#include "array/util/bytes.h"

#define BLOCK 512u

static uint8_t buf[1u << 20];
static uint8_t *disk;

static int setup(void **state)
{
	disk = fake_luns[0].data;
	return client_setup(state);
}

static void information_is(uint64_t offset)
{
	assert_int_equal(test_last.task.sense[0], 0xF0);
	assert_int_equal(get_be32(test_last.task.sense + 3), offset);
}

/* ---- VERIFY -------------------------------------------------------------------------------------------- */

TEST(verify_compares_as_bytchk_says)
{
	expect_good(run(a, 1, CDB(0x2F, 0, 0, 0, 0, 0, 0, 8, 0, 0), NO_DATA)); /* all of it */
	expect_good(run(a, 1, CDB(0xAF, 0x10, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0), NO_DATA));
	expect_good(run(a, 1, CDB(0x2F, 2, 0, 0, 0, 4, 0, 0, 0, 0), NO_DATA));
	/* BYTCHK 01: longer than one step */
	memcpy(buf, disk + 4 * BLOCK, 1500 * BLOCK);
	expect_good(run(a, 1, CDB(0x2F, 2, 0, 0, 0, 4, 0, 1500 >> 8, 1500 & 0xFF, 0), buf, 1500 * BLOCK));
	expect_good(run(a, 1, CDB(0x8F, 2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 1500 >> 8, 1500 & 0xFF, 0, 0), buf,
		1500 * BLOCK));
	buf[1400 * BLOCK + 77] ^= 1;
	expect_sense(run(a, 1, CDB(0x2F, 2, 0, 0, 0, 4, 0, 1500 >> 8, 1500 & 0xFF, 0), buf, 1500 * BLOCK),
		0xE, 0x1D00);
	information_is(1400 * BLOCK + 77);
	expect_sense(run(a, 1, CDB(0x2F, 2, 0, 0, 0, 4, 0, 0, 2, 0), buf, BLOCK), 5, 0x1A00);
	/* BYTCHK 11: one block for all */
	fake_luns[0].clean = false;
	for (unsigned i = 0; i < 700; i++)
		memset(disk + i * BLOCK, 0x42, BLOCK);
	memset(buf, 0x42, BLOCK);
	expect_good(run(a, 1, CDB(0x2F, 6, 0, 0, 0, 0, 0, 700 >> 8, 700 & 0xFF, 0), buf, BLOCK));
	assert_int_equal(test_last.task.data_len, BLOCK);
	disk[699 * BLOCK + 3] = 0;
	expect_sense(
		run(a, 1, CDB(0x2F, 6, 0, 0, 0, 0, 0, 700 >> 8, 700 & 0xFF, 0), buf, BLOCK), 0xE, 0x1D00);
	information_is(3);
	expect_sense(run(a, 1, CDB(0x2F, 4, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA), 5, 0x2400);
	fake_error = -EIO;
	expect_sense(run(a, 1, CDB(0x2F, 0, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA), 3, 0x1100);
}

TEST(write_and_verify_writes_through)
{
	memset(buf, 0x5C, sizeof(buf));
	expect_good(run(a, 1, CDB(0x2E, 0, 0, 0, 0, 9, 0, 0, 3, 0), buf, 3 * BLOCK));
	assert_memory_equal(disk + 9 * BLOCK, buf, 3 * BLOCK);
	expect_good(run(a, 1, CDB(0x8E, 2, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 4, 0, 0, 0), buf, 1024 * BLOCK));
	assert_memory_equal(disk + 20 * BLOCK, buf, 1024 * BLOCK);
	expect_good(run(a, 1, CDB(0xAE, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0), buf, BLOCK));
	assert_int_equal(fake_luns[0].fua_writes, 3);
	expect_sense(run(a, 1, CDB(0x2E, 4, 0, 0, 0, 9, 0, 0, 3, 0), buf, 3 * BLOCK), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x2E, 6, 0, 0, 0, 9, 0, 0, 3, 0), buf, 3 * BLOCK), 5, 0x2400);
	/* less came than announced: the whole blocks of it, as with WRITE */
	memset(buf, 0x5D, sizeof(buf));
	expect_good(run(a, 1, CDB(0x2E, 2, 0, 0, 0, 9, 0, 0, 3, 0), buf, 2 * BLOCK + 9));
	assert_memory_equal(disk + 9 * BLOCK, buf, 2 * BLOCK);
	assert_int_equal(disk[11 * BLOCK], 0x5C);
}

/* ---- thin ---------------------------------------------------------------------------------------------- */

static size_t unmap_list(uint8_t *p, unsigned count, const uint64_t lba[], const uint32_t blocks[])
{
	memset(p, 0, 8 + 16 * count);
	put_be16(p, (uint16_t)(6 + 16 * count));
	put_be16(p + 2, (uint16_t)(16 * count));
	for (unsigned i = 0; i < count; i++) {
		put_be64(p + 8 + 16 * i, lba[i]);
		put_be32(p + 16 + 16 * i, blocks[i]);
	}
	return 8 + 16 * count;
}

static uint8_t unmap(const uint8_t *list, size_t len)
{
	return run(a, 1, CDB(0x42, 0, 0, 0, 0, 0, 0, (uint8_t)(len >> 8), (uint8_t)len, 0), list, len);
}

TEST(unmap_does_all_or_nothing)
{
	static uint8_t before[FAKE_LUN_BYTES], zero[64 * BLOCK];
	uint8_t list[8 + 16 * 300];
	size_t len;

	memcpy(before, disk, sizeof(before));
	len = unmap_list(list, 3, (uint64_t[]){0, 100, 2000}, (uint32_t[]){8, 0, 48});
	expect_good(unmap(list, len));
	assert_memory_equal(disk, zero, 8 * BLOCK);
	assert_memory_equal(disk + 2000 * BLOCK, zero, 48 * BLOCK);
	assert_memory_equal(disk + 8 * BLOCK, before + 8 * BLOCK, 1992 * BLOCK);
	assert_int_equal(fake_luns[0].unmaps, 2);
	expect_good(unmap(list, 0));
	put_be16(list + 2, 0);
	expect_good(unmap(list, 8));
	/* the second is out of range: the first is not done either */
	memcpy(before, disk, sizeof(before));
	len = unmap_list(list, 2, (uint64_t[]){16, 2048}, (uint32_t[]){8, 1});
	expect_sense(unmap(list, len), 5, 0x2100);
	len = unmap_list(list, 2, (uint64_t[]){16, UINT64_MAX}, (uint32_t[]){8, 2});
	expect_sense(unmap(list, len), 5, 0x2100);
	assert_memory_equal(disk, before, sizeof(before));
	/* too short, inner length too long, too many, too much */
	expect_sense(unmap(list, 7), 5, 0x1A00);
	expect_sense(unmap(list, len - 1), 5, 0x2600);
	assert_int_equal(get_be16(test_last.task.sense + 16), 2);
	memset(list, 0, sizeof(list));
	put_be16(list + 2, 16 * 257);
	expect_sense(unmap(list, 8 + 16 * 257), 5, 0x2600);
	fake_luns[0].lun.size_bytes = UINT64_C(1) << 40;
	len = unmap_list(list, 2, (uint64_t[]){0, 0}, (uint32_t[]){1u << 20, 1});
	expect_sense(unmap(list, len), 5, 0x2600);
	/* fewer bytes came than announced */
	expect_sense(run(a, 1, CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), list, 24), 5, 0x1A00);
	expect_sense(run(a, 1, CDB(0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0), list, 24), 5, 0x2400); /* ANCHOR */
	assert_int_equal(fake_luns[0].unmaps, 2);
}

TEST(write_same_repeats_a_block)
{
	static uint8_t before[FAKE_LUN_BYTES];

	memcpy(before, disk, sizeof(before));
	for (unsigned i = 0; i < BLOCK; i++)
		buf[i] = (uint8_t)(i ^ 0x5A);
	expect_good(run(a, 1, CDB(0x41, 0, 0, 0, 0, 7, 0, 1500 >> 8, 1500 & 0xFF, 0), buf, BLOCK));
	for (unsigned i = 0; i < 1500; i++)
		memcpy(before + (7 + i) * BLOCK, buf, BLOCK);
	assert_memory_equal(disk, before, sizeof(before));
	/* UNMAP asked, but the pattern is not zero: it must read back as written */
	expect_good(run(a, 1, CDB(0x93, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0), buf, BLOCK));
	for (unsigned i = 0; i < 3; i++)
		memcpy(before + (1 + i) * BLOCK, buf, BLOCK);
	assert_memory_equal(disk, before, sizeof(before));
	assert_int_equal(fake_luns[0].unmaps, 0);
	/* zeros, with and without data */
	memset(buf, 0, BLOCK);
	expect_good(run(a, 1, CDB(0x93, 8, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 8, 0, 0), buf, BLOCK));
	expect_good(run(a, 1, CDB(0x93, 1, 0, 0, 0, 0, 0, 0, 0, 80, 0, 0, 0, 8, 0, 0), NO_DATA));
	expect_good(run(a, 1, CDB(0x93, 9, 0, 0, 0, 0, 0, 0, 0, 120, 0, 0, 0, 8, 0, 0), NO_DATA));
	for (unsigned at = 40; at <= 120; at += 40)
		memset(before + at * BLOCK, 0, 8 * BLOCK);
	assert_memory_equal(disk, before, sizeof(before));
	assert_int_equal(fake_luns[0].unmaps, 3);
	/* no number of blocks (WSNZ), NDOB in the short form, ANCHOR, no data where it must be */
	expect_sense(run(a, 1, CDB(0x41, 0, 0, 0, 0, 7, 0, 0, 0, 0), buf, BLOCK), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x41, 1, 0, 0, 0, 7, 0, 0, 1, 0), buf, BLOCK), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x41, 0x18, 0, 0, 0, 7, 0, 0, 1, 0), buf, BLOCK), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x41, 0, 0, 0, 0, 7, 0, 0, 1, 0), buf, BLOCK - 1), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x41, 0, 0, 0, 0, 7, 0, 0, 1, 0), buf, 2 * BLOCK), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x41, 0, 0, 0, 0, 7, 0, 0, 1, 0), NO_DATA), 5, 0x1A00);
	fake_luns[0].lun.size_bytes = UINT64_C(1) << 40;
	expect_sense(
		run(a, 1, CDB(0x93, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0), NO_DATA), 5, 0x2400);
}

TEST(compare_and_write_writes_when_all_is_equal)
{
	memcpy(buf, disk + 5 * BLOCK, 2 * BLOCK);
	memset(buf + 2 * BLOCK, 0x99, 2 * BLOCK);
	expect_good(run(a, 1, CDB(0x89, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0), buf, 4 * BLOCK));
	assert_int_equal(test_last.task.data_len, 4 * BLOCK);
	assert_memory_equal(disk + 5 * BLOCK, buf + 2 * BLOCK, 2 * BLOCK);
	/* again: differs from the first byte */
	expect_sense(run(a, 1, CDB(0x89, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0), buf, 4 * BLOCK), 0xE,
		0x1D00);
	memset(buf, 0x99, 2 * BLOCK);
	fake_io_error = -ENOSPC;
	expect_sense(
		run(a, 1, CDB(0x89, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0), buf, 4 * BLOCK), 7, 0x2707);
	fake_io_error = 0;
	buf[700] = 0;
	expect_sense(run(a, 1, CDB(0x89, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0), buf, 4 * BLOCK), 0xE,
		0x1D00);
	information_is(700);
	expect_good(run(a, 1, CDB(0x89, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0), NO_DATA));
	expect_sense(
		run(a, 1, CDB(0x89, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0), buf, 3 * BLOCK), 5, 0x2400);
	assert_int_equal(get_be16(test_last.task.sense + 16), 13);
	expect_sense(run(a, 1, CDB(0x89, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0), buf, 512 * BLOCK), 5,
		0x2400);
	expect_sense(run(a, 1, CDB(0x89, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0), NO_DATA), 5, 0x1A00);
	expect_sense(
		run(a, 1, CDB(0x89, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 2, 0, 0), buf, 4 * BLOCK), 5, 0x2100);
}

TEST(orwrite_sets_bits)
{
	static uint8_t before[FAKE_LUN_BYTES];

	memcpy(before, disk, sizeof(before));
	for (unsigned i = 0; i < 300 * BLOCK; i++)
		buf[i] = (uint8_t)(i * 31);
	expect_good(run(a, 1, CDB(0x8B, 0, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 300 >> 8, 300 & 0xFF, 0, 0), buf,
		300 * BLOCK));
	for (unsigned i = 0; i < 300 * BLOCK; i++)
		before[11 * BLOCK + i] |= buf[i];
	assert_memory_equal(disk, before, sizeof(before));
	expect_good(run(a, 1, CDB(0x8B), NO_DATA));
	expect_sense(
		run(a, 1, CDB(0x8B, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0, 0), buf, BLOCK), 5, 0x2100);
}

/* Another write between its read and its write is not undone. */
TEST(orwrite_loses_nothing)
{
	static struct exchange x;

	memset(buf, 0x01, BLOCK);
	fake_luns[0].clean = false;
	memset(disk, 0, 2 * BLOCK);
	fake_hold_io = true;
	client_begin(&test_a, &x, 1, CDB(0x8B, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0), buf, BLOCK);
	assert_int_equal(fake_held, 1);
	fake_complete_one(); /* has read zeros */
	memset(disk, 0x80, BLOCK);
	fake_complete();
	assert_true(x.done);
	expect_good(x.task.status);
	assert_int_equal(disk[0], 0x81);
	assert_int_equal(disk[BLOCK - 1], 0x81);
	assert_int_equal(disk[BLOCK], 0);
	exchange_free(&x);
}

TEST(hints_are_good_and_there_are_no_defects)
{
	expect_good(run(a, 1, CDB(0x34, 0, 0, 0, 0, 1, 0, 0, 8, 0), NO_DATA));
	expect_good(run(a, 1, CDB(0x90, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0), NO_DATA));
	expect_sense(run(a, 1, CDB(0x34, 0, 0, 0, 8, 1, 0, 0, 8, 0), NO_DATA), 5, 0x2100);
	expect_good(run(a, 1, CDB(0x1D, 4), NO_DATA));
	expect_sense(run(a, 1, CDB(0x1D, 0x24), NO_DATA), 5, 0x2400);
	expect_good(run(a, 1, CDB(0x37, 0, 0x1D, 0, 0, 0, 0, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 4);
	assert_memory_equal(test_last.data, "\0\x1D\0\0", 4);
	expect_good(run(a, 1, CDB(0xB7, 0x1D, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 8);
	assert_memory_equal(test_last.data, "\0\x1D\0\0\0\0\0\0", 8);
}

TEST(lba_status_tells_one_mapped_run)
{
	expect_good(run(a, 1, CDB(0x9E, 0x12, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 24);
	assert_memory_equal(test_last.data, "\0\0\0\x14\0\0\0\0\0\0\0\0\0\0\0\x08\0\0\x07\xF8\0\0\0\0", 24);
	expect_sense(
		run(a, 1, CDB(0x9E, 0x12, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0), NO_DATA), 5, 0x2100);
}

/* ---- mode ---------------------------------------------------------------------------------------------- */

TEST(mode_sense_tells_caching_and_control)
{
	static const uint8_t caching[] = {
		0x08, 0x12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t control[] = {0x0A, 0x0A, 0, 0x10, 0, 0x40, 0, 0, 0xFF, 0xFF, 0, 0};

	expect_good(run(a, 1, CDB(0x1A, 0, 0x08, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 4 + 8 + 20);
	assert_memory_equal(test_last.data, "\x1F\0\x10\x08\0\0\x08\0\0\0\x02\0", 12);
	assert_memory_equal(test_last.data + 12, caching, sizeof(caching));
	expect_good(run(a, 1, CDB(0x1A, 8, 0x0A, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 4 + 12);
	assert_memory_equal(test_last.data, "\x0F\0\x10\0", 4);
	assert_memory_equal(test_last.data + 4, control, sizeof(control));
	/* changeable: WCE; D_SENSE and SWP */
	expect_good(run(a, 1, CDB(0x1A, 8, 0x48, 0, 255, 0), NO_DATA));
	assert_memory_equal(test_last.data + 4, "\x08\x12\x04\0\0\0", 6);
	expect_good(run(a, 1, CDB(0x1A, 8, 0x4A, 0, 255, 0), NO_DATA));
	assert_memory_equal(test_last.data + 4, "\x0A\x0A\x04\0\x08\0", 6);
	/* all pages, ten-byte form, long descriptor */
	expect_good(run(a, 1, CDB(0x5A, 0x10, 0x3F, 0, 0, 0, 0, 1, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 8 + 16 + 12 + 20 + 12 + 12);
	assert_memory_equal(
		test_last.data, "\0\x4E\0\x10\x01\0\0\x10\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x02\0", 24);
	assert_memory_equal(test_last.data + 24, "\x01\x0A", 2);
	assert_memory_equal(test_last.data + 24 + 44, "\x1C\x0A", 2);
	expect_good(run(a, 1, CDB(0x1A, 8, 0x3F, 0xFF, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 4 + 56 + 24);
	expect_sense(run(a, 1, CDB(0x1A, 0, 0xC8, 0, 255, 0), NO_DATA), 5, 0x3900); /* saved */
	expect_sense(run(a, 1, CDB(0x1A, 0, 0x05, 0, 255, 0), NO_DATA), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x1A, 0, 0x0A, 1, 255, 0), NO_DATA), 5, 0x2400);
	/* a store that went read-only */
	fake_stats.read_only = true;
	expect_good(run(a, 1, CDB(0x1A, 8, 0x08, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.data[2], 0x90);
}

TEST(mode_select_write_cache)
{
	uint8_t list[] = {0, 0, 0, 0, 0x08, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

	expect_good(run(a, 1, CDB(0x15, 0x10, 0, 0, sizeof(list), 0), list, sizeof(list)));
	assert_int_equal(fake_luns[0].flushes, 1);
	/* the other nexuses are told, the asking one is not; every write is durable now */
	expect_sense(run(b, 1, CDB(0x00), NO_DATA), 6, 0x2A01);
	expect_sense(run(a2, 1, CDB(0x00), NO_DATA), 6, 0x2A01);
	expect_good(run(a, 1, CDB(0x00), NO_DATA));
	expect_good(run(c, 0, CDB(0x00), NO_DATA));
	expect_good(run(b, 2, CDB(0x00), NO_DATA));
	expect_good(run(a, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), buf, BLOCK));
	assert_int_equal(fake_luns[0].fua_writes, 1);
	expect_good(run(a, 1, CDB(0x1A, 8, 0x08, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.data[4 + 2], 0);
	expect_good(run(a, 1, CDB(0x1A, 8, 0x88, 0, 255, 0), NO_DATA)); /* the default stays */
	assert_int_equal(test_last.data[4 + 2], 0x04);
	/* the same again is no change */
	expect_good(run(a, 1, CDB(0x15, 0x10, 0, 0, sizeof(list), 0), list, sizeof(list)));
	expect_good(run(b, 1, CDB(0x00), NO_DATA));
}

TEST(mode_select_changes_sense_and_write_protection)
{
	uint8_t list[] = {0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0x0A, 0x0A, 0x04, 0x10, 0x08, 0x40,
		0, 0, 0xFF, 0xFF, 0, 0};

	expect_good(run(a, 1, CDB(0x55, 0x10, 0, 0, 0, 0, 0, 0, sizeof(list), 0), list, sizeof(list)));
	/* descriptor sense and software write protection from now on */
	expect_sense(run(a, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), buf, BLOCK), 7, 0x2702);
	assert_int_equal(test_last.task.sense[0], 0x72);
	expect_sense(run(a, 1, CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0), buf, 24), 7, 0x2702);
	expect_good(run(a, 1, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA));
	expect_good(run(a, 1, CDB(0x1A, 8, 0x0A, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.data[2], 0x90);
	assert_int_equal(test_last.data[4 + 2], 0x04);
}

/* The LUN is a copy of a locked set. */
TEST(a_locked_lun_is_write_protected)
{
	fake_luns[0].lun.locked = true;
	expect_sense(run(a, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), buf, BLOCK), 7, 0x2702);
	expect_sense(run(a, 1, CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0), buf, 24), 7, 0x2702);
	expect_good(run(a, 1, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA));
	expect_good(run(a, 1, CDB(0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0), NO_DATA));
	expect_good(run(a, 1, CDB(0x1A, 8, 0x0A, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.data[2], 0x90);
	fake_luns[0].lun.locked = false;
	expect_good(run(a, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), buf, BLOCK));
	expect_good(run(a, 1, CDB(0x1A, 8, 0x0A, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.data[2], 0x10);
}

TEST(mode_select_refuses)
{
	uint8_t good[] = {0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0x08, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0};
	static const struct {
		unsigned at;
		uint8_t value;
		unsigned len, asc, field;
	} rows[] = {
		{3, 7, 32, 0x2600, 3},      /* descriptor length */
		{1, 1, 32, 0x2600, 1},      /* medium type */
		{10, 4, 32, 0x2600, 9},     /* block length */
		{7, 9, 32, 0x2600, 4},      /* number of blocks */
		{12, 0x05, 32, 0x2600, 12}, /* unknown page */
		{12, 0x48, 32, 0x2600, 12}, /* subpage format */
		{13, 0x11, 32, 0x2600, 13}, /* page length */
		{14, 0x01, 32, 0x2600, 14}, /* RCD is not changeable */
		{15, 0x80, 32, 0x2600, 15},
		{0, 0, 3, 0x1A00, 0},
		{0, 0, 11, 0x1A00, 0},
		{0, 0, 13, 0x1A00, 0},
		{0, 0, 31, 0x1A00, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t list[sizeof(good)];

		memcpy(list, good, sizeof(list));
		list[rows[i].at] = rows[i].value ? rows[i].value : list[rows[i].at];
		expect_sense(run(a, 1, CDB(0x15, 0x10, 0, 0, (uint8_t)rows[i].len, 0), list, rows[i].len), 5,
			rows[i].asc);
		if (rows[i].asc == 0x2600)
			assert_int_equal(get_be16(test_last.task.sense + 16), rows[i].field);
	}
	expect_sense(run(a, 1, CDB(0x15, 0x11, 0, 0, 32, 0), good, 32), 5, 0x2400); /* SP */
	expect_sense(run(a, 1, CDB(0x15, 0x00, 0, 0, 32, 0), good, 32), 5, 0x2400); /* PF */
	expect_good(run(a, 1, CDB(0x15, 0x10, 0, 0, 0, 0), NO_DATA));
	expect_good(run(a, 1, CDB(0x15, 0x10, 0, 0, 12, 0), good, 12));
	/* nothing of all that was applied */
	expect_good(run(a, 1, CDB(0x1A, 8, 0x08, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.data[4 + 2], 0x04);
}

/* Too many commands with buffers at one time: BUSY, and the rest go on. */
TEST(stepped_commands_are_bounded)
{
	static struct exchange x[SCSI_STEPPED_MAX];
	uint8_t status;

	fake_hold_io = true;
	for (unsigned i = 0; i < SCSI_STEPPED_MAX; i++) {
		struct client *c = i >= SCSI_STEPPED_MAX / 2 ? &test_b : i % 2 ? &test_a : &test_a2;

		client_begin(c, &x[i], 1, CDB(0x2F, 0, 0, 0, 0, 0, 0, 4, 0, 0), NO_DATA);
		assert_false(x[i].done);
		if (i == SCSI_STEPPED_MAX / 2 - 1) { /* a host has a half, in all its sessions */
			status = run(a, 1, CDB(0x2F, 0, 0, 0, 0, 0, 0, 4, 0, 0), NO_DATA);
			assert_int_equal(status, SCSI_STATUS_BUSY);
		}
	}
	assert_int_equal(run(b, 1, CDB(0x2F, 0, 0, 0, 0, 0, 0, 4, 0, 0), NO_DATA), SCSI_STATUS_BUSY);
	assert_int_equal(run(a, 1, CDB(0x2F, 0, 0, 0, 0, 0, 0, 4, 0, 0), NO_DATA), SCSI_STATUS_BUSY);
	fake_complete();
	while (fake_held)
		fake_complete();
	for (unsigned i = 0; i < SCSI_STEPPED_MAX; i++) {
		assert_true(x[i].done);
		expect_good(x[i].task.status);
		exchange_free(&x[i]);
	}
	fake_hold_io = false;
	expect_good(run(a, 1, CDB(0x2F, 0, 0, 0, 0, 0, 0, 4, 0, 0), NO_DATA));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, client_teardown)
	const struct CMUnitTest tests[] = {T(verify_compares_as_bytchk_says),
		T(write_and_verify_writes_through), T(unmap_does_all_or_nothing),
		T(write_same_repeats_a_block), T(compare_and_write_writes_when_all_is_equal),
		T(lba_status_tells_one_mapped_run), T(orwrite_sets_bits), T(orwrite_loses_nothing),
		T(hints_are_good_and_there_are_no_defects), T(mode_sense_tells_caching_and_control),
		T(mode_select_write_cache), T(mode_select_changes_sense_and_write_protection),
		T(a_locked_lun_is_write_protected), T(mode_select_refuses), T(stepped_commands_are_bounded)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
