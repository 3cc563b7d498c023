/* SPDX-License-Identifier: Apache-2.0 */
/* The provider object through its interfaces, against arrays in this process. */
#include <string.h>
#include "events.h"
#include "objects.h"

static void interfaces(void)
{
	static const IID *const iids[] = {&IID_IUnknown, &IID_IVssHardwareSnapshotProvider,
		&IID_IVssHardwareSnapshotProviderEx, &IID_IVssProviderCreateSnapshotSet,
		&IID_IVssProviderNotifications};
	IUnknown *from[3], *one, *unknown;

	start();
	from[0] = (IUnknown *)hw;
	from[1] = (IUnknown *)set;
	from[2] = (IUnknown *)notify;
	CHECK_HR(IUnknown_QueryInterface(from[0], &IID_IUnknown, (void **)&unknown), S_OK);
	for (int f = 0; f < 3; f++) {
		for (int i = 0; i < 5; i++) {
			CHECK_HR(IUnknown_QueryInterface(from[f], iids[i], (void **)&one), S_OK);
			if (i == 0)
				CHECK(one == unknown); /* COM's identity rule */
			IUnknown_Release(one);
		}
		one = unknown;
		CHECK_HR(IUnknown_QueryInterface(from[f], &IID_IVssSoftwareSnapshotProvider, (void **)&one),
			E_NOINTERFACE);
		CHECK(!one);
		CHECK_HR(IUnknown_QueryInterface(from[f], &IID_IUnknown, NULL), E_INVALIDARG);
	}
	IUnknown_Release(unknown);
	CHECK_HR(IVssProviderNotifications_OnLoad(notify, NULL), S_OK);
	CHECK_HR(IVssProviderNotifications_OnUnload(notify, FALSE), S_OK);
	finish();
}

static void null_pointers_are_invalid_arguments(void)
{
	VDS_LUN_INFORMATION lun;
	WINBOOL yes = TRUE;
	ULONGLONG mask = 1;
	uint8_t id[UP_ID_BYTES];

	start();
	fake_add_lun(0, 1, id);
	describe(&lun, id);
	CHECK_HR(IVssHardwareSnapshotProviderEx_AreLunsSupported(hw, 1, 0, NULL, NULL, &yes), E_INVALIDARG);
	CHECK(!yes);
	CHECK_HR(IVssHardwareSnapshotProviderEx_AreLunsSupported(hw, 1, 0, NULL, &lun, NULL), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_AreLunsSupported(hw, 0, 0, NULL, &lun, &yes), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_AreLunsSupported(hw, -1, 0, NULL, &lun, &yes), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_AreLunsSupported(hw, 0x7FFFFFFF, 0, NULL, &lun, &yes),
		E_INVALIDARG);
	yes = TRUE;
	CHECK_HR(IVssHardwareSnapshotProviderEx_FillInLunInfo(hw, NULL, NULL, &yes), E_INVALIDARG);
	CHECK(!yes);
	CHECK_HR(IVssHardwareSnapshotProviderEx_FillInLunInfo(hw, NULL, &lun, NULL), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_BeginPrepareSnapshot(hw, set_id, volume_id, 0, 1, NULL, NULL),
		E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_BeginPrepareSnapshot(hw, set_id, volume_id, 0, 0, NULL, &lun),
		E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_BeginPrepareSnapshot(
			 hw, GUID_NULL, volume_id, 0, 1, NULL, &lun),
		E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_GetTargetLuns(hw, 1, NULL, NULL, &lun), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_GetTargetLuns(hw, 1, NULL, &lun, NULL), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 1, NULL), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 0, &lun), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, NULL), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunStateChange(hw, NULL, &lun, 1, 0x800), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunStateChange(hw, &lun, &lun, 0, 0x800), E_INVALIDARG);
	lun_identity_clear(&lun);
	CHECK_HR(IVssHardwareSnapshotProviderEx_GetProviderCapabilities(hw, NULL), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_GetProviderCapabilities(hw, &mask), E_NOTIMPL);
	CHECK(mask == 0);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnReuseLuns(hw, &lun, &lun, 1), E_NOTIMPL);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnReuseLuns(hw, NULL, NULL, 0), E_NOTIMPL);
	CHECK_HR(IVssHardwareSnapshotProviderEx_ResyncLuns(hw, &lun, &lun, 1, NULL), E_INVALIDARG);
	lun_identity_clear(&lun);
	finish();
}

static bool supported(const uint8_t (*of)[UP_ID_BYTES], LONG count, LONG flags, bool foreign_too)
{
	VDS_LUN_INFORMATION infos[8];
	WINBOOL yes = 7;

	for (LONG i = 0; i < count; i++)
		describe(&infos[i], of[i]);
	if (foreign_too)
		infos[count - 1].m_szVendorId[0] = 'X';
	CHECK_HR(IVssHardwareSnapshotProviderEx_AreLunsSupported(hw, count, flags, NULL, infos, &yes), S_OK);
	for (LONG i = 0; i < count; i++)
		lun_identity_clear(&infos[i]);
	CHECK(yes == TRUE || yes == FALSE);
	return yes;
}

