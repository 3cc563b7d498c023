/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image and its handle. It is opened by the first that needs it (an array may have more images than a process can hold open
 * in a second), and stays open until no disk has it or the store ends. An open one has its exclusive lock: another client that
 * maps the image by hand can read, not write.
 */
#include "array/store/rbd/rbd.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SNAPS_MAX       4096
#define OPEN_TRIES      10u
#define SETTLE_TRIES    4u /* the lock's feature, the settings, and one that somebody changes meanwhile */
#define TOLD_MS         60000u
#define DRAIN_MS        1000u  /* so long I/O waits for the end of what is under way … */
#define DRAIN_PAUSE_MS  10000u /* … and then goes on, for so long */
#define LIBRBD_LOCK_TAG "internal"

struct rbd_image *rbd_image_new(struct rbd_store *s, const char *name, uint64_t need_bytes)
{
	struct rbd_image *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	i->s = s;
	snprintf(i->name, sizeof(i->name), "%s", name);
	i->need_bytes = need_bytes;
	list_init(&i->waiters);
	list_init(&i->cuts);
	return i;
}

/* ---- opening: on a worker ---- */

int rbd_image_id(struct rbd_store *s, const char *image, char id[RBD_ID_BYTES])
{
	char object[RBD_OBJECT_BYTES];
	struct rbd_bytes b;
	int got;

	rbd_id_object(object, image);
	got = rados_read(s->cluster.io, object, (char *)b.data, sizeof(b.data), 0);
	if (got < 0)
		return got;
	b.len = (size_t)got;
	return rbd_id_parse(&b, id) ? 0 : -EUCLEAN;
}

/* librbd opens the parents besides. One of them may be cut off its own parent meanwhile, which goes: at the next try it has none. */
int rbd_image_open(struct rbd_store *s, const char *image, rbd_image_t *handle)
{
	const struct timespec pause = {.tv_nsec = 50 * 1000000L};

	for (unsigned tries = 0;; tries++) {
		int parents = rbd_chain(s, image), err;

		if (parents < 0)
			return parents;
		err = rbd_open(s->cluster.io, image, handle, NULL);
		if (err != -ENOENT || tries > OPEN_TRIES)
			return err < 0 ? err : parents;
		if (tries)
			nanosleep(&pause, NULL);
	}
}

/* In the trash of snapshots, where the last clone takes it from: or was killed before it could. One that has clones is busy. */
static void left_over(rbd_image_t handle, uint64_t snap)
{
	rbd_snap_namespace_type_t type;

	if (rbd_snap_get_namespace_type(handle, snap, &type) >= 0 && type == RBD_SNAP_NAMESPACE_TYPE_TRASH)
		rbd_snap_remove_by_id(handle, snap);
}

int rbd_image_drop_cuts(rbd_image_t handle, bool crashed)
{
	rbd_snap_info_t *snaps = calloc(SNAPS_MAX, sizeof(*snaps));
	int max = SNAPS_MAX, count, err = 0;

	if (!snaps)
		return -ENOMEM;
	count = rbd_snap_list(handle, snaps, &max);
	for (int i = 0; i < count; i++) {
		int r = strncmp(snaps[i].name, RBD_CUT_PREFIX, strlen(RBD_CUT_PREFIX)) == 0
				? rbd_snap_remove(handle, snaps[i].name)
				: 0;

		if (r < 0 && r != -ENOENT)
			err = r;
		else if (crashed)
			left_over(handle, snaps[i].id);
	}
	if (count >= 0)
		rbd_snap_list_end(snaps);
	free(snaps);
	return count < 0 ? count : err;
}

/* The client at this address was locked out when the array was taken. */
static bool address_is_fenced(const struct rbd_store *s, const char *address)
{
	if (address[0] == 'v' && address[1] &&
		address[2] == ':') /* the protocol's version, which others leave out */
		address += 3;
	size_t len = strlen(address);
	for (const char *p = s->fenced_addresses; len && (p = strstr(p, address)); p += len)
		if ((p == s->fenced_addresses || strchr(" ,:", p[-1])) && strchr(" ,", p[len]))
			return true;
	return false;
}

/* The old owner's exclusive lock. It is dead to the cluster; else librbd would lock it out once more for each image, a monitor
 * round each. -EBUSY: the lock is none of librbd's. */
