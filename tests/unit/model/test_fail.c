/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every store call of a long scenario fails once, with and without the store latching read-only, with and
 * without a power loss afterwards. Whatever fails: the array goes on or opens again, memory and catalogue
 * agree, no set is half there, and in the end everything can be deleted and nothing is left in the store.
 */
#include <stdio.h>
#include "tests/unit/model/harness.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"

static struct lun *try_lun(struct harness *h, const char *name)
{
	struct waiter w;

	lun_create(h->array, name, MIB, waiter_init(&w));
	return waiter_wait(h, &w) ? NULL : w.call.lun;
}

static struct host *try_host(struct harness *h)
{
	struct host_record *r = calloc(1, sizeof(*r));
	struct waiter w;

	assert_non_null(r);
	memcpy(r->name, "a", 2);
	memcpy(r->iqns[0], IQN_A, sizeof(IQN_A));
	r->iqn_count = 1;
	r->import = HOST_IMPORT_OWN;
	host_add(h->array, r, waiter_init(&w));
	free(r);
	return waiter_wait(h, &w) ? NULL : w.call.host;
}

/* What could not be made durable is not shown either. */
static void try_note(struct harness *h, const uint8_t *id)
{
	const struct set_notes notes = {.label = "weekly"};
	struct set_view v;
	struct waiter w;

	set_note(h->array, id, IQN_A, &notes, SET_NOTE_LABEL, waiter_init(&w));
	int err = waiter_wait(h, &w);
	set_view_of(set_find(h->array, id, NULL), &v);
	assert_string_equal(v.notes.label, err ? "" : "weekly");
}

/* The error of arm, which the host answers by giving up. */
static int try_arm(struct harness *h, unsigned n, struct lun **l, unsigned count, uint8_t (*ids)[UP_ID_BYTES])
{
	int err;

	assert_int_equal(set_begin(h->array, set_id(n), IQN_A, NULL), 0);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(
			set_add(h->array, set_id(n), IQN_A, l[i], UP_COPY_DIFFERENTIAL, ids[i], NULL), 0);
	err = do_arm(h, set_id(n), IQN_A);
	assert_int_equal(set_state(h, set_id(n)), err ? UP_SET_PREPARING : UP_SET_ARMED);
	if (err)
		assert_int_equal(do_abort(h, set_id(n), IQN_A), 0);
	return err;
}

/* A set from begin to commit; the error of its arm or its commit. */
static int try_set(struct harness *h, unsigned n, struct lun **l, unsigned count, uint8_t (*ids)[UP_ID_BYTES])
{
	int err = try_arm(h, n, l, count, ids);

	return err ? err : do_commit(h, set_id(n), IQN_A, 0);
}

/* What must hold after a set's commit was refused or not. */
static void check_set(struct harness *h, unsigned n, int err, uint8_t (*ids)[UP_ID_BYTES], unsigned count)
{
	assert_int_equal(set_state(h, set_id(n)), err ? UP_SET_ABORTED : UP_SET_COMMITTED);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(lun_find(h->array, ids[i]) != NULL, err == 0);
}

/* A plex copy that becomes full, is resynced from, marked and broken. */
static void copies(struct harness *h, struct lun *original)
{
	uint8_t id[UP_ID_BYTES];
	struct waiter w;
	struct lun *copy;

	assert_int_equal(set_begin(h->array, set_id(5), "", NULL), 0);
	assert_int_equal(set_add(h->array, set_id(5), "", original, UP_COPY_PLEX, id, NULL), 0);
	assert_int_equal(do_arm(h, set_id(5), ""), 0);
	if (do_commit(h, set_id(5), "", 0) || do_keep(h, set_id(5), ""))
		return;
	copy = lun_find(h->array, id);
	lun_notify(copy, UP_NOTIFY_READ_WRITE, waiter_init(&w));
	waiter_wait(h, &w);
	lun_resync_start(h->array, "", copy, original, 0, waiter_init(&w));
	waiter_wait(h, &w);
	harness_advance(h, 70000); /* also when it is tried again */
	lun_break(copy, 0, waiter_init(&w));
	waiter_wait(h, &w);
	assert_int_equal(copy->kind, w.call.fault.err ? LUN_SHADOW : LUN_ORDINARY);
}

