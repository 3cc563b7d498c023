/* SPDX-License-Identifier: Apache-2.0 */
/* What has to happen for an array to be as its file says. Each kind of thing has a function that makes or changes it, and, with
 * --prune, one that takes away what the file does not name. */
#include <string.h>
#include "ctl/apply.h"

static json_t *wanted(struct plan *p, const char *kind)
{
	return json_object_get(p->file, kind);
}

/* Takes a member into the changes when it is given and not what is there. */
static void differ(const json_t *entry, const json_t *is, const char *member, json_t *params, json_t *values)
{
	json_t *want = json_object_get(entry, member), *now = json_object_get(is, member);

	if (!want || json_equal(want, now))
		return;
	json_object_set(params, member, want);
	json_object_set_new(values, member, json_pack("{s:O?, s:O}", "is", now, "becomes", want));
}

/* A step for what is not there yet, or has changes: more params than its name. params and values: moved. */
static void put(struct plan *p, const json_t *is, const char *method, json_t *params, json_t *values,
	const char *kind, const char *name)
{
	if (!is || json_object_size(params) > 1) {
		plan_add(p, is ? '~' : '+', method, params, values, "%s %s", kind, name);
		return;
	}
	json_decref(params);
	json_decref(values);
}

/* What is there and the file does not name. one: what such a thing is called, and the parameter that names it. */
static void prune_named(struct plan *p, const char *kind, json_t *there, const char *method, const char *one)
{
	json_t *entry;
	size_t i;

	json_array_foreach(there, i, entry)
	{
		const char *name = text_of(entry, "name");
		if (!plan_find(wanted(p, kind), "name", name))
			plan_add(p, '-', method, json_pack("{s:s}", one, name), NULL, "%s %s", one, name);
	}
}

/* ---- LUNs ------------------------------------------------------------------------------------------- */

static bool plan_lun(struct plan *p, size_t at, json_t *entry)
{
	const char *name;
	json_t *size;
	uint64_t bytes;

	if (!plan_unpack(p, "luns", at, entry, "{s:s, s:o}", "name", &name, "size", &size) ||
		!plan_bytes(p, name, size, &bytes))
		return false;
	json_t *is = plan_find(p->luns, "name", name);
	if (!check_lun(p, at, is ? NULL : name, bytes))
		return false;
	json_t *params = json_pack("{s:s, s:I}", is ? "lun" : "name", name, "size_bytes", (json_int_t)bytes);
	json_int_t now = json_integer_value(json_object_get(is, "size_bytes"));
	if (!is) {
		plan_add(p, '+', "lun.create", params, NULL, "LUN %s, %s", name,
			size_of(params, "size_bytes"));
		return true;
	}
	if ((json_int_t)bytes > now) {
		plan_add(p, '~', "lun.resize", params, NULL, "LUN %s, from %s to %s", name,
			size_of(is, "size_bytes"), size_of(params, "size_bytes"));
		return true;
	}
	if ((json_int_t)bytes < now)
		plan_wrong(p, "LUN %.64s has %s and is to have %s: a LUN only grows.", name,
			size_of(is, "size_bytes"), size_of(params, "size_bytes"));
	json_decref(params);
	return !p->failed;
}

static void prune_luns(struct plan *p)
{
	json_t *lun;
	size_t i;

	json_array_foreach(p->luns, i, lun)
	{
		const char *name = text_of(lun, "name");
		if (!plan_find(wanted(p, "luns"), "name", name))
			plan_add(p, '-', "lun.delete", json_pack("{s:s}", "lun", name), NULL,
				"LUN %s, %s, with its data", name, size_of(lun, "size_bytes"));
	}
}

/* ---- hosts ------------------------------------------------------------------------------------------ */

