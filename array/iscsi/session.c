/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From login to session. The state machine (login.c) says what to answer; this file knows the array's hosts,
 * the SCSI nexus and the other sessions.
 *
 * A login with the name and ISID of a session that lives replaces it (RFC 7143 6.3.5). Its answer waits until
 * nothing of the old session runs any more: a write of the old one must never land on top of the new one's.
 * A login with the TSIH and CID of a connection that lives replaces the connection only (6.3.4): its tasks end, the
 * nexus goes on. A second connection besides is refused.
 */
#include "array/iscsi/internal.h"
#include "array/util/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/rand.h>

static void account(void *ctx, const char *initiator, struct iscsi_account *out)
{
	struct iscsi_server *s = ctx;
	struct host *host = host_find_iqn(s->options.array, initiator);
	const struct host_record *record;

	if (!host)
		return;
	record = host_record_of(host);
	out->known = true;
	snprintf(out->user, sizeof(out->user), "%s", record->chap_user);
	snprintf(out->secret, sizeof(out->secret), "%s", record->chap_secret);
	snprintf(out->mutual_secret, sizeof(out->mutual_secret), "%s", record->mutual_secret);
}

static int random_bytes(void *ctx, uint8_t *bytes, size_t len)
{
	(void)ctx;
	return RAND_bytes(bytes, (int)len) == 1 ? 0 : -EIO;
}

static const struct iscsi_login_ops login_ops = {.account = account, .random = random_bytes};

int iscsi_login_begin(struct iscsi_conn *c)
{
	const struct iscsi_options *o = &c->server->options;
	struct iscsi_login_options options = {
		.ops = &login_ops,
		.ctx = c->server,
		.target_name = c->server->target_name,
		.portal_group_tag = iscsi_portal_group(c->server, c->portal),
		.redirect = c->server->listeners[c->portal].portal.redirect,
		.moved = c->server->listeners[c->portal].portal.moved,
		.discovery_needs_chap = o->discovery_needs_chap,
		.wishes =
			{
				.max_recv_segment = o->max_recv_segment_bytes,
				.max_burst = o->max_burst_bytes,
				.first_burst = o->first_burst_bytes,
				.max_outstanding_r2t = ISCSI_R2T_MAX,
			},
	};

	c->login = malloc(sizeof(*c->login));
	if (!c->login)
		return -ENOMEM;
	iscsi_login_init(c->login, &options);
	return 0;
}

void iscsi_login_release(struct iscsi_conn *c)
{
	if (c->login)
		iscsi_login_wipe(c->login);
	free(c->login);
	c->login = NULL;
}

/* ---- answers ---------------------------------------------------------------------------------------- */

static void set_status(struct iscsi_small *s, enum iscsi_login_status status)
{
	put_be16(s->bhs + ISCSI_AT_STATUS_CLASS, (uint16_t)status);
}

/* With room for text_len bytes. */
static struct iscsi_small *response_new(struct iscsi_conn *c, const uint8_t *bhs, uint8_t flags,
	enum iscsi_login_status status, size_t text_len)
{
	struct iscsi_small *s = iscsi_small_new(
		c, ISCSI_LOGIN_RESPONSE, flags, get_be32(bhs + ISCSI_AT_ITT), (uint32_t)text_len);

	if (!s)
		return NULL;
	s->plain = true;
	memcpy(s->bhs + ISCSI_AT_ISID, bhs + ISCSI_AT_ISID, 8); /* and TSIH */
	set_status(s, status);
	return s;
}

static struct iscsi_small *response_pdu(
	struct iscsi_conn *c, const uint8_t *bhs, const struct iscsi_login_response *r)
{
	struct iscsi_small *s = response_new(c, bhs, r->flags, r->status, r->text.len);

	if (s)
		memcpy(s->text, r->buf, r->text.len);
	return s;
}

static const char *who(const struct iscsi_conn *c)
{
	return c->initiator[0] ? c->initiator : "an initiator";
}

static void redirect(struct iscsi_conn *c, struct iscsi_small *s)
{
	iscsi_event(c->server, ARRAY_EVENT_INFO, "%s (%s) is sent to %s", who(c), c->peer_text,
		c->server->listeners[c->portal].portal.redirect);
	iscsi_small_send_last(c, s);
}

