/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool on the simulated machine beside a trivial model of it: per disk and sector the values that may be
 * there (tags.h).
 */
#ifndef UMBRA_TESTS_STORE_WORLD_H
#define UMBRA_TESTS_STORE_WORLD_H

#include "tests/unit/store/sim.h"
#include "tests/unit/store/tags.h"

#define WORLD_DISKS   12u
#define CHUNK_SECTORS 128u

struct sector {
	struct tag *tags;
	unsigned count, room;
	bool busy;       /* an I/O is under way on it */
	unsigned cloned; /* clones under way that it is the source of */
};

struct model {
	uint64_t disk_id; /* 0: slot free */
	struct store_disk *disk;
	uint64_t sectors;
	struct sector *s;
	unsigned inflight;
	bool held;  /* gate closed: nothing new is submitted */
	bool maybe; /* created or deleted in a transaction that is under way */
	uint64_t parent;
	/* a repoint that may have come to be: a crash decides */
	struct sector *next_s;
	uint64_t next_sectors, version, next_version;
	uint64_t resizing; /* a size that may have come to be; 0: none */
	struct world_hydration *hydration;
	bool alone; /* shares nothing, durably */
};

struct world {
	struct sim sim;
	struct store *store;
	struct model disk[WORLD_DISKS];
	uint64_t next_tag, completions;
	struct list reads; /* under way */
	uint64_t max_sectors;
	unsigned inflight;
	bool no_memory;      /* is an answer */
	uint64_t acked_sets; /* ids < are known */
	uint64_t map_memory;
	unsigned packs; /* world_open: chunks that are read are packed from so many requests on; 0: as ever */
	bool mirrored, log_mirrored; /* world_open: the pool has a mirror, with its log */
	bool from_mirror;          /* world_open: the pool's directory is lost, the mirror is in its place */
	unsigned notices, damaged; /* blocks that the pool told of */
	struct pool_damage damage; /* the last one */
	uint64_t next_set, next_version;
	unsigned enospc, eio, erofs, busy;
	unsigned hydrated, hydrations;
	uint64_t cloned, shared; /* sectors */
};

void world_init(struct world *w, uint64_t seed, uint64_t capacity_bytes, uint64_t log_bytes);
/* The same, whatever the seed: a pool whose chunks are not split; one in which they are. */
void world_init_whole(struct world *w, uint64_t seed, uint64_t capacity_bytes, uint64_t log_bytes);
void world_init_split(struct world *w, uint64_t seed, uint64_t capacity_bytes, uint64_t log_bytes);
/* A pool without checksums. */
void world_init_plain(struct world *w, uint64_t seed, uint64_t capacity_bytes, uint64_t log_bytes);
void world_destroy(struct world *w); /* the pool is closed */
int world_open(struct world *w);     /* also finds the model's disks again */
int world_close(struct world *w);
/* Runs events until nothing of ours is under way. */
void world_drain(struct world *w);
void world_idle(struct world *w); /* until nothing happens any more, timers included (at most some hundred) */

/* One random operation is started; false: none could be. */
bool world_random_op(struct world *w);
struct model *world_create_disk(struct world *w, uint64_t sectors); /* waits; NULL: failed */
int world_delete_disk(struct world *w, struct model *m);            /* waits */
int world_write(
	struct world *w, struct model *m, uint64_t sector, uint64_t count, unsigned flags); /* waits */
int world_unmap(struct world *w, struct model *m, uint64_t sector, uint64_t count);         /* waits */
void world_start_read(struct world *w, struct model *m, uint64_t sector, uint64_t count);
void world_pack(struct world *w, struct model *m, uint64_t chunk, uint64_t end); /* asks for it */
/* Waits; *shared: bytes. */
int world_clone(struct world *w, struct model *m, uint64_t sector, uint64_t count, struct model *from,
	uint64_t from_sector, uint64_t *shared);
/* WRITE, UNMAP or COMPARE AND WRITE; started only. False: something of the range is busy. */
bool world_start(struct world *w, struct model *m, enum store_io_op op, uint64_t sector, uint64_t count);
/* Started only; each must be waited for. */
struct world_io *world_start_write(struct world *w, struct model *m, uint64_t sector, uint64_t count);
/* A COMPARE AND WRITE that finds what it expects. */
struct world_io *world_start_compare(struct world *w, struct model *m, uint64_t sector, uint64_t count);
struct world_io *world_start_compare_fua(struct world *w, struct model *m, uint64_t sector, uint64_t count);
struct world_io *world_start_clone(struct world *w, struct model *m, uint64_t sector, uint64_t count,
	struct model *from, uint64_t from_sector);
