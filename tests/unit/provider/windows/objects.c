/* SPDX-License-Identifier: Apache-2.0 */
/* See objects.h. */
#include "objects.h"

#include <string.h>
#include "events.h"
#include "provider/imports.h"

struct provider_context context;
IVssHardwareSnapshotProviderEx *hw;
IVssProviderCreateSnapshotSet *set;
IVssProviderNotifications *notify;
uint32_t budget = PROVIDER_BUDGET_MS;
enum up_copy_kind preferred;

const VSS_ID set_id = {0x11111111, 0x2222, 0x3333, {1, 2, 3, 4, 5, 6, 7, 8}};
const VSS_ID other_set_id = {0x99999999, 0x2222, 0x3333, {1, 2, 3, 4, 5, 6, 7, 8}};
const VSS_ID volume_id = {1, 0, 0, {0}};
const VSS_ID second_volume_id = {2, 0, 0, {0}};
uint8_t set_bytes[16];
uint8_t ids[8][UP_ID_BYTES];
const uint8_t (*const luns)[UP_ID_BYTES] = (const uint8_t (*)[UP_ID_BYTES])ids;

/* ---- events ---- */

struct event_note last_event;
volatile LONG events;

static void sink(const struct event_note *note)
{
	watch_saw("an event");
	CHECK(strcmp(note->call, "-"));
	/* an error event comes with a veto, and names the LUN and the array; not so a lack of memory here */
	if (note->id >> 30 == 3 && note->id != UMBRA_EVENT_INTERNAL)
		CHECK(strcmp(note->lun, "-") &&
			(strcmp(note->array, "-") || note->id == UMBRA_EVENT_LUN_UNKNOWN ||
				note->id == UMBRA_EVENT_UNREACHABLE)); /* no array was found */
	last_event = *note;
	InterlockedIncrement(&events);
}

/* ---- memory ---- */

static LONG live_before; /* blocks in use outside of start() and finish() */

void expect_no_leak(void)
{
	for (int i = 0; i < 1000 && guard_live() != live_before; i++)
		Sleep(10); /* threads that end by themselves give back what they have */
	if (guard_live() != live_before)
		printf("%ld blocks more than before\n", guard_live() - live_before);
	CHECK(guard_live() == live_before);
}

static uint32_t budget_ms(void)
{
	return budget;
}

static enum up_copy_kind copy_kind(void)
{
	return preferred;
}

/* ---- set up ---- */

void start_over(struct transport *transport)
{
	expect_no_leak();
	budget = PROVIDER_BUDGET_MS;
	preferred = UP_COPY_DEFAULT;
	frozen = 0;
	events = 0;
	memset(&last_event, 0, sizeof(last_event));
	context = (struct provider_context){
		.transport = transport, .budget_ms = budget_ms, .copy_kind = copy_kind};
	context.client = array_client_create(context.transport);
	CHECK(context.client);
	CHECK_HR(provider_create(&context, &IID_IVssHardwareSnapshotProviderEx, (void **)&hw), S_OK);
	CHECK_HR(IVssHardwareSnapshotProviderEx_QueryInterface(
			 hw, &IID_IVssProviderCreateSnapshotSet, (void **)&set),
		S_OK);
	CHECK_HR(IVssHardwareSnapshotProviderEx_QueryInterface(
			 hw, &IID_IVssProviderNotifications, (void **)&notify),
		S_OK);
	provider_guid_bytes(&set_id, set_bytes);
}

void start(void)
{
	expect_no_leak();
	fake_reset();
	start_over(fake_transport());
}

void start_with(unsigned on_first, unsigned on_second)
{
	start();
	for (unsigned i = 0; i < on_first; i++)
		fake_add_lun(0, i + 1, ids[i]);
	for (unsigned i = 0; i < on_second; i++)
		fake_add_lun(1, i + 1, ids[on_first + i]);
}

void wait_for_threads(void)
{
	for (int i = 0; i < 2000 && fake_open_handles(); i++)
		Sleep(10);
	CHECK(fake_open_handles() == 0);
}

void finish(void)
{
	IVssProviderNotifications_Release(notify);
	IVssProviderCreateSnapshotSet_Release(set);
	CHECK(IVssHardwareSnapshotProviderEx_Release(hw) == 0);
	imports_leave();
	wait_for_threads();
	eventlog_drain();
	array_client_destroy(context.client);
}

