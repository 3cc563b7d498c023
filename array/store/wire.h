/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the controllers of an array reach each other: through what they share, its store. A store's module carries bytes and knows
 * nothing of what they mean (array/peer.h does); the program asks and answers. Whoever may write to the store can write here,
 * too: nothing that arrives is to be believed before it was looked at.
 *
 * All of it is of the reactor's thread. What is asked arrives at each listener once or several times, or not at all.
 */
#ifndef UMBRA_STORE_WIRE_H
#define UMBRA_STORE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "array/reactor/reactor.h"

#define STORE_WIRE_MAX_BYTES   (256u << 10) /* of a question, and of an answer */
#define STORE_WIRE_ANSWERS_MAX 4u           /* more are not told of */

struct store_wire;

struct store_wire_answer {
	const void *data;
	size_t len;
};

struct store_wire_ask {
	bool to_owner;    /* else to those who stand by */
	const void *data; /* the asker's until `asked` */
	size_t len;       /* 1 to STORE_WIRE_MAX_BYTES */
	uint32_t timeout_ms;
	/* Comes once, never from inside. The answers are there while it runs, also with an error: 0 (perhaps nobody listens),
	 * -ETIMEDOUT (not all answered), another errno. */
	void (*asked)(struct store_wire_ask *a, int err);
	struct store_wire_answer answers[STORE_WIRE_ANSWERS_MAX];
	unsigned answer_count;
	/* private */
	struct reactor_deferred later;
};

/* What somebody asks here. Valid until it is answered. */
struct store_wire_heard {
	bool to_owner;
	const uint8_t *data;
	size_t len;
};

struct store_wire_ops {
	/* We own the array: the lease holds now. */
	bool (*owns)(struct store_wire *w);
	/* The epoch of the owner, as far as is known: our own, or what was read last. 0: nobody owns the array. */
	uint64_t (*epoch)(struct store_wire *w);
	void (*ask)(struct store_wire *w, struct store_wire_ask *a);
	/* Each `heard` gets its answer, which may have no bytes. It ends h. */
	void (*answer)(struct store_wire *w, struct store_wire_heard *h, const void *data, size_t len);
};
struct store_wire {
	const struct store_wire_ops *ops;
};

/* Of the program; outlives the store. */
struct store_wire_user {
	void *arg;
	/* There is a wire from here to `down`, after which it is not touched any more: all that was asked has ended, and what
	 * was heard needs no answer. */
	void (*up)(void *arg, struct store_wire *w);
	void (*down)(void *arg, struct store_wire *w);
	/* May be answered from inside. */
	void (*heard)(void *arg, struct store_wire *w, struct store_wire_heard *h);
};

#endif
