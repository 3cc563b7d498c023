/* SPDX-License-Identifier: Apache-2.0 */
/* See provider_host.h. */
#include "lab/coordinator/provider_host.h"

#include <stdio.h>
#include <string.h>
#include <wchar.h>
#include <vsserror.h>
#include "lab/coordinator/admin.h"
#include "lab/coordinator/com_rights.h"
#include "lab/coordinator/settings.h"
#include "lab/coordinator/wine_rpc.h"

static struct provider loaded[PROVIDERS_MAX];

static void key_of(const GUID *id, wchar_t *out, size_t chars)
{
	wchar_t text[40];
	StringFromGUID2(id, text, 40);
	_snwprintf(out, chars, LAB_PROVIDERS_KEY L"\\%ls", text);
	out[chars - 1] = 0;
}

static LSTATUS set_text(HKEY key, const wchar_t *name, const wchar_t *text)
{
	return RegSetValueExW(
		key, name, 0, REG_SZ, (const BYTE *)text, (DWORD)((wcslen(text) + 1) * sizeof *text));
}

HRESULT providers_register(const struct provider_entry *entry)
{
	wchar_t path[256], text[40];
	HKEY key, sub;
	DWORD disposition = 0, type = (DWORD)entry->type;
	key_of(&entry->id, path, 256);
	if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, path, 0, KEY_READ, &key) == ERROR_SUCCESS) {
		RegCloseKey(key);
		return VSS_E_PROVIDER_ALREADY_REGISTERED;
	}
	LSTATUS rc = RegCreateKeyExW(
		HKEY_LOCAL_MACHINE, path, 0, NULL, 0, KEY_ALL_ACCESS, NULL, &key, &disposition);
	if (rc != ERROR_SUCCESS)
		return rc == ERROR_ACCESS_DENIED ? E_ACCESSDENIED : VSS_E_UNEXPECTED;
	rc = set_text(key, NULL, entry->name);
	if (rc == ERROR_SUCCESS)
		rc = RegSetValueExW(key, L"Type", 0, REG_DWORD, (const BYTE *)&type, sizeof type);
	if (rc == ERROR_SUCCESS)
		rc = set_text(key, L"Version", entry->version);
	StringFromGUID2(&entry->version_id, text, 40);
	if (rc == ERROR_SUCCESS)
		rc = set_text(key, L"VersionId", text);
	if (rc == ERROR_SUCCESS)
		rc = RegCreateKeyExW(key, L"CLSID", 0, NULL, 0, KEY_ALL_ACCESS, NULL, &sub, &disposition);
	if (rc == ERROR_SUCCESS) {
		StringFromGUID2(&entry->clsid, text, 40);
		rc = set_text(sub, NULL, text);
		RegCloseKey(sub);
	}
	RegCloseKey(key);
	if (rc == ERROR_SUCCESS)
		return S_OK;
	RegDeleteTreeW(HKEY_LOCAL_MACHINE, path);
	return VSS_E_UNEXPECTED;
}

HRESULT providers_unregister(const GUID *id)
{
	wchar_t path[256];
	HKEY key;
	key_of(id, path, 256);
	if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, path, 0, KEY_READ, &key) != ERROR_SUCCESS)
		return VSS_E_PROVIDER_NOT_REGISTERED;
	RegCloseKey(key);
	return RegDeleteTreeW(HKEY_LOCAL_MACHINE, path) == ERROR_SUCCESS ? S_OK : VSS_E_UNEXPECTED;
}

static bool get_text(HKEY root, const wchar_t *path, const wchar_t *name, wchar_t *out, size_t chars)
{
	DWORD bytes = (DWORD)(chars * sizeof *out);
	out[0] = 0;
	return RegGetValueW(root, path, name, RRF_RT_REG_SZ, NULL, out, &bytes) == ERROR_SUCCESS;
}

static bool read_entry(HKEY root, const wchar_t *name, struct provider_entry *e)
{
	wchar_t text[64], sub[80];
	DWORD type = 0, bytes = sizeof type;
	memset(e, 0, sizeof *e);
	if (CLSIDFromString(name, &e->id) != S_OK)
		return false;
	get_text(root, name, NULL, e->name, PROVIDER_TEXT_MAX);
	get_text(root, name, L"Version", e->version, PROVIDER_TEXT_MAX);
	if (get_text(root, name, L"VersionId", text, 64))
		CLSIDFromString(text, &e->version_id);
	if (RegGetValueW(root, name, L"Type", RRF_RT_REG_DWORD, NULL, &type, &bytes) == ERROR_SUCCESS)
		e->type = (VSS_PROVIDER_TYPE)type;
	_snwprintf(sub, 80, L"%ls\\CLSID", name);
	sub[79] = 0;
	return get_text(root, sub, NULL, text, 64) && CLSIDFromString(text, &e->clsid) == S_OK;
}

