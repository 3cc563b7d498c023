/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec of wire.h. After the 8 bytes that every body begins with (version, verb, flags, tag):
 *
 *   request LIST, RESCAN, STATUS  nothing
 *   request RESET                 lun 2, reserved 2, timeout_ms 4
 *   request EXEC                  lun 2, direction 1, cdb_bytes 1, timeout_ms 4, data_bytes 4, cdb 16, data
 *   request FAULT                 kind 1, reserved 1, opcode 2, lun 2, count 2, skip 2, reserved 2, value_ms 4
 *   reply, all                    result 4; with an error nothing more
 *   reply LIST, RESCAN            count 4, then 120 bytes each: lun 2, inquiry_bytes 2, block_bytes 4,
 *                                 blocks 8, identity 8, inquiry 96
 *   reply EXEC                    scsi_status 1, reserved 3, residual 4, sense_bytes 4, data_bytes 4, sense,
 *                                 data
 *   reply STATUS                  ten counters of 4, in the order of struct labw_status
 */
#include <string.h>
#include "array/util/bytes.h"
#include "lab/bridge/wire.h"

enum {
	COMMON_BYTES = 8,
	RESET_BYTES = COMMON_BYTES + 8,
	EXEC_BYTES = COMMON_BYTES + 28,
	FAULT_BYTES = COMMON_BYTES + 16,
	REPLY_BYTES = COMMON_BYTES + 4,
	REPLY_EXEC_BYTES = REPLY_BYTES + 16,
	REPLY_LIST_BYTES = REPLY_BYTES + 4,
	REPLY_STATUS_BYTES = REPLY_BYTES + 40,
};

size_t labw_body_bytes(const uint8_t length_word[LABW_LENGTH_BYTES])
{
	uint32_t len = get_be32(length_word);

	return len >= COMMON_BYTES && len <= LABW_BODY_MAX_BYTES ? len : 0;
}

static void put_common(uint8_t *head, size_t body_bytes, uint8_t verb, uint16_t flags, uint32_t tag)
{
	put_be32(head, (uint32_t)body_bytes);
	head[4] = LABW_VERSION;
	head[5] = verb;
	put_be16(head + 6, flags);
	put_be32(head + 8, tag);
}

static bool get_common(const uint8_t *body, size_t len_bytes, uint8_t *verb, uint16_t *flags, uint32_t *tag)
{
	if (len_bytes < COMMON_BYTES || body[0] != LABW_VERSION)
		return false;
	*verb = body[1];
	*flags = get_be16(body + 2);
	*tag = get_be32(body + 4);
	return *verb >= LABW_LIST && *verb < LABW_VERB_COUNT;
}

static bool exec_valid(const struct labw_request *req)
{
	if (req->cdb_bytes == 0 || req->cdb_bytes > LABW_CDB_MAX_BYTES || req->lun >= LABW_MAX_LUNS)
		return false;
	if (req->direction > LABW_IN || req->data_bytes > LABW_DATA_MAX_BYTES)
		return false;
	return (req->direction == LABW_NONE) == (req->data_bytes == 0);
}

static bool fault_valid(const struct labw_fault *fault)
{
	return fault->kind < LABW_FAULT_KIND_COUNT && fault->opcode <= LABW_ANY_OPCODE;
}

size_t labw_request_head(const struct labw_request *req, uint8_t head[LABW_HEAD_MAX_BYTES])
{
	uint8_t *p = head + LABW_LENGTH_BYTES + COMMON_BYTES;
	size_t body = COMMON_BYTES, data = 0;

	switch (req->verb) {
	case LABW_LIST:
	case LABW_RESCAN:
	case LABW_STATUS:
		break;
	case LABW_RESET:
		put_be16(p, req->lun);
		put_be16(p + 2, 0);
		put_be32(p + 4, req->timeout_ms);
		body = RESET_BYTES;
		break;
	case LABW_EXEC:
		if (!exec_valid(req))
			return 0;
		put_be16(p, req->lun);
		p[2] = req->direction;
		p[3] = req->cdb_bytes;
		put_be32(p + 4, req->timeout_ms);
		put_be32(p + 8, req->data_bytes);
		memcpy(p + 12, req->cdb, LABW_CDB_MAX_BYTES);
		body = EXEC_BYTES;
		data = req->direction == LABW_OUT ? req->data_bytes : 0;
		break;
	case LABW_FAULT:
		if (!fault_valid(&req->fault))
			return 0;
		p[0] = req->fault.kind;
		p[1] = 0;
		put_be16(p + 2, req->fault.opcode);
		put_be16(p + 4, req->fault.lun);
		put_be16(p + 6, req->fault.count);
		put_be16(p + 8, req->fault.skip);
		put_be16(p + 10, 0);
		put_be32(p + 12, req->fault.value_ms);
		body = FAULT_BYTES;
		break;
	default:
		return 0;
	}
	put_common(head, body + data, req->verb, req->flags, req->tag);
	return LABW_LENGTH_BYTES + body;
}

