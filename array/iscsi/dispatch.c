/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PDUs of the full feature phase are given to the file that knows them. The single ones are here: NOP, logout,
 * asynchronous messages, rejects. cmdsn.c says when a request's turn has come.
 */
#include "array/iscsi/internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* NULL: no memory, and the connection is ended. */
static struct iscsi_small *reject_new(struct iscsi_conn *c, enum iscsi_reject reason, const uint8_t *bhs)
{
	struct iscsi_small *s =
		iscsi_small_new(c, ISCSI_REJECT, ISCSI_FINAL, ISCSI_TAG_RESERVED, ISCSI_BHS_BYTES);

	if (!s)
		return NULL;
	s->bhs[2] = (uint8_t)reason;
	memcpy(s->text, bhs, ISCSI_BHS_BYTES);
	return s;
}

void iscsi_reject(struct iscsi_conn *c, enum iscsi_reject reason, const uint8_t *bhs)
{
	struct iscsi_small *s = reject_new(c, reason, bhs);

	if (s)
		iscsi_small_send(c, s);
}

static void reject_and_end(struct iscsi_conn *c, enum iscsi_reject reason, const uint8_t *bhs)
{
	struct iscsi_small *s = reject_new(c, reason, bhs);

	if (s)
		iscsi_small_send_last(c, s);
}

void iscsi_protocol_error(struct iscsi_conn *c, const uint8_t *bhs, const char *why)
{
	iscsi_event(c->server, ARRAY_EVENT_WARNING,
		"%s (%s) broke the protocol: %s; the connection is closed",
		c->initiator[0] ? c->initiator : "an initiator", c->peer_text, why);
	if (c->login) { /* no Reject before the full feature phase */
		iscsi_conn_kill(c, NULL);
		return;
	}
	reject_and_end(c, ISCSI_REJECT_PROTOCOL, bhs);
}

/* ---- the beginning of a PDU ------------------------------------------------------------------------- */

/* The data goes to a buffer of its own; without one it is thrown away and the PDU is rejected. */
static void sink_buffer(struct iscsi_conn *c)
{
	struct iscsi_receive *rx = &c->rx;

	if (rx->data_len == 0)
		return;
	rx->buffer = iscsi_conn_buffer_get(c, rx->data_len, true);
	if (!rx->buffer) {
		rx->reject = ISCSI_REJECT_IMMEDIATE; /* "too many": try again */
		return;
	}
	rx->sink = rx->buffer;
	rx->sink_len = rx->data_len;
}

static bool begin_request(struct iscsi_conn *c)
{
	iscsi_cmdsn_check(c);
	if (!c->rx.ignored)
		sink_buffer(c);
	return true;
}

bool iscsi_pdu_begin(struct iscsi_conn *c)
{
	enum iscsi_opcode opcode = iscsi_opcode(c->rx.header);

	if (c->login) {
		if (!c->turned_away) /* whatever it says */
			sink_buffer(c);
		return true;
	}
	switch (opcode) {
	case ISCSI_SCSI_COMMAND:
		if (c->discovery)
			break;
		iscsi_cmdsn_check(c);
		return c->rx.ignored || iscsi_command_begin(c);
	case ISCSI_DATA_OUT:
		return iscsi_data_out_begin(c);
	case ISCSI_TASK_MANAGEMENT:
		if (c->discovery)
			break;
		return begin_request(c);
	case ISCSI_NOP_OUT:
	case ISCSI_TEXT:
	case ISCSI_LOGOUT:
		return begin_request(c);
	case ISCSI_SNACK:
		c->rx.reject = ISCSI_REJECT_SNACK; /* ERL 0 keeps nothing to send again */
		return true;
	case ISCSI_LOGIN:
		c->rx.reject = ISCSI_REJECT_PROTOCOL;
		return true;
	default:
		c->rx.reject = ISCSI_REJECT_UNSUPPORTED;
		return true;
	}
	c->rx.reject = ISCSI_REJECT_PROTOCOL; /* discovery sessions have no tasks */
	return true;
}

