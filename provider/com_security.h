/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may call us and launch us: LocalSystem and administrators, locally. COM itself refuses everybody else
 * before a method runs, so methods need no impersonation.
 */
#ifndef UMBRA_PROVIDER_COM_SECURITY_H
#define UMBRA_PROVIDER_COM_SECURITY_H

#include <windows.h>

/* A list of ids.h as a self-relative descriptor (LocalFree) and its size in bytes. NULL: GetLastError tells. */
SECURITY_DESCRIPTOR *com_security_descriptor(const WCHAR *sddl, DWORD *size);

/* CoInitializeSecurity for the server: UMBRA_ACCESS_SDDL, packet privacy, no impersonation by us. */
HRESULT com_security_server(void);
/* For the set-up commands, which call VSS. */
HRESULT com_security_client(void);

#endif
