/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is mapped, used and free, in whole objects (objects.c). All of it may block, so it runs on workers, and what callers want at once is
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
	int err;
};

static void look_run(struct look *l, const struct rbd_objects *o)
{
	uint64_t at = l->io->offset, end;

	l->io->mapped = rbd_objects_at(o, at, &end) >= 0;
	do {
		at = end;
	} while (at < l->end && (rbd_objects_at(o, at, &end) >= 0) == l->io->mapped);
	if (at > l->end)
		at = l->end;
	l->io->run_bytes = at - l->io->offset;
}

static void look_work(struct rbd_job *job)
{
	struct look *l = container_of(job, struct look, job);
	char id[RBD_ID_BYTES];
	struct rbd_objects o;

	l->err = rbd_get_id(l->image->handle, id, sizeof(id));
	if (l->err >= 0)
		l->err = rbd_objects_read(l->image->s, id, true, &o);
	if (l->err < 0)
		return;
	look_run(l, &o);
	rbd_objects_free(&o);
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
	struct rbd_disk *disk; /* NULL: it went meanwhile */
	char name[RBD_IMAGE_NAME_BYTES];
	struct store_account *account; /* or NULL: only what it uses */
	uint64_t own_bytes, all_bytes;
	bool copied; /* copies hang on it */
	int err;
};

static void count(struct rbd_used *u, const struct rbd_objects *o)
{
	uint64_t end;

	for (uint64_t at = 0; at < o->size_bytes; at = end) {
		int who = rbd_objects_at(o, at, &end);
		uint64_t bytes = (end < o->size_bytes ? end : o->size_bytes) - at;

		u->own_bytes += who == 0 ? bytes : 0;
		u->all_bytes += who >= 0 ? bytes : 0;
	}
}

static int look_at(struct rbd_used *u)
{
	struct rbd_objects o;
	char id[RBD_ID_BYTES];
	int err = rbd_image_id(u->s, u->name, id);

	if (err >= 0)
		err = rbd_objects_read(u->s, id, u->account, &o);
	if (err < 0)
		return err;
	count(u, &o);
	rbd_objects_free(&o);
	if (!u->account)
		return 0;
	err = rbd_header_has_children(u->s->cluster.io, id);
	u->copied = err > 0;
	return err;
}

static void used_work(struct rbd_job *job)
{
	struct rbd_used *u = container_of(job, struct rbd_used, job);

	u->err = look_at(u);
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
	list_remove(&u->link);
	if (u->account)
		account_end(u);
	free(u);
	s->lingering--;
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
	u->job.work = used_work;
	u->job.done = used_done;
	s->busy++;
	s->lingering++;
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

	if (old && !d->counting && !d->pending && !s->closing && !atomic_load(&s->resting) &&
		!atomic_load(&s->lease.lost)) {
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
