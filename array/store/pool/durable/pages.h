/* SPDX-License-Identifier: Apache-2.0 */
/* LMDB's pages, looked at before LMDB looks. */
#ifndef UMBRA_POOL_PAGES_H
#define UMBRA_POOL_PAGES_H

#include <stdbool.h>
#include <stdint.h>
#include "array/util/fault.h"

/* Reads data.mdb in `dir`, which nobody has open, and never through a mapping. `max_bytes`: what it may have at
 * most. Not `deep`: of a large file the leaves of the large tables are left out. 0; -EUCLEAN: it is damaged;
 * or what the system says; each with a text that says what to do. Blocks. */
int pool_pages_check(const char *dir, uint64_t max_bytes, bool deep, struct fault *fault);

#endif
