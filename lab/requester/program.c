/* SPDX-License-Identifier: Apache-2.0 */
/* See program.h. */
#include "lab/requester/program.h"

#include <objbase.h>
#include <stdio.h>
#include <wchar.h>
#include "lab/requester/request.h"

#define PATH_CHARS 512

const char *program_run(const wchar_t *path, bool aside)
{
	wchar_t command[PATH_CHARS + 40];
	HANDLE err = GetStdHandle(STD_ERROR_HANDLE);
	STARTUPINFOW si = {.cb = sizeof si,
		.dwFlags = STARTF_USESTDHANDLES,
		.hStdInput = GetStdHandle(STD_INPUT_HANDLE),
		.hStdOutput = aside ? err : GetStdHandle(STD_OUTPUT_HANDLE),
		.hStdError = err};
	PROCESS_INFORMATION pi;
	DWORD code = 1;
	if (wcslen(path) > PATH_CHARS || GetFileAttributesW(path) == INVALID_FILE_ATTRIBUTES)
		return "there is no such file";
	fflush(stdout);
	_snwprintf(command, PATH_CHARS + 40, L"cmd.exe /c \"%ls\"", path);
	if (!CreateProcessW(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &si, &pi))
		return "it cannot be started";
	WaitForSingleObject(pi.hProcess, INFINITE);
	GetExitCodeProcess(pi.hProcess, &code);
	CloseHandle(pi.hThread);
	CloseHandle(pi.hProcess);
	return code ? "the program failed" : NULL;
}

static void put_id(FILE *out, const char *name, const GUID *id)
{
	wchar_t text[40];
	StringFromGUID2(id, text, 40);
	fprintf(out, "SET %s=%ls\r\n", name, text);
}

/* Variables by vshadow's names. There is no device of a shadow copy in the lab: its name is what it is exposed as. */
static bool write_script(const wchar_t *path, const LAB_RESULT *res)
{
	FILE *out = _wfopen(path, L"wb");
	if (!out)
		return false;
	fputs("@echo off\r\n", out);
	put_id(out, "SHADOW_SET_ID", &res->set_id);
	for (ULONG i = 0; i < res->snapshot_count; i++) {
		char name[32];
		snprintf(name, sizeof name, "SHADOW_ID_%lu", i + 1);
		put_id(out, name, &res->snapshots[i].id);
	}
	bool good = !ferror(out);
	return fclose(out) == 0 && good;
}

int program_after_create(const struct options *o, const LAB_RESULT *res)
{
	const char *why = o->command ? NULL : "";
	if (o->script && !write_script(o->script, res))
		return request_fail("the script cannot be written", HRESULT_FROM_WIN32(GetLastError()));
	if (o->command)
		why = program_run(o->command, o->json);
	if (why && *why) {
		fprintf(stderr, "umbra-lab-requester: -exec=%ls: %s\n", o->command, why);
		return 1;
	}
	if (o->wait) {
		fputs("Press ENTER to end.\n", stderr);
		for (int c = 0; c != '\n' && c != EOF;)
			c = getchar();
	}
	return 0;
}
