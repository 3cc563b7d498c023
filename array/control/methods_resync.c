/* SPDX-License-Identifier: Apache-2.0 */
/* Management methods for resync jobs. The administrator sees and cancels those of all hosts. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "array/control/methods.h"
#include "array/util/json_text.h"

static json_t *lun_name(struct array *a, const uint8_t id[UP_ID_BYTES])
{
	const struct lun *lun = lun_find(a, id);

	return lun ? json_string(lun->name) : json_null();
}

static json_t *job_json(struct array *a, const struct lun_resync_view *v)
{
	static const char *const states[] = {[LUN_RESYNC_RUNS] = "running",
		[LUN_RESYNC_DONE] = "done",
		[LUN_RESYNC_CANCELLED] = "cancelled",
		[LUN_RESYNC_FAILED] = "failed"};

	return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:s, s:i, s:o, s:o}", "job", (json_int_t)v->job,
		"shadow_id", mgmt_id(v->shadow_id), "shadow", lun_name(a, v->shadow_id), "target_id",
		mgmt_id(v->target_id), "target", lun_name(a, v->target_id), "owner", json_text(v->owner),
		"state", states[v->state], "percent", (int)v->percent, "error",
		v->state == LUN_RESYNC_FAILED ? json_text(v->fault.text) : json_null(), "note",
		v->note[0] ? json_text(v->note) : json_null());
}

static void job_result(struct mgmt_call *c, uint32_t job)
{
	struct lun_resync_view view;

	if (lun_resync_view_of(c->array, NULL, job, &view))
		mgmt_fail(c, -ENOENT,
			"There is no resync %u (umbractl resync list shows those there are; a restart forgets those that ended).",
			(unsigned)job);
	else
		mgmt_result(c, mgmt_warned(c, job_json(c->array, &view)));
}

static void started(struct array_call *call)
{
	struct mgmt_call *c = mgmt_call_of(call);

	if (call->fault.err)
		mgmt_fault(c, call->fault.err, &call->fault);
	else
		job_result(c, call->job);
}

static void resync_start_method(struct mgmt_call *c)
{
	const char *shadow_name, *target_name;

	int keep = false;

	if (!mgmt_unpack(c, "{s:s, s:s, s?b}", "shadow", &shadow_name, "target", &target_name, "keep_marks",
		    &keep))
		return;
	struct lun *shadow = mgmt_find_lun(c, shadow_name);
	struct lun *target = shadow ? mgmt_find_lun(c, target_name) : NULL;
	if (!target)
		return;
	unsigned sessions = map_sessions(target, NULL);
	if (sessions > 0)
		snprintf(c->warning, sizeof(c->warning),
			"LUN %s is on %u session%s: a host that has its disk online sees other data of a sudden, and "
			"may write what it remembers of the old over it. Take it offline there first",
			target->name, sessions, sessions == 1 ? "" : "s");
	c->call.done = started;
	lun_resync_start(c->array, "", shadow, target, keep ? 0 : LUN_MEND_MARKS, &c->call);
}

/* The job that the params name; false: the call has been ended. */
static bool take_job(struct mgmt_call *c, uint32_t *job)
{
	json_int_t number;

	if (!mgmt_unpack(c, "{s:I}", "job", &number))
		return false;
	if (number < 1 || number > UINT32_MAX) {
		mgmt_bad_params(c, "job must be a number that resync.start gave");
		return false;
	}
	*job = (uint32_t)number;
	return true;
}

static void resync_state_method(struct mgmt_call *c)
{
	uint32_t job;

	if (take_job(c, &job))
		job_result(c, job);
}

static void resync_cancel_method(struct mgmt_call *c)
{
	uint32_t job;

	if (!take_job(c, &job))
		return;
	lun_resync_cancel(c->array, NULL, job, NULL);
	job_result(c, job);
}

static void resync_list_method(struct mgmt_call *c)
{
	struct lun_resync_view view;
	struct mgmt_page page;

	if (!mgmt_page(c, &page))
		return;
	for (uint32_t job = lun_resync_next(c->array, 0); job && !page.more;
		job = lun_resync_next(c->array, job))
		if (mgmt_page_takes(&page) && !lun_resync_view_of(c->array, NULL, job, &view))
			json_array_append_new(page.entries, job_json(c->array, &view));
	mgmt_result(c, mgmt_page_result(&page, "jobs"));
}

const struct mgmt_method mgmt_resync_methods[] = {
	{"resync.start", resync_start_method, MGMT_OWNER},
	{"resync.state", resync_state_method, MGMT_OWNER},
	{"resync.cancel", resync_cancel_method, MGMT_OWNER},
	{"resync.list", resync_list_method, MGMT_OWNER},
	{NULL, NULL, MGMT_OWNER},
};
