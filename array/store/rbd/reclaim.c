/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images to be deleted, and ties to be cut at the parent's end (tie.c). A deletion is recorded in the catalogue by the transaction that
 * takes the disk away, and the record goes when the image is gone, or in Ceph's trash: a restart goes on with it. An image that copies
 * hang on goes to the trash. librbd takes it from there with its last copy, but for when the two ends meet, and does not where the tie of
 * its last copy was cut here; so it is kept in mind (parked), and tried again after other images or ties have gone.
 *
 * At the opening, images with a name of this array's that no record has are deleted as well: a crash left them. The same for its
 * images in the trash, where librbd was killed in the middle. One that it was just moving there it takes neither on nor back
 * (EUCLEAN): the end of that move is made here.
 */
#include "array/store/rbd/rbd.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MS     5000u
#define RETRY_MAX_MS 300000u
#define PARKED_MS    500u

/* ---- on a worker. A deletion is not stopped when the store closes: librbd leaves an image that is stopped in the middle without
 * a name. The close waits for it; who is in a hurry may kill the process. But what a large image holds has gone before (shrink.c), and
 * that can be stopped. ---- */

/* Calls for each entry of the trash until one does not return 0. */
static int trash_each(
	struct rbd_store *s, int (*each)(void *arg, const rbd_trash_image_info_t *entry), void *arg)
{
	rbd_trash_image_info_t *entries = NULL;
	size_t count = 64;
	int err;

	do {
		free(entries);
		entries = calloc(count, sizeof(entries[0]));
		if (!entries)
			return -ENOMEM;
		err = rbd_trash_list(s->cluster.io, entries, &count);
		count += err == -ERANGE ? 64 : 0; /* it may grow meanwhile */
	} while (err == -ERANGE);
	if (err >= 0) {
		err = 0;
		for (size_t i = 0; i < count && !err; i++)
			err = each(arg, &entries[i]);
		rbd_trash_list_cleanup(entries, count);
	}
	free(entries);
	return err;
}

static int trash_find(void *arg, const rbd_trash_image_info_t *entry)
{
	struct rbd_todo *t = arg;

	if (strcmp(entry->name, t->image) == 0)
		snprintf(t->id, sizeof(t->id), "%s", entry->id);
	return 0;
}

static int drop_cuts(struct rbd_todo *t)
{
	rbd_image_t handle;
	int err = rbd_image_open(t->s, t->image, &handle);

	if (err < 0)
		return err;
	err = rbd_image_drop_cuts(handle, true);
	rbd_close(handle);
	return err;
}

/* What was demoted librbd does not delete, and says only that the call is wrong. */
static int removal_why(struct rbd_todo *t, int err)
{
	rbd_image_t handle;

	if (err != -EINVAL || rbd_open_by_id_read_only(t->s->cluster.io, t->id, &handle, NULL) < 0)
		return err;
	err = rbd_image_why(handle, err);
	rbd_close(handle);
	return err;
}

/* Out of the names that `rbd ls` shows: it is gone, or in the trash under its id. */
static int image_remove(struct rbd_todo *t)
{
	struct rbd_store *s = t->s;
	struct rbd_removal removal;
	int err = rbd_image_id(s, t->image, t->id);

	if (err < 0 && err != -ENOENT)
		return err;
	if (err >= 0 && rbd_shrink_closed(s, t->id, &t->job) == -EINTR)
		return -EINTR;
	/* Without an id, too: what was killed in the middle of this is in the trash, is not listed there, and is found here. */
	rbd_removal_begin(s, &removal, t->id);
	err = rbd_remove_with_progress(s->cluster.io, t->image, rbd_shrink_progress, &t->job);
	if (err == -ENOTEMPTY || err == -EBUSY) {
		err = drop_cuts(t);
		if (err >= 0)
			err = rbd_remove_with_progress(s->cluster.io, t->image, rbd_shrink_progress, &t->job);
	}
	rbd_removal_end(s, &removal);
	if (err != -ENOENT)
		return removal_why(t, err);
	if (!t->id[0]) /* in the trash since another time, or nowhere */
		return trash_each(s, trash_find, t);
	/* librbd says so also where the trash, through which each image goes, takes none. */
	return rbd_image_id(s, t->image, t->id) == -ENOENT ? 0 : -EAGAIN;
}

