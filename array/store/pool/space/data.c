/* SPDX-License-Identifier: Apache-2.0 */
/* The data files and their growth. */
#include "array/store/pool/space/space.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- growth ----------------------------------------------------------------------------------------- */

/* The data files grow by an eighth of what there is, and by less when the place is nearly full. */
#define GROW_MIN_CHUNKS  16u
#define GROW_STEP_CHUNKS 1024u  /* 64 MiB */
#define GROW_MAX_CHUNKS  16384u /* 1 GiB */

static void grow_work(struct pool_job *job)
{
	struct pool_space *s = container_of(job, struct pool_space, grow_job);
	const struct pool_host_ops *ops = s->base->host->ops;
	uint64_t from = s->grown_chunks, to = s->grow_to;
	uint64_t base = (uint64_t)s->grow_segment * POOL_SEGMENT_CHUNKS;
	bool is_new = !s->grow_data.file;
	char name[32];

	s->grow_result = 0;
	s->grow_unsafe = false;
	if (is_new) {
		snprintf(name, sizeof(name), "data.%u", s->grow_segment);
		s->grow_result = ops->file_open(
			s->base->host, name, POOL_FILE_CREATE | POOL_FILE_DIRECT, &s->grow_data.file);
		if (s->grow_result == -EEXIST) /* left by a crash before it was used */
			s->grow_result =
				ops->file_open(s->base->host, name, POOL_FILE_DIRECT, &s->grow_data.file);
	}
	if (!s->grow_result)
		s->grow_result = ops->file_allocate(s->grow_data.file, (from - base) << POOL_CHUNK_SHIFT,
			(to - from) << POOL_CHUNK_SHIFT);
	/* Its name. The size becomes durable with the data that is written there, before a record speaks of that. No sync
	 * here of a file that holds data: the kernel tells of data that it lost once, and a flush must learn of it. */
	if (!s->grow_result && is_new) {
		s->grow_result = ops->file_sync(s->grow_data.file);
		s->grow_unsafe = s->grow_result && s->grow_result != -ENOSPC;
	}
}

static void grow_done(struct pool_job *job)
{
	struct pool_space *s = container_of(job, struct pool_space, grow_job);

	s->growing = false;
	if (s->grow_data.file && s->grow_segment == s->data_count) {
		s->data[s->data_count++].file = s->grow_data.file;
	}
	s->grow_data.file = NULL;
	if (s->grow_unsafe)
		pool_latch(s->base, s->grow_result, "flushing its data");
	if (!s->grow_result) {
		s->grown_chunks = s->grow_to;
		s->grow_step = 0;
	} else if (s->grow_result == -ENOSPC && s->grow_to - s->grown_chunks > GROW_MIN_CHUNKS) {
		s->grow_step = (s->grow_to - s->grown_chunks) / 4; /* there may be room for less */
		if (s->grow_step < GROW_MIN_CHUNKS)
			s->grow_step = GROW_MIN_CHUNKS;
	} else {
		s->grow_err = s->grow_result;
		s->grow_step = 0;
		pool_ask_commit_later(s->base); /* tries again in a while */
	}
	pool_alloc_wake(s, 0);
	pool_ask_ended(s->base);
}

uint64_t pool_data_step(const struct pool_space *s)
{
	uint64_t step = s->grown_chunks / 8;

	if (s->grow_step)
		return s->grow_step;
	if (step < GROW_STEP_CHUNKS)
		return GROW_STEP_CHUNKS;
	return step < GROW_MAX_CHUNKS ? step : GROW_MAX_CHUNKS;
}

void pool_data_grow(struct pool_space *s)
{
	uint64_t segment_end;

	if (s->growing || s->base->closing || s->grow_err || s->base->latched ||
		s->grown_chunks >= s->super->capacity_chunks || s->super->data_device)
		return;
	s->grow_segment = (unsigned)(s->grown_chunks / POOL_SEGMENT_CHUNKS);
	if (s->grow_segment >= POOL_SEGMENTS_MAX)
		return;
	segment_end = ((uint64_t)s->grow_segment + 1) * POOL_SEGMENT_CHUNKS;
	s->grow_to = s->grown_chunks + pool_data_step(s);
	if (s->grow_to > s->super->capacity_chunks)
		s->grow_to = s->super->capacity_chunks;
	if (s->grow_to > segment_end)
		s->grow_to = segment_end;
	s->grow_data.file = s->grow_segment < s->data_count ? s->data[s->grow_segment].file : NULL;
	s->growing = true;
	s->grow_job.work = grow_work;
	s->grow_job.done = grow_done;
	s->base->host->ops->work(s->base->host, &s->grow_job, POOL_QUEUE_WORKERS);
}

