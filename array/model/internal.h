/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the array's model: what the files of model/ share, under a banner per file.
 *
 * Invariants:
 * - The catalogue changes one change at a time (change.c): a change checks, writes its transaction, and only
 *   when that is durable alters the model. So a check holds until its change is done, and memory never runs
 *   ahead of the catalogue. The commit of a copy set (commit.c) is the one other writer; it touches only what
 * a set reserves (its shadow LUNs' ids) and its own set record.
 * - LUNs, hosts and sets that went away are freed by a timer in a later turn (grave), never under a caller.
 * - Whoever was asked to wait (change, drain) can be orphaned by array_close: then `array` is NULL and its
 *   callback frees it and does nothing else.
 */
#ifndef UMBRA_MODEL_INTERNAL_H
#define UMBRA_MODEL_INTERNAL_H

#include "array/model/array.h"
#include "array/model/set/state.h"
#include "array/reactor/reactor.h"

#define ARRAY_EVENTS_KEPT   1024u
#define ARRAY_CHANGES_MAX   4096u   /* waiting changes; beyond: -EBUSY */
#define ARRAY_MAPPINGS_MAX  131072u /* over all hosts */
#define ARRAY_QUIET_MAX_MS  60000u  /* no attention is put off for longer */
#define ARRAY_SHADOW_PREFIX "shadow-"
#define MAP_PAGE_NUMBERS    256u
#define MAP_PAGES           ((ARRAY_LUN_NUMBER_MAX + 1) / MAP_PAGE_NUMBERS)

/* ---- index.c: a hash table of nodes embedded in what it finds -------------------------------------- */

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

/* ---- array.c --------------------------------------------------------------------------------------- */

struct change;
struct commit;
struct lun_plex;
struct lun_recycled;

struct array_grave {
	struct list_node link;
	void (*bury)(struct array_grave *g);
};

struct array {
	struct array_options options;
	char name[UP_NAME_MAX_BYTES + 1];
	uint8_t id[UP_ID_BYTES];
	uint64_t created_unix_ms;
	bool meta_durable; /* id is in the catalogue; else the next transaction puts it there */

	struct list luns; /* by creation */
	bool loading;     /* they are linked as they come, and ordered in the end */
	unsigned lun_count, reserved_count;
	uint64_t lun_serial;
	struct array_index luns_by_id, luns_by_name, idents; /* idents: NAA of LUNs and of reserved ids */

	struct list hosts;
	unsigned host_count;
	struct array_index hosts_by_name, hosts_by_iqn;
	unsigned mapping_count;
	struct array_index mappings; /* by host and LUN */

	struct list nexuses_pending; /* to be told of changed mappings */
	struct list luns_resized;    /* hosts to be told of */
	unsigned quiet;              /* sets armed or committing: attentions wait */
	struct reactor_timer quiet_timer;

	struct list sets; /* by beginning, remembered aborted ones included */
	unsigned set_count, aborted_count;
	struct array_index sets_by_id;
	struct list turns; /* at the store's cut: the first one has it, the others wait */
	unsigned turn_count;

	struct list images;       /* with users */
	struct list images_dying; /* without, still in the store */
	bool images_burying;
	unsigned image_count;

	struct list resyncs; /* by number; those that run, and the last that ended */
	unsigned resyncs_ended;
	uint32_t resync_last; /* number */

	struct list changes;
	unsigned change_count;
	struct change *change_now;
	bool changes_running;

	struct list hydrations; /* that wait for their turn */
	unsigned hydrations_active;
	struct reactor_timer hydration_timer;
	bool stopping;
	void (*stopped)(void *arg); /* of array_stop */
	void *stopped_arg;

	struct list recycled; /* by deletion */
	unsigned recycled_count;
	struct array_index recycled_by_id;
	struct reactor_timer recycle_timer;

	struct list graves;
	struct reactor_timer grave_timer;

	struct array_event events[ARRAY_EVENTS_KEPT]; /* serial s lies at (s - 1) % KEPT */
	uint64_t event_serial;
	struct list event_listeners;
	uint64_t trouble_ns[3]; /* when the store's last trouble of each kind was told (gate.c); 0: never */

	uint8_t scratch[STORE_VALUE_MAX_BYTES]; /* a record being packed */
};

/* One of a LUN's or a reserved shadow LUN's, by up_id_naa. */
struct array_ident {
	struct array_index_node node;
	const uint8_t *id;
};

/* Ordinary, shadow, future and recycled ones, for luns_max. */
unsigned array_luns_taken(const struct array *a);
uint64_t array_clock_unix_ms(void);
uint64_t array_clock_ns(void); /* CLOCK_MONOTONIC, now */
bool array_name_valid(const char *name, struct fault *fault);
/* For what is named now: no name that reads as an id, for commands take both. */
bool array_name_allowed(const char *name, struct fault *fault);
bool array_id_zero(const uint8_t id[UP_ID_BYTES]);
/* A random id whose NAA nobody has. 0 or a negative errno. */
int array_id_new(struct array *a, uint8_t id[UP_ID_BYTES]);
void array_ident_add(struct array *a, struct array_ident *i, const uint8_t *id); /* id: borrowed */
void array_ident_remove(struct array *a, struct array_ident *i);
bool array_ident_taken(const struct array *a, const uint8_t id[UP_ID_BYTES]);
void array_grave_add(struct array *a, struct array_grave *g);
/* A sentence for a store's error; returns err. */
int array_store_fault(struct fault *f, int err, const char *what);
/* Ends a call that did not come to a change. */
void array_call_end(struct array_call *call, int err, const struct fault *fault);
void array_call_refuse(struct array_call *call, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- change.c: one change of the catalogue at a time ------------------------------------------------ */

struct lun_drain {
	struct list_node link;
	void (*idle)(struct lun_drain *d);
};

struct change_ops {
	/* Checks and marks. 0: go on; 1: there is nothing to change, success; negative: refused, with
	 * c->fault. */
	int (*check)(struct change *c);
	/* The index'th LUN whose I/O and hydration must have ended before the transaction, NULL: no more. The
	 * check has marked it, so that none begins. May be NULL. */
	struct lun *(*drain)(struct change *c, unsigned index);
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
	struct lun_drain drain;
	unsigned drained;
};

/* Zeroed memory of `size` bytes, or NULL after having ended the call with -ENOMEM / -EBUSY. */
void *change_new(struct array *a, size_t size, const struct change_ops *ops, struct array_call *call);
void change_submit(struct change *c); /* moved */
/* The transaction is durable (err 0) or has failed; arg: the change. */
void change_written(void *arg, int err);
void change_close_all(struct array *a);
/* Also in the commit's transaction. */
int array_meta_put(struct array *a, struct store_txn *t);

/* ---- turn.c: cuts of the store, one after the other --------------------------------------------------- */

struct array_turn {
	void (*begin)(struct array_turn *t);
	void (*orphan)(
		struct array_turn *t); /* the array is closed: frees it, now or when the store answers */
	struct list_node link;
	bool begun;
};

void array_turn_take(struct array *a, struct array_turn *t); /* begins from inside when there is no other */
/* The store has let go. The next one begins with array_turns_run. */
void array_turn_leave(struct array *a, struct array_turn *t);
void array_turns_run(struct array *a);
void array_turns_close(struct array *a);

/* ---- record.c: catalogue records -------------------------------------------------------------------- */

/* What a record says; of the catalogue's side only. */
enum lun_role {
	LUN_ROLE_LIVE = 0,
	LUN_ROLE_RECYCLED = 1, /* a shadow LUN in the recycle bin: recycle.c */
};

struct lun_record {
	uint8_t id[UP_ID_BYTES], origin_id[UP_ID_BYTES], set_id[UP_ID_BYTES];
	enum lun_kind kind;
	uint64_t serial, size_bytes, created_unix_ms, disk_id;
	char name[ARRAY_NAME_MAX_BYTES + 1];
	enum lun_role role;
	enum lun_hydration hydration; /* NONE, RUNS (wanted) or FULL */
	uint32_t notified;
	/* of a recycled one: when, and its copy set as it was */
	uint64_t deleted_unix_ms, purge_unix_ms;
	struct {
		char name[ARRAY_NAME_MAX_BYTES + 1], owner[UP_NAME_MAX_BYTES + 1];
		uint64_t cut_unix_ms, window_ns, durable_ns;
	} set;
};

struct map_record {
	char host[ARRAY_NAME_MAX_BYTES + 1];
	uint8_t lun_id[UP_ID_BYTES];
	uint32_t number;
};

struct set_record {
	uint8_t id[UP_ID_BYTES];
	enum up_set_state state; /* COMMITTED or KEPT */
	char name[ARRAY_NAME_MAX_BYTES + 1], owner[UP_NAME_MAX_BYTES + 1];
	uint64_t cut_unix_ms, window_ns, durable_ns;
	unsigned member_count;
	struct set_member *members; /* unpacked: allocated, the caller's */
};

struct meta_record {
	uint8_t id[UP_ID_BYTES];
	uint64_t created_unix_ms;
};

#define RECORD_MEMBERS_MAX 1024u

int record_put_meta(struct array *a, struct store_txn *t, const struct meta_record *r);
int record_put_image(struct array *a, struct store_txn *t, uint64_t disk_id);
int record_put_lun(struct array *a, struct store_txn *t, const struct lun_record *r);
int record_put_host(struct array *a, struct store_txn *t, const struct host_record *r);
int record_put_map(struct array *a, struct store_txn *t, const struct map_record *r);
int record_put_set(struct array *a, struct store_txn *t, const struct set_record *r);
/* len 0: deletes it */
int record_put_reservations(
	struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES], const void *bytes, size_t len);
int record_del_lun(
	struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES]); /* and its reservations */
