/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a write goes: the entry of the map that its generation owns, or a new one, and the entry's chunk. A
 * shared chunk is never written to. A new chunk takes its place once all blocks are in it. An entry in a split chunk grows
 * there while the blocks that it wants are free, and moves as a whole when they are not. Where chunks are not split, one
 * whose blocks lie in too many entries is copied up into one.
 */
#include "array/store/pool/io/io.h"

#include <assert.h>
#include <errno.h>

static unsigned depth(const struct pool_branch *b)
{
	unsigned n = 0;

	for (; b->parent; b = b->parent)
		n++;
	return n;
}

/* Would the chunk's blocks lie in too many entries? 0 or 1, -ENOMEM, or -EAGAIN (w waits, if it is given). */
int pool_target_copy_up(struct pool_sub *sub, struct pool_waiter *w)
{
	struct pool_branch *b = pool_io_of(sub->io)->branch;
	bool exact = depth(b) > POOL_ANCESTOR_MAX;
	struct pool_places places;
	int err;

	if (pool_may_split(
		    &sub->pool->space)) /* no more than its blocks; a copy would cost what the parts save */
		return 0;
	err = pool_map_resolve(
		&sub->pool->map, b, POOL_GEN_HEAD, sub->chunk, POOL_ALL_BLOCKS, exact ? w : NULL, &places);
	if (err == -EAGAIN && exact)
		return err;
	if (err == -ENOMEM)
		return err;
	return places.entries > POOL_ANCESTOR_MAX;
}

static void count_pending(struct pool_sub *sub)
{
	if (!sub->counted)
		sub->pool->map.dirty_pending++;
	sub->counted = true;
}

/* Freed chunks wait for the next frame, too; a write that is repeated can free many of them. */
static bool freed_full(struct pool *p)
{
	if (p->space.free_new.count < p->map.dirty_max)
		return false;
	pool_commit_request(&p->commit);
	return true;
}

/* No chunk is free for everybody: is one set aside for this write? Never for a COMPARE AND WRITE over several
 * chunks: if one of them gets no chunk, the others give theirs back, and these would not return to the
 * reserve. */
static bool target_reserved(const struct pool_sub *sub, uint64_t *phys)
{
	if (sub->ops->joint && sub->len < sub->io->len)
		return false;
	return pool_reserve_take(&sub->pool->space, pool_disk_of(sub->io->disk), sub->chunk, phys);
}

static void pin(struct pool_sub *sub, struct pool_leaf *leaf)
{
	assert(!sub->leaf || sub->leaf == leaf);
	if (!sub->leaf)
		pool_leaf_pin(leaf);
	sub->leaf = leaf;
}

uint16_t pool_target_wanted(const struct pool_sub *sub)
{
	unsigned first = pool_sub_first(sub);

	if (sub->copy_up)
		return POOL_ALL_BLOCKS;
	return pool_block_mask(first, pool_sub_stop(sub) - first) | sub->old;
}

static int target_alloc(struct pool_sub *sub, bool *split, uint64_t *phys)
{
	struct pool_space *s = &sub->pool->space;
	int err = *split ? pool_split_alloc(s, pool_target_wanted(sub), phys) : pool_alloc(s, phys);

	/* For want of a chunk, blocks of one. */
	if (err == -ENOSPC && !*split && pool_target_wanted(sub) != POOL_ALL_BLOCKS && pool_may_split(s) &&
		pool_split_find(s, pool_target_wanted(sub), phys)) {
		*split = true;
		return 0;
	}
	if (!err || !target_reserved(sub, phys))
		return err;
	*split = false;
	return 0;
}

/* Gets a place for a write that has none yet (*split: a part of a chunk, and in the end whether it is one), and room in
 * the next frame for what the write makes dirty. `e`: the entry that it owns, or NULL. */
static int target_room(
	struct pool_sub *sub, const struct pool_entry *e, bool may_wait, bool *split, uint64_t *phys)
{
	struct pool *p = sub->pool;
	bool adds = !e || (!e->dirty && e->valid != POOL_ALL_BLOCKS);
	int err = 0;

	if (adds && !sub->counted && pool_dirty_full(&p->map))
		err = -EAGAIN;
	else if ((*phys == 0 || *split) && freed_full(p))
		err = -EAGAIN;
	else if (*phys == 0)
		err = target_alloc(sub, split, phys);
	if (err == -EAGAIN && may_wait)
		pool_alloc_wait(&p->space, &sub->waiter);
	return err;
}

