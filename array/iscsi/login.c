/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The login state machine. See login.h.
 *
 * A step: collect the text of a request and its continuations, take every key to its handler (which may
 * answer), then see whether the stage may be left. fail() marks the first failure; nothing after it counts.
 */
#include "array/iscsi/login.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define STAGE_SECURITY    0
#define STAGE_OPERATIONAL 1
#define STAGE_FULL        3

static int fail(struct iscsi_login_response *r, enum iscsi_login_status status, const char *reason)
{
	if (r->status == ISCSI_LOGIN_SUCCESS) {
		r->status = status;
		r->reason = reason;
	}
	return -EACCES;
}

void iscsi_login_init(struct iscsi_login *l, const struct iscsi_login_options *options)
{
	memset(l, 0, sizeof(*l));
	l->options = *options;
	iscsi_negotiation_init(&l->negotiation, &options->wishes);
}

void iscsi_login_wipe(struct iscsi_login *l)
{
	chap_wipe(&l->account, sizeof(l->account));
	chap_wipe(l->text, sizeof(l->text));
}

/* ---- the header ------------------------------------------------------------------------------------- */

static int check_header(struct iscsi_login *l, const uint8_t *bhs, struct iscsi_login_response *r)
{
	uint8_t flags = bhs[1], csg = flags >> 2 & 3, nsg = flags & 3;

	if (bhs[3] > 0)
		return fail(r, ISCSI_LOGIN_VERSION, "the initiator speaks a newer version of iSCSI only");
	if (csg != STAGE_SECURITY && csg != STAGE_OPERATIONAL)
		return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "no such login stage");
	if (flags & ISCSI_FINAL) {
		if (flags & ISCSI_CONTINUE)
			return fail(
				r, ISCSI_LOGIN_INITIATOR_ERROR, "a login request both continues and ends");
		if (nsg <= csg || nsg == 2)
			return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "no such stage transition");
	}
	if (!l->begun) {
		l->begun = true;
		l->stage = csg;
		memcpy(l->isid, bhs + ISCSI_AT_ISID, sizeof(l->isid));
		l->tsih = get_be16(bhs + ISCSI_AT_TSIH);
		l->cid = get_be16(bhs + ISCSI_AT_CID);
		l->cmdsn = get_be32(bhs + ISCSI_AT_CMDSN);
		return 0;
	}
	if (csg != l->stage)
		return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "the login stage changed without a transition");
	if (memcmp(l->isid, bhs + ISCSI_AT_ISID, sizeof(l->isid)) != 0 ||
		l->cid != get_be16(bhs + ISCSI_AT_CID) || l->tsih != get_be16(bhs + ISCSI_AT_TSIH))
		return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "ISID, TSIH or CID changed during the login");
	return 0;
}

/* ---- who -------------------------------------------------------------------------------------------- */

/* Names are compared without case: kept in lower case. Printable ASCII only. */
static bool take_name(char out[ISCSI_NAME_MAX_BYTES + 1], const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || len > ISCSI_NAME_MAX_BYTES)
		return false;
	for (size_t i = 0; i <= len; i++) {
		char c = value[i];

		if (i < len && (c <= ' ' || c > '~'))
			return false;
		out[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
	}
	return true;
}

/* A name given again (libiscsi does so in the second stage) must be the same. */
static int take_name_key(char name[ISCSI_NAME_MAX_BYTES + 1], bool *seen, const char *value)
{
	char again[ISCSI_NAME_MAX_BYTES + 1];

	if (!take_name(*seen ? again : name, value))
		return -EINVAL;
	if (*seen && strcmp(name, again) != 0)
		return -EEXIST;
	*seen = true;
	return 0;
}