int record_del_image(struct array *a, struct store_txn *t, uint64_t disk_id);
int record_del_host(struct array *a, struct store_txn *t, const char *name);
int record_del_map(struct array *a, struct store_txn *t, const char *host, const uint8_t lun_id[UP_ID_BYTES]);
int record_del_set(struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES]);
/* 0, -EUCLEAN (checksum, length, a value out of its range), -ENOTSUP (newer), -ENOMEM (sets). */
int record_get_meta(const void *key, size_t key_len, const void *value, size_t len, struct meta_record *out);
bool record_is_image(const void *key, size_t key_len); /* of the META table */
int record_get_image(const void *key, size_t key_len, const void *value, size_t len, uint64_t *disk_id);
int record_get_lun(const void *key, size_t key_len, const void *value, size_t len, struct lun_record *out);
int record_get_host(const void *key, size_t key_len, const void *value, size_t len, struct host_record *out);
int record_get_map(const void *key, size_t key_len, const void *value, size_t len, struct map_record *out);
/* *bytes: borrowed, within value */
int record_get_reservations(const void *key, size_t key_len, const void *value, size_t len,
	uint8_t id[UP_ID_BYTES], const uint8_t **bytes, size_t *bytes_len);
int record_get_set(const void *key, size_t key_len, const void *value, size_t len, struct set_record *out);

