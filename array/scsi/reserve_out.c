/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PERSISTENT RESERVE OUT (SPC-4 6.16, 5.13): RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT AND ABORT, with all
 * six types, and the frame of all service actions. A change takes effect in memory, then (APTPL) becomes
 * durable, and only then the command ends: what was answered outlives a crash.
 *
 * Invariants: pr_type is 0 or valid; pr_holder is one of the registrants, or NULL exactly when there is no
 * reservation or it is of an all-registrants type; a reservation never outlives its last registrant.
 */
#include "array/scsi/attention.h"
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/scsi/tmf.h"
#include "array/util/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool type_valid(uint8_t type)
{
	return type == PR_WRITE_EXCLUSIVE || type == PR_EXCLUSIVE_ACCESS ||
	       (type >= PR_WRITE_EXCLUSIVE_RO && type <= PR_EXCLUSIVE_ACCESS_AR);
}

static void reserve_for(struct scsi_lun *s, struct scsi_registrant *r, uint8_t type)
{
	s->pr_type = type;
	s->pr_holder = scsi_reserve_all_registrants(type) ? NULL : r;
}

/* ---- RESERVE, RELEASE, CLEAR --------------------------------------------------------------------------- */

static bool do_reserve(struct scsi_task *task, struct scsi_lun *s, const struct scsi_pr_request *q)
{
	if (!s->pr_type)
		reserve_for(s, q->self, q->type);
	else if (!scsi_reserve_holds(s, q->self) || s->pr_type != q->type)
		return scsi_conflict(task);
	return true;
}

static bool do_release(struct scsi_task *task, struct scsi_lun *s, const struct scsi_pr_request *q)
{
	uint8_t type = s->pr_type;

	if (!scsi_reserve_holds(s, q->self))
		return true;
	if (type != q->type || q->scope != 0)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_RELEASE);
	scsi_reserve_end(s);
	if (scsi_reserve_registrants_only(type) || scsi_reserve_all_registrants(type))
		scsi_reserve_tell_others(task, s, ATTENTION_RESERVATIONS_RELEASED);
	return true;
}

static void do_clear(struct scsi_task *task, struct scsi_lun *s)
{
	scsi_reserve_tell_others(task, s, ATTENTION_RESERVATIONS_PREEMPTED);
	list_for_each_safe (node, &s->registrants)
		scsi_reserve_drop(s, container_of(node, struct scsi_registrant, link));
	scsi_reserve_end(s);
	s->pr_generation++;
}

/* ---- PREEMPT ------------------------------------------------------------------------------------------- */

static bool task_is_on_lun(const struct scsi_task *task, const void *lun)
{
	return task->lun_held == lun;
}

/* Removes the registrants with the key (key 0: all) but `keep`; notes whose tasks are to be aborted. */
static void remove_registrants(struct scsi_task *task, struct scsi_lun *s, struct scsi_pr_request *q,
	const struct scsi_registrant *keep)
{
	list_for_each_safe (node, &s->registrants) {
		struct scsi_registrant *r = container_of(node, struct scsi_registrant, link);
		struct scsi_nexus *n;

		if (r == keep || (q->action_key != 0 && r->key != q->action_key))
			continue;
		scsi_reserve_tell(task, r, ATTENTION_REGISTRATIONS_PREEMPTED);
		n = scsi_reserve_nexus(task->nexus->target, &r->name);
		if (n && n != task->nexus && q->action == PR_PREEMPT_AND_ABORT) {
			scsi_nexus_get(n);
			q->preempted[q->preempted_count++] = n;
		}
		scsi_reserve_drop(s, r);
	}
}

static bool key_known(const struct scsi_lun *s, uint64_t key)
{
	list_for_each (node, &s->registrants)
		if (container_of(node, struct scsi_registrant, link)->key == key)
			return true;
	return false;
}

static bool check_type(struct scsi_task *task, const struct scsi_pr_request *q)
{
	if (q->scope != 0)
		return scsi_fail_cdb_bit(task, 2, 7);
	return type_valid(q->type) || scsi_fail_cdb_bit(task, 2, 3);
}

/* When the key is the holder's (or 0, and all registrants hold) the asker becomes the holder. Else only the
 * registrations with that key go, the asker's own too; scope and type mean nothing then. */
