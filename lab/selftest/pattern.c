/* SPDX-License-Identifier: Apache-2.0 */
/* See selftest.h. */
#include "lab/selftest/selftest.h"

#include <stdio.h>
#include <string.h>
#include <objbase.h>

struct shape {
	unsigned string_len, identifiers, identifier_bytes, interconnects;
	bool strings;
};

static struct shape shape_of(enum mode mode, unsigned index)
{
	switch (mode) {
	case MODE_LARGER:
		return (struct shape){3000 + index, 9, 700, 5, true};
	case MODE_SMALLER:
		return (struct shape){1, 1, 1, 1, true};
	case MODE_NULL:
		return (struct shape){0, 0, 0, 0, false};
	default:
		return (struct shape){8 + index % 5, 3, 40, 2, true};
	}
}

static BYTE byte_of(unsigned index, unsigned field, size_t at, enum mode mode)
{
	return (BYTE)('A' +
		      (index * 7 + field * 3 + at + (mode == MODE_LARGER) + 2 * (mode == MODE_SMALLER)) % 26);
}

static void *block_of(size_t bytes, unsigned index, unsigned field, enum mode mode)
{
	BYTE *out = CoTaskMemAlloc(bytes);
	for (size_t i = 0; out && i < bytes; i++)
		out[i] = byte_of(index, field, i, mode);
	return out;
}

static char *string_of(const struct shape *s, unsigned index, unsigned field, enum mode mode)
{
	if (!s->strings)
		return NULL;
	char *out = block_of(s->string_len + 1, index, field, mode);
	if (out)
		out[s->string_len] = 0;
	return out;
}

void pattern_fill(VDS_LUN_INFORMATION *out, unsigned index, enum mode mode)
{
	struct shape s = shape_of(mode, index);
	VDS_STORAGE_DEVICE_ID_DESCRIPTOR *d = &out->m_deviceIdDescriptor;
	memset(out, 0, sizeof *out);
	out->m_version = VER_VDS_LUN_INFORMATION;
	out->m_DeviceType = (BYTE)index;
	out->m_DeviceTypeModifier = (BYTE)(index + 1);
	out->m_bCommandQueueing = index & 1;
	out->m_BusType = (VDS_STORAGE_BUS_TYPE)(1 + index % 9);
	out->m_szVendorId = string_of(&s, index, 1, mode);
	out->m_szProductId = string_of(&s, index, 2, mode);
	out->m_szProductRevision = string_of(&s, index, 3, mode);
	out->m_szSerialNumber = string_of(&s, index, 4, mode);
	out->m_diskSignature.Data1 = 0x1000 + index;
	d->m_version = 1;
	if (s.identifiers) {
		d->m_cIdentifiers = s.identifiers;
		d->m_rgIdentifiers = CoTaskMemAlloc(s.identifiers * sizeof *d->m_rgIdentifiers);
		for (unsigned i = 0; i < s.identifiers; i++)
			d->m_rgIdentifiers[i] = (VDS_STORAGE_IDENTIFIER){.m_CodeSet = 1 + i % 3,
				.m_Type = 1 + i % 8,
				.m_cbIdentifier = s.identifier_bytes,
				.m_rgbIdentifier = block_of(s.identifier_bytes, index, 10 + i, mode)};
	}
	if (s.interconnects) {
		out->m_cInterconnects = s.interconnects;
		out->m_rgInterconnects = CoTaskMemAlloc(s.interconnects * sizeof *out->m_rgInterconnects);
		for (unsigned i = 0; i < s.interconnects; i++)
			out->m_rgInterconnects[i] = (VDS_INTERCONNECT){.m_addressType = VDS_IA_SCSI,
				.m_cbPort = s.identifier_bytes,
				.m_pbPort = block_of(s.identifier_bytes, index, 30 + i, mode),
				.m_cbAddress = s.identifier_bytes,
				.m_pbAddress = block_of(s.identifier_bytes, index, 40 + i, mode)};
	}
}

void pattern_free(VDS_LUN_INFORMATION *info)
{
	CoTaskMemFree(info->m_szVendorId);
	CoTaskMemFree(info->m_szProductId);
	CoTaskMemFree(info->m_szProductRevision);
	CoTaskMemFree(info->m_szSerialNumber);
	for (ULONG i = 0;
		info->m_deviceIdDescriptor.m_rgIdentifiers && i < info->m_deviceIdDescriptor.m_cIdentifiers;
		i++)
		CoTaskMemFree(info->m_deviceIdDescriptor.m_rgIdentifiers[i].m_rgbIdentifier);
	CoTaskMemFree(info->m_deviceIdDescriptor.m_rgIdentifiers);
	for (ULONG i = 0; info->m_rgInterconnects && i < info->m_cInterconnects; i++) {
		CoTaskMemFree(info->m_rgInterconnects[i].m_pbPort);
		CoTaskMemFree(info->m_rgInterconnects[i].m_pbAddress);
	}
	CoTaskMemFree(info->m_rgInterconnects);
	memset(info, 0, sizeof *info);
}

