/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store in Ceph: what its files share, under the name of the file that has it.
 *
 * A disk is an RBD image; its record, the array's records and what is still to be deleted are omap of one RADOS object, the
 * catalogue. A transaction is one write operation on that object, and it holds only while the epoch in the catalogue is ours:
 * who lost the array changes nothing any more.
 *
 * Its files, from the ground up; what each has for the others stands below under its name:
 *
 *   codec      names, records, and what the class on Ceph's OSDs takes and gives (codec.h; no I/O)
 *   errors     what Ceph's errno are to the array
 *   workers    threads for what blocks
 *   cluster    the connection, the settings that must hold, how full the pool is
 *   header     what the header of an image says; chain: its parents; objects: which objects they have. Seldom by librbd
 *   image      an image and its handle: opened when it is needed first, opened anew, closed
 *   catalogue  the object with the records
 *   lease      who owns the array; cards, wire, standby: what its controllers tell each other, and read while they stand by
 *   cut        snapshots of many images at one instant
 *   txn        transactions: makes, clones and enlarges images, and writes the operation
 *   io         the way of an I/O
 *   look       what is mapped, used and free; label: what an image is called
 *   hydrate    clones get all that their parents have; tie: and are cut off them
 *   reclaim    deletes images, and sweeps; removal: which of them librbd deletes; shrink: large ones by pieces; destroy: all of an array
 *   store      the table of operations, the disks, the end; open: makes and takes an array; module: what umbrad loads
 *
 * All of it belongs to the reactor's thread, except what says that it blocks, which runs on workers, on the thread that opens, or
 * on the lease's.
 *
 * Invariants:
 * - Images are made before the transaction that names them, and deleted after the one that no longer does. What a crash leaves
 *   in between is an image that no record names: the next opening sweeps it.
 * - Nobody is told of the end of an operation unless the lease held then. While it is out, ends are kept back; if the lease comes
 *   back they are told, and if somebody else has the array they all become -ESHUTDOWN.
 * - librbd's threads touch a struct only through reactor_post; what blocks runs on the store's workers (workers.c).
 * - librados and librbd wait for the cluster without a bound of time (cluster.c): an operation that was reported as failed and
 *   happens later all the same would be worse than one that is slow.
 */
#ifndef UMBRA_STORE_RBD_H
#define UMBRA_STORE_RBD_H

#include <pthread.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <stdatomic.h>
#include "array/reactor/reactor.h"
#include "array/store/module.h"
#include "array/store/rbd/codec.h"
#include "array/store/store.h"
#include "array/store/wire.h"
#include "array/util/clock.h"

struct rbd_store;
struct rbd_disk;
struct rbd_image;
struct rbd_cut;
struct rbd_used;
struct rbd_hydration;

/* ---- errors.c: what Ceph's errno are to the array, and to its administrator ---- */
/* Of an operation on a disk or on the catalogue: 0 and more stays, else one of store.h's errors. */
int rbd_err(int r);
/* Why the array could not be opened or made: sets the fault, returns its errno. `what` was tried. */
int rbd_open_fault(struct fault *f, int r, const struct store_module_options *o, const char *what);

/* ---- cluster.c: the connection ---- */
struct rbd_cluster {
	rados_t rados;
	rados_ioctx_t io; /* the pool and the namespace; ends in ENOSPC, not in waiting, where it is full */
	char *addresses;  /* of this client, for a blocklist */
	char home[RBD_HOME_BYTES]; /* what RBD_HEAD_HOME is of an array that is made here */
};
int rbd_cluster_connect(
	struct rbd_cluster *c, const struct store_module_options *o, struct fault *f); /* blocks */
void rbd_cluster_close(struct rbd_cluster *c);                                         /* blocks */
/* No client at one of these addresses (separated by blanks) can write to the cluster any more. Blocks. */
int rbd_cluster_blocklist(struct rbd_cluster *c, const char *addresses);
/* 0; -EACCES, -EPERM: it would not be allowed to. Asks to lock out what is no address: the monitors look at the right first. Blocks. */
int rbd_cluster_may_blocklist(struct rbd_cluster *c);
/* How full the pool is, as the monitors know it. Without a manager they do not know the bytes: 0. Blocks. */
enum rbd_fullness {
	RBD_ROOM,
	RBD_NEARLY_FULL, /* an OSD of the pool's: its data goes on, and is not moved to where little room is */
	RBD_FULL,
	RBD_QUOTA, /* full by its quota */
};
struct rbd_room {
	uint64_t capacity_bytes, used_bytes;
	enum rbd_fullness fullness;
};
int rbd_cluster_room(struct rbd_cluster *c, const char *pool, struct rbd_room *out);
/* Whether the image was opened with the settings that must hold. 1: it was not, and is to be opened again: now it has them itself;
 * what it had is in `told`. We have its lock. Blocks. */
