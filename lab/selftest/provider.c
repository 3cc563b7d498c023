/* SPDX-License-Identifier: Apache-2.0 */
/* The selftest's provider: see selftest.h for what decides its answers. */
#include "lab/selftest/selftest.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>
#include <vsserror.h>

#define SELFTEST_KEY L"Software\\Umbra\\Lab\\Selftest"
#define CAPABILITIES 0x1122334455667788ull

struct fake {
	IVssHardwareSnapshotProviderEx Ex_iface;
	IVssProviderCreateSnapshotSet Set_iface;
	IVssProviderNotifications Notify_iface;
	IVssAsync Async_iface;
	HRESULT async_state;
	ULONGLONG async_began_ms; /* 0: the client's test, which never ends */
	LONG async_refs;
};

static struct fake fake; /* one, static: references are not counted */
static HANDLE unloaded;

static HRESULT query(REFIID iid, void **out);

static DWORD setting(const wchar_t *name, const wchar_t *ending, DWORD otherwise)
{
	wchar_t full[96];
	DWORD value = 0, bytes = sizeof value;
	_snwprintf(full, 96, L"%ls%ls", name, ending);
	full[95] = 0;
	if (RegGetValueW(HKEY_LOCAL_MACHINE, SELFTEST_KEY, full, RRF_RT_REG_DWORD, NULL, &value, &bytes) !=
		ERROR_SUCCESS)
		return otherwise;
	return value;
}

/* The serial number of the disk that plays its shadow LUN, ASCII; false: there is none, and what it invents never arrives. */
static bool shadow_serial(char *out, DWORD cap)
{
	DWORD bytes = cap;
	return RegGetValueA(HKEY_LOCAL_MACHINE, "Software\\Umbra\\Lab\\Selftest", "ShadowSerial",
		       RRF_RT_REG_SZ, NULL, out, &bytes) == ERROR_SUCCESS;
}

/* What the registry wants of a method when the coordinator calls it. */
static HRESULT told(const wchar_t *method)
{
	DWORD ms = setting(method, L"Ms", 0);
	if (ms)
		Sleep(ms);
	if (setting(method, L"Exit", 0))
		TerminateProcess(GetCurrentProcess(), 3);
	return (HRESULT)setting(method, L"", S_OK);
}

/* --- IVssHardwareSnapshotProviderEx --- */

static HRESULT STDMETHODCALLTYPE ex_QueryInterface(
	IVssHardwareSnapshotProviderEx *iface, REFIID iid, void **out)
{
	(void)iface;
	return query(iid, out);
}

static ULONG STDMETHODCALLTYPE ex_AddRef(IVssHardwareSnapshotProviderEx *iface)
{
	(void)iface;
	return CoAddRefServerProcess();
}

static ULONG STDMETHODCALLTYPE ex_Release(IVssHardwareSnapshotProviderEx *iface)
{
	(void)iface;
	ULONG left = CoReleaseServerProcess();
	if (left == 0)
		SetEvent(unloaded);
	return left;
}

static bool is_test_device(const WCHAR *name)
{
	return name && wcsncmp(name, L"test ", 5) == 0;
}

/* What came in is right and lies on the heap; then the mode is done to it. */
static HRESULT work(LONG count, VDS_LUN_INFORMATION *luns, enum mode mode)
{
	for (LONG i = 0; i < count; i++)
		if (pattern_check(&luns[i], (unsigned)i, MODE_KEEP) || !pattern_is_heap(&luns[i]))
			return VSS_E_BAD_STATE;
	if (mode == MODE_FAIL)
		return VSS_E_PROVIDER_VETO;
	for (LONG i = 0; i < count && mode != MODE_KEEP; i++) {
		pattern_free(&luns[i]);
		pattern_fill(&luns[i], (unsigned)i, mode);
	}
	return S_OK;
}

static HRESULT check_names(LONG count, VSS_PWSZ *names)
{
	wchar_t want[32];
	for (LONG i = 0; names && i < count; i++) {
		_snwprintf(want, 32, L"test device %ld", i);
		if (!names[i] || wcscmp(names[i], want) != 0)
			return E_INVALIDARG;
	}
	return S_OK;
}

