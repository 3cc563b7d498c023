/* SPDX-License-Identifier: Apache-2.0 */
/* See check_try.h. */
#include "provider/check_try.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <winioctl.h>
#include <ole2.h>
#include <vss.h>
#include <vsprov.h>
#include "proto/identity.h"
#include "provider/array_client.h"
#include "provider/ids.h"
#include "provider/lun_identity.h"
#include "provider/orphans.h"
#include "provider/provider.h"
#include "provider/setup_bounded.h"
#include "provider/transport.h"

#define PROPERTY_CAP 8192
#define TRY_LIMIT_MS 120000
#define AREA         "try"

/* ---- the LUN as Windows has it --------------------------------------------------------------------- */

static char *com_text(const uint8_t *property, DWORD len, DWORD offset)
{
	size_t chars = offset && offset < len ? strnlen((const char *)property + offset, len - offset) : 0;
	char *text = CoTaskMemAlloc(chars + 1);

	if (text) {
		memcpy(text, property + (offset < len ? offset : 0), chars);
		text[chars] = '\0';
	}
	return text;
}

static DWORD query(HANDLE disk, STORAGE_PROPERTY_ID id, uint8_t *out)
{
	STORAGE_PROPERTY_QUERY q = {.PropertyId = id, .QueryType = PropertyStandardQuery};
	DWORD got = 0;

	memset(out, 0, PROPERTY_CAP);
	return DeviceIoControl(
		       disk, IOCTL_STORAGE_QUERY_PROPERTY, &q, sizeof(q), out, PROPERTY_CAP, &got, NULL)
		       ? got
		       : 0;
}

static bool take_identifier(const STORAGE_IDENTIFIER *from, VDS_STORAGE_IDENTIFIER *to)
{
	to->m_CodeSet = (VDS_STORAGE_IDENTIFIER_CODE_SET)from->CodeSet;
	to->m_Type = (VDS_STORAGE_IDENTIFIER_TYPE)from->Type;
	to->m_cbIdentifier = from->IdentifierSize;
	to->m_rgbIdentifier = CoTaskMemAlloc(from->IdentifierSize ? from->IdentifierSize : 1);
	if (to->m_rgbIdentifier)
		memcpy(to->m_rgbIdentifier, from->Identifier, from->IdentifierSize);
	return to->m_rgbIdentifier != NULL;
}

/* Those with association 0, as VSS takes them. */
static bool take_page83(const uint8_t *property, DWORD len, VDS_STORAGE_DEVICE_ID_DESCRIPTOR *out)
{
	const STORAGE_DEVICE_ID_DESCRIPTOR *d = (const void *)property;
	const size_t head = offsetof(STORAGE_IDENTIFIER, Identifier);
	DWORD at = offsetof(STORAGE_DEVICE_ID_DESCRIPTOR, Identifiers);

	out->m_version = 1;
	if (len < at || d->NumberOfIdentifiers > 64)
		return false;
	out->m_rgIdentifiers = CoTaskMemAlloc((d->NumberOfIdentifiers + 1) * sizeof(*out->m_rgIdentifiers));
	for (DWORD i = 0; out->m_rgIdentifiers && i < d->NumberOfIdentifiers; i++) {
		const STORAGE_IDENTIFIER *one = (const void *)(property + at);
		if (at > len || len - at < head || one->IdentifierSize > len - at - head)
			return false;
		if (one->Association == StorageIdAssocDevice &&
			!take_identifier(one, &out->m_rgIdentifiers[out->m_cIdentifiers++]))
			return false;
		if (!one->NextOffset && i + 1 < d->NumberOfIdentifiers)
			return false;
		at += one->NextOffset;
	}
	return out->m_rgIdentifiers != NULL;
}

