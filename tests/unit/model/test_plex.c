/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plex copies: made like differential ones, then hydrated from keep on until they share nothing with their
 * original, whatever happens to either meanwhile.
 */
#include <stdio.h>
#include "tests/unit/model/harness.h"

#define COPIES 4
#define MANY   40

/* A set of `count` copies of LUNs of its own, committed. */
static void make_committed(
	struct harness *h, unsigned set, unsigned count, enum up_copy_kind kind, uint8_t (*ids)[UP_ID_BYTES])
{
	char name[16];

	assert_int_equal(set_begin(h->array, set_id(set), "", NULL), 0);
	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "l%u-%u", set, i);
		struct lun *l = make_lun(h, name, MIB);
		assert_int_equal(do_write(h, l, 3, 0x11), 0);
		for (unsigned chunk = 1; chunk < 16; chunk++) /* enough to take time */
			assert_int_equal(do_write(h, l, chunk * 128, 0x12), 0);
		assert_int_equal(set_add(h->array, set_id(set), "", l, kind, ids[i], NULL), 0);
	}
	assert_int_equal(do_arm(h, set_id(set), ""), 0);
	assert_int_equal(do_commit(h, set_id(set), "", 0), 0);
}

static enum lun_hydration state_of(struct harness *h, const uint8_t id[UP_ID_BYTES])
{
	return lun_find(h->array, id)->hydration;
}

static void until(struct harness *h, const uint8_t id[UP_ID_BYTES], enum lun_hydration state)
{
	for (int i = 0; state_of(h, id) != state && i < 5000; i++)
		harness_advance(h, 1);
	assert_int_equal(state_of(h, id), state);
}

static int do_break(struct harness *h, struct lun *lun)
{
	struct waiter w;

	lun_break(lun, 0, waiter_init(&w));
	return waiter_wait(h, &w);
}

TEST(a_plex_copy_becomes_full_after_keep)
{
	struct harness *h = *state;
	uint8_t ids[1][UP_ID_BYTES];
	struct lun *copy;

	make_committed(h, 1, 1, UP_COPY_PLEX, ids);
	harness_advance(h, TICKS(20));
	copy = lun_find(h->array, ids[0]);
	assert_int_equal(copy->copy_kind, UP_COPY_PLEX);
	assert_int_equal(copy->hydration, LUN_HYDRATION_RUNS);
	assert_int_equal(lun_full_percent(copy), 0); /* not kept: not begun */
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	assert_int_equal(do_write(h, copy, 4, 0x44), 0);
	until(h, ids[0], LUN_HYDRATION_FULL);
	assert_int_equal(lun_full_percent(copy), 100);
	/* the original may go; a restart remembers */
	assert_int_equal(do_delete(h, lun_find_name(h->array, "l1-0")), 0);
	harness_reopen(h);
	copy = lun_find(h->array, ids[0]);
	assert_int_equal(copy->hydration, LUN_HYDRATION_FULL);
	assert_int_equal(copy->copy_kind, UP_COPY_PLEX);
	assert_int_equal(do_read(h, copy, 3), 0x11);
	assert_int_equal(do_read(h, copy, 4), 0x44);
	assert_int_equal(do_break(h, copy), 0);
	assert_int_equal(copy->hydration, LUN_HYDRATION_NONE);
}

struct room {
	struct array_room_listener listener;
	uint64_t taken;
};

static void taken(struct array_room_listener *l, uint64_t bytes)
{
	container_of(l, struct room, listener)->taken += bytes;
}

TEST(what_a_plex_copy_takes_is_told)
{
	struct harness *h = *state;
	struct room room = {.listener.taken = taken};
	uint8_t ids[2][UP_ID_BYTES];

	make_committed(h, 1, 2, UP_COPY_PLEX, ids);
	array_room_listen(h->array, &room.listener);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	until(h, ids[0], LUN_HYDRATION_FULL);
	until(h, ids[1], LUN_HYDRATION_FULL);
	array_room_unlisten(&room.listener);
	assert_int_equal(room.taken, 2 * MIB);
}

