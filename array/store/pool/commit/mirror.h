/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mirror: a second copy of the metadata in another directory, kept at each checkpoint, and of the log where asked.
 *
 * Invariant: while the stamp on the data says that there is a mirror (durable/stamp.h), the mirror's metadata and a log, its own
 * or the pool's, hold all that was acknowledged. So a mirror that fails is struck off the stamp before anything more is
 * acknowledged, and the log lets go only of what both have.
 */
#ifndef UMBRA_POOL_MIRROR_H
#define UMBRA_POOL_MIRROR_H

#include "array/store/pool/base/base.h"
#include "array/store/pool/durable/log.h"
#include "array/store/pool/durable/stamp.h"
#include "array/store/pool/durable/meta.h"
#include "array/store/pool/space/space.h"

struct pool_mirror {
	struct pool_base *base;
	struct pool_super *super;
	struct pool_space *space;
	struct pool_host
		*host; /* of its directory, with the lock; NULL: none is wanted, or it cannot be had */
	bool wanted;
	bool logs; /* the log is wanted there, too */
	bool active;
	bool following;    /* it is not, but gets what the checkpoint does (remake.c) */
	char reason[192];  /* why it is not active, though it is wanted */
	char failure[192]; /* what the last try to make it says; a worker's while there is one */
	/* Its directory, anew, with the lock; blocks. NULL: a start of the pool alone makes it */
	int (*reopen)(struct pool_mirror *m, struct pool_host **out, struct fault *fault);
	void *reopen_arg; /* owned */
	struct pool_meta meta;
	struct pool_file *log;
	struct pool_stamp stamp; /* on the data, as it was when the pool was opened */
	/* a frame */
	struct pool_op op;
	struct iovec iov;
	struct pool_job job;
	int err;
	void (*done)(void *arg, int err);
	void *arg;
	/* tells an administrator */
	void (*notice)(void *arg, const char *text);
	void *notice_arg;
};

/* ---- at open; blocks -------------------------------------------------------------------------------- */

/* The data files are open. Reads the stamp. */
int pool_mirror_stamp(struct pool_mirror *m);
/* The log was replayed from `before` to `after`, and still has those frames. Brings the mirror up to date, or makes it, and
 * the stamp. The mirror's own failures only make it inactive; an error is the data's, or the pool's. */
int pool_mirror_open(struct pool_mirror *m, struct pool_host *pool, struct pool_meta *meta,
	struct pool_file *log, const struct pool_state *after);
void pool_mirror_close(struct pool_mirror *m);

/* ---- it is made anew (remake.c); block; nobody else uses it, `failure` says what failed ---------------- */

int pool_mirror_reopen(struct pool_mirror *m); /* its place; it is worth nothing from now on */
int pool_mirror_copy(struct pool_mirror *m, struct pool_meta *meta); /* which stands still */
/* It has everything, and nothing comes. *latch: an error: the data may say that it is current, which it is not to be. */
int pool_mirror_restamp(struct pool_mirror *m, struct pool_host *pool, int *latch);
void pool_mirror_again(struct pool_mirror *m); /* it is current: says so */

/* ---- while it is open ------------------------------------------------------------------------------- */

/* A frame for its log, as pool_log_write has sealed it. `done`: it is there, or the mirror is struck off and the pool may go
 * on; an error: it may not. */
void pool_mirror_frame(struct pool_mirror *m, uint8_t *frame, uint64_t bytes, uint64_t offset,
	void (*done)(void *arg, int err), void *arg);
/* On the checkpoint's thread: the batch that the pool's own metadata has by now. `state`: as before the batch, but for where
 * it ends. *lost: why the mirror is struck off, or 0. An error: it could not be struck off. */
int pool_mirror_apply(struct pool_mirror *m, const struct pool_payload *payloads, size_t count,
	const struct pool_state *state, int *lost);
void pool_mirror_lost(struct pool_mirror *m, int err, const char *what); /* it was struck off: says so */
/* Something else that an administrator should hear of. */
void pool_mirror_tell(struct pool_mirror *m, const char *what, int err);
/* Blocks: on any thread. The superblock changes. As pool_mirror_apply. */
int pool_mirror_super(struct pool_mirror *m, const struct pool_super *super, int *lost);

#endif
