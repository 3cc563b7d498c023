/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each in-band request does, and who may ask it: here those about the array and about sets;
 * requests_note.c has what hosts tell of sets, requests_take.c sets without VSS, requests_shadow.c those about shadow LUNs, requests_resync.c the jobs. What they share is in request.c.
 *
 * Invariants:
 * - Every request ends in exactly one reply; one that is no UP_OK has a text that says what to do.
 * - A host acts on LUNs mapped to it, on shadow LUNs it may import or whose set is its own, and on its own
 *   sets; never on an ordinary LUN's mapping or life.
 * - The nexus and the host are used while request_run is on the stack only: the session may be gone when an
 *   asynchronous call ends. A LUN that is needed longer is held.
 */
#include "array/control/requests.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "array/control/status.h"

/* ---- what sets reply ------------------------------------------------------------------------------- */

static void put_set_id(struct up_msg *reply, const uint8_t id[UP_ID_BYTES])
{
	memcpy(reply->set_id, id, UP_ID_BYTES);
	reply->has |= UP_HAS(UP_TAG_SET_ID);
}

static void put_state(struct up_msg *reply, enum up_set_state state)
{
	reply->state = (uint32_t)state;
	reply->has |= UP_HAS(UP_TAG_STATE);
}

/* What its hosts told of it, as far as they did. */
static void put_notes(struct up_msg *reply, const struct set_notes *n)
{
	if (n->label[0]) {
		memcpy(reply->label, n->label, sizeof(reply->label));
		reply->has |= UP_HAS(UP_TAG_LABEL);
	}
	if (n->writers) {
		reply->writers = (uint32_t)n->writers;
		reply->frozen_us = n->frozen_us;
		reply->flush_us = n->flush_us;
		reply->commit_us = n->commit_us;
		reply->release_us = n->release_us;
		reply->has |= UP_HAS(UP_TAG_WRITERS) | REQUEST_COST_TIMES;
	}
	if (n->imported) {
		reply->import_us = n->import_us;
		reply->has |= UP_HAS(UP_TAG_IMPORT_US);
	}
}

/* The set's state, lease, times and notes as they are now; a set that is gone is aborted. */
void request_put_set(struct request *r, struct up_msg *reply)
{
	struct set *set = set_find(r->array, r->msg.set_id, r->owner);
	struct set_view view;

	put_set_id(reply, r->msg.set_id);
	if (!set) {
		put_state(reply, UP_SET_ABORTED);
		return;
	}
	set_view_of(set, &view);
	put_state(reply, view.state);
	reply->lease_ms = view.lease_left_ms;
	reply->has |= UP_HAS(UP_TAG_LEASE_MS);
	if (view.state == UP_SET_COMMITTED || view.state == UP_SET_KEPT) {
		reply->window_ns = view.window_ns;
		reply->durable_ns = view.durable_ns;
		reply->has |= UP_HAS(UP_TAG_WINDOW_NS) | UP_HAS(UP_TAG_DURABLE_NS);
	}
	put_notes(reply, &view.notes);
}

static void put_cursor(struct up_msg *reply, uint32_t cursor)
{
	reply->cursor = cursor;
	reply->has |= UP_HAS(UP_TAG_CURSOR);
}

/* ---- identify, describe, list --------------------------------------------------------------------- */

static bool may_change(const struct request *r)
{
	return r->nexus->authenticated || host_record_of(r->nexus->host)->control_without_chap;
}

/* Who may take no copies is offered none, so that VSS can be told so before it asks for one; that nobody can take one
 * now is told, too. */
static uint64_t capabilities(const struct request *r)
{
	struct store *s = array_settings(r->array)->store;
	const struct store_ops *store = s->ops;
	uint64_t copies = UP_CAP_DIFFERENTIAL | (store->hydrate ? UP_CAP_PLEX : 0);
	struct store_stats stats = {0};

	store->stats(s, &stats);
	return (may_change(r) ? copies : 0) | UP_CAP_BREAK | (store->txn_disk_repoint ? UP_CAP_RESYNC : 0) |
	       (stats.read_only ? UP_CAP_READ_ONLY : 0) |
	       (array_settings(r->array)->standby ? UP_CAP_STANDBY : 0);
}

