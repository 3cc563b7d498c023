/* SPDX-License-Identifier: Apache-2.0 */
/* See copy_book.h. */
#include "provider/copy_book.h"

#include <stdlib.h>
#include <string.h>
#include <objbase.h>
#include "provider/ids.h"
#include "provider/setup_registry.h"

#define GUID_CHARS     39
#define DOCUMENT_BYTES (16u << 20) /* more is no document */

static bool key_of(const GUID *set, WCHAR *out, size_t chars)
{
	WCHAR id[GUID_CHARS];

	return StringFromGUID2(set, id, GUID_CHARS) &&
	       _snwprintf(out, chars, L"%ls\\%ls", UMBRA_KEY_COPIES, id) > 0;
}

static LSTATUS set_value(HKEY key, const WCHAR *name, DWORD type, const void *data, size_t size)
{
	return RegSetValueExW(key, name, 0, type, data, (DWORD)size);
}

static LSTATUS write_entry(HKEY key, const struct book_entry *e)
{
	DWORD exported = e->exported;
	/* One volume behind the other, each with its NUL, and an empty one at the end. */
	WCHAR *names = calloc((size_t)e->count * BOOK_VOLUME_CHARS + 2, sizeof(*names)), *at = names;

	if (!names)
		return ERROR_OUTOFMEMORY;
	for (unsigned i = 0; i < e->count; i++) {
		size_t len = wcslen(e->volumes[i]) + 1;
		wmemcpy(at, e->volumes[i], len);
		at += len;
	}
	LSTATUS status = set_value(
		key, L"Volumes", REG_MULTI_SZ, names, (size_t)(at + 1 + !e->count - names) * sizeof(*names));
	free(names);
	if (status == ERROR_SUCCESS)
		status = set_value(key, L"Label", REG_SZ, e->label, (wcslen(e->label) + 1) * sizeof(WCHAR));
	if (status == ERROR_SUCCESS)
		status = set_value(key, L"Snapshots", REG_BINARY, e->snapshots, e->count * sizeof(GUID));
	if (status == ERROR_SUCCESS)
		status = set_value(key, L"Made", REG_QWORD, &e->made_unix_ms, sizeof(e->made_unix_ms));
	if (status == ERROR_SUCCESS)
		status = set_value(key, L"Exported", REG_DWORD, &exported, sizeof(exported));
	if (status == ERROR_SUCCESS && e->document)
		status = set_value(key, L"Document", REG_BINARY, e->document, SysStringByteLen(e->document));
	return status == ERROR_SUCCESS ? RegFlushKey(key) : status;
}

HRESULT book_write(const GUID *set, const struct book_entry *entry)
{
	WCHAR path[128];
	HKEY key;
	HRESULT hr = S_OK;

	if (!key_of(set, path, 128))
		return E_INVALIDARG;
	if (!registry_exists(UMBRA_KEY_COPIES))
		hr = registry_create(UMBRA_KEY_COPIES);
	if (SUCCEEDED(hr))
		hr = registry_protect(UMBRA_KEY_COPIES); /* hands down to the entries */
	if (FAILED(hr))
		return hr;
	LSTATUS status = RegCreateKeyExW(HKEY_LOCAL_MACHINE, path, 0, NULL, 0,
		KEY_SET_VALUE | KEY_QUERY_VALUE | KEY_WOW64_64KEY, NULL, &key, NULL);
	if (status == ERROR_SUCCESS) {
		status = write_entry(key, entry);
		RegCloseKey(key);
	}
	return HRESULT_FROM_WIN32((DWORD)status);
}

static bool get(HKEY key, const WCHAR *name, DWORD flags, void *out, DWORD *size)
{
	return RegGetValueW(key, NULL, name, flags, NULL, out, size) == ERROR_SUCCESS;
}

