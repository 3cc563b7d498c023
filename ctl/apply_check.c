/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong with a file by itself, whatever the array: names and sizes that cannot be, impossible rules and times, a thing
 * named twice. It is asked before anything is done, and of the model's own functions, so that umbrad will not say
 * otherwise when half of the file has been carried out.
 */
#include <stdio.h>
#include <string.h>
#include "array/model/array.h"
#include "ctl/apply.h"

static bool good(struct plan *p, const char *kind, size_t at, int err, const struct fault *fault)
{
	return !err || plan_wrong(p, "%s[%zu]: %s.", kind, at, fault->text);
}

/* name: of one that is to be made, or NULL: what was a copy once may be called as the array's own. */
bool check_lun(struct plan *p, size_t at, const char *name, uint64_t size_bytes)
{
	struct fault fault = {0};
	int err = name ? lun_name_check(name, &fault) : 0;

	if (!err)
		err = lun_size_check(size_bytes, &fault);
	return good(p, "luns", at, err, &fault);
}

/* ---- hosts ------------------------------------------------------------------------------------------ */

/* A list of texts into the rows of a record. */
static bool take_texts(struct plan *p, size_t at, const json_t *entry, const char *member, char *first,
	size_t stride, unsigned *count)
{
	json_t *list = json_object_get(entry, member), *one;
	size_t i;

	if (list && (!json_is_array(list) || json_array_size(list) > ARRAY_HOST_IQNS_MAX))
		return plan_wrong(
			p, "hosts[%zu]: %s is no list of at most %d texts.", at, member, ARRAY_HOST_IQNS_MAX);
	json_array_foreach(list, i, one)
	{
		const char *text = json_string_value(one);
		if (!text || !*text || strlen(text) >= stride)
			return plan_wrong(p, "hosts[%zu]: %s has what is no text of up to %zu bytes.", at,
				member, stride - 1);
		memcpy(first + stride * (*count)++, text, strlen(text));
	}
	return true;
}

static bool check_types(struct plan *p, size_t at, const json_t *entry)
{
	static const char *const texts[] = {"chap_user", "import"}, *const flags[] = {"control_lu",
									    "control_without_chap"};

	for (size_t i = 0; i < 2; i++) {
		json_t *text = json_object_get(entry, texts[i]), *flag = json_object_get(entry, flags[i]);

		if (text && !json_is_string(text))
			return plan_wrong(p, "hosts[%zu]: %s is no text.", at, texts[i]);
		if (flag && !json_is_boolean(flag))
			return plan_wrong(p, "hosts[%zu]: %s is neither true nor false.", at, flags[i]);
	}
	return true;
}

/* No two hosts of the file have one initiator name. */
static bool check_iqns(struct plan *p, size_t at, const struct host_record *r)
{
	for (unsigned i = 0; i < r->iqn_count; i++) {
		json_t *owner = json_object_get(p->iqns, r->iqns[i]);

		if (owner)
			return plan_wrong(p, "hosts[%zu]: %.100s belongs to host %.64s already.", at,
				r->iqns[i], json_string_value(owner));
		json_object_set_new(p->iqns, r->iqns[i], json_string(r->name));
	}
	return true;
}

bool check_host(struct plan *p, size_t at, const json_t *entry, const char *name)
{
	const char *import = json_string_value(json_object_get(entry, "import"));
	struct host_record r = {.import = HOST_IMPORT_OWN};
	struct fault fault = {0};

	if (!check_types(p, at, entry) ||
		!take_texts(p, at, entry, "iqns", r.iqns[0], sizeof(r.iqns[0]), &r.iqn_count) ||
		!take_texts(p, at, entry, "import_hosts", r.import_hosts[0], sizeof(r.import_hosts[0]),
			&r.import_host_count))
		return false;
	if (import && strcmp(import, "own") && strcmp(import, "named") && strcmp(import, "any"))
		return plan_wrong(p, "hosts[%zu]: import is own, named or any.", at);
	if (strlen(name) >= sizeof(r.name))
		return plan_wrong(p, "hosts[%zu]: %.80s is too long a name.", at, name);
	memcpy(r.name, name, strlen(name));
	return good(p, "hosts", at, host_record_check(&r, &fault), &fault) && check_iqns(p, at, &r);
}

/* ---- mappings --------------------------------------------------------------------------------------- */

