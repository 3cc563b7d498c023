/* SPDX-License-Identifier: Apache-2.0 */
/* ResyncLuns, the IVssAsync that it returns, and what runs while it runs. */
#include "objects.h"

#include <string.h>
#include "events.h"
#include "provider/async.h"

static VDS_LUN_INFORMATION sources[2], destinations[2];
static uint8_t shadow_ids[2][UP_ID_BYTES];
static IVssAsync *async;

/* A set over two LUNs of one array, or one of each, is kept; the originals have changed since. */
static void kept_set(unsigned on_first, unsigned on_second)
{
	start_with(on_first, on_second);
	memset(sources, 0, sizeof(sources));
	committed(luns, 2);
	CHECK_HR(targets(luns, 2, sources), S_OK);
	CHECK_HR(IVssProviderCreateSnapshotSet_PreFinalCommitSnapshots(set, set_id), S_OK);
	CHECK_HR(IVssProviderCreateSnapshotSet_PostFinalCommitSnapshots(set, set_id), S_OK);
	for (int i = 0; i < 2; i++) {
		CHECK(lun_identity_recognise(&sources[i], shadow_ids[i]));
		describe(&destinations[i], ids[i]);
		fake_find(ids[i])->content += 500;
	}
	eventlog_drain();
	events = 0;
}

static void end_set(void)
{
	for (int i = 0; i < 2; i++) {
		lun_identity_clear(&sources[i]);
		lun_identity_clear(&destinations[i]);
	}
	finish();
}

static HRESULT resync(DWORD count)
{
	async = (IVssAsync *)hw;
	HRESULT hr = IVssHardwareSnapshotProviderEx_ResyncLuns(hw, sources, destinations, count, &async);
	CHECK((hr == S_OK) == (async != NULL));
	return hr;
}

static HRESULT status(INT *percent)
{
	HRESULT result = 1;

	CHECK_HR(IVssAsync_QueryStatus(async, &result, percent), S_OK);
	return result;
}

static bool holds_the_copy(int i)
{
	return fake_find(ids[i])->content == fake_find(shadow_ids[i])->content &&
	       fake_find(ids[i])->lun.size_bytes == fake_find(shadow_ids[i])->lun.size_bytes;
}

/* The thread's reference goes a moment after the result is there. */
static void release_last(void)
{
	for (int i = 0; i < 1000; i++) {
		IVssAsync_AddRef(async);
		if (IVssAsync_Release(async) == 1)
			break;
		Sleep(5);
	}
	CHECK(IVssAsync_Release(async) == 0);
}

static void to_the_originals_and_again(void)
{
	INT percent = -1;

	kept_set(2, 0);
	for (int i = 0; i < 2; i++) {
		fakes[0].job_polls = 3;
		CHECK_HR(resync(2), S_OK);
		CHECK_HR(IVssAsync_Wait(async, INFINITE), S_OK);
		CHECK_HR(status(&percent), VSS_S_ASYNC_FINISHED);
		CHECK(percent == 100);
		CHECK_HR(status(NULL), VSS_S_ASYNC_FINISHED);
		CHECK(holds_the_copy(0) && holds_the_copy(1));
		CHECK(fake_find(shadow_ids[0])->lun.kind == UP_LUN_SHADOW); /* survives */
		CHECK_HR(IVssAsync_Cancel(async), VSS_S_ASYNC_FINISHED);
		CHECK_HR(status(NULL), VSS_S_ASYNC_FINISHED);
		expect_event(UMBRA_EVENT_RESYNC_DONE);
		release_last();
		fake_find(ids[0])->content++;
	}
	end_set();
}

