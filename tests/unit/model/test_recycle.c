/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recycle bin: deleted shadow LUNs are nobody's until their time is over, come back whole, and go for good;
 * over restarts, power losses and failing stores.
 */
#include <stdio.h>
#include <unistd.h>
#include <xxhash.h>
#include "array/util/bytes.h"
#include "tests/unit/model/harness.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"

#define BIN_S 100

static void bin_open(struct harness *h)
{
	harness_close(h);
	h->options.recycle_s = BIN_S;
	harness_open(h);
}

static unsigned bin_count(struct harness *h)
{
	struct lun_recycled_view v;
	unsigned count = 0;

	for (bool is = lun_recycled_next(h->array, NULL, &v); is; is = lun_recycled_next(h->array, v.id, &v))
		count++;
	return count;
}

static int do_undelete(struct harness *h, const uint8_t id[UP_ID_BYTES])
{
	struct waiter w;

	lun_undelete(h->array, id, waiter_init(&w));
	int err = waiter_wait(h, &w);
	if (!err)
		assert_ptr_equal(w.call.lun, lun_find(h->array, id));
	return err;
}

static int do_purge(struct harness *h, const uint8_t id[UP_ID_BYTES])
{
	struct waiter w;

	lun_purge(h->array, id, waiter_init(&w));
	return waiter_wait(h, &w);
}

/* A kept set of copies of a and b, called "nightly", with 0x11 in block 3. */
static void make_kept(struct harness *h, uint8_t (*ids)[UP_ID_BYTES])
{
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(do_write(h, l[i], 3, 0x11), 0);
	make_armed(h, set_id(1), IQN_A, l, 2, ids);
	assert_int_equal(set_rename(set_find(h->array, set_id(1), NULL), "nightly", NULL), 0);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(do_write(h, l[i], 3, 0x22), 0);
}

TEST(a_deleted_copy_lies_in_the_bin_and_comes_back)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];
	struct set_view before, after;
	struct lun_recycled_view v;
	struct waiter w;
	struct lun *lun;

	bin_open(h);
	make_kept(h, ids);
	note_set(h, set_id(1));
	set_view_of(set_find_name(h->array, "nightly"), &before);
	lun_notify(lun_find(h->array, ids[0]), UP_NOTIFY_READ_WRITE, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	char name[ARRAY_NAME_MAX_BYTES + 1];
	memcpy(name, lun_find(h->array, ids[0])->name, sizeof(name));
	assert_int_equal(do_delete(h, lun_find(h->array, ids[0])), 0);
	for (int i = 0; i < 2; i++) {
		assert_null(lun_find(h->array, ids[0]));
		assert_null(lun_find_name(h->array, name));
		assert_int_equal(bin_count(h), 1);
		assert_true(lun_recycled_next(h->array, NULL, &v));
		assert_memory_equal(v.id, ids[0], UP_ID_BYTES);
		assert_string_equal(v.name, name);
		assert_int_equal(v.size_bytes, MIB);
		/* two clocks, read one after the other: within a second of each other */
		assert_in_range(
			v.purge_unix_ms - v.deleted_unix_ms, BIN_S * 1000 - 1000, BIN_S * 1000 + 60000);
		harness_reopen(h);
	}
	assert_int_equal(do_undelete(h, ids[0]), 0);
	assert_int_equal(do_undelete(h, ids[0]), -ENOENT);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(bin_count(h), 0);
		lun = lun_find(h->array, ids[0]);
		assert_int_equal(lun->kind, LUN_SHADOW);
		assert_int_equal(lun->mappings, 0);
		assert_int_equal(lun->notified, UP_NOTIFY_READ_WRITE);
		assert_int_equal(do_read(h, lun, 3), 0x11);
		set_view_of(set_find_name(h->array, "nightly"), &after);
		assert_int_equal(after.member_count, 2);
		harness_reopen(h);
	}
	/* the whole set by the administrator, and back one by one: the set is as it was */
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	assert_int_equal(bin_count(h), 2);
	assert_int_equal(set_state(h, set_id(1)), 0);
	assert_int_equal(do_undelete(h, ids[1]), 0);
	harness_reopen(h);
	assert_int_equal(do_undelete(h, ids[0]), 0);
	set_view_of(set_find_name(h->array, "nightly"), &after);
	assert_int_equal(after.state, UP_SET_KEPT);
	assert_int_equal(after.member_count, 2);
	assert_string_equal(after.owner, IQN_A);
	assert_int_equal(after.cut_unix_ms, before.cut_unix_ms);
	assert_int_equal(after.durable_ns, before.durable_ns);
	assert_string_equal(after.notes.label, "weekly");
	assert_int_equal(after.notes.writers, UP_WRITERS_TOOK_PART);
	assert_int_equal(set_notes_held_us(&after.notes), 6);
	assert_int_equal(after.notes.import_us, 5);
	assert_int_equal(do_read(h, lun_find(h->array, ids[1]), 3), 0x11);
	/* ordinary LUNs go at once, the broken one too */
	lun_break(lun_find(h->array, ids[1]), 0, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(do_delete(h, lun_find(h->array, ids[1])), 0);
	assert_int_equal(do_delete(h, lun_find_name(h->array, "a")), 0);
	assert_int_equal(bin_count(h), 0);
}