void pool_data_room(struct pool_space *s, uint64_t device_chunks)
{
	if (s->super->data_device && device_chunks > s->grown_chunks)
		s->grown_chunks =
			device_chunks < s->super->capacity_chunks ? device_chunks : s->super->capacity_chunks;
	s->grow_err = 0;
	pool_alloc_wake(s, 0);
}

/* ---- files ------------------------------------------------------------------------------------------ */

struct pool_data *pool_data_of(struct pool_space *s, uint64_t phys, uint64_t *offset)
{
	uint64_t segment = s->super->data_device ? 0 : phys / POOL_SEGMENT_CHUNKS;

	assert(phys > 0 && segment < s->data_count);
	*offset = (phys - segment * POOL_SEGMENT_CHUNKS) << POOL_CHUNK_SHIFT;
	return &s->data[segment];
}

static void plain_done(struct pool_op *op, int err)
{
	struct pool_transfer *t = container_of(op, struct pool_transfer, op);

	t->done(t, err);
}

void pool_data_submit(struct pool_space *s, struct pool_transfer *t, uint64_t phys, uint64_t offset)
{
	uint64_t base;

	t->file = pool_data_of(s, phys, &base)->file;
	t->offset = base + offset;
	t->phys = phys;
	if (s->sums.on) {
		pool_sums_submit(&s->sums, t);
		return;
	}
	t->op = (struct pool_op){.done = plain_done,
		.kind = t->kind,
		.file = t->file,
		.iov = (struct iovec *)t->iov,
		.iov_count = t->iov_count,
		.offset = t->offset,
		.len = t->len};
	s->base->host->ops->submit(s->base->host, &t->op);
}

void pool_data_written(struct pool_space *s, uint64_t phys)
{
	uint64_t unused;

	pool_data_of(s, phys, &unused)->dirty = true;
}

int pool_data_open(struct pool_space *s, const char *device)
{
	const struct pool_host_ops *ops = s->base->host->ops;
	unsigned flags = POOL_FILE_DIRECT;
	uint64_t size = 0;
	int err = 0;

	s->data = calloc(POOL_SEGMENTS_MAX, sizeof(s->data[0]));
	if (!s->data)
		return -ENOMEM;
	for (unsigned i = 0; i < POOL_SEGMENTS_MAX; i++) {
		char name[32];

		snprintf(name, sizeof(name), "data.%u", i);
		err = ops->file_open(s->base->host, device ? device : name, flags, &s->data[i].file);
		if (err)
			break;
		s->data_count = i + 1;
		err = ops->file_size(s->data[i].file, &size);
		if (err)
			return err;
		s->grown_chunks = (uint64_t)i * POOL_SEGMENT_CHUNKS + (size >> POOL_CHUNK_SHIFT);
		if (device || size >> POOL_CHUNK_SHIFT < POOL_SEGMENT_CHUNKS)
			break;
	}
	if (err && !(err == -ENOENT && s->data_count > 0))
		return err;
	if (s->grown_chunks ==
		0) /* the first chunk, which is never handed out, was there from the beginning */
		return -EUCLEAN;
	if (s->grown_chunks > s->super->capacity_chunks)
		s->grown_chunks = s->super->capacity_chunks;
	return 0;
}

void pool_data_close(struct pool_space *s)
{
	for (unsigned i = 0; i < s->data_count; i++)
		s->base->host->ops->file_close(s->data[i].file);
	free(s->data);
	s->data = NULL;
	s->data_count = 0;
}

/* ---- sync ------------------------------------------------------------------------------------------- */

static void sync_ended(struct pool_space *s, int err)
{
	if (err && !s->sync_err)
		s->sync_err = err;
	if (--s->syncs == 0)
		s->synced(s->sync_arg, s->sync_err);
}

static void sync_done(struct pool_op *op, int err)
{
	sync_ended(container_of(op, struct pool_data, sync)->space, err);
}

void pool_data_sync(struct pool_space *s, void (*synced)(void *arg, int err), void *arg)
{
	s->synced = synced;
	s->sync_arg = arg;
	s->sync_err = 0;
	s->syncs = 1;
	for (unsigned i = 0; i < s->data_count; i++) {
		struct pool_data *d = &s->data[i];

		if (!d->dirty)
			continue;
		d->dirty = false;
		d->sync = (struct pool_op){.done = sync_done, .kind = POOL_OP_SYNC, .file = d->file};
		d->space = s;
		s->syncs++;
		s->base->host->ops->submit(s->base->host, &d->sync);
	}
	sync_ended(s, 0);
}