TEST(sets_may_be_mixed_and_options_choose)
{
	struct harness *h = *state;
	struct lun *l[3] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB), make_lun(h, "c", MIB)};
	uint8_t ids[3][UP_ID_BYTES], again[UP_ID_BYTES];
	static const enum up_copy_kind kinds[] = {UP_COPY_PLEX, UP_COPY_DIFFERENTIAL, UP_COPY_DEFAULT};
	struct fault fault;

	for (unsigned round = 0; round < 2; round++) {
		enum up_copy_kind standard = round ? UP_COPY_PLEX : UP_COPY_DIFFERENTIAL;

		assert_int_equal(set_begin(h->array, set_id(round), "", NULL), 0);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(
				set_add(h->array, set_id(round), "", l[i], kinds[i], ids[i], NULL), 0);
		assert_int_equal(set_add(h->array, set_id(round), "", l[0], UP_COPY_DEFAULT, again, NULL), 0);
		assert_memory_equal(again, ids[0], UP_ID_BYTES);
		assert_int_equal(
			set_add(h->array, set_id(round), "", l[0], UP_COPY_DIFFERENTIAL, again, &fault),
			-EBADFD);
		assert_int_equal(set_add(h->array, set_id(round), "", l[0], 7, again, &fault), -EBADFD);
		assert_int_equal(do_arm(h, set_id(round), ""), 0);
		assert_int_equal(do_commit(h, set_id(round), "", 0), 0);
		assert_int_equal(do_keep(h, set_id(round), ""), 0);
		assert_int_equal(lun_find(h->array, ids[0])->copy_kind, UP_COPY_PLEX);
		assert_int_equal(lun_find(h->array, ids[1])->copy_kind, UP_COPY_DIFFERENTIAL);
		assert_int_equal(state_of(h, ids[1]), LUN_HYDRATION_NONE);
		assert_int_equal(lun_find(h->array, ids[2])->copy_kind, standard);
		until(h, ids[0], LUN_HYDRATION_FULL);
		harness_close(h);
		h->options.copy_kind = UP_COPY_PLEX;
		harness_open(h);
		assert_int_equal(lun_find(h->array, ids[2])->copy_kind, standard);
		l[0] = lun_find_name(h->array, "a");
		l[1] = lun_find_name(h->array, "b");
		l[2] = lun_find_name(h->array, "c");
	}
}