static void run_identify(struct request *r)
{
	const struct array_options *settings = array_settings(r->array);
	struct up_msg *reply = request_accept(r);

	memcpy(reply->array_id, array_id(r->array), UP_ID_BYTES);
	snprintf(reply->array_name, sizeof(reply->array_name), "%s", array_name(r->array));
	snprintf(reply->initiator_name, sizeof(reply->initiator_name), "%s", r->initiator);
	reply->capabilities = capabilities(r);
	reply->authenticated = r->nexus->authenticated;
	reply->max_set_luns = settings->set_luns_max;
	reply->lease_ms = settings->lease_ms;
	reply->max_request = UP_REQUEST_MAX_BYTES;
	reply->commit_budget_ms = settings->commit_budget_ms;
	reply->has = UP_HAS(UP_TAG_ARRAY_ID) | UP_HAS(UP_TAG_ARRAY_NAME) | UP_HAS(UP_TAG_INITIATOR_NAME) |
		     UP_HAS(UP_TAG_CAPABILITIES) | UP_HAS(UP_TAG_AUTHENTICATED) |
		     UP_HAS(UP_TAG_MAX_SET_LUNS) | UP_HAS(UP_TAG_LEASE_MS) | UP_HAS(UP_TAG_MAX_REQUEST) |
		     UP_HAS(UP_TAG_COMMIT_BUDGET_MS);
	request_finish(r);
}

static void describe_reply(struct request *r, const struct up_lun *entry)
{
	struct up_msg *reply = request_accept(r);

	request_put_entry(reply, entry);
	request_finish(r);
}

static void run_describe(struct request *r)
{
	struct lun *lun = r->addressed;
	struct fault fault = {0};
	struct up_lun entry;

	if (up_has(&r->msg, UP_TAG_LUN_ID))
		lun = lun_find(r->array, r->msg.lun_id);
	else if (!lun) {
		REFUSE(r, UP_BAD_MESSAGE,
			"describe-lun through the control LU lacks the field lun_id: send it.");
		return;
	}
	if (!lun) {
		if (request_future(r, r->msg.lun_id, &entry))
			describe_reply(r, &entry);
		else
			REFUSE(r, UP_NOT_FOUND,
				"The array has no LUN of this id: it was deleted, or lies on "
				"another array.");
		return;
	}
	uint32_t number = map_number(request_host(r), lun);
	if (!number && lun->kind != LUN_SHADOW) {
		REFUSE(r, UP_NOT_MAPPED,
			"The LUN is not mapped to this host: umbractl map LUN HOST does it.");
		return;
	}
	int err = number ? 0 : request_may_manage(r, lun, &fault);
	if (err) {
		request_fault(r, err, &fault);
		return;
	}
	request_describe(lun, number, &entry);
	describe_reply(r, &entry);
}

/* The cursor counts the array's LUNs in order of creation. */
static void run_list(struct request *r)
{
	struct up_msg *reply = request_accept(r);
	uint32_t from = up_has(&r->msg, UP_TAG_CURSOR) ? r->msg.cursor : 0, at = 0, next = 0;

	for (struct lun *lun = lun_next(r->array, NULL); lun; lun = lun_next(r->array, lun), at++) {
		struct up_lun entry;
		if (at < from)
			continue;
		uint32_t number = map_number(request_host(r), lun);
		if (!number && (lun->kind != LUN_SHADOW || request_may_manage(r, lun, NULL)))
			continue;
		request_describe(lun, number, &entry);
		if (!request_put_entry(reply, &entry)) {
			next = at;
			break;
		}
	}
	put_cursor(reply, next);
	request_finish(r);
}

/* ---- copy sets ------------------------------------------------------------------------------------ */

static void set_reply(struct request *r, int err, const struct fault *fault)
{
	if (err) {
		request_fault(r, err, fault);
		return;
	}
	request_put_set(r, request_accept(r));
	request_finish(r);
}

