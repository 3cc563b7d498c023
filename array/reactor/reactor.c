/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reactor's turn: submit what was asked for, wait for the ring, call back. See reactor.h.
 *
 * Notes on the design
 * - The ring is created disabled and enabled by the first turn, so that the thread that turns is the ring's
 *   single issuer; operations asked for before that wait in the submission queue.
 * - An operation that finds the submission queue full waits in `waiting`, in order; the next turn takes it.
 * - Other threads push messages onto an atomic stack and ring an eventfd only when the stack was empty.
 * - Timers are a binary heap (timer.c); worker threads are in worker.c.
 */
#include "array/reactor/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	RING_ENTRIES_DEFAULT = 1024,
	CQ_BATCH = 64,
};

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

/* DEFER_TASKRUN needs Linux 6.1, COOP_TASKRUN 5.19; older kernels get the plain ring. */
static int create_ring(struct reactor *r, unsigned entries)
{
	static const unsigned flag_sets[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN,
		0,
	};
	int err = -ENOSYS;

	for (size_t i = 0; i < sizeof(flag_sets) / sizeof(flag_sets[0]); i++) {
		struct io_uring_params params = {0};
		params.flags = flag_sets[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE;
		params.cq_entries = entries * 8;
		err = io_uring_queue_init_params(entries, &r->ring, &params);
		if (err != -EINVAL)
			break;
	}
	return err;
}

static void wake_done(struct reactor_op *op, int result)
{
	struct reactor *r = container_of(op, struct reactor, wake_op);

	(void)result;
	if (!r->destroying)
		reactor_readv(r, &r->wake_op, r->wake_fd, &r->wake_iov, 1, 0);
}

int reactor_create(struct reactor **out, const struct reactor_options *options)
{
	unsigned entries = options && options->ring_entries ? options->ring_entries : RING_ENTRIES_DEFAULT;
	struct reactor *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	list_init(&r->waiting);
	list_init(&r->deferred);
	list_init(&r->cancelled);
	r->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (r->wake_fd < 0) {
		err = -errno;
		goto free_reactor;
	}
	err = create_ring(r, entries);
	if (err < 0)
		goto close_wake;
	err = reactor_workers_start(r, options && options->workers ? options->workers : 2);
	if (err < 0)
		goto exit_ring;
	r->now_ns = clock_ns();
	r->wake_iov.iov_base = &r->wake_value;
	r->wake_iov.iov_len = sizeof(r->wake_value);
	r->wake_op.done = wake_done;
	reactor_readv(r, &r->wake_op, r->wake_fd, &r->wake_iov, 1, 0);
	*out = r;
	return 0;

exit_ring:
	io_uring_queue_exit(&r->ring);
close_wake:
	close(r->wake_fd);
free_reactor:
	free(r);
	return err;
}

void reactor_destroy(struct reactor *r)
{
	if (!r)
		return;
	r->destroying = true;
	reactor_workers_stop(r);
	io_uring_queue_exit(&r->ring);
	close(r->wake_fd);
	free(r->timers);
	free(r);
}

uint64_t reactor_now_ns(const struct reactor *r)
{
	return r->now_ns;
}

bool reactor_here(const struct reactor *r)
{
	return r->enabled && pthread_equal(r->thread, pthread_self());
}

/* ---- submission ------------------------------------------------------------------------------------- */

static void prepare_sqe(struct io_uring_sqe *sqe, struct reactor_op *op)
{
	io_uring_prep_rw(op->prep.opcode, sqe, op->prep.fd, NULL, op->prep.len, op->prep.off);
	sqe->addr = op->prep.addr;
	sqe->rw_flags = (int)op->prep.flags;
	io_uring_sqe_set_data(sqe, op);
}

static struct io_uring_sqe *get_sqe(struct reactor *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);

	if (!sqe && r->enabled) {
		io_uring_submit(&r->ring);
		sqe = io_uring_get_sqe(&r->ring);
	}
	return sqe;
}

static void start(struct reactor *r, struct reactor_op *op)
{
	assert(!op->busy && op->done);
	op->busy = true;
	struct io_uring_sqe *sqe = list_empty(&r->waiting) ? get_sqe(r) : NULL;
	if (sqe) {
		op->link.next = NULL;
		prepare_sqe(sqe, op);
	} else {
		list_push_back(&r->waiting, &op->link);
	}
}

static void drain_waiting(struct reactor *r)
{
	while (!list_empty(&r->waiting)) {
		struct io_uring_sqe *sqe = get_sqe(r);
		if (!sqe)
			return;
		prepare_sqe(sqe, container_of(list_pop(&r->waiting), struct reactor_op, link));
	}
}

