/* SPDX-License-Identifier: Apache-2.0 */
/* Break and notifications: what becomes of a shadow LUN besides its deletion. */
#include "tests/unit/model/harness.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"

static int do_break(struct harness *h, struct lun *lun)
{
	struct waiter w;

	lun_break(lun, 0, waiter_init(&w));
	return waiter_wait(h, &w);
}

static int do_notify(struct harness *h, struct lun *lun, uint32_t flags)
{
	struct waiter w;

	lun_notify(lun, flags, waiter_init(&w));
	return waiter_wait(h, &w);
}

/* A kept set of two LUNs; its shadow LUNs' ids. */
static void make_kept(struct harness *h, uint8_t (*ids)[UP_ID_BYTES])
{
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};

	assert_int_equal(do_write(h, l[0], 3, 0x11), 0);
	make_armed(h, set_id(1), IQN_A, l, 2, ids);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	assert_int_equal(do_write(h, l[0], 3, 0x22), 0);
}

static unsigned members(struct harness *h, const uint8_t *set)
{
	struct set *s = set_find(h->array, set, NULL);
	struct set_view v;

	if (!s)
		return 0;
	set_view_of(s, &v);
	return v.member_count;
}

TEST(a_broken_lun_is_ordinary)
{
	static const uint8_t zero[UP_ID_BYTES];
	struct harness *h = *state;
	struct host *a = make_host(h, "a", IQN_A);
	uint8_t ids[2][UP_ID_BYTES];
	struct lun *lun;

	make_kept(h, ids);
	lun = lun_find(h->array, ids[0]);
	assert_int_equal(do_map(h, a, lun, 7), 7);
	assert_int_equal(do_break(h, lun), 0);
	assert_int_equal(do_break(h, lun), 0); /* again is no error */
	for (int i = 0; i < 2; i++) {
		lun = lun_find(h->array, ids[0]);
		assert_int_equal(lun->kind, LUN_ORDINARY);
		assert_memory_equal(lun->set_id, zero, UP_ID_BYTES);
		assert_memory_equal(lun->origin_id, zero, UP_ID_BYTES);
		assert_int_equal(do_read(h, lun, 3), 0x11);
		assert_int_equal(map_number(host_find(h->array, "a"), lun), 7);
		assert_int_equal(members(h, set_id(1)), 1);
		harness_reopen(h);
	}
	/* the set goes with its last member; the broken LUN does not */
	assert_int_equal(do_break(h, lun_find(h->array, ids[1])), 0);
	assert_int_equal(set_state(h, set_id(1)), 0);
	harness_reopen(h);
	assert_int_equal(set_state(h, set_id(1)), 0);
	lun = lun_find(h->array, ids[1]);
	assert_int_equal(lun->kind, LUN_ORDINARY);
	assert_int_equal(do_delete(h, lun_find_name(h->array, "b")), 0);
	assert_int_equal(do_delete(h, lun), 0);
}

TEST(what_is_not_kept_is_not_broken)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	uint8_t ids[1][UP_ID_BYTES];

	make_armed(h, set_id(1), IQN_A, &l, 1, ids);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	assert_int_equal(do_break(h, lun_find(h->array, ids[0])), -EBUSY);
	assert_int_equal(do_abort(h, set_id(1), IQN_A), 0);
	assert_int_equal(do_break(h, l), 0); /* ordinary already */
}

/* A broken LUN that was an original of an unkept set keeps being protected. */
TEST(a_broken_lun_may_be_an_original)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES], copy[1][UP_ID_BYTES];
	struct lun *lun;

	make_kept(h, ids);
	lun = lun_find(h->array, ids[0]);
	make_armed(h, set_id(2), IQN_A, &lun, 1, copy);
	assert_int_equal(do_break(h, lun), 0);
	assert_int_equal(do_delete(h, lun), -EBUSY);
	assert_int_equal(do_commit(h, set_id(2), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(2), IQN_A), 0);
	assert_int_equal(do_read(h, lun_find(h->array, copy[0]), 3), 0x11);
}

