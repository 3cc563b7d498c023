/* SPDX-License-Identifier: Apache-2.0 */
/* See sequence.h: scan, list and delete, and the calls that creation and import share (sequence_internal.h).
 */
#include "lab/coordinator/sequence_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <vsserror.h>

#define IDENTIFIERS_TEXT 4096

static const wchar_t *table_text(const struct gpt_state *t)
{
	switch (t->kind) {
	case GPT_MBR:
		return L"mbr";
	case GPT_GPT:
		return t->flagged ? L"gpt+flags" : L"gpt";
	case GPT_DAMAGED:
		return L"gpt damaged";
	default:
		return L"none";
	}
}

static void fill_identity(LAB_LUN *out, const VDS_LUN_INFORMATION *info)
{
	char text[IDENTIFIERS_TEXT];
	lun_info_identifiers_text(info, text, sizeof text);
	out->vendor = record_utf8(info->m_szVendorId, -1);
	out->product = record_utf8(info->m_szProductId, -1);
	out->revision = record_utf8(info->m_szProductRevision, -1);
	out->serial = record_utf8(info->m_szSerialNumber, -1);
	out->identifiers = record_utf8(text, -1);
}

void report_lun(struct record *r, const wchar_t *role, const VDS_LUN_INFORMATION *info,
	const struct port_disk *d, LONG volume, const VDS_LUN_INFORMATION *pair)
{
	LAB_LUN *out = record_add_lun(r);
	if (!out)
		return;
	out->role = record_text(role);
	out->volume = volume;
	out->device = record_text(d ? d->device : L"");
	out->drive = d ? d->drive : -1;
	out->port = d ? d->bytes.port : -1;
	out->path = d ? d->bytes.path : -1;
	out->target = d ? d->bytes.target : -1;
	out->lun = d ? d->bytes.lun : -1;
	out->size_bytes = d ? d->blocks * d->block_bytes : 0;
	out->state = record_text(d ? table_text(&d->table) : L"");
	out->pair = record_utf8(pair ? pair->m_szSerialNumber : NULL, -1);
	fill_identity(out, info);
}

void sequence_scan(struct record *r)
{
	ULONG phase = record_phase_begin(r, L"Scan");
	struct port_scan *s = port_scan();
	record_phase_end(r, phase, s ? S_OK : E_OUTOFMEMORY);
	if (!s) {
		record_fail(r, E_OUTOFMEMORY, L"out of memory");
		return;
	}
	for (size_t i = 0; i < s->count; i++)
		report_lun(r, L"disk", &s->disks[i].info, &s->disks[i], -1, NULL);
	port_scan_free(s);
}

static void report_set(struct record *r, const struct shadow_set *s)
{
	LAB_SET *out = record_add_set(r);
	if (!out)
		return;
	out->id = s->id;
	out->provider_id = s->provider_id;
	out->state = record_text(s->imported ? L"imported" : L"created");
	out->created = record_utf8(s->created, -1);
	out->transportable = s->transportable;
	out->context = s->context;
	out->lun_count = (ULONG)s->lun_count;
}

void sequence_list(struct record *r)
{
	GUID ids[256];
	size_t count = catalogue_list(ids, 256);
	for (size_t i = 0; i < count; i++) {
		struct shadow_set *s = catalogue_load(&ids[i]);
		if (!s)
			continue;
		report_set(r, s);
		for (size_t k = 0; k < s->lun_count; k++)
			report_lun(r, L"shadow", &s->luns[k].shadow, NULL, -1, &s->luns[k].original);
		set_free(s);
	}
}

struct provider *load_provider(struct record *r, const GUID *id)
{
	struct provider_entry entries[PROVIDERS_MAX];
	ULONG count = providers_list(entries);
	for (ULONG i = 0; i < count; i++)
		if (IsEqualGUID(&entries[i].id, id))
			return provider_load(&entries[i], r);
	record_fail(
		r, VSS_E_PROVIDER_NOT_REGISTERED, L"the set's provider is not registered here: install it");
	return NULL;
}

