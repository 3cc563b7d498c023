/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VERIFY and WRITE AND VERIFY (SBC-3 5.31-5.45). What is verified is read back in steps.
 *
 * BYTCHK 00b: readable. 01b: equal to the data sent. 11b (VERIFY only): every block equal to the one block
 * sent. A difference is MISCOMPARE with the offset of the first differing byte in the data sent.
 */
#include "array/scsi/bounds.h"
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/sense.h"
#include "array/scsi/steps.h"
#include "array/scsi/task.h"

#include <string.h>

static unsigned bytchk(const struct scsi_task *task)
{
	return task->cdb[1] >> 1 & 3;
}

bool scsi_verify_parse(struct scsi_task *task)
{
	uint64_t blocks = task->blocks;

	switch (bytchk(task)) {
	case 0:
		if (blocks > SCSI_VERIFY_BLOCKS_MAX)
			return scsi_fail_cdb(task, scsi_command_length_at(task->command));
		task->data_len = 0;
		return true;
	case 1:
		if (blocks > SCSI_TRANSFER_MAX_BYTES / SCSI_BLOCK_BYTES)
			return scsi_fail_cdb(task, scsi_command_length_at(task->command));
		task->data_len = (uint32_t)blocks * SCSI_BLOCK_BYTES;
		return true;
	case 3:
		if (blocks > SCSI_VERIFY_BLOCKS_MAX)
			return scsi_fail_cdb(task, scsi_command_length_at(task->command));
		task->data_len = blocks ? SCSI_BLOCK_BYTES : 0;
		return true;
	default:
		return scsi_fail_cdb_bit(task, 1, 2);
	}
}

bool scsi_write_verify_parse(struct scsi_task *task)
{
	return bytchk(task) <= 1 || scsi_fail_cdb_bit(task, 1, 2);
}

static int miscompare(struct scsi_task *task, uint64_t offset)
{
	scsi_fail_sense(task, &(struct scsi_sense){.key = SENSE_MISCOMPARE,
				      .asc = ASC_MISCOMPARE,
				      .has_information = true,
				      .information = offset});
	return STEPS_FAILED;
}

static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t len)
{
	size_t i = 0;

	while (i < len && a[i] == b[i])
		i++;
	return i;
}

/* Compares what the step before has read. 0 or STEPS_FAILED. */
static int compare(struct scsi_task *task, struct scsi_steps *s)
{
	if (bytchk(task) == 1) {
		size_t at = first_difference(s->buf, task->data + s->gone, s->len);

		if (at < s->len)
			return miscompare(task, s->gone + at);
	} else if (bytchk(task) == 3) {
		for (uint32_t off = 0; off < s->len; off += SCSI_BLOCK_BYTES) {
			size_t at = first_difference(s->buf + off, task->data, SCSI_BLOCK_BYTES);

			if (at < SCSI_BLOCK_BYTES)
				return miscompare(task, at);
		}
	}
	s->gone += s->len;
	return 0;
}

static int verify_next(struct scsi_task *task, struct scsi_steps *s)
{
	uint64_t left = s->end - s->at, most = SCSI_STEP_BYTES / SCSI_BLOCK_BYTES;

	if (s->len > 0 && compare(task, s))
		return STEPS_FAILED;
	if (left == 0)
		return 0;
	uint64_t blocks = left < most ? left : most;
	s->at += blocks;
	return scsi_steps_io(task, STORE_READ, s->at - blocks, s->buf, blocks * SCSI_BLOCK_BYTES, 0);
}

static int write_verify_next(struct scsi_task *task, struct scsi_steps *s)
{
	if (s->index++ == 0) {
		int more = scsi_steps_io(task, STORE_WRITE, task->lba, task->data,
			(s->end - s->at) * SCSI_BLOCK_BYTES, STORE_IO_FUA);

		s->len = 0; /* nothing to compare yet */
		return more;
	}
	return verify_next(task, s);
}

static void run(
	struct scsi_task *task, uint64_t blocks, int (*next)(struct scsi_task *task, struct scsi_steps *s))
{
	struct scsi_steps *s;

	if (blocks == 0) {
		scsi_task_finish(task);
		return;
	}
	s = scsi_steps_begin(task, true, next);
	if (!s)
		return;
	s->at = task->lba;
	s->end = task->lba + blocks;
	scsi_steps_run(task);
}

void scsi_verify(struct scsi_task *task)
{
	if (task->data_in_hand < task->data_len) {
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
		scsi_task_finish(task);
		return;
	}
	run(task, task->blocks, verify_next);
}

/* As with WRITE, the whole blocks that came. */
void scsi_write_verify(struct scsi_task *task)
{
	run(task, task->data_in_hand / SCSI_BLOCK_BYTES, write_verify_next);
}
