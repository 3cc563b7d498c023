/* SPDX-License-Identifier: Apache-2.0 */
/* The provider's few settings, from HKLM\SOFTWARE\Umbra\Provider. Absent values and those that
 * are not understood give the default. */
#ifndef UMBRA_PROVIDER_SETTINGS_H
#define UMBRA_PROVIDER_SETTINGS_H

#include <stdint.h>
#include <windows.h>
#include "proto/umbra_proto.h"

/* CommitBudgetMs, 100–8000, default 5000. */
uint32_t settings_commit_budget_ms(void);
/* DefaultCopyKind, a string: "differential", "plex" or "array" (the default: UP_COPY_DEFAULT). */
enum up_copy_kind settings_copy_kind(void);
/* TraceFile; empty: none. */
void settings_trace_file(WCHAR out[MAX_PATH]);

/* The first value, from the n-th on, that is there and not understood: its number, its name and what it should be.
 * SETTINGS: there is none. */
#define SETTINGS 3
unsigned settings_fault(unsigned n, const WCHAR **name, const char **want);

#endif
