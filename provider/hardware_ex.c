/* SPDX-License-Identifier: Apache-2.0 */
/* What IVssHardwareSnapshotProviderEx adds: state changes of shadow LUNs, resynchronisation. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "events.h"
#include "provider/eventlog.h"
#include "provider/lun_identity.h"
#include "provider/provider_object.h"
#include "provider/result.h"

/* "Not supported, reserved for future use", says the documentation of this method and of OnReuseLuns; Microsoft's sample
 * answers the same. So VSS learns what is possible from AreLunsSupported, whose answer depends on the array. */
HRESULT WINAPI hw_GetProviderCapabilities(IVssHardwareSnapshotProviderEx *iface, ULONGLONG *mask)
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
	if (err < 0 || provider_ask_lun(p, array_id, UP_OP_UNMAP, id, &trouble) < 0)
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
HRESULT WINAPI hw_OnLunStateChange(IVssHardwareSnapshotProviderEx *iface, VDS_LUN_INFORMATION *shadows,
	VDS_LUN_INFORMATION *originals, DWORD count, DWORD flags)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	const char *call = "OnLunStateChange";
	enum cs_result result;

	(void)originals;
	if (!shadows || !count || count > SET_LUNS_MAX)
		return provider_answer(call, CS_INVALID_ARGUMENT);
	uint8_t(*ids)[UP_ID_BYTES] = provider_recognise_all(shadows, count, CS_INVALID_ARGUMENT, &result);
	if (!ids)
		return provider_answer(call, result);
	for (DWORD i = 0; i < count && (flags & VSS_ONLUNSTATECHANGE_DO_MASK_LUNS); i++) {
		enum cs_result one = mask(p, call, ids[i]);
		if (result == CS_OK && one != CS_OK) /* the method has no other codes; the event is queued */
			result = one == CS_OUT_OF_MEMORY ? one : CS_VETO;
	}
	if (result == CS_OK)
		record_state_change(call, ids[0], count, flags);
	free(ids);
	return provider_answer(call, result);
}

HRESULT WINAPI hw_ResyncLuns(IVssHardwareSnapshotProviderEx *iface, VDS_LUN_INFORMATION *sources,
	VDS_LUN_INFORMATION *targets, DWORD count, IVssAsync **async)
{
	(void)iface;
	if (async)
		*async = NULL;
	if (!sources || !targets || !count || !async)
		return E_INVALIDARG;
	return E_NOTIMPL;
}

HRESULT WINAPI hw_OnReuseLuns(IVssHardwareSnapshotProviderEx *iface, VDS_LUN_INFORMATION *shadows,
	VDS_LUN_INFORMATION *originals, DWORD count)
{
	(void)iface;
	(void)shadows;
	(void)originals;
	(void)count;
	eventlog_trace("OnReuseLuns: reserved");
	return E_NOTIMPL; /* as GetProviderCapabilities */
}
