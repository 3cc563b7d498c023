/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call over the management socket, as its method sees it. The method ends it exactly once with mgmt_result, mgmt_fault,
 * mgmt_fail or mgmt_bad_params, perhaps later. The connection may be gone by then; the call does not care.
 */
#ifndef UMBRA_CONTROL_RPC_H
#define UMBRA_CONTROL_RPC_H

#include <jansson.h>
#include "array/control/control.h"

#define MGMT_HINT_MAX_BYTES 252

struct connection;
struct mgmt_call;

/* JSON-RPC 2.0, section 5.1; the last two are this daemon's. */
enum mgmt_error {
	MGMT_PARSE_ERROR = -32700,
	MGMT_INVALID_REQUEST = -32600,
	MGMT_NO_METHOD = -32601,
	MGMT_BAD_PARAMS = -32602,
	MGMT_INTERNAL = -32603,
	MGMT_FAILED = -32000,  /* data.errno says why */
	MGMT_REFUSED = -32001, /* this peer may not, or there are too many */
};

/* What a call needs of whoever took it in (management.c). */
struct mgmt_door {
	/* The call is over and freed. answer: moved; NULL: there was no memory for it. */
	void (*end)(struct mgmt_call *c, json_t *answer);
	/* mgmt_follow */
	void (*follow)(struct mgmt_call *c, uint64_t after);
};

struct mgmt_call {
	const struct mgmt_door *door;
	struct management *management; /* the door's, and the connection */
	struct connection *connection; /* NULL: gone */
	const struct management_options *options;
	struct array *array;
	uint64_t started_unix_ms; /* when umbrad was */
	json_t *message;          /* owned */
	json_t *id;               /* in message; NULL: a notification, nobody wants the answer */
	json_t *params;           /* in message, or `none` */
	struct array_call call;   /* for the method's asynchronous work */
	/* of the methods for sets (methods_set.c) */
	uint8_t set_id[UP_ID_BYTES];
	struct set_taking taking;
	struct lun *lun;   /* held, or NULL */
	char warning[320]; /* empty, or what goes with the result as "warning" */
};

/* Ends the call. result: moved; NULL means that there was no memory. */
void mgmt_result(struct mgmt_call *c, json_t *result);
/* err: a negative errno; the fault's text (when it has one) is the message. */
void mgmt_fault(struct mgmt_call *c, int err, const struct fault *fault);
void mgmt_fail(struct mgmt_call *c, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));
void mgmt_bad_params(struct mgmt_call *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Of the array_call in it. */
struct mgmt_call *mgmt_call_of(struct array_call *call);
/* For the `done` of that array_call: ends the call with {} (and the warning), or with the fault. */
void mgmt_done(struct array_call *call);
/* The result with the call's warning, if it has one. result: moved. */
json_t *mgmt_warned(const struct mgmt_call *c, json_t *result);
/* Ends the call; from now on its connection gets every event later than `after`, as a notification. */
void mgmt_follow(struct mgmt_call *c, uint64_t after);
/* An error as JSON-RPC has it. number: the text's id (array/util/message.h). err: a negative errno, or 0: none. */
json_t *mgmt_error_json(
	json_t *id, int code, uint32_t number, const char *message, int err, const char *hint);

#endif
