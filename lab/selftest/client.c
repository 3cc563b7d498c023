/* SPDX-License-Identifier: Apache-2.0 */
/* The selftest's client: every method over two processes. Prints each failed check; exit code 1 when there
 * was one. */
#include "lab/selftest/selftest.h"

#include <stdio.h>
#include <string.h>
#include <wchar.h>
#include <vsadmin.h>
#include <vsserror.h>

#define LUNS     5
#define RELEASES 1500

static unsigned checks, failures;

static void check(bool good, const char *what, unsigned detail)
{
	checks++;
	if (good)
		return;
	failures++;
	printf("FAILED: %s (%u, 0x%08x)\n", what, detail, detail);
}

static void check_hr(HRESULT got, HRESULT want, const char *what)
{
	checks++;
	if (got == want)
		return;
	failures++;
	printf("FAILED: %s: 0x%08x instead of 0x%08x\n", what, (unsigned)got, (unsigned)want);
}

struct luns {
	VDS_LUN_INFORMATION info[LUNS];
	wchar_t text[LUNS][32];
	VSS_PWSZ names[LUNS];
};

static void luns_fill(struct luns *l)
{
	for (unsigned i = 0; i < LUNS; i++) {
		pattern_fill(&l->info[i], i, MODE_KEEP);
		_snwprintf(l->text[i], 32, L"test device %u", i);
		l->names[i] = l->text[i];
	}
}

static void luns_check_and_free(struct luns *l, enum mode mode, LONG count, const char *what)
{
	for (unsigned i = 0; i < LUNS; i++) {
		enum mode want = (LONG)i < count && mode != MODE_FAIL ? mode : MODE_KEEP;
		const char *wrong = pattern_check(&l->info[i], i, want);
		if (wrong)
			printf("%s, LUN %u: %s\n", what, i, wrong);
		check(!wrong, what, (unsigned)mode);
		check(pattern_is_heap(&l->info[i]), "what came back lies in blocks of its own",
			(unsigned)mode);
		pattern_free(&l->info[i]);
	}
}

static void test_in_out(IVssHardwareSnapshotProvider *hw)
{
	const VSS_ID set = {0x11111111, 2, 3, {0}}, snapshot = {0, 0, 0, {0, 0, 0, 0, 0, 0, 0, 0x77}};
	for (enum mode mode = MODE_KEEP; mode < MODE_COUNT; mode++) {
		HRESULT want = mode == MODE_FAIL ? VSS_E_PROVIDER_VETO : S_OK;
		struct luns l;
		wchar_t name[32];
		WINBOOL supported = FALSE;
		for (LONG count = 1; count <= LUNS; count += LUNS - 1) {
			luns_fill(&l);
			check_hr(IVssHardwareSnapshotProvider_AreLunsSupported(
					 hw, count, mode, l.names, l.info, &supported),
				want, "AreLunsSupported");
			check(supported, "AreLunsSupported's answer", (unsigned)supported);
			luns_check_and_free(&l, mode, count, "AreLunsSupported");
			luns_fill(&l);
			check_hr(IVssHardwareSnapshotProvider_BeginPrepareSnapshot(
					 hw, set, snapshot, mode, count, l.names, l.info),
				want, "BeginPrepareSnapshot");
			luns_check_and_free(&l, mode, count, "BeginPrepareSnapshot");
		}
		luns_fill(&l);
		_snwprintf(name, 32, L"test %d", mode);
		supported = FALSE;
		check_hr(IVssHardwareSnapshotProvider_FillInLunInfo(hw, name, l.info, &supported), want,
			"FillInLunInfo");
		check(supported, "FillInLunInfo's answer", (unsigned)supported);
		luns_check_and_free(&l, mode, 1, "FillInLunInfo");
	}
}

static void test_get_target_luns(IVssHardwareSnapshotProvider *hw)
{
	for (int filled = 0; filled < 2; filled++) {
		struct luns from, to;
		luns_fill(&from);
		memset(&to, 0, sizeof to);
		if (filled)
			luns_fill(&to);
		check_hr(IVssHardwareSnapshotProvider_GetTargetLuns(hw, LUNS, from.names, from.info, to.info),
			S_OK, "GetTargetLuns");
		luns_check_and_free(&from, MODE_KEEP, LUNS, "GetTargetLuns, sources");
		luns_check_and_free(&to, MODE_LARGER, LUNS, "GetTargetLuns, destinations");
	}
}

