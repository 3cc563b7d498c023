/* SPDX-License-Identifier: Apache-2.0 */
/* See memory.h. */
#include "provider/memory.h"

#include <windows.h>
#include "provider/eventlog.h"

/* The service keeps it (setup_service.c); in a token a privilege may be there and not be in force. */
static void enable_privilege(void)
{
	TOKEN_PRIVILEGES wanted = {.PrivilegeCount = 1};
	HANDLE token;

	if (!OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &token))
		return;
	wanted.Privileges[0].Attributes = SE_PRIVILEGE_ENABLED;
	if (LookupPrivilegeValueW(NULL, SE_INC_WORKING_SET_NAME, &wanted.Privileges[0].Luid))
		(void)AdjustTokenPrivileges(token, FALSE, &wanted, 0, NULL, NULL);
	CloseHandle(token);
}

void memory_allow_locking(size_t bytes)
{
	SIZE_T least, most;

	enable_privilege();
	if (!GetProcessWorkingSetSize(GetCurrentProcess(), &least, &most) ||
		!SetProcessWorkingSetSize(GetCurrentProcess(), least + bytes, most + bytes))
		eventlog_trace("the working set stays as it is: error %lu", GetLastError());
}

bool memory_lock(void *at, size_t bytes)
{
	if (VirtualLock(at, bytes))
		return true;
	eventlog_trace("%zu bytes are not locked in memory: error %lu", bytes, GetLastError());
	return false;
}

void memory_unlock(void *at, size_t bytes)
{
	(void)VirtualUnlock(at, bytes);
}
