/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory runs out: every allocation of every method fails in turn, under the guarded heap (guard.h). Each time the method
 * answers with a code that VSS allows, its [in,out] structures are wholly new or untouched, nothing leaks, nothing is left
 * on the arrays, and the same object makes the next shadow copy.
 */
#include "objects.h"

#include <stdio.h>
#include <string.h>
#include <vss.h>
#include "provider/async.h"

#define LUNS 2

/* What VSS hands to the method of the moment, and what was in it. */
static VDS_LUN_INFORMATION given[LUNS], filled[LUNS], given_before[LUNS], filled_before[LUNS];
static uint8_t given_ids[LUNS][UP_ID_BYTES];
static WINBOOL yes;
static IVssAsync *async;
static IUnknown *object;

struct subject {
	const char *name;
	void (*prepare)(void);
	HRESULT (*call)(void);
	void (*expect)(bool worked); /* after the call; may be NULL */
	bool may_allocate_nothing;
};

static bool allowed(HRESULT hr)
{
	static const HRESULT codes[] = {S_OK, E_OUTOFMEMORY, E_INVALIDARG, E_ACCESSDENIED, VSS_E_BAD_STATE,
		VSS_E_OBJECT_NOT_FOUND, VSS_E_INSUFFICIENT_STORAGE, VSS_E_VOLUME_NOT_SUPPORTED,
		VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER, VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED,
		VSS_E_PROVIDER_VETO};

	for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (hr == codes[i])
			return true;
	return false;
}

static void keep_copies(void)
{
	memcpy(given_before, given, sizeof(given));
	memcpy(filled_before, filled, sizeof(filled));
}

/* The same blocks with the same contents: reading them would fault, had they been freed. */
static void expect_untouched(const VDS_LUN_INFORMATION *now, const VDS_LUN_INFORMATION *before)
{
	for (unsigned i = 0; i < LUNS; i++) {
		CHECK(!memcmp(&now[i], &before[i], sizeof(now[i])));
		CHECK(lun_identity_equal(&now[i], &before[i]));
		CHECK(!now[i].m_szSerialNumber || strlen(now[i].m_szSerialNumber) == UP_SERIAL_BYTES);
	}
}

/* ---- states that methods begin in ---- */

static void give_originals(void)
{
	start_with(1, 1);
	for (unsigned i = 0; i < LUNS; i++)
		describe(&given[i], ids[i]);
}

static void in_a_set(unsigned steps)
{
	give_originals();
	if (steps > 0)
		CHECK_HR(begin(&set_id, &volume_id, 0, luns, LUNS), S_OK);
	if (steps > 1)
		CHECK_HR(end_prepare(&set_id), S_OK);
	if (steps > 2)
		CHECK_HR(pre_commit(&set_id), S_OK);
	if (steps > 3)
		CHECK_HR(commit(&set_id), S_OK);
	if (steps > 4)
		CHECK_HR(post_commit(&set_id), S_OK);
}

static void prepared(void)
{
	in_a_set(1);
}

static void ended(void)
{
	in_a_set(2);
}

static void ready(void)
{
	in_a_set(3);
}

static void cut(void)
{
	in_a_set(4);
	frozen = 0;
}

static void committed_two(void)
{
	in_a_set(5);
}

/* The destination holds something already: it is freed on success, and stays on failure. */
static void committed_with_old_targets(void)
{
	committed_two();
	for (unsigned i = 0; i < LUNS; i++)
		describe(&filled[i], ids[1 - i]);
}

/* The set is kept and over; given are its shadow LUNs. */
static void kept(void)
{
	committed_two();
	CHECK_HR(targets(luns, LUNS, filled), S_OK);
	CHECK_HR(IVssProviderCreateSnapshotSet_PreFinalCommitSnapshots(set, set_id), S_OK);
	CHECK_HR(IVssProviderCreateSnapshotSet_PostFinalCommitSnapshots(set, set_id), S_OK);
	for (unsigned i = 0; i < LUNS; i++) {
		VDS_LUN_INFORMATION original = given[i];
		given[i] = filled[i];
		filled[i] = original;
		CHECK(lun_identity_recognise(&given[i], given_ids[i]));
	}
}

