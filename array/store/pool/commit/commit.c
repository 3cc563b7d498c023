/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit cycle: what makes flushes and transactions durable, one group at a time.
 *
 *   close the epoch: copy the masks of all dirty entries, freed chunks and waiting transactions into a frame
 *   → fdatasync the data files written since the last one → write the frame to the log (it is opened so that
 *   a finished write is durable) → those who waited are done.
 *
 * What completes after the epoch closed belongs to the next cycle: so a record never speaks of a block whose
 * data was not durable before the record was written. A cycle with nothing for the log ends after the sync.
 * A frame that cannot be written is written again for a while; the first failure of anything else latches the pool
 * read-only.
 */
#include "array/store/pool/commit/commit.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLUSH_LATER_MS 1000u
#define AGAIN_MS       250u /* between two tries to write a frame */
#define AGAIN_MAX      40u

static void cycle_start(struct pool_commit *c);

/* ---- asking for one -------------------------------------------------------------------------------- */

static void cycle_called(struct pool_call *call)
{
	cycle_start(container_of(call, struct pool_commit, call));
}

void pool_commit_request(struct pool_commit *c)
{
	c->wanted = true;
	if (c->running || c->no_room)
		return;
	c->call.call = cycle_called;
	c->base->host->ops->call(c->base->host, &c->call);
}

static void flush_timer_fired(struct pool_timer *timer)
{
	struct pool_commit *c = container_of(timer, struct pool_commit, flush_timer);

	c->flush_timer_armed = false;
	c->space->grow_err = 0;
	pool_alloc_wake(c->space, 0);
	pool_commit_request(c);
	pool_ask_reclaim(c->base, POOL_RECLAIM_LOOK);
}

void pool_commit_later(struct pool_commit *c)
{
	if (c->map->dirty_count >= c->map->dirty_max / 2 && !c->running)
		pool_commit_request(c);
	if (c->flush_timer_armed || c->base->latched)
		return;
	c->flush_timer_armed = true;
	c->flush_timer.fire = flush_timer_fired;
	c->base->host->ops->timer_arm(c->base->host, &c->flush_timer, FLUSH_LATER_MS);
}

void pool_flush_wait(struct pool_commit *c, struct store_io *io)
{
	if (c->base->latched) {
		io->done(io, -EROFS);
		return;
	}
	list_push_back(&c->flushes, &io->link);
	pool_patience_start(c->base);
	pool_commit_request(c);
}

/* A COMPARE AND WRITE has written: tried again it would miscompare. */
static void flush_busy(struct list *flushes)
{
	struct list_node *n;

	while ((n = list_pop(flushes))) {
		struct store_io *io = container_of(n, struct store_io, link);

		io->done(io, io->op == STORE_COMPARE_WRITE ? -EIO : -EAGAIN);
	}
}

bool pool_commit_hurried(struct pool_commit *c)
{
	struct list late;
	struct list_node *n;

	if (list_empty(&c->flushes) && list_empty(&c->cycle_flushes))
		return false;
	if (++c->stalled < POOL_PATIENCE_TICKS)
		return true;
	list_init(&late);
	while ((n = list_pop(&c->cycle_flushes)) || (n = list_pop(&c->flushes)))
		list_push_back(&late, n);
	flush_busy(&late);
	return !list_empty(&c->flushes);
}

uint64_t pool_rider_max(const struct pool_commit *c)
{
	return (c->super->log_bytes - POOL_LOG_START) / 8;
}

void pool_ride(struct pool_commit *c, struct pool_rider *r)
{
	if (c->base->latched) {
		r->ended(r, -EROFS);
		return;
	}
	list_push_back(&c->riders, &r->link);
	pool_commit_request(c);
}

/* ---- the frame ------------------------------------------------------------------------------------- */

/* An upper bound of what map, frees, branches and to-dos need. */
static uint64_t state_estimate(const struct pool_commit *c)
{
	uint64_t n = POOL_RECORD_MAX_FIXED;

	n += c->map->dirty_count * (40 + 48) + (c->space->free_new.count + c->space->unshared.count) *
						       24; /* each may be of a branch of its own */
	list_for_each (b, &c->map->dirty_branches) {
		(void)b;
		n += 48;
	}
	return n + c->todos.unlogged * 24;
}