TEST(what_is_purged_is_gone)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];

	bin_open(h);
	make_kept(h, ids);
	assert_int_equal(do_purge(h, ids[0]), -ENOENT); /* not deleted yet */
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	assert_int_equal(do_purge(h, ids[0]), 0);
	assert_int_equal(do_purge(h, ids[0]), -ENOENT);
	assert_int_equal(bin_count(h), 1);
	harness_reopen(h);
	assert_int_equal(bin_count(h), 1);
	assert_int_equal(do_undelete(h, ids[0]), -ENOENT);
	assert_int_equal(do_purge(h, ids[1]), 0);
}

TEST(what_is_in_the_way_is_named)
{
	struct harness *h = *state;
	struct lun *l;
	uint8_t ids[2][UP_ID_BYTES];
	struct waiter w;
	char name[ARRAY_NAME_MAX_BYTES + 1];

	bin_open(h);
	make_kept(h, ids);
	lun_rename(lun_find(h->array, ids[0]), "taken", waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	l = make_lun(h, "taken", MIB);
	assert_int_equal(do_undelete(h, ids[0]), -EEXIST);
	lun_rename(l, "other", waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	/* its set's id belongs to another one now */
	make_armed(h, set_id(1), "", &l, 1, NULL);
	assert_int_equal(do_undelete(h, ids[0]), -EBUSY);
	harness_advance(h, 2); /* another time of the cut */
	assert_int_equal(do_commit(h, set_id(1), "", 0), 0);
	assert_int_equal(do_undelete(h, ids[0]), -EBUSY);
	assert_int_equal(do_abort(h, set_id(1), ""), 0);
	harness_reopen(h); /* the aborted set is forgotten */
	/* its set's name is another's: it comes back without */
	l = lun_find_name(h->array, "other");
	make_armed(h, set_id(2), "", &l, 1, NULL);
	assert_int_equal(set_rename(set_find(h->array, set_id(2), NULL), "nightly", NULL), 0);
	assert_int_equal(do_undelete(h, ids[0]), 0);
	struct set_view v;
	set_view_of(set_find(h->array, set_id(1), NULL), &v);
	assert_string_equal(v.name, "");
	snprintf(name, sizeof(name), "%s", lun_find(h->array, ids[0])->name);
	assert_string_equal(name, "taken");
}

#ifndef HARNESS_POOL

TEST(the_time_in_the_bin_ends)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];

	bin_open(h);
	make_kept(h, ids);
	assert_int_equal(do_delete(h, lun_find(h->array, ids[0])), 0);
	harness_advance(h, 60000);
	assert_int_equal(do_delete(h, lun_find(h->array, ids[1])), 0);
	harness_advance(h, BIN_S * 1000 - 60000 - 1000);
	assert_int_equal(bin_count(h), 2);
	memstore_fail(h->memory, 1, -EIO, false); /* the first purge fails: tried again */
	harness_advance(h, 2000);
	assert_true(memstore_failed(h->memory));
	assert_int_equal(bin_count(h), 2);
	harness_advance(h, 57000);
	assert_int_equal(bin_count(h), 2);
	harness_advance(h, 10000);
	assert_int_equal(bin_count(h), 0);
	assert_int_equal(memstore_disks(h->memory), 2);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_LUN), 2);
}

