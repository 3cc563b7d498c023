/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Catalogue records. All integers big-endian; a text is a length byte and its bytes.
 *
 *	record:  version u8 (1; of a HOST 2, of a LUN 2 or 3), fields, checksum u32 (XXH32 over key and value, table as
 *	         the seed)
 *	META:    key "array";              id 16, created u64
 *	         key "image", disk id u64; nothing: a hidden disk that goes with a restart
 *	LUN:     key id;                   kind u8, serial, size, created, disk id (u64 each), origin id 16,
 *	                                   set id 16, name; since version 2: role u8 (0 live, 1 recycled),
 *	                                   hydration u8 (0 none, 1 wanted, 2 full), notified u32 (version 3:
 *	                                   with the bit that a host has written to it);
 *	                                   of a recycled one: deleted, purge (u64 each), and of its set: name,
 *	                                   owner, cut, window, durable (u64 each)
 *	HOST:    key name;                 flags u8 (1 control LU, 2 control without CHAP), import u8,
 *	                                   names u8, initiator names, CHAP user, CHAP secret, hosts u8,
 *	                                   host names, since version 2: our CHAP secret
 *	MAP:     key host, NUL, LUN id;    number u32
 *	SET:     key id;                   state u8, name, owner, cut, window, durable (u64 each), members u16,
 *	                                   of each: original 16, shadow 16, kind u8, size u64
 *	RESERVATION: key LUN id;           bytes of the SCSI layer's (scsi/reserve_keep.c)
 *
 * A record that does not check is -EUCLEAN; one with a higher version -ENOTSUP. Reading never trusts a
 * length.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "array/model/set/internal.h"
#include "array/util/bytes.h"

#define RECORD_VERSION                 1
#define HOST_VERSION                   2
#define LUN_VERSION                    3
#define LUN_VERSION_UNWRITTEN          2 /* what every version before this one reads */
#define HOST_FLAG_CONTROL_LU           1u
#define HOST_FLAG_CONTROL_WITHOUT_CHAP 2u
#define META_KEY                       "array"
#define IMAGE_KEY                      "image"
#define IMAGE_KEY_BYTES                (sizeof(IMAGE_KEY) - 1 + 8)

static uint32_t record_sum(
	enum store_table table, const void *key, size_t key_len, const void *value, size_t len)
{
	return XXH32(value, len, XXH32(key, key_len, (uint32_t)table));
}

/* ---- packing, into the array's scratch page; bounds are the program's ---- */

struct packer {
	uint8_t *p;
	size_t len;
};

static void pack_bytes(struct packer *k, const void *from, size_t len)
{
	assert(k->len + len + 4 <= STORE_VALUE_MAX_BYTES);
	memcpy(k->p + k->len, from, len);
	k->len += len;
}

static void pack_u8(struct packer *k, uint8_t v)
{
	pack_bytes(k, &v, 1);
}

static void pack_u16(struct packer *k, uint16_t v)
{
	uint8_t b[2];

	put_be16(b, v);
	pack_bytes(k, b, sizeof(b));
}

static void pack_u32(struct packer *k, uint32_t v)
{
	uint8_t b[4];

	put_be32(b, v);
	pack_bytes(k, b, sizeof(b));
}

static void pack_u64(struct packer *k, uint64_t v)
{
	uint8_t b[8];

	put_be64(b, v);
	pack_bytes(k, b, sizeof(b));
}

static void pack_text(struct packer *k, const char *text)
{
	size_t len = strlen(text);

	assert(len <= 255);
	pack_u8(k, (uint8_t)len);
	pack_bytes(k, text, len);
}

static struct packer pack_begin_version(struct array *a, uint8_t version)
{
	struct packer k = {.p = a->scratch};

	pack_u8(&k, version);
	return k;
}

static struct packer pack_begin(struct array *a)
{
	return pack_begin_version(a, RECORD_VERSION);
}

