/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See controller.h. The thread leaves what it has found under the lock and posts a message; the reactor takes it from there. Of
 * several states of the catalogue only the newest is taken. The end of the thread is a message of its own, the last one: whatever
 * the module has posted from inside open, the end of a wire for one, comes before it, and so before the controller's.
 */
#include "array/controller.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RETRY_S 3

struct controller {
	struct controller_options options;
	struct store_standby standby;
	struct store_module_options store; /* as the module gets them */
	struct store_wire_user wire;
	pthread_t thread;
	bool joined;
	struct reactor_message message, over;
	/* the thread's */
	struct snapshot *building;
	int building_err;
	uint64_t told; /* digest of the last one that was told */
	bool any;
	atomic_bool repeat; /* the next one is told, whatever it says */
	/* under the lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop, posted;
	char owner[CONTROLLER_OWNER_BYTES], notice[400];
	enum store_notice notice_level;
	struct snapshot *seen;
	struct store *found;
	struct fault fault; /* err 0: none */
	/* the reactor's */
	void (*stopped)(void *arg);
	void *stopped_arg;
};

static _Thread_local bool on_the_thread;

/* Under the lock: there is something new. */
static void tell(struct controller *c)
{
	pthread_cond_broadcast(&c->changed);
	if (c->posted)
		return;
	c->posted = true;
	reactor_post(c->options.reactor, &c->message);
}

/* ---- inside open, on the thread ---- */

static bool waits(void *arg, const char *owner)
{
	struct controller *c = arg;
	bool on;

	pthread_mutex_lock(&c->lock);
	snprintf(c->owner, sizeof(c->owner), "%s", owner);
	on = !c->stop;
	pthread_mutex_unlock(&c->lock);
	return on;
}

static bool may_take(void *arg)
{
	struct controller *c = arg;
	bool on;

	pthread_mutex_lock(&c->lock);
	on = !c->stop;
	pthread_mutex_unlock(&c->lock);
	return on && (!c->options.may_take || c->options.may_take(c->options.arg));
}

static void begin(void *arg)
{
	struct controller *c = arg;

	c->building = snapshot_new(c->options.reactor);
	c->building_err = c->building ? 0 : -ENOMEM;
}

static int record(
	void *arg, unsigned table, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct controller *c = arg;

	if (!c->building_err)
		c->building_err =
			snapshot_record(c->building, (enum store_table)table, key, key_len, value, value_len);
	return c->building_err;
}

static int disk(void *arg, uint64_t id, uint64_t size_bytes, uint64_t data)
{
	struct controller *c = arg;

	if (!c->building_err)
		c->building_err = snapshot_disk(c->building, id, size_bytes, data);
	return c->building_err;
}

static void end(void *arg, int err)
{
	struct controller *c = arg;
	struct snapshot *s = c->building;

	c->building = NULL;
	if (err || c->building_err ||
		(c->any && snapshot_digest(s) == c->told && !atomic_exchange(&c->repeat, false))) {
		snapshot_free(s);
		return;
	}
	c->any = true;
	c->told = snapshot_digest(s);
	pthread_mutex_lock(&c->lock);
	snapshot_free(c->seen);
	c->seen = s;
	tell(c);
	pthread_mutex_unlock(&c->lock);
}

/* What the module says inside open is kept for the reactor's thread. */
static void notice(void *arg, enum store_notice level, const char *text)
{
	struct controller *c = arg;

	if (!on_the_thread) {
		if (c->options.store.notice)
			c->options.store.notice(c->options.store.notice_arg, level, text);
		return;
	}
	pthread_mutex_lock(&c->lock);
	snprintf(c->notice, sizeof(c->notice), "%s", text);
	c->notice_level = level;
	pthread_mutex_unlock(&c->lock);
}

static void fenced(void *arg, const char *reason)
{
	struct controller *c = arg;

	c->options.lost(c->options.arg, c, reason);
}

/* ---- the wire, on the reactor's thread ---- */

static void wire_up(void *arg, struct store_wire *w)
{
	struct controller *c = arg;

	c->options.wire->up(c->options.arg, c, w);
}

static void wire_down(void *arg, struct store_wire *w)
{
	struct controller *c = arg;

	c->options.wire->down(c->options.arg, w);
}

static void wire_heard(void *arg, struct store_wire *w, struct store_wire_heard *h)
{
	struct controller *c = arg;

	c->options.wire->heard(c->options.arg, w, h);
}

/* ---- the thread ---- */

/* Under the lock. */
static void pause_a_while(struct controller *c)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += RETRY_S;
	while (!c->stop && pthread_cond_timedwait(&c->changed, &c->lock, &until) == 0)
		;
}

