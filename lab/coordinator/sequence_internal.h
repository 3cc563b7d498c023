/* SPDX-License-Identifier: Apache-2.0 */
/* What the files sequence*.c share. */
#ifndef LAB_SEQUENCE_INTERNAL_H
#define LAB_SEQUENCE_INTERNAL_H

#include "lab/coordinator/catalogue.h"
#include "lab/coordinator/lun_info.h"
#include "lab/coordinator/provider_host.h"
#include "lab/coordinator/scsi_port.h"
#include "lab/coordinator/sequence.h"

/* --- sequence.c --- */

/* One LUN into the result; d NULL: not visible here, pair NULL: none. */
void report_lun(struct record *r, const wchar_t *role, const VDS_LUN_INFORMATION *info,
	const struct port_disk *d, LONG volume, const VDS_LUN_INFORMATION *pair);

/* The set's provider, activated; NULL: the record says why. */
struct provider *load_provider(struct record *r, const GUID *id);

/* FillInLunInfo for a visible disk, over what its INQUIRY data gave. *out is to be freed whatever it returns.
 */
HRESULT fill_in_lun_info(struct record *r, struct provider *p, const struct port_disk *d,
	VDS_LUN_INFORMATION *out, BOOL *supported);

/* --- sequence_import.c --- */

/* LocateLuns, rescan, FillInLunInfo for each disk that arrives, match. S_OK, or what the requester sees; all
 * LUNs of the set are reported. */
HRESULT import_luns(struct record *r, struct provider *p, struct shadow_set *s);

#endif
