/* SPDX-License-Identifier: Apache-2.0 */
/* Thin provisioning as a host sees it: GET LBA STATUS, the soft threshold, the provisioning mode page. */
#include "tests/unit/scsi/client.h"

#include <errno.h>
#include <string.h>
#include "array/scsi/nexus.h"
#include "array/scsi/threshold.h"
#include "array/util/bytes.h"

#define BLOCKS (FAKE_LUN_BYTES / 512)

/* GET LBA STATUS from lba on, in a reply of at most `room` bytes. */
static uint8_t lba_status(uint64_t lba, uint32_t room)
{
	uint8_t cdb[16] = {0x9E, 0x12};

	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, room);
	return client_run(&test_a, 1, cdb, sizeof(cdb), NO_DATA);
}

static void expect_run(unsigned i, uint64_t lba, uint32_t blocks, uint8_t status)
{
	const uint8_t *d = test_last.data + 8 + 16 * i;

	assert_true(8 + 16 * (i + 1) <= test_last.len);
	assert_int_equal(get_be64(d), lba);
	assert_int_equal(get_be32(d + 8), blocks);
	assert_int_equal(d[12], status);
}

static void zero(uint64_t lba, uint64_t blocks)
{
	memset(fake_luns[0].data + lba * 512, 0, blocks * 512);
	fake_luns[0].clean = false;
}

TEST(lba_status_tells_what_is_mapped)
{
	expect_good(lba_status(0, 1024));
	assert_int_equal(test_last.len, 24);
	assert_int_equal(get_be32(test_last.data), 20);
	expect_run(0, 0, BLOCKS, 0);
	zero(8, 1024);
	zero(2040, 8);
	expect_good(lba_status(0, 1024));
	assert_int_equal(test_last.len, 8 + 4 * 16);
	expect_run(0, 0, 8, 0);
	expect_run(1, 8, 1024, 1);
	expect_run(2, 1032, 1008, 0);
	expect_run(3, 2040, 8, 1);
	/* within a run, not on a boundary of it */
	expect_good(lba_status(9, 1024));
	expect_run(0, 9, 1023, 1);
	expect_good(lba_status(BLOCKS - 1, 1024));
	assert_int_equal(test_last.len, 24);
	expect_run(0, BLOCKS - 1, 1, 1);
	expect_sense(lba_status(BLOCKS, 1024), 5, 0x2100);
}

/* Whatever room there is: whole descriptors that begin where was asked, cut off at the room. */
TEST(lba_status_fits_any_room)
{
	for (unsigned i = 0; i < BLOCKS; i += 16)
		zero(i, 8);
	for (uint32_t room = 0; room < 200; room++) {
		uint32_t count = room < 24 ? 1 : (room - 8) / 16;

		expect_good(lba_status(0, room));
		assert_int_equal(test_last.len, room < 24 ? room : 8 + 16 * count);
		if (room >= 4)
			assert_int_equal(get_be32(test_last.data), 4 + 16 * count);
		for (unsigned i = 0; room >= 24 && i < count; i++)
			expect_run(i, 8 * i, 8, (i + 1) % 2);
	}
	/* there are more runs than one command may look for: the next command goes on where this one ended */
	expect_good(lba_status(0, 8 + 16 * 256));
	assert_int_equal(test_last.len, 8 + 16 * 64);
	/* the store's failure is the command's */
	fake_error = -EIO;
	assert_int_equal(lba_status(0, 1024), SCSI_STATUS_CHECK_CONDITION);
	fake_error = 0;
}

static uint8_t write_64k(struct client *c)
{
	static uint8_t data[65536];

	memset(data, 0x77, sizeof(data));
	fake_luns[0].clean = false;
	return client_run(c, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 128, 0), data, sizeof(data));
}

/* 16 MiB of writes: the store is asked once at least. */
static void write_much(void)
{
	for (unsigned i = 0; i < 256; i++)
		expect_good(write_64k(&test_b));
}

static void fill(unsigned percent)
{
	fake_stats.used_bytes = fake_stats.capacity_bytes / 100 * percent;
}

TEST(each_host_learns_once_that_the_pool_fills)
{
	unsigned events = fake_events;

	fill(69);
	write_much();
	expect_good(run(a, 1, CDB(0x00), NO_DATA));
	assert_int_equal(fake_events, events);
	fill(71);
	write_much();
	assert_int_equal(fake_events, events + 1); /* the administrator, too */
	assert_non_null(strstr(fake_event, "71 % full"));
	/* once on each LUN, for each nexus */
	expect_sense(run(a, 1, CDB(0x00), NO_DATA), 6, 0x3807);
	expect_good(run(a, 1, CDB(0x00), NO_DATA));
	expect_sense(run(a2, 1, CDB(0x00), NO_DATA), 6, 0x3807);
	expect_sense(run(a, 2, CDB(0x00), NO_DATA), 6, 0x3807);
	expect_good(run(c, 0, CDB(0x00), NO_DATA));
	expect_sense(write_64k(&test_b), 6, 0x3807);
	write_much();
	expect_good(run(a, 1, CDB(0x00), NO_DATA));
	/* a little room does not arm it again, enough does */
	fill(67);
	write_much();
	fill(72);
	write_much();
	expect_good(run(a, 1, CDB(0x00), NO_DATA));
	fill(60);
	write_much();
	fill(70);
	write_much();
	expect_sense(run(a, 1, CDB(0x00), NO_DATA), 6, 0x3807);
	assert_int_equal(fake_events, events + 2);
}

