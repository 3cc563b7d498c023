/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the array's model that all its folders use, one banner for each file of base/.
 *
 * base/, lun/, host/, set/ and array/model itself may include it. Nobody outside array/model may.
 *
 * Invariants:
 * - The catalogue changes one change at a time (change.c). A change checks, writes its transaction, and
 *   alters the model only when the transaction is durable. So a check holds until its change is done, and
 *   memory never runs ahead of the catalogue. One that leaves its turn in between checks again in the next.
 * - The commit of a copy set (set/commit.c) is the one other writer. It touches only the ids that the set has
 *   reserved for its shadow LUNs, and the set's own record.
 * - LUNs, hosts and sets that were removed are freed in a later turn of the reactor (grave.c), never under a
 *   caller.
 * - A change or a drain that waits can be orphaned by array_close. Then `array` is NULL, and its callback
 *   frees it and does nothing else.
 */
#ifndef UMBRA_MODEL_BASE_INTERNAL_H
#define UMBRA_MODEL_BASE_INTERNAL_H

#include "array/model/base/base.h"
#include "array/reactor/reactor.h"

#define ARRAY_EVENTS_KEPT 1024u
#define ARRAY_CHANGES_MAX 4096u /* waiting changes; beyond: -EBUSY */

struct change;

/* ---- index.c: a hash table of nodes embedded in what it finds --------------------------------------- */

struct array_index_node {
	struct array_index_node *next;
	uint64_t hash;
};

struct array_index {
	struct array_index_node **buckets;
	uint64_t mask;
};

int array_index_init(struct array_index *x, unsigned entries); /* sized for so many; -ENOMEM */
void array_index_free(struct array_index *x);
void array_index_add(struct array_index *x, struct array_index_node *n, uint64_t hash);
void array_index_remove(struct array_index *x, struct array_index_node *n);
/* The first node with this hash, the next one with the same; the caller compares keys. */
struct array_index_node *array_index_first(const struct array_index *x, uint64_t hash);
struct array_index_node *array_index_again(const struct array_index_node *n);
uint64_t array_hash_id(const uint8_t id[UP_ID_BYTES]);
uint64_t array_hash_text(const char *text);

/* ---- the array -------------------------------------------------------------------------------------- */

/* What the upper folders want to hear from the lower ones. Set when the array is opened. */
struct array_news {
	void (*lun_resized)(struct lun *lun);
	void (*lun_protected)(struct lun *lun); /* it is write protected now, or no more */
	void (*lun_replaced)(struct lun *lun);  /* what hosts remember of its data is wrong */
	/* A session of this host has begun; has ended. */
	void (*host_came)(struct array *a, const struct host *h);
	void (*host_went)(struct array *a, const struct host *h);
	/* Of a copy set that has one; else NULL. */
	const char *(*set_name)(struct array *a, const uint8_t set_id[UP_ID_BYTES]);
};

/* What all folders of the model share, and a pointer to what each has for itself. */
struct array {
	struct array_options options;
	const struct array_news *news;
	char name[UP_NAME_MAX_BYTES + 1];
	uint8_t id[UP_ID_BYTES];
	uint64_t created_unix_ms;
	uint64_t ran_before_ms, opened_ns; /* array_ran_ms */
	bool meta_durable;         /* id is in the catalogue; else the next transaction puts it there */
	struct array_index idents; /* NAA of LUNs, recycled ones too, and of reserved ids */

	struct luns *luns;         /* lun/internal.h */
	struct hosts *hosts;       /* host/internal.h */
	struct sets *sets;         /* set/internal.h */
	struct policies *policies; /* policy/internal.h */

	struct list changes;       /* they wait for their turn */
	struct list changes_away;  /* between two turns */
	struct list changes_held;  /* of these, what waits until fewer are prepared */
	unsigned change_count;     /* of all */
	unsigned changes_prepared; /* transactions that are being prepared */
	struct change *change_now;
	uint64_t drain_failed_ns; /* when a change last waited for I/O in vain; 0: never */
	bool changes_running, changes_held_running;