/* Goes on whatever fails. */
static void scenario(struct harness *h)
{
	struct lun *l[2] = {try_lun(h, "a"), try_lun(h, "b")};
	struct host *a = try_host(h);
	uint8_t ids[2][UP_ID_BYTES];
	struct waiter w;
	unsigned count = (l[0] != NULL) + (l[1] != NULL);

	if (!l[0]) {
		l[0] = l[1];
		l[1] = NULL;
	}
	if (count == 0)
		return;
	do_write(h, l[0], 1, 0x11);
	do_flush(h, l[0]);
	if (a)
		do_map(h, a, l[0], 0);
	lun_resize(l[0], 2 * MIB, waiter_init(&w));
	waiter_wait(h, &w);
	lun_rename(l[0], "renamed", waiter_init(&w));
	waiter_wait(h, &w);
	int err = try_set(h, 1, l, count, ids);
	check_set(h, 1, err, ids, count);
	if (!err && do_keep(h, set_id(1), IQN_A) == 0) {
		assert_int_equal(set_state(h, set_id(1)), UP_SET_KEPT);
		try_note(h, set_id(1));
		do_delete(h, lun_find(h->array, ids[0]));
	}
	err = try_set(h, 2, l, count, ids);
	check_set(h, 2, err, ids, count);
	err = do_abort(h, set_id(2), IQN_A);
	assert_int_equal(set_state(h, set_id(2)), err ? UP_SET_COMMITTED : UP_SET_ABORTED);
	err = try_set(h, 3, l, count, ids);
	check_set(h, 3, err, ids, count);
	if (!err && do_keep(h, set_id(3), IQN_A) == 0) {
		err = do_set_delete(h, set_id(3));
		assert_int_equal(set_state(h, set_id(3)), err ? UP_SET_KEPT : 0);
	}
	copies(h, l[0]);
	/* Aborted while the store works on it. */
	err = try_arm(h, 4, l, count, ids);
	memstore_timing(h->memory, MEMSTORE_CUT_COMMIT, MEMSTORE_TIMED, 100);
	set_commit(h->array, set_id(4), IQN_A, 50, waiter_init(&w));
	waiter_wait(h, &w);
	assert_int_not_equal(w.call.fault.err, 0);
	do_abort(h, set_id(4), IQN_A);
	memstore_timing(h->memory, MEMSTORE_CUT_COMMIT, MEMSTORE_INLINE, 0);
	harness_advance(h, 300);
	assert_null(lun_find(h->array, ids[0]));
	if (a && l[0]->mappings)
		do_unmap(h, a, l[0]);
	/* The lease of whatever is left, and the retries of undoes. */
	harness_advance(h, 60000);
}

static void check_agreement(struct harness *h)
{
	unsigned luns = 0, hosts = 0;
	char *before = harness_dump(h), *after;

	for (struct lun *l = lun_next(h->array, NULL); l; l = lun_next(h->array, l))
		luns++;
	for (struct host *a = host_next(h->array, NULL); a; a = host_next(h->array, a))
		hosts++;
	assert_int_equal(memstore_disks(h->memory), luns);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_LUN), luns);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_HOST), hosts);
	harness_reopen(h);
	after = harness_dump(h);
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void delete_all(struct harness *h)
{
	struct set *s;
	struct host *a;
	struct lun *l;

	while ((a = host_next(h->array, NULL))) {
		struct waiter w;

		while (map_next(a, 0, &l))
			assert_int_equal(do_unmap(h, a, l), 0);
		host_delete(a, waiter_init(&w));
		assert_int_equal(waiter_wait(h, &w), 0);
	}
	for (s = set_next(h->array, NULL); s; s = set_next(h->array, s)) {
		struct set_view v;

		set_view_of(s, &v);
		assert_int_not_equal(v.state, UP_SET_COMMITTED); /* the lease has ended */
	}
	while ((l = lun_next(h->array, NULL)))
		assert_int_equal(do_delete(h, l), 0);
	for (int t = STORE_TABLE_LUN; t < STORE_TABLE_COUNT; t++)
		assert_int_equal(memstore_records(h->memory, t), 0);
	assert_int_equal(memstore_disks(h->memory), 0);
}

TEST(fresh)
{
	struct harness *h;

	assert_int_equal(harness_setup(state), 0);
	h = *state;
	harness_close(h);
	h->options.lease_ms = 5000;
	harness_open(h);
}

TEST(any_call_fails_once)
{
	static const int errs[] = {-EIO, -ENOSPC, -ENOMEM};

	for (unsigned n = 1;; n++) {
		struct harness *h;

		fresh(state);
		h = *state;
		memstore_fail(h->memory, n, errs[n % 3], false);
		scenario(h);
		assert_int_equal(memstore_reserved(h->memory), 0);
		bool failed = memstore_failed(h->memory);
		check_agreement(h);
		delete_all(h);
		harness_teardown(state);
		if (!failed) {
			print_message("fails at each of %u calls\n", n - 1);
			assert_true(n > 50);
			break;
		}
	}
}

