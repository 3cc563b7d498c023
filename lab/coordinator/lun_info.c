/* SPDX-License-Identifier: Apache-2.0 */
/* See lun_info.h. INQUIRY and VPD layouts: SPC-4 6.4.2, 7.8.3, 7.8.15. */
#include "lab/coordinator/lun_info.h"

#include <stdio.h>
#include <string.h>
#include <objbase.h>
#include "lab/coordinator/wine_rpc.h"

static void *task_copy(const void *from, size_t count)
{
	void *out = CoTaskMemAlloc(count ? count : 1);
	if (out && count)
		memcpy(out, from, count);
	return out;
}

/* A string of `count` characters as it stands. */
static char *task_string(const uint8_t *from, size_t count)
{
	char *out = CoTaskMemAlloc(count + 1);
	if (out) {
		memcpy(out, from, count);
		out[count] = 0;
	}
	return out;
}

static bool build_identifiers(VDS_STORAGE_DEVICE_ID_DESCRIPTOR *out, const uint8_t *page, size_t len)
{
	VDS_STORAGE_IDENTIFIER found[LUN_INFO_MAX_IDENTIFIERS];
	ULONG count = 0;
	size_t at = 4, end = len >= 4 ? 4 + ((size_t)page[2] << 8 | page[3]) : 0;
	if (end > len)
		end = len;
	out->m_version = 1;
	for (; at + 4 <= end && count < LUN_INFO_MAX_IDENTIFIERS; at += 4 + (size_t)page[at + 3]) {
		const uint8_t *d = page + at;
		if (at + 4 + d[3] > end)
			break;
		if ((d[1] >> 4 & 3) != 0) /* association: 0 is the logical unit */
			continue;
		found[count].m_CodeSet = d[0] & 0x0f;
		found[count].m_Type = d[1] & 0x0f;
		found[count].m_cbIdentifier = d[3];
		found[count].m_rgbIdentifier = (BYTE *)(uintptr_t)(d + 4);
		count++;
	}
	if (count == 0)
		return true;
	out->m_rgIdentifiers = CoTaskMemAlloc(count * sizeof *out->m_rgIdentifiers);
	if (!out->m_rgIdentifiers)
		return false;
	memcpy(out->m_rgIdentifiers, found, count * sizeof found[0]);
	for (ULONG i = 0; i < count; i++) {
		BYTE *copy = task_copy(found[i].m_rgbIdentifier, found[i].m_cbIdentifier);
		out->m_rgIdentifiers[i].m_rgbIdentifier = copy;
		if (!copy)
			return false;
		out->m_cIdentifiers = i + 1;
	}
	return true;
}

/* One interconnect: the SCSI address. */
static bool build_interconnect(VDS_LUN_INFORMATION *out, const struct lun_bytes *bytes)
{
	const uint8_t port[1] = {bytes->port}, address[3] = {bytes->path, bytes->target, bytes->lun};
	VDS_INTERCONNECT *one = CoTaskMemAlloc(sizeof *one);
	if (!one)
		return false;
	memset(one, 0, sizeof *one);
	out->m_rgInterconnects = one;
	out->m_cInterconnects = 1;
	one->m_addressType = VDS_IA_SCSI;
	one->m_cbPort = sizeof port;
	one->m_pbPort = task_copy(port, sizeof port);
	one->m_cbAddress = sizeof address;
	one->m_pbAddress = task_copy(address, sizeof address);
	return one->m_pbPort && one->m_pbAddress;
}

