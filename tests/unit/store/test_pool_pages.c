/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damaged pages of LMDB: whatever stands in them, check and open end with an answer, and what can still be read is what
 * was written. Nothing crashes, and nothing is believed that is not so.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define CAPACITY (UINT64_C(24) << 20)
#define PAGE     4096u

struct image {
	char path[128];
	uint8_t *bytes;
	uint64_t len;
};

static void image_read(struct world *w, struct image *image)
{
	struct stat st;
	int fd;

	snprintf(image->path, sizeof(image->path), "%s/data.mdb", w->sim.meta);
	fd = open(image->path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && !fstat(fd, &st));
	image->len = (uint64_t)st.st_size;
	image->bytes = malloc(image->len);
	assert_int_equal(read(fd, image->bytes, image->len), image->len);
	close(fd);
}

static void image_write(const struct image *image, const uint8_t *bytes, uint64_t len)
{
	int fd = open(image->path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static int check(struct world *w, char *said)
{
	struct pool_options options = {.path = "sim"};
	struct pool_host *h = sim_host(&w->sim);
	struct fault fault = {0};
	int rc = pool_check_on(h, &options, false, NULL, NULL, &fault);

	h->ops->free(h);
	if (said)
		snprintf(said, 256, "%s", fault.text);
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

static unsigned read_errors;

/* Every sector is what was written last, or an error. */
static void read_all(struct world *w, const struct model *m)
{
	static uint64_t buf[POOL_CHUNK_BYTES / 8];
	struct store_disk *d;

	if (w->store->ops->disk_open(w->store, m->disk_id, &d))
		return;
	for (uint64_t at = 0; at + CHUNK_SECTORS <= m->sectors; at += CHUNK_SECTORS) {
		int err = world_raw(w, d, STORE_READ, at * SECTOR, buf, sizeof(buf));

		read_errors += err != 0;
		for (unsigned i = 0; i < CHUNK_SECTORS && !err; i++) {
			const struct sector *s = &m->s[at + i];

			assert_int_equal(buf[i * SECTOR / 8], s->tags[s->count - 1].value);
		}
	}
}

/* `old`: what LMDB had some time before; its pages went elsewhere, and came back. */
static void fill(struct world *w, uint64_t seed, struct image *old)
{
	world_begin(w, seed, CAPACITY);
	for (unsigned i = 0; i < 4; i++)
		assert_non_null(world_create_disk(w, (4 + 30 * i) * CHUNK_SECTORS));
	for (unsigned i = 0; i < 200; i++) {
		struct model *m = world_any_disk(w);

		if (i == 100 || i == 150) {
			world_settle(w);
			assert_int_equal(world_close(w), 0);
			if (old && i == 100)
				image_read(w, old);
			assert_int_equal(world_open(w), 0);
		}
		if (i % 40 == 39 && !w->disk[WORLD_DISKS - 2].disk_id) {
			world_drain(w);
			world_fork(w, m);
		} else {
			world_random_op(w);
		}
	}
	world_settle(w);
	assert_int_equal(world_close(w), 0);
	assert_int_equal(check(w, NULL), 0);
}

/* ---- damage ------------------------------------------------------------------------------------------ */

static void junk(struct world *w, uint8_t *page)
{
	static const unsigned places[] = {0, 8, 10, 12, 14, 16, 18, 20, 40, 48, 100, 1000, 2000, 4000};
	uint8_t *at = sim_below(&w->sim, 3) ? page + places[sim_below(&w->sim, 14)]
					    : page + sim_below(&w->sim, PAGE - 16);

	for (uint64_t i = sim_below(&w->sim, 3) ? 16 : 1; i; i--)
		*at++ = (uint8_t)sim_random(&w->sim);
}

/* Of a page with nodes: the places of some. */
static void fewer_nodes(struct world *w, uint8_t *page)
{
	uint16_t lower;

	memcpy(&lower, page + 12, 2);
	lower = (uint16_t)(lower - 2 * (1 + sim_below(&w->sim, 4)));
	memcpy(page + 12, &lower, 2);
}

static void damage(
	struct world *w, const struct image *image, const struct image *old, uint8_t *bytes, uint64_t *len)
{
	uint64_t pages = image->len / PAGE, at = sim_below(&w->sim, pages), from = sim_below(&w->sim, pages);
	uint8_t *page = bytes + at * PAGE;

	memcpy(bytes, image->bytes, image->len);
	*len = image->len;
	switch (sim_below(&w->sim, 12)) {
	case 0:
		*len = sim_below(&w->sim, 4) ? at * PAGE : sim_below(&w->sim, image->len);
		break;
	case 1:
		memset(page, 0, PAGE);
		break;
	case 2:
		memcpy(page, image->bytes + from * PAGE, PAGE);
		break;
	case 3: /* but for its number */
		memcpy(page + 8, image->bytes + from * PAGE + 8, PAGE - 8);
		break;
	case 4:
	case 10:
		if (at >= 2 && at < old->len / PAGE)
			memcpy(page, old->bytes + at * PAGE, PAGE);
		break;
	case 5:
	case 11:
		fewer_nodes(w, page);
		break;
	default:
		junk(w, page);
	}
}

static unsigned found, harmless, refused;

static void damaged_pages(uint64_t seed)
{
	struct image image, old;
	struct world w;
	uint8_t *bytes;
	uint64_t len;

	fill(&w, seed, &old);
	image_read(&w, &image);
	bytes = malloc(image.len);
	assert_non_null(bytes);
	for (unsigned i = 0; i < 30; i++) {
		int rc;

		damage(&w, &image, &old, bytes, &len);
		image_write(&image, bytes, len);
		rc = check(&w, NULL);
		assert_true(rc >= 0 || rc == -EUCLEAN);
		found += rc != 0;
		harmless += rc == 0;
	}
	if (open_raw(&w) == 0) {
		for (unsigned i = 0; i < WORLD_DISKS; i++)
			if (w.disk[i].disk_id)
				read_all(&w, &w.disk[i]);
		world_close(&w);
	} else {
		refused++;
	}
	free(bytes);
	free(image.bytes);
	free(old.bytes);
	world_destroy(&w);
}

TEST(damaged_pages_are_answered_and_never_believed)
{
	test_seeds(40, damaged_pages);
	print_message("%u found, %u harmless; %u not opened\n", found, harmless, refused);
	if (test_runs(40) >= 40)
		assert_true(found > 200 && refused > 4);
}

/* The text names the file, the table and what to do. */
TEST(what_is_said_of_a_damaged_page_says_what_to_do)
{
	static const uint8_t zeros[PAGE];
	char said[256];
	struct image image;
	struct world w;

	fill(&w, test_seed(), NULL);
	image_read(&w, &image);
	image_write(&image, zeros, PAGE);
	assert_int_equal(check(&w, said), -EUCLEAN);
	assert_non_null(strstr(said, "meta/data.mdb"));
	assert_non_null(strstr(said, "restore the directory `meta`"));
	image_write(&image, image.bytes, 40960 < image.len ? 40960 : image.len / 2);
	assert_int_equal(check(&w, said), -EUCLEAN);
	assert_non_null(strstr(said, "behind the end of the file"));
	assert_int_equal(open_raw(&w), -EUCLEAN);
	unlink(image.path);
	assert_int_equal(check(&w, said), -EUCLEAN);
	assert_non_null(strstr(said, "is missing"));
	free(image.bytes);
	world_destroy(&w);
}

/* ---- records that are gone, or are what they were before ---------------------------------------------- */

/* A pool with records in every table but todo: two disks, a copy, chunks that are shared. */
static void small_pool(struct world *w)
{
	struct model *a, *b;
	uint64_t shared;

	world_begin(w, test_seed(), CAPACITY);
	a = world_create_disk(w, 8 * CHUNK_SECTORS);
	b = world_create_disk(w, 8 * CHUNK_SECTORS);
	assert_int_equal(world_write(w, a, 0, 8 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_clone(w, b, 0, 2 * CHUNK_SECTORS, a, 0, &shared), 0);
	assert_true(shared > 0);
	world_fork(w, b);
	assert_int_equal(world_write(w, b, 0, 8, STORE_IO_FUA), 0);
	world_settle(w);
	assert_int_equal(world_close(w), 0);
}

/* As a page that lost its first key, or all: LMDB's own counts are right. */
static void lose(struct world *w, enum pool_table table, bool all)
{
	struct world_edit e;
	MDB_cursor *c;
	MDB_val k, v;

	world_edit_begin(w, &e);
	assert_int_equal(mdb_cursor_open(e.txn, e.meta.table[table], &c), 0);
	while (!mdb_cursor_get(c, &k, &v, MDB_FIRST)) {
		assert_int_equal(mdb_cursor_del(c, 0), 0);
		if (!all)
			break;
	}
	mdb_cursor_close(c);
	world_edit_end(&e);
}

static int no_record(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	(void)arg;
	(void)key;
	(void)key_len;
	(void)value;
	(void)value_len;
	return 0;
}

TEST(a_record_that_is_missing_is_found_at_the_start)
{
	static const enum pool_table tables[] = {
		POOL_TABLE_BRANCH, POOL_TABLE_DISK, POOL_TABLE_SPACE, POOL_TABLE_CATALOGUE};

	for (unsigned i = 0; i < 8; i++) {
		struct world w;
		int err;

		small_pool(&w);
		lose(&w, tables[i / 2], i % 2);
		assert_true(check(&w, NULL) > 0);
		err = open_raw(&w);
		if (!err && tables[i / 2] == POOL_TABLE_CATALOGUE) { /* who reads it learns */
			err = w.store->ops->iterate(w.store, STORE_TABLE_LUN, no_record, NULL);
			world_close(&w);
		}
		assert_int_equal(err, -EUCLEAN);
		world_destroy(&w);
	}
}

/* An entry that is missing, or old, takes its leaf with it: an error, not what was there before. */
TEST(an_entry_that_is_missing_or_old_is_an_error_for_who_reads_it)
{
	for (unsigned i = 0; i < 3; i++) {
		uint8_t key[POOL_MAP_KEY_BYTES], value[POOL_MAP_VALUE_BYTES];
		struct pool_map_value entry;
		struct world_edit e;
		MDB_cursor *c;
		struct world w;
		MDB_val k, v;

		small_pool(&w);
		if (i < 2) {
			lose(&w, POOL_TABLE_MAP, i);
		} else {
			world_edit_begin(&w, &e);
			assert_int_equal(mdb_cursor_open(e.txn, e.meta.table[POOL_TABLE_MAP], &c), 0);
			assert_int_equal(mdb_cursor_get(c, &k, &v, MDB_LAST), 0);
			memcpy(key, k.mv_data, sizeof(key));
			pool_map_value_decode(v.mv_data, &entry);
			entry.phys = 7;
			pool_map_value_encode(value, &entry);
			pool_value_seal(e.meta.id, POOL_TABLE_MAP, key, sizeof(key), value, sizeof(value));
			k.mv_data = key;
			v.mv_data = value;
			assert_int_equal(mdb_cursor_put(c, &k, &v, MDB_CURRENT), 0);
			mdb_cursor_close(c);
			world_edit_end(&e);
		}
		assert_true(check(&w, NULL) > 0);
		read_errors = 0;
		assert_int_equal(open_raw(&w), 0);
		for (unsigned n = 0; n < 3; n++)
			read_all(&w, &w.disk[n]);
		assert_true(read_errors > 0);
		world_close(&w);
		world_destroy(&w);
	}
}

/* One bit of a record of the map is another one: of its value, or of its key. */
static void flip_entry(struct world *w, bool of_key)
{
	uint8_t key[POOL_MAP_KEY_BYTES], value[POOL_MAP_VALUE_BYTES];
	struct world_edit e;
	MDB_cursor *c;
	MDB_stat st;
	MDB_val k, v;
	uint64_t n;

	world_edit_begin(w, &e);
	assert_int_equal(mdb_stat(e.txn, e.meta.table[POOL_TABLE_MAP], &st), 0);
	assert_int_equal(mdb_cursor_open(e.txn, e.meta.table[POOL_TABLE_MAP], &c), 0);
	n = sim_below(&w->sim, st.ms_entries);
	do {
		assert_int_equal(mdb_cursor_get(c, &k, &v, MDB_NEXT), 0);
	} while (n--);
	memcpy(key, k.mv_data, sizeof(key));
	memcpy(value, v.mv_data, sizeof(value));
	if (of_key) {
		assert_int_equal(mdb_cursor_del(c, 0), 0);
		n = sim_below(&w->sim, sizeof(key) * 8);
		key[n / 8] ^= (uint8_t)(1u << n % 8);
	} else {
		n = sim_below(&w->sim, sizeof(value) * 8);
		value[n / 8] ^= (uint8_t)(1u << n % 8);
	}
	mdb_cursor_close(c);
	k = (MDB_val){.mv_size = sizeof(key), .mv_data = key};
	v = (MDB_val){.mv_size = sizeof(value), .mv_data = value};
	assert_int_equal(mdb_put(e.txn, e.meta.table[POOL_TABLE_MAP], &k, &v, 0), 0);
	world_edit_end(&e);
}

static unsigned flips_seen;

static void damaged_entry(uint64_t seed)
{
	struct world w;
	bool of_key = seed % 2;

	fill(&w, seed, NULL);
	flip_entry(&w, of_key);
	assert_true(check(&w, NULL) > 0);
	read_errors = 0;
	if (open_raw(&w)) { /* it made the log, which is applied then, impossible */
		world_destroy(&w);
		return;
	}
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		if (w.disk[i].disk_id)
			read_all(&w, &w.disk[i]);
	}
	flips_seen += read_errors > 0;
	if (!of_key) /* one chunk of the disk, and of those that look through its branch */
		assert_in_range(read_errors, 0, WORLD_DISKS);
	world_close(&w);
	world_destroy(&w);
}

TEST(a_damaged_entry_takes_its_chunk_with_it_and_no_more)
{
	test_seeds(40, damaged_entry);
	if (test_runs(40) >= 40)
		assert_true(flips_seen > 10);
}

static int chunk_io(struct world *w, const struct model *m, enum store_io_op op, unsigned chunk)
{
	static uint8_t buf[POOL_CHUNK_BYTES];

	return world_raw(w, m->disk, op, (uint64_t)chunk << POOL_CHUNK_SHIFT, buf, 4096);
}

/* The other chunks are written to; who writes there gets the error, too. */
TEST(beside_a_damaged_entry_all_goes_on)
{
	unsigned failed = 0;
	struct world w;
	struct model *m;

	world_begin(&w, test_seed(), CAPACITY);
	m = world_create_disk(&w, 16 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, m, 0, 16 * CHUNK_SECTORS, 0), 0);
	world_settle(&w);
	assert_int_equal(world_close(&w), 0);
	flip_entry(&w, false);
	assert_int_equal(world_open(&w), 0);
	for (unsigned i = 0; i < 16; i++) {
		if (!chunk_io(&w, m, STORE_READ, i)) {
			assert_int_equal(world_write(&w, m, i * CHUNK_SECTORS + 3, 9, 0), 0);
			continue;
		}
		assert_int_equal(chunk_io(&w, m, STORE_WRITE, i), -EUCLEAN);
		assert_int_equal(chunk_io(&w, m, STORE_UNMAP, i), -EUCLEAN);
		failed++;
	}
	assert_int_equal(failed, 1);
	world_settle(&w);
	read_errors = 0;
	read_all(&w, m);
	assert_int_equal(read_errors, 1);
	assert_int_equal(world_close(&w), 0);
	assert_true(check(&w, NULL) > 0);
	world_destroy(&w);
}

/* The index of shared chunks lost an entry: the chunk is kept, for somebody may have it. */
TEST(a_shared_chunk_is_kept_while_its_index_is_not_whole)
{
	struct world w;

	small_pool(&w);
	lose(&w, POOL_TABLE_REFS, true);
	assert_int_equal(world_open(&w), 0);
	assert_int_equal(world_delete_disk(&w, &w.disk[0]), 0);
	world_settle(&w);
	for (unsigned n = 0; n < 3; n++) { /* new data everywhere */
		struct model *m = world_create_disk(&w, 100 * CHUNK_SECTORS);

		for (unsigned at = 0; m && at < 100; at++)
			world_write(&w, m, at * CHUNK_SECTORS, CHUNK_SECTORS, 0);
	}
	world_verify(&w, false);
	world_close(&w);
	world_destroy(&w);
}

/* What LMDB makes of pages that became damaged since ends the program with a text, not with a signal. */
TEST(a_fault_while_metadata_is_read_ends_with_what_to_do)
{
	struct world_edit e;
	struct world w;
	char said[512];
	int ends[2], status;
	ssize_t n;
	pid_t pid;

	world_begin(&w, test_seed(), CAPACITY);
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDERR_FILENO);
		world_edit_begin(&w, &e);
		raise(SIGSEGV);
		_exit(0);
	}
	assert_true(pid > 0);
	close(ends[1]);
	n = read(ends[0], said, sizeof(said) - 1);
	assert_true(n > 0);
	said[n] = 0;
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	assert_non_null(strstr(said, "umbractl pool check"));
	world_destroy(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damaged_pages_are_answered_and_never_believed),
		cmocka_unit_test(what_is_said_of_a_damaged_page_says_what_to_do),
		cmocka_unit_test(a_record_that_is_missing_is_found_at_the_start),
		cmocka_unit_test(an_entry_that_is_missing_or_old_is_an_error_for_who_reads_it),
		cmocka_unit_test(a_damaged_entry_takes_its_chunk_with_it_and_no_more),
		cmocka_unit_test(beside_a_damaged_entry_all_goes_on),
		cmocka_unit_test(a_shared_chunk_is_kept_while_its_index_is_not_whole),
		cmocka_unit_test(a_fault_while_metadata_is_read_ends_with_what_to_do),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
