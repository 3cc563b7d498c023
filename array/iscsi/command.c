/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SCSI commands: from the Command PDU over its data to the response.
 *
 * A task is ARRIVING until its PDU is complete, then UNSOLICITED and SOLICITED while data is collected,
 * RUNNING in the SCSI layer, RESPONDING until its last PDU is sent. A task that cannot succeed any more while
 * its data still arrives is `over`: its status is set, data is thrown away, the response goes out when the
 * initiator has sent what it may send. Data comes in order (DataPDUInOrder, DataSequenceInOrder): `got` is
 * where the next byte belongs.
 */
#include "array/iscsi/internal.h"
#include "array/scsi/sense.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FREE_TASKS_MAX 1024

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static struct list *bucket(struct iscsi_conn *c, uint32_t itt)
{
	return &c->by_itt[(itt ^ itt >> 8 ^ itt >> 16) % ISCSI_ITT_BUCKETS];
}

struct iscsi_task *iscsi_task_find(struct iscsi_conn *c, uint32_t itt)
{
	list_for_each (n, bucket(c, itt)) {
		struct iscsi_task *t = container_of(n, struct iscsi_task, itt_link);

		if (t->itt == itt)
			return t;
	}
	return NULL;
}

/* ---- task memory ------------------------------------------------------------------------------------ */

static struct iscsi_task *task_new(struct iscsi_conn *c, uint32_t itt)
{
	struct iscsi_server *s = c->server;
	struct list_node *n = list_pop(&s->free_tasks);
	struct iscsi_task *t;

	if (n) {
		t = container_of(n, struct iscsi_task, link);
		s->free_task_count--;
		memset(t, 0, sizeof(*t));
	} else {
		t = calloc(1, sizeof(*t));
		if (!t)
			return NULL;
	}
	t->conn = c;
	t->itt = itt;
	list_push_back(&c->tasks, &t->link);
	list_push_back(bucket(c, itt), &t->itt_link);
	return t;
}

/* Its place in the CmdSN window is free again. */
static void uncount(struct iscsi_task *t)
{
	if (!t->counted)
		return;
	t->counted = false;
	if (t->immediate)
		t->conn->immediate_tasks--;
	else
		t->conn->ordered_tasks--;
}

static void put_buffer(struct iscsi_task *t)
{
	if (t->buffer_len)
		iscsi_conn_buffer_put(t->conn, t->scsi.data, t->buffer_len);
	t->scsi.data = NULL;
	t->buffer_len = 0;
}

void iscsi_task_free(struct iscsi_task *t)
{
	struct iscsi_server *s = t->conn->server;

	assert(!t->parsed && !list_linked(&t->out.link));
	uncount(t);
	if (t->draining)
		t->conn->draining--;
	if (t->held)
		t->held->task = NULL;
	put_buffer(t);
	list_remove(&t->itt_link);
	list_remove(&t->link);
	if (s->free_task_count == FREE_TASKS_MAX) {
		free(t);
		return;
	}
	s->free_task_count++;
	list_push_front(&s->free_tasks, &t->link);
}

bool iscsi_task_collecting(const struct iscsi_task *t)
{
	return t->state < ISCSI_TASK_RUNNING;
}

static void discard(struct iscsi_task *t)
{
	if (t->parsed)
		scsi_task_discard(&t->scsi);
	t->parsed = false;
}

static uint32_t ttt_at(const struct iscsi_task *t, unsigned i)
{
	return t->r2ts[(t->r2t_first + i) % ISCSI_R2T_MAX].ttt;
}

/* Its tag may be another task's before all data has come that was asked for: only the target transfer tag tells
 * that data from the other task's. */
void iscsi_task_drop(struct iscsi_task *t)
{
	struct iscsi_conn *c = t->conn;

	assert(iscsi_task_collecting(t));
	discard(t);
	list_remove(&t->out.link);
	for (unsigned i = 0; i < t->r2t_count; i++)
		c->late[c->late_next++ % ISCSI_LATE_R2TS] = ttt_at(t, i);
	iscsi_task_free(t);
}

void iscsi_task_drain(struct iscsi_task *t)
{
	struct iscsi_conn *c = t->conn;

	assert(iscsi_task_collecting(t));
	if (t->draining)
		return;
	if (t->r2t_count == 0) {
		iscsi_task_drop(t);
		return;
	}
	discard(t);
	list_remove(&t->out.link);
	put_buffer(t);
	t->over = t->draining = true;
	c->draining++;
	c->drain_ns = reactor_now_ns(c->server->reactor);
	iscsi_conn_timer_update(c);
}

