/* SPDX-License-Identifier: Apache-2.0 */
/* VDS_LUN_INFORMATION. See lun_identity.h. */
#include "provider/lun_identity.h"

#include <string.h>

static void *(WINAPI *test_allocator)(SIZE_T);

void lun_identity_set_allocator(void *(WINAPI *alloc)(SIZE_T))
{
	test_allocator = alloc;
}

static void *allocate(SIZE_T size)
{
	return test_allocator ? test_allocator(size) : CoTaskMemAlloc(size);
}

static void *copy_of(const void *bytes, size_t len)
{
	void *block = allocate(len);

	if (block)
		memcpy(block, bytes, len);
	return block;
}

static void free_descriptor(VDS_STORAGE_DEVICE_ID_DESCRIPTOR *d)
{
	if (d->m_rgIdentifiers)
		for (ULONG i = 0; i < d->m_cIdentifiers; i++)
			CoTaskMemFree(d->m_rgIdentifiers[i].m_rgbIdentifier);
	CoTaskMemFree(d->m_rgIdentifiers);
	memset(d, 0, sizeof(*d));
}

/* Strings and identifiers: what the builder owns. */
static void free_identity(VDS_LUN_INFORMATION *lun)
{
	CoTaskMemFree(lun->m_szVendorId);
	CoTaskMemFree(lun->m_szProductId);
	CoTaskMemFree(lun->m_szProductRevision);
	CoTaskMemFree(lun->m_szSerialNumber);
	lun->m_szVendorId = lun->m_szProductId = lun->m_szProductRevision = lun->m_szSerialNumber = NULL;
	free_descriptor(&lun->m_deviceIdDescriptor);
}

void lun_identity_clear(VDS_LUN_INFORMATION *lun)
{
	free_identity(lun);
	if (lun->m_rgInterconnects) {
		for (ULONG i = 0; i < lun->m_cInterconnects; i++) {
			CoTaskMemFree(lun->m_rgInterconnects[i].m_pbPort);
			CoTaskMemFree(lun->m_rgInterconnects[i].m_pbAddress);
		}
		CoTaskMemFree(lun->m_rgInterconnects);
	}
	memset(lun, 0, sizeof(*lun));
}

static bool build_descriptor(VDS_STORAGE_DEVICE_ID_DESCRIPTOR *d, const uint8_t id[UP_ID_BYTES])
{
	struct up_designator designators[UP_DESIGNATORS];

	up_id_designators(id, designators);
	d->m_version = 1;
	d->m_rgIdentifiers = allocate(UP_DESIGNATORS * sizeof(*d->m_rgIdentifiers));
	if (!d->m_rgIdentifiers)
		return false;
	memset(d->m_rgIdentifiers, 0, UP_DESIGNATORS * sizeof(*d->m_rgIdentifiers));
	d->m_cIdentifiers = UP_DESIGNATORS;
	for (unsigned i = 0; i < UP_DESIGNATORS; i++) {
		VDS_STORAGE_IDENTIFIER *out = &d->m_rgIdentifiers[i];
		out->m_CodeSet = (VDS_STORAGE_IDENTIFIER_CODE_SET)designators[i].code_set;
		out->m_Type = (VDS_STORAGE_IDENTIFIER_TYPE)designators[i].type;
		out->m_rgbIdentifier = copy_of(designators[i].bytes, designators[i].len_bytes);
		if (!out->m_rgbIdentifier)
			return false;
		out->m_cbIdentifier = designators[i].len_bytes;
	}
	return true;
}

bool lun_identity_rebuild(VDS_LUN_INFORMATION *lun, const uint8_t id[UP_ID_BYTES])
{
	VDS_LUN_INFORMATION fresh = *lun;
	char serial[UP_SERIAL_BYTES + 1];

	up_id_format(id, serial);
	fresh.m_version = VER_VDS_LUN_INFORMATION;
	fresh.m_DeviceType = 0;
	fresh.m_DeviceTypeModifier = 0;
	fresh.m_bCommandQueueing = TRUE;
	memset(&fresh.m_diskSignature, 0, sizeof(fresh.m_diskSignature));
	memset(&fresh.m_deviceIdDescriptor, 0, sizeof(fresh.m_deviceIdDescriptor));
	fresh.m_szVendorId = copy_of(UP_VENDOR, sizeof(UP_VENDOR));
	fresh.m_szProductId = copy_of(UP_PRODUCT, sizeof(UP_PRODUCT));
	fresh.m_szProductRevision = copy_of(UP_REVISION, sizeof(UP_REVISION));
	fresh.m_szSerialNumber = copy_of(serial, sizeof(serial));
	if (!fresh.m_szVendorId || !fresh.m_szProductId || !fresh.m_szProductRevision ||
		!fresh.m_szSerialNumber || !build_descriptor(&fresh.m_deviceIdDescriptor, id)) {
		free_identity(&fresh);
		return false;
	}
	free_identity(lun);
	*lun = fresh;
	return true;
}

