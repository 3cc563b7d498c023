/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that a requester starts around a shadow copy, and what it tells them. */
#ifndef LAB_REQUESTER_PROGRAM_H
#define LAB_REQUESTER_PROGRAM_H

#include <windows.h>
#include <stdbool.h>
#include "lab/requester/options.h"

/* Runs a Windows program or a .cmd and waits for it. `aside`: what it says goes to stderr, for stdout is JSON. NULL: it
 * ended 0; else what is wrong. */
const char *program_run(const wchar_t *path, bool aside);

/* What vshadow does after a set was made: -script (a .cmd that sets the ids as variables), -exec, -wait. The exit code. */
int program_after_create(const struct options *o, const LAB_RESULT *res);

#endif
