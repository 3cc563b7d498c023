/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One of two controllers of an array: waits, on a thread of its own, until it may own the array, and follows the catalogue
 * meanwhile. What it does not know is what is served in either state; that is role.c's.
 *
 * The store's module sees to it that there is one owner: it takes the array when the owner has given it back or its lease has
 * run out, and locks it out before anything is written.
 */
#ifndef UMBRA_CONTROLLER_H
#define UMBRA_CONTROLLER_H

#include "array/reactor/reactor.h"
#include "array/store/module.h"
#include "array/store/snapshot.h"
#include "array/store/wire.h"

struct controller;

#define CONTROLLER_OWNER_BYTES 80

/* As struct store_wire_user; a wire is known by the controller whose store brings it. It ends before the controller does. */
struct controller_wire {
	void (*up)(void *arg, struct controller *c, struct store_wire *w);
	void (*down)(void *arg, struct store_wire *w);
	void (*heard)(void *arg, struct store_wire *w, struct store_wire_heard *h);
};

struct controller_options {
	struct reactor *reactor;
	const struct store_module *module;
	/* its standby and its wire are not set; what it points to outlives the controller */
	struct store_module_options store;
	const struct controller_wire *wire; /* NULL: there is none; outlives the controller */
	/* All on the reactor's thread. The snapshot and the store are the called one's. */
	void (*seen)(void *arg, struct snapshot *s);          /* the catalogue says something new */
	void (*owned)(void *arg, struct store *store);        /* the last one */
	void (*failed)(void *arg, const struct fault *fault); /* it is tried again every few seconds */
	/* The store that came from `owned` has lost the array; perhaps before that call. */
	void (*lost)(void *arg, struct controller *c, const char *reason);
	/* On the controller's thread: the array was given back; is it for this one? NULL: yes. */
	bool (*may_take)(void *arg);
	void *arg;
};
/* Begins to wait. 0, -ENOMEM, -EAGAIN. */
int controller_create(const struct controller_options *options, struct controller **out);
/* Before the reactor runs: waits until there is something to be told, and tells it by the result: 0 with *store or *seen, or the
 * error for which the first try failed. */
int controller_first(struct controller *c, struct store **store, struct snapshot **seen, struct fault *fault);
/* What the last snapshot said could not be taken in: the next one comes, also if it says the same. */
void controller_repeat(struct controller *c);
/* Who owned the array when it was looked at last: a machine's name; "": it is not known. */
void controller_owner(struct controller *c, char out[CONTROLLER_OWNER_BYTES]);
/* Waits no more. done: when that is so, and a store that came just then is closed again. Not after `owned`. */
void controller_stop(struct controller *c, void (*done)(void *arg), void *arg);
/* After owned, a failed controller_first, or the end of controller_stop; and after the end of the store that it gave. NULL is
 * fine. */
void controller_destroy(struct controller *c);

#endif
