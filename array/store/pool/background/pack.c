/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing: what a disk has of one chunk in many split chunks is brought together in one, so that who reads it again asks one
 * place, not ten. Reads of whole chunks that found many places say where (pool_pack_note); what nobody reads so is left alone.
 *
 * - Nothing is copied that stays where it was: each entry moves as a whole, block n to block n, and is seen by whom it was seen
 *   by. So it costs no room but what it leaves behind: blocks of split chunks that are free for a while, until small writes, or
 *   what is packed next, take them. A split chunk more is only begun while these are few (pool_split_spare); then
 *   what has room in those that there are is brought together, in parts if need be.
 * - What has most of the chunk already stays where it is: the smallest places become one, and no more of them than needed.
 * - It is a move as a write's is (target.c): under the chunk's exclusive lock the blocks are read and written to blocks that nobody
 *   has; then, at one instant, all entries have the new place and the old blocks are freed: one frame has all of it, after the data's
 *   flush. A crash before it finds the old places as they were.
 * - It waits for nobody: where somebody is at work on the chunk, the map is not in memory, or room is short, it is left. So it never
 *   has what a writer, or reclaim, waits for, but for the length of its own transfers.
 * - Branches are freed, and their leaves, by reclaim alone, which does nothing while a chunk is being packed, and the other way round.
 */
#include "array/store/pool/background/background.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/pool/background/pace.h"

#define RANGES     32u /* of chunks that were noted, of different streams */
#define LOOKS_MAX  64u /* chunks in one call */
#define ROOM_SHARE 32u /* of the pool: with less it leaves the room to others */
#define FULL_AFTER 64u /* chunks in a row that fit nowhere: then nobody looks for a place for a while */
#define FULL_NS    UINT64_C(10000000000)

struct pool_pack {
	struct pool *pool;
	struct pool_pace pace;
	struct pool_call call;
	struct pack_range {
		uint64_t branch, chunk, end;
	} range[RANGES];
	unsigned ranges;
	unsigned few;    /* requests for a chunk */
	uint64_t packed; /* chunks, for tests */
	bool busy, stopping;
	bool again;             /* only a part of the chunk at hand could be packed */
	unsigned unfit;         /* chunks in a row that fitted nowhere */
	uint64_t full_until_ns; /* 0: not full */
	/* the chunk at hand */
	struct pool_branch *branch;
	uint64_t chunk;
	struct pool_leaf *leaf; /* pinned */
	struct pool_lock_wait lock;
	uint8_t *bounce;
	struct pack_place {
		uint64_t phys;
		uint16_t shows, valid; /* blocks that the disk finds there; all that those entries have */
		bool movable, moves;
	} place[POOL_BLOCKS];
	unsigned places;
	struct pack_part {
		uint32_t gen;
		uint16_t valid;
		uint64_t phys;
	} part[POOL_BLOCKS];
	unsigned parts;
	uint16_t all; /* blocks of the parts */
	uint64_t to;
	struct pack_copy {
		struct pool_pack *pack;
		struct pool_transfer transfer;
		struct iovec iov;
	} copy[POOL_BLOCKS];
	unsigned under_way; /* transfers, and 1 for the one who starts them */
	int err;
};

/* ---- life ------------------------------------------------------------------------------------------- */

struct pool_pack *pool_pack_new(struct pool *p)
{
	struct pool_pack *k = calloc(1, sizeof(*k));

	if (k) {
		k->pool = k->pace.pool = p;
		k->few = POOL_REQUESTS_FEW;
	}
	return k;
}

void pool_pack_free(struct pool_pack *k)
{
	if (!k)
		return;
	pool_pace_stop(&k->pace, false);
	free(k);
}

bool pool_pack_busy(const struct pool *p)
{
	return p->pack->busy;
}

bool pool_pack_rests(const struct pool *p)
{
	return p->pack->pace.resting;
}

void pool_pack_stop(struct pool *p)
{
	p->pack->stopping = true;
	p->pack->ranges = 0;
	pool_pace_stop(&p->pack->pace, false);
}

uint64_t pool_pack_count(const struct pool *p)
{
	return p->pack->packed;
}

void pool_pack_few(struct pool *p, unsigned few)
{
	p->pack->few = few;
}

/* ---- what was noted --------------------------------------------------------------------------------- */

static void note(struct pool_pack *k, uint64_t branch, uint64_t chunk)
{
	for (unsigned i = 0; i < k->ranges; i++) {
		struct pack_range *r = &k->range[i];

		if (r->branch != branch || chunk < r->chunk || chunk > r->end)
			continue;
		if (chunk == r->end)
			r->end++;
		return;
	}
	if (k->ranges < RANGES)
		k->range[k->ranges++] =
			(struct pack_range){.branch = branch, .chunk = chunk, .end = chunk + 1};
}

