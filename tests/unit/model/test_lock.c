/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locked copy sets: until the lock ends nobody frees or changes the copies, by whatever call, over restarts, wrong
 * clocks, power losses and failing stores; and after it everything is as before.
 */
#include <unistd.h>
#include <xxhash.h>
#include "array/util/bytes.h"
#include "tests/unit/model/harness.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"

#define HOUR_MS UINT64_C(3600000)

static int do_lock_for(struct harness *h, const uint8_t *set, uint64_t ms)
{
	struct waiter w;

	set_lock_for(h->array, set, ms, waiter_init(&w));
	return waiter_wait(h, &w);
}

static int do_lock_until(struct harness *h, const uint8_t *set, uint64_t unix_ms)
{
	struct waiter w;

	set_lock(h->array, set, unix_ms, waiter_init(&w));
	return waiter_wait(h, &w);
}

static int do_break(struct harness *h, struct lun *lun, unsigned flags)
{
	struct waiter w;

	lun_break(lun, flags, waiter_init(&w));
	return waiter_wait(h, &w);
}

static int do_resize(struct harness *h, struct lun *lun, uint64_t size_bytes)
{
	struct waiter w;

	lun_resize(lun, size_bytes, waiter_init(&w));
	return waiter_wait(h, &w);
}

static int do_resync(struct harness *h, struct lun *shadow, struct lun *target)
{
	struct waiter w;

	lun_resync_start(h->array, "", shadow, target, 0, waiter_init(&w));
	int err = waiter_wait(h, &w);
	while (!err && target->resyncing)
		harness_advance(h, 1);
	return err;
}

static int do_purge(struct harness *h, const uint8_t id[UP_ID_BYTES])
{
	struct waiter w;

	lun_purge(h->array, id, waiter_init(&w));
	return waiter_wait(h, &w);
}

/* A kept set of copies of a and b with 0x11 in block 3. */
static void make_kept(struct harness *h, uint8_t (*ids)[UP_ID_BYTES])
{
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(do_write(h, l[i], 3, 0x11), 0);
	make_armed(h, set_id(1), IQN_A, l, 2, ids);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(do_write(h, l[i], 3, 0x22), 0);
}

static struct set_view view(struct harness *h)
{
	struct set_view v;

	set_view_of(set_find(h->array, set_id(1), NULL), &v);
	return v;
}

/* Everything that could free a copy or change it, but for what the store has in its hands. */
static void check_locked(struct harness *h, uint8_t (*ids)[UP_ID_BYTES])
{
	for (unsigned i = 0; i < 2; i++) {
		struct lun *shadow = lun_find(h->array, ids[i]);

		assert_int_equal(do_delete(h, shadow), -EPERM);
		assert_int_equal(do_break(h, shadow, 0), -EPERM);
		assert_int_equal(do_break(h, shadow, LUN_MEND_MARKS), -EPERM);
		assert_int_equal(do_resize(h, shadow, 2 * MIB), -EPERM);
		assert_int_equal(do_resync(h, shadow, lun_find(h->array, ids[1 - i])), -EINVAL);
		assert_int_equal(do_purge(h, ids[i]), -ENOENT);
		assert_int_equal(do_write(h, shadow, 3, 0x33), -EROFS);
		assert_int_equal(do_flush(h, shadow), 0);
	}
	assert_int_equal(do_set_delete(h, set_id(1)), -EPERM);
	assert_int_equal(do_abort(h, set_id(1), IQN_A), -EBADFD);
	assert_int_equal(do_abort(h, set_id(1), ""), -ENOENT);
	assert_int_equal(do_lock_for(h, set_id(1), 1000), -EPERM); /* shorter */
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(do_read(h, lun_find(h->array, ids[i]), 3), 0x11);
	assert_true(view(h).lock_left_ms > 0);
}

static void check_free(struct harness *h, uint8_t (*ids)[UP_ID_BYTES])
{
	assert_int_equal(view(h).lock_unix_ms, 0);
	assert_int_equal(view(h).lock_left_ms, 0);
	assert_int_equal(do_write(h, lun_find(h->array, ids[0]), 3, 0x33), 0);
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
}

TEST(nobody_frees_or_changes_a_locked_copy)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];
	struct host *a = make_host(h, "a", IQN_A);

	make_kept(h, ids);
	assert_int_equal(do_lock_for(h, set_id(1), HOUR_MS), 0);
	check_locked(h, ids);
	/* a host sees it and lets it go */
	assert_int_equal(do_map(h, a, lun_find(h->array, ids[0]), 9), 9);
	check_locked(h, ids);
	assert_int_equal(do_unmap(h, a, lun_find(h->array, ids[0])), 0);
	/* the original is restored from it, and goes */
	assert_int_equal(do_resync(h, lun_find(h->array, ids[0]), lun_find_name(h->array, "a")), 0);
	assert_int_equal(do_read(h, lun_find_name(h->array, "a"), 3), 0x11);
	assert_int_equal(do_delete(h, lun_find_name(h->array, "a")), 0);
	assert_int_equal(do_delete(h, lun_find_name(h->array, "b")), 0);
	check_locked(h, ids);
}

