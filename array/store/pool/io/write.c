/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WRITE, and the steps of COMPARE AND WRITE (compare.c) and of writing zeros into a part of a block (unmap.c).
 *
 * A WRITE of whole blocks into a chunk whose entry its generation owns, or for which an entry can be made at once,
 * holds the chunk's lock shared. Everything else holds it exclusively: the steps are then read (for blocks that are
 * written in part), target, write. Each step may wait and is entered again.
 *
 * A block's bit in the map is set only when its data has been written (in the page cache or the disk's volatile
 * cache: the next flush makes the data durable first and the bit after it).
 */
#include "array/store/pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

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
		sub->err = pool_target_replaced(sub);
	}
	if (sub->err)
		pool_free_chunk(sub->pool, NULL, sub->phys);
	pool_sub_end(sub, write_error(sub));
}

static void write_ended(struct pool_sub *sub)
{
	struct pool *p = sub->pool;
	struct pool_entry *e;
	uint64_t unused;

	if (sub->err)
		pool_target_failed(sub);
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
	pool_sub_hold(sub);
	if (sub->bounce) {
		sub->mask = pool_block_mask(sub->bounce_first, sub->bounce_count);
		pool_sub_transfer(sub, POOL_OP_WRITE, sub->phys, sub->bounce_first << POOL_BLOCK_SHIFT,
			sub->bounce_count << POOL_BLOCK_SHIFT, sub->bounce);
	} else {
		sub->mask = pool_block_mask(pool_sub_first(sub), pool_sub_stop(sub) - pool_sub_first(sub));
		pool_sub_transfer(sub, POOL_OP_WRITE, sub->phys, sub->offset, sub->len, NULL);
	}
	pool_sub_piece_end(sub, 0);
}

/* Whole blocks from memory that cannot be written from directly. */
static int write_bounce(struct pool_sub *sub)
{
	if (pool_sub_direct(sub))
		return 0;
	sub->bounce = pool_bounce_get(sub->pool);
	if (!sub->bounce)
		return -ENOMEM;
	sub->bounce_first = pool_sub_first(sub);
	sub->bounce_count = pool_sub_stop(sub) - sub->bounce_first;
	pool_iov_copy_out(sub->io, sub->io_offset, sub->bounce, sub->len);
	return 0;
}

bool pool_write_try_shared(struct pool_lock_wait *w)
{
	struct pool_sub *sub = container_of(w, struct pool_sub, wait);

	return pool_sub_whole(sub) && pool_target_prepare(sub, false) == 0;
}

void pool_write_granted(struct pool_lock_wait *w)
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
	pool_sub_leave(sub);
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
void pool_write_failed(struct pool_sub *sub, int err)
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
	unsigned first = sub->copy_up ? 0 : pool_sub_first(sub);
	unsigned count = sub->copy_up ? POOL_BLOCKS : pool_sub_stop(sub) - first;
	uint16_t need = pool_block_mask(first, count);
	struct pool_places places;
	int err;

	if (sub->kind != POOL_SUB_COMPARE) { /* blocks that are written whole need no reading */
		uint32_t from = (sub->offset + POOL_BLOCK_BYTES - 1) >> POOL_BLOCK_SHIFT;
		uint32_t to = (sub->offset + sub->len) >> POOL_BLOCK_SHIFT;

		if (to > from)
			need &= (uint16_t)~pool_block_mask(from, to - from);
	}
	err = pool_map_resolve(
		p, pool_io_of(sub->io)->branch, POOL_GEN_HEAD, sub->chunk, need, &sub->waiter, &places);
	if (err == -EAGAIN)
		return;
	if (!err && sub->kind == POOL_SUB_ZERO && pool_places_zero(&places, 0, POOL_BLOCKS)) {
		pool_sub_end(sub, 0);
		return;
	}
	if (!err && !(sub->bounce = pool_bounce_get(p)))
		err = -ENOMEM;
	if (err) {
		pool_write_failed(sub, err);
		return;
	}
	pool_sub_hold(sub);
	sub->bounce_first = first;
	sub->bounce_count = count;
	sub->next = old_data_read;
	sub->pieces = 1;
	pool_sub_fetch(sub, &places, need);
	pool_sub_piece_end(sub, 0);
}

void pool_sub_write(struct pool_sub *sub)
{
	bool partial = sub->kind != POOL_SUB_WRITE || !pool_sub_whole(sub);
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
				err = pool_target_copy_up(sub, &sub->waiter);
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
			pool_write_failed(sub, err);
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
	err = pool_target_prepare(sub, true);
	if (err == -EAGAIN)
		return;
	if (sub->kind == POOL_SUB_COMPARE)
		pool_compare_target(sub, err);
	else if (err)
		pool_sub_end(sub, err);
	else
		pool_sub_write_out(sub);
}
