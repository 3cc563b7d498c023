/* SPDX-License-Identifier: Apache-2.0 */
/* See session.h. All commands, sent or not, are in one list; it is short (the bridge bounds its connections).
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include "lab/bridge/session.h"

enum {
	MAX_COMMANDS = 1024,
	MAX_FAULTS = 16,
	CLASS_TRIES = 8,
	LOGIN_TIMEOUT_MS = 10000,
	FIRST_LOGIN_MS = 15000, /* no more patience than that with a target that was never there */
	RETRY_FIRST_MS = 100,
	RETRY_MAX_MS = 1000,
	NOPS_UNANSWERED = 3,
	STATUS_TASK_ABORTED = 0x40,
};

/* Which reset is under way. */
enum rung {
	RUNG_NONE,
	RUNG_LUN,
	RUNG_TARGET
};

struct session {
	struct session_options opt;
	struct iscsi_context *iscsi; /* NULL: down */
	bool up;                     /* logged in */
	bool drop_wanted;            /* destroy the context at the next chance */
	bool settling;               /* logged in, pending attentions not yet used up: raw commands wait */
	uint64_t down_since_ms;      /* valid while not up */
	uint64_t login_started_ms, retry_at_ms;
	uint32_t retry_ms;
	uint64_t nop_at_ms;
	enum rung rung;
	uint16_t rung_lun;      /* of the first one */
	uint64_t rung_until_ms; /* valid with a rung */
	uint64_t now_ms;        /* of the current session_service call */
	struct list cmds;
	unsigned int cmd_count;
	struct labw_fault faults[MAX_FAULTS];
	unsigned int fault_count;
	struct labw_status counters;
	void (*on_up)(void *arg);
	void *on_up_arg;
};

static struct session_cmd *cmd_of(struct list_node *n)
{
	return container_of(n, struct session_cmd, node);
}

uint64_t session_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- the life of a command --------------------------------------------------------------------------------
 */

static void cmd_free(struct session_cmd *c)
{
	list_remove(&c->node);
	c->session->cmd_count--;
	if (c->task)
		scsi_free_scsi_task(c->task);
	free(c->body);
	free(c);
}

/* Tells the owner. A command that libiscsi still has stays behind, abandoned, until libiscsi gives it back.
 */
static void cmd_finish(struct session_cmd *c, uint32_t result)
{
	bool in_flight = c->state == CMD_SENT;

	c->result = result;
	if (result == LABW_TIMEOUT)
		c->session->counters.timeouts++;
	if (result == LABW_LOST)
		c->session->counters.lost++;
	if (c->done)
		c->done(c);
	c->done = NULL;
	if (in_flight)
		c->state = CMD_ABANDONED;
	else
		cmd_free(c);
}

static void cmd_wait_again(struct session_cmd *c)
{
	if (c->task) {
		scsi_free_scsi_task(c->task);
		c->task = NULL;
	}
	c->state = CMD_WAITING;
	c->hold_until_ms = 0;
	c->sense_bytes = c->data_bytes = c->residual_bytes = 0;
}

/* The session ends, and libiscsi does not have this command: its owner is told, or the next session sends it
 * again. */
static void cmd_lose(struct session_cmd *c)
{
	c->session->drop_wanted = true;
	c->fault = LABW_FAULT_CLEAR;
	if (c->req.flags & LABW_F_CLASS && c->tries_left) {
		c->tries_left--;
		cmd_wait_again(c);
	} else {
		cmd_finish(c, LABW_LOST);
	}
}

static bool is_unit_attention(const struct session_cmd *c)
{
	return c->scsi_status == SCSI_STATUS_CHECK_CONDITION && c->sense_bytes > 2 &&
	       ((c->sense[0] & 0x7E) == 0x70 ? c->sense[2] : c->sense[1] & 0x0F) % 16 == 6;
}

