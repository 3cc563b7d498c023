/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provider object: the COM edge. Every method checks its pointers, asks the state machine (copyset.h),
 * has the work done (snapshot_set.h, array_client.h) with no lock held, and translates the result.
 *
 * Invariants:
 * - `lock` guards the machine, the current set and the hold; it is never held during I/O.
 * - [in,out] structures are changed wholly on success and not at all on failure.
 */
#include "provider/provider.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vss.h>
#include <vsprov.h>
#include "events.h"
#include "proto/identity.h"
#include "provider/copyset.h"
#include "provider/eventlog.h"
#include "provider/lun_identity.h"
#include "provider/result.h"
#include "provider/snapshot_set.h"

#define CONTEXTS_REFUSED                                                                                     \
	(VSS_VOLSNAP_ATTR_CLIENT_ACCESSIBLE | VSS_VOLSNAP_ATTR_PLEX | VSS_VOLSNAP_ATTR_FILE_SHARE)

struct provider {
	IVssHardwareSnapshotProviderEx IVssHardwareSnapshotProviderEx_iface;
	IVssProviderCreateSnapshotSet IVssProviderCreateSnapshotSet_iface;
	IVssProviderNotifications IVssProviderNotifications_iface;
	volatile LONG refs;
	const struct provider_context *context;
	struct provider *next; /* in live_objects, under live_lock */
	CRITICAL_SECTION lock;
	struct cs_machine machine;
	struct snapshot_set *set; /* one reference; NULL: none */
	bool held;                /* we hold the event log's writer back */
};

static SRWLOCK live_lock = SRWLOCK_INIT;
static struct provider *live_objects;
static volatile LONG live_count;

static inline struct provider *impl_from_IVssHardwareSnapshotProviderEx(IVssHardwareSnapshotProviderEx *iface)
{
	return CONTAINING_RECORD(iface, struct provider, IVssHardwareSnapshotProviderEx_iface);
}

static inline struct provider *impl_from_IVssProviderCreateSnapshotSet(IVssProviderCreateSnapshotSet *iface)
{
	return CONTAINING_RECORD(iface, struct provider, IVssProviderCreateSnapshotSet_iface);
}

static inline struct provider *impl_from_IVssProviderNotifications(IVssProviderNotifications *iface)
{
	return CONTAINING_RECORD(iface, struct provider, IVssProviderNotifications_iface);
}

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

/* Not inside the window: see the commit path, which does without. */
static HRESULT answer(const char *call, enum cs_result result)
{
	eventlog_trace("%s: %s", call, cs_result_name(result));
	return result_hresult(result);
}

/* ---- calls about the set --------------------------------------------------------------------------- */

/* What a call does with the set, without any lock. NULL: nothing. */
typedef enum cs_result set_work(struct provider *p, struct snapshot_set *s, uint32_t epoch, void *arg);

struct taken {
	struct snapshot_set *old; /* reference of a set that has ended; NULL: none */
	bool undo;                /* else it had been kept */
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
	if (t->step.actions & (CS_DO_UNDO | CS_DO_FORGET)) {
		t->old = p->set;
		t->undo = (t->step.actions & CS_DO_UNDO) != 0;
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
			t->step.actions &= (CS_DO_UNDO | CS_DO_FORGET);
		}
	}
	if (t->step.actions & ~(unsigned)(CS_DO_UNDO | CS_DO_FORGET)) {
		t->set = p->set;
		set_ref(t->set);
	}
}

static void end_old_set(struct taken *t, const char *call, bool was_abort)
{
	if (!t->old)
		return;
	if (t->undo)
		set_undo(t->old, call);
	else if (was_abort)
		set_left(t->old, call);
	set_unref(t->old);
}

