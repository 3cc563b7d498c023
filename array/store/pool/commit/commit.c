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
 * The first failure latches the pool read-only.
 */
#include "array/store/pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLUSH_LATER_MS 1000u

static void cycle_start(struct pool *p);

/* ---- asking for one -------------------------------------------------------------------------------- */

static void cycle_called(struct pool_call *call)
{
	cycle_start(container_of(call, struct pool, cycle_call));
}

void pool_cycle_request(struct pool *p)
{
	p->cycle_wanted = true;
	if (p->cycle_running || p->cycle_no_room)
		return;
	p->cycle_call.call = cycle_called;
	p->base.host->ops->call(p->base.host, &p->cycle_call);
}

static void flush_timer_fired(struct pool_timer *timer)
{
	struct pool *p = container_of(timer, struct pool, flush_timer);

	p->flush_timer_armed = false;
	p->space.grow_err = 0;
	pool_alloc_wake(&p->space, 0);
	pool_cycle_request(p);
	pool_ask_reclaim(&p->base, POOL_RECLAIM_LOOK);
}

void pool_cycle_later(struct pool *p)
{
	if (p->map.dirty_count >= p->map.dirty_max / 2 && !p->cycle_running)
		pool_cycle_request(p);
	if (p->flush_timer_armed || p->base.latched)
		return;
	p->flush_timer_armed = true;
	p->flush_timer.fire = flush_timer_fired;
	p->base.host->ops->timer_arm(p->base.host, &p->flush_timer, FLUSH_LATER_MS);
}

void pool_flush_wait(struct pool *p, struct store_io *io)
{
	if (p->base.latched) {
		io->done(io, -EROFS);
		return;
	}
	list_push_back(&p->flushes, &io->link);
	pool_cycle_request(p);
}

uint64_t pool_rider_max(const struct pool *p)
{
	return (p->super.log_bytes - POOL_LOG_START) / 8;
}

void pool_ride(struct pool *p, struct pool_rider *r)
{
	if (p->base.latched) {
		r->ended(r, -EROFS);
		return;
	}
	list_push_back(&p->riders, &r->link);
	pool_cycle_request(p);
}

/* ---- the frame ------------------------------------------------------------------------------------- */

/* An upper bound of what map, frees, branches and to-dos need. */
static uint64_t state_estimate(const struct pool *p)
{
	uint64_t n = POOL_RECORD_MAX_FIXED;

	n += p->map.dirty_count * (40 + 48) + (p->space.free_new.count + p->space.unshared.count) *
						      24; /* each may be of a branch of its own */
	list_for_each (b, &p->map.dirty_branches) {
		(void)b;
		n += 48;
	}
	return n + pool_todo_unlogged(p) * 24;
}

static void put_branches(struct pool *p)
{
	struct list_node *n;

	while ((n = list_pop(&p->map.dirty_branches))) {
		struct pool_branch *b = container_of(n, struct pool_branch, dirty_link);
		struct pool_record r = {.type = POOL_RECORD_BRANCH_PUT};

		b->record_dirty = false;
		r.branch.id = b->id;
		r.branch.value = (struct pool_branch_value){.gen = b->gen,
			.parent = b->parent ? b->parent->id : 0,
			.parent_gen = b->parent_gen,
			.chunks = b->chunks};
		pool_buffer_record(&p->cycle_buf, &r);
	}
}

static void put_map(struct pool *p)
{
	size_t count = p->map.dirty_count;

	for (size_t i = 0; i < count; i++) { /* its generation and its count go along */
		if (!p->map.dirty[i].branch->dead)
			pool_branch_record_dirty(&p->map, p->map.dirty[i].branch);
	}
	put_branches(p);
	for (size_t i = 0; i < count; i++) {
		struct pool_record r;

		pool_map_collect(&p->map, &p->map.dirty[i], p->log.sequence + 1, &r);
		pool_buffer_record(&p->cycle_buf, &r);
	}
	assert(p->map.dirty_count == count);
	p->map.dirty_count = 0;
}

/* Riders in their order, as many as fit (one always does: pool_rider_max saw to it). */
static void put_riders(struct pool *p, uint64_t left)
{
	bool ids = false;

	while (!list_empty(&p->riders)) {
		struct pool_rider *r = container_of(p->riders.head.next, struct pool_rider, link);

		if (r->records.len > left)
			break;
		left -= r->records.len;
		list_remove(&r->link);
		list_push_back(&p->cycle_riders, &r->link);
		if (r->refresh)
			r->refresh(r);
		pool_buffer_bytes(&p->cycle_buf, r->records.data, r->records.len);
		p->cycle_buf.records += r->records.records;
		ids = ids || r->ids;
	}
	if (ids) {
		struct pool_record r = {.type = POOL_RECORD_IDS,
			.ids = {.next_branch = p->map.next_branch, .next_disk = p->map.next_disk}};

		pool_buffer_record(&p->cycle_buf, &r);
	}
}

