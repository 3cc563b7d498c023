/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LUN resynchronization (AddSnapshotToRecoverySet, RecoverSet): the provider copies shadow LUNs back onto their
 * originals or onto other LUNs, inside the array, while this end waits on its IVssAsync.
 *
 * Invariants:
 * - A target that holds a volume nobody named is refused, unless the caller says VSS_RECOVERY_NO_VOLUME_CHECK.
 * - At the end a target has the identity that it had before (or its original's, VSS_RECOVERY_REVERT_IDENTITY_ALL)
 *   and no shadow copy flags; the shadow copy itself stays as it is.
 * - A set of several providers is theirs one after the other; a failure leaves the targets of those behind it alone.
 * - The IVssAsync is released once, whatever happens; the outcome is what QueryStatus said last.
 */
#include "lab/coordinator/sequence_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vsserror.h>

#define POLL_MS   200
#define LIMIT_MS  600000
#define CANCEL_MS 60000 /* for a cancelled resync to end */
#define OPTIONS   (VSS_RECOVERY_REVERT_IDENTITY_ALL | VSS_RECOVERY_NO_VOLUME_CHECK)

struct resync {
	struct record *r;
	const LAB_RESYNC *request;
	struct provider *p; /* one of the set's */
	struct shadow_set *set;
	struct port_scan *scan;
	size_t count, done;                            /* pairs; those that are copied */
	size_t luns[SET_MAX_LUNS];                     /* of set->luns: the sources */
	const struct port_disk *targets[SET_MAX_LUNS]; /* borrowed from scan */
	struct gpt_identity before[SET_MAX_LUNS];      /* of the targets */
	VDS_LUN_INFORMATION *from, *to;                /* owned, count each */
	HANDLE cancel;                                 /* owned; NULL: nobody can cancel it */
};

static const struct port_disk *find_original(const struct resync *x, size_t lun)
{
	for (size_t i = 0; i < x->scan->count; i++)
		if (!lun_info_difference(&x->scan->disks[i].info, &x->set->luns[lun].original))
			return &x->scan->disks[i];
	return NULL;
}

static HRESULT add_pair(struct resync *x, size_t lun, const struct port_disk *d, const LAB_RESYNC_TARGET *t)
{
	if (!d)
		return record_fail(x->r, VSS_E_MISSING_DISK,
			t->to_original ? L"the original %hs is not visible on this host"
				       : L"the target %hs is not visible on this host",
			t->to_original ? x->set->luns[lun].original.m_szSerialNumber : "LUN");
	for (size_t i = 0; i < x->count; i++) {
		if (x->luns[i] == lun && x->targets[i] == d)
			return S_OK; /* two volumes on one LUN */
		if (x->targets[i] == d)
			return record_fail(
				x->r, E_INVALIDARG, L"%ls is the target of two shadow LUNs", d->device);
	}
	if (x->count == SET_MAX_LUNS)
		return record_fail(x->r, VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED, L"too many LUNs");
	x->luns[x->count] = lun;
	x->targets[x->count++] = d;
	return S_OK;
}

static HRESULT add_snapshot(struct resync *x, const LAB_RESYNC_TARGET *t)
{
	int v = set_find_snapshot(x->set, &t->snapshot_id);
	if (v < 0)
		return record_fail(x->r, VSS_E_SNAPSHOT_NOT_IN_SET, L"the document has no such shadow copy");
	const struct set_volume *volume = &x->set->volumes[v];
	if (!t->to_original && volume->count != 1)
		return record_fail(x->r, VSS_E_VOLUME_NOT_SUPPORTED,
			L"volume %d lies on %u LUNs: it can go back to its originals only", v,
			(unsigned)volume->count);
	for (size_t k = 0; k < volume->count; k++) {
		size_t lun = x->set->members[volume->first + k];
		const struct port_disk *d = t->to_original ? find_original(x, lun)
					    : t->by_drive  ? port_find_drive(x->scan, t->number)
							   : port_find_lun(x->scan, t->number);
		HRESULT hr = add_pair(x, lun, d, t);
		if (hr != S_OK)
			return hr;
	}
	return S_OK;
}

static bool is_named(const struct resync *x, size_t volume)
{
	for (ULONG i = 0; i < x->request->count; i++)
		if (set_find_snapshot(x->set, &x->request->targets[i].snapshot_id) == (int)volume)
			return true;
	return false;
}

/* A volume of the set that lies on a LUN which is overwritten must have been named, too. */
static HRESULT check_volumes(struct resync *x)
{
	if (x->request->options & VSS_RECOVERY_NO_VOLUME_CHECK)
		return S_OK;
	for (size_t v = 0; v < x->set->volume_count; v++)
		for (size_t k = 0; k < x->set->volumes[v].count && !is_named(x, v); k++)
			for (size_t i = 0; i < x->count; i++)
				if (x->set->members[x->set->volumes[v].first + k] == x->luns[i])
					return record_fail(x->r, VSS_E_UNSELECTED_VOLUME,
						L"volume %u lies on %ls, too, and was not named", (unsigned)v,
						x->targets[i]->device);
	return S_OK;
}

static bool same_provider(const struct resync *x, size_t i, size_t j)
{
	return IsEqualGUID(set_lun_provider(x->set, x->luns[i]), set_lun_provider(x->set, x->luns[j]));
}

/* What is one provider's lies side by side afterwards, each provider where its first LUN was. */
static void group_by_provider(struct resync *x)
{
	for (size_t i = 1; i < x->count; i++) {
		size_t lun = x->luns[i], at = i;
		const struct port_disk *target = x->targets[i];
		for (size_t k = 0; k < i; k++)
			if (same_provider(x, k, i))
				at = k + 1;
		for (size_t k = i; k > at; k--) {
			x->luns[k] = x->luns[k - 1];
			x->targets[k] = x->targets[k - 1];
		}
		x->luns[at] = lun;
		x->targets[at] = target;
	}
}

static HRESULT resolve(struct resync *x)
{
	HRESULT hr = S_OK;
	if ((x->request->options & ~OPTIONS) || x->request->count == 0)
		return record_fail(x->r, x->request->count ? E_INVALIDARG : VSS_E_BAD_STATE,
			L"no shadow copy was added, or an option is unknown");
	for (ULONG i = 0; i < x->request->count && hr == S_OK; i++)
		hr = add_snapshot(x, &x->request->targets[i]);
	if (hr == S_OK)
		hr = check_volumes(x);
	if (hr != S_OK)
		return hr;
	group_by_provider(x);
	x->from = lun_info_alloc_array(x->count);
	x->to = lun_info_alloc_array(x->count);
	for (size_t i = 0; i < x->count; i++)
		if (!x->from || !x->to || !lun_info_copy(&x->from[i], &x->set->luns[x->luns[i]].shadow) ||
			!lun_info_copy(&x->to[i], &x->targets[i]->info))
			return record_fail(x->r, E_OUTOFMEMORY, L"out of memory");
	for (size_t i = 0; i < x->count && hr == S_OK; i++)
		hr = port_get_identity(x->targets[i], &x->before[i]);
	return hr == S_OK ? S_OK
			  : record_fail(x->r, VSS_E_UNEXPECTED, L"a target cannot be read (0x%08x)",
				    (unsigned)hr);
}

/* One question. Only answers that tell something new are recorded. */
static HRESULT query(struct resync *x, IVssAsync *async, HRESULT *state)
{
	INT percent = x->r->result->percent < 0 ? 0 : x->r->result->percent;
	INT before = x->r->result->percent;
	*state = VSS_S_ASYNC_PENDING;
	int64_t start = record_now_us(x->r);
	HRESULT hr = IVssAsync_QueryStatus(async, state, before < 0 ? NULL : &percent);
	if (before >= 0 && percent == before && *state == VSS_S_ASYNC_PENDING && hr == S_OK)
		return S_OK;
	x->r->result->percent = percent;
	ULONG call =
		record_call_begin(x->r, L"QueryStatus", L"state 0x%08x, %d %%", (unsigned)*state, percent);
	record_call_end(x->r, call, hr);
	if (call < x->r->result->call_count) {
		LAB_CALL *c = &x->r->result->calls[call];
		c->start_us = start;
		c->us = record_now_us(x->r) - start;
	}
	return hr;
}

static HRESULT cancel(struct resync *x, IVssAsync *async)
{
	ULONG call = record_call_begin(x->r, L"Cancel", L"");
	return record_call_end(x->r, call, IVssAsync_Cancel(async));
}

/* Until it has ended: VSS_S_ASYNC_FINISHED, _CANCELLED or the error. */
static HRESULT wait_for(struct resync *x, struct provider *p, IVssAsync *async)
{
	ULONGLONG begin = GetTickCount64(), limit = LIMIT_MS;
	HRESULT state = VSS_S_ASYNC_PENDING, hr = S_OK;
	bool asked = false;
	ULONG call = record_call_begin(x->r, L"Wait", L"%d ms at a time", POLL_MS);
	for (;;) {
		ULONGLONG passed = GetTickCount64() - begin;
		bool first = x->r->result->percent < 0;
		hr = query(x, async, &state);
		if (first && hr == S_OK && state == VSS_S_ASYNC_FINISHED)
			hr = query(x, async, &state); /* the first question asks for no percent */
		if (hr != S_OK || state != VSS_S_ASYNC_PENDING || passed > limit)
			break;
		if (!asked && x->cancel && WaitForSingleObject(x->cancel, 0) == WAIT_OBJECT_0) {
			asked = true;
			limit = passed + CANCEL_MS;
			hr = cancel(x, async);
		} else {
			HRESULT waited = IVssAsync_Wait(async, POLL_MS); /* tells of the waiting only */
			hr = FAILED(waited) ? waited : S_OK;
		}
		if (FAILED(hr))
			break;
	}
	provider_check(p, record_call_end(x->r, call, FAILED(hr) ? hr : S_OK));
	if (FAILED(hr))
		return hr;
	return state == VSS_S_ASYNC_PENDING ? HRESULT_FROM_WIN32(ERROR_TIMEOUT) : state;
}

/* The copy brought the shadow LUN's flags and identity with it. */
static HRESULT mend_targets(struct resync *x)
{
	HRESULT hr = S_OK;
	ULONG phase = record_phase_begin(x->r, L"MendTargets");
	port_rescan();
	struct port_scan *now = port_scan();
	for (size_t i = 0; now && i < x->done && hr == S_OK; i++) {
		const struct set_lun *l = &x->set->luns[x->luns[i]];
		const struct port_disk *d = port_find_drive(now, x->targets[i]->drive);
		const struct gpt_identity *want =
			x->request->options & VSS_RECOVERY_REVERT_IDENTITY_ALL ? &l->identity : &x->before[i];
		if (!d) {
			hr = record_fail(x->r, VSS_E_MISSING_DISK, L"%ls went away", x->targets[i]->device);
			break;
		}
		bool has_one =
			want->kind == d->table.kind && (want->kind == GPT_GPT || want->kind == GPT_MBR);
		hr = port_change(d, has_one ? want : NULL, GPT_SHADOW_BITS);
		if (hr == S_OK)
			hr = port_flush(d);
		if (hr != S_OK)
			record_fail(x->r, VSS_E_CANNOT_REVERT_DISKID,
				L"the partition table of %ls cannot be changed (0x%08x)", d->device,
				(unsigned)hr);
		port_look((struct port_disk *)d);
		report_lun(x->r, L"target", &x->to[i], d, -1, &l->shadow);
	}
	port_scan_free(now);
	return record_phase_end(x->r, phase, hr == S_OK ? S_OK : x->r->result->hr);
}

/* The pairs from first on, which are all of p's. */
static HRESULT run_part(struct resync *x, struct provider *p, size_t first, size_t count)
{
	IVssAsync *async = NULL;
	x->r->result->percent = -1;
	ULONG phase = record_phase_begin(x->r, L"ResyncLuns");
	ULONG call = record_call_begin(x->r, L"ResyncLuns", L"%u LUNs", (unsigned)count);
	HRESULT hr = IVssHardwareSnapshotProviderEx_ResyncLuns(
		p->ex, x->from + first, x->to + first, (DWORD)count, &async);
	provider_check(p, record_call_end(x->r, call, hr));
	HRESULT state = hr;
	if (hr == S_OK && !async)
		state = E_UNEXPECTED;
	else if (hr == S_OK && x->request->release_early)
		query(x, async, &state);
	else if (hr == S_OK)
		state = wait_for(x, p, async);
	if (async)
		IVssAsync_Release(async);
	if (state == VSS_S_ASYNC_FINISHED || (x->request->release_early && state == VSS_S_ASYNC_PENDING))
		return record_phase_end(x->r, phase, S_OK);
	/* RecoverSet documents E_NOTIMPL for a provider that does not do it. */
	HRESULT seen = state == E_NOTIMPL || state == VSS_S_ASYNC_CANCELLED
			       ? state
			       : provider_visible_error(state, false);
	record_fail(x->r, seen,
		state == VSS_S_ASYNC_CANCELLED
			? L"cancelled, as asked for; the target's content is undefined (0x%08x)"
		: state == E_NOTIMPL ? L"the provider does not resync LUNs (0x%08x)"
				     : L"the resync failed with 0x%08x",
		(unsigned)state);
	return record_phase_end(x->r, phase, seen);
}

static HRESULT run(struct resync *x)
{
	struct provider *of[SET_MAX_LUNS];
	HRESULT hr = S_OK;
	for (size_t i = 0; i < x->count; i++) {
		of[i] = load_lun_provider(x->r, x->p, x->set, x->luns[i]);
		if (!of[i])
			return x->r->result->hr;
		if (!of[i]->ex)
			return record_fail(x->r, VSS_E_LEGACY_PROVIDER,
				L"the provider offers no IVssHardwareSnapshotProviderEx");
	}
	for (size_t first = 0, count; first < x->count && hr == S_OK; first += count) {
		for (count = 1; first + count < x->count && of[first + count] == of[first];)
			count++;
		hr = run_part(x, of[first], first, count);
		x->done += hr == S_OK ? count : 0;
	}
	return hr;
}

void sequence_resync(struct record *r, const char *document, size_t len, const LAB_RESYNC *request)
{
	const char *why = NULL;
	struct resync *x = calloc(1, sizeof *x);
	struct shadow_set *s = set_from_document(document, len, &why);
	if (!x || !s) {
		record_fail(r, x ? VSS_E_INVALID_XML_DOCUMENT : E_OUTOFMEMORY,
			L"the document cannot be used: %hs", why && x ? why : "no memory");
	} else if (!s->transportable) {
		record_fail(
			r, VSS_E_NONTRANSPORTABLE_BCD, L"only transportable shadow copies can be resynced");
	} else {
		*x = (struct resync){
			.r = r, .request = request, .set = s, .p = load_provider(r, &s->provider_id)};
		r->result->set_id = s->id;
		r->result->context = s->context;
		r->result->transportable = s->transportable;
		x->cancel = request->cancel ? OpenEventW(SYNCHRONIZE, FALSE, request->cancel) : NULL;
		x->scan = x->p ? port_scan() : NULL;
		if (x->p && !x->scan)
			record_fail(r, E_OUTOFMEMORY, L"out of memory");
		if (x->scan && resolve(x) == S_OK)
			run(x);
		if (x->done && !request->release_early)
			mend_targets(x);
		report_snapshots(r, s);
		lun_info_free_array(x->from, x->count);
		lun_info_free_array(x->to, x->count);
		port_scan_free(x->scan);
		if (x->cancel)
			CloseHandle(x->cancel);
	}
	set_free(s);
	free(x);
}
