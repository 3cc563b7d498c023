/* SPDX-License-Identifier: Apache-2.0 */
/* Copy sets as their callers see them: the life of a set, who may do what when, leases, restarts. */
#include <stdio.h>
#include "tests/unit/model/harness.h"
#include "proto/identity.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"
#define IQN_B "iqn.1991-05.com.microsoft:b"

static const uint8_t nothing[UP_ID_BYTES];

static void reopen_with(struct harness *h, uint32_t lease_ms, uint32_t gone_ms)
{
	harness_close(h);
	h->options.lease_ms = lease_ms;
	h->options.host_gone_ms = gone_ms;
	harness_open(h);
}

TEST(a_copy_holds_what_was_there_at_the_cut)
{
	struct harness *h = *state;
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", 2 * MIB)}, *shadow;
	uint8_t ids[2][UP_ID_BYTES];
	struct set_view v;
	struct waiter w;

	do_write(h, l[0], 3, 0x11);
	do_write(h, l[1], 4000, 0x22);
	make_armed(h, set_id(1), IQN_A, l, 2, ids);
	assert_null(lun_find(h->array, ids[0]));
	do_write(h, l[0], 3, 0x12);
	set_commit(h->array, set_id(1), IQN_A, 1000, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(set_state(h, set_id(1)), UP_SET_COMMITTED);
	do_write(h, l[0], 3, 0x13);
	do_write(h, l[1], 4000, 0x23);
	shadow = lun_find(h->array, ids[0]);
	assert_non_null(shadow);
	assert_int_equal(shadow->kind, LUN_SHADOW);
	assert_memory_equal(shadow->origin_id, l[0]->id, UP_ID_BYTES);
	assert_memory_equal(shadow->set_id, set_id(1), UP_ID_BYTES);
	assert_int_equal(shadow->size_bytes, MIB);
	assert_int_equal(do_read(h, shadow, 3), 0x12);
	assert_int_equal(do_read(h, lun_find(h->array, ids[1]), 4000), 0x22);
	assert_int_equal(do_write(h, shadow, 5, 0x55), 0); /* read/write */
	assert_int_equal(do_read(h, l[0], 5), 0);
	assert_int_equal(do_read(h, l[0], 3), 0x13);
	set_view_of(set_find(h->array, set_id(1), IQN_A), &v);
	assert_int_equal(v.member_count, 2);
	assert_int_equal(v.members[1].size_bytes, 2 * MIB);
	assert_int_equal(v.window_ns, w.call.window_ns);
	assert_true(v.cut_unix_ms > 0 && v.durable_ns > 0 && v.lease_left_ms > 0);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	assert_int_equal(set_state(h, set_id(1)), UP_SET_KEPT);
	do_flush(h, shadow);
	harness_reopen(h);
	shadow = lun_find(h->array, ids[0]);
	assert_int_equal(do_read(h, shadow, 3), 0x12);
	assert_int_equal(do_read(h, shadow, 5), 0x55);
	assert_int_equal(set_state(h, set_id(1)), UP_SET_KEPT);
}

TEST(adding_again_gives_the_same_shadow)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB);
	uint8_t a[UP_ID_BYTES], b[UP_ID_BYTES];
	struct set_view v;

	assert_int_equal(set_begin(h->array, set_id(1), IQN_A, NULL), 0);
	assert_int_equal(set_begin(h->array, set_id(1), IQN_A, NULL), 0);
	assert_int_equal(set_add(h->array, set_id(1), IQN_A, l, UP_COPY_DEFAULT, a, NULL), 0);
	assert_int_equal(set_add(h->array, set_id(1), IQN_A, l, UP_COPY_DIFFERENTIAL, b, NULL), 0);
	assert_memory_equal(a, b, UP_ID_BYTES);
	set_view_of(set_find(h->array, set_id(1), NULL), &v);
	assert_int_equal(v.member_count, 1);
	assert_int_equal(v.members[0].kind, UP_COPY_DIFFERENTIAL);
	assert_int_not_equal(up_id_naa(a), up_id_naa(l->id));
}