static void kept_and_mapped(void)
{
	kept();
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, LUNS, given), S_OK);
	fake_rescan();
}

/* ---- the methods ---- */

static HRESULT call_supported(void)
{
	yes = TRUE;
	return IVssHardwareSnapshotProviderEx_AreLunsSupported(hw, LUNS, 0, NULL, given, &yes);
}

static HRESULT call_supported_kind(void)
{
	yes = TRUE;
	return IVssHardwareSnapshotProviderEx_AreLunsSupported(
		hw, LUNS, VSS_VOLSNAP_ATTR_DIFFERENTIAL, NULL, given, &yes);
}

/* Never a yes to what was not looked at: no, or an error. */
static void expect_supported(bool worked)
{
	expect_untouched(given, given_before);
	CHECK(worked ? yes == TRUE : yes == FALSE);
}

static HRESULT call_fill(void)
{
	yes = TRUE;
	return IVssHardwareSnapshotProviderEx_FillInLunInfo(hw, NULL, &given[0], &yes);
}

static void expect_fill(bool worked)
{
	if (!worked)
		expect_untouched(given, given_before);
	CHECK(yes == (worked ? TRUE : FALSE));
}

static HRESULT call_begin(void)
{
	return IVssHardwareSnapshotProviderEx_BeginPrepareSnapshot(
		hw, set_id, volume_id, 0, LUNS, NULL, given);
}

static void expect_given_untouched(bool worked)
{
	(void)worked;
	expect_untouched(given, given_before);
}

static HRESULT call_end_prepare(void)
{
	return end_prepare(&set_id);
}

static HRESULT call_pre_commit(void)
{
	return pre_commit(&set_id);
}

static HRESULT call_commit(void)
{
	return commit(&set_id);
}

static HRESULT call_post_commit(void)
{
	return post_commit(&set_id);
}

static HRESULT call_targets(void)
{
	return IVssHardwareSnapshotProviderEx_GetTargetLuns(hw, LUNS, NULL, given, filled);
}

static void expect_targets(bool worked)
{
	uint8_t id[UP_ID_BYTES];

	expect_untouched(given, given_before);
	if (!worked)
		expect_untouched(filled, filled_before);
	for (unsigned i = 0; i < LUNS && worked; i++)
		CHECK(lun_identity_recognise(&filled[i], id) && memcmp(id, ids[i], UP_ID_BYTES) != 0);
}

static HRESULT call_locate(void)
{
	return IVssHardwareSnapshotProviderEx_LocateLuns(hw, LUNS, given);
}

/* All or none is unmasked. What was unmasked is masked again as far as memory allows: the failure is over by then. */
static void expect_located(bool worked)
{
	expect_untouched(given, given_before);
	for (unsigned i = 0; i < LUNS; i++)
		CHECK((fake_find(given_ids[i])->lun.number != 0) == worked);
}

static HRESULT call_empty(void)
{
	return IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &given[0]);
}

static void expect_emptied(bool worked)
{
	expect_untouched(given, given_before);
	CHECK((fake_find(given_ids[0]) == NULL) == worked);
	CHECK(fake_find(given_ids[1]));
}

static HRESULT call_read_write(void)
{
	return IVssHardwareSnapshotProviderEx_OnLunStateChange(
		hw, given, filled, LUNS, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE);
}

static HRESULT call_pre_recovery(void)
{
	return IVssHardwareSnapshotProviderEx_OnLunStateChange(
		hw, given, filled, LUNS, VSS_ONLUNSTATECHANGE_NOTIFY_LUN_PRE_RECOVERY);
}

static HRESULT call_post_recovery(void)
{
	return IVssHardwareSnapshotProviderEx_OnLunStateChange(
		hw, given, filled, LUNS, VSS_ONLUNSTATECHANGE_NOTIFY_LUN_POST_RECOVERY);
}

