/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block map in memory: branches, which are lines of generations, the disks that are their heads, and where each
 * block of a chunk is.
 *
 * Invariants: the map in memory is the truth; the log holds what of it is durable, LMDB is the log's checkpoint. A
 * leaf leaves memory only when LMDB has all of it.
 */
#ifndef UMBRA_POOL_MAP_H
#define UMBRA_POOL_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include "array/store/pool/base/base.h"
#include "array/store/pool/durable/meta.h"
#include "array/store/store.h"

#define POOL_LEAF_CHUNKS 512u
#define POOL_MID_LEAVES  512u

#define POOL_GEN_HEAD UINT32_MAX /* a reader that sees the newest */

#define POOL_HASH_BUCKETS 4096u

struct pool_hydrate;

/* One entry of the map: where the blocks are that (branch, chunk, gen) wrote. */
struct pool_entry {
	uint32_t gen;
	uint16_t valid, zero;
	uint64_t phys : 35; /* 0: none */
	/* Of a split chunk (space/split.c): the blocks of it that are the entry's; those with data, and those that are
	 * being written. */
	uint64_t held : 16;
	uint64_t split : 1;
	uint64_t dirty : 1;  /* waits for the next frame */
	uint64_t shared : 1; /* other entries may have the chunk, too: it is never written to (refs.c) */
};

/* The entries of one chunk, newest first. */
struct pool_chain {
	uint32_t count, cap;
	struct pool_entry e[];
};

/* 512 chunks. A slot is 0 (nothing), a chain's address, or, with bit 0 set, one clean entry that holds all 16
 * blocks: phys << 29 | split << 28 | shared << 27 | gen << 1 | 1. */
struct pool_leaf {
	struct pool_branch *branch;
	uint64_t index; /* first chunk / POOL_LEAF_CHUNKS */
	bool loading;
	uint32_t dirty;        /* entries that wait for a frame */
	uint32_t pins;         /* users that hold the leaf across a wait */
	uint64_t pin_sequence; /* must be in LMDB before the leaf may go */
	struct list_node lru;  /* in pool_map.lru, unlogged or logged */
	bool held;             /* in one of the latter two */
	uint64_t *bad;         /* bits of chunks whose entries are damaged; NULL: of none */
	struct list waiters;
	uint64_t touched; /* pool_map.leaf_count at its last use */
	uint64_t chain_bytes;
	uint64_t slot[POOL_LEAF_CHUNKS];
};

struct pool_mid {
	unsigned used;
	struct pool_leaf *leaf[POOL_MID_LEAVES];
};

/* A frozen generation that somebody sees: embedded in a cut's member. */
struct pool_viewer {
	struct list_node link; /* pool_branch.cuts */
	uint32_t gen;
};

/* A write under way: embedded in an I/O. */
struct pool_write {
	struct list_node link; /* pool_branch.writes */
	uint32_t gen;
};

/* A line of generations. It lives while it is a disk's head or has a child. */
struct pool_branch {
	uint64_t id;
	uint32_t gen; /* the one that writes go to */
	uint32_t parent_gen;
	uint64_t parent_id; /* while the pool is being opened */
	struct pool_branch *parent;
	struct pool_disk *disk;        /* NULL: headless */
	struct pool_branch **children; /* ascending parent_gen */
	unsigned child_count, child_cap;
	struct list cuts;    /* struct pool_viewer: frozen, the cut not yet ended */
	uint32_t frozen_max; /* the newest generation that a child or a cut sees; 0: none */
	uint64_t blocks;     /* its entries hold; see pool_branch_value */
	uint64_t pending;    /* that its to-dos may give back, as far as they are counted */
	unsigned todos;      /* places in it where a viewer is gone (commit/todo.c) */
	bool record_dirty;   /* a BRANCH_PUT goes into the next frame */
	bool fresh;          /* LMDB has no entry of it: a missing leaf is an empty one */
	bool dead;           /* its BRANCH_DEL waits for a frame */
	bool gone;           /* is freed when its last load has ended */
	bool stuck;          /* reclaim failed with it */
	unsigned loads;      /* of its leaves, under way */
	struct list_node hash_link, dirty_link;
	struct list writes;    /* struct pool_write, ascending gen */
	struct pool_mid **top; /* NULL while there is no leaf */
	uint64_t top_count, mids;
};

