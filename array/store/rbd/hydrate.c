/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a clone independent. librbd's own flatten has no pace, so the objects that only the parent has are copied here before, some
 * at a time: the first block of such an object is compared with itself and written back, which makes librbd copy the object as a
 * whole, unless somebody wrote to it meanwhile, and then it is copied already. What was copied stays if it is stopped. Then the tie to
 * the parent is cut (tie.c).
 */
#include "array/store/rbd/rbd.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH    8u
#define SLICE_MS 100u

/* librbd opens them all with an image: some milliseconds for each, and memory. Reads pass over those that have nothing there. */
#define PARENTS_MAX 8u

struct rbd_hydration {
	struct store_hydration *h;
	struct rbd_store *s;
	struct rbd_disk *disk;
	struct rbd_image *image; /* with a reference, once open */
	struct rbd_waiter waiter;
	struct rbd_job job;
	struct reactor_message message; /* the pace and the progress meet */
	struct reactor_deferred cancelled;
	atomic_bool posted, cancel;
	_Atomic uint64_t passed_bytes, bytes_per_s;
	bool working;
	/* of the worker */
	struct rbd_tie tie;
	bool cut; /* its parent's end is left */
	int err;
};

/* To be opened anew, the image is let go; it goes on then. Who asks lives. */
static bool stopped(struct rbd_hydration *y)
{
	rbd_job_lives(&y->job);
	return atomic_load(&y->cancel) || atomic_load(&y->s->lease.lost) || atomic_load(&y->image->stale);
}

static void meet(struct rbd_hydration *y)
{
	bool no = false;

	if (atomic_compare_exchange_strong(&y->posted, &no, true))
		reactor_post(y->s->base.reactor, &y->message);
}

static void met(struct reactor_message *m)
{
	struct rbd_hydration *y = container_of(m, struct rbd_hydration, message);

	atomic_store(&y->posted, false);
	y->h->passed_bytes = atomic_load(&y->passed_bytes);
	atomic_store(&y->bytes_per_s, y->h->bytes_per_s);
	if (y->h->passed)
		y->h->passed(y->h);
}

/* ---- on a worker ---- */

#define SAID 2

struct objects {
	uint8_t *
		missing; /* one each: 1: the parent has it, the clone has not; SAID: the clone's object map has it */
	uint64_t count, bytes;
	uint64_t unit,
		stripes; /* of an image that is striped (by hand, or an earlier umbrad); stripes is 1 else */
};

/* Where the object begins in the image. */
static uint64_t object_offset(const struct objects *o, uint64_t i)
{
	return i / o->stripes * o->stripes * o->bytes + i % o->stripes * o->unit;
}

/*
 * What an image has, its object map says before it has it: killed in between, librbd leaves an object in the map that is not there. By the
 * map's word alone it would not be copied, and the parent's data would be lost. So what the map says is looked at.
 */
static int objects_prove(struct rbd_hydration *y, struct objects *o)
{
	struct rbd_store *s = y->s;
	rbd_image_t handle = y->image->handle;
	char prefix[RBD_IMAGE_NAME_BYTES], name[RBD_IMAGE_NAME_BYTES + 20];
	int64_t pool = rbd_get_data_pool_id(handle);
	rados_ioctx_t io;
	int err = pool < 0 ? (int)pool : rbd_get_block_name_prefix(handle, prefix, sizeof(prefix));

	if (err >= 0)
		err = rados_ioctx_create2(s->cluster.rados, pool, &io);
	if (err < 0)
		return err;
	rados_ioctx_set_namespace(io, s->space);
	for (uint64_t i = 0; i < o->count && err >= 0 && !stopped(y); i++) {
		uint64_t size;
		time_t when;

		if (o->missing[i] != SAID)
			continue;
		snprintf(name, sizeof(name), "%s.%016" PRIx64, prefix, i);
		err = rados_stat(io, name, &size, &when);
		o->missing[i] = err == -ENOENT;
		err = err == -ENOENT ? 0 : err;
	}
	rados_ioctx_destroy(io);
	return err < 0 ? err : stopped(y) ? -ECANCELED : 0;
}

/* Maps are told by whole objects that lie one behind the other. Where they do not, each is copied that may be missing. */
static int objects_striped(struct objects *o, uint64_t size_bytes)
{
	uint64_t set = o->stripes * o->bytes;

	o->count = (size_bytes + set - 1) / set * o->stripes;
	o->missing = calloc(o->count ? o->count : 1, 1);
	if (!o->missing)
		return -ENOMEM;
	for (uint64_t i = 0; i < o->count; i++)
		o->missing[i] = object_offset(o, i) < size_bytes;
	return 0;
}