static int pack_put(struct array *a, struct store_txn *t, enum store_table table, const void *key,
	size_t key_len, struct packer *k)
{
	pack_u32(k, record_sum(table, key, key_len, k->p, k->len));
	return a->options.store->ops->txn_put(t, table, key, key_len, k->p, k->len);
}

int record_put_meta(struct array *a, struct store_txn *t, const struct meta_record *r)
{
	struct packer k = pack_begin(a);

	pack_bytes(&k, r->id, UP_ID_BYTES);
	pack_u64(&k, r->created_unix_ms);
	return pack_put(a, t, STORE_TABLE_META, META_KEY, strlen(META_KEY), &k);
}

static void image_key(uint64_t disk_id, uint8_t key[IMAGE_KEY_BYTES])
{
	memcpy(key, IMAGE_KEY, IMAGE_KEY_BYTES - 8);
	put_be64(key + IMAGE_KEY_BYTES - 8, disk_id);
}

int record_put_image(struct array *a, struct store_txn *t, uint64_t disk_id)
{
	struct packer k = pack_begin(a);
	uint8_t key[IMAGE_KEY_BYTES];

	image_key(disk_id, key);
	return pack_put(a, t, STORE_TABLE_META, key, sizeof(key), &k);
}

static void pack_recycled(struct packer *k, const struct lun_record *r)
{
	pack_u64(k, r->deleted_unix_ms);
	pack_u64(k, r->purge_unix_ms);
	pack_text(k, r->set.name);
	pack_text(k, r->set.owner);
	pack_u64(k, r->set.cut_unix_ms);
	pack_u64(k, r->set.window_ns);
	pack_u64(k, r->set.durable_ns);
}

int record_put_lun(struct array *a, struct store_txn *t, const struct lun_record *r)
{
	bool written = (r->notified & UP_NOTED_WRITTEN) != 0;
	struct packer k = pack_begin_version(a, written ? LUN_VERSION : LUN_VERSION_UNWRITTEN);

	pack_u8(&k, (uint8_t)r->kind);
	pack_u64(&k, r->serial);
	pack_u64(&k, r->size_bytes);
	pack_u64(&k, r->created_unix_ms);
	pack_u64(&k, r->disk_id);
	pack_bytes(&k, r->origin_id, UP_ID_BYTES);
	pack_bytes(&k, r->set_id, UP_ID_BYTES);
	pack_text(&k, r->name);
	pack_u8(&k, (uint8_t)r->role);
	pack_u8(&k, r->hydration == LUN_HYDRATION_FULL ? 2 : r->hydration != LUN_HYDRATION_NONE);
	pack_u32(&k, r->notified);
	if (r->role == LUN_ROLE_RECYCLED)
		pack_recycled(&k, r);
	return pack_put(a, t, STORE_TABLE_LUN, r->id, UP_ID_BYTES, &k);
}

int record_put_host(struct array *a, struct store_txn *t, const struct host_record *r)
{
	struct packer k = pack_begin_version(a, HOST_VERSION);

	pack_u8(&k, (uint8_t)((r->control_lu ? HOST_FLAG_CONTROL_LU : 0) |
			      (r->control_without_chap ? HOST_FLAG_CONTROL_WITHOUT_CHAP : 0)));
	pack_u8(&k, (uint8_t)r->import);
	pack_u8(&k, (uint8_t)r->iqn_count);
	for (unsigned i = 0; i < r->iqn_count; i++)
		pack_text(&k, r->iqns[i]);
	pack_text(&k, r->chap_user);
	pack_text(&k, r->chap_secret);
	pack_u8(&k, (uint8_t)r->import_host_count);
	for (unsigned i = 0; i < r->import_host_count; i++)
		pack_text(&k, r->import_hosts[i]);
	pack_text(&k, r->mutual_secret);
	return pack_put(a, t, STORE_TABLE_HOST, r->name, strlen(r->name), &k);
}

