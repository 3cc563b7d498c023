/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: a file of fixed size, written round and round in frames of 4 KiB multiples. A frame never wraps:
 * one that does not fit at the end goes to the start. There is one frame under way at a time, and a frame is
 * believed only with the pool's id, the current incarnation, the next sequence number and the right CRC; so
 * what follows the last whole frame is, at most, one torn frame, which nobody was told of. The head of a frame of the
 * same incarnation with a higher number proves something else: the one between was durable, too, and is damaged. Of a
 * later incarnation: LMDB is older than the log.
 *
 * The last frame has none after it. So what was durable is noted in the file `mark`, without a sync and after those who
 * waited were told: it outlives a process that is killed; after a power loss it may be older. It is a lower bound, and
 * may be missing.
 */
#include "array/store/pool/durable/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Every record of the payload is in shape. */
static int pool_payload_check(const uint8_t *data, size_t len, uint32_t records)
{
	struct pool_record r;
	size_t at = 0;
	uint32_t n = 0;

	while (at < len) {
		int64_t size = pool_record_decode(data + at, len - at, &r);

		if (size < 0)
			return (int)size;
		at += (size_t)size;
		n++;
	}
	return n == records ? 0 : -EBADMSG;
}

/* Reads what the head `frame` tells of. 1: *buf (malloc'ed) holds it whole; 0: it is not; or a negative errno. */
static int read_whole(struct pool_host *host, struct pool_file *log, const struct pool_super *super,
	const struct pool_frame *frame, uint8_t **buf)
{
	uint64_t bytes = pool_frame_bytes(frame->payload_bytes);
	uint8_t *b;
	int err;

	if (posix_memalign((void **)&b, POOL_LOG_ALIGN, bytes))
		return -ENOMEM;
	err = host->ops->file_pread(log, b, bytes, frame->offset);
	if (!err)
		err = pool_frame_check(b, super->id, frame);
	if (!err) {
		*buf = b;
		return 1;
	}
	free(b);
	return err == -EBADMSG ? 0 : err;
}

/* The frame with `sequence` at `offset`. 1: *buf (malloc'ed) holds it; 0: none; or a negative errno. */
static int read_frame(struct pool_host *host, struct pool_file *log, const struct pool_super *super,
	const struct pool_state *state, uint64_t offset, uint8_t **buf, struct pool_frame *frame)
{
	uint8_t *b;
	int err;

	*buf = NULL;
	if (offset < POOL_LOG_START || offset % POOL_LOG_ALIGN || offset + POOL_LOG_ALIGN > super->log_bytes)
		return 0;
	if (posix_memalign((void **)&b, POOL_LOG_ALIGN, POOL_LOG_ALIGN))
		return -ENOMEM;
	err = host->ops->file_pread(log, b, POOL_LOG_ALIGN, offset);
	if (!err)
		err = pool_frame_head(b, super->id, super->log_bytes - offset, frame);
	free(b);
	if (err == -EBADMSG)
		return 0;
	if (err)
		return err;
	if (frame->incarnation != state->incarnation || frame->sequence != state->applied_sequence + 1 ||
		frame->offset != offset)
		return 0;
	return read_whole(host, log, super, frame, buf);
}

#define SCAN_BYTES (1u << 20)
#define NEAR       (UINT64_C(1) << 32) /* an incarnation that may come some day */

/* A look at all heads of frames that stand in the log, whosever turn it is. */
struct scan {
	struct pool_host *host;
	struct pool_file *log;
	const struct pool_super *super;
	int (*each)(struct scan *s, const struct pool_frame *frame); /* of the head; the rest may be torn */
	void *arg;
};

static int scan_part(struct scan *s, uint8_t *b, size_t len, uint64_t at)
{
	int err = s->host->ops->file_pread(s->log, b, len, at);

	for (size_t n = 0; n < len && !err; n += POOL_LOG_ALIGN) {
		struct pool_frame frame;

		if (!pool_frame_head(b + n, s->super->id, s->super->log_bytes - at - n, &frame) &&
			frame.offset == at + n)
			err = s->each(s, &frame);
	}
	return err;
}

