/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a write goes: the entry of the map that its generation owns, or a new one, and the entry's chunk. A
 * shared chunk is never written to. A new chunk takes its place once all blocks are in it. A chunk whose
 * blocks lie in too many entries is copied up into one.
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
	int err = pool_map_resolve(
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

/* Gets a chunk for a write that has none yet, and room in the next frame for what the write makes dirty. `e`:
 * the entry that it owns, or NULL. */
static int target_room(struct pool_sub *sub, const struct pool_entry *e, bool may_wait, uint64_t *phys)
{
	struct pool *p = sub->pool;
	bool adds = !e || (!e->dirty && e->valid != POOL_ALL_BLOCKS);
	int err = 0;

	if (adds && !sub->counted && pool_dirty_full(&p->map))
		err = -EAGAIN;
	else if (*phys == 0 && freed_full(p))
		err = -EAGAIN;
	else if (*phys == 0 && (err = pool_alloc(&p->space, phys)) && target_reserved(sub, phys))
		err = 0;
	if (err == -EAGAIN && may_wait)
		pool_alloc_wait(&p->space, &sub->waiter);
	return err;
}

/* The write owns the entry but shares its chunk: gets a chunk that replaces it once all blocks are in it. */
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
int pool_target_prepare(struct pool_sub *sub, bool may_wait)
{
	struct pool *p = sub->pool;
	struct pool_io *pio = pool_io_of(sub->io);
	const struct pool_entry *e = NULL;
	struct pool_entry unpacked, *edit;
	struct pool_leaf *leaf;
	unsigned count;
	bool owned, is_new;
	uint64_t phys;
	int err =
		pool_map_leaf(&p->map, pio->branch, sub->chunk, true, may_wait ? &sub->waiter : NULL, &leaf);

	if (err)
		return err;
	count = pool_map_entries(leaf, sub->chunk, &e, &unpacked);
	assert(count == 0 || e[0].gen <= pio->write.gen);
	owned = count && pool_entry_owned(pio->branch, e[0].gen, pio->write.gen);
	if (owned && e[0].shared && (sub->copy_up || !may_wait))
		return target_replace(sub, leaf, e[0].gen, may_wait);
	if (owned && e[0].shared) {
		/* Owned only because a viewer went while this write waited: goes on as if it were there. */
		assert(e[0].gen < pio->write.gen);
		owned = false;
	}
	if (owned) {
		sub->entry_gen = e[0].gen;
		phys = e[0].phys;
	} else {
		sub->entry_gen = pio->write.gen;
		phys = 0;
		if (!may_wait && (count || pio->branch->parent) && !sub->copy_up &&
			pool_target_copy_up(sub, NULL))
			return -EAGAIN;
	}
	is_new = phys == 0;
	err = target_room(sub, owned ? &e[0] : NULL, may_wait, &phys);
	if (err)
		return err;
	if (is_new) {
		if (owned) {
			edit = pool_map_edit(&p->map, leaf, sub->chunk, sub->entry_gen);
			edit->phys = phys;
		} else {
			unpacked = (struct pool_entry){.gen = sub->entry_gen, .phys = phys};
			err = pool_map_insert(&p->map, leaf, sub->chunk, &unpacked);
			if (err) {
				pool_free_chunk(&p->space, NULL, phys);
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

/* ---- what becomes of it ----------------------------------------------------------------------------- */

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
	b->chunks++;
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
	if (!sub->wait.exclusive && sub->wait.lock->shared > 1)
		return; /* the last one that fails gives it back */
	e = pool_map_edit(&p->map, sub->leaf, sub->chunk, sub->entry_gen);
	if (!e || e->valid || !e->phys)
		return;
	pool_chunk_drop(&p->space, b, e->phys, e->shared);
	e->phys = e->shared = 0;
	if (!e->zero)
		pool_map_remove(&p->map, sub->leaf, sub->chunk, sub->entry_gen);
}

void pool_target_drop(struct pool_sub *sub)
{
	if (!sub->phys)
		return;
	if (sub->replaces)
		pool_free_chunk(&sub->pool->space, NULL, sub->phys);
	else
		pool_target_failed(sub);
}
