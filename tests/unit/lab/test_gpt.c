/* SPDX-License-Identifier: Apache-2.0 */
/* The shadow copy flags in a partition table: set and cleared exactly, on both copies, and nothing written
 * when anything is wrong with the table. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/gpt.h"
#include "tests/support/test.h"

#define BLOCKS 256

struct disk {
	uint32_t block_bytes;
	uint8_t *data;
	unsigned reads, writes;
	int fail_read_at, fail_write_at; /* the n-th, from 1; 0: never */
};

static int disk_read(void *arg, uint64_t lba, uint32_t blocks, void *buf)
{
	struct disk *d = arg;
	assert_true(lba + blocks <= BLOCKS);
	if ((int)++d->reads == d->fail_read_at)
		return -5;
	memcpy(buf, d->data + lba * d->block_bytes, (size_t)blocks * d->block_bytes);
	return 0;
}

static int disk_write(void *arg, uint64_t lba, uint32_t blocks, const void *buf)
{
	struct disk *d = arg;
	assert_true(lba + blocks <= BLOCKS);
	if ((int)++d->writes == d->fail_write_at)
		return -5;
	memcpy(d->data + lba * d->block_bytes, buf, (size_t)blocks * d->block_bytes);
	return 0;
}

static void le(uint8_t *p, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get(const uint8_t *p)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static const uint8_t type_efi[16] = {
	0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
static const uint8_t type_data[16] = {
	0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7};

static uint64_t array_blocks(const struct disk *d)
{
	return (GPT_MAX_ENTRIES * 128 + d->block_bytes - 1) / d->block_bytes;
}

static uint64_t entries_lba(const struct disk *d, int copy)
{
	return copy == 0 ? 2 : BLOCKS - 1 - array_blocks(d);
}

static uint8_t *header(const struct disk *d, int copy)
{
	return d->data + (copy == 0 ? 1 : BLOCKS - 1) * (size_t)d->block_bytes;
}

static uint8_t *entry(const struct disk *d, int copy, unsigned i)
{
	return d->data + entries_lba(d, copy) * d->block_bytes + i * 128u;
}

static void seal(const struct disk *d, int copy)
{
	uint8_t *h = header(d, copy);
	le(h + 88, gpt_crc32(entry(d, copy, 0), GPT_MAX_ENTRIES * 128), 4);
	le(h + 16, 0, 4);
	le(h + 16, gpt_crc32(h, 92), 4);
}

static void make(struct disk *d, uint32_t block_bytes)
{
	memset(d, 0, sizeof *d);
	d->block_bytes = block_bytes;
	d->data = calloc(BLOCKS, block_bytes);
	d->data[510] = 0x55;
	d->data[511] = 0xaa;
	d->data[446 + 4] = 0xee;
	for (int copy = 0; copy < 2; copy++) {
		uint8_t *h = header(d, copy);
		memcpy(h, "EFI PART", 8);
		le(h + 12, 92, 4);
		le(h + 24, copy == 0 ? 1 : BLOCKS - 1, 8);
		le(h + 32, copy == 0 ? BLOCKS - 1 : 1, 8);
		memset(h + 56, 0xd1, 16);
		le(h + 72, entries_lba(d, copy), 8);
		le(h + 80, GPT_MAX_ENTRIES, 4);
		le(h + 84, 128, 4);
		memcpy(entry(d, copy, 0), type_efi, 16);
		memcpy(entry(d, copy, 1), type_data, 16);
		le(entry(d, copy, 1) + 48, 1, 8);
		memcpy(entry(d, copy, 5), type_data, 16);
		le(entry(d, copy, 5) + 48, GPT_BIT_HIDDEN, 8);
		seal(d, copy);
	}
}

static struct gpt_disk gpt(struct disk *d)
{
	return (struct gpt_disk){.arg = d,
		.block_bytes = d->block_bytes,
		.blocks = BLOCKS,
		.read = disk_read,
		.write = disk_write};
}

TEST(shadow_bits_are_set_and_what_was_before_is_restored)
{
	for (uint32_t block_bytes = 512; block_bytes <= 4096; block_bytes *= 8) {
		struct disk d;
		struct gpt_state before, now;
		make(&d, block_bytes);
		struct gpt_disk g = gpt(&d);
		uint8_t *original = malloc((size_t)BLOCKS * block_bytes);
		memcpy(original, d.data, (size_t)BLOCKS * block_bytes);
		assert_int_equal(gpt_set_shadow_bits(&g, &before), 0);
		assert_int_equal(before.kind, GPT_GPT);
		assert_int_equal(before.partitions, 3);
		assert_false(before.flagged);
		for (int copy = 0; copy < 2; copy++) {
			assert_int_equal(get(entry(&d, copy, 0) + 48), 0);
			assert_true(get(entry(&d, copy, 1) + 48) == (GPT_SHADOW_BITS | 1));
			assert_true(get(entry(&d, copy, 5) + 48) == GPT_SHADOW_BITS);
			assert_int_equal(get(entry(&d, copy, 2) + 48), 0);
		}
		assert_int_equal(gpt_look(&g, &now), 0);
		assert_true(now.kind == GPT_GPT && now.flagged);
		assert_int_equal(gpt_restore_bits(&g, &before), 0);
		assert_memory_equal(original, d.data, (size_t)BLOCKS * block_bytes);
		free(original);
		free(d.data);
	}
}

static void expect_untouched(struct disk *d, enum gpt_kind kind)
{
	struct gpt_state before;
	struct gpt_disk g = gpt(d);
	assert_int_equal(gpt_set_shadow_bits(&g, &before), 0);
	assert_int_equal(before.kind, kind);
	assert_int_equal(d->writes, 0);
	assert_int_equal(gpt_restore_bits(&g, &before), 0);
	assert_int_equal(d->writes, 0);
	free(d->data);
}

TEST(a_table_that_is_damaged_or_foreign_is_left_alone)
{
	struct disk d;
	make(&d, 512);
	memset(d.data, 0, (size_t)BLOCKS * 512);
	expect_untouched(&d, GPT_NONE);
	make(&d, 512);
	d.data[446 + 4] = 7;
	memset(d.data + 512, 0, 512);
	expect_untouched(&d, GPT_MBR);
	static const size_t damage[] = {0, 12, 16, 24, 33, 72, 80, 84, 88};
	for (int copy = 0; copy < 2; copy++)
		for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
			make(&d, 512);
			header(&d, copy)[damage[i]] ^= 0x41;
			expect_untouched(&d, GPT_DAMAGED);
		}
	for (int copy = 0; copy < 2; copy++) {
		make(&d, 512);
		entry(&d, copy, 3)[100] ^= 1;
		expect_untouched(&d, GPT_DAMAGED);
	}
	/* the checksum is right, the values are not */
	static const struct {
		size_t at;
		uint64_t value;
		int bytes;
	} lies[] = {{72, UINT64_MAX, 8}, {72, 0, 8}, {72, BLOCKS - 1, 8}, {80, UINT32_MAX, 4}, {80, 0, 4},
		{84, 64, 4}, {12, 4096, 4}, {12, 0, 4}, {32, UINT64_MAX, 8}, {32, 5, 8}};
	for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
		make(&d, 512);
		le(header(&d, 0) + lies[i].at, lies[i].value, lies[i].bytes);
		le(header(&d, 0) + 16, 0, 4);
		le(header(&d, 0) + 16, gpt_crc32(header(&d, 0), 92), 4);
		expect_untouched(&d, GPT_DAMAGED);
	}
}

