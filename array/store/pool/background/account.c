/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk costs: what it alone sees, what it shows that others see, too, and what its deletion would give back.
 *
 * A disk is a viewer of its branch, and of each ancestor at the generation at which it left it. Of a branch with another
 * viewer below at generation p, only entries above p can be its alone, and the index of generations lists these: so the cost
 * is what was written between two copies, however large the disk is. When nobody else looks at a branch, the same holds for its
 * parent. What the disk shows is counted as hydration finds it, up to COUNTED_MAX; of a larger disk the rest is taken to be as
 * full as what was counted.
 *
 * All of it is read from LMDB, in short transactions on a worker, once LMDB has what was there at the beginning. The rest goes
 * on meanwhile, so the answer is as of about then.
 */
#include "array/store/pool/background/background.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH       2048u
#define COUNTED_MAX (UINT64_C(1) << 20) /* chunks: 64 GiB */

/* One branch of which something may be the disk's alone. */
struct level {
	struct pool_map_key from; /* where to go on in the index of generations */
	struct pool_sole_range range;
};

struct pool_account {
	struct pool *pool;
	struct store_account *request;
	struct level *levels;
	struct pool_map_key *chain;
	size_t level_count, chain_count;
	uint64_t disk_chunks;
	struct pool_waiter waiter;
	struct pool_job job;
	/* the job's */
	size_t level;
	uint64_t next; /* chunk */
	uint64_t shown_chunks;
	struct pool_sole sole;
	struct pool_map_key keys[BATCH];
	uint64_t chunks[BATCH];
	int err;
};

static void account_end(struct pool_account *a, int err)
{
	struct pool *p = a->pool;
	struct store_account *request = a->request;
	uint64_t shown = a->shown_chunks << POOL_CHUNK_SHIFT;

	request->exclusive_bytes = a->sole.blocks << POOL_BLOCK_SHIFT;
	request->freed_bytes = a->sole.freed << POOL_BLOCK_SHIFT;
	request->shared_bytes = shown > request->exclusive_bytes ? shown - request->exclusive_bytes : 0;
	free(a->levels);
	free(a->chain);
	free(a);
	p->readers--;
	request->done(request, err);
	pool_close_step(p);
}

/* ---- what there is to look at ------------------------------------------------------------------------ */

static void neighbour(struct pool_sole_range *r, uint32_t gen, uint32_t viewer)
{
	if (viewer < gen && viewer > r->before)
		r->before = viewer;
	if (viewer > gen && viewer < r->next) {
		r->next = viewer;
		r->seen_above = true;
	}
}

/* The nearest viewers of the branch below and above `gen`. False: another one is at `gen`. */
static bool neighbours(const struct pool_branch *b, uint32_t gen, struct pool_sole_range *out)
{
	unsigned at_gen = 0;

	*out = (struct pool_sole_range){.last = gen, .next = POOL_GEN_HEAD, .seen_above = b->disk != NULL};
	for (unsigned i = 0; i < b->child_count; i++) {
		at_gen += b->children[i]->parent_gen == gen;
		neighbour(out, gen, b->children[i]->parent_gen);
	}
	list_for_each (n, &b->cuts) {
		uint32_t g = container_of(n, struct pool_viewer, link)->gen;

		at_gen += g == gen;
		neighbour(out, gen, g);
	}
	return at_gen == 1;
}

static void add_level(struct pool_account *a, const struct pool_branch *b, const struct pool_sole_range *r)
{
	a->levels[a->level_count++] = (struct level){
		.from = {.branch = b->id, .gen = r->before + 1},
		.range = *r,
	};
}