static int break_fenced_lock(struct rbd_store *s, rbd_image_t handle)
{
	char id[RBD_ID_BYTES], header[RBD_OBJECT_BYTES], tag[128], clients[256], cookies[256], addresses[256];
	size_t tag_len = sizeof(tag), clients_len = sizeof(clients), cookies_len = sizeof(cookies);
	size_t addresses_len = sizeof(addresses);
	int exclusive;

	if (rbd_get_id(handle, id, sizeof(id)) < 0)
		return 0;
	rbd_header_object(header, id);
	/* An exclusive lock has one holder: the first string of each list. -ERANGE: a shared one with many, by hand. */
	ssize_t count = rados_list_lockers(s->cluster.io, header, "rbd_lock", &exclusive, tag, &tag_len,
		clients, &clients_len, cookies, &cookies_len, addresses, &addresses_len);
	if (count == -ERANGE || (count > 0 && strcmp(tag, LIBRBD_LOCK_TAG) != 0))
		return -EBUSY;
	if (count == 1 && address_is_fenced(s, addresses))
		rados_break_lock(s->cluster.io, header, "rbd_lock", clients, cookies);
	return 0;
}

/* librbd would wait for a lock by hand (rbd lock add) without end. */
int rbd_image_own(struct rbd_store *s, rbd_image_t handle)
{
	uint64_t features = 0;
	int err = break_fenced_lock(s, handle);

	if (err >= 0)
		err = rbd_get_features(handle, &features);
	if (err >= 0 && !(features & RBD_FEATURE_EXCLUSIVE_LOCK)) {
		err = rbd_update_features(handle, RBD_FEATURE_EXCLUSIVE_LOCK, 1);
		return err < 0 ? err : 1;
	}
	return err < 0 ? err : rbd_lock_acquire(handle, RBD_LOCK_MODE_EXCLUSIVE);
}

/* Of one that was demoted librbd says that the rights are missing, that it is read-only, or that the call is wrong. */
int rbd_image_why(rbd_image_t handle, int err)
{
	rbd_mirror_image_info_t info;

	if (err >= 0 || err == -ESHUTDOWN || rbd_mirror_image_get_info(handle, &info, sizeof(info)) < 0)
		return err;
	if (info.state == RBD_MIRROR_IMAGE_ENABLED && !info.primary)
		err = -EREMOTE;
	rbd_mirror_image_get_info_cleanup(&info);
	return err;
}

/* 1: it is to be opened again. */
static int open_whole(struct rbd_image *i)
{
	rbd_image_info_t info;
	int err = rbd_stat(i->handle, &info, sizeof(info));

	if (err < 0)
		return err;
	if (info.size < i->need_bytes)
		return -ERANGE; /* somebody has shrunk it */
	i->object_bytes = info.obj_size;
	err = rbd_image_why(i->handle, rbd_image_own(i->s, i->handle));
	if (err)
		return err;
	err = rbd_image_drop_cuts(i->handle, i->s->fenced_addresses[0]);
	/* What is left of them takes room, and is tried again at the next opening. */
	return err == -ESHUTDOWN ? err : rbd_cluster_image_settings(i->handle, i->setting);
}

/* 1: it is to be opened again. */
static int open_once(struct rbd_image *i)
{
	int err = rbd_image_open(i->s, i->name, &i->handle);

	if (err < 0)
		return err;
	i->parents_found = (unsigned)err;
	err = open_whole(i);
	if (err)
		rbd_close(i->handle);
	return err;
}

static void open_work(struct rbd_job *job)
{
	struct rbd_image *i = container_of(job, struct rbd_image, job);

	i->err = 1;
	for (unsigned tries = 0; i->err > 0 && tries < SETTLE_TRIES; tries++)
		i->err = open_once(i);
	if (i->err > 0)
		i->err = -EBUSY; /* somebody changes it at the same time */
}

static void settle(struct rbd_image *i);

const char *rbd_failure_words(int err)
{
	switch (-err) {
	case EROFS:
	case EBUSY:
		return "another client has locked it, or migrates it (rbd lock ls, rbd status)";
	case ENOENT:
		return "it is not there, or its parent is not: was it deleted or renamed by hand?";
	case ERANGE:
		return "it is smaller than its LUN: was it shrunk by hand?";
	case EREMOTE:
		return "it is mirrored, and its primary is in another cluster (rbd mirror image promote)";
	case EMLINK:
		return "it is in a group of images (rbd info, rbd group image rm)";
	case EPERM:
	case EACCES:
		return "this client has not the rights for it, or not any more: osd 'profile rbd pool=POOL' (ceph auth get, ceph auth caps)";
	default:
		return strerror(-err);
	}
}