int world_wait(struct world *w, struct world_io *x);
int world_flush(struct world *w, struct model *m);
/* Cut through the disks in `set` and forks of them, with a catalogue record. Starts only. */
struct world_cut *world_cut_start(struct world *w, struct model *const *set, unsigned count, bool drop);
int world_cut(struct world *w, struct model *const *set, unsigned count); /* and waits */
/* The disk `to` takes the content of `from` as a cut finds it. Starts only; false: the pool is read-only. */
bool world_repoint_start(struct world *w, struct model *from, struct model *to);
int world_repoint(struct world *w, struct model *from, struct model *to); /* and waits */
int world_resize(struct world *w, struct model *m, uint64_t sectors);     /* waits; 0 or an error */
/* Hydration in the background; nothing if the disk has one. What follows ends it where it must not be. */
void world_hydrate_start(struct world *w, struct model *m, uint64_t bytes_per_s);
void world_hydrate_cancel(struct world *w, struct model *m); /* waits */
int world_hydrate(struct world *w, struct model *m);         /* start and wait */
uint64_t world_passed(const struct model *m);                /* of its hydration */
void world_hydrate_rate(struct model *m, uint64_t bytes_per_s);
/* Reads everything and compares; asserts. `crashed`: any value of the list will do, and becomes the only one.
 */
void world_verify(struct world *w, bool crashed);
void world_crash(
	struct world *w); /* power loss now (or already), drains, reopens, verifies against the model */
unsigned world_check(struct world *w, bool repair); /* pool_check on the closed pool: findings */
uint64_t test_seed(void);
struct pool *world_pool(struct world *w);

/* ---- what tests begin and end with, and look at (world_steps.c): a test fails where it goes wrong */
unsigned test_runs(unsigned normal); /* how often a random test runs: UMBRA_TEST_RUNS says otherwise */
void test_seeds(unsigned normal, void (*run)(uint64_t seed)); /* so often, each with the next seed */
void world_begin(struct world *w, uint64_t seed, uint64_t capacity_bytes); /* a small log; opened */
void world_begin_whole(struct world *w, uint64_t seed, uint64_t capacity_bytes);
void world_begin_split(struct world *w, uint64_t seed, uint64_t capacity_bytes);
void world_end(struct world *w); /* closes; a check finds nothing; destroys */
void world_verify_end(struct world *w);
bool world_dead(struct world *w); /* the power has gone, or the pool is read-only */
/* The power goes, if it has not: a check finds nothing, and after the next start what was promised is there. */
void world_recover(struct world *w);
void world_settle(struct world *w); /* world_drain, world_idle */
/* Takes the reads or writes of data that are under way, when there are any; and gives them back. */
void world_hold(struct world *w, enum pool_op_kind kind, struct list *held);
void world_release(struct world *w, struct list *held);
void world_ended(void *arg, int err);                       /* a cut, a commit: the int is 1 or the error */
struct model *world_any_disk(struct world *w);              /* a random one; NULL: there is none */
struct model *world_fork(struct world *w, struct model *m); /* cuts it alone: the copy */
uint64_t world_used_chunks(struct world *w);
uint64_t world_used_blocks(struct world *w);                 /* without what is free in split chunks */
uint64_t world_used(struct world *w);                        /* chunks, when nothing goes on any more */
void world_release_jobs(struct world *w, struct list *held); /* taken from the simulator before */
/* The metadata of a closed pool, to be damaged. */
struct world_edit {
	struct pool_host *host;
	struct pool_meta meta;
	MDB_txn *txn;
};
void world_edit_begin(struct world *w, struct world_edit *e);
void world_edit_end(struct world_edit *e);

/* ---- an I/O that the model knows nothing of */
struct world_raw {
	struct store_io io;
	struct iovec iov;
	bool done;
	int err;
};
void world_raw_start(struct world_raw *r, struct store_disk *disk, enum store_io_op op, uint64_t offset,
	void *buf, uint32_t len);
int world_raw_wait(struct world *w, struct world_raw *r); /* how it ended */
int world_raw(struct world *w, struct store_disk *disk, enum store_io_op op, uint64_t offset, void *buf,
	uint32_t len); /* both */

/* ---- what the parts of the world share */
#define trace(format, ...)                                                                                   \
	do {                                                                                                 \
		if (getenv("UMBRA_TEST_VERBOSE"))                                                            \
			fprintf(stderr, format "\n", __VA_ARGS__);                                           \
	} while (0)
struct world_wait {
	bool done;
	int err;
};
void world_txn_done(void *arg, int err); /* of a struct world_wait */
int world_txn_wait(struct world *w, struct world_wait *t);
void world_model_init(struct model *m, uint64_t sectors);
void world_model_free(struct model *m);
void world_model_grow(struct model *m, uint64_t sectors);    /* with zeros */
struct sector *world_sectors_copy(const struct model *from); /* what a copy of the disk may hold */
void world_sectors_free(struct sector *s, uint64_t count);
void world_put_name(struct world *w, struct store_txn *t, uint64_t id, uint64_t sectors, uint64_t version);

#endif
