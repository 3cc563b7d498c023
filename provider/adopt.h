/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "umbra-vss adopt": a shadow LUN that was broken off its set without the provider's knowledge (BreakSnapshotSet,
 * vshadow -b and -bw) becomes an ordinary LUN of the array, as one that BreakSnapshotSetEx made read-write does by itself.
 */
#ifndef UMBRA_PROVIDER_ADOPT_H
#define UMBRA_PROVIDER_ADOPT_H

#include <wchar.h>
#include "provider/finding.h"

/* The words after "adopt". Exit code: 0 all that are named are ordinary LUNs, 1 one is not, 2 wrong usage. */
int adopt_run(int count, wchar_t **words);

/* For "check": those shadow LUNs of this host that VSS does not have as shadow copies any more. */
struct array_info;
void adopt_check(struct findings *f, const struct array_info *a);

#endif