static HRESULT call_mask(void)
{
	return IVssHardwareSnapshotProviderEx_OnLunStateChange(
		hw, given, filled, LUNS, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS);
}

static void expect_both_untouched(bool worked)
{
	(void)worked;
	expect_untouched(given, given_before);
	expect_untouched(filled, filled_before);
}

static void expect_masked(bool worked)
{
	expect_both_untouched(worked);
	for (unsigned i = 0; i < LUNS && worked; i++)
		CHECK(fake_find(given_ids[i])->lun.number == 0);
}

/* With what runs in its own thread, to the end. */
static HRESULT call_resync(void)
{
	async = (IVssAsync *)hw;
	HRESULT hr = IVssHardwareSnapshotProviderEx_ResyncLuns(hw, given, filled, LUNS, &async);

	CHECK((hr == S_OK) == (async != NULL));
	if (async)
		CHECK_HR(IVssAsync_Wait(async, INFINITE), S_OK);
	return hr;
}

static void expect_resynced(bool worked)
{
	HRESULT result;

	expect_both_untouched(worked);
	if (!async)
		return;
	CHECK_HR(IVssAsync_QueryStatus(async, &result, NULL), S_OK);
	CHECK(result == VSS_S_ASYNC_FINISHED || (!worked && allowed(result) && FAILED(result)));
	IVssAsync_Release(async);
	async = NULL;
}

static HRESULT call_create(void)
{
	object = (IUnknown *)hw;
	return provider_create(&context, &IID_IVssProviderNotifications, (void **)&object);
}

static void expect_created(bool worked)
{
	CHECK((object != NULL) == worked);
	if (object)
		IUnknown_Release(object);
}

/* ---- one after the other ---- */

static void clean_up(bool was_kept)
{
	while (async_busy())
		Sleep(5);
	if (!was_kept) {
		CHECK_HR(abort_set(&set_id), S_OK);
		wait_for_threads();
		CHECK(fake_shadows() == 0 && fake_open_sets() == 0);
		committed(luns, LUNS); /* the object is as good as new */
		CHECK_HR(abort_set(&set_id), S_OK);
	}
	for (unsigned i = 0; i < LUNS; i++) {
		lun_identity_clear(&given[i]);
		lun_identity_clear(&filled[i]);
	}
	finish();
}

/* True: allocation n of the call was made, and failed. */
static bool fail_one(const struct subject *s, LONG n)
{
	s->prepare();
	keep_copies();
	guard_fail_after(n);
	HRESULT hr = s->call();
	bool failed = guard_fail_end();
	frozen = 0;
	if (!allowed(hr))
		printf("%s: 0x%08lx when allocation %ld fails\n", s->name, hr, n);
	CHECK(allowed(hr));
	if (!failed)
		CHECK_HR(hr, S_OK);
	/* AreLunsSupported may answer S_OK and FALSE: it worked when it says yes. */
	bool worked = hr == S_OK && (s->expect != expect_supported || yes);
	if (s->expect)
		s->expect(worked);
	bool was_kept = s->prepare == kept || s->prepare == kept_and_mapped ||
			(worked && s->expect == expect_targets);
	clean_up(was_kept);
	expect_no_leak();
	return failed;
}

