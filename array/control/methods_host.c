/* SPDX-License-Identifier: Apache-2.0 */
/* Management methods for hosts. A secret goes in and never comes out. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/control/methods.h"
#include "array/util/json_text.h"

static const char *const imports[] = {
	[HOST_IMPORT_OWN] = "own", [HOST_IMPORT_NAMED] = "named", [HOST_IMPORT_ANY] = "any"};

static json_t *strings(const char *first, size_t stride, unsigned count)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(list, json_text(first + i * stride));
	return list;
}

static json_t *host_json(const struct host *h)
{
	const struct host_record *r = host_record_of(h);

	return json_pack("{s:s, s:o, s:o, s:b, s:b, s:b, s:b, s:s, s:o, s:i}", "name", r->name, "iqns",
		strings(r->iqns[0], sizeof(r->iqns[0]), r->iqn_count), "chap_user", json_text(r->chap_user),
		"chap", r->chap_secret[0] != '\0', "mutual_chap", r->mutual_secret[0] != '\0', "control_lu",
		r->control_lu, "control_without_chap", r->control_without_chap, "import", imports[r->import],
		"import_hosts", strings(r->import_hosts[0], sizeof(r->import_hosts[0]), r->import_host_count),
		"sessions", (int)host_sessions(h));
}

/* ---- taking a record -------------------------------------------------------------------------------- */

/* Copies value when it is there. False: the call has been ended. */
static bool take_text(struct mgmt_call *c, const char *key, const char *value, char *out, size_t size)
{
	if (!value)
		return true;
	if (strlen(value) >= size) {
		mgmt_bad_params(c, "%s has more than %zu characters", key, size - 1);
		return false;
	}
	memcpy(out, value, strlen(value) + 1);
	return true;
}

static bool take_list(
	struct mgmt_call *c, const char *key, json_t *list, char *first, size_t stride, unsigned *count)
{
	if (!list)
		return true;
	if (!json_is_array(list) || json_array_size(list) > ARRAY_HOST_IQNS_MAX) {
		mgmt_bad_params(c, "%s must be a list of at most %d", key, ARRAY_HOST_IQNS_MAX);
		return false;
	}
	*count = 0;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (!text || !*text) {
			mgmt_bad_params(c, "%s must hold strings", key);
			return false;
		}
		char *at = first + *count * stride;
		if (!take_text(c, key, text, at, stride))
			return false;
		(*count)++;
	}
	return true;
}

static bool take_import(struct mgmt_call *c, const char *text, struct host_record *r)
{
	if (!text)
		return true;
	for (unsigned i = HOST_IMPORT_OWN; i <= HOST_IMPORT_ANY; i++) {
		if (strcmp(text, imports[i]) == 0) {
			r->import = (enum host_import)i;
			if (i != HOST_IMPORT_NAMED)
				r->import_host_count = 0;
			return true;
		}
	}
	mgmt_bad_params(c, "import must be own, named or any");
	return false;
}

/* A name that nobody has is a typing error, and would be a right for whoever gets that name later. */
static bool check_import_hosts(struct mgmt_call *c, json_t *given, const struct host_record *r)
{
	for (unsigned i = 0; given && i < r->import_host_count; i++) {
		if (strcmp(r->import_hosts[i], r->name) == 0 || host_find(c->array, r->import_hosts[i]))
			continue;
		mgmt_fail(c, -ENOENT,
			"There is no host %s to import from: add it first, or correct the name.",
			r->import_hosts[i]);
		return false;
	}
	return true;
}

/* An iSCSI initiator proves itself with a secret of 12 to 16 bytes (Microsoft's takes no others). */
static bool check_secret(struct mgmt_call *c, const char *secret)
{
	size_t len = strlen(secret);

	if (!len || (len >= 12 && len <= 255))
		return true;
	mgmt_fail(c, -EINVAL,
		"A CHAP secret has at least 12 characters (Windows takes 12 to 16): choose a longer one.");
	return false;
}

