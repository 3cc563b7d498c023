/* SPDX-License-Identifier: Apache-2.0 */
/* Replies to the initiator. */
#ifndef UMBRA_SCSI_REPLY_H
#define UMBRA_SCSI_REPLY_H

#include "array/scsi/scsi.h"

/* A reply that is built front to back; what does not fit is counted and dropped. */
struct scsi_reply {
	uint8_t *buf;
	size_t cap, len;
};
struct scsi_reply scsi_reply_begin(struct scsi_task *task);
void scsi_reply_put(struct scsi_reply *r, const void *bytes, size_t len);
void scsi_reply_zero(struct scsi_reply *r, size_t len);
void scsi_reply_u8(struct scsi_reply *r, uint8_t v);
void scsi_reply_be16(struct scsi_reply *r, uint16_t v);
void scsi_reply_be32(struct scsi_reply *r, uint32_t v);
void scsi_reply_be64(struct scsi_reply *r, uint64_t v);
/* Overwrites bytes put before, as far as they fit. */
void scsi_reply_patch(struct scsi_reply *r, size_t at, uint32_t value, unsigned bytes);
void scsi_reply_end(struct scsi_task *task, const struct scsi_reply *r); /* finishes the task */

#endif
