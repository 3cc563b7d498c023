/* SPDX-License-Identifier: Apache-2.0 */
/* See scan.h. The steps of a LUN follow each other by callback: INQUIRY, TEST UNIT READY, READ CAPACITY
 * 16, 10. */
#include <string.h>
#include "array/util/bytes.h"
#include "lab/bridge/scan.h"

enum {
	SCAN_TIMEOUT_MS = 20000,
	REPORT_LUNS_BYTES = 8 + 8 * (int)LABW_MAX_LUNS
};

static void next_lun(struct scan *scan);

static void scan_end(struct scan *scan, uint32_t result)
{
	scan->result = result;
	if (result == LABW_OK) {
		memcpy(scan->luns, scan->found, sizeof(scan->luns));
		scan->lun_count = scan->found_count;
	}
	scan->completed++;
	scan->running = false;
	scan->finished(scan->arg);
	if (scan->again && !scan->running) {
		scan->again = false;
		(void)scan_start(scan);
	}
}

static void issue(struct scan *scan, uint16_t lun, const uint8_t *cdb, uint8_t cdb_bytes, uint32_t in_bytes,
	void (*done)(struct session_cmd *cmd))
{
	struct labw_request req = {
		.verb = LABW_EXEC,
		.flags = LABW_F_CLASS,
		.lun = lun,
		.timeout_ms = SCAN_TIMEOUT_MS,
		.direction = in_bytes ? LABW_IN : LABW_NONE,
		.cdb_bytes = cdb_bytes,
		.data_bytes = in_bytes,
	};

	memcpy(req.cdb, cdb, cdb_bytes);
	if (!session_submit(scan->session, &req, NULL, done, scan, session_now_ms()))
		scan_end(scan, LABW_BUSY);
}

static struct labw_lun *current(struct scan *scan)
{
	return &scan->found[scan->next];
}

static void on_capacity10(struct session_cmd *cmd)
{
	struct scan *scan = cmd->owner;

	if (cmd->result == LABW_OK && cmd->scsi_status == 0 && cmd->data_bytes >= 8) {
		current(scan)->blocks = (uint64_t)get_be32(cmd->data) + 1;
		current(scan)->block_bytes = get_be32(cmd->data + 4);
	}
	scan->next++;
	next_lun(scan);
}

static void on_capacity16(struct session_cmd *cmd)
{
	static const uint8_t cdb[10] = {0x25};
	struct scan *scan = cmd->owner;

	if (cmd->result == LABW_OK && cmd->scsi_status == 0 && cmd->data_bytes >= 12) {
		current(scan)->blocks = get_be64(cmd->data) + 1;
		current(scan)->block_bytes = get_be32(cmd->data + 8);
		scan->next++;
		next_lun(scan);
		return;
	}
	issue(scan, current(scan)->lun, cdb, sizeof(cdb), 8, on_capacity10);
}

/* Of the designators (SPC-4 7.8.6) those of the LUN: what it is, whatever port it is asked through. */
static uint64_t hash_of_lun(const uint8_t *page, uint32_t bytes)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */

	for (uint32_t at = 4; at + 4 <= bytes && at + 4 + page[at + 3] <= bytes; at += 4u + page[at + 3])
		for (uint32_t i = 0; !(page[at + 1] & 0x30) && i < 4u + page[at + 3]; i++)
			hash = (hash ^ page[at + i]) * 1099511628211u;
	return hash;
}

static void on_identity(struct session_cmd *cmd)
{
	static const uint8_t cdb[16] = {0x9E, 0x10, [13] = 32};
	struct scan *scan = cmd->owner;
	bool good = cmd->result == LABW_OK && cmd->scsi_status == 0;

	current(scan)->identity = hash_of_lun(cmd->data, good ? cmd->data_bytes : 0);
	issue(scan, current(scan)->lun, cdb, sizeof(cdb), 32, on_capacity16);
}

