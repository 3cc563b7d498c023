/* SPDX-License-Identifier: Apache-2.0 */
/* See scsi_port.h. CDBs: SPC-4 6.4, SBC-3 5. */
#include "lab/coordinator/scsi_port.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <winioctl.h>
#include <ntddscsi.h>
#include <vsserror.h>
#include "lab/coordinator/settings.h"

#define SENSE_BYTES     32
#define COMMAND_SECONDS 60
#define RETRIES         3 /* of a unit attention */

struct pass_through {
	SCSI_PASS_THROUGH spt;
	UCHAR sense[SENSE_BYTES];
	_Alignas(16) UCHAR data[PORT_MAX_TRANSFER_BYTES];
};

static HANDLE open_device(const wchar_t *name)
{
	return CreateFileW(name, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
		OPEN_EXISTING, 0, NULL);
}

/* One command. Bytes transferred, or -1 (device refused it) or -2 (a bad SCSI status). */
static int command_once(HANDLE h, struct pass_through *p, const uint8_t *cdb, uint8_t cdb_len, bool to_device,
	void *data, uint32_t len)
{
	DWORD got = 0;
	memset(p, 0, offsetof(struct pass_through, data));
	p->spt.Length = sizeof p->spt;
	p->spt.CdbLength = cdb_len;
	p->spt.SenseInfoLength = SENSE_BYTES;
	p->spt.DataIn = to_device ? SCSI_IOCTL_DATA_OUT
			: len     ? SCSI_IOCTL_DATA_IN
				  : SCSI_IOCTL_DATA_UNSPECIFIED;
	p->spt.DataTransferLength = len;
	p->spt.TimeOutValue = COMMAND_SECONDS;
	p->spt.DataBufferOffset = offsetof(struct pass_through, data);
	p->spt.SenseInfoOffset = offsetof(struct pass_through, sense);
	memcpy(p->spt.Cdb, cdb, cdb_len);
	if (to_device)
		memcpy(p->data, data, len);
	DWORD out_bytes = (DWORD)offsetof(struct pass_through, data) + (to_device ? 0 : len);
	DWORD in_bytes = (DWORD)offsetof(struct pass_through, data) + (to_device ? len : 0);
	if (!DeviceIoControl(h, IOCTL_SCSI_PASS_THROUGH, p, in_bytes, p, out_bytes, &got, NULL))
		return -1;
	if (p->spt.ScsiStatus != 0)
		return -2;
	if (p->spt.DataTransferLength < len)
		len = p->spt.DataTransferLength;
	if (!to_device)
		memcpy(data, p->data, len);
	return (int)len;
}

static int command(HANDLE h, const uint8_t *cdb, uint8_t cdb_len, bool to_device, void *data, uint32_t len)
{
	if (len > PORT_MAX_TRANSFER_BYTES)
		return -1;
	struct pass_through *p = malloc(sizeof *p);
	int rc = -1;
	for (int i = 0; p && i < RETRIES; i++) {
		rc = command_once(h, p, cdb, cdb_len, to_device, data, len);
		bool attention = rc == -2 && p->spt.ScsiStatus == 2 &&
				 (((p->sense[0] & 0x7f) >= 0x72 ? p->sense[1] : p->sense[2]) & 0x0f) == 6;
		if (!attention)
			break;
	}
	free(p);
	return rc;
}

static int inquiry(HANDLE h, int page, uint8_t *data, uint16_t len)
{
	uint8_t cdb[6] = {
		0x12, page >= 0, (uint8_t)(page >= 0 ? page : 0), (uint8_t)(len >> 8), (uint8_t)len, 0};
	return command(h, cdb, sizeof cdb, false, data, len);
}

static bool has_page(const uint8_t *list, int len, uint8_t page)
{
	for (int i = 4; i < len && i < 4 + list[3]; i++)
		if (list[i] == page)
			return true;
	return false;
}

static bool read_capacity(HANDLE h, struct port_disk *d)
{
	uint8_t data[32] = {0}, cdb[16] = {0x9e, 0x10, [13] = sizeof data};
	uint64_t last = 0;
	if (command(h, cdb, sizeof cdb, false, data, sizeof data) < 12)
		return false;
	for (int i = 0; i < 8; i++)
		last = last << 8 | data[i];
	d->blocks = last + 1;
	d->block_bytes =
		(uint32_t)data[8] << 24 | (uint32_t)data[9] << 16 | (uint32_t)data[10] << 8 | data[11];
	return d->block_bytes != 0;
}

