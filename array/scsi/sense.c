/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sense data (SPC-4 4.5) and the only place where an errno of the store becomes a SCSI status.
 *
 * Fixed or descriptor form follows the LUN's D_SENSE (control mode page); without a LUN it is fixed.
 */
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/sense.h"
#include "array/util/bytes.h"

#include <errno.h>
#include <string.h>

#define DESCRIPTOR 0x72 /* the response code of that form */

/* SPC-4 4.5.2.4.2: SKSV, C/D, BPV, bit pointer, field pointer */
static void field_pointer(const struct scsi_sense *s, uint8_t out[3])
{
	out[0] = 0x80;
	if (s->field_in_cdb)
		out[0] |= 0x40;
	if (s->has_bit)
		out[0] |= (uint8_t)(0x08 | (s->field_bit & 7));
	put_be16(out + 1, s->field_byte);
}

/* SPC-4 4.5.2.4.4 */
static void progress(const struct scsi_sense *s, uint8_t out[3])
{
	out[0] = 0x80;
	put_be16(out + 1, s->progress);
}

static unsigned build_fixed(const struct scsi_sense *s, uint8_t *out)
{
	out[0] = 0x70;
	out[2] = (uint8_t)s->key;
	if (s->has_information && s->information <= UINT32_MAX) {
		out[0] |= 0x80;
		put_be32(out + 3, (uint32_t)s->information);
	}
	out[7] = 10;
	put_be16(out + 12, s->asc);
	if (s->has_field)
		field_pointer(s, out + 15);
	else if (s->has_progress)
		progress(s, out + 15);
	return 18;
}

static unsigned build_descriptor(const struct scsi_sense *s, uint8_t *out)
{
	unsigned len = 8;

	out[0] = DESCRIPTOR;
	out[1] = (uint8_t)s->key;
	put_be16(out + 2, s->asc);
	if (s->has_information) {
		out[len + 1] = 0x0A;
		out[len + 2] = 0x80;
		put_be64(out + len + 4, s->information);
		len += 12;
	}
	if (s->has_field || s->has_progress) {
		out[len] = 0x02;
		out[len + 1] = 0x06;
		if (s->has_field)
			field_pointer(s, out + len + 4);
		else
			progress(s, out + len + 4);
		len += 8;
	}
	out[7] = (uint8_t)(len - 8);
	return len;
}

unsigned scsi_sense_build(const struct scsi_sense *s, bool descriptor, uint8_t out[SCSI_SENSE_MAX_BYTES])
{
	memset(out, 0, SCSI_SENSE_MAX_BYTES);
	return descriptor ? build_descriptor(s, out) : build_fixed(s, out);
}

bool scsi_sense_is_attention(const uint8_t *sense, unsigned len)
{
	unsigned at = len && sense[0] == DESCRIPTOR ? 1 : 2;

	return len > at && (sense[at] & 0x0F) == SENSE_UNIT_ATTENTION;
}

bool scsi_fail_sense(struct scsi_task *task, const struct scsi_sense *s)
{
	const struct scsi_lun *lun = scsi_lun_of(task);

	task->status = SCSI_STATUS_CHECK_CONDITION;
	task->sense_len = scsi_sense_build(s, lun && lun->mode.d_sense, task->sense);
	return false;
}

bool scsi_fail(struct scsi_task *task, enum scsi_sense_key key, uint16_t asc)
{
	return scsi_fail_sense(task, &(struct scsi_sense){.key = key, .asc = asc});
}

bool scsi_fail_cdb(struct scsi_task *task, unsigned byte)
{
	return scsi_fail_sense(task, &(struct scsi_sense){.key = SENSE_ILLEGAL_REQUEST,
					     .asc = ASC_INVALID_FIELD_CDB,
					     .has_field = true,
					     .field_in_cdb = true,
					     .field_byte = (uint16_t)byte});
}

bool scsi_fail_cdb_bit(struct scsi_task *task, unsigned byte, unsigned bit)
{
	return scsi_fail_sense(task, &(struct scsi_sense){.key = SENSE_ILLEGAL_REQUEST,
					     .asc = ASC_INVALID_FIELD_CDB,
					     .has_field = true,
					     .field_in_cdb = true,
					     .field_byte = (uint16_t)byte,
					     .has_bit = true,
					     .field_bit = (uint8_t)bit});
}

bool scsi_fail_parameter(struct scsi_task *task, unsigned byte)
{
	return scsi_fail_sense(task, &(struct scsi_sense){.key = SENSE_ILLEGAL_REQUEST,
					     .asc = ASC_INVALID_FIELD_PARAMETERS,
					     .has_field = true,
					     .field_byte = (uint16_t)byte});
}

bool scsi_conflict(struct scsi_task *task)
{
	task->status = SCSI_STATUS_RESERVATION_CONFLICT;
	task->sense_len = 0;
	return false;
}

