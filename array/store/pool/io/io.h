/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An I/O from its submission to its end, and its parts, one a chunk.
 *
 * Invariants:
 * - The chunk of a shared entry is never written to.
 * - Within one chunk, writes take effect in the order of their generations: the lock's queue is first in, first out,
 *   and every I/O queues at all its chunks when it is submitted.
 */
#ifndef UMBRA_POOL_IO_H
#define UMBRA_POOL_IO_H

#include "array/store/pool/pool.h"

#define POOL_ANCESTOR_MAX                                                                                    \
	4u /* entries that one chunk may be spread over before it is copied up, where chunks are not split */

struct pool_sub;

/* What the pool keeps in store_io.scratch. */
struct pool_io {
	struct pool *pool;
	struct pool_branch *branch;
	struct pool_write write;
	unsigned subs;  /* not yet ended, and 1 for the one who starts them */
	unsigned ready; /* COMPARE AND WRITE: subs that wait for the others */
	int err;
	void (*finish)(struct store_io *io); /* no sub is left */
	uint64_t cursor;                     /* UNMAP: where the next step begins, bytes */
	bool in_step;
	struct list sub_list; /* COMPARE AND WRITE */
	struct pool_waiter waiter;
};

/* What a sub does, by its kind: pool_read_sub, pool_write_sub, pool_compare_sub, pool_zero_sub, pool_unmap_sub. */
struct pool_sub_ops {
	/* Goes on: under the chunk's exclusive lock, a READ's without a lock. Entered again after each wait. */
	void (*run)(struct pool_sub *sub);
	/* May it hold the lock shared, everything being prepared? Then run_shared goes on. NULL: never. */
	bool (*try_shared)(struct pool_sub *sub);
	void (*run_shared)(struct pool_sub *sub);
	/* The steps of a write (write.c), where the kinds differ. */
	void (*patch)(struct pool_sub *sub, uint8_t *to); /* puts the new data over what was read */
	void (*old_read)(struct pool_sub *sub); /* what was to be read is, or sub->err says why not */
	void (*targeted)(struct pool_sub *sub, int err); /* it has a chunk to write to, or not */
	void (*failed)(struct pool_sub *sub, int err);   /* before anything was written */
	bool joint;                                      /* the I/O's subs compare and write as one */
	bool skips_zeros;                                /* nothing is done where there is no data */
};

extern const struct pool_sub_ops pool_read_sub, pool_write_sub, pool_compare_sub, pool_zero_sub,
	pool_unmap_sub;

/* The part of an I/O that lies in one chunk. */
struct pool_sub {
	struct pool *pool;
	struct store_io *io;
	const struct pool_sub_ops *ops;
	uint64_t chunk;
	uint32_t offset, len; /* within the chunk */
	uint64_t io_offset;   /* of its first byte in the I/O's data */
	struct pool_lock_wait wait;
	struct pool_waiter waiter;
	struct list_node link;  /* pool_io.sub_list, free list */
	struct pool_leaf *leaf; /* pinned */
	uint8_t *bounce;        /* POOL_CHUNK_BYTES, holds the blocks from bounce_first on */
	unsigned bounce_first, bounce_count;
	uint16_t mask; /* blocks that will be valid */
	uint64_t phys;
	uint32_t entry_gen;
	unsigned pieces; /* transfers under way */
	int err;
	void (*next)(struct pool_sub *sub); /* when the transfers have ended */
	bool copy_up, resolved, held, was_read;
	bool replaces; /* phys takes the place of the entry's shared chunk when all is in it */
	bool moves;    /* or of its blocks in a split chunk, `old`, where there is no room for the new ones */
	bool claims;   /* it has taken blocks of the entry's chunk that get data only if it succeeds */
	bool split;    /* phys, of one that moves */
	uint16_t old;
	bool counted; /* in pool_map.dirty_pending */
	unsigned epoch;
};

/* One transfer of a sub. */
struct pool_piece {
	struct pool_transfer transfer;
	struct pool_sub *sub;
	struct list_node link;
	struct iovec iov[POOL_IOV_MAX];
};

static inline struct pool_io *pool_io_of(struct store_io *io)
{
	return (struct pool_io *)(void *)io->scratch;
}

static inline bool pool_io_writes(const struct store_io *io)
{
	return store_op_changes(io->op);
}

/* ---- spares.c, sub.c -------------------------------------------------------------------------------- */

uint8_t *pool_bounce_get(struct pool *p); /* POOL_CHUNK_BYTES, or NULL */
void pool_bounce_put(struct pool *p, uint8_t *buf);

bool pool_spares_init(struct pool_spares *s); /* false: no memory */
void pool_spares_destroy(struct pool_spares *s);

void pool_io_begin_write(struct store_io *io); /* takes its generation */
void pool_io_end_write(struct store_io *io);
void pool_io_put(struct store_io *io, int err); /* one sub less */
struct pool_sub *pool_sub_new(struct store_io *io, const struct pool_sub_ops *ops, uint64_t offset,
	uint64_t len, uint64_t io_offset); /* NULL: no memory */