/* 0: it is to wait, for copies, or for what librbd may take it with (removal.c). */
static int trash_is_ours(struct rbd_store *s, const char *id)
{
	int err = rbd_header_has_children(s->cluster.io, id);

	if (err < 0 && err != -ENOENT)
		return err;
	return err <= 0 && !rbd_removal_may_take(s, id);
}

static int trash_remove(struct rbd_todo *t)
{
	rados_ioctx_t io = t->s->cluster.io;
	rbd_trash_image_info_t info;
	struct rbd_removal removal;
	int err = rbd_trash_get(io, t->id, &info);

	if (err >= 0) {
		rbd_trash_get_cleanup(&info);
		err = trash_is_ours(t->s, t->id);
		if (err == 0)
			err = -ENOTEMPTY;
	}
	if (err > 0) {
		rbd_removal_begin(t->s, &removal, t->id);
		err = rbd_shrink_closed(t->s, t->id, &t->job);
		if (err >= 0)
			err = rbd_trash_remove_with_progress(io, t->id, true, rbd_shrink_progress, &t->job);
		rbd_removal_end(t->s, &removal);
	}
	/* Copies hang on it. */
	t->hangs = err == -ENOTEMPTY || err == -ECHILD || err == -EBUSY;
	return err == -ENOENT || t->hangs ? 0 : err;
}

/* ---- a move to the trash that was cut short */

enum { /* cls_rbd's states of an entry */
	TRASH_NORMAL,
	TRASH_MOVING
};

/* All but the last step was done, or librbd would go on by itself: the entry counts from now on. */
static int trash_settle(struct rbd_todo *t)
{
	struct rbd_bytes in = {.len = 0};
	char out[8];

	if (!t->id[0])
		return -ENOENT;
	rbd_put_text(&in, t->id);
	in.data[in.len++] = TRASH_NORMAL;
	in.data[in.len++] = TRASH_MOVING; /* if it is so */
	return rados_exec(t->s->cluster.io, "rbd_trash", "rbd", "trash_state_set", (const char *)in.data,
		in.len, out, sizeof(out));
}

static int remove_whole(struct rbd_todo *t)
{
	int err = image_remove(t);

	return err >= 0 && t->id[0] ? trash_remove(t) : err;
}

static int delete_work(struct rbd_todo *t)
{
	int err = 0;

	if (t->handle) {
		err = rbd_shrink(t->s, t->handle, &t->job);
		rbd_close(t->handle);
	}
	t->handle = NULL;
	if (rbd_leaves(t->s))
		return -EINTR;
	if (!err)
		err = remove_whole(t);
	if (err == -EUCLEAN && trash_settle(t) >= 0)
		err = remove_whole(t);
	return err;
}

static int tie_work(struct rbd_todo *t)
{
	return rbd_leaves(t->s) ? -EINTR : rbd_tie_lose(t->s, t->image, t->tie);
}

static void reclaim_work(struct rbd_job *job)
{
	struct rbd_todo *t = container_of(job, struct rbd_todo, job);
	struct rbd_store *s = t->s;

	t->put_off = t->hangs = false;
	t->err = t->tie ? tie_work(t) : delete_work(t);
	if (t->err != -EINTR)
		return;
	/* Who has lost the array does not know any more what is named, and what is not. */
	t->put_off = !atomic_load(&s->lease.lost) && !atomic_load(&s->ending);
	t->err = t->put_off ? 0 : -ESHUTDOWN;
}

/* ---- on the reactor ---- */

static void reclaim_done(struct rbd_job *job);