/* ---- errno of the store → status and sense ------------------------------------------------------------ */

struct errno_row {
	int err;
	uint8_t status;
	enum scsi_sense_key key;
	uint16_t asc_read, asc_write;
};

static const struct errno_row errno_rows[] = {
	{EIO, SCSI_STATUS_CHECK_CONDITION, SENSE_MEDIUM_ERROR, ASC_READ_ERROR, ASC_WRITE_ERROR},
	/* The store knows that what it has there is damaged. */
	{EUCLEAN, SCSI_STATUS_CHECK_CONDITION, SENSE_MEDIUM_ERROR, ASC_READ_ERROR, ASC_WRITE_ERROR},
	{ENOSPC, SCSI_STATUS_CHECK_CONDITION, SENSE_DATA_PROTECT, ASC_SPACE_ALLOCATION_FAILED,
		ASC_SPACE_ALLOCATION_FAILED},
	{EDQUOT, SCSI_STATUS_CHECK_CONDITION, SENSE_DATA_PROTECT, ASC_SPACE_ALLOCATION_FAILED,
		ASC_SPACE_ALLOCATION_FAILED},
	{EROFS, SCSI_STATUS_CHECK_CONDITION, SENSE_DATA_PROTECT, ASC_WRITE_PROTECTED, ASC_WRITE_PROTECTED},
	{EILSEQ, SCSI_STATUS_CHECK_CONDITION, SENSE_MISCOMPARE, ASC_MISCOMPARE, ASC_MISCOMPARE},
	{ERANGE, SCSI_STATUS_CHECK_CONDITION, SENSE_ILLEGAL_REQUEST, ASC_LBA_RANGE, ASC_LBA_RANGE},
	{ENODEV, SCSI_STATUS_CHECK_CONDITION, SENSE_ILLEGAL_REQUEST, ASC_NO_LUN, ASC_NO_LUN},
	/* The store goes down or this gateway lost its lock: another path may serve. */
	{ESHUTDOWN, SCSI_STATUS_CHECK_CONDITION, SENSE_NOT_READY, ASC_NOT_READY, ASC_NOT_READY},
	/* To be tried again. */
	{ECANCELED, SCSI_STATUS_CHECK_CONDITION, SENSE_ABORTED_COMMAND, ASC_NONE, ASC_NONE},
	{ETIMEDOUT, SCSI_STATUS_CHECK_CONDITION, SENSE_ABORTED_COMMAND, ASC_NONE, ASC_NONE},
	{ENOMEM, SCSI_STATUS_BUSY, SENSE_NO_SENSE, 0, 0},
	{ENOBUFS, SCSI_STATUS_BUSY, SENSE_NO_SENSE, 0, 0},
	{EAGAIN, SCSI_STATUS_BUSY, SENSE_NO_SENSE, 0, 0},
	/* A resync replaces the LUN's data. */
	{EBUSY, SCSI_STATUS_CHECK_CONDITION, SENSE_NOT_READY, ASC_OPERATION_IN_PROGRESS,
		ASC_OPERATION_IN_PROGRESS},
};
static const struct errno_row errno_other = {
	0, SCSI_STATUS_CHECK_CONDITION, SENSE_HARDWARE_ERROR, ASC_INTERNAL_FAILURE, ASC_INTERNAL_FAILURE};

uint8_t scsi_errno_sense(int err, bool write, struct scsi_sense *out)
{
	const struct errno_row *row = &errno_other;

	for (size_t i = 0; i < sizeof(errno_rows) / sizeof(errno_rows[0]); i++)
		if (errno_rows[i].err == -err)
			row = &errno_rows[i];
	*out = (struct scsi_sense){.key = row->key, .asc = write ? row->asc_write : row->asc_read};
	return row->status;
}

void scsi_set_errno(struct scsi_task *task, int err)
{
	struct scsi_sense sense;

	task->status = SCSI_STATUS_GOOD;
	if (err == 0)
		return;
	task->status = scsi_errno_sense(err, task->io.io.op != STORE_READ, &sense);
	if (task->status != SCSI_STATUS_CHECK_CONDITION)
		return;
	/* With several controllers it is another one that owns the array, or is about to. */
	if (err == -ESHUTDOWN && task->nexus->target->controllers)
		sense.asc = task->nexus->target->own->access == SCSI_ACCESS_STANDBY ? ASC_STANDBY
										    : ASC_TRANSITIONING;
	if (err == -EILSEQ) {
		sense.has_information = true;
		sense.information = task->io.io.miscompare_offset;
	}
	/* The first logical block that cannot be had. */
	if (err == -EUCLEAN && task->io.io.damaged_offset != STORE_NOWHERE) {
		sense.has_information = true;
		sense.information = task->io.io.damaged_offset / STORE_BLOCK_BYTES;
	}
	scsi_fail_sense(task, &sense);
}