TEST(what_cannot_be_added_is_refused)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB), *m = make_lun(h, "m", MIB);
	uint8_t id[UP_ID_BYTES];
	struct fault f;

	assert_int_equal(set_add(h->array, set_id(1), IQN_A, l, UP_COPY_DEFAULT, id, &f), -ENOENT);
	assert_int_equal(set_begin(h->array, nothing, IQN_A, &f), -EINVAL);
	assert_int_equal(set_begin(h->array, set_id(1), IQN_A, &f), 0);
	assert_int_equal(set_add(h->array, set_id(1), IQN_A, l, (enum up_copy_kind)9, id, &f), -EINVAL);
	assert_int_equal(set_add(h->array, set_id(1), IQN_B, l, UP_COPY_DEFAULT, id, &f), -ENOENT);
	assert_int_equal(do_arm(h, set_id(1), IQN_A), -EINVAL);
	assert_int_equal(set_add(h->array, set_id(1), IQN_A, l, UP_COPY_DEFAULT, id, &f), 0);
	assert_int_equal(do_arm(h, set_id(1), IQN_A), 0);
	assert_int_equal(do_arm(h, set_id(1), IQN_A), 0);
	assert_int_equal(set_add(h->array, set_id(1), IQN_A, m, UP_COPY_DEFAULT, id, &f), -EBADFD);
	lun_hold(m);
	assert_int_equal(do_delete(h, m), 0);
	assert_int_equal(set_begin(h->array, set_id(2), IQN_A, &f), 0);
	assert_int_equal(set_add(h->array, set_id(2), IQN_A, m, UP_COPY_DEFAULT, id, &f), -ENODEV);
	lun_release(m);
}

TEST(a_set_belongs_to_its_owner)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB);

	make_armed(h, set_id(1), IQN_A, &l, 1, NULL);
	assert_int_equal(set_begin(h->array, set_id(1), IQN_B, NULL), -EEXIST);
	assert_int_equal(set_begin(h->array, set_id(1), "", NULL), -EEXIST);
	assert_null(set_find(h->array, set_id(1), IQN_B));
	assert_non_null(set_find(h->array, set_id(1), "IQN.1991-05.com.microsoft:A"));
	assert_int_equal(do_commit(h, set_id(1), IQN_B, 0), -ENOENT);
	assert_int_equal(do_abort(h, set_id(1), IQN_B), -ENOENT);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(1), IQN_B), -ENOENT);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
}

static void rename_initiator(struct harness *h, const char *name, const char *iqn)
{
	struct host *host = host_find(h->array, name);
	struct host_record r = *host_record_of(host);
	struct waiter w;

	snprintf(r.iqns[0], sizeof(r.iqns[0]), "%s", iqn);
	host_update(host, &r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
}

static void expect_owner(struct harness *h, unsigned set, const char *owner)
{
	struct set_view v;

	set_view_of(set_find(h->array, set_id(set), NULL), &v);
	assert_string_equal(v.owner, owner);
}

/* A catalogue of an earlier program has the initiator name that began a set. */
TEST(the_owner_of_an_old_set_becomes_the_host)
{
	struct harness *h = *state;
	struct lun *l;
	uint8_t ids[2][UP_ID_BYTES];
	struct waiter w;

	harness_close(h);
	h->options.recycle_s = 1000;
	harness_open(h);
	l = make_lun(h, "l", MIB);
	for (unsigned i = 0; i < 2; i++) { /* no host has the name: it stays the owner, as in an old record */
		make_armed(h, set_id(i + 1), IQN_A, &l, 1, &ids[i]);
		assert_int_equal(do_commit(h, set_id(i + 1), IQN_A, 0), 0);
		assert_int_equal(do_keep(h, set_id(i + 1), IQN_A), 0);
		expect_owner(h, i + 1, IQN_A);
	}
	assert_int_equal(do_delete(h, lun_find(h->array, ids[1])), 0); /* in the bin with its set's owner */
	make_host(h, "a", IQN_A);
	make_host(h, "b", IQN_B);
	assert_non_null(set_find(h->array, set_id(1), "a"));
	assert_non_null(set_find(h->array, set_id(1), IQN_A));
	assert_null(set_find(h->array, set_id(1), "b"));
	assert_null(set_find(h->array, set_id(1), ""));
	harness_reopen(h);
	expect_owner(h, 1, "a");
	rename_initiator(h, "a", "iqn.2026-01.test:rebuilt");
	harness_reopen(h);
	expect_owner(h, 1, "a");
	assert_null(set_find(h->array, set_id(1), IQN_A)); /* whoever has that name now */
	lun_undelete(h->array, ids[1], waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	expect_owner(h, 2, "a");
}

TEST(each_state_refuses_what_does_not_belong_to_it)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB);
	uint8_t id[UP_ID_BYTES];

	assert_int_equal(set_begin(h->array, set_id(1), "", NULL), 0);
	assert_int_equal(do_commit(h, set_id(1), "", 0), -EBADFD);
	assert_int_equal(do_keep(h, set_id(1), ""), -EBADFD);
	assert_int_equal(do_set_delete(h, set_id(1)), -EBADFD);
	assert_int_equal(set_add(h->array, set_id(1), "", l, UP_COPY_DEFAULT, id, NULL), 0);
	assert_int_equal(do_arm(h, set_id(1), ""), 0);
	assert_int_equal(set_begin(h->array, set_id(1), "", NULL), -EBADFD);
	assert_int_equal(do_keep(h, set_id(1), ""), -EBADFD);
	assert_int_equal(do_commit(h, set_id(1), "", 0), 0);
	assert_int_equal(do_commit(h, set_id(1), "", 0), -EBADFD);
	assert_int_equal(set_begin(h->array, set_id(1), "", NULL), -EEXIST);
	assert_int_equal(do_set_delete(h, set_id(1)), -EBADFD);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	assert_int_equal(do_abort(h, set_id(1), ""), -EBADFD);
	assert_int_equal(set_state(h, set_id(1)), UP_SET_KEPT);
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	assert_int_equal(do_set_delete(h, set_id(1)), -ENOENT);
	assert_int_equal(do_keep(h, set_id(1), ""), -ENOENT);
	assert_null(lun_find(h->array, id));
}