static void support_is_all_or_nothing(void)
{
	start_with(1, 1);
	CHECK(supported(luns, 2, 0, false));
	CHECK(supported(luns, 2, VSS_VOLSNAP_ATTR_TRANSPORTABLE, false));
	CHECK(supported(luns, 2, VSS_VOLSNAP_ATTR_DIFFERENTIAL | VSS_VOLSNAP_ATTR_TRANSPORTABLE, false));
	CHECK(!supported(luns, 2, VSS_CTX_CLIENT_ACCESSIBLE, false));
	CHECK(!supported(luns, 2, 0, true));
	memset(ids[2], 0x77, UP_ID_BYTES); /* ours by its looks, but no array knows it */
	CHECK(!supported(luns, 3, 0, false));
	fakes[1].offline = true;
	CHECK(!supported(luns, 2, 0, false));
	CHECK(supported(luns, 1, 0, false));
	CHECK(events == 0);
	/* no copies for this host (a session without CHAP): no, with an event; mended, yes at once */
	fakes[0].capabilities = UP_CAP_BREAK | UP_CAP_RESYNC;
	array_client_discover(context.client);
	CHECK(!supported(luns, 1, 0, false));
	expect_event(UMBRA_EVENT_NOT_AUTHENTICATED);
	fakes[0].capabilities |= UP_CAP_DIFFERENTIAL;
	CHECK(supported(luns, 1, 0, false));
	/* so with an array whose pool has become read-only since it was seen */
	fakes[0].capabilities |= UP_CAP_READ_ONLY;
	CHECK(!supported(luns, 1, 0, false));
	expect_event(UMBRA_EVENT_STORE_ERROR);
	fakes[0].capabilities &= ~UP_CAP_READ_ONLY;
	CHECK(supported(luns, 1, 0, false));
	finish();
}

/* GetTargetLuns right after PostCommit, a transportable set without import, two LUNs. */
static void whole_life(void)
{
	VDS_LUN_INFORMATION out[2], seen;
	uint8_t shadow[2][UP_ID_BYTES];
	WINBOOL ours;

	start_with(2, 0);
	memset(out, 0, sizeof(out));
	committed(luns, 2);
	CHECK(fake_find_set(0, set_bytes)->state == UP_SET_COMMITTED);
	CHECK_HR(targets(luns, 1, out), S_OK);
	CHECK(fake_find_set(0, set_bytes)->state == UP_SET_COMMITTED); /* not the last yet */
	CHECK_HR(targets(luns, 2, out), S_OK);                         /* frees what is there */
	CHECK(fake_find_set(0, set_bytes)->state == UP_SET_KEPT);
	CHECK(lun_identity_recognise(&out[0], shadow[0]) && lun_identity_recognise(&out[1], shadow[1]));
	CHECK(memcmp(shadow[0], ids[0], 16) && memcmp(shadow[0], shadow[1], 16));
	CHECK(!memcmp(fake_find(shadow[0])->lun.origin_id, ids[0], 16));
	CHECK(!memcmp(fake_find(shadow[1])->lun.origin_id, ids[1], 16));
	CHECK(out[0].m_BusType == VDSBusTypeiScsi && out[0].m_cInterconnects == 0);
	CHECK_HR(IVssProviderCreateSnapshotSet_PreFinalCommitSnapshots(set, set_id), S_OK);
	CHECK_HR(IVssProviderCreateSnapshotSet_PostFinalCommitSnapshots(set, set_id), S_OK);
	CHECK_HR(IVssProviderNotifications_OnUnload(notify, FALSE), S_OK);

	CHECK(fake_find(shadow[0])->lun.number == 0);
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 2, out), S_OK);
	CHECK(fake_find(shadow[0])->lun.number && fake_find(shadow[1])->lun.number);
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 2, out), S_OK);
	fake_rescan();
	describe(&seen, shadow[0]);
	seen.m_bCommandQueueing = 0;
	CHECK_HR(IVssHardwareSnapshotProviderEx_FillInLunInfo(hw, NULL, &seen, &ours), S_OK);
	CHECK(ours && lun_identity_equal(&seen, &out[0]));

	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 1, out), S_OK);
	fake_rescan();
	for (int i = 0; i < 2; i++) {
		CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &out[0]), S_OK);
		CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &out[1]), S_OK);
	}
	CHECK(fake_shadows() == 0);
	eventlog_drain();
	CHECK(events == 1 && last_event.id == UMBRA_EVENT_SET_COST);
	CHECK(heap_calls > 10); /* they are being watched */
	lun_identity_clear(&seen);
	lun_identity_clear(&out[0]);
	lun_identity_clear(&out[1]);
	finish();
}

static void targets_after_the_final_commit(void)
{
	VDS_LUN_INFORMATION out;
	uint8_t unknown[1][UP_ID_BYTES] = {{5}};

	start_with(1, 0);
	memset(&out, 0, sizeof(out));
	CHECK_HR(targets(luns, 1, &out), VSS_E_OBJECT_NOT_FOUND); /* no set */
	committed(luns, 1);
	CHECK_HR(IVssProviderCreateSnapshotSet_PreFinalCommitSnapshots(set, set_id), S_OK);
	CHECK_HR(IVssProviderCreateSnapshotSet_PostFinalCommitSnapshots(set, set_id), S_OK);
	CHECK_HR(IVssProviderNotifications_OnUnload(notify, FALSE), S_FALSE);
	CHECK_HR(targets((const uint8_t(*)[UP_ID_BYTES])unknown, 1, &out), VSS_E_OBJECT_NOT_FOUND);
	CHECK(!out.m_szVendorId);
	CHECK_HR(targets(luns, 1, &out), S_OK);
	CHECK(fake_find_set(0, set_bytes)->state == UP_SET_KEPT);
	lun_identity_clear(&out);
	finish();
}

