/* SPDX-License-Identifier: Apache-2.0 */
/* See fake_reactor.h. */
#include "tests/fuzz/iscsi/fake_reactor.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Timers are few: at most one a connection and one of the server's. heap_index: place + 1. */
#define TIMERS_MAX 8
static struct reactor_timer *timers[TIMERS_MAX];

void fake_reactor_init(struct reactor *r)
{
	memset(r, 0, sizeof(*r));
	memset(timers, 0, sizeof(timers));
	r->now_ns = 1;
	list_init(&r->deferred);
}

uint64_t reactor_now_ns(const struct reactor *r)
{
	return r->now_ns;
}

void reactor_timer_arm(struct reactor *r, struct reactor_timer *t, uint64_t delay_ms)
{
	t->at_ns = r->now_ns + delay_ms * 1000000;
	for (unsigned i = 0; !t->heap_index && i < TIMERS_MAX; i++) {
		if (timers[i])
			continue;
		timers[i] = t;
		t->heap_index = i + 1;
	}
	assert(t->heap_index);
}

void reactor_timer_disarm(struct reactor *r, struct reactor_timer *t)
{
	(void)r;
	if (t->heap_index)
		timers[t->heap_index - 1] = NULL;
	t->heap_index = 0;
}

void reactor_defer(struct reactor *r, struct reactor_deferred *d)
{
	if (!list_linked(&d->link))
		list_push_back(&r->deferred, &d->link);
}

static void finish(struct reactor_op **slot, int result)
{
	struct reactor_op *op = *slot;

	*slot = NULL;
	op->busy = false;
	op->done(op, result);
}

void fake_reactor_settle(struct reactor *r)
{
	struct list_node *n;

	for (;;) {
		if ((n = list_pop(&r->deferred))) {
			struct reactor_deferred *d = container_of(n, struct reactor_deferred, link);

			d->call(d);
		} else if (r->cancel_receive && r->receiving) {
			r->cancel_receive = false;
			finish(&r->receiving, -ECANCELED);
		} else if (r->cancel_send && r->sending) {
			r->cancel_send = false;
			finish(&r->sending, -ECANCELED);
		} else {
			return;
		}
	}
}

void reactor_recv(struct reactor *r, struct reactor_op *op, int fd, void *buf, size_t len, int flags)
{
	(void)fd;
	(void)flags;
	assert(!op->busy && !r->receiving && len > 0);
	op->busy = true;
	op->prep.addr = (uint64_t)(uintptr_t)buf;
	op->prep.len = (uint32_t)len;
	r->receiving = op;
	r->cancel_receive = false;
}

void reactor_sendv(
	struct reactor *r, struct reactor_op *op, int fd, const struct iovec *iov, unsigned count, int flags)
{
	size_t total = 0;
	static unsigned char seen[64];

	(void)fd;
	(void)flags;
	assert(!op->busy && !r->sending && count > 0);
	for (unsigned i = 0; i < count; i++) { /* look at every byte: is it ours to send? */
		for (size_t k = 0; k < iov[i].iov_len; k += 64)
			seen[k / 64 % 64] ^= ((unsigned char *)iov[i].iov_base)[k];
		total += iov[i].iov_len;
	}
	op->busy = true;
	op->prep.len = (uint32_t)total;
	r->sending = op;
	r->cancel_send = false;
}

void reactor_accept(struct reactor *r, struct reactor_op *op, int fd)
{
	(void)r;
	(void)op;
	(void)fd;
	abort();
}

void reactor_cancel(struct reactor *r, struct reactor_op *op)
{
	if (op == r->receiving)
		r->cancel_receive = true;
	if (op == r->sending)
		r->cancel_send = true;
}

size_t fake_reactor_feed(struct reactor *r, const uint8_t *bytes, size_t len)
{
	struct reactor_op *op = r->receiving;
	size_t n;

	if (!op)
		return 0;
	n = op->prep.len < len ? op->prep.len : len;
	if (n)
		memcpy((void *)(uintptr_t)op->prep.addr, bytes, n);
	finish(&r->receiving, (int)n);
	return n;
}

void fake_reactor_sent(struct reactor *r, bool part)
{
	if (!r->sending)
		return;
	finish(&r->sending, part && r->sending->prep.len > 1 ? (int)(r->sending->prep.len / 2)
							     : (int)r->sending->prep.len);
}

void fake_reactor_advance(struct reactor *r, uint64_t ms)
{
	r->now_ns += ms * 1000000;
	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		struct reactor_timer *t = timers[i];

		if (!t || t->at_ns > r->now_ns)
			continue;
		reactor_timer_disarm(r, t);
		t->fire(t);
		fake_reactor_settle(r);
	}
}
