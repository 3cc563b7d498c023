/* SPDX-License-Identifier: Apache-2.0 */
/* See path_rights.h. Entries that deny are not counted: one that allows too much is wrong,
 * whatever another one denies. */
#include "provider/path_rights.h"

#include <stdio.h>
#include <string.h>
#include <aclapi.h>

#define PATH_CHARS 1024
/* Enough to change the contents, or to put another file in its place. */
#define CHANGES_ANY    (GENERIC_ALL | GENERIC_WRITE | WRITE_DAC | WRITE_OWNER | DELETE)
#define CHANGES_FILE   (CHANGES_ANY | FILE_WRITE_DATA | FILE_APPEND_DATA)
#define CHANGES_FOLDER (CHANGES_ANY | FILE_ADD_FILE | FILE_DELETE_CHILD)
#define CHANGES_KEY    (CHANGES_ANY | KEY_SET_VALUE | KEY_CREATE_SUB_KEY | KEY_CREATE_LINK)

/* S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464 */
static bool is_trusted_installer(PSID sid)
{
	static const DWORD parts[] = {80, 956008885, 3418522649, 1831038044, 1853292631, 2271478464};
	static const SID_IDENTIFIER_AUTHORITY nt = {SECURITY_NT_AUTHORITY};

	if (*GetSidSubAuthorityCount(sid) != 6 ||
		memcmp(GetSidIdentifierAuthority(sid), &nt, sizeof(nt)) != 0)
		return false;
	for (DWORD i = 0; i < 6; i++)
		if (*GetSidSubAuthority(sid, i) != parts[i])
			return false;
	return true;
}

static bool is_trusted(PSID sid, PSID self)
{
	return IsWellKnownSid(sid, WinLocalSystemSid) || IsWellKnownSid(sid, WinBuiltinAdministratorsSid) ||
	       (self && EqualSid(sid, self)) || is_trusted_installer(sid);
}

bool path_rights_judge(PSID owner, const ACL *dacl, enum path_kind kind, PSID self)
{
	static const DWORD changes_of[] = {
		[PATH_FILE] = CHANGES_FILE, [PATH_FOLDER] = CHANGES_FOLDER, [PATH_KEY] = CHANGES_KEY};
	DWORD changes = changes_of[kind];

	if (!dacl || !owner || !is_trusted(owner, self)) /* no DACL: everybody may do everything */
		return false;
	for (DWORD i = 0; i < dacl->AceCount; i++) {
		ACCESS_ALLOWED_ACE *ace;
		if (!GetAce((ACL *)(uintptr_t)dacl, i, (void **)&ace))
			return false;
		if (ace->Header.AceType != ACCESS_ALLOWED_ACE_TYPE || ace->Header.AceFlags & INHERIT_ONLY_ACE)
			continue;
		if ((ace->Mask & changes) && !is_trusted(&ace->SidStart, self))
			return false;
	}
	return true;
}

static HRESULT judge(WCHAR *path, enum path_kind kind, PSID self)
{
	PSECURITY_DESCRIPTOR sd = NULL;
	PSID owner = NULL;
	ACL *dacl = NULL;
	DWORD error = GetNamedSecurityInfoW(path, kind == PATH_KEY ? SE_REGISTRY_KEY : SE_FILE_OBJECT,
		OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner, NULL, &dacl, NULL, &sd);

	if (error != ERROR_SUCCESS)
		return HRESULT_FROM_WIN32(error);
	bool private = path_rights_judge(owner, dacl, kind, self);
	LocalFree(sd);
	return private ? S_OK : S_FALSE;
}

struct self {
	union {
		TOKEN_USER user;
		BYTE bytes[256];
	} u;
	PSID sid; /* in it; NULL: not known */
};

static void who_am_i(struct self *self)
{
	HANDLE token;
	DWORD size;

	self->sid = NULL;
	if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token))
		return;
	if (GetTokenInformation(token, TokenUser, &self->u, sizeof(self->u), &size))
		self->sid = self->u.user.User.Sid;
	CloseHandle(token);
}

HRESULT path_rights_private(const WCHAR *file)
{
	WCHAR path[PATH_CHARS];
	struct self self;

	if (wcslen(file) >= PATH_CHARS)
		return HRESULT_FROM_WIN32(ERROR_FILENAME_EXCED_RANGE);
	who_am_i(&self);
	wcscpy_s(path, PATH_CHARS, file);
	HRESULT hr = judge(path, PATH_FILE, self.sid);
	WCHAR *end = wcsrchr(path, L'\\');
	if (hr != S_OK || !end)
		return hr;
	*end = L'\0';
	return judge(path, PATH_FOLDER, self.sid);
}

HRESULT path_rights_private_key(const WCHAR *key)
{
	WCHAR path[PATH_CHARS];
	struct self self;

	if (_snwprintf(path, PATH_CHARS, L"MACHINE\\%ls", key) >= PATH_CHARS)
		return HRESULT_FROM_WIN32(ERROR_FILENAME_EXCED_RANGE);
	who_am_i(&self);
	return judge(path, PATH_KEY, self.sid);
}

bool path_rights_is_administrator(void)
{
	SID_IDENTIFIER_AUTHORITY nt = {SECURITY_NT_AUTHORITY};
	PSID admins = NULL;
	BOOL member = FALSE;

	if (!AllocateAndInitializeSid(
		    &nt, 2, SECURITY_BUILTIN_DOMAIN_RID, DOMAIN_ALIAS_RID_ADMINS, 0, 0, 0, 0, 0, 0, &admins))
		return false;
	if (!CheckTokenMembership(NULL, admins, &member))
		member = FALSE;
	FreeSid(admins);
	return member;
}