/* READ (16) or WRITE (16), in pieces that fit the pass-through buffer. */
static int transfer(
	const struct port_disk *d, HANDLE h, bool write, uint64_t lba, uint32_t blocks, uint8_t *buf)
{
	uint32_t most = PORT_MAX_TRANSFER_BYTES / d->block_bytes;
	while (blocks > 0) {
		uint32_t n = blocks < most ? blocks : most;
		uint8_t cdb[16] = {write ? 0x8a : 0x88};
		for (int i = 0; i < 8; i++)
			cdb[2 + i] = (uint8_t)(lba >> (56 - 8 * i));
		for (int i = 0; i < 4; i++)
			cdb[10 + i] = (uint8_t)(n >> (24 - 8 * i));
		int rc = command(h, cdb, sizeof cdb, write, buf, n * d->block_bytes);
		if (rc != (int)(n * d->block_bytes))
			return -1;
		lba += n;
		blocks -= n;
		buf += (size_t)n * d->block_bytes;
	}
	return 0;
}

struct open_disk {
	const struct port_disk *disk;
	HANDLE h;
};

static int read_blocks(void *arg, uint64_t lba, uint32_t blocks, void *buf)
{
	struct open_disk *o = arg;
	return transfer(o->disk, o->h, false, lba, blocks, buf);
}

static int write_blocks(void *arg, uint64_t lba, uint32_t blocks, const void *buf)
{
	struct open_disk *o = arg;
	return transfer(o->disk, o->h, true, lba, blocks, (uint8_t *)(uintptr_t)buf);
}

static struct gpt_disk gpt_disk_of(struct open_disk *o)
{
	return (struct gpt_disk){.arg = o,
		.block_bytes = o->disk->block_bytes,
		.blocks = o->disk->blocks,
		.read = read_blocks,
		.write = write_blocks};
}

/* Asks one opened disk for all that a scan wants; false: it is not a disk that answers. */
static bool ask_disk(HANDLE h, struct port_disk *d)
{
	SCSI_ADDRESS address = {.Length = sizeof address};
	DWORD got = 0;
	if (!DeviceIoControl(h, IOCTL_SCSI_GET_ADDRESS, NULL, 0, &address, sizeof address, &got, NULL))
		return false;
	d->bytes.port = address.PortNumber;
	d->bytes.path = address.PathId;
	d->bytes.target = address.TargetId;
	d->bytes.lun = address.Lun;
	int len = inquiry(h, -1, d->bytes.inquiry, sizeof d->bytes.inquiry);
	if (len < 36 || (d->bytes.inquiry[0] >> 5) != 0 || (d->bytes.inquiry[0] & 0x1f) != 0)
		return false;
	d->bytes.inquiry_len = (size_t)len;
	uint8_t pages[255];
	int pages_len = inquiry(h, 0, pages, sizeof pages);
	if (pages_len >= 4 && has_page(pages, pages_len, 0x80)) {
		len = inquiry(h, 0x80, d->bytes.vpd80, sizeof d->bytes.vpd80);
		d->bytes.vpd80_len = len > 0 ? (size_t)len : 0;
	}
	if (pages_len >= 4 && has_page(pages, pages_len, 0x83)) {
		len = inquiry(h, 0x83, d->bytes.vpd83, sizeof d->bytes.vpd83);
		d->bytes.vpd83_len = len > 0 ? (size_t)len : 0;
	}
	if (!read_capacity(h, d) || !lun_info_build(&d->info, &d->bytes))
		return false;
	struct open_disk o = {d, h};
	struct gpt_disk g = gpt_disk_of(&o);
	if (gpt_look(&g, &d->table) < 0)
		memset(&d->table, 0, sizeof d->table);
	if (d->table.kind != GPT_NONE)
		memcpy(&d->info.m_diskSignature, d->table.disk_id, sizeof d->info.m_diskSignature);
	return true;
}

struct port_scan *port_scan(void)
{
	struct port_scan *s = calloc(1, sizeof *s);
	int first = (int)settings_dword(L"FirstDrive", 0), step = (int)settings_dword(L"DriveStep", 1);
	for (int i = 0; s && i < PORT_MAX_DISKS; i++) {
		struct port_disk *d = &s->disks[s->count];
		int drive = first + i * step;
		memset(d, 0, sizeof *d);
		d->drive = drive;
		_snwprintf(d->device, PORT_NAME_CHARS, L"\\\\.\\PHYSICALDRIVE%d", drive);
		HANDLE h = open_device(d->device);
		if (h == INVALID_HANDLE_VALUE)
			continue;
		if (ask_disk(h, d))
			s->count++;
		CloseHandle(h);
	}
	return s;
}

void port_scan_free(struct port_scan *s)
{
	for (size_t i = 0; s && i < s->count; i++)
		lun_info_free(&s->disks[i].info);
	free(s);
}