/* Each host sees a LUN once, and under a number one LUN. */
bool check_map(struct plan *p, size_t at, const char *lun, const char *host, const json_t *number)
{
	json_int_t n = json_integer_value(number);
	char key[400];

	if (number && (!json_is_integer(number) || n < 1 || n > ARRAY_LUN_NUMBER_MAX))
		return plan_wrong(
			p, "mappings[%zu]: the number is one from 1 to %d.", at, (int)ARRAY_LUN_NUMBER_MAX);
	snprintf(key, sizeof(key), "%.150s\n%.150s", host, lun);
	if (json_object_get(p->mapped, key))
		return plan_wrong(p, "mappings has LUN %.64s for host %.64s twice.", lun, host);
	json_object_set_new(p->mapped, key, json_true());
	snprintf(key, sizeof(key), "%.150s\n#%lld", host, (long long)n);
	if (number && json_object_get(p->mapped, key))
		return plan_wrong(
			p, "mappings has two LUNs for host %.64s under number %lld.", host, (long long)n);
	if (number)
		json_object_set_new(p->mapped, key, json_true());
	return true;
}

/* ---- policies --------------------------------------------------------------------------------------- */

static bool take(struct plan *p, size_t at, const char *what, const char *text, char *out, size_t cap)
{
	if (strlen(text) >= cap)
		return plan_wrong(p, "policies[%zu]: the %s has more than %zu bytes.", at, what, cap - 1);
	memcpy(out, text, strlen(text));
	return true;
}

/* The LUNs stand for themselves by their place: what is checked is how many, and that none comes twice. */
static bool take_luns(struct plan *p, size_t at, const json_t *luns, struct policy_spec *spec)
{
	size_t count = json_array_size(luns);

	if (count > POLICY_LUNS_MAX)
		return plan_wrong(p, "policies[%zu]: a policy is for at most %d LUNs.", at, POLICY_LUNS_MAX);
	for (size_t i = 0; i < count; i++) {
		const char *name = json_string_value(json_array_get(luns, i));

		if (!name)
			return plan_wrong(p, "policies[%zu]: luns has what is no name.", at);
		if (!plan_find(json_object_get(p->file, "luns"), "name", name) &&
			!plan_find(p->luns, "name", name) && !plan_find(p->luns, "id", name))
			return plan_wrong(p, "policies[%zu]: there is no LUN %.64s.", at, name);
		for (size_t j = 0; j < i; j++)
			if (strcmp(json_string_value(json_array_get(luns, j)), name) == 0)
				return plan_wrong(p, "policies[%zu]: LUN %.64s is named twice.", at, name);
		spec->luns[i][0] = (uint8_t)(i + 1);
	}
	spec->lun_count = (unsigned)count;
	return true;
}

/* words: as the management socket takes them. */
bool check_policy(struct plan *p, size_t at, const char *name, const json_t *words)
{
	const char *keep = json_string_value(json_object_get(words, "keep")),
		   *day = json_string_value(json_object_get(words, "at")),
		   *label = json_string_value(json_object_get(words, "label"));
	struct policy_spec spec = {
		.every_ms = (uint64_t)json_integer_value(json_object_get(words, "every_ms")),
		.lock_ms = (uint64_t)json_integer_value(json_object_get(words, "lock_ms"))};
	struct fault fault = {0};
	json_t *other;
	size_t i;

	if (!take(p, at, "name", name, spec.name, sizeof(spec.name)) ||
		!take(p, at, "label", label, spec.label, sizeof(spec.label)) ||
		!take_luns(p, at, json_object_get(words, "luns"), &spec))
		return false;
	if (*keep && !keep_parse(keep, &spec.keep))
		return plan_wrong(
			p, "policies[%zu]: keep is no list of rules as in \"hourly=24,daily=7\".", at);
	if (!policy_at_parse(day, &spec.at_min))
		return plan_wrong(p, "policies[%zu]: at is no time of the day as in \"02:00\".", at);
	json_array_foreach(json_object_get(p->file, "policies"), i, other)
	{
		const char *theirs = json_string_value(json_object_get(other, "label"));

		if (!theirs)
			theirs = text_of(other, "name");
		if (i < at && strcmp(theirs, label) == 0)
			return plan_wrong(p, "policies[%zu]: policy %.64s has the label %.64s already.", at,
				text_of(other, "name"), label);
	}
	return good(p, "policies", at, policy_spec_check(&spec, &fault), &fault);
}