bool lun_info_build(VDS_LUN_INFORMATION *out, const struct lun_bytes *bytes)
{
	const uint8_t *inq = bytes->inquiry;
	memset(out, 0, sizeof *out);
	out->m_version = VER_VDS_LUN_INFORMATION;
	out->m_BusType = VDSBusTypeiScsi;
	bool good = build_identifiers(&out->m_deviceIdDescriptor, bytes->vpd83, bytes->vpd83_len);
	if (bytes->inquiry_len >= 36) {
		out->m_DeviceType = inq[0] & 0x1f;
		out->m_DeviceTypeModifier = inq[1] & 0x7f;
		out->m_bCommandQueueing = (inq[7] & 2) != 0;
		out->m_szVendorId = task_string(inq + 8, 8);
		out->m_szProductId = task_string(inq + 16, 16);
		out->m_szProductRevision = task_string(inq + 32, 4);
		good = good && out->m_szVendorId && out->m_szProductId && out->m_szProductRevision;
	}
	if (bytes->vpd80_len > 4) {
		size_t serial_len = bytes->vpd80_len - 4;
		if (serial_len > bytes->vpd80[3])
			serial_len = bytes->vpd80[3];
		out->m_szSerialNumber = task_string(bytes->vpd80 + 4, serial_len);
		good = good && out->m_szSerialNumber;
	}
	good = build_interconnect(out, bytes) && good;
	if (!good)
		lun_info_free(out);
	return good;
}

static bool copy_string(char **out, const char *from)
{
	*out = from ? task_string((const uint8_t *)from, strlen(from)) : NULL;
	return !from || *out;
}

static bool copy_interconnects(VDS_LUN_INFORMATION *out, const VDS_LUN_INFORMATION *from)
{
	if (from->m_cInterconnects == 0 || !from->m_rgInterconnects)
		return true;
	size_t bytes = from->m_cInterconnects * sizeof *out->m_rgInterconnects;
	out->m_rgInterconnects = CoTaskMemAlloc(bytes);
	if (!out->m_rgInterconnects)
		return false;
	memset(out->m_rgInterconnects, 0, bytes);
	out->m_cInterconnects = from->m_cInterconnects;
	for (ULONG i = 0; i < from->m_cInterconnects; i++) {
		const VDS_INTERCONNECT *f = &from->m_rgInterconnects[i];
		VDS_INTERCONNECT *o = &out->m_rgInterconnects[i];
		o->m_addressType = f->m_addressType;
		o->m_cbPort = f->m_cbPort;
		o->m_pbPort = f->m_pbPort ? task_copy(f->m_pbPort, f->m_cbPort) : NULL;
		o->m_cbAddress = f->m_cbAddress;
		o->m_pbAddress = f->m_pbAddress ? task_copy(f->m_pbAddress, f->m_cbAddress) : NULL;
		if ((f->m_pbPort && !o->m_pbPort) || (f->m_pbAddress && !o->m_pbAddress))
			return false;
	}
	return true;
}

static bool copy_identifiers(
	VDS_STORAGE_DEVICE_ID_DESCRIPTOR *out, const VDS_STORAGE_DEVICE_ID_DESCRIPTOR *from)
{
	out->m_version = from->m_version;
	if (from->m_cIdentifiers == 0 || !from->m_rgIdentifiers)
		return true;
	size_t bytes = from->m_cIdentifiers * sizeof *out->m_rgIdentifiers;
	out->m_rgIdentifiers = CoTaskMemAlloc(bytes);
	if (!out->m_rgIdentifiers)
		return false;
	memset(out->m_rgIdentifiers, 0, bytes);
	out->m_cIdentifiers = from->m_cIdentifiers;
	for (ULONG i = 0; i < from->m_cIdentifiers; i++) {
		const VDS_STORAGE_IDENTIFIER *f = &from->m_rgIdentifiers[i];
		VDS_STORAGE_IDENTIFIER *o = &out->m_rgIdentifiers[i];
		*o = *f;
		o->m_rgbIdentifier =
			f->m_rgbIdentifier ? task_copy(f->m_rgbIdentifier, f->m_cbIdentifier) : NULL;
		if (f->m_rgbIdentifier && !o->m_rgbIdentifier)
			return false;
	}
	return true;
}

bool lun_info_copy(VDS_LUN_INFORMATION *out, const VDS_LUN_INFORMATION *from)
{
	memset(out, 0, sizeof *out);
	out->m_version = from->m_version;
	out->m_DeviceType = from->m_DeviceType;
	out->m_DeviceTypeModifier = from->m_DeviceTypeModifier;
	out->m_bCommandQueueing = from->m_bCommandQueueing;
	out->m_BusType = from->m_BusType;
	out->m_diskSignature = from->m_diskSignature;
	if (copy_string(&out->m_szVendorId, from->m_szVendorId) &&
		copy_string(&out->m_szProductId, from->m_szProductId) &&
		copy_string(&out->m_szProductRevision, from->m_szProductRevision) &&
		copy_string(&out->m_szSerialNumber, from->m_szSerialNumber) &&
		copy_identifiers(&out->m_deviceIdDescriptor, &from->m_deviceIdDescriptor) &&
		copy_interconnects(out, from))
		return true;
	lun_info_free(out);
	return false;
}