static bool check_iqns(struct mgmt_call *c, struct host_record *r)
{
	for (unsigned i = 0; i < r->iqn_count; i++) {
		char *iqn = r->iqns[i];
		for (char *at = iqn; *at; at++)
			*at = (char)tolower((unsigned char)*at);
		if (!strncmp(iqn, "iqn.", 4) || !strncmp(iqn, "eui.", 4) || !strncmp(iqn, "naa.", 4))
			continue;
		mgmt_fail(c, -EINVAL,
			"%.80s is no iSCSI initiator name: give it as the initiator shows it, as in "
			"iqn.1991-05.com.microsoft:db1.",
			iqn);
		return false;
	}
	return true;
}

/* host_name NULL: of a new host. Else *host_name becomes the known host's, and what is not given stays. */
static bool take_record(struct mgmt_call *c, struct host_record *r, const char **host_name)
{
	const char *name = NULL, *user = NULL, *secret = NULL, *mutual = NULL, *import = NULL;
	json_t *iqns = NULL, *import_hosts = NULL;
	int control_lu = r->control_lu, without_chap = r->control_without_chap;

	if (host_name) {
		if (!mgmt_unpack(c, "{s:s, s?o, s?s, s?s, s?s, s?b, s?b, s?s, s?o}", "host", host_name,
			    "iqns", &iqns, "chap_user", &user, "chap_secret", &secret, "mutual_chap_secret",
			    &mutual, "control_lu", &control_lu, "control_without_chap", &without_chap,
			    "import", &import, "import_hosts", &import_hosts))
			return false;
		const struct host *h = mgmt_find_host(c, *host_name);
		if (!h)
			return false;
		*r = *host_record_of(h);
		json_t *given = json_object_get(c->params, "control_lu");
		control_lu = given ? json_is_true(given) : r->control_lu;
		given = json_object_get(c->params, "control_without_chap");
		without_chap = given ? json_is_true(given) : r->control_without_chap;
	} else if (!mgmt_unpack(c, "{s:s, s:o, s?s, s?s, s?s, s?b, s?b, s?s, s?o}", "name", &name, "iqns",
			   &iqns, "chap_user", &user, "chap_secret", &secret, "mutual_chap_secret", &mutual,
			   "control_lu", &control_lu, "control_without_chap", &without_chap, "import",
			   &import, "import_hosts", &import_hosts)) {
		return false;
	}
	r->control_lu = control_lu;
	r->control_without_chap = without_chap;
	if (secret && !*secret && !mutual) /* without CHAP of the host there is no mutual CHAP */
		mutual = "";
	return take_text(c, "name", name, r->name, sizeof(r->name)) &&
	       take_text(c, "chap_user", user, r->chap_user, sizeof(r->chap_user)) &&
	       take_text(c, "chap_secret", secret, r->chap_secret, sizeof(r->chap_secret)) &&
	       take_text(c, "mutual_chap_secret", mutual, r->mutual_secret, sizeof(r->mutual_secret)) &&
	       take_list(c, "iqns", iqns, r->iqns[0], sizeof(r->iqns[0]), &r->iqn_count) &&
	       take_list(c, "import_hosts", import_hosts, r->import_hosts[0], sizeof(r->import_hosts[0]),
		       &r->import_host_count) &&
	       take_import(c, import, r) && check_import_hosts(c, import_hosts, r) &&
	       check_secret(c, r->chap_secret) && check_secret(c, r->mutual_secret) && check_iqns(c, r);
}

/* ---- methods -------------------------------------------------------------------------------------- */

static void host_done(struct array_call *call)
{
	struct mgmt_call *c = mgmt_call_of(call);

	if (call->fault.err)
		mgmt_fault(c, call->fault.err, &call->fault);
	else
		mgmt_result(c, host_json(call->host));
}

static void wipe(struct host_record *r)
{
	explicit_bzero(r, sizeof(*r));
}

static void host_add_method(struct mgmt_call *c)
{
	struct host_record record = {.import = HOST_IMPORT_OWN};

	if (take_record(c, &record, NULL)) {
		c->call.done = host_done;
		host_add(c->array, &record, &c->call);
	}
	wipe(&record);
}

static void host_set_method(struct mgmt_call *c);

