/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a repair may leave. Random damage to a pool of random content, one to three kinds at once; then
 * `check --repair`. Whatever it says: if the pool can be opened, no two entries have one chunk (unless they share it), none
 * has a chunk that counts as free, and new data show at no place but their own. Read with own eyes, not with check's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/pool/durable/digest.h"
#include "array/util/bytes.h"
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define CAPACITY  (UINT64_C(24) << 20)
#define NEW_TAG   (UINT64_C(0xfeed) << 48)
#define IO_BYTES  POOL_CHUNK_BYTES
#define DISKS_MAX 64u

/* ---- I/O whose data name their place ----------------------------------------------------------------- */

static uint64_t new_tag(const struct store_disk *d, uint64_t offset)
{
	return NEW_TAG | d->store->ops->disk_id((struct store_disk *)(uintptr_t)d) << 32 | offset / SECTOR;
}

static void write_new(struct world *w, struct store_disk *d, uint64_t offset)
{
	static uint64_t buf[IO_BYTES / 8];

	for (unsigned i = 0; i < IO_BYTES / 8; i++)
		buf[i] = new_tag(d, offset + 8 * i);
	world_raw(w, d, STORE_WRITE, offset, buf, IO_BYTES);
}

/* Nothing that was written anew is seen elsewhere. */
static void read_all(struct world *w, struct store_disk *d)
{
	static uint64_t buf[IO_BYTES / 8];
	uint64_t size = d->store->ops->disk_size(d);

	for (uint64_t at = 0; at + IO_BYTES <= size; at += IO_BYTES) {
		if (world_raw(w, d, STORE_READ, at, buf, IO_BYTES))
			continue;
		for (unsigned i = 0; i < IO_BYTES / 8; i++) {
			if (buf[i] >> 48 == NEW_TAG >> 48)
				assert_int_equal(buf[i], new_tag(d, at + 8 * i));
		}
	}
}

/* ---- the map with own eyes --------------------------------------------------------------------------- */

static bool believed(struct world_edit *e, const MDB_val *k, const MDB_val *v, struct pool_map_value *value)
{
	if (k->mv_size != POOL_MAP_KEY_BYTES || v->mv_size != POOL_MAP_VALUE_BYTES ||
		!pool_value_ok(e->meta.id, POOL_TABLE_MAP, k->mv_data, k->mv_size, v->mv_data, v->mv_size))
		return false;
	pool_map_value_decode(v->mv_data, value);
	return value->phys && value->phys < e->meta.capacity_chunks && value->valid;
}

static bool marked(struct world_edit *e, uint64_t phys)
{
	uint8_t key[8];
	MDB_val k = {.mv_size = 8, .mv_data = key}, v;

	put_be64(key, phys / POOL_GROUP_CHUNKS);
	if (mdb_get(e->txn, e->meta.table[POOL_TABLE_SPACE], &k, &v))
		return false;
	return ((uint8_t *)v.mv_data)[phys % POOL_GROUP_CHUNKS / 8] >> phys % 8 & 1;
}

/* Every chunk, or block of a split one, has one owner, and counts as used. */
static void owners(struct world *w)
{
	uint8_t *count = calloc(1, CAPACITY / POOL_CHUNK_BYTES + 2);
	uint16_t *blocks = calloc(CAPACITY / POOL_CHUNK_BYTES + 2, sizeof(blocks[0]));
	struct pool_map_value value;
	struct world_edit e;
	MDB_cursor *c;
	MDB_val k, v;

	world_edit_begin(w, &e);
	assert_int_equal(mdb_cursor_open(e.txn, e.meta.table[POOL_TABLE_MAP], &c), 0);
	while (!mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		if (!believed(&e, &k, &v, &value))
			continue;
		assert_true(marked(&e, value.phys));
		assert_false(count[value.phys] && !(value.shared && count[value.phys] == 2) &&
			     !(value.split && count[value.phys] == 3));
		assert_false(value.split && (blocks[value.phys] & value.valid));
		if (value.split)
			blocks[value.phys] |= value.valid;
		count[value.phys] = value.shared ? 2 : value.split ? 3 : 1;
	}
	mdb_cursor_close(c);
	world_edit_end(&e);
	free(count);
	free(blocks);
}

