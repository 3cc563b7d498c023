/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation of the array's fails in turn, in opening and in a scenario of all calls: each gets an
 * answer, memory and catalogue agree, nothing leaks (the sanitizer build looks), and in the end everything
 * can be deleted.
 */
#include <stdlib.h>
#include "tests/unit/model/harness.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"

static unsigned long fail_at, allocations; /* fail_at 0: none */

/* In place of calloc and malloc in the array's objects (meson.build). */
void *harness_calloc(size_t n, size_t size);
void *harness_malloc(size_t size);

static bool refuse(void)
{
	return ++allocations == fail_at;
}

void *harness_calloc(size_t n, size_t size)
{
	return refuse() ? NULL : calloc(n, size);
}

void *harness_malloc(size_t size)
{
	return refuse() ? NULL : malloc(size);
}

static struct lun *try_lun(struct harness *h, const char *name)
{
	struct waiter w;

	lun_create(h->array, name, MIB, waiter_init(&w));
	return waiter_wait(h, &w) ? NULL : w.call.lun;
}

static struct host *try_host(struct harness *h)
{
	static struct host_record r;
	struct waiter w;

	memset(&r, 0, sizeof(r));
	memcpy(r.name, "a", 2);
	memcpy(r.iqns[0], IQN_A, sizeof(IQN_A));
	r.iqn_count = 1;
	r.import = HOST_IMPORT_OWN;
	host_add(h->array, &r, waiter_init(&w));
	return waiter_wait(h, &w) ? NULL : w.call.host;
}

/* A plex copy's life: marked, resynced from, into the bin and out of it, broken. */
static void copies(struct harness *h, struct lun *original)
{
	uint8_t id[UP_ID_BYTES];
	struct waiter w;
	struct lun *copy;

	if (!original || set_begin(h->array, set_id(5), "", NULL) ||
		set_add(h->array, set_id(5), "", original, UP_COPY_PLEX, id, NULL) ||
		do_arm(h, set_id(5), "") || do_commit(h, set_id(5), "", 0) || do_keep(h, set_id(5), ""))
		return;
	copy = lun_find(h->array, id);
	lun_notify(copy, UP_NOTIFY_READ_WRITE, waiter_init(&w));
	waiter_wait(h, &w);
	lun_resync_start(h->array, "", copy, original, 0, waiter_init(&w));
	waiter_wait(h, &w);
	harness_advance(h, 10);
	if (do_delete(h, copy) == 0) {
		lun_undelete(h->array, id, waiter_init(&w));
		waiter_wait(h, &w);
	}
	copy = lun_find(h->array, id);
	if (copy && do_set_delete(h, set_id(5)) == 0) {
		lun_undelete(h->array, id, waiter_init(&w));
		waiter_wait(h, &w);
	}
	copy = lun_find(h->array, id);
	if (copy) {
		lun_break(copy, 0, waiter_init(&w));
		waiter_wait(h, &w);
	}
	lun_purge(h->array, id, waiter_init(&w));
	waiter_wait(h, &w);
}

static void scenario(struct harness *h)
{
	struct lun *l[2] = {try_lun(h, "a"), try_lun(h, "b")};
	struct host *a = try_host(h);
	uint8_t id[UP_ID_BYTES];
	struct waiter w;

	if (a && l[0]) {
		do_map(h, a, l[0], 0);
		host_update(a, host_record_of(a), waiter_init(&w));
		waiter_wait(h, &w);
		lun_keep_reservations(l[0], "kept", 4, waiter_init(&w));
		waiter_wait(h, &w);
	}
	for (unsigned n = 1; n <= 4; n++) {
		const char *owner = n % 2 ? IQN_A : ""; /* the host's needs room that is set aside */
		bool added = set_begin(h->array, set_id(n), owner, NULL) == 0;

		for (unsigned i = 0; i < 2; i++)
			if (added && l[i])
				assert_int_equal(
					set_add(h->array, set_id(n), owner, l[i], UP_COPY_DEFAULT, id, NULL),
					0);
		do_arm(h, set_id(n), owner);
		memstore_timing(
			h->memory, MEMSTORE_CUT_COMMIT, n == 4 ? MEMSTORE_TIMED : MEMSTORE_INLINE, 100);
		set_commit(h->array, set_id(n), owner, 10, waiter_init(&w));
		waiter_wait(h, &w);
		if (n % 2)
			do_keep(h, set_id(n), owner);
		if (n > 1)
			do_abort(h, set_id(n), owner);
	}
	memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
	copies(h, l[0]);
	harness_advance(h, 60000);
	do_set_delete(h, set_id(3));
	lun_rename(l[0] ? l[0] : l[1], "c", waiter_init(&w));
	waiter_wait(h, &w);
	if (a && l[0])
		do_unmap(h, a, l[0]);
}

static void clean(struct harness *h)
{
	struct lun_recycled_view bin;
	struct set *s, *next;
	struct host *a;
	struct lun *l;

	for (s = set_next(h->array, NULL); s; s = next) {
		struct set_view v;

		next = set_next(h->array, s);
		set_view_of(s, &v);
		assert_true(v.state == UP_SET_KEPT || v.state == UP_SET_ABORTED);
		if (v.state == UP_SET_KEPT)
			assert_int_equal(do_set_delete(h, v.id), 0);
	}
	while ((a = host_next(h->array, NULL))) {
		struct waiter w;

		while (map_next(a, 0, &l))
			assert_int_equal(do_unmap(h, a, l), 0);
		host_delete(a, waiter_init(&w));
		assert_int_equal(waiter_wait(h, &w), 0);
	}
	while ((l = lun_next(h->array, NULL)))
		assert_int_equal(do_delete(h, l), 0);
	while (lun_recycled_next(h->array, NULL, &bin)) {
		struct waiter w;

		lun_purge(h->array, bin.id, waiter_init(&w));
		assert_int_equal(waiter_wait(h, &w), 0);
	}
	assert_int_equal(memstore_disks(h->memory), 0);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_SET), 0);
}

TEST(any_allocation_of_a_call_fails)
{
	for (unsigned n = 1;; n++) {
		struct harness *h;
		char *before, *after;

		assert_int_equal(harness_setup(state), 0);
		h = *state;
		harness_close(h);
		h->options.lease_ms = 5000;
		h->options.recycle_s = 3600;
		harness_open(h);
		allocations = 0;
		fail_at = n;
		scenario(h);
		bool failed = allocations >= n;
		fail_at = 0;
		before = harness_dump(h);
		harness_reopen(h);
		after = harness_dump(h);
		assert_string_equal(before, after);
		free(before);
		free(after);
		harness_advance(h, 10000);
		clean(h);
		harness_teardown(state);
		if (!failed) {
			print_message("fails at each of %u allocations\n", n - 1);
			assert_true(n > 50);
			break;
		}
	}
}

TEST(any_allocation_of_opening_fails)
{
	struct harness *h;

	assert_int_equal(harness_setup(state), 0);
	h = *state;
	scenario(h);
	for (unsigned n = 1;; n++) {
		struct fault fault;
		int err;

		harness_close(h);
		allocations = 0;
		fail_at = n;
		err = harness_try_open(h, &fault);
		bool failed = allocations >= n;
		fail_at = 0;
		assert_int_equal(err, failed ? -ENOMEM : 0);
		if (!failed) {
			assert_true(n > 10);
			break;
		}
		assert_int_equal(fault.err, -ENOMEM);
		h->array = NULL;
	}
	harness_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_allocation_of_a_call_fails),
		cmocka_unit_test(any_allocation_of_opening_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
