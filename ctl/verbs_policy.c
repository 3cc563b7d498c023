/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl policy. */
#include <stdio.h>
#include <string.h>
#include "ctl/ctl.h"

#define JOINED_BYTES 1024

/* "a,b" as a list; the text is not changed. */
static json_t *split(const char *text)
{
	json_t *list = json_array();

	for (;;) {
		size_t len = strcspn(text, ",");
		json_array_append_new(list, json_stringn(text, len));
		if (!text[len])
			return list;
		text += len + 1;
	}
}

/* A list of texts, or of objects' names, with commas between them; "-": it is empty. */
static const char *join(const json_t *list, char out[JOINED_BYTES])
{
	size_t at = 0, i;
	json_t *one;

	snprintf(out, JOINED_BYTES, "-");
	json_array_foreach(list, i, one)
	{
		const char *text = json_is_string(one) ? json_string_value(one) : text_of(one, "name");

		if (at < JOINED_BYTES - 1)
			at += (size_t)snprintf(out + at, JOINED_BYTES - at, "%s%s", at ? "," : "", text);
	}
	return out;
}

static void put_text(const struct invocation *in, json_t *params, const char *option)
{
	const char *text = ctl_option(in, option, 0);

	if (text)
		json_object_set_new(params, option, json_string(strcmp(text, "none") == 0 ? "" : text));
}

/* What was given of a policy. False: something is wrong, and has been said. */
static bool put_options(const struct invocation *in, json_t *params)
{
	const char *luns = ctl_option(in, "luns", 0), *label = ctl_option(in, "label", 0);
	const char *times[][2] = {{"every", "every_ms"}, {"lock", "lock_ms"}};

	if (ctl_flag(in, "vss") && ctl_flag(in, "no-vss")) {
		ctl_usage(in, "--vss and --no-vss contradict each other.");
		return false;
	}
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		const char *text = ctl_option(in, times[i][0], 0);
		json_int_t ms = 0;

		if (!text)
			continue;
		if (strcmp(text, "none") != 0 && !ctl_duration(in, times[i][0], &ms))
			return false;
		json_object_set_new(params, times[i][1], json_integer(ms));
	}
	if (luns)
		json_object_set_new(params, "luns", split(luns));
	if (label)
		json_object_set_new(params, "label", json_string(label));
	if (ctl_flag(in, "vss") || ctl_flag(in, "no-vss"))
		json_object_set_new(params, "hosts", json_boolean(ctl_flag(in, "vss")));
	put_text(in, params, "keep");
	put_text(in, params, "at");
	return true;
}

static void print_policy(const json_t *policy)
{
	char luns[JOINED_BYTES];

	printf("name      %s\nlabel     %s%s\nluns      %s\nevery     %s\nat        %s\nkeep      %s\nlock      %s\n"
	       "last      %s\nnext      %s\n",
		text_of(policy, "name"), text_of(policy, "label"),
		json_is_true(json_object_get(policy, "hosts")) ? ", of hosts too" : "",
		join(json_object_get(policy, "luns"), luns), duration_of(policy, "every_ms"),
		text_of(policy, "at"), text_of(policy, "keep"), duration_of(policy, "lock_ms"),
		time_of(policy, "last_unix_ms"), time_of(policy, "next_unix_ms"));
}

static int put(struct invocation *in, const char *method, const char *as)
{
	json_t *params = json_pack("{s:s}", as, in->operands[0]);

	if (!put_options(in, params)) {
		json_decref(params);
		return CTL_USAGE;
	}
	json_t *policy = ctl_call(in, method, params);
	if (policy && !in->json)
		print_policy(policy);
	return print_result(in, policy, "%s", "");
}

int verb_policy_create(struct invocation *in)
{
	return put(in, "policy.create", "name");
}

int verb_policy_set(struct invocation *in)
{
	return put(in, "policy.set", "policy");
}

int verb_policy_list(struct invocation *in)
{
	static const struct column columns[] = {
		{"NAME", text_of, "name"},
		{"LABEL", text_of, "label"},
		{"EVERY", duration_of, "every_ms"},
		{"AT", text_of, "at"},
		{"KEEP", text_of, "keep"},
		{"LOCK", duration_of, "lock_ms"},
		{"NEXT", time_of, "next_unix_ms"},
		{NULL, NULL, NULL},
	};

	return print_list(in, "policy.list", "policies", "policies", NULL, columns);
}

int verb_policy_show(struct invocation *in)
{
	json_t *policy = ctl_call_named(in, "policy.show", "policy");

	if (policy && !in->json)
		print_policy(policy);
	return print_result(in, policy, "%s", "");
}

/* The rules that keep a set, or why it stays all the same. */
static const char *why_of(const json_t *set, const char *member)
{
	static char text[JOINED_BYTES];

	return join(json_object_get(set, member), text);
}

int verb_policy_preview(struct invocation *in)
{
	static const struct column columns[] = {
		{"SET", text_of, "name"},
		{"CUT", time_of, "cut_unix_ms"},
		{"VERDICT", text_of, "verdict"},
		{"RULES", why_of, "rules"},
		{"LOCKED", time_of, "locked_until_unix_ms"},
		{"OWNER", text_of, "owner"},
		{"ID", text_of, "id"},
		{NULL, NULL, NULL},
	};
	json_t *sets = ctl_list_named(in, "policy.preview", "sets", "policy");

	if (!sets)
		return CTL_FAILED;
	if (in->json)
		return print_json(json_pack("{s:o}", "sets", sets));
	print_rows(columns, sets);
	json_decref(sets);
	return CTL_OK;
}

int verb_policy_delete(struct invocation *in)
{
	return print_result(in, ctl_call_named(in, "policy.delete", "policy"),
		"Policy %s deleted; its copy sets stay\n", in->operands[0]);
}
