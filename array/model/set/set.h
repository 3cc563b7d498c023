/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copy sets: begin, add, arm, commit, keep; or abort.
 *
 * set/ and array/model itself may include it. Everybody else includes array/model/array.h.
 */
#ifndef UMBRA_MODEL_SET_H
#define UMBRA_MODEL_SET_H

#include "array/model/host/host.h"

/* owner: the host for whom the set is, by its name (or by an initiator name of its record), or "" for the
 * administrator. All calls below check it: a set of another owner is -ENOENT (set_find with owner NULL sees all).
 * Errors: -EEXIST set id in use (by another owner, or committed), -ENOENT, -EBADFD wrong state,
 * -ENOTSUP copy kind, -EMLINK too many, -EXDEV LUN in another store, -ETIME deadline, -EBUSY, -ENOSPC. */
int set_begin(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct fault *fault);
/* Of a set that is being prepared: its host takes it without VSS. Says so to who looks, and arming it needs no room.
 * label: valid, empty: none. */
void set_without_vss(struct set *s, const char *label);
/* Adding a LUN again gives the same shadow. *shadow_id: the future LUN's id, unique, reserved. */
int set_add(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct lun *original,
	enum up_copy_kind kind, uint8_t shadow_id[UP_ID_BYTES], struct fault *fault);
/* -ENOSPC: the store has no room for what VSS writes to the originals before and after the cut. A set of the
 * administrator needs no such room. Where the store makes disks ready at their first use this does: else the window would. */
void set_arm(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct array_call *call);
/* The cut. call->window_ns, durable_ns. -ETIME: past the deadline, nothing is kept (the state is aborted). */
void set_commit(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, uint32_t deadline_ms,
	struct array_call *call);
/* By a host's request of this id (0: none): the one that has committed the set is answered so again, also after a restart. */
void set_commit_asked(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner,
	uint64_t request_id, uint32_t deadline_ms, struct array_call *call);
void set_keep(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct array_call *call);
/* Undoes all but a kept set (-EBADFD). Unknown set: -ENOENT (the control layer decides what that means). */
void set_abort(
	struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct array_call *call);
/* The administrator's: deletes every shadow LUN of a kept set (those mapped: -EBUSY, nothing is deleted). */
void set_delete(struct array *a, const uint8_t set_id[UP_ID_BYTES], struct array_call *call);
/* The administrator's: until then nobody, the administrator included, deletes the shadow LUNs of a kept set, breaks
 * them or writes to them: -EPERM. It ends when both the wall clock is there and umbrad has run for as long as it is
 * until then now; so a clock that is set forward ends no lock. No call ends a lock or makes it shorter. -EINVAL: a
 * time that has passed, or over 100 years away. -EPERM: it is locked for longer. -EBADFD: not kept. -EBUSY: a host
 * sanitizes a shadow LUN. Hosts that see one learn that it is write protected (2A/01). */
void set_lock(
	struct array *a, const uint8_t set_id[UP_ID_BYTES], uint64_t until_unix_ms, struct array_call *call);
/* The same, from now on. */
void set_lock_for(
	struct array *a, const uint8_t set_id[UP_ID_BYTES], uint64_t for_ms, struct array_call *call);
/* Renews the lease of an unkept set. */
void set_touch(struct set *s);

/* What a host tells of a set: the parts of `notes` that `which` says. Durable when the set is, else with its commit.
 * -EBADFD: not in this state (what it cost: once it is committed); -EINVAL: a label or a time that cannot be. */
#define SET_NOTE_LABEL  1u
#define SET_NOTE_COST   2u /* writers and the four times */
#define SET_NOTE_IMPORT 4u /* import_us */
void set_note(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner,
	const struct set_notes *notes, unsigned which, struct array_call *call);

/* A set without VSS in one call. */
struct set_order {
	const char *owner;        /* NULL: the administrator's; else valid until the call is done */
	const char *name, *label; /* NULL or empty: none */
	struct lun *const *luns;
	unsigned lun_count;
	enum up_copy_kind kind;
	bool keep;
	uint64_t lock_ms;     /* 0: it is not locked */
	uint32_t deadline_ms; /* of the commit; 0: commit_budget_ms */
};
/* The memory is the caller's until the call is done; set_id is a random one of its choice. */
struct set_taking {
	uint8_t set_id[UP_ID_BYTES];
	/* private */
	struct array *array;
	struct array_call step, *call;
	const char *owner;
	bool keep;
	uint64_t lock_ms;
	uint32_t deadline_ms;
	struct fault fault;
};
/* Begin, rename, label, add, arm, commit, keep, lock. When one of them fails, the set is undone and the call ends with
 * that failure; but a set that cannot be locked stays. order: read before this returns. */
void set_take(struct array *a, struct set_taking *t, const struct set_order *order, struct array_call *call);

struct set_member {
	uint8_t original_id[UP_ID_BYTES], shadow_id[UP_ID_BYTES];
	enum up_copy_kind kind;
	uint64_t size_bytes;
};

struct set_view {
	uint8_t id[UP_ID_BYTES];
	char name[ARRAY_NAME_MAX_BYTES + 1]; /* empty, or what the administrator calls it */
	/* The host's name, empty: the administrator's. An initiator name: of an earlier version, and no host's. */
	char owner[UP_NAME_MAX_BYTES + 1];
	enum up_set_state state;
	uint32_t lease_left_ms; /* 0 when kept */
	uint64_t cut_unix_ms, window_ns, durable_ns;
	uint64_t lock_unix_ms; /* locked until then at least; 0: not locked */
	uint64_t lock_left_ms; /* of running time, if umbrad goes on running; at least 1 while it is locked */
	struct set_notes notes;
	unsigned member_count;
	const struct set_member *members; /* borrowed */
};
struct set *set_find(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner);
struct set *set_find_name(struct array *a, const char *name);
struct set *set_next(struct array *a, const struct set *after);
void set_view_of(const struct set *s, struct set_view *out);
int set_rename(struct set *s, const char *name, struct fault *fault); /* before the commit */
/* May this host import (map) that shadow LUN? 0, -EPERM. When the original is gone, the host that took the
 * copy counts as the one host that it was mapped to. */
int set_may_import(const struct host *h, const struct lun *shadow, struct fault *fault);

/* ---- what happens to a LUN and concerns its set ---- */

/* Deletes an ordinary or a shadow LUN. Refused (-EBUSY) while it is mapped or a member of an unkept set. With
 * a recycle bin a shadow LUN goes there: only lun_recycled_next finds it then, and its space returns
 * later. */
void lun_delete(struct lun *lun, struct array_call *call);
/* A shadow LUN of a kept set becomes an ordinary one, with the same id, data and mappings. It leaves its set,
 * and the set ends with its last shadow LUN. Succeeds for an ordinary LUN, because a repeated request is no
 * error. */
void lun_break(struct lun *lun, unsigned flags, struct array_call *call); /* LUN_MEND_MARKS; call->note */
/* Brings a LUN back from the recycle bin as a shadow LUN, unmapped, and its copy set with it. call->lun.
 * -ENOENT. -EEXIST: another LUN has its name. -EBUSY: another set has its set's id. */
void lun_undelete(struct array *a, const uint8_t id[UP_ID_BYTES], struct array_call *call);

#endif
