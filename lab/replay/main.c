/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-replay.exe STEP...: a requester that makes the calls it is told, in that order, through vssapi.dll.
 *
 * A step is one argument: a method of IVssBackupComponents and its arguments, separated by blanks. Prints a line a step:
 * the method, the HRESULT, for asynchronous ones what QueryStatus says at the end, and what came out as key=value. Goes on
 * after failures, as the worst of requesters do. Ends 0, 2 for a step that it does not know.
 *
 * Besides the methods: apartment sta|mta, create, release, die (at once, nothing is released), await FILE (that
 * it is there), touch FILE.
 */
#include <initguid.h>
#include <windows.h>
#include <objbase.h>
#include <vss.h>
#include <vswriter.h>
#include <vsbackup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define SNAPSHOTS_MAX 64
#define WORDS_MAX     8

static IVssBackupComponentsEx4 *backup;
static GUID set_id, snapshots[SNAPSHOTS_MAX];
static unsigned snapshot_count;

typedef IVssBackupComponentsEx4Vtbl Methods;

static const Methods *m(void)
{
	return backup->lpVtbl;
}

static void print_id(const char *key, const GUID *id)
{
	wchar_t text[40];
	StringFromGUID2(id, text, 40);
	printf(" %s=%ls", key, text);
}

/* Waits as the words behind the method say: a number of ms (then gives up and cancels), "giveup MS" (waits so long, says how
 * far it is, and does without), "cancel MS", "leave". */
static HRESULT finish(HRESULT hr, IVssAsync *async, wchar_t **words)
{
	HRESULT status = 0, waited;
	if (hr != S_OK || !async)
		return hr;
	if (words[1] && wcscmp(words[1], L"leave") == 0) {
		IVssAsync_Release(async);
		return hr;
	}
	if (words[1] && wcscmp(words[1], L"giveup") == 0) {
		waited = IVssAsync_Wait(async, words[2] ? wcstoul(words[2], NULL, 10) : 0);
		IVssAsync_QueryStatus(async, &status, NULL);
		printf(" wait=0x%08x pending=%d", (unsigned)waited, status == VSS_S_ASYNC_PENDING);
		IVssAsync_Release(async);
		return hr;
	}
	if (words[1] && wcscmp(words[1], L"cancel") == 0) {
		Sleep(words[2] ? wcstoul(words[2], NULL, 10) : 0);
		printf(" cancel=0x%08x", (unsigned)IVssAsync_Cancel(async));
	}
	DWORD ms = words[1] && iswdigit(words[1][0]) ? wcstoul(words[1], NULL, 10) : INFINITE;
	waited = IVssAsync_Wait(async, ms);
	IVssAsync_QueryStatus(async, &status, NULL);
	if (status == VSS_S_ASYNC_PENDING) {
		printf(" pending=1 cancel=0x%08x", (unsigned)IVssAsync_Cancel(async));
		IVssAsync_Wait(async, INFINITE);
		IVssAsync_QueryStatus(async, &status, NULL);
	}
	printf(" wait=0x%08x status=0x%08x again=0x%08x", (unsigned)waited, (unsigned)status,
		(unsigned)IVssAsync_Cancel(async));
	IVssAsync_Release(async);
	return hr;
}

static HRESULT do_async(
	wchar_t **w, HRESULT(STDMETHODCALLTYPE *method)(IVssBackupComponentsEx4 *, IVssAsync **))
{
	IVssAsync *async = NULL;
	HRESULT hr = method(backup, &async);
	return finish(hr, async, w);
}

static BSTR read_document(const wchar_t *path)
{
	BSTR text = NULL;
	FILE *f = _wfopen(path, L"rb");
	long size = 0;
	if (f && fseek(f, 0, SEEK_END) == 0)
		size = ftell(f);
	if (f && size > 0) {
		rewind(f);
		text = SysAllocStringLen(NULL, (UINT)size / sizeof(WCHAR));
		if (text && fread(text, 1, (size_t)size, f) != (size_t)size)
			*text = 0;
	}
	if (f)
		fclose(f);
	return text;
}

static HRESULT do_initialize(wchar_t **w)
{
	BSTR document = w[1] ? read_document(w[1]) : NULL;
	HRESULT hr = wcscmp(w[0], L"InitializeForRestore") == 0 ? m()->InitializeForRestore(backup, document)
								: m()->InitializeForBackup(backup, document);
	SysFreeString(document);
	return hr;
}

