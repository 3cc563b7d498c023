/* SPDX-License-Identifier: Apache-2.0 */
/* The exported functions but CreateVssBackupComponents (vssapi.def gives them their names). */
#include "lab/vssapi/vssapi.h"

void WINAPI free_snapshot_properties(VSS_SNAPSHOT_PROP *prop);
HRESULT WINAPI is_volume_snapshotted(VSS_PWSZ volume, WINBOOL *present, LONG *capability);
HRESULT WINAPI should_block_revert(LPCWSTR volume, boolean *block);

void WINAPI free_snapshot_properties(VSS_SNAPSHOT_PROP *prop)
{
	if (prop)
		free_snapshot(prop);
}

/* Asks about snapshots of the system's software provider only: there is none. */
HRESULT WINAPI is_volume_snapshotted(VSS_PWSZ volume, WINBOOL *present, LONG *capability)
{
	struct volume v;
	if (!present || !capability)
		return E_POINTER;
	*present = FALSE;
	*capability = 0;
	return volume_find(volume, NULL, &v);
}

HRESULT WINAPI should_block_revert(LPCWSTR volume, boolean *block)
{
	struct volume v;
	if (!block)
		return E_POINTER;
	*block = FALSE;
	return volume_find(volume, NULL, &v);
}
