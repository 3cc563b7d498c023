/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue record of a copy set. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/base/pack.h"
#include "array/model/set/internal.h"

/* A record has the lowest version that holds it, for programs that know no higher one. */
#define SET_VERSION       4 /* the request that committed it, until it is kept */
#define SET_VERSION_NOTED 3
#define SET_VERSION_TIMED 2

int set_record_put(struct array *a, struct store_txn *t, const struct set_record *r)
{
	bool timed = r->owner[0] && r->cut_ran_ms; /* others are as older programs read them */
	bool asked = r->state == UP_SET_COMMITTED && r->commit_request;
	bool noted = set_notes_any(&r->notes);
	struct packer k = pack_begin_version(a, asked   ? SET_VERSION
						: noted ? SET_VERSION_NOTED
						: timed ? SET_VERSION_TIMED
							: 1);

	assert(r->member_count <= SET_RECORD_MEMBERS_MAX);
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
	if (timed || noted || asked)
		pack_u64(&k, r->cut_ran_ms);
	if (noted || asked)
		pack_notes(&k, &r->notes);
	if (asked)
		pack_u64(&k, r->commit_request);
	return pack_put(a, t, STORE_TABLE_SET, r->id, UP_ID_BYTES, &k);
}

int set_record_del(struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES])
{
	int err = set_lock_record_del(a, t, id);

	return err ? err : pack_del(a, t, STORE_TABLE_SET, id, UP_ID_BYTES);
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

int set_record_get(const void *key, size_t key_len, const void *value, size_t len, struct set_record *out)
{
	struct unpacker u;
	uint8_t version;
	int err = unpack_begin_version(STORE_TABLE_SET, key, key_len, value, len, &u, SET_VERSION, &version);

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
		out->member_count > SET_RECORD_MEMBERS_MAX ||
		(out->name[0] && !array_name_valid(out->name, NULL)))
		return -EUCLEAN;
	out->members = calloc(out->member_count, sizeof(*out->members));
	if (!out->members)
		return -ENOMEM;
	unpack_members(&u, out);
	out->cut_ran_ms = version > 1 ? unpack_u64(&u) : 0;
	if (version > 2)
		unpack_notes(&u, &out->notes);
	out->commit_request = version > 3 ? unpack_u64(&u) : 0;
	err = unpack_end(&u);
	if (err) {
		free(out->members);
		out->members = NULL;
	}
	return err;
}
