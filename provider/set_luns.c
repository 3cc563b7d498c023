/* SPDX-License-Identifier: Apache-2.0 */
/* See set_luns.h. Foreign disks get no command: Windows is asked whose they are. */
#include "provider/set_luns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <winioctl.h>
#include "proto/identity.h"
#include "provider/channel.h"
#include "provider/copies.h"
#include "provider/set_words.h"

#define DEVICES_MAX  1024
#define EXTENTS_MAX  64
#define VOLUME_CHARS 64

/* As in winioctl.h, which mingw-w64 10 has without them. */
#ifndef IOCTL_DISK_GET_DISK_ATTRIBUTES
#define IOCTL_DISK_GET_DISK_ATTRIBUTES 0x000700F0
#endif
#define ATTRIBUTE_OFFLINE 1u
struct disk_attributes {
	DWORD version, reserved;
	DWORDLONG attributes;
};

/* ---- drives ------------------------------------------------------------------------------------------- */

/* By VPD page 80h of a device of ours. */
static bool id_of_device(const struct transport_device *device, uint8_t id[UP_ID_BYTES])
{
	struct channel_path path = {.device = *device};
	char serial[TRANSPORT_SERIAL_MAX_BYTES + 1];
	struct channel ch;
	uint8_t type;

	if (channel_open(transport_spti(), &path, &ch) < 0)
		return false;
	bool found = channel_inquire(&ch, &type, serial) == 0 && type == 0 && up_id_parse(serial, id);
	channel_close(&ch);
	return found;
}