#define RBD_SETTING_BYTES 128
int rbd_cluster_image_settings(rbd_image_t image, char told[RBD_SETTING_BYTES]);

/* Of the objects of new images, as the pool and ceph.conf have it: a power of two. Blocks. */
int rbd_cluster_order(rados_ioctx_t io, uint64_t *order);

/* ---- workers.c: threads for what blocks ---- */
enum rbd_lane {
	RBD_LANE_CUT,    /* the snapshots of a cut, as many at a time as a large set has LUNs: hosts wait */
	RBD_LANE_SHORT,  /* opening, clones, removing snapshots: a monitor round each, as many at a time */
	RBD_LANE_MAPPED, /* what is mapped, of a range: hosts wait */
	/* Few at a time; one that is lost has another one in its place. */
	RBD_LANE_LOOK,    /* counting what is mapped, the pool's statistics */
	RBD_LANE_RECLAIM, /* deleting images */
	RBD_LANE_HYDRATE,
	RBD_LANE_LABEL,
	RBD_LANES
};
struct rbd_job {
	void (*work)(struct rbd_job *job); /* on a thread of the lane */
	void (*done)(struct rbd_job *job); /* on the reactor's; may free the job */
	/* private */
	struct rbd_workers *workers;
	struct list_node link, runs;
	struct reactor_message message;
	_Atomic uint64_t lived_ms;
	bool lost;
};
struct rbd_workers {
	struct reactor *reactor;
	pthread_mutex_t lock; /* guards what follows */
	struct rbd_lane_state {
		struct list jobs, running;
		pthread_cond_t more;
		pthread_t *threads;
		unsigned count, idle, max, most; /* most: while all are held up */
		unsigned own, hang;  /* max is both; hang: of the jobs, those that nobody waits for */
		unsigned busy, lost; /* threads with a job; of these jobs: without a sign of life */
		uint64_t taken, taken_before; /* jobs; before: at the last look */
	} lanes[RBD_LANES];
	bool end;
	unsigned jobs; /* of the reactor's thread: under way */
	struct reactor_timer look;
	unsigned lost_ms;
};
int rbd_workers_start(struct rbd_workers *w, struct reactor *r);
void rbd_workers_stop(struct rbd_workers *w); /* nothing is under way; blocks shortly */
void rbd_work(struct rbd_workers *w, enum rbd_lane lane, struct rbd_job *job);
/* True: it had not begun; neither work nor done is called. */
bool rbd_work_cancel(struct rbd_workers *w, struct rbd_job *job);
/* On the job's thread, or before it is handed over: what may take long goes on. */
void rbd_job_lives(struct rbd_job *job);
/* It has given no sign of life for a while, and does not wait for a thread. */
bool rbd_job_hangs(struct rbd_workers *w, const struct rbd_job *job);
/* So many jobs more (fewer: negative) hang there that nobody waits for: others get as many threads in their place. */
void rbd_work_hangs(struct rbd_workers *w, enum rbd_lane lane, int more);

/* ---- lease.c: who owns the array ---- */
struct rbd_lease {
	struct rbd_store *s;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock; /* guards `end` */
	pthread_cond_t more;
	bool end;
	_Atomic uint64_t valid_until_ms; /* of clock_boot_ms */
	uint64_t beat;                   /* of the thread, once it runs */
	atomic_bool lost, telling;
	char reason[200]; /* written before `lost` is set */
	struct reactor_message renewed, gone;
	atomic_bool renewed_posted;
	/* of the thread: whether librados's threads deliver */
	rados_completion_t pulse; /* under way, or NULL */
	atomic_bool delivered;
	unsigned still;
	atomic_uint still_max; /* beats */
	uint64_t pulse_size;
	time_t pulse_when;
};
void rbd_lease_init(struct rbd_store *s);
void rbd_lease_fini(struct rbd_store *s);
/* Takes the array: waits until a dead owner's lease is out, fences it, raises the epoch. Then renews from a thread. Blocks. */
int rbd_lease_take(struct rbd_store *s, const struct store_module_options *o, struct fault *f);
void rbd_lease_release(
	struct rbd_store *s); /* gives the array back if it is ours, and ends the thread. Blocks */
static inline bool rbd_lease_holds(struct rbd_lease *l)
{
	return !atomic_load(&l->lost) && clock_boot_ms() < atomic_load(&l->valid_until_ms);
}
/* From any thread: Ceph says that this client may not write any more, or the epoch is another's. */
void rbd_lease_lost(struct rbd_lease *l, const char *reason);

