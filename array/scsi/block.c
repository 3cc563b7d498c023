/* SPDX-License-Identifier: Apache-2.0 */
/*
 * READ, WRITE, SYNCHRONIZE CACHE, PRE-FETCH, COMPARE AND WRITE (SBC-3 5). At most one I/O each.
 *
 * The cache is volatile and honest: with WCE a WRITE is durable after FUA or SYNCHRONIZE CACHE; without,
 * every WRITE is. DPO is a hint and ignored. FUA on READ needs nothing: a read sees the newest data. A write
 * of which the initiator sent less than its CDB says (iSCSI residual overflow) writes the whole blocks that
 * came.
 */
#include "array/scsi/bounds.h"
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/lun.h"
#include "array/scsi/task.h"

static unsigned write_flags(const struct scsi_task *task, bool fua)
{
	return fua || !scsi_lun_of(task)->mode.wce ? STORE_IO_FUA : 0;
}

static bool cdb_fua(const struct scsi_task *task)
{
	return task->command->cdb_len > 6 && (task->cdb[1] & 0x08);
}

void scsi_read(struct scsi_task *task)
{
	if (task->blocks == 0)
		scsi_task_finish(task);
	else
		scsi_task_io(task, STORE_READ, task->lba * SCSI_BLOCK_BYTES, task->data_len, 0);
}

void scsi_write(struct scsi_task *task)
{
	uint32_t len = task->data_in_hand / SCSI_BLOCK_BYTES * SCSI_BLOCK_BYTES;

	if (len == 0)
		scsi_task_finish(task);
	else
		scsi_task_io(task, STORE_WRITE, task->lba * SCSI_BLOCK_BYTES, len,
			write_flags(task, cdb_fua(task)));
}

/* The whole LUN's cache is flushed, whatever the range; IMMED is allowed to be slow. */
void scsi_synchronize(struct scsi_task *task)
{
	scsi_task_io(task, STORE_FLUSH, 0, 0, 0);
}

/* A hint that is ignored: GOOD says that not all of it is in the cache. */
void scsi_prefetch(struct scsi_task *task)
{
	scsi_task_finish(task);
}

bool scsi_compare_write_parse(struct scsi_task *task)
{
	task->data_len = (uint32_t)task->blocks * SCSI_BLOCK_BYTES * 2;
	return true;
}

void scsi_compare_write(struct scsi_task *task)
{
	if (task->blocks == 0)
		scsi_task_finish(task);
	else
		scsi_task_io(task, STORE_COMPARE_WRITE, task->lba * SCSI_BLOCK_BYTES,
			task->blocks * SCSI_BLOCK_BYTES, write_flags(task, cdb_fua(task)));
}
