/* SPDX-License-Identifier: Apache-2.0 */
/* The soft threshold of thin provisioning. */
#ifndef UMBRA_SCSI_THRESHOLD_H
#define UMBRA_SCSI_THRESHOLD_H

#include "array/scsi/nexus.h"

#define SCSI_THRESHOLD_PERCENT 70u

/* Something of about so many bytes was written: warns the hosts when the store has become too full. */
void scsi_threshold_written(struct scsi_target *t, uint64_t bytes);
void scsi_threshold_begin(struct scsi_target *t); /* listens to what the array itself takes */
void scsi_threshold_end(struct scsi_target *t);
uint64_t scsi_threshold_bytes(const struct scsi_target *t); /* available, at or below which it is so */

#endif
