/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of LUNs: what the files of lun/ share with each other and with host/ and set/.
 *
 * lun/, host/, set/ and array/model itself may include it. Nobody outside array/model may.
 */
#ifndef UMBRA_MODEL_LUN_INTERNAL_H
#define UMBRA_MODEL_LUN_INTERNAL_H

#include "array/model/base/internal.h"
#include "array/model/lun/lun.h"
#include "array/util/gpt.h"

#define ARRAY_SHADOW_PREFIX "shadow-"

struct lun_plex;
struct lun_recycled;

/* ---- record.c --------------------------------------------------------------------------------------- */

/* What a record in the catalogue is. */
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
	uint64_t purge_ran_ms; /* by array_ran_ms; 0: of an earlier program */
	struct lun_record_set {
		char name[ARRAY_NAME_MAX_BYTES + 1], owner[UP_NAME_MAX_BYTES + 1];
		uint64_t cut_unix_ms, window_ns, durable_ns;
		struct set_notes notes;
	} set;
};

int lun_record_put(struct array *a, struct store_txn *t, const struct lun_record *r);
/* Deletes its reservations, too. */
int lun_record_del(struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES]);
int lun_record_get(const void *key, size_t key_len, const void *value, size_t len, struct lun_record *out);
int lun_image_record_put(struct array *a, struct store_txn *t, uint64_t disk_id);
int lun_image_record_del(struct array *a, struct store_txn *t, uint64_t disk_id);
bool lun_image_record_is(const void *key, size_t key_len); /* of the META table */
int lun_image_record_get(const void *key, size_t key_len, const void *value, size_t len, uint64_t *disk_id);
/* len 0: deletes it */
int lun_reservations_record_put(
	struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES], const void *bytes, size_t len);
/* *bytes: borrowed, within value */
int lun_reservations_record_get(const void *key, size_t key_len, const void *value, size_t len,
	uint8_t id[UP_ID_BYTES], const uint8_t **bytes, size_t *bytes_len);

/* ---- lun.c ------------------------------------------------------------------------------------------ */

/* What the array has for its LUNs: array->luns. */
struct luns {
	struct array *array;
	struct list all; /* by creation */
	bool loading;    /* the catalogue is being read: linked in any order, sorted at the end */
	unsigned count;
	unsigned reserved_count; /* ids that copy sets hold for shadow LUNs to come */
	uint64_t serial;         /* of the next one */
	struct array_index by_id, by_name;
	uint64_t trouble_ns[3]; /* when an event last told each kind of store error (gate.c); 0: never */

	struct list images;       /* with users */
	struct list images_dying; /* without, still in the store */
	bool images_burying;
	unsigned image_count;

	struct list resyncs; /* by number; those that run, and the last that ended */
	unsigned resyncs_ended;
	uint32_t resync_last; /* number */

	struct list hydrations; /* that wait for their turn */
	struct list hydrating;  /* those that have it */
	unsigned hydrations_active;
	struct reactor_timer hydration_timer;
	bool stopping;
	unsigned marks_running;     /* I/O of marks.c under way */
	struct list marks_left;     /* of lun_marks_leave */
	void (*stopped)(void *arg); /* of lun_hydration_stop */
	void *stopped_arg;

	/* label.c: whose disk is to be shown by another name: struct lun_box, struct lun_recycled */
	struct list labels, labels_recycled, labels_images;
	unsigned label_ms; /* until the store is asked again; longer where it takes none */
	struct reactor_timer label_timer;

	struct list recycled; /* by deletion */
	unsigned recycled_count;
	struct array_index recycled_by_id;
	struct reactor_timer recycle_timer, ran_timer;
};

int lun_setup(struct luns *luns, struct array *a); /* -ENOMEM; lun_teardown is due all the same */
void lun_close_all(struct array *a);               /* frees the LUNs */
void lun_teardown(struct array *a);

