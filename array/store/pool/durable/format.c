/* SPDX-License-Identifier: Apache-2.0 */
/* See format.h. */
#include "array/store/pool/durable/format.h"

#include <assert.h>
#include <errno.h>
#include <isa-l/crc.h>
#include <string.h>
#include "array/store/store.h"
#include "array/util/bytes.h"

static const uint8_t super_magic[8] = {'U', 'm', 'b', 'r', 'a', 'P', 'o', 'l'};
static const uint8_t log_magic[8] = {'U', 'm', 'b', 'r', 'a', 'L', 'o', 'g'};
#define FRAME_MAGIC 0x556d4672u         /* "UmFr" */
#define SHARED_BIT  (UINT64_C(1) << 63) /* of a chunk number */
#define SPLIT_BIT   (UINT64_C(1) << 62)

uint32_t pool_crc(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;

	while (len) {
		int part = len > (1u << 30) ? 1 << 30 : (int)len;

		crc = crc32_iscsi((unsigned char *)p, part, crc);
		p += part;
		len -= (size_t)part;
	}
	return crc;
}

/* ---- super ----------------------------------------------------------------------------------------- */

void pool_super_encode(uint8_t out[POOL_SUPER_BYTES], const struct pool_super *super)
{
	memset(out, 0, POOL_SUPER_BYTES);
	memcpy(out, super_magic, 8);
	put_be32(out + 8, super->version);
	put_be32(out + 12, super->data_device ? 1 : 0);
	put_be64(out + 16, super->features_refuse);
	put_be64(out + 24, super->features_data_readonly);
	put_be64(out + 32, super->features_meta_readonly);
	memcpy(out + 40, super->id, POOL_ID_BYTES);
	put_be64(out + 56, super->capacity_chunks);
	put_be64(out + 64, super->log_bytes);
	put_be32(out + 72, POOL_CHUNK_BYTES);
	put_be32(out + 76, super->entries_each);
	put_be32(out + POOL_SUPER_BYTES - 4, pool_crc(~0u, out, POOL_SUPER_BYTES - 4));
}

int pool_super_decode(const uint8_t in[POOL_SUPER_BYTES], struct pool_super *out)
{
	memset(out, 0, sizeof(*out));
	if (memcmp(in, super_magic, 8) != 0)
		return -EBADMSG;
	if (get_be32(in + POOL_SUPER_BYTES - 4) != pool_crc(~0u, in, POOL_SUPER_BYTES - 4))
		return -EBADMSG;
	out->version = get_be32(in + 8);
	out->data_device = (get_be32(in + 12) & 1) != 0;
	out->features_refuse = get_be64(in + 16);
	out->features_data_readonly = get_be64(in + 24);
	out->features_meta_readonly = get_be64(in + 32);
	memcpy(out->id, in + 40, POOL_ID_BYTES);
	out->capacity_chunks = get_be64(in + 56);
	out->log_bytes = get_be64(in + 64);
	out->entries_each = get_be32(in + 76);
	if (out->version > POOL_VERSION || (out->features_refuse & ~(uint64_t)POOL_FEATURES_REFUSE))
		return -ENOTSUP;
	if (out->version == 0 || get_be32(in + 72) != POOL_CHUNK_BYTES || out->capacity_chunks < 2 ||
		out->capacity_chunks > POOL_PHYS_MAX || out->log_bytes < POOL_LOG_MIN_BYTES ||
		out->log_bytes % POOL_LOG_ALIGN)
		return -EBADMSG;
	return 0;
}

/* ---- log frames ------------------------------------------------------------------------------------ */

void pool_log_label_encode(uint8_t out[POOL_LOG_START], const uint8_t id[POOL_ID_BYTES], uint64_t log_bytes)
{
	memset(out, 0, POOL_LOG_START);
	memcpy(out, log_magic, 8);
	memcpy(out + 8, id, POOL_ID_BYTES);
	put_be64(out + 24, log_bytes);
	put_be32(out + POOL_LOG_START - 4, pool_crc(~0u, out, POOL_LOG_START - 4));
}

