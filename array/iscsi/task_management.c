/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Task management (RFC 7143 11.5). Tasks whose data is still arriving are dropped here. Those in the SCSI layer are
 * aborted by scsi_tmf(), which also tells other sessions of their tasks (iscsi_task_aborted). The answer is queued
 * behind the responses of tasks that ended before.
 *
 * A function on more than one task goes by RFC 7143 4.2.3.3:
 * - It begins when all requests with a lower CmdSN have come. One on the whole target does not wait: what has not come
 *   counts as received.
 * - It is answered when the data has come that this session's tasks had asked for. Some initiators send none after a
 *   reset, so the wait ends after a while of silence.
 * - Data that comes later still, or for a single task that was aborted, is known by its target transfer tag and thrown
 *   away.
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
	struct list_node link; /* conn->managements, by arrival */
	uint8_t bhs[ISCSI_BHS_BYTES];
	bool begun, over;
	enum scsi_tmf_result result; /* when over */
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

static void management_free(struct management *m)
{
	list_remove(&m->link);
	m->conn->managing--;
	free(m);
}

static void finish(struct management *m)
{
	static const uint8_t responses[] = {
		[SCSI_TMF_COMPLETE] = RESPONSE_COMPLETE,
		[SCSI_TMF_NO_TASK] = RESPONSE_NO_TASK,
		[SCSI_TMF_NO_LUN] = RESPONSE_NO_LUN,
		[SCSI_TMF_UNSUPPORTED] = RESPONSE_UNSUPPORTED,
		[SCSI_TMF_REJECTED] = RESPONSE_REJECTED,
	};
	struct iscsi_conn *c = m->conn;
	uint32_t itt = get_be32(m->bhs + ISCSI_AT_ITT);
	bool cold = m->call.function == SCSI_TARGET_COLD_RESET;
	enum scsi_tmf_result result = m->result;

	management_free(m);
	if (cold && result == SCSI_TMF_COMPLETE)
		end_all(c, itt);
	else
		answer(c, itt, responses[result]);
}

static void management_done(struct scsi_tmf_call *call, enum scsi_tmf_result result)
{
	struct management *m = container_of(call, struct management, call);

	m->over = true;
	m->result = result;
	if (m->conn->state == ISCSI_CONN_FULL)
		iscsi_management_check(m->conn);
	else
		iscsi_conn_check_end(m->conn); /* which drops it */
}

/* This session's own tasks: those of others are told by the SCSI layer. lun NULL: of all LUNs. Later commands
 * than the function are none of its business. */
static void drop_collecting(struct iscsi_conn *c, uint32_t cmdsn, const uint8_t *lun)
{
	list_for_each_safe (n, &c->tasks) {
		struct iscsi_task *t = container_of(n, struct iscsi_task, link);

		if (!iscsi_task_collecting(t) || (t->held && !iscsi_sn_lt(t->held->cmdsn, cmdsn)))
			continue;
		if (!lun || memcmp(t->scsi.lun, lun, sizeof(t->scsi.lun)) == 0)
			iscsi_task_drain(t);
	}
}

static bool on_target(enum scsi_tmf function)
{
	return function == SCSI_TARGET_WARM_RESET || function == SCSI_TARGET_COLD_RESET;
}

static bool on_many(enum scsi_tmf function)
{
	return function != SCSI_ABORT_TASK && function != SCSI_CLEAR_ACA;
}

/* Are there requests before it that have not come? */
static bool is_ahead(const struct iscsi_conn *c, uint32_t cmdsn)
{
	return iscsi_sn_lt(c->expcmdsn, cmdsn) && iscsi_sn_le(cmdsn, c->maxcmdsn + 1);
}

