/* SPDX-License-Identifier: Apache-2.0 */
/* What the files sequence*.c share. */
#ifndef LAB_SEQUENCE_INTERNAL_H
#define LAB_SEQUENCE_INTERNAL_H

#include "lab/coordinator/catalogue.h"
#include "lab/coordinator/lun_info.h"
#include "lab/coordinator/provider_host.h"
#include "lab/coordinator/scsi_port.h"
#include "lab/coordinator/sequence.h"
#include "lab/coordinator/vary.h"

/* --- sequence.c --- */

/* One LUN into the result; d NULL: not visible here, pair NULL: none. */
void report_lun(struct record *r, const wchar_t *role, const VDS_LUN_INFORMATION *info,
	const struct port_disk *d, LONG volume, const VDS_LUN_INFORMATION *pair);

/* The set's provider, activated; NULL: the record says why. */
struct provider *load_provider(struct record *r, const GUID *id);

/* The provider whose copy this LUN of the set is; p: one of the set's. NULL: the record says why. */
struct provider *load_lun_provider(
	struct record *r, struct provider *p, const struct shadow_set *s, size_t lun);

/* FillInLunInfo for a visible disk, over what its INQUIRY data gave. *out is to be freed whatever it returns.
 */
HRESULT fill_in_lun_info(struct record *r, struct provider *p, const struct port_disk *d,
	VDS_LUN_INFORMATION *out, BOOL *supported);

/* The visible disk that is this shadow LUN, asked about as VSS asks; NULL: not there. *info is then to be
 * freed. */
const struct port_disk *find_shadow(struct record *r, struct provider *p, const struct port_scan *scan,
	const VDS_LUN_INFORMATION *shadow, VDS_LUN_INFORMATION *info);

/* The catalogue's set; NULL: the record says that it is not there. */
struct shadow_set *known_set(struct record *r, const GUID *set_id);

/* The set and its shadow copies into the result. */
void report_snapshots(struct record *r, const struct shadow_set *s);

/* OnLunStateChange for each volume of the set, to the provider whose it is; p: one of the set's. A provider without that method (before 2008) cannot mask; of
 * what needs no work it is not told. Returns what the requester sees. */
HRESULT state_change(struct record *r, struct provider *p, const struct shadow_set *s, DWORD flags);

/* --- sequence_vary.c --- */

/* What is varied in the request that runs; seed 0 in it: nothing. */
const struct variation *variation_now(void);

/* AbortSnapshots from a thread of its own, a while after the start. */
struct interloper {
	IVssProviderCreateSnapshotSet *set;
	VSS_ID id;
	uint32_t after_us;
	HANDLE thread;
	HRESULT hr;
};
bool interloper_start(struct interloper *i, IVssProviderCreateSnapshotSet *set, VSS_ID id, uint32_t after_us);
HRESULT interloper_join(struct interloper *i); /* what AbortSnapshots answered */

/* --- sequence_import.c --- */

/* The disks that turned out to be shadow LUNs of a set. */
struct matching {
	struct port_scan *before;             /* what was visible before LocateLuns */
	struct port_disk found[SET_MAX_LUNS]; /* info member unused */
	bool have[SET_MAX_LUNS];
	size_t matched;
	char seen[PORT_MAX_DISKS][80]; /* arrived and asked about */
	size_t seen_count;
};

struct matching *matching_new(void); /* NULL: no memory */
void matching_free(struct matching *m);

/* p: one of the set's providers; each is asked for its own volumes, and of a disk that arrives until one knows it.
 * LocateLuns, rescan, FillInLunInfo for each disk that arrives, match; a disk that looks like its original gets an
 * identity of its own. S_OK, or what the requester sees. */
HRESULT locate_and_match(struct record *r, struct provider *p, struct shadow_set *s, struct matching *m);

/* Reports all LUNs of the set, and records it as imported when one was found. */
HRESULT keep_import(struct record *r, struct shadow_set *s, const struct matching *m);

/* Both, one after the other. */
HRESULT import_luns(struct record *r, struct provider *p, struct shadow_set *s);

/* --- sequence_recover.c --- */

#define RECOVERY_MARK     "umbra-lab recovered the set "
#define RECOVERY_LBA_GPT  1024 /* between the partition table and the first partition */
#define RECOVERY_FROM_END 64   /* on a LUN without GPT: so many blocks before its end */

/* OnLunStateChange(DO_MASK_LUNS) and a rescan, after which they must be gone. */
HRESULT mask_luns(struct record *r, struct provider *p, const struct shadow_set *s);

/* Auto-recovery, between PreFinalCommitSnapshots and PostFinalCommitSnapshots: the shadow LUNs become visible, the
 * lab's writer changes them, the provider hears of both ends; a transportable set is masked again. */
HRESULT recover(struct record *r, struct provider *p, struct shadow_set *s, struct matching *m);

#endif