static void calls_out_of_order_and_unknown_sets(void)
{
	start_with(1, 0);
	CHECK_HR(end_prepare(&set_id), VSS_E_OBJECT_NOT_FOUND);
	CHECK_HR(commit(&set_id), VSS_E_OBJECT_NOT_FOUND);
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), S_OK);
	CHECK_HR(commit(&set_id), VSS_E_BAD_STATE);
	CHECK_HR(end_prepare(&other_set_id), VSS_E_OBJECT_NOT_FOUND);
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK_HR(begin(&set_id, &second_volume_id, 0, luns, 1), VSS_E_BAD_STATE);
	CHECK_HR(pre_commit(&set_id), S_OK);
	CHECK_HR(commit(&set_id), S_OK);
	CHECK_HR(commit(&set_id), VSS_E_BAD_STATE); /* a second commit */
	CHECK_HR(IVssProviderCreateSnapshotSet_PostCommitSnapshots(set, set_id, 0), E_INVALIDARG);
	CHECK_HR(post_commit(&set_id), S_OK);
	CHECK_HR(IVssProviderCreateSnapshotSet_PostFinalCommitSnapshots(set, set_id), VSS_E_BAD_STATE);
	CHECK_HR(abort_set(&set_id), S_OK);
	CHECK_HR(abort_set(&set_id), S_OK);
	CHECK(fake_shadows() == 0 && fake_open_sets() == 0);
	finish();
}

static void volumes_on_one_lun_share_a_copy(void)
{
	start_with(2, 0);
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), S_OK);
	CHECK_HR(begin(&set_id, &second_volume_id, 0, luns, 2), S_OK);
	CHECK(fake_shadows() == 2);
	CHECK_HR(abort_set(&set_id), S_OK);
	CHECK(fake_shadows() == 0);
	finish();
}

static void unsupported_contexts_and_foreign_luns(void)
{
	VDS_LUN_INFORMATION lun;

	start_with(1, 0);
	CHECK_HR(begin(&set_id, &volume_id, VSS_VOLSNAP_ATTR_PLEX | VSS_VOLSNAP_ATTR_DIFFERENTIAL, luns, 1),
		VSS_E_UNSUPPORTED_CONTEXT);
	CHECK_HR(begin(&set_id, &volume_id, VSS_CTX_CLIENT_ACCESSIBLE, luns, 1), VSS_E_UNSUPPORTED_CONTEXT);
	describe(&lun, ids[0]);
	lun.m_szVendorId[0] = 'X';
	CHECK_HR(IVssHardwareSnapshotProviderEx_BeginPrepareSnapshot(hw, set_id, volume_id, 0, 1, NULL, &lun),
		VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER);
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 1, &lun), VSS_E_OBJECT_NOT_FOUND);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &lun), VSS_E_OBJECT_NOT_FOUND);
	lun_identity_clear(&lun);
	CHECK(fake_shadows() == 0);
	finish();
}

/* Every answer of the array at every step has a result that VSS allows, an event, and leaves nothing. */
static void refusals_have_the_right_code_and_an_event(void)
{
	static const struct {
		enum up_status status;
		HRESULT hr;
		DWORD event;
	} rows[] = {
		{UP_BAD_MESSAGE, VSS_E_PROVIDER_VETO, UMBRA_EVENT_VERSION},
		{UP_UNSUPPORTED, VSS_E_PROVIDER_VETO, UMBRA_EVENT_VERSION},
		{UP_BAD_STATE, VSS_E_PROVIDER_VETO, UMBRA_EVENT_SET_LOST},
		{UP_DENIED, VSS_E_PROVIDER_VETO, UMBRA_EVENT_DENIED},
		{UP_NOT_AUTHENTICATED, VSS_E_PROVIDER_VETO, UMBRA_EVENT_NOT_AUTHENTICATED},
		{UP_NO_SPACE, VSS_E_INSUFFICIENT_STORAGE, UMBRA_EVENT_NO_SPACE},
		{UP_LIMIT, VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED, UMBRA_EVENT_LIMIT},
		{UP_DEADLINE, VSS_E_PROVIDER_VETO, UMBRA_EVENT_DEADLINE},
		{UP_IO_ERROR, VSS_E_PROVIDER_VETO, UMBRA_EVENT_STORE_ERROR},
		{UP_OTHER_STORE, VSS_E_PROVIDER_VETO, UMBRA_EVENT_OTHER_STORE},
		{UP_ID_CONFLICT, VSS_E_PROVIDER_VETO, UMBRA_EVENT_REFUSED},
		{UP_INTERNAL, VSS_E_PROVIDER_VETO, UMBRA_EVENT_REFUSED},
		{(enum up_status)4711, VSS_E_PROVIDER_VETO, UMBRA_EVENT_VERSION},
	};
	static const enum up_op ops[] = {UP_OP_SET_BEGIN, UP_OP_SET_ADD, UP_OP_SET_ARM, UP_OP_SET_COMMIT,
		UP_OP_SET_STATE, UP_OP_SET_KEEP};

	start_with(1, 0);
	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		for (size_t o = 0; o < sizeof(ops) / sizeof(ops[0]); o++) {
			VDS_LUN_INFORMATION out;
			memset(&out, 0, sizeof(out));
			fakes[0].refuse[ops[o]] = rows[r].status;
			HRESULT hr = begin(&set_id, &volume_id, 0, luns, 1);
			CHECK((hr != S_OK) == (o < 2));
			if (hr == S_OK)
				hr = end_prepare(&set_id);
			if (hr == S_OK)
				hr = pre_commit(&set_id);
			if (hr == S_OK)
				hr = commit(&set_id);
			if (hr == S_OK)
				hr = post_commit(&set_id);
			if (hr == S_OK)
				hr = targets(luns, 1, &out);
			if (ops[o] == UP_OP_SET_COMMIT)
				CHECK_HR(hr, VSS_E_PROVIDER_VETO);
			else
				CHECK_HR(hr, rows[r].hr);
			CHECK(!out.m_szVendorId);
			fakes[0].refuse[ops[o]] = UP_OK;
			CHECK_HR(abort_set(&set_id), S_OK);
			wait_for_threads(); /* they abort too, and the next round has the same set id */
			expect_event(rows[r].event);
			CHECK(fake_shadows() == 0 && fake_open_sets() == 0);
		}
	}
	finish();
}

