/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What VSS writes into the partition table of a disk and its copies: attributes (hidden, read only, no drive
 * letter, shadow copy), and on import another disk identity. When an administrator goes back to a copy on the
 * array, no VSS takes them off again; so this does: it reads both ends of a disk, changes the table there, and
 * writes what it changed, the backup first.
 *
 * The I/O goes to the disk itself, past the LUN's gate (but for a mere look at a LUN). Whoever begins it sees to
 * it that nobody else writes there. A table that is damaged, or lies elsewhere than at the ends, is left alone.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/lun/internal.h"

/* ---- the table in memory ---------------------------------------------------------------------------- */

/* The bytes of the window that holds them all, or NULL. */
static uint8_t *window(struct lun_marks *m, uint64_t lba, uint32_t blocks, bool *dirty)
{
	uint64_t from = lba * STORE_BLOCK_BYTES, to = from + (uint64_t)blocks * STORE_BLOCK_BYTES;
	uint64_t tail = m->size_bytes - LUN_MARKS_WINDOW_BYTES;

	if (to <= LUN_MARKS_WINDOW_BYTES) {
		m->head_dirty = m->head_dirty || dirty;
		return m->head + from;
	}
	if (from < tail || to > m->size_bytes)
		return NULL;
	m->tail_dirty = m->tail_dirty || dirty;
	return m->tail + (from - tail);
}

static int table_read(void *arg, uint64_t lba, uint32_t blocks, void *buf)
{
	const uint8_t *from = window(arg, lba, blocks, NULL);

	if (!from)
		return -EIO;
	memcpy(buf, from, (size_t)blocks * STORE_BLOCK_BYTES);
	return 0;
}

static int table_write(void *arg, uint64_t lba, uint32_t blocks, const void *buf)
{
	bool dirty = true;
	uint8_t *to = window(arg, lba, blocks, &dirty);

	if (!to)
		return -EIO;
	memcpy(to, buf, (size_t)blocks * STORE_BLOCK_BYTES);
	return 0;
}

static struct gpt_disk table_of(struct lun_marks *m)
{
	return (struct gpt_disk){.arg = m,
		.block_bytes = STORE_BLOCK_BYTES,
		.blocks = m->size_bytes / STORE_BLOCK_BYTES,
		.read = table_read,
		.write = table_write};
}

/* As Windows shows it. */
static void identity_text(const struct gpt_identity *id, char out[48])
{
	const uint8_t *b = id->disk_id;

	if (id->kind == GPT_MBR)
		snprintf(out, 48, "signature %02X%02X%02X%02X", b[3], b[2], b[1], b[0]);
	else
		snprintf(out, 48, "{%02X%02X%02X%02X-%02X%02X-%02X%02X-%02X%02X-%02X%02X%02X%02X%02X%02X}",
			b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12],
			b[13], b[14], b[15]);
}

static bool same_identity(const struct gpt_identity *x, const struct gpt_identity *y)
{
	size_t len = x->kind == GPT_MBR ? 4 : sizeof(x->disk_id);

	return x->kind == y->kind && memcmp(x->disk_id, y->disk_id, len) == 0 &&
	       (x->kind == GPT_MBR ||
		       memcmp(x->partition_ids, y->partition_ids, sizeof(x->partition_ids)) == 0);
}

void lun_marks_identity(struct lun_marks *m, struct gpt_identity *out)
{
	struct gpt_disk disk = table_of(m);

	if (gpt_get_identity(&disk, out) < 0)
		memset(out, 0, sizeof(*out));
}

static void note(struct lun_marks *m, bool flags, bool identity, const struct gpt_identity *is)
{
	char text[48];

	identity_text(is, text);
	snprintf(m->note, sizeof(m->note), "%s; disk identity %s%s",
		flags ? "VSS's marks were taken off its partitions"
		: is->kind == GPT_GPT
			? "its partitions have no marks of VSS"
			: "marks of VSS on an MBR disk are not where the array could find them: clear them on the host (diskpart, `attributes volume clear`)",
		text, identity ? ", as the LUN had before" : "");
}

/* A partition that the LUN did not have before keeps the identity that the copy has for it. */
static void keep_new_partitions(struct gpt_identity *want, const struct gpt_identity *is)
{
	static const uint8_t none[16];

	for (unsigned i = 0; i < GPT_MAX_ENTRIES; i++)
		if (i >= want->count || memcmp(want->partition_ids[i], none, sizeof(none)) == 0)
			memcpy(want->partition_ids[i], is->partition_ids[i], sizeof(none));
	want->count = want->kind == GPT_GPT ? is->count : 0;
}

