/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How things become durable: the to-dos, the checkpoint that brings the log's frames into LMDB, the commit cycle,
 * transactions, cuts.
 *
 * Invariant: a record describes only blocks whose data was durable before it was written.
 */
#ifndef UMBRA_POOL_COMMIT_H
#define UMBRA_POOL_COMMIT_H

#include <stdbool.h>
#include <stdint.h>
#include "array/store/pool/base/base.h"
#include "array/store/pool/commit/mirror.h"
#include "array/store/pool/commit/remake.h"
#include "array/store/pool/durable/log.h"
#include "array/store/pool/durable/meta.h"
#include "array/store/pool/map/map.h"
#include "array/store/pool/space/space.h"
#include "array/store/store.h"

/* ---- todo.c ----------------------------------------------------------------------------------------- */

struct pool_todo {
	struct list_node link;
	uint64_t branch;
	uint32_t gen;
	uint64_t sequence; /* its frame; 0: not yet in one */
	bool busy;         /* reclaim works on it: the same one may be asked for again */
	bool joined;       /* it is done with another one of its branch */
	bool counted;      /* how many chunks it may give back */
	uint64_t chunks;   /* so many; 0: not counted yet */
	struct list_node hash_link;
};

#define POOL_TODO_BUCKETS 1024u

/* There may be thousands: what each frame looks at is their count. */
struct pool_todos {
	struct pool_base *base;
	const struct pool_log *log;
	struct pool_map *map;
	struct list list;
	struct list hash[POOL_TODO_BUCKETS]; /* by branch and generation */
	size_t uncounted;
	size_t unlogged; /* wait for a frame; they are the last ones of the list that were made */
};

void pool_todos_init(
	struct pool_todos *todos, struct pool_base *base, const struct pool_log *log, struct pool_map *map);
void pool_todo_free(struct pool_todos *todos, struct pool_todo *t);

/* The one that nobody works on; or NULL. */
struct pool_todo *pool_todo_find(const struct pool_todos *todos, uint64_t branch, uint32_t gen);
void pool_todo_add(struct pool_todos *todos, uint64_t branch, uint32_t gen);
void pool_todo_logged(
	struct pool_todos *todos, uint64_t branch, uint32_t gen); /* the last frame had its record */
/* Has LMDB all that it concerns? What was written before its viewer had gone is in the frame after its own at the latest; what is
 * written later goes where it was. */
bool pool_todo_in_meta(const struct pool_todos *todos, const struct pool_todo *t);
/* At open: of the table, for pool_meta_each. */
int pool_todo_load(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact);
/* It may give back so many chunks of its branch (pending.c). */
void pool_todo_count(struct pool_todos *todos, struct pool_todo *t, uint64_t chunks);
/* What it may give back is another one's to tell. Returns it. */
uint64_t pool_todo_uncount(struct pool_todos *todos, struct pool_todo *t);
void pool_todo_frame(struct pool_todos *todos, struct pool_buffer *out);

/* ---- checkpoint.c ----------------------------------------------------------------------------------- */

/* A durable frame on its way into LMDB. */
struct pool_backlog {
	struct list_node link;
	uint8_t *buf;
	struct pool_frame frame;
	uint64_t log_bytes; /* of the log, what it skipped at the end included */
};

struct pool_checkpoint {
	struct pool_base *base;
	const struct pool_super *super;
	struct pool_meta *meta;
	struct pool_map *map;
	struct pool_space *space;
	struct pool_log *log;
	struct pool_mirror *mirror;
	struct list backlog; /* struct pool_backlog */
	uint64_t backlog_bytes;
	bool running, wanted;
	bool held; /* the metadata stands still (remake.c) */
	struct pool_timer timer;
	bool timer_armed;
	unsigned tries;            /* that failed, of the batch in hand */
	uint64_t records_max;      /* of a batch, unless one frame has more: bounds LMDB's memory */
	struct list waiters;       /* for all frames that there are when the next batch begins */
	struct list batch_waiters; /* for target_sequence */
	uint64_t target_sequence;
	/* the batch */
	struct list batch; /* struct pool_backlog */
	uint64_t bytes;    /* of the log */
	struct pool_job job;
	struct pool_state state;
	uint64_t refs, loose, entries;
	int err;
	bool mirrors; /* this batch goes to the mirror, too */
	int mirror_lost, mirror_err;
};

void pool_checkpoint_feed(struct pool_checkpoint *c, struct pool_backlog *b);
void pool_checkpoint_request(struct pool_checkpoint *c);
/* The map waits for it; so does what the frame under way has. */
void pool_checkpoint_hurry(struct pool_checkpoint *c);
/* Wakes w when LMDB has all frames up to the last durable one. */
void pool_applied_wait(struct pool_checkpoint *c, struct pool_waiter *w);

/* ---- commit.c --------------------------------------------------------------------------------------- */

/* What rides in a frame of the commit cycle: records, whole or not at all. */
struct pool_rider {
	struct list_node link;
	struct pool_buffer records;
	bool ids; /* it takes new numbers of branches or disks: the frame tells which come next */
	/* When the frame is made: brings the records up to date, whose lengths stay as they are. Or NULL. */
	void (*refresh)(struct pool_rider *r);
	void (*ended)(struct pool_rider *r, int err); /* durable, or not */
};