static int scan(struct scan *s)
{
	uint64_t end = s->super->log_bytes / POOL_LOG_ALIGN * POOL_LOG_ALIGN;
	uint8_t *b;
	int err = 0;

	if (posix_memalign((void **)&b, POOL_LOG_ALIGN, SCAN_BYTES))
		return -ENOMEM;
	for (uint64_t at = POOL_LOG_START; at < end && !err; at += SCAN_BYTES)
		err = scan_part(s, b, end - at < SCAN_BYTES ? (size_t)(end - at) : SCAN_BYTES, at);
	free(b);
	return err;
}

/* 1: the frame is whole; 0: it is not. */
static int is_whole(const struct scan *s, const struct pool_frame *frame)
{
	uint8_t *b = NULL;
	int rc = read_whole(s->host, s->log, s->super, frame, &b);

	free(b);
	return rc;
}

/* What a frame, or the mark, says of the log beyond what was found in it. */
static void later(struct pool_replay *r, uint64_t incarnation, uint64_t sequence)
{
	if (incarnation > r->state.incarnation)
		r->meta_old = true;
	else if (incarnation == r->state.incarnation && sequence > r->state.applied_sequence)
		r->cut_short = true;
	if (incarnation > r->newest)
		r->newest = incarnation;
}

/* A head of this opening tells as much as a whole frame: who began the one after the next had the next durable. One of a
 * later opening, which the current one had to write, must be whole. */
static int look_at_head(struct scan *s, const struct pool_frame *frame)
{
	struct pool_replay *r = s->arg;
	int rc = frame->incarnation > r->state.incarnation ? is_whole(s, frame) : 1;

	if (rc > 0)
		later(r, frame->incarnation, frame->sequence - 1);
	else if (rc == 0 && frame->incarnation - r->state.incarnation < NEAR &&
		 frame->incarnation > r->newest)
		r->newest = frame->incarnation; /* damaged; no opening shall ever take it for its own */
	return rc < 0 ? rc : 0;
}

/* The mark, if there is one that can be read. */
static void look_at_mark(struct pool_host *host, const struct pool_super *super, struct pool_replay *r)
{
	uint8_t buf[POOL_MARK_BYTES];
	struct pool_mark mark;
	struct pool_file *f;

	if (host->ops->file_open(host, "mark", POOL_FILE_READONLY, &f))
		return;
	if (!host->ops->file_pread(f, buf, sizeof(buf), 0) && !pool_mark_decode(buf, super->id, &mark))
		later(r, mark.incarnation, mark.sequence);
	host->ops->file_close(f);
}

static int newest_in(struct scan *s, const struct pool_frame *frame)
{
	struct pool_frame *out = s->arg;
	int rc;

	if (frame->incarnation < out->incarnation ||
		(frame->incarnation == out->incarnation && frame->sequence <= out->sequence))
		return 0;
	rc = is_whole(s, frame);
	if (rc > 0)
		*out = *frame;
	return rc < 0 ? rc : 0;
}

int pool_log_newest(
	struct pool_host *host, struct pool_file *log, const struct pool_super *super, struct pool_frame *out)
{
	struct scan s = {host, log, super, newest_in, out};

	memset(out, 0, sizeof(*out));
	return scan(&s);
}

static void keep(struct pool_replay *r, uint8_t *buf, const struct pool_frame *frame)
{
	if (r->count == r->cap) {
		r->cap = r->cap ? 2 * r->cap : 64;
		r->payloads = pool_xrealloc(r->payloads, r->cap * sizeof(r->payloads[0]));
		r->buffers = pool_xrealloc(r->buffers, r->cap * sizeof(r->buffers[0]));
	}
	r->buffers[r->count] = buf;
	r->payloads[r->count++] = (struct pool_payload){buf + POOL_FRAME_HEAD_SIZE, frame->payload_bytes};
	r->state.applied_sequence = frame->sequence;
	r->state.log_offset = frame->offset + pool_frame_bytes(frame->payload_bytes);
}

int pool_log_read(struct pool_host *host, struct pool_file *log, const struct pool_super *super,
	const struct pool_state *state, struct pool_replay *out)
{
	memset(out, 0, sizeof(*out));
	out->state = *state;
	for (;;) {
		struct pool_frame frame;
		uint8_t *buf;
		int rc = read_frame(host, log, super, &out->state, out->state.log_offset, &buf, &frame);

		if (rc == 0 && out->state.log_offset != POOL_LOG_START)
			rc = read_frame(host, log, super, &out->state, POOL_LOG_START, &buf, &frame);
		if (rc < 0)
			return rc;
		if (rc == 0) {
			look_at_mark(host, super, out);
			return scan(&(struct scan){host, log, super, look_at_head, out});
		}
		/* A whole frame of this pool whose records are out of shape was written so: not a torn one.
		 */
		if (pool_payload_check(buf + POOL_FRAME_HEAD_SIZE, frame.payload_bytes, frame.records)) {
			free(buf);
			return -EUCLEAN;
		}
		keep(out, buf, &frame);
	}
}

