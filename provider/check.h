/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "umbra-vss check": the preflight. Looks at everything that a shadow copy will need, before one is made, and says how to
 * mend what is wrong. Changes nothing; the service is started once, as VSS would start it. With --lun a set is prepared on that
 * LUN, and given up (check_try.h).
 */
#ifndef UMBRA_PROVIDER_CHECK_H
#define UMBRA_PROVIDER_CHECK_H

#include <stdbool.h>
#include <wchar.h>
#include "provider/finding.h"

/* The words after "check". Exit code: 0 all is well, 1 something is wrong, 2 wrong usage. */
int check_run(int count, wchar_t **words);

/* All of it, and COM before; false: that is not to be had. */
bool check_all(struct findings *f);
/* Windows, rights, service, COM, event source, settings, VSS, SAN policy. COM must be initialised. */
void check_system(struct findings *f);
/* Arrays, their paths, page 83 of all disks. */
void check_arrays(struct findings *f);

#endif
