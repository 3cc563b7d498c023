/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every room of the pool stands on: the host, the latch, the way up (asks.h), and small things: lists of chunk
 * numbers, those who wait.
 */
#ifndef UMBRA_POOL_BASE_H
#define UMBRA_POOL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "array/store/pool/base/asks.h"
#include "array/store/pool/base/host.h"
#include "array/util/list.h"

struct pool_base {
	struct pool_host *host;
	const struct pool_asks *asks;
	bool closing;
	/* read-only from the first failure of a flush, the log or LMDB on */
	int latched;
	char latch_reason[128];
};

static inline void pool_ask_commit(struct pool_base *b)
{
	b->asks->commit(b);
}

static inline void pool_ask_commit_later(struct pool_base *b)
{
	b->asks->commit_later(b);
}

static inline void pool_ask_checkpoint(struct pool_base *b)
{
	b->asks->checkpoint(b);
}

static inline void pool_ask_log_has_room(struct pool_base *b)
{
	b->asks->log_has_room(b);
}

static inline void pool_ask_reclaim(struct pool_base *b, enum pool_reclaim_ask what)
{
	b->asks->reclaim(b, what);
}

static inline bool pool_ask_may_free(struct pool_base *b)
{
	return b->asks->may_free(b);
}

static inline void pool_ask_ended(struct pool_base *b)
{
	b->asks->ended(b);
}

/* The first failure of a flush, the log or LMDB: nothing is written any more. */
void pool_latch(struct pool_base *b, int err, const char *what);
/* Allocation of small bookkeeping: the program ends when there is no memory (the pool is crash-safe). */
void *pool_xrealloc(void *old, size_t bytes);

/* ---- lists of chunk numbers ------------------------------------------------------------------------- */

struct pool_free_list {
	uint64_t *phys;
	size_t count, cap;
};

void pool_free_list_add(struct pool_free_list *l, uint64_t phys);
void pool_free_list_move(struct pool_free_list *to, struct pool_free_list *from);
void pool_free_list_sort(struct pool_free_list *l);
void pool_free_list_unique(struct pool_free_list *l); /* sorted, each once */

/* ---- who waits -------------------------------------------------------------------------------------- */

struct pool_waiter {
	struct list_node link;
	void (*wake)(struct pool_waiter *w, int err);
};

void pool_wake_all(struct list *waiters, int err);

#endif
