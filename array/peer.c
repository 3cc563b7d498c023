/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See peer.h.
 *
 * The caller numbers its calls, and says with each below which number all are over. An attempt is one question over the wire;
 * without an answer it is made again, with the same number, until the caller's patience ends; and one that does not end by then, for
 * its store does not reach Ceph, is waited for no longer. `maybe` is set once an attempt may
 * have arrived; such a call is not sent to the owner of another epoch, which knows nothing of it.
 *
 * The one that is asked keeps, for each caller, the calls from its floor on: those that run, whose repetitions wait for the same
 * answer, and those that are over, with their answers. The window between floor and number is bounded, and so is what is kept.
 * A call that is refused (no lease, another epoch, no room) gets an answer without bytes: it was not carried out.
 *
 * A question may lie in the store for as long as an OSD stands still, and arrive when its caller has long given up. So a call says
 * until when it may be begun, by the clock of who is asked, which each answer tells; one that comes later, or does not know the
 * clock yet, is answered with -ESTALE, and was not carried out.
 */
#include "array/peer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define ATTEMPT_MS       3000u
#define AGAIN_MS         200u
#define GRACE_MS         1000u /* after the patience, for an attempt that is under way */
#define WINDOW           32u   /* numbers from the floor on */
#define CALLERS_MAX      4u
#define WAITERS_MAX      8u
#define PING_MS          20000u
#define GONE_NS          (60ull * 1000000000)
#define LOOK_MS          500u /* at kept answers, and whether a caller is gone */
#define PING_PATIENCE_MS 5000u
#define NS_A_MS          1000000ull
#define CLOCK_OLD_MS     60000u          /* then what is known of the other clock is learnt anew */
#define CLOCK_APART_MS   (3600u * 1000u) /* further ahead no call is: it means another process */

struct peer_attempt {
	struct store_wire_ask ask;
	uint64_t sent_ms;
	struct peer_call *call; /* NULL: it is over */
	uint8_t bytes[];
};

/* One call that came, and those who wait for its answer: repetitions of it. */
struct served {
	struct peer_asked base;
	struct caller *caller; /* NULL: nobody can be told any more */
	struct peer_message message;
	bool to_owner, over;
	uint8_t *request; /* what `base` points into */
	uint8_t *reply;   /* once it is over; encoded, or NULL: there was no memory for it */
	size_t reply_len;
	unsigned waiter_count;
	struct store_wire_heard *waiters[WAITERS_MAX];
	struct list_node link;
};

struct caller {
	struct peer *p;
	uint64_t id, floor, heard_ns; /* id 0: free */
	struct list calls;            /* struct served */
};

struct server {
	peer_serve_fn *serve;
	void *arg;
};

/* What is known of the clock of who is asked: it shows at least what ours does and `ahead`. */
struct other_clock {
	bool known;
	uint64_t ahead, learnt_ms, took_ms;
};

struct peer {
	struct peer_options options;
	struct store_wire_user user;
	struct store_wire *wire; /* or NULL */
	bool stopped;
	uint64_t id, next;
	struct other_clock other;
	struct list calls;  /* under way, by number */
	struct list queued; /* wait for the window */
	struct caller callers[CALLERS_MAX];
	struct caller *current; /* that called last */
	struct server servers[2][PEER_TOPICS];
	struct reactor_timer look, ping;
	struct peer_call pinging;
	bool ping_runs;
	uint8_t room[STORE_WIRE_MAX_BYTES]; /* an answer while it is encoded */
};

static uint64_t now_ns(const struct peer *p)
{
	return reactor_now_ns(p->options.reactor);
}

static uint64_t now_ms(const struct peer *p)
{
	return now_ns(p) / NS_A_MS;
}

/* ---- clocks -------------------------------------------------------------------------------------------- */

/* Each process's begins elsewhere, so that none is taken for another's. Never 0. */
static uint64_t clock_of(const struct peer *p)
{
	return (p->id >> 2 | 1) + now_ms(p);
}

static bool is_late(const struct peer *p, uint64_t until)
{
	return until - clock_of(p) > CLOCK_APART_MS;
}

/* Of two answers the one that took less time says more, but for a while only: no two clocks run alike. */
static void learn_clock(struct peer *p, uint64_t shown, uint64_t sent_ms)
{
	struct other_clock *o = &p->other;
	uint64_t now = now_ms(p), ahead = shown - now, took = now - sent_ms;
	bool same = o->known && ahead - o->ahead + CLOCK_APART_MS < 2ull * CLOCK_APART_MS;

	if (same && took > o->took_ms && now - o->learnt_ms < CLOCK_OLD_MS)
		return;
	*o = (struct other_clock){.known = true, .ahead = ahead, .learnt_ms = now, .took_ms = took};
}

