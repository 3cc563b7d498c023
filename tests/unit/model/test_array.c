/* SPDX-License-Identifier: Apache-2.0 */
/* LUNs, hosts, mappings, nexuses and events: each rule of array.h, before and after a restart. */
#include "tests/unit/model/harness.h"
#include "proto/identity.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"
#define IQN_B "iqn.1991-05.com.microsoft:b"
#define IQN_L "iqn.1993-08.org.debian:01:l"

TEST(luns_are_created_found_and_there_after_a_restart)
{
	struct harness *h = *state;
	uint8_t id[UP_ID_BYTES], array[UP_ID_BYTES];
	struct lun *one = make_lun(h, "one", MIB), *two = make_lun(h, "two", 3 * MIB), *l;

	assert_ptr_equal(lun_find_name(h->array, "one"), one);
	assert_ptr_equal(lun_find(h->array, two->id), two);
	assert_null(lun_find_name(h->array, "three"));
	assert_ptr_equal(lun_next(h->array, NULL), one);
	assert_ptr_equal(lun_next(h->array, one), two);
	assert_null(lun_next(h->array, two));
	assert_int_equal(do_write(h, two, 7, 0x77), 0);
	assert_int_equal(do_flush(h, two), 0);
	memcpy(id, two->id, sizeof(id));
	memcpy(array, array_id(h->array), sizeof(array));
	harness_reopen(h);
	assert_memory_equal(array_id(h->array), array, sizeof(array));
	l = lun_find(h->array, id);
	assert_non_null(l);
	assert_string_equal(l->name, "two");
	assert_int_equal(l->size_bytes, 3 * MIB);
	assert_int_equal(l->kind, LUN_ORDINARY);
	assert_ptr_equal(lun_next(h->array, lun_find_name(h->array, "one")), l);
	assert_int_equal(do_read(h, l, 7), 0x77);
	assert_int_equal(do_read(h, l, 8), 0);
}

static int try_lun(struct harness *h, const char *name, uint64_t size)
{
	struct waiter w;

	lun_create(h->array, name, size, waiter_init(&w));
	return waiter_wait(h, &w);
}

TEST(bad_luns_are_refused)
{
	struct harness *h = *state;
	char longest[ARRAY_NAME_MAX_BYTES + 2];

	memset(longest, 'x', sizeof(longest));
	longest[ARRAY_NAME_MAX_BYTES + 1] = 0;
	assert_int_equal(try_lun(h, longest, MIB), -EINVAL);
	longest[ARRAY_NAME_MAX_BYTES] = 0;
	assert_int_equal(try_lun(h, longest, MIB), 0);
	assert_int_equal(try_lun(h, longest, MIB), -EEXIST);
	assert_int_equal(try_lun(h, "", MIB), -EINVAL);
	assert_int_equal(try_lun(h, "-x", MIB), -EINVAL);
	assert_int_equal(try_lun(h, "a b", MIB), -EINVAL);
	assert_int_equal(try_lun(h, "shadow-1", MIB), -EINVAL);
	/* what reads as an id could be taken for another LUN's */
	assert_int_equal(try_lun(h, "0123456789abcdef0123456789abcdef", MIB), -EINVAL);
	assert_int_equal(try_lun(h, "01234567-89AB-cdef-0123-456789abcdef", MIB), -EINVAL);
	assert_int_equal(try_lun(h, "a", MIB - 512), -EINVAL);
	assert_int_equal(try_lun(h, "a", MIB + 1), -EINVAL);
	assert_int_equal(try_lun(h, "a", ARRAY_LUN_MAX_BYTES + 512), -EINVAL);
	assert_null(lun_find_name(h->array, "a"));
}

TEST(a_lun_grows_and_never_shrinks)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB);
	struct waiter w;

	assert_int_equal(do_write(h, l, 2048, 1), -ERANGE);
	lun_resize(l, 2 * MIB, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(do_write(h, l, 2048, 1), 0);
	lun_resize(l, MIB, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -EINVAL);
	harness_reopen(h);
	assert_int_equal(lun_find_name(h->array, "l")->size_bytes, 2 * MIB);
}