VDS_LUN_INFORMATION *lun_identity_build(
	const VDS_LUN_INFORMATION *sources, const uint8_t (*ids)[UP_ID_BYTES], unsigned count)
{
	VDS_LUN_INFORMATION *built = allocate(count * sizeof(*built));

	if (!built)
		return NULL;
	memset(built, 0, count * sizeof(*built));
	for (unsigned i = 0; i < count; i++) {
		built[i].m_BusType = sources ? sources[i].m_BusType : VDSBusTypeScsi;
		if (built[i].m_BusType == VDSBusTypeUnknown) /* VSS does not find a copy with it again */
			built[i].m_BusType = VDSBusTypeScsi;
		if (!lun_identity_rebuild(&built[i], ids[i])) {
			lun_identity_discard(built, count);
			return NULL;
		}
	}
	return built;
}

void lun_identity_move(VDS_LUN_INFORMATION *targets, VDS_LUN_INFORMATION *built, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		lun_identity_clear(&targets[i]);
		targets[i] = built[i];
	}
	CoTaskMemFree(built);
}

void lun_identity_discard(VDS_LUN_INFORMATION *built, unsigned count)
{
	if (!built)
		return;
	for (unsigned i = 0; i < count; i++)
		lun_identity_clear(&built[i]);
	CoTaskMemFree(built);
}

/* Equal up to trailing spaces: INQUIRY pads, and so may those who copy from it. */
static bool same_text(const char *text, const char *wanted)
{
	size_t len = strlen(wanted);

	if (!text || strncmp(text, wanted, len) != 0)
		return false;
	while (text[len] == ' ')
		len++;
	return text[len] == '\0';
}

static bool parse_serial(const char *text, size_t len, uint8_t id[UP_ID_BYTES])
{
	char serial[UP_SERIAL_BYTES + 1];

	while (len && (text[len - 1] == ' ' || text[len - 1] == '\0'))
		len--;
	if (len != UP_SERIAL_BYTES)
		return false;
	memcpy(serial, text, len);
	serial[len] = '\0';
	return up_id_parse(serial, id);
}

/* The T10 vendor designator holds the whole id. */
static bool id_of_descriptor(const VDS_STORAGE_DEVICE_ID_DESCRIPTOR *d, uint8_t id[UP_ID_BYTES])
{
	for (ULONG i = 0; d->m_rgIdentifiers && i < d->m_cIdentifiers; i++) {
		const VDS_STORAGE_IDENTIFIER *one = &d->m_rgIdentifiers[i];
		if (one->m_Type == VDSStorageIdTypeVendorId && one->m_rgbIdentifier &&
			one->m_cbIdentifier >= 8 && memcmp(one->m_rgbIdentifier, UP_VENDOR, 8) == 0 &&
			parse_serial((const char *)one->m_rgbIdentifier + 8, one->m_cbIdentifier - 8, id))
			return true;
	}
	return false;
}

bool lun_identity_recognise(const VDS_LUN_INFORMATION *lun, uint8_t id[UP_ID_BYTES])
{
	uint8_t by_serial[UP_ID_BYTES], by_page[UP_ID_BYTES];

	if (!same_text(lun->m_szVendorId, UP_VENDOR) || !same_text(lun->m_szProductId, UP_PRODUCT))
		return false;
	bool serial = lun->m_szSerialNumber &&
		      parse_serial(lun->m_szSerialNumber, strnlen(lun->m_szSerialNumber, 256), by_serial);
	bool page = id_of_descriptor(&lun->m_deviceIdDescriptor, by_page);
	if (!serial && !page)
		return false;
	if (serial && page && memcmp(by_serial, by_page, UP_ID_BYTES) != 0)
		return false; /* two LUNs in one structure: nobody's */
	memcpy(id, serial ? by_serial : by_page, UP_ID_BYTES);
	return true;
}

static bool equal_text(const char *a, const char *b)
{
	return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static bool equal_descriptor(
	const VDS_STORAGE_DEVICE_ID_DESCRIPTOR *a, const VDS_STORAGE_DEVICE_ID_DESCRIPTOR *b)
{
	if (a->m_version != b->m_version || a->m_cIdentifiers != b->m_cIdentifiers)
		return false;
	for (ULONG i = 0; i < a->m_cIdentifiers; i++) {
		const VDS_STORAGE_IDENTIFIER *x = &a->m_rgIdentifiers[i], *y = &b->m_rgIdentifiers[i];
		if (x->m_CodeSet != y->m_CodeSet || x->m_Type != y->m_Type ||
			x->m_cbIdentifier != y->m_cbIdentifier ||
			memcmp(x->m_rgbIdentifier, y->m_rgbIdentifier, x->m_cbIdentifier) != 0)
			return false;
	}
	return true;
}

bool lun_identity_equal(const VDS_LUN_INFORMATION *a, const VDS_LUN_INFORMATION *b)
{
	return a->m_version == b->m_version && a->m_DeviceType == b->m_DeviceType &&
	       a->m_DeviceTypeModifier == b->m_DeviceTypeModifier &&
	       a->m_bCommandQueueing == b->m_bCommandQueueing &&
	       equal_text(a->m_szVendorId, b->m_szVendorId) &&
	       equal_text(a->m_szProductId, b->m_szProductId) &&
	       equal_text(a->m_szProductRevision, b->m_szProductRevision) &&
	       equal_text(a->m_szSerialNumber, b->m_szSerialNumber) &&
	       memcmp(&a->m_diskSignature, &b->m_diskSignature, sizeof(a->m_diskSignature)) == 0 &&
	       equal_descriptor(&a->m_deviceIdDescriptor, &b->m_deviceIdDescriptor);
}