static HRESULT STDMETHODCALLTYPE ex_AreLunsSupported(IVssHardwareSnapshotProviderEx *iface, LONG count,
	LONG context, VSS_PWSZ *names, VDS_LUN_INFORMATION *luns, WINBOOL *supported)
{
	(void)iface;
	*supported = TRUE;
	if (names && count > 0 && !is_test_device(names[0])) {
		*supported = setting(L"Supported", L"", 1) != 0;
		return told(L"AreLunsSupported");
	}
	HRESULT hr = check_names(count, names);
	return hr == S_OK ? work(count, luns, (enum mode)context) : hr;
}

static char *text_of(const char *text)
{
	char *out = CoTaskMemAlloc(strlen(text) + 1);
	if (out)
		memcpy(out, text, strlen(text) + 1);
	return out;
}

/* As GetTargetLuns has it, and FillInLunInfo of the disk. */
static void describe_shadow(VDS_LUN_INFORMATION *out, const char *serial)
{
	VDS_STORAGE_DEVICE_ID_DESCRIPTOR *d = &out->m_deviceIdDescriptor;
	memset(out, 0, sizeof *out);
	out->m_version = VER_VDS_LUN_INFORMATION;
	out->m_BusType = VDSBusTypeiScsi;
	out->m_szVendorId = text_of("umbra-lab");
	out->m_szProductId = text_of("selftest");
	out->m_szProductRevision = text_of("1");
	out->m_szSerialNumber = text_of(serial);
	d->m_version = 1;
	d->m_cIdentifiers = 1;
	d->m_rgIdentifiers = CoTaskMemAlloc(sizeof *d->m_rgIdentifiers);
	d->m_rgIdentifiers[0] = (VDS_STORAGE_IDENTIFIER){.m_CodeSet = VDSStorageIdCodeSetAscii,
		.m_Type = VDSStorageIdTypeVendorId,
		.m_cbIdentifier = (ULONG)strlen(serial),
		.m_rgbIdentifier = (BYTE *)text_of(serial)};
}

static HRESULT STDMETHODCALLTYPE ex_FillInLunInfo(
	IVssHardwareSnapshotProviderEx *iface, VSS_PWSZ name, VDS_LUN_INFORMATION *lun, WINBOOL *supported)
{
	(void)iface;
	char serial[64];
	*supported = TRUE;
	if (is_test_device(name))
		return work(1, lun, (enum mode)wcstol(name + 5, NULL, 10));
	if (shadow_serial(serial, sizeof serial)) {
		*supported = lun->m_szSerialNumber && strcmp(lun->m_szSerialNumber, serial) == 0;
		if (*supported) {
			pattern_free(lun);
			describe_shadow(lun, serial);
		}
	}
	return told(L"FillInLunInfo");
}

static HRESULT STDMETHODCALLTYPE ex_BeginPrepareSnapshot(IVssHardwareSnapshotProviderEx *iface, VSS_ID set,
	VSS_ID snapshot, LONG context, LONG count, VSS_PWSZ *names, VDS_LUN_INFORMATION *luns)
{
	(void)iface;
	if (names && count > 0 && !is_test_device(names[0]))
		return told(L"BeginPrepareSnapshot");
	if (set.Data1 != 0x11111111 || snapshot.Data4[7] != 0x77)
		return E_INVALIDARG;
	HRESULT hr = check_names(count, names);
	return hr == S_OK ? work(count, luns, (enum mode)context) : hr;
}