void iscsi_drain_give_up(struct iscsi_conn *c)
{
	list_for_each_safe (n, &c->tasks) {
		struct iscsi_task *t = container_of(n, struct iscsi_task, link);

		if (!t->draining)
			continue;
		if (c->rx.task != t) {
			iscsi_task_drop(t);
			continue;
		}
		t->draining = false;
		t->dropped = true;
		c->draining--;
	}
	iscsi_management_check(c);
}

uint32_t iscsi_new_ttt(struct iscsi_conn *c)
{
	if (++c->next_ttt == ISCSI_TAG_RESERVED)
		c->next_ttt = 1;
	return c->next_ttt;
}

/* ---- failures of the transport's own (RFC 7143 11.4.7.2) --------------------------------------------- */

static void fail_as(struct iscsi_task *t, enum scsi_sense_key key, uint16_t asc)
{
	if (t->over)
		return;
	discard(t);
	t->over = true;
	scsi_fail(&t->scsi, key, asc);
}

static void fail(struct iscsi_task *t, uint16_t asc)
{
	fail_as(t, SENSE_ABORTED_COMMAND, asc);
}

static void fail_busy(struct iscsi_task *t)
{
	struct iscsi_conn *c = t->conn;

	discard(t);
	t->over = true;
	t->scsi.sense_len = 0;
	/* TASK SET FULL promises that a task of this session will end (SAM-5 5.3.1). */
	t->scsi.status =
		c->ordered_tasks + c->immediate_tasks > 0 ? SCSI_STATUS_TASK_SET_FULL : SCSI_STATUS_BUSY;
}

/* ---- the response ------------------------------------------------------------------------------------ */

static void respond(struct iscsi_task *t)
{
	bool data = !t->over && t->scsi.direction == SCSI_TO_INITIATOR && t->read;

	t->state = ISCSI_TASK_RESPONDING;
	t->send_len = data ? min_u32(t->scsi.data_len, t->edtl) : 0;
	t->out.kind = ISCSI_OUT_RESPONSE;
	iscsi_transmit(t->conn, &t->out);
}

static void command_done(struct scsi_task *scsi)
{
	struct iscsi_task *t = container_of(scsi, struct iscsi_task, scsi);
	struct iscsi_conn *c = t->conn;

	assert(t->state == ISCSI_TASK_RUNNING && c->running > 0);
	c->running--;
	if (scsi->aborted || c->state == ISCSI_CONN_DEAD) {
		t->state = ISCSI_TASK_RESPONDING;
		iscsi_task_free(t);
	} else {
		respond(t);
	}
	if (c->state != ISCSI_CONN_FULL)
		iscsi_conn_check_end(c);
}

static void execute(struct iscsi_task *t)
{
	struct scsi_task *scsi = &t->scsi;

	if (scsi->direction == SCSI_FROM_INITIATOR) {
		scsi->data_in_hand = t->wanted;
		/* Never another session's leavings. */
		if (t->wanted < scsi->data_len)
			memset(scsi->data + t->wanted, 0, scsi->data_len - t->wanted);
	}
	t->state = ISCSI_TASK_RUNNING;
	t->parsed = false;
	t->conn->running++;
	scsi_task_execute(scsi);
}

static void ask_data(struct iscsi_task *t)
{
	if (t->solicited == t->wanted || list_linked(&t->out.link))
		return;
	t->out.kind = ISCSI_OUT_R2T;
	iscsi_transmit(t->conn, &t->out);
}

/* A burst is complete (or there was none): what now? */
static void advance(struct iscsi_task *t)
{
	if (t->held) { /* until its turn comes */
		t->burst_over = true;
		return;
	}
	if (t->conn->revoked)
		fail_as(t, SENSE_ILLEGAL_REQUEST, ASC_NO_ACCESS_RIGHTS);
	if (t->over) {
		if (t->r2t_count > 0)
			return; /* data that we asked for comes first */
		if (t->draining) {
			struct iscsi_conn *c = t->conn;

			iscsi_task_drop(t);
			iscsi_management_check(c);
			return;
		}
		list_remove(&t->out.link);
		respond(t);
		return;
	}
	if (t->got >= t->wanted) {
		execute(t);
		return;
	}
	if (t->state != ISCSI_TASK_SOLICITED) {
		t->state = ISCSI_TASK_SOLICITED;
		t->solicited = t->got;
	}
	t->data_out_sn = 0;
	ask_data(t);
}

