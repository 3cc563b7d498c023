/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Physical chunks: which are in use, the data files and their growth, what is set aside, the long way of a freed chunk,
 * and the I/O epochs that it depends on. Every file says its own invariants at its head.
 *
 * Chunks are handed out whole, or split: then each of their blocks is handed out by itself, always as the same block of
 * an entry's chunk, so where a block lies within its chunk never changes (split.c).
 *
 * A chunk number (or block) that was freed is handed out again only after the free is in the log, all I/O that began before has
 * ended, and its discard has ended.
 */
#ifndef UMBRA_POOL_SPACE_H
#define UMBRA_POOL_SPACE_H

#include <stdbool.h>
#include <stdint.h>
#include "array/store/pool/base/base.h"
#include "array/store/pool/durable/buffer.h"
#include "array/store/pool/durable/meta.h"
#include "array/store/pool/map/map.h"
#include "array/store/pool/space/sums.h"
#include "array/store/store.h"

#define POOL_SEGMENTS_MAX 1024u

struct pool_data {
	struct pool_space *space;
	struct pool_file *file;
	bool dirty; /* written since the last sync began */
	struct pool_op sync;
};

struct pool_space {
	struct pool_base *base;
	const struct pool_super *super;
	struct pool_meta *meta;
	struct pool_map *map;

	/* data files and their growth */
	struct pool_data *data;
	unsigned data_count;
	uint64_t beyond;       /* at open: a chunk that is used, and has no room in a data file; 0: none */
	uint64_t grown_chunks; /* chunk numbers below it have room in a data file */
	bool growing;
	int grow_err;
	struct pool_job grow_job;
	uint64_t grow_to, grow_step; /* grow_step: after one that found no room; 0: as usual */
	int grow_result;
	bool grow_unsafe; /* a sync failed */
	struct pool_data grow_data;
	unsigned grow_segment;
	/* the sync of all that were written to */
	unsigned syncs; /* under way, and 1 for the one who starts them */
	int sync_err;
	void (*synced)(void *arg, int err);
	void *sync_arg;

	/* which chunks are in use */
	uint64_t **groups; /* bitmaps, a set bit: in use or not yet usable; NULL: all free */
	uint16_t *group_free;
	uint64_t group_count;
	uint64_t used_chunks, cursor;
	struct list alloc_waiters;

	/* of split chunks: which blocks are free, by groups; NULL: of none any (split.c) */
	uint16_t **split_groups;
	uint64_t split_count;
	uint16_t *split_open;              /* all that are free in some chunk of the group, or were */
	uint64_t split_from[POOL_BLOCKS];  /* no chunk before it has the block free */
	uint64_t split_chunks, split_free; /* how many there are; blocks that are free in all of them */
	uint64_t split_look;               /* where the next search for room begins */
	uint64_t entries;                  /* of the map, in LMDB */

	/* what is set aside (reserve.c) */
	uint64_t reserved_chunks; /* free ones */
	struct list reserves;
	struct pool_call reserve_call;
	bool reserve_called;

	/* freed chunks, and blocks of split ones: new → in a frame → logged → grace period → discard → free */
	struct pool_free_list free_new, free_framed, free_logged, free_grace, free_discard;
	uint64_t discard_blocks; /* in the last one */
	unsigned io_epoch;
	uint64_t io_inflight[2];
	bool grace_running, discard_running;
	struct list grace_waiters, grace_running_waiters; /* for the next grace period, for this one */
	struct pool_job discard_job;
	uint64_t discard_from_ns, discard_ns; /* the one under way; that they have taken, all together */

	struct pool_sums sums;

	/* shared chunks (share.c) */
	struct pool_free_list unshared; /* that an entry let go of; go into the next frame */
	uint64_t refs_count;            /* in LMDB */
	bool loose_likely;              /* since the last look */
	/* in LMDB; of them, those given back by frames up to loose_sequence */
	uint64_t loose_count, loose_given, loose_sequence;
};

void pool_space_init(struct pool_space *s, struct pool_base *base, const struct pool_super *super,
	struct pool_meta *meta, struct pool_map *map);
/* The data files are open: reads the bitmaps and the counts of shared chunks. */
int pool_space_open(struct pool_space *s, MDB_txn *txn);
void pool_space_destroy(struct pool_space *s);
bool pool_space_busy(const struct pool_space *s); /* a job of its own is under way */

/* ---- bits.c ----------------------------------------------------------------------------------------- */

int pool_bits_load(struct pool_space *s, MDB_txn *txn);
int pool_bits_grow(struct pool_space *s, uint64_t capacity_chunks); /* -ENOMEM */
bool pool_bit_get(const struct pool_space *s, uint64_t phys);
bool pool_bit_set(struct pool_space *s, uint64_t phys); /* false: no memory */
void pool_bit_clear(struct pool_space *s, uint64_t phys);
uint64_t pool_bit_find(const struct pool_space *s); /* a free chunk, from the cursor on; 0: none */

/* ---- split.c ---------------------------------------------------------------------------------------- */

int pool_split_load(struct pool_space *s, MDB_txn *txn);
int pool_split_grow(struct pool_space *s, uint64_t groups); /* room for so many; -ENOMEM */
void pool_split_destroy(struct pool_space *s);
bool pool_may_split(const struct pool_space *s);
/* Takes the blocks of a split chunk. False: not all of them are free. */
bool pool_split_take(struct pool_space *s, uint64_t phys, uint16_t mask);
bool pool_split_has(const struct pool_space *s, uint64_t phys, uint16_t mask); /* are they? */
/* Takes the blocks in some chunk that is split already. False: there is none, or none near. */
bool pool_split_find(struct pool_space *s, uint16_t mask, uint64_t *phys);
/* Those of the blocks that one chunk has free: the one with most of them, and with the fewest besides, of some thousand from
 * where the last call ended. None is taken. */