/* The write owns the entry but shares its chunk: gets a chunk that replaces it once all blocks are in it. */
static int target_replace(struct pool_sub *sub, struct pool_leaf *leaf, uint32_t gen, bool may_wait)
{
	uint64_t phys = 0;
	bool split = false;
	int err = may_wait ? target_room(sub, NULL, may_wait, &split, &phys) : -EAGAIN;

	if (err)
		return err;
	sub->replaces = true;
	sub->entry_gen = gen;
	sub->phys = phys;
	pin(sub, leaf);
	count_pending(sub);
	return 0;
}

/* ---- split chunks ----------------------------------------------------------------------------------- */

/* Who moves more blocks than this gets a chunk: what is copied stays in proportion to what is written. */
#define MOVED_MAX 4u

/* Does a new place for the blocks lie in a split chunk? Only where there is something older: else the chunk's other blocks
 * are likely to come. */
static bool target_splits(const struct pool_sub *sub, const struct pool_entry *newest)
{
	if (pool_target_wanted(sub) == POOL_ALL_BLOCKS || !pool_may_split(&sub->pool->space))
		return false;
	return newest ? !newest->shared : pool_io_of(sub->io)->branch->parent != NULL;
}

static void hold_more(struct pool_sub *sub, struct pool_leaf *leaf, uint32_t gen, uint16_t more)
{
	struct pool_entry *e = pool_map_edit(&sub->pool->map, leaf, sub->chunk, gen);

	assert(e && e->split && !(e->held & more)); /* a packed one has all */
	e->held |= more;
	pool_io_of(sub->io)->branch->blocks += (unsigned)__builtin_popcount(more);
}

void pool_target_claim(struct pool_sub *sub, struct pool_leaf *leaf, const struct pool_entry *e)
{
	uint32_t gen = e->gen;
	uint16_t more = pool_target_wanted(sub) & (uint16_t)~e->held;

	if (!more)
		return;
	if (!pool_split_take(&sub->pool->space, e->phys, more)) {
		sub->moves = true;
		sub->old = e->valid;
		return;
	}
	hold_more(sub, leaf, gen, more);
	sub->claims = true;
	sub->entry_gen = gen;
	pin(sub, leaf);
}

/* The new place gets all blocks before the entry has it. */
static int target_move(struct pool_sub *sub, struct pool_leaf *leaf, uint32_t gen)
{
	uint64_t phys = 0;
	bool split = (unsigned)__builtin_popcount(sub->old) <= MOVED_MAX &&
		     pool_target_wanted(sub) != POOL_ALL_BLOCKS && pool_may_split(&sub->pool->space);
	int err = target_room(sub, NULL, true, &split, &phys);

	if (err)
		return err;
	sub->split = split;
	sub->entry_gen = gen;
	sub->phys = phys;
	pin(sub, leaf);
	count_pending(sub);
	return 0;
}

static bool alone(const struct pool_sub *sub)
{
	return sub->wait.exclusive || sub->wait.lock->shared == 1;
}

/* Blocks that were taken and got no data. */
static void trim(struct pool *p, struct pool_branch *b, struct pool_entry *e)
{
	uint16_t more = e->held & (uint16_t)~e->valid;

	pool_free_blocks(&p->space, b, e->phys, more);
	e->held = e->valid;
}

void pool_target_unclaim(struct pool_sub *sub)
{
	struct pool_entry *e;

	sub->claims = false;
	if (sub->leaf->slot[sub->chunk % POOL_LEAF_CHUNKS] & 1)
		return;
	e = pool_map_edit(&sub->pool->map, sub->leaf, sub->chunk, sub->entry_gen);
	if (e && e->split)
		trim(sub->pool, pool_io_of(sub->io)->branch, e);
}

bool pool_target_shed_entry(
	struct pool *p, struct pool_leaf *leaf, uint64_t chunk, uint32_t gen, uint16_t hidden)
{
	struct pool_entry *e = pool_map_edit(&p->map, leaf, chunk, gen);

	assert(e && e->split);
	pool_free_blocks(&p->space, leaf->branch, e->phys, e->held & hidden);
	e->held &= (uint16_t)~hidden;
	e->valid &= (uint16_t)~hidden;
	e->zero &= (uint16_t)~hidden;
	if (!e->held)
		e->phys = e->split = 0;
	if (!e->valid && !e->zero) {
		assert(!e->phys);
		pool_map_remove(&p->map, leaf, chunk, gen);
		return true;
	}
	pool_map_mark_dirty(&p->map, leaf, chunk, e);
	return false;
}

