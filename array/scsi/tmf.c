/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Task management (SAM-5 7, RFC 7143 11.5). A function is complete when the tasks it affects are over: those
 * that wait end at once, those whose I/O runs are waited for.
 *
 * TAS is 1: tasks of other nexuses end with TASK ABORTED, so that another node of a cluster need not wait for its own
 * time-out, and reset in its turn; the asking nexus's own get no answer. A reset is told by a unit attention, too. A target
 * reset reaches the LUNs that the asking host sees, and no others.
 *
 * At a controller that stands by the tasks there are those that are passed on to the owner. They end here, and the owner does all else,
 * whose tasks, modes and nexuses they are; where it cannot be reached, or there is none just now, the function is rejected, and the host
 * tries another path, or again.
 */
#include "array/scsi/access.h"
#include "array/scsi/attention.h"
#include "array/scsi/copy.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/notice.h"
#include "array/scsi/reserve.h"
#include "array/scsi/task.h"
#include "array/scsi/tmf.h"

#include <stdlib.h>
#include <string.h>

struct reach {
	const struct lun *lun; /* NULL: the control LU */
	bool by_tag;
	uint64_t tag;
	uint32_t number;
};

static bool reaches(const struct scsi_task *task, const void *arg)
{
	const struct reach *r = arg;

	if (r->by_tag)
		return task->tag == r->tag && (task->lun_number == r->number);
	if (r->lun)
		return task->lun_held == r->lun;
	return !task->lun_held;
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

static bool still_running(const struct scsi_tmf_call *call)
{
	list_for_each (node, &call->nexus->target->nexuses) {
		struct scsi_nexus *n = container_of(node, struct scsi_nexus, link);

		if (scsi_copies_stopping(n, call->serial))
			return true;
		list_for_each (at, &n->tasks) {
			struct scsi_task *task = container_of(at, struct scsi_task, link);

			if ((task->flags & (TASK_ABORTED | TASK_EXECUTING | TASK_WAITS)) ==
					(TASK_ABORTED | TASK_EXECUTING) &&
				task->abort_serial < call->serial)
				return true;
		}
	}
	return false;
}

/* A call waits for every task that was aborted before it began to wait, whoever aborted it: those end soon, for their
 * I/O is under way. It does not wait for tasks that are aborted later: there might always be another one. */
void scsi_tmf_check(struct scsi_target *t)
{
	struct list_node *node = t->tmfs.head.next;

	while (node != &t->tmfs.head) {
		struct scsi_tmf_call *call = container_of(node, struct scsi_tmf_call, link);
		struct scsi_nexus *n = call->nexus;

		node = node->next;
		if (call->keeping || still_running(call))
			continue;
		list_remove(&call->link);
		call->done(call, call->failed ? SCSI_TMF_REJECTED : SCSI_TMF_COMPLETE);
		scsi_nexus_put(n);
		node = t->tmfs.head.next; /* the list may have changed */
	}
}

void scsi_tmf_wait(struct scsi_tmf_call *call)
{
	struct scsi_target *t = call->nexus->target;

	scsi_nexus_get(call->nexus);
	call->serial = ++t->tmf_serial;
	list_push_back(&t->tmfs, &call->link);
	scsi_tmf_check(t);
}

/* ---- functions ----------------------------------------------------------------------------------------- */

static void abort_task(struct scsi_tmf_call *call, uint32_t number)
{
	struct reach r = {.by_tag = true, .tag = call->tag, .number = number};
	bool found = false;

	list_for_each (node, &call->nexus->tasks)
		found |= reaches(container_of(node, struct scsi_task, link), &r);
	if (!found) {
		call->done(call, SCSI_TMF_NO_TASK);
		return;
	}
	scsi_nexus_abort_tasks(call->nexus, reaches, &r, SCSI_END_SILENT);
	scsi_tmf_wait(call);
}

/* On one LUN, for every nexus. The list of nexuses may shrink meanwhile: each is held while it is looked at. */
static void abort_on_lun(struct scsi_nexus *asker, struct lun *lun)
{
	struct reach r = {.lun = lun};
	struct list_node *node = asker->target->nexuses.head.next;

	while (node != &asker->target->nexuses.head) {
		struct scsi_nexus *n = container_of(node, struct scsi_nexus, link);

		scsi_nexus_get(n);
		scsi_nexus_abort_tasks(n, reaches, &r, n == asker ? SCSI_END_SILENT : SCSI_END_TOLD);
		scsi_copy_stop_on(n, lun);
		node = n->link.next;
		scsi_nexus_put(n);
	}
}

struct reset_keep {
	struct array_call call;
	struct scsi_tmf_call *of;
};

static void kept(struct array_call *call)
{
	struct reset_keep *k = container_of(call, struct reset_keep, call);
	struct scsi_tmf_call *of = k->of;

	free(k);
	of->keeping--;
	scsi_tmf_check(of->nexus->target);
}

/* The other controller may go on with the array: what the reset changed, and whom it is to tell of it. Where it cannot be kept, the
 * reset is none the less one. */
static void keep(struct scsi_tmf_call *of, struct lun *lun)
{
	struct reset_keep *k = calloc(1, sizeof(*k));

	if (!k)
		return;
	k->call.done = kept;
	k->of = of;
	of->keeping++;
	((struct scsi_lun *)lun->scsi)->pr_always = true;
	scsi_reserve_keep(lun, &k->call);
}

static void reset_lun(struct scsi_tmf_call *call, struct lun *lun, enum scsi_attention what)
{
	struct scsi_target *t = call->nexus->target;
	const struct scsi_mode fresh = scsi_mode_default();
	bool kept_for_others = t->controllers && scsi_access_is_owner(t), changed;
	struct scsi_lun *s = kept_for_others ? scsi_lun_get(lun) : lun->scsi;

	abort_on_lun(call->nexus, lun);
	/* SAM-5 6.3.3: every nexus, the asking one too. */
	if (!s) {
		scsi_attention_others(t, lun, NULL, what);
		return;
	}
	changed = memcmp(&s->mode, &fresh, sizeof(fresh)) != 0;
	scsi_reserve_lun_reset(s);
	s->mode = fresh;
	scsi_notice_others(t, lun, NULL, what);
	if (kept_for_others && (changed || s->notice_count > 0))
		keep(call, lun);
}

static void reset_control_lu(struct scsi_nexus *n, enum scsi_attention what)
{
	struct reach r = {.lun = NULL};

	scsi_nexus_abort_tasks(n, reaches, &r, SCSI_END_SILENT);
	scsi_attention_set(n, 0, what);
}

static void reset_target(struct scsi_tmf_call *call)
{
	struct scsi_nexus *n = call->nexus;
	uint32_t number = 0;
	struct lun *lun;

	bool passed_on = scsi_access_manage(call, NULL);

	while ((number = map_next(n->array.host, number, &lun)) != 0) {
		if (passed_on)
			abort_on_lun(n, lun);
		else
			reset_lun(call, lun, ATTENTION_TARGET_RESET);
	}
	reset_control_lu(n, ATTENTION_TARGET_RESET);
	scsi_tmf_wait(call);
}

static void on_lun(struct scsi_tmf_call *call, uint32_t number)
{
	struct scsi_nexus *n = call->nexus;
	struct lun *lun = NULL;
	struct reach r;

	if (number != 0 && number <= ARRAY_LUN_NUMBER_MAX)
		lun = map_lun(n->array.host, number);
	if (!lun && (number != 0 || !n->control_lu)) {
		call->done(call, SCSI_TMF_NO_LUN);
		return;
	}
	r = (struct reach){.lun = lun};
	if (call->function == SCSI_ABORT_TASK_SET || !lun) {
		if (call->function == SCSI_LUN_RESET)
			reset_control_lu(n, ATTENTION_LUN_RESET);
		else
			scsi_nexus_abort_tasks(n, reaches, &r, SCSI_END_SILENT);
		if (lun)
			scsi_copy_stop_on(n, lun);
	} else if (scsi_access_manage(call, lun) || call->function == SCSI_CLEAR_TASK_SET) {
		abort_on_lun(n, lun);
	} else {
		reset_lun(call, lun, ATTENTION_LUN_RESET);
	}
	scsi_tmf_wait(call);
}

void scsi_tmf(struct scsi_tmf_call *call)
{
	uint32_t number = scsi_lun_decode(call->lun);

	call->link = (struct list_node){NULL, NULL};
	call->keeping = 0;
	call->failed = false;
	switch (call->function) {
	case SCSI_ABORT_TASK:
		abort_task(call, number);
		break;
	case SCSI_ABORT_TASK_SET:
	case SCSI_CLEAR_TASK_SET:
	case SCSI_LUN_RESET:
		on_lun(call, number);
		break;
	case SCSI_TARGET_WARM_RESET:
	case SCSI_TARGET_COLD_RESET:
		reset_target(call);
		break;
	case SCSI_CLEAR_ACA:
	default:
		call->done(call, SCSI_TMF_UNSUPPORTED);
		break;
	}
}
