/* SPDX-License-Identifier: Apache-2.0 */
/* See vssapi.h. One thread keeps the apartment, so that proxies outlive the threads that got them. */
#include "lab/vssapi/vssapi.h"

#include <stdlib.h>

struct job {
	HRESULT (*work)(void *arg);
	void *arg;
	HRESULT hr;
	bool own; /* frees itself */
};

static DWORD WINAPI keep(void *ready)
{
	CoInitializeEx(NULL, COINIT_MULTITHREADED);
	SetEvent(ready);
	Sleep(INFINITE);
	return 0;
}

static BOOL CALLBACK start_keeper(INIT_ONCE *once, void *arg, void **out)
{
	HMODULE self;
	(void)once;
	(void)arg;
	(void)out;
	/* Its threads run in it for ever. */
	GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
		(const wchar_t *)(void *)keep, &self);
	HANDLE ready = CreateEventW(NULL, TRUE, FALSE, NULL);
	HANDLE thread = ready ? CreateThread(NULL, 0, keep, ready, 0, NULL) : NULL;
	if (!thread)
		return FALSE;
	WaitForSingleObject(ready, INFINITE);
	CloseHandle(thread);
	return TRUE;
}

static DWORD WINAPI run(void *arg)
{
	struct job *j = arg;
	CoInitializeEx(NULL, COINIT_MULTITHREADED);
	j->hr = j->work(j->arg);
	CoUninitialize();
	if (j->own)
		free(j);
	return 0;
}

static HANDLE begin(struct job *j)
{
	static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
	return InitOnceExecuteOnce(&once, start_keeper, NULL, NULL) ? CreateThread(NULL, 0, run, j, 0, NULL)
								    : NULL;
}

HRESULT mta_run(HRESULT (*work)(void *arg), void *arg)
{
	struct job j = {.work = work, .arg = arg};
	HANDLE thread = begin(&j);
	if (!thread)
		return E_OUTOFMEMORY;
	WaitForSingleObject(thread, INFINITE);
	CloseHandle(thread);
	return j.hr;
}

bool mta_begin(HRESULT (*work)(void *arg), void *arg)
{
	struct job *j = calloc(1, sizeof *j);
	HANDLE thread = NULL;
	if (j) {
		*j = (struct job){.work = work, .arg = arg, .own = true};
		thread = begin(j);
	}
	if (!thread) {
		free(j);
		return false;
	}
	CloseHandle(thread);
	return true;
}
