/* SPDX-License-Identifier: Apache-2.0 */
/* See sequence.h: scan, list, expose and delete, and the calls that the other files share (sequence_internal.h).
 */
#include "lab/coordinator/sequence_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <vsserror.h>
#include "lab/coordinator/surface.h"

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

void report_snapshots(struct record *r, const struct shadow_set *s)
{
	for (size_t v = 0; v < s->volume_count; v++) {
		LAB_SNAPSHOT *out = record_add_snapshot(r);
		if (!out)
			return;
		out->id = s->volumes[v].snapshot_id;
		out->set_id = s->id;
		out->volume = (LONG)v;
		out->original_lun = s->luns[s->members[s->volumes[v].first]].lun;
		out->lun_count = (ULONG)s->volumes[v].count;
		out->context = s->context;
		out->created = record_utf8(s->created, -1);
		out->exposed = record_utf8(s->volumes[v].exposed, -1);
		out->provider_id = s->volumes[v].provider_id;
		out->name = record_utf8(s->volumes[v].name, -1);
		out->machine = record_utf8(s->machine, -1);
		out->device = s->volumes[v].device;
		out->set_count = s->made_count ? s->made_count : (ULONG)s->volume_count;
	}
}

static HRESULT change_volume(
	struct record *r, struct provider *p, const struct shadow_set *s, size_t v, DWORD flags)
{
	const struct set_volume *volume = &s->volumes[v];
	VDS_LUN_INFORMATION *shadows = lun_info_alloc_array(volume->count);
	VDS_LUN_INFORMATION *originals = lun_info_alloc_array(volume->count);
	bool good = shadows && originals;
	HRESULT hr = E_OUTOFMEMORY;
	for (size_t k = 0; good && k < volume->count; k++) {
		const struct set_lun *l = &s->luns[s->members[volume->first + k]];
		good = lun_info_copy(&shadows[k], &l->shadow) && lun_info_copy(&originals[k], &l->original);
	}
	if (good) {
		ULONG call = record_call_begin(r, L"OnLunStateChange", L"volume %u, %u LUNs, flags 0x%lx",
			(unsigned)v, (unsigned)volume->count, (unsigned long)flags);
		hr = IVssHardwareSnapshotProviderEx_OnLunStateChange(
			p->ex, shadows, originals, (DWORD)volume->count, flags);
		provider_check(p, record_call_end(r, call, hr));
	}
	lun_info_free_array(shadows, volume->count);
	lun_info_free_array(originals, volume->count);
	return hr;
}

/* Each volume's provider is told of its own. */
HRESULT state_change(struct record *r, struct provider *p, const struct shadow_set *s, DWORD flags)
{
	struct provider *of[SET_MAX_VOLUMES];
	for (size_t v = 0; v < s->volume_count; v++) {
		of[v] = load_lun_provider(r, p, s, s->members[s->volumes[v].first]);
		if (!of[v])
			return r->result->hr;
		if (!of[v]->ex && (flags & VSS_ONLUNSTATECHANGE_DO_MASK_LUNS))
			return record_fail(r, VSS_E_LEGACY_PROVIDER,
				L"the provider offers no IVssHardwareSnapshotProviderEx, so it cannot mask LUNs");
	}
	for (size_t v = 0; v < s->volume_count; v++) {
		HRESULT hr = of[v]->ex ? change_volume(r, of[v], s, v, flags) : S_OK;
		if (hr != S_OK)
			return record_fail(r, provider_visible_error(hr, false),
				L"OnLunStateChange(0x%lx) of volume %u failed with 0x%08x",
				(unsigned long)flags, (unsigned)v, (unsigned)hr);
	}
	return S_OK;
}