/* A volume fails and VSS goes on without it: what it brought along is nobody's, and goes. */
static void a_volume_that_fails_leaves_nothing(void)
{
	VDS_LUN_INFORMATION out;

	start_with(2, 1);
	memset(&out, 0, sizeof(out));
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), S_OK);
	fakes[1].refuse[UP_OP_SET_ADD] = UP_NO_SPACE;
	CHECK_HR(begin(&set_id, &second_volume_id, 0, luns + 1, 2), VSS_E_INSUFFICIENT_STORAGE);
	CHECK(fake_shadows() == 2); /* of the first volume, and of the failed one's LUN on the first array */
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK(fake_find_set(1, set_bytes)->state == UP_SET_ABORTED);
	CHECK_HR(pre_commit(&set_id), S_OK);
	CHECK_HR(commit(&set_id), S_OK);
	CHECK_HR(post_commit(&set_id), S_OK);
	CHECK_HR(targets(luns + 1, 1, &out), VSS_E_OBJECT_NOT_FOUND);
	CHECK_HR(targets(luns, 1, &out), S_OK);
	CHECK(fake_find_set(0, set_bytes)->state == UP_SET_KEPT && fake_shadows() == 1);
	lun_identity_clear(&out);
	finish();
}

static void busy_arrays_are_asked_again(void)
{
	start_with(1, 0);
	fakes[0].refuse[UP_OP_SET_ARM] = fakes[0].refuse[UP_OP_SET_COMMIT] = UP_BUSY;
	fakes[0].refuse_count[UP_OP_SET_ARM] = fakes[0].refuse_count[UP_OP_SET_COMMIT] = 3;
	committed(luns, 1);
	CHECK(fakes[0].executed[UP_OP_SET_COMMIT] == 4);
	CHECK_HR(abort_set(&set_id), S_OK);
	finish();
}

static void one_array_fails_both_are_undone(void)
{
	start_with(1, 1);
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 2), S_OK);
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK_HR(pre_commit(&set_id), S_OK);
	fakes[1].refuse[UP_OP_SET_COMMIT] = UP_DEADLINE;
	CHECK_HR(commit(&set_id), VSS_E_PROVIDER_VETO);
	for (int i = 0; i < 200 && fake_open_sets(); i++)
		Sleep(10); /* the window's own threads undo it, without any further call */
	CHECK(fake_open_sets() == 0 && fake_shadows() == 0);
	CHECK(events == 0);
	CHECK_HR(abort_set(&set_id), S_OK);
	expect_event(UMBRA_EVENT_DEADLINE);
	CHECK(!strcmp(last_event.array, "fake-b") && !strcmp(last_event.call, "CommitSnapshots"));
	fakes[1].refuse[UP_OP_SET_COMMIT] = UP_OK;
	committed(luns, 2); /* the next set works at once */
	CHECK_HR(abort_set(&set_id), S_OK);
	CHECK(fake_shadows() == 0);
	finish();
}

/* Two arrays commit at the same time: together they take as long as one, and what a busy machine adds. */
static void arrays_commit_in_parallel(void)
{
	start_with(1, 1);
	budget = 8000;
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 2), S_OK);
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK_HR(pre_commit(&set_id), S_OK);
	fakes[0].delay_ms[UP_OP_SET_COMMIT] = fakes[1].delay_ms[UP_OP_SET_COMMIT] = 3500;
	ULONGLONG before = GetTickCount64();
	CHECK_HR(commit(&set_id), S_OK);
	CHECK(GetTickCount64() - before < 6900);
	budget = PROVIDER_BUDGET_MS;
	CHECK_HR(post_commit(&set_id), S_OK);
	CHECK_HR(abort_set(&set_id), S_OK);
	finish();
}

/* The array answers after our budget: a veto in time, and the copy that it made after all is undone. */
static void past_the_budget_is_a_veto(void)
{
	start_with(1, 0);
	budget = 300;
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), S_OK);
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK_HR(pre_commit(&set_id), S_OK);
	fakes[0].delay_ms[UP_OP_SET_COMMIT] = 5000;
	ULONGLONG before = GetTickCount64();
	CHECK_HR(commit(&set_id), VSS_E_PROVIDER_VETO);
	CHECK(GetTickCount64() - before < 4500);
	CHECK_HR(abort_set(&set_id), S_OK);
	expect_event(UMBRA_EVENT_WINDOW);
	budget = PROVIDER_BUDGET_MS;
	fakes[0].delay_ms[UP_OP_SET_COMMIT] = 0;
	CHECK_HR(begin(&other_set_id, &volume_id, 0, luns, 1), S_OK); /* works at once */
	CHECK_HR(end_prepare(&other_set_id), S_OK);
	for (int i = 0; i < 800 && fake_open_handles(); i++)
		Sleep(10); /* until the thread that hung has come back */
	CHECK(fake_find_set(0, set_bytes)->state == UP_SET_ABORTED);
	CHECK_HR(abort_set(&other_set_id), S_OK);
	CHECK(fake_shadows() == 0);
	finish();
}