static LONG number(const wchar_t *word)
{
	return word ? (LONG)wcstoul(word, NULL, 0) : 0;
}

static HRESULT do_context(wchar_t **w)
{
	return m()->SetContext(backup, number(w[1]));
}

static HRESULT do_state(wchar_t **w)
{
	boolean select = (boolean)number(w[1]);
	boolean bootable = w[1] ? (boolean)number(w[2]) : 0;
	return m()->SetBackupState(
		backup, select, bootable, w[1] && w[2] ? (VSS_BACKUP_TYPE)number(w[3]) : VSS_BT_COPY, 0);
}

static HRESULT do_gather(wchar_t **w)
{
	return do_async(w, m()->GatherWriterMetadata);
}

static HRESULT do_status(wchar_t **w)
{
	return do_async(w, m()->GatherWriterStatus);
}

static HRESULT do_prepare(wchar_t **w)
{
	return do_async(w, m()->PrepareForBackup);
}

static HRESULT do_do(wchar_t **w)
{
	return do_async(w, m()->DoSnapshotSet);
}

static HRESULT do_complete(wchar_t **w)
{
	return do_async(w, m()->BackupComplete);
}

static HRESULT do_import(wchar_t **w)
{
	return do_async(w, m()->ImportSnapshots);
}

static HRESULT do_counts(wchar_t **w)
{
	UINT count = 99;
	HRESULT hr = wcscmp(w[0], L"GetWriterStatusCount") == 0 ? m()->GetWriterStatusCount(backup, &count)
		     : wcscmp(w[0], L"GetWriterComponentsCount") == 0
			     ? m()->GetWriterComponentsCount(backup, &count)
			     : m()->GetWriterMetadataCount(backup, &count);
	printf(" count=%u", count);
	return hr;
}

static HRESULT do_free(wchar_t **w)
{
	return wcscmp(w[0], L"FreeWriterStatus") == 0 ? m()->FreeWriterStatus(backup)
						      : m()->FreeWriterMetadata(backup);
}

static HRESULT do_component(wchar_t **w)
{
	(void)w;
	return m()->AddComponent(backup, set_id, set_id, VSS_CT_FILEGROUP, NULL, L"nobody");
}

static HRESULT do_start(wchar_t **w)
{
	(void)w;
	snapshot_count = 0;
	HRESULT hr = m()->StartSnapshotSet(backup, &set_id);
	print_id("set", &set_id);
	return hr;
}

static GUID provider_of(const wchar_t *word)
{
	GUID id = {0};
	if (word)
		CLSIDFromString(word, &id);
	return id;
}

static HRESULT do_add(wchar_t **w)
{
	GUID id = {0};
	HRESULT hr = m()->AddToSnapshotSet(backup, w[1], provider_of(w[1] ? w[2] : NULL), &id);
	if (hr == S_OK && snapshot_count < SNAPSHOTS_MAX)
		snapshots[snapshot_count++] = id;
	print_id("snapshot", &id);
	return hr;
}

static HRESULT do_supported(wchar_t **w)
{
	WINBOOL yes = 7;
	HRESULT hr = m()->IsVolumeSupported(backup, provider_of(w[1] ? w[2] : NULL), w[1], &yes);
	printf(" supported=%d", yes);
	return hr;
}

static void print_snapshot(const VSS_SNAPSHOT_PROP *p)
{
	print_id("snapshot", &p->m_SnapshotId);
	print_id("set", &p->m_SnapshotSetId);
	print_id("provider", &p->m_ProviderId);
	printf(" in_set=%ld device=%ls volume=%ls machine=%ls attributes=0x%lx state=%d time=%lld",
		p->m_lSnapshotsCount, p->m_pwszSnapshotDeviceObject ? p->m_pwszSnapshotDeviceObject : L"-",
		p->m_pwszOriginalVolumeName ? p->m_pwszOriginalVolumeName : L"-",
		p->m_pwszOriginatingMachine ? p->m_pwszOriginatingMachine : L"-", p->m_lSnapshotAttributes,
		p->m_eStatus, (long long)p->m_tsCreationTimestamp);
}

static HRESULT do_properties(wchar_t **w)
{
	VSS_SNAPSHOT_PROP p = {0};
	void(WINAPI * free_properties)(VSS_SNAPSHOT_PROP *) = (void(WINAPI *)(VSS_SNAPSHOT_PROP *))(
		void *)GetProcAddress(GetModuleHandleW(L"vssapi.dll"), "VssFreeSnapshotProperties");
	unsigned at = (unsigned)number(w[1]);
	HRESULT hr = m()->GetSnapshotProperties(backup, snapshots[at < SNAPSHOTS_MAX ? at : 0], &p);
	if (hr == S_OK)
		print_snapshot(&p);
	free_properties(&p);
	return hr;
}

