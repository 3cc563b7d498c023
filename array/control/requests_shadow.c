/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The in-band requests about single shadow LUNs: map, unmap, delete, break, notify. The rules of requests.c
 * hold here too.
 */
#include <errno.h>
#include <string.h>
#include "array/control/requests.h"
#include "array/control/status.h"

static bool require_shadow(struct request *r, const struct lun *lun, const char *what)
{
	if (lun->kind == LUN_SHADOW)
		return true;
	REFUSE(r, UP_DENIED, "%s is an ordinary LUN: only the array's administrator may %s it (umbractl).",
		lun->name, what);
	return false;
}

/* Is its set kept? A shadow LUN of an unkept set is not mapped, for an abort could not undo that, and is deleted with
 * its set only. */
static bool request_set_kept(const struct lun *shadow)
{
	struct set *set = set_find(shadow->array, shadow->set_id, NULL);
	struct set_view view;

	if (!set)
		return true;
	set_view_of(set, &view);
	return view.state == UP_SET_KEPT;
}

/* Copies that the administrator took: hosts may read them, only umbractl deletes them. */
static bool is_administrators(struct request *r, const struct lun *shadow)
{
	return set_find(r->array, shadow->set_id, "") != NULL;
}

/* Refuses unless the asking host may manage the shadow LUN, and its copy set is not the administrator's. */
static bool require_managed(
	struct request *r, const struct lun *shadow, const char *what, const char *command)
{
	struct fault fault = {0};
	int err = request_may_manage(r, shadow, &fault);

	if (err) {
		request_fault(r, err, &fault);
		return false;
	}
	if (is_administrators(r, shadow)) {
		REFUSE(r, UP_DENIED,
			"%s belongs to a copy set of the administrator's, which no host can %s: %s does it.",
			shadow->name, what, command);
		return false;
	}
	return true;
}

/* Refuses before anything is unmapped for what the lock then forbids. */
static bool require_unlocked(struct request *r, const struct lun *shadow, const char *what)
{
	if (!shadow->locked)
		return true;
	REFUSE(r, UP_DENIED,
		"%s is locked with its copy set: nobody can %s it before the lock ends (umbractl set show says when).",
		shadow->name, what);
	return false;
}

static void map_done(struct array_call *call)
{
	struct request *r = container_of(call, struct request, call);
	struct up_lun entry;

	if (call->fault.err) {
		request_fault(r, call->fault.err, &call->fault);
		return;
	}
	struct up_msg *reply = request_accept(r);
	reply->lun_number = call->number;
	reply->has |= UP_HAS(UP_TAG_LUN_NUMBER);
	request_describe(r->lun, call->number, &entry);
	request_put_entry(reply, &entry);
	request_finish(r);
}

/* Until the request ends. */
static void request_hold(struct request *r, struct lun *lun)
{
	lun_hold(lun);
	r->lun = lun;
}

void request_map(struct request *r)
{
	struct lun *lun = lun_find(r->array, r->msg.lun_id);
	struct fault fault = {0};
	struct up_lun entry;

	if (!lun && request_future(r, r->msg.lun_id, &entry)) {
		REFUSE(r, UP_BAD_STATE,
			"This shadow LUN does not exist before its set is committed: commit and keep the set first.");
		return;
	}
	if (!lun) {
		REFUSE(r, UP_NOT_FOUND,
			"The array has no shadow LUN of this id: it was deleted, its set was "
			"aborted, or it lies on another array.");
		return;
	}
	if (!require_shadow(r, lun, "map"))
		return;
	int err = set_may_import(request_host(r), lun, &fault);
	if (err) {
		request_fault(r, err, &fault);
		return;
	}
	if (!request_set_kept(lun)) {
		REFUSE(r, UP_BAD_STATE,
			"%s belongs to a copy set that is not kept yet: keep the set, then map.", lun->name);
		return;
	}
	request_hold(r, lun);
	r->call.done = map_done;
	map_add(request_host(r), lun, 0, 0, r->nexus, &r->call);
}

/* The reply is a bare UP_OK, or the fault. */
static void request_plain_done(struct array_call *call)
{
	struct request *r = container_of(call, struct request, call);

	if (call->fault.err) {
		request_fault(r, call->fault.err, &call->fault);
		return;
	}
	request_accept(r);
	request_finish(r);
}