static void lost_replies_and_paths(void)
{
	start_with(3, 0);
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 2), S_OK);
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK_HR(pre_commit(&set_id), S_OK);
	fakes[0].lose_replies = 1;
	fake_devices[0].broken = true;
	CHECK_HR(commit(&set_id), S_OK); /* over another path, and the work done once */
	CHECK(fakes[0].executed[UP_OP_SET_COMMIT] == 1);
	CHECK_HR(post_commit(&set_id), S_OK);
	CHECK_HR(abort_set(&set_id), S_OK);

	for (unsigned i = 0; i < fake_device_count; i++)
		fake_devices[i].broken = true;
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_UNREACHABLE);
	for (unsigned i = 0; i < fake_device_count; i++)
		fake_devices[i].broken = false;
	fakes[0].old_opcodes_filtered = true;
	committed(luns, 1);
	CHECK_HR(abort_set(&set_id), S_OK);
	CHECK(fake_shadows() == 0);
	finish();
}

/* Drive numbers move: what was asked through drive 0 must not reach another array's LUN. */
static void drives_that_change_places(void)
{
	start_with(1, 1);
	CHECK(supported(luns, 2, 0, false));
	struct fake_device first = fake_devices[0];
	fake_devices[0] = fake_devices[1];
	fake_devices[1] = first;
	committed(luns, 1);
	CHECK(fakes[0].executed[UP_OP_SET_BEGIN] == 1 && fakes[1].executed[UP_OP_SET_BEGIN] == 0);
	CHECK_HR(abort_set(&set_id), S_OK);
	finish();
}

/* Begin, end, pre … up to `steps` calls of a set. */
static void advance(unsigned steps)
{
	if (steps > 0)
		CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), S_OK);
	if (steps > 1)
		CHECK_HR(end_prepare(&set_id), S_OK);
	if (steps > 2)
		CHECK_HR(pre_commit(&set_id), S_OK);
	if (steps > 3)
		CHECK_HR(commit(&set_id), S_OK);
	if (steps > 4)
		CHECK_HR(post_commit(&set_id), S_OK);
	if (steps > 5)
		CHECK_HR(IVssProviderCreateSnapshotSet_PreFinalCommitSnapshots(set, set_id), S_OK);
	if (steps > 6)
		CHECK_HR(IVssProviderCreateSnapshotSet_PostFinalCommitSnapshots(set, set_id), S_OK);
}

/* The four ways in which a set ends before its time, after so many steps; handed: after which of them GetTargetLuns
 * came (0: never). What is on the arrays afterwards, and what the event log says. */
static void end_in_a_state(unsigned way, unsigned steps, unsigned handed)
{
	VDS_LUN_INFORMATION out;
	bool is_out = handed && steps >= handed;

	memset(&out, 0, sizeof(out));
	start_with(1, 0);
	advance(is_out ? handed : steps);
	if (is_out) {
		CHECK_HR(targets(luns, 1, &out), S_OK);
		if (handed < 6 && steps > 5)
			CHECK_HR(IVssProviderCreateSnapshotSet_PreFinalCommitSnapshots(set, set_id), S_OK);
		if (steps > 6 && handed < 7)
			CHECK_HR(IVssProviderCreateSnapshotSet_PostFinalCommitSnapshots(set, set_id), S_OK);
	}
	frozen = 0;
	unsigned left = is_out; /* a kept set stays, but for an abort before its end */
	if (way == 0) {
		CHECK_HR(abort_set(&set_id), S_OK);
		left = is_out && steps == 7;
		CHECK_HR(abort_set(&set_id), S_OK);
	} else if (way == 1) { /* a new set: the old one is dropped */
		CHECK_HR(begin(&other_set_id, &volume_id, 0, luns, 1), S_OK);
		CHECK(fake_shadows() == 1 + left && fake_open_sets() == 1);
		CHECK_HR(end_prepare(&set_id), VSS_E_OBJECT_NOT_FOUND);
		CHECK_HR(end_prepare(&other_set_id), S_OK); /* and the new one is as good as any */
		CHECK_HR(abort_set(&other_set_id), S_OK);
	} else if (way == 2) {
		bool busy = steps && !(is_out && steps == 7);
		CHECK_HR(IVssProviderNotifications_OnUnload(notify, FALSE), busy ? S_FALSE : S_OK);
		CHECK_HR(IVssProviderNotifications_OnUnload(notify, TRUE), S_OK);
	}
	if (way < 3)
		CHECK(fake_shadows() == left && fake_open_sets() == 0);
	lun_identity_clear(&out);
	finish(); /* way 3: the last Release */
	CHECK(fake_shadows() == left && fake_open_sets() == 0);
	/* what a set cost that came to its end; VSS gave up what is kept */
	CHECK(events == (steps == 7) + (way == 0 && left));
}

static void every_way_to_end_in_every_state(void)
{
	for (unsigned way = 0; way < 4; way++)
		for (unsigned steps = 0; steps < 8; steps++)
			for (unsigned handed = 4; handed < 8; handed++)
				end_in_a_state(way, steps, handed == 4 ? 0 : handed);
}

