/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared chunks in LMDB: the tables `refs` and `loose` (refs.c says what they mean). All but the last function work
 * within an LMDB transaction. Blocks.
 */
#ifndef UMBRA_POOL_REFS_H
#define UMBRA_POOL_REFS_H

#include <lmdb.h>
#include "array/store/pool/base/base.h"
#include "array/store/pool/durable/meta.h"

/* Within an LMDB transaction; all but the last block. */
int pool_refs_change(struct pool_meta *m, MDB_txn *txn, const struct pool_map_key *key,
	const struct pool_map_value *old, const struct pool_map_value *now);
int pool_refs_freed(struct pool_meta *m, MDB_txn *txn, uint64_t phys, uint64_t count);
int pool_refs_settle(struct pool_meta *m, MDB_txn *txn, struct pool_free_list *unshared);
int pool_refs_count(struct pool_meta *m, MDB_txn *txn, uint64_t *out);
int pool_refs_loose_count(struct pool_meta *m, MDB_txn *txn, uint64_t *out);
/* Up to `max` loose chunks from `from` on. A transaction of its own. */
int pool_refs_scan_loose(struct pool_meta *m, uint64_t from, size_t max, uint64_t *out, size_t *count);

#endif
