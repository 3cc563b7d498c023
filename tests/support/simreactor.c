/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated reactor: see simreactor.h. The clock starts at one hour, so that 0 is never a time. */
#include <assert.h>
#include <stdlib.h>
#include "tests/support/simreactor.h"

struct reactor {
	uint64_t now_ns;
	struct reactor_timer **timers; /* unsorted; heap_index is the place + 1 */
	size_t timer_count, timer_room;
	struct list deferred;
};

struct reactor *simreactor_create(void)
{
	struct reactor *r = calloc(1, sizeof(*r));

	assert(r);
	r->now_ns = UINT64_C(3600000000000);
	list_init(&r->deferred);
	return r;
}

void simreactor_destroy(struct reactor *r)
{
	free(r->timers);
	free(r);
}

uint64_t reactor_now_ns(const struct reactor *r)
{
	return r->now_ns;
}

bool reactor_here(const struct reactor *r)
{
	return r != NULL;
}

void reactor_timer_disarm(struct reactor *r, struct reactor_timer *t)
{
	if (t->heap_index == 0)
		return;
	assert(r->timers[t->heap_index - 1] == t);
	struct reactor_timer *last = r->timers[--r->timer_count];
	r->timers[t->heap_index - 1] = last;
	last->heap_index = t->heap_index;
	t->heap_index = 0;
}

void reactor_timer_arm(struct reactor *r, struct reactor_timer *t, uint64_t delay_ms)
{
	reactor_timer_disarm(r, t);
	if (r->timer_count == r->timer_room) {
		r->timer_room = r->timer_room * 2 + 64;
		r->timers = realloc(r->timers, r->timer_room * sizeof(struct reactor_timer *));
		assert(r->timers);
	}
	r->timers[r->timer_count++] = t;
	t->heap_index = r->timer_count;
	t->at_ns = r->now_ns + delay_ms * 1000000;
}

void reactor_defer(struct reactor *r, struct reactor_deferred *d)
{
	if (!list_linked(&d->link))
		list_push_back(&r->deferred, &d->link);
}

static void run_deferred(struct reactor *r)
{
	struct list_node *n;

	while ((n = list_pop(&r->deferred))) {
		struct reactor_deferred *d = container_of(n, struct reactor_deferred, link);

		d->call(d);
	}
}

static struct reactor_timer *first_timer(const struct reactor *r)
{
	struct reactor_timer *first = NULL;

	for (size_t i = 0; i < r->timer_count; i++)
		if (!first || r->timers[i]->at_ns < first->at_ns)
			first = r->timers[i];
	return first;
}

void simreactor_advance(struct reactor *r, uint64_t ms)
{
	uint64_t until = r->now_ns + ms * 1000000;
	struct reactor_timer *t;

	run_deferred(r);
	while ((t = first_timer(r)) && t->at_ns <= until) {
		if (t->at_ns > r->now_ns)
			r->now_ns = t->at_ns;
		reactor_timer_disarm(r, t);
		t->fire(t);
		run_deferred(r);
	}
	r->now_ns = until;
}
