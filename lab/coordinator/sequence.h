/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VSS's part: the order in which a provider is called to create, import and delete a shadow copy set, and
 * what happens on the disks around it. Each function does one request of ILabRequester and fills the record.
 *
 * Invariants, as VSS has them:
 * - No AbortSnapshots before EndPrepareSnapshots was called: a set that fails while volumes are added is just
 *   dropped. From EndPrepareSnapshots until GetTargetLuns has succeeded, every failure is followed by
 *   AbortSnapshots, once.
 * - However a creation ends, the writers run again and the flags on the originals are as they were before.
 * - CommitSnapshots that takes longer than HOLD_LIMIT_MS is a failure, whatever it returned.
 */
#ifndef LAB_SEQUENCE_H
#define LAB_SEQUENCE_H

#include <windows.h>
#include "lab/coordinator/record.h"

#define HOLD_LIMIT_MS 10000

void sequence_scan(struct record *r);
void sequence_create(struct record *r, const LAB_CREATE *request);
void sequence_import(struct record *r, const char *document, size_t len, LONG flags);
void sequence_list(struct record *r);
void sequence_delete(struct record *r, const GUID *set_id, LONG flags);

#endif
