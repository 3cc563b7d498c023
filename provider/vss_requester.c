/* SPDX-License-Identifier: Apache-2.0 */
/* See vss_requester.h. */
#include "provider/vss_requester.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "provider/com_security.h"
#include "provider/refusal.h"
#include "provider/setup.h"

#define SLICE_MS       50
#define OPERATION_MS   (15 * 60 * 1000) /* VSS itself gives writers and providers up long before */
#define CANCELLED_MS   (5 * 60 * 1000)  /* a cancelled operation has ended then, or never will */
#define DOCUMENT_BYTES (16u << 20)

static struct {
	HMODULE dll;
	HRESULT(WINAPI *create)(IVssBackupComponents **out);
	void(WINAPI *free_properties)(VSS_SNAPSHOT_PROP *prop);
	HANDLE stop, ended; /* Ctrl+C; all is put in order */
	bool has_com;
} requester;

/* On a thread of the system's. Windows ends the process when it returns from all but Ctrl+C and Ctrl+Break. */
static BOOL WINAPI on_stop(DWORD type)
{
	SetEvent(requester.stop);
	if (type != CTRL_C_EVENT && type != CTRL_BREAK_EVENT)
		WaitForSingleObject(requester.ended, INFINITE);
	return TRUE;
}

static FARPROC find(const char *plain, const char *mangled)
{
	FARPROC found = GetProcAddress(requester.dll, plain);

	return found ? found : GetProcAddress(requester.dll, mangled);
}

