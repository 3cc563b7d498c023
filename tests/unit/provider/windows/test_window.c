/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between PreCommitSnapshots and PostCommitSnapshots nothing is allocated, no file, registry or event log touched;
 * and proof that the watch over it (watch.h), which all tests of the object run under, sees what it is to see.
 */
#include "objects.h"

#include <stdlib.h>
#include <string.h>
#include "events.h"

/* A commit as fast as may be, a slow one, one that is asked for again, one refused, one that is late: whatever comes. */
static void nothing_is_done_in_the_window(void)
{
	for (int i = 0; i < 5; i++) {
		start_with(2, 1);
		count_violations = 1;
		violations = 0;
		CHECK_HR(begin(&set_id, &volume_id, 0, luns, 3), S_OK);
		CHECK_HR(end_prepare(&set_id), S_OK);
		if (i == 4)
			budget = 200;
		CHECK_HR(pre_commit(&set_id), S_OK);
		fakes[0].delay_ms[UP_OP_SET_COMMIT] = i == 1 ? 300 : i == 4 ? 600 : 0;
		fakes[0].lose_replies = i == 2;
		fakes[0].refuse[UP_OP_SET_COMMIT] = i == 2 ? UP_BUSY : i == 3 ? UP_DEADLINE : UP_OK;
		fakes[0].refuse_count[UP_OP_SET_COMMIT] = i == 2 ? 2 : 0;
		CHECK_HR(commit(&set_id), i < 3 ? S_OK : VSS_E_PROVIDER_VETO);
		Sleep(50); /* the event queue's thread would have had its time */
		CHECK(violations == 0 && events == 0);
		if (i < 3)
			CHECK_HR(post_commit(&set_id), S_OK);
		CHECK_HR(abort_set(&set_id), S_OK);
		count_violations = 0;
		if (i >= 3)
			expect_event(i == 3 ? UMBRA_EVENT_DEADLINE : UMBRA_EVENT_WINDOW);
		finish();
	}
}

/* Windows may hold writes since the window was ready: what that took is missing at the end. */
static void the_holds_have_begun_before(void)
{
	start_with(1, 0);
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), S_OK);
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK_HR(pre_commit(&set_id), S_OK);
	Sleep(8000);
	fakes[0].delay_ms[UP_OP_SET_COMMIT] = 3000;
	uint64_t begun_ms = GetTickCount64();
	CHECK_HR(commit(&set_id), VSS_E_PROVIDER_VETO);
	CHECK(GetTickCount64() - begun_ms >= 900);
	CHECK_HR(abort_set(&set_id), S_OK);
	expect_event(UMBRA_EVENT_WINDOW);
	finish();
	CHECK(fake_shadows() == 0);
}

static void take_memory(void)
{
	void *volatile block = malloc(100);

	free(block);
}

static void take_zeroed_memory(void)
{
	void *volatile block = calloc(10, 10);

	free(block);
}

static void take_com_memory(void)
{
	void *volatile block = CoTaskMemAlloc(100);

	CoTaskMemFree(block);
}

static void open_a_file(void)
{
	HANDLE file = CreateFileW(L"NUL", GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);

	CHECK(file != INVALID_HANDLE_VALUE);
	CloseHandle(file);
}

static HANDLE nul;

static void write_to_a_file(void)
{
	DWORD written;

	CHECK(WriteFile(nul, "x", 1, &written, NULL));
}

static void look_into_the_registry(void)
{
	DWORD value, size = sizeof(value);

	(void)RegGetValueW(
		HKEY_LOCAL_MACHINE, L"SOFTWARE\\Umbra", L"X", RRF_RT_REG_DWORD, NULL, &value, &size);
}

static void open_the_event_log(void)
{
	HANDLE source = RegisterEventSourceW(NULL, L"Umbra VSS Provider");

	if (source)
		DeregisterEventSource(source);
}

static void report_an_event(void)
{
	(void)ReportEventW(NULL, EVENTLOG_ERROR_TYPE, 0, 1, NULL, 0, 0, NULL, NULL);
}

/* Queueing alone is allowed; without the hold the queue's thread would write it at once. */
static void break_the_hold(void)
{
	eventlog_release();
	eventlog_note(UMBRA_EVENT_STATE_CHANGE, "CommitSnapshots", "x", "y", "z");
	for (int i = 0; i < 1000 && !violations; i++)
		Sleep(5);
	eventlog_hold();
}

