/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl set. */
#include <stdio.h>
#include "ctl/ctl.h"

static json_t *set_params(const struct invocation *in)
{
	return json_pack("{s:s}", "set", in->operands[0]);
}

static void print_set(const json_t *set)
{
	static const char *const headings[] = {"LUN", "SHADOW", "STATE", ">SIZE", "SHADOW ID", NULL};
	json_t *member;
	size_t i;

	printf("id        %s\nname      %s\nowner     %s\nstate     %s\ncut       %s\nwindow    %s\ndurable   %s\n",
		text_of(set, "id"), text_of(set, "name"), text_of(set, "owner"), text_of(set, "state"),
		time_of(set, "cut_unix_ms"), nanoseconds_of(set, "window_ns"),
		nanoseconds_of(set, "durable_ns"));
	struct table *t = table_new(headings);
	json_array_foreach(json_object_get(set, "members"), i, member)
	{
		table_cell(t, text_of(member, "lun"));
		table_cell(t, text_of(member, "shadow"));
		table_cell(t, text_of(member, "shadow_state"));
		table_cell(t, size_of(member, "size_bytes"));
		table_cell(t, text_of(member, "shadow_id"));
	}
	table_print(t);
}

int verb_set_create(struct invocation *in)
{
	json_t *luns = json_array();

	for (int i = 1; i < in->operand_count; i++)
		json_array_append_new(luns, json_string(in->operands[i]));
	json_t *set = ctl_call(in, "set.create",
		json_pack("{s:s, s:o, s:b}", "name", in->operands[0], "luns", luns, "keep",
			!ctl_flag(in, "no-keep")));
	if (set && !in->json)
		print_set(set);
	return print_result(in, set, "%s", "");
}

int verb_set_list(struct invocation *in)
{
	static const char *const headings[] = {
		"NAME", "STATE", ">LUNS", "CUT", ">WINDOW", "OWNER", "ID", NULL};
	json_t *sets = ctl_list(in, "set.list", "sets", ctl_flag(in, "all") ? "all" : NULL), *set;
	size_t i;

	if (!sets)
		return CTL_FAILED;
	if (in->json)
		return print_json(json_pack("{s:o}", "sets", sets));
	struct table *t = table_new(headings);
	json_array_foreach(sets, i, set)
	{
		table_cell(t, text_of(set, "name"));
		table_cell(t, text_of(set, "state"));
		table_cell(t, count_of(set, "luns"));
		table_cell(t, time_of(set, "cut_unix_ms"));
		table_cell(t, nanoseconds_of(set, "window_ns"));
		table_cell(t, text_of(set, "owner"));
		table_cell(t, text_of(set, "id"));
	}
	table_print(t);
	json_decref(sets);
	return CTL_OK;
}

int verb_set_show(struct invocation *in)
{
	json_t *set = ctl_call(in, "set.show", set_params(in));

	if (set && !in->json)
		print_set(set);
	return print_result(in, set, "%s", "");
}

int verb_set_delete(struct invocation *in)
{
	return print_result(in, ctl_call(in, "set.delete", set_params(in)),
		"Set %s and its shadow LUNs deleted\n", in->operands[0]);
}

int verb_set_abort(struct invocation *in)
{
	return print_result(
		in, ctl_call(in, "set.abort", set_params(in)), "Set %s undone\n", in->operands[0]);
}
