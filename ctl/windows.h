/* SPDX-License-Identifier: Apache-2.0 */
/* What to type on a Windows server. */
#ifndef UMBRA_CTL_WINDOWS_H
#define UMBRA_CTL_WINDOWS_H

#include "ctl/ctl.h"

/* host: as host.add and host.show answer it. Returns the exit code. */
int windows_print(const struct invocation *in, const json_t *host);

#endif
