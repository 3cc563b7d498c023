/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See peer_scsi.h. A command that nobody knows to have been carried out, or not, ends as one whose path has died: a read is
 * tried again (BUSY), a write ends with ABORTED COMMAND, and its host looks at what there is.
 */
#include "array/peer_scsi.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS        15000u /* longer than a takeover, shorter than hosts wait */
#define MANAGE_PATIENCE_MS 10000u /* longer than a takeover; then the host is told that it was not done */
#define LOST_PATIENCE_MS   5000u

struct peer_scsi {
	struct peer *peer;
	struct scsi_standby_ops standby;
	struct scsi_target *target; /* or NULL */
};

/* ---- at the one that stands by ------------------------------------------------------------------------- */

struct forward {
	struct peer_call call;
	struct scsi_remote *remote;
	uint8_t bytes[];
};

static void end(struct scsi_remote *r, int err)
{
	r->err = err;
	r->data_len = 0;
	r->done(r);
}

/* What the SCSI layer has words for; all else says that it may be tried again. */
static int err_of(const struct scsi_remote *r, int err)
{
	switch (err) {
	case -ETIMEDOUT:
		return r->direction == SCSI_FROM_INITIATOR ? -ETIMEDOUT : -EAGAIN;
	case -ESHUTDOWN:
	case -ECANCELED:
		return err;
	case -EINVAL: /* a port, or a command, of which the owner does not know as ours: trying again changes nothing */
	case -EOPNOTSUPP:
		return -ESHUTDOWN;
	default:
		return -EAGAIN;
	}
}

static void forwarded(struct peer_call *c, int err, const uint8_t *data, uint32_t len)
{
	struct forward *f = container_of(c, struct forward, call);
	struct scsi_remote *r = f->remote;

	free(f);
	if (!err && !peer_scsi_answer_decode(data, len, r))
		err = -ETIMEDOUT;
	r->unsure = err == -ETIMEDOUT;
	if (err) {
		end(r, err_of(r, err));
		return;
	}
	r->err = 0;
	r->done(r);
}

/* 5/1A/00 PARAMETER LIST LENGTH ERROR: more than any command has that is passed on. */
static void refuse_length(struct scsi_remote *r)
{
	static const uint8_t sense[18] = {0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x1A};

	r->status = SCSI_STATUS_CHECK_CONDITION;
	r->sense_len = sizeof(sense);
	memcpy(r->sense, sense, sizeof(sense));
	r->data_len = 0;
	r->err = 0;
	r->done(r);
}

static struct forward *forward_new(const struct scsi_remote *r, enum peer_topic topic, uint32_t patience_ms)
{
	size_t cap = PEER_SCSI_MAX_BYTES - PEER_DATA_MAX_BYTES +
		     (r->direction == SCSI_FROM_INITIATOR ? r->data_len : 0);
	struct forward *f = calloc(1, sizeof(*f) + cap);

	if (!f)
		return NULL;
	f->call = (struct peer_call){.topic = topic, .data = f->bytes, .patience_ms = patience_ms};
	f->call.len = (uint32_t)peer_scsi_encode(r, f->bytes, cap);
	return f;
}

/* asked: r as it is sent. */
static void pass_on(struct peer_scsi *s, struct scsi_remote *r, const struct scsi_remote *asked,
	enum peer_topic topic, uint32_t patience_ms,
	void (*done)(struct peer_call *c, int err, const uint8_t *data, uint32_t len))
{
	struct forward *f = forward_new(asked, topic, patience_ms);

	if (!f) {
		end(r, -ENOMEM);
		return;
	}
	f->remote = r;
	f->call.done = done;
	peer_call(s->peer, &f->call);
}

static void forward(void *ctx, struct scsi_remote *r)
{
	struct scsi_remote asked = *r;

	if (r->direction == SCSI_FROM_INITIATOR && r->data_len > PEER_DATA_MAX_BYTES) {
		refuse_length(r);
		return;
	}
	if (asked.data_len > PEER_DATA_MAX_BYTES)
		asked.data_len = PEER_DATA_MAX_BYTES; /* room: more than there is an answer for */
	if (asked.direction == SCSI_NONE)
		asked.data_len = 0;
	pass_on(ctx, r, &asked, PEER_SCSI, PATIENCE_MS, forwarded);
}

static void managed(struct peer_call *c, int err, const uint8_t *data, uint32_t len)
{
	struct forward *f = container_of(c, struct forward, call);
	struct scsi_remote *r = f->remote;

	(void)data, (void)len;
	free(f);
	end(r, err);
}

static void manage(void *ctx, struct scsi_remote *r)
{
	pass_on(ctx, r, r, PEER_MANAGE, MANAGE_PATIENCE_MS, managed);
}