ULONG providers_list(struct provider_entry out[PROVIDERS_MAX])
{
	HKEY root;
	ULONG count = 0;
	wchar_t name[64];
	if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, LAB_PROVIDERS_KEY, 0, KEY_READ, &root) != ERROR_SUCCESS)
		return 0;
	for (DWORD i = 0; count < PROVIDERS_MAX; i++) {
		DWORD chars = 64;
		LSTATUS rc = RegEnumKeyExW(root, i, name, &chars, NULL, NULL, NULL, NULL);
		if (rc == ERROR_MORE_DATA)
			continue;
		if (rc != ERROR_SUCCESS)
			break;
		if (read_entry(root, name, &out[count]))
			count++;
	}
	RegCloseKey(root);
	return count;
}

static void forget(struct provider *p)
{
	if (p->notify)
		IVssProviderNotifications_Release(p->notify);
	if (p->set)
		IVssProviderCreateSnapshotSet_Release(p->set);
	if (p->ex)
		IVssHardwareSnapshotProviderEx_Release(p->ex);
	if (p->hw)
		IVssHardwareSnapshotProvider_Release(p->hw);
	memset(p, 0, sizeof *p);
}

struct provider *provider_loaded(const GUID *id)
{
	for (int i = 0; i < PROVIDERS_MAX; i++)
		if (loaded[i].loaded && IsEqualGUID(&loaded[i].entry.id, id))
			return &loaded[i];
	return NULL;
}

/* The setting KeepDead: VSS hears nothing of the end of a provider's process, and keeps its proxies until it unloads it. */
static bool keeps_dead(void)
{
	return settings_dword(L"KeepDead", 0) != 0;
}

HRESULT provider_check(struct provider *p, HRESULT hr)
{
	if (keeps_dead())
		return hr;
	if (hr == RPC_E_DISCONNECTED || hr == RPC_E_SERVER_DIED || hr == RPC_E_SERVER_DIED_DNE ||
		hr == CO_E_OBJNOTCONNECTED || hr == HRESULT_FROM_WIN32(RPC_S_SERVER_UNAVAILABLE) ||
		hr == HRESULT_FROM_WIN32(RPC_S_CALL_FAILED) ||
		hr == HRESULT_FROM_WIN32(RPC_S_CALL_FAILED_DNE))
		p->loaded = false; /* the interfaces are released when the slot is used again */
	return hr;
}

static HRESULT query(struct provider *p, struct record *r, const wchar_t *name, REFIID iid, void **out)
{
	ULONG call = record_call_begin(r, L"QueryInterface", L"%ls", name);
	return record_call_end(r, call, IVssHardwareSnapshotProvider_QueryInterface(p->hw, iid, out));
}

/* As RPCSS does it for VSS, which runs as LocalSystem. */
static HRESULT create_instance(struct provider *p, bool again)
{
	HRESULT hr = com_may_activate(&p->entry.clsid, COM_SYSTEM, com_service_runs(&p->entry.clsid));
	if (SUCCEEDED(hr))
		hr = com_may_call(&p->entry.clsid, COM_SYSTEM);
	if (FAILED(hr))
		return hr;
	wine_start_service(&p->entry.clsid, again);
	return CoCreateInstance(&p->entry.clsid, NULL, CLSCTX_LOCAL_SERVER, &IID_IVssHardwareSnapshotProvider,
		(void **)&p->hw);
}

static HRESULT create(struct provider *p, struct record *r)
{
	wchar_t text[40];
	StringFromGUID2(&p->entry.clsid, text, 40);
	HRESULT hr = S_OK;
	for (int attempt = 0; attempt < 2; attempt++) {
		ULONG call =
			record_call_begin(r, L"CoCreateInstance", L"%ls, IVssHardwareSnapshotProvider", text);
		hr = record_call_end(r, call, create_instance(p, attempt > 0));
		if (!wine_found_dead_class(hr) || attempt > 0)
			break;
		server_forget_dead_classes();
	}
	return hr;
}