static void note_attention(struct session_cmd *c)
{
	bool fixed = (c->sense[0] & 0x7E) == 0x70;
	uint8_t asc = fixed ? (c->sense_bytes > 13 ? c->sense[12] : 0) : c->sense[2];
	uint8_t ascq =
		fixed ? (c->sense_bytes > 13 ? c->sense[13] : 0) : (c->sense_bytes > 3 ? c->sense[3] : 0);

	if (asc == 0x3F && ascq == 0x0E)
		c->session->counters.rescan_wanted++;
}

static void take_outcome(struct session_cmd *c, int status)
{
	struct scsi_task *task = c->task;

	c->scsi_status = (uint8_t)status;
	if (status == SCSI_STATUS_CHECK_CONDITION) {
		if (task->datain.size >= 2) {
			size_t len = (size_t)task->datain.data[0] << 8 | task->datain.data[1];

			if (len > (size_t)task->datain.size - 2)
				len = (size_t)task->datain.size - 2;
			if (len > sizeof(c->sense))
				len = sizeof(c->sense);
			memcpy(c->sense, task->datain.data + 2, len);
			c->sense_bytes = (uint32_t)len;
		}
	} else if (c->req.direction == LABW_IN && task->datain.data) {
		c->data = task->datain.data;
		c->data_bytes = (uint32_t)task->datain.size;
		if (c->data_bytes > c->req.data_bytes)
			c->data_bytes = c->req.data_bytes;
	}
	if (task->residual_status == SCSI_RESIDUAL_UNDERFLOW)
		c->residual_bytes = (uint32_t)task->residual;
}

/* A reset took it along: as the class driver, once more; else its outcome is unknown. */
static void cmd_aborted(struct session_cmd *c)
{
	c->session->counters.aborted++;
	fprintf(stderr, "RESET: a command (%02x) for LUN %u was aborted with it\n", c->req.cdb[0],
		c->req.lun);
	c->reset = false;
	c->fault = LABW_FAULT_CLEAR;
	if (c->req.flags & LABW_F_CLASS && c->tries_left) {
		c->tries_left--;
		cmd_wait_again(c);
	} else {
		cmd_finish(c, LABW_LOST);
	}
}

/* The target has answered (or libiscsi has given the command back: status ≥ SCSI_STATUS_CANCELLED). */
static void on_command(struct iscsi_context *iscsi, int status, void *data, void *arg)
{
	struct session_cmd *c = arg;
	struct session *s = c->session;

	(void)iscsi;
	(void)data;
	if (c->state == CMD_ABANDONED) {
		cmd_free(c);
		return;
	}
	assert(c->state == CMD_SENT);
	c->state = CMD_WAITING; /* not libiscsi's any more */
	if (status < 0 || status > 0xFF) {
		if (c->reset)
			cmd_aborted(c);
		else
			cmd_lose(c);
		return;
	}
	take_outcome(c, status);
	if (status == STATUS_TASK_ABORTED) {
		s->counters.aborted++;
		fprintf(stderr, "RESET by another host: a command for LUN %u was aborted\n", c->req.lun);
	}
	if (is_unit_attention(c)) {
		note_attention(c);
		if (c->req.flags & LABW_F_CLASS && c->tries_left) {
			c->tries_left--;
			cmd_wait_again(c);
			return;
		}
	}
	switch (c->fault) {
	case LABW_FAULT_SILENT:
		c->state = CMD_SILENT;
		break;
	case LABW_FAULT_DELAY_REPLY:
		c->state = CMD_REPLY_HELD;
		c->hold_until_ms = s->now_ms + c->reply_delay_ms;
		break;
	case LABW_FAULT_DROP_AFTER:
		cmd_lose(c);
		break;
	default:
		cmd_finish(c, LABW_OK);
	}
}