void pool_sub_end(struct pool_sub *sub, int err);

unsigned pool_sub_first(const struct pool_sub *sub); /* block */
unsigned pool_sub_stop(const struct pool_sub *sub);  /* the block after the last */
bool pool_sub_whole(const struct pool_sub *sub);     /* whole blocks */
void pool_sub_hold(struct pool_sub *sub);            /* the I/O epoch */
void pool_sub_leave(struct pool_sub *sub);
void pool_sub_piece_end(struct pool_sub *sub, int err);

void pool_sub_transfer(struct pool_sub *sub, enum pool_op_kind kind, uint64_t phys, uint32_t offset,
	uint32_t len, uint8_t *buf);

/* Reads the blocks in `mask` of one chunk, all between the first and the last at once, into the caller's buffers. False: not
 * in one transfer. */
bool pool_sub_gather(struct pool_sub *sub, uint64_t phys, uint16_t mask);

#define POOL_REQUESTS_FEW 4u /* for a whole chunk: with more it is worth packing (pack.c) */
#define POOL_GATHER_SPAN  3u /* blocks read for one that is wanted */

/* Are these blocks of one chunk read so? A request costs more than what lies between them. */
static inline bool pool_read_gathers(uint16_t mask)
{
	unsigned wanted = (unsigned)__builtin_popcount(mask);
	unsigned span = 32u - (unsigned)__builtin_clz(mask) - (unsigned)__builtin_ctz(mask);

	return wanted < span && span <= POOL_GATHER_SPAN * wanted;
}

bool pool_sub_direct(struct pool_sub *sub); /* is the caller's memory good for direct transfers? */
void pool_sub_fetch(struct pool_sub *sub, const struct pool_places *places, uint16_t mask);

size_t pool_iov_copy_out(const struct store_io *io, uint64_t from, uint8_t *to, size_t len);
size_t pool_iov_copy_in(const struct store_io *io, uint64_t to, const uint8_t *from, size_t len);

/* ---- damage.c --------------------------------------------------------------------------------------- */

/* The transfer, of the disk's chunk, found blocks that do not fit their checksums: whoever listens is told, of each block
 * once. disk_id 0: not known. */
void pool_damage_found(struct pool *p, uint64_t disk_id, uint64_t chunk, const struct pool_transfer *t);

/* ---- target.c --------------------------------------------------------------------------------------- */

int pool_target_copy_up(struct pool_sub *sub, struct pool_waiter *w);
int pool_target_prepare(struct pool_sub *sub, bool may_wait);
/* Under the exclusive lock: sees to room in the split chunk of the entry that it owns, or that it moves. */
void pool_target_claim(struct pool_sub *sub, struct pool_leaf *leaf, const struct pool_entry *e);
uint16_t pool_target_wanted(const struct pool_sub *sub); /* the blocks that it will write */
void pool_target_written(struct pool_sub *sub);          /* they have data */
int pool_target_replaced(struct pool_sub *sub);
int pool_target_moved(struct pool_sub *sub);
void pool_target_unclaim(struct pool_sub *sub);
/* Blocks of split chunks go that only the chunk's newest entry's viewers would see, and do not. Nobody else is at work
 * on the chunk. */
void pool_target_shed(struct pool *p, struct pool_leaf *leaf, uint64_t chunk);
/* Of one entry, these blocks (pool_entry_hidden). True: it is gone. */
bool pool_target_shed_entry(
	struct pool *p, struct pool_leaf *leaf, uint64_t chunk, uint32_t gen, uint16_t hidden);
void pool_target_failed(struct pool_sub *sub);
void pool_target_drop(struct pool_sub *sub); /* the chunk, if any, is not written to */

/* ---- write.c ---------------------------------------------------------------------------------------- */

void pool_write_run(struct pool_sub *sub);   /* pool_sub_ops.run of the kinds that write */
void pool_write_patch(struct pool_sub *sub); /* everything that was to be read is in the bounce buffer */
void pool_write_old_read(struct pool_sub *sub);
void pool_write_out(struct pool_sub *sub); /* to the chunk that it has */

/* ---- unmap.c, mapped.c ------------------------------------------------------------------------------ */

/* The blocks in `mask` become known zeros under the chunk's exclusive lock. 0, -EAGAIN (w waits) or an error. */
int pool_unmap_blocks(struct pool *p, struct pool_branch *b, uint32_t gen, uint64_t chunk, uint16_t mask,
	struct pool_waiter *w);
void pool_unmap_start(struct store_io *io);

void pool_mapped_start(struct store_io *io); /* STORE_MAPPED, len > 0 */

/* ---- submit.c --------------------------------------------------------------------------------------- */

/* Makes the I/O the pool's. False: it has ended already. */
bool pool_io_accept(struct store_io *io);

void pool_submit(struct store_io *io); /* all but CLONE */

#endif