static void *run(void *arg)
{
	struct controller *c = arg;

	on_the_thread = true;
	pthread_mutex_lock(&c->lock);
	while (!c->stop && !c->found) {
		struct store *store = NULL;
		struct fault fault = {0};
		int err;

		pthread_mutex_unlock(&c->lock);
		err = c->options.module->open(&c->store, c->options.reactor, &store, &fault);
		pthread_mutex_lock(&c->lock);
		c->found = err ? NULL : store;
		if (!err || c->stop)
			break;
		if (!fault.err)
			fault_errno(&fault, err);
		c->fault = fault;
		tell(c);
		pause_a_while(c);
	}
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	reactor_post(c->options.reactor, &c->over);
	return NULL;
}

/* ---- on the reactor's thread ---- */

static void join(struct controller *c)
{
	if (!c->joined)
		pthread_join(c->thread, NULL);
	c->joined = true;
}

static void closed(void *arg, int err)
{
	struct controller *c = arg;

	(void)err;
	c->stopped(c->stopped_arg);
}

struct news {
	struct snapshot *seen;
	struct fault fault;
	char notice[400];
	enum store_notice notice_level;
};

/* Under the lock. */
static void take(struct controller *c, struct news *n)
{
	n->seen = c->seen;
	n->fault = c->fault;
	memcpy(n->notice, c->notice, sizeof(n->notice));
	n->notice_level = c->notice_level;
	c->seen = NULL;
	c->fault.err = 0;
	c->notice[0] = 0;
}

static void arrived(struct reactor_message *m)
{
	struct controller *c = container_of(m, struct controller, message);
	struct news n;
	bool found;

	pthread_mutex_lock(&c->lock);
	c->posted = false;
	take(c, &n);
	found = c->found;
	pthread_mutex_unlock(&c->lock);
	if (c->stopped) {
		snapshot_free(n.seen);
		return;
	}
	if (n.notice[0] && c->options.store.notice)
		c->options.store.notice(c->options.store.notice_arg, n.notice_level, n.notice);
	if (n.fault.err)
		c->options.failed(c->options.arg, &n.fault);
	if (found) /* what it says is of before */
		snapshot_free(n.seen);
	else if (n.seen)
		c->options.seen(c->options.arg, n.seen);
}

/* The thread's last word. */
static void over(struct reactor_message *m)
{
	struct controller *c = container_of(m, struct controller, over);
	struct store *found;

	join(c);
	found = c->found;
	c->found = NULL;
	if (!c->stopped) {
		if (found) /* else controller_first had it */
			c->options.owned(c->options.arg, found);
	} else if (found) {
		found->ops->close(found, closed, c);
	} else {
		c->stopped(c->stopped_arg);
	}
}

int controller_first(struct controller *c, struct store **store, struct snapshot **seen, struct fault *fault)
{
	struct news n;

	pthread_mutex_lock(&c->lock);
	while (!c->seen && !c->found && !c->fault.err)
		pthread_cond_wait(&c->changed, &c->lock);
	take(c, &n);
	*store = c->found;
	c->found = NULL;
	if (n.fault.err)
		c->stop = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	if (*store || n.fault.err)
		join(c);
	if (n.notice[0] && c->options.store.notice)
		c->options.store.notice(c->options.store.notice_arg, n.notice_level, n.notice);
	if (*store || n.fault.err) {
		snapshot_free(n.seen);
		n.seen = NULL;
	}
	*seen = n.seen;
	if (n.fault.err)
		*fault = n.fault;
	return n.fault.err;
}

void controller_repeat(struct controller *c)
{
	atomic_store(&c->repeat, true);
}

void controller_owner(struct controller *c, char out[CONTROLLER_OWNER_BYTES])
{
	pthread_mutex_lock(&c->lock);
	memcpy(out, c->owner, sizeof(c->owner));
	pthread_mutex_unlock(&c->lock);
}

int controller_create(const struct controller_options *options, struct controller **out)
{
	struct controller *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;
	sigset_t all, before;
	int err;

	if (!c)
		return -ENOMEM;
	c->options = *options;
	c->standby = (struct store_standby){.arg = c,
		.waits = waits,
		.begin = begin,
		.record = record,
		.disk = disk,
		.end = end,
		.may_take = may_take};
	c->store = options->store;
	c->store.notice = notice;
	c->store.fenced = fenced;
	c->store.notice_arg = c;
	c->store.standby = &c->standby;
	if (options->wire) {
		c->wire = (struct store_wire_user){
			.arg = c, .up = wire_up, .down = wire_down, .heard = wire_heard};
		c->store.wire = &c->wire;
	}
	c->message.call = arrived;
	c->over.call = over;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&c->thread, NULL, run, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		c->joined = true;
		controller_destroy(c);
		return -err;
	}
	*out = c;
	return 0;
}

void controller_stop(struct controller *c, void (*done)(void *arg), void *arg)
{
	c->stopped = done;
	c->stopped_arg = arg;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

void controller_destroy(struct controller *c)
{
	if (!c)
		return;
	join(c);
	snapshot_free(c->seen);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c);
}
