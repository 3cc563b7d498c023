/* SPDX-License-Identifier: Apache-2.0 */
/* Asymmetric access (SPC-4 5.15.2): the target port groups, and what a command meets in this controller's state. */
#ifndef UMBRA_SCSI_ACCESS_H
#define UMBRA_SCSI_ACCESS_H

#include "array/scsi/nexus.h"
#include "array/scsi/sense.h"

/* -EINVAL: as scsi_target_set_groups. Nobody is told. */
int scsi_access_init(struct scsi_target *t, const struct scsi_target_options *options);
/* Does this controller own the array? */
bool scsi_access_is_owner(const struct scsi_target *t);
/* Why a LUN is not accessible here; leaves *out when it is. */
void scsi_access_sense(const struct scsi_target *t, struct scsi_sense *out);
/* False: sense is set. True: it goes on here, or, with TASK_FORWARD, at the owner. */
bool scsi_access_allows(struct scsi_task *task);
/* Is that still so, now that the task's turn has come? */
bool scsi_access_still_allows(const struct scsi_task *task);
/* A task with TASK_FORWARD: the owner does it. Ends in scsi_task_finish. */
void scsi_access_forward(struct scsi_task *task);
/* The owner is to carry it out, on that LUN, or on all that the host sees (NULL); call->keeping counts it. False: this is the
 * owner, or has no way to it: it acts here alone. */
bool scsi_access_manage(struct scsi_tmf_call *call, const struct lun *lun);
/* n ends here: the owner is told, if it has heard of it. */
void scsi_access_nexus_lost(const struct scsi_nexus *n);

#endif
