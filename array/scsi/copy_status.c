/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of third-party copies, and what can be asked of them (SPC-4 6.20-6.25, 7.8.17): RECEIVE COPY
 * STATUS, OPERATING PARAMETERS, FAILURE DETAILS, RECEIVE ROD TOKEN INFORMATION, COPY OPERATION ABORT, and the
 * third-party copy VPD page.
 */
#include "array/scsi/bounds.h"
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/copy.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reply.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/util/bytes.h"

#include <string.h>
#include <strings.h>

#define UNITS_BYTES  0x00
#define UNITS_MIB    0x02
#define UNITS_BLOCKS 0xF1

static void no_such_list(struct scsi_task *task)
{
	scsi_fail_cdb(task, 2);
	scsi_task_finish(task);
}

/* A list of this nexus; one with four bytes also of another path of the same initiator, for multipathing may
 * ask on another path than it told. */
static struct scsi_copy *find4(const struct scsi_task *task)
{
	uint32_t id = get_be32(task->cdb + 2);
	struct scsi_copy *found = scsi_copy_find(task->nexus, id, COPY_LID4);

	list_for_each (node, &task->nexus->target->nexuses) {
		const struct scsi_nexus *n = container_of(node, struct scsi_nexus, link);

		if (!found && !n->lost && strcasecmp(n->array.initiator, task->nexus->array.initiator) == 0)
			found = scsi_copy_find(n, id, COPY_LID4);
	}
	return found;
}

/* ---- list ids of one byte ------------------------------------------------------------------------------ */

void scsi_receive_copy_status1(struct scsi_task *task)
{
	static const uint8_t states[] = {
		[COPY_RUNS] = 0, [COPY_DONE] = 1, [COPY_PARTIAL] = 1, [COPY_FAILED] = 2, [COPY_ABORTED] = 2};
	const struct scsi_copy *c = scsi_copy_find(task->nexus, task->cdb[2], COPY_LID1);
	struct scsi_reply r = scsi_reply_begin(task);
	uint64_t bytes;

	if (!c) {
		no_such_list(task);
		return;
	}
	bytes = c->blocks * SCSI_BLOCK_BYTES;
	scsi_reply_be32(&r, 8);
	scsi_reply_u8(&r, states[c->state]);
	scsi_reply_be16(&r, (uint16_t)c->segments);
	scsi_reply_u8(&r, bytes <= UINT32_MAX ? UNITS_BYTES : UNITS_MIB);
	scsi_reply_be32(&r, (uint32_t)(bytes <= UINT32_MAX ? bytes : bytes >> 20));
	scsi_reply_end(task, &r);
}

void scsi_receive_copy_failure(struct scsi_task *task)
{
	const struct scsi_copy *c = scsi_copy_find(task->nexus, task->cdb[2], COPY_LID1);
	struct scsi_reply r = scsi_reply_begin(task);

	if (!c || c->state == COPY_RUNS) {
		no_such_list(task);
		return;
	}
	if (c->state == COPY_DONE) {
		scsi_reply_be32(&r, 0);
		scsi_reply_end(task, &r);
		return;
	}
	scsi_reply_be32(&r, 56 + c->sense_len);
	scsi_reply_zero(&r, 52);
	scsi_reply_u8(&r, c->status);
	scsi_reply_u8(&r, 0);
	scsi_reply_be16(&r, (uint16_t)c->sense_len);
	scsi_reply_put(&r, c->sense, c->sense_len);
	scsi_reply_end(task, &r);
}

void scsi_receive_copy_parameters(struct scsi_task *task)
{
	static const uint8_t types[] = {0x02, 0xE4};
	struct scsi_reply r = scsi_reply_begin(task);

	scsi_reply_be32(&r, 40 + sizeof(types));
	scsi_reply_be32(&r, 0x01000000); /* SNLID: a list id is not needed */
	scsi_reply_be16(&r, COPY_TARGETS_MAX);
	scsi_reply_be16(&r, COPY_SEGMENTS_MAX);
	scsi_reply_be32(&r, COPY_LIST_MAX_BYTES);
	scsi_reply_be32(&r, UINT16_MAX * SCSI_BLOCK_BYTES); /* maximum segment length */
	scsi_reply_zero(&r, 4 + 4 + 4 + 2);                 /* inline data, held data, streams */
	scsi_reply_be16(&r, COPY_RUNNING_MAX);
	scsi_reply_u8(&r, COPY_KEPT_MAX);
	scsi_reply_u8(&r, COPY_GRANULARITY);
	scsi_reply_zero(&r, 2); /* of inline and held data: there is none */
	scsi_reply_zero(&r, 3);
	scsi_reply_u8(&r, sizeof(types));
	scsi_reply_put(&r, types, sizeof(types));
	scsi_reply_end(task, &r);
}

