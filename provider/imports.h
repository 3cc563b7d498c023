/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long imports take: from LocateLuns until Windows has asked for the identity of the last of the set's disks
 * (FillInLunInfo, which VSS calls for each disk that arrives). The array of the set is told, and the Application log.
 *
 * Invariants:
 * - Bounded: the last IMPORTS_MAX LUNs that were located are known. All of it is diagnosis: what is lost is not told.
 * - Nobody waits for an array: a thread of its own tells it.
 */
#ifndef UMBRA_PROVIDER_IMPORTS_H
#define UMBRA_PROVIDER_IMPORTS_H

#include "provider/provider.h"

#define IMPORTS_MAX 256u

struct import_lun {
	uint8_t lun_id[UP_ID_BYTES], set_id[UP_ID_BYTES], array_id[UP_ID_BYTES];
};

/* LocateLuns, which came at begun_us, has made them visible. Several calls may be about one set. */
void imports_located(const struct provider_context *context, const struct import_lun *luns, unsigned count,
	uint64_t begun_us);
/* A disk of ours is there. */
void imports_arrived(const uint8_t lun_id[UP_ID_BYTES]);
/* The process ends: forgets what was located, and gives the threads that tell a moment. */
void imports_leave(void);

#endif