/* Nobody writes. */
TEST(hosts_learn_that_plex_copies_fill_the_pool)
{
	unsigned events = fake_events;

	fill(69);
	for (unsigned i = 0; i < 8; i++)
		fake_take_room(UINT64_C(4) << 20);
	expect_good(run(a, 1, CDB(0x00), NO_DATA));
	fill(71);
	for (unsigned i = 0; i < 4; i++)
		fake_take_room(UINT64_C(4) << 20);
	assert_int_equal(fake_events, events + 1);
	expect_sense(run(a, 1, CDB(0x00), NO_DATA), 6, 0x3807);
}

TEST(not_during_a_commit)
{
	fill(90);
	fake_quiet = true;
	write_much();
	write_much();
	expect_good(run(a, 1, CDB(0x00), NO_DATA));
	fake_quiet = false;
	expect_good(write_64k(&test_b));
	expect_sense(run(a, 1, CDB(0x00), NO_DATA), 6, 0x3807);
}

TEST(the_threshold_is_configured)
{
	struct scsi_target_options options = {.array = fake_start(), .target_name = "iqn.test:t"};
	struct scsi_target *t;

	for (unsigned percent = 0; percent < 100; percent += 25) {
		options.threshold_percent = percent;
		assert_int_equal(scsi_target_create(&options, &t), 0);
		assert_int_equal(scsi_threshold_bytes(t),
			fake_stats.capacity_bytes / 100 * (100 - (percent ? percent : 70)));
		scsi_target_destroy(t);
	}
	fake_stop();
}

TEST(the_physical_block_is_configured)
{
	struct scsi_target_options options = {.array = fake_start(), .target_name = "iqn.test:t"};
	struct scsi_target *t;

	assert_int_equal(scsi_target_create(&options, &t), 0);
	assert_int_equal(scsi_physical_exponent(t), 3);
	scsi_target_destroy(t);
	options.physical_block_bytes = 512;
	assert_int_equal(scsi_target_create(&options, &t), 0);
	assert_int_equal(scsi_physical_exponent(t), 0);
	scsi_target_destroy(t);
	fake_stop();
}

TEST(full_is_27_07)
{
	fake_error = -ENOSPC;
	expect_sense(write_64k(&test_a), 7, 0x2707);
	fake_error = 0;
	expect_good(write_64k(&test_a));
}

TEST(the_threshold_stands_in_a_mode_page)
{
	expect_good(run(a, 1, CDB(0x5A, 8, 0x1C, 2, 0, 0, 0, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 8 + 24);
	const uint8_t *p = test_last.data + 8;
	assert_memory_equal(p, "\x5C\x02\x00\x14", 4);
	assert_int_equal(p[16], 0x81);
	assert_int_equal(p[17], 1);
	/* 30 % of 10 GiB, in MiB */
	assert_true(get_be32(p + 20) >= 3070 && get_be32(p + 20) <= 3072);
	expect_good(run(a, 1, CDB(0x5A, 8, 0x5C, 2, 0, 0, 0, 0, 255, 0), NO_DATA)); /* changeable: nothing */
	assert_int_equal(test_last.data[8 + 16], 0);
	/* 1Ch alone is the informational exceptions page; with all subpages both; 3Fh/FFh has all */
	expect_good(run(a, 1, CDB(0x5A, 8, 0x1C, 0, 0, 0, 0, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 8 + 12);
	expect_good(run(a, 1, CDB(0x5A, 8, 0x1C, 0xFF, 0, 0, 0, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 8 + 12 + 24);
	expect_good(run(a, 1, CDB(0x5A, 8, 0x3F, 0, 0, 0, 0, 0, 255, 0), NO_DATA));
	uint32_t len = test_last.len;
	expect_good(run(a, 1, CDB(0x5A, 8, 0x3F, 0xFF, 0, 0, 0, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, len + 24);
	expect_sense(run(a, 1, CDB(0x5A, 8, 0x0A, 2, 0, 0, 0, 0, 255, 0), NO_DATA), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x5A, 8, 0x1C, 1, 0, 0, 0, 0, 255, 0), NO_DATA), 5, 0x2400);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, client_setup, client_teardown)
	const struct CMUnitTest tests[] = {T(lba_status_tells_what_is_mapped), T(lba_status_fits_any_room),
		T(each_host_learns_once_that_the_pool_fills), T(hosts_learn_that_plex_copies_fill_the_pool),
		cmocka_unit_test(the_threshold_is_configured),
		cmocka_unit_test(the_physical_block_is_configured), T(not_during_a_commit), T(full_is_27_07),
		T(the_threshold_stands_in_a_mode_page)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
