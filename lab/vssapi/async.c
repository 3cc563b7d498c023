/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IVssAsync. The operation goes on when its IVssAsync is released; it keeps the components until it ends, and gives them back
 * before it is seen to have ended: a requester that is told so may end its process, and with it this DLL's threads, while the
 * coordinator's objects have not been released.
 *
 * Wait answers S_OK also when the time is over: only QueryStatus tells. Cancel asks the operation to end; it has ended when
 * QueryStatus says so, with VSS_S_ASYNC_FINISHED when it was too late.
 */
#include "lab/vssapi/vssapi.h"

#include <stdlib.h>

struct async {
	IVssAsync IVssAsync_iface;
	LONG refs;
	SRWLOCK lock;             /* of the next one */
	struct components *owner; /* NULL when the operation has ended */
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

/* With a reference; NULL: the operation has ended, or is about to say so. */
static struct components *owner_of(struct async *a)
{
	AcquireSRWLockExclusive(&a->lock);
	struct components *owner = a->owner;
	if (owner)
		IVssBackupComponentsEx4_AddRef(&owner->IVssBackupComponentsEx4_iface);
	ReleaseSRWLockExclusive(&a->lock);
	return owner;
}

static void give_owner_back(struct async *a)
{
	AcquireSRWLockExclusive(&a->lock);
	struct components *owner = a->owner;
	a->owner = NULL;
	ReleaseSRWLockExclusive(&a->lock);
	IVssBackupComponentsEx4_Release(&owner->IVssBackupComponentsEx4_iface);
}

struct cancelling {
	struct async *async;
	struct components *owner;
};

static HRESULT cancel_it(void *arg)
{
	struct cancelling *c = arg;
	c->async->cancel(c->owner);
	return S_OK;
}

static HRESULT STDMETHODCALLTYPE async_Cancel(IVssAsync *iface)
{
	struct async *a = impl_from_IVssAsync(iface);
	struct cancelling c = {.async = a, .owner = a->cancel ? owner_of(a) : NULL};
	if (a->cancel && !c.owner)
		WaitForSingleObject(a->ended, INFINITE);
	if (has_ended(a)) {
		if (c.owner)
			IVssBackupComponentsEx4_Release(&c.owner->IVssBackupComponentsEx4_iface);
		return a->status == VSS_S_ASYNC_CANCELLED ? VSS_S_ASYNC_CANCELLED : VSS_S_ASYNC_FINISHED;
	}
	if (!c.owner)
		return S_OK;
	InterlockedExchange(&a->cancelled, 1);
	HRESULT hr = mta_run(cancel_it, &c);
	IVssBackupComponentsEx4_Release(&c.owner->IVssBackupComponentsEx4_iface);
	return hr;
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
	HRESULT hr = a->work(a->owner, a->arg);
	/* The coordinator heard of the end before it heard of the beginning: there is no set any more. */
	if (hr == VSS_E_BAD_STATE && InterlockedCompareExchange(&a->cancelled, 0, 0))
		hr = VSS_S_ASYNC_CANCELLED;
	a->status = hr == S_OK ? VSS_S_ASYNC_FINISHED : hr;
	give_owner_back(a); /* it may be the last reference */
	SetEvent(a->ended);
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
	InitializeSRWLock(&a->lock);
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