/* One source onto two other LUNs, one of them larger; then two arrays in one call. */
static void to_other_luns(void)
{
	uint8_t other[2][UP_ID_BYTES];

	kept_set(1, 1);
	fake_add_lun(0, 7, other[0]);
	fake_add_lun(1, 8, other[1]);
	fake_find(other[0])->lun.size_bytes *= 2;
	for (int i = 0; i < 2; i++) {
		lun_identity_clear(&destinations[i]);
		describe(&destinations[i], other[i]);
	}
	CHECK_HR(resync(2), S_OK);
	CHECK_HR(IVssAsync_Wait(async, INFINITE), S_OK);
	CHECK_HR(status(NULL), VSS_S_ASYNC_FINISHED);
	for (int i = 0; i < 2; i++)
		CHECK(fake_find(other[i])->content == fake_find(shadow_ids[i])->content &&
			fake_find(other[i])->lun.size_bytes == 1u << 30);
	CHECK(!holds_the_copy(0));
	release_last();
	end_set();
}

/* Two volumes on one LUN: the pair comes twice, the work is done once. */
static void a_pair_that_comes_twice(void)
{
	kept_set(2, 0);
	VDS_LUN_INFORMATION source = sources[1], destination = destinations[1];
	sources[1] = sources[0];
	destinations[1] = destinations[0];
	CHECK_HR(resync(2), S_OK);
	CHECK_HR(IVssAsync_Wait(async, INFINITE), S_OK);
	CHECK_HR(status(NULL), VSS_S_ASYNC_FINISHED);
	CHECK(holds_the_copy(0) && !holds_the_copy(1));
	CHECK(fakes[0].executed[UP_OP_RESYNC_START] == 1);
	expect_event(UMBRA_EVENT_RESYNC_DONE);
	CHECK(!strcmp(last_event.detail, "1 LUNs."));
	release_last();
	sources[1] = source;
	destinations[1] = destination;
	end_set();
}

static void interface_of_the_object(void)
{
	IUnknown *unknown, *again;
	HRESULT result;

	kept_set(2, 0);
	fakes[0].jobs_stand = true;
	CHECK_HR(resync(1), S_OK);
	CHECK_HR(IVssAsync_QueryInterface(async, &IID_IUnknown, (void **)&unknown), S_OK);
	CHECK_HR(IVssAsync_QueryInterface(async, &IID_IVssAsync, (void **)&again), S_OK);
	CHECK(unknown == again);
	IUnknown_Release(again);
	IUnknown_Release(unknown);
	CHECK_HR(IVssAsync_QueryInterface(async, &IID_IVssProviderNotifications, (void **)&again),
		E_NOINTERFACE);
	CHECK(!again);
	CHECK_HR(IVssAsync_QueryInterface(async, &IID_IUnknown, NULL), E_INVALIDARG);
	CHECK_HR(IVssAsync_QueryStatus(async, NULL, NULL), E_INVALIDARG);
	/* S_OK tells of the waiting only */
	CHECK_HR(IVssAsync_Wait(async, 0), S_OK);
	CHECK_HR(IVssAsync_QueryStatus(async, &result, NULL), S_OK);
	CHECK_HR(result, VSS_S_ASYNC_PENDING);
	CHECK_HR(IVssAsync_Wait(async, 60), S_OK);
	CHECK_HR(status(NULL), VSS_S_ASYNC_PENDING);
	/* a process with this in it is busy: not unloaded, not idle */
	CHECK(async_busy());
	CHECK_HR(IVssProviderNotifications_OnUnload(notify, FALSE), S_FALSE);
	CHECK_HR(IVssAsync_Cancel(async), S_OK);
	CHECK(!async_busy());
	CHECK_HR(status(NULL), VSS_S_ASYNC_CANCELLED);
	CHECK_HR(IVssAsync_Cancel(async), VSS_S_ASYNC_CANCELLED);
	CHECK_HR(IVssAsync_Wait(async, INFINITE), S_OK);
	CHECK_HR(IVssProviderNotifications_OnUnload(notify, FALSE), S_OK);
	CHECK(fakes[0].jobs[1].state == UP_JOB_CANCELLED && !holds_the_copy(0));
	eventlog_drain();
	CHECK(events == 0);
	release_last();
	end_set();
}