static int objects_look(struct rbd_hydration *y, struct objects *o, const char *id)
{
	struct rbd_objects all;
	rbd_image_info_t info;
	int err = rbd_stat(y->image->handle, &info, sizeof(info));

	if (err >= 0)
		err = rbd_get_stripe_unit(y->image->handle, &o->unit);
	if (err >= 0)
		err = rbd_get_stripe_count(y->image->handle, &o->stripes);
	if (err < 0)
		return err;
	o->bytes = info.obj_size;
	if (o->stripes > 1)
		return objects_striped(o, info.size);
	err = rbd_objects_read(y->s, id, true, &all);
	if (err < 0)
		return err;
	o->count = (all.size_bytes + o->bytes - 1) / o->bytes;
	o->missing = calloc(o->count ? o->count : 1, 1);
	for (uint64_t i = 0, end; o->missing && i < o->count; i++) {
		int who = rbd_objects_at(&all, i * o->bytes, &end);

		o->missing[i] = who < 0 ? 0 : who ? 1 : SAID;
	}
	rbd_objects_free(&all);
	return o->missing ? objects_prove(y, o) : -ENOMEM;
}

/* So that no more than bytes_per_s has been copied since the beginning of the batch. */
static void pace(struct rbd_hydration *y, uint64_t bytes, uint64_t begun_ms)
{
	for (;;) {
		uint64_t rate = atomic_load(&y->bytes_per_s);
		struct timespec t = {.tv_nsec = SLICE_MS * 1000000L};

		if (!rate || stopped(y) || clock_boot_ms() - begun_ms >= bytes * 1000 / rate)
			return;
		meet(y);
		nanosleep(&t, NULL);
	}
}

struct copy {
	uint64_t offset, mismatch;
	rbd_completion_t completion;
	char block[STORE_BLOCK_BYTES];
};

static int copies_wait(struct copy *c, unsigned count, int err)
{
	for (unsigned i = 0; i < count; i++) {
		rbd_aio_wait_for_complete(c[i].completion);
		int64_t r = rbd_aio_get_return_value(c[i].completion);

		rbd_aio_release(c[i].completion);
		if (r < 0 && r != -EILSEQ && err >= 0)
			err = (int)r;
	}
	return err;
}

static int copies_do(struct rbd_hydration *y, struct copy *c, unsigned count, bool write)
{
	rbd_image_t handle = y->image->handle;
	unsigned begun = 0;
	int err = 0;

	for (; begun < count; begun++) {
		struct copy *p = &c[begun];

		err = rbd_aio_create_completion(NULL, NULL, &p->completion);
		if (err < 0)
			break;
		err = write ? (int)rbd_aio_compare_and_write(handle, p->offset, sizeof(p->block), p->block,
				      p->block, p->completion, &p->mismatch, 0)
			    : rbd_aio_read(handle, p->offset, sizeof(p->block), p->block, p->completion);
		if (err < 0) {
			rbd_aio_release(p->completion);
			break;
		}
	}
	return copies_wait(c, begun, err);
}

static int copy_all(struct rbd_hydration *y, const struct objects *o)
{
	struct copy c[BATCH];
	uint64_t i = 0;
	int err = 0;

	while (i < o->count && err >= 0 && !stopped(y)) {
		uint64_t begun_ms = clock_boot_ms();
		unsigned n = 0;

		for (; i < o->count && n < BATCH; i++)
			if (o->missing[i])
				c[n++].offset = object_offset(o, i);
		err = copies_do(y, c, n, false);
		if (err >= 0)
			err = copies_do(y, c, n, true);
		atomic_store(&y->passed_bytes, i * o->bytes);
		meet(y);
		if (err >= 0)
			pace(y, n * o->bytes, begun_ms);
	}
	return err < 0 ? err : stopped(y) ? -ECANCELED : 0;
}

static int flatten_progress(uint64_t offset, uint64_t total, void *arg)
{
	(void)offset, (void)total;
	return stopped(arg) ? -ECANCELED : 0;
}

/* A tie in the format that was Ceph's first, which somebody has made, is librbd's affair; or its parent's end was cut by hand. Its parent
 * may go from the trash with it. */
static int flatten(struct rbd_hydration *y)
{
	struct rbd_removal removal;
	int err;

	rbd_removal_begin(y->s, &removal, y->tie.id);
	err = rbd_flatten_with_progress(y->image->handle, flatten_progress, y);
	rbd_removal_end(y->s, &removal);
	return err;
}

static int cut_off(struct rbd_hydration *y)
{
	struct rbd_store *s = y->s;
	const struct rbd_parent *p = &y->tie.parent;
	rados_ioctx_t io;
	int err = rbd_parent_io(s, p, &io);

	if (err < 0)
		return err;
	err = rbd_header_names_child(io, p->id, p->snap, y->tie.id);
	rbd_parent_io_end(s, io);
	if (err == 0)
		return flatten(y);
	if (err > 0)
		err = rbd_tie_cut(s, y->image->name, &y->tie);
	y->cut = err >= 0;
	return err;
}