static uint64_t now_ns(const struct pool_pack *k)
{
	return k->pool->base.host->ops->now_ns(k->pool->base.host);
}

static bool is_full(struct pool_pack *k)
{
	if (k->full_until_ns && now_ns(k) >= k->full_until_ns)
		k->full_until_ns = 0;
	return k->full_until_ns;
}

/* The chunk at hand fits nowhere. */
static void unfit(struct pool_pack *k)
{
	if (++k->unfit < FULL_AFTER)
		return;
	k->unfit = 0;
	k->full_until_ns = now_ns(k) + FULL_NS;
	k->ranges = 0; /* who reads on notes it again */
}

void pool_pack_note(struct pool *p, const struct pool_branch *b, uint64_t chunk)
{
	if (is_full(p->pack))
		return;
	for (; b; b = b->parent) { /* a copy's reader: its original's, too */
		if (b->disk)
			note(p->pack, b->id, chunk);
	}
	pool_pack_kick(p);
}

/* The next one, or NULL as its branch. False: there is none. */
static bool take_noted(struct pool_pack *k, struct pool_branch **branch, uint64_t *chunk)
{
	struct pack_range *r = &k->range[0];

	if (!k->ranges)
		return false;
	*branch = pool_branch_find(&k->pool->map, r->branch);
	*chunk = r->chunk++;
	if (!*branch || r->chunk == r->end)
		memmove(r, r + 1, --k->ranges * sizeof(*r));
	return true;
}

/* ---- the chunk at hand ------------------------------------------------------------------------------ */

static void chunk_end(struct pool_pack *k)
{
	struct pool *p = k->pool;

	if (k->bounce)
		pool_bounce_put(p, k->bounce);
	k->bounce = NULL;
	pool_leaf_unpin(k->leaf);
	k->leaf = NULL;
	pool_lock_release(&p->locks, &k->lock);
	k->busy = false;
	pool_reclaim_kick(p); /* it may have waited */
	pool_pack_kick(p);
	pool_ask_ended(&p->base);
}

/* All blocks are in the new place. */
static void parts_moved(struct pool_pack *k)
{
	struct pool *p = k->pool;

	pool_data_written(&p->space, k->to);
	for (unsigned i = 0; i < k->parts; i++) {
		const struct pack_part *part = &k->part[i];
		struct pool_entry *e = pool_map_edit(&p->map, k->leaf, k->chunk, part->gen);

		assert(e && e->split && e->phys == part->phys && e->valid == part->valid);
		pool_entry_let_go(&p->space, k->branch, e);
		e->phys = k->to;
		e->held = e->valid;
		k->branch->blocks += pool_entry_blocks(e);
		pool_map_mark_dirty(&p->map, k->leaf, k->chunk, e);
	}
	p->copied_blocks += (unsigned)__builtin_popcount(k->all);
	k->packed++;
	if (k->again)
		note(k, k->branch->id, k->chunk);
}

static void give_back(struct pool_pack *k)
{
	struct pool_entry place = {.phys = k->to, .split = 1, .held = k->all};

	pool_entry_let_go(&k->pool->space, NULL, &place);
}

static void copy_begin(struct pool_pack *k, unsigned at, enum pool_op_kind kind, uint64_t phys, uint16_t mask,
	void (*done)(struct pool_transfer *t, int err))
{
	struct pack_copy *c = &k->copy[at];
	unsigned first = (unsigned)__builtin_ctz(mask), run = pool_run_length(mask, NULL, first);

	c->pack = k;
	c->iov = (struct iovec){.iov_base = k->bounce + ((size_t)first << POOL_BLOCK_SHIFT),
		.iov_len = (size_t)run << POOL_BLOCK_SHIFT};
	c->transfer = (struct pool_transfer){
		.done = done, .kind = kind, .iov = &c->iov, .iov_count = 1, .len = (uint32_t)c->iov.iov_len};
	k->under_way++;
	pool_data_submit(&k->pool->space, &c->transfer, phys, (uint64_t)first << POOL_BLOCK_SHIFT);
}

/* One transfer for each run of the blocks in `mask`; *at: the first free copy. */
static void copy_runs(struct pool_pack *k, unsigned *at, enum pool_op_kind kind, uint64_t phys, uint16_t mask,
	void (*done)(struct pool_transfer *t, int err))
{
	while (mask) {
		unsigned first = (unsigned)__builtin_ctz(mask);
		uint16_t run = pool_block_mask(first, pool_run_length(mask, NULL, first));

		copy_begin(k, (*at)++, kind, phys, run, done);
		mask &= (uint16_t)~run;
	}
}