static void on_reset(struct iscsi_context *iscsi, int status, void *data, void *arg)
{
	struct session_cmd *c = arg;

	(void)iscsi;
	if (c->state == CMD_ABANDONED) {
		cmd_free(c);
		return;
	}
	c->state = CMD_WAITING;
	/* data: the task management response, 0 = function complete (RFC 7143 11.6.1) */
	if (status == SCSI_STATUS_GOOD && data && *(uint32_t *)data == 0)
		cmd_finish(c, LABW_OK);
	else
		cmd_finish(c, LABW_LOST);
}

static int send_reset(struct session *s, struct session_cmd *c)
{
	return iscsi_task_mgmt_lun_reset_async(s->iscsi, c->req.lun, on_reset, c);
}

static int send_exec(struct session *s, struct session_cmd *c)
{
	static const int directions[] = {
		[LABW_NONE] = SCSI_XFER_NONE, [LABW_OUT] = SCSI_XFER_WRITE, [LABW_IN] = SCSI_XFER_READ};
	struct iscsi_data out = {.size = c->req.data_bytes, .data = (unsigned char *)(uintptr_t)c->req.data};

	c->task = scsi_create_task(
		c->req.cdb_bytes, c->req.cdb, directions[c->req.direction], (int)c->req.data_bytes);
	if (!c->task)
		return -ENOMEM;
	return iscsi_scsi_command_async(
		s->iscsi, c->req.lun, c->task, on_command, c->req.direction == LABW_OUT ? &out : NULL, c);
}

static void cmd_send(struct session *s, struct session_cmd *c)
{
	int err;

	if (c->fault == LABW_FAULT_DROP_BEFORE) {
		cmd_lose(c);
		return;
	}
	c->state = CMD_SENT;
	s->counters.commands++;
	err = c->req.verb == LABW_RESET ? send_reset(s, c) : send_exec(s, c);
	if (err) {
		c->state = CMD_WAITING;
		cmd_lose(c);
	}
}

/* --- what follows a command that is late --------------------------------------------------------------------
 */

static bool reset_covers(const struct session *s, const struct session_cmd *c)
{
	return s->rung == RUNG_TARGET || (s->rung == RUNG_LUN && c->req.lun == s->rung_lun);
}

/* For Windows it is under way, wherever it is held. */
static bool is_outstanding(const struct session *s, const struct session_cmd *c)
{
	return c->state == CMD_REPLY_HELD || c->state == CMD_SILENT ||
	       (c->state == CMD_WAITING && c->hold_until_ms > s->now_ms);
}

/* The target has done it: it will answer none of these any more. */
static void reset_done(struct session *s)
{
	list_for_each_safe (n, &s->cmds) {
		struct session_cmd *c = cmd_of(n);

		if (c->req.verb != LABW_EXEC || !reset_covers(s, c))
			continue;
		c->reset = true;
		if ((c->state == CMD_SENT || c->state == CMD_ABANDONED) && c->task)
			(void)iscsi_scsi_cancel_task(s->iscsi, c->task); /* on_command ends it */
		else if (is_outstanding(s, c))
			cmd_aborted(c);
		else
			c->reset = false;
	}
	s->rung = RUNG_NONE;
}

static void reset_climb(struct session *s);

static void on_reset_answer(struct session *s, enum rung rung, int status, const void *data)
{
	if (s->rung != rung)
		return; /* the next one is under way already */
	/* the task management response, 0 = function complete (RFC 7143 11.6.1) */
	if (status == SCSI_STATUS_GOOD && data && *(const uint32_t *)data == 0)
		reset_done(s);
	else
		reset_climb(s);
}

static void on_lun_reset(struct iscsi_context *iscsi, int status, void *data, void *arg)
{
	struct session *s = arg;

	if (iscsi == s->iscsi)
		on_reset_answer(s, RUNG_LUN, status, data);
}

static void on_target_reset(struct iscsi_context *iscsi, int status, void *data, void *arg)
{
	struct session *s = arg;

	if (iscsi == s->iscsi)
		on_reset_answer(s, RUNG_TARGET, status, data);
}

