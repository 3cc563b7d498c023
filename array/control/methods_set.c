/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Management methods for copy sets. The administrator's sets have the owner "": crash-consistent ones,
 * without VSS, made in one call: begin, add, arm, commit, keep.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "array/control/methods.h"
#include "array/util/json_text.h"
#include "proto/identity.h"

static json_t *member_json(struct array *a, const struct set_view *view, const struct set_member *m)
{
	struct lun *original = lun_find(a, m->original_id), *shadow = lun_find(a, m->shadow_id);
	const char *state = shadow ? "present" : view->state <= UP_SET_COMMITTING ? "future" : "deleted";

	return json_pack("{s:o, s:s?, s:o, s:s?, s:s, s:s, s:I}", "lun_id", mgmt_id(m->original_id), "lun",
		original ? original->name : NULL, "shadow_id", mgmt_id(m->shadow_id), "shadow",
		shadow ? shadow->name : NULL, "shadow_state", state, "copy",
		m->kind == UP_COPY_PLEX ? "plex" : "differential", "size_bytes", (json_int_t)m->size_bytes);
}

/* How far the writers' own recovery of the copies has come, by what VSS told of each. */
static const char *auto_recovery(struct array *a, const struct set_view *view)
{
	unsigned begun = 0, done = 0;

	for (unsigned i = 0; i < view->member_count; i++) {
		const struct lun *shadow = lun_find(a, view->members[i].shadow_id);

		begun += shadow && shadow->notified & (UP_NOTIFY_PRE_RECOVERY | UP_NOTIFY_POST_RECOVERY);
		done += shadow && shadow->notified & UP_NOTIFY_POST_RECOVERY;
	}
	return !begun ? "none" : done == begun ? "done" : "begun";
}

/* A host tells of its sets; of the administrator's it is known that no VSS was there. */
static enum up_writers writers_of(const struct set_view *view)
{
	return view->owner[0] ? view->notes.writers : UP_WRITERS_NO_VSS;
}

static json_t *microseconds(bool told, uint64_t us)
{
	return told ? json_integer((json_int_t)us) : json_null();
}

static void put_notes(struct array *a, const struct set_view *view, json_t *out)
{
	static const char *const consistencies[] = {[UP_WRITERS_NOT_TOLD] = "not told",
		[UP_WRITERS_TOOK_PART] = "application",
		[UP_WRITERS_LEFT_OUT] = "crash",
		[UP_WRITERS_NO_VSS] = "crash"};
	const struct set_notes *n = &view->notes;
	enum up_writers writers = writers_of(view);
	bool told = n->writers == UP_WRITERS_TOOK_PART || n->writers == UP_WRITERS_LEFT_OUT;

	json_object_set_new(out, "label", json_text(n->label));
	json_object_set_new(out, "writers", json_string(up_writers_name(writers)));
	json_object_set_new(out, "consistency", json_string(consistencies[writers]));
	json_object_set_new(out, "auto_recovery", json_string(auto_recovery(a, view)));
	json_object_set_new(out, "frozen_us", microseconds(told, n->frozen_us));
	json_object_set_new(out, "held_us", microseconds(told, set_notes_held_us(n)));
	json_object_set_new(out, "flush_us", microseconds(told, n->flush_us));
	json_object_set_new(out, "commit_us", microseconds(told, n->commit_us));
	json_object_set_new(out, "release_us", microseconds(told, n->release_us));
	json_object_set_new(out, "import_us", microseconds(n->imported, n->import_us));
}

static json_t *set_json(struct array *a, const struct set *s, bool detail)
{
	struct set_view view;

	set_view_of(s, &view);
	json_t *out = json_pack("{s:o, s:s, s:o, s:s, s:I, s:o, s:I, s:I, s:i}", "id", mgmt_id(view.id),
		"name", view.name, "owner", json_text(view.owner), "state", up_set_state_name(view.state),
		"lease_left_ms", (json_int_t)view.lease_left_ms, "cut_unix_ms", mgmt_time(view.cut_unix_ms),
		"window_ns", (json_int_t)view.window_ns, "durable_ns", (json_int_t)view.durable_ns, "luns",
		(int)view.member_count);
	if (out) {
		json_object_set_new(out, "locked_until_unix_ms", mgmt_time(view.lock_unix_ms));
		json_object_set_new(out, "lock_left_ms", json_integer((json_int_t)view.lock_left_ms));
	}
	if (out)
		put_notes(a, &view, out);
	if (!out || !detail)
		return out;
	json_t *members = json_array();
	for (unsigned i = 0; i < view.member_count; i++)
		json_array_append_new(members, member_json(a, &view, &view.members[i]));
	json_object_set_new(out, "members", members);
	return out;
}

