/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A move of the array that is asked for at the controller that stands by: the owner is asked to begin it (array/peer.h), and what it says
 * is what the administrator is told. Then the owner is asked again and again how far it is, until the array is here, or the owner
 * says why it is not moved. It tells no more once it has let go; then the array comes, or that owner has it again and says so.
 *
 * Invariants: one call is under way at most. move.asked from the request on, until it is known what came of it; meanwhile no other
 * move is begun here, and the owner begins none beside this one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "array/daemon.h"
#include "array/role_move.h"

#define PATIENCE_MS      10000 /* longer than a takeover, should the owner be dead */
#define LOOK_PATIENCE_MS 3000
#define LOOK_MS          200
#define END_MS           75000 /* longer than an owner waits, and then leaves */
#define MS               UINT64_C(1000000)

/* ---- at the one that stands by ------------------------------------------------------------------------- */

static void over(struct daemon *d)
{
	d->role.move.asked = false;
	reactor_timer_disarm(d->reactor, &d->role.ask.timer);
}

/* The owner has not begun it. */
static void refused(struct daemon *d, int err, const struct fault *fault)
{
	struct management_move *request = d->role.ask.request;

	over(d);
	d->role.ask.request = NULL;
	request->done(request, err, fault);
}

static void failed(struct daemon *d, const char *why)
{
	over(d);
	d->role.move.failed = true;
	snprintf(d->role.move.text, sizeof(d->role.move.text), "%s", why);
}

static void call(struct daemon *d, enum peer_move_what what, bool force, uint32_t patience_ms,
	void (*done)(struct peer_call *c, int err, const uint8_t *data, uint32_t len))
{
	struct role_ask *a = &d->role.ask;

	peer_move_encode(what, force, a->bytes);
	a->call = (struct peer_call){.topic = PEER_MOVE,
		.data = a->bytes,
		.len = sizeof(a->bytes),
		.patience_ms = patience_ms,
		.done = done};
	a->calls = true;
	peer_call(d->role.peer, &a->call);
}

static bool is_here(const struct daemon *d)
{
	return d->role.state == ROLE_OWNER;
}

static void look_soon(struct daemon *d)
{
	if (!d->role.ask.calls && !peer_is_stopped(d->role.peer))
		reactor_timer_arm(d->reactor, &d->role.ask.timer, LOOK_MS);
}

static void looked(struct peer_call *c, int err, const uint8_t *data, uint32_t len)
{
	struct daemon *d = container_of(c, struct daemon, role.ask.call);
	struct peer_move_answer a;

	d->role.ask.calls = false;
	if (!d->role.move.asked)
		return;
	if (err || !peer_move_answer_decode(data, len, &a)) {
		/* it has let go, or is no more, and this one takes the array; or it has it again, and says so soon */
		snprintf(d->role.move.text, sizeof(d->role.move.text), "the array to come");
		look_soon(d);
		return;
	}
	if (a.state == PEER_MOVE_WAITS) {
		snprintf(d->role.move.text, sizeof(d->role.move.text), "%s", a.text);
		look_soon(d);
	} else {
		failed(d, a.state == PEER_MOVE_FAILED ? a.text
						      : "its owner has ended meanwhile, and has it again");
	}
}

static void look(struct reactor_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, role.ask.timer);

	if (reactor_now_ns(d->reactor) > d->role.ask.until_ns)
		failed(d,
			"its owner has not said what came of it: umbractl controller list tells who has it");
	else
		call(d, PEER_MOVE_LOOK, false, LOOK_PATIENCE_MS, looked);
}

/* No answer of the owner's. */
static int silence(const struct daemon *d, int err, struct fault *fault)
{
	struct pair_look l;

	pair_look(d->role.pair, &l);
	if (is_here(d))
		return fault_set(fault, -EBUSY,
			"the array has come to controller %u meanwhile, moved or taken over, and was not moved again: umbractl controller list tells who has it",
			d->config.controller);
	if (err == -EOPNOTSUPP)
		return fault_set(fault, err,
			"the umbrad that owns the array, on %s (version %s), does not move it when another one asks: give the command there",
			l.other.machine[0] ? l.other.machine : "the other machine", l.other.umbra);
	if (err == -ESHUTDOWN)
		return fault_set(fault, -EHOSTUNREACH,
			"nobody owns the array just now: look at umbractl controller list, and try again in a few seconds");
	if (err == -ETIMEDOUT)
		return fault_set(fault, err,
			"the owner of the array, on %s, did not answer for %u seconds, and may have begun to move it: umbractl controller list tells who has it",
			l.other.machine[0] ? l.other.machine : "the other machine", PATIENCE_MS / 1000);
	return fault_set(fault, -EHOSTUNREACH,
		"the owner of the array, on %s, cannot be reached through Ceph: look at umbrad there, and at umbractl controller list",
		l.other.machine[0] ? l.other.machine : "the other machine");
}

