/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The open pool: its rooms, and what the top does with them. For io/, background/ and the top; the rooms below know
 * one another by their own headers.
 *
 *   store.c create.c open.c close.c grow.c backup.c restore.c edit.c check.c
 *   check_catalogue.c check_data.c check_space.c dump.c public.c host_posix.c
 *   background/   merge, pack, unshare, clone, hydrate, reclaim, pace, pending, scrub
 *   io/           submit, compare, unmap, read, write, target, mapped, sub, damage, spares
 *   commit/       cut, txn, commit, checkpoint, mirror, remake, todo
 *   space/        reserve, alloc, split, share, freed, data, sums, touched, settle, bits
 *   map/          map, branch, disk, lock
 *   durable/      apply, refs, digest, meta, pages, log, super, stamp, sums, buffer, format
 *   base/         base, host, asks
 *
 * All of it belongs to the reactor's thread, except what runs in a pool_job's `work`, which touches the job's own memory
 * and LMDB only. docs/pool-format.md has the argument for durability.
 */
#ifndef UMBRA_POOL_POOL_H
#define UMBRA_POOL_POOL_H

#include "array/store/pool/base/base.h"
#include "array/store/pool/commit/commit.h"
#include "array/store/pool/durable/log.h"
#include "array/store/pool/durable/meta.h"
#include "array/store/pool/durable/refs.h"
#include "array/store/pool/durable/super.h"
#include "array/store/pool/map/lock.h"
#include "array/store/pool/map/map.h"
#include "array/store/pool/public.h"
#include "array/store/pool/space/space.h"
#include "array/store/store.h"

/* Objects that io/ keeps for the next use. */
struct pool_spares {
	struct list subs, pieces;
	void **bounces;
	unsigned bounce_count;
};

#define POOL_DAMAGES_KEPT 64u

/* Damaged blocks that were told of. */
struct pool_damages {
	void (*found)(void *arg, const struct pool_damage *damage); /* or NULL */
	void *arg;
	uint64_t place[POOL_DAMAGES_KEPT]; /* chunk number << 4 | block; 0: none */
	unsigned next;
};

struct pool {
	struct store store;
	struct pool_base base;
	struct pool_super super;
	struct pool_meta meta;
	struct pool_log log;
	struct pool_locks locks;
	struct pool_map map;
	struct pool_space space;
	struct pool_mirror mirror;
	struct pool_commit commit;
	struct pool_damages damages;
	struct pool_spares spares;
	uint64_t memory_bytes; /* map_memory */
	struct pool_reclaim *reclaim;
	struct pool_pack *pack;
	struct pool_scrub *scrub;
	void (*scrubbed)(void *arg, const struct store_scrub *view); /* with damages.arg; or NULL */
	struct list hydrations;
	struct pool_growth *growth; /* the one under way, or NULL */
	unsigned readers;           /* of the metadata, under way: backups, accounts */
	bool opened;

	/* close */
	void (*close_done)(void *arg, int err);
	void *close_arg;
	struct pool_call close_call;
	bool close_begun, close_asked, close_ready;

	/* counters, for tests and measurements */
	uint64_t client_ios; /* submitted; clones and their like are not among them */
	uint64_t data_writes, data_reads, data_write_bytes, copied_blocks;
};

static inline struct pool *pool_of(struct store *s)
{
	return container_of(s, struct pool, store);
}

/* ---- store.c, close.c ------------------------------------------------------------------------------- */

extern const struct store_ops pool_ops;
void pool_close(struct store *s, void (*done)(void *arg, int err), void *arg);
void pool_close_step(struct pool *p); /* something ended: may the pool close now? */

/* Frees everything; nothing may be under way. */
void pool_destroy(struct pool *p);

/* ---- create.c, open.c, grow.c, backup.c, restore.c, upgrade.c, edit.c, check.c, dump.c ------------------------------------------------------- */

int pool_create_on(struct pool_host *host, const struct pool_options *options, uint64_t capacity_bytes,
	struct fault *fault);
int pool_open_on(struct pool_host *host, const struct pool_options *options, struct reactor *reactor,
	struct store **out, struct fault *fault);
void pool_grow_start(struct store_grow *request); /* of an open pool */
void pool_backup_start(struct store_backup *request);
int pool_grow_on(struct pool_host *host, const struct pool_options *options, uint64_t *capacity_bytes,
	struct fault *fault);
/* *changed: false: the pool has all of it. */
int pool_upgrade_on(
	struct pool_host *host, const struct pool_options *options, bool *changed, struct fault *fault);
int pool_check_on(struct pool_host *host, const struct pool_options *options, bool repair,
	void (*report)(void *arg, const char *line), void *arg, struct fault *fault);
/* Lets `look` look at the catalogue and the disks, within the transaction of a check (check_catalogue.c). */
int pool_check_catalogue(struct pool_meta *meta, MDB_txn *txn,
	int (*look)(struct store *store, struct fault *fault), struct fault *fault);
/* Lets `edit` look at the catalogue and change it within txn: its result. Then the digests are to be flushed. */
int pool_catalogue_edit(struct pool_meta *meta, MDB_txn *txn,
	int (*edit)(void *arg, struct store *store, struct fault *fault), void *arg, struct fault *fault);
int pool_edit_on(struct pool_host *host, const struct pool_options *options,
	int (*edit)(void *arg, struct store *store, struct fault *fault), void *arg, struct fault *fault);
/* Why a pool is not opened, in words (open.c). */
int pool_still_busy(struct fault *fault);
int pool_is_old(struct fault *fault);
int pool_is_shut(struct fault *fault);
int pool_damaged(struct fault *fault);
/* The data of a pool that nobody has open, compared with its checksums (check_data.c). */
struct pool_check_data {
	struct pool_host *host;
	const struct pool_super *super;
	const char *data_device;
	uint64_t incarnation; /* of the last opening */
	uint64_t grown_chunks;
	/* a block does not fit; a chunk cannot be read; an entry was looked at */
	void (*damaged)(void *arg, const struct pool_map_key *key, unsigned block, const char *where);
	void (*unreadable)(
		void *arg, const struct pool_map_key *key, const char *file, uint64_t offset, int err);
	void (*step)(void *arg);
	void *arg;
	uint64_t blocks, unknown, unsure, lost; /* out; lost: sectors of checksums that do not check */
};
int pool_check_data(struct pool_check_data *with, struct pool_meta *meta, MDB_txn *txn);
int pool_dump_on(struct pool_host *host, bool entries,
	void (*row)(void *arg, const char *table, const struct pool_dump_field *fields, unsigned count),
	void *arg, struct fault *fault);

#endif
