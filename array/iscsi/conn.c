/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's life and end. Whatever goes wrong, from whatever depth, calls iscsi_conn_kill(), which only
 * marks the connection; a deferred call takes it apart (tasks, nexus), waits until nothing of it is under way
 * and frees it. Memory that the kernel or the SCSI layer may still use is never freed before.
 */
#include "array/iscsi/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#define MS UINT64_C(1000000) /* in ns */

static void timer_fired(struct reactor_timer *t);
static void end_step(struct reactor_deferred *d);

struct iscsi_conn *iscsi_conn_create(struct iscsi_server *s, int fd, unsigned portal,
	const struct sockaddr_storage *peer, const struct sockaddr_storage *local)
{
	struct iscsi_conn *c = calloc(1, sizeof(*c));

	if (!c)
		goto close_fd;
	c->server = s;
	c->fd = fd;
	c->portal = portal;
	c->peer = *peer;
	c->local = *local;
	iscsi_address_text(peer, c->peer_text, sizeof(c->peer_text), true);
	c->statsn = 1;
	c->timer.fire = timer_fired;
	c->end.call = end_step;
	list_init(&c->tasks);
	list_init(&c->held);
	list_init(&c->managements);
	for (unsigned i = 0; i < ISCSI_ITT_BUCKETS; i++)
		list_init(&c->by_itt[i]);
	iscsi_receive_init(c);
	iscsi_transmit_init(c);
	c->rx.buf = malloc(ISCSI_RECEIVE_BYTES);
	if (!c->rx.buf || iscsi_login_begin(c) != 0)
		goto free_conn;
	list_push_back(&s->conns, &c->link);
	s->conn_count++;
	iscsi_conn_deadline(c, s->options.login_timeout_ms);
	iscsi_receive_more(c);
	return c;

free_conn:
	free(c->rx.buf);
	free(c);
close_fd:
	if (fd >= 0)
		close(fd);
	return NULL;
}

void iscsi_conn_turn_away(struct iscsi_conn *c)
{
	uint32_t ms = c->server->options.login_timeout_ms;

	c->turned_away = true;
	iscsi_conn_deadline(c, ms < ISCSI_TURNED_AWAY_MS ? ms : ISCSI_TURNED_AWAY_MS);
}

/* ---- buffers ---------------------------------------------------------------------------------------- */

static bool within_share(const struct iscsi_conn *c, uint64_t size, bool urgent)
{
	const struct iscsi_buffers *b = &c->server->buffers;
	uint64_t share = c->host ? b->bytes_max / 2 + (urgent ? b->bytes_max / 8 : 0) : b->bytes_max / 16;

	if (c->login || b->bytes_used + size <= share)
		return true;
	list_for_each (n, &c->server->conns) {
		const struct iscsi_conn *other = container_of(n, struct iscsi_conn, link);

		if (other->host == c->host && !other->login)
			size += other->buffer_bytes;
	}
	return size <= share;
}

void *iscsi_conn_buffer_get(struct iscsi_conn *c, uint32_t len, bool urgent)
{
	uint64_t size = iscsi_buffer_size(len);
	void *buffer = NULL;

	if (within_share(c, size, urgent))
		buffer = iscsi_buffer_get(&c->server->buffers, len, urgent);
	if (buffer)
		c->buffer_bytes += size;
	return buffer;
}

void iscsi_conn_buffer_put(struct iscsi_conn *c, void *buffer, uint32_t len)
{
	if (buffer)
		c->buffer_bytes -= iscsi_buffer_size(len);
	iscsi_buffer_put(&c->server->buffers, buffer, len);
}

/* ---- the end of it: what may still come -------------------------------------------------------------- */

bool iscsi_conn_open(const struct iscsi_conn *c)
{
	return c->state == ISCSI_CONN_LOGIN || c->state == ISCSI_CONN_FULL;
}

/* ---- the end ---------------------------------------------------------------------------------------- */

