/* SPDX-License-Identifier: Apache-2.0 */
/* The object itself, its initialisation, and the part of the writers, of which there are none but those of writers.c. */
#include "lab/vssapi/writers.h"

#include <initguid.h>
#include <stdlib.h>
#include <string.h>
#include <vsadmin.h>
#include <wchar.h>
#include "lab/coordinator/wine_rpc.h"

#define CONTEXT_BITS                                                                                         \
	(VSS_VOLSNAP_ATTR_PERSISTENT | VSS_VOLSNAP_ATTR_CLIENT_ACCESSIBLE |                                  \
		VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE | VSS_VOLSNAP_ATTR_NO_WRITERS)
#define OPTION_BITS                                                                                          \
	(VSS_VOLSNAP_ATTR_NO_AUTORECOVERY | VSS_VOLSNAP_ATTR_TRANSPORTABLE | VSS_VOLSNAP_ATTR_NOT_SURFACED | \
		VSS_VOLSNAP_ATTR_DIFFERENTIAL | VSS_VOLSNAP_ATTR_PLEX | VSS_VOLSNAP_ATTR_AUTORECOVER |       \
		VSS_VOLSNAP_ATTR_ROLLBACK_RECOVERY | VSS_VOLSNAP_ATTR_DELAYED_POSTSNAPSHOT |                 \
		VSS_VOLSNAP_ATTR_TXF_RECOVERY)

static struct components *impl_from(Components *iface)
{
	return CONTAINING_RECORD(iface, struct components, IVssBackupComponentsEx4_iface);
}

HRESULT components_enter(struct components *x, bool any)
{
	EnterCriticalSection(&x->lock);
	if (x->phase == PHASE_BACKUP || (any && x->phase != PHASE_NEW))
		return S_OK;
	LeaveCriticalSection(&x->lock);
	return VSS_E_BAD_STATE;
}

void components_leave(struct components *x)
{
	LeaveCriticalSection(&x->lock);
}

static HRESULT STDMETHODCALLTYPE c_QueryInterface(Components *iface, REFIID iid, void **out)
{
	struct components *x = impl_from(iface);
	if (!out)
		return E_POINTER;
	if (IsEqualIID(iid, &IID_ILabComponents)) {
		x->observed = true;
		*out = &x->ILabComponents_iface;
		IVssBackupComponentsEx4_AddRef(iface);
		return S_OK;
	}
	*out = IsEqualIID(iid, &IID_IUnknown) || IsEqualIID(iid, &IID_IVssBackupComponents) ||
			       IsEqualIID(iid, &IID_IVssBackupComponentsEx) ||
			       IsEqualIID(iid, &IID_IVssBackupComponentsEx2) ||
			       IsEqualIID(iid, &IID_IVssBackupComponentsEx3) ||
			       IsEqualIID(iid, &IID_IVssBackupComponentsEx4)
		       ? iface
		       : NULL;
	if (!*out)
		return E_NOINTERFACE;
	IVssBackupComponentsEx4_AddRef(iface);
	return S_OK;
}

static ULONG STDMETHODCALLTYPE c_AddRef(Components *iface)
{
	return (ULONG)InterlockedIncrement(&impl_from(iface)->refs);
}

static HRESULT close_session(void *arg)
{
	struct components *x = arg;
	ILabSession_Close(x->session);
	ILabSession_Release(x->session);
	ILabRequester_Release(x->requester);
	return S_OK;
}

/* The last reference: what is not to outlive its requester goes now. */
static ULONG STDMETHODCALLTYPE c_Release(Components *iface)
{
	struct components *x = impl_from(iface);
	LONG refs = InterlockedDecrement(&x->refs);
	if (refs == 0) {
		if (x->session)
			mta_run(close_session, x);
		DeleteCriticalSection(&x->lock);
		CoTaskMemFree(x->document);
		lab_free(x);
		free(x);
	}
	return (ULONG)refs;
}

/* --- initialisation --- */

static HRESULT open_session(void *arg)
{
	struct components *x = arg;
	HRESULT hr = wine_reach_coordinator(&IID_ILabRequester, (void **)&x->requester);
	if (SUCCEEDED(hr))
		hr = ILabRequester_OpenSession(x->requester, GetCurrentProcessId(), &x->session);
	if (SUCCEEDED(hr))
		hr = lab_tell_session(x);
	if (FAILED(hr) && x->requester) {
		ILabRequester_Release(x->requester);
		x->requester = NULL;
	}
	return SUCCEEDED(hr) ? S_OK : VSS_E_UNEXPECTED;
}

