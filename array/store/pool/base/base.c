/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small things that all rooms of the pool use: the latch, lists of chunk numbers, those who wait.
 */
#include "array/store/pool/base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pool_latch(struct pool_base *b, int err, const char *what)
{
	if (b->latched)
		return;
	b->latched = err ? err : -EIO;
	snprintf(b->latch_reason, sizeof(b->latch_reason),
		"the pool failed while %s: %s; look at its disk, then restart umbrad", what,
		strerror(-b->latched));
}

void *pool_xrealloc(void *old, size_t bytes)
{
	void *p = realloc(old, bytes);

	if (!p && bytes) {
		fputs("umbra: out of memory\n", stderr);
		abort();
	}
	return p;
}

/* ---- lists of chunk numbers ------------------------------------------------------------------------- */

void pool_free_list_add(struct pool_free_list *l, uint64_t phys)
{
	if (l->count == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 256;
		l->phys = pool_xrealloc(l->phys, l->cap * sizeof(l->phys[0]));
	}
	l->phys[l->count++] = phys;
}

void pool_free_list_move(struct pool_free_list *to, struct pool_free_list *from)
{
	if (to->count == 0) {
		struct pool_free_list swap = *to;

		*to = *from;
		*from = swap;
		return;
	}
	for (size_t i = 0; i < from->count; i++)
		pool_free_list_add(to, from->phys[i]);
	from->count = 0;
}

static int compare_phys(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void pool_free_list_sort(struct pool_free_list *l)
{
	if (l->count)
		qsort(l->phys, l->count, sizeof(l->phys[0]), compare_phys);
}

void pool_free_list_unique(struct pool_free_list *l)
{
	size_t n = 0;

	pool_free_list_sort(l);
	for (size_t i = 0; i < l->count; i++) {
		if (n == 0 || l->phys[n - 1] != l->phys[i])
			l->phys[n++] = l->phys[i];
	}
	l->count = n;
}

/* ---- who waits -------------------------------------------------------------------------------------- */

void pool_wake_all(struct list *waiters, int err)
{
	struct list now;
	struct list_node *n;

	list_init(&now);
	while ((n = list_pop(waiters)))
		list_push_back(&now, n);
	while ((n = list_pop(&now))) {
		struct pool_waiter *w = container_of(n, struct pool_waiter, link);

		w->wake(w, err);
	}
}

/* ---- an initiator's patience ------------------------------------------------------------------------ */

#define TICK_MS 5000u

static void patience_fired(struct pool_timer *timer)
{
	struct pool_base *b = container_of(timer, struct pool_base, patience);

	b->ticking = false;
	b->tick++;
	if (pool_ask_hurried(b))
		pool_patience_start(b);
}

void pool_patience_init(struct pool_base *b)
{
	b->tick = 1;
	b->patience.fire = patience_fired;
}

void pool_patience_start(struct pool_base *b)
{
	if (b->ticking)
		return;
	b->ticking = true;
	b->host->ops->timer_arm(b->host, &b->patience, TICK_MS);
}

void pool_patience_stop(struct pool_base *b)
{
	b->host->ops->timer_disarm(b->host, &b->patience);
	b->ticking = true; /* never again */
}

bool pool_wake_impatient(struct pool_base *b, struct list *waiters)
{
	bool waits = false;
	struct list late;
	struct list_node *n;

	list_init(&late);
	list_for_each_safe (i, waiters) {
		const struct pool_waiter *w = container_of(i, struct pool_waiter, link);

		if (w->since && b->tick - w->since >= POOL_PATIENCE_TICKS) {
			list_remove(i);
			list_push_back(&late, i);
		}
		waits = waits || w->since;
	}
	while ((n = list_pop(&late))) {
		struct pool_waiter *w = container_of(n, struct pool_waiter, link);

		w->wake(w, -EAGAIN);
	}
	return waits;
}