static size_t map_key(const char *host, const uint8_t lun_id[UP_ID_BYTES],
	uint8_t key[ARRAY_NAME_MAX_BYTES + 1 + UP_ID_BYTES])
{
	size_t len = strlen(host) + 1;

	memcpy(key, host, len);
	memcpy(key + len, lun_id, UP_ID_BYTES);
	return len + UP_ID_BYTES;
}

int record_put_map(struct array *a, struct store_txn *t, const struct map_record *r)
{
	uint8_t key[ARRAY_NAME_MAX_BYTES + 1 + UP_ID_BYTES];
	size_t key_len = map_key(r->host, r->lun_id, key);
	struct packer k = pack_begin(a);

	pack_u32(&k, r->number);
	return pack_put(a, t, STORE_TABLE_MAP, key, key_len, &k);
}

int record_put_set(struct array *a, struct store_txn *t, const struct set_record *r)
{
	struct packer k = pack_begin(a);

	assert(r->member_count <= RECORD_MEMBERS_MAX);
	pack_u8(&k, (uint8_t)r->state);
	pack_text(&k, r->name);
	pack_text(&k, r->owner);
	pack_u64(&k, r->cut_unix_ms);
	pack_u64(&k, r->window_ns);
	pack_u64(&k, r->durable_ns);
	pack_u16(&k, (uint16_t)r->member_count);
	for (unsigned i = 0; i < r->member_count; i++) {
		pack_bytes(&k, r->members[i].original_id, UP_ID_BYTES);
		pack_bytes(&k, r->members[i].shadow_id, UP_ID_BYTES);
		pack_u8(&k, (uint8_t)r->members[i].kind);
		pack_u64(&k, r->members[i].size_bytes);
	}
	return pack_put(a, t, STORE_TABLE_SET, r->id, UP_ID_BYTES, &k);
}

static int record_del(
	struct array *a, struct store_txn *t, enum store_table table, const void *key, size_t len)
{
	return a->options.store->ops->txn_del(t, table, key, len);
}

int record_put_reservations(
	struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES], const void *bytes, size_t len)
{
	struct packer k = pack_begin(a);

	if (len == 0)
		return record_del(a, t, STORE_TABLE_RESERVATION, id, UP_ID_BYTES);
	pack_bytes(&k, bytes, len);
	return pack_put(a, t, STORE_TABLE_RESERVATION, id, UP_ID_BYTES, &k);
}

int record_del_lun(struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES])
{
	int err = record_del(a, t, STORE_TABLE_RESERVATION, id, UP_ID_BYTES);

	return err ? err : record_del(a, t, STORE_TABLE_LUN, id, UP_ID_BYTES);
}

int record_del_image(struct array *a, struct store_txn *t, uint64_t disk_id)
{
	uint8_t key[IMAGE_KEY_BYTES];

	image_key(disk_id, key);
	return record_del(a, t, STORE_TABLE_META, key, sizeof(key));
}

int record_del_host(struct array *a, struct store_txn *t, const char *name)
{
	return record_del(a, t, STORE_TABLE_HOST, name, strlen(name));
}

int record_del_map(struct array *a, struct store_txn *t, const char *host, const uint8_t lun_id[UP_ID_BYTES])
{
	uint8_t key[ARRAY_NAME_MAX_BYTES + 1 + UP_ID_BYTES];

	return record_del(a, t, STORE_TABLE_MAP, key, map_key(host, lun_id, key));
}

int record_del_set(struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES])
{
	return record_del(a, t, STORE_TABLE_SET, id, UP_ID_BYTES);
}

/* ---- unpacking ---- */

struct unpacker {
	const uint8_t *p;
	size_t left;
	bool bad; /* past the end, or a value that cannot be */
};

static void unpack_bytes(struct unpacker *u, void *to, size_t len)
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

