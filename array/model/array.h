/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The array's model: LUNs, hosts, mappings and copy sets, over one store (later several). The SCSI layer and
 * the control layer both stand on it and never on each other.
 *
 * Rules:
 * - Reactor thread only. Nothing blocks, except array_open.
 * - What changes the catalogue is durable before its call is done.
 * - Pointers to LUNs, hosts and sets are borrowed and valid until the current callback returns, unless held
 *   by lun_hold(). A LUN that was deleted stays a valid pointer for who holds it, with lun->gone set.
 * - int results: 0 or a negative errno; `fault` (may be NULL) gets a sentence for the administrator.
 */
#ifndef UMBRA_ARRAY_H
#define UMBRA_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "array/store/store.h"
#include "array/util/fault.h"
#include "array/util/list.h"
#include "proto/umbra_proto.h"

#define ARRAY_NAME_MAX_BYTES       64 /* names of LUNs, hosts, sets: [A-Za-z0-9._-] and not starting with '-' */
#define ARRAY_HOST_IQNS_MAX        16
#define ARRAY_CHAP_MAX_BYTES       255
#define ARRAY_LUN_NUMBER_MAX       16383
#define ARRAY_LUN_MIN_BYTES        (1u << 20)
#define LUN_RESERVATIONS_MAX_BYTES 61440u /* of one LUN, that are kept */
#define ARRAY_LUN_MAX_BYTES        (UINT64_C(256) << 40)

struct array;
struct host;
struct set;
struct host_nexus;
struct reactor;

struct array_options {
	struct reactor *reactor;
	struct store *store;       /* open; stays the caller's */
	const char *name;          /* shown to hosts and administrators */
	uint32_t lease_ms;         /* of an unkept set, 0: 600000 */
	uint32_t host_gone_ms;     /* after its last session an unkept set of a host is aborted, 0: 120000 */
	uint32_t commit_budget_ms; /* longest deadline of a commit, 0: 5000 */
	uint32_t number_rest_ms;   /* a LUN number rests after an unmap, 0: 600000 */
	enum up_copy_kind copy_kind;  /* what DEFAULT becomes; 0: differential */
	uint64_t hydrate_bytes_per_s; /* of each plex copy, 0: as fast as it goes */
	unsigned hydrations_max;      /* at a time, the others wait; 0: 2 */
	uint32_t recycle_s;           /* deleted shadow LUNs stay in the recycle bin so long; 0: not at all */
	uint32_t luns_max, hosts_max, sets_max, set_luns_max; /* 0: 16384, 4096, 4096, 64 */
	uint32_t host_luns_max; /* mapped to one host, 0: ARRAY_LUN_NUMBER_MAX */
	uint64_t lun_max_bytes; /* of a new or resized LUN, 0: ARRAY_LUN_MAX_BYTES */
};

/* Reads the catalogue; blocks. -EUCLEAN: a record is damaged or contradicts another. */
int array_open(const struct array_options *options, struct array **out, struct fault *fault);
/* Ends what goes on in the background in the store, which can be closed afterwards; `done` perhaps from inside.
 * Then only array_close. */
void array_stop(struct array *a, void (*done)(void *arg), void *arg);
/* Aborts nothing, deletes nothing: sets and LUNs are as durable as they were. No I/O, no nexus left. */
void array_close(struct array *a);

const uint8_t *array_id(const struct array *a); /* 16 bytes, persistent */
const char *array_name(const struct array *a);
const struct array_options *array_settings(const struct array *a); /* with the defaults filled in */

/* An asynchronous change. Memory of the caller's until `done`, which may come from inside the call. */
struct array_call {
	void (*done)(struct array_call *call);
	struct fault fault; /* fault.err 0: it is done and durable */
	/* results, as the call says */
	struct lun *lun;
	struct host *host;
	struct lun_image *image;
	uint32_t number, job;
	uint64_t window_ns, durable_ns;
};

/* ---- LUNs ----------------------------------------------------------------------------------------- */