static int take_session_type(struct iscsi_login *l, const char *value, struct iscsi_login_response *r)
{
	bool discovery = strcmp(value, "Discovery") == 0;

	if (!discovery && strcmp(value, "Normal") != 0)
		return fail(r, ISCSI_LOGIN_SESSION_TYPE, "unknown SessionType");
	if ((l->identified || l->saw_session_type) && l->discovery != discovery)
		return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "SessionType changed");
	l->saw_session_type = true;
	l->discovery = discovery;
	return 0;
}

/* Keys that say who wants what: all in the first request. 0, -EACCES, -ENOENT: another key. */
static int take_identity(
	struct iscsi_login *l, const char *key, const char *value, struct iscsi_login_response *r)
{
	if (strcmp(key, "InitiatorName") == 0) {
		if (take_name_key(l->initiator, &l->saw_initiator, value) != 0)
			return fail(
				r, ISCSI_LOGIN_INITIATOR_ERROR, "InitiatorName is not a name, or changed");
		return 0;
	}
	if (strcmp(key, "TargetName") == 0) {
		if (l->identified && !l->saw_target)
			return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "TargetName came late");
		if (take_name_key(l->target_asked, &l->saw_target, value) != 0)
			return fail(r, ISCSI_LOGIN_NOT_FOUND,
				"TargetName is not a name, or changed: give the initiator the target's name");
		return 0;
	}
	if (strcmp(key, "SessionType") == 0)
		return take_session_type(l, value, r);
	return -ENOENT;
}

static bool chap_needed(const struct iscsi_login *l)
{
	return l->account.secret[0] != '\0' && (!l->discovery || l->options.discovery_needs_chap);
}

/* After the first request's keys. */
static int identify(struct iscsi_login *l, struct iscsi_login_response *r)
{
	if (!l->saw_initiator)
		return fail(r, ISCSI_LOGIN_MISSING_PARAMETER, "the login has no InitiatorName");
	l->options.ops->account(l->options.ctx, l->initiator, &l->account);
	if (!l->discovery) {
		if (!l->saw_target)
			return fail(r, ISCSI_LOGIN_MISSING_PARAMETER, "the login has no TargetName");
		if (strcasecmp(l->target_asked, l->options.target_name) != 0)
			return fail(r, ISCSI_LOGIN_NOT_FOUND,
				"there is no such target here: umbractl status shows its name");
	}
	if (!l->account.known && (!l->discovery || l->options.discovery_needs_chap))
		return fail(r, ISCSI_LOGIN_FORBIDDEN,
			"no host has this initiator name: umbractl host add, or host set --iqn");
	l->identified = true;
	if (!l->discovery && l->options.redirect && l->options.redirect[0])
		return fail(r, l->options.moved ? ISCSI_LOGIN_MOVED : ISCSI_LOGIN_MOVED_FOR_NOW,
			"the portal sends hosts to another one");
	if (!l->discovery) {
		iscsi_text_putf(&r->text, "TargetPortalGroupTag", "%u", l->options.portal_group_tag);
	}
	return 0;
}

/* ---- CHAP ------------------------------------------------------------------------------------------- */

struct chap_keys {
	const char *method, *algorithm, *name, *response, *identifier, *challenge;
};

/* 0, -EACCES, -ENOENT: another key. */
static int take_security(struct iscsi_login *l, const char *key, const char *value, struct chap_keys *keys,
	struct iscsi_login_response *r)
{
	const struct {
		const char *name;
		const char **to;
	} known[] = {{"AuthMethod", &keys->method}, {"CHAP_A", &keys->algorithm}, {"CHAP_N", &keys->name},
		{"CHAP_R", &keys->response}, {"CHAP_I", &keys->identifier}, {"CHAP_C", &keys->challenge}};

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].name, key) != 0)
			continue;
		if (*known[i].to)
			return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "a security key twice");
		if (l->stage != STAGE_SECURITY)
			return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "a security key outside its stage");
		*known[i].to = value;
		return 0;
	}
	return -ENOENT;
}

