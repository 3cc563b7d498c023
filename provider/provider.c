/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provider object: its life, IUnknown, and how a call is carried out. Every method checks its pointers, asks the
 * state machine (copyset.h), has the work done (snapshot_set.h, array_client.h) with no lock held, and translates
 * the result. The interfaces: hardware.c, hardware_ex.c, create_set.c.
 *
 * Invariants:
 * - `lock` guards the machine, the current set and the hold; it is never held during I/O.
 * - [in,out] structures are changed wholly on success and not at all on failure.
 */
#include "provider/provider.h"

#include <stdlib.h>
#include <string.h>
#include "provider/async.h"
#include "provider/eventlog.h"
#include "provider/imports.h"
#include "provider/provider_object.h"
#include "provider/result.h"

static SRWLOCK live_lock = SRWLOCK_INIT;
static struct provider *live_objects;
static volatile LONG live_count;

void provider_guid_bytes(const GUID *guid, uint8_t out[16])
{
	out[0] = (uint8_t)(guid->Data1 >> 24);
	out[1] = (uint8_t)(guid->Data1 >> 16);
	out[2] = (uint8_t)(guid->Data1 >> 8);
	out[3] = (uint8_t)guid->Data1;
	out[4] = (uint8_t)(guid->Data2 >> 8);
	out[5] = (uint8_t)guid->Data2;
	out[6] = (uint8_t)(guid->Data3 >> 8);
	out[7] = (uint8_t)guid->Data3;
	memcpy(out + 8, guid->Data4, 8);
}

HRESULT provider_answer(const char *call, enum cs_result result)
{
	eventlog_trace("%s: %s", call, cs_result_name(result));
	return result_hresult(result);
}

/* ---- calls about the set --------------------------------------------------------------------------- */

struct taken {
	struct snapshot_set *old; /* reference of a set that has ended; NULL: none */
	unsigned end;             /* CS_DO_…: how it ends */
	struct snapshot_set *set; /* own reference to the current set, when there is work */
	struct cs_step step;
};

static void release_hold(struct provider *p)
{
	if (p->held)
		eventlog_release();
	p->held = false;
}

/* Under the lock: judges the call and takes hold of the sets concerned. */
static void take(struct provider *p, enum cs_call call, const uint8_t *set_id, struct taken *t)
{
	memset(t, 0, sizeof(*t));
	t->step = cs_call(&p->machine, call, set_id);
	if (t->step.actions & CS_DO_END) {
		t->old = p->set;
		t->end = t->step.actions & CS_DO_END;
		p->set = NULL;
		release_hold(p);
	}
	if (call == CS_CALL_POST_COMMIT && t->step.actions)
		release_hold(p); /* I/O runs again */
	if (t->step.actions & CS_DO_NEW) {
		p->set = set_create(p->context->client, p->context->transport, set_id);
		if (!p->set) {
			(void)cs_call(&p->machine, CS_CALL_ABORT, set_id);
			t->step.result = CS_OUT_OF_MEMORY;
			t->step.actions &= CS_DO_END;
		}
	}
	if (t->step.actions & ~CS_DO_END) {
		t->set = p->set;
		set_ref(t->set);
	}
}

static void end_old_set(struct taken *t, const char *call, bool was_abort)
{
	if (!t->old)
		return;
	if (t->end & CS_DO_UNDO)
		set_undo(t->old, call);
	else if (t->end & CS_DO_WITHDRAW)
		set_withdraw(t->old, call);
	else if (was_abort)
		set_left(t->old, call);
	set_unref(t->old);
}

enum cs_result provider_run(
	struct provider *p, enum cs_call call, const uint8_t *set_id, set_work *work, void *arg)
{
	struct taken t;
	unsigned after = 0;

	EnterCriticalSection(&p->lock);
	take(p, call, set_id, &t);
	LeaveCriticalSection(&p->lock);
	end_old_set(&t, cs_call_name(call), call == CS_CALL_ABORT);
	if (!t.set)
		return t.step.result;

	enum cs_result outcome = work(p, t.set, t.step.epoch, arg);

	EnterCriticalSection(&p->lock);
	enum cs_result result = cs_done(&p->machine, call, t.step.epoch, outcome, &after);
	if (result == CS_OK && call == CS_CALL_PRE_COMMIT) {
		p->held = true;
		eventlog_hold();
	}
	LeaveCriticalSection(&p->lock);
	/* A failed commit is undone by the window's threads: nothing may delay the release of the writes. One
	 * that an abort overtook may have been cut after the array saw the abort. */
	bool overtaken = call == CS_CALL_COMMIT && outcome == CS_OK && result != CS_OK;
	if (overtaken || ((after & CS_DO_UNDO) && call != CS_CALL_COMMIT))
		set_undo(t.set, cs_call_name(call));
	set_unref(t.set);
	return result;
}

