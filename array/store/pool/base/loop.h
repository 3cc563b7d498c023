/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "Run until it waits": steps one after another, never one inside another. A step that has to wait starts what it waits
 * for and returns; whoever ends the wait, perhaps from inside that step, calls pool_loop_run.
 */
#ifndef UMBRA_POOL_LOOP_H
#define UMBRA_POOL_LOOP_H

#include <stdbool.h>

struct pool_loop {
	bool running, again;
};

/* `step` returns false when the loop, and what it is part of, is gone. */
static inline void pool_loop_run(struct pool_loop *l, bool (*step)(struct pool_loop *l))
{
	l->again = true;
	if (l->running)
		return;
	l->running = true;
	while (l->again) {
		l->again = false;
		if (!step(l))
			return;
	}
	l->running = false;
}

#endif
