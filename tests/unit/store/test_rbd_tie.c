/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tie between a clone and its parent is cut at the clone's end first: whatever is opened, or is open, meanwhile, and wherever umbrad is
 * killed, each disk holds what it held.
 */
#include "tests/unit/store/rbd_hung.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tie_of(struct store_disk *copy, struct rbd_tie *t)
{
	struct rbd_store *store = rbd_store_of(s);
	struct rbd_header h;

	assert_int_equal(rbd_image_id(store, rbd_disk_of(copy)->image->name, t->id), 0);
	assert_int_equal(rbd_header_read(store->cluster.io, t->id, RBD_HEAD, &h), 0);
	t->parent = h.parent;
	return t->parent.pool >= 0;
}

static void hydrate(struct store_disk *d)
{
	struct hydration y = {.h = {.disk = d, .done = hydrated}};

	s->ops->hydrate(&y.h);
	assert_int_equal(wait_for(&y.wait), 0);
}

static bool has_no_snapshots(const void *disk)
{
	const struct rbd_disk *d = disk;

	return snapshots(&rbd_disk_find(rbd_store_of(s), d->id)->base) == 0;
}

static bool nothing_is_said(const void *unused)
{
	char command[300];

	(void)unused;
	snprintf(command, sizeof(command), "rados -p %s listomapkeys umbra.hang | grep '^flat'",
		options().ceph_pool);
	return output_lines(command) == 0;
}

/* Where the snapshot has no map librbd asks for each object, and one that is no more answers with what the original has had written
 * since. */
static void map_lose(const struct rbd_tie *t)
{
	char object[RBD_OBJECT_BYTES];

	rbd_map_object(object, t->parent.id, t->parent.snap);
	assert_int_equal(rados_remove(rbd_store_of(s)->cluster.io, object), 0);
}

TEST(an_image_that_is_open_asks_its_parent_nothing_once_it_is_cut_off)
{
	struct store_disk *original, *copy;
	struct rbd_tie tie;

	make_disks(&original, 1);
	copy = copy_of(original);
	assert_true(tie_of(copy, &tie));
	map_lose(&tie);
	assert_int_equal(access_end(access_begin(copy, STORE_READ, 1)), 0);
	hydrate(copy);
	assert_false(tie_of(copy, &tie));
	assert_true(until(has_no_snapshots, original));
	access_end(access_begin(original, STORE_WRITE, 2));
	assert_int_equal(access_end(access_begin(copy, STORE_READ, 1)), 0);
	assert_true(until(nothing_is_said, NULL));
}

/* It, or one that it hangs on. */
static void opened_meanwhile(bool deep)
{
	struct store_disk *original, *copy, *opened;
	struct access *x;
	struct rbd_tie tie;

	make_disks(&original, 1);
	copy = copy_of(original);
	opened = deep ? copy_of(copy) : copy;
	assert_true(tie_of(copy, &tie));
	map_lose(&tie);
	hang_some(CALL_OPENED, 1);
	x = access_begin(opened, STORE_READ, 1);
	wait_until_hang(1);
	if (deep) {
		hydrate(copy);
	} else {
		assert_int_equal(rbd_tie_cut(rbd_store_of(s), rbd_disk_of(copy)->image->name, &tie), 0);
		assert_true(rbd_reclaim_tie(rbd_store_of(s), rbd_disk_of(copy)->image->name, &tie));
	}
	assert_true(until(has_no_snapshots, original));
	access_end(access_begin(original, STORE_WRITE, 2));
	let_go();
	assert_int_equal(access_end(x), 0);
	assert_int_equal(access_end(access_begin(copy, STORE_READ, 1)), 0);
}

TEST(an_image_whose_opening_outlasts_its_being_cut_off_is_opened_again)
{
	opened_meanwhile(false);
}

TEST(one_whose_opening_outlasts_that_of_what_it_hangs_on_is_opened_again)
{
	opened_meanwhile(true);
}

/* The hydration is over; others go on; nothing is lost of it. */
TEST(a_parents_end_that_hangs_keeps_up_nobody)
{
	struct store_disk *original, *copies[2];
	struct rbd_tie tie;

	make_disks(&original, 1);
	access_end(access_begin(original, STORE_WRITE, 3));
	for (unsigned i = 0; i < 2; i++)
		copies[i] = copy_of(original);
	hang_some(CALL_UNTIE, 1);
	hydrate(copies[0]);
	wait_until_hang(1);
	assert_false(tie_of(copies[0], &tie));
	hydrate(copies[1]);
	access_end(access_begin(original, STORE_WRITE, 4));
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(access_end(access_begin(copies[i], STORE_READ, 0)), 3);
	delete_disk(copies[0]);
	assert_false(nothing_is_said(NULL));
	let_go();
	assert_left(2);
	assert_true(until(has_no_snapshots, original));
	assert_true(until(nothing_is_said, NULL));
}

