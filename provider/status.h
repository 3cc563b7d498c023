/* SPDX-License-Identifier: Apache-2.0 */
/* "umbra-vss status": what is installed, registered and reachable. */
#ifndef UMBRA_PROVIDER_STATUS_H
#define UMBRA_PROVIDER_STATUS_H

/* Exit code: 0 when everything is in order, 1 when something needs attention. */
int status_show(void);

#endif
