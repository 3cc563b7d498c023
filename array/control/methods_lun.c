/* SPDX-License-Identifier: Apache-2.0 */
/* Management methods for LUNs and mappings. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/control/methods.h"
#include "array/util/json_text.h"

/* ---- LUNs ----------------------------------------------------------------------------------------- */

static void lun_create_method(struct mgmt_call *c)
{
	const char *name;
	json_int_t size;

	if (!mgmt_unpack(c, "{s:s, s:I}", "name", &name, "size_bytes", &size))
		return;
	if (size <= 0) {
		mgmt_bad_params(c, "size_bytes must be more than 0");
		return;
	}
	c->call.done = mgmt_lun_done;
	lun_create(c->array, name, (uint64_t)size, &c->call);
}

/* LUNs of a kind (0: all) from offset on, at most limit. */
static void list_luns(struct mgmt_call *c, unsigned kind)
{
	struct mgmt_page page;

	if (!mgmt_page(c, &page))
		return;
	for (struct lun *lun = lun_next(c->array, NULL); lun && !page.more; lun = lun_next(c->array, lun)) {
		if (kind && (unsigned)lun->kind != kind)
			continue;
		if (mgmt_page_takes(&page))
			json_array_append_new(page.entries, mgmt_lun_json(lun, false));
	}
	mgmt_result(c, mgmt_page_result(&page, "luns"));
}

static void lun_list_method(struct mgmt_call *c)
{
	list_luns(c, LUN_ORDINARY);
}

static void shadow_list_method(struct mgmt_call *c)
{
	list_luns(c, LUN_SHADOW);
}

static void lun_show_method(struct mgmt_call *c)
{
	const char *name;
	struct lun *lun = mgmt_unpack(c, "{s:s}", "lun", &name) ? mgmt_find_lun(c, name) : NULL;

	if (lun)
		mgmt_result(c, mgmt_lun_json(lun, true));
}

struct lun_space {
	struct store_account account;
	struct mgmt_call *call;
};

static void space_counted(struct store_account *account, int err)
{
	struct lun_space *s = container_of(account, struct lun_space, account);
	struct mgmt_call *c = s->call;

	if (err)
		mgmt_fail(c, err, "what the LUN costs cannot be counted now: try again.");
	else
		mgmt_result(c,
			json_pack("{s:I, s:I, s:I}", "exclusive_bytes", (json_int_t)account->exclusive_bytes,
				"shared_bytes", (json_int_t)account->shared_bytes, "deletion_frees_bytes",
				(json_int_t)account->freed_bytes));
	free(s);
}

/* It goes on in the store, while I/O does. */
static void lun_space_method(struct mgmt_call *c)
{
	const char *name;
	struct lun *lun = mgmt_unpack(c, "{s:s}", "lun", &name) ? mgmt_find_lun(c, name) : NULL;
	struct lun_space *s;

	if (!lun)
		return;
	if (!lun->disk->store->ops->account) {
		/* This store does not tell. */
		mgmt_result(c, json_pack("{s:n, s:n, s:n}", "exclusive_bytes", "shared_bytes",
				       "deletion_frees_bytes"));
		return;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		mgmt_fail(c, -ENOMEM, "umbrad has no memory for this: try again.");
		return;
	}
	*s = (struct lun_space){.account = {.disk = lun->disk, .done = space_counted}, .call = c};
	lun->disk->store->ops->account(&s->account);
}

static void held_done(struct array_call *call)
{
	struct mgmt_call *c = mgmt_call_of(call);

	if (call->fault.err)
		mgmt_fault(c, call->fault.err, &call->fault);
	else
		mgmt_result(c, mgmt_lun_json(c->lun, true));
}

static void hold(struct mgmt_call *c, struct lun *lun)
{
	lun_hold(lun);
	c->lun = lun;
}

static void lun_resize_method(struct mgmt_call *c)
{
	const char *name;
	json_int_t size;

	if (!mgmt_unpack(c, "{s:s, s:I}", "lun", &name, "size_bytes", &size))
		return;
	struct lun *lun = mgmt_find_lun(c, name);
	if (!lun)
		return;
	if (size <= 0 || (uint64_t)size < lun->size_bytes) {
		mgmt_fail(c, -EINVAL,
			"LUN %s has %llu bytes; a LUN only grows: create a smaller one and copy.", lun->name,
			(unsigned long long)lun->size_bytes);
		return;
	}
	hold(c, lun);
	c->call.done = held_done;
	lun_resize(lun, (uint64_t)size, &c->call);
}