static HRESULT initialize(struct components *x, enum phase phase, BSTR document)
{
	HRESULT hr = VSS_E_BAD_STATE;
	EnterCriticalSection(&x->lock);
	if (x->phase == PHASE_NEW) {
		hr = document && !wcsstr(document, L"umbra-lab-document") ? VSS_E_INVALID_XML_DOCUMENT : S_OK;
		if (hr == S_OK && document) {
			x->document = copy_text(document);
			x->given = true;
		}
		if (hr == S_OK)
			hr = mta_run(open_session, x);
		if (hr == S_OK)
			x->phase = phase;
	}
	LeaveCriticalSection(&x->lock);
	return hr;
}

static HRESULT STDMETHODCALLTYPE c_InitializeForBackup(Components *iface, BSTR document)
{
	return initialize(impl_from(iface), PHASE_BACKUP, document);
}

static HRESULT STDMETHODCALLTYPE c_InitializeForRestore(Components *iface, BSTR document)
{
	return document ? initialize(impl_from(iface), PHASE_RESTORE, document) : E_INVALIDARG;
}

static bool context_is_known(LONG context)
{
	LONG kind = context & CONTEXT_BITS;
	return context == (LONG)VSS_CTX_ALL ||
	       (!(context & ~(CONTEXT_BITS | OPTION_BITS)) &&
		       (kind == VSS_CTX_BACKUP || kind == VSS_CTX_FILE_SHARE_BACKUP ||
			       kind == VSS_CTX_NAS_ROLLBACK || kind == VSS_CTX_APP_ROLLBACK ||
			       kind == VSS_CTX_CLIENT_ACCESSIBLE ||
			       kind == VSS_CTX_CLIENT_ACCESSIBLE_WRITERS));
}

/* Once, and before anything that depends on it. */
static HRESULT STDMETHODCALLTYPE c_SetContext(Components *iface, LONG context)
{
	struct components *x = impl_from(iface);
	HRESULT hr = components_enter(x, true);
	if (hr != S_OK)
		return hr;
	if (x->context_fixed)
		hr = VSS_E_BAD_STATE;
	else if (!context_is_known(context) && !(x->tuned.flags & LAB_ANY_CONTEXT))
		hr = E_INVALIDARG;
	if (hr == S_OK) {
		x->context = context;
		x->context_fixed = true;
	}
	components_leave(x);
	return hr;
}

static HRESULT STDMETHODCALLTYPE c_SetBackupState(
	Components *iface, boolean select, boolean bootable, VSS_BACKUP_TYPE type, boolean partial)
{
	struct components *x = impl_from(iface);
	(void)select;
	(void)bootable;
	(void)partial;
	HRESULT hr = components_enter(x, false);
	if (hr != S_OK)
		return hr;
	if (x->prepared)
		hr = VSS_E_BAD_STATE;
	else if (type <= VSS_BT_UNDEFINED || type > VSS_BT_OTHER)
		hr = E_INVALIDARG;
	x->state_set = x->state_set || hr == S_OK;
	components_leave(x);
	return hr;
}

static HRESULT STDMETHODCALLTYPE c_SetRestoreState(Components *iface, VSS_RESTORE_TYPE type)
{
	struct components *x = impl_from(iface);
	return x->phase != PHASE_RESTORE                              ? VSS_E_BAD_STATE
	       : type < VSS_RTYPE_UNDEFINED || type > VSS_RTYPE_OTHER ? E_INVALIDARG
								      : S_OK;
}

/* --- writers --- */

static HRESULT nothing(struct components *x, void *arg)
{
	(void)x;
	(void)arg;
	return S_OK;
}

/* An operation that only turns a flag on, once: then it is too late for another. */
static HRESULT step(Components *iface, IVssAsync **out, bool allowed, bool *flag, bool repeats)
{
	struct components *x = impl_from(iface);
	if (!out)
		return E_POINTER;
	*out = NULL;
	HRESULT hr = components_enter(x, true);
	if (hr != S_OK)
		return hr;
	if (!allowed || x->phase == PHASE_ENDED || (*flag && !repeats)) {
		hr = VSS_E_BAD_STATE;
	} else {
		*flag = true;
		hr = async_start(x, nothing, NULL, NULL, out);
	}
	components_leave(x);
	return hr;
}

static HRESULT STDMETHODCALLTYPE c_GatherWriterMetadata(Components *iface, IVssAsync **out)
{
	return step(iface, out, true, &impl_from(iface)->gathered, false);
}