/* The scope asked for; 0 when it was refused. */
static enum up_scope scope_of(struct request *r)
{
	uint32_t scope = up_has(&r->msg, UP_TAG_SCOPE) ? r->msg.scope : UP_SCOPE_ME;

	if (scope == UP_SCOPE_ME || scope == UP_SCOPE_ALL)
		return (enum up_scope)scope;
	REFUSE(r, UP_BAD_MESSAGE, "scope %u is unknown: use 1 (this host) or 2 (all hosts).",
		(unsigned)scope);
	return (enum up_scope)0;
}

void request_unmap(struct request *r)
{
	struct lun *lun = lun_find(r->array, r->msg.lun_id);
	enum up_scope scope = scope_of(r);
	struct fault fault = {0};

	if (!scope)
		return;
	if (!lun) { /* gone: it is mapped nowhere */
		request_accept(r);
		request_finish(r);
		return;
	}
	if (!require_shadow(r, lun, "unmap"))
		return;
	bool mapped = map_number(request_host(r), lun) != 0;
	int err = scope == UP_SCOPE_ME && mapped ? 0 : request_may_manage(r, lun, &fault);
	if (err) {
		request_fault(r, err, &fault);
		return;
	}
	request_hold(r, lun);
	r->call.done = request_plain_done;
	if (scope == UP_SCOPE_ME)
		map_remove(request_host(r), lun, r->nexus, &r->call);
	else
		map_remove_all(lun, r->nexus, &r->call);
}

static void delete_done(struct array_call *call)
{
	if (call->fault.err == -ENOENT || call->fault.err == -ENODEV)
		call->fault.err = 0; /* somebody was faster; that it is gone is what was asked for */
	request_plain_done(call);
}

static void delete_unmapped(struct array_call *call)
{
	struct request *r = container_of(call, struct request, call);

	if (call->fault.err) {
		request_fault(r, call->fault.err, &call->fault);
		return;
	}
	memset(call, 0, sizeof(*call));
	call->done = delete_done;
	if (r->lun->gone)
		delete_done(call);
	else
		lun_delete(r->lun, call);
}

/* It was unmapped from the asking host and stays for the others; the last of them deletes it. */
static void delete_left(struct array_call *call)
{
	struct request *r = container_of(call, struct request, call);
	struct up_lun entry;

	if (call->fault.err) {
		request_fault(r, call->fault.err, &call->fault);
		return;
	}
	array_event_tell(r->array, ARRAY_EVENT_INFO, "lun",
		"host %s has deleted shadow LUN %s, which %u other host%s sees: it stays until that deletes it",
		r->owner, r->lun->name, r->lun->mappings, r->lun->mappings == 1 ? "" : "s");
	request_describe(r->lun, 0, &entry);
	request_put_entry(request_accept(r), &entry);
	request_finish(r);
}

/* Unmaps first where that is allowed, then deletes. Two hosts that imported one copy would wait for each other
 * if the first were refused: it is done with it, and the last one takes it away. */
static void start_delete(struct request *r, struct lun *lun, enum up_scope scope)
{
	uint32_t here = map_number(request_host(r), lun) != 0;
	bool others = lun->mappings > here && scope != UP_SCOPE_ALL;

	if (others && !here) {
		REFUSE(r, UP_BUSY,
			"%s is mapped to another host: delete it there, or ask with scope 2 (all hosts).",
			lun->name);
		return;
	}
	request_hold(r, lun);
	r->call.done = others ? delete_left : delete_unmapped;
	if (scope == UP_SCOPE_ALL)
		map_remove_all(lun, r->nexus, &r->call);
	else
		map_remove(request_host(r), lun, r->nexus, &r->call);
}

