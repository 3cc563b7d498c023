/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool's inside: the state that its files share, and their functions under a banner per file.
 *
 * Invariants (docs/pool-format.md has the argument):
 * - All of it belongs to the reactor's thread, except what runs in a pool_job's `work`, which touches the
 *   job's own memory and LMDB only.
 * - The map in memory is the truth; the log holds what of it is durable, LMDB is the log's checkpoint. A leaf
 *   leaves memory only when LMDB has all of it.
 * - A record describes only blocks whose data was durable before it was written.
 * - The chunk of a shared entry is never written to, and freed only when LMDB shows no entry of it (refs.c).
 * - A chunk number that was freed is handed out again only after the free is in the log, all I/O that began
 *   before has ended, and its discard has ended.
 * - Within one chunk, writes take effect in the order of their generations (the lock's queue is first in,
 *   first out, and every I/O queues at all its chunks when it is submitted).
 */
#ifndef UMBRA_POOL_POOL_H
#define UMBRA_POOL_POOL_H

#include "array/store/pool/base/base.h"
#include "array/store/pool/durable/log.h"
#include "array/store/pool/durable/meta.h"
#include "array/store/pool/durable/refs.h"
#include "array/store/pool/durable/super.h"
#include "array/store/pool/map/lock.h"
#include "array/store/pool/map/map.h"
#include "array/store/pool/space/space.h"
#include "array/store/store.h"

#define POOL_IOV_MAX 20u

#define POOL_ANCESTOR_MAX 4u /* entries that one chunk may be spread over before it is copied up */

struct pool_sub;

/* ---- I/O -------------------------------------------------------------------------------------------- */

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
	bool counted;  /* in pool.dirty_pending */
	unsigned epoch;
};

/* One transfer of a sub. */
struct pool_piece {
	struct pool_op op;
	struct pool_sub *sub;
	struct list_node link;
	struct iovec iov[POOL_IOV_MAX];
};

/* ---- transactions, cuts ----------------------------------------------------------------------------- */

enum pool_disk_change_kind {
	POOL_DISK_CREATE,
	POOL_DISK_FORK,
	POOL_DISK_DELETE,
	POOL_DISK_RESIZE,
	POOL_DISK_REPOINT,
};

struct pool_disk_change {
	enum pool_disk_change_kind kind;
	struct pool_disk *disk;
	struct pool_branch *branch; /* the new one */
	struct pool_branch *from;   /* its parent */
	uint32_t gen;               /* of the to-do: the branch that the disk leaves */
	uint64_t size_bytes;
};

/* What rides in a frame of the commit cycle: records, whole or not at all. */
struct pool_rider {
	struct list_node link;
	struct pool_buffer records;
	bool ids; /* it takes new numbers of branches or disks: the frame tells which come next */
	/* When the frame is made: brings the records up to date, whose lengths stay as they are. Or NULL. */
	void (*refresh)(struct pool_rider *r);
	void (*ended)(struct pool_rider *r, int err); /* durable, or not */
};

/* A generation that a cut froze. */
struct pool_frozen {
	struct pool_branch *branch;
	uint32_t gen;
	uint64_t size_bytes; /* of the disk */
};

struct pool_txn {
	struct pool *pool;
	struct pool_rider rider;
	struct pool_disk_change *changes;
	unsigned change_count, change_room;
	struct pool_free_list frees; /* whose FREE records are among the records */
	const void *frozen_by;       /* the cut that its forks are of */
	void (*done)(void *arg, int err);
	void *arg;
};

struct pool_cut_member {
	struct pool_cut *cut;
	struct pool_disk *disk;
	struct pool_branch *branch;
	struct pool_viewer viewer;
	uint64_t size_bytes;
	bool draining; /* writes of frozen generations under way */
};

struct pool_cut {
	struct pool *pool;
	struct store_cut *owner;
	struct pool_txn *txn;
	unsigned draining;
	void (*done)(void *arg, int err);
	void *arg;
	unsigned count;
	struct pool_cut_member members[];
};

