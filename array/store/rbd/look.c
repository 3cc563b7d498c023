/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is mapped, used and free. Ceph keeps a map of the objects of each image (object-map, fast-diff), so this is told in whole
 * objects, 4 MiB as a rule, without looking at the data. All of it may block, so it runs on workers, and what callers want at once is
 * what was counted last.
 */
#include "array/store/rbd/rbd.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAPPED_MAX_BYTES   (UINT64_C(64) << 30) /* looked at for one answer */
#define USED_FRESH_NS      UINT64_C(30000000000)
#define ROOM_FRESH_NS      UINT64_C(5000000000)
#define RESERVE_DISK_BYTES (STORE_RESERVE_CHUNKS * (UINT64_C(4) << 20))

/* ---- MAPPED ---- */

struct look {
	struct rbd_job job;
	struct rbd_image *image;
	struct store_io *io;
	void (*done)(struct store_io *io, int err);
	uint64_t end; /* of the range */
	uint64_t run_end;
	bool first;
	int err;
};

static int look_extent(uint64_t offset, size_t len, int exists, void *arg)
{
	struct look *l = arg;

	if (!exists || offset + len <= l->io->offset) /* of the first object, the part before */
		return 0;
	if (l->first) {
		l->first = false;
		l->io->mapped = offset <= l->io->offset;
		l->run_end = l->io->mapped ? offset + len : offset;
		return l->io->mapped ? 0 : -ERANGE; /* known: no more is needed */
	}
	if (offset > l->run_end)
		return -ERANGE;
	l->run_end = offset + len;
	return 0;
}

static void look_work(struct rbd_job *job)
{
	struct look *l = container_of(job, struct look, job);
	uint64_t object = l->image->object_bytes;
	uint64_t from = l->io->offset / object * object;

	l->first = true;
	l->io->mapped = false;
	l->run_end = l->end;
	l->err = rbd_diff_iterate2(l->image->handle, NULL, from, l->end - from, 1, 1, look_extent, l);
	if (l->err == -ERANGE)
		l->err = 0;
	if (l->run_end > l->end)
		l->run_end = l->end;
	l->io->run_bytes = l->run_end - l->io->offset;
}

static void look_done(struct rbd_job *job)
{
	struct look *l = container_of(job, struct look, job);
	struct store_io *io = l->io;
	void (*done)(struct store_io *, int) = l->done;
	int err = l->err < 0 ? rbd_err(l->err) : 0;

	free(l);
	done(io, err);
}

void rbd_mapped(struct rbd_image *i, struct store_io *io, void (*done)(struct store_io *io, int err))
{
	struct look *l = calloc(1, sizeof(*l));
	uint64_t len = io->len < MAPPED_MAX_BYTES ? io->len : MAPPED_MAX_BYTES;

	if (!l) {
		done(io, -ENOMEM);
		return;
	}
	l->image = i;
	l->io = io;
	l->done = done;
	l->end = io->offset + len;
	l->job.work = look_work;
	l->job.done = look_done;
	rbd_work(&i->s->workers, RBD_LANE_MAPPED, &l->job);
}

/* ---- what a disk holds ---- */

struct rbd_used {
	struct rbd_job job;
	struct list_node link; /* of the disk */
	struct rbd_store *s;
	struct rbd_disk *disk;   /* NULL: it went meanwhile */
	struct rbd_image *image; /* with a reference: its handle may be used; or NULL */
	char name[RBD_IMAGE_NAME_BYTES];
	struct store_account *account; /* or NULL: only what it uses */
	uint64_t own_bytes, all_bytes;
	bool copied; /* copies hang on it */
	int err;
};

static int add_extent(uint64_t offset, size_t len, int exists, void *arg)
{
	(void)offset;
	if (exists)
		*(uint64_t *)arg += len;
	return 0;
}