TEST(a_lock_outlives_restarts)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];

	make_kept(h, ids);
	assert_int_equal(do_lock_for(h, set_id(1), HOUR_MS), 0);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t until = view(h).lock_unix_ms;

		harness_reopen(h);
		assert_int_equal(view(h).lock_unix_ms, until);
		check_locked(h, ids);
	}
}

TEST(a_lock_gets_longer_and_never_shorter)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];
	uint64_t until;

	make_kept(h, ids);
	assert_int_equal(do_lock_for(h, set_id(1), HOUR_MS), 0);
	until = view(h).lock_unix_ms;
	assert_int_equal(do_lock_until(h, set_id(1), until - 1), -EPERM);
	assert_int_equal(view(h).lock_unix_ms, until);
	assert_int_equal(do_lock_until(h, set_id(1), until), 0);
	assert_int_equal(do_lock_until(h, set_id(1), until + HOUR_MS), 0);
	assert_int_equal(view(h).lock_unix_ms, until + HOUR_MS);
	harness_reopen(h);
	assert_int_equal(view(h).lock_unix_ms, until + HOUR_MS);
	assert_true(view(h).lock_left_ms > HOUR_MS);
	check_locked(h, ids);
}

TEST(what_cannot_be_locked)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];
	struct lun *l = make_lun(h, "c", MIB);

	make_kept(h, ids);
	assert_int_equal(do_lock_for(h, set_id(2), HOUR_MS), -ENOENT);
	make_armed(h, set_id(2), IQN_A, &l, 1, NULL);
	assert_int_equal(do_lock_for(h, set_id(2), HOUR_MS), -EBADFD);
	assert_int_equal(do_commit(h, set_id(2), IQN_A, 0), 0);
	assert_int_equal(do_lock_for(h, set_id(2), HOUR_MS), -EBADFD);
	assert_int_equal(do_lock_until(h, set_id(1), 1000), -EINVAL);
	assert_int_equal(do_lock_for(h, set_id(1), 24 * 36526 * HOUR_MS), -EINVAL);
	assert_int_equal(do_lock_for(h, set_id(1), UINT64_MAX), -EINVAL);
	assert_int_equal(do_lock_until(h, set_id(1), UINT64_MAX), -EINVAL);
	lun_find(h->array, ids[1])->sanitizing = true;
	assert_int_equal(do_lock_for(h, set_id(1), HOUR_MS), -EBUSY);
	lun_find(h->array, ids[1])->sanitizing = false;
	check_free(h, ids);
}

/* What the host has under way counts as written before the lock; what comes with it, too late. */
TEST(a_write_is_before_the_lock_or_refused)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];
	struct waiter w;

	make_kept(h, ids);
	set_lock_for(h->array, set_id(1), HOUR_MS, waiter_init(&w));
	int err = do_write(h, lun_find(h->array, ids[0]), 3, 0x44);
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_true(err == 0 || err == -EROFS);
	assert_int_equal(do_read(h, lun_find(h->array, ids[0]), 3), err ? 0x11 : 0x44);
	assert_int_equal(do_write(h, lun_find(h->array, ids[0]), 3, 0x55), -EROFS);
}

TEST(hosts_learn_of_the_write_protection)
{
	struct harness *h = *state;
	struct host *a = make_host(h, "a", IQN_A);
	uint8_t ids[2][UP_ID_BYTES];
	struct watcher watcher;

	make_kept(h, ids);
	assert_int_equal(do_map(h, a, lun_find(h->array, ids[0]), 9), 9);
	assert_int_equal(watcher_attach(h, &watcher, IQN_A, true), 0);
	assert_int_equal(do_lock_for(h, set_id(1), HOUR_MS), 0);
	assert_int_equal(watcher.protected, 1); /* it sees one of them */
	assert_int_equal(do_lock_for(h, set_id(1), 2 * HOUR_MS), 0);
	assert_int_equal(watcher.protected, 1);
	watcher_detach(h, &watcher);
}

#ifndef HARNESS_POOL

/* By the simulated clock two hours pass, by the wall clock nothing: a wall clock that is slow or was set back. */
TEST(running_time_alone_ends_no_lock)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];

	make_kept(h, ids);
	assert_int_equal(do_lock_for(h, set_id(1), HOUR_MS), 0);
	harness_advance(h, 2 * HOUR_MS);
	check_locked(h, ids);
	harness_reopen(h);
	check_locked(h, ids);
}

