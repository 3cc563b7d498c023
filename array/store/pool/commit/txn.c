/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions: the records are encoded as they are asked for and go into one frame, so they are durable
 * together or not at all. What changes in memory (new, deleted, larger disks) changes when the frame is
 * durable.
 */
#include "array/store/pool/commit/commit.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct pool_txn *pool_txn_new(struct pool_commit *commit)
{
	struct pool_txn *t = calloc(1, sizeof(*t));

	if (t)
		t->commit = commit;
	return t;
}

static int add(struct pool_txn *t, const struct pool_record *r)
{
	if (t->rider.records.len + pool_record_size(r) > pool_rider_max(t->commit))
		return -EMSGSIZE;
	pool_buffer_record(&t->rider.records, r);
	return 0;
}

static int catalogue(struct store_txn *t, enum pool_record_type type, enum store_table table, const void *key,
	size_t key_len, const void *value, size_t value_len)
{
	struct pool_record r = {.type = type};

	assert(table > 0 && table < STORE_TABLE_COUNT);
	if (key_len > STORE_KEY_MAX_BYTES || value_len > STORE_VALUE_MAX_BYTES)
		return -EMSGSIZE;
	r.catalogue.table = (uint8_t)table;
	r.catalogue.key = key;
	r.catalogue.key_len = (uint16_t)key_len;
	r.catalogue.value = value;
	r.catalogue.value_len = (uint32_t)value_len;
	return add(pool_txn_of(t), &r);
}

int pool_txn_put(struct store_txn *t, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len)
{
	return catalogue(t, POOL_RECORD_CATALOGUE_PUT, table, key, key_len, value, value_len);
}

int pool_txn_del(struct store_txn *t, enum store_table table, const void *key, size_t key_len)
{
	return catalogue(t, POOL_RECORD_CATALOGUE_DEL, table, key, key_len, NULL, 0);
}

static struct pool_disk_change *add_change(struct pool_txn *t)
{
	if (t->change_count == t->change_cap) {
		unsigned cap = t->change_cap ? 2 * t->change_cap : 4;
		struct pool_disk_change *c = realloc(t->changes, cap * sizeof(*c));

		if (!c)
			return NULL;
		t->changes = c;
		t->change_cap = cap;
	}
	return &t->changes[t->change_count];
}

static int put_disk(struct pool_txn *t, uint64_t id, uint64_t branch, uint64_t size_bytes)
{
	struct pool_record r = {.type = POOL_RECORD_DISK_PUT};

	r.disk.id = id;
	r.disk.value = (struct pool_disk_value){.branch = branch, .size_bytes = size_bytes};
	return add(t, &r);
}

/* A change's new branch: empty, or on the frozen generation of `from`. */
static int put_branch(struct pool_txn *t, struct pool_disk_change *change, const struct pool_frozen *from)
{
	struct pool_record r = {.type = POOL_RECORD_BRANCH_PUT};
	struct pool_branch *b = change->branch;

	assert(b->id == t->commit->map->next_branch);
	t->commit->map->next_branch++;
	b->fresh = true;
	if (from) {
		change->from = from->branch;
		b->gen = from->gen + 1; /* above all that it may inherit when it is spliced */
		b->parent_gen = from->gen;
	}
	r.branch.id = b->id;
	r.branch.value = (struct pool_branch_value){
		.gen = b->gen, .parent = from ? from->branch->id : 0, .parent_gen = b->parent_gen};
	return add(t, &r);
}

/* What remains to be done when a disk leaves its branch: what only this head saw of one that lives on. */
static int put_head_todo(struct pool_txn *t, const struct pool_branch *b)
{
	struct pool_record r = {.type = POOL_RECORD_TODO_PUT, .todo = {.branch = b->id, .gen = b->gen}};

	return add(t, &r);
}

