/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine for the pool in memory: files with a volatile cache, one seeded order of events, injected errors,
 * power loss. LMDB is the real one, in a temporary directory; its commits pass through here (a commit is
 * atomic, so it happened before the power loss or it did not).
 *
 * What survives a power loss: what was synced, and of everything else any mixture in sectors of 512 bytes.
 */
#ifndef UMBRA_TESTS_STORE_SIM_H
#define UMBRA_TESTS_STORE_SIM_H

#include "array/store/pool/pool.h"

struct sim {
	uint64_t rng;
	struct list files;
	char dir[64];  /* of the test */
	char meta[80]; /* LMDB's */
	char mirror_meta[80];
	/* the running machine */
	struct list ops, jobs, jobs_done, calls, timers;
	struct list slow_ops; /* reads and writes of data that take longer than much that follows them */
	unsigned slow;        /* one in so many; 0: none */
	uint64_t now_ms;
	bool power_off;
	/* counters of steps that change something durable; power goes off, or an error comes, at one of them
	 */
	uint64_t steps, off_at, fail_at; /* 0: never */
	bool fail_forever;               /* every step from fail_at on */
	int fail_err;                    /* negative errno; 0: -EIO */
	uint64_t fail_ms;                /* every step for so long from fail_at on; 0: that one */
	uint64_t failing_until;
	const char *fail_only;          /* of files with this in their name; NULL: any */
	char failed[48];                /* the first step or read that failed: "sync data.0", "commit meta" */
	bool failed_durable;            /* a sync of data, or the stamp on it */
	uint64_t preads, fail_pread_at; /* while the pool is opened */
	uint64_t reads, fail_read_at;
	uint64_t marks, fail_mark_at; /* writes of the log's mark, which are no steps */
	bool no_checksums;            /* sim_create */
	bool whole;                   /* the same: chunks are not split, as in pools of before */
	bool direct;                  /* files demand alignment like O_DIRECT */
	bool mirror_fails;            /* every step in the directory `mirror` */
	uint64_t fs_bytes;            /* room of the "file system", 0: any */
	uint64_t events;
	uint64_t event_ns; /* how long one takes, by the clock that the pool asks for running time */
	unsigned discards;
	unsigned no_memory; /* so many commits of LMDB fail for want of memory */
};

void sim_init(struct sim *s, uint64_t seed);
void sim_destroy(struct sim *s);
uint64_t sim_random(struct sim *s);
uint64_t sim_below(struct sim *s, uint64_t n);
/* A new host on the same files (the pool frees it). */
struct pool_host *sim_host(struct sim *s);
/* One in the directory `mirror`: all of its files but the data, which is the pool's own. */
struct pool_host *sim_mirror_host(struct sim *s);
/* A lost mirror of the pool's is tried again by itself. */
void sim_mirror_reopens(struct sim *s, struct pool *p);
/* One event. False: nothing is left to happen (timers count only when `timers`). */
bool sim_step(struct sim *s, bool timers);
/* The files as the power loss leaves them; sim_step then only fails what is under way. Done by itself when
 * off_at is reached. */
void sim_power_off(struct sim *s);
/* What was written is on the disk, synced or not: as a process that is killed leaves it, before sim_power_off. */
void sim_keep(struct sim *s);
/* Ready for the next start: counters and faults are cleared. */
void sim_power_on(struct sim *s);
/* A file of a machine that stands still becomes shorter; sim_uncut: gets back what it had there. */
void sim_cut(struct sim *s, const char *name, uint64_t bytes);
void sim_uncut(struct sim *s, const char *name);
/* One bit of a file of a machine that stands still is another one. */
void sim_flip(struct sim *s, const char *name, uint64_t bit);
/* A file's content, to be freed; and to be put back, whatever came to be there. */
uint8_t *sim_take(struct sim *s, const char *name, uint64_t *bytes);
void sim_put(struct sim *s, const char *name, const uint8_t *content, uint64_t bytes);
/* A pool with the given room; asserts. */
void sim_create(struct sim *s, uint64_t capacity_bytes, uint64_t log_bytes);

#endif
