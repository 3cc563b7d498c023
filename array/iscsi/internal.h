/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The iSCSI target from inside: a table of contents. Reactor thread only.
 *
 *   address.h pdu.h text.h params.h chap.h login.h   pure parts, no state of the server's
 *   event.c            what goes to the array's events
 *   buffer.c           data buffers, bounded over all sessions
 *   receive.c          bytes → PDUs
 *   transmit.c         queued PDUs → one sendmsg a turn
 *   dispatch.c         which file a PDU of the full feature phase goes to; the single ones: NOP, logout, …
 *   cmdsn.c            the order of requests; those that came before their turn
 *   command.c          SCSI commands, Data-Out, R2T, responses
 *   task_management.c  task management
 *   discovery.c        Text requests: SendTargets
 *   session.c          login on a connection; sessions: TSIH, reinstatement, view
 *   conn.c             a connection's life, its timers, its end
 *   server.c           portals, accepting, stopping
 *
 * A session has one connection, so both are one struct: iscsi_conn. A connection is freed only by a deferred
 * call, when nothing of it is under way: no receive, no send, no task in the SCSI layer, no task management.
 */
#ifndef UMBRA_ISCSI_INTERNAL_H
#define UMBRA_ISCSI_INTERNAL_H

#include "array/iscsi/address.h"
#include "array/iscsi/iscsi.h"
#include "array/iscsi/login.h"
#include "array/reactor/reactor.h"

#define ISCSI_PORTALS_MAX      16
#define ISCSI_PORTAL_GROUP_TAG 1     /* of a portal for which no other is given */
#define ISCSI_RECEIVE_BYTES    65536 /* a connection's receive buffer */
#define ISCSI_DIRECT_MIN_BYTES 16384 /* this much and more is received into the task's buffer */
#define ISCSI_BATCH_PDUS       64    /* PDUs a sendmsg */
#define ISCSI_BATCH_BYTES      (1u << 20)
#define ISCSI_ITT_BUCKETS      64
#define ISCSI_R2T_MAX          8
#define ISCSI_IMMEDIATE_MAX    8    /* immediate commands under way a session, beyond tasks_max */
#define ISCSI_MANAGEMENT_MAX   16   /* task management functions under way a session */
#define ISCSI_LATE_R2TS        1024 /* R2Ts of tasks that are gone, whose data may still come */
#define ISCSI_DRAIN_MS         1000 /* without data of aborted tasks: no more of it is waited for */
#define ISCSI_QUEUED_MAX       64   /* small answers waiting to be sent; past it we read no further */
#define ISCSI_QUEUED_BYTES_MAX (1u << 20)
#define ISCSI_LINGER_MS        1000 /* for the peer to take our last PDUs */
#define ISCSI_STOP_GRACE_MS    2000 /* for initiators to log out */
/* Connections past a limit that are told so when they ask to log in; past these bounds they are closed at once. */
#define ISCSI_TURNED_AWAY_MAX        16
#define ISCSI_TURNED_AWAY_SOURCE_MAX 4    /* of one address */
#define ISCSI_TURNED_AWAY_MS         5000 /* for their login request; login_timeout if that is less */

struct iscsi_server;
struct iscsi_conn;

/* ---- event.c -------------------------------------------------------------------------------------------- */