static void percent_grows(void)
{
	INT percent, before = 0;

	kept_set(2, 0);
	fakes[0].job_polls = 4;
	CHECK_HR(resync(2), S_OK);
	while (status(&percent) == VSS_S_ASYNC_PENDING) {
		CHECK(percent >= before && percent < 100);
		before = percent;
		Sleep(5);
	}
	CHECK_HR(status(&percent), VSS_S_ASYNC_FINISHED);
	CHECK(percent == 100);
	release_last();
	end_set();
}

/* The array had just finished: finished it is. */
static void a_cancel_that_comes_too_late(void)
{
	kept_set(2, 0);
	fakes[0].jobs_stand = true;
	fakes[0].cancels_come_late = true;
	CHECK_HR(resync(2), S_OK);
	CHECK_HR(IVssAsync_Cancel(async), VSS_S_ASYNC_FINISHED);
	CHECK(holds_the_copy(0) && holds_the_copy(1));
	release_last();
	end_set();
}

static void failures_while_it_runs(void)
{
	static const struct {
		bool fail, forget, refuse;
		DWORD event;
	} rows[] = {{.fail = true, .event = UMBRA_EVENT_RESYNC_FAILED},
		{.forget = true, .event = UMBRA_EVENT_RESYNC_FAILED},
		{.refuse = true, .event = UMBRA_EVENT_DENIED}};

	kept_set(1, 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fakes[0].jobs_stand = true; /* the other pair is cancelled: all or error */
		fakes[1].job_polls = 2;
		fakes[1].jobs_fail = rows[i].fail;
		fakes[1].jobs_stand = !rows[i].fail;
		CHECK_HR(resync(2), S_OK);
		if (rows[i].forget)
			memset(fakes[1].jobs, 0, sizeof(fakes[1].jobs)); /* it was restarted */
		if (rows[i].refuse)
			fakes[1].refuse[UP_OP_RESYNC_STATE] = UP_DENIED;
		CHECK_HR(IVssAsync_Wait(async, INFINITE), S_OK);
		CHECK_HR(status(NULL), VSS_E_PROVIDER_VETO);
		CHECK_HR(IVssAsync_Cancel(async),
			VSS_E_PROVIDER_VETO); /* "the error that operation encountered" */
		expect_event(rows[i].event);
		CHECK(!strcmp(last_event.call, "ResyncLuns") && !strcmp(last_event.array, "fake-b"));
		CHECK(fakes[0].jobs[i + 1].state == UP_JOB_CANCELLED && !holds_the_copy(0));
		fakes[1].refuse[UP_OP_RESYNC_STATE] = UP_OK;
		release_last();
	}
	end_set();
}

/* The way to the array is away for a while: the job goes on there, and is found again. */
static void silence_is_survived(void)
{
	kept_set(2, 0);
	fakes[0].jobs_stand = true;
	CHECK_HR(resync(2), S_OK);
	fakes[0].offline = true;
	Sleep(200);
	CHECK_HR(status(NULL), VSS_S_ASYNC_PENDING);
	fakes[0].jobs_stand = false;
	fakes[0].offline = false;
	CHECK_HR(IVssAsync_Wait(async, INFINITE), S_OK);
	CHECK_HR(status(NULL), VSS_S_ASYNC_FINISHED);
	expect_event(UMBRA_EVENT_RESYNC_DONE);
	release_last();
	end_set();
}