static int new_disk(struct pool_txn *t, enum pool_disk_change_kind kind, uint64_t size_bytes,
	const struct pool_frozen *from, struct store_disk **out)
{
	struct pool_commit *commit = t->commit;
	struct pool_disk_change *change = add_change(t);
	struct pool_branch *b = change ? pool_branch_new(commit->map, commit->map->next_branch) : NULL;
	struct pool_disk *d = b ? pool_disk_new(commit->map, commit->map->next_disk, b, size_bytes) : NULL;
	int err;

	if (!d) {
		if (b)
			pool_branch_free(commit->map, b);
		return -ENOMEM;
	}
	commit->map->next_disk++;
	d->pending = true;
	*change = (struct pool_disk_change){.kind = kind, .disk = d, .branch = b, .size_bytes = size_bytes};
	t->change_count++;
	err = put_branch(t, change, from);
	if (!err)
		err = put_disk(t, d->id, b->id, size_bytes);
	*out = &d->base;
	return err;
}

int pool_txn_disk_create(struct store_txn *t, uint64_t size_bytes, struct store_disk **out)
{
	return new_disk(pool_txn_of(t), POOL_DISK_CREATE, size_bytes, NULL, out);
}

int pool_txn_fork(struct pool_txn *t, const struct pool_frozen *from, struct store_disk **out)
{
	return new_disk(t, POOL_DISK_FORK, from->size_bytes, from, out);
}

int pool_txn_disk_delete(struct store_txn *t, struct store_disk *disk)
{
	struct pool_txn *txn = pool_txn_of(t);
	struct pool_disk_change *change = add_change(txn);
	struct pool_disk *d = pool_disk_of(disk);
	struct pool_record r = {.type = POOL_RECORD_DISK_DEL};

	assert(!d->hydration);
	if (!change)
		return -ENOMEM;
	*change = (struct pool_disk_change){.kind = POOL_DISK_DELETE, .disk = d, .gen = d->branch->gen};
	txn->change_count++;
	r.disk.id = d->id;
	return add(txn, &r) ? -EMSGSIZE : put_head_todo(txn, d->branch);
}

/* The disk leaves its branch, which is then as after a deletion, for a new one on the frozen generation. */
int pool_txn_repoint(struct pool_txn *txn, const struct pool_frozen *from, struct pool_disk *d)
{
	struct pool_commit *commit = txn->commit;
	struct pool_disk_change *change = add_change(txn);
	struct pool_branch *b = change ? pool_branch_new(commit->map, commit->map->next_branch) : NULL;
	int err;

	assert(!d->pending && !d->hydration);
	assert(list_empty(&d->branch->writes) && list_empty(&d->branch->cuts));
	if (!b)
		return -ENOMEM;
	b->disk = d; /* reclaim leaves it alone */
	*change = (struct pool_disk_change){.kind = POOL_DISK_REPOINT,
		.disk = d,
		.branch = b,
		.gen = d->branch->gen,
		.size_bytes = from->size_bytes};
	txn->change_count++;
	err = put_branch(txn, change, from);
	if (!err)
		err = put_disk(txn, d->id, b->id, change->size_bytes);
	return err ? err : put_head_todo(txn, d->branch);
}

int pool_txn_disk_resize(struct store_txn *t, struct store_disk *disk, uint64_t size_bytes)
{
	struct pool_txn *txn = pool_txn_of(t);
	struct pool_disk_change *change = add_change(txn);
	struct pool_disk *d = pool_disk_of(disk);
	uint64_t branch = d->branch->id, old_bytes = d->size_bytes;

	if (!change)
		return -ENOMEM;
	for (unsigned i = 0; i < txn->change_count; i++) { /* after what the transaction did before */
		if (txn->changes[i].disk == d && txn->changes[i].branch)
			branch = txn->changes[i].branch->id;
		if (txn->changes[i].disk == d)
			old_bytes = txn->changes[i].size_bytes;
	}
	assert(size_bytes >= old_bytes);
	(void)old_bytes;
	*change = (struct pool_disk_change){.kind = POOL_DISK_RESIZE, .disk = d, .size_bytes = size_bytes};
	txn->change_count++;
	return put_disk(txn, d->id, branch, size_bytes);
}

