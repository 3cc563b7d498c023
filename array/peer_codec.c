/* SPDX-License-Identifier: Apache-2.0 */
/* See peer_codec.h. */
#include "array/peer_codec.h"

#include <isa-l/crc.h>
#include <string.h>
#include "array/util/bytes.h"

#define VERSION       2
#define CRC_AT        44u
#define ERRNO_MAX     4095
#define COMMAND_BYTES 32u
#define REPLY_BYTES   8u
#define MOVE_BYTES    8u
#define AUTHENTICATED 0x01
#define BY_FORCE      0x01

static const uint8_t magic[4] = {'U', 'M', 'P', 'C'};

/* ISA-L takes a non-const pointer and does not write through it. */
static uint32_t crc_of(const uint8_t *bytes, size_t len)
{
	static const uint8_t zero[4];
	size_t behind = CRC_AT + sizeof(zero);
	uint32_t crc = crc32_iscsi((unsigned char *)(uintptr_t)bytes, (int)CRC_AT, ~0u);

	crc = crc32_iscsi((unsigned char *)(uintptr_t)zero, (int)sizeof(zero), crc);
	return ~crc32_iscsi((unsigned char *)(uintptr_t)(bytes + behind), (int)(len - behind), crc);
}

size_t peer_encode(const struct peer_message *m, uint8_t *out, size_t cap)
{
	uint32_t len = m->err ? 0 : m->len;
	size_t all = PEER_HEADER_BYTES + len;

	if (all > cap || len > PEER_PAYLOAD_MAX_BYTES)
		return 0;
	memset(out, 0, PEER_HEADER_BYTES);
	memcpy(out, magic, sizeof(magic));
	out[4] = VERSION;
	out[5] = (uint8_t)m->kind;
	put_be16(out + 6, m->topic);
	put_be64(out + 8, m->epoch);
	put_be64(out + 16, m->caller);
	put_be64(out + 24, m->number);
	put_be64(out + 32, m->kind == PEER_CALL ? m->floor : (uint64_t) - (int64_t)m->err);
	put_be32(out + 40, len);
	put_be64(out + 48, m->clock);
	if (len)
		memcpy(out + PEER_HEADER_BYTES, m->data, len);
	put_be32(out + CRC_AT, crc_of(out, all));
	return all;
}

static bool decode_variable(uint64_t value, struct peer_message *m)
{
	if (m->kind == PEER_CALL) {
		m->floor = value;
		return m->floor && m->floor <= m->number;
	}
	if (value > ERRNO_MAX || (value && m->len))
		return false;
	m->err = -(int)value;
	return true;
}

bool peer_decode(const uint8_t *in, size_t len, struct peer_message *out)
{
	memset(out, 0, sizeof(*out));
	if (len < PEER_HEADER_BYTES || len > STORE_WIRE_MAX_BYTES || memcmp(in, magic, sizeof(magic)) != 0 ||
		in[4] != VERSION || (in[5] != PEER_CALL && in[5] != PEER_ANSWER))
		return false;
	out->kind = (enum peer_kind)in[5];
	out->topic = get_be16(in + 6);
	out->epoch = get_be64(in + 8);
	out->caller = get_be64(in + 16);
	out->number = get_be64(in + 24);
	out->len = get_be32(in + 40);
	out->clock = get_be64(in + 48);
	out->data = in + PEER_HEADER_BYTES;
	return out->len == len - PEER_HEADER_BYTES && get_be32(in + CRC_AT) == crc_of(in, len) &&
	       out->number && out->topic && out->topic < PEER_TOPICS &&
	       decode_variable(get_be64(in + 32), out);
}

/* ---- SCSI ---------------------------------------------------------------------------------------------- */

static uint32_t sent_bytes(const struct scsi_remote *r)
{
	return r->direction == SCSI_FROM_INITIATOR ? r->data_len : 0;
}

size_t peer_scsi_encode(const struct scsi_remote *r, uint8_t *out, size_t cap)
{
	size_t name_len = strlen(r->initiator), all = COMMAND_BYTES + r->cdb_len + name_len + sent_bytes(r);
	uint8_t *p = out + COMMAND_BYTES;

	if (all > cap || r->data_len > PEER_DATA_MAX_BYTES || r->cdb_len > SCSI_CDB_MAX_BYTES)
		return 0;
	memcpy(out, r->isid, sizeof(r->isid));
	put_be16(out + 6, r->port);
	out[8] = r->authenticated ? AUTHENTICATED : 0;
	out[9] = r->direction == SCSI_TO_INITIATOR ? 1 : r->direction == SCSI_FROM_INITIATOR ? 2 : 0;
	out[10] = (uint8_t)r->cdb_len;
	out[11] = (uint8_t)name_len;
	put_be32(out + 12, r->data_len);
	memcpy(out + 16, r->lun_id, UP_ID_BYTES);
	memcpy(p, r->cdb, r->cdb_len);
	memcpy(p + r->cdb_len, r->initiator, name_len);
	if (sent_bytes(r))
		memcpy(p + r->cdb_len + name_len, r->data, r->data_len);
	return all;
}