static enum cs_result run(
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

static HRESULT run_set_call(
	struct provider *p, enum cs_call call, const VSS_ID *set_id, set_work *work, void *arg)
{
	uint8_t id[CS_ID_BYTES];

	provider_guid_bytes(set_id, id);
	return answer(cs_call_name(call), run(p, call, id, work, arg));
}

/* ---- IUnknown --------------------------------------------------------------------------------------- */

static HRESULT query_interface(struct provider *p, REFIID iid, void **out)
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

static ULONG add_ref(struct provider *p)
{
	return (ULONG)InterlockedIncrement(&p->refs);
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

static ULONG release(struct provider *p)
{
	LONG refs = InterlockedDecrement(&p->refs);

	if (refs)
		return (ULONG)refs;
	unlink_live(p);
	/* The last reference in the middle of a set is an abort. */
	(void)run(p, CS_CALL_UNLOAD_FORCE, NULL, NULL, NULL);
	DeleteCriticalSection(&p->lock);
	const struct provider_context *context = p->context;
	free(p);
	LONG live = InterlockedDecrement(&live_count);
	if (context->objects_changed)
		context->objects_changed(live);
	CoReleaseServerProcess();
	return 0;
}

/* ---- IVssHardwareSnapshotProviderEx ------------------------------------------------------------------- */

static HRESULT WINAPI hw_QueryInterface(IVssHardwareSnapshotProviderEx *iface, REFIID iid, void **out)
{
	return query_interface(impl_from_IVssHardwareSnapshotProviderEx(iface), iid, out);
}

static ULONG WINAPI hw_AddRef(IVssHardwareSnapshotProviderEx *iface)
{
	return add_ref(impl_from_IVssHardwareSnapshotProviderEx(iface));
}

static ULONG WINAPI hw_Release(IVssHardwareSnapshotProviderEx *iface)
{
	return release(impl_from_IVssHardwareSnapshotProviderEx(iface));
}

static bool count_is_sane(LONG count)
{
	return count > 0 && count <= SET_LUNS_MAX;
}

/* The ids of LUNs that are all ours; NULL with *result set otherwise. To be freed. */
static uint8_t (*recognise_all(const VDS_LUN_INFORMATION *luns, unsigned count, enum cs_result foreign,
	enum cs_result *result))[UP_ID_BYTES]
{
	uint8_t(*ids)[UP_ID_BYTES] = calloc(count, sizeof(*ids));

	if (!ids) {
		*result = CS_OUT_OF_MEMORY;
		return NULL;
	}
	for (unsigned i = 0; i < count; i++) {
		if (!lun_identity_recognise(&luns[i], ids[i])) {
			free(ids);
			*result = foreign;
			return NULL;
		}
	}
	*result = CS_OK;
	return ids;
}

/* Only what the array itself says it can copy now counts. */
static bool can_copy(struct provider *p, const uint8_t id[UP_ID_BYTES])
{
	struct up_lun lun;
	uint8_t array_id[UP_ID_BYTES];

	return array_client_find_lun(p->context->client, id, &lun, array_id, NULL) == 0 && lun.number != 0 &&
	       (lun.kind == UP_LUN_ORDINARY || lun.kind == UP_LUN_SHADOW);
}

static HRESULT WINAPI hw_AreLunsSupported(IVssHardwareSnapshotProviderEx *iface, LONG count, LONG context,
	VSS_PWSZ *devices, VDS_LUN_INFORMATION *luns, WINBOOL *supported)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	enum cs_result result = CS_OK;

	(void)devices; /* the structures say it all */
	if (supported)
		*supported = FALSE;
	if (!supported || !luns || !count_is_sane(count))
		return answer("AreLunsSupported", CS_INVALID_ARGUMENT);
	if (context & CONTEXTS_REFUSED)
		return answer("AreLunsSupported: context", CS_OK);
	uint8_t(*ids)[UP_ID_BYTES] = recognise_all(luns, (unsigned)count, CS_OK, &result);
	if (!ids)
		return answer("AreLunsSupported: foreign", result);
	bool all = true;
	for (LONG i = 0; i < count && all; i++)
		all = can_copy(p, ids[i]);
	free(ids);
	*supported = all;
	return answer(all ? "AreLunsSupported: yes" : "AreLunsSupported: no", CS_OK);
}

static HRESULT WINAPI hw_FillInLunInfo(
	IVssHardwareSnapshotProviderEx *iface, VSS_PWSZ device, VDS_LUN_INFORMATION *lun, WINBOOL *supported)
{
	uint8_t id[UP_ID_BYTES];

	(void)iface;
	(void)device;
	if (supported)
		*supported = FALSE;
	if (!supported || !lun)
		return answer("FillInLunInfo", CS_INVALID_ARGUMENT);
	if (!lun_identity_recognise(lun, id))
		return answer("FillInLunInfo: foreign", CS_OK);
	if (!lun_identity_rebuild(lun, id))
		return answer("FillInLunInfo", CS_OUT_OF_MEMORY);
	*supported = TRUE;
	return answer("FillInLunInfo: ours", CS_OK);
}

struct add_args {
	uint8_t snapshot_id[CS_ID_BYTES];
	const uint8_t (*luns)[UP_ID_BYTES];
	unsigned count;
	enum up_copy_kind kind;
};

static enum cs_result work_add(struct provider *p, struct snapshot_set *s, uint32_t epoch, void *arg)
{
	const struct add_args *a = arg;

	(void)p;
	(void)epoch;
	return set_add(s, a->snapshot_id, a->luns, a->count, a->kind);
}

static HRESULT WINAPI hw_BeginPrepareSnapshot(IVssHardwareSnapshotProviderEx *iface, VSS_ID set_id,
	VSS_ID snapshot_id, LONG context, LONG count, VSS_PWSZ *devices, VDS_LUN_INFORMATION *luns)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	const char *call = cs_call_name(CS_CALL_BEGIN_PREPARE);
	enum cs_result result;

	(void)devices;
	if (!luns || !count_is_sane(count) || IsEqualGUID(&set_id, &GUID_NULL) ||
		IsEqualGUID(&snapshot_id, &GUID_NULL))
		return answer(call, CS_INVALID_ARGUMENT);
	if (context & CONTEXTS_REFUSED)
		return answer(call, CS_UNSUPPORTED_CONTEXT);
	uint8_t(*ids)[UP_ID_BYTES] = recognise_all(luns, (unsigned)count, CS_NOT_SUPPORTED, &result);
	if (!ids)
		return answer(call, result);
	struct add_args args = {.luns = (const uint8_t(*)[UP_ID_BYTES])ids,
		.count = (unsigned)count,
		.kind = context & VSS_VOLSNAP_ATTR_DIFFERENTIAL ? UP_COPY_DIFFERENTIAL : UP_COPY_DEFAULT};
	provider_guid_bytes(&snapshot_id, args.snapshot_id);
	HRESULT hr = run_set_call(p, CS_CALL_BEGIN_PREPARE, &set_id, work_add, &args);
	free(ids);
	return hr;
}

