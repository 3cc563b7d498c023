/* SPDX-License-Identifier: Apache-2.0 */
/* SANITIZE: what it does, what the LUN answers meanwhile, that nothing but its end ends it. */
#include "tests/unit/scsi/client.h"

#include <errno.h>
#include <string.h>
#include "array/scsi/reserve.h"
#include "array/util/bytes.h"

static uint8_t list[4 + 512 + 8];

static uint8_t erase(struct client *c, unsigned lun, uint8_t flags)
{
	return client_run(c, lun, CDB(0x48, flags | 0x02), NO_DATA);
}

static size_t pattern(uint8_t first, uint16_t len, uint8_t byte)
{
	memset(list, byte, sizeof(list));
	list[0] = first;
	list[1] = 0;
	put_be16(list + 2, len);
	return 4u + len;
}

static uint8_t overwrite(struct client *c, unsigned lun, uint8_t flags, size_t len)
{
	return client_run(
		c, lun, CDB(0x48, flags | 0x01, 0, 0, 0, 0, 0, (uint8_t)(len >> 8), (uint8_t)len), list, len);
}

static bool all(unsigned lun, uint8_t byte)
{
	const uint8_t *d = fake_luns[lun - 1].data;

	return d[0] == byte && memcmp(d, d + 1, FAKE_LUN_BYTES - 1) == 0;
}

static uint8_t tur(struct client *c, unsigned lun)
{
	return client_run(c, lun, CDB(0x00), NO_DATA);
}

TEST(block_erase_leaves_zeros)
{
	expect_good(erase(&test_a, 2, 0));
	assert_true(all(2, 0));
	assert_true(fake_luns[1].flushes > 0);
	assert_int_equal(fake_luns[1].lun.reservations_len, 0); /* nothing is left to go on with */
	expect_good(tur(&test_b, 2));
	assert_false(all(1, 0));
	expect_good(run(a, 1, CDB(0x12, 1, 0xB1, 0, 64), NO_DATA));
	assert_int_equal(test_last.data[7] & 0xC0, 0x40);
}

TEST(overwrite_leaves_the_pattern)
{
	struct exchange x = {0};
	size_t len = pattern(0x01, 512, 0xAA);

	client_begin(
		&test_a, &x, 2, CDB(0x48, 0x01, 0, 0, 0, 0, 0, (uint8_t)(len >> 8), (uint8_t)len), list, len);
	assert_false(x.done); /* it pauses, for others share the disks */
	fake_advance(1000);
	assert_true(x.done);
	assert_int_equal(x.task.status, SCSI_STATUS_GOOD);
	assert_true(all(2, 0xAA));
	/* three passes, inverted between them, of a pattern that does not fill a block */
	len = pattern(0x83, 3, 0x0F);
	expect_good(overwrite(&test_a, 2, 0x80, len));
	fake_advance(10000);
	expect_good(tur(&test_a, 2));
	assert_true(all(2, 0x0F));
	list[5] = 0x11;
	list[0] = 0x82;
	expect_good(overwrite(&test_a, 2, 0x80, len));
	fake_advance(10000);
	assert_memory_equal(fake_luns[1].data, "\xF0\xEE\xF0\xF0\xEE\xF0", 6);
	assert_memory_equal(fake_luns[1].data + 512, "\xF0\xEE\xF0\xF0\xEE\xF0", 6);
	exchange_free(&x);
}

/* It takes as much of the store as the LUN is large. */
TEST(hosts_learn_that_an_overwrite_fills_the_store)
{
	unsigned events = fake_events;
	size_t len = pattern(
		31, 1, 0x55); /* so many passes: more than the 16 MiB after which the store is asked */

	fake_stats.used_bytes = fake_stats.capacity_bytes / 100 * 71;
	expect_good(overwrite(&test_a, 2, 0x80, len));
	fake_advance(60000);
	assert_true(all(2, 0x55));
	assert_true(fake_events > events);
	expect_sense(tur(&test_b, 1), 6, 0x3807);
}

