/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-vss.exe: plays the VSS service under Wine. A COM local server for CLSID_VSSCoordinator.
 *
 *   umbra-lab-vss register     write LocalServer32 for this file
 *   umbra-lab-vss unregister   take it away again
 *   umbra-lab-vss -Embedding   serve (COM starts it so)
 *
 * Invariants:
 * - The process ends only when for IdleMs (default: three minutes, as VSS) no client that lives has had an object (clients.h)
 *   and no lock has existed, and every loaded provider has agreed to OnUnload.
 * - A client that found the class while the process was about to end is served: the class goes first, and whoever comes
 *   within LINGER_MS after that keeps the process. Later ones are served by a new process.
 * - One request at a time, also while the process before this one is still there.
 */
#define INITGUID
#include <windows.h>
#include <initguid.h>
#include <objbase.h>
#include <vss.h>
#include <vsadmin.h>
#include <vsprov.h>
#include <stdbool.h>
#include <stdio.h>
#include <wchar.h>
#include "lab/coordinator/admin.h"
#include "lab/coordinator/provider_host.h"
#include "lab/coordinator/settings.h"
#include "lab/coordinator/wine_rpc.h"

#define COORDINATOR_CLSID L"{E579AB5F-1CC4-44B4-BED9-DE0991FF0623}"
#define CLSID_KEY         L"Software\\Classes\\CLSID\\" COORDINATOR_CLSID
#define LINGER_MS         3000
#define FIRST_CLIENT_MS   60000 /* for the one that the process was started for to arrive */

static LONG making;        /* a set is */
static LONG users;         /* objects of clients that live, and locks */
static HANDLE became_idle; /* auto-reset: users went to 0 */
static CRITICAL_SECTION request_lock;
static HANDLE all_requests; /* a mutex that every coordinator of the host knows */
static DWORD class_cookie;  /* 0: the class is not published */

void server_hold(void)
{
	InterlockedIncrement(&users);
}

void server_release(void)
{
	if (InterlockedDecrement(&users) == 0)
		SetEvent(became_idle);
}

bool request_enter(void)
{
	if (!TryEnterCriticalSection(&request_lock))
		return false;
	DWORD rc = WaitForSingleObject(all_requests, 0);
	if (rc == WAIT_OBJECT_0 || rc == WAIT_ABANDONED)
		return true;
	LeaveCriticalSection(&request_lock);
	return false;
}

bool making_enter(void)
{
	return InterlockedCompareExchange(&making, 1, 0) == 0;
}

void making_leave(void)
{
	InterlockedExchange(&making, 0);
}

bool making_now(void)
{
	return InterlockedCompareExchange(&making, 0, 0) != 0;
}

void request_leave(void)
{
	ReleaseMutex(all_requests);
	LeaveCriticalSection(&request_lock);
}

/* --- the class object: one, static --- */

static HRESULT STDMETHODCALLTYPE factory_QueryInterface(IClassFactory *iface, REFIID iid, void **out)
{
	if (!out)
		return E_POINTER;
	*out = IsEqualIID(iid, &IID_IUnknown) || IsEqualIID(iid, &IID_IClassFactory) ? iface : NULL;
	return *out ? S_OK : E_NOINTERFACE;
}

static ULONG STDMETHODCALLTYPE factory_AddRef(IClassFactory *iface)
{
	(void)iface;
	return 2;
}

static ULONG STDMETHODCALLTYPE factory_Release(IClassFactory *iface)
{
	(void)iface;
	return 1;
}

static HRESULT STDMETHODCALLTYPE factory_CreateInstance(
	IClassFactory *iface, IUnknown *outer, REFIID iid, void **out)
{
	(void)iface;
	if (!out)
		return E_POINTER;
	*out = NULL;
	return outer ? CLASS_E_NOAGGREGATION : coordinator_create(iid, out);
}

static HRESULT STDMETHODCALLTYPE factory_LockServer(IClassFactory *iface, WINBOOL lock)
{
	(void)iface;
	if (lock)
		server_hold();
	else
		server_release();
	return S_OK;
}

static const IClassFactoryVtbl factory_vtbl = {
	factory_QueryInterface, factory_AddRef, factory_Release, factory_CreateInstance, factory_LockServer};
static IClassFactory factory = {(IClassFactoryVtbl *)(uintptr_t)&factory_vtbl};

static HRESULT publish_class(void)
{
	HRESULT hr = CoRegisterClassObject(&CLSID_VSSCoordinator, (IUnknown *)&factory, CLSCTX_LOCAL_SERVER,
		REGCLS_MULTIPLEUSE | REGCLS_SUSPENDED, &class_cookie);
	return SUCCEEDED(hr) ? CoResumeClassObjects() : hr;
}