/* False: it cannot be read, or there is no memory; *lun is to be cleared all the same. */
static bool read_lun(HANDLE disk, VDS_LUN_INFORMATION *lun)
{
	uint8_t *property = malloc(PROPERTY_CAP);
	const STORAGE_DEVICE_DESCRIPTOR *d = (const void *)property;
	bool good = false;

	memset(lun, 0, sizeof(*lun));
	lun->m_version = VER_VDS_LUN_INFORMATION;
	DWORD len = property ? query(disk, StorageDeviceProperty, property) : 0;
	if (len >= sizeof(*d)) {
		lun->m_DeviceType = d->DeviceType;
		lun->m_DeviceTypeModifier = d->DeviceTypeModifier;
		lun->m_bCommandQueueing = d->CommandQueueing;
		lun->m_BusType = (VDS_STORAGE_BUS_TYPE)d->BusType;
		lun->m_szVendorId = com_text(property, len, d->VendorIdOffset);
		lun->m_szProductId = com_text(property, len, d->ProductIdOffset);
		lun->m_szProductRevision = com_text(property, len, d->ProductRevisionOffset);
		lun->m_szSerialNumber = com_text(property, len, d->SerialNumberOffset);
		len = query(disk, StorageDeviceIdProperty, property);
		good = lun->m_szVendorId && lun->m_szProductId && lun->m_szProductRevision &&
		       lun->m_szSerialNumber && take_page83(property, len, &lun->m_deviceIdDescriptor);
	}
	free(property);
	return good;
}

/* ---- against the array ------------------------------------------------------------------------------- */

/* Does the array know it, and do both say the same of it? */
static bool check_identity(
	struct findings *f, struct array_client *c, unsigned drive, const VDS_LUN_INFORMATION *lun)
{
	uint8_t id[1][UP_ID_BYTES], array_id[UP_ID_BYTES];
	char text[UP_SERIAL_BYTES + 1], array[UP_NAME_MAX_BYTES + 1], why[300];
	struct array_trouble trouble;
	struct up_lun told;

	if (!lun_identity_recognise(lun, id[0])) {
		finding_add(f, FINDING_WRONG, "page 83",
			"look for a filter driver or multipathing software that changes what the disk says of itself",
			"PhysicalDrive%u: vendor \"%.16s\", product \"%.16s\", serial number \"%.40s\" and page 83 as "
			"Windows has them are not those of one LUN of an Umbra array",
			drive, lun->m_szVendorId, lun->m_szProductId, lun->m_szSerialNumber);
		return false;
	}
	int err = array_client_find_lun(c, id[0], &told, array_id, &trouble);
	up_id_format(id[0], text);
	if (err < 0) {
		snprintf(why, sizeof(why), "no array has it");
		if (err != -ENOENT)
			orphans_explain(&trouble, why, sizeof(why));
		finding_add(f, FINDING_WRONG, AREA,
			"rescan the disks (diskpart, \"rescan\"), and check the mapping on the array",
			"PhysicalDrive%u is LUN %s, but: %s", drive, text, why);
		return false;
	}
	array_client_name(c, array_id, array);
	VDS_LUN_INFORMATION *built = lun_identity_build(lun, (const uint8_t(*)[UP_ID_BYTES])id, 1);
	bool same = built && lun_identity_equal(lun, built);
	lun_identity_discard(built, built ? 1 : 0);
	if (same)
		finding_add(f, FINDING_OK, "page 83", NULL,
			"PhysicalDrive%u: Windows and the array %s say the same of it: %s, LUN number %u",
			drive, array, text, (unsigned)told.number);
	else
		finding_add(f, FINDING_WRONG, "page 83",
			"look for a filter driver or multipathing software that changes what the disk says of itself; send "
			"the file of \"umbra-vss support\"",
			"PhysicalDrive%u: Windows tells of %s otherwise than the array %s: an import would not find it",
			drive, text, array);
	return same;
}

/* ---- the set ----------------------------------------------------------------------------------------- */

enum step {
	STEP_ACTIVATE,
	STEP_INTERFACES,
	STEP_SUPPORTED,
	STEP_BEGIN,
	STEP_END,
	STEP_PRE_COMMIT,
	STEP_ABORT,
	STEPS
};