/* ---- the commit cycle ------------------------------------------------------------------------------- */

/* A durable frame on its way into LMDB. */
struct pool_backlog {
	struct list_node link;
	uint8_t *buf;
	struct pool_frame frame;
	uint64_t log_bytes; /* of the log, what it skipped at the end included */
};

struct pool_todo {
	struct list_node link;
	uint64_t branch;
	uint32_t gen;
	uint64_t sequence; /* its frame; 0: not yet in one */
	bool busy;         /* reclaim works on it: the same one may be asked for again */
};

struct pool {
	struct store store;
	struct pool_base base;
	struct pool_super super;
	struct pool_state state; /* as of the open; the live values are below */
	struct pool_meta meta;
	bool opened;

	struct pool_locks locks;
	struct pool_map map;

	/* free objects */
	struct list sub_free, piece_free;
	void **bounce_free;
	unsigned bounce_count;

	struct pool_space space;

	/* the commit cycle */
	struct list flushes, riders;             /* wait for the next cycle */
	struct list cycle_flushes, cycle_riders; /* in the running one */
	bool cycle_running, cycle_wanted, cycle_no_room;
	struct pool_buffer cycle_buf;
	struct pool_call cycle_call;
	struct pool_timer flush_timer;
	bool flush_timer_armed;

	struct pool_log log;

	/* checkpoint */
	struct list backlog, checkpointing;
	uint64_t backlog_bytes;
	bool checkpoint_running, checkpoint_wanted;
	struct pool_job checkpoint_job;
	struct pool_state checkpoint_state;
	uint64_t checkpoint_bytes, checkpoint_refs, checkpoint_loose;
	int checkpoint_err;
	struct pool_timer checkpoint_timer;
	bool checkpoint_timer_armed;
	struct list applied_waiters, applied_running;

	/* reclaim */
	struct list todos;
	struct pool_reclaim *reclaim;
	struct list hydrations;

	/* close */
	void (*close_done)(void *arg, int err);
	void *close_arg;
	struct pool_call close_call;
	bool close_asked, close_ready;

	/* counters, for tests and measurements */
	uint64_t data_writes, data_reads, data_write_bytes, copied_blocks;
};

static inline struct pool *pool_of(struct store *s)
{
	return container_of(s, struct pool, store);
}

static inline struct pool_io *pool_io_of(struct store_io *io)
{
	return (struct pool_io *)(void *)io->scratch;
}

static inline bool pool_io_writes(const struct store_io *io)
{
	return store_op_changes(io->op);
}

/* ---- buffer.c, bounce.c: small shared things -------------------------------------------------------- */

uint8_t *pool_bounce_get(struct pool *p); /* POOL_CHUNK_BYTES, or NULL */
void pool_bounce_put(struct pool *p, uint8_t *buf);

/* ---- store.c, close.c ------------------------------------------------------------------------------- */

extern const struct store_ops pool_ops;
void pool_close(struct store *s, void (*done)(void *arg, int err), void *arg);
void pool_close_step(struct pool *p); /* something ended: may the pool close now? */

/* ---- clone.c ---------------------------------------------------------------------------------------- */

void pool_clone(struct store_io *io); /* STORE_CLONE */

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

/* ---- mapped.c --------------------------------------------------------------------------------------- */

void pool_mapped_start(struct store_io *io); /* STORE_MAPPED, len > 0 */

/* ---- the files of io/ ------------------------------------------------------------------------------- */

void pool_submit(struct store_io *io); /* all but CLONE */
/* Makes the I/O the pool's. False: it has ended already. */
bool pool_io_accept(struct store_io *io);
void pool_io_begin_write(struct store_io *io); /* takes its generation */
void pool_io_end_write(struct store_io *io);
void pool_io_put(struct store_io *io, int err); /* one sub less */
struct pool_sub *pool_sub_new(struct store_io *io, const struct pool_sub_ops *ops, uint64_t offset,
	uint64_t len, uint64_t io_offset); /* NULL: no memory */
