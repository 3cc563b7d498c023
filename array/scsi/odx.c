/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offloaded data transfer, as Windows calls it (SBC-3 5.14, 5.49): POPULATE TOKEN makes a token for ranges of
 * a LUN as they are at that instant; WRITE USING TOKEN writes what a token stands for, or zeros. The token is
 * fetched by RECEIVE ROD TOKEN INFORMATION (copy_status.c).
 */
#include "array/scsi/bounds.h"
#include "array/scsi/commands.h"
#include "array/scsi/copy.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/util/bytes.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define RANGE_BYTES     16u
#define POPULATE_HEADER 16u
#define WRITE_HEADER    536u
#define POPULATE_IMMED  0x01
#define POPULATE_RTV    0x02
#define WRITE_IMMED     0x01
#define WRITE_DEL_TKN   0x02
#define AT_TOKEN        16u

/* ---- ranges -------------------------------------------------------------------------------------------- */

struct range_list {
	unsigned count; /* without empty ones */
	uint64_t blocks;
	struct scsi_range ranges[COPY_RANGES_MAX];
};

static bool overlaps(const struct scsi_range *a, const struct scsi_range *b)
{
	return a->lba < b->lba + b->blocks && b->lba < a->lba + a->blocks;
}

static bool add_range(struct scsi_task *task, struct range_list *l, unsigned at)
{
	struct scsi_range r = {get_be64(task->data + at), get_be32(task->data + at + 8)};
	uint64_t capacity = scsi_lun_blocks(task->lun_held);

	if (r.lba > capacity || r.blocks > capacity - r.lba)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_LBA_RANGE);
	if (r.blocks == 0)
		return true;
	for (unsigned i = 0; i < l->count; i++)
		if (overlaps(&l->ranges[i], &r))
			return scsi_fail_parameter(task, at);
	l->blocks += r.blocks;
	if (l->blocks > TOKEN_BLOCKS_MAX)
		return scsi_fail_parameter(task, at + 8);
	l->ranges[l->count++] = r;
	return true;
}

/* The list behind a header of so many bytes, whose last two are its length. */
static bool read_list(struct scsi_task *task, unsigned header, struct range_list *l)
{
	uint32_t data, bytes;

	if (task->data_len < header)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	data = get_be16(task->data);
	bytes = get_be16(task->data + header - 2) / RANGE_BYTES * RANGE_BYTES;
	if (bytes == 0)
		return scsi_fail_parameter(task, header - 2);
	if (header + bytes > task->data_len)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	if (data + 2 < header + bytes)
		return scsi_fail_parameter(task, 0);
	if (bytes / RANGE_BYTES > COPY_RANGES_MAX)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_SEGMENT_DESCRIPTORS);
	for (unsigned at = header; at < header + bytes; at += RANGE_BYTES)
		if (!add_range(task, l, at))
			return false;
	return l->blocks > 0 || scsi_fail_parameter(task, header + 8);
}

/* ---- POPULATE TOKEN ------------------------------------------------------------------------------------ */

static bool check_populate(struct scsi_task *task, struct range_list *l)
{
	const uint8_t *p = task->data;
	uint32_t type;

	if (!read_list(task, POPULATE_HEADER, l))
		return false;
	type = get_be32(p + 8);
	if (get_be32(p + 4) > TOKEN_TIMEOUT_MAX_S)
		return scsi_fail_parameter(task, 4);
	if ((p[2] & POPULATE_RTV) && type != ROD_TYPE_POINT_IN_TIME && type != ROD_TYPE_ANY_INSTANT)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_TOKEN_TYPE);
	return true;
}