/* The time counts over restarts, and never more of it than there was. */
TEST(the_time_goes_on_over_restarts)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];

	harness_close(h);
	h->options.recycle_s = 1;
	harness_open(h);
	make_kept(h, ids);
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	harness_close(h);
	h->options.recycle_s = 0; /* what lies in the bin stays there */
	harness_open(h);
	assert_int_equal(bin_count(h), 2);
	harness_advance(h, 1100);
	assert_int_equal(bin_count(h), 0);
}

/* Wall clock time in which umbrad does not run, as if the clock were ahead at the start. */
static void clock_leaps(void)
{
	usleep(1200000);
}

/* It counts the time that umbrad runs: a clock that is ahead at the start empties no bin. */
TEST(the_wall_clock_purges_nothing)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];

	harness_close(h);
	h->options.recycle_s = 1;
	harness_open(h);
	make_kept(h, ids);
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	harness_advance(h, 400);
	harness_close(h);
	clock_leaps();
	harness_open(h);
	harness_advance(h, 900); /* at most what has not been noted counts again */
	assert_int_equal(bin_count(h), 2);
	harness_advance(h, 200);
	assert_int_equal(bin_count(h), 0);
}

/* A minute or less of it is lost with a restart. */
TEST(the_time_in_the_bin_is_noted)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];

	harness_close(h);
	h->options.recycle_s = 1000;
	harness_open(h);
	make_kept(h, ids);
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	for (unsigned i = 0; i < 5; i++) {
		harness_advance(h, 170000);
		harness_reopen(h);
	}
	assert_int_equal(bin_count(h), 2);
	harness_advance(h, 390000); /* 850 s, of which 50 s each time are lost, at most */
	assert_int_equal(bin_count(h), 2);
	harness_advance(h, 20000);
	assert_int_equal(bin_count(h), 0);
}

/* Records of before running time was counted have the wall clock's times alone: their time begins anew. */
TEST(old_records_in_the_bin_begin_anew)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES], copy[512], k[UP_ID_BYTES];
	struct lun_recycled_view v;
	const void *key;
	uint8_t *value;
	size_t key_len, len;

	harness_close(h);
	h->options.recycle_s = 1;
	harness_open(h);
	make_kept(h, ids);
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	harness_close(h);
	for (unsigned i = 0; memstore_record(h->memory, STORE_TABLE_LUN, i, &key, &key_len, &value, &len);
		i++) {
		if (value[0] != 4)
			continue;
		memcpy(k, key, key_len);
		memcpy(copy, value, len - 12);
		copy[0] = 2;
		put_be32(
			copy + len - 12, XXH32(copy, len - 12, XXH32(k, key_len, (uint32_t)STORE_TABLE_LUN)));
		memstore_record_put(h->memory, STORE_TABLE_LUN, k, key_len, copy, len - 8);
	}
	clock_leaps();
	harness_open(h);
	assert_int_equal(bin_count(h), 2);
	assert_true(lun_recycled_next(h->array, NULL, &v));
	harness_advance(h, 900);
	assert_int_equal(bin_count(h), 2);
	harness_advance(h, 200);
	assert_int_equal(bin_count(h), 0);
}

TEST(the_bin_counts_as_luns)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES], id[UP_ID_BYTES];
	struct waiter w;

	h->options.luns_max = 4;
	bin_open(h);
	make_kept(h, ids);
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	lun_create(h->array, "more", MIB, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -EMLINK);
	assert_int_equal(set_begin(h->array, set_id(2), "", NULL), 0);
	assert_int_equal(
		set_add(h->array, set_id(2), "", lun_find_name(h->array, "a"), UP_COPY_DEFAULT, id, NULL),
		-EMLINK);
	assert_int_equal(do_purge(h, ids[0]), 0);
	assert_non_null(make_lun(h, "more", MIB));
}

