/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hydration: a disk becomes independent of its branch's ancestors.
 * 1. Blocks that some viewer of the branch finds in an ancestor are copied into the branch. This goes chunk
 *    by chunk, under the chunk's exclusive lock.
 * 2. The disk lets go of the chunks that it shares with others through clones (unshare.c). Clones that are
 *    made meanwhile may be shared all the same.
 * 3. In one frame the branch loses its parent and the parent gets a to-do.
 *
 * Why no copy changes (docs/pool-format.md has the argument):
 * - What the parent shows is frozen. The copied blocks go into an entry that every viewer of the branch sees,
 *   and only blocks that no such entry has are copied. So no newer block is hidden, and each viewer finds the
 *   same data as before: the disk, and the copies that were or will be made of it.
 * - Once a chunk is done, nothing of it is looked for in an ancestor again: as long as there is a parent,
 *   blocks that are unmapped leave known zeros.
 * - In memory the branch keeps its parent until the frame is durable, so the parent keeps what it shows.
 * - All I/O that began before the last chunk was copied has ended before that frame. Else a slow read that
 *   found its data in an ancestor could read there what the ancestor's own disk has written since.
 *
 * Copies leave a share of the pool free for the clients (pool_alloc_spare). Below it they wait, and stop with
 * -ENOSPC as if the pool were full.
 *
 * The chunks to look at come from LMDB: those of which any ancestor has an entry. The ancestors are listed
 * once, at the start, before a flush brings all that they show into LMDB. Later the chain only gets shorter,
 * when a branch is spliced into its child or becomes independent itself. So in LMDB the entries of a chunk
 * always belong to a listed branch or to the branch itself.
 */
#include "array/store/pool/background/background.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/pool/base/loop.h"

#define CHUNKS_MAX  4u /* under way at a time */
#define BATCH       1024u
#define TICK_MS     50u
#define TICKS_PER_S (1000u / TICK_MS)

enum hydrate_phase {
	ANCESTORS,   /* what some viewer finds in an ancestor is copied */
	OWN,         /* the disk lets go of chunks that it shares */
	READERS,     /* waits for reads that began in an ancestor */
	DETACH,      /* the frame in which the branch loses its parent */
	INDEPENDENT, /* durably */
};

/* What the whole hydration waits for. Nothing else of it goes on meanwhile. */
enum hydrate_wait {
	WAIT_NOTHING,
	WAIT_COMMIT,  /* a frame, and LMDB if need be */
	WAIT_SCAN,    /* the next chunks to look at */
	WAIT_ROOM,    /* a free chunk */
	WAIT_READERS, /* the end of a grace period */
};

struct chunk_copy {
	struct pool_hydrate *h;
	bool busy, locked;
	bool waits_room; /* for a free chunk, without the lock */
	bool counted;    /* in pool_map.dirty_pending */
	bool held;       /* the epoch */
	bool fresh_phys; /* phys is in no entry yet */
	bool has_entry;  /* gen is that of an entry */
	bool moves;      /* its own blocks, which lie in a split chunk, go to phys, too */
	uint64_t chunk;
	struct pool_lock_wait lock;
	struct pool_waiter waiter; /* for a leaf, or without the lock for a free chunk */
	struct pool_leaf *leaf;    /* pinned */
	struct pool_places places;
	uint16_t mask, left; /* blocks to copy; still to read or to write */
	unsigned block, run;
	uint32_t gen;  /* of the entry that they go to */
	uint64_t phys; /* its chunk */
	unsigned epoch;
	uint8_t *bounce;
	struct pool_transfer transfer;
	struct iovec iov;
};

struct pool_hydrate {
	struct pool *pool;
	struct store_hydration *owner;
	struct pool_disk *disk;
	struct pool_branch *branch;
	struct list_node link; /* pool.hydrations */
	int err;               /* why it stops */
	enum hydrate_phase phase;
	enum hydrate_wait wait;
	bool ticking; /* no copy begins before the timer fires */
	bool call_queued;
	struct pool_loop loop;
	struct pool_call call;
	struct pool_timer timer;
	struct pool_waiter waiter;
	int64_t tokens; /* bytes that may be copied before the next tick */
	/* the ancestors, and the generation up to which each is seen */
	struct pool_map_key *chain;
	size_t chain_count;
	/* the batch; written by the job */
	struct pool_job job;
	uint64_t chunks[BATCH], next;
	size_t count, at;
	int job_err;
	/* of the to-do in the last frame; a parent that is gone by then does no harm */
	uint64_t parent_id;
	uint32_t parent_gen;
	unsigned busy;
	struct chunk_copy copy[CHUNKS_MAX];
	struct pool_unshare unshare;
};

