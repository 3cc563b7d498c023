/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sense data: how a command fails. For the commands, and for a transport that fails a task before the SCSI layer
 * has it (or after it has been discarded).
 */
#ifndef UMBRA_SCSI_SENSE_H
#define UMBRA_SCSI_SENSE_H

#include "array/scsi/scsi.h"

enum scsi_sense_key {
	SENSE_NO_SENSE = 0x0,
	SENSE_NOT_READY = 0x2,
	SENSE_MEDIUM_ERROR = 0x3,
	SENSE_HARDWARE_ERROR = 0x4,
	SENSE_ILLEGAL_REQUEST = 0x5,
	SENSE_UNIT_ATTENTION = 0x6,
	SENSE_DATA_PROTECT = 0x7,
	SENSE_COPY_ABORTED = 0xA,
	SENSE_ABORTED_COMMAND = 0xB,
	SENSE_MISCOMPARE = 0xE,
};

/* asc << 8 | ascq */
#define ASC_NONE                     0x0000
#define ASC_NOT_READY                0x0400
#define ASC_OPERATION_IN_PROGRESS    0x0407
#define ASC_TRANSITIONING            0x040A
#define ASC_STANDBY                  0x040B
#define ASC_UNAVAILABLE              0x040C
#define ASC_WRITE_ERROR              0x0C00
#define ASC_UNEXPECTED_UNSOLICITED   0x0C0C
#define ASC_NOT_ENOUGH_UNSOLICITED   0x0C0D
#define ASC_READ_ERROR               0x1100
#define ASC_PARAMETER_LIST_LENGTH    0x1A00
#define ASC_MISCOMPARE               0x1D00
#define ASC_INVALID_OPCODE           0x2000
#define ASC_NO_ACCESS_RIGHTS         0x2002
#define ASC_LBA_RANGE                0x2100
#define ASC_INVALID_FIELD_CDB        0x2400
#define ASC_NO_LUN                   0x2500
#define ASC_INVALID_FIELD_PARAMETERS 0x2600
#define ASC_INVALID_RELEASE          0x2604
#define ASC_WRITE_PROTECTED          0x2700
#define ASC_SOFTWARE_WRITE_PROTECTED 0x2702
#define ASC_SPACE_ALLOCATION_FAILED  0x2707
#define ASC_ACCESS_STATE_CHANGED     0x2A06
#define ASC_COMMAND_SEQUENCE         0x2C00
#define ASC_SAVING_NOT_SUPPORTED     0x3900
#define ASC_INTERNAL_FAILURE         0x4400
#define ASC_PROTOCOL_SERVICE_CRC     0x4705
#define ASC_REGISTRATION_RESOURCES   0x5504

struct scsi_sense {
	enum scsi_sense_key key;
	uint16_t asc;
	bool has_information, has_field, field_in_cdb, has_bit;
	bool has_progress;
	uint16_t progress; /* of 65,536 */
	uint64_t information;
	uint16_t field_byte;
	uint8_t field_bit;
};
/* Returns the length written to out: 18 in fixed form; 8 and its descriptors else. */
unsigned scsi_sense_build(const struct scsi_sense *s, bool descriptor, uint8_t out[SCSI_SENSE_MAX_BYTES]);
/* Whether sense, of either form, is a unit attention. */
bool scsi_sense_is_attention(const uint8_t *sense, unsigned len);

/* These set CHECK CONDITION with sense; always false, for `return scsi_fail(…)` in a parse. */
bool scsi_fail(struct scsi_task *task, enum scsi_sense_key key, uint16_t asc);
bool scsi_fail_sense(struct scsi_task *task, const struct scsi_sense *s);
bool scsi_fail_cdb(struct scsi_task *task, unsigned byte); /* INVALID FIELD IN CDB */
bool scsi_fail_cdb_bit(struct scsi_task *task, unsigned byte, unsigned bit);
bool scsi_fail_parameter(struct scsi_task *task, unsigned byte); /* … IN PARAMETER LIST */
bool scsi_conflict(struct scsi_task *task);                      /* RESERVATION CONFLICT */
/* The one table from the store's errno (not 0) to a status; CHECK CONDITION: *out has the sense. */
uint8_t scsi_errno_sense(int err, bool write, struct scsi_sense *out);
/* By that table; err 0: GOOD. */
void scsi_set_errno(struct scsi_task *task, int err);

#endif
