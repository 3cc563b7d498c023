/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Set-up as a list of steps. Each step can be done and undone any number of times; install undoes, in reverse
 * order, what it did itself when a later step fails.
 */
#include "provider/setup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <vsadmin.h>
#include "provider/com_security.h"
#include "provider/ids.h"
#include "provider/setup_service.h"
#include "provider/version.h"

#define PATH_CHARS 1024

static WCHAR own_path[PATH_CHARS];

const char *setup_explain(HRESULT hr)
{
	switch (hr) {
	case HRESULT_FROM_WIN32(ERROR_ACCESS_DENIED):
		return "Run the command from an elevated prompt, as an administrator.";
	case REGDB_E_CLASSNOTREG:
		return "This Windows has no Volume Shadow Copy service (only Windows Server can use hardware "
		       "providers), or it is damaged: see \"vssadmin list writers\".";
	case E_INVALIDARG:
		return "VSS takes hardware providers on Windows Server only; a client Windows refuses them.";
	case VSS_E_PROVIDER_IN_USE:
		return "A shadow copy is being made with the provider. Wait until it has ended, then try again.";
	case HRESULT_FROM_WIN32(ERROR_SERVICE_DISABLED):
		return "A service that is needed is disabled: enable \"Volume Shadow Copy\" (sc config vss start= demand).";
	case HRESULT_FROM_WIN32(ERROR_SERVICE_MARKED_FOR_DELETE):
		return "The old service is being deleted still: close the Services console and try again.";
	case E_OUTOFMEMORY:
		return "Free memory and try again.";
	default:
		return "See the Application event log for entries of VSS at this moment, then try again.";
	}
}

/* ---- registry -------------------------------------------------------------------------------------- */

static HRESULT set_value(const WCHAR *key, const WCHAR *name, DWORD type, const void *data, DWORD size)
{
	HKEY handle;
	LSTATUS status = RegCreateKeyExW(
		HKEY_LOCAL_MACHINE, key, 0, NULL, 0, KEY_SET_VALUE | KEY_WOW64_64KEY, NULL, &handle, NULL);

	if (status == ERROR_SUCCESS) {
		status = RegSetValueExW(handle, name, 0, type, data, size);
		RegCloseKey(handle);
	}
	return HRESULT_FROM_WIN32((DWORD)status);
}

static HRESULT set_string(const WCHAR *key, const WCHAR *name, DWORD type, const WCHAR *text)
{
	return set_value(key, name, type, text, (DWORD)((wcslen(text) + 1) * sizeof(WCHAR)));
}

static HRESULT delete_key(const WCHAR *key)
{
	LSTATUS status = RegDeleteTreeW(HKEY_LOCAL_MACHINE, key);

	/* RegDeleteTree leaves the key itself on some systems. */
	if (status == ERROR_SUCCESS)
		(void)RegDeleteKeyExW(HKEY_LOCAL_MACHINE, key, KEY_WOW64_64KEY, 0);
	return status == ERROR_FILE_NOT_FOUND ? S_OK : HRESULT_FROM_WIN32((DWORD)status);
}

/* ---- steps ----------------------------------------------------------------------------------------- */

static HRESULT com_do(void)
{
	DWORD size;
	SECURITY_DESCRIPTOR *sd = com_security_descriptor(&size);

	if (!sd)
		return HRESULT_FROM_WIN32(GetLastError());
	HRESULT hr = set_string(UMBRA_KEY_CLSID, NULL, REG_SZ, UMBRA_PROVIDER_NAME);
	if (SUCCEEDED(hr))
		hr = set_string(UMBRA_KEY_CLSID, L"AppID", REG_SZ, UMBRA_APPID_TEXT);
	if (SUCCEEDED(hr))
		hr = set_string(UMBRA_KEY_APPID, NULL, REG_SZ, UMBRA_PROVIDER_NAME);
	if (SUCCEEDED(hr))
		hr = set_string(UMBRA_KEY_APPID, L"LocalService", REG_SZ, UMBRA_SERVICE_NAME);
	if (SUCCEEDED(hr))
		hr = set_value(UMBRA_KEY_APPID, L"LaunchPermission", REG_BINARY, sd, size);
	if (SUCCEEDED(hr))
		hr = set_value(UMBRA_KEY_APPID, L"AccessPermission", REG_BINARY, sd, size);
	LocalFree(sd);
	return hr;
}

static HRESULT com_undo(void)
{
	HRESULT first = delete_key(UMBRA_KEY_CLSID), second = delete_key(UMBRA_KEY_APPID);

	return FAILED(first) ? first : second;
}

static HRESULT events_do(void)
{
	DWORD types = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
	HRESULT hr = set_string(UMBRA_KEY_EVENTS, L"EventMessageFile", REG_EXPAND_SZ, own_path);

	return FAILED(hr) ? hr
			  : set_value(UMBRA_KEY_EVENTS, L"TypesSupported", REG_DWORD, &types, sizeof(types));
}

static HRESULT events_undo(void)
{
	return delete_key(UMBRA_KEY_EVENTS);
}

static HRESULT service_do(void)
{
	return setup_service_create(own_path);
}

static HRESULT open_vss(IVssAdmin **admin)
{
	return CoCreateInstance(
		&CLSID_VSSCoordinator, NULL, CLSCTX_LOCAL_SERVER, &IID_IVssAdmin, (void **)admin);
}

static HRESULT register_with(IVssAdmin *admin)
{
	static WCHAR name[] = UMBRA_PROVIDER_NAME;
	WCHAR version[32]; /* VSS takes no const text */

	wcscpy_s(version, 32, provider_version_wide);
	return IVssAdmin_RegisterProvider(admin, UMBRA_PROVIDER_ID, CLSID_UmbraProvider, name,
		VSS_PROV_HARDWARE, version, provider_version_id);
}