uint64_t pool_txn_let_go(struct pool_txn *t, const struct pool_map_value *v)
{
	struct pool_record r = {.type = v->shared ? POOL_RECORD_UNSHARE : POOL_RECORD_FREE,
		.run = {.phys = v->phys, .count = 1}};

	if (v->split)
		r = (struct pool_record){.type = POOL_RECORD_FREE_BLOCKS, .blocks = {v->phys, v->valid}};
	pool_buffer_record(&t->rider.records, &r);
	if (v->shared) {
		pool_share_loosened(t->commit->space);
		return 0;
	}
	pool_free_list_add(&t->frees, v->split ? pool_free_blocks_of(v->phys, v->valid) : v->phys);
	return v->split ? (unsigned)__builtin_popcount(v->valid) : POOL_BLOCKS;
}

static void txn_free(struct pool_txn *t)
{
	free(t->frees.phys);
	free(t->rider.records.data);
	free(t->changes);
	free(t);
}

/* New disks and branches go, the others stay. */
static void undo(struct pool_txn *t)
{
	for (unsigned i = 0; i < t->change_count; i++) {
		struct pool_disk_change *c = &t->changes[i];

		if (c->kind == POOL_DISK_CREATE || c->kind == POOL_DISK_FORK)
			pool_disk_free(c->disk);
		if (c->branch) {
			c->branch->disk = NULL;
			pool_branch_free(t->commit->map, c->branch);
		}
	}
}

void pool_txn_drop(struct store_txn *t)
{
	undo(pool_txn_of(t));
	txn_free(pool_txn_of(t));
}

static void txn_failed(struct pool_txn *t, int err)
{
	void (*done)(void *arg, int err) = t->done;
	void *arg = t->arg;

	undo(t);
	txn_free(t);
	done(arg, err);
}

static void apply_delete(struct pool_commit *commit, const struct pool_disk_change *c)
{
	struct pool_branch *b = c->disk->branch;

	pool_disk_free(c->disk);
	pool_todo_logged(&commit->todos, b->id, c->gen);
	pool_ask_reclaim(commit->base, POOL_RECLAIM_SCAN);
}

static void apply_repoint(struct pool_commit *commit, const struct pool_disk_change *c)
{
	struct pool_disk *d = c->disk;
	struct pool_branch *old = d->branch;

	old->disk = NULL;
	pool_branch_attach(c->from, c->branch);
	d->branch = c->branch;
	d->size_bytes = c->size_bytes;
	pool_todo_logged(&commit->todos, old->id, c->gen);
	pool_ask_reclaim(commit->base, POOL_RECLAIM_SCAN);
}

static void txn_applied(struct pool_txn *t)
{
	struct pool_commit *commit = t->commit;
	void (*done)(void *arg, int err) = t->done;
	void *arg = t->arg;

	for (unsigned i = 0; i < t->change_count; i++) {
		struct pool_disk_change *c = &t->changes[i];

		switch (c->kind) {
		case POOL_DISK_FORK:
			pool_branch_attach(c->from, c->disk->branch);
			c->disk->pending = false;
			break;
		case POOL_DISK_CREATE:
			c->disk->pending = false;
			break;
		case POOL_DISK_DELETE:
			apply_delete(commit, c);
			break;
		case POOL_DISK_RESIZE:
			c->disk->size_bytes = c->size_bytes;
			break;
		case POOL_DISK_REPOINT:
			apply_repoint(commit, c);
			break;
		}
	}
	if (t->frees.count)
		pool_free_durable(commit->space, &t->frees);
	txn_free(t);
	done(arg, 0);
}

static void txn_ended(struct pool_rider *r, int err)
{
	struct pool_txn *t = container_of(r, struct pool_txn, rider);

	if (err)
		txn_failed(t, err);
	else
		txn_applied(t);
}

void pool_txn_ride(struct pool_txn *t, void (*done)(void *arg, int err), void *arg)
{
	t->done = done;
	t->arg = arg;
	t->rider.ids = t->change_count > 0;
	t->rider.ended = txn_ended;
	pool_ride(t->commit, &t->rider);
}

void pool_txn_commit(struct store_txn *t, void (*done)(void *arg, int err), void *arg)
{
	pool_txn_ride(pool_txn_of(t), done, arg);
}
