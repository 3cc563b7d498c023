/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arming, and the room that a host's set holds in the store: refused when there is none, waited for, given back
 * however the set ends, there again after a restart. Over the pool: the story of a pool that becomes full while VSS
 * makes a shadow copy.
 */
#include <stdio.h>
#include <unistd.h>
#include "tests/unit/model/harness.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"
#define IQN_B "iqn.1991-05.com.microsoft:b"

#ifndef HARNESS_RBD
static void begin_and_add(
	struct harness *h, const uint8_t *set, const char *owner, struct lun **l, unsigned count)
{
	uint8_t id[UP_ID_BYTES];

	assert_int_equal(set_begin(h->array, set, owner, NULL), 0);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(set_add(h->array, set, owner, l[i], UP_COPY_DIFFERENTIAL, id, NULL), 0);
}
#endif

#ifndef HARNESS_POOL

static unsigned held(struct harness *h)
{
	return memstore_reserved(h->memory);
}

static void short_lease(struct harness *h, unsigned lease_ms)
{
	harness_close(h);
	h->options.lease_ms = lease_ms;
	harness_open(h);
}

TEST(room_goes_back_however_the_set_ends)
{
	struct harness *h = *state;
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};

	short_lease(h, 5000);
	l[0] = lun_find_name(h->array, "a");
	l[1] = lun_find_name(h->array, "b");
	/* Aborted: before the commit, after it. */
	make_armed(h, set_id(1), IQN_A, l, 2, NULL);
	assert_int_equal(held(h), 2);
	assert_int_equal(do_arm(h, set_id(1), IQN_A), 0); /* again */
	assert_int_equal(held(h), 2);
	assert_int_equal(do_abort(h, set_id(1), IQN_A), 0);
	assert_int_equal(held(h), 0);
	make_armed(h, set_id(2), IQN_A, l, 2, NULL);
	assert_int_equal(do_commit(h, set_id(2), IQN_A, 0), 0);
	assert_int_equal(held(h), 2);
	assert_int_equal(do_abort(h, set_id(2), IQN_A), 0);
	assert_int_equal(held(h), 0);
	/* By the end of its lease. */
	make_armed(h, set_id(3), IQN_A, l, 1, NULL);
	assert_int_equal(held(h), 1);
	harness_advance(h, 6000);
	assert_int_equal(set_state(h, set_id(3)), UP_SET_ABORTED);
	assert_int_equal(held(h), 0);
	/* Kept: one more lease. */
	make_armed(h, set_id(4), IQN_A, l, 2, NULL);
	assert_int_equal(do_commit(h, set_id(4), IQN_A, 0), 0);
	harness_advance(h, 4000);
	assert_int_equal(do_keep(h, set_id(4), IQN_A), 0);
	harness_advance(h, 4500);
	assert_int_equal(held(h), 2);
	harness_advance(h, 1000);
	assert_int_equal(held(h), 0);
	/* Kept and deleted before that; the original goes first. */
	make_armed(h, set_id(5), IQN_A, l, 2, NULL);
	assert_int_equal(do_commit(h, set_id(5), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(5), IQN_A), 0);
	assert_int_equal(do_delete(h, l[1]), 0);
	assert_int_equal(do_set_delete(h, set_id(5)), 0);
	assert_int_equal(held(h), 0);
	/* The administrator's needs none. */
	make_armed(h, set_id(6), "", l, 1, NULL);
	assert_int_equal(held(h), 0);
	assert_int_equal(do_commit(h, set_id(6), "", 0), 0);
	/* A commit that fails. */
	make_armed(h, set_id(7), IQN_A, l, 1, NULL);
	memstore_timing(h->memory, MEMSTORE_CUT_COMMIT, MEMSTORE_TIMED, 100);
	assert_int_equal(do_commit(h, set_id(7), IQN_A, 50), -ETIME);
	assert_int_equal(held(h), 1); /* it may have become durable all the same */
	harness_advance(h, 200);
	memstore_timing(h->memory, MEMSTORE_CUT_COMMIT, MEMSTORE_INLINE, 0);
	harness_advance(h, 3000);
	assert_int_equal(held(h), 0);
}

