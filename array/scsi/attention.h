/* SPDX-License-Identifier: Apache-2.0 */
/* Unit attentions: a bit each, reported lowest bit first. */
#ifndef UMBRA_SCSI_ATTENTION_H
#define UMBRA_SCSI_ATTENTION_H

#include "array/scsi/nexus.h"
#include "array/scsi/sense.h"

enum scsi_attention {
	ATTENTION_POWER_ON,                /* 29/00 */
	ATTENTION_TARGET_RESET,            /* 29/02 */
	ATTENTION_LUN_RESET,               /* 29/03 */
	ATTENTION_NEXUS_LOSS,              /* 29/07: an answer of the owner's did not come */
	ATTENTION_REPORTED_LUNS,           /* 3F/0E: of the nexus, not of a LUN */
	ATTENTION_MEDIUM_CHANGED,          /* 28/00: a resync replaced the data */
	ATTENTION_ACCESS_STATE,            /* 2A/06: a target port group's */
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
/* On every LUN of every nexus. */
void scsi_attention_all(struct scsi_target *t, enum scsi_attention what);
void scsi_attention_forget(struct scsi_nexus *n, uint32_t number);
bool scsi_attention_pending(const struct scsi_nexus *n, uint32_t number);
/* Takes the first one out. False: there is none. */
bool scsi_attention_take(struct scsi_nexus *n, uint32_t number, struct scsi_sense *out);

#endif
