/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SCSI layer as a transport (iSCSI) sees it: nexuses, tasks, task management. It knows nothing of the
 * transport's PDUs; the transport knows nothing of commands.
 *
 * A task's life:
 * - The transport fills what the struct names as its own and calls scsi_task_parse(), which tells direction and length.
 * - The transport provides `data`, 4 KiB-aligned if it can: the data_len bytes from the initiator, or room for as many
 *   to it. Then it calls scsi_task_execute().
 * - `done` comes once, perhaps from inside execute. Status and sense are set, and data_len is what to send of `data`.
 *   The task is the transport's again.
 */
#ifndef UMBRA_SCSI_H
#define UMBRA_SCSI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "array/model/array.h"

#define SCSI_CDB_MAX_BYTES   32
#define SCSI_SENSE_MAX_BYTES 64
/* The most data one command moves (VPD B0h MAXIMUM TRANSFER LENGTH says so). */
#define SCSI_TRANSFER_MAX_BYTES (4u << 20)

#define SCSI_STATUS_GOOD                 0x00
#define SCSI_STATUS_CHECK_CONDITION      0x02
#define SCSI_STATUS_CONDITION_MET        0x04
#define SCSI_STATUS_BUSY                 0x08
#define SCSI_STATUS_RESERVATION_CONFLICT 0x18
#define SCSI_STATUS_TASK_SET_FULL        0x28
#define SCSI_STATUS_TASK_ABORTED         0x40

enum scsi_direction {
	SCSI_NONE,
	SCSI_TO_INITIATOR,
	SCSI_FROM_INITIATOR
};

struct scsi_target; /* one a daemon: array, in-band hook, identity of the target */
struct scsi_nexus;  /* I_T nexus */
struct scsi_task;

/* The control channel's end behind SECURITY PROTOCOL IN/OUT; given by the daemon, may be NULL. */
struct scsi_inband {
	void *ctx;
	/* A message has arrived. lun: the LUN it was addressed to, NULL for the control LU. Copies what it
	 * needs. 0; -EMSGSIZE, -ENOBUFS (no mailbox), -EBUSY. */
	int (*out)(void *ctx, struct host_nexus *nexus, struct lun *lun, uint16_t slot, const uint8_t *data,
		size_t len);
	/* Fetches the reply into buf, waiting for it while the request runs. `done` comes once (perhaps from
	 * inside) with the bytes written (truncated at cap) or a negative errno (-ENOENT: no request in this
	 * mailbox). Returns a token for `cancel`, NULL when done has been called. */
	void *(*in)(void *ctx, struct host_nexus *nexus, uint16_t slot, uint8_t *buf, size_t cap,
		void (*done)(void *arg, long result), void *arg);
	/* The waiting `in` is given up: done is not called any more. The request runs on. */
	void (*cancel)(void *ctx, void *token);
};

/* SPC-4 5.15.2: what the ports of a target port group do with commands. */
enum scsi_access {
	SCSI_ACCESS_OPTIMIZED = 0x0,
	SCSI_ACCESS_STANDBY = 0x2,     /* another controller owns the array */
	SCSI_ACCESS_UNAVAILABLE = 0x3, /* its controller cannot be reached */
	SCSI_ACCESS_TRANSITIONING = 0xF,
};

#define SCSI_PORTS_MAX       64u /* of all groups */
#define SCSI_PORT_GROUPS_MAX 4u

/* The ports of one controller. */
struct scsi_port_group {
	uint16_t id;
	enum scsi_access access;
	bool preferred;
	unsigned port_count;
	uint16_t ports[SCSI_PORTS_MAX]; /* portal group tags, which differ over all groups */
};

/*
 * A command that one controller passes on to another: from a host that is logged in at a controller in standby, for
 * the controller that owns the array.
 */
struct scsi_remote {
	char initiator[UP_NAME_MAX_BYTES + 1];
	uint8_t isid[6];
	uint16_t port; /* portal group tag at which it is logged in */
	bool authenticated;
	uint8_t lun_id[UP_ID_BYTES];
	uint8_t cdb[SCSI_CDB_MAX_BYTES];
	unsigned cdb_len;
	enum scsi_direction direction;
	uint8_t *data;     /* of whoever passes it on, until done */
	uint32_t data_len; /* bytes in it, or room; after done: bytes for the initiator */
	/* Comes once, perhaps from inside. */
	void (*done)(struct scsi_remote *r);
	/* after done */
	int err;     /* not 0: it was not carried out, as far as is known, and the rest says nothing */
	bool unsure; /* with err: perhaps it was, and what its answer told is lost */
	uint8_t status;
	uint8_t sense[SCSI_SENSE_MAX_BYTES];
	unsigned sense_len;
};
struct scsi_standby_ops {
	void *ctx;
	/* Takes it to the owner. It must end, if only by a time-out: -ESHUTDOWN when nobody owns the array,
	 * -EAGAIN when it may be tried again. */
	void (*forward)(void *ctx, struct scsi_remote *r);
	/* The same for a task management function: r->cdb is one byte, enum scsi_tmf, and the id zero for one of the target. err 0: the
	 * owner has carried it out. May be NULL: then they act at the controller in standby alone. */
	void (*manage)(void *ctx, struct scsi_remote *r);
	/* A nexus of which something was passed on has ended: its names and its port stand in r, which is not kept. May be NULL. */
	void (*lost)(void *ctx, const struct scsi_remote *r);
};