enum lun_kind {
	LUN_ORDINARY = UP_LUN_ORDINARY,
	LUN_SHADOW = UP_LUN_SHADOW
};

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
	uint32_t notified;           /* of a shadow LUN: UP_NOTIFY_… that its hosts told, or'ed */
	/* A plex copy is made independent of its original in the background, from keep on; over restarts, and
	 * after a break too (then NONE follows, when it is done). */
	enum lun_hydration {
		LUN_HYDRATION_NONE, /* not a plex copy */
		LUN_HYDRATION_RUNS,
		LUN_HYDRATION_WAITS, /* stopped by an error (an event said which); it is tried again */
		LUN_HYDRATION_FULL,  /* shares nothing with the original */
	} hydration;
	struct store_disk *disk;
	bool gone;         /* deleted: every I/O answers -ENODEV */
	bool resyncing;    /* a resync replaces its data: every I/O answers -EBUSY for that time */
	bool sanitizing;   /* the SCSI layer's: no resync begins meanwhile */
	uint32_t mappings; /* how many hosts see it */
	/* of the SCSI layer: per-LUN state (reservations), created on first use; freed by lun_scsi_free */
	void *scsi;
	void (*scsi_free)(void *scsi);
	/* what lun_keep_reservations() kept at last, durable; NULL: nothing. Changes only in its `done`. */
	uint8_t *reservations;
	uint32_t reservations_len;
	/* private to model/ */
	uint32_t holds;
	uint32_t gate_closed; /* > 0: writes queue */
	unsigned epoch;       /* 0, 1: which inflight counter new I/O takes */
	uint64_t inflight[2]; /* I/O between lun_submit and the return of its done */
	struct list gate_queue, links_mappings;
	struct list_node link;
};

void lun_create(struct array *a, const char *name, uint64_t size_bytes, struct array_call *call); /* lun */
void lun_resize(struct lun *lun, uint64_t size_bytes, struct array_call *call); /* growing only */
void lun_rename(struct lun *lun, const char *name, struct array_call *call);
/* Refused (-EBUSY) while mapped or a member of an unkept set. Ordinary and shadow LUNs alike. With a recycle
 * bin a shadow LUN goes there: nobody finds it any more but lun_recycled_next, its space returns later. */
void lun_delete(struct lun *lun, struct array_call *call);
/* Keeps bytes of the SCSI layer's (copied before this returns) over restarts, instead of those before;
 * len 0: none. The LUN's deletion forgets them. -EMSGSIZE: too many. */
void lun_keep_reservations(struct lun *lun, const void *bytes, size_t len, struct array_call *call);
/* The recycle bin. */
struct lun_recycled_view {
	uint8_t id[UP_ID_BYTES], origin_id[UP_ID_BYTES], set_id[UP_ID_BYTES];
	char name[ARRAY_NAME_MAX_BYTES + 1];
	uint64_t size_bytes, used_bytes, deleted_unix_ms, purge_unix_ms;
};
bool lun_recycled_next(
	struct array *a, const uint8_t after[UP_ID_BYTES], struct lun_recycled_view *out); /* NULL: first */
/* Back as a shadow LUN, unmapped; its copy set too. -ENOENT, -EEXIST: another LUN has its name, -EBUSY: another set
 * has its set's id. call->lun */
void lun_undelete(struct array *a, const uint8_t id[UP_ID_BYTES], struct array_call *call);
void lun_purge(struct array *a, const uint8_t id[UP_ID_BYTES], struct array_call *call); /* for good, now */
struct lun *lun_find(struct array *a, const uint8_t id[UP_ID_BYTES]);
struct lun *lun_find_name(struct array *a, const char *name);
struct lun *lun_next(struct array *a, const struct lun *after); /* NULL: the first; by creation */
void lun_hold(struct lun *lun);
void lun_release(struct lun *lun);

/* How far a plex copy is independent of its original: 100: wholly. Of others 0. */
unsigned lun_full_percent(const struct lun *lun);

/* A shadow LUN of a kept set becomes an ordinary one: same id, same data, same mappings; its set forgets it
 * (and goes with its last one). An ordinary one: succeeds, for a repeated request is no error. */
void lun_break(struct lun *lun, struct array_call *call);
/* Ors UP_NOTIFY_… into lun->notified, durably. -EINVAL: an ordinary LUN, or unknown flags. */
void lun_notify(struct lun *lun, uint32_t flags, struct array_call *call);

/* Resync: `target`, an ordinary LUN, takes the data and the size of `shadow`, a shadow LUN of a kept set,
 * which survives with all other copies. A job: call->job is its number as soon as the call is done; the job
 * goes on whatever becomes of the asker. -EINVAL: not such LUNs, or the target is smaller; -EBUSY: another
 * resync of the target, or it is a member of an unkept set. Hosts that see the target learn that its
 * medium changed (28/00), and of a new size (2A/09). */
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
	unsigned percent;
	struct fault fault; /* of a failed one */
};
/* owner as with copy sets; jobs that ended are remembered (the last 256, in memory). */
void lun_resync_start(
	struct array *a, const char *owner, struct lun *shadow, struct lun *target, struct array_call *call);
int lun_resync_view_of(
	struct array *a, const char *owner, uint32_t job, struct lun_resync_view *out); /* -ENOENT */
/* Asks it to end; what was done already stays done (then its state is DONE). -ENOENT. */
int lun_resync_cancel(struct array *a, const char *owner, uint32_t job, struct fault *fault);
uint32_t lun_resync_next(struct array *a, uint32_t after); /* the next job number, 0: no more */

