/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PERSISTENT RESERVE OUT's REGISTER AND MOVE (SPC-4 5.13.8): the holder gives its reservation to another I_T
 * nexus, which it registers, if need be, on the way.
 */
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sense.h"
#include "array/util/bytes.h"

#include <string.h>
#include <strings.h>

#define MOVE_UNREG 0x02 /* byte 17 */
#define MOVE_APTPL 0x01

/* The nexus that is to hold from now on. */
static bool read_destination(struct scsi_task *task, struct scsi_nexus_name *out)
{
	const uint8_t *p = task->data, *at = p + PR_LIST_BYTES;
	size_t len = task->data_len - PR_LIST_BYTES;
	uint16_t port = get_be16(p + 18);
	struct scsi_nexus_name own;
	bool has_isid;

	if (get_be32(p + 20) != len)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	if (!scsi_target_has_port(task->nexus->target, port))
		return scsi_fail_parameter(task, 18);
	if (!scsi_pr_transport_id(&at, &len, out, &has_isid) || !has_isid || len > 0)
		return scsi_fail_parameter(task, PR_LIST_BYTES);
	scsi_reserve_name(task->nexus, &own);
	if (memcmp(out->isid, own.isid, sizeof(own.isid)) == 0 &&
		strcasecmp(out->initiator, own.initiator) == 0)
		return scsi_fail_parameter(task, PR_LIST_BYTES);
	out->port = port;
	return true;
}

bool scsi_pr_move(struct scsi_task *task, struct scsi_lun *s, const struct scsi_pr_request *q)
{
	struct scsi_registrant *to;
	struct scsi_nexus_name name;

	if (s->pr_type && scsi_reserve_all_registrants(s->pr_type))
		return scsi_conflict(task);
	if (!scsi_reserve_holds(s, q->self))
		return scsi_fail_cdb(task, 1);
	if (q->action_key == 0)
		return scsi_fail_parameter(task, 8);
	if (!read_destination(task, &name))
		return false;
	to = scsi_reserve_find_name(s, &name);
	if (!to) {
		to = scsi_pr_registrant_new(task, &name, q->action_key);
		if (!to)
			return false;
		list_push_back(&s->registrants, &to->link);
		s->registrant_count++;
	}
	to->key = q->action_key;
	s->pr_holder = to;
	s->pr_kept = task->data[17] & MOVE_APTPL;
	if (task->data[17] & MOVE_UNREG)
		scsi_reserve_unregister(task, s, q->self);
	s->pr_generation++;
	return true;
}
