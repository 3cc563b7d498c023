/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An array that stands by: opened over a snapshot of another one's catalogue. It has the hosts, LUNs and mappings, refuses every
 * change, and nothing goes on in it by itself.
 */
#include "array/store/snapshot.h"
#include "tests/unit/model/harness.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"
#define IQN_B "iqn.1991-05.com.microsoft:b"

struct copying {
	struct snapshot *to;
	enum store_table table;
};

static int copy_record(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct copying *c = arg;

	return snapshot_record(c->to, c->table, key, key_len, value, value_len);
}

/* As a controller gets it: without what is the owner's affair. */
static struct snapshot *take(struct harness *h)
{
	static const enum store_table tables[] = {
		STORE_TABLE_META, STORE_TABLE_LUN, STORE_TABLE_HOST, STORE_TABLE_MAP};
	const struct store_ops *ops = h->store->ops;
	struct copying c = {.to = snapshot_new(h->reactor)};

	assert_non_null(c.to);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		c.table = tables[i];
		assert_int_equal(ops->iterate(h->store, tables[i], copy_record, &c), 0);
	}
	for (struct lun *l = lun_next(h->array, NULL); l; l = lun_next(h->array, l))
		assert_int_equal(snapshot_disk(c.to, ops->disk_id(l->disk), ops->disk_size(l->disk), 0), 0);
	return c.to;
}

static void closed(void *arg, int err)
{
	*(unsigned *)arg += err == 0;
}

struct standby {
	struct store *store;
	struct array *array;
};

static void stand_by(struct harness *h, struct standby *s)
{
	struct array_options options = h->options;
	struct fault fault = {0};

	s->store = snapshot_store(take(h));
	options.reactor = h->reactor;
	options.store = s->store;
	options.standby = true;
	options.copy_kind = UP_COPY_PLEX;
	assert_int_equal(array_open(&options, &s->array, &fault), 0);
}

static void end(struct standby *s)
{
	unsigned count = 0;

	array_close(s->array);
	s->store->ops->close(s->store, closed, &count);
	assert_int_equal(count, 1);
}

