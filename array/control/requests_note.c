/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The in-band requests by which hosts tell of copy sets: set-label, set-tell. The rules of requests.c hold here too.
 * Only the owner labels a set and says what taking it cost. How long an import took is told by who imported it.
 */
#include <string.h>
#include "array/control/requests.h"

static void note_done(struct array_call *call)
{
	struct request *r = container_of(call, struct request, call);

	if (call->fault.err) {
		request_fault(r, call->fault.err, &call->fault);
		return;
	}
	request_put_set(r, request_accept(r));
	request_finish(r);
}

void request_set_label(struct request *r)
{
	struct set_notes notes = {0};

	memcpy(notes.label, r->msg.label, sizeof(notes.label));
	r->call.done = note_done;
	set_note(r->array, r->msg.set_id, r->owner, &notes, SET_NOTE_LABEL, &r->call);
}

/* Does the asking host see a copy of the set, or might it? */
static bool may_import_any(struct request *r, const struct set *set)
{
	struct set_view view;

	set_view_of(set, &view);
	for (unsigned i = 0; i < view.member_count; i++) {
		struct lun *shadow = lun_find(r->array, view.members[i].shadow_id);

		if (shadow && (map_number(request_host(r), shadow) ||
				      set_may_import(request_host(r), shadow, NULL) == 0))
			return true;
	}
	return false;
}

void request_set_tell(struct request *r)
{
	uint64_t cost = r->msg.has & (REQUEST_COST_TIMES | UP_HAS(UP_TAG_WRITERS));
	bool whole = cost == (REQUEST_COST_TIMES | UP_HAS(UP_TAG_WRITERS));
	bool import = up_has(&r->msg, UP_TAG_IMPORT_US);
	struct set_notes notes = {.writers = (enum up_writers)r->msg.writers,
		.frozen_us = r->msg.frozen_us,
		.flush_us = r->msg.flush_us,
		.commit_us = r->msg.commit_us,
		.release_us = r->msg.release_us,
		.import_us = r->msg.import_us};

	if ((cost && !whole) || (!cost && !import)) {
		REFUSE(r, UP_BAD_MESSAGE,
			"set-tell needs writers, frozen_us, flush_us, commit_us and release_us together, or import_us, or "
			"all six: send them.");
		return;
	}
	struct set *own = set_find(r->array, r->msg.set_id, r->owner);
	struct set *any = own ? own : set_find(r->array, r->msg.set_id, NULL);
	if (!any || (!own && (cost || !may_import_any(r, any)))) {
		REFUSE(r, UP_NOT_FOUND,
			"This host has no copy set of this id: it was aborted, its last copy is gone, or it is another "
			"host's.");
		return;
	}
	r->call.done = note_done;
	set_note(r->array, r->msg.set_id, own ? r->owner : NULL, &notes,
		(cost ? SET_NOTE_COST : 0) | (import ? SET_NOTE_IMPORT : 0), &r->call);
}