void pool_replay_begin(struct pool_replay *r)
{
	if (r->state.incarnation < r->newest)
		r->state.incarnation = r->newest;
	r->state.incarnation++;
	r->state.log_offset = POOL_LOG_START;
}

void pool_replay_free(struct pool_replay *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->buffers[i]);
	free(r->buffers);
	free(r->payloads);
	memset(r, 0, sizeof(*r));
}

int pool_log_create(struct pool_host *host, const struct pool_super *super)
{
	const size_t step = 1u << 20;
	struct pool_file *f;
	uint8_t *buf;
	int err = host->ops->file_open(host, "log", POOL_FILE_CREATE, &f);

	if (err)
		return err;
	if (posix_memalign((void **)&buf, POOL_LOG_ALIGN, step)) {
		host->ops->file_close(f);
		return -ENOMEM;
	}
	err = host->ops->file_allocate(f, 0, super->log_bytes); /* no room: known at once */
	/* Really written, so that a frame later costs neither an allocation nor a journal entry. */
	memset(buf, 0, step);
	for (uint64_t at = 0; at < super->log_bytes && !err; at += step) {
		uint64_t left = super->log_bytes - at;

		err = host->ops->file_pwrite(f, buf, left < step ? (size_t)left : step, at);
	}
	pool_log_label_encode(buf, super->id, super->log_bytes);
	if (!err)
		err = host->ops->file_pwrite(f, buf, POOL_LOG_START, 0);
	if (!err)
		err = host->ops->file_sync(f);
	free(buf);
	host->ops->file_close(f);
	return err;
}

int pool_log_check(struct pool_host *host, struct pool_file *log, const struct pool_super *super)
{
	uint64_t size;
	uint8_t *buf;
	int err = host->ops->file_size(log, &size);

	if (err)
		return err;
	if (size < super->log_bytes)
		return -EBADMSG;
	if (posix_memalign((void **)&buf, POOL_LOG_ALIGN, POOL_LOG_START))
		return -ENOMEM;
	err = host->ops->file_pread(log, buf, POOL_LOG_START, 0);
	if (!err)
		err = pool_log_label_check(buf, super->id);
	free(buf);
	return err;
}

/* ---- the mark --------------------------------------------------------------------------------------- */

static void mark_close(struct pool_log *log)
{
	if (log->mark)
		log->host->ops->file_close(log->mark);
	log->mark = NULL;
}

/* Pools of before have none; where it cannot be made it goes without. */
static void mark_open(struct pool_log *log)
{
	static const uint8_t zeros[POOL_MARK_FILE_BYTES];
	const struct pool_host_ops *ops = log->host->ops;
	uint64_t size = 0;
	int err = ops->file_open(log->host, "mark", 0, &log->mark);

	if (err == -ENOENT)
		err = ops->file_open(log->host, "mark", POOL_FILE_CREATE, &log->mark);
	if (err) {
		log->mark = NULL;
		return;
	}
	err = ops->file_size(log->mark, &size);
	if (!err && size < sizeof(zeros))
		err = ops->file_pwrite(log->mark, zeros, sizeof(zeros), 0);
	if (err)
		mark_close(log);
}

static void mark_write(struct pool_log *log);

static void mark_written(struct pool_op *op, int err)
{
	struct pool_log *log = container_of(op, struct pool_log, mark_op);

	log->mark_busy = false;
	if (err) /* it says what it said */
		mark_close(log);
	else if (log->marked < log->sequence)
		mark_write(log);
	if (!log->mark_busy)
		log->mark_idle(log->mark_arg);
}

