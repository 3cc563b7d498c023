/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From things to send to bytes. What one turn of the reactor queues goes out in one sendmsg, as far as a
 * batch holds it; one send is under way at a time. StatSN, ExpCmdSN and MaxCmdSN are filled in here, so that
 * StatSN is in the order of the wire and the window is the newest.
 */
#include "array/iscsi/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void flush(struct reactor_deferred *d);
static void sent(struct reactor_op *op, int result);

void iscsi_transmit_init(struct iscsi_conn *c)
{
	c->tx.op.done = sent;
	c->tx.flush.call = flush;
	list_init(&c->tx.queue);
	list_init(&c->tx.sending);
}

void iscsi_transmit(struct iscsi_conn *c, struct iscsi_out *out)
{
	list_push_back(&c->tx.queue, &out->link);
	if (!c->tx.op.busy)
		reactor_defer(c->server->reactor, &c->tx.flush);
}

struct iscsi_small *iscsi_small_new(
	struct iscsi_conn *c, enum iscsi_opcode opcode, uint8_t flags, uint32_t itt, uint32_t text_len)
{
	struct iscsi_small *s = calloc(1, sizeof(*s) + text_len);

	if (!s) {
		iscsi_conn_kill(c, "no memory for an answer");
		return NULL;
	}
	s->out.kind = ISCSI_OUT_SMALL;
	s->data = s->text;
	s->data_len = text_len;
	iscsi_pdu_init(s->bhs, opcode, flags, itt);
	return s;
}

void iscsi_small_send(struct iscsi_conn *c, struct iscsi_small *s)
{
	c->tx.small_count++;
	c->tx.small_bytes += s->data_len;
	iscsi_transmit(c, &s->out);
}

void iscsi_small_send_last(struct iscsi_conn *c, struct iscsi_small *s)
{
	s->ends = true;
	c->state = ISCSI_CONN_ENDING;
	iscsi_conn_deadline(c, ISCSI_LINGER_MS);
	iscsi_small_send(c, s);
}

static void iscsi_out_release(struct iscsi_conn *c, struct iscsi_out *out)
{
	struct iscsi_small *s;

	list_remove(&out->link);
	if (out->kind != ISCSI_OUT_SMALL) {
		iscsi_task_free(container_of(out, struct iscsi_task, out));
		return;
	}
	s = container_of(out, struct iscsi_small, out);
	c->tx.small_count--;
	c->tx.small_bytes -= s->data_len;
	if (s->buffer_len)
		iscsi_conn_buffer_put(c, s->data, s->buffer_len);
	free(s);
}

void iscsi_transmit_drop(struct iscsi_conn *c)
{
	struct list_node *n;

	while ((n = c->tx.queue.head.next) != &c->tx.queue.head) {
		struct iscsi_out *out = container_of(n, struct iscsi_out, link);

		if (out->kind == ISCSI_OUT_R2T)
			list_remove(n); /* the task is dropped with the connection's other tasks */
		else
			iscsi_out_release(c, out);
	}
}

/* ---- the batch -------------------------------------------------------------------------------------- */

void iscsi_fill_sn(struct iscsi_conn *c, uint8_t *bhs, bool uses_statsn)
{
	uint32_t window = c->server->options.tasks_max, used = c->ordered_tasks, max;

	max = c->expcmdsn - 1 + (used < window ? window - used : 0);
	if (iscsi_sn_lt(c->maxcmdsn, max)) /* never goes back */
		c->maxcmdsn = max;
	put_be32(bhs + ISCSI_AT_STATSN, c->statsn);
	if (uses_statsn)
		c->statsn++;
	put_be32(bhs + ISCSI_AT_EXPCMDSN, c->expcmdsn);
	put_be32(bhs + ISCSI_AT_MAXCMDSN, c->maxcmdsn);
}

static void add_iov(struct iscsi_transmit *tx, const void *base, size_t len)
{
	tx->iov[tx->iov_count].iov_base = (void *)(uintptr_t)base;
	tx->iov[tx->iov_count++].iov_len = len;
	tx->bytes += len;
}

bool iscsi_emit(struct iscsi_conn *c, uint8_t **bhs, const uint8_t *data, uint32_t data_len, bool plain)
{
	struct iscsi_transmit *tx = &c->tx;
	struct iscsi_slot *slot;
	uint32_t pad = iscsi_pad_len(data_len);

	if (tx->slot_count == ISCSI_BATCH_PDUS || tx->bytes >= ISCSI_BATCH_BYTES)
		return false;
	slot = &tx->slots[tx->slot_count++];
	memset(slot->header, 0, ISCSI_BHS_BYTES);
	*bhs = slot->header;
	add_iov(tx, slot->header, ISCSI_BHS_BYTES + (c->header_digest && !plain ? ISCSI_DIGEST_BYTES : 0));
	if (data_len == 0)
		return true;
	add_iov(tx, data, data_len);
	memset(slot->tail, 0, pad);
	if (c->data_digest && !plain) {
		uint32_t crc = iscsi_digest_add(ISCSI_DIGEST_BEGIN, data, data_len);

		iscsi_digest_put(slot->tail + pad, iscsi_digest_add(crc, slot->tail, pad));
		add_iov(tx, slot->tail, pad + ISCSI_DIGEST_BYTES);
	} else if (pad) {
		add_iov(tx, slot->tail, pad);
	}
	return true;
}

