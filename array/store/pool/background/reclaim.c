/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deletion and reclaim in the background: one task at a time, in small steps. Each step is durable by itself,
 * so a restart goes on with what is left. The tasks:
 *
 * - A to-do (branch, gen) says that the viewer of that generation is gone. Only chunks that were written
 *   again between it and the next viewer can have something to give back. The index of generations lists
 *   them. To-dos of a branch with the same next viewer are one walk.
 * - A branch without disk and child is dropped: its entries are deleted, then the branch, and its parent gets
 *   a to-do. Those without entries go together, in one frame.
 * - A branch without disk and with one child is spliced: its entries move into the child, whose generations
 *   begin above them, then the child takes its place. Readers find the same blocks at every moment.
 * - Loose chunks, which are shared chunks that no entry has any more, are freed (refs.c). They are looked for
 *   once a second at most, and when chunks are wanted.
 *
 * The lists come from LMDB, so a task begins when LMDB has every frame that it concerns. To-dos and the absence of a
 * disk are durable, so nothing else has to be remembered across a restart.
 */
#include "array/store/pool/background/background.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/pool/background/pace.h"
#include "array/store/pool/background/pending.h"
#include "array/store/pool/base/loop.h"

#define BATCH        256u
#define MERGES       8u   /* chunks that are merged at once */
#define DROPS_MAX    256u /* empty branches that go at once */
#define DROPS_IN_ROW 16u  /* then a to-do has its turn */
#define FAILURES_MAX 3u   /* in a row; after that no writer waits for reclaim */
#define RETRY_MS     60000u
#define WALK_MAX     262144u /* chunks that are counted ahead */

enum task {
	TASK_NONE,
	TASK_TODO,
	TASK_DROP,
	TASK_SPLICE,
	TASK_LOOSE,
};

struct pool_reclaim {
	struct pool *pool;
	enum task task;
	bool running, stopping, scan_wanted;
	struct pool_pace pace;
	struct pool_pending pending;
	uint64_t walk;     /* by the job: chunks that this to-do comes by */
	uint64_t expected; /* chunks that the to-dos at hand may give back yet; in the branch's count */
	unsigned failures; /* tasks that failed since one did not, or since there was more to do */
	struct pool_timer retry;
	bool loose_wanted; /* look for shared chunks that no entry has any more */
	bool loose_next;   /* before all else */
	struct pool_branch *branch, *child;
	struct pool_todo *todo;
	/* branches to drop when the task was chosen; by the job: which have no entry */
	uint64_t drops[DROPS_MAX];
	bool empty[DROPS_MAX], bare; /* bare: all of them, and it need not be looked at */
	unsigned drop_count, drops_in_row;
	struct pool_call call;
	struct pool_waiter waiter;
	struct pool_job job;
	/* the batch; written by the job */
	struct pool_map_key from;
	uint32_t last_gen;
	struct pool_map_key keys[BATCH];
	uint64_t loose[BATCH];
	struct pool_meta_entry *entries;
	size_t count, at;
	int job_err;
	/* the chunk at hand */
	struct merge_slot {
		struct pool_reclaim *reclaim;
		struct pool_merge merge;
		bool busy;
	} merges[MERGES];
	unsigned merging; /* of a to-do: chunks at once */
	bool flushing;
	struct pool_loop loop;
	struct pool_lock_wait lock;
	struct pool_waiter leaf_waiter;
	uint64_t chunk;
};

static void batch_start(struct pool_reclaim *r);
static void batch_run(struct pool_reclaim *r);
static void splice_run(struct pool_reclaim *r);
static void rested(void *arg);

struct pool_reclaim *pool_reclaim_new(struct pool *p)
{
	struct pool_reclaim *r = calloc(1, sizeof(*r));

	if (r) {
		r->pool = r->pace.pool = r->pending.pool = p;
		r->scan_wanted = true;
	}
	return r;
}

void pool_reclaim_free(struct pool_reclaim *r)
{
	if (!r)
		return;
	pool_pace_stop(&r->pace, false);
	pool_pending_free(&r->pending);
	free(r->entries);
	free(r);
}

bool pool_reclaim_busy(const struct pool *p)
{
	return p->reclaim->running || pool_pending_busy(&p->reclaim->pending);
}

bool pool_reclaim_works(const struct pool *p)
{
	return p->reclaim->running;
}

bool pool_reclaim_rests(const struct pool *p)
{
	return p->reclaim->pace.resting;
}

void pool_reclaim_stop(struct pool *p)
{
	p->reclaim->stopping = true;
	pool_pace_stop(&p->reclaim->pace, p->reclaim->running);
	pool_pending_stop(&p->reclaim->pending);
	p->base.host->ops->timer_disarm(p->base.host, &p->reclaim->retry);
}

