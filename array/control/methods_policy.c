/* SPDX-License-Identifier: Apache-2.0 */
/* Management methods for policies: what takes copies by a schedule and deletes those that no rule keeps. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/control/methods.h"
#include "array/util/json_text.h"

#define PREVIEW_MAX 1000 /* verdicts in one answer: for each answer all sets are judged */

#define KEEP_TEXT_BYTES 96

/* "hourly=24,daily=7", as it is given; empty: no rules. */
static const char *keep_text(const struct keep_rules *rules, char out[KEEP_TEXT_BYTES])
{
	size_t at = 0;

	out[0] = 0;
	for (unsigned i = 0; i < KEEP_PERIODS; i++)
		if (rules->count[i])
			at += (size_t)snprintf(out + at, KEEP_TEXT_BYTES - at, "%s%s=%u", at ? "," : "",
				keep_names[i], rules->count[i]);
	return out;
}

static json_t *luns_json(struct array *a, const struct policy_spec *spec)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < spec->lun_count; i++) {
		const struct lun *lun = lun_find(a, spec->luns[i]);

		json_array_append_new(list, json_pack("{s:o, s:s?}", "id", mgmt_id(spec->luns[i]), "name",
						    lun ? lun->name : NULL));
	}
	return list;
}

static json_t *at_json(const struct policy_spec *spec)
{
	char text[8];

	if (spec->at_min == POLICY_NO_TIME)
		return json_null();
	snprintf(text, sizeof(text), "%02u:%02u", spec->at_min / 60 % 24, spec->at_min % 60);
	return json_string(text);
}

static json_t *policy_json(struct array *a, const struct policy *p)
{
	char keep[KEEP_TEXT_BYTES];
	struct policy_view v;

	policy_view_of(p, &v);
	return json_pack("{s:s, s:o, s:b, s:I, s:o, s:s, s:I, s:o, s:o, s:o}", "name", v.spec->name, "label",
		json_text(v.spec->label), "hosts", (int)v.spec->hosts, "every_ms",
		(json_int_t)v.spec->every_ms, "at", at_json(v.spec), "keep", keep_text(&v.spec->keep, keep),
		"lock_ms", (json_int_t)v.spec->lock_ms, "last_unix_ms", mgmt_time(v.last_unix_ms),
		"next_unix_ms", mgmt_time(v.next_unix_ms), "luns", luns_json(a, v.spec));
}

/* NULL: the call has been ended. */
static struct policy *find_policy(struct mgmt_call *c, const char *name)
{
	struct policy *p = policy_find(c->array, name);

	if (!p)
		mgmt_fail(c, -ENOENT, "There is no policy %.80s: umbractl policy list shows those there are.",
			name);
	return p;
}

static struct policy *named_policy(struct mgmt_call *c)
{
	const char *name;

	return mgmt_unpack(c, "{s:s}", "policy", &name) ? find_policy(c, name) : NULL;
}

/* ---- create, set ------------------------------------------------------------------------------------ */

/* What is given; NULL, negative: not given. */
struct words {
	const char *name, *label, *keep, *at;
	json_t *luns;
	json_int_t every_ms, lock_ms;
	int hosts;
};

static bool take_luns(struct mgmt_call *c, json_t *names, struct policy_spec *spec)
{
	size_t count = json_array_size(names);

	if (!json_is_array(names) || count > POLICY_LUNS_MAX) {
		mgmt_bad_params(c, "luns must be a list of up to %d names or ids", POLICY_LUNS_MAX);
		return false;
	}
	spec->lun_count = 0;
	for (size_t i = 0; i < count; i++) {
		const char *name = json_string_value(json_array_get(names, i));
		const struct lun *lun = name ? mgmt_find_lun(c, name) : NULL;

		if (!name)
			mgmt_bad_params(c, "luns must hold names or ids");
		if (!lun)
			return false;
		memcpy(spec->luns[spec->lun_count++], lun->id, UP_ID_BYTES);
	}
	return true;
}

static bool take_at(struct mgmt_call *c, const char *text, struct policy_spec *spec)
{
	if (policy_at_parse(text, &spec->at_min))
		return true;
	mgmt_bad_params(c, "at must be a time of the day, from 00:00 to 23:59");
	return false;
}

static bool take_text(struct mgmt_call *c, const char *what, const char *text, char *out, size_t cap)
{
	if (strlen(text) < cap) {
		memset(out, 0, cap);
		memcpy(out, text, strlen(text));
		return true;
	}
	mgmt_bad_params(c, "%s has more than %zu bytes", what, cap - 1);
	return false;
}

static bool take_keep(struct mgmt_call *c, const char *text, struct policy_spec *spec)
{
	memset(&spec->keep, 0, sizeof(spec->keep));
	if (!*text || keep_parse(text, &spec->keep))
		return true;
	mgmt_bad_params(c,
		"keep takes hourly=N, daily=N, weekly=N, monthly=N and yearly=N with commas between them, each once, N up to %d, one of them above 0",
		KEEP_COUNT_MAX);
	return false;
}

/* False: the call has been ended. */
static bool words_apply(struct mgmt_call *c, const struct words *w, struct policy_spec *spec)
{
	if (w->label && !take_text(c, "the label", w->label, spec->label, sizeof(spec->label)))
		return false;
	if ((w->luns && !take_luns(c, w->luns, spec)) || (w->keep && !take_keep(c, w->keep, spec)) ||
		(w->at && !take_at(c, w->at, spec)))
		return false;
	if (w->hosts >= 0)
		spec->hosts = w->hosts;
	if (w->every_ms >= 0)
		spec->every_ms = (uint64_t)w->every_ms;
	if (w->lock_ms >= 0)
		spec->lock_ms = (uint64_t)w->lock_ms;
	return true;
}

