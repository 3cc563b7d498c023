/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue of a closed pool is edited: whatever fails, and wherever the power goes, it is the old one or the new one, whole;
 * what was acknowledged before is there; and no mirror or metadata of before is taken for the pool's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "tests/support/test.h"
#include "array/store/pool/durable/stamp.h"
#include "tests/unit/store/world.h"

#define RECORDS 40u

/* Records whose keys and values all say one number. */
struct version {
	unsigned number;
	int result;
};

static int put_version(void *arg, struct store *store, struct fault *fault)
{
	const struct version *v = arg;
	struct store_txn *t = store->ops->txn_begin(store);
	char key[16];
	int err = 0;

	for (unsigned i = 0; i < RECORDS && !err; i++) {
		int len = snprintf(key, sizeof(key), "%u-%u", v->number - 1, i);

		err = store->ops->txn_del(t, STORE_TABLE_MAP, key, (size_t)len);
		len = snprintf(key, sizeof(key), "%u-%u", v->number, i);
		if (!err)
			err = store->ops->txn_put(
				t, STORE_TABLE_MAP, key, (size_t)len, &v->number, sizeof(v->number));
	}
	store->ops->txn_drop(t);
	if (!err)
		err = v->result;
	return err < 0 ? fault_set(fault, err, "as the test wants it") : err;
}

static int edit(struct world *w, unsigned number, int result, bool read_only)
{
	struct pool_options options = {.path = "sim", .read_only = read_only};
	struct version v = {number, result};
	struct pool_host *h = sim_host(&w->sim);
	struct fault fault = {0};
	int err = pool_edit_on(h, &options, put_version, &v, &fault);

	assert_true(err >= 0 || fault.text[0]);
	h->ops->free(h);
	return err;
}

struct count {
	unsigned number, records;
};

static int count_one(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct count *c = arg;
	unsigned number;

	(void)key;
	(void)key_len;
	assert_int_equal(value_len, sizeof(number));
	memcpy(&number, value, sizeof(number));
	assert_true(!c->records || number == c->number);
	c->number = number;
	c->records++;
	return 0;
}

/* The open pool's: one version, all of it. */
static unsigned version_of(struct world *w)
{
	struct count c = {0};

	assert_int_equal(w->store->ops->iterate(w->store, STORE_TABLE_MAP, count_one, &c), 0);
	assert_int_equal(c.records, RECORDS);
	return c.number;
}

static void stamp_of(struct world *w, struct pool_stamp *stamp)
{
	struct pool_host *h = sim_host(&w->sim);
	struct pool_super super;
	struct pool_file *f;
	struct fault fault;

	assert_int_equal(pool_read_super(h, &super, &fault), 0);
	assert_int_equal(h->ops->file_open(h, "data.0", POOL_FILE_READONLY, &f), 0);
	assert_int_equal(pool_stamp_read(f, super.id, stamp), 0);
	h->ops->file_close(f);
	h->ops->free(h);
}

/* A closed pool with version 1, a disk with data, and frames in the log that its metadata lacks (`killed`). */
static void begin(struct world *w, uint64_t seed, bool killed)
{
	world_init(w, seed, UINT64_C(4) << 20, 1 << 20);
	w->mirrored = seed & 1;
	assert_int_equal(world_open(w), 0);
	assert_non_null(world_create_disk(w, 4 * CHUNK_SECTORS));
	assert_int_equal(world_close(w), 0);
	assert_int_equal(edit(w, 1, 0, false), 0);
	assert_int_equal(world_open(w), 0);
	assert_int_equal(world_write(w, &w->disk[0], 0, 100, STORE_IO_FUA), 0);
	world_drain(w);
	if (killed) {
		sim_keep(&w->sim);
		sim_power_off(&w->sim);
	}
	world_close(w);
	if (killed)
		sim_power_on(&w->sim);
}