TEST(without_room_it_is_refused)
{
	struct harness *h = *state;
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};
	const struct array_event *e, *last = NULL;
	struct waiter w;

	memstore_reserve_room(h->memory, 1);
	begin_and_add(h, set_id(1), IQN_A, l, 2);
	set_arm(h->array, set_id(1), IQN_A, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -ENOSPC);
	assert_non_null(strstr(w.call.fault.text, "no room"));
	for (e = array_event_after(h->array, 0); e; e = array_event_after(h->array, e->serial))
		last = e;
	assert_int_equal(last->level, ARRAY_EVENT_WARNING);
	assert_non_null(strstr(last->text, "no room"));
	assert_int_equal(set_state(h, set_id(1)), UP_SET_PREPARING);
	assert_int_equal(held(h), 0);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), -EBADFD);
	/* Others may be made; and it goes on when there is room. */
	make_armed(h, set_id(2), IQN_A, l, 1, NULL);
	make_armed(h, set_id(3), "", l, 2, NULL);
	memstore_reserve_room(h->memory, 3);
	assert_int_equal(do_arm(h, set_id(1), IQN_A), 0);
	assert_int_equal(held(h), 3);
	assert_int_equal(do_abort(h, set_id(1), IQN_A), 0);
	assert_int_equal(do_abort(h, set_id(2), IQN_A), 0);
	assert_int_equal(held(h), 0);
}

TEST(arm_waits_for_room)
{
	struct harness *h = *state;
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};
	struct waiter w[2];
	uint8_t id[UP_ID_BYTES];

	memstore_timing(h->memory, MEMSTORE_RESERVE, MEMSTORE_MANUAL, 0);
	for (unsigned end = 0; end < 5; end++) {
		const uint8_t *set = set_id(10 + end);

		begin_and_add(h, set, IQN_A, l, 1);
		for (unsigned i = 0; i < 2; i++)
			set_arm(h->array, set, IQN_A, waiter_init(&w[i]));
		assert_int_equal(memstore_pending(h->memory), 1);
		assert_false(w[0].done || w[1].done);
		assert_int_equal(set_state(h, set), UP_SET_PREPARING);
		assert_int_equal(do_commit(h, set, IQN_A, 0), -EBADFD);
		assert_int_equal(set_add(h->array, set, IQN_A, l[1], UP_COPY_DIFFERENTIAL, id, NULL), -EBUSY);
		if (end == 0) {
			memstore_complete_all(h->memory);
			assert_int_equal(waiter_wait(h, &w[0]), 0);
			assert_int_equal(waiter_wait(h, &w[1]), 0);
			assert_int_equal(set_state(h, set), UP_SET_ARMED);
			assert_int_equal(held(h), 1);
			assert_int_equal(do_abort(h, set, IQN_A), 0);
		} else if (end == 1) {
			assert_int_equal(do_abort(h, set, IQN_A), 0);
		} else if (end == 2) {
			harness_advance(h, 9900); /* it is asked again, before and after the answer */
			assert_false(w[0].done);
			harness_advance(h, 200);
			assert_int_equal(waiter_wait(h, &w[0]), -EBUSY);
			assert_int_equal(waiter_wait(h, &w[1]), -EBUSY);
			assert_int_equal(set_state(h, set), UP_SET_PREPARING);
			memstore_complete_all(h->memory);
			assert_int_equal(held(h), 0);
			set_arm(h->array, set, IQN_A, waiter_init(&w[0]));
			memstore_complete_all(h->memory);
			assert_int_equal(waiter_wait(h, &w[0]), 0);
			assert_int_equal(do_abort(h, set, IQN_A), 0);
		} else if (end == 3) {
			h->options.lease_ms = 5000;
			harness_reopen(h);
			l[0] = lun_find_name(h->array, "a");
			l[1] = lun_find_name(h->array, "b");
			begin_and_add(h, set, IQN_A, l, 1);
			for (unsigned i = 0; i < 2; i++)
				set_arm(h->array, set, IQN_A, waiter_init(&w[i]));
			harness_advance(h, 5100);
		}
		if (end == 1 || end == 3) {
			assert_int_equal(set_state(h, set), UP_SET_ABORTED);
			assert_int_equal(waiter_wait(h, &w[0]), -ECANCELED);
			assert_int_equal(waiter_wait(h, &w[1]), -ECANCELED);
			memstore_complete_all(h->memory);
		}
		if (end < 4)
			assert_int_equal(held(h), 0);
	}
	/* The array is closed: nobody is told. */
	harness_reopen(h);
	assert_false(w[0].done || w[1].done);
	assert_int_equal(held(h), 0);
}

