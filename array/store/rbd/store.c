/* SPDX-License-Identifier: Apache-2.0 */
/* The store in Ceph as a store: its table of operations, its disks, and its end. */
#include "array/store/rbd/rbd.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void __attribute__((format(printf, 3, 0)))
notice(struct rbd_store *s, enum store_notice level, const char *format, va_list args)
{
	char text[248];

	if (!s->notice)
		return;
	vsnprintf(text, sizeof(text), format, args);
	s->notice(s->notice_arg, level, text);
}

void rbd_notice_as(struct rbd_store *s, enum store_notice level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	notice(s, level, format, args);
	va_end(args);
}

void rbd_notice(struct rbd_store *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	notice(s, STORE_NOTICE_ERROR, format, args);
	va_end(args);
}

/* ---- disks ---- */

struct rbd_disk *rbd_disk_new(struct rbd_store *s, uint64_t id, uint64_t size_bytes, const char *image)
{
	struct rbd_disk *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->image = rbd_image_new(s, image, size_bytes);
	if (!d->image) {
		free(d);
		return NULL;
	}
	d->base.store = &s->base;
	d->id = id;
	d->size_bytes = size_bytes;
	list_init(&d->changing);
	list_init(&d->blocked);
	list_init(&d->ranges);
	list_init(&d->looks);
	list_push_back(&s->buckets[id % RBD_BUCKETS], &d->link);
	return d;
}

struct rbd_disk *rbd_disk_find(struct rbd_store *s, uint64_t id)
{
	list_for_each (n, &s->buckets[id % RBD_BUCKETS]) {
		struct rbd_disk *d = container_of(n, struct rbd_disk, link);

		if (d->id == id)
			return d;
	}
	return NULL;
}

void rbd_disk_free(struct rbd_disk *d)
{
	assert(!d->inflight && !d->hydration);
	rbd_used_forget(d);
	list_remove(&d->link);
	free(d);
}

static int disk_open(struct store *store, uint64_t id, struct store_disk **out)
{
	struct rbd_disk *d = rbd_disk_find(rbd_store_of(store), id);

	if (!d || d->pending)
		return -ENOENT;
	*out = &d->base;
	return 0;
}

static uint64_t disk_id(const struct store_disk *d)
{
	return rbd_disk_of(d)->id;
}

static uint64_t disk_size(const struct store_disk *d)
{
	return rbd_disk_of(d)->size_bytes;
}

static uint64_t disk_data(const struct store_disk *d)
{
	return rbd_image_data(rbd_store_of(d->store)->array, rbd_disk_of(d)->image->name);
}

/* ---- the end: deletions stop, images are closed, the array is given back ---- */

static void close_work(struct rbd_job *job)
{
	struct rbd_store *s = container_of(job, struct rbd_store, close_job);

	rbd_wire_quiesce(s);
	rbd_lease_release(s);
}

static void close_done(struct rbd_job *job)
{
	struct rbd_store *s = container_of(job, struct rbd_store, close_job);
	void (*closed)(void *, int) = s->closed;
	void *arg = s->closed_arg;
	int err = atomic_load(&s->lease.lost) ? -ESHUTDOWN : rbd_err(s->close_err);

	rbd_wire_end(s);
	rbd_store_free(s);
	closed(arg, err);
}

void rbd_store_free(struct rbd_store *s)
{
	rbd_workers_stop(&s->workers);
	for (unsigned i = 0; i < RBD_BUCKETS; i++) {
		struct list_node *n;

		while ((n = s->buckets[i].head.next) != &s->buckets[i].head) {
			struct rbd_disk *d = container_of(n, struct rbd_disk, link);

			free(d->image);
			rbd_disk_free(d);
		}
	}
	rbd_reclaim_free(s);
	rbd_lease_fini(s);
	rbd_wire_fini(s);
	rbd_cluster_close(&s->cluster);
	free(s->fenced_addresses);
	pthread_mutex_destroy(&s->removals_lock);
	free(s);
}

static void disks_close(struct rbd_store *s)
{
	for (unsigned i = 0; i < RBD_BUCKETS; i++) {
		struct list_node *n;

		while ((n = s->buckets[i].head.next) != &s->buckets[i].head) {
			struct rbd_disk *d = container_of(n, struct rbd_disk, link);

			rbd_image_close(d->image);
			rbd_disk_free(d);
		}
	}
}

void rbd_busy_end(struct rbd_store *s)
{
	assert(s->busy);
	s->busy--;
	if (!s->closing || s->busy)
		return;
	if (!s->disks_closed) { /* images at last: others used them */
		s->disks_closed = true;
		s->busy++;
		disks_close(s);
		rbd_busy_end(s);
		return;
	}
	s->close_job.work = close_work;
	s->close_job.done = close_done;
	rbd_work(&s->workers, RBD_LANE_SHORT, &s->close_job);
}

static void store_close(struct store *store, void (*done)(void *arg, int err), void *arg)
{
	struct rbd_store *s = rbd_store_of(store);

	assert(!s->closing && list_empty(&s->kept) && list_empty(&s->held));
	s->busy++;
	s->closing = true;
	s->closed = done;
	s->closed_arg = arg;
	atomic_store(&s->ending, true);
	rbd_reclaim_stop(s);
	rbd_label_stop(s);
	reactor_timer_disarm(s->base.reactor, &s->drain_timer);
	rbd_busy_end(s);
}

const struct store_ops rbd_ops = {
	.name = "rbd",
	.close = store_close,
	.rest = rbd_reclaim_rest,
	.stats = rbd_stats,
	.disk_open = disk_open,
	.disk_id = disk_id,
	.disk_size = disk_size,
	.disk_used = rbd_disk_used,
	.disk_data = disk_data,
	.account = rbd_account,
	.place = rbd_place,
	.label = rbd_label,
	.submit = rbd_submit,
	.txn_begin = rbd_txn_begin,
	.txn_put = rbd_txn_put,
	.txn_del = rbd_txn_del,
	.txn_disk_create = rbd_txn_disk_create,
	.txn_disk_fork = rbd_txn_disk_fork,
	.txn_disk_delete = rbd_txn_disk_delete,
	.txn_disk_resize = rbd_txn_disk_resize,
	.txn_disk_repoint = rbd_txn_disk_repoint,
	.txn_prepare = rbd_txn_prepare,
	.txn_commit = rbd_txn_commit,
	.txn_drop = rbd_txn_drop,
	.iterate = rbd_catalogue_iterate,
	.cut = rbd_cut,
	.cut_commit = rbd_cut_commit,
	.cut_drop = rbd_cut_drop,
	.cut_give_up = rbd_cut_give_up,
	.cut_waits = rbd_cut_waits,
	.hydrate = rbd_hydrate,
	.hydrate_cancel = rbd_hydrate_cancel,
	.hydrate_hangs = rbd_hydrate_hangs,
	.copies_deep = rbd_copies_deep,
	.opens_lazily = true,
	.reserve = rbd_reserve,
	.reserve_join = rbd_reserve_join,
	.reserve_end = rbd_reserve_end,
};
