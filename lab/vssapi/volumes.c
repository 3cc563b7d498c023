/* SPDX-License-Identifier: Apache-2.0 */
/* Which LUNs a drive lies on: HKLM\Software\Umbra\Lab\Volumes, a string a letter, "1,2". Volume names are Wine's: the
 * letter's ASCII code in the GUID's last byte. Besides them those of lab_components.h. */
#include "lab/vssapi/vssapi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define VOLUMES_KEY   L"Software\\Umbra\\Lab\\Volumes"
#define VOLUME_FORMAT L"\\\\?\\Volume{00000000-0000-0000-0000-0000000000%02x}\\"

/* The letter in upper case, or 0. The backslash at the end is a must, as for VSS. */
static wchar_t letter_of(const wchar_t *text)
{
	size_t chars = wcslen(text);
	wchar_t name[VOLUME_CHARS];
	wchar_t letter = (wchar_t)(text[0] & ~0x20);
	if (chars == 3 && letter >= L'A' && letter <= L'Z' && text[1] == L':' && text[2] == L'\\')
		return letter;
	for (letter = L'A'; letter <= L'Z'; letter++) {
		swprintf(name, VOLUME_CHARS, VOLUME_FORMAT, (unsigned)letter);
		if (_wcsicmp(name, text) == 0)
			return letter;
	}
	return 0;
}

static HRESULT read_luns(const wchar_t *list, struct volume *out)
{
	while (*list) {
		wchar_t *end;
		unsigned long number = wcstoul(list, &end, 10);
		if (end == list || (*end && *end != L',') || number > 255 || out->count == VOLUME_LUNS_MAX)
			return VSS_E_UNEXPECTED;
		out->own[out->count++] = (LAB_VOLUME_LUN){.number = (LONG)number};
		list = *end ? end + 1 : end;
	}
	return out->count ? S_OK : VSS_E_UNEXPECTED;
}

/* Volume n of what was tuned: its LUNs follow each other there. */
static HRESULT find_tuned(LONG n, const LAB_CREATE *tuned, struct volume *out)
{
	swprintf(out->name, VOLUME_CHARS, LAB_VOLUME_NAME, (long)n);
	for (ULONG i = 0; i < tuned->count; i++) {
		if (tuned->luns[i].volume != n)
			continue;
		if (!out->count++)
			out->luns = &tuned->luns[i];
	}
	return out->count ? S_OK : VSS_E_OBJECT_NOT_FOUND;
}

HRESULT volume_find(const wchar_t *text, const LAB_CREATE *tuned, struct volume *out)
{
	long n;
	wchar_t letter = text ? letter_of(text) : 0;
	wchar_t value[2] = {letter, 0}, root[] = L"?:\\", list[128];
	DWORD bytes = sizeof list;
	memset(out, 0, sizeof *out);
	out->luns = out->own;
	if (!text)
		return E_INVALIDARG;
	if (tuned && swscanf(text, LAB_VOLUME_NAME, &n) == 1)
		return find_tuned((LONG)n, tuned, out);
	if (!letter)
		return VSS_E_OBJECT_NOT_FOUND;
	swprintf(out->name, VOLUME_CHARS, VOLUME_FORMAT, (unsigned)letter);
	LSTATUS rc = RegGetValueW(HKEY_LOCAL_MACHINE, VOLUMES_KEY, value, RRF_RT_REG_SZ, NULL, list, &bytes);
	if (rc == ERROR_SUCCESS)
		return read_luns(list, out);
	root[0] = letter;
	return GetDriveTypeW(root) == DRIVE_NO_ROOT_DIR ? VSS_E_OBJECT_NOT_FOUND : S_OK;
}
