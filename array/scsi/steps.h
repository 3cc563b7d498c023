/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of several I/Os, one after the other. */
#ifndef UMBRA_SCSI_STEPS_H
#define UMBRA_SCSI_STEPS_H

#include "array/scsi/scsi.h"

#define SCSI_STEPPED_MAX 64u /* commands of several I/Os at one time, of one host half as many */
#define SCSI_STEP_BYTES  (256u << 10)

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

#endif