static int count(struct rbd_used *u, rbd_image_t handle)
{
	rbd_linked_image_spec_t child;
	uint64_t size_bytes;
	size_t children = 1;
	int err = rbd_get_size(handle, &size_bytes);

	if (err >= 0)
		err = rbd_diff_iterate2(handle, NULL, 0, size_bytes, 0, 1, add_extent, &u->own_bytes);
	if (err < 0 || !u->account)
		return err;
	err = rbd_diff_iterate2(handle, NULL, 0, size_bytes, 1, 1, add_extent, &u->all_bytes);
	if (err < 0)
		return err;
	err = rbd_list_children3(handle, &child, &children);
	u->copied = err == -ERANGE || (err >= 0 && children);
	if (err >= 0)
		rbd_linked_image_spec_list_cleanup(&child, children);
	return err == -ERANGE ? 0 : err;
}

static void used_work(struct rbd_job *job)
{
	struct rbd_used *u = container_of(job, struct rbd_used, job);
	rbd_image_t handle;

	if (u->image) {
		u->err = count(u, u->image->handle);
		return;
	}
	u->err = rbd_chain(u->s, u->name);
	if (u->err >= 0)
		u->err = rbd_open_read_only(u->s->cluster.io, u->name, &handle, NULL);
	if (u->err < 0)
		return;
	u->err = count(u, handle);
	rbd_close(handle);
}

/* A disk on which copies hang gives nothing back before they go, and what of it was written since they were taken is counted as
 * shared: Ceph's maps do not tell it apart. */
static void account_end(struct rbd_used *u)
{
	struct store_account *a = u->account;

	a->exclusive_bytes = a->freed_bytes = u->copied ? 0 : u->own_bytes;
	a->shared_bytes = u->all_bytes - a->exclusive_bytes;
	a->done(a, !u->disk || u->s->closing ? -ECANCELED : u->err < 0 ? rbd_err(u->err) : 0);
}

static void used_done(struct rbd_job *job)
{
	struct rbd_used *u = container_of(job, struct rbd_used, job);
	struct rbd_store *s = u->s;
	struct rbd_disk *d = u->disk;

	if (d && !u->account)
		d->counting = NULL;
	if (d && u->err >= 0) {
		d->used_bytes = u->own_bytes;
		d->used_ns = reactor_now_ns(s->base.reactor);
		d->used_known = true;
	}
	if (u->image)
		rbd_image_put(u->image);
	list_remove(&u->link);
	if (u->account)
		account_end(u);
	free(u);
	rbd_busy_end(s);
}

static struct rbd_used *used_start(struct rbd_disk *d, struct store_account *a)
{
	struct rbd_store *s = rbd_store_of(d->base.store);
	struct rbd_used *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->s = s;
	u->disk = d;
	u->account = a;
	snprintf(u->name, sizeof(u->name), "%s", d->image->name);
	if (d->image->state == RBD_IMAGE_OPEN) {
		u->image = d->image;
		rbd_image_get(u->image);
	}
	u->job.work = used_work;
	u->job.done = used_done;
	s->busy++;
	list_push_back(&d->looks, &u->link);
	rbd_work(&s->workers, RBD_LANE_LOOK, &u->job);
	return u;
}

uint64_t rbd_disk_used(const struct store_disk *disk)
{
	struct rbd_disk *d = rbd_disk_of(disk);
	struct rbd_store *s = rbd_store_of(disk->store);
	bool old = !d->used_known ||
		   (d->written && reactor_now_ns(s->base.reactor) - d->used_ns > USED_FRESH_NS);

	if (old && !d->counting && !d->pending && !s->closing && !atomic_load(&s->lease.lost)) {
		d->written = false;
		d->counting = used_start(d, NULL);
	}
	return d->used_bytes;
}

void rbd_used_forget(struct rbd_disk *d)
{
	struct list_node *n;

	while ((n = list_pop(&d->looks)))
		container_of(n, struct rbd_used, link)->disk = NULL;
	d->counting = NULL;
	d->used_known = false;
	d->used_bytes = 0;
}

