/* SPDX-License-Identifier: Apache-2.0 */
/* See com_security.h. */
#include "provider/com_security.h"

#include <objbase.h>
#include <sddl.h>
#include <stdlib.h>
#include "provider/ids.h"

SECURITY_DESCRIPTOR *com_security_descriptor(const WCHAR *sddl, DWORD *size)
{
	PSECURITY_DESCRIPTOR sd = NULL;
	ULONG bytes = 0;

	if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, SDDL_REVISION_1, &sd, &bytes))
		return NULL;
	*size = bytes;
	return sd;
}

static HRESULT last_error(void)
{
	DWORD error = GetLastError();

	return error ? HRESULT_FROM_WIN32(error) : E_FAIL;
}

/* CoInitializeSecurity wants the absolute form; all parts in one block after the descriptor. */
static SECURITY_DESCRIPTOR *make_absolute(SECURITY_DESCRIPTOR *relative)
{
	DWORD sd_size = 0, dacl_size = 0, sacl_size = 0, owner_size = 0, group_size = 0;

	MakeAbsoluteSD(relative, NULL, &sd_size, NULL, &dacl_size, NULL, &sacl_size, NULL, &owner_size, NULL,
		&group_size);
	DWORD sd_room = (sd_size + 7) & ~7u, dacl_room = (dacl_size + 7) & ~7u,
	      owner_room = (owner_size + 7) & ~7u;
	char *block = calloc(1, (size_t)sd_room + dacl_room + owner_room + group_size);
	if (!block || !sd_size)
		return (SECURITY_DESCRIPTOR *)block;
	char *dacl = block + sd_room, *owner = dacl + dacl_room, *group = owner + owner_room;
	if (!MakeAbsoluteSD(relative, (PSECURITY_DESCRIPTOR)block, &sd_size, (PACL)dacl, &dacl_size, NULL,
		    &sacl_size, (PSID)owner, &owner_size, (PSID)group, &group_size)) {
		free(block);
		return NULL;
	}
	return (SECURITY_DESCRIPTOR *)block;
}

HRESULT com_security_server(void)
{
	DWORD size;
	SECURITY_DESCRIPTOR *relative = com_security_descriptor(UMBRA_ACCESS_SDDL, &size);

	if (!relative)
		return last_error();
	SECURITY_DESCRIPTOR *absolute = make_absolute(relative);
	HRESULT hr =
		absolute ? CoInitializeSecurity(absolute, -1, NULL, NULL, RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
				   RPC_C_IMP_LEVEL_IDENTIFY, NULL, EOAC_SECURE_REFS | EOAC_DISABLE_AAA, NULL)
			 : last_error();
	free(absolute);
	LocalFree(relative);
	return hr;
}

HRESULT com_security_client(void)
{
	return CoInitializeSecurity(NULL, -1, NULL, NULL, RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
		RPC_C_IMP_LEVEL_IDENTIFY, NULL, EOAC_NONE, NULL);
}
