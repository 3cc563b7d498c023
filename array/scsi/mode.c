/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MODE SENSE and MODE SELECT (SPC-4 6.9-6.12, 7.5; SBC-3 6.5). One set of values a LUN, for all nexuses; not
 * saved, but with two controllers they are kept for the next owner (reserve_keep.c). What may be changed: WCE
 * (caching), D_SENSE and SWP (control). A list is applied whole or not at all.
 */
#include "array/scsi/attention.h"
#include "array/scsi/bounds.h"
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/notice.h"
#include "array/scsi/reply.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/scsi/threshold.h"
#include "array/util/bytes.h"

#include <string.h>

#define PAGE_RECOVERY   0x01
#define PAGE_CACHING    0x08
#define PAGE_CONTROL    0x0A
#define PAGE_EXCEPTIONS 0x1C
#define PAGE_ALL        0x3F
#define SUBPAGE_NONE    0x00
#define SUBPAGE_LBP     0x02 /* of 1Ch: logical block provisioning */
#define SUBPAGE_ALL     0xFF
#define LBP_BYTES       24
#define PAGE_MAX_BYTES  20
#define DEVICE_WP       0x80
#define DEVICE_DPOFUA   0x10
#define WCE             0x04 /* caching, byte 2 */
#define D_SENSE         0x04 /* control, byte 2 */
#define SWP             0x08 /* control, byte 4 */
#define TAS             0x40 /* control, byte 5 */

enum page_control {
	PC_CURRENT,
	PC_CHANGEABLE,
	PC_DEFAULT,
	PC_SAVED
};

/* ---- pages: the values, and which bits of them may be changed ------------------------------------------ */

static void recovery(const struct scsi_mode *m, uint8_t *p)
{
	(void)m;
	p[2] = 0xC0; /* AWRE, ARRE: the array repairs by itself */
}

static void caching(const struct scsi_mode *m, uint8_t *p)
{
	p[2] = m->wce ? WCE : 0;
}

static void control(const struct scsi_mode *m, uint8_t *p)
{
	p[2] = m->d_sense ? D_SENSE : 0;
	p[3] = 0x10; /* unrestricted reordering; QERR 0 */
	p[4] = m->swp ? SWP : 0;
	p[5] = TAS;              /* see tmf.c */
	put_be16(p + 8, 0xFFFF); /* busy timeout: unlimited */
}

static void exceptions(const struct scsi_mode *m, uint8_t *p)
{
	(void)m;
	p[2] = 0x08; /* DEXCPT: no informational exceptions are reported */
}

static const struct mode_page {
	uint8_t code, len; /* len with the two header bytes */
	void (*fill)(const struct scsi_mode *m, uint8_t *p);
	uint8_t changeable[PAGE_MAX_BYTES];
} pages[] = {
	{PAGE_RECOVERY, 12, recovery, {0}},
	{PAGE_CACHING, 20, caching, {0, 0, WCE}},
	{PAGE_CONTROL, 12, control, {0, 0, D_SENSE, 0, SWP}},
	{PAGE_EXCEPTIONS, 12, exceptions, {0}},
};
#define PAGES (sizeof(pages) / sizeof(pages[0]))

static void page_build(const struct mode_page *page, const struct scsi_mode *mode, bool changeable,
	uint8_t out[PAGE_MAX_BYTES])
{
	memset(out, 0, PAGE_MAX_BYTES);
	if (changeable)
		memcpy(out, page->changeable, PAGE_MAX_BYTES);
	else
		page->fill(mode, out);
	out[0] = page->code;
	out[1] = (uint8_t)(page->len - 2);
}

/* ---- MODE SENSE ---------------------------------------------------------------------------------------- */

static void block_descriptor(const struct scsi_task *task, struct scsi_reply *r, bool is_long)
{
	uint64_t blocks = scsi_lun_blocks(task->lun_held);

	if (is_long) {
		scsi_reply_be64(r, blocks);
		scsi_reply_be32(r, 0);
	} else {
		scsi_reply_be32(r, blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)blocks);
	}
	scsi_reply_be32(r, SCSI_BLOCK_BYTES);
}

static bool write_protected(const struct scsi_task *task)
{
	struct store *store = array_settings(task->nexus->target->array)->store;
	struct store_stats stats = {0};

	store->ops->stats(store, &stats);
	return stats.read_only || scsi_lun_protected(task->lun_held);
}

