/* SPDX-License-Identifier: Apache-2.0 */
/* See admin.h. IVssAdmin and its enumerator here, ILabRequester's methods in requests.c by way of its vtable.
 */
#include "lab/coordinator/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vss.h>
#include <vsadmin.h>
#include <vsserror.h>
#include "lab/coordinator/clients.h"
#include "lab/coordinator/provider_host.h"
#include "lab/coordinator/requests.h"
#include "lab/coordinator/session.h"
#include "lab/coordinator/settings.h"

/* --- IVssEnumObject over providers --- */

struct provider_enum {
	IVssEnumObject IVssEnumObject_iface;
	LONG refs;
	struct client_hold *hold;
	ULONG count, next;
	struct provider_entry entries[PROVIDERS_MAX];
};

static struct provider_enum *impl_from_IVssEnumObject(IVssEnumObject *iface)
{
	return CONTAINING_RECORD(iface, struct provider_enum, IVssEnumObject_iface);
}

static HRESULT STDMETHODCALLTYPE enum_QueryInterface(IVssEnumObject *iface, REFIID iid, void **out)
{
	if (!out)
		return E_POINTER;
	if (!IsEqualIID(iid, &IID_IUnknown) && !IsEqualIID(iid, &IID_IVssEnumObject)) {
		*out = NULL;
		return E_NOINTERFACE;
	}
	IVssEnumObject_AddRef(iface);
	*out = iface;
	return S_OK;
}

static ULONG STDMETHODCALLTYPE enum_AddRef(IVssEnumObject *iface)
{
	return (ULONG)InterlockedIncrement(&impl_from_IVssEnumObject(iface)->refs);
}

static ULONG STDMETHODCALLTYPE enum_Release(IVssEnumObject *iface)
{
	struct provider_enum *e = impl_from_IVssEnumObject(iface);
	LONG refs = InterlockedDecrement(&e->refs);
	if (refs == 0) {
		client_release(e->hold);
		free(e);
	}
	return (ULONG)refs;
}

static bool fill_prop(VSS_OBJECT_PROP *out, const struct provider_entry *e)
{
	memset(out, 0, sizeof *out);
	out->Type = VSS_OBJECT_PROVIDER;
	out->Obj.Prov.m_ProviderId = e->id;
	out->Obj.Prov.m_eProviderType = e->type;
	out->Obj.Prov.m_ProviderVersionId = e->version_id;
	out->Obj.Prov.m_ClassId = e->clsid;
	out->Obj.Prov.m_pwszProviderName = record_text(e->name);
	out->Obj.Prov.m_pwszProviderVersion = record_text(e->version);
	return out->Obj.Prov.m_pwszProviderName && out->Obj.Prov.m_pwszProviderVersion;
}

static HRESULT STDMETHODCALLTYPE enum_Next(
	IVssEnumObject *iface, ULONG celt, VSS_OBJECT_PROP *out, ULONG *fetched)
{
	struct provider_enum *e = impl_from_IVssEnumObject(iface);
	ULONG n = 0;
	if (!out || !fetched)
		return E_POINTER;
	*fetched = 0;
	while (n < celt && e->next < e->count) {
		if (!fill_prop(&out[n], &e->entries[e->next])) {
			for (ULONG i = 0; i <= n; i++) {
				CoTaskMemFree(out[i].Obj.Prov.m_pwszProviderName);
				CoTaskMemFree(out[i].Obj.Prov.m_pwszProviderVersion);
			}
			return E_OUTOFMEMORY;
		}
		n++;
		e->next++;
	}
	*fetched = n;
	return n == celt ? S_OK : S_FALSE;
}

static HRESULT STDMETHODCALLTYPE enum_Skip(IVssEnumObject *iface, ULONG celt)
{
	struct provider_enum *e = impl_from_IVssEnumObject(iface);
	ULONG left = e->count - e->next;
	e->next += celt < left ? celt : left;
	return celt <= left ? S_OK : S_FALSE;
}

static HRESULT STDMETHODCALLTYPE enum_Reset(IVssEnumObject *iface)
{
	impl_from_IVssEnumObject(iface)->next = 0;
	return S_OK;
}

static HRESULT new_enum(const struct provider_enum *from, IVssEnumObject **out);

