/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of copy sets: set.c (their structs and calls), arm.c (the room that they need), commit.c (the
 * cut), lease.c (what ends a set that nobody keeps), lock.c (what nobody frees), undo.c (what removes a committed
 * set).
 *
 * set/ and array/model itself may include it. Nobody outside array/model may.
 *
 * Invariants:
 * - A set is in the catalogue exactly from its durable commit until its last shadow LUN is durably deleted.
 * - While a set is unkept its originals cannot be deleted, and its shadow LUNs cannot be mapped or deleted
 *   one by one (lun_box.unkept counts).
 * - Before the commit is durable the ids of the shadow LUNs are reserved (array.idents, luns.reserved_count).
 * - `undo_due`: the transaction of an aborted set has become durable, or may still do so. The set is
 *   remembered until that is undone.
 */
#ifndef UMBRA_MODEL_SET_INTERNAL_H
#define UMBRA_MODEL_SET_INTERNAL_H

#include "array/model/host/internal.h"
#include "array/model/set/set.h"
#include "array/model/set/state.h"

#define SET_ABORTED_KEPT 256u  /* aborted sets remembered */
#define SET_COMMITS_MAX  64u   /* commits that wait for another; beyond: -EBUSY */
#define SET_RETRY_MS     2000u /* after an undo that the store refused */

/* What the array has for its copy sets: array->sets. */
struct sets {
	struct list all;    /* by beginning, remembered aborted ones included */
	struct list unkept; /* of them: from begin to keep or abort */
	unsigned count, aborted_count;
	struct array_index by_id, by_name;
	struct array *array;
	struct reactor_timer lock_timer; /* armed while a set is locked */
};

int set_setup(struct sets *sets, struct array *a); /* -ENOMEM; set_teardown is due all the same */
void set_close_all(struct array *a);               /* frees the sets */
void set_teardown(struct array *a);

/* The private side of set.members[i]. */
struct set_side {
	struct lun *original; /* unkept: held; else NULL */
	/* NULL before the commit is durable; in the model as long as set->shadows_linked. */
	struct lun *shadow;
	struct array_ident ident; /* the reserved id, as long as `reserved` */
	bool reserved;
};

struct set {
	struct array *array;
	uint8_t id[UP_ID_BYTES];
	char name[ARRAY_NAME_MAX_BYTES + 1];
	char owner[UP_NAME_MAX_BYTES + 1];
	bool owner_stale; /* it is not in the catalogue as it is here: owner.c */
	enum up_set_state state;
	uint64_t cut_unix_ms, window_ns, durable_ns;
	uint64_t cut_ran_ms;                /* by array_ran_ms; 0: not known */
	uint64_t commit_request;            /* the id of the request that committed it; 0: none */
	uint64_t lock_unix_ms, lock_ran_ms; /* lock.c; 0: not locked */
	bool lock_ending;
	struct set_notes notes;
	unsigned member_count;
	struct set_member *members; /* room for set_luns_max, never moved */
	struct set_side *sides;
	bool quiet;            /* counted in array->hosts->quiet */
	struct commit *commit; /* under way or waiting */
	bool shadows_linked;
	bool undo_due;
	struct list undo_waiters;  /* aborts that wait for the undo: set_wait */
	struct store_reserve room; /* the store's, as long as asked or held */
	bool arming, room_asked, room_held;
	struct list arm_waiters; /* while arming: set_wait */
	struct reactor_timer arm_timer;
	/* aborted: when it is forgotten, or its undo is tried again; kept: when its room is given back */
	struct reactor_timer lease_timer;
	struct reactor_timer gone_timer;
	uint64_t lease_until_ns;
	unsigned holds; /* the model's, its commit's, its changes' */
	bool forgotten;
	struct array_index_node by_id, by_name; /* by_name: if it has one */
	struct list_node link, unkept_link;
	struct array_grave grave;
};

/* ---- record.c --------------------------------------------------------------------------------------- */

struct set_record {
	uint8_t id[UP_ID_BYTES];
	enum up_set_state state; /* COMMITTED or KEPT */
	char name[ARRAY_NAME_MAX_BYTES + 1], owner[UP_NAME_MAX_BYTES + 1];
	uint64_t cut_unix_ms, window_ns, durable_ns, cut_ran_ms;
	uint64_t commit_request; /* of one that is not kept yet */
	struct set_notes notes;
	unsigned member_count;
	struct set_member *members; /* unpacked: allocated, the caller's */
};

#define SET_RECORD_MEMBERS_MAX 1024u

