/* SPDX-License-Identifier: Apache-2.0 */
/*
 * READ, WRITE and the steps of COMPARE AND WRITE (compare.c). An I/O falls into subs, one a chunk.
 *
 * A READ takes no lock: it looks its blocks up, enters the I/O epoch (so that no chunk it may look at is
 * handed out again before it ends) and reads. A WRITE of whole blocks into a chunk whose entry its generation
 * owns, or for which an entry can be made at once, holds the chunk's lock shared. Everything else holds it
 * exclusively: the steps are then read (for blocks that are written in part), target, write; each may wait
 * and is entered again.
 *
 * A block's bit in the map is set only when its data has been written (in the page cache or the disk's
 * volatile cache: the next flush makes the data durable first and the bit after it).
 */
#include "array/store/pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct pool_io) <= sizeof(((struct store_io *)0)->scratch), "store_io.scratch");

/* ---- the caller's buffers -------------------------------------------------------------------------- */

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

/* ---- subs ------------------------------------------------------------------------------------------ */

struct pool_sub *pool_sub_new(
	struct store_io *io, enum pool_sub_kind kind, uint64_t offset, uint64_t len, uint64_t io_offset)
{
	struct pool_io *pio = pool_io_of(io);
	struct pool *p = pio->pool;
	struct list_node *n = list_pop(&p->sub_free);
	struct pool_sub *sub = n ? container_of(n, struct pool_sub, link) : malloc(sizeof(*sub));

	if (!sub)
		return NULL;
	memset(sub, 0, sizeof(*sub));
	sub->pool = p;
	sub->io = io;
	sub->kind = kind;
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
	if (sub->held)
		pool_epoch_leave(p, sub->epoch);
	if (sub->leaf)
		pool_leaf_unpin(p, sub->leaf);
	if (sub->counted) {
		p->dirty_pending--;
		if (!list_empty(&p->alloc_waiters))
			pool_cycle_request(p); /* they may have waited for this one */
	}
	if (sub->bounce)
		pool_bounce_put(p, sub->bounce);
	list_remove(&sub->link);
	if (sub->wait.lock)
		pool_lock_release(p, &sub->wait);
	list_push_front(&p->sub_free, &sub->link);
	pool_io_put(io, err);
}

static void piece_end(struct pool_sub *sub, int err)
{
	if (err && !sub->err)
		sub->err = err;
	assert(sub->pieces > 0);
	if (--sub->pieces == 0)
		sub->next(sub);
}

static void piece_done(struct pool_op *op, int err)
{
	struct pool_piece *piece = container_of(op, struct pool_piece, op);
	struct pool_sub *sub = piece->sub;

	list_push_front(&sub->pool->piece_free, &piece->link);
	piece_end(sub, err);
}

/* Transfers [offset, offset + len) of a chunk, from or to `buf`, or the caller's buffers when buf is NULL
 * (which the caller has checked by iov_slice). */
void pool_sub_transfer(struct pool_sub *sub, enum pool_op_kind kind, uint64_t phys, uint32_t offset,
	uint32_t len, uint8_t *buf)
{
	struct pool *p = sub->pool;
	struct list_node *n = list_pop(&p->piece_free);
	struct pool_piece *piece = n ? container_of(n, struct pool_piece, link) : malloc(sizeof(*piece));
	struct pool_data *data;
	uint64_t base;

	sub->pieces++;
	if (!piece) {
		piece_end(sub, -ENOMEM); /* the starter holds one more: no call back from here */
		return;
	}
	data = pool_data_of(p, phys, &base);
	memset(&piece->op, 0, sizeof(piece->op));
	memset(&piece->link, 0, sizeof(piece->link));
	piece->sub = sub;
	piece->op.done = piece_done;
	piece->op.kind = kind;
	piece->op.file = data->file;
	piece->op.offset = base + offset;
	piece->op.len = len;
	piece->op.iov = piece->iov;
	if (buf) {
		piece->iov[0].iov_base = buf;
		piece->iov[0].iov_len = len;
		piece->op.iov_count = 1;
	} else {
		piece->op.iov_count =
			iov_slice(sub->io, sub->io_offset + (offset - sub->offset), len, 1, 1, piece->iov);
		assert(piece->op.iov_count > 0);
	}
	if (kind == POOL_OP_WRITE) {
		p->data_writes++;
		p->data_write_bytes += len;
	} else {
		p->data_reads++;
	}
	p->host->ops->submit(p->host, &piece->op);
}

