/* SPDX-License-Identifier: Apache-2.0 */
/* See async.h. */
#include "provider/async.h"

#include <stdlib.h>
#include "provider/eventlog.h"
#include "provider/provider_object.h"

#define PAUSE_MIN_MS   20
#define PAUSE_MAX_MS   1000
#define LEAVE_LIMIT_MS 3000

struct async {
	IVssAsync IVssAsync_iface;
	volatile LONG refs;
	const struct provider_context *context;
	const struct async_work *work;
	void *arg;
	SRWLOCK lock;   /* guards the next four; held for copying only */
	HRESULT result; /* VSS_S_ASYNC_PENDING while it runs */
	unsigned percent;
	bool cancel, leave;
	HANDLE ended;       /* manual reset: result is final */
	HANDLE wake;        /* the thread has something new to look at */
	struct async *next; /* in running, under running_lock */
};

static SRWLOCK running_lock = SRWLOCK_INIT;
static struct async *running;

static inline struct async *impl_from_IVssAsync(IVssAsync *iface)
{
	return CONTAINING_RECORD(iface, struct async, IVssAsync_iface);
}

static HRESULT WINAPI async_QueryInterface(IVssAsync *iface, REFIID iid, void **out)
{
	if (!out)
		return E_INVALIDARG;
	*out = NULL;
	if (!iid)
		return E_INVALIDARG;
	if (!IsEqualIID(iid, &IID_IUnknown) && !IsEqualIID(iid, &IID_IVssAsync))
		return E_NOINTERFACE;
	*out = iface;
	IVssAsync_AddRef(iface);
	return S_OK;
}

static ULONG WINAPI async_AddRef(IVssAsync *iface)
{
	return (ULONG)InterlockedIncrement(&impl_from_IVssAsync(iface)->refs);
}

static void destroy(struct async *a)
{
	if (a->ended)
		CloseHandle(a->ended);
	if (a->wake)
		CloseHandle(a->wake);
	free(a);
}

static ULONG WINAPI async_Release(IVssAsync *iface)
{
	struct async *a = impl_from_IVssAsync(iface);
	LONG refs = InterlockedDecrement(&a->refs);

	if (refs)
		return (ULONG)refs;
	const struct provider_context *context = a->context;
	a->work->free(a->arg);
	destroy(a);
	provider_object_ended(context);
	return 0;
}

static HRESULT outcome(struct async *a, unsigned *percent)
{
	AcquireSRWLockShared(&a->lock);
	HRESULT result = a->result;
	if (percent)
		*percent = a->percent;
	ReleaseSRWLockShared(&a->lock);
	return result;
}

/* "S_OK: canceled; VSS_S_ASYNC_CANCELLED: it had been canceled prior to calling this method; VSS_S_ASYNC_FINISHED: it had
 * completed", and a failed operation's own error: so the documentation of IVssAsync::Cancel. */
static HRESULT WINAPI async_Cancel(IVssAsync *iface)
{
	struct async *a = impl_from_IVssAsync(iface);

	AcquireSRWLockExclusive(&a->lock);
	HRESULT before = a->result;
	a->cancel = true;
	ReleaseSRWLockExclusive(&a->lock);
	if (before != VSS_S_ASYNC_PENDING)
		return before;
	SetEvent(a->wake);
	(void)WaitForSingleObject(a->ended, INFINITE); /* bounded: see async_work.step */
	HRESULT after = outcome(a, NULL);
	return after == VSS_S_ASYNC_CANCELLED ? S_OK : after;
}

/* S_OK when the time is over, too: "the wait operation was successful, call QueryStatus". */
static HRESULT WINAPI async_Wait(IVssAsync *iface, DWORD limit_ms)
{
	DWORD waited = WaitForSingleObject(impl_from_IVssAsync(iface)->ended, limit_ms);

	return waited == WAIT_OBJECT_0 || waited == WAIT_TIMEOUT ? S_OK : VSS_E_UNEXPECTED;
}

/* The second pointer is "reserved, should be NULL" in the documentation; requesters read it as percent. */
static HRESULT WINAPI async_QueryStatus(IVssAsync *iface, HRESULT *result, INT *reserved)
{
	unsigned percent;

	if (!result)
		return E_INVALIDARG;
	*result = outcome(impl_from_IVssAsync(iface), &percent);
	if (reserved)
		*reserved = (INT)percent;
	return S_OK;
}

