/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkpoint: takes durable frames off the backlog and puts them into LMDB in large sorted batches, on a
 * thread of its own. When a batch is committed its part of the log is free again and its leaves may go.
 * The thread sees the frames' bytes only, never the map.
 */
#include "array/store/pool/commit/commit.h"

#include <errno.h>
#include <stdlib.h>
#include "array/store/pool/durable/refs.h"

#define CHECKPOINT_LATER_MS 2000u
#define TRIES_MAX           8u /* of a disk that fails */

static void checkpoint_start(struct pool_checkpoint *c);
static void checkpoint_later(struct pool_checkpoint *c);

static struct pool_commit *commit_of(struct pool_checkpoint *c)
{
	return container_of(c, struct pool_commit, checkpoint);
}

/* It cannot be held any longer: the log fills, or memory does. */
static bool pressed(const struct pool_checkpoint *c)
{
	return c->base->closing || c->backlog_bytes > c->super->log_bytes / 2 ||
	       !list_empty(&c->map->room_waiters);
}

static void checkpoint_work(struct pool_job *job)
{
	struct pool_checkpoint *c = container_of(job, struct pool_checkpoint, job);
	struct pool_state before = c->state;
	struct pool_payload *payloads;
	size_t count = 0, i = 0;
	MDB_txn *txn = NULL;
	int err;

	list_for_each (n, &c->batch) {
		(void)n;
		count++;
	}
	payloads = pool_xrealloc(NULL, (count + 1) * sizeof(*payloads));
	list_for_each (n, &c->batch) {
		const struct pool_backlog *b = container_of(n, struct pool_backlog, link);

		payloads[i++] = (struct pool_payload){b->buf + POOL_FRAME_HEAD_SIZE, b->frame.payload_bytes};
	}
	err = pool_meta_begin(c->meta, false, &txn);
	if (!err) {
		err = pool_meta_apply(c->meta, txn, payloads, count, &c->state);
		if (!err)
			err = pool_refs_count(c->meta, txn, &c->refs);
		if (!err)
			err = pool_refs_loose_count(c->meta, txn, &c->loose);
		if (!err)
			err = pool_meta_count(c->meta, txn, POOL_TABLE_MAP, &c->entries);
		if (err)
			pool_meta_abort(txn);
		else
			err = c->base->host->ops->meta_commit(c->base->host, txn);
	}
	c->mirror_lost = c->mirror_err = 0;
	if (!err && c->mirrors)
		c->mirror_err = pool_mirror_apply(c->mirror, payloads, count, &before, &c->mirror_lost);
	free(payloads);
	c->err = err;
}

/* What was taken from the front of a list. */
static void put_back(struct list *taken, struct list *list)
{
	struct list_node *n;

	while ((n = list_pop(list)))
		list_push_back(taken, n);
	while ((n = list_pop(taken)))
		list_push_back(list, n);
}

/* A disk that goes on failing is not waited for for ever, memory and room are. Every try writes all of the batch anew, so
 * it does not matter what became of what an earlier one wrote. */
static bool may_try_again(struct pool_checkpoint *c)
{
	if (!pool_may_pass(c->err) || c->base->latched || c->base->closing)
		return false;
	c->tries++;
	if (c->tries == 1)
		pool_mirror_tell(c->mirror, "the pool cannot write its metadata", c->err);
	return c->err != -EIO || c->tries < TRIES_MAX;
}

static void checkpoint_done(struct pool_job *job)
{
	struct pool_checkpoint *c = container_of(job, struct pool_checkpoint, job);
	struct list_node *n;

	c->running = false;
	if (c->mirror_lost && c->mirror->following)
		commit_of(c)->remake.given_up = c->mirror_lost;
	else if (c->mirror_lost)
		pool_mirror_lost(c->mirror, c->mirror_lost, "its metadata");
	if (c->mirror_err)
		pool_latch(c->base, c->mirror_err, "striking its mirror off its data");
	/* Nothing of it is in LMDB, all of it is in the log: once more, in a while. */
	if (may_try_again(c)) {
		put_back(&c->batch, &c->backlog);
		put_back(&c->batch_waiters, &c->waiters);
		checkpoint_later(c);
		pool_remake_step(commit_of(c));
		pool_ask_ended(c->base);
		return;
	}
	if (c->err) {
		pool_latch(c->base, c->err, "writing its metadata");
		pool_wake_all(&c->batch_waiters, -EROFS);
		pool_wake_all(&c->waiters, -EROFS);
		pool_map_latched(c->map, -EROFS);
		pool_ask_log_has_room(c->base);
		pool_remake_step(commit_of(c));
		pool_ask_ended(c->base);
		return;
	}
	c->tries = 0;
	c->space->refs_count = c->refs;
	c->space->loose_count = c->loose;
	c->space->entries = c->entries;
	if (c->state.applied_sequence >= c->space->loose_sequence)
		c->space->loose_given = 0;
	pool_log_release(c->log, c->bytes);
	while ((n = list_pop(&c->batch))) {
		struct pool_backlog *b = container_of(n, struct pool_backlog, link);

		c->backlog_bytes -= b->log_bytes;
		free(b->buf);
		free(b);
	}
	pool_map_applied(c->map, c->state.applied_sequence);
	if (c->map->applied >= c->target_sequence)
		pool_wake_all(&c->batch_waiters, 0);
	pool_ask_log_has_room(c->base);
	if (c->wanted || !list_empty(&c->waiters) || !list_empty(&c->batch_waiters))
		checkpoint_start(c);
	pool_remake_step(commit_of(c));
	pool_ask_ended(c->base);
}