HRESULT fill_in_lun_info(struct record *r, struct provider *p, const struct port_disk *d,
	VDS_LUN_INFORMATION *out, BOOL *supported)
{
	struct lun_info_shelf shelf;
	*supported = FALSE;
	if (!lun_info_copy(out, &d->info))
		return E_OUTOFMEMORY;
	lun_info_shelve(&shelf, out, 1);
	ULONG call = record_call_begin(r, L"FillInLunInfo", L"%ls", d->device);
	HRESULT hr = IVssHardwareSnapshotProvider_FillInLunInfo(p->hw, (VSS_PWSZ)d->device, out, supported);
	record_call_end(r, call, hr);
	lun_info_reclaim(&shelf, out);
	return provider_check(p, hr);
}

/* The visible disk that is this shadow LUN, asked about as VSS asks; NULL: not there. *info is then to be
 * freed. */
static const struct port_disk *find_shadow(struct record *r, struct provider *p, const struct port_scan *scan,
	const VDS_LUN_INFORMATION *shadow, VDS_LUN_INFORMATION *info)
{
	for (size_t i = 0; i < scan->count; i++) {
		BOOL supported;
		const struct port_disk *d = &scan->disks[i];
		if (!d->info.m_szSerialNumber || !shadow->m_szSerialNumber ||
			strcmp(d->info.m_szSerialNumber, shadow->m_szSerialNumber) != 0)
			continue;
		fill_in_lun_info(r, p, d, info, &supported);
		if (supported && !lun_info_difference(info, shadow))
			return d;
		lun_info_free(info);
	}
	return NULL;
}

static HRESULT lun_empty(
	struct record *r, struct provider *p, const struct port_disk *d, VDS_LUN_INFORMATION *info)
{
	ULONG call = record_call_begin(r, L"OnLunEmpty", L"%ls %hs", d->device,
		info->m_szSerialNumber ? info->m_szSerialNumber : "");
	HRESULT hr = IVssHardwareSnapshotProvider_OnLunEmpty(p->hw, (VSS_PWSZ)d->device, info);
	return provider_check(p, record_call_end(r, call, hr));
}

/* Deletes what it can; the set's LUNs that are gone afterwards are counted. */
static size_t delete_luns(
	struct record *r, struct provider *p, struct shadow_set *s, const struct port_scan *scan)
{
	size_t gone = 0;
	for (size_t i = 0; i < s->lun_count; i++) {
		VDS_LUN_INFORMATION info = {0};
		const struct port_disk *d = find_shadow(r, p, scan, &s->luns[i].shadow, &info);
		report_lun(r, L"shadow", &s->luns[i].shadow, d, -1, &s->luns[i].original);
		if (!d) {
			record_fail(r, VSS_E_MISSING_DISK,
				L"the shadow LUN %hs is not visible on this host, so VSS cannot delete it",
				s->luns[i].shadow.m_szSerialNumber ? s->luns[i].shadow.m_szSerialNumber : "");
			continue;
		}
		HRESULT hr = lun_empty(r, p, d, &info);
		lun_info_free(&info);
		if (hr == S_OK)
			gone++;
		else
			record_fail(r, provider_visible_error(hr, false),
				L"OnLunEmpty of %ls failed with 0x%08x", d->device, (unsigned)hr);
	}
	return gone;
}

void sequence_delete(struct record *r, const GUID *set_id, LONG flags)
{
	r->result->set_id = *set_id;
	struct shadow_set *s = catalogue_load(set_id);
	if (!s) {
		record_fail(r, VSS_E_OBJECT_NOT_FOUND,
			L"this host knows no such shadow copy set; list shows them");
		return;
	}
	ULONG phase = record_phase_begin(r, L"Delete");
	struct provider *p = load_provider(r, &s->provider_id);
	struct port_scan *scan = p ? port_scan() : NULL;
	if (p && !scan)
		record_fail(r, E_OUTOFMEMORY, L"out of memory");
	if (scan && delete_luns(r, p, s, scan) == s->lun_count && !catalogue_remove(set_id))
		record_fail(r, VSS_E_UNEXPECTED, L"the catalogue's file cannot be removed");
	record_phase_end(r, phase, r->result->hr);
	if (scan) {
		phase = record_phase_begin(r, L"Rescan");
		record_phase_end(r, phase, port_rescan() ? S_OK : S_FALSE);
	}
	if (flags & LAB_UNLOAD_AFTER)
		providers_unload_all(false, r);
	port_scan_free(scan);
	set_free(s);
}
