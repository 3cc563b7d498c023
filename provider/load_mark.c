/* SPDX-License-Identifier: Apache-2.0 */
/* See load_mark.h. */
#include "provider/load_mark.h"

#include "provider/ids.h"

static SRWLOCK lock = SRWLOCK_INIT;
/* Under the lock: how often, and by which process of VSS. */
static unsigned loads;
static DWORD loaded_by;

/* The process of a service that runs; *told: the service manager knows the service. */
static DWORD process_of(const WCHAR *name, bool *told)
{
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE service = manager ? OpenServiceW(manager, name, SERVICE_QUERY_STATUS) : NULL;
	SERVICE_STATUS_PROCESS s = {.dwProcessId = 0};
	DWORD needed;

	*told = service &&
		QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)&s, sizeof(s), &needed);
	if (service)
		CloseServiceHandle(service);
	if (manager)
		CloseServiceHandle(manager);
	return *told && s.dwCurrentState != SERVICE_STOPPED ? s.dwProcessId : 0;
}

/* A service manager may not have noticed that the process has ended. */
static bool has_ended(DWORD id)
{
	HANDLE process = OpenProcess(SYNCHRONIZE, FALSE, id);
	bool ended = process ? WaitForSingleObject(process, 0) == WAIT_OBJECT_0
			     : GetLastError() == ERROR_INVALID_PARAMETER; /* there is none */

	if (process)
		CloseHandle(process);
	return ended;
}

static void set_mark(const struct load_mark *mark)
{
	HKEY key;

	if (RegCreateKeyExW(HKEY_LOCAL_MACHINE, UMBRA_KEY_LOADED, 0, NULL, REG_OPTION_VOLATILE,
		    KEY_SET_VALUE | KEY_WOW64_64KEY, NULL, &key, NULL) != ERROR_SUCCESS)
		return;
	(void)RegSetValueExW(
		key, L"Process", 0, REG_DWORD, (const BYTE *)&mark->provider, sizeof(mark->provider));
	(void)RegSetValueExW(key, L"VSS", 0, REG_DWORD, (const BYTE *)&mark->vss, sizeof(mark->vss));
	RegCloseKey(key);
}

static bool get_value(const WCHAR *name, DWORD *value)
{
	DWORD size = sizeof(*value);

	return RegGetValueW(HKEY_LOCAL_MACHINE, UMBRA_KEY_LOADED, name, RRF_RT_REG_DWORD, NULL, value,
		       &size) == ERROR_SUCCESS;
}

void load_mark_begin(void)
{
	struct load_mark mark = {.provider = GetCurrentProcessId()};
	bool told;

	mark.vss = process_of(L"VSS", &told);
	AcquireSRWLockExclusive(&lock);
	if (mark.vss != loaded_by)
		loads = 0; /* the one before has ended without OnUnload */
	loaded_by = mark.vss;
	loads++;
	set_mark(&mark);
	ReleaseSRWLockExclusive(&lock);
}

void load_mark_end(void)
{
	AcquireSRWLockExclusive(&lock);
	if (loads && !--loads)
		(void)RegDeleteKeyExW(HKEY_LOCAL_MACHINE, UMBRA_KEY_LOADED, KEY_WOW64_64KEY, 0);
	ReleaseSRWLockExclusive(&lock);
}

bool load_mark_is_loaded(void)
{
	AcquireSRWLockShared(&lock);
	bool loaded = loads > 0;
	ReleaseSRWLockShared(&lock);
	return loaded;
}

bool load_mark_judge(const struct load_mark *mark, const struct load_mark *now, bool vss_is_told)
{
	if (!mark->provider || mark->provider == now->provider)
		return false;
	/* Another VSS, or none, has let go of all that the one before had. */
	return !vss_is_told || (now->vss && (!mark->vss || mark->vss == now->vss));
}

bool load_mark_is_dead(void)
{
	struct load_mark mark = {0}, now = {0};
	bool told, vss_is_told;

	if (!get_value(L"Process", &mark.provider) || !get_value(L"VSS", &mark.vss))
		return false;
	now.vss = process_of(L"VSS", &vss_is_told);
	now.provider = process_of(UMBRA_SERVICE_NAME, &told);
	if (now.provider && has_ended(now.provider))
		now.provider = 0;
	return load_mark_judge(&mark, &now, vss_is_told);
}