/* ---- damage ------------------------------------------------------------------------------------------ */

static enum pool_table any_table(struct world *w, const struct world_edit *e)
{
	static const enum pool_table often[] = {POOL_TABLE_MAP, POOL_TABLE_MAP, POOL_TABLE_SPACE};
	uint64_t n = sim_below(&w->sim, 12);

	if (n < 3)
		return often[n];
	return sim_below(&w->sim, 6) || !e->meta.splits
		       ? (enum pool_table)(1 + (n - 3) % (POOL_TABLE_SPLIT - 1))
		       : POOL_TABLE_SPLIT;
}

/* A cursor at a random record; NULL: the table is empty. */
static MDB_cursor *any_record(
	struct world *w, struct world_edit *e, enum pool_table table, MDB_val *k, MDB_val *v)
{
	MDB_stat stat;
	MDB_cursor *c;

	assert_int_equal(mdb_stat(e->txn, e->meta.table[table], &stat), 0);
	if (!stat.ms_entries)
		return NULL;
	assert_int_equal(mdb_cursor_open(e->txn, e->meta.table[table], &c), 0);
	for (uint64_t n = 1 + sim_below(&w->sim, stat.ms_entries); n; n--)
		assert_int_equal(mdb_cursor_get(c, k, v, MDB_NEXT), 0);
	return c;
}

static void put(MDB_cursor *c, const MDB_val *k, uint8_t *value, size_t len)
{
	uint8_t key[512];
	MDB_val v = {.mv_size = len, .mv_data = value}, same = {.mv_size = k->mv_size, .mv_data = key};

	memcpy(key, k->mv_data, k->mv_size);
	assert_int_equal(mdb_cursor_put(c, &same, &v, MDB_CURRENT), 0);
}

static void flip_value(struct world *w, struct world_edit *e)
{
	static uint8_t value[STORE_VALUE_MAX_BYTES + 4];
	MDB_val k, v;
	MDB_cursor *c = any_record(w, e, any_table(w, e), &k, &v);

	if (!c)
		return;
	memcpy(value, v.mv_data, v.mv_size);
	value[sim_below(&w->sim, v.mv_size)] ^= (uint8_t)(1u << sim_below(&w->sim, 8));
	put(c, &k, value, v.mv_size);
	mdb_cursor_close(c);
}

static void lose_record(struct world *w, struct world_edit *e)
{
	MDB_val k, v;
	MDB_cursor *c = any_record(w, e, any_table(w, e), &k, &v);

	if (!c)
		return;
	assert_int_equal(mdb_cursor_del(c, 0), 0);
	mdb_cursor_close(c);
}

static void lose_table(struct world *w, struct world_edit *e)
{
	static const enum pool_table tables[] = {
		POOL_TABLE_SPACE, POOL_TABLE_GEN, POOL_TABLE_REFS, POOL_TABLE_LOOSE, POOL_TABLE_SPLIT};

	assert_int_equal(
		mdb_drop(e->txn, e->meta.table[tables[sim_below(&w->sim, e->meta.splits ? 5 : 4)]], 0), 0);
}

static void wrong_bitmap(struct world *w, struct world_edit *e)
{
	uint8_t key[8] = {0}, bits[POOL_GROUP_BYTES] = {0};

	put_be64(key, sim_below(&w->sim, 8) ? 0 : 77);
	for (unsigned i = 0; i < (sim_below(&w->sim, 8) ? 48 : POOL_GROUP_BYTES); i++)
		bits[i] = (uint8_t)sim_random(&w->sim);
	assert_int_equal(pool_meta_put(&e->meta, e->txn, POOL_TABLE_SPACE, key, 8, bits, sizeof(bits)), 0);
}

