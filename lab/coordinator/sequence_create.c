/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creation of a shadow copy set: what StartSnapshotSet, AddToSnapshotSet and DoSnapshotSet make VSS do. sequence.h has
 * the invariants; do_snapshot_set reads as the sequence does.
 */
#include "lab/coordinator/sequence_internal.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <vsserror.h>
#include "lab/coordinator/hold_client.h"
#include "lab/coordinator/pending.h"

#define FLUSHED_IN_HOLD_MAX 8

struct creation {
	struct record *r;
	const LAB_CREATE *request;
	struct port_scan *scan;
	struct shadow_set *set;
	struct provider *p;                                          /* the first volume's */
	struct provider *parts[PROVIDERS_MAX], *of[SET_MAX_VOLUMES]; /* all of the set's; each volume's */
	size_t part_count;
	const struct port_disk *disks[SET_MAX_LUNS]; /* of set->luns, borrowed from scan */
	struct gpt_state before[SET_MAX_LUNS];       /* the originals' flags before ours */
	bool flagged[SET_MAX_LUNS];
	struct hold hold;
	bool doing;              /* EndPrepareSnapshots was called: a failure is followed by AbortSnapshots */
	bool stopped;            /* the request wanted no more after the last call */
	volatile LONG cancelled; /* creation_cancel */
	struct variation vary;
	bool trial;        /* a set that is to fail as vary says */
	bool struck;       /* it did */
	int64_t frozen_us; /* since when the writers are */
	int64_t held_us;   /* since when the first of them are held; 0: none is yet */
	bool held[SET_MAX_LUNS], flushed[SET_MAX_LUNS];
	struct matching *arrived; /* owned; auto-recovery's, which made the shadow LUNs visible */
};

/* The arrays that the LUN methods take, for one volume. Copies: a provider may rebuild what is [in, out]. */
struct volume_args {
	LONG count;
	VSS_PWSZ *names;            /* entries borrowed */
	VDS_LUN_INFORMATION *infos; /* owned */
	struct lun_info_shelf shelf;
};

static bool volume_args(const struct creation *c, size_t v, struct volume_args *a)
{
	const struct set_volume *volume = &c->set->volumes[v];
	memset(a, 0, sizeof *a);
	a->names = calloc(volume->count, sizeof *a->names);
	a->infos = lun_info_alloc_array(volume->count);
	if (!a->names || !a->infos)
		return false;
	for (size_t k = 0; k < volume->count; k++) {
		const struct port_disk *d = c->disks[c->set->members[volume->first + k]];
		a->names[k] = (VSS_PWSZ)d->device;
		a->count = (LONG)k + 1;
		if (!lun_info_copy(&a->infos[k], &d->info))
			return false;
	}
	lun_info_shelve(&a->shelf, a->infos, volume->count);
	return true;
}

static void volume_args_free(struct volume_args *a)
{
	if (a->infos)
		lun_info_reclaim(&a->shelf, a->infos);
	lun_info_free_array(a->infos, (size_t)a->count);
	free(a->names);
}

static LONG context_of(const struct creation *c)
{
	return c->request->context;
}

/* Writers may change the shadow LUNs before the end (TxF recovery asks for it; what a writer wants, too, on Windows). */
static bool wants_recovery(const struct creation *c)
{
	return (context_of(c) & (VSS_VOLSNAP_ATTR_TXF_RECOVERY | VSS_VOLSNAP_ATTR_AUTORECOVER)) &&
	       !(context_of(c) & VSS_VOLSNAP_ATTR_NO_AUTORECOVERY);
}

/* The trial ends here as it was to. */
static HRESULT strike(struct creation *c, HRESULT hr)
{
	c->struck = true;
	return record_fail(c->r, hr, L"it was to fail");
}

static bool is_trial(const struct creation *c, enum vary_trial kind)
{
	return c->trial && c->vary.trial == kind;
}

/* What the requester wants after a call that went well: hr, or that it stops here. */
static HRESULT unless_stopped(struct creation *c, const wchar_t *method, HRESULT hr)
{
	if (hr == S_OK && is_trial(c, VARY_DROPPED) && wcscmp(method, L"BeginPrepareSnapshot") == 0)
		return strike(c, VSS_S_ASYNC_CANCELLED);
	if (hr != S_OK || !c->request->stop || !c->request->stop_after ||
		wcscmp(c->request->stop_after, method) != 0)
		return hr;
	c->stopped = true;
	return record_fail(c->r, VSS_S_ASYNC_CANCELLED,
		c->request->stop == LAB_STOP_ABANDON ? L"abandoned after %ls, as asked for"
						     : L"aborted after %ls, as asked for",
		method);
}

/* Names of the devices of a volume for a call's summary. */
static void devices_text(const struct volume_args *a, wchar_t *out, size_t chars)
{
	size_t len = 0;
	out[0] = 0;
	for (LONG i = 0; i < a->count; i++) {
		int n = _snwprintf(out + len, chars - len, L"%ls%ls", i ? L" " : L"", a->names[i] + 4);
		if (n < 0)
			break;
		len += (size_t)n;
	}
	out[chars - 1] = 0;
}