static bool host_secrets(
	struct plan *p, const char *chap, const char *mutual, const json_t *is, json_t *params)
{
	if (chap && !json_is_true(json_object_get(is, "chap")) &&
		!plan_secret(p, params, "chap_secret", chap))
		return false;
	return !mutual || json_is_true(json_object_get(is, "mutual_chap")) ||
	       plan_secret(p, params, "mutual_chap_secret", mutual);
}

static bool plan_host(struct plan *p, size_t at, json_t *entry)
{
	static const char *const members[] = {
		"iqns", "chap_user", "control_lu", "control_without_chap", "import", "import_hosts"};
	const char *name, *chap = NULL, *mutual = NULL;
	json_t *any;

	if (!plan_unpack(p, "hosts", at, entry, "{s:s, s:o, s?s, s?s, s?o, s?o, s?o, s?o, s?o}", "name",
		    &name, "iqns", &any, "chap_secret_file", &chap, "mutual_chap_secret_file", &mutual,
		    "chap_user", &any, "control_lu", &any, "control_without_chap", &any, "import", &any,
		    "import_hosts", &any))
		return false;
	if (!check_host(p, at, entry, name))
		return false;
	if (json_object_get(entry, "import_hosts") && strcmp(text_of(entry, "import"), "named") != 0)
		return plan_wrong(p, "host %.64s: import_hosts goes with \"import\": \"named\".", name);
	json_t *is = plan_find(p->hosts, "name", name), *values = json_object();
	json_t *params = json_pack("{s:s}", is ? "host" : "name", name);
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		differ(entry, is, members[i], params, values);
	if (!host_secrets(p, chap, mutual, is, params)) {
		json_decref(params);
		json_decref(values);
		return false;
	}
	put(p, is, is ? "host.set" : "host.add", params, values, "host", name);
	return true;
}

static void prune_hosts(struct plan *p)
{
	prune_named(p, "hosts", p->hosts, "host.delete", "host");
}

/* ---- mappings --------------------------------------------------------------------------------------- */

static json_t *map_find(json_t *list, const char *lun, const char *host)
{
	json_t *map;
	size_t i;

	json_array_foreach(list, i, map) if (strcmp(text_of(map, "lun"), lun) == 0 &&
					     strcmp(text_of(map, "host"), host) == 0) return map;
	return NULL;
}

static bool plan_map(struct plan *p, size_t at, json_t *entry)
{
	json_t *given = NULL;
	const char *lun, *host;

	if (!plan_unpack(p, "mappings", at, entry, "{s:s, s:s, s?o}", "lun", &lun, "host", &host, "number",
		    &given) ||
		!check_map(p, at, lun, host, given))
		return false;
	json_int_t number = json_integer_value(given);
	json_t *is = map_find(p->maps, lun, host);
	json_int_t now = json_integer_value(json_object_get(is, "number"));
	if (is && number && now != number)
		return plan_wrong(p,
			"host %.64s sees LUN %.64s under number %lld and is to see it under %lld: umbractl unmap takes it away first.",
			host, lun, (long long)now, (long long)number);
	if (is)
		return true;
	if (!plan_find(wanted(p, "luns"), "name", lun) && !plan_find(p->luns, "name", lun))
		return plan_wrong(p, "mappings[%zu]: there is no LUN %.64s.", at, lun);
	if (!plan_find(wanted(p, "hosts"), "name", host) && !plan_find(p->hosts, "name", host))
		return plan_wrong(p, "mappings[%zu]: there is no host %.64s.", at, host);
	json_t *params = json_pack("{s:s, s:s}", "lun", lun, "host", host);
	if (number)
		json_object_set_new(params, "number", json_integer(number));
	plan_add(p, '+', "map.add", params, NULL, "LUN %s for host %s", lun, host);
	return true;
}

