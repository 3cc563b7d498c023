/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mailboxes behind SECURITY PROTOCOL OUT and IN: OUT posts a request, IN fetches the reply to what was posted
 * last. While that runs IN waits a second, then says so (UP_PENDING), to be sent again: Windows resets a LUN whose command takes
 * longer than its disks' may. A commit, which has a deadline, is waited for.
 *
 * A mailbox belongs to (host, slot), never to a session or an initiator name: OUT and IN may come over different
 * paths, and those of a host may have names of their own.
 * It remembers its last few exchanges (request and reply), so that a request sent again, by whatever path
 * and while the first still runs, gets the same reply and does its work once.
 *
 * Invariants:
 * - A message always gets a reply message, whatever it holds; only a lack of mailboxes is a SCSI error.
 * - Everything is bounded: mailboxes of a host, mailboxes altogether, exchanges of a mailbox, bytes of
 *   an exchange. What is idle longest makes room; what runs, or is being waited for, never does.
 * - An exchange is freed when it is out of its mailbox, does not run and nobody waits for it.
 *
 * Where another controller owns the array only identify is answered, so that a host knows whose path it is: all else is a SCSI
 * error (02/04/0B) at once, and touches no mailbox. What was asked is then asked on another path.
 */
#include "array/control/control.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/control/request.h"
#include "array/reactor/reactor.h"

#define EXCHANGES_MAX 4
/* After a restart a host may count its request ids from 1 again: exchanges of before are forgotten in time. */
#define REMEMBER_NS (UINT64_C(300) * 1000000000)

struct exchange {
	struct list_node link; /* in mailbox->exchanges, newest first; unlinked: a refusal or evicted */
	struct inband *inband;
	bool current; /* of its mailbox */
	bool running;
	uint64_t request_id;
	uint16_t op;
	uint64_t ended_ns;
	size_t request_len, reply_len;
	uint8_t *request_bytes, *reply_bytes;
	struct list waiters;
};

/* A request that runs, and whose exchange it is. */
struct pending {
	struct request request;
	struct exchange *exchange;
};

struct waiter {
	struct list_node link; /* in exchange->waiters */
	struct reactor_timer timer;
	struct exchange *exchange;
	uint8_t *buf;
	size_t cap;
	void (*done)(void *arg, long result);
	void *arg;
};

struct mailbox {
	struct list_node link; /* in inband->mailboxes, most recently used first */
	char host[ARRAY_NAME_MAX_BYTES + 1];
	uint16_t slot;
	unsigned count; /* of exchanges in the list */
	struct list exchanges;
	struct exchange *current; /* what IN fetches; NULL: nothing was posted */
};

struct inband {
	struct array *array;
	struct reactor *reactor;
	unsigned per_host, max, wait_ms;
	unsigned mailbox_count;
	struct list mailboxes;
	unsigned running;
	void (*idle)(void *arg); /* of inband_stop */
	void *idle_arg;
	uint8_t wire[UP_REPLY_MAX_BYTES]; /* scratch, as the next */
	struct up_msg note;
};

int inband_create(const struct inband_options *options, struct inband **out)
{
	struct inband *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->array = options->array;
	b->reactor = options->reactor;
	b->per_host = options->mailboxes_per_host ? options->mailboxes_per_host : 64;
	b->max = options->mailboxes_max ? options->mailboxes_max : 1024;
	b->wait_ms = options->wait_ms ? options->wait_ms : 1000;
	list_init(&b->mailboxes);
	*out = b;
	return 0;
}

/* ---- exchanges ------------------------------------------------------------------------------------ */

static struct exchange *exchange_new(struct inband *b, const uint8_t *data, size_t len)
{
	struct exchange *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->inband = b;
	list_init(&e->waiters);
	if (len) {
		e->request_bytes = malloc(len);
		if (!e->request_bytes) {
			free(e);
			return NULL;
		}
		memcpy(e->request_bytes, data, len);
		e->request_len = len;
	}
	return e;
}

static void exchange_free_if_unused(struct exchange *e)
{
	if (list_linked(&e->link) || e->current || e->running || !list_empty(&e->waiters))
		return;
	free(e->request_bytes);
	free(e->reply_bytes);
	free(e);
}

