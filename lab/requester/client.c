/* SPDX-License-Identifier: Apache-2.0 */
/* See client.h. */
#define INITGUID
#include "lab/requester/client.h"

#include <initguid.h>
#include <objbase.h>
#include <stdio.h>
#include <string.h>
#include <vswriter.h>
#include <vsbackup.h>
#include <vsserror.h>
#include <wchar.h>
#include "lab/vssapi/lab_components.h"

#define CREATE_NAME "?CreateVssBackupComponents@@YAJPEAPEAVIVssBackupComponents@@@Z"

struct client {
	IVssBackupComponentsEx4 *backup; /* has all methods of IVssBackupComponents, too */
	ILabComponents *lab;
	HRESULT hr;         /* what the first method that did not succeed answered */
	const char *failed; /* … its name, or NULL */
};

static const GUID none;

/* --- an object, and its end --- */

typedef HRESULT(WINAPI *create_function)(IVssBackupComponents **out);

static HRESULT new_object(struct client *c)
{
	IVssBackupComponents *object = NULL;
	HMODULE dll = LoadLibraryW(L"vssapi.dll");
	create_function create =
		dll ? (create_function)(void (*)(void))GetProcAddress(dll, CREATE_NAME) : NULL;
	HRESULT hr = create ? create(&object) : HRESULT_FROM_WIN32(ERROR_PROC_NOT_FOUND);
	memset(c, 0, sizeof *c);
	if (SUCCEEDED(hr) && !object)
		hr = E_NOTIMPL; /* Wine's own vssapi.dll */
	if (SUCCEEDED(hr)) {
		hr = IVssBackupComponents_QueryInterface(
			object, &IID_IVssBackupComponentsEx4, (void **)&c->backup);
		IVssBackupComponents_Release(object);
	}
	if (SUCCEEDED(hr))
		hr = IVssBackupComponentsEx4_QueryInterface(c->backup, &IID_ILabComponents, (void **)&c->lab);
	return hr;
}

static void end(struct client *c)
{
	if (c->lab)
		c->lab->lpVtbl->Release(c->lab);
	if (c->backup)
		IVssBackupComponentsEx4_Release(c->backup);
}

/* hr; kept, with the method that gave it, when it is no success. */
static HRESULT seen(struct client *c, const char *method, HRESULT hr)
{
	if (hr != S_OK && !c->failed) {
		c->failed = method;
		c->hr = hr;
	}
	return hr;
}

/* Waits to the end: the status, S_OK when it has finished. */
static HRESULT finish(struct client *c, const char *method, HRESULT hr, IVssAsync *async)
{
	HRESULT status = VSS_S_ASYNC_PENDING;
	if (hr != S_OK)
		return seen(c, method, hr);
	IVssAsync_Wait(async, INFINITE);
	hr = IVssAsync_QueryStatus(async, &status, NULL);
	IVssAsync_Release(async);
	return seen(c, method, hr != S_OK ? hr : status == VSS_S_ASYNC_FINISHED ? S_OK : status);
}

/* InitializeForBackup and SetContext, with the lab's wishes before; c->hr says what came of them. Fails, with nothing to end,
 * when nobody is reached. */
static HRESULT begin(
	struct client *c, const wchar_t *document, LONG context, const LAB_CREATE *wishes, bool release_early)
{
	LAB_CREATE tuned = *wishes;
	BSTR text = document ? SysAllocString(document) : NULL;
	HRESULT hr = new_object(c);
	tuned.flags |= LAB_KEEP | LAB_NO_TURN;
	if (SUCCEEDED(hr))
		hr = c->lab->lpVtbl->Tune(c->lab, &tuned, release_early);
	if (SUCCEEDED(hr))
		hr = IVssBackupComponentsEx4_InitializeForBackup(c->backup, text);
	SysFreeString(text);
	if (FAILED(hr) && hr != VSS_E_INVALID_XML_DOCUMENT) {
		end(c);
		return hr;
	}
	if (seen(c, "InitializeForBackup", hr) == S_OK)
		seen(c, "SetContext", IVssBackupComponentsEx4_SetContext(c->backup, context));
	return S_OK;
}

static HRESULT begin_plain(struct client *c, const wchar_t *document, LONG flags)
{
	LAB_CREATE wishes = {.flags = flags};
	return begin(c, document, (LONG)VSS_CTX_ALL, &wishes, false);
}

/* What was done, with hr as its outcome. */
static HRESULT take_result(struct client *c, HRESULT hr, LAB_RESULT **res)
{
	wchar_t why[96];
	HRESULT taken = c->lab->lpVtbl->TakeResult(c->lab, res);
	if (FAILED(taken))
		return taken;
	(*res)->hr = hr;
	if (hr != S_OK && !((*res)->message && *(*res)->message)) {
		_snwprintf(
			why, 96, L"IVssBackupComponents::%hs did not succeed", c->failed ? c->failed : "?");
		why[95] = 0;
		(*res)->message = SysAllocString(why);
	}
	return S_OK;
}