static uint16_t block_mask(unsigned first, unsigned count)
{
	return (uint16_t)(((1u << count) - 1) << first);
}

static unsigned first_block(const struct pool_sub *sub)
{
	return sub->offset >> POOL_BLOCK_SHIFT;
}

static unsigned end_block(const struct pool_sub *sub)
{
	return (sub->offset + sub->len + POOL_BLOCK_BYTES - 1) >> POOL_BLOCK_SHIFT;
}

static bool whole_blocks(const struct pool_sub *sub)
{
	return ((sub->offset | sub->len) & (POOL_BLOCK_BYTES - 1)) == 0;
}

static void hold_epoch(struct pool_sub *sub)
{
	if (sub->held)
		return;
	sub->epoch = pool_epoch_enter(sub->pool);
	sub->held = true;
}

/* What was to be read is in the bounce buffer. A sub that waits for a chunk must not be one of those that the
 * freed chunks wait for. */
static void leave_epoch(struct pool_sub *sub)
{
	if (!sub->held)
		return;
	sub->held = false;
	pool_epoch_leave(sub->pool, sub->epoch);
}

/* Reads the blocks in `mask` to where they belong in the bounce buffer; zeros where there is no data. */
static void read_to_bounce(struct pool_sub *sub, const struct pool_places *places, uint16_t mask)
{
	unsigned end = sub->bounce_first + sub->bounce_count;

	for (unsigned i = sub->bounce_first, n; i < end; i += n) {
		uint8_t *to = sub->bounce + ((i - sub->bounce_first) << POOL_BLOCK_SHIFT);

		n = 1;
		if (!(mask >> i & 1))
			continue;
		while (i + n < end && (mask >> (i + n) & 1) && places->phys[i + n] == places->phys[i])
			n++;
		if (places->phys[i])
			pool_sub_transfer(sub, POOL_OP_READ, places->phys[i], i << POOL_BLOCK_SHIFT,
				n << POOL_BLOCK_SHIFT, to);
		else
			memset(to, 0, (size_t)n << POOL_BLOCK_SHIFT);
	}
}

/* ---- READ ------------------------------------------------------------------------------------------ */

static void read_ended(struct pool_sub *sub)
{
	if (!sub->err && sub->bounce)
		pool_iov_copy_in(sub->io, sub->io_offset,
			sub->bounce + (sub->offset - (sub->bounce_first << POOL_BLOCK_SHIFT)), sub->len);
	pool_sub_end(sub, sub->err);
}

/* Straight into the caller's buffers. */
static void read_direct(struct pool_sub *sub, const struct pool_places *places)
{
	uint32_t at = sub->offset, end = sub->offset + sub->len;

	while (at < end) {
		unsigned block = at >> POOL_BLOCK_SHIFT, n = 1;
		uint32_t stop;

		while (block + n < POOL_BLOCKS && places->phys[block + n] == places->phys[block])
			n++;
		stop = (block + n) << POOL_BLOCK_SHIFT;
		if (stop > end)
			stop = end;
		if (places->phys[block])
			pool_sub_transfer(sub, POOL_OP_READ, places->phys[block], at, stop - at, NULL);
		else
			pool_iov_copy_in(sub->io, sub->io_offset + (at - sub->offset), NULL, stop - at);
		at = stop;
	}
}

static bool direct_possible(struct pool_sub *sub)
{
	const struct pool_file *f = sub->pool->data[0].file;
	struct iovec iov[POOL_IOV_MAX];

	if (f->offset_align > 1 && !whole_blocks(sub))
		return false;
	return iov_slice(sub->io, sub->io_offset, sub->len, f->memory_align, f->offset_align, iov) > 0;
}

static bool all_zero(const struct pool_places *places, unsigned first, unsigned end)
{
	for (unsigned i = first; i < end; i++) {
		if (places->phys[i])
			return false;
	}
	return true;
}

static void read_run(struct pool_sub *sub)
{
	unsigned first = first_block(sub), end = end_block(sub);
	struct pool_places places;
	int err = pool_map_resolve(sub->pool, pool_io_of(sub->io)->branch, POOL_GEN_HEAD, sub->chunk,
		block_mask(first, end - first), &sub->waiter, &places);

	if (err == -EAGAIN)
		return;
	if (err) {
		pool_sub_end(sub, err);
		return;
	}
	hold_epoch(sub);
	sub->next = read_ended;
	sub->pieces = 1;
	if (all_zero(&places, first, end)) {
		pool_iov_copy_in(sub->io, sub->io_offset, NULL, sub->len);
	} else if (direct_possible(sub)) {
		read_direct(sub, &places);
	} else {
		sub->bounce_first = first;
		sub->bounce_count = end - first;
		sub->bounce = pool_bounce_get(sub->pool);
		if (sub->bounce)
			read_to_bounce(sub, &places, block_mask(first, end - first));
		else
			sub->err = -ENOMEM;
	}
	piece_end(sub, 0);
}

