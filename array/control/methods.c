/* SPDX-License-Identifier: Apache-2.0 */
/* What the management methods share: parameters, names, paging, the JSON of LUNs. See methods.h. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include "array/control/methods.h"
#include "array/util/json_text.h"
#include "array/util/message.h"
#include "proto/identity.h"

bool mgmt_unpack(struct mgmt_call *c, const char *format, ...)
{
	json_error_t where;
	va_list args;

	va_start(args, format);
	int err = json_vunpack_ex(c->params, &where, JSON_STRICT, format, args);
	va_end(args);
	if (err)
		mgmt_bad_params(c, "%s", where.text);
	return !err;
}

bool mgmt_range_of(
	struct mgmt_call *c, json_int_t from, json_int_t count, size_t most, size_t *offset, size_t *limit)
{
	if (from < 0 || from > UINT32_MAX || count < 1) {
		mgmt_bad_params(c, "offset must be 0 or more, limit 1 or more");
		return false;
	}
	*offset = (size_t)from;
	*limit = (json_int_t)most < count ? most : (size_t)count;
	return true;
}

bool mgmt_page_of(struct mgmt_call *c, struct mgmt_page *p, json_int_t from, json_int_t count)
{
	*p = (struct mgmt_page){.next = 0};
	if (!mgmt_range_of(c, from, count, MGMT_PAGE_MAX, &p->offset, &p->limit))
		return false;
	p->entries = json_array();
	return true;
}

bool mgmt_page(struct mgmt_call *c, struct mgmt_page *p)
{
	json_int_t from = 0, count = MGMT_PAGE_MAX;

	return mgmt_unpack(c, "{s?I, s?I}", "offset", &from, "limit", &count) &&
	       mgmt_page_of(c, p, from, count);
}

bool mgmt_page_takes(struct mgmt_page *p)
{
	p->more = p->next >= p->offset + p->limit;
	return !p->more && p->next++ >= p->offset;
}

json_t *mgmt_page_result(struct mgmt_page *p, const char *name)
{
	return mgmt_range_result(name, p->entries, p->next, p->more);
}

json_t *mgmt_range_result(const char *name, json_t *entries, size_t next, bool more)
{
	return json_pack(
		"{s:o, s:o}", name, entries, "next", more ? json_integer((json_int_t)next) : json_null());
}

struct lun *mgmt_find_lun(struct mgmt_call *c, const char *name)
{
	uint8_t id[UP_ID_BYTES];
	struct lun *lun = lun_find_name(c->array, name);

	if (!lun && up_id_parse(name, id))
		lun = lun_find(c->array, id);
	if (!lun)
		mgmt_fail(c, -ENOENT, "There is no LUN %.80s.", name);
	return lun;
}

struct lun *mgmt_find_shadow(struct mgmt_call *c, const char *name)
{
	struct lun *lun = mgmt_find_lun(c, name);

	if (lun && lun->kind != LUN_SHADOW) {
		mgmt_fail(c, -EINVAL,
			"%s is an ordinary LUN, no shadow LUN: umbractl shadow list shows those.", lun->name);
		return NULL;
	}
	return lun;
}

struct host *mgmt_find_host(struct mgmt_call *c, const char *name)
{
	struct host *host = host_find(c->array, name);

	if (!host)
		host = host_find_iqn(c->array, name);
	if (!host)
		mgmt_fail(c, -ENOENT, "There is no host %.80s.", name);
	return host;
}

struct set *mgmt_find_set(struct mgmt_call *c, const char *name)
{
	uint8_t id[UP_ID_BYTES];
	struct set *set = set_find_name(c->array, name);

	if (!set && up_id_parse(name, id))
		set = set_find(c->array, id, NULL);
	if (!set)
		mgmt_fail(c, -ENOENT, "There is no copy set %.80s.", name);
	return set;
}

json_t *mgmt_id(const uint8_t id[UP_ID_BYTES])
{
	static const uint8_t none[UP_ID_BYTES];
	char text[UP_SERIAL_BYTES + 1];

	if (!memcmp(id, none, UP_ID_BYTES))
		return json_null();
	up_id_format(id, text);
	return json_string(text);
}

json_t *mgmt_time(uint64_t unix_ms)
{
	return unix_ms ? json_integer((json_int_t)unix_ms) : json_null();
}

/* The hosts that see the LUN: [{"host", "number"}]. */
static json_t *mappings_json(struct lun *lun)
{
	json_t *list = json_array();

	for (struct host *h = host_next(lun->array, NULL); h; h = host_next(lun->array, h)) {
		uint32_t number = map_number(h, lun);
		if (number)
			json_array_append_new(list, json_pack("{s:s, s:i}", "host", host_record_of(h)->name,
							    "number", (int)number));
	}
	return list;
}

