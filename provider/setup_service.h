/* SPDX-License-Identifier: Apache-2.0 */
/* The entry in the service manager. */
#ifndef UMBRA_PROVIDER_SETUP_SERVICE_H
#define UMBRA_PROVIDER_SETUP_SERVICE_H

#include <stdbool.h>
#include <windows.h>

/* Creates the service, or points an existing one to this program. One that runs another program, or with replace
 * another version of it, is stopped. */
HRESULT setup_service_create(const WCHAR *program, bool replace);
/* Is it there? Then remembers what restore puts back: command line and kind of start. */
bool setup_service_remember(void);
HRESULT setup_service_restore(void);
/* Stops and deletes it. Not there: S_OK. It does not end: ERROR_SERVICE_REQUEST_TIMEOUT, and it stays. */
HRESULT setup_service_delete(void);
/* "running", "stopped", "not installed" …; never NULL. */
const char *setup_service_state(void);

#endif
