/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums of the data's blocks (POOL_FEATURE_SUMS): every transfer of data passes here. What is read is compared with its
 * sum, what is written gets a new one, in memory; the file `sums` follows later, so a write waits for nothing but, the first
 * time in a while, for the note in the file `touched` that the sums of its chunk may be behind.
 *
 * Invariants:
 * - A block is written only while its chunk is noted as touched, durably. The note goes when the data, and the page of
 *   `sums`, are durable. So after a crash a sum that does not fit its block means damage, unless the chunk is touched: then it
 *   is *unsure*, believed as it is, and read in the background to get new sums.
 * - A block is under one write at a time (`busy`). A block that does not fit its sum is read again alone, with no write
 *   under way, before it is said to be damaged.
 * - A sum that is not known (0) says nothing.
 *
 *   sums.c pages of sums and the transfers, touched.c the notes, settle.c what brings both to the disk.
 */
#ifndef UMBRA_POOL_SUMS_H
#define UMBRA_POOL_SUMS_H

#include <stdbool.h>
#include <stdint.h>
#include "array/store/pool/base/base.h"
#include "array/store/pool/durable/sums.h"
#include "array/store/store.h"

#define POOL_IOV_MAX 20u

struct pool_space;
struct pool_sums;

/* The sums of a region. */
struct pool_sums_page {
	struct list_node hash_link;
	struct list_node unused; /* in pool_sums.clean or dirty, while nobody has it */
	uint64_t region;
	unsigned pins;
	bool loading;
	uint32_t version, written,
		snapshot;    /* of the content: as it is, as the file has it, as it is being written */
	struct list waiters; /* struct pool_transfer: for the load, or for busy blocks */
	uint16_t busy[POOL_SUMS_CHUNKS]; /* blocks that are written, or read alone */
	pool_sums_of_chunk sum[POOL_SUMS_CHUNKS];
};

/* A transfer of whole blocks of one chunk, or of anything when the pool has no sums. The caller's memory until `done`,
 * which never comes from inside the call that began it. The caller sets kind, iov, iov_count, len and done. */
struct pool_transfer {
	void (*done)(
		struct pool_transfer *t, int err); /* -EUCLEAN: blocks do not fit their sums: `damaged` */
	enum pool_op_kind kind;
	const struct iovec *iov;
	unsigned iov_count;
	uint32_t len;
	uint16_t only;    /* of a read: the blocks that are compared; 0: all */
	uint16_t damaged; /* out: blocks of the chunk */
	uint64_t phys;
	/* the pool's */
	bool alone;  /* of a read: with no write under way */
	bool adopts; /* of a read: sums that do not fit, or are not known, are replaced */
	bool was_read, holds;
	struct pool_sums *sums;
	struct pool_sums_page *page;
	struct list_node link;
	struct pool_file *file;
	uint64_t offset; /* in the file */
	uint16_t mask;
	uint8_t first; /* block */
	int err;
	uint32_t sum[POOL_BLOCKS];
	struct pool_op op;
	struct iovec work[POOL_IOV_MAX]; /* the host may change it */
};

/* Notes about the regions of one page of `touched`; by chunks, a bit each. */
struct pool_touched {
	struct list_node dirty;                 /* in pool_sums.touched_dirty: the file has something else */
	uint64_t mark[POOL_TOUCHED_REGIONS];    /* noted in the file, durably */
	uint64_t wish[POOL_TOUCHED_REGIONS];    /* somebody waits for the note */
	uint64_t unsure[POOL_TOUCHED_REGIONS];  /* a sum that does not fit proves nothing */
	uint32_t tick[POOL_TOUCHED_REGIONS];    /* of the last write, or of the wish for one */
	uint32_t noted[POOL_TOUCHED_REGIONS];   /* of the last wish, also of one ahead of all writes */
	uint32_t entered[POOL_TOUCHED_REGIONS]; /* in which a write's end was looked at */
};

#define POOL_SUMS_BATCH 32u

struct pool_sums_write {
	struct pool_op op;
	struct iovec iov;
	struct pool_sums *sums;
	struct pool_sums_page *page;
};

struct pool_sums_counts {
	uint64_t damaged;  /* blocks found not to fit */
	uint64_t unsure;   /* chunks that are to be read again after a crash */
	uint64_t settled;  /* and that were */
	uint64_t replaced; /* blocks that got a new sum there */
	uint64_t lost;     /* sectors of the two files that could not be read or did not check */
};

struct pool_sums {
	struct pool_base *base;
	const struct pool_super *super;
	struct pool_space *space;
	bool on;
	struct pool_file *file, *touched_file;
	uint64_t file_bytes;
	uint32_t epoch;
	struct pool_sums_counts counts;

