/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl set. */
#include <stdio.h>
#include <string.h>
#include "ctl/ctl.h"

/* "12.3 ms", or "not told". */
static const char *told_ms(const json_t *set, const char *member, char out[32])
{
	json_t *us = json_object_get(set, member);

	if (json_is_integer(us))
		snprintf(out, 32, "%.1f ms", (double)json_integer_value(us) / 1000);
	else
		snprintf(out, 32, "not told");
	return out;
}

static const char *held_of(const json_t *set, const char *member)
{
	static char texts[2][32];
	static unsigned next;

	return json_is_integer(json_object_get(set, member)) ? told_ms(set, member, texts[next++ % 2]) : "-";
}

/* What the set's hosts told of it. */
static void print_cost(const json_t *set)
{
	const char *consistency = text_of(set, "consistency"), *recovery = text_of(set, "auto_recovery");
	bool told = strcmp(consistency, "not told") != 0;
	char a[32], b[32], c[32], d[32];

	printf("label     %s\nwriters   %s%s%s%s%s\n", text_of(set, "label"), text_of(set, "writers"),
		told ? ": " : "", told ? consistency : "", told ? "-consistent" : "",
		strcmp(recovery, "none") == 0   ? ""
		: strcmp(recovery, "done") == 0 ? ", auto-recovery done"
						: ", auto-recovery begun");
	if (strcmp(text_of(set, "writers"), "no VSS") == 0) /* which froze and held nothing */
		return;
	printf("frozen    %s\n", told_ms(set, "frozen_us", a));
	if (json_is_integer(json_object_get(set, "held_us")))
		printf("held      %s: flush %s, CommitSnapshots %s, release %s\n", told_ms(set, "held_us", a),
			told_ms(set, "flush_us", b), told_ms(set, "commit_us", c),
			told_ms(set, "release_us", d));
	else
		printf("held      not told\n");
	printf("import    %s\n", told_ms(set, "import_us", a));
}

static void print_set(const json_t *set)
{
	static const struct column columns[] = {
		{"LUN", text_of, "lun"},
		{"SHADOW", text_of, "shadow"},
		{"STATE", text_of, "shadow_state"},
		{">SIZE", size_of, "size_bytes"},
		{"SHADOW ID", text_of, "shadow_id"},
		{NULL, NULL, NULL},
	};

	printf("id        %s\nname      %s\nowner     %s\nstate     %s\ncut       %s\nwindow    %s\ndurable   %s\n",
		text_of(set, "id"), text_of(set, "name"), text_of(set, "owner"), text_of(set, "state"),
		time_of(set, "cut_unix_ms"), nanoseconds_of(set, "window_ns"),
		nanoseconds_of(set, "durable_ns"));
	if (json_integer_value(json_object_get(set, "lock_left_ms")))
		printf("locked    until %s, and for %s of umbrad's running time\n",
			time_of(set, "locked_until_unix_ms"), duration_of(set, "lock_left_ms"));
	print_cost(set);
	print_rows(columns, json_object_get(set, "members"));
}

int verb_set_create(struct invocation *in)
{
	bool plex = ctl_flag(in, "plex"), differential = ctl_flag(in, "differential");

	if (plex && differential)
		return ctl_usage(in, "--plex and --differential contradict each other.");
	json_t *luns = json_array();
	for (int i = 1; i < in->operand_count; i++)
		json_array_append_new(luns, json_string(in->operands[i]));
	json_t *params = json_pack(
		"{s:s, s:o, s:b}", "name", in->operands[0], "luns", luns, "keep", !ctl_flag(in, "no-keep"));
	const char *label = ctl_option(in, "label", 0);
	json_int_t lock_ms = 0;
	if (!ctl_duration(in, "lock", &lock_ms)) {
		json_decref(params);
		return CTL_USAGE;
	}
	if (label)
		json_object_set_new(params, "label", json_string(label));
	if (lock_ms)
		json_object_set_new(params, "lock_ms", json_integer(lock_ms));
	if (plex || differential)
		json_object_set_new(params, "kind", json_string(plex ? "plex" : "differential"));
	json_t *set = ctl_call(in, "set.create", params);
	if (set && !in->json)
		print_set(set);
	return print_result(in, set, "%s", "");
}

int verb_set_list(struct invocation *in)
{
	static const struct column columns[] = {
		{"NAME", text_of, "name"},
		{"STATE", text_of, "state"},
		{">LUNS", count_of, "luns"},
		{"CUT", time_of, "cut_unix_ms"},
		{">WINDOW", nanoseconds_of, "window_ns"},
		{"LOCKED", time_of, "locked_until_unix_ms"},
		{">HELD", held_of, "held_us"},
		{"WRITERS", text_of, "writers"},
		{"LABEL", text_of, "label"},
		{"OWNER", text_of, "owner"},
		{"ID", text_of, "id"},
		{NULL, NULL, NULL},
	};

	return print_list(in, "set.list", "sets", "sets", ctl_flag(in, "all") ? "all" : NULL, columns);
}

int verb_set_show(struct invocation *in)
{
	json_t *set = ctl_call_named(in, "set.show", "set");

	if (set && !in->json)
		print_set(set);
	return print_result(in, set, "%s", "");
}

int verb_set_delete(struct invocation *in)
{
	return print_result(in, ctl_call_named(in, "set.delete", "set"),
		"Set %s and its shadow LUNs deleted\n", in->operands[0]);
}

int verb_set_abort(struct invocation *in)
{
	return print_result(in, ctl_call_named(in, "set.abort", "set"), "Set %s undone\n", in->operands[0]);
}

int verb_set_lock(struct invocation *in)
{
	json_int_t until = 0, for_ms = 0;

	if (!ctl_date(in, "until", &until) || !ctl_duration(in, "for", &for_ms))
		return CTL_USAGE;
	if (!until == !for_ms)
		return ctl_usage(in, "Give one of --until and --for, as in --for 14d.");
	json_t *params = json_pack("{s:s}", "set", in->operands[0]);
	json_object_set_new(params, until ? "until_unix_ms" : "for_ms", json_integer(until ? until : for_ms));
	json_t *set = ctl_call(in, "set.lock", params);
	return print_result(in, set, "Set %s is locked until %s\n", in->operands[0],
		time_of(set, "locked_until_unix_ms"));
}
