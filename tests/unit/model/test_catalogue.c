/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue: every record comes back as it was; whatever single byte of whatever record is damaged, and
 * whatever record is missing or added so that the rest contradicts it, the array refuses to open (-EUCLEAN),
 * says why, and opens again when it is mended.
 */
#define XXH_INLINE_ALL
#include <stdio.h>
#include <xxhash.h>
#include "array/util/bytes.h"
#include "tests/unit/model/harness.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"

static int keep(struct harness *h, struct lun *lun, const void *bytes, size_t len)
{
	struct waiter w;

	lun_keep_reservations(lun, bytes, len, waiter_init(&w));
	return waiter_wait(h, &w);
}

/* One record of each kind, two sets. */
static void populate(struct harness *h)
{
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};
	struct host *a = make_host(h, "host-a", IQN_A);

	assert_int_equal(do_map(h, a, l[0], 0), 1);
	assert_int_equal(keep(h, l[0], "reservations", 12), 0);
	make_armed(h, set_id(1), IQN_A, l, 2, NULL);
	assert_int_equal(set_rename(set_find(h->array, set_id(1), NULL), "kept-one", NULL), 0);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	make_armed(h, set_id(2), "", l, 1, NULL);
	assert_int_equal(do_commit(h, set_id(2), "", 0), 0);
}