/* The same where a call failed: the set is undone already, and known still. */
static void every_way_to_end_after_a_failure(void)
{
	static const enum up_op failing[] = {UP_OP_SET_ADD, UP_OP_SET_ARM, UP_OP_SET_COMMIT, UP_OP_SET_STATE};

	for (unsigned way = 0; way < 4; way++) {
		for (unsigned i = 0; i < sizeof(failing) / sizeof(failing[0]); i++) {
			start_with(1, 0);
			fakes[0].refuse[failing[i]] = UP_IO_ERROR;
			HRESULT hr = begin(&set_id, &volume_id, 0, luns, 1);
			if (hr == S_OK)
				hr = end_prepare(&set_id);
			if (hr == S_OK)
				hr = pre_commit(&set_id);
			if (hr == S_OK)
				hr = commit(&set_id);
			if (hr == S_OK)
				hr = post_commit(&set_id);
			CHECK_HR(hr, VSS_E_PROVIDER_VETO);
			frozen = 0;
			fakes[0].refuse[failing[i]] = UP_OK;
			if (failing[i] != UP_OP_SET_ADD)
				CHECK_HR(end_prepare(&set_id), VSS_E_BAD_STATE);
			if (way == 0)
				CHECK_HR(abort_set(&set_id), S_OK);
			else if (way == 1)
				CHECK_HR(begin(&other_set_id, &volume_id, 0, luns, 1), S_OK);
			else if (way == 2)
				CHECK_HR(IVssProviderNotifications_OnUnload(notify, TRUE), S_OK);
			finish();
			CHECK(events == 1 && last_event.id == UMBRA_EVENT_STORE_ERROR);
			CHECK(fake_shadows() == 0 && fake_open_sets() == 0);
		}
	}
}

static DWORD WINAPI abort_soon(void *unused)
{
	(void)unused;
	Sleep(150);
	CHECK_HR(abort_set(&set_id), S_OK);
	return 0;
}

/* Another thread aborts while a call waits for the array: the call ends, nothing is left. */
static void aborts_overtake_calls(void)
{
	static const enum up_op slow[] = {UP_OP_SET_ADD, UP_OP_SET_ARM, UP_OP_SET_COMMIT};

	for (unsigned i = 0; i < 3; i++) {
		start_with(1, 0);
		advance(i == 2 ? 3 : i);
		frozen = 0;
		fakes[0].delay_ms[slow[i]] = 400;
		HANDLE thread = CreateThread(NULL, 0, abort_soon, NULL, 0, NULL);
		HRESULT hr = i == 0   ? begin(&set_id, &volume_id, 0, luns, 1)
			     : i == 1 ? end_prepare(&set_id)
				      : commit(&set_id);
		CHECK_HR(hr, VSS_E_BAD_STATE);
		WaitForSingleObject(thread, INFINITE);
		CloseHandle(thread);
		CHECK_HR(end_prepare(&set_id), VSS_E_OBJECT_NOT_FOUND);
		finish();
		CHECK(fake_shadows() == 0 && fake_open_sets() == 0);
	}
}

/* One of two arrays cannot keep: what the other kept goes too, for nobody has the identities. */
static void keeping_is_all_or_nothing(void)
{
	VDS_LUN_INFORMATION out[2];

	start_with(1, 1);
	memset(out, 0, sizeof(out));
	committed(luns, 2);
	fakes[1].refuse[UP_OP_SET_KEEP] = UP_IO_ERROR;
	CHECK_HR(targets(luns, 2, out), VSS_E_PROVIDER_VETO);
	CHECK(!out[0].m_szVendorId && !out[1].m_szVendorId);
	expect_event(UMBRA_EVENT_STORE_ERROR);
	CHECK_HR(abort_set(&set_id), S_OK);
	CHECK(fake_shadows() == 0);
	finish();
}

#define COST                                                                                                 \
	(UP_HAS(UP_TAG_WRITERS) | UP_HAS(UP_TAG_FROZEN_US) | UP_HAS(UP_TAG_FLUSH_US) |                       \
		UP_HAS(UP_TAG_COMMIT_US) | UP_HAS(UP_TAG_RELEASE_US))

/* A set of one LUN, up to its last call; the release takes a tenth of a second. */
static struct fake_set *finished(LONG context_flags)
{
	CHECK_HR(begin(&set_id, &volume_id, context_flags, luns, 1), S_OK);
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK_HR(pre_commit(&set_id), S_OK);
	CHECK_HR(commit(&set_id), S_OK);
	Sleep(100);
	CHECK_HR(post_commit(&set_id), S_OK);
	CHECK_HR(IVssProviderCreateSnapshotSet_PreFinalCommitSnapshots(set, set_id), S_OK);
	CHECK(!fake_find_set(0, set_bytes)->told);
	CHECK_HR(IVssProviderCreateSnapshotSet_PostFinalCommitSnapshots(set, set_id), S_OK);
	eventlog_drain();
	return fake_find_set(0, set_bytes);
}

static void the_arrays_hear_what_a_set_cost(void)
{
	for (int left_out = 0; left_out < 2; left_out++) {
		start_with(1, 0);
		struct fake_set *s = finished(left_out ? VSS_VOLSNAP_ATTR_NO_WRITERS : 0);
		CHECK(s->told == COST);
		CHECK(s->writers == (left_out ? UP_WRITERS_LEFT_OUT : UP_WRITERS_TOOK_PART));
		CHECK(s->commit_us > 0);
		CHECK(s->release_us >= 50000 && s->flush_us < s->frozen_us);
		CHECK(s->flush_us + s->commit_us + s->release_us <= s->frozen_us);
		CHECK(events == 1 && last_event.id == UMBRA_EVENT_SET_COST);
		CHECK(!strncmp(last_event.detail, left_out ? "Crash-" : "Application-", 6));
		CHECK(!strcmp(last_event.array, "fake-a") && !strstr(last_event.detail, "Label"));
		finish();
	}
}

/* Whatever the array answers, VSS has its copy. */
static void an_array_that_does_not_hear_stops_nothing(void)
{
	start_with(1, 0);
	fakes[0].refuse[UP_OP_SET_TELL] = UP_UNSUPPORTED; /* an older one */
	CHECK(!finished(0)->told);
	CHECK(events == 1 && last_event.id == UMBRA_EVENT_SET_COST);
	finish();
	start_with(1, 0);
	fakes[0].refuse[UP_OP_SET_TELL] = UP_BUSY;
	CHECK(!finished(0)->told);
	CHECK(events == 2 && last_event.id == UMBRA_EVENT_SET_COST);
	finish();
}