/* ---- list ids of four bytes ---------------------------------------------------------------------------- */

static uint8_t state4(const struct scsi_copy *c)
{
	switch (c->state) {
	case COPY_RUNS:
		return c->task ? 0x11 : 0x12; /* in the foreground, in the background */
	case COPY_DONE:
		return 0x01;
	case COPY_PARTIAL:
		return 0x03;
	case COPY_ABORTED:
		return 0x60;
	case COPY_FAILED:
	default:
		return 0x02;
	}
}

static void put_status4(struct scsi_reply *r, const struct scsi_copy *c)
{
	unsigned field = (c->sense_len + 3) & ~3u;

	scsi_reply_be32(r, 0);
	scsi_reply_u8(r, c->action);
	scsi_reply_u8(r, state4(c));
	scsi_reply_be16(r, (uint16_t)(c->blocks * SCSI_BLOCK_BYTES / COPY_STEP_BYTES));
	scsi_reply_be32(r, c->state == COPY_RUNS ? 100 : 0xFFFFFFFE); /* ms until there is news; none */
	scsi_reply_u8(r, c->state == COPY_RUNS ? 0 : c->status);
	scsi_reply_u8(r, (uint8_t)field);
	scsi_reply_u8(r, (uint8_t)c->sense_len);
	scsi_reply_u8(r, UNITS_BLOCKS);
	scsi_reply_be64(r, c->blocks);
	scsi_reply_be16(r, (uint16_t)c->segments);
	scsi_reply_zero(r, 6);
	scsi_reply_put(r, c->sense, c->sense_len);
	scsi_reply_zero(r, field - c->sense_len);
}

void scsi_receive_copy_status4(struct scsi_task *task)
{
	const struct scsi_copy *c = find4(task);
	struct scsi_reply r = scsi_reply_begin(task);

	if (!c) {
		no_such_list(task);
		return;
	}
	put_status4(&r, c);
	scsi_reply_patch(&r, 0, (uint32_t)(r.len - 4), 4);
	scsi_reply_end(task, &r);
}

void scsi_receive_token_information(struct scsi_task *task)
{
	const struct scsi_copy *c = find4(task);
	struct scsi_reply r = scsi_reply_begin(task);

	if (!c) {
		no_such_list(task);
		return;
	}
	put_status4(&r, c);
	scsi_reply_be32(&r, c->has_token ? 2 + TOKEN_BYTES : 0);
	if (c->has_token) {
		scsi_reply_be16(&r, 0);
		scsi_reply_put(&r, c->token, TOKEN_BYTES);
	}
	scsi_reply_patch(&r, 0, (uint32_t)(r.len - 4), 4);
	scsi_reply_end(task, &r);
}

/* The copy ends after the step that runs; its own command is answered then, this one at once. */
void scsi_copy_abort_command(struct scsi_task *task)
{
	struct scsi_copy *c = find4(task);

	if (!c) {
		no_such_list(task);
		return;
	}
	if (c->state == COPY_RUNS)
		scsi_copy_stop(c);
	scsi_task_finish(task);
}

/* ---- VPD 8Fh ------------------------------------------------------------------------------------------- */

static size_t begin(struct scsi_reply *r, uint16_t type)
{
	scsi_reply_be16(r, type);
	scsi_reply_be16(r, 0);
	return r->len;
}

static void end(struct scsi_reply *r, size_t at)
{
	scsi_reply_zero(r, -(r->len - at) & 3);
	scsi_reply_patch(r, at - 2, (uint32_t)(r->len - at), 2);
}

/* SBC-3 6.6.6 and Microsoft's WINDOWS_BLOCK_DEVICE_TOKEN_LIMITS_DESCRIPTOR: to be the first. */
static void token_limits(struct scsi_reply *r)
{
	size_t at = begin(r, 0x0000);

	scsi_reply_zero(r, 6);
	scsi_reply_be16(r, COPY_RANGES_MAX);
	scsi_reply_be32(r, TOKEN_TIMEOUT_MAX_S);
	scsi_reply_be32(r, TOKEN_TIMEOUT_S);
	scsi_reply_be64(r, TOKEN_BLOCKS_MAX);
	scsi_reply_be64(r, TOKEN_BLOCKS_OPTIMAL);
	end(r, at);
}