/* And what is rarer: a plex copy that is not full, one in the recycle bin, one that its hosts marked. */
static void populate_more(struct harness *h)
{
	struct waiter w;
	uint8_t id[UP_ID_BYTES];

	harness_close(h);
	h->options.recycle_s = 3600;
	harness_open(h);
	populate(h);
	note_set(h, set_id(1));
	memstore_timing(h->memory, MEMSTORE_HYDRATE, MEMSTORE_TIMED, 1000000);
	assert_int_equal(set_begin(h->array, set_id(3), IQN_A, NULL), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(set_add(h->array, set_id(3), IQN_A, lun_find_name(h->array, i ? "a" : "b"),
					 UP_COPY_PLEX, id, NULL),
			0);
	assert_int_equal(do_arm(h, set_id(3), IQN_A), 0);
	assert_int_equal(do_commit(h, set_id(3), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(3), IQN_A), 0);
	note_set(h, set_id(3));
	lun_notify(lun_find(h->array, id), UP_NOTIFY_PRE_RECOVERY, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(do_delete(h, lun_find(h->array, id)), 0);
}

static int open_error(struct harness *h)
{
	struct fault fault = {0};
	bool closed = false;
	int err = harness_try_open(h, &fault);

	if (err) {
		assert_int_equal(fault.err, err);
		assert_true(strlen(fault.text) > 10);
		h->array = NULL;
	}
	(void)closed;
	return err;
}

static void store_done(void *arg, int err)
{
	(void)arg;
	(void)err;
}

static void store_close(struct harness *h)
{
	h->store->ops->close(h->store, store_done, NULL);
}

static void expect_damage(struct harness *h)
{
	struct fault fault = {0};

	assert_int_equal(open_error(h), -EUCLEAN);
	assert_int_equal(
		array_check(h->store, h->reactor, &fault), -EUCLEAN); /* who only looks finds it, too */
	assert_true(strlen(fault.text) > 10);
	store_close(h);
}

static void expect_good(struct harness *h)
{
	assert_int_equal(open_error(h), 0);
	harness_close(h);
}

TEST(all_comes_back)
{
	struct harness *h = *state;
	struct set_view before, after;
	struct set_member members[2];

	populate(h);
	set_view_of(set_find_name(h->array, "kept-one"), &before);
	memcpy(members, before.members, sizeof(members));
	harness_reopen(h);
	set_view_of(set_find_name(h->array, "kept-one"), &after);
	assert_memory_equal(members, after.members, sizeof(members));
	before.members = after.members = NULL;
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(after.notes.writers, UP_WRITERS_NOT_TOLD); /* a record as older programs read it */
	note_set(h, set_id(1));
	harness_reopen(h);
	set_view_of(set_find_name(h->array, "kept-one"), &after);
	assert_string_equal(after.notes.label, "weekly");
	assert_int_equal(after.notes.writers, UP_WRITERS_TOOK_PART);
	assert_int_equal(after.notes.frozen_us, 4);
	assert_int_equal(set_notes_held_us(&after.notes), 6);
	assert_true(after.notes.imported);
	assert_int_equal(after.notes.import_us, 5);
	assert_int_equal(after.state, UP_SET_KEPT);
	assert_true(after.durable_ns > 0);
	assert_int_equal(set_state(h, set_id(2)), UP_SET_COMMITTED);
	assert_int_equal(map_number(host_find(h->array, "host-a"), lun_find_name(h->array, "a")), 1);
}

/* A host that an older umbrad wrote has no secret for mutual CHAP. */
TEST(the_first_version_of_a_host_is_read)
{
	struct harness *h = *state;
	struct host_record before;
	const void *key;
	uint8_t *value, old[STORE_VALUE_MAX_BYTES];
	size_t key_len, len;

	populate(h);
	before = *host_record_of(host_find(h->array, "host-a"));
	harness_close(h);
	assert_true(memstore_record(h->memory, STORE_TABLE_HOST, 0, &key, &key_len, &value, &len));
	assert_int_equal(value[0], 2);
	memcpy(old, value, len);
	old[0] = 1;
	len -= 1 + 4; /* the empty text, the checksum */
	put_be32(old + len, XXH32(old, len, XXH32("host-a", 6, STORE_TABLE_HOST)));
	memstore_record_put(h->memory, STORE_TABLE_HOST, "host-a", 6, old, len + 4);
	harness_open(h);
	assert_memory_equal(host_record_of(host_find(h->array, "host-a")), &before, sizeof(before));
	harness_close(h);
	old[0] = 3; /* of the future */
	put_be32(old + len, XXH32(old, len, XXH32("host-a", 6, STORE_TABLE_HOST)));
	memstore_record_put(h->memory, STORE_TABLE_HOST, "host-a", 6, old, len + 4);
	assert_int_equal(open_error(h), -ENOTSUP);
	store_close(h);
	old[0] = 1;
	put_be32(old + len, XXH32(old, len, XXH32("host-a", 6, STORE_TABLE_HOST)));
	memstore_record_put(h->memory, STORE_TABLE_HOST, "host-a", 6, old, len + 4);
	harness_open(h);
}

/* The last bytes that were kept come back; none when none were; gone with the LUN. */
TEST(reservations_are_kept)
{
	static uint8_t most[LUN_RESERVATIONS_MAX_BYTES + 1];
	struct harness *h = *state;
	struct lun *l = make_lun(h, "a", MIB);
	struct waiter first, second;

	lun_keep_reservations(l, "one", 3, waiter_init(&first));
	lun_keep_reservations(l, "second", 6, waiter_init(&second));
	assert_int_equal(waiter_wait(h, &first), 0);
	assert_int_equal(waiter_wait(h, &second), 0);
	harness_reopen(h);
	l = lun_find_name(h->array, "a");
	assert_int_equal(l->reservations_len, 6);
	assert_memory_equal(l->reservations, "second", 6);
	assert_int_equal(keep(h, l, most, sizeof(most)), -EMSGSIZE);
	assert_int_equal(keep(h, l, most, sizeof(most) - 1), 0);
	harness_reopen(h);
	l = lun_find_name(h->array, "a");
	assert_int_equal(l->reservations_len, sizeof(most) - 1);
	assert_int_equal(keep(h, l, NULL, 0), 0);
	assert_int_equal(keep(h, l, NULL, 0), 0);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_RESERVATION), 0);
	harness_reopen(h);
	l = lun_find_name(h->array, "a");
	assert_null(l->reservations);
	assert_int_equal(keep(h, l, "again", 5), 0);
	assert_int_equal(do_delete(h, l), 0);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_RESERVATION), 0);
}

