/* SPDX-License-Identifier: Apache-2.0 */
/* See setup_registry.h. */
#include "provider/setup_registry.h"

#include <sddl.h>
#include "provider/ids.h"

HRESULT registry_set(const WCHAR *key, const WCHAR *name, DWORD type, const void *data, DWORD size)
{
	HKEY handle;
	LSTATUS status = RegCreateKeyExW(
		HKEY_LOCAL_MACHINE, key, 0, NULL, 0, KEY_SET_VALUE | KEY_WOW64_64KEY, NULL, &handle, NULL);

	if (status == ERROR_SUCCESS) {
		if (data)
			status = RegSetValueExW(handle, name, 0, type, data, size);
		RegCloseKey(handle);
	}
	return HRESULT_FROM_WIN32((DWORD)status);
}

HRESULT registry_set_text(const WCHAR *key, const WCHAR *name, DWORD type, const WCHAR *text)
{
	return registry_set(key, name, type, text, (DWORD)((wcslen(text) + 1) * sizeof(WCHAR)));
}

HRESULT registry_create(const WCHAR *key)
{
	return registry_set(key, NULL, REG_NONE, NULL, 0);
}

HRESULT registry_protect(const WCHAR *key)
{
	PSECURITY_DESCRIPTOR sd = NULL;
	HKEY handle;

	if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(UMBRA_KEY_SDDL, SDDL_REVISION_1, &sd, NULL))
		return HRESULT_FROM_WIN32(GetLastError());
	LSTATUS status =
		RegOpenKeyExW(HKEY_LOCAL_MACHINE, key, 0, WRITE_DAC | WRITE_OWNER | KEY_WOW64_64KEY, &handle);
	if (status == ERROR_SUCCESS) {
		status = RegSetKeySecurity(handle,
			OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION |
				PROTECTED_DACL_SECURITY_INFORMATION,
			sd);
		RegCloseKey(handle);
	}
	LocalFree(sd);
	return HRESULT_FROM_WIN32((DWORD)status);
}

bool registry_exists(const WCHAR *key)
{
	HKEY handle;

	if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, key, 0, KEY_READ | KEY_WOW64_64KEY, &handle) != ERROR_SUCCESS)
		return false;
	RegCloseKey(handle);
	return true;
}

HRESULT registry_delete(const WCHAR *key)
{
	LSTATUS status = RegDeleteTreeW(HKEY_LOCAL_MACHINE, key);

	/* RegDeleteTree leaves the key itself on some systems. */
	if (status == ERROR_SUCCESS)
		(void)RegDeleteKeyExW(HKEY_LOCAL_MACHINE, key, KEY_WOW64_64KEY, 0);
	return status == ERROR_FILE_NOT_FOUND ? S_OK : HRESULT_FROM_WIN32((DWORD)status);
}

HRESULT registry_delete_empty(const WCHAR *key)
{
	DWORD keys = 0, values = 0;
	HKEY handle;

	if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, key, 0, KEY_READ | KEY_WOW64_64KEY, &handle) != ERROR_SUCCESS)
		return S_OK;
	LSTATUS status = RegQueryInfoKeyW(
		handle, NULL, NULL, NULL, &keys, NULL, NULL, &values, NULL, NULL, NULL, NULL);
	RegCloseKey(handle);
	if (status == ERROR_SUCCESS && !keys && !values)
		status = RegDeleteKeyExW(HKEY_LOCAL_MACHINE, key, KEY_WOW64_64KEY, 0);
	return HRESULT_FROM_WIN32((DWORD)status);
}