static bool decode_exec(struct labw_request *req, const uint8_t *body, size_t len_bytes)
{
	const uint8_t *p = body + COMMON_BYTES;
	size_t data;

	if (len_bytes < EXEC_BYTES)
		return false;
	req->lun = get_be16(p);
	req->direction = p[2];
	req->cdb_bytes = p[3];
	req->timeout_ms = get_be32(p + 4);
	req->data_bytes = get_be32(p + 8);
	memcpy(req->cdb, p + 12, LABW_CDB_MAX_BYTES);
	if (!exec_valid(req))
		return false;
	data = req->direction == LABW_OUT ? req->data_bytes : 0;
	req->data = data ? body + EXEC_BYTES : NULL;
	return len_bytes == EXEC_BYTES + data;
}

bool labw_request_decode(struct labw_request *req, const uint8_t *body, size_t len_bytes)
{
	const uint8_t *p = body + COMMON_BYTES;

	memset(req, 0, sizeof(*req));
	if (!get_common(body, len_bytes, &req->verb, &req->flags, &req->tag))
		return false;
	switch (req->verb) {
	case LABW_RESET:
		if (len_bytes != RESET_BYTES)
			return false;
		req->lun = get_be16(p);
		req->timeout_ms = get_be32(p + 4);
		return req->lun < LABW_MAX_LUNS;
	case LABW_EXEC:
		return decode_exec(req, body, len_bytes);
	case LABW_FAULT:
		if (len_bytes != FAULT_BYTES)
			return false;
		req->fault.kind = p[0];
		req->fault.opcode = get_be16(p + 2);
		req->fault.lun = get_be16(p + 4);
		req->fault.count = get_be16(p + 6);
		req->fault.skip = get_be16(p + 8);
		req->fault.value_ms = get_be32(p + 12);
		return fault_valid(&req->fault);
	default:
		return len_bytes == COMMON_BYTES;
	}
}

size_t labw_reply_head(const struct labw_reply *rep, uint8_t head[LABW_HEAD_MAX_BYTES])
{
	uint8_t *p = head + LABW_LENGTH_BYTES + REPLY_BYTES;
	size_t body = REPLY_BYTES, data = 0;

	if (rep->result == LABW_OK && rep->verb == LABW_EXEC) {
		if (rep->sense_bytes > LABW_SENSE_MAX_BYTES || rep->data_bytes > LABW_DATA_MAX_BYTES)
			return 0;
		p[0] = rep->scsi_status;
		p[1] = p[2] = p[3] = 0;
		put_be32(p + 4, rep->residual_bytes);
		put_be32(p + 8, rep->sense_bytes);
		put_be32(p + 12, rep->data_bytes);
		if (rep->sense_bytes)
			memcpy(p + 16, rep->sense, rep->sense_bytes);
		body = REPLY_EXEC_BYTES + rep->sense_bytes;
		data = rep->data_bytes;
	} else if (rep->result == LABW_OK && (rep->verb == LABW_LIST || rep->verb == LABW_RESCAN)) {
		if (rep->lun_count > LABW_MAX_LUNS)
			return 0;
		put_be32(p, rep->lun_count);
		body = REPLY_LIST_BYTES;
		data = (size_t)rep->lun_count * LABW_LUN_BYTES;
	} else if (rep->result == LABW_OK && rep->verb == LABW_STATUS) {
		put_be32(p, rep->status.connected);
		put_be32(p + 4, rep->status.sessions);
		put_be32(p + 8, rep->status.rescan_wanted);
		put_be32(p + 12, rep->status.commands);
		put_be32(p + 16, rep->status.timeouts);
		put_be32(p + 20, rep->status.lost);
		put_be32(p + 24, rep->status.faults);
		put_be32(p + 28, rep->status.held);
		put_be32(p + 32, rep->status.resets);
		put_be32(p + 36, rep->status.aborted);
		body = REPLY_STATUS_BYTES;
	}
	put_common(head, body + data, rep->verb, rep->flags, rep->tag);
	put_be32(head + LABW_LENGTH_BYTES + COMMON_BYTES, rep->result);
	return LABW_LENGTH_BYTES + body;
}

