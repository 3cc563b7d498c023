/* SPDX-License-Identifier: Apache-2.0 */
/* Disks of the store in memory that take another one's content, and copies that become independent. */
#include <errno.h>
#include <string.h>
#include "tests/support/memstore.h"
#include "tests/support/test.h"

#define MIB (UINT64_C(1) << 20)

static void done(void *arg, int err)
{
	*(int *)arg = err ? err : 1;
}

static void io_done(struct store_io *io, int err)
{
	(void)io;
	assert_int_equal(err, 0);
}

static void fill(struct store_disk *d, uint64_t offset, uint8_t value)
{
	static uint8_t block[4096];
	struct iovec iov = {block, sizeof(block)};
	struct store_io io = {.op = STORE_WRITE,
		.flags = STORE_IO_FUA,
		.disk = d,
		.offset = offset,
		.len = sizeof(block),
		.iov = &iov,
		.iov_count = 1,
		.done = io_done};

	memset(block, value, sizeof(block));
	d->store->ops->submit(&io);
}

static uint8_t at(struct store_disk *d, uint64_t offset)
{
	uint8_t byte;

	memstore_peek(d, offset, &byte, 1);
	return byte;
}

static struct store_disk *new_disk(struct store *s, uint64_t bytes)
{
	struct store_txn *t = s->ops->txn_begin(s);
	struct store_disk *d;
	int end = 0;

	assert_int_equal(s->ops->txn_disk_create(t, bytes, &d), 0);
	s->ops->txn_commit(t, done, &end);
	assert_int_equal(end, 1);
	return d;
}

/* Asks for `to` to take what `from` holds; `drop`: thinks better of it. */
static void repoint(struct store *s, struct store_disk *from, struct store_disk *to, bool drop, int *end)
{
	static struct store_cut cut;
	static struct store_disk *member;
	struct store_txn *t;

	member = from;
	cut = (struct store_cut){.disks = &member, .count = 1};
	*end = 0;
	s->ops->cut(s, &cut, done, end);
	assert_int_equal(*end, 1);
	*end = 0;
	t = s->ops->txn_begin(s);
	assert_int_equal(s->ops->txn_disk_repoint(t, &cut, 0, to), 0);
	if (drop) {
		s->ops->txn_drop(t);
		s->ops->cut_drop(&cut);
	} else {
		s->ops->cut_commit(&cut, t, done, end);
	}
}

TEST(a_disk_takes_anothers_content_and_size_all_or_nothing)
{
	struct memstore *m = memstore_create(0);
	struct store *s = memstore_open(m, NULL);
	struct store_disk *a = new_disk(s, MIB), *b = new_disk(s, 2 * MIB);
	uint64_t id = s->ops->disk_id(b);
	int end;

	fill(a, 0, 1);
	fill(b, 0, 2);
	fill(b, MIB, 2);
	repoint(s, a, b, true, &end);
	assert_int_equal(at(b, 0), 2);
	repoint(s, a, b, false, &end);
	assert_int_equal(end, 1);
	assert_int_equal(s->ops->disk_size(b), MIB);
	assert_int_equal(at(b, 0), 1);
	fill(b, 4096, 3);
	assert_int_equal(at(a, 4096), 0);
	/* Not before it is done, and over a power loss as the seed says. */
	fill(a, 0, 4);
	for (unsigned survives = 0; survives < 2; survives++) {
		memstore_timing(m, MEMSTORE_CUT_COMMIT, MEMSTORE_MANUAL, 0);
		repoint(s, a, b, false, &end);
		assert_int_equal(end, 0);
		assert_int_equal(at(b, 0), 1);
		memstore_crash(m, survives ? 4 : 0);
		assert_int_equal(end, -ESHUTDOWN);
		s = memstore_open(m, NULL);
		assert_int_equal(s->ops->disk_open(s, id, &b), 0);
		assert_int_equal(s->ops->disk_open(s, 1, &a), 0);
		assert_true(at(b, 0) == 1 || (survives && at(b, 0) == 4));
	}
	assert_int_equal(memstore_disks(m), 2);
	s->ops->close(s, done, &end);
	memstore_destroy(m);
}

/* ---- hydration */

static struct store_disk *fork_of(struct store *s, struct store_disk *from)
{
	struct store_cut cut = {.disks = &from, .count = 1};
	struct store_txn *t;
	struct store_disk *d;
	int end = 0;

	s->ops->cut(s, &cut, done, &end);
	t = s->ops->txn_begin(s);
	assert_int_equal(s->ops->txn_disk_fork(t, &cut, 0, &d), 0);
	end = 0;
	s->ops->cut_commit(&cut, t, done, &end);
	assert_int_equal(end, 1);
	return d;
}

struct hydration {
	struct store_hydration h;
	int end;
};

static void hydrated(struct store_hydration *h, int err)
{
	done(&container_of(h, struct hydration, h)->end, err);
}

static void hydrate(struct hydration *x, struct store_disk *d)
{
	*x = (struct hydration){.h = {.disk = d, .done = hydrated}};
	d->store->ops->hydrate(&x->h);
}

TEST(a_hydration_that_stopped_goes_on_until_nothing_is_shared)
{
	struct memstore *m = memstore_create(0);
	struct store *s = memstore_open(m, NULL);
	struct store_disk *a = new_disk(s, MIB), *b;
	struct hydration x;
	uint64_t id, passed;
	int end;

	fill(a, 0, 1);
	b = fork_of(s, a);
	id = s->ops->disk_id(b);
	assert_true(memstore_shares(b) && !memstore_shares(a));
	hydrate(&x, a);
	assert_int_equal(x.end, 1);
	/* In steps; cancelled; fails half way; lost with the power; each time another one goes on. */
	memstore_timing(m, MEMSTORE_HYDRATE, MEMSTORE_MANUAL, 0);
	hydrate(&x, b);
	passed = x.h.passed_bytes;
	assert_true(memstore_complete_kind(m, MEMSTORE_HYDRATE));
	assert_true(x.end == 0 && x.h.passed_bytes > passed && x.h.total_bytes == MIB);
	s->ops->hydrate_cancel(&x.h);
	assert_int_equal(x.end, 0);
	assert_true(memstore_complete_kind(m, MEMSTORE_HYDRATE));
	assert_int_equal(x.end, -ECANCELED);
	hydrate(&x, b);
	memstore_fail(m, 2, -ENOSPC, false);
	memstore_complete_all(m);
	assert_int_equal(x.end, -ENOSPC);
	assert_true(x.h.passed_bytes < MIB);
	hydrate(&x, b);
	memstore_complete_kind(m, MEMSTORE_HYDRATE);
	memstore_crash(m, 1);
	assert_int_equal(x.end, -ESHUTDOWN);
	s = memstore_open(m, NULL);
	assert_int_equal(s->ops->disk_open(s, id, &b), 0);
	assert_true(memstore_shares(b));
	hydrate(&x, b);
	memstore_complete_all(m);
	assert_int_equal(x.end, 1);
	assert_int_equal(x.h.passed_bytes, MIB);
	memstore_crash(m, 0);
	s = memstore_open(m, NULL);
	assert_int_equal(s->ops->disk_open(s, id, &b), 0);
	assert_false(memstore_shares(b));
	assert_int_equal(at(b, 0), 1);
	s->ops->close(s, done, &end);
	memstore_destroy(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_takes_anothers_content_and_size_all_or_nothing),
		cmocka_unit_test(a_hydration_that_stopped_goes_on_until_nothing_is_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
