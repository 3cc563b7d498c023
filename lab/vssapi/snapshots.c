/* SPDX-License-Identifier: Apache-2.0 */
/* See snapshots.h. Each method checks the order, then does its work on a thread of the apartment. */
#include "lab/vssapi/snapshots.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vsadmin.h>
#include <wchar.h>

static const GUID no_id;

static struct components *impl_from(Components *iface)
{
	return CONTAINING_RECORD(iface, struct components, IVssBackupComponentsEx4_iface);
}

/* What COM says when the coordinator is gone means nothing to a requester. */
static HRESULT seen(HRESULT hr)
{
	bool com = FAILED(hr) && HRESULT_FACILITY(hr) != FACILITY_ITF && hr != E_OUTOFMEMORY &&
		   hr != E_INVALIDARG && hr != E_ACCESSDENIED && hr != E_NOTIMPL && hr != E_POINTER;
	return com ? VSS_E_UNEXPECTED : hr;
}

/* The outcome of a request whose call answered hr. */
static HRESULT outcome(HRESULT hr, const LAB_RESULT *result)
{
	return FAILED(hr) ? seen(hr) : result ? seen(result->hr) : VSS_E_UNEXPECTED;
}

/* --- a set --- */

struct adding {
	struct components *x;
	struct volume *volume;
	GUID provider_id, id;
	WINBOOL supported;
	LONG context;
};

static HRESULT start_set(void *arg)
{
	struct adding *a = arg;
	return seen(ILabSession_Start(a->x->session, a->context, &a->id));
}

/* With writers their metadata must be gathered before, and a backup has one set. */
HRESULT STDMETHODCALLTYPE snap_StartSnapshotSet(Components *iface, VSS_ID *set_id)
{
	struct components *x = impl_from(iface);
	if (!set_id)
		return E_POINTER;
	*set_id = no_id;
	HRESULT hr = components_enter(x, false);
	if (hr != S_OK)
		return hr;
	bool writers = !(x->context & VSS_VOLSNAP_ATTR_NO_WRITERS);
	if (x->adding || x->working)
		hr = VSS_E_SNAPSHOT_SET_IN_PROGRESS;
	else if (x->context == (LONG)VSS_CTX_ALL || (writers && (!x->gathered || x->done)))
		hr = VSS_E_BAD_STATE;
	x->context_fixed = true;
	struct adding a = {.x = x, .context = x->context};
	x->working = x->working || hr == S_OK;
	components_leave(x);
	if (hr != S_OK)
		return hr;
	hr = mta_run(start_set, &a);
	EnterCriticalSection(&x->lock);
	x->working = false;
	x->adding = hr == S_OK && x->phase == PHASE_BACKUP;
	x->volumes = 0;
	LeaveCriticalSection(&x->lock);
	*set_id = a.id;
	return hr;
}

static HRESULT add_to_set(void *arg)
{
	struct adding *a = arg;
	return seen(ILabSession_Add(
		a->x->session, a->volume->name, a->provider_id, a->volume->count, a->volume->luns, &a->id));
}

HRESULT STDMETHODCALLTYPE snap_AddToSnapshotSet(
	Components *iface, VSS_PWSZ volume, VSS_ID provider_id, VSS_ID *snapshot_id)
{
	struct components *x = impl_from(iface);
	struct volume v;
	if (!snapshot_id)
		return E_POINTER;
	*snapshot_id = no_id;
	HRESULT hr = components_enter(x, false);
	if (hr != S_OK)
		return hr;
	if (!x->adding || x->working)
		hr = VSS_E_BAD_STATE;
	else
		hr = volume_find(volume, &x->tuned, &v);
	if (hr == S_OK && v.count == 0)
		hr = IsEqualGUID(&provider_id, &no_id) ? VSS_E_VOLUME_NOT_SUPPORTED
						       : VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER;
	x->working = x->working || hr == S_OK;
	components_leave(x);
	if (hr != S_OK)
		return hr;
	struct adding a = {.x = x, .volume = &v, .provider_id = provider_id};
	hr = mta_run(add_to_set, &a);
	EnterCriticalSection(&x->lock);
	x->working = false;
	x->volumes += hr == S_OK;
	LeaveCriticalSection(&x->lock);
	if (hr == S_OK)
		*snapshot_id = a.id;
	return hr;
}

