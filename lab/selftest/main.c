/* SPDX-License-Identifier: Apache-2.0 */
/* umbra-lab-selftest.exe register | client | requester | leaves | holds | register-provider | unregister-provider | keep |
 * threads | hostile {CLSID}; COM starts it with -Embedding. */
#define INITGUID
#include <windows.h>
#include <initguid.h>
#include <objbase.h>
#include <vss.h>
#include <vsadmin.h>
#include <vsprov.h>
#include <stdio.h>
#include <wchar.h>
#include "lab/coordinator/wine_rpc.h"
#include "lab/selftest/selftest.h"

#define CLSID_KEY L"Software\\Classes\\CLSID\\{7B0F8B6E-3C0A-4F0B-9B55-5E1F7E5C1A01}\\LocalServer32"

const GUID selftest_clsid = {0x7b0f8b6e, 0x3c0a, 0x4f0b, {0x9b, 0x55, 0x5e, 0x1f, 0x7e, 0x5c, 0x1a, 0x01}};
const GUID selftest_provider_id = {
	0x7b0f8b6e, 0x3c0a, 0x4f0b, {0x9b, 0x55, 0x5e, 0x1f, 0x7e, 0x5c, 0x1a, 0x02}};

static int register_server(void)
{
	wchar_t file[MAX_PATH];
	DWORD len = GetModuleFileNameW(NULL, file, MAX_PATH);
	if (len == 0 || len >= MAX_PATH)
		return 1;
	return RegSetKeyValueW(HKEY_LOCAL_MACHINE, CLSID_KEY, NULL, REG_SZ, file, (len + 1) * sizeof *file) !=
	       ERROR_SUCCESS;
}

static int with_admin(BOOL on)
{
	IVssAdmin *admin = NULL;
	wchar_t name[] = L"Selftest", version[] = L"1.2";
	HRESULT hr = CoInitializeEx(NULL, COINIT_MULTITHREADED);
	if (SUCCEEDED(hr))
		hr = wine_reach_coordinator(&IID_IVssAdmin, (void **)&admin);
	if (SUCCEEDED(hr)) {
		hr = on ? IVssAdmin_RegisterProvider(admin, selftest_provider_id, selftest_clsid, name,
				  VSS_PROV_HARDWARE, version, selftest_clsid)
			: IVssAdmin_UnregisterProvider(admin, selftest_provider_id);
		IVssAdmin_Release(admin);
	}
	CoUninitialize();
	printf("0x%08x\n", (unsigned)hr);
	return FAILED(hr);
}

static DWORD WINAPI ends_when_told(void *told)
{
	WaitForSingleObject(told, INFINITE);
	return 0;
}

/* Ends with 7 while threads of its own are ending. */
static int end_among_threads(void)
{
	HANDLE told = CreateEventW(NULL, TRUE, FALSE, NULL);
	for (int i = 0; told && i < 4; i++) {
		HANDLE thread = CreateThread(NULL, 0, ends_when_told, told, 0, NULL);
		if (!thread)
			return 1;
		CloseHandle(thread);
	}
	return told && SetEvent(told) ? 7 : 1;
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
	const wchar_t *verb = argc == 2 ? argv[1] : L"";
	if (_wcsicmp(verb, L"-Embedding") == 0 || _wcsicmp(verb, L"/Embedding") == 0)
		return selftest_serve();
	if (wcscmp(verb, L"client") == 0)
		return selftest_client();
	if (wcscmp(verb, L"requester") == 0)
		return selftest_requester();
	if (wcscmp(verb, L"leaves") == 0)
		return selftest_leaves();
	if (wcscmp(verb, L"holds") == 0)
		return selftest_holds();
	if (argc == 3 && wcscmp(argv[1], L"hostile") == 0)
		return selftest_hostile(argv[2]);
	if (wcscmp(verb, L"register") == 0)
		return register_server();
	if (wcscmp(verb, L"register-provider") == 0)
		return with_admin(TRUE);
	if (wcscmp(verb, L"unregister-provider") == 0)
		return with_admin(FALSE);
	if (wcscmp(verb, L"threads") == 0)
		return end_among_threads();
	if (wcscmp(verb, L"keep") == 0) {
		Sleep(INFINITE);
		return 0;
	}
	fputws(L"usage: umbra-lab-selftest register | client | requester | leaves | holds | register-provider |\n"
	       L"                          unregister-provider | keep | threads\n"
	       L"       umbra-lab-selftest hostile {CLSID}    (calls any provider as nobody should)\n",
		stderr);
	return 2;
}