/* The next, harder reset; the hardest is the end of the session. */
static void reset_climb(struct session *s)
{
	int err;

	s->counters.resets++;
	s->rung_until_ms = s->now_ms + s->opt.reset_ms;
	if (s->rung == RUNG_NONE) {
		s->rung = RUNG_LUN;
		fprintf(stderr, "RESET of LUN %u: a command was late\n", s->rung_lun);
		err = iscsi_task_mgmt_lun_reset_async(s->iscsi, s->rung_lun, on_lun_reset, s);
	} else if (s->rung == RUNG_LUN) {
		s->rung = RUNG_TARGET;
		fprintf(stderr, "RESET of the target: that of the LUN was not answered\n");
		err = iscsi_task_mgmt_target_warm_reset_async(s->iscsi, on_target_reset, s);
	} else {
		fprintf(stderr, "RESET: the session is dropped, the target answers nothing\n");
		err = -ECONNRESET;
	}
	if (err)
		s->drop_wanted = true;
}

static void command_late(struct session *s, struct session_cmd *c)
{
	uint16_t lun = c->req.lun;
	bool exec = c->req.verb == LABW_EXEC;

	fprintf(stderr, "late: command %02x for LUN %u\n", c->req.cdb[0], lun);
	cmd_finish(c, LABW_TIMEOUT);
	if (!exec || s->drop_wanted || (s->rung != RUNG_NONE && lun == s->rung_lun))
		return;
	if (s->rung == RUNG_NONE)
		s->rung_lun = lun;
	if (s->rung != RUNG_TARGET) /* two LUNs: the target has a fault */
		reset_climb(s);
}

static bool may_send(const struct session *s, const struct session_cmd *c, uint64_t now_ms)
{
	if (!s->up || s->drop_wanted || now_ms < c->hold_until_ms || reset_covers(s, c))
		return false;
	return !s->settling || c->req.flags & LABW_F_CLASS;
}

/* How long commands wait for a session. */
static uint32_t hold_ms(const struct session *s)
{
	return !s->counters.sessions && s->opt.link_down_ms > FIRST_LOGIN_MS ? FIRST_LOGIN_MS
									     : s->opt.link_down_ms;
}

/* Sends what may go, and ends what has waited too long. */
static void pump(struct session *s)
{
	if (s->rung != RUNG_NONE && s->now_ms >= s->rung_until_ms && !s->drop_wanted)
		reset_climb(s);
	list_for_each_safe (n, &s->cmds) {
		struct session_cmd *c = cmd_of(n);

		if (c->state == CMD_ABANDONED)
			continue;
		if (s->up && c->deadline_ms && s->now_ms >= c->deadline_ms)
			command_late(s, c);
		else if (c->state == CMD_REPLY_HELD && s->now_ms >= c->hold_until_ms)
			cmd_finish(c, LABW_OK);
		else if (c->state != CMD_WAITING)
			continue;
		else if (may_send(s, c, s->now_ms))
			cmd_send(s, c);
		else if (!s->up && s->now_ms >= s->down_since_ms + hold_ms(s))
			cmd_finish(c, LABW_NOT_CONNECTED);
	}
}

static void match_fault(struct session *s, struct session_cmd *c)
{
	for (unsigned int i = 0; i < s->fault_count; i++) {
		struct labw_fault *f = &s->faults[i];

		if (f->opcode != LABW_ANY_OPCODE && f->opcode != c->req.cdb[0])
			continue;
		if (f->lun != LABW_ANY_LUN && f->lun != c->req.lun)
			continue;
		if (f->skip) {
			f->skip--;
			continue;
		}
		s->counters.faults++;
		c->fault = f->kind;
		if (f->value_ms == LABW_HOLD_MS)
			c->deadline_ms = 0;
		if (f->kind == LABW_FAULT_DELAY)
			c->hold_until_ms = s->now_ms + f->value_ms;
		if (f->kind == LABW_FAULT_DELAY_REPLY)
			c->reply_delay_ms = f->value_ms;
		if (f->count && --f->count == 0) {
			memmove(f, f + 1, (s->fault_count - i - 1) * sizeof(*f));
			s->fault_count--;
		}
		return;
	}
}