static bool exchange_idle(const struct exchange *e)
{
	return !e->running && list_empty(&e->waiters);
}

/* bytes NULL: there is no memory for the reply. */
static void give(struct waiter *w, const uint8_t *bytes, size_t len)
{
	void (*done)(void *arg, long result) = w->done;
	void *arg = w->arg;

	if (len > w->cap)
		len = w->cap;
	if (bytes)
		memcpy(w->buf, bytes, len);
	reactor_timer_disarm(w->exchange->inband->reactor, &w->timer);
	free(w);
	done(arg, bytes ? (long)len : -ENOMEM);
}

static void answer(struct waiter *w)
{
	give(w, w->exchange->reply_bytes, w->exchange->reply_len);
}

/* It has waited long enough. The request goes on. */
static void say_pending(struct reactor_timer *t)
{
	struct waiter *w = container_of(t, struct waiter, timer);
	struct exchange *e = w->exchange;
	struct inband *b = e->inband;

	up_reply_init(&b->note, NULL, UP_PENDING);
	b->note.op = e->op;
	b->note.request_id = e->request_id;
	size_t len = up_encode(&b->note, b->wire, sizeof(b->wire));
	assert(len > 0);
	list_remove(&w->link);
	give(w, b->wire, len);
}

/* The reply is there: keeps its bytes, wakes who waits. */
static void exchange_end(struct exchange *e, const struct up_msg *reply)
{
	struct inband *b = e->inband;
	struct list_node *node;

	e->reply_len = up_encode(reply, b->wire, sizeof(b->wire));
	assert(e->reply_len > 0);
	e->reply_bytes = malloc(e->reply_len);
	if (e->reply_bytes)
		memcpy(e->reply_bytes, b->wire, e->reply_len);
	e->ended_ns = reactor_now_ns(b->reactor);
	e->running = true; /* stays while callbacks run, so that none of them frees it */
	while ((node = list_pop(&e->waiters)))
		answer(container_of(node, struct waiter, link));
	e->running = false;
}

static void request_done(struct request *r)
{
	struct pending *p = container_of(r, struct pending, request);
	struct exchange *e = p->exchange;
	struct inband *b = e->inband;

	exchange_end(e, &r->reply);
	free(p);
	exchange_free_if_unused(e);
	assert(b->running > 0);
	b->running--;
	if (!b->running && b->idle) {
		void (*idle)(void *arg) = b->idle;
		b->idle = NULL;
		idle(b->idle_arg);
	}
}

/* ---- mailboxes ------------------------------------------------------------------------------------ */

static void mailbox_set_current(struct mailbox *m, struct exchange *e)
{
	struct exchange *old = m->current;

	if (old == e)
		return;
	m->current = e;
	if (e)
		e->current = true;
	if (old) {
		old->current = false;
		exchange_free_if_unused(old);
	}
}

static void mailbox_forget(struct mailbox *m, struct exchange *e)
{
	list_remove(&e->link);
	m->count--;
	exchange_free_if_unused(e);
}

static bool mailbox_idle(const struct mailbox *m)
{
	if (m->current && !exchange_idle(m->current))
		return false;
	list_for_each (node, &m->exchanges)
		if (!exchange_idle(container_of(node, struct exchange, link)))
			return false;
	return true;
}

static void mailbox_free(struct inband *b, struct mailbox *m)
{
	list_for_each_safe (node, &m->exchanges)
		mailbox_forget(m, container_of(node, struct exchange, link));
	mailbox_set_current(m, NULL);
	list_remove(&m->link);
	b->mailbox_count--;
	free(m);
}

static struct mailbox *mailbox_find(struct inband *b, const char *host, uint16_t slot)
{
	list_for_each (node, &b->mailboxes) {
		struct mailbox *m = container_of(node, struct mailbox, link);
		if (m->slot != slot || strcmp(m->host, host) != 0)
			continue;
		list_remove(&m->link);
		list_push_front(&b->mailboxes, &m->link);
		return m;
	}
	return NULL;
}

