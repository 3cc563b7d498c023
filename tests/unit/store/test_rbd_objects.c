/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which objects an image and its parents have: what is read of headers and maps is what librbd itself says, over images at rest whose
 * history is drawn by chance: chains of several levels, overlaps that end within an object, snapshots and parents in the trash, levels
 * that were flattened, that have no map, or one that does not count.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/rbd/rbd.h"
#include "tests/support/test.h"

#define ORDER   16u
#define OBJECT  (UINT64_C(1) << ORDER)
#define SECTOR  512u
#define SECTORS (40 * OBJECT / SECTOR)
#define LEVELS  5u
#define CHAINS  6u /* UMBRA_TEST_RUNS: as many */

static struct rbd_store store;
static uint64_t drawn;
/* A level has no map that counts. librbd looks at the objects of those above it, too, then, and sees which hold nothing but zeroes; here
 * their maps count. */
static bool lost;

static uint32_t draw(uint32_t below)
{
	drawn = drawn * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(drawn >> 33) % below;
}

#define MAPS_WRONG (RBD_FLAG_OBJECT_MAP_INVALID | RBD_FLAG_FAST_DIFF_INVALID)

#define OK(call) assert_true((call) >= 0)

/* ---- what an image goes through ---- */

static rbd_image_t open_image(const char *name)
{
	rbd_image_t h;

	OK(rbd_open(store.cluster.io, name, &h, NULL));
	return h;
}

static uint64_t size_of(rbd_image_t h)
{
	uint64_t bytes;

	OK(rbd_get_size(h, &bytes));
	return bytes;
}

static void use(rbd_image_t h)
{
	static const char data[SECTOR] = {1};
	char snap[32];

	for (unsigned i = draw(24); i; i--) {
		uint64_t bytes = size_of(h), offset = draw((uint32_t)(bytes / SECTOR)) * (uint64_t)SECTOR;
		uint64_t len = draw(3 * OBJECT / SECTOR) * (uint64_t)SECTOR;

		if (len > bytes - offset)
			len = bytes - offset;
		switch (draw(6)) {
		case 0:
			OK(rbd_discard(h, offset, len));
			break;
		case 1:
			snprintf(snap, sizeof(snap), "s%u", draw(UINT32_MAX));
			OK(rbd_snap_create(h, snap));
			if (draw(2))
				OK(rbd_snap_remove(h, snap));
			break;
		case 2:
			if (draw(3) == 0)
				OK(rbd_resize(h, (1 + draw(SECTORS)) * (uint64_t)SECTOR));
			break;
		default:
			OK(rbd_write(h, offset, sizeof(data), data));
		}
	}
}

/* The map of an image that nobody has open does not count from here on. */
static void map_lose(const char *id)
{
	const uint64_t in[] = {MAPS_WRONG, MAPS_WRONG, RBD_HEAD}; /* which, of these, of what */
	char header[RBD_OBJECT_BYTES], out[8];

	lost = true;
	rbd_header_object(header, id);
	OK(rados_exec(store.cluster.io, header, "rbd", "set_flags", (const char *)in, sizeof(in), out,
		sizeof(out)));
}

/* ---- what librbd says, and what is read ---- */

static int note(uint64_t offset, size_t len, int exists, void *arg)
{
	uint8_t *seen = arg;

	for (uint64_t at = offset; exists && at < offset + len; at += SECTOR)
		seen[at / SECTOR] = 1;
	return 0;
}

static void compare(rbd_image_t h, bool parents)
{
	static uint8_t theirs[SECTORS], ours[SECTORS];
	uint64_t bytes = size_of(h), end;
	char id[RBD_ID_BYTES];
	struct rbd_objects o;

	memset(theirs, 0, sizeof(theirs));
	memset(ours, 0, sizeof(ours));
	OK(rbd_diff_iterate2(h, NULL, 0, bytes, parents, 1, note, theirs));
	OK(rbd_get_id(h, id, sizeof(id)));
	assert_int_equal(rbd_objects_read(&store, id, parents, &o), 0);
	assert_int_equal(o.size_bytes, bytes);
	assert_int_equal(o.object_bytes, OBJECT);
	for (uint64_t at = 0; at < bytes; at = end) {
		int who = rbd_objects_at(&o, at, &end);

		assert_true(end > at);
		note(at, (end < bytes ? end : bytes) - at, who >= 0, ours);
	}
	if (!lost)
		assert_memory_equal(ours, theirs, sizeof(ours));
	for (unsigned i = 0; i < SECTORS; i++)
		assert_true(ours[i] >= theirs[i]);
	rbd_objects_free(&o);
}