void iscsi_conn_check_end(struct iscsi_conn *c)
{
	if (c->state == ISCSI_CONN_DEAD || c->state == ISCSI_CONN_LOGOUT)
		reactor_defer(c->server->reactor, &c->end);
}

void iscsi_conn_kill(struct iscsi_conn *c, const char *why)
{
	if (c->state == ISCSI_CONN_DEAD)
		return;
	if (why)
		iscsi_event(c->server, ARRAY_EVENT_WARNING, "connection of %s (%s) closed: %s",
			c->initiator[0] ? c->initiator : "an initiator", c->peer_text, why);
	c->state = ISCSI_CONN_DEAD;
	reactor_timer_disarm(c->server->reactor, &c->timer);
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
	if (c->rx.op.busy)
		reactor_cancel(c->server->reactor, &c->rx.op);
	if (c->tx.op.busy)
		reactor_cancel(c->server->reactor, &c->tx.op);
	reactor_defer(c->server->reactor, &c->end);
}

void iscsi_conn_last_sent(struct iscsi_conn *c)
{
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_WR);
	iscsi_conn_deadline(c, ISCSI_LINGER_MS);
	iscsi_receive_more(c);
}

/* The connection has its nexus no more. Tasks that collect data stay where they are, in case it is just being
 * received. */
static struct scsi_nexus *let_go_of_nexus(struct iscsi_conn *c)
{
	struct scsi_nexus *nexus = c->nexus;

	c->nexus = NULL;
	list_for_each (n, &c->tasks) {
		struct iscsi_task *t = container_of(n, struct iscsi_task, link);

		if (t->parsed)
			scsi_task_discard(&t->scsi);
		t->parsed = false;
	}
	return nexus;
}

/* The session is over for the SCSI layer: queued tasks end, running ones come back as they are done. */
static void end_session(struct iscsi_conn *c)
{
	if (c->nexus)
		scsi_nexus_destroy(let_go_of_nexus(c));
}

void iscsi_conn_succeed(struct iscsi_conn *c, struct iscsi_conn *old)
{
	c->tsih = old->tsih;
	/* CmdSN goes on from where the initiator says, for what was under way is over. */
	if (iscsi_sn_lt(c->expcmdsn, old->expcmdsn) || iscsi_sn_lt(old->maxcmdsn + 1, c->expcmdsn))
		c->expcmdsn = old->expcmdsn;
	c->maxcmdsn = c->expcmdsn - 1;
	c->nexus = let_go_of_nexus(old);
	c->host = old->host;
	iscsi_conn_kill(old, "the initiator began the connection anew");
	scsi_nexus_move(c->nexus, c);
}

static void free_conn(struct iscsi_conn *c)
{
	struct iscsi_server *s = c->server;

	iscsi_cmdsn_drop_all(c);
	while (!list_empty(&c->tasks)) {
		struct iscsi_task *t = container_of(c->tasks.head.next, struct iscsi_task, link);

		assert(iscsi_task_collecting(t));
		iscsi_task_drop(t);
	}
	iscsi_conn_buffer_put(c, c->rx.buffer, c->rx.data_len);
	iscsi_text_exchange_free(c);
	iscsi_login_release(c);
	free(c->last_response);
	free(c->rx.buf);
	list_remove(&c->link);
	s->conn_count--;
	if (c->fd >= 0)
		close(c->fd);
	free(c);
	iscsi_server_conn_gone(s);
}

static void end_step(struct reactor_deferred *d)
{
	struct iscsi_conn *c = container_of(d, struct iscsi_conn, end);

	end_session(c);
	iscsi_management_drop(c);
	if (c->running > 0 || c->managing > 0)
		return; /* called again by the last of them */
	if (c->state == ISCSI_CONN_LOGOUT) {
		iscsi_logout_answer(c);
		return;
	}
	if (c->state != ISCSI_CONN_DEAD || c->rx.op.busy || c->tx.op.busy)
		return;
	if (list_linked(&c->tx.flush.link) || list_linked(&c->end.link)) {
		reactor_defer(c->server->reactor, &c->end);
		return;
	}
	iscsi_transmit_drop(c);
	free_conn(c);
}

