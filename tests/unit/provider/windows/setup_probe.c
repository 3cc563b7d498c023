/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What set-up has left in Windows, one a line: "NAME\tVALUE", or "NAME\t-" for what is not there. Keys are told with their
 * access list, the service with all that the service manager tells of it. "--start N" and "--command TEXT" change the
 * service first, as an administrator does by hand. "--hold FILE" does nothing of that: it holds the service open, makes FILE,
 * and ends when that is gone, as the Services console would. "--not-elevated COMMAND" runs it as an administrator does from an
 * ordinary prompt: the group of administrators is in its token for denial only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>
#include <windows.h>
#include <sddl.h>
#include "provider/ids.h"

static void tell_key(const char *name, const WCHAR *path)
{
	static union {
		SECURITY_DESCRIPTOR sd;
		BYTE bytes[4096];
	} u;
	DWORD size = sizeof(u);
	WCHAR *text = NULL;
	HKEY key;

	if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, path, 0, READ_CONTROL, &key) != ERROR_SUCCESS) {
		printf("%s\t-\n", name);
		return;
	}
	if (RegGetKeySecurity(key, DACL_SECURITY_INFORMATION, &u.sd, &size) == ERROR_SUCCESS)
		ConvertSecurityDescriptorToStringSecurityDescriptorW(
			&u.sd, SDDL_REVISION_1, DACL_SECURITY_INFORMATION, &text, NULL);
	printf("%s\t%ls\n", name, text ? text : L"no access list");
	LocalFree(text);
	RegCloseKey(key);
}

static void tell_value(const char *name, const WCHAR *path, const WCHAR *value)
{
	WCHAR text[1024] = L"-";
	DWORD size = sizeof(text);

	if (RegGetValueW(HKEY_LOCAL_MACHINE, path, value, RRF_RT_REG_SZ, NULL, text, &size) != ERROR_SUCCESS)
		wcscpy_s(text, 1024, L"-");
	printf("%s\t%ls\n", name, text);
}

static union {
	QUERY_SERVICE_CONFIGW config;
	SERVICE_DESCRIPTIONW about;
	SERVICE_SID_INFO sid;
	SERVICE_REQUIRED_PRIVILEGES_INFOW required;
	SERVICE_FAILURE_ACTIONSW failure;
	BYTE bytes[8192];
} query;

static BOOL ask(SC_HANDLE service, DWORD level)
{
	DWORD needed;

	ZeroMemory(&query, sizeof(query));
	return QueryServiceConfig2W(service, level, query.bytes, sizeof(query), &needed);
}

static void tell_hardening(SC_HANDLE service)
{
	if (ask(service, SERVICE_CONFIG_DESCRIPTION) && query.about.lpDescription)
		printf("about\t%ls\n", query.about.lpDescription);
	if (ask(service, SERVICE_CONFIG_SERVICE_SID_INFO))
		printf("sid\t%lu\n", query.sid.dwServiceSidType);
	if (ask(service, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO)) {
		printf("privileges\t");
		for (WCHAR *p = query.required.pmszRequiredPrivileges; p && *p; p += wcslen(p) + 1)
			printf("%ls ", p);
		printf("\n");
	}
	if (ask(service, SERVICE_CONFIG_FAILURE_ACTIONS)) {
		printf("failure\t");
		for (DWORD i = 0; i < query.failure.cActions; i++)
			printf("%d/%lu ", query.failure.lpsaActions[i].Type,
				query.failure.lpsaActions[i].Delay);
		printf("\n");
	}
}

static void tell_service(void)
{
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE service = OpenServiceW(manager, UMBRA_SERVICE_NAME, SERVICE_QUERY_CONFIG);
	DWORD needed;

	if (!service) {
		printf("service\t-\n");
	} else if (QueryServiceConfigW(service, &query.config, sizeof(query), &needed)) {
		printf("service\t%ls\nstart\t%lu\naccount\t%ls\n", query.config.lpBinaryPathName,
			query.config.dwStartType, query.config.lpServiceStartName);
		tell_hardening(service);
		CloseServiceHandle(service);
	}
	CloseServiceHandle(manager);
}

static int change_service(int argc, WCHAR **argv)
{
	DWORD start = SERVICE_NO_CHANGE;
	WCHAR *command = NULL;
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE service = OpenServiceW(manager, UMBRA_SERVICE_NAME, SERVICE_CHANGE_CONFIG);

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!wcscmp(argv[i], L"--start"))
			start = wcstoul(argv[i + 1], NULL, 10);
		else if (!wcscmp(argv[i], L"--command"))
			command = argv[i + 1];
	}
	BOOL changed = ChangeServiceConfigW(service, SERVICE_NO_CHANGE, start, SERVICE_NO_CHANGE, command,
		NULL, NULL, NULL, NULL, NULL, NULL);
	CloseServiceHandle(service);
	CloseServiceHandle(manager);
	return changed ? 0 : 1;
}

static int hold_service(const WCHAR *file)
{
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE service = OpenServiceW(manager, UMBRA_SERVICE_NAME, SERVICE_QUERY_STATUS);
	HANDLE made = service ? CreateFileW(file, GENERIC_WRITE, FILE_SHARE_DELETE, NULL, CREATE_NEW, 0, NULL)
			      : INVALID_HANDLE_VALUE;

	if (made == INVALID_HANDLE_VALUE)
		return 1;
	CloseHandle(made);
	while (GetFileAttributesW(file) != INVALID_FILE_ATTRIBUTES)
		Sleep(50);
	CloseServiceHandle(service);
	CloseServiceHandle(manager);
	return 0;
}

static int run_not_elevated(WCHAR *command)
{
	BYTE sid[SECURITY_MAX_SID_SIZE];
	DWORD size = sizeof(sid), code = 1;
	SID_AND_ATTRIBUTES administrators = {.Sid = sid};
	STARTUPINFOW start = {.cb = sizeof(start)};
	PROCESS_INFORMATION process;
	HANDLE token, less;

	if (!CreateWellKnownSid(WinBuiltinAdministratorsSid, NULL, sid, &size) ||
		!OpenProcessToken(GetCurrentProcess(), MAXIMUM_ALLOWED, &token) ||
		!CreateRestrictedToken(token, 0, 1, &administrators, 0, NULL, 0, NULL, &less) ||
		!CreateProcessAsUserW(
			less, NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process)) {
		printf("error %lu\n", (unsigned long)GetLastError());
		return 99;
	}
	WaitForSingleObject(process.hProcess, INFINITE);
	GetExitCodeProcess(process.hProcess, &code);
	return (int)code;
}

int wmain(int argc, WCHAR **argv); /* what -municode starts */

int wmain(int argc, WCHAR **argv)
{
	if (argc == 3 && !wcscmp(argv[1], L"--hold"))
		return hold_service(argv[2]);
	if (argc == 3 && !wcscmp(argv[1], L"--not-elevated"))
		return run_not_elevated(argv[2]);
	if (argc > 1 && change_service(argc, argv) != 0)
		return 1;
	tell_key("clsid", UMBRA_KEY_CLSID);
	tell_key("appid", UMBRA_KEY_APPID);
	tell_key("settings", UMBRA_KEY_SETTINGS);
	tell_key("vendor", UMBRA_KEY_VENDOR);
	tell_key("events", UMBRA_KEY_EVENTS);
	tell_value("event file", UMBRA_KEY_EVENTS, L"EventMessageFile");
	tell_service();
	return 0;
}