static HRESULT do_query(wchar_t **w)
{
	IVssEnumObject *list = NULL;
	VSS_OBJECT_PROP item;
	ULONG got = 0, count = 0;
	static const GUID none;
	VSS_OBJECT_TYPE wanted = w[1] ? (VSS_OBJECT_TYPE)number(w[1]) : VSS_OBJECT_SNAPSHOT;
	HRESULT hr = m()->Query(backup, none, VSS_OBJECT_NONE, wanted, &list);
	while (list && IVssEnumObject_Next(list, 1, &item, &got) == S_OK && got == 1) {
		if (item.Type == VSS_OBJECT_SNAPSHOT)
			print_snapshot(&item.Obj.Snap);
		else
			print_id("provider", &item.Obj.Prov.m_ProviderId);
		count++;
	}
	if (list)
		IVssEnumObject_Release(list);
	printf(" count=%lu", (unsigned long)count);
	return hr;
}

/* DeleteSnapshots set | N (of this requester's set) | {id of a set}. */
static HRESULT do_delete(wchar_t **w)
{
	LONG deleted = -1;
	GUID not_deleted = {0}, id = set_id;
	VSS_OBJECT_TYPE type = VSS_OBJECT_SNAPSHOT_SET;
	if (w[1] && iswdigit(w[1][0])) {
		type = VSS_OBJECT_SNAPSHOT;
		id = snapshots[number(w[1]) % SNAPSHOTS_MAX];
	} else if (w[1] && w[1][0] == L'{') {
		id = provider_of(w[1]);
	}
	HRESULT hr = m()->DeleteSnapshots(backup, id, type, TRUE, &deleted, &not_deleted);
	printf(" deleted=%ld", (long)deleted);
	print_id("not_deleted", &not_deleted);
	return hr;
}

static HRESULT do_save(wchar_t **w)
{
	BSTR text = NULL;
	HRESULT hr = m()->SaveAsXML(backup, &text);
	FILE *f = hr == S_OK && w[1] ? _wfopen(w[1], L"wb") : NULL;
	if (f) {
		fwrite(text, sizeof *text, SysStringLen(text), f);
		fclose(f);
	}
	SysFreeString(text);
	return hr;
}

static HRESULT do_abort(wchar_t **w)
{
	(void)w;
	return m()->AbortBackup(backup);
}

static HRESULT do_break(wchar_t **w)
{
	(void)w;
	return m()->BreakSnapshotSet(backup, set_id);
}

/* QueryInterface of what is asked for by number: 0 IVssBackupComponents, 1 …Ex to 4 …Ex4. */
static HRESULT do_query_interface(wchar_t **w)
{
	const GUID *const ids[] = {&IID_IVssBackupComponents, &IID_IVssBackupComponentsEx,
		&IID_IVssBackupComponentsEx2, &IID_IVssBackupComponentsEx3, &IID_IVssBackupComponentsEx4};
	IUnknown *got = NULL;
	HRESULT hr = m()->QueryInterface(backup, ids[number(w[1]) % 5], (void **)&got);
	if (got)
		IUnknown_Release(got);
	return hr;
}

static HRESULT do_create(wchar_t **w)
{
	(void)w;
	HMODULE dll = LoadLibraryW(L"vssapi.dll");
	HRESULT(WINAPI * create)
	(IVssBackupComponents **) =
		dll ? (HRESULT(WINAPI *)(IVssBackupComponents **))(void *)GetProcAddress(
			      dll, "?CreateVssBackupComponents@@YAJPEAPEAVIVssBackupComponents@@@Z")
		    : NULL;
	return create ? create((IVssBackupComponents **)&backup) : HRESULT_FROM_WIN32(GetLastError());
}

static HRESULT do_release(wchar_t **w)
{
	(void)w;
	ULONG left = m()->Release(backup);
	backup = NULL;
	printf(" left=%lu", (unsigned long)left);
	return S_OK;
}

static HRESULT do_die(wchar_t **w)
{
	(void)w;
	fflush(stdout);
	TerminateProcess(GetCurrentProcess(), 9);
	return S_OK;
}

static HRESULT do_apartment(wchar_t **w)
{
	return CoInitializeEx(
		NULL, w[1] && wcscmp(w[1], L"sta") == 0 ? COINIT_APARTMENTTHREADED : COINIT_MULTITHREADED);
}

