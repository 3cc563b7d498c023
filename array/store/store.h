/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a store is: it holds disks (a LUN's data), makes cuts through several disks at one instant, and keeps
 * the array's catalogue (LUNs, hosts, mappings, copy sets) in the same durable transactions. It knows
 * nothing of SCSI. Two stores: `pool` (embedded) and `rbd` (Ceph).
 *
 * Rules:
 * - All calls come from the reactor's thread and none blocks, except where noted (open, iterate).
 * - Errors are negative errno: -EIO (media), -ETIME (it hangs, and was given up), -ENOSPC, -EROFS (the store went
 *   read-only after a failed flush), -EILSEQ (miscompare), -EBUSY, -ECANCELED, -ENOMEM, -ESHUTDOWN.
 * - `done` may be called from inside the call that started the operation.
 *
 * Durability (DESIGN section 6): a WRITE that is done is visible to every later read, not yet durable. A
 * FLUSH that is done makes every write that was done before the flush was submitted durable. A WRITE with
 * STORE_IO_FUA is done when it is durable. A transaction that is done is durable, whole or not at all.
 * Transactions become durable in the order of their commits; only one that makes or enlarges disks, and was not prepared, may be
 * later than others that were committed behind it: no two that are under way then name the same record or disk (except for what is
 * the same in both).
 */
#ifndef UMBRA_STORE_H
#define UMBRA_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "array/util/fault.h"
#include "array/util/list.h"

#define STORE_BLOCK_BYTES    512 /* logical block: offsets and lengths are multiples of it */
#define STORE_PHYSICAL_BYTES 4096
#define STORE_IO_MAX_BYTES   (8u << 20)
#define STORE_ALIGN_BYTES    4096 /* best alignment of buffers; others work and are slower */

struct reactor;
struct store;
struct store_disk;
struct store_txn;

enum store_io_op {
	STORE_READ,
	STORE_WRITE,
	STORE_COMPARE_WRITE, /* iov holds len bytes to compare, then len bytes to write; atomic */
	STORE_UNMAP,         /* the range reads as zeros afterwards and its space may return; any length */
	STORE_FLUSH,
	STORE_MAPPED, /* asks what is mapped: `mapped`, `run_bytes`; moves no data, any length */
	/* The range becomes that of `source` at `source_offset`; any length. Whole chunks are shared, the
	 * rest is copied. Nobody may change the source's range meanwhile, nor may it overlap the target's.
	 * Until it is done, and after an error, each block is the old or the new one. Only if ops->clones. */
	STORE_CLONE,
};

static inline bool store_op_changes(enum store_io_op op)
{
	return op == STORE_WRITE || op == STORE_COMPARE_WRITE || op == STORE_UNMAP || op == STORE_CLONE;
}

/* Any length; the others at most STORE_IO_MAX_BYTES. */
static inline bool store_op_any_length(enum store_io_op op)
{
	return op == STORE_UNMAP || op == STORE_MAPPED || op == STORE_CLONE;
}

#define STORE_IO_FUA 1u

#define STORE_NOWHERE UINT64_MAX

/* Room in a store_io for the store's own struct while the I/O is under way. Each store asserts that its
 * struct fits; the pool's struct pool_io fills about half. */
#define STORE_SCRATCH_BYTES 320

/* One I/O. The memory is the caller's, who leaves it alone until `done`. */
struct store_io {
	enum store_io_op op;
	unsigned flags;
	uint64_t offset; /* bytes */
	uint64_t len;    /* bytes; READ, WRITE ≤ STORE_IO_MAX_BYTES */
	const struct iovec *iov;
	unsigned iov_count;
	uint64_t miscompare_offset; /* out, with -EILSEQ: byte offset within the range */
	/* Out, with -EUCLEAN: where on the disk the first damaged block lies, bytes; STORE_NOWHERE, which the caller sets:
	 * it is not known. */
	uint64_t damaged_offset;
	/* Out, of MAPPED: whether the block at `offset` holds data, and how far that goes. A block without
	 * data reads as zeros. 0 < run_bytes <= len; the run may go on behind it. The answer was true at some
	 * instant of the call. */
	bool mapped;
	uint64_t run_bytes;
	/* of CLONE: a disk of the same store; out: how much of the range was shared, not copied */
	struct store_disk *source;
	uint64_t source_offset, shared_bytes;
	void (*done)(struct store_io *io, int err);
	/* of the store while the I/O is under way */
	struct store_disk *disk;
	struct list_node link;
	_Alignas(16) unsigned char scratch[STORE_SCRATCH_BYTES];
};

/* ---- catalogue ------------------------------------------------------------------------------------ */

enum store_table {
	STORE_TABLE_META = 1, /* array id, name, settings */
	STORE_TABLE_LUN = 2,
	STORE_TABLE_HOST = 3,
	STORE_TABLE_MAP = 4,
	STORE_TABLE_SET = 5,
	STORE_TABLE_RESERVATION = 6,
	STORE_TABLE_COUNT
};
#define STORE_KEY_MAX_BYTES   255
#define STORE_VALUE_MAX_BYTES 65536

/* One cut through disks of one store. */
struct store_cut {
	struct store_disk **disks; /* distinct; valid until cut_drop or the end of cut_commit */
	unsigned count;
	/* The caller's `count`; out, with an error of the cut or of cut_commit, where the store knows it: an index of a disk for which it
	 * failed. */
	unsigned failed;
	void (*begins)(struct store_cut *cut); /* closes the gates. NULL: they are closed already */
	void *priv;                            /* the store's */
};

static inline void store_cut_begins(struct store_cut *cut)
{
	if (cut->begins)
		cut->begins(cut);
}

/* Makes a disk independent of all others in the background. Ranges that are cloned meanwhile may be shared
 * again. The memory is the caller's and stays valid until `done`. */
struct store_hydration {
	struct store_disk *disk;
	uint64_t bytes_per_s; /* how much is copied at most; 0: as fast as it goes. May change meanwhile */
	/* out, growing: how much of the disk is done, and its size */
	uint64_t passed_bytes, total_bytes;
	void (*passed)(struct store_hydration
			*h); /* it has grown; nothing is begun or cancelled from inside. NULL: nobody asks */
	/* 0: the disk shares nothing with another one, durably. -ECANCELED, or another error that stopped it.
	 * What was copied is kept: the next hydration of the disk goes on from there. */
	void (*done)(struct store_hydration *h, int err);
	void *priv; /* the store's */
};

/* Chunks set aside for writes to the ends of disks, where the partition tables are: the first chunk and the
 * last two. Those writes still find room when others do not. Each disk gets STORE_RESERVE_CHUNKS: enough to
 * write to its ends once before a cut and once after it, and once to the ends of the copy. A reserve is not
 * durable. The memory is the caller's and stays valid until reserve_end. */
#define STORE_RESERVE_CHUNKS 9u
struct store_reserve {
	/* Distinct; valid until `done`. A disk that is deleted later leaves the reserve by itself. */
	struct store_disk **disks;
	unsigned count;
	bool at_hand; /* takes what is free now, perhaps less, and waits for nothing */
	/* Sets nothing aside and asks for no room: only what opens_lazily says. There is nothing to end after `done`. */
	bool ready_only;
	/* 0, -ENOSPC, -EROFS, -ENOMEM; after an error there is nothing to end. */
	void (*done)(struct store_reserve *r, int err);
	void *priv; /* the store's */
};

struct store_stats {
	uint64_t capacity_bytes, used_bytes; /* used: chunks in use, all disks */
	uint64_t reclaim_pending_bytes;      /* of them: unused, but not given back yet; an estimate */
	uint64_t reclaim_pending_steps; /* deleted disks of which something is left to look at or give back */
	uint64_t reserved_bytes;        /* free, but set aside: see reserve() */
	uint64_t log_bytes, log_used_bytes; /* of the intent log; 0: there is none */
	uint64_t map_memory_bytes,
		map_memory_used_bytes; /* the map's memory, and how much it may take; 0: as above */
	bool read_only;                /* latched after a failed flush */
	char read_only_reason[128];
	char mirror[224]; /* of the metadata: none, current, or why it is lost */
};

/* To raise a store's capacity. One at a time. */
struct store_grow {
	struct store *store;
	uint64_t capacity_bytes; /* wanted, 0: all that its place has; in the end: what it is */
	void (*done)(struct store_grow *g, int err); /* may be called from inside */
	struct fault fault;                          /* why not; it may have no text */
};

/* To copy what finds the data again (not the data) to a directory that is not there yet, or empty, as of now. */
struct store_backup {
	struct store *store;
	const char *path;
	void (*done)(struct store_backup *b, int err); /* may be called from inside */
	struct fault fault;                            /* why not; it may have no text */
};

/* What a disk costs, as of about now. */
struct store_account {
	struct store_disk *disk;
	/* Out: data that no other disk shows; what it shows that others do, too (in the store's chunks); what its deletion
	 * would give back. */
	uint64_t exclusive_bytes, shared_bytes, freed_bytes;
	void (*done)(struct store_account *a,
		int err); /* may be called from inside; -ECANCELED: the store closes */
};

/* Reading all data and comparing it with its checksums, in the background. */
struct store_scrub {
	bool possible; /* the store keeps checksums */
	bool running;
	bool finished;          /* the last one came to the end */
	int err;                /* why the last one did not; 0 too when it was stopped */
	uint64_t bytes_per_s;   /* at most; 0: as fast as it goes */
	uint64_t passed, total; /* pieces, about */
	uint64_t bytes;         /* read */
	uint64_t damaged;       /* blocks found that do not fit */
	uint64_t unreadable;    /* pieces that could not be read */
	uint64_t settling;      /* pieces that are still read after a crash, before they are compared */
};

/* What a disk is to those who administer what the store stands on, and see its disks there. Valid during the call. */
struct store_label {
	/* kind: "lun", "copy", "recycled copy", or "passing copy", which is no LUN's: lun and naa are NULL */
	const char *lun, *naa, *kind;
	const char *copy_of, *set; /* of a copy; else NULL, or where it is not known */
};
#define STORE_PLACE_BYTES 384

enum store_rest {
	STORE_RESTS,
	STORE_REST_WORKS, /* still: what it does of its own accord */
	STORE_REST_IO     /* hosts' I/O that was under way before; what begins meanwhile does not count */
};

struct store_ops {
	const char *name; /* "pool", "rbd" */

	/* Ends background work and makes everything durable, then calls done and frees the store. Every disk
	 * is closed by it. No I/O may be under way. */
	void (*close)(struct store *s, void (*done)(void *arg, int err), void *arg);
	void (*stats)(struct store *s, struct store_stats *out);
	/* Before another umbrad gets the store: what it does of its own accord, and what its close would wait for (deletions, counts
	 * of what is used), is not begun any more. Returns what is under way still. False: it goes on. NULL: there is no such thing. */
	enum store_rest (*rest)(struct store *s, bool rest);
	/* NULL where the place gives all it has by itself. */
	void (*grow)(struct store_grow *g);
	/* NULL where the store needs none. */
	void (*backup)(struct store_backup *b);

	/* All three NULL where there are no checksums. Start: 0, also when it runs: then only the rate changes; it goes on where the
	 * last one was stopped. -EOPNOTSUPP: nothing to compare with; -EROFS, -EBUSY (one is just ending), -ENOMEM. */
	int (*scrub_start)(struct store *s, uint64_t bytes_per_s);
	void (*scrub_stop)(struct store *s);
	void (*scrub_view)(struct store *s, struct store_scrub *out);

	/* ---- disks. A disk's id is persistent, unique in the store, never reused, never 0. */

	/* Only when the array is opened. -ENOENT. */
	int (*disk_open)(struct store *s, uint64_t disk_id, struct store_disk **out);
	uint64_t (*disk_id)(const struct store_disk *d);
	uint64_t (*disk_size)(const struct store_disk *d); /* bytes */
	uint64_t (*disk_used)(const struct store_disk *d); /* bytes that this disk alone holds; an estimate */
	/* Which data it has: a number that rises with each repoint. NULL where an array has one controller. */
	uint64_t (*disk_data)(const struct store_disk *d);
	/* The disk may go meanwhile. NULL where it cannot be told. */
	void (*account)(struct store_account *a);
	/* Both NULL where nobody sees disks. place: by which name they do; the next repoint changes it. label: shows them what the
	 * disk is, in the background and as well as may be, and not when it is shown already. Labels of one disk are shown in their
	 * order. False: not now, try again soon. Not during a cut. */
	void (*place)(const struct store_disk *d, char out[STORE_PLACE_BYTES]);
	bool (*label)(struct store_disk *d, const struct store_label *label);
	/* io->disk is set; the range lies within the disk (asserted). */
	void (*submit)(struct store_io *io);

	/* ---- transactions: puts, deletes, new and deleted disks; durable as one. */

	struct store_txn *(*txn_begin)(struct store *s); /* NULL: no memory */
	/* These three return 0, -ENOMEM, -EMSGSIZE or -ENOSPC; after an error only txn_drop is allowed. */
	int (*txn_put)(struct store_txn *t, enum store_table table, const void *key, size_t key_len,
		const void *value, size_t value_len);
	int (*txn_del)(struct store_txn *t, enum store_table table, const void *key, size_t key_len);
	/* A new empty disk. It may be used when the transaction is done; txn_drop or a failure frees it. */
	int (*txn_disk_create)(struct store_txn *t, uint64_t size_bytes, struct store_disk **out);
	/* A new disk whose content is that of cut->disks[index] at the cut. The transaction must then be
	 * given to cut_commit of the same cut. Size: that of the original at the cut. */
	int (*txn_disk_fork)(
		struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk **out);
	/* The disk is deleted with the transaction; no I/O may be under way or come any more. Its space
	 * returns in the background, and a restart does not stop that. */
	int (*txn_disk_delete)(struct store_txn *t, struct store_disk *d);
	/* Growing only; takes effect when done. May follow a repoint of the disk in the same transaction. */
	int (*txn_disk_resize)(struct store_txn *t, struct store_disk *d, uint64_t size_bytes);
	/* The disk takes the content and the size of cut->disks[index] at the cut. What it held before goes
	 * as if deleted. The disk must not be in the cut, and no I/O on it may be under way or come until the
	 * transaction is done. The transaction must then be given to cut_commit of the same cut. */
	int (*txn_disk_repoint)(
		struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk *disk);
	/* Makes what the transaction's new, enlarged and repointed disks need, ahead of the commit: all that may take long, or hang. Nothing
	 * of it is on record, and a crash leaves nothing. `cut`: that of its forks and repoints, or NULL. `ready`, perhaps called from
	 * inside, with 0: puts and deletes may follow, then txn_commit, or cut_commit. With an error: t is freed, and the cut has ended.
	 * From this call to the commit txn_drop, or with a cut cut_give_up, which is true then, frees t at once: `ready` is not called any
	 * more, and what is under way ends in the background. Transactions of others may be committed meanwhile. They may name the
	 * disks as well: who commits this one looks first whether it still is what is wanted, and does not commit it where one of its
	 * disks has been deleted. -EBUSY: too much that was let go of hangs still. NULL: nothing takes long. */
	void (*txn_prepare)(
		struct store_txn *t, struct store_cut *cut, void (*ready)(void *arg, int err), void *arg);
	/* Frees t. */
	void (*txn_commit)(struct store_txn *t, void (*done)(void *arg, int err), void *arg);
	void (*txn_drop)(struct store_txn *t);
	/* Calls `each` for every record; may block (at start only). A non-zero result ends it and is
	 * returned. */
	int (*iterate)(struct store *s, enum store_table table,
		int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len),
		void *arg);

	/* ---- cuts. One at a time in a store; where there is cut_give_up, any number. */

	/* The caller closes the gates of all the disks in cut->begins, which the store calls once nothing but the cut itself is left to
	 * wait for (perhaps from inside `cut`; never where it fails before), and keeps them closed until cut_done: no WRITE, UNMAP or
	 * COMPARE_WRITE is submitted to them meanwhile.
	 * What was done before is in the cut. What was submitted before and is not done yet may be on either
	 * side of the cut, but as a whole: a long UNMAP in steps of 16 MiB, a CLONE in steps of 64 KiB.
	 * cut_done may be called from inside (pool: always). A caller that gives up before cut_done may open
	 * the gates at once; then only cut_drop is allowed. */
	void (*cut)(struct store *s, struct store_cut *cut, void (*cut_done)(void *arg, int err), void *arg);
	/* With open gates: waits for the writes of the frozen generations, makes data, map and the
	 * transaction (with its forks) durable together. Ends the cut, frees the transaction. */
	void (*cut_commit)(
		struct store_cut *cut, struct store_txn *t, void (*done)(void *arg, int err), void *arg);
	/* Nothing of the cut is kept. */
	void (*cut_drop)(struct store_cut *cut);
	/* Where a cut may hang, for what it needs does not answer: instead of cut_drop, at any time before cut_commit's `done`. True:
	 * nothing of the cut is kept, and neither cut_done nor `done` is called; the cut has ended, the transaction is freed, with its new
	 * disks, and what is under way ends in the background. False: its transaction is being written, and `done` will tell. NULL:
	 * nothing hangs for long. */
	bool (*cut_give_up)(struct store_cut *cut);
	/* Of a cut that could be given up: how many of its disks are waited for, and the index of the first one. NULL with cut_give_up. */
	unsigned (*cut_waits)(const struct store_cut *cut, unsigned *first);

	/* ---- independence. I/O goes on as usual. A disk has at most one hydration. It must have none when
	 * the disk is deleted or repointed, or when the store is closed. */

	void (*hydrate)(struct store_hydration *h);        /* done may be called from inside */
	void (*hydrate_cancel)(struct store_hydration *h); /* done is called soon, perhaps with 0 */
	/* What one that has begun needs has not answered for a while: it may take long, and others need not wait for it. NULL: it never
	 * hangs. */
	bool (*hydrate_hangs)(const struct store_hydration *h);
	bool clones; /* STORE_CLONE is offered */
	/* A copy of the disk would have so many disks above it that it is slow to use, and is to be hydrated; as far as is known. NULL:
	 * it never has. */
	bool (*copies_deep)(const struct store_disk *d);

	/* ---- room for the ends of disks. NULL where the store cannot become full. */

	/* A disk is made ready when it is used first, which a cut would wait for. reserve does it as well. */
	bool opens_lazily;
	/* Waits while chunks are being freed. `done` may be called from inside. */
	void (*reserve)(struct store_reserve *r);
	/* A copy of one of the disks may use the reserve, too. After `done`; one copy for each disk. */
	void (*reserve_join)(struct store_reserve *r, struct store_disk *d);
	/* Gives back what is left. If `done` has not been called yet, it never is. */
	void (*reserve_end)(struct store_reserve *r);
};

/* The head of every store's own struct. */
struct store {
	const struct store_ops *ops;
	struct reactor *reactor;
};

/* The head of every store's own disk. */
struct store_disk {
	struct store *store;
};

#endif