static bool must_stop(const struct pool_reclaim *r)
{
	return r->stopping || r->pool->base.latched;
}

static void retry_fired(struct pool_timer *timer)
{
	struct pool_reclaim *r = container_of(timer, struct pool_reclaim, retry);

	r->scan_wanted = true;
	pool_reclaim_kick(r->pool);
}

/* The to-do at hand and those that joined it wait again. */
static void release_todos(struct pool_reclaim *r)
{
	list_for_each (n, &r->pool->commit.todos.list) {
		struct pool_todo *t = container_of(n, struct pool_todo, link);

		if (t == r->todo || t->joined)
			t->busy = t->joined = false;
	}
}

/* What the to-dos at hand may give back is told of the task now. */
static void expect_of(struct pool_reclaim *r, struct pool_todo *t)
{
	uint64_t chunks = pool_todo_uncount(&r->pool->commit.todos, t);

	if (!r->branch)
		return;
	r->expected += chunks;
	r->branch->pending += chunks;
}

static void expect_no_more(struct pool_reclaim *r)
{
	if (r->expected) /* else the branch may be gone */
		r->branch->pending -= r->expected;
	r->expected = 0;
}

/* `more`: the task is done. Else it failed, and others have their turn; it is tried again after a while.
 * After FAILURES_MAX failures in a row a writer that finds no room gets its error at once, until there is
 * more to reclaim (pool_reclaim_scan). */
static void task_end(struct pool_reclaim *r, bool more)
{
	struct pool *p = r->pool;

	if (r->task == TASK_LOOSE && !more)
		pool_share_loosened(&p->space); /* another look in a while */
	r->failures = more ? 0 : r->failures + 1;
	if (!more && r->task == TASK_TODO) {
		list_remove(&r->todo->link);
		list_push_back(&p->commit.todos.list, &r->todo->link);
	} else if (!more && r->branch) {
		r->branch->stuck = true;
	}
	free(r->entries);
	r->entries = NULL;
	r->task = TASK_NONE;
	expect_no_more(r);
	if (r->todo)
		release_todos(r);
	r->todo = NULL;
	r->branch = r->child = NULL;
	r->running = false;
	r->scan_wanted = r->scan_wanted || r->failures < FAILURES_MAX;
	if (r->scan_wanted) {
		pool_reclaim_kick(p);
	} else if (!must_stop(r)) {
		pool_pace_end(&r->pace);
		r->retry.fire = retry_fired;
		p->base.host->ops->timer_arm(p->base.host, &r->retry, RETRY_MS);
	}
	pool_alloc_wake(&p->space, 0);
	pool_pack_kick(p);
	pool_ask_ended(&p->base);
}

/* The child has become independent (hydrate.c): nobody needs what is left of the branch. */
static bool splice_moot(const struct pool_reclaim *r)
{
	return r->task == TASK_SPLICE && r->child->parent != r->branch;
}

/* ---- records of its own ----------------------------------------------------------------------------- */

static void put_todo_del(struct pool_txn *t, uint64_t branch, uint32_t gen)
{
	struct pool_record rec = {.type = POOL_RECORD_TODO_DEL, .todo = {.branch = branch, .gen = gen}};

	pool_buffer_record(&t->rider.records, &rec);
}

static struct pool_txn *own_txn(struct pool *p)
{
	struct pool_txn *t = pool_xrealloc(NULL, sizeof(*t));

	*t = (struct pool_txn){.commit = &p->commit};
	return t;
}

/* ---- to-dos ----------------------------------------------------------------------------------------- */

static void todo_removed(void *arg, int err)
{
	struct pool_reclaim *r = arg;

	list_for_each_safe (n, &r->pool->commit.todos.list) {
		struct pool_todo *t = container_of(n, struct pool_todo, link);

		if (err || (t != r->todo && !t->joined))
			continue;
		pool_todo_free(&r->pool->commit.todos, t);
	}
	if (!err)
		r->todo = NULL;
	task_end(r, true);
}

static void todo_finish(struct pool_reclaim *r)
{
	struct pool_txn *t = own_txn(r->pool);

	list_for_each (n, &r->pool->commit.todos.list) {
		const struct pool_todo *todo = container_of(n, struct pool_todo, link);

		if (todo == r->todo || todo->joined)
			put_todo_del(t, todo->branch, todo->gen);
	}
	pool_txn_ride(t, todo_removed, r);
}

/* The other to-dos of the branch that this walk does, too: LMDB has all that they concern, nobody sees anything between
 * them and the same next viewer, or (`all`) anything of the branch at all. */