const struct port_disk *port_find_lun(const struct port_scan *s, int lun)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->disks[i].bytes.lun == lun)
			return &s->disks[i];
	return NULL;
}

const struct port_disk *port_find_drive(const struct port_scan *s, int drive)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->disks[i].drive == drive)
			return &s->disks[i];
	return NULL;
}

unsigned port_rescan(void)
{
	unsigned took = 0;
	for (int port = 0; port < 16; port++) {
		wchar_t name[PORT_NAME_CHARS];
		DWORD got = 0;
		_snwprintf(name, PORT_NAME_CHARS, L"\\\\.\\Scsi%d:", port);
		HANDLE h = open_device(name);
		if (h == INVALID_HANDLE_VALUE)
			continue;
		if (DeviceIoControl(h, IOCTL_SCSI_RESCAN_BUS, NULL, 0, NULL, 0, &got, NULL))
			took++;
		CloseHandle(h);
	}
	return took;
}

HRESULT port_flush(const struct port_disk *d)
{
	const uint8_t cdb[10] = {0x35};
	HANDLE h = open_device(d->device);
	if (h == INVALID_HANDLE_VALUE)
		return HRESULT_FROM_WIN32(GetLastError());
	int rc = command(h, cdb, sizeof cdb, false, NULL, 0);
	CloseHandle(h);
	return rc < 0 ? HRESULT_FROM_WIN32(ERROR_IO_DEVICE) : S_OK;
}

enum table_action {
	TABLE_LOOK,
	TABLE_SET,
	TABLE_RESTORE
};

static HRESULT table_action(const struct port_disk *d, enum table_action action, struct gpt_state *state)
{
	struct open_disk o = {d, open_device(d->device)};
	if (o.h == INVALID_HANDLE_VALUE)
		return HRESULT_FROM_WIN32(GetLastError());
	struct gpt_disk g = gpt_disk_of(&o);
	int rc = action == TABLE_LOOK  ? gpt_look(&g, state)
		 : action == TABLE_SET ? gpt_set_shadow_bits(&g, state)
				       : gpt_restore_bits(&g, state);
	CloseHandle(o.h);
	return rc < 0 ? HRESULT_FROM_WIN32(ERROR_IO_DEVICE) : S_OK;
}

HRESULT port_look(struct port_disk *d)
{
	return table_action(d, TABLE_LOOK, &d->table);
}

HRESULT port_set_shadow_bits(const struct port_disk *d, struct gpt_state *before)
{
	return table_action(d, TABLE_SET, before);
}

HRESULT port_restore_bits(const struct port_disk *d, const struct gpt_state *before)
{
	struct gpt_state copy = *before;
	return table_action(d, TABLE_RESTORE, &copy);
}

HRESULT port_get_identity(const struct port_disk *d, struct gpt_identity *out)
{
	struct open_disk o = {d, open_device(d->device)};
	if (o.h == INVALID_HANDLE_VALUE)
		return HRESULT_FROM_WIN32(GetLastError());
	struct gpt_disk g = gpt_disk_of(&o);
	int rc = gpt_get_identity(&g, out);
	CloseHandle(o.h);
	return rc < 0 ? HRESULT_FROM_WIN32(ERROR_IO_DEVICE) : S_OK;
}

HRESULT port_change(const struct port_disk *d, const struct gpt_identity *want, uint64_t clear)
{
	struct open_disk o = {d, open_device(d->device)};
	if (o.h == INVALID_HANDLE_VALUE)
		return HRESULT_FROM_WIN32(GetLastError());
	struct gpt_disk g = gpt_disk_of(&o);
	int rc = gpt_change(&g, want, clear);
	CloseHandle(o.h);
	return rc == -EINVAL ? VSS_E_CANNOT_REVERT_DISKID
	       : rc < 0      ? HRESULT_FROM_WIN32(ERROR_IO_DEVICE)
			     : S_OK;
}

static HRESULT one_block(const struct port_disk *d, bool write, uint64_t lba, void *block)
{
	HANDLE h = open_device(d->device);
	if (h == INVALID_HANDLE_VALUE)
		return HRESULT_FROM_WIN32(GetLastError());
	int rc = transfer(d, h, write, lba, 1, block);
	CloseHandle(h);
	return rc < 0 ? HRESULT_FROM_WIN32(ERROR_IO_DEVICE) : S_OK;
}

HRESULT port_read_block(const struct port_disk *d, uint64_t lba, void *block)
{
	return one_block(d, false, lba, block);
}

HRESULT port_write_block(const struct port_disk *d, uint64_t lba, const void *block)
{
	return one_block(d, true, lba, (void *)(uintptr_t)block);
}