static void prune_maps(struct plan *p)
{
	json_t *map;
	size_t i;

	json_array_foreach(p->maps, i, map)
	{
		const char *lun = text_of(map, "lun"), *host = text_of(map, "host");
		if (plan_find(p->luns, "name", lun) && !map_find(wanted(p, "mappings"), lun, host))
			plan_add(p, '-', "map.remove", json_pack("{s:s, s:s}", "lun", lun, "host", host),
				NULL, "LUN %s from host %s", lun, host);
	}
}

/* ---- policies --------------------------------------------------------------------------------------- */

/* The names of a policy's LUNs, as its file has them. */
static json_t *lun_names(const json_t *policy)
{
	json_t *names = json_array(), *lun;
	size_t i;

	json_array_foreach(json_object_get(policy, "luns"), i, lun)
		json_array_append(names, json_object_get(lun, "name"));
	return names;
}

/* A policy's words as the management socket takes them, whole: what is not given is as for a new one. NULL: wrong. */
static json_t *policy_words(struct plan *p, size_t at, json_t *entry, const char **name)
{
	const char *every = NULL, *day = "", *keep = "", *label = NULL, *lock = NULL;
	json_int_t every_ms, lock_ms;
	json_t *luns = NULL;
	int hosts = 0;

	if (!plan_unpack(p, "policies", at, entry, "{s:s, s?o, s?s, s?s, s?s, s?s, s?b, s?s}", "name", name,
		    "luns", &luns, "every", &every, "at", &day, "keep", &keep, "label", &label, "vss", &hosts,
		    "lock", &lock) ||
		!plan_ms(p, *name, every, &every_ms) || !plan_ms(p, *name, lock, &lock_ms))
		return NULL;
	if (luns && !json_is_array(luns)) {
		plan_wrong(p, "policies[%zu]: luns is not a list.", at);
		return NULL;
	}
	json_t *words = json_pack("{s:O*, s:I, s:s, s:s, s:s, s:b, s:I}", "luns", luns, "every_ms", every_ms,
		"at", day, "keep", keep, "label", label ? label : *name, "hosts", hosts, "lock_ms", lock_ms);
	if (check_policy(p, at, *name, words))
		return words;
	json_decref(words);
	return NULL;
}

static bool plan_policy(struct plan *p, size_t at, json_t *entry)
{
	static const char *const members[] = {"luns", "every_ms", "at", "keep", "label", "hosts", "lock_ms"};
	const char *name;
	json_t *words = policy_words(p, at, entry, &name);

	if (!words)
		return false;
	json_t *values = json_object();
	json_t *is = plan_find(p->policies, "name", name), *now = is ? json_copy(is) : NULL;
	json_t *params = json_pack("{s:s}", is ? "policy" : "name", name);
	if (now) {
		json_object_set_new(now, "luns", lun_names(is));
		if (json_is_null(json_object_get(now, "at")))
			json_object_set_new(now, "at", json_string(""));
	}
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		differ(words, now, members[i], params, values);
	put(p, is, is ? "policy.set" : "policy.create", params, values, "policy", name);
	json_decref(now);
	json_decref(words);
	return true;
}

static void prune_policies(struct plan *p)
{
	prune_named(p, "policies", p->policies, "policy.delete", "policy");
}

bool plan_make(struct plan *p)
{
	static const struct {
		const char *kind;
		bool (*each)(struct plan *p, size_t at, json_t *entry);
	} rows[] = {
		{"luns", plan_lun}, {"hosts", plan_host}, {"mappings", plan_map}, {"policies", plan_policy}};
	json_t *entry;
	size_t i;

	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++)
		json_array_foreach(
			wanted(p, rows[k].kind), i, entry) if (!rows[k].each(p, i, entry)) return false;
	if (!p->prune)
		return true;
	/* A kind that the file does not speak of is not touched. */
	if (wanted(p, "policies"))
		prune_policies(p);
	if (wanted(p, "mappings"))
		prune_maps(p);
	if (wanted(p, "hosts"))
		prune_hosts(p);
	if (wanted(p, "luns"))
		prune_luns(p);
	return true;
}
