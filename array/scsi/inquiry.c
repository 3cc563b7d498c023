/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INQUIRY and the vital product data pages (SPC-4 6.6, 7.8; SBC-3 6.6).
 *
 * A LUN's identity comes from proto/identity.h only, and is the same on every path. The control LU's identity
 * is made the same way from the array's id. Page 83h adds designators of the target port (association 1),
 * which ALUA needs; those of association 0 are identity.h's, untouched and first.
 */
#include "array/scsi/bounds.h"
#include "array/scsi/commands.h"
#include "array/scsi/copy.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reply.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/util/bytes.h"
#include "proto/identity.h"

#include <string.h>

#define PERIPHERAL_DISK       0x00
#define PERIPHERAL_CONTROLLER 0x0C
#define PERIPHERAL_ABSENT     0x7F /* qualifier 011b, type 1Fh */
#define TPGS_IMPLICIT         0x10
#define THIRD_PARTY_COPIES    0x08
#define MULTIP                0x10
#define CMDQUE                0x02

static uint8_t peripheral(const struct scsi_task *task)
{
	if (task->flags & TASK_ABSENT_LU)
		return PERIPHERAL_ABSENT;
	return task->flags & TASK_CONTROL_LU ? PERIPHERAL_CONTROLLER : PERIPHERAL_DISK;
}

static const uint8_t *identity(const struct scsi_task *task)
{
	return task->lun_held ? task->lun_held->id : array_id(task->nexus->target->array);
}

/* ---- pages: each puts its body, without the 4-byte header ---------------------------------------------- */

static void page_serial(const struct scsi_task *task, struct scsi_reply *r)
{
	char serial[UP_SERIAL_BYTES + 1];

	up_id_format(identity(task), serial);
	scsi_reply_put(r, serial, UP_SERIAL_BYTES);
}

static void port_designator(struct scsi_reply *r, uint8_t type, uint16_t value)
{
	/* protocol iSCSI, binary; PIV, association 1 */
	uint8_t d[8] = {0x51, (uint8_t)(0x90 | type), 0, 4};

	put_be16(d + 6, value);
	scsi_reply_put(r, d, sizeof(d));
}

static void page_identification(const struct scsi_task *task, struct scsi_reply *r)
{
	uint8_t body[UP_DESIGNATORS * (4 + UP_DESIGNATOR_MAX_BYTES)];

	scsi_reply_put(r, body, up_id_vpd83(identity(task), body, sizeof(body)));
	port_designator(r, 4, task->nexus->portal_group_tag); /* relative target port */
	port_designator(r, 5, task->nexus->target->own->id);
}

/* SPC-4 7.8.15: every target port, with its relative number as its name. */
static void page_ports(const struct scsi_task *task, struct scsi_reply *r)
{
	const struct scsi_target *t = task->nexus->target;

	for (unsigned i = 0; i < t->port_count; i++) {
		scsi_reply_be16(r, 0);
		scsi_reply_be16(r, t->ports[i]);
		scsi_reply_be32(r, 0); /* no initiator port of ours */
		scsi_reply_be32(r, 8); /* bytes of its designators */
		port_designator(r, 4, t->ports[i]);
	}
}

/* SPC-4 7.8.7 */
static void page_extended(const struct scsi_task *task, struct scsi_reply *r)
{
	uint8_t body[60] = {0};

	(void)task;
	body[1] = 0x07; /* HEADSUP, ORDSUP, SIMPSUP */
	body[2] = 0x01; /* V_SUP: there is a volatile cache */
	scsi_reply_put(r, body, sizeof(body));
}

/* SBC-3 6.6.3 */
static void page_block_limits(const struct scsi_task *task, struct scsi_reply *r)
{
	uint8_t body[60] = {0};

	(void)task;
	body[0] = 0x01; /* WSNZ: WRITE SAME wants a number of blocks */
	body[1] = 255;  /* COMPARE AND WRITE: as many as its CDB can say */
	put_be16(body + 2, STORE_PHYSICAL_BYTES / SCSI_BLOCK_BYTES);
	put_be32(body + 4, SCSI_TRANSFER_MAX_BYTES / SCSI_BLOCK_BYTES);
	put_be32(body + 8, (1u << 20) / SCSI_BLOCK_BYTES); /* optimal transfer length */
	put_be32(body + 16, SCSI_UNMAP_BLOCKS_MAX);
	put_be32(body + 20, SCSI_UNMAP_DESCRIPTORS_MAX);
	put_be32(body + 24, SCSI_UNMAP_GRANULARITY);
	put_be32(body + 28, 0x80000000); /* UGAVALID, alignment 0 */
	put_be64(body + 32, SCSI_WRITE_SAME_BLOCKS_MAX);
	scsi_reply_put(r, body, sizeof(body));
}

