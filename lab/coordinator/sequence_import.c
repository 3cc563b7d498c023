/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Import: the shadow LUNs are unmasked (LocateLuns), the port is rescanned, every disk that arrives goes
 * through FillInLunInfo, foreign ones too, and is compared with what GetTargetLuns had promised.
 *
 * Invariant: nothing is recorded in the catalogue unless at least one LUN was found, so that a failed import
 * can be tried again.
 */
#include "lab/coordinator/sequence_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <vsserror.h>
#include "lab/coordinator/settings.h"
#include "lab/coordinator/surface.h"

#define RESCAN_PAUSE_MS 200

static void key_of(const struct port_disk *d, char *out, size_t cap)
{
	const char *serial = d->info.m_szSerialNumber ? d->info.m_szSerialNumber : "";
	snprintf(out, cap, "%u:%u:%u:%u %.60s", d->bytes.port, d->bytes.path, d->bytes.target, d->bytes.lun,
		serial);
}

static bool was_there(const struct matching *m, const char *key)
{
	char other[80];
	for (size_t i = 0; m->before && i < m->before->count; i++) {
		key_of(&m->before->disks[i], other, sizeof other);
		if (strcmp(other, key) == 0)
			return true;
	}
	for (size_t i = 0; i < m->seen_count; i++)
		if (strcmp(m->seen[i], key) == 0)
			return true;
	return false;
}

static bool is_wanted(const struct shadow_set *s, const struct matching *m, const struct port_disk *d)
{
	for (size_t i = 0; i < s->lun_count; i++)
		if (!m->have[i] && d->info.m_szSerialNumber && s->luns[i].shadow.m_szSerialNumber &&
			strcmp(d->info.m_szSerialNumber, s->luns[i].shadow.m_szSerialNumber) == 0)
			return true;
	return false;
}

static struct provider *volume_provider(
	struct record *r, struct provider *p, const struct shadow_set *s, size_t v)
{
	return load_lun_provider(r, p, s, s->members[s->volumes[v].first]);
}

/* What p says of a disk, compared with every LUN of p's that is still missing. True: it is one. *difference: in what it is not
 * the one whose serial number it has. */
static bool is_missing_one(struct record *r, struct provider *p, struct shadow_set *s, struct matching *m,
	const struct port_disk *d, const char **difference)
{
	VDS_LUN_INFORMATION info = {0};
	BOOL supported = FALSE;
	bool matched = false;
	fill_in_lun_info(r, p, d, &info, &supported);
	for (size_t i = 0; supported && i < s->lun_count && !matched; i++) {
		if (m->have[i] || !IsEqualGUID(set_lun_provider(s, i), &p->entry.id))
			continue;
		const char *found = lun_info_difference(&info, &s->luns[i].shadow);
		matched = !found;
		if (matched) {
			m->found[i] = *d;
			m->have[i] = true;
			m->matched++;
		} else if (info.m_szSerialNumber && s->luns[i].shadow.m_szSerialNumber &&
			   strcmp(info.m_szSerialNumber, s->luns[i].shadow.m_szSerialNumber) == 0) {
			*difference = found;
		}
	}
	lun_info_free(&info);
	return matched;
}

/* One arrived disk: each provider of the set is asked about it, until it is one of that provider's. */
static void arrived(struct record *r, struct provider *p, struct shadow_set *s, struct matching *m,
	const struct port_disk *d)
{
	const char *difference = NULL;
	struct provider *asked[SET_MAX_VOLUMES];
	size_t count = 0;
	bool matched = false;
	for (size_t v = 0; v < s->volume_count && !matched; v++) {
		struct provider *q = volume_provider(r, p, s, v);
		bool again = !q;
		for (size_t i = 0; i < count; i++)
			again = again || asked[i] == q;
		if (again)
			continue;
		asked[count++] = q;
		matched = is_missing_one(r, q, s, m, d, &difference);
	}
	if (difference && !matched) {
		ULONG call = record_call_begin(
			r, L"(match)", L"%ls differs from GetTargetLuns in %hs", d->device, difference);
		record_call_end(r, call, VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED);
	}
}

static void look_for_arrivals(struct record *r, struct provider *p, struct shadow_set *s, struct matching *m)
{
	struct port_scan *now = port_scan();
	for (size_t i = 0; now && i < now->count; i++) {
		char key[80];
		const struct port_disk *d = &now->disks[i];
		key_of(d, key, sizeof key);
		if (was_there(m, key) || m->seen_count == PORT_MAX_DISKS)
			continue;
		memcpy(m->seen[m->seen_count++], key, sizeof key);
		arrived(r, p, s, m, d);
	}
	port_scan_free(now);
}

