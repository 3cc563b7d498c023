/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access checks of COM that Wine leaves out: what RPCSS asks of a class's AppID before it activates the class for
 * somebody, and who may read a registry key.
 *
 * The lists are read as the documentation has them ("Access Control Lists for COM", [MS-COMA] 2.2.2.21.1):
 * - bit 1 stands in every entry; an entry with nothing else is of the old format and means all rights; a list that mixes
 *   the formats, an entry without bit 1, a descriptor without owner or group are invalid: nobody gets anything;
 * - a launch list: 2 to start the process, 8 to activate in one that runs. An access list: 2 to call.
 * - AppID without a list: HKLM\Software\Microsoft\Ole, Default…Permission; else what Windows has by default.
 */
#ifndef LAB_COM_RIGHTS_H
#define LAB_COM_RIGHTS_H

#include <stdbool.h>
#include <windows.h>

#define COM_LAUNCH_LOCAL   2u
#define COM_ACTIVATE_LOCAL 8u
#define COM_CALL_LOCAL     2u

enum com_account {
	COM_SYSTEM,
	COM_ADMINISTRATOR, /* elevated, at the console */
	COM_USER,
	COM_LOCAL_SERVICE,
	COM_NETWORK_SERVICE,
	COM_ACCOUNTS
};

const char *com_account_name(enum com_account who);

/* sd: absolute or self-relative. All of the rights, or false. */
bool com_list_gives(PSECURITY_DESCRIPTOR sd, enum com_account who, DWORD rights);
/* The same by the rules of a registry key: one that is not protected has what is handed down as well. */
bool key_list_gives(PSECURITY_DESCRIPTOR sd, enum com_account who, DWORD rights);
/* False also when the key is not there. */
bool key_gives(const wchar_t *path_in_hklm, enum com_account who, DWORD rights);

/* S_OK, or what CoCreateInstance answers: E_ACCESSDENIED, REGDB_E_CLASSNOTREG. runs: whether the class's service does. */
HRESULT com_may_activate(const CLSID *clsid, enum com_account who, bool runs);
/* S_OK, or what a method call answers: E_ACCESSDENIED. */
HRESULT com_may_call(const CLSID *clsid, enum com_account who);
/* Whether the service that the class's AppID names runs; false: it has none, too. */
bool com_service_runs(const CLSID *clsid);

#endif
