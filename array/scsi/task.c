/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A task's way: parse (LUN, command row, attentions, reservations, lengths), execute in the order that its
 * attribute asks for, finish or abort.
 *
 * Order of tasks (SAM-5 8): SIMPLE tasks start at once and run together. An ORDERED one waits until all that
 * started before it on the LUN are over, and whatever comes later waits for it. HEAD OF QUEUE (and control
 * requests) start at once. ACA is not offered: such a task is treated as SIMPLE.
 *
 * Reads, writes and flushes allocate nothing.
 */
#include "array/scsi/copy.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* ---- parse --------------------------------------------------------------------------------------------- */

static void task_reset(struct scsi_task *task)
{
	task->direction = SCSI_NONE;
	task->data_len = 0;
	task->data_in_hand = 0;
	task->data = NULL;
	task->status = SCSI_STATUS_GOOD;
	task->aborted = false;
	task->sense_len = 0;
	task->link = task->order_link = (struct list_node){NULL, NULL};
	task->command = NULL;
	task->lun_held = NULL;
	task->waiting = NULL;
	task->lba = task->blocks = task->progress = 0;
	task->state = 0;
	task->flags = 0;
	task->abort_serial = 0;
}

/* Finds the LUN and says whether the command may be sent to it. */
static bool check_lun(struct scsi_task *task)
{
	const struct scsi_command *row = task->command;
	unsigned allowed = row ? row->flags : 0;

	task->lun_number = scsi_lun_decode(task->lun);
	if (task->lun_number == 0) {
		task->flags |= task->nexus->control_lu ? TASK_CONTROL_LU : TASK_ABSENT_LU;
		if (task->flags & TASK_ABSENT_LU)
			return (allowed & CMD_ABSENT) || scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_NO_LUN);
		return true;
	}
	if (task->lun_number <= ARRAY_LUN_NUMBER_MAX)
		task->lun_held = map_lun(task->nexus->array.host, task->lun_number);
	if (task->lun_held && task->lun_held->gone)
		task->lun_held = NULL;
	if (!task->lun_held) {
		task->flags |= TASK_ABSENT_LU;
		return (allowed & CMD_UNMAPPED) || scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_NO_LUN);
	}
	if (!scsi_lun_get(task->lun_held)) {
		task->status = SCSI_STATUS_BUSY;
		return false;
	}
	return true;
}

static bool check_attention(struct scsi_task *task)
{
	const struct scsi_command *row = task->command;
	struct scsi_sense sense;

	if ((task->flags & (TASK_INBAND | TASK_ABSENT_LU)) || (row && (row->flags & CMD_QUIET)))
		return true;
	if (!scsi_attention_pending(task->nexus, task->lun_number) ||
		!scsi_attention_take(task->nexus, task->lun_number, &sense))
		return true;
	return scsi_fail_sense(task, &sense);
}

static bool check_command(struct scsi_task *task, bool opcode_known)
{
	const struct scsi_command *row = task->command;

	if (row && (row->flags & CMD_COPY) && !scsi_copies_offered(task->nexus->target))
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE);
	if (!row) {
		if (opcode_known)
			return scsi_fail_cdb_bit(task, 1, 4);
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE);
	}
	if ((task->flags & TASK_CONTROL_LU) && !(row->flags & CMD_CONTROL))
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE);
	if (task->cdb_len < row->cdb_len)
		return scsi_fail_cdb(task, task->cdb_len);
	return scsi_command_check_usage(task);
}

static uint64_t be_field(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes-- > 0)
		v = v << 8 | *p++;
	return v;
}

