/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of the catalogue, one at a time: check, drain, transaction, end. What a check found true is still
 * true at the end. The price: a change waits for one flush of the store for each change before it.
 *
 * Where the store is a cluster, part of which may not answer, that price would have no bound. There a change that makes disks, or cuts one,
 * has two turns: check; without a turn, the wait, and what its disks need is made ready; check again, transaction, end. One that only
 * waits for a LUN's I/O keeps its turn, so that nothing has to be checked again, and fails when that does not end.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/base/internal.h"
#include "array/util/message.h"

#define PREPARED_MOST      16u    /* at a time: each has threads of the store's */
#define DRAIN_MS           10000u /* for I/O of LUNs that may hang, with the turn */
#define DRAIN_AGAIN_MS     1000u  /* where another change has waited for that in vain ... */
#define DRAIN_AGAIN_FOR_NS (UINT64_C(60) * 1000000000) /* ... so lately */
#define DRAIN_AWAY_MS      120000u                     /* without a turn */

static void change_drain(struct change *c);

void array_call_end(struct array_call *call, int err, const struct fault *fault)
{
	if (!call)
		return;
	memset(&call->fault, 0, sizeof(call->fault));
	if (err && fault && fault->err == err)
		call->fault = *fault;
	else if (err)
		fault_errno(&call->fault, err);
	call->done(call);
}

void array_call_refuse(struct array_call *call, int err, const char *format, ...)
{
	struct fault f = {.err = err, .message = message_of(format)};
	va_list args;

	va_start(args, format);
	vsnprintf(f.text, sizeof(f.text), format, args);
	va_end(args);
	array_call_end(call, err, &f);
}

int array_store_fault(struct fault *f, int err, const char *what)
{
	struct fault store;

	fault_errno(&store, err);
	fault_set(f, err, "%s: %s", what, store.text);
	if (f)
		f->message = store.message;
	return err;
}

void *change_new(struct array *a, size_t size, const struct change_ops *ops, struct array_call *call)
{
	struct change *c;

	if (call) {
		call->lun = NULL;
		call->host = NULL;
		call->number = 0;
		call->window_ns = call->durable_ns = 0;
		call->note[0] = 0;
	}
	if (a->options.standby) {
		array_call_refuse(call, -ESHUTDOWN,
			"this controller stands by, and another one owns the array: ask that one (umbractl status names it)");
		return NULL;
	}
	if (a->change_count >= ARRAY_CHANGES_MAX) {
		array_call_refuse(call, -EBUSY, "too many changes are waiting; try again");
		return NULL;
	}
	c = calloc(1, size);
	if (!c) {
		array_call_refuse(call, -ENOMEM, FAULT_NO_MEMORY);
		return NULL;
	}
	c->ops = ops;
	c->array = a;
	c->call = call;
	return c;
}

static void change_free(struct change *c)
{
	if (c->ops->clear)
		c->ops->clear(c);
	free(c);
}

/* Of a transaction that was prepared, or is being. */
static void change_txn_drop(struct change *c)
{
	if (c->txn)
		c->array->options.store->ops->txn_drop(c->txn);
	c->txn = NULL;
}

static void change_end(struct change *c, int err)
{
	struct array *a = c->array;
	struct array_call *call;

	assert(a->change_now == c || c->away);
	reactor_timer_disarm(a->options.reactor, &c->patience);
	if (err && c->fault.err != err)
		fault_errno(&c->fault, err);
	change_txn_drop(c);
	c->ops->end(c, err);
	if (c->away)
		list_remove(&c->link);
	else
		a->change_now = NULL;
	a->change_count--;
	call = c->call;
	struct fault fault = c->fault;
	change_free(c);
	array_call_end(call, err, &fault);
}

bool array_store_may_hang(const struct array *a)
{
	return a->options.store->ops->txn_prepare != NULL;
}

static void change_write(struct change *c);

static void changes_run(struct array *a)
{
	struct list_node *n;

	if (a->changes_running)
		return;
	a->changes_running = true;
	while (!a->change_now && (n = list_pop(&a->changes))) {
		struct change *c = container_of(n, struct change, link);
		int rc;

		a->change_now = c;
		rc = c->back ? c->ops->again(c) : c->ops->check(c);
		if (rc) {
			change_end(c, rc > 0 ? 0 : rc);
			continue;
		}
		if (c->back) {
			change_write(c);
			continue;
		}
		if (c->ops->again && array_store_may_hang(a)) {
			a->change_now = NULL;
			c->away = true;
			list_push_back(&a->changes_away, &c->link);
		}
		change_drain(c);
	}
	a->changes_running = false;
}

void change_written(void *arg, int err)
{
	struct change *c = arg;
	struct array *a = c->array;

	if (!a) {
		change_free(c);
		return;
	}
	if (err)
		array_store_fault(&c->fault, err, "the change could not be made durable");
	else
		a->meta_durable = true;
	change_end(c, err);
	changes_run(a);
}

static void change_failed(struct change *c, int err)
{
	struct array *a = c->array;

	if (c->fault.err != err)
		array_store_fault(&c->fault, err, "the change could not be prepared");
	change_end(c, err);
	changes_run(a);
}

