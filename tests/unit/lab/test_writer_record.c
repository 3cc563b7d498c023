/* SPDX-License-Identifier: Apache-2.0 */
/* The ordered writer's rule: a model of two LUNs, stopped at any point, is always found good; every way of
 * breaking the order is found. */
#include <stdlib.h>
#include <string.h>
#include "lab/writers/record.h"
#include "tests/support/test.h"

#define SLOTS 8
#define RUN   77

static uint8_t area[2][SLOTS * RECORD_BYTES];

static void clear(void)
{
	memset(area, 0, sizeof area);
}

static void put(int side, uint64_t run, uint64_t seq)
{
	const struct record_id id = {.run = run, .seq = seq, .stream = 3, .side = (uint32_t)side};
	record_make(area[side] + (seq % SLOTS) * RECORD_BYTES, &id);
}

static const char *verdict(uint64_t last[2])
{
	for (uint32_t side = 0; side < 2; side++) {
		struct area_state s = area_check(area[side], SLOTS, RUN, 3, side);
		last[side] = s.last;
		if (s.wrong)
			return s.wrong;
	}
	return order_wrong(last[0], last[1]);
}

static void write_until(uint64_t writes)
{
	clear();
	for (uint64_t w = 0; w < writes; w++)
		put((int)(w % 2), RUN, w / 2 + 1);
}

TEST(a_writer_may_stop_after_any_write)
{
	for (uint64_t writes = 0; writes < 6 * SLOTS; writes++) {
		uint64_t last[2];
		write_until(writes);
		assert_null(verdict(last));
		assert_int_equal(last[0], (writes + 1) / 2);
		assert_int_equal(last[1], writes / 2);
	}
}

TEST(a_write_to_b_without_the_one_to_a_is_found)
{
	uint64_t last[2];
	uint8_t older[SLOTS * RECORD_BYTES];
	for (uint64_t writes = 4; writes < 4 * SLOTS; writes += 2) {
		write_until(writes - 2);
		memcpy(older, area[0], sizeof older);
		write_until(writes);
		memcpy(area[0], older, sizeof older);
		assert_non_null(verdict(last));
		assert_true(last[1] > last[0]);
	}
}

TEST(damage_anywhere_is_found)
{
	uint64_t last[2];
	for (size_t at = 0; at < RECORD_BYTES; at += 97) {
		write_until(4 * SLOTS);
		area[at % 2][2 * RECORD_BYTES + at] ^= 0x10;
		assert_non_null(verdict(last));
	}
	write_until(4 * SLOTS);
	memcpy(area[0] + RECORD_BYTES, area[0], RECORD_BYTES);
	assert_non_null(verdict(last));
	write_until(4 * SLOTS);
	memcpy(area[0], area[1], RECORD_BYTES); /* of the other side */
	assert_non_null(verdict(last));
	write_until(4 * SLOTS);
	memset(area[1] + 3 * RECORD_BYTES, 0, RECORD_BYTES); /* lost */
	assert_non_null(verdict(last));
}

TEST(what_an_earlier_run_left_does_not_count)
{
	uint64_t last[2];
	clear();
	for (uint64_t seq = 1; seq <= 2 * SLOTS; seq++) {
		put(0, RUN - 1, seq);
		put(1, RUN - 1, seq);
	}
	put(0, RUN, 1);
	assert_int_equal(area_latest_run(area[0], SLOTS), RUN);
	assert_int_equal(area_latest_run(area[1], SLOTS), RUN - 1);
	assert_null(verdict(last)); /* what an earlier run left does not count */
	assert_int_equal(last[0], 1);
	assert_int_equal(last[1], 0);
	put(1, RUN + 1, 1);
	assert_non_null(verdict(last));
	assert_non_null(order_wrong(5, 3));
	assert_int_equal(record_slot(2, 19, SLOTS), 2 * SLOTS + 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_writer_may_stop_after_any_write),
		cmocka_unit_test(a_write_to_b_without_the_one_to_a_is_found),
		cmocka_unit_test(damage_anywhere_is_found),
		cmocka_unit_test(what_an_earlier_run_left_does_not_count)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
