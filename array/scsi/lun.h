/* SPDX-License-Identifier: Apache-2.0 */
/* What a LUN knows of SCSI (lun->scsi). */
#ifndef UMBRA_SCSI_LUN_H
#define UMBRA_SCSI_LUN_H

#include "array/scsi/bounds.h"
#include "array/scsi/scsi.h"

#define SCSI_NO_LUN UINT32_MAX

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
	bool pr_always;      /* all of it without APTPL: another controller may go on with the array */
	unsigned pr_keeping; /* becoming durable just now */
	uint32_t pr_generation;
	uint8_t pr_type;                   /* 0: no reservation */
	struct scsi_registrant *pr_holder; /* NULL with the all-registrants types */
	struct list notices;               /* notice.c: oldest first */
	unsigned notice_count;
	bool notices_changed;           /* the record has others */
	struct scsi_sanitize *sanitize; /* NULL: it is not being sanitized, nor did that fail */
};
/* Created on first use, with the registrations that were kept; NULL: no memory, or they do not read. */
struct scsi_lun *scsi_lun_get(struct lun *lun);
static inline struct scsi_lun *scsi_lun_of(const struct scsi_task *task)
{
	return task->lun_held ? task->lun_held->scsi : NULL;
}
/* By an initiator (SWP), or because its copy set is locked. It has its state of SCSI. */
static inline bool scsi_lun_protected(const struct lun *lun)
{
	return ((const struct scsi_lun *)lun->scsi)->mode.swp || lun->locked;
}
/* The LUN number in an 8-byte LUN field (SAM-5 4.7), SCSI_NO_LUN when it cannot be one. */
uint32_t scsi_lun_decode(const uint8_t lun[8]);
void scsi_lun_encode(uint32_t number, uint8_t lun[8]);
static inline uint64_t scsi_lun_blocks(const struct lun *lun)
{
	return lun->size_bytes / SCSI_BLOCK_BYTES;
}

#endif