/* What the hosts told of a shadow LUN, and that one has written to it. */
static json_t *notified_json(uint32_t flags)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} rows[] = {{UP_NOTIFY_READ_WRITE, "read-write"}, {UP_NOTIFY_PRE_RECOVERY, "pre-recovery"},
		{UP_NOTIFY_POST_RECOVERY, "post-recovery"}, {UP_NOTED_WRITTEN, "written"}};
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (flags & rows[i].flag)
			json_array_append_new(list, json_string(rows[i].name));
	return list;
}

json_t *mgmt_owners(const struct array *a, json_int_t number)
{
	return array_settings(a)->standby ? json_null() : json_integer(number);
}

json_t *mgmt_lun_json(struct lun *lun, bool detail)
{
	static const char *const hydrations[] = {[LUN_HYDRATION_NONE] = "none",
		[LUN_HYDRATION_RUNS] = "running",
		[LUN_HYDRATION_WAITS] = "waiting",
		[LUN_HYDRATION_FULL] = "full"};
	uint64_t used_bytes = lun->gone ? 0 : lun->disk->store->ops->disk_used(lun->disk);
	json_t *out = json_pack("{s:s, s:o, s:s, s:I, s:I, s:o, s:i, s:o}", "name", lun->name, "id",
		mgmt_id(lun->id), "kind", lun->kind == LUN_SHADOW ? "shadow" : "ordinary", "size_bytes",
		(json_int_t)lun->size_bytes, "block_bytes", (json_int_t)STORE_BLOCK_BYTES, "used_bytes",
		mgmt_owners(lun->array, (json_int_t)used_bytes), "mappings", (int)lun->mappings,
		"created_unix_ms", mgmt_time(lun->created_unix_ms));

	if (out && lun->kind == LUN_SHADOW) {
		struct lun *origin = lun_find(lun->array, lun->origin_id);
		json_object_set_new(out, "origin_id", mgmt_id(lun->origin_id));
		json_object_set_new(out, "origin", origin ? json_string(origin->name) : json_null());
		json_object_set_new(out, "set_id", mgmt_id(lun->set_id));
		json_object_set_new(out, "copy_kind",
			json_string(lun->copy_kind == UP_COPY_PLEX ? "plex" : "differential"));
		json_object_set_new(out, "notified", notified_json(lun->notified));
		json_object_set_new(out, "locked", json_boolean(lun->locked));
	}
	if (out && (lun->kind == LUN_SHADOW || lun->hydration != LUN_HYDRATION_NONE))
		json_object_set_new(out, "hydration", json_string(hydrations[lun->hydration]));
	if (out && lun->hydration != LUN_HYDRATION_NONE)
		json_object_set_new(out, "full_percent", json_integer(lun_full_percent(lun)));
	if (out && detail) {
		struct up_designator designators[UP_DESIGNATORS];
		up_id_designators(lun->id, designators);
		json_object_set_new(out, "vendor", json_string(UP_VENDOR));
		json_object_set_new(out, "product", json_string(UP_PRODUCT));
		json_object_set_new(out, "serial", mgmt_id(lun->id));
		json_object_set_new(out, "naa", json_string((const char *)designators[2].bytes));
		json_object_set_new(out, "mapped_to", mappings_json(lun));
		if (!lun->gone && lun->disk->store->ops->place) {
			char place[STORE_PLACE_BYTES];
			lun->disk->store->ops->place(lun->disk, place);
			json_object_set_new(out, "image", json_text(place));
		}
	}
	return out;
}

void mgmt_lun_done(struct array_call *call)
{
	struct mgmt_call *c = mgmt_call_of(call);

	if (call->fault.err)
		mgmt_fault(c, call->fault.err, &call->fault);
	else
		mgmt_result(c, mgmt_lun_json(call->lun, true));
}

json_t *mgmt_event_json(const struct array_event *e)
{
	static const char *const levels[] = {[ARRAY_EVENT_INFO] = "info",
		[ARRAY_EVENT_WARNING] = "warning",
		[ARRAY_EVENT_ERROR] = "error"};

	char id[MESSAGE_ID_BYTES];

	return json_pack("{s:I, s:I, s:s, s:s, s:o, s:o}", "serial", (json_int_t)e->serial, "unix_ms",
		(json_int_t)e->unix_ms, "id", message_id(e->message, id), "level", levels[e->level], "area",
		json_text(e->area), "text", json_text(e->text));
}