static HRESULT STDMETHODCALLTYPE enum_Clone(IVssEnumObject *iface, IVssEnumObject **out)
{
	return out ? new_enum(impl_from_IVssEnumObject(iface), out) : E_POINTER;
}

static const IVssEnumObjectVtbl enum_vtbl = {
	enum_QueryInterface, enum_AddRef, enum_Release, enum_Next, enum_Skip, enum_Reset, enum_Clone};

/* A copy of *from, or with NULL of the registry as it is now. */
static HRESULT new_enum(const struct provider_enum *from, IVssEnumObject **out)
{
	struct provider_enum *e = calloc(1, sizeof *e);
	*out = NULL;
	if (!e)
		return E_OUTOFMEMORY;
	if (from)
		*e = *from;
	else
		e->count = providers_list(e->entries);
	e->IVssEnumObject_iface.lpVtbl = (IVssEnumObjectVtbl *)(uintptr_t)&enum_vtbl;
	e->refs = 1;
	HRESULT hr = client_hold(&e->hold);
	if (SUCCEEDED(hr))
		*out = &e->IVssEnumObject_iface;
	else
		free(e);
	return hr;
}

/* --- the coordinator --- */

struct coordinator {
	IVssAdmin IVssAdmin_iface;
	ILabRequester ILabRequester_iface;
	LONG refs;
	struct client_hold *hold;
};

static struct coordinator *impl_from_IVssAdmin(IVssAdmin *iface)
{
	return CONTAINING_RECORD(iface, struct coordinator, IVssAdmin_iface);
}

static struct coordinator *impl_from_ILabRequester(ILabRequester *iface)
{
	return CONTAINING_RECORD(iface, struct coordinator, ILabRequester_iface);
}

static HRESULT STDMETHODCALLTYPE admin_QueryInterface(IVssAdmin *iface, REFIID iid, void **out)
{
	struct coordinator *c = impl_from_IVssAdmin(iface);
	if (!out)
		return E_POINTER;
	*out = NULL;
	if (IsEqualIID(iid, &IID_IUnknown) || IsEqualIID(iid, &IID_IVssAdmin))
		*out = &c->IVssAdmin_iface;
	else if (IsEqualIID(iid, &IID_ILabRequester))
		*out = &c->ILabRequester_iface;
	else
		return E_NOINTERFACE;
	IVssAdmin_AddRef(iface);
	return S_OK;
}

static ULONG STDMETHODCALLTYPE admin_AddRef(IVssAdmin *iface)
{
	return (ULONG)InterlockedIncrement(&impl_from_IVssAdmin(iface)->refs);
}

static ULONG STDMETHODCALLTYPE admin_Release(IVssAdmin *iface)
{
	struct coordinator *c = impl_from_IVssAdmin(iface);
	LONG refs = InterlockedDecrement(&c->refs);
	if (refs == 0) {
		client_release(c->hold);
		free(c);
	}
	return (ULONG)refs;
}

static bool bad_text(const WCHAR *text)
{
	return !text || !*text || wcslen(text) >= PROVIDER_TEXT_MAX;
}

/* A test may want VSS to answer something instead of doing it: the settings RegisterAnswer and RegisterTimes
 * (how often; absent: always), or Unregister…. S_OK: no test wants that. */
static HRESULT wanted_answer(const wchar_t *method)
{
	wchar_t answer_name[40], times_name[40];
	_snwprintf(answer_name, 40, L"%lsAnswer", method);
	_snwprintf(times_name, 40, L"%lsTimes", method);
	HRESULT answer = (HRESULT)settings_dword(answer_name, 0);
	DWORD times = settings_dword(times_name, 0);
	if (answer != S_OK && times && --times == 0)
		RegDeleteKeyValueW(HKEY_LOCAL_MACHINE, LAB_KEY, answer_name);
	if (answer != S_OK)
		RegSetKeyValueW(HKEY_LOCAL_MACHINE, LAB_KEY, times_name, REG_DWORD, &times, sizeof times);
	return answer;
}

/* A client Windows takes no hardware provider; `winecfg -v win2008r2` makes a prefix a server. */
static bool is_server(void)
{
	OSVERSIONINFOEXW wanted = {.dwOSVersionInfoSize = sizeof wanted, .wProductType = VER_NT_WORKSTATION};
	return !VerifyVersionInfoW(
		&wanted, VER_PRODUCT_TYPE, VerSetConditionMask(0, VER_PRODUCT_TYPE, VER_EQUAL));
}

