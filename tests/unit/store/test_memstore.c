/* SPDX-License-Identifier: Apache-2.0 */
/* STORE_CLONE of the store in memory, on which the layers above are tested: content, what it says it shared,
 * durability, a full store. */
#include <errno.h>
#include <string.h>
#include "tests/support/memstore.h"
#include "tests/support/test.h"

#define CHUNK      65536u
#define DISK_BYTES (8u * CHUNK)

struct io {
	struct store_io io;
	int err; /* 1: not done */
};

static uint8_t want[2][DISK_BYTES], have[DISK_BYTES];

static void io_done(struct store_io *io, int err)
{
	container_of(io, struct io, io)->err = err;
}

static int run(struct store_io io)
{
	struct io x = {.io = io, .err = 1};

	x.io.done = io_done;
	io.disk->store->ops->submit(&x.io);
	assert_int_not_equal(x.err, 1);
	if (io.op == STORE_CLONE)
		assert_int_equal(x.err ? 0 : x.io.shared_bytes, io.shared_bytes);
	return x.err;
}

static void txn_done(void *arg, int err)
{
	*(int *)arg = err;
}

static void make(struct store *s, struct store_disk *disk[2])
{
	struct store_txn *t = s->ops->txn_begin(s);
	int err = 1;

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(s->ops->txn_disk_create(t, DISK_BYTES, &disk[i]), 0);
	s->ops->txn_commit(t, txn_done, &err);
	assert_int_equal(err, 0);
}

static void fill(struct store_disk *d, uint8_t *model, uint64_t offset, uint64_t len, uint8_t value)
{
	struct iovec iov = {model + offset, len};

	memset(model + offset, value, len);
	assert_int_equal(run((struct store_io){.op = STORE_WRITE,
				 .disk = d,
				 .offset = offset,
				 .len = len,
				 .iov = &iov,
				 .iov_count = 1}),
		0);
}

static int clone(struct store_disk *d, uint64_t offset, struct store_disk *from, uint64_t source_offset,
	uint64_t len, uint64_t shared)
{
	return run((struct store_io){.op = STORE_CLONE,
		.disk = d,
		.offset = offset,
		.len = len,
		.source = from,
		.source_offset = source_offset,
		.shared_bytes = shared});
}

static void compare(struct store_disk *d, const uint8_t *model)
{
	memstore_peek(d, 0, have, DISK_BYTES);
	assert_memory_equal(have, model, DISK_BYTES);
}

TEST(a_clone_shares_whole_chunks_and_lasts_from_the_next_flush)
{
	struct memstore *m = memstore_create(0);
	struct store *s = memstore_open(m, NULL);
	struct store_disk *d[2];
	uint64_t id;

	assert_true(s->ops->clones);
	make(s, d);
	for (unsigned i = 0; i < 8; i++)
		fill(d[0], want[0], i * CHUNK, CHUNK - 4096 * i, (uint8_t)(i + 1));
	fill(d[1], want[1], 0, DISK_BYTES, 0x77);
	/* Alike: the whole chunks are shared. Else nothing is. Zeros of the source are zeros. */
	assert_int_equal(clone(d[1], 512, d[0], 512, 3 * CHUNK, (uint64_t)2 * CHUNK), 0);
	memcpy(want[1] + 512, want[0] + 512, 3 * CHUNK);
	compare(d[1], want[1]);
	assert_int_equal(clone(d[1], CHUNK + 1024, d[0], 4 * CHUNK + 512, 2 * CHUNK, 0), 0);
	memcpy(want[1] + CHUNK + 1024, want[0] + 4 * CHUNK + 512, 2 * CHUNK);
	compare(d[1], want[1]);
	assert_int_equal(clone(d[0], 0, d[0], (uint64_t)6 * CHUNK, 2 * CHUNK, (uint64_t)2 * CHUNK), 0);
	memcpy(want[0], want[0] + 6 * CHUNK, 2 * CHUNK);
	/* Neither sees what is written to the other. */
	fill(d[0], want[0], CHUNK, 8192, 0x99);
	fill(d[1], want[1], 0, 1024, 0x55);
	compare(d[0], want[0]);
	compare(d[1], want[1]);
	/* Durable with the next flush, not before. */
	assert_int_equal(run((struct store_io){.op = STORE_FLUSH, .disk = d[0]}), 0);
	assert_int_equal(run((struct store_io){.op = STORE_FLUSH, .disk = d[1]}), 0);
	assert_int_equal(clone(d[1], 0, d[0], 0, CHUNK, CHUNK), 0);
	id = s->ops->disk_id(d[1]);
	memstore_crash(m, 0);
	s = memstore_open(m, NULL);
	assert_int_equal(s->ops->disk_open(s, id, &d[1]), 0);
	compare(d[1], want[1]);
	memstore_destroy(m);
}

TEST(a_full_store_still_shares_but_does_not_copy)
{
	struct memstore *m = memstore_create(6 * CHUNK);
	struct store *s = memstore_open(m, NULL);
	struct store_disk *d[2];

	make(s, d);
	memset(want, 0, sizeof(want));
	fill(d[0], want[0], 0, 5 * CHUNK, 3);
	assert_int_equal(clone(d[1], 0, d[0], 512, (uint64_t)4 * CHUNK, 0), -ENOSPC);
	compare(d[1], want[1]);
	assert_int_equal(clone(d[1], 0, d[0], 0, (uint64_t)4 * CHUNK, (uint64_t)4 * CHUNK), 0);
	memcpy(want[1], want[0], 4 * CHUNK);
	compare(d[1], want[1]);
	memstore_crash(m, 0);
	memstore_destroy(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_clone_shares_whole_chunks_and_lasts_from_the_next_flush),
		cmocka_unit_test(a_full_store_still_shares_but_does_not_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
