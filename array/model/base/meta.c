/* SPDX-License-Identifier: Apache-2.0 */
/* The records of the array itself: its id and when it was made; how long it has run. */
#include <errno.h>
#include <string.h>
#include "array/model/base/pack.h"

#define META_KEY    "array"
#define RAN_KEY     "ran"
#define RAN_VERSION 2 /* so that a program that does not know it says why it cannot read it */

int array_record_put(struct array *a, struct store_txn *t, const struct array_record *r)
{
	struct packer k = pack_begin(a);

	pack_bytes(&k, r->id, UP_ID_BYTES);
	pack_u64(&k, r->created_unix_ms);
	return pack_put(a, t, STORE_TABLE_META, META_KEY, strlen(META_KEY), &k);
}

int array_record_get(const void *key, size_t key_len, const void *value, size_t len, struct array_record *out)
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

int array_meta_put(struct array *a, struct store_txn *t)
{
	struct array_record r = {.created_unix_ms = a->created_unix_ms};

	if (a->meta_durable)
		return 0;
	memcpy(r.id, a->id, sizeof(r.id));
	return array_record_put(a, t, &r);
}

/* ---- running time ----------------------------------------------------------------------------------- */

uint64_t array_ran_ms(const struct array *a)
{
	return a->ran_before_ms + (reactor_now_ns(a->options.reactor) - a->opened_ns) / 1000000;
}

int array_ran_put(struct array *a, struct store_txn *t)
{
	struct packer k = pack_begin_version(a, RAN_VERSION);

	pack_u64(&k, array_ran_ms(a));
	return pack_put(a, t, STORE_TABLE_META, RAN_KEY, strlen(RAN_KEY), &k);
}

bool array_ran_is(const void *key, size_t key_len)
{
	return key_len == strlen(RAN_KEY) && memcmp(key, RAN_KEY, key_len) == 0;
}

int array_ran_get(const void *key, size_t key_len, const void *value, size_t len, uint64_t *ran_ms)
{
	struct unpacker u;
	uint8_t version;
	int err = unpack_begin_version(STORE_TABLE_META, key, key_len, value, len, &u, RAN_VERSION, &version);

	if (err)
		return err;
	*ran_ms = unpack_u64(&u);
	return version < RAN_VERSION || *ran_ms > UINT64_MAX / 2 ? -EUCLEAN : unpack_end(&u);
}

static int ran_check(struct change *c)
{
	(void)c;
	return 0;
}

static int ran_build(struct change *c, struct store_txn *t)
{
	return array_ran_put(c->array, t);
}

static void ran_end(struct change *c, int err)
{
	(void)c;
	(void)err; /* noted later than it might be */
}

void array_ran_note(struct array *a)
{
	static const struct change_ops ops = {.check = ran_check, .build = ran_build, .end = ran_end};
	struct change *c = change_new(a, sizeof(*c), &ops, NULL);

	if (c)
		change_submit(c);
}