TEST(a_full_store_tells_of_the_bin)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];

	bin_open(h);
	make_kept(h, ids);
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	memstore_fail(h->memory, 1, -ENOSPC, false);
	assert_int_equal(do_write(h, lun_find_name(h->array, "a"), 9, 1), -ENOSPC);
	assert_int_equal(events_with(h, "recycle bin hold"), 1);
	assert_int_equal(bin_count(h), 2); /* nothing is purged for it */
}

/* Plex copies go on where they were. */
TEST(a_plex_copy_goes_on_after_the_bin)
{
	struct harness *h = *state;
	struct lun *l;
	uint8_t id[UP_ID_BYTES];

	bin_open(h);
	l = make_lun(h, "a", MIB);
	memstore_timing(h->memory, MEMSTORE_HYDRATE, MEMSTORE_TIMED, 50);
	assert_int_equal(set_begin(h->array, set_id(1), "", NULL), 0);
	assert_int_equal(set_add(h->array, set_id(1), "", l, UP_COPY_PLEX, id, NULL), 0);
	assert_int_equal(do_arm(h, set_id(1), ""), 0);
	assert_int_equal(do_commit(h, set_id(1), "", 0), 0);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	harness_advance(h, 20);
	assert_int_equal(do_delete(h, lun_find(h->array, id)), 0);
	harness_reopen(h);
	harness_advance(h, 1000);
	assert_int_equal(do_undelete(h, id), 0);
	assert_int_equal(lun_find(h->array, id)->hydration, LUN_HYDRATION_RUNS);
	assert_int_equal(lun_find(h->array, id)->copy_kind, UP_COPY_PLEX);
	harness_advance(h, 1000);
	assert_int_equal(lun_find(h->array, id)->hydration, LUN_HYDRATION_FULL);
}

static void check_agreement(struct harness *h)
{
	unsigned luns = bin_count(h);
	char *before = harness_dump(h), *after;

	for (struct lun *l = lun_next(h->array, NULL); l; l = lun_next(h->array, l))
		luns++;
	assert_int_equal(memstore_disks(h->memory), luns);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_LUN), luns);
	unsigned bin = bin_count(h);
	harness_reopen(h);
	after = harness_dump(h);
	assert_string_equal(before, after);
	assert_int_equal(bin_count(h), bin);
	free(before);
	free(after);
}

/* Whatever call of the store fails, with and without a power loss: a copy is a LUN, or in the bin, or gone. */
TEST(any_call_fails_once)
{
	for (unsigned n = 1;; n++) {
		struct harness *h;
		uint8_t ids[2][UP_ID_BYTES];
		struct lun_recycled_view v;
		struct lun *l;

		assert_int_equal(harness_setup(state), 0);
		h = *state;
		bin_open(h);
		make_kept(h, ids);
		memstore_fail(h->memory, n, n % 3 ? -EIO : -ENOSPC, n % 2);
		do_delete(h, lun_find(h->array, ids[0]));
		do_undelete(h, ids[0]);
		do_set_delete(h, set_id(1));
		do_undelete(h, ids[1]);
		do_purge(h, ids[0]);
		bool failed = memstore_failed(h->memory);
		memstore_fail(h->memory, 0, 0, false);
		if (n % 2) {
			memstore_crash(h->memory, n % 4 == 1 ? n : 0);
			array_close(h->array);
			harness_open(h);
		}
		check_agreement(h);
		for (unsigned i = 0; i < 2; i++) {
			l = lun_find(h->array, ids[i]);
			if (l)
				assert_int_equal(do_read(h, l, 3), 0x11);
		}
		if (set_state(h, set_id(1)))
			assert_int_equal(do_set_delete(h, set_id(1)), 0);
		while (lun_recycled_next(h->array, NULL, &v))
			assert_int_equal(do_purge(h, v.id), 0);
		while ((l = lun_next(h->array, NULL)))
			assert_int_equal(do_delete(h, l), 0);
		assert_int_equal(memstore_disks(h->memory), 0);
		assert_int_equal(memstore_records(h->memory, STORE_TABLE_LUN), 0);
		assert_int_equal(memstore_records(h->memory, STORE_TABLE_SET), 0);
		harness_teardown(state);
		if (!failed) {
			assert_true(n > 10);
			break;
		}
	}
}

