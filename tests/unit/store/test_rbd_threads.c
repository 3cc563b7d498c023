/* SPDX-License-Identifier: Apache-2.0 */
/*
 * librbd beside itself, with one thread of librados's: clones of clones are written, cut, looked at, flattened, opened, cloned and deleted
 * all at once, by the calls that the store makes. Each kind of work must go on: where librbd waits for what its own thread is to do, all of
 * it stands still. UMBRA_TEST_SECONDS: how long.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "array/store/rbd/rbd.h"
#include "tests/support/test.h"

#define SECONDS      4u
#define STANDS_STILL 120u /* seconds without progress, on a machine however busy */
#define FAMILIES     3u
#define IMAGE_BYTES  (UINT64_C(4) << 20)
#define OBJECT_BYTES (UINT64_C(64) << 10)
#define PARENTS      2u
#define IN_FLIGHT    8u
#define MAPS_WRONG   (RBD_FLAG_OBJECT_MAP_INVALID | RBD_FLAG_FAST_DIFF_INVALID)
#define FEATURES                                                                                             \
	(RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK | RBD_FEATURE_OBJECT_MAP |                        \
		RBD_FEATURE_FAST_DIFF | RBD_FEATURE_DEEP_FLATTEN)

static struct rbd_store store;
static atomic_bool ends;

enum work {
	WRITES,
	CUTS,
	LOOKS,
	CLONES,
	OPENINGS,
	WORKS,
	WORKERS = WORKS + 5
};
/* A LUN, which is a clone itself, and what is done to it. */
struct family {
	char lun[32];
	rbd_image_t handle;
	_Atomic uint64_t done[WORKS];
};
static struct family families[FAMILIES];

struct worker {
	struct family *f;
	enum work kind;
	pthread_t thread;
	uint64_t drawn;
};

#define OK(call)                                                                                             \
	do {                                                                                                 \
		int err_ = (int)(call);                                                                      \
		if (err_ < 0) {                                                                              \
			fprintf(stderr, "%s: %s\n", #call, strerror(-err_));                                 \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

static uint32_t draw(struct worker *w, uint32_t below)
{
	w->drawn = w->drawn * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(w->drawn >> 33) % below;
}

static int progress(uint64_t offset, uint64_t total, void *arg)
{
	(void)offset, (void)total, (void)arg;
	return 0;
}

/* The snapshot that it is a clone of, which goes to the trash. */
static uint64_t make_clone(const char *of, rbd_image_t handle, const char *snap, const char *name)
{
	rbd_image_options_t options;
	uint64_t id;

	OK(rbd_snap_create2(handle, snap, RBD_SNAP_CREATE_SKIP_QUIESCE, progress, NULL));
	rbd_image_options_create(&options);
	rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES, FEATURES);
	rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2);
	OK(rbd_clone3(store.cluster.io, of, snap, store.cluster.io, name, options));
	rbd_image_options_destroy(options);
	OK(rbd_snap_get_id(handle, snap, &id));
	OK(rbd_snap_remove2(handle, snap, 0, progress, NULL));
	return id;
}

/* librbd must look at each object of it from now on, which takes long. */
static void map_lose(const char *image, uint64_t snap)
{
	const uint64_t in[] = {MAPS_WRONG, MAPS_WRONG, snap};
	char id[RBD_ID_BYTES], header[RBD_OBJECT_BYTES], out[8];

	OK(rbd_image_id(&store, image, id));
	rbd_header_object(header, id);
	OK(rados_exec(store.cluster.io, header, "rbd", "set_flags", (const char *)in, sizeof(in), out,
		sizeof(out)));
}

/* ---- the kinds of work */

static void writes(struct worker *w)
{
	static char block[4096] = {1};
	char read[IN_FLIGHT][4096];
	rbd_completion_t c[IN_FLIGHT];

	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		uint64_t offset = draw(w, IMAGE_BYTES / 4096) * UINT64_C(4096);

		OK(rbd_aio_create_completion(NULL, NULL, &c[i]));
		if (i == 0 && draw(w, 16) == 0)
			OK(rbd_aio_discard(
				w->f->handle, offset / OBJECT_BYTES * OBJECT_BYTES, OBJECT_BYTES, c[i]));
		else if (i % 2)
			OK(rbd_aio_read(w->f->handle, offset, sizeof(block), read[i], c[i]));
		else
			OK(rbd_aio_write(w->f->handle, offset, sizeof(block), block, c[i]));
	}
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		OK(rbd_aio_wait_for_complete(c[i]));
		OK(rbd_aio_get_return_value(c[i]));
		rbd_aio_release(c[i]);
	}
}