struct pool_disk {
	struct store_disk base;
	uint64_t id;
	uint64_t size_bytes;
	struct pool_branch *branch;
	bool pending; /* its transaction is not done */
	struct pool_hydrate *hydration;
	struct list reserves; /* struct pool_reserve_member */
	struct list_node hash_link;
};

struct pool_dirty {
	struct pool_branch *branch;
	uint64_t chunk;
	uint32_t gen;
};

/* Where the blocks of a chunk are; 0: zeros. */
struct pool_places {
	uint64_t phys[POOL_BLOCKS];
	unsigned entries; /* looked at until all blocks were found */
};

struct pool_map {
	struct pool_base *base;
	struct pool_meta *meta;
	struct store *store; /* of the disks */
	struct list branch_hash[POOL_HASH_BUCKETS], disk_hash[POOL_HASH_BUCKETS];
	struct list dirty_branches; /* whose records go into the next frame */
	uint64_t next_branch, next_disk;
	/* what goes into the next frame */
	struct pool_dirty *dirty;
	size_t dirty_count, dirty_cap, dirty_max;
	size_t dirty_pending; /* writes under way that may make an entry dirty */
	/* leaves: those that LMDB has in full, longest unused first; those with an entry for the next frame; those that LMDB
	 * will have when it has their frame, in the order of the frames */
	struct list lru, unlogged, logged;
	uint64_t held; /* in the latter two: they cannot go */
	uint64_t bytes,
		bytes_max; /* leaves, with their tree; past the bound what would make more of them waits */
	struct list room_waiters;         /* for the next checkpoint */
	struct pool_waiter *admitted;     /* the one that has waited longest: goes on in any case */
	uint64_t leaf_count, leaves_kept; /* a leaf stays for so many new ones after its last use */
	unsigned loads;                   /* under way */
	uint64_t applied; /* the last frame that LMDB has: leaves may go that are not dirty since */
};

/* Its bounds come later. */
void pool_map_init(struct pool_map *map, struct pool_base *base, struct pool_meta *meta, struct store *store);
void pool_map_destroy(struct pool_map *map);
bool pool_map_busy(const struct pool_map *map);
int pool_map_open(struct pool_map *map, MDB_txn *txn); /* all branches and disks; -EUCLEAN, -ENOMEM */

static inline struct pool_disk *pool_disk_of(const struct store_disk *d)
{
	return container_of(d, struct pool_disk, base);
}

/* Nothing may become dirty until a frame was made. */
static inline bool pool_dirty_full(const struct pool_map *map)
{
	return map->dirty_count + map->dirty_pending >= map->dirty_max;
}

/* How many blocks of the data are the entry's alone. */
static inline unsigned pool_entry_blocks(const struct pool_entry *e)
{
	if (!e->phys || e->shared)
		return 0;
	return e->split ? (unsigned)__builtin_popcount(e->held) : POOL_BLOCKS;
}

static inline uint16_t pool_block_mask(unsigned first, unsigned count)
{
	return (uint16_t)(((1u << count) - 1) << first);
}

/* How many of the blocks in `mask`, from `first` on, lie one behind the other. `places` NULL: all in one chunk. */
static inline unsigned pool_run_length(uint16_t mask, const struct pool_places *places, unsigned first)
{
	unsigned n = 1;

	while (first + n < POOL_BLOCKS && (mask >> (first + n) & 1) &&
		(!places || places->phys[first + n] == places->phys[first]))
		n++;
	return n;
}

static inline struct list *pool_bucket(struct list *hash, uint64_t id)
{
	return &hash[id % POOL_HASH_BUCKETS];
}

/* ---- branch.c --------------------------------------------------------------------------------------- */

int pool_branches_load(struct pool_map *map, MDB_txn *txn);
struct pool_branch *pool_branch_find(struct pool_map *map, uint64_t id);
struct pool_branch *pool_branch_new(struct pool_map *map, uint64_t id); /* NULL: no memory */
void pool_branch_free(struct pool_map *map, struct pool_branch *b); /* no child, not a child, no leaf dirty */
void pool_branch_attach(struct pool_branch *parent, struct pool_branch *child);
void pool_branch_detach(struct pool_branch *child);
void pool_branch_frozen_update(struct pool_branch *b);
void pool_branch_record_dirty(struct pool_map *map, struct pool_branch *b);
uint32_t pool_branch_oldest_write(const struct pool_branch *b); /* under way; UINT32_MAX: none */
/* Does a child or a cut see a generation in [lo, hi)? */
bool pool_branch_viewer_in(const struct pool_branch *b, uint32_t lo, uint32_t hi);
/* The next viewer above gen; UINT32_MAX: the head, or none. */
uint32_t pool_branch_next_viewer(const struct pool_branch *b, uint32_t gen);
/* Does anything, the head included, see entries of generation ≥ lo? */
bool pool_branch_viewer_from(const struct pool_branch *b, uint32_t lo);
/* The lowest generation that anything sees, now or ever after: all see entries up to it. UINT32_MAX: none. */
uint32_t pool_branch_first_viewer(const struct pool_branch *b);