TEST(abort_undoes_every_state_before_kept)
{
	struct harness *h = *state;
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};
	uint8_t ids[2][UP_ID_BYTES];

	for (unsigned step = 0; step < 3; step++) {
		const uint8_t *set = set_id(10 + step);

		assert_int_equal(set_begin(h->array, set, IQN_A, NULL), 0);
		assert_int_equal(set_add(h->array, set, IQN_A, l[0], UP_COPY_DEFAULT, ids[0], NULL), 0);
		assert_int_equal(set_add(h->array, set, IQN_A, l[1], UP_COPY_DEFAULT, ids[1], NULL), 0);
		if (step > 0)
			assert_int_equal(do_arm(h, set, IQN_A), 0);
		if (step > 1)
			assert_int_equal(do_commit(h, set, IQN_A, 0), 0);
		assert_int_equal(do_delete(h, l[0]), -EBUSY);
		assert_int_equal(do_abort(h, set, IQN_A), 0);
		assert_int_equal(set_state(h, set), UP_SET_ABORTED);
		assert_int_equal(do_abort(h, set, IQN_A), 0);
		assert_int_equal(do_commit(h, set, IQN_A, 0), -EBADFD);
		assert_int_equal(do_keep(h, set, IQN_A), -EBADFD);
		assert_int_equal(set_begin(h->array, set, IQN_A, NULL), -EBADFD);
		assert_null(lun_find(h->array, ids[0]));
		assert_null(lun_find(h->array, ids[1]));
	}
	assert_int_equal(do_delete(h, l[0]), 0);
	assert_int_equal(do_abort(h, set_id(99), IQN_A), -ENOENT);
	harness_reopen(h);
	assert_null(lun_next(h->array, lun_next(h->array, NULL)));
	assert_null(set_next(h->array, NULL));
}

TEST(shadows_of_an_unkept_set_are_out_of_reach)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB), *shadow;
	struct host *a = make_host(h, "a", IQN_A);
	uint8_t id[1][UP_ID_BYTES], more[UP_ID_BYTES];

	make_armed(h, set_id(1), IQN_A, &l, 1, id);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	shadow = lun_find(h->array, id[0]);
	assert_int_equal(do_map(h, a, shadow, 0), -EBUSY);
	assert_int_equal(do_delete(h, shadow), -EBUSY);
	assert_int_equal(set_begin(h->array, set_id(2), "", NULL), 0);
	assert_int_equal(set_add(h->array, set_id(2), "", shadow, UP_COPY_DEFAULT, more, NULL), -EBUSY);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	assert_int_equal(set_add(h->array, set_id(2), "", shadow, UP_COPY_DEFAULT, more, NULL), 0);
	assert_int_equal(do_delete(h, shadow), -EBUSY); /* now an original of the other */
	assert_int_equal(do_set_delete(h, set_id(1)), -EBUSY);
	assert_int_equal(do_arm(h, set_id(2), ""), 0);
	assert_int_equal(do_commit(h, set_id(2), "", 0), 0); /* a shadow of a shadow */
	assert_int_equal(do_keep(h, set_id(2), ""), 0);
	assert_int_equal(do_map(h, a, shadow, 0), 1);
	assert_int_equal(do_set_delete(h, set_id(1)), -EBUSY);
	assert_int_equal(do_unmap(h, a, shadow), 0);
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	assert_non_null(lun_find(h->array, more));
	harness_reopen(h);
	assert_non_null(lun_find(h->array, more));
}

