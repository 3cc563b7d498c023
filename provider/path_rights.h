/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may change a program that the service manager starts as LocalSystem: LocalSystem, administrators, the
 * TrustedInstaller, and the account that runs this. Anybody else could become LocalSystem by replacing it.
 */
#ifndef UMBRA_PROVIDER_PATH_RIGHTS_H
#define UMBRA_PROVIDER_PATH_RIGHTS_H

#include <stdbool.h>
#include <windows.h>

/* The file and its folder. S_OK: only those may change them; S_FALSE: others too; else why it cannot be told. */
HRESULT path_rights_private(const WCHAR *file);

/* The rule itself: owner and DACL of a file or folder; self may be NULL. */
bool path_rights_judge(PSID owner, const ACL *dacl, bool is_folder, PSID self);

#endif