static void join_todos(struct pool_reclaim *r, bool all)
{
	struct pool *p = r->pool;
	uint64_t left = pool_rider_max(&p->commit) / 2 / 24; /* records of their end */

	list_for_each (n, &p->commit.todos.list) {
		struct pool_todo *t = container_of(n, struct pool_todo, link);

		if (t == r->todo || t->busy || t->branch != r->todo->branch ||
			!pool_todo_in_meta(&p->commit.todos, t) || !left)
			continue;
		if (!all && (pool_branch_viewer_in(r->branch, t->gen, t->gen + 1) ||
				    pool_branch_next_viewer(r->branch, t->gen) != r->last_gen))
			continue;
		t->busy = t->joined = true;
		expect_of(r, t);
		left--;
		if (t->gen + 1 < r->from.gen)
			r->from.gen = t->gen + 1;
	}
}

static void walk_counted(struct pool_job *job)
{
	struct pool_reclaim *r = container_of(job, struct pool_reclaim, job);

	r->branch->pending += r->walk - r->expected;
	r->expected = r->walk;
	if (must_stop(r))
		task_end(r, false);
	else
		batch_start(r);
}

/* What the walk will come by, so that it is told from its beginning. */
static void walk_count(struct pool_job *job)
{
	struct pool_reclaim *r = container_of(job, struct pool_reclaim, job);
	struct pool_map_key from = r->from;

	/* What fails the walk will say. */
	pool_meta_count_gens(&r->pool->meta, &from, r->last_gen, WALK_MAX, &r->walk);
}

static void todo_begin(struct pool_reclaim *r)
{
	struct pool_branch *b = pool_branch_find(&r->pool->map, r->todo->branch);
	uint32_t gen = r->todo->gen;

	r->branch = b;
	expect_of(r, r->todo);
	if (!b || b->dead || !pool_branch_viewer_from(b, 1)) { /* all of the branch goes anyway */
		join_todos(r, true);
		todo_finish(r);
		return;
	}
	if (pool_branch_viewer_in(b, gen, gen + 1)) { /* nothing to do */
		todo_finish(r);
		return;
	}
	r->last_gen = pool_branch_next_viewer(b, gen);
	r->from = (struct pool_map_key){.branch = b->id, .gen = gen + 1};
	if (r->last_gen == UINT32_MAX && !b->disk)
		r->from.gen = b->frozen_max + 1; /* no head: all that no child sees */
	join_todos(r, false);
	r->job.work = walk_count;
	r->job.done = walk_counted;
	r->pool->base.host->ops->work(r->pool->base.host, &r->job, POOL_QUEUE_WORKERS);
}

static void merge_done(struct pool_merge *m, int err)
{
	struct merge_slot *s = container_of(m, struct merge_slot, merge);

	(void)err; /* what cannot be read or written stays as it is */
	s->busy = false;
	s->reclaim->merging--;
	if (s->reclaim->expected) {
		s->reclaim->expected--;
		s->reclaim->branch->pending--;
	}
	batch_run(s->reclaim);
}

/* ---- drop ------------------------------------------------------------------------------------------- */

/* A branch that nobody has goes with the frame, and its parent gets a to-do. */
static void drop_put(struct pool_reclaim *r, struct pool_txn *t, struct pool_branch *b)
{
	struct pool_record rec = {.type = POOL_RECORD_BRANCH_DEL, .branch = {.id = b->id}};

	pool_map_free(&r->pool->map, b);
	list_remove(&b->dirty_link);
	b->record_dirty = false;
	b->dead = true;
	pool_buffer_record(&t->rider.records, &rec);
	if (!b->parent)
		return;
	rec = (struct pool_record){
		.type = POOL_RECORD_TODO_PUT, .todo = {.branch = b->parent->id, .gen = b->parent_gen}};
	pool_buffer_record(&t->rider.records, &rec);
}

/* Those of branches that go. */
static void drop_put_todos(struct pool_reclaim *r, struct pool_txn *t)
{
	list_for_each (n, &r->pool->commit.todos.list) {
		const struct pool_todo *todo = container_of(n, struct pool_todo, link);
		const struct pool_branch *b = pool_branch_find(&r->pool->map, todo->branch);

		if (b && b->dead)
			put_todo_del(t, todo->branch, todo->gen);
	}
}

/* The frame that has their end is durable. */
static void drop_todos(struct pool_reclaim *r)
{
	struct pool_todos *todos = &r->pool->commit.todos;

	list_for_each_safe (n, &todos->list) {
		struct pool_todo *t = container_of(n, struct pool_todo, link);
		const struct pool_branch *b = pool_branch_find(&r->pool->map, t->branch);

		if (b && b->dead)
			pool_todo_free(todos, t);
	}
}