void pool_target_shed(struct pool *p, struct pool_leaf *leaf, uint64_t chunk)
{
	const struct pool_entry *e = NULL;
	struct pool_entry unpacked;
	unsigned count = pool_map_entries(leaf, chunk, &e, &unpacked);

	for (unsigned i = 1; i < count && !pool_branch_viewer_in(leaf->branch, e[i].gen, e[i - 1].gen); i++) {
		uint16_t hidden = e[i].split ? pool_entry_hidden(leaf->branch, e, i) : 0;

		if (!hidden || p->map.dirty_count >= 2 * p->map.dirty_max) /* a merge will do it */
			continue;
		if (pool_target_shed_entry(p, leaf, chunk, e[i].gen, hidden))
			i--;
		count = pool_map_entries(leaf, chunk, &e, &unpacked);
	}
}

/* ---- the place -------------------------------------------------------------------------------------- */

/* A place for an entry that has none, or for a new one. */
static int target_new(struct pool_sub *sub, struct pool_leaf *leaf, const struct pool_entry *newest,
	bool owned, bool may_wait, uint64_t *phys)
{
	struct pool *p = sub->pool;
	struct pool_branch *b = pool_io_of(sub->io)->branch;
	struct pool_entry fresh = {.gen = sub->entry_gen}, *e;
	bool split = target_splits(sub, newest);
	int err = target_room(sub, owned ? newest : NULL, may_wait, &split, phys);

	if (err)
		return err;
	fresh.phys = *phys;
	fresh.split = split;
	fresh.held = split ? pool_target_wanted(sub) : 0;
	if (owned) {
		e = pool_map_edit(&p->map, leaf, sub->chunk, sub->entry_gen);
		e->phys = fresh.phys;
		e->split = fresh.split;
		e->held = fresh.held;
	} else {
		err = pool_map_insert(&p->map, leaf, sub->chunk, &fresh);
		if (err) {
			pool_entry_let_go(&p->space, NULL, &fresh);
			return err;
		}
	}
	b->blocks += pool_entry_blocks(&fresh);
	return 0;
}

/* The place of the entry that the write owns. 0, -EAGAIN, an error; -ENOSPC: its split chunk has no room. */
static int target_old(struct pool_sub *sub, struct pool_leaf *leaf, const struct pool_entry *e, bool may_wait,
	uint64_t *phys)
{
	uint32_t gen = e->gen;
	uint16_t more = e->split ? pool_target_wanted(sub) & (uint16_t)~e->held : 0;
	bool grows = more != 0;
	int err;

	*phys = e->phys;
	if (!may_wait && more && !pool_split_has(&sub->pool->space, e->phys, more))
		return -EAGAIN; /* it must move */
	err = target_room(sub, e, may_wait, &grows, phys);
	if (err || !more)
		return err;
	if (!pool_split_take(&sub->pool->space, e->phys, more))
		return -ENOSPC;
	hold_more(sub, leaf, gen, more);
	return 0;
}

/* Finds or makes the entry that the write goes to. 0, -EAGAIN (waits when `may_wait`), or an error. */
int pool_target_prepare(struct pool_sub *sub, bool may_wait)
{
	struct pool *p = sub->pool;
	struct pool_io *pio = pool_io_of(sub->io);
	const struct pool_entry *e = NULL;
	struct pool_entry unpacked;
	struct pool_leaf *leaf;
	unsigned count;
	bool owned;
	uint64_t phys = 0;
	int err =
		pool_map_leaf(&p->map, pio->branch, sub->chunk, true, may_wait ? &sub->waiter : NULL, &leaf);

	if (err)
		return err;
	count = pool_map_entries(leaf, sub->chunk, &e, &unpacked);
	assert(count == 0 || e[0].gen <= pio->write.gen);
	owned = count && pool_entry_owned(pio->branch, e[0].gen, pio->write.gen);
	if (owned && e[0].shared && (sub->copy_up || !may_wait))
		return target_replace(sub, leaf, e[0].gen, may_wait);
	if (sub->moves) {
		assert(owned && e[0].split && may_wait);
		return target_move(sub, leaf, e[0].gen);
	}
	if (owned && may_wait &&
		(e[0].shared || (e[0].split && (pool_target_wanted(sub) & (uint16_t)~e[0].held)))) {
		/* Owned only because a viewer went while this write waited: goes on as if it were there. */
		assert(e[0].gen < pio->write.gen);
		owned = false;
	}
	sub->entry_gen = owned ? e[0].gen : pio->write.gen;
	if (!owned && !may_wait && (count || pio->branch->parent) && !sub->copy_up &&
		pool_target_copy_up(sub, NULL))
		return -EAGAIN;
	if (owned && e[0].phys)
		err = target_old(sub, leaf, &e[0], may_wait, &phys);
	else
		err = target_new(sub, leaf, count ? &e[0] : NULL, owned, may_wait, &phys);
	if (err)
		return err;
	sub->phys = phys;
	pin(sub, leaf);
	count_pending(sub);
	return 0;
}

