/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requester's work, each a request of its own: an IVssBackupComponents of vssapi.dll, called as a backup program
 * calls it, and released. What it did comes from the same object's ILabComponents.
 *
 * Each answers S_OK with a result, whose hr is what IVssBackupComponents said; or why vssapi.dll or the coordinator cannot be
 * reached. Results are never freed: the program ends soon.
 */
#ifndef LAB_REQUESTER_CLIENT_H
#define LAB_REQUESTER_CLIENT_H

#include <windows.h>
#include <vss.h>
#include "lab/requester/options.h"

HRESULT client_create(const struct options *o, LAB_RESULT **res);
HRESULT client_import(const struct options *o, const wchar_t *document, LAB_RESULT **res);
HRESULT client_resync(const struct options *o, const wchar_t *document, LAB_RESULT **res);
HRESULT client_list(LAB_RESULT **res);
HRESULT client_delete(const GUID *id, VSS_OBJECT_TYPE type, LONG flags, LAB_RESULT **res);
HRESULT client_break(const struct options *o, LAB_RESULT **res);
HRESULT client_expose(const struct options *o, LAB_RESULT **res); /* an empty name: no longer */
HRESULT client_scan(LAB_RESULT **res);
HRESULT client_unload(bool force, LAB_RESULT **res);
/* `each` for every provider; the outcome of Query. */
HRESULT client_providers(void (*each)(const VSS_PROVIDER_PROP *provider, void *arg), void *arg);

#endif