/* What an opening needs of an OSD that does not answer: hosts are served by the handle that is there. */
TEST(an_image_that_could_not_be_opened_anew_now_serves_on)
{
	struct store_disk *original, *copy, *deep;
	struct rbd_tie tie;

	make_disks(&original, 1);
	access_end(access_begin(original, STORE_WRITE, 3));
	copy = copy_of(original);
	deep = copy_of(copy);
	assert_int_equal(access_end(access_begin(deep, STORE_READ, 0)), 3);
	hang(CALL_STAT);
	hydrate(copy);
	assert_false(tie_of(copy, &tie));
	wait_until_hang(2);
	access_end(access_begin(copy, STORE_WRITE, 5));
	assert_int_equal(access_end(access_begin(deep, STORE_READ, 0)), 3);
	assert_true(snapshots(original) > 0);
	let_go();
	assert_true(until(has_no_snapshots, original));
	access_end(access_begin(original, STORE_WRITE, 4));
	assert_int_equal(access_end(access_begin(copy, STORE_READ, 0)), 5);
	assert_int_equal(access_end(access_begin(deep, STORE_READ, 0)), 3);
}

static bool is_stale(const void *image)
{
	return atomic_load(&((const struct rbd_image *)image)->stale);
}

/* A host's I/O hangs on an image that is to be opened anew: others of its LUN are held up for a moment, and the image is opened anew when
 * that I/O is over. */
TEST(io_that_hangs_on_an_image_that_is_to_be_opened_anew_keeps_up_no_other)
{
	struct store_disk *original, *copy;
	struct rbd_image *image;
	struct rbd_tie tie;

	make_disks(&original, 1);
	access_end(access_begin(original, STORE_WRITE, 3));
	copy = copy_of(original);
	image = rbd_disk_of(copy)->image;
	assert_int_equal(access_end(access_begin(copy, STORE_READ, 0)), 3);
	image->ios++; /* as while librbd has one */
	rbd_image_get(image);
	hydrate(copy);
	assert_false(tie_of(copy, &tie));
	assert_true(until(is_stale, image));
	for (unsigned i = 0; i < 3; i++)
		access_end(access_begin(copy, STORE_WRITE, 5));
	assert_true(snapshots(original) > 0);
	image->ios--;
	rbd_image_put(image);
	assert_int_equal(access_end(access_begin(copy, STORE_READ, 0)), 5);
	assert_true(until(has_no_snapshots, original));
}

/* ---- … and umbrad is killed in the middle */

static void say(const char *image, const char *word)
{
	struct rbd_store *store = rbd_store_of(s);
	rados_write_op_t op = rbd_catalogue_op(store->epoch);
	char key[RBD_KEY_BYTES];

	snprintf(key, sizeof(key), "flat.%s", image);
	rbd_op_set_text(op, key, word);
	assert_int_equal(rados_write_op_operate(op, store->cluster.io, store->object, NULL, 0), 0);
	rados_release_write_op(op);
}

/* Each block is written, as it was. */
static void hydrate_all_but_the_tie(struct store_disk *copy, struct rbd_tie *tie)
{
	uint32_t value = access_end(access_begin(copy, STORE_READ, 0));

	access_end(access_begin(copy, STORE_WRITE, value));
	assert_true(tie_of(copy, tie));
}

static void say_whole(const char *image, const struct rbd_tie *t)
{
	char word[RBD_TIE_BYTES];

	rbd_tie_format(word, t);
	say(image, word);
}

static void cut_own_end(const char *image, const struct rbd_tie *t)
{
	assert_int_equal(rbd_tie_cut(rbd_store_of(s), image, t), 0);
}

static void cut_parents_end(const struct rbd_tie *t)
{
	struct rbd_store *store = rbd_store_of(s);

	assert_int_equal(rbd_header_lose_child(
				 store->cluster.io, t->parent.id, t->parent.snap, t->parent.pool, "", t->id),
		0);
}

