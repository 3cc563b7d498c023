/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames into LMDB: the records of a batch are sorted, the last word on each key counts, and the tables that follow
 * the map (index of generations, allocator, refs and loose) follow it. Blocks.
 */
#include "array/store/pool/durable/meta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/pool/durable/digest.h"
#include "array/store/pool/durable/refs.h"
#include "array/store/store.h"
#include "array/util/bytes.h"

/* One change of the map or of the allocator, in the order of the log. */
struct map_change {
	struct pool_map_key key;
	struct pool_map_value value;
	uint32_t order;
	bool put;
};

struct space_change {
	uint64_t phys, count;
	uint32_t order;
	uint16_t mask; /* of a split chunk: these blocks; 0: whole chunks */
	bool used;
};

struct batch {
	struct map_change *map;
	struct space_change *space;
	size_t map_count, map_cap, space_count, space_cap;
	struct pool_free_list unshared;
	uint32_t order;
};

static int compare_map(const void *va, const void *vb)
{
	const struct map_change *a = va, *b = vb;

	if (a->key.branch != b->key.branch)
		return a->key.branch < b->key.branch ? -1 : 1;
	if (a->key.chunk != b->key.chunk)
		return a->key.chunk < b->key.chunk ? -1 : 1;
	if (a->key.gen != b->key.gen)
		return a->key.gen > b->key.gen ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

static int compare_space(const void *va, const void *vb)
{
	const struct space_change *a = va, *b = vb;
	uint64_t ga = a->phys / POOL_GROUP_CHUNKS, gb = b->phys / POOL_GROUP_CHUNKS;

	if (ga != gb)
		return ga < gb ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

static void add_space(struct batch *b, uint64_t phys, uint64_t count, uint16_t mask, bool used)
{
	while (count) { /* never across a group */
		uint64_t part = POOL_GROUP_CHUNKS - phys % POOL_GROUP_CHUNKS;

		if (part > count)
			part = count;
		if (b->space_count == b->space_cap) {
			b->space_cap = b->space_cap ? 2 * b->space_cap : 1024;
			b->space = pool_xrealloc(b->space, b->space_cap * sizeof(b->space[0]));
		}
		b->space[b->space_count++] = (struct space_change){phys, part, b->order, mask, used};
		phys += part;
		count -= part;
	}
}

static void add_map(struct batch *b, const struct pool_record *r)
{
	if (b->map_count == b->map_cap) {
		b->map_cap = b->map_cap ? 2 * b->map_cap : 1024;
		b->map = pool_xrealloc(b->map, b->map_cap * sizeof(b->map[0]));
	}
	b->map[b->map_count++] =
		(struct map_change){r->map.key, r->map.value, b->order, r->type == POOL_RECORD_MAP_PUT};
	if (r->type == POOL_RECORD_MAP_PUT && r->map.value.phys)
		add_space(b, r->map.value.phys, 1, r->map.value.split ? r->map.value.valid : 0, true);
}

/* The table `refs` follows the map. */
static int apply_refs(struct pool_meta *m, MDB_txn *txn, const struct map_change *c, const MDB_val *old)
{
	struct pool_map_value was;
	bool known = old && old->mv_size == POOL_MAP_VALUE_BYTES;

	if (!m->shares)
		return 0;
	if (known)
		pool_map_value_decode(old->mv_data, &was);
	return pool_refs_change(m, txn, &c->key, known ? &was : NULL, c->put ? &c->value : NULL);
}

static int apply_map(struct pool_meta *m, MDB_txn *txn, const struct map_change *c)
{
	uint8_t key[POOL_MAP_KEY_BYTES], index[POOL_GEN_KEY_BYTES], value[POOL_MAP_VALUE_BYTES];
	MDB_val k = {.mv_size = sizeof(key), .mv_data = key}, old;
	int err, rc;

	pool_map_key_encode(key, &c->key);
	pool_gen_key_encode(index, &c->key);
	rc = mdb_get(txn, m->table[POOL_TABLE_MAP], &k, &old);
	if (rc && rc != MDB_NOTFOUND)
		return pool_errno(rc);
	err = apply_refs(m, txn, c, rc ? NULL : &old);
	if (err)
		return err;
	if (!c->put) {
		if (rc == MDB_NOTFOUND)
			return 0;
		err = pool_meta_del(m, txn, POOL_TABLE_MAP, key, sizeof(key));
		return err ? err : pool_meta_del(m, txn, POOL_TABLE_GEN, index, sizeof(index));
	}
	pool_map_value_encode(value, &c->value);
	err = pool_meta_put(m, txn, POOL_TABLE_MAP, key, sizeof(key), value, POOL_MAP_VALUE_BYTES - 4);
	if (!err && rc == MDB_NOTFOUND)
		err = pool_meta_put(m, txn, POOL_TABLE_GEN, index, sizeof(index), NULL, 0);
	return err;
}

/* The blocks of its split chunks that are used. */
struct split_group {
	uint8_t used[POOL_GROUP_CHUNKS][2];
	bool loaded, changed[POOL_GROUP_CHUNKS / POOL_SPLIT_CHUNKS];
};

static int split_load(struct pool_meta *m, MDB_txn *txn, uint64_t group, struct split_group *s)
{
	memset(s->used, 0, sizeof(s->used));
	for (unsigned i = 0; i < POOL_GROUP_CHUNKS / POOL_SPLIT_CHUNKS; i++) {
		const uint8_t *value;
		uint8_t key[8];
		size_t len;
		int err;

		put_be64(key, group * (POOL_GROUP_CHUNKS / POOL_SPLIT_CHUNKS) + i);
		err = pool_meta_get(m, txn, POOL_TABLE_SPLIT, key, sizeof(key), &value, &len);
		if (!err && len != POOL_SPLIT_BYTES)
			err = -EUCLEAN;
		if (err && err != -ENOENT)
			return err;
		if (!err)
			memcpy(s->used[i * POOL_SPLIT_CHUNKS], value, POOL_SPLIT_BYTES);
	}
	s->loaded = true;
	return 0;
}

static int split_store(struct pool_meta *m, MDB_txn *txn, uint64_t group, const struct split_group *s)
{
	static const uint8_t none[POOL_SPLIT_BYTES];
	int err = 0;

	for (unsigned i = 0; i < POOL_GROUP_CHUNKS / POOL_SPLIT_CHUNKS && !err; i++) {
		const uint8_t *value = s->used[i * POOL_SPLIT_CHUNKS];
		uint8_t key[8];

		if (!s->changed[i])
			continue;
		put_be64(key, group * (POOL_GROUP_CHUNKS / POOL_SPLIT_CHUNKS) + i);
		err = memcmp(value, none, sizeof(none)) == 0
			      ? pool_meta_del(m, txn, POOL_TABLE_SPLIT, key, sizeof(key))
			      : pool_meta_put(
					m, txn, POOL_TABLE_SPLIT, key, sizeof(key), value, POOL_SPLIT_BYTES);
	}
	return err;
}

/* Is anything of the chunk used then? */
static bool split_change(struct split_group *s, const struct space_change *c)
{
	unsigned at = c->phys % POOL_GROUP_CHUNKS;
	uint16_t mask = get_be16(s->used[at]);

	mask = c->used ? mask | c->mask : mask & (uint16_t)~c->mask;
	put_be16(s->used[at], mask);
	s->changed[at / POOL_SPLIT_CHUNKS] = true;
	return mask != 0;
}

/* All changes of one group. */
static int apply_group(struct pool_meta *m, MDB_txn *txn, const struct space_change *c, size_t count)
{
	uint64_t group = c->phys / POOL_GROUP_CHUNKS;
	uint8_t key[8], bits[POOL_GROUP_BYTES] = {0};
	struct split_group split = {.loaded = false};
	const uint8_t *old;
	size_t len;
	int err;

	put_be64(key, group);
	err = pool_meta_get(m, txn, POOL_TABLE_SPACE, key, sizeof(key), &old, &len);
	if (!err && len != POOL_GROUP_BYTES)
		err = -EUCLEAN;
	if (err && err != -ENOENT)
		return err;
	if (!err)
		memcpy(bits, old, POOL_GROUP_BYTES);
	for (size_t i = 0; i < count; i++) {
		bool used = c[i].used;

		err = c[i].mask && !split.loaded ? split_load(m, txn, group, &split) : 0;
		if (err)
			return err;
		if (c[i].mask)
			used = split_change(&split, &c[i]);
		for (uint64_t at = c[i].phys; at < c[i].phys + c[i].count; at++) {
			unsigned bit = at % POOL_GROUP_CHUNKS;

			if (used)
				bits[bit / 8] |= (uint8_t)(1u << (bit % 8));
			else
				bits[bit / 8] &= (uint8_t) ~(1u << (bit % 8));
		}
	}
	err = split_store(m, txn, group, &split);
	return err ? err : pool_meta_put(m, txn, POOL_TABLE_SPACE, key, sizeof(key), bits, POOL_GROUP_BYTES);
}

static int apply_other(
	struct pool_meta *m, MDB_txn *txn, const struct pool_record *r, struct pool_state *state)
{
	uint8_t key[1 + STORE_KEY_MAX_BYTES], value[POOL_BRANCH_VALUE_BYTES];

	switch (r->type) {
	case POOL_RECORD_BRANCH_PUT:
		put_be64(key, r->branch.id);
		pool_branch_value_encode(value, &r->branch.value);
		return pool_meta_put(m, txn, POOL_TABLE_BRANCH, key, 8, value, POOL_BRANCH_VALUE_BYTES - 4);
	case POOL_RECORD_BRANCH_DEL:
		put_be64(key, r->branch.id);
		return pool_meta_del(m, txn, POOL_TABLE_BRANCH, key, 8);
	case POOL_RECORD_DISK_PUT:
		put_be64(key, r->disk.id);
		pool_disk_value_encode(value, &r->disk.value);
		return pool_meta_put(m, txn, POOL_TABLE_DISK, key, 8, value, POOL_DISK_VALUE_BYTES - 4);
	case POOL_RECORD_DISK_DEL:
		put_be64(key, r->disk.id);
		return pool_meta_del(m, txn, POOL_TABLE_DISK, key, 8);
	case POOL_RECORD_CATALOGUE_PUT:
	case POOL_RECORD_CATALOGUE_DEL:
		key[0] = r->catalogue.table;
		memcpy(key + 1, r->catalogue.key, r->catalogue.key_len);
		if (r->type == POOL_RECORD_CATALOGUE_DEL)
			return pool_meta_del(m, txn, POOL_TABLE_CATALOGUE, key, 1u + r->catalogue.key_len);
		return pool_meta_put(m, txn, POOL_TABLE_CATALOGUE, key, 1u + r->catalogue.key_len,
			r->catalogue.value, r->catalogue.value_len);
	case POOL_RECORD_TODO_PUT:
	case POOL_RECORD_TODO_DEL:
		put_be64(key, r->todo.branch);
		put_be32(key + 8, r->todo.gen);
		if (r->type == POOL_RECORD_TODO_DEL)
			return pool_meta_del(m, txn, POOL_TABLE_TODO, key, POOL_TODO_KEY_BYTES);
		return pool_meta_put(m, txn, POOL_TABLE_TODO, key, POOL_TODO_KEY_BYTES, NULL, 0);
	case POOL_RECORD_IDS:
		state->next_branch = r->ids.next_branch;
		state->next_disk = r->ids.next_disk;
		return 0;
	default:
		return -EUCLEAN;
	}
}

static int apply_payload(struct pool_meta *m, MDB_txn *txn, const struct pool_payload *payload,
	struct batch *b, struct pool_state *state)
{
	size_t at = 0;

	while (at < payload->len) {
		struct pool_record r;
		int64_t size = pool_record_decode(payload->data + at, payload->len - at, &r);
		int err = 0;

		if (size < 0)
			return -EUCLEAN;
		b->order++;
		switch (r.type) {
		case POOL_RECORD_MAP_PUT:
			if (r.map.value.phys >= pool_meta_capacity(m) || (r.map.value.shared && !m->shares) ||
				(r.map.value.split && !m->splits))
				return -EUCLEAN;
			add_map(b, &r);
			break;
		case POOL_RECORD_MAP_DEL:
			add_map(b, &r);
			break;
		case POOL_RECORD_FREE:
			if (r.run.phys + r.run.count > pool_meta_capacity(m))
				return -EUCLEAN;
			add_space(b, r.run.phys, r.run.count, 0, false);
			break;
		case POOL_RECORD_FREE_BLOCKS:
			if (!m->splits || r.blocks.phys >= pool_meta_capacity(m))
				return -EUCLEAN;
			add_space(b, r.blocks.phys, 1, r.blocks.mask, false);
			break;
		case POOL_RECORD_UNSHARE:
			if (!m->shares || r.run.phys + r.run.count > pool_meta_capacity(m))
				return -EUCLEAN;
			/* Perhaps no frame ever had an entry with it. */
			add_space(b, r.run.phys, r.run.count, 0, true);
			for (uint64_t i = 0; i < r.run.count; i++)
				pool_free_list_add(&b->unshared, r.run.phys + i);
			break;
		default:
			err = apply_other(m, txn, &r, state);
			break;
		}
		if (err)
			return err;
		at += (size_t)size;
	}
	return 0;
}

static int apply_loose(struct pool_meta *m, MDB_txn *txn, struct batch *b)
{
	uint64_t loose;
	int err = pool_refs_loose_count(m, txn, &loose);

	for (size_t i = 0; i < b->space_count && loose && !err; i++) {
		if (!b->space[i].used && !b->space[i].mask)
			err = pool_refs_freed(m, txn, b->space[i].phys, b->space[i].count);
	}
	if (!err)
		err = pool_digest_flush(m, txn); /* it looks */
	return err ? err : pool_refs_settle(m, txn, &b->unshared);
}

static int apply_batch(struct pool_meta *m, MDB_txn *txn, struct batch *b)
{
	int err = 0;

	if (b->map_count)
		qsort(b->map, b->map_count, sizeof(b->map[0]), compare_map);
	for (size_t i = 0; i < b->map_count && !err; i++) {
		const struct map_change *c = &b->map[i];

		if (i + 1 < b->map_count && c[1].key.branch == c->key.branch &&
			c[1].key.chunk == c->key.chunk && c[1].key.gen == c->key.gen)
			continue; /* the last one counts */
		err = apply_map(m, txn, c);
	}
	if (b->space_count)
		qsort(b->space, b->space_count, sizeof(b->space[0]), compare_space);
	for (size_t i = 0, n; i < b->space_count && !err; i += n) {
		n = 1;
		while (i + n < b->space_count &&
			b->space[i + n].phys / POOL_GROUP_CHUNKS == b->space[i].phys / POOL_GROUP_CHUNKS)
			n++;
		err = apply_group(m, txn, b->space + i, n);
	}
	if (!err)
		err = apply_loose(m, txn, b);
	return err;
}

int pool_meta_apply(struct pool_meta *m, MDB_txn *txn, const struct pool_payload *payloads, size_t count,
	struct pool_state *state)
{
	struct batch b = {0};
	struct pool_state old;
	int err = 0;

	/* The next ids are only in records: keep what is known when none speaks of them. */
	if (!pool_meta_state(m, txn, &old)) {
		if (state->next_branch < old.next_branch)
			state->next_branch = old.next_branch;
		if (state->next_disk < old.next_disk)
			state->next_disk = old.next_disk;
	}
	for (size_t i = 0; i < count && !err; i++)
		err = apply_payload(m, txn, &payloads[i], &b, state);
	if (!err)
		err = apply_batch(m, txn, &b);
	if (!err)
		err = pool_digest_flush(m, txn);
	if (!err)
		err = pool_meta_put_state(m, txn, state);
	free(b.map);
	free(b.space);
	free(b.unshared.phys);
	return err;
}
