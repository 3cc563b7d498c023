/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LUNs: creation, growth, names, I/O, the recycle bin, resync and images.
 *
 * lun/, host/, set/ and array/model itself may include it. Everybody else includes array/model/array.h.
 */
#ifndef UMBRA_MODEL_LUN_H
#define UMBRA_MODEL_LUN_H

#include "array/model/base/base.h"
#include "array/model/base/load.h"

#define ARRAY_LUN_MIN_BYTES        (1u << 20)
#define LUN_RESERVATIONS_MAX_BYTES 61440u /* of one LUN, that are kept */
#define ARRAY_LUN_MAX_BYTES        (UINT64_C(256) << 40)

enum lun_kind {
	LUN_ORDINARY = UP_LUN_ORDINARY,
	LUN_SHADOW = UP_LUN_SHADOW
};

/* What everybody may know of a LUN. The model keeps the rest around it: lun_box, lun/internal.h. */
struct lun {
	struct array *array;
	uint8_t id[UP_ID_BYTES]; /* all identity follows from it: proto/identity.h */
	char name[ARRAY_NAME_MAX_BYTES + 1];
	enum lun_kind kind;
	uint64_t size_bytes;
	uint64_t created_unix_ms;
	/* of a shadow LUN; else zero */
	uint8_t origin_id[UP_ID_BYTES], set_id[UP_ID_BYTES];
	enum up_copy_kind copy_kind; /* of a shadow LUN */
	uint32_t notified;           /* of a shadow LUN: UP_NOTIFY_… that its hosts told, UP_NOTED_… */
	/* From keep on, a plex copy is made independent of its original in the background. Neither a restart
	 * nor a break ends that; after a break the end is NONE instead of FULL. So is an ordinary LUN that has too many
	 * disks above it (store_ops.copies_deep). */
	enum lun_hydration {
		LUN_HYDRATION_NONE, /* it is to share what it shares */
		LUN_HYDRATION_RUNS,
		LUN_HYDRATION_WAITS, /* stopped by an error (an event said which); it is tried again */
		LUN_HYDRATION_FULL,  /* shares nothing with the original */
	} hydration;
	struct store_disk *disk;
	bool gone;         /* deleted: every I/O answers -ENODEV */
	bool resyncing;    /* a resync replaces its data: every I/O answers -EBUSY for that time */
	bool locked;       /* of a shadow LUN whose set is locked: what changes it answers -EROFS */
	bool sanitizing;   /* the SCSI layer's: no resync begins meanwhile */
	uint32_t mappings; /* how many hosts see it */
	/* of the SCSI layer: what hosts do, and operations under way, those that wait for others too */
	struct load load;
	uint32_t queue;
	/* of the SCSI layer: per-LUN state (reservations), created on first use; freed by lun_scsi_free */
	void *scsi;
	void (*scsi_free)(void *scsi);
	/* what lun_keep_reservations() kept last, durably; NULL: nothing. Changes only in its `done`. */
	uint8_t *reservations;
	uint32_t reservations_len;
};

/* Can a LUN have that name, that size, whatever the array? 0 or -EINVAL. */
int lun_name_check(const char *name, struct fault *fault);
int lun_size_check(uint64_t size_bytes, struct fault *fault);
void lun_create(struct array *a, const char *name, uint64_t size_bytes, struct array_call *call); /* lun */
void lun_resize(struct lun *lun, uint64_t size_bytes, struct array_call *call); /* growing only */
void lun_rename(struct lun *lun, const char *name, struct array_call *call);
/* Keeps bytes of the SCSI layer over restarts, in place of those kept before; len 0: none. They are copied
 * before this returns. The LUN's deletion forgets them. -EMSGSIZE: too many. */
void lun_keep_reservations(struct lun *lun, const void *bytes, size_t len, struct array_call *call);
/* The recycle bin. */
struct lun_recycled_view {
	uint8_t id[UP_ID_BYTES], origin_id[UP_ID_BYTES], set_id[UP_ID_BYTES];
	char name[ARRAY_NAME_MAX_BYTES + 1];
	uint64_t size_bytes, used_bytes, deleted_unix_ms, purge_unix_ms;
};
/* after NULL: the first. */
bool lun_recycled_next(struct array *a, const uint8_t after[UP_ID_BYTES], struct lun_recycled_view *out);
void lun_purge(struct array *a, const uint8_t id[UP_ID_BYTES], struct array_call *call); /* for good, now */
struct lun *lun_find(struct array *a, const uint8_t id[UP_ID_BYTES]);
/* A block of its data is damaged: an event for the administrator. `where`: what holds it. */
void lun_damaged(struct array *a, uint64_t disk_id, uint64_t disk_offset, const char *where);
struct lun *lun_find_name(struct array *a, const char *name);
struct lun *lun_next(struct array *a, const struct lun *after); /* NULL: the first; by creation */
void lun_hold(struct lun *lun);
void lun_release(struct lun *lun);