	struct list turns;       /* for the store's cut: the first one has it, the others wait */
	struct list turns_aside; /* beside them */
	unsigned turn_count;     /* of both */

	struct list graves;
	struct reactor_timer grave_timer;

	struct array_event events[ARRAY_EVENTS_KEPT];               /* serial s lies at (s - 1) % KEPT */
	uint64_t event_serial, event_counts[ARRAY_EVENT_ERROR + 1]; /* counts: by level */
	struct list event_listeners;
	struct list room_listeners;

	uint8_t scratch[STORE_VALUE_MAX_BYTES]; /* a record being packed */
};

/* ---- time.c ----------------------------------------------------------------------------------------- */

uint64_t array_clock_unix_ms(void);
uint64_t array_clock_ns(void); /* CLOCK_MONOTONIC, now */

/* ---- names.c ---------------------------------------------------------------------------------------- */

/* One of a LUN's or a reserved shadow LUN's, by up_id_naa. */
struct array_ident {
	struct array_index_node node;
	const uint8_t *id;
};

bool array_name_valid(const char *name, struct fault *fault);
/* Checks a new name. A name that reads as an id is refused, because commands take both. */
bool array_name_allowed(const char *name, struct fault *fault);
bool array_id_zero(const uint8_t id[UP_ID_BYTES]);
/* A random id whose NAA nobody has. 0 or a negative errno. */
int array_id_new(struct array *a, uint8_t id[UP_ID_BYTES]);
void array_ident_add(struct array *a, struct array_ident *i, const uint8_t *id); /* id: borrowed */
void array_ident_remove(struct array *a, struct array_ident *i);
bool array_ident_taken(const struct array *a, const uint8_t id[UP_ID_BYTES]);

/* ---- grave.c: what is freed in a later turn of the reactor ------------------------------------------ */

struct array_grave {
	struct list_node link;
	void (*bury)(struct array_grave *g);
};

void array_graves_init(struct array *a);
void array_graves_bury(struct array *a); /* all, now */
void array_grave_add(struct array *a, struct array_grave *g);

/* ---- event.c ---------------------------------------------------------------------------------------- */

void array_room_taken(struct array *a, uint64_t bytes); /* tells who listens */

/* ---- change.c: one change of the catalogue at a time ------------------------------------------------ */