void iscsi_emit_done(struct iscsi_conn *c, bool plain)
{
	struct iscsi_slot *slot = &c->tx.slots[c->tx.slot_count - 1];

	if (c->header_digest && !plain)
		iscsi_digest_put(slot->header + ISCSI_BHS_BYTES,
			iscsi_digest_add(ISCSI_DIGEST_BEGIN, slot->header, ISCSI_BHS_BYTES));
}

static bool emit_small(struct iscsi_conn *c, struct iscsi_small *s)
{
	uint8_t *bhs;

	if (!iscsi_emit(c, &bhs, s->data, s->data_len, s->plain))
		return false;
	memcpy(bhs, s->bhs, ISCSI_BHS_BYTES);
	put_be24(bhs + 5, s->data_len);
	iscsi_fill_sn(c, bhs, !s->keeps_statsn);
	iscsi_emit_done(c, s->plain);
	c->tx.ends |= s->ends;
	return true;
}

/* True: it is wholly in the batch (or nothing is left of it). */
static bool emit(struct iscsi_conn *c, struct iscsi_out *out)
{
	struct iscsi_task *t;

	switch (out->kind) {
	case ISCSI_OUT_SMALL:
		if (!emit_small(c, container_of(out, struct iscsi_small, out)))
			return false;
		break;
	case ISCSI_OUT_RESPONSE:
		if (!iscsi_task_emit(container_of(out, struct iscsi_task, out)))
			return false;
		break;
	case ISCSI_OUT_R2T:
		t = container_of(out, struct iscsi_task, out);
		if (!iscsi_task_emit_r2t(t))
			return false;
		list_remove(&out->link); /* its header is in the slot: nothing to hold */
		return true;
	}
	list_remove(&out->link);
	list_push_back(&c->tx.sending, &out->link);
	return true;
}

static void send_batch(struct iscsi_conn *c)
{
	struct iscsi_transmit *tx = &c->tx;

	reactor_sendv(c->server->reactor, &tx->op, c->fd, tx->iov + tx->iov_first,
		tx->iov_count - tx->iov_first, MSG_NOSIGNAL | MSG_WAITALL);
}

static void fill_batch(struct iscsi_conn *c)
{
	struct iscsi_transmit *tx = &c->tx;

	tx->slot_count = tx->iov_first = tx->iov_count = 0;
	tx->bytes = 0;
	while (!list_empty(&tx->queue) && !tx->ends)
		if (!emit(c, container_of(tx->queue.head.next, struct iscsi_out, link)))
			break;
}

static void flush(struct reactor_deferred *d)
{
	struct iscsi_conn *c = container_of(d, struct iscsi_conn, tx.flush);

	if (c->tx.op.busy || c->state == ISCSI_CONN_DEAD)
		return;
	fill_batch(c);
	if (c->tx.iov_count > 0)
		send_batch(c);
	else
		iscsi_conn_check_end(c);
}

/* False: some of the batch is left. */
static bool advance(struct iscsi_transmit *tx, size_t n)
{
	while (tx->iov_first < tx->iov_count) {
		struct iovec *v = &tx->iov[tx->iov_first];

		if (n < v->iov_len) {
			v->iov_base = (char *)v->iov_base + n;
			v->iov_len -= n;
			return false;
		}
		n -= v->iov_len;
		tx->iov_first++;
	}
	return true;
}

static void release_sent(struct iscsi_conn *c)
{
	struct list_node *n;

	while ((n = c->tx.sending.head.next) != &c->tx.sending.head)
		iscsi_out_release(c, container_of(n, struct iscsi_out, link));
}

static void sent(struct reactor_op *op, int result)
{
	struct iscsi_conn *c = container_of(op, struct iscsi_conn, tx.op);

	if (c->state == ISCSI_CONN_DEAD) {
		release_sent(c);
		iscsi_conn_check_end(c);
		return;
	}
	if (result < 0 && result != -EINTR && result != -EAGAIN) {
		release_sent(c);
		iscsi_conn_kill(c, NULL);
		return;
	}
	if (!advance(&c->tx, result > 0 ? (size_t)result : 0)) {
		send_batch(c);
		return;
	}
	release_sent(c);
	c->said_ns = reactor_now_ns(c->server->reactor);
	if (c->tx.ends) {
		iscsi_conn_last_sent(c);
	} else {
		flush(&c->tx.flush);
		iscsi_receive_more(c);
	}
	iscsi_conn_check_end(c);
}