TEST(notifications_are_ored_and_stay)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];
	struct lun *lun;

	make_kept(h, ids);
	lun = lun_find(h->array, ids[0]);
	assert_int_equal(lun->notified, 0);
	assert_int_equal(do_notify(h, lun, UP_NOTIFY_PRE_RECOVERY), 0);
	assert_int_equal(do_notify(h, lun, UP_NOTIFY_POST_RECOVERY | UP_NOTIFY_PRE_RECOVERY), 0);
	assert_int_equal(do_notify(h, lun, UP_NOTIFY_PRE_RECOVERY), 0);
	assert_int_equal(do_notify(h, lun, 0x800), -EINVAL);
	assert_int_equal(lun->notified, UP_NOTIFY_PRE_RECOVERY | UP_NOTIFY_POST_RECOVERY);
	assert_int_equal(do_notify(h, lun_find_name(h->array, "a"), UP_NOTIFY_READ_WRITE), -EINVAL);
	harness_reopen(h);
	lun = lun_find(h->array, ids[0]);
	assert_int_equal(lun->notified, UP_NOTIFY_PRE_RECOVERY | UP_NOTIFY_POST_RECOVERY);
	assert_int_equal(lun_find(h->array, ids[1])->notified, 0);
	assert_int_equal(do_break(h, lun), 0);
	assert_int_equal(lun->notified, 0);
}

TEST(what_is_gone_is_neither_broken_nor_marked)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];
	struct lun *lun;

	make_kept(h, ids);
	lun = lun_find(h->array, ids[0]);
	lun_hold(lun);
	assert_int_equal(do_delete(h, lun), 0);
	assert_int_equal(do_break(h, lun), -ENODEV);
	assert_int_equal(do_notify(h, lun, UP_NOTIFY_READ_WRITE), -ENODEV);
	lun_release(lun);
}

TEST(a_hosts_write_to_a_shadow_lun_is_remembered)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];
	struct lun *lun;

	make_kept(h, ids);
	lun = lun_find(h->array, ids[0]);
	assert_int_equal(do_notify(h, lun, UP_NOTIFY_PRE_RECOVERY), 0);
	assert_int_equal(do_read(h, lun, 3), 0x11);
	assert_int_equal(lun->notified, UP_NOTIFY_PRE_RECOVERY); /* reading is none */
	assert_int_equal(do_write(h, lun, 5, 0x33), 0);
	assert_int_equal(do_write(h, lun, 6, 0x33), 0);
	make_lun(h, "later", MIB); /* no write waits for its note, but changes are made in their order */
	for (int i = 0; i < 2; i++) {
		lun = lun_find(h->array, ids[0]);
		assert_int_equal(lun->notified, UP_NOTIFY_PRE_RECOVERY | UP_NOTED_WRITTEN);
		assert_int_equal(lun_find(h->array, ids[1])->notified, 0);
		assert_int_equal(lun_find_name(h->array, "a")->notified, 0);
		harness_reopen(h);
	}
	lun = lun_find(h->array, ids[0]);
	assert_int_equal(do_notify(h, lun, UP_NOTED_WRITTEN), -EINVAL); /* no host can say so */
	assert_int_equal(do_break(h, lun), 0);
	assert_int_equal(do_write(h, lun, 5, 0x44), 0);
	assert_int_equal(lun->notified, 0);
}

#ifndef HARNESS_POOL
/* A mark that cannot be made, for the catalogue fails, is made at the next write. */
TEST(a_mark_that_failed_is_tried_again)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];

	make_kept(h, ids);
	struct lun *lun = lun_find(h->array, ids[1]);
	memstore_fail(h->memory, 1, -ENOSPC, false);
	(void)do_write(h, lun, 5, 0x33);
	assert_int_equal(lun->notified, 0);
	assert_int_equal(do_write(h, lun, 6, 0x33), 0);
	assert_int_equal(lun->notified, UP_NOTED_WRITTEN);
}
#endif

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(a_broken_lun_is_ordinary),
		t(what_is_not_kept_is_not_broken),
		t(a_broken_lun_may_be_an_original),
		t(notifications_are_ored_and_stay),
		t(what_is_gone_is_neither_broken_nor_marked),
		t(a_hosts_write_to_a_shadow_lun_is_remembered),
#ifndef HARNESS_POOL
		t(a_mark_that_failed_is_tried_again),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
