/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may change a program that the service manager starts as LocalSystem, and its registry keys: LocalSystem,
 * administrators, the TrustedInstaller, and the account that runs this. Anybody else could become LocalSystem so.
 */
#ifndef UMBRA_PROVIDER_PATH_RIGHTS_H
#define UMBRA_PROVIDER_PATH_RIGHTS_H

#include <stdbool.h>
#include <windows.h>

/* The file and its folder. S_OK: only those may change them; S_FALSE: others too; else why it cannot be told. */
HRESULT path_rights_private(const WCHAR *file);

/* The same of a key below HKEY_LOCAL_MACHINE. */
HRESULT path_rights_private_key(const WCHAR *key);

/* The rule itself: owner and DACL; self may be NULL. */
enum path_kind {
	PATH_FILE,
	PATH_FOLDER,
	PATH_KEY
};
bool path_rights_judge(PSID owner, const ACL *dacl, enum path_kind kind, PSID self);

/* Is this process an administrator's, elevated (or LocalSystem's)? At an ordinary prompt it is not. */
bool path_rights_is_administrator(void);

#endif