/* The store goes read-only with the failure; then the power goes too. */
TEST(any_call_fails_and_the_power_goes)
{
	for (unsigned n = 1;; n++) {
		struct harness *h;

		fresh(state);
		h = *state;
		memstore_fail(h->memory, n, -EIO, true);
		scenario(h);
		bool failed = memstore_failed(h->memory);
		memstore_crash(h->memory, n % 2 ? n : 0);
		array_close(h->array);
		harness_open(h);
		harness_advance(h, 10000); /* leases */
		check_agreement(h);
		delete_all(h);
		harness_teardown(state);
		if (!failed)
			break;
	}
}

/* The power goes after the nth store call, with transactions under way. */
TEST(the_power_goes_at_any_call)
{
	for (unsigned n = 1; n < 60; n++) {
		struct harness *h;

		fresh(state);
		h = *state;
		scenario(h);
		/* One more scenario whose calls hang; each round lets one more of them end. */
		struct lun *l[2] = {lun_find_name(h->array, "renamed"), lun_find_name(h->array, "b")};
		uint8_t ids[2][UP_ID_BYTES];
		struct waiter w[6];
		char *before = harness_dump(h);

		memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_MANUAL, 0);
		make_armed(h, set_id(8), "", l, 2, ids);
		set_commit(h->array, set_id(8), "", 0, waiter_init(&w[0]));
		lun_create(h->array, "new", MIB, waiter_init(&w[1]));
		lun_rename(l[1], "other", waiter_init(&w[2]));
		for (unsigned i = 0; i < n % 6; i++)
			if (memstore_pending(h->memory))
				memstore_complete(h->memory, 0);
		bool committed = w[0].done;
		if (committed) {
			set_keep(h->array, set_id(8), "", waiter_init(&w[3]));
			if (n % 2 && memstore_pending(h->memory))
				memstore_complete_all(h->memory);
		}
		bool created = w[1].done, renamed = w[2].done, kept = committed && w[3].done;
		memstore_crash(h->memory, n % 3 ? n : 0);
		array_close(h->array);
		memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
		harness_open(h);
		enum up_set_state now = set_state(h, set_id(8));
		if (kept)
			assert_int_equal(now, UP_SET_KEPT);
		else if (committed)
			assert_true(now == UP_SET_COMMITTED || now == UP_SET_KEPT);
		assert_int_equal(lun_find(h->array, ids[0]) != NULL, now != 0);
		assert_int_equal(lun_find(h->array, ids[1]) != NULL, now != 0);
		if (created)
			assert_non_null(lun_find_name(h->array, "new"));
		if (renamed)
			assert_non_null(lun_find_name(h->array, "other"));
		harness_advance(h, 10000);
		assert_int_equal(set_state(h, set_id(8)) == UP_SET_KEPT, now == UP_SET_KEPT);
		check_agreement(h);
		delete_all(h);
		free(before);
		harness_teardown(state);
	}
}

/* It is told while the commit runs: the record that the commit writes may have the old label already. */
TEST(no_label_gets_lost_in_a_commit)
{
	struct harness *h = *state;
	struct lun *l[1] = {make_lun(h, "a", MIB)};
	uint8_t ids[1][UP_ID_BYTES];
	const struct set_notes notes = {.label = "nightly"};
	struct waiter w, note;

	make_armed(h, set_id(1), IQN_A, l, 1, ids);
	memstore_timing(h->memory, MEMSTORE_CUT_COMMIT, MEMSTORE_MANUAL, 0);
	set_commit(h->array, set_id(1), IQN_A, 0, waiter_init(&w));
	set_note(h->array, set_id(1), IQN_A, &notes, SET_NOTE_LABEL, waiter_init(&note));
	assert_int_equal(waiter_wait(h, &note), -EBUSY);
	memstore_timing(h->memory, MEMSTORE_CUT_COMMIT, MEMSTORE_INLINE, 0);
	memstore_complete_all(h->memory);
	assert_int_equal(waiter_wait(h, &w), 0);
	set_note(h->array, set_id(1), IQN_A, &notes, SET_NOTE_LABEL, waiter_init(&note));
	assert_int_equal(waiter_wait(h, &note), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_call_fails_once),
		cmocka_unit_test(any_call_fails_and_the_power_goes),
		cmocka_unit_test(the_power_goes_at_any_call),
		cmocka_unit_test_setup_teardown(
			no_label_gets_lost_in_a_commit, harness_setup, harness_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