/* As if a page had gone back to an older state: a whole record that is not true any more. */
static void old_entry(struct world *w, struct world_edit *e)
{
	uint8_t value[POOL_MAP_VALUE_BYTES];
	struct pool_map_value entry;
	MDB_val k, v;
	MDB_cursor *c = any_record(w, e, POOL_TABLE_MAP, &k, &v);

	if (!c)
		return;
	pool_map_value_decode(v.mv_data, &entry);
	entry.phys = sim_below(&w->sim, CAPACITY / POOL_CHUNK_BYTES + 3);
	if (!entry.phys || !sim_below(&w->sim, 4))
		entry.valid = (uint16_t)sim_random(&w->sim);
	pool_map_value_encode(value, &entry);
	pool_value_seal(e->meta.id, POOL_TABLE_MAP, k.mv_data, k.mv_size, value, sizeof(value));
	put(c, &k, value, sizeof(value));
	mdb_cursor_close(c);
}

static void old_ids(struct world *w, struct world_edit *e)
{
	struct pool_state state;

	assert_int_equal(pool_meta_state(&e->meta, e->txn, &state), 0);
	state.next_branch = 1 + sim_below(&w->sim, state.next_branch);
	state.next_disk = 1 + sim_below(&w->sim, state.next_disk);
	assert_int_equal(pool_meta_put_state(&e->meta, e->txn, &state), 0);
}

static void damage_file(struct world *w, const char *name)
{
	struct pool_host *h = sim_host(&w->sim);
	uint8_t block[POOL_BLOCK_BYTES];
	struct pool_file *f;
	uint64_t size, at;

	assert_int_equal(h->ops->file_open(h, name, 0, &f), 0);
	assert_int_equal(h->ops->file_size(f, &size), 0);
	at = sim_below(&w->sim,
		     (size < 40 * POOL_BLOCK_BYTES ? size : 40 * POOL_BLOCK_BYTES) / POOL_BLOCK_BYTES) *
	     POOL_BLOCK_BYTES;
	assert_int_equal(h->ops->file_pread(f, block, sizeof(block), at), 0);
	block[sim_below(&w->sim, 100)] ^= (uint8_t)(1 + sim_below(&w->sim, 255));
	assert_int_equal(h->ops->file_pwrite(f, block, sizeof(block), at), 0);
	assert_int_equal(h->ops->file_sync(f), 0);
	h->ops->file_close(f);
	h->ops->free(h);
}

static void damage(struct world *w)
{
	static void (*const edits[])(struct world * w, struct world_edit * e) = {flip_value, flip_value,
		lose_record, lose_record, lose_table, wrong_bitmap, old_entry, old_ids};
	uint64_t kind = sim_below(&w->sim, 12), edit = sim_below(&w->sim, sizeof(edits) / sizeof(edits[0]));
	struct world_edit e;

	trace("damage: %llu, %llu", (unsigned long long)kind, (unsigned long long)edit);
	if (kind < 2) {
		sim_cut(&w->sim, "data.0", (1 + sim_below(&w->sim, 300)) * POOL_CHUNK_BYTES);
		return;
	}
	if (kind == 2) {
		damage_file(w, "log");
		return;
	}
	world_edit_begin(w, &e);
	edits[edit](w, &e);
	world_edit_end(&e);
}

/* ---- the property ------------------------------------------------------------------------------------ */

static void say(void *arg, const char *line)
{
	(void)arg;
	trace("check: %s", line);
}

static int repair(struct world *w, bool mend)
{
	struct pool_options options = {.path = "sim"};
	struct pool_host *h = sim_host(&w->sim);
	struct fault fault = {0};
	int rc = pool_check_on(h, &options, mend, say, NULL, &fault);

	h->ops->free(h);
	return rc;
}

static int open_raw(struct world *w)
{
	struct pool_options options = {.path = "sim"};
	struct fault fault = {0};
	int err = pool_open_on(sim_host(&w->sim), &options, NULL, &w->store, &fault);

	if (err)
		w->store = NULL;
	return err;
}

