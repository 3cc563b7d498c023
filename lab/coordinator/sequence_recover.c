/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Auto-recovery: after the commit VSS lets writers (or TxF) bring the data on the shadow LUNs into order. The lab's
 * writer puts one block there that says so and which set it was; sequence.h and lab/README.md say where.
 *
 * Invariant: however it ends, a shadow LUN of this set that is visible carries the shadow copy flags again.
 */
#include "lab/coordinator/sequence_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vsserror.h>

static uint64_t recovery_block(const struct port_disk *d)
{
	if (d->table.kind == GPT_GPT)
		return RECOVERY_LBA_GPT;
	return d->blocks > RECOVERY_FROM_END ? d->blocks - RECOVERY_FROM_END : 0;
}

/* Writes the record, makes it durable, reads it back. */
static HRESULT write_record(const struct port_disk *d, const struct shadow_set *s)
{
	char *block = calloc(2, d->block_bytes), *again = block + d->block_bytes;
	if (!block)
		return E_OUTOFMEMORY;
	snprintf(block, d->block_bytes, "%s%08lx", RECOVERY_MARK, (unsigned long)s->id.Data1);
	HRESULT hr = port_write_block(d, recovery_block(d), block);
	if (hr == S_OK)
		hr = port_flush(d);
	if (hr == S_OK)
		hr = port_read_block(d, recovery_block(d), again);
	if (hr == S_OK && memcmp(block, again, d->block_bytes) != 0)
		hr = HRESULT_FROM_WIN32(ERROR_CRC);
	free(block);
	return hr;
}

/* Read-only off, the record, the flags back. */
static HRESULT recover_lun(struct record *r, const struct port_disk *d, const struct shadow_set *s)
{
	struct gpt_state before;
	HRESULT hr = port_change(d, NULL, GPT_BIT_READ_ONLY);
	if (hr == S_OK)
		hr = write_record(d, s);
	HRESULT back = d->table.kind == GPT_GPT ? port_set_shadow_bits(d, &before) : S_OK;
	if (hr == S_OK)
		hr = back;
	if (hr != S_OK)
		return record_fail(r, VSS_E_AUTORECOVERY_FAILED,
			L"the writer could not recover %ls (0x%08x): a shadow LUN must be read-write on the array",
			d->device, (unsigned)hr);
	return S_OK;
}

/* After DO_MASK_LUNS and a rescan none of them may be there any more. */
static HRESULT check_masked(struct record *r, const struct shadow_set *s)
{
	HRESULT hr = S_OK;
	port_rescan();
	struct port_scan *scan = port_scan();
	for (size_t i = 0; scan && i < scan->count; i++)
		for (size_t k = 0; k < s->lun_count; k++)
			if (!lun_info_difference(&scan->disks[i].info, &s->luns[k].shadow))
				hr = record_fail(r, VSS_E_UNEXPECTED_PROVIDER_ERROR,
					L"%ls is visible after OnLunStateChange(DO_MASK_LUNS)",
					scan->disks[i].device);
	port_scan_free(scan);
	return hr;
}

HRESULT mask_luns(struct record *r, struct provider *p, const struct shadow_set *s)
{
	ULONG phase = record_phase_begin(r, L"MaskLuns");
	HRESULT hr = state_change(r, p, s, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS);
	if (hr == S_OK)
		hr = check_masked(r, s);
	return record_phase_end(r, phase, hr);
}

static HRESULT run_writer(struct record *r, struct provider *p, struct shadow_set *s, struct matching *m)
{
	HRESULT hr = state_change(r, p, s, VSS_ONLUNSTATECHANGE_NOTIFY_LUN_PRE_RECOVERY);
	for (size_t i = 0; i < s->lun_count && hr == S_OK; i++)
		hr = recover_lun(r, &m->found[i], s);
	if (hr == S_OK)
		hr = state_change(r, p, s, VSS_ONLUNSTATECHANGE_NOTIFY_LUN_POST_RECOVERY);
	return hr;
}

HRESULT recover(struct record *r, struct provider *p, struct shadow_set *s, struct matching *m)
{
	HRESULT hr = locate_and_match(r, p, s, m);
	if (hr != S_OK)
		return hr;
	ULONG phase = record_phase_begin(r, L"AutoRecovery");
	hr = record_phase_end(r, phase, run_writer(r, p, s, m));
	if (hr == S_OK && s->transportable)
		hr = mask_luns(r, p, s);
	return hr;
}
