/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From bytes to PDUs. One receive is under way at a time: into the connection's buffer, or, for the rest of
 * a large data segment, into the task's own. A PDU goes HEADER (basic and additional segments, digest) →
 * DATA → TAIL (padding, digest); its data is copied or thrown away as it comes, so the buffer never holds
 * more than an incomplete header or tail from one receive to the next.
 */
#include "array/iscsi/internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static void received(struct reactor_op *op, int result);

void iscsi_receive_init(struct iscsi_conn *c)
{
	c->rx.op.done = received;
	c->rx.phase = ISCSI_RECEIVE_HEADER;
}

/* False: not enough bytes yet, or the connection is over. */
static bool header_phase(struct iscsi_conn *c)
{
	struct iscsi_receive *rx = &c->rx;
	const uint8_t *at = rx->buf + rx->start;
	uint32_t have = rx->end - rx->start, len;

	if (have < ISCSI_BHS_BYTES)
		return false;
	if (c->login && (iscsi_opcode(at) != ISCSI_LOGIN || iscsi_ahs_len(at) > 0)) {
		iscsi_conn_kill(c, "something else came before the login");
		return false;
	}
	len = ISCSI_BHS_BYTES + iscsi_ahs_len(at);
	if (have < len + (c->header_digest ? ISCSI_DIGEST_BYTES : 0))
		return false;
	if (c->header_digest) {
		if (!iscsi_digest_matches(at + len, iscsi_digest_add(ISCSI_DIGEST_BEGIN, at, len))) {
			/* Not even the lengths are to be trusted: ERL 0 has no way on (RFC 7143 7.8). */
			iscsi_conn_kill(c, "a header digest was wrong");
			return false;
		}
		rx->start += ISCSI_DIGEST_BYTES;
	}
	memcpy(rx->header, at, len);
	rx->start += len;
	rx->data_len = iscsi_data_len(rx->header);
	rx->data_got = 0;
	rx->crc = ISCSI_DIGEST_BEGIN;
	rx->sink = NULL;
	rx->sink_len = 0;
	rx->task = NULL;
	rx->buffer = NULL;
	rx->ignored = rx->ahead = false;
	rx->reject = 0;
	if (rx->data_len > (c->login ? ISCSI_LOGIN_TEXT_BYTES : c->params.max_recv_segment)) {
		iscsi_protocol_error(c, rx->header, "a data segment is longer than was negotiated");
		return false;
	}
	if (!iscsi_pdu_begin(c))
		return false;
	rx->phase = ISCSI_RECEIVE_DATA;
	return true;
}

/* n bytes of the data segment are here (in the sink already when `at` is NULL). */
static void take_data(struct iscsi_conn *c, const uint8_t *at, uint32_t n)
{
	struct iscsi_receive *rx = &c->rx;

	if (at && rx->sink && rx->data_got < rx->sink_len) {
		uint32_t room = rx->sink_len - rx->data_got;

		memcpy(rx->sink + rx->data_got, at, n < room ? n : room);
	}
	if (c->data_digest)
		rx->crc = iscsi_digest_add(rx->crc, at ? at : rx->sink + rx->data_got, n);
	rx->data_got += n;
}

static bool data_phase(struct iscsi_conn *c)
{
	struct iscsi_receive *rx = &c->rx;
	uint32_t have = rx->end - rx->start, left = rx->data_len - rx->data_got,
		 n = have < left ? have : left;

	if (n)
		take_data(c, rx->buf + rx->start, n);
	rx->start += n;
	if (rx->data_got < rx->data_len)
		return false;
	rx->phase = ISCSI_RECEIVE_TAIL;
	return true;
}

static void buffer_done(struct iscsi_conn *c)
{
	iscsi_conn_buffer_put(c, c->rx.buffer, c->rx.data_len);
	c->rx.buffer = NULL;
}

static bool tail_phase(struct iscsi_conn *c)
{
	struct iscsi_receive *rx = &c->rx;
	const uint8_t *at = rx->buf + rx->start;
	uint32_t pad = iscsi_pad_len(rx->data_len);
	bool digest = c->data_digest && rx->data_len > 0, right = true;

	if (rx->end - rx->start < pad + (digest ? ISCSI_DIGEST_BYTES : 0))
		return false;
	if (digest)
		right = iscsi_digest_matches(at + pad, iscsi_digest_add(rx->crc, at, pad));
	rx->start += pad + (digest ? ISCSI_DIGEST_BYTES : 0);
	rx->phase = ISCSI_RECEIVE_HEADER;
	c->bytes_in += rx->data_len;
	if (right)
		iscsi_pdu_end(c);
	else
		iscsi_pdu_spoilt(c);
	rx->task = NULL;
	buffer_done(c);
	return true;
}

