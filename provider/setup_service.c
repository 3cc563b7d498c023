/* SPDX-License-Identifier: Apache-2.0 */
/* See setup_service.h. */
#include "provider/setup_service.h"

#include <stdio.h>
#include "provider/ids.h"

/* A command to a disk whose path is dead takes Windows a minute; until then its process cannot end. */
#define STOP_LIMIT_MS    90000
#define DELETED_LIMIT_MS 30000
#define POLL_MS          100
#define COMMAND_CHARS    1100
/* All that the service keeps of LocalSystem's privileges. Disks and adapters open by their access lists, so pass-through
 * needs none; COM checks a caller by taking its place for a moment; what the commit window needs is locked in memory. */
#define PRIVILEGES L"SeChangeNotifyPrivilege\0SeImpersonatePrivilege\0SeIncreaseWorkingSetPrivilege\0"
/* COM starts the service when it is wanted; after a crash it is also started at once, twice a day. */
#define FAILURE_RESET_S  86400
#define FAILURE_DELAY_MS 5000

static struct {
	DWORD start;
	WCHAR command[COMMAND_CHARS];
} before;

static HRESULT last_error(void)
{
	DWORD error = GetLastError();

	return error ? HRESULT_FROM_WIN32(error) : E_FAIL;
}

/* Its process, to wait for; NULL: it has none. */
static HANDLE process_of(SC_HANDLE handle)
{
	SERVICE_STATUS_PROCESS status;
	DWORD size;

	if (!QueryServiceStatusEx(handle, SC_STATUS_PROCESS_INFO, (BYTE *)&status, sizeof(status), &size) ||
		!status.dwProcessId)
		return NULL;
	return OpenProcess(SYNCHRONIZE, FALSE, status.dwProcessId);
}

/* *told: it was asked to stop, or does not run. It may refuse for now: while it starts, or ends by itself. */
static HRESULT ask_to_stop(SC_HANDLE handle, bool *told)
{
	SERVICE_STATUS status;

	*told = ControlService(handle, SERVICE_CONTROL_STOP, &status);
	if (*told || GetLastError() == ERROR_SERVICE_CANNOT_ACCEPT_CTRL)
		return S_OK;
	if (GetLastError() != ERROR_SERVICE_NOT_ACTIVE)
		return last_error();
	*told = true; /* its process may be there still */
	return S_OK;
}

static HRESULT stop(SC_HANDLE handle)
{
	ULONGLONG end_ms = GetTickCount64() + STOP_LIMIT_MS;
	HANDLE process = process_of(handle);
	HRESULT hr = HRESULT_FROM_WIN32(ERROR_SERVICE_REQUEST_TIMEOUT);
	SERVICE_STATUS status;
	bool told = false;

	do {
		if (!told && FAILED(ask_to_stop(handle, &told))) {
			hr = last_error();
			break;
		}
		if (!QueryServiceStatus(handle, &status)) {
			hr = last_error();
			break;
		}
		bool gone = !process || WaitForSingleObject(process, 0) == WAIT_OBJECT_0;
		if (status.dwCurrentState == SERVICE_STOPPED && gone) {
			hr = S_OK;
			break;
		}
		if (!process)
			process = process_of(handle);
		Sleep(POLL_MS);
	} while (GetTickCount64() < end_ms);
	if (process)
		CloseHandle(process);
	return hr;
}

/* What old systems do not know is done without. */
static void harden(SC_HANDLE handle)
{
	static WCHAR about[] = UMBRA_SERVICE_ABOUT;
	static WCHAR privileges[] = PRIVILEGES;
	static SC_ACTION actions[] = {{SC_ACTION_RESTART, FAILURE_DELAY_MS},
		{SC_ACTION_RESTART, FAILURE_DELAY_MS}, {SC_ACTION_NONE, 0}};
	SERVICE_DESCRIPTIONW description = {about};
	/* Not RESTRICTED: such a token writes only what names the service's SID, and no access list of a disk or
	 * adapter, which pass-through opens for writing, does. */
	SERVICE_SID_INFO sid = {SERVICE_SID_TYPE_UNRESTRICTED};
	SERVICE_REQUIRED_PRIVILEGES_INFOW required = {privileges};
	SERVICE_FAILURE_ACTIONSW failure = {FAILURE_RESET_S, NULL, NULL, 3, actions};
	SERVICE_PRESHUTDOWN_INFO preshutdown = {STOP_LIMIT_MS};

	(void)ChangeServiceConfig2W(handle, SERVICE_CONFIG_DESCRIPTION, &description);
	(void)ChangeServiceConfig2W(handle, SERVICE_CONFIG_SERVICE_SID_INFO, &sid);
	(void)ChangeServiceConfig2W(handle, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, &required);
	(void)ChangeServiceConfig2W(handle, SERVICE_CONFIG_FAILURE_ACTIONS, &failure);
	(void)ChangeServiceConfig2W(handle, SERVICE_CONFIG_PRESHUTDOWN_INFO, &preshutdown);
}

/* *start, command (COMMAND_CHARS): as they are now. */
static HRESULT read_config(SC_HANDLE handle, DWORD *start, WCHAR *command)
{
	static union {
		QUERY_SERVICE_CONFIGW c;
		char bytes[8192];
	} u;
	DWORD needed;

	if (!QueryServiceConfigW(handle, &u.c, sizeof(u), &needed))
		return last_error();
	*start = u.c.dwStartType;
	if (!u.c.lpBinaryPathName || wcslen(u.c.lpBinaryPathName) >= COMMAND_CHARS)
		return HRESULT_FROM_WIN32(ERROR_FILENAME_EXCED_RANGE);
	wcscpy_s(command, COMMAND_CHARS, u.c.lpBinaryPathName);
	return S_OK;
}