static void run_begin(struct request *r)
{
	struct fault fault = {0};

	set_reply(r, set_begin(r->array, r->msg.set_id, r->owner, &fault), &fault);
}

static void add_reply(struct request *r, const uint8_t shadow_id[UP_ID_BYTES])
{
	struct up_msg *reply = request_accept(r);
	struct up_lun entry;

	request_put_set(r, reply);
	memcpy(reply->lun_id, shadow_id, UP_ID_BYTES);
	reply->has |= UP_HAS(UP_TAG_LUN_ID);
	if (request_future(r, shadow_id, &entry))
		request_put_entry(reply, &entry);
	request_finish(r);
}

static void run_add(struct request *r)
{
	enum up_copy_kind kind =
		up_has(&r->msg, UP_TAG_COPY_KIND) ? (enum up_copy_kind)r->msg.copy_kind : UP_COPY_DEFAULT;
	struct lun *lun = lun_find(r->array, r->msg.lun_id);
	struct fault fault = {0};
	uint8_t shadow_id[UP_ID_BYTES];

	if (kind != UP_COPY_DEFAULT && kind != UP_COPY_DIFFERENTIAL && kind != UP_COPY_PLEX) {
		REFUSE(r, UP_UNSUPPORTED,
			"copy_kind %u is unknown: use 0 (default), 1 (differential) or 2 (plex).",
			(unsigned)kind);
	} else if (!lun) {
		REFUSE(r, UP_NOT_FOUND,
			"The array has no LUN of this id: it was deleted, or lies on another "
			"array.");
	} else if (!map_number(request_host(r), lun)) {
		REFUSE(r, UP_NOT_MAPPED,
			"LUN %s is not mapped to this host: only LUNs that it sees can enter its "
			"sets.",
			lun->name);
	} else {
		int err = set_add(r->array, r->msg.set_id, r->owner, lun, kind, shadow_id, &fault);
		if (err)
			request_fault(r, err, &fault);
		else
			add_reply(r, shadow_id);
	}
}

static struct set *own_set(struct request *r)
{
	struct set *set = set_find(r->array, r->msg.set_id, r->owner);

	if (!set)
		REFUSE(r, UP_NOT_FOUND,
			"This host has no copy set of this id: it was never begun, or its lease has ended "
			"and it "
			"was aborted. Begin a new set.");
	return set;
}

static void run_state(struct request *r)
{
	struct set *set = own_set(r);

	if (!set)
		return;
	set_touch(set);
	set_reply(r, 0, NULL);
}

static void set_call_done(struct array_call *call)
{
	struct request *r = container_of(call, struct request, call);

	set_reply(r, call->fault.err, &call->fault);
}

static void run_arm(struct request *r)
{
	r->call.done = set_call_done;
	set_arm(r->array, r->msg.set_id, r->owner, &r->call);
}

static void commit_done(struct array_call *call)
{
	struct request *r = container_of(call, struct request, call);

	if (call->fault.err) {
		request_refuse_fault(r, control_status(call->fault.err), call->fault.err, &call->fault);
		if (call->fault.err != -ENOENT)
			request_put_set(r, &r->reply);
		request_finish(r);
		return;
	}
	struct up_msg *reply = request_accept(r);
	request_put_set(r, reply);
	reply->window_ns = call->window_ns;
	reply->durable_ns = call->durable_ns;
	reply->has |= UP_HAS(UP_TAG_WINDOW_NS) | UP_HAS(UP_TAG_DURABLE_NS);
	request_finish(r);
}

static void run_commit(struct request *r)
{
	r->call.done = commit_done;
	set_commit_asked(
		r->array, r->msg.set_id, r->owner, r->msg.request_id, request_deadline_ms(r), &r->call);
}

static void run_keep(struct request *r)
{
	r->call.done = set_call_done;
	set_keep(r->array, r->msg.set_id, r->owner, &r->call);
}

static void abort_done(struct array_call *call)
{
	struct request *r = container_of(call, struct request, call);

	if (call->fault.err && call->fault.err != -ENOENT) {
		request_fault(r, call->fault.err, &call->fault);
		return;
	}
	struct up_msg *reply = request_accept(r);
	put_set_id(reply, r->msg.set_id);
	put_state(reply, UP_SET_ABORTED);
	request_finish(r);
}