TEST(bad_requests_are_refused)
{
	expect_sense(client_run(&test_a, 1, CDB(0x48, 2, 0, 0, 0, 0, 0, 0, 8), list, 8), 5, 0x2400);
	expect_sense(client_run(&test_a, 1, CDB(0x48, 0x1F, 0, 0, 0, 0, 0, 0, 8), list, 8), 5, 0x2400);
	expect_sense(
		client_run(&test_a, 1, CDB(0x48, 3), NO_DATA), 5, 0x2400); /* there is no key to forget */
	for (size_t len = 0; len < 5; len++)
		expect_sense(overwrite(&test_a, 1, 0, len), 5, 0x2400);
	expect_sense(overwrite(&test_a, 1, 0, 4 + 513), 5, 0x2400);
	expect_sense(overwrite(&test_a, 1, 0, pattern(0x00, 512, 1)), 5, 0x2600);
	expect_sense(overwrite(&test_a, 1, 0, pattern(0x21, 512, 1)), 5, 0x2600);
	pattern(0x01, 512, 1);
	put_be16(list + 2, 0);
	expect_sense(overwrite(&test_a, 1, 0, 4 + 512), 5, 0x2600);
	pattern(0x01, 512, 1);
	put_be16(list + 2, 513);
	expect_sense(overwrite(&test_a, 1, 0, 4 + 512), 5, 0x2600);
	expect_good(client_run(&test_a, 1, CDB(0x48, 0x1F), NO_DATA)); /* nothing has failed */
	assert_true(fake_luns[0].clean);
}

TEST(meanwhile_the_lun_is_not_ready)
{
	uint8_t *d;

	expect_good(overwrite(&test_a, 2, 0x80, pattern(0x02, 4, 0x55)));
	for (unsigned i = 0; i < 2; i++) {
		struct client *c = i ? &test_b : &test_a;

		expect_sense(tur(c, 2), 2, 0x041B);
		assert_int_equal(test_last.task.sense[15], 0x80);
		expect_sense(client_run(c, 2, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1), NO_DATA), 2, 0x041B);
		expect_sense(client_run(c, 2, CDB(0x1B, 0, 0, 0, 1), NO_DATA), 2, 0x041B);
		expect_sense(erase(c, 2, 0), 2, 0x041B);
		expect_good(client_run(c, 2, CDB(0x12, 0, 0, 0, 36), NO_DATA));
		expect_good(client_run(c, 2, CDB(0x03, 0, 0, 0, 18), NO_DATA));
		d = test_last.data;
		assert_int_equal(d[2], 2);
		assert_int_equal(get_be16(d + 12), 0x041B);
		assert_in_range(get_be16(d + 16), 1, 65535);
		expect_good(client_run(c, 0, CDB(0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64), NO_DATA));
	}
	expect_good(tur(&test_a, 1)); /* of this LUN alone */
	assert_true(fake_luns[1].lun.sanitizing && !fake_luns[0].lun.sanitizing);
	fake_advance(10000);
	expect_good(tur(&test_a, 2));
	assert_true(all(2, 0x55));
	assert_false(fake_luns[1].lun.sanitizing);
	/* not beside a resync, which would make it fail and the LUN with it */
	fake_luns[1].lun.resyncing = true;
	expect_sense(erase(&test_a, 2, 0), 2, 0x0407);
	fake_luns[1].lun.resyncing = false;
	expect_good(erase(&test_a, 2, 0));
}

static void tmf_ended(struct scsi_tmf_call *call, enum scsi_tmf_result result)
{
	(void)call;
	assert_int_equal(result, SCSI_TMF_COMPLETE);
}