static void drop_branch(struct pool_reclaim *r, struct pool_branch *b)
{
	struct pool_branch *parent = b->parent;
	uint32_t gen = b->parent_gen;

	pool_branch_detach(b);
	pool_branch_free(&r->pool->map, b);
	if (parent && !parent->dead) /* this frame had its record */
		pool_todo_logged(&r->pool->commit.todos, parent->id, gen);
}

/* All that went in the frame. */
static void drops_removed(void *arg, int err)
{
	struct pool_reclaim *r = arg;

	if (err) {
		task_end(r, false);
		return;
	}
	drop_todos(r);
	for (unsigned i = 0; i < r->drop_count; i++) {
		struct pool_branch *b = r->empty[i] ? pool_branch_find(&r->pool->map, r->drops[i]) : NULL;

		if (b)
			drop_branch(r, b);
	}
	task_end(r, true);
}

static void drop_finish(struct pool_reclaim *r)
{
	struct pool_txn *t = own_txn(r->pool);

	r->drops[0] = r->branch->id;
	r->empty[0] = true;
	r->drop_count = 1;
	drop_put(r, t, r->branch);
	drop_put_todos(r, t);
	pool_txn_ride(t, drops_removed, r);
}

static void drop_batch_done(void *arg, int err)
{
	struct pool_reclaim *r = arg;

	if (err)
		task_end(r, false);
	else if (!pool_pace_rest(&r->pace, rested, r))
		rested(r);
}

/* The entries go and their chunks with them, in one frame. */
static void drop_batch(struct pool_reclaim *r)
{
	struct pool *p = r->pool;
	struct pool_txn *t = own_txn(p);
	uint64_t blocks;

	for (size_t i = 0; i < r->count; i++) {
		const struct pool_meta_entry *e = &r->entries[i];
		struct pool_record rec = {.type = POOL_RECORD_MAP_DEL, .map = {.key = e->key}};

		pool_buffer_record(&t->rider.records, &rec);
		if (!e->value.phys)
			continue;
		blocks = pool_txn_let_go(t, &e->value);
		r->branch->blocks -= blocks < r->branch->blocks ? blocks : r->branch->blocks;
	}
	pool_txn_ride(t, drop_batch_done, r);
}

/* ---- many drops ------------------------------------------------------------------------------------- */

static bool droppable(const struct pool_branch *b)
{
	return !b->disk && !b->dead && list_empty(&b->cuts) && b->child_count == 0 && !b->loads;
}

static void drops_looked(struct pool_job *job)
{
	struct pool_reclaim *r = container_of(job, struct pool_reclaim, job);
	struct pool *p = r->pool;
	struct pool_txn *t;
	unsigned count = 0;

	if (must_stop(r)) {
		task_end(r, false);
		return;
	}
	for (unsigned i = 0; i < r->drop_count; i++) {
		const struct pool_branch *b = pool_branch_find(&p->map, r->drops[i]);

		r->empty[i] = r->empty[i] && b && droppable(b);
		count += r->empty[i];
	}
	if (count < 2) {
		batch_start(r);
		return;
	}
	t = own_txn(p);
	for (unsigned i = 0; i < r->drop_count; i++) {
		if (r->empty[i])
			drop_put(r, t, pool_branch_find(&p->map, r->drops[i]));
	}
	drop_put_todos(r, t);
	pool_txn_ride(t, drops_removed, r);
}

/* Which have no entry? LMDB has all frames up to when they were chosen, and nobody has written to them since. */
static void drops_look(struct pool_job *job)
{
	struct pool_reclaim *r = container_of(job, struct pool_reclaim, job);

	for (unsigned i = 0; i < r->drop_count; i++) {
		struct pool_map_key from = {.branch = r->drops[i], .gen = UINT32_MAX};
		struct pool_meta_entry *e = NULL;
		size_t count = 0;
		int err = pool_meta_scan_branch(&r->pool->meta, &from, 1, &e, &count);

		r->empty[i] = !err && count == 0;
		free(e);
	}
}

static void drops_begin(struct pool_reclaim *r)
{
	r->job.work = drops_look;
	r->job.done = drops_looked;
	r->pool->base.host->ops->work(r->pool->base.host, &r->job, POOL_QUEUE_WORKERS);
}

/* ---- splice ----------------------------------------------------------------------------------------- */

static void splice_removed(void *arg, int err)
{
	struct pool_reclaim *r = arg;

	if (err) {
		task_end(r, false);
		return;
	}
	pool_branch_free(&r->pool->map, r->branch);
	task_end(r, true);
}

/* Nothing is left in b: the child takes its place at once. The next frame has the child's record as it is by
 * then; the child may be cut before. That frame or a later one has the end of b. In between b is an empty
 * branch. */