/* Room for one more: of this host's when it has its share, else of anybody's. */
static bool make_room(struct inband *b, const char *host)
{
	struct mailbox *own = NULL, *any = NULL;
	unsigned owned = 0;

	list_for_each (node, &b->mailboxes) {
		struct mailbox *m = container_of(node, struct mailbox, link);
		bool mine = strcmp(m->host, host) == 0, idle = mailbox_idle(m);
		owned += mine;
		if (mine && idle)
			own = m;
		if (idle)
			any = m;
	}
	struct mailbox *victim = NULL;
	if (owned >= b->per_host)
		victim = own;
	else if (b->mailbox_count >= b->max)
		victim = any;
	else
		return true;
	if (!victim)
		return false;
	mailbox_free(b, victim);
	return true;
}

static struct mailbox *mailbox_get(struct inband *b, const char *host, uint16_t slot)
{
	struct mailbox *m = mailbox_find(b, host, slot);

	if (m)
		return m;
	if (!make_room(b, host))
		return NULL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	memcpy(m->host, host, strlen(host) + 1);
	m->slot = slot;
	list_init(&m->exchanges);
	list_push_front(&b->mailboxes, &m->link);
	b->mailbox_count++;
	return m;
}

static struct exchange *mailbox_recall(struct mailbox *m, uint64_t request_id, uint64_t now_ns)
{
	list_for_each_safe (node, &m->exchanges) {
		struct exchange *e = container_of(node, struct exchange, link);
		if (exchange_idle(e) && now_ns - e->ended_ns > REMEMBER_NS)
			mailbox_forget(m, e);
	}
	list_for_each (node, &m->exchanges) {
		struct exchange *e = container_of(node, struct exchange, link);
		if (e->request_id == request_id)
			return e;
	}
	return NULL;
}

/* Room for one more exchange: the oldest that is over goes. False: all run. */
static bool mailbox_make_room(struct mailbox *m)
{
	if (m->count < EXCHANGES_MAX)
		return true;
	for (struct list_node *node = m->exchanges.head.prev; node != &m->exchanges.head; node = node->prev) {
		struct exchange *e = container_of(node, struct exchange, link);
		if (!exchange_idle(e))
			continue;
		mailbox_forget(m, e);
		return true;
	}
	return false;
}

/* ---- out ------------------------------------------------------------------------------------------ */

/* Ends the request without running it; the exchange is not remembered, so the same id may be used again. */
static int post_refusal(struct mailbox *m, struct pending *p, enum up_status status, const char *text)
{
	request_refuse_text(&p->request, status, text);
	exchange_end(p->exchange, &p->request.reply);
	mailbox_set_current(m, p->exchange);
	free(p);
	return 0;
}

static const char *explain(const uint8_t *data, size_t len, enum up_status status)
{
	size_t announced = up_peek_length(data, len);

	if (status == UP_BAD_VERSION)
		return "This array speaks version 1 of the control protocol (see the reply's header): update "
		       "the "
		       "provider or the array, whichever is older.";
	if (len < UP_HEADER_BYTES)
		return "The message is shorter than its 32-byte header: send the whole message in one "
		       "command.";
	if (!announced)
		return "The message does not begin with UMBR: the sender is no Umbra provider, or something "
		       "on the "
		       "way changed it.";
	if (announced > UP_REQUEST_MAX_BYTES)
		return "The message is longer than 16384 bytes: split the request.";
	if (announced > len)
		return "The message is cut short: its header announces more bytes than came. Send all of it "
		       "in one "
		       "command.";
	return "A field's length or the header is wrong: compare the message with docs/protocol.md.";
}

static struct pending *pending_new(struct inband *b, const uint8_t *data, size_t len)
{
	struct pending *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->exchange = exchange_new(b, data, len);
	if (!p->exchange) {
		free(p);
		return NULL;
	}
	p->request.array = b->array;
	p->request.done = request_done;
	return p;
}

static void post(struct inband *b, struct mailbox *m, struct pending *p)
{
	struct exchange *e = p->exchange;

	e->request_id = p->request.msg.request_id;
	e->op = p->request.msg.op;
	e->running = true;
	b->running++;
	list_push_front(&m->exchanges, &e->link);
	m->count++;
	mailbox_set_current(m, e);
	request_run(&p->request);
}