/* ---- calling ------------------------------------------------------------------------------------------- */

static void pump(struct peer *p);

static void call_end(struct peer_call *c, int err, const uint8_t *data, uint32_t len)
{
	struct peer *p = c->peer;

	reactor_timer_disarm(p->options.reactor, &c->again);
	if (c->attempt)
		c->attempt->call = NULL;
	c->attempt = NULL;
	list_remove(&c->link);
	c->done(c, err, data, len);
	pump(p);
}

static void attempt(struct peer_call *c);

static void again_fired(struct reactor_timer *t)
{
	struct peer_call *c = container_of(t, struct peer_call, again);

	if (c->attempt) {
		c->maybe = true;
		c->over = -ETIMEDOUT;
	}
	if (c->over)
		call_end(c, c->over, NULL, 0);
	else
		attempt(c);
}

/* Not from inside of who called. */
static void call_fail(struct peer_call *c, int err)
{
	if (c->attempt)
		c->attempt->call = NULL;
	c->attempt = NULL;
	c->over = c->maybe ? -ETIMEDOUT : err;
	reactor_timer_arm(c->peer->options.reactor, &c->again, 0);
}

static bool is_answer_to(const struct peer_call *c, const struct peer_message *m)
{
	return m->kind == PEER_ANSWER && m->caller == c->peer->id && m->number == c->number &&
	       m->epoch == c->epoch && m->topic == c->topic;
}

static void asked(struct store_wire_ask *ask, int err)
{
	struct peer_attempt *a = container_of(ask, struct peer_attempt, ask);
	struct peer_call *c = a->call;
	bool odd = false, late = false;

	if (!c) {
		free(a);
		return;
	}
	c->attempt = NULL;
	for (unsigned i = 0; i < ask->answer_count; i++) {
		struct peer_message m;

		if (!peer_decode(ask->answers[i].data, ask->answers[i].len, &m) || !is_answer_to(c, &m)) {
			odd = true;
			continue;
		}
		learn_clock(c->peer, m.clock, a->sent_ms);
		if (m.err == -ESTALE) {
			late = true;
			continue;
		}
		call_end(c, m.err, m.data, m.len);
		free(a);
		return;
	}
	free(a);
	if (odd || (err && err != -EAGAIN && err != -ENOENT))
		c->maybe = true;
	if (now_ns(c->peer) >= c->until_ns)
		call_end(c, c->maybe ? -ETIMEDOUT : -EAGAIN, NULL, 0);
	else
		reactor_timer_arm(c->peer->options.reactor, &c->again, late && !c->was_late ? 0 : AGAIN_MS);
	c->was_late |= late;
}

static uint64_t floor_of(const struct peer *p)
{
	return list_empty(&p->calls) ? p->next
				     : container_of(p->calls.head.next, struct peer_call, link)->number;
}

static struct peer_attempt *encode(struct peer_call *c)
{
	struct peer *p = c->peer;
	struct peer_attempt *a = malloc(sizeof(*a) + PEER_HEADER_BYTES + c->len);
	const struct peer_message m = {.kind = PEER_CALL,
		.topic = (uint16_t)c->topic,
		.epoch = c->epoch,
		.caller = p->id,
		.number = c->number,
		.floor = floor_of(p),
		.clock = p->other.known ? c->until_ns / NS_A_MS + p->other.ahead : 0,
		.data = c->data,
		.len = c->len};

	if (!a)
		return NULL;
	a->ask = (struct store_wire_ask){
		.to_owner = !c->to_standby, .data = a->bytes, .timeout_ms = ATTEMPT_MS, .asked = asked};
	a->ask.len = peer_encode(&m, a->bytes, PEER_HEADER_BYTES + c->len);
	a->call = c;
	a->sent_ms = now_ms(p);
	return a;
}