static void keep_document(struct components *x, LAB_RESULT *result)
{
	CoTaskMemFree(x->document);
	x->document = result->document;
	x->given = false;
	result->document = NULL;
}

static HRESULT do_set(struct components *x, void *arg)
{
	LAB_RESULT *result = NULL;
	(void)arg;
	HRESULT hr = ILabSession_Do(x->session, &result);
	hr = outcome(hr, result);
	EnterCriticalSection(&x->lock);
	x->working = false;
	x->done = x->done || hr == S_OK;
	if (hr == S_OK)
		keep_document(x, result);
	LeaveCriticalSection(&x->lock);
	lab_keep_result(x, result);
	return hr;
}

static void abort_set(struct components *x)
{
	ILabSession_Abort(x->session);
}

/* With writers PrepareForBackup comes before; an empty set is none. */
HRESULT STDMETHODCALLTYPE snap_DoSnapshotSet(Components *iface, IVssAsync **out)
{
	struct components *x = impl_from(iface);
	if (!out)
		return E_POINTER;
	*out = NULL;
	HRESULT hr = components_enter(x, false);
	if (hr != S_OK)
		return hr;
	bool writers = !(x->context & VSS_VOLSNAP_ATTR_NO_WRITERS);
	if (!x->adding || x->working || x->volumes == 0 || (writers && !x->prepared)) {
		hr = VSS_E_BAD_STATE;
	} else {
		x->adding = false;
		x->working = true;
		hr = async_start(x, do_set, abort_set, NULL, out);
	}
	components_leave(x);
	return hr;
}

/* --- what there is --- */

static VSS_TIMESTAMP time_of(const wchar_t *iso)
{
	SYSTEMTIME t = {0};
	FILETIME f = {0};
	unsigned v[7] = {0};
	if (iso &&
		swscanf(iso, L"%u-%u-%uT%u:%u:%u.%u", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6]) == 7) {
		t.wYear = (WORD)v[0];
		t.wMonth = (WORD)v[1];
		t.wDay = (WORD)v[2];
		t.wHour = (WORD)v[3];
		t.wMinute = (WORD)v[4];
		t.wSecond = (WORD)v[5];
		t.wMilliseconds = (WORD)v[6];
		SystemTimeToFileTime(&t, &f);
	}
	return (VSS_TIMESTAMP)((uint64_t)f.dwHighDateTime << 32 | f.dwLowDateTime);
}

static bool fill_snapshot(VSS_SNAPSHOT_PROP *p, const LAB_SNAPSHOT *s)
{
	wchar_t here[MAX_COMPUTERNAME_LENGTH + 1] = L"", device[80];
	DWORD chars = MAX_COMPUTERNAME_LENGTH + 1;
	GetComputerNameW(here, &chars);
	swprintf(device, 80, L"\\\\?\\GLOBALROOT\\Device\\HarddiskVolumeShadowCopy%ld", (long)s->device);
	memset(p, 0, sizeof *p);
	p->m_SnapshotId = s->id;
	p->m_SnapshotSetId = s->set_id;
	p->m_lSnapshotsCount = (LONG)s->set_count;
	p->m_pwszSnapshotDeviceObject = copy_text(device);
	p->m_pwszOriginalVolumeName = copy_text(s->name ? s->name : L"");
	p->m_pwszOriginatingMachine = copy_text(s->machine ? s->machine : L"");
	p->m_pwszServiceMachine = copy_text(here);
	p->m_ProviderId = s->provider_id;
	p->m_lSnapshotAttributes = s->context | VSS_VOLSNAP_ATTR_HARDWARE_ASSISTED;
	if (s->context & VSS_VOLSNAP_ATTR_TRANSPORTABLE)
		p->m_lSnapshotAttributes |= VSS_VOLSNAP_ATTR_IMPORTED;
	if (s->exposed && *s->exposed) {
		p->m_pwszExposedName = copy_text(s->exposed);
		p->m_lSnapshotAttributes |= VSS_VOLSNAP_ATTR_EXPOSED_LOCALLY;
	}
	p->m_tsCreationTimestamp = time_of(s->created);
	p->m_eStatus = VSS_SS_CREATED;
	return p->m_pwszSnapshotDeviceObject && p->m_pwszOriginalVolumeName;
}

