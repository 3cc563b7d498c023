/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl lun, shadow, map, unmap, mappings. */
#include <errno.h>
#include <stdio.h>
#include "ctl/ctl.h"

static json_t *lun_params(const struct invocation *in)
{
	return json_pack("{s:s}", "lun", in->operands[0]);
}

int verb_lun_create(struct invocation *in)
{
	uint64_t size = 0;

	if (!ctl_size(in, "size", true, &size))
		return CTL_USAGE;
	json_t *lun = ctl_call(in, "lun.create",
		json_pack("{s:s, s:I}", "name", in->operands[0], "size_bytes", (json_int_t)size));
	return print_result(in, lun, "LUN %s made, %s, id %s\n", text_of(lun, "name"),
		size_of(lun, "size_bytes"), text_of(lun, "id"));
}

int verb_lun_list(struct invocation *in)
{
	static const char *const headings[] = {"NAME", ">SIZE", ">USED", ">HOSTS", "CREATED", "ID", NULL};
	json_t *luns = ctl_list(in, "lun.list", "luns", NULL), *lun;
	size_t i;

	if (!luns)
		return CTL_FAILED;
	if (in->json)
		return print_json(json_pack("{s:o}", "luns", luns));
	struct table *t = table_new(headings);
	json_array_foreach(luns, i, lun)
	{
		table_cell(t, text_of(lun, "name"));
		table_cell(t, size_of(lun, "size_bytes"));
		table_cell(t, size_of(lun, "used_bytes"));
		table_cell(t, count_of(lun, "mappings"));
		table_cell(t, time_of(lun, "created_unix_ms"));
		table_cell(t, text_of(lun, "id"));
	}
	table_print(t);
	json_decref(luns);
	return CTL_OK;
}

static void print_lun(const json_t *lun)
{
	json_t *mapping;
	size_t i;

	printf("name      %s\nid        %s\nkind      %s\nsize      %s\nused      %s\nvendor    %s\nproduct   %s\n"
	       "serial    %s\nnaa       %s\ncreated   %s\n",
		text_of(lun, "name"), text_of(lun, "id"), text_of(lun, "kind"), size_of(lun, "size_bytes"),
		size_of(lun, "used_bytes"), text_of(lun, "vendor"), text_of(lun, "product"),
		text_of(lun, "serial"), text_of(lun, "naa"), time_of(lun, "created_unix_ms"));
	if (json_object_get(lun, "origin_id"))
		printf("original  %s (%s)\nset       %s\n", text_of(lun, "origin"), text_of(lun, "origin_id"),
			text_of(lun, "set_id"));
	json_array_foreach(json_object_get(lun, "mapped_to"), i, mapping)
		printf("mapped    %s as LUN %s\n", text_of(mapping, "host"), count_of(mapping, "number"));
}

int verb_lun_show(struct invocation *in)
{
	json_t *lun = ctl_call(in, "lun.show", lun_params(in));

	if (lun && !in->json)
		print_lun(lun);
	return print_result(in, lun, "%s", "");
}

int verb_lun_resize(struct invocation *in)
{
	uint64_t size = 0;

	if (!ctl_size(in, "size", true, &size))
		return CTL_USAGE;
	json_t *lun = ctl_call(in, "lun.resize",
		json_pack("{s:s, s:I}", "lun", in->operands[0], "size_bytes", (json_int_t)size));
	return print_result(in, lun, "LUN %s has %s now\n", text_of(lun, "name"), size_of(lun, "size_bytes"));
}

int verb_lun_rename(struct invocation *in)
{
	json_t *lun = ctl_call(
		in, "lun.rename", json_pack("{s:s, s:s}", "lun", in->operands[0], "name", in->operands[1]));

	return print_result(in, lun, "LUN %s is %s now\n", in->operands[0], in->operands[1]);
}