static int chap_offer(struct iscsi_login *l, const char *list, struct iscsi_login_response *r)
{
	if (l->auth_offered)
		return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "AuthMethod offered again");
	l->auth_offered = true;
	if (chap_needed(l)) {
		if (!iscsi_text_listed(list, "CHAP"))
			return fail(r, ISCSI_LOGIN_AUTH_FAILED,
				"the host has a CHAP secret, the initiator offers no CHAP: turn it on there, or umbractl "
				"host set --no-chap");
		l->chap = CHAP_WANT_ALGORITHM;
		iscsi_text_put(&r->text, "AuthMethod", "CHAP");
		return 0;
	}
	if (iscsi_text_listed(list, "None")) {
		iscsi_text_put(&r->text, "AuthMethod", "None");
		return 0;
	}
	/* The initiator insists on CHAP: only with a secret to check. */
	if (l->account.secret[0] == '\0' || !iscsi_text_listed(list, "CHAP"))
		return fail(r, ISCSI_LOGIN_AUTH_FAILED,
			"the initiator insists on CHAP, the host has no secret: umbractl host set --chap-file");
	l->chap = CHAP_WANT_ALGORITHM;
	iscsi_text_put(&r->text, "AuthMethod", "CHAP");
	return 0;
}

static int chap_challenge(struct iscsi_login *l, const char *list, struct iscsi_login_response *r)
{
	char hex[2 * CHAP_DIGEST_MAX_BYTES + 3];
	size_t len;

	l->chap_algorithm = chap_choose(list);
	if (l->chap_algorithm == CHAP_ALGORITHM_NONE)
		return fail(r, ISCSI_LOGIN_AUTH_FAILED,
			"no CHAP algorithm of the initiator's is known here: let it offer SHA-256 or MD5");
	len = chap_digest_len(l->chap_algorithm);
	if (l->options.ops->random(l->options.ctx, l->chap_challenge, len) != 0 ||
		l->options.ops->random(l->options.ctx, &l->chap_id, 1) != 0)
		return fail(r, ISCSI_LOGIN_TARGET_ERROR, "no random numbers");
	iscsi_text_putf(&r->text, "CHAP_A", "%u", l->chap_algorithm);
	iscsi_text_putf(&r->text, "CHAP_I", "%u", l->chap_id);
	iscsi_text_hex(l->chap_challenge, len, hex, sizeof(hex));
	iscsi_text_put(&r->text, "CHAP_C", hex);
	l->chap = CHAP_WANT_RESPONSE;
	return 0;
}

static bool chap_name_ok(const struct iscsi_login *l, const char *name)
{
	if (l->account.user[0])
		return strcmp(l->account.user, name) == 0;
	return strcasecmp(l->initiator, name) == 0;
}

/* The initiator wants proof from us too. */
static int chap_mutual(struct iscsi_login *l, const struct chap_keys *keys, struct iscsi_login_response *r)
{
	uint8_t challenge[CHAP_CHALLENGE_MAX_BYTES], proof[CHAP_DIGEST_MAX_BYTES];
	char hex[2 * CHAP_DIGEST_MAX_BYTES + 3];
	size_t len = chap_digest_len(l->chap_algorithm);
	uint64_t id;
	int n;

	if (!keys->identifier || !keys->challenge || !iscsi_text_number(keys->identifier, 255, &id))
		return fail(
			r, ISCSI_LOGIN_INITIATOR_ERROR, "CHAP_I and CHAP_C of the initiator are malformed");
	n = iscsi_text_binary(keys->challenge, challenge, sizeof(challenge));
	if (n <= 0)
		return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "the initiator's CHAP_C is malformed");
	if (l->account.mutual_secret[0] == '\0')
		return fail(r, ISCSI_LOGIN_AUTH_FAILED,
			"the initiator asks for mutual CHAP, the host has no secret for it: umbractl host set "
			"--mutual-chap-file");
	/* Our own challenge sent back would let the initiator make us answer it (RFC 7143 9.2.1). */
	if ((size_t)n == len && chap_equal(challenge, l->chap_challenge, len))
		return fail(r, ISCSI_LOGIN_AUTH_FAILED,
			"the initiator reflects our challenge: look who it is, attackers do so");
	if (chap_response(l->chap_algorithm, (uint8_t)id, l->account.mutual_secret, challenge, (size_t)n,
		    proof) != 0)
		return fail(r, ISCSI_LOGIN_TARGET_ERROR, "the CHAP algorithm is not to be had");
	iscsi_text_put(&r->text, "CHAP_N", l->options.target_name);
	iscsi_text_hex(proof, len, hex, sizeof(hex));
	iscsi_text_put(&r->text, "CHAP_R", hex);
	return 0;
}