static HRESULT STDMETHODCALLTYPE c_GatherWriterStatus(Components *iface, IVssAsync **out)
{
	return step(iface, out, true, &impl_from(iface)->status_gathered, true);
}

/* SetBackupState and the writers' metadata come first. */
static HRESULT STDMETHODCALLTYPE c_PrepareForBackup(Components *iface, IVssAsync **out)
{
	struct components *x = impl_from(iface);
	return step(iface, out, x->phase == PHASE_BACKUP && x->state_set && x->gathered, &x->prepared, false);
}

static HRESULT STDMETHODCALLTYPE c_BackupComplete(Components *iface, IVssAsync **out)
{
	struct components *x = impl_from(iface);
	return step(iface, out, x->phase == PHASE_BACKUP && x->done, &x->completed, false);
}

static HRESULT STDMETHODCALLTYPE c_PreRestore(Components *iface, IVssAsync **out)
{
	bool once = false;
	return step(iface, out, impl_from(iface)->phase == PHASE_RESTORE, &once, false);
}

static HRESULT count_of(Components *iface, bool gathered, UINT *count)
{
	struct components *x = impl_from(iface);
	if (!count)
		return E_POINTER;
	*count = 0;
	return x->phase == PHASE_NEW || !gathered ? VSS_E_BAD_STATE : S_OK;
}

static HRESULT STDMETHODCALLTYPE c_GetWriterMetadataCount(Components *iface, UINT *count)
{
	return count_of(iface, impl_from(iface)->gathered, count);
}

static HRESULT STDMETHODCALLTYPE c_GetWriterStatusCount(Components *iface, UINT *count)
{
	HRESULT hr = count_of(iface, impl_from(iface)->status_gathered, count);
	if (hr == S_OK)
		*count = writers_count();
	return hr;
}

static HRESULT STDMETHODCALLTYPE c_GetWriterComponentsCount(Components *iface, UINT *count)
{
	return count_of(iface, true, count);
}

static HRESULT STDMETHODCALLTYPE c_FreeWriterMetadata(Components *iface)
{
	return impl_from(iface)->gathered ? S_OK : VSS_E_BAD_STATE;
}

static HRESULT STDMETHODCALLTYPE c_FreeWriterStatus(Components *iface)
{
	return impl_from(iface)->status_gathered ? S_OK : VSS_E_BAD_STATE;
}

/* For every method that names a writer or a component of one: its other arguments do not matter. */
static HRESULT STDMETHODCALLTYPE no_such_writer(Components *iface)
{
	return impl_from(iface)->phase == PHASE_NEW ? VSS_E_BAD_STATE : VSS_E_OBJECT_NOT_FOUND;
}

/* Writers that are not there may be enabled and disabled. */
static HRESULT STDMETHODCALLTYPE c_WriterClasses(Components *iface, const VSS_ID *ids, UINT count)
{
	if (count && !ids)
		return E_INVALIDARG;
	return impl_from(iface)->phase == PHASE_NEW || impl_from(iface)->gathered ? VSS_E_BAD_STATE : S_OK;
}

static HRESULT STDMETHODCALLTYPE not_implemented(Components *iface)
{
	(void)iface;
	return E_NOTIMPL;
}

/* --- the document, and the end --- */

static HRESULT STDMETHODCALLTYPE c_SaveAsXML(Components *iface, BSTR *out)
{
	struct components *x = impl_from(iface);
	if (!out)
		return E_POINTER;
	*out = NULL;
	HRESULT hr = components_enter(x, true);
	if (hr != S_OK)
		return hr;
	*out = SysAllocString(
		x->document ? x->document : L"{\"format\": \"umbra-lab-document\", \"format_version\": 1}");
	components_leave(x);
	return *out ? S_OK : E_OUTOFMEMORY;
}

static HRESULT abort_session(void *arg)
{
	return ILabSession_Abort(((struct components *)arg)->session);
}

static HRESULT STDMETHODCALLTYPE c_AbortBackup(Components *iface)
{
	struct components *x = impl_from(iface);
	HRESULT hr = components_enter(x, false);
	if (hr != S_OK)
		return hr;
	x->phase = PHASE_ENDED;
	x->adding = false;
	components_leave(x);
	return mta_run(abort_session, x);
}

static HRESULT STDMETHODCALLTYPE c_GetSessionId(Components *iface, VSS_ID *id)
{
	(void)iface;
	return id ? CoCreateGuid(id) : E_POINTER;
}

