/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A task's way from parse.c on: it is executed in the order that its attribute asks for, then finished or aborted.
 *
 * Order of tasks (SAM-5 8): SIMPLE tasks start at once and run together. An ORDERED one waits until all that
 * started before it on the LUN are over, and whatever comes later waits for it. HEAD OF QUEUE (and control
 * requests) start at once. ACA is not offered: such a task is treated as SIMPLE.
 *
 * Reads, writes and flushes allocate nothing.
 */
#include "array/scsi/access.h"
#include "array/scsi/bounds.h"
#include "array/scsi/command.h"
#include "array/scsi/copy.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sanitize.h"
#include "array/scsi/sense.h"
#include "array/scsi/steps.h"
#include "array/scsi/task.h"
#include "array/scsi/threshold.h"
#include "array/scsi/tmf.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

bool scsi_task_is_urgent(const struct scsi_task *task)
{
	return task->direction == SCSI_TO_INITIATOR || (task->command->flags & CMD_INBAND);
}

/* ---- execute, in order --------------------------------------------------------------------------------- */

static bool must_wait(const struct scsi_lun *s, const struct scsi_task *task)
{
	if ((task->flags & TASK_INBAND) || task->attribute == SCSI_HEAD_OF_QUEUE ||
		(s->sanitize && (task->command->flags & CMD_SANITIZING)))
		return false;
	if (!list_empty(&s->blocked) || s->ordered_running)
		return true;
	return task->attribute == SCSI_ORDERED && s->running > 0;
}

/* Still the same LUN, still allowed? 0 or an errno for scsi_task_set_io_error. */
static int recheck(struct scsi_task *task)
{
	if (!task->lun_held)
		return 0;
	if (task->flags & TASK_ABORTED)
		return -ECANCELED;
	if (task->lun_held->gone || map_lun(task->nexus->array.host, task->lun_number) != task->lun_held) {
		task->flags |= TASK_UNMAPPED;
		return -ENODEV;
	}
	if (!scsi_access_still_allows(task)) {
		task->flags |= TASK_ACCESS;
		return -ESHUTDOWN;
	}
	if (task->flags & TASK_FORWARD)
		return 0;
	if (scsi_reserve_conflicts(task)) {
		task->flags |= TASK_CONFLICT;
		return -EBUSY;
	}
	if ((task->command->flags & CMD_WRITES) && scsi_lun_protected(task->lun_held)) {
		task->flags |= TASK_PROTECTED;
		return -EROFS;
	}
	return 0;
}

static void start(struct scsi_task *task)
{
	struct scsi_lun *s = scsi_lun_of(task);

	if (s && !(task->flags & TASK_INBAND)) {
		s->running++;
		task->flags |= TASK_COUNTED;
		if (task->attribute == SCSI_ORDERED) {
			s->ordered_running = true;
			task->flags |= TASK_ORDERED;
		}
	}
	int err = recheck(task);
	if (err)
		scsi_task_set_io_error(task, err);
	if (err || (!(task->flags & TASK_FORWARD) && !scsi_sanitize_allows(task)))
		scsi_task_finish(task);
	else if (task->flags & TASK_FORWARD)
		scsi_access_forward(task);
	else
		task->command->execute(task);
}

static void start_blocked(struct scsi_lun *s)
{
	if (s->pumping)
		return;
	s->pumping = true;
	while (!list_empty(&s->blocked) && !s->ordered_running) {
		struct scsi_task *task = container_of(s->blocked.head.next, struct scsi_task, order_link);

		if (task->attribute == SCSI_ORDERED && s->running > 0)
			break;
		list_remove(&task->order_link);
		start(task);
	}
	s->pumping = false;
}

/* Of this turn of the reactor: it costs no look at a clock. */
static uint64_t now_ns(const struct scsi_task *task)
{
	return reactor_now_ns(array_settings(task->nexus->target->array)->reactor);
}