static void change_write(struct change *c)
{
	struct array *a = c->array;
	const struct store_ops *ops = a->options.store->ops;
	struct store_txn *t = c->txn;
	int err = 0;

	if (c->ops->write) {
		c->in_store = true;
		c->ops->write(c);
		return;
	}
	if (!t) {
		c->txn = t = ops->txn_begin(a->options.store);
		err = t ? 0 : -ENOMEM;
		if (!err && c->ops->prepare)
			err = c->ops->prepare(c, t);
	}
	if (!err)
		err = array_meta_put(a, t);
	if (!err)
		err = c->ops->build(c, t);
	if (err) {
		change_failed(c, err);
		return;
	}
	c->txn = NULL;
	c->in_store = true;
	ops->txn_commit(t, change_written, c);
}

/* ---- between two turns ---- */

void change_ready(void *arg, int err)
{
	struct change *c = arg;
	struct array *a = c->array;

	if (!a) {
		change_free(c);
		return;
	}
	assert(c->away);
	c->in_store = false;
	if (err) {
		change_failed(c, err);
		return;
	}
	list_remove(&c->link);
	c->away = false;
	c->back = true;
	list_push_front(&a->changes, &c->link);
	changes_run(a);
}

static void change_prepare(struct change *c);

static void changes_held_run(struct array *a)
{
	struct list_node *n;

	if (a->changes_held_running)
		return;
	a->changes_held_running = true;
	while (a->changes_prepared < PREPARED_MOST && (n = list_pop(&a->changes_held))) {
		list_push_back(&a->changes_away, n);
		change_prepare(container_of(n, struct change, link));
	}
	a->changes_held_running = false;
}

static void prepared(void *arg, int err)
{
	struct change *c = arg;
	struct array *a = c->array;

	if (err)
		c->txn = NULL;
	a->changes_prepared--;
	change_ready(c, err);
	changes_held_run(a);
}

static void change_prepare(struct change *c)
{
	struct array *a = c->array;
	const struct store_ops *ops = a->options.store->ops;
	int err;

	if (a->changes_prepared >= PREPARED_MOST) {
		list_remove(&c->link);
		list_push_back(&a->changes_held, &c->link);
		return;
	}
	c->txn = ops->txn_begin(a->options.store);
	err = c->txn ? c->ops->prepare(c, c->txn) : -ENOMEM;
	if (err) {
		change_failed(c, err);
		return;
	}
	a->changes_prepared++;
	ops->txn_prepare(c->txn, NULL, prepared, c);
}

/* ---- what a change waits for ---- */

static void drain_expires(struct reactor_timer *timer)
{
	struct change *c = container_of(timer, struct change, patience);
	struct array *a = c->array;

	a->drain_failed_ns = reactor_now_ns(a->options.reactor);
	list_remove(&c->drain.link);
	fault_set(&c->fault, -ETIME,
		"I/O of LUN %s has been under way for too long, and nothing has changed: look at the cluster (ceph -s), and try again when it answers",
		c->draining_name);
	change_end(c, -ETIME);
	changes_run(a);
}

static void patience_begins(struct change *c)
{
	struct array *a = c->array;
	unsigned ms = c->away ? DRAIN_AWAY_MS : DRAIN_MS;

	if (!array_store_may_hang(a) || c->patience.heap_index)
		return;
	if (!c->away && a->drain_failed_ns &&
		reactor_now_ns(a->options.reactor) - a->drain_failed_ns < DRAIN_AGAIN_FOR_NS)
		ms = DRAIN_AGAIN_MS;
	c->patience.fire = drain_expires;
	reactor_timer_arm(a->options.reactor, &c->patience, ms);
}

static void change_drain(struct change *c)
{
	/* From inside it may end, and the change with it: the time is over, then. */
	if (c->ops->drain)
		patience_begins(c);
	if (c->ops->drain && c->ops->drain(c, c->drained))
		return;
	reactor_timer_disarm(c->array->options.reactor, &c->patience);
	if (!c->away)
		change_write(c);
	else if (c->ops->ahead) {
		c->in_store = true;
		c->ops->ahead(c);
	} else if (c->ops->prepare)
		change_prepare(c);
	else
		change_ready(c, 0);
}

void change_drained(struct change *c)
{
	c->drained++;
	change_drain(c);
}

void change_submit(struct change *c)
{
	struct array *a = c->array;

	a->change_count++;
	list_push_back(&a->changes, &c->link);
	changes_run(a);
}

/* It has not begun, waits, or is freed when the store answers. */
static void change_orphan(struct change *c)
{
	reactor_timer_disarm(c->array->options.reactor, &c->patience);
	list_remove(&c->drain.link);
	change_txn_drop(c);
	if (c->in_store)
		c->array = NULL;
	else
		change_free(c);
}

/* Nobody is called back. */
void change_close_all(struct array *a)
{
	struct list_node *n;

	if (a->change_now)
		change_orphan(a->change_now);
	while ((n = list_pop(&a->changes_away)) || (n = list_pop(&a->changes_held)) ||
		(n = list_pop(&a->changes)))
		change_orphan(container_of(n, struct change, link));
}
