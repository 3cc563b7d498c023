/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command table. One row a command says everything that is common to commands: where it may be sent, what
 * it conflicts with, where its LBA and lengths are, which bits of its CDB mean something, who does it.
 * Dispatch, reserved-bit checks, reservations, access states and REPORT SUPPORTED OPERATION CODES all read it.
 *
 * Invariants: rows of one opcode are adjacent; an opcode has either one row without CMD_SA or rows with it;
 * a usage mask covers exactly cdb_len bytes, its byte 0 is FFh, and byte 1 includes the service action.
 */
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/sense.h"

#include <assert.h>

#define ALLOC(at, bytes) .length_at = (at), .length_bytes = (bytes)
#define FF2              0xFF, 0xFF
#define FF4              FF2, FF2
#define FF8              FF4, FF4

const struct scsi_command scsi_commands[] = {
	{0x00, 0, 6, SCSI_NONE, CMD_DATA | CMD_CONTROL, CONFLICT_NEVER, .usage = {0xFF},
		.execute = scsi_test_unit_ready},
	{0x03, 0, 6, SCSI_TO_INITIATOR,
		CMD_ALL | CMD_ALWAYS | CMD_UNMAPPED | CMD_QUIET | CMD_LEGACY_OK | CMD_SANITIZING,
		CONFLICT_NEVER, ALLOC(4, 1), .reply_max = 252, .usage = {0xFF, 0x01, 0, 0, 0xFF},
		.execute = scsi_request_sense},
	{0x08, 0, 6, SCSI_TO_INITIATOR, CMD_DATA | CMD_RANGE | CMD_BLOCKS, CONFLICT_READ, LBA_6,
		.usage = {0xFF, 0x1F, FF2, 0xFF}, .execute = scsi_read},
	{0x0A, 0, 6, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE | CMD_BLOCKS | CMD_WRITES, CONFLICT_WRITE,
		LBA_6, .usage = {0xFF, 0x1F, FF2, 0xFF}, .execute = scsi_write},
	{0x12, 0, 6, SCSI_TO_INITIATOR,
		CMD_ALL | CMD_ALWAYS | CMD_UNMAPPED | CMD_QUIET | CMD_LEGACY_OK | CMD_SANITIZING,
		CONFLICT_NEVER, ALLOC(3, 2), .reply_max = 1024, .usage = {0xFF, 0x01, 0xFF, FF2},
		.parse = scsi_inquiry_parse, .execute = scsi_inquiry},
	{0x15, 0, 6, SCSI_FROM_INITIATOR, CMD_DATA | CMD_OWNER | CMD_PARAMETERS, CONFLICT_WRITE, ALLOC(4, 1),
		.usage = {0xFF, 0x11, 0, 0, 0xFF}, .execute = scsi_mode_select},
	{0x16, 0, 6, SCSI_NONE, CMD_DATA, CONFLICT_NEVER, .usage = {0xFF}, .execute = scsi_legacy_reserve},
	{0x17, 0, 6, SCSI_NONE, CMD_DATA | CMD_LEGACY_OK, CONFLICT_NEVER, .usage = {0xFF},
		.execute = scsi_legacy_release},
	{0x1A, 0, 6, SCSI_TO_INITIATOR, CMD_DATA | CMD_OWNER, CONFLICT_READ, ALLOC(4, 1), .reply_max = 255,
		.usage = {0xFF, 0x08, 0xFF, 0xFF, 0xFF}, .execute = scsi_mode_sense},
	{0x1B, 0, 6, SCSI_NONE, CMD_DATA, CONFLICT_WRITE, .usage = {0xFF, 0x01, 0, 0x0F, 0xF7},
		.parse = scsi_start_stop_parse, .execute = scsi_start_stop},
	{0x1D, 0, 6, SCSI_NONE, CMD_DATA | CMD_CONTROL | CMD_OWNER, CONFLICT_WRITE, .usage = {0xFF, 0x04},
		.execute = scsi_send_diagnostic},
	{0x1E, 0, 6, SCSI_NONE, CMD_DATA, CONFLICT_WRITE, .usage = {0xFF, 0, 0, 0, 0x03},
		.execute = scsi_prevent_allow},
	{0x25, 0, 10, SCSI_TO_INITIATOR, CMD_DATA, CONFLICT_NEVER, .reply_max = 8, .usage = {0xFF},
		.execute = scsi_read_capacity10},
	{0x28, 0, 10, SCSI_TO_INITIATOR, CMD_DATA | CMD_RANGE | CMD_BLOCKS, CONFLICT_READ, LBA_10,
		.usage = {0xFF, 0x18, FF4, 0, FF2}, .execute = scsi_read},
	{0x2A, 0, 10, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE | CMD_BLOCKS | CMD_WRITES, CONFLICT_WRITE,
		LBA_10, .usage = {0xFF, 0x18, FF4, 0, FF2}, .execute = scsi_write},
	{0x2E, 0, 10, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE | CMD_BLOCKS | CMD_WRITES, CONFLICT_WRITE,
		LBA_10, .usage = {0xFF, 0x16, FF4, 0, FF2}, .parse = scsi_write_verify_parse,
		.execute = scsi_write_verify},
	{0x2F, 0, 10, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE, CONFLICT_READ, LBA_10,
		.usage = {0xFF, 0x16, FF4, 0, FF2}, .parse = scsi_verify_parse, .execute = scsi_verify},
	{0x34, 0, 10, SCSI_NONE, CMD_DATA | CMD_RANGE, CONFLICT_READ, LBA_10,
		.usage = {0xFF, 0x02, FF4, 0x1F, FF2}, .execute = scsi_prefetch},
	{0x35, 0, 10, SCSI_NONE, CMD_DATA | CMD_RANGE, CONFLICT_WRITE, LBA_10,
		.usage = {0xFF, 0x02, FF4, 0, FF2}, .execute = scsi_synchronize},
	{0x37, 0, 10, SCSI_TO_INITIATOR, CMD_DATA, CONFLICT_READ, ALLOC(7, 2), .reply_max = 8,
		.usage = {0xFF, 0, 0x1F, 0, 0, 0, 0, FF2}, .execute = scsi_read_defects},
	{0x41, 0, 10, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE | CMD_EXACT | CMD_WRITES, CONFLICT_WRITE,
		LBA_10, .usage = {0xFF, 0x08, FF4, 0, FF2}, .parse = scsi_write_same_parse,
		.execute = scsi_write_same},
	{0x42, 0, 10, SCSI_FROM_INITIATOR, CMD_DATA | CMD_WRITES | CMD_PARAMETERS, CONFLICT_WRITE,
		ALLOC(7, 2), .usage = {0xFF, 0, 0, 0, 0, 0, 0, FF2}, .execute = scsi_unmap},
#define SANITIZE_ROW(sa, fn)                                                                                 \
	{                                                                                                    \
		0x48, sa, 10, SCSI_FROM_INITIATOR, CMD_DATA | CMD_SA | CMD_WRITES | CMD_PARAMETERS,          \
			CONFLICT_WRITE, ALLOC(7, 2), .usage = {0xFF, 0xBF, 0, 0, 0, 0, 0, FF2},              \
						     .parse = scsi_sanitize_parse, .execute = fn             \
	}
	SANITIZE_ROW(0x01, scsi_sanitize),
	SANITIZE_ROW(0x02, scsi_sanitize),
	SANITIZE_ROW(0x1F, scsi_sanitize_exit),
	{0x4D, 0, 10, SCSI_TO_INITIATOR, CMD_DATA | CMD_OWNER | CMD_SANITIZING, CONFLICT_NEVER, ALLOC(7, 2),
		.reply_max = 512, .usage = {0xFF, 0, 0xFF, 0xFF, 0, FF2, FF2}, .execute = scsi_log_sense},
	{0x55, 0, 10, SCSI_FROM_INITIATOR, CMD_DATA | CMD_OWNER | CMD_PARAMETERS, CONFLICT_WRITE, ALLOC(7, 2),
		.usage = {0xFF, 0x11, 0, 0, 0, 0, 0, FF2}, .execute = scsi_mode_select},
	{0x5A, 0, 10, SCSI_TO_INITIATOR, CMD_DATA | CMD_OWNER, CONFLICT_READ, ALLOC(7, 2), .reply_max = 512,
		.usage = {0xFF, 0x18, 0xFF, 0xFF, 0, 0, 0, FF2}, .execute = scsi_mode_sense},
#define PR_IN(sa, fn)                                                                                        \
	{                                                                                                    \
		0x5E, sa, 10, SCSI_TO_INITIATOR, CMD_DATA | CMD_SA | CMD_OWNER, CONFLICT_NEVER, ALLOC(7, 2), \
			.reply_max = 65535, .usage = {0xFF, 0x1F, 0, 0, 0, 0, 0, FF2}, .execute = fn         \
	}
	PR_IN(0, scsi_pr_in_keys),
	PR_IN(1, scsi_pr_in_reservation),
	PR_IN(2, scsi_pr_in_capabilities),
	PR_IN(3, scsi_pr_in_full_status),
#define PR_OUT(sa)                                                                                           \
	{                                                                                                    \
		0x5F, sa, 10, SCSI_FROM_INITIATOR, CMD_DATA | CMD_SA | CMD_OWNER | CMD_PARAMETERS,           \
			CONFLICT_NEVER, ALLOC(5, 4), .usage = {0xFF, 0x1F, 0xFF, 0, 0, FF4},                 \
						     .execute = scsi_pr_out                                  \
	}
	PR_OUT(0),
	PR_OUT(1),
	PR_OUT(2),
	PR_OUT(3),
	PR_OUT(4),
	PR_OUT(5),
	PR_OUT(6),
	PR_OUT(7),
#define COPY_OUT_ROW(sa, flags, class, fn, ...)                                                              \
	{                                                                                                    \
		0x83, sa, 16, SCSI_FROM_INITIATOR, CMD_DATA | CMD_SA | CMD_PARAMETERS | CMD_COPY | (flags),  \
			class, ALLOC(10, 4), .usage = {0xFF, 0x1F, __VA_ARGS__}, .execute = fn               \
	}
	COPY_OUT_ROW(0x00, 0, CONFLICT_WRITE, scsi_extended_copy, 0, 0, 0, 0, 0, 0, 0, 0, FF4),
	COPY_OUT_ROW(0x10, 0, CONFLICT_READ, scsi_populate_token, 0, 0, 0, 0, FF4, FF4, 0x1F),
	COPY_OUT_ROW(0x11, CMD_WRITES, CONFLICT_WRITE, scsi_write_using_token, 0, 0, 0, 0, FF4, FF4, 0x1F),
	{0x83, 0x1C, 16, SCSI_NONE, CMD_DATA | CMD_SA | CMD_COPY, CONFLICT_READ, .usage = {0xFF, 0x1F, FF4},
		.execute = scsi_copy_abort_command},
#define COPY_IN_ROW(sa, fn, ...)                                                                             \
	{                                                                                                    \
		0x84, sa, 16, SCSI_TO_INITIATOR, CMD_DATA | CMD_SA | CMD_COPY, CONFLICT_READ, ALLOC(10, 4),  \
			.reply_max = 1024, .usage = {0xFF, 0x1F, __VA_ARGS__, FF4}, .execute = fn            \
	}
	COPY_IN_ROW(0x00, scsi_receive_copy_status1, 0xFF, 0, 0, 0, 0, 0, 0, 0),
	COPY_IN_ROW(0x03, scsi_receive_copy_parameters, 0, 0, 0, 0, 0, 0, 0, 0),
	COPY_IN_ROW(0x04, scsi_receive_copy_failure, 0xFF, 0, 0, 0, 0, 0, 0, 0),
	COPY_IN_ROW(0x05, scsi_receive_copy_status4, FF4, 0, 0, 0, 0),
	COPY_IN_ROW(0x07, scsi_receive_token_information, FF4, 0, 0, 0, 0),
	{0x88, 0, 16, SCSI_TO_INITIATOR, CMD_DATA | CMD_RANGE | CMD_BLOCKS, CONFLICT_READ, LBA_16,
		.usage = {0xFF, 0x18, FF8, FF4}, .execute = scsi_read},
	{0x89, 0, 16, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE | CMD_EXACT | CMD_WRITES | CMD_PARAMETERS,
		CONFLICT_WRITE, LBA_16_L8, .usage = {0xFF, 0x18, FF8, 0, 0, 0, 0xFF},
		.parse = scsi_compare_write_parse, .execute = scsi_compare_write},
	{0x8A, 0, 16, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE | CMD_BLOCKS | CMD_WRITES, CONFLICT_WRITE,
		LBA_16, .usage = {0xFF, 0x18, FF8, FF4}, .execute = scsi_write},
	{0x8B, 0, 16, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE | CMD_BLOCKS | CMD_WRITES, CONFLICT_WRITE,
		LBA_16, .usage = {0xFF, 0x18, FF8, FF4}, .execute = scsi_orwrite},
	{0x8E, 0, 16, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE | CMD_BLOCKS | CMD_WRITES, CONFLICT_WRITE,
		LBA_16, .usage = {0xFF, 0x16, FF8, FF4}, .parse = scsi_write_verify_parse,
		.execute = scsi_write_verify},
	{0x8F, 0, 16, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE, CONFLICT_READ, LBA_16,
		.usage = {0xFF, 0x16, FF8, FF4}, .parse = scsi_verify_parse, .execute = scsi_verify},
	{0x90, 0, 16, SCSI_NONE, CMD_DATA | CMD_RANGE, CONFLICT_READ, LBA_16,
		.usage = {0xFF, 0x02, FF8, FF4, 0x1F}, .execute = scsi_prefetch},
	{0x91, 0, 16, SCSI_NONE, CMD_DATA | CMD_RANGE, CONFLICT_WRITE, LBA_16,
		.usage = {0xFF, 0x02, FF8, FF4}, .execute = scsi_synchronize},
	{0x93, 0, 16, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE | CMD_EXACT | CMD_WRITES, CONFLICT_WRITE,
		LBA_16, .usage = {0xFF, 0x09, FF8, FF4}, .parse = scsi_write_same_parse,
		.execute = scsi_write_same},
	{0x9E, 0x10, 16, SCSI_TO_INITIATOR, CMD_DATA | CMD_SA, CONFLICT_NEVER, ALLOC(10, 4), .reply_max = 32,
		.usage = {0xFF, 0x1F, 0, 0, 0, 0, 0, 0, 0, 0, FF4}, .execute = scsi_read_capacity16},
	{0x9E, 0x12, 16, SCSI_TO_INITIATOR, CMD_DATA | CMD_SA, CONFLICT_READ, LBA_16_L0, ALLOC(10, 4),
		.reply_max = 8 + 16 * 256, .usage = {0xFF, 0x1F, FF8, FF4}, .execute = scsi_get_lba_status},
	{0xA0, 0, 12, SCSI_TO_INITIATOR, CMD_ALL | CMD_ALWAYS | CMD_QUIET | CMD_LEGACY_OK | CMD_SANITIZING,
		CONFLICT_NEVER, ALLOC(6, 4), .reply_max = 8 + 8 * (ARRAY_LUN_NUMBER_MAX + 1),
		.usage = {0xFF, 0, 0xFF, 0, 0, 0, FF4}, .parse = scsi_report_luns_parse,
		.execute = scsi_report_luns},
	{0xA2, 0, 12, SCSI_TO_INITIATOR, CMD_DATA | CMD_CONTROL | CMD_STANDBY | CMD_INBAND, CONFLICT_READ,
		ALLOC(6, 4), .reply_max = UP_REPLY_MAX_BYTES, .usage = {0xFF, 0xFF, FF2, 0x80, 0, FF4},
		.parse = scsi_security_parse, .execute = scsi_security_in},
	{0xA3, 0x0A, 12, SCSI_TO_INITIATOR, CMD_DATA | CMD_ALWAYS | CMD_SA, CONFLICT_NEVER, ALLOC(6, 4),
		.reply_max = 4096, .usage = {0xFF, 0xFF, 0, 0, 0, 0, FF4},
		.execute = scsi_report_target_port_groups},
	{0xA3, 0x0C, 12, SCSI_TO_INITIATOR, CMD_DATA | CMD_CONTROL | CMD_STANDBY | CMD_SA, CONFLICT_NEVER,
		ALLOC(6, 4), .reply_max = 8192, .usage = {0xFF, 0x1F, 0x87, 0xFF, FF2, FF4},
		.execute = scsi_report_opcodes},
	{0xA3, 0x0D, 12, SCSI_TO_INITIATOR, CMD_DATA | CMD_CONTROL | CMD_STANDBY | CMD_SA, CONFLICT_NEVER,
		ALLOC(6, 4), .reply_max = 16, .usage = {0xFF, 0x1F, 0x80, 0, 0, 0, FF4},
		.execute = scsi_report_tmfs},
	{0xA8, 0, 12, SCSI_TO_INITIATOR, CMD_DATA | CMD_RANGE | CMD_BLOCKS, CONFLICT_READ, LBA_12,
		.usage = {0xFF, 0x18, FF4, FF4}, .execute = scsi_read},
	{0xAA, 0, 12, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE | CMD_BLOCKS | CMD_WRITES, CONFLICT_WRITE,
		LBA_12, .usage = {0xFF, 0x18, FF4, FF4}, .execute = scsi_write},
	{0xAE, 0, 12, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE | CMD_BLOCKS | CMD_WRITES, CONFLICT_WRITE,
		LBA_12, .usage = {0xFF, 0x16, FF4, FF4}, .parse = scsi_write_verify_parse,
		.execute = scsi_write_verify},
	{0xAF, 0, 12, SCSI_FROM_INITIATOR, CMD_DATA | CMD_RANGE, CONFLICT_READ, LBA_12,
		.usage = {0xFF, 0x16, FF4, FF4}, .parse = scsi_verify_parse, .execute = scsi_verify},
	{0xB5, 0, 12, SCSI_FROM_INITIATOR, CMD_DATA | CMD_CONTROL | CMD_STANDBY | CMD_INBAND | CMD_PARAMETERS,
		CONFLICT_WRITE, ALLOC(6, 4), .usage = {0xFF, 0xFF, FF2, 0x80, 0, FF4},
		.parse = scsi_security_parse, .execute = scsi_security_out},
	{0xB7, 0, 12, SCSI_TO_INITIATOR, CMD_DATA, CONFLICT_READ, ALLOC(6, 4), .reply_max = 8,
		.usage = {0xFF, 0x1F, FF4, FF4}, .execute = scsi_read_defects},
	{UP_OPCODE_VENDOR_IN, 0, 12, SCSI_TO_INITIATOR,
		CMD_DATA | CMD_CONTROL | CMD_STANDBY | CMD_INBAND | CMD_VENDOR, CONFLICT_READ, ALLOC(6, 4),
		.reply_max = UP_REPLY_MAX_BYTES, .usage = {0xFF, 0xFF, FF2, 0x80, 0, FF4},
		.parse = scsi_security_parse, .execute = scsi_security_in},
	{UP_OPCODE_VENDOR_OUT, 0, 12, SCSI_FROM_INITIATOR,
		CMD_DATA | CMD_CONTROL | CMD_STANDBY | CMD_INBAND | CMD_PARAMETERS | CMD_VENDOR,
		CONFLICT_WRITE, ALLOC(6, 4), .usage = {0xFF, 0xFF, FF2, 0x80, 0, FF4},
		.parse = scsi_security_parse, .execute = scsi_security_out},
};
const unsigned scsi_command_count = sizeof(scsi_commands) / sizeof(scsi_commands[0]);