static void host_set_done(struct array_call *call)
{
	struct mgmt_call *c = mgmt_call_of(call);

	if (call->fault.err == -EAGAIN) { /* somebody else's change came first: made again, on top of it */
		memset(call, 0, sizeof(*call));
		host_set_method(c);
		return;
	}
	if (call->fault.err) {
		mgmt_fault(c, call->fault.err, &call->fault);
		return;
	}
	mgmt_result(c, mgmt_warned(c, call->host ? host_json(call->host) : json_object()));
}

/* An initiator recovers its session without a look at which LUNs there are, whatever host it has become. */
static void warn_of_leaving(struct mgmt_call *c, const struct host *h, const struct host_record *record)
{
	const struct host_record *old = host_record_of(h);

	for (unsigned i = 0; i < old->iqn_count; i++) {
		bool stays = false;

		for (unsigned j = 0; j < record->iqn_count; j++)
			stays = stays || strcmp(old->iqns[i], record->iqns[j]) == 0;
		if (stays || !host_initiator_leaves(h, old->iqns[i]))
			continue;
		snprintf(c->warning, sizeof(c->warning),
			"%.100s is logged in and keeps its disks: as another host's initiator it would write to that host's LUNs "
			"under their numbers. Take them offline and log it out there before it gets another host",
			old->iqns[i]);
		return;
	}
}

static void host_set_method(struct mgmt_call *c)
{
	struct host_record record = {.import = HOST_IMPORT_OWN};
	const char *name = NULL;

	if (take_record(c, &record, &name)) {
		struct host *h = host_find(c->array, name);
		if (!h)
			h = host_find_iqn(c->array, name);
		warn_of_leaving(c, h, &record);
		c->call.done = host_set_done;
		host_update(h, &record, &c->call);
	}
	wipe(&record);
}

static void host_list_method(struct mgmt_call *c)
{
	struct mgmt_page page;

	if (!mgmt_page(c, &page))
		return;
	for (struct host *h = host_next(c->array, NULL); h && !page.more; h = host_next(c->array, h))
		if (mgmt_page_takes(&page))
			json_array_append_new(page.entries, host_json(h));
	mgmt_result(c, mgmt_page_result(&page, "hosts"));
}

static void host_show_method(struct mgmt_call *c)
{
	const char *name;
	struct host *h = mgmt_unpack(c, "{s:s}", "host", &name) ? mgmt_find_host(c, name) : NULL;

	if (!h)
		return;
	json_t *out = host_json(h), *mappings = json_array();
	struct lun *lun = NULL;
	/* All at once, not in pages: with the longest names they take half of what a reply may. */
	for (uint32_t n = map_next(h, 0, &lun); n; n = map_next(h, n, &lun))
		json_array_append_new(mappings, json_pack("{s:i, s:s, s:o}", "number", (int)n, "lun",
							lun->name, "lun_id", mgmt_id(lun->id)));
	if (out)
		json_object_set_new(out, "mappings", mappings);
	else
		json_decref(mappings);
	mgmt_result(c, out);
}

static void host_delete_method(struct mgmt_call *c)
{
	const char *name;
	struct host *h = mgmt_unpack(c, "{s:s}", "host", &name) ? mgmt_find_host(c, name) : NULL;

	if (!h)
		return;
	if (host_has_rests(h))
		snprintf(c->warning, sizeof(c->warning),
			"host %.64s may show disks still that were unmapped not long ago, and with it is forgotten which numbers "
			"they had. Rescan there, or log it out, before its initiator gets LUNs again",
			host_record_of(h)->name);
	c->call.done = mgmt_done;
	host_delete(h, &c->call);
}

const struct mgmt_method mgmt_host_methods[] = {
	{"host.add", host_add_method, MGMT_OWNER},
	{"host.list", host_list_method, MGMT_ANYWHERE},
	{"host.show", host_show_method, MGMT_ANYWHERE},
	{"host.set", host_set_method, MGMT_OWNER},
	{"host.delete", host_delete_method, MGMT_OWNER},
	{NULL, NULL, MGMT_OWNER},
};
