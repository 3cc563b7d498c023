/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of an earlier version gets what new pools have: the tables for shared and for split chunks, and the digests of what stands in its
 * metadata. The metadata first, in one transaction of LMDB; then the superblock says so. Until it does, the tables are of no
 * account, also when the pool is used in between, for each upgrade makes them anew.
 */
#include "array/store/pool/pool.h"

#include <errno.h>
#include <string.h>
#include "array/store/pool/durable/digest.h"

static int upgrade_meta(
	struct pool_host *host, const struct pool_super *super, uint64_t had, struct fault *fault)
{
	struct pool_meta meta;
	MDB_txn *txn;
	int err = pool_meta_open_more(&meta, host, super, fault);

	if (err)
		return err;
	err = pool_meta_begin(&meta, false, &txn);
	/* of an upgrade that did not end */
	if (!err && !(had & POOL_FEATURE_SHARED))
		err = pool_meta_empty(&meta, txn, POOL_TABLE_REFS);
	if (!err && !(had & POOL_FEATURE_SHARED))
		err = pool_meta_empty(&meta, txn, POOL_TABLE_LOOSE);
	if (!err && !(had & POOL_FEATURE_SPLIT))
		err = pool_meta_empty(&meta, txn, POOL_TABLE_SPLIT);
	for (unsigned i = 0; !err && i < POOL_TABLES; i++)
		err = pool_digest_rebuild(&meta, txn, (enum pool_table)i);
	if (!err)
		err = pool_meta_commit(txn);
	else if (txn)
		pool_meta_abort(txn);
	pool_meta_close(&meta);
	return err ? fault_set(fault, err,
			     "the pool's metadata cannot be written (%s): give the file system room, or look at its disk; the pool is as it was",
			     strerror(-err))
		   : 0;
}

/* For an entry for each block of the data? Where the data lies beside the metadata it may take all room itself. */
static bool has_room(struct pool_host *host, const struct pool_super *super)
{
	uint64_t room;

	return super->data_device && !host->ops->room(host, &room) &&
	       room >= super->capacity_chunks * POOL_META_EACH_SPLIT;
}

int pool_upgrade_on(
	struct pool_host *host, const struct pool_options *options, bool *changed, struct fault *fault)
{
	struct pool_super super;
	uint64_t had;
	int err = pool_read_super(host, &super, fault);

	*changed = false;
	if (!err)
		err = pool_super_usable(&super, fault);
	if (err || (super.features_refuse & POOL_FEATURES_NEW) == POOL_FEATURES_NEW)
		return err;
	/* What is not there any more must not be taken for what should be. */
	err = pool_check_on(host, options, false, NULL, NULL, fault);
	if (err > 0)
		return fault_set(fault, -EUCLEAN,
			"the pool has %d faults: look at them with `umbractl pool check PATH`, let it repair them, and repeat this",
			err);
	if (err)
		return err;
	had = super.features_refuse;
	super.features_refuse |= POOL_FEATURES_NEW;
	if (has_room(host, &super))
		super.entries_each = POOL_ENTRIES_SPLIT;
	err = upgrade_meta(host, &super, had, fault);
	if (err)
		return err;
	err = pool_super_replace(host, &super);
	*changed = !err;
	return err ? fault_set(fault, err,
			     "the file `pool` cannot be written (%s): give the file system room, or look at its disk; the pool is as it was",
			     strerror(-err))
		   : 0;
}