/* A sentence for a store's error; returns err. */
int array_store_fault(struct fault *f, int err, const char *what);
/* Ends a call that did not come to a change. */
void array_call_end(struct array_call *call, int err, const struct fault *fault);
void array_call_refuse(struct array_call *call, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A waiter, called once something has become idle. */
struct array_drain {
	struct list_node link;
	void (*idle)(struct array_drain *d);
};

struct change_ops {
	/* Checks and marks. 0: go on; 1: there is nothing to change, success; negative: refused, with
	 * c->fault. */
	int (*check)(struct change *c);
	/* Begins wait number `index`, which must end before the transaction. Its end calls change_drained.
	 * False: there is no wait of that number. May be NULL. lun_change_drain waits for a LUN. All of them together have an end where
	 * the store may hang: then the change fails with -ETIME, and whatever else it has under way is `end`'s to leave. */
	bool (*drain)(struct change *c, unsigned index);
	/* NULL: the change has its turn from the check to the end. Else it leaves its turn after the check, where the store may hang: the
	 * waits, and what ahead or prepare do, keep up no other change. In its next turn this one, as `check`, says whether the change
	 * is still to be made, whatever others have made meanwhile, and build, or write, follows. */
	int (*again)(struct change *c);
	/* Without a turn: does what takes long, and ends with change_ready. */
	void (*ahead)(struct change *c);
	/* New and enlarged disks, of a transaction that build adds the records to; it is prepared without a turn. */
	int (*prepare)(struct change *c, struct store_txn *t);
	int (*build)(struct change *c, struct store_txn *t);
	/* Instead of build: makes a transaction of its own, and ends with change_written. */
	void (*write)(struct change *c);
	/* 0: it is durable (or there was nothing to do); alters the model. Negative: undoes the marks. */
	void (*end)(struct change *c, int err);
	/* Frees what the change owns besides itself. May be NULL. */
	void (*clear)(struct change *c);
};

/* The head of every kind's own struct, allocated by change_new. */
struct change {
	const struct change_ops *ops;
	struct array *array;
	struct array_call *call; /* may be NULL; end() may take it over by setting NULL */
	struct fault fault;
	struct list_node link;
	/* while it waits: for which LUN; `drained` is the number of the wait */
	struct array_drain drain;
	struct lun *draining;
	const char *draining_name; /* the LUN's */
	unsigned drained;
	struct reactor_timer patience; /* with that wait */
	bool away, back;               /* between two turns; in the second, or on the way to it */
	bool in_store;                 /* it is not freed before the store has answered */
	struct store_txn *txn;         /* of prepare */
};

/* Zeroed memory of `size` bytes, or NULL after having ended the call with -ENOMEM / -EBUSY. */
void *change_new(struct array *a, size_t size, const struct change_ops *ops, struct array_call *call);
void change_submit(struct change *c); /* moved */
void change_drained(struct change *c);
/* 0: what the change did without a turn is done, and it gets its turn before those that wait. Negative: it ends. arg: the change. */
void change_ready(void *arg, int err);
/* Part of the store may not answer while the rest does: changes leave their turns, and do not wait for ever. */
bool array_store_may_hang(const struct array *a);
/* The transaction is durable (err 0) or has failed; arg: the change. */
void change_written(void *arg, int err);
void change_close_all(struct array *a);
/* Also in the commit's transaction. */
int array_meta_put(struct array *a, struct store_txn *t);

/* ---- turn.c: cuts of the store, one after the other ------------------------------------------------- */

struct array_turn {
	void (*begin)(struct array_turn *t);
	/* The array is closed: frees the turn, now or when the store answers. */
	void (*orphan)(struct array_turn *t);
	struct list_node link;
	bool begun;
};

/* Calls `begin` from inside when there is no other turn. */
void array_turn_take(struct array *a, struct array_turn *t);
/* The same for a cut of one LUN, whose end nobody else is to wait for: it begins at once where the store allows it. */
void array_turn_aside(struct array *a, struct array_turn *t);
/* A cut that is under way is not wanted any more. True: the store has let go of it, and calls nobody back. */
bool array_cut_give_up(struct array *a, struct store_cut *cut);
/* The store has let go. The next one begins with array_turns_run. */
void array_turn_leave(struct array *a, struct array_turn *t);
void array_turns_run(struct array *a);
void array_turns_close(struct array *a);

/* ---- meta.c: running time; the record of the array itself -------------------------------------------- */

/* How long umbrad has run with this catalogue, over all its lives: what must last over a restart counts by it, for the
 * wall clock may be wrong at a start by any amount. Never more than the truth: what passed since array_ran_put
 * last became durable is lost with a crash. */
uint64_t array_ran_ms(const struct array *a);
int array_ran_put(struct array *a, struct store_txn *t);
void array_ran_note(struct array *a); /* a change of its own, in the background */
bool array_ran_is(const void *key, size_t key_len);
int array_ran_get(const void *key, size_t key_len, const void *value, size_t len, uint64_t *ran_ms);

struct array_record {
	uint8_t id[UP_ID_BYTES];
	uint64_t created_unix_ms;
};

int array_record_put(struct array *a, struct store_txn *t, const struct array_record *r);
/* 0, -EUCLEAN (checksum, length, a value out of its range), -ENOTSUP (newer), -ENOMEM (sets). */
int array_record_get(
	const void *key, size_t key_len, const void *value, size_t len, struct array_record *out);

#endif
