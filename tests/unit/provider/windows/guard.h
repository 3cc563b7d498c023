/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A heap under which mistakes do not pass: what the linker's --wrap leads to instead of malloc and CoTaskMemAlloc (see
 * meson.build). Every block ends at a page that cannot be touched and begins behind marked bytes; a freed block becomes such
 * a page itself and is not used again for long. So an overrun, a use after free, a second free, a free by the wrong
 * family's function or of what is no block ends the test at once; what is not freed is counted.
 */
#ifndef UMBRA_TESTS_PROVIDER_GUARD_H
#define UMBRA_TESTS_PROVIDER_GUARD_H

#include <stdbool.h>
#include <windows.h>

/* Blocks of both families that are in use. */
LONG guard_live(void);

/* From now on the allocation after the next n fails, once, whoever makes it. */
void guard_fail_after(LONG n);
/* No failure from now on. True: there was one. */
bool guard_fail_end(void);

/* For tests: called at every allocation (false) and every free (true). NULL: off. */
extern void (*guard_watch)(bool is_free);

#endif
