/* SPDX-License-Identifier: Apache-2.0 */
/* See disks.h. The table is guarded by port_lock(). */
#include <string.h>
#include "lab/scsiport/disks.h"
#include "lab/scsiport/interface.h"

DRIVER_OBJECT *port_driver;

static struct disk disks[DISKS_MAX];
/* What an adapter's last scan found. */
static struct found {
	struct labw_lun luns[LABW_MAX_LUNS];
	uint32_t count;
} found[PORT_ADAPTERS_MAX];

void port_name(UNICODE_STRING *name, WCHAR *buf, const char *prefix, unsigned int number, const char *suffix)
{
	WCHAR digits[10], *p = buf;
	int n = 0;

	while (*prefix)
		*p++ = (WCHAR)*prefix++;
	do {
		digits[n++] = (WCHAR)(L'0' + number % 10);
		number /= 10;
	} while (number);
	while (n)
		*p++ = digits[--n];
	while (*suffix)
		*p++ = (WCHAR)*suffix++;
	*p = 0;
	name->Buffer = buf;
	name->Length = (USHORT)((char *)p - (char *)buf);
	name->MaximumLength = (USHORT)(name->Length + sizeof(WCHAR));
}

/* The settings FirstDrive and DriveStep, as they were when the driver was loaded. */
static unsigned int drive_number(unsigned int slot)
{
	static unsigned int first, step;

	if (!step) {
		first = port_setting(L"FirstDrive", DISKS_FIRST);
		step = port_setting(L"DriveStep", 1);
	}
	return first + slot * step;
}

/* A new disk can be opened by its number before its interface is listed: until the next look, when LateDisks is set. */
static bool is_late(void)
{
	return port_setting(L"LateDisks", 0) != 0;
}

static bool device_make(unsigned int slot)
{
	struct device_extension *ext;
	UNICODE_STRING name;
	WCHAR buf[48];

	if (disks[slot].device)
		return true;
	port_name(&name, buf, "\\Device\\UmbraLabDisk", drive_number(slot), "");
	if (!NT_SUCCESS(IoCreateDevice(
		    port_driver, sizeof(*ext), &name, FILE_DEVICE_DISK, 0, FALSE, &disks[slot].device))) {
		disks[slot].device = NULL;
		return false;
	}
	ext = disks[slot].device->DeviceExtension;
	ext->slot = slot;
	disks[slot].slot = slot;
	disks[slot].number = drive_number(slot);
	disks[slot].device->Flags |= DO_BUFFERED_IO;
	disks[slot].device->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
	return true;
}

static void link_names(
	unsigned int slot, UNICODE_STRING *link, WCHAR *link_buf, UNICODE_STRING *target, WCHAR *target_buf)
{
	port_name(link, link_buf, "\\DosDevices\\PhysicalDrive", drive_number(slot), "");
	port_name(target, target_buf, "\\Device\\UmbraLabDisk", drive_number(slot), "");
}

/* The interface's name leads to the disk, and is listed. */
static void disk_list(unsigned int slot)
{
	UNICODE_STRING link, target, name;
	WCHAR link_buf[48], target_buf[48], name_buf[INTERFACE_CHARS];

	link_names(slot, &link, link_buf, &target, target_buf);
	interface_link(&name, name_buf, slot + 1);
	if (NT_SUCCESS(IoCreateSymbolicLink(&name, &target)) && NT_SUCCESS(interface_set(slot + 1, true)))
		disks[slot].listed = true;
}

static void disk_remove(unsigned int slot)
{
	UNICODE_STRING link, target, name;
	WCHAR link_buf[48], target_buf[48], name_buf[INTERFACE_CHARS];

	link_names(slot, &link, link_buf, &target, target_buf);
	IoDeleteSymbolicLink(&link);
	interface_link(&name, name_buf, slot + 1);
	(void)interface_set(slot + 1, false);
	IoDeleteSymbolicLink(&name);
	disks[slot].listed = false;
	disks[slot].present = false;
	disks[slot].generation++;
}

/* In the lowest slot that has no disk and whose name nobody else has taken. */
static void disk_add(unsigned int adapter, const struct labw_lun *lun)
{
	UNICODE_STRING link, target;
	WCHAR link_buf[48], target_buf[48];

	for (unsigned int slot = 0; slot < DISKS_MAX; slot++) {
		if (disks[slot].present || !device_make(slot))
			continue;
		link_names(slot, &link, link_buf, &target, target_buf);
		if (!NT_SUCCESS(IoCreateSymbolicLink(&link, &target)))
			continue;
		memset(disks[slot].paths, 0, sizeof(disks[slot].paths));
		disks[slot].lun = *lun;
		disks[slot].adapter = disks[slot].active = adapter;
		disks[slot].paths[adapter] = (struct disk_path){true, lun->lun};
		disks[slot].present = true;
		disks[slot].generation++;
		if (!is_late())
			disk_list(slot);
		return;
	}
}

/* MPIO as the driver found it when it was loaded: one disk for a LUN, however many adapters lead to it. */
static bool is_multipath(void)
{
	static int known = -1;

	if (known < 0)
		known = port_setting(L"Multipath", 0) != 0;
	return known != 0;
}

/* The LUN that is the disk's path on this adapter. */
static bool is_path(const struct disk *disk, unsigned int adapter, const struct labw_lun *lun)
{
	return disk->present && disk->paths[adapter].there && disk->paths[adapter].lun == lun->lun &&
	       disk->lun.identity == lun->identity;
}

/* A path in standby does not tell the size. */
static bool is_disk(const struct labw_lun *lun)
{
	return (lun->inquiry[0] & 0xFF) == 0 && lun->block_bytes != 0;
}

