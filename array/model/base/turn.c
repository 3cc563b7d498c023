/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts of the store, one after the other, in the order in which they were asked for. Who needs a cut takes a
 * turn, and leaves it when the store has let go of the cut. A cut may hang where the store is a cluster: then it is
 * given up at the end of its time, and the next one begins.
 */
#include "array/model/base/internal.h"

void array_turns_run(struct array *a)
{
	struct array_turn *t;

	if (list_empty(&a->turns))
		return;
	t = container_of(a->turns.head.next, struct array_turn, link);
	if (t->begun)
		return;
	t->begun = true;
	t->begin(t);
}

void array_turn_take(struct array *a, struct array_turn *t)
{
	t->begun = false;
	list_push_back(&a->turns, &t->link);
	a->turn_count++;
	array_turns_run(a);
}

void array_turn_aside(struct array *a, struct array_turn *t)
{
	if (!a->options.store->ops->cut_give_up) {
		array_turn_take(a, t);
		return;
	}
	t->begun = true;
	list_push_back(&a->turns_aside, &t->link);
	a->turn_count++;
	t->begin(t);
}

bool array_cut_give_up(struct array *a, struct store_cut *cut)
{
	const struct store_ops *ops = a->options.store->ops;

	return ops->cut_give_up && ops->cut_give_up(cut);
}

void array_turn_leave(struct array *a, struct array_turn *t)
{
	list_remove(&t->link);
	a->turn_count--;
}

void array_turns_close(struct array *a)
{
	struct list_node *n;

	while ((n = list_pop(&a->turns)) || (n = list_pop(&a->turns_aside))) {
		struct array_turn *t = container_of(n, struct array_turn, link);

		t->orphan(t);
	}
	a->turn_count = 0;
}
