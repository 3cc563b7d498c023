/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A caller that is confused or hostile, against any provider that is registered with COM: NULL where a pointer
 * should be, counts that are no counts, LUNs of other arrays and such as cannot be, set ids that nobody knows, calls
 * without a set. Every answer must be one that the contract allows, nothing may be claimed to be supported, and the
 * provider must live on in the same process.
 */
#include "lab/selftest/selftest.h"

#include <stdio.h>
#include <string.h>
#include <vsserror.h>

#define NULL_REFERENCE ((HRESULT)0x800706f4) /* HRESULT_FROM_WIN32(RPC_X_NULL_REF_POINTER), of the proxy */
#define TEXT_BYTES     65000
#define LUNS           3

static unsigned checks, failures;

static void check(bool good, const char *what, HRESULT hr)
{
	checks++;
	if (good)
		return;
	failures++;
	printf("FAILED: %s: 0x%08x\n", what, (unsigned)hr);
}

static bool allowed(HRESULT hr)
{
	static const HRESULT codes[] = {E_OUTOFMEMORY, E_INVALIDARG, E_ACCESSDENIED, VSS_E_BAD_STATE,
		VSS_E_OBJECT_NOT_FOUND, VSS_E_INSUFFICIENT_STORAGE, VSS_E_VOLUME_NOT_SUPPORTED,
		VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER, VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED,
		VSS_E_PROVIDER_VETO, VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED, VSS_E_NESTED_VOLUME_LIMIT,
		VSS_E_UNSUPPORTED_CONTEXT, E_NOTIMPL};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (hr == codes[i])
			return true;
	return false;
}

static void refused(HRESULT hr, const char *what)
{
	check(allowed(hr), what, hr);
}

static void refused_or_not_sent(HRESULT hr, const char *what)
{
	check(hr == NULL_REFERENCE || allowed(hr), what, hr);
}

static VSS_ID new_id(void)
{
	VSS_ID id;

	CoCreateGuid(&id);
	return id;
}

static void null_pointers(IVssHardwareSnapshotProviderEx *ex)
{
	VDS_LUN_INFORMATION lun, out = {0};
	IVssAsync *async = NULL;
	WINBOOL yes = TRUE;

	pattern_fill(&lun, 0, MODE_KEEP);
	refused_or_not_sent(IVssHardwareSnapshotProviderEx_AreLunsSupported(ex, 1, 0, NULL, NULL, &yes),
		"AreLunsSupported without LUNs");
	refused_or_not_sent(IVssHardwareSnapshotProviderEx_AreLunsSupported(ex, 1, 0, NULL, &lun, NULL),
		"AreLunsSupported without an answer");
	refused_or_not_sent(IVssHardwareSnapshotProviderEx_FillInLunInfo(ex, NULL, NULL, &yes),
		"FillInLunInfo without a LUN");
	refused_or_not_sent(IVssHardwareSnapshotProviderEx_FillInLunInfo(ex, NULL, &lun, NULL),
		"FillInLunInfo without an answer");
	refused_or_not_sent(
		IVssHardwareSnapshotProviderEx_BeginPrepareSnapshot(ex, new_id(), new_id(), 0, 1, NULL, NULL),
		"BeginPrepareSnapshot without LUNs");
	refused_or_not_sent(IVssHardwareSnapshotProviderEx_GetTargetLuns(ex, 1, NULL, NULL, &out),
		"GetTargetLuns without sources");
	refused_or_not_sent(IVssHardwareSnapshotProviderEx_GetTargetLuns(ex, 1, NULL, &lun, NULL),
		"GetTargetLuns without destinations");
	refused(IVssHardwareSnapshotProviderEx_LocateLuns(ex, 1, NULL), "LocateLuns of NULL");
	refused(IVssHardwareSnapshotProviderEx_OnLunEmpty(ex, NULL, NULL), "OnLunEmpty of NULL");
	refused(IVssHardwareSnapshotProviderEx_OnLunStateChange(
			ex, NULL, NULL, 1, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS),
		"OnLunStateChange of NULL");
	refused_or_not_sent(IVssHardwareSnapshotProviderEx_GetProviderCapabilities(ex, NULL),
		"GetProviderCapabilities of NULL");
	refused(IVssHardwareSnapshotProviderEx_ResyncLuns(ex, NULL, NULL, 1, &async), "ResyncLuns of NULL");
	refused_or_not_sent(IVssHardwareSnapshotProviderEx_ResyncLuns(ex, &lun, &lun, 1, NULL),
		"ResyncLuns without a result");
	refused(IVssHardwareSnapshotProviderEx_OnReuseLuns(ex, NULL, NULL, 1), "OnReuseLuns of NULL");
	check(async == NULL, "no object with an error", 0);
	pattern_free(&lun);
}

static void not_claimed(
	IVssHardwareSnapshotProviderEx *ex, VDS_LUN_INFORMATION *luns, LONG count, const char *what)
{
	WINBOOL yes = TRUE;
	HRESULT hr = IVssHardwareSnapshotProviderEx_AreLunsSupported(ex, count, 0, NULL, luns, &yes);

	check(hr == S_OK || allowed(hr), what, hr);
	check(!yes || hr != S_OK, what, hr);
	yes = TRUE;
	hr = IVssHardwareSnapshotProviderEx_FillInLunInfo(ex, NULL, luns, &yes);
	check((hr == S_OK || allowed(hr)) && (!yes || hr != S_OK), what, hr);
	refused(IVssHardwareSnapshotProviderEx_BeginPrepareSnapshot(
			ex, new_id(), new_id(), 0, count, NULL, luns),
		what);
	refused(IVssHardwareSnapshotProviderEx_OnLunEmpty(ex, NULL, luns), what);
	refused(IVssHardwareSnapshotProviderEx_LocateLuns(ex, count, luns), what);
}