static void lun_rename_method(struct mgmt_call *c)
{
	const char *name, *new_name;

	if (!mgmt_unpack(c, "{s:s, s:s}", "lun", &name, "name", &new_name))
		return;
	struct lun *lun = mgmt_find_lun(c, name);
	if (!lun)
		return;
	hold(c, lun);
	c->call.done = held_done;
	lun_rename(lun, new_name, &c->call);
}

static void start_delete(struct mgmt_call *c, struct lun *lun)
{
	if (!lun)
		return;
	hold(c, lun);
	c->call.done = mgmt_done;
	lun_delete(lun, &c->call);
}

static void lun_delete_method(struct mgmt_call *c)
{
	const char *name;
	struct lun *lun = mgmt_unpack(c, "{s:s}", "lun", &name) ? mgmt_find_lun(c, name) : NULL;

	if (lun && lun->kind != LUN_ORDINARY) {
		mgmt_fail(c, -EINVAL, "%s is a shadow LUN: umbractl shadow delete deletes it.", lun->name);
		return;
	}
	start_delete(c, lun);
}

static void shadow_delete_method(struct mgmt_call *c)
{
	const char *name;

	if (mgmt_unpack(c, "{s:s}", "lun", &name))
		start_delete(c, mgmt_find_shadow(c, name));
}

static void shadow_show_method(struct mgmt_call *c)
{
	const char *name;
	struct lun *lun = mgmt_unpack(c, "{s:s}", "lun", &name) ? mgmt_find_shadow(c, name) : NULL;

	if (lun)
		mgmt_result(c, mgmt_lun_json(lun, true));
}

static void broken_done(struct array_call *call)
{
	struct mgmt_call *c = mgmt_call_of(call);
	json_t *lun;

	if (call->fault.err) {
		mgmt_fault(c, call->fault.err, &call->fault);
		return;
	}
	lun = mgmt_lun_json(c->lun, true);
	if (lun && call->note[0])
		json_object_set_new(lun, "note", json_text(call->note));
	mgmt_result(c, lun);
}

static void shadow_break_method(struct mgmt_call *c)
{
	const char *name;
	int keep = false;

	if (!mgmt_unpack(c, "{s:s, s?b}", "lun", &name, "keep_marks", &keep))
		return;
	struct lun *lun = mgmt_find_lun(c, name);
	if (!lun)
		return;
	hold(c, lun);
	c->call.done = broken_done;
	lun_break(lun, keep ? 0 : LUN_MEND_MARKS, &c->call);
}

/* ---- mappings ------------------------------------------------------------------------------------- */

static void map_done(struct array_call *call)
{
	struct mgmt_call *c = mgmt_call_of(call);

	if (call->fault.err)
		mgmt_fault(c, call->fault.err, &call->fault);
	else
		mgmt_result(c, json_pack("{s:s, s:i}", "lun", c->lun->name, "number", (int)call->number));
}

/* Mapped copies could not be undone with their set. */
static bool is_kept(const struct lun *lun)
{
	struct set *set = lun->kind == LUN_SHADOW ? set_find(lun->array, lun->set_id, NULL) : NULL;
	struct set_view view;

	if (!set)
		return true;
	set_view_of(set, &view);
	return view.state == UP_SET_KEPT;
}

static void start_map(
	struct mgmt_call *c, struct lun *lun, const char *host_name, json_int_t number, bool force)
{
	struct host *host = lun ? mgmt_find_host(c, host_name) : NULL;

	if (!host)
		return;
	if (number < 0 || number > ARRAY_LUN_NUMBER_MAX) {
		mgmt_bad_params(
			c, "number must be from 1 to %d (or 0: the array chooses)", ARRAY_LUN_NUMBER_MAX);
		return;
	}
	if (!is_kept(lun)) {
		mgmt_fail(c, -EBADFD, "%s belongs to a copy set that is not kept yet: map it afterwards.",
			lun->name);
		return;
	}
	hold(c, lun);
	c->call.done = map_done;
	map_add(host, lun, (uint32_t)number, force ? MAP_FORCE : 0, NULL, &c->call);
}

