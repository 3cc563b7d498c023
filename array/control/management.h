/* SPDX-License-Identifier: Apache-2.0 */
/* The management without its socket, for the fuzzer and the unit tests. */
#ifndef UMBRA_CONTROL_MANAGEMENT_H
#define UMBRA_CONTROL_MANAGEMENT_H

#include <stddef.h>
#include "array/control/control.h"

#define MGMT_MESSAGE_MAX_BYTES 65536

/* One line as a connection would see it; the answer (one line, malloc'ed) or NULL for none. Only methods that end at
 * once are answered. */
char *management_answer(struct management *m, const char *line, size_t len);
struct management *management_headless(const struct management_options *options);

#endif