/* --- what is to be copied --- */

static HRESULT find_lun_slot(struct creation *c, const struct port_disk *d, size_t *slot)
{
	struct shadow_set *s = c->set;
	for (*slot = 0; *slot < s->lun_count; (*slot)++)
		if (c->disks[*slot] == d)
			return S_OK;
	if (s->lun_count == SET_MAX_LUNS)
		return VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED;
	struct set_lun *l = &s->luns[s->lun_count];
	c->disks[s->lun_count++] = d;
	l->drive = d->drive;
	l->lun = d->bytes.lun;
	l->size_bytes = d->blocks * d->block_bytes;
	if (d->table.kind == GPT_GPT || d->table.kind == GPT_MBR)
		port_get_identity(d, &l->identity);
	return lun_info_copy(&l->original, &d->info) ? S_OK : E_OUTOFMEMORY;
}

static HRESULT new_volume(struct creation *c)
{
	struct shadow_set *s = c->set;
	if (s->volume_count == SET_MAX_VOLUMES)
		return record_fail(c->r, VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED,
			L"a shadow copy set holds at most %d volumes", SET_MAX_VOLUMES);
	struct set_volume *volume = &s->volumes[s->volume_count++];
	memset(volume, 0, sizeof *volume);
	volume->first = s->member_count;
	CoCreateGuid(&volume->snapshot_id);
	return S_OK;
}

/* A LUN into the last volume. */
static HRESULT add_member(struct creation *c, const LAB_VOLUME_LUN *want)
{
	struct shadow_set *s = c->set;
	const struct port_disk *d = want->by_drive ? port_find_drive(c->scan, want->number)
						   : port_find_lun(c->scan, want->number);
	size_t slot;
	if (!d)
		return record_fail(c->r, VSS_E_OBJECT_NOT_FOUND,
			L"no disk with %ls %ld on this host's SCSI port; scan shows what there is",
			want->by_drive ? L"drive number" : L"LUN number", want->number);
	HRESULT hr = s->member_count == SET_MAX_MEMBERS ? VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED
							: find_lun_slot(c, d, &slot);
	if (FAILED(hr))
		return record_fail(c->r, hr, L"too many LUNs in one set");
	s->members[s->member_count++] = slot;
	s->volumes[s->volume_count - 1].count++;
	return S_OK;
}

/* The request's LUNs into the set's volumes. */
static HRESULT resolve_volumes(struct creation *c)
{
	LONG volume = -1;
	for (ULONG i = 0; i < c->request->count; i++) {
		const LAB_VOLUME_LUN *want = &c->request->luns[i];
		HRESULT hr = want->volume == volume ? S_OK : new_volume(c);
		volume = want->volume;
		if (hr == S_OK)
			hr = add_member(c, want);
		if (hr != S_OK)
			return hr;
	}
	return c->set->volume_count ? S_OK : record_fail(c->r, E_INVALIDARG, L"no LUN is named");
}

/* --- AddToSnapshotSet --- */

/* FALSE, too, when the call failed; *hr then says how. */
static BOOL ask_supported(struct creation *c, struct provider *p, size_t v, HRESULT *hr)
{
	struct volume_args a;
	BOOL supported = FALSE;
	wchar_t devices[512];
	*hr = E_OUTOFMEMORY;
	if (volume_args(c, v, &a)) {
		devices_text(&a, devices, 512);
		ULONG call = record_call_begin(c->r, L"AreLunsSupported", L"volume %u, context 0x%x: %ls",
			(unsigned)v, (unsigned)context_of(c), devices);
		*hr = IVssHardwareSnapshotProvider_AreLunsSupported(
			p->hw, a.count, context_of(c), a.names, a.infos, &supported);
		provider_check(p, record_call_end(c->r, call, *hr));
	}
	volume_args_free(&a);
	return SUCCEEDED(*hr) && supported;
}

/* Whose is a LUN of this volume already? Two volumes on one LUN are one provider's. */
static struct provider *taken_by(const struct creation *c, size_t v)
{
	const struct set_volume *mine = &c->set->volumes[v];
	for (size_t other = 0; other < v; other++)
		for (size_t k = 0; k < c->set->volumes[other].count; k++)
			for (size_t i = 0; i < mine->count; i++)
				if (c->set->members[c->set->volumes[other].first + k] ==
					c->set->members[mine->first + i])
					return c->of[other];
	return NULL;
}

static HRESULT take_provider(struct creation *c, size_t v, struct provider *p)
{
	size_t i = 0;
	while (i < c->part_count && c->parts[i] != p)
		i++;
	if (i == c->part_count)
		c->parts[c->part_count++] = p;
	c->of[v] = p;
	c->p = c->parts[0];
	c->set->provider_id = c->p->entry.id;
	c->set->volumes[v].provider_id = p->entry.id;
	return unless_stopped(c, L"AreLunsSupported", S_OK);
}

