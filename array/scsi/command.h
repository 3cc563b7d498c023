/* SPDX-License-Identifier: Apache-2.0 */
/* The command table: one row a command drives everything. */
#ifndef UMBRA_SCSI_COMMAND_H
#define UMBRA_SCSI_COMMAND_H

#include "array/scsi/scsi.h"

#define SCSI_PARAMETERS_MAX 65536u /* bytes of a parameter list */

enum scsi_lba_layout {
	LBA_NONE,
	LBA_6,     /* 21 bits at 1, length 8 bits at 4 (0: 256) */
	LBA_10,    /* 32 bits at 2, length 16 bits at 7 */
	LBA_12,    /* 32 bits at 2, length 32 bits at 6 */
	LBA_16,    /* 64 bits at 2, length 32 bits at 10 */
	LBA_16_L8, /* 64 bits at 2, length 8 bits at 13 */
	LBA_16_L0, /* 64 bits at 2, no length */
};

/* SPC-4 5.13.1: with which persistent reservations of others does it conflict? */
enum scsi_conflict {
	CONFLICT_NEVER,
	CONFLICT_READ,  /* with Exclusive Access types */
	CONFLICT_WRITE, /* with Write Exclusive types too */
};

#define CMD_DATA       (1u << 0)  /* for mapped LUNs */
#define CMD_CONTROL    (1u << 1)  /* for the control LU */
#define CMD_ABSENT     (1u << 2)  /* for LUN 0 when it is absent */
#define CMD_UNMAPPED   (1u << 3)  /* even for a LUN that is not there (INQUIRY, REQUEST SENSE) */
#define CMD_QUIET      (1u << 4)  /* unit attentions are not reported */
#define CMD_LEGACY_OK  (1u << 5)  /* another's RESERVE(6) does not hinder it */
#define CMD_RANGE      (1u << 6)  /* lba and blocks lie within the LUN */
#define CMD_WRITES     (1u << 7)  /* changes the medium: software write protection applies */
#define CMD_BLOCKS     (1u << 8)  /* data length: blocks, at most SCSI_TRANSFER_MAX_BYTES */
#define CMD_SA         (1u << 9)  /* has a service action in byte 1 */
#define CMD_INBAND     (1u << 10) /* with protocol F0h: neither attentions nor reservations nor ordering */
#define CMD_PARAMETERS (1u << 11) /* from the initiator: all of data_len must be in hand */
#define CMD_VENDOR     (1u << 12) /* not in a standard */
#define CMD_EXACT      (1u << 13) /* an offer of more or less data than the CDB says is refused */
#define CMD_COPY       (1u << 14) /* third-party copies: only where the store can clone */
#define CMD_SANITIZING (1u << 15) /* also while the LUN is sanitized */
/* In which access states of the target port group (SPC-4 5.15.2) a LUN answers, besides active/optimized */
#define CMD_ALWAYS  (1u << 16) /* in all */
#define CMD_STANDBY (1u << 17) /* in standby */
#define CMD_OWNER   (1u << 18) /* in standby, but it is the owner of the array who does it */
#define CMD_ALL     (CMD_DATA | CMD_CONTROL | CMD_ABSENT)

struct scsi_command {
	uint8_t opcode, service_action;
	uint8_t cdb_len;
	enum scsi_direction direction;
	unsigned flags;
	enum scsi_conflict conflict;
	enum scsi_lba_layout layout;
	/* Where the CDB says the data length in bytes; length_bytes 0: nowhere */
	uint8_t length_at, length_bytes;
	uint32_t reply_max; /* to the initiator: most bytes we ever answer */
	uint8_t usage[16];  /* bits of the CDB that we evaluate */
	/* Command-specific part of parse, may be NULL; false: failed (sense set). */
	bool (*parse)(struct scsi_task *task);
	void (*execute)(struct scsi_task *task);
};

/* NULL: unknown opcode or service action; *opcode_known tells which. */
const struct scsi_command *scsi_command_find(const uint8_t *cdb, bool *opcode_known);
extern const struct scsi_command scsi_commands[];
extern const unsigned scsi_command_count;
void scsi_command_table_init(void); /* idempotent */
/* Where the CDB says how many blocks (of a row with a layout that has a length). */
static inline unsigned scsi_command_length_at(const struct scsi_command *row)
{
	if (row->layout == LBA_16_L8)
		return 13;
	return row->cdb_len == 6 ? 4 : row->cdb_len == 10 ? 7 : row->cdb_len - 6u;
}
/* Any bit set that the row does not know: fails with the field's place. */
bool scsi_command_check_usage(struct scsi_task *task);

#endif