void lun_marks_edit(struct lun_marks *m, const struct gpt_identity *want)
{
	struct gpt_disk disk = table_of(m);
	struct gpt_identity is, mixed;
	struct gpt_state state;

	m->note[0] = 0;
	lun_marks_identity(m, &is);
	if (gpt_look(&disk, &state) < 0 || (state.kind != GPT_GPT && state.kind != GPT_MBR)) {
		if (state.kind == GPT_DAMAGED)
			snprintf(m->note, sizeof(m->note),
				"its partition table is damaged, and was left as it is");
		return;
	}
	if (want && (want->kind != is.kind || same_identity(want, &is)))
		want = NULL;
	if (want) {
		mixed = *want;
		keep_new_partitions(&mixed, &is);
		want = &mixed;
	}
	if (!want && !state.flagged) {
		note(m, false, false, &is);
		return;
	}
	if (gpt_change(&disk, want, state.flagged ? GPT_SHADOW_BITS : 0) ||
		!(m->head_dirty || m->tail_dirty)) {
		m->head_dirty = m->tail_dirty = false;
		snprintf(m->note, sizeof(m->note),
			"one copy of its partition table is damaged: VSS's marks were left as they are");
		return;
	}
	lun_marks_identity(m, &is);
	note(m, state.flagged, want != NULL, &is);
}

/* ---- I/O -------------------------------------------------------------------------------------------- */

static void step(struct lun_marks *m);

static void step_done(struct store_io *io, int err)
{
	struct lun_marks *m = container_of(io, struct lun_marks, io);

	if (err || m->abandoned || m->left)
		m->steps = 0;
	m->err = err;
	step(m);
}

static void through_done(struct lun_io *io, int err)
{
	step_done(&container_of(io, struct lun_marks, through)->io, err);
}

static void transfer(struct lun_marks *m, enum store_io_op op, bool tail)
{
	memset(&m->io, 0, sizeof(m->io));
	m->iov.iov_base = tail ? m->tail : m->head;
	m->iov.iov_len = LUN_MARKS_WINDOW_BYTES;
	m->io.op = op;
	m->io.flags = op == STORE_WRITE ? STORE_IO_FUA : 0;
	m->io.offset = tail ? m->size_bytes - LUN_MARKS_WINDOW_BYTES : 0;
	m->io.len = LUN_MARKS_WINDOW_BYTES;
	m->io.iov = &m->iov;
	m->io.iov_count = 1;
	m->io.disk = m->disk;
	m->io.done = step_done;
	if (!m->lun) {
		m->disk->store->ops->submit(&m->io);
		return;
	}
	m->through.io = m->io;
	m->through.lun = m->lun;
	m->through.done = through_done;
	m->through.recheck = NULL;
	lun_submit(&m->through);
}

enum {
	READ_HEAD = 1,
	READ_TAIL = 2,
	WRITE_TAIL = 4,
	WRITE_HEAD = 8
};

/* The next of the steps; after the last one it is over. */
static void step(struct lun_marks *m)
{
	unsigned now = m->steps & -m->steps;

	m->steps &= ~now;
	if (now) {
		transfer(m, now <= READ_TAIL ? STORE_READ : STORE_WRITE,
			now == READ_TAIL || now == WRITE_TAIL);
	} else if (m->abandoned) {
		free(m);
	} else {
		struct array *a = m->array;

		a->luns->marks_running--;
		m->busy = false;
		m->done(m, m->err);
		lun_stop_check(a);
	}
}

static void begin(struct lun_marks *m, unsigned steps, void (*done)(struct lun_marks *m, int err))
{
	m->array->luns->marks_running++;
	m->busy = true;
	m->done = done;
	m->steps = steps;
	m->err = 0;
	step(m);
}

struct lun_marks *lun_marks_new(struct array *a, void *arg)
{
	struct lun_marks *m = calloc(1, sizeof(*m));

	if (m) {
		m->array = a;
		m->arg = arg;
	}
	return m;
}

void lun_marks_free(struct lun_marks *m)
{
	if (m && m->busy)
		m->abandoned = true; /* frees itself when the store has answered */
	else
		free(m);
}

static void left_ended(struct lun_marks *m, int err)
{
	struct lun *lun = m->left;

	(void)err;
	list_remove(&m->link);
	lun_box_of(lun)->mending = false;
	lun_gate_open(lun);
	lun_release(lun);
	free(m);
}

bool lun_marks_leave(struct lun_marks *m, struct lun *lun)
{
	if (!m || !m->busy)
		return false;
	assert(!m->lun);
	m->left = lun;
	m->done = left_ended;
	list_push_back(&m->array->luns->marks_left, &m->link);
	lun_box_of(lun)->mending = true;
	lun_hold(lun);
	return true;
}

void lun_marks_close(struct array *a)
{
	struct list_node *n;

	while ((n = list_pop(&a->luns->marks_left)))
		lun_marks_free(container_of(n, struct lun_marks, link));
}

void lun_marks_read(struct lun_marks *m, struct store_disk *disk, void (*done)(struct lun_marks *m, int err))
{
	m->disk = disk;
	m->lun = NULL;
	m->size_bytes = disk->store->ops->disk_size(disk);
	assert(m->size_bytes >= ARRAY_LUN_MIN_BYTES);
	begin(m, READ_HEAD | READ_TAIL, done);
}

void lun_marks_read_lun(struct lun_marks *m, struct lun *lun, void (*done)(struct lun_marks *m, int err))
{
	m->lun = lun;
	m->size_bytes = lun->size_bytes;
	begin(m, READ_HEAD | READ_TAIL, done);
}

void lun_marks_write(struct lun_marks *m, void (*done)(struct lun_marks *m, int err))
{
	begin(m, (m->tail_dirty ? WRITE_TAIL : 0) | (m->head_dirty ? WRITE_HEAD : 0), done);
}