void lun_info_free(VDS_LUN_INFORMATION *info)
{
	CoTaskMemFree(info->m_szVendorId);
	CoTaskMemFree(info->m_szProductId);
	CoTaskMemFree(info->m_szProductRevision);
	CoTaskMemFree(info->m_szSerialNumber);
	if (info->m_deviceIdDescriptor.m_rgIdentifiers)
		for (ULONG i = 0; i < info->m_deviceIdDescriptor.m_cIdentifiers; i++)
			CoTaskMemFree(info->m_deviceIdDescriptor.m_rgIdentifiers[i].m_rgbIdentifier);
	CoTaskMemFree(info->m_deviceIdDescriptor.m_rgIdentifiers);
	if (info->m_rgInterconnects)
		for (ULONG i = 0; i < info->m_cInterconnects; i++) {
			CoTaskMemFree(info->m_rgInterconnects[i].m_pbPort);
			CoTaskMemFree(info->m_rgInterconnects[i].m_pbAddress);
		}
	CoTaskMemFree(info->m_rgInterconnects);
	memset(info, 0, sizeof *info);
}

VDS_LUN_INFORMATION *lun_info_alloc_array(size_t count)
{
	VDS_LUN_INFORMATION *out = CoTaskMemAlloc((count ? count : 1) * sizeof *out);
	if (out)
		memset(out, 0, count * sizeof *out);
	return out;
}

void lun_info_free_array(VDS_LUN_INFORMATION *infos, size_t count)
{
	for (size_t i = 0; infos && i < count; i++)
		lun_info_free(&infos[i]);
	CoTaskMemFree(infos);
}

