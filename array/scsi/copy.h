/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Third-party copies (SPC-4 5.17, SBC-3 4.28): EXTENDED COPY and the token commands (ODX), which share one
 * engine. Offered when the store can clone ranges; the data of a copy is that of one instant (lun_image).
 *
 * A struct scsi_copy is in its nexus's list from its command on. It runs while the command waits for it, or (IMMED) in
 * the background. When it is over it is kept, so that its result can be asked for. One that runs holds the nexus; those
 * that are kept are freed with it.
 */
#ifndef UMBRA_SCSI_COPY_H
#define UMBRA_SCSI_COPY_H

#include <limits.h>
#include "array/reactor/reactor.h"
#include "array/scsi/bounds.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reply.h"

#define COPY_TARGETS_MAX     8u
#define COPY_SEGMENTS_MAX    64u
#define COPY_LIST_MAX_BYTES  (COPY_TARGETS_MAX * 32u + COPY_SEGMENTS_MAX * 28u)
#define COPY_RANGES_MAX      64u
#define COPY_CHUNK_BYTES     ((uint64_t)SCSI_UNMAP_GRANULARITY * SCSI_BLOCK_BYTES) /* what stores share */
#define COPY_STEP_BYTES      (UINT64_C(8) << 20)  /* at a time, what is to be copied */
#define COPY_SHARE_BYTES     (UINT64_C(64) << 20) /* at a time, what can be shared */
#define COPY_RUNNING_MAX     64u                  /* at one time, of one host half as many */
#define COPY_KEPT_MAX        64u                  /* of a nexus, those that run too */
#define TOKEN_BYTES          512u
#define TOKEN_BLOCKS_MAX     ((UINT64_C(4) << 30) / SCSI_BLOCK_BYTES)
#define TOKEN_BLOCKS_OPTIMAL ((UINT64_C(256) << 20) / SCSI_BLOCK_BYTES)
#define TOKENS_MAX           1024u
#define TOKENS_HOST_MAX      256u
#define TOKENS_DEAD_KEPT     256u /* so that the reason can be told */
#define TOKEN_TIMEOUT_S      60u
#define TOKEN_TIMEOUT_MAX_S  600u

#define COPY_GRANULARITY 9u /* 2^9 bytes: segments are of whole blocks */

#define COPY_OUT        0x83
#define COPY_IN         0x84
#define COPY_EXTENDED   0x00 /* of COPY_OUT */
#define COPY_POPULATE   0x10
#define COPY_WRITE      0x11
#define COPY_ABORT      0x1C
#define COPY_STATUS1    0x00 /* of COPY_IN */
#define COPY_PARAMETERS 0x03
#define COPY_FAILURE    0x04
#define COPY_STATUS4    0x05
#define COPY_TOKENS     0x07

#define ROD_TYPE_POINT_IN_TIME 0x00800000u
#define ROD_TYPE_ANY_INSTANT   0x0080FFFFu
#define ROD_TYPE_ZERO          0xFFFF0001u

#define ASC_THIRD_PARTY_FAILURE    0x0D01
#define ASC_COPY_DEVICE_TYPE       0x0D03
#define ASC_UNREACHABLE_TARGET     0x0804
#define ASC_OPERATION_UNDER_WAY    0x0016
#define ASC_TOKEN_TYPE             0x2301
#define ASC_TOKEN_UNKNOWN          0x2304
#define ASC_TOKEN_CORRUPT          0x2305
#define ASC_TOKEN_REVOKED          0x2306
#define ASC_TOKEN_EXPIRED          0x2307
#define ASC_TOKEN_DELETED          0x2309
#define ASC_TOKEN_LENGTH           0x230A
#define ASC_TARGET_DESCRIPTORS     0x2606
#define ASC_TARGET_DESCRIPTOR_TYPE 0x2607
#define ASC_SEGMENT_DESCRIPTORS    0x2608
#define ASC_SEGMENT_DESCRIPTOR     0x2609
#define ASC_INLINE_DATA            0x260B
#define ASC_TOKEN_RESOURCES        0x550D

struct scsi_range {
	uint64_t lba;
	uint32_t blocks;
};

/* ---- token.c ------------------------------------------------------------------------------------------- */

/* A representation of data: ranges of an image, for whoever knows the 256 random bits in it. */
struct scsi_token {
	struct list_node link;
	uint8_t bytes[TOKEN_BYTES];
	uint8_t source_id[UP_ID_BYTES];
	/* whose it was made for: revoked when it may not read any more */
	char host[ARRAY_NAME_MAX_BYTES + 1];
	struct lun_image *image; /* held */
	uint32_t timeout_s, readers;
	uint64_t expires_ns;
	uint64_t blocks;
	unsigned range_count;
	struct scsi_range ranges[];
};

