/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control protocol's codec. One table gives every field's type and place in struct up_msg; encoding,
 * decoding and the check for required fields walk it.
 */
#include "umbra_proto.h"

#include <string.h>

enum field_type {
	FIELD_NONE,
	FIELD_U32,
	FIELD_U64,
	FIELD_ID,
	FIELD_STRING,
	FIELD_LUN
};

struct field {
	enum field_type type;
	size_t offset;    /* in struct up_msg */
	size_t max_bytes; /* of a string, without its NUL */
	const char *name;
};

#define U32(tag, member)       [tag] = {FIELD_U32, offsetof(struct up_msg, member), 0, #member}
#define U64(tag, member)       [tag] = {FIELD_U64, offsetof(struct up_msg, member), 0, #member}
#define ID(tag, member)        [tag] = {FIELD_ID, offsetof(struct up_msg, member), 0, #member}
#define STRING(tag, member, n) [tag] = {FIELD_STRING, offsetof(struct up_msg, member), n, #member}

static const struct field fields[UP_TAG_COUNT] = {
	STRING(UP_TAG_TEXT, text, UP_TEXT_MAX_BYTES),
	ID(UP_TAG_ARRAY_ID, array_id),
	STRING(UP_TAG_ARRAY_NAME, array_name, UP_NAME_MAX_BYTES),
	STRING(UP_TAG_INITIATOR_NAME, initiator_name, UP_NAME_MAX_BYTES),
	U64(UP_TAG_CAPABILITIES, capabilities),
	U32(UP_TAG_AUTHENTICATED, authenticated),
	U32(UP_TAG_MAX_SET_LUNS, max_set_luns),
	U32(UP_TAG_LEASE_MS, lease_ms),
	ID(UP_TAG_SET_ID, set_id),
	ID(UP_TAG_LUN_ID, lun_id),
	ID(UP_TAG_TARGET_ID, target_id),
	U32(UP_TAG_COPY_KIND, copy_kind),
	U32(UP_TAG_STATE, state),
	U32(UP_TAG_DEADLINE_MS, deadline_ms),
	U64(UP_TAG_WINDOW_NS, window_ns),
	U64(UP_TAG_DURABLE_NS, durable_ns),
	U32(UP_TAG_CURSOR, cursor),
	U32(UP_TAG_LUN_NUMBER, lun_number),
	U32(UP_TAG_SCOPE, scope),
	U32(UP_TAG_FLAGS, flags),
	U32(UP_TAG_PERCENT, percent),
	[UP_TAG_LUN_ENTRY] = {FIELD_LUN, 0, 0, "lun_entry"},
	U32(UP_TAG_MAX_REQUEST, max_request),
	U32(UP_TAG_COMMIT_BUDGET_MS, commit_budget_ms),
	U32(UP_TAG_JOB, job),
	U32(UP_TAG_JOB_STATE, job_state),
	STRING(UP_TAG_LABEL, label, UP_LABEL_MAX_BYTES),
	U32(UP_TAG_WRITERS, writers),
	U64(UP_TAG_FROZEN_US, frozen_us),
	U64(UP_TAG_FLUSH_US, flush_us),
	U64(UP_TAG_COMMIT_US, commit_us),
	U64(UP_TAG_RELEASE_US, release_us),
	U64(UP_TAG_IMPORT_US, import_us),
};

struct op_row {
	const char *name;
	uint64_t required; /* UP_HAS bits of a request */
	bool changes;
};