void scsi_task_execute(struct scsi_task *task)
{
	struct scsi_lun *s = scsi_lun_of(task);

	assert(list_linked(&task->link) && !(task->flags & TASK_EXECUTING));
	task->flags |= TASK_EXECUTING;
	task->started_ns = now_ns(task);
	task->nexus->array.queue++;
	if (task->lun_held)
		task->lun_held->queue++;
	if (task->flags & TASK_ABORTED) {
		scsi_task_finish(task);
		return;
	}
	if (task->data_in_hand > task->data_len)
		task->data_in_hand = task->data_len;
	if ((task->command->flags & CMD_PARAMETERS) && task->data_in_hand < task->data_len) {
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
		scsi_task_finish(task);
		return;
	}
	if (s && must_wait(s, task))
		list_push_back(&s->blocked, &task->order_link);
	else
		start(task);
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static enum load_kind load_kind_of(const struct scsi_task *task)
{
	if (!(task->command->flags & CMD_BLOCKS))
		return LOAD_OTHER;
	if (task->direction == SCSI_TO_INITIATOR)
		return LOAD_READ;
	return (task->command->flags & CMD_WRITES) ? LOAD_WRITE : LOAD_OTHER;
}

/* The operation is over, and its result is known. */
static void count(const struct scsi_task *task)
{
	struct host *host = task->nexus->array.host; /* NULL: the session has ended */
	struct load *loads[] = {task->lun_held ? &task->lun_held->load : NULL, host ? host_load(host) : NULL};
	enum load_kind kind = load_kind_of(task);
	uint64_t bytes = kind == LOAD_READ ? task->data_len : kind == LOAD_WRITE ? task->data_in_hand : 0;
	uint64_t ns = now_ns(task) - task->started_ns;

	for (unsigned i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
		if (loads[i] && task->status == SCSI_STATUS_GOOD)
			load_add(loads[i], kind, bytes, ns);
		else if (loads[i])
			loads[i]->failed++;
	}
	task->nexus->array.queue--;
	if (task->lun_held)
		task->lun_held->queue--;
}

static void release(struct scsi_task *task)
{
	list_remove(&task->link);
	list_remove(&task->order_link);
	if (task->flags & TASK_STEPPED)
		scsi_steps_free(task);
}

/* How a task ends that was to end: told, or in silence. */
static void set_aborted(struct scsi_task *task)
{
	task->aborted = !(task->flags & TASK_MOVED) &&
			(task->nexus->lost || !(task->flags & (TASK_UNMAPPED | TASK_TOLD)));
	task->status = SCSI_STATUS_TASK_ABORTED;
	task->sense_len = 0;
	if (task->aborted)
		return;
	/* Nobody expects a unit attention of a control request. */
	if ((task->flags & TASK_MOVED) && (task->flags & TASK_INBAND))
		task->status = SCSI_STATUS_BUSY;
	else if (task->flags & TASK_MOVED)
		scsi_fail(task, SENSE_UNIT_ATTENTION, ASC_ACCESS_STATE_CHANGED);
	else if (task->flags & TASK_UNMAPPED)
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_NO_LUN);
}

void scsi_task_finish(struct scsi_task *task)
{
	struct scsi_nexus *n = task->nexus;
	struct lun *lun = task->lun_held;
	struct scsi_lun *s = scsi_lun_of(task);
	bool was_aborted = task->flags & TASK_ABORTED;

	assert(list_linked(&task->link) && !(task->flags & TASK_IO));
	release(task);
	if (task->flags & TASK_COUNTED)
		s->running--;
	if (task->flags & TASK_ORDERED)
		s->ordered_running = false;
	if (was_aborted)
		set_aborted(task);
	if (task->direction != SCSI_FROM_INITIATOR && task->status != SCSI_STATUS_GOOD)
		task->data_len = 0;
	if ((task->command->flags & CMD_WRITES) && task->status == SCSI_STATUS_GOOD)
		scsi_threshold_written(n->target, (uint64_t)task->blocks * SCSI_BLOCK_BYTES);
	if (task->flags & TASK_EXECUTING)
		count(task);
	task->lun_held = NULL;
	task->done(task);
	/* The task is the transport's again: not to be touched. */
	if (s)
		start_blocked(s);
	if (was_aborted)
		scsi_tmf_check(n->target);
	if (lun)
		lun_release(lun);
	scsi_nexus_put(n);
}

void scsi_task_discard(struct scsi_task *task)
{
	struct scsi_nexus *n = task->nexus;
	struct lun *lun = task->lun_held;

	assert(list_linked(&task->link) && !(task->flags & TASK_EXECUTING));
	release(task);
	task->lun_held = NULL;
	if (lun)
		lun_release(lun);
	scsi_nexus_put(n);
}

/* ---- I/O ----------------------------------------------------------------------------------------------- */

static int io_recheck(struct lun_io *io)
{
	struct scsi_task *task = container_of(io, struct scsi_task, io);

	if (io->io.offset + io->io.len > io->lun->size_bytes)
		return -ERANGE;
	return recheck(task);
}

/* The state of this controller changed after the task was parsed. */
static void set_inaccessible(struct scsi_task *task)
{
	struct scsi_sense sense = {.key = SENSE_UNIT_ATTENTION, .asc = ASC_ACCESS_STATE_CHANGED};

	scsi_access_sense(task->nexus->target, &sense);
	scsi_fail_sense(task, &sense);
}

