/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a check share: check.c goes through the records, check_space.c through what says which chunks are used. */
#ifndef UMBRA_POOL_CHECK_H
#define UMBRA_POOL_CHECK_H

#include "array/store/pool/pool.h"

enum outcome {
	SAFE, /* what is lost answers with errors, for ever */
	UNSAFE,
	MENDED,
};

struct check_branch {
	uint64_t id;
	struct pool_branch_value value;
	uint64_t disk;
};

struct check {
	struct pool_host *host;
	struct pool_super super;
	struct pool_meta meta;
	struct pool_state state;
	MDB_txn *txn;
	bool repair;
	void (*report)(void *arg, const char *line);
	void (*progress)(void *arg, unsigned percent);
	void *arg;
	int (*catalogue)(struct store *store, struct fault *fault);
	uint64_t steps, steps_in_all; /* entries of the map, each looked at twice */
	unsigned percent;             /* told last; 0: nothing yet */
	unsigned findings, unsafe, repaired;
	bool damaged_entry;               /* a chunk that seems free may be its */
	uint64_t branches_end, disks_end; /* ids from here on are in no record */
	struct check_branch *branches;
	size_t branch_count, branch_cap;
	/* A bit for each chunk: an entry holds it; as a shared one; it waits in `loose`. */
	uint8_t *seen, *shared, *loose;
	/* Of split chunks, by groups: the blocks that entries have. A chunk that is seen and has none here is whole. */
	uint16_t **blocks;
	uint64_t grown_chunks;
	bool data;
	const char *data_device;
	uint64_t incarnation; /* of the last opening */
};

/* Tells, and counts. */
void pool_finding(struct check *c, enum outcome outcome, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The table's keys that are not true; a repair takes them off. */
int pool_check_keys(struct check *c, enum pool_table table,
	bool (*is_true)(struct check *c, const MDB_val *k), const char *what);

static inline enum outcome pool_mended(const struct check *c)
{
	return c->repair ? MENDED : SAFE;
}

static inline bool bit(const uint8_t *bits, uint64_t phys)
{
	return bits[phys / 8] >> (phys % 8) & 1;
}

static inline void bit_set(uint8_t *bits, uint64_t phys)
{
	bits[phys / 8] |= (uint8_t)(1u << (phys % 8));
}

/* ---- check_space.c ---------------------------------------------------------------------------------- */

/* The entry has these blocks of a split chunk. */
void pool_check_split(struct check *c, const struct pool_map_key *key, uint64_t phys, uint16_t mask);
/* All entries have been seen: the bitmaps, and the blocks of split chunks. */
int pool_check_space(struct check *c);

#endif