/* … and the object goes. */
static HRESULT answer(struct client *c, HRESULT hr, LAB_RESULT **res)
{
	HRESULT taken = take_result(c, hr, res);
	end(c);
	return taken;
}

/* --- a set --- */

/* As a writer-aware program does it: what comes before StartSnapshotSet. */
static HRESULT prepare_writers(struct client *c)
{
	IVssAsync *async = NULL;
	HRESULT hr = seen(c, "SetBackupState",
		IVssBackupComponentsEx4_SetBackupState(c->backup, TRUE, TRUE, VSS_BT_FULL, FALSE));
	if (hr == S_OK) {
		hr = IVssBackupComponentsEx4_GatherWriterMetadata(c->backup, &async);
		hr = finish(c, "GatherWriterMetadata", hr, async);
	}
	return hr;
}

static HRESULT add_volumes(struct client *c, const struct options *o)
{
	wchar_t name[40];
	GUID id;
	HRESULT hr = S_OK;
	for (LONG n = 0; n < o->volumes && hr == S_OK; n++) {
		swprintf(name, 40, LAB_VOLUME_NAME, (long)n);
		hr = seen(c, "AddToSnapshotSet",
			IVssBackupComponentsEx4_AddToSnapshotSet(
				c->backup, name, o->create.provider_id, &id));
	}
	return hr;
}

static HRESULT do_set(struct client *c, bool writers)
{
	IVssAsync *async = NULL;
	HRESULT hr = S_OK;
	if (writers) {
		hr = IVssBackupComponentsEx4_PrepareForBackup(c->backup, &async);
		hr = finish(c, "PrepareForBackup", hr, async);
	}
	if (hr == S_OK) {
		hr = IVssBackupComponentsEx4_DoSnapshotSet(c->backup, &async);
		hr = finish(c, "DoSnapshotSet", hr, async);
	}
	if (hr == S_OK && writers) {
		hr = IVssBackupComponentsEx4_BackupComplete(c->backup, &async);
		hr = finish(c, "BackupComplete", hr, async);
	}
	return hr;
}

/* The document is SaveAsXML's; where DoSnapshotSet failed behind the commit it is with the result. */
static void take_document(struct client *c, LAB_RESULT *res)
{
	BSTR document = NULL;
	if (IVssBackupComponentsEx4_SaveAsXML(c->backup, &document) == S_OK)
		res->document = document;
}

HRESULT client_create(const struct options *o, LAB_RESULT **res)
{
	struct client c;
	GUID set;
	bool writers = !(o->create.context & VSS_VOLSNAP_ATTR_NO_WRITERS);
	HRESULT hr = begin(&c, NULL, o->create.context, &o->create, false);
	if (FAILED(hr))
		return hr;
	hr = c.hr;
	if (hr == S_OK && writers)
		hr = prepare_writers(&c);
	if (hr == S_OK)
		hr = seen(&c, "StartSnapshotSet", IVssBackupComponentsEx4_StartSnapshotSet(c.backup, &set));
	if (hr == S_OK)
		hr = add_volumes(&c, o);
	if (hr == S_OK)
		hr = do_set(&c, writers);
	HRESULT taken = take_result(&c, hr, res);
	if (SUCCEEDED(taken) && hr == S_OK)
		take_document(&c, *res);
	end(&c);
	return taken;
}

/* --- the others --- */

HRESULT client_import(const struct options *o, const wchar_t *document, LAB_RESULT **res)
{
	struct client c;
	IVssAsync *async = NULL;
	HRESULT hr = begin_plain(&c, document, o->create.flags);
	if (FAILED(hr))
		return hr;
	hr = c.hr;
	if (hr == S_OK) {
		hr = IVssBackupComponentsEx4_ImportSnapshots(c.backup, &async);
		hr = finish(&c, "ImportSnapshots", hr, async);
	}
	return answer(&c, hr, res);
}

static HRESULT recover(struct client *c, const struct options *o)
{
	IVssAsync *async = NULL;
	HRESULT hr = IVssBackupComponentsEx4_RecoverSet(c->backup, (DWORD)o->resync.options, &async);
	if (hr == S_OK && o->cancel_after_ms >= 0) {
		IVssAsync_Wait(async, (DWORD)o->cancel_after_ms);
		IVssAsync_Cancel(async);
	}
	return finish(c, "RecoverSet", hr, async);
}