static int chap_verify(struct iscsi_login *l, const struct chap_keys *keys, struct iscsi_login_response *r)
{
	uint8_t theirs[CHAP_DIGEST_MAX_BYTES], ours[CHAP_DIGEST_MAX_BYTES];
	size_t len = chap_digest_len(l->chap_algorithm);
	int n;

	if (!keys->name || !keys->response)
		return fail(r, ISCSI_LOGIN_MISSING_PARAMETER, "CHAP_N or CHAP_R is missing");
	n = iscsi_text_binary(keys->response, theirs, sizeof(theirs));
	if (chap_response(l->chap_algorithm, l->chap_id, l->account.secret, l->chap_challenge, len, ours) !=
		0)
		return fail(r, ISCSI_LOGIN_TARGET_ERROR, "the CHAP algorithm is not to be had");
	if (n != (int)len || !chap_equal(theirs, ours, len))
		return fail(r, ISCSI_LOGIN_AUTH_FAILED,
			"wrong CHAP secret: give the initiator the host's, or the host another "
			"(umbractl host set --chap-file)");
	if (!chap_name_ok(l, keys->name))
		return fail(r, ISCSI_LOGIN_AUTH_FAILED,
			"wrong CHAP user name: it is the initiator name, or what umbractl host set --chap-user says");
	if ((keys->identifier || keys->challenge) && chap_mutual(l, keys, r) != 0)
		return -EACCES;
	l->chap = CHAP_PASSED;
	l->authenticated = true;
	return 0;
}

static int security_step(struct iscsi_login *l, const struct chap_keys *keys, struct iscsi_login_response *r)
{
	if (keys->method && chap_offer(l, keys->method, r) != 0)
		return -EACCES;
	switch (l->chap) {
	case CHAP_WANT_ALGORITHM:
		if (keys->algorithm)
			return chap_challenge(l, keys->algorithm, r);
		break;
	case CHAP_WANT_RESPONSE:
		if (keys->name || keys->response)
			return chap_verify(l, keys, r);
		break;
	case CHAP_NOT_STARTED:
	case CHAP_PASSED:
		break;
	}
	if (keys->algorithm || keys->name || keys->response || keys->identifier || keys->challenge)
		return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "a CHAP key out of its order");
	return 0;
}

/* ---- one step --------------------------------------------------------------------------------------- */

static int take_key(struct iscsi_login *l, const char *key, const char *value, struct chap_keys *chap,
	struct iscsi_login_response *r)
{
	int err = take_identity(l, key, value, r);

	if (err == -ENOENT)
		err = take_security(l, key, value, chap, r);
	if (err == -ENOENT) {
		err = iscsi_negotiate(&l->negotiation, key, value, &r->text);
		if (err == -EALREADY)
			return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "a key was negotiated twice");
	}
	if (err == -ENOENT) {
		iscsi_text_put(&r->text, key, "NotUnderstood");
		err = 0;
	}
	return err;
}

