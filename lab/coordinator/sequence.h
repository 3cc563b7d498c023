/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VSS's part: the order in which a provider is called to create, import, break, resync and delete shadow copies, and
 * what happens on the disks around it. Each function does one request and fills the record.
 *
 * Invariants, as VSS has them:
 * - No AbortSnapshots before EndPrepareSnapshots was called: a set that fails while volumes are added is just
 *   dropped. From EndPrepareSnapshots until GetTargetLuns has succeeded, every failure is followed by
 *   AbortSnapshots, once.
 * - However a creation ends, the writers run again and the flags on the originals are as they were before.
 * - The writers are held for HOLD_LIMIT_MS at most, from the hold of the first volume on, and frozen for FREEZE_LIMIT_MS:
 *   past either the set is a failure, whatever the provider returned.
 * - What VSS is free to do is chosen by the seed of the request (vary.h); without one it is as README.md has it.
 */
#ifndef LAB_SEQUENCE_H
#define LAB_SEQUENCE_H

#include <windows.h>
#include "lab/coordinator/record.h"

#define HOLD_LIMIT_MS   10000
#define FREEZE_LIMIT_MS 60000

/* At the begin of each request: reads the settings Seed and StaggerMs. */
void variation_begin(struct record *r);

void sequence_scan(struct record *r);

/* A set is made step by step, for one requester at a time (session.c). The record and the request live as long as it does.
 * Between the steps other requests may run. */
struct creation;
/* NULL: the record says why. Where the request tells its LUNs, the seed may have another set of them begun before, and given
 * up. */
struct creation *creation_start(struct record *r, const LAB_CREATE *request);
const GUID *creation_id(const struct creation *c);
/* One volume: AreLunsSupported, BeginPrepareSnapshot. One that fails is not in the set, which goes on without it. */
HRESULT creation_add(struct creation *c, const char *name, const LAB_VOLUME_LUN *luns, ULONG count, GUID *id);
/* AreLunsSupported alone; c is for nothing else afterwards. */
BOOL creation_supports(struct creation *c, const LAB_VOLUME_LUN *luns, ULONG count);
void creation_do(
	struct creation *c); /* from EndPrepareSnapshots to the import; what came of it is in the record */
void creation_cancel(
	struct creation *c); /* from any thread: no further call but AbortSnapshots, while it can be undone */
/* One that was not done is dropped: before EndPrepareSnapshots VSS says nothing to the provider. */
void creation_free(struct creation *c);

void sequence_import(struct record *r, const char *document, size_t len, LONG flags);
void sequence_list(struct record *r);
/* BreakSnapshotSetEx; break_flags are VSS_BREAKEX_FLAG_… */
void sequence_break(struct record *r, const GUID *set_id, LONG break_flags, LONG flags);
/* AddSnapshotToRecoverySet for each target, then RecoverSet. */
void sequence_resync(struct record *r, const char *document, size_t len, const LAB_RESYNC *request);
/* ExposeSnapshot; an empty name takes it back. */
void sequence_expose(struct record *r, const GUID *snapshot_id, const wchar_t *name);
/* LAB_ONE_SNAPSHOT in flags: id is a shadow copy's. */
void sequence_delete(struct record *r, const GUID *id, LONG flags);

#endif