static void header(
	const struct scsi_task *task, struct scsi_reply *r, bool ten, bool is_long, uint8_t descriptor)
{
	uint8_t device = DEVICE_DPOFUA | (write_protected(task) ? DEVICE_WP : 0);

	if (ten) {
		scsi_reply_be16(r, 0);
		scsi_reply_u8(r, 0);
		scsi_reply_u8(r, device);
		scsi_reply_u8(r, is_long ? 0x01 : 0);
		scsi_reply_u8(r, 0);
		scsi_reply_be16(r, descriptor);
	} else {
		scsi_reply_u8(r, 0);
		scsi_reply_u8(r, 0);
		scsi_reply_u8(r, device);
		scsi_reply_u8(r, descriptor);
	}
}

/* SBC-3 6.5.7: one soft threshold, on what is available; it cannot be changed from here. */
static void put_provisioning(const struct scsi_task *task, struct scsi_reply *r, bool changeable)
{
	uint64_t sets =
		scsi_threshold_bytes(task->nexus->target) / SCSI_BLOCK_BYTES >> SCSI_THRESHOLD_EXPONENT;
	uint8_t page[LBP_BYTES] = {0x40 | PAGE_EXCEPTIONS, SUBPAGE_LBP, 0, LBP_BYTES - 4};

	if (!changeable) {
		page[16] = 0x81; /* enabled, soft, armed decreasing */
		page[17] = 0x01; /* available LBA mapping resource */
		put_be32(page + 20, sets > UINT32_MAX ? UINT32_MAX : (uint32_t)sets);
	}
	scsi_reply_put(r, page, sizeof(page));
}

static unsigned put_pages(const struct scsi_task *task, struct scsi_reply *r)
{
	uint8_t wanted = task->cdb[2] & 0x3F, subpage = task->cdb[3], page[PAGE_MAX_BYTES];
	enum page_control pc = task->cdb[2] >> 6;
	const struct scsi_mode fresh = scsi_mode_default();
	const struct scsi_mode *mode = pc == PC_DEFAULT ? &fresh : &scsi_lun_of(task)->mode;
	unsigned count = 0;

	for (size_t i = 0; i < PAGES; i++) {
		if ((wanted != PAGE_ALL && wanted != pages[i].code) || subpage == SUBPAGE_LBP)
			continue;
		page_build(&pages[i], mode, pc == PC_CHANGEABLE, page);
		scsi_reply_put(r, page, pages[i].len);
		count++;
	}
	if (subpage != SUBPAGE_NONE && (wanted == PAGE_ALL || wanted == PAGE_EXCEPTIONS)) {
		put_provisioning(task, r, pc == PC_CHANGEABLE);
		count++;
	}
	return count;
}

void scsi_mode_sense(struct scsi_task *task)
{
	bool ten = task->command->cdb_len == 10, is_long = ten && (task->cdb[1] & 0x10);
	uint8_t subpage = task->cdb[3];
	uint8_t descriptor = task->cdb[1] & 0x08 ? 0 : is_long ? 16 : 8;
	struct scsi_reply r = scsi_reply_begin(task);

	if (task->cdb[2] >> 6 == PC_SAVED) {
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_SAVING_NOT_SUPPORTED);
		scsi_task_finish(task);
		return;
	}
	if (subpage != SUBPAGE_NONE && subpage != SUBPAGE_ALL &&
		!(subpage == SUBPAGE_LBP && (task->cdb[2] & 0x3F) == PAGE_EXCEPTIONS)) {
		scsi_fail_cdb(task, 3);
		scsi_task_finish(task);
		return;
	}
	header(task, &r, ten, is_long, descriptor);
	if (descriptor)
		block_descriptor(task, &r, is_long);
	if (put_pages(task, &r) == 0) {
		scsi_fail_cdb_bit(task, 2, 5);
		scsi_task_finish(task);
		return;
	}
	scsi_reply_patch(&r, 0, (uint32_t)(r.len - (ten ? 2 : 1)), ten ? 2 : 1);
	scsi_reply_end(task, &r);
}

/* ---- MODE SELECT --------------------------------------------------------------------------------------- */

static bool list_too_short(struct scsi_task *task)
{
	return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LIST_LENGTH);
}

