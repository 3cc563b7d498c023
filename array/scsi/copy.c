/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine of third-party copies: images of the sources first, then step by step clones into the
 * destinations. Before each step it is checked again that it was not aborted, that its LUNs are still
 * mapped, and that no reservation or write protection forbids it. An I/O that ends inside its submit does not recurse.
 */
#include "array/scsi/bounds.h"
#include "array/scsi/command.h"
#include "array/scsi/copy.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/scsi/threshold.h"
#include "array/scsi/tmf.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void copy_run(struct scsi_copy *c);

struct scsi_copy *scsi_copy_find(const struct scsi_nexus *n, uint32_t list_id, enum copy_naming naming)
{
	list_for_each (node, &n->copies) {
		struct scsi_copy *c = container_of(node, struct scsi_copy, link);

		if (naming != COPY_UNNAMED && c->list_id == list_id && c->naming == naming)
			return c;
	}
	return NULL;
}

static void copy_free(struct scsi_copy *c)
{
	list_remove(&c->link);
	c->nexus->copy_count--;
	free(c->moves);
	free(c->represent);
	free(c);
}

/* The oldest that is over makes room. False: all run. */
static bool make_room(struct scsi_nexus *n)
{
	if (n->copy_count < COPY_KEPT_MAX)
		return true;
	list_for_each (node, &n->copies) {
		struct scsi_copy *c = container_of(node, struct scsi_copy, link);

		if (c->state != COPY_RUNS) {
			copy_free(c);
			return true;
		}
	}
	return false;
}

static unsigned running_of_host(const struct scsi_target *t, const struct host *host)
{
	unsigned count = 0;

	list_for_each (node, &t->nexuses) {
		const struct scsi_nexus *n = container_of(node, struct scsi_nexus, link);

		if (n->array.host != host)
			continue;
		list_for_each (at, &n->copies)
			count += container_of(at, struct scsi_copy, link)->state == COPY_RUNS;
	}
	return count;
}

static bool may_run(const struct scsi_nexus *n)
{
	unsigned all = n->target->copies_running;

	return all < COPY_RUNNING_MAX / 2 ||
	       (all < COPY_RUNNING_MAX && running_of_host(n->target, n->array.host) < COPY_RUNNING_MAX / 2);
}

struct scsi_copy *scsi_copy_new(
	struct scsi_task *task, uint32_t list_id, enum copy_naming naming, unsigned moves)
{
	struct scsi_nexus *n = task->nexus;
	struct scsi_copy *c = scsi_copy_find(n, list_id, naming);

	if (c && c->state == COPY_RUNS) {
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_OPERATION_UNDER_WAY);
		return NULL;
	}
	if (c)
		copy_free(c);
	c = may_run(n) && make_room(n) ? calloc(1, sizeof(*c)) : NULL;
	if (c && moves > 0)
		c->moves = calloc(moves, sizeof(*c->moves));
	if (!c || (moves > 0 && !c->moves)) {
		free(c);
		task->status = SCSI_STATUS_BUSY;
		return NULL;
	}
	c->nexus = n;
	c->task = task;
	c->action = task->cdb[1] & 0x1F;
	c->list_id = list_id;
	c->naming = naming;
	c->lun = task->lun_held;
	lun_hold(c->lun);
	scsi_nexus_get(n);
	list_push_back(&n->copies, &c->link);
	n->copy_count++;
	n->target->copies_running++;
	return c;
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static void work_free(struct scsi_copy *c)
{
	struct scsi_target *t = c->nexus->target;

	for (unsigned i = 0; i < c->source_count; i++) {
		if (c->sources[i])
			lun_release(c->sources[i]);
		if (c->images[i])
			lun_image_release(c->images[i]);
	}
	for (unsigned i = 0; i < c->move_count; i++)
		lun_release(c->moves[i].to);
	if (c->reads)
		scsi_token_end(t, c->reads, c->deletes_token && c->state == COPY_DONE);
	lun_release(c->lun);
	free(c->moves);
	free(c->represent);
	c->moves = NULL;
	c->represent = NULL;
	c->reads = NULL;
	c->source_count = c->move_count = 0;
	t->copies_running--;
}

void scsi_copy_drop(struct scsi_copy *c)
{
	struct scsi_nexus *n = c->nexus;

	work_free(c);
	copy_free(c);
	scsi_nexus_put(n);
}

static void copy_fail(struct scsi_copy *c, enum scsi_sense_key key, uint16_t asc)
{
	const struct scsi_lun *s = c->lun->scsi;

	c->status = SCSI_STATUS_CHECK_CONDITION;
	c->sense_len = scsi_sense_build(
		&(struct scsi_sense){.key = key, .asc = asc}, s && s->mode.d_sense, c->sense);
}

