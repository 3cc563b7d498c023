/* SPDX-License-Identifier: Apache-2.0 */
/* What the reactor's files share. */
#ifndef UMBRA_REACTOR_INTERNAL_H
#define UMBRA_REACTOR_INTERNAL_H

#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include "array/reactor/reactor.h"

enum {
	REACTOR_WORKERS_MAX = 64
};

struct reactor {
	struct io_uring ring;
	bool enabled, destroying;
	pthread_t thread; /* who turns, once enabled */
	uint64_t now_ns;
	struct list waiting;   /* operations that found the submission queue full */
	struct list cancelled; /* of those: cancelled before the kernel had them */
	struct list deferred;

	struct reactor_timer **timers; /* heap; [0] is unused so that index 0 means "not armed" */
	size_t timer_count, timer_capacity;
	uint64_t timer_serial; /* of the last one that was armed */

	/* other threads */
	int wake_fd;
	uint64_t wake_value;
	struct iovec wake_iov;
	struct reactor_op wake_op;
	_Atomic(struct reactor_message *) messages; /* a stack: newest first */
	atomic_bool stop;

	/* worker.c; `lock` guards what follows */
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct reactor_job *first, *last;
	bool workers_end;
	pthread_t workers[REACTOR_WORKERS_MAX];
	unsigned worker_count;
};

/* ---- timer.c ---- */
bool reactor_timer_next(const struct reactor *r, uint64_t *at_ns);
/* Fires what is due at r->now_ns; returns how many. */
int reactor_timers_run(struct reactor *r);

/* ---- worker.c ---- */
int reactor_workers_start(struct reactor *r, unsigned count);
void reactor_workers_stop(struct reactor *r); /* what is queued is still done */

#endif
