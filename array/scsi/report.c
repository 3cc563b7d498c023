/* SPDX-License-Identifier: Apache-2.0 */
/*
 * REPORT LUNS, REPORT SUPPORTED OPERATION CODES, REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6).
 */
#include "array/scsi/attention.h"
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reply.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/util/bytes.h"

/* ---- REPORT LUNS --------------------------------------------------------------------------------------- */

#define SELECT_ALL_BUT_WELL_KNOWN 0x00
#define SELECT_WELL_KNOWN         0x01
#define SELECT_ALL                0x02

bool scsi_report_luns_parse(struct scsi_task *task)
{
	uint8_t select = task->cdb[2];

	if (select > SELECT_ALL)
		return scsi_fail_cdb(task, 2);
	if (get_be32(task->cdb + 6) < 16)
		return scsi_fail_cdb(task, 6);
	return true;
}

void scsi_report_luns(struct scsi_task *task)
{
	struct scsi_nexus *n = task->nexus;
	struct scsi_reply r = scsi_reply_begin(task);
	uint8_t wire[8];

	scsi_reply_be32(&r, 0);
	scsi_reply_be32(&r, 0);
	if (task->cdb[2] != SELECT_WELL_KNOWN) {
		uint32_t number = 0;
		struct lun *lun;

		if (n->control_lu)
			scsi_reply_zero(&r, 8);
		while ((number = map_next(n->array.host, number, &lun)) != 0) {
			scsi_lun_encode(number, wire);
			scsi_reply_put(&r, wire, sizeof(wire));
		}
	}
	scsi_reply_patch(&r, 0, (uint32_t)(r.len - 8), 4);
	n->attention_nexus &= (uint16_t) ~(1u << ATTENTION_REPORTED_LUNS);
	scsi_reply_end(task, &r);
}

/* ---- REPORT SUPPORTED OPERATION CODES ------------------------------------------------------------------ */

/* Command timeouts descriptor (SPC-4 6.35.4): none is suggested. */
static void timeouts(struct scsi_reply *r)
{
	scsi_reply_be16(r, 10);
	scsi_reply_zero(r, 10);
}

static bool offered(const struct scsi_task *task, const struct scsi_command *row)
{
	if ((row->flags & CMD_COPY) && !scsi_copies_offered(task->nexus->target))
		return false;
	return row->flags & (task->flags & TASK_CONTROL_LU ? CMD_CONTROL : CMD_DATA);
}

static void all_commands(struct scsi_task *task, struct scsi_reply *r, bool with_timeouts)
{
	scsi_reply_be32(r, 0);
	for (unsigned i = 0; i < scsi_command_count; i++) {
		const struct scsi_command *row = &scsi_commands[i];

		if (!offered(task, row))
			continue;
		scsi_reply_u8(r, row->opcode);
		scsi_reply_u8(r, 0);
		scsi_reply_be16(r, row->service_action);
		scsi_reply_u8(r, 0);
		scsi_reply_u8(r, (row->flags & CMD_SA ? 0x01 : 0) | (with_timeouts ? 0x02 : 0));
		scsi_reply_be16(r, row->cdb_len);
		if (with_timeouts)
			timeouts(r);
	}
	scsi_reply_patch(r, 0, (uint32_t)(r->len - 4), 4);
}

static void one_command(struct scsi_reply *r, const struct scsi_command *row, bool with_timeouts)
{
	uint8_t usage[16];

	scsi_reply_u8(r, 0);
	if (!row) {
		scsi_reply_u8(r, 0x01); /* not supported */
		scsi_reply_be16(r, 0);
		return;
	}
	scsi_reply_u8(r, (row->flags & CMD_VENDOR ? 0x05 : 0x03) | (with_timeouts ? 0x80 : 0));
	scsi_reply_be16(r, row->cdb_len);
	for (unsigned i = 0; i < row->cdb_len; i++)
		usage[i] = row->usage[i];
	usage[0] = row->opcode;
	if (row->flags & CMD_SA)
		usage[1] = (uint8_t)((usage[1] & 0xE0) | row->service_action);
	scsi_reply_put(r, usage, row->cdb_len);
	if (with_timeouts)
		timeouts(r);
}

/* The row for a reporting option of 1, 2 or 3. False: the option does not go with the opcode. */
static bool find_one(const struct scsi_task *task, unsigned option, const struct scsi_command **row)
{
	const uint8_t *cdb = task->cdb;
	uint8_t wanted[2] = {cdb[3], (uint8_t)(cdb[5] & 0x1F)};
	bool opcode_known, has_actions = false;

	*row = NULL;
	for (unsigned i = 0; i < scsi_command_count; i++)
		if (scsi_commands[i].opcode == cdb[3])
			has_actions |= (scsi_commands[i].flags & CMD_SA) != 0;
	const struct scsi_command *found = scsi_command_find(wanted, &opcode_known);
	if (opcode_known && option == 1 && has_actions)
		return false;
	if (opcode_known && option == 2 && !has_actions)
		return false;
	if (has_actions && get_be16(cdb + 4) > 0x1F)
		found = NULL;
	if (option == 3 && !has_actions && get_be16(cdb + 4) != 0)
		found = NULL;
	if (found && offered(task, found))
		*row = found;
	return true;
}

void scsi_report_opcodes(struct scsi_task *task)
{
	unsigned option = task->cdb[2] & 0x07;
	bool with_timeouts = task->cdb[2] & 0x80;
	struct scsi_reply r = scsi_reply_begin(task);
	const struct scsi_command *row;

	if (option == 0) {
		all_commands(task, &r, with_timeouts);
	} else if (option > 3) {
		scsi_fail_cdb_bit(task, 2, 2);
		scsi_task_finish(task);
		return;
	} else if (!find_one(task, option, &row)) {
		scsi_fail_cdb(task, 4);
		scsi_task_finish(task);
		return;
	} else {
		one_command(&r, row, with_timeouts);
	}
	scsi_reply_end(task, &r);
}

/* SPC-4 6.36 */
void scsi_report_tmfs(struct scsi_task *task)
{
	bool extended = task->cdb[2] & 0x80;
	struct scsi_reply r = scsi_reply_begin(task);

	if (get_be32(task->cdb + 6) < 4) {
		scsi_fail_cdb(task, 6);
		scsi_task_finish(task);
		return;
	}
	/* ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET */
	scsi_reply_u8(&r, 0x80 | 0x40 | 0x10 | 0x08 | 0x02);
	scsi_reply_zero(&r, 2);
	scsi_reply_u8(&r, extended ? 0x0C : 0);
	if (extended)
		scsi_reply_zero(&r, 12);
	scsi_reply_end(task, &r);
}