/* SBC-3 6.6.2 */
static void page_characteristics(const struct scsi_task *task, struct scsi_reply *r)
{
	uint8_t body[60] = {0};

	(void)task;
	put_be16(body, 1); /* non-rotating */
	body[3] = 0x40;    /* WABEREQ: after a block erase reads succeed */
	scsi_reply_put(r, body, sizeof(body));
}

/* SBC-3 6.6.4 */
static void page_provisioning(const struct scsi_task *task, struct scsi_reply *r)
{
	/* LBPU, LBPWS, LBPWS10, LBPRZ; thin provisioned */
	uint8_t body[4] = {SCSI_THRESHOLD_EXPONENT, 0x80 | 0x40 | 0x20 | 0x04, 0x02, 0};

	(void)task;
	scsi_reply_put(r, body, sizeof(body));
}

static void page_list(const struct scsi_task *task, struct scsi_reply *r);

static const struct vpd_page {
	uint8_t code;
	bool disk_only, copies;
	void (*put)(const struct scsi_task *task, struct scsi_reply *r);
} pages[] = {
	{0x00, false, false, page_list},
	{0x80, false, false, page_serial},
	{0x83, false, false, page_identification},
	{0x86, false, false, page_extended},
	{0x88, false, false, page_ports},
	{0x8F, true, true, scsi_copy_vpd},
	{0xB0, true, false, page_block_limits},
	{0xB1, true, false, page_characteristics},
	{0xB2, true, false, page_provisioning},
};

static bool page_offered(const struct scsi_task *task, const struct vpd_page *p)
{
	return (!p->disk_only || task->lun_held) && (!p->copies || scsi_copies_offered(task->nexus->target));
}

static void page_list(const struct scsi_task *task, struct scsi_reply *r)
{
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		if (page_offered(task, &pages[i]))
			scsi_reply_u8(r, pages[i].code);
}

/* ---- the command --------------------------------------------------------------------------------------- */

bool scsi_inquiry_parse(struct scsi_task *task)
{
	if (!(task->cdb[1] & 0x01))
		return task->cdb[2] == 0 || scsi_fail_cdb(task, 2);
	if (task->flags & TASK_ABSENT_LU)
		return scsi_fail_cdb(task, 1);
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		if (pages[i].code == task->cdb[2] && page_offered(task, &pages[i]))
			return true;
	return scsi_fail_cdb(task, 2);
}

static void standard(struct scsi_task *task)
{
	/* SAM-5, SPC-4, SBC-3, iSCSI */
	static const uint16_t versions[] = {0x00A0, 0x0460, 0x04C0, 0x0960};
	struct scsi_reply r = scsi_reply_begin(task);
	uint8_t data[96] = {0};

	data[0] = peripheral(task);
	data[2] = 0x06; /* SPC-4 */
	data[3] = 0x12; /* HISUP, response format 2 */
	data[4] = sizeof(data) - 5;
	data[5] = task->lun_held ? TPGS_IMPLICIT : 0;
	if (task->lun_held && scsi_copies_offered(task->nexus->target))
		data[5] |= THIRD_PARTY_COPIES;
	data[6] = task->nexus->target->port_count > 1 ? MULTIP : 0;
	data[7] = CMDQUE;
	memcpy(data + 8, UP_VENDOR, 8);
	memcpy(data + 16, task->lun_held ? UP_PRODUCT : UP_PRODUCT_CONTROL, 16);
	memcpy(data + 32, UP_REVISION, 4);
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
		put_be16(data + 58 + 2 * i, versions[i]);
	scsi_reply_put(&r, data, sizeof(data));
	scsi_reply_end(task, &r);
}

void scsi_inquiry(struct scsi_task *task)
{
	struct scsi_reply r = scsi_reply_begin(task);

	if (!(task->cdb[1] & 0x01)) {
		standard(task);
		return;
	}
	scsi_reply_u8(&r, peripheral(task));
	scsi_reply_u8(&r, task->cdb[2]);
	scsi_reply_be16(&r, 0);
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		if (pages[i].code == task->cdb[2])
			pages[i].put(task, &r);
	scsi_reply_patch(&r, 2, (uint32_t)(r.len - 4), 2);
	scsi_reply_end(task, &r);
}