static bool decode_exec_reply(struct labw_reply *rep, const uint8_t *body, size_t len_bytes)
{
	const uint8_t *p = body + REPLY_BYTES;

	if (len_bytes < REPLY_EXEC_BYTES)
		return false;
	rep->scsi_status = p[0];
	rep->residual_bytes = get_be32(p + 4);
	rep->sense_bytes = get_be32(p + 8);
	rep->data_bytes = get_be32(p + 12);
	if (rep->sense_bytes > LABW_SENSE_MAX_BYTES || rep->data_bytes > LABW_DATA_MAX_BYTES)
		return false;
	rep->sense = body + REPLY_EXEC_BYTES;
	rep->data = rep->sense + rep->sense_bytes;
	return len_bytes == (size_t)REPLY_EXEC_BYTES + rep->sense_bytes + rep->data_bytes;
}

bool labw_reply_decode(struct labw_reply *rep, const uint8_t *body, size_t len_bytes)
{
	const uint8_t *p = body + REPLY_BYTES;

	memset(rep, 0, sizeof(*rep));
	if (!get_common(body, len_bytes, &rep->verb, &rep->flags, &rep->tag) || len_bytes < REPLY_BYTES)
		return false;
	rep->result = get_be32(body + COMMON_BYTES);
	if (rep->result >= LABW_RESULT_COUNT)
		return false;
	if (rep->result != LABW_OK)
		return len_bytes == REPLY_BYTES;
	switch (rep->verb) {
	case LABW_EXEC:
		return decode_exec_reply(rep, body, len_bytes);
	case LABW_LIST:
	case LABW_RESCAN:
		if (len_bytes < REPLY_LIST_BYTES)
			return false;
		rep->lun_count = get_be32(p);
		rep->lun_entries = body + REPLY_LIST_BYTES;
		return rep->lun_count <= LABW_MAX_LUNS &&
		       len_bytes == REPLY_LIST_BYTES + (size_t)rep->lun_count * LABW_LUN_BYTES;
	case LABW_STATUS:
		if (len_bytes != REPLY_STATUS_BYTES)
			return false;
		rep->status.connected = get_be32(p);
		rep->status.sessions = get_be32(p + 4);
		rep->status.rescan_wanted = get_be32(p + 8);
		rep->status.commands = get_be32(p + 12);
		rep->status.timeouts = get_be32(p + 16);
		rep->status.lost = get_be32(p + 20);
		rep->status.faults = get_be32(p + 24);
		rep->status.held = get_be32(p + 28);
		rep->status.resets = get_be32(p + 32);
		rep->status.aborted = get_be32(p + 36);
		return true;
	default:
		return len_bytes == REPLY_BYTES;
	}
}

void labw_lun_put(const struct labw_lun *lun, uint8_t entry[LABW_LUN_BYTES])
{
	put_be16(entry, lun->lun);
	put_be16(entry + 2, lun->inquiry_bytes);
	put_be32(entry + 4, lun->block_bytes);
	put_be64(entry + 8, lun->blocks);
	put_be64(entry + 16, lun->identity);
	memcpy(entry + 24, lun->inquiry, LABW_INQUIRY_BYTES);
}

bool labw_lun_get(struct labw_lun *lun, const uint8_t entry[LABW_LUN_BYTES])
{
	lun->lun = get_be16(entry);
	lun->inquiry_bytes = get_be16(entry + 2);
	lun->block_bytes = get_be32(entry + 4);
	lun->blocks = get_be64(entry + 8);
	lun->identity = get_be64(entry + 16);
	memcpy(lun->inquiry, entry + 24, LABW_INQUIRY_BYTES);
	return lun->lun < LABW_MAX_LUNS && lun->inquiry_bytes >= 36 &&
	       lun->inquiry_bytes <= LABW_INQUIRY_BYTES;
}