TEST(a_lun_is_renamed)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "old", MIB);
	struct waiter w;

	make_lun(h, "other", MIB);
	lun_rename(l, "other", waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -EEXIST);
	lun_rename(l, "new", waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_null(lun_find_name(h->array, "old"));
	harness_reopen(h);
	assert_non_null(lun_find_name(h->array, "new"));
}

TEST(a_deleted_lun_is_gone_for_all)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB);
	uint8_t id[UP_ID_BYTES];

	memcpy(id, l->id, sizeof(id));
	lun_hold(l);
	assert_int_equal(do_delete(h, l), 0);
	assert_true(l->gone);
	assert_int_equal(do_read(h, l, 0), -ENODEV);
	assert_int_equal(do_delete(h, l), -ENODEV);
	assert_null(lun_find(h->array, id));
	assert_null(lun_find_name(h->array, "l"));
	lun_release(l);
	make_lun(h, "l", MIB);
	harness_reopen(h);
	assert_null(lun_find(h->array, id));
}

TEST(a_mapped_lun_is_not_deleted)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB);
	struct host *a = make_host(h, "a", IQN_A);

	assert_int_equal(do_map(h, a, l, 0), 1);
	assert_int_equal(do_delete(h, l), -EBUSY);
	assert_int_equal(do_unmap(h, a, l), 0);
	assert_int_equal(do_delete(h, l), 0);
}

static int try_host(struct harness *h, const char *name, const char *iqn, const char *second)
{
	struct host_record *r = calloc(1, sizeof(*r));
	struct waiter w;

	assert_non_null(r);
	strncpy(r->name, name, sizeof(r->name) - 1);
	strncpy(r->iqns[0], iqn, sizeof(r->iqns[0]) - 1);
	strncpy(r->iqns[1], second ? second : "", sizeof(r->iqns[1]) - 1);
	r->iqn_count = second ? 2 : 1;
	r->import = HOST_IMPORT_OWN;
	host_add(h->array, r, waiter_init(&w));
	free(r);
	return waiter_wait(h, &w);
}

TEST(hosts_have_unique_names_and_initiators)
{
	struct harness *h = *state;

	assert_int_equal(try_host(h, "a", "IQN.1991-05.com.microsoft:A", NULL), 0);
	assert_string_equal(host_record_of(host_find(h->array, "a"))->iqns[0], IQN_A);
	assert_ptr_equal(host_find_iqn(h->array, "iqn.1991-05.COM.microsoft:a"), host_find(h->array, "a"));
	assert_int_equal(try_host(h, "a", IQN_B, NULL), -EEXIST);
	assert_int_equal(try_host(h, "b", IQN_A, NULL), -EEXIST);
	assert_int_equal(try_host(h, "b", IQN_B, IQN_B), -EINVAL);
	assert_int_equal(try_host(h, "b", "windows", NULL), -EINVAL);
	assert_int_equal(try_host(h, "b", "iqn.", NULL), -EINVAL);
	assert_int_equal(try_host(h, "b", "iqn.a b", NULL), -EINVAL);
	assert_int_equal(try_host(h, "b!", IQN_B, NULL), -EINVAL);
	assert_int_equal(try_host(h, "b", IQN_B, "iqn.1991-05.com.microsoft:b2"), 0);
	harness_reopen(h);
	assert_non_null(host_find(h->array, "a"));
	assert_ptr_equal(host_find_iqn(h->array, "iqn.1991-05.com.microsoft:b2"), host_find(h->array, "b"));
}

