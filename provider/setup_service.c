/* SPDX-License-Identifier: Apache-2.0 */
/* See setup_service.h. */
#include "provider/setup_service.h"

#include <stdio.h>
#include "provider/ids.h"

#define STOP_LIMIT_MS 20000
#define STOP_POLL_MS  100
#define COMMAND_CHARS 1100
/* Pass-through needs no more than LocalSystem's right to open disks; these are all the privileges kept. */
#define PRIVILEGES L"SeChangeNotifyPrivilege\0SeImpersonatePrivilege\0SeIncreaseWorkingSetPrivilege\0"

static HRESULT last_error(void)
{
	DWORD error = GetLastError();

	return error ? HRESULT_FROM_WIN32(error) : E_FAIL;
}

static void stop(SC_HANDLE handle)
{
	SERVICE_STATUS status;

	if (!ControlService(handle, SERVICE_CONTROL_STOP, &status))
		return;
	for (DWORD waited_ms = 0; waited_ms < STOP_LIMIT_MS; waited_ms += STOP_POLL_MS) {
		if (!QueryServiceStatus(handle, &status) || status.dwCurrentState == SERVICE_STOPPED)
			return;
		Sleep(STOP_POLL_MS);
	}
}

/* What old systems do not know is done without. */
static void harden(SC_HANDLE handle)
{
	static WCHAR about[] = UMBRA_SERVICE_ABOUT;
	static WCHAR privileges[] = PRIVILEGES;
	SERVICE_DESCRIPTIONW description = {about};
	SERVICE_SID_INFO sid = {SERVICE_SID_TYPE_UNRESTRICTED};
	SERVICE_REQUIRED_PRIVILEGES_INFOW required = {privileges};

	(void)ChangeServiceConfig2W(handle, SERVICE_CONFIG_DESCRIPTION, &description);
	(void)ChangeServiceConfig2W(handle, SERVICE_CONFIG_SERVICE_SID_INFO, &sid);
	(void)ChangeServiceConfig2W(handle, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, &required);
}

static HRESULT create_or_change(SC_HANDLE manager, const WCHAR *command)
{
	SC_HANDLE handle = CreateServiceW(manager, UMBRA_SERVICE_NAME, UMBRA_SERVICE_DISPLAY,
		SERVICE_ALL_ACCESS, SERVICE_WIN32_OWN_PROCESS, SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL,
		command, NULL, NULL, L"rpcss\0", NULL, NULL);
	HRESULT hr = S_OK;

	if (!handle && GetLastError() == ERROR_SERVICE_EXISTS) {
		handle = OpenServiceW(manager, UMBRA_SERVICE_NAME, SERVICE_ALL_ACCESS);
		if (handle) {
			stop(handle);
			if (!ChangeServiceConfigW(handle, SERVICE_WIN32_OWN_PROCESS, SERVICE_DEMAND_START,
				    SERVICE_ERROR_NORMAL, command, NULL, NULL, NULL, NULL, NULL,
				    UMBRA_SERVICE_DISPLAY))
				hr = last_error();
		}
	}
	if (!handle)
		return last_error();
	harden(handle);
	CloseServiceHandle(handle);
	return hr;
}

HRESULT setup_service_create(const WCHAR *program)
{
	WCHAR command[COMMAND_CHARS];
	int length = _snwprintf(command, COMMAND_CHARS, L"\"%ls\" run", program);

	if (length < 0 || length >= COMMAND_CHARS)
		return HRESULT_FROM_WIN32(ERROR_FILENAME_EXCED_RANGE);
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE);
	if (!manager)
		return last_error();
	HRESULT hr = create_or_change(manager, command);
	CloseServiceHandle(manager);
	return hr;
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
		stop(handle);
		if (!DeleteService(handle) && GetLastError() != ERROR_SERVICE_MARKED_FOR_DELETE)
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