/* s: the last response, made a refusal. */
static void refuse(
	struct iscsi_conn *c, struct iscsi_small *s, enum iscsi_login_status status, const char *reason)
{
	iscsi_event(c->server, ARRAY_EVENT_WARNING, "%s (%s) may not log in: %s (status %04x)", who(c),
		c->peer_text, reason, (unsigned)status);
	s->bhs[1] &= 0x0c;
	s->data_len = 0;
	set_status(s, status);
	iscsi_small_send_last(c, s);
}

/* ---- sessions --------------------------------------------------------------------------------------- */

/* One I_T nexus: initiator name and ISID, and the target port, which is a portal group. */
static bool same_session(const struct iscsi_conn *a, const struct iscsi_conn *b)
{
	return !a->discovery && !b->discovery && memcmp(a->isid, b->isid, sizeof(a->isid)) == 0 &&
	       strcmp(a->initiator, b->initiator) == 0 &&
	       iscsi_portal_group(a->server, a->portal) == iscsi_portal_group(b->server, b->portal);
}

/* Is `other` a session with the name and ISID of c's, however near its end, or a login for one that came
 * before c's? */
static bool is_twin(const struct iscsi_conn *c, const struct iscsi_conn *other)
{
	if (other == c || !same_session(c, other))
		return false;
	return other->logged_in ||
	       (other->state == ISCSI_CONN_REINSTATING && other->login_serial < c->login_serial);
}

static struct iscsi_conn *find_twin(struct iscsi_conn *c)
{
	list_for_each (n, &c->server->conns) {
		struct iscsi_conn *other = container_of(n, struct iscsi_conn, link);

		if (is_twin(c, other))
			return other;
	}
	return NULL;
}

/* True: there are any. */
static bool kill_twins(struct iscsi_conn *c)
{
	bool any = false;

	list_for_each (n, &c->server->conns) {
		struct iscsi_conn *other = container_of(n, struct iscsi_conn, link);

		if (!is_twin(c, other))
			continue;
		iscsi_conn_kill(other, "the initiator began the session anew");
		any = true;
	}
	return any;
}

static uint16_t new_tsih(struct iscsi_server *s)
{
	for (;;) {
		bool used = false;

		if (++s->last_tsih == 0)
			continue;
		list_for_each (n, &s->conns)
			used |= container_of(n, struct iscsi_conn, link)->tsih == s->last_tsih;
		if (!used)
			return s->last_tsih;
	}
}

/* The host's rights are gone: no command is served any more. The initiator is given the time to log out. */
static void close_by_scsi(void *transport)
{
	struct iscsi_conn *c = transport;

	if (c->revoked)
		return;
	c->revoked = true;
	if (c->state != ISCSI_CONN_FULL) {
		iscsi_conn_kill(c, "the host may not use the array any more");
		return;
	}
	iscsi_event(c->server, ARRAY_EVENT_WARNING, "%s (%s) is asked to log out: its host's record changed",
		c->initiator, c->peer_text);
	iscsi_ask_logout(c, c->server->options.logout_timeout_ms);
}

static int create_nexus(struct iscsi_conn *c)
{
	static const struct scsi_nexus_ops ops = {.close = close_by_scsi, .task_aborted = iscsi_task_aborted};
	struct scsi_nexus_options options = {
		.initiator_name = c->initiator,
		.portal_group_tag = iscsi_portal_group(c->server, c->portal),
		.authenticated = c->authenticated,
		.ops = &ops,
		.transport = c,
	};
	int err;

	memcpy(options.isid, c->isid, sizeof(options.isid));
	err = scsi_nexus_create(c->server->options.scsi, &options, &c->nexus);
	if (!err)
		c->host = scsi_nexus_array(c->nexus)->host;
	return err;
}

/* The last response goes out; what comes after it is the full feature phase. */
static void enter_full_phase(struct iscsi_conn *c, struct iscsi_small *s)
{
	c->params = c->login->negotiation.params;
	c->header_digest = c->params.header_digest;
	c->data_digest = c->params.data_digest;
	if (c->tsih == 0)
		c->tsih = new_tsih(c->server);
	put_be16(s->bhs + ISCSI_AT_TSIH, c->tsih);
	c->since_unix_ms = clock_unix_ms();
	c->heard_ns = reactor_now_ns(c->server->reactor);
	c->deadline_ns = 0;
	c->logged_in = true;
	c->state = ISCSI_CONN_FULL;
	iscsi_login_release(c);
	iscsi_small_send(c, s);
	iscsi_conn_timer_update(c);
	if (!c->discovery)
		array_event_tell(c->server->options.array, ARRAY_EVENT_INFO, "session",
			"%s logged in from %s%s", c->initiator, c->peer_text,
			c->authenticated ? ", authenticated" : "");
	iscsi_receive_more(c);
}