/* A LUN's data as of one instant, for offloaded copies: hidden, read only, gone with a restart. Taking one is a
 * cut like a copy set's and waits for its turn behind one. call->image. */
struct lun_image {
	struct array *array;
	struct store_disk *disk; /* source of a STORE_CLONE through lun_submit */
	uint64_t size_bytes;
	struct list_node link; /* private */
	unsigned users;        /* private */
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
	/* Asked when a write that had queued at a closed gate goes on, NULL: always; a non-zero result ends
	 * the I/O with it (reservation, mapping or size changed meanwhile). */
	int (*recheck)(struct lun_io *io);
	struct list_node gate_link; /* private */
	unsigned epoch;             /* private */
};
/* Range outside the LUN: -ERANGE. Reads and flushes pass a closed gate. */
void lun_submit(struct lun_io *io);
/* True: it was queued at the gate and has been taken out; its done is not called any more. False: it runs
 * and its done will come. */
bool lun_io_withdraw(struct lun_io *io);

/* ---- hosts ---------------------------------------------------------------------------------------- */

enum host_import {
	HOST_IMPORT_OWN = 1,   /* shadow LUNs whose original is mapped to this host */
	HOST_IMPORT_NAMED = 2, /* those, and those of originals mapped to one of import_hosts */
	HOST_IMPORT_ANY = 3,
};

struct host_record {
	char name[ARRAY_NAME_MAX_BYTES + 1];
	unsigned iqn_count;
	char iqns[ARRAY_HOST_IQNS_MAX][UP_NAME_MAX_BYTES + 1]; /* iSCSI initiator names, lower case */
	char chap_user[ARRAY_CHAP_MAX_BYTES + 1];              /* empty: the initiator name */
	char chap_secret[ARRAY_CHAP_MAX_BYTES + 1];            /* empty: no CHAP asked of this host */
	char mutual_secret[ARRAY_CHAP_MAX_BYTES + 1]; /* our proof to this host; empty: we have none */
	bool control_lu;                              /* LUN 0 is the control LU */
	bool control_without_chap; /* may change things over the control channel without CHAP */
	enum host_import import;
	unsigned import_host_count;
	char import_hosts[ARRAY_HOST_IQNS_MAX][ARRAY_NAME_MAX_BYTES + 1]; /* with NAMED: whose copies */
};

void host_add(struct array *a, const struct host_record *record, struct array_call *call); /* host */
/* Replaces the record; sessions that it no longer allows are closed, all of them when a CHAP name or secret
 * changed. */
void host_update(struct host *h, const struct host_record *record, struct array_call *call);
void host_delete(struct host *h, struct array_call *call); /* -EBUSY while it has mappings */
struct host *host_find(struct array *a, const char *name);
struct host *host_find_iqn(struct array *a, const char *iqn); /* case-insensitive */
struct host *host_next(struct array *a, const struct host *after);
const struct host_record *host_record_of(const struct host *h);
unsigned host_sessions(const struct host *h);
unsigned host_mappings(const struct host *h); /* LUNs that it sees */
/* May this host import (map) that shadow LUN? 0, -EPERM. Where the original is gone, the host that took the copy
 * stands for those that it was mapped to. */
int host_may_import(const struct host *h, const struct lun *shadow, struct fault *fault);

/* ---- mappings ------------------------------------------------------------------------------------- */

/* number 0: the lowest free one that does not rest (below 255 as long as one there has rested for a tenth
 * of the time). `asker` (may be NULL) gets no unit attention.
 * call->number is the result. Mapping what is mapped already succeeds with its number. */
void map_add(
	struct host *h, struct lun *lun, uint32_t number, struct host_nexus *asker, struct array_call *call);
/* Done when no I/O of the host on the LUN is under way any more. Not mapped: succeeds. */
void map_remove(struct host *h, struct lun *lun, struct host_nexus *asker, struct array_call *call);
void map_remove_all(struct lun *lun, struct host_nexus *asker, struct array_call *call);
uint32_t map_number(const struct host *h, const struct lun *lun); /* 0: not mapped */
struct lun *map_lun(const struct host *h, uint32_t number);       /* hot path; NULL */
/* Ascending numbers: the next mapping after `number`, 0: the first. Returns its number, 0: no more. */
uint32_t map_next(const struct host *h, uint32_t number, struct lun **lun);

/* ---- nexuses: sessions, as the model sees them ------------------------------------------------------ */

struct host_nexus_ops {
	void (*mappings_changed)(struct host_nexus *n); /* 3F/0E; already put off during a commit */
	void (*lun_resized)(struct host_nexus *n, struct lun *lun, uint32_t number);  /* 2A/09, likewise */
	void (*lun_replaced)(struct host_nexus *n, struct lun *lun, uint32_t number); /* 28/00: resync */
	/* The mapping number → lun is going; I/O of this nexus on it is to end. */
	void (*lun_unmapped)(struct host_nexus *n, struct lun *lun, uint32_t number);
	void (*host_revoked)(struct host_nexus *n); /* close the session */
	/* Do the reservations of others let this nexus write to the LUN? */
	bool (*may_write)(struct host_nexus *n, struct lun *lun);
};