/* ---- the command ------------------------------------------------------------------------------------- */

/* 0: acceptable so far */
static enum iscsi_reject command_refusal(struct iscsi_conn *c, const uint8_t *bhs)
{
	if (iscsi_task_find(c, get_be32(bhs + ISCSI_AT_ITT)))
		return ISCSI_REJECT_TASK_IN_PROGRESS;
	if (iscsi_immediate(bhs) && c->immediate_tasks >= ISCSI_IMMEDIATE_MAX)
		return ISCSI_REJECT_IMMEDIATE;
	if ((bhs[1] & ISCSI_ATTRIBUTE_MASK) > SCSI_ACA || get_be32(bhs + ISCSI_AT_ITT) == ISCSI_TAG_RESERVED)
		return ISCSI_REJECT_INVALID_FIELD;
	if (!(bhs[1] & ISCSI_FINAL) && !(bhs[1] & ISCSI_COMMAND_WRITE))
		return ISCSI_REJECT_INVALID_FIELD;
	return 0;
}

static void get_buffer(struct iscsi_task *t)
{
	struct scsi_task *scsi = &t->scsi;

	if (scsi->direction == SCSI_NONE || scsi->data_len == 0)
		return;
	scsi->data = iscsi_conn_buffer_get(t->conn, scsi->data_len, scsi_task_is_urgent(scsi));
	if (!scsi->data) {
		fail_busy(t);
		return;
	}
	t->buffer_len = scsi->data_len;
}

static void parse(struct iscsi_task *t)
{
	struct scsi_task *scsi = &t->scsi;

	scsi->nexus = t->conn->nexus;
	scsi->done = command_done;
	scsi->tag = t->itt;
	t->parsed = scsi_task_parse(scsi);
	if (!t->parsed) {
		t->over = true;
		return;
	}
	t->device_len = scsi->direction == SCSI_NONE ? 0 : scsi->data_len;
	get_buffer(t);
	if (!t->over && scsi->direction == SCSI_FROM_INITIATOR && t->write)
		t->wanted = min_u32(t->edtl, scsi->data_len);
}

/* The initiator may send only what was negotiated without being asked. */
static bool unsolicited_ok(const struct iscsi_task *t, const uint8_t *bhs, uint32_t len)
{
	const struct iscsi_params *p = &t->conn->params;

	if (!(bhs[1] & ISCSI_FINAL) && p->initial_r2t)
		return false;
	return len == 0 || (t->write && p->immediate_data && len <= p->first_burst && len <= t->edtl);
}

bool iscsi_command_begin(struct iscsi_conn *c)
{
	struct iscsi_receive *rx = &c->rx;
	const uint8_t *bhs = rx->header;
	struct iscsi_task *t;

	rx->reject = command_refusal(c, bhs);
	if (rx->reject)
		return true;
	t = task_new(c, get_be32(bhs + ISCSI_AT_ITT));
	if (!t) {
		iscsi_conn_kill(c, "no memory for a task");
		return false;
	}
	t->immediate = iscsi_immediate(bhs);
	t->read = bhs[1] & ISCSI_COMMAND_READ;
	t->write = bhs[1] & ISCSI_COMMAND_WRITE;
	t->edtl = get_be32(bhs + ISCSI_AT_EXPECTED_LEN);
	t->scsi.offered_len = t->write ? t->edtl : 0;
	memcpy(t->scsi.lun, bhs + ISCSI_AT_LUN, sizeof(t->scsi.lun));
	t->scsi.attribute = (enum scsi_attribute)(bhs[1] & ISCSI_ATTRIBUTE_MASK);
	t->scsi.cdb_len = iscsi_pdu_cdb(bhs, t->scsi.cdb, sizeof(t->scsi.cdb));
	if (t->scsi.cdb_len == 0) {
		rx->reject = ISCSI_REJECT_INVALID_FIELD;
		iscsi_task_free(t);
		return true;
	}
	if (c->revoked)
		fail_as(t, SENSE_ILLEGAL_REQUEST, ASC_NO_ACCESS_RIGHTS);
	else
		parse(t);
	if (!unsolicited_ok(t, bhs, rx->data_len))
		fail(t, ASC_UNEXPECTED_UNSOLICITED);
	rx->task = t;
	if (!t->over && t->wanted) {
		rx->sink = t->scsi.data;
		rx->sink_len = min_u32(rx->data_len, t->wanted);
	}
	return true;
}

