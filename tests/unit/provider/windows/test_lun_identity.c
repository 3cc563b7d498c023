/* SPDX-License-Identifier: Apache-2.0 */
/* VDS_LUN_INFORMATION: exact contents, recognition, and every allocation failing in turn without a leak. */
#include <string.h>
#include <windows.h>
#include <ole2.h>
#include <sddl.h>
#include "check.h"
#include "provider/com_security.h"
#include "provider/ids.h"
#include "provider/lun_identity.h"
#include "provider/provider.h"

static const uint8_t sample[UP_ID_BYTES] = {
	0xAB, 0xCD, 0xEF, 0x01, 0x23, 0x45, 0x67, 0x89, 0x98, 0x76, 0x54, 0x32, 0x10, 0xFE, 0xDC, 0xBA};
static const uint8_t other[UP_ID_BYTES] = {1};

/* Blocks in use in the heap that CoTaskMemAlloc takes from. */
static unsigned heap_blocks(void)
{
	PROCESS_HEAP_ENTRY e = {.lpData = NULL};
	unsigned busy = 0;

	CHECK(HeapLock(GetProcessHeap()));
	while (HeapWalk(GetProcessHeap(), &e))
		busy += (e.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
	HeapUnlock(GetProcessHeap());
	return busy;
}

static LONG blocks; /* taken by counting() */

static void *WINAPI counting(SIZE_T size)
{
	blocks++;
	return CoTaskMemAlloc(size);
}

static int allocations_left;

static void *WINAPI failing(SIZE_T size)
{
	if (allocations_left-- <= 0)
		return NULL;
	blocks++;
	return CoTaskMemAlloc(size);
}

static LONG blocks_in(const VDS_LUN_INFORMATION *lun)
{
	LONG n = (lun->m_szVendorId != NULL) + (lun->m_szProductId != NULL) +
		 (lun->m_szProductRevision != NULL) + (lun->m_szSerialNumber != NULL) +
		 (lun->m_deviceIdDescriptor.m_rgIdentifiers != NULL);

	for (ULONG i = 0; i < lun->m_deviceIdDescriptor.m_cIdentifiers; i++)
		n += lun->m_deviceIdDescriptor.m_rgIdentifiers[i].m_rgbIdentifier != NULL;
	return n;
}

static void rebuild_is_exact(void)
{
	VDS_LUN_INFORMATION lun;
	uint8_t id[UP_ID_BYTES];
	const VDS_STORAGE_IDENTIFIER *ids;

	memset(&lun, 0, sizeof(lun));
	lun.m_BusType = VDSBusTypeiScsi;
	lun.m_diskSignature.Data1 = 7;
	blocks = 0;
	lun_identity_set_allocator(counting);
	CHECK(lun_identity_rebuild(&lun, sample));
	CHECK(blocks == 8 && blocks_in(&lun) == 8);
	CHECK(lun.m_version == VER_VDS_LUN_INFORMATION && lun.m_DeviceType == 0 &&
		lun.m_bCommandQueueing == TRUE);
	CHECK(lun.m_BusType == VDSBusTypeiScsi && lun.m_cInterconnects == 0 && !lun.m_rgInterconnects);
	CHECK(IsEqualGUID(&lun.m_diskSignature, &GUID_NULL));
	CHECK(!strcmp(lun.m_szVendorId, "UMBRADEV") && !strcmp(lun.m_szProductId, "UMBRA-DISK-LUN-1"));
	CHECK(!strcmp(lun.m_szProductRevision, "0001"));
	CHECK(!strcmp(lun.m_szSerialNumber, "abcdef01234567899876543210fedcba"));
	CHECK(lun.m_deviceIdDescriptor.m_version == 1 && lun.m_deviceIdDescriptor.m_cIdentifiers == 3);
	ids = lun.m_deviceIdDescriptor.m_rgIdentifiers;
	CHECK(ids[0].m_Type == VDSStorageIdTypeVendorId && ids[0].m_CodeSet == VDSStorageIdCodeSetAscii);
	CHECK(ids[0].m_cbIdentifier == 40 &&
		!memcmp(ids[0].m_rgbIdentifier, "UMBRADEVabcdef01234567899876543210fedcba", 40));
	CHECK(ids[1].m_Type == VDSStorageIdTypeFCPHName && ids[1].m_cbIdentifier == 8);
	CHECK(ids[2].m_Type == VDSStorageIdTypeScsiNameString && ids[2].m_cbIdentifier == 24);
	CHECK(lun_identity_recognise(&lun, id) && !memcmp(id, sample, UP_ID_BYTES));
	lun_identity_clear(&lun);
	lun_identity_set_allocator(NULL);
}

/* What VSS made of INQUIRY on another host may differ in padding; the rebuilt one never does. */
static void rebuilding_agrees_with_the_target(void)
{
	VDS_LUN_INFORMATION seen, *target;
	uint8_t id[UP_ID_BYTES];

	target = lun_identity_build(NULL, &sample, 1);
	CHECK(target);
	memset(&seen, 0, sizeof(seen));
	CHECK(lun_identity_rebuild(&seen, sample));
	CoTaskMemFree(seen.m_szVendorId);
	seen.m_szVendorId = CoTaskMemAlloc(16);
	memcpy(seen.m_szVendorId, "UMBRADEV   ", 12);
	CoTaskMemFree(seen.m_szProductRevision);
	seen.m_szProductRevision = NULL;
	seen.m_DeviceType = 0;
	seen.m_diskSignature.Data1 = 4711;
	seen.m_BusType = VDSBusTypeFibre;
	CHECK(!lun_identity_equal(&seen, target));
	CHECK(lun_identity_recognise(&seen, id));
	CHECK(lun_identity_rebuild(&seen, id));
	CHECK(lun_identity_equal(&seen, target));
	CHECK(seen.m_BusType == VDSBusTypeFibre);
	lun_identity_clear(&seen);
	lun_identity_discard(target, 1);
}

/* A copy has its original's bus; "unknown" becomes SCSI: VSS would not find a copy with it again. */
static void a_copy_has_a_bus_that_is_known(void)
{
	static const struct {
		VDS_STORAGE_BUS_TYPE source, copy;
	} cases[] = {{VDSBusTypeUnknown, VDSBusTypeScsi}, {VDSBusTypeiScsi, VDSBusTypeiScsi},
		{VDSBusTypeFibre, VDSBusTypeFibre}, {VDSBusTypeScsi, VDSBusTypeScsi}};
	VDS_LUN_INFORMATION source = {0};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		source.m_BusType = cases[i].source;
		VDS_LUN_INFORMATION *copy = lun_identity_build(&source, &sample, 1);
		CHECK(copy && copy->m_BusType == cases[i].copy);
		lun_identity_discard(copy, 1);
	}
}

