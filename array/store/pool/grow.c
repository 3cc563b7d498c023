/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool grows: the superblock says how many chunks it has, and is replaced as a whole by one that says more. A chunk
 * number is handed out only after the superblock that allows it is durable, so a crash at any step leaves a pool of the old
 * capacity or of the new one. The copy on a data device tells whose the data is, not how much: it stays as it was made.
 */
#include "array/store/pool/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The map of a full pool takes about 0.2 % of its data, and up to 3 % where chunks are split; what stays free for metadata
 * besides. */
#define META_SHARE       256u
#define META_SHARE_SPLIT 32u
#define META_RESERVE     (UINT64_C(64) << 20)

struct grow_plan {
	struct pool_host *host;
	struct pool_super super;    /* with the new capacity in the end */
	uint64_t grown_chunks;      /* in data files, or on the device */
	uint64_t chunks_max;        /* 0: any number */
	uint64_t wanted_bytes;      /* 0: all that the place has */
	struct pool_sums *sums;     /* of a pool that is open and has checksums; or NULL */
	struct pool_mirror *mirror; /* its superblock goes first; or NULL */
	int mirror_lost, mirror_err;
};

static unsigned long long mib(uint64_t chunks)
{
	return (unsigned long long)(chunks >> (20 - POOL_CHUNK_SHIFT));
}

/* All that the place has, in chunks. */
static int place_chunks(const struct grow_plan *plan, uint64_t *chunks, struct fault *fault)
{
	uint64_t room, most, share = META_SHARE;
	int err;

	*chunks = plan->grown_chunks;
	if (plan->super.data_device)
		return 0;
	err = plan->host->ops->room(plan->host, &room);
	if (err)
		return fault_set(fault, err,
			"the free space of the pool's file system cannot be found (%s): look at the disk and the kernel's log",
			strerror(-err));
	most = (plan->grown_chunks << POOL_CHUNK_SHIFT) + room;
	if (plan->super.entries_each > POOL_ENTRIES_OLD)
		share = META_SHARE_SPLIT;
	if (room > META_RESERVE + most / share)
		*chunks += (room - META_RESERVE - most / share) >> POOL_CHUNK_SHIFT;
	return 0;
}

static int check_size(const struct grow_plan *plan, uint64_t chunks, uint64_t place, struct fault *fault)
{
	uint64_t now = plan->super.capacity_chunks;

	if (chunks < now && plan->wanted_bytes)
		return fault_set(fault, -EINVAL,
			"the pool has %llu MiB and cannot become smaller: its data lies anywhere in them. Make a smaller pool "
			"elsewhere and copy the LUNs there",
			mib(now - 1));
	if (chunks <= now && !plan->wanted_bytes)
		return fault_set(fault, -ENOSPC,
			plan->super.data_device
				? "the data device has no more room than the pool has already: enlarge it, then repeat this"
				: "the file system has no more room than the pool (and its metadata) may take already: enlarge it, "
				  "then repeat this; or give a capacity that it will have room for (--capacity)");
	if (plan->super.data_device && chunks > place)
		return fault_set(fault, -ENOSPC,
			"the data device has %llu MiB only: enlarge it, then repeat this", mib(place));
	if (chunks > POOL_PHYS_MAX)
		return fault_set(
			fault, -EINVAL, "a pool has at most %llu MiB: choose less", mib(POOL_PHYS_MAX));
	if (plan->chunks_max && chunks > now && chunks > plan->chunks_max)
		return fault_set(fault, -EBUSY,
			"a pool that is open grows to %llu MiB: choose less, or stop umbrad, run `umbractl pool grow PATH`, and "
			"start it again",
			mib(plan->chunks_max));
	return 0;
}

