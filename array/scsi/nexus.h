/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target and its nexuses, as every command sees them. Everything belongs to the reactor's thread.
 */
#ifndef UMBRA_SCSI_NEXUS_H
#define UMBRA_SCSI_NEXUS_H

#include "array/reactor/reactor.h"
#include "array/scsi/scsi.h"

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
	struct array_room_listener room;
	uint32_t physical_block_bytes;
	uint64_t sanitize_bytes_per_s;
	struct list sanitizing; /* LUNs that are */
	void (*stop_done)(void *arg);
	void *stop_arg;
	bool stopped;
	unsigned copies_running;
	struct scsi_tokens *tokens; /* copy.h */
	unsigned port_count;
	uint16_t ports
		[SCSI_PORTS_MAX]; /* portal group tags, ascending: the relative target ports of all groups */
	struct scsi_port_group groups[SCSI_PORT_GROUPS_MAX];
	unsigned group_count;
	struct scsi_port_group *own; /* one of them */
	bool controllers;            /* the groups were given: there may be others */
	struct scsi_standby_ops standby;
	struct list remotes; /* remote.c */
	unsigned remote_count;
	struct reactor_timer notices_rest; /* notice.c */
	bool notices_wait;                 /* it is armed */
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
	bool forwarded;  /* the owner has had a command of it */
	uint32_t refs;   /* the transport, tasks, TMFs */
	struct list tasks;
	struct list copies; /* copy.h: oldest first */
	unsigned copy_count;
	struct list_node link;
	uint16_t attention_nexus; /* bits for whichever LUN is asked first */
	uint16_t attention[ARRAY_LUN_NUMBER_MAX + 1];
};

/* One more port of this controller that initiators are told of, if there is room and it is not among them. */
void scsi_target_add_port(struct scsi_target *t, uint16_t tag);
bool scsi_target_has_port(const struct scsi_target *t, uint16_t tag);
/* Something that the target's stop waits for is over. */
void scsi_target_check_stop(struct scsi_target *t);
/* Third-party copies: can the store clone? */
bool scsi_copies_offered(const struct scsi_target *t);
/* 2 to the power of this logical blocks are a physical one. */
uint8_t scsi_physical_exponent(const struct scsi_target *t);

void scsi_nexus_get(struct scsi_nexus *n);
void scsi_nexus_put(struct scsi_nexus *n);

#endif
