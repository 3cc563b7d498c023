/* SPDX-License-Identifier: Apache-2.0 */
/* LUNs, hosts and sets that went away are freed in a later turn of the reactor, never under a caller. */
#include "array/model/base/internal.h"

void array_graves_bury(struct array *a)
{
	struct list_node *n;

	while ((n = list_pop(&a->graves))) {
		struct array_grave *g = container_of(n, struct array_grave, link);

		g->bury(g);
	}
}

static void grave_timer_fire(struct reactor_timer *t)
{
	array_graves_bury(container_of(t, struct array, grave_timer));
}

void array_graves_init(struct array *a)
{
	list_init(&a->graves);
	a->grave_timer.fire = grave_timer_fire;
}

void array_grave_add(struct array *a, struct array_grave *g)
{
	list_push_back(&a->graves, &g->link);
	reactor_timer_arm(a->options.reactor, &a->grave_timer, 0);
}