/* Deleted, aborted, broken, or resynced to while it is being hydrated. */
TEST(what_changes_a_hydrating_lun_waits_for_it)
{
	struct harness *h = *state;
	uint8_t ids[3][UP_ID_BYTES];
	struct lun *copy, *broken;
	struct waiter w;

#ifndef HARNESS_POOL
	memstore_timing(h->memory, MEMSTORE_HYDRATE, MEMSTORE_TIMED, 50);
#else
	harness_close(h);
	h->options.hydrate_bytes_per_s = 65536;
	harness_open(h);
#endif
	make_committed(h, 1, 3, UP_COPY_PLEX, ids);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	harness_advance(h, TICKS(10));
	assert_int_equal(do_delete(h, lun_find(h->array, ids[0])), 0);
	assert_null(lun_find(h->array, ids[0]));
	/* the original of one that hydrates */
	assert_int_equal(do_delete(h, lun_find_name(h->array, "l1-2")), 0);
	/* break goes on hydrating */
	broken = lun_find(h->array, ids[1]);
	assert_int_equal(do_break(h, broken), 0);
	assert_int_equal(broken->hydration, LUN_HYDRATION_RUNS);
	/* a resync of it ends that: it has other data then */
	copy = lun_find(h->array, ids[2]);
	lun_resync_start(h->array, "", copy, broken, 0, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	until(h, ids[1], LUN_HYDRATION_NONE);
	assert_int_equal(copy->hydration, LUN_HYDRATION_RUNS);
	assert_int_equal(do_read(h, broken, 3), 0x11);
	/* the administrator's deletion of all */
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	assert_null(lun_find(h->array, ids[2]));
	harness_reopen(h);
	assert_int_equal(do_read(h, lun_find(h->array, ids[1]), 3), 0x11);
}

#ifndef HARNESS_POOL

static unsigned hydrating(struct harness *h)
{
	return memstore_pending_kind(h->memory, MEMSTORE_HYDRATE);
}

/* How many are not full. */
static unsigned left(struct harness *h, uint8_t (*ids)[UP_ID_BYTES])
{
	unsigned count = 0;

	for (unsigned i = 0; i < MANY; i++)
		count += state_of(h, ids[i]) != LUN_HYDRATION_FULL;
	return count;
}

TEST(hydrations_wait_for_each_other)
{
	struct harness *h = *state;
	uint8_t ids[COPIES][UP_ID_BYTES];

	memstore_timing(h->memory, MEMSTORE_HYDRATE, MEMSTORE_MANUAL, 0);
	make_committed(h, 1, COPIES, UP_COPY_PLEX, ids);
	harness_advance(h, 10);
	assert_int_equal(hydrating(h), 0);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	harness_advance(h, 10);
	assert_int_equal(hydrating(h), 2);
	for (unsigned i = 0; i < 2; i++)
		assert_true(memstore_complete_kind(h->memory, MEMSTORE_HYDRATE));
	assert_true(lun_full_percent(lun_find(h->array, ids[0])) >= 20);
	assert_true(lun_full_percent(lun_find(h->array, ids[0])) < 50);
	for (unsigned i = 0; i < COPIES; i++) {
		for (unsigned j = 0; j < 100 && state_of(h, ids[i]) != LUN_HYDRATION_FULL; j++) {
			memstore_complete_kind(h->memory, MEMSTORE_HYDRATE);
			harness_advance(h, 1);
		}
		assert_int_equal(state_of(h, ids[i]), LUN_HYDRATION_FULL);
		assert_true(hydrating(h) <= 2);
		assert_false(memstore_shares(lun_find(h->array, ids[i])->disk));
	}
}

/* …but for those that hang: each has another one in its place. When they go on none begins before as few are left as may be. */
TEST(hydrations_do_not_wait_for_those_that_hang)
{
	struct harness *h = *state;
	uint8_t ids[MANY][UP_ID_BYTES];

	memstore_timing(h->memory, MEMSTORE_HYDRATE, MEMSTORE_MANUAL, 0);
	make_committed(h, 1, MANY, UP_COPY_PLEX, ids);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	harness_advance(h, 5000);
	assert_int_equal(hydrating(h), 2);
	for (unsigned i = 0; i < 2; i++)
		memstore_hydration_hangs(lun_find(h->array, ids[i])->disk, true);
	harness_advance(h, 5000);
	assert_int_equal(hydrating(h), 4);
	for (unsigned i = 2; i < MANY; i++)
		memstore_hydration_hangs(lun_find(h->array, ids[i])->disk, true);
	harness_advance(h, 5000);
	assert_int_equal(hydrating(h), 32);
	for (unsigned i = 0; i < MANY; i++)
		memstore_hydration_hangs(lun_find(h->array, ids[i])->disk, false);
	for (unsigned full = 0, before; full < MANY; full = MANY - left(h, ids)) {
		before = hydrating(h);
		assert_true(memstore_complete_kind(h->memory, MEMSTORE_HYDRATE));
		harness_advance(h, 1000);
		assert_true(hydrating(h) <= before);
	}
}

/* A resync to a broken, hydrating LUN that is cancelled while it waits for the hydration's end. */
TEST(a_cancelled_resync_lets_it_go_on)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];
	struct lun *broken;
	struct waiter w;

	memstore_timing(h->memory, MEMSTORE_HYDRATE, MEMSTORE_MANUAL, 0);
	make_committed(h, 1, 2, UP_COPY_PLEX, ids);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	harness_advance(h, 10);
	broken = lun_find(h->array, ids[0]);
	assert_int_equal(do_break(h, broken), 0);
	lun_resync_start(h->array, "", lun_find(h->array, ids[1]), broken, 0, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_true(broken->resyncing);
	assert_int_equal(lun_resync_cancel(h->array, "", w.call.job, NULL), 0);
	assert_false(broken->resyncing);
	for (unsigned i = 0; i < 30; i++) {
		memstore_complete_kind(h->memory, MEMSTORE_HYDRATE);
		harness_advance(h, 1);
	}
	assert_int_equal(broken->hydration, LUN_HYDRATION_NONE);
	assert_false(memstore_shares(broken->disk));
	assert_int_equal(state_of(h, ids[1]), LUN_HYDRATION_FULL);
}

/* Closed, or without power, with two under way: they go on. */
TEST(hydrations_outlive_restarts)
{
	struct harness *h = *state;
	uint8_t ids[COPIES][UP_ID_BYTES];

	memstore_timing(h->memory, MEMSTORE_HYDRATE, MEMSTORE_TIMED, 10);
	make_committed(h, 1, COPIES, UP_COPY_PLEX, ids);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	assert_int_equal(do_break(h, lun_find(h->array, ids[COPIES - 1])), 0);
	for (unsigned i = 0; i < 2; i++) {
		harness_advance(h, 15);
		assert_int_equal(hydrating(h), 2);
		if (i == 0) {
			harness_reopen(h);
		} else {
			memstore_crash(h->memory, 0);
			array_close(h->array);
			harness_open(h);
		}
		for (unsigned j = 0; j < COPIES; j++)
			assert_int_equal(state_of(h, ids[j]), LUN_HYDRATION_RUNS);
	}
	for (unsigned j = 0; j < COPIES - 1; j++)
		until(h, ids[j], LUN_HYDRATION_FULL);
	until(h, ids[COPIES - 1], LUN_HYDRATION_NONE);
	assert_false(memstore_shares(lun_find(h->array, ids[COPIES - 1])->disk));
	harness_reopen(h);
	assert_int_equal(state_of(h, ids[0]), LUN_HYDRATION_FULL);
	assert_int_equal(state_of(h, ids[COPIES - 1]), LUN_HYDRATION_NONE);
}

