/* SPDX-License-Identifier: Apache-2.0 */
/* What goes on beside the clients' I/O: merging, packing, clones, hydration, reclaim. */
#ifndef UMBRA_POOL_BACKGROUND_H
#define UMBRA_POOL_BACKGROUND_H

#include "array/store/pool/io/io.h"
#include "array/store/pool/pool.h"

/* ---- merge.c ---------------------------------------------------------------------------------------- */

/* Background work on one chunk of a branch; memory of the caller's. */
struct pool_merge {
	struct pool *pool;
	struct pool_branch *branch;
	uint64_t chunk;
	void (*done)(struct pool_merge *m, int err);
	/* its own */
	struct pool_lock_wait wait;
	struct pool_waiter waiter;
	struct pool_leaf *leaf; /* pinned */
	uint8_t *bounce;
	uint32_t newer_gen, older_gen;
	uint16_t valid, zero, left;
	bool upward; /* the newer entry's blocks go into the older one's chunk */
	/* Both entries' blocks go to a new place, the older one's first; and whether that is in a split chunk. */
	bool anew, newers, split;
	bool claims; /* the newer one has taken room for them in its chunk */
	uint64_t newer_phys;
	uint16_t newer_valid;
	uint64_t from_phys, to_phys;
	unsigned block, run;
	void (*copy_done)(struct pool_transfer *t, int err);
	struct pool_transfer transfer;
	struct iovec iov;
	/* Many entries become one at once: those between which nobody sees anything, newest first. */
	uint32_t gens[POOL_BLOCKS];
	unsigned count, home; /* whose chunk it is that takes all */
	unsigned under_way;   /* transfers, and 1 for the one who starts them */
	int err;
	struct merge_copy {
		struct pool_merge *merge;
		struct pool_transfer transfer;
		struct iovec iov;
	} copies[POOL_BLOCKS]; /* last: large, and nothing to begin with */
};

/* Merges what can be merged of a chunk's entries. `done` may come from inside. */
void pool_merge_chunk(struct pool_merge *m, struct pool *p, struct pool_branch *b, uint64_t chunk,
	void (*done)(struct pool_merge *m, int err));

/* ---- unshare.c -------------------------------------------------------------------------------------- */

/* Memory of the caller's. */
struct pool_unshare {
	struct pool *pool;
	struct pool_disk *disk;
	uint64_t chunk;
	void (*done)(struct pool_unshare *u, int err);
	uint64_t copied; /* out, bytes */
	/* its own */
	struct pool_waiter waiter;
	struct store_io io;
	struct iovec iov[2];
	uint8_t *buf;
};

/* The disk lets go of what it shares in this chunk; `done` may come from inside. */
void pool_unshare_chunk(struct pool_unshare *u, struct pool *p, struct pool_disk *d, uint64_t chunk,
	void (*done)(struct pool_unshare *u, int err));

/* ---- clone.c ---------------------------------------------------------------------------------------- */

void pool_clone(struct store_io *io); /* STORE_CLONE */

/* ---- hydrate.c -------------------------------------------------------------------------------------- */

void pool_hydrate_start(struct store_hydration *h);
void pool_hydrate_cancel(struct store_hydration *h);
/* ---- scrub.c ---------------------------------------------------------------------------------------- */

struct pool_scrub *pool_scrub_new(struct pool *p); /* NULL: no memory */
void pool_scrub_free(struct pool_scrub *s);
void pool_scrub_resume(
	struct pool *p); /* the pool is open: goes on with what the last opening left. Blocks */
int pool_scrub_start(struct store *store, uint64_t bytes_per_s);
void pool_scrub_stop(struct store *store);
void pool_scrub_view(struct store *store, struct store_scrub *out);
void pool_scrub_close(struct pool *p);
bool pool_scrub_busy(const struct pool *p);

void pool_hydrate_stop(struct pool *p); /* all of them, for the pool closes */

/* ---- pack.c ----------------------------------------------------------------------------------------- */

struct pool_pack *pool_pack_new(struct pool *p); /* NULL: no memory */
void pool_pack_free(struct pool_pack *k);
/* A reader of the whole chunk, which the branch's head sees, found it in many places. */
void pool_pack_note(struct pool *p, const struct pool_branch *b, uint64_t chunk);
void pool_pack_kick(struct pool *p); /* goes on with what was noted, if it may */
void pool_pack_stop(struct pool *p);
bool pool_pack_busy(const struct pool *p);        /* a chunk is being packed */
uint64_t pool_pack_count(const struct pool *p);   /* chunks that were; for tests */
bool pool_pack_rests(const struct pool *p);       /* for tests */
void pool_pack_few(struct pool *p, unsigned few); /* requests for a chunk that are not worth it; for tests */

/* ---- account.c -------------------------------------------------------------------------------------- */

void pool_account_start(struct store_account *request);

/* ---- reclaim.c -------------------------------------------------------------------------------------- */

struct pool_reclaim *pool_reclaim_new(struct pool *p);
void pool_reclaim_free(struct pool_reclaim *r);

void pool_reclaim_stop(struct pool *p);
bool pool_reclaim_busy(const struct pool *p);
bool pool_reclaim_works(const struct pool *p); /* a task is under way */
bool pool_reclaim_rests(const struct pool *p); /* for clients' sake (pace.h) */

void pool_reclaim_kick(struct pool *p); /* goes on with what is known to be to do */
void pool_reclaim_scan(struct pool *p); /* a branch may have become free */
void pool_reclaim_look(struct pool *p); /* for loose chunks, if there may be any; with the next kick */

/* Will chunks come back, without waiting for anybody who waits for chunks? Then alloc_waiters are woken. */
bool pool_reclaim_may_free(struct pool *p);

#endif