TEST(an_error_leaves_one_whole_copy)
{
	struct disk d;
	struct gpt_state before;
	for (int n = 1; n <= 5; n++) {
		make(&d, 512);
		struct gpt_disk g = gpt(&d);
		d.fail_read_at = n;
		assert_int_equal(gpt_set_shadow_bits(&g, &before), -5);
		assert_int_equal(d.writes, 0);
		free(d.data);
	}
	for (int n = 1; n <= 4; n++) {
		make(&d, 512);
		struct gpt_disk g = gpt(&d);
		d.fail_write_at = n;
		assert_int_equal(gpt_set_shadow_bits(&g, &before), -5);
		/* one whole copy is left at any point */
		struct gpt_state now;
		assert_int_equal(gpt_look(&g, &now), 0);
		assert_true(now.kind == GPT_GPT || n > 2);
		free(d.data);
	}
}

/* Another identity and back again: both copies, and nothing else changed. */
TEST(another_identity_and_back_changes_nothing_else)
{
	struct disk d;
	struct gpt_identity own, other, now;
	make(&d, 512);
	for (int copy = 0; copy < 2; copy++) {
		memset(entry(&d, copy, 0) + 16, 0xa0, 16);
		memset(entry(&d, copy, 5) + 16, 0xa5, 16);
		seal(&d, copy);
	}
	struct gpt_disk g = gpt(&d);
	uint8_t *original = malloc((size_t)BLOCKS * 512);
	memcpy(original, d.data, (size_t)BLOCKS * 512);
	assert_int_equal(gpt_get_identity(&g, &own), 0);
	assert_int_equal(own.kind, GPT_GPT);
	assert_int_equal(own.disk_id[0], 0xd1);
	assert_int_equal(own.partition_ids[5][15], 0xa5);
	assert_int_equal(own.partition_ids[2][0], 0);
	memset(&other, 0x77, sizeof other);
	other.kind = GPT_GPT;
	other.count = GPT_MAX_ENTRIES;
	assert_int_equal(gpt_change(&g, &other, 0), 0);
	assert_int_equal(gpt_get_identity(&g, &now), 0);
	assert_true(now.kind == GPT_GPT && now.disk_id[15] == 0x77 && now.partition_ids[5][0] == 0x77);
	for (int copy = 0; copy < 2; copy++) {
		assert_int_equal(entry(&d, copy, 0)[31], 0x77);
		assert_int_equal(entry(&d, copy, 2)[16], 0); /* unused entries stay so */
		assert_true(get(entry(&d, copy, 5) + 48) == GPT_BIT_HIDDEN);
	}
	assert_int_equal(gpt_change(&g, &own, 0), 0);
	assert_memory_equal(original, d.data, (size_t)BLOCKS * 512);
	/* bits alone, and only those asked for */
	struct gpt_state before;
	assert_int_equal(gpt_set_shadow_bits(&g, &before), 0);
	assert_int_equal(gpt_change(&g, NULL, GPT_BIT_SHADOW_COPY), 0);
	assert_true(get(entry(&d, 1, 1) + 48) == ((GPT_SHADOW_BITS & ~GPT_BIT_SHADOW_COPY) | 1));
	/* another kind of table, or a damaged one: refused, nothing written */
	d.writes = 0;
	other.kind = GPT_MBR;
	assert_int_equal(gpt_change(&g, &other, 0), -EINVAL);
	other.kind = GPT_GPT;
	header(&d, 1)[0] ^= 1;
	assert_int_equal(gpt_change(&g, &other, 0), -EINVAL);
	assert_int_equal(d.writes, 0);
	free(original);
	free(d.data);
}