static void every_allocation_of_every_method(void)
{
	static const struct subject subjects[] = {
		{"AreLunsSupported", give_originals, call_supported, expect_supported, false},
		{"AreLunsSupported, of a kind", give_originals, call_supported_kind, expect_supported, false},
		{"FillInLunInfo", give_originals, call_fill, expect_fill, false},
		{"BeginPrepareSnapshot", give_originals, call_begin, expect_given_untouched, false},
		{"EndPrepareSnapshots", prepared, call_end_prepare, expect_given_untouched, false},
		{"PreCommitSnapshots", ended, call_pre_commit, expect_given_untouched, false},
		{"CommitSnapshots", ready, call_commit, expect_given_untouched, true},
		{"PostCommitSnapshots", cut, call_post_commit, expect_given_untouched, false},
		{"GetTargetLuns", committed_two, call_targets, expect_targets, false},
		{"GetTargetLuns, over others", committed_with_old_targets, call_targets, expect_targets,
			false},
		{"LocateLuns", kept, call_locate, expect_located, false},
		{"OnLunEmpty", kept, call_empty, expect_emptied, false},
		{"OnLunStateChange, read-write", kept_and_mapped, call_read_write, expect_both_untouched,
			false},
		{"OnLunStateChange, recovery", kept, call_pre_recovery, expect_both_untouched, false},
		{"OnLunStateChange, recovered", kept, call_post_recovery, expect_both_untouched, false},
		{"OnLunStateChange, mask", kept_and_mapped, call_mask, expect_masked, false},
		{"ResyncLuns", kept_and_mapped, call_resync, expect_resynced, false},
		{"the object itself", give_originals, call_create, expect_created, false},
	};

	for (unsigned i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		LONG n = 0;
		printf("   %s\n", subjects[i].name);
		fflush(stdout);
		while (fail_one(&subjects[i], n))
			CHECK(++n < 1000);
		printf("      %ld allocations\n", n);
		CHECK(n > 0 || subjects[i].may_allocate_nothing);
	}
}

/* ---- does the guarded heap find what it is for? ---- */

/* By integers, so that the compiler does not find them first. */
static volatile char *at(uintptr_t block, int offset)
{
	return (volatile char *)(block + (uintptr_t)offset);
}

static int mistake(const char *which)
{
	volatile uintptr_t block = (uintptr_t)malloc(24), task = (uintptr_t)CoTaskMemAlloc(24);

	if (!strcmp(which, "overrun"))
		*at(block, 24 + 8) = 1; /* the first byte after the tail */
	else if (!strcmp(which, "tail"))
		*at(block, 24) = 1;
	else if (!strcmp(which, "underrun"))
		*at(block, -1) = 1;
	else if (!strcmp(which, "family"))
		free((void *)task);
	free((void *)block);
	CoTaskMemFree((void *)task);
	if (!strcmp(which, "read"))
		return *at(block, 3) == 0;
	if (!strcmp(which, "twice"))
		CoTaskMemFree((void *)task);
	return 0;
}

static DWORD exit_code_of(const char *word)
{
	WCHAR program[MAX_PATH], command[MAX_PATH + 40];
	STARTUPINFOW start_info = {.cb = sizeof(start_info)};
	PROCESS_INFORMATION process;
	DWORD code = 0;

	CHECK(GetModuleFileNameW(NULL, program, MAX_PATH));
	_snwprintf(command, MAX_PATH + 40, L"\"%ls\" %hs", program, word);
	CHECK(CreateProcessW(program, command, NULL, NULL, FALSE, 0, NULL, NULL, &start_info, &process));
	CHECK(WaitForSingleObject(process.hProcess, 600000) == WAIT_OBJECT_0);
	CHECK(GetExitCodeProcess(process.hProcess, &code));
	CloseHandle(process.hThread);
	CloseHandle(process.hProcess);
	return code;
}

static void the_guard_finds_mistakes(void)
{
	static const char *const words[] = {"overrun", "tail", "underrun", "family", "read", "twice"};
	LONG before = guard_live();

	CHECK(exit_code_of("none") == 0);
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		printf("   %s\n", words[i]);
		fflush(stdout);
		CHECK(exit_code_of(words[i]) != 0);
	}
	void *volatile heap = malloc(1), *volatile task = CoTaskMemAlloc(1);
	CHECK(guard_live() == before + 2);
	free(heap);
	CoTaskMemFree(task);
	CHECK(guard_live() == before);
}

static LONG WINAPI end_quietly(EXCEPTION_POINTERS *what)
{
	(void)what;
	_Exit(3);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(the_guard_finds_mistakes),
		TEST(every_allocation_of_every_method),
	};

	if (argc == 2) {
		SetUnhandledExceptionFilter(end_quietly);
		return mistake(argv[1]);
	}
	return run_object_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
