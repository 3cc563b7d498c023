/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkpoint: takes durable frames off the backlog and puts them into LMDB in large sorted batches, on a
 * thread of its own. When a batch is committed its part of the log is free again and its leaves may go.
 * The thread sees the frames' bytes only, never the map.
 */
#include "array/store/pool/pool.h"

#include <errno.h>
#include <stdlib.h>

#define CHECKPOINT_LATER_MS 2000u

static void checkpoint_start(struct pool *p);

static void checkpoint_work(struct pool_job *job)
{
	struct pool *p = container_of(job, struct pool, checkpoint_job);
	struct pool_payload *payloads;
	size_t count = 0, i = 0;
	MDB_txn *txn = NULL;
	int err;

	list_for_each (n, &p->checkpointing) {
		(void)n;
		count++;
	}
	payloads = pool_xrealloc(NULL, (count + 1) * sizeof(*payloads));
	list_for_each (n, &p->checkpointing) {
		const struct pool_backlog *b = container_of(n, struct pool_backlog, link);

		payloads[i++] = (struct pool_payload){b->buf + POOL_FRAME_HEAD_SIZE, b->frame.payload_bytes};
	}
	err = pool_meta_begin(&p->meta, false, &txn);
	if (!err) {
		err = pool_meta_apply(&p->meta, txn, payloads, count, &p->checkpoint_state);
		if (!err)
			err = pool_refs_count(&p->meta, txn, &p->checkpoint_refs);
		if (!err)
			err = pool_refs_loose_count(&p->meta, txn, &p->checkpoint_loose);
		if (err)
			mdb_txn_abort(txn);
		else
			err = p->base.host->ops->meta_commit(p->base.host, txn);
	}
	free(payloads);
	p->checkpoint_err = err;
}

static void checkpoint_done(struct pool_job *job)
{
	struct pool *p = container_of(job, struct pool, checkpoint_job);
	struct list_node *n;

	p->checkpoint_running = false;
	if (p->checkpoint_err) {
		pool_latch(&p->base, p->checkpoint_err, "writing its metadata");
		pool_wake_all(&p->applied_running, -EROFS);
		pool_wake_all(&p->applied_waiters, -EROFS);
		pool_ask_log_has_room(&p->base);
		pool_ask_ended(&p->base);
		return;
	}
	p->map.applied = p->checkpoint_state.applied_sequence;
	p->space.refs_count = p->checkpoint_refs;
	p->space.loose_count = p->checkpoint_loose;
	if (p->map.applied >= p->space.loose_sequence)
		p->space.loose_given = 0;
	pool_log_release(&p->log, p->checkpoint_bytes);
	while ((n = list_pop(&p->checkpointing))) {
		struct pool_backlog *b = container_of(n, struct pool_backlog, link);

		p->backlog_bytes -= b->log_bytes;
		free(b->buf);
		free(b);
	}
	pool_wake_all(&p->applied_running, 0);
	pool_map_trim(&p->map);
	pool_ask_log_has_room(&p->base);
	if (p->checkpoint_wanted || !list_empty(&p->applied_waiters))
		checkpoint_start(p);
	pool_ask_ended(&p->base);
}

static void checkpoint_start(struct pool *p)
{
	struct list_node *n;

	if (p->checkpoint_running)
		return;
	if (p->base.latched) {
		pool_wake_all(&p->applied_waiters, -EROFS);
		return;
	}
	p->checkpoint_wanted = false;
	while ((n = list_pop(&p->applied_waiters)))
		list_push_back(&p->applied_running, n);
	if (list_empty(&p->backlog)) {
		pool_wake_all(&p->applied_running, 0);
		return;
	}
	p->checkpoint_bytes = 0;
	while ((n = list_pop(&p->backlog))) {
		struct pool_backlog *b = container_of(n, struct pool_backlog, link);

		list_push_back(&p->checkpointing, n);
		p->checkpoint_bytes += b->log_bytes;
		p->checkpoint_state.applied_sequence = b->frame.sequence;
		p->checkpoint_state.log_offset = b->frame.offset + pool_frame_bytes(b->frame.payload_bytes);
	}
	p->checkpoint_state.incarnation = p->state.incarnation;
	p->checkpoint_running = true;
	p->checkpoint_job.work = checkpoint_work;
	p->checkpoint_job.done = checkpoint_done;
	p->base.host->ops->work(p->base.host, &p->checkpoint_job, POOL_QUEUE_CHECKPOINT);
}

static void timer_fired(struct pool_timer *timer)
{
	struct pool *p = container_of(timer, struct pool, checkpoint_timer);

	p->checkpoint_timer_armed = false;
	pool_checkpoint_request(p);
}

void pool_checkpoint_request(struct pool *p)
{
	p->checkpoint_wanted = true;
	checkpoint_start(p);
}

void pool_checkpoint_feed(struct pool *p, struct pool_backlog *b)
{
	list_push_back(&p->backlog, &b->link);
	p->backlog_bytes += b->log_bytes;
	if (p->base.closing || p->backlog_bytes > p->super.log_bytes / 3 || p->map.bytes > p->map.bytes_max) {
		pool_checkpoint_request(p);
	} else if (!p->checkpoint_timer_armed && !p->checkpoint_running) {
		p->checkpoint_timer_armed = true;
		p->checkpoint_timer.fire = timer_fired;
		p->base.host->ops->timer_arm(p->base.host, &p->checkpoint_timer, CHECKPOINT_LATER_MS);
	} else if (p->checkpoint_running) {
		p->checkpoint_wanted = p->checkpoint_wanted || p->backlog_bytes > p->super.log_bytes / 6;
	}
}

void pool_applied_wait(struct pool *p, struct pool_waiter *w)
{
	list_push_back(&p->applied_waiters, &w->link);
	checkpoint_start(p);
}