static HRESULT STDMETHODCALLTYPE admin_RegisterProvider(IVssAdmin *iface, VSS_ID id, CLSID clsid,
	VSS_PWSZ name, VSS_PROVIDER_TYPE type, VSS_PWSZ version, VSS_ID version_id)
{
	static const GUID none;
	struct provider_entry e = {.id = id, .clsid = clsid, .version_id = version_id, .type = type};
	(void)iface;
	if (bad_text(name) || bad_text(version) || IsEqualGUID(&id, &none) || IsEqualGUID(&clsid, &none) ||
		type < VSS_PROV_SYSTEM || type > VSS_PROV_FILESHARE)
		return E_INVALIDARG;
	if (type == VSS_PROV_HARDWARE && !is_server())
		return E_INVALIDARG;
	HRESULT wanted = wanted_answer(L"Register");
	if (wanted != S_OK)
		return wanted;
	wcscpy_s(e.name, PROVIDER_TEXT_MAX, name);
	wcscpy_s(e.version, PROVIDER_TEXT_MAX, version);
	return providers_register(&e);
}

static HRESULT STDMETHODCALLTYPE admin_UnregisterProvider(IVssAdmin *iface, VSS_ID id)
{
	(void)iface;
	HRESULT wanted = wanted_answer(L"Unregister");
	if (wanted != S_OK)
		return wanted;
	if (!request_enter())
		return provider_loaded(&id) ? VSS_E_PROVIDER_IN_USE : providers_unregister(&id);
	struct provider *p = provider_loaded(&id);
	HRESULT hr = p && provider_unload(p, false, NULL) == S_FALSE ? VSS_E_PROVIDER_IN_USE
								     : providers_unregister(&id);
	request_leave();
	return hr;
}

static HRESULT STDMETHODCALLTYPE admin_QueryProviders(IVssAdmin *iface, IVssEnumObject **out)
{
	(void)iface;
	return out ? new_enum(NULL, out) : E_POINTER;
}

/* Requests of the lab cannot be abandoned in the middle: there is nothing in progress between them. */
static HRESULT STDMETHODCALLTYPE admin_AbortAllSnapshotsInProgress(IVssAdmin *iface)
{
	(void)iface;
	if (!request_enter())
		return VSS_E_SNAPSHOT_SET_IN_PROGRESS;
	request_leave();
	return S_OK;
}

static const IVssAdminVtbl admin_vtbl = {admin_QueryInterface, admin_AddRef, admin_Release,
	admin_RegisterProvider, admin_UnregisterProvider, admin_QueryProviders,
	admin_AbortAllSnapshotsInProgress};

static HRESULT STDMETHODCALLTYPE requester_QueryInterface(ILabRequester *iface, REFIID iid, void **out)
{
	return admin_QueryInterface(&impl_from_ILabRequester(iface)->IVssAdmin_iface, iid, out);
}

static ULONG STDMETHODCALLTYPE requester_AddRef(ILabRequester *iface)
{
	return admin_AddRef(&impl_from_ILabRequester(iface)->IVssAdmin_iface);
}

static ULONG STDMETHODCALLTYPE requester_Release(ILabRequester *iface)
{
	return admin_Release(&impl_from_ILabRequester(iface)->IVssAdmin_iface);
}

static const ILabRequesterVtbl requester_vtbl = {requester_QueryInterface, requester_AddRef,
	requester_Release, requester_Scan, requester_Break, requester_Resync, requester_Expose,
	requester_Unload, requester_OpenSession};

HRESULT coordinator_create(REFIID iid, void **out)
{
	struct coordinator *c = calloc(1, sizeof *c);
	*out = NULL;
	if (!c)
		return E_OUTOFMEMORY;
	c->IVssAdmin_iface.lpVtbl = (IVssAdminVtbl *)(uintptr_t)&admin_vtbl;
	c->ILabRequester_iface.lpVtbl = (ILabRequesterVtbl *)(uintptr_t)&requester_vtbl;
	c->refs = 1;
	HRESULT hr = client_hold(&c->hold);
	if (SUCCEEDED(hr))
		hr = admin_QueryInterface(&c->IVssAdmin_iface, iid, out);
	admin_Release(&c->IVssAdmin_iface);
	return hr;
}