struct asking {
	struct components *x;
	GUID id;
	bool is_set, found;
	LONG deleted;
	GUID first;
	DWORD flags;
	wchar_t *text;
	VSS_SNAPSHOT_PROP *prop;
	VSS_OBJECT_PROP *items;
	ULONG count;
	VSS_OBJECT_TYPE wanted;
};

static HRESULT get_properties(void *arg)
{
	struct asking *a = arg;
	LAB_RESULT *result = NULL;
	HRESULT hr = ILabSession_Query(a->x->session, &result);
	hr = outcome(hr, result);
	for (ULONG i = 0; hr == S_OK && i < result->snapshot_count && !a->found; i++) {
		if (!IsEqualGUID(&result->snapshots[i].id, &a->id) || !result->snapshots[i].device)
			continue;
		a->found = true;
		hr = fill_snapshot(a->prop, &result->snapshots[i]) ? S_OK : E_OUTOFMEMORY;
	}
	free_result(result);
	return hr == S_OK && !a->found ? VSS_E_OBJECT_NOT_FOUND : hr;
}

/* For a method that asks about what there is: when it is not possible yet, the state's code. */
static HRESULT may_ask(struct components *x)
{
	HRESULT hr = components_enter(x, true);
	if (hr != S_OK)
		return hr;
	x->context_fixed = true;
	components_leave(x);
	return S_OK;
}

HRESULT STDMETHODCALLTYPE snap_GetSnapshotProperties(Components *iface, VSS_ID id, VSS_SNAPSHOT_PROP *prop)
{
	struct asking a = {.x = impl_from(iface), .id = id, .prop = prop};
	if (!prop)
		return E_POINTER;
	memset(prop, 0, sizeof *prop);
	HRESULT hr = may_ask(a.x);
	return hr == S_OK ? mta_run(get_properties, &a) : hr;
}

/* Is it of the context that the requester works in? */
static bool in_context(LONG asked, LONG has)
{
	const LONG kind = VSS_VOLSNAP_ATTR_PERSISTENT | VSS_VOLSNAP_ATTR_CLIENT_ACCESSIBLE |
			  VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE | VSS_VOLSNAP_ATTR_NO_WRITERS;
	return asked == (LONG)VSS_CTX_ALL || (asked & kind) == (has & kind);
}

static HRESULT query_snapshots(struct asking *a)
{
	LAB_RESULT *result = NULL;
	HRESULT hr = ILabSession_Query(a->x->session, &result);
	hr = outcome(hr, result);
	if (hr == S_OK)
		a->items = calloc(result->snapshot_count + 1, sizeof *a->items);
	if (hr == S_OK && !a->items)
		hr = E_OUTOFMEMORY;
	for (ULONG i = 0; hr == S_OK && i < result->snapshot_count; i++) {
		const LAB_SNAPSHOT *s = &result->snapshots[i];
		if (!s->device || !in_context(a->x->context, s->context))
			continue;
		VSS_OBJECT_PROP *item = &a->items[a->count++];
		item->Type = VSS_OBJECT_SNAPSHOT;
		hr = fill_snapshot(&item->Obj.Snap, s) ? S_OK : E_OUTOFMEMORY;
	}
	lab_keep_result(a->x, result);
	return hr;
}

/* Everything that the coordinator lists, into memory of this side. */
static HRESULT query_providers(struct asking *a)
{
	IVssAdmin *admin = NULL;
	IVssEnumObject *list = NULL;
	ULONG got = 0;
	HRESULT hr = ILabRequester_QueryInterface(a->x->requester, &IID_IVssAdmin, (void **)&admin);
	if (SUCCEEDED(hr))
		hr = IVssAdmin_QueryProviders(admin, &list);
	a->items = calloc(65, sizeof *a->items);
	if (SUCCEEDED(hr) && !a->items)
		hr = E_OUTOFMEMORY;
	while (SUCCEEDED(hr) && a->count < 64) {
		hr = IVssEnumObject_Next(list, 1, &a->items[a->count], &got);
		if (hr != S_OK || got != 1)
			break;
		a->count++;
	}
	if (list)
		IVssEnumObject_Release(list);
	if (admin)
		IVssAdmin_Release(admin);
	return FAILED(hr) ? seen(hr) : S_OK;
}

