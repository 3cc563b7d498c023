/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of umbra-lab-writer share: options, the connection to a LUN, the two verbs. */
#ifndef LAB_WRITERS_WRITER_H
#define LAB_WRITERS_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include "lab/writers/record.h"

#define WRITER_MAX_STREAMS 64

struct writer_options {
	const char *url[2]; /* A, B */
	const char *initiator;
	uint64_t offset_bytes;
	uint32_t slots, streams;
	uint16_t hold_port; /* 0: never stand still */
	const char *ledger, *name, *ready;
	uint32_t pause_us, seconds;
	const char *expect;
	bool json;
};

struct lun {
	struct iscsi_context *iscsi;
	int number;
	uint32_t block_bytes;
	uint64_t blocks;
	char serial[41]; /* page 80h, without blanks; "-": it tells none */
};

/* --- main.c --- */
bool writer_ending(void);

/* --- lun.c --- */

/* Logs in and reads the capacity; false: said why on stderr. lun_close always. */
bool lun_open(struct lun *l, const char *url, const char *initiator);
void lun_close(struct lun *l);
/* `bytes` from `offset`, both multiples of RECORD_BYTES; false: said why on stderr. */
bool lun_read(struct lun *l, uint64_t offset_bytes, uint8_t *buf, size_t bytes);
/* Is this answer one that a host's driver repeats the command for (unit attention, busy, task set full)? */
bool task_wants_retry(const struct scsi_task *task, int status);

/* --- run.c, verify.c: exit codes --- */
int writer_run(const struct writer_options *o);
int writer_verify(const struct writer_options *o);

#endif