TEST(the_identity_of_an_mbr_is_its_signature)
{
	struct disk d;
	struct gpt_identity own, other = {.kind = GPT_MBR, .disk_id = {1, 2, 3, 4}};
	make(&d, 512);
	d.data[446 + 4] = 7;
	memset(d.data + 512, 0, 512);
	memcpy(d.data + 440, "SIGN", 4);
	struct gpt_disk g = gpt(&d);
	assert_int_equal(gpt_get_identity(&g, &own), 0);
	assert_true(own.kind == GPT_MBR && memcmp(own.disk_id, "SIGN", 4) == 0);
	assert_int_equal(gpt_change(&g, &other, GPT_SHADOW_BITS), 0);
	assert_memory_equal(d.data + 440, "\1\2\3\4", 4);
	assert_int_equal(d.data[446 + 4], 7);
	d.fail_write_at = (int)d.writes + 1;
	assert_int_equal(gpt_change(&g, &own, 0), -5);
	free(d.data);
}

TEST(the_crc_is_that_of_the_standard)
{
	assert_int_equal(gpt_crc32("123456789", 9), 0xcbf43926);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_crc_is_that_of_the_standard),
		cmocka_unit_test(shadow_bits_are_set_and_what_was_before_is_restored),
		cmocka_unit_test(a_table_that_is_damaged_or_foreign_is_left_alone),
		cmocka_unit_test(an_error_leaves_one_whole_copy),
		cmocka_unit_test(another_identity_and_back_changes_nothing_else),
		cmocka_unit_test(the_identity_of_an_mbr_is_its_signature)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