/* ---- catalogue.c: the object ---- */
int rbd_catalogue_create(struct rbd_cluster *c, const char *object, struct fault *f); /* blocks */
/* Reads disks and to-dos into the store. Blocks. */
int rbd_catalogue_load(struct rbd_store *s, struct fault *f);
int rbd_catalogue_iterate(struct store *s, enum store_table table,
	int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len),
	void *arg);
/* Each disk record. Blocks. */
int rbd_catalogue_disks(struct rbd_store *s,
	int (*each)(void *arg, uint64_t id, uint64_t size_bytes, uint64_t data), void *arg);
/* A header record; absent: "". Blocks. */
int rbd_catalogue_header(rados_ioctx_t io, const char *object, const char *key, char *value, size_t size);
/* A write operation that does nothing unless the epoch is `epoch`. */
rados_write_op_t rbd_catalogue_op(uint64_t epoch);
void rbd_op_set(rados_write_op_t op, const void *key, size_t key_len, const void *value, size_t value_len);
void rbd_op_set_text(rados_write_op_t op, const char *key, const char *value);
void rbd_op_del(rados_write_op_t op, const void *key, size_t key_len);
void rbd_op_cmp_text(rados_write_op_t op, const char *key, const char *value);

/* ---- cards.c: what the array's controllers tell each other of themselves ---- */
struct rbd_cards {
	const struct store_cards *user; /* NULL: there is no other controller */
	/* of the thread that opens, then of the lease's */
	uint64_t tended_ms; /* 0: none of ours was written */
	uint64_t read_ms;   /* they were read; 0: not yet */
	uint64_t epoch;     /* of the lease that was told of last */
	struct rbd_card {
		char text[STORE_CARD_MAX_BYTES];
		size_t len;
		uint64_t changed_ms; /* 0: it was never there */
		uint64_t changes;
		bool moved; /* it has changed since it was seen first */
	} cards[STORE_CARDS_MAX];
};
/* Reads what is there. An error, with its fault: one of them does not fit. Blocks, for a few seconds when it must be watched. */
int rbd_cards_join(struct rbd_store *s, struct fault *f);
void rbd_cards_tend(struct rbd_store *s); /* reads and writes, if it is time; blocks */
/* The owner's epoch; renewed: its lease was, just now. owner: NULL: this store. */
void rbd_cards_lease(struct rbd_store *s, const char *epoch, const struct rbd_owner *owner, bool renewed);
void rbd_cards_leave(struct rbd_store *s); /* writes the last one; blocks */

/* ---- standby.c: the catalogue of an array that another umbrad owns ---- */
/* -EAGAIN: it was changed meanwhile; what has changed is still to be told. Blocks. */
int rbd_standby_look(struct rbd_store *s, const struct store_standby *to);

/* ---- wire.c: to the array's other controllers ---- */
enum rbd_listening {
	RBD_DEAF,
	RBD_BEGINS, /* to listen */
	RBD_LISTENS
};
struct rbd_wire {
	struct store_wire base;
	struct rbd_store *s;
	const struct store_wire_user *user; /* NULL: there is none, and nothing happens here */
	char owner_object[96];
	_Atomic uint64_t epoch; /* of the owner, as it was read last; 0: nobody owns the array */
	atomic_bool owner;      /* we do */
	struct reactor_message begin, tend_now; /* tend_now: once for each `tending` */
	atomic_bool tending;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t less, news;
	bool ended;         /* nothing begins any more */
	unsigned in_flight; /* operations that librados has */
	bool noticed;       /* the catalogue has changed, or may have */
	enum rbd_listening listening;
	bool lost;        /* what the handle stood for is no more */
	bool listens_own; /* as the owner */
	uint64_t handle;
	unsigned heard_count;
	/* of the reactor's thread */
	bool up, dirty;
	unsigned notices;
	struct list heard;
	struct reactor_timer tend_timer, notice_timer;
};
void rbd_wire_init(struct rbd_store *s, const struct store_wire_user *user);
void rbd_wire_fini(struct rbd_store *s);
void rbd_wire_begin(struct rbd_store *s); /* any thread: the connection is there */
void rbd_wire_owned(struct rbd_store *s); /* on the reactor's thread: the array is ours */
/* Nothing begins any more, and nothing is under way when it returns. Not on the reactor's thread; blocks. */
void rbd_wire_quiesce(struct rbd_store *s);
void rbd_wire_end(struct rbd_store *s);     /* on the reactor's thread: the user is told. After quiesce */
void rbd_wire_changed(struct rbd_store *s); /* on the reactor's thread: those who stand by may look */
/* Of the one who stands by: waits until there is news, or so long. True: there is; it is taken. */
bool rbd_wire_await(struct rbd_store *s, unsigned ms);
bool rbd_wire_listens(struct rbd_store *s);
void rbd_wire_news(struct rbd_store *s); /* any thread */

