/* SPDX-License-Identifier: Apache-2.0 */
/* Closing a pool: it becomes durable, what runs in the background ends, then everything is freed. */
#include "array/store/pool/background/background.h"

#include <stdlib.h>

static bool may_close(const struct pool *p)
{
	if (pool_commit_busy(&p->commit) || pool_map_busy(&p->map) || p->space.growing || p->growth ||
		p->readers || p->space.discard_running || pool_reclaim_busy(p) || pool_pack_busy(p) ||
		!list_empty(&p->hydrations))
		return false;
	if (pool_sums_busy(&p->space.sums) || pool_scrub_busy(p))
		return false;
	if (p->base.latched)
		return true;
	return !p->commit.wanted && !pool_commit_needed(&p->commit) &&
	       list_empty(&p->commit.checkpoint.backlog);
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
	if (!p->close_begun || p->close_asked)
		return;
	if (may_close(p) && pool_sums_close_step(&p->space.sums)) {
		p->close_asked = true;
		p->close_call.call = close_called;
		p->base.host->ops->call(p->base.host, &p->close_call);
		return;
	}
	if (p->base.latched)
		return;
	if (!p->commit.running && !p->commit.wanted && pool_commit_needed(&p->commit))
		pool_commit_request(&p->commit);
	else if (!p->commit.running && !p->commit.wanted && !p->commit.checkpoint.running &&
		 !list_empty(&p->commit.checkpoint.backlog))
		pool_checkpoint_request(&p->commit.checkpoint);
}

static void close_begin(struct pool_call *call)
{
	struct pool *p = container_of(call, struct pool, close_call);

	p->close_begun = true;
	pool_pack_stop(p);
	pool_reclaim_stop(p);
	pool_hydrate_stop(p);
	pool_scrub_close(p);
	pool_alloc_wake(&p->space, 0); /* nothing comes any more */
	pool_commit_request(&p->commit);
	pool_checkpoint_hurry(&p->commit.checkpoint); /* its timer does not come any more */
	pool_close_step(p);
}

void pool_close(struct store *s, void (*done)(void *arg, int err), void *arg)
{
	struct pool *p = pool_of(s);

	p->base.closing = true;
	p->close_done = done;
	p->close_arg = arg;
	pool_commit_stop(&p->commit);
	pool_sums_stop(&p->space.sums);
	p->close_call.call = close_begin;
	p->base.host->ops->call(p->base.host, &p->close_call);
}

void pool_destroy(struct pool *p)
{
	struct pool_host *host = p->base.host;

	if (p->opened) {
		pool_commit_stop(&p->commit);
		pool_sums_stop(&p->space.sums);
	}
	pool_reclaim_free(p->reclaim);
	pool_pack_free(p->pack);
	pool_scrub_free(p->scrub);
	pool_reserves_destroy(&p->space);
	pool_map_destroy(&p->map);
	pool_spares_destroy(&p->spares);
	pool_commit_destroy(&p->commit);
	pool_locks_destroy(&p->locks);
	pool_space_destroy(&p->space);
	pool_log_close(&p->log);
	pool_mirror_close(&p->mirror);
	pool_meta_close(&p->meta);
	free(p);
	host->ops->free(host);
}
