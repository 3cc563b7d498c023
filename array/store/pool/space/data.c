/* SPDX-License-Identifier: Apache-2.0 */
/* The data files and their growth. */
#include "array/store/pool/pool.h"

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
	struct pool *p = container_of(job, struct pool, grow_job);
	const struct pool_host_ops *ops = p->base.host->ops;
	uint64_t from = p->grown_chunks, to = p->grow_to;
	uint64_t base = (uint64_t)p->grow_segment * POOL_SEGMENT_CHUNKS;
	bool is_new = !p->grow_data.file;
	char name[32];

	p->grow_result = 0;
	p->grow_unsafe = false;
	if (is_new) {
		snprintf(name, sizeof(name), "data.%u", p->grow_segment);
		p->grow_result = ops->file_open(
			p->base.host, name, POOL_FILE_CREATE | POOL_FILE_DIRECT, &p->grow_data.file);
		if (p->grow_result == -EEXIST) /* left by a crash before it was used */
			p->grow_result =
				ops->file_open(p->base.host, name, POOL_FILE_DIRECT, &p->grow_data.file);
	}
	if (!p->grow_result)
		p->grow_result = ops->file_allocate(p->grow_data.file, (from - base) << POOL_CHUNK_SHIFT,
			(to - from) << POOL_CHUNK_SHIFT);
	/* Its name. The size becomes durable with the data that is written there, before a record speaks of that. No sync
	 * here of a file that holds data: the kernel tells of data that it lost once, and a flush must learn of it. */
	if (!p->grow_result && is_new) {
		p->grow_result = ops->file_sync(p->grow_data.file);
		p->grow_unsafe = p->grow_result && p->grow_result != -ENOSPC;
	}
}

static void grow_done(struct pool_job *job)
{
	struct pool *p = container_of(job, struct pool, grow_job);

	p->growing = false;
	if (p->grow_data.file && p->grow_segment == p->data_count) {
		p->data[p->data_count++].file = p->grow_data.file;
	}
	p->grow_data.file = NULL;
	if (p->grow_unsafe)
		pool_latch(&p->base, p->grow_result, "flushing its data");
	if (!p->grow_result) {
		p->grown_chunks = p->grow_to;
		p->grow_step = 0;
	} else if (p->grow_result == -ENOSPC && p->grow_to - p->grown_chunks > GROW_MIN_CHUNKS) {
		p->grow_step = (p->grow_to - p->grown_chunks) / 4; /* there may be room for less */
		if (p->grow_step < GROW_MIN_CHUNKS)
			p->grow_step = GROW_MIN_CHUNKS;
	} else {
		p->grow_err = p->grow_result;
		p->grow_step = 0;
		pool_ask_commit_later(&p->base); /* tries again in a while */
	}
	pool_alloc_wake(p, 0);
	pool_ask_ended(&p->base);
}

uint64_t pool_data_step(const struct pool *p)
{
	uint64_t step = p->grown_chunks / 8;

	if (p->grow_step)
		return p->grow_step;
	if (step < GROW_STEP_CHUNKS)
		return GROW_STEP_CHUNKS;
	return step < GROW_MAX_CHUNKS ? step : GROW_MAX_CHUNKS;
}

void pool_data_grow(struct pool *p)
{
	uint64_t segment_end;

	if (p->growing || p->base.closing || p->grow_err || p->base.latched ||
		p->grown_chunks >= p->super.capacity_chunks || p->super.data_device)
		return;
	p->grow_segment = (unsigned)(p->grown_chunks / POOL_SEGMENT_CHUNKS);
	if (p->grow_segment >= POOL_SEGMENTS_MAX)
		return;
	segment_end = ((uint64_t)p->grow_segment + 1) * POOL_SEGMENT_CHUNKS;
	p->grow_to = p->grown_chunks + pool_data_step(p);
	if (p->grow_to > p->super.capacity_chunks)
		p->grow_to = p->super.capacity_chunks;
	if (p->grow_to > segment_end)
		p->grow_to = segment_end;
	p->grow_data.file = p->grow_segment < p->data_count ? p->data[p->grow_segment].file : NULL;
	p->growing = true;
	p->grow_job.work = grow_work;
	p->grow_job.done = grow_done;
	p->base.host->ops->work(p->base.host, &p->grow_job, POOL_QUEUE_WORKERS);
}

/* ---- files ------------------------------------------------------------------------------------------ */

struct pool_data *pool_data_of(struct pool *p, uint64_t phys, uint64_t *offset)
{
	uint64_t segment = p->super.data_device ? 0 : phys / POOL_SEGMENT_CHUNKS;

	assert(phys > 0 && segment < p->data_count);
	*offset = (phys - segment * POOL_SEGMENT_CHUNKS) << POOL_CHUNK_SHIFT;
	return &p->data[segment];
}

int pool_data_open(struct pool *p, const char *device)
{
	const struct pool_host_ops *ops = p->base.host->ops;
	unsigned flags = POOL_FILE_DIRECT;
	uint64_t size = 0;
	int err = 0;

	p->data = calloc(POOL_SEGMENTS_MAX, sizeof(p->data[0]));
	if (!p->data)
		return -ENOMEM;
	for (unsigned i = 0; i < POOL_SEGMENTS_MAX; i++) {
		char name[32];

		snprintf(name, sizeof(name), "data.%u", i);
		err = ops->file_open(p->base.host, device ? device : name, flags, &p->data[i].file);
		if (err)
			break;
		p->data_count = i + 1;
		err = ops->file_size(p->data[i].file, &size);
		if (err)
			return err;
		p->grown_chunks = (uint64_t)i * POOL_SEGMENT_CHUNKS + (size >> POOL_CHUNK_SHIFT);
		if (device || size >> POOL_CHUNK_SHIFT < POOL_SEGMENT_CHUNKS)
			break;
	}
	if (err && !(err == -ENOENT && p->data_count > 0))
		return err;
	if (p->grown_chunks ==
		0) /* the first chunk, which is never handed out, was there from the beginning */
		return -EUCLEAN;
	if (p->grown_chunks > p->super.capacity_chunks)
		p->grown_chunks = p->super.capacity_chunks;
	return 0;
}

void pool_data_close(struct pool *p)
{
	for (unsigned i = 0; i < p->data_count; i++)
		p->base.host->ops->file_close(p->data[i].file);
	free(p->data);
	p->data = NULL;
	p->data_count = 0;
}