/* ---- what becomes of it ----------------------------------------------------------------------------- */

/* The blocks have data. */
void pool_target_written(struct pool_sub *sub)
{
	struct pool *p = sub->pool;
	struct pool_entry *e;

	/* A packed entry has all blocks and nothing to change; pool_map_edit would unpack it. */
	if (sub->leaf->slot[sub->chunk % POOL_LEAF_CHUNKS] & 1)
		return;
	e = pool_map_edit(&p->map, sub->leaf, sub->chunk, sub->entry_gen);
	assert(e && e->phys == sub->phys && (!e->split || (e->held & sub->mask) == sub->mask));
	if ((e->valid & sub->mask) != sub->mask) {
		e->valid |= sub->mask;
		e->zero &= (uint16_t)~sub->mask;
		pool_map_mark_dirty(&p->map, sub->leaf, sub->chunk, e);
	}
	if (!alone(sub))
		return;
	if (e->split) /* what a write that failed before has left */
		trim(p, pool_io_of(sub->io)->branch, e);
	pool_target_shed(p, sub->leaf, sub->chunk);
}

/* All blocks are in the new chunk. */
int pool_target_replaced(struct pool_sub *sub)
{
	struct pool *p = sub->pool;
	struct pool_branch *b = pool_io_of(sub->io)->branch;
	struct pool_entry *e = pool_map_edit(&p->map, sub->leaf, sub->chunk, sub->entry_gen);

	if (!e)
		return -ENOMEM;
	assert(e->shared && sub->mask == POOL_ALL_BLOCKS);
	pool_chunk_drop(&p->space, b, e->phys, true);
	e->phys = sub->phys;
	e->shared = 0;
	e->valid = POOL_ALL_BLOCKS;
	e->zero = 0;
	pool_map_mark_dirty(&p->map, sub->leaf, sub->chunk, e);
	b->blocks += POOL_BLOCKS;
	pool_target_shed(p, sub->leaf, sub->chunk);
	return 0;
}

/* All blocks are in the new place. */
int pool_target_moved(struct pool_sub *sub)
{
	struct pool *p = sub->pool;
	struct pool_branch *b = pool_io_of(sub->io)->branch;
	struct pool_entry *e = pool_map_edit(&p->map, sub->leaf, sub->chunk, sub->entry_gen);

	if (!e)
		return -ENOMEM;
	assert(e->split && e->valid == sub->old && (sub->mask & sub->old) == sub->old);
	pool_entry_let_go(&p->space, b, e);
	e->phys = sub->phys;
	e->split = sub->split;
	e->held = sub->split ? sub->mask : 0;
	e->valid = sub->mask;
	e->zero &= (uint16_t)~sub->mask;
	b->blocks += pool_entry_blocks(e);
	pool_map_mark_dirty(&p->map, sub->leaf, sub->chunk, e);
	pool_target_shed(p, sub->leaf, sub->chunk);
	return 0;
}

/* The entry's chunk goes back if nothing was ever written to it and nobody else is about to. */
void pool_target_failed(struct pool_sub *sub)
{
	struct pool *p = sub->pool;
	struct pool_branch *b = pool_io_of(sub->io)->branch;
	struct pool_entry *e;

	if (sub->leaf->slot[sub->chunk % POOL_LEAF_CHUNKS] & 1)
		return;
	if (!alone(sub))
		return; /* the last one that fails gives it back */
	e = pool_map_edit(&p->map, sub->leaf, sub->chunk, sub->entry_gen);
	if (!e || !e->phys)
		return;
	if (e->split)
		trim(p, b, e);
	if (e->valid)
		return;
	pool_entry_let_go(&p->space, b, e);
	e->phys = e->split = e->shared = 0;
	if (!e->zero)
		pool_map_remove(&p->map, sub->leaf, sub->chunk, sub->entry_gen);
}

void pool_target_drop(struct pool_sub *sub)
{
	struct pool_entry place = {.phys = sub->phys, .split = sub->split, .held = pool_target_wanted(sub)};

	if (!sub->phys)
		return;
	if (sub->replaces || sub->moves)
		pool_entry_let_go(&sub->pool->space, NULL, &place);
	else
		pool_target_failed(sub);
}
