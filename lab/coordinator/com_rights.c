/* SPDX-License-Identifier: Apache-2.0 */
/* See com_rights.h. */
#include "lab/coordinator/com_rights.h"

#include <objbase.h>
#include <sddl.h>
#include <stdio.h>
#include <wchar.h>

#define RIGHTS_EXECUTE 1u
#define RIGHTS_NEW     0x1Eu /* local and remote, execute and activate */
#define OLE_KEY        L"Software\\Microsoft\\Ole"
/* Windows' own: administrators, SYSTEM and who is logged on at the machine; SELF stands for the server's account. */
#define DEFAULT_LAUNCH L"O:BAG:BAD:(A;;0x1f;;;BA)(A;;0x1f;;;SY)(A;;0x1f;;;IU)"
#define DEFAULT_ACCESS L"O:BAG:BAD:(A;;0x7;;;SY)(A;;0x7;;;BA)"
/* What every key below HKLM\Software hands down on Windows; Wine hands nothing down. */
#define HANDED_DOWN L"D:(A;;KA;;;SY)(A;;KA;;;BA)(A;;KR;;;BU)"
#define LIST_CAP    4096

/* The SIDs in a token of the account that allow something. */
static const struct {
	const char *name;
	const wchar_t *sids[7];
} accounts[COM_ACCOUNTS] = {
	{"SYSTEM", {L"S-1-5-18", L"S-1-5-32-544", L"S-1-1-0", L"S-1-5-11"}},
	{"administrator", {L"S-1-5-21-1-2-3-500", L"S-1-5-32-544", L"S-1-5-32-545", L"S-1-1-0", L"S-1-5-11",
				  L"S-1-5-4"}},
	{"user", {L"S-1-5-21-1-2-3-1001", L"S-1-5-32-545", L"S-1-1-0", L"S-1-5-11", L"S-1-5-4"}},
	{"LocalService", {L"S-1-5-19", L"S-1-5-32-545", L"S-1-1-0", L"S-1-5-11", L"S-1-5-6"}},
	{"NetworkService", {L"S-1-5-20", L"S-1-5-32-545", L"S-1-1-0", L"S-1-5-11", L"S-1-5-6"}},
};

const char *com_account_name(enum com_account who)
{
	return accounts[who].name;
}

static bool token_has(enum com_account who, PSID sid)
{
	bool has = false;
	for (int i = 0; i < 7 && accounts[who].sids[i] && !has; i++) {
		PSID own = NULL;
		has = ConvertStringSidToSidW(accounts[who].sids[i], &own) && EqualSid(own, sid);
		LocalFree(own);
	}
	return has;
}

/* The n-th entry of a list when it is one that allows or denies by a mask and a SID, and counts here. */
static ACCESS_ALLOWED_ACE *entry_at(ACL *list, DWORD n)
{
	ACCESS_ALLOWED_ACE *ace = NULL;
	if (!GetAce(list, n, (void **)&ace) || (ace->Header.AceFlags & INHERIT_ONLY_ACE) ||
		(ace->Header.AceType != ACCESS_ALLOWED_ACE_TYPE &&
			ace->Header.AceType != ACCESS_DENIED_ACE_TYPE))
		return NULL;
	return ace;
}

/* In the order of the entries, as AccessCheck walks them. com: an entry of the old format means all. */
static bool walk(ACL *list, enum com_account who, DWORD rights, bool com)
{
	for (DWORD i = 0; i < list->AceCount && rights; i++) {
		ACCESS_ALLOWED_ACE *ace = entry_at(list, i);
		if (!ace || !token_has(who, (PSID)&ace->SidStart))
			continue;
		DWORD mask = ace->Mask;
		if (com && !(mask & RIGHTS_NEW))
			mask = RIGHTS_NEW;
		if (ace->Header.AceType == ACCESS_DENIED_ACE_TYPE && (mask & rights))
			return false;
		if (ace->Header.AceType == ACCESS_ALLOWED_ACE_TYPE)
			rights &= ~mask;
	}
	return rights == 0;
}

static bool com_list_is_valid(ACL *list)
{
	bool old_format = false, new_format = false;
	for (DWORD i = 0; i < list->AceCount; i++) {
		ACCESS_ALLOWED_ACE *ace = entry_at(list, i);
		if (!ace)
			continue;
		if (!(ace->Mask & RIGHTS_EXECUTE))
			return false;
		if (ace->Mask & RIGHTS_NEW)
			new_format = true;
		else
			old_format = true;
	}
	return !(old_format && new_format);
}

bool com_list_gives(PSECURITY_DESCRIPTOR sd, enum com_account who, DWORD rights)
{
	BOOL present = FALSE, defaulted;
	PSID owner = NULL, group = NULL;
	ACL *list = NULL;
	if (!IsValidSecurityDescriptor(sd) || !GetSecurityDescriptorOwner(sd, &owner, &defaulted) || !owner ||
		!GetSecurityDescriptorGroup(sd, &group, &defaulted) || !group ||
		!GetSecurityDescriptorDacl(sd, &present, &list, &defaulted))
		return false;
	if (!present || !list)
		return true;
	return com_list_is_valid(list) && walk(list, who, rights, true);
}

static bool list_gives(PSECURITY_DESCRIPTOR sd, enum com_account who, DWORD rights)
{
	BOOL present = FALSE, defaulted;
	ACL *list = NULL;
	if (!IsValidSecurityDescriptor(sd) || !GetSecurityDescriptorDacl(sd, &present, &list, &defaulted))
		return false;
	return !present || !list || walk(list, who, rights, false);
}