static unsigned actions(uint8_t opcode, uint8_t out[32])
{
	unsigned count = 0;

	for (unsigned i = 0; i < scsi_command_count; i++)
		if (scsi_commands[i].opcode == opcode)
			out[count++] = scsi_commands[i].service_action;
	return count;
}

static void supported_commands(struct scsi_reply *r)
{
	static const uint8_t opcodes[] = {COPY_OUT, COPY_IN};
	size_t at = begin(r, 0x0001);
	uint8_t list[32];

	scsi_reply_u8(r, 0);
	for (unsigned i = 0; i < sizeof(opcodes); i++) {
		unsigned count = actions(opcodes[i], list);

		scsi_reply_u8(r, opcodes[i]);
		scsi_reply_u8(r, (uint8_t)count);
		scsi_reply_put(r, list, count);
	}
	scsi_reply_patch(r, at, (uint32_t)(r->len - at - 1), 1);
	end(r, at);
}

static void parameter_data(struct scsi_reply *r)
{
	size_t at = begin(r, 0x0004);

	scsi_reply_zero(r, 4);
	scsi_reply_be16(r, COPY_TARGETS_MAX);
	scsi_reply_be16(r, COPY_SEGMENTS_MAX);
	scsi_reply_be32(r, COPY_LIST_MAX_BYTES);
	scsi_reply_be32(r, 0); /* inline data */
	scsi_reply_zero(r, 12);
	end(r, at);
}

static void supported_descriptors(struct scsi_reply *r)
{
	size_t at = begin(r, 0x0008);

	scsi_reply_u8(r, 2);
	scsi_reply_u8(r, 0x02);
	scsi_reply_u8(r, 0xE4);
	end(r, at);
	at = begin(r, 0x000C); /* CSCD descriptor ids without a descriptor: none */
	scsi_reply_be16(r, 0);
	end(r, at);
}

static void token_features(struct scsi_reply *r)
{
	size_t at = begin(r, 0x0106);

	scsi_reply_u8(r, 0); /* no remote tokens */
	scsi_reply_zero(r, 11);
	scsi_reply_be32(r, 1); /* lifetime */
	scsi_reply_be32(r, 0xFFFFFFFF);
	scsi_reply_be32(r, TOKEN_TIMEOUT_MAX_S);
	scsi_reply_zero(r, 18);
	scsi_reply_be16(r, 48);
	/* block device: type, length, granularity in blocks, bytes */
	scsi_reply_be16(r, 0);
	scsi_reply_be16(r, 44);
	scsi_reply_be16(r, 0);
	scsi_reply_be16(r, SCSI_UNMAP_GRANULARITY);
	scsi_reply_be64(r, TOKEN_BLOCKS_MAX * SCSI_BLOCK_BYTES);
	scsi_reply_be64(r, TOKEN_BLOCKS_OPTIMAL * SCSI_BLOCK_BYTES);
	scsi_reply_be64(r, TOKEN_BLOCKS_OPTIMAL * SCSI_BLOCK_BYTES);
	scsi_reply_be64(r, TOKEN_BLOCKS_OPTIMAL * SCSI_BLOCK_BYTES);
	scsi_reply_zero(r, 8);
	end(r, at);
}

static void rod_type(struct scsi_reply *r, uint32_t type, uint8_t flags)
{
	scsi_reply_be32(r, type);
	scsi_reply_u8(r, flags);
	scsi_reply_zero(r, 1 + 2 + 56);
}

static void token_types(struct scsi_reply *r)
{
	size_t at = begin(r, 0x0108);

	scsi_reply_be16(r, 0);
	scsi_reply_be16(r, 2 * 64);
	/* comes out of POPULATE TOKEN, goes into WRITE USING TOKEN */
	rod_type(r, ROD_TYPE_POINT_IN_TIME, 0x03);
	rod_type(r, ROD_TYPE_ZERO, 0x02);
	end(r, at);
}

static void general(struct scsi_reply *r)
{
	size_t at = begin(r, 0x8001);

	scsi_reply_be32(r, COPY_RUNNING_MAX);
	scsi_reply_be32(r, COPY_KEPT_MAX);
	scsi_reply_be32(r, UINT16_MAX * SCSI_BLOCK_BYTES);
	scsi_reply_u8(r, COPY_GRANULARITY);
	scsi_reply_zero(r, 1 + 18); /* of inline data: there is none */
	end(r, at);
}

void scsi_copy_vpd(const struct scsi_task *task, struct scsi_reply *r)
{
	(void)task;
	token_limits(r);
	supported_commands(r);
	parameter_data(r);
	supported_descriptors(r);
	token_features(r);
	token_types(r);
	general(r);
}
