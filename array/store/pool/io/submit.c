/* SPDX-License-Identifier: Apache-2.0 */
/* An I/O from its submission to its end: which way it goes, and its parts, one a chunk. */
#include "array/store/pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

_Static_assert(sizeof(struct pool_io) <= sizeof(((struct store_io *)0)->scratch), "store_io.scratch");

static void sub_woken(struct pool_waiter *w, int err)
{
	struct pool_sub *sub = container_of(w, struct pool_sub, waiter);

	if (err) {
		pool_write_failed(sub, err);
		return;
	}
	switch (sub->kind) {
	case POOL_SUB_READ:
		pool_read_run(sub);
		break;
	case POOL_SUB_UNMAP:
		pool_unmap_run(sub);
		break;
	default:
		pool_sub_write(sub);
		break;
	}
}

void pool_sub_prepare(struct pool_sub *sub)
{
	sub->waiter.wake = sub_woken;
	sub->wait.granted = pool_write_granted;
	sub->wait.try_shared = sub->kind == POOL_SUB_WRITE ? pool_write_try_shared : NULL;
}

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
			pool_flush_wait(io);
			return;
		}
	}
	io->done(io, pio->err);
}

static void start_subs(struct store_io *io)
{
	static const enum pool_sub_kind kinds[] = {[STORE_READ] = POOL_SUB_READ,
		[STORE_WRITE] = POOL_SUB_WRITE,
		[STORE_COMPARE_WRITE] = POOL_SUB_COMPARE};
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
		sub = pool_sub_new(io, kinds[io->op], at, stop - at, at - io->offset);
		if (!sub) {
			err = -ENOMEM;
			break;
		}
		pool_sub_prepare(sub);
		if (compares)
			list_push_back(&pio->sub_list, &sub->link);
		if (is_write)
			pool_lock_enqueue(p, branch, sub->chunk, &sub->wait);
		else
			pool_read_run(sub);
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
		pool_lock_pump(p, branch, c);
	if (!compares) /* its memory may be gone by now */
		pool_io_put(io, err);
}

void pool_submit(struct store_io *io)
{
	struct pool_disk *d = pool_disk_of(io->disk);
	struct pool *p = pool_of(d->base.store);
	struct pool_io *pio = pool_io_of(io);

	assert(!d->pending);
	memset(pio, 0, sizeof(*pio));
	pio->pool = p;
	pio->branch = d->branch;
	pio->finish = io_finish;
	list_init(&pio->sub_list);
	if (io->op == STORE_FLUSH) {
		pool_flush_wait(io);
		return;
	}
	assert(io->offset % STORE_BLOCK_BYTES == 0 && io->len % STORE_BLOCK_BYTES == 0);
	assert(io->len <= d->size_bytes && io->offset <= d->size_bytes - io->len);
	assert(store_op_any_length(io->op) || io->len <= STORE_IO_MAX_BYTES);
	if (pool_io_writes(io) && p->base.latched) {
		io->done(io, -EROFS);
		return;
	}
	if (io->len == 0) {
		io->done(io, 0);
		return;
	}
	if (io->op == STORE_UNMAP) {
		pio->cursor = io->offset;
		pool_unmap_start(io);
		return;
	}
	if (io->op == STORE_CLONE) {
		pool_clone_start(io);
		return;
	}
	if (io->op == STORE_MAPPED) {
		pool_mapped_start(io);
		return;
	}
	if (pool_io_writes(io))
		pool_io_begin_write(io);
	start_subs(io);
}
