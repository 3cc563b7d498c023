/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ILabComponents: what the lab's vssapi.dll offers beyond IVssBackupComponents, by QueryInterface of the same object. For the
 * lab's own requester, which takes VSS's way for all that VSS has, and needs besides:
 *
 * - wishes that VSS knows nothing of (LAB_CREATE: a longer hold, a requester that gives up after a call, …);
 * - volumes that are LUNs and have no drive (LAB_VOLUME_NAME);
 * - what was done: every call to the provider, phases with times, LUNs (LAB_RESULT);
 * - the port's disks, and providers that are to be unloaded.
 *
 * Local: there is no proxy for it.
 */
#ifndef LAB_COMPONENTS_H
#define LAB_COMPONENTS_H

#include <stdbool.h>
#include <windows.h>
#include <objbase.h>
#include "lab_requester.h"

/* swprintf's format: volume n of what was tuned. */
#define LAB_VOLUME_NAME L"\\\\?\\LabVolume{%ld}\\"

typedef struct ILabComponents ILabComponents;
struct ILabComponentsVtbl {
	HRESULT(STDMETHODCALLTYPE *QueryInterface)(ILabComponents *iface, REFIID iid, void **out);
	ULONG(STDMETHODCALLTYPE *AddRef)(ILabComponents *iface);
	ULONG(STDMETHODCALLTYPE *Release)(ILabComponents *iface);
	/* Before InitializeFor…, or between two sets. Copies; context and provider_id are not looked at. release_early: a
	 * resync is begun and not waited for. */
	HRESULT(STDMETHODCALLTYPE *Tune)(ILabComponents *iface, const LAB_CREATE *wishes, BOOL release_early);
	/* What the last operation did, once. After StartSnapshotSet or AddToSnapshotSet failed: the set is given up. Where nothing
	 * was done at all an empty one. CoTaskMem, as ILabRequester's. */
	HRESULT(STDMETHODCALLTYPE *TakeResult)(ILabComponents *iface, LAB_RESULT **result);
	HRESULT(STDMETHODCALLTYPE *Scan)(ILabComponents *iface, LAB_RESULT **result);
	HRESULT(STDMETHODCALLTYPE *Unload)(ILabComponents *iface, BOOL force, LAB_RESULT **result);
};
struct ILabComponents {
	const struct ILabComponentsVtbl *lpVtbl;
};

/* {3c0f7b6e-58a4-4c19-9d0b-6a1f2e7c4d93} */
static const GUID IID_ILabComponents = {
	0x3c0f7b6e, 0x58a4, 0x4c19, {0x9d, 0x0b, 0x6a, 0x1f, 0x2e, 0x7c, 0x4d, 0x93}};

#endif