/* ---- create --------------------------------------------------------------------------------------- */

static void set_result(struct mgmt_call *c)
{
	struct set *s = set_find(c->array, c->set_id, NULL);

	mgmt_result(c, s ? set_json(c->array, s, true) : json_object());
}

static void taken(struct array_call *call)
{
	struct mgmt_call *c = mgmt_call_of(call);

	if (call->fault.err)
		mgmt_fault(c, call->fault.err, &call->fault);
	else
		set_result(c);
}

/* The LUNs that are named, allocated; NULL: the call has been ended. */
static struct lun **find_luns(struct mgmt_call *c, json_t *names)
{
	struct lun **luns = calloc(json_array_size(names), sizeof(struct lun *));

	if (!luns)
		mgmt_fail(c, -ENOMEM, FAULT_NO_MEMORY);
	for (size_t i = 0; luns && i < json_array_size(names); i++) {
		luns[i] = mgmt_find_lun(c, json_string_value(json_array_get(names, i)));
		if (!luns[i]) {
			free(luns);
			return NULL;
		}
	}
	return luns;
}

/* Refuses what is known to be wrong before the set begins. */
static bool check_create(struct mgmt_call *c, const char *name, json_t *luns)
{
	if (!json_is_array(luns) || !json_array_size(luns)) {
		mgmt_bad_params(c, "luns must be a list of at least one LUN");
		return false;
	}
	for (size_t i = 0; i < json_array_size(luns); i++) {
		if (!json_is_string(json_array_get(luns, i))) {
			mgmt_bad_params(c, "luns must hold names or ids");
			return false;
		}
	}
	if (name && set_find_name(c->array, name)) {
		mgmt_fail(c, -EEXIST, "There is a copy set %.80s already.", name);
		return false;
	}
	return true;
}

/* False: the call has been ended. */
static bool take_kind(struct mgmt_call *c, const char *name, enum up_copy_kind *kind)
{
	static const char *const names[] = {[UP_COPY_DEFAULT] = "default",
		[UP_COPY_DIFFERENTIAL] = "differential",
		[UP_COPY_PLEX] = "plex"};

	for (unsigned i = UP_COPY_DEFAULT; i <= UP_COPY_PLEX; i++) {
		if (strcmp(name, names[i]) == 0) {
			*kind = (enum up_copy_kind)i;
			return true;
		}
	}
	mgmt_bad_params(c, "kind must be default, differential or plex");
	return false;
}

static void set_create_method(struct mgmt_call *c)
{
	const char *name = NULL, *label = NULL, *kind_name = "default";
	enum up_copy_kind kind;
	json_int_t lock_ms = 0;
	json_t *luns;
	int keep = 1;

	if (!mgmt_unpack(c, "{s?s, s:o, s?b, s?s, s?s, s?I}", "name", &name, "luns", &luns, "keep", &keep,
		    "kind", &kind_name, "label", &label, "lock_ms", &lock_ms) ||
		!check_create(c, name, luns) || !take_kind(c, kind_name, &kind))
		return;
	if (lock_ms < 0 || (lock_ms && !keep) || (label && !up_label_valid(label))) {
		mgmt_bad_params(c,
			lock_ms ? "lock_ms must be more than 0, and only a kept set can be locked"
				: "the label must be plain text of up to %d bytes",
			UP_LABEL_MAX_BYTES);
		return;
	}
	struct lun **found = find_luns(c, luns);
	if (!found)
		return;
	struct set_order order = {.name = name,
		.label = label,
		.luns = found,
		.lun_count = (unsigned)json_array_size(luns),
		.kind = kind,
		.keep = keep,
		.lock_ms = (uint64_t)lock_ms};
	c->call.done = taken;
	if (getrandom(c->set_id, UP_ID_BYTES, 0) == UP_ID_BYTES) {
		memcpy(c->taking.set_id, c->set_id, UP_ID_BYTES);
		set_take(c->array, &c->taking, &order, &c->call);
	} else {
		mgmt_fail(c, -EAGAIN, "The kernel gives no random numbers: try again in a moment.");
	}
	free(found);
}

/* ---- the others ------------------------------------------------------------------------------------ */

