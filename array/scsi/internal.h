/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the SCSI layer share: a table of contents with one banner for each file. sense.h has sense.c's.
 *
 * Everything belongs to the reactor's thread. A task is in its nexus's list from a successful parse until
 * finish or discard, and holds its LUN and its nexus for that time. A command's `execute` ends in exactly
 * one scsi_task_finish(), perhaps from inside.
 */
#ifndef UMBRA_SCSI_INTERNAL_H
#define UMBRA_SCSI_INTERNAL_H

#include "array/scsi/scsi.h"
#include "array/scsi/sense.h"
#include "array/util/bytes.h"
#include "proto/identity.h"

#define SCSI_BLOCK_BYTES           STORE_BLOCK_BYTES
#define SCSI_NO_LUN                UINT32_MAX
#define SCSI_PARAMETERS_MAX        65536u /* bytes of a parameter list */
#define SCSI_STEPPED_MAX           64u    /* commands of several I/Os at one time, of one host half as many */
#define SCSI_STEP_BYTES            (256u << 10)
#define SCSI_UNMAP_DESCRIPTORS_MAX 256u
#define SCSI_UNMAP_BLOCKS_MAX      (UINT32_C(1) << 20) /* 512 MiB */
#define SCSI_WRITE_SAME_BLOCKS_MAX (UINT32_C(1) << 15) /* 16 MiB */
#define SCSI_VERIFY_BLOCKS_MAX     (UINT32_C(1) << 18) /* 128 MiB, without data */
#define SCSI_UNMAP_GRANULARITY     128u                /* blocks: the pool's chunk */
#define SCSI_PORTS_MAX             64u
#define SCSI_THRESHOLD_EXPONENT    11u /* space is counted in 2^11 blocks = 1 MiB */

/* ---- command_table.c: one row a command drives everything -------------------------------------------- */

enum scsi_lba_layout {
	LBA_NONE,
	LBA_6,     /* 21 bits at 1, length 8 bits at 4 (0: 256) */
	LBA_10,    /* 32 bits at 2, length 16 bits at 7 */
	LBA_12,    /* 32 bits at 2, length 32 bits at 6 */
	LBA_16,    /* 64 bits at 2, length 32 bits at 10 */
	LBA_16_L8, /* 64 bits at 2, length 8 bits at 13 */
	LBA_16_L0, /* 64 bits at 2, no length */
};

/* SPC-4 5.13.1: with which persistent reservations of others does it conflict? */
enum scsi_conflict {
	CONFLICT_NEVER,
	CONFLICT_READ,  /* with Exclusive Access types */
	CONFLICT_WRITE, /* with Write Exclusive types too */
};

#define CMD_DATA       (1u << 0)  /* for mapped LUNs */
#define CMD_CONTROL    (1u << 1)  /* for the control LU */
#define CMD_ABSENT     (1u << 2)  /* for LUN 0 when it is absent */
#define CMD_UNMAPPED   (1u << 3)  /* even for a LUN that is not there (INQUIRY, REQUEST SENSE) */
#define CMD_QUIET      (1u << 4)  /* unit attentions are not reported */
#define CMD_LEGACY_OK  (1u << 5)  /* another's RESERVE(6) does not hinder it */
#define CMD_RANGE      (1u << 6)  /* lba and blocks lie within the LUN */
#define CMD_WRITES     (1u << 7)  /* changes the medium: software write protection applies */
#define CMD_BLOCKS     (1u << 8)  /* data length: blocks, at most SCSI_TRANSFER_MAX_BYTES */
#define CMD_SA         (1u << 9)  /* has a service action in byte 1 */
#define CMD_INBAND     (1u << 10) /* with protocol F0h: neither attentions nor reservations nor ordering */
#define CMD_PARAMETERS (1u << 11) /* from the initiator: all of data_len must be in hand */
#define CMD_VENDOR     (1u << 12) /* not in a standard */
#define CMD_EXACT      (1u << 13) /* an offer of more or less data than the CDB says is refused */
#define CMD_COPY       (1u << 14) /* third-party copies: only where the store can clone */
#define CMD_SANITIZING (1u << 15) /* also while the LUN is sanitized */
#define CMD_ALL        (CMD_DATA | CMD_CONTROL | CMD_ABSENT)

