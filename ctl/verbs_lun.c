/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl lun, map, shadow map, unmap, mappings. */
#include <errno.h>
#include <stdio.h>
#include "ctl/ctl.h"

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
	static const struct column columns[] = {
		{"NAME", text_of, "name"},
		{">SIZE", size_of, "size_bytes"},
		{">USED", size_of, "used_bytes"},
		{">HOSTS", count_of, "mappings"},
		{"CREATED", time_of, "created_unix_ms"},
		{"ID", text_of, "id"},
		{NULL, NULL, NULL},
	};

	return print_list(in, "lun.list", "luns", "luns", NULL, columns);
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
	if (json_object_get(lun, "image"))
		printf("image     %s\n", text_of(lun, "image"));
	if (json_is_integer(json_object_get(lun, "exclusive_bytes")))
		printf("alone     %s\nshared    %s\nback      %s\n", size_of(lun, "exclusive_bytes"),
			size_of(lun, "shared_bytes"), size_of(lun, "deletion_frees_bytes"));
	if (json_object_get(lun, "origin_id"))
		printf("original  %s (%s)\nset       %s\n", text_of(lun, "origin"), text_of(lun, "origin_id"),
			text_of(lun, "set_id"));
	if (json_object_get(lun, "copy_kind"))
		printf("copy      %s\n", text_of(lun, "copy_kind"));
	if (json_object_get(lun, "full_percent"))
		printf("full      %s (%s)\n", percent_of(lun, "full_percent"), text_of(lun, "hydration"));
	json_array_foreach(json_object_get(lun, "notified"), i, mapping)
		printf("notified  %s\n", json_string_value(mapping));
	json_array_foreach(json_object_get(lun, "mapped_to"), i, mapping)
		printf("mapped    %s as LUN %s\n", text_of(mapping, "host"), count_of(mapping, "number"));
}

int verb_lun_show(struct invocation *in)
{
	json_t *lun = ctl_call_named(in, "lun.show", "lun");
	json_t *space = lun ? ctl_call_named(in, "lun.space", "lun") : NULL;

	if (lun && !space) {
		json_decref(lun);
		return CTL_FAILED;
	}
	json_object_update(lun, space);
	json_decref(space);
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
	return print_result(in, ctl_call_named(in, "lun.delete", "lun"), "LUN %s deleted\n", in->operands[0]);
}

/* ---- mappings ------------------------------------------------------------------------------------- */

static int map(struct invocation *in, const char *method)
{
	json_int_t number = 0;

	if (!ctl_number(in, "number", 1, 16383, &number))
		return CTL_USAGE;
	json_t *mapping = ctl_call(in, method,
		json_pack("{s:s, s:s, s:I, s:b}", "lun", in->operands[0], "host", in->operands[1], "number",
			number, "force", ctl_flag(in, "force")));
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
	static const struct column columns[] = {
		{"HOST", text_of, "host"},
		{">NUMBER", count_of, "number"},
		{"LUN", text_of, "lun"},
		{"ID", text_of, "lun_id"},
		{NULL, NULL, NULL},
	};

	return print_list(in, "map.list", "mappings", "mappings", NULL, columns);
}