/* An older registration is replaced: that is how VSS wants an upgrade done. */
static HRESULT vss_do(void)
{
	IVssAdmin *admin;
	HRESULT hr = open_vss(&admin);

	if (FAILED(hr))
		return hr;
	hr = register_with(admin);
	if (hr == VSS_E_PROVIDER_ALREADY_REGISTERED) {
		hr = IVssAdmin_UnregisterProvider(admin, UMBRA_PROVIDER_ID);
		if (SUCCEEDED(hr) || hr == VSS_E_PROVIDER_NOT_REGISTERED)
			hr = register_with(admin);
	}
	IVssAdmin_Release(admin);
	return hr;
}

static HRESULT vss_undo(void)
{
	IVssAdmin *admin;
	HRESULT hr = open_vss(&admin);

	if (hr == REGDB_E_CLASSNOTREG)
		return S_OK; /* where there is no VSS nothing is registered */
	if (FAILED(hr))
		return hr;
	hr = IVssAdmin_UnregisterProvider(admin, UMBRA_PROVIDER_ID);
	IVssAdmin_Release(admin);
	return hr == VSS_E_PROVIDER_NOT_REGISTERED ? S_OK : hr;
}

static const struct step {
	const char *what;
	HRESULT (*act)(void);
	HRESULT (*undo)(void);
} steps[] = {
	{"COM registration", com_do, com_undo},
	{"event source", events_do, events_undo},
	{"service", service_do, setup_service_delete},
	{"registration with VSS", vss_do, vss_undo},
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

static bool key_exists(const WCHAR *key)
{
	HKEY handle;

	if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, key, 0, KEY_READ | KEY_WOW64_64KEY, &handle) != ERROR_SUCCESS)
		return false;
	RegCloseKey(handle);
	return true;
}

static HRESULT enter_com(void)
{
	HRESULT hr = CoInitializeEx(NULL, COINIT_MULTITHREADED | COINIT_DISABLE_OLE1DDE);

	return FAILED(hr) ? hr : com_security_client();
}

static int failed(const char *what, HRESULT hr)
{
	fprintf(stderr, "umbra-vss: %s: error 0x%08lx. %s\n", what, (unsigned long)hr, setup_explain(hr));
	return 1;
}

int setup_install(void)
{
	DWORD length = GetModuleFileNameW(NULL, own_path, PATH_CHARS);

	if (!length || length == PATH_CHARS)
		return failed("own path", HRESULT_FROM_WIN32(GetLastError()));
	bool was_there = key_exists(UMBRA_KEY_CLSID);
	HRESULT hr = enter_com();
	if (FAILED(hr))
		return failed("COM", hr);
	for (size_t i = 0; i < STEPS; i++) {
		hr = steps[i].act();
		if (SUCCEEDED(hr)) {
			printf("%s: done\n", steps[i].what);
			continue;
		}
		(void)failed(steps[i].what, hr);
		/* A repaired or upgraded installation is not taken away because one step failed. */
		for (size_t n = i + 1; !was_there && n-- > 0;)
			(void)steps[n].undo();
		fprintf(stderr,
			was_there ? "umbra-vss: the provider was installed before; nothing was removed.\n"
				  : "umbra-vss: nothing was left behind.\n");
		CoUninitialize();
		return 1;
	}
	CoUninitialize();
	puts("The provider is installed. \"umbra-vss status\" shows the arrays it reaches.");
	return 0;
}

int setup_uninstall(void)
{
	HRESULT hr = enter_com();
	int result = 0;

	if (FAILED(hr))
		return failed("COM", hr);
	for (size_t i = STEPS; i-- > 0;) {
		hr = steps[i].undo();
		if (SUCCEEDED(hr)) {
			printf("%s: removed\n", steps[i].what);
			continue;
		}
		result = failed(steps[i].what, hr);
		if (hr == VSS_E_PROVIDER_IN_USE)
			break; /* all or nothing: VSS works with it at this moment */
	}
	CoUninitialize();
	if (result == 0)
		puts("The provider is uninstalled. Shadow copies on the arrays are untouched.");
	return result;
}

void setup_free_registration(VSS_PROVIDER_PROP *props)
{
	CoTaskMemFree(props->m_pwszProviderName);
	CoTaskMemFree(props->m_pwszProviderVersion);
	memset(props, 0, sizeof(*props));
}

HRESULT setup_query_registration(VSS_PROVIDER_PROP *props)
{
	IVssAdmin *admin;
	IVssEnumObject *list;
	HRESULT hr = open_vss(&admin);

	memset(props, 0, sizeof(*props));
	if (FAILED(hr))
		return hr;
	hr = IVssAdmin_QueryProviders(admin, &list);
	IVssAdmin_Release(admin);
	if (FAILED(hr))
		return hr;
	for (;;) {
		VSS_OBJECT_PROP one;
		ULONG fetched = 0;
		memset(&one, 0, sizeof(one));
		hr = IVssEnumObject_Next(list, 1, &one, &fetched);
		if (hr != S_OK || !fetched)
			break;
		if (one.Type == VSS_OBJECT_PROVIDER &&
			IsEqualGUID(&one.Obj.Prov.m_ProviderId, &UMBRA_PROVIDER_ID)) {
			*props = one.Obj.Prov;
			break;
		}
		if (one.Type == VSS_OBJECT_PROVIDER)
			setup_free_registration(&one.Obj.Prov);
	}
	IVssEnumObject_Release(list);
	return FAILED(hr) ? hr : props->m_pwszProviderName ? S_OK : S_FALSE;
}