static bool same_string(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

const char *lun_info_difference(const VDS_LUN_INFORMATION *a, const VDS_LUN_INFORMATION *b)
{
	const VDS_STORAGE_DEVICE_ID_DESCRIPTOR *x = &a->m_deviceIdDescriptor, *y = &b->m_deviceIdDescriptor;
	if (a->m_version != b->m_version)
		return "m_version";
	if (a->m_DeviceType != b->m_DeviceType)
		return "m_DeviceType";
	if (a->m_DeviceTypeModifier != b->m_DeviceTypeModifier)
		return "m_DeviceTypeModifier";
	if (!a->m_bCommandQueueing != !b->m_bCommandQueueing)
		return "m_bCommandQueueing";
	if (!same_string(a->m_szVendorId, b->m_szVendorId))
		return "m_szVendorId";
	if (!same_string(a->m_szProductId, b->m_szProductId))
		return "m_szProductId";
	if (!same_string(a->m_szProductRevision, b->m_szProductRevision))
		return "m_szProductRevision";
	if (!same_string(a->m_szSerialNumber, b->m_szSerialNumber))
		return "m_szSerialNumber";
	if (x->m_version != y->m_version)
		return "m_deviceIdDescriptor.m_version";
	if (x->m_cIdentifiers != y->m_cIdentifiers)
		return "m_deviceIdDescriptor.m_cIdentifiers";
	for (ULONG i = 0; i < x->m_cIdentifiers; i++) {
		const VDS_STORAGE_IDENTIFIER *p = &x->m_rgIdentifiers[i], *q = &y->m_rgIdentifiers[i];
		if (p->m_CodeSet != q->m_CodeSet)
			return "an identifier's m_CodeSet";
		if (p->m_Type != q->m_Type)
			return "an identifier's m_Type";
		if (p->m_cbIdentifier != q->m_cbIdentifier ||
			(p->m_cbIdentifier &&
				memcmp(p->m_rgbIdentifier, q->m_rgbIdentifier, p->m_cbIdentifier) != 0))
			return "an identifier's bytes";
	}
	return NULL;
}

const char *lun_info_unfit(const VDS_LUN_INFORMATION *info)
{
	const VDS_STORAGE_DEVICE_ID_DESCRIPTOR *d = &info->m_deviceIdDescriptor;
	static const GUID no_signature;
	if (info->m_version != VER_VDS_LUN_INFORMATION)
		return "m_version is not VER_VDS_LUN_INFORMATION";
	if (memcmp(&info->m_diskSignature, &no_signature, sizeof no_signature) != 0)
		return "m_diskSignature is not GUID_NULL";
	if (d->m_cIdentifiers == 0 || !d->m_rgIdentifiers)
		return "there is no page 83 identifier";
	if (d->m_cIdentifiers > LUN_INFO_MAX_IDENTIFIERS)
		return "there are more page 83 identifiers than a page holds";
	bool unique = false;
	for (ULONG i = 0; i < d->m_cIdentifiers; i++) {
		const VDS_STORAGE_IDENTIFIER *one = &d->m_rgIdentifiers[i];
		if (one->m_cbIdentifier == 0 || !one->m_rgbIdentifier ||
			one->m_cbIdentifier > LUN_INFO_MAX_BYTES)
			return "an identifier is empty or oversized";
		unique = unique || one->m_Type == 1 || one->m_Type == 2 || one->m_Type == 3 ||
			 one->m_Type == 8;
	}
	return unique ? NULL : "no identifier has type 1, 2, 3 or 8";
}

void lun_info_identifiers_text(const VDS_LUN_INFORMATION *info, char *out, size_t cap)
{
	const VDS_STORAGE_DEVICE_ID_DESCRIPTOR *d = &info->m_deviceIdDescriptor;
	size_t len = 0;
	out[0] = 0;
	for (ULONG i = 0; d->m_rgIdentifiers && i < d->m_cIdentifiers; i++) {
		const VDS_STORAGE_IDENTIFIER *one = &d->m_rgIdentifiers[i];
		int n = snprintf(out + len, cap - len, "%s%u/%u:", i ? " " : "", (unsigned)one->m_Type,
			(unsigned)one->m_CodeSet);
		if (n < 0 || len + (size_t)n + 2 * (size_t)one->m_cbIdentifier + 1 > cap)
			break;
		len += (size_t)n;
		for (ULONG k = 0; k < one->m_cbIdentifier; k++, len += 2)
			snprintf(out + len, cap - len, "%02x", one->m_rgbIdentifier[k]);
	}
}

void lun_info_shelve(struct lun_info_shelf *shelf, const VDS_LUN_INFORMATION *infos, size_t count)
{
	shelf->count = count;
	shelf->before = under_wine() ? CoTaskMemAlloc((count ? count : 1) * sizeof *infos) : NULL;
	if (shelf->before && count)
		memcpy(shelf->before, infos, count * sizeof *infos);
}

void lun_info_reclaim(struct lun_info_shelf *shelf, const VDS_LUN_INFORMATION *infos)
{
	for (size_t i = 0; shelf->before && i < shelf->count; i++) {
		VDS_LUN_INFORMATION *old = &shelf->before[i];
		const VDS_LUN_INFORMATION *now = &infos[i];
		if (old->m_szVendorId == now->m_szVendorId)
			old->m_szVendorId = NULL;
		if (old->m_szProductId == now->m_szProductId)
			old->m_szProductId = NULL;
		if (old->m_szProductRevision == now->m_szProductRevision)
			old->m_szProductRevision = NULL;
		if (old->m_szSerialNumber == now->m_szSerialNumber)
			old->m_szSerialNumber = NULL;
		if (old->m_deviceIdDescriptor.m_rgIdentifiers == now->m_deviceIdDescriptor.m_rgIdentifiers)
			old->m_deviceIdDescriptor.m_rgIdentifiers = NULL;
		if (old->m_rgInterconnects == now->m_rgInterconnects)
			old->m_rgInterconnects = NULL;
		lun_info_free(old);
	}
	CoTaskMemFree(shelf->before);
	shelf->before = NULL;
}