static void splice_finish(struct pool_reclaim *r)
{
	struct pool_branch *b = r->branch, *c = r->child, *parent = b->parent;
	struct pool_txn *t = own_txn(r->pool);
	struct pool_record rec = {.type = POOL_RECORD_BRANCH_DEL, .branch = {.id = b->id}};

	list_remove(&b->dirty_link);
	b->record_dirty = false;
	b->dead = true;
	pool_branch_detach(c);
	pool_branch_detach(b);
	c->parent_gen = b->parent_gen;
	if (parent)
		pool_branch_attach(parent, c);
	pool_branch_record_dirty(&r->pool->map, c);
	pool_buffer_record(&t->rider.records, &rec);
	pool_txn_ride(t, splice_removed, r);
}

/* The child gets what it sees of the entry. Without memory the entry stays where it is, with its chunk. */
static int splice_entry(
	struct pool_reclaim *r, struct pool_leaf *from, struct pool_leaf *to, struct pool_entry e)
{
	struct pool *p = r->pool;
	uint16_t hidden = pool_map_covered(to, r->chunk);
	struct pool_entry copy = e;
	int err;

	copy.valid &= (uint16_t)~hidden;
	copy.zero &= (uint16_t)~hidden;
	if (copy.gen > r->child->parent_gen) /* newer than all that the child sees */
		copy.valid = copy.zero = 0;
	if (!copy.valid)
		copy.phys = copy.shared = copy.split = 0;
	copy.held = copy.split ? copy.valid : 0;
	if (copy.valid || copy.zero) {
		err = pool_map_insert(&p->map, to, r->chunk, &copy);
		if (err)
			return err;
		pool_map_mark_dirty(&p->map, to, r->chunk, pool_map_edit(&p->map, to, r->chunk, copy.gen));
	}
	r->branch->blocks -= pool_entry_blocks(&copy);
	r->child->blocks += pool_entry_blocks(&copy);
	if (e.split)
		pool_free_blocks(&p->space, r->branch, e.phys, e.held & (uint16_t)~copy.held);
	else if (!copy.phys)
		pool_entry_let_go(&p->space, r->branch, &e);
	pool_map_remove(&p->map, from, r->chunk, e.gen);
	return 0;
}

/* Moves all entries of one chunk at once, the newest first: readers find the same, however many have
 * moved. */
static int splice_chunk(struct pool_reclaim *r)
{
	struct pool *p = r->pool;
	struct pool_leaf *from, *to;
	int err = splice_moot(r) ? 0 : pool_map_leaf(&p->map, r->child, r->chunk, true, &r->leaf_waiter, &to);

	if (err || splice_moot(r))
		return err;
	pool_leaf_pin(to);
	err = pool_map_leaf(&p->map, r->branch, r->chunk, false, &r->leaf_waiter, &from);
	while (!err && from) {
		const struct pool_entry *e = NULL;
		struct pool_entry unpacked;

		if (!pool_map_entries(from, r->chunk, &e, &unpacked))
			break;
		err = splice_entry(r, from, to, e[0]);
	}
	pool_leaf_unpin(to);
	return err;
}

static void splice_locked(struct pool_reclaim *r)
{
	int err = splice_chunk(r);

	if (err == -EAGAIN)
		return;
	pool_lock_release(&r->pool->locks, &r->lock);
	if (err) {
		r->job_err = err;
		r->at = r->count;
	}
	while (r->at < r->count && r->entries[r->at].key.chunk == r->chunk)
		r->at++;
	batch_run(r);
}

static void splice_granted(struct pool_lock_wait *w)
{
	splice_locked(container_of(w, struct pool_reclaim, lock));
}

static void splice_woken(struct pool_waiter *w, int err)
{
	struct pool_reclaim *r = container_of(w, struct pool_reclaim, leaf_waiter);

	if (err) {
		pool_lock_release(&r->pool->locks, &r->lock);
		r->job_err = err;
		r->at = r->count;
		batch_run(r);
		return;
	}
	splice_locked(r);
}

static void splice_run(struct pool_reclaim *r)
{
	memset(&r->lock, 0, sizeof(r->lock));
	r->chunk = r->entries[r->at].key.chunk;
	r->lock.granted = splice_granted;
	r->leaf_waiter.wake = splice_woken;
	pool_lock_enqueue(&r->pool->locks, r->child->id, r->chunk, &r->lock);
	pool_lock_pump(&r->pool->locks, r->child->id, r->chunk);
}

/* ---- loose chunks ----------------------------------------------------------------------------------- */