void iscsi_command_end(struct iscsi_conn *c)
{
	struct iscsi_task *t = c->rx.task;

	t->got = c->rx.data_len;
	t->burst_over = c->rx.header[1] & ISCSI_FINAL;
	t->state = ISCSI_TASK_UNSOLICITED;
	if (t->dropped) {
		c->rx.task = NULL;
		iscsi_task_drop(t);
	}
}

void iscsi_command_start(struct iscsi_task *t)
{
	struct iscsi_conn *c = t->conn;

	t->counted = true;
	if (t->immediate)
		c->immediate_tasks++;
	else
		c->ordered_tasks++;
	c->commands++;
	if (t->burst_over)
		advance(t);
}

/* It is not in the task set before its turn comes: nothing that happened meanwhile is its business. */
static void parse_again(struct iscsi_task *t)
{
	uint8_t *data = t->scsi.data;

	discard(t);
	t->scsi.nexus = t->conn->nexus;
	t->parsed = scsi_task_parse(&t->scsi);
	t->over = !t->parsed;
	t->scsi.data = data;
}

/* The CDB says how much data there is, so the buffer stays right. One that was aborted by another nexus stays that. One that
 * fails now is answered when what it was asked for has come, which may be now. */
void iscsi_tasks_rehome(struct iscsi_conn *c)
{
	list_for_each_safe (n, &c->tasks) {
		struct iscsi_task *t = container_of(n, struct iscsi_task, link);

		if (!t->parsed)
			continue;
		if (scsi_task_is_told(&t->scsi)) {
			discard(t);
			t->over = true;
			t->scsi.status = SCSI_STATUS_TASK_ABORTED;
			t->scsi.sense_len = 0;
		} else {
			parse_again(t);
		}
		if (t->over && t->state == ISCSI_TASK_SOLICITED) {
			list_remove(&t->out.link);
			advance(t);
		}
	}
}

/* A task whose data is just being received stays until that PDU is complete. One that is to be answered gets all its data
 * first, as its initiator will send it. */
void iscsi_task_aborted(void *transport, struct scsi_task *scsi)
{
	struct iscsi_task *t = container_of(scsi, struct iscsi_task, scsi);
	struct iscsi_conn *c = transport;

	assert(t->conn == c && t->parsed && iscsi_task_collecting(t));
	if (t->held) {
		parse_again(t);
		return;
	}
	if (scsi_task_is_told(scsi))
		return;
	if (c->rx.task != t) {
		iscsi_task_drop(t);
		return;
	}
	discard(t);
	t->over = t->dropped = true;
}

/* ---- Data-Out ---------------------------------------------------------------------------------------- */

/* The R2T that a Data-Out answers, as an index from the oldest; -1: none. */
static int find_r2t(const struct iscsi_task *t, uint32_t ttt)
{
	for (unsigned i = 0; i < t->r2t_count; i++)
		if (ttt_at(t, i) == ttt)
			return (int)i;
	return -1;
}

/* Does it answer an R2T of a task that is gone? */
static bool data_out_late(struct iscsi_conn *c, const uint8_t *bhs)
{
	uint32_t ttt = get_be32(bhs + ISCSI_AT_TTT);

	for (unsigned i = 0; ttt != 0 && i < ISCSI_LATE_R2TS; i++) {
		if (c->late[i] != ttt)
			continue;
		if (bhs[1] & ISCSI_FINAL)
			c->late[i] = 0;
		return true;
	}
	return false;
}

/* Did anybody ask for it, or may it come unasked? */
static bool data_out_welcome(const struct iscsi_task *t, uint32_t ttt)
{
	if (t->state == ISCSI_TASK_UNSOLICITED)
		return ttt == ISCSI_TAG_RESERVED && !t->burst_over;
	return t->state == ISCSI_TASK_SOLICITED && find_r2t(t, ttt) >= 0;
}