/* As many volumes as there are snapshots, or the entry is none. */
static bool read_volumes(HKEY key, struct book_entry *out)
{
	DWORD size = sizeof(out->snapshots), bytes = 0;
	unsigned i = 0;

	if (!get(key, L"Snapshots", RRF_RT_REG_BINARY, out->snapshots, &size) || size % sizeof(GUID))
		return false;
	out->count = (unsigned)(size / sizeof(GUID));
	if (!get(key, L"Volumes", RRF_RT_REG_MULTI_SZ, NULL, &bytes) || bytes > 1u << 16)
		return false;
	WCHAR *names = calloc(1, bytes + 2 * sizeof(WCHAR));
	if (names && get(key, L"Volumes", RRF_RT_REG_MULTI_SZ, names, &bytes))
		for (const WCHAR *at = names; *at && i < out->count; at += wcslen(at) + 1) {
			if (wcslen(at) >= BOOK_VOLUME_CHARS)
				break;
			wcscpy_s(out->volumes[i++], BOOK_VOLUME_CHARS, at);
		}
	free(names);
	return i == out->count;
}

static void read_document(HKEY key, struct book_entry *out)
{
	DWORD bytes = 0;

	if (!get(key, L"Document", RRF_RT_REG_BINARY, NULL, &bytes) || !bytes || bytes > DOCUMENT_BYTES)
		return;
	out->document = SysAllocStringByteLen(NULL, bytes);
	if (out->document && !get(key, L"Document", RRF_RT_REG_BINARY, out->document, &bytes)) {
		SysFreeString(out->document);
		out->document = NULL;
	}
}

bool book_read(const GUID *set, struct book_entry *out)
{
	WCHAR path[128];
	DWORD size, exported = 0;
	HKEY key;

	memset(out, 0, sizeof(*out));
	if (!key_of(set, path, 128) ||
		RegOpenKeyExW(HKEY_LOCAL_MACHINE, path, 0, KEY_READ | KEY_WOW64_64KEY, &key) != ERROR_SUCCESS)
		return false;
	bool good = read_volumes(key, out);
	size = sizeof(out->label);
	good = good && get(key, L"Label", RRF_RT_REG_SZ, out->label, &size);
	size = sizeof(out->made_unix_ms);
	good = good && get(key, L"Made", RRF_RT_REG_QWORD, &out->made_unix_ms, &size);
	size = sizeof(exported);
	out->exported = get(key, L"Exported", RRF_RT_REG_DWORD, &exported, &size) && exported;
	if (good)
		read_document(key, out);
	RegCloseKey(key);
	return good;
}

HRESULT book_forget(const GUID *set)
{
	WCHAR path[128];
	LSTATUS status;

	if (!key_of(set, path, 128))
		return E_INVALIDARG;
	status = RegDeleteKeyExW(HKEY_LOCAL_MACHINE, path, KEY_WOW64_64KEY, 0);
	return status == ERROR_FILE_NOT_FOUND ? S_OK : HRESULT_FROM_WIN32((DWORD)status);
}

unsigned book_list(GUID *sets, unsigned cap)
{
	unsigned count = 0;
	HKEY key;

	if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, UMBRA_KEY_COPIES, 0, KEY_READ | KEY_WOW64_64KEY, &key) !=
		ERROR_SUCCESS)
		return 0;
	for (DWORD i = 0; count < cap; i++) {
		WCHAR name[GUID_CHARS + 1];
		DWORD chars = GUID_CHARS + 1;
		LSTATUS status = RegEnumKeyExW(key, i, name, &chars, NULL, NULL, NULL, NULL);
		if (status == ERROR_MORE_DATA)
			continue;
		if (status != ERROR_SUCCESS)
			break;
		if (CLSIDFromString(name, &sets[count]) == S_OK)
			count++;
	}
	RegCloseKey(key);
	return count;
}

bool book_same_volumes(const struct book_entry *a, const struct book_entry *b)
{
	if (a->count != b->count)
		return false;
	for (unsigned i = 0; i < a->count; i++) {
		unsigned k = 0;
		while (k < b->count && _wcsicmp(a->volumes[i], b->volumes[k]) != 0)
			k++;
		if (k == b->count)
			return false;
	}
	return true;
}