static void mark_write(struct pool_log *log)
{
	struct pool_mark mark = {.incarnation = log->incarnation, .sequence = log->sequence};

	if (!log->mark || log->mark_busy || log->mark_stopped)
		return;
	log->mark_busy = true;
	log->marked = mark.sequence;
	pool_mark_encode(log->mark_bytes, log->super->id, &mark);
	log->mark_iov = (struct iovec){.iov_base = log->mark_bytes, .iov_len = sizeof(log->mark_bytes)};
	log->mark_op = (struct pool_op){.done = mark_written,
		.kind = POOL_OP_WRITE,
		.file = log->mark,
		.iov = &log->mark_iov,
		.iov_count = 1,
		.len = sizeof(log->mark_bytes)};
	log->host->ops->submit(log->host, &log->mark_op);
}

/* ---- writing --------------------------------------------------------------------------------------- */

int pool_log_open(struct pool_log *log, struct pool_host *host, const struct pool_super *super)
{
	int err = host->ops->file_open(host, "log", POOL_FILE_DSYNC, &log->file);

	log->host = host;
	log->super = super;
	if (!err)
		err = pool_log_check(host, log->file, super);
	if (!err)
		mark_open(log);
	return err;
}

void pool_log_start(struct pool_log *log, const struct pool_state *state)
{
	log->incarnation = state->incarnation;
	log->sequence = state->applied_sequence;
	log->offset = state->log_offset;
}

void pool_log_stop(struct pool_log *log)
{
	log->mark_stopped = true;
}

void pool_log_close(struct pool_log *log)
{
	if (log->file)
		log->host->ops->file_close(log->file);
	log->file = NULL;
	mark_close(log);
}

uint64_t pool_log_payload_max(const struct pool_log *log)
{
	return (log->super->log_bytes - POOL_LOG_START) / 4;
}

/* Does a frame of so many bytes go to the start, because it does not fit at the end? */
static bool wraps(const struct pool_log *log, uint64_t frame_bytes)
{
	return log->offset + frame_bytes > log->super->log_bytes;
}

static uint64_t with_skipped(const struct pool_log *log, uint64_t frame_bytes)
{
	return frame_bytes + (wraps(log, frame_bytes) ? log->super->log_bytes - log->offset : 0);
}

bool pool_log_fits(const struct pool_log *log, uint64_t payload_bytes)
{
	uint64_t size = log->super->log_bytes - POOL_LOG_START;

	return with_skipped(log, pool_frame_bytes(payload_bytes)) <= size - log->used;
}

static void frame_written(struct pool_op *op, int err)
{
	struct pool_log *log = container_of(op, struct pool_log, op);

	if (!err) {
		log->sequence = log->frame.sequence;
		log->offset = log->frame.offset + pool_frame_bytes(log->frame.payload_bytes);
		log->used += log->frame_bytes;
	}
	log->written(log->arg, err);
	if (!err)
		mark_write(log);
}

void pool_log_write(
	struct pool_log *log, struct pool_buffer *buf, void (*written)(void *arg, int err), void *arg)
{
	uint64_t bytes = pool_frame_bytes(buf->len - POOL_FRAME_HEAD_SIZE);
	static const uint8_t zeros[POOL_LOG_ALIGN];

	log->written = written;
	log->arg = arg;
	log->frame = (struct pool_frame){.incarnation = log->incarnation,
		.sequence = log->sequence + 1,
		.offset = wraps(log, bytes) ? POOL_LOG_START : log->offset,
		.payload_bytes = (uint32_t)(buf->len - POOL_FRAME_HEAD_SIZE),
		.records = buf->records};
	log->frame_bytes = with_skipped(log, bytes);
	assert(log->used + log->frame_bytes <= log->super->log_bytes - POOL_LOG_START);
	pool_buffer_bytes(buf, zeros, bytes - buf->len);
	pool_frame_seal(buf->data, log->super->id, &log->frame);
	log->frame_data = buf->data;
	pool_log_again(log);
}

void pool_log_again(struct pool_log *log)
{
	uint64_t bytes = pool_frame_bytes(log->frame.payload_bytes);

	log->iov = (struct iovec){.iov_base = log->frame_data, .iov_len = bytes};
	log->op = (struct pool_op){.done = frame_written,
		.kind = POOL_OP_WRITE,
		.file = log->file,
		.iov = &log->iov,
		.iov_count = 1,
		.offset = log->frame.offset,
		.len = bytes};
	log->host->ops->submit(log->host, &log->op);
}

void pool_log_release(struct pool_log *log, uint64_t bytes)
{
	log->used -= bytes;
}