/* It has no entry, and LMDB has none of it. */
static inline bool pool_branch_bare(const struct pool_branch *b)
{
	return b->fresh && !b->mids;
}

bool pool_entry_owned(const struct pool_branch *b, uint32_t entry_gen, uint32_t gen);

/* ---- disk.c ----------------------------------------------------------------------------------------- */

int pool_disks_load(struct pool_map *map, MDB_txn *txn);
struct pool_disk *pool_disk_find(struct pool_map *map, uint64_t id);
struct pool_disk *pool_disk_new(
	struct pool_map *map, uint64_t id, struct pool_branch *b, uint64_t size_bytes);
void pool_disk_free(struct pool_disk *d);

/* ---- map.c ------------------------------------------------------------------------------------------ */

/* The leaf of a chunk that is to be changed. 0: *out is it, or NULL when it is known to be empty (never NULL with
 * `make`). -EAGAIN: it is being loaded, or the map has its memory full of what LMDB does not have yet; `w` will be
 * woken. -ENOMEM. */
int pool_map_leaf(struct pool_map *map, struct pool_branch *b, uint64_t chunk, bool make,
	struct pool_waiter *w, struct pool_leaf **out);
/* The leaf if it is in memory and loaded. */
struct pool_leaf *pool_map_peek(const struct pool_branch *b, uint64_t chunk);
/* Entries of a chunk, newest first; a compact one is put into *unpacked. */
unsigned pool_map_entries(const struct pool_leaf *leaf, uint64_t chunk, const struct pool_entry **out,
	struct pool_entry *unpacked);
/* The entry to change, or NULL (also: no memory to unpack it). Valid until the next change of the chunk. */
struct pool_entry *pool_map_edit(struct pool_map *map, struct pool_leaf *leaf, uint64_t chunk, uint32_t gen);
int pool_map_insert(
	struct pool_map *map, struct pool_leaf *leaf, uint64_t chunk, const struct pool_entry *entry);
/* The blocks that entry `at` of a chunk's entries has and nobody sees, for newer ones hide them from all who see it. */
uint16_t pool_entry_hidden(const struct pool_branch *b, const struct pool_entry *e, unsigned at);
void pool_map_remove(
	struct pool_map *map, struct pool_leaf *leaf, uint64_t chunk, uint32_t gen); /* marks it dirty */
void pool_map_mark_dirty(struct pool_map *map, struct pool_leaf *leaf, uint64_t chunk, struct pool_entry *e);
/* For the frame: the record of a dirty key; clears the mark. */
void pool_map_collect(
	struct pool_map *map, const struct pool_dirty *d, uint64_t sequence, struct pool_record *out);
/* Where the blocks in `mask` of the chunk are as generation `gen` sees them. 0, -EAGAIN (w waits; with w NULL
 * nothing is loaded), -ENOMEM. */
int pool_map_resolve(struct pool_map *map, struct pool_branch *b, uint32_t gen, uint64_t chunk, uint16_t mask,
	struct pool_waiter *w, struct pool_places *out);

bool pool_places_zero(const struct pool_places *places, unsigned first, unsigned end);

/* The blocks that no viewer of the leaf's branch finds in an ancestor. */
uint16_t pool_map_covered(const struct pool_leaf *leaf, uint64_t chunk);
void pool_map_free(struct pool_map *map, struct pool_branch *b); /* all leaves; none may be dirty */
void pool_map_trim(struct pool_map *map);                        /* evicts down to the bound */
/* LMDB has all frames up to `sequence`; or nothing more comes to it (`err`). */
void pool_map_applied(struct pool_map *map, uint64_t sequence);
void pool_map_latched(struct pool_map *map, int err);
void pool_leaf_pin(struct pool_leaf *leaf);
void pool_leaf_unpin(struct pool_leaf *leaf);

#endif