struct scsi_command {
	uint8_t opcode, service_action;
	uint8_t cdb_len;
	enum scsi_direction direction;
	unsigned flags;
	enum scsi_conflict conflict;
	enum scsi_lba_layout layout;
	/* Where the CDB says the data length in bytes; length_bytes 0: nowhere */
	uint8_t length_at, length_bytes;
	uint32_t reply_max; /* to the initiator: most bytes we ever answer */
	uint8_t usage[16];  /* bits of the CDB that we evaluate */
	/* Command-specific part of parse, may be NULL; false: failed (sense set). */
	bool (*parse)(struct scsi_task *task);
	void (*execute)(struct scsi_task *task);
};

/* NULL: unknown opcode or service action; *opcode_known tells which. */
const struct scsi_command *scsi_command_find(const uint8_t *cdb, bool *opcode_known);
extern const struct scsi_command scsi_commands[];
extern const unsigned scsi_command_count;
void scsi_command_table_init(void); /* idempotent */
/* Where the CDB says how many blocks (of a row with a layout that has a length). */
static inline unsigned scsi_command_length_at(const struct scsi_command *row)
{
	if (row->layout == LBA_16_L8)
		return 13;
	return row->cdb_len == 6 ? 4 : row->cdb_len == 10 ? 7 : row->cdb_len - 6u;
}
/* Any bit set that the row does not know: fails with the field's place. */
bool scsi_command_check_usage(struct scsi_task *task);

/* ---- attention.c: unit attentions, a bit each, reported lowest bit first ------------------------------ */

enum scsi_attention {
	ATTENTION_POWER_ON,                /* 29/00 */
	ATTENTION_TARGET_RESET,            /* 29/02 */
	ATTENTION_LUN_RESET,               /* 29/03 */
	ATTENTION_COMMANDS_CLEARED,        /* 2F/00 */
	ATTENTION_REPORTED_LUNS,           /* 3F/0E: of the nexus, not of a LUN */
	ATTENTION_MEDIUM_CHANGED,          /* 28/00: a resync replaced the data */
	ATTENTION_CAPACITY,                /* 2A/09 */
	ATTENTION_MODE_PARAMETERS,         /* 2A/01 */
	ATTENTION_RESERVATIONS_PREEMPTED,  /* 2A/03 */
	ATTENTION_RESERVATIONS_RELEASED,   /* 2A/04 */
	ATTENTION_REGISTRATIONS_PREEMPTED, /* 2A/05 */
	ATTENTION_SOFT_THRESHOLD,          /* 38/07 */
	ATTENTION_COUNT
};
void scsi_attention_set(struct scsi_nexus *n, uint32_t number, enum scsi_attention what);
/* On the LUN for every nexus that sees it but `except` (may be NULL). */
void scsi_attention_others(
	struct scsi_target *t, struct lun *lun, const struct scsi_nexus *except, enum scsi_attention what);
void scsi_attention_forget(struct scsi_nexus *n, uint32_t number);
bool scsi_attention_pending(const struct scsi_nexus *n, uint32_t number);
/* Takes the first one out. False: there is none. */
bool scsi_attention_take(struct scsi_nexus *n, uint32_t number, struct scsi_sense *out);

/* ---- nexus.c, target.c --------------------------------------------------------------------------------- */

struct scsi_target {
	struct array *array;
	void (*nexus_over)(struct scsi_nexus *n); /* its last reference is gone */
	char name[UP_NAME_MAX_BYTES + 1];
	struct scsi_inband inband;
	bool has_inband;
	struct list nexuses;
	struct list tmfs;    /* calls that wait for tasks */
	uint64_t tmf_serial; /* of the last one that began to wait; what is aborted next has it */
	unsigned stepped;    /* commands of several I/Os under way */
	unsigned threshold_percent;
	bool threshold_told;      /* 38/07 has been raised; again once there was room */
	uint64_t written_unasked; /* bytes, roughly, since the store was asked how full it is */
	uint32_t physical_block_bytes;
	uint64_t sanitize_bytes_per_s;
	struct list sanitizing; /* LUNs that are */
	void (*stop_done)(void *arg);
	void *stop_arg;
	bool stopped;
	unsigned copies_running;
	struct scsi_tokens *tokens; /* copy.h */
	unsigned port_count;
	uint16_t ports[SCSI_PORTS_MAX]; /* portal group tags, ascending: the relative target ports */
};

