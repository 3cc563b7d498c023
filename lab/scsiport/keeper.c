/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-keeper.exe: makes a prefix a lab host, then stays: Wine ends services and drivers with the last
 * program.
 *
 *   umbra-lab-keeper.exe READY PORT[,PORT...] DRIVER [--proxy-stub DLL] [--coordinator EXE] [--volume D=1,2] [--setting NAME=N]
 *
 * Registers the proxy-stub and the coordinator, writes settings and volumes, installs and starts the driver (an adapter for
 * each bridge's port), waits until it has scanned, writes "ok" or what failed into the file READY, and sleeps.
 */
#include <windows.h>
#include <winioctl.h>
#include <ntddscsi.h>
#include <stdarg.h>
#include <stdio.h>
#include <wchar.h>

#define SERVICE     L"UmbraLabScsi"
#define PARAMETERS  L"SYSTEM\\CurrentControlSet\\Services\\" SERVICE L"\\Parameters"
#define LAB_KEY     L"Software\\Umbra\\Lab"
#define COORDINATOR L"Software\\Classes\\CLSID\\{E579AB5F-1CC4-44B4-BED9-DE0991FF0623}"

enum {
	SCAN_TRIES = 1500,
	SCAN_PAUSE_MS = 100,
	SERVICE_TRIES = 300,
	SERVICE_PAUSE_MS = 500
};

static const wchar_t *ready_path;

static void report(const char *text)
{
	wchar_t tmp[MAX_PATH];
	FILE *f;

	_snwprintf(tmp, MAX_PATH, L"%ls.new", ready_path);
	tmp[MAX_PATH - 1] = 0;
	f = _wfopen(tmp, L"w");
	if (!f)
		return;
	fprintf(f, "%s\n", text);
	fclose(f);
	MoveFileExW(tmp, ready_path, MOVEFILE_REPLACE_EXISTING);
}

static int fail(const char *what, DWORD code)
{
	char text[200];

	snprintf(text, sizeof(text), "%s failed: error %lu", what, code);
	report(text);
	return 1;
}

static DWORD set_value(
	const wchar_t *key_path, const wchar_t *name, DWORD type, const void *data, DWORD bytes)
{
	HKEY key;
	DWORD err = RegCreateKeyExW(HKEY_LOCAL_MACHINE, key_path, 0, NULL, 0, KEY_WRITE, NULL, &key, NULL);

	if (err)
		return err;
	err = RegSetValueExW(key, name, 0, type, data, bytes);
	RegCloseKey(key);
	return err;
}

static DWORD start_service(const wchar_t *path)
{
	SC_HANDLE manager, service;
	DWORD err = 0;

	manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
	if (!manager)
		return GetLastError();
	service = OpenServiceW(manager, SERVICE, SERVICE_ALL_ACCESS);
	if (!service)
		service = CreateServiceW(manager, SERVICE, SERVICE, SERVICE_ALL_ACCESS, SERVICE_KERNEL_DRIVER,
			SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, path, NULL, NULL, NULL, NULL, NULL);
	if (!service || (!StartServiceW(service, 0, NULL) && GetLastError() != ERROR_SERVICE_ALREADY_RUNNING))
		err = GetLastError();
	if (service)
		CloseServiceHandle(service);
	CloseServiceHandle(manager);
	return err;
}

/* Wine's service manager is a process that has only begun; on a busy machine it is late, now and then. */
static DWORD start_driver(const wchar_t *driver)
{
	wchar_t path[MAX_PATH];
	DWORD err = 0;

	if (!GetSystemDirectoryW(path, MAX_PATH - 40))
		return GetLastError();
	wcsncat(path, L"\\drivers\\umbra-lab-scsi.sys", MAX_PATH - wcslen(path) - 1);
	DeleteFileW(path);
	if (!CopyFileW(driver, path, FALSE))
		return GetLastError();
	for (int i = 0; i < SERVICE_TRIES; i++) {
		err = start_service(path);
		if (err != RPC_S_SERVER_UNAVAILABLE && err != RPC_S_CALL_FAILED &&
			err != ERROR_SERVICE_REQUEST_TIMEOUT)
			break;
		Sleep(SERVICE_PAUSE_MS);
	}
	return err;
}

/* The first login may take a while; the driver reports NOT_CONNECTED until the bridge has scanned. */
static DWORD first_scan(unsigned int adapter)
{
	wchar_t name[32];
	DWORD err = 0, bytes;

	_snwprintf(name, 32, L"\\\\.\\Scsi%u:", adapter);

	for (int i = 0; i < SCAN_TRIES; i++) {
		HANDLE port = CreateFileW(name, GENERIC_READ | GENERIC_WRITE,
			FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);

		if (port != INVALID_HANDLE_VALUE) {
			err = DeviceIoControl(port, IOCTL_SCSI_RESCAN_BUS, NULL, 0, NULL, 0, &bytes, NULL)
				      ? 0
				      : GetLastError();
			CloseHandle(port);
			if (!err)
				return 0;
		} else {
			err = GetLastError();
		}
		Sleep(SCAN_PAUSE_MS);
	}
	return err;
}

static DWORD register_proxy_stub(const wchar_t *dll)
{
	HMODULE module = LoadLibraryW(dll);
	HRESULT(WINAPI * entry)(void);

	if (!module)
		return GetLastError();
	entry = (HRESULT(WINAPI *)(void))(void *)GetProcAddress(module, "DllRegisterServer");
	return entry ? (DWORD)entry() : ERROR_PROC_NOT_FOUND;
}

static DWORD register_coordinator(const wchar_t *exe)
{
	wchar_t quoted[MAX_PATH + 4];
	int len = _snwprintf(quoted, MAX_PATH + 4, L"\"%ls\"", exe);

	if (len < 0 || len >= MAX_PATH + 4)
		return ERROR_FILENAME_EXCED_RANGE;
	return set_value(COORDINATOR L"\\LocalServer32", NULL, REG_SZ, quoted,
		(DWORD)((size_t)(len + 1) * sizeof(wchar_t)));
}

/* "HoldPort=4000": a number among the coordinator's settings. */
static DWORD write_setting(const wchar_t *text)
{
	wchar_t name[40];
	const wchar_t *equals = wcschr(text, L'=');
	DWORD value;

	if (!equals || equals == text || equals - text >= 40)
		return ERROR_INVALID_PARAMETER;
	wcsncpy(name, text, (size_t)(equals - text));
	name[equals - text] = 0;
	value = wcstoul(equals + 1, NULL, 10);
	return set_value(LAB_KEY, name, REG_DWORD, &value, sizeof(value));
}

/* "D=1,2": the LUNs of a drive, for vssapi.dll and the driver. */
static DWORD write_volume(const wchar_t *text)
{
	wchar_t name[2] = {text[0], 0};

	if (!text[0] || text[1] != L'=')
		return ERROR_INVALID_PARAMETER;
	return set_value(LAB_KEY L"\\Volumes", name, REG_SZ, text + 2,
		(DWORD)((wcslen(text + 2) + 1) * sizeof(wchar_t)));
}

static int prepare(int argc, wchar_t **argv)
{
	static const struct {
		const wchar_t *name;
		DWORD (*apply)(const wchar_t *value);
		const char *what;
	} options[] = {{L"--proxy-stub", register_proxy_stub, "registering the proxy-stub"},
		{L"--coordinator", register_coordinator, "registering the coordinator"},
		{L"--volume", write_volume, "writing the volumes"},
		{L"--setting", write_setting, "writing the coordinator's settings"}};

	for (int i = 0; i < argc; i += 2) {
		DWORD err = ERROR_INVALID_PARAMETER;
		size_t k = 0;

		while (k < sizeof(options) / sizeof(options[0]) && wcscmp(argv[i], options[k].name) != 0)
			k++;
		if (k == sizeof(options) / sizeof(options[0]) || i + 1 >= argc)
			return fail("reading the options", err);
		err = options[k].apply(argv[i + 1]);
		if (err)
			return fail(options[k].what, err);
	}
	return 0;
}

/* BridgePort0, BridgePort1, … and no more than there are now. */
static DWORD set_ports(const wchar_t *list, unsigned int *count)
{
	wchar_t name[] = L"BridgePort0";
	DWORD err = 0;

	*count = 0;
	RegDeleteTreeW(HKEY_LOCAL_MACHINE, PARAMETERS);
	while (*list && *count < 4 && !err) {
		wchar_t *end;
		DWORD port = wcstoul(list, &end, 10);

		name[10] = (wchar_t)(L'0' + (*count)++);
		err = set_value(PARAMETERS, name, REG_DWORD, &port, sizeof(port));
		list = *end == L',' ? end + 1 : end;
		if (*end && *end != L',')
			err = ERROR_INVALID_PARAMETER;
	}
	return *count ? err : ERROR_INVALID_PARAMETER;
}

int wmain(int argc, wchar_t **argv); /* the entry point: no header declares it */

int wmain(int argc, wchar_t **argv)
{
	unsigned int adapters;
	DWORD err;

	if (argc < 4) {
		fprintf(stderr, "usage: umbra-lab-keeper.exe READY PORT DRIVER [options]\n");
		return 2;
	}
	ready_path = argv[1];
	RegDeleteTreeW(HKEY_LOCAL_MACHINE, LAB_KEY L"\\Volumes");
	if (prepare(argc - 4, argv + 4) != 0) /* the driver looks at the volumes and settings, too */
		return 1;
	err = set_ports(argv[2], &adapters);
	if (err)
		return fail("writing the driver's parameters", err);
	err = start_driver(argv[3]);
	if (err)
		return fail("starting the SCSI port driver", err);
	for (unsigned int i = 0; i < adapters && !err; i++)
		err = first_scan(i);
	if (err)
		return fail("the first scan of the SCSI port (is the target reachable?)", err);
	report("ok");
	Sleep(INFINITE);
	return 0;
}