/* The disk that this LUN is a path of, or becomes one of. */
static struct disk *find_disk(unsigned int adapter, const struct labw_lun *lun)
{
	for (unsigned int slot = 0; slot < DISKS_MAX; slot++) {
		if (is_path(&disks[slot], adapter, lun))
			return &disks[slot];
	}
	for (unsigned int slot = 0; is_multipath() && slot < DISKS_MAX; slot++) {
		struct disk *disk = &disks[slot];
		if (disk->present && disk->lun.identity == lun->identity && !disk->paths[adapter].there) {
			disk->paths[adapter] = (struct disk_path){true, lun->lun};
			return disk;
		}
	}
	return NULL;
}

static bool still_there(const struct disk *disk, unsigned int adapter, const struct found *now)
{
	for (uint32_t i = 0; i < now->count; i++) {
		if ((is_disk(&now->luns[i]) || is_multipath()) && is_path(disk, adapter, &now->luns[i]))
			return true;
	}
	return false;
}

/* The disk goes with its last path. */
static void path_remove(unsigned int slot, unsigned int adapter)
{
	struct disk *disk = &disks[slot];

	disk->paths[adapter].there = false;
	for (unsigned int n = 0; n < PORT_ADAPTERS_MAX; n++) {
		if (!disk->paths[n].there)
			continue;
		if (disk->adapter == adapter)
			disk->adapter = n;
		if (disk->active == adapter)
			disk->active = n;
		return;
	}
	disk_remove(slot);
}

static void table_fit(unsigned int adapter, const struct found *now)
{
	for (unsigned int slot = 0; slot < DISKS_MAX; slot++) {
		if (disks[slot].present && disks[slot].paths[adapter].there &&
			!still_there(&disks[slot], adapter, now))
			path_remove(slot, adapter);
		else if (disks[slot].present && !disks[slot].listed)
			disk_list(slot);
	}
	for (uint32_t i = 0; i < now->count; i++) {
		struct disk *disk =
			(now->luns[i].inquiry[0] & 0xFF) == 0 ? find_disk(adapter, &now->luns[i]) : NULL;

		if (disk && is_disk(&now->luns[i]))
			disk->lun = now->luns[i]; /* its size may be new */
		else if (!disk && is_disk(&now->luns[i]))
			disk_add(adapter, &now->luns[i]);
	}
}

static void take_scan(unsigned int adapter, const struct labw_reply *rep)
{
	struct found *now = &found[adapter];

	port_lock();
	now->count = 0;
	for (uint32_t i = 0; i < rep->lun_count; i++) {
		if (labw_lun_get(&now->luns[now->count], rep->lun_entries + i * LABW_LUN_BYTES))
			now->count++;
	}
	table_fit(adapter, now);
	for (unsigned int n = 0; is_multipath() && n < PORT_ADAPTERS_MAX; n++)
		table_fit(n, &found[n]); /* a disk that came by this one has paths there, in standby */
	port_unlock();
}

NTSTATUS disks_refresh(struct port_worker *worker, unsigned int adapter, uint8_t verb)
{
	struct labw_request req = {.verb = verb};
	struct labw_reply rep;
	uint32_t result;

	port_scan_lock();
	result = port_exchange(worker, adapter, &req, &rep);
	if (result == LABW_OK)
		take_scan(adapter, &rep);
	port_scan_unlock();
	return result == LABW_OK ? STATUS_SUCCESS : STATUS_DEVICE_NOT_CONNECTED;
}

uint32_t disks_open(unsigned int slot)
{
	uint32_t generation;

	port_lock();
	generation = slot < DISKS_MAX && disks[slot].present ? disks[slot].generation : 0;
	port_unlock();
	return generation;
}

bool disks_get(unsigned int slot, uint32_t generation, struct disk *out)
{
	bool there;

	port_lock();
	there = slot < DISKS_MAX && disks[slot].present && disks[slot].generation == generation;
	if (there)
		*out = disks[slot];
	port_unlock();
	return there;
}

bool disks_find(unsigned int adapter, unsigned int lun, struct disk *out)
{
	bool there = false;

	port_lock();
	for (unsigned int slot = 0; slot < DISKS_MAX && !there; slot++) {
		there = disks[slot].present && disks[slot].paths[adapter].there &&
			disks[slot].paths[adapter].lun == lun;
		if (there)
			*out = disks[slot];
	}
	port_unlock();
	return there;
}

void disks_set_active(unsigned int slot, uint32_t generation, unsigned int adapter)
{
	port_lock();
	if (slot < DISKS_MAX && disks[slot].present && disks[slot].generation == generation &&
		disks[slot].paths[adapter].there)
		disks[slot].active = adapter;
	port_unlock();
}

bool disks_claimed(unsigned int adapter, unsigned int lun)
{
	struct disk disk;

	return disks_find(adapter, lun, &disk);
}

uint32_t disks_all_luns(unsigned int adapter, struct labw_lun *out, uint32_t max)
{
	uint32_t count;

	port_lock();
	count = found[adapter].count < max ? found[adapter].count : max;
	memcpy(out, found[adapter].luns, count * sizeof(*out));
	port_unlock();
	return count;
}

void disks_destroy(void)
{
	port_lock();
	for (unsigned int slot = 0; slot < DISKS_MAX; slot++) {
		if (disks[slot].present)
			disk_remove(slot);
		if (disks[slot].device)
			IoDeleteDevice(disks[slot].device);
		disks[slot].device = NULL;
	}
	port_unlock();
}