/* One of everything that a catalogue can have, hydrations and the recycle bin included. */
static void populate(struct harness *h)
{
	struct lun *l[2] = {make_lun(h, "a", MIB), make_lun(h, "b", 2 * MIB)};
	struct host *a = make_host(h, "host-a", IQN_A);
	uint8_t shadows[2][UP_ID_BYTES];
	struct waiter w;

	assert_int_equal(do_map(h, a, l[0], 5), 5);
	make_host(h, "host-b", IQN_B);
	lun_keep_reservations(l[0], "reservations", 12, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	make_armed(h, set_id(1), IQN_A, l, 2, shadows);
	assert_int_equal(do_commit(h, set_id(1), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(1), IQN_A), 0);
	assert_true(do_map(h, a, lun_find(h->array, shadows[0]), 0) > 0);
	make_armed(h, set_id(2), "", l, 1, NULL);
	assert_int_equal(do_commit(h, set_id(2), "", 0), 0);
}

/* A plex copy that is not full: its owner goes on copying. */
static void copies_under_way(struct harness *h)
{
	uint8_t id[UP_ID_BYTES];

	memstore_timing(h->memory, MEMSTORE_HYDRATE, MEMSTORE_TIMED, 100000000);
	assert_int_equal(set_begin(h->array, set_id(3), IQN_A, NULL), 0);
	assert_int_equal(
		set_add(h->array, set_id(3), IQN_A, lun_find_name(h->array, "b"), UP_COPY_PLEX, id, NULL), 0);
	assert_int_equal(do_arm(h, set_id(3), IQN_A), 0);
	assert_int_equal(do_commit(h, set_id(3), IQN_A, 0), 0);
	assert_int_equal(do_keep(h, set_id(3), IQN_A), 0);
	assert_int_equal(lun_find(h->array, id)->hydration, LUN_HYDRATION_RUNS);
}

TEST(it_shows_hosts_luns_and_mappings)
{
	struct harness *h = *state;
	struct standby s;
	struct host *host;
	struct lun *lun;

	populate(h);
	stand_by(h, &s);
	assert_memory_equal(array_id(s.array), array_id(h->array), UP_ID_BYTES);
	host = host_find_iqn(s.array, IQN_A);
	assert_non_null(host);
	assert_non_null(host_find(s.array, "host-b"));
	lun = lun_find_name(s.array, "a");
	assert_non_null(lun);
	assert_int_equal(lun->size_bytes, MIB);
	assert_memory_equal(lun->id, lun_find_name(h->array, "a")->id, UP_ID_BYTES);
	assert_ptr_equal(map_lun(host, 5), lun);
	/* the copies are LUNs too, mapped ones as any other; their sets are the owner's */
	for (struct lun *l = lun_next(h->array, NULL); l; l = lun_next(h->array, l))
		assert_non_null(lun_find(s.array, l->id));
	assert_null(set_find(s.array, set_id(1), NULL));
	assert_null(lun->reservations);
	end(&s);
}

TEST(it_changes_nothing)
{
	struct harness *h = *state;
	struct standby s;
	struct waiter w;

	populate(h);
	stand_by(h, &s);
	lun_create(s.array, "new", MIB, waiter_init(&w));
	assert_int_equal(w.done, 1);
	assert_int_equal(w.call.fault.err, -ESHUTDOWN);
	assert_non_null(strstr(w.call.fault.text, "stands by"));
	map_remove_all(lun_find_name(s.array, "a"), NULL, waiter_init(&w));
	assert_int_equal(w.call.fault.err, -ESHUTDOWN);
	lun_delete(lun_find_name(s.array, "b"), waiter_init(&w));
	assert_int_equal(w.call.fault.err, -ESHUTDOWN);
	end(&s);
}

/* The array that was served goes on showing what there is, and the one that follows it goes on with its events. */
TEST(an_owner_that_is_replaced_changes_nothing_any_more)
{
	struct harness *h = *state;
	struct standby s;
	struct waiter w;
	const struct array_event *last = NULL, *e;
	uint64_t serial = 0, warnings;

	populate(h);
	array_event_tell(h->array, ARRAY_EVENT_WARNING, "test", "the last words: %u", 7);
	warnings = array_event_count(h->array, ARRAY_EVENT_WARNING);
	array_stand_by(h->array);
	lun_create(h->array, "new", MIB, waiter_init(&w));
	assert_int_equal(w.call.fault.err, -ESHUTDOWN);
	assert_non_null(strstr(w.call.fault.text, "stands by"));
	assert_non_null(lun_find_name(h->array, "a"));
	stand_by(h, &s);
	array_event_inherit(s.array, h->array);
	while ((e = array_event_after(s.array, serial))) {
		last = e;
		serial = e->serial;
	}
	assert_non_null(last);
	assert_string_equal(last->text, "the last words: 7");
	assert_int_equal(array_event_count(s.array, ARRAY_EVENT_WARNING), warnings);
	array_event_tell(s.array, ARRAY_EVENT_INFO, "test", "one more: %u", 8);
	assert_int_equal(array_event_after(s.array, serial)->serial, serial + 1);
	end(&s);
}

/* Leases run out, unkept sets end, images are deleted: at the owner, not here. */
TEST(nothing_goes_on_by_itself)
{
	struct harness *h = *state;
	struct array_options fresh;
	struct standby s;

	populate(h);
	copies_under_way(h);
	stand_by(h, &s);
	fresh = *array_settings(s.array);
	fresh.hydrations_max = 4;
	array_reload(s.array, &fresh);
	harness_advance(h, TICKS(700000));
	assert_int_equal(array_event_count(s.array, ARRAY_EVENT_WARNING), 0);
	assert_int_equal(array_event_count(s.array, ARRAY_EVENT_ERROR), 0);
	end(&s);
}

/* A catalogue that was read while it changed may name what is not there yet: it is refused as a whole. */
TEST(half_a_change_is_refused)
{
	struct harness *h = *state;
	struct array_options options = h->options;
	struct copying c = {.to = snapshot_new(h->reactor), .table = STORE_TABLE_MAP};
	struct fault fault = {0};
	struct array *a;
	unsigned count = 0;

	populate(h);
	assert_int_equal(h->store->ops->iterate(h->store, STORE_TABLE_MAP, copy_record, &c), 0);
	options.reactor = h->reactor;
	options.store = snapshot_store(c.to);
	options.standby = true;
	assert_int_equal(array_open(&options, &a, &fault), -EUCLEAN);
	options.store->ops->close(options.store, closed, &count);
	assert_int_equal(count, 1);
}

TEST(a_digest_tells_what_hosts_would_see)
{
	struct harness *h = *state;
	struct snapshot *one, *two;
	struct store_disk *disk;
	uint64_t before;

	populate(h);
	one = take(h);
	two = take(h);
	assert_int_equal(snapshot_digest(one), snapshot_digest(two));
	before = snapshot_digest(one);
	snapshot_free(two);
	/* in another order; the owner's notes */
	two = snapshot_new(h->reactor);
	assert_int_equal(snapshot_record(two, STORE_TABLE_HOST, "k", 1, "v", 1), 0);
	assert_int_equal(snapshot_record(two, STORE_TABLE_LUN, "l", 1, "w", 1), 0);
	snapshot_free(one);
	one = snapshot_new(h->reactor);
	assert_int_equal(snapshot_record(one, STORE_TABLE_LUN, "l", 1, "w", 1), 0);
	assert_int_equal(snapshot_record(one, STORE_TABLE_META, "ran", 3, "17", 2), 0);
	assert_int_equal(snapshot_record(one, STORE_TABLE_HOST, "k", 1, "v", 1), 0);
	assert_int_equal(snapshot_digest(one), snapshot_digest(two));
	/* a key that runs into its value; a disk that has grown */
	snapshot_free(one);
	one = snapshot_new(h->reactor);
	assert_int_equal(snapshot_record(one, STORE_TABLE_LUN, "lw", 2, "", 0), 0);
	assert_int_equal(snapshot_record(one, STORE_TABLE_HOST, "k", 1, "v", 1), 0);
	assert_int_not_equal(snapshot_digest(one), snapshot_digest(two));
	snapshot_free(one);
	snapshot_free(two);
	one = take(h);
	assert_int_equal(snapshot_digest(one), before);
	assert_int_equal(snapshot_disk(one, 999, MIB, 0), 0);
	assert_int_not_equal(snapshot_digest(one), before);
	/* the same disk with other data, after a resync */
	before = snapshot_digest(one);
	snapshot_free(one);
	one = take(h);
	assert_int_equal(snapshot_disk(one, 999, MIB, 1), 0);
	assert_int_not_equal(snapshot_digest(one), before);
	assert_int_equal(snapshot_store(one)->ops->disk_open(snapshot_store(one), 999, &disk), 0);
	assert_int_equal(snapshot_store(one)->ops->disk_data(disk), 1);
	assert_int_equal(
		snapshot_record(one, STORE_TABLE_LUN, "k", STORE_KEY_MAX_BYTES + 1, "", 0), -EMSGSIZE);
	snapshot_free(one);
	snapshot_free(NULL);
}

static int io_result;

static void io_done(struct store_io *io, int err)
{
	(void)io;
	io_result = err;
}

static void txn_done(void *arg, int err)
{
	*(int *)arg = err;
}

TEST(its_store_does_nothing)
{
	struct harness *h = *state;
	struct store *store;
	const struct store_ops *ops;
	struct store_disk *d, *fresh;
	struct store_stats stats;
	struct store_txn *t;
	struct store_io io = {.op = STORE_WRITE, .done = io_done};
	unsigned count = 0;
	int err = 0;

	populate(h);
	store = snapshot_store(take(h));
	ops = store->ops;
	assert_int_equal(ops->disk_open(store, 12345, &d), -ENOENT);
	for (struct lun *l = lun_next(h->array, NULL); l; l = lun_next(h->array, l)) {
		uint64_t id = h->store->ops->disk_id(l->disk);

		assert_int_equal(ops->disk_open(store, id, &d), 0);
		assert_int_equal(ops->disk_id(d), id);
		assert_int_equal(ops->disk_size(d), l->size_bytes);
	}
	assert_int_equal(ops->disk_used(d), 0);
	io.disk = d;
	ops->submit(&io);
	assert_int_equal(io_result, -ESHUTDOWN);
	ops->stats(store, &stats);
	assert_int_equal(stats.capacity_bytes, 0);
	t = ops->txn_begin(store);
	assert_int_equal(ops->txn_put(t, STORE_TABLE_LUN, "k", 1, "v", 1), 0);
	assert_int_equal(ops->txn_del(t, STORE_TABLE_LUN, "k", 1), 0);
	assert_int_equal(ops->txn_disk_create(t, MIB, &fresh), -ESHUTDOWN);
	ops->txn_drop(t);
	t = ops->txn_begin(store);
	ops->txn_commit(t, txn_done, &err);
	assert_int_equal(err, -ESHUTDOWN);
	ops->close(store, closed, &count);
	assert_int_equal(count, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)
	const struct CMUnitTest tests[] = {T(it_shows_hosts_luns_and_mappings), T(it_changes_nothing),
		T(an_owner_that_is_replaced_changes_nothing_any_more), T(nothing_goes_on_by_itself),
		T(half_a_change_is_refused), T(a_digest_tells_what_hosts_would_see),
		T(its_store_does_nothing)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