int pool_log_label_check(const uint8_t in[POOL_LOG_START], const uint8_t id[POOL_ID_BYTES])
{
	if (memcmp(in, log_magic, 8) != 0 || memcmp(in + 8, id, POOL_ID_BYTES) != 0)
		return -EBADMSG;
	if (get_be32(in + POOL_LOG_START - 4) != pool_crc(~0u, in, POOL_LOG_START - 4))
		return -EBADMSG;
	return 0;
}

static const uint8_t mark_magic[8] = "UmbraMrk";

void pool_mark_encode(
	uint8_t out[POOL_MARK_BYTES], const uint8_t id[POOL_ID_BYTES], const struct pool_mark *mark)
{
	memset(out, 0, POOL_MARK_BYTES);
	memcpy(out, mark_magic, sizeof(mark_magic));
	memcpy(out + 8, id, POOL_ID_BYTES);
	put_be64(out + 24, mark->incarnation);
	put_be64(out + 32, mark->sequence);
	put_be32(out + POOL_MARK_BYTES - 4, pool_crc(~0u, out, POOL_MARK_BYTES - 4));
}

int pool_mark_decode(
	const uint8_t in[POOL_MARK_BYTES], const uint8_t id[POOL_ID_BYTES], struct pool_mark *out)
{
	if (memcmp(in, mark_magic, sizeof(mark_magic)) != 0 || memcmp(in + 8, id, POOL_ID_BYTES) != 0 ||
		get_be32(in + POOL_MARK_BYTES - 4) != pool_crc(~0u, in, POOL_MARK_BYTES - 4))
		return -EBADMSG;
	out->incarnation = get_be64(in + 24);
	out->sequence = get_be64(in + 32);
	return 0;
}

uint64_t pool_frame_bytes(uint64_t payload_bytes)
{
	return (POOL_FRAME_HEAD_SIZE + payload_bytes + POOL_LOG_ALIGN - 1) / POOL_LOG_ALIGN * POOL_LOG_ALIGN;
}

void pool_frame_seal(uint8_t *buf, const uint8_t id[POOL_ID_BYTES], const struct pool_frame *frame)
{
	memset(buf, 0, POOL_FRAME_HEAD_SIZE);
	put_be32(buf, FRAME_MAGIC);
	memcpy(buf + 8, id, POOL_ID_BYTES);
	put_be64(buf + 24, frame->incarnation);
	put_be64(buf + 32, frame->sequence);
	put_be64(buf + 40, frame->offset);
	put_be32(buf + 48, frame->payload_bytes);
	put_be32(buf + 52, frame->records);
	put_be32(buf + 4, pool_crc(~0u, buf + 8, POOL_FRAME_HEAD_SIZE - 8 + (size_t)frame->payload_bytes));
}

int pool_frame_head(
	const uint8_t *buf, const uint8_t id[POOL_ID_BYTES], uint64_t max_bytes, struct pool_frame *out)
{
	if (get_be32(buf) != FRAME_MAGIC || memcmp(buf + 8, id, POOL_ID_BYTES) != 0)
		return -EBADMSG;
	out->incarnation = get_be64(buf + 24);
	out->sequence = get_be64(buf + 32);
	out->offset = get_be64(buf + 40);
	out->payload_bytes = get_be32(buf + 48);
	out->records = get_be32(buf + 52);
	if (pool_frame_bytes(out->payload_bytes) > max_bytes)
		return -EBADMSG;
	return 0;
}

int pool_frame_check(const uint8_t *buf, const uint8_t id[POOL_ID_BYTES], const struct pool_frame *frame)
{
	(void)id; /* compared by pool_frame_head and covered by the CRC */
	if (get_be32(buf + 4) !=
		pool_crc(~0u, buf + 8, POOL_FRAME_HEAD_SIZE - 8 + (size_t)frame->payload_bytes))
		return -EBADMSG;
	return 0;
}

/* ---- records --------------------------------------------------------------------------------------- */