TEST(the_original_may_go_and_the_shadow_lives)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB);
	uint8_t id[1][UP_ID_BYTES];

	do_write(h, l, 1, 0x31);
	make_armed(h, set_id(1), "", &l, 1, id);
	assert_int_equal(do_commit(h, set_id(1), "", 0), 0);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	assert_int_equal(do_delete(h, l), 0);
	assert_int_equal(do_read(h, lun_find(h->array, id[0]), 1), 0x31);
	harness_reopen(h);
	assert_int_equal(do_read(h, lun_find(h->array, id[0]), 1), 0x31);
}

TEST(a_set_ends_with_its_last_shadow)
{
	struct harness *h = *state;
	struct lun *l[3] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB), make_lun(h, "c", MIB)};
	uint8_t ids[3][UP_ID_BYTES];
	struct set_view v;

	make_armed(h, set_id(1), "", l, 3, ids);
	assert_int_equal(do_commit(h, set_id(1), "", 0), 0);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	assert_int_equal(do_delete(h, lun_find(h->array, ids[1])), 0);
	set_view_of(set_find(h->array, set_id(1), NULL), &v);
	assert_int_equal(v.member_count, 2);
	assert_memory_equal(v.members[1].shadow_id, ids[2], UP_ID_BYTES);
	harness_reopen(h);
	set_view_of(set_find(h->array, set_id(1), NULL), &v);
	assert_int_equal(v.member_count, 2);
	assert_int_equal(do_delete(h, lun_find(h->array, ids[0])), 0);
	assert_int_equal(do_delete(h, lun_find(h->array, ids[2])), 0);
	assert_null(set_find(h->array, set_id(1), NULL));
	harness_reopen(h);
	assert_null(set_find(h->array, set_id(1), NULL));
	assert_int_equal(set_begin(h->array, set_id(1), "", NULL), 0);
}

static int note(struct harness *h, const uint8_t *set, const char *owner, const char *label, unsigned which)
{
	struct set_notes notes = {.writers = UP_WRITERS_LEFT_OUT, .frozen_us = 9};
	struct waiter w;

	snprintf(notes.label, sizeof(notes.label), "%s", label);
	set_note(h->array, set, owner, &notes, which, waiter_init(&w));
	return waiter_wait(h, &w);
}

TEST(a_label_before_the_commit_is_durable_with_it)
{
	struct harness *h = *state;
	struct lun *l[1] = {make_lun(h, "a", MIB)};
	uint8_t ids[1][UP_ID_BYTES];
	struct set_view v;

	make_armed(h, set_id(1), IQN_A, l, 1, ids);
	assert_int_equal(note(h, set_id(1), IQN_A, "nightly", SET_NOTE_LABEL), 0);
	assert_int_equal(note(h, set_id(1), IQN_B, "theirs", SET_NOTE_LABEL), -ENOENT);
	assert_int_equal(note(h, set_id(1), IQN_A, "", SET_NOTE_COST), -EBADFD);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	harness_reopen(h);
	set_view_of(set_find(h->array, set_id(1), NULL), &v);
	assert_string_equal(v.notes.label, "nightly");
	assert_int_equal(v.notes.writers, UP_WRITERS_NOT_TOLD);
	/* of a committed set, then of a kept one; one part leaves the other alone */
	assert_int_equal(note(h, set_id(1), IQN_A, "", SET_NOTE_COST), 0);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	assert_int_equal(note(h, set_id(1), IQN_A, "weekly", SET_NOTE_LABEL), 0);
	harness_reopen(h);
	set_view_of(set_find(h->array, set_id(1), NULL), &v);
	assert_string_equal(v.notes.label, "weekly");
	assert_int_equal(v.notes.writers, UP_WRITERS_LEFT_OUT);
	assert_int_equal(v.notes.frozen_us, 9);
	assert_false(v.notes.imported);
}

