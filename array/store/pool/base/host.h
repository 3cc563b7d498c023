/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the pool asks of the machine: files, worker threads, timers. Two hosts: host_posix.c (the reactor and
 * real files) and the tests' simulator (files in memory, power loss, injected errors, one seeded order of
 * events). The pool does no other I/O, LMDB's own excepted, whose commits pass through meta_commit.
 *
 * Rules: `done` and `call` come on the reactor's thread and never from inside the call that asked for them.
 * The functions marked "blocks" are used at open and close and on worker threads only.
 */
#ifndef UMBRA_POOL_HOST_H
#define UMBRA_POOL_HOST_H

#include <lmdb.h>
#include "array/reactor/reactor.h"
#include "array/util/fault.h"

struct pool_host;

struct pool_file {
	struct pool_host *host;
	uint32_t memory_align; /* of buffers; 1: any */
	uint32_t offset_align; /* of offsets and lengths; 1: any */
	bool fixed_size;       /* a device: never grows */
	bool no_discard;       /* set by the pool once the place says it cannot */
};

enum pool_op_kind {
	POOL_OP_READ,
	POOL_OP_WRITE,
	POOL_OP_SYNC, /* everything written and done before is durable at its end */
};

/* One asynchronous transfer; the caller's memory until `done`. */
struct pool_op {
	void (*done)(struct pool_op *op, int err); /* 0 (all of it, never less) or a negative errno */
	enum pool_op_kind kind;
	struct pool_file *file;
	struct iovec *iov; /* the host may change it */
	unsigned iov_count;
	uint64_t offset, len;
	/* the host's */
	struct reactor_op ring;
	struct list_node link;
};

/* Work for another thread. */
enum pool_queue {
	POOL_QUEUE_WORKERS,    /* map loads, growth, discards: any order */
	POOL_QUEUE_CHECKPOINT, /* one thread of its own, in order */
};

struct pool_job {
	void (*work)(struct pool_job *job); /* on the other thread */
	void (*done)(struct pool_job *job); /* on the reactor's */
	/* the host's */
	enum pool_queue queue;
	struct pool_host *host;
	struct reactor_job job;
	struct reactor_message message;
	struct list_node link;
};

/* A call after the current ones. Zero before first use. */
struct pool_call {
	void (*call)(struct pool_call *call);
	/* the host's */
	struct reactor_deferred deferred;
	struct list_node link;
};

struct pool_timer {
	void (*fire)(struct pool_timer *timer);
	/* the host's */
	struct reactor_timer timer;
	struct list_node link;
	uint64_t at;
};

#define POOL_FILE_CREATE   1u /* must not exist */
#define POOL_FILE_DSYNC    2u /* a write that is done is durable */
#define POOL_FILE_READONLY 4u
#define POOL_FILE_DIRECT   8u /* past the page cache where the place allows */
/* -EBUSY: a process that was killed still has a transfer of it under way. Without it: with DSYNC and DIRECT. */
#define POOL_FILE_HOLD 16u

struct pool_host_ops {
	/* Files, by name within the pool's directory (or an absolute path: a device). All block. */
	int (*file_open)(struct pool_host *h, const char *name, unsigned flags, struct pool_file **out);
	void (*file_close)(struct pool_file *f);
	int (*file_size)(struct pool_file *f, uint64_t *out);
	/* All of it or an errno, as the next one. */
	int (*file_pread)(struct pool_file *f, void *buf, size_t len, uint64_t offset);
	int (*file_pwrite)(struct pool_file *f, const void *buf, size_t len, uint64_t offset);
	int (*file_sync)(struct pool_file *f);
	int (*file_allocate)(struct pool_file *f, uint64_t offset, uint64_t len); /* room, reads as zeros */
	int (*file_discard)(struct pool_file *f, uint64_t offset, uint64_t len);
	/* A small file gets this content as a whole, durably: after a crash, and after a failure, the old one or the new. */
	int (*file_replace)(struct pool_host *h, const char *name, const void *buf, size_t len);
	int (*room)(struct pool_host *h, uint64_t *bytes); /* that the directory's file system has free */
	/* The directory that holds the LMDB environment `meta`. */
	const char *(*meta_path)(struct pool_host *h);
	/* mdb_txn_commit, or what a test puts in its place. Blocks. Returns 0 or a negative errno. */
	int (*meta_commit)(struct pool_host *h, MDB_txn *txn);

	void (*submit)(struct pool_host *h, struct pool_op *op);
	void (*work)(struct pool_host *h, struct pool_job *job, enum pool_queue queue);
	void (*call)(struct pool_host *h, struct pool_call *call);
	void (*timer_arm)(struct pool_host *h, struct pool_timer *timer, uint64_t delay_ms);
	void (*timer_disarm)(struct pool_host *h, struct pool_timer *timer);
	uint64_t (*now_ns)(struct pool_host *h); /* of running time; on any thread */
	/* After the last use. */
	void (*free)(struct pool_host *h);
};

struct pool_host {
	const struct pool_host_ops *ops;
	uint32_t meta_reserve_bytes; /* of a new pool: room for LMDB when the file system below is full */
};

/* The real machine. `reactor` may be NULL when only the blocking functions are used (create, check).
 * Takes the pool's lock (an OFD lock on the file `lock`) when `lock` says so: -EBUSY. `read_only`: the place need not be
 * writable, and what is done to the metadata may be done to a copy. */
int pool_host_posix(const char *path, struct reactor *reactor, bool lock, bool read_only,
	struct pool_host **out, struct fault *fault);

#endif