/* Body lengths of the records of fixed size, by type. */
static const uint8_t body_bytes[] = {
	[POOL_RECORD_MAP_PUT] = 32,
	[POOL_RECORD_MAP_DEL] = 24,
	[POOL_RECORD_FREE] = 16,
	[POOL_RECORD_BRANCH_PUT] = 40,
	[POOL_RECORD_BRANCH_DEL] = 8,
	[POOL_RECORD_DISK_PUT] = 24,
	[POOL_RECORD_DISK_DEL] = 8,
	[POOL_RECORD_CATALOGUE_PUT] = 0,
	[POOL_RECORD_CATALOGUE_DEL] = 0,
	[POOL_RECORD_TODO_PUT] = 16,
	[POOL_RECORD_TODO_DEL] = 16,
	[POOL_RECORD_IDS] = 16,
	[POOL_RECORD_UNSHARE] = 16,
	[POOL_RECORD_FREE_BLOCKS] = 16,
};

static bool is_catalogue(unsigned type)
{
	return type == POOL_RECORD_CATALOGUE_PUT || type == POOL_RECORD_CATALOGUE_DEL;
}

static size_t body_size(const struct pool_record *r)
{
	if (is_catalogue(r->type))
		return 8u + r->catalogue.key_len + r->catalogue.value_len;
	return body_bytes[r->type];
}

size_t pool_record_size(const struct pool_record *record)
{
	return POOL_RECORD_HEAD_BYTES + ((body_size(record) + 7) & ~(size_t)7);
}

/* The chunk's number, with what is special about it. */
static uint64_t place_encode(const struct pool_map_value *v)
{
	return v->phys | (v->shared ? SHARED_BIT : 0) | (v->split ? SPLIT_BIT : 0);
}

static void place_decode(uint64_t place, struct pool_map_value *v)
{
	v->phys = place & ~(SHARED_BIT | SPLIT_BIT);
	v->shared = (place & SHARED_BIT) != 0;
	v->split = (place & SPLIT_BIT) != 0;
}

/* Chunks, and in the highest four bits what is no whole chunk. */
static uint64_t held_encode(uint64_t blocks)
{
	return blocks / POOL_BLOCKS | blocks % POOL_BLOCKS << 60;
}

static uint64_t held_decode(uint64_t held)
{
	return (held & ~(UINT64_C(15) << 60)) * POOL_BLOCKS + (held >> 60);
}

static void encode_map(uint8_t *p, const struct pool_record *r)
{
	put_be64(p, r->map.key.branch);
	put_be64(p + 8, r->map.key.chunk);
	put_be32(p + 16, r->map.key.gen);
	if (r->type == POOL_RECORD_MAP_DEL)
		return;
	put_be16(p + 20, r->map.value.valid);
	put_be16(p + 22, r->map.value.zero);
	put_be64(p + 24, place_encode(&r->map.value));
}

static void encode_branch(uint8_t *p, const struct pool_record *r)
{
	put_be64(p, r->branch.id);
	if (r->type == POOL_RECORD_BRANCH_DEL)
		return;
	put_be32(p + 8, r->branch.value.gen);
	put_be32(p + 12, r->branch.value.parent_gen);
	put_be64(p + 16, r->branch.value.parent);
	put_be64(p + 24, held_encode(r->branch.value.blocks));
}

static void encode_disk(uint8_t *p, const struct pool_record *r)
{
	put_be64(p, r->disk.id);
	if (r->type == POOL_RECORD_DISK_DEL)
		return;
	put_be64(p + 8, r->disk.value.branch);
	put_be64(p + 16, r->disk.value.size_bytes);
}

static void encode_catalogue(uint8_t *p, const struct pool_record *r)
{
	p[0] = r->catalogue.table;
	put_be16(p + 2, r->catalogue.key_len);
	put_be32(p + 4, r->catalogue.value_len);
	memcpy(p + 8, r->catalogue.key, r->catalogue.key_len);
	if (r->catalogue.value_len)
		memcpy(p + 8 + r->catalogue.key_len, r->catalogue.value, r->catalogue.value_len);
}