bool key_list_gives(PSECURITY_DESCRIPTOR sd, enum com_account who, DWORD rights)
{
	SECURITY_DESCRIPTOR_CONTROL control = 0;
	PSECURITY_DESCRIPTOR above = NULL;
	DWORD revision;
	bool gives = list_gives(sd, who, rights);
	if (gives || !GetSecurityDescriptorControl(sd, &control, &revision) || (control & SE_DACL_PROTECTED))
		return gives;
	gives = ConvertStringSecurityDescriptorToSecurityDescriptorW(
			HANDED_DOWN, SDDL_REVISION_1, &above, NULL) &&
		list_gives(above, who, rights);
	LocalFree(above);
	return gives;
}

bool key_gives(const wchar_t *path_in_hklm, enum com_account who, DWORD rights)
{
	static BYTE bytes[LIST_CAP];
	DWORD size = sizeof bytes;
	HKEY key;
	if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, path_in_hklm, 0, READ_CONTROL, &key) != ERROR_SUCCESS)
		return false;
	LSTATUS rc = RegGetKeySecurity(key, DACL_SECURITY_INFORMATION, (PSECURITY_DESCRIPTOR)bytes, &size);
	RegCloseKey(key);
	return rc == ERROR_SUCCESS && key_list_gives((PSECURITY_DESCRIPTOR)bytes, who, rights);
}

static bool read_text(const wchar_t *path, const wchar_t *name, wchar_t *out, DWORD chars)
{
	DWORD bytes = chars * sizeof *out;
	return RegGetValueW(HKEY_LOCAL_MACHINE, path, name, RRF_RT_REG_SZ, NULL, out, &bytes) ==
	       ERROR_SUCCESS;
}

/* The keys of the class and of its AppID; app_key is empty when it has none. */
static void keys_of(const CLSID *clsid, wchar_t class_key[128], wchar_t app_key[128])
{
	wchar_t text[64];
	StringFromGUID2(clsid, text, 64);
	_snwprintf(class_key, 128, L"Software\\Classes\\CLSID\\%ls", text);
	app_key[0] = 0;
	if (read_text(class_key, L"AppID", text, 64))
		_snwprintf(app_key, 128, L"Software\\Classes\\AppID\\%ls", text);
}

static bool registry_list_gives(const CLSID *clsid, const wchar_t *name, const wchar_t *default_name,
	const wchar_t *otherwise, enum com_account who, DWORD rights)
{
	static BYTE bytes[LIST_CAP];
	wchar_t class_key[128], app_key[128];
	DWORD size = sizeof bytes;
	PSECURITY_DESCRIPTOR sd = NULL;
	keys_of(clsid, class_key, app_key);
	bool there = app_key[0] && RegGetValueW(HKEY_LOCAL_MACHINE, app_key, name, RRF_RT_REG_BINARY, NULL,
					   bytes, &size) == ERROR_SUCCESS;
	if (!there) {
		size = sizeof bytes;
		there = RegGetValueW(HKEY_LOCAL_MACHINE, OLE_KEY, default_name, RRF_RT_REG_BINARY, NULL,
				bytes, &size) == ERROR_SUCCESS;
	}
	if (there)
		return com_list_gives((PSECURITY_DESCRIPTOR)bytes, who, rights);
	bool gives =
		ConvertStringSecurityDescriptorToSecurityDescriptorW(otherwise, SDDL_REVISION_1, &sd, NULL) &&
		com_list_gives(sd, who, rights);
	LocalFree(sd);
	return gives;
}

HRESULT com_may_activate(const CLSID *clsid, enum com_account who, bool runs)
{
	wchar_t class_key[128], app_key[128];
	keys_of(clsid, class_key, app_key);
	if (!key_gives(class_key, COM_SYSTEM, KEY_READ))
		return REGDB_E_CLASSNOTREG;
	/* RPCSS runs as NetworkService, and reads them itself. */
	if (!key_gives(class_key, COM_NETWORK_SERVICE, KEY_READ) ||
		(app_key[0] && !key_gives(app_key, COM_NETWORK_SERVICE, KEY_READ)))
		return E_ACCESSDENIED;
	DWORD rights = COM_ACTIVATE_LOCAL | (runs ? 0 : COM_LAUNCH_LOCAL);
	return registry_list_gives(
		       clsid, L"LaunchPermission", L"DefaultLaunchPermission", DEFAULT_LAUNCH, who, rights)
		       ? S_OK
		       : E_ACCESSDENIED;
}

HRESULT com_may_call(const CLSID *clsid, enum com_account who)
{
	return registry_list_gives(clsid, L"AccessPermission", L"DefaultAccessPermission", DEFAULT_ACCESS,
		       who, COM_CALL_LOCAL)
		       ? S_OK
		       : E_ACCESSDENIED;
}

bool com_service_runs(const CLSID *clsid)
{
	wchar_t class_key[128], app_key[128], name[256];
	SERVICE_STATUS status = {0};
	keys_of(clsid, class_key, app_key);
	if (!app_key[0] || !read_text(app_key, L"LocalService", name, 256))
		return false;
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE service = manager ? OpenServiceW(manager, name, SERVICE_QUERY_STATUS) : NULL;
	bool runs =
		service && QueryServiceStatus(service, &status) && status.dwCurrentState == SERVICE_RUNNING;
	if (service)
		CloseServiceHandle(service);
	if (manager)
		CloseServiceHandle(manager);
	return runs;
}
