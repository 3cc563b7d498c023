/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue records of LUNs, of images and of reservations. */
#include <errno.h>
#include <string.h>
#include "array/model/base/pack.h"
#include "array/model/lun/internal.h"
#include "array/util/bytes.h"

#define LUN_VERSION           5
#define LUN_VERSION_RECYCLED  4 /* of one whose set has no notes; older programs read it, too */
#define LUN_VERSION_WRITTEN   3 /* of one that is not in the recycle bin; older programs read it, too */
#define LUN_VERSION_UNWRITTEN 2 /* of a LUN not written to; older programs read it, too */
#define IMAGE_KEY             "image"
#define IMAGE_KEY_BYTES       (sizeof(IMAGE_KEY) - 1 + 8)

/* ---- LUNs ------------------------------------------------------------------------------------------- */

static void pack_recycled(struct packer *k, const struct lun_record *r)
{
	pack_u64(k, r->deleted_unix_ms);
	pack_u64(k, r->purge_unix_ms);
	pack_text(k, r->set.name);
	pack_text(k, r->set.owner);
	pack_u64(k, r->set.cut_unix_ms);
	pack_u64(k, r->set.window_ns);
	pack_u64(k, r->set.durable_ns);
	pack_u64(k, r->purge_ran_ms);
	if (set_notes_any(&r->set.notes))
		pack_notes(k, &r->set.notes);
}

static uint8_t lun_version(const struct lun_record *r)
{
	if (r->role == LUN_ROLE_RECYCLED)
		return set_notes_any(&r->set.notes) ? LUN_VERSION : LUN_VERSION_RECYCLED;
	return r->notified & UP_NOTED_WRITTEN ? LUN_VERSION_WRITTEN : LUN_VERSION_UNWRITTEN;
}

int lun_record_put(struct array *a, struct store_txn *t, const struct lun_record *r)
{
	struct packer k = pack_begin_version(a, lun_version(r));

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

int lun_record_del(struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES])
{
	int err = pack_del(a, t, STORE_TABLE_RESERVATION, id, UP_ID_BYTES);

	return err ? err : pack_del(a, t, STORE_TABLE_LUN, id, UP_ID_BYTES);
}

/* The fields that version 2 added. */
static void unpack_lun_2(struct unpacker *u, uint8_t version, struct lun_record *out)
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
	out->purge_ran_ms = version > 3 ? unpack_u64(u) : 0;
	if (version > 4)
		unpack_notes(u, &out->set.notes);
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

int lun_record_get(const void *key, size_t key_len, const void *value, size_t len, struct lun_record *out)
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
		unpack_lun_2(&u, version, out);
	if (u.bad || kind != (uint8_t)out->kind || !lun_record_sound(out))
		return -EUCLEAN;
	return unpack_end(&u);
}

/* ---- images ----------------------------------------------------------------------------------------- */

static void image_key(uint64_t disk_id, uint8_t key[IMAGE_KEY_BYTES])
{
	memcpy(key, IMAGE_KEY, IMAGE_KEY_BYTES - 8);
	put_be64(key + IMAGE_KEY_BYTES - 8, disk_id);
}

int lun_image_record_put(struct array *a, struct store_txn *t, uint64_t disk_id)
{
	struct packer k = pack_begin(a);
	uint8_t key[IMAGE_KEY_BYTES];

	image_key(disk_id, key);
	return pack_put(a, t, STORE_TABLE_META, key, sizeof(key), &k);
}

int lun_image_record_del(struct array *a, struct store_txn *t, uint64_t disk_id)
{
	uint8_t key[IMAGE_KEY_BYTES];

	image_key(disk_id, key);
	return pack_del(a, t, STORE_TABLE_META, key, sizeof(key));
}

bool lun_image_record_is(const void *key, size_t key_len)
{
	return key_len == IMAGE_KEY_BYTES && memcmp(key, IMAGE_KEY, IMAGE_KEY_BYTES - 8) == 0;
}

int lun_image_record_get(const void *key, size_t key_len, const void *value, size_t len, uint64_t *disk_id)
{
	struct unpacker u;
	int err = unpack_begin(STORE_TABLE_META, key, key_len, value, len, &u);

	if (err)
		return err;
	*disk_id = get_be64((const uint8_t *)key + IMAGE_KEY_BYTES - 8);
	return unpack_end(&u);
}

/* ---- reservations ----------------------------------------------------------------------------------- */

int lun_reservations_record_put(
	struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES], const void *bytes, size_t len)
{
	struct packer k = pack_begin(a);

	if (len == 0)
		return pack_del(a, t, STORE_TABLE_RESERVATION, id, UP_ID_BYTES);
	pack_bytes(&k, bytes, len);
	return pack_put(a, t, STORE_TABLE_RESERVATION, id, UP_ID_BYTES, &k);
}

int lun_reservations_record_get(const void *key, size_t key_len, const void *value, size_t len,
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