/* Each volume has its own: that which is named, or the first that supports it. */
static HRESULT choose_provider(struct creation *c, size_t v)
{
	static const GUID any;
	struct provider_entry entries[PROVIDERS_MAX];
	struct provider *only = taken_by(c, v);
	ULONG count = providers_list(entries), tried = 0;
	HRESULT hr = S_OK;
	for (ULONG i = 0; i < count; i++) {
		if (entries[i].type != VSS_PROV_HARDWARE)
			continue;
		if (!IsEqualGUID(&c->request->provider_id, &any) &&
			!IsEqualGUID(&c->request->provider_id, &entries[i].id))
			continue;
		tried++;
		if (only && !IsEqualGUID(&only->entry.id, &entries[i].id))
			continue;
		struct provider *p = provider_load(&entries[i], c->r);
		if (!p)
			return c->r->result->hr;
		if (ask_supported(c, p, v, &hr))
			return take_provider(c, v, p);
	}
	if (tried == 0)
		return record_fail(
			c->r, VSS_E_PROVIDER_NOT_REGISTERED, L"no such hardware provider is registered");
	if (FAILED(hr))
		return record_fail(c->r, provider_visible_error(hr, false),
			L"AreLunsSupported failed with 0x%08x", (unsigned)hr);
	return record_fail(c->r,
		IsEqualGUID(&c->request->provider_id, &any) ? VSS_E_VOLUME_NOT_SUPPORTED
							    : VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
		L"no provider supports volume %u in this context", (unsigned)v);
}

static HRESULT begin_prepare(struct creation *c, size_t v)
{
	struct volume_args a;
	HRESULT hr = E_OUTOFMEMORY;
	if (volume_args(c, v, &a)) {
		ULONG call = record_call_begin(c->r, L"BeginPrepareSnapshot",
			L"volume %u, context 0x%x, %ld LUNs", (unsigned)v, (unsigned)context_of(c), a.count);
		hr = IVssHardwareSnapshotProvider_BeginPrepareSnapshot(c->of[v]->hw, c->set->id,
			c->set->volumes[v].snapshot_id, context_of(c), a.count, a.names, a.infos);
		provider_check(c->of[v], record_call_end(c->r, call, hr));
	}
	volume_args_free(&a);
	if (hr == S_OK)
		return unless_stopped(c, L"BeginPrepareSnapshot", hr);
	return record_fail(c->r, provider_visible_error(hr, true),
		L"BeginPrepareSnapshot of volume %u failed with 0x%08x", (unsigned)v, (unsigned)hr);
}

/* AddToSnapshotSet's calls for one volume. */
static HRESULT add_volume(struct creation *c, size_t v)
{
	HRESULT hr = choose_provider(c, v);
	return hr == S_OK ? begin_prepare(c, v) : hr;
}

static HRESULT add_volumes(struct creation *c)
{
	ULONG phase = record_phase_begin(c->r, L"AddToSnapshotSet");
	HRESULT hr = S_OK;
	for (size_t v = 0; v < c->set->volume_count && hr == S_OK; v++)
		hr = add_volume(c, v);
	return record_phase_end(c->r, phase, hr);
}

/* --- DoSnapshotSet --- */

typedef HRESULT(STDMETHODCALLTYPE *set_method)(IVssProviderCreateSnapshotSet *, VSS_ID);

#define SET_METHOD(name) L## #name, offsetof(IVssProviderCreateSnapshotSetVtbl, name)

static set_method method_of(const struct provider *p, size_t offset)
{
	return *(set_method *)((const char *)(const void *)p->set->lpVtbl + offset);
}

/* Does another thread abort the set during this call? */
static bool abort_begins(struct creation *c, const wchar_t *name, struct interloper *i)
{
	return is_trial(c, VARY_ABORTED) && !c->struck && c->part_count == 1 &&
	       wcscmp(c->vary.method, name) == 0 &&
	       interloper_start(i, c->p->set, c->set->id, c->vary.abort_us);
}

/* hr: what the call in whose middle that was answered. Any answer that VSS knows is right, but AbortSnapshots succeeds. */
static HRESULT abort_ends(struct creation *c, const wchar_t *name, struct interloper *i, HRESULT hr)
{
	HRESULT aborted = interloper_join(i);
	c->doing = false; /* no second one */
	if (aborted == S_OK && provider_visible_error(hr, false) == hr)
		return strike(c, VSS_S_ASYNC_CANCELLED);
	return record_fail(c->r, VSS_E_UNEXPECTED_PROVIDER_ERROR,
		L"AbortSnapshots during %ls answered 0x%08x, and %ls 0x%08x (seed %u)", name,
		(unsigned)aborted, name, (unsigned)hr, (unsigned)c->vary.seed);
}

