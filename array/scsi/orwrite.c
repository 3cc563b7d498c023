/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ORWRITE(16) (SBC-3 5.9): sets bits. Piece by piece: read, then write what was read with the bits set under
 * the condition that nothing has changed meanwhile, else read again. So no other write is ever undone, and
 * somebody's write succeeds in every round.
 */
#include "array/scsi/bounds.h"
#include "array/scsi/commands.h"
#include "array/scsi/lun.h"
#include "array/scsi/steps.h"
#include "array/scsi/task.h"

#define PIECE_BLOCKS 128u /* read and new data fill the steps' buffer at most */
#define PIECE_BYTES  (PIECE_BLOCKS * SCSI_BLOCK_BYTES)

enum phase {
	READ,
	WRITE
};

static uint64_t piece(const struct scsi_steps *s)
{
	uint64_t left = s->end - s->at;

	return left < PIECE_BLOCKS ? left : PIECE_BLOCKS;
}

static int write_piece(struct scsi_task *task, struct scsi_steps *s)
{
	uint64_t len = piece(s) * SCSI_BLOCK_BYTES;
	const uint8_t *bits = task->data + s->gone;
	bool durable = (task->cdb[1] & 0x08) || !scsi_lun_of(task)->mode.wce;

	for (uint64_t i = 0; i < len; i++)
		s->buf[len + i] = s->buf[i] | bits[i];
	s->index = WRITE;
	scsi_steps_io(task, STORE_COMPARE_WRITE, s->at, s->buf, len, durable ? STORE_IO_FUA : 0);
	task->iov[0].iov_len = 2 * len;
	return 1;
}

static int orwrite_next(struct scsi_task *task, struct scsi_steps *s)
{
	if (s->len > 0 && s->index == READ)
		return write_piece(task, s);
	if (s->len > 0 && !s->miscompared) {
		s->gone += s->len;
		s->at += piece(s);
	}
	if (s->at == s->end)
		return 0;
	s->index = READ;
	return scsi_steps_io(task, STORE_READ, s->at, s->buf, piece(s) * SCSI_BLOCK_BYTES, 0);
}

void scsi_orwrite(struct scsi_task *task)
{
	uint64_t blocks = task->data_in_hand / SCSI_BLOCK_BYTES;
	struct scsi_steps *s;

	_Static_assert(2 * PIECE_BYTES <= SCSI_STEP_BYTES, "both copies fit");
	if (blocks == 0) {
		scsi_task_finish(task);
		return;
	}
	s = scsi_steps_begin(task, true, orwrite_next);
	if (!s)
		return;
	s->compares = true;
	s->at = task->lba;
	s->end = task->lba + blocks;
	scsi_steps_run(task);
}