/* Embedded in the SCSI layer's nexus. */
struct host_nexus {
	const struct host_nexus_ops *ops;
	struct host *host;                        /* borrowed; set by attach */
	char initiator[UP_NAME_MAX_BYTES + 1];    /* as logged in */
	bool authenticated;                       /* by CHAP */
	struct list_node link_host, link_pending; /* private */
	bool pending_mappings;                    /* private */
};
/* initiator, authenticated and ops set. -EACCES: no host has this initiator name. */
int host_nexus_attach(struct array *a, struct host_nexus *n);
void host_nexus_detach(struct array *a, struct host_nexus *n);

/* A set is armed or commits: what would disturb hosts (unit attentions) is to wait. */
bool host_is_quiet(const struct array *a);

/* ---- copy sets ------------------------------------------------------------------------------------ */

/* owner: the initiator name for whom the set is, or "" for the administrator. All calls below check it:
 * a set of another owner is -ENOENT (set_find with owner NULL sees all).
 * Errors: -EEXIST set id in use (by another owner, or committed), -ENOENT, -EBADFD wrong state,
 * -ENOTSUP copy kind, -EMLINK too many, -EXDEV LUN in another store, -ETIME deadline, -EBUSY, -ENOSPC. */
int set_begin(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct fault *fault);
/* Adding a LUN again gives the same shadow. *shadow_id: the future LUN's id, unique, reserved. */
int set_add(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct lun *original,
	enum up_copy_kind kind, uint8_t shadow_id[UP_ID_BYTES], struct fault *fault);
/* -ENOSPC: the store has no room for what VSS writes to the originals before and after the cut (owner not ""). */
void set_arm(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct array_call *call);
/* The cut. call->window_ns, durable_ns. -ETIME: past the deadline, nothing is kept (the state is aborted). */
void set_commit(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, uint32_t deadline_ms,
	struct array_call *call);
void set_keep(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct array_call *call);
/* Undoes all but a kept set (-EBADFD). Unknown set: -ENOENT (the control layer decides what that means). */
void set_abort(
	struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct array_call *call);
/* The administrator's: deletes every shadow LUN of a kept set (those mapped: -EBUSY, nothing is deleted). */
void set_delete(struct array *a, const uint8_t set_id[UP_ID_BYTES], struct array_call *call);
/* Renews the lease of an unkept set. */
void set_touch(struct set *s);

struct set_member {
	uint8_t original_id[UP_ID_BYTES], shadow_id[UP_ID_BYTES];
	enum up_copy_kind kind;
	uint64_t size_bytes;
};

struct set_view {
	uint8_t id[UP_ID_BYTES];
	char name[ARRAY_NAME_MAX_BYTES + 1]; /* empty, or what the administrator calls it */
	char owner[UP_NAME_MAX_BYTES + 1];
	enum up_set_state state;
	uint32_t lease_left_ms; /* 0 when kept */
	uint64_t cut_unix_ms, window_ns, durable_ns;
	unsigned member_count;
	const struct set_member *members; /* borrowed */
};
struct set *set_find(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner);
struct set *set_find_name(struct array *a, const char *name);
struct set *set_next(struct array *a, const struct set *after);
void set_view_of(const struct set *s, struct set_view *out);
int set_rename(struct set *s, const char *name, struct fault *fault); /* before the commit */

/* ---- events --------------------------------------------------------------------------------------- */

enum array_event_level {
	ARRAY_EVENT_INFO = 1,
	ARRAY_EVENT_WARNING = 2,
	ARRAY_EVENT_ERROR = 3
};

struct array_event {
	uint64_t serial; /* 1, 2, 3 … since the array was opened */
	uint64_t unix_ms;
	enum array_event_level level;
	char area[16]; /* "lun", "host", "set", "session", "store" */
	char text[232];
};

void array_event_tell(struct array *a, enum array_event_level level, const char *area, const char *format,
	...) __attribute__((format(printf, 4, 5)));
/* Keeps the last 1,024. The oldest kept event with a serial > after, or NULL. */
const struct array_event *array_event_after(const struct array *a, uint64_t after);
/* Called on every new event; one listener for each list node. */
struct array_event_listener {
	void (*event)(struct array_event_listener *l, const struct array_event *e);
	struct list_node link;
};
void array_event_listen(struct array *a, struct array_event_listener *l);
void array_event_unlisten(struct array_event_listener *l);

#endif
