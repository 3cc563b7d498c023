/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The LMDB environment `meta`, and frames into it (apply.c). All of it blocks: at open, at close, or on worker threads.
 */
#ifndef UMBRA_POOL_META_H
#define UMBRA_POOL_META_H

#include <lmdb.h>
#include "array/store/pool/base/host.h"
#include "array/store/pool/durable/buffer.h"
#include "array/store/pool/durable/format.h"

/* What each chunk may need of LMDB's mapping: more than it does. Twice as much is mapped, so that an open pool may grow. */
#define POOL_META_EACH       256u
#define POOL_META_EACH_SPLIT 2048u

struct pool_meta {
	struct pool_host *host;
	MDB_env *env;
	MDB_dbi table[POOL_TABLES];
	uint8_t id[POOL_ID_BYTES];
	uint64_t capacity_chunks; /* pool_meta_capacity: worker threads read it */
	bool shares;              /* has the tables of POOL_FEATURE_SHARED */
	bool digests;             /* and that of POOL_FEATURE_DIGESTS */
	bool splits;              /* and that of POOL_FEATURE_SPLIT */
	/* noted by the transaction that writes, of which there is one at a time (digest.c) */
	struct pool_digest_change {
		uint8_t key[POOL_DIGEST_KEY_BYTES], key_len;
		uint64_t count, sum;
	} * changes;
	size_t change_count, change_cap;
};

/* Entries of one leaf as LMDB has them: ascending chunk, descending gen. */
struct pool_meta_entry {
	struct pool_map_key key;
	struct pool_map_value value;
};

int pool_errno(int lmdb); /* LMDB's result as a negative errno */

/* ---- open and close --------------------------------------------------------------------------------- */

int pool_meta_create(struct pool_host *host, const struct pool_super *super);
/* What for: LMDB's pages are looked at first, of a large environment not all when it is to be used. */
enum pool_meta_use {
	POOL_META_USE,
	POOL_META_CHECK
};
int pool_meta_open(struct pool_meta *m, struct pool_host *host, const struct pool_super *super,
	enum pool_meta_use use, struct fault *fault);
/* -ENOMEM of create or open, in words. */
int pool_meta_no_room(const struct pool_super *super, struct fault *fault);
/* The same, of metadata that lacks tables of the superblock: they are made. */
int pool_meta_open_more(
	struct pool_meta *m, struct pool_host *host, const struct pool_super *super, struct fault *fault);
const char *pool_meta_table_name(enum pool_table table);
/* A pool of an earlier version lacks some. */
bool pool_meta_has(const struct pool_meta *m, enum pool_table table);
/* Within a transaction that writes: all records of a table go, digests untouched. */
int pool_meta_empty(struct pool_meta *m, MDB_txn *txn, enum pool_table table);
void pool_meta_close(struct pool_meta *m);
/* A transaction, which stays on its thread. What damaged pages do to LMDB while it lasts ends the program, with a text
 * that says what to do. */
int pool_meta_begin(struct pool_meta *m, bool read_only, MDB_txn **out); /* after an error *out is NULL */
int pool_meta_commit(MDB_txn *txn);                                      /* ends it, whatever comes of it */
void pool_meta_abort(MDB_txn *txn);                                      /* NULL: nothing */
/* More chunk numbers are handed out from now on. */
void pool_meta_grown(struct pool_meta *m, uint64_t capacity_chunks);
uint64_t pool_meta_mapped(const struct pool_meta *m); /* bytes that the metadata may take while it is open */
static inline uint64_t pool_meta_capacity(const struct pool_meta *m)
{
	return __atomic_load_n(&m->capacity_chunks, __ATOMIC_RELAXED);
}
/* A whole copy of what is committed, as another host's metadata, in place of what that has. */
int pool_meta_copy(struct pool_meta *m, struct pool_host *to);
/* The same into a directory, which is there. */
int pool_meta_copy_to(struct pool_meta *m, const char *path);

/* ---- single values ---------------------------------------------------------------------------------- */

int pool_meta_get(struct pool_meta *m, MDB_txn *txn, enum pool_table table, const void *key, size_t key_len,
	const uint8_t **value, size_t *len); /* without CRC; -ENOENT, -EUCLEAN */