struct scsi_dead_token {
	uint8_t bytes[TOKEN_BYTES];
	uint16_t asc; /* 0: none */
};

struct scsi_tokens {
	struct list all; /* by last use */
	unsigned count;
	struct reactor_timer timer; /* armed for the first that expires */
	unsigned dead_next;
	struct scsi_dead_token dead[TOKENS_DEAD_KEPT];
};

int scsi_tokens_init(struct scsi_target *t);
void scsi_tokens_free(struct scsi_target *t);
/* Takes the image over when it succeeds. 0, -ENOBUFS (too many), -ENOMEM, -EIO (no random numbers). */
int scsi_token_new(struct scsi_nexus *n, struct lun *source, struct lun_image *image, uint32_t timeout_s,
	const struct scsi_range *ranges, unsigned count, struct scsi_token **out);
/* NULL: the task has failed, with what is wrong with it. */
struct scsi_token *scsi_token_find(struct scsi_task *task, const uint8_t *bytes);
void scsi_token_read(struct scsi_target *t, struct scsi_token *token); /* it does not go meanwhile */
void scsi_token_end(struct scsi_target *t, struct scsi_token *token, bool destroy);
/* The host may not read the LUN any more. */
void scsi_tokens_revoke(struct scsi_target *t, const char *host, const struct lun *lun);

/* ---- copy.c -------------------------------------------------------------------------------------------- */

enum copy_state {
	COPY_RUNS,
	COPY_DONE,
	COPY_PARTIAL, /* done, and there was less data than asked for */
	COPY_FAILED,
	COPY_ABORTED
};

enum copy_naming {
	COPY_LID4,   /* a list id of four bytes */
	COPY_LID1,   /* of one */
	COPY_UNNAMED /* none: nobody can ask for it */
};

struct scsi_copy_move {
	unsigned source; /* images[source]; zeros: COPY_ZEROS */
	uint64_t from, at, len;
	struct lun *to; /* held */
};
#define COPY_ZEROS UINT_MAX

struct scsi_copy {
	struct list_node link;
	struct scsi_nexus *nexus; /* in whose list; held while it runs */
	enum copy_state state;
	uint8_t action;
	enum copy_naming naming;
	uint32_t list_id;
	/* the result */
	uint8_t status;
	uint8_t sense[SCSI_SENSE_MAX_BYTES];
	unsigned sense_len;
	uint64_t blocks;
	uint32_t segments;
	bool has_token;
	uint8_t token[TOKEN_BYTES];
	/* of one that runs */
	struct lun *lun;        /* that was asked, held */
	struct scsi_task *task; /* waits for it, or NULL */
	uint64_t stop_serial;   /* when cancelled */
	bool cancelled, io_busy, looping, again, residual, deletes_token;
	int err;
	unsigned source_count, taken;
	struct lun *sources[COPY_TARGETS_MAX]; /* held, until taken */
	struct lun_image *images[COPY_TARGETS_MAX];
	struct scsi_token *reads;     /* instead of sources */
	struct scsi_range *represent; /* POPULATE TOKEN: what the token is to be for */
	unsigned represent_count;
	uint32_t timeout_s;
	unsigned move_count, move;
	uint64_t moved; /* bytes of that move */
	struct scsi_copy_move *moves;
	struct array_call call;
	struct lun_io io;
};

/* A new one for the task, in its nexus's list. NULL: the task has failed (too many, the list id is in use, no memory). */
struct scsi_copy *scsi_copy_new(
	struct scsi_task *task, uint32_t list_id, enum copy_naming naming, unsigned moves);
/* Begins. immediate: the task is finished with GOOD. Else in the end. */
void scsi_copy_start(struct scsi_copy *c, bool immediate);
/* Instead of a start: forgets it. */
void scsi_copy_drop(struct scsi_copy *c);
/* NULL: none has that name. */
struct scsi_copy *scsi_copy_find(const struct scsi_nexus *n, uint32_t list_id, enum copy_naming naming);
/* The command or its LUN is to end. True: it has. */
bool scsi_copy_stop(struct scsi_copy *c);
/* Those on the LUN (NULL: all), in the background only. */
void scsi_copy_stop_on(struct scsi_nexus *n, const struct lun *lun);
/* Is there any that writes to the LUN, for whichever nexus? */
bool scsi_copies_write_to(const struct scsi_target *t, const struct lun *lun);
/* Is there any in the background that was stopped before the TMF of that serial began to wait, and has not ended? */
bool scsi_copies_stopping(const struct scsi_nexus *n, uint64_t serial);
void scsi_copies_free(struct scsi_nexus *n);
void scsi_copy_vpd(const struct scsi_task *task, struct scsi_reply *r);

#endif
