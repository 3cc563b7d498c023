/* SPDX-License-Identifier: Apache-2.0 */
/* See watch.h. */
#include "watch.h"

#include <stdio.h>
#include <stdlib.h>

volatile LONG frozen, heap_calls, count_violations, violations;
const char *volatile last_violation;
static DWORD main_thread;

void watch_main_thread(void)
{
	main_thread = GetCurrentThreadId();
}

void watch_saw(const char *what)
{
	if (!frozen)
		return;
	if (count_violations) {
		last_violation = what;
		InterlockedIncrement(&violations);
		return;
	}
	frozen = 0; /* printing allocates */
	printf("%s in the commit window, by %s\n", what,
		GetCurrentThreadId() == main_thread ? "the thread that VSS called" : "another thread");
	fflush(stdout);
	_Exit(1);
}

/* A thread of an earlier set, whose commit had hung, may give its memory back at any time. */
void watch_heap(bool is_free)
{
	if (!is_free) {
		InterlockedIncrement(&heap_calls);
		watch_saw("an allocation");
	} else if (GetCurrentThreadId() == main_thread) {
		watch_saw("a free");
	}
}

/* ---- Windows: calls go through pointers __imp_NAME ---- */

#define WATCH(type, name, parameters, arguments)                                                             \
	extern type(WINAPI *__real___imp_##name) parameters;                                                 \
	extern type(WINAPI *__wrap___imp_##name) parameters;                                                 \
	static type WINAPI watched_##name parameters                                                         \
	{                                                                                                    \
		watch_saw(#name);                                                                            \
		return __real___imp_##name arguments;                                                        \
	}                                                                                                    \
	type(WINAPI *__wrap___imp_##name) parameters = watched_##name;

WATCH(HANDLE, CreateFileW,
	(LPCWSTR name, DWORD access, DWORD share, LPSECURITY_ATTRIBUTES sec, DWORD how, DWORD flags,
		HANDLE from),
	(name, access, share, sec, how, flags, from))
WATCH(HANDLE, CreateFileA,
	(LPCSTR name, DWORD access, DWORD share, LPSECURITY_ATTRIBUTES sec, DWORD how, DWORD flags,
		HANDLE from),
	(name, access, share, sec, how, flags, from))
WATCH(WINBOOL, WriteFile, (HANDLE file, LPCVOID data, DWORD len, LPDWORD written, LPOVERLAPPED o),
	(file, data, len, written, o))
WATCH(LSTATUS, RegGetValueW,
	(HKEY key, LPCWSTR sub, LPCWSTR value, DWORD flags, LPDWORD type, PVOID data, LPDWORD size),
	(key, sub, value, flags, type, data, size))
WATCH(LSTATUS, RegGetValueA,
	(HKEY key, LPCSTR sub, LPCSTR value, DWORD flags, LPDWORD type, PVOID data, LPDWORD size),
	(key, sub, value, flags, type, data, size))
WATCH(LSTATUS, RegOpenKeyExW, (HKEY key, LPCWSTR sub, DWORD options, REGSAM rights, PHKEY out),
	(key, sub, options, rights, out))
WATCH(HANDLE, RegisterEventSourceW, (LPCWSTR server, LPCWSTR source), (server, source))
WATCH(WINBOOL, ReportEventW,
	(HANDLE log, WORD type, WORD category, DWORD id, PSID sid, WORD strings, DWORD len, LPCWSTR *texts,
		LPVOID data),
	(log, type, category, id, sid, strings, len, texts, data))
WATCH(HANDLE, CreateThread,
	(LPSECURITY_ATTRIBUTES sec, SIZE_T stack, LPTHREAD_START_ROUTINE start, LPVOID arg, DWORD flags,
		LPDWORD id),
	(sec, stack, start, arg, flags, id))
WATCH(HANDLE, CreateEventW, (LPSECURITY_ATTRIBUTES sec, WINBOOL manual, WINBOOL set, LPCWSTR name),
	(sec, manual, set, name))
