/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To the array's other controllers (array/store/wire.h), by RADOS' watch and notify. Who stands by listens at the catalogue, the
 * owner at an object of its own, umbra-owner.ARRAY: a question waits for all that listen, and a controller that died listens on
 * for half a minute. (An owner that died was locked out by its successor, which ends that.)
 *
 * A notification without bytes at the catalogue says that it has changed. Nobody waits for its answers; those that a
 * listener misses it makes good, for it looks whenever it begins to listen, and every few seconds besides (lease.c).
 *
 * librados calls back on threads of its own. They do three things, and never block: they answer what has no
 * bytes, they copy what has some and post it to the reactor, and they set what the lock guards. All else is the
 * reactor's thread's, and asynchronous; the end alone blocks, on a thread that may.
 */
#include "array/store/rbd/rbd.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEND_MS       1000u /* is what we listen by still there? */
#define NOTICE_GAP_MS 100u
#define NOTICE_S      1u /* so long OSDs wait for who died */
#define NOTICES_MAX   8u /* under way */
#define HEARD_MAX     128u

enum op_kind {
	OP_WATCH,
	OP_UNWATCH,
	OP_CREATE,
	OP_ASK,
	OP_NOTICE
};

struct op {
	struct rbd_wire *w;
	enum op_kind kind;
	rados_completion_t completion;
	struct reactor_message message;
	int result;
	uint64_t handle;
	rados_write_op_t write;
	struct store_wire_ask *ask;
	char *reply;
	size_t reply_len;
};

struct heard {
	struct store_wire_heard base;
	struct rbd_wire *w;
	struct reactor_message message;
	struct list_node link;
	uint64_t notify_id, handle;
	uint8_t data[];
};

static struct rbd_wire *wire_of(struct store_wire *w)
{
	return container_of(w, struct rbd_wire, base);
}

static const char *object_of(const struct rbd_wire *w, bool of_owner)
{
	return of_owner ? w->owner_object : w->s->object;
}

/* ---- operations ---------------------------------------------------------------------------------------- */

static void op_done(struct reactor_message *m);

static void completed(rados_completion_t c, void *arg)
{
	struct op *op = arg;
	struct rbd_wire *w = op->w;

	op->result = rados_aio_get_return_value(c);
	if (op->kind == OP_WATCH) {
		pthread_mutex_lock(&w->lock);
		w->listening = op->result < 0 ? RBD_DEAF : RBD_LISTENS;
		w->handle = op->handle;
		w->noticed = true; /* what there was before nobody has heard */
		pthread_cond_broadcast(&w->news);
		pthread_mutex_unlock(&w->lock);
	}
	reactor_post(w->s->base.reactor, &op->message);
	pthread_mutex_lock(&w->lock);
	w->in_flight--;
	pthread_cond_broadcast(&w->less);
	pthread_mutex_unlock(&w->lock);
}

static void op_free(struct op *op)
{
	if (op->reply)
		rados_buffer_free(op->reply);
	if (op->write)
		rados_release_write_op(op->write);
	if (op->completion)
		rados_aio_release(op->completion);
	free(op);
}

/* NULL: no memory, or nothing begins any more. */
static struct op *op_new(struct rbd_wire *w, enum op_kind kind)
{
	struct op *op = calloc(1, sizeof(*op));
	bool on;

	if (!op)
		return NULL;
	op->w = w;
	op->kind = kind;
	op->message.call = op_done;
	if (rados_aio_create_completion2(op, completed, &op->completion) < 0) {
		free(op);
		return NULL;
	}
	pthread_mutex_lock(&w->lock);
	on = !w->ended;
	w->in_flight += on;
	pthread_mutex_unlock(&w->lock);
	if (!on) {
		op_free(op);
		return NULL;
	}
	return op;
}

/* Told what librados said at the call: an operation that has not begun. */
static bool op_began(struct op *op, int err)
{
	struct rbd_wire *w = op->w;

	if (err >= 0)
		return true;
	pthread_mutex_lock(&w->lock);
	w->in_flight--;
	pthread_cond_broadcast(&w->less);
	pthread_mutex_unlock(&w->lock);
	op_free(op);
	return false;
}

/* ---- what arrives ---- */

static void hear(struct reactor_message *m)
{
	struct heard *h = container_of(m, struct heard, message);
	struct rbd_wire *w = h->w;

	list_push_back(&w->heard, &h->link);
	if (w->up)
		w->user->heard(w->user->arg, &w->base, &h->base);
	else
		w->base.ops->answer(&w->base, &h->base, NULL, 0);
}