/* One of the methods that take the set's id, as a phase of its own: each of the set's providers, until one fails. */
static HRESULT step(struct creation *c, const wchar_t *name, size_t method)
{
	struct interloper i;
	if (InterlockedCompareExchange(&c->cancelled, 0, 0))
		return record_fail(c->r, VSS_S_ASYNC_CANCELLED, L"cancelled before %ls", name);
	ULONG phase = record_phase_begin(c->r, name);
	bool abort = abort_begins(c, name, &i);
	HRESULT hr = S_OK;
	for (size_t k = 0; k < c->part_count && hr == S_OK; k++) {
		ULONG call = record_call_begin(c->r, name, L"%hs", "set");
		hr = method_of(c->parts[k], method)(c->parts[k]->set, c->set->id);
		provider_check(c->parts[k], record_call_end(c->r, call, hr));
	}
	if (abort)
		return record_phase_end(c->r, phase, abort_ends(c, name, &i, hr));
	HRESULT seen = provider_visible_error(hr, false);
	if (hr != S_OK)
		record_fail(c->r, seen, L"%ls failed with 0x%08x", name, (unsigned)hr);
	return record_phase_end(c->r, phase, unless_stopped(c, name, seen));
}

static HRESULT set_flags(struct creation *c)
{
	HRESULT hr = S_OK;
	ULONG phase = record_phase_begin(c->r, L"SetFlags");
	if (!pending_note(c->disks, c->set->lun_count))
		hr = record_fail(c->r, VSS_E_UNEXPECTED, L"the lab's state folder cannot be written");
	for (size_t i = 0; i < c->set->lun_count && hr == S_OK; i++) {
		c->flagged[i] = true; /* also when it fails in the middle */
		hr = port_set_shadow_bits(c->disks[i], &c->before[i]);
		if (FAILED(hr))
			record_fail(c->r, VSS_E_UNEXPECTED,
				L"the shadow copy flags cannot be written to %ls (0x%08x)",
				c->disks[i]->device, (unsigned)hr);
	}
	return record_phase_end(c->r, phase, hr);
}

/* Whatever happened: the originals get their own flags back. */
static HRESULT clear_flags(struct creation *c)
{
	HRESULT result = S_OK;
	ULONG phase = record_phase_begin(c->r, L"ClearFlags");
	for (size_t i = 0; i < c->set->lun_count; i++) {
		if (!c->flagged[i])
			continue;
		HRESULT hr = port_restore_bits(c->disks[i], &c->before[i]);
		c->flagged[i] = FAILED(hr);
		if (FAILED(hr))
			result = record_fail(c->r, VSS_E_UNEXPECTED,
				L"the shadow copy flags cannot be cleared on %ls (0x%08x): it stays hidden "
				L"and read-only",
				c->disks[i]->device, (unsigned)hr);
	}
	if (result == S_OK)
		pending_done();
	return record_phase_end(c->r, phase, result);
}

/* The time between the holds is VSS's own, and counts for the limit as if it had passed. */
static DWORD hold_limit_ms(const struct creation *c)
{
	return c->vary.stagger_ms < HOLD_LIMIT_MS ? HOLD_LIMIT_MS - c->vary.stagger_ms : 0;
}

static HRESULT flush(struct creation *c, size_t slot)
{
	c->flushed[slot] = true;
	return SUCCEEDED(port_flush(c->disks[slot]))
		       ? S_OK
		       : record_fail(c->r, VSS_E_FLUSH_WRITES_TIMEOUT, L"%ls cannot be flushed",
				 c->disks[slot]->device);
}

/* The LUNs of one volume that no volume before had. The clock starts with the first that is held. */
static HRESULT flush_and_hold_volume(struct creation *c, size_t v)
{
	HRESULT hr = S_OK;
	for (size_t k = 0; k < c->set->volumes[v].count && hr == S_OK; k++) {
		size_t slot = c->set->members[c->set->volumes[v].first + k];
		if (c->held[slot])
			continue;
		if (!c->flushed[slot] && (hr = flush(c, slot)) != S_OK)
			return hr;
		hr = hold_lun(&c->hold, c->disks[slot]->info.m_szSerialNumber, HOLD_LIMIT_MS);
		if (FAILED(hr))
			return record_fail(c->r, hr,
				L"the writers could not be held: is the hold broker running, do all writers answer?");
		if (!c->held_us)
			c->held_us = record_now_us(c->r);
		c->held[slot] = true;
	}
	return hr;
}

/* VSS flushes and holds volume by volume: when the last are flushed, the first may be held for a while already. */
static HRESULT flush_and_hold(struct creation *c)
{
	ULONG phase = record_phase_begin(c->r, L"FlushAndHold");
	size_t count = c->set->volume_count;
	HRESULT hr = S_OK;
	/* Of many LUNs most are flushed before: no verdict may hang on how fast this machine flushes. */
	for (size_t slot = FLUSHED_IN_HOLD_MAX; slot < c->set->lun_count && hr == S_OK; slot++)
		hr = flush(c, slot);
	for (size_t i = 0; i < count && hr == S_OK; i++)
		hr = flush_and_hold_volume(c, (c->vary.held_first + i) % count);
	if (!c->held_us)
		c->held_us = record_now_us(c->r);
	c->r->result->writers = c->hold.writers;
	return record_phase_end(c->r, phase, hr);
}

