/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool as a store: the operations table, statistics, close, and the small things that all its files
 * use. See pool.h for the invariants and docs/pool-format.md for the durability argument.
 */
#include "array/store/pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOUNCE_KEPT 64u

void pool_latch(struct pool *p, int err, const char *what)
{
	if (p->latched)
		return;
	p->latched = err ? err : -EIO;
	snprintf(p->latch_reason, sizeof(p->latch_reason),
		"the pool failed while %s: %s; look at its disk, then restart umbrad", what,
		strerror(-p->latched));
}

void *pool_xrealloc(void *old, size_t bytes)
{
	void *p = realloc(old, bytes);

	if (!p && bytes) {
		fputs("umbra: out of memory\n", stderr);
		abort();
	}
	return p;
}

void pool_free_list_add(struct pool_free_list *l, uint64_t phys)
{
	if (l->count == l->room) {
		l->room = l->room ? 2 * l->room : 256;
		l->phys = pool_xrealloc(l->phys, l->room * sizeof(l->phys[0]));
	}
	l->phys[l->count++] = phys;
}

void pool_free_list_move(struct pool_free_list *to, struct pool_free_list *from)
{
	if (to->count == 0) {
		struct pool_free_list swap = *to;

		*to = *from;
		*from = swap;
		return;
	}
	for (size_t i = 0; i < from->count; i++)
		pool_free_list_add(to, from->phys[i]);
	from->count = 0;
}

uint8_t *pool_bounce_get(struct pool *p)
{
	void *buf;

	if (p->bounce_count)
		return p->bounce_free[--p->bounce_count];
	return posix_memalign(&buf, POOL_BLOCK_BYTES, POOL_CHUNK_BYTES) ? NULL : buf;
}

void pool_bounce_put(struct pool *p, uint8_t *buf)
{
	if (p->bounce_count < BOUNCE_KEPT)
		p->bounce_free[p->bounce_count++] = buf;
	else
		free(buf);
}

static void buffer_room(struct pool_buffer *b, size_t bytes)
{
	size_t room = b->room ? b->room : 4096;

	while (room < b->len + bytes)
		room *= 2;
	if (room != b->room)
		b->data = pool_xrealloc(b->data, room);
	b->room = room;
}

void pool_buffer_bytes(struct pool_buffer *b, const void *data, size_t len)
{
	if (len == 0)
		return;
	buffer_room(b, len);
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

void pool_buffer_record(struct pool_buffer *b, const struct pool_record *record)
{
	buffer_room(b, pool_record_size(record));
	b->len += pool_record_encode(b->data + b->len, record);
	b->records++;
}

void pool_wake_all(struct list *waiters, int err)
{
	struct list now;
	struct list_node *n;

	list_init(&now);
	while ((n = list_pop(waiters)))
		list_push_back(&now, n);
	while ((n = list_pop(&now))) {
		struct pool_waiter *w = container_of(n, struct pool_waiter, link);

		w->wake(w, err);
	}
}

/* ---- small operations ------------------------------------------------------------------------------ */

/* Of deleted disks whose branch nobody else needs. */
static uint64_t droppable_chunks(const struct pool *p)
{
	uint64_t chunks = 0;

	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		list_for_each (n, &p->branch_hash[i]) {
			const struct pool_branch *b = container_of(n, struct pool_branch, hash_link);

			if (!b->disk && b->child_count == 0)
				chunks += b->chunks;
		}
	}
	return chunks;
}

static void pool_stats(struct store *s, struct store_stats *out)
{
	const struct pool *p = pool_of(s);
	uint64_t pending = droppable_chunks(p) + pool_refs_loose(p) + p->free_new.count +
			   p->cycle_frees.count + p->free_logged.count + p->free_grace.count +
			   p->free_discard.count;

	memset(out, 0, sizeof(*out));
	out->capacity_bytes = (p->super.capacity_chunks - 1) << POOL_CHUNK_SHIFT;
	out->used_bytes = (p->used_chunks - 1) << POOL_CHUNK_SHIFT;
	out->reclaim_pending_bytes = pending << POOL_CHUNK_SHIFT;
	if (out->reclaim_pending_bytes > out->used_bytes)
		out->reclaim_pending_bytes = out->used_bytes;
	out->reserved_bytes = p->reserved_chunks << POOL_CHUNK_SHIFT;
	out->read_only = p->latched != 0;
	snprintf(out->read_only_reason, sizeof(out->read_only_reason), "%s", p->latch_reason);
}

static int pool_disk_open(struct store *s, uint64_t disk_id, struct store_disk **out)
{
	struct pool_disk *d = pool_disk_find(pool_of(s), disk_id);

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
	return pool_disk_of(d)->branch->chunks << POOL_CHUNK_SHIFT;
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
	err = pool_meta_each(&p->meta, txn, POOL_TABLE_CATALOGUE, iterate_each, &a);
	mdb_txn_abort(txn);
	return err;
}

/* ---- close ----------------------------------------------------------------------------------------- */

