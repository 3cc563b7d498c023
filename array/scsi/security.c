/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SECURITY PROTOCOL IN/OUT (SPC-4 6.40, 6.41) and the vendor opcodes that carry the same: the door of the
 * control channel. What is behind it is struct scsi_inband's.
 *
 * Protocol 00h tells what there is (and that there is no certificate); F0h is the control channel; anything
 * else (TCG 01h, IEEE 1667 EEh …) is refused so that hosts stop asking. INC_512 is refused.
 */
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reply.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/util/bytes.h"

#include <errno.h>

#define PROTOCOL_INFORMATION 0x00
#define INFO_PROTOCOLS       0x0000
#define INFO_CERTIFICATE     0x0001
/* A message that is too long gets a reply that says so; only far beyond is the command refused. */
#define OUT_MAX_BYTES (4u * UP_REQUEST_MAX_BYTES)

static bool is_vendor(const struct scsi_task *task)
{
	return task->command->flags & CMD_VENDOR;
}

bool scsi_security_parse(struct scsi_task *task)
{
	bool out = task->command->direction == SCSI_FROM_INITIATOR;
	uint8_t protocol = task->cdb[1];

	if (task->cdb[4] & 0x80)
		return scsi_fail_cdb_bit(task, 4, 7);
	if (protocol == PROTOCOL_INFORMATION && !out && !is_vendor(task)) {
		if (get_be16(task->cdb + 2) > INFO_CERTIFICATE)
			return scsi_fail_cdb(task, 2);
		return true;
	}
	if (protocol != UP_SECURITY_PROTOCOL || !task->nexus->target->has_inband)
		return scsi_fail_cdb(task, 1);
	if (out && get_be32(task->cdb + 6) > OUT_MAX_BYTES)
		return scsi_fail_cdb(task, 6);
	return true;
}

static void information(struct scsi_task *task)
{
	struct scsi_reply r = scsi_reply_begin(task);

	if (get_be16(task->cdb + 2) == INFO_PROTOCOLS) {
		bool inband = task->nexus->target->has_inband;

		scsi_reply_zero(&r, 6);
		scsi_reply_be16(&r, inband ? 2 : 1);
		scsi_reply_u8(&r, PROTOCOL_INFORMATION);
		if (inband)
			scsi_reply_u8(&r, UP_SECURITY_PROTOCOL);
	} else {
		scsi_reply_zero(&r, 4); /* certificate length 0 */
	}
	scsi_reply_end(task, &r);
}

static void inband_failed(struct scsi_task *task, int err)
{
	switch (err) {
	case -ENOENT: /* nothing was asked in this mailbox */
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_COMMAND_SEQUENCE);
		break;
	case -EMSGSIZE:
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
		break;
	case -EBUSY:
		task->status = SCSI_STATUS_BUSY;
		break;
	default: /* -ENOBUFS: BUSY */
		scsi_set_errno(task, err);
	}
}

static void in_done(void *arg, long result)
{
	struct scsi_task *task = arg;

	task->flags &= ~TASK_INBAND_WAIT;
	if (result < 0)
		inband_failed(task, (int)result);
	else
		task->data_len = (uint32_t)result < task->data_len ? (uint32_t)result : task->data_len;
	scsi_task_finish(task);
}

void scsi_security_in(struct scsi_task *task)
{
	struct scsi_inband *inband = &task->nexus->target->inband;
	void *token;

	if (task->cdb[1] == PROTOCOL_INFORMATION) {
		information(task);
		return;
	}
	if (task->data_len == 0) {
		scsi_task_finish(task);
		return;
	}
	token = inband->in(inband->ctx, &task->nexus->array, get_be16(task->cdb + 2), task->data,
		task->data_len, in_done, task);
	if (!token)
		return; /* done has been called: the task is the transport's again */
	task->waiting = token;
	task->flags |= TASK_INBAND_WAIT;
}

void scsi_security_out(struct scsi_task *task)
{
	struct scsi_inband *inband = &task->nexus->target->inband;
	int err = inband->out(inband->ctx, &task->nexus->array, task->lun_held, get_be16(task->cdb + 2),
		task->data, task->data_len);

	if (err)
		inband_failed(task, err);
	scsi_task_finish(task);
}
