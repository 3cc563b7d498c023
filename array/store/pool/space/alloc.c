/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Physical chunks: bitmaps per 1,024 chunks, growth of the data files, and the long way of a freed chunk.
 *
 * A freed chunk goes: free_new (the map dropped it) → the next frame → free_logged (the free is durable) →
 * free_grace (until all I/O that began before has ended) → free_discard (its discard is under way) → its bit
 * is cleared and it may be handed out. LMDB's bitmaps follow the log's records, not these. Others wait for such a grace
 * period, too (pool_grace_wait): a viewer may only go when nobody reads any more what was looked up through it.
 *
 * grown_chunks - used_chunks >= reserved_chunks, always: what is set aside (reserve.c) is a number of free chunks, not
 * certain ones, and nobody else's allocation goes below it.
 */
#include "array/store/pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/bytes.h"

/* The data files grow by an eighth of what there is, and by less when the place is nearly full. */
#define GROW_MIN_CHUNKS  16u
#define GROW_STEP_CHUNKS 1024u  /* 64 MiB */
#define GROW_MAX_CHUNKS  16384u /* 1 GiB */

/* The part of the pool that background work leaves free. */
#define SPARE_SHARE 64u

/* ---- bitmaps --------------------------------------------------------------------------------------- */

static bool bit_get(const struct pool *p, uint64_t phys)
{
	const uint64_t *g = p->groups[phys / POOL_GROUP_CHUNKS];
	unsigned at = phys % POOL_GROUP_CHUNKS;

	return g && (g[at / 64] >> (at % 64) & 1);
}

static bool bit_set(struct pool *p, uint64_t phys)
{
	uint64_t **g = &p->groups[phys / POOL_GROUP_CHUNKS];
	unsigned at = phys % POOL_GROUP_CHUNKS;

	if (!*g && !(*g = calloc(POOL_GROUP_CHUNKS / 64, sizeof(uint64_t))))
		return false;
	assert(!bit_get(p, phys));
	(*g)[at / 64] |= UINT64_C(1) << (at % 64);
	p->group_free[phys / POOL_GROUP_CHUNKS]--;
	p->used_chunks++;
	return true;
}

static void bit_clear(struct pool *p, uint64_t phys)
{
	uint64_t *g = p->groups[phys / POOL_GROUP_CHUNKS];
	unsigned at = phys % POOL_GROUP_CHUNKS;

	assert(bit_get(p, phys));
	g[at / 64] &= ~(UINT64_C(1) << (at % 64));
	p->group_free[phys / POOL_GROUP_CHUNKS]++;
	p->used_chunks--;
}

static int load_group(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct pool *p = arg;
	uint64_t group;

	if (!intact || key_len != 8 || value_len != POOL_GROUP_BYTES)
		return -EUCLEAN;
	group = get_be64(key);
	if (group >= p->group_count)
		return -EUCLEAN;
	for (unsigned i = 0; i < POOL_GROUP_CHUNKS; i++) {
		uint64_t phys = group * POOL_GROUP_CHUNKS + i;

		if (!(value[i / 8] >> (i % 8) & 1) || phys == 0)
			continue;
		if (phys >= p->grown_chunks) /* its data file has lost its end */
			return -EUCLEAN;
		if (!bit_set(p, phys))
			return -ENOMEM;
	}
	return 0;
}

int pool_alloc_load(struct pool *p)
{
	uint64_t capacity = p->super.capacity_chunks;
	MDB_txn *txn;
	int err;

	p->group_count = (capacity + POOL_GROUP_CHUNKS - 1) / POOL_GROUP_CHUNKS;
	p->groups = calloc(p->group_count, sizeof(p->groups[0]));
	p->group_free = malloc(p->group_count * sizeof(p->group_free[0]));
	if (!p->groups || !p->group_free)
		return -ENOMEM;
	for (uint64_t g = 0; g < p->group_count; g++)
		p->group_free[g] = POOL_GROUP_CHUNKS;
	if (!bit_set(p, 0)) /* never handed out */
		return -ENOMEM;
	err = pool_meta_begin(&p->meta, true, &txn);
	if (err)
		return err;
	err = pool_meta_each(&p->meta, txn, POOL_TABLE_SPACE, load_group, p);
	mdb_txn_abort(txn);
	return err;
}

