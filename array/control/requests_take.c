/* SPDX-License-Identifier: Apache-2.0 */
/*
 * set-take: a kept copy set of LUNs that the host sees, at one instant, in one request and without VSS. The rules of
 * requests.c hold here too, and every right is that of the steps of which it consists: begin, add, arm, commit, keep.
 *
 * Invariants:
 * - The reply is ok when the set is durable and kept; else nothing of it is left.
 * - The host may be gone meanwhile: what was asked for is done all the same.
 */
#include <errno.h>
#include <string.h>
#include "array/control/requests.h"
#include "array/control/status.h"

/* The new copies are mapped to nobody. */
static void taken(struct array_call *call)
{
	struct request *r = container_of(call, struct request, call);
	struct set *set = set_find(r->array, r->msg.set_id, r->owner);
	struct set_view view;

	if (call->fault.err) {
		request_fault(r, call->fault.err, &call->fault);
		return;
	}
	struct up_msg *reply = request_accept(r);
	request_put_set(r, reply);
	if (set)
		set_view_of(set, &view);
	for (unsigned i = 0; set && i < view.member_count; i++) {
		struct lun *shadow = lun_find(r->array, view.members[i].shadow_id);
		struct up_lun entry;

		if (!shadow)
			continue;
		request_describe(shadow, 0, &entry);
		request_put_entry(reply, &entry);
	}
	request_finish(r);
}

/* Refuses what is known to be wrong before anything is begun. */
static bool check_take(struct request *r)
{
	uint32_t kind = up_has(&r->msg, UP_TAG_COPY_KIND) ? r->msg.copy_kind : UP_COPY_DEFAULT;

	if (kind > UP_COPY_PLEX) {
		REFUSE(r, UP_UNSUPPORTED,
			"copy_kind %u is unknown: use 0 (default), 1 (differential) or 2 (plex).",
			(unsigned)kind);
		return false;
	}
	if (!up_label_valid(r->msg.label)) {
		REFUSE(r, UP_BAD_MESSAGE, "The label is no UTF-8 or has control characters: use plain text.");
		return false;
	}
	if (set_find(r->array, r->msg.set_id, NULL)) {
		REFUSE(r, UP_ID_CONFLICT, "There is a copy set of this id already: choose a random one.");
		return false;
	}
	for (uint32_t i = 0; i < r->msg.lun_count; i++) {
		struct lun *lun = lun_find(r->array, r->msg.luns[i].id);

		if (lun && map_number(request_host(r), lun))
			continue;
		if (lun)
			REFUSE(r, UP_NOT_MAPPED,
				"One of the LUNs is not mapped to this host: only LUNs that it sees can enter its sets.");
		else
			REFUSE(r, UP_NOT_FOUND,
				"The array has no LUN of one of these ids: it was deleted, or lies on another array.");
		return false;
	}
	return true;
}

void request_set_take(struct request *r)
{
	struct lun *luns[UP_PAGE_MAX_LUNS];
	struct set_order order = {.owner = r->owner,
		.label = r->msg.label,
		.luns = luns,
		.lun_count = r->msg.lun_count,
		.kind = up_has(&r->msg, UP_TAG_COPY_KIND) ? (enum up_copy_kind)r->msg.copy_kind
							  : UP_COPY_DEFAULT,
		.keep = true,
		.deadline_ms = request_deadline_ms(r)};

	if (!check_take(r))
		return;
	for (uint32_t i = 0; i < r->msg.lun_count; i++)
		luns[i] = lun_find(r->array, r->msg.luns[i].id);
	memcpy(r->taking.set_id, r->msg.set_id, UP_ID_BYTES);
	r->call.done = taken;
	set_take(r->array, &r->taking, &order, &r->call);
}