struct session_cmd *session_submit(struct session *s, const struct labw_request *req, uint8_t *body,
	void (*done)(struct session_cmd *cmd), void *owner, uint64_t now_ms)
{
	struct session_cmd *c = s->cmd_count < MAX_COMMANDS ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		free(body);
		return NULL;
	}
	s->now_ms = now_ms;
	c->session = s;
	c->req = *req;
	c->body = body;
	c->done = done;
	c->owner = owner;
	c->state = CMD_WAITING;
	c->tries_left = CLASS_TRIES;
	c->deadline_ms = req->timeout_ms ? now_ms + req->timeout_ms : 0;
	list_push_back(&s->cmds, &c->node);
	s->cmd_count++;
	if (req->verb == LABW_EXEC)
		match_fault(s, c);
	return c;
}

/* --- the life of the session ------------------------------------------------------------------------------
 */

static void session_down(struct session *s)
{
	struct iscsi_context *iscsi = s->iscsi;

	s->iscsi = NULL;
	s->drop_wanted = false;
	s->rung = RUNG_NONE;
	if (s->up) {
		s->up = false;
		s->down_since_ms = s->now_ms;
		s->retry_ms = RETRY_FIRST_MS;
		s->retry_at_ms = s->now_ms + s->retry_ms;
		fprintf(stderr, "session lost: %s\n", iscsi ? iscsi_get_error(iscsi) : "");
	}
	if (iscsi)
		iscsi_destroy_context(iscsi); /* gives every command back: on_command, cancelled */
	s->drop_wanted = false;
	s->counters.connected = 0;
}

static void login_failed(struct session *s)
{
	fprintf(stderr, "login failed: %s\n", s->iscsi ? iscsi_get_error(s->iscsi) : "no memory");
	session_down(s);
	s->retry_ms = s->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : s->retry_ms * 2;
	if (s->retry_at_ms < s->now_ms + s->retry_ms)
		s->retry_at_ms = s->now_ms + s->retry_ms;
}

/* Time-outs begin with the session. */
static void time_afresh(struct session *s)
{
	list_for_each (n, &s->cmds) {
		struct session_cmd *c = cmd_of(n);

		if (c->deadline_ms)
			c->deadline_ms = s->now_ms + c->req.timeout_ms;
	}
}

static void on_login(struct iscsi_context *iscsi, int status, void *data, void *arg)
{
	struct session *s = arg;

	(void)data;
	if (iscsi != s->iscsi)
		return; /* being destroyed */
	if (status != SCSI_STATUS_GOOD) {
		s->drop_wanted = true;
		return;
	}
	s->up = true;
	time_afresh(s);
	s->settling = s->on_up != NULL;
	s->retry_ms = RETRY_FIRST_MS;
	s->nop_at_ms = s->now_ms + s->opt.nop_ms;
	s->counters.connected = 1;
	s->counters.sessions++;
	fprintf(stderr, "session up: %s at %s as %s\n", s->opt.target, s->opt.portal, s->opt.initiator);
	if (s->on_up)
		s->on_up(s->on_up_arg);
}

/* The same 24 bits for the same name: with the adapter's number as qualifier a new session of this adapter replaces its
 * old one, and no other's (RFC 7143 6.3.5, 11.12.5). */
static uint32_t isid_of(const char *name)
{
	uint32_t h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return h & 0xFFFFFFu;
}