/* ---- the target of a write ------------------------------------------------------------------------- */

bool pool_entry_owned(const struct pool_branch *b, uint32_t entry_gen, uint32_t gen)
{
	return !pool_branch_viewer_in(b, entry_gen, gen);
}

static unsigned depth(const struct pool_branch *b)
{
	unsigned n = 0;

	for (; b->parent; b = b->parent)
		n++;
	return n;
}

/* Would the chunk lie in too many places? 0 or 1, or -EAGAIN (w waits, when given). */
static int copy_up_needed(struct pool_sub *sub, struct pool_waiter *w)
{
	struct pool_branch *b = pool_io_of(sub->io)->branch;
	bool exact = depth(b) > POOL_ANCESTOR_MAX;
	struct pool_places places;
	int err = pool_map_resolve(
		sub->pool, b, POOL_GEN_HEAD, sub->chunk, POOL_ALL_BLOCKS, exact ? w : NULL, &places);

	if (err == -EAGAIN && exact)
		return err;
	if (err == -ENOMEM)
		return err;
	return places.entries > POOL_ANCESTOR_MAX;
}

static void count_pending(struct pool_sub *sub)
{
	if (!sub->counted)
		sub->pool->dirty_pending++;
	sub->counted = true;
}

/* Chunks that were taken and freed again and again wait for the next frame, too. */
static bool freed_full(struct pool *p)
{
	if (p->free_new.count < p->dirty_max)
		return false;
	pool_cycle_request(p);
	return true;
}

/* There is no chunk for everybody: one that is set aside for this write? Not for a COMPARE AND WRITE over several chunks: it
 * gives back what it got when another has none, and that would not come into the reserve again. */
static bool target_reserved(const struct pool_sub *sub, uint64_t *phys)
{
	if (sub->kind == POOL_SUB_COMPARE && sub->len < sub->io->len)
		return false;
	return pool_reserve_take(pool_disk_of(sub->io->disk), sub->chunk, phys);
}

/* A chunk for a write that has none yet, and room in the next frame for what it makes dirty. `e`: the entry
 * that it owns, or NULL. */
static int target_room(struct pool_sub *sub, const struct pool_entry *e, bool may_wait, uint64_t *phys)
{
	struct pool *p = sub->pool;
	bool adds = !e || (!e->dirty && e->valid != POOL_ALL_BLOCKS);
	int err = 0;

	if (adds && !sub->counted && pool_dirty_full(p))
		err = -EAGAIN;
	else if (*phys == 0 && freed_full(p))
		err = -EAGAIN;
	else if (*phys == 0 && (err = pool_alloc(p, phys)) && target_reserved(sub, phys))
		err = 0;
	if (err == -EAGAIN && may_wait)
		pool_alloc_wait(p, &sub->waiter);
	return err;
}

/* The entry is the write's, its chunk is others', too: a chunk that will take its place when everything is in it. */
static int target_replace(struct pool_sub *sub, struct pool_leaf *leaf, uint32_t gen, bool may_wait)
{
	uint64_t phys = 0;
	int err = may_wait ? target_room(sub, NULL, may_wait, &phys) : -EAGAIN;

	if (err)
		return err;
	sub->replaces = true;
	sub->entry_gen = gen;
	sub->phys = phys;
	sub->leaf = leaf;
	pool_leaf_pin(leaf);
	count_pending(sub);
	return 0;
}