/* Not at each try of a host's. */
static void failure_tell(struct rbd_image *i)
{
	uint64_t now_ms = clock_boot_ms();

	if (i->told_ms && now_ms - i->told_ms < TOLD_MS)
		return;
	i->told_ms = now_ms;
	rbd_notice(i->s, "the image %s cannot be opened: %s", i->name, rbd_failure_words(i->err));
}

static void setting_tell(struct rbd_image *i)
{
	if (i->setting[0] && !i->s->setting_told)
		rbd_notice(i->s,
			"Ceph's pool or the image %s is set to %s (rbd config), with which acknowledged writes might be lost: "
			"images of this array get a setting of their own",
			i->name, i->setting);
	i->s->setting_told = i->s->setting_told || i->setting[0];
	i->setting[0] = 0;
}

static void reopen_work(struct rbd_job *job)
{
	rbd_close(container_of(job, struct rbd_image, job)->handle);
	open_work(job);
}

static void open_done(struct rbd_job *job);

static void open_start(struct rbd_image *i, void (*work)(struct rbd_job *job))
{
	i->state = RBD_IMAGE_OPENING;
	i->age = i->s->age;
	i->job.work = work;
	i->job.done = open_done;
	rbd_work(&i->s->workers, RBD_LANE_SHORT, &i->job);
}

/* One image less to be renewed. */
static void renewals_call(struct rbd_store *s)
{
	struct list_node *n;

	s->stale--;
	while (!s->stale && (n = list_pop(&s->renewals))) {
		struct rbd_renewal *r = container_of(n, struct rbd_renewal, link);

		r->done(r);
	}
}

static void renewed(struct rbd_image *i)
{
	if (!i->renews)
		return;
	i->renews = false;
	atomic_store(&i->stale, false);
	renewals_call(i->s);
}

static void open_done(struct rbd_job *job)
{
	struct rbd_image *i = container_of(job, struct rbd_image, job);
	struct rbd_store *s = i->s;
	struct list_node *n;
	int err = 0;

	if (i->age != s->age &&
		(i->err < 0 || i->parents_found)) { /* it, or a parent, lost its parent meanwhile */
		open_start(i, i->err < 0 ? open_work : reopen_work);
		return;
	}
	i->deep = i->err >= 0 && i->parents_found > 1;
	if (i->err < 0) {
		err = rbd_err(i->err);
		if (i->err == -ESHUTDOWN)
			rbd_lease_lost(&s->lease, "Ceph has locked this umbrad out (ceph osd blocklist ls)");
		else
			failure_tell(i);
		i->state = RBD_IMAGE_CLOSED;
	} else {
		i->state = RBD_IMAGE_OPEN;
		i->drains_from_ms = 0;
		i->parents = i->parents_found;
		list_push_back(&s->images, &i->link);
		setting_tell(i);
	}
	renewed(i);
	i->refs++; /* over the calls, which may give theirs back at once */
	while ((n = list_pop(&i->waiters))) {
		struct rbd_waiter *w = container_of(n, struct rbd_waiter, link);

		i->refs += !err;
		w->call(w, err);
	}
	rbd_image_put(i);
}

static void wait(struct rbd_image *i, struct rbd_waiter *w, bool fresh)
{
	w->fresh = fresh;
	list_push_back(&i->waiters, &w->link);
	if (i->state == RBD_IMAGE_CLOSED)
		open_start(i, open_work);
}

static struct rbd_waiter *held_up(struct rbd_image *i)
{
	list_for_each (n, &i->waiters) {
		struct rbd_waiter *w = container_of(n, struct rbd_waiter, link);

		if (i->state == RBD_IMAGE_OPEN && !w->fresh)
			return w;
	}
	return NULL;
}

/* I/O that an OSD keeps up is not over soon: what needs nothing of it goes on. False: nothing waits. */
static bool one_let_on(struct rbd_store *s)
{
	list_for_each (n, &s->images) {
		struct rbd_image *i = container_of(n, struct rbd_image, link);
		struct rbd_waiter *w = held_up(i);

		if (!w)
			continue;
		i->drains_from_ms = clock_boot_ms() + DRAIN_PAUSE_MS;
		i->refs++;
		list_remove(&w->link);
		w->call(w, 0);
		return true;
	}
	return false;
}

static void drained(struct reactor_timer *timer)
{
	while (one_let_on(container_of(timer, struct rbd_store, drain_timer)))
		;
}

