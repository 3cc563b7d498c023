/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of CmdSN (RFC 7143 4.2.2.1). A request without the I bit is carried out when all before it have been.
 * One outside the window, or that has come before, is thrown away in silence.
 *
 * One that is ahead waits here: a request before it was rejected, and its CmdSN counts as not received (7.3). The
 * initiator closes the gap by sending that one again or by aborting it (7.11). A gap that stays open for the time of a
 * login ends the connection.
 */
#include "array/iscsi/internal.h"

#include <stdlib.h>
#include <string.h>

static struct iscsi_held *find(struct iscsi_conn *c, uint32_t cmdsn)
{
	list_for_each (n, &c->held) {
		struct iscsi_held *h = container_of(n, struct iscsi_held, link);

		if (h->cmdsn == cmdsn)
			return h;
	}
	return NULL;
}

void iscsi_cmdsn_check(struct iscsi_conn *c)
{
	struct iscsi_receive *rx = &c->rx;
	uint32_t cmdsn = get_be32(rx->header + ISCSI_AT_CMDSN);

	if (iscsi_immediate(rx->header))
		return;
	if (iscsi_sn_lt(cmdsn, c->expcmdsn) || iscsi_sn_lt(c->maxcmdsn, cmdsn) || find(c, cmdsn))
		rx->ignored = true;
	else
		rx->ahead = cmdsn != c->expcmdsn;
}

/* NULL: no memory, and the connection is ended. */
static struct iscsi_held *add(struct iscsi_conn *c, uint32_t cmdsn)
{
	struct iscsi_held *h = calloc(1, sizeof(*h));
	struct list_node *at = c->held.head.next;

	if (!h) {
		iscsi_conn_kill(c, "no memory for a request that waits for another");
		return NULL;
	}
	h->cmdsn = cmdsn;
	if (list_empty(&c->held))
		c->gap_ns = reactor_now_ns(c->server->reactor);
	while (at != &c->held.head && iscsi_sn_lt(container_of(at, struct iscsi_held, link)->cmdsn, cmdsn))
		at = at->next;
	list_insert_after(at->prev, &h->link);
	iscsi_conn_timer_update(c);
	return h;
}

void iscsi_cmdsn_hold(struct iscsi_conn *c)
{
	struct iscsi_receive *rx = &c->rx;
	struct iscsi_held *h = add(c, get_be32(rx->header + ISCSI_AT_CMDSN));

	if (!h)
		return;
	h->wanted = true;
	memcpy(h->bhs, rx->header, ISCSI_BHS_BYTES);
	h->data_len = rx->data_len;
	h->buffer = rx->buffer;
	rx->buffer = NULL;
	h->task = rx->task;
	if (h->task)
		h->task->held = h;
}

static void drop(struct iscsi_conn *c, struct iscsi_held *h)
{
	list_remove(&h->link);
	if (h->task)
		h->task->held = NULL;
	iscsi_conn_buffer_put(c, h->buffer, h->data_len);
	free(h);
}

void iscsi_cmdsn_drop_all(struct iscsi_conn *c)
{
	while (!list_empty(&c->held))
		drop(c, container_of(c->held.head.next, struct iscsi_held, link));
}

void iscsi_cmdsn_run(struct iscsi_conn *c)
{
	for (;;) {
		struct iscsi_held *h;

		iscsi_management_check(c);
		if (list_empty(&c->held) || !iscsi_conn_open(c))
			return;
		h = container_of(c->held.head.next, struct iscsi_held, link);
		if (h->cmdsn != c->expcmdsn)
			return;
		c->expcmdsn++;
		c->gap_ns = reactor_now_ns(c->server->reactor);
		list_remove(&h->link);
		if (h->task)
			h->task->held = NULL;
		if (h->wanted)
			iscsi_request(c, h->bhs, &h->buffer, h->data_len, h->task);
		h->task = NULL; /* perhaps over by now */
		drop(c, h);
	}
}

bool iscsi_cmdsn_give_up(struct iscsi_conn *c, uint32_t cmdsn)
{
	if (iscsi_sn_lt(cmdsn, c->expcmdsn) || iscsi_sn_lt(c->maxcmdsn, cmdsn) || find(c, cmdsn))
		return false;
	if (add(c, cmdsn))
		iscsi_cmdsn_run(c);
	return true;
}