static void step(struct pool_hydrate *h);
static void chunk_run(struct chunk_copy *c);

/* ---- one chunk ------------------------------------------------------------------------------------- */

static void chunk_release(struct chunk_copy *c)
{
	struct pool *p = c->h->pool;

	if (c->bounce)
		pool_bounce_put(p, c->bounce);
	c->bounce = NULL;
	if (c->held)
		pool_epoch_leave(&p->space, c->epoch);
	c->held = false;
	if (c->leaf)
		pool_leaf_unpin(c->leaf);
	c->leaf = NULL;
	if (c->fresh_phys)
		pool_free_chunk(&p->space, NULL, c->phys);
	c->fresh_phys = false;
	if (c->counted) {
		p->map.dirty_pending--;
		if (!list_empty(&p->space.alloc_waiters))
			pool_commit_request(&p->commit); /* they may have waited for this chunk */
	}
	c->counted = false;
	if (c->locked)
		pool_lock_release(&p->locks, &c->lock);
	c->locked = false;
}

static void chunk_end(struct chunk_copy *c, int err)
{
	struct pool_hydrate *h = c->h;

	chunk_release(c);
	c->busy = false;
	h->busy--;
	if (err && !h->err)
		h->err = err;
	step(h);
}

static void chunk_lock(struct chunk_copy *c)
{
	struct pool *p = c->h->pool;
	uint64_t branch = c->h->branch->id, chunk = c->chunk;

	pool_lock_enqueue(&p->locks, branch, chunk, &c->lock);
	pool_lock_pump(&p->locks, branch, chunk);
}

/* A chunk may have become free. */
static void chunk_room(struct pool_waiter *w, int err)
{
	struct chunk_copy *c = container_of(w, struct chunk_copy, waiter);

	c->waits_room = false;
	if (err || c->h->err)
		chunk_end(c, err);
	else
		chunk_lock(c);
}

/* Waits for room without the lock, so that neither a writer of the chunk nor reclaim waits for us. */
static void chunk_wait_room(struct chunk_copy *c)
{
	chunk_release(c);
	c->waiter.wake = chunk_room;
	c->waits_room = true;
	pool_alloc_wait(&c->h->pool->space, &c->waiter);
}

/* The blocks are written: the map says so at once for all of them. */
static int chunk_apply(struct chunk_copy *c)
{
	struct pool *p = c->h->pool;
	struct pool_entry *e;
	int err;

	if (!c->has_entry) {
		struct pool_entry fresh = {.gen = c->gen, .phys = c->phys};

		err = pool_map_insert(&p->map, c->leaf, c->chunk, &fresh);
		if (err)
			return err;
	}
	e = pool_map_edit(&p->map, c->leaf, c->chunk, c->gen);
	if (!e)
		return -ENOMEM;
	if (c->fresh_phys) {
		assert(c->moves ? e->split && !(e->valid & ~c->mask)
				: !e->valid && (!e->phys || !c->has_entry));
		if (c->moves)
			pool_entry_let_go(&p->space, c->h->branch, e);
		if (c->moves)
			e->valid = 0;
		e->phys = c->phys;
		e->split = e->held = 0;
		c->fresh_phys = false;
		c->h->branch->blocks += POOL_BLOCKS;
	}
	assert(e->phys == c->phys && !e->shared && !e->split && !((e->valid | e->zero) & c->mask));
	e->valid |= c->mask;
	pool_map_mark_dirty(&p->map, c->leaf, c->chunk, e);
	return 0;
}

static void transfer(struct chunk_copy *c, enum pool_op_kind kind, uint64_t phys,
	void (*done)(struct pool_transfer *t, int err))
{
	c->iov = (struct iovec){.iov_base = c->bounce + ((size_t)c->block << POOL_BLOCK_SHIFT),
		.iov_len = (size_t)c->run << POOL_BLOCK_SHIFT};
	c->transfer = (struct pool_transfer){
		.done = done, .kind = kind, .iov = &c->iov, .iov_count = 1, .len = (uint32_t)c->iov.iov_len};
	pool_data_submit(&c->h->pool->space, &c->transfer, phys, (uint64_t)c->block << POOL_BLOCK_SHIFT);
}