/* For the coordinator: the source's identity, one character of each string and identifier changed. */
static void invent_target(VDS_LUN_INFORMATION *out, const VDS_LUN_INFORMATION *from)
{
	static const BYTE naa[8] = {0x30, 1, 2, 3, 4, 5, 6, 7};
	VDS_STORAGE_DEVICE_ID_DESCRIPTOR *d = &out->m_deviceIdDescriptor;
	char *const strings[] = {
		from->m_szVendorId, from->m_szProductId, from->m_szProductRevision, from->m_szSerialNumber};
	char **const to[] = {
		&out->m_szVendorId, &out->m_szProductId, &out->m_szProductRevision, &out->m_szSerialNumber};
	memset(out, 0, sizeof *out);
	out->m_version = VER_VDS_LUN_INFORMATION;
	out->m_BusType = from->m_BusType;
	for (int i = 0; i < 4; i++) {
		size_t len = strings[i] ? strlen(strings[i]) : 0;
		*to[i] = CoTaskMemAlloc(len + 1);
		memcpy(*to[i], strings[i] ? strings[i] : "", len + 1);
		if (i == 3 && len)
			(*to[i])[0] ^= 1;
	}
	d->m_version = 1;
	d->m_cIdentifiers = 1;
	d->m_rgIdentifiers = CoTaskMemAlloc(sizeof *d->m_rgIdentifiers);
	d->m_rgIdentifiers[0] = (VDS_STORAGE_IDENTIFIER){.m_CodeSet = VDSStorageIdCodeSetBinary,
		.m_Type = VDSStorageIdTypeFCPHName,
		.m_cbIdentifier = sizeof naa,
		.m_rgbIdentifier = CoTaskMemAlloc(sizeof naa)};
	memcpy(d->m_rgIdentifiers[0].m_rgbIdentifier, naa, sizeof naa);
	if (out->m_szSerialNumber && strlen(out->m_szSerialNumber) >= 8)
		memcpy(d->m_rgIdentifiers[0].m_rgbIdentifier, out->m_szSerialNumber, 8);
}

static HRESULT STDMETHODCALLTYPE ex_GetTargetLuns(IVssHardwareSnapshotProviderEx *iface, LONG count,
	VSS_PWSZ *names, VDS_LUN_INFORMATION *from, VDS_LUN_INFORMATION *to)
{
	(void)iface;
	if (names && count > 0 && !is_test_device(names[0])) {
		char serial[64];
		HRESULT hr = told(L"GetTargetLuns");
		bool real = shadow_serial(serial, sizeof serial);
		for (LONG i = 0; i < count && hr == S_OK; i++) {
			pattern_free(&to[i]);
			if (real)
				describe_shadow(&to[i], serial);
			else
				invent_target(&to[i], &from[i]);
		}
		return hr;
	}
	HRESULT hr = check_names(count, names);
	for (LONG i = 0; i < count && hr == S_OK; i++) {
		if (pattern_check(&from[i], (unsigned)i, MODE_KEEP) || !pattern_is_heap(&from[i]) ||
			!pattern_is_heap(&to[i]))
			hr = VSS_E_BAD_STATE;
		pattern_free(&to[i]);
		pattern_fill(&to[i], (unsigned)i, MODE_LARGER);
	}
	return hr;
}

static HRESULT check_luns(LONG count, const VDS_LUN_INFORMATION *luns)
{
	for (LONG i = 0; i < count; i++)
		if (!luns || pattern_check(&luns[i], (unsigned)i, MODE_KEEP))
			return VSS_E_BAD_STATE;
	return S_OK;
}

static HRESULT STDMETHODCALLTYPE ex_LocateLuns(
	IVssHardwareSnapshotProviderEx *iface, LONG count, VDS_LUN_INFORMATION *luns)
{
	(void)iface;
	if (count > 0 && luns && luns[0].m_diskSignature.Data1 != 0x1000)
		return told(L"LocateLuns");
	return luns ? check_luns(count, luns) : VSS_E_OBJECT_NOT_FOUND;
}

static HRESULT STDMETHODCALLTYPE ex_OnLunEmpty(
	IVssHardwareSnapshotProviderEx *iface, VSS_PWSZ name, VDS_LUN_INFORMATION *lun)
{
	(void)iface;
	if (!name || !lun)
		return E_INVALIDARG;
	return is_test_device(name) ? check_luns(1, lun) : told(L"OnLunEmpty");
}