size_t pool_record_encode(uint8_t *out, const struct pool_record *r)
{
	size_t size = pool_record_size(r), body = body_size(r);
	uint8_t *p = out + POOL_RECORD_HEAD_BYTES;

	memset(out, 0, POOL_RECORD_HEAD_BYTES);
	memset(out + size - 8, 0, 8);
	if (!is_catalogue(r->type))
		memset(p, 0, size - POOL_RECORD_HEAD_BYTES);
	out[0] = (uint8_t)r->type;
	put_be32(out + 4, (uint32_t)body);
	switch (r->type) {
	case POOL_RECORD_MAP_PUT:
	case POOL_RECORD_MAP_DEL:
		encode_map(p, r);
		break;
	case POOL_RECORD_FREE:
	case POOL_RECORD_UNSHARE:
		put_be64(p, r->run.phys);
		put_be64(p + 8, r->run.count);
		break;
	case POOL_RECORD_FREE_BLOCKS:
		put_be64(p, r->blocks.phys);
		put_be16(p + 8, r->blocks.mask);
		break;
	case POOL_RECORD_BRANCH_PUT:
	case POOL_RECORD_BRANCH_DEL:
		encode_branch(p, r);
		break;
	case POOL_RECORD_DISK_PUT:
	case POOL_RECORD_DISK_DEL:
		encode_disk(p, r);
		break;
	case POOL_RECORD_CATALOGUE_PUT:
	case POOL_RECORD_CATALOGUE_DEL:
		memset(p, 0, 8);
		encode_catalogue(p, r);
		break;
	case POOL_RECORD_TODO_PUT:
	case POOL_RECORD_TODO_DEL:
		put_be64(p, r->todo.branch);
		put_be32(p + 8, r->todo.gen);
		break;
	case POOL_RECORD_IDS:
		put_be64(p, r->ids.next_branch);
		put_be64(p + 8, r->ids.next_disk);
		break;
	}
	return size;
}

static int decode_map(const uint8_t *p, struct pool_record *r)
{
	r->map.key.branch = get_be64(p);
	r->map.key.chunk = get_be64(p + 8);
	r->map.key.gen = get_be32(p + 16);
	if (r->map.key.branch == 0)
		return -EBADMSG;
	if (r->type == POOL_RECORD_MAP_DEL)
		return 0;
	r->map.value.valid = get_be16(p + 20);
	r->map.value.zero = get_be16(p + 22);
	place_decode(get_be64(p + 24), &r->map.value);
	if ((r->map.value.valid & r->map.value.zero) || r->map.value.phys > POOL_PHYS_MAX ||
		(r->map.value.valid && r->map.value.phys == 0) ||
		((r->map.value.shared || r->map.value.split) && !r->map.value.valid) ||
		(r->map.value.shared && r->map.value.split))
		return -EBADMSG;
	return 0;
}

static int decode_catalogue(const uint8_t *p, size_t body, struct pool_record *r)
{
	if (body < 8)
		return -EBADMSG;
	r->catalogue.table = p[0];
	r->catalogue.key_len = get_be16(p + 2);
	r->catalogue.value_len = get_be32(p + 4);
	r->catalogue.key = p + 8;
	r->catalogue.value = p + 8 + r->catalogue.key_len;
	if (r->catalogue.table == 0 || r->catalogue.table >= STORE_TABLE_COUNT ||
		r->catalogue.key_len > STORE_KEY_MAX_BYTES ||
		r->catalogue.value_len > STORE_VALUE_MAX_BYTES ||
		8u + r->catalogue.key_len + r->catalogue.value_len != body)
		return -EBADMSG;
	return 0;
}