static void written(struct pool_transfer *t, int err);

static void write_next(struct chunk_copy *c)
{
	if (!c->left) {
		chunk_end(c, chunk_apply(c));
		return;
	}
	c->block = (unsigned)__builtin_ctz(c->left);
	c->run = pool_run_length(c->left, NULL, c->block);
	transfer(c, POOL_OP_WRITE, c->phys, written);
}

static void written(struct pool_transfer *t, int err)
{
	struct chunk_copy *c = container_of(t, struct chunk_copy, transfer);

	if (err) {
		chunk_end(c, err);
		return;
	}
	pool_data_written(&c->h->pool->space, c->phys);
	c->h->pool->copied_blocks += c->run;
	c->left &= (uint16_t)~pool_block_mask(c->block, c->run);
	write_next(c);
}

static void was_read(struct pool_transfer *t, int err);

static void read_next(struct chunk_copy *c)
{
	if (!c->left) {
		pool_epoch_leave(&c->h->pool->space, c->epoch);
		c->held = false;
		c->left = c->mask;
		write_next(c);
		return;
	}
	c->block = (unsigned)__builtin_ctz(c->left);
	c->run = pool_run_length(c->left, &c->places, c->block);
	transfer(c, POOL_OP_READ, c->places.phys[c->block], was_read);
}

static void was_read(struct pool_transfer *t, int err)
{
	struct chunk_copy *c = container_of(t, struct chunk_copy, transfer);

	if (t->damaged)
		pool_damage_found(c->h->pool, c->h->branch->disk ? c->h->branch->disk->id : 0, c->chunk, t);
	if (err) {
		chunk_end(c, err);
		return;
	}
	c->left &= (uint16_t)~pool_block_mask(c->block, c->run);
	read_next(c);
}

/* The entry for the copied blocks: the newest that every viewer sees, else a new one that all will see. */
static void choose_entry(struct chunk_copy *c)
{
	struct pool_branch *b = c->h->branch;
	uint32_t first = pool_branch_first_viewer(b);
	const struct pool_entry *e = NULL;
	struct pool_entry unpacked;
	unsigned count = pool_map_entries(c->leaf, c->chunk, &e, &unpacked);

	c->gen = first;
	c->phys = 0;
	c->has_entry = c->moves = false;
	for (unsigned i = 0; i < count && !c->has_entry; i++) {
		if (e[i].gen > first)
			continue;
		c->has_entry = true;
		c->gen = e[i].gen;
		c->phys = e[i].phys;
		assert(!e[i].shared); /* a shared entry leaves nothing to an ancestor (clone.c) */
		if (!e[i].split)
			continue;
		c->phys = 0;
		c->moves = true;
		c->mask |= e[i].valid;
		for (uint16_t m = e[i].valid; m; m &= (uint16_t)(m - 1))
			c->places.phys[__builtin_ctz(m)] = e[i].phys;
	}
	if (count == 0) { /* a write that waits for this lock must not find a newer one */
		uint32_t oldest = pool_branch_oldest_write(b);

		if (oldest < c->gen)
			c->gen = oldest;
	}
}

/* 0: copying has begun; -EAGAIN: waits for a leaf; -EBUSY: there is no room now; 1: nothing to do. */
static int chunk_begin(struct chunk_copy *c)
{
	struct pool_hydrate *h = c->h;
	struct pool *p = h->pool;
	struct pool_branch *b = h->branch;
	uint16_t need;
	int err = 0;

	if (!c->leaf) {
		err = pool_map_leaf(&p->map, b, c->chunk, true, &c->waiter, &c->leaf);
		if (err) {
			c->leaf = NULL;
			return err;
		}
		pool_leaf_pin(c->leaf);
	}
	need = (uint16_t)~pool_map_covered(c->leaf, c->chunk);
	if (!need || !b->parent)
		return 1;
	err = pool_map_resolve(&p->map, b->parent, b->parent_gen, c->chunk, need, &c->waiter, &c->places);
	if (err)
		return err;
	c->mask = 0;
	for (unsigned i = 0; i < POOL_BLOCKS; i++)
		c->mask |= (uint16_t)((c->places.phys[i] != 0) << i);
	if (!c->mask)
		return 1;
	choose_entry(c);
	if (pool_dirty_full(&p->map))
		return -EBUSY;
	if (!c->phys) {
		err = pool_alloc_spare(&p->space, &c->phys);
		if (err)
			return err == -EAGAIN ? -EBUSY : err;
		c->fresh_phys = true;
	}
	c->bounce = pool_bounce_get(p);
	if (!c->bounce)
		return -ENOMEM;
	c->counted = true;
	p->map.dirty_pending++;
	c->held = true;
	c->epoch = pool_epoch_enter(&p->space);
	h->tokens -= (int64_t)__builtin_popcount(c->mask) << POOL_BLOCK_SHIFT;
	c->left = c->mask;
	return 0;
}

