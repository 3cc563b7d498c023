/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set from its beginning to PostCommitSnapshots over the real pass-through (transport_spti.c), under the watch over the
 * commit window and the heap guard. For a host with LUNs of an array: tests/integration/lab_faults.py starts it.
 *
 * test_provider_passthrough MARK LUN…: the LUNs by their ids, at most 8. It makes the file MARK.ready before
 * PreCommitSnapshots and goes on when there is MARK.go.
 */
#include "objects.h"

#include <stdio.h>
#include <string.h>
#include "proto/identity.h"

static const char *mark;
static LONG lun_count;

static void wait_at_the_mark(void)
{
	char path[MAX_PATH];

	snprintf(path, sizeof(path), "%s.ready", mark);
	HANDLE file = CreateFileA(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
	CHECK(file != INVALID_HANDLE_VALUE);
	CloseHandle(file);
	snprintf(path, sizeof(path), "%s.go", mark);
	for (int i = 0; i < 6000 && GetFileAttributesA(path) == INVALID_FILE_ATTRIBUTES; i++)
		Sleep(10);
}

static void a_set_over_pass_through(void)
{
	VSS_ID id; /* the array remembers aborted ones */

	start_over(transport_spti());
	CHECK_HR(CoCreateGuid(&id), S_OK);
	HRESULT hr = begin(&id, &volume_id, 0, luns, lun_count);
	eventlog_drain();
	if (events)
		printf("event 0x%lx: %s %s %s %s\n", last_event.id, last_event.call, last_event.lun,
			last_event.array, last_event.detail);
	CHECK_HR(hr, S_OK);
	CHECK_HR(end_prepare(&id), S_OK);
	wait_at_the_mark();
	LONG before = heap_calls;
	CHECK_HR(pre_commit(&id), S_OK);
	CHECK(heap_calls > before); /* the devices are opened: it is being watched */
	ULONGLONG begun_ms = GetTickCount64();
	CHECK_HR(commit(&id), S_OK);
	frozen = 0; /* printing allocates */
	printf("CommitSnapshots %lu ms\n", (unsigned long)(GetTickCount64() - begun_ms));
	fflush(stdout);
	CHECK_HR(post_commit(&id), S_OK);
	CHECK_HR(abort_set(&id), S_OK);
	eventlog_drain();
	finish();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {TEST(a_set_over_pass_through)};

	CHECK(argc > 2 && argc - 2 <= 8);
	mark = argv[1];
	lun_count = argc - 2;
	for (LONG i = 0; i < lun_count; i++)
		CHECK(up_id_parse(argv[i + 2], ids[i]));
	return run_object_tests(tests, 1);
}