struct targets_args {
	const VDS_LUN_INFORMATION *sources;
	const uint8_t (*originals)[UP_ID_BYTES];
	unsigned count;
	VDS_LUN_INFORMATION *built; /* result */
};

/* Everything that can fail here comes before the arrays are told to keep the set. */
static enum cs_result work_targets(struct provider *p, struct snapshot_set *s, uint32_t epoch, void *arg)
{
	struct targets_args *a = arg;
	uint8_t(*shadows)[UP_ID_BYTES] = calloc(a->count, sizeof(*shadows));
	bool kept = false;

	if (!shadows)
		return CS_OUT_OF_MEMORY;
	enum cs_result result = set_lookup(s, a->originals, a->count, shadows);
	if (result == CS_OK) {
		a->built = lun_identity_build(a->sources, (const uint8_t(*)[UP_ID_BYTES])shadows, a->count);
		result = a->built ? set_handed(s, a->originals, a->count, &kept) : CS_OUT_OF_MEMORY;
	}
	free(shadows);
	if (kept) {
		EnterCriticalSection(&p->lock);
		cs_kept(&p->machine, epoch);
		LeaveCriticalSection(&p->lock);
	}
	return result;
}

static HRESULT WINAPI hw_GetTargetLuns(IVssHardwareSnapshotProviderEx *iface, LONG count, VSS_PWSZ *devices,
	VDS_LUN_INFORMATION *sources, VDS_LUN_INFORMATION *targets)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	const char *call = cs_call_name(CS_CALL_GET_TARGETS);
	enum cs_result result;

	(void)devices;
	if (!sources || !targets || !count_is_sane(count))
		return answer(call, CS_INVALID_ARGUMENT);
	uint8_t(*ids)[UP_ID_BYTES] = recognise_all(sources, (unsigned)count, CS_NOT_FOUND, &result);
	if (!ids)
		return answer(call, result);
	struct targets_args args = {.sources = sources,
		.originals = (const uint8_t(*)[UP_ID_BYTES])ids,
		.count = (unsigned)count};
	result = run(p, CS_CALL_GET_TARGETS, NULL, work_targets, &args);
	if (result == CS_OK)
		lun_identity_move(targets, args.built, args.count);
	else
		lun_identity_discard(args.built, args.count);
	free(ids);
	return answer(call, result);
}