static int decode_fixed(const uint8_t *p, struct pool_record *r)
{
	switch (r->type) {
	case POOL_RECORD_MAP_PUT:
	case POOL_RECORD_MAP_DEL:
		return decode_map(p, r);
	case POOL_RECORD_FREE:
	case POOL_RECORD_UNSHARE:
		r->run.phys = get_be64(p);
		r->run.count = get_be64(p + 8);
		return r->run.phys == 0 || r->run.phys > POOL_PHYS_MAX || r->run.count == 0 ||
				       r->run.count > POOL_PHYS_MAX - r->run.phys
			       ? -EBADMSG
			       : 0;
	case POOL_RECORD_FREE_BLOCKS:
		r->blocks.phys = get_be64(p);
		r->blocks.mask = get_be16(p + 8);
		return r->blocks.phys == 0 || r->blocks.phys > POOL_PHYS_MAX || !r->blocks.mask ? -EBADMSG
												: 0;
	case POOL_RECORD_BRANCH_PUT:
	case POOL_RECORD_BRANCH_DEL:
		r->branch.id = get_be64(p);
		if (r->type == POOL_RECORD_BRANCH_PUT) {
			r->branch.value.gen = get_be32(p + 8);
			r->branch.value.parent_gen = get_be32(p + 12);
			r->branch.value.parent = get_be64(p + 16);
			r->branch.value.blocks = held_decode(get_be64(p + 24));
		}
		return r->branch.id ? 0 : -EBADMSG;
	case POOL_RECORD_DISK_PUT:
	case POOL_RECORD_DISK_DEL:
		r->disk.id = get_be64(p);
		if (r->type == POOL_RECORD_DISK_PUT) {
			r->disk.value.branch = get_be64(p + 8);
			r->disk.value.size_bytes = get_be64(p + 16);
		}
		return r->disk.id ? 0 : -EBADMSG;
	case POOL_RECORD_TODO_PUT:
	case POOL_RECORD_TODO_DEL:
		r->todo.branch = get_be64(p);
		r->todo.gen = get_be32(p + 8);
		return r->todo.branch ? 0 : -EBADMSG;
	case POOL_RECORD_IDS:
		r->ids.next_branch = get_be64(p);
		r->ids.next_disk = get_be64(p + 8);
		return 0;
	default:
		return -EBADMSG;
	}
}

int64_t pool_record_decode(const uint8_t *in, size_t left, struct pool_record *out)
{
	const uint8_t *p = in + POOL_RECORD_HEAD_BYTES;
	size_t body, size;
	int err;

	memset(out, 0, sizeof(*out));
	if (left < POOL_RECORD_HEAD_BYTES)
		return -EBADMSG;
	if (in[0] < POOL_RECORD_MAP_PUT || in[0] > POOL_RECORD_FREE_BLOCKS)
		return -EBADMSG;
	out->type = (enum pool_record_type)in[0];
	body = get_be32(in + 4);
	size = (body + 7) & ~(size_t)7;
	if (size > left - POOL_RECORD_HEAD_BYTES)
		return -EBADMSG;
	if (is_catalogue(out->type))
		err = decode_catalogue(p, body, out);
	else
		err = body == body_bytes[out->type] ? decode_fixed(p, out) : -EBADMSG;
	return err ? err : (int64_t)(POOL_RECORD_HEAD_BYTES + size);
}

/* ---- values ---------------------------------------------------------------------------------------- */

void pool_map_key_encode(uint8_t out[POOL_MAP_KEY_BYTES], const struct pool_map_key *key)
{
	put_be64(out, key->branch);
	put_be64(out + 8, key->chunk);
	put_be32(out + 16, ~key->gen);
}

void pool_map_key_decode(const uint8_t in[POOL_MAP_KEY_BYTES], struct pool_map_key *key)
{
	key->branch = get_be64(in);
	key->chunk = get_be64(in + 8);
	key->gen = ~get_be32(in + 16);
}

void pool_gen_key_encode(uint8_t out[POOL_GEN_KEY_BYTES], const struct pool_map_key *key)
{
	put_be64(out, key->branch);
	put_be32(out + 8, key->gen);
	put_be64(out + 12, key->chunk);
}

void pool_gen_key_decode(const uint8_t in[POOL_GEN_KEY_BYTES], struct pool_map_key *key)
{
	key->branch = get_be64(in);
	key->gen = get_be32(in + 8);
	key->chunk = get_be64(in + 12);
}

void pool_map_value_encode(uint8_t out[POOL_MAP_VALUE_BYTES], const struct pool_map_value *value)
{
	put_be64(out, place_encode(value));
	put_be16(out + 8, value->valid);
	put_be16(out + 10, value->zero);
}

void pool_map_value_decode(const uint8_t in[POOL_MAP_VALUE_BYTES], struct pool_map_value *value)
{
	place_decode(get_be64(in), value);
	value->valid = get_be16(in + 8);
	value->zero = get_be16(in + 10);
}

