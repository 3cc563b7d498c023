/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writers that are told of and nothing else: HKLM\Software\Umbra\Lab\Writers, a string a writer. Its value says how it
 * fares: "" (stable), or when it fails and with what: "prepare 0x800423f3", "freeze 0x800423f4". They have a state and no
 * metadata: what names a component of theirs is VSS_E_OBJECT_NOT_FOUND.
 */
#include "lab/vssapi/writers.h"

#include <stdbool.h>
#include <wchar.h>

#define WRITERS_KEY L"Software\\Umbra\\Lab\\Writers"
#define NAME_CHARS  96

struct writer {
	wchar_t name[NAME_CHARS], fate[NAME_CHARS];
};

static bool read_writer(DWORD index, struct writer *out)
{
	DWORD chars = NAME_CHARS, bytes = sizeof out->fate, type;
	HKEY key;
	if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, WRITERS_KEY, 0, KEY_READ, &key) != ERROR_SUCCESS)
		return false;
	LSTATUS status = RegEnumValueW(key, index, out->name, &chars, NULL, &type, (BYTE *)out->fate, &bytes);
	RegCloseKey(key);
	out->fate[NAME_CHARS - 1] = 0;
	return status == ERROR_SUCCESS && type == REG_SZ;
}

UINT writers_count(void)
{
	struct writer w;
	UINT count = 0;
	while (read_writer(count, &w))
		count++;
	return count;
}

/* "prepare 0x…": from PrepareForBackup on; "freeze 0x…": from DoSnapshotSet on. */
static void fate_of(
	const struct components *x, const wchar_t *fate, VSS_WRITER_STATE *state, HRESULT *failure)
{
	bool at_prepare = wcsncmp(fate, L"prepare ", 8) == 0, at_freeze = wcsncmp(fate, L"freeze ", 7) == 0;
	*state = x->completed ? VSS_WS_STABLE : x->done ? VSS_WS_WAITING_FOR_BACKUP_COMPLETE : VSS_WS_STABLE;
	*failure = S_OK;
	if ((at_prepare && x->prepared) || (at_freeze && x->done)) {
		*state = at_prepare ? VSS_WS_FAILED_AT_PREPARE_BACKUP : VSS_WS_FAILED_AT_FREEZE;
		*failure = (HRESULT)wcstoul(fate + (at_prepare ? 8 : 7), NULL, 16);
	}
}

HRESULT STDMETHODCALLTYPE writers_status(Components *iface, UINT index, VSS_ID *instance, VSS_ID *id,
	BSTR *name, VSS_WRITER_STATE *state, HRESULT *failure)
{
	struct components *x = CONTAINING_RECORD(iface, struct components, IVssBackupComponentsEx4_iface);
	struct writer w;
	if (!instance || !id || !name || !state || !failure)
		return E_POINTER;
	*name = NULL;
	if (!x->status_gathered)
		return VSS_E_BAD_STATE;
	if (!read_writer(index, &w))
		return VSS_E_OBJECT_NOT_FOUND;
	*instance = *id = (GUID){.Data1 = 0x57524954, .Data4 = {0, 0, 0, 0, 0, 0, 0, (unsigned char)index}};
	fate_of(x, w.fate, state, failure);
	*name = SysAllocString(w.name);
	return *name ? S_OK : E_OUTOFMEMORY;
}