/* A request about one LUN. */
static int ask_lun(struct provider *p, const uint8_t array_id[UP_ID_BYTES], enum up_op op,
	const uint8_t id[UP_ID_BYTES], struct array_trouble *trouble)
{
	struct up_msg *m = calloc(2, sizeof(*m));

	if (!m) {
		*trouble = (struct array_trouble){.err = -ENOMEM, .op = (uint16_t)op};
		return -ENOMEM;
	}
	up_request_init(&m[0], op, 0);
	memcpy(m[0].lun_id, id, UP_ID_BYTES);
	m[0].has = UP_HAS(UP_TAG_LUN_ID);
	if (op == UP_OP_UNMAP || op == UP_OP_DELETE) {
		m[0].scope = UP_SCOPE_ME;
		m[0].has |= UP_HAS(UP_TAG_SCOPE);
	}
	/* Unmapping and deleting close the way through the LUN itself. */
	int err = array_client_request(p->context->client, array_id, id, &m[0], &m[1], trouble);
	free(m);
	return err;
}

/* Finds one of our LUNs; anything but CS_OK has its event. */
static enum cs_result find(struct provider *p, const char *call, const uint8_t id[UP_ID_BYTES],
	struct up_lun *lun, uint8_t array_id[UP_ID_BYTES])
{
	struct array_trouble trouble;
	int err = array_client_find_lun(p->context->client, id, lun, array_id, &trouble);

	if (err == -ENOENT) {
		result_event(UMBRA_EVENT_LUN_UNKNOWN, call, id, NULL, NULL);
		return CS_NOT_FOUND;
	}
	return err < 0 ? result_note(&trouble, call, id) : CS_OK;
}

static enum cs_result locate(struct provider *p, const uint8_t id[UP_ID_BYTES], const char *call,
	bool *mapped_now, uint8_t array_id[UP_ID_BYTES])
{
	struct array_trouble trouble;
	struct up_lun lun;
	enum cs_result result = find(p, call, id, &lun, array_id);

	*mapped_now = false;
	if (result != CS_OK)
		return result;
	if (lun.number == 0 && lun.kind != UP_LUN_SHADOW)
		return CS_NOT_FOUND; /* only shadow LUNs are ours to unmask */
	if (lun.number != 0)
		return CS_OK;
	if (ask_lun(p, array_id, UP_OP_MAP, id, &trouble) < 0)
		return result_note(&trouble, call, id);
	*mapped_now = true;
	return CS_OK;
}

