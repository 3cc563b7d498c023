/* SPDX-License-Identifier: Apache-2.0 */
/* The service around the COM server. */
#ifndef UMBRA_PROVIDER_SERVICE_H
#define UMBRA_PROVIDER_SERVICE_H

/* Runs as the service when the service manager started us, else in the foreground until Ctrl+C (for
 * diagnosis). Returns the exit code of the process. */
int service_run(void);

#endif