struct scsi_nexus {
	struct host_nexus array;
	struct scsi_target *target;
	const struct scsi_nexus_ops *ops;
	void *transport;
	uint8_t isid[6];
	uint16_t portal_group_tag;
	bool control_lu; /* LUN 0, as it was at login */
	bool lost;       /* destroyed by the transport */
	uint32_t refs;   /* the transport, tasks, TMFs */
	struct list tasks;
	struct list copies; /* copy.h: oldest first */
	unsigned copy_count;
	struct list_node link;
	uint16_t attention_nexus; /* bits for whichever LUN is asked first */
	uint16_t attention[ARRAY_LUN_NUMBER_MAX + 1];
};
/* One more port that initiators are told of, if there is room and it is not among them. */
void scsi_target_add_port(struct scsi_target *t, uint16_t tag);
bool scsi_target_has_port(const struct scsi_target *t, uint16_t tag);
/* Something that the target's stop waits for is over. */
void scsi_target_check_stop(struct scsi_target *t);
/* Third-party copies: can the store clone? */
bool scsi_copies_offered(const struct scsi_target *t);
uint8_t scsi_physical_exponent(
	const struct scsi_target *t); /* 2^ so many logical blocks are a physical one */
void scsi_nexus_get(struct scsi_nexus *n);
void scsi_nexus_put(struct scsi_nexus *n);

/* ---- lun.c: what a LUN knows of SCSI ------------------------------------------------------------------- */

struct scsi_mode {
	bool wce, swp, d_sense;
};
static inline struct scsi_mode scsi_mode_default(void)
{
	return (struct scsi_mode){.wce = true};
}

/* An I_T nexus by name: it may live or not. */
struct scsi_nexus_name {
	char initiator[UP_NAME_MAX_BYTES + 1];
	uint8_t isid[6];
	uint16_t port; /* relative target port: the portal group tag */
};

struct scsi_registrant {
	struct list_node link;
	struct scsi_nexus_name name;
	uint64_t key;
};

struct scsi_lun {
	struct scsi_mode mode;
	/* order of tasks (task.c) */
	uint32_t running;
	bool ordered_running, pumping;
	struct list blocked;
	/* reserve.c */
	const struct scsi_nexus *legacy_holder; /* RESERVE(6) */
	struct list registrants;
	unsigned registrant_count;
	bool pr_kept;        /* APTPL: what follows, but for the generation, outlives a restart */
	unsigned pr_keeping; /* becoming durable just now */
	uint32_t pr_generation;
	uint8_t pr_type;                   /* 0: no reservation */
	struct scsi_registrant *pr_holder; /* NULL with the all-registrants types */
	struct scsi_sanitize *sanitize;    /* NULL: it is not being sanitized, nor did that fail */
};
/* Created on first use, with the registrations that were kept; NULL: no memory, or they do not read. */
struct scsi_lun *scsi_lun_get(struct lun *lun);
static inline struct scsi_lun *scsi_lun_of(const struct scsi_task *task)
{
	return task->lun_held ? task->lun_held->scsi : NULL;
}
/* The LUN number in an 8-byte LUN field (SAM-5 4.7), SCSI_NO_LUN when it cannot be one. */
uint32_t scsi_lun_decode(const uint8_t lun[8]);
void scsi_lun_encode(uint32_t number, uint8_t lun[8]);
static inline uint64_t scsi_lun_blocks(const struct lun *lun)
{
	return lun->size_bytes / SCSI_BLOCK_BYTES;
}

/* ---- task.c -------------------------------------------------------------------------------------------- */