static HRESULT STDMETHODCALLTYPE ex_GetProviderCapabilities(
	IVssHardwareSnapshotProviderEx *iface, ULONGLONG *mask)
{
	(void)iface;
	*mask = CAPABILITIES;
	return S_OK;
}

static HRESULT STDMETHODCALLTYPE ex_OnLunStateChange(IVssHardwareSnapshotProviderEx *iface,
	VDS_LUN_INFORMATION *shadows, VDS_LUN_INFORMATION *originals, DWORD count, DWORD flags)
{
	(void)iface;
	if (count > 0 && shadows && shadows[0].m_diskSignature.Data1 != 0x1000)
		return told(L"OnLunStateChange");
	if (flags != VSS_ONLUNSTATECHANGE_DO_MASK_LUNS)
		return E_INVALIDARG;
	HRESULT hr = check_luns((LONG)count, shadows);
	return hr == S_OK ? check_luns((LONG)count, originals) : hr;
}

static HRESULT STDMETHODCALLTYPE ex_ResyncLuns(IVssHardwareSnapshotProviderEx *iface,
	VDS_LUN_INFORMATION *from, VDS_LUN_INFORMATION *to, DWORD count, IVssAsync **async)
{
	(void)iface;
	*async = NULL;
	if (count == 0)
		return E_NOTIMPL;
	bool for_coordinator = from && from[0].m_diskSignature.Data1 != 0x1000;
	HRESULT hr = for_coordinator ? told(L"ResyncLuns") : check_luns((LONG)count, from);
	if (hr == S_OK && !for_coordinator)
		hr = check_luns((LONG)count, to);
	if (hr != S_OK)
		return hr;
	fake.async_state = VSS_S_ASYNC_PENDING;
	fake.async_began_ms = for_coordinator ? GetTickCount64() : 0;
	fake.async_refs = 1;
	CoAddRefServerProcess();
	*async = &fake.Async_iface;
	return S_OK;
}

static HRESULT STDMETHODCALLTYPE ex_OnReuseLuns(IVssHardwareSnapshotProviderEx *iface,
	VDS_LUN_INFORMATION *shadows, VDS_LUN_INFORMATION *originals, DWORD count)
{
	(void)iface;
	(void)originals;
	return check_luns((LONG)count, shadows);
}

static const IVssHardwareSnapshotProviderExVtbl ex_vtbl = {ex_QueryInterface, ex_AddRef, ex_Release,
	ex_AreLunsSupported, ex_FillInLunInfo, ex_BeginPrepareSnapshot, ex_GetTargetLuns, ex_LocateLuns,
	ex_OnLunEmpty, ex_GetProviderCapabilities, ex_OnLunStateChange, ex_ResyncLuns, ex_OnReuseLuns};

/* --- IVssProviderCreateSnapshotSet: a test's set id carries its own result --- */

/* Such an id: all but the result is fixed, with a version that no random GUID has. */
static bool carries_result(const VSS_ID *id)
{
	return !id->Data2 && !id->Data3 && id->Data4[7] == 0x77;
}

