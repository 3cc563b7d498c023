/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STORE_CLONE: one step after another. A step is a whole chunk of the target whose blocks lie in one chunk of the
 * source at the same places: it is shared (see refs.c for what that means). Everything else is copied by
 * ordinary I/O of the pool's own, READ then WRITE, or UNMAP where the source has nothing.
 *
 * Sharing a chunk holds the locks of both chunks, exclusively, the target's with a generation of its own as
 * for a write; it queues at both in one go. All that changes changes at one instant, in memory: the source's
 * entry becomes shared, the target's entry says the same blocks of the same chunk and knows all others to be
 * zeros. The source's entry may belong to an ancestor: then nobody may be at work on that chunk of it, else the
 * chunk is copied (waiting there could be for somebody who waits for us).
 *
 * Of the blocks that a shared entry says nothing of (neither data nor zeros), nothing older has data: so a merge
 * never has to write blocks into its chunk. What lies in an entry of which that is not true is copied.
 */
#include "array/store/pool/background/background.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/pool/base/loop.h"

#define COPY_BYTES    (256u << 10)
#define STEPS_AT_ONCE 256u /* before others have their turn */

enum copy_state {
	COPY_ASK, /* what the source has */
	COPY_READ,
	COPY_CHANGE,
};

struct pool_clone {
	struct pool *pool;
	struct store_io *io;
	struct pool_branch *source; /* at the step's beginning */
	uint64_t at;                /* bytes done */
	bool busy;                  /* a step waits */
	struct pool_loop loop;
	unsigned turn;
	int err;
	struct pool_call call;
	/* sharing */
	struct pool_lock_wait lock[2]; /* target, source */
	unsigned granted;
	struct pool_waiter waiter;
	/* copying */
	uint64_t left; /* bytes to copy before sharing is tried again */
	enum copy_state copy;
	struct store_io inner;
	struct iovec iov;
	uint8_t *buf;
};

/* Where the blocks of a source's chunk are, if in one place: an entry and its blocks that are seen. */
struct place {
	struct pool_branch *branch; /* NULL: no data at all */
	struct pool_leaf *leaf;
	struct pool_entry entry;
	uint16_t mask;
	bool spread;
};

static void clone_run(struct pool_clone *c);

static void step_ended(struct pool_clone *c, int err)
{
	c->busy = false;
	if (err)
		c->err = err;
	clone_run(c);
}

/* ---- sharing --------------------------------------------------------------------------------------- */

static void place_add(struct place *out, struct pool_branch *b, struct pool_leaf *leaf,
	const struct pool_entry *e, uint16_t take)
{
	if (out->branch && !(out->branch == b && out->entry.gen == e->gen)) {
		out->spread = true;
		return;
	}
	out->branch = b;
	out->leaf = leaf;
	out->entry = *e;
	out->mask |= take;
}

/* As pool_map_resolve, with the entry. 0, -EAGAIN (w waits), or an error. */
static int place_find(
	struct pool *p, struct pool_branch *b, uint64_t chunk, struct pool_waiter *w, struct place *out)
{
	uint16_t need = POOL_ALL_BLOCKS;
	uint32_t gen = POOL_GEN_HEAD;

	memset(out, 0, sizeof(*out));
	for (; b && need && !out->spread; gen = b->parent_gen, b = b->parent) {
		const struct pool_entry *e = NULL;
		struct pool_entry unpacked;
		struct pool_leaf *leaf;
		unsigned count;
		int err = pool_map_leaf(&p->map, b, chunk, false, w, &leaf);

		if (err)
			return err;
		count = leaf ? pool_map_entries(leaf, chunk, &e, &unpacked) : 0;
		for (unsigned i = 0; i < count && need; i++) {
			if (e[i].gen > gen)
				continue;
			if (e[i].valid & need)
				place_add(out, b, leaf, &e[i], e[i].valid & need);
			need &= (uint16_t) ~(e[i].valid | e[i].zero);
		}
	}
	return 0;
}