TEST(a_failed_hydration_is_tried_again)
{
	struct harness *h = *state;
	uint8_t ids[1][UP_ID_BYTES];

	make_committed(h, 1, 1, UP_COPY_PLEX, ids);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	for (unsigned i = 0; i < 3; i++) {
		memstore_fail(h->memory, 2, -ENOSPC, false);
		harness_advance(h, i ? 60000 : 10);
		assert_true(memstore_failed(h->memory));
		assert_int_equal(state_of(h, ids[0]), LUN_HYDRATION_WAITS);
	}
	assert_int_equal(events_with(h, "independent"), 1); /* not every minute */
	harness_advance(h, 50000);
	assert_int_equal(state_of(h, ids[0]), LUN_HYDRATION_WAITS);
	harness_advance(h, 20000);
	assert_int_equal(state_of(h, ids[0]), LUN_HYDRATION_FULL);
	assert_int_equal(events_with(h, "shares nothing"), 1);
}

/* Whatever call fails: a deletion that fails leaves it hydrating, and in the end it is full. */
TEST(any_call_fails_once)
{
	for (unsigned n = 1;; n++) {
		struct harness *h;
		uint8_t ids[1][UP_ID_BYTES];

		assert_int_equal(harness_setup(state), 0);
		h = *state;
		memstore_timing(h->memory, MEMSTORE_HYDRATE, MEMSTORE_TIMED, 5);
		make_committed(h, 1, 1, UP_COPY_PLEX, ids);
		memstore_fail(h->memory, n, -EIO, false);
		int err = do_keep(h, set_id(1), "");
		harness_advance(h, 1);
		if (!err)
			err = do_delete(h, lun_find(h->array, ids[0]));
		else
			assert_int_equal(do_keep(h, set_id(1), ""), 0);
		bool failed = memstore_failed(h->memory);
		memstore_fail(h->memory, 0, 0, false);
		if (err) {
			harness_advance(h, 70000);
			assert_int_equal(state_of(h, ids[0]), LUN_HYDRATION_FULL);
			assert_int_equal(do_delete(h, lun_find(h->array, ids[0])), 0);
		}
		assert_int_equal(do_delete(h, lun_find_name(h->array, "l1-0")), 0);
		assert_int_equal(memstore_disks(h->memory), 0);
		harness_teardown(state);
		if (!failed)
			break;
	}
}

TEST(a_store_that_cannot_says_so)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	const struct store_ops *ops = h->store->ops;
	struct store_ops poor = *ops;
	uint8_t id[UP_ID_BYTES];
	struct fault fault;
	struct waiter w;

	poor.hydrate = NULL;
	poor.txn_disk_repoint = NULL;
	h->store->ops = &poor;
	assert_int_equal(set_begin(h->array, set_id(1), "", NULL), 0);
	assert_int_equal(set_add(h->array, set_id(1), "", l, UP_COPY_PLEX, id, &fault), -ENOTSUP);
	assert_int_equal(set_add(h->array, set_id(1), "", l, UP_COPY_DEFAULT, id, &fault), 0);
	lun_resync_start(h->array, "", l, l, 0, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -ENOTSUP);
	h->store->ops = ops;
}

static bool always_deep(const struct store_disk *d)
{
	(void)d;
	return true;
}

/* In the place of the store's own, from which it differs by that alone. */
static void deepen(struct harness *h, struct store_ops *ops)
{
	*ops = *h->store->ops;
	ops->copies_deep = always_deep;
	h->store->ops = ops;
}

static void finish_hydration(struct harness *h, const uint8_t id[UP_ID_BYTES])
{
	for (unsigned i = 0; state_of(h, id) != LUN_HYDRATION_NONE && i < 100; i++) {
		memstore_complete_kind(h->memory, MEMSTORE_HYDRATE);
		harness_advance(h, 1);
	}
	assert_int_equal(state_of(h, id), LUN_HYDRATION_NONE);
	assert_false(memstore_shares(lun_find(h->array, id)->disk));
}

