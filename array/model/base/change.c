/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of the catalogue, one at a time: check, drain, transaction, end. What a check found true is still
 * true at the end. The price: a change waits for one flush of the store for each change before it.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/base/internal.h"
#include "array/util/message.h"

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

static void change_end(struct change *c, int err)
{
	struct array *a = c->array;
	struct array_call *call;

	assert(a->change_now == c);
	if (err && c->fault.err != err)
		fault_errno(&c->fault, err);
	c->ops->end(c, err);
	a->change_now = NULL;
	a->change_count--;
	call = c->call;
	struct fault fault = c->fault;
	change_free(c);
	array_call_end(call, err, &fault);
}

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
		rc = c->ops->check(c);
		if (rc)
			change_end(c, rc > 0 ? 0 : rc);
		else
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

static void change_write(struct change *c)
{
	struct array *a = c->array;
	const struct store_ops *ops = a->options.store->ops;
	struct store_txn *t;
	int err;

	if (c->ops->write) {
		c->ops->write(c);
		return;
	}
	t = ops->txn_begin(a->options.store);
	err = t ? array_meta_put(a, t) : -ENOMEM;
	if (!err)
		err = c->ops->build(c, t);
	if (!err) {
		ops->txn_commit(t, change_written, c);
		return;
	}
	if (t)
		ops->txn_drop(t);
	if (c->fault.err != err)
		array_store_fault(&c->fault, err, "the change could not be prepared");
	change_end(c, err);
	changes_run(a);
}

static void change_drain(struct change *c)
{
	if (!c->ops->drain || !c->ops->drain(c, c->drained))
		change_write(c);
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

/* The one under way is freed when the store answers; the others never began. Nobody is called back. */
void change_close_all(struct array *a)
{
	struct list_node *n;

	if (a->change_now) {
		if (list_linked(&a->change_now->drain.link)) {
			list_remove(&a->change_now->drain.link);
			change_free(a->change_now);
		} else {
			a->change_now->array = NULL;
		}
	}
	while ((n = list_pop(&a->changes)))
		change_free(container_of(n, struct change, link));
}