struct scsi_target_options {
	struct array *array;
	const char *target_name; /* iSCSI name of the target */
	const struct scsi_inband *inband;
	const uint16_t *ports; /* portal group tags; those of nexuses are added as they come */
	unsigned port_count;
	/* With several controllers, instead of ports: the groups of all, and which is this one's. NULL: one group, with
	 * the id 1, active/optimized. */
	const struct scsi_port_group *groups;
	unsigned group_count;
	uint16_t group;
	const struct scsi_standby_ops *standby; /* NULL: in standby, what only the owner knows is refused */
	uint32_t physical_block_bytes;          /* as hosts are told: 512 or 4096; 0: 4096 */
	uint64_t sanitize_bytes_per_s;          /* how fast SANITIZE overwrites at most; 0: 128 MiB */
	unsigned threshold_percent;             /* of the store in use: hosts are warned (38/07); 0: 70 */
};
/* -EINVAL: groups of one id, with a port of another's, too many, or not with `group`. */
int scsi_target_create(const struct scsi_target_options *options, struct scsi_target **out);
/* Other groups than before, or other states of them: every nexus is told (2A/06) when anything is new. What has begun
 * goes on; what waits is looked at again before it begins. -EINVAL as above; then nothing has changed. */
int scsi_target_set_groups(struct scsi_target *t, const struct scsi_port_group *groups, unsigned count);
/* Takes threshold_percent and sanitize_bytes_per_s. */
void scsi_target_reload(struct scsi_target *t, const struct scsi_target_options *options);
/* The controller owns the array from now on, and the nexuses that it had in standby are at the target. */
void scsi_target_owns(struct scsi_target *t);
/* The controller is about to give the array to the other one: what it has told hosts is so on record. */
void scsi_target_leaves(struct scsi_target *t);
/* No nexus will come any more: done comes (perhaps from inside) when what runs in the background has ended. */
void scsi_target_stop(struct scsi_target *t, void (*done)(void *arg), void *arg);
void scsi_target_destroy(struct scsi_target *t); /* no nexus left, nothing in the background */

struct scsi_nexus_ops {
	void (*close)(void *transport); /* the host's rights are gone: end the session */
	/* A task that was parsed and not executed has been aborted (by task management or a preemption, perhaps
	 * of another nexus): to be discarded, without a response. NULL: it ends when it is executed. */
	void (*task_aborted)(void *transport, struct scsi_task *task);
};
struct scsi_nexus_options {
	const char *initiator_name;
	uint8_t isid[6];
	uint16_t portal_group_tag;
	bool authenticated;
	const struct scsi_nexus_ops *ops;
	void *transport;
};
/* -EACCES: the initiator is no host's. -ENOMEM. */
int scsi_nexus_create(
	struct scsi_target *t, const struct scsi_nexus_options *options, struct scsi_nexus **out);
/* The I_T nexus is lost. All its tasks are aborted: those that wait end at once (`done` comes from inside),
 * those that run keep the nexus until their `done`; none may be answered. Parsed tasks that the transport
 * still has it gives up by scsi_task_discard, before or after. A TMF under way still gets its `done`. */
void scsi_nexus_destroy(struct scsi_nexus *n);
/* The nexus goes on with another connection: all its tasks are aborted as above, nothing else of it is lost. */
void scsi_nexus_move(struct scsi_nexus *n, void *transport);
/* The nexus goes on at another target of the same name and array (this controller has become its owner, or is it no
 * more): *out is there what n was here, with what its initiator has not been told yet, and 2A/06 where the access states differ. n ends, and its target
 * may be destroyed as after scsi_nexus_destroy; but of its tasks those that can be withdrawn are answered with 2A/06, and
 * the others with what comes of them. Not 0: as for scsi_nexus_create, and n is what it was. */