static void trace_without_the_hold(void)
{
	eventlog_release();
	eventlog_trace("in the window");
	for (int i = 0; i < 1000 && !violations; i++)
		Sleep(5);
	eventlog_hold();
}

static void make_an_event_object(void)
{
	HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);

	CloseHandle(event);
}

static void queue_an_event(void)
{
	eventlog_note(UMBRA_EVENT_STATE_CHANGE, "CommitSnapshots", "x", "y", "z");
	eventlog_trace("in the window");
}

/* Done by a thread of the window, at the worst moment. */
static void the_watch_sees_what_it_is_to_see(void)
{
	static const struct {
		void (*deed)(void);
		const char *seen; /* NULL: it is allowed */
	} rows[] = {
		{take_memory, "an allocation"},
		{take_zeroed_memory, "an allocation"},
		{take_com_memory, "an allocation"},
		{open_a_file, "CreateFileW"},
		{write_to_a_file, "WriteFile"},
		{look_into_the_registry, "RegGetValueW"},
		{open_the_event_log, "RegisterEventSourceW"},
		{report_an_event, "ReportEventW"},
		{break_the_hold, "WriteFile"}, /* the trace has events too, and comes first */
		{trace_without_the_hold, "WriteFile"},
		{make_an_event_object, "CreateEventW"},
		{queue_an_event, NULL},
	};

	nul = CreateFileW(L"NUL", GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
	CHECK(nul != INVALID_HANDLE_VALUE);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		start_with(1, 0);
		CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), S_OK);
		CHECK_HR(end_prepare(&set_id), S_OK);
		CHECK_HR(pre_commit(&set_id), S_OK);
		count_violations = 1;
		violations = 0;
		last_violation = NULL;
		fake_in_commit = rows[i].deed;
		CHECK_HR(commit(&set_id), S_OK);
		fake_in_commit = NULL;
		if (rows[i].seen && (!violations || !last_violation))
			printf("%s was not seen\n", rows[i].seen);
		CHECK((violations > 0) == (rows[i].seen != NULL));
		if (rows[i].seen && rows[i].deed != break_the_hold)
			CHECK(!strcmp(last_violation, rows[i].seen));
		CHECK_HR(post_commit(&set_id), S_OK);
		count_violations = 0;
		CHECK_HR(abort_set(&set_id), S_OK);
		eventlog_drain();
		finish();
	}
	CloseHandle(nul);
	/* and by the thread that VSS calls in */
	void *volatile block = malloc(10);
	violations = 0;
	count_violations = 1;
	frozen = 1;
	free(block);
	frozen = 0;
	count_violations = 0;
	CHECK(violations == 1 && !strcmp(last_violation, "a free"));
}

/* A violation ends the program: what the other tests rely on. */
static void a_violation_ends_the_program(void)
{
	WCHAR program[MAX_PATH], line[MAX_PATH + 20];
	STARTUPINFOW startup = {.cb = sizeof(startup)};
	PROCESS_INFORMATION process;
	DWORD code = 0;

	CHECK(GetModuleFileNameW(NULL, program, MAX_PATH));
	swprintf(line, MAX_PATH + 20, L"\"%ls\" violate", program);
	CHECK(CreateProcessW(program, line, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &process));
	CHECK(WaitForSingleObject(process.hProcess, 600000) == WAIT_OBJECT_0);
	CHECK(GetExitCodeProcess(process.hProcess, &code) && code == 1);
	CloseHandle(process.hThread);
	CloseHandle(process.hProcess);
}

static void violate(void)
{
	start_with(1, 0);
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), S_OK);
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK_HR(pre_commit(&set_id), S_OK);
	fake_in_commit = open_a_file;
	(void)commit(&set_id);
	finish();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(nothing_is_done_in_the_window),
		TEST(the_holds_have_begun_before),
		TEST(the_watch_sees_what_it_is_to_see),
		TEST(a_violation_ends_the_program),
	};
	static const struct test violation[] = {TEST(violate)};

	if (argc == 2 && !strcmp(argv[1], "violate"))
		return run_object_tests(violation, 1);
	return run_object_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