static void foreign_luns_are_not_recognised(void)
{
	VDS_LUN_INFORMATION lun;
	uint8_t id[UP_ID_BYTES];
	char *serial;

	memset(&lun, 0, sizeof(lun));
	CHECK(!lun_identity_recognise(&lun, id));
	CHECK(lun_identity_rebuild(&lun, sample));
	lun.m_szVendorId[0] = 'X';
	CHECK(!lun_identity_recognise(&lun, id));
	lun.m_szVendorId[0] = 'U';
	lun.m_szProductId[15] = '2';
	CHECK(!lun_identity_recognise(&lun, id));
	lun.m_szProductId[15] = '1';
	serial = lun.m_szSerialNumber;
	serial[0] = 'z';
	CHECK(lun_identity_recognise(&lun, id) && !memcmp(id, sample, UP_ID_BYTES)); /* page 83h has it */
	serial[0] = '0';
	CHECK(!lun_identity_recognise(&lun, id)); /* they contradict each other */
	serial[0] = 'a';
	serial[31] = '\0';
	CHECK(lun_identity_recognise(&lun, id));
	lun.m_deviceIdDescriptor.m_rgIdentifiers[0].m_cbIdentifier = 7;
	CHECK(!lun_identity_recognise(&lun, id));
	CoTaskMemFree(serial);
	lun.m_szSerialNumber = NULL;
	lun.m_deviceIdDescriptor.m_rgIdentifiers[0].m_cbIdentifier = 40;
	CHECK(lun_identity_recognise(&lun, id)); /* no page 80h */
	lun_identity_clear(&lun);
}

/* On failure: false, nothing changed, nothing leaked. */
static void every_allocation_may_fail(void)
{
	VDS_LUN_INFORMATION lun, before;
	int n;

	unsigned at_start = heap_blocks();
	memset(&lun, 0, sizeof(lun));
	CHECK(lun_identity_rebuild(&lun, other));
	CHECK(heap_blocks() == at_start + 8);
	for (n = 0;; n++) {
		CHECK(heap_blocks() == at_start + 8);
		before = lun;
		allocations_left = n;
		lun_identity_set_allocator(failing);
		bool built = lun_identity_rebuild(&lun, sample);
		lun_identity_set_allocator(NULL);
		if (built)
			break;
		CHECK(!memcmp(&lun, &before, sizeof(lun)));
		CHECK(!strcmp(lun.m_szSerialNumber, "01000000000000000000000000000000"));
	}
	CHECK(n == 8);
	lun_identity_clear(&lun);

	const uint8_t two[2][UP_ID_BYTES] = {{1}, {2}};
	for (n = 0;; n++) {
		allocations_left = n;
		lun_identity_set_allocator(failing);
		VDS_LUN_INFORMATION *built = lun_identity_build(NULL, two, 2);
		lun_identity_set_allocator(NULL);
		if (built) {
			lun_identity_discard(built, 2);
			break;
		}
	}
	CHECK(n == 17);
	CHECK(heap_blocks() == at_start);
}