static const IVssBackupComponentsEx4Vtbl components_vtbl = {
	.QueryInterface = c_QueryInterface,
	.AddRef = c_AddRef,
	.Release = c_Release,
	.GetWriterComponentsCount = c_GetWriterComponentsCount,
	.GetWriterComponents = (void *)no_such_writer,
	.InitializeForBackup = c_InitializeForBackup,
	.SetBackupState = c_SetBackupState,
	.InitializeForRestore = c_InitializeForRestore,
	.SetRestoreState = c_SetRestoreState,
	.GatherWriterMetadata = c_GatherWriterMetadata,
	.GetWriterMetadataCount = c_GetWriterMetadataCount,
	.GetWriterMetadata = (void *)no_such_writer,
	.FreeWriterMetadata = c_FreeWriterMetadata,
	.AddComponent = (void *)no_such_writer,
	.PrepareForBackup = c_PrepareForBackup,
	.AbortBackup = c_AbortBackup,
	.GatherWriterStatus = c_GatherWriterStatus,
	.GetWriterStatusCount = c_GetWriterStatusCount,
	.FreeWriterStatus = c_FreeWriterStatus,
	.GetWriterStatus = writers_status,
	.SetBackupSucceeded = (void *)no_such_writer,
	.SetBackupOptions = (void *)no_such_writer,
	.SetSelectedForRestore = (void *)no_such_writer,
	.SetRestoreOptions = (void *)no_such_writer,
	.SetAdditionalRestores = (void *)no_such_writer,
	.SetPreviousBackupStamp = (void *)no_such_writer,
	.SaveAsXML = c_SaveAsXML,
	.BackupComplete = c_BackupComplete,
	.AddAlternativeLocationMapping = (void *)no_such_writer,
	.AddRestoreSubcomponent = (void *)no_such_writer,
	.SetFileRestoreStatus = (void *)no_such_writer,
	.AddNewTarget = (void *)no_such_writer,
	.SetRangesFilePath = (void *)no_such_writer,
	.PreRestore = c_PreRestore,
	.PostRestore = c_PreRestore,
	.SetContext = c_SetContext,
	.StartSnapshotSet = snap_StartSnapshotSet,
	.AddToSnapshotSet = snap_AddToSnapshotSet,
	.DoSnapshotSet = snap_DoSnapshotSet,
	.DeleteSnapshots = snap_DeleteSnapshots,
	.ImportSnapshots = snap_ImportSnapshots,
	.BreakSnapshotSet = snap_BreakSnapshotSet,
	.GetSnapshotProperties = snap_GetSnapshotProperties,
	.Query = snap_Query,
	.IsVolumeSupported = snap_IsVolumeSupported,
	.DisableWriterClasses = c_WriterClasses,
	.EnableWriterClasses = c_WriterClasses,
	.DisableWriterInstances = c_WriterClasses,
	.ExposeSnapshot = snap_ExposeSnapshot,
	.RevertToSnapshot = (void *)not_implemented,
	.QueryRevertStatus = (void *)not_implemented,
	.GetWriterMetadataEx = (void *)no_such_writer,
	.SetSelectedForRestoreEx = (void *)no_such_writer,
	.UnexposeSnapshot = snap_UnexposeSnapshot,
	.SetAuthoritativeRestore = (void *)no_such_writer,
	.SetRollForward = (void *)no_such_writer,
	.SetRestoreName = (void *)no_such_writer,
	.BreakSnapshotSetEx = snap_BreakSnapshotSetEx,
	.PreFastRecovery = (void *)not_implemented,
	.FastRecovery = (void *)not_implemented,
	.GetWriterStatusEx = (void *)no_such_writer,
	.AddSnapshotToRecoverySet = snap_AddSnapshotToRecoverySet,
	.RecoverSet = snap_RecoverSet,
	.GetSessionId = c_GetSessionId,
	.GetRootAndLogicalPrefixPaths = (void *)not_implemented,
};

HRESULT WINAPI create_components(IVssBackupComponents **out)
{
	if (!out)
		return E_POINTER;
	*out = NULL;
	struct components *x = calloc(1, sizeof *x);
	if (!x)
		return E_OUTOFMEMORY;
	x->IVssBackupComponentsEx4_iface.lpVtbl = (IVssBackupComponentsEx4Vtbl *)(uintptr_t)&components_vtbl;
	x->ILabComponents_iface.lpVtbl = &lab_components_vtbl;
	x->refs = 1;
	InitializeCriticalSection(&x->lock);
	*out = (IVssBackupComponents *)&x->IVssBackupComponentsEx4_iface;
	return S_OK;
}
