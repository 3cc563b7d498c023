/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks from their parse to their end, for those who carry them out (the transport's part is in scsi.h).
 *
 * A task is in its nexus's list from a successful parse until finish or discard, and holds its LUN and its nexus for
 * that time.
 */
#ifndef UMBRA_SCSI_TASK_H
#define UMBRA_SCSI_TASK_H

#include "array/scsi/scsi.h"

/* scsi_task.flags */
#define TASK_CONTROL_LU  (1u << 0)  /* asks the control LU */
#define TASK_ABSENT_LU   (1u << 1)  /* asks a LUN that is not there */
#define TASK_EXECUTING   (1u << 2)  /* scsi_task_execute was called */
#define TASK_IO          (1u << 3)  /* task->io is with the LUN layer */
#define TASK_ABORTED     (1u << 4)  /* ends without a response, unless it is TASK_UNMAPPED */
#define TASK_ABORT_TRIED (1u << 5)  /* it was asked to end; its I/O runs on */
#define TASK_INBAND_WAIT (1u << 6)  /* task->waiting is the token */
#define TASK_STEPPED     (1u << 7)  /* task->waiting is a struct scsi_steps */
#define TASK_ORDERED     (1u << 8)  /* counts as the ordered one that runs */
#define TASK_COUNTED     (1u << 9)  /* counts in scsi_lun.running */
#define TASK_INBAND      (1u << 10) /* a control request: no attentions, reservations, order */
#define TASK_CONFLICT    (1u << 11) /* a recheck met a reservation */
#define TASK_UNMAPPED    (1u << 12) /* ends because its LUN was unmapped */
#define TASK_PROTECTED   (1u << 13) /* a recheck met software write protection */
#define TASK_WAITS       (1u << 14) /* waits for aborted tasks itself (PREEMPT AND ABORT) */
#define TASK_COPY        (1u << 15) /* task->waiting is a struct scsi_copy */
#define TASK_SANITIZE    (1u << 16) /* task->waiting is a struct scsi_sanitize */
#define TASK_FORWARD     (1u << 18) /* the owner of the array does it (access.h) */
#define TASK_ACCESS      (1u << 19) /* a recheck met the access state */
#define TASK_MOVED       (1u << 20) /* with TASK_ABORTED: its nexus has gone to another target, which is told */
#define TASK_TOLD        (1u << 17) /* with TASK_ABORTED: another nexus did it, so it is answered (TAS is 1) */

/* Status is set (GOOD when nothing was); takes the task out and calls done. */
void scsi_task_finish(struct scsi_task *task);
/* One I/O of the whole command; its end finishes the task. op, iov and data set up by these. */
void scsi_task_io(struct scsi_task *task, enum store_io_op op, uint64_t offset, uint64_t len, unsigned flags);
/* Submits task->io with `done` as the end; for steps.c. */
void scsi_task_submit(struct scsi_task *task, void (*done)(struct lun_io *io, int err));
/* What a failed I/O's errno means for this task (recheck results included). */
void scsi_task_set_io_error(struct scsi_task *task, int err);
/* How aborted tasks end. */
enum scsi_end {
	SCSI_END_SILENT,   /* without an answer: the nexus asked for it, or is lost */
	SCSI_END_TOLD,     /* TASK ABORTED: another nexus asked for it (SAM-5 5.3.1, TAS 1) */
	SCSI_END_UNMAPPED, /* no such LUN */
	SCSI_END_MOVED,    /* 2A/06, but only those that can be withdrawn: the nexus goes to another target */
};
/* Aborts all of the nexus's tasks for which `match` says so; those that run end later. */
void scsi_nexus_abort_tasks(struct scsi_nexus *n,
	bool (*match)(const struct scsi_task *task, const void *arg), const void *arg, enum scsi_end how);

#endif