void sequence_list(struct record *r)
{
	GUID ids[CATALOGUE_MAX];
	size_t count = catalogue_list(ids, CATALOGUE_MAX);
	for (size_t i = 0; i < count; i++) {
		struct shadow_set *s = catalogue_load(&ids[i]);
		if (!s)
			continue;
		report_set(r, s);
		report_snapshots(r, s);
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

struct provider *load_lun_provider(
	struct record *r, struct provider *p, const struct shadow_set *s, size_t lun)
{
	const GUID *id = set_lun_provider(s, lun);
	return IsEqualGUID(id, &p->entry.id) ? p : load_provider(r, id);
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

const struct port_disk *find_shadow(struct record *r, struct provider *p, const struct port_scan *scan,
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

/* Deletes what it can: the set's LUNs, or with a volume (-1: all) those that no other volume lies on. False when one
 * is still there. */
static bool delete_luns(
	struct record *r, struct provider *p, struct shadow_set *s, int volume, const struct port_scan *scan)
{
	bool all = true;
	for (size_t v = 0; v < s->volume_count; v++)
		if (volume < 0 || (size_t)volume == v)
			surface_unmount(s->volumes[v].device);
	for (size_t i = 0; i < s->lun_count; i++) {
		if (volume >= 0 && set_uses_lun(s, i, volume))
			continue;
		VDS_LUN_INFORMATION info = {0};
		struct provider *q = load_lun_provider(r, p, s, i);
		const struct port_disk *d = q ? find_shadow(r, q, scan, &s->luns[i].shadow, &info) : NULL;
		report_lun(r, L"shadow", &s->luns[i].shadow, d, -1, &s->luns[i].original);
		if (!d) {
			record_fail(r, VSS_E_MISSING_DISK,
				L"the shadow LUN %hs is not visible on this host, so VSS cannot delete it",
				s->luns[i].shadow.m_szSerialNumber ? s->luns[i].shadow.m_szSerialNumber : "");
			all = false;
			continue;
		}
		HRESULT hr = lun_empty(r, q, d, &info);
		lun_info_free(&info);
		if (hr != S_OK)
			record_fail(r, provider_visible_error(hr, false),
				L"OnLunEmpty of %ls failed with 0x%08x", d->device, (unsigned)hr);
		all = all && hr == S_OK;
	}
	return all;
}

/* Is any LUN of the set visible? If not, nobody could delete the set any more, and it would stay in the
 * catalogue for ever. */
static bool any_visible(
	struct record *r, struct provider *p, const struct shadow_set *s, const struct port_scan *scan)
{
	for (size_t i = 0; i < s->lun_count; i++) {
		VDS_LUN_INFORMATION info = {0};
		struct provider *q = load_lun_provider(r, p, s, i);
		if (q && find_shadow(r, q, scan, &s->luns[i].shadow, &info)) {
			lun_info_free(&info);
			return true;
		}
	}
	return false;
}

/* What was deleted is forgotten. */
static bool forget_deleted(struct shadow_set *s, int volume)
{
	if (volume < 0 || s->volume_count == 1)
		return catalogue_remove(&s->id);
	set_remove_volume(s, (size_t)volume);
	return catalogue_store(s);
}

struct shadow_set *known_set(struct record *r, const GUID *set_id)
{
	struct shadow_set *s = catalogue_load(set_id);
	r->result->set_id = *set_id;
	if (!s)
		record_fail(r, VSS_E_OBJECT_NOT_FOUND,
			L"this host knows no such shadow copy set; list shows them");
	return s;
}

/* The same by a snapshot id. */
static struct shadow_set *known_snapshot(struct record *r, const GUID *id, int *volume)
{
	struct shadow_set *s = catalogue_find_snapshot(id, volume);
	if (s)
		r->result->set_id = s->id;
	else
		record_fail(
			r, VSS_E_OBJECT_NOT_FOUND, L"this host knows no such shadow copy; list shows them");
	return s;
}

void sequence_delete(struct record *r, const GUID *id, LONG flags)
{
	int volume = -1;
	struct shadow_set *s = flags & LAB_ONE_SNAPSHOT ? known_snapshot(r, id, &volume) : known_set(r, id);
	if (!s)
		return;
	ULONG phase = record_phase_begin(r, L"Delete");
	struct provider *p = load_provider(r, &s->provider_id);
	struct port_scan *scan = p ? port_scan() : NULL;
	if (p && !scan)
		record_fail(r, E_OUTOFMEMORY, L"out of memory");
	bool gone = scan && flags & LAB_FORGET_GONE && !any_visible(r, p, s, scan);
	if (scan && (gone || delete_luns(r, p, s, volume, scan)) && !forget_deleted(s, volume))
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

/* Is the name a letter that is in use, or what another shadow copy is exposed as? */
static bool name_is_taken(const wchar_t *name, const char *utf8)
{
	GUID ids[CATALOGUE_MAX];
	size_t count = catalogue_list(ids, CATALOGUE_MAX);
	bool taken = !name[2] && (GetLogicalDrives() >> ((name[0] | 0x20) - L'a') & 1);
	for (size_t i = 0; i < count && !taken; i++) {
		struct shadow_set *s = catalogue_load(&ids[i]);
		for (size_t v = 0; s && v < s->volume_count; v++)
			taken = taken || _stricmp(s->volumes[v].exposed, utf8) == 0;
		set_free(s);
	}
	return taken;
}

void sequence_expose(struct record *r, const GUID *snapshot_id, const wchar_t *name)
{
	int v = -1;
	char utf8[SET_NAME_BYTES];
	struct shadow_set *s = known_snapshot(r, snapshot_id, &v);
	if (!s)
		return;
	bool is_letter = ((name[0] | 0x20) >= L'a' && (name[0] | 0x20) <= L'z') && name[1] == L':';
	if (!WideCharToMultiByte(CP_UTF8, 0, name, -1, utf8, sizeof utf8, NULL, NULL) ||
		(*name && !is_letter))
		record_fail(r, E_INVALIDARG, L"a shadow copy is exposed as X: or as a folder X:\\...");
	else if (*name && s->volumes[v].exposed[0])
		record_fail(r, VSS_E_OBJECT_ALREADY_EXISTS, L"the shadow copy is exposed as %hs",
			s->volumes[v].exposed);
	else if (*name && name_is_taken(name, utf8))
		record_fail(r, VSS_E_OBJECT_ALREADY_EXISTS, L"%ls is in use", name);
	else if (!*name && !s->volumes[v].exposed[0])
		record_fail(r, VSS_E_OBJECT_NOT_FOUND, L"the shadow copy is not exposed");
	if (SUCCEEDED(r->result->hr)) {
		memcpy(s->volumes[v].exposed, utf8, sizeof utf8);
		if (!catalogue_store(s))
			record_fail(r, VSS_E_UNEXPECTED, L"the set cannot be written to the catalogue");
	}
	report_snapshots(r, s);
	set_free(s);
}
