/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block map in memory: a radix tree per branch (array of mids, mid of 512 leaves, leaf of 512 chunks),
 * loaded leaf by leaf from LMDB by a worker.
 *
 * Invariants: a leaf in memory that is not loading is complete and is the truth. A leaf goes only when no
 * entry of it is dirty, nobody holds a pin, and LMDB has its last frame. Past the bound a change that needs one more leaf
 * waits until the checkpoint has made some clean; reads push out clean ones. An entry's address is valid until
 * the next change of its chunk; nothing keeps one across a wait.
 */
#include "array/store/pool/map/map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEAVES_KEPT 1024u
#define TRIM_FEW    4u   /* leaves looked at for each new one */
#define TRIM_MANY   512u /* after a load, a checkpoint */
_Static_assert(POOL_LEAF_CHUNKS == POOL_DIGEST_CHUNKS, "a leaf is loaded with its digest");

#define PACKED_GEN_END (1u << 26) /* generations below it can be packed */

_Static_assert(POOL_PHYS_MAX < UINT64_C(1) << 35, "pool_entry.phys, packed entries");

struct leaf_load {
	struct pool_job job;
	struct pool_map *map;
	struct pool_leaf *leaf;
	uint64_t branch;
	struct pool_meta_leaf read;
	int err;
};

/* ---- slots ------------------------------------------------------------------------------------------ */

static bool slot_is_chain(uint64_t slot)
{
	return slot != 0 && (slot & 1) == 0;
}

static struct pool_chain *slot_chain(uint64_t slot)
{
	return (struct pool_chain *)(uintptr_t)slot;
}

/* The entry that is packed into a slot. */
static struct pool_entry slot_unpack(uint64_t slot)
{
	return (struct pool_entry){.gen = (uint32_t)(slot >> 1) & (PACKED_GEN_END - 1),
		.valid = POOL_ALL_BLOCKS,
		.phys = slot >> 29,
		.held = slot >> 28 & 1 ? POOL_ALL_BLOCKS : 0,
		.split = slot >> 28 & 1,
		.shared = slot >> 27 & 1};
}

static size_t chain_size(uint32_t cap)
{
	return sizeof(struct pool_chain) + cap * sizeof(struct pool_entry);
}

static void account(struct pool_map *map, struct pool_leaf *leaf, int64_t bytes)
{
	leaf->chain_bytes = (uint64_t)((int64_t)leaf->chain_bytes + bytes);
	map->bytes = (uint64_t)((int64_t)map->bytes + bytes);
}

static uint64_t *slot_of(struct pool_leaf *leaf, uint64_t chunk)
{
	assert(chunk / POOL_LEAF_CHUNKS == leaf->index);
	return &leaf->slot[chunk % POOL_LEAF_CHUNKS];
}

static bool slot_set_chain(struct pool_map *map, struct pool_leaf *leaf, uint64_t *slot, uint32_t cap)
{
	struct pool_chain *old = slot_is_chain(*slot) ? slot_chain(*slot) : NULL;
	struct pool_chain *c = realloc(old, chain_size(cap));

	if (!c)
		return false;
	account(map, leaf, (int64_t)chain_size(cap) - (old ? (int64_t)chain_size(old ? c->cap : 0) : 0));
	if (!old) {
		c->count = 0;
		if (*slot) {
			c->e[0] = slot_unpack(*slot);
			c->count = 1;
		}
	}
	c->cap = cap;
	*slot = (uint64_t)(uintptr_t)c;
	return true;
}

static void slot_free(struct pool_map *map, struct pool_leaf *leaf, uint64_t *slot)
{
	if (slot_is_chain(*slot)) {
		account(map, leaf, -(int64_t)chain_size(slot_chain(*slot)->cap));
		free(slot_chain(*slot));
	}
	*slot = 0;
}