/* A LUN that an earlier, failed import has left visible counts as arriving now. */
static void forget_wanted(struct shadow_set *s, struct matching *m)
{
	for (size_t i = 0; m->before && i < m->before->count;) {
		struct port_disk *d = &m->before->disks[i];
		if (!is_wanted(s, m, d)) {
			i++;
			continue;
		}
		lun_info_free(&d->info);
		*d = m->before->disks[--m->before->count];
		memset(&m->before->disks[m->before->count].info, 0, sizeof d->info);
	}
}

/* The LUNs of members first … first + count - 1: those of a volume, or of all. */
static HRESULT locate_luns(struct record *r, struct provider *p, struct shadow_set *s, size_t first,
	size_t count, const wchar_t *what)
{
	HRESULT hr = E_OUTOFMEMORY;
	VDS_LUN_INFORMATION *luns = lun_info_alloc_array(count);
	bool good = luns != NULL;
	for (size_t k = 0; good && k < count; k++)
		good = lun_info_copy(&luns[k], &s->luns[s->members[first + k]].shadow);
	if (good) {
		ULONG call = record_call_begin(r, L"LocateLuns", L"%ls, %u LUNs", what, (unsigned)count);
		hr = IVssHardwareSnapshotProvider_LocateLuns(p->hw, (LONG)count, luns);
		provider_check(p, record_call_end(r, call, hr));
	}
	lun_info_free_array(luns, count);
	return hr;
}

/* Once a volume, or, by the seed, once for the set: Microsoft's documentation says both. */
static HRESULT locate(struct record *r, struct provider *p, struct shadow_set *s)
{
	ULONG phase = record_phase_begin(r, L"LocateLuns");
	HRESULT hr = S_OK;
	bool whole = variation_now()->locate_set && !set_is_mixed(s);
	if (whole)
		hr = locate_luns(r, p, s, 0, s->member_count, L"set");
	for (size_t v = 0; v < s->volume_count && hr == S_OK && !whole; v++) {
		wchar_t what[32];
		struct provider *q = volume_provider(r, p, s, v);
		swprintf(what, 32, L"volume %u", (unsigned)v);
		hr = q ? locate_luns(r, q, s, s->volumes[v].first, s->volumes[v].count, what) : r->result->hr;
	}
	HRESULT seen = provider_visible_error(hr, false);
	if (hr != S_OK)
		record_fail(r, seen, L"LocateLuns failed with 0x%08x: the shadow LUNs were not made visible",
			(unsigned)hr);
	return record_phase_end(r, phase, seen);
}

static HRESULT match(struct record *r, struct provider *p, struct shadow_set *s, struct matching *m)
{
	DWORD limit_ms = settings_dword(L"ImportWaitMs", 30000);
	ULONGLONG until = GetTickCount64() + limit_ms;
	ULONG phase = record_phase_begin(r, L"Arrival");
	for (;;) {
		port_rescan();
		look_for_arrivals(r, p, s, m);
		if (m->matched == s->lun_count || GetTickCount64() >= until)
			break;
		Sleep(RESCAN_PAUSE_MS);
	}
	HRESULT hr = m->matched == s->lun_count ? S_OK
		     : m->matched               ? VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED
						: VSS_E_NO_SNAPSHOTS_IMPORTED;
	if (hr != S_OK)
		record_fail(r, hr,
			L"%u of %u shadow LUNs arrived within %lu ms and matched what GetTargetLuns said",
			(unsigned)m->matched, (unsigned)s->lun_count, (unsigned long)limit_ms);
	return record_phase_end(r, phase, hr);
}

/* Ids of the same kind and number that no other disk has. */
static void make_identity(struct gpt_identity *id)
{
	GUID guid;
	CoCreateGuid(&guid);
	memcpy(id->disk_id, &guid, id->kind == GPT_MBR ? 4 : sizeof id->disk_id);
	for (unsigned i = 0; i < id->count; i++) {
		static const uint8_t unused[16];
		if (memcmp(id->partition_ids[i], unused, sizeof unused) == 0)
			continue;
		CoCreateGuid(&guid);
		memcpy(id->partition_ids[i], &guid, sizeof guid);
	}
}

static bool same_disk_id(const struct gpt_identity *a, const struct gpt_identity *b)
{
	return a->kind == b->kind && memcmp(a->disk_id, b->disk_id, sizeof a->disk_id) == 0;
}

/* As Windows does at import: two disks with one signature cannot both be online on a host. Breaking puts the
 * original's identity back where that is possible. */