static void set_prep(struct reactor_op *op, unsigned opcode, int fd, const void *addr, size_t len,
	uint64_t off, uint32_t flags)
{
	assert(!op->busy && len <= UINT32_MAX);
	op->prep.opcode = (uint8_t)opcode;
	op->prep.fd = fd;
	op->prep.addr = (uint64_t)(uintptr_t)addr;
	op->prep.len = (uint32_t)len;
	op->prep.off = off;
	op->prep.flags = flags;
}

void reactor_readv(struct reactor *r, struct reactor_op *op, int fd, const struct iovec *iov, unsigned count,
	uint64_t offset)
{
	if (count == 1)
		set_prep(op, IORING_OP_READ, fd, iov->iov_base, iov->iov_len, offset, 0);
	else
		set_prep(op, IORING_OP_READV, fd, iov, count, offset, 0);
	start(r, op);
}

void reactor_writev(struct reactor *r, struct reactor_op *op, int fd, const struct iovec *iov, unsigned count,
	uint64_t offset)
{
	if (count == 1)
		set_prep(op, IORING_OP_WRITE, fd, iov->iov_base, iov->iov_len, offset, 0);
	else
		set_prep(op, IORING_OP_WRITEV, fd, iov, count, offset, 0);
	start(r, op);
}

void reactor_fdatasync(struct reactor *r, struct reactor_op *op, int fd)
{
	set_prep(op, IORING_OP_FSYNC, fd, NULL, 0, 0, IORING_FSYNC_DATASYNC);
	start(r, op);
}

void reactor_accept(struct reactor *r, struct reactor_op *op, int fd)
{
	set_prep(op, IORING_OP_ACCEPT, fd, NULL, 0, 0, SOCK_CLOEXEC);
	start(r, op);
}

void reactor_recv(struct reactor *r, struct reactor_op *op, int fd, void *buf, size_t len, int flags)
{
	set_prep(op, IORING_OP_RECV, fd, buf, len, 0, (uint32_t)flags);
	start(r, op);
}

void reactor_sendv(
	struct reactor *r, struct reactor_op *op, int fd, const struct iovec *iov, unsigned count, int flags)
{
	if (count == 1) {
		set_prep(op, IORING_OP_SEND, fd, iov->iov_base, iov->iov_len, 0,
			(uint32_t)flags | MSG_NOSIGNAL);
	} else {
		memset(&op->prep.msg, 0, sizeof(op->prep.msg));
		op->prep.msg.msg_iov = (struct iovec *)(uintptr_t)iov;
		op->prep.msg.msg_iovlen = count;
		set_prep(op, IORING_OP_SENDMSG, fd, &op->prep.msg, 1, 0, (uint32_t)flags | MSG_NOSIGNAL);
	}
	start(r, op);
}

/* An operation that is not yet with the kernel ends in the next turn, from the list of cancelled ones. */
void reactor_cancel(struct reactor *r, struct reactor_op *op)
{
	if (!op->busy)
		return;
	if (list_linked(&op->link)) {
		list_remove(&op->link);
		list_push_back(&r->cancelled, &op->link);
		return;
	}
	struct io_uring_sqe *sqe = get_sqe(r);
	if (!sqe)
		return; /* asked for, not promised: `done` comes when the operation ends */
	io_uring_prep_cancel(sqe, op, 0);
	io_uring_sqe_set_data(sqe, NULL);
}

/* ---- messages, deferred calls ------------------------------------------------------------------------- */

static void ring_bell(struct reactor *r)
{
	uint64_t one = 1;
	ssize_t ignored = write(r->wake_fd, &one, sizeof(one));

	(void)ignored; /* a full counter wakes as well */
}

void reactor_post(struct reactor *r, struct reactor_message *m)
{
	struct reactor_message *top = atomic_load_explicit(&r->messages, memory_order_relaxed);

	do
		m->next = top;
	while (!atomic_compare_exchange_weak_explicit(
		&r->messages, &top, m, memory_order_release, memory_order_relaxed));
	if (!top)
		ring_bell(r);
}

void reactor_stop(struct reactor *r)
{
	atomic_store(&r->stop, true);
	ring_bell(r);
}

static int run_messages(struct reactor *r)
{
	struct reactor_message *stack = atomic_exchange_explicit(&r->messages, NULL, memory_order_acquire);
	struct reactor_message *fifo = NULL;
	int calls = 0;

	while (stack) {
		struct reactor_message *next = stack->next;
		stack->next = fifo;
		fifo = stack;
		stack = next;
	}
	while (fifo) {
		struct reactor_message *next = fifo->next;
		fifo->call(fifo);
		fifo = next;
		calls++;
	}
	return calls;
}