TEST(names_of_sets)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB);
	struct set *s;

	make_armed(h, set_id(1), "", &l, 1, NULL);
	s = set_find(h->array, set_id(1), "");
	assert_int_equal(set_rename(s, "nightly", NULL), 0);
	assert_int_equal(set_rename(s, "no name", NULL), -EINVAL);
	assert_int_equal(set_begin(h->array, set_id(2), "", NULL), 0);
	assert_int_equal(set_rename(set_find(h->array, set_id(2), ""), "nightly", NULL), -EEXIST);
	/* another name: the first is free again, and so is that of an aborted set */
	assert_int_equal(set_rename(s, "weekly", NULL), 0);
	assert_null(set_find_name(h->array, "nightly"));
	assert_ptr_equal(set_find_name(h->array, "weekly"), s);
	assert_int_equal(set_rename(set_find(h->array, set_id(2), ""), "nightly", NULL), 0);
	assert_int_equal(do_abort(h, set_id(2), ""), 0);
	assert_null(set_find_name(h->array, "nightly"));
	assert_int_equal(set_rename(s, "nightly", NULL), 0);
	assert_ptr_equal(set_find_name(h->array, "nightly"), s);
	assert_int_equal(do_commit(h, set_id(1), "", 0), 0);
	assert_int_equal(set_rename(s, "later", NULL), -EBADFD);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	harness_reopen(h);
	assert_ptr_equal(set_find_name(h->array, "nightly"), set_find(h->array, set_id(1), ""));
}

TEST(lease_ends_unkept_sets)
{
	struct harness *h = *state;
	struct lun *l;
	uint8_t id[1][UP_ID_BYTES];
	struct fault f;

	reopen_with(h, TICKS(200), 0);
	l = make_lun(h, "l", MIB);
	assert_int_equal(set_begin(h->array, set_id(1), IQN_A, &f), 0);
	make_armed(h, set_id(2), IQN_A, &l, 1, NULL);
	make_armed(h, set_id(3), IQN_A, &l, 1, id);
	assert_int_equal(do_commit(h, set_id(3), IQN_A, 0), 0);
	make_armed(h, set_id(4), IQN_A, &l, 1, NULL);
	assert_int_equal(do_commit(h, set_id(4), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(4), IQN_A), 0);
	for (int i = 0; i < 4; i++) {
		harness_advance(h, TICKS(100));
		set_touch(set_find(h->array, set_id(2), IQN_A));
	}
	assert_int_not_equal(set_state(h, set_id(1)), UP_SET_PREPARING);
	assert_int_equal(set_state(h, set_id(2)), UP_SET_ARMED);
	assert_int_not_equal(set_state(h, set_id(3)), UP_SET_COMMITTED);
	assert_null(lun_find(h->array, id[0]));
	assert_int_equal(set_state(h, set_id(4)), UP_SET_KEPT);
	harness_advance(h, TICKS(1000));
	assert_int_equal(set_state(h, set_id(1)), 0); /* forgotten */
	assert_int_equal(set_state(h, set_id(4)), UP_SET_KEPT);
	harness_reopen(h);
	assert_int_equal(set_state(h, set_id(4)), UP_SET_KEPT);
	assert_int_equal(set_state(h, set_id(3)), 0);
}

TEST(a_committed_set_gets_a_fresh_lease_at_the_start)
{
	struct harness *h = *state;
	struct lun *l;
	uint8_t id[1][UP_ID_BYTES];

	reopen_with(h, TICKS(600), 0);
	l = make_lun(h, "l", MIB);
	make_armed(h, set_id(1), "", &l, 1, id);
	assert_int_equal(do_commit(h, set_id(1), "", 0), 0);
	harness_advance(h, TICKS(320));
	harness_reopen(h);
	assert_int_equal(set_state(h, set_id(1)), UP_SET_COMMITTED);
	assert_int_equal(do_delete(h, lun_find_name(h->array, "l")), -EBUSY);
	harness_advance(h, TICKS(320));
	assert_int_equal(set_state(h, set_id(1)), UP_SET_COMMITTED);
	harness_advance(h, TICKS(400));
	assert_int_equal(set_state(h, set_id(1)), UP_SET_ABORTED);
	assert_null(lun_find(h->array, id[0]));
	assert_int_equal(do_delete(h, lun_find_name(h->array, "l")), 0);
}

TEST(a_committed_set_can_be_kept_after_a_restart)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB);
	uint8_t id[1][UP_ID_BYTES];

	make_armed(h, set_id(1), IQN_A, &l, 1, id);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	harness_reopen(h);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	harness_reopen(h);
	assert_int_equal(set_state(h, set_id(1)), UP_SET_KEPT);
	assert_int_equal(do_delete(h, lun_find_name(h->array, "l")), 0);
	assert_int_equal(do_delete(h, lun_find(h->array, id[0])), 0);
}

