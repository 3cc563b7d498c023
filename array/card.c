/* SPDX-License-Identifier: Apache-2.0 */
/* See card.h. */
#include "array/card.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "array/iscsi/address.h"
#include "array/util/json_text.h"

static const char *const roles[] = {
	[CARD_STANDBY] = "standby", [CARD_OWNER] = "owner", [CARD_ENDED] = "ended"};

#define ROLES (sizeof(roles) / sizeof(roles[0]))

/* ---- writing ---- */

static json_t *portals_json(const struct card *c)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < c->portal_count; i++)
		json_array_append_new(
			list, json_pack("{s:o, s:i, s:i}", "address", json_text(c->portals[i].address),
				      "port", (int)c->portals[i].port, "group", (int)c->portals[i].group));
	return list;
}

size_t card_write(const struct card *c, char *out, size_t size)
{
	json_t *json = json_pack("{s:i, s:i, s:I, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o}", "card",
		CARD_FORMAT, "number", (int)c->number, "beat", (json_int_t)c->beat, "role", roles[c->role],
		"since_unix_ms", (json_int_t)c->since_unix_ms, "umbra", json_text(c->umbra), "machine",
		json_text(c->machine), "array", json_text(c->array), "target", json_text(c->target), "boot",
		json_text(c->process.machine), "pid", (json_int_t)c->process.pid, "start",
		(json_int_t)c->process.start, "portals", portals_json(c));
	size_t len = json ? json_dumpb(json, out, size, JSON_COMPACT) : 0;

	json_decref(json);
	return len <= size ? len : 0;
}

/* ---- reading ---- */

/* Printable ASCII, which is shown to people. */
static bool text_of(const json_t *json, const char *key, char *out, size_t size)
{
	const json_t *value = json_object_get(json, key);
	const char *text = json_string_value(value);
	size_t len = json_string_length(value);

	if (!text || len >= size || strlen(text) != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	memcpy(out, text, len + 1);
	return true;
}

static bool number_of(const json_t *json, const char *key, uint64_t most, uint64_t *out)
{
	const json_t *value = json_object_get(json, key);
	json_int_t n = json_integer_value(value);

	if (!json_is_integer(value) || n < 0 || (uint64_t)n > most)
		return false;
	*out = (uint64_t)n;
	return true;
}

static bool role_of(const json_t *json, enum card_role *out)
{
	const char *text = json_string_value(json_object_get(json, "role"));

	for (unsigned i = 0; text && i < ROLES; i++)
		if (strcmp(text, roles[i]) == 0) {
			*out = (enum card_role)i;
			return true;
		}
	return false;
}

static bool portal_of(const json_t *json, struct iscsi_peer_portal *out)
{
	struct sockaddr_storage address;
	socklen_t len;
	uint64_t port, group;

	if (!text_of(json, "address", out->address, sizeof(out->address)) ||
		!number_of(json, "port", UINT16_MAX, &port) || !number_of(json, "group", UINT16_MAX, &group))
		return false;
	out->port = (uint16_t)port;
	out->group = (uint16_t)group;
	return port && group && iscsi_address_parse(out->address, out->port, &address, &len) == 0 &&
	       !iscsi_address_is_wildcard(&address);
}

static bool portals_of(const json_t *json, struct card *out)
{
	const json_t *list = json_object_get(json, "portals");
	size_t count = json_array_size(list);

	if (!json_is_array(list) || count > CARD_PORTALS_MAX)
		return false;
	for (size_t i = 0; i < count; i++)
		if (!portal_of(json_array_get(list, i), &out->portals[i]))
			return false;
	out->portal_count = (unsigned)count;
	return true;
}

/* What every format has. */
static bool head_of(const json_t *json, struct card *out, uint64_t *format)
{
	uint64_t number;

	if (!number_of(json, "card", INT32_MAX, format) || !*format || !number_of(json, "number", 2, &number))
		return false;
	out->number = (unsigned)number;
	return number && text_of(json, "umbra", out->umbra, sizeof(out->umbra)) &&
	       text_of(json, "machine", out->machine, sizeof(out->machine));
}

static bool body_of(const json_t *json, struct card *out)
{
	return number_of(json, "beat", INT64_MAX, &out->beat) && role_of(json, &out->role) &&
	       number_of(json, "since_unix_ms", INT64_MAX, &out->since_unix_ms) &&
	       text_of(json, "array", out->array, sizeof(out->array)) &&
	       text_of(json, "target", out->target, sizeof(out->target)) &&
	       text_of(json, "boot", out->process.machine, sizeof(out->process.machine)) &&
	       number_of(json, "pid", INT64_MAX, &out->process.pid) &&
	       number_of(json, "start", INT64_MAX, &out->process.start) && portals_of(json, out);
}

int card_read(const char *text, size_t len, struct card *out)
{
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	struct card card = {0};
	uint64_t format = 0;
	int err = head_of(json, &card, &format) ? 0 : -EUCLEAN;

	memset(out, 0, sizeof(*out));
	if (!err && format > CARD_FORMAT)
		err = -EPROTONOSUPPORT;
	else if (!err && !body_of(json, &card))
		err = -EUCLEAN;
	json_decref(json);
	if (err == -EPROTONOSUPPORT) {
		out->number = card.number;
		memcpy(out->umbra, card.umbra, sizeof(out->umbra));
		memcpy(out->machine, card.machine, sizeof(out->machine));
	}
	if (!err)
		*out = card;
	return err;
}
