/* SPDX-License-Identifier: Apache-2.0 */
/* The methods of IVssBackupComponents that are about shadow copies. */
#ifndef LAB_VSSAPI_SNAPSHOTS_H
#define LAB_VSSAPI_SNAPSHOTS_H

#include "lab/vssapi/vssapi.h"

typedef IVssBackupComponentsEx4 Components;

HRESULT STDMETHODCALLTYPE snap_StartSnapshotSet(Components *iface, VSS_ID *set_id);
HRESULT STDMETHODCALLTYPE snap_AddToSnapshotSet(
	Components *iface, VSS_PWSZ volume, VSS_ID provider_id, VSS_ID *snapshot_id);
HRESULT STDMETHODCALLTYPE snap_DoSnapshotSet(Components *iface, IVssAsync **out);
HRESULT STDMETHODCALLTYPE snap_DeleteSnapshots(Components *iface, VSS_ID id, VSS_OBJECT_TYPE type,
	WINBOOL force, LONG *deleted, VSS_ID *not_deleted);
HRESULT STDMETHODCALLTYPE snap_ImportSnapshots(Components *iface, IVssAsync **out);
HRESULT STDMETHODCALLTYPE snap_BreakSnapshotSet(Components *iface, VSS_ID set_id);
HRESULT STDMETHODCALLTYPE snap_BreakSnapshotSetEx(
	Components *iface, VSS_ID set_id, DWORD flags, IVssAsync **out);
HRESULT STDMETHODCALLTYPE snap_GetSnapshotProperties(Components *iface, VSS_ID id, VSS_SNAPSHOT_PROP *prop);
HRESULT STDMETHODCALLTYPE snap_Query(
	Components *iface, VSS_ID id, VSS_OBJECT_TYPE type, VSS_OBJECT_TYPE wanted, IVssEnumObject **out);
HRESULT STDMETHODCALLTYPE snap_IsVolumeSupported(
	Components *iface, VSS_ID provider_id, VSS_PWSZ volume, WINBOOL *supported);
HRESULT STDMETHODCALLTYPE snap_ExposeSnapshot(
	Components *iface, VSS_ID id, VSS_PWSZ path, LONG attributes, VSS_PWSZ name, VSS_PWSZ *exposed);
HRESULT STDMETHODCALLTYPE snap_UnexposeSnapshot(Components *iface, VSS_ID id);
HRESULT STDMETHODCALLTYPE snap_AddSnapshotToRecoverySet(
	Components *iface, VSS_ID id, DWORD flags, VSS_PWSZ destination);
HRESULT STDMETHODCALLTYPE snap_RecoverSet(Components *iface, DWORD flags, IVssAsync **out);

#endif