static void cuts(struct worker *w)
{
	char snap[32];

	snprintf(snap, sizeof(snap), RBD_CUT_PREFIX "%u", draw(w, UINT32_MAX));
	OK(rbd_snap_create2(w->f->handle, snap, RBD_SNAP_CREATE_SKIP_QUIESCE, progress, NULL));
	OK(rbd_snap_remove2(w->f->handle, snap, 0, progress, NULL));
}

static void looks(struct worker *w)
{
	char id[RBD_ID_BYTES];
	struct rbd_header header;
	rbd_image_info_t info;
	struct rbd_objects o;

	OK(rbd_get_id(w->f->handle, id, sizeof(id)));
	OK(rbd_chain(&store, w->f->lun));
	OK(rbd_objects_read(&store, id, true, &o));
	rbd_objects_free(&o);
	OK(rbd_header_read(store.cluster.io, id, RBD_HEAD, &header));
	OK(rbd_header_has_children(store.cluster.io, id));
	OK(rbd_stat(w->f->handle, &info, sizeof(info)));
}

/* A copy is taken, read, made independent and deleted. */
static void clones(struct worker *w)
{
	char name[64], snap[32], block[4096];
	rbd_image_t h;

	snprintf(name, sizeof(name), "%s-copy", w->f->lun);
	snprintf(snap, sizeof(snap), "copy-%u", draw(w, UINT32_MAX));
	make_clone(w->f->lun, w->f->handle, snap, name);
	OK(rbd_image_open(&store, name, &h));
	OK(rbd_lock_acquire(h, RBD_LOCK_MODE_EXCLUSIVE));
	OK(rbd_read(h, draw(w, IMAGE_BYTES / 4096) * UINT64_C(4096), sizeof(block), block));
	OK(rbd_write(h, 0, sizeof(block), block));
	if (draw(w, 2))
		OK(rbd_flatten_with_progress(h, progress, NULL));
	OK(rbd_image_drop_cuts(h, true));
	OK(rbd_close(h));
	OK(rbd_remove(store.cluster.io, name));
}

static void openings(struct worker *w)
{
	char setting[RBD_SETTING_BYTES];
	rbd_image_t h;

	OK(rbd_open_read_only(store.cluster.io, w->f->lun, &h, NULL));
	OK(rbd_close(h));
	OK(rbd_cluster_image_settings(w->f->handle, setting));
	OK(rbd_metadata_set(w->f->handle, "umbra.test", "1"));
}

static void *work(void *arg)
{
	static void (*const call[WORKS])(struct worker *) = {writes, cuts, looks, clones, openings};
	struct worker *w = arg;

	while (!atomic_load(&ends)) {
		call[w->kind](w);
		atomic_fetch_add(&w->f->done[w->kind], 1);
	}
	return NULL;
}

/* ---- */