/* The record as version 1 had it: without what version 2 has at the end. */
static void age_lun_record(struct harness *h, unsigned index)
{
	const void *key;
	uint8_t *value, old[1024], k[UP_ID_BYTES];
	size_t key_len, len;

	assert_true(memstore_record(h->memory, STORE_TABLE_LUN, index, &key, &key_len, &value, &len));
	memcpy(k, key, sizeof(k));
	len -= 4 + 6;
	memcpy(old, value, len);
	assert_int_equal(old[0], 2);
	old[0] = 1;
	put_be32(old + len, XXH32(old, len, XXH32(k, sizeof(k), STORE_TABLE_LUN)));
	memstore_record_put(h->memory, STORE_TABLE_LUN, k, sizeof(k), old, len + 4);
}

TEST(records_of_older_versions_are_read)
{
	struct harness *h = *state;
	char *before, *after;

	populate(h);
	before = harness_dump(h);
	harness_close(h);
	for (unsigned i = 0; i < memstore_records(h->memory, STORE_TABLE_LUN); i++)
		age_lun_record(h, i);
	harness_open(h);
	after = harness_dump(h);
	assert_string_equal(before, after);
	for (struct lun *l = lun_next(h->array, NULL); l; l = lun_next(h->array, l))
		assert_int_equal(
			l->copy_kind, l->kind == LUN_SHADOW ? UP_COPY_DIFFERENTIAL : UP_COPY_DEFAULT);
	free(before);
	free(after);
}

TEST(any_damaged_byte_is_found)
{
	struct harness *h = *state;
	const void *key;
	uint8_t *value;
	size_t key_len, len;

	populate_more(h);
	harness_close(h);
	for (int t = STORE_TABLE_META; t <= STORE_TABLE_RESERVATION; t++) {
		assert_true(memstore_records(h->memory, t) > 0);
		for (unsigned i = 0; memstore_record(h->memory, t, i, &key, &key_len, &value, &len); i++)
			for (size_t at = 0; at < len; at++) {
				value[at] ^= (uint8_t)(1u << (at % 8));
				expect_damage(h);
				value[at] ^= (uint8_t)(1u << (at % 8));
			}
	}
	expect_good(h);
	harness_open(h);
}

TEST(any_truncation_is_found)
{
	struct harness *h = *state;
	const void *key;
	uint8_t *value, copy[8192];
	size_t key_len, len;

	populate_more(h);
	harness_close(h);
	for (int t = STORE_TABLE_META; t <= STORE_TABLE_RESERVATION; t++) {
		uint8_t k[STORE_KEY_MAX_BYTES];

		assert_true(memstore_record(h->memory, t, 0, &key, &key_len, &value, &len));
		assert_true(len <= sizeof(copy));
		memcpy(copy, value, len);
		memcpy(k, key, key_len);
		for (size_t cut = 0; cut < len; cut++) {
			memstore_record_put(h->memory, t, k, key_len, copy, cut);
			expect_damage(h);
		}
		memstore_record_put(h->memory, t, k, key_len, copy, len);
	}
	expect_good(h);
	harness_open(h);
}

