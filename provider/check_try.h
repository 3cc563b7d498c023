/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "umbra-vss check --lun": the LUN that the user names as Windows has it against what its array says, and a shadow copy
 * set of it that is prepared and given up, over COM and in the order of VSS's calls. Nothing is cut, and no I/O is held.
 */
#ifndef UMBRA_PROVIDER_CHECK_TRY_H
#define UMBRA_PROVIDER_CHECK_TRY_H

#include <stdbool.h>
#include <wchar.h>
#include "provider/finding.h"

#define CHECK_NO_DRIVE (~0u)

/* "3" or "PhysicalDrive3", with or without \\.\ before it. */
bool check_drive_parse(const wchar_t *word, unsigned *drive);

/* COM must be initialised. */
void check_try(struct findings *f, unsigned drive);

#endif
