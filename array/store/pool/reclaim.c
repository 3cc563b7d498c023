/* SPDX-License-Identifier: Apache-2.0 */
/* Deletion and reclaim in the background. */
#include "array/store/pool/pool.h"

#include <stdlib.h>

struct pool_reclaim {
	struct pool *pool;
};

struct pool_reclaim *pool_reclaim_new(struct pool *p)
{
	struct pool_reclaim *r = calloc(1, sizeof(*r));

	if (r)
		r->pool = p;
	return r;
}

void pool_reclaim_free(struct pool_reclaim *r)
{
	free(r);
}

void pool_reclaim_kick(struct pool *p)
{
	(void)p;
}

void pool_reclaim_stop(struct pool *p)
{
	(void)p;
}

bool pool_reclaim_busy(const struct pool *p)
{
	(void)p;
	return false;
}

void pool_todo_add(struct pool *p, uint64_t branch, uint32_t gen)
{
	struct pool_todo *t = calloc(1, sizeof(*t));

	if (!t)
		return; /* some space comes back later, by a check */
	t->branch = branch;
	t->gen = gen;
	list_push_back(&p->todos, &t->link);
	pool_cycle_later(p);
}
