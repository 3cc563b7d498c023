/* SPDX-License-Identifier: Apache-2.0 */
/* IVssProviderCreateSnapshotSet and IVssProviderNotifications. */
#include "provider/eventlog.h"
#include "provider/async.h"
#include "provider/load_mark.h"
#include "provider/provider_object.h"
#include "provider/result.h"

/* ---- IVssProviderCreateSnapshotSet --------------------------------------------------------------------- */

static HRESULT WINAPI set_QueryInterface(IVssProviderCreateSnapshotSet *iface, REFIID iid, void **out)
{
	return provider_query_interface(impl_from_IVssProviderCreateSnapshotSet(iface), iid, out);
}

static ULONG WINAPI set_AddRef(IVssProviderCreateSnapshotSet *iface)
{
	return provider_add_ref(impl_from_IVssProviderCreateSnapshotSet(iface));
}

static ULONG WINAPI set_Release(IVssProviderCreateSnapshotSet *iface)
{
	return provider_release(impl_from_IVssProviderCreateSnapshotSet(iface));
}

static enum cs_result work_arm(struct provider *p, struct snapshot_set *s, uint32_t epoch, void *arg)
{
	(void)p;
	(void)epoch;
	(void)arg;
	return set_arm(s);
}

static enum cs_result work_ready(struct provider *p, struct snapshot_set *s, uint32_t epoch, void *arg)
{
	(void)epoch;
	(void)arg;
	return set_ready(s, p->context->budget_ms ? p->context->budget_ms() : PROVIDER_BUDGET_MS);
}

static enum cs_result work_commit(struct provider *p, struct snapshot_set *s, uint32_t epoch, void *arg)
{
	(void)p;
	(void)epoch;
	(void)arg;
	return set_commit(s);
}

static enum cs_result work_check(struct provider *p, struct snapshot_set *s, uint32_t epoch, void *arg)
{
	(void)p;
	(void)epoch;
	(void)arg;
	return set_check(s);
}

static enum cs_result work_tell(struct provider *p, struct snapshot_set *s, uint32_t epoch, void *arg)
{
	(void)p;
	(void)epoch;
	(void)arg;
	set_tell(s);
	return CS_OK;
}

static HRESULT WINAPI set_EndPrepareSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id)
{
	return provider_run_set_call(
		impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_END_PREPARE, &set_id, work_arm, NULL);
}

static HRESULT WINAPI set_PreCommitSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id)
{
	return provider_run_set_call(impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_PRE_COMMIT,
		&set_id, work_ready, NULL);
}

/* Nothing here but waking the threads that stand ready, and waiting for them. */
static HRESULT WINAPI set_CommitSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id)
{
	uint8_t id[CS_ID_BYTES];

	provider_guid_bytes(&set_id, id);
	return result_hresult(provider_run(
		impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_COMMIT, id, work_commit, NULL));
}

static HRESULT WINAPI set_PostCommitSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id, LONG count)
{
	if (count < 1)
		return provider_answer(cs_call_name(CS_CALL_POST_COMMIT), CS_INVALID_ARGUMENT);
	return provider_run_set_call(impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_POST_COMMIT,
		&set_id, work_check, NULL);
}

static HRESULT WINAPI set_PreFinalCommitSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id)
{
	return provider_run_set_call(
		impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_PRE_FINAL, &set_id, NULL, NULL);
}

static HRESULT WINAPI set_PostFinalCommitSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id)
{
	return provider_run_set_call(
		impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_POST_FINAL, &set_id, work_tell, NULL);
}

static HRESULT WINAPI set_AbortSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id)
{
	return provider_run_set_call(
		impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_ABORT, &set_id, NULL, NULL);
}

const IVssProviderCreateSnapshotSetVtbl provider_create_set_vtbl = {
	set_QueryInterface,
	set_AddRef,
	set_Release,
	set_EndPrepareSnapshots,
	set_PreCommitSnapshots,
	set_CommitSnapshots,
	set_PostCommitSnapshots,
	set_PreFinalCommitSnapshots,
	set_PostFinalCommitSnapshots,
	set_AbortSnapshots,
};

/* ---- IVssProviderNotifications ------------------------------------------------------------------------- */

static HRESULT WINAPI notify_QueryInterface(IVssProviderNotifications *iface, REFIID iid, void **out)
{
	return provider_query_interface(impl_from_IVssProviderNotifications(iface), iid, out);
}

static ULONG WINAPI notify_AddRef(IVssProviderNotifications *iface)
{
	return provider_add_ref(impl_from_IVssProviderNotifications(iface));
}

static ULONG WINAPI notify_Release(IVssProviderNotifications *iface)
{
	return provider_release(impl_from_IVssProviderNotifications(iface));
}

static HRESULT WINAPI notify_OnLoad(IVssProviderNotifications *iface, IUnknown *callback)
{
	(void)iface;
	(void)callback; /* reserved */
	load_mark_begin();
	return provider_answer("OnLoad", CS_OK);
}

static HRESULT WINAPI notify_OnUnload(IVssProviderNotifications *iface, WINBOOL force)
{
	/* A resync is the array's work and goes on, but who asks for it can do so here only. */
	if (!force && async_busy())
		return provider_answer("OnUnload: a resync runs", CS_BUSY);
	enum cs_call call = force ? CS_CALL_UNLOAD_FORCE : CS_CALL_UNLOAD;
	HRESULT hr = provider_answer(cs_call_name(call),
		provider_run(impl_from_IVssProviderNotifications(iface), call, NULL, NULL, NULL));

	if (hr != S_FALSE) /* else it stays loaded */
		load_mark_end();
	return hr;
}

const IVssProviderNotificationsVtbl provider_notifications_vtbl = {
	notify_QueryInterface,
	notify_AddRef,
	notify_Release,
	notify_OnLoad,
	notify_OnUnload,
};