static const IVssAsyncVtbl async_vtbl = {
	async_QueryInterface,
	async_AddRef,
	async_Release,
	async_Cancel,
	async_Wait,
	async_QueryStatus,
};

/* ---- the thread ---------------------------------------------------------------------------------------- */

static void end(struct async *a, HRESULT result)
{
	AcquireSRWLockExclusive(&running_lock);
	for (struct async **at = &running; *at; at = &(*at)->next) {
		if (*at == a) {
			*at = a->next;
			break;
		}
	}
	ReleaseSRWLockExclusive(&running_lock);
	AcquireSRWLockExclusive(&a->lock);
	a->result = result;
	if (result == VSS_S_ASYNC_FINISHED)
		a->percent = 100;
	ReleaseSRWLockExclusive(&a->lock);
	SetEvent(a->ended);
}

static DWORD WINAPI async_thread(void *arg)
{
	struct async *a = arg;
	HRESULT result = VSS_S_ASYNC_PENDING;

	for (DWORD pause_ms = PAUSE_MIN_MS;;) {
		AcquireSRWLockShared(&a->lock);
		bool cancel = a->cancel, leave = a->leave;
		unsigned percent = a->percent;
		ReleaseSRWLockShared(&a->lock);
		if (leave)
			result = VSS_E_PROVIDER_VETO;
		else if (!eventlog_held())
			result = a->work->step(a->arg, cancel, &percent);
		if (result != VSS_S_ASYNC_PENDING)
			break;
		AcquireSRWLockExclusive(&a->lock);
		if (percent > a->percent)
			a->percent = percent > 99 ? 99 : percent;
		ReleaseSRWLockExclusive(&a->lock);
		(void)WaitForSingleObject(a->wake, pause_ms);
		pause_ms = pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause_ms * 2;
	}
	end(a, result);
	IVssAsync_Release(&a->IVssAsync_iface);
	return 0;
}

HRESULT async_start(
	const struct provider_context *context, const struct async_work *work, void *arg, IVssAsync **out)
{
	struct async *a = calloc(1, sizeof(*a));

	*out = NULL;
	if (!a)
		return E_OUTOFMEMORY;
	a->IVssAsync_iface.lpVtbl = &async_vtbl;
	a->refs = 2; /* the caller's and the thread's */
	a->context = context;
	a->work = work;
	a->arg = arg;
	a->result = VSS_S_ASYNC_PENDING;
	InitializeSRWLock(&a->lock);
	a->ended = CreateEventW(NULL, TRUE, FALSE, NULL);
	a->wake = CreateEventW(NULL, FALSE, FALSE, NULL);
	HANDLE thread =
		a->ended && a->wake ? CreateThread(NULL, 0, async_thread, a, CREATE_SUSPENDED, NULL) : NULL;
	if (!thread) {
		destroy(a);
		return E_OUTOFMEMORY;
	}
	provider_object_began(context);
	AcquireSRWLockExclusive(&running_lock);
	a->next = running;
	running = a;
	ReleaseSRWLockExclusive(&running_lock);
	*out = &a->IVssAsync_iface;
	ResumeThread(thread);
	CloseHandle(thread);
	return S_OK;
}

bool async_busy(void)
{
	AcquireSRWLockShared(&running_lock);
	bool busy = running != NULL;
	ReleaseSRWLockShared(&running_lock);
	return busy;
}

void async_leave_all(void)
{
	AcquireSRWLockExclusive(&running_lock);
	for (struct async *a = running; a; a = a->next) {
		AcquireSRWLockExclusive(&a->lock);
		a->leave = true;
		ReleaseSRWLockExclusive(&a->lock);
		a->work->left(a->arg);
		SetEvent(a->wake);
	}
	ReleaseSRWLockExclusive(&running_lock);
	for (DWORD waited_ms = 0; async_busy() && waited_ms < LEAVE_LIMIT_MS; waited_ms += PAUSE_MIN_MS)
		Sleep(PAUSE_MIN_MS);
}