static uint8_t first_row[256]; /* index + 1; 0: unknown opcode */

void scsi_command_table_init(void)
{
	static bool ready;

	if (ready)
		return;
	static_assert(sizeof(scsi_commands) / sizeof(scsi_commands[0]) < 255, "rows fit a byte");
	for (unsigned i = scsi_command_count; i-- > 0;) {
		const struct scsi_command *row = &scsi_commands[i];

		assert(row->usage[0] == 0xFF && row->execute && row->cdb_len <= 16);
		assert(!(row->flags & CMD_SA) || (row->usage[1] & 0x1F) == 0x1F);
		assert(i == 0 || scsi_commands[i - 1].opcode <= row->opcode);
		first_row[row->opcode] = (uint8_t)(i + 1);
	}
	ready = true;
}

const struct scsi_command *scsi_command_find(const uint8_t *cdb, bool *opcode_known)
{
	unsigned i = first_row[cdb[0]];

	*opcode_known = i != 0;
	if (i == 0)
		return NULL;
	const struct scsi_command *row = &scsi_commands[i - 1];
	if (!(row->flags & CMD_SA))
		return row;
	for (; row < scsi_commands + scsi_command_count && row->opcode == cdb[0]; row++)
		if (row->service_action == (cdb[1] & 0x1F))
			return row;
	return NULL;
}

bool scsi_command_check_usage(struct scsi_task *task)
{
	const struct scsi_command *row = task->command;

	for (unsigned i = 1; i < row->cdb_len; i++) {
		unsigned extra = task->cdb[i] & ~(unsigned)row->usage[i] & 0xFF;

		if (extra) {
			unsigned bit = 7;

			while (!(extra & 1u << bit))
				bit--;
			return scsi_fail_cdb_bit(task, i, bit);
		}
	}
	return true;
}