static void attempt(struct peer_call *c)
{
	struct peer *p = c->peer;
	uint64_t epoch = p->wire ? p->wire->ops->epoch(p->wire) : 0;

	bool here = epoch && p->wire->ops->owns(p->wire) == !c->to_standby;

	if (p->stopped || !epoch || here || now_ns(p) >= c->until_ns) {
		call_fail(c, epoch && !p->stopped ? -EAGAIN : -ESHUTDOWN);
		return;
	}
	if (c->maybe && epoch != c->epoch) {
		call_fail(c, -ETIMEDOUT);
		return;
	}
	c->epoch = epoch;
	c->attempt = encode(c);
	if (!c->attempt) {
		call_fail(c, -EAGAIN);
		return;
	}
	reactor_timer_arm(p->options.reactor, &c->again, (c->until_ns - now_ns(p)) / NS_A_MS + GRACE_MS);
	p->wire->ops->ask(p->wire, &c->attempt->ask);
}

static void pump(struct peer *p)
{
	while (!list_empty(&p->queued) && p->next - floor_of(p) < WINDOW) {
		struct peer_call *c = container_of(list_pop(&p->queued), struct peer_call, link);

		c->number = p->next++;
		list_push_back(&p->calls, &c->link);
		attempt(c);
	}
}

static void ping_ended(struct peer_call *c, int err, const uint8_t *data, uint32_t len)
{
	(void)err, (void)data, (void)len;
	c->peer->ping_runs = false;
}

/* Once it has called the owner, it lets it know that it is still there. */
static void ping_fired(struct reactor_timer *t)
{
	struct peer *p = container_of(t, struct peer, ping);

	if (p->stopped)
		return;
	reactor_timer_arm(p->options.reactor, &p->ping, PING_MS);
	if (p->ping_runs)
		return;
	p->ping_runs = true;
	p->pinging =
		(struct peer_call){.topic = PEER_PING, .patience_ms = PING_PATIENCE_MS, .done = ping_ended};
	peer_call(p, &p->pinging);
}

void peer_call(struct peer *p, struct peer_call *c)
{
	assert(c->len <= PEER_PAYLOAD_MAX_BYTES && c->topic > 0 && c->topic < PEER_TOPICS);
	c->peer = p;
	c->until_ns = now_ns(p) + c->patience_ms * NS_A_MS;
	c->maybe = c->was_late = false;
	c->over = 0;
	c->attempt = NULL;
	c->again = (struct reactor_timer){.fire = again_fired};
	if (!c->to_standby && !p->stopped && !p->ping.heap_index)
		reactor_timer_arm(p->options.reactor, &p->ping, PING_MS);
	list_push_back(&p->queued, &c->link);
	pump(p);
}

void peer_abandon(struct peer *p)
{
	list_for_each (n, &p->calls) {
		struct peer_call *c = container_of(n, struct peer_call, link);

		if (c->over)
			continue;
		c->maybe = c->maybe || c->attempt;
		call_fail(c, -EAGAIN);
	}
	/* What waits for its turn finds nobody to ask, or the next owner. */
}

/* ---- being asked --------------------------------------------------------------------------------------- */

static void refuse(struct store_wire *w, struct store_wire_heard *h)
{
	w->ops->answer(w, h, NULL, 0);
}

static void served_free(struct served *s)
{
	if (s->caller)
		list_remove(&s->link);
	free(s->request);
	free(s->reply);
	free(s);
}

/* It comes too late: not carried out, and nothing of it is kept. */
static void refuse_late(struct peer *p, const struct peer_message *call, struct store_wire_heard *h)
{
	struct peer_message m = *call;
	uint8_t bytes[PEER_HEADER_BYTES];

	m.kind = PEER_ANSWER;
	m.err = -ESTALE;
	m.clock = clock_of(p);
	p->wire->ops->answer(p->wire, h, bytes, peer_encode(&m, bytes, sizeof(bytes)));
}

/* A controller whose lease is out may have been replaced: it keeps what it knows to itself. */
static bool may_tell(const struct peer *p, bool to_owner)
{
	return !to_owner || p->wire->ops->owns(p->wire);
}

static void tell(struct served *s)
{
	struct peer *p = s->caller->p;

	if (!s->over || !may_tell(p, s->to_owner))
		return;
	while (s->waiter_count)
		p->wire->ops->answer(p->wire, s->waiters[--s->waiter_count], s->reply, s->reply_len);
	if (s->message.number < s->caller->floor)
		served_free(s);
}

static uint8_t *reply_to(
	const struct served *s, uint8_t *room, int err, const void *data, uint32_t len, size_t *reply_len)
{
	struct peer_message m = s->message;
	uint8_t *reply;

	m.kind = PEER_ANSWER;
	m.clock = clock_of(s->caller->p);
	m.err = err;
	m.data = data;
	m.len = len;
	*reply_len = peer_encode(&m, room, STORE_WIRE_MAX_BYTES);
	reply = malloc(*reply_len);
	if (reply)
		memcpy(reply, room, *reply_len);
	else
		*reply_len = 0;
	return reply;
}