void pool_ref_key_encode(uint8_t out[POOL_REF_KEY_BYTES], uint64_t phys, const struct pool_map_key *key)
{
	put_be64(out, phys);
	pool_map_key_encode(out + 8, key);
}

void pool_ref_key_decode(const uint8_t in[POOL_REF_KEY_BYTES], uint64_t *phys, struct pool_map_key *key)
{
	*phys = get_be64(in);
	pool_map_key_decode(in + 8, key);
}

void pool_branch_value_encode(uint8_t out[POOL_BRANCH_VALUE_BYTES], const struct pool_branch_value *value)
{
	memset(out, 0, POOL_BRANCH_VALUE_BYTES);
	put_be32(out, value->gen);
	put_be32(out + 4, value->parent_gen);
	put_be64(out + 8, value->parent);
	put_be64(out + 16, held_encode(value->blocks));
}

void pool_branch_value_decode(const uint8_t in[POOL_BRANCH_VALUE_BYTES], struct pool_branch_value *value)
{
	value->gen = get_be32(in);
	value->parent_gen = get_be32(in + 4);
	value->parent = get_be64(in + 8);
	value->blocks = held_decode(get_be64(in + 16));
}

void pool_disk_value_encode(uint8_t out[POOL_DISK_VALUE_BYTES], const struct pool_disk_value *value)
{
	memset(out, 0, POOL_DISK_VALUE_BYTES);
	put_be64(out, value->branch);
	put_be64(out + 8, value->size_bytes);
}

void pool_disk_value_decode(const uint8_t in[POOL_DISK_VALUE_BYTES], struct pool_disk_value *value)
{
	value->branch = get_be64(in);
	value->size_bytes = get_be64(in + 8);
}

size_t pool_state_encode(uint8_t out[POOL_STATE_SHUT_BYTES], const struct pool_state *state)
{
	memset(out, 0, POOL_STATE_SHUT_BYTES);
	put_be64(out, state->incarnation);
	put_be64(out + 8, state->applied_sequence);
	put_be64(out + 16, state->log_offset);
	put_be64(out + 24, state->next_branch);
	put_be64(out + 32, state->next_disk);
	return state->shut ? POOL_STATE_SHUT_BYTES : POOL_STATE_VALUE_BYTES;
}

size_t pool_state_decode(const uint8_t *in, size_t value_len, struct pool_state *state)
{
	if (value_len != POOL_STATE_VALUE_BYTES && value_len != POOL_STATE_SHUT_BYTES)
		return 0;
	state->incarnation = get_be64(in);
	state->applied_sequence = get_be64(in + 8);
	state->log_offset = get_be64(in + 16);
	state->next_branch = get_be64(in + 24);
	state->next_disk = get_be64(in + 32);
	state->shut = value_len == POOL_STATE_SHUT_BYTES;
	return value_len;
}

static uint32_t value_crc(const uint8_t id[POOL_ID_BYTES], enum pool_table table, const void *key,
	size_t key_len, const uint8_t *value, size_t value_len)
{
	uint8_t head[POOL_ID_BYTES + 4];
	uint32_t crc;

	memcpy(head, id, POOL_ID_BYTES);
	put_be32(head + POOL_ID_BYTES, (uint32_t)table);
	crc = pool_crc(~0u, head, sizeof(head));
	crc = pool_crc(crc, key, key_len);
	return pool_crc(crc, value, value_len - 4);
}

void pool_value_seal(const uint8_t id[POOL_ID_BYTES], enum pool_table table, const void *key, size_t key_len,
	uint8_t *value, size_t value_len)
{
	assert(value_len >= 4);
	put_be32(value + value_len - 4, value_crc(id, table, key, key_len, value, value_len));
}

bool pool_value_ok(const uint8_t id[POOL_ID_BYTES], enum pool_table table, const void *key, size_t key_len,
	const uint8_t *value, size_t value_len)
{
	return value_len >= 4 &&
	       get_be32(value + value_len - 4) == value_crc(id, table, key, key_len, value, value_len);
}