/* ---- single PDUs ------------------------------------------------------------------------------------ */

static void nop_out(struct iscsi_conn *c, const uint8_t *bhs, uint8_t **buffer, uint32_t len)
{
	uint32_t itt = get_be32(bhs + ISCSI_AT_ITT);
	struct iscsi_small *s;

	if (itt == ISCSI_TAG_RESERVED) /* the answer to a ping of ours */
		return;
	s = iscsi_small_new(c, ISCSI_NOP_IN, ISCSI_FINAL, itt, 0);
	if (!s)
		return;
	memcpy(s->bhs + ISCSI_AT_LUN, bhs + ISCSI_AT_LUN, 8);
	put_be32(s->bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
	if (len) {
		s->data = *buffer;
		s->buffer_len = len;
		s->data_len = len < c->params.max_send_segment ? len : c->params.max_send_segment;
		*buffer = NULL;
	}
	iscsi_small_send(c, s);
}

void iscsi_ping(struct iscsi_conn *c)
{
	struct iscsi_small *s = iscsi_small_new(c, ISCSI_NOP_IN, ISCSI_FINAL, ISCSI_TAG_RESERVED, 0);

	if (!s)
		return;
	put_be32(s->bhs + ISCSI_AT_TTT, iscsi_new_ttt(c));
	s->keeps_statsn = true;
	iscsi_small_send(c, s);
}

/* RFC 7143 11.9.1 */
enum {
	ASYNC_LOGOUT = 1,
	ASYNC_DROPS_CONNECTION = 2,
};

static struct iscsi_small *async_message(struct iscsi_conn *c, uint8_t event)
{
	struct iscsi_small *s = iscsi_small_new(c, ISCSI_ASYNC, ISCSI_FINAL, ISCSI_TAG_RESERVED, 0);

	if (s)
		s->bhs[ISCSI_AT_ASYNC_EVENT] = event;
	return s;
}

void iscsi_ask_logout(struct iscsi_conn *c, uint32_t ms)
{
	struct iscsi_small *s = async_message(c, ASYNC_LOGOUT);
	uint32_t seconds = (ms + 999) / 1000;

	if (!s)
		return;
	put_be16(s->bhs + ISCSI_AT_ASYNC_PARAMETER3, (uint16_t)(seconds < UINT16_MAX ? seconds : UINT16_MAX));
	iscsi_small_send(c, s);
	iscsi_conn_deadline(c, ms);
}

void iscsi_tell_drop(struct iscsi_conn *c)
{
	struct iscsi_small *s = async_message(c, ASYNC_DROPS_CONNECTION);

	if (!s)
		return;
	put_be16(s->bhs + ISCSI_AT_ASYNC_PARAMETER1, c->cid);
	put_be16(s->bhs + ISCSI_AT_ASYNC_PARAMETER2, (uint16_t)c->params.time2wait);
	iscsi_small_send_last(c, s);
}

enum {
	LOGOUT_SESSION,
	LOGOUT_CONNECTION,
	LOGOUT_RECOVERY,
};

enum {
	LOGOUT_CLOSED,
	LOGOUT_NO_CID,
	LOGOUT_NO_RECOVERY,
};

static struct iscsi_small *logout_response(struct iscsi_conn *c, const uint8_t *bhs, uint8_t response)
{
	struct iscsi_small *s =
		iscsi_small_new(c, ISCSI_LOGOUT_RESPONSE, ISCSI_FINAL, get_be32(bhs + ISCSI_AT_ITT), 0);

	if (!s)
		return NULL;
	s->bhs[2] = response;
	put_be16(s->bhs + ISCSI_AT_TIME2WAIT, (uint16_t)c->params.time2wait);
	return s;
}

static void logout(struct iscsi_conn *c, const uint8_t *bhs)
{
	uint8_t reason = bhs[1] & 0x7f;
	struct iscsi_small *s = NULL;

	if (reason > LOGOUT_RECOVERY) {
		iscsi_reject(c, ISCSI_REJECT_INVALID_FIELD, bhs);
		return;
	}
	if (reason == LOGOUT_RECOVERY)
		s = logout_response(c, bhs, LOGOUT_NO_RECOVERY);
	else if (reason == LOGOUT_CONNECTION && get_be16(bhs + ISCSI_AT_CID) != c->cid)
		s = logout_response(c, bhs, LOGOUT_NO_CID);
	if (s) {
		iscsi_small_send(c, s);
		return;
	}
	if (reason == LOGOUT_RECOVERY || !iscsi_conn_open(c))
		return;
	/* Answered when the session's tasks are over. */
	memcpy(c->logout_bhs, bhs, ISCSI_BHS_BYTES);
	c->state = ISCSI_CONN_LOGOUT;
	iscsi_conn_deadline(c, c->server->options.login_timeout_ms);
	iscsi_conn_check_end(c);
}

void iscsi_logout_answer(struct iscsi_conn *c)
{
	struct iscsi_small *s = logout_response(c, c->logout_bhs, LOGOUT_CLOSED);

	if (s)
		iscsi_small_send_last(c, s);
}

/* ---- the end of a PDU ------------------------------------------------------------------------------- */

void iscsi_request(
	struct iscsi_conn *c, const uint8_t *bhs, uint8_t **buffer, uint32_t len, struct iscsi_task *t)
{
	switch (iscsi_opcode(bhs)) {
	case ISCSI_SCSI_COMMAND:
		if (t)
			iscsi_command_start(t);
		break;
	case ISCSI_NOP_OUT:
		nop_out(c, bhs, buffer, len);
		break;
	case ISCSI_TASK_MANAGEMENT:
		iscsi_management(c, bhs);
		break;
	case ISCSI_TEXT:
		iscsi_text_request(c, bhs, (const char *)*buffer, len);
		break;
	default:
		assert(iscsi_opcode(bhs) == ISCSI_LOGOUT); /* by iscsi_pdu_begin */
		logout(c, bhs);
	}
}

void iscsi_pdu_end(struct iscsi_conn *c)
{
	struct iscsi_receive *rx = &c->rx;
	const uint8_t *bhs = rx->header;

	if (rx->ignored)
		return;
	if (c->login) {
		if (rx->reject)
			iscsi_conn_kill(c, "no buffer for a login");
		else
			iscsi_login_pdu(c, bhs, (const char *)rx->buffer, rx->data_len);
		return;
	}
	if (rx->reject) {
		iscsi_reject(c, (enum iscsi_reject)rx->reject, bhs);
		return;
	}
	if (iscsi_opcode(bhs) == ISCSI_DATA_OUT) {
		iscsi_data_out_end(c, false);
		return;
	}
	if (rx->task)
		iscsi_command_end(c);
	if (rx->ahead) {
		iscsi_cmdsn_hold(c);
		return;
	}
	if (!iscsi_immediate(bhs))
		c->expcmdsn++;
	iscsi_request(c, bhs, &rx->buffer, rx->data_len, rx->task);
	iscsi_cmdsn_run(c);
}

/*
 * A Data-Out fails its task (RFC 7143 7.8). A request that is lost this way leaves a gap in CmdSN, which at error
 * recovery level 0 nobody may close within the connection (7.1): it ends with the Reject, so that the initiator
 * begins anew at once instead of waiting for us to give up.
 */
void iscsi_pdu_spoilt(struct iscsi_conn *c)
{
	struct iscsi_receive *rx = &c->rx;

	if (rx->ignored)
		return;
	if (iscsi_opcode(rx->header) == ISCSI_DATA_OUT) {
		iscsi_reject(c, ISCSI_REJECT_DATA_DIGEST, rx->header);
		if (iscsi_conn_open(c))
			iscsi_data_out_end(c, true);
		return;
	}
	iscsi_event(c->server, ARRAY_EVENT_WARNING,
		"a data digest of %s (%s) was wrong; the connection is closed: look at cables, cards and memory "
		"between the two",
		c->initiator, c->peer_text);
	if (rx->task)
		iscsi_task_drop(rx->task);
	reject_and_end(c, ISCSI_REJECT_DATA_DIGEST, rx->header);
}
