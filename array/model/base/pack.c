/* SPDX-License-Identifier: Apache-2.0 */
/* Packing and unpacking of catalogue records: see pack.h. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "array/model/base/pack.h"
#include "array/util/bytes.h"

static uint32_t record_sum(
	enum store_table table, const void *key, size_t key_len, const void *value, size_t len)
{
	return XXH32(value, len, XXH32(key, key_len, (uint32_t)table));
}

/* ---- packing ---------------------------------------------------------------------------------------- */

void pack_bytes(struct packer *k, const void *from, size_t len)
{
	assert(k->len + len + 4 <= STORE_VALUE_MAX_BYTES);
	memcpy(k->p + k->len, from, len);
	k->len += len;
}

void pack_u8(struct packer *k, uint8_t v)
{
	pack_bytes(k, &v, 1);
}

void pack_u16(struct packer *k, uint16_t v)
{
	uint8_t b[2];

	put_be16(b, v);
	pack_bytes(k, b, sizeof(b));
}

void pack_u32(struct packer *k, uint32_t v)
{
	uint8_t b[4];

	put_be32(b, v);
	pack_bytes(k, b, sizeof(b));
}

void pack_u64(struct packer *k, uint64_t v)
{
	uint8_t b[8];

	put_be64(b, v);
	pack_bytes(k, b, sizeof(b));
}

void pack_text(struct packer *k, const char *text)
{
	size_t len = strlen(text);

	assert(len <= 255);
	pack_u8(k, (uint8_t)len);
	pack_bytes(k, text, len);
}

void pack_notes(struct packer *k, const struct set_notes *n)
{
	pack_text(k, n->label);
	pack_u8(k, (uint8_t)n->writers);
	pack_u64(k, n->frozen_us);
	pack_u64(k, n->flush_us);
	pack_u64(k, n->commit_us);
	pack_u64(k, n->release_us);
	pack_u8(k, n->imported);
	pack_u64(k, n->import_us);
}

struct packer pack_begin_version(struct array *a, uint8_t version)
{
	struct packer k = {.p = a->scratch};

	pack_u8(&k, version);
	return k;
}

struct packer pack_begin(struct array *a)
{
	return pack_begin_version(a, PACK_VERSION);
}

int pack_put(struct array *a, struct store_txn *t, enum store_table table, const void *key, size_t key_len,
	struct packer *k)
{
	pack_u32(k, record_sum(table, key, key_len, k->p, k->len));
	return a->options.store->ops->txn_put(t, table, key, key_len, k->p, k->len);
}

int pack_del(struct array *a, struct store_txn *t, enum store_table table, const void *key, size_t len)
{
	return a->options.store->ops->txn_del(t, table, key, len);
}

/* ---- unpacking -------------------------------------------------------------------------------------- */

void unpack_bytes(struct unpacker *u, void *to, size_t len)
{
	if (u->bad || u->left < len) {
		u->bad = true;
		memset(to, 0, len);
		return;
	}
	memcpy(to, u->p, len);
	u->p += len;
	u->left -= len;
}

uint8_t unpack_u8(struct unpacker *u)
{
	uint8_t v;

	unpack_bytes(u, &v, 1);
	return v;
}

uint16_t unpack_u16(struct unpacker *u)
{
	uint8_t b[2];

	unpack_bytes(u, b, sizeof(b));
	return get_be16(b);
}

uint32_t unpack_u32(struct unpacker *u)
{
	uint8_t b[4];

	unpack_bytes(u, b, sizeof(b));
	return get_be32(b);
}

uint64_t unpack_u64(struct unpacker *u)
{
	uint8_t b[8];

	unpack_bytes(u, b, sizeof(b));
	return get_be64(b);
}

void unpack_text(struct unpacker *u, char *to, size_t cap)
{
	size_t len = unpack_u8(u);

	memset(to, 0, cap);
	if (len >= cap)
		u->bad = true;
	else
		unpack_bytes(u, to, len);
	if (!u->bad && memchr(to, 0, len))
		u->bad = true;
}

static uint64_t unpack_cost(struct unpacker *u)
{
	uint64_t us = unpack_u64(u);

	if (us > UP_COST_MAX_US)
		u->bad = true;
	return us;
}

void unpack_notes(struct unpacker *u, struct set_notes *n)
{
	unpack_text(u, n->label, sizeof(n->label));
	uint8_t writers = unpack_u8(u);
	n->frozen_us = unpack_cost(u);
	n->flush_us = unpack_cost(u);
	n->commit_us = unpack_cost(u);
	n->release_us = unpack_cost(u);
	uint8_t imported = unpack_u8(u);
	n->import_us = unpack_cost(u);
	if (writers > UP_WRITERS_NO_VSS || imported > 1 || !up_label_valid(n->label))
		u->bad = true;
	else
		n->writers = (enum up_writers)writers;
	n->imported = imported == 1;
}

int unpack_begin_version(enum store_table table, const void *key, size_t key_len, const void *value,
	size_t len, struct unpacker *u, uint8_t newest, uint8_t *version)
{
	const uint8_t *p = value;

	if (len < 5 || get_be32(p + len - 4) != record_sum(table, key, key_len, p, len - 4))
		return -EUCLEAN;
	if (p[0] == 0 || p[0] > newest)
		return p[0] > newest ? -ENOTSUP : -EUCLEAN;
	*version = p[0];
	u->p = p + 1;
	u->left = len - 5;
	u->bad = false;
	return 0;
}

int unpack_begin(enum store_table table, const void *key, size_t key_len, const void *value, size_t len,
	struct unpacker *u)
{
	uint8_t version;

	return unpack_begin_version(table, key, key_len, value, len, u, PACK_VERSION, &version);
}

int unpack_end(const struct unpacker *u)
{
	return u->bad || u->left > 0 ? -EUCLEAN : 0;
}

bool unpack_id_key(const void *key, size_t key_len, uint8_t id[UP_ID_BYTES])
{
	if (key_len != UP_ID_BYTES)
		return false;
	memcpy(id, key, UP_ID_BYTES);
	return true;
}
