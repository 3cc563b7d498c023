/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The long way of a freed chunk, and the I/O epochs that it depends on.
 *
 * A freed chunk goes: free_new (the map dropped it) → free_framed (the next frame has it) → free_logged (the free is durable) →
 * free_grace (until all I/O that began before has ended) → free_discard (its discard is under way) → its bit
 * is cleared and it may be handed out. Blocks of a split chunk go the same way, but are not discarded: when the last one
 * comes to its end, the chunk goes on from free_logged as a whole. Others wait for such a grace period, too (pool_grace_wait): a viewer may
 * only go when nobody reads any more what was looked up through it.
 */
#include "array/store/pool/space/space.h"

#include <assert.h>

void pool_free_chunk(struct pool_space *s, struct pool_branch *b, uint64_t phys)
{
	assert(pool_bit_get(s, phys));
	if (b)
		b->blocks -= POOL_BLOCKS;
	pool_free_list_add(&s->free_new, phys);
	pool_ask_commit_later(s->base);
}

void pool_free_blocks(struct pool_space *s, struct pool_branch *b, uint64_t phys, uint16_t mask)
{
	if (!mask)
		return;
	assert(pool_bit_get(s, phys));
	if (b)
		b->blocks -= (unsigned)__builtin_popcount(mask);
	pool_free_list_add(&s->free_new, pool_free_blocks_of(phys, mask));
	pool_ask_commit_later(s->base);
}

void pool_entry_let_go(struct pool_space *s, struct pool_branch *b, const struct pool_entry *e)
{
	if (e->phys && e->split)
		pool_free_blocks(s, b, e->phys, e->held);
	else if (e->phys)
		pool_chunk_drop(s, b, e->phys, e->shared);
}

static uint64_t blocks_of(const struct pool_free_list *l)
{
	uint64_t blocks = 0;

	for (size_t i = 0; i < l->count; i++) {
		uint16_t mask = pool_free_mask(l->phys[i]);

		blocks += mask ? (unsigned)__builtin_popcount(mask) : POOL_BLOCKS;
	}
	return blocks;
}

uint64_t pool_frees_blocks(const struct pool_space *s)
{
	return blocks_of(&s->free_new) + blocks_of(&s->free_framed) + blocks_of(&s->free_logged) +
	       blocks_of(&s->free_grace) + s->discard_blocks;
}

bool pool_frees_under_way(const struct pool_space *s)
{
	return s->free_new.count + s->free_framed.count + s->free_logged.count + s->free_grace.count +
		       s->free_discard.count >
	       0;
}

static void discard_work(struct pool_job *job)
{
	struct pool_space *s = container_of(job, struct pool_space, discard_job);
	struct pool_free_list *l = &s->free_discard;
	size_t i = 0;

	s->discard_from_ns = s->base->host->ops->now_ns(s->base->host);
	pool_free_list_sort(l); /* blocks are behind all chunks */
	while (i < l->count && !pool_free_mask(l->phys[i])) {
		uint64_t offset;
		struct pool_data *data = pool_data_of(s, l->phys[i], &offset);
		size_t n = 1;

		while (i + n < l->count && l->phys[i + n] == l->phys[i] + n &&
			l->phys[i + n] % POOL_SEGMENT_CHUNKS)
			n++;
		if (!data->file->no_discard &&
			s->base->host->ops->file_discard(data->file, offset, (uint64_t)n << POOL_CHUNK_SHIFT))
			data->file->no_discard = true; /* masks hide old content all the same */
		i += n;
	}
}

static void grace_start(struct pool_space *s);

static void discard_done(struct pool_job *job)
{
	struct pool_space *s = container_of(job, struct pool_space, discard_job);

	s->discard_running = false;
	s->discard_ns += s->base->host->ops->now_ns(s->base->host) - s->discard_from_ns;
	for (size_t i = 0; i < s->free_discard.count; i++) {
		uint64_t phys = pool_free_phys(s->free_discard.phys[i]);
		uint16_t mask = pool_free_mask(s->free_discard.phys[i]);

		if (!mask)
			pool_bit_clear(s, phys);
		else if (pool_split_freed(s, phys, mask))
			pool_free_list_add(&s->free_logged, phys);
	}
	s->free_discard.count = 0;
	s->discard_blocks = 0;
	s->grow_err = 0; /* there may be room again */
	grace_start(s);
	pool_alloc_wake(s, 0);
	pool_ask_ended(s->base);
}

static void grace_check(struct pool_space *s)
{
	if (!s->grace_running || s->io_inflight[(s->io_epoch + 1) & 1])
		return;
	s->grace_running = false;
	pool_wake_all(&s->grace_running_waiters, 0);
	if (s->base->closing)
		return;
	if (s->free_grace.count == 0) {
		grace_start(s);
		return;
	}
	assert(!s->discard_running);
	s->discard_blocks = blocks_of(&s->free_grace); /* a worker has the list then */
	pool_free_list_move(&s->free_discard, &s->free_grace);
	s->discard_running = true;
	s->discard_job.work = discard_work;
	s->discard_job.done = discard_done;
	s->base->host->ops->work(s->base->host, &s->discard_job, POOL_QUEUE_WORKERS);
}

/* One grace period at a time: the other parity is empty when it begins. Freed chunks take part only when no discard is
 * under way, so that theirs can follow. */
static void grace_start(struct pool_space *s)
{
	bool frees = s->free_logged.count && !s->discard_running;
	struct list_node *n;

	if (s->grace_running || s->base->closing || (!frees && list_empty(&s->grace_waiters)))
		return;
	assert(s->io_inflight[(s->io_epoch + 1) & 1] == 0);
	if (frees)
		pool_free_list_move(&s->free_grace, &s->free_logged);
	while ((n = list_pop(&s->grace_waiters)))
		list_push_back(&s->grace_running_waiters, n);
	s->io_epoch++;
	s->grace_running = true;
	grace_check(s);
}

void pool_grace_wait(struct pool_space *s, struct pool_waiter *w)
{
	list_push_back(&s->grace_waiters, &w->link);
	grace_start(s);
}

void pool_frees_frame(struct pool_space *s, struct pool_buffer *out)
{
	pool_free_list_move(&s->free_framed, &s->free_new);
	pool_free_list_sort(&s->free_framed);
	pool_buffer_runs(out, POOL_RECORD_FREE, &s->free_framed);
}

void pool_frees_logged(struct pool_space *s)
{
	if (s->free_framed.count)
		pool_free_durable(s, &s->free_framed);
}

void pool_free_durable(struct pool_space *s, struct pool_free_list *frees)
{
	pool_free_list_move(&s->free_logged, frees);
	grace_start(s);
}

/* ---- epochs ----------------------------------------------------------------------------------------- */

unsigned pool_epoch_enter(struct pool_space *s)
{
	s->io_inflight[s->io_epoch & 1]++;
	return s->io_epoch & 1;
}

void pool_epoch_leave(struct pool_space *s, unsigned epoch)
{
	assert(s->io_inflight[epoch] > 0);
	if (--s->io_inflight[epoch] == 0)
		grace_check(s);
}