/* All or nothing: what this call unmasked is masked again when a later LUN fails. */
static HRESULT WINAPI hw_LocateLuns(
	IVssHardwareSnapshotProviderEx *iface, LONG count, VDS_LUN_INFORMATION *luns)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	const char *call = "LocateLuns";
	struct array_trouble trouble;
	enum cs_result result;
	LONG done = 0;

	if (!luns || !count_is_sane(count))
		return answer(call, CS_INVALID_ARGUMENT);
	uint8_t(*ids)[UP_ID_BYTES] = recognise_all(luns, (unsigned)count, CS_NOT_FOUND, &result);
	if (!ids)
		return answer(call, result);
	uint8_t(*arrays)[UP_ID_BYTES] = calloc((size_t)count, sizeof(*arrays));
	bool *mapped = calloc((size_t)count, sizeof(*mapped));
	if (!arrays || !mapped)
		result = CS_OUT_OF_MEMORY;
	while (done < count && result == CS_OK) {
		result = locate(p, ids[done], call, &mapped[done], arrays[done]);
		done++;
	}
	for (LONG i = 0; result != CS_OK && i < done; i++)
		if (mapped[i])
			(void)ask_lun(p, arrays[i], UP_OP_UNMAP, ids[i], &trouble);
	free(mapped);
	free(arrays);
	free(ids);
	return answer(call, result);
}

static HRESULT WINAPI hw_OnLunEmpty(
	IVssHardwareSnapshotProviderEx *iface, VSS_PWSZ device, VDS_LUN_INFORMATION *info)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	const char *call = "OnLunEmpty";
	struct array_trouble trouble;
	uint8_t id[UP_ID_BYTES], array_id[UP_ID_BYTES];
	struct up_lun lun;

	(void)device;
	if (!info)
		return answer(call, CS_INVALID_ARGUMENT);
	if (!lun_identity_recognise(info, id))
		return answer(call, CS_NOT_FOUND);
	int err = array_client_find_lun(p->context->client, id, &lun, array_id, &trouble);
	if (err == -ENOENT) /* every array answered: it is gone already */
		return answer("OnLunEmpty: gone", CS_OK);
	if (err < 0)
		return answer(call, result_note(&trouble, call, id));
	if (lun.kind != UP_LUN_SHADOW) {
		result_event(UMBRA_EVENT_ORDINARY, call, id, NULL, NULL);
		return answer(call, CS_VETO);
	}
	if (ask_lun(p, array_id, UP_OP_DELETE, id, &trouble) < 0) /* the array unmaps it from us first */
		return answer(call, result_note(&trouble, call, id));
	return answer(call, CS_OK);
}

/* "Not supported, reserved for future use", says the documentation of this method and of OnReuseLuns; Microsoft's sample
 * answers the same. So VSS learns what is possible from AreLunsSupported, whose answer depends on the array. */
static HRESULT WINAPI hw_GetProviderCapabilities(IVssHardwareSnapshotProviderEx *iface, ULONGLONG *mask)
{
	(void)iface;
	if (!mask)
		return E_INVALIDARG;
	*mask = 0;
	eventlog_trace("GetProviderCapabilities: reserved");
	return E_NOTIMPL;
}

/* Masks one LUN from this host. CS_OK also when it is masked or gone already. */
static enum cs_result mask(struct provider *p, const char *call, const uint8_t id[UP_ID_BYTES])
{
	struct array_trouble trouble;
	uint8_t array_id[UP_ID_BYTES];
	struct up_lun lun;
	int err = array_client_find_lun(p->context->client, id, &lun, array_id, &trouble);

	if (err == -ENOENT) /* gone: nobody sees it */
		return CS_OK;
	if (err == 0 && !lun.number)
		return CS_OK;
	if (err < 0 || ask_lun(p, array_id, UP_OP_UNMAP, id, &trouble) < 0)
		return result_note(&trouble, call, id);
	return CS_OK;
}

/* For the Application log: once a call, however many LUNs it is about. */
static void record_state_change(const char *call, const uint8_t *first, DWORD count, DWORD flags)
{
	const DWORD known = VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE |
			    VSS_ONLUNSTATECHANGE_NOTIFY_LUN_PRE_RECOVERY |
			    VSS_ONLUNSTATECHANGE_NOTIFY_LUN_POST_RECOVERY | VSS_ONLUNSTATECHANGE_DO_MASK_LUNS;
	char detail[300];

	snprintf(detail, sizeof(detail), "%lu LUNs (flags 0x%lx):%s%s%s%s%s.", (unsigned long)count,
		(unsigned long)flags,
		flags & VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE ? " they become read-write for good;" : "",
		flags & VSS_ONLUNSTATECHANGE_NOTIFY_LUN_PRE_RECOVERY ? " writers are about to recover them;"
								     : "",
		flags & VSS_ONLUNSTATECHANGE_NOTIFY_LUN_POST_RECOVERY ? " writers have recovered them;" : "",
		flags & VSS_ONLUNSTATECHANGE_DO_MASK_LUNS ? " they are masked from this host, not deleted;"
							  : "",
		flags & ~known || !flags ? " nothing else that is known to this version;" : "");
	result_event(UMBRA_EVENT_STATE_CHANGE, call, first, NULL, detail);
}