HRESULT client_resync(const struct options *o, const wchar_t *document, LAB_RESULT **res)
{
	struct client c;
	LAB_VOLUME_LUN luns[MAX_TARGETS];
	LAB_CREATE wishes = {.flags = o->create.flags, .count = o->resync.count, .luns = luns};
	wchar_t name[40];
	for (ULONG i = 0; i < o->resync.count; i++)
		luns[i] = (LAB_VOLUME_LUN){.volume = (LONG)i,
			.by_drive = o->targets[i].by_drive,
			.number = o->targets[i].number};
	HRESULT hr = begin(&c, document, (LONG)VSS_CTX_ALL, &wishes, o->resync.release_early != 0);
	if (FAILED(hr))
		return hr;
	hr = c.hr;
	for (ULONG i = 0; i < o->resync.count && hr == S_OK; i++) {
		swprintf(name, 40, LAB_VOLUME_NAME, (long)i);
		hr = seen(&c, "AddSnapshotToRecoverySet",
			IVssBackupComponentsEx4_AddSnapshotToRecoverySet(c.backup, o->targets[i].snapshot_id,
				0, o->targets[i].to_original ? NULL : name));
	}
	if (hr == S_OK)
		hr = recover(&c, o);
	return answer(&c, hr, res);
}

HRESULT client_list(LAB_RESULT **res)
{
	struct client c;
	IVssEnumObject *list = NULL;
	HRESULT hr = begin_plain(&c, NULL, 0);
	if (FAILED(hr))
		return hr;
	hr = seen(&c, "Query",
		IVssBackupComponentsEx4_Query(c.backup, none, VSS_OBJECT_NONE, VSS_OBJECT_SNAPSHOT, &list));
	if (list)
		IVssEnumObject_Release(list);
	return answer(&c, hr == S_FALSE ? S_OK : hr, res);
}

HRESULT client_delete(const GUID *id, VSS_OBJECT_TYPE type, LONG flags, LAB_RESULT **res)
{
	struct client c;
	LONG deleted = 0;
	GUID not_deleted;
	HRESULT hr = begin_plain(&c, NULL, flags);
	if (FAILED(hr))
		return hr;
	hr = seen(&c, "DeleteSnapshots",
		IVssBackupComponentsEx4_DeleteSnapshots(c.backup, *id, type, TRUE, &deleted, &not_deleted));
	return answer(&c, hr, res);
}

HRESULT client_break(const struct options *o, LAB_RESULT **res)
{
	struct client c;
	IVssAsync *async = NULL;
	HRESULT hr = begin_plain(&c, NULL, o->create.flags | o->late_flags);
	if (FAILED(hr))
		return hr;
	if (!o->break_flags) {
		hr = seen(&c, "BreakSnapshotSet", IVssBackupComponentsEx4_BreakSnapshotSet(c.backup, o->id));
	} else {
		hr = IVssBackupComponentsEx4_BreakSnapshotSetEx(
			c.backup, o->id, (DWORD)o->break_flags, &async);
		hr = finish(&c, "BreakSnapshotSetEx", hr, async);
	}
	return answer(&c, hr, res);
}

HRESULT client_expose(const struct options *o, LAB_RESULT **res)
{
	struct client c;
	VSS_PWSZ exposed = NULL;
	HRESULT hr = begin_plain(&c, NULL, 0);
	if (FAILED(hr))
		return hr;
	if (o->name && *o->name)
		hr = seen(&c, "ExposeSnapshot",
			IVssBackupComponentsEx4_ExposeSnapshot(c.backup, o->id, NULL,
				VSS_VOLSNAP_ATTR_EXPOSED_LOCALLY, (VSS_PWSZ)(uintptr_t)o->name, &exposed));
	else
		hr = seen(&c, "UnexposeSnapshot", IVssBackupComponentsEx4_UnexposeSnapshot(c.backup, o->id));
	CoTaskMemFree(exposed);
	return answer(&c, hr, res);
}

/* --- what VSS has no method for --- */

HRESULT client_scan(LAB_RESULT **res)
{
	struct client c;
	HRESULT hr = begin_plain(&c, NULL, 0);
	if (FAILED(hr))
		return hr;
	hr = c.lab->lpVtbl->Scan(c.lab, res);
	end(&c);
	return hr;
}

HRESULT client_unload(bool force, LAB_RESULT **res)
{
	struct client c;
	HRESULT hr = begin_plain(&c, NULL, 0);
	if (FAILED(hr))
		return hr;
	hr = c.lab->lpVtbl->Unload(c.lab, force, res);
	end(&c);
	return hr;
}

HRESULT client_providers(void (*each)(const VSS_PROVIDER_PROP *provider, void *arg), void *arg)
{
	struct client c;
	IVssEnumObject *list = NULL;
	VSS_OBJECT_PROP item;
	ULONG got = 0;
	HRESULT hr = begin_plain(&c, NULL, 0);
	if (FAILED(hr))
		return hr;
	hr = IVssBackupComponentsEx4_Query(c.backup, none, VSS_OBJECT_NONE, VSS_OBJECT_PROVIDER, &list);
	while (list && IVssEnumObject_Next(list, 1, &item, &got) == S_OK && got == 1) {
		each(&item.Obj.Prov, arg);
		CoTaskMemFree(item.Obj.Prov.m_pwszProviderName);
		CoTaskMemFree(item.Obj.Prov.m_pwszProviderVersion);
	}
	if (list)
		IVssEnumObject_Release(list);
	end(&c);
	return FAILED(hr) ? hr : S_OK;
}