/* Finds or makes the entry that the write goes to. 0, -EAGAIN (waits when `may_wait`), or an error. */
static int target_prepare(struct pool_sub *sub, bool may_wait)
{
	struct pool *p = sub->pool;
	struct pool_io *pio = pool_io_of(sub->io);
	const struct pool_entry *e = NULL;
	struct pool_entry room, *edit;
	struct pool_leaf *leaf;
	unsigned count;
	bool owned, is_new;
	uint64_t phys;
	int err = pool_map_leaf(pio->branch, p, sub->chunk, true, may_wait ? &sub->waiter : NULL, &leaf);

	if (err)
		return err;
	count = pool_map_entries(leaf, sub->chunk, &e, &room);
	assert(count == 0 || e[0].gen <= pio->gen);
	owned = count && pool_entry_owned(pio->branch, e[0].gen, pio->gen);
	if (owned && e[0].shared && (sub->copy_up || !may_wait))
		return target_replace(sub, leaf, e[0].gen, may_wait);
	if (owned && e[0].shared) { /* by a viewer that went while this write waited: as if it were there */
		assert(e[0].gen < pio->gen);
		owned = false;
	}
	if (owned) {
		sub->entry_gen = e[0].gen;
		phys = e[0].phys;
	} else {
		sub->entry_gen = pio->gen;
		phys = 0;
		if (!may_wait && (count || pio->branch->parent) && !sub->copy_up && copy_up_needed(sub, NULL))
			return -EAGAIN;
	}
	is_new = phys == 0;
	err = target_room(sub, owned ? &e[0] : NULL, may_wait, &phys);
	if (err)
		return err;
	if (is_new) {
		if (owned) {
			edit = pool_map_edit(p, leaf, sub->chunk, sub->entry_gen);
			edit->phys = phys;
		} else {
			room = (struct pool_entry){.gen = sub->entry_gen, .phys = phys};
			err = pool_map_insert(p, leaf, sub->chunk, &room);
			if (err) {
				pool_free_chunk(p, NULL, phys);
				return err;
			}
		}
		pio->branch->chunks++;
	}
	sub->phys = phys;
	sub->leaf = leaf;
	pool_leaf_pin(leaf);
	count_pending(sub);
	return 0;
}

/* ---- WRITE ----------------------------------------------------------------------------------------- */

/* All blocks are in the new chunk. */
static int replace_chunk(struct pool_sub *sub)
{
	struct pool *p = sub->pool;
	struct pool_branch *b = pool_io_of(sub->io)->branch;
	struct pool_entry *e = pool_map_edit(p, sub->leaf, sub->chunk, sub->entry_gen);

	if (!e)
		return -ENOMEM;
	assert(e->shared && sub->mask == POOL_ALL_BLOCKS);
	pool_chunk_drop(p, b, e->phys, true);
	e->phys = sub->phys;
	e->shared = 0;
	e->valid = POOL_ALL_BLOCKS;
	e->zero = 0;
	pool_map_mark_dirty(p, sub->leaf, sub->chunk, e);
	b->chunks++;
	return 0;
}

/* A COMPARE AND WRITE that may be written in part must not end like one that is to be tried again. */
static int write_error(const struct pool_sub *sub)
{
	return sub->kind == POOL_SUB_COMPARE && sub->err == -ENOMEM ? -EIO : sub->err;
}

static void replace_ended(struct pool_sub *sub)
{
	uint64_t unused;

	if (!sub->err) {
		pool_data_of(sub->pool, sub->phys, &unused)->dirty = true;
		sub->err = replace_chunk(sub);
	}
	if (sub->err)
		pool_free_chunk(sub->pool, NULL, sub->phys);
	pool_sub_end(sub, write_error(sub));
}

/* Nothing was ever written in the entry's chunk, and nobody else is about to: it goes back. */
static void failed_chunk_drop(struct pool_sub *sub)
{
	struct pool *p = sub->pool;
	struct pool_branch *b = pool_io_of(sub->io)->branch;
	struct pool_entry *e;

	if (sub->leaf->slot[sub->chunk % POOL_LEAF_CHUNKS] & 1)
		return;
	if (!sub->wait.exclusive && sub->wait.lock->shared > 1)
		return; /* the last one that fails sees to it */
	e = pool_map_edit(p, sub->leaf, sub->chunk, sub->entry_gen);
	if (!e || e->valid || !e->phys)
		return;
	pool_chunk_drop(p, b, e->phys, e->shared);
	e->phys = e->shared = 0;
	if (!e->zero)
		pool_map_remove(p, sub->leaf, sub->chunk, sub->entry_gen);
}

void pool_sub_target_drop(struct pool_sub *sub)
{
	if (!sub->phys)
		return;
	if (sub->replaces)
		pool_free_chunk(sub->pool, NULL, sub->phys);
	else
		failed_chunk_drop(sub);
}

