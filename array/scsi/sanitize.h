/* SPDX-License-Identifier: Apache-2.0 */
/* A LUN that is being sanitized, or where that failed: what other commands, the target and the catalogue need of it. */
#ifndef UMBRA_SCSI_SANITIZE_H
#define UMBRA_SCSI_SANITIZE_H

#include "array/scsi/bounds.h"
#include "array/scsi/sense.h"

#define SCSI_SANITIZE_KEPT_MAX    (5u + SCSI_BLOCK_BYTES)
#define SCSI_SANITIZE_BYTES_PER_S (UINT64_C(128) << 20)

struct scsi_sanitize;

/* May the task go on? False: it has failed. */
bool scsi_sanitize_allows(struct scsi_task *task);
void scsi_sanitize_sense(const struct scsi_sanitize *z, struct scsi_sense *out);
void scsi_sanitize_detach(struct scsi_task *task); /* finishes the task, aborted */
void scsi_sanitize_stop(struct scsi_target *t);    /* t->stop_done is set */
void scsi_sanitize_free(struct scsi_sanitize *z);
bool scsi_sanitize_is_kept(const struct scsi_sanitize *z);
size_t scsi_sanitize_pack(const struct scsi_sanitize *z, uint8_t *p);
struct scsi_sanitize *scsi_sanitize_unpack(const uint8_t *p, size_t len); /* NULL: malformed, no memory */

#endif
