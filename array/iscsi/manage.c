/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Task management (RFC 7143 11.5). Tasks whose data is still arriving are dropped here, those in the SCSI
 * layer by scsi_tmf(), which tells of those of other sessions (iscsi_task_aborted). The answer is queued behind the
 * responses of tasks that ended before. Data that was asked for and not sent yet is not waited for, as RFC 7143 4.2.3.3
 * would have it: there are initiators that never send it after an abort. What comes all the same is thrown away.
 */
#include "array/iscsi/internal.h"

#include <stdlib.h>
#include <string.h>

enum {
	FUNCTION_TASK_REASSIGN = 8,
};

enum {
	RESPONSE_COMPLETE = 0,
	RESPONSE_NO_TASK = 1,
	RESPONSE_NO_LUN = 2,
	RESPONSE_NO_REASSIGN = 4,
	RESPONSE_UNSUPPORTED = 5,
	RESPONSE_REJECTED = 255,
};

struct management {
	struct scsi_tmf_call call;
	struct iscsi_conn *conn;
	uint32_t itt;
};

static void answer(struct iscsi_conn *c, uint32_t itt, uint8_t response)
{
	struct iscsi_small *s = iscsi_small_new(c, ISCSI_TASK_MANAGEMENT_RESPONSE, ISCSI_FINAL, itt, 0);

	if (!s)
		return;
	s->bhs[2] = response;
	iscsi_small_send(c, s);
}

/* All sessions end (RFC 7143 11.5.1); the one that asked after its answer. */
static void end_all(struct iscsi_conn *asker, uint32_t itt)
{
	struct iscsi_small *s = iscsi_small_new(asker, ISCSI_TASK_MANAGEMENT_RESPONSE, ISCSI_FINAL, itt, 0);

	if (s)
		iscsi_small_send_last(asker, s);
	list_for_each (n, &asker->server->conns) {
		struct iscsi_conn *c = container_of(n, struct iscsi_conn, link);

		if (c != asker)
			iscsi_conn_kill(c, "another initiator reset the target");
	}
}

static void management_done(struct scsi_tmf_call *call, enum scsi_tmf_result result)
{
	static const uint8_t responses[] = {
		[SCSI_TMF_COMPLETE] = RESPONSE_COMPLETE,
		[SCSI_TMF_NO_TASK] = RESPONSE_NO_TASK,
		[SCSI_TMF_NO_LUN] = RESPONSE_NO_LUN,
		[SCSI_TMF_UNSUPPORTED] = RESPONSE_UNSUPPORTED,
		[SCSI_TMF_REJECTED] = RESPONSE_REJECTED,
	};
	struct management *m = container_of(call, struct management, call);
	struct iscsi_conn *c = m->conn;

	c->managing--;
	if (c->state == ISCSI_CONN_FULL) {
		if (call->function == SCSI_TARGET_COLD_RESET && result == SCSI_TMF_COMPLETE)
			end_all(c, m->itt);
		else
			answer(c, m->itt, responses[result]);
	} else {
		iscsi_conn_check_end(c);
	}
	free(m);
}

static void start(struct iscsi_conn *c, enum scsi_tmf function, const uint8_t *bhs)
{
	struct management *m = calloc(1, sizeof(*m));

	if (!m) {
		answer(c, get_be32(bhs + ISCSI_AT_ITT), RESPONSE_REJECTED);
		return;
	}
	m->conn = c;
	m->itt = get_be32(bhs + ISCSI_AT_ITT);
	m->call.function = function;
	m->call.nexus = c->nexus;
	m->call.tag = get_be32(bhs + ISCSI_AT_REFERENCED_TAG);
	m->call.done = management_done;
	memcpy(m->call.lun, bhs + ISCSI_AT_LUN, sizeof(m->call.lun));
	c->managing++;
	scsi_tmf(&m->call);
}

static void abort_task(struct iscsi_conn *c, const uint8_t *bhs)
{
	uint32_t itt = get_be32(bhs + ISCSI_AT_ITT), ref_cmdsn = get_be32(bhs + ISCSI_AT_REF_CMDSN);
	struct iscsi_task *t = iscsi_task_find(c, get_be32(bhs + ISCSI_AT_REFERENCED_TAG));

	if (t && iscsi_task_collecting(t)) {
		iscsi_task_drop(t);
		answer(c, itt, RESPONSE_COMPLETE);
	} else if (t && t->state == ISCSI_TASK_RUNNING) {
		start(c, SCSI_ABORT_TASK, bhs);
	} else if (!t && iscsi_sn_lt(ref_cmdsn, get_be32(bhs + ISCSI_AT_CMDSN)) &&
		   iscsi_order_give_up(c, ref_cmdsn)) {
		/* A command that never came: its CmdSN counts as received (RFC 7143 11.5.1). */
		answer(c, itt, RESPONSE_COMPLETE);
	} else {
		answer(c, itt, RESPONSE_NO_TASK);
	}
}

/* This session's own tasks: those of others are told by the SCSI layer. lun NULL: of all LUNs. Later commands
 * than the function are none of its business. */
static void drop_collecting(struct iscsi_conn *c, const uint8_t *bhs, const uint8_t *lun)
{
	uint32_t cmdsn = get_be32(bhs + ISCSI_AT_CMDSN);

	list_for_each_safe (n, &c->tasks) {
		struct iscsi_task *t = container_of(n, struct iscsi_task, link);

		if (!iscsi_task_collecting(t) || (t->held && !iscsi_sn_lt(t->held->cmdsn, cmdsn)))
			continue;
		if (!lun || memcmp(t->scsi.lun, lun, sizeof(t->scsi.lun)) == 0)
			iscsi_task_drop(t);
	}
}

void iscsi_management(struct iscsi_conn *c, const uint8_t *bhs)
{
	uint8_t function = bhs[1] & 0x7f;
	uint32_t itt = get_be32(bhs + ISCSI_AT_ITT);

	if (c->managing >= ISCSI_MANAGEMENT_MAX || c->revoked) {
		answer(c, itt, RESPONSE_REJECTED);
		return;
	}
	switch (function) {
	case SCSI_ABORT_TASK:
		abort_task(c, bhs);
		break;
	case SCSI_ABORT_TASK_SET:
	case SCSI_CLEAR_TASK_SET:
	case SCSI_LUN_RESET:
		drop_collecting(c, bhs, bhs + ISCSI_AT_LUN);
		start(c, (enum scsi_tmf)function, bhs);
		break;
	case SCSI_TARGET_WARM_RESET:
	case SCSI_TARGET_COLD_RESET:
		drop_collecting(c, bhs, NULL);
		start(c, (enum scsi_tmf)function, bhs);
		break;
	case SCSI_CLEAR_ACA:
		start(c, SCSI_CLEAR_ACA, bhs);
		break;
	case FUNCTION_TASK_REASSIGN:
		answer(c, itt, RESPONSE_NO_REASSIGN);
		break;
	default:
		answer(c, itt, RESPONSE_REJECTED);
	}
}