int verb_lun_delete(struct invocation *in)
{
	return print_result(
		in, ctl_call(in, "lun.delete", lun_params(in)), "LUN %s deleted\n", in->operands[0]);
}

/* ---- mappings ------------------------------------------------------------------------------------- */

static int map(struct invocation *in, const char *method)
{
	json_int_t number = 0;

	if (!ctl_number(in, "number", 1, 16383, &number))
		return CTL_USAGE;
	json_t *mapping = ctl_call(in, method,
		json_pack("{s:s, s:s, s:I}", "lun", in->operands[0], "host", in->operands[1], "number",
			number));
	return print_result(in, mapping, "%s mapped to %s as LUN %s\n", in->operands[0], in->operands[1],
		count_of(mapping, "number"));
}

int verb_map(struct invocation *in)
{
	return map(in, "map.add");
}

int verb_shadow_map(struct invocation *in)
{
	return map(in, "shadow.map");
}

int verb_unmap(struct invocation *in)
{
	json_t *done = ctl_call(
		in, "map.remove", json_pack("{s:s, s:s}", "lun", in->operands[0], "host", in->operands[1]));

	return print_result(in, done, "%s unmapped from %s\n", in->operands[0], in->operands[1]);
}

int verb_map_list(struct invocation *in)
{
	static const char *const headings[] = {"HOST", ">NUMBER", "LUN", "ID", NULL};
	json_t *mappings = ctl_list(in, "map.list", "mappings", NULL), *mapping;
	size_t i;

	if (!mappings)
		return CTL_FAILED;
	if (in->json)
		return print_json(json_pack("{s:o}", "mappings", mappings));
	struct table *t = table_new(headings);
	json_array_foreach(mappings, i, mapping)
	{
		table_cell(t, text_of(mapping, "host"));
		table_cell(t, count_of(mapping, "number"));
		table_cell(t, text_of(mapping, "lun"));
		table_cell(t, text_of(mapping, "lun_id"));
	}
	table_print(t);
	json_decref(mappings);
	return CTL_OK;
}

/* ---- shadow LUNs ---------------------------------------------------------------------------------- */

int verb_shadow_list(struct invocation *in)
{
	static const char *const headings[] = {
		"NAME", "ORIGINAL", ">SIZE", ">USED", ">HOSTS", "CREATED", "ID", NULL};
	json_t *luns = ctl_list(in, "shadow.list", "luns", NULL), *lun;
	size_t i;

	if (!luns)
		return CTL_FAILED;
	if (in->json)
		return print_json(json_pack("{s:o}", "shadows", luns));
	struct table *t = table_new(headings);
	json_array_foreach(luns, i, lun)
	{
		table_cell(t, text_of(lun, "name"));
		table_cell(t, text_of(lun, "origin"));
		table_cell(t, size_of(lun, "size_bytes"));
		table_cell(t, size_of(lun, "used_bytes"));
		table_cell(t, count_of(lun, "mappings"));
		table_cell(t, time_of(lun, "created_unix_ms"));
		table_cell(t, text_of(lun, "id"));
	}
	table_print(t);
	json_decref(luns);
	return CTL_OK;
}

int verb_shadow_unmap(struct invocation *in)
{
	bool one = in->operand_count > 1;
	json_t *params = one ? json_pack("{s:s, s:s}", "lun", in->operands[0], "host", in->operands[1])
			     : lun_params(in);

	return print_result(in, ctl_call(in, "shadow.unmap", params), "%s unmapped from %s\n",
		in->operands[0], one ? in->operands[1] : "all hosts");
}

int verb_shadow_delete(struct invocation *in)
{
	return print_result(in, ctl_call(in, "shadow.delete", lun_params(in)), "Shadow LUN %s deleted\n",
		in->operands[0]);
}

int verb_shadow_unsupported(struct invocation *in)
{
	return ctl_fail(in, -ENOTSUP,
		"shadow %s is not offered by this version: map the shadow LUN and copy its data.",
		in->verb->name);
}