/* A LUN with what only the model knows of it. */
struct lun_box {
	struct lun lun;
	uint32_t holds;
	uint64_t serial;       /* by creation */
	struct list_node link; /* array->luns->all */
	struct array_index_node by_id, by_name;
	struct array_ident ident;
	struct array_grave grave;
	/* the gate */
	uint32_t gate_closed; /* > 0: writes queue */
	struct list gate_queue;
	unsigned epoch;                  /* 0, 1: which inflight counter new I/O takes */
	uint64_t inflight[2];            /* I/O between lun_submit and the return of its done */
	struct list drains, drains_next; /* waiters for the old epoch; for the epoch after that */
	bool draining;
	bool noting;  /* lun_note_write is under way */
	bool mending; /* its partition table may still be written to, by what was left (marks.c) */
	/* copies */
	unsigned unkept;       /* unkept sets that have it, as original or as copy */
	bool copy_unkept;      /* it is a copy of a set that is not kept yet */
	unsigned cutting;      /* cuts of its disk in the store, besides those of unkept sets */
	unsigned feeding;      /* resyncs that take its data */
	struct lun_plex *plex; /* NULL: there never was anything to hydrate */
	/* of the hosts that see it: host/ */
	struct list mappings;
	struct list_node link_resized; /* array->hosts->luns_resized */
	struct list_node label_link;   /* array->luns->labels */
};

static inline struct lun_box *lun_box_of(const struct lun *lun)
{
	return container_of(lun, struct lun_box, lun);
}
/* A LUN from its record; not linked anywhere yet. NULL: no memory. */
struct lun_box *lun_new(struct array *a, const struct lun_record *r, struct store_disk *disk);
void lun_link(struct lun_box *b);
/* Once all are loaded. */
int lun_order_all(struct array *a);
/* Takes it out of every index and gives the model's hold back. */
void lun_unlink(struct lun_box *b);
void lun_free(struct lun_box *b);
void lun_record_of(const struct lun *lun, struct lun_record *out);
/* Is it a shadow LUN of a set that is not kept yet? */
bool lun_unkept(const struct lun *lun);

/* May the LUN be deleted? 0, -ENODEV, -EBUSY. */
int lun_locked_fault(const struct lun *lun, struct fault *fault); /* -EPERM */
int lun_delete_check(const struct lun *lun, struct fault *fault);
int lun_feeding_check(const struct lun *lun, struct fault *fault); /* -EBUSY: a resync or a mend needs it */
/* The records and the disk of one that is deleted, or goes into the bin. */
int lun_put_end(const struct lun *lun, const struct lun_recycled *bin, struct store_txn *t);

/* Ordinary, shadow, future and recycled ones, for luns_max. */
unsigned lun_taken(const struct array *a);

/* ---- gate.c ----------------------------------------------------------------------------------------- */

void lun_gate_init(struct lun_box *b);
void lun_gate_close(struct lun *lun);
void lun_gate_open(struct lun *lun); /* admits what queued, in order, before it returns */
/* Calls back when every I/O submitted before has ended; from inside when there is none. */
void lun_gate_drain(struct lun *lun, struct array_drain *d);
/* For change_ops.drain: calls change_drained when the LUN's I/O has ended, and then its hydration. The change
 * has marked the LUN, so that no other begins. lun NULL: does nothing, false. */
bool lun_change_drain(struct change *c, struct lun *lun);
bool lun_change_drain_io(struct change *c, struct lun *lun); /* the I/O only; true */

/* ---- notify.c ----------------------------------------------------------------------------------------- */

/* Ors UP_NOTED_WRITTEN into the shadow LUN's `notified`, durably and in the background. */
void lun_note_write(struct lun *lun);

/* ---- hydration.c ------------------------------------------------------------------------------------ */

int lun_hydration_prepare(struct lun_box *b); /* of a LUN with something to hydrate; -ENOMEM */
void lun_hydration_free(struct lun_box *b);
/* Tries to begin: the set has been kept, or what was in the way has ended. */
void lun_hydration_kick(struct lun *lun);
/* Whether an ordinary LUN whose disk is a copy of this one is to hydrate, for it has too many others above it. */
bool lun_hydration_deep(const struct store_disk *disk);
void lun_hydration_want(struct lun *lun); /* such a LUN: from now on it is to */
/* Calls back when the store no longer works on it, perhaps from inside. */
void lun_hydration_halt(struct lun *lun, struct array_drain *d);
/* Ends those that run and begins no more. `stopped` may be called from inside. */
void lun_hydration_stop(struct array *a, void (*stopped)(void *arg), void *arg);
void lun_stop_check(struct array *a); /* has the last of what `stopped` waits for ended? */
void lun_hydration_fire(struct reactor_timer *t);

/* ---- recycle.c -------------------------------------------------------------------------------------- */

struct lun_recycled {
	struct lun_record record;
	struct store_disk *disk;
	struct array_ident ident;
	uint64_t due_ns; /* by the reactor's clock: changes of the wall clock purge nothing */
	bool purging;
	bool timeless;    /* the catalogue does not have its purge_ran_ms yet */
	bool owner_stale; /* the set's owner is not in the catalogue as it is here: set/owner.c */
	struct array_index_node by_id;
	struct list_node link; /* array->luns->recycled */
	struct list_node label_link;
};

