/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thin provisioning: UNMAP, WRITE SAME, GET LBA STATUS (SBC-3 5.6, 5.28, 5.43). LBPRZ: what is unmapped reads
 * as zeros, so a WRITE SAME of zeros, with or without its UNMAP bit, becomes an unmap.
 */
#include "array/scsi/internal.h"

#include <string.h>

static unsigned durable(const struct scsi_task *task)
{
	return scsi_lun_of(task)->mode.wce ? 0 : STORE_IO_FUA;
}

/* ---- UNMAP --------------------------------------------------------------------------------------------- */

#define UNMAP_HEADER_BYTES     8
#define UNMAP_DESCRIPTOR_BYTES 16

static const uint8_t *descriptor(const struct scsi_task *task, uint32_t index)
{
	return task->data + UNMAP_HEADER_BYTES + index * UNMAP_DESCRIPTOR_BYTES;
}

static int unmap_next(struct scsi_task *task, struct scsi_steps *s)
{
	while (s->index < s->end) {
		const uint8_t *d = descriptor(task, s->index++);

		if (get_be32(d + 8) != 0)
			return scsi_steps_io(task, STORE_UNMAP, get_be64(d), NULL,
				(uint64_t)get_be32(d + 8) * SCSI_BLOCK_BYTES, durable(task));
	}
	return 0;
}

/* The descriptors' number when all of them can be done, so that a bad list changes nothing; else -1. */
static int unmap_check(struct scsi_task *task)
{
	uint64_t capacity = scsi_lun_blocks(task->lun_held), total = 0;
	uint32_t bytes, count;

	if (task->data_len < UNMAP_HEADER_BYTES) {
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
		return -1;
	}
	bytes = get_be16(task->data + 2);
	if (bytes > task->data_len - UNMAP_HEADER_BYTES) {
		scsi_fail_parameter(task, 2);
		return -1;
	}
	count = bytes / UNMAP_DESCRIPTOR_BYTES;
	if (count > SCSI_UNMAP_DESCRIPTORS_MAX) {
		scsi_fail_parameter(task, 2);
		return -1;
	}
	for (uint32_t i = 0; i < count; i++) {
		uint64_t lba = get_be64(descriptor(task, i));
		uint32_t blocks = get_be32(descriptor(task, i) + 8);

		total += blocks;
		if (lba > capacity || blocks > capacity - lba) {
			scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_LBA_RANGE);
			return -1;
		}
		if (total > SCSI_UNMAP_BLOCKS_MAX) {
			scsi_fail_parameter(task, UNMAP_HEADER_BYTES + i * UNMAP_DESCRIPTOR_BYTES + 8);
			return -1;
		}
	}
	return (int)count;
}

void scsi_unmap(struct scsi_task *task)
{
	struct scsi_steps *s;
	int count = task->data_len ? unmap_check(task) : 0;

	if (count <= 0) {
		scsi_task_finish(task);
		return;
	}
	s = scsi_steps_begin(task, false, unmap_next);
	if (!s)
		return;
	s->end = (uint32_t)count;
	scsi_steps_run(task);
}

/* ---- WRITE SAME ---------------------------------------------------------------------------------------- */

static bool no_data(const struct scsi_task *task)
{
	return task->command->cdb_len == 16 && (task->cdb[1] & 0x01);
}

bool scsi_write_same_parse(struct scsi_task *task)
{
	unsigned length_at = task->command->cdb_len == 10 ? 7 : 10;

	/* WSNZ is set; ANCHOR and the obsolete bits are not in the usage mask. */
	if (task->blocks == 0 || task->blocks > SCSI_WRITE_SAME_BLOCKS_MAX)
		return scsi_fail_cdb(task, length_at);
	task->data_len = no_data(task) ? 0 : SCSI_BLOCK_BYTES;
	return true;
}

static int zero_next(struct scsi_task *task, struct scsi_steps *s)
{
	if (s->index++ > 0)
		return 0;
	return scsi_steps_io(
		task, STORE_UNMAP, task->lba, NULL, task->blocks * SCSI_BLOCK_BYTES, durable(task));
}

static int pattern_next(struct scsi_task *task, struct scsi_steps *s)
{
	uint64_t left = s->end - s->at, most = SCSI_STEP_BYTES / SCSI_BLOCK_BYTES;
	uint64_t blocks = left < most ? left : most;

	if (blocks == 0)
		return 0;
	s->at += blocks;
	return scsi_steps_io(
		task, STORE_WRITE, s->at - blocks, s->buf, blocks * SCSI_BLOCK_BYTES, durable(task));
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

void scsi_write_same(struct scsi_task *task)
{
	struct scsi_steps *s;
	bool zeros;

	if (task->data_in_hand < task->data_len) {
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
		scsi_task_finish(task);
		return;
	}
	zeros = all_zero(task->data, task->data_len);
	s = scsi_steps_begin(task, !zeros, zeros ? zero_next : pattern_next);
	if (!s)
		return;
	s->at = task->lba;
	s->end = task->lba + task->blocks;
	if (!zeros)
		for (uint32_t off = 0; off < SCSI_STEP_BYTES; off += SCSI_BLOCK_BYTES)
			memcpy(s->buf + off, task->data, SCSI_BLOCK_BYTES);
	scsi_steps_run(task);
}

/* ---- GET LBA STATUS ------------------------------------------------------------------------------------ */

/* The store does not tell yet what is mapped: everything from the LBA on counts as mapped or unknown. */
void scsi_get_lba_status(struct scsi_task *task)
{
	uint64_t capacity = scsi_lun_blocks(task->lun_held);
	struct scsi_reply r = scsi_reply_begin(task);

	if (task->lba >= capacity) {
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_LBA_RANGE);
		scsi_task_finish(task);
		return;
	}
	uint64_t blocks = capacity - task->lba;
	scsi_reply_be32(&r, 20);
	scsi_reply_be32(&r, 0);
	scsi_reply_be64(&r, task->lba);
	scsi_reply_be32(&r, blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)blocks);
	scsi_reply_u8(&r, 0); /* mapped or unknown */
	scsi_reply_zero(&r, 3);
	scsi_reply_end(task, &r);
}
