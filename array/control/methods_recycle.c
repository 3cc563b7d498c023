/* SPDX-License-Identifier: Apache-2.0 */
/* Management methods for the recycle bin. No host can look into it. */
#include <errno.h>
#include <string.h>
#include "array/control/methods.h"
#include "proto/identity.h"

static json_t *recycled_json(struct array *a, const struct lun_recycled_view *v)
{
	const struct lun *origin = lun_find(a, v->origin_id);

	return json_pack("{s:s, s:o, s:o, s:s?, s:o, s:I, s:I, s:o, s:o}", "name", v->name, "id",
		mgmt_id(v->id), "origin_id", mgmt_id(v->origin_id), "origin", origin ? origin->name : NULL,
		"set_id", mgmt_id(v->set_id), "size_bytes", (json_int_t)v->size_bytes, "used_bytes",
		(json_int_t)v->used_bytes, "deleted_unix_ms", mgmt_time(v->deleted_unix_ms), "purge_unix_ms",
		mgmt_time(v->purge_unix_ms));
}

static void recycle_list_method(struct mgmt_call *c)
{
	struct lun_recycled_view view;
	struct mgmt_page page;

	if (!mgmt_page(c, &page))
		return;
	for (bool is = lun_recycled_next(c->array, NULL, &view); is && !page.more;
		is = lun_recycled_next(c->array, view.id, &view))
		if (mgmt_page_takes(&page))
			json_array_append_new(page.entries, recycled_json(c->array, &view));
	mgmt_result(c, mgmt_page_result(&page, "luns"));
}

/* By id, or by a name that only one in the bin has. False: the call has been ended. */
static bool take_recycled(struct mgmt_call *c, uint8_t id[UP_ID_BYTES])
{
	struct lun_recycled_view view;
	uint8_t given[UP_ID_BYTES];
	unsigned named = 0;
	const char *name;
	bool is;

	if (!mgmt_unpack(c, "{s:s}", "lun", &name))
		return false;
	bool by_id = up_id_parse(name, given);
	for (is = lun_recycled_next(c->array, NULL, &view); is;
		is = lun_recycled_next(c->array, view.id, &view)) {
		if (by_id ? memcmp(view.id, given, UP_ID_BYTES) != 0 : strcmp(view.name, name) != 0)
			continue;
		memcpy(id, view.id, UP_ID_BYTES);
		named++;
	}
	if (named == 0)
		mgmt_fail(c, -ENOENT, "There is no LUN %.80s in the recycle bin.", name);
	else if (named > 1)
		mgmt_fail(c, -EEXIST, "%u LUNs in the recycle bin are called %.80s: name one by its id.",
			named, name);
	return named == 1;
}

static void recycle_undelete_method(struct mgmt_call *c)
{
	uint8_t id[UP_ID_BYTES];

	if (!take_recycled(c, id))
		return;
	c->call.done = mgmt_lun_done;
	lun_undelete(c->array, id, &c->call);
}

static void recycle_purge_method(struct mgmt_call *c)
{
	uint8_t id[UP_ID_BYTES];

	if (!take_recycled(c, id))
		return;
	c->call.done = mgmt_done;
	lun_purge(c->array, id, &c->call);
}

const struct mgmt_method mgmt_recycle_methods[] = {
	{"recycle.list", recycle_list_method, MGMT_OWNER},
	{"recycle.undelete", recycle_undelete_method, MGMT_OWNER},
	{"recycle.purge", recycle_purge_method, MGMT_OWNER},
	{NULL, NULL, MGMT_OWNER},
};