/* What a resync, a break or many copies have put behind too many disks; also where the array ends before it is done. */
TEST(an_ordinary_lun_with_too_many_disks_above_it_hydrates)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES], id[UP_ID_BYTES];
	struct store_ops ops;
	struct waiter w;

	deepen(h, &ops);
	memstore_timing(h->memory, MEMSTORE_HYDRATE, MEMSTORE_MANUAL, 0);
	make_committed(h, 1, 2, UP_COPY_DIFFERENTIAL, ids);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	memcpy(id, lun_find_name(h->array, "l1-0")->id, UP_ID_BYTES);
	assert_int_equal(state_of(h, id), LUN_HYDRATION_RUNS); /* known by the cut only */
	finish_hydration(h, id);
	lun_resync_start(
		h->array, "", lun_find(h->array, ids[0]), lun_find(h->array, id), 0, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	harness_advance(h, 10);
	assert_true(memstore_shares(lun_find(h->array, id)->disk));
	assert_int_equal(do_break(h, lun_find(h->array, ids[1])), 0);
	harness_reopen(h);
	assert_int_equal(state_of(h, id), LUN_HYDRATION_RUNS);
	assert_int_equal(state_of(h, ids[1]), LUN_HYDRATION_RUNS);
	assert_int_equal(state_of(h, ids[0]), LUN_HYDRATION_NONE); /* a copy shares what it shares */
	finish_hydration(h, id);
	finish_hydration(h, ids[1]);
	assert_int_equal(do_read(h, lun_find(h->array, id), 3), 0x11);
	harness_reopen(h);
	assert_int_equal(state_of(h, id), LUN_HYDRATION_NONE);
}

/* The end of a hydration waits to be recorded when a resync gives the LUN another disk, which is to hydrate as well. */
TEST(what_is_recorded_is_of_the_disk_that_hydrated)
{
	struct harness *h = *state;
	uint8_t ids[1][UP_ID_BYTES], id[UP_ID_BYTES];
	struct store_ops ops;
	struct waiter other, w;
	struct lun *lun;

	deepen(h, &ops);
	memstore_timing(h->memory, MEMSTORE_HYDRATE, MEMSTORE_MANUAL, 0);
	make_committed(h, 1, 1, UP_COPY_DIFFERENTIAL, ids);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	lun = lun_find_name(h->array, "l1-0");
	memcpy(id, lun->id, UP_ID_BYTES);
	harness_advance(h, 1);
	assert_int_equal(hydrating(h), 1);
	memstore_timing(h->memory, MEMSTORE_TXN, MEMSTORE_MANUAL, 0);
	lun_rename(lun_find(h->array, ids[0]), "other", waiter_init(&other));
	lun_resync_start(h->array, "", lun_find(h->array, ids[0]), lun, 0, waiter_init(&w));
	for (unsigned i = 0; hydrating(h) && i < 100; i++) {
		memstore_complete_kind(h->memory, MEMSTORE_HYDRATE);
		harness_advance(h, 1);
	}
	assert_int_equal(hydrating(h), 0);
	assert_int_equal(lun->hydration, LUN_HYDRATION_RUNS); /* not recorded yet */
	memstore_timing(h->memory, MEMSTORE_TXN, MEMSTORE_INLINE, 0);
	memstore_complete_kind(h->memory, MEMSTORE_TXN);
	harness_advance(h, 10);
	assert_int_equal(waiter_wait(h, &other), 0);
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_true(memstore_shares(lun_find(h->array, id)->disk));
	finish_hydration(h, id);
}

#endif

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(a_plex_copy_becomes_full_after_keep),
		t(what_a_plex_copy_takes_is_told),
		t(sets_may_be_mixed_and_options_choose),
		t(what_changes_a_hydrating_lun_waits_for_it),
#ifndef HARNESS_POOL
		t(hydrations_wait_for_each_other),
		t(hydrations_do_not_wait_for_those_that_hang),
		t(hydrations_outlive_restarts),
		t(a_cancelled_resync_lets_it_go_on),
		t(a_failed_hydration_is_tried_again),
		cmocka_unit_test(any_call_fails_once),
		t(a_store_that_cannot_says_so),
		t(an_ordinary_lun_with_too_many_disks_above_it_hydrates),
		t(what_is_recorded_is_of_the_disk_that_hydrated),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