static void heard_free(struct heard *h)
{
	struct rbd_wire *w = h->w;

	list_remove(&h->link);
	pthread_mutex_lock(&w->lock);
	w->heard_count--;
	pthread_mutex_unlock(&w->lock);
	free(h);
}

static void answer(struct store_wire *base, struct store_wire_heard *base_heard, const void *data, size_t len)
{
	struct rbd_wire *w = wire_of(base);
	struct heard *h = container_of(base_heard, struct heard, base);

	assert(len <= STORE_WIRE_MAX_BYTES);
	rados_notify_ack(
		w->s->cluster.io, object_of(w, h->base.to_owner), h->notify_id, h->handle, data, (int)len);
	heard_free(h);
}

/* False: there is no room for it. */
static bool keep(struct rbd_wire *w, uint64_t notify_id, uint64_t handle, const void *data, size_t len)
{
	struct heard *h = len <= STORE_WIRE_MAX_BYTES ? malloc(sizeof(*h) + len) : NULL;
	bool room = false;

	if (!h)
		return false;
	memset(h, 0, sizeof(*h));
	memcpy(h->data, data, len);
	h->base = (struct store_wire_heard){.data = h->data, .len = len};
	h->w = w;
	h->message.call = hear;
	h->notify_id = notify_id;
	h->handle = handle;
	pthread_mutex_lock(&w->lock);
	if (!w->ended && w->heard_count < HEARD_MAX) {
		room = true;
		w->heard_count++;
		h->base.to_owner = w->listens_own;
	}
	pthread_mutex_unlock(&w->lock);
	if (room)
		reactor_post(w->s->base.reactor, &h->message);
	else
		free(h);
	return room;
}

static void notified(
	void *arg, uint64_t notify_id, uint64_t handle, uint64_t notifier, void *data, size_t len)
{
	struct rbd_wire *w = arg;
	bool at_owner;

	(void)notifier;
	if (len == 0)
		rbd_wire_news(w->s);
	else if (keep(w, notify_id, handle, data, len))
		return;
	pthread_mutex_lock(&w->lock);
	at_owner = w->listens_own;
	pthread_mutex_unlock(&w->lock);
	rados_notify_ack(w->s->cluster.io, object_of(w, at_owner), notify_id, handle, NULL, 0);
}

static void tend_soon(struct rbd_wire *w)
{
	bool no = false;

	if (atomic_compare_exchange_strong(&w->tending, &no, true))
		reactor_post(w->s->base.reactor, &w->tend_now);
}

static void unheard(void *arg, uint64_t handle, int err)
{
	struct rbd_wire *w = arg;
	bool tell;

	(void)err;
	pthread_mutex_lock(&w->lock);
	if (w->listening == RBD_LISTENS && w->handle == handle)
		w->lost = true;
	tell = !w->ended;
	pthread_mutex_unlock(&w->lock);
	if (tell)
		tend_soon(w);
}

/* ---- listening ----------------------------------------------------------------------------------------- */

static void leave(struct rbd_wire *w, uint64_t handle)
{
	struct op *op = op_new(w, OP_UNWATCH);

	if (op)
		op_began(op, rados_aio_unwatch(w->s->cluster.io, handle, op->completion));
}

static void enter(struct rbd_wire *w)
{
	struct op *op = op_new(w, OP_WATCH);
	int err;

	if (!op)
		return;
	pthread_mutex_lock(&w->lock);
	w->listening = RBD_BEGINS;
	w->lost = false;
	w->listens_own = atomic_load(&w->owner);
	pthread_mutex_unlock(&w->lock);
	err = rados_aio_watch2(w->s->cluster.io, object_of(w, w->listens_own), op->completion, &op->handle,
		notified, unheard, 0, w);
	if (op_began(op, err))
		return;
	pthread_mutex_lock(&w->lock);
	w->listening = RBD_DEAF;
	pthread_mutex_unlock(&w->lock);
}

static void make_object(struct rbd_wire *w)
{
	struct op *op = op_new(w, OP_CREATE);

	if (!op)
		return;
	op->write = rados_create_write_op();
	rados_write_op_create(op->write, LIBRADOS_CREATE_IDEMPOTENT, NULL);
	op_began(op, rados_aio_write_op_operate(op->write, w->s->cluster.io, op->completion, w->owner_object,
			     NULL, LIBRADOS_OPERATION_FULL_FORCE | LIBRADOS_OPERATION_FULL_TRY));
}