void scsi_task_set_io_error(struct scsi_task *task, int err)
{
	if (task->flags & TASK_CONFLICT)
		scsi_conflict(task);
	else if (task->flags & TASK_ACCESS)
		set_inaccessible(task);
	else if (task->flags & TASK_UNMAPPED)
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_NO_LUN);
	else if (task->flags & TASK_PROTECTED)
		scsi_fail(task, SENSE_DATA_PROTECT, ASC_SOFTWARE_WRITE_PROTECTED);
	else
		scsi_set_errno(task, err);
}

static void io_done(struct lun_io *io, int err)
{
	struct scsi_task *task = container_of(io, struct scsi_task, io);

	task->flags &= ~TASK_IO;
	if (err)
		scsi_task_set_io_error(task, err);
	scsi_task_finish(task);
}

void scsi_task_submit(struct scsi_task *task, void (*done)(struct lun_io *io, int err))
{
	task->io.lun = task->lun_held;
	task->io.done = done;
	task->io.recheck = io_recheck;
	task->flags |= TASK_IO;
	lun_submit(&task->io);
}

void scsi_task_io(struct scsi_task *task, enum store_io_op op, uint64_t offset, uint64_t len, unsigned flags)
{
	struct store_io *io = &task->io.io;
	bool data = op == STORE_READ || op == STORE_WRITE || op == STORE_COMPARE_WRITE;

	io->op = op;
	io->flags = flags;
	io->offset = offset;
	io->len = len;
	io->miscompare_offset = 0;
	io->damaged_offset = STORE_NOWHERE;
	task->iov[0].iov_base = task->data;
	task->iov[0].iov_len = op == STORE_COMPARE_WRITE ? 2 * len : len;
	io->iov = data ? task->iov : NULL;
	io->iov_count = data ? 1 : 0;
	scsi_task_submit(task, io_done);
}

/* ---- abort --------------------------------------------------------------------------------------------- */

/* The task is to end: true when it has (done was called). */
static bool scsi_task_abort(struct scsi_task *task)
{
	struct scsi_nexus *n = task->nexus;

	task->flags |= TASK_ABORTED;
	if (!(task->flags & TASK_EXECUTING))
		return true; /* has no effect any more; the transport still has it */
	if (list_linked(&task->order_link)) {
		scsi_task_finish(task);
		return true;
	}
	if ((task->flags & TASK_IO) && lun_io_withdraw(&task->io)) {
		task->flags &= ~TASK_IO;
		scsi_task_finish(task);
		return true;
	}
	if (task->flags & TASK_COPY)
		return scsi_copy_stop(task->waiting);
	if (task->flags & TASK_SANITIZE) {
		scsi_sanitize_detach(task);
		return true;
	}
	if (task->flags & TASK_INBAND_WAIT) {
		task->flags &= ~TASK_INBAND_WAIT;
		n->target->inband.cancel(n->target->inband.ctx, task->waiting);
		scsi_task_finish(task);
		return true;
	}
	return false;
}

bool scsi_task_is_told(const struct scsi_task *task)
{
	return task->flags & TASK_TOLD;
}

/* Marks first, then ends one after the other from the start of the list: a task's `done` may change it. */
void scsi_nexus_abort_tasks(struct scsi_nexus *n,
	bool (*match)(const struct scsi_task *task, const void *arg), const void *arg, enum scsi_end how)
{
	static const uint32_t how_flags[] = {[SCSI_END_TOLD] = TASK_TOLD,
		[SCSI_END_UNMAPPED] = TASK_UNMAPPED,
		[SCSI_END_MOVED] = TASK_MOVED};
	struct scsi_task *found;

	list_for_each (node, &n->tasks) {
		struct scsi_task *task = container_of(node, struct scsi_task, link);

		if (!match(task, arg))
			continue;
		if (how == SCSI_END_SILENT)
			task->flags &= ~(TASK_UNMAPPED | TASK_TOLD);
		else if (!(task->flags & TASK_ABORTED))
			task->flags |= how_flags[how];
		if (!(task->flags & TASK_ABORTED))
			task->abort_serial = n->target->tmf_serial;
		task->flags |= TASK_ABORTED;
	}
	scsi_nexus_get(n);
	do {
		found = NULL;
		list_for_each (node, &n->tasks) {
			struct scsi_task *task = container_of(node, struct scsi_task, link);

			if ((task->flags & TASK_ABORTED) && !(task->flags & TASK_ABORT_TRIED)) {
				found = task;
				break;
			}
		}
		if (found) {
			found->flags |= TASK_ABORT_TRIED;
			if (!(found->flags & (TASK_EXECUTING | TASK_UNMAPPED)) && !n->lost && n->ops &&
				n->ops->task_aborted)
				n->ops->task_aborted(n->transport, found);
			else if (!scsi_task_abort(found) && (found->flags & TASK_MOVED))
				found->flags &=
					~(TASK_ABORTED | TASK_ABORT_TRIED | TASK_MOVED); /* it goes on */
		}
	} while (found);
	scsi_nexus_put(n);
}
