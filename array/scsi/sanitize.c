/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SANITIZE (SBC-4 5.30, 4.11): BLOCK ERASE unmaps the whole LUN, OVERWRITE fills it with a pattern, as often as
 * wanted. Afterwards nothing of the data can be read through this LUN. That is all that an array can promise: shadow
 * copies and other LUNs that share the data keep it.
 *
 * Once begun it goes on, whatever becomes of its task, of sessions, resets and umbrad itself. What is to be done is
 * kept in the catalogue, and the first command that reaches the LUN after a restart begins it again. Until its end
 * every command but a few answers NOT READY, 04/1B. It runs at most at the target's rate, for others share the array's
 * disks. One that fails leaves the LUN unusable (31/03) until another one is done or, where its AUSE bit allowed it,
 * EXIT FAILURE MODE.
 */
#include "array/scsi/access.h"
#include "array/scsi/bounds.h"
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/copy.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sanitize.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/scsi/threshold.h"
#include "array/util/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ACTION_OVERWRITE   0x01
#define ACTION_BLOCK_ERASE 0x02
#define ACTION_EXIT        0x1F
#define IMMED              0x80
#define AUSE               0x20
#define ASC_IN_PROGRESS    0x041B
#define ASC_FAILED         0x3103
#define UNMAP_STEP_BYTES   (UINT64_C(1) << 30)
#define WRITE_STEP_BYTES   (UINT32_C(1) << 20)
#define KEPT_BYTES         5u
#define KEPT_AUSE          0x01
#define KEPT_INVERT        0x02
#define KEPT_FAILED        0x04

struct scsi_sanitize {
	struct list_node link;      /* target->sanitizing */
	struct scsi_target *target; /* NULL: not begun since the start, or failed */
	struct lun *lun;            /* held while it works */
	struct scsi_task *task;     /* waits for it, or NULL */
	uint8_t action, passes, pass;
	bool ause, invert, failed, flushing, looping, again;
	bool over; /* good; the LUN is usable as soon as that is durable */
	uint16_t pattern_len;
	uint8_t pattern[SCSI_BLOCK_BYTES];
	uint64_t at;
	int err;
	uint8_t *buf;
	struct iovec iov;
	struct lun_io io;
	struct array_call call;
	struct reactor_timer pause;
};

static void run(struct scsi_sanitize *z);

/* ---- what is kept -------------------------------------------------------------------------------------- */

size_t scsi_sanitize_pack(const struct scsi_sanitize *z, uint8_t *p)
{
	p[0] = z->action;
	p[1] = (uint8_t)((z->ause ? KEPT_AUSE : 0) | (z->invert ? KEPT_INVERT : 0) |
			 (z->failed ? KEPT_FAILED : 0));
	p[2] = z->passes;
	put_be16(p + 3, z->pattern_len);
	memcpy(p + KEPT_BYTES, z->pattern, z->pattern_len);
	return KEPT_BYTES + z->pattern_len;
}

struct scsi_sanitize *scsi_sanitize_unpack(const uint8_t *p, size_t len)
{
	struct scsi_sanitize *z;
	uint16_t pattern_len;

	if (len < KEPT_BYTES || (p[0] != ACTION_OVERWRITE && p[0] != ACTION_BLOCK_ERASE) || p[2] == 0)
		return NULL;
	pattern_len = get_be16(p + 3);
	if (pattern_len > SCSI_BLOCK_BYTES || len != KEPT_BYTES + pattern_len ||
		(p[0] == ACTION_OVERWRITE) != (pattern_len > 0))
		return NULL;
	z = calloc(1, sizeof(*z));
	if (!z)
		return NULL;
	z->action = p[0];
	z->ause = p[1] & KEPT_AUSE;
	z->invert = p[1] & KEPT_INVERT;
	z->failed = p[1] & KEPT_FAILED;
	z->passes = p[2];
	z->pattern_len = pattern_len;
	memcpy(z->pattern, p + KEPT_BYTES, pattern_len);
	return z;
}