#define SET_METHOD(name)                                                                                     \
	static HRESULT STDMETHODCALLTYPE set_##name(IVssProviderCreateSnapshotSet *iface, VSS_ID id)         \
	{                                                                                                    \
		(void)iface;                                                                                 \
		return carries_result(&id) ? (HRESULT)id.Data1 : told(L"" #name);                            \
	}

SET_METHOD(EndPrepareSnapshots)
SET_METHOD(PreCommitSnapshots)
SET_METHOD(CommitSnapshots)
SET_METHOD(PreFinalCommitSnapshots)
SET_METHOD(PostFinalCommitSnapshots)
SET_METHOD(AbortSnapshots)

static HRESULT STDMETHODCALLTYPE set_PostCommitSnapshots(
	IVssProviderCreateSnapshotSet *iface, VSS_ID id, LONG count)
{
	(void)iface;
	if (!carries_result(&id))
		return told(L"PostCommitSnapshots");
	return count == 42 ? (HRESULT)id.Data1 : E_INVALIDARG;
}

static HRESULT STDMETHODCALLTYPE set_QueryInterface(
	IVssProviderCreateSnapshotSet *iface, REFIID iid, void **out)
{
	(void)iface;
	return query(iid, out);
}

static ULONG STDMETHODCALLTYPE set_AddRef(IVssProviderCreateSnapshotSet *iface)
{
	(void)iface;
	return ex_AddRef(NULL);
}

static ULONG STDMETHODCALLTYPE set_Release(IVssProviderCreateSnapshotSet *iface)
{
	(void)iface;
	return ex_Release(NULL);
}

static const IVssProviderCreateSnapshotSetVtbl set_vtbl = {set_QueryInterface, set_AddRef, set_Release,
	set_EndPrepareSnapshots, set_PreCommitSnapshots, set_CommitSnapshots, set_PostCommitSnapshots,
	set_PreFinalCommitSnapshots, set_PostFinalCommitSnapshots, set_AbortSnapshots};

/* --- IVssProviderNotifications --- */

static HRESULT STDMETHODCALLTYPE notify_QueryInterface(
	IVssProviderNotifications *iface, REFIID iid, void **out)
{
	(void)iface;
	return query(iid, out);
}

static ULONG STDMETHODCALLTYPE notify_AddRef(IVssProviderNotifications *iface)
{
	(void)iface;
	return ex_AddRef(NULL);
}

static ULONG STDMETHODCALLTYPE notify_Release(IVssProviderNotifications *iface)
{
	(void)iface;
	return ex_Release(NULL);
}

static HRESULT STDMETHODCALLTYPE notify_OnLoad(IVssProviderNotifications *iface, IUnknown *callback)
{
	(void)iface;
	return callback ? E_INVALIDARG : told(L"OnLoad");
}

static HRESULT STDMETHODCALLTYPE notify_OnUnload(IVssProviderNotifications *iface, WINBOOL force)
{
	(void)iface;
	return force ? S_OK : told(L"OnUnload");
}

static const IVssProviderNotificationsVtbl notify_vtbl = {
	notify_QueryInterface, notify_AddRef, notify_Release, notify_OnLoad, notify_OnUnload};

/* --- IVssAsync --- */

static HRESULT STDMETHODCALLTYPE async_QueryInterface(IVssAsync *iface, REFIID iid, void **out)
{
	*out = IsEqualIID(iid, &IID_IUnknown) || IsEqualIID(iid, &IID_IVssAsync) ? iface : NULL;
	if (*out)
		IVssAsync_AddRef(iface);
	return *out ? S_OK : E_NOINTERFACE;
}

static ULONG STDMETHODCALLTYPE async_AddRef(IVssAsync *iface)
{
	(void)iface;
	return (ULONG)InterlockedIncrement(&fake.async_refs);
}

static ULONG STDMETHODCALLTYPE async_Release(IVssAsync *iface)
{
	(void)iface;
	LONG refs = InterlockedDecrement(&fake.async_refs);
	if (refs == 0)
		ex_Release(NULL);
	return (ULONG)refs;
}

static HRESULT STDMETHODCALLTYPE async_Cancel(IVssAsync *iface)
{
	(void)iface;
	fake.async_state = VSS_S_ASYNC_CANCELLED;
	return S_OK;
}

static HRESULT STDMETHODCALLTYPE async_Wait(IVssAsync *iface, DWORD ms)
{
	(void)iface;
	if (fake.async_began_ms) {
		Sleep(ms < 20 ? ms : 20);
		return S_OK;
	}
	return ms == 5 ? S_OK : E_INVALIDARG;
}

static HRESULT STDMETHODCALLTYPE async_QueryStatus(IVssAsync *iface, HRESULT *state, INT *percent)
{
	/* The setting as it is now: whoever changes it ends what is on the way. */
	ULONGLONG takes_ms = setting(L"Resync", L"TakesMs", 0),
		  took_ms = GetTickCount64() - fake.async_began_ms;
	(void)iface;
	if (fake.async_began_ms && fake.async_state == VSS_S_ASYNC_PENDING && took_ms >= takes_ms)
		fake.async_state = (HRESULT)setting(L"Resync", L"Ends", VSS_S_ASYNC_FINISHED);
	*state = fake.async_state;
	if (percent && fake.async_began_ms)
		*percent = took_ms < takes_ms ? (INT)(took_ms * 100 / takes_ms) : 100;
	else if (percent)
		*percent = *percent + 50;
	return S_OK;
}

static const IVssAsyncVtbl async_vtbl = {
	async_QueryInterface, async_AddRef, async_Release, async_Cancel, async_Wait, async_QueryStatus};

static HRESULT query(REFIID iid, void **out)
{
	*out = NULL;
	if (IsEqualIID(iid, &IID_IUnknown) || IsEqualIID(iid, &IID_IVssHardwareSnapshotProvider) ||
		IsEqualIID(iid, &IID_IVssHardwareSnapshotProviderEx))
		*out = &fake.Ex_iface;
	else if (IsEqualIID(iid, &IID_IVssProviderCreateSnapshotSet))
		*out = &fake.Set_iface;
	else if (IsEqualIID(iid, &IID_IVssProviderNotifications))
		*out = &fake.Notify_iface;
	else
		return E_NOINTERFACE;
	ex_AddRef(NULL);
	return S_OK;
}

/* --- the class object --- */

static HRESULT STDMETHODCALLTYPE factory_QueryInterface(IClassFactory *iface, REFIID iid, void **out)
{
	*out = IsEqualIID(iid, &IID_IUnknown) || IsEqualIID(iid, &IID_IClassFactory) ? iface : NULL;
	return *out ? S_OK : E_NOINTERFACE;
}

static ULONG STDMETHODCALLTYPE factory_AddRef(IClassFactory *iface)
{
	(void)iface;
	return 2;
}

static ULONG STDMETHODCALLTYPE factory_Release(IClassFactory *iface)
{
	(void)iface;
	return 1;
}

static HRESULT STDMETHODCALLTYPE factory_CreateInstance(
	IClassFactory *iface, IUnknown *outer, REFIID iid, void **out)
{
	(void)iface;
	*out = NULL;
	return outer ? CLASS_E_NOAGGREGATION : query(iid, out);
}

static HRESULT STDMETHODCALLTYPE factory_LockServer(IClassFactory *iface, WINBOOL lock)
{
	(void)iface;
	if (lock)
		ex_AddRef(NULL);
	else
		ex_Release(NULL);
	return S_OK;
}

static const IClassFactoryVtbl factory_vtbl = {
	factory_QueryInterface, factory_AddRef, factory_Release, factory_CreateInstance, factory_LockServer};
static IClassFactory factory = {(IClassFactoryVtbl *)(uintptr_t)&factory_vtbl};

int selftest_serve(void)
{
	DWORD cookie;
	unloaded = CreateEventW(NULL, TRUE, FALSE, NULL);
	fake.Ex_iface.lpVtbl = (IVssHardwareSnapshotProviderExVtbl *)(uintptr_t)&ex_vtbl;
	fake.Set_iface.lpVtbl = (IVssProviderCreateSnapshotSetVtbl *)(uintptr_t)&set_vtbl;
	fake.Notify_iface.lpVtbl = (IVssProviderNotificationsVtbl *)(uintptr_t)&notify_vtbl;
	fake.Async_iface.lpVtbl = (IVssAsyncVtbl *)(uintptr_t)&async_vtbl;
	if (FAILED(CoInitializeEx(NULL, COINIT_MULTITHREADED)) ||
		FAILED(CoRegisterClassObject(&selftest_clsid, (IUnknown *)&factory, CLSCTX_LOCAL_SERVER,
			REGCLS_MULTIPLEUSE | REGCLS_SUSPENDED, &cookie)) ||
		FAILED(CoResumeClassObjects()))
		return 1;
	WaitForSingleObject(unloaded, INFINITE);
	CoRevokeClassObject(cookie);
	CoUninitialize();
	return 0;
}
