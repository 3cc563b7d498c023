/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reactor: one thread, one io_uring for sockets and disk, timers, and a few worker threads for what
 * may block. Everything of the array's data path (sessions, LUNs, gates, the pool's map) belongs to the
 * reactor's thread and needs no lock; other threads reach it by reactor_post() only.
 *
 * Rules:
 * - An operation's memory (struct reactor_op, buffers) belongs to the caller and stays valid and unmoved
 *   until its `done` has been called. `done` is called on the reactor's thread, never from inside the call
 *   that started the operation.
 * - No callback may block. Blocking work goes to reactor_work().
 * - Submission never fails: when the ring is full the operation waits in a queue of the reactor's.
 */
#ifndef UMBRA_REACTOR_H
#define UMBRA_REACTOR_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "array/util/list.h"

struct reactor;
struct io_uring_sqe;

struct reactor_options {
	unsigned ring_entries; /* submission queue, 0: 1024 */
	unsigned workers;      /* threads for reactor_work(), 0: 2 */
};

/* 0 or a negative errno (-ENOSYS / -EPERM: the kernel has no io_uring for us). */
int reactor_create(struct reactor **out, const struct reactor_options *options);
/* Only when nothing is under way any more (after reactor_run returned). Joins the workers. */
void reactor_destroy(struct reactor *r);
/* Runs on the calling thread until reactor_stop(); then returns 0, or a negative errno if the ring failed. */
int reactor_run(struct reactor *r);
/* One turn: submits, waits at most timeout_ms (-1: until something happens, 0: not at all), calls back.
 * For tests and for simulators. Returns the number of callbacks made or a negative errno. */
int reactor_turn(struct reactor *r, int timeout_ms);
/* From any thread or a signal handler. */
void reactor_stop(struct reactor *r);
/* CLOCK_MONOTONIC, nanoseconds, read once a turn. */
uint64_t reactor_now_ns(const struct reactor *r);
/* True on the reactor's own thread (for assertions). */
bool reactor_here(const struct reactor *r);

/* ---- ring operations ------------------------------------------------------------------------------ */

struct reactor_op {
	void (*done)(struct reactor_op *op, int result); /* result: as the system call's, negative errno */
	/* private */
	struct list_node link;
	struct {
		uint8_t opcode;
		int fd;
		uint64_t off, addr;
		uint32_t len, flags;
		struct msghdr msg;
		struct iovec iov;
	} prep;
	bool busy;
};

/* May short reads and writes happen? Yes, as with the system calls. File offsets in bytes. */
void reactor_readv(struct reactor *r, struct reactor_op *op, int fd, const struct iovec *iov, unsigned count,
	uint64_t offset);
void reactor_writev(struct reactor *r, struct reactor_op *op, int fd, const struct iovec *iov, unsigned count,
	uint64_t offset);
void reactor_fdatasync(struct reactor *r, struct reactor_op *op, int fd);
void reactor_accept(struct reactor *r, struct reactor_op *op, int fd); /* result: the new socket */
/* No descriptor or memory for another socket. To ask again at once would only burn the processor: so long is waited. */
#define REACTOR_ACCEPT_RETRY_MS 100
static inline bool reactor_accept_starved(int result)
{
	return result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM;
}
void reactor_recv(struct reactor *r, struct reactor_op *op, int fd, void *buf, size_t len, int flags);
void reactor_sendv(
	struct reactor *r, struct reactor_op *op, int fd, const struct iovec *iov, unsigned count, int flags);
/* Asks for the end of an operation under way; its `done` comes all the same (often -ECANCELED). */
void reactor_cancel(struct reactor *r, struct reactor_op *op);

/* ---- timers, deferred calls ----------------------------------------------------------------------- */

struct reactor_timer {
	void (*fire)(struct reactor_timer *t);
	/* private */
	uint64_t at_ns, serial;
	size_t heap_index; /* 0: not armed */
};

/* Arms or re-arms. `fire` may free the timer; one that is armed for "now" in a turn waits for the next. */
void reactor_timer_arm(struct reactor *r, struct reactor_timer *t, uint64_t delay_ms);
void reactor_timer_disarm(struct reactor *r, struct reactor_timer *t); /* harmless when not armed */

/* Calls back once, on the reactor's thread, after the current callbacks of this turn. */
struct reactor_deferred {
	void (*call)(struct reactor_deferred *d);
	struct list_node link; /* private; zero before first use */
};
void reactor_defer(struct reactor *r, struct reactor_deferred *d); /* again while waiting: no effect */

/* ---- other threads -------------------------------------------------------------------------------- */

/* A message to the reactor's thread; memory of the sender's, free to reuse when `call` runs. */
struct reactor_message {
	void (*call)(struct reactor_message *m);
	struct reactor_message *next; /* private */
};
void reactor_post(struct reactor *r, struct reactor_message *m); /* any thread */

/* Blocking work: `work` runs on a worker thread, then `done` on the reactor's. */
struct reactor_job {
	void (*work)(struct reactor_job *job);
	void (*done)(struct reactor_job *job);
	struct reactor_message message; /* private */
	struct reactor_job *next;       /* private */
	struct reactor *reactor;        /* private */
};
void reactor_work(struct reactor *r, struct reactor_job *job);

#endif