static void todo_free(struct rbd_todo *t)
{
	struct rbd_store *s = t->s;

	reactor_timer_disarm(s->base.reactor, &t->timer);
	if (t->renews)
		list_remove(&t->renewal.link);
	list_remove(&t->link);
	free(t->tie);
	free(t);
}

/* One with a handle is started while the store closes in any case, for that to be closed: else its lock and its watch would outlive
 * the client, and whoever deletes the image next waits for their end, 30 s. */
static void start(struct rbd_todo *t)
{
	if (t->renews || (atomic_load(&t->s->resting) && !(t->s->closing && t->handle)))
		return;
	t->s->busy++;
	t->woken = false;
	t->running = true;
	t->job.work = reclaim_work;
	t->job.done = reclaim_done;
	rbd_work(&t->s->workers, RBD_LANE_RECLAIM, &t->job);
}

static void again(struct reactor_timer *timer)
{
	start(container_of(timer, struct rbd_todo, timer));
}

static void retry(struct rbd_todo *t)
{
	uint64_t delay_ms = (uint64_t)RETRY_MS << (t->tries < 6 ? t->tries : 6);

	t->tries++;
	t->timer.fire = again;
	reactor_timer_arm(t->s->base.reactor, &t->timer, delay_ms < RETRY_MAX_MS ? delay_ms : RETRY_MAX_MS);
}

static void parked_again(struct reactor_timer *timer)
{
	struct rbd_store *s = container_of(timer, struct rbd_store, parked_timer);

	list_for_each (n, &s->todos) {
		struct rbd_todo *t = container_of(n, struct rbd_todo, link);

		t->woken = t->running;
		if (t->parked && !t->running)
			start(t);
	}
}

void rbd_reclaim_parked(struct rbd_store *s)
{
	s->parked_timer.fire = parked_again;
	if (!s->closing)
		reactor_timer_arm(s->base.reactor, &s->parked_timer, PARKED_MS);
}

/* The catalogue need not know any more. */
static void settled(struct rbd_todo *t)
{
	struct rbd_store *s = t->s;

	if (t->parked && !s->closing) {
		if (t->woken)
			start(t);
		return;
	}
	todo_free(t);
	rbd_reclaim_parked(s);
}

static void recorded_gone(void *arg, int err)
{
	struct rbd_todo *t = arg;
	struct rbd_store *s = t->s;

	t->running = false;
	if (err && err != -ESHUTDOWN && !s->closing) {
		retry(t);
	} else {
		t->recorded = false;
		settled(t);
	}
	rbd_busy_end(s);
}

static void failure_tell(const struct rbd_todo *t)
{
	if (t->tries != 1)
		return;
	if (t->tie)
		rbd_notice(t->s,
			"the image %s needs nothing any more of the one that it was a copy of (id %s), which cannot be told so yet, "
			"and keeps what it had: %s",
			t->image, t->tie->parent.id, rbd_failure_words(t->err));
	else
		rbd_notice(t->s, "the image %s, which nothing needs any more, cannot be deleted yet: %s",
			t->image,
			t->err == -ENOTEMPTY ? "it has snapshots that somebody made by hand (rbd snap ls)"
					     : rbd_failure_words(t->err));
}

static void reclaim_done(struct rbd_job *job)
{
	struct rbd_todo *t = container_of(job, struct rbd_todo, job);
	struct rbd_store *s = t->s;

	if (t->put_off) {
		t->put_off = t->running = false;
		if (s->closing)
			todo_free(t);
		else
			start(t);
		rbd_busy_end(s);
		return;
	}
	t->running = t->recorded && t->err >= 0;
	t->parked = t->hangs && t->err >= 0;
	if (t->err == -ESHUTDOWN || (t->err < 0 && s->closing)) {
		todo_free(t); /* left to the next opening */
	} else if (t->err < 0) {
		failure_tell(t);
		retry(t);
	} else if (!t->recorded) {
		settled(t);
	} else if (rbd_txn_reclaimed(s, t->image, recorded_gone, t) == 0) {
		return; /* still busy */
	} else {
		t->running = false;
		retry(t);
	}
	rbd_busy_end(s);
}

