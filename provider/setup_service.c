/* SPDX-License-Identifier: Apache-2.0 */
/* See setup_service.h. */
#include "provider/setup_service.h"

#include <stdio.h>
#include "provider/ids.h"

#define STOP_LIMIT_MS 20000
#define STOP_POLL_MS  100
#define COMMAND_CHARS 1100
/* All that the service keeps of LocalSystem's privileges. Disks and adapters open by their access lists, so pass-through
 * needs none; COM checks a caller by taking its place for a moment. */
#define PRIVILEGES L"SeChangeNotifyPrivilege\0SeImpersonatePrivilege\0"
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

static HRESULT stop(SC_HANDLE handle)
{
	SERVICE_STATUS status;

	if (!ControlService(handle, SERVICE_CONTROL_STOP, &status)) {
		DWORD error = GetLastError();
		bool is_ending = error == ERROR_SERVICE_CANNOT_ACCEPT_CTRL; /* or starting: waited for */
		if (!is_ending)
			return error == ERROR_SERVICE_NOT_ACTIVE ? S_OK : HRESULT_FROM_WIN32(error);
	}
	for (DWORD waited_ms = 0; waited_ms < STOP_LIMIT_MS; waited_ms += STOP_POLL_MS) {
		if (!QueryServiceStatus(handle, &status))
			return last_error();
		if (status.dwCurrentState == SERVICE_STOPPED)
			return S_OK;
		Sleep(STOP_POLL_MS);
	}
	return HRESULT_FROM_WIN32(ERROR_SERVICE_REQUEST_TIMEOUT);
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

	(void)ChangeServiceConfig2W(handle, SERVICE_CONFIG_DESCRIPTION, &description);
	(void)ChangeServiceConfig2W(handle, SERVICE_CONFIG_SERVICE_SID_INFO, &sid);
	(void)ChangeServiceConfig2W(handle, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, &required);
	(void)ChangeServiceConfig2W(handle, SERVICE_CONFIG_FAILURE_ACTIONS, &failure);
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

static HRESULT create_or_change(DWORD start, const WCHAR *command, bool replace)
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

HRESULT setup_service_create(const WCHAR *program, bool replace)
{
	WCHAR command[COMMAND_CHARS];
	int length = _snwprintf(command, COMMAND_CHARS, L"\"%ls\" run", program);

	if (length < 0 || length >= COMMAND_CHARS)
		return HRESULT_FROM_WIN32(ERROR_FILENAME_EXCED_RANGE);
	return create_or_change(SERVICE_DEMAND_START, command, replace);
}

bool setup_service_remember(void)
{
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE handle = manager ? OpenServiceW(manager, UMBRA_SERVICE_NAME, SERVICE_QUERY_CONFIG) : NULL;
	bool there = handle && SUCCEEDED(read_config(handle, &before.start, before.command));

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

HRESULT setup_service_delete(void)
{
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	HRESULT hr = S_OK;

	if (!manager)
		return last_error();
	SC_HANDLE handle =
		OpenServiceW(manager, UMBRA_SERVICE_NAME, SERVICE_STOP | SERVICE_QUERY_STATUS | DELETE);
	if (handle) {
		hr = stop(handle);
		if (SUCCEEDED(hr) && !DeleteService(handle) &&
			GetLastError() != ERROR_SERVICE_MARKED_FOR_DELETE)
			hr = last_error();
		CloseServiceHandle(handle);
	} else if (GetLastError() != ERROR_SERVICE_DOES_NOT_EXIST) {
		hr = last_error();
	}
	CloseServiceHandle(manager);
	return hr;
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
