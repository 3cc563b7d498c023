/* SPDX-License-Identifier: Apache-2.0 */
/* See wine_rpc.h. */
#include "lab/coordinator/wine_rpc.h"

#include <stdio.h>
#include <objbase.h>
#include <vss.h>
#include <vsadmin.h>
#include "lab/coordinator/settings.h"

#define STOP_MS  60000
#define START_MS 30000
#define TRIES    4
#define PAUSE_MS 250

bool under_wine(void)
{
	return GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version") != NULL;
}

bool wine_found_dead_class(HRESULT hr)
{
	return hr == HRESULT_FROM_WIN32(RPC_S_SERVER_UNAVAILABLE) && under_wine();
}

/* Wine's service manager believes a killed service to be running: what counts is its process. */
static bool runs(SC_HANDLE service)
{
	SERVICE_STATUS_PROCESS status;
	DWORD bytes;
	if (!QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)&status, sizeof status, &bytes) ||
		status.dwCurrentState == SERVICE_STOPPED || status.dwProcessId == 0)
		return false;
	HANDLE process = OpenProcess(SYNCHRONIZE, FALSE, status.dwProcessId);
	bool alive = process && WaitForSingleObject(process, 0) == WAIT_TIMEOUT;
	if (process)
		CloseHandle(process);
	return alive;
}

/* Asks it to stop and waits until it has. */
static void stop_service(const wchar_t *name)
{
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE service = manager ? OpenServiceW(manager, name, SERVICE_STOP | SERVICE_QUERY_STATUS) : NULL;
	SERVICE_STATUS status;
	if (service && runs(service) && ControlService(service, SERVICE_CONTROL_STOP, &status))
		for (int ms = 0; ms < STOP_MS && runs(service); ms += 20)
			Sleep(20);
	if (service)
		CloseServiceHandle(service);
	if (manager)
		CloseServiceHandle(manager);
}

static bool read_text(const wchar_t *path, const wchar_t *name, wchar_t *out, DWORD chars)
{
	DWORD bytes = chars * sizeof *out;
	return RegGetValueW(HKEY_LOCAL_MACHINE, path, name, RRF_RT_REG_SZ, NULL, out, &bytes) ==
	       ERROR_SUCCESS;
}

/* The service that a class runs in, by way of its AppID. */
static bool service_of_class(const wchar_t *clsid, wchar_t *service, DWORD chars)
{
	wchar_t path[256], app_id[64];
	_snwprintf(path, 256, L"Software\\Classes\\CLSID\\%ls", clsid);
	if (!read_text(path, L"AppID", app_id, 64))
		return false;
	_snwprintf(path, 256, L"Software\\Classes\\AppID\\%ls", app_id);
	return read_text(path, L"LocalService", service, chars);
}

static bool service_of(const wchar_t *provider, wchar_t *service, DWORD chars)
{
	wchar_t path[256], clsid[64];
	_snwprintf(path, 256, LAB_PROVIDERS_KEY L"\\%ls\\CLSID", provider);
	return read_text(path, NULL, clsid, 64) && service_of_class(clsid, service, chars);
}

static bool is_in(SC_HANDLE service, DWORD state)
{
	SERVICE_STATUS status;
	return QueryServiceStatus(service, &status) && status.dwCurrentState == state;
}

void wine_start_service(const CLSID *clsid, bool killed_too)
{
	wchar_t text[64], name[256];
	StringFromGUID2(clsid, text, 64);
	if (!under_wine() || !service_of_class(text, name, 256))
		return;
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE service =
		manager ? OpenServiceW(manager, name, SERVICE_START | SERVICE_QUERY_STATUS) : NULL;
	bool start = service && (killed_too ? !runs(service) : is_in(service, SERVICE_STOPPED));
	if (start && StartServiceW(service, 0, NULL))
		for (int ms = 0; ms < START_MS && is_in(service, SERVICE_START_PENDING); ms += 10)
			Sleep(10);
	if (service)
		CloseServiceHandle(service);
	if (manager)
		CloseServiceHandle(manager);
}

void wine_forget_dead_classes(bool (*in_use)(const GUID *provider_id))
{
	wchar_t provider[64], service[256];
	HKEY root;
	stop_service(L"RpcSs");
	if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, LAB_PROVIDERS_KEY, 0, KEY_READ, &root) != ERROR_SUCCESS)
		return;
	for (DWORD i = 0;; i++) {
		DWORD chars = 64;
		GUID id;
		if (RegEnumKeyExW(root, i, provider, &chars, NULL, NULL, NULL, NULL) != ERROR_SUCCESS)
			break;
		if (CLSIDFromString(provider, &id) == S_OK && !(in_use && in_use(&id)) &&
			service_of(provider, service, 256))
			stop_service(service);
	}
	RegCloseKey(root);
}

HRESULT wine_reach_coordinator(REFIID iid, void **out)
{
	HRESULT hr = E_FAIL;
	*out = NULL;
	for (int attempt = 0; attempt < TRIES; attempt++) {
		if (attempt > 0)
			Sleep(PAUSE_MS);
		hr = CoCreateInstance(&CLSID_VSSCoordinator, NULL, CLSCTX_LOCAL_SERVER, iid, out);
		if (SUCCEEDED(hr) || hr == REGDB_E_CLASSNOTREG)
			break;
		if (attempt > 0 && wine_found_dead_class(hr))
			wine_forget_dead_classes(NULL);
	}
	return hr;
}
