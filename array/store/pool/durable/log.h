/* SPDX-License-Identifier: Apache-2.0 */
/* The log: creating, checking, reading and writing it. */
#ifndef UMBRA_POOL_LOG_H
#define UMBRA_POOL_LOG_H

#include "array/store/pool/base/host.h"
#include "array/store/pool/durable/buffer.h"
#include "array/store/pool/durable/format.h"

/* ---- of a pool that nobody has open; blocks --------------------------------------------------------- */

int pool_log_create(struct pool_host *host, const struct pool_super *super);

/* -EBADMSG: shorter than the superblock says, or not this pool's label. */
int pool_log_check(struct pool_host *host, struct pool_file *log, const struct pool_super *super);

/* Reads the frames that LMDB does not have yet. Calls each with the payload (valid during the call only
 * when it returns; kept when `keep` is set: malloc'ed buffers are handed over). Blocks. */
struct pool_replay {
	struct pool_payload *payloads;
	uint8_t **buffers;
	size_t count, cap;
	struct pool_state state; /* after it */
	bool cut_short; /* what comes next was durable and is damaged: acknowledged frames are lost */
	bool meta_old; /* the log is of a later opening than LMDB: that is an old copy, or lost what it had */
	uint64_t newest; /* incarnation that stands in the log or the mark */
};
int pool_log_read(struct pool_host *host, struct pool_file *log, const struct pool_super *super,
	const struct pool_state *state, struct pool_replay *out);
/* The state from which an opening goes on: a new incarnation, above all that stand in the log. So no frame of the past
 * can be taken for one of the future. */
void pool_replay_begin(struct pool_replay *r);
/* Incarnation and sequence of the newest whole frame, whatever LMDB has; zeros: none. Blocks. */
int pool_log_newest(struct pool_host *host, struct pool_file *log, const struct pool_super *super,
	struct pool_frame *out);
void pool_replay_free(struct pool_replay *r);

/* ---- writing ---------------------------------------------------------------------------------------- */

struct pool_log {
	struct pool_host *host;
	const struct pool_super *super;
	struct pool_file *file;
	uint64_t incarnation;
	uint64_t sequence; /* of the last durable frame */
	uint64_t offset;   /* where the next frame goes */
	uint64_t used;     /* bytes from tail to offset, wraps included */
	/* the frame that is being written, later the last one */
	struct pool_frame frame;
	uint8_t *frame_data;
	uint64_t frame_bytes; /* of the log, what it skipped at the end included */
	struct pool_op op;
	struct iovec iov;
	void (*written)(void *arg, int err);
	void *arg;
	/* the mark; no file: goes without */
	struct pool_file *mark;
	bool mark_busy, mark_stopped;
	uint64_t marked; /* the frame that stands there, or will */
	uint8_t mark_bytes[POOL_MARK_BYTES];
	struct pool_op mark_op;
	struct iovec mark_iov;
	void (*mark_idle)(void *arg); /* set by who opens it: mark_busy has ended */
	void *mark_arg;
};

int pool_log_open(struct pool_log *log, struct pool_host *host, const struct pool_super *super);
void pool_log_start(struct pool_log *log, const struct pool_state *state); /* where frames begin */
void pool_log_stop(
	struct pool_log *log); /* before it is closed: begins no mark any more; mark_busy may last */
void pool_log_close(struct pool_log *log);
uint64_t pool_log_payload_max(const struct pool_log *log);
bool pool_log_fits(const struct pool_log *log, uint64_t payload_bytes); /* is there room for it now? */
/* Makes a frame of the buffer, which begins with POOL_FRAME_HEAD_SIZE bytes of room, and writes it. One at a time;
 * the buffer stays until `written`, which finds log->frame. */
void pool_log_write(
	struct pool_log *log, struct pool_buffer *buf, void (*written)(void *arg, int err), void *arg);
/* `written` said that it failed: the same bytes to the same place. It is durable only if all of them are written now. */
void pool_log_again(struct pool_log *log);
void pool_log_release(struct pool_log *log, uint64_t bytes); /* of frames that LMDB has */

#endif