TEST(nothing_ends_it)
{
	struct exchange x = {0};
	size_t len = pattern(0x02, 4, 0x66);
	struct scsi_tmf_call call = {.function = SCSI_ABORT_TASK, .tag = 5, .done = tmf_ended, .lun = {0, 2}};

	client_begin_attribute(
		&test_a, &x, 2, CDB(0x48, 0x01, 0, 0, 0, 0, 0, 0, (uint8_t)len), list, len, SCSI_SIMPLE, 5);
	assert_false(x.done);
	/* who asks what may be asked does not wait behind it */
	expect_good(run(b, 2, CDB(0x12, 0, 0, 0, 36), NO_DATA));
	call.nexus = test_a.nexus;
	scsi_tmf(&call);
	assert_true(x.done && x.task.aborted);
	call.function = SCSI_LUN_RESET;
	call.nexus = test_b.nexus;
	scsi_tmf(&call);
	client_clear_attentions(&test_b);
	expect_sense(tur(&test_b, 2), 2, 0x041B);
	scsi_nexus_destroy(test_a.nexus);
	test_a.nexus = NULL;
	expect_sense(tur(&test_b, 2), 2, 0x041B);
	fake_advance(10000);
	expect_good(tur(&test_b, 2));
	assert_true(all(2, 0x66));
	exchange_free(&x);
}

static void stopped(void *arg)
{
	*(bool *)arg = true;
}

TEST(a_restart_does_not_end_it)
{
	struct scsi_target_options options = {.target_name = "iqn.test:target"};
	bool done = false;

	expect_good(overwrite(&test_a, 2, 0x80, pattern(0x82, 4, 0x77)));
	client_teardown_sessions();
	scsi_target_stop(test_target, stopped, &done);
	assert_true(done);
	fake_restart();
	scsi_target_destroy(test_target);
	assert_false(all(2, 0x88));
	assert_true(fake_luns[1].lun.reservations_len > 0);
	options.array = fake_again();
	assert_int_equal(scsi_target_create(&options, &test_target), 0);
	client_login(&test_a, "iqn.test:a", 1, 1);
	expect_sense(tur(&test_a, 2), 6, 0x2900);
	expect_sense(tur(&test_a, 2), 2, 0x041B); /* the first command to it begins it again */
	fake_advance(10000);
	expect_good(tur(&test_a, 2));
	assert_true(all(2, 0x88));
	assert_int_equal(fake_luns[1].lun.reservations_len, 0);
}

TEST(stopping_waits_for_the_step)
{
	bool done = false;

	fake_hold_io = true;
	expect_good(erase(&test_a, 2, 0x80));
	client_teardown_sessions();
	scsi_target_stop(test_target, stopped, &done);
	assert_false(done);
	fake_hold_io = false;
	fake_complete();
	assert_true(done);
}

/* Not usable before it is durable that it is over. */
TEST(a_sanitized_lun_is_usable_when_its_end_is_durable)
{
	struct exchange x = {0};

	fake_hold_keeps = true;
	client_begin(&test_a, &x, 2, CDB(0x48, 0x02), NO_DATA);
	assert_false(x.done);
	assert_int_equal(fake_luns[1].unmaps, 0); /* not begun before it is durable that it has */
	fake_kept();
	assert_int_equal(fake_luns[1].unmaps, 1);
	expect_sense(tur(&test_b, 2), 2, 0x041B);
	fake_kept();
	assert_true(x.done);
	expect_good(tur(&test_b, 2));
	/* cannot be begun: nothing has happened */
	fake_hold_keeps = false;
	fake_error = -EROFS;
	client_begin(&test_a, &x, 1, CDB(0x48, 0x02), NO_DATA);
	assert_true(x.done);
	assert_int_equal(x.key, 7);
	fake_error = 0;
	expect_good(tur(&test_b, 1));
	assert_true(fake_luns[0].clean);
	exchange_free(&x);
}