/* The message's own bytes: what a transfer carries behind them does not count. */
static size_t message_len(const uint8_t *data, size_t len)
{
	size_t announced = up_peek_length(data, len);

	return announced && announced < len ? announced : len;
}

static bool stands_by(const struct inband *b)
{
	return array_settings(b->array)->standby;
}

int inband_out(
	void *ctx, struct host_nexus *nexus, struct lun *lun, uint16_t slot, const uint8_t *data, size_t len)
{
	struct inband *b = ctx;
	const char *host = host_record_of(nexus->host)->name;
	size_t used = message_len(data, len);
	struct pending *p = pending_new(b, data, used <= UP_REQUEST_MAX_BYTES ? used : 0);
	if (!p)
		return -ENOBUFS;
	struct request *r = &p->request;
	enum up_status status = up_decode(&r->msg, data, len);
	bool elsewhere = stands_by(b) && !status && r->msg.op != UP_OP_IDENTIFY;
	struct mailbox *m = elsewhere ? NULL : mailbox_get(b, host, slot);
	if (!m) {
		exchange_free_if_unused(p->exchange);
		free(p);
		return elsewhere ? -ESHUTDOWN : -ENOBUFS;
	}
	if (!status && used > UP_REQUEST_MAX_BYTES)
		status = UP_BAD_MESSAGE;
	if (status)
		return post_refusal(m, p, status, explain(data, len, status));

	struct exchange *earlier = mailbox_recall(m, r->msg.request_id, reactor_now_ns(b->reactor));
	if (earlier && earlier->request_len == used && !memcmp(earlier->request_bytes, data, used)) {
		mailbox_set_current(m, earlier);
		exchange_free_if_unused(p->exchange);
		free(p);
		return 0;
	}
	if (earlier)
		return post_refusal(m, p, UP_ID_CONFLICT,
			"This request id was used for another request a short time ago: give every request a "
			"new "
			"id, best a random one.");
	if (!mailbox_make_room(m))
		return post_refusal(m, p, UP_BUSY,
			"Four requests of this mailbox run already: fetch their replies, or use another "
			"slot.");
	r->nexus = nexus;
	r->addressed = lun;
	post(b, m, p);
	return 0;
}

/* ---- in ------------------------------------------------------------------------------------------- */

void *inband_in(void *ctx, struct host_nexus *nexus, uint16_t slot, uint8_t *buf, size_t cap,
	void (*done)(void *arg, long result), void *arg)
{
	struct inband *b = ctx;
	const char *host = host_record_of(nexus->host)->name;

	struct mailbox *m = mailbox_find(b, host, slot);
	struct exchange *e = m ? m->current : NULL;
	if (!e) {
		done(arg, stands_by(b) ? -ESHUTDOWN : -ENOENT);
		return NULL;
	}
	struct waiter *w = calloc(1, sizeof(*w));
	if (!w) {
		done(arg, -ENOMEM);
		return NULL;
	}
	*w = (struct waiter){.exchange = e, .buf = buf, .cap = cap, .done = done, .arg = arg};
	if (e->running) {
		list_push_back(&e->waiters, &w->link);
		w->timer.fire = say_pending;
		if (e->op != UP_OP_SET_COMMIT)
			reactor_timer_arm(b->reactor, &w->timer, b->wait_ms);
		return w;
	}
	answer(w);
	return NULL;
}

void inband_cancel(void *ctx, void *token)
{
	struct waiter *w = token;
	struct exchange *e = w->exchange;

	(void)ctx;
	list_remove(&w->link);
	reactor_timer_disarm(e->inband->reactor, &w->timer);
	free(w);
	exchange_free_if_unused(e);
}

/* ---- the end -------------------------------------------------------------------------------------- */

void inband_stop(struct inband *b, void (*done)(void *arg), void *arg)
{
	assert(!b->idle);
	if (!b->running) {
		done(arg);
		return;
	}
	b->idle = done;
	b->idle_arg = arg;
}

void inband_destroy(struct inband *b)
{
	assert(!b->running);
	list_for_each_safe (node, &b->mailboxes)
		mailbox_free(b, container_of(node, struct mailbox, link));
	free(b);
}