/* ---- catalogue.c: reads it all at the start ---------------------------------------------------------- */

int catalogue_load(struct array *a, struct fault *fault);

/* ---- lun.c -------------------------------------------------------------------------------------------- */

struct lun_box {
	struct lun lun;
	struct array_index_node by_id, by_name;
	struct array_ident ident;
	uint64_t serial;
	unsigned unkept;                 /* unkept sets that have it, as original or as copy */
	unsigned cutting;                /* cuts of its disk in the store, besides those of unkept sets */
	struct lun_plex *plex;           /* NULL: there never was anything to hydrate */
	struct list_node link_resized;   /* array->luns_resized */
	struct list drains, drains_next; /* waiters for the old epoch; for the epoch after that */
	bool draining;
	struct array_grave grave;
};

struct lun_box *lun_box_of(const struct lun *lun);
/* A LUN from its record; not linked anywhere yet. NULL: no memory. */
struct lun_box *lun_new(struct array *a, const struct lun_record *r, struct store_disk *disk);
void lun_link(struct lun_box *b);
/* Once all are loaded. */
int lun_order_all(struct array *a);
/* Takes it out of every index and gives the model's hold back. */
void lun_unlink(struct lun_box *b);
void lun_free(struct lun_box *b);
void lun_record_of(const struct lun *lun, struct lun_record *out);

/* ---- gate.c ------------------------------------------------------------------------------------------- */

void lun_gate_init(struct lun_box *b);
void lun_gate_close(struct lun *lun);
void lun_gate_open(struct lun *lun); /* admits what queued, in order, before it returns */
/* Calls back when every I/O submitted before has ended; from inside when there is none. */
void lun_gate_drain(struct lun *lun, struct lun_drain *d);

/* ---- host.c ------------------------------------------------------------------------------------------- */