/* What the burst's rules say against this PDU, as an additional sense code; 0: nothing. */
static uint16_t data_out_fault(const struct iscsi_task *t, const uint8_t *bhs, uint32_t len)
{
	bool solicited = t->state == ISCSI_TASK_SOLICITED, final = bhs[1] & ISCSI_FINAL;
	uint32_t end = solicited ? t->r2ts[t->r2t_first].end : min_u32(t->edtl, t->conn->params.first_burst);

	if (solicited && find_r2t(t, get_be32(bhs + ISCSI_AT_TTT)) != 0)
		return ASC_PROTOCOL_SERVICE_CRC; /* an older burst is not complete */
	if (get_be32(bhs + ISCSI_AT_DATASN) != t->data_out_sn || get_be32(bhs + ISCSI_AT_OFFSET) != t->got)
		return ASC_PROTOCOL_SERVICE_CRC; /* something was lost */
	if (t->got > end || len > end - t->got)
		return solicited ? ASC_NOT_ENOUGH_UNSOLICITED : ASC_UNEXPECTED_UNSOLICITED;
	if (solicited && final != (t->got + len == end))
		return ASC_NOT_ENOUGH_UNSOLICITED;
	return 0;
}

bool iscsi_data_out_begin(struct iscsi_conn *c)
{
	struct iscsi_receive *rx = &c->rx;
	struct iscsi_task *t = iscsi_task_find(c, get_be32(rx->header + ISCSI_AT_ITT));
	uint16_t fault;

	if (!t || !data_out_welcome(t, get_be32(rx->header + ISCSI_AT_TTT))) {
		/* What was under way for a task that is gone is thrown away. */
		rx->ignored = data_out_late(c, rx->header) || !t;
		if (!rx->ignored)
			iscsi_protocol_error(c, rx->header, "a Data-Out that nobody asked for");
		return rx->ignored;
	}
	rx->task = t;
	if (t->draining)
		c->drain_ns = reactor_now_ns(c->server->reactor);
	fault = t->over ? 0 : data_out_fault(t, rx->header, rx->data_len);
	if (fault)
		fail(t, fault);
	if (!t->over && t->got < t->wanted) {
		rx->sink = t->scsi.data + t->got;
		rx->sink_len = min_u32(rx->data_len, t->wanted - t->got);
	}
	return true;
}

/* The burst is complete. One of a task that is over may end out of order. */
static void end_burst(struct iscsi_task *t, uint32_t ttt)
{
	unsigned at = (unsigned)find_r2t(t, ttt);

	for (; at > 0; at--)
		t->r2ts[(t->r2t_first + at) % ISCSI_R2T_MAX] =
			t->r2ts[(t->r2t_first + at - 1) % ISCSI_R2T_MAX];
	t->r2t_first = (t->r2t_first + 1) % ISCSI_R2T_MAX;
	t->r2t_count--;
	t->data_out_sn = 0;
}

void iscsi_data_out_end(struct iscsi_conn *c, bool spoilt)
{
	struct iscsi_task *t = c->rx.task;

	if (!t)
		return;
	if (t->dropped) {
		c->rx.task = NULL;
		iscsi_task_drop(t);
		return;
	}
	if (spoilt)
		fail(t, ASC_PROTOCOL_SERVICE_CRC);
	t->got += c->rx.data_len;
	t->data_out_sn++;
	if (!(c->rx.header[1] & ISCSI_FINAL))
		return;
	if (t->state == ISCSI_TASK_SOLICITED)
		end_burst(t, get_be32(c->rx.header + ISCSI_AT_TTT));
	advance(t);
}

/* ---- what goes out ----------------------------------------------------------------------------------- */

bool iscsi_task_emit_r2t(struct iscsi_task *t)
{
	struct iscsi_conn *c = t->conn;
	unsigned most = min_u32(c->params.max_outstanding_r2t, ISCSI_R2T_MAX);

	while (!t->over && t->r2t_count < most && t->solicited < t->wanted) {
		uint32_t len = min_u32(c->params.max_burst, t->wanted - t->solicited);
		struct iscsi_r2t *r2t = &t->r2ts[(t->r2t_first + t->r2t_count) % ISCSI_R2T_MAX];
		uint8_t *bhs;

		if (!iscsi_emit(c, &bhs, NULL, 0, false))
			return false;
		iscsi_pdu_init(bhs, ISCSI_R2T, ISCSI_FINAL, t->itt);
		memcpy(bhs + ISCSI_AT_LUN, t->scsi.lun, sizeof(t->scsi.lun));
		put_be32(bhs + ISCSI_AT_TTT, iscsi_new_ttt(c));
		iscsi_fill_sn(c, bhs, false);
		put_be32(bhs + ISCSI_AT_DATASN, t->datasn++);
		put_be32(bhs + ISCSI_AT_OFFSET, t->solicited);
		put_be32(bhs + ISCSI_AT_DESIRED_LEN, len);
		iscsi_emit_done(c, false);
		t->solicited += len;
		*r2t = (struct iscsi_r2t){.ttt = c->next_ttt, .end = t->solicited};
		t->r2t_count++;
	}
	return true;
}