static bool check_descriptor(struct scsi_task *task, uint32_t at, uint32_t len)
{
	const uint8_t *d = task->data + at;
	uint64_t blocks = len == 16 ? get_be64(d) : get_be32(d);
	uint32_t block_bytes = len == 16 ? get_be32(d + 12) : get_be24(d + 5);
	uint64_t capacity = scsi_lun_blocks(task->lun_held);

	if (block_bytes != SCSI_BLOCK_BYTES)
		return scsi_fail_parameter(task, at + (len == 16 ? 12 : 5));
	if (blocks != 0 && blocks != capacity && !(len == 8 && blocks == UINT32_MAX))
		return scsi_fail_parameter(task, at);
	return true;
}

/* The header and block descriptor: *at becomes the first page's place. */
static bool skip_header(struct scsi_task *task, uint32_t *at)
{
	bool ten = task->command->cdb_len == 10, is_long;
	uint32_t len = ten ? 8 : 4, descriptors;
	const uint8_t *p = task->data;

	if (task->data_len < len)
		return list_too_short(task);
	descriptors = ten ? get_be16(p + 6) : p[3];
	is_long = ten && (p[4] & 0x01);
	if (descriptors != 0 && descriptors != (is_long ? 16u : 8u))
		return scsi_fail_parameter(task, ten ? 6 : 3);
	if (task->data_len < len + descriptors)
		return list_too_short(task);
	if (p[ten ? 2 : 1] != 0)
		return scsi_fail_parameter(task, ten ? 2 : 1);
	if (descriptors && !check_descriptor(task, len, descriptors))
		return false;
	*at = len + descriptors;
	return true;
}

static const struct mode_page *page_find(uint8_t code)
{
	for (size_t i = 0; i < PAGES; i++)
		if (pages[i].code == code)
			return &pages[i];
	return NULL;
}

static void page_take(const struct mode_page *page, const uint8_t *p, struct scsi_mode *mode)
{
	if (page->code == PAGE_CACHING)
		mode->wce = p[2] & WCE;
	if (page->code == PAGE_CONTROL) {
		mode->d_sense = p[2] & D_SENSE;
		mode->swp = p[4] & SWP;
	}
}

/* One page at `at`; *at moves behind it. */
static bool take_page(struct scsi_task *task, uint32_t *at, struct scsi_mode *mode)
{
	const uint8_t *p = task->data + *at;
	uint32_t left = task->data_len - *at;
	uint8_t now[PAGE_MAX_BYTES];
	const struct mode_page *page;

	if (left < 2)
		return list_too_short(task);
	page = p[0] & 0x40 ? NULL : page_find(p[0] & 0x3F);
	if (!page)
		return scsi_fail_parameter(task, *at);
	if (p[1] != page->len - 2)
		return scsi_fail_parameter(task, *at + 1);
	if (left < page->len)
		return list_too_short(task);
	page_build(page, mode, false, now);
	for (unsigned i = 2; i < page->len; i++)
		if ((p[i] ^ now[i]) & ~page->changeable[i])
			return scsi_fail_parameter(task, *at + i);
	page_take(page, p, mode);
	*at += page->len;
	return true;
}

static bool select_mode(struct scsi_task *task)
{
	struct scsi_lun *s = scsi_lun_of(task);
	struct scsi_mode mode = s->mode;
	uint32_t at = 0;

	if (task->cdb[1] & 0x01)
		return scsi_fail_cdb_bit(task, 1, 0); /* SP: nothing is saved */
	if (task->data_len == 0)
		return true;
	if (!skip_header(task, &at))
		return false;
	if (at < task->data_len && !(task->cdb[1] & 0x10))
		return scsi_fail_cdb_bit(task, 1, 4); /* PF */
	while (at < task->data_len)
		if (!take_page(task, &at, &mode))
			return false;
	if (memcmp(&mode, &s->mode, sizeof(mode)) != 0) {
		s->mode = mode;
		scsi_notice_others(
			task->nexus->target, task->lun_held, task->nexus, ATTENTION_MODE_PARAMETERS);
	}
	return true;
}

static void flush(struct scsi_task *task)
{
	scsi_task_io(task, STORE_FLUSH, 0, 0, 0);
}

/* Turning the write cache off makes durable what it holds. */
void scsi_mode_select(struct scsi_task *task)
{
	const struct scsi_lun *s = scsi_lun_of(task);
	struct scsi_mode before = s->mode;
	void (*then)(struct scsi_task * task) = scsi_task_finish;

	if (select_mode(task) && before.wce && !s->mode.wce)
		then = flush;
	if (task->nexus->target->controllers && memcmp(&before, &s->mode, sizeof(before)) != 0)
		scsi_reserve_keep_then(task, then);
	else
		then(task);
}