static void fill(struct world *w, uint64_t seed)
{
	world_begin(w, seed, CAPACITY);
	for (unsigned i = 0; i < 3; i++)
		assert_non_null(world_create_disk(w, (2 + 20 * i) * CHUNK_SECTORS));
	for (unsigned i = 0; i < 60; i++) {
		struct model *m = world_any_disk(w), *to = world_any_disk(w);

		world_drain(w);
		if (!m)
			continue;
		if (i % 12 == 11 && !w->disk[WORLD_DISKS - 2].disk_id)
			world_fork(w, m);
		else if (i % 20 == 19)
			world_delete_disk(w, m);
		else if (i % 6 == 5 && m != to)
			world_clone(w, to, 0, 2 * CHUNK_SECTORS, m, 0, &(uint64_t){0});
		else
			world_random_op(w);
	}
	world_drain(w);
	if (seed % 4 == 0) {
		sim_power_off(&w->sim);
		world_drain(w);
	} else {
		world_settle(w);
	}
	world_close(w);
	if (w->sim.power_off)
		sim_power_on(&w->sim);
}

/* Old disks and a new one are written to until nothing is left. */
static void use(struct world *w)
{
	struct store_disk *disk[DISKS_MAX], *fresh = NULL;
	const struct store_ops *ops = w->store->ops;
	struct store_txn *t = ops->txn_begin(w->store);
	struct world_wait wait = {0};
	unsigned count = 0;

	for (uint64_t id = 1; id < DISKS_MAX - 1; id++) {
		if (!ops->disk_open(w->store, id, &disk[count]))
			count++;
	}
	assert_int_equal(ops->txn_disk_create(t, CAPACITY, &fresh), 0);
	ops->txn_commit(t, world_txn_done, &wait);
	assert_int_equal(world_txn_wait(w, &wait), 0);
	for (unsigned i = 0; i < count; i++) {
		assert_ptr_not_equal(fresh, disk[i]);
		assert_int_not_equal(ops->disk_id(fresh), ops->disk_id(disk[i]));
		write_new(w, disk[i], 0);
	}
	disk[count++] = fresh;
	for (uint64_t at = 0; at < CAPACITY; at += IO_BYTES)
		write_new(w, fresh, at);
	for (unsigned i = 0; i < count; i++)
		read_all(w, disk[i]);
	world_settle(w);
	for (unsigned i = 0; i < count; i++)
		read_all(w, disk[i]);
	world_close(w);
}

static unsigned opened, shut, examined;

static void damaged_and_repaired(uint64_t seed)
{
	struct world w;
	int left;

	fill(&w, seed);
	for (uint64_t n = 1 + sim_below(&w.sim, 3); n; n--)
		damage(&w);
	left = repair(&w, true);
	if (left == 0)
		assert_int_equal(repair(&w, false), 0);
	else if (left > 0)
		assert_int_equal(repair(&w, true), left); /* the same, again */
	if (open_raw(&w) == 0) {
		opened++;
		world_close(&w);
		owners(&w);
		assert_int_equal(open_raw(&w), 0);
		use(&w);
		owners(&w);
	} else {
		assert_int_not_equal(left, 0);
		shut++;
	}
	world_destroy(&w);
}

TEST(after_a_repair_no_chunk_that_an_entry_has_is_given_to_another)
{
	test_seeds(60, damaged_and_repaired);
	print_message("%u opened, %u stayed shut\n", opened, shut);
	if (test_runs(60) >= 60) {
		assert_true(opened > 6);
		assert_true(shut > 2);
	}
}

/* As who restores a backup looks at it: whole, one record missing, one that is an older one. */
static void damaged_and_looked_at(uint64_t seed)
{
	static const enum pool_table tables[] = {POOL_TABLE_MAP, POOL_TABLE_BRANCH, POOL_TABLE_DISK,
		POOL_TABLE_SPACE, POOL_TABLE_MAP, POOL_TABLE_DIGEST};
	struct world_edit e;
	struct world w;
	MDB_cursor *c;
	MDB_val k, v;

	fill(&w, seed);
	world_edit_begin(&w, &e);
	assert_int_equal(pool_digest_whole(&e.meta, e.txn), 0);
	c = any_record(&w, &e, tables[seed % 6], &k, &v);
	if (c && seed % 6 == 4) {
		uint8_t value[POOL_MAP_VALUE_BYTES];
		struct pool_map_value entry;

		pool_map_value_decode(v.mv_data, &entry);
		entry.phys++;
		pool_map_value_encode(value, &entry);
		pool_value_seal(e.meta.id, POOL_TABLE_MAP, k.mv_data, k.mv_size, value, sizeof(value));
		put(c, &k, value, sizeof(value));
	} else if (c) {
		assert_int_equal(mdb_cursor_del(c, 0), 0);
	}
	if (c) {
		mdb_cursor_close(c);
		assert_int_equal(pool_digest_whole(&e.meta, e.txn), -EUCLEAN);
	}
	examined += c != NULL;
	world_edit_end(&e);
	world_destroy(&w);
}