/* Aborted sets are remembered for a while, so that their hosts can ask; "all" shows them too. */
static void set_list_method(struct mgmt_call *c)
{
	json_int_t from = 0, count = MGMT_PAGE_MAX;
	const char *prefix = "";
	struct mgmt_page page;
	int all = 0;

	if (!mgmt_unpack(c, "{s?I, s?I, s?b, s?s}", "offset", &from, "limit", &count, "all", &all, "prefix",
		    &prefix) ||
		!mgmt_page_of(c, &page, from, count))
		return;
	for (struct set *s = set_next(c->array, NULL); s && !page.more; s = set_next(c->array, s)) {
		struct set_view view;
		set_view_of(s, &view);
		if ((view.state == UP_SET_ABORTED && !all) || strncmp(view.name, prefix, strlen(prefix)) != 0)
			continue;
		if (mgmt_page_takes(&page))
			json_array_append_new(page.entries, set_json(c->array, s, false));
	}
	mgmt_result(c, mgmt_page_result(&page, "sets"));
}

static struct set *named_set(struct mgmt_call *c)
{
	const char *name;

	return mgmt_unpack(c, "{s:s}", "set", &name) ? mgmt_find_set(c, name) : NULL;
}

/* Of the set that is named, which is the call's from now on. False: ended. */
static bool take_set(struct mgmt_call *c, struct set_view *view)
{
	const struct set *s = named_set(c);

	if (!s)
		return false;
	set_view_of(s, view);
	memcpy(c->set_id, view->id, UP_ID_BYTES);
	return true;
}

static void set_show_method(struct mgmt_call *c)
{
	struct set *s = named_set(c);

	if (s)
		mgmt_result(c, set_json(c->array, s, true));
}

static void set_delete_method(struct mgmt_call *c)
{
	struct set_view view;

	if (!take_set(c, &view))
		return;
	if (view.state != UP_SET_KEPT) {
		mgmt_fail(c, -EBADFD, "The set is %s, not kept: umbractl set abort undoes it.",
			up_set_state_name(view.state));
		return;
	}
	c->call.done = mgmt_done;
	set_delete(c->array, c->set_id, &c->call);
}

static void locked(struct array_call *call)
{
	struct mgmt_call *c = mgmt_call_of(call);

	if (call->fault.err)
		mgmt_fault(c, call->fault.err, &call->fault);
	else
		set_result(c);
}

/* Either a time or how long from now: for_ms counts by the array's clock, whatever the caller's says. */
static void set_lock_method(struct mgmt_call *c)
{
	json_int_t until = 0, for_ms = 0;
	const char *name;

	if (!mgmt_unpack(c, "{s:s, s?I, s?I}", "set", &name, "until_unix_ms", &until, "for_ms", &for_ms))
		return;
	if ((until == 0) == (for_ms == 0) || until < 0 || for_ms < 0) {
		mgmt_bad_params(c, "give one of until_unix_ms and for_ms, more than 0");
		return;
	}
	struct set *s = mgmt_find_set(c, name);
	struct set_view view;

	if (!s)
		return;
	set_view_of(s, &view);
	memcpy(c->set_id, view.id, UP_ID_BYTES);
	c->call.done = locked;
	if (for_ms)
		set_lock_for(c->array, c->set_id, (uint64_t)for_ms, &c->call);
	else
		set_lock(c->array, c->set_id, (uint64_t)until, &c->call);
}

/* The administrator may undo and keep anybody's set: in its owner's name. */
static void end_as_owner(struct mgmt_call *c, void (*end)(struct array *a, const uint8_t set_id[UP_ID_BYTES],
						      const char *owner, struct array_call *call))
{
	struct set_view view;

	if (!take_set(c, &view))
		return;
	c->call.done = mgmt_done;
	end(c->array, c->set_id, view.owner, &c->call);
}

static void set_abort_method(struct mgmt_call *c)
{
	end_as_owner(c, set_abort);
}

static void set_keep_method(struct mgmt_call *c)
{
	end_as_owner(c, set_keep);
}

const struct mgmt_method mgmt_set_methods[] = {
	{"set.create", set_create_method, MGMT_OWNER},
	{"set.list", set_list_method, MGMT_OWNER},
	{"set.show", set_show_method, MGMT_OWNER},
	{"set.delete", set_delete_method, MGMT_OWNER},
	{"set.abort", set_abort_method, MGMT_OWNER},
	{"set.keep", set_keep_method, MGMT_OWNER},
	{"set.lock", set_lock_method, MGMT_OWNER},
	{NULL, NULL, MGMT_OWNER},
};
