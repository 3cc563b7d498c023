/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one way up: what a lower room asks of those above it, which it does not know. The calls are set when the pool
 * is opened.
 *
 * Rule: nothing happens from inside the call; whatever follows comes by a call of the host's. `may_free`
 * answers at once; `hurried` comes from a timer and may call back those who wait.
 */
#ifndef UMBRA_POOL_ASKS_H
#define UMBRA_POOL_ASKS_H

#include <stdbool.h>
#include <stdint.h>

struct pool_base;
struct pool_branch;
struct store_io;

enum pool_reclaim_ask {
	POOL_RECLAIM_KICK, /* go on with what is known to be to do */
	POOL_RECLAIM_SCAN, /* a branch may have become free */
	POOL_RECLAIM_LOOK, /* look for loose chunks, if there may be any, and go on */
};

struct pool_asks {
	void (*commit)(struct pool_base *b);       /* a commit cycle */
	void (*commit_later)(struct pool_base *b); /* something became dirty: within a second */
	void (*flush)(
		struct pool_base *b, struct store_io *io); /* a flush for the pool itself; not latched */
	void (*checkpoint)(struct pool_base *b);           /* all that is in memory is to go into LMDB */
	void (*log_has_room)(struct pool_base *b);         /* again: a cycle may wait for it */
	void (*reclaim)(struct pool_base *b, enum pool_reclaim_ask what);
	/* Who reads the whole chunk finds it in many places: they are to be brought together. */
	void (*pack)(struct pool_base *b, const struct pool_branch *branch, uint64_t chunk);
	/* Will chunks come back, without waiting for anybody who waits for chunks? Then those who wait are woken. */
	bool (*may_free)(struct pool_base *b);
	/* A while has gone by: who has waited too long gets an answer. Does anybody still wait? */
	bool (*hurried)(struct pool_base *b);
	void (*ended)(struct pool_base *b); /* something ended: may the pool close now? */
};

#endif
