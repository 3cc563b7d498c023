/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Branches in memory: all of them, found by id. A branch's viewers are its children (at their
 * parent generation), the cuts that are not ended (at their frozen generation) and its head, if it has one.
 */
#include "array/store/pool/map/map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/bytes.h"

struct pool_branch *pool_branch_find(struct pool_map *map, uint64_t id)
{
	list_for_each (n, pool_bucket(map->branch_hash, id)) {
		struct pool_branch *b = container_of(n, struct pool_branch, hash_link);

		if (b->id == id)
			return b;
	}
	return NULL;
}

struct pool_branch *pool_branch_new(struct pool_map *map, uint64_t id)
{
	struct pool_branch *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->id = id;
	b->gen = 1;
	list_init(&b->cuts);
	list_init(&b->writes);
	list_push_back(pool_bucket(map->branch_hash, id), &b->hash_link);
	return b;
}

/* The first child with parent_gen >= gen. */
static unsigned child_lower(const struct pool_branch *b, uint32_t gen)
{
	unsigned lo = 0, hi = b->child_count;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (b->children[mid]->parent_gen < gen)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void pool_branch_frozen_update(struct pool_branch *b)
{
	uint32_t max = b->child_count ? b->children[b->child_count - 1]->parent_gen : 0;

	list_for_each (n, &b->cuts) {
		uint32_t gen = container_of(n, struct pool_viewer, link)->gen;

		if (gen > max)
			max = gen;
	}
	b->frozen_max = max;
}

void pool_branch_attach(struct pool_branch *parent, struct pool_branch *child)
{
	unsigned at = child_lower(parent, child->parent_gen + 1);

	assert(!child->parent && child->parent_gen > 0);
	if (parent->child_count == parent->child_cap) {
		parent->child_cap = parent->child_cap ? 2 * parent->child_cap : 4;
		parent->children =
			pool_xrealloc(parent->children, parent->child_cap * sizeof(struct pool_branch *));
	}
	memmove(parent->children + at + 1, parent->children + at,
		(parent->child_count - at) * sizeof(struct pool_branch *));
	parent->children[at] = child;
	parent->child_count++;
	child->parent = parent;
	pool_branch_frozen_update(parent);
}

void pool_branch_detach(struct pool_branch *child)
{
	struct pool_branch *parent = child->parent;
	unsigned at;

	if (!parent)
		return;
	at = child_lower(parent, child->parent_gen);
	while (at < parent->child_count && parent->children[at] != child)
		at++;
	assert(at < parent->child_count);
	memmove(parent->children + at, parent->children + at + 1,
		(parent->child_count - at - 1) * sizeof(struct pool_branch *));
	parent->child_count--;
	child->parent = NULL;
	pool_branch_frozen_update(parent);
}

void pool_branch_record_dirty(struct pool_map *map, struct pool_branch *b)
{
	assert(!b->dead);
	if (b->record_dirty)
		return;
	b->record_dirty = true;
	list_push_back(&map->dirty_branches, &b->dirty_link);
}

bool pool_branch_viewer_in(const struct pool_branch *b, uint32_t lo, uint32_t hi)
{
	unsigned at;

	if (lo > b->frozen_max)
		return false;
	at = child_lower(b, lo);
	if (at < b->child_count && b->children[at]->parent_gen < hi)
		return true;
	list_for_each (n, &b->cuts) {
		uint32_t gen = container_of(n, struct pool_viewer, link)->gen;

		if (gen >= lo && gen < hi)
			return true;
	}
	return false;
}

uint32_t pool_branch_next_viewer(const struct pool_branch *b, uint32_t gen)
{
	unsigned lo = 0, hi = b->child_count;
	uint32_t best;

	while (lo < hi) { /* they ascend */
		unsigned mid = lo + (hi - lo) / 2;

		if (b->children[mid]->parent_gen > gen)
			hi = mid;
		else
			lo = mid + 1;
	}
	best = lo < b->child_count ? b->children[lo]->parent_gen : UINT32_MAX;
	list_for_each (n, &b->cuts) {
		uint32_t g = container_of(n, struct pool_viewer, link)->gen;

		if (g > gen && g < best)
			best = g;
	}
	return best;
}

bool pool_branch_viewer_from(const struct pool_branch *b, uint32_t lo)
{
	return b->disk || b->frozen_max >= lo;
}

uint32_t pool_branch_first_viewer(const struct pool_branch *b)
{
	uint32_t first = b->disk ? b->gen : UINT32_MAX;

	if (b->child_count && b->children[0]->parent_gen < first)
		first = b->children[0]->parent_gen;
	list_for_each (n, &b->cuts) {
		uint32_t gen = container_of(n, struct pool_viewer, link)->gen;

		if (gen < first)
			first = gen;
	}
	return first;
}

uint32_t pool_branch_oldest_write(const struct pool_branch *b)
{
	if (list_empty(&b->writes))
		return UINT32_MAX;
	return container_of(b->writes.head.next, struct pool_write, link)->gen; /* they ascend */
}

bool pool_entry_owned(const struct pool_branch *b, uint32_t entry_gen, uint32_t gen)
{
	return !pool_branch_viewer_in(b, entry_gen, gen);
}

/* ---- loading ---------------------------------------------------------------------------------------- */

static int load_branch(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct pool_map *map = arg;
	struct pool_branch_value v;
	struct pool_branch *b;

	if (!intact || key_len != 8 || value_len != POOL_BRANCH_VALUE_BYTES - 4)
		return -EUCLEAN;
	pool_branch_value_decode(value, &v);
	b = pool_branch_new(map, get_be64(key));
	if (!b)
		return -ENOMEM;
	b->gen = v.gen;
	b->parent_gen = v.parent_gen;
	b->blocks = v.blocks;
	b->parent_id = v.parent;
	return 0;
}

static int attach_branches(struct pool_map *map)
{
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		list_for_each (n, &map->branch_hash[i]) {
			struct pool_branch *b = container_of(n, struct pool_branch, hash_link), *parent;

			if (!b->parent_id)
				continue;
			parent = pool_branch_find(map, b->parent_id);
			if (!parent || parent == b || b->parent_gen == 0)
				return -EUCLEAN;
			pool_branch_attach(parent, b);
		}
	}
	/* No circles: parents are older. */
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		list_for_each (n, &map->branch_hash[i]) {
			const struct pool_branch *b = container_of(n, struct pool_branch, hash_link);

			if (b->parent && b->parent->id >= b->id)
				return -EUCLEAN;
		}
	}
	return 0;
}

int pool_branches_load(struct pool_map *map, MDB_txn *txn)
{
	int err = pool_meta_all(map->meta, txn, POOL_TABLE_BRANCH, load_branch, map);

	return err ? err : attach_branches(map);
}
