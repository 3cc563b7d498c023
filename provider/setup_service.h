/* SPDX-License-Identifier: Apache-2.0 */
/* The entry in the service manager. */
#ifndef UMBRA_PROVIDER_SETUP_SERVICE_H
#define UMBRA_PROVIDER_SETUP_SERVICE_H

#include <windows.h>

/* Creates the service, or points an existing one to this program and stops it so that the new one is used. */
HRESULT setup_service_create(const WCHAR *program);
/* Stops and deletes it. Not there: S_OK. */
HRESULT setup_service_delete(void);
/* "running", "stopped", "not installed" …; never NULL. */
const char *setup_service_state(void);

#endif