/* ---- image.c: an image and its handle ---- */
struct rbd_waiter {
	void (*call)(struct rbd_waiter *w, int err); /* on the reactor's thread; may be from inside */
	struct list_node link;
	bool fresh; /* private: not for a stale one */
};
enum rbd_image_state {
	RBD_IMAGE_CLOSED,
	RBD_IMAGE_OPENING,
	RBD_IMAGE_OPEN,
	RBD_IMAGE_CLOSING
};
struct rbd_image {
	struct rbd_store *s;
	char name[RBD_IMAGE_NAME_BYTES];
	enum rbd_image_state state;
	rbd_image_t handle; /* when open: we have its exclusive lock */
	uint64_t object_bytes, need_bytes;
	unsigned parents; /* as many as it had when it was looked at last; 0: not known, too */
	struct list waiters;
	unsigned hangs;          /* snapshots that are being made still, of cuts that were given up */
	struct list cuts;        /* struct rbd_cut_member: wait for the end of those */
	unsigned refs;           /* of jobs and I/O that use the handle; the disk's own is not counted */
	unsigned ios;            /* of these, hosts' I/O, which ends soon */
	bool deep;               /* opened with a parent that has one itself */
	uint64_t age;            /* the store's when the handle was opened */
	bool renews;             /* the handle is to be opened anew … */
	atomic_bool stale;       /* … as soon as nobody uses it, for nothing keeps that up */
	uint64_t drains_from_ms; /* from then on I/O waits for that */
	bool retired;            /* no disk has it any more: it is closed and deleted when nobody uses it */
	bool recorded;           /* and the catalogue knows */
	uint64_t used_bytes;
	bool close;            /* only closed: the store ends */
	struct list_node link; /* of the store's open images */
	struct rbd_job job;
	int err;
	unsigned parents_found;          /* of the worker */
	uint64_t told_ms;                /* when it was told last that it cannot be opened; 0: never */
	char setting[RBD_SETTING_BYTES]; /* that it was opened with, and must not have; or "" */
};
struct rbd_image *rbd_image_new(struct rbd_store *s, const char *name, uint64_t need_bytes);
/* Calls when it is open, with a reference; or with an error, without. */
void rbd_image_need(struct rbd_image *i, struct rbd_waiter *w);
/* The same, with a stale one when it is none any more. */
void rbd_image_need_fresh(struct rbd_image *i, struct rbd_waiter *w);
void rbd_image_get(struct rbd_image *i);
void rbd_image_put(struct rbd_image *i);
/*
 * An image has lost its parent, and has all that was there. librbd reads what an image and its parents have, and which they are, when a
 * handle is opened: that image's handle, and those with it among their parents, would go on to ask its parent, which may be deleted, and
 * give zeros, or what its original has had written since. So all handles that may be such ones are opened anew, `done` then called, on
 * the reactor's thread, perhaps from inside.
 */
struct rbd_renewal {
	void (*done)(struct rbd_renewal *r);
	const char *image;     /* its name */
	struct list_node link; /* removed: it is not called */
};
void rbd_images_renew(struct rbd_store *s, struct rbd_renewal *r);
/* No disk has it any more. It is deleted; `recorded`: the catalogue says that it is to be, and that goes then, too. */
void rbd_image_retire(struct rbd_image *i, bool recorded, uint64_t used_bytes);
void rbd_image_close(struct rbd_image *i); /* the store ends; frees it */
const char *rbd_failure_words(int err);    /* what an image's errno is to the administrator */
/* As rbd_open, also where a parent goes, or has gone, that nothing is needed of. How many parents it has. Blocks. */
int rbd_image_open(struct rbd_store *s, const char *image, rbd_image_t *handle);
/* -ENOENT: no image has this name, but perhaps one in the trash. Blocks. */
int rbd_image_id(struct rbd_store *s, const char *image, char id[RBD_ID_BYTES]);
/* Takes the exclusive lock of an open image, from a dead owner if need be. 1: somebody took the feature from the image; it has it back,
 * and is to be opened again. Blocks. */
