/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of an I/O, one a chunk: their memory, their transfers, and the I/O that they count for. What a part does
 * is in read.c, write.c, compare.c and unmap.c.
 */
#include "array/store/pool/io/io.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the caller's buffers --------------------------------------------------------------------------- */

static size_t iov_copy(const struct store_io *io, uint64_t at, uint8_t *buf, size_t len, bool out)
{
	size_t done = 0;

	for (unsigned i = 0; i < io->iov_count && done < len; i++) {
		size_t part = io->iov[i].iov_len;

		if (at >= part) {
			at -= part;
			continue;
		}
		part -= at;
		if (part > len - done)
			part = len - done;
		if (out)
			memcpy(buf + done, (uint8_t *)io->iov[i].iov_base + at, part);
		else if (buf)
			memcpy((uint8_t *)io->iov[i].iov_base + at, buf + done, part);
		else
			memset((uint8_t *)io->iov[i].iov_base + at, 0, part);
		done += part;
		at = 0;
	}
	return done;
}

size_t pool_iov_copy_out(const struct store_io *io, uint64_t from, uint8_t *to, size_t len)
{
	return iov_copy(io, from, to, len, true);
}

/* `from` NULL: zeros. */
size_t pool_iov_copy_in(const struct store_io *io, uint64_t to, const uint8_t *from, size_t len)
{
	return iov_copy(io, to, (uint8_t *)from, len, false);
}

/* The slice [at, at + len) of the I/O's buffers as at most POOL_IOV_MAX pieces whose addresses are aligned to
 * `align`, their lengths to `len_align` (what O_DIRECT asks). 0: no. */
static unsigned iov_slice(const struct store_io *io, uint64_t at, size_t len, uint32_t align,
	uint32_t len_align, struct iovec *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < io->iov_count && len; i++) {
		size_t part = io->iov[i].iov_len;

		if (at >= part) {
			at -= part;
			continue;
		}
		part -= at;
		if (part > len)
			part = len;
		if (n == POOL_IOV_MAX)
			return 0;
		out[n].iov_base = (uint8_t *)io->iov[i].iov_base + at;
		out[n].iov_len = part;
		if ((uintptr_t)out[n].iov_base % align || part % len_align)
			return 0;
		n++;
		len -= part;
		at = 0;
	}
	assert(len == 0);
	return n;
}

/* ---- the I/O ---------------------------------------------------------------------------------------- */

void pool_io_begin_write(struct store_io *io)
{
	struct pool_io *pio = pool_io_of(io);

	pio->write.gen = pio->branch->gen;
	list_push_back(&pio->branch->writes, &pio->write.link);
}

void pool_io_end_write(struct store_io *io)
{
	struct pool_io *pio = pool_io_of(io);

	list_remove(&pio->write.link);
	pool_cut_drained(pio->branch);
}

void pool_io_put(struct store_io *io, int err)
{
	struct pool_io *pio = pool_io_of(io);

	if (err && !pio->err)
		pio->err = err;
	assert(pio->subs > 0);
	if (--pio->subs == 0)
		pio->finish(io);
}

/* ---- subs ------------------------------------------------------------------------------------------- */

static void sub_woken(struct pool_waiter *w, int err)
{
	struct pool_sub *sub = container_of(w, struct pool_sub, waiter);

	if (err)
		sub->ops->failed(sub, err);
	else
		sub->ops->run(sub);
}

static bool sub_try_shared(struct pool_lock_wait *w)
{
	struct pool_sub *sub = container_of(w, struct pool_sub, wait);

	return sub->ops->try_shared(sub);
}

static void sub_granted(struct pool_lock_wait *w)
{
	struct pool_sub *sub = container_of(w, struct pool_sub, wait);

	if (w->exclusive)
		sub->ops->run(sub);
	else
		sub->ops->run_shared(sub);
}

struct pool_sub *pool_sub_new(struct store_io *io, const struct pool_sub_ops *ops, uint64_t offset,
	uint64_t len, uint64_t io_offset)
{
	struct pool_io *pio = pool_io_of(io);
	struct pool *p = pio->pool;
	struct list_node *n = list_pop(&p->spares.subs);
	struct pool_sub *sub = n ? container_of(n, struct pool_sub, link) : malloc(sizeof(*sub));

	if (!sub)
		return NULL;
	memset(sub, 0, sizeof(*sub));
	sub->pool = p;
	sub->io = io;
	sub->ops = ops;
	sub->waiter.wake = sub_woken;
	sub->waiter.since = p->base.tick;
	sub->wait.granted = sub_granted;
	sub->wait.try_shared = ops->try_shared ? sub_try_shared : NULL;
	sub->chunk = offset >> POOL_CHUNK_SHIFT;
	sub->offset = (uint32_t)(offset & (POOL_CHUNK_BYTES - 1));
	sub->len = (uint32_t)len;
	sub->io_offset = io_offset;
	assert(len > 0 && sub->offset + len <= POOL_CHUNK_BYTES);
	pio->subs++;
	return sub;
}

