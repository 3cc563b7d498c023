/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Portals, accepting, limits on connections, stopping. The server is done stopping when no listener waits in
 * accept and no connection is left.
 */
#include "array/iscsi/internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 128

/* ---- accepting --------------------------------------------------------------------------------------- */

static void accept_more(struct iscsi_listener *l)
{
	reactor_accept(l->server->reactor, &l->op, l->fd);
}

static void accept_retry(struct reactor_timer *t)
{
	struct iscsi_listener *l = container_of(t, struct iscsi_listener, retry);

	if (!l->server->stopping)
		accept_more(l);
}

/* The connections there are, for a decision on one more from `peer`. Who has a discovery session has proved nothing. */
struct census {
	unsigned welcome, strangers; /* strangers: of this address, not logged in or for discovery only */
	unsigned turned_away, turned_away_here;
};

static struct census count(const struct iscsi_server *s, const struct sockaddr_storage *peer)
{
	struct census k = {0};

	list_for_each (n, &s->conns) {
		const struct iscsi_conn *c = container_of(n, struct iscsi_conn, link);
		bool here = iscsi_address_same(&c->peer, peer);

		k.welcome += !c->turned_away;
		k.strangers += !c->turned_away && (!c->logged_in || c->discovery) && here;
		k.turned_away += c->turned_away;
		k.turned_away_here += c->turned_away && here;
	}
	return k;
}

/* NULL: welcome */
static const char *refusal(const struct iscsi_server *s, const struct census *k)
{
	if (k->welcome >= s->options.connections_max)
		return "the array has as many connections as connections_max allows";
	if (k->strangers >= s->options.connections_per_source)
		return "its address has as many connections that have not logged in, or for discovery only, as "
		       "connections_per_source allows";
	return NULL;
}

static void take_connection(struct iscsi_listener *l, int fd)
{
	struct iscsi_server *s = l->server;
	struct sockaddr_storage peer = {0}, local = {0};
	socklen_t peer_len = sizeof(peer), local_len = sizeof(local);
	struct iscsi_conn *c;
	struct census k;
	const char *no;
	char text[80];
	int on = 1;

	if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) != 0 ||
		getsockname(fd, (struct sockaddr *)&local, &local_len) != 0) {
		close(fd); /* gone already */
		return;
	}
	k = count(s, &peer);
	no = refusal(s, &k);
	if (no) {
		iscsi_address_text(&peer, text, sizeof(text), true);
		iscsi_event(s, ARRAY_EVENT_WARNING, "connection from %s refused: %s", text, no);
	}
	if (no && (k.turned_away >= ISCSI_TURNED_AWAY_MAX ||
			  k.turned_away_here >= ISCSI_TURNED_AWAY_SOURCE_MAX)) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	c = iscsi_conn_create(s, fd, l->index, &peer, &local);
	if (!c)
		iscsi_event(s, ARRAY_EVENT_ERROR, "connection refused: out of memory");
	else if (no)
		iscsi_conn_turn_away(c);
}

static void accepted(struct reactor_op *op, int result)
{
	struct iscsi_listener *l = container_of(op, struct iscsi_listener, op);

	if (l->server->stopping) {
		if (result >= 0)
			close(result);
		reactor_defer(l->server->reactor, &l->server->stop_check);
		return;
	}
	if (result >= 0) {
		take_connection(l, result);
	} else if (reactor_accept_starved(result)) {
		iscsi_event(l->server, ARRAY_EVENT_ERROR, "cannot accept connections: %s", strerror(-result));
		reactor_timer_arm(l->server->reactor, &l->retry, REACTOR_ACCEPT_RETRY_MS);
		return;
	}
	accept_more(l);
}

/*
 * An address that the machine does not have (an interface that is down, or comes up later) stops nobody from using the
 * other portals: we listen there all the same, and the kernel takes connections as soon as it is there.
 */
static int bind_to(struct iscsi_listener *l, socklen_t len)
{
	const struct sockaddr *address = (const struct sockaddr *)&l->address;
	bool v6 = l->address.ss_family == AF_INET6;
	int on = 1;

	if (bind(l->fd, address, len) == 0)
		return 0;
	if (errno != EADDRNOTAVAIL ||
		setsockopt(l->fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_FREEBIND : IP_FREEBIND, &on,
			sizeof(on)) ||
		bind(l->fd, address, len))
		return -1;
	iscsi_event(l->server, ARRAY_EVENT_WARNING,
		"portal %s: this machine has no such address now; hosts reach it when it has. Bring its interface up, or "
		"correct portals in [iscsi]",
		l->portal.address);
	return 0;
}