static char *long_text(void)
{
	char *text = CoTaskMemAlloc(TEXT_BYTES + 1);

	if (text) {
		memset(text, 'x', TEXT_BYTES);
		text[TEXT_BYTES] = '\0';
	}
	return text;
}

static void foreign_luns(IVssHardwareSnapshotProviderEx *ex)
{
	VDS_LUN_INFORMATION luns[LUNS];
	VDS_STORAGE_IDENTIFIER empty[2] = {{.m_CodeSet = 1, .m_Type = 3}, {.m_CodeSet = 99, .m_Type = 99}};

	for (unsigned i = 0; i < LUNS; i++)
		pattern_fill(&luns[i], i, MODE_KEEP);
	not_claimed(ex, luns, 1, "a foreign LUN");
	not_claimed(ex, luns, LUNS, "foreign LUNs");
	for (unsigned i = 0; i < LUNS; i++)
		pattern_free(&luns[i]);
	memset(luns, 0, sizeof(luns));
	not_claimed(ex, luns, 1, "a LUN of zeros");
	luns[0].m_deviceIdDescriptor.m_cIdentifiers = 2;
	luns[0].m_deviceIdDescriptor.m_rgIdentifiers = empty;
	not_claimed(ex, luns, 1, "a LUN with empty identifiers");
	memset(luns, 0, sizeof(luns));
	luns[0].m_szVendorId = long_text();
	luns[0].m_szProductId = long_text();
	luns[0].m_szSerialNumber = long_text();
	not_claimed(ex, luns, 1, "a LUN with endless strings");
	pattern_free(&luns[0]);
}

static void impossible_counts(IVssHardwareSnapshotProviderEx *ex)
{
	VDS_LUN_INFORMATION lun = {0};
	WINBOOL yes = TRUE;

	refused(IVssHardwareSnapshotProviderEx_AreLunsSupported(ex, 0, 0, NULL, &lun, &yes), "a count of 0");
	refused(IVssHardwareSnapshotProviderEx_BeginPrepareSnapshot(ex, new_id(), new_id(), 0, 0, NULL, &lun),
		"a count of 0 to begin with");
	refused(IVssHardwareSnapshotProviderEx_LocateLuns(ex, 0, NULL), "nothing to locate");
}

/* A set that nobody began: not found; aborting it is no mistake. */
static void unknown_sets(IVssProviderCreateSnapshotSet *set)
{
	VSS_ID id = new_id();

	for (unsigned i = 0; i < 2; i++, memset(&id, 0, sizeof(id))) {
		HRESULT want = VSS_E_OBJECT_NOT_FOUND;
		HRESULT got[] = {IVssProviderCreateSnapshotSet_EndPrepareSnapshots(set, id),
			IVssProviderCreateSnapshotSet_PreCommitSnapshots(set, id),
			IVssProviderCreateSnapshotSet_CommitSnapshots(set, id),
			IVssProviderCreateSnapshotSet_PostCommitSnapshots(set, id, 1),
			IVssProviderCreateSnapshotSet_PreFinalCommitSnapshots(set, id),
			IVssProviderCreateSnapshotSet_PostFinalCommitSnapshots(set, id)};
		for (size_t c = 0; c < sizeof(got) / sizeof(got[0]); c++)
			check(got[c] == want, i ? "the null set id" : "an unknown set id", got[c]);
		HRESULT hr = IVssProviderCreateSnapshotSet_AbortSnapshots(set, id);
		check(hr == S_OK || (i && allowed(hr)), "aborting an unknown set", hr);
	}
}

int selftest_hostile(const wchar_t *class_text)
{
	IVssHardwareSnapshotProviderEx *ex = NULL;
	IVssProviderCreateSnapshotSet *set = NULL;
	CLSID clsid;

	if (FAILED(CoInitializeEx(NULL, COINIT_MULTITHREADED)))
		return 1;
	if (FAILED(CLSIDFromString(class_text, &clsid))) {
		fputws(L"umbra-lab-selftest hostile: the class is written as {8-4-4-4-12 hex digits}\n",
			stderr);
		return 2;
	}
	HRESULT hr = CoCreateInstance(
		&clsid, NULL, CLSCTX_LOCAL_SERVER, &IID_IVssHardwareSnapshotProviderEx, (void **)&ex);
	check(hr == S_OK, "activating the provider", hr);
	if (ex)
		hr = IVssHardwareSnapshotProviderEx_QueryInterface(
			ex, &IID_IVssProviderCreateSnapshotSet, (void **)&set);
	check(set != NULL, "IVssProviderCreateSnapshotSet", hr);
	for (unsigned turn = 0; ex && set && turn < 2;
		turn++) { /* the second: it still lives, and as before */
		null_pointers(ex);
		foreign_luns(ex);
		impossible_counts(ex);
		unknown_sets(set);
	}
	if (set)
		IVssProviderCreateSnapshotSet_Release(set);
	if (ex)
		IVssHardwareSnapshotProviderEx_Release(ex);
	CoUninitialize();
	printf("%u checks, %u failed\n", checks, failures);
	return failures ? 1 : 0;
}
