/* SPDX-License-Identifier: Apache-2.0 */
/* What is to come back (pending.h). */
#include "array/store/pool/background/pending.h"

#include <stdlib.h>

#define SOON_MS     100u
#define ITEMS_MAX   16384u
#define KEYS_A_STEP 65536u /* a reader of LMDB holds up the reuse of its pages */

static void count_start(struct pool_pending *pending);

/* ---- counting --------------------------------------------------------------------------------------- */

static void count_work(struct pool_job *job)
{
	struct pool_pending *pending = container_of(job, struct pool_pending, job);
	uint64_t left = KEYS_A_STEP;

	while (left && pending->at < pending->count) {
		struct pool_pending_item *item = &pending->items[pending->at];
		uint64_t found = 0;
		int err = pool_meta_count_gens(&pending->pool->meta, &item->from, item->last, left, &found);

		item->chunks += found;
		if (err || found < left) { /* what cannot be read is told by who needs it */
			item->counted = true;
			pending->at++;
		}
		left -= found;
	}
}

static void counted(struct pool_pending *pending)
{
	struct pool_todos *todos = &pending->pool->commit.todos;

	for (size_t i = 0; i < pending->count; i++) {
		const struct pool_pending_item *item = &pending->items[i];
		struct pool_todo *t = pool_todo_find(todos, item->branch, item->gen);

		if (t && item->counted && !t->counted)
			pool_todo_count(todos, t, item->chunks);
	}
	free(pending->items);
	pending->items = NULL;
	pending->running = false;
	pool_pending_count(pending);
	pool_ask_ended(&pending->pool->base);
}

static void count_worked(struct pool_job *job)
{
	struct pool_pending *pending = container_of(job, struct pool_pending, job);

	if (pending->at < pending->count && !pending->stopping)
		count_start(pending);
	else
		counted(pending);
}

static void count_start(struct pool_pending *pending)
{
	struct pool_host *host = pending->pool->base.host;

	pending->job.work = count_work;
	pending->job.done = count_worked;
	host->ops->work(host, &pending->job, POOL_QUEUE_WORKERS);
}

/* ---- what to count ---------------------------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
	const struct pool_pending_item *x = a, *y = b;

	if (x->branch != y->branch)
		return x->branch < y->branch ? -1 : 1;
	return x->gen < y->gen ? -1 : x->gen > y->gen;
}

/* Up to the next viewer, or the next to-do, which has its own part. */
static void set_range(struct pool_pending *pending, size_t i)
{
	struct pool_pending_item *item = &pending->items[i];
	const struct pool_branch *b = pool_branch_find(&pending->pool->map, item->branch);

	item->from = (struct pool_map_key){.branch = item->branch, .gen = item->gen + 1};
	if (!b || b->dead ||
		!pool_branch_viewer_from(b, 1)) { /* all of the branch goes, and is counted as that */
		item->from.gen = 1;
		item->last = 0;
		return;
	}
	item->last = pool_branch_next_viewer(b, item->gen);
	if (item->last == UINT32_MAX && !b->disk)
		item->from.gen = b->frozen_max + 1; /* no head: all that no child sees */
	if (i + 1 < pending->count && item[1].branch == item->branch && item[1].gen < item->last)
		item->last = item[1].gen;
}

static void timer_fired(struct pool_timer *timer)
{
	struct pool_pending *pending = container_of(timer, struct pool_pending, timer);
	struct pool_todos *todos = &pending->pool->commit.todos;
	size_t count = 0;

	pending->armed = false;
	if (pending->pool->base.latched)
		return;
	pending->items = calloc(ITEMS_MAX, sizeof(*pending->items));
	if (!pending->items)
		return;
	list_for_each (n, &todos->list) {
		const struct pool_todo *t = container_of(n, struct pool_todo, link);

		if (count == ITEMS_MAX)
			break;
		if (!t->busy)
			pending->items[count++] = (struct pool_pending_item){
				.branch = t->branch, .gen = t->gen, .counted = t->counted};
	}
	pending->count = count;
	pending->at = 0;
	qsort(pending->items, count, sizeof(*pending->items), by_place);
	for (size_t i = 0; i < count; i++)
		set_range(pending, i);
	count = 0; /* those that are counted were there for their neighbours */
	for (size_t i = 0; i < pending->count; i++) {
		if (!pending->items[i].counted)
			pending->items[count++] = pending->items[i];
	}
	pending->count = count;
	pending->running = true;
	count_start(pending);
}

void pool_pending_count(struct pool_pending *pending)
{
	struct pool *p = pending->pool;

	if (pending->armed || pending->running || pending->stopping || p->base.latched || p->base.closing ||
		!p->commit.todos.uncounted)
		return;
	pending->armed = true;
	pending->timer.fire = timer_fired;
	p->base.host->ops->timer_arm(p->base.host, &pending->timer, SOON_MS);
}

void pool_pending_stop(struct pool_pending *pending)
{
	struct pool_host *host = pending->pool->base.host;

	pending->stopping = true;
	host->ops->timer_disarm(host, &pending->timer);
}

void pool_pending_free(struct pool_pending *pending)
{
	pool_pending_stop(pending);
	free(pending->items);
}

bool pool_pending_busy(const struct pool_pending *pending)
{
	return pending->running;
}

/* ---- all of it -------------------------------------------------------------------------------------- */

uint64_t pool_pending_chunks(struct pool *p)
{
	uint64_t chunks = 0;

	list_for_each (n, &p->commit.todos.list) { /* not nothing, while it is not known */
		const struct pool_todo *t = container_of(n, struct pool_todo, link);

		chunks += !t->counted && !t->busy;
	}
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		list_for_each (n, &p->map.branch_hash[i]) {
			const struct pool_branch *b = container_of(n, struct pool_branch, hash_link);

			chunks += !b->disk && b->child_count == 0
					  ? (b->blocks + POOL_BLOCKS - 1) / POOL_BLOCKS
					  : b->pending;
		}
	}
	return chunks;
}