/* Sound records under another key, and sound records gone, contradict the others. */
TEST(a_record_that_contradicts_is_found)
{
	struct harness *h = *state;
	const void *key;
	uint8_t *value, copy[8192], k[STORE_KEY_MAX_BYTES + 1];
	size_t key_len, len;

	populate_more(h);
	harness_close(h);
	for (int t = STORE_TABLE_META; t <= STORE_TABLE_RESERVATION; t++)
		for (unsigned i = 0; memstore_record(h->memory, t, i, &key, &key_len, &value, &len); i++) {
			memcpy(copy, value, len);
			memcpy(k, key, key_len);
			memstore_record_delete(h->memory, t, k, key_len);
			if (t != STORE_TABLE_MAP && t != STORE_TABLE_RESERVATION) {
				/* A plain LUN without mappings may be missing: nothing points to it. Without the running
				 * time what counts by it begins anew. */
				bool ran = t == STORE_TABLE_META && key_len == 3;
				int err = open_error(h);

				assert_true(err == -EUCLEAN || ((t == STORE_TABLE_LUN || ran) && err == 0));
				if (err)
					store_close(h);
				else
					harness_close(h);
			}
			k[0] ^= 1; /* the checksum covers the key */
			memstore_record_put(h->memory, t, k, key_len, copy, len);
			expect_damage(h);
			memstore_record_delete(h->memory, t, k, key_len);
			k[0] ^= 1;
			memstore_record_put(h->memory, t, k, key_len, copy, len);
		}
	expect_good(h);
	harness_open(h);
}

TEST(random_records_are_refused)
{
	struct harness *h = *state;
	uint64_t seed = test_seed();

	populate_more(h);
	harness_close(h);
	for (unsigned i = 0; i < 3000; i++) {
		uint8_t k[64], v[300];
		size_t key_len = 1 + test_random(&seed) % sizeof(k), len = test_random(&seed) % sizeof(v);
		enum store_table t = STORE_TABLE_META + test_random(&seed) % 6;

		for (size_t j = 0; j < sizeof(k); j++)
			k[j] = (uint8_t)test_random(&seed);
		for (size_t j = 0; j < sizeof(v); j++)
			v[j] = (uint8_t)test_random(&seed);
		v[0] = 1 + test_random(&seed) % 2;
		memstore_record_put(h->memory, t, k, key_len, v, len);
		expect_damage(h);
		memstore_record_delete(h->memory, t, k, key_len);
	}
	expect_good(h);
	harness_open(h);
}

TEST(a_missing_disk_is_found)
{
	struct harness *h = *state;
	struct lun *l;

	l = make_lun(h, "a", MIB);
	/* Behind the array's back. */
	struct store_txn *t = h->store->ops->txn_begin(h->store);
	assert_int_equal(h->store->ops->txn_disk_delete(t, l->disk), 0);
	h->store->ops->txn_commit(t, store_done, NULL);
	harness_close(h);
	expect_damage(h);
	memstore_record_delete(h->memory, STORE_TABLE_LUN, l->id, 0); /* no such key: harmless */
	const void *key;
	uint8_t *value, k[UP_ID_BYTES];
	size_t key_len, len;
	assert_true(memstore_record(h->memory, STORE_TABLE_LUN, 0, &key, &key_len, &value, &len));
	memcpy(k, key, key_len);
	memstore_record_delete(h->memory, STORE_TABLE_LUN, k, key_len);
	expect_good(h);
	harness_open(h);
}

TEST(a_failing_store_is_no_damage)
{
	struct harness *h = *state;

	populate_more(h);
	harness_close(h);
	for (unsigned n = 1;; n++) {
		struct fault fault;
		int err;

		h->store = memstore_open(h->memory, h->reactor);
		h->options.store = h->store;
		memstore_fail(h->memory, n, -EIO, false);
		err = array_open(&h->options, &h->array, &fault);
		if (!memstore_failed(h->memory)) {
			assert_int_equal(err, 0);
			break;
		}
		assert_int_equal(err, -EIO);
		assert_int_equal(fault.err, -EIO);
		store_close(h);
	}
}

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(all_comes_back),
		t(the_first_version_of_a_host_is_read),
		t(reservations_are_kept),
		t(records_of_older_versions_are_read),
		t(any_damaged_byte_is_found),
		t(any_truncation_is_found),
		t(a_record_that_contradicts_is_found),
		t(random_records_are_refused),
		t(a_missing_disk_is_found),
		t(a_failing_store_is_no_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