static void test_in_only(IVssHardwareSnapshotProvider *hw, IVssHardwareSnapshotProviderEx *ex)
{
	struct luns l, m;
	ULONGLONG mask = 0;
	luns_fill(&l);
	luns_fill(&m);
	check_hr(IVssHardwareSnapshotProvider_LocateLuns(hw, LUNS, l.info), S_OK, "LocateLuns");
	check_hr(IVssHardwareSnapshotProvider_LocateLuns(hw, 0, NULL), VSS_E_OBJECT_NOT_FOUND,
		"LocateLuns of NULL");
	check_hr(IVssHardwareSnapshotProvider_OnLunEmpty(hw, l.names[0], l.info), S_OK, "OnLunEmpty");
	check_hr(IVssHardwareSnapshotProvider_OnLunEmpty(hw, NULL, NULL), E_INVALIDARG, "OnLunEmpty of NULL");
	check_hr(IVssHardwareSnapshotProviderEx_LocateLuns(ex, LUNS, l.info), S_OK, "LocateLuns through Ex");
	check_hr(IVssHardwareSnapshotProviderEx_GetProviderCapabilities(ex, &mask), S_OK,
		"GetProviderCapabilities");
	check(mask == 0x1122334455667788ull, "the capability mask", (unsigned)mask);
	check_hr(IVssHardwareSnapshotProviderEx_OnLunStateChange(
			 ex, l.info, m.info, LUNS, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS),
		S_OK, "OnLunStateChange");
	check_hr(IVssHardwareSnapshotProviderEx_OnLunStateChange(ex, l.info, m.info, LUNS, 1), E_INVALIDARG,
		"OnLunStateChange with other flags");
	check_hr(IVssHardwareSnapshotProviderEx_OnLunStateChange(
			 ex, NULL, NULL, 0, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS),
		S_OK, "OnLunStateChange of nothing");
	check_hr(IVssHardwareSnapshotProviderEx_OnReuseLuns(ex, l.info, m.info, LUNS), S_OK, "OnReuseLuns");
	luns_check_and_free(&l, MODE_KEEP, LUNS, "what is only [in]");
	luns_check_and_free(&m, MODE_KEEP, LUNS, "what is only [in], originals");
}

static void test_resync(IVssHardwareSnapshotProviderEx *ex)
{
	struct luns l, m;
	IVssAsync *async = NULL;
	HRESULT state = S_OK;
	INT percent = 7;
	luns_fill(&l);
	luns_fill(&m);
	check_hr(IVssHardwareSnapshotProviderEx_ResyncLuns(ex, l.info, m.info, 0, &async), E_NOTIMPL,
		"ResyncLuns of nothing");
	check(async == NULL, "no object with an error", 0);
	check_hr(IVssHardwareSnapshotProviderEx_ResyncLuns(ex, l.info, m.info, LUNS, &async), S_OK,
		"ResyncLuns");
	luns_check_and_free(&l, MODE_KEEP, LUNS, "ResyncLuns, sources");
	luns_check_and_free(&m, MODE_KEEP, LUNS, "ResyncLuns, targets");
	check(async != NULL, "an object from ResyncLuns", 0);
	if (!async)
		return;
	check_hr(IVssAsync_Wait(async, 5), S_OK, "Wait");
	check_hr(IVssAsync_QueryStatus(async, &state, &percent), S_OK, "QueryStatus");
	check_hr(state, VSS_S_ASYNC_PENDING, "the state");
	check(percent == 57, "the percentage", (unsigned)percent);
	check_hr(IVssAsync_QueryStatus(async, &state, NULL), S_OK, "QueryStatus without percentage");
	check_hr(IVssAsync_Cancel(async), S_OK, "Cancel");
	check_hr(IVssAsync_QueryStatus(async, &state, &percent), S_OK, "QueryStatus after Cancel");
	check_hr(state, VSS_S_ASYNC_CANCELLED, "the state after Cancel");
	IVssAsync_Release(async);
}

/* Objects that go right after a call on them: Wine loses track of such a call now and then, if nothing keeps the interface
 * registered (proxy-stub/keep.c), and the client waits for ever. */
static void test_releases(IVssHardwareSnapshotProviderEx *ex)
{
	struct luns l, m;
	luns_fill(&l);
	luns_fill(&m);
	for (unsigned i = 0; i < RELEASES; i++) {
		IVssAsync *async = NULL;
		HRESULT state = S_OK,
			hr = IVssHardwareSnapshotProviderEx_ResyncLuns(ex, l.info, m.info, 1, &async);
		if (hr == S_OK)
			hr = IVssAsync_QueryStatus(async, &state, NULL);
		if (async)
			IVssAsync_Release(async);
		if (hr != S_OK) {
			check_hr(hr, S_OK, "one of many objects");
			break;
		}
	}
	luns_check_and_free(&l, MODE_KEEP, LUNS, "many objects, sources");
	luns_check_and_free(&m, MODE_KEEP, LUNS, "many objects, targets");
}