static void lost_told(struct peer_call *c, int err, const uint8_t *data, uint32_t len)
{
	(void)err, (void)data, (void)len; /* where nobody heard it, the owner has forgotten or forgets */
	free(container_of(c, struct forward, call));
}

static void lost(void *ctx, const struct scsi_remote *r)
{
	struct peer_scsi *s = ctx;
	struct forward *f =
		peer_is_stopped(s->peer) ? NULL : forward_new(r, PEER_NEXUS_LOST, LOST_PATIENCE_MS);

	if (!f)
		return;
	f->call.done = lost_told;
	peer_call(s->peer, &f->call);
}

/* ---- at the owner -------------------------------------------------------------------------------------- */

struct remote {
	struct scsi_remote base;
	struct peer_asked *asked;
	uint8_t *answer;
	uint8_t data[];
};

static void remote_done(struct scsi_remote *r)
{
	struct remote *m = container_of(r, struct remote, base);
	size_t cap = PEER_SCSI_ANSWER_MAX_BYTES - PEER_DATA_MAX_BYTES + r->data_len, len = 0;
	uint8_t *answer = r->err ? NULL : malloc(cap);

	if (answer)
		len = peer_scsi_answer_encode(r, answer, cap);
	if (r->err)
		peer_answer(m->asked, r->err, NULL, 0);
	else if (!len)
		peer_answer(m->asked, -ETIMEDOUT, NULL, 0); /* it was carried out */
	else
		peer_answer(m->asked, 0, answer, (uint32_t)len);
	free(answer);
	free(m);
}

/* What q asks for; NULL: it is answered. */
static struct remote *remote_new(
	const struct peer_scsi *s, struct peer_asked *q, void (*done)(struct scsi_remote *r))
{
	struct scsi_remote r;
	const uint8_t *data;
	struct remote *m;

	if (!peer_scsi_decode(q->data, q->len, &r, &data)) {
		peer_answer(q, -EINVAL, NULL, 0);
		return NULL;
	}
	m = s->target ? calloc(1, sizeof(*m) + r.data_len) : NULL;
	if (!m) {
		peer_answer(q, s->target ? -ENOMEM : -ESHUTDOWN, NULL, 0);
		return NULL;
	}
	m->base = r;
	m->base.data = m->data;
	m->base.done = done;
	m->asked = q;
	if (r.direction == SCSI_FROM_INITIATOR)
		memcpy(m->data, data, r.data_len);
	return m;
}

static void serve_command(void *arg, struct peer_asked *q)
{
	struct peer_scsi *s = arg;
	struct remote *m = remote_new(s, q, remote_done);

	if (m)
		scsi_remote_execute(s->target, &m->base);
}

static void remote_managed(struct scsi_remote *r)
{
	struct remote *m = container_of(r, struct remote, base);

	peer_answer(m->asked, r->err, NULL, 0);
	free(m);
}

static void serve_management(void *arg, struct peer_asked *q)
{
	struct peer_scsi *s = arg;
	struct remote *m = remote_new(s, q, remote_managed);

	if (m)
		scsi_remote_manage(s->target, &m->base);
}

static void serve_lost(void *arg, struct peer_asked *q)
{
	struct peer_scsi *s = arg;
	struct scsi_remote r;
	const uint8_t *data;
	bool good = peer_scsi_decode(q->data, q->len, &r, &data);

	if (good && s->target)
		scsi_remote_lost(s->target, &r);
	peer_answer(q, good ? 0 : -EINVAL, NULL, 0);
}

static void gone(void *arg)
{
	struct peer_scsi *s = arg;

	if (s->target)
		scsi_remote_lost(s->target, NULL);
}

void peer_scsi_serve(struct peer_scsi *s, struct scsi_target *t)
{
	if (s->target && s->target != t)
		scsi_remote_lost(s->target, NULL);
	s->target = t;
}

/* ---- its life ------------------------------------------------------------------------------------------ */

const struct scsi_standby_ops *peer_scsi_standby(struct peer_scsi *s)
{
	return &s->standby;
}

int peer_scsi_create(struct peer **peer, struct reactor *reactor, struct peer_scsi **out)
{
	struct peer_scsi *s = calloc(1, sizeof(*s));
	int err = s ? 0 : -ENOMEM;
	struct peer_options options = {.reactor = reactor, .gone = gone, .arg = s};

	if (!err)
		err = peer_create(&options, peer);
	if (err) {
		free(s);
		return err;
	}
	s->peer = *peer;
	s->standby = (struct scsi_standby_ops){.ctx = s, .forward = forward, .manage = manage, .lost = lost};
	peer_serve(s->peer, PEER_SCSI, false, serve_command, s);
	peer_serve(s->peer, PEER_MANAGE, false, serve_management, s);
	peer_serve(s->peer, PEER_NEXUS_LOST, false, serve_lost, s);
	*out = s;
	return 0;
}

void peer_scsi_destroy(struct peer_scsi *s)
{
	free(s);
}
