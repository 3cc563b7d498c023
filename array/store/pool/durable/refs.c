/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks that several entries of the map have, and when such a chunk is free.
 *
 * An entry with the bit `shared` never has data written into its chunk: a write that would go there takes a
 * new chunk for all blocks (write.c). Its masks may change; they are its own. The bit is set on both entries when
 * one takes the chunk of the other (clone.c) and stays as long as an entry has the chunk.
 *
 * Who takes a shared chunk from an entry says so by an UNSHARE record in the same frame. Whether it was the last
 * one is asked in LMDB only, where the table `refs` lists each shared chunk's entries: when the frames of a batch
 * are applied and none is left, the chunk goes into the table `loose`, in the same LMDB transaction. Reclaim
 * takes it from there and frees it by a FREE record, which also ends its place in `loose`.
 *
 * Why the answer is right: an entry can only take the chunk of one that lives, both are dirty from then on,
 * and a frame has all that is dirty; so the record of the new one stands in no later frame than the end of
 * the old one. In the order of the log a chunk's last entry is therefore the last for ever, until it is freed.
 * A FREE of such a chunk is written only when LMDB durably has it in `loose`, so it is never in one batch with the
 * UNSHARE that it answers.
 */
#include "array/store/pool/durable/refs.h"

#include <errno.h>
#include "array/store/pool/durable/digest.h"
#include "array/util/bytes.h"

int pool_refs_change(struct pool_meta *m, MDB_txn *txn, const struct pool_map_key *key,
	const struct pool_map_value *old, const struct pool_map_value *now)
{
	bool had = old && old->shared, has = now && now->shared;
	uint8_t ref[POOL_REF_KEY_BYTES];
	int err = 0;

	if (had && !(has && now->phys == old->phys)) {
		pool_ref_key_encode(ref, old->phys, key);
		err = pool_meta_del(m, txn, POOL_TABLE_REFS, ref, sizeof(ref));
	}
	if (!err && has && !(had && now->phys == old->phys)) {
		pool_ref_key_encode(ref, now->phys, key);
		err = pool_meta_put(m, txn, POOL_TABLE_REFS, ref, sizeof(ref), NULL, 0);
	}
	return err;
}

int pool_refs_freed(struct pool_meta *m, MDB_txn *txn, uint64_t phys, uint64_t count)
{
	uint8_t key[POOL_LOOSE_KEY_BYTES];
	int err = 0;

	for (uint64_t i = 0; i < count && !err; i++) {
		put_be64(key, phys + i);
		err = pool_meta_del(m, txn, POOL_TABLE_LOOSE, key, sizeof(key));
	}
	return err;
}

/* Has any entry the chunk? 0, 1 or an error. Where the table does not say what it should, one may have it. */
static int referred(struct pool_meta *m, MDB_txn *txn, MDB_cursor *cursor, uint64_t phys)
{
	struct pool_digest digest = {0};
	uint8_t key[8], first[8];
	MDB_val k = {.mv_size = sizeof(first), .mv_data = first}, v;
	bool found = false;
	int rc;

	put_be64(key, phys);
	put_be64(first, m->digests ? phys / POOL_DIGEST_REFS * POOL_DIGEST_REFS : phys);
	rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	while (!rc && !found && k.mv_size >= 8 && pool_digest_same(POOL_TABLE_REFS, k.mv_data, key)) {
		found = get_be64(k.mv_data) == phys;
		if (!m->digests)
			break;
		pool_digest_add(&digest, v.mv_data, v.mv_size);
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	}
	if (rc && rc != MDB_NOTFOUND)
		return pool_errno(rc);
	return found || pool_digest_check(m, txn, POOL_TABLE_REFS, key, sizeof(key), &digest, false) ? 1 : 0;
}

int pool_refs_settle(struct pool_meta *m, MDB_txn *txn, struct pool_free_list *unshared)
{
	MDB_cursor *cursor;
	int rc, has = 0;

	pool_free_list_unique(unshared);
	if (unshared->count == 0)
		return 0;
	rc = mdb_cursor_open(txn, m->table[POOL_TABLE_REFS], &cursor);
	if (rc)
		return pool_errno(rc);
	for (size_t i = 0; i < unshared->count && has >= 0; i++) {
		uint8_t key[POOL_LOOSE_KEY_BYTES];

		has = referred(m, txn, cursor, unshared->phys[i]);
		if (has == 0) {
			put_be64(key, unshared->phys[i]);
			has = pool_meta_put(m, txn, POOL_TABLE_LOOSE, key, sizeof(key), NULL, 0);
		}
	}
	mdb_cursor_close(cursor);
	return has < 0 ? has : 0;
}

static int entries_of(struct pool_meta *m, MDB_txn *txn, enum pool_table table, uint64_t *out)
{
	*out = 0;
	return m->shares ? pool_meta_count(m, txn, table, out) : 0;
}

int pool_refs_count(struct pool_meta *m, MDB_txn *txn, uint64_t *out)
{
	return entries_of(m, txn, POOL_TABLE_REFS, out);
}

int pool_refs_loose_count(struct pool_meta *m, MDB_txn *txn, uint64_t *out)
{
	return entries_of(m, txn, POOL_TABLE_LOOSE, out);
}

static int scan(
	struct pool_meta *m, MDB_cursor *cursor, uint64_t from, size_t max, uint64_t *out, size_t *count)
{
	uint8_t key[POOL_LOOSE_KEY_BYTES];
	MDB_val k = {.mv_size = sizeof(key), .mv_data = key}, v;
	int rc;

	put_be64(key, from);
	rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	while (!rc && *count < max) {
		if (k.mv_size != POOL_LOOSE_KEY_BYTES ||
			!pool_value_ok(m->id, POOL_TABLE_LOOSE, k.mv_data, k.mv_size, v.mv_data, v.mv_size))
			return -EUCLEAN;
		out[(*count)++] = get_be64(k.mv_data);
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	}
	return rc == MDB_NOTFOUND ? 0 : pool_errno(rc);
}

int pool_refs_scan_loose(struct pool_meta *m, uint64_t from, size_t max, uint64_t *out, size_t *count)
{
	MDB_cursor *cursor;
	MDB_txn *txn;
	int err = pool_meta_begin(m, true, &txn);

	*count = 0;
	if (err)
		return err;
	err = pool_errno(mdb_cursor_open(txn, m->table[POOL_TABLE_LOOSE], &cursor));
	if (!err) {
		err = scan(m, cursor, from, max, out, count);
		mdb_cursor_close(cursor);
	}
	pool_meta_abort(txn);
	return err;
}