static int take_text(struct iscsi_login *l, struct iscsi_login_response *r)
{
	struct chap_keys chap = {0};
	struct iscsi_text_in in;
	const char *key, *value;
	unsigned count = 0;
	int n;

	iscsi_text_begin(&in, l->text, l->text_len);
	while ((n = iscsi_text_next(&in, &key, &value)) > 0) {
		if (++count > ISCSI_TEXT_KEYS_MAX)
			return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "too many keys in one login request");
		n = take_key(l, key, value, &chap, r);
		if (n < 0)
			return n;
	}
	if (n < 0)
		return fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "malformed login text");
	iscsi_negotiate_end(&l->negotiation, &r->text);
	if (!l->identified && identify(l, r) != 0)
		return -EACCES;
	return security_step(l, &chap, r);
}

/* May the stage be left, and is it asked? */
static int transit(struct iscsi_login *l, uint8_t asked, struct iscsi_login_response *r, bool *done)
{
	uint8_t nsg = asked & 3;

	*done = false;
	r->flags = (uint8_t)(l->stage << 2);
	if (l->stage == STAGE_OPERATIONAL)
		iscsi_negotiation_declare(&l->negotiation, &r->text);
	if (l->stage == STAGE_OPERATIONAL && chap_needed(l) && !l->authenticated)
		return fail(r, ISCSI_LOGIN_AUTH_FAILED,
			"the host has a CHAP secret, the initiator skips authentication: turn CHAP on there");
	if (!(asked & ISCSI_FINAL))
		return 0;
	if (l->stage == STAGE_SECURITY) {
		if (l->chap == CHAP_WANT_ALGORITHM || l->chap == CHAP_WANT_RESPONSE)
			return 0; /* not yet: T stays 0 */
		if (chap_needed(l) && !l->authenticated)
			return fail(r, ISCSI_LOGIN_AUTH_FAILED,
				"the host has a CHAP secret, the initiator skips authentication: turn CHAP on there");
	}
	r->flags |= ISCSI_FINAL | nsg;
	if (nsg == STAGE_FULL)
		*done = true;
	else
		l->stage = nsg;
	return 0;
}

static enum iscsi_login_result failed(
	struct iscsi_login *l, const uint8_t *bhs, struct iscsi_login_response *r)
{
	r->flags = bhs[1] & 0x0c; /* the stage; no transition */
	r->text.len = 0;
	r->text.overflow = false;
	if (iscsi_login_redirects(r->status)) /* without a portal group tag (RFC 7143 13.8) */
		iscsi_text_put(&r->text, "TargetAddress", l->options.redirect);
	return ISCSI_LOGIN_FAILED;
}

enum iscsi_login_result iscsi_login_step(struct iscsi_login *l, const uint8_t *bhs, const char *data,
	size_t len, struct iscsi_login_response *r)
{
	bool done;

	r->flags = 0;
	r->status = ISCSI_LOGIN_SUCCESS;
	r->reason = "";
	r->text = (struct iscsi_text_out){.buf = r->buf, .cap = sizeof(r->buf)};
	if (check_header(l, bhs, r) != 0)
		return failed(l, bhs, r);
	if (len > sizeof(l->text) - l->text_len) {
		fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "the login text is too long");
		return failed(l, bhs, r);
	}
	if (len)
		memcpy(l->text + l->text_len, data, len);
	l->text_len += len;
	if (bhs[1] & ISCSI_CONTINUE) { /* an empty response asks for the rest */
		r->flags = (uint8_t)(l->stage << 2);
		return ISCSI_LOGIN_MORE;
	}
	if (take_text(l, r) != 0 || transit(l, bhs[1], r, &done) != 0)
		return failed(l, bhs, r);
	l->text_len = 0;
	if (r->text.overflow) {
		fail(r, ISCSI_LOGIN_INITIATOR_ERROR, "the answer to the login text is too long");
		return failed(l, bhs, r);
	}
	return done ? ISCSI_LOGIN_DONE : ISCSI_LOGIN_MORE;
}