TEST(a_failed_sanitize_closes_the_lun_until_it_is_made_good)
{
	for (unsigned ause = 0; ause < 2; ause++) {
		fake_hold_io = true;
		expect_good(erase(&test_a, 2, ause ? 0xA0 : 0x80));
		fake_io_error = -EIO;
		fake_hold_io = false;
		fake_complete();
		fake_io_error = 0;
		expect_sense(tur(&test_b, 2), 3, 0x3103);
		expect_good(run(b, 2, CDB(0x12, 0, 0, 0, 36), NO_DATA));
		if (ause) {
			expect_good(run(b, 2, CDB(0x48, 0x1F), NO_DATA));
			expect_good(tur(&test_a, 2));
		} else {
			expect_sense(run(b, 2, CDB(0x48, 0x1F), NO_DATA), 5, 0x2400);
			expect_sense(tur(&test_b, 2), 3, 0x3103);
			expect_good(erase(&test_b, 2, 0)); /* another one makes it good */
			expect_good(tur(&test_a, 2));
		}
	}
}

/* It has failed, and that is not durable yet: another one, or the way out, is too early. */
TEST(nothing_follows_a_failure_before_it_is_durable)
{
	struct exchange x = {0};

	for (unsigned exits = 0; exits < 2; exits++) {
		fake_hold_keeps = true;
		client_begin(&test_a, &x, 2, CDB(0x48, 0xA2), NO_DATA);
		fake_io_error = -EIO;
		fake_kept(); /* it begins, is answered, and fails */
		assert_true(x.done);
		fake_io_error = 0;
		if (exits)
			expect_sense(run(b, 2, CDB(0x48, 0x1F), NO_DATA), 2, 0x041B);
		else
			expect_sense(erase(&test_b, 2, 0x80), 2, 0x041B);
		expect_sense(tur(&test_b, 2), 2, 0x041B);
		fake_kept();
		expect_sense(tur(&test_b, 2), 3, 0x3103);
		fake_hold_keeps = false;
		if (exits)
			expect_good(run(b, 2, CDB(0x48, 0x1F), NO_DATA));
		else
			expect_good(erase(&test_b, 2, 0));
		expect_good(tur(&test_b, 2));
	}
	exchange_free(&x);
}

TEST(only_who_may_write)
{
	uint8_t page[16] = {0, 0, 0, 0, 0x0A, 0x0A, 0, 0x10, 0x08, 0x40}, keys[24] = {0};

	keys[15] = 7;
	expect_good(run(b, 3, CDB(0x5F, 6, 0, 0, 0, 0, 0, 0, 24), keys, 24));
	memset(keys, 0, 24);
	keys[7] = 7;
	expect_good(run(b, 3, CDB(0x5F, 1, PR_WRITE_EXCLUSIVE_RO, 0, 0, 0, 0, 0, 24), keys, 24));
	expect_conflict(erase(&test_a, 3, 0));
	put_be16(page + 12, 0xFFFF);
	expect_good(run(a, 2, CDB(0x15, 0x10, 0, 0, 16), page, sizeof(page)));
	expect_sense(erase(&test_a, 2, 0), 7, 0x2702);
	/* registrations that are kept stay so, before and after */
	keys[20] = PR_APTPL;
	expect_good(run(b, 3, CDB(0x5F, 6, 0, 0, 0, 0, 0, 0, 24), keys, 24));
	memset(keys, 0, 24);
	keys[15] = 9;
	keys[20] = PR_APTPL;
	expect_good(run(b, 3, CDB(0x5F, 6, 0, 0, 0, 0, 0, 0, 24), keys, 24));
	uint32_t before = fake_luns[2].lun.reservations_len;
	expect_good(erase(&test_b, 3, 0));
	assert_int_equal(fake_luns[2].lun.reservations_len, before);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, client_setup, client_teardown)
	const struct CMUnitTest tests[] = {T(block_erase_leaves_zeros), T(overwrite_leaves_the_pattern),
		T(hosts_learn_that_an_overwrite_fills_the_store), T(bad_requests_are_refused),
		T(meanwhile_the_lun_is_not_ready), T(nothing_ends_it), T(a_restart_does_not_end_it),
		T(stopping_waits_for_the_step), T(a_sanitized_lun_is_usable_when_its_end_is_durable),
		T(a_failed_sanitize_closes_the_lun_until_it_is_made_good),
		T(nothing_follows_a_failure_before_it_is_durable), T(only_who_may_write)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