/* How far a plex copy is independent of its original; 100: wholly. 0 for every other LUN. */
unsigned lun_full_percent(const struct lun *lun);
/* Ors UP_NOTIFY_… into lun->notified, durably. -EINVAL: an ordinary LUN, or unknown flags. */
void lun_notify(struct lun *lun, uint32_t flags, struct array_call *call);

/* Resync: `target`, an ordinary LUN, takes the data and the size of `shadow`, a shadow LUN of a kept set. The
 * shadow LUN and all other copies survive. A resync is a job: call->job is its number when the call is done,
 * and the job goes on even if the caller goes away. Hosts that see the target learn that its medium changed
 * (28/00), and that its size did (2A/09). -EINVAL: not such LUNs, or the target is smaller. -EBUSY: another
 * resync of the target runs, or the target is a member of an unkept set. */
enum lun_resync_state {
	LUN_RESYNC_RUNS = 1,
	LUN_RESYNC_DONE = 2,
	LUN_RESYNC_CANCELLED = 3,
	LUN_RESYNC_FAILED = 4
};
struct lun_resync_view {
	uint32_t job;
	uint8_t shadow_id[UP_ID_BYTES], target_id[UP_ID_BYTES];
	char owner[UP_NAME_MAX_BYTES + 1];
	enum lun_resync_state state;
	char note[224]; /* what became of the partition table, with LUN_MEND_MARKS; else empty */
	unsigned percent;
	struct fault fault; /* of a failed one */
};
/* owner: a host's name, or "" for the administrator. The last 256 jobs that ended are remembered, in memory. */
/* What VSS wrote into the copy's partition table for its own ends (attributes of the partitions; on import another
 * identity of the disk) is mended, and the target keeps the identity that its disk has. For a resync or a break of
 * the administrator's: when VSS asks for one, VSS mends. */
#define LUN_MEND_MARKS 1u
void lun_resync_start(struct array *a, const char *owner, struct lun *shadow, struct lun *target,
	unsigned flags, struct array_call *call);
/* 0 or -ENOENT. */
int lun_resync_view_of(struct array *a, const char *owner, uint32_t job, struct lun_resync_view *out);
/* Asks the job to end. When it was too late, its state is DONE. 0 or -ENOENT. */
int lun_resync_cancel(struct array *a, const char *owner, uint32_t job, struct fault *fault);
uint32_t lun_resync_next(struct array *a, uint32_t after); /* the next job number, 0: no more */

/* A LUN's data as of one instant, for offloaded copies: hidden, read only, gone after a restart. Taking one
 * needs a cut, and waits for its turn like the commit of a copy set. call->image. */
struct lun_image {
	struct array *array;
	struct store_disk *disk; /* source of a STORE_CLONE through lun_submit */
	uint64_t size_bytes;
	/* private */
	struct list_node link, label_link;
	unsigned users;
	char of[ARRAY_NAME_MAX_BYTES + 1]; /* the LUN's name, then */
};
void lun_image_take(struct lun *lun, struct array_call *call); /* call->image, one hold for the caller */
void lun_image_hold(struct lun_image *i);
void lun_image_release(struct lun_image *i); /* deleted in the background with the last one */
/* array_close frees those that have users still. */

/* I/O through the gate. The whole data of a write is in hand when it is submitted. */
struct lun_io {
	struct store_io io; /* io.op … io.iov set by the caller; io.done is the LUN layer's */
	struct lun *lun;
	void (*done)(struct lun_io *io, int err);
	/* Called when the gate opens for a write that queued there; NULL: the write always goes on. A
	 * non-zero result ends the I/O with it: the reservation, the mapping or the size has changed
	 * meanwhile. */
	int (*recheck)(struct lun_io *io);
	struct list_node gate_link; /* private */
	unsigned epoch;             /* private */
};
/* Range outside the LUN: -ERANGE. Reads and flushes pass a closed gate. */
void lun_submit(struct lun_io *io);
/* True: it was queued at the gate and has been taken out; `done` will not be called. False: it runs, and
 * `done` will be called. */
bool lun_io_withdraw(struct lun_io *io);

#endif
