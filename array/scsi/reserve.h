/* SPDX-License-Identifier: Apache-2.0 */
/* Reservations: of all commands, then of PERSISTENT RESERVE. */
#ifndef UMBRA_SCSI_RESERVE_H
#define UMBRA_SCSI_RESERVE_H

#include "array/scsi/attention.h"
#include "array/scsi/command.h"
#include "array/scsi/lun.h"

#define PR_WRITE_EXCLUSIVE     1
#define PR_EXCLUSIVE_ACCESS    3
#define PR_WRITE_EXCLUSIVE_RO  5
#define PR_EXCLUSIVE_ACCESS_RO 6
#define PR_WRITE_EXCLUSIVE_AR  7
#define PR_EXCLUSIVE_ACCESS_AR 8
#define PR_REGISTRANTS_MAX     512u

/* Would the task meet a reservation of another nexus? */
bool scsi_reserve_conflicts(const struct scsi_task *task);
/* Would a command of that class of this nexus? */
bool scsi_reserve_excludes(const struct scsi_lun *s, const struct scsi_nexus *n, enum scsi_conflict conflict);
static inline bool scsi_reserve_all_registrants(uint8_t type)
{
	return type == PR_WRITE_EXCLUSIVE_AR || type == PR_EXCLUSIVE_ACCESS_AR;
}
static inline bool scsi_reserve_registrants_only(uint8_t type)
{
	return type == PR_WRITE_EXCLUSIVE_RO || type == PR_EXCLUSIVE_ACCESS_RO;
}
void scsi_reserve_name(const struct scsi_nexus *n, struct scsi_nexus_name *out);
struct scsi_registrant *scsi_reserve_find_name(const struct scsi_lun *s, const struct scsi_nexus_name *name);
struct scsi_registrant *scsi_reserve_find(const struct scsi_lun *s, const struct scsi_nexus *n);
bool scsi_reserve_holds(const struct scsi_lun *s, const struct scsi_registrant *r);
bool scsi_reserve_name_is(const struct scsi_nexus_name *a, const struct scsi_nexus_name *b);
/* The living nexus of that name, or NULL. */
struct scsi_nexus *scsi_reserve_nexus(struct scsi_target *t, const struct scsi_nexus_name *name);
void scsi_reserve_nexus_lost(struct scsi_nexus *n);
void scsi_reserve_lun_reset(struct scsi_lun *s);
void scsi_reserve_end(struct scsi_lun *s); /* there is none any more */
/* Removes and frees a registrant, and the reservation with its holder or the last one. */
void scsi_reserve_drop(struct scsi_lun *s, struct scsi_registrant *r);
/* The same; when a registrants-only reservation ends by it the others learn of that (SPC-4 5.13.11.2). */
void scsi_reserve_unregister(struct scsi_task *task, struct scsi_lun *s, struct scsi_registrant *r);
/* An attention for the registrant's nexus, if it is not the task's own, and lives or is of another controller (notice.h). */
void scsi_reserve_tell(struct scsi_task *task, const struct scsi_registrant *r, enum scsi_attention what);
void scsi_reserve_tell_others(struct scsi_task *task, const struct scsi_lun *s, enum scsi_attention what);

/* reserve_keep.c */
void scsi_reserve_pack_size_add(size_t *bytes, const struct scsi_nexus_name *name);
size_t scsi_reserve_pack_size(const struct scsi_lun *s);
/* False: it does not read, or no memory. s: fresh; with false partly filled. */
bool scsi_reserve_unpack(struct scsi_lun *s, const uint8_t *bytes, size_t len);
/* Are there notices (notice.h) in the LUN's record? */
bool scsi_reserve_kept_notices(const struct lun *lun);
/* Makes durable what the LUN has to keep over a restart, as it is now. */
void scsi_reserve_keep(struct lun *lun, struct array_call *call);
/* Ends a good PERSISTENT RESERVE OUT: when what has to outlive a restart is durable. */
void scsi_reserve_finish_kept(struct scsi_task *task);
/* The same with something to do then; where it cannot be made durable the task ends with that. */
void scsi_reserve_keep_then(struct scsi_task *task, void (*then)(struct scsi_task *task));

/* reserve_out.c, reserve_register.c, reserve_move.c: PERSISTENT RESERVE OUT */
enum scsi_pr_action {
	PR_REGISTER,
	PR_RESERVE,
	PR_RELEASE,
	PR_CLEAR,
	PR_PREEMPT,
	PR_PREEMPT_AND_ABORT,
	PR_REGISTER_AND_IGNORE,
	PR_REGISTER_AND_MOVE
};
#define PR_LIST_BYTES 24u
#define PR_SPEC_I_PT  0x08 /* byte 20 */
#define PR_ALL_TG_PT  0x04
#define PR_APTPL      0x01

struct scsi_pr_request {
	enum scsi_pr_action action;
	uint8_t scope, type;
	uint64_t key, action_key;
	struct scsi_registrant *self; /* NULL: not registered */
	/* Held: their tasks are to be aborted, once all else is done (a task's end may start others). */
	unsigned preempted_count;
	struct scsi_nexus *preempted[PR_REGISTRANTS_MAX];
};
bool scsi_pr_register(struct scsi_task *task, struct scsi_lun *s, const struct scsi_pr_request *q);
bool scsi_pr_move(struct scsi_task *task, struct scsi_lun *s, const struct scsi_pr_request *q);
/* NULL: no memory, or too many; then the task has failed. Not linked yet. */
struct scsi_registrant *scsi_pr_registrant_new(
	struct scsi_task *task, const struct scsi_nexus_name *name, uint64_t key);
/* Reads one TransportID (SPC-4 7.6.4.6) of at most *len bytes and steps over it. False: not iSCSI's, or
 * malformed. */
bool scsi_pr_transport_id(const uint8_t **at, size_t *len, struct scsi_nexus_name *out, bool *has_isid);

#endif