static void edited(uint64_t seed)
{
	struct pool_stamp before, after;
	struct world w;

	begin(&w, seed, seed & 2);
	stamp_of(&w, &before);
	assert_int_equal(edit(&w, 2, 1, true), 0); /* only looked */
	assert_int_equal(edit(&w, 2, 1, false), 0);
	assert_int_equal(edit(&w, 2, -ENOMEM, false), -ENOMEM);
	stamp_of(&w, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal((before.flags & POOL_STAMP_MIRRORED) != 0, w.mirrored);
	assert_int_equal(edit(&w, 2, 0, false), 0);
	stamp_of(&w, &after);
	assert_int_equal(after.flags, 0); /* no mirror of before is the newest */
	assert_true(after.incarnation > before.incarnation);
	assert_int_equal(world_check(&w, false), 0);
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(version_of(&w), 2);
	world_verify(&w, true);
	world_end(&w);
}

TEST(an_edit_is_kept_or_thrown_away)
{
	test_seeds(8, edited);
}

/* n: at the step of this number. True: there is one. */
static bool cut_short(uint64_t seed, uint64_t n, bool power)
{
	struct world w;
	unsigned number;
	bool reached;
	int err;

	begin(&w, seed, n & 1);
	if (power)
		w.sim.off_at = w.sim.steps + n;
	else
		w.sim.fail_at = w.sim.steps + n;
	err = edit(&w, 2, 0, false);
	reached = power ? w.sim.power_off : w.sim.failed[0] != 0;
	w.sim.fail_at = w.sim.off_at = 0;
	if (w.sim.power_off)
		sim_power_on(&w.sim);
	assert_true(reached || err == 0);
	assert_int_equal(world_check(&w, false), 0);
	assert_int_equal(world_open(&w), 0);
	number = version_of(&w);
	assert_true(number == 2 || (number == 1 && err));
	world_verify(&w, true);
	world_end(&w);
	return reached;
}

static void cut_short_at_each(uint64_t seed)
{
	for (unsigned power = 0; power < 2; power++) {
		uint64_t n = 1;

		while (cut_short(seed, n, power))
			n++;
		assert_true(n > 2);
	}
}

TEST(wherever_it_ends_the_old_or_the_new_is_there)
{
	test_seeds(6, cut_short_at_each);
}

/* What a start refuses an edit does, too. */
TEST(a_pool_that_is_not_whole_is_not_edited)
{
	struct world_edit meta;
	struct pool_state found;
	struct world w;

	begin(&w, 2, false);
	world_edit_begin(&w, &meta);
	assert_int_equal(pool_meta_state(&meta.meta, meta.txn, &found), 0);
	found.incarnation--; /* an old copy was put back */
	assert_int_equal(pool_meta_put_state(&meta.meta, meta.txn, &found), 0);
	world_edit_end(&meta);
	assert_int_equal(edit(&w, 2, 0, false), -EUCLEAN);
	world_edit_begin(&w, &meta);
	found.incarnation++;
	found.shut = true;
	assert_int_equal(pool_meta_put_state(&meta.meta, meta.txn, &found), 0);
	world_edit_end(&meta);
	assert_int_equal(edit(&w, 2, 0, false), -EUCLEAN);
	world_edit_begin(&w, &meta);
	found.shut = false;
	assert_int_equal(pool_meta_put_state(&meta.meta, meta.txn, &found), 0);
	world_edit_end(&meta);
	sim_cut(&w.sim, "log", 4096);
	assert_int_equal(edit(&w, 2, 0, false), -EUCLEAN);
	sim_uncut(&w.sim, "log");
	assert_int_equal(edit(&w, 2, 0, false), 0);
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(version_of(&w), 2);
	world_verify_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_edit_is_kept_or_thrown_away),
		cmocka_unit_test(wherever_it_ends_the_old_or_the_new_is_there),
		cmocka_unit_test(a_pool_that_is_not_whole_is_not_edited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