void pool_alloc_destroy(struct pool *p)
{
	for (uint64_t g = 0; p->groups && g < p->group_count; g++)
		free(p->groups[g]);
	free(p->groups);
	free(p->group_free);
	free(p->free_new.phys);
	free(p->free_logged.phys);
	free(p->free_grace.phys);
	free(p->free_discard.phys);
	free(p->cycle_frees.phys);
	free(p->unshared.phys);
}

/* ---- growth ---------------------------------------------------------------------------------------- */

static void grow_work(struct pool_job *job)
{
	struct pool *p = container_of(job, struct pool, grow_job);
	const struct pool_host_ops *ops = p->host->ops;
	uint64_t from = p->grown_chunks, to = p->grow_to;
	uint64_t base = (uint64_t)p->grow_segment * POOL_SEGMENT_CHUNKS;
	bool is_new = !p->grow_data.file;
	char name[32];

	p->grow_result = 0;
	p->grow_unsafe = false;
	if (is_new) {
		snprintf(name, sizeof(name), "data.%u", p->grow_segment);
		p->grow_result = ops->file_open(
			p->host, name, POOL_FILE_CREATE | POOL_FILE_DIRECT, &p->grow_data.file);
		if (p->grow_result == -EEXIST) /* left by a crash before it was used */
			p->grow_result = ops->file_open(p->host, name, POOL_FILE_DIRECT, &p->grow_data.file);
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
		pool_latch(p, p->grow_result, "flushing its data");
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
		pool_cycle_later(p); /* tries again in a while */
	}
	pool_alloc_wake(p, 0);
	pool_close_step(p);
}

static uint64_t grow_step(const struct pool *p)
{
	uint64_t step = p->grown_chunks / 8;

	if (p->grow_step)
		return p->grow_step;
	if (step < GROW_STEP_CHUNKS)
		return GROW_STEP_CHUNKS;
	return step < GROW_MAX_CHUNKS ? step : GROW_MAX_CHUNKS;
}

static void grow_start(struct pool *p)
{
	uint64_t segment_end;

	if (p->growing || p->closing || p->grow_err || p->latched ||
		p->grown_chunks >= p->super.capacity_chunks || p->super.data_device)
		return;
	p->grow_segment = (unsigned)(p->grown_chunks / POOL_SEGMENT_CHUNKS);
	if (p->grow_segment >= POOL_SEGMENTS_MAX)
		return;
	segment_end = ((uint64_t)p->grow_segment + 1) * POOL_SEGMENT_CHUNKS;
	p->grow_to = p->grown_chunks + grow_step(p);
	if (p->grow_to > p->super.capacity_chunks)
		p->grow_to = p->super.capacity_chunks;
	if (p->grow_to > segment_end)
		p->grow_to = segment_end;
	p->grow_data.file = p->grow_segment < p->data_count ? p->data[p->grow_segment].file : NULL;
	p->growing = true;
	p->grow_job.work = grow_work;
	p->grow_job.done = grow_done;
	p->host->ops->work(p->host, &p->grow_job, POOL_QUEUE_WORKERS);
}

struct pool_data *pool_data_of(struct pool *p, uint64_t phys, uint64_t *offset)
{
	uint64_t segment = p->super.data_device ? 0 : phys / POOL_SEGMENT_CHUNKS;

	assert(phys > 0 && segment < p->data_count);
	*offset = (phys - segment * POOL_SEGMENT_CHUNKS) << POOL_CHUNK_SHIFT;
	return &p->data[segment];
}

/* ---- handing out ----------------------------------------------------------------------------------- */

