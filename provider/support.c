/* SPDX-License-Identifier: Apache-2.0 */
/* See support.h: the command, what "check" finds, the arrays and the disks. */
#include "provider/support.h"

#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <winioctl.h>
#include <ole2.h>
#include "proto/identity.h"
#include "provider/array_client.h"
#include "provider/check.h"
#include "provider/disk_numbers.h"
#include "provider/refusal.h"
#include "provider/setup_bounded.h"
#include "provider/support_text.h"
#include "provider/version.h"

#define PROPERTY_CAP 8192
#define SHOWN_BYTES  128

static void section(FILE *out, const char *name)
{
	fprintf(out, "\n== %s ==\n", name);
	fflush(out); /* what hangs or crashes in it leaves the rest */
}

static void findings(FILE *out)
{
	static struct findings f;

	check_all(&f);
	findings_print(&f, out);
}

/* ---- arrays ------------------------------------------------------------------------------------------- */

static void show_array(FILE *out, const struct array_info *a)
{
	char id[UP_SERIAL_BYTES + 1];

	up_id_format(a->id, id);
	fprintf(out, "%s %s: host %s, authenticated %d, capabilities %llx, LUNs a set %u, commit %u ms\n",
		a->name, id, a->initiator, a->authenticated, (unsigned long long)a->capabilities,
		a->max_set_luns, a->commit_budget_ms);
	for (unsigned i = 0; i < a->path_count; i++) {
		const struct channel_path *p = &a->paths[i];
		up_id_format(p->lun_id, id);
		fprintf(out, "  %s %u:%u:%u type %02x route %08x%s %s\n", p->device.name, p->device.path,
			p->device.target, p->device.lun, p->device.device_type, (unsigned)p->device.route,
			p->is_shadow ? " shadow" : "", id);
	}
}

static void arrays(FILE *out)
{
	static struct array_info info;
	uint8_t ids[ARRAYS_MAX][UP_ID_BYTES];
	struct array_client *c = array_client_create(transport_spti());

	if (!c)
		return;
	array_client_discover(c);
	unsigned count = array_client_ids(c, ids);
	for (unsigned i = 0; i < count; i++)
		if (array_client_info(c, ids[i], &info) == 0)
			show_array(out, &info);
	fprintf(out, "%u array%s%s\n", count, count == 1 ? "" : "s",
		array_client_has_gaps(c) ? ", and a device of one that does not answer" : "");
	array_client_destroy(c);
}

/* ---- disks -------------------------------------------------------------------------------------------- */

static DWORD query(HANDLE disk, STORAGE_PROPERTY_ID id, uint8_t *property)
{
	STORAGE_PROPERTY_QUERY q = {.PropertyId = id, .QueryType = PropertyStandardQuery};
	DWORD got = 0;

	memset(property, 0, PROPERTY_CAP);
	return DeviceIoControl(disk, IOCTL_STORAGE_QUERY_PROPERTY, &q, sizeof(q), property, PROPERTY_CAP - 1,
		       &got, NULL)
		       ? got
		       : 0;
}

static const char *text_at(const uint8_t *property, DWORD len, DWORD offset)
{
	return offset && offset < len ? (const char *)property + offset : "";
}

static void show_page83(FILE *out, const uint8_t *property, DWORD len)
{
	const STORAGE_DEVICE_ID_DESCRIPTOR *d = (const void *)property;
	const DWORD head = offsetof(STORAGE_IDENTIFIER, Identifier);
	DWORD at = offsetof(STORAGE_DEVICE_ID_DESCRIPTOR, Identifiers);

	for (DWORD i = 0; len >= at && i < d->NumberOfIdentifiers && len - at >= head; i++) {
		const STORAGE_IDENTIFIER *one = (const void *)(property + at);
		if (one->IdentifierSize > len - at - head)
			break;
		fprintf(out, "    83: association %u type %u code %u ", (unsigned)one->Association,
			(unsigned)one->Type, (unsigned)one->CodeSet);
		support_hex(one->Identifier, one->IdentifierSize, SHOWN_BYTES, out);
		fputc('\n', out);
		if (!one->NextOffset || one->NextOffset > len - at)
			break;
		at += one->NextOffset;
	}
}

static void show_disk(FILE *out, HANDLE disk, unsigned number, uint8_t *property)
{
	const STORAGE_DEVICE_DESCRIPTOR *d = (const void *)property;
	GET_LENGTH_INFORMATION length = {0};
	DWORD got = 0, len = query(disk, StorageDeviceProperty, property);

	(void)DeviceIoControl(disk, IOCTL_DISK_GET_LENGTH_INFO, NULL, 0, &length, sizeof(length), &got, NULL);
	bool writable = DeviceIoControl(disk, IOCTL_DISK_IS_WRITABLE, NULL, 0, NULL, 0, &got, NULL);
	fprintf(out, "PhysicalDrive%u%s: %lld bytes%s%s", number,
		transport_spti_is_ours(disk) ? " (ours)" : "", (long long)length.Length.QuadPart,
		writable ? "" : ", not writable", transport_spti_is_clustered(disk) ? ", of a cluster" : "");
	if (len >= sizeof(*d))
		fprintf(out, ", bus %u, vendor \"%s\", product \"%s\", revision \"%s\", 80: \"%s\"",
			(unsigned)d->BusType, text_at(property, len, d->VendorIdOffset),
			text_at(property, len, d->ProductIdOffset),
			text_at(property, len, d->ProductRevisionOffset),
			text_at(property, len, d->SerialNumberOffset));
	fputc('\n', out);
	show_page83(out, property, query(disk, StorageDeviceIdProperty, property));
}

static void disks(FILE *out)
{
	uint8_t *property = malloc(PROPERTY_CAP);
	struct disk_numbers there = disk_numbers_read();

	if (there.error)
		fprintf(out, "Windows does not tell all its disks: error %lu\n", (unsigned long)there.error);
	for (size_t i = 0; property && i < there.count; i++) {
		unsigned n = there.numbers[i];
		char name[TRANSPORT_NAME_MAX_BYTES];
		snprintf(name, sizeof(name), "\\\\.\\PhysicalDrive%u", n);
		HANDLE disk = CreateFileA(
			name, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
		if (disk == INVALID_HANDLE_VALUE)
			continue;
		show_disk(out, disk, n, property);
		CloseHandle(disk);
	}
	disk_numbers_free(&there);
	free(property);
}

int support_run(int count, wchar_t **words)
{
	static const struct {
		const char *name;
		void (*write)(FILE *out);
	} sections[] = {{"system", support_system}, {"check", findings}, {"registry", support_registry},
		{"arrays", arrays}, {"disks", disks}, {"events", support_events},
		{"programs", support_programs}, {"trace", support_trace}};

	if (count != 1 || words[0][0] == L'-' || !words[0][0]) {
		return refusal_words("support takes the name of a file that it writes",
			"Usage: umbra-vss support FILE.txt\n");
	}
	FILE *out = _wfopen(words[0], L"w");
	if (!out) {
		refusal_say("the file cannot be written. Name one in a folder that you may write to.");
		return 1;
	}
	fprintf(out, "umbra-vss support, version %s\n", provider_version);
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		section(out, sections[i].name);
		sections[i].write(out);
	}
	section(out, "end");
	bool good = !ferror(out);
	good = fclose(out) == 0 && good;
	if (!setup_bounded_hangs())
		CoUninitialize();
	if (!good) {
		refusal_say("the file was not written wholly: is there room on its disk?");
		return 1;
	}
	puts("Written. It holds no secrets, but names and addresses of your machines: look through it before you pass it on.");
	return 0;
}
