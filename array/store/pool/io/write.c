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
#include "array/store/pool/io/io.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* A COMPARE AND WRITE that may be written in part must not end like one that is to be tried again. */
static int write_error(const struct pool_sub *sub)
{
	return sub->ops->joint && sub->err == -ENOMEM ? -EIO : sub->err;
}

static void replace_ended(struct pool_sub *sub)
{

	if (!sub->err) {
		pool_data_written(&sub->pool->space, sub->phys);
		sub->err = pool_target_replaced(sub);
	}
	if (sub->err)
		pool_free_chunk(&sub->pool->space, NULL, sub->phys);
	pool_sub_end(sub, write_error(sub));
}

static void move_ended(struct pool_sub *sub)
{
	if (!sub->err) {
		pool_data_written(&sub->pool->space, sub->phys);
		sub->err = pool_target_moved(sub);
	}
	if (sub->err)
		pool_target_drop(sub);
	pool_sub_end(sub, write_error(sub));
}

static void write_ended(struct pool_sub *sub)
{
	if (sub->err) {
		pool_target_failed(sub);
	} else {
		pool_data_written(&sub->pool->space, sub->phys);
		pool_target_written(sub);
	}
	pool_sub_end(sub, write_error(sub));
}

void pool_write_out(struct pool_sub *sub)
{
	sub->next = sub->replaces ? replace_ended : sub->moves ? move_ended : write_ended;
	sub->pieces = 1;
	pool_sub_hold(sub);
	if (sub->bounce) {
		sub->mask = pool_target_wanted(sub);
		for (uint16_t left = sub->mask; left;) {
			unsigned first = (unsigned)__builtin_ctz(left),
				 n = pool_run_length(left, NULL, first);

			pool_sub_transfer(sub, POOL_OP_WRITE, sub->phys, first << POOL_BLOCK_SHIFT,
				n << POOL_BLOCK_SHIFT,
				sub->bounce + ((first - sub->bounce_first) << POOL_BLOCK_SHIFT));
			left &= (uint16_t)~pool_block_mask(first, n);
		}
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

static bool write_try_shared(struct pool_sub *sub)
{
	return pool_sub_whole(sub) && pool_target_prepare(sub, false) == 0;
}

static void write_shared(struct pool_sub *sub)
{
	int err = write_bounce(sub);

	if (err)
		pool_sub_end(sub, err);
	else
		pool_write_out(sub);
}

/* ---- the old content ------------------------------------------------------------------------------- */

void pool_write_patch(struct pool_sub *sub)
{
	sub->ops->patch(sub, sub->bounce + (sub->offset - (sub->bounce_first << POOL_BLOCK_SHIFT)));
}

void pool_write_old_read(struct pool_sub *sub)
{
	sub->was_read = true;
	pool_sub_leave(sub);
	sub->ops->old_read(sub);
}

/* Reads what is needed of the blocks' old content. */
static void read_old(struct pool_sub *sub)
{
	struct pool *p = sub->pool;
	bool all = sub->copy_up || sub->moves;
	unsigned first = all ? 0 : pool_sub_first(sub);
	unsigned count = all ? POOL_BLOCKS : pool_sub_stop(sub) - first;
	uint16_t need = pool_target_wanted(sub);
	struct pool_places places;
	int err;

	if (!sub->ops->joint) { /* blocks that are written whole need no reading */
		uint32_t from = (sub->offset + POOL_BLOCK_BYTES - 1) >> POOL_BLOCK_SHIFT;
		uint32_t to = (sub->offset + sub->len) >> POOL_BLOCK_SHIFT;

		if (to > from)
			need &= (uint16_t)~pool_block_mask(from, to - from);
	}
	err = pool_map_resolve(
		&p->map, pool_io_of(sub->io)->branch, POOL_GEN_HEAD, sub->chunk, need, &sub->waiter, &places);
	if (err == -EAGAIN)
		return;
	if (!err && sub->ops->skips_zeros &&
		pool_places_zero(&places, sub->copy_up ? 0 : pool_sub_first(sub),
			sub->copy_up ? POOL_BLOCKS : pool_sub_stop(sub))) {
		pool_sub_end(sub, 0);
		return;
	}
	if (!err && !(sub->bounce = pool_bounce_get(p)))
		err = -ENOMEM;
	if (err) {
		sub->ops->failed(sub, err);
		return;
	}
	pool_sub_hold(sub);
	sub->bounce_first = first;
	sub->bounce_count = count;
	sub->next = pool_write_old_read;
	sub->pieces = 1;
	pool_sub_fetch(sub, &places, need);
	pool_sub_piece_end(sub, 0);
}

/* Must the chunk be copied up, its shared chunk replaced, or what it has of a split one moved? 0 or an error; -EAGAIN:
 * waits. */
static int write_resolve(struct pool_sub *sub)
{
	const struct pool_io *pio = pool_io_of(sub->io);
	const struct pool_entry *e = NULL;
	struct pool_entry unpacked;
	struct pool_leaf *leaf;
	int err = pool_map_leaf(&sub->pool->map, pio->branch, sub->chunk, true, &sub->waiter, &leaf);
	unsigned count;

	if (err)
		return err;
	count = pool_map_entries(leaf, sub->chunk, &e, &unpacked);
	if (count && pool_entry_owned(pio->branch, e[0].gen, pio->write.gen))
		err = e[0].shared;
	else
		err = pool_target_copy_up(sub, &sub->waiter);
	if (err < 0)
		return err;
	sub->copy_up = err > 0;
	sub->resolved = true;
	if (count && e[0].split && pool_entry_owned(pio->branch, e[0].gen, pio->write.gen))
		pool_target_claim(sub, leaf, &e[0]);
	return 0;
}

void pool_write_run(struct pool_sub *sub)
{
	bool partial = sub->ops->joint || !pool_sub_whole(sub);
	int err = sub->resolved ? 0 : write_resolve(sub);

	if (err == -EAGAIN)
		return;
	if (err) {
		sub->ops->failed(sub, err);
		return;
	}
	if ((partial || sub->copy_up || sub->moves) && !sub->was_read) {
		read_old(sub);
		return;
	}
	if (!partial && !sub->copy_up && !sub->moves && !sub->bounce) {
		err = write_bounce(sub);
		if (err) {
			pool_sub_end(sub, err);
			return;
		}
	}
	err = pool_target_prepare(sub, true);
	if (err != -EAGAIN)
		sub->ops->targeted(sub, err);
}

/* ---- WRITE, and zeros in a part of a block ---------------------------------------------------------- */

static void write_patch(struct pool_sub *sub, uint8_t *to)
{
	pool_iov_copy_out(sub->io, sub->io_offset, to, sub->len);
}

static void zero_patch(struct pool_sub *sub, uint8_t *to)
{
	memset(to, 0, sub->len);
}

static void write_old_read(struct pool_sub *sub)
{
	if (sub->err) {
		pool_sub_end(sub, sub->err);
		return;
	}
	pool_write_patch(sub);
	pool_write_run(sub);
}

static void write_targeted(struct pool_sub *sub, int err)
{
	if (err)
		pool_sub_end(sub, err);
	else
		pool_write_out(sub);
}

const struct pool_sub_ops pool_write_sub = {
	.run = pool_write_run,
	.try_shared = write_try_shared,
	.run_shared = write_shared,
	.patch = write_patch,
	.old_read = write_old_read,
	.targeted = write_targeted,
	.failed = pool_sub_end,
};

const struct pool_sub_ops pool_zero_sub = {
	.run = pool_write_run,
	.patch = zero_patch,
	.old_read = write_old_read,
	.targeted = write_targeted,
	.failed = pool_sub_end,
	.skips_zeros = true,
};
