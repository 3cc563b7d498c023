/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the pool's log. First byte 0: the rest is the log as it lies in the file; the replay finds frames
 * in it or does not. Else: the rest is the payload of a frame that is sealed rightly, so that the records
 * behind the CRC are reached; they are refused, or each encodes to the bytes it came from and all of them are
 * applied to an LMDB environment (in a transaction that is given up).
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "array/store/pool/pool.h"

#define LOG_BYTES POOL_LOG_MIN_BYTES

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t image[LOG_BYTES];
static struct pool_meta meta;
static struct pool_super super = {.version = POOL_VERSION,
	.features_refuse = POOL_FEATURES_REFUSE,
	.capacity_chunks = 5000,
	.log_bytes = LOG_BYTES};
static char dir[] = "/tmp/umbra-fuzz-XXXXXX";

static int image_pread(struct pool_file *f, void *buf, size_t len, uint64_t offset)
{
	(void)f;
	assert(offset <= LOG_BYTES && len <= LOG_BYTES - offset);
	memcpy(buf, image + offset, len);
	return 0;
}

/* There is no mark beside the log. */
static int image_open(struct pool_host *h, const char *name, unsigned flags, struct pool_file **out)
{
	(void)h, (void)name, (void)flags, (void)out;
	return -ENOENT;
}

static const struct pool_host_ops image_ops = {.file_open = image_open, .file_pread = image_pread};
static struct pool_host image_host = {.ops = &image_ops};
static struct pool_file image_file = {.host = &image_host};

static void remove_dir(void)
{
	static const char *const names[] = {"meta/data.mdb", "meta/lock.mdb", "lock"};
	char path[64];

	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/meta", dir);
	rmdir(path);
	rmdir(dir);
}

static void start(void)
{
	struct pool_host *host;

	if (meta.env)
		return;
	for (unsigned i = 0; i < POOL_ID_BYTES; i++)
		super.id[i] = (uint8_t)i;
	if (!mkdtemp(dir) || pool_host_posix(dir, NULL, false, false, &host, NULL) ||
		pool_meta_create(host, &super) || pool_meta_open(&meta, host, &super, POOL_META_USE, NULL))
		abort();
	atexit(remove_dir);
}

static void same_again(const uint8_t *payload, size_t len)
{
	uint8_t again[POOL_RECORD_HEAD_BYTES + 8 + 65536 + 512];
	struct pool_record r, second;
	size_t at = 0;

	while (at < len) {
		int64_t size = pool_record_decode(payload + at, len - at, &r);

		assert(size > 0 && pool_record_size(&r) == (size_t)size);
		assert(pool_record_encode(again, &r) == (size_t)size);
		assert(pool_record_decode(again, (size_t)size, &second) == size && second.type == r.type);
		at += (size_t)size;
	}
}

static void replay(void)
{
	struct pool_state state = {.incarnation = 7,
		.applied_sequence = 41,
		.log_offset = POOL_LOG_START,
		.next_branch = 1,
		.next_disk = 1};
	struct pool_replay r;
	MDB_txn *txn;
	int err = pool_log_read(&image_host, &image_file, &super, &state, &r);

	assert(err == 0 || err == -EUCLEAN);
	if (!err && r.count) {
		for (size_t i = 0; i < r.count; i++)
			same_again(r.payloads[i].data, r.payloads[i].len);
		if (pool_meta_begin(&meta, false, &txn))
			abort();
		err = pool_meta_apply(&meta, txn, r.payloads, r.count, &r.state);
		pool_meta_abort(txn);
		assert(err == 0 || err == -EUCLEAN || err == -EINVAL);
	}
	pool_replay_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pool_frame frame = {.incarnation = 7, .sequence = 42, .offset = POOL_LOG_START};
	struct pool_record r;
	size_t at = 0, max = LOG_BYTES - POOL_LOG_START - POOL_FRAME_HEAD_SIZE;

	start();
	memset(image, 0, sizeof(image));
	if (size == 0)
		return 0;
	size--;
	if (size > max)
		size = max;
	if (data[0] == 0) {
		memcpy(image + POOL_LOG_START, data + 1, size);
		replay();
		return 0;
	}
	while (at < size) { /* as many records as there seem to be */
		int64_t n = pool_record_decode(data + 1 + at, size - at, &r);

		if (n < 0)
			break;
		at += (size_t)n;
		frame.records++;
	}
	frame.payload_bytes = (uint32_t)size;
	memcpy(image + POOL_LOG_START + POOL_FRAME_HEAD_SIZE, data + 1, size);
	pool_frame_seal(image + POOL_LOG_START, super.id, &frame);
	replay();
	return 0;
}
