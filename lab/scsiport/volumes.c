/* SPDX-License-Identifier: Apache-2.0 */
/* See volumes.h. */
#include "lab/scsiport/volumes.h"

#include <string.h>

#define VOLUMES_KEY L"\\Registry\\Machine\\Software\\Umbra\\Lab\\Volumes"
#define LIST_CHARS  128
#define LUNS_MAX    16

/* As in winioctl.h, whose headers do not go with the kernel's. */
#ifndef IOCTL_VOLUME_GET_VOLUME_DISK_EXTENTS
#define IOCTL_VOLUME_GET_VOLUME_DISK_EXTENTS 0x00560000
#endif
struct disk_extent {
	ULONG disk_number;
	LARGE_INTEGER start, length;
};
struct disk_extents {
	ULONG count;
	struct disk_extent extents[LUNS_MAX];
};

static DEVICE_OBJECT *devices[26];

/* The LUN numbers of "1,2"; how many. */
static unsigned int luns_of(unsigned int letter, unsigned int out[LUNS_MAX])
{
	WCHAR name[2] = {(WCHAR)letter, 0}, list[LIST_CHARS];
	unsigned int count = 0, number = 0;
	bool any = false;

	if (!port_text(VOLUMES_KEY, name, list, LIST_CHARS))
		return 0;
	for (const WCHAR *at = list;; at++) {
		if (*at >= L'0' && *at <= L'9') {
			number = number * 10 + (unsigned int)(*at - L'0');
			any = true;
			continue;
		}
		if (any && count < LUNS_MAX)
			out[count++] = number;
		number = 0;
		any = false;
		if (!*at)
			return count;
	}
}

/* ---- requests ------------------------------------------------------------------------------------------ */

static NTSTATUS extents(struct port_call *call, unsigned int letter)
{
	unsigned int luns[LUNS_MAX], count = luns_of(letter, luns);
	struct disk_extents out = {0};

	for (unsigned int i = 0; i < count; i++) {
		struct disk disk;

		if (!disks_find(0, luns[i], &disk))
			return STATUS_NO_SUCH_DEVICE;
		out.extents[out.count].disk_number = disk.number;
		out.extents[out.count++].length.QuadPart = (LONGLONG)(disk.lun.blocks * disk.lun.block_bytes);
	}
	ULONG bytes = (ULONG)(FIELD_OFFSET(struct disk_extents, extents) + count * sizeof(out.extents[0]));
	if (call->out_bytes < FIELD_OFFSET(struct disk_extents, extents[1]))
		return STATUS_BUFFER_TOO_SMALL;
	call->done_bytes = bytes < call->out_bytes ? bytes : call->out_bytes;
	memcpy(call->buf, &out, call->done_bytes);
	return bytes > call->out_bytes ? STATUS_BUFFER_OVERFLOW : STATUS_SUCCESS;
}

NTSTATUS volume_ioctl(struct port_call *call, unsigned int letter, ULONG code)
{
	return code == IOCTL_VOLUME_GET_VOLUME_DISK_EXTENTS ? extents(call, letter)
							    : STATUS_INVALID_DEVICE_REQUEST;
}

NTSTATUS volume_flush(struct port_call *call, unsigned int letter)
{
	unsigned int luns[LUNS_MAX], count = luns_of(letter, luns);
	NTSTATUS status = count ? STATUS_SUCCESS : STATUS_NO_SUCH_DEVICE;

	for (unsigned int i = 0; i < count && NT_SUCCESS(status); i++)
		status = disks_find(0, luns[i], &call->disk) ? disk_flush(call) : STATUS_NO_SUCH_DEVICE;
	return status;
}

/* ---- devices ------------------------------------------------------------------------------------------- */

#define NAME_CHARS 80

static void to_name(UNICODE_STRING *out, WCHAR buf[NAME_CHARS], const char *text)
{
	USHORT chars = 0;

	for (; text[chars] && chars + 1 < NAME_CHARS; chars++)
		buf[chars] = (WCHAR)text[chars];
	buf[chars] = 0;
	out->Buffer = buf;
	out->Length = (USHORT)(chars * sizeof(WCHAR));
	out->MaximumLength = (USHORT)(out->Length + sizeof(WCHAR));
}

/* As Wine names it: the letter's ASCII code stands at the end of the GUID. */
static void link_name(UNICODE_STRING *out, WCHAR buf[NAME_CHARS], unsigned int letter)
{
	static const char digits[] = "0123456789abcdef";
	char text[] = "\\DosDevices\\Volume{00000000-0000-0000-0000-0000000000xx}";

	text[sizeof(text) - 4] = digits[letter >> 4 & 15];
	text[sizeof(text) - 3] = digits[letter & 15];
	to_name(out, buf, text);
}

static void device_name(UNICODE_STRING *out, WCHAR buf[NAME_CHARS], unsigned int letter)
{
	char text[] = "\\Device\\UmbraLabVolumeX";

	text[sizeof(text) - 2] = (char)letter;
	to_name(out, buf, text);
}

static void make_one(DRIVER_OBJECT *driver, unsigned int letter)
{
	UNICODE_STRING name, link;
	WCHAR name_buf[NAME_CHARS], link_buf[NAME_CHARS];
	DEVICE_OBJECT *device;

	device_name(&name, name_buf, letter);
	link_name(&link, link_buf, letter);
	if (!NT_SUCCESS(IoCreateDevice(
		    driver, sizeof(struct device_extension), &name, FILE_DEVICE_DISK, 0, FALSE, &device)))
		return;
	struct device_extension *ext = device->DeviceExtension;
	ext->slot = SLOT_VOLUME;
	ext->adapter = letter;
	IoDeleteSymbolicLink(&link); /* Wine's own, where it knows the drive */
	if (!NT_SUCCESS(IoCreateSymbolicLink(&link, &name))) {
		IoDeleteDevice(device);
		return;
	}
	device->Flags |= DO_BUFFERED_IO;
	device->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
	devices[letter - 'A'] = device;
}

void volumes_make(DRIVER_OBJECT *driver)
{
	unsigned int luns[LUNS_MAX];

	for (unsigned int letter = 'A'; letter <= 'Z'; letter++)
		if (luns_of(letter, luns))
			make_one(driver, letter);
}

void volumes_destroy(void)
{
	UNICODE_STRING link;
	WCHAR link_buf[NAME_CHARS];

	for (unsigned int letter = 'A'; letter <= 'Z'; letter++) {
		if (!devices[letter - 'A'])
			continue;
		link_name(&link, link_buf, letter);
		IoDeleteSymbolicLink(&link);
		IoDeleteDevice(devices[letter - 'A']);
		devices[letter - 'A'] = NULL;
	}
}