static HRESULT release(struct creation *c)
{
	ULONG phase = record_phase_begin(c->r, L"ReleaseWrites");
	HRESULT hr = hold_end(&c->hold);
	if (FAILED(hr))
		record_fail(c->r, hr,
			L"the write hold had been cancelled after %d s, before the commit was over",
			HOLD_LIMIT_MS / 1000);
	return record_phase_end(c->r, phase, hr);
}

/* From the writers' standing still to their going on. */
static HRESULT commit(struct creation *c)
{
	LAB_RESULT *res = c->r->result;
	HRESULT hr = flush_and_hold(c);
	if (hr == S_OK) {
		int64_t begun_us = record_now_us(c->r);
		hr = step(c, SET_METHOD(CommitSnapshots));
		res->commit_us = record_now_us(c->r) - begun_us;
		int64_t ms = (record_now_us(c->r) - c->held_us) / 1000;
		if (hr == S_OK && ms > hold_limit_ms(c))
			hr = record_fail(c->r, VSS_E_HOLD_WRITES_TIMEOUT,
				L"the first volume was held for %lld ms, the limit is %d",
				(long long)ms + c->vary.stagger_ms, HOLD_LIMIT_MS);
		if (hr == S_OK && c->request->hold_ms > 0)
			Sleep((DWORD)c->request->hold_ms);
	}
	res->hold_us = record_now_us(c->r) - c->held_us;
	HRESULT released = release(c);
	return hr == S_OK ? released : hr;
}

/* What the writers say, or their clock. */
static HRESULT writers(struct creation *c, enum vary_trial when)
{
	if (is_trial(c, when))
		return strike(c, VSS_E_WRITERERROR_TIMEOUT);
	if (when == VARY_NOT_FROZEN) {
		c->frozen_us = record_now_us(c->r);
		return S_OK;
	}
	int64_t ms = (record_now_us(c->r) - c->frozen_us) / 1000 + c->vary.freeze_ms;
	return ms <= FREEZE_LIMIT_MS ? S_OK
				     : record_fail(c->r, VSS_E_WRITERERROR_TIMEOUT,
					       L"the writers were frozen for %lld ms, the limit is %d",
					       (long long)ms, FREEZE_LIMIT_MS);
}

static HRESULT post_commit(struct creation *c)
{
	struct interloper i;
	ULONG phase = record_phase_begin(c->r, L"PostCommitSnapshots");
	bool abort = abort_begins(c, L"PostCommitSnapshots", &i);
	LONG count = (LONG)c->set->volume_count;
	HRESULT hr = S_OK;
	for (size_t k = 0; k < c->part_count && hr == S_OK; k++) {
		ULONG call = record_call_begin(c->r, L"PostCommitSnapshots", L"set, %ld", count);
		hr = IVssProviderCreateSnapshotSet_PostCommitSnapshots(c->parts[k]->set, c->set->id, count);
		provider_check(c->parts[k], record_call_end(c->r, call, hr));
	}
	if (abort)
		return record_phase_end(c->r, phase, abort_ends(c, L"PostCommitSnapshots", &i, hr));
	HRESULT seen = provider_visible_error(hr, false);
	if (hr != S_OK)
		record_fail(c->r, seen, L"PostCommitSnapshots failed with 0x%08x", (unsigned)hr);
	return record_phase_end(c->r, phase, unless_stopped(c, L"PostCommitSnapshots", seen));
}

/* --- GetTargetLuns --- */

/* Takes one destination over; NULL, or what is wrong with it. */
static const char *take_target(struct creation *c, size_t slot, VDS_LUN_INFORMATION *target)
{
	struct set_lun *l = &c->set->luns[slot];
	const char *unfit = lun_info_unfit(target);
	if (unfit)
		return unfit;
	if (!lun_info_difference(target, &l->original))
		return "it has the identity of the original";
	if (l->shadow.m_deviceIdDescriptor.m_cIdentifiers)
		return lun_info_difference(target, &l->shadow)
			       ? "two volumes on one LUN got different shadow LUNs"
			       : NULL;
	l->shadow = *target;
	memset(target, 0, sizeof *target);
	return NULL;
}

static HRESULT volume_targets(struct creation *c, size_t v)
{
	struct volume_args a;
	HRESULT hr = E_OUTOFMEMORY;
	const char *wrong = NULL;
	struct interloper i;
	bool abort = abort_begins(c, L"GetTargetLuns", &i);
	VDS_LUN_INFORMATION *targets = lun_info_alloc_array(c->set->volumes[v].count);
	if (targets && volume_args(c, v, &a)) {
		ULONG call = record_call_begin(
			c->r, L"GetTargetLuns", L"volume %u, %ld LUNs", (unsigned)v, a.count);
		hr = IVssHardwareSnapshotProvider_GetTargetLuns(
			c->of[v]->hw, a.count, a.names, a.infos, targets);
		provider_check(c->of[v], record_call_end(c->r, call, hr));
		for (LONG k = 0; k < a.count && hr == S_OK && !wrong; k++)
			wrong = take_target(
				c, c->set->members[c->set->volumes[v].first + (size_t)k], &targets[k]);
		volume_args_free(&a);
	}
	lun_info_free_array(targets, c->set->volumes[v].count);
	if (abort)
		return abort_ends(c, L"GetTargetLuns", &i, hr);
	if (wrong)
		return record_fail(c->r, VSS_E_UNEXPECTED_PROVIDER_ERROR, L"GetTargetLuns of volume %u: %hs",
			(unsigned)v, wrong);
	if (hr != S_OK)
		return record_fail(c->r, provider_visible_error(hr, false),
			L"GetTargetLuns of volume %u failed with 0x%08x", (unsigned)v, (unsigned)hr);
	return unless_stopped(c, L"GetTargetLuns", S_OK);
}