static void put_branches(struct pool_commit *c)
{
	struct list_node *n;

	while ((n = list_pop(&c->map->dirty_branches))) {
		struct pool_branch *b = container_of(n, struct pool_branch, dirty_link);
		struct pool_record r = {.type = POOL_RECORD_BRANCH_PUT};

		b->record_dirty = false;
		r.branch.id = b->id;
		r.branch.value = (struct pool_branch_value){.gen = b->gen,
			.parent = b->parent ? b->parent->id : 0,
			.parent_gen = b->parent_gen,
			.blocks = b->blocks};
		pool_buffer_record(&c->frame, &r);
	}
}

static void put_map(struct pool_commit *c)
{
	size_t count = c->map->dirty_count;

	for (size_t i = 0; i < count; i++) { /* its generation and its count go along */
		if (!c->map->dirty[i].branch->dead)
			pool_branch_record_dirty(c->map, c->map->dirty[i].branch);
	}
	put_branches(c);
	for (size_t i = 0; i < count; i++) {
		struct pool_record r;

		pool_map_collect(c->map, &c->map->dirty[i], c->log->sequence + 1, &r);
		pool_buffer_record(&c->frame, &r);
	}
	assert(c->map->dirty_count == count);
	c->map->dirty_count = 0;
}

/* Riders in their order, as many as fit (one always does: pool_rider_max saw to it). */
static void put_riders(struct pool_commit *c, uint64_t left)
{
	bool ids = false;

	while (!list_empty(&c->riders)) {
		struct pool_rider *r = container_of(c->riders.head.next, struct pool_rider, link);

		if (r->records.len > left)
			break;
		left -= r->records.len;
		list_remove(&r->link);
		list_push_back(&c->cycle_riders, &r->link);
		if (r->refresh)
			r->refresh(r);
		pool_buffer_bytes(&c->frame, r->records.data, r->records.len);
		c->frame.records += r->records.records;
		ids = ids || r->ids;
	}
	if (ids) {
		struct pool_record r = {.type = POOL_RECORD_IDS,
			.ids = {.next_branch = c->map->next_branch, .next_disk = c->map->next_disk}};

		pool_buffer_record(&c->frame, &r);
	}
}

static void close_epoch(struct pool_commit *c, uint64_t rider_left)
{
	static const uint8_t head[POOL_FRAME_HEAD_SIZE];
	struct list_node *n;

	assert(c->frame.data == NULL);
	pool_buffer_bytes(&c->frame, head, sizeof(head));
	while ((n = list_pop(&c->flushes)))
		list_push_back(&c->cycle_flushes, n);
	put_map(c);
	pool_frees_frame(c->space, &c->frame);
	pool_share_frame(c->space, &c->frame);
	put_riders(c, rider_left);
	pool_todo_frame(&c->todos, &c->frame);
}

/* ---- the cycle ------------------------------------------------------------------------------------- */

static void cycle_fail(struct pool_commit *c, int err)
{
	struct list_node *n;

	while ((n = list_pop(&c->cycle_riders)) || (n = list_pop(&c->riders))) {
		struct pool_rider *r = container_of(n, struct pool_rider, link);

		r->ended(r, err);
	}
	while ((n = list_pop(&c->cycle_flushes)) || (n = list_pop(&c->flushes))) {
		struct store_io *io = container_of(n, struct store_io, link);

		io->done(io, err);
	}
	pool_alloc_wake(c->space, -EROFS);
	pool_map_latched(c->map, -EROFS);
}