static uint8_t unpack_u8(struct unpacker *u)
{
	uint8_t v;

	unpack_bytes(u, &v, 1);
	return v;
}

static uint16_t unpack_u16(struct unpacker *u)
{
	uint8_t b[2];

	unpack_bytes(u, b, sizeof(b));
	return get_be16(b);
}

static uint32_t unpack_u32(struct unpacker *u)
{
	uint8_t b[4];

	unpack_bytes(u, b, sizeof(b));
	return get_be32(b);
}

static uint64_t unpack_u64(struct unpacker *u)
{
	uint8_t b[8];

	unpack_bytes(u, b, sizeof(b));
	return get_be64(b);
}

static void unpack_text(struct unpacker *u, char *to, size_t cap)
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

/* newest: the highest version that this program reads. The record's own goes to *version. */
static int unpack_begin_version(enum store_table table, const void *key, size_t key_len, const void *value,
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

static int unpack_begin(enum store_table table, const void *key, size_t key_len, const void *value,
	size_t len, struct unpacker *u)
{
	uint8_t version;

	return unpack_begin_version(table, key, key_len, value, len, u, RECORD_VERSION, &version);
}

static int unpack_end(const struct unpacker *u)
{
	return u->bad || u->left > 0 ? -EUCLEAN : 0;
}

static bool unpack_id_key(const void *key, size_t key_len, uint8_t id[UP_ID_BYTES])
{
	if (key_len != UP_ID_BYTES)
		return false;
	memcpy(id, key, UP_ID_BYTES);
	return true;
}

bool record_is_image(const void *key, size_t key_len)
{
	return key_len == IMAGE_KEY_BYTES && memcmp(key, IMAGE_KEY, IMAGE_KEY_BYTES - 8) == 0;
}

int record_get_image(const void *key, size_t key_len, const void *value, size_t len, uint64_t *disk_id)
{
	struct unpacker u;
	int err = unpack_begin(STORE_TABLE_META, key, key_len, value, len, &u);

	if (err)
		return err;
	*disk_id = get_be64((const uint8_t *)key + IMAGE_KEY_BYTES - 8);
	return unpack_end(&u);
}

int record_get_meta(const void *key, size_t key_len, const void *value, size_t len, struct meta_record *out)
{
	struct unpacker u;
	int err = unpack_begin(STORE_TABLE_META, key, key_len, value, len, &u);

	if (err)
		return err;
	if (key_len != strlen(META_KEY) || memcmp(key, META_KEY, key_len) != 0)
		return -EUCLEAN;
	unpack_bytes(&u, out->id, UP_ID_BYTES);
	out->created_unix_ms = unpack_u64(&u);
	return unpack_end(&u);
}

/* What version 2 has more. */
static void unpack_lun_2(struct unpacker *u, struct lun_record *out)
{
	static const enum lun_hydration hydrations[] = {
		LUN_HYDRATION_NONE, LUN_HYDRATION_RUNS, LUN_HYDRATION_FULL};
	uint8_t role = unpack_u8(u), hydration = unpack_u8(u);

	out->notified = unpack_u32(u);
	if (role > LUN_ROLE_RECYCLED || hydration > 2 ||
		(out->notified & ~(UP_NOTIFY_ALL | UP_NOTED_WRITTEN))) {
		u->bad = true;
		return;
	}
	out->role = (enum lun_role)role;
	out->hydration = hydrations[hydration];
	if (out->role != LUN_ROLE_RECYCLED)
		return;
	out->deleted_unix_ms = unpack_u64(u);
	out->purge_unix_ms = unpack_u64(u);
	unpack_text(u, out->set.name, sizeof(out->set.name));
	unpack_text(u, out->set.owner, sizeof(out->set.owner));
	out->set.cut_unix_ms = unpack_u64(u);
	out->set.window_ns = unpack_u64(u);
	out->set.durable_ns = unpack_u64(u);
	if ((out->set.name[0] && !array_name_valid(out->set.name, NULL)) ||
		out->purge_unix_ms < out->deleted_unix_ms ||
		out->purge_unix_ms - out->deleted_unix_ms > UINT64_C(1000) * UINT32_MAX)
		u->bad = true;
}

/* Do the fields agree with each other? */
static bool lun_record_sound(const struct lun_record *r)
{
	bool shadow = r->kind == LUN_SHADOW;

	if (array_id_zero(r->id) || !array_name_valid(r->name, NULL) || !r->disk_id || !r->size_bytes ||
		r->size_bytes % STORE_BLOCK_BYTES || r->size_bytes > ARRAY_LUN_MAX_BYTES)
		return false;
	if (shadow != !array_id_zero(r->origin_id) || shadow != !array_id_zero(r->set_id))
		return false;
	return shadow || (r->role != LUN_ROLE_RECYCLED && !r->notified && r->hydration != LUN_HYDRATION_FULL);
}

int record_get_lun(const void *key, size_t key_len, const void *value, size_t len, struct lun_record *out)
{
	struct unpacker u;
	uint8_t version;
	int err = unpack_begin_version(STORE_TABLE_LUN, key, key_len, value, len, &u, LUN_VERSION, &version);

	if (err)
		return err;
	memset(out, 0, sizeof(*out));
	if (!unpack_id_key(key, key_len, out->id))
		return -EUCLEAN;
	uint8_t kind = unpack_u8(&u);
	out->kind = kind == LUN_SHADOW ? LUN_SHADOW : LUN_ORDINARY;
	out->serial = unpack_u64(&u);
	out->size_bytes = unpack_u64(&u);
	out->created_unix_ms = unpack_u64(&u);
	out->disk_id = unpack_u64(&u);
	unpack_bytes(&u, out->origin_id, UP_ID_BYTES);
	unpack_bytes(&u, out->set_id, UP_ID_BYTES);
	unpack_text(&u, out->name, sizeof(out->name));
	if (version > 1)
		unpack_lun_2(&u, out);
	if (u.bad || kind != (uint8_t)out->kind || !lun_record_sound(out))
		return -EUCLEAN;
	return unpack_end(&u);
}

int record_get_host(const void *key, size_t key_len, const void *value, size_t len, struct host_record *out)
{
	struct unpacker u;
	uint8_t version;
	int err =
		unpack_begin_version(STORE_TABLE_HOST, key, key_len, value, len, &u, HOST_VERSION, &version);

	if (err)
		return err;
	memset(out, 0, sizeof(*out));
	if (key_len == 0 || key_len > ARRAY_NAME_MAX_BYTES)
		return -EUCLEAN;
	memcpy(out->name, key, key_len);
	uint8_t flags = unpack_u8(&u);
	out->control_lu = (flags & HOST_FLAG_CONTROL_LU) != 0;
	out->control_without_chap = (flags & HOST_FLAG_CONTROL_WITHOUT_CHAP) != 0;
	uint8_t import = unpack_u8(&u);
	out->iqn_count = unpack_u8(&u);
	if (flags > 3 || import < HOST_IMPORT_OWN || import > HOST_IMPORT_ANY ||
		out->iqn_count > ARRAY_HOST_IQNS_MAX)
		return -EUCLEAN;
	out->import = (enum host_import)import;
	for (unsigned i = 0; i < out->iqn_count; i++)
		unpack_text(&u, out->iqns[i], sizeof(out->iqns[i]));
	unpack_text(&u, out->chap_user, sizeof(out->chap_user));
	unpack_text(&u, out->chap_secret, sizeof(out->chap_secret));
	out->import_host_count = unpack_u8(&u);
	if (out->import_host_count > ARRAY_HOST_IQNS_MAX)
		return -EUCLEAN;
	for (unsigned i = 0; i < out->import_host_count; i++)
		unpack_text(&u, out->import_hosts[i], sizeof(out->import_hosts[i]));
	if (version >= 2)
		unpack_text(&u, out->mutual_secret, sizeof(out->mutual_secret));
	err = unpack_end(&u);
	return err || host_record_check(out, NULL) ? -EUCLEAN : 0;
}

int record_get_reservations(const void *key, size_t key_len, const void *value, size_t len,
	uint8_t id[UP_ID_BYTES], const uint8_t **bytes, size_t *bytes_len)
{
	struct unpacker u;
	int err = unpack_begin(STORE_TABLE_RESERVATION, key, key_len, value, len, &u);

	if (err)
		return err;
	if (!unpack_id_key(key, key_len, id) || u.left == 0 || u.left > LUN_RESERVATIONS_MAX_BYTES)
		return -EUCLEAN;
	*bytes = u.p;
	*bytes_len = u.left;
	return 0;
}

int record_get_map(const void *key, size_t key_len, const void *value, size_t len, struct map_record *out)
{
	struct unpacker u;
	int err = unpack_begin(STORE_TABLE_MAP, key, key_len, value, len, &u);
	const uint8_t *k = key;

	if (err)
		return err;
	memset(out, 0, sizeof(*out));
	if (key_len < 2 + UP_ID_BYTES || key_len > ARRAY_NAME_MAX_BYTES + 1 + UP_ID_BYTES)
		return -EUCLEAN;
	size_t name_len = key_len - UP_ID_BYTES - 1;
	if (k[name_len] != 0)
		return -EUCLEAN;
	memcpy(out->host, k, name_len);
	memcpy(out->lun_id, k + name_len + 1, UP_ID_BYTES);
	out->number = unpack_u32(&u);
	if (!array_name_valid(out->host, NULL) || out->number == 0 || out->number > ARRAY_LUN_NUMBER_MAX)
		return -EUCLEAN;
	return unpack_end(&u);
}

static void unpack_members(struct unpacker *u, struct set_record *out)
{
	for (unsigned i = 0; i < out->member_count; i++) {
		struct set_member *m = &out->members[i];

		unpack_bytes(u, m->original_id, UP_ID_BYTES);
		unpack_bytes(u, m->shadow_id, UP_ID_BYTES);
		uint8_t kind = unpack_u8(u);
		m->kind = kind == UP_COPY_PLEX ? UP_COPY_PLEX : UP_COPY_DIFFERENTIAL;
		m->size_bytes = unpack_u64(u);
		if (kind != (uint8_t)m->kind)
			u->bad = true;
	}
}

int record_get_set(const void *key, size_t key_len, const void *value, size_t len, struct set_record *out)
{
	struct unpacker u;
	int err = unpack_begin(STORE_TABLE_SET, key, key_len, value, len, &u);

	memset(out, 0, sizeof(*out));
	if (err)
		return err;
	if (!unpack_id_key(key, key_len, out->id))
		return -EUCLEAN;
	uint8_t state = unpack_u8(&u);
	out->state = (enum up_set_state)state;
	unpack_text(&u, out->name, sizeof(out->name));
	unpack_text(&u, out->owner, sizeof(out->owner));
	out->cut_unix_ms = unpack_u64(&u);
	out->window_ns = unpack_u64(&u);
	out->durable_ns = unpack_u64(&u);
	out->member_count = unpack_u16(&u);
	if (u.bad || (state != UP_SET_COMMITTED && state != UP_SET_KEPT) || out->member_count == 0 ||
		out->member_count > RECORD_MEMBERS_MAX ||
		(out->name[0] && !array_name_valid(out->name, NULL)))
		return -EUCLEAN;
	out->members = calloc(out->member_count, sizeof(*out->members));
	if (!out->members)
		return -ENOMEM;
	unpack_members(&u, out);
	err = unpack_end(&u);
	if (err) {
		free(out->members);
		out->members = NULL;
	}
	return err;
}