static HRESULT query(void *arg)
{
	struct asking *a = arg;
	HRESULT hr = a->wanted == VSS_OBJECT_PROVIDER ? query_providers(a) : query_snapshots(a);
	if (hr != S_OK) {
		list_free_items(a->items, a->count);
		a->items = NULL;
	}
	return hr;
}

/* Only everything of a kind can be asked for, as with VSS. S_FALSE: there is nothing. */
HRESULT STDMETHODCALLTYPE snap_Query(
	Components *iface, VSS_ID id, VSS_OBJECT_TYPE type, VSS_OBJECT_TYPE wanted, IVssEnumObject **out)
{
	struct asking a = {.x = impl_from(iface), .wanted = wanted};
	if (!out)
		return E_POINTER;
	*out = NULL;
	HRESULT hr = may_ask(a.x);
	if (hr != S_OK)
		return hr;
	if (!IsEqualGUID(&id, &no_id) || type != VSS_OBJECT_NONE ||
		(wanted != VSS_OBJECT_SNAPSHOT && wanted != VSS_OBJECT_PROVIDER))
		return E_INVALIDARG;
	hr = mta_run(query, &a);
	bool none = a.count == 0;
	if (hr == S_OK)
		hr = list_create(a.items, a.count, out);
	return hr == S_OK && none ? S_FALSE : hr;
}

static HRESULT is_supported(void *arg)
{
	struct adding *a = arg;
	return seen(ILabSession_IsSupported(
		a->x->session, a->context, a->provider_id, a->volume->count, a->volume->luns, &a->supported));
}

HRESULT STDMETHODCALLTYPE snap_IsVolumeSupported(
	Components *iface, VSS_ID provider_id, VSS_PWSZ volume, WINBOOL *supported)
{
	struct volume v;
	struct adding a = {.x = impl_from(iface), .volume = &v, .provider_id = provider_id};
	if (!supported)
		return E_POINTER;
	*supported = FALSE;
	HRESULT hr = may_ask(a.x);
	if (hr == S_OK)
		hr = volume_find(volume, &a.x->tuned, &v);
	if (hr != S_OK || v.count == 0)
		return hr;
	a.context = a.x->context == (LONG)VSS_CTX_ALL ? VSS_CTX_BACKUP : a.x->context;
	hr = mta_run(is_supported, &a);
	*supported = a.supported;
	return hr;
}

/* --- deleting, importing, breaking, exposing, resync --- */

/* How many shadow copies it names, and the first of them. */
static HRESULT look_up(struct asking *a)
{
	LAB_RESULT *result = NULL;
	HRESULT hr = ILabSession_Query(a->x->session, &result);
	hr = outcome(hr, result);
	for (ULONG i = 0; hr == S_OK && i < result->snapshot_count; i++) {
		const LAB_SNAPSHOT *s = &result->snapshots[i];
		if (!IsEqualGUID(a->is_set ? &s->set_id : &s->id, &a->id))
			continue;
		if (a->count++ == 0)
			a->first = s->id;
	}
	free_result(result);
	return hr == S_OK && a->count == 0 ? VSS_E_OBJECT_NOT_FOUND : hr;
}

static HRESULT delete_it(void *arg)
{
	struct asking *a = arg;
	LAB_RESULT *result = NULL;
	HRESULT hr = look_up(a);
	if (hr != S_OK && hr != VSS_E_OBJECT_NOT_FOUND)
		return hr;
	hr = ILabSession_Delete(a->x->session, a->id, a->is_set ? 0 : LAB_ONE_SNAPSHOT, &result);
	hr = outcome(hr, result);
	a->deleted = hr == S_OK ? (LONG)a->count : 0;
	lab_keep_result(a->x, result);
	return hr;
}