static void copy_set_error(struct scsi_copy *c, int err)
{
	struct scsi_sense sense;

	if (err == -EACCES) {
		c->status = SCSI_STATUS_RESERVATION_CONFLICT;
		return;
	}
	if (err == -EPERM) {
		copy_fail(c, SENSE_DATA_PROTECT, ASC_SOFTWARE_WRITE_PROTECTED);
		return;
	}
	if (err == -ENOBUFS && c->action == COPY_POPULATE) {
		copy_fail(c, SENSE_ILLEGAL_REQUEST, ASC_TOKEN_RESOURCES);
		return;
	}
	c->status = scsi_errno_sense(err, true, &sense);
	if (c->status == SCSI_STATUS_CHECK_CONDITION)
		copy_fail(c, sense.key, sense.asc);
}

static void task_end(struct scsi_copy *c)
{
	struct scsi_task *task = c->task;

	c->task = NULL;
	task->flags &= ~TASK_COPY;
	task->waiting = NULL;
	task->blocks = 0; /* counted already */
	task->status = c->status;
	task->sense_len = c->sense_len;
	memcpy(task->sense, c->sense, sizeof(task->sense));
	scsi_task_finish(task);
}

static void copy_end(struct scsi_copy *c, int err)
{
	struct scsi_nexus *n = c->nexus;
	struct scsi_target *t = n->target;
	bool background = !c->task;

	if (err == -ECANCELED)
		c->state = COPY_ABORTED;
	else
		c->state = err ? COPY_FAILED : c->residual ? COPY_PARTIAL : COPY_DONE;
	if (err)
		copy_set_error(c, err);
	work_free(c);
	if (c->action != COPY_POPULATE)
		scsi_threshold_written(t, c->blocks * SCSI_BLOCK_BYTES);
	if (!background)
		task_end(c);
	if (c->naming == COPY_UNNAMED)
		copy_free(c);
	if (background)
		scsi_tmf_check(t);
	scsi_nexus_put(n);
}

/* ---- steps --------------------------------------------------------------------------------------------- */

static int may_go_on(const struct scsi_copy *c)
{
	if (c->cancelled || c->nexus->lost || (c->task && (c->task->flags & TASK_ABORTED)))
		return -ECANCELED;
	return 0;
}

/* -EACCES: reserved; -EPERM: write-protected. */
static int may_write(const struct scsi_copy *c, struct lun *lun)
{
	struct scsi_lun *s;

	if (lun->gone || map_number(c->nexus->array.host, lun) == 0)
		return -ENODEV;
	s = scsi_lun_get(lun);
	if (!s)
		return -ENOMEM;
	if (s->sanitize)
		return -EBUSY;
	if (scsi_reserve_excludes(s, c->nexus, CONFLICT_WRITE))
		return -EACCES;
	return scsi_lun_protected(lun) ? -EPERM : 0;
}

static int copy_recheck(struct lun_io *io)
{
	struct scsi_copy *c = container_of(io, struct scsi_copy, io);
	int err = may_go_on(c);

	return err ? err : may_write(c, io->lun);
}

static void step_done(struct lun_io *io, int err)
{
	struct scsi_copy *c = container_of(io, struct scsi_copy, io);

	c->io_busy = false;
	c->err = err;
	if (!err && io->io.op != STORE_FLUSH) {
		c->moved += io->io.len;
		c->blocks += io->io.len / SCSI_BLOCK_BYTES;
	}
	if (!err && io->io.op == STORE_FLUSH) {
		c->move++;
		c->moved = 0;
	}
	copy_run(c);
}

static void submit(struct scsi_copy *c, struct lun *lun)
{
	c->io.lun = lun;
	c->io.done = step_done;
	c->io.recheck = copy_recheck;
	c->io_busy = true;
	lun_submit(&c->io);
}

/* Ends with a chunk of the destination's, for parts of chunks cannot be shared. */
static uint64_t piece(const struct scsi_copy *c, const struct scsi_copy_move *m)
{
	uint64_t at = m->at + c->moved, from = m->from + c->moved, left = m->len - c->moved;
	bool alike = m->source == COPY_ZEROS || (at ^ from) % COPY_CHUNK_BYTES == 0;
	uint64_t most = (alike ? COPY_SHARE_BYTES : COPY_STEP_BYTES) - at % COPY_CHUNK_BYTES;

	return left < most ? left : most;
}

static void next_piece(struct scsi_copy *c, const struct scsi_copy_move *m)
{
	struct store_io *io = &c->io.io;

	io->flags = 0;
	io->iov = NULL;
	io->iov_count = 0;
	io->offset = m->at + c->moved;
	io->len = piece(c, m);
	if (m->source == COPY_ZEROS) {
		io->op = STORE_UNMAP;
		io->source = NULL;
	} else {
		io->op = STORE_CLONE;
		io->source = c->images[m->source]->disk;
		io->source_offset = m->from + c->moved;
	}
	submit(c, m->to);
}

/* Without a write cache what was copied is durable before the command ends. */
static void flush_move(struct scsi_copy *c, const struct scsi_copy_move *m)
{
	struct store_io *io = &c->io.io;

	io->op = STORE_FLUSH;
	io->flags = 0;
	io->offset = io->len = 0;
	submit(c, m->to);
}

