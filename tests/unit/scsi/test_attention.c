/* SPDX-License-Identifier: Apache-2.0 */
/* Unit attentions: per nexus and LUN, once, in order, and never where they do not belong. */
#include "tests/unit/scsi/client.h"

#include <string.h>
#include "array/scsi/attention.h"
#include "array/scsi/nexus.h"
#include "array/util/bytes.h"

static struct host_nexus *model(struct client *c)
{
	return scsi_nexus_array(c->nexus);
}

static uint8_t tur(struct client *c, unsigned lun)
{
	return client_run(c, lun, CDB(0x00), NO_DATA);
}

TEST(a_new_nexus_hears_of_power_on_once_a_lun)
{
	struct client fresh;

	client_login(&fresh, "iqn.test:a", 9, 1);
	for (unsigned lun = 1; lun <= 2; lun++) {
		expect_sense(tur(&fresh, lun), 6, 0x2900);
		expect_good(tur(&fresh, lun));
	}
	expect_good(tur(&test_a, 1)); /* the others hear nothing */
	/* INQUIRY and REPORT LUNS run and clear nothing; REQUEST SENSE tells and clears */
	expect_good(client_run(&fresh, 3, CDB(0x12, 0, 0, 0, 36, 0), NO_DATA));
	expect_good(client_run(&fresh, 3, CDB(0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64), NO_DATA));
	expect_good(client_run(&fresh, 3, CDB(0x03, 0, 0, 0, 18, 0), NO_DATA));
	assert_int_equal(test_last.data[2], 6);
	assert_int_equal(get_be16(test_last.data + 12), 0x2900);
	expect_good(client_run(&fresh, 3, CDB(0x03, 1, 0, 0, 18, 0), NO_DATA));
	assert_memory_equal(test_last.data, "\x72\0\0\0\0\0\0\0", 8);
	expect_good(tur(&fresh, 3));
	/* an unknown opcode is told of it, too */
	expect_sense(client_run(&fresh, 4, CDB(0xFF), NO_DATA), 6, 0x2900);
	expect_sense(client_run(&fresh, 4, CDB(0xFF), NO_DATA), 5, 0x2000);
	scsi_nexus_destroy(fresh.nexus);
}

TEST(mapping_change_is_told_on_one_lun)
{
	model(&test_a)->ops->mappings_changed(model(&test_a));
	model(&test_a)->ops->mappings_changed(model(&test_a));
	expect_good(tur(&test_b, 1));
	expect_good(client_run(&test_a, 2, CDB(0x12, 0, 0, 0, 36, 0), NO_DATA));
	expect_sense(tur(&test_a, 2), 6, 0x3F0E);
	for (unsigned lun = 1; lun <= FAKE_LUNS; lun++)
		expect_good(tur(&test_a, lun));
	expect_good(tur(&test_a2, 1)); /* a nexus of its own */
	/* asked REPORT LUNS first: there is nothing to tell any more */
	model(&test_a)->ops->mappings_changed(model(&test_a));
	expect_good(client_run(&test_a, 0, CDB(0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64), NO_DATA));
	expect_good(tur(&test_a, 1));
}

TEST(resize_is_told_and_shown)
{
	fake_luns[1].lun.size_bytes *= 2;
	model(&test_a)->ops->lun_resized(model(&test_a), &fake_luns[1].lun, 2);
	expect_good(tur(&test_a, 1));
	expect_sense(client_run(&test_a, 2, CDB(0x25), NO_DATA), 6, 0x2A09);
	expect_good(client_run(&test_a, 2, CDB(0x25), NO_DATA));
	assert_int_equal(get_be32(test_last.data), 2 * FAKE_LUN_BYTES / 512 - 1);
}

TEST(resync_is_not_ready_and_then_a_new_medium)
{
	fake_luns[1].lun.resyncing = true;
	expect_sense(tur(&test_a, 2), 2, 0x0407);
	expect_sense(client_run(&test_a, 2, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA), 2, 0x0407);
	expect_good(client_run(&test_a, 2, CDB(0x12, 0, 0, 0, 36, 0), NO_DATA));
	expect_good(tur(&test_a, 1));
	fake_luns[1].lun.resyncing = false;
	model(&test_a)->ops->lun_replaced(model(&test_a), &fake_luns[1].lun, 2);
	expect_good(tur(&test_a, 1));
	expect_sense(tur(&test_a, 2), 6, 0x2800);
	expect_good(tur(&test_a, 2));
	expect_good(tur(&test_a2, 2));
}

TEST(order_and_no_duplicates)
{
	/* set worst first, twice */
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = ATTENTION_COUNT; i-- > 0;)
			scsi_attention_set(test_a.nexus, 1, (enum scsi_attention)i);
	static const unsigned expected[] = {0x2900, 0x2902, 0x2903, 0x2907, 0x3F0E, 0x2800, 0x2A06, 0x2A09,
		0x2A01, 0x2A03, 0x2A04, 0x2A05, 0x3807};
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		expect_sense(tur(&test_a, 1), 6, expected[i]);
	expect_good(tur(&test_a, 1));
}

TEST(unmapped_number_forgets)
{
	scsi_attention_set(test_a.nexus, 2, ATTENTION_CAPACITY);
	fake_map(fake_host(0), 2, NULL);
	model(&test_a)->ops->lun_unmapped(model(&test_a), &fake_luns[1].lun, 2);
	expect_sense(tur(&test_a, 2), 5, 0x2500);
	fake_map(fake_host(0), 2, &fake_luns[3].lun);
	expect_good(tur(&test_a, 2));
}

TEST(revoked_host_is_closed)
{
	model(&test_a)->ops->host_revoked(model(&test_a));
	assert_true(test_a.close_asked);
	assert_false(test_b.close_asked);
}

TEST(strangers_are_refused)
{
	struct scsi_nexus_options options = {.initiator_name = "iqn.test:nobody"};
	char long_name[UP_NAME_MAX_BYTES + 10];
	struct scsi_nexus *n;

	assert_int_equal(scsi_nexus_create(test_target, &options, &n), -13 /* EACCES */);
	memset(long_name, 'x', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = 0;
	options.initiator_name = long_name;
	assert_int_equal(scsi_nexus_create(test_target, &options, &n), -13);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, client_setup, client_teardown)
	const struct CMUnitTest tests[] = {T(a_new_nexus_hears_of_power_on_once_a_lun),
		T(mapping_change_is_told_on_one_lun), T(resize_is_told_and_shown),
		T(resync_is_not_ready_and_then_a_new_medium), T(order_and_no_duplicates),
		T(unmapped_number_forgets), T(revoked_host_is_closed), T(strangers_are_refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
