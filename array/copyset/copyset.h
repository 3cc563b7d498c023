/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of copy sets: copyset.c (their records and calls), arm.c (the room that they need), commit.c (the cut), lease.c (what ends a set
 * that nobody keeps), undo.c (what removes a committed one again).
 *
 * Invariants:
 * - A set is in the catalogue exactly from its durable commit until its last shadow LUN is durably deleted.
 * - While a set is unkept its originals cannot be deleted, and its shadow LUNs cannot be mapped or deleted
 * one by one (lun_box.unkept counts).
 * - Before the commit is durable the ids of the shadow LUNs are reserved (array.idents,
 * array.reserved_count).
 * - `undo_due`: the transaction of an aborted set became durable, or may still; the set is remembered until
 * that is undone.
 */
#ifndef UMBRA_COPYSET_COPYSET_H
#define UMBRA_COPYSET_COPYSET_H

#include "array/copyset/internal.h"

#define COPYSET_ABORTED_KEPT 256u  /* aborted sets remembered */
#define COPYSET_COMMITS_MAX  64u   /* commits that wait for another; beyond: -EBUSY */
#define COPYSET_RETRY_MS     2000u /* after an undo that the store refused */

/* The private side of copyset.members[i]. */
struct copyset_side {
	struct lun *original; /* unkept: held; else NULL */
	struct lun
		*shadow; /* NULL before the commit is durable; in the model as long as set->shadows_linked */
	struct ident ident; /* the reserved id, as long as `reserved` */
	bool reserved;
};

struct copyset {
	struct array *array;
	uint8_t id[UP_ID_BYTES];
	char name[ARRAY_NAME_MAX_BYTES + 1];
	char owner[UP_NAME_MAX_BYTES + 1];
	enum up_set_state state;
	uint64_t cut_unix_ms, window_ns, durable_ns;
	unsigned member_count;
	struct copyset_member *members; /* room for set_luns_max, never moved */
	struct copyset_side *sides;
	bool quiet;            /* counted in array->quiet */
	struct commit *commit; /* under way or waiting */
	bool shadows_linked;
	bool undo_due;
	struct list undo_waiters;  /* aborts that wait for the undo: copyset_wait */
	struct store_reserve room; /* the store's, as long as asked or held */
	bool arming, room_asked, room_held;
	struct list arm_waiters; /* while arming: copyset_wait */
	struct reactor_timer arm_timer;
	/* aborted: when it is forgotten, or the undo is tried again; kept: when its room goes back */
	struct reactor_timer lease_timer;
	struct reactor_timer gone_timer;
	uint64_t lease_until_ns;
	unsigned holds; /* the model's, its commit's, its changes' */
	bool forgotten;
	struct index_node by_id;
	struct list_node link;
	struct grave grave;
};

/* ---- copyset.c ---- */

/* A call ends when the set's undo or arming does. Without memory it is refused, now; false. */
bool copyset_wait(struct list *waiters, struct array_call *call);
/* Ends the calls that wait by now. */
void copyset_tell(struct list *waiters, int err, const struct fault *fault);
void copyset_drop(struct list *waiters); /* ends no calls */

/* Room for `members`; state PREPARING, linked nowhere. NULL: no memory. */
struct copyset *copyset_new(
	struct array *a, const uint8_t id[UP_ID_BYTES], const char *owner, unsigned members);
void copyset_link(struct copyset *s);
void copyset_forget(struct copyset *s); /* out of the index; gives the model's hold back */
void copyset_hold(struct copyset *s);
void copyset_release(struct copyset *s);
/* The originals may be deleted again; reserved ids are free again. */
void copyset_let_go(struct copyset *s);
void copyset_free(struct copyset *s);
void copyset_discard(struct copyset *s); /* one that never was in the model, perhaps after its end */
/* Changes the state and all that hangs on it: quiet, originals' and ids' reservations, timers. */
void copyset_enter(struct copyset *s, enum up_set_state next);
void copyset_record_of(const struct copyset *s, struct set_record *out); /* members borrowed */
/* Is it a shadow LUN of a set that is not kept yet? */
bool copyset_unkept_shadow(const struct lun *lun);
/* For the deletion of one shadow LUN of a kept set: its set's record without it; its set without it. */
int copyset_put_without(struct array *a, struct store_txn *t, const struct lun *lun);
void copyset_forget_shadow(struct array *a, const struct lun *lun);
/* The set for a call of this owner in a state that allows the event; NULL and *err. */
struct copyset *copyset_find_for(struct array *a, const uint8_t id[UP_ID_BYTES], const char *owner,
	enum copyset_event event, enum up_set_state *next, int *err, struct fault *fault);
/* "set NAME" or the id, for messages. */
const char *copyset_label(const struct copyset *s, char out[ARRAY_NAME_MAX_BYTES + 1]);

/* ---- arm.c ---- */

/* Also ends an arm that waits for it. */
void room_give_back(struct copyset *s);
/* The copies are there: they may draw on it, too. */
void room_join(struct copyset *s);
/* For a committed or kept set found at the start. 0, -ENOMEM. */
int room_again(struct copyset *s);
void room_close(struct copyset *s); /* ends no calls */

/* ---- commit.c ---- */

/* The set was aborted: what is under way is not kept. The commit's call ends with err now. True: the store
 * may still make it durable; commit_settled will tell. */
bool commit_give_up(struct copyset *s, int err, const struct fault *why);

/* ---- undo.c ---- */

/* Removes a committed set (state COMMITTED, or ABORTED with undo_due). call may be NULL. */
void undo_start(struct copyset *s, struct array_call *call);
/* The commit of an aborted set has ended; durable: its shadow LUNs are in s->sides. */
void undo_settled(struct copyset *s, bool durable);
void undo_wait(struct copyset *s, struct array_call *call);

/* ---- lease.c ---- */

void lease_init(struct copyset *s);
void lease_renew(struct copyset *s);
/* As the state has changed: arms or disarms. */
void lease_follow(struct copyset *s);
void lease_stop(struct copyset *s);
void lease_host_came(struct array *a, const char *initiator);
void lease_host_went(struct array *a, const char *initiator);

/* ---- lun.c ---- */

/* May the LUN be deleted? 0, -ENODEV, -EBUSY. */
int lun_delete_check(const struct lun *lun, struct fault *fault);
/* The records and the disk of one that is deleted, or goes into the bin. */
int lun_put_end(const struct lun *lun, const struct recycled *bin, struct store_txn *t);

#endif