static void image_taken(struct array_call *call)
{
	struct scsi_copy *c = container_of(call, struct scsi_copy, call);

	c->io_busy = false;
	c->err = call->fault.err;
	c->images[c->taken] = call->image;
	lun_release(c->sources[c->taken]);
	c->sources[c->taken++] = NULL;
	copy_run(c);
}

/* The token for POPULATE TOKEN, out of the one image. */
static int make_token(struct scsi_copy *c)
{
	struct scsi_token *token;
	int err = scsi_token_new(
		c->nexus, c->lun, c->images[0], c->timeout_s, c->represent, c->represent_count, &token);

	if (err)
		return err;
	c->images[0] = NULL;
	memcpy(c->token, token->bytes, TOKEN_BYTES);
	c->has_token = true;
	c->blocks = token->blocks;
	return 0;
}

/* Begins the next asynchronous part; false: there is none (any more), c->err says how it went. */
static bool copy_step(struct scsi_copy *c)
{
	if (c->taken < c->source_count) {
		c->io_busy = true;
		c->call = (struct array_call){.done = image_taken};
		lun_image_take(c->sources[c->taken], &c->call);
		return true;
	}
	while (c->move < c->move_count) {
		const struct scsi_copy_move *m = &c->moves[c->move];

		c->err = may_write(c, m->to);
		if (c->err)
			return false;
		if (c->moved < m->len) {
			next_piece(c, m);
			return true;
		}
		c->segments = c->move + 1;
		if (!scsi_lun_get(m->to)->mode.wce) {
			flush_move(c, m);
			return true;
		}
		c->move++;
		c->moved = 0;
	}
	if (c->represent)
		c->err = make_token(c);
	return false;
}

static void copy_run(struct scsi_copy *c)
{
	bool begun = false;

	if (c->looping) {
		c->again = true;
		return;
	}
	c->looping = true;
	do {
		c->again = false;
		if (!c->err)
			c->err = may_go_on(c);
		begun = !c->err && copy_step(c);
	} while (begun && c->again);
	c->looping = false;
	if (!begun)
		copy_end(c, c->err);
}

void scsi_copy_start(struct scsi_copy *c, bool immediate)
{
	struct scsi_task *task = c->task;

	if (!immediate) {
		task->flags |= TASK_COPY;
		task->waiting = c;
		copy_run(c);
		return;
	}
	c->task = NULL;
	task->blocks = 0;
	scsi_task_finish(task);
	copy_run(c);
}

/* ---- to be stopped ------------------------------------------------------------------------------------- */

bool scsi_copy_stop(struct scsi_copy *c)
{
	if (!c->cancelled)
		c->stop_serial = c->nexus->target->tmf_serial;
	c->cancelled = true;
	if (!c->io_busy || c->taken < c->source_count || !lun_io_withdraw(&c->io))
		return false;
	c->io_busy = false;
	copy_end(c, -ECANCELED);
	return true;
}

static bool works_on(const struct scsi_copy *c, const struct lun *lun)
{
	bool does = !lun || c->lun == lun;

	for (unsigned i = 0; i < c->move_count && !does; i++)
		does = c->moves[i].to == lun;
	return does;
}

bool scsi_copies_write_to(const struct scsi_target *t, const struct lun *lun)
{
	list_for_each (node, &t->nexuses) {
		const struct scsi_nexus *n = container_of(node, struct scsi_nexus, link);

		list_for_each (at, &n->copies) {
			const struct scsi_copy *c = container_of(at, struct scsi_copy, link);

			for (unsigned i = 0; c->state == COPY_RUNS && i < c->move_count; i++)
				if (c->moves[i].to == lun)
					return true;
		}
	}
	return false;
}

void scsi_copy_stop_on(struct scsi_nexus *n, const struct lun *lun)
{
	struct scsi_copy *found;

	scsi_nexus_get(n);
	do {
		found = NULL;
		list_for_each (node, &n->copies) {
			struct scsi_copy *c = container_of(node, struct scsi_copy, link);

			if (c->state == COPY_RUNS && !c->task && !c->cancelled && works_on(c, lun))
				found = c;
		}
		if (found)
			scsi_copy_stop(found);
	} while (found);
	scsi_nexus_put(n);
}

bool scsi_copies_stopping(const struct scsi_nexus *n, uint64_t serial)
{
	list_for_each (node, &n->copies) {
		const struct scsi_copy *c = container_of(node, struct scsi_copy, link);

		if (c->state == COPY_RUNS && c->cancelled && !c->task && c->stop_serial < serial)
			return true;
	}
	return false;
}

void scsi_copies_free(struct scsi_nexus *n)
{
	struct list_node *node = n->copies.head.next;

	while (node != &n->copies.head) {
		struct scsi_copy *c = container_of(node, struct scsi_copy, link);

		node = node->next;
		assert(c->state != COPY_RUNS);
		copy_free(c);
	}
}