static void written_all(struct pool_pack *k)
{
	if (--k->under_way)
		return;
	if (k->err)
		give_back(k);
	else
		parts_moved(k);
	chunk_end(k);
}

static void written(struct pool_transfer *t, int err)
{
	struct pool_pack *k = container_of(t, struct pack_copy, transfer)->pack;

	k->err = k->err ? k->err : err;
	written_all(k);
}

static void read_all(struct pool_pack *k)
{
	unsigned at = 0;

	if (--k->under_way)
		return;
	if (k->err) { /* it stays as it is */
		give_back(k);
		chunk_end(k);
		return;
	}
	k->under_way = 1;
	copy_runs(k, &at, POOL_OP_WRITE, k->to, k->all, written);
	written_all(k);
}

static void was_read(struct pool_transfer *t, int err)
{
	struct pool_pack *k = container_of(t, struct pack_copy, transfer)->pack;

	if (t->damaged)
		pool_damage_found(k->pool, k->branch->disk ? k->branch->disk->id : 0, k->chunk, t);
	k->err = k->err ? k->err : err;
	read_all(k);
}

/* Nobody else is at work on the chunk, and nobody will be. */
static void granted(struct pool_lock_wait *w)
{
	struct pool_pack *k = container_of(w, struct pool_pack, lock);
	unsigned at = 0;

	assert(w->exclusive);
	k->under_way = 1;
	k->err = 0;
	for (unsigned i = 0; i < k->parts; i++)
		copy_runs(k, &at, POOL_OP_READ, k->part[i].phys, k->part[i].valid, was_read);
	read_all(k);
}

/* ---- which -------------------------------------------------------------------------------------------- */

static int fewer_first(const void *a, const void *b)
{
	const struct pack_place *x = a, *y = b;
	int more = __builtin_popcount(x->shows) - __builtin_popcount(y->shows);

	return more ? more : (x->phys > y->phys) - (x->phys < y->phys);
}

/* Where the disk finds the chunk's blocks; the places with the fewest first. */
static void find_places(struct pool_pack *k, const struct pool_entry *e, unsigned count)
{
	uint16_t seen = 0;

	k->places = 0;
	for (unsigned i = 0; i < count && seen != POOL_ALL_BLOCKS; i++) {
		uint16_t shows = e[i].valid & (uint16_t)~seen;
		unsigned at = 0;

		seen |= e[i].valid | e[i].zero;
		if (!shows)
			continue;
		while (at < k->places && k->place[at].phys != e[i].phys)
			at++;
		if (at == k->places)
			k->place[k->places++] = (struct pack_place){.phys = e[i].phys, .movable = true};
		k->place[at].shows |= shows;
		k->place[at].valid |= e[i].valid;
		if (!e[i].split || e[i].held != e[i].valid)
			k->place[at].movable = false;
	}
	qsort(k->place, k->places, sizeof(k->place[0]), fewer_first);
}

/* Requests for blocks of one place. */
static unsigned requests(uint16_t mask)
{
	return pool_read_gathers(mask) ? 1 : (unsigned)__builtin_popcount(mask & (uint16_t) ~(mask << 1));
}

/* Those that become one, within blocks that it can have: the smallest, and no more of them than it takes until few requests are
 * left. False: that saves too little. */
static bool choose_places(struct pool_pack *k, uint16_t within)
{
	unsigned before = 0, now, least, stop = 0;
	uint16_t shows = 0, all = 0;

	for (unsigned i = 0; i < k->places; i++)
		before += requests(k->place[i].shows);
	now = least = before;
	k->all = 0;
	for (unsigned i = 0; i < k->places && least >= k->few; i++) {
		struct pack_place *at = &k->place[i];

		at->moves = at->movable && !(at->valid & (all | (uint16_t)~within));
		if (!at->moves)
			continue;
		now -= requests(at->shows);
		shows |= at->shows;
		all |= at->valid;
		if (now + requests(shows) < least) {
			least = now + requests(shows);
			stop = i + 1;
			k->all = all;
		}
	}
	for (unsigned i = stop; i < k->places; i++)
		k->place[i].moves = false;
	return before > k->few && before - least >= (k->few + 1) / 2;
}

/* Takes the new place: one that the chunk has anyway, room that is there, a split chunk more, or room for a part of it. */
static bool take_place(struct pool_pack *k)
{
	struct pool_space *s = &k->pool->space;

	k->again = false;
	for (unsigned i = k->places; i--;) {
		if (k->place[i].movable && !k->place[i].moves &&
			pool_split_take(s, k->place[i].phys, k->all)) {
			k->to = k->place[i].phys;
			return true;
		}
	}
	if (pool_split_spare(s))
		return pool_split_alloc(s, k->all, &k->to) == 0;
	k->again = true;
	return choose_places(k, pool_split_best(s, k->all, &k->to)) && pool_split_take(s, k->to, k->all);
}

