/* SPDX-License-Identifier: Apache-2.0 */
/* Task management: waiting for aborted tasks. The functions themselves are called through scsi.h. */
#ifndef UMBRA_SCSI_TMF_H
#define UMBRA_SCSI_TMF_H

#include "array/scsi/nexus.h"

/* A task is over: is it the last one that a call has waited for? */
void scsi_tmf_check(struct scsi_target *t);
/* call->nexus and done set: done comes when every aborted task is over, perhaps from inside. */
void scsi_tmf_wait(struct scsi_tmf_call *call);

#endif