static void read_lba(struct scsi_task *task)
{
	const uint8_t *cdb = task->cdb;

	switch (task->command->layout) {
	case LBA_NONE:
		break;
	case LBA_6:
		task->lba = get_be24(cdb + 1) & 0x1FFFFF;
		task->blocks = cdb[4] ? cdb[4] : 256;
		break;
	case LBA_10:
		task->lba = get_be32(cdb + 2);
		task->blocks = get_be16(cdb + 7);
		break;
	case LBA_12:
		task->lba = get_be32(cdb + 2);
		task->blocks = get_be32(cdb + 6);
		break;
	case LBA_16:
		task->lba = get_be64(cdb + 2);
		task->blocks = get_be32(cdb + 10);
		break;
	case LBA_16_L8:
		task->lba = get_be64(cdb + 2);
		task->blocks = cdb[13];
		break;
	case LBA_16_L0:
		task->lba = get_be64(cdb + 2);
		break;
	}
}

static bool check_range(struct scsi_task *task)
{
	uint64_t capacity = scsi_lun_blocks(task->lun_held);

	if (task->lba > capacity || task->blocks > capacity - task->lba)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_LBA_RANGE);
	return true;
}

static unsigned length_field(const struct scsi_command *row)
{
	if (row->layout == LBA_16_L8)
		return 13;
	return row->cdb_len == 6 ? 4 : row->cdb_len == 10 ? 7 : row->cdb_len - 6u;
}

static bool check_lengths(struct scsi_task *task)
{
	const struct scsi_command *row = task->command;

	read_lba(task);
	if ((row->flags & CMD_RANGE) && !check_range(task))
		return false;
	if ((row->flags & CMD_WRITES) && scsi_lun_of(task)->mode.swp)
		return scsi_fail(task, SENSE_DATA_PROTECT, ASC_SOFTWARE_WRITE_PROTECTED);
	task->direction = row->direction;
	if (row->flags & CMD_BLOCKS) {
		if (task->blocks > SCSI_TRANSFER_MAX_BYTES / SCSI_BLOCK_BYTES)
			return scsi_fail_cdb(task, row->cdb_len == 6    ? 4
						   : row->cdb_len == 10 ? 7
									: row->cdb_len - 6u);
		task->data_len = (uint32_t)task->blocks * SCSI_BLOCK_BYTES;
	} else if (row->length_bytes) {
		uint64_t len = be_field(task->cdb + row->length_at, row->length_bytes);

		if (row->direction == SCSI_TO_INITIATOR && len > row->reply_max)
			len = row->reply_max;
		else if (row->direction == SCSI_FROM_INITIATOR && len > SCSI_PARAMETERS_MAX)
			return scsi_fail_cdb(task, row->length_at);
		task->data_len = (uint32_t)len;
	} else if (row->direction == SCSI_TO_INITIATOR) {
		task->data_len = row->reply_max;
	}
	return true;
}

static bool parse(struct scsi_task *task)
{
	bool opcode_known;

	task->command = scsi_command_find(task->cdb, &opcode_known);
	if (task->command && (task->command->flags & CMD_INBAND) && task->cdb[1] == UP_SECURITY_PROTOCOL)
		task->flags |= TASK_INBAND;
	if (!check_lun(task) || !check_attention(task) || !check_command(task, opcode_known))
		return false;
	if (!scsi_sanitize_allows(task))
		return false;
	if (scsi_reserve_conflicts(task))
		return scsi_conflict(task);
	if (!check_lengths(task))
		return false;
	if (task->command->parse && !task->command->parse(task))
		return false;
	/* Its length is what the data means (a block to repeat, blocks to compare): never guessed. */
	if ((task->command->flags & CMD_EXACT) && task->offered_len && task->offered_len != task->data_len)
		return scsi_fail_cdb(task, length_field(task->command));
	return true;
}

bool scsi_task_parse(struct scsi_task *task)
{
	assert(task->nexus && !task->nexus->lost && task->cdb_len > 0 && task->cdb_len <= SCSI_CDB_MAX_BYTES);
	task_reset(task);
	if (!parse(task)) {
		task->lun_held = NULL;
		task->direction = SCSI_NONE;
		task->data_len = 0;
		return false;
	}
	if (task->data_len == 0)
		task->direction = SCSI_NONE;
	if (task->lun_held)
		lun_hold(task->lun_held);
	scsi_nexus_get(task->nexus);
	list_push_back(&task->nexus->tasks, &task->link);
	return true;
}