TEST(a_host_record_survives_whole)
{
	struct harness *h = *state;
	struct host_record *r = calloc(1, sizeof(*r)), *got = calloc(1, sizeof(*got));
	struct waiter w;

	assert_non_null(r);
	assert_non_null(got);
	memcpy(r->name, "full", 5);
	r->iqn_count = ARRAY_HOST_IQNS_MAX;
	r->import_host_count = ARRAY_HOST_IQNS_MAX;
	for (unsigned i = 0; i < ARRAY_HOST_IQNS_MAX; i++) {
		memset(r->iqns[i], 'a' + (int)i, UP_NAME_MAX_BYTES);
		memcpy(r->iqns[i], "iqn.", 4);
		memset(r->import_hosts[i], 'a' + (int)i, ARRAY_NAME_MAX_BYTES);
	}
	memset(r->chap_user, 'u', ARRAY_CHAP_MAX_BYTES);
	memset(r->chap_secret, 's', ARRAY_CHAP_MAX_BYTES);
	memset(r->mutual_secret, 'm', ARRAY_CHAP_MAX_BYTES);
	r->control_lu = r->control_without_chap = true;
	r->import = HOST_IMPORT_NAMED;
	host_add(h->array, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	harness_reopen(h);
	*got = *host_record_of(host_find(h->array, "full"));
	assert_memory_equal(got, r, sizeof(*r));
	r->iqn_count = ARRAY_HOST_IQNS_MAX + 1;
	host_update(host_find(h->array, "full"), r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -EMLINK);
	free(r);
	free(got);
}

TEST(update_closes_sessions_that_are_not_allowed_any_more)
{
	struct harness *h = *state;
	struct host *a = make_host(h, "a", IQN_A);
	struct host_record *r = calloc(1, sizeof(*r));
	struct watcher plain, chap;
	struct waiter w;

	assert_non_null(r);
	assert_int_equal(watcher_attach(h, &plain, IQN_A, false), 0);
	assert_int_equal(watcher_attach(h, &chap, "iqn.1991-05.com.microsoft:A", true), 0);
	assert_int_equal(host_sessions(a), 2);
	*r = *host_record_of(a);
	memcpy(r->chap_secret, "secret", 7);
	host_update(a, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(plain.revoked, 1);
	assert_int_equal(chap.revoked, 1); /* not by this secret */
	watcher_detach(h, &plain);
	watcher_detach(h, &chap);
	assert_int_equal(watcher_attach(h, &plain, IQN_A, false), -EACCES);
	assert_int_equal(watcher_attach(h, &chap, IQN_A, true), 0);
	assert_int_equal(chap.revoked, 0);
	memcpy(r->iqns[0], IQN_B, sizeof(IQN_B));
	host_update(a, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(chap.revoked, 1);
	assert_int_equal(watcher_attach(h, &plain, IQN_A, true), -EACCES);
	memcpy(r->name, "b", 2);
	host_update(a, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -EINVAL);
	free(r);
	host_delete(a, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(chap.revoked, 2);
	assert_string_equal(host_record_of(chap.nexus.host)->name, "a"); /* valid until it detaches */
	watcher_detach(h, &chap);
	assert_null(host_find(h->array, "a"));
}

/* A session proves the secret of its login and no other. */
TEST(a_changed_secret_closes_all_sessions)
{
	struct harness *h = *state;
	struct host *a = make_host(h, "a", IQN_A);
	struct host_record *r = calloc(1, sizeof(*r));
	struct watcher session;
	struct waiter w;

	assert_non_null(r);
	*r = *host_record_of(a);
	memcpy(r->chap_secret, "secret", 7);
	host_update(a, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(watcher_attach(h, &session, IQN_A, true), 0);
	r->control_lu = true; /* another part of the record */
	host_update(a, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(session.revoked, 0);
	memcpy(r->chap_secret, "SECRET", 7);
	host_update(a, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(session.revoked, 1);
	memcpy(r->chap_user, "user", 5);
	host_update(a, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(session.revoked, 2);
	memcpy(r->mutual_secret, "ours", 5);
	host_update(a, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(session.revoked, 3);
	r->chap_secret[0] = r->mutual_secret[0] = 0; /* nothing to prove any more */
	host_update(a, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(session.revoked, 4);
	watcher_detach(h, &session);
	free(r);
}

TEST(one_secret_never_proves_both_sides)
{
	struct harness *h = *state;
	struct host *a = make_host(h, "a", IQN_A);
	struct host_record *r = calloc(1, sizeof(*r));
	struct waiter w;

	assert_non_null(r);
	*r = *host_record_of(a);
	memcpy(r->mutual_secret, "ours", 5);
	host_update(a, r, waiter_init(&w)); /* the host proves nothing */
	assert_int_equal(waiter_wait(h, &w), -EINVAL);
	memcpy(r->chap_secret, "ours", 5);
	host_update(a, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -EINVAL);
	memcpy(r->chap_secret, "theirs", 7);
	host_update(a, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	memcpy(r->name, "b", 2); /* our secret for all hosts may be one, but no host's */
	memcpy(r->iqns[0], IQN_B, sizeof(IQN_B));
	memcpy(r->chap_secret, "ours", 5);
	memcpy(r->mutual_secret, "other", 6);
	host_add(h->array, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -EINVAL);
	memcpy(r->chap_secret, "other-theirs", 13);
	memcpy(r->mutual_secret, "theirs", 7);
	host_add(h->array, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -EINVAL);
	memcpy(r->mutual_secret, "ours", 5);
	host_add(h->array, r, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	free(r);
}

TEST(numbers_start_at_one_and_rest)
{
	struct harness *h = *state;
	struct lun *l[4] = {make_lun(h, "l0", MIB), make_lun(h, "l1", MIB), make_lun(h, "l2", MIB),
		make_lun(h, "l3", MIB)};
	struct host *a = make_host(h, "a", IQN_L), *b = make_host(h, "b", IQN_B);
	struct lun *seen;

	assert_int_equal(do_map(h, a, l[0], 0), 1);
	assert_int_equal(do_map(h, a, l[1], 0), 2);
	assert_int_equal(do_map(h, a, l[0], 0), 1);
	assert_int_equal(do_map(h, a, l[0], 5), -EEXIST);
	assert_int_equal(do_map(h, a, l[2], 2), -EEXIST);
	assert_int_equal(do_map(h, a, l[2], ARRAY_LUN_NUMBER_MAX + 1), -EINVAL);
	assert_int_equal(do_map(h, a, l[2], ARRAY_LUN_NUMBER_MAX), ARRAY_LUN_NUMBER_MAX);
	assert_int_equal(do_map(h, b, l[0], 0), 1);
	assert_int_equal(l[0]->mappings, 2);
	assert_int_equal(do_unmap(h, a, l[0]), 0);
	assert_int_equal(do_unmap(h, a, l[0]), 0);
	assert_null(map_lun(a, 1));
	assert_int_equal(do_map(h, a, l[3], 0), 3); /* 1 rests */
	assert_int_equal(do_unmap(h, a, l[3]), 0);
	assert_int_equal(do_map(h, a, l[3], 1), 1); /* the administrator's word */
	assert_int_equal(map_next(a, 0, &seen), 1);
	assert_ptr_equal(seen, l[3]);
	assert_int_equal(map_next(a, 1, &seen), 2);
	assert_int_equal(map_next(a, 2, &seen), ARRAY_LUN_NUMBER_MAX);
	assert_int_equal(map_next(a, ARRAY_LUN_NUMBER_MAX, &seen), 0);
	harness_reopen(h);
	a = host_find(h->array, "a");
	assert_ptr_equal(map_lun(a, ARRAY_LUN_NUMBER_MAX), lun_find_name(h->array, "l2"));
	assert_int_equal(map_number(a, lun_find_name(h->array, "l3")), 1);
	assert_int_equal(map_number(a, lun_find_name(h->array, "l0")), 0);
}

TEST(the_rest_of_a_number_ends)
{
	struct harness *h = *state;
	struct lun *l, *m;
	struct host *a;

	harness_close(h);
	h->options.number_rest_ms = TICKS(50);
	harness_open(h);
	l = make_lun(h, "l", MIB);
	m = make_lun(h, "m", MIB);
	a = make_host(h, "a", IQN_A);
	assert_int_equal(do_map(h, a, l, 0), 1);
	assert_int_equal(do_unmap(h, a, l), 0);
	assert_int_equal(do_map(h, a, m, 0), 2);
	harness_advance(h, TICKS(60));
	assert_int_equal(do_map(h, a, l, 0), 1);
}

static int do_map_force(struct harness *h, struct host *host, struct lun *lun, uint32_t number)
{
	struct waiter w;
	int err;

	map_add(host, lun, number, MAP_FORCE, NULL, waiter_init(&w));
	err = waiter_wait(h, &w);
	return err ? err : (int)w.call.number;
}

/* An initiator recovers its session over a restart without looking which LUNs there are: its stale disk must
 * not meet another LUN. */
TEST(a_rest_outlives_restarts)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB), *m = make_lun(h, "m", MIB);
	struct host *a = make_host(h, "a", IQN_L);
	struct watcher w;

	assert_int_equal(do_map(h, a, l, 0), 1);
	assert_int_equal(watcher_attach(h, &w, IQN_L, true), 0);
	assert_int_equal(do_unmap(h, a, l), 0);
	watcher_detach(h, &w);
	for (int i = 0; i < 2; i++) {
		harness_reopen(h);
		a = host_find(h->array, "a");
		l = lun_find_name(h->array, "l");
		m = lun_find_name(h->array, "m");
		assert_int_equal(do_map(h, a, m, 1), -EBUSY); /* nobody is there yet; he may come back */
		assert_int_equal(watcher_attach(h, &w, IQN_L, true), 0);
		assert_int_equal(do_map(h, a, m, 1), -EBUSY);
		assert_int_equal(do_map(h, a, m, 0), 2 + 2 * i);
		assert_int_equal(do_unmap(h, a, m), 0); /* that one rests, too */
		assert_int_equal(do_map(h, a, l, 0), 3 + 2 * i);
		assert_int_equal(do_unmap(h, a, l), 0);
		assert_int_equal(do_map(h, a, m, 2), 2); /* its own disk comes back */
		assert_int_equal(do_unmap(h, a, m), 0);
		watcher_detach(h, &w);
	}
	assert_int_equal(do_map_force(h, a, m, 1), 1);
	harness_reopen(h);
	a = host_find(h->array, "a");
	l = lun_find_name(h->array, "l");
	m = lun_find_name(h->array, "m");
	assert_ptr_equal(map_lun(a, 1), m);
	assert_int_equal(do_map(h, a, l, 0), 6);
	/* all of them, and a host that is deleted leaves none behind */
	struct host *b = make_host(h, "b", IQN_B);
	struct waiter all;
	assert_int_equal(do_map(h, b, l, 200), 200);
	map_remove_all(l, NULL, waiter_init(&all));
	assert_int_equal(waiter_wait(h, &all), 0);
	assert_int_equal(do_unmap(h, a, m), 0);
	harness_reopen(h);
	a = host_find(h->array, "a");
	b = host_find(h->array, "b");
	m = lun_find_name(h->array, "m");
	assert_int_equal(do_map(h, a, lun_find_name(h->array, "l"), 1), -EBUSY); /* in an earlier life? */
	assert_int_equal(do_map(h, b, m, 200), 200); /* it had no session as long as it was mapped */
	assert_int_equal(do_unmap(h, b, m), 0);
	host_delete(a, waiter_init(&all));
	assert_int_equal(waiter_wait(h, &all), 0);
	host_delete(b, waiter_init(&all));
	assert_int_equal(waiter_wait(h, &all), 0);
	harness_reopen(h);
	a = make_host(h, "a", IQN_L);
	assert_int_equal(do_map(h, a, lun_find_name(h->array, "l"), 1), 1);
}

#ifndef HARNESS_RBD
#define REST_MS 40000000u /* no number rests for a tenth of it while a test runs */

/* What they have rested is a tenth at last. For the real clock nobody waits: what the rest is a tenth of changes. */
static void a_tenth_passes(struct harness *h)
{
#ifdef HARNESS_POOL
	h->options.number_rest_ms = 2 * REST_MS;
	array_reload(h->array, &h->options);
#else
	harness_advance(h, REST_MS / 10);
#endif
}

/* Hosts like Windows see numbers up to 254: rather than go beyond, one that has rested for a tenth is taken. */
TEST(numbers_are_taken_again_before_they_grow_too_high)
{
	struct harness *h = *state;
	struct lun *l, *m;
	struct host *a;

	harness_close(h);
	h->options.number_rest_ms = REST_MS;
	harness_open(h);
	l = make_lun(h, "l", MIB);
	m = make_lun(h, "m", MIB);
	a = make_host(h, "a", IQN_L);
	for (int i = 1; i <= 254; i++) {
		assert_int_equal(do_map(h, a, l, 0), i);
		assert_int_equal(do_unmap(h, a, l), 0);
	}
	assert_int_equal(do_map(h, a, l, 0), 255); /* none has rested long enough */
	a_tenth_passes(h);
	assert_int_equal(do_map(h, a, m, 0), 1); /* the one that has rested longest */
	assert_int_equal(do_unmap(h, a, m), 0);
	assert_int_equal(do_map(h, a, m, 0), 2);
}

static bool was_told(struct harness *h, const char *text)
{
	const struct array_event *e;

	for (uint64_t after = 0; (e = array_event_after(h->array, after)); after = e->serial)
		if (strstr(e->text, text))
			return true;
	return false;
}

/* Windows would not see them, and VSS wait in vain. */
TEST(windows_gets_no_number_that_it_cannot_see)
{
	struct harness *h = *state;
	struct lun *l, *m;
	struct host *a;

	harness_close(h);
	h->options.number_rest_ms = REST_MS;
	harness_open(h);
	l = make_lun(h, "l", MIB);
	m = make_lun(h, "m", MIB);
	a = make_host(h, "a", IQN_A);
	assert_int_equal(do_map(h, a, l, 255), -EINVAL);
	assert_int_equal(do_map(h, a, l, ARRAY_LUN_NUMBER_MAX), -EINVAL);
	assert_int_equal(do_map(h, a, l, 254), 254);
	assert_int_equal(do_unmap(h, a, l), 0);
	for (int i = 1; i <= 253; i++) {
		assert_int_equal(do_map(h, a, l, 0), i);
		assert_int_equal(do_unmap(h, a, l), 0);
	}
	assert_int_equal(do_map(h, a, m, 0), -EMLINK); /* all rest */
	assert_true(was_told(h, "runs Windows"));
	a_tenth_passes(h);
	assert_in_range(do_map(h, a, m, 0), 1, 254);
}
#endif

TEST(nexuses_hear_of_changes_except_the_asker)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB);
	struct host *a = make_host(h, "a", IQN_A), *b = make_host(h, "b", IQN_B);
	struct watcher one, two, other;
	struct waiter w;

	assert_int_equal(watcher_attach(h, &one, IQN_A, true), 0);
	assert_int_equal(watcher_attach(h, &two, IQN_A, true), 0);
	assert_int_equal(watcher_attach(h, &other, IQN_B, true), 0);
	map_add(a, l, 0, 0, &one.nexus, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(one.mappings_changed, 0);
	assert_int_equal(two.mappings_changed, 1);
	assert_int_equal(other.mappings_changed, 0);
	lun_resize(l, 2 * MIB, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(one.resized, 1);
	assert_int_equal(two.resized, 1);
	assert_int_equal(other.resized, 0);
	assert_int_equal(do_map(h, b, l, 0), 1);
	map_remove_all(l, &one.nexus, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(one.unmapped, 1);
	assert_int_equal(two.unmapped, 1);
	assert_int_equal(other.unmapped, 1);
	assert_int_equal(one.mappings_changed, 0);
	assert_int_equal(two.mappings_changed, 2);
	assert_int_equal(other.mappings_changed, 2);
	assert_int_equal(l->mappings, 0);
	watcher_detach(h, &one);
	watcher_detach(h, &two);
	watcher_detach(h, &other);
}

TEST(strangers_have_no_nexus)
{
	struct harness *h = *state;
	struct watcher w;

	assert_int_equal(watcher_attach(h, &w, IQN_A, true), -EACCES);
	watcher_detach(h, &w); /* harmless */
}

TEST(a_host_with_mappings_is_not_deleted)
{
	struct harness *h = *state;
	struct lun *l = make_lun(h, "l", MIB);
	struct host *a = make_host(h, "a", IQN_A);
	struct waiter w;

	assert_int_equal(do_map(h, a, l, 0), 1);
	host_delete(a, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -EBUSY);
	assert_int_equal(do_unmap(h, a, l), 0);
	host_delete(a, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	harness_reopen(h);
	assert_null(host_find(h->array, "a"));
}

TEST(bounds_are_refusals)
{
	struct harness *h = *state;

	harness_close(h);
	h->options.luns_max = 2;
	h->options.hosts_max = 1;
	harness_open(h);
	make_lun(h, "l0", MIB);
	make_lun(h, "l1", MIB);
	assert_int_equal(try_lun(h, "l2", MIB), -EMLINK);
	make_host(h, "a", IQN_A);
	assert_int_equal(try_host(h, "b", IQN_B, NULL), -EMLINK);
}

struct hearer {
	struct array_event_listener listener;
	unsigned heard;
};

static void hear(struct array_event_listener *l, const struct array_event *e)
{
	assert_true(e->serial > 0);
	container_of(l, struct hearer, listener)->heard++;
}

TEST(events_are_kept_and_heard)
{
	struct harness *h = *state;
	struct hearer hearer = {.listener.event = hear};
	const struct array_event *e;
	uint64_t first;

	array_event_listen(h->array, &hearer.listener);
	for (unsigned i = 0; i < 3000; i++)
		array_event_tell(h->array, ARRAY_EVENT_INFO, "test", "number %u", i);
	array_event_unlisten(&hearer.listener);
	array_event_tell(h->array, ARRAY_EVENT_ERROR, "a very long name for an area", "last");
	assert_int_equal(hearer.heard, 3000);
	e = array_event_after(h->array, 0);
	assert_non_null(e);
	first = e->serial;
	for (unsigned i = 1; i < 1024; i++) {
		e = array_event_after(h->array, e->serial);
		assert_non_null(e);
		assert_int_equal(e->serial, first + i);
	}
	assert_string_equal(e->text, "last");
	assert_null(array_event_after(h->array, e->serial));
	assert_null(array_event_after(h->array, UINT64_MAX));
}

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(luns_are_created_found_and_there_after_a_restart),
		t(bad_luns_are_refused),
		t(a_lun_grows_and_never_shrinks),
		t(a_lun_is_renamed),
		t(a_deleted_lun_is_gone_for_all),
		t(a_mapped_lun_is_not_deleted),
		t(hosts_have_unique_names_and_initiators),
		t(a_host_record_survives_whole),
		t(update_closes_sessions_that_are_not_allowed_any_more),
		t(a_changed_secret_closes_all_sessions),
		t(one_secret_never_proves_both_sides),
		t(numbers_start_at_one_and_rest),
		t(the_rest_of_a_number_ends),
		t(a_rest_outlives_restarts),
#ifndef HARNESS_RBD /* ten seconds each, in which nothing is asked of the store */
		t(numbers_are_taken_again_before_they_grow_too_high),
		t(windows_gets_no_number_that_it_cannot_see),
#endif
		t(nexuses_hear_of_changes_except_the_asker),
		t(strangers_have_no_nexus),
		t(a_host_with_mappings_is_not_deleted),
		t(bounds_are_refusals),
		t(events_are_kept_and_heard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