static int commit_asked(struct harness *h, uint64_t request_id, struct waiter *w)
{
	set_commit_asked(h->array, set_id(1), IQN_A, request_id, 0, waiter_init(w));
	return waiter_wait(h, w);
}

/* Whoever has asked for a commit and got no answer asks again, after a restart too; a second commit is none of it. */
TEST(a_commit_asked_for_again_after_a_restart_is_the_same_commit)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB);
	uint8_t id[1][UP_ID_BYTES];
	struct set_view v;
	struct waiter w;

	make_armed(h, set_id(1), IQN_A, &l, 1, id);
	assert_int_equal(commit_asked(h, 7, &w), 0);
	set_view_of(set_find(h->array, set_id(1), NULL), &v);
	harness_reopen(h);
	assert_int_equal(commit_asked(h, 8, &w), -EBADFD);
	assert_int_equal(commit_asked(h, 0, &w), -EBADFD);
	assert_int_equal(commit_asked(h, 7, &w), 0);
	assert_int_equal(w.call.window_ns, v.window_ns);
	note_set(h, set_id(1));
	harness_reopen(h);
	assert_int_equal(commit_asked(h, 7, &w), 0);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	harness_reopen(h);
	assert_int_equal(commit_asked(h, 7, &w), -EBADFD);
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
}

TEST(a_host_that_went_loses_its_unkept_sets)
{
	struct harness *h = *state;
	struct watcher one, two;
	struct lun *l;

	reopen_with(h, 0, TICKS(200));
	l = make_lun(h, "l", MIB);
	make_host(h, "a", IQN_A);
	assert_int_equal(watcher_attach(h, &one, IQN_A, true), 0);
	assert_int_equal(watcher_attach(h, &two, IQN_A, true), 0);
	make_armed(h, set_id(1), IQN_A, &l, 1, NULL);
	make_armed(h, set_id(2), "", &l, 1, NULL);
	watcher_detach(h, &one);
	harness_advance(h, TICKS(300));
	assert_int_equal(set_state(h, set_id(1)), UP_SET_ARMED); /* one session is left */
	watcher_detach(h, &two);
	harness_advance(h, TICKS(100));
	assert_int_equal(watcher_attach(h, &one, IQN_A, true), 0); /* it came back */
	harness_advance(h, TICKS(300));
	assert_int_equal(set_state(h, set_id(1)), UP_SET_ARMED);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	watcher_detach(h, &one);
	harness_advance(h, TICKS(300));
	assert_int_equal(set_state(h, set_id(1)), UP_SET_ABORTED);
	assert_int_equal(set_state(h, set_id(2)), UP_SET_ARMED);
	assert_int_equal(do_delete(h, l), -EBUSY);
	assert_int_equal(do_abort(h, set_id(2), ""), 0);
	assert_int_equal(do_delete(h, l), 0);
}