static struct rbd_todo *todo_new(struct rbd_store *s, const char *image)
{
	struct rbd_todo *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->s = s;
	snprintf(t->image, sizeof(t->image), "%s", image);
	list_push_back(&s->todos, &t->link);
	return t;
}

bool rbd_reclaim(struct rbd_store *s, const char *image, bool recorded, rbd_image_t handle, uint64_t bytes)
{
	struct rbd_todo *t = todo_new(s, image);

	if (!t)
		return false;
	t->recorded = recorded;
	t->handle = handle;
	t->bytes = bytes;
	if (s->open)
		start(t);
	return true;
}

static void renewed(struct rbd_renewal *r)
{
	struct rbd_todo *t = container_of(r, struct rbd_todo, renewal);

	t->renews = false;
	start(t);
}

bool rbd_reclaim_tie(struct rbd_store *s, const char *image, const struct rbd_tie *tie)
{
	struct rbd_todo *t = todo_new(s, image);

	if (t)
		t->tie = malloc(sizeof(*t->tie));
	if (!t || !t->tie) {
		if (t)
			todo_free(t);
		return false;
	}
	*t->tie = *tie;
	if (!s->open) /* nor is any image */
		return true;
	t->renews = true;
	t->renewal = (struct rbd_renewal){.done = renewed, .image = t->image};
	rbd_images_renew(s, &t->renewal);
	return true;
}

void rbd_reclaim_start(struct rbd_store *s)
{
	list_for_each (n, &s->todos) {
		struct rbd_todo *t = container_of(n, struct rbd_todo, link);

		if (!t->running) /* it came since */
			start(t);
	}
}

enum store_rest rbd_reclaim_rest(struct store *store, bool rest)
{
	struct rbd_store *s = rbd_store_of(store);
	bool rested = atomic_exchange(&s->resting, rest), busy = s->labels || s->lingering;

	list_for_each (n, &s->todos) {
		struct rbd_todo *t = container_of(n, struct rbd_todo, link);

		busy = busy || t->running;
		if (!rested || rest || t->running || t->parked)
			continue;
		reactor_timer_disarm(s->base.reactor, &t->timer);
		start(t);
	}
	if (!rest)
		s->ios_since_ms = 0;
	return busy ? STORE_REST_WORKS : rest && rbd_ios_old(s) ? STORE_REST_IO : STORE_RESTS;
}

void rbd_reclaim_stop(struct rbd_store *s)
{
	reactor_timer_disarm(s->base.reactor, &s->parked_timer);
	list_for_each_safe (n, &s->todos) {
		struct rbd_todo *t = container_of(n, struct rbd_todo, link);

		if (t->running)
			continue;
		if (t->handle)
			start(t);
		else
			todo_free(t);
	}
}

void rbd_reclaim_free(struct rbd_store *s)
{
	list_for_each_safe (n, &s->todos)
		todo_free(container_of(n, struct rbd_todo, link));
}

/* Each image that is deleted goes through the trash, which Ceph makes with the first one: an object that a full pool would not take, so
 * that nothing could be deleted there. Makes it before. */
