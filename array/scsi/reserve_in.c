/* SPDX-License-Identifier: Apache-2.0 */
/* PERSISTENT RESERVE IN (SPC-4 6.15). */
#include "array/scsi/commands.h"
#include "array/scsi/lun.h"
#include "array/scsi/reply.h"
#include "array/scsi/reserve.h"

#include <stdio.h>
#include <string.h>

void scsi_pr_in_keys(struct scsi_task *task)
{
	const struct scsi_lun *s = scsi_lun_of(task);
	struct scsi_reply r = scsi_reply_begin(task);

	scsi_reply_be32(&r, s->pr_generation);
	scsi_reply_be32(&r, 8 * s->registrant_count);
	list_for_each (node, &s->registrants)
		scsi_reply_be64(&r, container_of(node, struct scsi_registrant, link)->key);
	scsi_reply_end(task, &r);
}

void scsi_pr_in_reservation(struct scsi_task *task)
{
	const struct scsi_lun *s = scsi_lun_of(task);
	struct scsi_reply r = scsi_reply_begin(task);

	scsi_reply_be32(&r, s->pr_generation);
	scsi_reply_be32(&r, s->pr_type ? 16 : 0);
	if (s->pr_type) {
		scsi_reply_be64(&r, s->pr_holder ? s->pr_holder->key : 0);
		scsi_reply_zero(&r, 5);
		scsi_reply_u8(&r, s->pr_type); /* scope: logical unit */
		scsi_reply_zero(&r, 2);
	}
	scsi_reply_end(task, &r);
}

void scsi_pr_in_capabilities(struct scsi_task *task)
{
	struct scsi_reply r = scsi_reply_begin(task);

	scsi_reply_be16(&r, 8);
	scsi_reply_u8(&r, 0x0D);                              /* SIP_C, ATP_C, PTPL_C; no CRH */
	scsi_reply_u8(&r, 0x80 | scsi_lun_of(task)->pr_kept); /* TMV, PTPL_A */
	scsi_reply_be16(&r, 0xEA01);                          /* all six types */
	scsi_reply_be16(&r, 0);
	scsi_reply_end(task, &r);
}

/* SPC-4 7.6.4.6: an iSCSI initiator port */
static void transport_id(const struct scsi_registrant *reg, struct scsi_reply *r)
{
	const uint8_t *isid = reg->name.isid;
	char name[UP_NAME_MAX_BYTES + 32];
	int len = snprintf(name, sizeof(name), "%s,i,0x%02x%02x%02x%02x%02x%02x", reg->name.initiator,
		isid[0], isid[1], isid[2], isid[3], isid[4], isid[5]);
	size_t padded = ((size_t)len + 1 + 3) & ~(size_t)3;

	if (padded < 20)
		padded = 20;
	scsi_reply_u8(r, 0x45); /* format 01b, protocol iSCSI */
	scsi_reply_u8(r, 0);
	scsi_reply_be16(r, (uint16_t)padded);
	scsi_reply_put(r, name, (size_t)len);
	scsi_reply_zero(r, padded - (size_t)len);
}

void scsi_pr_in_full_status(struct scsi_task *task)
{
	const struct scsi_lun *s = scsi_lun_of(task);
	struct scsi_reply r = scsi_reply_begin(task);

	scsi_reply_be32(&r, s->pr_generation);
	scsi_reply_be32(&r, 0);
	list_for_each (node, &s->registrants) {
		struct scsi_registrant *reg = container_of(node, struct scsi_registrant, link);
		bool holds = scsi_reserve_holds(s, reg);
		size_t length_at;

		scsi_reply_be64(&r, reg->key);
		scsi_reply_zero(&r, 4);
		scsi_reply_u8(&r, holds ? 0x01 : 0); /* R_HOLDER */
		scsi_reply_u8(&r, holds ? s->pr_type : 0);
		scsi_reply_zero(&r, 4);
		scsi_reply_be16(&r, reg->name.port);
		length_at = r.len;
		scsi_reply_be32(&r, 0);
		transport_id(reg, &r);
		scsi_reply_patch(&r, length_at, (uint32_t)(r.len - length_at - 4), 4);
	}
	scsi_reply_patch(&r, 4, (uint32_t)(r.len - 8), 4);
	scsi_reply_end(task, &r);
}