TEST(a_restart_asks_again)
{
	struct harness *h = *state;
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};

	make_armed(h, set_id(1), IQN_A, l, 2, NULL);
	make_armed(h, set_id(2), IQN_A, l, 2, NULL);
	make_armed(h, set_id(3), "", l, 2, NULL);
	for (unsigned i = 2; i <= 3; i++)
		assert_int_equal(do_commit(h, set_id(i), i == 2 ? IQN_A : "", 0), 0);
	harness_reopen(h);
	assert_int_equal(held(h), 2); /* of what was committed by the host */
	assert_int_equal(do_keep(h, set_id(2), IQN_A), 0);
	harness_reopen(h);
	assert_int_equal(held(h), 2);
	l[0] = lun_find_name(h->array, "a");
	assert_int_equal(do_abort(h, set_id(3), ""), 0);
	assert_int_equal(do_delete(h, l[0]), 0);
	harness_close(h);
	memstore_reserve_room(h->memory, 0); /* less will do */
	harness_open(h);
	assert_int_equal(held(h), 0);
	harness_close(h);
	memstore_reserve_room(h->memory, 9);
	harness_open(h);
	assert_int_equal(held(h), 1);
	harness_advance(h, 601000);
	assert_int_equal(held(h), 0);
	/* One that was made long ago. */
	harness_close(h);
	h->options.lease_ms = 1;
	usleep(5000);
	harness_open(h);
	assert_int_equal(held(h), 0);
}

static int take(struct harness *h, const char *owner, struct lun **l, unsigned count)
{
	struct set_order order = {.owner = owner, .luns = l, .lun_count = count, .keep = true};
	struct set_taking taking;
	struct waiter w;

	memcpy(taking.set_id, set_id(7), UP_ID_BYTES);
	set_take(h->array, &taking, &order, waiter_init(&w));
	return waiter_wait(h, &w);
}

TEST(disks_are_ready_before_the_gates_close)
{
	struct harness *h = *state;
	struct lun *l[2];
	struct waiter w;

	make_lun(h, "a", MIB);
	make_lun(h, "b", MIB);
	memstore_open_lazily(h->memory);
	for (unsigned who = 0; who < 4; who++) {
		const char *owner = who & 1 ? IQN_A : "";

		harness_reopen(h);
		l[0] = lun_find_name(h->array, "a");
		l[1] = lun_find_name(h->array, "b");
		if (who < 2) {
			make_armed(h, set_id(who), owner, l, 2, NULL);
			assert_int_equal(held(h), who == 1 ? 2 : 0);
			assert_int_equal(do_commit(h, set_id(who), owner, 0), 0);
			assert_int_equal(do_abort(h, set_id(who), owner), 0);
		} else {
			assert_int_equal(take(h, owner, l, 2), 0);
			assert_int_equal(held(h), 0);
			assert_int_equal(do_set_delete(h, set_id(7)), 0);
		}
		assert_int_equal(memstore_opened_in_cuts(h->memory), 0);
	}
	harness_reopen(h);
	l[0] = lun_find_name(h->array, "a");
	/* No room is asked for, and a disk that cannot be made ready is told of before the commit. */
	memstore_reserve_room(h->memory, 0);
	assert_int_equal(take(h, "", l, 1), 0);
	begin_and_add(h, set_id(8), "", l, 1);
	memstore_fail(h->memory, 1, -EIO, false);
	set_arm(h->array, set_id(8), "", waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -EIO);
	assert_int_equal(set_state(h, set_id(8)), UP_SET_PREPARING);
	assert_int_equal(do_arm(h, set_id(8), ""), 0);
	assert_int_equal(do_abort(h, set_id(8), ""), 0);
}

#elif !defined(HARNESS_RBD) /* Ceph sets no room aside: ceph-full and ceph-quota show what is told there */

/* The last chunk begins at block 1920 of 2048. */
static void write_ends(struct harness *h, struct lun *l, uint8_t byte, int want)
{
	assert_int_equal(do_write(h, l, 1, byte), want);
	assert_int_equal(do_write(h, l, 2047, byte), want);
}

static void fill(struct harness *h)
{
	struct lun *filler = lun_find_name(h->array, "filler");
	unsigned chunk = 0;

	while (do_write(h, filler, chunk * 128, 0xF1) == 0)
		assert_true(++chunk < 256);
}

