/* SPDX-License-Identifier: Apache-2.0 */
/* How fast reclaim may go (pace.h). */
#include "array/store/pool/background/pace.h"

#define LOSS  20u /* clients may lose this part */
#define WHOLE 1024u
/* Who loses more than this keeps the machine full, and loses some in the rests, too, by the checkpoints that follow. */
#define MUCH       (WHOLE / 4)
#define REST_LEAST 4u /* this part of the work: else nothing is known of how it is without it */
/* Shorter work is not paid: a timer has milliseconds, and clients take a while to be slower or faster. */
#define WORK_MIN_NS UINT64_C(4000000)
#define REST_MAX_MS 2000u
#define REST_NEW_MS 100u /* of clients of which fewer I/Os were counted than these */
#define NEW_IOS     64u
/* What was counted is forgotten by and by: after two seconds, if that is enough to know something, else later. */
#define MEMORY_NS     UINT64_C(2000000000)
#define MEMORY_MAX_NS UINT64_C(30000000000)
#define MEMORY_IOS    1024u
#define ROOM_SHARE    32u /* of the pool: with less it does not rest */

static uint64_t now_ns(const struct pool_pace *pace)
{
	return pace->pool->base.host->ops->now_ns(pace->pool->base.host);
}

/* ---- what clients get done -------------------------------------------------------------------------- */

static void count(struct pool_pace *pace, struct pool_pace_side *side, uint64_t since_ns)
{
	struct pool_pace_side *w = &pace->worked, *r = &pace->rested;
	uint64_t few, ns;

	side->ns += now_ns(pace) - since_ns;
	side->ios += pace->pool->client_ios - pace->from_ios;
	few = w->ios < r->ios ? w->ios : r->ios;
	ns = w->ns + r->ns;
	if (ns < MEMORY_NS || (ns < MEMORY_MAX_NS && few < MEMORY_IOS))
		return;
	*w = (struct pool_pace_side){w->ios / 2, w->ns / 2};
	*r = (struct pool_pace_side){r->ios / 2, r->ns / 2};
}

static uint64_t root(uint64_t n)
{
	uint64_t at = 1;

	while ((at + 1) * (at + 1) <= n && at < WHOLE)
		at++;
	return at;
}

/* The part of what clients get done in its rests that they lose while it works, at most. */
static uint64_t loss(const struct pool_pace *pace)
{
	uint64_t w_us = pace->worked.ns / 1000, r_us = pace->rested.ns / 1000;
	uint64_t w = pace->worked.ios, r = pace->rested.ios, kept, lost;

	if (!w || !r || !w_us || !r_us)
		return WHOLE;
	kept = (uint64_t)((double)w * (double)r_us / ((double)r * (double)w_us) * WHOLE);
	lost = kept < WHOLE ? WHOLE - kept : 0;
	lost += WHOLE / root(w < r ? w : r); /* chance has a part in it */
	return lost < WHOLE ? lost : WHOLE;
}

/* ---- working ---------------------------------------------------------------------------------------- */

static void begin_now(struct pool_pace *pace)
{
	pace->since_ns = now_ns(pace);
	pace->ios = pace->from_ios = pace->pool->client_ios;
	pace->discard_ns = pace->pool->space.discard_ns;
}

void pool_pace_begin(struct pool_pace *pace)
{
	uint64_t ios = pace->ios;

	if (pace->since_ns)
		return;
	begin_now(pace);
	pace->from_ios -= pace->before_ios;
	if (pace->before_ns) { /* clients were there before the pause */
		pace->since_ns -= pace->before_ns;
		pace->ios = ios;
	}
	pace->before_ns = pace->before_ios = 0;
}

void pool_pace_pause(struct pool_pace *pace)
{
	if (!pace->since_ns)
		return;
	pace->before_ns = now_ns(pace) - pace->since_ns + pace->pool->space.discard_ns - pace->discard_ns;
	pace->before_ios = pace->pool->client_ios - pace->from_ios;
	pace->since_ns = 0;
}

void pool_pace_end(struct pool_pace *pace)
{
	pace->since_ns = 0;
}

static bool in_a_hurry(const struct pool_pace *pace)
{
	const struct pool *p = pace->pool;

	return pace->stopped || p->base.closing || p->base.latched || !list_empty(&p->space.alloc_waiters) ||
	       p->super.capacity_chunks - p->space.used_chunks - p->space.reserved_chunks <
		       p->super.capacity_chunks / ROOM_SHARE;
}

/* What was worked, and whether that was in somebody's way. */
static uint64_t to_pay_ns(const struct pool_pace *pace)
{
	uint64_t worked;

	if (!pace->since_ns || pace->pool->client_ios == pace->ios || in_a_hurry(pace))
		return 0;
	worked = now_ns(pace) - pace->since_ns + pace->pool->space.discard_ns - pace->discard_ns;
	return worked < WORK_MIN_NS ? 0 : worked;
}

bool pool_pace_due(struct pool_pace *pace)
{
	if (pace->since_ns && pace->pool->client_ios == pace->ios) {
		count(pace, &pace->worked, pace->since_ns);
		begin_now(pace); /* nobody was there: what was done so far is not held against it */
	}
	return pace->resting || to_pay_ns(pace) > 0;
}

static void go_on(struct pool_pace *pace)
{
	pace->resting = false;
	count(pace, &pace->rested, pace->rest_ns);
	begin_now(pace);
	pace->resume(pace->arg);
}

static void timer_fired(struct pool_timer *timer)
{
	go_on(container_of(timer, struct pool_pace, timer));
}

static void hurried(struct pool_call *call)
{
	struct pool_pace *pace = container_of(call, struct pool_pace, call);

	if (pace->resting)
		go_on(pace);
}

bool pool_pace_rest(struct pool_pace *pace, void (*resume)(void *arg), void *arg)
{
	struct pool_host *host = pace->pool->base.host;
	uint64_t work_ns = to_pay_ns(pace), parts, rest_ms, most_ms;

	if (!work_ns)
		return false;
	parts = loss(pace);
	parts = (parts > MUCH ? WHOLE : parts) * LOSS;
	parts = parts > WHOLE + WHOLE / REST_LEAST ? parts - WHOLE : WHOLE / REST_LEAST;
	rest_ms = work_ns / 1000 * parts / WHOLE / 1000;
	if (!rest_ms)
		return false;
	most_ms = pace->rested.ios < NEW_IOS ? REST_NEW_MS : REST_MAX_MS;
	count(pace, &pace->worked, pace->since_ns);
	pace->from_ios = pace->pool->client_ios;
	pace->rest_ns = now_ns(pace);
	pace->resting = true;
	pace->resume = resume;
	pace->arg = arg;
	pace->timer.fire = timer_fired;
	host->ops->timer_arm(host, &pace->timer, rest_ms < most_ms ? rest_ms : most_ms);
	return true;
}

void pool_pace_hurry(struct pool_pace *pace)
{
	struct pool_host *host = pace->pool->base.host;

	if (!pace->resting)
		return;
	host->ops->timer_disarm(host, &pace->timer);
	pace->call.call = hurried;
	host->ops->call(host, &pace->call);
}

void pool_pace_stop(struct pool_pace *pace, bool working)
{
	struct pool_host *host = pace->pool->base.host;

	pace->stopped = true;
	if (working) {
		pool_pace_hurry(pace);
		return;
	}
	host->ops->timer_disarm(host, &pace->timer);
	pace->resting = false;
}