bool scsi_task_is_urgent(const struct scsi_task *task)
{
	return task->direction == SCSI_TO_INITIATOR || task->cdb[0] == 0xB5;
}

/* ---- execute, in order --------------------------------------------------------------------------------- */

static bool must_wait(const struct scsi_lun *s, const struct scsi_task *task)
{
	if ((task->flags & TASK_INBAND) || task->attribute == SCSI_HEAD_OF_QUEUE ||
		(s->sanitize && (task->command->flags & CMD_SANITIZING)))
		return false;
	if (!list_empty(&s->blocked) || s->ordered_running)
		return true;
	return task->attribute == SCSI_ORDERED && s->running > 0;
}

/* Still the same LUN, still allowed? 0 or an errno for scsi_task_set_io_error. */
static int recheck(struct scsi_task *task)
{
	if (!task->lun_held)
		return 0;
	if (task->flags & TASK_ABORTED)
		return -ECANCELED;
	if (task->lun_held->gone || map_lun(task->nexus->array.host, task->lun_number) != task->lun_held) {
		task->flags |= TASK_UNMAPPED;
		return -ENODEV;
	}
	if (scsi_reserve_conflicts(task)) {
		task->flags |= TASK_CONFLICT;
		return -EBUSY;
	}
	if ((task->command->flags & CMD_WRITES) && scsi_lun_of(task)->mode.swp) {
		task->flags |= TASK_PROTECTED;
		return -EROFS;
	}
	return 0;
}

static void start(struct scsi_task *task)
{
	struct scsi_lun *s = scsi_lun_of(task);

	if (s && !(task->flags & TASK_INBAND)) {
		s->running++;
		task->flags |= TASK_COUNTED;
		if (task->attribute == SCSI_ORDERED) {
			s->ordered_running = true;
			task->flags |= TASK_ORDERED;
		}
	}
	int err = recheck(task);
	if (err)
		scsi_task_set_io_error(task, err);
	if (err || !scsi_sanitize_allows(task))
		scsi_task_finish(task);
	else
		task->command->execute(task);
}

static void start_blocked(struct scsi_lun *s)
{
	if (s->pumping)
		return;
	s->pumping = true;
	while (!list_empty(&s->blocked) && !s->ordered_running) {
		struct scsi_task *task = container_of(s->blocked.head.next, struct scsi_task, order_link);

		if (task->attribute == SCSI_ORDERED && s->running > 0)
			break;
		list_remove(&task->order_link);
		start(task);
	}
	s->pumping = false;
}

void scsi_task_execute(struct scsi_task *task)
{
	struct scsi_lun *s = scsi_lun_of(task);

	assert(list_linked(&task->link) && !(task->flags & TASK_EXECUTING));
	task->flags |= TASK_EXECUTING;
	if (task->flags & TASK_ABORTED) {
		scsi_task_finish(task);
		return;
	}
	if (task->data_in_hand > task->data_len)
		task->data_in_hand = task->data_len;
	if ((task->command->flags & CMD_PARAMETERS) && task->data_in_hand < task->data_len) {
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
		scsi_task_finish(task);
		return;
	}
	if (s && must_wait(s, task))
		list_push_back(&s->blocked, &task->order_link);
	else
		start(task);
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static void release(struct scsi_task *task)
{
	list_remove(&task->link);
	list_remove(&task->order_link);
	if (task->flags & TASK_STEPPED)
		scsi_steps_free(task);
}

void scsi_task_finish(struct scsi_task *task)
{
	struct scsi_nexus *n = task->nexus;
	struct lun *lun = task->lun_held;
	struct scsi_lun *s = scsi_lun_of(task);
	bool was_aborted = task->flags & TASK_ABORTED;

	assert(list_linked(&task->link) && !(task->flags & TASK_IO));
	release(task);
	if (task->flags & TASK_COUNTED)
		s->running--;
	if (task->flags & TASK_ORDERED)
		s->ordered_running = false;
	if (was_aborted) {
		task->aborted = !(task->flags & TASK_UNMAPPED) || n->lost;
		if (task->aborted)
			task->status = SCSI_STATUS_TASK_ABORTED;
		else
			scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_NO_LUN);
	}
	if (task->direction != SCSI_FROM_INITIATOR && task->status != SCSI_STATUS_GOOD)
		task->data_len = 0;
	if ((task->command->flags & CMD_WRITES) && task->status == SCSI_STATUS_GOOD)
		scsi_threshold_written(n->target, (uint64_t)task->blocks * SCSI_BLOCK_BYTES);
	task->lun_held = NULL;
	task->done(task);
	/* The task is the transport's again: not to be touched. */
	if (s)
		start_blocked(s);
	if (was_aborted)
		scsi_tmf_check(n->target);
	if (lun)
		lun_release(lun);
	scsi_nexus_put(n);
}

