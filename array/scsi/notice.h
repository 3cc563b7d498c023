/* SPDX-License-Identifier: Apache-2.0 */
/* Unit attentions for nexuses of the other controller, which outlive this one. */
#ifndef UMBRA_SCSI_NOTICE_H
#define UMBRA_SCSI_NOTICE_H

#include "array/scsi/attention.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"

/* The owner's: a nexus with that name has to be told. The caller makes the LUN's reservations durable then, and the notice with
 * them. False: the port is this controller's, or there is no other one; the nexus is to be told here, if it lives. */
bool scsi_notice_leave(
	struct scsi_target *t, struct lun *lun, const struct scsi_nexus_name *name, enum scsi_attention what);
/* For every nexus that sees the LUN but `except` (may be NULL): here, or left for it as above if one stands for it here. */
void scsi_notice_others(
	struct scsi_target *t, struct lun *lun, const struct scsi_nexus *except, enum scsi_attention what);
/* What was left for n on the LUN becomes its attentions. */
void scsi_notice_hand(struct scsi_nexus *n, struct lun *lun, uint32_t number);
/* n, which stands for one of the other controller, goes. lost: so has that one, and is to be told nothing any more. */
void scsi_notice_nexus_gone(const struct scsi_nexus *n, bool lost);
/* The target is the owner's from now on, and its nexuses were handed what is theirs: what was left for others of its ports goes. */
void scsi_notices_begin(struct scsi_target *t);
/* What has been told is so on record. */
void scsi_notices_settle(struct scsi_target *t);
void scsi_notices_end(struct scsi_target *t);

/* As a LUN's record has them (reserve_keep.c). */
size_t scsi_notices_pack(const struct scsi_lun *s, uint8_t *p);
/* Bytes read; 0: they do not read, or no memory. */
size_t scsi_notices_unpack(struct scsi_lun *s, const uint8_t *p, size_t len);
/* The oldest go until what is left fits. */
void scsi_notices_fit(struct scsi_lun *s, size_t room);
void scsi_notices_free(struct scsi_lun *s);

#endif