static void the_event_has_the_label(void)
{
	start_with(1, 0);
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), S_OK);
	struct fake_set *s = fake_find_set(0, set_bytes);
	snprintf(s->label, sizeof(s->label), "nightly");
	(void)finished(0);
	CHECK(strstr(last_event.detail, "Label: nightly"));
	finish();
}

static void arrive(const uint8_t id[UP_ID_BYTES])
{
	VDS_LUN_INFORMATION seen;
	WINBOOL ours;

	describe(&seen, id);
	CHECK_HR(IVssHardwareSnapshotProviderEx_FillInLunInfo(hw, NULL, &seen, &ours), S_OK);
	CHECK(ours);
	lun_identity_clear(&seen);
}

/* Two volumes, a call of LocateLuns each: the import lasts from the first call to the last disk. */
static void the_array_hears_how_long_an_import_took(void)
{
	VDS_LUN_INFORMATION out[2];
	uint8_t shadow[2][UP_ID_BYTES];

	start_with(2, 0);
	memset(out, 0, sizeof(out));
	committed(luns, 2);
	CHECK_HR(targets(luns, 2, out), S_OK);
	for (int i = 0; i < 2; i++)
		CHECK(lun_identity_recognise(&out[i], shadow[i]));
	struct fake_set *s = fake_find_set(0, set_bytes);
	for (int again = 0; again < 2; again++) {
		CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 1, &out[0]), S_OK);
		Sleep(100);
		CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 1, &out[1]), S_OK);
		fake_rescan();
		arrive(ids[0]); /* an original: none of the import's */
		arrive(shadow[1]);
		arrive(shadow[1]);
		CHECK(!s->told);
		arrive(shadow[0]);
		expect_event(UMBRA_EVENT_IMPORTED);
		CHECK(s->told == UP_HAS(UP_TAG_IMPORT_US) && s->import_us >= 50000);
		arrive(shadow[0]); /* VSS asks again before it deletes */
		s->told = 0;
	}
	CHECK(fakes[0].executed[UP_OP_SET_TELL] == 2);
	lun_identity_clear(&out[0]);
	lun_identity_clear(&out[1]);
	finish();
}

/* VSS gives the set up after it has the identities, but before its end: what no host sees goes. */
static void an_abort_before_the_end_withdraws(void)
{
	VDS_LUN_INFORMATION out[2];

	for (int import = 0; import < 2; import++) {
		start_with(2, 0);
		memset(out, 0, sizeof(out));
		committed(luns, 2);
		CHECK_HR(targets(luns, 2, out), S_OK);
		if (import) /* for the writers' recovery: VSS knows this one, and calls OnLunEmpty for it */
			CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 1, out), S_OK);
		CHECK_HR(IVssProviderCreateSnapshotSet_PreFinalCommitSnapshots(set, set_id), S_OK);
		CHECK_HR(abort_set(&set_id), S_OK);
		CHECK(fake_shadows() == (unsigned)import);
		eventlog_drain();
		CHECK(events == import);
		if (import)
			expect_event(UMBRA_EVENT_KEPT_LEFT);
		lun_identity_clear(&out[0]);
		lun_identity_clear(&out[1]);
		finish();
	}
}

static void an_abort_after_the_end_deletes_nothing(void)
{
	VDS_LUN_INFORMATION out;

	for (int order = 0; order < 2; order++) {
		start_with(1, 0);
		memset(&out, 0, sizeof(out));
		committed(luns, 1);
		if (order)
			CHECK_HR(targets(luns, 1, &out), S_OK);
		CHECK_HR(IVssProviderCreateSnapshotSet_PreFinalCommitSnapshots(set, set_id), S_OK);
		CHECK_HR(IVssProviderCreateSnapshotSet_PostFinalCommitSnapshots(set, set_id), S_OK);
		if (!order)
			CHECK_HR(targets(luns, 1, &out), S_OK);
		CHECK_HR(abort_set(&set_id), S_OK);
		expect_event(UMBRA_EVENT_KEPT_LEFT);
		CHECK(fake_shadows() == 1);
		lun_identity_clear(&out);
		finish();
		CHECK(fake_shadows() == 1);
	}
}

static void deleting_and_locating(void)
{
	uint8_t gone[UP_ID_BYTES] = {0xEE};
	VDS_LUN_INFORMATION lun[2];

	start_with(1, 0);
	describe(&lun[0], ids[0]);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &lun[0]), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_ORDINARY);
	CHECK(fake_find(ids[0]));
	describe(&lun[1], gone);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &lun[1]), S_OK);
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 1, &lun[1]), VSS_E_OBJECT_NOT_FOUND);
	expect_event(UMBRA_EVENT_LUN_UNKNOWN);
	fakes[0].offline = true;
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &lun[1]), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_UNREACHABLE);
	fakes[0].offline = false;
	lun_identity_clear(&lun[0]);
	lun_identity_clear(&lun[1]);

	/* a shadow LUN with no other way to its array than itself */
	committed(luns, 1);
	memset(lun, 0, sizeof(lun));
	CHECK_HR(targets(luns, 1, &lun[0]), S_OK);
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 1, lun), S_OK);
	fake_find(ids[0])->lun.number = 0;
	fake_add_control_lu(0);
	fake_rescan();
	array_client_discover(context.client);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, lun), S_OK);
	CHECK(fake_shadows() == 0);
	lun_identity_clear(&lun[0]);
	CHECK_HR(IVssProviderNotifications_OnUnload(notify, TRUE), S_OK); /* the set id is free again */

	fakes[0].refuse[UP_OP_MAP] = UP_DENIED;
	fake_find(ids[0])->lun.number = 9;
	fake_rescan();
	committed(luns, 1);
	memset(lun, 0, sizeof(lun));
	CHECK_HR(targets(luns, 1, &lun[0]), S_OK);
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 1, lun), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_DENIED);
	lun_identity_clear(&lun[0]);
	finish();
}