static HRESULT get_target_luns(struct creation *c)
{
	ULONG phase = record_phase_begin(c->r, L"GetTargetLuns");
	HRESULT hr = S_OK;
	for (size_t v = 0; v < c->set->volume_count && hr == S_OK; v++)
		hr = volume_targets(c, v);
	return record_phase_end(c->r, phase, hr);
}

/* --- the whole --- */

static HRESULT auto_recovery(struct creation *c)
{
	if (!wants_recovery(c))
		return S_OK;
	c->arrived = matching_new();
	return c->arrived ? recover(c->r, c->p, c->set, c->arrived)
			  : record_fail(c->r, E_OUTOFMEMORY, L"out of memory");
}

static HRESULT do_snapshot_set(struct creation *c)
{
	bool late = (c->request->flags & LAB_TARGETS_AFTER_FINAL) || c->vary.targets_late;
	HRESULT hr;
	c->doing = true;
	/* What is to come in the middle of a call needs one provider to come to. */
	if (is_trial(c, VARY_ABORTED) && c->part_count > 1)
		return strike(c, VSS_S_ASYNC_CANCELLED);
	if ((hr = step(c, SET_METHOD(EndPrepareSnapshots))) != S_OK || (hr = set_flags(c)) != S_OK ||
		(hr = step(c, SET_METHOD(PreCommitSnapshots))) != S_OK ||
		(hr = writers(c, VARY_NOT_FROZEN)) != S_OK || (hr = commit(c)) != S_OK ||
		(hr = post_commit(c)) != S_OK || (hr = writers(c, VARY_NOT_THAWED)) != S_OK ||
		(!late && (hr = get_target_luns(c)) != S_OK) ||
		(hr = step(c, SET_METHOD(PreFinalCommitSnapshots))) != S_OK ||
		(hr = auto_recovery(c)) != S_OK ||
		(hr = step(c, SET_METHOD(PostFinalCommitSnapshots))) != S_OK ||
		(hr = clear_flags(c)) != S_OK || (late && (hr = get_target_luns(c)) != S_OK))
		return hr;
	c->doing = false;
	return S_OK;
}

/* After a failure: what VSS does to leave nothing behind. */
static void undo(struct creation *c)
{
	bool abandoned = c->stopped && c->request->stop == LAB_STOP_ABANDON;
	bool aborted = c->stopped && c->request->stop == LAB_STOP_ABORT;
	if (c->p && !abandoned && (c->doing || aborted)) {
		ULONG phase = record_phase_begin(c->r, L"AbortSnapshots");
		HRESULT hr = S_OK;
		for (size_t k = 0; k < c->part_count; k++) {
			ULONG call = record_call_begin(c->r, L"AbortSnapshots", L"set");
			hr = record_call_end(c->r, call,
				IVssProviderCreateSnapshotSet_AbortSnapshots(c->parts[k]->set, c->set->id));
		}
		record_phase_end(c->r, phase, hr);
	}
	bool any = false;
	for (size_t i = 0; i < c->set->lun_count; i++)
		any = any || c->flagged[i];
	if (any)
		clear_flags(c);
}

static HRESULT check_stop(struct creation *c)
{
	static const wchar_t *const methods[] = {L"AreLunsSupported", L"BeginPrepareSnapshot",
		L"EndPrepareSnapshots", L"PreCommitSnapshots", L"CommitSnapshots", L"PostCommitSnapshots",
		L"GetTargetLuns", L"PreFinalCommitSnapshots", L"PostFinalCommitSnapshots"};
	for (size_t i = 0;
		c->request->stop && c->request->stop_after && i < sizeof methods / sizeof methods[0]; i++)
		if (wcscmp(c->request->stop_after, methods[i]) == 0)
			return S_OK;
	return c->request->stop ? record_fail(c->r, E_INVALIDARG, L"there is no such method to stop after")
				: S_OK;
}

