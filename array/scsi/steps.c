/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that take several I/Os, one after the other: VERIFY, WRITE AND VERIFY, WRITE SAME, UNMAP. The
 * command's next() is called before each; an I/O that ends inside its submit does not recurse. How many run
 * at one time is bounded, for each may hold a buffer. One host has at most half of them, so that others have some.
 */
#include "array/scsi/bounds.h"
#include "array/scsi/nexus.h"
#include "array/scsi/steps.h"
#include "array/scsi/task.h"

#include <errno.h>
#include <stdlib.h>

static unsigned of_host(const struct scsi_target *t, const struct host *host)
{
	unsigned count = 0;

	list_for_each (node, &t->nexuses) {
		const struct scsi_nexus *n = container_of(node, struct scsi_nexus, link);

		if (n->array.host != host)
			continue;
		list_for_each (at, &n->tasks)
			count += (container_of(at, struct scsi_task, link)->flags & TASK_STEPPED) != 0;
	}
	return count;
}

static bool may_begin(const struct scsi_task *task)
{
	const struct scsi_target *t = task->nexus->target;

	return t->stepped < SCSI_STEPPED_MAX / 2 ||
	       (t->stepped < SCSI_STEPPED_MAX && of_host(t, task->nexus->array.host) < SCSI_STEPPED_MAX / 2);
}

struct scsi_steps *scsi_steps_begin(
	struct scsi_task *task, bool with_buffer, int (*next)(struct scsi_task *task, struct scsi_steps *s))
{
	struct scsi_target *t = task->nexus->target;
	struct scsi_steps *s = may_begin(task) ? calloc(1, sizeof(*s)) : NULL;

	if (s && with_buffer) {
		s->buf = aligned_alloc(STORE_ALIGN_BYTES, SCSI_STEP_BYTES);
		if (!s->buf) {
			free(s);
			s = NULL;
		}
	}
	if (!s) {
		task->status = SCSI_STATUS_BUSY;
		scsi_task_finish(task);
		return NULL;
	}
	t->stepped++;
	s->next = next;
	task->waiting = s;
	task->flags |= TASK_STEPPED;
	return s;
}

void scsi_steps_free(struct scsi_task *task)
{
	struct scsi_steps *s = task->waiting;

	task->nexus->target->stepped--;
	task->flags &= ~TASK_STEPPED;
	task->waiting = NULL;
	free(s->buf);
	free(s);
}

int scsi_steps_io(struct scsi_task *task, enum store_io_op op, uint64_t lba, uint8_t *data, uint64_t len,
	unsigned flags)
{
	struct scsi_steps *s = task->waiting;
	struct store_io *io = &task->io.io;

	io->op = op;
	io->flags = flags;
	io->offset = lba * SCSI_BLOCK_BYTES;
	io->len = len;
	io->miscompare_offset = 0;
	io->damaged_offset = STORE_NOWHERE;
	task->iov[0].iov_base = data;
	task->iov[0].iov_len = len;
	io->iov = data ? task->iov : NULL;
	io->iov_count = data ? 1 : 0;
	s->len = (uint32_t)len;
	return 1;
}

static void step_done(struct lun_io *io, int err)
{
	struct scsi_task *task = container_of(io, struct scsi_task, io);
	struct scsi_steps *s = task->waiting;

	task->flags &= ~TASK_IO;
	s->miscompared = s->compares && err == -EILSEQ;
	s->err = s->miscompared ? 0 : err;
	if (s->inside)
		s->ended_inside = true;
	else
		scsi_steps_run(task);
}

/* True: an I/O is under way, whose end calls again. */
static bool submitted(struct scsi_task *task, struct scsi_steps *s)
{
	s->inside = true;
	s->ended_inside = false;
	scsi_task_submit(task, step_done);
	s->inside = false;
	return !s->ended_inside;
}

void scsi_steps_run(struct scsi_task *task)
{
	struct scsi_steps *s = task->waiting;
	int more = 1;

	while (!s->err && more > 0) {
		if (task->flags & TASK_ABORTED) {
			s->err = -ECANCELED;
			break;
		}
		more = s->next(task, s);
		if (more < 0)
			s->err = more;
		else if (more > 0 && submitted(task, s))
			return;
	}
	if (s->err && s->err != STEPS_FAILED)
		scsi_task_set_io_error(task, s->err);
	scsi_task_finish(task);
}