static void write_ended(struct pool_sub *sub)
{
	struct pool *p = sub->pool;
	struct pool_entry *e;
	uint64_t unused;

	if (sub->err)
		failed_chunk_drop(sub);
	if (!sub->err) {
		pool_data_of(p, sub->phys, &unused)->dirty = true;
		/* A packed entry has all blocks and nothing to change; pool_map_edit would unpack it. */
		if (!(sub->leaf->slot[sub->chunk % POOL_LEAF_CHUNKS] & 1)) {
			e = pool_map_edit(p, sub->leaf, sub->chunk, sub->entry_gen);
			assert(e && e->phys == sub->phys);
			if ((e->valid & sub->mask) != sub->mask) {
				e->valid |= sub->mask;
				e->zero &= (uint16_t)~sub->mask;
				pool_map_mark_dirty(p, sub->leaf, sub->chunk, e);
			}
		}
	}
	pool_sub_end(sub, write_error(sub));
}

void pool_sub_write_out(struct pool_sub *sub)
{
	sub->next = sub->replaces ? replace_ended : write_ended;
	sub->pieces = 1;
	hold_epoch(sub);
	if (sub->bounce) {
		sub->mask = block_mask(sub->bounce_first, sub->bounce_count);
		pool_sub_transfer(sub, POOL_OP_WRITE, sub->phys, sub->bounce_first << POOL_BLOCK_SHIFT,
			sub->bounce_count << POOL_BLOCK_SHIFT, sub->bounce);
	} else {
		sub->mask = block_mask(first_block(sub), end_block(sub) - first_block(sub));
		pool_sub_transfer(sub, POOL_OP_WRITE, sub->phys, sub->offset, sub->len, NULL);
	}
	piece_end(sub, 0);
}

/* Whole blocks from memory that cannot be written from directly. */
static int write_bounce(struct pool_sub *sub)
{
	if (direct_possible(sub))
		return 0;
	sub->bounce = pool_bounce_get(sub->pool);
	if (!sub->bounce)
		return -ENOMEM;
	sub->bounce_first = first_block(sub);
	sub->bounce_count = end_block(sub) - sub->bounce_first;
	pool_iov_copy_out(sub->io, sub->io_offset, sub->bounce, sub->len);
	return 0;
}

static bool write_try_shared(struct pool_lock_wait *w)
{
	struct pool_sub *sub = container_of(w, struct pool_sub, wait);

	return whole_blocks(sub) && target_prepare(sub, false) == 0;
}

static void write_granted(struct pool_lock_wait *w)
{
	struct pool_sub *sub = container_of(w, struct pool_sub, wait);
	int err;

	if (w->exclusive) {
		pool_sub_write(sub);
		return;
	}
	err = write_bounce(sub);
	if (err)
		pool_sub_end(sub, err);
	else
		pool_sub_write_out(sub);
}

void pool_sub_patch(struct pool_sub *sub)
{
	uint8_t *to = sub->bounce + (sub->offset - (sub->bounce_first << POOL_BLOCK_SHIFT));

	if (sub->kind == POOL_SUB_ZERO)
		memset(to, 0, sub->len);
	else
		pool_iov_copy_out(sub->io,
			sub->kind == POOL_SUB_COMPARE ? sub->io->len + sub->io_offset : sub->io_offset, to,
			sub->len);
}

static void old_data_read(struct pool_sub *sub)
{
	sub->was_read = true;
	leave_epoch(sub);
	if (sub->kind == POOL_SUB_COMPARE) {
		pool_compare_read(sub);
		return;
	}
	if (sub->err) {
		pool_sub_end(sub, sub->err);
		return;
	}
	pool_sub_patch(sub);
	pool_sub_write(sub);
}

/* Before anything was written. The others of a COMPARE AND WRITE wait for this one. */
static void failed(struct pool_sub *sub, int err)
{
	if (sub->kind != POOL_SUB_COMPARE) {
		pool_sub_end(sub, err);
	} else if (sub->was_read) {
		pool_compare_target(sub, err);
	} else {
		sub->err = err;
		old_data_read(sub);
	}
}