static void cut_both_ends(const char *image, const struct rbd_tie *t)
{
	cut_own_end(image, t);
	cut_parents_end(t);
}

static void cut_all(const char *image, const struct rbd_tie *t)
{
	cut_own_end(image, t);
	assert_int_equal(rbd_tie_lose(rbd_store_of(s), image, t), 0);
	say_whole(image, t);
}

/* An umbrad before this one. */
static void say_which(const char *image, const struct rbd_tie *t)
{
	say(image, t->id);
}

static void say_that(const char *image, const struct rbd_tie *t)
{
	(void)t;
	say(image, "");
}

static void cut_parents_end_first(const char *image, const struct rbd_tie *t)
{
	rbd_image_t parent;

	say_which(image, t);
	cut_parents_end(t);
	assert_int_equal(rbd_open_by_id(rbd_store_of(s)->cluster.io, t->parent.id, &parent, NULL), 0);
	assert_int_equal(rbd_snap_remove_by_id(parent, t->parent.snap), 0);
	rbd_close(parent);
}

static void reopen(void)
{
	struct store_module_options o = options();
	struct wait w = {0};
	struct fault f = {0};

	s->ops->close(s, ended, &w);
	wait_for(&w);
	if (umbra_store_module.open(&o, reactor, &s, &f))
		fail_msg("%s", f.text);
}

static struct store_disk *disk_of(uint64_t id)
{
	struct store_disk *d;

	assert_int_equal(s->ops->disk_open(s, id, &d), 0);
	return d;
}

static const struct {
	void (*until_here)(const char *image, const struct rbd_tie *t);
	bool known_in_trash;
} steps[] = {{say_whole, true}, {cut_own_end, true}, {cut_both_ends, true}, {cut_all, true},
	{say_which, true}, {say_that, false}, {cut_parents_end_first, true}};

/* `in_trash`: deleted, it lies there for its copy's sake. */
static void half_cut(unsigned step, bool in_trash)
{
	struct store_disk *original, *copy, *deep;
	char image[RBD_IMAGE_NAME_BYTES];
	uint64_t ids[3];
	struct rbd_tie tie;

	make_disks(&original, 1);
	access_end(access_begin(original, STORE_WRITE, 3));
	copy = copy_of(original);
	deep = copy_of(copy);
	ids[0] = s->ops->disk_id(original);
	ids[1] = s->ops->disk_id(copy);
	ids[2] = s->ops->disk_id(deep);
	snprintf(image, sizeof(image), "%s", rbd_disk_of(copy)->image->name);
	hydrate_all_but_the_tie(copy, &tie);
	if (in_trash) {
		delete_disk(copy);
		assert_true(until(is_idle, NULL));
	}
	steps[step].until_here(image, &tie);
	reopen();
	original = disk_of(ids[0]);
	deep = disk_of(ids[2]);
	assert_true(until(has_no_snapshots, original));
	assert_true(until(nothing_is_said, NULL));
	access_end(access_begin(original, STORE_WRITE, 4));
	assert_int_equal(access_end(access_begin(deep, STORE_READ, 0)), 3);
	if (!in_trash) {
		copy = disk_of(ids[1]);
		assert_false(tie_of(copy, &tie));
		assert_int_equal(access_end(access_begin(copy, STORE_READ, 0)), 3);
		delete_disk(copy);
	}
	delete_disk(deep);
	delete_disk(original);
	assert_left(0);
}

TEST(what_is_half_cut_is_cut_at_the_next_opening)
{
	for (unsigned step = 0; step < sizeof(steps) / sizeof(steps[0]); step++) {
		half_cut(step, false);
		if (steps[step].known_in_trash)
			half_cut(step, true);
	}
}

/* ---- … of another kind, which somebody has made by hand */

/* A shell's command, which knows $pool and $image. */
static void by_hand(const char *image, const char *command)
{
	setenv("pool", options().ceph_pool, 1);
	setenv("image", image, 1);
	assert_int_equal(system(command), 0);
}