void rbd_account(struct store_account *a)
{
	struct rbd_store *s = rbd_store_of(a->disk->store);

	if (s->closing)
		a->done(a, -ECANCELED);
	else if (atomic_load(&s->lease.lost))
		a->done(a, -ESHUTDOWN);
	else if (!used_start(rbd_disk_of(a->disk), a))
		a->done(a, -ENOMEM);
}

/* ---- how full the pool is ---- */

static void room_work(struct rbd_job *job)
{
	struct rbd_store *s = container_of(job, struct rbd_store, room_job);

	s->room_err = rbd_cluster_room(&s->cluster, s->pool, &s->room_next);
}

void rbd_room_tell(struct rbd_store *s)
{
	enum rbd_fullness before = s->room_told, now = s->room.fullness;

	s->room_told = now;
	if (now == before)
		return;
	switch (now) {
	case RBD_ROOM:
		rbd_notice_as(s, STORE_NOTICE_INFO, "Ceph's pool %s has room again", s->pool);
		break;
	case RBD_NEARLY_FULL:
		rbd_notice_as(s, STORE_NOTICE_WARNING,
			"Ceph's pool %s is nearly full (see ceph health detail): delete what nobody needs, or add OSDs, "
			"before hosts' writes fail",
			s->pool);
		break;
	case RBD_FULL:
		rbd_notice(s,
			"Ceph's pool %s is full (see ceph health detail): hosts' writes fail until something is deleted, or "
			"there are more OSDs",
			s->pool);
		break;
	case RBD_QUOTA:
		rbd_notice(s,
			"the quota of Ceph's pool %s is used up: hosts' writes fail until something is deleted, or it is "
			"raised (ceph osd pool set-quota)",
			s->pool);
		break;
	}
}

static void room_done(struct rbd_job *job)
{
	struct rbd_store *s = container_of(job, struct rbd_store, room_job);

	s->room_running = false;
	s->room_ns = reactor_now_ns(s->base.reactor);
	if (s->room_err >= 0) {
		s->room = s->room_next;
		rbd_room_tell(s);
	}
	rbd_busy_end(s);
}

void rbd_room_refresh(struct rbd_store *s)
{
	if (s->room_running || s->closing || atomic_load(&s->lease.lost) ||
		(s->room_ns && reactor_now_ns(s->base.reactor) - s->room_ns < ROOM_FRESH_NS))
		return;
	s->room_running = true;
	s->busy++;
	s->room_job.work = room_work;
	s->room_job.done = room_done;
	rbd_work(&s->workers, RBD_LANE_LOOK, &s->room_job);
}

void rbd_stats(struct store *store, struct store_stats *out)
{
	struct rbd_store *s = rbd_store_of(store);

	rbd_room_refresh(s);
	memset(out, 0, sizeof(*out));
	out->capacity_bytes = s->room.capacity_bytes;
	out->used_bytes = s->room.used_bytes;
	list_for_each (n, &s->todos) {
		const struct rbd_todo *t = container_of(n, struct rbd_todo, link);

		out->reclaim_pending_steps += !t->parked;
		out->reclaim_pending_bytes += t->parked ? 0 : t->bytes;
	}
	if (out->reclaim_pending_bytes > out->used_bytes)
		out->reclaim_pending_bytes = out->used_bytes;
	out->read_only = atomic_load(&s->lease.lost);
	if (out->read_only)
		snprintf(out->read_only_reason, sizeof(out->read_only_reason), "%.127s", s->lease.reason);
	snprintf(out->mirror, sizeof(out->mirror), "none");
}

/*
 * Ceph cannot set room aside: what is free is everybody's. So a reserve is a look before the cut: a pool that has not the room for
 * what importing the copies writes (an object each time) is told now, when nothing has happened yet. And the images are opened, so
 * that the cut, with the gates closed, need not.
 */