int pool_meta_put(struct pool_meta *m, MDB_txn *txn, enum pool_table table, const void *key, size_t key_len,
	const void *value, size_t value_len /* without CRC */);

/* What is not there is deleted already. */
int pool_meta_del(struct pool_meta *m, MDB_txn *txn, enum pool_table table, const void *key, size_t key_len);

int pool_meta_count(
	struct pool_meta *m, MDB_txn *txn, enum pool_table table, uint64_t *out); /* of its records */

int pool_meta_state(struct pool_meta *m, MDB_txn *txn, struct pool_state *out);

int pool_meta_put_state(struct pool_meta *m, MDB_txn *txn, const struct pool_state *state);

/* ---- reading ---------------------------------------------------------------------------------------- */

/* The entries of the POOL_DIGEST_CHUNKS chunks of a leaf. */
struct pool_meta_leaf {
	struct pool_meta_entry *entries; /* malloc'ed */
	size_t count, damaged;
	uint64_t bad[POOL_DIGEST_CHUNKS /
		     64]; /* chunks that have a damaged entry; the others have all of theirs */
};
/* Blocks. -EUCLEAN: an entry is missing, or is not of now, or nobody can say which chunk a damaged one belongs to. */
int pool_meta_load(struct pool_meta *m, uint64_t branch, uint64_t leaf, struct pool_meta_leaf *out);
/* Up to `max` entries of a branch from (chunk, gen) on in key order; *out is malloc'ed. Blocks. */
int pool_meta_scan_branch(struct pool_meta *m, const struct pool_map_key *from, size_t max,
	struct pool_meta_entry **out, size_t *out_count);
/* Up to `max` entries of the map from `from` on; those that are damaged are left out. *all: entries that there are. Blocks. */
int pool_meta_scan_map(struct pool_meta *m, const struct pool_map_key *from, size_t max,
	struct pool_meta_entry **out, size_t *out_count, uint64_t *all);
/* Up to `max` keys of the index (branch, gen, chunk) from `from` on, gen ≤ last_gen. Blocks. */
int pool_meta_scan_gens(struct pool_meta *m, const struct pool_map_key *from, uint32_t last_gen, size_t max,
	struct pool_map_key *out, size_t *out_count);
/* How many of them there are, up to `max`; `from`: where to go on. Blocks. */
int pool_meta_count_gens(
	struct pool_meta *m, struct pool_map_key *from, uint32_t last_gen, uint64_t max, uint64_t *count);
/* Of a branch's viewers one looks from `last`, its neighbours from `before` (0: none) and `next` (if somebody looks from
 * above at all). */
struct pool_sole_range {
	uint32_t before, last, next;
	bool seen_above;
};
struct pool_sole {
	uint64_t blocks; /* with data that only it sees */
	uint64_t freed;  /* blocks that nobody needs without it */
};
/* Adds to `sum` what there is of it in the entries `keys`, whose generations lie in (before, last]. Blocks. */
int pool_meta_sole(struct pool_meta *m, const struct pool_map_key *keys, size_t count,
	const struct pool_sole_range *range, struct pool_sole *sum);
/* Up to `max` chunks from `from` on of which any of the branches in `chain` has an entry not newer than the
 * generation that stands with it; ascending. *next: where to go on; UINT64_MAX: that was all. Blocks. */
int pool_meta_scan_chunks(struct pool_meta *m, const struct pool_map_key *chain, size_t chain_count,
	uint64_t from, size_t max, uint64_t *out, size_t *out_count, uint64_t *next);
/* Calls each for every record of a table within txn; the value without its CRC. -EUCLEAN: a CRC is wrong. */
int pool_meta_each(struct pool_meta *m, MDB_txn *txn, enum pool_table table,
	int (*each)(void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len,
		bool intact),
	void *arg);
/* The same of a small table (not map, gen, refs); -EUCLEAN at its end if that was not all, or not of now. */
int pool_meta_all(struct pool_meta *m, MDB_txn *txn, enum pool_table table,
	int (*each)(void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len,
		bool intact),
	void *arg);

/* ---- frames (apply.c) ------------------------------------------------------------------------------- */

int pool_meta_apply(struct pool_meta *m, MDB_txn *txn, const struct pool_payload *payloads, size_t count,
	struct pool_state *state);

#endif