static bool may_close(const struct pool *p)
{
	if (p->cycle_running || p->checkpoint_running || p->map_loads || p->growing || p->discard_running ||
		pool_reclaim_busy(p) || !list_empty(&p->hydrations))
		return false;
	if (p->latched)
		return true;
	return !p->cycle_wanted && !pool_cycle_needed(p) && list_empty(&p->backlog);
}

static void close_called(struct pool_call *call)
{
	struct pool *p = container_of(call, struct pool, close_call);
	void (*done)(void *arg, int err) = p->close_done;
	void *arg = p->close_arg;
	int err = p->latched ? -EIO : 0;

	if (!p->close_ready) { /* a call that was asked for after this one must not find the pool gone */
		p->close_ready = true;
		p->host->ops->call(p->host, call);
		return;
	}
	pool_destroy(p);
	done(arg, err);
}

void pool_close_step(struct pool *p)
{
	if (!p->closing || p->close_asked)
		return;
	if (may_close(p)) {
		p->close_asked = true;
		p->close_call.call = close_called;
		p->host->ops->call(p->host, &p->close_call);
		return;
	}
	if (p->latched)
		return;
	if (!p->cycle_running && !p->cycle_wanted && pool_cycle_needed(p))
		pool_cycle_request(p);
	else if (!p->cycle_running && !p->cycle_wanted && !p->checkpoint_running && !list_empty(&p->backlog))
		pool_checkpoint_request(p);
}

static void close_begin(struct pool_call *call)
{
	struct pool *p = container_of(call, struct pool, close_call);

	pool_reclaim_stop(p);
	pool_hydrate_stop(p);
	pool_alloc_wake(p, 0); /* nothing comes any more */
	pool_cycle_request(p);
	pool_close_step(p);
}

static void pool_close(struct store *s, void (*done)(void *arg, int err), void *arg)
{
	struct pool *p = pool_of(s);

	p->closing = true;
	p->close_done = done;
	p->close_arg = arg;
	p->host->ops->timer_disarm(p->host, &p->flush_timer);
	p->host->ops->timer_disarm(p->host, &p->checkpoint_timer);
	p->flush_timer_armed = p->checkpoint_timer_armed = true; /* never again */
	p->close_call.call = close_begin;
	p->host->ops->call(p->host, &p->close_call);
}

static void free_objects(struct pool *p)
{
	struct list_node *n;

	while ((n = list_pop(&p->sub_free)))
		free(container_of(n, struct pool_sub, link));
	while ((n = list_pop(&p->piece_free)))
		free(container_of(n, struct pool_piece, link));
	while ((n = list_pop(&p->lock_free)))
		free(container_of(n, struct pool_lock, hash_link));
	while ((n = list_pop(&p->todos)))
		free(container_of(n, struct pool_todo, link));
	while (p->bounce_count)
		free(p->bounce_free[--p->bounce_count]);
	free(p->bounce_free);
	while ((n = list_pop(&p->backlog)) || (n = list_pop(&p->checkpointing))) {
		struct pool_backlog *b = container_of(n, struct pool_backlog, link);

		free(b->buf);
		free(b);
	}
	free(p->dirty);
	free(p->cycle_buf.data);
}

static void free_branches(struct pool *p)
{
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		struct list_node *n;

		while ((n = p->disk_hash[i].head.next) != &p->disk_hash[i].head)
			pool_disk_free(container_of(n, struct pool_disk, hash_link));
	}
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		list_for_each (n, &p->branch_hash[i]) {
			struct pool_branch *b = container_of(n, struct pool_branch, hash_link);

			b->parent = NULL;
			b->child_count = 0;
			list_init(&b->cuts);
			list_init(&b->writes);
		}
	}
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		struct list_node *n;

		while ((n = p->branch_hash[i].head.next) != &p->branch_hash[i].head)
			pool_branch_free(p, container_of(n, struct pool_branch, hash_link));
	}
}

void pool_destroy(struct pool *p)
{
	struct pool_host *host = p->host;

	if (p->opened) {
		host->ops->timer_disarm(host, &p->flush_timer);
		host->ops->timer_disarm(host, &p->checkpoint_timer);
	}
	pool_reclaim_free(p->reclaim);
	pool_reserve_destroy(p);
	free_branches(p);
	free_objects(p);
	pool_alloc_destroy(p);
	if (p->log_file)
		host->ops->file_close(p->log_file);
	pool_data_close(p);
	pool_meta_close(&p->meta);
	free(p);
	host->ops->free(host);
}

const struct store_ops pool_ops = {
	.name = "pool",
	.close = pool_close,
	.stats = pool_stats,
	.disk_open = pool_disk_open,
	.disk_id = pool_disk_id,
	.disk_size = pool_disk_size,
	.disk_used = pool_disk_used,
	.submit = pool_submit,
	.txn_begin = pool_txn_begin,
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
	.cut = pool_cut,
	.cut_commit = pool_cut_commit,
	.cut_drop = pool_cut_drop,
	.hydrate = pool_hydrate,
	.hydrate_cancel = pool_hydrate_cancel,
	.clones = true,
	.reserve = pool_reserve,
	.reserve_join = pool_reserve_join,
	.reserve_end = pool_reserve_end,
};