#define TASK_CONTROL_LU  (1u << 0)
#define TASK_ABSENT_LU   (1u << 1)
#define TASK_EXECUTING   (1u << 2)
#define TASK_IO          (1u << 3) /* task->io is with the LUN layer */
#define TASK_ABORTED     (1u << 4)
#define TASK_ABORT_TRIED (1u << 5)
#define TASK_INBAND_WAIT (1u << 6)  /* task->waiting is the token */
#define TASK_STEPPED     (1u << 7)  /* task->waiting is a struct scsi_steps */
#define TASK_ORDERED     (1u << 8)  /* counts as the ordered one that runs */
#define TASK_COUNTED     (1u << 9)  /* counts in scsi_lun.running */
#define TASK_INBAND      (1u << 10) /* a control request: no attentions, reservations, order */
#define TASK_CONFLICT    (1u << 11) /* a recheck met a reservation */
#define TASK_UNMAPPED    (1u << 12) /* ends because its LUN was unmapped */
#define TASK_PROTECTED   (1u << 13) /* a recheck met software write protection */
#define TASK_WAITS       (1u << 14) /* waits for aborted tasks itself (PREEMPT AND ABORT) */
#define TASK_COPY        (1u << 15) /* task->waiting is a struct scsi_copy */
#define TASK_SANITIZE    (1u << 16) /* task->waiting is a struct scsi_sanitize */

/* Status is set (GOOD when nothing was); takes the task out and calls done. */
void scsi_task_finish(struct scsi_task *task);
/* One I/O of the whole command; its end finishes the task. op, iov and data set up by these. */
void scsi_task_io(struct scsi_task *task, enum store_io_op op, uint64_t offset, uint64_t len, unsigned flags);
/* Submits task->io with `done` as the end; for steps.c. */
void scsi_task_submit(struct scsi_task *task, void (*done)(struct lun_io *io, int err));
/* What a failed I/O's errno means for this task (recheck results included). */
void scsi_task_set_io_error(struct scsi_task *task, int err);
/* Aborts all of the nexus's tasks for which `match` says so; those that run end later. With `unmapped` they
 * are answered (no such LUN), else dropped. */
void scsi_nexus_abort_tasks(struct scsi_nexus *n,
	bool (*match)(const struct scsi_task *task, const void *arg), const void *arg, bool unmapped);

/* A reply that is built front to back; what does not fit is counted and dropped. */
struct scsi_reply {
	uint8_t *buf;
	size_t cap, len;
};
struct scsi_reply scsi_reply_begin(struct scsi_task *task);
void scsi_reply_put(struct scsi_reply *r, const void *bytes, size_t len);
void scsi_reply_zero(struct scsi_reply *r, size_t len);
void scsi_reply_u8(struct scsi_reply *r, uint8_t v);
void scsi_reply_be16(struct scsi_reply *r, uint16_t v);
void scsi_reply_be32(struct scsi_reply *r, uint32_t v);
void scsi_reply_be64(struct scsi_reply *r, uint64_t v);
/* Overwrites bytes put before, as far as they fit. */
void scsi_reply_patch(struct scsi_reply *r, size_t at, uint32_t value, unsigned bytes);
void scsi_reply_end(struct scsi_task *task, const struct scsi_reply *r); /* finishes the task */

/* ---- steps.c: commands of several I/Os, one after the other ------------------------------------------- */

struct scsi_steps {
	/* Prepares the next I/O by scsi_steps_io: > 0; no more: 0; a negative errno; when it has set status
	 * and sense itself: STEPS_FAILED. */
	int (*next)(struct scsi_task *task, struct scsi_steps *s);
	bool inside, ended_inside; /* of a submit that may end before it returns */
	bool compares;             /* a miscompare is for next() to deal with */
	bool miscompared;          /* the step before */
	int err;
	uint64_t at, end; /* blocks */
	uint32_t index;   /* of a descriptor, or a phase */
	uint32_t len;     /* bytes of the I/O before */
	uint64_t gone;    /* bytes dealt with so far */
	uint8_t *buf;     /* SCSI_STEP_BYTES, NULL: none asked for */
	/* GET LBA STATUS: the run of blocks that the last descriptor tells */
	uint64_t run_at;
	uint32_t run_blocks;
	bool run_mapped;
};
#define STEPS_FAILED (-100000)
/* NULL: the task is finished with BUSY (too many at one time, no memory). */
struct scsi_steps *scsi_steps_begin(
	struct scsi_task *task, bool with_buffer, int (*next)(struct scsi_task *task, struct scsi_steps *s));
