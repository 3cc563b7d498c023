/* SPDX-License-Identifier: Apache-2.0 */
/* A lost mirror is made anew while the pool is open (remake.h). */
#include "array/store/pool/commit/commit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LATER_MS 10000u

static void opened(struct pool_job *job);
static void copied(struct pool_job *job);
static void stamped(struct pool_job *job);

static struct pool_commit *commit_of(struct pool_job *job)
{
	return container_of(job, struct pool_remake, job)->commit;
}

static void start(struct pool_commit *c, enum pool_remake_phase phase, void (*work)(struct pool_job *job),
	void (*done)(struct pool_job *job))
{
	c->remake.phase = phase;
	c->remake.job.work = work;
	c->remake.job.done = done;
	c->base->host->ops->work(c->base->host, &c->remake.job, POOL_QUEUE_WORKERS);
}

/* Cycles and the checkpoint go on. */
static void release(struct pool_commit *c)
{
	bool held = c->checkpoint.held, paused = c->paused;

	c->checkpoint.held = c->paused = false;
	if (held)
		pool_checkpoint_request(&c->checkpoint);
	if (paused)
		pool_commit_request(c);
}

static void fail(struct pool_commit *c, int err)
{
	struct pool_mirror *m = c->mirror;

	m->following = false;
	if (err != -EINTR && m->failure[0])
		memcpy(m->reason, m->failure, sizeof(m->reason));
	c->remake.phase = POOL_REMAKE_IDLE;
	release(c);
	pool_remake_later(c);
	pool_ask_ended(c->base);
}

/* ---- 4: the stamps ---------------------------------------------------------------------------------- */

static void stamp_work(struct pool_job *job)
{
	struct pool_commit *c = commit_of(job);

	c->remake.latch = 0;
	c->remake.err = pool_mirror_restamp(c->mirror, c->base->host, &c->remake.latch);
}

static void stamped(struct pool_job *job)
{
	struct pool_commit *c = commit_of(job);

	if (c->remake.latch)
		pool_latch(c->base, c->remake.latch, "striking its mirror off its data");
	if (c->remake.err) {
		fail(c, c->remake.err);
		return;
	}
	c->mirror->following = false;
	c->remake.phase = POOL_REMAKE_IDLE;
	pool_mirror_again(c->mirror);
	release(c);
	pool_ask_ended(c->base);
}

/* ---- 3 ---------------------------------------------------------------------------------------------- */

static void follow_step(struct pool_commit *c)
{
	if (c->remake.given_up || c->checkpoint.tries || c->base->latched) {
		fail(c, -EINTR);
		return;
	}
	if (c->running || c->checkpoint.running)
		return;
	if (!list_empty(&c->checkpoint.backlog)) {
		pool_checkpoint_request(&c->checkpoint);
		return;
	}
	start(c, POOL_REMAKE_STAMPS, stamp_work, stamped);
}

/* ---- 2: the copy ------------------------------------------------------------------------------------ */

static void copy_work(struct pool_job *job)
{
	struct pool_commit *c = commit_of(job);

	c->remake.err = pool_mirror_copy(c->mirror, c->checkpoint.meta);
}

static void copied(struct pool_job *job)
{
	struct pool_commit *c = commit_of(job);

	if (c->remake.err || c->remake.given_up) {
		if (!c->remake.err)
			snprintf(c->mirror->failure, sizeof(c->mirror->failure),
				"the log became full while the metadata was copied to it");
		fail(c, c->remake.err);
		return;
	}
	c->mirror->following = true;
	c->remake.phase = POOL_REMAKE_FOLLOWS;
	c->paused = true; /* what it lacks gets no more */
	c->checkpoint.held = false;
	pool_checkpoint_request(&c->checkpoint); /* somebody may wait for it */
	follow_step(c);
}

/* ---- 1 ---------------------------------------------------------------------------------------------- */

static void open_work(struct pool_job *job)
{
	struct pool_commit *c = commit_of(job);

	c->remake.err = pool_mirror_reopen(c->mirror);
}

static void opened(struct pool_job *job)
{
	struct pool_commit *c = commit_of(job);

	if (c->remake.err || c->remake.given_up || c->base->latched) {
		fail(c, c->remake.err);
		return;
	}
	c->checkpoint.held = true;
	c->remake.phase = POOL_REMAKE_HOLDS;
	pool_remake_step(c);
}

/* ---- from outside ----------------------------------------------------------------------------------- */

static void timer_fired(struct pool_timer *timer)
{
	struct pool_commit *c = container_of(timer, struct pool_remake, timer)->commit;

	c->remake.armed = false;
	if (c->mirror->active || c->base->latched || c->base->closing)
		return;
	if (c->growing || c->running || (c->checkpoint.running && c->checkpoint.mirrors)) {
		pool_remake_later(c); /* the old one is not done with */
		return;
	}
	c->remake.given_up = 0;
	c->mirror->failure[0] = 0;
	start(c, POOL_REMAKE_OPENS, open_work, opened);
}

void pool_remake_later(struct pool_commit *c)
{
	struct pool_remake *r = &c->remake;

	if (!c->mirror->reopen || c->mirror->active || r->stopped || r->armed ||
		r->phase != POOL_REMAKE_IDLE || c->base->latched)
		return;
	r->armed = true;
	r->timer.fire = timer_fired;
	c->base->host->ops->timer_arm(c->base->host, &r->timer, LATER_MS);
}

void pool_remake_step(struct pool_commit *c)
{
	struct pool_remake *r = &c->remake;

	if (r->phase == POOL_REMAKE_FOLLOWS) {
		follow_step(c);
	} else if (r->phase == POOL_REMAKE_IDLE) {
		pool_remake_later(c);
	} else if (r->phase == POOL_REMAKE_HOLDS && !c->checkpoint.running) {
		if (r->given_up)
			fail(c, -EINTR);
		else
			start(c, POOL_REMAKE_COPIES, copy_work, copied);
	}
}

void pool_remake_pressed(struct pool_commit *c)
{
	c->remake.given_up = -EINTR;
	c->checkpoint.held = false;
}

bool pool_remake_busy(const struct pool_commit *c)
{
	return c->remake.phase != POOL_REMAKE_IDLE;
}

/* While the stamps are written no frame may come: their end releases the cycles. */
void pool_remake_stop(struct pool_commit *c)
{
	c->remake.stopped = true;
	c->base->host->ops->timer_disarm(c->base->host, &c->remake.timer);
	if (c->remake.phase == POOL_REMAKE_IDLE || c->remake.phase == POOL_REMAKE_STAMPS)
		return;
	c->remake.given_up = -EINTR;
	release(c);
	pool_remake_step(c);
}