/* Residual count and its flag (RFC 7143 11.4.5). */
static uint32_t residual(const struct iscsi_task *t, uint8_t *flag)
{
	uint32_t expected = t->read || t->write ? t->edtl : 0, device = 0;

	if (!t->over && t->scsi.direction == SCSI_TO_INITIATOR) {
		expected = t->read ? t->edtl : 0;
		device = t->scsi.data_len;
	} else if (!t->over && t->scsi.direction == SCSI_FROM_INITIATOR) {
		expected = t->write ? t->edtl : 0;
		device = t->device_len;
	}
	*flag = device > expected ? ISCSI_OVERFLOW : device < expected ? ISCSI_UNDERFLOW : 0;
	return device > expected ? device - expected : expected - device;
}

/* The status fields; the task's place in the window is free from here on, and the PDU says so. */
static void put_status(struct iscsi_task *t, uint8_t *bhs)
{
	uint8_t flag;

	uncount(t);
	put_be32(bhs + ISCSI_AT_RESIDUAL, residual(t, &flag));
	bhs[1] |= flag;
	bhs[3] = t->scsi.status;
	iscsi_fill_sn(t->conn, bhs, true);
}

/* One Data-In; with the last one goes the status if it needs no sense data. */
static bool emit_data_in(struct iscsi_task *t, bool *with_status)
{
	struct iscsi_conn *c = t->conn;
	uint32_t in_burst = c->params.max_burst - t->sent % c->params.max_burst;
	uint32_t len = min_u32(min_u32(t->send_len - t->sent, c->params.max_send_segment), in_burst);
	bool last = t->sent + len == t->send_len;
	uint8_t *bhs;

	if (!iscsi_emit(c, &bhs, t->scsi.data + t->sent, len, false))
		return false;
	*with_status = last && t->scsi.sense_len == 0;
	iscsi_pdu_init(bhs, ISCSI_DATA_IN, last || len == in_burst ? ISCSI_FINAL : 0, t->itt);
	put_be24(bhs + 5, len);
	put_be32(bhs + ISCSI_AT_TTT, ISCSI_TAG_RESERVED);
	if (*with_status) {
		bhs[1] |= ISCSI_STATUS_PRESENT;
		put_status(t, bhs);
	} else {
		iscsi_fill_sn(c, bhs, false);
		put_be32(bhs + ISCSI_AT_STATSN, 0);
	}
	put_be32(bhs + ISCSI_AT_DATASN, t->datasn++);
	put_be32(bhs + ISCSI_AT_OFFSET, t->sent);
	iscsi_emit_done(c, false);
	t->sent += len;
	c->bytes_out += len;
	return true;
}

static bool emit_response(struct iscsi_task *t)
{
	struct iscsi_conn *c = t->conn;
	uint32_t len = 0;
	uint8_t *bhs;

	if (t->scsi.sense_len > 0) {
		put_be16(t->sense_pdu, (uint16_t)t->scsi.sense_len);
		memcpy(t->sense_pdu + 2, t->scsi.sense, t->scsi.sense_len);
		len = 2 + t->scsi.sense_len;
	}
	if (!iscsi_emit(c, &bhs, t->sense_pdu, len, false))
		return false;
	iscsi_pdu_init(bhs, ISCSI_SCSI_RESPONSE, ISCSI_FINAL, t->itt);
	put_be24(bhs + 5, len);
	put_status(t, bhs);
	put_be32(bhs + ISCSI_AT_DATASN, t->datasn);
	iscsi_emit_done(c, false);
	return true;
}

bool iscsi_task_emit(struct iscsi_task *t)
{
	bool done = false;

	while (t->sent < t->send_len && !done)
		if (!emit_data_in(t, &done))
			return false;
	if (!done && !emit_response(t))
		return false;
	/* The initiator may use the tag again before the rest of the batch is sent. */
	list_remove(&t->itt_link);
	return true;
}
