/* SPDX-License-Identifier: Apache-2.0 */
/* How many records there are, and the sum of their CRCs: of each small table, and of parts of the map and of refs. */
#ifndef UMBRA_POOL_DIGEST_H
#define UMBRA_POOL_DIGEST_H

#include "array/store/pool/durable/meta.h"

struct pool_digest {
	uint64_t count, sum;
};

/* One more record has been read; len: of its value. */
void pool_digest_add(struct pool_digest *d, const void *value, size_t len);
/* Is that what is known of the table, or of the part of it that the record `key` lies in? 0, -EUCLEAN: no. Of a pool
 * without digests, or a table without: 0. count_only: some of the records are known to be damaged. */
int pool_digest_check(struct pool_meta *m, MDB_txn *txn, enum pool_table table, const void *key,
	size_t key_len, const struct pool_digest *found, bool count_only);
/* Do two records lie in the same part? */
bool pool_digest_same(enum pool_table table, const void *a, const void *b);

/* Calls `wrong` for each part of the map and of refs that is not what is known of it, with the key of a record in it; found:
 * what it is, NULL: it has no records. 0, or an error, `wrong`'s too. */
int pool_digest_parts(struct pool_meta *m, MDB_txn *txn,
	int (*wrong)(void *arg, enum pool_table table, const uint8_t *key, const struct pool_digest *found),
	void *arg);

/* Is every record what was written, and, with digests, is none missing or old? 0, -EUCLEAN: no. Not of the index `gen`. */
int pool_digest_whole(struct pool_meta *m, MDB_txn *txn);

/* ---- within a transaction that writes (pool_meta_put and pool_meta_del do so) ------------------------ */

/* A record changes: from `old` (NULL: there was none) to a value of len bytes (NULL: it goes). */
void pool_digest_note(struct pool_meta *m, enum pool_table table, const void *key, size_t key_len,
	const MDB_val *old, const uint8_t *value, size_t len);
/* What was noted becomes part of the transaction. */
int pool_digest_flush(struct pool_meta *m, MDB_txn *txn);
/* If the digest's own record is damaged: makes it that of what was found, and returns 1. 0: it is not. Or an error. */
int pool_digest_mend(struct pool_meta *m, MDB_txn *txn, enum pool_table table, const void *key,
	size_t key_len, const struct pool_digest *found);
/* All digests of a table anew, from what stands in it. */
int pool_digest_rebuild(struct pool_meta *m, MDB_txn *txn, enum pool_table table);

#endif
