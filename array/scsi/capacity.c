/* SPDX-License-Identifier: Apache-2.0 */
/* How large a LUN is and how full its pool: READ CAPACITY, LOG SENSE (SBC-3 5.15, 5.16; SPC-4 6.8). */
#include "array/scsi/bounds.h"
#include "array/scsi/commands.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reply.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/util/bytes.h"

void scsi_read_capacity10(struct scsi_task *task)
{
	uint64_t last = scsi_lun_blocks(task->lun_held) - 1;
	struct scsi_reply r = scsi_reply_begin(task);

	scsi_reply_be32(&r, last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
	scsi_reply_be32(&r, SCSI_BLOCK_BYTES);
	scsi_reply_end(task, &r);
}

void scsi_read_capacity16(struct scsi_task *task)
{
	struct scsi_reply r = scsi_reply_begin(task);

	scsi_reply_be64(&r, scsi_lun_blocks(task->lun_held) - 1);
	scsi_reply_be32(&r, SCSI_BLOCK_BYTES);
	scsi_reply_u8(&r, 0);
	scsi_reply_u8(&r, scsi_physical_exponent(task->nexus->target));
	scsi_reply_be16(&r, 0xC000); /* LBPME, LBPRZ; lowest aligned LBA 0 */
	scsi_reply_zero(&r, 16);
	scsi_reply_end(task, &r);
}

/* ---- LOG SENSE ----------------------------------------------------------------------------------------- */

#define LOG_PAGES        0x00
#define LOG_PROVISIONING 0x0C
#define LOG_SUBPAGES     0xFF

static uint32_t space_units(uint64_t bytes)
{
	uint64_t units = bytes / SCSI_BLOCK_BYTES >> SCSI_THRESHOLD_EXPONENT;

	return units > UINT32_MAX ? UINT32_MAX : (uint32_t)units;
}

/* SBC-3 6.4.4: a resource count. scope 1: of this LUN alone, 2: shared with others. */
static void resource(struct scsi_reply *r, uint16_t code, uint64_t bytes, uint8_t scope)
{
	scsi_reply_be16(r, code);
	scsi_reply_u8(r, 0x03); /* binary list parameter */
	scsi_reply_u8(r, 8);
	scsi_reply_be32(r, space_units(bytes));
	scsi_reply_u8(r, scope);
	scsi_reply_zero(r, 3);
}

static void page_provisioning(struct scsi_task *task, struct scsi_reply *r)
{
	struct store *store = array_settings(task->nexus->target->array)->store;
	uint16_t from = get_be16(task->cdb + 5);
	struct store_stats stats = {0};

	store->ops->stats(store, &stats);
	if (from <= 1)
		resource(r, 1,
			stats.capacity_bytes > stats.used_bytes ? stats.capacity_bytes - stats.used_bytes : 0,
			2);
	if (from <= 2)
		resource(r, 2, store->ops->disk_used(task->lun_held->disk), 1);
}

void scsi_log_sense(struct scsi_task *task)
{
	uint8_t page = task->cdb[2] & 0x3F, subpage = task->cdb[3], control = task->cdb[2] >> 6;
	struct scsi_reply r = scsi_reply_begin(task);

	if (control != 1 && control != 0) { /* cumulative and threshold values; no defaults are kept */
		scsi_fail_cdb_bit(task, 2, 7);
		scsi_task_finish(task);
		return;
	}
	scsi_reply_u8(&r, page | (subpage ? 0x40 : 0));
	scsi_reply_u8(&r, subpage);
	scsi_reply_be16(&r, 0);
	if (page == LOG_PAGES && subpage == 0) {
		scsi_reply_u8(&r, LOG_PAGES);
		scsi_reply_u8(&r, LOG_PROVISIONING);
	} else if (page == LOG_PAGES && subpage == LOG_SUBPAGES) {
		static const uint8_t list[] = {LOG_PAGES, 0, LOG_PAGES, LOG_SUBPAGES, LOG_PROVISIONING, 0};

		scsi_reply_put(&r, list, sizeof(list));
	} else if (page == LOG_PROVISIONING && subpage == 0 && get_be16(task->cdb + 5) <= 2) {
		page_provisioning(task, &r);
	} else {
		scsi_fail_cdb(task, page == LOG_PROVISIONING && subpage == 0 ? 5 : 2);
		scsi_task_finish(task);
		return;
	}
	scsi_reply_patch(&r, 2, (uint32_t)(r.len - 4), 2);
	scsi_reply_end(task, &r);
}