/* The entries that move, newest first. */
static void choose_parts(struct pool_pack *k, const struct pool_entry *e, unsigned count)
{
	uint16_t seen = 0;

	k->parts = 0;
	for (unsigned i = 0; i < count && seen != POOL_ALL_BLOCKS; i++) {
		bool shows = e[i].valid & (uint16_t)~seen;

		seen |= e[i].valid | e[i].zero;
		for (unsigned j = 0; shows && j < k->places; j++) {
			if (k->place[j].moves && k->place[j].phys == e[i].phys)
				k->part[k->parts++] = (struct pack_part){
					.gen = e[i].gen, .valid = e[i].valid, .phys = e[i].phys};
		}
	}
}

/* False: the chunk stays as it is. */
static bool chunk_begin(struct pool_pack *k, struct pool_branch *b, uint64_t chunk)
{
	struct pool *p = k->pool;
	const struct pool_entry *e = NULL;
	struct pool_entry unpacked;
	struct pool_leaf *leaf = NULL;
	unsigned count;

	if (!b || !b->disk || pool_map_leaf(&p->map, b, chunk, false, NULL, &leaf) || !leaf ||
		!pool_lock_idle(&p->locks, b->id, chunk))
		return false;
	count = pool_map_entries(leaf, chunk, &e, &unpacked);
	find_places(k, e, count);
	if (!choose_places(k, POOL_ALL_BLOCKS))
		return false;
	k->bounce = pool_bounce_get(p);
	if (!k->bounce)
		return false;
	if (!take_place(k)) {
		pool_bounce_put(p, k->bounce);
		k->bounce = NULL;
		unfit(k);
		return false;
	}
	k->unfit = 0;
	choose_parts(k, e, count);
	k->branch = b;
	k->chunk = chunk;
	k->leaf = leaf;
	pool_leaf_pin(leaf);
	k->busy = true;
	memset(&k->lock, 0, sizeof(k->lock));
	k->lock.granted = granted;
	pool_lock_enqueue(&p->locks, b->id, chunk, &k->lock);
	pool_lock_pump(&p->locks, b->id, chunk);
	return true;
}

/* ---- the way through ---------------------------------------------------------------------------------- */

static bool must_stop(const struct pool_pack *k)
{
	return k->stopping || k->pool->base.latched || k->pool->base.closing;
}

/* Is there room that nobody waits for, or will soon? */
static bool has_room(const struct pool *p)
{
	uint64_t used = p->space.used_chunks + p->space.reserved_chunks;

	return list_empty(&p->space.alloc_waiters) && pool_may_split(&p->space) &&
	       used + p->super.capacity_chunks / ROOM_SHARE < p->super.capacity_chunks;
}

/* The next frame has much already; its end comes here. */
static bool frame_full(struct pool *p)
{
	if (p->map.dirty_count < p->map.dirty_max / 2 && p->space.free_new.count < p->map.dirty_max / 2)
		return false;
	pool_commit_request(&p->commit);
	return true;
}

static void rested(void *arg)
{
	struct pool_pack *k = arg;

	pool_pack_kick(k->pool);
}

static void called(struct pool_call *call)
{
	struct pool_pack *k = container_of(call, struct pool_pack, call);
	struct pool *p = k->pool;
	struct pool_branch *b;
	uint64_t chunk;

	if (k->busy || k->pace.resting || must_stop(k))
		return;
	if (pool_reclaim_works(p)) { /* whose end comes here */
		pool_pace_pause(&k->pace);
		return;
	}
	if (!has_room(p))
		k->ranges = 0; /* who reads on notes it again */
	if (k->ranges && frame_full(p))
		return;
	pool_pace_begin(&k->pace);
	if (k->ranges && pool_pace_rest(&k->pace, rested, k))
		return;
	for (unsigned looks = 0; looks < LOOKS_MAX; looks++) {
		if (!take_noted(k, &b, &chunk)) {
			pool_pace_pause(&k->pace);
			return;
		}
		if (chunk_begin(k, b, chunk))
			return;
	}
	pool_pack_kick(p);
}

void pool_pack_kick(struct pool *p)
{
	struct pool_pack *k = p->pack;

	if (k->busy || k->pace.resting || must_stop(k))
		return;
	if (!k->ranges) {
		pool_pace_pause(&k->pace);
		return;
	}
	k->call.call = called;
	p->base.host->ops->call(p->base.host, &k->call);
}