void reactor_defer(struct reactor *r, struct reactor_deferred *d)
{
	if (!list_linked(&d->link))
		list_push_back(&r->deferred, &d->link);
}

/* Those deferred by a deferred call wait for the next turn. */
static int run_deferred(struct reactor *r)
{
	struct list_node mark = {0};
	int calls = 0;

	if (list_empty(&r->deferred))
		return 0;
	list_push_back(&r->deferred, &mark);
	for (;;) {
		struct list_node *node = list_pop(&r->deferred);
		if (node == &mark)
			return calls;
		struct reactor_deferred *d = container_of(node, struct reactor_deferred, link);
		d->call(d);
		calls++;
	}
}

static int run_cancelled(struct reactor *r)
{
	struct list_node *node;
	int calls = 0;

	while ((node = list_pop(&r->cancelled))) {
		struct reactor_op *op = container_of(node, struct reactor_op, link);
		op->busy = false;
		op->done(op, -ECANCELED);
		calls++;
	}
	return calls;
}

/* ---- the turn ----------------------------------------------------------------------------------------- */

static int enable(struct reactor *r)
{
	/* liburing 2.3 declares io_uring_enable_rings() and does not export it */
	if (syscall(__NR_io_uring_register, r->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
		return -errno;
	r->thread = pthread_self();
	r->enabled = true;
	return 0;
}

/* -1: for ever; 0: work is waiting already */
static int64_t wait_ns(struct reactor *r, int timeout_ms)
{
	int64_t wait = timeout_ms < 0 ? -1 : (int64_t)timeout_ms * 1000000;
	uint64_t next;

	if (!list_empty(&r->deferred) || !list_empty(&r->waiting) || !list_empty(&r->cancelled) ||
		atomic_load_explicit(&r->messages, memory_order_relaxed) || io_uring_cq_ready(&r->ring))
		return 0;
	if (reactor_timer_next(r, &next)) {
		uint64_t now = clock_ns();
		int64_t until = next <= now ? 0 : (int64_t)(next - now);
		if (wait < 0 || until < wait)
			wait = until;
	}
	return wait;
}

static int submit_and_wait(struct reactor *r, int timeout_ms)
{
	int64_t wait = wait_ns(r, timeout_ms);
	struct io_uring_cqe *cqe;
	int err;

	if (wait == 0) {
		err = io_uring_submit_and_get_events(&r->ring);
	} else if (wait < 0) {
		err = io_uring_submit_and_wait(&r->ring, 1);
	} else {
		struct __kernel_timespec ts = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
		err = io_uring_submit_and_wait_timeout(&r->ring, &cqe, 1, &ts, NULL);
	}
	/* EBUSY: completions are to be taken first */
	if (err == -ETIME || err == -EINTR || err == -EBUSY || err == -EAGAIN)
		return 0;
	return err < 0 ? err : 0;
}

static int run_completions(struct reactor *r)
{
	struct io_uring_cqe *batch[CQ_BATCH];
	struct {
		struct reactor_op *op;
		int result;
	} taken[CQ_BATCH];
	int calls = 0;

	for (;;) {
		unsigned n = io_uring_peek_batch_cqe(&r->ring, batch, CQ_BATCH);
		if (!n)
			return calls;
		for (unsigned i = 0; i < n; i++) {
			taken[i].op = io_uring_cqe_get_data(batch[i]);
			taken[i].result = batch[i]->res;
		}
		io_uring_cq_advance(&r->ring, n);
		for (unsigned i = 0; i < n; i++) {
			if (!taken[i].op)
				continue;
			taken[i].op->busy = false;
			taken[i].op->done(taken[i].op, taken[i].result);
			calls++;
		}
	}
}

int reactor_turn(struct reactor *r, int timeout_ms)
{
	int err = r->enabled ? 0 : enable(r);

	if (err < 0)
		return err;
	assert(reactor_here(r));
	drain_waiting(r);
	err = submit_and_wait(r, timeout_ms);
	if (err < 0)
		return err;
	r->now_ns = clock_ns();
	int calls = run_completions(r);
	calls += run_cancelled(r);
	calls += run_messages(r);
	calls += reactor_timers_run(r);
	calls += run_deferred(r);
	return calls;
}

int reactor_run(struct reactor *r)
{
	while (!atomic_load(&r->stop)) {
		int result = reactor_turn(r, -1);
		if (result < 0)
			return result;
	}
	atomic_store(&r->stop, false);
	return 0;
}