static void arrays_that_refuse_to_start(void)
{
	static const struct {
		enum up_status status;
		HRESULT hr;
		DWORD event;
	} rows[] = {
		{UP_NO_SPACE, VSS_E_INSUFFICIENT_STORAGE, UMBRA_EVENT_NO_SPACE},
		{UP_LIMIT, VSS_E_PROVIDER_VETO, UMBRA_EVENT_LIMIT},
		{UP_BUSY, VSS_E_PROVIDER_VETO, UMBRA_EVENT_BUSY},
		{UP_DENIED, VSS_E_PROVIDER_VETO, UMBRA_EVENT_DENIED},
		{UP_NOT_AUTHENTICATED, VSS_E_PROVIDER_VETO, UMBRA_EVENT_NOT_AUTHENTICATED},
		{UP_IO_ERROR, VSS_E_PROVIDER_VETO, UMBRA_EVENT_STORE_ERROR},
		{(enum up_status)4711, VSS_E_PROVIDER_VETO, UMBRA_EVENT_VERSION},
	};

	kept_set(1, 1);
	fakes[0].jobs_stand = true;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fakes[1].refuse[UP_OP_RESYNC_START] = rows[i].status;
		CHECK_HR(resync(2), rows[i].hr);
		expect_event(rows[i].event);
		CHECK(fakes[0].jobs[i + 1].state == UP_JOB_CANCELLED); /* what had been started */
		CHECK(!async_busy());
	}
	end_set();
}

static void an_array_without_it(void)
{
	kept_set(1, 1);
	fakes[1].capabilities = UP_CAP_DIFFERENTIAL;
	CHECK_HR(resync(2), E_NOTIMPL);
	CHECK(fakes[0].executed[UP_OP_RESYNC_START] == 0 && fakes[1].executed[UP_OP_RESYNC_START] == 0);
	CHECK_HR(resync(1), S_OK);
	CHECK_HR(IVssAsync_Wait(async, INFINITE), S_OK);
	release_last();
	end_set();
}

static void pairs_that_do_not_fit(void)
{
	kept_set(2, 0);
	VDS_LUN_INFORMATION target = destinations[0], source = sources[0];
	/* smaller */
	fake_find(ids[0])->lun.size_bytes /= 2;
	CHECK_HR(resync(1), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_RESYNC_PAIR);
	fake_find(ids[0])->lun.size_bytes *= 2;
	/* a shadow copy as target, an ordinary LUN as source */
	destinations[0] = sources[1];
	CHECK_HR(resync(1), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_RESYNC_PAIR);
	destinations[0] = target;
	sources[0] = destinations[1];
	CHECK_HR(resync(1), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_RESYNC_PAIR);
	sources[0] = source;
	/* the same target twice */
	VDS_LUN_INFORMATION second = destinations[1];
	destinations[1] = destinations[0];
	CHECK_HR(resync(2), E_INVALIDARG);
	destinations[1] = second;
	/* not mapped; unknown source; somebody else's disk */
	fake_find(ids[0])->lun.number = 0;
	CHECK_HR(resync(1), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_RESYNC_PAIR);
	fake_find(ids[0])->lun.number = 1;
	destinations[0].m_szVendorId[0] = 'X';
	CHECK_HR(resync(1), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_RESYNC_PAIR);
	destinations[0].m_szVendorId[0] = 'U';
	fake_find(shadow_ids[0])->there = false;
	CHECK_HR(resync(1), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_LUN_UNKNOWN);
	CHECK_HR(resync(0), E_INVALIDARG);
	CHECK_HR(resync(0xFFFFFFFF), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_ResyncLuns(hw, sources, destinations, 1, NULL), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_ResyncLuns(hw, NULL, destinations, 1, &async), E_INVALIDARG);
	CHECK(!async);
	CHECK_HR(IVssHardwareSnapshotProviderEx_ResyncLuns(hw, sources, NULL, 1, &async), E_INVALIDARG);
	CHECK(fakes[0].executed[UP_OP_RESYNC_START] == 0);
	end_set();
}

/* Two targets on different arrays from one source: the second cannot be. */
static void no_resync_over_arrays(void)
{
	kept_set(1, 1);
	VDS_LUN_INFORMATION first = destinations[0];
	destinations[0] = destinations[1];
	CHECK_HR(resync(1), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_RESYNC_PAIR);
	destinations[0] = first;
	end_set();
}