static void moving_frees_what_was_there(void)
{
	VDS_LUN_INFORMATION targets[1], *built;

	memset(targets, 0, sizeof(targets));
	CHECK(lun_identity_rebuild(&targets[0], other));
	targets[0].m_cInterconnects = 1;
	targets[0].m_rgInterconnects = CoTaskMemAlloc(sizeof(VDS_INTERCONNECT));
	memset(targets[0].m_rgInterconnects, 0, sizeof(VDS_INTERCONNECT));
	targets[0].m_rgInterconnects->m_pbPort = CoTaskMemAlloc(4);
	targets[0].m_rgInterconnects->m_cbPort = 4;
	built = lun_identity_build(NULL, &sample, 1);
	CHECK(built);
	lun_identity_move(targets, built, 1);
	CHECK(!targets[0].m_rgInterconnects && !targets[0].m_cInterconnects);
	CHECK(!strcmp(targets[0].m_szSerialNumber, "abcdef01234567899876543210fedcba"));
	lun_identity_clear(&targets[0]);
}

/* Everything of the wire order: the text form of the GUID, digit by digit. */
static void guids_go_over_the_wire_as_they_are_written(void)
{
	static const uint8_t wanted[16] = {0xC2, 0x7F, 0xDB, 0x10, 0x24, 0xD1, 0x47, 0x08, 0x94, 0x42, 0x88,
		0x0E, 0x62, 0x46, 0xFE, 0x94};
	uint8_t bytes[16], parsed[16];

	provider_guid_bytes(&UMBRA_PROVIDER_ID, bytes);
	CHECK(!memcmp(bytes, wanted, 16));
	CHECK(up_id_parse("{C27FDB10-24D1-4708-9442-880E6246FE94}", parsed));
	CHECK(!memcmp(bytes, parsed, 16));
}

/* Only LocalSystem and administrators, with this mask, and an owner and group: COM refuses a descriptor without them. */
static void is_for_system_and_administrators(const WCHAR *sddl, DWORD mask)
{
	DWORD size = 0;
	SECURITY_DESCRIPTOR *sd = com_security_descriptor(sddl, &size);
	BOOL present = FALSE, defaulted;
	ACL *dacl = NULL;
	PSID owner = NULL, group = NULL;
	unsigned system = 0, administrators = 0;

	CHECK(sd && size == GetSecurityDescriptorLength(sd));
	CHECK(GetSecurityDescriptorDacl(sd, &present, &dacl, &defaulted) && present && dacl);
	CHECK(GetSecurityDescriptorOwner(sd, &owner, &defaulted) &&
		IsWellKnownSid(owner, WinBuiltinAdministratorsSid));
	CHECK(GetSecurityDescriptorGroup(sd, &group, &defaulted) &&
		IsWellKnownSid(group, WinBuiltinAdministratorsSid));
	CHECK(dacl->AceCount == 2);
	for (DWORD i = 0; i < dacl->AceCount; i++) {
		ACCESS_ALLOWED_ACE *ace;
		CHECK(GetAce(dacl, i, (void **)&ace));
		CHECK(ace->Header.AceType == ACCESS_ALLOWED_ACE_TYPE && ace->Mask == mask);
		system += IsWellKnownSid(&ace->SidStart, WinLocalSystemSid) != 0;
		administrators += IsWellKnownSid(&ace->SidStart, WinBuiltinAdministratorsSid) != 0;
	}
	CHECK(system == 1 && administrators == 1);
	LocalFree(sd);
}

/* Call: 1 execute + 2 locally. Launch: 8, too, local activation, without which nobody gets an object. */
static void only_system_and_administrators_may_launch_and_call(void)
{
	is_for_system_and_administrators(UMBRA_ACCESS_SDDL, 3);
	is_for_system_and_administrators(UMBRA_LAUNCH_SDDL, 0xB);
	CHECK_HR(com_security_server(), S_OK);
}

int main(void)
{
	static const struct test tests[] = {
		TEST(rebuild_is_exact),
		TEST(rebuilding_agrees_with_the_target),
		TEST(a_copy_has_a_bus_that_is_known),
		TEST(foreign_luns_are_not_recognised),
		TEST(every_allocation_may_fail),
		TEST(moving_frees_what_was_there),
		TEST(guids_go_over_the_wire_as_they_are_written),
		TEST(only_system_and_administrators_may_launch_and_call),
	};

	CHECK_HR(CoInitializeEx(NULL, COINIT_MULTITHREADED), S_OK);
	return run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