/* Ceph's first format, where only the pool says which image has clones. */
TEST(an_image_is_cut_off_a_parent_that_does_not_name_it)
{
	struct store_disk *disk;
	struct rbd_tie tie;
	char image[RBD_IMAGE_NAME_BYTES];
	uint64_t id;

	make_disks(&disk, 1);
	id = s->ops->disk_id(disk);
	snprintf(image, sizeof(image), "%s", rbd_disk_of(disk)->image->name);
	by_hand(image,
		"rbd -p $pool mv $image old && rbd -p $pool snap create old@s && rbd -p $pool snap protect old@s && "
		"rbd --rbd-default-clone-format 1 clone $pool/old@s $pool/$image");
	reopen();
	disk = disk_of(id);
	assert_true(tie_of(disk, &tie));
	hydrate(disk);
	assert_false(tie_of(disk, &tie));
	by_hand(image,
		"rbd -p $pool snap unprotect old@s && rbd -p $pool snap purge --no-progress old && rbd -p $pool rm --no-progress old");
	assert_true(nothing_is_said(NULL));
}

/* In another namespace, in the trash of snapshots. A copy of it that is open shows what it did. */
TEST(an_image_is_cut_off_a_parent_that_is_elsewhere)
{
	struct store_disk *disk, *copy;
	char image[RBD_IMAGE_NAME_BYTES];
	struct rbd_tie tie;
	uint32_t value;
	uint64_t id;

	make_disks(&disk, 1);
	id = s->ops->disk_id(disk);
	snprintf(image, sizeof(image), "%s", rbd_disk_of(disk)->image->name);
	by_hand(image, "rbd namespace create $pool/other && rbd create --size 4M $pool/other/old && "
		       "rbd bench --io-type write --io-total 64K --io-size 4K $pool/other/old >/dev/null && "
		       "rbd snap create $pool/other/old@s && rbd rm --no-progress $pool/$image && "
		       "rbd --rbd-default-clone-format 2 clone $pool/other/old@s $pool/$image && "
		       "rbd snap rm --no-progress $pool/other/old@s");
	reopen();
	disk = disk_of(id);
	assert_true(tie_of(disk, &tie));
	assert_string_equal(tie.parent.space, "other");
	copy = copy_of(disk);
	value = access_end(access_begin(copy, STORE_READ, 0));
	assert_int_not_equal(value, 0);
	hydrate(disk);
	assert_false(tie_of(disk, &tie));
	assert_true(until(nothing_is_said, NULL));
	by_hand(image, "rbd rm --no-progress $pool/other/old && rbd namespace remove $pool/other");
	assert_int_equal(access_end(access_begin(disk, STORE_READ, 0)), value);
	assert_int_equal(access_end(access_begin(copy, STORE_READ, 0)), value);
}

/* Without deep-flatten the image's snapshots keep what they need. */
TEST(an_image_whose_snapshots_need_the_parent_is_cut_off_alone)
{
	struct store_disk *original, *copy, *deep;
	struct rbd_tie tie;

	make_disks(&original, 1);
	access_end(access_begin(original, STORE_WRITE, 3));
	copy = copy_of(original);
	by_hand(rbd_disk_of(copy)->image->name, "rbd -p $pool feature disable $image deep-flatten");
	deep = copy_of(copy);
	hydrate(copy);
	assert_true(until(nothing_is_said, NULL));
	assert_true(snapshots(original) > 0);
	access_end(access_begin(original, STORE_WRITE, 4));
	assert_int_equal(access_end(access_begin(copy, STORE_READ, 0)), 3);
	assert_int_equal(access_end(access_begin(deep, STORE_READ, 0)), 3);
	hydrate(deep);
	assert_false(tie_of(deep, &tie));
	assert_int_equal(access_end(access_begin(deep, STORE_READ, 0)), 3);
	assert_true(until(has_no_snapshots, copy));
	assert_true(until(has_no_snapshots, original));
	assert_false(tie_of(copy, &tie));
}

#define t(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(an_image_that_is_open_asks_its_parent_nothing_once_it_is_cut_off),
		t(an_image_whose_opening_outlasts_its_being_cut_off_is_opened_again),
		t(one_whose_opening_outlasts_that_of_what_it_hangs_on_is_opened_again),
		t(a_parents_end_that_hangs_keeps_up_nobody),
		t(an_image_that_could_not_be_opened_anew_now_serves_on),
		t(io_that_hangs_on_an_image_that_is_to_be_opened_anew_keeps_up_no_other),
		t(what_is_half_cut_is_cut_at_the_next_opening),
		t(an_image_is_cut_off_a_parent_that_does_not_name_it),
		t(an_image_is_cut_off_a_parent_that_is_elsewhere),
		t(an_image_whose_snapshots_need_the_parent_is_cut_off_alone),
	};
	struct reactor_options o = {.workers = 1};

	if (reactor_create(&reactor, &o))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