static void withdraw_class(void)
{
	if (class_cookie)
		CoRevokeClassObject(class_cookie);
	class_cookie = 0;
}

static bool is_loaded(const GUID *provider_id)
{
	return provider_loaded(provider_id) != NULL;
}

void server_forget_dead_classes(void)
{
	bool was_published = class_cookie != 0;
	withdraw_class();
	wine_forget_dead_classes(is_loaded);
	if (was_published)
		publish_class();
}

/* Nobody was there, and nobody came, for so long. */
static bool idle_for(DWORD ms)
{
	return WaitForSingleObject(became_idle, ms) == WAIT_TIMEOUT && users == 0;
}

/* False: one is busy. In this process only: a new coordinator may be at work already. */
static bool unload_providers(bool force)
{
	if (!TryEnterCriticalSection(&request_lock))
		return false;
	bool all = providers_unload_all(force, NULL);
	LeaveCriticalSection(&request_lock);
	return all;
}

/* Returns when the server is to end: idle long enough. A provider that is busy then (with a set that was begun and
 * dropped) is given one more such time, then unloaded by force, as when the VSS service ends. */
static HRESULT serve_until_idle(void)
{
	DWORD idle_ms = settings_dword(L"IdleMs", 180000);
	DWORD ms = idle_ms > FIRST_CLIENT_MS ? idle_ms : FIRST_CLIENT_MS;
	bool force = false;
	HRESULT hr = S_OK;
	while (SUCCEEDED(hr)) {
		if (!idle_for(ms)) {
			force = false;
			ms = idle_ms;
			continue;
		}
		/* Wine cannot suspend a class (CoSuspendClassObjects does nothing there). */
		withdraw_class();
		bool quiet = idle_for(LINGER_MS);
		if (quiet && unload_providers(force))
			break;
		force = quiet;
		hr = publish_class();
	}
	return hr;
}

static int serve(void)
{
	HRESULT hr = CoInitializeEx(NULL, COINIT_MULTITHREADED);
	if (FAILED(hr))
		return 1;
	became_idle = CreateEventW(NULL, FALSE, FALSE, NULL);
	InitializeCriticalSection(&request_lock);
	all_requests = CreateMutexW(NULL, FALSE, L"umbra-lab-vss request");
	hr = publish_class();
	if (FAILED(hr)) {
		fwprintf(stderr, L"umbra-lab-vss: the class object cannot be registered (0x%08x)\n",
			(unsigned)hr);
		return 1;
	}
	hr = serve_until_idle();
	withdraw_class();
	CoUninitialize();
	return FAILED(hr);
}

static LSTATUS write_default(const wchar_t *path, const wchar_t *text)
{
	return RegSetKeyValueW(
		HKEY_LOCAL_MACHINE, path, NULL, REG_SZ, text, (DWORD)((wcslen(text) + 1) * sizeof *text));
}

static int register_server(void)
{
	wchar_t file[MAX_PATH], quoted[MAX_PATH + 4];
	DWORD len = GetModuleFileNameW(NULL, file, MAX_PATH);
	if (len == 0 || len >= MAX_PATH)
		return 1;
	_snwprintf(quoted, MAX_PATH + 4, L"\"%ls\"", file);
	LSTATUS rc = write_default(CLSID_KEY, L"VSSCoordinator Class (lab)");
	if (rc == ERROR_SUCCESS)
		rc = write_default(CLSID_KEY L"\\LocalServer32", quoted);
	if (rc != ERROR_SUCCESS)
		fwprintf(stderr, L"umbra-lab-vss: the registry cannot be written (%ld)\n", rc);
	return rc == ERROR_SUCCESS ? 0 : 1;
}

static int unregister_server(void)
{
	LSTATUS rc = RegDeleteTreeW(HKEY_LOCAL_MACHINE, CLSID_KEY);
	return rc == ERROR_SUCCESS || rc == ERROR_FILE_NOT_FOUND ? 0 : 1;
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
	const wchar_t *verb = argc == 2 ? argv[1] : L"";
	if (_wcsicmp(verb, L"-Embedding") == 0 || _wcsicmp(verb, L"/Embedding") == 0)
		return serve();
	if (wcscmp(verb, L"register") == 0)
		return register_server();
	if (wcscmp(verb, L"unregister") == 0)
		return unregister_server();
	fputws(L"usage: umbra-lab-vss register | unregister\n"
	       L"The lab's VSS service: COM starts it when a requester or a provider's set-up asks for it.\n",
		argc == 2 && wcscmp(verb, L"--help") == 0 ? stdout : stderr);
	return argc == 2 && wcscmp(verb, L"--help") == 0 ? 0 : 2;
}