static HRESULT do_await(wchar_t **w)
{
	while (w[1] && GetFileAttributesW(w[1]) == INVALID_FILE_ATTRIBUTES)
		Sleep(20);
	return S_OK;
}

static HRESULT do_touch(wchar_t **w)
{
	FILE *f = w[1] ? _wfopen(w[1], L"wb") : NULL;
	if (f)
		fclose(f);
	return f ? S_OK : E_FAIL;
}

/* read N FILE: a file of shadow copy N's device. read FILE: any file. */
static HRESULT do_read(wchar_t **w)
{
	wchar_t path[MAX_PATH];
	char text[64] = "";
	DWORD got = 0;
	_snwprintf(path, MAX_PATH,
		w[1] && w[2] ? L"\\\\?\\GLOBALROOT\\Device\\HarddiskVolumeShadowCopy%ls\\%ls" : L"%ls",
		w[1] ? w[1] : L"", w[1] && w[2] ? w[2] : L"");
	path[MAX_PATH - 1] = 0;
	HANDLE h = CreateFileW(
		path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
	HRESULT hr = h != INVALID_HANDLE_VALUE ? S_OK : HRESULT_FROM_WIN32(GetLastError());
	if (hr == S_OK && !ReadFile(h, text, sizeof text - 1, &got, NULL))
		hr = HRESULT_FROM_WIN32(GetLastError());
	if (h != INVALID_HANDLE_VALUE)
		CloseHandle(h);
	text[strcspn(text, "\r\n ")] = 0; /* its first word */
	printf(" text=%s", text);
	return hr;
}

static const struct {
	const wchar_t *name;
	HRESULT (*run)(wchar_t **words);
	int without; /* an object of vssapi.dll */
} steps[] = {{L"create", do_create, 1}, {L"release", do_release, 0}, {L"die", do_die, 1},
	{L"await", do_await, 1}, {L"touch", do_touch, 1}, {L"read", do_read, 1},
	{L"apartment", do_apartment, 1}, {L"QueryInterface", do_query_interface, 0},
	{L"InitializeForBackup", do_initialize, 0}, {L"InitializeForRestore", do_initialize, 0},
	{L"SetContext", do_context, 0}, {L"SetBackupState", do_state, 0},
	{L"GatherWriterMetadata", do_gather, 0}, {L"GetWriterMetadataCount", do_counts, 0},
	{L"GetWriterStatusCount", do_counts, 0}, {L"GetWriterComponentsCount", do_counts, 0},
	{L"FreeWriterMetadata", do_free, 0}, {L"FreeWriterStatus", do_free, 0},
	{L"GatherWriterStatus", do_status, 0}, {L"AddComponent", do_component, 0},
	{L"StartSnapshotSet", do_start, 0}, {L"AddToSnapshotSet", do_add, 0},
	{L"IsVolumeSupported", do_supported, 0}, {L"PrepareForBackup", do_prepare, 0},
	{L"DoSnapshotSet", do_do, 0}, {L"GetSnapshotProperties", do_properties, 0}, {L"Query", do_query, 0},
	{L"BackupComplete", do_complete, 0}, {L"AbortBackup", do_abort, 0},
	{L"DeleteSnapshots", do_delete, 0}, {L"ImportSnapshots", do_import, 0}, {L"SaveAsXML", do_save, 0},
	{L"BreakSnapshotSet", do_break, 0}};

/* Prints one line. False: there is no such step. */
static int run_step(wchar_t *step)
{
	wchar_t *words[WORDS_MAX + 1] = {0}, *next = NULL;
	int count = 0;
	for (wchar_t *word = wcstok_s(step, L" ", &next); word && count < WORDS_MAX;
		word = wcstok_s(NULL, L" ", &next))
		words[count++] = word;
	for (size_t i = 0; count && i < sizeof steps / sizeof steps[0]; i++) {
		if (wcscmp(words[0], steps[i].name) != 0)
			continue;
		printf("%ls", words[0]);
		HRESULT hr = backup || steps[i].without ? steps[i].run(words) : E_POINTER;
		printf(" hr=0x%08x\n", (unsigned)hr);
		fflush(stdout);
		return 1;
	}
	return 0;
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!run_step(argv[i])) {
			fwprintf(stderr, L"umbra-lab-replay: no such step: %ls\n", argv[i]);
			return 2;
		}
	}
	return 0;
}