static void loose_batch_done(void *arg, int err)
{
	struct pool_reclaim *r = arg;
	struct pool *p = r->pool;

	p->space.loose_given += err ? 0 : r->count;
	p->space.loose_sequence = p->log.sequence;
	drop_batch_done(r, err);
}

/* No entry has them, and none can get them: all that LMDB has listed is older in the log than this task. */
static void loose_batch(struct pool_reclaim *r)
{
	struct pool_txn *t = own_txn(r->pool);

	for (size_t i = 0; i < r->count; i++) {
		struct pool_record rec = {.type = POOL_RECORD_FREE, .run = {.phys = r->loose[i], .count = 1}};

		pool_buffer_record(&t->rider.records, &rec);
		pool_free_list_add(&t->frees, r->loose[i]);
	}
	pool_txn_ride(t, loose_batch_done, r);
}

/* ---- batches ---------------------------------------------------------------------------------------- */

static void batch_work(struct pool_job *job)
{
	struct pool_reclaim *r = container_of(job, struct pool_reclaim, job);

	r->count = 0;
	if (r->task == TASK_LOOSE)
		r->job_err = pool_refs_scan_loose(&r->pool->meta, r->from.chunk, BATCH, r->loose, &r->count);
	else if (r->task == TASK_TODO)
		r->job_err =
			pool_meta_scan_gens(&r->pool->meta, &r->from, r->last_gen, BATCH, r->keys, &r->count);
	else
		r->job_err = pool_meta_scan_branch(&r->pool->meta, &r->from, BATCH, &r->entries, &r->count);
}

static void batch_loaded(struct pool_job *job)
{
	struct pool_reclaim *r = container_of(job, struct pool_reclaim, job);

	r->at = 0;
	if (r->job_err || must_stop(r) || splice_moot(r)) {
		task_end(r, splice_moot(r));
	} else if (r->count == 0) {
		if (r->task == TASK_TODO)
			todo_finish(r);
		else if (r->task == TASK_DROP)
			drop_finish(r);
		else if (r->task == TASK_LOOSE)
			task_end(r, true);
		else
			splice_finish(r);
	} else if (r->task == TASK_LOOSE) {
		r->from.chunk = r->loose[r->count - 1] + 1;
		loose_batch(r);
	} else if (r->task == TASK_TODO) {
		r->from = r->keys[r->count - 1];
		r->from.chunk++;
		batch_run(r);
	} else {
		r->from = r->entries[r->count - 1].key;
		if (r->from.gen == 0) {
			r->from.chunk++;
			r->from.gen = UINT32_MAX;
		} else {
			r->from.gen--; /* keys run from the newest generation down */
		}
		if (r->task == TASK_DROP)
			drop_batch(r);
		else
			batch_run(r);
	}
}

static void batch_start(struct pool_reclaim *r)
{
	free(r->entries);
	r->entries = NULL;
	r->job.work = batch_work;
	r->job.done = batch_loaded;
	r->pool->base.host->ops->work(r->pool->base.host, &r->job, POOL_QUEUE_WORKERS);
}

static void batch_flushed(void *arg, int err)
{
	struct pool_reclaim *r = arg;

	r->flushing = false;
	if (err || must_stop(r))
		task_end(r, false);
	else
		batch_run(r);
}

/* Does all that is under way wait at locks of others? One of its own chunks twice is no such lock. */
static bool lock_blocked(const struct pool_reclaim *r)
{
	if (r->task != TASK_TODO || !r->merging)
		return r->task == TASK_SPLICE && list_linked(&r->lock.link);
	for (unsigned i = 0; i < MERGES; i++) {
		if (r->merges[i].busy && !list_linked(&r->merges[i].merge.wait.link))
			return false;
	}
	return true;
}

/* A task that waits at a lock gives way to a look for loose chunks, because the lock's holder may be waiting
 * for a chunk. The task begins again later with what it has left to do. */
static void step_aside(struct pool_reclaim *r)
{
	unsigned failures = r->failures;

	if (r->task == TASK_SPLICE)
		list_remove(&r->lock.link);
	for (unsigned i = 0; i < MERGES && r->merging; i++) {
		if (!r->merges[i].busy)
			continue;
		list_remove(&r->merges[i].merge.wait.link);
		r->merges[i].busy = false;
		r->merging--;
	}
	r->loose_next = true;
	task_end(r, true);
	r->failures = failures;
}