/* The host's record may have changed since the initiator proved itself, or since it had nothing to prove. */
static bool proof_holds(struct iscsi_conn *c)
{
	const struct iscsi_account *then = &c->login->account;
	struct iscsi_account now = {0};
	bool holds;

	account(c->server, c->initiator, &now);
	if (c->authenticated)
		holds = strcmp(now.secret, then->secret) == 0 && strcmp(now.user, then->user) == 0 &&
			strcmp(now.mutual_secret, then->mutual_secret) == 0;
	else
		holds = now.secret[0] == '\0' || (c->discovery && !c->server->options.discovery_needs_chap);
	chap_wipe(&now, sizeof(now));
	return holds;
}

/* NULL: there is room for one more session. */
static const char *too_many(struct iscsi_conn *c)
{
	const struct iscsi_options *o = &c->server->options;
	const struct host *host = host_find_iqn(o->array, c->initiator);
	unsigned all = 0, of_host = 0;

	list_for_each (n, &c->server->conns) {
		struct iscsi_conn *other = container_of(n, struct iscsi_conn, link);

		if (!other->logged_in || other->discovery)
			continue;
		all++;
		of_host += host_find_iqn(o->array, other->initiator) == host;
	}
	if (all >= o->sessions_max)
		return "the array has as many sessions as sessions_max allows: end some, or raise it";
	if (of_host >= o->sessions_per_host)
		return "the host has as many sessions as sessions_per_host allows: end some, or raise it";
	return NULL;
}

static void establish(struct iscsi_conn *c, struct iscsi_small *s)
{
	const char *full;
	int err;

	if (!proof_holds(c)) {
		refuse(c, s, ISCSI_LOGIN_AUTH_FAILED, "the CHAP secret was changed during the login");
		return;
	}
	if (c->discovery) {
		enter_full_phase(c, s);
		return;
	}
	if (c->nexus) { /* the session of a connection before this one */
		enter_full_phase(c, s);
		return;
	}
	full = too_many(c);
	if (full) {
		refuse(c, s, ISCSI_LOGIN_NO_RESOURCES, full);
		return;
	}
	err = create_nexus(c);
	if (err == -EACCES)
		refuse(c, s, ISCSI_LOGIN_FORBIDDEN,
			"no host has this initiator name: umbractl host add, or host set --iqn");
	else if (err)
		refuse(c, s, ISCSI_LOGIN_NO_RESOURCES, "out of memory");
	else
		enter_full_phase(c, s);
}

void iscsi_reinstate(struct iscsi_conn *c)
{
	struct iscsi_small *s = c->last_response;

	if (kill_twins(c))
		return; /* called again when they have ended */
	c->last_response = NULL;
	c->state = ISCSI_CONN_LOGIN;
	establish(c, s);
}

/* A login for a session that lives, with one connection. False: it has been refused. */
static bool join(struct iscsi_conn *c, struct iscsi_small *s)
{
	struct iscsi_conn *twin = find_twin(c);

	if (!twin || twin->tsih != c->login->tsih || !twin->nexus || twin->revoked ||
		twin->authenticated != c->authenticated) {
		refuse(c, s, ISCSI_LOGIN_NO_SESSION, "there is no such session");
		return false;
	}
	if (twin->cid != c->cid) {
		refuse(c, s, ISCSI_LOGIN_TOO_MANY_CONNECTIONS, "a session has one connection here");
		return false;
	}
	iscsi_conn_succeed(c, twin);
	return true;
}

static void login_done(struct iscsi_conn *c, struct iscsi_small *s)
{
	const struct iscsi_login *l = c->login;

	c->discovery = l->discovery;
	c->authenticated = l->authenticated;
	c->cid = l->cid;
	if (c->server->stopping) {
		refuse(c, s, ISCSI_LOGIN_UNAVAILABLE, "the array is being shut down");
		return;
	}
	if (l->tsih != 0 && !join(c, s))
		return;
	c->state = ISCSI_CONN_REINSTATING;
	c->login_serial = ++c->server->last_login;
	c->last_response = s;
	iscsi_reinstate(c);
}