int scsi_nexus_rehome(struct scsi_nexus *n, struct scsi_target *t, struct scsi_nexus **out);
struct host_nexus *scsi_nexus_array(struct scsi_nexus *n);

enum scsi_attribute {
	SCSI_UNTAGGED,
	SCSI_SIMPLE,
	SCSI_ORDERED,
	SCSI_HEAD_OF_QUEUE,
	SCSI_ACA
};

struct scsi_task {
	/* of the transport, before parse */
	struct scsi_nexus *nexus;
	uint8_t lun[8];
	uint8_t cdb[SCSI_CDB_MAX_BYTES];
	unsigned cdb_len;
	enum scsi_attribute attribute;
	uint64_t tag;
	uint32_t offered_len; /* bytes that the initiator means to send, 0: none, or not known */
	void (*done)(struct scsi_task *task);
	/* out of parse */
	enum scsi_direction direction;
	uint32_t data_len; /* bytes to collect, or room to provide; after done: bytes to send */
	/* of the transport, before execute */
	uint8_t *data;
	uint32_t data_in_hand; /* from the initiator: bytes collected (< data_len: the initiator sent less) */
	/* after done */
	uint8_t status;
	bool aborted; /* no response is to be sent (RFC 7143 11.5.1) */
	uint8_t sense[SCSI_SENSE_MAX_BYTES];
	unsigned sense_len;
	/* private to scsi/ */
	struct list_node link, order_link;
	const struct scsi_command *command;
	struct lun *lun_held;
	uint32_t lun_number;
	struct lun_io io;
	struct iovec iov[2];
	void *waiting;
	uint64_t lba, blocks, progress;
	uint64_t started_ns; /* when it was executed, by the reactor's clock */
	unsigned state;
	uint32_t flags;
	uint64_t abort_serial; /* with TASK_ABORTED */
};

/* Reads the CDB: direction and length. False: the task is over already (status and sense are set, `done` is
 * NOT called): any data that the initiator sends is to be discarded. Touches no LUN data. */
bool scsi_task_parse(struct scsi_task *task);
/* A parsed task that is to get a buffer before others: a read, or one that carries a control request. */
bool scsi_task_is_urgent(const struct scsi_task *task);
void scsi_task_execute(struct scsi_task *task);
/* An aborted task that is to be answered all the same: it goes on to collect its data, and to execute. */
bool scsi_task_is_told(const struct scsi_task *task);
/* Before execute, when the transport gives a parsed task up. */
void scsi_task_discard(struct scsi_task *task);

enum scsi_tmf {
	SCSI_ABORT_TASK = 1,
	SCSI_ABORT_TASK_SET = 2,
	SCSI_CLEAR_ACA = 3,
	SCSI_CLEAR_TASK_SET = 4,
	SCSI_LUN_RESET = 5,
	SCSI_TARGET_WARM_RESET = 6,
	SCSI_TARGET_COLD_RESET = 7,
};
enum scsi_tmf_result {
	SCSI_TMF_COMPLETE,
	SCSI_TMF_NO_TASK,
	SCSI_TMF_NO_LUN,
	SCSI_TMF_UNSUPPORTED,
	SCSI_TMF_REJECTED
};

struct scsi_tmf_call {
	enum scsi_tmf function;
	uint8_t lun[8];
	uint64_t tag; /* ABORT_TASK: the task's */
	/* All affected tasks are over. */
	void (*done)(struct scsi_tmf_call *call, enum scsi_tmf_result result);
	struct scsi_nexus *nexus;
	/* private */
	struct list_node link;
	uint64_t serial;
	unsigned keeping; /* LUNs of whose reset the record is under way, or the owner carries it out */
	bool failed;      /* the owner has not */
};
/* Tasks that were parsed and not yet executed are the transport's to drop (it knows them). */
void scsi_tmf(struct scsi_tmf_call *call);

/* ---- for the other controller ------------------------------------------------------------------------- */

/* Carries out a command that another controller passed on, for the I_T nexus that it names: only commands that a controller
 * in standby passes on, through a port of another group. Reservations see the initiator as if it were logged in here, until
 * scsi_remote_lost. */
void scsi_remote_execute(struct scsi_target *t, struct scsi_remote *r);
/* The same for a task management function of a LUN, or of all that the host sees (scsi_standby_ops.manage): CLEAR TASK SET and
 * the resets. */
void scsi_remote_manage(struct scsi_target *t, struct scsi_remote *r);
/* The session of r's initiator, isid and port at the other controller has ended; or, with NULL, all have. */
void scsi_remote_lost(struct scsi_target *t, const struct scsi_remote *r);

#endif