static bool do_preempt(struct scsi_task *task, struct scsi_lun *s, struct scsi_pr_request *q)
{
	bool all = scsi_reserve_all_registrants(s->pr_type);
	uint8_t before = s->pr_type;

	if (q->action_key == 0 && !all)
		return scsi_fail_parameter(task, 8);
	if (q->action_key != 0 && !key_known(s, q->action_key))
		return scsi_conflict(task);
	if ((all && q->action_key == 0) || (s->pr_holder && s->pr_holder->key == q->action_key)) {
		if (!check_type(task, q))
			return false;
		remove_registrants(task, s, q, q->self);
		reserve_for(s, q->self, q->type);
		if (before != q->type)
			scsi_reserve_tell_others(task, s, ATTENTION_RESERVATIONS_RELEASED);
	} else {
		remove_registrants(task, s, q, NULL);
	}
	s->pr_generation++;
	return true;
}

/* PREEMPT AND ABORT answers when the aborted tasks cannot change the medium any more. */
struct abort_wait {
	struct scsi_tmf_call call;
	struct scsi_task *task;
};

static void aborted_are_over(struct scsi_tmf_call *call, enum scsi_tmf_result result)
{
	struct abort_wait *w = container_of(call, struct abort_wait, call);
	struct scsi_task *task = w->task;

	(void)result;
	free(w);
	scsi_reserve_finish_kept(task);
}

static void finish_after_aborted(struct scsi_task *task, struct scsi_pr_request *q)
{
	struct abort_wait *w = calloc(1, sizeof(*w));

	for (unsigned i = 0; i < q->preempted_count; i++) {
		scsi_nexus_abort_tasks(q->preempted[i], task_is_on_lun, task->lun_held,
			q->preempted[i] == task->nexus ? SCSI_END_SILENT : SCSI_END_TOLD);
		scsi_nexus_put(q->preempted[i]);
	}
	if (!w) {
		scsi_set_errno(task, -ENOMEM);
		scsi_task_finish(task);
		return;
	}
	w->task = task;
	w->call.nexus = task->nexus;
	w->call.done = aborted_are_over;
	task->flags |= TASK_WAITS;
	scsi_tmf_wait(&w->call);
}

/* ---- the command --------------------------------------------------------------------------------------- */

static bool check_list(struct scsi_task *task, const struct scsi_pr_request *q)
{
	const uint8_t *p = task->data;

	if (task->data_len < PR_LIST_BYTES)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	if (q->action == PR_REGISTER_AND_MOVE)
		return true; /* another list */
	if ((p[20] & PR_SPEC_I_PT) && q->action != PR_REGISTER)
		return scsi_fail_parameter(task, 20);
	if ((p[20] & PR_ALL_TG_PT) && q->action != PR_REGISTER && q->action != PR_REGISTER_AND_IGNORE)
		return scsi_fail_parameter(task, 20);
	if ((p[20] & PR_SPEC_I_PT) && task->data_len < PR_LIST_BYTES + 4)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	if (!(p[20] & PR_SPEC_I_PT) && task->data_len != PR_LIST_BYTES)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	return true;
}

static bool perform(struct scsi_task *task, struct scsi_lun *s, struct scsi_pr_request *q)
{
	if (q->action == PR_REGISTER || q->action == PR_REGISTER_AND_IGNORE)
		return scsi_pr_register(task, s, q);
	if (!q->self || q->self->key != q->key)
		return scsi_conflict(task);
	switch (q->action) {
	case PR_RESERVE:
		return do_reserve(task, s, q);
	case PR_RELEASE:
		return do_release(task, s, q);
	case PR_REGISTER_AND_MOVE:
		return scsi_pr_move(task, s, q);
	case PR_CLEAR:
		do_clear(task, s);
		return true;
	default:
		return do_preempt(task, s, q);
	}
}

void scsi_pr_out(struct scsi_task *task)
{
	struct scsi_lun *s = scsi_lun_of(task);
	struct scsi_pr_request q = {
		.action = task->cdb[1] & 0x1F, .scope = task->cdb[2] >> 4, .type = task->cdb[2] & 0x0F};
	bool good = false;

	/* The two kinds of reservation exclude each other, whoever it is (SPC-2 5.5.1). */
	if (s->legacy_holder) {
		scsi_conflict(task);
	} else if (check_list(task, &q)) {
		q.key = get_be64(task->data);
		q.action_key = get_be64(task->data + 8);
		q.self = scsi_reserve_find(s, task->nexus);
		good = (q.action != PR_RESERVE || check_type(task, &q)) && perform(task, s, &q);
	}
	if (good && q.action == PR_PREEMPT_AND_ABORT)
		finish_after_aborted(task, &q);
	else if (good)
		scsi_reserve_finish_kept(task);
	else
		scsi_task_finish(task);
}