/* Under the lock. Called again after each wait for a leaf. */
static void chunk_run(struct chunk_copy *c)
{
	int err = c->h->pool->base.latched ? -EROFS : chunk_begin(c);

	if (err == -EAGAIN)
		return;
	if (err == -EBUSY && !c->h->err) /* after an error nobody would wake it */
		chunk_wait_room(c);
	else if (err)
		chunk_end(c, err > 0 || err == -EBUSY ? 0 : err);
	else
		read_next(c);
}

static void chunk_leaf(struct pool_waiter *w, int err)
{
	struct chunk_copy *c = container_of(w, struct chunk_copy, waiter);

	if (err)
		chunk_end(c, err);
	else
		chunk_run(c);
}

static void chunk_granted(struct pool_lock_wait *w)
{
	struct chunk_copy *c = container_of(w, struct chunk_copy, lock);

	c->locked = true;
	c->waiter.wake = chunk_leaf;
	if (c->h->err)
		chunk_end(c, 0);
	else
		chunk_run(c);
}

static void chunk_start(struct pool_hydrate *h, uint64_t chunk)
{
	struct chunk_copy *c = h->copy;

	while (c->busy)
		c++;
	memset(c, 0, sizeof(*c));
	c->h = h;
	c->busy = true;
	c->chunk = chunk;
	c->lock.granted = chunk_granted;
	h->busy++;
	chunk_lock(c);
}

/* ---- frames ---------------------------------------------------------------------------------------- */

static int commit(struct pool_hydrate *h, struct pool_txn *t, void (*done)(void *arg, int err))
{
	if (!t)
		t = pool_txn_new(&h->pool->commit);
	if (!t)
		return -ENOMEM;
	h->wait = WAIT_COMMIT;
	pool_txn_ride(t, done, h);
	return 0;
}

static void flushed(void *arg, int err)
{
	struct pool_hydrate *h = arg;

	h->wait = WAIT_NOTHING;
	if (err && !h->err)
		h->err = err;
	step(h);
}

/* The records as they are when the frame is made: the branch may have been cut, the parent spliced. */
static void detach_refresh(struct pool_rider *rider)
{
	struct pool_txn *t = container_of(rider, struct pool_txn, rider);
	struct pool_hydrate *h = t->arg;
	const struct pool_branch *b = h->branch;
	struct pool_record r = {.type = POOL_RECORD_BRANCH_PUT};
	size_t at;

	if (b->parent) {
		h->parent_id = b->parent->id;
		h->parent_gen = b->parent_gen;
	}
	r.branch.id = b->id;
	r.branch.value = (struct pool_branch_value){.gen = b->gen, .blocks = b->blocks};
	assert(h->parent_id);
	at = pool_record_encode(t->rider.records.data, &r);
	r = (struct pool_record){
		.type = POOL_RECORD_TODO_PUT, .todo = {.branch = h->parent_id, .gen = h->parent_gen}};
	at += pool_record_encode(t->rider.records.data + at, &r);
	assert(at == t->rider.records.len);
}

static void detached(void *arg, int err)
{
	struct pool_hydrate *h = arg;
	struct pool *p = h->pool;
	struct pool_branch *b = h->branch, *parent = b->parent;

	if (!err) {
		h->phase = INDEPENDENT;
		pool_todo_logged(&p->commit.todos, h->parent_id, h->parent_gen);
		if (parent) {
			if (parent->id != h->parent_id || b->parent_gen != h->parent_gen)
				pool_todo_add(
					&p->commit.todos, parent->id, b->parent_gen); /* spliced since */
			pool_branch_detach(b);
			b->parent_gen = 0;
		}
		pool_reclaim_scan(p);
	}
	flushed(h, err);
}