/* Refuses the login, whoever asks. The event was told when the connection came. */
static void turn_away(struct iscsi_conn *c, const uint8_t *bhs)
{
	struct iscsi_small *s = response_new(c, bhs, bhs[1] & 0x0c, ISCSI_LOGIN_NO_RESOURCES, 0);

	c->expcmdsn = get_be32(bhs + ISCSI_AT_CMDSN);
	c->maxcmdsn = c->expcmdsn - 1;
	if (s)
		iscsi_small_send_last(c, s);
}

void iscsi_login_pdu(struct iscsi_conn *c, const uint8_t *bhs, const char *data, uint32_t len)
{
	struct iscsi_login *l = c->login;
	struct iscsi_login_response *r;
	enum iscsi_login_result result;
	struct iscsi_small *s;

	if (c->turned_away) {
		turn_away(c, bhs);
		return;
	}
	r = malloc(sizeof(*r));
	if (!r) {
		iscsi_conn_kill(c, "no memory for a login");
		return;
	}
	result = iscsi_login_step(l, bhs, data, len, r);
	c->expcmdsn = l->cmdsn;
	c->maxcmdsn = l->cmdsn - 1; /* the window opens with the first answer */
	memcpy(c->isid, l->isid, sizeof(c->isid));
	snprintf(c->initiator, sizeof(c->initiator), "%s", l->initiator);
	s = response_pdu(c, bhs, r);
	if (s && iscsi_login_redirects(r->status))
		redirect(c, s);
	else if (s && result == ISCSI_LOGIN_FAILED)
		refuse(c, s, r->status, r->reason);
	else if (s && result == ISCSI_LOGIN_MORE)
		iscsi_small_send(c, s);
	else if (s)
		login_done(c, s);
	free(r);
}

void iscsi_session_rehome(struct iscsi_conn *c)
{
	struct scsi_nexus *fresh;
	int err;

	/* Others are on their way out, with the nexus that they have. */
	if (!c->nexus || (c->state != ISCSI_CONN_FULL && c->state != ISCSI_CONN_REINSTATING))
		return;
	err = scsi_nexus_rehome(c->nexus, c->server->options.scsi, &fresh);
	if (err) {
		iscsi_conn_kill(
			c, err == -EACCES ? "the host may not use the array any more" : "out of memory");
		return;
	}
	c->nexus = fresh;
	c->host = scsi_nexus_array(fresh)->host;
	iscsi_tasks_rehome(c);
	iscsi_management_rehome(c);
}

unsigned iscsi_session_logout(struct iscsi_server *s, const char *initiator)
{
	unsigned count = 0;

	list_for_each (n, &s->conns) {
		struct iscsi_conn *c = container_of(n, struct iscsi_conn, link);

		if (c->state != ISCSI_CONN_FULL || c->discovery ||
			(initiator && strcasecmp(initiator, c->initiator) != 0))
			continue;
		array_event_tell(s->options.array, ARRAY_EVENT_INFO, "session",
			"%s (%s) is asked to log out by the administrator", c->initiator, c->peer_text);
		iscsi_ask_logout(c, s->options.logout_timeout_ms);
		count++;
	}
	return count;
}

bool iscsi_session_view(const struct iscsi_server *s, unsigned index, struct iscsi_session_view *out)
{
	list_for_each (n, &s->conns) {
		struct iscsi_conn *c = container_of(n, struct iscsi_conn, link);

		if (!c->logged_in || c->discovery || c->state == ISCSI_CONN_DEAD || index-- > 0)
			continue;
		memset(out, 0, sizeof(*out));
		snprintf(out->initiator, sizeof(out->initiator), "%s", c->initiator);
		snprintf(out->peer, sizeof(out->peer), "%s", c->peer_text);
		out->authenticated = c->authenticated;
		out->header_digest = c->header_digest;
		out->data_digest = c->data_digest;
		out->commands = c->commands;
		out->bytes_in = c->bytes_in;
		out->bytes_out = c->bytes_out;
		out->since_unix_ms = c->since_unix_ms;
		return true;
	}
	return false;
}