static bool is_ours(const char *name)
{
	HANDLE file = CreateFileA(name, 0, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
	bool ours = file != INVALID_HANDLE_VALUE && transport_spti_is_ours(file);

	if (file != INVALID_HANDLE_VALUE)
		CloseHandle(file);
	return ours;
}

static bool id_of_drive(unsigned number, uint8_t id[UP_ID_BYTES], char *why, size_t cap)
{
	struct transport_device device = {0};

	snprintf(device.name, sizeof(device.name), "\\\\.\\PhysicalDrive%u", number);
	if (!is_ours(device.name)) {
		snprintf(why, cap,
			"PhysicalDrive%u is no LUN of an Umbra array: \"umbra-vss status\" shows those that are",
			number);
		return false;
	}
	if (id_of_device(&device, id))
		return true;
	snprintf(
		why, cap, "PhysicalDrive%u does not answer: check its iSCSI session, then try again", number);
	return false;
}

/* ---- volumes ------------------------------------------------------------------------------------------ */

/* Opened by the volume's own name, which has no backslash at its end then. */
static HANDLE open_volume(const wchar_t *word)
{
	WCHAR root[MAX_PATH], name[VOLUME_CHARS];
	size_t len = wcslen(word);

	if (len + 2 > MAX_PATH)
		return INVALID_HANDLE_VALUE;
	_snwprintf(root, MAX_PATH, L"%ls%ls", word, len && word[len - 1] == L'\\' ? L"" : L"\\");
	if (!GetVolumeNameForVolumeMountPointW(root, name, VOLUME_CHARS))
		return INVALID_HANDLE_VALUE;
	name[wcslen(name) - 1] = L'\0';
	return CreateFileW(name, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
		OPEN_EXISTING, 0, NULL);
}

static bool add_id(struct set_luns *luns, const uint8_t id[UP_ID_BYTES], char *why, size_t cap)
{
	for (unsigned i = 0; i < luns->count; i++)
		if (memcmp(luns->ids[i], id, UP_ID_BYTES) == 0)
			return true;
	if (luns->count == UP_PAGE_MAX_LUNS) {
		snprintf(why, cap, "a set has at most %d LUNs: make two sets", UP_PAGE_MAX_LUNS);
		return false;
	}
	memcpy(luns->ids[luns->count++], id, UP_ID_BYTES);
	return true;
}

static bool add_extents(struct set_luns *luns, HANDLE volume, const char *text, char *why, size_t cap)
{
	const DWORD size = (DWORD)(sizeof(VOLUME_DISK_EXTENTS) + EXTENTS_MAX * sizeof(DISK_EXTENT));
	VOLUME_DISK_EXTENTS *extents = calloc(1, size);
	uint8_t id[UP_ID_BYTES];
	DWORD got = 0;

	bool good = extents && DeviceIoControl(volume, IOCTL_VOLUME_GET_VOLUME_DISK_EXTENTS, NULL, 0, extents,
				       size, &got, NULL);
	if (!good)
		snprintf(why, cap,
			"Windows does not say on which disks %s lies (error %lu): name its LUNs by --luns",
			text, (unsigned long)GetLastError());
	if (good && !extents->NumberOfDiskExtents) {
		snprintf(why, cap, "%s lies on no disk: name its LUNs by --luns", text);
		good = false;
	}
	for (DWORD i = 0; good && i < extents->NumberOfDiskExtents; i++)
		good = id_of_drive(extents->Extents[i].DiskNumber, id, why, cap) &&
		       add_id(luns, id, why, cap);
	free(extents);
	return good;
}

static bool add_volume(struct set_luns *luns, const wchar_t *word, char *why, size_t cap)
{
	HANDLE volume = open_volume(word);
	char text[200];

	copies_utf8(word, text, sizeof(text));
	if (volume == INVALID_HANDLE_VALUE) {
		snprintf(why, cap,
			"%s is no volume that can be opened (error %lu): run this from an elevated prompt",
			text, (unsigned long)GetLastError());
		return false;
	}
	/* What the file system holds back goes to the LUN before the instant. */
	bool good = add_extents(luns, volume, text, why, cap);
	if (good && !FlushFileBuffers(volume)) {
		snprintf(why, cap, "%s cannot be flushed (error %lu): look at the volume", text,
			(unsigned long)GetLastError());
		good = false;
	}
	CloseHandle(volume);
	return good;
}

bool set_luns_add(struct set_luns *luns, const wchar_t *word, bool volume, char *why, size_t cap)
{
	uint8_t id[UP_ID_BYTES];
	char text[200];
	int drive;

	if (volume)
		return add_volume(luns, word, why, cap);
	if (set_parse_lun(word, id, &drive))
		return add_id(luns, id, why, cap);
	if (drive >= 0)
		return id_of_drive((unsigned)drive, id, why, cap) && add_id(luns, id, why, cap);
	copies_utf8(word, text, sizeof(text));
	snprintf(why, cap, "%s is no LUN: name a drive (PhysicalDrive3) or an id (32 hexadecimal digits)",
		text);
	return false;
}

/* ---- online? ------------------------------------------------------------------------------------------ */

static bool drive_online(const char *name)
{
	HANDLE file = CreateFileA(
		name, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
	struct disk_attributes now = {0};
	DWORD got = 0;

	if (file == INVALID_HANDLE_VALUE)
		return false;
	bool told =
		DeviceIoControl(file, IOCTL_DISK_GET_DISK_ATTRIBUTES, NULL, 0, &now, sizeof(now), &got, NULL);
	CloseHandle(file);
	return told && !(now.attributes & ATTRIBUTE_OFFLINE);
}

bool set_lun_online(const uint8_t id[UP_ID_BYTES], char *drive, size_t cap)
{
	struct transport *t = transport_spti();
	struct transport_device *devices = calloc(DEVICES_MAX, sizeof(*devices));
	unsigned count = devices ? t->ops->enumerate(t, devices, DEVICES_MAX) : 0;
	bool online = false;

	for (unsigned i = 0; i < count && !online; i++) {
		uint8_t found[UP_ID_BYTES];
		if (devices[i].is_port || devices[i].device_type != 0 || !id_of_device(&devices[i], found) ||
			memcmp(found, id, UP_ID_BYTES) != 0)
			continue;
		snprintf(drive, cap, "%s", devices[i].name + strlen("\\\\.\\"));
		online = drive_online(devices[i].name);
	}
	free(devices);
	return online;
}
