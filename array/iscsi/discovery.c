/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text requests in the full feature phase: SendTargets and the few keys that may change. Requests may come
 * in several PDUs (C bit) and answers may go out so; one exchange at a time, known by its target transfer
 * tag. An initiator sees the target when it is a host's; strangers see nothing.
 */
#include "array/iscsi/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void iscsi_text_exchange_free(struct iscsi_conn *c)
{
	free(c->text.in);
	free(c->text.out);
	memset(&c->text, 0, sizeof(c->text));
}

/* Ours, then those of other controllers. A portal of ours that listens everywhere is told by the address at which this initiator reached us. */
static void put_portals(struct iscsi_conn *c, struct iscsi_text_out *out)
{
	struct iscsi_server *s = c->server;

	for (unsigned i = 0; i < s->listener_count; i++) {
		struct iscsi_listener *l = &s->listeners[i];
		const struct sockaddr_storage *address = &l->address;
		char text[80];

		if (iscsi_address_is_wildcard(address)) {
			if (address->ss_family != c->local.ss_family)
				continue;
			address = &c->local;
		}
		iscsi_address_text(address, text, sizeof(text), false);
		iscsi_text_putf(out, "TargetAddress", "%s:%u,%u", text, iscsi_address_port(&l->address),
			iscsi_portal_group(s, i));
	}
	for (unsigned i = 0; i < s->peer_count; i++) {
		char text[80];

		iscsi_address_text(&s->peers[i].address, text, sizeof(text), true);
		iscsi_text_putf(out, "TargetAddress", "%s,%u", text, s->peers[i].group);
	}
}

static void send_targets(struct iscsi_conn *c, const char *value, struct iscsi_text_out *out)
{
	struct iscsi_server *s = c->server;
	bool asked = strcmp(value, "All") == 0 || strcasecmp(value, s->target_name) == 0 ||
		     (value[0] == '\0' && !c->discovery);

	if (value[0] == '\0' && c->discovery) {
		iscsi_text_put(out, "SendTargets", "Reject");
		return;
	}
	if (!asked || !host_find_iqn(s->options.array, c->initiator))
		return;
	iscsi_text_put(out, "TargetName", s->target_name);
	put_portals(c, out);
}

/* False: rejected */
static bool answer_keys(struct iscsi_conn *c, struct iscsi_text_out *out)
{
	struct iscsi_text_in in;
	const char *key, *value;
	unsigned count = 0;
	uint64_t seen = 0;
	int n;

	iscsi_text_begin(&in, c->text.in, c->text.in_len);
	while ((n = iscsi_text_next(&in, &key, &value)) > 0) {
		if (++count > ISCSI_TEXT_KEYS_MAX || iscsi_key_repeated(&seen, key))
			return false;
		if (strcmp(key, "SendTargets") == 0)
			send_targets(c, value, out);
		else if (iscsi_renegotiate(&c->params, key, value, out) != 0)
			iscsi_text_put(out, key, "NotUnderstood");
	}
	return n == 0 && !out->overflow;
}

static void respond(struct iscsi_conn *c, const uint8_t *bhs, bool final)
{
	struct iscsi_text_exchange *x = &c->text;
	size_t left = x->out_len - x->out_at;
	uint32_t len = left < c->params.max_send_segment ? (uint32_t)left : c->params.max_send_segment;
	bool more = len < left;
	struct iscsi_small *s = iscsi_small_new(
		c, ISCSI_TEXT_RESPONSE, more ? ISCSI_CONTINUE : 0, get_be32(bhs + ISCSI_AT_ITT), len);

	if (!s)
		return;
	if (len)
		memcpy(s->text, x->out + x->out_at, len);
	x->out_at += len;
	if (final && !more) {
		s->bhs[1] |= ISCSI_FINAL;
		put_be32(s->bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
		iscsi_text_exchange_free(c);
	} else {
		if (x->ttt == 0)
			x->ttt = 1 + (c->next_ttt++ & 0xffffff);
		put_be32(s->bhs + ISCSI_AT_TTT, x->ttt);
	}
	iscsi_small_send(c, s);
}

static bool append(struct iscsi_text_exchange *x, const char *data, uint32_t len)
{
	char *grown;

	if (len > ISCSI_TEXT_MAX_BYTES - x->in_len)
		return false;
	if (len == 0)
		return true;
	grown = realloc(x->in, x->in_len + len);
	if (!grown)
		return false;
	x->in = grown;
	memcpy(x->in + x->in_len, data, len);
	x->in_len += len;
	return true;
}

static bool take_whole_text(struct iscsi_conn *c)
{
	struct iscsi_text_exchange *x = &c->text;
	struct iscsi_text_out out = {.cap = ISCSI_TEXT_MAX_BYTES};

	free(x->out);
	x->out_at = x->out_len = 0;
	x->out = out.buf = malloc(out.cap);
	if (!out.buf || !answer_keys(c, &out))
		return false;
	x->out_len = out.len;
	x->in_len = 0;
	return true;
}

void iscsi_text_request(struct iscsi_conn *c, const uint8_t *bhs, const char *data, uint32_t len)
{
	struct iscsi_text_exchange *x = &c->text;
	uint32_t ttt = get_be32(bhs + ISCSI_AT_TTT);
	bool final = bhs[1] & ISCSI_FINAL, more = bhs[1] & ISCSI_CONTINUE;

	if (ttt == ISCSI_TAG_RESERVED) {
		iscsi_text_exchange_free(c); /* a new one puts an end to the last */
	} else if (x->ttt == 0 || ttt != x->ttt || (x->out_at < x->out_len && len > 0)) {
		iscsi_reject(c, ISCSI_REJECT_INVALID_FIELD, bhs);
		return;
	}
	if (x->out_at < x->out_len) { /* the rest of a long answer */
		respond(c, bhs, final);
		return;
	}
	if ((final && more) || !append(x, data, len) || (!more && !take_whole_text(c))) {
		iscsi_text_exchange_free(c);
		iscsi_reject(c, ISCSI_REJECT_NEGOTIATION, bhs);
		return;
	}
	respond(c, bhs, final && !more);
}