static const char *const step_names[STEPS] = {"CoCreateInstance", "QueryInterface", "AreLunsSupported",
	"BeginPrepareSnapshot", "EndPrepareSnapshots", "PreCommitSnapshots", "AbortSnapshots"};

/* Stays for good: a call that hangs may come back. */
struct attempt {
	WCHAR device[40];
	VDS_LUN_INFORMATION lun;
	GUID set, snapshot;
	volatile LONG step;
	HRESULT hr;
	WINBOOL supported;
};

static HRESULT prepare(
	struct attempt *a, IVssHardwareSnapshotProvider *hw, IVssProviderCreateSnapshotSet *set)
{
	VSS_PWSZ device = a->device;

	a->step = STEP_SUPPORTED;
	a->hr = IVssHardwareSnapshotProvider_AreLunsSupported(
		hw, 1, VSS_CTX_BACKUP, &device, &a->lun, &a->supported);
	if (a->hr != S_OK || !a->supported)
		return a->hr;
	a->step = STEP_BEGIN;
	a->hr = IVssHardwareSnapshotProvider_BeginPrepareSnapshot(
		hw, a->set, a->snapshot, VSS_CTX_BACKUP, 1, &device, &a->lun);
	if (a->hr != S_OK)
		return a->hr;
	a->step = STEP_END;
	a->hr = IVssProviderCreateSnapshotSet_EndPrepareSnapshots(set, a->set);
	if (a->hr == S_OK) {
		a->step = STEP_PRE_COMMIT;
		a->hr = IVssProviderCreateSnapshotSet_PreCommitSnapshots(set, a->set);
	}
	HRESULT aborted = IVssProviderCreateSnapshotSet_AbortSnapshots(set, a->set);
	if (a->hr == S_OK) {
		a->step = STEP_ABORT;
		a->hr = aborted;
	}
	return a->hr;
}

static HRESULT attempt_work(void *arg)
{
	struct attempt *a = arg;
	IVssHardwareSnapshotProvider *hw = NULL;
	IVssProviderCreateSnapshotSet *set = NULL;

	a->step = STEP_ACTIVATE;
	a->hr = CoCreateInstance(&CLSID_UmbraProvider, NULL, CLSCTX_LOCAL_SERVER,
		&IID_IVssHardwareSnapshotProvider, (void **)&hw);
	if (SUCCEEDED(a->hr)) {
		a->step = STEP_INTERFACES;
		a->hr = IVssHardwareSnapshotProvider_QueryInterface(
			hw, &IID_IVssProviderCreateSnapshotSet, (void **)&set);
	}
	if (SUCCEEDED(a->hr))
		(void)prepare(a, hw, set);
	if (set)
		IVssProviderCreateSnapshotSet_Release(set);
	if (hw)
		IVssHardwareSnapshotProvider_Release(hw);
	return a->hr;
}

/* Is anything left of it on an array? */
static bool is_left(struct array_client *c, const GUID *set)
{
	uint8_t ids[ARRAYS_MAX][UP_ID_BYTES];
	unsigned count = array_client_ids(c, ids), left = 0;
	struct up_msg *m = calloc(2, sizeof(*m));

	for (unsigned i = 0; m && i < count; i++) {
		up_request_init(&m[0], UP_OP_SET_STATE, 0);
		provider_guid_bytes(set, m[0].set_id);
		m[0].has = UP_HAS(UP_TAG_SET_ID);
		left += array_client_request(c, ids[i], NULL, &m[0], &m[1], NULL) == 0 &&
			m[1].state != UP_SET_ABORTED;
	}
	free(m);
	return left > 0;
}

static void tell(
	struct findings *f, struct array_client *c, unsigned drive, const struct attempt *a, HRESULT hr)
{
	const char *events =
		"the newest event of \"Umbra VSS Provider\" in the Application log says why and what to do";