bool peer_scsi_decode(const uint8_t *in, size_t len, struct scsi_remote *r, const uint8_t **data)
{
	static const enum scsi_direction directions[] = {SCSI_NONE, SCSI_TO_INITIATOR, SCSI_FROM_INITIATOR};
	const uint8_t *p = in + COMMAND_BYTES;
	size_t name_len;

	memset(r, 0, sizeof(*r));
	if (len < COMMAND_BYTES || in[8] & ~AUTHENTICATED || in[9] > 2)
		return false;
	memcpy(r->isid, in, sizeof(r->isid));
	r->port = get_be16(in + 6);
	r->authenticated = in[8] & AUTHENTICATED;
	r->direction = directions[in[9]];
	r->cdb_len = in[10];
	name_len = in[11];
	r->data_len = get_be32(in + 12);
	memcpy(r->lun_id, in + 16, UP_ID_BYTES);
	if (r->cdb_len > SCSI_CDB_MAX_BYTES || !name_len || name_len > UP_NAME_MAX_BYTES ||
		r->data_len > PEER_DATA_MAX_BYTES || (r->direction == SCSI_NONE && r->data_len) ||
		len != COMMAND_BYTES + r->cdb_len + name_len + sent_bytes(r))
		return false;
	memcpy(r->cdb, p, r->cdb_len);
	memcpy(r->initiator, p + r->cdb_len, name_len);
	*data = p + r->cdb_len + name_len;
	return !memchr(r->initiator, 0, name_len);
}

size_t peer_scsi_answer_encode(const struct scsi_remote *r, uint8_t *out, size_t cap)
{
	uint32_t data_len = r->direction == SCSI_TO_INITIATOR ? r->data_len : 0;
	size_t all = REPLY_BYTES + r->sense_len + data_len;

	if (all > cap || r->sense_len > SCSI_SENSE_MAX_BYTES || data_len > PEER_DATA_MAX_BYTES)
		return 0;
	memset(out, 0, REPLY_BYTES);
	out[0] = r->status;
	out[1] = (uint8_t)r->sense_len;
	put_be32(out + 4, data_len);
	memcpy(out + REPLY_BYTES, r->sense, r->sense_len);
	if (data_len)
		memcpy(out + REPLY_BYTES + r->sense_len, r->data, data_len);
	return all;
}

bool peer_scsi_answer_decode(const uint8_t *in, size_t len, struct scsi_remote *r)
{
	uint32_t room = r->direction == SCSI_TO_INITIATOR ? r->data_len : 0, data_len;

	if (len < REPLY_BYTES || in[1] > SCSI_SENSE_MAX_BYTES || in[2] || in[3])
		return false;
	data_len = get_be32(in + 4);
	if (data_len > room || len != REPLY_BYTES + in[1] + (size_t)data_len)
		return false;
	r->status = in[0];
	r->sense_len = in[1];
	memcpy(r->sense, in + REPLY_BYTES, r->sense_len);
	if (r->direction != SCSI_TO_INITIATOR)
		return true;
	r->data_len = data_len;
	if (data_len)
		memcpy(r->data, in + REPLY_BYTES + r->sense_len, data_len);
	return true;
}

/* ---- a move -------------------------------------------------------------------------------------------- */

void peer_move_encode(enum peer_move_what what, bool force, uint8_t out[PEER_MOVE_BYTES])
{
	out[0] = (uint8_t)what;
	out[1] = force ? BY_FORCE : 0;
}

bool peer_move_decode(const uint8_t *in, size_t len, enum peer_move_what *what, bool *force)
{
	if (len != PEER_MOVE_BYTES || (in[0] != PEER_MOVE_BEGIN && in[0] != PEER_MOVE_LOOK) ||
		in[1] & ~(in[0] == PEER_MOVE_BEGIN ? BY_FORCE : 0))
		return false;
	*what = (enum peer_move_what)in[0];
	*force = in[1] & BY_FORCE;
	return true;
}

size_t peer_move_answer_encode(const struct peer_move_answer *a, uint8_t out[PEER_MOVE_ANSWER_MAX_BYTES])
{
	size_t len = strnlen(a->text, sizeof(a->text) - 1);

	out[0] = (uint8_t)a->state;
	out[1] = 0;
	put_be16(out + 2, (uint16_t)-a->err);
	put_be32(out + 4, a->message);
	memcpy(out + MOVE_BYTES, a->text, len);
	return MOVE_BYTES + len;
}

bool peer_move_answer_decode(const uint8_t *in, size_t len, struct peer_move_answer *a)
{
	memset(a, 0, sizeof(*a));
	if (len < MOVE_BYTES || len > PEER_MOVE_ANSWER_MAX_BYTES || in[0] > PEER_MOVE_FAILED || in[1] ||
		get_be16(in + 2) > ERRNO_MAX)
		return false;
	a->state = (enum peer_move_state)in[0];
	a->err = -(int)get_be16(in + 2);
	a->message = get_be32(in + 4);
	for (size_t i = MOVE_BYTES; i < len; i++)
		a->text[i - MOVE_BYTES] = in[i] >= ' ' && in[i] <= '~' ? (char)in[i] : '?';
	return true;
}