void pool_sub_end(struct pool_sub *sub, int err)
{
	struct pool *p = sub->pool;
	struct store_io *io = sub->io;

	assert(sub->pieces == 0);
	if (sub->claims)
		pool_target_unclaim(sub);
	if (sub->held)
		pool_epoch_leave(&p->space, sub->epoch);
	if (sub->leaf)
		pool_leaf_unpin(sub->leaf);
	if (sub->counted) {
		p->map.dirty_pending--;
		if (!list_empty(&p->space.alloc_waiters))
			pool_commit_request(&p->commit); /* they may have waited for this one */
	}
	if (sub->bounce)
		pool_bounce_put(p, sub->bounce);
	list_remove(&sub->link);
	if (sub->wait.lock)
		pool_lock_release(&p->locks, &sub->wait);
	list_push_front(&p->spares.subs, &sub->link);
	pool_io_put(io, err);
}

unsigned pool_sub_first(const struct pool_sub *sub)
{
	return sub->offset >> POOL_BLOCK_SHIFT;
}

unsigned pool_sub_stop(const struct pool_sub *sub)
{
	return (sub->offset + sub->len + POOL_BLOCK_BYTES - 1) >> POOL_BLOCK_SHIFT;
}

bool pool_sub_whole(const struct pool_sub *sub)
{
	return ((sub->offset | sub->len) & (POOL_BLOCK_BYTES - 1)) == 0;
}

void pool_sub_hold(struct pool_sub *sub)
{
	if (sub->held)
		return;
	sub->epoch = pool_epoch_enter(&sub->pool->space);
	sub->held = true;
}

/* What was to be read is in the bounce buffer. A sub that waits for a chunk must not be one of those that the
 * freed chunks wait for. */
void pool_sub_leave(struct pool_sub *sub)
{
	if (!sub->held)
		return;
	sub->held = false;
	pool_epoch_leave(&sub->pool->space, sub->epoch);
}

/* ---- transfers -------------------------------------------------------------------------------------- */

void pool_sub_piece_end(struct pool_sub *sub, int err)
{
	if (err && !sub->err)
		sub->err = err;
	assert(sub->pieces > 0);
	if (--sub->pieces == 0)
		sub->next(sub);
}

/* Blocks do not fit their checksums. */
static void sub_damaged(struct pool_sub *sub, const struct pool_transfer *t)
{
	struct store_io *io = sub->io;
	uint64_t at =
		(sub->chunk << POOL_CHUNK_SHIFT) + ((uint64_t)__builtin_ctz(t->damaged) << POOL_BLOCK_SHIFT);

	pool_damage_found(sub->pool, pool_disk_of(io->disk)->id, sub->chunk, t);
	if (at < io->offset) /* a part of the block is wanted */
		at = io->offset;
	if (io->damaged_offset > at)
		io->damaged_offset = at;
}

static void piece_done(struct pool_transfer *t, int err)
{
	struct pool_piece *piece = container_of(t, struct pool_piece, transfer);
	struct pool_sub *sub = piece->sub;

	if (t->damaged)
		sub_damaged(sub, t);
	list_push_front(&sub->pool->spares.pieces, &piece->link);
	pool_sub_piece_end(sub, err);
}

/* Takes what nobody wants; nobody looks at it. */
static uint8_t unwanted[POOL_CHUNK_BYTES] __attribute__((aligned(POOL_BLOCK_BYTES)));