	if (hr == HRESULT_FROM_WIN32(ERROR_TIMEOUT))
		finding_add(f, FINDING_WRONG, AREA,
			"look at the array and the network; then restart the service umbra-vss",
			"%s does not come back", step_names[a->step]);
	else if (hr != S_OK)
		finding_add(f, FINDING_WRONG, AREA, events,
			"a shadow copy of PhysicalDrive%u fails in %s: error 0x%08lx", drive,
			step_names[a->step], (unsigned long)hr);
	else if (!a->supported)
		finding_add(f, FINDING_WRONG, AREA, events,
			"the provider does not take PhysicalDrive%u: VSS would use another provider for it, or none",
			drive);
	else if (is_left(c, &a->set))
		finding_add(f, FINDING_WRONG, AREA,
			"send the file of \"umbra-vss support\"; the array undoes it within its lease",
			"the set that was given up is still on the array");
	else
		finding_add(f, FINDING_OK, AREA, NULL,
			"a shadow copy set of PhysicalDrive%u was prepared over COM as VSS does it, and given up: nothing is left "
			"of it",
			drive);
}

static void try_set(struct findings *f, struct array_client *c, unsigned drive, VDS_LUN_INFORMATION *lun)
{
	struct attempt *a = calloc(1, sizeof(*a));

	if (!a || FAILED(CoCreateGuid(&a->set)) || FAILED(CoCreateGuid(&a->snapshot))) {
		finding_add(f, FINDING_WRONG, AREA, "free memory and try again", "out of memory");
		free(a);
		return;
	}
	_snwprintf(a->device, 39, L"\\\\.\\PHYSICALDRIVE%u", drive);
	a->lun = *lun; /* moved */
	memset(lun, 0, sizeof(*lun));
	HRESULT hr = setup_bounded(attempt_work, a, TRY_LIMIT_MS);
	tell(f, c, drive, a, hr);
	if (hr == HRESULT_FROM_WIN32(ERROR_TIMEOUT))
		return; /* a stays */
	lun_identity_clear(&a->lun);
	free(a);
}

bool check_drive_parse(const wchar_t *word, unsigned *drive)
{
	static const wchar_t name[] = L"PhysicalDrive";
	wchar_t *end;

	if (!wcsncmp(word, L"\\\\.\\", 4))
		word += 4;
	if (!_wcsnicmp(word, name, wcslen(name)))
		word += wcslen(name);
	if (*word < L'0' || *word > L'9' || wcslen(word) > 6)
		return false;
	*drive = (unsigned)wcstoul(word, &end, 10);
	return *end == L'\0';
}

void check_try(struct findings *f, unsigned drive)
{
	char name[TRANSPORT_NAME_MAX_BYTES];
	VDS_LUN_INFORMATION lun = {0};

	snprintf(name, sizeof(name), "\\\\.\\PhysicalDrive%u", drive);
	HANDLE disk = CreateFileA(name, 0, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
	bool ours = disk != INVALID_HANDLE_VALUE && transport_spti_is_ours(disk);
	bool read = ours && read_lun(disk, &lun);
	if (disk != INVALID_HANDLE_VALUE)
		CloseHandle(disk);
	struct array_client *c = array_client_create(transport_spti());
	if (!ours)
		finding_add(f, FINDING_WRONG, AREA, "name one that \"umbra-vss status\" shows",
			"PhysicalDrive%u is no LUN of an Umbra array, or not there", drive);
	else if (!read || !c)
		finding_add(f, FINDING_WRONG, AREA,
			"rescan the disks, and look for a filter driver that hides what they say",
			"what Windows knows of PhysicalDrive%u cannot be read", drive);
	else if (array_client_discover(c) == 0)
		finding_add(f, FINDING_WRONG, AREA, "mend what is wrong with the arrays first",
			"no array is reached");
	else if (check_identity(f, c, drive, &lun))
		try_set(f, c, drive, &lun);
	lun_identity_clear(&lun);
	array_client_destroy(c);
}