static void map_add_method(struct mgmt_call *c)
{
	const char *name, *host;
	json_int_t number = 0;
	int force = false;

	if (mgmt_unpack(c, "{s:s, s:s, s?I, s?b}", "lun", &name, "host", &host, "number", &number, "force",
		    &force))
		start_map(c, mgmt_find_lun(c, name), host, number, force);
}

static void shadow_map_method(struct mgmt_call *c)
{
	const char *name, *host;
	json_int_t number = 0;
	int force = false;

	if (mgmt_unpack(c, "{s:s, s:s, s?I, s?b}", "lun", &name, "host", &host, "number", &number, "force",
		    &force))
		start_map(c, mgmt_find_shadow(c, name), host, number, force);
}

/* host NULL: from all. */
static void start_unmap(struct mgmt_call *c, struct lun *lun, const char *host_name)
{
	struct host *host = lun && host_name ? mgmt_find_host(c, host_name) : NULL;

	if (!lun || (host_name && !host))
		return;
	unsigned sessions = map_sessions(lun, host);
	if (sessions > 0)
		snprintf(c->warning, sizeof(c->warning),
			"LUN %s was on %u session%s of its host%s: if its disk was in use there, what the host had "
			"not written yet is lost. Rescan there before another LUN gets its number",
			lun->name, sessions, sessions == 1 ? "" : "s", host ? "" : "s");
	hold(c, lun);
	c->call.done = mgmt_done;
	if (host)
		map_remove(host, lun, NULL, &c->call);
	else
		map_remove_all(lun, NULL, &c->call);
}

static void map_remove_method(struct mgmt_call *c)
{
	const char *name, *host;

	if (mgmt_unpack(c, "{s:s, s:s}", "lun", &name, "host", &host))
		start_unmap(c, mgmt_find_lun(c, name), host);
}

static void shadow_unmap_method(struct mgmt_call *c)
{
	const char *name, *host = NULL;

	if (mgmt_unpack(c, "{s:s, s?s}", "lun", &name, "host", &host))
		start_unmap(c, mgmt_find_shadow(c, name), host);
}

static json_t *mapping_json(const struct host *h, const struct lun *lun, uint32_t number)
{
	return json_pack("{s:s, s:s, s:o, s:i}", "host", host_record_of(h)->name, "lun", lun->name, "lun_id",
		mgmt_id(lun->id), "number", (int)number);
}

static void map_list_method(struct mgmt_call *c)
{
	struct mgmt_page page;

	if (!mgmt_page(c, &page))
		return;
	for (struct host *h = host_next(c->array, NULL); h && !page.more; h = host_next(c->array, h)) {
		struct lun *lun = NULL;
		if (page.next + host_mappings(h) <= page.offset) { /* an earlier page had them all */
			page.next += host_mappings(h);
			continue;
		}
		for (uint32_t n = map_next(h, 0, &lun); n && !page.more; n = map_next(h, n, &lun))
			if (mgmt_page_takes(&page))
				json_array_append_new(page.entries, mapping_json(h, lun, n));
	}
	mgmt_result(c, mgmt_page_result(&page, "mappings"));
}

const struct mgmt_method mgmt_lun_methods[] = {
	{"lun.create", lun_create_method, MGMT_OWNER},
	{"lun.list", lun_list_method, MGMT_ANYWHERE},
	{"lun.show", lun_show_method, MGMT_ANYWHERE},
	{"lun.space", lun_space_method, MGMT_ANYWHERE},
	{"lun.resize", lun_resize_method, MGMT_OWNER},
	{"lun.rename", lun_rename_method, MGMT_OWNER},
	{"lun.delete", lun_delete_method, MGMT_OWNER},
	{"map.add", map_add_method, MGMT_OWNER},
	{"map.remove", map_remove_method, MGMT_OWNER},
	{"map.list", map_list_method, MGMT_ANYWHERE},
	{"shadow.list", shadow_list_method, MGMT_ANYWHERE},
	{"shadow.show", shadow_show_method, MGMT_ANYWHERE},
	{"shadow.map", shadow_map_method, MGMT_OWNER},
	{"shadow.unmap", shadow_unmap_method, MGMT_OWNER},
	{"shadow.delete", shadow_delete_method, MGMT_OWNER},
	{"shadow.break", shadow_break_method, MGMT_OWNER},
	{NULL, NULL, MGMT_OWNER},
};
