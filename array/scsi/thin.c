/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thin provisioning: UNMAP, WRITE SAME, GET LBA STATUS (SBC-3 5.6, 5.28, 5.43). LBPRZ: what is unmapped reads
 * as zeros, so a WRITE SAME of zeros, with or without its UNMAP bit, becomes an unmap.
 */
#include "array/scsi/bounds.h"
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/lun.h"
#include "array/scsi/sense.h"
#include "array/scsi/steps.h"
#include "array/scsi/task.h"
#include "array/util/bytes.h"

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
	/* WSNZ is set; ANCHOR and the obsolete bits are not in the usage mask. */
	if (task->blocks == 0 || task->blocks > SCSI_WRITE_SAME_BLOCKS_MAX)
		return scsi_fail_cdb(task, scsi_command_length_at(task->command));
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

#define STATUS_HEADER_BYTES     8u
#define STATUS_DESCRIPTOR_BYTES 16u
#define STATUS_QUESTIONS_MAX    64u /* to the store; an answer may be shorter than the LUN */
#define STATUS_DEALLOCATED      1u

static uint32_t status_room(const struct scsi_task *task)
{
	if (task->data_len < STATUS_HEADER_BYTES + STATUS_DESCRIPTOR_BYTES)
		return 1;
	return (task->data_len - STATUS_HEADER_BYTES) / STATUS_DESCRIPTOR_BYTES;
}

static void put_bounded(struct scsi_task *task, uint32_t at, const uint8_t *bytes, uint32_t len)
{
	if (at < task->data_len)
		memcpy(task->data + at, bytes, len < task->data_len - at ? len : task->data_len - at);
}

/* The run that has just grown or begun, in its place. */
static void put_run(struct scsi_task *task, const struct scsi_steps *s)
{
	uint8_t d[STATUS_DESCRIPTOR_BYTES] = {0};

	put_be64(d, s->run_at);
	put_be32(d + 8, s->run_blocks);
	d[12] = s->run_mapped ? 0 : STATUS_DEALLOCATED;
	put_bounded(task, STATUS_HEADER_BYTES + (s->index - 1) * STATUS_DESCRIPTOR_BYTES, d, sizeof(d));
}

/* Takes the store's answer. False: there is no room for another descriptor. */
static bool take_answer(struct scsi_task *task, struct scsi_steps *s)
{
	const struct store_io *io = &task->io.io;
	uint64_t blocks = io->run_bytes / SCSI_BLOCK_BYTES;

	if (blocks > UINT32_MAX)
		blocks = UINT32_MAX;
	if (s->index > 0 && s->run_mapped == io->mapped && blocks <= UINT32_MAX - s->run_blocks) {
		s->run_blocks += (uint32_t)blocks;
	} else {
		if (s->index == status_room(task))
			return false;
		s->index++;
		s->run_at = s->at;
		s->run_blocks = (uint32_t)blocks;
		s->run_mapped = io->mapped;
	}
	put_run(task, s);
	s->at += blocks;
	return true;
}

static int status_next(struct scsi_task *task, struct scsi_steps *s)
{
	uint8_t header[STATUS_HEADER_BYTES] = {0};
	uint32_t len;

	if ((s->gone == 0 || take_answer(task, s)) && s->at < s->end && s->gone++ < STATUS_QUESTIONS_MAX)
		return scsi_steps_io(task, STORE_MAPPED, s->at, NULL, (s->end - s->at) * SCSI_BLOCK_BYTES, 0);
	len = STATUS_HEADER_BYTES + s->index * STATUS_DESCRIPTOR_BYTES;
	put_be32(header, len - 4);
	put_bounded(task, 0, header, sizeof(header));
	if (len < task->data_len)
		task->data_len = len;
	return 0;
}

void scsi_get_lba_status(struct scsi_task *task)
{
	uint64_t capacity = scsi_lun_blocks(task->lun_held);
	struct scsi_steps *s;

	if (task->lba >= capacity) {
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_LBA_RANGE);
		scsi_task_finish(task);
		return;
	}
	s = scsi_steps_begin(task, false, status_next);
	if (!s)
		return;
	s->at = task->lba;
	s->end = capacity;
	scsi_steps_run(task);
}