struct pool_commit {
	struct pool_base *base;
	const struct pool_super *super;
	struct pool_map *map;
	struct pool_space *space;
	struct pool_log *log;
	struct pool_todos todos;
	struct pool_checkpoint checkpoint;
	struct list flushes, riders;             /* wait for the next cycle */
	struct list cycle_flushes, cycle_riders; /* in the running one */
	bool running, wanted;
	bool no_room; /* of the log: the checkpoint is asked to make some */
	struct pool_mirror *mirror;
	struct pool_remake remake;
	bool paused;  /* no cycle begins (remake.c) */
	bool growing; /* the superblock changes */
	struct pool_buffer frame;
	unsigned frame_writes; /* of the frame, under way */
	int frame_err;
	const char *frame_what;
	/* the log could not be written: the same frame again */
	struct pool_timer again;
	unsigned tries;
	unsigned stalled; /* ticks of the clock since a cycle ended */
	struct pool_call call;
	struct pool_timer flush_timer;
	bool flush_timer_armed;
};

void pool_commit_init(struct pool_commit *c, struct pool_base *base, const struct pool_super *super,
	struct pool_meta *meta, struct pool_map *map, struct pool_space *space, struct pool_log *log,
	struct pool_mirror *mirror);
/* The log was replayed: this is what LMDB has. Reads the to-dos. */
int pool_commit_open(struct pool_commit *c, const struct pool_state *state, MDB_txn *txn);
void pool_commit_stop(struct pool_commit *c); /* nothing comes by itself any more */
void pool_commit_destroy(struct pool_commit *c);
bool pool_commit_busy(const struct pool_commit *c);

void pool_commit_request(struct pool_commit *c);
/* Something became dirty: a flush will come by itself within a second. */
void pool_commit_later(struct pool_commit *c);

bool pool_commit_needed(const struct pool_commit *c);
void pool_commit_log_has_room(struct pool_commit *c); /* the log has room again */

/* Flushes that have waited too long are to be tried again. Does anybody still wait for one? */
bool pool_commit_hurried(struct pool_commit *c);

void pool_flush_wait(struct pool_commit *c, struct store_io *io);
void pool_ride(struct pool_commit *c, struct pool_rider *r); /* with the next frame that has room */
/* A rider must fit into a frame beside the map records that may be waiting. */
uint64_t pool_rider_max(const struct pool_commit *c);

/* ---- txn.c ------------------------------------------------------------------------------------------ */

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

/* A generation that a cut froze. */
struct pool_frozen {
	struct pool_branch *branch;
	uint32_t gen;
	uint64_t size_bytes; /* of the disk */
};

struct pool_txn {
	struct pool_commit *commit;
	struct pool_rider rider;
	struct pool_disk_change *changes;
	unsigned change_count, change_cap;
	struct pool_free_list frees; /* whose FREE records are among the records */
	const void *frozen_by;       /* the cut that its forks are of */
	void (*done)(void *arg, int err);
	void *arg;
};

static inline struct pool_txn *pool_txn_of(struct store_txn *t)
{
	return (struct pool_txn *)(void *)t;
}

static inline struct store_txn *pool_txn_handle(struct pool_txn *t)
{
	return (struct store_txn *)(void *)t;
}

struct pool_txn *pool_txn_new(struct pool_commit *commit); /* NULL: no memory */

/* Commits it: frees it and calls done. */
void pool_txn_ride(struct pool_txn *t, void (*done)(void *arg, int err), void *arg);

/* What an entry of LMDB's had goes with the transaction. Returns how many blocks its branch holds less. */
uint64_t pool_txn_let_go(struct pool_txn *t, const struct pool_map_value *v);

int pool_txn_fork(struct pool_txn *t, const struct pool_frozen *from, struct store_disk **out);
int pool_txn_repoint(struct pool_txn *t, const struct pool_frozen *from, struct pool_disk *d);

int pool_txn_put(struct store_txn *t, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len);
int pool_txn_del(struct store_txn *t, enum store_table table, const void *key, size_t key_len);
int pool_txn_disk_create(struct store_txn *t, uint64_t size_bytes, struct store_disk **out);

int pool_txn_disk_delete(struct store_txn *t, struct store_disk *d);
int pool_txn_disk_resize(struct store_txn *t, struct store_disk *d, uint64_t size_bytes);

void pool_txn_commit(struct store_txn *t, void (*done)(void *arg, int err), void *arg);
void pool_txn_drop(struct store_txn *t);

/* ---- cut.c ------------------------------------------------------------------------------------------ */

struct pool_cut_member {
	struct pool_cut *cut;
	struct pool_disk *disk;
	struct pool_branch *branch;
	struct pool_viewer viewer;
	uint64_t size_bytes;
	bool draining; /* writes of frozen generations under way */
};

struct pool_cut {
	struct pool_commit *commit;
	struct store_cut *owner;
	struct pool_txn *txn;
	unsigned draining;
	void (*done)(void *arg, int err);
	void *arg;
	unsigned count;
	struct pool_cut_member members[];
};

void pool_cut_begin(
	struct pool_commit *commit, struct store_cut *cut, void (*cut_done)(void *arg, int err), void *arg);
void pool_cut_commit(struct store_cut *cut, struct store_txn *t, void (*done)(void *arg, int err), void *arg);
void pool_cut_drop(struct store_cut *cut);

int pool_txn_disk_fork(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk **out);

int pool_txn_disk_repoint(
	struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk *disk);

void pool_cut_drained(struct pool_branch *b); /* a write of b ended */

#endif