/* A stale one is not held up for what takes its time: a cut, a count. What is under way as a host's I/O is over soon, as a rule. */
static bool drains(const struct rbd_image *i)
{
	return atomic_load(&i->stale) && i->refs == i->ios && clock_boot_ms() >= i->drains_from_ms;
}

void rbd_image_need(struct rbd_image *i, struct rbd_waiter *w)
{
	assert(!i->retired && !i->close);
	if (i->state != RBD_IMAGE_OPEN) {
		wait(i, w, false);
	} else if (drains(i)) {
		wait(i, w, false);
		if (!i->s->drain_timer.heap_index) {
			i->s->drain_timer.fire = drained;
			reactor_timer_arm(i->s->base.reactor, &i->s->drain_timer, DRAIN_MS);
		}
	} else {
		i->refs++;
		w->call(w, 0);
	}
}

void rbd_image_need_fresh(struct rbd_image *i, struct rbd_waiter *w)
{
	if (atomic_load(&i->stale))
		wait(i, w, true);
	else
		rbd_image_need(i, w);
}

/* What its opening needs of the OSDs. Where one does not answer, the handle that is there still serves hosts. */
static void probe_work(struct rbd_job *job)
{
	struct rbd_image *i = container_of(job, struct rbd_image, job);
	char id[RBD_ID_BYTES], map[RBD_OBJECT_BYTES];
	uint64_t size;
	time_t when;

	if (rbd_get_id(i->handle, id, sizeof(id)) < 0 || rbd_chain(i->s, i->name) < 0)
		return;
	rbd_map_object(map, id, RBD_HEAD);
	rados_stat(i->s->cluster.io, map, &size, &when);
}

static void probe_done(struct rbd_job *job)
{
	struct rbd_image *i = container_of(job, struct rbd_image, job);

	atomic_store(&i->stale, true);
	rbd_image_put(i);
}

void rbd_images_renew(struct rbd_store *s, struct rbd_renewal *r)
{
	s->age++;
	s->stale++; /* over the calls */
	list_push_back(&s->renewals, &r->link);
	list_for_each (n, &s->images) {
		struct rbd_image *i = container_of(n, struct rbd_image, link);

		if ((!i->deep && strcmp(i->name, r->image) != 0) || i->retired || i->close || i->renews)
			continue;
		i->renews = true;
		s->stale++;
		i->refs++;
		i->job.work = probe_work;
		i->job.done = probe_done;
		rbd_work(&s->workers, RBD_LANE_SHORT, &i->job);
	}
	renewals_call(s);
}

void rbd_image_get(struct rbd_image *i)
{
	i->refs++;
}

void rbd_image_put(struct rbd_image *i)
{
	assert(i->refs);
	i->refs--;
	settle(i);
}

/* ---- the end ---- */

static void close_work(struct rbd_job *job)
{
	rbd_close(container_of(job, struct rbd_image, job)->handle);
}

static void close_done(struct rbd_job *job)
{
	struct rbd_image *i = container_of(job, struct rbd_image, job);
	struct rbd_store *s = i->s;

	free(i);
	rbd_busy_end(s);
}

static void settle(struct rbd_image *i)
{
	struct rbd_store *s = i->s;

	if (i->refs || i->state == RBD_IMAGE_OPENING || i->state == RBD_IMAGE_CLOSING)
		return;
	if (!i->retired && !i->close) {
		if (!atomic_load(&i->stale))
			return;
		list_remove(&i->link);
		open_start(i, reopen_work);
		return;
	}
	list_remove(&i->link);
	renewed(i);
	if (i->retired && rbd_reclaim(s, i->name, i->recorded, i->state == RBD_IMAGE_OPEN ? i->handle : NULL,
				  i->used_bytes)) {
		free(i);
		rbd_busy_end(s);
		return;
	}
	if (i->state == RBD_IMAGE_CLOSED) { /* also without memory to delete it: the next opening does */
		free(i);
		rbd_busy_end(s);
		return;
	}
	i->state = RBD_IMAGE_CLOSING;
	i->job.work = close_work;
	i->job.done = close_done;
	rbd_work(&s->workers, RBD_LANE_SHORT, &i->job);
}

void rbd_image_retire(struct rbd_image *i, bool recorded, uint64_t used_bytes)
{
	assert(!i->retired && !i->close);
	i->retired = true;
	i->recorded = recorded;
	i->used_bytes = used_bytes;
	i->s->busy++;
	settle(i);
}

void rbd_image_close(struct rbd_image *i)
{
	assert(!i->retired && !i->close);
	i->close = true;
	i->s->busy++;
	settle(i);
}