/* May the entry be shared? 1, 0; -EAGAIN, or an error. */
static int place_shareable(struct pool_clone *c, const struct place *at, uint64_t chunk)
{
	const struct pool_lock *target = c->lock[0].lock;
	uint16_t silent = (uint16_t) ~(at->entry.valid | at->entry.zero);
	struct pool_places below;
	int err;

	if (at->spread || at->entry.split)
		return 0;
	if (at->branch != c->source && !(at->branch->id == target->branch && chunk == target->chunk) &&
		!pool_lock_idle(&c->pool->locks, at->branch->id, chunk))
		return 0;
	if (at->entry.shared || !silent)
		return 1;
	err = pool_map_resolve(&c->pool->map, at->branch, at->entry.gen, chunk, silent, &c->waiter, &below);
	for (unsigned i = 0; i < POOL_BLOCKS && !err; i++) {
		if (below.phys[i])
			return 0;
	}
	return err ? err : 1;
}

static int source_mark(struct pool_clone *c, const struct place *at, uint64_t chunk)
{
	struct pool *p = c->pool;
	struct pool_entry *e;

	if (at->entry.shared)
		return 0;
	e = pool_map_edit(&p->map, at->leaf, chunk, at->entry.gen);
	if (!e)
		return -ENOMEM;
	e->shared = 1;
	if (at->branch->blocks >= POOL_BLOCKS)
		at->branch->blocks -= POOL_BLOCKS; /* they count what is the branch's alone */
	pool_map_mark_dirty(&p->map, at->leaf, chunk, e);
	return 0;
}

/* The target's entry: the one its generation owns, or a new one. */
static int target_set(struct pool_clone *c, struct pool_leaf *leaf, uint64_t chunk, const struct place *at)
{
	struct pool *p = c->pool;
	struct pool_io *pio = pool_io_of(c->io);
	const struct pool_entry *e = NULL;
	struct pool_entry unpacked, *edit;
	unsigned count = pool_map_entries(leaf, chunk, &e, &unpacked);
	bool owned = count && pool_entry_owned(pio->branch, e[0].gen, pio->write.gen);
	uint32_t gen = owned ? e[0].gen : pio->write.gen;

	assert(count == 0 || e[0].gen <= pio->write.gen);
	if (!owned) {
		struct pool_entry fresh = {.gen = gen};

		if (pool_map_insert(&p->map, leaf, chunk, &fresh))
			return -ENOMEM;
	}
	edit = pool_map_edit(&p->map, leaf, chunk, gen);
	if (!edit)
		return -ENOMEM;
	pool_entry_let_go(&p->space, pio->branch, edit);
	edit->phys = at->entry.phys;
	edit->split = edit->held = 0;
	edit->shared = 1;
	edit->valid = at->mask;
	edit->zero = (uint16_t)~at->mask;
	pool_map_mark_dirty(&p->map, leaf, chunk, edit);
	pool_target_shed(p, leaf, chunk);
	return 0;
}

/* Under both locks; entered again after each wait. 1: shared; 0: to be copied; -EAGAIN, or an error. */
static int share_chunk(struct pool_clone *c)
{
	struct pool *p = c->pool;
	struct pool_io *pio = pool_io_of(c->io);
	uint64_t target = (c->io->offset + c->at) >> POOL_CHUNK_SHIFT;
	uint64_t source = (c->io->source_offset + c->at) >> POOL_CHUNK_SHIFT;
	struct pool_leaf *leaf;
	struct place at;
	int err = place_find(p, c->source, source, &c->waiter, &at);

	if (err)
		return err;
	if (!at.branch && !at.spread) {
		err = pool_unmap_blocks(p, pio->branch, pio->write.gen, target, POOL_ALL_BLOCKS, &c->waiter);
		return err ? err : 1;
	}
	err = place_shareable(c, &at, source);
	if (err <= 0)
		return err;
	/* Over and over onto entries that are dirty already it is the "unshare" records that fill the frame. */
	if (pool_dirty_full(&p->map) || p->space.unshared.count >= p->map.dirty_max) {
		if (p->space.unshared.count >= p->map.dirty_max)
			pool_commit_request(&p->commit);
		pool_alloc_wait(&p->space, &c->waiter);
		return -EAGAIN;
	}
	err = pool_map_leaf(&p->map, pio->branch, target, true, &c->waiter, &leaf);
	if (err)
		return err;
	/* Nothing waits from here on. */
	err = source_mark(c, &at, source);
	if (!err)
		err = target_set(c, leaf, target, &at);
	return err ? err : 1;
}

