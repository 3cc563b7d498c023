/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue record of a policy: its words, and when it last took a set. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/base/pack.h"
#include "array/model/policy/internal.h"

#define POLICY_PREFIX  "policy:"
#define PREFIX_LEN     (sizeof(POLICY_PREFIX) - 1)
#define POLICY_VERSION 2 /* a program that does not know policies says that the record is of a newer one */

static size_t policy_key(const char *name, char key[PREFIX_LEN + POLICY_NAME_MAX_BYTES])
{
	size_t len = strlen(name);

	memcpy(key, POLICY_PREFIX, PREFIX_LEN);
	memcpy(key + PREFIX_LEN, name, len);
	return PREFIX_LEN + len;
}

int policy_record_put(struct array *a, struct store_txn *t, const struct policy *p)
{
	const struct policy_spec *s = &p->spec;
	char key[PREFIX_LEN + POLICY_NAME_MAX_BYTES];
	struct packer k = pack_begin_version(a, POLICY_VERSION);

	pack_text(&k, s->label);
	pack_u8(&k, s->hosts);
	pack_u64(&k, s->every_ms);
	pack_u16(&k, s->at_min);
	for (unsigned i = 0; i < KEEP_PERIODS; i++)
		pack_u16(&k, (uint16_t)s->keep.count[i]);
	pack_u64(&k, s->lock_ms);
	pack_u8(&k, p->taken);
	pack_u64(&k, p->last_slot);
	pack_u64(&k, p->last_unix_ms);
	pack_u64(&k, p->last_ran_ms);
	pack_u16(&k, (uint16_t)s->lun_count);
	for (unsigned i = 0; i < s->lun_count; i++)
		pack_bytes(&k, s->luns[i], UP_ID_BYTES);
	return pack_put(a, t, STORE_TABLE_META, key, policy_key(s->name, key), &k);
}

int policy_record_del(struct array *a, struct store_txn *t, const char *name)
{
	char key[PREFIX_LEN + POLICY_NAME_MAX_BYTES];

	return pack_del(a, t, STORE_TABLE_META, key, policy_key(name, key));
}

bool policy_record_is(const void *key, size_t key_len)
{
	return key_len > PREFIX_LEN && key_len <= PREFIX_LEN + POLICY_NAME_MAX_BYTES &&
	       memcmp(key, POLICY_PREFIX, PREFIX_LEN) == 0;
}

static bool unpack_flag(struct unpacker *u)
{
	uint8_t flag = unpack_u8(u);

	u->bad = u->bad || flag > 1;
	return flag == 1;
}

static void unpack_policy(struct unpacker *u, struct policy *p)
{
	struct policy_spec *s = &p->spec;

	unpack_text(u, s->label, sizeof(s->label));
	s->hosts = unpack_flag(u);
	s->every_ms = unpack_u64(u);
	s->at_min = unpack_u16(u);
	for (unsigned i = 0; i < KEEP_PERIODS; i++)
		s->keep.count[i] = unpack_u16(u);
	s->lock_ms = unpack_u64(u);
	p->taken = unpack_flag(u);
	p->last_slot = unpack_u64(u);
	p->last_unix_ms = unpack_u64(u);
	p->last_ran_ms = unpack_u64(u);
	s->lun_count = unpack_u16(u);
	u->bad = u->bad || s->lun_count > POLICY_LUNS_MAX;
	for (unsigned i = 0; !u->bad && i < s->lun_count; i++)
		unpack_bytes(u, s->luns[i], UP_ID_BYTES);
}

int policy_record_get(const void *key, size_t key_len, const void *value, size_t len, struct policy **out)
{
	struct unpacker u;
	uint8_t version;
	int err = unpack_begin_version(
		STORE_TABLE_META, key, key_len, value, len, &u, POLICY_VERSION, &version);
	struct policy *p = err ? NULL : calloc(1, sizeof(*p));

	if (err)
		return err;
	if (!p)
		return -ENOMEM;
	memcpy(p->spec.name, (const char *)key + PREFIX_LEN, key_len - PREFIX_LEN);
	unpack_policy(&u, p);
	err = version < POLICY_VERSION ? -EUCLEAN : unpack_end(&u);
	if (!err && policy_spec_check(&p->spec, NULL))
		err = -EUCLEAN;
	if (err) {
		free(p);
		return err;
	}
	*out = p;
	return 0;
}
