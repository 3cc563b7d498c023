/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A SCSI layer and an array small enough for the transport's tests: hosts from a table, one disk in memory as
 * LUN 1 of every host, events in a list, tasks that can be made to hang until they are released or aborted.
 */
#ifndef UMBRA_TEST_STUB_SCSI_H
#define UMBRA_TEST_STUB_SCSI_H

#include "array/scsi/scsi.h"

#define STUB_DISK_BYTES  (8u << 20)
#define STUB_OPCODE_HANG 0xc0 /* no data; ends when released or aborted */
#define STUB_HANG_WRITES 1u   /* stub.flags: WRITEs end when released */
#define STUB_STUBBORN    2u   /* hanging tasks do not end with their nexus */
#define STUB_STANDBY     4u   /* every command is refused with 02/04/0B */
#define STUB_EVENTS_MAX  64
#define STUB_HOSTS_MAX   16

struct stub {
	uint8_t disk[STUB_DISK_BYTES];
	unsigned flags;
	unsigned nexuses, running, parsed_unfinished, discarded, executed, aborted, tmfs, moves, rehomed;
	struct list hanging, parsed, all; /* tasks, tasks, nexuses */
	struct scsi_target *target;       /* of the last nexus that was made */
	bool told;                        /* tasks that another session aborts are to be answered */
	struct host_record hosts[STUB_HOSTS_MAX];
	unsigned host_count;
	char events[STUB_EVENTS_MAX][300];
	unsigned event_count;
};
extern struct stub stub;

/* Empty again: no host, no event. */
void stub_reset(void);
void stub_add_host(const char *iqn, const char *user, const char *secret);
/* As another initiator's reset does: the tasks that still collect data are gone. */
void stub_abort_parsed(void);
/* The rights of all hosts are gone. */
void stub_revoke_all(void);
/* Ends all hanging tasks with GOOD. */
void stub_release_all(void);
bool stub_saw_event(const char *part);

#endif
