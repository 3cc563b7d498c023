/* SPDX-License-Identifier: Apache-2.0 */
/* What "umbra-vss copy" asks the arrays about its set, beside VSS: its label, and what it cost. */
#ifndef UMBRA_PROVIDER_COPY_ARRAY_H
#define UMBRA_PROVIDER_COPY_ARRAY_H

#include <stdbool.h>
#include <windows.h>
#include "provider/set_cost.h"

/* Tells each array of the set, which has its volumes already. Arrays that have no labels keep none. False: one did not take
 * it, and stderr says why. */
bool copy_tell_label(const GUID *set, const WCHAR *label);

/* What the set's provider told the arrays that it cost; of several arrays the longest of each. False: nothing was told. */
bool copy_ask_cost(const GUID *set, struct set_cost *out);

#endif