void scsi_sanitize_free(struct scsi_sanitize *z)
{
	if (!z)
		return;
	free(z->buf);
	free(z);
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static void leave(struct scsi_sanitize *z)
{
	struct scsi_target *t = z->target;
	struct lun *lun = z->lun;

	list_remove(&z->link);
	lun->sanitizing = false;
	free(z->buf);
	z->buf = NULL;
	z->target = NULL;
	z->lun = NULL;
	scsi_target_check_stop(t);
	lun_release(lun);
}

static void answer(struct scsi_sanitize *z)
{
	struct scsi_task *task = z->task;

	z->task = NULL;
	if (!task)
		return;
	task->flags &= ~TASK_SANITIZE;
	task->waiting = NULL;
	if (z->failed)
		scsi_fail(task, SENSE_MEDIUM_ERROR, ASC_FAILED);
	scsi_task_finish(task);
}

/* The beginning is durable, or it is none. */
static void kept_beginning(struct scsi_sanitize *z, int err)
{
	struct scsi_lun *s = z->lun->scsi;

	if (!err) {
		if (z->task && (z->task->cdb[1] & IMMED))
			answer(z);
		run(z);
		return;
	}
	s->sanitize = NULL;
	if (z->task)
		scsi_set_errno(z->task, err);
	answer(z);
	leave(z);
	scsi_sanitize_free(z);
}

static void kept_end(struct scsi_sanitize *z, int err)
{
	struct scsi_lun *s = z->lun->scsi;

	if (err)
		z->failed = true;
	if (z->over && !z->failed)
		s->sanitize = NULL;
	z->over = false;
	answer(z);
	leave(z);
	if (!z->failed)
		scsi_sanitize_free(z);
}

static void kept(struct array_call *call)
{
	struct scsi_sanitize *z = container_of(call, struct scsi_sanitize, call);
	struct lun *lun = z->lun;

	lun_hold(lun);
	if (z->over || z->failed)
		kept_end(z, call->fault.err);
	else
		kept_beginning(z, call->fault.err);
	lun_release(lun);
}

static void keep(struct scsi_sanitize *z)
{
	z->call = (struct array_call){.done = kept};
	scsi_reserve_keep(z->lun, &z->call);
}

/* Durable before the LUN is usable: else a restart would erase what was written since. */
static void end(struct scsi_sanitize *z)
{
	z->over = z->err == 0;
	z->failed = !z->over;
	keep(z);
}

bool scsi_sanitize_is_kept(const struct scsi_sanitize *z)
{
	return z && !z->over;
}

/* ---- steps --------------------------------------------------------------------------------------------- */

static void fill(struct scsi_sanitize *z)
{
	uint8_t flip = z->invert && z->pass % 2 ? 0xFF : 0;

	for (uint32_t i = 0; i < WRITE_STEP_BYTES; i++)
		z->buf[i] = z->pattern[i % SCSI_BLOCK_BYTES % z->pattern_len] ^ flip;
}

static uint64_t pause_ms(const struct scsi_sanitize *z)
{
	return z->action == ACTION_OVERWRITE ? z->io.io.len * 1000 / z->target->sanitize_bytes_per_s : 0;
}

static void pause_over(struct reactor_timer *timer)
{
	run(container_of(timer, struct scsi_sanitize, pause));
}

static void step_done(struct lun_io *io, int err)
{
	struct scsi_sanitize *z = container_of(io, struct scsi_sanitize, io);
	uint64_t ms;

	z->err = err;
	if (!err && z->flushing) {
		z->flushing = false;
		z->at = 0;
		z->pass++;
	} else if (!err) {
		z->at += io->io.len;
		if (io->io.op == STORE_WRITE)
			scsi_threshold_written(z->target, io->io.len);
		ms = pause_ms(z);
		if (ms > 0) {
			z->pause.fire = pause_over;
			reactor_timer_arm(array_settings(z->target->array)->reactor, &z->pause, ms);
			return;
		}
	}
	run(z);
}

static void submit(struct scsi_sanitize *z, enum store_io_op op, uint64_t len)
{
	struct store_io *io = &z->io.io;

	io->op = op;
	io->flags = 0;
	io->offset = op == STORE_FLUSH ? 0 : z->at;
	io->len = len;
	z->iov = (struct iovec){.iov_base = z->buf, .iov_len = len};
	io->iov = op == STORE_WRITE ? &z->iov : NULL;
	io->iov_count = op == STORE_WRITE;
	z->io.lun = z->lun;
	z->io.done = step_done;
	z->io.recheck = NULL;
	lun_submit(&z->io);
}

/* False: there is no more to do. */
static bool step(struct scsi_sanitize *z)
{
	bool overwrite = z->action == ACTION_OVERWRITE;
	uint64_t left = z->lun->size_bytes - z->at, most = overwrite ? WRITE_STEP_BYTES : UNMAP_STEP_BYTES;

	if (z->pass == z->passes || z->err)
		return false;
	if (left == 0) {
		z->flushing = true;
		submit(z, STORE_FLUSH, 0);
		return true;
	}
	if (overwrite && z->at == 0)
		fill(z);
	submit(z, overwrite ? STORE_WRITE : STORE_UNMAP, left < most ? left : most);
	return true;
}

static void run(struct scsi_sanitize *z)
{
	bool more;

	if (z->looping) {
		z->again = true;
		return;
	}
	z->looping = true;
	do {
		z->again = false;
		more = !z->target->stop_done && step(z);
	} while (more && z->again);
	z->looping = false;
	if (more)
		return;
	if (z->target->stop_done && z->pass < z->passes && !z->err) {
		answer(z); /* umbrad ends; the next one goes on */
		leave(z);
		return;
	}
	end(z);
}

static int begin(struct scsi_sanitize *z, struct scsi_target *t, struct lun *lun)
{
	if (z->action == ACTION_OVERWRITE) {
		z->buf = aligned_alloc(STORE_ALIGN_BYTES, WRITE_STEP_BYTES);
		if (!z->buf)
			return -ENOMEM;
	}
	z->target = t;
	z->lun = lun;
	z->at = 0;
	z->pass = 0;
	z->err = 0;
	lun_hold(lun);
	lun->sanitizing = true;
	list_push_back(&t->sanitizing, &z->link);
	return 0;
}

/* Those that pause end now, the others after their step. */
void scsi_sanitize_stop(struct scsi_target *t)
{
	struct reactor *r = array_settings(t->array)->reactor;
	struct list_node *node = t->sanitizing.head.next;

	while (node != &t->sanitizing.head) {
		struct scsi_sanitize *z = container_of(node, struct scsi_sanitize, link);

		node = node->next;
		if (z->pause.heap_index == 0)
			continue;
		reactor_timer_disarm(r, &z->pause);
		run(z);
	}
}

/* ---- what the LUN answers meanwhile -------------------------------------------------------------------- */

void scsi_sanitize_sense(const struct scsi_sanitize *z, struct scsi_sense *out)
{
	uint64_t size = z->lun ? z->lun->size_bytes : 1, part = 0;

	if (z->failed && !z->target) { /* and that is kept */
		*out = (struct scsi_sense){.key = SENSE_MEDIUM_ERROR, .asc = ASC_FAILED};
		return;
	}
	if (z->pass < z->passes && size >> 16)
		part = (z->at / (size >> 16) + (uint64_t)z->pass * 65536) / z->passes;
	*out = (struct scsi_sense){.key = SENSE_NOT_READY,
		.asc = ASC_IN_PROGRESS,
		.has_progress = true,
		.progress = (uint16_t)(part > 65535 ? 65535 : part)};
}

bool scsi_sanitize_allows(struct scsi_task *task)
{
	struct scsi_lun *s = scsi_lun_of(task);
	struct scsi_sanitize *z = s ? s->sanitize : NULL;
	struct scsi_sense sense;

	if (!z || (task->flags & TASK_INBAND))
		return true;
	if (!z->failed && !z->target && !task->nexus->target->stop_done &&
		scsi_access_is_owner(task->nexus->target) && !task->lun_held->resyncing &&
		begin(z, task->nexus->target, task->lun_held) == 0) {
		lun_hold(z->lun);
		struct lun *lun = z->lun;

		run(z); /* may be over already */
		lun_release(lun);
		z = s->sanitize;
	}
	if (!z || (task->command->flags & CMD_SANITIZING))
		return true;
	/* Another SANITIZE may take its place when nothing of it is under way any more. */
	if (z->failed && !z->target && task->cdb[0] == 0x48)
		return true;
	scsi_sanitize_sense(z, &sense);
	return scsi_fail_sense(task, &sense);
}

/* The task ends; what it began does not. */
void scsi_sanitize_detach(struct scsi_task *task)
{
	struct scsi_sanitize *z = task->waiting;

	z->task = NULL;
	task->waiting = NULL;
	task->flags &= ~TASK_SANITIZE;
	scsi_task_finish(task);
}

/* ---- the command --------------------------------------------------------------------------------------- */

bool scsi_sanitize_parse(struct scsi_task *task)
{
	uint32_t len = get_be16(task->cdb + 7);

	task->attribute = SCSI_ORDERED; /* what came before is over when it begins */
	if (task->command->service_action == ACTION_OVERWRITE)
		return (len > 4 && len <= 4 + SCSI_BLOCK_BYTES) || scsi_fail_cdb(task, 7);
	return len == 0 || scsi_fail_cdb(task, 7);
}

/* The request, checked; NULL: the task has failed. */
static struct scsi_sanitize *read_request(struct scsi_task *task)
{
	const uint8_t *p = task->data;
	struct scsi_sanitize *z = calloc(1, sizeof(*z));

	if (!z) {
		task->status = SCSI_STATUS_BUSY;
		return NULL;
	}
	z->action = task->command->service_action;
	z->ause = task->cdb[1] & AUSE;
	z->passes = 1;
	if (z->action == ACTION_BLOCK_ERASE)
		return z;
	z->invert = p[0] & 0x80;
	z->passes = p[0] & 0x1F;
	z->pattern_len = get_be16(p + 2);
	if ((p[0] & 0x60) || z->passes == 0)
		scsi_fail_parameter(task, 0);
	else if (z->pattern_len == 0 || z->pattern_len > task->data_len - 4)
		scsi_fail_parameter(task, 2);
	else {
		memcpy(z->pattern, p + 4, z->pattern_len);
		return z;
	}
	free(z);
	return NULL;
}

void scsi_sanitize(struct scsi_task *task)
{
	struct scsi_target *t = task->nexus->target;
	struct scsi_lun *s = scsi_lun_of(task);
	struct scsi_sanitize *z = task->lun_held->resyncing ? NULL : read_request(task);

	if (task->lun_held->resyncing)
		scsi_set_errno(task, -EBUSY);
	/* Copies in the background, and those that another LUN was asked for, are not in the order of this LUN's tasks:
	 * what the store has of them could write behind our back. */
	if (z && (scsi_copies_write_to(t, task->lun_held) || begin(z, t, task->lun_held))) {
		free(z);
		z = NULL;
		task->status = SCSI_STATUS_BUSY;
	}
	if (!z) {
		scsi_task_finish(task);
		return;
	}
	scsi_sanitize_free(s->sanitize); /* one that failed */
	s->sanitize = z;
	z->task = task;
	task->waiting = z;
	task->flags |= TASK_SANITIZE;
	keep(z);
}

/* Only out of a failure, and only where the command that failed allowed it; else there is nothing to leave. */
void scsi_sanitize_exit(struct scsi_task *task)
{
	struct scsi_lun *s = scsi_lun_of(task);

	if (s->sanitize && !s->sanitize->ause) {
		scsi_fail_cdb_bit(task, 1, 4);
	} else if (s->sanitize) {
		scsi_sanitize_free(s->sanitize);
		s->sanitize = NULL;
		scsi_reserve_finish_kept(task);
		return;
	}
	scsi_task_finish(task);
}