void scsi_task_discard(struct scsi_task *task)
{
	struct scsi_nexus *n = task->nexus;
	struct lun *lun = task->lun_held;

	assert(list_linked(&task->link) && !(task->flags & TASK_EXECUTING));
	release(task);
	task->lun_held = NULL;
	if (lun)
		lun_release(lun);
	scsi_nexus_put(n);
}

/* ---- I/O ----------------------------------------------------------------------------------------------- */

static int io_recheck(struct lun_io *io)
{
	struct scsi_task *task = container_of(io, struct scsi_task, io);

	if (io->io.offset + io->io.len > io->lun->size_bytes)
		return -ERANGE;
	return recheck(task);
}

void scsi_task_set_io_error(struct scsi_task *task, int err)
{
	if (task->flags & TASK_CONFLICT)
		scsi_conflict(task);
	else if (task->flags & TASK_UNMAPPED)
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_NO_LUN);
	else if (task->flags & TASK_PROTECTED)
		scsi_fail(task, SENSE_DATA_PROTECT, ASC_SOFTWARE_WRITE_PROTECTED);
	else
		scsi_set_errno(task, err);
}

static void io_done(struct lun_io *io, int err)
{
	struct scsi_task *task = container_of(io, struct scsi_task, io);

	task->flags &= ~TASK_IO;
	if (err)
		scsi_task_set_io_error(task, err);
	scsi_task_finish(task);
}

void scsi_task_submit(struct scsi_task *task, void (*done)(struct lun_io *io, int err))
{
	task->io.lun = task->lun_held;
	task->io.done = done;
	task->io.recheck = io_recheck;
	task->flags |= TASK_IO;
	lun_submit(&task->io);
}

void scsi_task_io(struct scsi_task *task, enum store_io_op op, uint64_t offset, uint64_t len, unsigned flags)
{
	struct store_io *io = &task->io.io;
	bool data = op == STORE_READ || op == STORE_WRITE || op == STORE_COMPARE_WRITE;

	io->op = op;
	io->flags = flags;
	io->offset = offset;
	io->len = len;
	io->miscompare_offset = 0;
	task->iov[0].iov_base = task->data;
	task->iov[0].iov_len = op == STORE_COMPARE_WRITE ? 2 * len : len;
	io->iov = data ? task->iov : NULL;
	io->iov_count = data ? 1 : 0;
	scsi_task_submit(task, io_done);
}

/* ---- abort --------------------------------------------------------------------------------------------- */

