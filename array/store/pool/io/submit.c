/* SPDX-License-Identifier: Apache-2.0 */
/* An I/O from its submission to its end: which way it goes, and its parts, one a chunk. */
#include "array/store/pool/io/io.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

_Static_assert(sizeof(struct pool_io) <= sizeof(((struct store_io *)0)->scratch), "store_io.scratch");

static void io_finish(struct store_io *io)
{
	struct pool_io *pio = pool_io_of(io);

	if (pool_io_writes(io)) {
		pool_io_end_write(io);
		if (io->op == STORE_UNMAP && !pio->err && pio->cursor < io->offset + io->len) {
			pool_unmap_start(io); /* the next step */
			return;
		}
		if ((io->flags & STORE_IO_FUA) && !pio->err) {
			pool_flush_wait(&pool_of(io->disk->store)->commit, io);
			return;
		}
	}
	io->done(io, pio->err);
}

static void start_subs(struct store_io *io)
{
	static const struct pool_sub_ops *const ops[] = {[STORE_READ] = &pool_read_sub,
		[STORE_WRITE] = &pool_write_sub,
		[STORE_COMPARE_WRITE] = &pool_compare_sub};
	struct pool_io *pio = pool_io_of(io);
	struct pool *p = pio->pool;
	uint64_t branch = pio->branch->id, first = io->offset >> POOL_CHUNK_SHIFT;
	uint64_t at = io->offset, end = io->offset + io->len;
	bool is_write = pool_io_writes(io), compares = io->op == STORE_COMPARE_WRITE;
	int err = 0;

	pio->subs = 1;
	while (at < end && !err) {
		uint64_t stop = (at | (POOL_CHUNK_BYTES - 1)) + 1;
		struct pool_sub *sub;

		if (stop > end)
			stop = end;
		sub = pool_sub_new(io, ops[io->op], at, stop - at, at - io->offset);
		if (!sub) {
			err = -ENOMEM;
			break;
		}
		if (compares)
			list_push_back(&pio->sub_list, &sub->link);
		if (is_write)
			pool_lock_enqueue(&p->locks, branch, sub->chunk, &sub->wait);
		else
			sub->ops->run(sub);
		at = stop;
	}
	if (compares) {
		/* The barrier counts subs: the starter's share must not keep it waiting. A failed start
		 * leaves an error behind, so nothing is written. */
		if (err)
			pio->err = err;
		if (pio->subs > 1)
			pio->subs--;
		else {
			pool_io_put(io, err);
			return;
		}
	}
	for (uint64_t c = first; is_write && c <= (end - 1) >> POOL_CHUNK_SHIFT; c++)
		pool_lock_pump(&p->locks, branch, c);
	if (!compares) /* its memory may be gone by now */
		pool_io_put(io, err);
}

bool pool_io_accept(struct store_io *io)
{
	struct pool_disk *d = pool_disk_of(io->disk);
	struct pool *p = pool_of(d->base.store);
	struct pool_io *pio = pool_io_of(io);

	assert(!d->pending);
	assert(io->offset % STORE_BLOCK_BYTES == 0 && io->len % STORE_BLOCK_BYTES == 0);
	assert(io->len <= d->size_bytes && io->offset <= d->size_bytes - io->len);
	assert(store_op_any_length(io->op) || io->len <= STORE_IO_MAX_BYTES);
	if (pool_io_writes(io) && p->base.latched) {
		io->done(io, -EROFS);
		return false;
	}
	if (io->len == 0) {
		io->done(io, 0);
		return false;
	}
	memset(pio, 0, sizeof(*pio));
	pio->pool = p;
	pio->branch = d->branch;
	pio->finish = io_finish;
	pio->waiter.since = p->base.tick;
	pio->cursor = io->offset;
	io->damaged_offset = STORE_NOWHERE;
	list_init(&pio->sub_list);
	return true;
}

void pool_submit(struct store_io *io)
{
	if (io->op == STORE_FLUSH) {
		pool_flush_wait(&pool_of(io->disk->store)->commit, io);
		return;
	}
	if (!pool_io_accept(io))
		return;
	switch (io->op) {
	case STORE_UNMAP:
		pool_unmap_start(io);
		break;
	case STORE_MAPPED:
		pool_mapped_start(io);
		break;
	default:
		if (pool_io_writes(io))
			pool_io_begin_write(io);
		start_subs(io);
		break;
	}
}