static void share_end(struct pool_clone *c, int result)
{
	struct pool *p = c->pool;

	pool_lock_release(&p->locks, &c->lock[1]);
	pool_lock_release(&p->locks, &c->lock[0]);
	pool_io_end_write(c->io);
	if (result == 0) {
		c->left = POOL_CHUNK_BYTES;
	} else if (result > 0) {
		c->at += POOL_CHUNK_BYTES;
		c->io->shared_bytes += POOL_CHUNK_BYTES;
	}
	step_ended(c, result < 0 ? result : 0);
}

static void share_run(struct pool_clone *c)
{
	int result = share_chunk(c);

	if (result != -EAGAIN)
		share_end(c, result);
}

static void share_woken(struct pool_waiter *w, int err)
{
	struct pool_clone *c = container_of(w, struct pool_clone, waiter);

	if (err)
		share_end(c, err);
	else
		share_run(c);
}

static void lock_granted(struct pool_clone *c)
{
	if (++c->granted == 2)
		share_run(c);
}

static void target_granted(struct pool_lock_wait *w)
{
	lock_granted(container_of(w, struct pool_clone, lock[0]));
}

static void source_granted(struct pool_lock_wait *w)
{
	lock_granted(container_of(w, struct pool_clone, lock[1]));
}

static void share_begin(struct pool_clone *c)
{
	struct pool *p = c->pool;
	uint64_t target = (c->io->offset + c->at) >> POOL_CHUNK_SHIFT, branch = pool_io_of(c->io)->branch->id;
	uint64_t source = (c->io->source_offset + c->at) >> POOL_CHUNK_SHIFT, from;

	c->busy = true;
	c->granted = 0;
	c->source = pool_disk_of(c->io->source)->branch;
	from = c->source->id;
	memset(c->lock, 0, sizeof(c->lock));
	c->lock[0].granted = target_granted;
	c->lock[1].granted = source_granted;
	c->waiter.wake = share_woken;
	pool_io_begin_write(c->io);
	pool_lock_enqueue(&p->locks, branch, target, &c->lock[0]);
	pool_lock_enqueue(&p->locks, from, source, &c->lock[1]);
	pool_lock_pump(&p->locks, branch, target);
	pool_lock_pump(&p->locks, from, source);
}

/* May a chunk be shared from here on? */
static bool at_whole_chunk(const struct pool_clone *c)
{
	uint64_t target = c->io->offset + c->at, source = c->io->source_offset + c->at;

	return ((target | source) & (POOL_CHUNK_BYTES - 1)) == 0 && c->io->len - c->at >= POOL_CHUNK_BYTES &&
	       pool_may_share(&c->pool->space);
}

/* ---- copying --------------------------------------------------------------------------------------- */

static void inner_done(struct store_io *inner, int err)
{
	struct pool_clone *c = container_of(inner, struct pool_clone, inner);

	if (!err && c->copy == COPY_CHANGE) {
		c->at += inner->len;
		c->left -= inner->len;
		c->copy = COPY_ASK;
	} else if (!err) {
		c->copy = c->copy == COPY_ASK && inner->mapped ? COPY_READ : COPY_CHANGE;
	}
	step_ended(c, err);
}