/* Finds the new capacity and makes it durable. */
static int grow(struct grow_plan *plan, struct fault *fault)
{
	uint64_t place, chunks;
	int err = place_chunks(plan, &place, fault);

	if (err)
		return err;
	chunks = plan->wanted_bytes ? (plan->wanted_bytes >> POOL_CHUNK_SHIFT) + 1
				    : place; /* chunk 0 is never used */
	if (plan->super.data_device && chunks == place + 1)
		chunks = place;
	err = check_size(plan, chunks, place, fault);
	if (err || chunks == plan->super.capacity_chunks)
		return err;
	plan->super.capacity_chunks = chunks;
	if (plan->sums)
		err = pool_touched_room(plan->sums, chunks);
	if (!err && plan->mirror)
		err = plan->mirror_err = pool_mirror_super(plan->mirror, &plan->super, &plan->mirror_lost);
	if (!err)
		err = pool_super_replace(plan->host, &plan->super);
	return err ? fault_set(fault, err,
			     "the file `pool` cannot be written (%s): give the file system room, or look at its disk; the pool has the "
			     "capacity that it had",
			     strerror(-err))
		   : 0;
}

/* ---- a pool that is open ---------------------------------------------------------------------------- */

struct pool_growth {
	struct pool *pool;
	struct store_grow *request;
	struct pool_job job;
	struct pool_call call;
	struct grow_plan plan;
	int err;
};

static void growth_end(struct pool_growth *g, int err)
{
	struct pool *p = g->pool;
	struct store_grow *request = g->request;

	request->capacity_bytes = (p->super.capacity_chunks - 1) << POOL_CHUNK_SHIFT;
	p->growth = NULL;
	p->commit.growing = false;
	free(g);
	request->done(request, err);
	pool_close_step(p);
}

static void growth_written(struct pool_job *job)
{
	struct pool_growth *g = container_of(job, struct pool_growth, job);
	struct pool *p = g->pool;
	int err = g->err;

	if (g->plan.mirror_lost)
		pool_mirror_lost(&p->mirror, g->plan.mirror_lost, "its file `pool`");
	if (g->plan.mirror_err)
		pool_latch(&p->base, g->plan.mirror_err, "striking its mirror off its data");
	if (!err)
		err = pool_bits_grow(&p->space, g->plan.super.capacity_chunks);
	if (!err && p->space.sums.on)
		err = pool_touched_grow(&p->space.sums, g->plan.super.capacity_chunks);
	if (!err) {
		p->super.capacity_chunks = g->plan.super.capacity_chunks;
		pool_meta_grown(&p->meta, p->super.capacity_chunks);
		pool_meta_grown(&p->mirror.meta, p->super.capacity_chunks);
		pool_data_room(&p->space, g->plan.grown_chunks);
	}
	growth_end(g, err);
}

static void growth_work(struct pool_job *job)
{
	struct pool_growth *g = container_of(job, struct pool_growth, job);
	struct pool_file *device = g->pool->space.data[0].file;
	uint64_t size;

	if (g->plan.super.data_device) {
		g->err = device->host->ops->file_size(device, &size);
		if (g->err) {
			fault_set(&g->request->fault, g->err,
				"the size of the data device cannot be read (%s): look at the disk and the kernel's log",
				strerror(-g->err));
			return;
		}
		g->plan.grown_chunks = size >> POOL_CHUNK_SHIFT;
	}
	g->err = grow(&g->plan, &g->request->fault);
}

static void growth_refused(struct pool_call *call)
{
	struct pool_growth *g = container_of(call, struct pool_growth, call);

	growth_end(g, g->err);
}