/* Either of a host's paths may have an initiator name of its own. */
TEST(a_set_is_its_hosts_under_each_of_its_names)
{
	struct harness *h = *state;
	struct host_record *r = calloc(1, sizeof(*r));
	struct lun *l;
	struct watcher one, two;
	struct waiter w;

	assert_non_null(r);
	reopen_with(h, 0, TICKS(200));
	l = make_lun(h, "l", MIB);
	snprintf(r->name, sizeof(r->name), "a");
	snprintf(r->iqns[0], sizeof(r->iqns[0]), "%s", IQN_A);
	snprintf(r->iqns[1], sizeof(r->iqns[1]), "%s", IQN_B);
	r->iqn_count = 2;
	r->import = HOST_IMPORT_OWN;
	host_add(h->array, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	snprintf(r->name, sizeof(r->name), "iqn.2026-01.test"); /* sets are whose name it is */
	r->iqn_count = 0;
	host_add(h->array, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -EINVAL);
	free(r);
	assert_int_equal(watcher_attach(h, &one, IQN_A, true), 0);
	assert_int_equal(watcher_attach(h, &two, IQN_B, true), 0);
	make_armed(h, set_id(1), IQN_A, &l, 1, NULL);
	assert_int_equal(do_commit(h, set_id(1), IQN_B, 0), 0);
	expect_owner(h, 1, "a");
	watcher_detach(h, &one);
	harness_advance(h, TICKS(300));
	assert_int_equal(set_state(h, set_id(1)), UP_SET_COMMITTED);
	watcher_detach(h, &two);
	harness_advance(h, TICKS(300));
	assert_int_equal(set_state(h, set_id(1)), UP_SET_ABORTED);
}

TEST(a_host_that_does_not_come_back_after_a_restart)
{
	struct harness *h = *state;
	struct lun *l;

	reopen_with(h, 0, TICKS(200));
	l = make_lun(h, "l", MIB);
	make_host(h, "a", IQN_A);
	make_armed(h, set_id(1), IQN_A, &l, 1, NULL);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	make_armed(h, set_id(2), "", &l, 1, NULL);
	assert_int_equal(do_commit(h, set_id(2), "", 0), 0);
	harness_reopen(h);
	harness_advance(h, TICKS(400));
	assert_int_equal(set_state(h, set_id(1)), UP_SET_ABORTED);
	assert_int_equal(set_state(h, set_id(2)), UP_SET_COMMITTED);
}

TEST(attentions_wait_from_arm_to_the_end_of_the_commit)
{
	struct harness *h = *state;
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", MIB)};
	struct host *a = make_host(h, "a", IQN_A);
	struct watcher w;
	struct waiter call;

	assert_int_equal(watcher_attach(h, &w, IQN_A, true), 0);
	assert_int_equal(do_map(h, a, l[0], 0), 1);
	assert_int_equal(w.mappings_changed, 1);
	make_armed(h, set_id(1), IQN_A, l, 1, NULL);
	make_armed(h, set_id(2), "", l, 1, NULL);
	assert_int_equal(do_map(h, a, l[1], 0), 2);
	assert_int_equal(do_unmap(h, a, l[1]), 0);
	lun_resize(l[0], 2 * MIB, waiter_init(&call));
	assert_int_equal(waiter_wait(h, &call), 0);
	assert_int_equal(w.mappings_changed, 1);
	assert_int_equal(w.resized, 0);
	assert_int_equal(w.unmapped, 1); /* the end of I/O does not wait */
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	assert_int_equal(w.mappings_changed, 1);
	assert_int_equal(do_abort(h, set_id(2), ""), 0);
	assert_int_equal(w.mappings_changed, 2);
	assert_int_equal(w.resized, 1);
	watcher_detach(h, &w);
}

TEST(import_rights)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB), *shadow;
	struct host *a = make_host(h, "a", IQN_A), *b = make_host(h, "b", IQN_B);
	struct host_record *r = calloc(1, sizeof(*r));
	uint8_t id[1][UP_ID_BYTES];
	struct waiter w;
	struct fault f;

	assert_non_null(r);
	assert_int_equal(do_map(h, a, l, 0), 1);
	make_armed(h, set_id(1), IQN_A, &l, 1, id);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	shadow = lun_find(h->array, id[0]);
	assert_int_equal(set_may_import(a, shadow, &f), 0);
	assert_int_equal(set_may_import(b, shadow, &f), -EPERM);
	assert_int_equal(set_may_import(a, l, &f), -EPERM);
	*r = *host_record_of(b);
	r->import = HOST_IMPORT_NAMED;
	host_update(b, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(set_may_import(b, shadow, &f), -EPERM);
	memcpy(r->import_hosts[0], "a", 2);
	r->import_host_count = 1;
	host_update(b, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(set_may_import(b, shadow, &f), 0);
	assert_int_equal(do_unmap(h, a, l), 0);
	assert_int_equal(set_may_import(b, shadow, &f), -EPERM);
	assert_int_equal(set_may_import(a, shadow, &f), -EPERM);
	r->import = HOST_IMPORT_ANY;
	host_update(b, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(set_may_import(b, shadow, &f), 0);
	assert_int_equal(do_delete(h, l), 0);
	assert_int_equal(set_may_import(b, shadow, &f), 0);
	/* the original is gone: who took the copy stands for those that saw the original */
	assert_int_equal(set_may_import(a, shadow, &f), 0);
	r->import = HOST_IMPORT_NAMED;
	host_update(b, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(set_may_import(b, shadow, &f), 0);
	r->import = HOST_IMPORT_OWN;
	r->import_host_count = 0;
	host_update(b, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(set_may_import(b, shadow, &f), -EPERM);
	free(r);
}

TEST(bounds_of_sets)
{
	struct harness *h = *state;
	struct lun *l[3];
	uint8_t id[UP_ID_BYTES];

	harness_close(h);
	h->options.luns_max = 6;
	h->options.sets_max = 2;
	h->options.set_luns_max = 2;
	harness_open(h);
	for (unsigned i = 0; i < 3; i++) {
		char name[8];

		snprintf(name, sizeof(name), "l%u", i);
		l[i] = make_lun(h, name, MIB);
	}
	assert_int_equal(set_begin(h->array, set_id(1), "", NULL), 0);
	assert_int_equal(set_begin(h->array, set_id(2), "", NULL), 0);
	assert_int_equal(set_begin(h->array, set_id(3), "", NULL), -EMLINK);
	assert_int_equal(set_add(h->array, set_id(1), "", l[0], UP_COPY_DEFAULT, id, NULL), 0);
	assert_int_equal(set_add(h->array, set_id(1), "", l[1], UP_COPY_DEFAULT, id, NULL), 0);
	assert_int_equal(set_add(h->array, set_id(1), "", l[2], UP_COPY_DEFAULT, id, NULL), -EMLINK);
	assert_int_equal(set_add(h->array, set_id(2), "", l[0], UP_COPY_DEFAULT, id, NULL), 0);
	assert_int_equal(set_add(h->array, set_id(2), "", l[1], UP_COPY_DEFAULT, id, NULL), -EMLINK);
	assert_int_equal(do_abort(h, set_id(1), ""), 0);
	assert_int_equal(set_add(h->array, set_id(2), "", l[1], UP_COPY_DEFAULT, id, NULL), 0);
	assert_int_equal(set_begin(h->array, set_id(3), "", NULL), 0);
}

/* Aborted sets are remembered, but only so many. */
TEST(aborted_sets_are_forgotten_in_the_end)
{
	struct harness *h = *state;
	unsigned count = 0;

	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(set_begin(h->array, set_id(i), "", NULL), 0);
		assert_int_equal(do_abort(h, set_id(i), ""), 0);
	}
	for (struct set *s = set_next(h->array, NULL); s; s = set_next(h->array, s))
		count++;
	assert_int_equal(count, 256);
	assert_int_equal(do_abort(h, set_id(0), ""), -ENOENT);
	assert_int_equal(do_abort(h, set_id(999), ""), 0);
}

TEST(sixty_four_luns_in_one_set)
{
	struct harness *h = *state;
	static struct lun *l[64];
	static uint8_t ids[64][UP_ID_BYTES];
	struct set_view v;

	for (unsigned i = 0; i < 64; i++) {
		char name[8];

		snprintf(name, sizeof(name), "l%u", i);
		l[i] = make_lun(h, name, MIB);
		assert_int_equal(do_write(h, l[i], i, (uint8_t)(i + 1)), 0);
	}
	make_armed(h, set_id(1), "", l, 64, ids);
	assert_int_equal(do_commit(h, set_id(1), "", 0), 0);
	assert_int_equal(do_keep(h, set_id(1), ""), 0);
	harness_reopen(h);
	set_view_of(set_find(h->array, set_id(1), NULL), &v);
	assert_int_equal(v.member_count, 64);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(do_read(h, lun_find(h->array, ids[i]), i), i + 1);
	assert_int_equal(do_set_delete(h, set_id(1)), 0);
	for (unsigned i = 0; i < 64; i++)
		assert_null(lun_find(h->array, ids[i]));
}

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(a_copy_holds_what_was_there_at_the_cut),
		t(adding_again_gives_the_same_shadow),
		t(what_cannot_be_added_is_refused),
		t(a_set_belongs_to_its_owner),
		t(the_owner_of_an_old_set_becomes_the_host),
		t(a_set_is_its_hosts_under_each_of_its_names),
		t(each_state_refuses_what_does_not_belong_to_it),
		t(abort_undoes_every_state_before_kept),
		t(shadows_of_an_unkept_set_are_out_of_reach),
		t(the_original_may_go_and_the_shadow_lives),
		t(a_set_ends_with_its_last_shadow),
		t(a_label_before_the_commit_is_durable_with_it),
		t(names_of_sets),
		t(lease_ends_unkept_sets),
		t(a_committed_set_gets_a_fresh_lease_at_the_start),
		t(a_committed_set_can_be_kept_after_a_restart),
		t(a_commit_asked_for_again_after_a_restart_is_the_same_commit),
		t(a_host_that_went_loses_its_unkept_sets),
		t(a_host_that_does_not_come_back_after_a_restart),
		t(attentions_wait_from_arm_to_the_end_of_the_commit),
		t(import_rights),
		t(bounds_of_sets),
		t(aborted_sets_are_forgotten_in_the_end),
		t(sixty_four_luns_in_one_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