static HRESULT check_request(struct creation *c)
{
	LONG context = c->request->context;
	if (check_stop(c) != S_OK)
		return E_INVALIDARG;
	if (wants_recovery(c) && (c->request->flags & LAB_TARGETS_AFTER_FINAL))
		return record_fail(c->r, E_INVALIDARG,
			L"auto-recovery needs the shadow LUNs before PostFinalCommitSnapshots");
	if ((context & VSS_VOLSNAP_ATTR_CLIENT_ACCESSIBLE) && !(c->request->flags & LAB_ANY_CONTEXT))
		return record_fail(c->r, VSS_E_UNSUPPORTED_CONTEXT,
			L"client-accessible shadow copies are the system provider's");
	if (c->request->count > SET_MAX_MEMBERS)
		return record_fail(
			c->r, VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED, L"too many LUNs in one set");
	ULONG phase = record_phase_begin(c->r, L"Scan");
	c->scan = port_scan();
	return record_phase_end(
		c->r, phase, c->scan ? S_OK : record_fail(c->r, E_OUTOFMEMORY, L"out of memory"));
}

static void describe_set(struct creation *c)
{
	SYSTEMTIME t;
	DWORD chars = sizeof c->set->machine;
	GetSystemTime(&t);
	snprintf(c->set->created, sizeof c->set->created, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", t.wYear,
		t.wMonth, t.wDay, t.wHour, t.wMinute, t.wSecond, t.wMilliseconds);
	if (!GetComputerNameA(c->set->machine, &chars))
		c->set->machine[0] = 0;
	c->set->context = c->request->context;
	c->set->transportable = (c->request->context & VSS_VOLSNAP_ATTR_TRANSPORTABLE) != 0;
	CoCreateGuid(&c->set->id);
	c->r->result->set_id = c->set->id;
	c->r->result->context = c->set->context;
	c->r->result->transportable = c->set->transportable;
}

/* The originals as they are afterwards: their table is looked at again. */
static void report_originals(struct creation *c)
{
	for (size_t i = 0; i < c->set->lun_count; i++) {
		struct port_disk *d = (struct port_disk *)c->disks[i];
		LONG volume = -1;
		for (size_t v = 0; v < c->set->volume_count && volume < 0; v++)
			for (size_t k = 0; k < c->set->volumes[v].count; k++)
				if (c->set->members[c->set->volumes[v].first + k] == i)
					volume = (LONG)v;
		port_look(d);
		report_lun(c->r, L"original", &c->set->luns[i].original, d, volume, &c->set->luns[i].shadow);
	}
}

static void hand_over(struct creation *c)
{
	bool import = !c->set->transportable && !(c->request->flags & LAB_NO_IMPORT);
	c->set->made_count = (ULONG)c->set->volume_count;
	char *document = set_to_document(c->set);
	c->r->result->document = document ? record_utf8(document, -1) : NULL;
	CoTaskMemFree(document);
	report_originals(c);
	if (import && c->arrived) {
		keep_import(c->r, c->set, c->arrived);
		return;
	}
	if (import) {
		import_luns(c->r, c->p, c->set);
		return;
	}
	for (size_t i = 0; i < c->set->lun_count; i++)
		report_lun(c->r, L"shadow", &c->set->luns[i].shadow, NULL, -1, &c->set->luns[i].original);
	report_snapshots(c->r, c->set);
}

/* What may be varied in this request: a requester that gives up counts the calls, and with auto-recovery the copies are
 * visible before the end, where no abort takes them back. */
static struct variation variation_of(const LAB_CREATE *request)
{
	const LONG recovering = VSS_VOLSNAP_ATTR_TXF_RECOVERY | VSS_VOLSNAP_ATTR_AUTORECOVER;
	struct variation v = *variation_now();
	if ((request->context & recovering) || request->stop || (request->flags & LAB_ANY_CONTEXT))
		v.trial = VARY_NO_TRIAL;
	if ((request->context & recovering) || request->stop || (request->flags & LAB_TARGETS_AFTER_COMMIT))
		v.targets_late = false;
	/* No abort may come behind the last call of all: the set is the requester's then. */
	const wchar_t *last = v.targets_late ? L"GetTargetLuns" : L"PostFinalCommitSnapshots";
	if (v.trial == VARY_ABORTED && wcscmp(v.method, last) == 0)
		v.method = L"PreFinalCommitSnapshots";
	return v;
}

static struct creation *creation_new(
	struct record *r, const LAB_CREATE *request, const struct variation *v, bool trial)
{
	struct creation *c = calloc(1, sizeof *c);
	if (c)
		c->set = set_new();
	if (!c || !c->set) {
		free(c);
		record_fail(r, E_OUTOFMEMORY, L"out of memory");
		return NULL;
	}
	c->r = r;
	c->request = request;
	c->vary = *v;
	c->trial = trial;
	describe_set(c);
	return c;
}

void creation_free(struct creation *c)
{
	if (!c)
		return;
	port_scan_free(c->scan);
	matching_free(c->arrived);
	set_free(c->set);
	free(c);
}