/* Listens where it is to, anew where that has ended. */
static void tend(struct rbd_wire *w)
{
	enum rbd_listening listening;
	uint64_t handle;
	bool wrong, ended;

	pthread_mutex_lock(&w->lock);
	ended = w->ended;
	listening = w->listening;
	handle = w->handle;
	wrong = w->lost || w->listens_own != atomic_load(&w->owner);
	pthread_mutex_unlock(&w->lock);
	if (ended)
		return;
	if (listening == RBD_LISTENS && !wrong)
		wrong = rados_watch_check(w->s->cluster.io, handle) < 0;
	if (listening == RBD_LISTENS && wrong) {
		pthread_mutex_lock(&w->lock);
		w->listening = listening = RBD_DEAF;
		pthread_mutex_unlock(&w->lock);
		leave(w, handle);
	}
	if (listening == RBD_DEAF)
		enter(w);
	reactor_timer_arm(w->s->base.reactor, &w->tend_timer, TEND_MS);
}

static void tend_fired(struct reactor_timer *t)
{
	tend(container_of(t, struct rbd_wire, tend_timer));
}

static void tend_posted(struct reactor_message *m)
{
	struct rbd_wire *w = container_of(m, struct rbd_wire, tend_now);

	atomic_store(&w->tending, false);
	if (w->up)
		tend(w);
}

/* ---- asking -------------------------------------------------------------------------------------------- */

static void ask_failed(struct reactor_deferred *d)
{
	struct store_wire_ask *a = container_of(d, struct store_wire_ask, later);

	a->asked(a, -EAGAIN);
}

static void ask(struct store_wire *base, struct store_wire_ask *a)
{
	struct rbd_wire *w = wire_of(base);
	struct op *op = op_new(w, OP_ASK);

	assert(a->len && a->len <= STORE_WIRE_MAX_BYTES);
	a->answer_count = 0;
	if (op) {
		op->ask = a;
		/* OSDs count seconds. */
		if (op_began(op, rados_aio_notify(w->s->cluster.io, object_of(w, a->to_owner), op->completion,
					 a->data, (int)a->len, (a->timeout_ms + 999) / 1000 * 1000,
					 &op->reply, &op->reply_len)))
			return;
	}
	a->later = (struct reactor_deferred){.call = ask_failed};
	reactor_defer(w->s->base.reactor, &a->later);
}

static void asked(struct op *op)
{
	struct store_wire_ask *a = op->ask;
	struct notify_ack_t *acks = NULL;
	struct notify_timeout_t *late = NULL;
	size_t count = 0, late_count = 0;

	if (op->reply_len &&
		rados_decode_notify_response(op->reply, op->reply_len, &acks, &count, &late, &late_count) < 0)
		count = 0;
	for (size_t i = 0; i < count; i++)
		if (acks[i].payload_len && acks[i].payload_len <= STORE_WIRE_MAX_BYTES &&
			a->answer_count < STORE_WIRE_ANSWERS_MAX)
			a->answers[a->answer_count++] =
				(struct store_wire_answer){acks[i].payload, (size_t)acks[i].payload_len};
	a->asked(a, op->result < 0 ? op->result : 0);
	if (acks || late)
		rados_free_notify_response(acks, count, late);
}

/* ---- notices ------------------------------------------------------------------------------------------- */

static void notice(struct rbd_wire *w)
{
	struct op *op;

	if (!w->dirty || !w->up || w->notices == NOTICES_MAX || w->notice_timer.heap_index)
		return;
	w->dirty = false;
	reactor_timer_arm(w->s->base.reactor, &w->notice_timer, NOTICE_GAP_MS);
	op = op_new(w, OP_NOTICE);
	if (op && op_began(op, rados_aio_notify(w->s->cluster.io, w->s->object, op->completion, "", 0,
				       NOTICE_S * 1000, &op->reply, &op->reply_len)))
		w->notices++;
}

static void notice_fired(struct reactor_timer *t)
{
	notice(container_of(t, struct rbd_wire, notice_timer));
}

void rbd_wire_changed(struct rbd_store *s)
{
	s->wire.dirty = true;
	notice(&s->wire);
}

static void op_done(struct reactor_message *m)
{
	struct op *op = container_of(m, struct op, message);
	struct rbd_wire *w = op->w;

	switch (op->kind) {
	case OP_WATCH:
		if (op->result == -ENOENT && atomic_load(&w->owner))
			make_object(w);
		else if (op->result >= 0)
			tend(w); /* the role may have changed meanwhile */
		break;
	case OP_CREATE:
		if (op->result >= 0)
			tend(w);
		break;
	case OP_UNWATCH:
		break;
	case OP_ASK:
		asked(op);
		break;
	case OP_NOTICE:
		w->notices--;
		notice(w);
		break;
	}
	op_free(op);
}

