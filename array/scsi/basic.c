/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that move no data of the medium: TEST UNIT READY, REQUEST SENSE, START STOP UNIT, PREVENT ALLOW … */
#include "array/scsi/access.h"
#include "array/scsi/attention.h"
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/lun.h"
#include "array/scsi/reply.h"
#include "array/scsi/sanitize.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"

#include <errno.h>

void scsi_test_unit_ready(struct scsi_task *task)
{
	if (task->lun_held && task->lun_held->resyncing)
		scsi_set_errno(task, -EBUSY);
	scsi_task_finish(task);
}

/* SPC-4 6.39: the sense is the command's data, its status GOOD. A pending attention is told and done with. */
void scsi_request_sense(struct scsi_task *task)
{
	struct scsi_sense sense = {.key = SENSE_NO_SENSE};
	const struct scsi_lun *s = scsi_lun_of(task);
	struct scsi_reply r = scsi_reply_begin(task);
	uint8_t buf[SCSI_SENSE_MAX_BYTES];

	if (task->flags & TASK_ABSENT_LU)
		sense = (struct scsi_sense){.key = SENSE_ILLEGAL_REQUEST, .asc = ASC_NO_LUN};
	else if (!scsi_attention_take(task->nexus, task->lun_number, &sense) && s && s->sanitize)
		scsi_sanitize_sense(s->sanitize, &sense);
	else if (sense.key == SENSE_NO_SENSE && !(task->flags & TASK_CONTROL_LU))
		scsi_access_sense(task->nexus->target, &sense);
	scsi_reply_put(&r, buf, scsi_sense_build(&sense, task->cdb[1] & 0x01, buf));
	scsi_reply_end(task, &r);
}

/* SBC-3 5.25. There are no power conditions to go to and no medium to eject. */
bool scsi_start_stop_parse(struct scsi_task *task)
{
	if (task->cdb[4] & 0xF0)
		return scsi_fail_cdb_bit(task, 4, 7);
	if (task->cdb[4] & 0x02)
		return scsi_fail_cdb_bit(task, 4, 1);
	return true;
}

/* A shared disk does not stop for one of its hosts; stopping still makes everything durable. */
void scsi_start_stop(struct scsi_task *task)
{
	bool begin = task->cdb[4] & 0x01, no_flush = task->cdb[4] & 0x04;

	if (begin || no_flush)
		scsi_task_finish(task);
	else
		scsi_task_io(task, STORE_FLUSH, 0, 0, 0);
}

void scsi_prevent_allow(struct scsi_task *task)
{
	scsi_task_finish(task);
}

/* SPC-4 6.42: the default self-test alone, and it passes: an array that answers works. */
void scsi_send_diagnostic(struct scsi_task *task)
{
	scsi_task_finish(task);
}

/* SBC-3 5.17, 5.18: there are no defects to list, in whichever format was asked for. */
void scsi_read_defects(struct scsi_task *task)
{
	bool ten = task->command->cdb_len == 10;
	struct scsi_reply r = scsi_reply_begin(task);

	scsi_reply_u8(&r, 0);
	scsi_reply_u8(&r, task->cdb[ten ? 2 : 1] & 0x1F);
	scsi_reply_zero(&r, ten ? 2 : 6);
	scsi_reply_end(task, &r);
}