int rbd_image_own(struct rbd_store *s, rbd_image_t handle);
/* The errno of what failed on an open image, or -EREMOTE where it failed for the image's being mirrored, and not primary. Blocks. */
int rbd_image_why(rbd_image_t handle, int err);
/* Removes snapshots that a cut of this array has left; `crashed`: and those whose clones have gone. Blocks. */
int rbd_image_drop_cuts(rbd_image_t handle, bool crashed);

/* ---- header.c: what an image's header says, without librbd. All of it blocks ---- */
/* Of the image, or of that snapshot of it. */
struct rbd_header {
	struct rbd_parent parent;
	uint64_t head_overlap_bytes; /* always the image's own */
	uint64_t overlap_bytes, size_bytes, object_bytes, flags;
	uint64_t features; /* the image's */
};
/* -EUCLEAN: of another Ceph. */
int rbd_header_read(rados_ioctx_t io, const char *id, uint64_t snap, struct rbd_header *out);
/* 1: an image is a clone of one of this image's snapshots; 0: none is. */
int rbd_header_has_children(rados_ioctx_t io, const char *id);
int rbd_header_has_snapshots(rados_ioctx_t io, const char *id);
/* 1: that snapshot of it names the image `child` as its clone. */
int rbd_header_names_child(rados_ioctx_t io, const char *id, uint64_t snap, const char *child);
/* The image names no parent any more, nor do its snapshots, if it has deep-flatten. -ENOENT: it named none, or is not there. */
int rbd_header_lose_parent(rados_ioctx_t io, const char *id);
/* The snapshot does not name that image as its clone any more. -ENOENT: it did not, or is not there. */
int rbd_header_lose_child(
	rados_ioctx_t io, const char *id, uint64_t snap, int64_t pool, const char *space, const char *child);

/* ---- chain.c: the parents of an image, without librbd ---- */
#define RBD_CHAIN_LONGEST 1024u
bool rbd_parent_is_here(
	const struct rbd_store *s, const struct rbd_parent *p); /* in the array's pool and namespace */
/* The pool and namespace where it is; to be ended. Blocks. */
int rbd_parent_io(struct rbd_store *s, const struct rbd_parent *p, rados_ioctx_t *io);
void rbd_parent_io_end(struct rbd_store *s, rados_ioctx_t io);
/* How many there are. -ENOENT: the image or one of them is not there. To be asked before librbd opens the image. Blocks. */
int rbd_chain(struct rbd_store *s, const char *image);
int rbd_chain_of(struct rbd_store *s, const char *id);

/* ---- objects.c: which objects an image and its parents have ---- */
struct rbd_level;
struct rbd_objects {
	uint64_t size_bytes, object_bytes;
	struct rbd_level *levels; /* the image, its parent, that one's, ... */
	unsigned count;
};
/* Of the image of that id, and of its parents or not. Blocks. */
int rbd_objects_read(struct rbd_store *s, const char *id, bool parents, struct rbd_objects *out);
void rbd_objects_free(struct rbd_objects *o);
/* Who has what is at this offset: 0: the image itself; 1 and more: that parent; -1: nobody. It is so up to *end at least. */
int rbd_objects_at(const struct rbd_objects *o, uint64_t offset, uint64_t *end);

/* ---- disks (store.c) ---- */
enum {
	RBD_BUCKETS = 4096,
	RBD_PATIENCE_MS = 120000, /* with images that a transaction makes or enlarges */
	RBD_HUNG_MOST = 256       /* of these, once nobody waits for them: more are not begun */
};
struct rbd_disk {
	struct store_disk base;
	uint64_t id, size_bytes;
	struct rbd_image *image;
	bool pending; /* its transaction has not ended */
	unsigned inflight;
	struct list_node link;
	/* io.c */
	struct list changing; /* struct rbd_io: writes and the like that librbd has */
	struct list blocked;  /* struct store_io: wait for a range */
	struct list
		ranges; /* struct rbd_io: compares of several blocks, which have their range for themselves */
	struct rbd_hydration *hydration;
	struct list looks;         /* look.c: struct rbd_used */
	struct rbd_used *counting; /* look.c: is being counted */
	uint64_t used_bytes, used_ns;
	bool used_known, written; /* written: since it was counted */
};
static inline struct rbd_disk *rbd_disk_of(const struct store_disk *d)
{
	return (struct rbd_disk *)(uintptr_t)d;
}
struct rbd_disk *rbd_disk_new(struct rbd_store *s, uint64_t id, uint64_t size_bytes, const char *image);
struct rbd_disk *rbd_disk_find(struct rbd_store *s, uint64_t id);
void rbd_disk_free(struct rbd_disk *d); /* its image is another's affair */

