/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IVssAsync. The operation goes on when its IVssAsync is released; it keeps the components until then.
 *
 * Wait answers S_OK also when the time is over: only QueryStatus tells. Cancel asks the operation to end; it has ended when
 * QueryStatus says so, with VSS_S_ASYNC_FINISHED when it was too late.
 */
#include "lab/vssapi/vssapi.h"

#include <stdlib.h>

struct async {
	IVssAsync IVssAsync_iface;
	LONG refs;
	struct components *owner;
	async_work work;
	void (*cancel)(struct components *x);
	volatile LONG cancelled; /* before it had ended */
	void *arg;
	HANDLE ended;
	HRESULT status; /* valid when ended is set */
};

static struct async *impl_from_IVssAsync(IVssAsync *iface)
{
	return CONTAINING_RECORD(iface, struct async, IVssAsync_iface);
}

static HRESULT STDMETHODCALLTYPE async_QueryInterface(IVssAsync *iface, REFIID iid, void **out)
{
	if (!out)
		return E_POINTER;
	*out = IsEqualIID(iid, &IID_IUnknown) || IsEqualIID(iid, &IID_IVssAsync) ? iface : NULL;
	if (!*out)
		return E_NOINTERFACE;
	IVssAsync_AddRef(iface);
	return S_OK;
}

static ULONG STDMETHODCALLTYPE async_AddRef(IVssAsync *iface)
{
	return (ULONG)InterlockedIncrement(&impl_from_IVssAsync(iface)->refs);
}

static ULONG STDMETHODCALLTYPE async_Release(IVssAsync *iface)
{
	struct async *a = impl_from_IVssAsync(iface);
	LONG refs = InterlockedDecrement(&a->refs);
	if (refs == 0) {
		CloseHandle(a->ended);
		free(a->arg);
		free(a);
	}
	return (ULONG)refs;
}

static bool has_ended(struct async *a)
{
	return WaitForSingleObject(a->ended, 0) == WAIT_OBJECT_0;
}

static HRESULT cancel_it(void *arg)
{
	struct async *a = arg;
	a->cancel(a->owner);
	return S_OK;
}

static HRESULT STDMETHODCALLTYPE async_Cancel(IVssAsync *iface)
{
	struct async *a = impl_from_IVssAsync(iface);
	if (has_ended(a))
		return a->status == VSS_S_ASYNC_CANCELLED ? VSS_S_ASYNC_CANCELLED : VSS_S_ASYNC_FINISHED;
	if (!a->cancel)
		return S_OK;
	InterlockedExchange(&a->cancelled, 1);
	return mta_run(cancel_it, a);
}

static HRESULT STDMETHODCALLTYPE async_Wait(IVssAsync *iface, DWORD ms)
{
	WaitForSingleObject(impl_from_IVssAsync(iface)->ended, ms);
	return S_OK;
}

static HRESULT STDMETHODCALLTYPE async_QueryStatus(IVssAsync *iface, HRESULT *status, INT *reserved)
{
	struct async *a = impl_from_IVssAsync(iface);
	if (!status)
		return E_POINTER;
	if (reserved)
		*reserved = 0;
	*status = has_ended(a) ? a->status : VSS_S_ASYNC_PENDING;
	return S_OK;
}

static const IVssAsyncVtbl async_vtbl = {
	async_QueryInterface, async_AddRef, async_Release, async_Cancel, async_Wait, async_QueryStatus};

static HRESULT run(void *arg)
{
	struct async *a = arg;
	struct components *owner = a->owner;
	HRESULT hr = a->work(owner, a->arg);
	/* The coordinator heard of the end before it heard of the beginning: there is no set any more. */
	if (hr == VSS_E_BAD_STATE && InterlockedCompareExchange(&a->cancelled, 0, 0))
		hr = VSS_S_ASYNC_CANCELLED;
	a->status = hr == S_OK ? VSS_S_ASYNC_FINISHED : hr;
	SetEvent(a->ended);
	/* The last reference to the components may be this one. */
	IVssBackupComponentsEx4_Release(&owner->IVssBackupComponentsEx4_iface);
	IVssAsync_Release(&a->IVssAsync_iface);
	return S_OK;
}

HRESULT async_start(struct components *x, async_work work, void (*cancel)(struct components *x), void *arg,
	IVssAsync **out)
{
	struct async *a = calloc(1, sizeof *a);
	*out = NULL;
	if (a)
		a->ended = CreateEventW(NULL, TRUE, FALSE, NULL);
	if (!a || !a->ended) {
		free(a);
		free(arg);
		return E_OUTOFMEMORY;
	}
	a->IVssAsync_iface.lpVtbl = (IVssAsyncVtbl *)(uintptr_t)&async_vtbl;
	a->refs = 2;
	a->owner = x;
	a->work = work;
	a->cancel = cancel;
	a->arg = arg;
	IVssBackupComponentsEx4_AddRef(&x->IVssBackupComponentsEx4_iface);
	if (!mta_begin(run, a)) {
		a->refs = 1;
		async_Release(&a->IVssAsync_iface);
		IVssBackupComponentsEx4_Release(&x->IVssBackupComponentsEx4_iface);
		return E_OUTOFMEMORY;
	}
	*out = &a->IVssAsync_iface;
	return S_OK;
}
