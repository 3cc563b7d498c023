/* SPDX-License-Identifier: Apache-2.0 */
/* What a dump says of a pool: as the next start would find it, with the log; nothing changes; damage is told. */
#include <stdio.h>
#include <string.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

struct seen {
	unsigned disks, branches, children, todos, maps, damaged, catalogue, tables;
	uint64_t frames, map_entries, entries, chunks, shared, size, luns;
	const char *table;
	char log[16];
};

static uint64_t field(const struct pool_dump_field *f, unsigned count, const char *name)
{
	for (unsigned i = 0; i < count; i++) {
		if (!f[i].text && strcmp(f[i].name, name) == 0)
			return f[i].number;
	}
	fail_msg("no field %s", name);
	return 0;
}

static void row(void *arg, const char *table, const struct pool_dump_field *f, unsigned count)
{
	struct seen *s = arg;

	s->tables += !s->table || strcmp(s->table, table) != 0;
	s->table = table;
	if (strcmp(table, "log") == 0) {
		snprintf(s->log, sizeof(s->log), "%s", f[0].text ? f[0].text : "");
		s->frames = field(f, count, "frames_not_in_meta");
	} else if (strcmp(table, "disk") == 0) {
		s->disks++;
		s->size += field(f, count, "size_bytes");
	} else if (strcmp(table, "branch") == 0) {
		s->branches++;
		s->children += field(f, count, "parent") != 0;
	} else if (strcmp(table, "todo") == 0) {
		s->todos++;
	} else if (strcmp(table, "map") == 0) {
		s->maps++;
		s->map_entries += strcmp(f[1].name, "entries") == 0 ? f[1].number : 1;
	} else if (strcmp(table, "damaged") == 0) {
		s->damaged++;
	} else if (strcmp(table, "catalogue") == 0) {
		s->catalogue++;
		if (strcmp(f[0].text, "lun") == 0)
			s->luns = field(f, count, "records");
	} else if (strcmp(table, "total") == 0) {
		s->entries = field(f, count, "entries");
		s->chunks = field(f, count, "chunks_used");
		s->shared = field(f, count, "entries_shared");
		assert_int_equal(field(f, count, "damaged"), s->damaged);
	}
}

static struct seen dump(struct world *w, bool entries)
{
	struct pool_host *h = sim_host(&w->sim);
	struct fault fault = {0};
	struct seen s = {0};

	assert_int_equal(pool_dump_on(h, entries, row, &s, &fault), 0);
	h->ops->free(h);
	return s;
}

TEST(a_dump_tells_of_the_pool_and_its_log_and_changes_nothing)
{
	struct model *a, *b;
	struct seen s;
	struct world w;

	world_begin(&w, test_seed(), UINT64_C(8) << 20);
	a = world_create_disk(&w, 8 * CHUNK_SECTORS);
	b = world_create_disk(&w, 4 * CHUNK_SECTORS);
	assert_int_equal(world_write(&w, a, 0, 3 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_cut(&w, &a, 1), 0);
	assert_int_equal(world_write(&w, a, 0, 8, 0), 0);
	assert_int_equal(world_write(&w, b, 0, 8, STORE_IO_FUA), 0);
	/* The power goes: the log has what LMDB has not. */
	sim_power_off(&w.sim);
	world_close(&w);
	sim_power_on(&w.sim);
	for (unsigned i = 0; i < 2; i++) { /* twice: the first has changed nothing */
		s = dump(&w, i);
		assert_string_equal(s.log, "good");
		assert_true(s.frames > 0);
		assert_int_equal(s.disks, 3);
		assert_int_equal(s.size, 20 * CHUNK_SECTORS * SECTOR);
		assert_int_equal(s.branches, 3);
		assert_int_equal(s.children, 1);
		assert_int_equal(s.entries, 5);
		assert_int_equal(s.map_entries, 5);
		assert_int_equal(s.maps, i ? 5 : 2);
		assert_int_equal(s.chunks, 5);
		assert_int_equal(s.luns, 3);
		assert_int_equal(s.damaged + s.shared, 0);
		assert_int_equal(s.tables, 7); /* in one piece each */
	}
	assert_int_equal(world_open(&w), 0);
	world_verify(&w, true);
	assert_int_equal(world_close(&w), 0);
	s = dump(&w, false);
	assert_int_equal(s.frames, 0);
	world_destroy(&w);
}

/* A damaged value is told, and the rest all the same; so is a log that cannot be read. */
TEST(a_dump_tells_of_damage_and_of_the_rest_all_the_same)
{
	static uint8_t junk[POOL_MAP_VALUE_BYTES];
	struct world_edit edit;
	struct pool_host *h;
	struct pool_file *log;
	MDB_val k, old, v = {.mv_size = sizeof(junk), .mv_data = junk};
	MDB_cursor *c;
	struct seen s;
	struct world w;

	world_begin(&w, test_seed(), UINT64_C(8) << 20);
	assert_int_equal(
		world_write(&w, world_create_disk(&w, 8 * CHUNK_SECTORS), 0, 3 * CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_close(&w), 0);
	sim_power_on(&w.sim);
	world_edit_begin(&w, &edit);
	assert_int_equal(mdb_cursor_open(edit.txn, edit.meta.table[POOL_TABLE_MAP], &c), 0);
	assert_int_equal(mdb_cursor_get(c, &k, &old, MDB_FIRST), 0);
	assert_int_equal(mdb_cursor_put(c, &k, &v, MDB_CURRENT), 0);
	mdb_cursor_close(c);
	world_edit_end(&edit);
	h = sim_host(&w.sim);
	assert_int_equal(h->ops->file_open(h, "log", 0, &log), 0);
	assert_int_equal(h->ops->file_pwrite(log, junk, sizeof(junk), 0), 0);
	h->ops->file_close(log);
	h->ops->free(h);
	s = dump(&w, true);
	assert_string_equal(s.log, "damaged");
	assert_int_equal(s.damaged, 1);
	assert_int_equal(s.disks, 1);
	assert_int_equal(s.entries, 2);
	assert_int_equal(s.chunks, 3);
	world_destroy(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dump_tells_of_the_pool_and_its_log_and_changes_nothing),
		cmocka_unit_test(a_dump_tells_of_damage_and_of_the_rest_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