void scsi_steps_run(struct scsi_task *task); /* in the end the task is finished */
void scsi_steps_free(struct scsi_task *task);
/* For next(): returns 1. */
int scsi_steps_io(struct scsi_task *task, enum store_io_op op, uint64_t lba, uint8_t *data, uint64_t len,
	unsigned flags);

/* ---- commands ------------------------------------------------------------------------------------------ */

/* basic.c */
void scsi_test_unit_ready(struct scsi_task *task);
void scsi_request_sense(struct scsi_task *task);
bool scsi_start_stop_parse(struct scsi_task *task);
void scsi_start_stop(struct scsi_task *task);
void scsi_prevent_allow(struct scsi_task *task);
void scsi_send_diagnostic(struct scsi_task *task);
void scsi_read_defects(struct scsi_task *task);
/* inquiry.c */
bool scsi_inquiry_parse(struct scsi_task *task);
void scsi_inquiry(struct scsi_task *task);
/* report.c */
bool scsi_report_luns_parse(struct scsi_task *task);
void scsi_report_luns(struct scsi_task *task);
void scsi_report_target_port_groups(struct scsi_task *task);
void scsi_report_opcodes(struct scsi_task *task);
void scsi_report_tmfs(struct scsi_task *task);
/* capacity.c */
void scsi_read_capacity10(struct scsi_task *task);
void scsi_read_capacity16(struct scsi_task *task);
void scsi_log_sense(struct scsi_task *task);
/* mode.c */
void scsi_mode_sense(struct scsi_task *task);
void scsi_mode_select(struct scsi_task *task);
/* block.c */
void scsi_read(struct scsi_task *task);
void scsi_write(struct scsi_task *task);
void scsi_synchronize(struct scsi_task *task);
void scsi_prefetch(struct scsi_task *task);
bool scsi_compare_write_parse(struct scsi_task *task);
void scsi_compare_write(struct scsi_task *task);
/* orwrite.c */
void scsi_orwrite(struct scsi_task *task);
/* verify.c */
bool scsi_verify_parse(struct scsi_task *task);
void scsi_verify(struct scsi_task *task);
bool scsi_write_verify_parse(struct scsi_task *task);
void scsi_write_verify(struct scsi_task *task);
/* threshold.c */
#define SCSI_THRESHOLD_PERCENT 70u
/* Something of about so many bytes was written: warns the hosts when the store has become too full. */
void scsi_threshold_written(struct scsi_target *t, uint64_t bytes);
uint64_t scsi_threshold_bytes(const struct scsi_target *t); /* available, at or below which it is so */
/* thin.c */
void scsi_unmap(struct scsi_task *task);
bool scsi_write_same_parse(struct scsi_task *task);
void scsi_write_same(struct scsi_task *task);
void scsi_get_lba_status(struct scsi_task *task);
/* copy_extended.c, odx.c, copy_status.c */
void scsi_extended_copy(struct scsi_task *task);
void scsi_populate_token(struct scsi_task *task);
void scsi_write_using_token(struct scsi_task *task);
void scsi_copy_abort_command(struct scsi_task *task);
void scsi_receive_copy_status1(struct scsi_task *task);
void scsi_receive_copy_parameters(struct scsi_task *task);
void scsi_receive_copy_failure(struct scsi_task *task);
void scsi_receive_copy_status4(struct scsi_task *task);
void scsi_receive_token_information(struct scsi_task *task);
void scsi_copy_vpd(const struct scsi_task *task, struct scsi_reply *r);
/* sanitize.c */
#define SCSI_SANITIZE_KEPT_MAX    (5u + SCSI_BLOCK_BYTES)
#define SCSI_SANITIZE_BYTES_PER_S (UINT64_C(128) << 20)
bool scsi_sanitize_parse(struct scsi_task *task);
void scsi_sanitize(struct scsi_task *task);
void scsi_sanitize_exit(struct scsi_task *task);
/* May the task go on? False: it has failed. */
bool scsi_sanitize_allows(struct scsi_task *task);
void scsi_sanitize_sense(const struct scsi_sanitize *z, struct scsi_sense *out);
void scsi_sanitize_detach(struct scsi_task *task); /* finishes the task, aborted */
void scsi_sanitize_stop(struct scsi_target *t);    /* t->stop_done is set */
void scsi_sanitize_free(struct scsi_sanitize *z);
bool scsi_sanitize_is_kept(const struct scsi_sanitize *z);
size_t scsi_sanitize_pack(const struct scsi_sanitize *z, uint8_t *p);
struct scsi_sanitize *scsi_sanitize_unpack(const uint8_t *p, size_t len); /* NULL: malformed, no memory */
/* security.c */
bool scsi_security_parse(struct scsi_task *task);
void scsi_security_in(struct scsi_task *task);
void scsi_security_out(struct scsi_task *task);

