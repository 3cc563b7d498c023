/* SPDX-License-Identifier: Apache-2.0 */
/* The command, and the part of the preflight that concerns arrays and disks. See check.h. */
#include "provider/check.h"

#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <winioctl.h>
#include <ole2.h>
#include "proto/identity.h"
#include "provider/adopt.h"
#include "provider/array_client.h"
#include "provider/check_try.h"
#include "provider/com_security.h"
#include "provider/disk_numbers.h"
#include "provider/page83.h"
#include "provider/refusal.h"
#include "provider/setup.h"
#include "provider/setup_bounded.h"
#include "provider/setup_registry.h"
#include "provider/version.h"

#define DISKS_MAX      256
#define DESCRIPTOR_CAP 4096

/* ---- arrays --------------------------------------------------------------------------------------- */

static void check_array(struct findings *f, const struct array_info *a)
{
	char id[UP_SERIAL_BYTES + 1];

	up_id_format(a->id, id);
	finding_add(f, FINDING_OK, "array", NULL, "%s (%s) answers over %u device%s; this host is %s there",
		a->name, id, a->path_count, a->path_count == 1 ? "" : "s", a->initiator);
	if (a->authenticated)
		finding_add(f, FINDING_OK, "array CHAP", NULL, "%s: the session is authenticated", a->name);
	else if (a->capabilities & (UP_CAP_DIFFERENTIAL | UP_CAP_PLEX))
		finding_add(f, FINDING_NOTE, "array CHAP",
			"better give the host a secret on the array (umbractl host set --chap-file) and connect the "
			"target again with CHAP",
			"%s: the session is not authenticated; the array takes shadow copies of this host all the same, "
			"and of anybody who claims its name",
			a->name);
	else
		finding_add(f, FINDING_WRONG, "array CHAP",
			"give the host a secret on the array (umbractl host set --chap-file) and connect the target "
			"again with CHAP; the array refuses shadow copies otherwise, unless its record of this host "
			"says --control-without-chap",
			"%s: the session is not authenticated by CHAP", a->name);
	if (a->capabilities & UP_CAP_DIFFERENTIAL)
		finding_add(f, FINDING_OK, "array offers", NULL,
			"%s: differential%s%s%s copies, %u LUNs a set, commit within %u ms", a->name,
			a->capabilities & UP_CAP_PLEX ? ", plex" : "",
			a->capabilities & UP_CAP_BREAK ? ", break" : "",
			a->capabilities & UP_CAP_RESYNC ? ", resync" : "", a->max_set_luns,
			a->commit_budget_ms);
	else if (a->authenticated)
		finding_add(f, FINDING_WRONG, "array offers", "update the array's umbrad",
			"%s: no differential shadow copies", a->name);
	if (a->capabilities & UP_CAP_READ_ONLY)
		finding_add(f, FINDING_WRONG, "array pool",
			"look at the disk of the array's pool, then restart umbrad (umbractl status tells what failed)",
			"%s: its pool is read-only since a failure; no shadow copies can be made", a->name);
	unsigned originals = 0;
	for (unsigned i = 0; i < a->path_count; i++)
		originals += a->paths[i].device.device_type == 0 && !a->paths[i].is_shadow;
	if (!originals)
		finding_add(f, FINDING_NOTE, "array LUNs",
			"for shadow copies of this host's own volumes, map a LUN to it (umbractl map LUN HOST)",
			"%s: no LUN but shadow copies or the control LU: this host can only import", a->name);
}

static void check_reach(struct findings *f)
{
	static struct array_info info;
	uint8_t ids[ARRAYS_MAX][UP_ID_BYTES];
	struct array_client *client = array_client_create(transport_spti());

	if (!client) {
		finding_add(f, FINDING_WRONG, "array", "free memory and try again", "out of memory");
		return;
	}
	array_client_discover(client);
	unsigned count = array_client_ids(client, ids);
	for (unsigned i = 0; i < count; i++)
		if (array_client_info(client, ids[i], &info) == 0) {
			check_array(f, &info);
			adopt_check(f, &info);
		}
	bool gaps = array_client_has_gaps(client);
	array_client_destroy(client);
	if (count && gaps)
		finding_add(f, FINDING_WRONG, "array",
			"connect its iSCSI session again if it is lost, and look at its array and the network; more than "
			"8 arrays on one host are not reached either",
			"a device of an array does not answer: a path is silent, or an array is missing here");
	if (!count)
		finding_add(f, FINDING_WRONG, "array",
			"connect the array's iSCSI target and map a LUN to this host (or give its record a control "
			"LU), then rescan the disks",
			"none is reached");
}

/* ---- page 83 -------------------------------------------------------------------------------------- */

struct disk {
	unsigned number;
	bool ours, clustered;
	struct page83_disk page;
};

