/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two controllers of an array ask each other: calls with an answer, over what their store carries (array/store/wire.h).
 *
 * - A call is carried out at most once, however often it has to be sent: it has a number, and who is asked keeps the answer until
 *   the caller says that it has it.
 * - It is the owner of one epoch that is asked. It carries nothing out unless it holds that epoch's lease, and tells no
 *   answer without: so nobody believes one that has been replaced.
 * - Calls that are under way together may be carried out in any order. Who needs an order waits for the answer.
 *
 * All of it is of the reactor's thread.
 */
#ifndef UMBRA_PEER_H
#define UMBRA_PEER_H

#include "array/peer_codec.h"
#include "array/reactor/reactor.h"
#include "array/store/wire.h"

struct peer;

struct peer_options {
	struct reactor *reactor;
	/* The other controller, which had called, is another process now, or has said nothing for a minute; or NULL. */
	void (*gone)(void *arg);
	void *arg;
};
/* 0, -ENOMEM. */
int peer_create(const struct peer_options *options, struct peer **out);
/* What the store's module gets (store_module_options.wire); the peer's. */
const struct store_wire_user *peer_wire(struct peer *p);
/* All calls end (peer_abandon), and those that come from now on. */
void peer_stop(struct peer *p);
bool peer_is_stopped(const struct peer *p);
/* When there is no wire any more, and nothing of what peer_serve gave is still to be answered. NULL is fine. */
void peer_destroy(struct peer *p);

struct peer_call {
	enum peer_topic topic;
	bool to_standby;  /* else to the owner */
	const void *data; /* the caller's until done */
	uint32_t len;     /* at most PEER_PAYLOAD_MAX_BYTES */
	uint32_t patience_ms;
	/* Comes once, never from inside. 0, with the answer, which is gone afterwards; or
	 * -ESHUTDOWN  nobody owns the array: not carried out
	 * -EAGAIN     it did not get there, or we own the array now: not carried out
	 * -ETIMEDOUT  no answer came: perhaps carried out
	 * another     of the one that was asked: -EOPNOTSUPP (nobody serves the topic), or what peer_answer was given */
	void (*done)(struct peer_call *c, int err, const uint8_t *data, uint32_t len);
	/* private */
	uint64_t number, epoch, until_ns;
	bool maybe, was_late;
	int over;
	struct peer *peer;
	struct peer_attempt *attempt;
	struct reactor_timer again;
	struct list_node link;
};
void peer_call(struct peer *p, struct peer_call *c);
/* Ends all calls that are under way: this controller takes the array over, or ends. */
void peer_abandon(struct peer *p);

/* A call that has come. */
struct peer_asked {
	enum peer_topic topic;
	const uint8_t *data; /* until it is answered */
	uint32_t len;
};
typedef void peer_serve_fn(void *arg, struct peer_asked *q);
/* Calls of that topic are served from now on; by nobody with NULL. At the owner, or (at_standby) at the one that stands by. */
void peer_serve(struct peer *p, enum peer_topic topic, bool at_standby, peer_serve_fn *serve, void *arg);
/* Ends q; once, perhaps from inside `serve`. err: 0 or a negative errno; len: at most PEER_PAYLOAD_MAX_BYTES. */
void peer_answer(struct peer_asked *q, int err, const void *data, uint32_t len);

#endif