/* ---- io.c ---- */
void rbd_submit(struct store_io *io);
/* Some of the I/O that was under way when this was asked first still is, or has been for long. Asked again and again. */
bool rbd_ios_old(struct rbd_store *s);
void rbd_io_lease_back(struct rbd_store *s); /* what was kept back goes on */
void rbd_io_fenced(struct rbd_store *s);     /* what was kept back ends with -ESHUTDOWN */

/* ---- look.c: what is mapped, used, free ---- */
void rbd_mapped(struct rbd_image *i, struct store_io *io, void (*done)(struct store_io *io, int err));
uint64_t rbd_disk_used(const struct store_disk *d);
void rbd_used_forget(struct rbd_disk *d); /* it has other data now, or goes */
void rbd_account(struct store_account *a);
void rbd_room_refresh(struct rbd_store *s);
void rbd_room_tell(struct rbd_store *s); /* the administrator, when it has become full, or is no more */
void rbd_stats(struct store *s, struct store_stats *out);
void rbd_reserve(struct store_reserve *r);
void rbd_reserve_join(struct store_reserve *r, struct store_disk *d);
void rbd_reserve_end(struct store_reserve *r);

/* ---- label.c: what an image is called ---- */
bool rbd_label(struct store_disk *d, const struct store_label *label);
void rbd_label_stop(struct rbd_store *s); /* what waits for another try is left to the next opening */
void rbd_place(const struct store_disk *d, char out[STORE_PLACE_BYTES]);

/* ---- txn.c ---- */
struct store_txn *rbd_txn_begin(struct store *s);
int rbd_txn_put(struct store_txn *t, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len);
int rbd_txn_del(struct store_txn *t, enum store_table table, const void *key, size_t key_len);
int rbd_txn_disk_create(struct store_txn *t, uint64_t size_bytes, struct store_disk **out);
int rbd_txn_disk_fork(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk **out);
int rbd_txn_disk_delete(struct store_txn *t, struct store_disk *d);
int rbd_txn_disk_resize(struct store_txn *t, struct store_disk *d, uint64_t size_bytes);
int rbd_txn_disk_repoint(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk *disk);
void rbd_txn_prepare(
	struct store_txn *t, struct store_cut *cut, void (*ready)(void *arg, int err), void *arg);
void rbd_txn_commit(struct store_txn *t, void (*done)(void *arg, int err), void *arg);
void rbd_txn_drop(struct store_txn *t);
/* Takes a to-do out of the catalogue: the image is gone. */
int rbd_txn_reclaimed(struct rbd_store *s, const char *image, void (*done)(void *arg, int err), void *arg);
/* The cut's own: called in place of `done`. */
void rbd_txn_start(struct store_txn *t, struct rbd_cut *cut, void (*done)(void *arg, int err), void *arg);
/* False: it is being written. Else `done` is not called, the cut has ended, and its images go when they are made. */
bool rbd_txn_give_up(struct store_txn *t);

/* ---- cut.c ---- */
struct rbd_cut_member {
	struct rbd_cut *cut;
	struct rbd_image *image;
	uint64_t size_bytes;
	struct rbd_waiter waiter;
	struct rbd_job job;
	struct list_node link;  /* of the image's that wait */
	bool referenced, taken; /* taken: the snapshot may be there */
	bool works;             /* a worker has it: its header is read, or the snapshot is being made */
	bool hangs;             /* and nobody waits for it */
	bool opens;             /* the image does */
	unsigned clones;        /* that are being made of it */
	int err;
};
struct rbd_cut {
	struct rbd_store *s;
	struct store_cut *owner; /* NULL: it has ended, its snapshots go */
	struct store_txn *txn;   /* it was given to cut_commit with this one; or NULL */
	char snap[48];
	unsigned count, left; /* left: what is under way: members, clones */
	bool asking;          /* of `left`, the monitors: nobody waits for them any more once it has ended */
	bool taken;           /* cut_done was called with 0 */
	struct rbd_job job;
	int monitors_err;
	int err;
	void (*done)(void *arg, int err);
	void *arg;
	struct rbd_cut_member members[];
};
void rbd_cut(struct store *s, struct store_cut *cut, void (*cut_done)(void *arg, int err), void *arg);
void rbd_cut_commit(struct store_cut *cut, struct store_txn *t, void (*done)(void *arg, int err), void *arg);
void rbd_cut_drop(struct store_cut *cut);
bool rbd_cut_give_up(struct store_cut *cut);
unsigned rbd_cut_waits(const struct store_cut *cut, unsigned *first);
/* At any time. Removes the snapshots, each when it and what is made of it are there, in the background; frees it. */
void rbd_cut_end(struct rbd_cut *c);
void rbd_cut_clone_begins(struct rbd_cut_member *m);
void rbd_cut_clone_ended(struct rbd_cut_member *m, int err);