int set_record_put(struct array *a, struct store_txn *t, const struct set_record *r);
/* Deletes the record of its lock, too. */
int set_record_del(struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES]);
int set_record_get(const void *key, size_t key_len, const void *value, size_t len, struct set_record *out);

/* ---- set.c ---- */

/* A call ends when the set's undo or arming does. Without memory it is refused, now; false. */
bool set_wait(struct list *waiters, struct array_call *call);
/* Ends the calls that wait by now. */
void set_tell(struct list *waiters, int err, const struct fault *fault);
void set_drop(struct list *waiters); /* ends no calls */

/* Room for `members`; state PREPARING, linked nowhere. NULL: no memory. */
struct set *set_new(struct array *a, const uint8_t id[UP_ID_BYTES], const char *owner, unsigned members);
void set_link(struct set *s);
void set_forget(struct set *s); /* out of the index; gives the model's hold back */
void set_hold(struct set *s);
void set_release(struct set *s);
/* The originals may be deleted again; reserved ids are free again. */
void set_let_go(struct set *s);
void set_free(struct set *s);
void set_discard(struct set *s); /* one that never was in the model, perhaps after its end */
/* Changes the state and all that hangs on it: quiet, originals' and ids' reservations, timers. */
void set_enter(struct set *s, enum up_set_state next);
void set_record_of(const struct set *s, struct set_record *out); /* members borrowed */
/* The set for a call of this owner in a state that allows the event; NULL and *err. */
struct set *set_find_for(struct array *a, const uint8_t id[UP_ID_BYTES], const char *owner,
	enum set_event event, enum up_set_state *next, int *err, struct fault *fault);
const char *set_name_of(struct array *a, const uint8_t id[UP_ID_BYTES]); /* NULL: it has none */
/* "set NAME" or the id, for messages. */
const char *set_label(const struct set *s, char out[ARRAY_NAME_MAX_BYTES + 1]);

/* ---- owner.c ---- */

struct host *set_owner_host(struct array *a, const char *owner); /* NULL: no host is it */
bool set_owner_same(struct array *a, const char *x, const char *y);
/* Once the catalogue is loaded: owners that are initiator names become hosts. */
void set_owners_resolve(struct array *a);
void set_owners_settle(struct array *a); /* and durably so, in the background */

/* ---- arm.c ---- */

/* Also ends an arm that waits for it. */
void set_reserve_give_back(struct set *s);
/* The copies are there: they may draw on it, too. */
void set_reserve_join(struct set *s);
/* For a committed or kept set found at the start. 0, -ENOMEM. */
int set_reserve_again(struct set *s);
void set_reserve_close(struct set *s); /* ends no calls */

/* ---- commit.c ---- */

/* The set was aborted: what is under way is not kept. The commit's call ends with err now. True: the store
 * may still make it durable; commit_settled will tell. */
bool set_commit_give_up(struct set *s, int err, const struct fault *why);

/* ---- undo.c ---- */

/* Removes a committed set (state COMMITTED, or ABORTED with undo_due). call may be NULL. */
void set_undo_start(struct set *s, struct array_call *call);
/* The commit of an aborted set has ended; durable: its shadow LUNs are in s->sides. */
void set_undo_settled(struct set *s, bool durable);
void set_undo_wait(struct set *s, struct array_call *call);

/* ---- lock.c ------------------------------------------------------------------------------------------ */

struct lock_record {
	uint8_t set_id[UP_ID_BYTES];
	uint64_t unix_ms, ran_ms; /* the ends by either clock */
};

int set_lock_record_put(struct array *a, struct store_txn *t, const struct lock_record *r);
int set_lock_record_del(struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES]);
bool set_lock_record_is(const void *key, size_t key_len); /* of the META table */
int set_lock_record_get(
	const void *key, size_t key_len, const void *value, size_t len, struct lock_record *out);
/* One found at the start, once the sets are loaded. -EUCLEAN: it has no kept set. */
int set_lock_load(struct array *a, const struct lock_record *r);
uint64_t set_lock_left_ms(const struct set *s); /* 0: over, or not locked */
void set_lock_fire(struct reactor_timer *t);

/* ---- end.c ------------------------------------------------------------------------------------------ */

/* What the LUN becomes in the recycle bin. NULL: no memory. */
struct lun_recycled *set_recycled_new(const struct lun *lun);

/* ---- lease.c ---- */

void set_lease_init(struct set *s);
void set_lease_renew(struct set *s);
/* The state has changed: starts or stops the timers. */
void set_lease_follow(struct set *s);
void set_lease_stop(struct set *s);
void set_host_came(struct array *a, const struct host *h);
void set_host_went(struct array *a, const struct host *h);

#endif
