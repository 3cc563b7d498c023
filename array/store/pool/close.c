/* SPDX-License-Identifier: Apache-2.0 */
/* Closing a pool: it becomes durable, what runs in the background ends, then everything is freed. */
#include "array/store/pool/pool.h"

#include <stdlib.h>

static bool may_close(const struct pool *p)
{
	if (p->cycle_running || p->checkpoint_running || pool_map_busy(&p->map) || p->space.growing ||
		p->space.discard_running || pool_reclaim_busy(p) || !list_empty(&p->hydrations))
		return false;
	if (p->base.latched)
		return true;
	return !p->cycle_wanted && !pool_cycle_needed(p) && list_empty(&p->backlog);
}

static void close_called(struct pool_call *call)
{
	struct pool *p = container_of(call, struct pool, close_call);
	void (*done)(void *arg, int err) = p->close_done;
	void *arg = p->close_arg;
	int err = p->base.latched ? -EIO : 0;

	if (!p->close_ready) { /* a call that was asked for after this one must not find the pool gone */
		p->close_ready = true;
		p->base.host->ops->call(p->base.host, call);
		return;
	}
	pool_destroy(p);
	done(arg, err);
}

void pool_close_step(struct pool *p)
{
	if (!p->base.closing || p->close_asked)
		return;
	if (may_close(p)) {
		p->close_asked = true;
		p->close_call.call = close_called;
		p->base.host->ops->call(p->base.host, &p->close_call);
		return;
	}
	if (p->base.latched)
		return;
	if (!p->cycle_running && !p->cycle_wanted && pool_cycle_needed(p))
		pool_cycle_request(p);
	else if (!p->cycle_running && !p->cycle_wanted && !p->checkpoint_running && !list_empty(&p->backlog))
		pool_checkpoint_request(p);
}

static void close_begin(struct pool_call *call)
{
	struct pool *p = container_of(call, struct pool, close_call);

	pool_reclaim_stop(p);
	pool_hydrate_stop(p);
	pool_alloc_wake(&p->space, 0); /* nothing comes any more */
	pool_cycle_request(p);
	pool_close_step(p);
}

void pool_close(struct store *s, void (*done)(void *arg, int err), void *arg)
{
	struct pool *p = pool_of(s);

	p->base.closing = true;
	p->close_done = done;
	p->close_arg = arg;
	p->base.host->ops->timer_disarm(p->base.host, &p->flush_timer);
	p->base.host->ops->timer_disarm(p->base.host, &p->checkpoint_timer);
	p->flush_timer_armed = p->checkpoint_timer_armed = true; /* never again */
	p->close_call.call = close_begin;
	p->base.host->ops->call(p->base.host, &p->close_call);
}

static void free_objects(struct pool *p)
{
	struct list_node *n;

	while ((n = list_pop(&p->sub_free)))
		free(container_of(n, struct pool_sub, link));
	while ((n = list_pop(&p->piece_free)))
		free(container_of(n, struct pool_piece, link));
	while ((n = list_pop(&p->todos)))
		free(container_of(n, struct pool_todo, link));
	while (p->bounce_count)
		free(p->bounce_free[--p->bounce_count]);
	free(p->bounce_free);
	while ((n = list_pop(&p->backlog)) || (n = list_pop(&p->checkpointing))) {
		struct pool_backlog *b = container_of(n, struct pool_backlog, link);

		free(b->buf);
		free(b);
	}
	free(p->cycle_buf.data);
}

void pool_destroy(struct pool *p)
{
	struct pool_host *host = p->base.host;

	if (p->opened) {
		host->ops->timer_disarm(host, &p->flush_timer);
		host->ops->timer_disarm(host, &p->checkpoint_timer);
	}
	pool_reclaim_free(p->reclaim);
	pool_reserves_destroy(&p->space);
	pool_map_destroy(&p->map);
	free_objects(p);
	pool_locks_destroy(&p->locks);
	pool_space_destroy(&p->space);
	pool_log_close(&p->log);
	pool_meta_close(&p->meta);
	free(p);
	host->ops->free(host);
}
