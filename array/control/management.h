/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the management socket: management.c has the socket, the connections and JSON-RPC's frame; the
 * methods_*.c have the methods, each a row of a table.
 *
 * A method gets a struct mgmt_call and ends it exactly once with mgmt_result, mgmt_fault or mgmt_bad_params,
 * perhaps later. The connection may be gone by then; the call does not care.
 */
#ifndef UMBRA_CONTROL_MANAGEMENT_H
#define UMBRA_CONTROL_MANAGEMENT_H

#include <jansson.h>
#include "array/control/control.h"
#include "array/util/json_text.h"

#define MGMT_MESSAGE_MAX_BYTES 65536
#define MGMT_PAGE_MAX          1000 /* entries in one list reply */
#define MGMT_HINT_MAX_BYTES    252

struct connection;

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

struct mgmt_call {
	struct management *m;
	struct array *array;
	struct connection *connection; /* NULL: gone */
	json_t *message;               /* owned */
	json_t *id;                    /* in message; NULL: a notification, nobody wants the answer */
	json_t *params;                /* in message, or `none` */
	struct array_call call;        /* for the method's asynchronous work */
	/* of the methods for sets (methods_set.c) */
	uint8_t set_id[UP_ID_BYTES];
	bool keep;
	struct fault first_fault;
	struct lun *lun; /* held, or NULL */
};

struct mgmt_method {
	const char *name;
	void (*run)(struct mgmt_call *c);
};
extern const struct mgmt_method mgmt_lun_methods[], mgmt_host_methods[], mgmt_set_methods[],
	mgmt_resync_methods[], mgmt_recycle_methods[], mgmt_status_methods[];

/* Ends the call. result: moved; NULL means that there was no memory. */
void mgmt_result(struct mgmt_call *c, json_t *result);
/* err: a negative errno; the fault's text (when it has one) is the message. */
void mgmt_fault(struct mgmt_call *c, int err, const struct fault *fault);
void mgmt_fail(struct mgmt_call *c, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));
void mgmt_bad_params(struct mgmt_call *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Of the array_call in it. */
struct mgmt_call *mgmt_call_of(struct array_call *call);
/* What may be done when the array_call of a mgmt_call has ended: end that with {}, with the LUN, or with the fault. */
void mgmt_done(struct array_call *call);
void mgmt_lun_done(struct array_call *call);

/* The params, all of them, by jansson's unpack format (strict: unknown members are refused). False: the
 * call has been ended. */
bool mgmt_unpack(struct mgmt_call *c, const char *format, ...);
/* "offset" and "limit" of a list. False: ended. */
bool mgmt_page(struct mgmt_call *c, size_t *offset, size_t *limit);
/* The same, of values already unpacked. */
bool mgmt_page_of(struct mgmt_call *c, json_int_t from, json_int_t count, size_t *offset, size_t *limit);
/* {"NAME": entries, "next": the next offset or null}; entries is moved. */
json_t *mgmt_page_result(const char *name, json_t *entries, size_t next, bool more);

/* By name or id; NULL: the call has been ended with -ENOENT. */
struct lun *mgmt_find_lun(struct mgmt_call *c, const char *name);
struct lun *mgmt_find_shadow(struct mgmt_call *c, const char *name);
struct host *mgmt_find_host(struct mgmt_call *c, const char *name);
struct set *mgmt_find_set(struct mgmt_call *c, const char *name);

/* 32 hex digits. */
json_t *mgmt_id(const uint8_t id[UP_ID_BYTES]);
/* A time as milliseconds, or null for 0. */
json_t *mgmt_time(uint64_t unix_ms);
json_t *mgmt_lun_json(struct lun *lun, bool detail);
json_t *mgmt_event_json(const struct array_event *e);

/* From now on the connection gets every event as a notification. */
void mgmt_follow(struct mgmt_call *c, uint64_t after);
const struct management_options *mgmt_options(const struct management *m);
uint64_t mgmt_started_unix_ms(const struct management *m);
uint64_t mgmt_unix_ms(void);

/* For the fuzzer and the unit tests: one line as a connection would see it; the answer (one line, malloc'ed)
 * or NULL for none. Only methods that end at once are answered. */
char *management_answer(struct management *m, const char *line, size_t len);
struct management *management_headless(const struct management_options *options);

#endif