static void hydrate_work(struct rbd_job *job)
{
	struct rbd_hydration *y = container_of(job, struct rbd_hydration, job);
	struct objects o = {0};
	struct rbd_header header;
	char *id = y->tie.id;

	y->err = rbd_get_id(y->image->handle, id, sizeof(y->tie.id));
	if (y->err >= 0)
		y->err = rbd_header_read(y->s->cluster.io, id, RBD_HEAD, &header);
	if (y->err < 0 || header.parent.pool < 0 || !header.overlap_bytes)
		return;
	y->tie.parent = header.parent;
	y->err = objects_look(y, &o, id);
	if (y->err >= 0)
		y->err = copy_all(y, &o);
	free(o.missing);
	if (y->err >= 0)
		y->err = cut_off(y);
}

/* ---- on the reactor ---- */

static void end(struct rbd_hydration *y, int err)
{
	struct rbd_store *s = y->s;
	struct store_hydration *h = y->h;

	if (!err) /* what hung on it has fewer parents now, too: the next cut looks */
		list_for_each (n, &s->images)
			container_of(n, struct rbd_image, link)->parents = 0;
	if (y->image)
		rbd_image_put(y->image);
	y->disk->hydration = NULL;
	h->priv = NULL;
	if (!err)
		h->passed_bytes = h->total_bytes = y->disk->size_bytes;
	else if (atomic_load(&s->lease.lost))
		err = -ESHUTDOWN;
	free(y);
	if (!err)
		rbd_reclaim_parked(s);
	h->done(h, err);
	rbd_busy_end(s);
}

/* What `meet` has posted came before this. */
static void hydrate_done(struct rbd_job *job)
{
	struct rbd_hydration *y = container_of(job, struct rbd_hydration, job);

	if (y->err == -ECANCELED && !atomic_load(&y->cancel) && !atomic_load(&y->s->lease.lost)) {
		struct rbd_image *i = y->image; /* is stale */

		y->image = NULL;
		y->working = false;
		rbd_job_lives(&y->job);
		rbd_image_put(i);
		rbd_image_need_fresh(y->disk->image, &y->waiter);
		return;
	}
	if (y->cut) /* without memory the next opening does it */
		rbd_reclaim_tie(y->s, y->image->name, &y->tie);
	end(y, y->err == -ECANCELED ? -ECANCELED : y->err < 0 ? rbd_err(y->err) : 0);
}

static void opened(struct rbd_waiter *w, int err)
{
	struct rbd_hydration *y = container_of(w, struct rbd_hydration, waiter);

	if (!err)
		y->image = y->disk->image;
	if (err || atomic_load(&y->cancel)) {
		end(y, err ? err : -ECANCELED);
		return;
	}
	y->working = true;
	y->job.work = hydrate_work;
	y->job.done = hydrate_done;
	rbd_work(&y->s->workers, RBD_LANE_HYDRATE, &y->job);
}

void rbd_hydrate(struct store_hydration *h)
{
	struct rbd_disk *d = rbd_disk_of(h->disk);
	struct rbd_store *s = rbd_store_of(h->disk->store);
	struct rbd_hydration *y = calloc(1, sizeof(*y));

	assert(!d->hydration && !d->pending);
	h->passed_bytes = 0;
	h->total_bytes = d->size_bytes;
	h->priv = y;
	if (!y || atomic_load(&s->lease.lost)) {
		h->priv = NULL;
		free(y);
		h->done(h, y ? -ESHUTDOWN : -ENOMEM);
		return;
	}
	y->h = h;
	y->s = s;
	y->disk = d;
	y->message.call = met;
	atomic_store(&y->bytes_per_s, h->bytes_per_s);
	d->hydration = y;
	rbd_job_lives(&y->job);
	s->busy++;
	y->waiter.call = opened;
	rbd_image_need(d->image, &y->waiter);
}

bool rbd_hydrate_hangs(const struct store_hydration *h)
{
	const struct rbd_hydration *y = h->priv;

	return rbd_job_hangs(&y->s->workers, &y->job);
}

bool rbd_copies_deep(const struct store_disk *d)
{
	return rbd_disk_of(d)->image->parents >= PARENTS_MAX;
}

static void cancelled(struct reactor_deferred *deferred)
{
	end(container_of(deferred, struct rbd_hydration, cancelled), -ECANCELED);
}

void rbd_hydrate_cancel(struct store_hydration *h)
{
	struct rbd_hydration *y = h->priv;

	atomic_store(&y->cancel, true);
	if (!y->working || !rbd_work_cancel(&y->s->workers, &y->job))
		return;
	y->working = false;
	y->cancelled.call = cancelled;
	reactor_defer(y->s->base.reactor, &y->cancelled);
}