static void session_login(struct session *s)
{
	struct iscsi_context *iscsi = iscsi_create_context(s->opt.initiator);

	s->iscsi = iscsi;
	s->login_started_ms = s->now_ms;
	if (!iscsi) {
		login_failed(s);
		return;
	}
	iscsi_set_noautoreconnect(iscsi, 1);
	iscsi_set_isid_random(iscsi, isid_of(s->opt.initiator), s->opt.adapter);
	if (iscsi_set_targetname(iscsi, s->opt.target) != 0 ||
		iscsi_set_session_type(iscsi, ISCSI_SESSION_NORMAL) != 0 ||
		iscsi_set_header_digest(iscsi, ISCSI_HEADER_DIGEST_NONE_CRC32C) != 0 ||
		(s->opt.chap_user &&
			iscsi_set_initiator_username_pwd(iscsi, s->opt.chap_user, s->opt.chap_secret) != 0) ||
		iscsi_full_connect_async(iscsi, s->opt.portal, -1, on_login, s) != 0)
		login_failed(s);
}

static void on_nop(struct iscsi_context *iscsi, int status, void *data, void *arg)
{
	struct session *s = arg;

	(void)data;
	if (iscsi == s->iscsi && status != SCSI_STATUS_GOOD)
		s->drop_wanted = true;
}

static void keep_alive(struct session *s)
{
	if (!s->opt.nop_ms || s->now_ms < s->nop_at_ms)
		return;
	s->nop_at_ms = s->now_ms + s->opt.nop_ms;
	if (iscsi_get_nops_in_flight(s->iscsi) >= NOPS_UNANSWERED ||
		iscsi_nop_out_async(s->iscsi, on_nop, NULL, 0, s) != 0)
		s->drop_wanted = true;
}

