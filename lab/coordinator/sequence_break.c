/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BreakSnapshotSetEx: a set that was imported here becomes ordinary disks, which VSS no longer knows.
 *
 * Invariants:
 * - Everything that can be refused is refused before anything changes: a LUN of the set that is not visible, identities
 *   that are to be reverted while an original is present.
 * - The catalogue forgets the set last, so that a break that failed can be tried again.
 */
#include "lab/coordinator/sequence_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vsserror.h>

#define BREAK_FLAGS                                                                                          \
	(VSS_BREAKEX_FLAG_MASK_LUNS | VSS_BREAKEX_FLAG_MAKE_READ_WRITE |                                     \
		VSS_BREAKEX_FLAG_REVERT_IDENTITY_ALL | VSS_BREAKEX_FLAG_REVERT_IDENTITY_NONE)

struct breaking {
	struct record *r;
	struct provider *p; /* one of the set's */
	struct shadow_set *set;
	struct port_scan *scan;
	const struct port_disk *disks[SET_MAX_LUNS]; /* of set->luns, borrowed from scan */
	bool revert[SET_MAX_LUNS];
	LONG flags;
};

static HRESULT find_luns(struct breaking *b)
{
	for (size_t i = 0; i < b->set->lun_count; i++) {
		VDS_LUN_INFORMATION info = {0};
		struct provider *p = load_lun_provider(b->r, b->p, b->set, i);
		if (!p)
			return b->r->result->hr;
		b->disks[i] = find_shadow(b->r, p, b->scan, &b->set->luns[i].shadow, &info);
		lun_info_free(&info);
		if (!b->disks[i])
			return record_fail(b->r, VSS_E_MISSING_DISK,
				L"the shadow LUN %hs is not visible on this host: only imported sets can be broken",
				b->set->luns[i].shadow.m_szSerialNumber);
	}
	return S_OK;
}

/* Is a disk here that has the identity the shadow LUN's original had? */
static bool original_is_present(const struct breaking *b, size_t lun)
{
	const struct set_lun *l = &b->set->luns[lun];
	for (size_t i = 0; i < b->scan->count; i++) {
		const struct port_disk *d = &b->scan->disks[i];
		if (d == b->disks[lun])
			continue;
		if (!lun_info_difference(&d->info, &l->original) ||
			(d->table.kind == l->identity.kind &&
				memcmp(d->table.disk_id, l->identity.disk_id, sizeof d->table.disk_id) == 0))
			return true;
	}
	return false;
}

/* Which LUNs get their original's identity: all or none, where a flag says so; without one, those whose original is
 * not here. */
static HRESULT choose_reverts(struct breaking *b)
{
	for (size_t i = 0; i < b->set->lun_count; i++) {
		const struct gpt_identity *identity = &b->set->luns[i].identity;
		if ((identity->kind != GPT_GPT && identity->kind != GPT_MBR) ||
			(b->flags & VSS_BREAKEX_FLAG_REVERT_IDENTITY_NONE))
			continue;
		bool present = original_is_present(b, i);
		if (present && (b->flags & VSS_BREAKEX_FLAG_REVERT_IDENTITY_ALL))
			return record_fail(b->r, VSS_E_BREAK_REVERT_ID_FAILED,
				L"%ls cannot have its original's identity: the original is on this host, too; mask it first",
				b->disks[i]->device);
		b->revert[i] = !present;
	}
	return S_OK;
}

static HRESULT change_disks(struct breaking *b, bool writable)
{
	uint64_t clear = writable ? GPT_SHADOW_BITS : GPT_BIT_SHADOW_COPY;
	ULONG phase = record_phase_begin(b->r, L"RevertIdentity");
	HRESULT hr = S_OK;
	for (size_t i = 0; i < b->set->lun_count && hr == S_OK; i++) {
		if (b->disks[i]->table.kind == GPT_NONE && !b->revert[i])
			continue;
		hr = port_change(b->disks[i], b->revert[i] ? &b->set->luns[i].identity : NULL, clear);
		if (hr != S_OK)
			record_fail(b->r, b->revert[i] ? VSS_E_BREAK_REVERT_ID_FAILED : VSS_E_UNEXPECTED,
				L"the partition table of %ls cannot be changed (0x%08x)", b->disks[i]->device,
				(unsigned)hr);
	}
	return record_phase_end(b->r, phase, hr == S_OK ? S_OK : b->r->result->hr);
}

/* The provider hears of read-write before it becomes so ("will be converted"); masking is last, for the tables must be
 * written before. */
static HRESULT do_break(struct breaking *b, bool later)
{
	bool tell = (b->flags & VSS_BREAKEX_FLAG_MAKE_READ_WRITE) != 0;
	HRESULT hr = find_luns(b);
	if (hr == S_OK)
		hr = choose_reverts(b);
	if (hr == S_OK && tell)
		hr = state_change(b->r, b->p, b->set, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE);
	if (hr == S_OK)
		hr = change_disks(b, tell || later);
	for (size_t i = 0; i < b->set->lun_count && hr == S_OK; i++)
		hr = port_flush(b->disks[i]);
	for (size_t i = 0; i < b->set->lun_count && hr == S_OK; i++) {
		struct port_disk *d = (struct port_disk *)b->disks[i];
		port_look(d);
		report_lun(b->r, L"shadow", &b->set->luns[i].shadow, d, -1, &b->set->luns[i].original);
	}
	if (hr == S_OK && (b->flags & VSS_BREAKEX_FLAG_MASK_LUNS))
		hr = mask_luns(b->r, b->p, b->set);
	if (hr != S_OK)
		return record_fail(b->r, VSS_E_UNEXPECTED, L"a disk failed (0x%08x)", (unsigned)hr);
	return catalogue_remove(&b->set->id)
		       ? S_OK
		       : record_fail(b->r, VSS_E_UNEXPECTED, L"the catalogue's file cannot be removed");
}

void sequence_break(struct record *r, const GUID *set_id, LONG break_flags, LONG flags)
{
	const LONG both = VSS_BREAKEX_FLAG_REVERT_IDENTITY_ALL | VSS_BREAKEX_FLAG_REVERT_IDENTITY_NONE;
	r->result->set_id = *set_id;
	if ((break_flags & ~BREAK_FLAGS) || (break_flags & both) == both) {
		record_fail(r, E_INVALIDARG, L"the break flags 0x%lx are unknown or exclude each other",
			(unsigned long)break_flags);
		return;
	}
	struct breaking *b = calloc(1, sizeof *b);
	struct shadow_set *s = b ? known_set(r, set_id) : NULL;
	if (s) {
		ULONG phase = record_phase_begin(r, L"Break");
		*b = (struct breaking){
			.r = r, .set = s, .flags = break_flags, .p = load_provider(r, &s->provider_id)};
		b->scan = b->p ? port_scan() : NULL;
		HRESULT hr = b->scan ? do_break(b, (flags & LAB_WRITABLE_LATER) != 0)
				     : record_fail(r, E_OUTOFMEMORY, L"out of memory");
		record_phase_end(r, phase, hr);
		port_scan_free(b->scan);
	} else if (!b) {
		record_fail(r, E_OUTOFMEMORY, L"out of memory");
	}
	if (flags & LAB_UNLOAD_AFTER)
		providers_unload_all(false, r);
	set_free(s);
	free(b);
}