void scsi_populate_token(struct scsi_task *task)
{
	struct range_list l = {0};
	struct scsi_copy *c = NULL;
	uint32_t timeout_s;

	if (check_populate(task, &l))
		c = scsi_copy_new(task, get_be32(task->cdb + 6), COPY_LID4, 0);
	if (!c) {
		scsi_task_finish(task);
		return;
	}
	c->represent = malloc(l.count * sizeof(l.ranges[0]));
	if (!c->represent) {
		scsi_copy_drop(c);
		task->status = SCSI_STATUS_BUSY;
		scsi_task_finish(task);
		return;
	}
	memcpy(c->represent, l.ranges, l.count * sizeof(l.ranges[0]));
	c->represent_count = l.count;
	timeout_s = get_be32(task->data + 4);
	c->timeout_s = timeout_s ? timeout_s : TOKEN_TIMEOUT_S;
	c->sources[c->source_count++] = task->lun_held;
	lun_hold(task->lun_held);
	scsi_copy_start(c, task->data[2] & POPULATE_IMMED);
}

/* ---- WRITE USING TOKEN --------------------------------------------------------------------------------- */

static void add_move(struct scsi_copy *c, unsigned source, uint64_t from, uint64_t to, uint64_t blocks)
{
	struct scsi_copy_move *m = &c->moves[c->move_count++];

	m->source = source;
	m->from = from * SCSI_BLOCK_BYTES;
	m->at = to * SCSI_BLOCK_BYTES;
	m->len = blocks * SCSI_BLOCK_BYTES;
	m->to = c->lun;
	lun_hold(m->to);
}

static void zero_moves(struct scsi_copy *c, const struct range_list *l)
{
	for (unsigned i = 0; i < l->count; i++)
		add_move(c, COPY_ZEROS, 0, l->ranges[i].lba, l->ranges[i].blocks);
}

/* The token's ranges from the offset on against those of the command: as many moves as both have pieces. What
 * the token is short of is not written: the result says so. */
static void token_moves(
	struct scsi_copy *c, const struct scsi_token *k, uint64_t offset, const struct range_list *l)
{
	unsigned from = 0, to = 0;
	uint64_t written = 0; /* of ranges[to] */

	while (from < k->range_count && offset >= k->ranges[from].blocks)
		offset -= k->ranges[from++].blocks;
	while (from < k->range_count && to < l->count) {
		const struct scsi_range *s = &k->ranges[from], *d = &l->ranges[to];
		uint64_t left = d->blocks - written, piece = s->blocks - offset;

		piece = piece < left ? piece : left;
		add_move(c, 0, s->lba + offset, d->lba + written, piece);
		offset += piece;
		written += piece;
		if (offset == s->blocks) {
			offset = 0;
			from++;
		}
		if (written == d->blocks) {
			written = 0;
			to++;
		}
	}
	c->residual = to < l->count;
}

static void start_write(struct scsi_task *task, struct scsi_token *k, const struct range_list *l)
{
	struct scsi_copy *c = scsi_copy_new(task, get_be32(task->cdb + 6), COPY_LID4, 2 * COPY_RANGES_MAX);

	if (!c) {
		scsi_task_finish(task);
		return;
	}
	if (k) {
		scsi_token_read(task->nexus->target, k);
		c->reads = k;
		c->deletes_token = task->data[2] & WRITE_DEL_TKN;
		c->images[0] = k->image;
		lun_image_hold(k->image);
		c->source_count = c->taken = 1;
		token_moves(c, k, get_be64(task->data + 8), l);
	} else {
		zero_moves(c, l);
	}
	scsi_copy_start(c, task->data[2] & WRITE_IMMED);
}

void scsi_write_using_token(struct scsi_task *task)
{
	struct scsi_token *k = NULL;
	struct range_list l = {0};
	bool good = read_list(task, WRITE_HEADER, &l);

	if (good && get_be32(task->data + AT_TOKEN) != ROD_TYPE_ZERO) {
		k = scsi_token_find(task, task->data + AT_TOKEN);
		good = k;
		if (k && get_be64(task->data + 8) >= k->blocks)
			good = scsi_fail_parameter(task, 8);
	}
	if (good)
		start_write(task, k, &l);
	else
		scsi_task_finish(task);
}
