/* SPDX-License-Identifier: Apache-2.0 */
/* See surface.h. */
#include <winsock2.h>
#include "lab/coordinator/surface.h"

#include <stdio.h>
#include <string.h>
#include <vsserror.h>
#include "lab/coordinator/hold_client.h"
#include "lab/coordinator/settings.h"

static HRESULT request(const char *line)
{
	char answer[HOLD_LINE_BYTES];
	DWORD port = settings_dword(L"VolumePort", 0);
	if (port == 0)
		return S_OK;
	uintptr_t s = hold_connect((WORD)port);
	if (!s)
		return VSS_E_UNEXPECTED;
	BOOL good = hold_ask(s, line, answer) && strcmp(answer, "OK") == 0;
	closesocket((SOCKET)s);
	return good ? S_OK : VSS_E_UNEXPECTED;
}

HRESULT surface_mount(LONG device, int lun)
{
	char line[64];
	snprintf(line, sizeof line, "MOUNT %ld %d\n", (long)device, lun);
	return request(line);
}

void surface_unmount(LONG device)
{
	char line[64];
	snprintf(line, sizeof line, "UMOUNT %ld\n", (long)device);
	if (device)
		request(line);
}