TEST(who_restores_a_backup_misses_what_is_not_there)
{
	test_seeds(12, damaged_and_looked_at);
	assert_true(examined || !test_runs(12));
}

/* What lies where the data file has lost its end is nobody else's, until the file is whole again. */
TEST(a_pool_that_lost_the_end_of_its_data_stays_shut_until_it_is_back)
{
	struct model *m;
	struct world w;
	int left;

	world_begin(&w, test_seed(), CAPACITY);
	m = world_create_disk(&w, 64 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, m, 0, 64 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_close(&w), 0);
	sim_cut(&w.sim, "data.0", 40 * POOL_CHUNK_BYTES);
	assert_int_not_equal(world_open(&w), 0);
	left = repair(&w, true);
	assert_true(left > 0);
	assert_int_equal(world_open(&w), -EUCLEAN);
	assert_int_equal(repair(&w, true), left);
	sim_uncut(&w.sim, "data.0");
	assert_int_equal(world_open(&w), -EUCLEAN); /* nobody has looked yet */
	assert_int_equal(repair(&w, false), 1);
	assert_int_equal(repair(&w, true), 0);
	assert_int_equal(world_open(&w), 0);
	world_verify_end(&w);
}

static struct {
	unsigned names;
	uint64_t sectors;
	int answer;
} looked;

static int look_at_name(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct store *store = arg;
	struct store_disk *disk;
	char text[32] = "";

	(void)value;
	(void)value_len;
	memcpy(text, key, key_len < sizeof(text) ? key_len : sizeof(text) - 1);
	assert_int_equal(store->ops->disk_open(store, strtoull(text + 5, NULL, 10), &disk), 0);
	assert_int_equal(store->ops->disk_id(disk), strtoull(text + 5, NULL, 10));
	looked.names++;
	looked.sectors += store->ops->disk_size(disk) / SECTOR;
	return 0;
}

static int look(struct store *store, struct fault *fault)
{
	struct store_disk *disk;
	int err = store->ops->iterate(store, STORE_TABLE_LUN, look_at_name, store);

	assert_int_equal(store->ops->disk_open(store, 99, &disk), -ENOENT);
	return looked.answer ? fault_set(fault, looked.answer, "it does not fit") : err;
}

/* Whatever the array would refuse at its start is a finding: check lets it look at the catalogue and the disks. */
TEST(what_the_array_says_of_the_catalogue_is_a_finding)
{
	struct pool_options options = {.path = "sim", .catalogue = look};
	struct world w;

	world_begin(&w, test_seed(), CAPACITY);
	assert_non_null(world_create_disk(&w, 3 * CHUNK_SECTORS));
	assert_non_null(world_create_disk(&w, 5 * CHUNK_SECTORS));
	assert_int_equal(world_close(&w), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct pool_host *h = sim_host(&w.sim);
		struct fault fault = {0};

		looked.names = 0;
		looked.sectors = 0;
		looked.answer = i ? -EUCLEAN : 0;
		assert_int_equal(pool_check_on(h, &options, false, say, NULL, &fault), i);
		assert_int_equal(looked.names, 2);
		assert_int_equal(looked.sectors, 8 * CHUNK_SECTORS);
		h->ops->free(h);
	}
	world_destroy(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(after_a_repair_no_chunk_that_an_entry_has_is_given_to_another),
		cmocka_unit_test(who_restores_a_backup_misses_what_is_not_there),
		cmocka_unit_test(what_the_array_says_of_the_catalogue_is_a_finding),
		cmocka_unit_test(a_pool_that_lost_the_end_of_its_data_stays_shut_until_it_is_back),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