void peer_answer(struct peer_asked *q, int err, const void *data, uint32_t len)
{
	struct served *s = container_of(q, struct served, base);

	assert(!s->over && err <= 0 && len <= PEER_PAYLOAD_MAX_BYTES);
	if (!s->caller) {
		served_free(s);
		return;
	}
	s->over = true;
	s->reply = reply_to(s, s->caller->p->room, err, data, len, &s->reply_len);
	free(s->request);
	s->request = NULL;
	tell(s);
}

/* The floor rises: the caller has these answers, or wants them no more. */
static void raise_floor(struct caller *c, uint64_t floor)
{
	if (floor <= c->floor)
		return;
	c->floor = floor;
	list_for_each_safe (n, &c->calls) {
		struct served *s = container_of(n, struct served, link);

		if (s->message.number < floor && s->over && !s->waiter_count)
			served_free(s);
	}
}

static void caller_forget(struct caller *c)
{
	list_for_each_safe (n, &c->calls) {
		struct served *s = container_of(n, struct served, link);

		list_remove(&s->link);
		s->caller = NULL;
		if (s->over)
			served_free(s);
	}
	c->id = 0;
}

/* Nothing of it is under way, and nobody waits. */
static bool caller_idle(const struct caller *c)
{
	list_for_each (n, &c->calls) {
		const struct served *s = container_of(n, struct served, link);

		if (!s->over || s->waiter_count)
			return false;
	}
	return true;
}

/* Whether a is the better one to forget: the one that has been quiet for longer. */
static bool is_older(const struct caller *a, const struct caller *b)
{
	return !b || (b->id && (!a->id || a->heard_ns < b->heard_ns));
}

/* A controller that is started again is another caller each time, so the oldest has to go, for its process has. NULL: each has
 * something under way, or called last. */
static struct caller *caller_of(struct peer *p, uint64_t id)
{
	struct caller *room = NULL;

	for (unsigned i = 0; i < CALLERS_MAX; i++) {
		struct caller *c = &p->callers[i];

		if (c->id == id)
			return c;
		if (c != p->current && caller_idle(c) && is_older(c, room))
			room = c;
	}
	if (!room)
		return NULL;
	caller_forget(room);
	room->id = id;
	room->floor = 1;
	return room;
}

static void caller_gone(struct peer *p)
{
	p->current = NULL;
	if (p->options.gone)
		p->options.gone(p->options.arg);
}

static struct served *served_find(const struct caller *c, uint64_t number)
{
	list_for_each (n, &c->calls) {
		struct served *s = container_of(n, struct served, link);

		if (s->message.number == number)
			return s;
	}
	return NULL;
}

/* Room for a call that was not there before. */
static struct served *served_new(
	struct caller *c, const struct peer_message *m, const struct store_wire_heard *h)
{
	struct served *s = calloc(1, sizeof(*s));
	uint8_t *request = malloc(m->len ? m->len : 1);

	if (!s || !request) {
		free(s);
		free(request);
		return NULL;
	}
	if (m->len)
		memcpy(request, m->data, m->len);
	s->base = (struct peer_asked){.topic = (enum peer_topic)m->topic, .data = request, .len = m->len};
	s->caller = c;
	s->message = *m;
	s->to_owner = h->to_owner;
	s->request = request;
	list_push_back(&c->calls, &s->link);
	return s;
}

/* Whether the call is one for us, now. */
static bool is_ours(const struct peer *p, const struct peer_message *m, bool to_owner)
{
	struct store_wire *w = p->wire;

	return m->kind == PEER_CALL && m->caller && m->caller != p->id && m->epoch == w->ops->epoch(w) &&
	       w->ops->owns(w) == to_owner;
}

static void serve(struct peer *p, struct caller *c, const struct peer_message *m, struct store_wire_heard *h)
{
	const struct server *server = &p->servers[!h->to_owner][m->topic];
	struct served *s = served_find(c, m->number);
	bool is_new = !s;

	if (!s)
		s = served_new(c, m, h);
	if (!s || s->message.topic != m->topic || s->waiter_count == WAITERS_MAX) {
		refuse(p->wire, h);
		return;
	}
	s->waiters[s->waiter_count++] = h;
	if (!is_new)
		tell(s);
	else if (server->serve)
		server->serve(server->arg, &s->base);
	else
		peer_answer(&s->base, -EOPNOTSUPP, NULL, 0);
}