static bool load(void)
{
	requester.dll = LoadLibraryExW(L"vssapi.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
	if (!requester.dll)
		return false;
	requester.create =
		(HRESULT(WINAPI *)(IVssBackupComponents **))(void *)find("CreateVssBackupComponentsInternal",
			"?CreateVssBackupComponents@@YAJPEAPEAVIVssBackupComponents@@@Z");
	requester.free_properties = (void(WINAPI *)(VSS_SNAPSHOT_PROP *))(void *)find(
		"VssFreeSnapshotPropertiesInternal", "VssFreeSnapshotProperties");
	return requester.create && requester.free_properties;
}

bool requester_begin(void)
{
	memset(&requester, 0, sizeof(requester));
	requester.stop = CreateEventW(NULL, TRUE, FALSE, NULL);
	requester.ended = CreateEventW(NULL, TRUE, FALSE, NULL);
	HRESULT hr = requester.stop && requester.ended
			     ? CoInitializeEx(NULL, COINIT_MULTITHREADED | COINIT_DISABLE_OLE1DDE)
			     : E_OUTOFMEMORY;
	requester.has_com = SUCCEEDED(hr);
	if (SUCCEEDED(hr))
		hr = com_security_client();
	if (FAILED(hr)) {
		requester_complain("COM", hr);
		return false;
	}
	if (!load()) {
		refusal_say(
			"vssapi.dll cannot be used (error %lu): this Windows has no Volume Shadow Copy service, or "
			"it is damaged.",
			(unsigned long)GetLastError());
		return false;
	}
	SetConsoleCtrlHandler(on_stop, TRUE);
	return true;
}

void requester_end(void)
{
	if (requester.has_com)
		CoUninitialize();
	requester.has_com = false;
	fflush(stdout);
	fflush(stderr);
	if (requester.ended)
		SetEvent(requester.ended); /* stays open: on_stop may wait for it */
}

bool requester_stopped(void)
{
	return WaitForSingleObject(requester.stop, 0) == WAIT_OBJECT_0;
}

HRESULT requester_open(BSTR document, LONG context, IVssBackupComponents **out)
{
	IVssBackupComponents *x = NULL;
	HRESULT hr = requester.create(&x);

	*out = NULL;
	if (FAILED(hr) || !x)
		return FAILED(hr) ? hr : E_FAIL;
	hr = IVssBackupComponents_InitializeForBackup(x, document);
	if (SUCCEEDED(hr))
		hr = IVssBackupComponents_SetContext(x, context);
	if (FAILED(hr))
		IVssBackupComponents_Release(x);
	else
		*out = x;
	return FAILED(hr) ? hr : S_OK;
}

/* How it ended; VSS_S_ASYNC_PENDING: it has not. */
static HRESULT status_of(IVssAsync *async)
{
	HRESULT status = VSS_S_ASYNC_PENDING, hr = IVssAsync_QueryStatus(async, &status, NULL);

	return FAILED(hr) ? hr : status;
}

static HRESULT wait_for(IVssAsync *async, enum requester_patience patience)
{
	ULONGLONG begun = GetTickCount64(), limit = OPERATION_MS;
	bool cancels = patience == REQUESTER_CANCELS, cancelled = false;

	for (;;) {
		HRESULT status = status_of(async);
		ULONGLONG passed = GetTickCount64() - begun;
		if (status == VSS_S_ASYNC_FINISHED)
			return S_OK;
		if (status == VSS_S_ASYNC_CANCELLED)
			return REQUESTER_STOPPED;
		if (status != VSS_S_ASYNC_PENDING) /* a code of success besides these is a failure in part */
			return FAILED(status) ? status
			       : status == VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED
				       ? VSS_E_SOME_SNAPSHOTS_NOT_IMPORTED
				       : S_OK;
		if (passed > limit && (cancelled || patience == REQUESTER_BOUNDED))
			return HRESULT_FROM_WIN32(ERROR_TIMEOUT);
		if (!cancelled && cancels && (passed > limit || requester_stopped())) {
			cancelled = true;
			limit = passed + CANCELLED_MS;
			IVssAsync_Cancel(async);
			continue;
		}
		IVssAsync_Wait(async, SLICE_MS); /* tells only of the waiting, and some ignore the time */
	}
}

HRESULT requester_wait(HRESULT hr, IVssAsync *async, enum requester_patience patience)
{
	if (FAILED(hr) || !async)
		return FAILED(hr) ? hr : E_UNEXPECTED;
	hr = wait_for(async, patience);
	IVssAsync_Release(async);
	return hr;
}

/* ---- what there is ------------------------------------------------------------------------------------ */

static WCHAR *copy_of(const WCHAR *text)
{
	return _wcsdup(text ? text : L"");
}

static bool take(struct shadow_list *list, const VSS_SNAPSHOT_PROP *p)
{
	struct shadow_copy *items = realloc(
		list->items, (list->count + 1) * sizeof(*items)); /* VSS keeps at most some hundreds */

	if (!items)
		return false;
	list->items = items;
	struct shadow_copy *one = &items[list->count++];
	*one = (struct shadow_copy){.id = p->m_SnapshotId,
		.set = p->m_SnapshotSetId,
		.provider = p->m_ProviderId,
		.attributes = p->m_lSnapshotAttributes,
		.made = p->m_tsCreationTimestamp,
		.device = copy_of(p->m_pwszSnapshotDeviceObject),
		.volume = copy_of(p->m_pwszOriginalVolumeName),
		.exposed = copy_of(p->m_pwszExposedName ? p->m_pwszExposedName : p->m_pwszExposedPath)};
	return one->device && one->volume && one->exposed;
}

static HRESULT read_list(IVssEnumObject *from, struct shadow_list *out)
{
	for (;;) {
		VSS_OBJECT_PROP item = {0};
		ULONG got = 0;
		HRESULT hr = IVssEnumObject_Next(from, 1, &item, &got);
		if (hr != S_OK || got != 1)
			return FAILED(hr) ? hr : S_OK;
		if (item.Type != VSS_OBJECT_SNAPSHOT)
			continue;
		bool taken = take(out, &item.Obj.Snap);
		requester.free_properties(&item.Obj.Snap);
		if (!taken)
			return E_OUTOFMEMORY;
	}
}

HRESULT requester_list(struct shadow_list *out)
{
	IVssBackupComponents *x;
	IVssEnumObject *list = NULL;

	memset(out, 0, sizeof(*out));
	HRESULT hr = requester_open(NULL, (LONG)VSS_CTX_ALL, &x);
	if (FAILED(hr))
		return hr;
	hr = IVssBackupComponents_Query(x, GUID_NULL, VSS_OBJECT_NONE, VSS_OBJECT_SNAPSHOT, &list);
	if (SUCCEEDED(hr) && list)
		hr = read_list(list, out);
	if (list)
		IVssEnumObject_Release(list);
	IVssBackupComponents_Release(x);
	return FAILED(hr) ? hr : S_OK;
}

void requester_list_free(struct shadow_list *list)
{
	for (unsigned i = 0; i < list->count; i++) {
		free(list->items[i].device);
		free(list->items[i].volume);
		free(list->items[i].exposed);
	}
	free(list->items);
	memset(list, 0, sizeof(*list));
}

HRESULT requester_delete(const GUID *set)
{
	IVssBackupComponents *x;
	LONG deleted = 0;
	GUID not_deleted;
	HRESULT hr = requester_open(NULL, (LONG)VSS_CTX_ALL, &x);

	if (FAILED(hr))
		return hr;
	hr = IVssBackupComponents_DeleteSnapshots(
		x, *set, VSS_OBJECT_SNAPSHOT_SET, TRUE, &deleted, &not_deleted);
	IVssBackupComponents_Release(x);
	return hr;
}

HRESULT requester_import(BSTR document)
{
	IVssBackupComponents *x;
	IVssAsync *async = NULL;
	HRESULT hr = requester_open(document, (LONG)VSS_CTX_ALL, &x);

	if (FAILED(hr))
		return hr;
	hr = IVssBackupComponents_ImportSnapshots(x, &async);
	hr = requester_wait(hr, async, REQUESTER_BOUNDED);
	IVssBackupComponents_Release(x);
	return hr;
}

/* ---- documents ---------------------------------------------------------------------------------------- */

HRESULT requester_write_file(const WCHAR *path, BSTR document)
{
	DWORD wrote = 0;
	int chars = (int)SysStringLen(document);
	int bytes = WideCharToMultiByte(CP_UTF8, 0, document, chars, NULL, 0, NULL, NULL);
	char *text = bytes > 0 ? malloc((size_t)bytes) : NULL;
	HRESULT hr = E_OUTOFMEMORY;

	if (text) {
		WideCharToMultiByte(CP_UTF8, 0, document, chars, text, bytes, NULL, NULL);
		HANDLE file =
			CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
		bool good = file != INVALID_HANDLE_VALUE &&
			    WriteFile(file, text, (DWORD)bytes, &wrote, NULL) && wrote == (DWORD)bytes &&
			    FlushFileBuffers(file);
		hr = good ? S_OK : HRESULT_FROM_WIN32(GetLastError() ? GetLastError() : ERROR_DISK_FULL);
		if (file != INVALID_HANDLE_VALUE)
			CloseHandle(file);
	}
	free(text);
	return hr;
}

/* UTF-16 when its second byte is 0 or it says so, else UTF-8. */
static BSTR decode(const char *text, DWORD size)
{
	bool marked = size >= 2 && !memcmp(text, "\xff\xfe", 2);

	if (marked || (size >= 2 && !text[1]))
		return SysAllocStringLen(
			(const WCHAR *)(const void *)text + marked, (UINT)(size / sizeof(WCHAR)) - marked);
	if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
		text += 3;
		size -= 3;
	}
	int chars = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, (int)size, NULL, 0);
	BSTR out = chars > 0 ? SysAllocStringLen(NULL, (UINT)chars) : NULL;
	if (out)
		MultiByteToWideChar(CP_UTF8, 0, text, (int)size, out, chars);
	return out;
}