bool lun_recycle_wanted(const struct lun *lun); /* its deletion leads into the bin */
/* set: what its set says of itself. NULL: no memory. */
struct lun_recycled *lun_recycled_new(const struct lun *lun, const struct lun_record_set *set);
struct lun_recycled *lun_recycled_find(struct array *a, const uint8_t id[UP_ID_BYTES]);
void lun_recycled_free(struct lun_recycled *r); /* one that never came into the bin */
/* Replaces the LUN's record. */
int lun_recycled_put(struct array *a, struct store_txn *t, const struct lun_recycled *r);
/* Takes it into the bin: its record is durable, and the LUN is unlinked. */
void lun_recycled_take(struct array *a, struct lun_recycled *r);
void lun_recycled_unlink(struct array *a, struct lun_recycled *r); /* out of the bin; not freed */
int lun_recycled_load(struct array *a, const struct lun_record *record, struct store_disk *disk);
uint64_t lun_recycled_bytes(const struct array *a); /* what they hold alone */
void lun_recycle_fire(struct reactor_timer *t);
void lun_recycle_ran_fire(struct reactor_timer *t);
void lun_recycle_close(struct array *a);

/* ---- label.c ----------------------------------------------------------------------------------------- */

/* What is shown of it (store_ops.label) is to be looked at, in the background: its name, its kind or its disk is another. */
void lun_label_due(struct lun *lun);
void lun_label_due_copies(const struct lun *lun); /* of its copies, which name it */
void lun_label_due_recycled(struct array *a, struct lun_recycled *r);
void lun_label_due_image(struct lun_image *i);
void lun_label_fire(struct reactor_timer *t);
void lun_label_close(struct array *a);

/* ---- resync.c --------------------------------------------------------------------------------------- */

void lun_resync_close_all(struct array *a);

/* ---- marks.c ---------------------------------------------------------------------------------------- */

#define LUN_MARKS_WINDOW_BYTES 65536u /* at either end: a partition table with all that belongs to it */

/* Both ends of a disk, read to be changed. */
struct lun_marks {
	struct array *array;
	void *arg;      /* the owner's */
	char note[224]; /* after lun_marks_edit: what became of the table; empty: there is none */
	/* private */
	struct store_disk *disk;
	struct lun *lun;
	uint64_t size_bytes;
	bool head_dirty, tail_dirty, busy, abandoned;
	struct lun *left; /* of lun_marks_leave */
	struct list_node link;
	unsigned steps;
	int err;
	void (*done)(struct lun_marks *m, int err);
	struct store_io io;
	struct lun_io through;
	struct iovec iov;
	uint8_t head[LUN_MARKS_WINDOW_BYTES], tail[LUN_MARKS_WINDOW_BYTES];
};

struct lun_marks *lun_marks_new(struct array *a, void *arg); /* NULL: no memory */
/* While its I/O is under way `done` is not called any more, and it frees itself at the end. NULL is allowed. */
void lun_marks_free(struct lun_marks *m);
void lun_marks_read(struct lun_marks *m, struct store_disk *disk, void (*done)(struct lun_marks *m, int err));
/* Only to look, as any host's I/O. */
void lun_marks_read_lun(struct lun_marks *m, struct lun *lun, void (*done)(struct lun_marks *m, int err));
void lun_marks_identity(struct lun_marks *m, struct gpt_identity *out); /* of what was read */
/* Takes VSS's marks off, and gives the disk the identity (NULL: its own) where it is of the same kind. In memory. */
void lun_marks_edit(struct lun_marks *m, const struct gpt_identity *want);
/* Durably; perhaps nothing. */
void lun_marks_write(struct lun_marks *m, void (*done)(struct lun_marks *m, int err));
/* True: I/O is under way, to the disk of this LUN, whose gate the owner has closed. The owner waits no more; at the end of that I/O the
 * gate opens and m is freed. The LUN is not deleted and not broken before. False: nothing has happened. */
bool lun_marks_leave(struct lun_marks *m, struct lun *lun);
void lun_marks_close(struct array *a);

/* ---- image.c ---------------------------------------------------------------------------------------- */

/* One that a former life of the array left in the store. */
int lun_image_left_over(struct array *a, struct store_disk *disk);
void lun_images_bury(struct array *a); /* begins to delete what is dying */
void lun_images_close(struct array *a);

#endif