HRESULT provider_run_set_call(
	struct provider *p, enum cs_call call, const VSS_ID *set_id, set_work *work, void *arg)
{
	uint8_t id[CS_ID_BYTES];

	provider_guid_bytes(set_id, id);
	return provider_answer(cs_call_name(call), provider_run(p, call, id, work, arg));
}

/* ---- IUnknown --------------------------------------------------------------------------------------- */

HRESULT provider_query_interface(struct provider *p, REFIID iid, void **out)
{
	if (!out)
		return E_INVALIDARG;
	*out = NULL;
	if (!iid)
		return E_INVALIDARG;
	if (IsEqualIID(iid, &IID_IUnknown) || IsEqualIID(iid, &IID_IVssHardwareSnapshotProvider) ||
		IsEqualIID(iid, &IID_IVssHardwareSnapshotProviderEx))
		*out = &p->IVssHardwareSnapshotProviderEx_iface;
	else if (IsEqualIID(iid, &IID_IVssProviderCreateSnapshotSet))
		*out = &p->IVssProviderCreateSnapshotSet_iface;
	else if (IsEqualIID(iid, &IID_IVssProviderNotifications))
		*out = &p->IVssProviderNotifications_iface;
	else
		return E_NOINTERFACE;
	InterlockedIncrement(&p->refs);
	return S_OK;
}

ULONG provider_add_ref(struct provider *p)
{
	return (ULONG)InterlockedIncrement(&p->refs);
}

void provider_object_began(const struct provider_context *context)
{
	CoAddRefServerProcess();
	LONG live = InterlockedIncrement(&live_count);
	if (context->objects_changed)
		context->objects_changed(live);
}

void provider_object_ended(const struct provider_context *context)
{
	LONG live = InterlockedDecrement(&live_count);

	if (context->objects_changed)
		context->objects_changed(live);
	CoReleaseServerProcess();
}

static void unlink_live(struct provider *p)
{
	AcquireSRWLockExclusive(&live_lock);
	for (struct provider **at = &live_objects; *at; at = &(*at)->next) {
		if (*at == p) {
			*at = p->next;
			break;
		}
	}
	ReleaseSRWLockExclusive(&live_lock);
}

ULONG provider_release(struct provider *p)
{
	LONG refs = InterlockedDecrement(&p->refs);

	if (refs)
		return (ULONG)refs;
	unlink_live(p);
	/* The last reference in the middle of a set is an abort. */
	(void)provider_run(p, CS_CALL_UNLOAD_FORCE, NULL, NULL, NULL);
	DeleteCriticalSection(&p->lock);
	const struct provider_context *context = p->context;
	free(p);
	provider_object_ended(context);
	return 0;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

HRESULT provider_create(const struct provider_context *context, REFIID iid, void **out)
{
	if (!out)
		return E_INVALIDARG;
	*out = NULL;
	struct provider *p = calloc(1, sizeof(*p));
	if (!p)
		return E_OUTOFMEMORY;
	p->IVssHardwareSnapshotProviderEx_iface.lpVtbl = &provider_hardware_vtbl;
	p->IVssProviderCreateSnapshotSet_iface.lpVtbl = &provider_create_set_vtbl;
	p->IVssProviderNotifications_iface.lpVtbl = &provider_notifications_vtbl;
	p->refs = 1;
	p->context = context;
	InitializeCriticalSection(&p->lock);
	cs_init(&p->machine);
	provider_object_began(context);
	AcquireSRWLockExclusive(&live_lock);
	p->next = live_objects;
	live_objects = p;
	ReleaseSRWLockExclusive(&live_lock);
	HRESULT hr = provider_query_interface(p, iid, out);
	(void)provider_release(p);
	return hr;
}

void provider_abort_all(void)
{
	for (;;) {
		struct provider *p;
		AcquireSRWLockExclusive(&live_lock);
		for (p = live_objects; p; p = p->next) {
			EnterCriticalSection(&p->lock);
			bool busy = cs_busy(&p->machine);
			LeaveCriticalSection(&p->lock);
			if (busy && InterlockedIncrement(&p->refs) > 1)
				break;
		}
		ReleaseSRWLockExclusive(&live_lock);
		if (!p)
			break;
		(void)provider_run(p, CS_CALL_UNLOAD_FORCE, NULL, NULL, NULL);
		(void)provider_release(p);
	}
	async_leave_all();
	imports_leave();
}