BSTR requester_read_file(const WCHAR *path)
{
	BSTR document = NULL;
	DWORD got = 0;
	HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);

	if (file == INVALID_HANDLE_VALUE)
		return NULL;
	DWORD size = GetFileSize(file, NULL);
	char *text = size && size <= DOCUMENT_BYTES ? malloc(size) : NULL;
	if (text && ReadFile(file, text, size, &got, NULL) && got == size)
		document = decode(text, size);
	CloseHandle(file);
	free(text);
	if (!document)
		SetLastError(ERROR_INVALID_DATA);
	return document;
}

/* ---- words -------------------------------------------------------------------------------------------- */

static const struct {
	HRESULT hr;
	const char *text;
} remedies[] = {
	{VSS_E_OBJECT_NOT_FOUND,
		"VSS does not know it: is the volume there, and the id as \"umbra-vss copies\" has it?"},
	{VSS_E_PROVIDER_NOT_REGISTERED,
		"Umbra's provider is not registered with VSS: run \"umbra-vss install\"."},
	{VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
		"It lies on no LUN of an Umbra array that this host may copy: \"umbra-vss "
		"check\" tells which LUNs there are."},
	{VSS_E_VOLUME_NOT_SUPPORTED,
		"It lies on no LUN of an Umbra array that this host may copy: \"umbra-vss check\" tells "
		"which LUNs there are."},
	{VSS_E_SNAPSHOT_SET_IN_PROGRESS, "Another program makes shadow copies: try again when it has ended."},
	{VSS_E_PROVIDER_VETO,
		"The newest event of the source \"Umbra VSS Provider\" in the Application log says why."},
	{VSS_E_UNEXPECTED_PROVIDER_ERROR,
		"Umbra's service may have been stopped: \"net stop vss\", then try again; the "
		"Application log says more."},
	{VSS_E_INSUFFICIENT_STORAGE, "The array has no room: \"umbractl status\" there."},
	{VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED,
		"The array keeps no more copies of it: delete some (\"umbra-vss copies\", "
		"\"umbra-vss delete\")."},
	{VSS_E_FLUSH_WRITES_TIMEOUT,
		"Windows could not write its caches out in time: try again when less is written."},
	{VSS_E_HOLD_WRITES_TIMEOUT,
		"Writes were held for too long: try again when less is written; the provider's events tell "
		"which phase was slow."},
	{VSS_E_WRITER_INFRASTRUCTURE,
		"VSS's writers do not work: \"vssadmin list writers\"; restart the services named there."},
	{VSS_E_NO_SNAPSHOTS_IMPORTED,
		"None of its LUNs came to this host: the array may have deleted them (\"umbractl shadow "
		"list\"), or this host may not import (\"umbractl host show\")."},
	{VSS_E_SOME_SNAPSHOTS_NOT_IMPORTED,
		"Not all of its LUNs came to this host: \"umbra-vss check\", \"umbractl shadow "
		"list\"."},
	{VSS_E_OBJECT_ALREADY_EXISTS, "It is there already."},
	{VSS_E_INVALID_XML_DOCUMENT, "It is no document of a shadow copy set."},
	{VSS_E_CORRUPT_XML_DOCUMENT, "It is no document of a shadow copy set."},
	{VSS_E_UNSELECTED_VOLUME,
		"Another volume lies on the same LUN and would be overwritten, too: restore the whole set."},
	{VSS_E_RESYNC_IN_PROGRESS, "The LUN is being restored already."},
	{VSS_E_VOLUME_IN_USE, "A program has files open on the volume: end it, then try again."},
	{E_NOTIMPL, "This Windows has no restore of LUNs: it needs Windows Server 2008 R2 or later."},
	{HRESULT_FROM_WIN32(ERROR_CANCELLED),
		"It was ended from the keyboard, or by the end of the session."},
};

const char *requester_explain(HRESULT hr)
{
	for (size_t i = 0; i < sizeof(remedies) / sizeof(remedies[0]); i++)
		if (remedies[i].hr == hr)
			return remedies[i].text;
	return setup_explain(hr);
}

void requester_complain(const char *what, HRESULT hr)
{
	refusal_say("%s: error 0x%08lx. %s", what, (unsigned long)hr, requester_explain(hr));
}