/* ---- reclaim.c: images to delete ---- */
struct rbd_todo {
	struct rbd_store *s;
	char image[RBD_IMAGE_NAME_BYTES];
	char id[RBD_ID_BYTES]; /* the image's; "": not known yet */
	bool recorded;         /* in the catalogue */
	bool running;          /* a worker or a transaction has it */
	bool put_off;          /* the worker had it when the store began to rest */
	bool hangs;            /* found by the worker: in Ceph's trash, with copies that hang on it */
	bool parked;           /* so it is; nothing is waited for */
	bool woken;            /* what it hung on may have gone while it was looked at */
	struct rbd_tie *tie;   /* not the image is to go, but the parent's end of its tie; or NULL */
	struct rbd_renewal renewal;
	bool renews; /* it waits for that */
	unsigned tries;
	uint64_t bytes; /* about what it gives back */
	int err;
	rbd_image_t handle; /* to be closed first, or NULL */
	struct reactor_timer timer;
	struct rbd_job job;
	struct list_node link;
};
bool rbd_reclaim(struct rbd_store *s, const char *image, bool recorded, rbd_image_t handle,
	uint64_t bytes); /* false: no memory */
/* Handles are opened anew first. False: no memory; the next opening of the array finds it. */
bool rbd_reclaim_tie(struct rbd_store *s, const char *image, const struct rbd_tie *t);
void rbd_reclaim_parked(struct rbd_store *s); /* an image or a tie has gone: what hung on it may go, soon */
/* Images of this array that nothing names, and what the catalogue says is to be deleted. Blocks. */
int rbd_sweep(struct rbd_store *s);
/* The pool's images, whoever's, until one does not return 0. Blocks. */
int rbd_images_each(rados_ioctx_t io, int (*each)(void *arg, const char *name), void *arg);
void rbd_reclaim_start(struct rbd_store *s); /* what the opening has found */
enum store_rest rbd_reclaim_rest(struct store *s, bool rest);
void rbd_reclaim_stop(struct rbd_store *s); /* what waits for another try is left to the next opening */
void rbd_reclaim_free(struct rbd_store *s); /* nothing is under way */

/* ---- removal.c: which images librbd may take from the trash by itself ---- */
#define RBD_REMOVAL_IMAGES 64u
struct rbd_removal {
	struct list_node link; /* store->removals */
	bool any;              /* it is not known which */
	unsigned count;
	char ids[RBD_REMOVAL_IMAGES][RBD_ID_BYTES];
};
/* The image of that id ("": not known) is to be deleted or flattened: those above it may go with it. To be ended. Blocks. */
void rbd_removal_begin(struct rbd_store *s, struct rbd_removal *r, const char *id);
/* The parent's end of a tie is to be cut. To be ended. */
void rbd_removal_of_tie(struct rbd_store *s, struct rbd_removal *r, const struct rbd_parent *parent);
void rbd_removal_end(struct rbd_store *s, struct rbd_removal *r);
/* To be asked after the image was found to have no copies. */
bool rbd_removal_may_take(struct rbd_store *s, const char *id);

/* ---- shrink.c: what a large image to be deleted holds is given back first. -EINTR: not all of it, for the array is to end or to rest.
 * 0: the image may be deleted. Both block. ---- */
int rbd_shrink(
	struct rbd_store *s, rbd_image_t handle, struct rbd_job *job); /* open, with its exclusive lock */
int rbd_shrink_closed(struct rbd_store *s, const char *id, struct rbd_job *job);
int rbd_shrink_progress(uint64_t done, uint64_t all, void *job); /* a sign of life, of the deletion as well */

/* ---- hydrate.c ---- */
void rbd_hydrate(struct store_hydration *h);
void rbd_hydrate_cancel(struct store_hydration *h);
bool rbd_hydrate_hangs(const struct store_hydration *h);
bool rbd_copies_deep(const struct store_disk *d);

/* ---- tie.c: a clone that has all is cut off its parent, at its own end first. All of it blocks ---- */
/* Its own end: who opens it from now on sees no parent. Then handles are to be opened anew, and the parent's end is to be cut
 * (rbd_reclaim_tie). */
int rbd_tie_cut(struct rbd_store *s, const char *image, const struct rbd_tie *t);
int rbd_tie_lose(struct rbd_store *s, const char *image, const struct rbd_tie *t); /* the parent's end */
/* At the opening of the array: the catalogue says of a tie that it is being cut. */
int rbd_tie_found(struct rbd_store *s, const char *image, const struct rbd_tie *t);

