/* SPDX-License-Identifier: Apache-2.0 */
/* The variation of the request that runs (vary.h), and the thread that aborts a set in the middle of a call. */
#include "lab/coordinator/sequence_internal.h"

#include "lab/coordinator/admin.h"
#include "lab/coordinator/settings.h"

static struct variation now;

const struct variation *variation_now(void)
{
	return &now;
}

void variation_begin(struct record *r)
{
	wchar_t text[VARY_TEXT_CHARS];
	vary_choose(&now, settings_dword(L"Seed", 0));
	now.stagger_ms = settings_dword(L"StaggerMs", now.stagger_ms);
	if (!now.seed)
		return;
	vary_text(&now, text);
	record_call_end(r, record_call_begin(r, L"(vary)", L"%ls", text), S_OK);
	if (now.reload && !making_now()) /* VSS unloads no provider of a set that is being made */
		providers_unload_all(false, NULL);
}

static DWORD WINAPI interloper_thread(void *arg)
{
	struct interloper *i = arg;
	i->hr = CoInitializeEx(NULL, COINIT_MULTITHREADED);
	if (FAILED(i->hr))
		return 1;
	if (i->after_us)
		Sleep(i->after_us / 1000);
	i->hr = IVssProviderCreateSnapshotSet_AbortSnapshots(i->set, i->id);
	CoUninitialize();
	return 0;
}

bool interloper_start(struct interloper *i, IVssProviderCreateSnapshotSet *set, VSS_ID id, uint32_t after_us)
{
	*i = (struct interloper){.set = set, .id = id, .after_us = after_us, .hr = E_PENDING};
	i->thread = CreateThread(NULL, 0, interloper_thread, i, 0, NULL);
	return i->thread != NULL;
}

HRESULT interloper_join(struct interloper *i)
{
	WaitForSingleObject(i->thread, INFINITE);
	CloseHandle(i->thread);
	return i->hr;
}
