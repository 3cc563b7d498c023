/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One iSCSI session of one host, kept alive: commands go in with labw_request's words and come back by
 * callback.
 *
 * Single-threaded: the owner polls session_fd() for session_events(), calls session_service() with what it
 * saw and with the current time at least as often as session_wait_ms() says.
 *
 * Invariants:
 * - Every submitted command's done() is called exactly once, never from inside session_submit().
 * - The libiscsi context is created and destroyed only in session_service(), outside libiscsi's callbacks.
 * - libiscsi's own reconnecting is off: it would send commands again that were perhaps done. After a loss a
 *   new session is made (same ISID: it reinstates the old one); see LABW_LOST for what was under way.
 * - A command that is late ends as Storport ends it: its LUN is reset, then the target, then the session, until one of
 *   them is answered. What else is under way there ends with it. Every reset is counted, and said in the log.
 * - Without a session no time-out counts: commands are held until there is one, for link_down_ms at most.
 */
#ifndef UMBRA_LAB_SESSION_H
#define UMBRA_LAB_SESSION_H

#include <stdint.h>
#include "array/util/list.h"
#include "lab/bridge/wire.h"

struct session;
struct scsi_task;

struct session_options {
	const char *portal; /* host:port */
	const char *target;
	const char *initiator;
	uint16_t adapter;        /* of the host; two of them may have sessions with one target */
	const char *chap_user;   /* NULL: no CHAP */
	const char *chap_secret; /* borrowed while the session lives, as the others */
	uint32_t link_down_ms;   /* how long commands wait for a lost session */
	uint32_t reset_ms;       /* how long the target may take for a reset before the next, harder one */
	uint32_t nop_ms;         /* keepalive interval; three without an answer end the session */
};

enum session_cmd_state {
	CMD_WAITING,    /* to be sent, not before hold_until_ms */
	CMD_SENT,       /* libiscsi has it */
	CMD_REPLY_HELD, /* answered; told at hold_until_ms */
	CMD_SILENT,     /* answered; nobody will hear */
	CMD_ABANDONED,  /* told already; libiscsi has it still */
};

struct session_cmd {
	struct list_node node;
	struct session *session;
	struct labw_request req;               /* EXEC or RESET; data points into body */
	uint8_t *body;                         /* owned, may be NULL */
	void (*done)(struct session_cmd *cmd); /* cmd dies after it returns; NULL: nobody waits */
	void *owner;

	enum session_cmd_state state;
	uint8_t fault; /* enum labw_fault_kind that hit it */
	bool reset;    /* libiscsi gives it back because of a reset */
	unsigned int tries_left;
	uint64_t deadline_ms, hold_until_ms;
	uint32_t reply_delay_ms;
	struct scsi_task *task;

	/* the outcome */
	uint32_t result; /* enum labw_result */
	uint8_t scsi_status;
	uint32_t residual_bytes;
	uint32_t sense_bytes;
	uint8_t sense[LABW_SENSE_MAX_BYTES];
	uint32_t data_bytes;
	const uint8_t *data; /* the task's */
};

struct session *session_create(const struct session_options *opt, uint64_t now_ms);
void session_destroy(struct session *s);

int session_fd(const struct session *s); /* -1: nothing to poll */
short session_events(const struct session *s);
int session_wait_ms(const struct session *s, uint64_t now_ms);
void session_service(struct session *s, short revents, uint64_t now_ms);

/* Called whenever a login has succeeded. From then until session_settled() only class commands go out: fn
 * uses up the attentions that are pending. */
void session_on_up(struct session *s, void (*fn)(void *arg), void *arg);
void session_settled(struct session *s);

/* Moves *req and body (owned from now on). NULL when out of memory or bounds; body is freed then too. */
struct session_cmd *session_submit(struct session *s, const struct labw_request *req, uint8_t *body,
	void (*done)(struct session_cmd *cmd), void *owner, uint64_t now_ms);

void session_fault(struct session *s, const struct labw_fault *fault, uint64_t now_ms);
struct labw_status *session_counters(struct session *s);

uint64_t session_now_ms(void);

#endif