static bool words_unpack(struct mgmt_call *c, const char *name_is, struct words *w)
{
	*w = (struct words){.every_ms = -1, .lock_ms = -1, .hosts = -1};
	if (!mgmt_unpack(c, "{s:s, s?s, s?b, s?I, s?s, s?s, s?I, s?o}", name_is, &w->name, "label", &w->label,
		    "hosts", &w->hosts, "every_ms", &w->every_ms, "at", &w->at, "keep", &w->keep, "lock_ms",
		    &w->lock_ms, "luns", &w->luns))
		return false;
	if (w->every_ms >= -1 && w->lock_ms >= -1)
		return true;
	mgmt_bad_params(c, "every_ms and lock_ms cannot be negative");
	return false;
}

static void policy_done(struct array_call *call)
{
	struct mgmt_call *c = mgmt_call_of(call);
	const char *name = json_string_value(json_object_get(c->params, "name"));
	struct policy *p;

	if (call->fault.err) {
		mgmt_fault(c, call->fault.err, &call->fault);
		return;
	}
	if (!name)
		name = json_string_value(json_object_get(c->params, "policy"));
	p = policy_find(c->array, name);
	mgmt_result(c, p ? policy_json(c->array, p) : json_object());
}

static void policy_create_method(struct mgmt_call *c)
{
	struct policy_spec spec = {.at_min = POLICY_NO_TIME};
	struct words w;

	if (!words_unpack(c, "name", &w) || !take_text(c, "the name", w.name, spec.name, sizeof(spec.name)) ||
		!take_text(c, "the label", w.label ? w.label : w.name, spec.label, sizeof(spec.label)) ||
		!words_apply(c, &w, &spec))
		return;
	c->call.done = policy_done;
	policy_put(c->array, &spec, false, &c->call);
}

static void policy_set_method(struct mgmt_call *c)
{
	struct policy_spec spec;
	struct policy_view v;
	struct policy *p;
	struct words w;

	if (!words_unpack(c, "policy", &w))
		return;
	p = find_policy(c, w.name);
	if (!p)
		return;
	policy_view_of(p, &v);
	spec = *v.spec;
	if (!words_apply(c, &w, &spec))
		return;
	c->call.done = policy_done;
	policy_put(c->array, &spec, true, &c->call);
}

/* ---- the others ------------------------------------------------------------------------------------- */

static void policy_list_method(struct mgmt_call *c)
{
	struct mgmt_page page;

	if (!mgmt_page(c, &page))
		return;
	for (struct policy *p = policy_next(c->array, NULL); p && !page.more; p = policy_next(c->array, p))
		if (mgmt_page_takes(&page))
			json_array_append_new(page.entries, policy_json(c->array, p));
	mgmt_result(c, mgmt_page_result(&page, "policies"));
}

static void policy_show_method(struct mgmt_call *c)
{
	struct policy *p = named_policy(c);

	if (p)
		mgmt_result(c, policy_json(c->array, p));
}

static void policy_delete_method(struct mgmt_call *c)
{
	const char *name;

	if (!mgmt_unpack(c, "{s:s}", "policy", &name))
		return;
	c->call.done = mgmt_done;
	policy_delete(c->array, name, &c->call);
}

static json_t *verdict_json(const struct policy_verdict *v)
{
	static const char *const words[] = {[POLICY_KEEPS] = "keeps",
		[POLICY_LOCKED] = "locked",
		[POLICY_IN_USE] = "in use",
		[POLICY_DELETES] = "deletes"};
	json_t *by = json_array();
	struct set_view view;

	set_view_of(v->set, &view);
	for (unsigned i = 0; i < KEEP_PERIODS; i++)
		if (v->by & (1u << i))
			json_array_append_new(by, json_string(keep_names[i]));
	return json_pack("{s:o, s:s, s:o, s:o, s:s, s:o, s:o}", "id", mgmt_id(view.id), "name", view.name,
		"owner", json_text(view.owner), "cut_unix_ms", mgmt_time(view.cut_unix_ms), "verdict",
		words[v->word], "rules", by, "locked_until_unix_ms", mgmt_time(view.lock_unix_ms));
}

static void policy_preview_method(struct mgmt_call *c)
{
	json_int_t from = 0, count = PREVIEW_MAX;
	struct policy_verdict *verdicts;
	size_t offset, limit, found, at;
	const char *name;
	struct policy_view v;

	if (!mgmt_unpack(c, "{s:s, s?I, s?I}", "policy", &name, "offset", &from, "limit", &count) ||
		!mgmt_range_of(c, from, count, PREVIEW_MAX, &offset, &limit))
		return;
	struct policy *p = find_policy(c, name);
	if (!p)
		return;
	policy_view_of(p, &v);
	if (policy_judge(c->array, v.spec, &verdicts, &found)) {
		mgmt_fail(c, -ENOMEM, FAULT_NO_MEMORY);
		return;
	}
	json_t *list = json_array();
	for (at = offset; at < found && at < offset + limit; at++)
		json_array_append_new(list, verdict_json(&verdicts[at]));
	free(verdicts);
	mgmt_result(c, mgmt_range_result("sets", list, at, at < found));
}

const struct mgmt_method mgmt_policy_methods[] = {
	{"policy.create", policy_create_method, MGMT_OWNER},
	{"policy.set", policy_set_method, MGMT_OWNER},
	{"policy.list", policy_list_method, MGMT_OWNER},
	{"policy.show", policy_show_method, MGMT_OWNER},
	{"policy.delete", policy_delete_method, MGMT_OWNER},
	{"policy.preview", policy_preview_method, MGMT_OWNER},
	{NULL, NULL, MGMT_OWNER},
};
