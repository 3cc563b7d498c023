/* SPDX-License-Identifier: Apache-2.0 */
/*
 * READ takes no lock: it looks its blocks up, enters the I/O epoch (so that no chunk it may look at is handed out again
 * before it ends) and reads.
 */
#include "array/store/pool/io/io.h"

#include <errno.h>

static void read_ended(struct pool_sub *sub)
{
	if (!sub->err && sub->bounce)
		pool_iov_copy_in(sub->io, sub->io_offset,
			sub->bounce + (sub->offset - (sub->bounce_first << POOL_BLOCK_SHIFT)), sub->len);
	pool_sub_end(sub, sub->err);
}

/* Chunks of which several runs are wanted: each is read at once, with what lies between them, for a request costs more than
 * that. Returns what is left to read. */
static uint16_t read_gathered(struct pool_sub *sub, const struct pool_places *places)
{
	unsigned first = pool_sub_first(sub), end = pool_sub_stop(sub);
	uint16_t left = pool_block_mask(first, end - first), looked = 0;

	if (!pool_sub_whole(sub))
		return left;
	for (unsigned i = first; i < end; i++) {
		uint16_t mask = 0;

		if (!places->phys[i] || (looked >> i & 1))
			continue;
		for (unsigned k = i; k < end; k++)
			mask |= (uint16_t)((places->phys[k] == places->phys[i]) << k);
		looked |= mask;
		if (pool_read_gathers(mask) && pool_sub_gather(sub, places->phys[i], mask))
			left &= (uint16_t)~mask;
	}
	return left;
}

/* Straight into the caller's buffers. */
static void read_direct(struct pool_sub *sub, const struct pool_places *places)
{
	uint16_t left = read_gathered(sub, places);
	uint32_t at = sub->offset, end = sub->offset + sub->len;

	while (at < end) {
		unsigned block = at >> POOL_BLOCK_SHIFT;
		uint32_t stop = (block + pool_run_length(POOL_ALL_BLOCKS, places, block)) << POOL_BLOCK_SHIFT;

		if (stop > end)
			stop = end;
		if (!(left >> block & 1)) /* the whole run */
			;
		else if (places->phys[block])
			pool_sub_transfer(sub, POOL_OP_READ, places->phys[block], at, stop - at, NULL);
		else
			pool_iov_copy_in(sub->io, sub->io_offset + (at - sub->offset), NULL, stop - at);
		at = stop;
	}
}

static void read_run(struct pool_sub *sub)
{
	unsigned first = pool_sub_first(sub), end = pool_sub_stop(sub);
	struct pool_places places;
	int err = pool_map_resolve(&sub->pool->map, pool_io_of(sub->io)->branch, POOL_GEN_HEAD, sub->chunk,
		pool_block_mask(first, end - first), &sub->waiter, &places);

	if (err == -EAGAIN)
		return;
	if (err) {
		pool_sub_end(sub, err);
		return;
	}
	pool_sub_hold(sub);
	sub->next = read_ended;
	sub->pieces = 1;
	if (pool_places_zero(&places, first, end)) {
		pool_iov_copy_in(sub->io, sub->io_offset, NULL, sub->len);
	} else if (pool_sub_direct(sub)) {
		read_direct(sub, &places);
		if (sub->len == POOL_CHUNK_BYTES && sub->pieces > POOL_REQUESTS_FEW + 1)
			pool_ask_pack(&sub->pool->base, pool_io_of(sub->io)->branch, sub->chunk);
	} else {
		sub->bounce_first = first;
		sub->bounce_count = end - first;
		sub->bounce = pool_bounce_get(sub->pool);
		if (sub->bounce)
			pool_sub_fetch(sub, &places, pool_block_mask(first, end - first));
		else
			sub->err = -ENOMEM;
	}
	pool_sub_piece_end(sub, 0);
}

const struct pool_sub_ops pool_read_sub = {.run = read_run, .failed = pool_sub_end};
