/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See disk_numbers.h. A disk may go between being listed and being opened: it is left out then. Its number may go to
 * another disk after it was told: whoever opens \\.\PhysicalDriveN looks at what it has got.
 */
#include "provider/disk_numbers.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <winioctl.h>
#include <setupapi.h>

#define PATH_BYTES_MAX 8192
#define DISKS_MAX      65536

/* What Windows takes for cbSize, of 64 bits; any other size is refused. */
static_assert(sizeof(SP_DEVICE_INTERFACE_DETAIL_DATA_W) == 8, "the fixed part with the first character");
static_assert(sizeof(SP_DEVICE_INTERFACE_DATA) == 32, "one interface");

void disk_numbers_add(struct disk_numbers *d, unsigned number)
{
	size_t at = d->count;

	while (at && d->numbers[at - 1] >= number)
		at--;
	if (at < d->count && d->numbers[at] == number)
		return;
	if (d->count == d->cap) {
		size_t cap = d->cap ? d->cap * 2 : 64;
		unsigned *grown = realloc(d->numbers, cap * sizeof(*grown));
		if (!grown) {
			d->error = ERROR_OUTOFMEMORY;
			return;
		}
		d->numbers = grown;
		d->cap = cap;
	}
	memmove(d->numbers + at + 1, d->numbers + at, (d->count - at) * sizeof(*d->numbers));
	d->numbers[at] = number;
	d->count++;
}

/* False: the disk has gone, or it has no number (one below multipathing software). */
static bool ask_number(const WCHAR *path, unsigned *number)
{
	STORAGE_DEVICE_NUMBER told = {0};
	DWORD returned = 0;

	HANDLE file = CreateFileW(path, 0, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
	if (file == INVALID_HANDLE_VALUE)
		return false;
	bool good = DeviceIoControl(file, IOCTL_STORAGE_GET_DEVICE_NUMBER, NULL, 0, &told, sizeof(told),
			    &returned, NULL) &&
		    returned >= sizeof(told) && told.DeviceType == FILE_DEVICE_DISK &&
		    told.DeviceNumber != MAXDWORD;
	CloseHandle(file);
	*number = told.DeviceNumber;
	return good;
}

static void add_interface(
	struct disk_numbers *d, HDEVINFO list, SP_DEVICE_INTERFACE_DATA *one, uint64_t *detail_buf)
{
	SP_DEVICE_INTERFACE_DETAIL_DATA_W *detail = (void *)detail_buf;
	unsigned number;

	memset(detail_buf, 0, PATH_BYTES_MAX);
	detail->cbSize = sizeof(*detail);
	if (SetupDiGetDeviceInterfaceDetailW(list, one, detail, PATH_BYTES_MAX, NULL, NULL)) {
		if (ask_number(detail->DevicePath, &number))
			disk_numbers_add(d, number);
	} else if (GetLastError() == ERROR_INSUFFICIENT_BUFFER || GetLastError() == ERROR_OUTOFMEMORY) {
		d->error = GetLastError(); /* anything else: it has gone */
	}
}

struct disk_numbers disk_numbers_read(void)
{
	struct disk_numbers d = {0};
	uint64_t *detail = malloc(PATH_BYTES_MAX);
	HDEVINFO list = INVALID_HANDLE_VALUE;

	if (!detail)
		d.error = ERROR_OUTOFMEMORY;
	else
		list = SetupDiGetClassDevsW(
			&GUID_DEVINTERFACE_DISK, NULL, NULL, DIGCF_PRESENT | DIGCF_DEVICEINTERFACE);
	if (list == INVALID_HANDLE_VALUE) {
		d.error = d.error ? d.error : GetLastError();
		free(detail);
		return d;
	}
	for (DWORD i = 0; i < DISKS_MAX; i++) {
		SP_DEVICE_INTERFACE_DATA one = {.cbSize = sizeof(one)};
		if (SetupDiEnumDeviceInterfaces(list, NULL, &GUID_DEVINTERFACE_DISK, i, &one)) {
			add_interface(&d, list, &one, detail);
			continue;
		}
		if (GetLastError() != ERROR_NO_MORE_ITEMS)
			d.error = GetLastError();
		break;
	}
	SetupDiDestroyDeviceInfoList(list);
	free(detail);
	return d;
}

void disk_numbers_free(struct disk_numbers *d)
{
	free(d->numbers);
	memset(d, 0, sizeof(*d));
}
