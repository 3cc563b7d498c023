/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store in memory for tests: the whole contract of array/store/store.h with sparse disks, cuts,
 * transactions and the catalogue, and in addition what a test needs to be unkind: completions that come late
 * or in another order, calls that fail, and a crash that loses what was not durable.
 *
 * The medium (struct memstore) outlives the open store:
 *
 *	struct memstore *m = memstore_create(0);
 *	struct store *s = memstore_open(m, reactor);   // then array_open() and so on
 *	…
 *	memstore_crash(m, seed);                       // or s->ops->close()
 *	array_close(a);
 *	s = memstore_open(m, reactor);                 // what was durable is there again
 *	…
 *	memstore_destroy(m);
 *
 * Invariants:
 * - A write takes effect wholly at one instant between its submission and its done (by default at done).
 * - Transactions become durable in the order in which they were committed.
 * - Misuse by the caller (a write while the gates should be closed, I/O on a deleted disk, an unused fork, the
 *   end of a disk or of the store during a hydration, a reserve that outlives the store) is an assertion.
 */
#ifndef UMBRA_TEST_MEMSTORE_H
#define UMBRA_TEST_MEMSTORE_H

#include <stdbool.h>
#include <stdint.h>
#include "array/store/store.h"

struct memstore;
struct reactor;

enum memstore_kind {
	MEMSTORE_READ,
	MEMSTORE_WRITE, /* WRITE, UNMAP, COMPARE_WRITE, CLONE */
	MEMSTORE_FLUSH,
	MEMSTORE_PREPARE,
	MEMSTORE_TXN,
	MEMSTORE_CUT_READY, /* what a cut waits for before the gates close */
	MEMSTORE_CUT,
	MEMSTORE_CUT_COMMIT,
	MEMSTORE_HYDRATE, /* each quarter of it is an operation (and a fallible call) of its own */
	MEMSTORE_RESERVE,
	MEMSTORE_KINDS
};

enum memstore_when {
	MEMSTORE_INLINE,   /* done comes from inside the call (the default) */
	MEMSTORE_DEFERRED, /* by reactor_defer */
	MEMSTORE_TIMED,    /* after delay_ms, by a reactor timer */
	MEMSTORE_MANUAL,   /* when the test says so: memstore_complete */
};

/* capacity_bytes 0: no bound. Writes beyond it fail with -ENOSPC. */
struct memstore *memstore_create(uint64_t capacity_bytes);
void memstore_destroy(struct memstore *m);
/* Not while it is open. reactor may be NULL when all is INLINE or MANUAL. */
struct store *memstore_open(struct memstore *m, struct reactor *reactor);

/* kind MEMSTORE_KINDS: all kinds. */
void memstore_timing(struct memstore *m, enum memstore_kind kind, enum memstore_when when, uint32_t delay_ms);
/* A cut through a disk that was itself made from a cut takes so long: what a resync waits for. 0: no longer than
 * others. */
void memstore_slow_copy_cuts(struct memstore *m, uint32_t delay_ms);
/* Writes take effect, and cuts are taken, at a random instant between submission and done; seed 0: off. */
void memstore_scatter(struct memstore *m, uint64_t seed);

/* Operations under way. Completing a transaction completes the earliest pending one. */
unsigned memstore_pending(const struct memstore *m);
unsigned memstore_pending_kind(const struct memstore *m, enum memstore_kind kind);
void memstore_complete(struct memstore *m, unsigned index);
/* The first pending one of the kind; false: there is none. */
bool memstore_complete_kind(struct memstore *m, enum memstore_kind kind);
void memstore_complete_all(struct memstore *m);

/* The nth (1: the next) fallible call from now fails with err; n 0: none. A transaction that fails has no
 * effect. With latch the store is read-only from then on (-EROFS), and whether the failed transaction was
 * durable is only known after a crash. Calls are counted always: memstore_calls. */
void memstore_fail(struct memstore *m, unsigned nth, int err, bool latch);
uint64_t memstore_calls(const struct memstore *m);
/* Did the call that was to fail come? */
bool memstore_failed(const struct memstore *m);

/* Power loss: everything under way ends with -ESHUTDOWN now, as do all later calls. Of the pending
 * transactions the first few survive (seed decides; 0: none), of the data not flushed each 4 KiB block may
 * (seed 0: none). The array above is to be closed then, and memstore_open called again. */
void memstore_crash(struct memstore *m, uint64_t seed);

/* ---- looking behind it */
unsigned memstore_disks(const struct memstore *m);                           /* live disks */
unsigned memstore_records(const struct memstore *m, enum store_table table); /* catalogue records */
/* The raw record number `index` of a table; false: there is none. *value may be written to (damage). */
bool memstore_record(struct memstore *m, enum store_table table, unsigned index, const void **key,
	size_t *key_len, uint8_t **value, size_t *value_len);
void memstore_record_put(struct memstore *m, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len);
void memstore_record_delete(struct memstore *m, enum store_table table, const void *key, size_t key_len);
/* From the next opening on disks are made ready by their first I/O, or by a reserve. How many a cut found that were not. */
void memstore_open_lazily(struct memstore *m);
unsigned memstore_opened_in_cuts(const struct memstore *m);
/* From the next opening on cuts can be given up before they are done, and there may be several. What was given up stays under way until
 * the test completes it (MEMSTORE_CUT). Transactions can be prepared, and dropped meanwhile (MEMSTORE_PREPARE). */
void memstore_let_cuts_hang(struct memstore *m);
/* "NAME KIND COPY-OF SET", "-" for what is not said; "" before the first. */
const char *memstore_label(const struct store_disk *d);
/* Disks that chunks are set aside for, over all reserves; STORE_RESERVE_CHUNKS of room for each. */
unsigned memstore_reserved(const struct memstore *m);
/* Reserves find no more room than for so many disks. */
void memstore_reserve_room(struct memstore *m, unsigned disks);
/* From now on its hydration hangs, or not. */
void memstore_hydration_hangs(struct store_disk *d, bool hangs);
/* Is the disk a copy that no hydration has made independent yet? */
bool memstore_shares(struct store_disk *d);
/* The content now, past all timing. offset, len: any within the disk. */
void memstore_peek(struct store_disk *d, uint64_t offset, void *buf, uint64_t len);

#endif