void pool_grow_start(struct store_grow *request)
{
	struct pool *p = pool_of(request->store);
	bool remakes = pool_remake_busy(&p->commit);
	struct pool_growth *g = p->growth || remakes ? NULL : calloc(1, sizeof(*g));

	request->fault = (struct fault){0};
	if (!g && remakes) {
		request->done(request,
			fault_set(&request->fault, -EBUSY,
				"the mirror of the metadata is being made anew: try again when `umbractl pool status` says that it is current"));
		return;
	}
	if (!g) {
		request->done(
			request, p->growth ? fault_set(&request->fault, -EBUSY,
						     "the pool is growing already: wait for the end of that")
					   : -ENOMEM);
		return;
	}
	g->pool = p;
	g->request = request;
	g->plan.host = p->base.host;
	g->plan.super = p->super;
	g->plan.grown_chunks = p->space.grown_chunks;
	g->plan.chunks_max =
		pool_meta_mapped(&p->meta) / (p->meta.splits ? POOL_META_EACH_SPLIT : POOL_META_EACH);
	g->plan.wanted_bytes = request->capacity_bytes;
	g->plan.sums = p->space.sums.on ? &p->space.sums : NULL;
	g->plan.mirror = p->mirror.active ? &p->mirror : NULL;
	p->growth = g;
	p->commit.growing = true;
	if (p->base.latched) {
		g->err =
			fault_set(&request->fault, -EROFS, "the pool is read-only: %s", p->base.latch_reason);
		g->call.call = growth_refused;
		p->base.host->ops->call(p->base.host, &g->call);
		return;
	}
	g->job.work = growth_work;
	g->job.done = growth_written;
	p->base.host->ops->work(p->base.host, &g->job, POOL_QUEUE_WORKERS);
}

/* ---- one that nobody has open ----------------------------------------------------------------------- */

static int device_chunks(struct grow_plan *plan, const char *device, struct fault *fault)
{
	struct pool_super found;
	struct pool_file *f;
	uint64_t size;
	int err;

	if (!device)
		return fault_set(
			fault, -ENXIO, "the pool keeps its data on a device: name it with --data-device");
	err = plan->host->ops->file_open(plan->host, device, POOL_FILE_READONLY, &f);
	if (err)
		return fault_set(fault, err,
			"the data device %s cannot be opened (%s): look at its path, its owner and mode",
			device, strerror(-err));
	err = pool_label_read(f, &found);
	if (!err && memcmp(found.id, plan->super.id, POOL_ID_BYTES) != 0)
		err = -EUCLEAN;
	if (!err)
		err = plan->host->ops->file_size(f, &size);
	plan->host->ops->file_close(f);
	if (err)
		return fault_set(fault, err == -ENOMEM ? err : -EUCLEAN,
			"%s does not hold the data of this pool: name the device that it was made with",
			device);
	plan->grown_chunks = size >> POOL_CHUNK_SHIFT;
	return 0;
}

static int files_chunks(struct grow_plan *plan, struct fault *fault)
{
	for (unsigned i = 0; i < POOL_SEGMENTS_MAX; i++) {
		struct pool_file *f;
		char name[32];
		uint64_t size = 0;
		int err;

		snprintf(name, sizeof(name), "data.%u", i);
		err = plan->host->ops->file_open(plan->host, name, POOL_FILE_READONLY, &f);
		if (err == -ENOENT && i > 0)
			return 0;
		if (!err) {
			err = plan->host->ops->file_size(f, &size);
			plan->host->ops->file_close(f);
		}
		if (err)
			return fault_set(fault, err,
				"the pool's %s cannot be read (%s): look at the disk and the kernel's log",
				name, strerror(-err));
		plan->grown_chunks = (uint64_t)i * POOL_SEGMENT_CHUNKS + (size >> POOL_CHUNK_SHIFT);
	}
	return 0;
}

int pool_grow_on(struct pool_host *host, const struct pool_options *options, uint64_t *capacity_bytes,
	struct fault *fault)
{
	struct grow_plan plan = {.host = host, .wanted_bytes = options->capacity_bytes};
	int err = pool_read_super(host, &plan.super, fault);

	if (err)
		return err;
	err = plan.super.data_device ? device_chunks(&plan, options->data_device, fault)
				     : files_chunks(&plan, fault);
	if (!err)
		err = grow(&plan, fault);
	if (!err)
		*capacity_bytes = (plan.super.capacity_chunks - 1) << POOL_CHUNK_SHIFT;
	return err;
}