static void compare_relations(rbd_image_t h)
{
	rbd_linked_image_spec_t parent, child[64];
	rbd_snap_spec_t snap;
	struct rbd_header header;
	char id[RBD_ID_BYTES];
	size_t children = 64;
	int err = rbd_get_parent(h, &parent, &snap);

	OK(rbd_get_id(h, id, sizeof(id)));
	OK(rbd_header_read(store.cluster.io, id, RBD_HEAD, &header));
	assert_int_equal(err == 0, header.parent.pool >= 0 && header.overlap_bytes);
	if (err == 0) {
		assert_string_equal(header.parent.id, parent.image_id);
		assert_int_equal(header.parent.snap, snap.id);
		rbd_linked_image_spec_cleanup(&parent);
		rbd_snap_spec_cleanup(&snap);
	}
	OK(rbd_list_children3(h, child, &children));
	assert_int_equal(rbd_header_has_children(store.cluster.io, id), children > 0);
	rbd_linked_image_spec_list_cleanup(child, children);
}

static void compare_all(rbd_image_t h)
{
	compare(h, false);
	compare(h, true);
	compare_relations(h);
}

static void clone_of(const char *name, const char *child)
{
	rbd_image_t h = open_image(name);
	rbd_image_options_t options;

	rbd_image_options_create(&options);
	rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2);
	OK(rbd_snap_create(h, "cut"));
	if (draw(2))
		use(h);
	OK(rbd_clone3(store.cluster.io, name, "cut", store.cluster.io, child, options));
	compare_all(h);
	if (draw(2))
		OK(rbd_snap_remove(h, "cut"));
	if (draw(2))
		use(h);
	OK(rbd_close(h));
	rbd_image_options_destroy(options);
}

static void chain(unsigned which)
{
	char names[LEVELS][32];
	unsigned levels = 2 + draw(LEVELS - 1);
	int order = ORDER;

	lost = false;
	for (unsigned i = 0; i < levels; i++) {
		char id[RBD_ID_BYTES];
		rbd_image_t h;

		snprintf(names[i], sizeof(names[i]), "objects-%u-%u", which, i);
		if (i)
			clone_of(names[i - 1], names[i]);
		else
			OK(rbd_create2(store.cluster.io, names[i], (1 + draw(SECTORS)) * (uint64_t)SECTOR,
				RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK | RBD_FEATURE_OBJECT_MAP |
					RBD_FEATURE_FAST_DIFF | RBD_FEATURE_DEEP_FLATTEN,
				&order));
		h = open_image(names[i]);
		compare_all(h);
		if (i && draw(2)) /* the end of the parent is not seen any more */
			for (unsigned again = 0; again < 2; again++)
				OK(rbd_resize(h, (1 + draw(SECTORS)) * (uint64_t)SECTOR));
		compare_all(h);
		use(h);
		compare_all(h);
		OK(rbd_get_id(h, id, sizeof(id)));
		OK(rbd_close(h));
		if (draw(5) == 0)
			map_lose(id);
		h = open_image(names[i]);
		compare_all(h);
		if (i && draw(6) == 0)
			OK(rbd_flatten(h));
		compare_all(h);
		OK(rbd_close(h));
		if (i && draw(3) == 0) /* into the trash, where the snapshot is there already */
			rbd_remove(store.cluster.io, names[i - 1]);
	}
}

TEST(objects_are_read_as_librbd_tells_them_of_any_image)
{
	struct store_module_options o = {.ceph_pool = getenv("UMBRA_TEST_CEPH_POOL")};
	struct fault f = {0};

	const char *runs = getenv("UMBRA_TEST_RUNS");
	unsigned chains = runs ? (unsigned)strtoul(runs, NULL, 10) : CHAINS;

	drawn = getenv("UMBRA_TEST_SEED") ? strtoull(getenv("UMBRA_TEST_SEED"), NULL, 10) : 12;
	assert_int_equal(rbd_cluster_connect(&store.cluster, &o, &f), 0);
	for (unsigned i = 0; i < chains; i++)
		chain(i);
	rbd_cluster_close(&store.cluster);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_are_read_as_librbd_tells_them_of_any_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