static void inner_submit(struct pool_clone *c, enum store_io_op op, uint64_t len)
{
	bool changes = store_op_changes(op);

	c->inner.op = op;
	c->inner.disk = changes ? c->io->disk : c->io->source;
	c->inner.offset = (changes ? c->io->offset : c->io->source_offset) + c->at;
	c->inner.len = len;
	c->inner.iov = &c->iov;
	c->inner.iov_count = 1;
	c->inner.done = inner_done;
	c->iov = (struct iovec){c->buf, (size_t)len};
	c->busy = true;
	pool_submit(&c->inner);
}

static void copy_step(struct pool_clone *c)
{
	uint64_t run = c->left < COPY_BYTES ? c->left : COPY_BYTES;

	switch (c->copy) {
	case COPY_ASK:
		inner_submit(c, STORE_MAPPED, run);
		break;
	case COPY_READ:
		if (!c->buf && posix_memalign((void **)&c->buf, STORE_ALIGN_BYTES, COPY_BYTES)) {
			c->buf = NULL;
			c->err = -ENOMEM;
			return;
		}
		inner_submit(c, STORE_READ, c->inner.run_bytes);
		break;
	case COPY_CHANGE:
		if (c->inner.op == STORE_READ)
			inner_submit(c, STORE_WRITE, c->inner.len);
		else
			inner_submit(c, STORE_UNMAP, c->inner.run_bytes);
		break;
	}
}

/* How much is copied before a chunk may be shared, if ever. */
static uint64_t copy_up_to(const struct pool_clone *c)
{
	uint64_t target = c->io->offset + c->at, source = c->io->source_offset + c->at,
		 rest = c->io->len - c->at;
	uint64_t chunk = POOL_CHUNK_BYTES - (target & (POOL_CHUNK_BYTES - 1));

	if (((target ^ source) & (POOL_CHUNK_BYTES - 1)) != 0 || !pool_may_share(&c->pool->space))
		return rest;
	return chunk < rest ? chunk : rest;
}

/* ---- the whole ------------------------------------------------------------------------------------- */

static void clone_end(struct pool_clone *c)
{
	struct store_io *io = c->io;
	int err = c->err;

	free(c->buf);
	free(c);
	if (!err && (io->flags & STORE_IO_FUA))
		pool_flush_wait(&pool_of(io->disk->store)->commit, io);
	else
		io->done(io, err);
}

static void turn_called(struct pool_call *call)
{
	step_ended(container_of(call, struct pool_clone, call), 0);
}

static bool clone_step(struct pool_loop *loop)
{
	struct pool_clone *c = container_of(loop, struct pool_clone, loop);

	if (!c->err && c->pool->base.latched)
		c->err = -EROFS;
	if (c->err || c->at == c->io->len) {
		clone_end(c);
		return false;
	}
	if (++c->turn % STEPS_AT_ONCE == 0) {
		c->busy = true;
		c->call.call = turn_called;
		c->pool->base.host->ops->call(c->pool->base.host, &c->call);
	} else if (c->left) {
		copy_step(c);
	} else if (at_whole_chunk(c)) {
		share_begin(c);
	} else {
		c->left = copy_up_to(c);
		c->copy = COPY_ASK;
	}
	loop->again = !c->busy;
	return true;
}

static void clone_run(struct pool_clone *c)
{
	pool_loop_run(&c->loop, clone_step);
}

void pool_clone(struct store_io *io)
{
	const struct pool_disk *from = pool_disk_of(io->source);
	struct pool_clone *c;

	if (!pool_io_accept(io))
		return;
	assert(io->source->store == io->disk->store && !from->pending);
	assert(io->source_offset % STORE_BLOCK_BYTES == 0);
	assert(io->len <= from->size_bytes && io->source_offset <= from->size_bytes - io->len);
	assert(io->source != io->disk || io->offset + io->len <= io->source_offset ||
		io->source_offset + io->len <= io->offset);
	io->shared_bytes = 0;
	c = calloc(1, sizeof(*c));
	if (!c) {
		io->done(io, -ENOMEM);
		return;
	}
	c->pool = pool_io_of(io)->pool;
	c->io = io;
	clone_run(c);
}