/* ---- reserve.c, reserve_*.c -------------------------------------------------------------------------- */

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
/* The living nexus of a registrant, or NULL. */
struct scsi_nexus *scsi_reserve_nexus(struct scsi_target *t, const struct scsi_registrant *r);
void scsi_reserve_nexus_lost(struct scsi_nexus *n);
void scsi_reserve_lun_reset(struct scsi_lun *s);
void scsi_reserve_end(struct scsi_lun *s); /* there is none any more */
/* Removes and frees a registrant, and the reservation with its holder or the last one. */
void scsi_reserve_drop(struct scsi_lun *s, struct scsi_registrant *r);
/* The same; when a registrants-only reservation ends by it the others learn of that (SPC-4 5.13.11.2). */
void scsi_reserve_unregister(struct scsi_task *task, struct scsi_lun *s, struct scsi_registrant *r);
/* An attention for the registrant's nexus, if it lives and is not the task's own. */
void scsi_reserve_tell(struct scsi_task *task, const struct scsi_registrant *r, enum scsi_attention what);
void scsi_reserve_tell_others(struct scsi_task *task, const struct scsi_lun *s, enum scsi_attention what);
void scsi_legacy_reserve(struct scsi_task *task);
void scsi_legacy_release(struct scsi_task *task);

/* reserve_keep.c */
void scsi_reserve_pack_size_add(size_t *bytes, const struct scsi_nexus_name *name);
size_t scsi_reserve_pack_size(const struct scsi_lun *s);
/* False: it does not read, or no memory. s: fresh; with false partly filled. */
bool scsi_reserve_unpack(struct scsi_lun *s, const uint8_t *bytes, size_t len);
/* Makes durable what the LUN has to keep over a restart, as it is now. */
void scsi_reserve_keep(struct lun *lun, struct array_call *call);
/* Ends a good PERSISTENT RESERVE OUT: when what has to outlive a restart is durable. */
void scsi_reserve_finish_kept(struct scsi_task *task);

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
void scsi_pr_out(struct scsi_task *task);
bool scsi_pr_register(struct scsi_task *task, struct scsi_lun *s, const struct scsi_pr_request *q);
bool scsi_pr_move(struct scsi_task *task, struct scsi_lun *s, const struct scsi_pr_request *q);
/* NULL: no memory, or too many; then the task has failed. Not linked yet. */
struct scsi_registrant *scsi_pr_registrant_new(
	struct scsi_task *task, const struct scsi_nexus_name *name, uint64_t key);
/* Reads one TransportID (SPC-4 7.6.4.6) of at most *len bytes and steps over it. False: not iSCSI's, or
 * malformed. */
bool scsi_pr_transport_id(const uint8_t **at, size_t *len, struct scsi_nexus_name *out, bool *has_isid);
void scsi_pr_in_keys(struct scsi_task *task);
void scsi_pr_in_reservation(struct scsi_task *task);
void scsi_pr_in_capabilities(struct scsi_task *task);
void scsi_pr_in_full_status(struct scsi_task *task);

/* ---- tmf.c --------------------------------------------------------------------------------------------- */

void scsi_tmf_check(struct scsi_target *t); /* a task is over: does a call wait for it no more? */
/* call->nexus and done set: done comes when every aborted task is over, perhaps from inside. */
void scsi_tmf_wait(struct scsi_tmf_call *call);

#endif