static void cycle_end(struct pool_commit *c)
{
	struct list_node *n;

	c->running = false;
	c->stalled = 0;
	while ((n = list_pop(&c->cycle_riders))) {
		struct pool_rider *r = container_of(n, struct pool_rider, link);

		r->ended(r, 0);
	}
	while ((n = list_pop(&c->cycle_flushes))) {
		struct store_io *io = container_of(n, struct store_io, link);

		io->done(io, 0);
	}
	pool_frees_logged(c->space);
	pool_alloc_wake(c->space, 0);
	if (c->wanted || !list_empty(&c->riders) || !list_empty(&c->flushes))
		pool_commit_request(c);
	pool_remake_step(c);
	pool_ask_reclaim(c->base, POOL_RECLAIM_KICK);
	pool_ask_ended(c->base);
}

static void cycle_failed(struct pool_commit *c, int err, const char *what)
{
	pool_latch(c->base, err, what);
	free(c->frame.data);
	memset(&c->frame, 0, sizeof(c->frame));
	c->running = false;
	cycle_fail(c, -EIO);
	pool_remake_step(c);
	pool_ask_ended(c->base);
}

/* The frame is in the log, and in the mirror's. */
static void frame_durable(struct pool_commit *c)
{
	struct pool_backlog *b;

	if (c->frame_err) {
		cycle_failed(c, c->frame_err, c->frame_what);
		return;
	}
	b = pool_xrealloc(NULL, sizeof(*b));
	memset(b, 0, sizeof(*b));
	b->buf = c->frame.data;
	b->frame = c->log->frame;
	b->log_bytes = c->log->frame_bytes;
	memset(&c->frame, 0, sizeof(c->frame));
	pool_checkpoint_feed(&c->checkpoint, b);
	cycle_end(c);
}

static void frame_write_ended(struct pool_commit *c, int err, const char *what)
{
	if (err && !c->frame_err) {
		c->frame_err = err;
		c->frame_what = what;
	}
	if (--c->frame_writes == 0)
		frame_durable(c);
}

static void again_fired(struct pool_timer *timer)
{
	struct pool_commit *c = container_of(timer, struct pool_commit, again);

	pool_log_again(c->log);
}

/* Nobody was told of the frame, and it counts only when all of it is written: so it can be written again, unlike data,
 * of which a sync that failed tells once what is lost. A disk that goes on failing is not waited for for ever, memory and
 * room are. */
static bool write_again(struct pool_commit *c, int err)
{
	if (!pool_may_pass(err) || c->base->latched)
		return false;
	if (c->tries++ == 0)
		pool_mirror_tell(c->mirror, "the pool cannot write its log", err);
	if (c->tries >= AGAIN_MAX && (err == -EIO || c->base->closing))
		return false;
	c->again.fire = again_fired;
	c->base->host->ops->timer_arm(c->base->host, &c->again, AGAIN_MS);
	return true;
}

static void log_written(void *arg, int err)
{
	struct pool_commit *c = arg;

	if (err && write_again(c, err))
		return;
	c->tries = 0;
	frame_write_ended(c, err, "writing its log");
}

static void mirror_written(void *arg, int err)
{
	frame_write_ended(arg, err, "striking its mirror off its data");
}

static void write_frame(struct pool_commit *c)
{
	bool mirrors = c->mirror->active && c->mirror->logs;

	c->frame_writes = mirrors ? 2 : 1;
	c->frame_err = 0;
	pool_log_write(c->log, &c->frame, log_written, c);
	if (mirrors)
		pool_mirror_frame(c->mirror, c->frame.data, pool_frame_bytes(c->log->frame.payload_bytes),
			c->log->frame.offset, mirror_written, c);
}

static void data_synced(void *arg, int err)
{
	struct pool_commit *c = arg;

	if (err) {
		cycle_failed(c, err, "flushing its data");
	} else if (c->frame.len == POOL_FRAME_HEAD_SIZE) {
		free(c->frame.data);
		memset(&c->frame, 0, sizeof(c->frame));
		cycle_end(c);
	} else if (c->base->latched) {
		cycle_failed(c, c->base->latched, "");
	} else {
		write_frame(c);
	}
}

