/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An array that was copied gets ids of its own: no id of before is left anywhere in the catalogue, and all that was told by
 * ids is as it was.
 */
#include <stdio.h>
#include "tests/unit/model/harness.h"

#define IQN_A   "iqn.1991-05.com.microsoft:a"
#define HOUR_MS UINT64_C(3600000)
#define IDS_MAX 32u

static void populate(struct harness *h)
{
	static const char *const names[] = {"a", "b", "gone"};
	struct host *host;
	struct lun *l[3];
	struct policy_spec policy = {
		.name = "nightly", .label = "nightly", .every_ms = HOUR_MS, .at_min = POLICY_NO_TIME};
	struct waiter w;

	harness_close(h);
	h->options.recycle_s = 3600;
	harness_open(h);
	host = make_host(h, "host-a", IQN_A);
	for (unsigned i = 0; i < 3; i++)
		l[i] = make_lun(h, names[i], MIB);
	assert_int_equal(do_map(h, host, l[0], 0), 1);
	assert_int_equal(do_map(h, host, l[1], 7), 7);
	assert_int_equal(do_unmap(h, host, l[1]), 0); /* the number rests */
	lun_keep_reservations(l[0], "reservations", 12, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	make_armed(h, set_id(1), IQN_A, l, 3, NULL);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	note_set(h, set_id(1));
	assert_int_equal(do_delete(h, l[2]), 0); /* its copy stays */
	make_armed(h, set_id(2), "", l, 1, NULL);
	assert_int_equal(do_commit(h, set_id(2), "", 0), 0);
	assert_int_equal(do_keep(h, set_id(2), ""), 0);
	assert_int_equal(do_set_delete(h, set_id(2)), 0); /* to the recycle bin */
	set_lock_for(h->array, set_id(1), HOUR_MS, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	memcpy(policy.luns[policy.lun_count++], l[1]->id, UP_ID_BYTES);
	policy_put(h->array, &policy, false, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(do_write(h, l[0], 3, 0x5a), 0);
	assert_int_equal(do_flush(h, l[0]), 0);
	harness_close(h);
	h->store = memstore_open(h->memory, h->reactor);
}

struct ids {
	uint8_t old[IDS_MAX][UP_ID_BYTES], fresh[IDS_MAX][UP_ID_BYTES];
	unsigned count;
};

static void note_id(void *arg, enum array_identified what, const char *name, const uint8_t old[UP_ID_BYTES],
	const uint8_t fresh[UP_ID_BYTES])
{
	struct ids *ids = arg;

	assert_true(what < ARRAY_IDENTIFIED_COUNT && name);
	assert_true(ids->count < IDS_MAX);
	for (unsigned i = 0; i < ids->count; i++)
		assert_memory_not_equal(ids->fresh[i], fresh, UP_ID_BYTES);
	memcpy(ids->old[ids->count], old, UP_ID_BYTES);
	memcpy(ids->fresh[ids->count++], fresh, UP_ID_BYTES);
}

static void done(void *arg, int err)
{
	*(int *)arg = err ? err : 1;
}

static void store_close(struct harness *h)
{
	int end = 0;

	h->store->ops->close(h->store, done, &end);
	assert_int_equal(end, 1);
	h->store = NULL;
}

static int reidentify(struct harness *h, struct array_reidentify *r, bool keep)
{
	struct store_txn *t;
	struct fault fault = {0};
	int end = 0, err;

	r->store = h->store;
	r->reactor = h->reactor;
	err = array_reidentify(r, &t, &fault);
	if (err) {
		assert_null(t);
		assert_true(fault.text[0]);
		return err;
	}
	if (!t)
		return 1;
	if (keep)
		h->store->ops->txn_commit(t, done, &end);
	else
		h->store->ops->txn_drop(t);
	assert_int_equal(end, keep);
	return 0;
}

/* Does any record have it, in its key or its value? */
static bool stands_somewhere(struct harness *h, const uint8_t id[UP_ID_BYTES])
{
	const void *key;
	uint8_t *value;
	size_t key_len, len;

	for (int t = STORE_TABLE_META; t < STORE_TABLE_COUNT; t++)
		for (unsigned i = 0; memstore_record(h->memory, t, i, &key, &key_len, &value, &len); i++)
			if (memmem(key, key_len, id, UP_ID_BYTES) || memmem(value, len, id, UP_ID_BYTES))
				return true;
	return false;
}

static unsigned records(struct harness *h)
{
	unsigned n = 0;

	for (int t = STORE_TABLE_META; t < STORE_TABLE_COUNT; t++)
		n += memstore_records(h->memory, t);
	return n;
}

TEST(no_id_of_before_is_left_and_all_else_stays)
{
	struct harness *h = *state;
	struct ids ids = {.count = 0};
	struct array_reidentify r = {.each = note_id, .arg = &ids};
	uint8_t gone[UP_ID_BYTES] = {0};
	struct policy_view policy;
	struct set_view set;
	struct lun *a, *b;
	struct set *s;
	unsigned before, shadows = 0;

	populate(h);
	before = records(h);
	assert_int_equal(reidentify(h, &r, true), 0);
	assert_int_equal(r.counts[ARRAY_IDENTIFIED_ARRAY], 1);
	assert_int_equal(r.counts[ARRAY_IDENTIFIED_LUN], 2);
	assert_int_equal(r.counts[ARRAY_IDENTIFIED_SHADOW], 3);
	assert_int_equal(r.counts[ARRAY_IDENTIFIED_RECYCLED], 1);
	assert_int_equal(r.counts[ARRAY_IDENTIFIED_SET], 1);
	assert_int_equal(r.mappings, 1);
	assert_int_equal(r.reservations, 1);
	assert_int_equal(records(h), before - 1);
	for (unsigned i = 0; i < ids.count; i++) {
		assert_false(stands_somewhere(h, ids.old[i]));
		assert_true(stands_somewhere(h, ids.fresh[i]));
	}
	assert_false(stands_somewhere(h, set_id(1)));
	assert_false(stands_somewhere(h, set_id(2))); /* of which only the recycled copy tells */
	store_close(h);

	harness_open(h);
	a = lun_find_name(h->array, "a");
	b = lun_find_name(h->array, "b");
	assert_int_equal(map_number(host_find(h->array, "host-a"), a), 1);
	assert_null(a->reservations);
	assert_int_equal(do_read(h, a, 3), 0x5a);
	assert_int_equal(
		do_map(h, host_find(h->array, "host-a"), b, 7), 7); /* the number rests for its own LUN */
	s = set_next(h->array, NULL);
	assert_non_null(s);
	assert_null(set_next(h->array, s));
	set_view_of(s, &set);
	assert_int_equal(set.member_count, 3);
	assert_string_equal(set.notes.label, "weekly");
	assert_true(set.lock_unix_ms > 0);
	for (unsigned i = 0; i < set.member_count; i++) {
		struct lun *shadow = lun_find(h->array, set.members[i].shadow_id);

		assert_non_null(shadow);
		assert_memory_equal(shadow->origin_id, set.members[i].original_id, UP_ID_BYTES);
		if (!lun_find(h->array, shadow->origin_id))
			memcpy(gone, shadow->origin_id, UP_ID_BYTES);
		shadows++;
	}
	assert_int_equal(shadows, 3);
	assert_true(memcmp(gone, (uint8_t[UP_ID_BYTES]){0}, UP_ID_BYTES) !=
		    0); /* one id, though its LUN is gone */
	policy_view_of(policy_find(h->array, "nightly"), &policy);
	assert_memory_equal(policy.spec->luns[0], b->id, UP_ID_BYTES);
}

TEST(what_is_only_looked_at_or_fails_changes_nothing)
{
	struct harness *h = *state;
	struct array_reidentify look = {0}, fails = {0};
	char *before, *after;
	unsigned n;

	populate(h);
	store_close(h);
	harness_open(h);
	before = harness_dump(h);
	harness_close(h);
	h->store = memstore_open(h->memory, h->reactor);
	assert_int_equal(reidentify(h, &look, false), 0);
	for (n = 1;; n++) {
		int err;

		memset(&fails, 0, sizeof(fails));
		memstore_fail(h->memory, n, -ENOMEM, false);
		err = reidentify(h, &fails, false);
		if (!memstore_failed(h->memory))
			break;
		assert_int_equal(err, -ENOMEM);
	}
	assert_true(n > 3);
	memstore_fail(h->memory, 0, 0, false);
	store_close(h);
	harness_open(h);
	after = harness_dump(h);
	assert_string_equal(before, after);
	free(before);
	free(after);
}

TEST(a_damaged_catalogue_gets_no_new_ids)
{
	struct harness *h = *state;
	struct array_reidentify r = {0};
	const void *key;
	uint8_t *value;
	size_t key_len, len;

	populate(h);
	assert_true(memstore_record(h->memory, STORE_TABLE_SET, 0, &key, &key_len, &value, &len));
	value[len / 2] ^= 1;
	assert_int_equal(reidentify(h, &r, true), -EUCLEAN);
	value[len / 2] ^= 1;
	assert_int_equal(reidentify(h, &r, true), 0);
	store_close(h);
	harness_open(h);
}

TEST(an_array_without_an_id_gets_none)
{
	struct harness *h = *state;
	struct array_reidentify r = {0};

	harness_close(h);
	h->store = memstore_open(h->memory, h->reactor);
	assert_int_equal(reidentify(h, &r, true), 1);
	assert_int_equal(records(h), 0);
	store_close(h);
	harness_open(h);
}

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(no_id_of_before_is_left_and_all_else_stays),
		t(what_is_only_looked_at_or_fails_changes_nothing),
		t(a_damaged_catalogue_gets_no_new_ids),
		t(an_array_without_an_id_gets_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
