/* SPDX-License-Identifier: Apache-2.0 */
/* See setup_bounded.h. */
#include "provider/setup_bounded.h"

#include <stdlib.h>
#include <ole2.h>

struct bounded {
	volatile LONG refs; /* the caller's and the thread's */
	HRESULT (*work)(void *arg);
	void *arg;
	HRESULT result;
};

static bool hangs;

static void unref(struct bounded *b)
{
	if (InterlockedDecrement(&b->refs) == 0)
		free(b);
}

static DWORD WINAPI bounded_thread(void *arg)
{
	struct bounded *b = arg;
	HRESULT hr = CoInitializeEx(NULL, COINIT_MULTITHREADED | COINIT_DISABLE_OLE1DDE);

	b->result = SUCCEEDED(hr) ? b->work(b->arg) : hr;
	if (SUCCEEDED(hr))
		CoUninitialize();
	unref(b);
	return 0;
}

HRESULT setup_bounded(HRESULT (*work)(void *arg), void *arg, DWORD limit_ms)
{
	struct bounded *b = calloc(1, sizeof(*b));
	HRESULT hr;

	if (!b)
		return E_OUTOFMEMORY;
	*b = (struct bounded){.refs = 2, .work = work, .arg = arg};
	HANDLE thread = CreateThread(NULL, 0, bounded_thread, b, 0, NULL);
	if (!thread) {
		free(b);
		return E_OUTOFMEMORY;
	}
	if (WaitForSingleObject(thread, limit_ms) == WAIT_OBJECT_0) {
		hr = b->result;
	} else {
		hr = HRESULT_FROM_WIN32(ERROR_TIMEOUT);
		hangs = true;
	}
	CloseHandle(thread);
	unref(b);
	return hr;
}

bool setup_bounded_hangs(void)
{
	return hangs;
}