/* The shadow LUNs are read/write on the array throughout, so the notifications ask for no work: they are
 * recorded. Masking goes on past a LUN that fails; VSS may call again. */
static HRESULT WINAPI hw_OnLunStateChange(IVssHardwareSnapshotProviderEx *iface, VDS_LUN_INFORMATION *shadows,
	VDS_LUN_INFORMATION *originals, DWORD count, DWORD flags)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	const char *call = "OnLunStateChange";
	enum cs_result result;

	(void)originals;
	if (!shadows || !count || count > SET_LUNS_MAX)
		return answer(call, CS_INVALID_ARGUMENT);
	uint8_t(*ids)[UP_ID_BYTES] = recognise_all(shadows, count, CS_INVALID_ARGUMENT, &result);
	if (!ids)
		return answer(call, result);
	for (DWORD i = 0; i < count && (flags & VSS_ONLUNSTATECHANGE_DO_MASK_LUNS); i++) {
		enum cs_result one = mask(p, call, ids[i]);
		if (result == CS_OK && one != CS_OK) /* the method has no other codes; the event is queued */
			result = one == CS_OUT_OF_MEMORY ? one : CS_VETO;
	}
	if (result == CS_OK)
		record_state_change(call, ids[0], count, flags);
	free(ids);
	return answer(call, result);
}

static HRESULT WINAPI hw_ResyncLuns(IVssHardwareSnapshotProviderEx *iface, VDS_LUN_INFORMATION *sources,
	VDS_LUN_INFORMATION *targets, DWORD count, IVssAsync **async)
{
	(void)iface;
	if (async)
		*async = NULL;
	if (!sources || !targets || !count || !async)
		return E_INVALIDARG;
	return E_NOTIMPL;
}

static HRESULT WINAPI hw_OnReuseLuns(IVssHardwareSnapshotProviderEx *iface, VDS_LUN_INFORMATION *shadows,
	VDS_LUN_INFORMATION *originals, DWORD count)
{
	(void)iface;
	(void)shadows;
	(void)originals;
	(void)count;
	eventlog_trace("OnReuseLuns: reserved");
	return E_NOTIMPL; /* as GetProviderCapabilities */
}

static const IVssHardwareSnapshotProviderExVtbl hw_vtbl = {
	hw_QueryInterface,
	hw_AddRef,
	hw_Release,
	hw_AreLunsSupported,
	hw_FillInLunInfo,
	hw_BeginPrepareSnapshot,
	hw_GetTargetLuns,
	hw_LocateLuns,
	hw_OnLunEmpty,
	hw_GetProviderCapabilities,
	hw_OnLunStateChange,
	hw_ResyncLuns,
	hw_OnReuseLuns,
};

/* ---- IVssProviderCreateSnapshotSet --------------------------------------------------------------------- */

static HRESULT WINAPI set_QueryInterface(IVssProviderCreateSnapshotSet *iface, REFIID iid, void **out)
{
	return query_interface(impl_from_IVssProviderCreateSnapshotSet(iface), iid, out);
}

static ULONG WINAPI set_AddRef(IVssProviderCreateSnapshotSet *iface)
{
	return add_ref(impl_from_IVssProviderCreateSnapshotSet(iface));
}

static ULONG WINAPI set_Release(IVssProviderCreateSnapshotSet *iface)
{
	return release(impl_from_IVssProviderCreateSnapshotSet(iface));
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

static HRESULT WINAPI set_EndPrepareSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id)
{
	return run_set_call(
		impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_END_PREPARE, &set_id, work_arm, NULL);
}