/* Anything to do? */
bool pool_commit_needed(const struct pool_commit *c)
{
	if (!list_empty(&c->flushes) || !list_empty(&c->riders) || c->map->dirty_count ||
		c->space->free_new.count || c->space->unshared.count || !list_empty(&c->map->dirty_branches))
		return true;
	return c->todos.unlogged > 0;
}

static void cycle_start(struct pool_commit *c)
{
	uint64_t state, riders = 0, payload;

	if (c->running || !c->wanted || (c->paused && !c->base->latched))
		return;
	c->wanted = false;
	if (c->base->latched) {
		cycle_fail(c, -EROFS);
		return;
	}
	if (!pool_commit_needed(c)) {
		pool_alloc_wake(c->space, 0);
		pool_ask_ended(c->base);
		return;
	}
	state = state_estimate(c);
	list_for_each (n, &c->riders)
		riders += container_of(n, struct pool_rider, link)->records.len;
	payload = state + riders;
	if (payload > pool_log_payload_max(c->log))
		payload = state > pool_log_payload_max(c->log) ? state : pool_log_payload_max(c->log);
	if (payload < state + POOL_RECORD_MAX_FIXED)
		payload = state + POOL_RECORD_MAX_FIXED;
	if (!pool_log_fits(c->log, payload)) {
		c->no_room = true;
		c->wanted = true;
		pool_remake_pressed(c);
		pool_checkpoint_request(&c->checkpoint);
		return;
	}
	c->running = true;
	close_epoch(c, payload - state);
	pool_data_sync(c->space, data_synced, c);
}

void pool_commit_log_has_room(struct pool_commit *c)
{
	if (!c->no_room)
		return;
	c->no_room = false;
	pool_commit_request(c);
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static void mark_idle(void *arg)
{
	struct pool_commit *c = arg;

	pool_ask_ended(c->base);
}

void pool_commit_init(struct pool_commit *c, struct pool_base *base, const struct pool_super *super,
	struct pool_meta *meta, struct pool_map *map, struct pool_space *space, struct pool_log *log,
	struct pool_mirror *mirror)
{
	struct list *lists[] = {&c->flushes, &c->riders, &c->cycle_flushes, &c->cycle_riders,
		&c->checkpoint.backlog, &c->checkpoint.batch, &c->checkpoint.waiters,
		&c->checkpoint.batch_waiters};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
	c->base = c->checkpoint.base = base;
	pool_todos_init(&c->todos, base, log, map);
	c->super = c->checkpoint.super = super;
	c->checkpoint.meta = meta;
	c->map = c->checkpoint.map = map;
	c->space = c->checkpoint.space = space;
	c->log = c->checkpoint.log = log;
	log->mark_idle = mark_idle;
	log->mark_arg = c;
	c->mirror = c->checkpoint.mirror = mirror;
	c->remake.commit = c;
}

int pool_commit_open(struct pool_commit *c, const struct pool_state *state, MDB_txn *txn)
{
	c->checkpoint.state = *state;
	return pool_meta_all(c->checkpoint.meta, txn, POOL_TABLE_TODO, pool_todo_load, &c->todos);
}

void pool_commit_stop(struct pool_commit *c)
{
	struct pool_host *host = c->base->host;

	host->ops->timer_disarm(host, &c->flush_timer);
	host->ops->timer_disarm(host, &c->checkpoint.timer);
	pool_patience_stop(c->base);
	pool_remake_stop(c);
	pool_log_stop(c->log);
	c->flush_timer_armed = c->checkpoint.timer_armed = true; /* never again */
}

bool pool_commit_busy(const struct pool_commit *c)
{
	return c->running || c->checkpoint.running || c->log->mark_busy || pool_remake_busy(c);
}

void pool_commit_destroy(struct pool_commit *c)
{
	struct list_node *n;

	while ((n = list_pop(&c->todos.list)))
		free(container_of(n, struct pool_todo, link));
	while ((n = list_pop(&c->checkpoint.backlog)) || (n = list_pop(&c->checkpoint.batch))) {
		struct pool_backlog *b = container_of(n, struct pool_backlog, link);

		free(b->buf);
		free(b);
	}
	free(c->frame.data);
}