struct reserve {
	struct rbd_store *s;
	struct store_reserve *owner; /* NULL: it was ended */
	unsigned left;
	int err;
	struct rbd_job job; /* looks at the room */
	struct rbd_room room;
	int room_err;
	struct reserved {
		struct reserve *r;
		struct rbd_image *image;
		struct rbd_waiter waiter;
	} images[];
};

static void reserve_step(struct reserve *r, int err)
{
	struct rbd_store *s = r->s;

	if (err && !r->err)
		r->err = err;
	if (--r->left)
		return;
	if (r->owner) {
		r->owner->priv = NULL;
		r->owner->done(r->owner, r->err);
	}
	free(r);
	rbd_busy_end(s);
}

static void reserve_opened(struct rbd_waiter *w, int err)
{
	struct reserved *one = container_of(w, struct reserved, waiter);

	if (!err)
		rbd_image_put(one->image);
	reserve_step(one->r, err);
}

static bool room_is_short(const struct rbd_store *s, unsigned disks)
{
	uint64_t free_bytes =
		s->room.capacity_bytes > s->room.used_bytes ? s->room.capacity_bytes - s->room.used_bytes : 0;

	/* 0: the cluster does not tell (it has no manager) */
	return s->room.fullness >= RBD_FULL ||
	       (s->room.capacity_bytes && free_bytes < disks * RESERVE_DISK_BYTES);
}

static void reserve_open(struct reserve *r)
{
	for (unsigned i = 0, count = r->left - 1; i < count; i++) {
		struct reserved *one = &r->images[i];

		*one = (struct reserved){.r = r, .image = rbd_disk_of(r->owner->disks[i])->image};
		one->waiter.call = reserve_opened;
		rbd_image_need(one->image, &one->waiter);
	}
	reserve_step(r, 0);
}

static void reserve_room_work(struct rbd_job *job)
{
	struct reserve *r = container_of(job, struct reserve, job);

	r->room_err = rbd_cluster_room(&r->s->cluster, r->s->pool, &r->room);
}

static void reserve_room_done(struct rbd_job *job)
{
	struct reserve *r = container_of(job, struct reserve, job);

	if (r->room_err >= 0) {
		r->s->room = r->room;
		rbd_room_tell(r->s);
	}
	if (r->owner && !room_is_short(r->s, r->left - 1)) {
		reserve_open(r);
		return;
	}
	r->left = 1;
	reserve_step(r, -ENOSPC);
}

/* What is known of the room may be old: nobody is refused before it was looked at again. */
void rbd_reserve(struct store_reserve *owner)
{
	struct rbd_store *s = rbd_store_of(owner->disks[0]->store);
	struct reserve *r = NULL;
	int err = atomic_load(&s->lease.lost) ? -EROFS : 0;

	owner->priv = NULL;
	if (!err && !owner->at_hand) {
		r = calloc(1, sizeof(*r) + owner->count * sizeof(r->images[0]));
		err = r ? 0 : -ENOMEM;
	}
	if (!r) {
		owner->done(owner, err);
		return;
	}
	r->s = s;
	r->owner = owner;
	r->left = owner->count + 1;
	owner->priv = r;
	s->busy++;
	if (!owner->ready_only && room_is_short(s, owner->count)) {
		r->job.work = reserve_room_work;
		r->job.done = reserve_room_done;
		rbd_work(&s->workers, RBD_LANE_LOOK, &r->job);
		return;
	}
	if (!owner->ready_only)
		rbd_room_refresh(s);
	reserve_open(r);
}

void rbd_reserve_join(struct store_reserve *r, struct store_disk *d)
{
	(void)r, (void)d;
}

void rbd_reserve_end(struct store_reserve *owner)
{
	struct reserve *r = owner->priv;

	if (r)
		r->owner = NULL;
	owner->priv = NULL;
}