static HRESULT separate_identities(struct record *r, const struct shadow_set *s, const struct matching *m)
{
	HRESULT hr = S_OK;
	ULONG phase = record_phase_begin(r, L"NewIdentities");
	for (size_t i = 0; i < s->lun_count && hr == S_OK; i++) {
		struct gpt_identity now;
		const struct gpt_identity *original = &s->luns[i].identity;
		if (!m->have[i] || (original->kind != GPT_GPT && original->kind != GPT_MBR))
			continue;
		hr = port_get_identity(&m->found[i], &now);
		if (hr == S_OK && same_disk_id(&now, original)) {
			make_identity(&now);
			hr = port_change(&m->found[i], &now, 0);
		}
		if (hr != S_OK)
			record_fail(r, VSS_E_UNEXPECTED,
				L"%ls cannot be given an identity of its own (0x%08x)", m->found[i].device,
				(unsigned)hr);
	}
	return record_phase_end(r, phase, hr == S_OK ? S_OK : VSS_E_UNEXPECTED);
}

struct matching *matching_new(void)
{
	return calloc(1, sizeof(struct matching));
}

void matching_free(struct matching *m)
{
	if (m)
		port_scan_free(m->before);
	free(m);
}

HRESULT locate_and_match(struct record *r, struct provider *p, struct shadow_set *s, struct matching *m)
{
	m->before = port_scan();
	if (m->before)
		forget_wanted(s, m);
	HRESULT hr = locate(r, p, s);
	if (hr == S_OK)
		hr = match(r, p, s, m);
	if (m->matched) {
		HRESULT separated = separate_identities(r, s, m);
		hr = hr == S_OK ? separated : hr;
	}
	return hr;
}

/* n of \\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy<n>: never one that a shadow copy had before. */
static void number_devices(struct shadow_set *s)
{
	DWORD last = settings_dword(L"LastShadowDevice", 0);
	for (size_t v = 0; v < s->volume_count; v++)
		s->volumes[v].device = (LONG)++last;
	RegSetKeyValueW(HKEY_LOCAL_MACHINE, LAB_KEY, L"LastShadowDevice", REG_DWORD, &last, sizeof last);
}

/* The first LUN of a volume has its file system, as far as the lab can mount it. */
static void surface(struct record *r, const struct shadow_set *s, const struct matching *m)
{
	ULONG phase = record_phase_begin(r, L"Surface");
	HRESULT result = S_OK;
	for (size_t v = 0; v < s->volume_count; v++) {
		size_t at = s->members[s->volumes[v].first];
		HRESULT hr = m->have[at] ? surface_mount(s->volumes[v].device, m->found[at].bytes.lun) : S_OK;
		result = hr == S_OK ? result : hr;
	}
	record_phase_end(r, phase, result);
}

HRESULT keep_import(struct record *r, struct shadow_set *s, const struct matching *m)
{
	HRESULT hr = S_OK;
	for (size_t i = 0; i < s->lun_count; i++)
		report_lun(r, L"shadow", &s->luns[i].shadow, m->have[i] ? &m->found[i] : NULL, -1,
			&s->luns[i].original);
	if (m->matched > 0) {
		s->imported = true;
		number_devices(s);
		surface(r, s, m);
		report_snapshots(r, s);
		if (!catalogue_store(s))
			hr = record_fail(r, VSS_E_UNEXPECTED, L"the set cannot be written to the catalogue");
	}
	return hr;
}

HRESULT import_luns(struct record *r, struct provider *p, struct shadow_set *s)
{
	struct matching *m = matching_new();
	if (!m)
		return record_fail(r, E_OUTOFMEMORY, L"out of memory");
	HRESULT hr = locate_and_match(r, p, s, m);
	HRESULT kept = keep_import(r, s, m);
	matching_free(m);
	return hr == S_OK ? kept : hr;
}

void sequence_import(struct record *r, const char *document, size_t len, LONG flags)
{
	const char *why = NULL;
	struct shadow_set *s = set_from_document(document, len, &why);
	if (!s) {
		record_fail(r, VSS_E_INVALID_XML_DOCUMENT, L"the document cannot be used: %hs",
			why ? why : "no memory");
		return;
	}
	r->result->set_id = s->id;
	r->result->context = s->context;
	r->result->transportable = s->transportable;
	if (catalogue_has(&s->id)) {
		record_fail(r, VSS_E_OBJECT_ALREADY_EXISTS,
			L"this host has imported the set already: a set is imported once");
	} else {
		struct provider *p = load_provider(r, &s->provider_id);
		if (p)
			import_luns(r, p, s);
	}
	if (flags & LAB_UNLOAD_AFTER)
		providers_unload_all(false, r);
	set_free(s);
}