static void run_abort(struct request *r)
{
	r->call.done = abort_done;
	set_abort(r->array, r->msg.set_id, r->owner, &r->call);
}

/* The cursor is an index into the set's members; shadow LUNs deleted since are left out. */
static void run_set_luns(struct request *r)
{
	uint32_t at = up_has(&r->msg, UP_TAG_CURSOR) ? r->msg.cursor : 0, next = 0;
	struct set *set = own_set(r);
	struct set_view view;

	if (!set)
		return;
	set_view_of(set, &view);
	struct up_msg *reply = request_accept(r);
	request_put_set(r, reply);
	for (; at < view.member_count; at++) {
		struct lun *shadow = lun_find(r->array, view.members[at].shadow_id);
		struct up_lun entry;
		if (shadow)
			request_describe(shadow, map_number(request_host(r), shadow), &entry);
		else if (view.state <= UP_SET_COMMITTING)
			request_describe_member(&view, &view.members[at], &entry);
		else
			continue;
		if (!request_put_entry(reply, &entry)) {
			next = at;
			break;
		}
	}
	put_cursor(reply, next);
	request_finish(r);
}

/* ---- dispatch ------------------------------------------------------------------------------------- */

static void (*const handlers[UP_OP_COUNT])(struct request *r) = {
	[UP_OP_IDENTIFY] = run_identify,
	[UP_OP_DESCRIBE_LUN] = run_describe,
	[UP_OP_SET_BEGIN] = run_begin,
	[UP_OP_SET_ADD] = run_add,
	[UP_OP_SET_STATE] = run_state,
	[UP_OP_SET_ARM] = run_arm,
	[UP_OP_SET_COMMIT] = run_commit,
	[UP_OP_SET_KEEP] = run_keep,
	[UP_OP_SET_ABORT] = run_abort,
	[UP_OP_SET_LUNS] = run_set_luns,
	[UP_OP_MAP] = request_map,
	[UP_OP_UNMAP] = request_unmap,
	[UP_OP_DELETE] = request_delete,
	[UP_OP_BREAK] = request_break,
	[UP_OP_RESYNC_START] = request_resync_start,
	[UP_OP_RESYNC_STATE] = request_resync_state,
	[UP_OP_RESYNC_CANCEL] = request_resync_cancel,
	[UP_OP_NOTIFY] = request_notify,
	[UP_OP_LIST] = run_list,
	[UP_OP_SET_LABEL] = request_set_label,
	[UP_OP_SET_TELL] = request_set_tell,
	[UP_OP_SET_TAKE] = request_set_take,
};

void request_run(struct request *r)
{
	const char *missing = NULL;
	enum up_status status = up_request_check(&r->msg, &missing);

	assert(r->array && r->nexus && r->nexus->host && r->done);
	request_normalise(r->nexus->initiator, r->initiator);
	snprintf(r->owner, sizeof(r->owner), "%s", host_record_of(r->nexus->host)->name);
	if (r->msg.is_reply)
		REFUSE(r, UP_BAD_MESSAGE,
			"This is a reply (flag 1 of the header): requests have the flag clear.");
	else if (status == UP_UNSUPPORTED || !handlers[r->msg.op])
		REFUSE(r, UP_UNSUPPORTED,
			"Operation %u is unknown to this array: update it, or use an older provider.",
			(unsigned)r->msg.op);
	else if (status)
		REFUSE(r, status, "%s lacks the field %s: send it.", up_op_name(r->msg.op),
			missing ? missing : "?");
	else if (up_op_changes(r->msg.op) && !may_change(r))
		REFUSE(r, UP_NOT_AUTHENTICATED,
			"%s needs a session with CHAP: give host %s a secret (umbractl host set "
			"--chap-file), or set "
			"--control-without-chap.",
			up_op_name(r->msg.op), host_record_of(r->nexus->host)->name);
	else
		handlers[r->msg.op](r);
}