static HRESULT change(SC_HANDLE handle, DWORD start, const WCHAR *command, bool replace)
{
	WCHAR old[COMMAND_CHARS];
	DWORD old_start;
	HRESULT hr = S_OK;

	if (replace || FAILED(read_config(handle, &old_start, old)) || wcscmp(old, command) != 0)
		hr = stop(handle); /* so that the new program is used */
	if (SUCCEEDED(hr) &&
		!ChangeServiceConfigW(handle, SERVICE_WIN32_OWN_PROCESS, start, SERVICE_ERROR_NORMAL, command,
			NULL, NULL, NULL, NULL, NULL, UMBRA_SERVICE_DISPLAY))
		hr = last_error();
	return hr;
}

static HRESULT create_or_change_once(DWORD start, const WCHAR *command, bool replace)
{
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE);
	HRESULT hr = S_OK;

	if (!manager)
		return last_error();
	SC_HANDLE handle = CreateServiceW(manager, UMBRA_SERVICE_NAME, UMBRA_SERVICE_DISPLAY,
		SERVICE_ALL_ACCESS, SERVICE_WIN32_OWN_PROCESS, start, SERVICE_ERROR_NORMAL, command, NULL,
		NULL, L"rpcss\0", NULL, NULL);
	if (!handle && GetLastError() == ERROR_SERVICE_EXISTS) {
		handle = OpenServiceW(manager, UMBRA_SERVICE_NAME, SERVICE_ALL_ACCESS);
		if (handle)
			hr = change(handle, start, command, replace);
	}
	if (!handle)
		hr = last_error();
	if (SUCCEEDED(hr))
		harden(handle);
	if (handle)
		CloseServiceHandle(handle);
	CloseServiceHandle(manager);
	return hr;
}

static HRESULT create_or_change(DWORD start, const WCHAR *command, bool replace)
{
	ULONGLONG end_ms = GetTickCount64() + DELETED_LIMIT_MS;
	HRESULT hr;

	while (hr = create_or_change_once(start, command, replace),
		hr == HRESULT_FROM_WIN32(ERROR_SERVICE_MARKED_FOR_DELETE) && GetTickCount64() < end_ms)
		Sleep(POLL_MS);
	return hr;
}

static bool command_of(const WCHAR *program, WCHAR command[COMMAND_CHARS])
{
	int length = _snwprintf(command, COMMAND_CHARS, L"\"%ls\" run", program);

	return length >= 0 && length < COMMAND_CHARS;
}

HRESULT setup_service_create(const WCHAR *program, bool replace)
{
	WCHAR command[COMMAND_CHARS];

	return command_of(program, command) ? create_or_change(SERVICE_DEMAND_START, command, replace)
					    : HRESULT_FROM_WIN32(ERROR_FILENAME_EXCED_RANGE);
}

bool setup_service_runs(const WCHAR *program)
{
	WCHAR command[COMMAND_CHARS];

	return command_of(program, command) && !wcscmp(before.command, command);
}

bool setup_service_remember(void)
{
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE handle = manager ? OpenServiceW(manager, UMBRA_SERVICE_NAME, SERVICE_QUERY_CONFIG) : NULL;
	bool there = handle && SUCCEEDED(read_config(handle, &before.start, before.command));

	if (!there)
		before.command[0] = L'\0';
	if (handle)
		CloseServiceHandle(handle);
	if (manager)
		CloseServiceHandle(manager);
	return there;
}

HRESULT setup_service_restore(void)
{
	return create_or_change(before.start, before.command, false);
}

static HRESULT end_service(bool delete)
{
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	HRESULT hr = S_OK;

	if (!manager)
		return last_error();
	SC_HANDLE handle = OpenServiceW(
		manager, UMBRA_SERVICE_NAME, SERVICE_STOP | SERVICE_QUERY_STATUS | (delete ? DELETE : 0));
	if (handle) {
		hr = stop(handle);
		if (SUCCEEDED(hr) && delete &&!DeleteService(handle) &&
			GetLastError() != ERROR_SERVICE_MARKED_FOR_DELETE)
			hr = last_error();
		CloseServiceHandle(handle);
	} else if (GetLastError() != ERROR_SERVICE_DOES_NOT_EXIST) {
		hr = last_error();
	}
	CloseServiceHandle(manager);
	return hr;
}

HRESULT setup_service_stop(void)
{
	return end_service(false);
}

HRESULT setup_service_delete(void)
{
	return end_service(true);
}

const char *setup_service_state(void)
{
	static const char *const names[] = {
		"unknown", "stopped", "starting", "stopping", "running", "continuing", "pausing", "paused"};
	SERVICE_STATUS status = {.dwCurrentState = 0};
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE handle = manager ? OpenServiceW(manager, UMBRA_SERVICE_NAME, SERVICE_QUERY_STATUS) : NULL;
	const char *state = "not installed";

	if (handle && QueryServiceStatus(handle, &status) && status.dwCurrentState < 8)
		state = names[status.dwCurrentState];
	if (handle)
		CloseServiceHandle(handle);
	if (manager)
		CloseServiceHandle(manager);
	return state;
}