static void asked(struct peer_call *c, int err, const uint8_t *data, uint32_t len)
{
	struct daemon *d = container_of(c, struct daemon, role.ask.call);
	struct management_move *request = d->role.ask.request;
	struct fault fault = {0};
	struct peer_move_answer a;

	d->role.ask.calls = false;
	if (!err && !peer_move_answer_decode(data, len, &a))
		err = -ETIMEDOUT;
	if (err) {
		refused(d, silence(d, err, &fault), &fault);
		return;
	}
	if (a.err) {
		fault.err = a.err;
		fault.message = a.message;
		snprintf(fault.text, sizeof(fault.text), "%.*s", (int)sizeof(fault.text) - 1, a.text);
		refused(d, a.err, &fault);
		return;
	}
	d->role.ask.request = NULL;
	if (d->role.move.asked)
		look_soon(d);
	request->done(request, 0, NULL);
}

void role_ask(struct daemon *d, bool force, struct management_move *request)
{
	struct role_ask *a = &d->role.ask;

	if (a->calls) { /* of a move that is over here: its last look */
		struct fault fault = {0};

		request->done(request,
			fault_set(&fault, -EBUSY,
				"the array was moved just now: look at umbractl controller list, and try again in a few seconds"),
			&fault);
		return;
	}
	d->role.move.asked = true;
	d->role.move.failed = false;
	snprintf(d->role.move.text, sizeof(d->role.move.text), "its owner to answer");
	a->request = request;
	a->timer.fire = look;
	a->until_ns = reactor_now_ns(d->reactor) + END_MS * MS;
	call(d, PEER_MOVE_BEGIN, force, PATIENCE_MS, asked);
}

void role_ask_owns(struct daemon *d)
{
	if (!d->role.move.asked)
		return;
	over(d); /* a call that is still under way ends by itself */
	d->role.move.text[0] = 0;
}

void role_ask_stop(struct daemon *d)
{
	over(d);
}

/* ---- at the owner -------------------------------------------------------------------------------------- */

static void begin(struct daemon *d, bool force, struct peer_move_answer *a)
{
	struct fault fault = {0};

	a->err = role_move_begin(d, force, true, &fault);
	a->message = fault.message;
	a->state = a->err ? PEER_MOVE_FAILED : PEER_MOVE_WAITS;
	snprintf(a->text, sizeof(a->text), "%s", fault.text);
}

static void tell(const struct daemon *d, struct peer_move_answer *a)
{
	const struct role_move *m = &d->role.move;

	a->state = m->waits ? PEER_MOVE_WAITS : m->failed ? PEER_MOVE_FAILED : PEER_MOVE_NONE;
	snprintf(a->text, sizeof(a->text), "%s", m->text);
}

static void serve(void *arg, struct peer_asked *q)
{
	struct daemon *d = arg;
	struct peer_move_answer a = {.err = 0};
	uint8_t out[PEER_MOVE_ANSWER_MAX_BYTES];
	enum peer_move_what what;
	bool force;

	if (!peer_move_decode(q->data, q->len, &what, &force)) {
		peer_answer(q, -EINVAL, NULL, 0);
		return;
	}
	if (d->role.state != ROLE_OWNER || !d->management) {
		peer_answer(q, -ESHUTDOWN, NULL, 0);
		return;
	}
	if (what == PEER_MOVE_BEGIN)
		begin(d, force, &a);
	else
		tell(d, &a);
	peer_answer(q, 0, out, (uint32_t)peer_move_answer_encode(&a, out));
}

void role_ask_serve(struct daemon *d)
{
	peer_serve(d->role.peer, PEER_MOVE, false, serve, d);
}