void request_delete(struct request *r)
{
	struct lun *lun = lun_find(r->array, r->msg.lun_id);
	enum up_scope scope = scope_of(r);
	struct up_lun entry;

	if (!scope)
		return;
	if (!lun && request_future(r, r->msg.lun_id, &entry)) {
		REFUSE(r, UP_BAD_STATE, "This shadow LUN does not exist yet: abort its set instead.");
		return;
	}
	if (!lun) {
		request_accept(r);
		request_finish(r);
		return;
	}
	if (!require_shadow(r, lun, "delete"))
		return;
	if (!require_managed(r, lun, "delete", "umbractl set delete or umbractl shadow delete"))
		return;
	if (!request_set_kept(lun)) {
		REFUSE(r, UP_BUSY, "%s belongs to a copy set that is not kept yet: keep the set or abort it.",
			lun->name);
		return;
	}
	if (!require_unlocked(r, lun, "delete"))
		return;
	uint32_t flags = up_has(&r->msg, UP_TAG_FLAGS) ? r->msg.flags : 0;
	if ((lun->notified & UP_NOTED_WRITTEN) && !(flags & UP_DELETE_WRITTEN) &&
		!map_number(request_host(r), lun)) {
		REFUSE(r, UP_DENIED,
			"a host wrote to %s after its set was kept, and this host does not see it: it may be in use as "
			"a disk. umbractl shadow break keeps it; delete it with flag 1, or by umbractl.",
			lun->name);
		return;
	}
	start_delete(r, lun, scope);
}

/* ---- break, notify ---------------------------------------------------------------------------------- */

/* The existing LUN that the request names, NULL: refused. */
static struct lun *named_lun(struct request *r)
{
	struct lun *lun = lun_find(r->array, r->msg.lun_id);
	struct up_lun entry;

	if (lun)
		return lun;
	if (request_future(r, r->msg.lun_id, &entry))
		REFUSE(r, UP_BAD_STATE,
			"This shadow LUN does not exist before its set is committed: commit and keep the set first.");
	else
		REFUSE(r, UP_NOT_FOUND,
			"The array has no shadow LUN of this id: it was deleted, its set was aborted, or it lies on "
			"another array.");
	return NULL;
}

static void break_unmapped(struct array_call *call)
{
	struct request *r = container_of(call, struct request, call);

	if (call->fault.err) {
		request_fault(r, call->fault.err, &call->fault);
		return;
	}
	memset(call, 0, sizeof(*call));
	call->done = request_plain_done;
	lun_break(r->lun, 0, call);
}

/* An ordinary LUN has been broken already, perhaps: nothing is told of it. That the asking host wants it out of
 * its own sight still holds. */
static void break_ordinary(struct request *r, struct lun *lun, uint32_t flags)
{
	if (!(flags & UP_BREAK_MASK) || !map_number(request_host(r), lun)) {
		request_accept(r);
		request_finish(r);
		return;
	}
	request_hold(r, lun);
	r->call.done = request_plain_done;
	map_remove(request_host(r), lun, r->nexus, &r->call);
}

void request_break(struct request *r)
{
	uint32_t flags = up_has(&r->msg, UP_TAG_FLAGS) ? r->msg.flags : 0;
	struct lun *lun = named_lun(r);

	if (!lun)
		return;
	if (flags & ~UP_BREAK_MASK) {
		REFUSE(r, UP_UNSUPPORTED,
			"flags %#x are unknown to this array: use 1 (unmap it from this host).",
			(unsigned)flags);
		return;
	}
	if (lun->kind != LUN_SHADOW) {
		break_ordinary(r, lun, flags);
		return;
	}
	if (!require_managed(r, lun, "break", "umbractl shadow break"))
		return;
	if (!request_set_kept(lun)) {
		REFUSE(r, UP_BAD_STATE,
			"%s belongs to a copy set that is not kept yet: keep the set, then break.",
			lun->name);
		return;
	}
	if (!require_unlocked(r, lun, "break"))
		return;
	request_hold(r, lun);
	r->call.done = break_unmapped;
	if (flags & UP_BREAK_MASK)
		map_remove(request_host(r), lun, r->nexus, &r->call);
	else
		break_unmapped(&r->call);
}

void request_notify(struct request *r)
{
	struct lun *lun = named_lun(r);
	struct fault fault = {0};

	if (!lun)
		return;
	if (!require_shadow(r, lun, "mark"))
		return;
	int err = map_number(request_host(r), lun) ? 0 : request_may_manage(r, lun, &fault);
	if (err) {
		request_fault(r, err, &fault);
		return;
	}
	if (r->msg.flags & ~UP_NOTIFY_ALL) {
		REFUSE(r, UP_UNSUPPORTED, "flags %#x are unknown to this array: use 100h, 200h and 400h.",
			(unsigned)r->msg.flags);
		return;
	}
	request_hold(r, lun);
	r->call.done = request_plain_done;
	lun_notify(lun, r->msg.flags, &r->call);
}