/* As VSS builds it from INQUIRY data. */
void describe(VDS_LUN_INFORMATION *lun, const uint8_t id[UP_ID_BYTES])
{
	memset(lun, 0, sizeof(*lun));
	lun->m_BusType = VDSBusTypeiScsi;
	CHECK(lun_identity_rebuild(lun, id));
}

HRESULT begin(const VSS_ID *s, const VSS_ID *volume, LONG flags, const uint8_t (*of)[UP_ID_BYTES], LONG count)
{
	VDS_LUN_INFORMATION infos[8];

	for (LONG i = 0; i < count; i++)
		describe(&infos[i], of[i]);
	HRESULT hr = IVssHardwareSnapshotProviderEx_BeginPrepareSnapshot(
		hw, *s, *volume, flags, count, NULL, infos);
	for (LONG i = 0; i < count; i++)
		lun_identity_clear(&infos[i]);
	return hr;
}

HRESULT end_prepare(const VSS_ID *s)
{
	return IVssProviderCreateSnapshotSet_EndPrepareSnapshots(set, *s);
}

HRESULT pre_commit(const VSS_ID *s)
{
	HRESULT hr = IVssProviderCreateSnapshotSet_PreCommitSnapshots(set, *s);

	frozen = hr == S_OK;
	return hr;
}

HRESULT commit(const VSS_ID *s)
{
	return IVssProviderCreateSnapshotSet_CommitSnapshots(set, *s);
}

HRESULT post_commit(const VSS_ID *s)
{
	frozen = 0;
	return IVssProviderCreateSnapshotSet_PostCommitSnapshots(set, *s, 1);
}

HRESULT abort_set(const VSS_ID *s)
{
	frozen = 0;
	return IVssProviderCreateSnapshotSet_AbortSnapshots(set, *s);
}

void committed(const uint8_t (*of)[UP_ID_BYTES], LONG count)
{
	CHECK_HR(begin(&set_id, &volume_id, 0, of, count), S_OK);
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK_HR(pre_commit(&set_id), S_OK);
	CHECK_HR(commit(&set_id), S_OK);
	CHECK_HR(post_commit(&set_id), S_OK);
}

HRESULT targets(const uint8_t (*of)[UP_ID_BYTES], LONG count, VDS_LUN_INFORMATION *out)
{
	VDS_LUN_INFORMATION sources[8];

	for (LONG i = 0; i < count; i++)
		describe(&sources[i], of[i]);
	HRESULT hr = IVssHardwareSnapshotProviderEx_GetTargetLuns(hw, count, NULL, sources, out);
	for (LONG i = 0; i < count; i++)
		lun_identity_clear(&sources[i]);
	return hr;
}

/* Waits until the event is there: the queue has its own thread. */
void expect_event(DWORD id)
{
	eventlog_drain();
	for (int i = 0; i < 2000 && !events; i++)
		Sleep(10);
	if (last_event.id != id)
		printf("event 0x%lx: %s %s %s %s\n", last_event.id, last_event.call, last_event.lun,
			last_event.array, last_event.detail);
	CHECK(last_event.id == id);
	CHECK(strlen(last_event.detail) > 1 || id == UMBRA_EVENT_LUN_UNKNOWN || id == UMBRA_EVENT_ORDINARY);
	events = 0;
}

/* With a trace file: what is traced must not be written in the window either. */
int run_object_tests(const struct test *tests, size_t count)
{
	WCHAR directory[MAX_PATH], trace[MAX_PATH] = L"";

	if (GetTempPathW(MAX_PATH, directory))
		CHECK(GetTempFileNameW(directory, L"umb", 0, trace));
	CHECK_HR(CoInitializeEx(NULL, COINIT_MULTITHREADED), S_OK);
	watch_main_thread();
	CHECK(eventlog_start(trace));
	CHECK(eventlog_tracing());
	eventlog_set_sink(sink);
	CoAddRefServerProcess(); /* the process does not end with the last object */
	live_before = guard_live();
	guard_watch = watch_heap;
	int result = run_tests(tests, count);
	expect_no_leak();
	eventlog_stop();
	(void)DeleteFileW(trace);
	return result;
}