HRESULT STDMETHODCALLTYPE snap_DeleteSnapshots(
	Components *iface, VSS_ID id, VSS_OBJECT_TYPE type, WINBOOL force, LONG *deleted, VSS_ID *not_deleted)
{
	struct asking a = {.x = impl_from(iface), .id = id, .is_set = type == VSS_OBJECT_SNAPSHOT_SET};
	(void)force;
	if (!deleted || !not_deleted)
		return E_POINTER;
	*deleted = 0;
	*not_deleted = no_id;
	HRESULT hr = may_ask(a.x);
	if (hr != S_OK)
		return hr;
	if (type != VSS_OBJECT_SNAPSHOT && type != VSS_OBJECT_SNAPSHOT_SET)
		return E_INVALIDARG;
	hr = mta_run(delete_it, &a);
	*deleted = a.deleted;
	*not_deleted = hr == S_OK ? no_id : a.count ? a.first : id;
	return hr;
}

static HRESULT import_it(struct components *x, void *arg)
{
	LAB_RESULT *result = NULL;
	(void)arg;
	HRESULT hr = ILabSession_Import(x->session, x->document, &result);
	hr = outcome(hr, result);
	EnterCriticalSection(&x->lock);
	x->working = false;
	LeaveCriticalSection(&x->lock);
	lab_keep_result(x, result);
	return hr;
}

/* Starts an operation that nothing else may meet, with the document of InitializeForBackup where it needs one. */
static HRESULT begin_work(struct components *x, async_work work, void (*cancel)(struct components *x),
	void *arg, bool with_document, IVssAsync **out)
{
	if (!out) {
		free(arg);
		return E_POINTER;
	}
	*out = NULL;
	HRESULT hr = components_enter(x, false);
	if (hr != S_OK) {
		free(arg);
		return hr;
	}
	if (x->working || x->adding || (with_document && !x->given)) {
		free(arg);
		hr = VSS_E_BAD_STATE;
	} else {
		x->context_fixed = true;
		x->working = true;
		hr = async_start(x, work, cancel, arg, out);
	}
	components_leave(x);
	return hr;
}

HRESULT STDMETHODCALLTYPE snap_ImportSnapshots(Components *iface, IVssAsync **out)
{
	return begin_work(impl_from(iface), import_it, NULL, NULL, true, out);
}

static HRESULT break_it(struct components *x, void *arg)
{
	struct asking *a = arg;
	LAB_RESULT *result = NULL;
	HRESULT hr = ILabRequester_Break(x->requester, a->id, (LONG)a->flags, x->tuned.flags, &result);
	hr = outcome(hr, result);
	EnterCriticalSection(&x->lock);
	x->working = false;
	LeaveCriticalSection(&x->lock);
	lab_keep_result(x, result);
	return hr;
}

HRESULT STDMETHODCALLTYPE snap_BreakSnapshotSetEx(
	Components *iface, VSS_ID set_id, DWORD flags, IVssAsync **out)
{
	struct asking *a = calloc(1, sizeof *a);
	if (!a)
		return E_OUTOFMEMORY;
	a->id = set_id;
	a->flags = flags;
	return begin_work(impl_from(iface), break_it, NULL, a, false, out);
}

HRESULT STDMETHODCALLTYPE snap_BreakSnapshotSet(Components *iface, VSS_ID set_id)
{
	IVssAsync *async;
	HRESULT status, hr = snap_BreakSnapshotSetEx(iface, set_id, 0, &async);
	if (hr != S_OK)
		return hr;
	IVssAsync_Wait(async, INFINITE);
	hr = IVssAsync_QueryStatus(async, &status, NULL);
	IVssAsync_Release(async);
	return hr != S_OK ? hr : status == VSS_S_ASYNC_FINISHED ? S_OK : status;
}

static HRESULT expose(void *arg)
{
	struct asking *a = arg;
	LAB_RESULT *result = NULL;
	HRESULT hr = ILabRequester_Expose(a->x->requester, a->id, a->text, &result);
	hr = outcome(hr, result);
	lab_keep_result(a->x, result);
	return hr;
}

