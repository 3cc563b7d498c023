/* SPDX-License-Identifier: Apache-2.0 */
/* See writer.h: a LUN through libiscsi. */
#include "lab/writers/writer.h"

#include <stdio.h>
#include <string.h>

#define RETRIES     5
#define CHUNK_BYTES 65536

bool task_wants_retry(const struct scsi_task *task, int status)
{
	return status == SCSI_STATUS_BUSY || status == SCSI_STATUS_TASK_SET_FULL ||
	       (status == SCSI_STATUS_CHECK_CONDITION && task &&
		       task->sense.key == SCSI_SENSE_UNIT_ATTENTION);
}

static bool read_capacity(struct lun *l)
{
	for (int i = 0; i < RETRIES; i++) {
		struct scsi_task *task = iscsi_readcapacity16_sync(l->iscsi, l->number);
		if (task && task->status == SCSI_STATUS_GOOD) {
			struct scsi_readcapacity16 *rc = scsi_datain_unmarshall(task);
			if (rc) {
				l->block_bytes = rc->block_length;
				l->blocks = rc->returned_lba + 1;
			}
			scsi_free_scsi_task(task);
			return l->block_bytes >= 512 && RECORD_BYTES % l->block_bytes == 0;
		}
		bool again = task && task_wants_retry(task, task->status);
		if (task)
			scsi_free_scsi_task(task);
		if (!again)
			break;
	}
	return false;
}

/* By it the hold broker knows which LUNs a writer writes to. */
static void read_serial(struct lun *l)
{
	size_t len = 0;
	struct scsi_task *task = NULL;
	for (int i = 0; i < RETRIES; i++) {
		task = iscsi_inquiry_sync(l->iscsi, l->number, 1, 0x80, 255);
		if (!task || task->status == SCSI_STATUS_GOOD || !task_wants_retry(task, task->status))
			break;
		scsi_free_scsi_task(task);
		task = NULL;
	}
	for (int i = 4; task && task->status == SCSI_STATUS_GOOD && i < task->datain.size &&
			i < 4 + task->datain.data[3];
		i++)
		if (task->datain.data[i] > ' ' && task->datain.data[i] < 0x7F && len + 1 < sizeof l->serial)
			l->serial[len++] = (char)task->datain.data[i];
	if (!len)
		l->serial[len++] = '-';
	l->serial[len] = 0;
	if (task)
		scsi_free_scsi_task(task);
}

bool lun_open(struct lun *l, const char *url, const char *initiator)
{
	memset(l, 0, sizeof *l);
	l->iscsi = iscsi_create_context(initiator);
	if (!l->iscsi) {
		fprintf(stderr, "umbra-lab-writer: out of memory\n");
		return false;
	}
	struct iscsi_url *u = iscsi_parse_full_url(l->iscsi, url);
	if (!u) {
		fprintf(stderr, "umbra-lab-writer: %s: %s\n", url, iscsi_get_error(l->iscsi));
		return false;
	}
	iscsi_set_targetname(l->iscsi, u->target);
	iscsi_set_session_type(l->iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(l->iscsi, ISCSI_HEADER_DIGEST_NONE_CRC32C);
	if (u->user[0])
		iscsi_set_initiator_username_pwd(l->iscsi, u->user, u->passwd);
	l->number = u->lun;
	bool good = iscsi_full_connect_sync(l->iscsi, u->portal, u->lun) == 0;
	if (!good)
		fprintf(stderr, "umbra-lab-writer: LUN %d at %s: %s\n", u->lun, u->portal,
			iscsi_get_error(l->iscsi));
	iscsi_destroy_url(u);
	if (good && !read_capacity(l)) {
		fprintf(stderr, "umbra-lab-writer: LUN %d gives no usable capacity: %s\n", l->number,
			iscsi_get_error(l->iscsi));
		good = false;
	}
	if (good)
		read_serial(l);
	return good;
}

void lun_close(struct lun *l)
{
	if (!l->iscsi)
		return;
	if (iscsi_is_logged_in(l->iscsi))
		iscsi_logout_sync(l->iscsi);
	iscsi_destroy_context(l->iscsi);
	l->iscsi = NULL;
}

static bool read_chunk(struct lun *l, uint64_t offset_bytes, uint8_t *buf, uint32_t bytes)
{
	for (int i = 0; i < RETRIES; i++) {
		struct scsi_task *task = iscsi_read16_sync(l->iscsi, l->number, offset_bytes / l->block_bytes,
			bytes, (int)l->block_bytes, 0, 0, 0, 0, 0);
		if (!task)
			break;
		bool again = task_wants_retry(task, task->status);
		bool good = task->status == SCSI_STATUS_GOOD && task->datain.size == (int)bytes;
		if (good)
			memcpy(buf, task->datain.data, bytes);
		scsi_free_scsi_task(task);
		if (good)
			return true;
		if (!again)
			break;
	}
	fprintf(stderr, "umbra-lab-writer: reading LUN %d at %llu failed: %s\n", l->number,
		(unsigned long long)offset_bytes, iscsi_get_error(l->iscsi));
	return false;
}

bool lun_read(struct lun *l, uint64_t offset_bytes, uint8_t *buf, size_t bytes)
{
	while (bytes > 0) {
		uint32_t n = bytes < CHUNK_BYTES ? (uint32_t)bytes : CHUNK_BYTES;
		if (!read_chunk(l, offset_bytes, buf, n))
			return false;
		offset_bytes += n;
		buf += n;
		bytes -= n;
	}
	return true;
}
