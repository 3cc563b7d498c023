/* SPDX-License-Identifier: Apache-2.0 */
/* Keys below HKEY_LOCAL_MACHINE, as set-up makes and removes them. */
#ifndef UMBRA_PROVIDER_SETUP_REGISTRY_H
#define UMBRA_PROVIDER_SETUP_REGISTRY_H

#include <stdbool.h>
#include <windows.h>

/* The key is made when it is not there. */
HRESULT registry_create(const WCHAR *key);
HRESULT registry_set(const WCHAR *key, const WCHAR *name, DWORD type, const void *data, DWORD size);
HRESULT registry_set_text(const WCHAR *key, const WCHAR *name, DWORD type, const WCHAR *text);
/* Gives the key UMBRA_KEY_SDDL: administrators own it, LocalSystem and administrators write, users read, whatever its parent says. */
HRESULT registry_protect(const WCHAR *key);
bool registry_exists(const WCHAR *key);
/* With all below it. Not there: S_OK. */
HRESULT registry_delete(const WCHAR *key);
/* Only when there is nothing in it. */
HRESULT registry_delete_empty(const WCHAR *key);

#endif