uint16_t pool_split_best(struct pool_space *s, uint16_t mask, uint64_t *phys);
/* Takes the blocks in some chunk, a new one if need be. As pool_alloc. */
int pool_split_alloc(struct pool_space *s, uint16_t mask, uint64_t *phys);
/* May a chunk more have free blocks for a while, and as many blocks be freed in others? What is free in split chunks stays below
 * a quarter of what is in use there (or 2 MiB), so that a byte written takes no more than 1.25. */
bool pool_split_spare(const struct pool_space *s);
/* They have gone the long way of what is freed. True: the whole chunk is unused now, and no split one any more. */
bool pool_split_freed(struct pool_space *s, uint64_t phys, uint16_t mask);

/* ---- bits.c: who waits ------------------------------------------------------------------------------- */

void pool_alloc_wait(struct pool_space *s, struct pool_waiter *w);
void pool_alloc_wake(struct pool_space *s, int err);

/* ---- data.c ----------------------------------------------------------------------------------------- */

int pool_data_open(struct pool_space *s, const char *device);
void pool_data_close(struct pool_space *s);

struct pool_data *pool_data_of(struct pool_space *s, uint64_t phys, uint64_t *offset);

/* A transfer of a chunk's bytes from `offset` on; `t` says all but the place. */
void pool_data_submit(struct pool_space *s, struct pool_transfer *t, uint64_t phys, uint64_t offset);
void pool_data_written(
	struct pool_space *s, uint64_t phys); /* it is to be synced before a record speaks of it */
void pool_data_grow(struct pool_space *s);
/* The pool has more capacity, a device this many chunks: who waits for room looks again. */
void pool_data_room(struct pool_space *s, uint64_t device_chunks);
uint64_t pool_data_step(const struct pool_space *s); /* chunks that it would grow by */

/* Makes what was written to the data files durable; `synced` may come from inside. One at a time. */
void pool_data_sync(struct pool_space *s, void (*synced)(void *arg, int err), void *arg);

/* ---- freed.c ---------------------------------------------------------------------------------------- */

/* The map dropped it: it goes the long way of a freed chunk. */
void pool_free_chunk(struct pool_space *s, struct pool_branch *b, uint64_t phys);
void pool_free_durable(struct pool_space *s, struct pool_free_list *frees);
/* The same of blocks of a split chunk; the mask may be empty. */
void pool_free_blocks(struct pool_space *s, struct pool_branch *b, uint64_t phys, uint16_t mask);
/* What the entry has is let go, whatever that is: it is to forget it. */
void pool_entry_let_go(struct pool_space *s, struct pool_branch *b, const struct pool_entry *e);

/* The records of all that were freed since the last frame; and that frame is durable. */
void pool_frees_frame(struct pool_space *s, struct pool_buffer *out);
void pool_frees_logged(struct pool_space *s);
uint64_t pool_frees_blocks(const struct pool_space *s); /* wherever they are on their way */

bool pool_frees_under_way(const struct pool_space *s);

unsigned pool_epoch_enter(struct pool_space *s);
void pool_epoch_leave(struct pool_space *s, unsigned epoch);
/* Wakes w, perhaps from inside, when all I/O that has begun has ended; never when the pool closes before. */
void pool_grace_wait(struct pool_space *s, struct pool_waiter *w);

/* ---- share.c ---------------------------------------------------------------------------------------- */

bool pool_may_share(const struct pool_space *s);

/* An entry of the branch has the chunk no more; it is freed, or looked at in time when others may have it. */
void pool_chunk_drop(struct pool_space *s, struct pool_branch *b, uint64_t phys, bool shared);
void pool_share_loosened(
	struct pool_space *s); /* UNSHARE records are on their way: reclaim is to look in time */

uint64_t pool_share_loose(const struct pool_space *s); /* chunks that are loose and not yet freed, about */
void pool_share_frame(struct pool_space *s, struct pool_buffer *out);

/* ---- alloc.c ---------------------------------------------------------------------------------------- */

/* 0; -EAGAIN: some may come, wait in alloc_waiters; -ENOSPC. */
int pool_alloc(struct pool_space *s, uint64_t *phys);
/* The same for background work, which leaves a share of the pool to the clients. */
int pool_alloc_spare(struct pool_space *s, uint64_t *phys);
bool pool_alloc_spare_room(const struct pool_space *s); /* would it find one at once? */
/* There is too little room: -EAGAIN, -ENOSPC or -EROFS, as above. */
int pool_alloc_more(struct pool_space *s);
uint64_t pool_alloc_room(const struct pool_space *s);          /* chunks that are free and not set aside */
int pool_alloc_reserved(struct pool_space *s, uint64_t *phys); /* one of those set aside; 0, -ENOMEM */

/* ---- reserve.c -------------------------------------------------------------------------------------- */

/* What array/store/store.h says of them. */
void pool_reserve_begin(struct pool_space *s, struct store_reserve *r);
void pool_reserve_join(struct store_reserve *r, struct store_disk *d);
void pool_reserve_end(struct store_reserve *r);
/* A write to this chunk of the disk found no room: a chunk that is set aside for it. False: there is none. */
bool pool_reserve_take(struct pool_space *s, struct pool_disk *d, uint64_t chunk, uint64_t *phys);
void pool_reserves_destroy(struct pool_space *s);

#endif