/* A chain of one clean whole entry becomes 8 bytes. */
static void slot_compact(struct pool_map *map, struct pool_leaf *leaf, uint64_t *slot)
{
	const struct pool_entry *e;
	uint64_t packed;

	if (!slot_is_chain(*slot) || slot_chain(*slot)->count != 1)
		return;
	e = &slot_chain(*slot)->e[0];
	if (e->dirty || e->valid != POOL_ALL_BLOCKS || e->gen >= PACKED_GEN_END)
		return;
	packed = (uint64_t)e->phys << 29 | (uint64_t)e->split << 28 | (uint64_t)e->shared << 27 |
		 (uint64_t)e->gen << 1 | 1;
	slot_free(map, leaf, slot);
	*slot = packed;
}

unsigned pool_map_entries(const struct pool_leaf *leaf, uint64_t chunk, const struct pool_entry **out,
	struct pool_entry *unpacked)
{
	uint64_t slot = leaf->slot[chunk % POOL_LEAF_CHUNKS];

	if (slot == 0)
		return 0;
	if (slot_is_chain(slot)) {
		*out = slot_chain(slot)->e;
		return slot_chain(slot)->count;
	}
	*unpacked = slot_unpack(slot);
	*out = unpacked;
	return 1;
}

/* The first entry with generation <= gen. */
static uint32_t chain_find(const struct pool_entry *e, uint32_t count, uint32_t gen)
{
	uint32_t lo = 0, hi = count;

	if (count && e[0].gen <= gen)
		return 0;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (e[mid].gen > gen)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct pool_entry *pool_map_edit(struct pool_map *map, struct pool_leaf *leaf, uint64_t chunk, uint32_t gen)
{
	uint64_t *slot = slot_of(leaf, chunk);
	struct pool_chain *c;
	uint32_t at;

	if (*slot == 0)
		return NULL;
	if (!slot_is_chain(*slot) && !slot_set_chain(map, leaf, slot, 1))
		return NULL;
	c = slot_chain(*slot);
	at = chain_find(c->e, c->count, gen);
	return at < c->count && c->e[at].gen == gen ? &c->e[at] : NULL;
}

int pool_map_insert(
	struct pool_map *map, struct pool_leaf *leaf, uint64_t chunk, const struct pool_entry *entry)
{
	uint64_t *slot = slot_of(leaf, chunk);
	uint32_t count = *slot == 0 ? 0 : slot_is_chain(*slot) ? slot_chain(*slot)->count : 1;
	struct pool_chain *c;
	uint32_t at;

	if (!slot_is_chain(*slot) || slot_chain(*slot)->cap == count) {
		if (!slot_set_chain(map, leaf, slot, count < 2 ? count + 1 : count + count / 2))
			return -ENOMEM;
	}
	c = slot_chain(*slot);
	at = chain_find(c->e, c->count, entry->gen);
	assert(at == c->count || c->e[at].gen != entry->gen);
	memmove(c->e + at + 1, c->e + at, (c->count - at) * sizeof(c->e[0]));
	c->e[at] = *entry;
	c->e[at].dirty = 0;
	c->count++;
	return 0;
}

/* LMDB lacks something of the leaf: it cannot go. */
static void leaf_hold(struct pool_map *map, struct pool_leaf *leaf, struct list *where)
{
	if (!leaf->held)
		map->held++;
	leaf->held = true;
	list_remove(&leaf->lru);
	list_push_back(where, &leaf->lru);
}

static void dirty_add(struct pool_map *map, struct pool_leaf *leaf, uint64_t chunk, uint32_t gen)
{
	if (map->dirty_count == map->dirty_cap) {
		map->dirty_cap = map->dirty_cap ? 2 * map->dirty_cap : 1024;
		map->dirty = pool_xrealloc(map->dirty, map->dirty_cap * sizeof(map->dirty[0]));
	}
	map->dirty[map->dirty_count++] =
		(struct pool_dirty){.branch = leaf->branch, .chunk = chunk, .gen = gen};
	if (leaf->dirty++ == 0)
		leaf_hold(map, leaf, &map->unlogged);
	pool_ask_commit_later(map->base);
}

void pool_map_mark_dirty(struct pool_map *map, struct pool_leaf *leaf, uint64_t chunk, struct pool_entry *e)
{
	if (e->dirty)
		return;
	e->dirty = 1;
	dirty_add(map, leaf, chunk, e->gen);
}

void pool_map_remove(struct pool_map *map, struct pool_leaf *leaf, uint64_t chunk, uint32_t gen)
{
	uint64_t *slot = slot_of(leaf, chunk);
	struct pool_chain *c;
	uint32_t at;
	bool was_dirty;

	if (!slot_is_chain(*slot)) {
		assert(*slot && slot_unpack(*slot).gen == gen);
		*slot = 0;
		dirty_add(map, leaf, chunk, gen);
		return;
	}
	c = slot_chain(*slot);
	at = chain_find(c->e, c->count, gen);
	assert(at < c->count && c->e[at].gen == gen);
	was_dirty = c->e[at].dirty;
	memmove(c->e + at, c->e + at + 1, (c->count - at - 1) * sizeof(c->e[0]));
	if (--c->count == 0)
		slot_free(map, leaf, slot);
	if (!was_dirty)
		dirty_add(map, leaf, chunk, gen);
}

void pool_map_collect(
	struct pool_map *map, const struct pool_dirty *d, uint64_t sequence, struct pool_record *out)
{
	struct pool_leaf *leaf = pool_map_peek(d->branch, d->chunk);
	struct pool_chain *c;
	uint64_t *slot;
	uint32_t at;

	assert(leaf && leaf->dirty > 0);
	leaf->pin_sequence = sequence;
	if (--leaf->dirty == 0)
		leaf_hold(map, leaf, &map->logged);
	memset(out, 0, sizeof(*out));
	out->type = POOL_RECORD_MAP_DEL;
	out->map.key = (struct pool_map_key){.branch = d->branch->id, .chunk = d->chunk, .gen = d->gen};
	slot = slot_of(leaf, d->chunk);
	if (*slot == 0)
		return;
	if (!slot_is_chain(*slot)) {
		/* Marked twice (removed and made again) and packed by the first mark: say it again. */
		struct pool_entry e = slot_unpack(*slot);

		if (e.gen == d->gen) {
			out->type = POOL_RECORD_MAP_PUT;
			out->map.value.phys = e.phys;
			out->map.value.shared = e.shared;
			out->map.value.split = e.split;
			out->map.value.valid = POOL_ALL_BLOCKS;
		}
		return;
	}
	c = slot_chain(*slot);
	at = chain_find(c->e, c->count, d->gen);
	if (at == c->count || c->e[at].gen != d->gen)
		return;
	out->type = POOL_RECORD_MAP_PUT;
	out->map.value.valid = c->e[at].valid;
	out->map.value.zero = c->e[at].zero;
	out->map.value.phys = c->e[at].valid ? c->e[at].phys : 0;
	out->map.value.shared = c->e[at].shared;
	out->map.value.split = c->e[at].split && c->e[at].valid;
	if (!c->e[at].valid && !c->e[at].zero)
		out->type = POOL_RECORD_MAP_DEL; /* nothing written in it yet */
	c->e[at].dirty = 0;
	slot_compact(map, leaf, slot);
}

/* ---- the tree --------------------------------------------------------------------------------------- */

static struct pool_leaf *tree_get(const struct pool_branch *b, uint64_t index)
{
	uint64_t top = index / POOL_MID_LEAVES;

	if (top >= b->top_count || !b->top[top])
		return NULL;
	return b->top[top]->leaf[index % POOL_MID_LEAVES];
}

/* The branch has room for the leaf's mid at top[top]. */
static int tree_grow(struct pool_map *map, struct pool_branch *b, uint64_t top)
{
	uint64_t count = top + 1;
	struct pool_mid **t;

	if (top < b->top_count)
		return 0;
	t = realloc(b->top, count * sizeof(t[0]));
	if (!t)
		return -ENOMEM;
	memset(t + b->top_count, 0, (count - b->top_count) * sizeof(t[0]));
	map->bytes += (count - b->top_count) * sizeof(t[0]);
	b->top = t;
	b->top_count = count;
	return 0;
}

static void tree_shrink(struct pool_map *map, struct pool_branch *b)
{
	if (b->mids)
		return;
	map->bytes -= b->top_count * sizeof(b->top[0]);
	free(b->top);
	b->top = NULL;
	b->top_count = 0;
}

static int tree_put(struct pool_map *map, struct pool_branch *b, struct pool_leaf *leaf)
{
	uint64_t top = leaf->index / POOL_MID_LEAVES;

	if (tree_grow(map, b, top))
		return -ENOMEM;
	if (!b->top[top]) {
		b->top[top] = calloc(1, sizeof(struct pool_mid));
		if (!b->top[top]) {
			tree_shrink(map, b);
			return -ENOMEM;
		}
		b->mids++;
		map->bytes += sizeof(struct pool_mid);
	}
	b->top[top]->leaf[leaf->index % POOL_MID_LEAVES] = leaf;
	b->top[top]->used++;
	return 0;
}

static void tree_remove(struct pool_map *map, const struct pool_leaf *leaf)
{
	struct pool_branch *b = leaf->branch;
	uint64_t top = leaf->index / POOL_MID_LEAVES;

	b->top[top]->leaf[leaf->index % POOL_MID_LEAVES] = NULL;
	if (--b->top[top]->used)
		return;
	free(b->top[top]);
	b->top[top] = NULL;
	b->mids--;
	map->bytes -= sizeof(struct pool_mid);
	tree_shrink(map, b);
}

static void leaf_free(struct pool_map *map, struct pool_leaf *leaf)
{
	assert(list_empty(&leaf->waiters));
	for (unsigned i = 0; i < POOL_LEAF_CHUNKS; i++)
		slot_free(map, leaf, &leaf->slot[i]);
	tree_remove(map, leaf);
	if (leaf->held)
		map->held--;
	list_remove(&leaf->lru);
	map->bytes -= sizeof(*leaf);
	free(leaf->bad);
	free(leaf);
}

static bool leaf_may_go(const struct pool_map *map, const struct pool_leaf *leaf)
{
	/* One that was looked at lately stays: who waits for a second leaf must find the first one again. */
	return !leaf->loading && leaf->pins == 0 && leaf->touched + map->leaves_kept < map->leaf_count;
}

static void trim(struct pool_map *map, unsigned tries)
{
	while (map->bytes > map->bytes_max && tries-- && !list_empty(&map->lru)) {
		struct pool_leaf *leaf = container_of(map->lru.head.next, struct pool_leaf, lru);

		if (leaf_may_go(map, leaf)) {
			leaf->branch->fresh = false;
			leaf_free(map, leaf);
		} else {
			list_remove(&leaf->lru);
			list_push_back(&map->lru, &leaf->lru);
		}
	}
}

void pool_map_trim(struct pool_map *map)
{
	trim(map, TRIM_MANY);
}

static struct pool_leaf *leaf_new(struct pool_map *map, struct pool_branch *b, uint64_t index)
{
	struct pool_leaf *leaf;

	trim(map, TRIM_FEW);
	leaf = calloc(1, sizeof(*leaf));
	if (!leaf)
		return NULL;
	leaf->branch = b;
	leaf->index = index;
	list_init(&leaf->waiters);
	if (tree_put(map, b, leaf)) {
		free(leaf);
		return NULL;
	}
	list_push_back(&map->lru, &leaf->lru);
	map->bytes += sizeof(*leaf);
	leaf->touched = ++map->leaf_count;
	return leaf;
}

struct pool_leaf *pool_map_peek(const struct pool_branch *b, uint64_t chunk)
{
	struct pool_leaf *leaf = tree_get(b, chunk / POOL_LEAF_CHUNKS);

	return leaf && !leaf->loading ? leaf : NULL;
}

static void pool_map_touch(struct pool_map *map, struct pool_leaf *leaf)
{
	leaf->touched = map->leaf_count;
	if (leaf->held || map->lru.head.prev == &leaf->lru)
		return;
	list_remove(&leaf->lru);
	list_push_back(&map->lru, &leaf->lru);
}

void pool_leaf_pin(struct pool_leaf *leaf)
{
	leaf->pins++;
}

void pool_leaf_unpin(struct pool_leaf *leaf)
{
	assert(leaf->pins > 0);
	leaf->pins--;
}

/* ---- loading ---------------------------------------------------------------------------------------- */

static void load_work(struct pool_job *job)
{
	struct leaf_load *l = container_of(job, struct leaf_load, job);

	l->err = pool_meta_load(l->map->meta, l->branch, l->leaf->index, &l->read);
}

static int load_install(
	struct pool_map *map, struct pool_leaf *leaf, const struct pool_meta_entry *e, size_t count)
{
	size_t i = 0;

	while (i < count) {
		uint64_t *slot = slot_of(leaf, e[i].key.chunk);
		size_t n = 1;

		if (e[i].key.gen > leaf->branch->gen) /* the newest of the chunk comes first */
			return -EUCLEAN;
		while (i + n < count && e[i + n].key.chunk == e[i].key.chunk)
			n++;
		if (!slot_set_chain(map, leaf, slot, (uint32_t)n))
			return -ENOMEM;
		for (size_t k = 0; k < n; k++)
			slot_chain(*slot)->e[k] = (struct pool_entry){.gen = e[i + k].key.gen,
				.valid = e[i + k].value.valid,
				.zero = e[i + k].value.zero,
				.phys = e[i + k].value.phys,
				.held = e[i + k].value.split ? e[i + k].value.valid : 0,
				.split = e[i + k].value.split,
				.shared = e[i + k].value.shared};
		slot_chain(*slot)->count = (uint32_t)n;
		slot_compact(map, leaf, slot);
		i += n;
	}
	return 0;
}

static void load_done(struct pool_job *job)
{
	struct leaf_load *l = container_of(job, struct leaf_load, job);
	struct pool_map *map = l->map;
	struct pool_leaf *leaf = l->leaf;
	struct pool_branch *b = leaf->branch;
	struct list waiters;
	struct list_node *n;
	int err = l->err;

	if (!err)
		err = load_install(map, leaf, l->read.entries, l->read.count);
	if (!err && l->read.damaged) {
		leaf->bad = malloc(sizeof(l->read.bad));
		if (leaf->bad)
			memcpy(leaf->bad, l->read.bad, sizeof(l->read.bad));
		else
			err = -ENOMEM;
	}
	free(l->read.entries);
	free(l);
	map->loads--;
	b->loads--;
	leaf->loading = false;
	leaf->touched = map->leaf_count;
	list_init(&waiters);
	while ((n = list_pop(&leaf->waiters)))
		list_push_back(&waiters, n);
	if (err)
		leaf_free(map, leaf);
	else
		pool_leaf_pin(leaf);
	pool_wake_all(&waiters, err);
	if (!err) {
		pool_leaf_unpin(leaf);
		pool_map_trim(map);
	}
	if (b->gone)
		pool_branch_free(map, b);
	else if (!b->loads && !b->disk && !b->child_count)
		pool_ask_reclaim(map->base, POOL_RECLAIM_SCAN); /* it may have waited for this */
	pool_ask_ended(map->base);
}

static int load_start(struct pool_map *map, struct pool_branch *b, uint64_t index, struct pool_waiter *w)
{
	struct leaf_load *l = calloc(1, sizeof(*l));
	struct pool_leaf *leaf = l ? leaf_new(map, b, index) : NULL;

	if (!leaf) {
		free(l);
		return -ENOMEM;
	}
	leaf->loading = true;
	list_push_back(&leaf->waiters, &w->link);
	l->map = map;
	l->leaf = leaf;
	l->branch = b->id;
	l->job.work = load_work;
	l->job.done = load_done;
	map->loads++;
	b->loads++;
	map->base->host->ops->work(map->base->host, &l->job, POOL_QUEUE_WORKERS);
	return -EAGAIN;
}

/* Must one more leaf that will be changed wait for the checkpoint? */
static bool must_wait(const struct pool_map *map, const struct pool_waiter *w)
{
	return map->bytes >= map->bytes_max && map->held > map->leaves_kept / 2 &&
	       !(w && w == map->admitted) && !map->base->latched;
}

static bool is_bad(const struct pool_leaf *leaf, uint64_t chunk)
{
	unsigned at = chunk % POOL_LEAF_CHUNKS;

	return leaf->bad && (leaf->bad[at / 64] >> at % 64 & 1);
}

static int leaf_get(struct pool_map *map, struct pool_branch *b, uint64_t chunk, bool make, bool changes,
	struct pool_waiter *w, struct pool_leaf **out)
{
	uint64_t index = chunk / POOL_LEAF_CHUNKS;
	struct pool_leaf *leaf = tree_get(b, index);

	*out = NULL;
	if (leaf && !leaf->loading) {
		pool_map_touch(map, leaf);
		if (is_bad(leaf, chunk))
			return -EUCLEAN;
		*out = leaf;
		return 0;
	}
	if (leaf) {
		if (w)
			list_push_back(&leaf->waiters, &w->link);
		return -EAGAIN;
	}
	if (b->fresh && !make)
		return 0;
	if (changes && must_wait(map, w)) {
		if (w) {
			list_push_back(&map->room_waiters, &w->link);
			if (w->since)
				pool_patience_start(map->base);
			pool_ask_checkpoint(map->base);
		}
		return -EAGAIN;
	}
	if (!b->fresh)
		return w ? load_start(map, b, index, w) : -EAGAIN;
	*out = leaf_new(map, b, index);
	return *out ? 0 : -ENOMEM;
}

int pool_map_leaf(struct pool_map *map, struct pool_branch *b, uint64_t chunk, bool make,
	struct pool_waiter *w, struct pool_leaf **out)
{
	return leaf_get(map, b, chunk, make, true, w, out);
}

/* All who wait for room look again; the first goes on whatever it finds. */
static void wake_room_waiters(struct pool_map *map, int err)
{
	struct list woken;
	struct list_node *n;

	list_init(&woken);
	while ((n = list_pop(&map->room_waiters)))
		list_push_back(&woken, n);
	if (!list_empty(&woken))
		map->admitted = container_of(woken.head.next, struct pool_waiter, link);
	while ((n = list_pop(&woken))) {
		struct pool_waiter *w = container_of(n, struct pool_waiter, link);

		w->wake(w, err);
		map->admitted = NULL;
	}
}

void pool_map_applied(struct pool_map *map, uint64_t sequence)
{
	map->applied = sequence;
	while (!list_empty(&map->logged)) {
		struct pool_leaf *leaf = container_of(map->logged.head.next, struct pool_leaf, lru);

		if (leaf->pin_sequence > sequence)
			break;
		leaf->held = false;
		map->held--;
		list_remove(&leaf->lru);
		list_push_back(&map->lru, &leaf->lru);
	}
	trim(map, TRIM_MANY);
	wake_room_waiters(map, 0);
}

void pool_map_latched(struct pool_map *map, int err)
{
	wake_room_waiters(map, err);
}

void pool_map_free(struct pool_map *map, struct pool_branch *b)
{
	for (uint64_t t = 0; t < b->top_count; t++) {
		for (unsigned i = 0; t < b->top_count && b->top[t] && i < POOL_MID_LEAVES; i++) {
			struct pool_leaf *leaf = b->top[t]->leaf[i];

			if (leaf) {
				assert(!leaf->loading && leaf->pins == 0);
				b->fresh = false; /* LMDB may have what it had */
				leaf_free(map, leaf);
			}
		}
	}
}

void pool_branch_free(struct pool_map *map, struct pool_branch *b)
{
	assert(b->child_count == 0 && !b->parent && list_empty(&b->cuts) && list_empty(&b->writes));
	if (b->loads) { /* a reader who came through it waits for a leaf */
		b->gone = true;
		return;
	}
	pool_map_free(map, b);
	list_remove(&b->hash_link);
	list_remove(&b->dirty_link);
	free(b->children);
	free(b->top);
	free(b);
}

/* ---- reading ---------------------------------------------------------------------------------------- */

/* What this branch's entries have of *need; takes it off. */
static void resolve_leaf(
	const struct pool_leaf *leaf, uint64_t chunk, uint32_t gen, uint16_t *need, struct pool_places *out)
{
	const struct pool_entry *e = NULL;
	struct pool_entry unpacked;
	unsigned count = pool_map_entries(leaf, chunk, &e, &unpacked);

	for (unsigned i = count ? chain_find(e, count, gen) : 0; i < count && *need; i++) {
		uint16_t take = e[i].valid & *need;

		if (!((e[i].valid | e[i].zero) & *need))
			continue;
		out->entries++;
		for (uint16_t m = take; m; m &= (uint16_t)(m - 1))
			out->phys[__builtin_ctz(m)] = e[i].phys;
		*need &= (uint16_t) ~(e[i].valid | e[i].zero);
	}
}

uint16_t pool_entry_hidden(const struct pool_branch *b, const struct pool_entry *e, unsigned at)
{
	uint16_t over = 0;

	for (unsigned i = at; i-- > 0 && !pool_branch_viewer_in(b, e[at].gen, e[i].gen);)
		over |= e[i].valid | e[i].zero;
	return over & (e[at].valid | e[at].zero);
}

uint16_t pool_map_covered(const struct pool_leaf *leaf, uint64_t chunk)
{
	uint32_t first = pool_branch_first_viewer(leaf->branch);
	const struct pool_entry *e = NULL;
	struct pool_entry unpacked;
	unsigned count = pool_map_entries(leaf, chunk, &e, &unpacked);
	uint16_t covered = 0;

	for (unsigned i = count ? chain_find(e, count, first) : 0; i < count; i++)
		covered |= e[i].valid | e[i].zero;
	return covered;
}

int pool_map_resolve(struct pool_map *map, struct pool_branch *b, uint32_t gen, uint64_t chunk, uint16_t mask,
	struct pool_waiter *w, struct pool_places *out)
{
	uint16_t need = mask;

	memset(out, 0, sizeof(*out));
	while (b && need) {
		struct pool_leaf *leaf;
		int err = leaf_get(map, b, chunk, false, false, w, &leaf);

		if (err)
			return err;
		if (leaf)
			resolve_leaf(leaf, chunk, gen, &need, out);
		gen = b->parent_gen;
		b = b->parent;
	}
	return 0;
}

/* ---- the whole -------------------------------------------------------------------------------------- */

void pool_map_init(struct pool_map *map, struct pool_base *base, struct pool_meta *meta, struct store *store)
{
	map->base = base;
	map->meta = meta;
	map->store = store;
	map->leaves_kept = LEAVES_KEPT;
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		list_init(&map->branch_hash[i]);
		list_init(&map->disk_hash[i]);
	}
	list_init(&map->dirty_branches);
	list_init(&map->lru);
	list_init(&map->unlogged);
	list_init(&map->logged);
	list_init(&map->room_waiters);
}

int pool_map_open(struct pool_map *map, MDB_txn *txn)
{
	int err = pool_branches_load(map, txn);

	return err ? err : pool_disks_load(map, txn);
}

bool pool_map_busy(const struct pool_map *map)
{
	return map->loads > 0;
}

void pool_map_destroy(struct pool_map *map)
{
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		struct list_node *n;

		while ((n = map->disk_hash[i].head.next) != &map->disk_hash[i].head)
			pool_disk_free(container_of(n, struct pool_disk, hash_link));
	}
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		list_for_each (n, &map->branch_hash[i]) {
			struct pool_branch *b = container_of(n, struct pool_branch, hash_link);

			b->parent = NULL;
			b->child_count = 0;
			list_init(&b->cuts);
			list_init(&b->writes);
		}
	}
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		struct list_node *n;

		while ((n = map->branch_hash[i].head.next) != &map->branch_hash[i].head)
			pool_branch_free(map, container_of(n, struct pool_branch, hash_link));
	}
	free(map->dirty);
}
