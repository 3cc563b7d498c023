/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EXTENDED COPY(LID1) (SPC-4 6.4): block to block segments between LUNs that the host sees. A LUN is named by
 * an identification descriptor (E4h) with its NAA designator, the one that fits. All segments are checked
 * before the first one is copied; every source is read as it was when the command began.
 */
#include "array/scsi/bounds.h"
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/copy.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/util/bytes.h"
#include "proto/identity.h"

#include <string.h>

#define HEADER_BYTES       16u
#define TARGET_BYTES       32u
#define SEGMENT_BYTES      28u
#define TARGET_IDENTIFIED  0xE4
#define SEGMENT_B2B        0x02
#define LIST_ID_NONE       3 /* LIST ID USAGE: there is none */
#define DESIGNATOR_NAA     3
#define DESIGNATOR_NAA_LEN 8

struct request {
	const uint8_t *targets, *segments;
	unsigned target_count, segment_count;
	struct lun *luns[COPY_TARGETS_MAX]; /* NULL: cannot be reached */
};

static bool aborted(struct scsi_task *task, uint16_t asc)
{
	return scsi_fail(task, SENSE_COPY_ABORTED, asc);
}

/* ---- the lists ------------------------------------------------------------------------------------------ */

static bool check_lengths(struct scsi_task *task, struct request *q)
{
	const uint8_t *p = task->data;
	uint32_t targets, segments;

	if (task->data_len < HEADER_BYTES)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	targets = get_be16(p + 2);
	segments = get_be32(p + 8);
	if (segments > COPY_LIST_MAX_BYTES || targets + segments > COPY_LIST_MAX_BYTES)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	if (targets / TARGET_BYTES > COPY_TARGETS_MAX)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_TARGET_DESCRIPTORS);
	if (segments / SEGMENT_BYTES > COPY_SEGMENTS_MAX)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_SEGMENT_DESCRIPTORS);
	if (get_be32(p + 12) != 0)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_INLINE_DATA);
	if (targets % TARGET_BYTES != 0)
		return scsi_fail_parameter(task, 2);
	if (HEADER_BYTES + targets + segments > task->data_len)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
	q->targets = p + HEADER_BYTES;
	q->target_count = targets / TARGET_BYTES;
	q->segments = q->targets + targets;
	return true;
}

/* Types first: a list with an unknown type of segment has lengths that we cannot know. */
static bool check_types(struct scsi_task *task, struct request *q)
{
	uint32_t left = get_be32(task->data + 8), at = 0;

	for (unsigned i = 0; i < q->target_count; i++)
		if (q->targets[i * TARGET_BYTES] != TARGET_IDENTIFIED)
			return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_TARGET_DESCRIPTOR_TYPE);
	for (; at < left; at += SEGMENT_BYTES) {
		const uint8_t *s = q->segments + at;

		if (s[0] != SEGMENT_B2B)
			return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_SEGMENT_DESCRIPTOR);
		if (left - at < SEGMENT_BYTES || get_be16(s + 2) != SEGMENT_BYTES - 4)
			return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
		q->segment_count++;
	}
	return true;
}

/* ---- targets ------------------------------------------------------------------------------------------- */

static struct lun *find_naa(const struct scsi_nexus *n, uint64_t naa)
{
	uint32_t number = 0;
	struct lun *lun;

	while ((number = map_next(n->array.host, number, &lun)) != 0)
		if (!lun->gone && up_id_naa(lun->id) == naa)
			return lun;
	return NULL;
}

static bool check_target(struct scsi_task *task, struct request *q, unsigned i)
{
	const uint8_t *d = q->targets + i * TARGET_BYTES;
	unsigned at = HEADER_BYTES + i * TARGET_BYTES;

	/* LU ID TYPE (d[1] & 0xC0) is ignored in a descriptor that identifies */
	if (get_be24(d + 29) != 0 && get_be24(d + 29) != SCSI_BLOCK_BYTES)
		return scsi_fail_parameter(task, at + 29);
	if ((d[1] & 0x20) || (d[4] & 0x0F) != 1 || (d[5] & 0x30) || (d[5] & 0x0F) != DESIGNATOR_NAA ||
		d[7] != DESIGNATOR_NAA_LEN)
		return true; /* a null device, or a name that none of ours has: nobody can copy from or to it */
	q->luns[i] = find_naa(task->nexus, get_be64(d + 8));
	if (q->luns[i] && (d[1] & 0x1F) != 0)
		return aborted(task, ASC_COPY_DEVICE_TYPE);
	return true;
}