static void close_epoch(struct pool *p, uint64_t rider_left)
{
	static const uint8_t head[POOL_FRAME_HEAD_SIZE];
	struct list_node *n;

	assert(p->cycle_buf.data == NULL);
	pool_buffer_bytes(&p->cycle_buf, head, sizeof(head));
	while ((n = list_pop(&p->flushes)))
		list_push_back(&p->cycle_flushes, n);
	put_map(p);
	pool_frees_frame(&p->space, &p->cycle_buf);
	pool_share_frame(&p->space, &p->cycle_buf);
	put_riders(p, rider_left);
	pool_todo_frame(p, &p->cycle_buf);
}

/* ---- the cycle ------------------------------------------------------------------------------------- */

static void cycle_fail(struct pool *p, int err)
{
	struct list_node *n;

	while ((n = list_pop(&p->cycle_riders)) || (n = list_pop(&p->riders))) {
		struct pool_rider *r = container_of(n, struct pool_rider, link);

		r->ended(r, err);
	}
	while ((n = list_pop(&p->cycle_flushes)) || (n = list_pop(&p->flushes))) {
		struct store_io *io = container_of(n, struct store_io, link);

		io->done(io, err);
	}
	pool_alloc_wake(&p->space, -EROFS);
}

static void cycle_end(struct pool *p)
{
	struct list_node *n;

	p->cycle_running = false;
	while ((n = list_pop(&p->cycle_riders))) {
		struct pool_rider *r = container_of(n, struct pool_rider, link);

		r->ended(r, 0);
	}
	while ((n = list_pop(&p->cycle_flushes))) {
		struct store_io *io = container_of(n, struct store_io, link);

		io->done(io, 0);
	}
	pool_frees_logged(&p->space);
	pool_alloc_wake(&p->space, 0);
	if (p->cycle_wanted || !list_empty(&p->riders) || !list_empty(&p->flushes))
		pool_cycle_request(p);
	pool_ask_reclaim(&p->base, POOL_RECLAIM_KICK);
	pool_ask_ended(&p->base);
}

static void cycle_failed(struct pool *p, int err, const char *what)
{
	pool_latch(&p->base, err, what);
	free(p->cycle_buf.data);
	memset(&p->cycle_buf, 0, sizeof(p->cycle_buf));
	p->cycle_running = false;
	cycle_fail(p, -EIO);
	pool_ask_ended(&p->base);
}

static void log_written(struct pool_log *log, int err)
{
	struct pool *p = container_of(log, struct pool, log);
	struct pool_backlog *b;

	if (err) {
		cycle_failed(p, err, "writing its log");
		return;
	}
	b = pool_xrealloc(NULL, sizeof(*b));
	memset(b, 0, sizeof(*b));
	b->buf = p->cycle_buf.data;
	b->frame = log->frame;
	b->log_bytes = log->frame_bytes;
	memset(&p->cycle_buf, 0, sizeof(p->cycle_buf));
	pool_checkpoint_feed(p, b);
	cycle_end(p);
}

static void data_synced(struct pool_space *s, int err)
{
	struct pool *p = container_of(s, struct pool, space);

	if (err) {
		cycle_failed(p, err, "flushing its data");
	} else if (p->cycle_buf.len == POOL_FRAME_HEAD_SIZE) {
		free(p->cycle_buf.data);
		memset(&p->cycle_buf, 0, sizeof(p->cycle_buf));
		cycle_end(p);
	} else if (p->base.latched) {
		cycle_failed(p, p->base.latched, "");
	} else {
		pool_log_write(&p->log, &p->cycle_buf, log_written);
	}
}

/* Anything to do? */
bool pool_cycle_needed(const struct pool *p)
{
	if (!list_empty(&p->flushes) || !list_empty(&p->riders) || p->map.dirty_count ||
		p->space.free_new.count || p->space.unshared.count || !list_empty(&p->map.dirty_branches))
		return true;
	return pool_todo_unlogged(p) > 0;
}

static void cycle_start(struct pool *p)
{
	uint64_t state, riders = 0, payload;

	if (p->cycle_running || !p->cycle_wanted)
		return;
	p->cycle_wanted = false;
	if (p->base.latched) {
		cycle_fail(p, -EROFS);
		return;
	}
	if (!pool_cycle_needed(p)) {
		pool_alloc_wake(&p->space, 0);
		pool_ask_ended(&p->base);
		return;
	}
	state = state_estimate(p);
	list_for_each (n, &p->riders)
		riders += container_of(n, struct pool_rider, link)->records.len;
	payload = state + riders;
	if (payload > pool_log_payload_max(&p->log))
		payload = state > pool_log_payload_max(&p->log) ? state : pool_log_payload_max(&p->log);
	if (payload < state + POOL_RECORD_MAX_FIXED)
		payload = state + POOL_RECORD_MAX_FIXED;
	if (!pool_log_fits(&p->log, payload)) {
		p->cycle_no_room = true;
		p->cycle_wanted = true;
		pool_checkpoint_request(p);
		return;
	}
	p->cycle_running = true;
	close_epoch(p, payload - state);
	pool_data_sync(&p->space, data_synced);
}

void pool_cycle_room(struct pool *p)
{
	if (!p->cycle_no_room)
		return;
	p->cycle_no_room = false;
	pool_cycle_request(p);
}