static int listen_on(struct iscsi_listener *l, struct fault *fault)
{
	struct sockaddr_storage *address = &l->address;
	socklen_t len;
	int on = 1, err;

	l->fd = -1;
	if (iscsi_address_parse(l->portal.address, l->portal.port, address, &len) != 0)
		return fault_set(fault, -EINVAL,
			"portal \"%s\" is neither an IPv4 nor an IPv6 address: correct portals in [iscsi]",
			l->portal.address);
	l->fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return fault_set(fault, -errno,
			"no socket for portal %s (%s): take it out of portals in [iscsi], or allow that kind of address",
			l->portal.address, strerror(errno));
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->ss_family == AF_INET6)
		setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind_to(l, len) != 0 || listen(l->fd, BACKLOG) != 0 ||
		getsockname(l->fd, (struct sockaddr *)address, &(socklen_t){sizeof(*address)}) != 0) {
		err = -errno;
		close(l->fd);
		l->fd = -1;
		return fault_set(fault, err,
			"portal %s, port %u cannot be opened (%s): free that address and port (ss -ltnp shows who has it), or correct portals in [iscsi]",
			l->portal.address, l->portal.port, strerror(-err));
	}
	return 0;
}

/* ---- create ------------------------------------------------------------------------------------------ */

#define DEFAULT(field, value)                                                                                \
	do {                                                                                                 \
		if (o->field == 0)                                                                           \
			o->field = (value);                                                                  \
	} while (0)

/* No command moves more than SCSI_TRANSFER_MAX_BYTES: more in one PDU or burst gains nothing. */
static void clamp(uint32_t *bytes)
{
	if (*bytes < 512)
		*bytes = 512;
	if (*bytes > SCSI_TRANSFER_MAX_BYTES)
		*bytes = SCSI_TRANSFER_MAX_BYTES;
}

static void fill_defaults(struct iscsi_options *o)
{
	DEFAULT(connections_max, 512);
	DEFAULT(sessions_max, 256);
	DEFAULT(sessions_per_host, 32);
	DEFAULT(connections_per_source, 32);
	DEFAULT(tasks_max, 128);
	DEFAULT(buffer_bytes_max, UINT64_C(256) << 20);
	DEFAULT(login_timeout_ms, 15000);
	DEFAULT(nop_interval_ms, 15000);
	DEFAULT(nop_timeout_ms, 30000);
	DEFAULT(logout_timeout_ms, 5000);
	DEFAULT(max_recv_segment_bytes, 262144);
	DEFAULT(max_burst_bytes, 1048576);
	DEFAULT(first_burst_bytes, 262144);
	clamp(&o->max_recv_segment_bytes);
	clamp(&o->max_burst_bytes);
	clamp(&o->first_burst_bytes);
}

static void stop_step(struct reactor_deferred *d);
static void stop_timer_fired(struct reactor_timer *t);

void iscsi_server_init(struct iscsi_server *s, const struct iscsi_options *options)
{
	memset(s, 0, sizeof(*s));
	s->options = *options;
	s->reactor = options->reactor;
	fill_defaults(&s->options);
	snprintf(s->target_name, sizeof(s->target_name), "%s", options->target_name);
	s->options.target_name = s->target_name;
	s->options.portals = NULL;
	s->stop_check.call = stop_step;
	s->stop_timer.fire = stop_timer_fired;
	list_init(&s->conns);
	list_init(&s->free_tasks);
	iscsi_buffers_init(&s->buffers, s->options.buffer_bytes_max);
}

void iscsi_server_reload(struct iscsi_server *s, const struct iscsi_options *options)
{
	struct iscsi_options fresh = *options, *o = &s->options;

	fill_defaults(&fresh);
	o->connections_max = fresh.connections_max;
	o->connections_per_source = fresh.connections_per_source;
	o->sessions_max = fresh.sessions_max;
	o->sessions_per_host = fresh.sessions_per_host;
	o->login_timeout_ms = fresh.login_timeout_ms;
	o->nop_interval_ms = fresh.nop_interval_ms;
	o->nop_timeout_ms = fresh.nop_timeout_ms;
	o->logout_timeout_ms = fresh.logout_timeout_ms;
	o->discovery_needs_chap = fresh.discovery_needs_chap;
}

static int check_options(const struct iscsi_options *o, struct fault *fault)
{
	if (!o->target_name || !o->target_name[0] || strlen(o->target_name) > ISCSI_NAME_MAX_BYTES)
		return fault_set(fault, -EINVAL,
			"the target's name is empty or too long: correct target_name in [iscsi]");
	if (o->portal_count == 0 || o->portal_count > ISCSI_PORTALS_MAX)
		return fault_set(fault, -EINVAL,
			"from 1 to %u portals are possible: correct portals in [iscsi]", ISCSI_PORTALS_MAX);
	return 0;
}