void pool_sub_end(struct pool_sub *sub, int err);
void pool_write_run(struct pool_sub *sub);   /* pool_sub_ops.run of the kinds that write */
void pool_write_patch(struct pool_sub *sub); /* everything that was to be read is in the bounce buffer */
void pool_write_old_read(struct pool_sub *sub);
void pool_write_out(struct pool_sub *sub);           /* to the chunk that it has */
unsigned pool_sub_first(const struct pool_sub *sub); /* block */
unsigned pool_sub_stop(const struct pool_sub *sub);  /* the block after the last */
bool pool_sub_whole(const struct pool_sub *sub);     /* whole blocks */
void pool_sub_hold(struct pool_sub *sub);            /* the I/O epoch */
void pool_sub_leave(struct pool_sub *sub);
void pool_sub_piece_end(struct pool_sub *sub, int err);
bool pool_sub_direct(struct pool_sub *sub); /* is the caller's memory good for direct transfers? */
void pool_sub_fetch(struct pool_sub *sub, const struct pool_places *places, uint16_t mask);

int pool_target_copy_up(struct pool_sub *sub, struct pool_waiter *w);
int pool_target_prepare(struct pool_sub *sub, bool may_wait);
int pool_target_replaced(struct pool_sub *sub);
void pool_target_failed(struct pool_sub *sub);
void pool_target_drop(struct pool_sub *sub); /* the chunk, if any, is not written to */

void pool_sub_transfer(struct pool_sub *sub, enum pool_op_kind kind, uint64_t phys, uint32_t offset,
	uint32_t len, uint8_t *buf);

/* The blocks in `mask` become known zeros under the chunk's exclusive lock. 0, -EAGAIN (w waits) or an error. */
int pool_unmap_blocks(struct pool *p, struct pool_branch *b, uint32_t gen, uint64_t chunk, uint16_t mask,
	struct pool_waiter *w);
void pool_unmap_start(struct store_io *io);
size_t pool_iov_copy_out(const struct store_io *io, uint64_t from, uint8_t *to, size_t len);
size_t pool_iov_copy_in(const struct store_io *io, uint64_t to, const uint8_t *from, size_t len);

/* ---- commit.c --------------------------------------------------------------------------------------- */

void pool_cycle_request(struct pool *p);
/* Something became dirty: a flush will come by itself within a second. */
void pool_cycle_later(struct pool *p);
void pool_flush_wait(struct pool *p, struct store_io *io);
void pool_ride(struct pool *p, struct pool_rider *r); /* with the next frame that has room */
/* A rider must fit into a frame beside the map records that may be waiting. */
uint64_t pool_rider_max(const struct pool *p);
bool pool_cycle_needed(const struct pool *p);
void pool_cycle_room(struct pool *p); /* the log has room again */

/* ---- todo.c ----------------------------------------------------------------------------------------- */

void pool_todo_add(struct pool *p, uint64_t branch, uint32_t gen);
void pool_todo_logged(struct pool *p, uint64_t branch, uint32_t gen); /* the last frame had its record */
/* At open: of the table, for pool_meta_each. */
int pool_todo_load(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact);
bool pool_todo_of(const struct pool *p, const struct pool_branch *b);
size_t pool_todo_unlogged(const struct pool *p); /* how many wait for a frame */
void pool_todo_frame(struct pool *p, struct pool_buffer *out);

/* ---- checkpoint.c ----------------------------------------------------------------------------------- */

void pool_checkpoint_feed(struct pool *p, struct pool_backlog *b);
void pool_checkpoint_request(struct pool *p);
/* Wakes w when LMDB has all frames up to the last durable one. */
void pool_applied_wait(struct pool *p, struct pool_waiter *w);

/* ---- txn.c, cut.c ----------------------------------------------------------------------------------- */