static void on_ready(struct session_cmd *cmd)
{
	static const uint8_t cdb[6] = {0x12, 0x01, 0x83, [4] = 0xFF};
	struct scan *scan = cmd->owner;

	if (current(scan)->inquiry[0] == 0) {
		issue(scan, current(scan)->lun, cdb, sizeof(cdb), 255, on_identity);
		return;
	}
	scan->next++;
	next_lun(scan);
}

static void drop_current(struct scan *scan)
{
	scan->found_count--;
	memmove(current(scan), current(scan) + 1, (scan->found_count - scan->next) * sizeof(*current(scan)));
	next_lun(scan);
}

static void on_inquiry(struct session_cmd *cmd)
{
	static const uint8_t cdb[6] = {0x00};
	struct scan *scan = cmd->owner;
	struct labw_lun *lun = current(scan);

	if (cmd->result != LABW_OK) {
		scan_end(scan, cmd->result);
		return;
	}
	/* Only what is there: peripheral qualifier 0 (SPC-4 6.6.2). */
	if (cmd->scsi_status != 0 || cmd->data_bytes < 36 || cmd->data[0] >> 5 != 0) {
		drop_current(scan);
		return;
	}
	lun->inquiry_bytes =
		(uint16_t)(cmd->data_bytes < LABW_INQUIRY_BYTES ? cmd->data_bytes : LABW_INQUIRY_BYTES);
	memcpy(lun->inquiry, cmd->data, lun->inquiry_bytes);
	issue(scan, lun->lun, cdb, sizeof(cdb), 0, on_ready);
}

static void next_lun(struct scan *scan)
{
	static const uint8_t cdb[6] = {0x12, [4] = LABW_INQUIRY_BYTES};

	if (scan->next < scan->found_count)
		issue(scan, current(scan)->lun, cdb, sizeof(cdb), LABW_INQUIRY_BYTES, on_inquiry);
	else
		scan_end(scan, LABW_OK);
}

/* SAM-5 4.7.7: peripheral (00b, bus 0) and flat (01b) addressing; others, and numbers past the bound, are
 * left out. */
static bool lun_number(const uint8_t entry[8], uint16_t *lun)
{
	unsigned int method = entry[0] >> 6;

	*lun = (uint16_t)((entry[0] & 0x3F) << 8 | entry[1]);
	return method <= 1 && *lun < LABW_MAX_LUNS;
}

static void on_report_luns(struct session_cmd *cmd)
{
	struct scan *scan = cmd->owner;
	uint32_t bytes;

	if (cmd->result != LABW_OK || cmd->scsi_status != 0 || cmd->data_bytes < 8) {
		scan_end(scan, cmd->result != LABW_OK ? cmd->result : LABW_LOST);
		return;
	}
	bytes = get_be32(cmd->data);
	if (bytes > cmd->data_bytes - 8)
		bytes = cmd->data_bytes - 8;
	for (uint32_t at = 0; at + 8 <= bytes && scan->found_count < LABW_MAX_LUNS; at += 8) {
		struct labw_lun *lun = &scan->found[scan->found_count];

		memset(lun, 0, sizeof(*lun));
		scan->found_count += lun_number(cmd->data + 8 + at, &lun->lun);
	}
	next_lun(scan);
}

uint64_t scan_start(struct scan *scan)
{
	uint8_t cdb[12] = {0xA0};

	if (scan->running) {
		scan->again = true;
		return scan->completed + 2;
	}
	scan->running = true;
	scan->found_count = scan->next = 0;
	session_counters(scan->session)->rescan_wanted = 0;
	put_be32(cdb + 6, REPORT_LUNS_BYTES);
	issue(scan, 0, cdb, sizeof(cdb), REPORT_LUNS_BYTES, on_report_luns);
	return scan->running ? scan->completed + 1 : scan->completed;
}

void scan_init(struct scan *scan, struct session *session, void (*finished)(void *arg), void *arg)
{
	memset(scan, 0, sizeof(*scan));
	scan->session = session;
	scan->finished = finished;
	scan->arg = arg;
}
