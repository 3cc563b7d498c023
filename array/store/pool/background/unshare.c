/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk lets go of the shared chunks that it sees in one of its own chunks: the data is read, and written back
 * by a COMPARE AND WRITE, which changes nothing and, as every write, never goes into a shared chunk. When a client's
 * write came between, it is looked at again.
 */
#include "array/store/pool/background/background.h"

#include <errno.h>
#include <string.h>

static void look(struct pool_unshare *u);

static void unshare_end(struct pool_unshare *u, int err)
{
	if (u->buf)
		pool_bounce_put(u->pool, u->buf);
	u->buf = NULL;
	u->done(u, err);
}

static void submit(struct pool_unshare *u, enum store_io_op op, void (*done)(struct store_io *io, int err))
{
	uint64_t offset = u->chunk << POOL_CHUNK_SHIFT, left = u->disk->size_bytes - offset;

	memset(&u->io, 0, sizeof(u->io));
	u->io.op = op;
	u->io.disk = &u->disk->base;
	u->io.offset = offset;
	u->io.len = left < POOL_CHUNK_BYTES ? left : POOL_CHUNK_BYTES;
	u->iov[0] = u->iov[1] = (struct iovec){u->buf, (size_t)u->io.len};
	u->io.iov = u->iov;
	u->io.iov_count = op == STORE_COMPARE_WRITE ? 2 : 1;
	u->io.done = done;
	pool_submit(&u->io);
}

static void was_written(struct store_io *io, int err)
{
	struct pool_unshare *u = container_of(io, struct pool_unshare, io);

	if (err && err != -EILSEQ)
		unshare_end(u, err);
	else
		look(u);
}

static void was_read(struct store_io *io, int err)
{
	struct pool_unshare *u = container_of(io, struct pool_unshare, io);

	if (err)
		unshare_end(u, err);
	else
		submit(u, STORE_COMPARE_WRITE, was_written);
}

/* Does the disk see data of a shared chunk in an entry of its own branch? */
static bool sees_shared(const struct pool_leaf *leaf, uint64_t chunk)
{
	const struct pool_entry *e = NULL;
	struct pool_entry unpacked;
	unsigned count = leaf ? pool_map_entries(leaf, chunk, &e, &unpacked) : 0;
	uint16_t need = POOL_ALL_BLOCKS;

	for (unsigned i = 0; i < count; i++) {
		if (e[i].shared && (e[i].valid & need))
			return true;
		need &= (uint16_t) ~(e[i].valid | e[i].zero);
	}
	return false;
}

static void look(struct pool_unshare *u)
{
	struct pool_leaf *leaf;
	int err = pool_map_leaf(&u->pool->map, u->disk->branch, u->chunk, false, &u->waiter, &leaf);

	if (err == -EAGAIN)
		return;
	if (err || u->chunk << POOL_CHUNK_SHIFT >= u->disk->size_bytes || !sees_shared(leaf, u->chunk)) {
		unshare_end(u, err);
		return;
	}
	if (!u->buf && !(u->buf = pool_bounce_get(u->pool))) {
		unshare_end(u, -ENOMEM);
		return;
	}
	u->copied += POOL_CHUNK_BYTES;
	submit(u, STORE_READ, was_read);
}

static void woken(struct pool_waiter *w, int err)
{
	struct pool_unshare *u = container_of(w, struct pool_unshare, waiter);

	if (err)
		unshare_end(u, err);
	else
		look(u);
}

void pool_unshare_chunk(struct pool_unshare *u, struct pool *p, struct pool_disk *d, uint64_t chunk,
	void (*done)(struct pool_unshare *u, int err))
{
	memset(u, 0, sizeof(*u));
	u->pool = p;
	u->disk = d;
	u->chunk = chunk;
	u->done = done;
	u->waiter.wake = woken;
	look(u);
}