static void heard(void *arg, struct store_wire *w, struct store_wire_heard *h)
{
	struct peer *p = arg;
	struct peer_message m;
	struct caller *c;

	if (p->stopped || p->wire != w || !peer_decode(h->data, h->len, &m) || !is_ours(p, &m, h->to_owner) ||
		!(c = caller_of(p, m.caller))) {
		refuse(w, h);
		return;
	}
	if (p->current && p->current != c)
		caller_gone(p);
	p->current = c;
	c->heard_ns = now_ns(p);
	if (!p->look.heap_index)
		reactor_timer_arm(p->options.reactor, &p->look, LOOK_MS);
	raise_floor(c, m.floor);
	if (m.number < c->floor || m.number - c->floor >= WINDOW)
		refuse(w, h);
	else if (is_late(p, m.clock) && !served_find(c, m.number))
		refuse_late(p, &m, h);
	else
		serve(p, c, &m, h);
}

static void look(struct reactor_timer *t)
{
	struct peer *p = container_of(t, struct peer, look);

	if (p->stopped || !p->wire)
		return;
	for (unsigned i = 0; i < CALLERS_MAX; i++)
		list_for_each_safe (n, &p->callers[i].calls)
			tell(container_of(n, struct served, link));
	if (p->current && now_ns(p) - p->current->heard_ns > GONE_NS)
		caller_gone(p);
	reactor_timer_arm(p->options.reactor, &p->look, LOOK_MS);
}

static void serve_ping(void *arg, struct peer_asked *q)
{
	(void)arg;
	peer_answer(q, 0, NULL, 0);
}

void peer_serve(struct peer *p, enum peer_topic topic, bool at_standby, peer_serve_fn *fn, void *arg)
{
	assert(topic > 0 && topic < PEER_TOPICS);
	p->servers[at_standby][topic] = (struct server){fn, arg};
}

/* ---- its life ------------------------------------------------------------------------------------------ */

/* What was heard over the wire is not answered any more. */
static void unplug(struct peer *p)
{
	p->wire = NULL;
	for (unsigned i = 0; i < CALLERS_MAX; i++)
		caller_forget(&p->callers[i]);
	if (p->current)
		caller_gone(p);
	reactor_timer_disarm(p->options.reactor, &p->look);
}

/* The wire of a store that the array was taken from may still be there. */
static void up(void *arg, struct store_wire *w)
{
	struct peer *p = arg;

	if (p->wire)
		unplug(p);
	p->wire = w;
}

static void down(void *arg, struct store_wire *w)
{
	struct peer *p = arg;

	if (p->wire == w)
		unplug(p);
}

const struct store_wire_user *peer_wire(struct peer *p)
{
	return &p->user;
}

int peer_create(const struct peer_options *options, struct peer **out)
{
	struct peer *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->options = *options;
	p->user = (struct store_wire_user){.arg = p, .up = up, .down = down, .heard = heard};
	while (!p->id)
		if (getrandom(&p->id, sizeof(p->id), 0) != (ssize_t)sizeof(p->id))
			p->id = 0;
	p->next = 1;
	list_init(&p->calls);
	list_init(&p->queued);
	for (unsigned i = 0; i < CALLERS_MAX; i++) {
		p->callers[i].p = p;
		list_init(&p->callers[i].calls);
	}
	p->look.fire = look;
	p->ping.fire = ping_fired;
	peer_serve(p, PEER_PING, false, serve_ping, NULL);
	peer_serve(p, PEER_PING, true, serve_ping, NULL);
	*out = p;
	return 0;
}

void peer_stop(struct peer *p)
{
	p->stopped = true;
	reactor_timer_disarm(p->options.reactor, &p->ping);
	reactor_timer_disarm(p->options.reactor, &p->look);
	peer_abandon(p);
}

bool peer_is_stopped(const struct peer *p)
{
	return p->stopped;
}

void peer_destroy(struct peer *p)
{
	struct list_node *n;

	if (!p)
		return;
	assert(!p->wire);
	for (unsigned i = 0; i < 2; i++)
		while ((n = list_pop(i ? &p->queued : &p->calls))) {
			struct peer_call *c = container_of(n, struct peer_call, link);

			c->done(c, -ESHUTDOWN, NULL, 0); /* the reactor has ended before it came to it */
		}
	free(p);
}