TEST(a_pool_becomes_full_meanwhile)
{
	struct harness *h = *state;
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};
	uint8_t ids[2][UP_ID_BYTES];

	make_lun(h, "filler", 16 * MIB);
	for (unsigned i = 0; i < 2; i++)
		write_ends(h, l[i], 0x11, 0);
	make_armed(h, set_id(1), "", l, 2, NULL);
	assert_int_equal(do_commit(h, set_id(1), "", 0), 0);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	make_armed(h, set_id(2), IQN_A, l, 2, ids);
	fill(h);
	assert_int_equal(do_write(h, l[0], 1000, 0x22), -ENOSPC);
	for (unsigned i = 0; i < 2; i++) /* the flags are set */
		write_ends(h, l[i], 0x22, 0);
	assert_int_equal(do_commit(h, set_id(2), IQN_A, 0), 0);
	assert_int_equal(do_write(h, l[0], 1000, 0x33), -ENOSPC);
	write_ends(h, l[0], 0x33, 0); /* and cleared: of the first LUN */
	assert_int_equal(do_read(h, lun_find(h->array, ids[0]), 2047), 0x22);
	write_ends(h, lun_find(h->array, ids[0]), 0x44, 0); /* imported: another identity */
	harness_reopen(h); /* as after a crash: nothing else is asked of the store */
	l[1] = lun_find_name(h->array, "b");
	fill(h);
	assert_int_equal(do_keep(h, set_id(2), IQN_A), 0);
	write_ends(h, l[1], 0x33, 0); /* of the second */
	assert_int_equal(do_read(h, lun_find(h->array, ids[1]), 2047), 0x22);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(do_write(h, lun_find(h->array, ids[i]), 1000, 0x44), -ENOSPC);
		write_ends(h, lun_find(h->array, ids[i]), 0x44, 0);
		assert_int_equal(do_read(h, lun_find(h->array, ids[i]), 2047), 0x44);
		l[i] = lun_find_name(h->array, i ? "b" : "a");
		assert_int_equal(do_read(h, l[i], 1), 0x33);
		assert_int_equal(do_read(h, l[i], 2047), 0x33);
	}
	/* Now there is nothing to set aside: refused before anything was cut. */
	fill(h);
	begin_and_add(h, set_id(3), IQN_A, l, 2);
	assert_int_equal(do_arm(h, set_id(3), IQN_A), -ENOSPC);
	assert_int_equal(do_abort(h, set_id(3), IQN_A), 0);
	assert_int_equal(do_delete(h, lun_find_name(h->array, "filler")), 0);
	begin_and_add(h, set_id(4), IQN_A, l, 2);
	assert_int_equal(do_arm(h, set_id(4), IQN_A), 0); /* its space is on its way */
	assert_int_equal(do_commit(h, set_id(4), IQN_A, 0), 0);
}

#endif

/* Each would put back the marks of the other's VSS, and the partitions stay hidden. */
TEST(two_hosts_do_not_arm_sets_of_one_lun_at_once)
{
	struct harness *h = *state;
	struct lun *l[2] = {make_lun(h, "l", MIB), make_lun(h, "m", MIB)};
	uint8_t id[UP_ID_BYTES];

	make_host(h, "a", IQN_A);
	make_host(h, "b", IQN_B);
	make_armed(h, set_id(1), IQN_A, l, 2, NULL);
	make_armed(h, set_id(2), IQN_A, &l[1], 1, NULL);
	make_armed(h, set_id(3), "", l, 2, NULL); /* nobody marks anything for the administrator */
	assert_int_equal(set_begin(h->array, set_id(4), IQN_B, NULL), 0);
	assert_int_equal(set_add(h->array, set_id(4), IQN_B, l[1], UP_COPY_DEFAULT, id, NULL), 0);
	assert_int_equal(do_arm(h, set_id(4), IQN_B), -EBUSY);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	assert_int_equal(do_abort(h, set_id(2), IQN_A), 0);
	assert_int_equal(do_arm(h, set_id(4), IQN_B), -EBUSY);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	assert_int_equal(do_arm(h, set_id(4), IQN_B), 0);
	assert_int_equal(do_arm(h, set_id(4), IQN_B), 0); /* again */
	assert_int_equal(do_commit(h, set_id(4), IQN_B, 0), 0);
}

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifndef HARNESS_POOL
		t(room_goes_back_however_the_set_ends),
		t(disks_are_ready_before_the_gates_close),
		t(without_room_it_is_refused),
		t(arm_waits_for_room),
		t(a_restart_asks_again),
#elif !defined(HARNESS_RBD)
		t(a_pool_becomes_full_meanwhile),
#endif
		t(two_hosts_do_not_arm_sets_of_one_lun_at_once),
	};

#ifdef HARNESS_POOL
	harness_pool_mib = 4;
#endif
	return cmocka_run_group_tests(tests, NULL, NULL);
}
