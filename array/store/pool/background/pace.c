/* SPDX-License-Identifier: Apache-2.0 */
/* How fast reclaim may go (pace.h). */
#include "array/store/pool/background/pace.h"

/* So many times what the work took; the checkpoints of what it changed come in its rests, uncounted. */
#define REST_SHARE  19u
#define WORK_MIN_NS UINT64_C(2000000) /* a timer has milliseconds */
#define REST_MAX_MS 2000u
#define ROOM_SHARE  32u /* of the pool: with less it does not rest */

static uint64_t now_ns(const struct pool_pace *pace)
{
	return pace->pool->base.host->ops->now_ns(pace->pool->base.host);
}

static void begin_now(struct pool_pace *pace)
{
	pace->since_ns = now_ns(pace);
	pace->ios = pace->pool->client_ios;
	pace->discard_ns = pace->pool->space.discard_ns;
}

void pool_pace_begin(struct pool_pace *pace)
{
	uint64_t ios = pace->ios;

	if (pace->since_ns)
		return;
	begin_now(pace);
	if (pace->before_ns) { /* clients were there before the pause */
		pace->since_ns -= pace->before_ns;
		pace->ios = ios;
	}
	pace->before_ns = 0;
}

void pool_pace_pause(struct pool_pace *pace)
{
	if (!pace->since_ns)
		return;
	pace->before_ns = now_ns(pace) - pace->since_ns + pace->pool->space.discard_ns - pace->discard_ns;
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
	if (pace->since_ns && pace->pool->client_ios == pace->ios)
		begin_now(pace); /* nobody was there: what was done so far is not held against it */
	return pace->resting || to_pay_ns(pace) > 0;
}

static void go_on(struct pool_pace *pace)
{
	pace->resting = false;
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
	uint64_t rest_ms = to_pay_ns(pace) * REST_SHARE / 1000000;

	if (!rest_ms)
		return false;
	pace->resting = true;
	pace->resume = resume;
	pace->arg = arg;
	pace->timer.fire = timer_fired;
	host->ops->timer_arm(host, &pace->timer, rest_ms < REST_MAX_MS ? rest_ms : REST_MAX_MS);
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
