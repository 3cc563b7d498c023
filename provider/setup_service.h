/* SPDX-License-Identifier: Apache-2.0 */
/* The entry in the service manager. */
#ifndef UMBRA_PROVIDER_SETUP_SERVICE_H
#define UMBRA_PROVIDER_SETUP_SERVICE_H

#include <stdbool.h>
#include <windows.h>

/* Creates the service, or points an existing one to this program. One that runs another program, or with replace
 * another version of it, is stopped. One that is being deleted is waited for. */
HRESULT setup_service_create(const WCHAR *program, bool replace);
/* Is it there? Then remembers what restore puts back: command line and kind of start. */
bool setup_service_remember(void);
/* Is what was remembered a service that runs this program? */
bool setup_service_runs(const WCHAR *program);
HRESULT setup_service_restore(void);
/* Stops it, and waits until its process is gone: it may have commands on the way that nothing can take back. Not there:
 * S_OK. It does not end: ERROR_SERVICE_REQUEST_TIMEOUT. */
HRESULT setup_service_stop(void);
/* Stops and deletes it. What does not end stays. Windows deletes it when the last handle to it is closed: where somebody
 * else's is open a service of this name cannot be made until then (ERROR_SERVICE_MARKED_FOR_DELETE). */
HRESULT setup_service_delete(void);
/* "running", "stopped", "not installed" …; never NULL. */
const char *setup_service_state(void);

#endif