HRESULT STDMETHODCALLTYPE snap_ExposeSnapshot(
	Components *iface, VSS_ID id, VSS_PWSZ path, LONG attributes, VSS_PWSZ name, VSS_PWSZ *exposed)
{
	struct asking a = {.x = impl_from(iface), .id = id, .text = name};
	if (!exposed)
		return E_POINTER;
	*exposed = NULL;
	HRESULT hr = may_ask(a.x);
	if (hr != S_OK)
		return hr;
	if (!name || path || attributes != VSS_VOLSNAP_ATTR_EXPOSED_LOCALLY)
		return E_INVALIDARG;
	hr = mta_run(expose, &a);
	if (hr == S_OK)
		*exposed = copy_text(name);
	return hr;
}

HRESULT STDMETHODCALLTYPE snap_UnexposeSnapshot(Components *iface, VSS_ID id)
{
	wchar_t nothing[] = L"";
	struct asking a = {.x = impl_from(iface), .id = id, .text = nothing};
	HRESULT hr = may_ask(a.x);
	return hr == S_OK ? mta_run(expose, &a) : hr;
}

/* Without a destination: to its original. */
HRESULT STDMETHODCALLTYPE snap_AddSnapshotToRecoverySet(
	Components *iface, VSS_ID id, DWORD flags, VSS_PWSZ destination)
{
	struct components *x = impl_from(iface);
	struct volume v = {0};
	HRESULT hr = components_enter(x, false);
	if (hr != S_OK)
		return hr;
	if (flags)
		hr = E_INVALIDARG;
	else if (!x->given || x->working || x->target_count == RESYNC_MAX)
		hr = VSS_E_BAD_STATE;
	else if (destination)
		hr = volume_find(destination, &x->tuned, &v);
	if (hr == S_OK && destination && v.count != 1)
		hr = VSS_E_VOLUME_NOT_SUPPORTED;
	if (hr == S_OK) {
		LAB_RESYNC_TARGET *t = &x->targets[x->target_count++];
		*t = (LAB_RESYNC_TARGET){.snapshot_id = id, .to_original = !destination};
		if (destination) {
			t->by_drive = v.luns[0].by_drive;
			t->number = v.luns[0].number;
		}
	}
	components_leave(x);
	return hr;
}

static HRESULT recover(struct components *x, void *arg)
{
	struct asking *a = arg;
	LAB_RESULT *result = NULL;
	LAB_RESYNC request = {.options = (LONG)a->flags,
		.cancel = x->resync_cancel ? x->cancel_name : NULL,
		.release_early = x->release_early,
		.count = x->target_count,
		.targets = x->targets};
	HRESULT hr = ILabRequester_Resync(x->requester, x->document, &request, &result);
	hr = outcome(hr, result);
	EnterCriticalSection(&x->lock);
	x->working = false;
	x->target_count = 0;
	LeaveCriticalSection(&x->lock);
	lab_keep_result(x, result);
	return hr;
}

/* The coordinator looks at the event while the provider works, so a Cancel that comes early is not lost. */
static void cancel_recovery(struct components *x)
{
	if (x->resync_cancel)
		SetEvent(x->resync_cancel);
}

/* A RecoverSet has an event of its own. */
static void new_cancel_event(struct components *x)
{
	static volatile LONG last;
	swprintf(x->cancel_name, VOLUME_CHARS, L"umbra-lab resync %lu %ld",
		(unsigned long)GetCurrentProcessId(), (long)InterlockedIncrement(&last));
	if (x->resync_cancel)
		CloseHandle(x->resync_cancel);
	x->resync_cancel = CreateEventW(NULL, TRUE, FALSE, x->cancel_name);
}

HRESULT STDMETHODCALLTYPE snap_RecoverSet(Components *iface, DWORD flags, IVssAsync **out)
{
	struct components *x = impl_from(iface);
	if (!x->target_count || x->working)
		return VSS_E_BAD_STATE;
	struct asking *a = calloc(1, sizeof *a);
	if (!a)
		return E_OUTOFMEMORY;
	a->flags = flags;
	new_cancel_event(x);
	return begin_work(x, recover, cancel_recovery, a, true, out);
}
