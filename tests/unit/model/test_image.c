/* SPDX-License-Identifier: Apache-2.0 */
/* Images of a LUN for offloaded copies: of one instant, hidden, in turn with copy sets, gone in the end. */
#include "tests/unit/model/harness.h"

#include <errno.h>
#include <string.h>

static struct lun_image *take(struct harness *h, struct lun *lun)
{
	struct waiter w;

	lun_image_take(lun, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_non_null(w.call.image);
	return w.call.image;
}

struct raw {
	struct lun_io io;
	struct iovec iov;
	unsigned char data[512];
	int err;
	bool done;
};

static void raw_done(struct store_io *io, int err)
{
	struct raw *r = container_of(io, struct raw, io.io);

	r->err = err;
	r->done = true;
}

static void raw_lun_done(struct lun_io *io, int err)
{
	raw_done(&io->io, err);
}

static int read_image(struct harness *h, struct lun_image *i, uint64_t block)
{
	struct raw r = {.iov = {.iov_len = 512}};

	r.iov.iov_base = r.data;
	r.io.io = (struct store_io){.op = STORE_READ,
		.offset = block * 512,
		.len = 512,
		.iov = &r.iov,
		.iov_count = 1,
		.done = raw_done,
		.disk = i->disk};
	i->disk->store->ops->submit(&r.io.io);
	for (unsigned n = 0; !r.done && n < 1000; n++)
		harness_advance(h, 1);
	assert_true(r.done);
	assert_int_equal(r.err, 0);
	return r.data[0];
}

TEST(of_one_instant)
{
	struct harness *h = *state;
	struct lun *lun = make_lun(h, "a", 4 * MIB);
	struct lun_image *one, *two;

	assert_int_equal(do_write(h, lun, 8, 'A'), 0);
	one = take(h, lun);
	assert_int_equal(one->size_bytes, 4 * MIB);
	assert_int_equal(do_write(h, lun, 8, 'B'), 0);
	two = take(h, lun);
	assert_int_equal(do_write(h, lun, 8, 'C'), 0);
	assert_int_equal(read_image(h, one, 8), 'A');
	assert_int_equal(read_image(h, two, 8), 'B');
	assert_int_equal(do_read(h, lun, 8), 'C');
	lun_image_hold(one);
	lun_image_release(one);
	assert_int_equal(read_image(h, one, 8), 'A');
	/* nobody sees it, and the LUN may go before it */
	assert_null(lun_next(h->array, lun));
	assert_int_equal(do_delete(h, lun), 0);
	assert_int_equal(read_image(h, one, 8), 'A');
	lun_image_release(one);
	lun_image_release(two);
}

TEST(source_of_a_clone)
{
	struct harness *h = *state;
	struct lun *from = make_lun(h, "from", 4 * MIB), *to = make_lun(h, "to", 4 * MIB);
	struct lun_image *image;
	struct raw r = {0};

	if (!h->store->ops->clones)
		return;
	assert_int_equal(do_write(h, from, 130, 'A'), 0);
	assert_int_equal(do_write(h, to, 2, 'x'), 0);
	image = take(h, from);
	assert_int_equal(do_write(h, from, 130, 'B'), 0);
	r.io.io = (struct store_io){.op = STORE_CLONE,
		.offset = 0,
		.len = MIB,
		.source = image->disk,
		.source_offset = 128 * 512};
	r.io.lun = to;
	r.io.done = raw_lun_done;
	lun_submit(&r.io);
	for (unsigned n = 0; !r.done && n < 1000; n++)
		harness_advance(h, 1);
	assert_true(r.done);
	assert_int_equal(r.err, 0);
	assert_int_equal(do_read(h, to, 2), 'A');
	lun_image_release(image);
}

static bool disk_is_there(struct harness *h, uint64_t id)
{
	struct store_disk *disk;
	int err = h->store->ops->disk_open(h->store, id, &disk);

	assert_true(err == 0 || err == -ENOENT);
	return err == 0;
}

/* After its last user, and after a restart, with whatever else there was untouched. */
TEST(gone_in_the_end)
{
	struct harness *h = *state;
	struct lun *lun = make_lun(h, "a", 4 * MIB);
	uint64_t ids[2];

	assert_int_equal(do_write(h, lun, 0, 'A'), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct lun_image *image = take(h, lun);

		ids[i] = h->store->ops->disk_id(image->disk);
		if (i == 0)
			lun_image_release(image);
#ifdef HARNESS_POOL
		harness_advance(h, 100);
#endif
	}
	assert_int_equal(do_flush(h, lun), 0);
	harness_reopen(h);
	/* the second's deletion began with the opening; a change behind it says that it is over */
	make_lun(h, "b", MIB);
	assert_false(disk_is_there(h, ids[0]));
	assert_false(disk_is_there(h, ids[1]));
	assert_int_equal(do_read(h, lun_find_name(h->array, "a"), 0), 'A');
	harness_reopen(h);
	assert_int_equal(do_read(h, lun_find_name(h->array, "a"), 0), 'A');
}

#ifndef HARNESS_POOL
TEST(in_turn_with_commits)
{
	struct harness *h = *state;
	struct lun *lun = make_lun(h, "a", 4 * MIB);
	uint8_t shadow[UP_ID_BYTES];
	struct waiter image, set, late;

	make_armed(h, set_id(1), "", &lun, 1, &shadow);
	memstore_timing(h->memory, MEMSTORE_CUT_COMMIT, MEMSTORE_MANUAL, 0);
	lun_image_take(lun, waiter_init(&image));
	set_commit(h->array, set_id(1), "", 0, waiter_init(&set));
	lun_image_take(lun, waiter_init(&late));
	assert_int_equal(memstore_pending_kind(h->memory, MEMSTORE_CUT_COMMIT), 1);
	assert_true(memstore_complete_kind(h->memory, MEMSTORE_CUT_COMMIT));
	assert_int_equal(image.done, 1);
	assert_int_equal(set.done, 0);
	assert_int_equal(memstore_pending_kind(h->memory, MEMSTORE_CUT_COMMIT), 1);
	assert_true(memstore_complete_kind(h->memory, MEMSTORE_CUT_COMMIT));
	assert_int_equal(set.done, 1);
	assert_int_equal(late.done, 0);
	assert_true(memstore_complete_kind(h->memory, MEMSTORE_CUT_COMMIT));
	assert_int_equal(late.done, 1);
	memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
	assert_int_equal(set.call.fault.err, 0);
	lun_image_release(image.call.image);
	lun_image_release(late.call.image);
}

/* Whichever call of the store's fails: writes go on, nothing stays behind. */
TEST(failing)
{
	struct harness *h = *state;
	struct lun *lun = make_lun(h, "a", 4 * MIB);
	uint64_t calls = memstore_calls(h->memory);
	unsigned failures = 0;

	lun_image_release(take(h, lun));
	calls = memstore_calls(h->memory) - calls;
	assert_true(calls > 3);
	for (unsigned nth = 1; nth <= calls; nth++) {
		struct waiter w;

		memstore_fail(h->memory, nth, -EIO, false);
		lun_image_take(lun, waiter_init(&w));
		int err = waiter_wait(h, &w);

		if (!err)
			lun_image_release(w.call.image);
		else
			assert_null(w.call.image);
		failures += err != 0;
		memstore_fail(h->memory, 0, 0, false);
		assert_int_equal(do_write(h, lun, 1, (uint8_t)nth), 0);
		assert_int_equal(do_read(h, lun, 1), (uint8_t)nth);
	}
	assert_true(failures >= 3);
	/* one more deletes what could not be deleted before */
	lun_image_release(take(h, lun));
	assert_int_equal(memstore_disks(h->memory), 1);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_META), 1);
}

TEST(the_array_closes_meanwhile)
{
	struct harness *h = *state;
	struct lun *lun = make_lun(h, "a", 4 * MIB);
	struct waiter one, two;

	memstore_timing(h->memory, MEMSTORE_CUT_COMMIT, MEMSTORE_MANUAL, 0);
	lun_image_take(lun, waiter_init(&one));
	lun_image_take(lun, waiter_init(&two));
	memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
	array_close(h->array);
	memstore_complete_all(h->memory);
	assert_int_equal(one.done + two.done, 0);
	struct fault fault;
	assert_int_equal(array_open(&h->options, &h->array, &fault), 0);
	make_lun(h, "b", MIB);
}
#endif

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)
	const struct CMUnitTest tests[] = {
		T(of_one_instant),
		T(source_of_a_clone),
		T(gone_in_the_end),
#ifndef HARNESS_POOL
		T(in_turn_with_commits),
		T(failing),
		T(the_array_closes_meanwhile),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
