/* SPDX-License-Identifier: Apache-2.0 */
/* "umbra-vss orphans": shadow LUNs that nobody sees, and their deletion by explicit choice. */
#ifndef UMBRA_PROVIDER_ORPHANS_H
#define UMBRA_PROVIDER_ORPHANS_H

#include <stddef.h>
#include <wchar.h>

struct array_trouble;

/* The words after "orphans". Exit code: 0 none is there (or all named ones are gone), 1 some are, or it
 * failed, 2 wrong usage. */
int orphans_run(int count, wchar_t **words);

/* Why a request of a command failed, and what to do. */
void orphans_explain(const struct array_trouble *trouble, char *out, size_t cap_bytes);

#endif
