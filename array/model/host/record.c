/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue records of hosts and of mappings. */
#include <errno.h>
#include <string.h>
#include "array/model/base/pack.h"
#include "array/model/host/internal.h"

#define HOST_VERSION                   2
#define REST_VERSION                   2 /* so that a program that knows no rests says why it cannot read it */
#define HOST_FLAG_CONTROL_LU           1u
#define HOST_FLAG_CONTROL_WITHOUT_CHAP 2u

/* ---- hosts ------------------------------------------------------------------------------------------ */

int host_record_put(struct array *a, struct store_txn *t, const struct host_record *r)
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

int host_record_del(struct array *a, struct store_txn *t, const char *name)
{
	return pack_del(a, t, STORE_TABLE_HOST, name, strlen(name));
}

int host_record_get(const void *key, size_t key_len, const void *value, size_t len, struct host_record *out)
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

/* ---- mappings --------------------------------------------------------------------------------------- */

static size_t map_key(const char *host, const uint8_t lun_id[UP_ID_BYTES],
	uint8_t key[ARRAY_NAME_MAX_BYTES + 1 + UP_ID_BYTES])
{
	size_t len = strlen(host) + 1;

	memcpy(key, host, len);
	memcpy(key + len, lun_id, UP_ID_BYTES);
	return len + UP_ID_BYTES;
}

int map_record_put(struct array *a, struct store_txn *t, const struct map_record *r)
{
	uint8_t key[ARRAY_NAME_MAX_BYTES + 1 + UP_ID_BYTES];
	size_t key_len = map_key(r->host, r->lun_id, key);
	struct packer k = pack_begin(a);

	pack_u32(&k, r->number);
	return pack_put(a, t, STORE_TABLE_MAP, key, key_len, &k);
}

int map_record_del(struct array *a, struct store_txn *t, const char *host, const uint8_t lun_id[UP_ID_BYTES])
{
	uint8_t key[ARRAY_NAME_MAX_BYTES + 1 + UP_ID_BYTES];

	return pack_del(a, t, STORE_TABLE_MAP, key, map_key(host, lun_id, key));
}

int map_record_get(const void *key, size_t key_len, const void *value, size_t len, struct map_record *out)
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

/* ---- numbers that rest ------------------------------------------------------------------------------ */

/* The key: the host's name, 0, the page. */
static size_t rest_key(const struct rest_record *r, uint8_t key[ARRAY_NAME_MAX_BYTES + 2])
{
	size_t len = strlen(r->host) + 1;

	memcpy(key, r->host, len);
	key[len] = r->page;
	return len + 1;
}

int rest_record_put(struct array *a, struct store_txn *t, const struct rest_record *r)
{
	uint8_t key[ARRAY_NAME_MAX_BYTES + 2];
	size_t key_len = rest_key(r, key);
	struct packer k = pack_begin_version(a, REST_VERSION);

	if (r->count == 0)
		return pack_del(a, t, STORE_TABLE_MAP, key, key_len);
	for (unsigned i = 0; i < r->count; i++) {
		pack_u8(&k, r->rests[i].at);
		pack_u8(&k, r->rests[i].seen);
		pack_bytes(&k, r->rests[i].lun_id, UP_ID_BYTES);
	}
	return pack_put(a, t, STORE_TABLE_MAP, key, key_len, &k);
}

bool rest_record_is(const void *key, size_t key_len)
{
	const uint8_t *zero = memchr(key, 0, key_len);

	return zero && zero + 2 == (const uint8_t *)key + key_len;
}

int rest_record_get(const void *key, size_t key_len, const void *value, size_t len, struct rest_record *out)
{
	struct unpacker u;
	uint8_t version;
	int err = unpack_begin_version(STORE_TABLE_MAP, key, key_len, value, len, &u, REST_VERSION, &version);

	if (err)
		return err;
	memset(out, 0, sizeof(*out));
	if (version < REST_VERSION || key_len < 3 || key_len > sizeof(out->host) + 1)
		return -EUCLEAN;
	memcpy(out->host, key, key_len - 2);
	out->page = ((const uint8_t *)key)[key_len - 1];
	while (!u.bad && u.left > 0 && out->count < MAP_PAGE_NUMBERS) {
		uint8_t seen;

		out->rests[out->count].at = unpack_u8(&u);
		seen = unpack_u8(&u);
		out->rests[out->count].seen = seen != 0;
		unpack_bytes(&u, out->rests[out->count].lun_id, UP_ID_BYTES);
		u.bad = u.bad || seen > 1 || (out->page == 0 && out->rests[out->count].at == 0);
		out->count++;
	}
	if (out->count == 0 || out->page >= MAP_PAGES || !array_name_valid(out->host, NULL))
		return -EUCLEAN;
	return unpack_end(&u);
}
