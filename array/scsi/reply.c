/* SPDX-License-Identifier: Apache-2.0 */
/* A reply that is built front to back in the task's data. */
#include "array/scsi/reply.h"
#include "array/scsi/task.h"
#include "array/util/bytes.h"

#include <string.h>

struct scsi_reply scsi_reply_begin(struct scsi_task *task)
{
	return (struct scsi_reply){.buf = task->data, .cap = task->data ? task->data_len : 0};
}

void scsi_reply_put(struct scsi_reply *r, const void *bytes, size_t len)
{
	if (r->len < r->cap)
		memcpy(r->buf + r->len, bytes, len < r->cap - r->len ? len : r->cap - r->len);
	r->len += len;
}

void scsi_reply_zero(struct scsi_reply *r, size_t len)
{
	if (r->len < r->cap)
		memset(r->buf + r->len, 0, len < r->cap - r->len ? len : r->cap - r->len);
	r->len += len;
}

void scsi_reply_u8(struct scsi_reply *r, uint8_t v)
{
	scsi_reply_put(r, &v, 1);
}

void scsi_reply_be16(struct scsi_reply *r, uint16_t v)
{
	uint8_t b[2];

	put_be16(b, v);
	scsi_reply_put(r, b, sizeof(b));
}

void scsi_reply_be32(struct scsi_reply *r, uint32_t v)
{
	uint8_t b[4];

	put_be32(b, v);
	scsi_reply_put(r, b, sizeof(b));
}

void scsi_reply_be64(struct scsi_reply *r, uint64_t v)
{
	uint8_t b[8];

	put_be64(b, v);
	scsi_reply_put(r, b, sizeof(b));
}

void scsi_reply_patch(struct scsi_reply *r, size_t at, uint32_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		if (at + i < r->cap)
			r->buf[at + i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

void scsi_reply_end(struct scsi_task *task, const struct scsi_reply *r)
{
	task->data_len = (uint32_t)(r->len < r->cap ? r->len : r->cap);
	scsi_task_finish(task);
}