static uint64_t find_free(const struct pool *p)
{
	uint64_t groups = (p->grown_chunks + POOL_GROUP_CHUNKS - 1) / POOL_GROUP_CHUNKS;
	uint64_t start = p->cursor < p->grown_chunks ? p->cursor : 0;

	for (uint64_t i = 0; i <= groups; i++) {
		uint64_t g = (start / POOL_GROUP_CHUNKS + i) % groups;
		unsigned at = i == 0 ? start % POOL_GROUP_CHUNKS : 0;

		if (!p->group_free[g])
			continue;
		for (; at < POOL_GROUP_CHUNKS; at++) {
			uint64_t phys = g * POOL_GROUP_CHUNKS + at;

			if (phys >= p->grown_chunks)
				break;
			if (!bit_get(p, phys))
				return phys;
		}
	}
	return 0;
}

static bool frees_under_way(const struct pool *p)
{
	return p->free_new.count || p->cycle_frees.count || p->free_logged.count || p->free_grace.count ||
	       p->free_discard.count;
}

uint64_t pool_alloc_room(const struct pool *p)
{
	return p->grown_chunks - p->used_chunks - p->reserved_chunks;
}

static int take(struct pool *p, uint64_t *phys)
{
	*phys = find_free(p);
	assert(*phys);
	if (!bit_set(p, *phys))
		return -ENOMEM;
	p->cursor = *phys + 1;
	return 0;
}

int pool_alloc_reserved(struct pool *p, uint64_t *phys)
{
	int err;

	assert(p->reserved_chunks > 0);
	err = take(p, phys);
	if (!err)
		p->reserved_chunks--;
	return err;
}

/* `keep` chunks stay free. */
static int alloc_above(struct pool *p, uint64_t keep, uint64_t *phys)
{
	uint64_t room = pool_alloc_room(p);

	if (room < grow_step(p) / 2)
		grow_start(p);
	return room > keep ? take(p, phys) : pool_alloc_more(p);
}

int pool_alloc(struct pool *p, uint64_t *phys)
{
	return alloc_above(p, 0, phys);
}

static uint64_t spare_chunks(const struct pool *p)
{
	return p->super.capacity_chunks / SPARE_SHARE;
}

int pool_alloc_spare(struct pool *p, uint64_t *phys)
{
	return alloc_above(p, spare_chunks(p), phys);
}

bool pool_alloc_spare_room(const struct pool *p)
{
	return pool_alloc_room(p) > spare_chunks(p);
}

int pool_alloc_more(struct pool *p)
{
	grow_start(p);
	if (p->growing)
		return -EAGAIN;
	if (p->latched)
		return -EROFS;
	if (p->closing) /* freed chunks stay where they are; a hydration that asks ends with it */
		return -ENOSPC;
	if (frees_under_way(p)) {
		if (p->free_new.count)
			pool_cycle_request(p);
		return -EAGAIN;
	}
	return pool_reclaim_may_free(p) ? -EAGAIN : -ENOSPC;
}

void pool_alloc_wait(struct pool *p, struct pool_waiter *w)
{
	if (p->dirty_count && pool_dirty_full(p))
		pool_cycle_request(p);
	list_push_back(&p->alloc_waiters, &w->link);
}

void pool_alloc_wake(struct pool *p, int err)
{
	pool_wake_all(&p->alloc_waiters, err);
}

/* ---- freed chunks ---------------------------------------------------------------------------------- */

void pool_free_chunk(struct pool *p, struct pool_branch *b, uint64_t phys)
{
	assert(bit_get(p, phys));
	if (b)
		b->chunks--;
	pool_free_list_add(&p->free_new, phys);
	pool_cycle_later(p);
}