bool pool_reclaim_may_free(struct pool *p)
{
	struct pool_reclaim *r = p->reclaim;

	if (must_stop(r) || p->base.closing || r->failures >= FAILURES_MAX)
		return false;
	pool_pace_hurry(&r->pace);
	pool_reclaim_look(p);
	if (r->running && lock_blocked(r) && r->loose_wanted)
		step_aside(r);
	if (r->running)
		return !lock_blocked(r);
	list_for_each (n, &p->commit.todos.list) {
		uint64_t sequence = container_of(n, struct pool_todo, link)->sequence;

		if (!sequence || sequence > p->log.sequence) {
			/* Its end kicks us, as does that of a commit under way. */
			pool_commit_request(&p->commit);
			return true;
		}
	}
	pool_reclaim_kick(p);
	return r->scan_wanted || r->loose_wanted || !list_empty(&p->commit.todos.list);
}

static void merge_next(struct pool_reclaim *r)
{
	struct merge_slot *s = r->merges;

	while (s->busy)
		s++;
	s->reclaim = r;
	s->busy = true;
	r->merging++;
	r->loop.again = r->merging < MERGES;
	pool_merge_chunk(&s->merge, r->pool, r->branch, r->keys[r->at++].chunk, merge_done);
}

static bool batch_step(struct pool_loop *loop)
{
	struct pool_reclaim *r = container_of(loop, struct pool_reclaim, loop);
	struct pool *p = r->pool;
	bool stops = must_stop(r) || splice_moot(r) || (r->at == r->count && r->job_err);

	if (r->flushing || r->pace.resting) /* its end comes here */
		return true;
	if (r->merging == MERGES || (r->merging && (stops || r->at == r->count || pool_pace_due(&r->pace) ||
							   p->map.dirty_count >= p->map.dirty_max / 2))) {
		if (lock_blocked(r))
			pool_alloc_wake(&p->space, 0); /* the lock's holder may be waiting for room */
		return true;
	}
	if (stops) {
		task_end(r, splice_moot(r));
	} else if (r->at == r->count) {
		batch_start(r);
	} else if (p->map.dirty_count >= p->map.dirty_max / 2) {
		r->flushing = true;
		pool_txn_ride(own_txn(p), batch_flushed, r);
	} else if (!pool_pace_rest(&r->pace, rested, r)) {
		if (r->task == TASK_TODO)
			merge_next(r);
		else
			splice_run(r);
		if (!loop->again && lock_blocked(r))
			pool_alloc_wake(&p->space, 0);
	}
	return true;
}

/* The chunks of the batch, some at once. When much is dirty, a frame comes in between. */
static void batch_run(struct pool_reclaim *r)
{
	pool_loop_run(&r->loop, batch_step);
}

/* The task goes on, or the next one is chosen. */
static void rested(void *arg)
{
	struct pool_reclaim *r = arg;

	if (!r->running)
		pool_reclaim_kick(r->pool);
	else if (r->task == TASK_TODO || r->task == TASK_SPLICE)
		batch_run(r);
	else if (must_stop(r))
		task_end(r, false);
	else
		batch_start(r);
}

/* ---- choosing --------------------------------------------------------------------------------------- */

static bool choose_todo(struct pool_reclaim *r)
{
	struct pool *p = r->pool;

	list_for_each (n, &p->commit.todos.list) {
		struct pool_todo *t = container_of(n, struct pool_todo, link);

		if (t->sequence && t->sequence <= p->log.sequence) {
			r->task = TASK_TODO;
			r->todo = t;
			t->busy = true;
			return true;
		}
	}
	return false;
}

static bool choose_loose(struct pool_reclaim *r)
{
	if (!r->loose_wanted)
		return false;
	r->loose_wanted = r->loose_next = false;
	r->task = TASK_LOOSE;
	return true;
}

/* Chooses a branch to drop, else a look for loose chunks, else a branch to splice. `stuck`: among the
 * branches that failed before. A look for loose chunks frees them at once. A splice is long, frees little,
 * and may wait at the lock of a write that itself waits for a chunk; so it comes last. It has its turn all
 * the same, because a look ends with what there is by then and the next one must be asked for. */
static bool choose_other(struct pool_reclaim *r, bool stuck)
{
	struct pool *p = r->pool;
	struct pool_branch *splice = NULL;

	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		list_for_each (n, &p->map.branch_hash[i]) {
			struct pool_branch *b = container_of(n, struct pool_branch, hash_link);

			if (b->disk || b->dead || b->stuck != stuck || !list_empty(&b->cuts))
				continue;
			if (b->child_count == 0 && b->loads)
				continue; /* a reader came through a child that has become independent */
			if (b->child_count == 0) {
				r->task = TASK_DROP;
				r->branch = b;
				return true;
			}
			if (b->child_count == 1 && !splice && !b->todos)
				splice = b;
		}
	}
	if (choose_loose(r))
		return true;
	if (!splice)
		return false;
	r->task = TASK_SPLICE;
	r->branch = splice;
	r->child = splice->children[0];
	return true;
}

