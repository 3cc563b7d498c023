/* SPDX-License-Identifier: Apache-2.0 */
/* Whole lists, which umbrad hands out in pages. */
#include "ctl/ctl.h"

json_t *ctl_list_of(const struct invocation *in, const char *method, const char *member, json_t *base)
{
	struct client *c = client_open(in);
	json_t *all = c ? json_array() : NULL;
	json_int_t offset = 0;

	while (all) {
		json_t *params = json_copy(base);
		json_object_set_new(params, "offset", json_integer(offset));
		json_t *page = client_call(c, method, params);
		if (!page) {
			json_decref(all);
			all = NULL;
			break;
		}
		json_array_extend(all, json_object_get(page, member));
		json_t *next = json_object_get(page, "next");
		bool more = json_is_integer(next) && json_integer_value(next) > offset;
		offset = json_integer_value(next);
		json_decref(page);
		if (!more)
			break;
	}
	client_close(c);
	json_decref(base);
	return all;
}

json_t *ctl_list(const struct invocation *in, const char *method, const char *member, const char *flag)
{
	json_t *base = json_object();

	if (flag)
		json_object_set_new(base, flag, json_true());
	return ctl_list_of(in, method, member, base);
}

json_t *ctl_list_named(const struct invocation *in, const char *method, const char *member, const char *as)
{
	return ctl_list_of(in, method, member, json_pack("{s:s}", as, in->operands[0]));
}

int print_list(const struct invocation *in, const char *method, const char *member, const char *as,
	const char *flag, const struct column *columns)
{
	json_t *rows = ctl_list(in, method, member, flag);

	if (!rows)
		return CTL_FAILED;
	if (in->json)
		return print_json(json_pack("{s:o}", as, rows));
	print_rows(columns, rows);
	json_decref(rows);
	return CTL_OK;
}