/* ---- time ------------------------------------------------------------------------------------------- */

void iscsi_conn_deadline(struct iscsi_conn *c, uint64_t ms)
{
	c->deadline_ns = reactor_now_ns(c->server->reactor) + ms * MS;
	iscsi_conn_timer_update(c);
}

static uint64_t gap_end_ns(const struct iscsi_conn *c)
{
	return c->gap_ns + c->server->options.login_timeout_ms * MS;
}

static uint64_t drain_end_ns(const struct iscsi_conn *c)
{
	return c->drain_ns + ISCSI_DRAIN_MS * MS;
}

/*
 * Since when it is the peer's turn to say something. RFC 7143 11.19 lets a target ping at any time and says nothing
 * of when. A peer that waits for our answer is not silent: asked whether it is there, it can only say what its
 * command says already. Its turn begins when the answer has gone out; it goes on while an R2T waits for its data.
 */
static uint64_t silent_since_ns(const struct iscsi_conn *c)
{
	if (c->running > 0 || c->managing > 0)
		return reactor_now_ns(c->server->reactor);
	return c->heard_ns > c->said_ns ? c->heard_ns : c->said_ns;
}

static uint64_t next_wake_ns(const struct iscsi_conn *c)
{
	const struct iscsi_options *o = &c->server->options;
	uint64_t at;

	if (c->state != ISCSI_CONN_FULL)
		return c->deadline_ns;
	at = c->pinged ? c->pinged_ns + o->nop_timeout_ms * MS : silent_since_ns(c) + o->nop_interval_ms * MS;
	if (!list_empty(&c->held) && gap_end_ns(c) < at)
		at = gap_end_ns(c);
	if (c->draining && drain_end_ns(c) < at)
		at = drain_end_ns(c);
	return c->deadline_ns && c->deadline_ns < at ? c->deadline_ns : at;
}

/* Everything here is late rather than early: the timer is not moved on each PDU, it looks when it fires; but the answer to
 * a ping moves it. */
void iscsi_conn_timer_update(struct iscsi_conn *c)
{
	uint64_t now = reactor_now_ns(c->server->reactor), at = next_wake_ns(c);

	if (c->state == ISCSI_CONN_DEAD || at == 0)
		return;
	reactor_timer_arm(c->server->reactor, &c->timer, at > now ? (at - now + MS - 1) / MS : 0);
}

static const char *deadline_reason(const struct iscsi_conn *c)
{
	switch (c->state) {
	case ISCSI_CONN_LOGIN:
		return c->turned_away ? NULL : "the login took too long";
	case ISCSI_CONN_REINSTATING:
		return "the session that the login replaces does not end";
	case ISCSI_CONN_LOGOUT:
		return "the tasks of a session that logs out do not end";
	default:
		return NULL;
	}
}

static void timer_fired(struct reactor_timer *t)
{
	struct iscsi_conn *c = container_of(t, struct iscsi_conn, timer);
	uint64_t now = reactor_now_ns(c->server->reactor);

	if (now < next_wake_ns(c)) {
		iscsi_conn_timer_update(c);
		return;
	}
	if (c->state != ISCSI_CONN_FULL) {
		iscsi_conn_kill(c, deadline_reason(c));
		return;
	}
	if (c->deadline_ns && now >= c->deadline_ns) { /* it was asked to log out */
		iscsi_tell_drop(c);
		return;
	}
	if (!list_empty(&c->held) && now >= gap_end_ns(c)) {
		iscsi_conn_kill(c, "a request was left out, and never came");
		return;
	}
	if (c->draining && now >= drain_end_ns(c)) {
		iscsi_drain_give_up(c);
		iscsi_conn_timer_update(c);
		return;
	}
	if (c->pinged) {
		iscsi_conn_kill(c, "the initiator does not answer");
		return;
	}
	c->pinged = true;
	c->pinged_ns = now;
	iscsi_ping(c);
	iscsi_conn_timer_update(c);
}
