/* SPDX-License-Identifier: Apache-2.0 */
/* The reactor's timers: a binary heap by time, each timer knowing its place. */
#include "array/reactor/internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static void place(struct reactor *r, size_t i, struct reactor_timer *t)
{
	r->timers[i] = t;
	t->heap_index = i;
}

static void sift_up(struct reactor *r, size_t i)
{
	struct reactor_timer *t = r->timers[i];

	while (i > 1 && r->timers[i / 2]->at_ns > t->at_ns) {
		place(r, i, r->timers[i / 2]);
		i /= 2;
	}
	place(r, i, t);
}

static void sift_down(struct reactor *r, size_t i)
{
	struct reactor_timer *t = r->timers[i];

	for (;;) {
		size_t child = 2 * i;
		if (child > r->timer_count)
			break;
		if (child < r->timer_count && r->timers[child + 1]->at_ns < r->timers[child]->at_ns)
			child++;
		if (r->timers[child]->at_ns >= t->at_ns)
			break;
		place(r, i, r->timers[child]);
		i = child;
	}
	place(r, i, t);
}

/* The heap grows with the number of timers that exist; a failure here has no caller that could go on. */
static void make_room(struct reactor *r)
{
	if (r->timer_count + 1 < r->timer_capacity)
		return;
	size_t capacity = r->timer_capacity ? r->timer_capacity * 2 : 64;
	struct reactor_timer **timers = realloc(r->timers, capacity * sizeof(*timers));
	if (!timers) {
		fprintf(stderr, "umbra: out of memory for timers\n");
		abort();
	}
	r->timers = timers;
	r->timer_capacity = capacity;
}

void reactor_timer_arm(struct reactor *r, struct reactor_timer *t, uint64_t delay_ms)
{
	assert(t->fire);
	t->at_ns = r->now_ns + delay_ms * UINT64_C(1000000);
	t->serial = ++r->timer_serial;
	if (!t->heap_index) {
		make_room(r);
		place(r, ++r->timer_count, t);
	}
	sift_up(r, t->heap_index);
	sift_down(r, t->heap_index);
}

void reactor_timer_disarm(struct reactor *r, struct reactor_timer *t)
{
	size_t i = t->heap_index;

	if (!i)
		return;
	t->heap_index = 0;
	struct reactor_timer *last = r->timers[r->timer_count--];
	if (last == t)
		return;
	place(r, i, last);
	sift_up(r, i);
	sift_down(r, last->heap_index);
}

bool reactor_timer_next(const struct reactor *r, uint64_t *at_ns)
{
	if (!r->timer_count)
		return false;
	*at_ns = r->timers[1]->at_ns;
	return true;
}

int reactor_timers_run(struct reactor *r)
{
	uint64_t last = r->timer_serial;
	int calls = 0;

	while (r->timer_count && r->timers[1]->at_ns <= r->now_ns && r->timers[1]->serial <= last) {
		struct reactor_timer *t = r->timers[1];
		reactor_timer_disarm(r, t);
		t->fire(t); /* and t may be gone */
		calls++;
	}
	return calls;
}