static bool same_block(const BYTE *p, size_t bytes, unsigned index, unsigned field, enum mode mode)
{
	for (size_t i = 0; p && i < bytes; i++)
		if (p[i] != byte_of(index, field, i, mode))
			return false;
	return p || bytes == 0;
}

static bool same_string(const char *p, const struct shape *s, unsigned index, unsigned field, enum mode mode)
{
	if (!s->strings)
		return p == NULL;
	return p && strlen(p) == s->string_len &&
	       same_block((const BYTE *)p, s->string_len, index, field, mode);
}

const char *pattern_check(const VDS_LUN_INFORMATION *info, unsigned index, enum mode mode)
{
	struct shape s = shape_of(mode, index);
	const VDS_STORAGE_DEVICE_ID_DESCRIPTOR *d = &info->m_deviceIdDescriptor;
	if (info->m_version != VER_VDS_LUN_INFORMATION || info->m_DeviceType != (BYTE)index ||
		info->m_DeviceTypeModifier != (BYTE)(index + 1) ||
		info->m_bCommandQueueing != (WINBOOL)(index & 1) ||
		info->m_BusType != (VDS_STORAGE_BUS_TYPE)(1 + index % 9) ||
		info->m_diskSignature.Data1 != 0x1000 + index || d->m_version != 1)
		return "a plain field";
	if (!same_string(info->m_szVendorId, &s, index, 1, mode) ||
		!same_string(info->m_szProductId, &s, index, 2, mode) ||
		!same_string(info->m_szProductRevision, &s, index, 3, mode) ||
		!same_string(info->m_szSerialNumber, &s, index, 4, mode))
		return "a string";
	if (d->m_cIdentifiers != s.identifiers || !d->m_rgIdentifiers != !s.identifiers)
		return "the number of identifiers";
	for (unsigned i = 0; i < s.identifiers; i++)
		if ((unsigned)d->m_rgIdentifiers[i].m_CodeSet != 1 + i % 3 ||
			(unsigned)d->m_rgIdentifiers[i].m_Type != 1 + i % 8 ||
			d->m_rgIdentifiers[i].m_cbIdentifier != s.identifier_bytes ||
			!same_block(d->m_rgIdentifiers[i].m_rgbIdentifier, s.identifier_bytes, index, 10 + i,
				mode))
			return "an identifier";
	if (info->m_cInterconnects != s.interconnects || !info->m_rgInterconnects != !s.interconnects)
		return "the number of interconnects";
	for (unsigned i = 0; i < s.interconnects; i++)
		if (info->m_rgInterconnects[i].m_cbPort != s.identifier_bytes ||
			!same_block(info->m_rgInterconnects[i].m_pbPort, s.identifier_bytes, index, 30 + i,
				mode) ||
			!same_block(info->m_rgInterconnects[i].m_pbAddress, s.identifier_bytes, index, 40 + i,
				mode))
			return "an interconnect";
	return NULL;
}

static bool is_block(IMalloc *m, const void *p, size_t bytes)
{
	return !p || (m->lpVtbl->DidAlloc(m, (void *)(uintptr_t)p) == 1 &&
			     m->lpVtbl->GetSize(m, (void *)(uintptr_t)p) >= bytes);
}

static bool string_is_block(IMalloc *m, const char *p)
{
	return is_block(m, p, p ? strlen(p) + 1 : 0);
}

bool pattern_is_heap(const VDS_LUN_INFORMATION *info)
{
	const VDS_STORAGE_DEVICE_ID_DESCRIPTOR *d = &info->m_deviceIdDescriptor;
	IMalloc *m = NULL;
	if (FAILED(CoGetMalloc(1, &m)))
		return false;
	bool good = string_is_block(m, info->m_szVendorId) && string_is_block(m, info->m_szProductId) &&
		    string_is_block(m, info->m_szProductRevision) &&
		    string_is_block(m, info->m_szSerialNumber) &&
		    is_block(m, d->m_rgIdentifiers, d->m_cIdentifiers * sizeof *d->m_rgIdentifiers) &&
		    is_block(m, info->m_rgInterconnects,
			    info->m_cInterconnects * sizeof *info->m_rgInterconnects);
	for (ULONG i = 0; good && i < d->m_cIdentifiers; i++)
		good = is_block(
			m, d->m_rgIdentifiers[i].m_rgbIdentifier, d->m_rgIdentifiers[i].m_cbIdentifier);
	for (ULONG i = 0; good && i < info->m_cInterconnects; i++)
		good = is_block(
			       m, info->m_rgInterconnects[i].m_pbPort, info->m_rgInterconnects[i].m_cbPort) &&
		       is_block(m, info->m_rgInterconnects[i].m_pbAddress,
			       info->m_rgInterconnects[i].m_cbAddress);
	m->lpVtbl->Release(m);
	return good;
}
