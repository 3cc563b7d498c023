/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool as a store: the table of operations, statistics, and the small operations. See pool.h for the invariants
 * and docs/pool-format.md for the durability argument.
 */
#include "array/store/pool/background/background.h"
#include "array/store/pool/background/pending.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool nobody_has(const struct pool_branch *b)
{
	return !b->disk && b->child_count < 2;
}

/* To-dos, and branches that nobody has: what they give back is known when they have been looked at. */
static uint64_t pending_steps(struct pool *p)
{
	uint64_t steps = 0;

	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		list_for_each (n, &p->map.branch_hash[i]) {
			const struct pool_branch *b = container_of(n, struct pool_branch, hash_link);

			steps += nobody_has(b);
		}
	}
	list_for_each (n, &p->commit.todos.list) {
		const struct pool_branch *b =
			pool_branch_find(&p->map, container_of(n, struct pool_todo, link)->branch);

		steps += b && !nobody_has(b); /* else it goes with the branch */
	}
	return steps;
}

static void pool_stats(struct store *s, struct store_stats *out)
{
	struct pool *p = pool_of(s);
	uint64_t pending = (pool_pending_chunks(p) + pool_share_loose(&p->space)) * POOL_BLOCKS +
			   pool_frees_blocks(&p->space);

	memset(out, 0, sizeof(*out));
	out->capacity_bytes = (p->super.capacity_chunks - 1) << POOL_CHUNK_SHIFT;
	out->used_bytes = (p->space.used_chunks - 1) << POOL_CHUNK_SHIFT;
	out->reclaim_pending_bytes = pending << POOL_BLOCK_SHIFT;
	if (out->reclaim_pending_bytes > out->used_bytes)
		out->reclaim_pending_bytes = out->used_bytes;
	out->reclaim_pending_steps = pending_steps(p);
	out->reserved_bytes = p->space.reserved_chunks << POOL_CHUNK_SHIFT;
	out->log_bytes = p->super.log_bytes;
	out->log_used_bytes = p->log.used;
	out->map_memory_bytes = p->map.bytes_max;
	out->map_memory_used_bytes = p->map.bytes;
	out->read_only = p->base.latched != 0;
	if (p->mirror.active || !p->mirror.wanted)
		snprintf(out->mirror, sizeof(out->mirror), "%s", p->mirror.active ? "current" : "none");
	else
		snprintf(out->mirror, sizeof(out->mirror), "lost: %s", p->mirror.reason);
	snprintf(out->read_only_reason, sizeof(out->read_only_reason), "%s", p->base.latch_reason);
}

static int pool_disk_open(struct store *s, uint64_t disk_id, struct store_disk **out)
{
	struct pool_disk *d = pool_disk_find(&pool_of(s)->map, disk_id);

	if (!d || d->pending)
		return -ENOENT;
	*out = &d->base;
	return 0;
}

static uint64_t pool_disk_id(const struct store_disk *d)
{
	return pool_disk_of(d)->id;
}

static uint64_t pool_disk_size(const struct store_disk *d)
{
	return pool_disk_of(d)->size_bytes;
}

static uint64_t pool_disk_used(const struct store_disk *d)
{
	return pool_disk_of(d)->branch->blocks << POOL_BLOCK_SHIFT;
}

struct iterate_arg {
	enum store_table table;
	int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len);
	void *arg;
};

static int iterate_each(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	const struct iterate_arg *a = arg;

	if (!intact)
		return -EUCLEAN;
	if (key_len < 1 || key[0] != a->table)
		return 0;
	return a->each(a->arg, key + 1, key_len - 1, value, value_len);
}

static int pool_iterate(struct store *s, enum store_table table,
	int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len),
	void *arg)
{
	struct pool *p = pool_of(s);
	struct iterate_arg a = {table, each, arg};
	MDB_txn *txn;
	int err = pool_meta_begin(&p->meta, true, &txn);

	if (err)
		return err;
	err = pool_meta_all(&p->meta, txn, POOL_TABLE_CATALOGUE, iterate_each, &a);
	pool_meta_abort(txn);
	return err;
}

static struct store_txn *txn_begin(struct store *s)
{
	return pool_txn_handle(pool_txn_new(&pool_of(s)->commit));
}

static void cut_begin(struct store *s, struct store_cut *cut, void (*cut_done)(void *arg, int err), void *arg)
{
	store_cut_begins(cut);
	pool_cut_begin(&pool_of(s)->commit, cut, cut_done, arg);
}

static void reserve(struct store_reserve *r)
{
	pool_reserve_begin(&pool_of(r->disks[0]->store)->space, r);
}

static void submit(struct store_io *io)
{
	pool_of(io->disk->store)->client_ios += io->op != STORE_CLONE;
	if (io->op == STORE_CLONE)
		pool_clone(io);
	else
		pool_submit(io);
}

const struct store_ops pool_ops = {
	.name = "pool",
	.close = pool_close,
	.stats = pool_stats,
	.grow = pool_grow_start,
	.backup = pool_backup_start,
	.scrub_start = pool_scrub_start,
	.scrub_stop = pool_scrub_stop,
	.scrub_view = pool_scrub_view,
	.disk_open = pool_disk_open,
	.disk_id = pool_disk_id,
	.disk_size = pool_disk_size,
	.disk_used = pool_disk_used,
	.account = pool_account_start,
	.submit = submit,
	.txn_begin = txn_begin,
	.txn_put = pool_txn_put,
	.txn_del = pool_txn_del,
	.txn_disk_create = pool_txn_disk_create,
	.txn_disk_fork = pool_txn_disk_fork,
	.txn_disk_delete = pool_txn_disk_delete,
	.txn_disk_resize = pool_txn_disk_resize,
	.txn_disk_repoint = pool_txn_disk_repoint,
	.txn_commit = pool_txn_commit,
	.txn_drop = pool_txn_drop,
	.iterate = pool_iterate,
	.cut = cut_begin,
	.cut_commit = pool_cut_commit,
	.cut_drop = pool_cut_drop,
	.hydrate = pool_hydrate_start,
	.hydrate_cancel = pool_hydrate_cancel,
	.clones = true,
	.reserve = reserve,
	.reserve_join = pool_reserve_join,
	.reserve_end = pool_reserve_end,
};