/* Everything is the branch's own. */
static int detach(struct pool_hydrate *h)
{
	struct pool_txn *t = pool_txn_new(&h->pool->commit);
	struct pool_record r = {.type = POOL_RECORD_BRANCH_PUT};

	if (!t)
		return -ENOMEM;
	pool_buffer_record(&t->rider.records, &r);
	r.type = POOL_RECORD_TODO_PUT;
	pool_buffer_record(&t->rider.records, &r);
	t->rider.refresh = detach_refresh;
	return commit(h, t, detached);
}

/* ---- shared chunks --------------------------------------------------------------------------------- */

static void unshared(struct pool_unshare *u, int err)
{
	struct pool_hydrate *h = container_of(u, struct pool_hydrate, unshare);

	h->busy--;
	h->tokens -= (int64_t)u->copied;
	if (err && !h->err)
		h->err = err;
	step(h);
}

/* The chunks that the branch's shared entries are of. */
static int scan_own(struct pool_hydrate *h)
{
	struct pool_map_key from = {.branch = h->branch->id, .chunk = h->next, .gen = UINT32_MAX};
	struct pool_meta_entry *e = NULL;
	size_t n = 0;
	int err = pool_meta_scan_branch(&h->pool->meta, &from, BATCH, &e, &n);
	uint64_t last = n ? e[n - 1].key.chunk : 0;
	bool one = n == BATCH && e[0].key.chunk == last;
	bool whole = n < BATCH || one; /* else the last one's entries may go on */

	h->count = 0;
	for (size_t i = 0; i < n && !err && (whole || e[i].key.chunk < last); i++) {
		uint64_t chunk = e[i].key.chunk;

		if ((e[i].value.shared || one) && !(h->count && h->chunks[h->count - 1] == chunk))
			h->chunks[h->count++] = chunk;
	}
	h->next = n < BATCH ? UINT64_MAX : whole ? last + 1 : last;
	free(e);
	return err;
}

static void own_settled(struct pool_waiter *w, int err)
{
	struct pool_hydrate *h = container_of(w, struct pool_hydrate, waiter);

	h->next = h->pool->space.refs_count ? 0 : UINT64_MAX;
	flushed(h, err);
}

static void own_flushed(void *arg, int err)
{
	struct pool_hydrate *h = arg;

	if (err || h->err) {
		flushed(h, err);
		return;
	}
	h->waiter.wake = own_settled;
	pool_applied_wait(&h->pool->commit.checkpoint, &h->waiter);
}

/* A chunk may have become free. */
static void own_room(struct pool_waiter *w, int err)
{
	flushed(container_of(w, struct pool_hydrate, waiter), err);
}

/* Is there room to spare for a chunk? If not, it is waited for, or the hydration ends. */
static bool own_may_copy(struct pool_hydrate *h)
{
	int err = pool_alloc_spare_room(&h->pool->space) ? 0 : pool_alloc_more(&h->pool->space);

	if (err == -EAGAIN) {
		h->wait = WAIT_ROOM;
		h->waiter.wake = own_room;
		pool_alloc_wait(&h->pool->space, &h->waiter);
	} else if (err) {
		h->err = err;
	}
	return !err;
}

/* There was no ancestor; what was copied is durable. */
static void own_durable(void *arg, int err)
{
	struct pool_hydrate *h = arg;

	if (!err)
		h->phase = INDEPENDENT;
	flushed(h, err);
}

/* ---- what comes next ------------------------------------------------------------------------------- */

static void called(struct pool_call *call)
{
	struct pool_hydrate *h = container_of(call, struct pool_hydrate, call);

	h->call_queued = false;
	step(h);
}

static void step_later(struct pool_hydrate *h)
{
	if (h->call_queued)
		return;
	h->call_queued = true;
	h->call.call = called;
	h->pool->base.host->ops->call(h->pool->base.host, &h->call);
}

/* In the middle of the end of some I/O. */
static void readers_gone(struct pool_waiter *w, int err)
{
	struct pool_hydrate *h = container_of(w, struct pool_hydrate, waiter);

	(void)err;
	h->wait = WAIT_NOTHING;
	h->phase = DETACH;
	step_later(h);
}

static void scan_work(struct pool_job *job)
{
	struct pool_hydrate *h = container_of(job, struct pool_hydrate, job);

	h->job_err = h->phase == OWN ? scan_own(h)
				     : pool_meta_scan_chunks(&h->pool->meta, h->chain, h->chain_count,
					       h->next, BATCH, h->chunks, &h->count, &h->next);
}