static int list_all(struct pool_account *a, const struct pool_branch *head)
{
	size_t count = 1;
	bool alone = true;

	for (const struct pool_branch *b = head; b->parent; b = b->parent)
		count++;
	a->levels = calloc(count, sizeof(a->levels[0]));
	a->chain = calloc(count, sizeof(a->chain[0]));
	if (!a->levels || !a->chain)
		return -ENOMEM;
	if (!head->parent && !head->child_count && list_empty(&head->cuts)) { /* nobody else is there */
		a->shown_chunks = head->blocks / POOL_BLOCKS;
		a->sole.blocks = a->sole.freed = head->blocks;
		a->next = UINT64_MAX;
		return 0;
	}
	a->chain[a->chain_count++] = (struct pool_map_key){.branch = head->id, .gen = POOL_GEN_HEAD};
	add_level(a, head, &(struct pool_sole_range){.before = head->frozen_max, .last = POOL_GEN_HEAD});
	alone = !head->child_count && list_empty(&head->cuts);
	for (const struct pool_branch *b = head; b->parent; b = b->parent) {
		const struct pool_branch *p = b->parent;
		struct pool_sole_range r;

		a->chain[a->chain_count++] = (struct pool_map_key){.branch = p->id, .gen = b->parent_gen};
		alone = alone && neighbours(p, b->parent_gen, &r);
		if (alone)
			add_level(a, p, &r);
		alone = alone && !p->disk && p->child_count == 1 && list_empty(&p->cuts);
	}
	return 0;
}

/* ---- looking ---------------------------------------------------------------------------------------- */

/* The next keys of the index, and what becomes of their entries. */
static void level_step(struct pool_account *a)
{
	struct level *l = &a->levels[a->level];
	struct pool_meta *m = &a->pool->meta;
	size_t count = 0;

	a->err = pool_meta_scan_gens(m, &l->from, l->range.last, BATCH, a->keys, &count);
	if (!a->err && count)
		a->err = pool_meta_sole(m, a->keys, count, &l->range, &a->sole);
	if (a->err)
		return;
	if (count < BATCH) {
		a->level++;
		return;
	}
	l->from = a->keys[count - 1];
	l->from.chunk++;
}

static void account_work(struct pool_job *job)
{
	struct pool_account *a = container_of(job, struct pool_account, job);
	size_t count = 0;

	if (a->level < a->level_count) {
		level_step(a);
		return;
	}
	a->err = pool_meta_scan_chunks(
		&a->pool->meta, a->chain, a->chain_count, a->next, BATCH, a->chunks, &count, &a->next);
	a->shown_chunks += count;
	if (a->shown_chunks >= COUNTED_MAX && a->next < a->disk_chunks) {
		a->shown_chunks =
			(uint64_t)((double)a->shown_chunks / (double)a->next * (double)a->disk_chunks);
		a->next = UINT64_MAX;
	}
}

static void account_step(struct pool_account *a);

static void account_worked(struct pool_job *job)
{
	struct pool_account *a = container_of(job, struct pool_account, job);

	if (a->err || a->pool->base.closing)
		account_end(a, a->err ? a->err : -ECANCELED);
	else
		account_step(a);
}

static void account_step(struct pool_account *a)
{
	if (a->level == a->level_count && a->next == UINT64_MAX) {
		account_end(a, 0);
		return;
	}
	a->job.work = account_work;
	a->job.done = account_worked;
	a->pool->base.host->ops->work(a->pool->base.host, &a->job, POOL_QUEUE_WORKERS);
}

static void account_applied(struct pool_waiter *w, int err)
{
	(void)err; /* of a pool that is read-only: what LMDB has */
	account_step(container_of(w, struct pool_account, waiter));
}

static void account_flushed(void *arg, int err)
{
	struct pool_account *a = arg;

	if (err) {
		account_step(a);
		return;
	}
	a->waiter.wake = account_applied;
	pool_applied_wait(&a->pool->commit.checkpoint, &a->waiter);
}

void pool_account_start(struct store_account *request)
{
	struct pool_disk *d = pool_disk_of(request->disk);
	struct pool *p = pool_of(request->disk->store);
	struct pool_account *a = calloc(1, sizeof(*a));
	struct pool_txn *t = a && !list_all(a, d->branch) ? pool_txn_new(&p->commit) : NULL;

	if (!t) {
		if (a) {
			free(a->levels);
			free(a->chain);
		}
		free(a);
		request->done(request, -ENOMEM);
		return;
	}
	a->pool = p;
	a->request = request;
	a->disk_chunks = d->size_bytes >> POOL_CHUNK_SHIFT;
	p->readers++;
	pool_txn_ride(t, account_flushed, a);
}
