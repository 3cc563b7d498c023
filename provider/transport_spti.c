/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SCSI pass-through: IOCTL_SCSI_PASS_THROUGH in its buffered form, to \\.\PhysicalDriveN (LUNs that a class
 * driver has claimed) and to \\.\ScsiN: with path, target and LUN (the control LU).
 *
 * Only devices whose vendor string is ours ever get a command from here; the vendor of a disk is asked of
 * Windows (IOCTL_STORAGE_QUERY_PROPERTY), so that foreign disks see no traffic at all.
 */
#include "provider/transport.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <winioctl.h>
#include <ntddscsi.h>
#include "proto/umbra_proto.h"
#include "provider/device_names.h"
#include "provider/disk_numbers.h"
#include "provider/eventlog.h"
#include "provider/memory.h"

/* mingw-w64 has it not. METHOD_BUFFERED, FILE_ANY_ACCESS; out: a BOOLEAN. */
#ifndef IOCTL_DISK_IS_CLUSTERED
#define IOCTL_DISK_IS_CLUSTERED 0x000700F8
#endif
#define DISK_TIMEOUT_S     60 /* of disks on msiscsi */
#define DISK_TIMEOUT_MAX_S 3600
#define INQUIRY_CAP        65536
#define CONTROLLER_TYPE    0x0C
#define VENDOR_BYTES       8
#define DATA_ALIGNMENT     16

struct spti_request {
	SCSI_PASS_THROUGH spt;
	UCHAR sense[TRANSPORT_SENSE_MAX_BYTES];
	_Alignas(DATA_ALIGNMENT) UCHAR data[TRANSPORT_DATA_MAX_BYTES];
};
static_assert(offsetof(struct spti_request, data) % DATA_ALIGNMENT == 0, "as adapters may ask for");

struct transport_handle {
	HANDLE file;
	struct transport_device device;
	ULONG timeout_s;
	struct spti_request request; /* page-locked when the working set allows it */
};

static int errno_of(DWORD error)
{
	switch (error) {
	case ERROR_FILE_NOT_FOUND:
	case ERROR_PATH_NOT_FOUND:
	case ERROR_DEVICE_NOT_CONNECTED:
	case ERROR_DEV_NOT_EXIST:
	case ERROR_NOT_READY:
		return -ENODEV;
	case ERROR_ACCESS_DENIED:
	case ERROR_SHARING_VIOLATION:
		return -EACCES;
	case ERROR_NOT_ENOUGH_MEMORY:
	case ERROR_OUTOFMEMORY:
	case ERROR_NO_SYSTEM_RESOURCES:
		return -ENOMEM;
	case ERROR_SEM_TIMEOUT:
	case ERROR_TIMEOUT:
	case WAIT_TIMEOUT:
		return -ETIMEDOUT;
	case ERROR_INVALID_FUNCTION:
	case ERROR_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	default:
		return -EIO;
	}
}

/* The port driver answers so for a LUN that a class driver has claimed: that is no word of the operation code. */
static int errno_of_port(DWORD error)
{
	return error == ERROR_INVALID_FUNCTION ? -EACCES : errno_of(error);
}

/* As long as a disk's own commands may take. When it passes, Storport resets the LUN, then the target, then the session, and
 * aborts what others have under way there: what an application's I/O sits out must not end by a request of ours. */
static ULONG disk_timeout_s(void)
{
	DWORD value, size = sizeof(value);

	if (RegGetValueW(HKEY_LOCAL_MACHINE, L"SYSTEM\\CurrentControlSet\\Services\\Disk", L"TimeOutValue",
		    RRF_RT_REG_DWORD, NULL, &value, &size) != ERROR_SUCCESS ||
		value < DISK_TIMEOUT_S)
		return DISK_TIMEOUT_S;
	return value < DISK_TIMEOUT_MAX_S ? value : DISK_TIMEOUT_MAX_S;
}