/* Makes a set in part, and gives it up. True: it failed as it was to. */
static bool fails_as_it_should(struct record *r, const LAB_CREATE *request, const struct variation *v)
{
	struct creation *c = creation_new(r, request, v, true);
	if (!c)
		return false;
	if (check_request(c) == S_OK && resolve_volumes(c) == S_OK &&
		(add_volumes(c) != S_OK || do_snapshot_set(c) != S_OK))
		undo(c);
	bool struck = c->struck && r->result->hr != VSS_E_UNEXPECTED_PROVIDER_ERROR;
	creation_free(c);
	return struck;
}

/* By the seed another set of these volumes is begun before, and given up. What becomes of it is not the request's, unless it
 * fails otherwise than it was to: false, the record says how. */
static bool try_another(struct record *r, const LAB_CREATE *request, const struct variation *v)
{
	struct record_mark mark = record_mark(r);
	if (v->trial == VARY_NO_TRIAL || !request->count)
		return true;
	if (!fails_as_it_should(r, request, v)) {
		record_fail(
			r, VSS_E_UNEXPECTED, L"a set that was to fail did not (seed %u)", (unsigned)v->seed);
		return false;
	}
	record_rewind(r, mark);
	if (v->trial_reload)
		providers_unload_all(true, NULL);
	return true;
}

struct creation *creation_start(struct record *r, const LAB_CREATE *request)
{
	struct variation v = variation_of(request);
	if (!try_another(r, request, &v))
		return NULL;
	struct creation *c = creation_new(r, request, &v, false);
	if (c && check_request(c) == S_OK)
		return c;
	creation_free(c);
	return NULL;
}

const GUID *creation_id(const struct creation *c)
{
	return &c->set->id;
}

/* The last volume, which has failed, and what it alone has brought along. */
static void take_back_volume(struct creation *c, size_t luns_before)
{
	struct shadow_set *s = c->set;
	struct set_volume *volume = &s->volumes[--s->volume_count];
	s->member_count = volume->first;
	while (s->lun_count > luns_before) {
		struct set_lun *l = &s->luns[--s->lun_count];
		lun_info_free(&l->original);
		memset(l, 0, sizeof *l);
		c->disks[s->lun_count] = NULL;
	}
	c->of[s->volume_count] = NULL;
	/* A provider of whose volumes none is left has nothing to do with the set. */
	size_t kept = 0;
	for (size_t i = 0; i < c->part_count; i++) {
		bool used = false;
		for (size_t v = 0; v < s->volume_count; v++)
			used = used || c->of[v] == c->parts[i];
		if (used)
			c->parts[kept++] = c->parts[i];
	}
	c->part_count = kept;
	c->p = kept ? c->parts[0] : NULL;
}

/* Nothing of a set may go on with a provider that was unloaded, or died, since its first volume was added. */
static HRESULT same_provider(struct creation *c)
{
	for (size_t v = 0; v < c->set->volume_count; v++)
		if (provider_loaded(&c->set->volumes[v].provider_id) != c->of[v])
			return record_fail(c->r, VSS_E_UNEXPECTED_PROVIDER_ERROR,
				L"a provider is not the one any more that the set was begun with");
	return S_OK;
}

/* The requester gave up after the volume's call: nothing follows but, where it wants that, AbortSnapshots. */
static bool given_up(struct creation *c)
{
	if (c->stopped)
		undo(c);
	return c->stopped;
}

HRESULT creation_add(struct creation *c, const char *name, const LAB_VOLUME_LUN *luns, ULONG count, GUID *id)
{
	struct shadow_set *s = c->set;
	size_t luns_before = s->lun_count;
	for (size_t v = 0; v < s->volume_count; v++)
		if (_stricmp(s->volumes[v].name, name) == 0)
			return record_fail(
				c->r, VSS_E_OBJECT_ALREADY_EXISTS, L"%hs is in the set already", name);
	HRESULT hr = same_provider(c);
	if (hr == S_OK)
		hr = new_volume(c);
	if (hr != S_OK)
		return hr;
	snprintf(s->volumes[s->volume_count - 1].name, SET_NAME_BYTES, "%s", name);
	ULONG phase = record_phase_begin(c->r, L"AddToSnapshotSet");
	for (ULONG i = 0; i < count && hr == S_OK; i++)
		hr = add_member(c, &luns[i]);
	if (hr == S_OK)
		hr = add_volume(c, s->volume_count - 1);
	if (hr == S_OK)
		*id = s->volumes[s->volume_count - 1].snapshot_id;
	else if (!given_up(c))
		take_back_volume(c, luns_before);
	return record_phase_end(c->r, phase, hr);
}

BOOL creation_supports(struct creation *c, const LAB_VOLUME_LUN *luns, ULONG count)
{
	HRESULT hr = new_volume(c);
	for (ULONG i = 0; i < count && hr == S_OK; i++)
		hr = add_member(c, &luns[i]);
	return hr == S_OK && choose_provider(c, 0) == S_OK;
}

void creation_do(struct creation *c)
{
	if (same_provider(c) != S_OK)
		return;
	if (do_snapshot_set(c) == S_OK)
		hand_over(c);
	else
		undo(c);
}

void creation_cancel(struct creation *c)
{
	InterlockedExchange(&c->cancelled, 1);
}