struct map {
	struct host *host;
	struct lun *lun;
	uint32_t number;
	struct array_index_node by_pair;
	struct list_node link_lun;
};

struct map_page {
	unsigned used; /* mappings in it */
	struct {
		struct map *mapping;
		uint64_t rest_until_ns; /* 0: does not rest */
	} at[MAP_PAGE_NUMBERS];
};

struct host_iqn {
	struct array_index_node node;
	struct host *host;
	const char *iqn;
};

struct host {
	struct array *array;
	struct host_record record;
	struct array_index_node by_name;
	struct host_iqn iqns[ARRAY_HOST_IQNS_MAX];
	struct list nexuses;
	unsigned sessions;
	struct map_page *pages[MAP_PAGES];
	unsigned mappings;
	unsigned holds; /* the model's, one for each nexus, changes under way */
	unsigned updates;
	bool gone;
	struct list_node link;
	struct array_grave grave;
};

struct host *host_new(struct array *a, const struct host_record *record); /* not linked; NULL: no memory */
void host_link(struct host *h);
void host_hold(struct host *h);
void host_release(struct host *h);
void host_free(struct host *h);
/* Lower-cases names, checks everything that does not depend on other hosts. */
int host_record_check(struct host_record *record, struct fault *fault);

/* ---- mapping.c ---------------------------------------------------------------------------------------- */

void map_link(struct map *m);                       /* needs the page: map_page_make */
int map_page_make(struct host *h, uint32_t number); /* -ENOMEM */
void map_free_all(struct host *h);

/* ---- nexus.c ------------------------------------------------------------------------------------------ */

void host_tell_mappings(struct host *h, const struct host_nexus *asker); /* now or after the quiet */
void host_tell_resized(struct lun *lun);
void host_tell_replaced(struct lun *lun); /* at once: what the hosts remember of its data is wrong */
void host_tell_unmapped(struct host *h, struct lun *lun, uint32_t number); /* at once */
void host_revoke(struct host *h, bool all); /* those that the record no longer allows */
/* A set becomes armed; its commit has ended. Attentions wait in between. */
void host_quiet_enter(struct array *a);
void host_quiet_leave(struct array *a);
void host_quiet_timer_fire(struct reactor_timer *t);
/* How many sessions has this initiator name? */
unsigned host_nexus_count(struct array *a, const char *initiator);

/* ---- hydration.c --------------------------------------------------------------------------------------- */

int lun_hydration_prepare(struct lun_box *b); /* of a LUN with something to hydrate; -ENOMEM */
void lun_hydration_free(struct lun_box *b);
/* It may be possible now: the set is kept, or what was in the way has ended. */
void lun_hydration_kick(struct lun *lun);
/* Calls back when the store does not work on it any more; perhaps from inside. */
void lun_hydration_halt(struct lun *lun, struct lun_drain *d);
void lun_hydration_timer_fire(struct reactor_timer *t);

/* ---- recycle.c ----------------------------------------------------------------------------------------- */

bool lun_recycle_wanted(const struct lun *lun);               /* its deletion leads into the bin */
struct lun_recycled *lun_recycled_new(const struct lun *lun); /* NULL: no memory */
void lun_recycled_free(struct lun_recycled *r);               /* of one that never came into the bin */
int lun_recycled_put(
	struct array *a, struct store_txn *t, const struct lun_recycled *r); /* instead of the LUN's */
/* It is durable, and the LUN unlinked. */
void lun_recycled_take(struct array *a, struct lun_recycled *r);
int lun_recycled_load(struct array *a, const struct lun_record *record, struct store_disk *disk);
uint64_t lun_recycled_bytes(const struct array *a); /* what they hold alone */
void lun_recycle_timer_fire(struct reactor_timer *t);
void lun_recycle_close(struct array *a);

/* ---- resync.c ------------------------------------------------------------------------------------------ */

void lun_resync_close_all(struct array *a);

/* ---- set/set.c ---------------------------------------------------------------------------------------- */

void set_close_all(struct array *a);

/* ---- image.c ------------------------------------------------------------------------------------------ */

/* One that a former life of the array left in the store. */
int lun_image_left_over(struct array *a, struct store_disk *disk);
void lun_images_bury(struct array *a); /* begins to delete what is dying */
void lun_images_close(struct array *a);

#endif