static bool paused(const struct iscsi_conn *c)
{
	return c->tx.small_count >= ISCSI_QUEUED_MAX || c->tx.small_bytes >= ISCSI_QUEUED_BYTES_MAX;
}

static void parse(struct iscsi_conn *c)
{
	bool more = true;

	c->rx.parsing = true;
	while (more && iscsi_conn_open(c)) {
		switch (c->rx.phase) {
		case ISCSI_RECEIVE_HEADER:
			more = !paused(c) && header_phase(c);
			break;
		case ISCSI_RECEIVE_DATA:
			more = data_phase(c);
			break;
		case ISCSI_RECEIVE_TAIL:
			more = tail_phase(c);
			break;
		}
	}
	c->rx.parsing = false;
}

/* The rest of the data segment may go straight to its place. */
static bool may_go_direct(const struct iscsi_receive *rx)
{
	return rx->phase == ISCSI_RECEIVE_DATA && rx->start == rx->end && rx->sink &&
	       rx->sink_len >= rx->data_len && rx->data_len - rx->data_got >= ISCSI_DIRECT_MIN_BYTES;
}

void iscsi_receive_more(struct iscsi_conn *c)
{
	struct iscsi_receive *rx = &c->rx;
	struct reactor *r = c->server->reactor;

	if (rx->op.busy || rx->parsing) /* who parses calls again */
		return;
	if (iscsi_conn_open(c) && rx->start < rx->end)
		parse(c); /* what was left when we paused */
	if (c->state == ISCSI_CONN_DEAD || rx->op.busy)
		return;
	if (!iscsi_conn_open(c)) { /* only to see the peer's end */
		rx->direct = false;
		rx->start = rx->end = 0;
		reactor_recv(r, &rx->op, c->fd, rx->buf, ISCSI_RECEIVE_BYTES, 0);
		return;
	}
	if (paused(c))
		return;
	rx->direct = may_go_direct(rx);
	if (rx->direct) {
		reactor_recv(
			r, &rx->op, c->fd, rx->sink + rx->data_got, rx->data_len - rx->data_got, MSG_WAITALL);
		return;
	}
	if (rx->start > 0) {
		memmove(rx->buf, rx->buf + rx->start, rx->end - rx->start);
		rx->end -= rx->start;
		rx->start = 0;
	}
	assert(rx->end < ISCSI_RECEIVE_BYTES);
	reactor_recv(r, &rx->op, c->fd, rx->buf + rx->end, ISCSI_RECEIVE_BYTES - rx->end, 0);
}

/* In the middle of its login: it has not told us why, but there is one reason above all. */
static void hung_up(struct iscsi_conn *c)
{
	const struct host *host = host_find_iqn(c->server->options.array, c->initiator);

	if (c->state == ISCSI_CONN_LOGIN && c->initiator[0])
		iscsi_event(c->server, ARRAY_EVENT_WARNING, "%s (%s) hung up in the middle of its login%s",
			c->initiator, c->peer_text,
			host && host_record_of(host)->mutual_secret[0]
				? ": does it have another secret for the array than --mutual-chap-file gave?"
				: "");
	iscsi_conn_kill(c, NULL);
}

static void received(struct reactor_op *op, int result)
{
	struct iscsi_conn *c = container_of(op, struct iscsi_conn, rx.op);

	if (c->state == ISCSI_CONN_DEAD) {
		iscsi_conn_check_end(c);
		return;
	}
	if (result <= 0) {
		if (result == -EINTR || result == -EAGAIN)
			iscsi_receive_more(c);
		else
			hung_up(c);
		return;
	}
	if (iscsi_conn_open(c)) {
		c->heard_ns = reactor_now_ns(c->server->reactor);
		if (c->pinged) {
			c->pinged = false;
			iscsi_conn_timer_update(c);
		}
		if (c->rx.direct)
			take_data(c, NULL, (uint32_t)result);
		else
			c->rx.end += (uint32_t)result;
		parse(c);
	}
	iscsi_receive_more(c);
}