bool pool_sub_gather(struct pool_sub *sub, uint64_t phys, uint16_t mask)
{
	struct pool *p = sub->pool;
	unsigned first = (unsigned)__builtin_ctz(mask), last = 31u - (unsigned)__builtin_clz(mask), count = 0;
	struct list_node *n = list_pop(&p->spares.pieces);
	struct pool_piece *piece = n ? container_of(n, struct pool_piece, link) : malloc(sizeof(*piece));

	if (!piece)
		return false;
	memset(&piece->link, 0, sizeof(piece->link));
	piece->sub = sub;
	for (unsigned i = first, run; i <= last; i += run) {
		bool wanted = mask >> i & 1;
		uint32_t at = (i << POOL_BLOCK_SHIFT) - sub->offset;
		struct iovec part[POOL_IOV_MAX];
		unsigned parts = 1;

		run = pool_run_length(wanted ? mask : (uint16_t)~mask, NULL, i);
		part[0] = (struct iovec){.iov_base = unwanted, .iov_len = (size_t)run << POOL_BLOCK_SHIFT};
		if (wanted)
			parts = iov_slice(
				sub->io, sub->io_offset + at, (size_t)run << POOL_BLOCK_SHIFT, 1, 1, part);
		if (!parts || count + parts > POOL_IOV_MAX) {
			list_push_front(&p->spares.pieces, &piece->link);
			return false;
		}
		memcpy(piece->iov + count, part, parts * sizeof(part[0]));
		count += parts;
	}
	sub->pieces++;
	p->data_reads++;
	piece->transfer = (struct pool_transfer){.done = piece_done,
		.kind = POOL_OP_READ,
		.iov = piece->iov,
		.iov_count = count,
		.len = (last - first + 1) << POOL_BLOCK_SHIFT,
		.only = mask};
	pool_data_submit(&p->space, &piece->transfer, phys, first << POOL_BLOCK_SHIFT);
	return true;
}

/* Transfers [offset, offset + len) of a chunk, from or to `buf`, or the caller's buffers when buf is NULL
 * (which the caller has checked by iov_slice). */
void pool_sub_transfer(struct pool_sub *sub, enum pool_op_kind kind, uint64_t phys, uint32_t offset,
	uint32_t len, uint8_t *buf)
{
	struct pool *p = sub->pool;
	struct list_node *n = list_pop(&p->spares.pieces);
	struct pool_piece *piece = n ? container_of(n, struct pool_piece, link) : malloc(sizeof(*piece));
	unsigned iov_count;

	sub->pieces++;
	if (!piece) {
		pool_sub_piece_end(sub, -ENOMEM); /* the starter holds one more: no call back from here */
		return;
	}
	memset(&piece->link, 0, sizeof(piece->link));
	piece->sub = sub;
	if (buf) {
		piece->iov[0] = (struct iovec){.iov_base = buf, .iov_len = len};
		iov_count = 1;
	} else {
		iov_count =
			iov_slice(sub->io, sub->io_offset + (offset - sub->offset), len, 1, 1, piece->iov);
		assert(iov_count > 0);
	}
	if (kind == POOL_OP_WRITE) {
		p->data_writes++;
		p->data_write_bytes += len;
	} else {
		p->data_reads++;
	}
	piece->transfer.done = piece_done;
	piece->transfer.kind = kind;
	piece->transfer.iov = piece->iov;
	piece->transfer.iov_count = iov_count;
	piece->transfer.len = len;
	piece->transfer.alone = piece->transfer.adopts = false;
	piece->transfer.damaged = piece->transfer.only = 0;
	pool_data_submit(&p->space, &piece->transfer, phys, offset);
}

bool pool_sub_direct(struct pool_sub *sub)
{
	const struct pool_file *f = sub->pool->space.data[0].file;
	struct iovec iov[POOL_IOV_MAX];

	if ((f->offset_align > 1 || sub->pool->space.sums.on) && !pool_sub_whole(sub))
		return false;
	return iov_slice(sub->io, sub->io_offset, sub->len, f->memory_align, f->offset_align, iov) > 0;
}

/* Reads the blocks in `mask` to where they belong in the bounce buffer; zeros where there is no data. */
void pool_sub_fetch(struct pool_sub *sub, const struct pool_places *places, uint16_t mask)
{
	unsigned end = sub->bounce_first + sub->bounce_count;

	for (unsigned i = sub->bounce_first, n; i < end; i += n) {
		uint8_t *to = sub->bounce + ((i - sub->bounce_first) << POOL_BLOCK_SHIFT);

		n = 1;
		if (!(mask >> i & 1))
			continue;
		n = pool_run_length(mask, places, i);
		if (places->phys[i])
			pool_sub_transfer(sub, POOL_OP_READ, places->phys[i], i << POOL_BLOCK_SHIFT,
				n << POOL_BLOCK_SHIFT, to);
		else
			memset(to, 0, (size_t)n << POOL_BLOCK_SHIFT);
	}
}

bool pool_places_zero(const struct pool_places *places, unsigned first, unsigned end)
{
	for (unsigned i = first; i < end; i++) {
		if (places->phys[i])
			return false;
	}
	return true;
}