static void test_set_methods(IVssProviderCreateSnapshotSet *set)
{
	static const HRESULT codes[] = {S_OK, S_FALSE, E_FAIL, E_OUTOFMEMORY, E_ACCESSDENIED,
		VSS_E_PROVIDER_VETO, VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND, VSS_E_INSUFFICIENT_STORAGE,
		VSS_E_UNSUPPORTED_CONTEXT};
	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
		VSS_ID id = {(unsigned long)codes[i], 0, 0, {0, 0, 0, 0, 0, 0, 0, 0x77}};
		check_hr(IVssProviderCreateSnapshotSet_EndPrepareSnapshots(set, id), codes[i],
			"EndPrepareSnapshots");
		check_hr(IVssProviderCreateSnapshotSet_PreCommitSnapshots(set, id), codes[i],
			"PreCommitSnapshots");
		check_hr(IVssProviderCreateSnapshotSet_CommitSnapshots(set, id), codes[i], "CommitSnapshots");
		check_hr(IVssProviderCreateSnapshotSet_PostCommitSnapshots(set, id, 42), codes[i],
			"PostCommitSnapshots");
		check_hr(IVssProviderCreateSnapshotSet_PreFinalCommitSnapshots(set, id), codes[i],
			"PreFinalCommitSnapshots");
		check_hr(IVssProviderCreateSnapshotSet_PostFinalCommitSnapshots(set, id), codes[i],
			"PostFinalCommitSnapshots");
		check_hr(IVssProviderCreateSnapshotSet_AbortSnapshots(set, id), codes[i], "AbortSnapshots");
	}
}

static ULONG count_providers(IVssAdmin *admin, const GUID *wanted, bool *seen)
{
	IVssEnumObject *list = NULL, *clone = NULL;
	VSS_OBJECT_PROP props[3];
	ULONG got = 0, count = 0;
	*seen = false;
	check_hr(IVssAdmin_QueryProviders(admin, &list), S_OK, "QueryProviders");
	if (!list)
		return 0;
	for (;;) {
		HRESULT hr = IVssEnumObject_Next(list, 3, props, &got);
		check(hr == (got == 3 ? S_OK : S_FALSE), "Next's code", got);
		for (ULONG i = 0; i < got; i++) {
			VSS_PROVIDER_PROP *p = &props[i].Obj.Prov;
			check(props[i].Type == VSS_OBJECT_PROVIDER, "the type of what Next gives",
				props[i].Type);
			if (IsEqualGUID(&p->m_ProviderId, wanted)) {
				*seen = true;
				check(wcscmp(p->m_pwszProviderName, L"Selftest") == 0 &&
						wcscmp(p->m_pwszProviderVersion, L"1.2") == 0 &&
						p->m_eProviderType == VSS_PROV_HARDWARE &&
						IsEqualGUID(&p->m_ClassId, &selftest_clsid),
					"what QueryProviders tells of a provider", 0);
			}
			CoTaskMemFree(p->m_pwszProviderName);
			CoTaskMemFree(p->m_pwszProviderVersion);
		}
		count += got;
		if (got < 3)
			break;
	}
	check_hr(IVssEnumObject_Reset(list), S_OK, "Reset");
	check_hr(IVssEnumObject_Clone(list, &clone), S_OK, "Clone");
	check_hr(IVssEnumObject_Skip(clone, count), S_OK, "Skip");
	check_hr(IVssEnumObject_Next(clone, 1, props, &got), S_FALSE, "Next at the end");
	IVssEnumObject_Release(clone);
	IVssEnumObject_Release(list);
	return count;
}

