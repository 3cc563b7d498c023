/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a CDB asks for, and whether it may: the LUN, the command's row, attentions, access states, reservations, lengths.
 */
#include "array/scsi/access.h"
#include "array/scsi/attention.h"
#include "array/scsi/bounds.h"
#include "array/scsi/command.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sanitize.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/util/bytes.h"

#include <assert.h>

static void task_reset(struct scsi_task *task)
{
	task->direction = SCSI_NONE;
	task->data_len = 0;
	task->data_in_hand = 0;
	task->data = NULL;
	task->status = SCSI_STATUS_GOOD;
	task->aborted = false;
	task->sense_len = 0;
	task->link = task->order_link = (struct list_node){NULL, NULL};
	task->command = NULL;
	task->lun_held = NULL;
	task->waiting = NULL;
	task->lba = task->blocks = task->progress = 0;
	task->state = 0;
	task->flags = 0;
	task->abort_serial = 0;
}

/* Finds the LUN and says whether the command may be sent to it. */
static bool check_lun(struct scsi_task *task)
{
	const struct scsi_command *row = task->command;
	unsigned allowed = row ? row->flags : 0;

	task->lun_number = scsi_lun_decode(task->lun);
	if (task->lun_number == 0) {
		task->flags |= task->nexus->control_lu ? TASK_CONTROL_LU : TASK_ABSENT_LU;
		if (task->flags & TASK_ABSENT_LU)
			return (allowed & CMD_ABSENT) || scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_NO_LUN);
		return true;
	}
	if (task->lun_number <= ARRAY_LUN_NUMBER_MAX)
		task->lun_held = map_lun(task->nexus->array.host, task->lun_number);
	if (task->lun_held && task->lun_held->gone)
		task->lun_held = NULL;
	if (!task->lun_held) {
		task->flags |= TASK_ABSENT_LU;
		return (allowed & CMD_UNMAPPED) || scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_NO_LUN);
	}
	if (!scsi_lun_get(task->lun_held)) {
		task->status = SCSI_STATUS_BUSY;
		return false;
	}
	return true;
}

static bool check_attention(struct scsi_task *task)
{
	const struct scsi_command *row = task->command;
	struct scsi_sense sense;

	if ((task->flags & (TASK_INBAND | TASK_ABSENT_LU)) || (row && (row->flags & CMD_QUIET)))
		return true;
	if (!scsi_attention_pending(task->nexus, task->lun_number) ||
		!scsi_attention_take(task->nexus, task->lun_number, &sense))
		return true;
	return scsi_fail_sense(task, &sense);
}

static bool check_command(struct scsi_task *task, bool opcode_known)
{
	const struct scsi_command *row = task->command;

	if (row && (row->flags & CMD_COPY) && !scsi_copies_offered(task->nexus->target))
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE);
	if (!row) {
		if (opcode_known)
			return scsi_fail_cdb_bit(task, 1, 4);
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE);
	}
	if ((task->flags & TASK_CONTROL_LU) && !(row->flags & CMD_CONTROL))
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE);
	if (task->cdb_len < row->cdb_len)
		return scsi_fail_cdb(task, task->cdb_len);
	return scsi_command_check_usage(task);
}

static uint64_t be_field(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes-- > 0)
		v = v << 8 | *p++;
	return v;
}

static void read_lba(struct scsi_task *task)
{
	const uint8_t *cdb = task->cdb;

	switch (task->command->layout) {
	case LBA_NONE:
		break;
	case LBA_6:
		task->lba = get_be24(cdb + 1) & 0x1FFFFF;
		task->blocks = cdb[4] ? cdb[4] : 256;
		break;
	case LBA_10:
		task->lba = get_be32(cdb + 2);
		task->blocks = get_be16(cdb + 7);
		break;
	case LBA_12:
		task->lba = get_be32(cdb + 2);
		task->blocks = get_be32(cdb + 6);
		break;
	case LBA_16:
		task->lba = get_be64(cdb + 2);
		task->blocks = get_be32(cdb + 10);
		break;
	case LBA_16_L8:
		task->lba = get_be64(cdb + 2);
		task->blocks = cdb[13];
		break;
	case LBA_16_L0:
		task->lba = get_be64(cdb + 2);
		break;
	}
}

static bool check_range(struct scsi_task *task)
{
	uint64_t capacity = scsi_lun_blocks(task->lun_held);

	if (task->lba > capacity || task->blocks > capacity - task->lba)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_LBA_RANGE);
	return true;
}

static bool check_lengths(struct scsi_task *task)
{
	const struct scsi_command *row = task->command;

	read_lba(task);
	if ((row->flags & CMD_RANGE) && !check_range(task))
		return false;
	if ((row->flags & CMD_WRITES) && scsi_lun_protected(task->lun_held))
		return scsi_fail(task, SENSE_DATA_PROTECT, ASC_SOFTWARE_WRITE_PROTECTED);
	task->direction = row->direction;
	if (row->flags & CMD_BLOCKS) {
		if (task->blocks > SCSI_TRANSFER_MAX_BYTES / SCSI_BLOCK_BYTES)
			return scsi_fail_cdb(task, scsi_command_length_at(row));
		task->data_len = (uint32_t)task->blocks * SCSI_BLOCK_BYTES;
	} else if (row->length_bytes) {
		uint64_t len = be_field(task->cdb + row->length_at, row->length_bytes);

		if (row->direction == SCSI_TO_INITIATOR && len > row->reply_max)
			len = row->reply_max;
		else if (row->direction == SCSI_FROM_INITIATOR && len > SCSI_PARAMETERS_MAX)
			return scsi_fail_cdb(task, row->length_at);
		task->data_len = (uint32_t)len;
	} else if (row->direction == SCSI_TO_INITIATOR) {
		task->data_len = row->reply_max;
	}
	return true;
}

/* What the LUN's state says. One that the owner of the array does meets it there. */
static bool check_state(struct scsi_task *task)
{
	if (task->flags & TASK_FORWARD)
		return true;
	if (!scsi_sanitize_allows(task))
		return false;
	return !scsi_reserve_conflicts(task) || scsi_conflict(task);
}

static bool parse(struct scsi_task *task)
{
	bool opcode_known;

	task->command = scsi_command_find(task->cdb, &opcode_known);
	if (task->command && (task->command->flags & CMD_INBAND) && task->cdb[1] == UP_SECURITY_PROTOCOL)
		task->flags |= TASK_INBAND;
	if (!check_lun(task) || !check_attention(task) || !check_command(task, opcode_known))
		return false;
	if (!scsi_access_allows(task) || !check_state(task) || !check_lengths(task))
		return false;
	if (task->command->parse && !task->command->parse(task))
		return false;
	/* Its length is what the data means (a block to repeat, blocks to compare): never guessed. */
	if ((task->command->flags & CMD_EXACT) && task->offered_len && task->offered_len != task->data_len)
		return scsi_fail_cdb(task, scsi_command_length_at(task->command));
	return true;
}

bool scsi_task_parse(struct scsi_task *task)
{
	assert(task->nexus && !task->nexus->lost && task->cdb_len > 0 && task->cdb_len <= SCSI_CDB_MAX_BYTES);
	task_reset(task);
	if (!parse(task)) {
		task->lun_held = NULL;
		task->direction = SCSI_NONE;
		task->data_len = 0;
		return false;
	}
	if (task->data_len == 0)
		task->direction = SCSI_NONE;
	if (task->lun_held)
		lun_hold(task->lun_held);
	scsi_nexus_get(task->nexus);
	list_push_back(&task->nexus->tasks, &task->link);
	return true;
}