/* The wall clock passes the end while umbrad does not run, as one that is set forward does. */
TEST(a_clock_that_is_ahead_ends_no_lock)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];

	make_kept(h, ids);
	assert_int_equal(do_lock_for(h, set_id(1), 1000), 0);
	harness_close(h);
	usleep(1200000);
	harness_open(h);
	assert_true(view(h).lock_left_ms > 900);
	assert_int_equal(do_set_delete(h, set_id(1)), -EPERM);
	harness_advance(h, 900);
	assert_int_equal(do_set_delete(h, set_id(1)), -EPERM);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_META), 3);
	harness_advance(h, 200);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_META), 2);
	check_free(h, ids);
}

/* What was over before a restart is over after it, whatever the clock says then. */
TEST(a_lock_that_has_ended_stays_ended)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];

	make_kept(h, ids);
	assert_int_equal(do_lock_for(h, set_id(1), 1000), 0);
	usleep(1200000);
	harness_advance(h, 1100);
	assert_int_equal(view(h).lock_unix_ms, 0);
	harness_reopen(h);
	check_free(h, ids);
}

static uint64_t noted_ran_ms(struct harness *h)
{
	const void *key;
	uint8_t *value;
	size_t key_len, len;

	for (unsigned i = 0; memstore_record(h->memory, STORE_TABLE_META, i, &key, &key_len, &value, &len);
		i++)
		if (key_len == 3 && !memcmp(key, "ran", 3))
			return get_be64(value + 1);
	fail_msg("no running time in the catalogue");
	return 0;
}

/* A minute or less of it is lost with each restart, to the lock's benefit. */
TEST(the_running_time_is_noted)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];

	make_kept(h, ids);
	assert_int_equal(do_lock_for(h, set_id(1), HOUR_MS), 0);
	for (unsigned i = 1; i <= 5; i++) {
		harness_advance(h, 170000);
		assert_in_range(noted_ran_ms(h), i * 120000, i * 170000);
		harness_reopen(h);
	}
}

static void store_closed(void *arg, int err)
{
	(void)arg;
	assert_int_equal(err, 0);
}

/* A lock's record whose set is not there: the catalogue contradicts itself, and nothing is guessed. */
TEST(a_lock_without_its_set_is_refused)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES], copy[64], k[64];
	struct fault fault = {0};
	const void *key;
	uint8_t *value;
	size_t key_len, len;
	unsigned at = 0;

	make_kept(h, ids);
	assert_int_equal(do_lock_for(h, set_id(1), HOUR_MS), 0);
	harness_close(h);
	do
		assert_true(memstore_record(h->memory, STORE_TABLE_META, at++, &key, &key_len, &value, &len));
	while (key_len != 20);
	memcpy(k, key, key_len);
	memcpy(copy, value, len);
	k[19] ^= 1;
	put_be32(copy + len - 4, XXH32(copy, len - 4, XXH32(k, key_len, (uint32_t)STORE_TABLE_META)));
	memstore_record_put(h->memory, STORE_TABLE_META, k, key_len, copy, len);
	assert_int_equal(harness_try_open(h, &fault), -EUCLEAN);
	assert_non_null(strstr(fault.text, "lock record"));
	h->store->ops->close(h->store, store_closed, NULL);
	memstore_record_delete(h->memory, STORE_TABLE_META, k, key_len);
	harness_open(h);
	check_locked(h, ids);
}

/* Whatever call of the store fails, with and without a power loss: the set is locked, or it is not. */
TEST(any_call_fails_once)
{
	for (unsigned n = 1;; n++) {
		struct harness *h;
		uint8_t ids[2][UP_ID_BYTES];

		assert_int_equal(harness_setup(state), 0);
		h = *state;
		make_kept(h, ids);
		memstore_fail(h->memory, n, n % 3 ? -EIO : -ENOSPC, n % 2);
		int err = do_lock_for(h, set_id(1), HOUR_MS);
		bool failed = memstore_failed(h->memory);
		memstore_fail(h->memory, 0, 0, false);
		if (n % 2) {
			memstore_crash(h->memory, n % 4 == 1 ? n : 0);
			array_close(h->array);
			harness_open(h);
		}
		if (!err || view(h).lock_unix_ms)
			check_locked(h, ids);
		else
			check_free(h, ids);
		harness_teardown(state);
		if (!failed) {
			assert_int_equal(err, 0);
			assert_true(n > 2);
			break;
		}
	}
}

#endif

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(nobody_frees_or_changes_a_locked_copy),
		t(a_lock_outlives_restarts),
		t(a_lock_gets_longer_and_never_shorter),
		t(what_cannot_be_locked),
		t(a_write_is_before_the_lock_or_refused),
		t(hosts_learn_of_the_write_protection),
#ifndef HARNESS_POOL
		t(running_time_alone_ends_no_lock),
		t(a_clock_that_is_ahead_ends_no_lock),
		t(a_lock_that_has_ended_stays_ended),
		t(the_running_time_is_noted),
		t(a_lock_without_its_set_is_refused),
		cmocka_unit_test(any_call_fails_once),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