#define SET UP_HAS(UP_TAG_SET_ID)
#define LUN UP_HAS(UP_TAG_LUN_ID)
static const struct op_row ops[UP_OP_COUNT] = {
	[UP_OP_IDENTIFY] = {"identify", 0, false},
	[UP_OP_DESCRIBE_LUN] = {"describe-lun", 0, false},
	[UP_OP_SET_BEGIN] = {"set-begin", SET, true},
	[UP_OP_SET_ADD] = {"set-add", SET | LUN, true},
	[UP_OP_SET_STATE] = {"set-state", SET, false},
	[UP_OP_SET_ARM] = {"set-arm", SET, true},
	[UP_OP_SET_COMMIT] = {"set-commit", SET | UP_HAS(UP_TAG_DEADLINE_MS), true},
	[UP_OP_SET_KEEP] = {"set-keep", SET, true},
	[UP_OP_SET_ABORT] = {"set-abort", SET, true},
	[UP_OP_SET_LUNS] = {"set-luns", SET, false},
	[UP_OP_MAP] = {"map", LUN, true},
	[UP_OP_UNMAP] = {"unmap", LUN | UP_HAS(UP_TAG_SCOPE), true},
	[UP_OP_DELETE] = {"delete", LUN, true},
	[UP_OP_BREAK] = {"break", LUN, true},
	[UP_OP_RESYNC_START] = {"resync-start", LUN | UP_HAS(UP_TAG_TARGET_ID), true},
	[UP_OP_RESYNC_STATE] = {"resync-state", UP_HAS(UP_TAG_JOB), false},
	[UP_OP_RESYNC_CANCEL] = {"resync-cancel", UP_HAS(UP_TAG_JOB), true},
	[UP_OP_LIST] = {"list", 0, false},
	[UP_OP_NOTIFY] = {"notify", LUN | UP_HAS(UP_TAG_FLAGS), true},
	[UP_OP_SET_LABEL] = {"set-label", SET | UP_HAS(UP_TAG_LABEL), true},
	[UP_OP_SET_TELL] = {"set-tell", SET, true},
	[UP_OP_SET_TAKE] = {"set-take", SET | UP_HAS(UP_TAG_LUN_ENTRY), true},
};
#undef SET
#undef LUN

static const char *const status_names[UP_STATUS_COUNT] = {
	[UP_OK] = "ok",
	[UP_PENDING] = "pending",
	[UP_BAD_MESSAGE] = "bad message",
	[UP_BAD_VERSION] = "version not spoken",
	[UP_UNSUPPORTED] = "not supported",
	[UP_NOT_FOUND] = "not found",
	[UP_BAD_STATE] = "wrong state",
	[UP_DENIED] = "denied",
	[UP_NOT_AUTHENTICATED] = "not authenticated",
	[UP_NO_SPACE] = "no space",
	[UP_LIMIT] = "limit reached",
	[UP_DEADLINE] = "deadline passed",
	[UP_BUSY] = "busy",
	[UP_IO_ERROR] = "store error",
	[UP_OTHER_STORE] = "LUN in another store",
	[UP_NOT_MAPPED] = "LUN not mapped to this host",
	[UP_ID_CONFLICT] = "id in use",
	[UP_INTERNAL] = "internal error",
};

static const char *const set_state_names[] = {
	[UP_SET_PREPARING] = "preparing",
	[UP_SET_ARMED] = "armed",
	[UP_SET_COMMITTING] = "committing",
	[UP_SET_COMMITTED] = "committed",
	[UP_SET_KEPT] = "kept",
	[UP_SET_ABORTED] = "aborted",
};

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