/* array_event of area "session", limited in rate: strangers cause these. */
void iscsi_event(struct iscsi_server *s, enum array_event_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- buffer.c --------------------------------------------------------------------------------------- */

#define ISCSI_BUFFER_CLASSES 12 /* 4 KiB … 8 MiB */

/* Page-aligned buffers in classes of powers of two. Freed ones are kept for reuse, within the bound. */
struct iscsi_buffers {
	uint64_t bytes_max, bytes_used, bytes_kept;
	void *free[ISCSI_BUFFER_CLASSES];
};

void iscsi_buffers_init(struct iscsi_buffers *b, uint64_t bytes_max);
void iscsi_buffers_free(struct iscsi_buffers *b); /* all given back */
/* At least len bytes, or NULL past the bound. urgent: may use the last eighth too (reads, control requests,
 * what a connection needs to go on), so that waiting writes never stop them. */
void *iscsi_buffer_get(struct iscsi_buffers *b, uint32_t len, bool urgent);
/* len as given to get. NULL is fine. */
void iscsi_buffer_put(struct iscsi_buffers *b, void *buffer, uint32_t len);
uint64_t iscsi_buffer_size(uint32_t len); /* what it takes of the bound */

/* ---- things to send --------------------------------------------------------------------------------- */

enum iscsi_out_kind {
	ISCSI_OUT_SMALL,    /* struct iscsi_small */
	ISCSI_OUT_RESPONSE, /* struct iscsi_task: Data-In and SCSI Response */
	ISCSI_OUT_R2T,      /* struct iscsi_task: asks for data */
};

/* A node in the connection's queue of things to send. */
struct iscsi_out {
	struct list_node link;
	enum iscsi_out_kind kind;
};

/* A PDU of its own. StatSN, ExpCmdSN, MaxCmdSN are filled in when it is sent. */
struct iscsi_small {
	struct iscsi_out out;
	uint8_t bhs[ISCSI_BHS_BYTES];
	uint32_t data_len;
	uint8_t *data;       /* in `text`, or a buffer of buffer_len bytes */
	uint32_t buffer_len; /* 0: no buffer */
	bool plain;          /* no digests: login */
	bool keeps_statsn;   /* shows StatSN without using it up: NOP-In ping */
	bool ends;           /* the connection ends once it is sent */
	uint8_t text[];
};

/* ---- tasks ------------------------------------------------------------------------------------------ */

enum iscsi_task_state {
	ISCSI_TASK_ARRIVING,    /* its PDU is not complete */
	ISCSI_TASK_UNSOLICITED, /* unsolicited Data-Out PDUs follow */
	ISCSI_TASK_SOLICITED,   /* R2Ts are out or queued */
	ISCSI_TASK_RUNNING,     /* in the SCSI layer */
	ISCSI_TASK_RESPONDING,  /* queued or being sent */
};

struct iscsi_r2t {
	uint32_t ttt, end; /* end: buffer offset */
};

/* A request that waits for its CmdSN, or the place of one that was given up. */
struct iscsi_held {
	struct list_node link; /* conn->held, by CmdSN */
	uint32_t cmdsn;
	bool wanted; /* false: nothing is to be done when its turn comes */
	uint8_t bhs[ISCSI_BHS_BYTES];
	struct iscsi_task *task; /* of a SCSI command; NULL: it was dropped meanwhile */
	uint8_t *buffer;         /* else its data, data_len bytes */
	uint32_t data_len;
};

struct iscsi_task {
	struct scsi_task scsi;
	struct iscsi_conn *conn;
	struct iscsi_out out;
	struct list_node link;     /* conn->tasks, or the server's free list */
	struct list_node itt_link; /* conn->by_itt */
	enum iscsi_task_state state;
	uint32_t itt;
	uint32_t edtl;           /* Expected Data Transfer Length */
	uint32_t wanted;         /* bytes to collect */
	uint32_t got;            /* bytes that arrived, those thrown away included */
	uint32_t buffer_len;     /* of scsi.data */
	uint32_t device_len;     /* bytes that the command moves, by its CDB */
	uint32_t sent, send_len; /* read data */
	uint32_t datasn;         /* Data-In or R2T PDUs sent so far */
	uint32_t data_out_sn;    /* expected in the next Data-Out of this burst */
	uint32_t solicited;      /* R2Ts cover the data up to here */
	unsigned r2t_first, r2t_count;
	struct iscsi_r2t r2ts[ISCSI_R2T_MAX];
	bool immediate;   /* command with the I bit: no CmdSN of its own */
	bool read, write; /* R and W bits */
	bool over;        /* status is known already: arriving data is thrown away */
	bool dropped;     /* it goes without a response when the PDU is complete that is just arriving */
	bool draining;    /* it goes without a response when the data has come that R2Ts asked for */
	bool burst_over;  /* while it waits for its CmdSN: its unsolicited data is complete */
	bool counted;     /* in the connection's ordered_tasks or immediate_tasks */
	bool parsed;      /* the SCSI layer holds it: execute or discard */
	struct iscsi_held *held; /* its turn has not come */
	uint8_t sense_pdu[4 + SCSI_SENSE_MAX_BYTES];
};

/* ---- connections ------------------------------------------------------------------------------------ */

enum iscsi_conn_state {
	ISCSI_CONN_LOGIN,
	ISCSI_CONN_REINSTATING, /* the login is done; it waits for the end of the session that it replaces */
	ISCSI_CONN_FULL,
	ISCSI_CONN_LOGOUT, /* answer is due when the tasks are over */
	ISCSI_CONN_ENDING, /* the last PDUs go out; nothing more is taken in */
	ISCSI_CONN_DEAD,   /* waits for what is under way, then freed */
};

enum iscsi_receive_phase {
	ISCSI_RECEIVE_HEADER,
	ISCSI_RECEIVE_DATA,
	ISCSI_RECEIVE_TAIL
};

struct iscsi_receive {
	struct reactor_op op;
	bool direct; /* op goes to sink */
	bool parsing;
	uint8_t *buf;
	uint32_t start, end;
	enum iscsi_receive_phase phase;
	uint8_t header[ISCSI_BHS_BYTES + ISCSI_AHS_MAX_BYTES];
	uint32_t data_len, data_got;
	uint8_t *sink;     /* where data goes, NULL: thrown away */
	uint32_t sink_len; /* room there; what is beyond is thrown away */
	uint32_t crc;
	struct iscsi_task *task; /* the PDU belongs to it */
	uint8_t *buffer;         /* the sink is this one, of data_len bytes */
	bool ignored;            /* the PDU counts for nothing */
	bool ahead;              /* its turn has not come: to be held */
	uint8_t reject;          /* enum iscsi_reject, 0: none: at the PDU's end */
};

struct iscsi_slot {
	uint8_t header[ISCSI_BHS_BYTES + ISCSI_DIGEST_BYTES];
	uint8_t tail[3 + ISCSI_DIGEST_BYTES];
};

struct iscsi_transmit {
	struct reactor_op op;
	struct reactor_deferred flush;
	struct list queue;   /* iscsi_out: waiting */
	struct list sending; /* iscsi_out: wholly in the batch, to be released when it is sent */
	unsigned small_count;
	uint64_t small_bytes;
	unsigned slot_count, iov_first, iov_count;
	uint64_t bytes;
	bool ends; /* the batch holds the connection's last PDU */
	struct iscsi_slot slots[ISCSI_BATCH_PDUS];
	struct iovec iov[ISCSI_BATCH_PDUS * 3];
};

/* Text in parts, both ways (RFC 7143 11.10). */
struct iscsi_text_exchange {
	char *in;
	size_t in_len;
	char *out;
	size_t out_len, out_at;
	uint32_t ttt;
};

struct iscsi_conn {
	struct iscsi_server *server;
	struct list_node link;
	int fd;
	unsigned portal;
	struct sockaddr_storage peer, local;
	char peer_text[80];
	enum iscsi_conn_state state;
	struct iscsi_receive rx;
	struct iscsi_transmit tx;
	struct reactor_timer timer;
	struct reactor_deferred end; /* conn_advance_end */
	uint64_t heard_ns;           /* anything from the peer */
	uint64_t said_ns;            /* the last of what there was to send has gone out */
	bool pinged;
	uint64_t pinged_ns;
	uint64_t deadline_ns; /* of the login, of ENDING, of waiting for a logout; 0: none */
	bool revoked;         /* the host's rights are gone: no command is served any more */
	bool turned_away;     /* past a limit: its login is refused; no limit counts it */

	struct iscsi_login *login; /* until the full feature phase */
	struct iscsi_small *last_response;

	/* the session */
	char initiator[ISCSI_NAME_MAX_BYTES + 1];
	uint8_t isid[6];
	uint16_t tsih, cid;
	uint64_t login_serial; /* of two logins for one session the later wins */
	bool discovery, authenticated, logged_in;
	bool header_digest, data_digest;
	struct iscsi_params params;
	struct scsi_nexus *nexus;
	uint64_t since_unix_ms, commands, bytes_in, bytes_out;
	uint32_t expcmdsn, maxcmdsn, statsn, next_ttt;
	unsigned ordered_tasks; /* hold a place of the CmdSN window */
	unsigned immediate_tasks;
	unsigned running;        /* tasks in the SCSI layer */
	unsigned managing;       /* task management functions under way */
	struct list managements; /* struct management, task_management.c: those that may have to wait */
	unsigned draining;       /* tasks */
	uint64_t drain_ns;       /* when one began to drain, or data of one came */
	uint64_t buffer_bytes;   /* lent to it */
	const void
		*host; /* tells the sessions of one host from others; never dereferenced. NULL: no host's */
	unsigned late_next;
	uint32_t late[ISCSI_LATE_R2TS]; /* target transfer tags, 0: none */
	struct list tasks;              /* all, by arrival */
	struct list held;               /* iscsi_held */
	uint64_t gap_ns;                /* since when `held` waits */
	struct list by_itt[ISCSI_ITT_BUCKETS];
	struct iscsi_text_exchange text;
	uint8_t logout_bhs[ISCSI_BHS_BYTES];
};

/* ---- receive.c */
void iscsi_receive_init(struct iscsi_conn *c);
/* Starts a receive if one may be started. */
void iscsi_receive_more(struct iscsi_conn *c);

/* ---- transmit.c */
void iscsi_transmit_init(struct iscsi_conn *c);
/* Queues it; it goes out at the end of the turn. */
void iscsi_transmit(struct iscsi_conn *c, struct iscsi_out *out);
/* A PDU with room for text_len bytes of data, or NULL: no memory, and the connection is ended. */
struct iscsi_small *iscsi_small_new(
	struct iscsi_conn *c, enum iscsi_opcode opcode, uint8_t flags, uint32_t itt, uint32_t text_len);
void iscsi_small_send(struct iscsi_conn *c, struct iscsi_small *s);
/* The connection's last PDU: nothing more is taken in; it ends when this is sent. */
void iscsi_small_send_last(struct iscsi_conn *c, struct iscsi_small *s);
/* Forgets what was queued and not sent. */
void iscsi_transmit_drop(struct iscsi_conn *c);

/* ---- dispatch.c */
/* A PDU's header is here: says where its data goes (c->rx.sink …). False: the connection has been ended. */
bool iscsi_pdu_begin(struct iscsi_conn *c);
/* Its data is here too, and right. */
void iscsi_pdu_end(struct iscsi_conn *c);
/* Its data digest is wrong. */
void iscsi_pdu_spoilt(struct iscsi_conn *c);
void iscsi_reject(struct iscsi_conn *c, enum iscsi_reject reason, const uint8_t *bhs);
/* Reject, then the end: the peer broke the protocol. `why` is a literal. */
void iscsi_protocol_error(struct iscsi_conn *c, const uint8_t *bhs, const char *why);
void iscsi_ping(struct iscsi_conn *c);
/* The initiator is to log out within this time; then the connection is dropped. */
void iscsi_ask_logout(struct iscsi_conn *c, uint32_t ms);
/* Tells the peer that its connection is dropped, and does so. */
void iscsi_tell_drop(struct iscsi_conn *c);
/* A request whose turn has come. *buffer: its data, set to NULL when it is kept. */
void iscsi_request(
	struct iscsi_conn *c, const uint8_t *bhs, uint8_t **buffer, uint32_t len, struct iscsi_task *t);
void iscsi_logout_answer(struct iscsi_conn *c);

/* ---- cmdsn.c */
/* The request whose header is here: sets rx.ignored or rx.ahead. */
void iscsi_cmdsn_check(struct iscsi_conn *c);
/* It is complete and ahead. */
void iscsi_cmdsn_hold(struct iscsi_conn *c);
/* Carries out those whose turn has come. */
void iscsi_cmdsn_run(struct iscsi_conn *c);
/* A request that did not arrive counts as received. False: it is out of the window, or has arrived. */
bool iscsi_cmdsn_give_up(struct iscsi_conn *c, uint32_t cmdsn);
void iscsi_cmdsn_drop_all(struct iscsi_conn *c);

/* ---- command.c */
bool iscsi_command_begin(struct iscsi_conn *c);
/* Its PDU is complete. */
void iscsi_command_end(struct iscsi_conn *c);
/* Its turn has come. */
void iscsi_command_start(struct iscsi_task *t);
/* Another initiator's task management ended a task that was still collecting its data. */
void iscsi_task_aborted(void *transport, struct scsi_task *scsi);
/* The connection has another nexus than before: tasks that still collect their data go on with that one. */
void iscsi_tasks_rehome(struct iscsi_conn *c);
bool iscsi_data_out_begin(struct iscsi_conn *c);
void iscsi_data_out_end(struct iscsi_conn *c, bool spoilt);
struct iscsi_task *iscsi_task_find(struct iscsi_conn *c, uint32_t itt);
/* A task that is not in the SCSI layer's hands goes, without a response. */
void iscsi_task_drop(struct iscsi_task *t);
/* The same, but it keeps its tag until the data has come that was asked for: counts in c->draining. */
void iscsi_task_drain(struct iscsi_task *t);
/* The tasks that drain go now: their data has not come. */
void iscsi_drain_give_up(struct iscsi_conn *c);
/* The next target transfer tag: neither 0 nor the reserved one. */
uint32_t iscsi_new_ttt(struct iscsi_conn *c);
bool iscsi_task_collecting(const struct iscsi_task *t);
void iscsi_task_free(struct iscsi_task *t);
/* Emits what t has to send; true: all of it is in the batch. */
bool iscsi_task_emit(struct iscsi_task *t);
bool iscsi_task_emit_r2t(struct iscsi_task *t);
/* transmit.c, for them: one PDU into the batch. False: no room. */
bool iscsi_emit(struct iscsi_conn *c, uint8_t **bhs, const uint8_t *data, uint32_t data_len, bool plain);
void iscsi_emit_done(struct iscsi_conn *c, bool plain); /* header complete: digests */
void iscsi_fill_sn(struct iscsi_conn *c, uint8_t *bhs, bool uses_statsn);

/* ---- task_management.c */
void iscsi_management(struct iscsi_conn *c, const uint8_t *bhs);
/* ExpCmdSN moved on, or a task has drained: does a function wait for it no more? */
void iscsi_management_check(struct iscsi_conn *c);
/* The connection has another nexus than before: functions that have not begun are for that one. */
void iscsi_management_rehome(struct iscsi_conn *c);
/* The connection is on its way out: functions that wait for the initiator are given up. */
void iscsi_management_drop(struct iscsi_conn *c);

/* ---- discovery.c */
void iscsi_text_request(struct iscsi_conn *c, const uint8_t *bhs, const char *data, uint32_t len);
void iscsi_text_exchange_free(struct iscsi_conn *c);

/* ---- session.c */
int iscsi_login_begin(struct iscsi_conn *c);
void iscsi_login_pdu(struct iscsi_conn *c, const uint8_t *bhs, const char *data, uint32_t len);
/* The session goes on at the server's SCSI target, which is another one now; or the connection is ended. */
void iscsi_session_rehome(struct iscsi_conn *c);
/* REINSTATING: goes on when no session with this name and ISID is left. */
void iscsi_reinstate(struct iscsi_conn *c);
void iscsi_login_release(struct iscsi_conn *c);

/* ---- conn.c */
/* Takes fd over, even when it fails (NULL: no memory). */
struct iscsi_conn *iscsi_conn_create(struct iscsi_server *s, int fd, unsigned portal,
	const struct sockaddr_storage *peer, const struct sockaddr_storage *local);
/* A new one that is past a limit: it has a short time to ask for a login, which is refused. */
void iscsi_conn_turn_away(struct iscsi_conn *c);
/* Of the server's buffers, in the share that a host may have, so that none keeps them all from the others: a half,
 * and an eighth for what is urgent. Discovery sessions together have a sixteenth; logins are small, and take what
 * there is. */
void *iscsi_conn_buffer_get(struct iscsi_conn *c, uint32_t len, bool urgent);
void iscsi_conn_buffer_put(struct iscsi_conn *c, void *buffer, uint32_t len);
/* Takes PDUs in. */
bool iscsi_conn_open(const struct iscsi_conn *c);
/* c, which has logged in with the session and connection ids of `old`, takes its session over; old ends. */
void iscsi_conn_succeed(struct iscsi_conn *c, struct iscsi_conn *old);
/* Its last PDU is sent: waits a little for the peer to take it. */
void iscsi_conn_last_sent(struct iscsi_conn *c);
/* No way on. From anywhere: the connection is taken apart by a deferred call. `why` (may be NULL) goes to
 * the events. */
void iscsi_conn_kill(struct iscsi_conn *c, const char *why);
/* Something of a connection on its way out is over: look (later) whether it may take the next step. */
void iscsi_conn_check_end(struct iscsi_conn *c);
void iscsi_conn_deadline(struct iscsi_conn *c, uint64_t ms);
void iscsi_conn_timer_update(struct iscsi_conn *c);

/* ---- server.c */
struct iscsi_listener {
	struct iscsi_server *server;
	struct reactor_op op;
	struct reactor_timer retry; /* out of descriptors */
	int fd;
	unsigned index;
	struct iscsi_portal portal;
	struct sockaddr_storage address;
};

/* Of another controller. */
struct iscsi_peer {
	struct sockaddr_storage address;
	uint16_t group;
};

struct iscsi_server {
	struct iscsi_options options; /* defaults filled in; strings are the server's */
	struct reactor *reactor;
	char target_name[ISCSI_NAME_MAX_BYTES + 1];
	struct iscsi_listener listeners[ISCSI_PORTALS_MAX];
	unsigned listener_count;
	struct iscsi_peer peers[ISCSI_PEER_PORTALS_MAX];
	unsigned peer_count;
	struct iscsi_buffers buffers;
	struct list conns;
	unsigned conn_count;
	struct list free_tasks;
	unsigned free_task_count;
	uint16_t last_tsih;
	uint64_t last_login;
	bool stopping, stopped;
	struct reactor_timer stop_timer;
	struct reactor_deferred stop_check;
	void (*stop_done)(void *arg);
	void *stop_arg;
	uint64_t events_window_ns; /* event.c */
	unsigned events_in_window;
};

/* Everything but sockets. */
void iscsi_server_init(struct iscsi_server *s, const struct iscsi_options *options);
void iscsi_server_conn_gone(struct iscsi_server *s);
static inline uint16_t iscsi_portal_group(const struct iscsi_server *s, unsigned portal)
{
	uint16_t group = portal < ISCSI_PORTALS_MAX ? s->listeners[portal].portal.group : 0;

	return group ? group : ISCSI_PORTAL_GROUP_TAG;
}

#endif