static HRESULT activate(struct provider *p, struct record *r)
{
	HRESULT hr = create(p, r);
	if (hr == E_ACCESSDENIED)
		return record_fail(r, VSS_E_UNEXPECTED_PROVIDER_ERROR,
			L"the provider \"%ls\" cannot be activated (0x%08x): its AppID does not let LocalSystem "
			L"start, activate or call it (see umbra-lab-rights)",
			p->entry.name, (unsigned)hr);
	if (FAILED(hr))
		return record_fail(r, VSS_E_UNEXPECTED_PROVIDER_ERROR,
			L"the provider \"%ls\" cannot be activated (0x%08x): is its service installed and "
			L"startable?",
			p->entry.name, (unsigned)hr);
	hr = query(
		p, r, L"IVssProviderCreateSnapshotSet", &IID_IVssProviderCreateSnapshotSet, (void **)&p->set);
	if (FAILED(hr))
		return record_fail(r, VSS_E_UNEXPECTED_PROVIDER_ERROR,
			L"the provider \"%ls\" offers no IVssProviderCreateSnapshotSet (0x%08x)",
			p->entry.name, (unsigned)hr);
	if (FAILED(query(p, r, L"IVssHardwareSnapshotProviderEx", &IID_IVssHardwareSnapshotProviderEx,
		    (void **)&p->ex)))
		p->ex = NULL;
	if (FAILED(query(
		    p, r, L"IVssProviderNotifications", &IID_IVssProviderNotifications, (void **)&p->notify)))
		p->notify = NULL;
	if (!p->notify)
		return S_OK;
	ULONG call = record_call_begin(r, L"OnLoad", L"callback NULL");
	hr = record_call_end(r, call, IVssProviderNotifications_OnLoad(p->notify, NULL));
	if (FAILED(hr))
		record_fail(r, VSS_E_UNEXPECTED_PROVIDER_ERROR, L"OnLoad of \"%ls\" failed with 0x%08x",
			p->entry.name, (unsigned)hr);
	return hr;
}

/* Is its process still there? A call without effect tells; IUnknown's own are answered on this side by Wine.
 */
static bool is_alive(struct provider *p)
{
	ULONGLONG mask;
	if (p->ex)
		provider_check(p, IVssHardwareSnapshotProviderEx_GetProviderCapabilities(p->ex, &mask));
	return p->loaded;
}

struct provider *provider_load(const struct provider_entry *entry, struct record *r)
{
	struct provider *p = provider_loaded(&entry->id);
	if (p && (keeps_dead() || is_alive(p)))
		return p;
	p = NULL;
	for (int i = 0; i < PROVIDERS_MAX && !p; i++)
		if (!loaded[i].loaded)
			p = &loaded[i];
	if (!p) {
		record_fail(r, E_OUTOFMEMORY, L"more than %d providers are loaded", PROVIDERS_MAX);
		return NULL;
	}
	forget(p);
	p->entry = *entry;
	if (FAILED(activate(p, r))) {
		forget(p);
		return NULL;
	}
	p->loaded = true;
	return p;
}

HRESULT provider_unload(struct provider *p, bool force, struct record *r)
{
	HRESULT hr = S_OK;
	if (p->notify) {
		ULONG call = r ? record_call_begin(r, L"OnUnload", L"force %d", force) : 0;
		hr = IVssProviderNotifications_OnUnload(p->notify, force);
		if (r)
			record_call_end(r, call, hr);
	}
	if (hr == S_FALSE && !force)
		return hr;
	forget(p);
	return hr;
}

bool providers_unload_all(bool force, struct record *r)
{
	bool all = true;
	for (int i = 0; i < PROVIDERS_MAX; i++)
		if (loaded[i].loaded && provider_unload(&loaded[i], force, r) == S_FALSE && !force)
			all = false;
	return all;
}

HRESULT provider_visible_error(HRESULT hr, bool preparing)
{
	static const HRESULT allowed[] = {S_OK, E_OUTOFMEMORY, E_INVALIDARG, E_ACCESSDENIED, VSS_E_BAD_STATE,
		VSS_E_OBJECT_NOT_FOUND, VSS_E_INSUFFICIENT_STORAGE, VSS_E_VOLUME_NOT_SUPPORTED,
		VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER, VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED,
		VSS_E_PROVIDER_VETO, VSS_E_CANNOT_REVERT_DISKID};
	static const HRESULT preparing_too[] = {VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED,
		VSS_E_NESTED_VOLUME_LIMIT, VSS_E_UNSUPPORTED_CONTEXT};
	for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
		if (hr == allowed[i])
			return hr;
	for (size_t i = 0; preparing && i < sizeof preparing_too / sizeof preparing_too[0]; i++)
		if (hr == preparing_too[i])
			return hr;
	return VSS_E_UNEXPECTED_PROVIDER_ERROR;
}