/* ---- for the one who stands by ------------------------------------------------------------------------- */

void rbd_wire_news(struct rbd_store *s)
{
	struct rbd_wire *w = &s->wire;

	pthread_mutex_lock(&w->lock);
	w->noticed = true;
	pthread_cond_broadcast(&w->news);
	pthread_mutex_unlock(&w->lock);
}

bool rbd_wire_await(struct rbd_store *s, unsigned ms)
{
	struct rbd_wire *w = &s->wire;
	struct timespec until;
	bool news;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&w->lock);
	while (!w->noticed && pthread_cond_timedwait(&w->news, &w->lock, &until) == 0)
		;
	news = w->noticed;
	w->noticed = false;
	pthread_mutex_unlock(&w->lock);
	return news;
}

bool rbd_wire_listens(struct rbd_store *s)
{
	struct rbd_wire *w = &s->wire;

	pthread_mutex_lock(&w->lock);
	bool listens = w->listening == RBD_LISTENS && !w->lost;
	pthread_mutex_unlock(&w->lock);
	return listens;
}

/* ---- its life ------------------------------------------------------------------------------------------ */

static bool owns(struct store_wire *w)
{
	return atomic_load(&wire_of(w)->owner) && rbd_lease_holds(&wire_of(w)->s->lease);
}

static uint64_t epoch(struct store_wire *w)
{
	return atomic_load(&wire_of(w)->epoch);
}

static const struct store_wire_ops wire_ops = {.owns = owns, .epoch = epoch, .ask = ask, .answer = answer};

static void begin(struct reactor_message *m)
{
	struct rbd_wire *w = container_of(m, struct rbd_wire, begin);

	w->up = true;
	w->user->up(w->user->arg, &w->base);
	tend(w);
}

void rbd_wire_init(struct rbd_store *s, const struct store_wire_user *user)
{
	struct rbd_wire *w = &s->wire;
	pthread_condattr_t attr;

	w->base.ops = &wire_ops;
	w->s = s;
	w->user = user;
	w->begin.call = begin;
	w->tend_now.call = tend_posted;
	w->tend_timer.fire = tend_fired;
	w->notice_timer.fire = notice_fired;
	list_init(&w->heard);
	snprintf(w->owner_object, sizeof(w->owner_object), "umbra-owner.%s", s->array);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->less, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->news, &attr);
	pthread_condattr_destroy(&attr);
}

void rbd_wire_begin(struct rbd_store *s)
{
	if (s->wire.user)
		reactor_post(s->base.reactor, &s->wire.begin);
}

void rbd_wire_owned(struct rbd_store *s)
{
	struct rbd_wire *w = &s->wire;

	atomic_store(&w->epoch, s->epoch);
	atomic_store(&w->owner, true);
	if (w->up)
		tend(w);
}

void rbd_wire_quiesce(struct rbd_store *s)
{
	struct rbd_wire *w = &s->wire;
	bool listens;

	if (!w->user)
		return;
	pthread_mutex_lock(&w->lock);
	w->ended = true;
	while (w->in_flight)
		pthread_cond_wait(&w->less, &w->lock);
	listens = w->listening == RBD_LISTENS;
	w->listening = RBD_DEAF;
	pthread_mutex_unlock(&w->lock);
	if (listens)
		rados_unwatch2(s->cluster.io, w->handle);
	rados_watch_flush(s->cluster.rados);
}

void rbd_wire_end(struct rbd_store *s)
{
	struct rbd_wire *w = &s->wire;
	struct list_node *n;

	if (!w->up)
		return;
	w->up = false;
	reactor_timer_disarm(s->base.reactor, &w->tend_timer);
	reactor_timer_disarm(s->base.reactor, &w->notice_timer);
	w->user->down(w->user->arg, &w->base);
	while ((n = w->heard.head.next) != &w->heard.head)
		heard_free(container_of(n, struct heard, link));
}

void rbd_wire_fini(struct rbd_store *s)
{
	struct rbd_wire *w = &s->wire;

	assert(!w->up && !w->in_flight);
	pthread_cond_destroy(&w->news);
	pthread_cond_destroy(&w->less);
	pthread_mutex_destroy(&w->lock);
}