/* Those who wait get what is in the backlog now; who comes later, when they have it. */
static void take_waiters(struct pool_checkpoint *c)
{
	struct list_node *n;

	if (!list_empty(&c->batch_waiters))
		return;
	c->target_sequence = container_of(c->backlog.head.prev, struct pool_backlog, link)->frame.sequence;
	while ((n = list_pop(&c->waiters)))
		list_push_back(&c->batch_waiters, n);
}

/* Frames off the backlog, as many as a batch may have. */
static void fill_batch(struct pool_checkpoint *c)
{
	uint64_t records = 0;

	c->bytes = 0;
	while (!list_empty(&c->backlog)) {
		struct list_node *n = c->backlog.head.next;
		struct pool_backlog *b = container_of(n, struct pool_backlog, link);

		records += b->frame.records;
		if (!list_empty(&c->batch) && records > c->records_max) {
			c->wanted = true;
			break;
		}
		list_remove(n);
		list_push_back(&c->batch, n);
		c->bytes += b->log_bytes;
		c->state.applied_sequence = b->frame.sequence;
		c->state.log_offset = b->frame.offset + pool_frame_bytes(b->frame.payload_bytes);
	}
}

static void checkpoint_start(struct pool_checkpoint *c)
{
	if (c->running)
		return;
	if (c->tries && c->timer_armed && !c->base->latched && !c->base->closing) /* again, but not at once */
		return;
	if (c->base->latched) {
		pool_wake_all(&c->waiters, -EROFS);
		return;
	}
	if (c->held && pressed(c))
		pool_remake_pressed(commit_of(c));
	if (c->held) {
		c->wanted = true;
		return;
	}
	c->wanted = false;
	if (list_empty(&c->backlog)) {
		pool_wake_all(&c->batch_waiters, 0);
		pool_wake_all(&c->waiters, 0);
		return;
	}
	take_waiters(c);
	fill_batch(c);
	c->mirrors = c->mirror->active || c->mirror->following;
	c->running = true;
	c->job.work = checkpoint_work;
	c->job.done = checkpoint_done;
	c->base->host->ops->work(c->base->host, &c->job, POOL_QUEUE_CHECKPOINT);
}

static void timer_fired(struct pool_timer *timer)
{
	struct pool_checkpoint *c = container_of(timer, struct pool_checkpoint, timer);

	c->timer_armed = false;
	pool_checkpoint_request(c);
}

static void checkpoint_later(struct pool_checkpoint *c)
{
	if (c->timer_armed)
		return;
	c->timer_armed = true;
	c->timer.fire = timer_fired;
	c->base->host->ops->timer_arm(c->base->host, &c->timer, CHECKPOINT_LATER_MS);
}

void pool_checkpoint_request(struct pool_checkpoint *c)
{
	c->wanted = true;
	checkpoint_start(c);
}

void pool_checkpoint_hurry(struct pool_checkpoint *c)
{
	if (!list_empty(&c->backlog))
		pool_checkpoint_request(c);
}

void pool_checkpoint_feed(struct pool_checkpoint *c, struct pool_backlog *b)
{
	list_push_back(&c->backlog, &b->link);
	c->backlog_bytes += b->log_bytes;
	if (c->base->closing || c->backlog_bytes > c->super->log_bytes / 3 ||
		c->map->bytes > c->map->bytes_max || !list_empty(&c->map->room_waiters)) {
		pool_checkpoint_request(c);
	} else if (!c->timer_armed && !c->running) {
		checkpoint_later(c);
	} else if (c->running) {
		c->wanted = c->wanted || c->backlog_bytes > c->super->log_bytes / 6;
	}
}

void pool_applied_wait(struct pool_checkpoint *c, struct pool_waiter *w)
{
	list_push_back(&c->waiters, &w->link);
	checkpoint_start(c);
}
