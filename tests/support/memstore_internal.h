/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the store in memory share: see memstore.h. memstore_disk.c has the pages and the data,
 * memstore_catalogue.c the records. */
#ifndef UMBRA_TEST_MEMSTORE_INTERNAL_H
#define UMBRA_TEST_MEMSTORE_INTERNAL_H

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/reactor/reactor.h"
#include "tests/support/memstore.h"

#define PAGE_BYTES        4096u
#define SLOT_LISTS_FIRST  1024u  /* a disk with many slots gets more */
#define CLONE_CHUNK_BYTES 65536u /* what a clone says it has shared is made of these */

struct mem_page {
	unsigned refs;
	uint8_t bytes[PAGE_BYTES];
};

struct mem_slot {
	uint64_t index;
	struct mem_page *now, *safe; /* NULL: zeros */
	uint64_t safe_serial;        /* of the flush that made `safe` */
	struct mem_slot *next;
	struct list_node dirty;
};

struct mem_disk {
	struct store_disk head;
	uint64_t id, size_bytes;
	bool durable; /* it is there after a power loss */
	bool usable;  /* its transaction is done */
	bool ready;   /* where disks open lazily */
	char label[160];
	bool fork; /* made from a cut: a copy */
	unsigned inflight;
	bool shares; /* with the disk that it was forked from; durable */
	struct mem_op *hydration;
	bool hydration_hangs;
	struct mem_slot **slots; /* lists, by the index modulo their number */
	unsigned slot_lists;
	unsigned slot_count;
	struct list dirty;
	struct list_node link;
};

struct mem_frozen {
	struct mem_disk *disk;
	uint64_t size_bytes;
	bool taken;
	unsigned count;
	uint64_t *indexes;
	struct mem_page **pages;
};

struct mem_cut {
	struct memstore *m;
	struct store_cut *cut; /* NULL: it was given up */
	unsigned count;
	struct list_node link; /* of the store's, unless it was given up */
	struct mem_frozen *frozen;
	bool begun, done, ended; /* begun: the gates are closed */
	bool spoiled;            /* written to before cut_done: only cut_drop is left */
	struct store_txn *txn;   /* that is prepared with it */
};

enum step_op {
	STEP_PUT,
	STEP_DEL,
	STEP_CREATE,
	STEP_DELETE,
	STEP_RESIZE,
	STEP_REPOINT
};

struct mem_step {
	enum step_op op;
	enum store_table table;
	void *key, *value;
	size_t key_len, value_len;
	struct mem_disk *disk;
	struct mem_disk *content; /* of REPOINT: what the disk will hold; NULL once it does */
	uint64_t size_bytes;
	struct mem_step *next;
};

struct store_txn {
	struct memstore *m;
	struct mem_step *first, **last;
	struct mem_cut *cut; /* of its forks */
	bool failed, prepared;
	struct mem_op *preparing;
};

struct mem_op {
	enum memstore_kind kind;
	struct list_node link;
	uint64_t due_ns;
	enum memstore_when when;
	uint32_t delay_ms;
	int err;
	bool early;  /* has taken effect already */
	bool unsure; /* a failed transaction: its done was called, a crash decides */
	struct store_io *io;
	struct mem_disk *disk;
	struct store_txn *txn;
	struct mem_cut *cut;
	struct store_hydration *hydration;
	struct mem_reserve *reserve;
	void (*done)(void *arg, int err);
	void *arg;
	struct mem_slot **flush_slots;
	struct mem_page **flush_pages;
	unsigned flush_count;
	uint64_t flush_serial;
};

/* What store_reserve.priv points to. */
struct mem_reserve {
	struct memstore *m;
	struct store_reserve *owner; /* NULL: ended before it was done */
	unsigned disks, joined;
};