static void trash_make(struct rbd_store *s)
{
	rados_write_op_t op = rados_create_write_op();

	rados_write_op_create(op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
	rados_write_op_operate(op, s->cluster.io, "rbd_trash", NULL,
		LIBRADOS_OPERATION_FULL_FORCE | LIBRADOS_OPERATION_FULL_TRY);
	rados_release_write_op(op);
}

/* ---- the sweep ---- */

struct names {
	const char **list;
	size_t count, room;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool names_has(const struct names *n, const char *name)
{
	return n->count && bsearch(&name, n->list, n->count, sizeof(n->list[0]), by_name);
}

static int names_add(struct names *n, const char *name)
{
	if (n->count == n->room) {
		size_t room = n->room ? 2 * n->room : 256;
		const char **list = realloc(n->list, room * sizeof(list[0]));

		if (!list)
			return -ENOMEM;
		n->list = list;
		n->room = room;
	}
	n->list[n->count++] = name;
	return 0;
}

struct sweep {
	struct rbd_store *s;
	struct names disks, todos; /* images that are named; sorted */
	size_t found;              /* of the disks' */
};

static int sweep_one(struct sweep *w, const char *name)
{
	struct rbd_store *s = w->s;
	uint64_t id, copy;

	if (!rbd_image_name_parse(name, s->array, &id, &copy))
		return 0;
	/* Should it stay, its name is not used again. */
	if (id >= s->next_id)
		s->next_id = id + 1;
	if (copy >= s->next_id)
		s->next_id = copy + 1;
	if (names_has(&w->disks, name)) {
		w->found++;
		return 0;
	}
	if (names_has(&w->todos, name))
		return 0;
	return rbd_reclaim(s, name, false, NULL, 0) ? 0 : -ENOMEM;
}

static int sweep_trash(void *arg, const rbd_trash_image_info_t *entry)
{
	struct sweep *w = arg;
	size_t found = w->found;
	/* Only what librbd put there: what an administrator has thrown away may be wanted back. */
	int err = entry->source == RBD_TRASH_IMAGE_SOURCE_USER_PARENT ||
				  entry->source == RBD_TRASH_IMAGE_SOURCE_REMOVING
			  ? sweep_one(w, entry->name)
			  : 0;

	w->found = found;
	return err;
}

int rbd_images_each(rados_ioctx_t io, int (*each)(void *arg, const char *name), void *arg)
{
	rbd_image_spec_t *images = NULL;
	size_t count = 256;
	int err;

	do {
		free(images);
		images = calloc(count, sizeof(images[0]));
		if (!images)
			return -ENOMEM;
		err = rbd_list2(io, images, &count);
		count += err == -ERANGE ? 64 : 0;
	} while (err == -ERANGE);
	if (err >= 0) {
		err = 0;
		for (size_t i = 0; i < count && !err; i++)
			err = each(arg, images[i].name);
		rbd_image_spec_list_cleanup(images, count);
	}
	free(images);
	return err;
}

static int sweep_image(void *arg, const char *name)
{
	return sweep_one(arg, name);
}

static int names_of(struct sweep *w)
{
	struct rbd_store *s = w->s;
	int err = 0;

	for (unsigned i = 0; i < RBD_BUCKETS; i++) {
		list_for_each (n, &s->buckets[i])
			if (!err)
				err = names_add(
					&w->disks, container_of(n, struct rbd_disk, link)->image->name);
	}
	list_for_each (n, &s->todos) {
		const struct rbd_todo *t = container_of(n, struct rbd_todo, link);

		if (!err && !t->tie)
			err = names_add(&w->todos, t->image);
	}
	if (!err && w->disks.count)
		qsort(w->disks.list, w->disks.count, sizeof(w->disks.list[0]), by_name);
	if (!err && w->todos.count)
		qsort(w->todos.list, w->todos.count, sizeof(w->todos.list[0]), by_name);
	return err;
}

int rbd_sweep(struct rbd_store *s)
{
	struct sweep w = {.s = s};
	int err = names_of(&w);

	trash_make(s);
	if (!err)
		err = rbd_images_each(s->cluster.io, sweep_image, &w);
	if (!err && w.found < w.disks.count)
		rbd_notice(s,
			"%zu images that the array's catalogue names are not in the pool: I/O on their LUNs fails",
			w.disks.count - w.found);
	if (!err)
		err = trash_each(s, sweep_trash, &w);
	free(w.disks.list);
	free(w.todos.list);
	return err;
}