	/* pages */
	struct list *hash;
	uint64_t buckets;
	struct list clean, dirty; /* that nobody has, longest unused first */
	unsigned count, count_max;
	struct list room_waiters; /* struct pool_transfer: for a page */
	struct list ended;        /* struct pool_transfer: to be told */
	struct pool_call ended_call;
	unsigned loads; /* under way */

	/* touched */
	struct pool_touched **touched;
	uint64_t touched_pages;
	struct list touched_dirty, mark_waiters;
	bool marking;
	uint64_t marking_page;
	uint64_t marking_words[POOL_TOUCHED_REGIONS];
	uint8_t marking_bytes[POOL_SUMS_PAGE_BYTES];
	struct pool_op marking_op;
	struct iovec marking_iov;

	/* settle */
	uint32_t tick, limit;
	struct pool_timer timer;
	bool timer_armed, stopped;
	bool running, closing, pressure, unsynced, broken;
	unsigned writes;
	int err;
	struct pool_sums_write write[POOL_SUMS_BATCH];
	uint8_t *bytes; /* of the batch */
	struct pool_op sync;
	struct store_io flush;
	/* what a crash left */
	bool settling;
	uint64_t settle_at; /* chunk */
	struct pool_transfer settle;
	struct iovec settle_iov;
	uint8_t *settle_bytes;
	struct pool_call settle_call;
};

void pool_sums_init(struct pool_sums *s, struct pool_base *base, const struct pool_super *super,
	struct pool_space *space);
void pool_sums_destroy(struct pool_sums *s);

/* ---- sums.c ----------------------------------------------------------------------------------------- */

/* `before`: the incarnation of the last opening, `now` of this one, which is not durable yet. Sums of an opening before
 * the last say nothing. Blocks. */
int pool_sums_open(struct pool_sums *s, uint64_t before, uint64_t now, uint64_t memory_bytes, bool read_only);
void pool_sums_submit(struct pool_sums *s, struct pool_transfer *t);
struct pool_sums_page *pool_sums_find(struct pool_sums *s, uint64_t region); /* in memory, or NULL */
void pool_sums_fail(struct pool_transfer *t, int err);                       /* of one that waits: it ends */
void pool_sums_unpin(struct pool_sums *s, struct pool_sums_page *page);
void pool_sums_retry(struct pool_sums *s, struct list *waiters); /* all of them go on, or wait again */

/* ---- touched.c -------------------------------------------------------------------------------------- */

int pool_touched_open(struct pool_sums *s, bool valid); /* reads the file, or begins with nothing. Blocks */
/* Room for so many chunks. Blocks; of the file only. */
int pool_touched_room(struct pool_sums *s, uint64_t chunks);
int pool_touched_grow(struct pool_sums *s, uint64_t chunks); /* of the memory */
void pool_touched_close(struct pool_sums *s);
bool pool_touched_is(const struct pool_sums *s, uint64_t phys);
bool pool_touched_unsure(const struct pool_sums *s, uint64_t phys);
void pool_touched_sure(struct pool_sums *s, uint64_t phys);
int pool_touched_wish(struct pool_sums *s, uint64_t phys); /* those in mark_waiters go on when it is noted */
void pool_touched_ended(struct pool_sums *s, uint64_t region); /* a write of it has ended */
void pool_touched_doubt(
	struct pool_sums *s, uint64_t region); /* its sums are lost: all that is touched is unsure */
void pool_touched_doubt_all(struct pool_sums *s);
uint32_t pool_touched_tick(const struct pool_sums *s, uint64_t region);
void pool_touched_write(struct pool_sums *s); /* brings what is dirty to the file */
/* Notes that are not needed any more go: of regions not written since `limit` whose page the file has. */
void pool_touched_clear(struct pool_sums *s, uint32_t limit);
bool pool_touched_any(const struct pool_sums *s); /* is there a note that may go one day? */
uint64_t pool_touched_next(
	struct pool_sums *s, uint64_t phys); /* the next unsure chunk from there on; 0: none */

/* ---- settle.c --------------------------------------------------------------------------------------- */

void pool_sums_start(struct pool_sums *s);      /* the pool is open */
void pool_sums_stop(struct pool_sums *s);       /* it closes: nothing comes by itself any more */
void pool_sums_later(struct pool_sums *s);      /* something is to be brought to the disk */
void pool_sums_press(struct pool_sums *s);      /* somebody waits for a page */
bool pool_sums_busy(const struct pool_sums *s); /* something of it is under way */
bool pool_sums_close_step(struct pool_sums *s); /* true: all is on the disk, or cannot be */

#endif