/* libiscsi says nothing when the peer closes and reconnecting is off. */
static bool peer_closed(int fd, short revents)
{
	char byte;
	ssize_t n;

	if (revents & (POLLHUP | POLLERR | POLLNVAL))
		return true;
	if (!(revents & POLLIN))
		return false;
	n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void service_context(struct session *s, short revents)
{
	if (s->up && peer_closed(iscsi_get_fd(s->iscsi), revents))
		s->drop_wanted = true;
	else if (iscsi_service(s->iscsi, revents) < 0)
		s->drop_wanted = true;
	if (!s->up && s->now_ms >= s->login_started_ms + LOGIN_TIMEOUT_MS)
		s->drop_wanted = true;
	if (s->up && !s->drop_wanted)
		keep_alive(s);
}

static void drop_if_wanted(struct session *s)
{
	if (!s->drop_wanted)
		return;
	if (s->up || !s->iscsi)
		session_down(s);
	else
		login_failed(s);
}

void session_service(struct session *s, short revents, uint64_t now_ms)
{
	s->now_ms = now_ms;
	drop_if_wanted(s);
	if (s->iscsi)
		service_context(s, revents);
	drop_if_wanted(s);
	if (!s->iscsi && now_ms >= s->retry_at_ms)
		session_login(s);
	pump(s);
	/* What was just queued goes out now rather than after another poll. */
	if (s->up && !s->drop_wanted && iscsi_which_events(s->iscsi) & POLLOUT &&
		iscsi_service(s->iscsi, POLLOUT) < 0)
		s->drop_wanted = true;
}

int session_fd(const struct session *s)
{
	return s->iscsi ? iscsi_get_fd(s->iscsi) : -1;
}

short session_events(const struct session *s)
{
	return s->iscsi ? (short)iscsi_which_events(s->iscsi) : 0;
}

int session_wait_ms(const struct session *s, uint64_t now_ms)
{
	uint64_t until = now_ms + 100;

	if (s->drop_wanted)
		return 0;
	list_for_each (n, &s->cmds) {
		const struct session_cmd *c = cmd_of(n);

		if (c->state == CMD_ABANDONED)
			continue;
		if (s->up && c->deadline_ms && c->deadline_ms < until)
			until = c->deadline_ms;
		if ((c->state == CMD_REPLY_HELD || (c->state == CMD_WAITING && c->hold_until_ms > now_ms)) &&
			c->hold_until_ms < until)
			until = c->hold_until_ms;
		if (c->state == CMD_WAITING && may_send(s, c, now_ms))
			return 0;
	}
	if (!s->iscsi && s->retry_at_ms < until)
		until = s->retry_at_ms;
	if (s->rung != RUNG_NONE && s->rung_until_ms < until)
		until = s->rung_until_ms;
	return until > now_ms ? (int)(until - now_ms) : 0;
}

/* What is delayed goes on. What would never be answered ends as with a lost session: it is not to be late in another test. */
static void release(struct session *s)
{
	list_for_each_safe (n, &s->cmds) {
		struct session_cmd *c = cmd_of(n);

		if (c->state != CMD_ABANDONED && c->req.timeout_ms && !c->deadline_ms)
			c->deadline_ms = s->now_ms + c->req.timeout_ms;
		c->hold_until_ms = 0;
		if (c->state == CMD_SILENT)
			cmd_finish(c, LABW_LOST);
		else if (c->fault == LABW_FAULT_SILENT)
			c->fault = LABW_FAULT_CLEAR;
	}
	s->retry_at_ms = s->now_ms;
}

void session_fault(struct session *s, const struct labw_fault *fault, uint64_t now_ms)
{
	s->now_ms = now_ms;
	switch (fault->kind) {
	case LABW_FAULT_CLEAR:
		s->fault_count = 0;
		break;
	case LABW_FAULT_DROP_NOW:
	case LABW_FAULT_DOWN_NOW:
		s->drop_wanted = true;
		drop_if_wanted(s);
		if (fault->kind == LABW_FAULT_DOWN_NOW)
			s->retry_at_ms = now_ms + fault->value_ms;
		break;
	case LABW_FAULT_RELEASE:
		release(s);
		break;
	default:
		if (s->fault_count < MAX_FAULTS)
			s->faults[s->fault_count++] = *fault;
	}
}

struct labw_status *session_counters(struct session *s)
{
	uint64_t now_ms = session_now_ms();

	s->counters.held = 0;
	list_for_each (n, &s->cmds)
		s->counters.held += cmd_of(n)->state != CMD_ABANDONED && cmd_of(n)->hold_until_ms > now_ms;
	return &s->counters;
}

void session_settled(struct session *s)
{
	s->settling = false;
}

void session_on_up(struct session *s, void (*fn)(void *arg), void *arg)
{
	s->on_up = fn;
	s->on_up_arg = arg;
}

struct session *session_create(const struct session_options *opt, uint64_t now_ms)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->opt = *opt;
	list_init(&s->cmds);
	s->down_since_ms = s->now_ms = s->retry_at_ms = now_ms;
	s->retry_ms = RETRY_FIRST_MS;
	return s;
}

static void on_logout(struct iscsi_context *iscsi, int status, void *data, void *arg)
{
	(void)iscsi;
	(void)status;
	(void)data;
	*(bool *)arg = true;
}

/* A short, blocking good-bye, so that the target need not find out by itself. */
static void say_goodbye(struct session *s)
{
	bool gone = false;
	uint64_t end_ms = session_now_ms() + 500;

	if (!s->up || iscsi_logout_async(s->iscsi, on_logout, &gone) != 0)
		return;
	while (!gone && session_now_ms() < end_ms) {
		struct pollfd p = {
			.fd = iscsi_get_fd(s->iscsi), .events = (short)iscsi_which_events(s->iscsi)};

		if (poll(&p, 1, 50) < 0 || iscsi_service(s->iscsi, p.revents) < 0)
			break;
	}
}

void session_destroy(struct session *s)
{
	list_for_each (n, &s->cmds)
		cmd_of(n)->done = NULL;
	say_goodbye(s);
	s->opt.link_down_ms = 0;
	session_down(s);
	list_for_each_safe (n, &s->cmds)
		cmd_free(cmd_of(n));
	free(s);
}