/* ---- destroy.c ---- */
void rbd_destroy(struct store *s, void (*done)(void *arg, int err), void *arg); /* as store_module has it */
int rbd_destroy_catalogue(struct rbd_store *s);                                 /* the last of it. Blocks */

/* ---- store.c, open.c ---- */
struct rbd_store {
	struct store base;
	struct rbd_cluster cluster;
	struct rbd_workers workers;
	struct rbd_lease lease;
	struct rbd_wire wire;
	uint64_t looked_ms; /* standby: when the catalogue was told last; 0: never */
	struct rbd_cards cards;
	char pool[128], space[128], array[STORE_MODULE_ARRAY_MAX_BYTES + 1], object[80];
	bool moved; /* it may have been made elsewhere; its first transaction says that it is here now */
	char room_object[80]; /* txn.c; its name is no array's catalogue's */
	uint64_t epoch, next_id, cuts;
	char *fenced_addresses; /* of clients that were locked out when the array was taken */
	void (*notice)(void *arg, enum store_notice level, const char *text);
	void (*fenced)(void *arg, const char *reason);
	void *notice_arg;
	struct list buckets[RBD_BUCKETS]; /* struct rbd_disk by its id, also pending ones */
	unsigned disk_count;              /* with a record */
	struct list images;               /* open ones */
	uint64_t age;                     /* how often they were renewed */
	unsigned stale;                   /* images that are not yet */
	struct list renewals;             /* struct rbd_renewal: wait for that */
	struct reactor_timer drain_timer; /* armed: I/O waits for one */
	struct list kept;                 /* struct rbd_io: ended while the lease was out */
	struct list held;                 /* struct store_io: submitted while it was out */
	unsigned ios[2];                  /* io.c: under way, submitted since `ios_since_ms` and before */
	unsigned ios_now;                 /* the index of the former */
	uint64_t ios_since_ms;            /* 0: nobody asks */
	uint64_t error_told_ms;           /* io.c: when one was told of last */
	bool setting_told;                /* image.c: of one that must not be */
	pthread_mutex_t removals_lock;    /* guards what follows */
	struct list removals;             /* struct rbd_removal: under way */
	unsigned busy;                    /* what close waits for, beside jobs */
	unsigned
		lingering; /* of that, what no I/O waits for: transactions that are prepared, cuts that have ended, counts of what is used */
	unsigned hung;     /* images that are made, cloned or enlarged for nobody any more */
	/* label.c */
	unsigned labels, label_tries; /* labels: under way */
	struct list labels_running;
	struct list labels_failed; /* to be tried again when the timer fires */
	struct reactor_timer label_timer;
	/* txn.c */
	struct list txns; /* whose images are ready */
	unsigned patience_ms;
	bool writing;
	/* reclaim.c */
	struct list todos;
	struct reactor_timer parked_timer;
	bool open;           /* deletions may begin */
	atomic_bool resting; /* no deletions begin, for now */
	bool closing;        /* of the reactor's thread */
	atomic_bool ending;  /* the same, for workers: no more deletions begin */
	struct rbd_job close_job;
	struct reactor_message opened;
	/* look.c */
	struct rbd_room room;
	struct rbd_job room_job;
	struct rbd_room room_next;
	enum rbd_fullness room_told;
	int room_err;
	bool room_running;
	uint64_t room_ns;
	/* close */
	bool destroy; /* the catalogue goes with it */
	int close_err;
	bool disks_closed;
	void (*closed)(void *arg, int err);
	void *closed_arg;
};
static inline struct rbd_store *rbd_store_of(const struct store *s)
{
	return (struct rbd_store *)(uintptr_t)s;
}
/* The store ends, the array is to go to another umbrad, or has gone: what workers do in the background and can leave is left. */
static inline bool rbd_leaves(struct rbd_store *s)
{
	return atomic_load(&s->ending) || atomic_load(&s->resting) || atomic_load(&s->lease.lost);
}
extern const struct store_ops rbd_ops;
void rbd_notice(struct rbd_store *s, const char *format, ...)
	__attribute__((format(printf, 2, 3))); /* an error */
void rbd_notice_as(struct rbd_store *s, enum store_notice level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void rbd_store_free(struct rbd_store *s); /* nothing is under way; blocks */
void rbd_busy_end(struct rbd_store *s);   /* busy--; the store closes when it is the last */
int rbd_module_create(const struct store_module_options *o, struct fault *f);
int rbd_module_open(
	const struct store_module_options *o, struct reactor *r, struct store **out, struct fault *f);

#endif