/* ---- segments ------------------------------------------------------------------------------------------ */

static bool in_range(const struct lun *lun, uint64_t lba, uint32_t blocks)
{
	uint64_t capacity = scsi_lun_blocks(lun);

	return lba <= capacity && blocks <= capacity - lba;
}

static bool check_segment(struct scsi_task *task, const struct request *q, unsigned i)
{
	const uint8_t *s = q->segments + i * SEGMENT_BYTES;
	unsigned from = get_be16(s + 4), to = get_be16(s + 6);
	struct scsi_lun *source, *dest;

	if (s[1] & ~0x03)
		return scsi_fail_parameter(
			task, HEADER_BYTES + q->target_count * TARGET_BYTES + i * SEGMENT_BYTES + 1);
	if (from >= q->target_count || to >= q->target_count || !q->luns[from] || !q->luns[to])
		return aborted(task, ASC_UNREACHABLE_TARGET);
	if (!in_range(q->luns[from], get_be64(s + 12), get_be16(s + 10)) ||
		!in_range(q->luns[to], get_be64(s + 20), get_be16(s + 10)))
		return aborted(task, ASC_NONE);
	source = scsi_lun_get(q->luns[from]);
	dest = scsi_lun_get(q->luns[to]);
	if (!source || !dest || scsi_reserve_excludes(source, task->nexus, CONFLICT_READ) ||
		scsi_reserve_excludes(dest, task->nexus, CONFLICT_WRITE))
		return aborted(task, ASC_THIRD_PARTY_FAILURE);
	return true;
}

static bool check(struct scsi_task *task, struct request *q)
{
	if (!check_lengths(task, q) || !check_types(task, q))
		return false;
	for (unsigned i = 0; i < q->target_count; i++)
		if (!check_target(task, q, i))
			return false;
	for (unsigned i = 0; i < q->segment_count; i++)
		if (!check_segment(task, q, i))
			return false;
	return true;
}

static unsigned source_of(struct scsi_copy *c, struct lun *lun)
{
	for (unsigned i = 0; i < c->source_count; i++)
		if (c->sources[i] == lun)
			return i;
	lun_hold(lun);
	c->sources[c->source_count] = lun;
	return c->source_count++;
}

static void add_move(struct scsi_copy *c, const struct request *q, const uint8_t *s)
{
	struct scsi_copy_move *m = &c->moves[c->move_count++];

	m->source = source_of(c, q->luns[get_be16(s + 4)]);
	m->to = q->luns[get_be16(s + 6)];
	lun_hold(m->to);
	m->len = (uint64_t)get_be16(s + 10) * SCSI_BLOCK_BYTES;
	m->from = get_be64(s + 12) * SCSI_BLOCK_BYTES;
	m->at = get_be64(s + 20) * SCSI_BLOCK_BYTES;
}

/* The list id's usage: *unnamed when nobody will ask for the result. */
static bool check_usage(struct scsi_task *task, bool *unnamed)
{
	unsigned usage = task->data[1] >> 3 & 3;

	*unnamed = usage == LIST_ID_NONE;
	if (usage == 1 || (usage == LIST_ID_NONE && task->data[0] != 0))
		return scsi_fail_parameter(task, 1);
	return true;
}

void scsi_extended_copy(struct scsi_task *task)
{
	struct request q = {0};
	struct scsi_copy *c = NULL;
	bool unnamed = false;

	if (task->data_len > 0 && check(task, &q) && check_usage(task, &unnamed))
		c = scsi_copy_new(task, task->data[0], unnamed ? COPY_UNNAMED : COPY_LID1, q.segment_count);
	if (!c) {
		scsi_task_finish(task);
		return;
	}
	for (unsigned i = 0; i < q.segment_count; i++)
		add_move(c, &q, q.segments + i * SEGMENT_BYTES);
	scsi_copy_start(c, false);
}
