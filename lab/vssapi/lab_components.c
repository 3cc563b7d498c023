/* SPDX-License-Identifier: Apache-2.0 */
/* See lab_components.h. `last` belongs to whoever runs the operation: a requester that wants it does one thing at a time. */
#include "lab/vssapi/vssapi.h"

#include <stdlib.h>
#include <string.h>

static struct components *impl_from(ILabComponents *iface)
{
	return CONTAINING_RECORD(iface, struct components, ILabComponents_iface);
}

static HRESULT STDMETHODCALLTYPE lab_QueryInterface(ILabComponents *iface, REFIID iid, void **out)
{
	return IVssBackupComponentsEx4_QueryInterface(
		&impl_from(iface)->IVssBackupComponentsEx4_iface, iid, out);
}

static ULONG STDMETHODCALLTYPE lab_AddRef(ILabComponents *iface)
{
	return IVssBackupComponentsEx4_AddRef(&impl_from(iface)->IVssBackupComponentsEx4_iface);
}

static ULONG STDMETHODCALLTYPE lab_Release(ILabComponents *iface)
{
	return IVssBackupComponentsEx4_Release(&impl_from(iface)->IVssBackupComponentsEx4_iface);
}

/* --- wishes --- */

static void free_tuned(struct components *x)
{
	free(x->tuned.luns);
	CoTaskMemFree(x->tuned.stop_after);
	memset(&x->tuned, 0, sizeof x->tuned);
}

static HRESULT tell(void *arg)
{
	struct components *x = arg;
	return ILabSession_Tune(x->session, &x->tuned);
}

HRESULT lab_tell_session(struct components *x)
{
	return x->observed ? ILabSession_Tune(x->session, &x->tuned) : S_OK;
}

static HRESULT STDMETHODCALLTYPE lab_Tune(ILabComponents *iface, const LAB_CREATE *wishes, BOOL release_early)
{
	struct components *x = impl_from(iface);
	if (!wishes || (wishes->count && !wishes->luns))
		return E_INVALIDARG;
	EnterCriticalSection(&x->lock);
	HRESULT hr = x->adding || x->working ? VSS_E_BAD_STATE : S_OK;
	if (hr == S_OK) {
		free_tuned(x);
		x->tuned = *wishes;
		x->tuned.stop_after = copy_text(wishes->stop_after);
		x->tuned.luns = calloc(wishes->count + 1, sizeof *wishes->luns);
		hr = x->tuned.luns ? S_OK : E_OUTOFMEMORY;
		x->tuned.count = hr == S_OK ? wishes->count : 0;
		for (ULONG i = 0; i < x->tuned.count; i++)
			x->tuned.luns[i] = wishes->luns[i];
		x->release_early = release_early;
	}
	LeaveCriticalSection(&x->lock);
	return hr == S_OK && x->session ? mta_run(tell, x) : hr;
}

/* --- what was done --- */

void lab_keep_result(struct components *x, LAB_RESULT *result)
{
	if (!x->observed) {
		free_result(result);
		return;
	}
	if (!result)
		return;
	free_result(x->last);
	x->last = result;
}

static HRESULT give_up(void *arg)
{
	struct components *x = arg;
	return ILabSession_GiveUp(x->session, &x->last);
}

static LAB_RESULT *nothing_done(void)
{
	LAB_RESULT *r = CoTaskMemAlloc(sizeof *r);
	if (r) {
		memset(r, 0, sizeof *r);
		r->hold_us = r->commit_us = r->percent = -1;
	}
	return r;
}

static HRESULT STDMETHODCALLTYPE lab_TakeResult(ILabComponents *iface, LAB_RESULT **result)
{
	struct components *x = impl_from(iface);
	if (!result)
		return E_POINTER;
	if (!x->last && x->session) {
		mta_run(give_up, x);
		EnterCriticalSection(&x->lock);
		x->adding = false;
		LeaveCriticalSection(&x->lock);
	}
	*result = x->last ? x->last : nothing_done();
	x->last = NULL;
	return *result ? S_OK : E_OUTOFMEMORY;
}

/* --- what no requester asks VSS for --- */

struct question {
	struct components *x;
	BOOL force;
	LAB_RESULT **result;
};

static HRESULT scan(void *arg)
{
	struct question *q = arg;
	return ILabRequester_Scan(q->x->requester, q->result);
}

static HRESULT unload(void *arg)
{
	struct question *q = arg;
	return ILabRequester_Unload(q->x->requester, q->force, q->result);
}

static HRESULT ask(ILabComponents *iface, HRESULT (*work)(void *arg), BOOL force, LAB_RESULT **result)
{
	struct question q = {.x = impl_from(iface), .force = force, .result = result};
	if (!result)
		return E_POINTER;
	*result = NULL;
	return q.x->requester ? mta_run(work, &q) : VSS_E_BAD_STATE;
}

static HRESULT STDMETHODCALLTYPE lab_Scan(ILabComponents *iface, LAB_RESULT **result)
{
	return ask(iface, scan, FALSE, result);
}

static HRESULT STDMETHODCALLTYPE lab_Unload(ILabComponents *iface, BOOL force, LAB_RESULT **result)
{
	return ask(iface, unload, force, result);
}

const struct ILabComponentsVtbl lab_components_vtbl = {
	lab_QueryInterface, lab_AddRef, lab_Release, lab_Tune, lab_TakeResult, lab_Scan, lab_Unload};

void lab_free(struct components *x)
{
	free_tuned(x);
	free_result(x->last);
	if (x->resync_cancel)
		CloseHandle(x->resync_cancel);
}