static void test_admin(void)
{
	IVssAdmin *admin = NULL;
	IVssAsync *wrong = NULL;
	bool seen;
	wchar_t name[] = L"Selftest", version[] = L"1.2";
	static const GUID none;
	HRESULT hr = CoCreateInstance(
		&CLSID_VSSCoordinator, NULL, CLSCTX_LOCAL_SERVER, &IID_IVssAdmin, (void **)&admin);
	check_hr(hr, S_OK, "activating the coordinator");
	if (FAILED(hr))
		return;
	check_hr(IVssAdmin_QueryInterface(admin, &IID_IVssAsync, (void **)&wrong), E_NOINTERFACE,
		"a wrong interface");
	ULONG before = count_providers(admin, &selftest_provider_id, &seen);
	check(!seen, "nothing registered yet", before);
	check_hr(IVssAdmin_UnregisterProvider(admin, selftest_provider_id), VSS_E_PROVIDER_NOT_REGISTERED,
		"unregistering what is not registered");
	check_hr(IVssAdmin_RegisterProvider(admin, selftest_provider_id, selftest_clsid, NULL,
			 VSS_PROV_HARDWARE, version, selftest_clsid),
		E_INVALIDARG, "a provider without a name");
	check_hr(IVssAdmin_RegisterProvider(
			 admin, none, selftest_clsid, name, VSS_PROV_HARDWARE, version, selftest_clsid),
		E_INVALIDARG, "a provider without an id");
	check_hr(IVssAdmin_RegisterProvider(admin, selftest_provider_id, selftest_clsid, name,
			 VSS_PROV_UNKNOWN, version, selftest_clsid),
		E_INVALIDARG, "a provider of no type");
	check_hr(IVssAdmin_RegisterProvider(admin, selftest_provider_id, selftest_clsid, name,
			 VSS_PROV_HARDWARE, version, selftest_clsid),
		S_OK, "registering");
	check_hr(IVssAdmin_RegisterProvider(admin, selftest_provider_id, selftest_clsid, name,
			 VSS_PROV_HARDWARE, version, selftest_clsid),
		VSS_E_PROVIDER_ALREADY_REGISTERED, "registering twice");
	check(count_providers(admin, &selftest_provider_id, &seen) == before + 1 && seen, "one provider more",
		before);
	check_hr(IVssAdmin_UnregisterProvider(admin, selftest_provider_id), S_OK, "unregistering");
	check(count_providers(admin, &selftest_provider_id, &seen) == before && !seen, "as many as before",
		before);
	check_hr(IVssAdmin_AbortAllSnapshotsInProgress(admin), S_OK, "AbortAllSnapshotsInProgress");
	IVssAdmin_Release(admin);
}

static void test_provider(void)
{
	IVssHardwareSnapshotProvider *hw = NULL;
	IVssHardwareSnapshotProviderEx *ex = NULL;
	IVssProviderCreateSnapshotSet *set = NULL;
	IVssProviderNotifications *notify = NULL;
	IVssAsync *wrong = NULL;
	HRESULT hr = CoCreateInstance(
		&selftest_clsid, NULL, CLSCTX_LOCAL_SERVER, &IID_IVssHardwareSnapshotProvider, (void **)&hw);
	check_hr(hr, S_OK, "activating the provider");
	if (FAILED(hr))
		return;
	check_hr(IVssHardwareSnapshotProvider_QueryInterface(hw, &IID_IVssAsync, (void **)&wrong),
		E_NOINTERFACE, "a wrong interface");
	hr = IVssHardwareSnapshotProvider_QueryInterface(
		hw, &IID_IVssHardwareSnapshotProviderEx, (void **)&ex);
	check_hr(hr, S_OK, "Ex");
	hr = IVssHardwareSnapshotProvider_QueryInterface(
		hw, &IID_IVssProviderCreateSnapshotSet, (void **)&set);
	check_hr(hr, S_OK, "CreateSnapshotSet");
	hr = IVssHardwareSnapshotProvider_QueryInterface(
		hw, &IID_IVssProviderNotifications, (void **)&notify);
	check_hr(hr, S_OK, "Notifications");
	if (!ex || !set || !notify)
		return;
	check_hr(IVssProviderNotifications_OnLoad(notify, NULL), S_OK, "OnLoad");
	test_in_out(hw);
	test_get_target_luns(hw);
	test_in_only(hw, ex);
	test_resync(ex);
	test_releases(ex);
	test_set_methods(set);
	check_hr(IVssProviderNotifications_OnUnload(notify, TRUE), S_OK, "OnUnload");
	IVssProviderNotifications_Release(notify);
	IVssProviderCreateSnapshotSet_Release(set);
	IVssHardwareSnapshotProviderEx_Release(ex);
	IVssHardwareSnapshotProvider_Release(hw);
}

int selftest_client(void)
{
	if (FAILED(CoInitializeEx(NULL, COINIT_MULTITHREADED)))
		return 1;
	test_provider();
	test_admin();
	CoUninitialize();
	printf("%u checks, %u failed\n", checks, failures);
	return failures || !checks ? 1 : 0;
}