static void put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)(v >> 32));
	put32(p + 4, (uint32_t)v);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint64_t get64(const uint8_t *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

void up_request_init(struct up_msg *m, enum up_op op, uint64_t request_id)
{
	memset(m, 0, sizeof(*m));
	m->version_major = UP_VERSION_MAJOR;
	m->version_minor = UP_VERSION_MINOR;
	m->op = (uint16_t)op;
	m->request_id = request_id;
}

void up_reply_init(struct up_msg *m, const struct up_msg *request, enum up_status status)
{
	uint16_t op = request ? request->op : 0;
	uint64_t request_id = request ? request->request_id : 0;

	up_request_init(m, (enum up_op)op, request_id);
	m->is_reply = true;
	m->status = status;
}

static void encode_lun(uint8_t *p, const struct up_lun *lun)
{
	memset(p, 0, UP_LUN_WIRE_BYTES);
	memcpy(p, lun->id, UP_ID_BYTES);
	memcpy(p + 16, lun->origin_id, UP_ID_BYTES);
	memcpy(p + 32, lun->set_id, UP_ID_BYTES);
	put64(p + 48, lun->size_bytes);
	put32(p + 56, lun->block_bytes);
	put32(p + 60, lun->kind);
	put32(p + 64, lun->number);
	put32(p + 68, lun->copy_kind);
	put32(p + 72, lun->set_state);
	put32(p + 76, lun->mapped_hosts);
	put64(p + 80, lun->created_unix_ms);
	put32(p + 88, lun->notified);
	put32(p + 92, lun->full_percent);
}

static void decode_lun(struct up_lun *lun, const uint8_t *p)
{
	memcpy(lun->id, p, UP_ID_BYTES);
	memcpy(lun->origin_id, p + 16, UP_ID_BYTES);
	memcpy(lun->set_id, p + 32, UP_ID_BYTES);
	lun->size_bytes = get64(p + 48);
	lun->block_bytes = get32(p + 56);
	lun->kind = get32(p + 60);
	lun->number = get32(p + 64);
	lun->copy_kind = get32(p + 68);
	lun->set_state = get32(p + 72);
	lun->mapped_hosts = get32(p + 76);
	lun->created_unix_ms = get64(p + 80);
	lun->notified = get32(p + 88);
	lun->full_percent = get32(p + 92);
}

static size_t padded(size_t len_bytes)
{
	return (len_bytes + 3) & ~(size_t)3;
}

/* Writes one field at *used; false when it does not fit. */
static bool put_field(uint8_t *buf, size_t cap, size_t *used, unsigned tag, const void *value, size_t len)
{
	size_t need = 4 + padded(len);

	if (cap - *used < need)
		return false;
	put16(buf + *used, (uint16_t)tag);
	put16(buf + *used + 2, (uint16_t)len);
	memset(buf + *used + 4, 0, padded(len));
	if (len)
		memcpy(buf + *used + 4, value, len);
	*used += need;
	return true;
}

static bool put_message_field(uint8_t *buf, size_t cap, size_t *used, const struct up_msg *m, unsigned tag)
{
	const struct field *f = &fields[tag];
	const char *at = (const char *)m + f->offset;
	uint8_t wire[UP_LUN_WIRE_BYTES];
	uint32_t u32;
	uint64_t u64;

	switch (f->type) {
	case FIELD_U32:
		memcpy(&u32, at, sizeof(u32));
		put32(wire, u32);
		return put_field(buf, cap, used, tag, wire, 4);
	case FIELD_U64:
		memcpy(&u64, at, sizeof(u64));
		put64(wire, u64);
		return put_field(buf, cap, used, tag, wire, 8);
	case FIELD_ID:
		return put_field(buf, cap, used, tag, at, UP_ID_BYTES);
	case FIELD_STRING: {
		const char *end = memchr(at, '\0', f->max_bytes + 1);
		return end && put_field(buf, cap, used, tag, at, (size_t)(end - at));
	}
	case FIELD_LUN:
		if (m->lun_count > UP_PAGE_MAX_LUNS)
			return false;
		for (uint32_t i = 0; i < m->lun_count; i++) {
			encode_lun(wire, &m->luns[i]);
			if (!put_field(buf, cap, used, tag, wire, sizeof(wire)))
				return false;
		}
		return true;
	case FIELD_NONE:
		break;
	}
	return false;
}

size_t up_encode(const struct up_msg *m, uint8_t *buf, size_t cap_bytes)
{
	size_t used = UP_HEADER_BYTES;

	if (cap_bytes < UP_HEADER_BYTES)
		return 0;
	for (unsigned tag = 1; tag < UP_TAG_COUNT; tag++)
		if (up_has(m, tag) && !put_message_field(buf, cap_bytes, &used, m, tag))
			return 0;
	memset(buf, 0, UP_HEADER_BYTES);
	put32(buf, UP_MAGIC);
	buf[4] = m->version_major;
	buf[5] = m->version_minor;
	put16(buf + 6, UP_HEADER_BYTES);
	put32(buf + 8, (uint32_t)used);
	put16(buf + 12, m->op);
	put16(buf + 14, m->is_reply ? 1 : 0);
	put32(buf + 16, m->is_reply ? m->status : 0);
	put64(buf + 20, m->request_id);
	return used;
}

size_t up_peek_length(const uint8_t *buf, size_t len_bytes)
{
	if (len_bytes < UP_HEADER_BYTES || get32(buf) != UP_MAGIC)
		return 0;
	return get32(buf + 8);
}

/* A string's bytes hold no NUL: what is compared is what was sent. */
static bool take_string(struct up_msg *m, const struct field *f, const uint8_t *value, size_t len)
{
	if (len > f->max_bytes || memchr(value, '\0', len))
		return false;
	char *at = (char *)m + f->offset;
	if (len)
		memcpy(at, value, len);
	at[len] = '\0';
	return true;
}

static bool take_field(struct up_msg *m, unsigned tag, const uint8_t *value, size_t len)
{
	const struct field *f = &fields[tag];
	char *at = (char *)m + f->offset;

	if (f->type == FIELD_LUN) {
		if (len < UP_LUN_WIRE_BYTES || m->lun_count == UP_PAGE_MAX_LUNS)
			return false;
		decode_lun(&m->luns[m->lun_count++], value);
		return true;
	}
	if (up_has(m, tag)) /* only LUN entries may repeat */
		return false;
	switch (f->type) {
	case FIELD_U32: {
		if (len != 4)
			return false;
		uint32_t u32 = get32(value);
		memcpy(at, &u32, sizeof(u32));
		return true;
	}
	case FIELD_U64: {
		if (len != 8)
			return false;
		uint64_t u64 = get64(value);
		memcpy(at, &u64, sizeof(u64));
		return true;
	}
	case FIELD_ID:
		if (len != UP_ID_BYTES)
			return false;
		memcpy(at, value, UP_ID_BYTES);
		return true;
	case FIELD_STRING:
		return take_string(m, f, value, len);
	default:
		return false;
	}
}

enum up_status up_decode(struct up_msg *m, const uint8_t *buf, size_t len_bytes)
{
	memset(m, 0, sizeof(*m));
	if (len_bytes < UP_HEADER_BYTES || get32(buf) != UP_MAGIC)
		return UP_BAD_MESSAGE;
	m->version_major = buf[4];
	m->version_minor = buf[5];
	m->op = get16(buf + 12);
	m->is_reply = (get16(buf + 14) & 1) != 0;
	m->status = get32(buf + 16);
	m->request_id = get64(buf + 20);
	if (m->version_major != UP_VERSION_MAJOR)
		return UP_BAD_VERSION;

	size_t header = get16(buf + 6), total = get32(buf + 8);
	if (header < UP_HEADER_BYTES || header % 4 || total < header || total > len_bytes ||
		total > UP_REPLY_MAX_BYTES)
		return UP_BAD_MESSAGE;
	for (size_t at = header; at < total;) {
		if (total - at < 4)
			return UP_BAD_MESSAGE;
		unsigned tag = get16(buf + at);
		size_t len = get16(buf + at + 2);
		if (total - at - 4 < padded(len))
			return UP_BAD_MESSAGE;
		if (tag > 0 && tag < UP_TAG_COUNT) {
			if (!take_field(m, tag, buf + at + 4, len))
				return UP_BAD_MESSAGE;
			m->has |= UP_HAS(tag);
		}
		at += 4 + padded(len);
	}
	return UP_OK;
}

enum up_status up_request_check(const struct up_msg *m, const char **missing)
{
	if (missing)
		*missing = NULL;
	if (m->op >= UP_OP_COUNT || !ops[m->op].name)
		return UP_UNSUPPORTED;
	for (unsigned tag = 1; tag < UP_TAG_COUNT; tag++) {
		if ((ops[m->op].required & UP_HAS(tag)) && !up_has(m, tag)) {
			if (missing)
				*missing = fields[tag].name;
			return UP_BAD_MESSAGE;
		}
	}
	return UP_OK;
}

const char *up_op_name(uint32_t op)
{
	return op < UP_OP_COUNT && ops[op].name ? ops[op].name : "unknown operation";
}

const char *up_status_name(uint32_t status)
{
	return status < UP_STATUS_COUNT ? status_names[status] : "unknown status";
}

const char *up_set_state_name(uint32_t state)
{
	size_t count = sizeof(set_state_names) / sizeof(set_state_names[0]);

	return state < count && set_state_names[state] ? set_state_names[state] : "unknown state";
}

const char *up_writers_name(uint32_t writers)
{
	static const char *const names[] = {"not told", "took part", "left out", "no VSS"};

	return writers < sizeof(names) / sizeof(names[0]) ? names[writers] : "unknown";
}

/* The length of the UTF-8 character at p, at least 2 bytes long; 0: there is none. */
static size_t utf8_length(const uint8_t *p)
{
	size_t len = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
	uint32_t code = p[0] & (0xFFu >> (len + 1));

	if (p[0] < 0xC2 || p[0] > 0xF4)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xC0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3Fu);
	}
	if ((len == 3 && (code < 0x800 || (code >= 0xD800 && code < 0xE000))) ||
		(len == 4 && (code < 0x10000 || code > 0x10FFFF)))
		return 0;
	return code < 0xA0 ? 0 : len; /* control characters */
}

bool up_label_valid(const char *label)
{
	size_t at = 0;

	while (label[at]) {
		const uint8_t *p = (const uint8_t *)label + at;
		size_t len = *p < 0x80 ? *p >= 0x20 && *p != 0x7F : utf8_length(p);

		if (!len)
			return false;
		at += len;
	}
	return at <= UP_LABEL_MAX_BYTES;
}

bool up_op_changes(uint32_t op)
{
	return op >= UP_OP_COUNT || ops[op].changes;
}
