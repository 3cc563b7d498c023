/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "umbra-vss set": copy sets without VSS, asked of the array in the band, with the rights that this host has there. For
 * applications that make themselves ready for a copy and need nothing but a set at one instant (SQL Server 2022).
 *
 * Invariants:
 * - What VSS knows is VSS's: sets that were made through it are listed when asked for, and neither restored from nor
 *   deleted here.
 * - create says "done" when the set is durable; else nothing of it is left, or it says that it does not know.
 */
#ifndef UMBRA_PROVIDER_SETS_H
#define UMBRA_PROVIDER_SETS_H

#include <wchar.h>

/* The words after "set". Exit code: 0 done, 1 failed, 2 wrong usage. */
int sets_run(int count, wchar_t **words);

#endif