/* access 0: to ask Windows about a device, without touching it. */
static HANDLE open_device(const char *name, DWORD access)
{
	return CreateFileA(name, access, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
}

static int spti_open(
	struct transport *t, const struct transport_device *device, struct transport_handle **out)
{
	(void)t;
	*out = NULL;
	struct transport_handle *h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->file = open_device(device->name, GENERIC_READ | GENERIC_WRITE);
	if (h->file == INVALID_HANDLE_VALUE) {
		int err = errno_of(GetLastError());
		free(h);
		return err;
	}
	h->device = *device;
	h->timeout_s = disk_timeout_s();
	/* Best effort: without it the commit window might have to wait for the paging file. */
	(void)memory_lock(&h->request, sizeof(h->request));
	*out = h;
	return 0;
}

static void spti_close(struct transport_handle *h)
{
	if (!h)
		return;
	CloseHandle(h->file);
	memory_unlock(&h->request, sizeof(h->request));
	free(h);
}

static int spti_command(struct transport_handle *h, struct transport_command *c)
{
	struct spti_request *r = &h->request;
	DWORD returned = 0;

	if (c->len_bytes > TRANSPORT_DATA_MAX_BYTES || c->cdb_len_bytes > sizeof(c->cdb))
		return -EINVAL;
	memset(&r->spt, 0, sizeof(r->spt));
	memset(r->sense, 0, sizeof(r->sense));
	r->spt.Length = sizeof(r->spt);
	r->spt.PathId = h->device.path;
	r->spt.TargetId = h->device.target;
	r->spt.Lun = h->device.lun;
	r->spt.CdbLength = c->cdb_len_bytes;
	r->spt.SenseInfoLength = sizeof(r->sense);
	r->spt.SenseInfoOffset = offsetof(struct spti_request, sense);
	r->spt.DataIn = c->direction == TRANSPORT_IN    ? SCSI_IOCTL_DATA_IN
			: c->direction == TRANSPORT_OUT ? SCSI_IOCTL_DATA_OUT
							: SCSI_IOCTL_DATA_UNSPECIFIED;
	r->spt.DataTransferLength = c->len_bytes;
	r->spt.DataBufferOffset = offsetof(struct spti_request, data);
	r->spt.TimeOutValue = h->timeout_s;
	memcpy(r->spt.Cdb, c->cdb, c->cdb_len_bytes);
	if (c->direction == TRANSPORT_OUT)
		memcpy(r->data, c->data, c->len_bytes);
	DWORD size = (DWORD)(offsetof(struct spti_request, data) + c->len_bytes);
	if (!DeviceIoControl(h->file, IOCTL_SCSI_PASS_THROUGH, r, size, r, size, &returned, NULL))
		return h->device.is_port ? errno_of_port(GetLastError()) : errno_of(GetLastError());
	c->status = r->spt.ScsiStatus;
	memcpy(c->sense, r->sense, sizeof(c->sense));
	if (r->spt.DataTransferLength < c->len_bytes)
		c->len_bytes = r->spt.DataTransferLength;
	if (c->direction == TRANSPORT_IN)
		memcpy(c->data, r->data, c->len_bytes);
	return 0;
}

/* Only the class driver of a node of a cluster answers with anything but "no". */
bool transport_spti_is_clustered(void *file)
{
	BOOLEAN clustered = FALSE;
	DWORD returned = 0;

	return DeviceIoControl(file, IOCTL_DISK_IS_CLUSTERED, NULL, 0, &clustered, sizeof(clustered),
		       &returned, NULL) &&
	       returned == sizeof(clustered) && clustered;
}

/* Windows' own answer to "who made this disk?". False: not ours, or it cannot be asked. */
bool transport_spti_is_ours(void *file)
{
	STORAGE_PROPERTY_QUERY query = {
		.PropertyId = StorageDeviceProperty, .QueryType = PropertyStandardQuery};
	union {
		STORAGE_DEVICE_DESCRIPTOR d;
		char bytes[1024];
	} u;
	DWORD returned = 0;

	memset(&u, 0, sizeof(u));
	if (!DeviceIoControl(file, IOCTL_STORAGE_QUERY_PROPERTY, &query, sizeof(query), &u, sizeof(u) - 1,
		    &returned, NULL))
		return false;
	DWORD at = u.d.VendorIdOffset;
	if (!at || at > returned || at + VENDOR_BYTES > sizeof(u) - 1)
		return false;
	return memcmp(u.bytes + at, UP_VENDOR, VENDOR_BYTES) == 0;
}

/* Never 0. */
static uint32_t route_of(unsigned port, uint8_t path, uint8_t target)
{
	return UINT32_C(1) << 31 | (port & 0xFF) << 16 | (uint32_t)path << 8 | target;
}

static uint32_t route_of_drive(HANDLE file)
{
	SCSI_ADDRESS a = {0};
	DWORD returned = 0;

	if (!DeviceIoControl(file, IOCTL_SCSI_GET_ADDRESS, NULL, 0, &a, sizeof(a), &returned, NULL) ||
		returned < sizeof(a))
		return 0;
	return route_of(a.PortNumber, a.PathId, a.TargetId);
}

static unsigned find_drives(struct transport_device *out, unsigned cap)
{
	struct disk_numbers disks = disk_numbers_read();
	unsigned found = 0;

	for (size_t i = 0; i < disks.count && found < cap; i++) {
		struct transport_device d = {.is_port = false};
		snprintf(d.name, sizeof(d.name), "\\\\.\\PhysicalDrive%u", disks.numbers[i]);
		HANDLE file = open_device(d.name, 0);
		if (file == INVALID_HANDLE_VALUE)
			continue;
		if (transport_spti_is_ours(file)) {
			d.route = route_of_drive(file);
			out[found++] = d;
		}
		CloseHandle(file);
	}
	if (disks.error)
		eventlog_trace("Windows does not tell all its disks: error %lu", (unsigned long)disks.error);
	disk_numbers_free(&disks);
	return found;
}

static void port_name(unsigned port, char name[TRANSPORT_NAME_MAX_BYTES])
{
	snprintf(name, TRANSPORT_NAME_MAX_BYTES, "\\\\.\\Scsi%u:", port);
}

static bool is_our_controller(const uint8_t *inquiry, size_t len)
{
	return len >= 16 && inquiry[0] == CONTROLLER_TYPE &&
	       memcmp(inquiry + 8, UP_VENDOR, VENDOR_BYTES) == 0;
}

static void add_port_unit(unsigned port, uint8_t path, uint8_t target, uint8_t lun,
	struct transport_device *out, unsigned *found)
{
	struct transport_device *d = &out[(*found)++];

	memset(d, 0, sizeof(*d));
	port_name(port, d->name);
	d->route = route_of(port, path, target);
	d->path = path;
	d->target = target;
	d->lun = lun;
	d->is_port = true;
	d->device_type = CONTROLLER_TYPE;
}

/* What the port driver knows of its units. One that keeps no inquiry data has none of ours: they are on iSCSI, by Storport. */
static void units_by_port(
	HANDLE file, unsigned port, struct transport_device *out, unsigned cap, unsigned *found)
{
	uint8_t *buf = calloc(1, INQUIRY_CAP);
	DWORD returned = 0;

	if (!buf)
		return;
	if (!DeviceIoControl(file, IOCTL_SCSI_GET_INQUIRY_DATA, NULL, 0, buf, INQUIRY_CAP, &returned, NULL) ||
		returned < offsetof(SCSI_ADAPTER_BUS_INFO, BusData)) {
		free(buf);
		return;
	}
	const SCSI_ADAPTER_BUS_INFO *info = (const SCSI_ADAPTER_BUS_INFO *)buf;
	for (unsigned b = 0; b < info->NumberOfBuses; b++) {
		if (offsetof(SCSI_ADAPTER_BUS_INFO, BusData) + (b + 1) * sizeof(SCSI_BUS_DATA) > returned)
			break;
		ULONG at = info->BusData[b].InquiryDataOffset;
		for (unsigned guard = 0; at && guard < 4096 && *found < cap; guard++) {
			if (at > returned || returned - at < offsetof(SCSI_INQUIRY_DATA, InquiryData))
				break;
			const SCSI_INQUIRY_DATA *unit = (const SCSI_INQUIRY_DATA *)(buf + at);
			size_t room = returned - at - offsetof(SCSI_INQUIRY_DATA, InquiryData);
			size_t len = unit->InquiryDataLength < room ? unit->InquiryDataLength : room;
			if (!unit->DeviceClaimed && is_our_controller(unit->InquiryData, len))
				add_port_unit(port, unit->PathId, unit->TargetId, unit->Lun, out, found);
			at = unit->NextInquiryDataOffset;
		}
	}
	free(buf);
}

static unsigned find_controllers(const struct device_names *names, struct transport_device *out, unsigned cap)
{
	unsigned found = 0;

	for (unsigned n = 0; found < cap && device_names_next(names, L"Scsi", L":", n, &n); n++) {
		char name[TRANSPORT_NAME_MAX_BYTES];
		port_name(n, name);
		HANDLE file = open_device(name, 0);
		if (file == INVALID_HANDLE_VALUE)
			continue;
		units_by_port(file, n, out, cap, &found);
		CloseHandle(file);
	}
	return found;
}

static unsigned spti_enumerate(struct transport *t, struct transport_device *out, unsigned cap)
{
	(void)t;
	unsigned found = find_drives(out, cap);
	struct device_names names = device_names_read();

	found += find_controllers(&names, out + found, cap - found);
	device_names_free(&names);
	return found;
}

static const struct transport_ops spti_ops = {
	.enumerate = spti_enumerate,
	.open = spti_open,
	.command = spti_command,
	.close = spti_close,
};

struct transport *transport_spti(void)
{
	static struct transport spti = {&spti_ops};

	return &spti;
}