struct store_txn *pool_txn_begin(struct store *s);
int pool_txn_put(struct store_txn *t, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len);
int pool_txn_del(struct store_txn *t, enum store_table table, const void *key, size_t key_len);
int pool_txn_disk_create(struct store_txn *t, uint64_t size_bytes, struct store_disk **out);
int pool_txn_disk_fork(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk **out);
int pool_txn_disk_delete(struct store_txn *t, struct store_disk *d);
int pool_txn_disk_resize(struct store_txn *t, struct store_disk *d, uint64_t size_bytes);
int pool_txn_disk_repoint(
	struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk *disk);
void pool_txn_commit(struct store_txn *t, void (*done)(void *arg, int err), void *arg);
void pool_txn_drop(struct store_txn *t);
static inline struct pool_txn *pool_txn_of(struct store_txn *t)
{
	return (struct pool_txn *)(void *)t;
}

static inline struct store_txn *pool_txn_handle(struct pool_txn *t)
{
	return (struct store_txn *)(void *)t;
}

struct pool_txn *pool_txn_new(struct pool *p); /* NULL: no memory */
int pool_txn_fork(struct pool_txn *t, const struct pool_frozen *from, struct store_disk **out);
int pool_txn_repoint(struct pool_txn *t, const struct pool_frozen *from, struct pool_disk *d);
/* Commits it: frees it and calls done. */
void pool_txn_ride(struct pool_txn *t, void (*done)(void *arg, int err), void *arg);
void pool_cut(struct store *s, struct store_cut *cut, void (*cut_done)(void *arg, int err), void *arg);
void pool_cut_commit(struct store_cut *cut, struct store_txn *t, void (*done)(void *arg, int err), void *arg);
void pool_cut_drop(struct store_cut *cut);
void pool_cut_drained(struct pool_branch *b); /* a write of b ended */

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
	uint64_t from_phys, to_phys;
	unsigned block, run;
	void (*copy_done)(struct pool_op *op, int err);
	struct pool_op op;
	struct iovec iov;
};

/* Merges what can be merged of a chunk's entries. `done` may come from inside. */
void pool_merge_chunk(struct pool_merge *m, struct pool *p, struct pool_branch *b, uint64_t chunk,
	void (*done)(struct pool_merge *m, int err));

/* ---- reclaim.c -------------------------------------------------------------------------------------- */

void pool_reclaim_kick(struct pool *p); /* goes on with what is known to be to do */
void pool_reclaim_scan(struct pool *p); /* a branch may have become free */
void pool_reclaim_look(struct pool *p); /* for loose chunks, if there may be any; with the next kick */
void pool_reclaim_stop(struct pool *p);
bool pool_reclaim_busy(const struct pool *p);
/* Will chunks come back, without waiting for anybody who waits for chunks? Then alloc_waiters are woken. */
bool pool_reclaim_may_free(struct pool *p);
struct pool_reclaim *pool_reclaim_new(struct pool *p);
void pool_reclaim_free(struct pool_reclaim *r);

/* ---- hydrate.c -------------------------------------------------------------------------------------- */

void pool_hydrate(struct store_hydration *h);
void pool_hydrate_cancel(struct store_hydration *h);
void pool_hydrate_stop(struct pool *p); /* all of them, for the pool closes */

/* ---- create.c, open.c, check.c, dump.c -------------------------------------------------------------- */

int pool_create_on(struct pool_host *host, const struct pool_options *options, uint64_t capacity_bytes,
	struct fault *fault);
int pool_open_on(struct pool_host *host, const struct pool_options *options, struct reactor *reactor,
	struct store **out, struct fault *fault);
int pool_check_on(struct pool_host *host, const struct pool_options *options, bool repair,
	void (*report)(void *arg, const char *line), void *arg, struct fault *fault);
int pool_dump_on(struct pool_host *host, bool entries,
	void (*row)(void *arg, const char *table, const struct pool_dump_field *fields, unsigned count),
	void *arg, struct fault *fault);

/* Frees everything; nothing may be under way. */
void pool_destroy(struct pool *p);

#endif