int iscsi_server_create(const struct iscsi_options *options, struct iscsi_server **out, struct fault *fault)
{
	struct iscsi_server *s;
	int err = check_options(options, fault);

	if (err)
		return err;
	s = malloc(sizeof(*s));
	if (!s)
		return fault_set(fault, -ENOMEM, FAULT_NO_MEMORY);
	iscsi_server_init(s, options);
	for (unsigned i = 0; i < options->portal_count; i++) {
		struct iscsi_listener *l = &s->listeners[i];

		l->server = s;
		l->index = i;
		l->portal = options->portals[i];
		l->op.done = accepted;
		l->retry.fire = accept_retry;
		err = listen_on(l, fault);
		if (err) {
			while (i-- > 0)
				close(s->listeners[i].fd);
			free(s);
			return err;
		}
	}
	s->listener_count = options->portal_count;
	for (unsigned i = 0; i < s->listener_count; i++)
		accept_more(&s->listeners[i]);
	*out = s;
	return 0;
}

void iscsi_server_rehome(struct iscsi_server *s, struct array *array, struct scsi_target *scsi)
{
	s->options.array = array;
	s->options.scsi = scsi;
	list_for_each_safe (n, &s->conns)
		iscsi_session_rehome(container_of(n, struct iscsi_conn, link));
}

int iscsi_server_set_peers(struct iscsi_server *s, const struct iscsi_peer_portal *peers, unsigned count)
{
	struct iscsi_peer fresh[ISCSI_PEER_PORTALS_MAX] = {0};
	socklen_t len;

	if (count > ISCSI_PEER_PORTALS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++) {
		if (peers[i].port == 0 || peers[i].group == 0 ||
			iscsi_address_parse(peers[i].address, peers[i].port, &fresh[i].address, &len) != 0 ||
			iscsi_address_is_wildcard(&fresh[i].address))
			return -EINVAL;
		fresh[i].group = peers[i].group;
	}
	memcpy(s->peers, fresh, sizeof(s->peers));
	s->peer_count = count;
	return 0;
}

uint16_t iscsi_server_port(const struct iscsi_server *s, unsigned portal)
{
	return portal < s->listener_count ? iscsi_address_port(&s->listeners[portal].address) : 0;
}

/* ---- stop -------------------------------------------------------------------------------------------- */

static void stop_step(struct reactor_deferred *d)
{
	struct iscsi_server *s = container_of(d, struct iscsi_server, stop_check);

	if (s->stopped || s->conn_count > 0)
		return;
	for (unsigned i = 0; i < s->listener_count; i++)
		if (s->listeners[i].op.busy)
			return;
	s->stopped = true;
	reactor_timer_disarm(s->reactor, &s->stop_timer);
	for (unsigned i = 0; i < s->listener_count; i++)
		close(s->listeners[i].fd);
	s->stop_done(s->stop_arg);
}

static void stop_timer_fired(struct reactor_timer *t)
{
	struct iscsi_server *s = container_of(t, struct iscsi_server, stop_timer);

	list_for_each (n, &s->conns)
		iscsi_conn_kill(container_of(n, struct iscsi_conn, link), NULL);
}

void iscsi_server_conn_gone(struct iscsi_server *s)
{
	list_for_each_safe (n, &s->conns) {
		struct iscsi_conn *c = container_of(n, struct iscsi_conn, link);

		if (c->state == ISCSI_CONN_REINSTATING)
			iscsi_reinstate(c);
	}
	if (s->stopping)
		reactor_defer(s->reactor, &s->stop_check);
}

void iscsi_server_stop(struct iscsi_server *s, void (*done)(void *arg), void *arg)
{
	assert(!s->stopping);
	s->stopping = true;
	s->stop_done = done;
	s->stop_arg = arg;
	for (unsigned i = 0; i < s->listener_count; i++) {
		reactor_timer_disarm(s->reactor, &s->listeners[i].retry);
		if (s->listeners[i].op.busy)
			reactor_cancel(s->reactor, &s->listeners[i].op);
	}
	list_for_each (n, &s->conns) {
		struct iscsi_conn *c = container_of(n, struct iscsi_conn, link);

		if (c->state == ISCSI_CONN_FULL && !c->discovery)
			iscsi_ask_logout(c, ISCSI_STOP_GRACE_MS);
		else
			iscsi_conn_kill(c, NULL);
	}
	/* The connections' own timers tell the peers first. */
	reactor_timer_arm(s->reactor, &s->stop_timer, ISCSI_STOP_GRACE_MS + ISCSI_LINGER_MS);
	reactor_defer(s->reactor, &s->stop_check);
}

void iscsi_server_destroy(struct iscsi_server *s)
{
	struct list_node *n;

	if (!s)
		return;
	assert(s->conn_count == 0);
	while ((n = list_pop(&s->free_tasks)))
		free(container_of(n, struct iscsi_task, link));
	iscsi_buffers_free(&s->buffers);
	free(s);
}
