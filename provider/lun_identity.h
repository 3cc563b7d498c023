/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VDS_LUN_INFORMATION: building it from a LUN's id, recognising our LUNs in it, freeing it.
 *
 * Invariants:
 * - One builder serves GetTargetLuns and FillInLunInfo, so that both give the same bytes on any host.
 * - Every string, array and identifier is a CoTaskMem block of its own; who receives the structure frees it.
 * - A structure is changed wholly or not at all: on failure it is as it was.
 */
#ifndef UMBRA_PROVIDER_LUN_IDENTITY_H
#define UMBRA_PROVIDER_LUN_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>
#include <windows.h>
#include <ole2.h>
#include <vdslun.h>
#include "proto/identity.h"

/* Is this one of our LUNs? Then id is its identity. Looks at nothing but the structure. */
bool lun_identity_recognise(const VDS_LUN_INFORMATION *lun, uint8_t id[UP_ID_BYTES]);

/* Sets version, device type, strings, signature (GUID_NULL) and identifiers of *lun from id; what was there
 * is freed. Bus type and interconnects stay. False: out of memory, *lun is unchanged. */
bool lun_identity_rebuild(VDS_LUN_INFORMATION *lun, const uint8_t id[UP_ID_BYTES]);

/* Makes the identities of ids[0..count-1]; what is not identity comes from sources (may be NULL). NULL: out
 * of memory. The result is to be given to one of the two functions below. */
VDS_LUN_INFORMATION *lun_identity_build(
	const VDS_LUN_INFORMATION *sources, const uint8_t (*ids)[UP_ID_BYTES], unsigned count);
/* Moves them to targets (freeing what was there) and frees the array. */
void lun_identity_move(VDS_LUN_INFORMATION *targets, VDS_LUN_INFORMATION *built, unsigned count);
/* Frees them. */
void lun_identity_discard(VDS_LUN_INFORMATION *built, unsigned count);

/* Frees everything inside and zeroes the structure. */
void lun_identity_clear(VDS_LUN_INFORMATION *lun);

/* Do both say the same, interconnects and bus type excepted (VSS's comparison at import)? */
bool lun_identity_equal(const VDS_LUN_INFORMATION *a, const VDS_LUN_INFORMATION *b);

/* For tests: how memory is taken; NULL restores CoTaskMemAlloc. */
void lun_identity_set_allocator(void *(WINAPI *alloc)(SIZE_T));

#endif