/* False: there is no such disk, or it has no page 83. */
static bool read_disk(unsigned number, uint8_t *buf, struct disk *out)
{
	STORAGE_PROPERTY_QUERY query = {
		.PropertyId = StorageDeviceIdProperty, .QueryType = PropertyStandardQuery};
	char name[TRANSPORT_NAME_MAX_BYTES];
	DWORD returned = 0;

	memset(out, 0, sizeof(*out));
	out->number = number;
	snprintf(name, sizeof(name), "\\\\.\\PhysicalDrive%u", number);
	HANDLE file = CreateFileA(name, 0, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
	if (file == INVALID_HANDLE_VALUE)
		return false;
	out->ours = transport_spti_is_ours(file);
	out->clustered = out->ours && transport_spti_is_clustered(file);
	memset(buf, 0, DESCRIPTOR_CAP);
	bool told = DeviceIoControl(file, IOCTL_STORAGE_QUERY_PROPERTY, &query, sizeof(query), buf,
		DESCRIPTOR_CAP, &returned, NULL);
	CloseHandle(file);
	if (told)
		(void)page83_parse(buf, returned, &out->page);
	return out->ours || out->page.id_count;
}

static unsigned compare_disks(struct findings *f, const struct disk *disks, unsigned count)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < count; i++) {
		if (disks[i].ours && !disks[i].page.id_count) {
			finding_add(f, FINDING_WRONG, "page 83",
				"connect the iSCSI session again if it is lost; else look for a filter driver that hides them",
				"PhysicalDrive%u, a LUN of an array, tells no identifiers", disks[i].number);
			wrong++;
		}
		for (unsigned n = i + 1; n < count; n++) {
			if (!page83_confused(&disks[i].page, &disks[n].page))
				continue;
			bool paths = disks[i].ours && disks[n].ours;
			finding_add(f, FINDING_WRONG, "page 83",
				paths ? "it is one LUN on two paths: install and claim it with MPIO (mpclaim), "
					"or disconnect one of the sessions"
				      : "use MPIO when this is one disk on two paths; else ask the maker of the "
					"disks for unique identifiers",
				"PhysicalDrive%u and PhysicalDrive%u have the same identifiers",
				disks[i].number, disks[n].number);
			wrong++;
		}
	}
	return wrong;
}

/* A node brings up no second disk with the signature of one of the cluster's: what is imported where it was made stays
 * offline, or takes the original's place. Windows calls that "auto-import", and does not support it in a cluster. */
static void check_cluster(struct findings *f, const struct disk *disks, unsigned count)
{
	bool node = registry_exists(L"Cluster");
	unsigned clustered = 0, first = 0;

	for (unsigned i = 0; i < count; i++)
		if (disks[i].clustered && !clustered++)
			first = disks[i].number;
	if (clustered)
		finding_add(f, FINDING_NOTE, "cluster",
			"make transportable shadow copies of cluster disks (diskshadow: set option transportable) and import "
			"them on a host that is no node of this cluster",
			"PhysicalDrive%u%s: a disk of the failover cluster, of which Windows does not support shadow "
			"copies that are imported on a node",
			first, clustered > 1 ? " and others" : "");
	else if (node)
		finding_add(f, FINDING_OK, "cluster", NULL,
			"a node of a failover cluster; none of its disks is a LUN of an array here");
}

static void check_page83(struct findings *f)
{
	struct disk *disks = calloc(DISKS_MAX, sizeof(*disks));
	uint8_t *buf = malloc(DESCRIPTOR_CAP);
	unsigned count = 0;

	if (disks && buf) {
		struct disk_numbers there = disk_numbers_read();
		for (size_t i = 0; i < there.count && count < DISKS_MAX; i++)
			if (read_disk(there.numbers[i], buf, &disks[count]))
				count++;
		if (there.error)
			finding_add(f, FINDING_WRONG, "page 83",
				"look at the disks in Device Manager; restart the server when it shows none, either",
				"Windows does not tell all its disks: error %lu", (unsigned long)there.error);
		disk_numbers_free(&there);
		check_cluster(f, disks, count);
		if (!compare_disks(f, disks, count))
			finding_add(f, FINDING_OK, "page 83", NULL, "unique over %u disk%s", count,
				count == 1 ? "" : "s");
	} else {
		finding_add(f, FINDING_WRONG, "page 83", "free memory and try again", "out of memory");
	}
	free(buf);
	free(disks);
}

void check_arrays(struct findings *f)
{
	check_reach(f);
	check_page83(f);
}

/* ---- the command ---------------------------------------------------------------------------------- */

struct check_words {
	bool json;
	unsigned drive; /* CHECK_NO_DRIVE: none is tried */
};

static bool parse_words(int count, wchar_t **words, struct check_words *out)
{
	*out = (struct check_words){.drive = CHECK_NO_DRIVE};
	for (int i = 0; i < count; i++) {
		bool is_lun = !wcscmp(words[i], L"--lun") && i + 1 < count && out->drive == CHECK_NO_DRIVE;
		if (is_lun && check_drive_parse(words[i + 1], &out->drive))
			i++;
		else if (!wcscmp(words[i], L"--json") && !out->json)
			out->json = true;
		else
			return false;
	}
	return true;
}

bool check_all(struct findings *f)
{
	HRESULT hr = CoInitializeEx(NULL, COINIT_MULTITHREADED | COINIT_DISABLE_OLE1DDE);

	if (SUCCEEDED(hr))
		hr = com_security_client();
	if (SUCCEEDED(hr))
		check_system(f);
	else
		finding_add(f, FINDING_WRONG, "COM", setup_explain(hr), "error 0x%08lx", (unsigned long)hr);
	check_arrays(f);
	return SUCCEEDED(hr);
}

int check_run(int count, wchar_t **words)
{
	static struct findings f;
	struct check_words w;

	if (!parse_words(count, words, &w)) {
		return refusal_words("check takes --lun with the name of a disk, and --json",
			"Usage: umbra-vss check [--lun PhysicalDriveN] [--json]\n");
	}
	if (check_all(&f) && w.drive != CHECK_NO_DRIVE)
		check_try(&f, w.drive);
	if (w.json)
		findings_print_json(&f, provider_version, stdout);
	else
		findings_print(&f, stdout);
	if (!setup_bounded_hangs())
		CoUninitialize();
	return findings_all_well(&f) ? 0 : 1;
}
