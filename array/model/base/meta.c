/* SPDX-License-Identifier: Apache-2.0 */
/* The record of the array itself: its id, and when it was made. */
#include <errno.h>
#include <string.h>
#include "array/model/base/pack.h"

#define META_KEY "array"

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