struct memstore {
	struct store head;
	bool open, dead, latched;
	uint64_t capacity_bytes, page_count, next_id, random, serial;
	struct list disks, ops;
	struct {
		void *root; /* tsearch(3)'s, of struct mem_record by key */
		unsigned count;
	} tables[STORE_TABLE_COUNT];
	struct {
		enum memstore_when when;
		uint32_t delay_ms;
	} timing[MEMSTORE_KINDS];
	struct list cuts; /* one at a time, unless they may hang */
	uint64_t calls, fail_at;
	int fail_err;
	bool fail_latch, fail_hit;
	uint32_t copy_cut_ms; /* memstore_slow_copy_cuts */
	unsigned reserves, reserved, reserve_room;
	struct store_ops own_ops;
	bool lazy, hang;
	unsigned label_calls;
	unsigned opened_in_cuts;
	struct reactor_timer timer;
	struct reactor_deferred deferred;
};
static inline void *mem_must(void *p)
{
	assert(p);
	return p;
}

static inline struct memstore *mem_of(struct store *s)
{
	return container_of(s, struct memstore, head);
}

static inline struct mem_disk *disk_of(struct store_disk *d)
{
	return container_of(d, struct mem_disk, head);
}

static inline uint64_t mem_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

void *mem_copy(const void *p, size_t len); /* allocated */
/* Every record in the order of the keys, until `each` returns an error. */
int mem_records_each(struct memstore *m, enum store_table table,
	int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len),
	void *arg);
void mem_records_free(struct memstore *m);

struct mem_page *mem_page_get(struct mem_page *p);
void mem_page_put(struct memstore *m, struct mem_page *p);
struct mem_slot *mem_slot_find(struct mem_disk *d, uint64_t index, bool make);
void mem_slot_dirty(struct mem_disk *d, struct mem_slot *s);
void mem_slot_safe(
	struct memstore *m, struct mem_disk *d, struct mem_slot *s, struct mem_page *page, uint64_t serial);
struct mem_disk *mem_disk_new(struct memstore *m, uint64_t size_bytes);
void mem_disk_free(struct memstore *m, struct mem_disk *d);
bool mem_hydrate_hangs(const struct store_hydration *h);
/* `content` gives its data and its size to d and goes; what d held goes, too. */
void mem_disk_take(struct memstore *m, struct mem_disk *d, struct mem_disk *content);
/* Makes the dirty slots that touch from … to safe as they are now. */
void mem_data_safe(struct memstore *m, struct mem_disk *d, uint64_t from, uint64_t to);
/* Counts a fallible call; the error it is to end with, or 0. */
int mem_call(struct memstore *m, bool changes);
struct mem_op *mem_op_new(enum memstore_kind kind, int err);
void mem_op_start(struct memstore *m, struct mem_op *op);
/* memstore_txn.c */
struct store_txn *mem_txn_begin(struct store *s);
int mem_txn_put(struct store_txn *t, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len);
int mem_txn_del(struct store_txn *t, enum store_table table, const void *key, size_t key_len);
int mem_txn_disk_create(struct store_txn *t, uint64_t size_bytes, struct store_disk **out);
int mem_txn_disk_fork(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk **out);
int mem_txn_disk_repoint(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk *disk);
int mem_txn_disk_delete(struct store_txn *t, struct store_disk *d);
int mem_txn_disk_resize(struct store_txn *t, struct store_disk *d, uint64_t size_bytes);
void mem_txn_free(struct store_txn *t, bool keep_disks);
void mem_txn_drop(struct store_txn *t);
void mem_txn_apply(struct store_txn *t);
/* memstore_reserve.c */
void mem_reserve(struct store_reserve *owner);
void mem_reserve_join(struct store_reserve *owner, struct store_disk *d);
void mem_reserve_end(struct store_reserve *owner);
void mem_op_reserve_end(struct memstore *m, struct mem_op *op);
/* The I/O takes effect. */
int mem_data_apply(struct memstore *m, struct mem_disk *d, struct store_io *io);

#endif
