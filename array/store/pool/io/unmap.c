/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UNMAP: whole blocks lose their data (their chunk, when nothing is left in it) and are marked as known zeros
 * where older data would show through; parts of blocks are written as zeros. A range is done in steps of
 * UNMAP_STEP_CHUNKS; within a step it falls on one side of a cut, a longer one may be cut between steps.
 */
#include "array/store/pool/io/io.h"

#include <assert.h>
#include <errno.h>

#define UNMAP_STEP_CHUNKS 256u

/* The owned entry loses the blocks in `mask`, of which `below` show older data. */
static int unmap_owned(
	struct pool *p, struct pool_leaf *leaf, uint64_t chunk, uint32_t gen, uint16_t mask, uint16_t below)
{
	struct pool_entry *e = pool_map_edit(&p->map, leaf, chunk, gen);
	uint16_t valid, zero;

	if (!e)
		return -ENOMEM;
	valid = e->valid & (uint16_t)~mask;
	zero = (uint16_t)((e->zero & ~mask) | (mask & below));
	if (valid == e->valid && zero == e->zero)
		return 0;
	if (!valid && e->phys) {
		pool_entry_let_go(&p->space, leaf->branch, e);
		e->phys = e->shared = e->split = e->held = 0;
	} else if (e->split) {
		pool_free_blocks(&p->space, leaf->branch, e->phys, e->held & (uint16_t)~valid);
		e->held = valid;
	}
	e->valid = valid;
	e->zero = zero;
	if (!valid && !zero)
		pool_map_remove(&p->map, leaf, chunk, gen);
	else
		pool_map_mark_dirty(&p->map, leaf, chunk, e);
	pool_target_shed(p, leaf, chunk);
	return 0;
}

int pool_unmap_blocks(struct pool *p, struct pool_branch *b, uint32_t gen, uint64_t chunk, uint16_t mask,
	struct pool_waiter *w)
{
	const struct pool_entry *e = NULL;
	struct pool_entry unpacked;
	struct pool_places places;
	struct pool_leaf *leaf;
	uint16_t below = 0;
	bool owned = false;
	int err = pool_map_leaf(&p->map, b, chunk, false, w, &leaf);

	if (err)
		return err;
	if (leaf && pool_map_entries(leaf, chunk, &e, &unpacked)) {
		assert(e[0].gen <= gen);
		owned = pool_entry_owned(b, e[0].gen, gen);
		if (owned)
			gen = e[0].gen;
	}
	if (!owned && !e && !b->parent)
		return 0;
	err = pool_map_resolve(&p->map, b, owned ? gen - 1 : gen, chunk, mask, w, &places);
	if (err)
		return err;
	for (unsigned i = 0; i < POOL_BLOCKS; i++)
		below |= (uint16_t)((places.phys[i] != 0) << i);
	if (!owned && !below)
		return 0;
	if (p->space.free_new.count >= p->map.dirty_max)
		pool_commit_request(&p->commit);
	if (p->map.dirty_count >= p->map.dirty_max || p->space.free_new.count >= p->map.dirty_max) {
		pool_alloc_wait(&p->space, w);
		return -EAGAIN;
	}
	/* Loading the ancestors' leaves may have let this one go. */
	err = pool_map_leaf(&p->map, b, chunk, true, w, &leaf);
	if (err)
		return err;
	if (owned)
		return unmap_owned(p, leaf, chunk, gen, mask, below);
	unpacked = (struct pool_entry){.gen = gen, .zero = below};
	err = pool_map_insert(&p->map, leaf, chunk, &unpacked);
	if (!err)
		pool_map_mark_dirty(&p->map, leaf, chunk, pool_map_edit(&p->map, leaf, chunk, gen));
	return err;
}

static void unmap_run(struct pool_sub *sub)
{
	const struct pool_io *pio = pool_io_of(sub->io);
	unsigned first = sub->offset >> POOL_BLOCK_SHIFT, count = sub->len >> POOL_BLOCK_SHIFT;
	int err = pool_unmap_blocks(sub->pool, pio->branch, pio->write.gen, sub->chunk,
		(uint16_t)(((1u << count) - 1) << first), &sub->waiter);

	if (err != -EAGAIN)
		pool_sub_end(sub, err);
}

const struct pool_sub_ops pool_unmap_sub = {.run = unmap_run, .failed = pool_sub_end};

/* One step from the cursor on: its subs queue at their chunks together. */
void pool_unmap_start(struct store_io *io)
{
	struct pool_io *pio = pool_io_of(io);
	struct pool *p = pio->pool;
	uint64_t branch = pio->branch->id, first = pio->cursor >> POOL_CHUNK_SHIFT, chunk;
	uint64_t end = io->offset + io->len, stop = (first + UNMAP_STEP_CHUNKS) << POOL_CHUNK_SHIFT;
	int err = 0;

	if (p->base.latched) {
		io->done(io, -EROFS);
		return;
	}
	if (stop > end)
		stop = end;
	pool_io_begin_write(io);
	pio->subs = 1;
	while (pio->cursor < stop) {
		uint64_t at = pio->cursor, to = (at | (POOL_CHUNK_BYTES - 1)) + 1;
		struct pool_sub *sub;
		bool whole = true;

		if (to > stop)
			to = stop;
		if (at % POOL_BLOCK_BYTES) { /* up to the next block */
			uint64_t next = (at | (POOL_BLOCK_BYTES - 1)) + 1;

			to = next < to ? next : to;
			whole = false;
		} else if (to % POOL_BLOCK_BYTES) {
			uint64_t last = to & ~(uint64_t)(POOL_BLOCK_BYTES - 1);

			if (last > at)
				to = last;
			else
				whole = false;
		}
		sub = pool_sub_new(io, whole ? &pool_unmap_sub : &pool_zero_sub, at, to - at, 0);
		if (!sub) {
			err = -ENOMEM;
			break;
		}
		pool_lock_enqueue(&p->locks, branch, sub->chunk, &sub->wait);
		pio->cursor = to;
	}
	chunk = stop ? (stop - 1) >> POOL_CHUNK_SHIFT : 0;
	for (uint64_t c = first; c <= chunk; c++)
		pool_lock_pump(&p->locks, branch, c);
	pool_io_put(io, err);
}
