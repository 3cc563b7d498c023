/* SPDX-License-Identifier: Apache-2.0 */
/* The in-band requests about resync jobs. A job belongs to the host that started it. */
#include <errno.h>
#include "array/control/requests.h"
#include "array/control/status.h"

_Static_assert((int)LUN_RESYNC_RUNS == UP_JOB_RUNNING && (int)LUN_RESYNC_DONE == UP_JOB_DONE &&
		       (int)LUN_RESYNC_CANCELLED == UP_JOB_CANCELLED &&
		       (int)LUN_RESYNC_FAILED == UP_JOB_FAILED,
	"the protocol has the model's states");

static void job_reply(struct request *r, uint32_t job)
{
	struct lun_resync_view view;
	struct up_msg *reply;

	if (lun_resync_view_of(r->array, r->owner, job, &view)) {
		REFUSE(r, UP_NOT_FOUND,
			"This host has no resync %u: its number is wrong, or the array was restarted since; compare the "
			"LUN's data, or start again.",
			(unsigned)job);
		return;
	}
	reply = request_accept(r);
	reply->job = job;
	reply->job_state = (uint32_t)view.state;
	reply->percent = view.percent;
	reply->has |= UP_HAS(UP_TAG_JOB) | UP_HAS(UP_TAG_JOB_STATE) | UP_HAS(UP_TAG_PERCENT);
	if (view.state == LUN_RESYNC_FAILED)
		request_put_text(reply, view.fault.text);
	request_finish(r);
}

/* Not such LUNs is no malformed message: the array's state does not allow it. */
static enum up_status start_status(int err)
{
	return err == -EINVAL ? UP_BAD_STATE : control_status(err);
}

static void start_done(struct array_call *call)
{
	struct request *r = container_of(call, struct request, call);

	if (call->fault.err) {
		request_refuse_fault(r, start_status(call->fault.err), call->fault.err, &call->fault);
		request_finish(r);
	} else {
		job_reply(r, call->job);
	}
}

void request_resync_start(struct request *r)
{
	struct lun *shadow = lun_find(r->array, r->msg.lun_id);
	struct lun *target = lun_find(r->array, r->msg.target_id);
	struct fault fault = {0};

	if (!shadow || !target) {
		REFUSE(r, UP_NOT_FOUND,
			"The array has no %s LUN of this id: it was deleted, or lies on another array.",
			shadow ? "target" : "shadow");
		return;
	}
	if (!map_number(request_host(r), target)) {
		REFUSE(r, UP_NOT_MAPPED,
			"LUN %s is not mapped to this host: it can only resync LUNs that it sees.",
			target->name);
		return;
	}
	if (shadow->kind != LUN_SHADOW) {
		REFUSE(r, UP_BAD_STATE, "The LUN to resync from is an ordinary one: name a shadow LUN.");
		return;
	}
	/* A resync lets the host read the copy: that the host took the copy is not enough. */
	int err = map_number(request_host(r), shadow) ? 0 : set_may_import(request_host(r), shadow, &fault);
	if (err) {
		request_fault(r, err, &fault);
		return;
	}
	if (!r->nexus->ops->may_write(r->nexus, target)) {
		REFUSE(r, UP_DENIED,
			"LUN %s is reserved by another host, this one cannot write to it: resync it from the host that "
			"holds the reservation.",
			target->name);
		return;
	}
	r->call.done = start_done;
	lun_resync_start(r->array, r->owner, shadow, target, 0, &r->call);
}

void request_resync_state(struct request *r)
{
	job_reply(r, r->msg.job);
}

/* If it is too late for that, the state says so. */
void request_resync_cancel(struct request *r)
{
	lun_resync_cancel(r->array, r->owner, r->msg.job, NULL);
	job_reply(r, r->msg.job);
}