/* Reads what is needed of the blocks' old content. */
static void read_old(struct pool_sub *sub)
{
	struct pool *p = sub->pool;
	unsigned first = sub->copy_up ? 0 : first_block(sub);
	unsigned count = sub->copy_up ? POOL_BLOCKS : end_block(sub) - first;
	uint16_t need = block_mask(first, count);
	struct pool_places places;
	int err;

	if (sub->kind != POOL_SUB_COMPARE) { /* blocks that are written whole need no reading */
		uint32_t from = (sub->offset + POOL_BLOCK_BYTES - 1) >> POOL_BLOCK_SHIFT;
		uint32_t to = (sub->offset + sub->len) >> POOL_BLOCK_SHIFT;

		if (to > from)
			need &= (uint16_t)~block_mask(from, to - from);
	}
	err = pool_map_resolve(
		p, pool_io_of(sub->io)->branch, POOL_GEN_HEAD, sub->chunk, need, &sub->waiter, &places);
	if (err == -EAGAIN)
		return;
	if (!err && sub->kind == POOL_SUB_ZERO && all_zero(&places, 0, POOL_BLOCKS)) {
		pool_sub_end(sub, 0);
		return;
	}
	if (!err && !(sub->bounce = pool_bounce_get(p)))
		err = -ENOMEM;
	if (err) {
		failed(sub, err);
		return;
	}
	hold_epoch(sub);
	sub->bounce_first = first;
	sub->bounce_count = count;
	sub->next = old_data_read;
	sub->pieces = 1;
	read_to_bounce(sub, &places, need);
	piece_end(sub, 0);
}

void pool_sub_write(struct pool_sub *sub)
{
	bool partial = sub->kind != POOL_SUB_WRITE || !whole_blocks(sub);
	int err;

	if (!sub->resolved) {
		struct pool_io *pio = pool_io_of(sub->io);
		struct pool_leaf *leaf;

		err = pool_map_leaf(pio->branch, sub->pool, sub->chunk, true, &sub->waiter, &leaf);
		if (!err) {
			const struct pool_entry *e = NULL;
			struct pool_entry room;
			unsigned count = pool_map_entries(leaf, sub->chunk, &e, &room);

			if (!(count && pool_entry_owned(pio->branch, e[0].gen, pio->gen)))
				err = copy_up_needed(sub, &sub->waiter);
			else
				err = e[0].shared;
			if (err >= 0) {
				sub->copy_up = err > 0;
				err = 0;
			}
		}
		if (err == -EAGAIN)
			return;
		if (err) {
			failed(sub, err);
			return;
		}
		sub->resolved = true;
	}
	if ((partial || sub->copy_up) && !sub->was_read) {
		read_old(sub);
		return;
	}
	if (!partial && !sub->copy_up && !sub->bounce) {
		err = write_bounce(sub);
		if (err) {
			pool_sub_end(sub, err);
			return;
		}
	}
	err = target_prepare(sub, true);
	if (err == -EAGAIN)
		return;
	if (sub->kind == POOL_SUB_COMPARE)
		pool_compare_target(sub, err);
	else if (err)
		pool_sub_end(sub, err);
	else
		pool_sub_write_out(sub);
}

/* ---- waits ----------------------------------------------------------------------------------------- */

static void sub_woken(struct pool_waiter *w, int err)
{
	struct pool_sub *sub = container_of(w, struct pool_sub, waiter);

	if (err) {
		failed(sub, err);
		return;
	}
	switch (sub->kind) {
	case POOL_SUB_READ:
		read_run(sub);
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
	sub->wait.granted = write_granted;
	sub->wait.try_shared = sub->kind == POOL_SUB_WRITE ? write_try_shared : NULL;
}

/* ---- I/Os ------------------------------------------------------------------------------------------ */

void pool_io_begin_write(struct store_io *io)
{
	struct pool_io *pio = pool_io_of(io);

	pio->gen = pio->branch->gen;
	list_push_back(&pio->branch->writes, &pio->link);
}

void pool_io_end_write(struct store_io *io)
{
	struct pool_io *pio = pool_io_of(io);

	list_remove(&pio->link);
	pool_cut_drained(pio->branch);
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

void pool_io_put(struct store_io *io, int err)
{
	struct pool_io *pio = pool_io_of(io);

	if (err && !pio->err)
		pio->err = err;
	assert(pio->subs > 0);
	if (--pio->subs == 0)
		io_finish(io);
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
			read_run(sub);
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
	list_init(&pio->sub_list);
	if (io->op == STORE_FLUSH) {
		pool_flush_wait(io);
		return;
	}
	assert(io->offset % STORE_BLOCK_BYTES == 0 && io->len % STORE_BLOCK_BYTES == 0);
	assert(io->len <= d->size_bytes && io->offset <= d->size_bytes - io->len);
	assert(store_op_any_length(io->op) || io->len <= STORE_IO_MAX_BYTES);
	if (pool_io_writes(io) && p->latched) {
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