/* The task is to end: true when it has (done was called). */
static bool scsi_task_abort(struct scsi_task *task)
{
	struct scsi_nexus *n = task->nexus;

	task->flags |= TASK_ABORTED;
	if (!(task->flags & TASK_EXECUTING))
		return true; /* has no effect any more; the transport still has it */
	if (list_linked(&task->order_link)) {
		scsi_task_finish(task);
		return true;
	}
	if ((task->flags & TASK_IO) && lun_io_withdraw(&task->io)) {
		task->flags &= ~TASK_IO;
		scsi_task_finish(task);
		return true;
	}
	if (task->flags & TASK_COPY)
		return scsi_copy_stop(task->waiting);
	if (task->flags & TASK_SANITIZE) {
		scsi_sanitize_detach(task);
		return true;
	}
	if (task->flags & TASK_INBAND_WAIT) {
		task->flags &= ~TASK_INBAND_WAIT;
		n->target->inband.cancel(n->target->inband.ctx, task->waiting);
		scsi_task_finish(task);
		return true;
	}
	return false;
}

/* Marks first, then ends one after the other from the start of the list: a task's `done` may change it. */
void scsi_nexus_abort_tasks(struct scsi_nexus *n,
	bool (*match)(const struct scsi_task *task, const void *arg), const void *arg, bool unmapped)
{
	struct scsi_task *found;

	list_for_each (node, &n->tasks) {
		struct scsi_task *task = container_of(node, struct scsi_task, link);

		if (!match(task, arg))
			continue;
		if (!unmapped)
			task->flags &= ~TASK_UNMAPPED;
		else if (!(task->flags & TASK_ABORTED))
			task->flags |= TASK_UNMAPPED;
		if (!(task->flags & TASK_ABORTED))
			task->abort_serial = n->target->tmf_serial;
		task->flags |= TASK_ABORTED;
	}
	scsi_nexus_get(n);
	do {
		found = NULL;
		list_for_each (node, &n->tasks) {
			struct scsi_task *task = container_of(node, struct scsi_task, link);

			if ((task->flags & TASK_ABORTED) && !(task->flags & TASK_ABORT_TRIED)) {
				found = task;
				break;
			}
		}
		if (found) {
			found->flags |= TASK_ABORT_TRIED;
			if (!(found->flags & (TASK_EXECUTING | TASK_UNMAPPED)) && !n->lost && n->ops &&
				n->ops->task_aborted)
				n->ops->task_aborted(n->transport, found);
			else
				scsi_task_abort(found);
		}
	} while (found);
	scsi_nexus_put(n);
}

/* ---- replies ------------------------------------------------------------------------------------------- */

struct scsi_reply scsi_reply_begin(struct scsi_task *task)
{
	return (struct scsi_reply){.buf = task->data, .cap = task->data ? task->data_len : 0};
}

void scsi_reply_put(struct scsi_reply *r, const void *bytes, size_t len)
{
	if (r->len < r->cap)
		memcpy(r->buf + r->len, bytes, len < r->cap - r->len ? len : r->cap - r->len);
	r->len += len;
}

void scsi_reply_zero(struct scsi_reply *r, size_t len)
{
	if (r->len < r->cap)
		memset(r->buf + r->len, 0, len < r->cap - r->len ? len : r->cap - r->len);
	r->len += len;
}

void scsi_reply_u8(struct scsi_reply *r, uint8_t v)
{
	scsi_reply_put(r, &v, 1);
}

void scsi_reply_be16(struct scsi_reply *r, uint16_t v)
{
	uint8_t b[2];

	put_be16(b, v);
	scsi_reply_put(r, b, sizeof(b));
}

void scsi_reply_be32(struct scsi_reply *r, uint32_t v)
{
	uint8_t b[4];

	put_be32(b, v);
	scsi_reply_put(r, b, sizeof(b));
}

void scsi_reply_be64(struct scsi_reply *r, uint64_t v)
{
	uint8_t b[8];

	put_be64(b, v);
	scsi_reply_put(r, b, sizeof(b));
}

void scsi_reply_patch(struct scsi_reply *r, size_t at, uint32_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		if (at + i < r->cap)
			r->buf[at + i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

void scsi_reply_end(struct scsi_task *task, const struct scsi_reply *r)
{
	task->data_len = (uint32_t)(r->len < r->cap ? r->len : r->cap);
	scsi_task_finish(task);
}