#endif

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

#ifndef HARNESS_POOL

/* What is seen of its disk follows a LUN wherever it goes. */
TEST(what_a_disk_is_called_follows_its_lun)
{
	struct harness *h = *state;
	uint8_t ids[2][UP_ID_BYTES];
	struct store_disk *copy;
	struct waiter w;
	struct lun *a;

	bin_open(h);
	make_kept(h, ids);
	harness_advance(h, 500);
	a = lun_find_name(h->array, "a");
	copy = lun_find(h->array, ids[0])->disk;
	assert_string_equal(memstore_label(a->disk), "a lun - -");
	assert_non_null(strstr(memstore_label(copy), " copy a nightly"));
	lun_rename(a, "tables", waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(do_delete(h, lun_find(h->array, ids[0])), 0);
	harness_advance(h, 500);
	assert_string_equal(memstore_label(a->disk), "tables lun - -");
	assert_non_null(strstr(memstore_label(copy), " recycled copy tables nightly"));
	assert_int_equal(do_undelete(h, ids[0]), 0);
	lun_break(lun_find(h->array, ids[1]), 0, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	harness_advance(h, 500);
	assert_non_null(strstr(memstore_label(copy), " copy tables nightly"));
	assert_non_null(strstr(memstore_label(lun_find(h->array, ids[1])->disk), " lun - -"));
	/* Not while there is a cut (memstore asserts it), and soon after it. */
	memstore_timing(h->memory, MEMSTORE_CUT, MEMSTORE_MANUAL, 0);
	make_armed(h, set_id(2), IQN_A, &a, 1, NULL);
	set_commit(h->array, set_id(2), IQN_A, 0, waiter_init(&w));
	make_lun(h, "new", MIB);
	harness_advance(h, 500);
	assert_string_equal(memstore_label(lun_find_name(h->array, "new")->disk), "");
	memstore_timing(h->memory, MEMSTORE_CUT, MEMSTORE_INLINE, 0);
	memstore_complete_all(h->memory);
	assert_int_equal(waiter_wait(h, &w), 0);
	harness_advance(h, 500);
	assert_string_equal(memstore_label(lun_find_name(h->array, "new")->disk), "new lun - -");
	/* One for as long as it is copied from is no LUN's. */
	lun_image_take(lun_find_name(h->array, "new"), waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	harness_advance(h, 500);
	assert_string_equal(memstore_label(w.call.image->disk), "- passing copy new -");
	lun_image_release(w.call.image);
	lun_image_take(lun_find_name(h->array, "new"), waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	lun_image_release(w.call.image); /* before it was shown */
	harness_advance(h, 500);
	/* One that a crash was quicker than. */
	make_lun(h, "late", MIB);
	harness_reopen(h);
	harness_advance(h, 500);
	assert_string_equal(memstore_label(lun_find_name(h->array, "late")->disk), "late lun - -");
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(a_deleted_copy_lies_in_the_bin_and_comes_back),
		t(what_is_purged_is_gone),
		t(what_is_in_the_way_is_named),
#ifndef HARNESS_POOL
		t(the_time_in_the_bin_ends),
		t(the_time_goes_on_over_restarts),
		t(the_wall_clock_purges_nothing),
		t(the_time_in_the_bin_is_noted),
		t(old_records_in_the_bin_begin_anew),
		t(the_bin_counts_as_luns),
		t(a_full_store_tells_of_the_bin),
		t(a_plex_copy_goes_on_after_the_bin),
		t(what_a_disk_is_called_follows_its_lun),
		cmocka_unit_test(any_call_fails_once),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