static void begin(struct management *m)
{
	struct iscsi_conn *c = m->conn;
	uint32_t cmdsn = get_be32(m->bhs + ISCSI_AT_CMDSN);
	bool all = on_target(m->call.function);

	m->begun = true;
	if (on_many(m->call.function))
		drop_collecting(c, cmdsn, all ? NULL : m->call.lun);
	for (uint32_t sn = c->expcmdsn; all && is_ahead(c, cmdsn) && sn != cmdsn; sn++)
		iscsi_cmdsn_give_up(c, sn);
	if (!iscsi_conn_open(c)) { /* one of the requests before it was a logout */
		management_free(m);
		iscsi_conn_check_end(c);
		return;
	}
	scsi_tmf(&m->call);
}

void iscsi_management_check(struct iscsi_conn *c)
{
	struct list_node *n = c->managements.head.next;

	while (n != &c->managements.head && c->state == ISCSI_CONN_FULL) {
		struct management *m = container_of(n, struct management, link);
		bool many = on_many(m->call.function), target = on_target(m->call.function);

		n = n->next;
		if (!m->begun && (!many || target || !is_ahead(c, get_be32(m->bhs + ISCSI_AT_CMDSN))))
			begin(m);
		else if (m->over && (!many || c->draining == 0))
			finish(m);
		else
			continue;
		n = c->managements.head.next; /* others may have gone meanwhile */
	}
}

void iscsi_management_rehome(struct iscsi_conn *c)
{
	list_for_each (n, &c->managements) {
		struct management *m = container_of(n, struct management, link);

		if (!m->begun)
			m->call.nexus = c->nexus;
	}
}

void iscsi_management_drop(struct iscsi_conn *c)
{
	list_for_each_safe (n, &c->managements) {
		struct management *m = container_of(n, struct management, link);

		if (!m->begun || m->over)
			management_free(m);
	}
}

static void start(struct iscsi_conn *c, enum scsi_tmf function, const uint8_t *bhs)
{
	struct management *m = calloc(1, sizeof(*m));

	if (!m) {
		answer(c, get_be32(bhs + ISCSI_AT_ITT), RESPONSE_REJECTED);
		return;
	}
	m->conn = c;
	memcpy(m->bhs, bhs, ISCSI_BHS_BYTES);
	m->call.function = function;
	m->call.nexus = c->nexus;
	m->call.tag = get_be32(bhs + ISCSI_AT_REFERENCED_TAG);
	m->call.done = management_done;
	memcpy(m->call.lun, bhs + ISCSI_AT_LUN, sizeof(m->call.lun));
	list_push_back(&c->managements, &m->link);
	c->managing++;
	iscsi_management_check(c);
}

static void abort_task(struct iscsi_conn *c, const uint8_t *bhs)
{
	uint32_t itt = get_be32(bhs + ISCSI_AT_ITT), ref_cmdsn = get_be32(bhs + ISCSI_AT_REF_CMDSN);
	struct iscsi_task *t = iscsi_task_find(c, get_be32(bhs + ISCSI_AT_REFERENCED_TAG));

	if (t && iscsi_task_collecting(t)) {
		iscsi_task_drop(t);
		answer(c, itt, RESPONSE_COMPLETE);
		iscsi_management_check(c); /* it may have been the last one that drained */
	} else if (t && t->state == ISCSI_TASK_RUNNING) {
		start(c, SCSI_ABORT_TASK, bhs);
	} else if (!t && iscsi_sn_lt(ref_cmdsn, get_be32(bhs + ISCSI_AT_CMDSN)) &&
		   iscsi_cmdsn_give_up(c, ref_cmdsn)) {
		/* A command that never came: its CmdSN counts as received (RFC 7143 11.5.1). */
		answer(c, itt, RESPONSE_COMPLETE);
	} else {
		answer(c, itt, RESPONSE_NO_TASK);
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
	case SCSI_CLEAR_ACA:
	case SCSI_CLEAR_TASK_SET:
	case SCSI_LUN_RESET:
	case SCSI_TARGET_WARM_RESET:
	case SCSI_TARGET_COLD_RESET:
		start(c, (enum scsi_tmf)function, bhs);
		break;
	case FUNCTION_TASK_REASSIGN:
		answer(c, itt, RESPONSE_NO_REASSIGN);
		break;
	default:
		answer(c, itt, RESPONSE_REJECTED);
	}
}
