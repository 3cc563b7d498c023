/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The long way of a freed chunk, and the I/O epochs that it depends on.
 *
 * A freed chunk goes: free_new (the map dropped it) → the next frame → free_logged (the free is durable) →
 * free_grace (until all I/O that began before has ended) → free_discard (its discard is under way) → its bit
 * is cleared and it may be handed out. Others wait for such a grace period, too (pool_grace_wait): a viewer may
 * only go when nobody reads any more what was looked up through it.
 */
#include "array/store/pool/pool.h"

#include <assert.h>

void pool_free_chunk(struct pool *p, struct pool_branch *b, uint64_t phys)
{
	assert(pool_bit_get(p, phys));
	if (b)
		b->chunks--;
	pool_free_list_add(&p->free_new, phys);
	pool_ask_commit_later(&p->base);
}

bool pool_frees_under_way(const struct pool *p)
{
	return p->free_new.count || p->cycle_frees.count || p->free_logged.count || p->free_grace.count ||
	       p->free_discard.count;
}

static void discard_work(struct pool_job *job)
{
	struct pool *p = container_of(job, struct pool, discard_job);
	struct pool_free_list *l = &p->free_discard;
	size_t i = 0;

	pool_free_list_sort(l);
	while (i < l->count) {
		uint64_t offset;
		struct pool_data *data = pool_data_of(p, l->phys[i], &offset);
		size_t n = 1;

		while (i + n < l->count && l->phys[i + n] == l->phys[i] + n &&
			l->phys[i + n] % POOL_SEGMENT_CHUNKS)
			n++;
		if (!data->file->no_discard &&
			p->base.host->ops->file_discard(data->file, offset, (uint64_t)n << POOL_CHUNK_SHIFT))
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
		pool_bit_clear(p, p->free_discard.phys[i]);
	p->free_discard.count = 0;
	p->grow_err = 0; /* there may be room again */
	grace_start(p);
	pool_alloc_wake(p, 0);
	pool_ask_ended(&p->base);
}

static void grace_check(struct pool *p)
{
	if (!p->grace_running || p->io_inflight[(p->io_epoch + 1) & 1])
		return;
	p->grace_running = false;
	pool_wake_all(&p->grace_running_waiters, 0);
	if (p->base.closing)
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
	p->base.host->ops->work(p->base.host, &p->discard_job, POOL_QUEUE_WORKERS);
}

/* One grace period at a time: the other parity is empty when it begins. Freed chunks take part only when no discard is
 * under way, so that theirs can follow. */
static void grace_start(struct pool *p)
{
	bool frees = p->free_logged.count && !p->discard_running;
	struct list_node *n;

	if (p->grace_running || p->base.closing || (!frees && list_empty(&p->grace_waiters)))
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

/* ---- epochs ----------------------------------------------------------------------------------------- */

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