/* The new id says that the set before was dropped, whatever becomes of the volume. */
static void a_refused_volume_ends_the_set_before(void)
{
	static const LONG both = VSS_VOLSNAP_ATTR_DIFFERENTIAL | VSS_VOLSNAP_ATTR_PLEX;

	for (unsigned i = 0; i < 2; i++) {
		VDS_LUN_INFORMATION lun;
		start_with(1, 1);
		CHECK_HR(begin(&set_id, &volume_id, 0, luns, 2), S_OK);
		CHECK_HR(end_prepare(&set_id), S_OK);
		CHECK(fake_open_sets() == 2);
		describe(&lun, ids[0]);
		if (i)
			lun.m_szVendorId[0] = 'X';
		CHECK_HR(IVssHardwareSnapshotProviderEx_BeginPrepareSnapshot(
				 hw, other_set_id, volume_id, i ? 0 : both, 1, NULL, &lun),
			i ? VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER : VSS_E_UNSUPPORTED_CONTEXT);
		CHECK(fake_open_sets() == 0 && fake_shadows() == 0);
		CHECK_HR(pre_commit(&set_id), VSS_E_OBJECT_NOT_FOUND);
		/* the next volume of it may be ours */
		CHECK_HR(begin(&other_set_id, &second_volume_id, 0, luns, 2), S_OK);
		CHECK_HR(end_prepare(&other_set_id), S_OK);
		CHECK_HR(abort_set(&other_set_id), S_OK);
		lun_identity_clear(&lun);
		finish();
	}
}

/* "Gone already" is said only when every array could be asked; a drive that is a ghost is no array that is away. */
static void an_array_that_is_away_is_no_deletion(void)
{
	VDS_LUN_INFORMATION out[2], gone;
	const uint8_t nobody[UP_ID_BYTES] = {0xEE};

	start_with(1, 1);
	memset(out, 0, sizeof(out));
	committed(luns, 2);
	CHECK_HR(targets(luns, 2, out), S_OK);
	describe(&gone, nobody);
	fakes[1].offline = true;
	array_client_discover(context.client); /* the host knows one array now */
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &out[1]), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_UNREACHABLE);
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 1, &out[1]), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_UNREACHABLE);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &gone), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_UNREACHABLE);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &out[0]), S_OK);
	fakes[1].offline = false;
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 1, &out[1]), S_OK);
	fake_rescan();
	for (unsigned i = 0; i < fake_device_count; i++)
		fake_devices[i].ghost = !memcmp(fake_devices[i].lun_id, ids[0], UP_ID_BYTES);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &gone), S_OK);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &out[1]), S_OK);
	CHECK(fake_shadows() == 0);
	lun_identity_clear(&out[0]);
	lun_identity_clear(&out[1]);
	lun_identity_clear(&gone);
	finish();
}

/* One request meets its time-out; later requests for LUNs of other arrays do not. */
static void a_silent_array_is_asked_last(void)
{
	for (unsigned silent = 0; silent < 2; silent++) { /* whichever of the two is known first */
		start_with(1, 1);
		CHECK(array_client_discover(context.client) == 2);
		fakes[silent].silent = true;
		CHECK(supported(&luns[1 - silent], 1, 0, false));
		fakes[silent].asked = 0;
		for (unsigned turn = 0; turn < 3; turn++)
			CHECK(supported(&luns[1 - silent], 1, 0, false));
		CHECK(fakes[silent].asked == 0);
		/* the LUN may be its: it is asked, and heard when it is back */
		CHECK(!supported(&luns[silent], 1, 0, false) && fakes[silent].asked > 0);
		fakes[silent].silent = false;
		CHECK(supported(&luns[silent], 1, 0, false));
		finish();
	}
}

int main(void)
{
	static const struct test tests[] = {
		TEST(interfaces),
		TEST(null_pointers_are_invalid_arguments),
		TEST(support_is_all_or_nothing),
		TEST(whole_life),
		TEST(the_arrays_hear_what_a_set_cost),
		TEST(an_array_that_does_not_hear_stops_nothing),
		TEST(the_event_has_the_label),
		TEST(the_array_hears_how_long_an_import_took),
		TEST(targets_after_the_final_commit),
		TEST(calls_out_of_order_and_unknown_sets),
		TEST(volumes_on_one_lun_share_a_copy),
		TEST(unsupported_contexts_and_foreign_luns),
		TEST(refusals_have_the_right_code_and_an_event),
		TEST(a_volume_that_fails_leaves_nothing),
		TEST(busy_arrays_are_asked_again),
		TEST(one_array_fails_both_are_undone),
		TEST(arrays_commit_in_parallel),
		TEST(past_the_budget_is_a_veto),
		TEST(lost_replies_and_paths),
		TEST(drives_that_change_places),
		TEST(every_way_to_end_in_every_state),
		TEST(every_way_to_end_after_a_failure),
		TEST(aborts_overtake_calls),
		TEST(keeping_is_all_or_nothing),
		TEST(an_abort_before_the_end_withdraws),
		TEST(an_abort_after_the_end_deletes_nothing),
		TEST(deleting_and_locating),
		TEST(a_refused_volume_ends_the_set_before),
		TEST(an_array_that_is_away_is_no_deletion),
		TEST(a_silent_array_is_asked_last),
	};

	return run_object_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