/* `bare`: only those of which it is known that they have no entry. */
static bool find_drops(struct pool_reclaim *r, bool bare)
{
	r->drop_count = 0;
	r->bare = bare;
	for (unsigned i = 0; i < POOL_HASH_BUCKETS && r->drop_count < DROPS_MAX; i++) {
		list_for_each (n, &r->pool->map.branch_hash[i]) {
			struct pool_branch *b = container_of(n, struct pool_branch, hash_link);

			if (!droppable(b) || b->stuck || r->drop_count == DROPS_MAX ||
				(bare && !pool_branch_bare(b)))
				continue;
			if (!r->drop_count)
				r->branch = b;
			r->empty[r->drop_count] = bare;
			r->drops[r->drop_count++] = b->id;
		}
	}
	if (r->drop_count > 1)
		return true;
	r->drop_count = 0;
	r->branch = NULL;
	return false;
}

/* Several branches that nobody has are looked at together, before their parents' to-dos: these then are one walk. */
static bool choose_drops(struct pool_reclaim *r)
{
	if (r->drops_in_row == DROPS_IN_ROW || !(find_drops(r, true) || find_drops(r, false))) {
		r->drops_in_row = r->drop_count = 0;
		return false;
	}
	r->task = TASK_DROP;
	r->drops_in_row++;
	return true;
}

/* What failed before comes last: a task that always fails must not hold up the others. */
static bool choose(struct pool_reclaim *r)
{
	if (r->loose_next && choose_loose(r))
		return true;
	if (choose_drops(r))
		return true;
	if (r->failures % 2)
		return choose_other(r, false) || choose_todo(r) || choose_other(r, true);
	return choose_todo(r) || choose_other(r, false) || choose_other(r, true);
}

static void settled(struct pool_waiter *w, int err)
{
	struct pool_reclaim *r = container_of(w, struct pool_reclaim, waiter);

	if (err || must_stop(r)) {
		task_end(r, false);
		return;
	}
	if (r->task == TASK_TODO) {
		todo_begin(r);
		return;
	}
	if (r->task == TASK_LOOSE) {
		r->from = (struct pool_map_key){.chunk = 0};
		batch_start(r);
		return;
	}
	r->from = (struct pool_map_key){.branch = r->branch->id, .gen = UINT32_MAX};
	if (r->task == TASK_DROP)
		pool_map_free(&r->pool->map, r->branch); /* nobody looks at it any more */
	if (r->task == TASK_DROP && r->drop_count > 1)
		drops_begin(r);
	else
		batch_start(r);
}

static void flushed(void *arg, int err)
{
	struct pool_reclaim *r = arg;

	if (err || must_stop(r)) {
		task_end(r, false);
		return;
	}
	r->waiter.wake = settled;
	pool_applied_wait(&r->pool->commit.checkpoint, &r->waiter);
}

static void called(struct pool_call *call)
{
	struct pool_reclaim *r = container_of(call, struct pool_reclaim, call);

	if (r->running || r->pace.resting || pool_pack_busy(r->pool) || must_stop(r) || r->pool->base.closing)
		return; /* whose end comes here */
	if (!r->scan_wanted && !r->loose_wanted && list_empty(&r->pool->commit.todos.list)) {
		pool_pace_end(&r->pace);
		return;
	}
	if (pool_pace_rest(&r->pace, rested, r))
		return;
	r->scan_wanted = false;
	if (!choose(r)) {
		pool_pace_end(&r->pace);
		pool_alloc_wake(&r->pool->space, 0);
		return;
	}
	r->running = true;
	pool_pace_begin(&r->pace);
	if (r->task == TASK_TODO && pool_todo_in_meta(&r->pool->commit.todos, r->todo))
		todo_begin(r);
	else if (r->task == TASK_DROP && r->drop_count > 1 && r->bare)
		drops_looked(&r->job);
	else
		pool_txn_ride(own_txn(r->pool), flushed, r);
}

void pool_reclaim_kick(struct pool *p)
{
	struct pool_reclaim *r = p->reclaim;

	pool_pending_count(&r->pending);
	if (r->running || r->stopping || p->base.latched || p->base.closing ||
		(!r->scan_wanted && !r->loose_wanted && list_empty(&p->commit.todos.list)))
		return;
	r->call.call = called;
	p->base.host->ops->call(p->base.host, &r->call);
}

void pool_reclaim_look(struct pool *p)
{
	p->reclaim->loose_wanted = p->reclaim->loose_wanted || p->space.loose_likely;
	p->space.loose_likely = false;
}

void pool_reclaim_scan(struct pool *p)
{
	p->reclaim->failures = 0;
	p->reclaim->scan_wanted = true;
	pool_reclaim_kick(p);
}