static void scanned(struct pool_job *job)
{
	struct pool_hydrate *h = container_of(job, struct pool_hydrate, job);

	h->at = 0;
	if (h->job_err)
		h->count = 0;
	flushed(h, h->job_err);
}

static void settled(struct pool_waiter *w, int err)
{
	flushed(container_of(w, struct pool_hydrate, waiter), err);
}

/* LMDB gets all that the ancestors show. */
static void start_flushed(void *arg, int err)
{
	struct pool_hydrate *h = arg;

	if (err || h->err || !h->branch->parent) {
		h->next = UINT64_MAX; /* no ancestors */
		flushed(h, err);
		return;
	}
	h->waiter.wake = settled;
	pool_applied_wait(&h->pool->commit.checkpoint, &h->waiter);
}

static void tick(struct pool_timer *timer)
{
	struct pool_hydrate *h = container_of(timer, struct pool_hydrate, timer);
	uint64_t more = h->owner->bytes_per_s / TICKS_PER_S + 1;

	h->ticking = false;
	h->tokens += (int64_t)(more < INT64_MAX / 2 ? more : INT64_MAX / 2);
	if (h->tokens > (int64_t)more)
		h->tokens = (int64_t)more;
	step(h);
}

/* May a chunk be copied now? If not, something will call the step again. */
static bool may_start(struct pool_hydrate *h)
{
	struct pool *p = h->pool;

	if (h->busy == CHUNKS_MAX || h->wait || h->ticking)
		return false;
	if (!h->owner->bytes_per_s)
		h->tokens = 1;
	if (h->tokens <= 0) {
		h->ticking = true;
		h->timer.fire = tick;
		p->base.host->ops->timer_arm(p->base.host, &h->timer, TICK_MS);
		return false;
	}
	/* Half of what may wait for a frame is left to the clients. */
	if (p->map.dirty_count + p->map.dirty_pending >= p->map.dirty_max / 2) {
		int err = commit(h, NULL, flushed);

		if (err)
			h->err = err;
		return false;
	}
	return true;
}

static void progress(struct pool_hydrate *h)
{
	struct store_hydration *owner = h->owner;
	uint64_t first = h->at < h->count ? h->chunks[h->at] : h->next, size = h->disk->size_bytes;
	uint64_t before = owner->passed_bytes;

	for (unsigned i = 0; i < CHUNKS_MAX; i++) {
		if (h->copy[i].busy && h->copy[i].chunk < first)
			first = h->copy[i].chunk;
	}
	owner->total_bytes = size;
	if (h->phase == INDEPENDENT)
		owner->passed_bytes = size;
	else if (first > size >> POOL_CHUNK_SHIFT)
		; /* nothing new */
	else if (first << POOL_CHUNK_SHIFT > owner->passed_bytes)
		owner->passed_bytes = first << POOL_CHUNK_SHIFT;
	if (owner->passed && owner->passed_bytes > before)
		owner->passed(owner);
}

static void end(struct pool_hydrate *h)
{
	struct store_hydration *owner = h->owner;
	struct pool *p = h->pool;
	int err = h->phase == INDEPENDENT ? 0 : h->err;

	p->base.host->ops->timer_disarm(p->base.host, &h->timer);
	list_remove(&h->link);
	h->disk->hydration = NULL;
	free(h->chain);
	free(h);
	owner->priv = NULL;
	owner->done(owner, err == -EIO && p->base.latched ? -EROFS : err);
	pool_ask_ended(&p->base);
}

/* The next chunk of the batch. False: not now. */
static bool chunk_next(struct pool_hydrate *h)
{
	if ((h->phase == OWN && h->busy) || !may_start(h))
		return false;
	if (h->phase != OWN) {
		chunk_start(h, h->chunks[h->at++]);
		return true;
	}
	if (!own_may_copy(h))
		return false;
	h->busy++;
	pool_unshare_chunk(&h->unshare, h->pool, h->disk, h->chunks[h->at++], unshared);
	return true;
}

static void scan_start(struct pool_hydrate *h)
{
	h->wait = WAIT_SCAN;
	h->job.work = scan_work;
	h->job.done = scanned;
	h->pool->base.host->ops->work(h->pool->base.host, &h->job, POOL_QUEUE_WORKERS);
}