/* The requester goes away: the work does not, and the service stays while it runs. */
static volatile LONG live_objects;

static void live_changed(LONG live)
{
	InterlockedExchange(&live_objects, live);
}

static void released_at_once(void)
{
	kept_set(2, 0);
	context.objects_changed = live_changed;
	fakes[0].jobs_stand = true;
	CHECK_HR(resync(2), S_OK);
	CHECK(live_objects == 2);
	CHECK(IVssAsync_Release(async) == 1); /* the thread's */
	CHECK_HR(IVssProviderNotifications_OnUnload(notify, FALSE), S_FALSE);
	CHECK_HR(IVssProviderNotifications_OnUnload(notify, TRUE), S_OK); /* the job is the array's */
	CHECK(async_busy() && fakes[0].jobs[1].state == UP_JOB_RUNNING);
	fakes[0].jobs_stand = false;
	for (int i = 0; i < 1000 && live_objects != 1; i++)
		Sleep(10);
	CHECK(live_objects == 1 && !async_busy());
	CHECK(holds_the_copy(0) && holds_the_copy(1));
	context.objects_changed = NULL;
	end_set();
}

/* The service stops: nobody is kept waiting, the array goes on. */
static void the_service_ends_meanwhile(void)
{
	kept_set(2, 0);
	fakes[0].jobs_stand = true;
	CHECK_HR(resync(2), S_OK);
	provider_abort_all();
	CHECK(!async_busy());
	CHECK_HR(IVssAsync_Wait(async, INFINITE), S_OK);
	CHECK_HR(status(NULL), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_RESYNC_LEFT);
	CHECK(fakes[0].executed[UP_OP_RESYNC_CANCEL] == 0 && fakes[0].jobs[1].state == UP_JOB_RUNNING);
	release_last();
	end_set();
}

/* A set is committed while a resync runs: nothing is asked in the window (the heap is watched there). */
static void it_rests_in_the_commit_window(void)
{
	kept_set(2, 0);
	uint8_t third[1][UP_ID_BYTES];
	fake_add_lun(0, 9, third[0]);
	fakes[0].jobs_stand = true;
	CHECK_HR(resync(2), S_OK);
	Sleep(300); /* its steps are far apart now */
	CHECK_HR(begin(&other_set_id, &volume_id, 0, (const uint8_t(*)[UP_ID_BYTES])third, 1), S_OK);
	CHECK_HR(end_prepare(&other_set_id), S_OK);
	CHECK_HR(IVssProviderCreateSnapshotSet_PreCommitSnapshots(set, other_set_id), S_OK);
	for (int i = 0; i < 400 && fake_open_handles() > 3; i++)
		Sleep(5); /* a step that had begun before */
	Sleep(500);
	unsigned asked = fakes[0].executed[UP_OP_RESYNC_STATE];
	frozen = 1;
	Sleep(1500);
	CHECK(fakes[0].executed[UP_OP_RESYNC_STATE] == asked);
	CHECK_HR(commit(&other_set_id), S_OK);
	CHECK_HR(post_commit(&other_set_id), S_OK);
	CHECK_HR(abort_set(&other_set_id), S_OK);
	CHECK_HR(IVssAsync_Cancel(async), S_OK);
	release_last();
	end_set();
}

int main(void)
{
	static const struct test tests[] = {
		TEST(to_the_originals_and_again),
		TEST(to_other_luns),
		TEST(a_pair_that_comes_twice),
		TEST(interface_of_the_object),
		TEST(percent_grows),
		TEST(a_cancel_that_comes_too_late),
		TEST(failures_while_it_runs),
		TEST(silence_is_survived),
		TEST(arrays_that_refuse_to_start),
		TEST(an_array_without_it),
		TEST(pairs_that_do_not_fit),
		TEST(no_resync_over_arrays),
		TEST(released_at_once),
		TEST(the_service_ends_meanwhile),
		TEST(it_rests_in_the_commit_window),
	};

	return run_object_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