static int compare_phys(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void discard_work(struct pool_job *job)
{
	struct pool *p = container_of(job, struct pool, discard_job);
	struct pool_free_list *l = &p->free_discard;
	size_t i = 0;

	if (l->count)
		qsort(l->phys, l->count, sizeof(l->phys[0]), compare_phys);
	while (i < l->count) {
		uint64_t offset;
		struct pool_data *data = pool_data_of(p, l->phys[i], &offset);
		size_t n = 1;

		while (i + n < l->count && l->phys[i + n] == l->phys[i] + n &&
			l->phys[i + n] % POOL_SEGMENT_CHUNKS)
			n++;
		if (!data->file->no_discard &&
			p->host->ops->file_discard(data->file, offset, (uint64_t)n << POOL_CHUNK_SHIFT))
			data->file->no_discard = true; /* masks hide old content all the same */
		i += n;
	}
}

static void grace_start(struct pool *p);

static void discard_done(struct pool_job *job)
{
	struct pool *p = container_of(job, struct pool, discard_job);

	p->discard_running = false;
	for (size_t i = 0; i < p->free_discard.count; i++)
		bit_clear(p, p->free_discard.phys[i]);
	p->free_discard.count = 0;
	p->grow_err = 0; /* there may be room again */
	grace_start(p);
	pool_alloc_wake(p, 0);
	pool_close_step(p);
}

static void grace_check(struct pool *p)
{
	if (!p->grace_running || p->io_inflight[(p->io_epoch + 1) & 1])
		return;
	p->grace_running = false;
	pool_wake_all(&p->grace_running_waiters, 0);
	if (p->closing)
		return;
	if (p->free_grace.count == 0) {
		grace_start(p);
		return;
	}
	assert(!p->discard_running);
	pool_free_list_move(&p->free_discard, &p->free_grace);
	p->discard_running = true;
	p->discard_job.work = discard_work;
	p->discard_job.done = discard_done;
	p->host->ops->work(p->host, &p->discard_job, POOL_QUEUE_WORKERS);
}

/* One grace period at a time: the other parity is empty when it begins. Freed chunks take part only when no discard is
 * under way, so that theirs can follow. */
static void grace_start(struct pool *p)
{
	bool frees = p->free_logged.count && !p->discard_running;
	struct list_node *n;

	if (p->grace_running || p->closing || (!frees && list_empty(&p->grace_waiters)))
		return;
	assert(p->io_inflight[(p->io_epoch + 1) & 1] == 0);
	if (frees)
		pool_free_list_move(&p->free_grace, &p->free_logged);
	while ((n = list_pop(&p->grace_waiters)))
		list_push_back(&p->grace_running_waiters, n);
	p->io_epoch++;
	p->grace_running = true;
	grace_check(p);
}

void pool_grace_wait(struct pool *p, struct pool_waiter *w)
{
	list_push_back(&p->grace_waiters, &w->link);
	grace_start(p);
}

void pool_free_durable(struct pool *p, struct pool_free_list *frees)
{
	pool_free_list_move(&p->free_logged, frees);
	grace_start(p);
}

unsigned pool_epoch_enter(struct pool *p)
{
	p->io_inflight[p->io_epoch & 1]++;
	return p->io_epoch & 1;
}

void pool_epoch_leave(struct pool *p, unsigned epoch)
{
	assert(p->io_inflight[epoch] > 0);
	if (--p->io_inflight[epoch] == 0)
		grace_check(p);
}

/* ---- data files ------------------------------------------------------------------------------------ */

int pool_data_open(struct pool *p, const char *device)
{
	const struct pool_host_ops *ops = p->host->ops;
	unsigned flags = POOL_FILE_DIRECT;
	uint64_t size = 0;
	int err = 0;

	p->data = calloc(POOL_SEGMENTS_MAX, sizeof(p->data[0]));
	if (!p->data)
		return -ENOMEM;
	for (unsigned i = 0; i < POOL_SEGMENTS_MAX; i++) {
		char name[32];

		snprintf(name, sizeof(name), "data.%u", i);
		err = ops->file_open(p->host, device ? device : name, flags, &p->data[i].file);
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
		p->host->ops->file_close(p->data[i].file);
	free(p->data);
	p->data = NULL;
	p->data_count = 0;
}