static void phase_next(struct pool_hydrate *h)
{
	int err;

	if (h->phase == ANCESTORS) {
		h->phase = OWN;
		err = commit(h, NULL, own_flushed);
	} else if (h->phase == OWN && h->branch->parent) {
		h->phase = READERS;
		h->wait = WAIT_READERS;
		h->waiter.wake = readers_gone;
		pool_grace_wait(&h->pool->space, &h->waiter);
		return;
	} else {
		h->phase = DETACH;
		err = h->branch->parent ? detach(h) : commit(h, NULL, own_durable);
	}
	if (err)
		h->err = err;
}

/* True: something was done that leaves more to do. */
static bool step_once(struct pool_hydrate *h)
{
	if (h->at < h->count)
		return chunk_next(h);
	if (h->wait)
		return false;
	if (h->next != UINT64_MAX)
		scan_start(h);
	else if (!h->busy)
		phase_next(h);
	return false;
}

static bool ended(const struct pool_hydrate *h)
{
	return h->err || h->phase == INDEPENDENT;
}

static bool steps(struct pool_loop *loop)
{
	struct pool_hydrate *h = container_of(loop, struct pool_hydrate, loop);

	while (!ended(h) && step_once(h))
		;
	return true;
}

/* Goes on as far as it can; ends the hydration when nothing is under way any more. */
static void step(struct pool_hydrate *h)
{
	bool inner = h->loop.running;

	pool_loop_run(&h->loop, steps);
	if (inner)
		return;
	progress(h);
	if (ended(h) && !h->busy && !h->wait && !h->call_queued)
		end(h);
}

/* ---- the operations -------------------------------------------------------------------------------- */

static void list_chain(struct pool_hydrate *h)
{
	const struct pool_branch *b = h->branch;

	if (b->parent) {
		h->parent_id = b->parent->id;
		h->parent_gen = b->parent_gen;
	}
	for (; b->parent; b = b->parent)
		h->chain_count++;
	h->chain = pool_xrealloc(NULL, (h->chain_count + 1) * sizeof(h->chain[0]));
	h->chain_count = 0;
	for (b = h->branch; b->parent; b = b->parent)
		h->chain[h->chain_count++] =
			(struct pool_map_key){.branch = b->parent->id, .gen = b->parent_gen};
}

void pool_hydrate_start(struct store_hydration *owner)
{
	struct pool_disk *d = pool_disk_of(owner->disk);
	struct pool *p = pool_of(d->base.store);
	struct pool_hydrate *h = calloc(1, sizeof(*h));
	int err;

	assert(!d->pending && !d->hydration);
	owner->priv = h;
	owner->passed_bytes = 0;
	owner->total_bytes = d->size_bytes;
	if (!h) {
		owner->done(owner, -ENOMEM);
		return;
	}
	h->pool = p;
	h->owner = owner;
	h->disk = d;
	h->branch = d->branch;
	h->tokens = 1;
	d->hydration = h;
	list_push_back(&p->hydrations, &h->link);
	list_chain(h);
	h->loop.running = true; /* until all is set up: done may be called from inside */
	err = commit(h, NULL, start_flushed);
	if (err)
		h->err = err;
	h->loop.running = false;
	step(h);
}

static void cancel(struct pool_hydrate *h)
{
	struct pool *p = h->pool;

	if (!h->err)
		h->err = -ECANCELED;
	p->base.host->ops->timer_disarm(p->base.host, &h->timer);
	h->ticking = false;
	for (unsigned i = 0; i < CHUNKS_MAX; i++) {
		struct chunk_copy *c = &h->copy[i];

		/* It may be long before there is room. */
		if (c->waits_room) {
			list_remove(&c->waiter.link);
			c->busy = c->waits_room = false;
			h->busy--;
		}
	}
	/* It may be long before a slow read ends. */
	if (h->wait == WAIT_ROOM || h->wait == WAIT_READERS) {
		list_remove(&h->waiter.link);
		h->wait = WAIT_NOTHING;
	}
	step_later(h);
}

void pool_hydrate_cancel(struct store_hydration *owner)
{
	assert(owner->priv);
	cancel(owner->priv);
}

void pool_hydrate_stop(struct pool *p)
{
	list_for_each (n, &p->hydrations)
		cancel(container_of(n, struct pool_hydrate, link));
}
