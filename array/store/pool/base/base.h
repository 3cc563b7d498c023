/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every room of the pool stands on: the host, the latch, the way up (asks.h), and small things: lists of chunk
 * numbers, those who wait, and how long.
 */
#ifndef UMBRA_POOL_BASE_H
#define UMBRA_POOL_BASE_H

#include <errno.h>
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
	/* how long I/O waits: a tick every few seconds while any does */
	struct pool_timer patience;
	bool ticking;
	uint32_t tick;
};

static inline void pool_ask_commit(struct pool_base *b)
{
	b->asks->commit(b);
}

static inline void pool_ask_commit_later(struct pool_base *b)
{
	b->asks->commit_later(b);
}

static inline void pool_ask_flush(struct pool_base *b, struct store_io *io)
{
	b->asks->flush(b, io);
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

static inline void pool_ask_pack(struct pool_base *b, const struct pool_branch *branch, uint64_t chunk)
{
	b->asks->pack(b, branch, chunk);
}

static inline bool pool_ask_may_free(struct pool_base *b)
{
	return b->asks->may_free(b);
}

static inline bool pool_ask_hurried(struct pool_base *b)
{
	return b->asks->hurried(b);
}

static inline void pool_ask_ended(struct pool_base *b)
{
	b->asks->ended(b);
}

/* The first failure of a flush, the log or LMDB: nothing is written any more. */
void pool_latch(struct pool_base *b, int err, const char *what);
/* Allocation of small bookkeeping: the program ends when there is no memory (the pool is crash-safe). */
void *pool_xrealloc(void *old, size_t bytes);

/* An error that says nothing of the disk, or that may have gone by the next try. */
static inline bool pool_may_pass(int err)
{
	return err == -ENOMEM || err == -EAGAIN || err == -ENOSPC || err == -EDQUOT || err == -EIO;
}

/* ---- lists of chunk numbers ------------------------------------------------------------------------- */

/* One of a list of what is freed may be blocks of a split chunk: its number with a mask, which is never 0. */
#define POOL_FREE_MASK_SHIFT 48

static inline uint64_t pool_free_blocks_of(uint64_t phys, uint16_t mask)
{
	return phys | (uint64_t)mask << POOL_FREE_MASK_SHIFT;
}

static inline uint16_t pool_free_mask(uint64_t one)
{
	return (uint16_t)(one >> POOL_FREE_MASK_SHIFT);
}

static inline uint64_t pool_free_phys(uint64_t one)
{
	return one & ((UINT64_C(1) << POOL_FREE_MASK_SHIFT) - 1);
}

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
	uint32_t since; /* the tick from which on an initiator waits; 0: background work, which has time */
};

void pool_wake_all(struct list *waiters, int err);

/* ---- an initiator's patience ------------------------------------------------------------------------ */

/* An I/O that waits for so many ticks (15 to 20 s) is to be tried again: initiators give up after 30 s. */
#define POOL_PATIENCE_TICKS 3u

void pool_patience_init(struct pool_base *b);
void pool_patience_start(struct pool_base *b); /* somebody waits */
void pool_patience_stop(struct pool_base *b);
/* Those who have waited too long are woken with -EAGAIN. Does an initiator still wait? */
bool pool_wake_impatient(struct pool_base *b, struct list *waiters);

#endif
