/* SPDX-License-Identifier: Apache-2.0 */
/* See settings.h. */
#include "lab/coordinator/settings.h"

#include <stdio.h>
#include <wchar.h>

DWORD settings_dword(const wchar_t *name, DWORD otherwise)
{
	DWORD value = 0, bytes = sizeof value;
	if (RegGetValueW(HKEY_LOCAL_MACHINE, LAB_KEY, name, RRF_RT_REG_DWORD, NULL, &value, &bytes) !=
		ERROR_SUCCESS)
		return otherwise;
	return value;
}

BOOL settings_state_dir(wchar_t *out, size_t chars)
{
	DWORD bytes = (DWORD)(chars * sizeof *out);
	if (RegGetValueW(HKEY_LOCAL_MACHINE, LAB_KEY, L"StateDir", RRF_RT_REG_SZ, NULL, out, &bytes) !=
		ERROR_SUCCESS) {
		wchar_t base[MAX_PATH];
		DWORD got = GetEnvironmentVariableW(L"ProgramData", base, MAX_PATH);
		if (got == 0 || got >= MAX_PATH)
			wcscpy_s(base, MAX_PATH, L"C:\\ProgramData");
		_snwprintf(out, chars, L"%ls\\umbra-lab", base);
		out[chars - 1] = 0;
	}
	return CreateDirectoryW(out, NULL) || GetLastError() == ERROR_ALREADY_EXISTS;
}