static HRESULT WINAPI set_PreCommitSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id)
{
	return run_set_call(impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_PRE_COMMIT, &set_id,
		work_ready, NULL);
}

/* Nothing here but waking the threads that stand ready, and waiting for them. */
static HRESULT WINAPI set_CommitSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id)
{
	uint8_t id[CS_ID_BYTES];

	provider_guid_bytes(&set_id, id);
	return result_hresult(
		run(impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_COMMIT, id, work_commit, NULL));
}

static HRESULT WINAPI set_PostCommitSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id, LONG count)
{
	if (count < 1)
		return answer(cs_call_name(CS_CALL_POST_COMMIT), CS_INVALID_ARGUMENT);
	return run_set_call(impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_POST_COMMIT, &set_id,
		work_check, NULL);
}

static HRESULT WINAPI set_PreFinalCommitSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id)
{
	return run_set_call(
		impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_PRE_FINAL, &set_id, NULL, NULL);
}

static HRESULT WINAPI set_PostFinalCommitSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id)
{
	return run_set_call(
		impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_POST_FINAL, &set_id, NULL, NULL);
}

static HRESULT WINAPI set_AbortSnapshots(IVssProviderCreateSnapshotSet *iface, VSS_ID set_id)
{
	return run_set_call(
		impl_from_IVssProviderCreateSnapshotSet(iface), CS_CALL_ABORT, &set_id, NULL, NULL);
}

static const IVssProviderCreateSnapshotSetVtbl set_vtbl = {
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
	return query_interface(impl_from_IVssProviderNotifications(iface), iid, out);
}

static ULONG WINAPI notify_AddRef(IVssProviderNotifications *iface)
{
	return add_ref(impl_from_IVssProviderNotifications(iface));
}

static ULONG WINAPI notify_Release(IVssProviderNotifications *iface)
{
	return release(impl_from_IVssProviderNotifications(iface));
}

static HRESULT WINAPI notify_OnLoad(IVssProviderNotifications *iface, IUnknown *callback)
{
	(void)iface;
	(void)callback; /* reserved */
	return answer("OnLoad", CS_OK);
}

static HRESULT WINAPI notify_OnUnload(IVssProviderNotifications *iface, WINBOOL force)
{
	enum cs_call call = force ? CS_CALL_UNLOAD_FORCE : CS_CALL_UNLOAD;

	return answer(
		cs_call_name(call), run(impl_from_IVssProviderNotifications(iface), call, NULL, NULL, NULL));
}

static const IVssProviderNotificationsVtbl notify_vtbl = {
	notify_QueryInterface,
	notify_AddRef,
	notify_Release,
	notify_OnLoad,
	notify_OnUnload,
};

/* ---- life ---------------------------------------------------------------------------------------------- */

HRESULT provider_create(const struct provider_context *context, REFIID iid, void **out)
{
	if (!out)
		return E_INVALIDARG;
	*out = NULL;
	struct provider *p = calloc(1, sizeof(*p));
	if (!p)
		return E_OUTOFMEMORY;
	p->IVssHardwareSnapshotProviderEx_iface.lpVtbl = &hw_vtbl;
	p->IVssProviderCreateSnapshotSet_iface.lpVtbl = &set_vtbl;
	p->IVssProviderNotifications_iface.lpVtbl = &notify_vtbl;
	p->refs = 1;
	p->context = context;
	InitializeCriticalSection(&p->lock);
	cs_init(&p->machine);
	CoAddRefServerProcess();
	LONG live = InterlockedIncrement(&live_count);
	if (context->objects_changed)
		context->objects_changed(live);
	AcquireSRWLockExclusive(&live_lock);
	p->next = live_objects;
	live_objects = p;
	ReleaseSRWLockExclusive(&live_lock);
	HRESULT hr = query_interface(p, iid, out);
	(void)release(p);
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
			return;
		(void)run(p, CS_CALL_UNLOAD_FORCE, NULL, NULL, NULL);
		(void)release(p);
	}
}