/* The LUN has parents whose maps do not count: that is where librbd held the lock for long. */
static void begin(unsigned i)
{
	static char block[4096] = {1};
	struct family *f = &families[i];
	int order = 16;
	rbd_image_t h;

	snprintf(f->lun, sizeof(f->lun), "threads-%u", i);
	OK(rbd_create2(store.cluster.io, f->lun, IMAGE_BYTES, FEATURES, &order));
	for (unsigned level = 1; level <= PARENTS; level++) {
		char of[32];

		memcpy(of, f->lun, sizeof(of));
		snprintf(f->lun, sizeof(f->lun), "threads-%u-%u", i, level);
		OK(rbd_open(store.cluster.io, of, &h, NULL));
		for (uint64_t at = 0; at < IMAGE_BYTES; at += (level + 1) * OBJECT_BYTES)
			OK(rbd_write(h, at, sizeof(block), block));
		map_lose(of, make_clone(of, h, "cut", f->lun));
		OK(rbd_close(h));
	}
	OK(rbd_image_open(&store, f->lun, &f->handle));
	OK(rbd_lock_acquire(f->handle, RBD_LOCK_MODE_EXCLUSIVE));
}

/* Whether each kind of work has gone on in each family since; then `before` is now. */
static bool goes_on(uint64_t before[FAMILIES][WORKS])
{
	bool all = true;

	for (unsigned i = 0; i < FAMILIES; i++)
		for (unsigned k = 0; k < WORKS; k++)
			all = all && atomic_load(&families[i].done[k]) > before[i][k];
	for (unsigned i = 0; all && i < FAMILIES; i++)
		for (unsigned k = 0; k < WORKS; k++)
			before[i][k] = atomic_load(&families[i].done[k]);
	return all;
}

static void tell(void)
{
	for (unsigned i = 0; i < FAMILIES; i++) {
		fprintf(stderr, "%s:", families[i].lun);
		for (unsigned k = 0; k < WORKS; k++)
			fprintf(stderr, " %llu", (unsigned long long)atomic_load(&families[i].done[k]));
		fprintf(stderr, "\n");
	}
}

TEST(librbd_goes_on_with_one_thread_whatever_is_done_at_once)
{
	struct store_module_options o = {.ceph_pool = getenv("UMBRA_TEST_CEPH_POOL")};
	const char *seconds = getenv("UMBRA_TEST_SECONDS");
	uint64_t before[FAMILIES][WORKS] = {{0}}, end_ms, moved_ms;
	struct worker workers[FAMILIES][WORKERS];
	struct fault f = {0};
	char value[16];

	setenv("CEPH_ARGS", "--librados-thread-count=1", 1);
	assert_int_equal(rbd_cluster_connect(&store.cluster, &o, &f), 0);
	OK(rados_conf_get(store.cluster.rados, "librados_thread_count", value, sizeof(value)));
	fprintf(stderr, "librados_thread_count %s\n", value);
	for (unsigned i = 0; i < FAMILIES; i++)
		begin(i);
	for (unsigned i = 0; i < FAMILIES; i++)
		for (unsigned k = 0; k < WORKERS; k++) {
			/* those that are more than the kinds of work look */
			workers[i][k] = (struct worker){
				&families[i], k < WORKS ? k : LOOKS, .drawn = i * WORKERS + k};
			assert_int_equal(
				pthread_create(&workers[i][k].thread, NULL, work, &workers[i][k]), 0);
		}
	moved_ms = clock_boot_ms();
	end_ms = moved_ms + 1000 * (seconds ? strtoull(seconds, NULL, 10) : SECONDS);
	for (bool all = false; !all || clock_boot_ms() < end_ms;) {
		usleep(100000);
		if (goes_on(before)) {
			all = true;
			moved_ms = clock_boot_ms();
		} else if (clock_boot_ms() - moved_ms > STANDS_STILL * 1000) {
			tell();
			abort();
		}
	}
	atomic_store(&ends, true);
	for (unsigned i = 0; i < FAMILIES; i++)
		for (unsigned k = 0; k < WORKERS; k++)
			pthread_join(workers[i][k].thread, NULL);
	tell();
	for (unsigned i = 0; i < FAMILIES; i++)
		OK(rbd_close(families[i].handle));
	rbd_cluster_close(&store.cluster);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(librbd_goes_on_with_one_thread_whatever_is_done_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
