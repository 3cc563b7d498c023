/* SPDX-License-Identifier: Apache-2.0 */
/* The selftest as a requester, and as a client that gives nothing back. */
#include "lab/selftest/selftest.h"

#include <initguid.h>
#include <stdio.h>
#include <vsadmin.h>
#include <vswriter.h>
#include <vsbackup.h>
#include <vsserror.h>
#include "lab/coordinator/wine_rpc.h"

#define CREATE_NAME "?CreateVssBackupComponents@@YAJPEAPEAVIVssBackupComponents@@@Z"
#define OPERATIONS  100

typedef HRESULT(WINAPI *create_function)(IVssBackupComponents **out);

/* With a session in the coordinator; NULL: not to be had, as was printed. */
static IVssBackupComponents *components(void)
{
	IVssBackupComponents *x = NULL;
	HMODULE dll = LoadLibraryW(L"vssapi.dll");
	create_function create =
		dll ? (create_function)(void (*)(void))GetProcAddress(dll, CREATE_NAME) : NULL;
	HRESULT hr = create ? create(&x) : HRESULT_FROM_WIN32(ERROR_PROC_NOT_FOUND);
	if (SUCCEEDED(hr) && x)
		hr = IVssBackupComponents_InitializeForBackup(x, NULL);
	if (hr == S_OK && x)
		return x;
	printf("FAILED: no components: 0x%08x\n", (unsigned)hr);
	return NULL;
}

/* The references to x that are not the caller's, when an operation has just said that it ended. -1: it did not. */
static long left_by_operation(IVssBackupComponents *x)
{
	IVssAsync *async = NULL;
	HRESULT status = VSS_S_ASYNC_PENDING, hr = IVssBackupComponents_GatherWriterStatus(x, &async);
	if (hr != S_OK)
		return -1;
	IVssAsync_Wait(async, INFINITE);
	hr = IVssAsync_QueryStatus(async, &status, NULL);
	IVssBackupComponents_AddRef(x);
	long left = (long)IVssBackupComponents_Release(x) - 1;
	IVssAsync_Release(async);
	return hr == S_OK && status == VSS_S_ASYNC_FINISHED ? left : -1;
}

/* Who hears that an operation has ended may end the process: what it holds of the coordinator must have no other owner. */
int selftest_requester(void)
{
	IVssBackupComponents *x = components();
	unsigned failed = 0;
	for (unsigned i = 0; x && i < OPERATIONS; i++)
		failed += left_by_operation(x) != 0;
	if (failed)
		printf("FAILED: %u of %u operations still had the components when they said that they had ended\n",
			failed, OPERATIONS);
	if (!x)
		return 1;
	failed += IVssBackupComponents_Release(x) != 0;
	return failed ? 1 : 0;
}

/* One of each kind of object that the coordinator has for a client. */
static bool take_objects(void)
{
	IVssAdmin *admin = NULL;
	IVssEnumObject *list = NULL;
	return SUCCEEDED(CoInitializeEx(NULL, COINIT_MULTITHREADED)) &&
	       SUCCEEDED(wine_reach_coordinator(&IID_IVssAdmin, (void **)&admin)) &&
	       IVssAdmin_QueryProviders(admin, &list) == S_OK && components();
}

/* Ends as a program that is killed does, with 7. */
int selftest_leaves(void)
{
	if (!take_objects())
		return 1;
	TerminateProcess(GetCurrentProcess(), 7);
	return 1;
}

/* Says "held", and never ends. */
int selftest_holds(void)
{
	IVssAdmin *admin = NULL;
	HRESULT hr = CoInitializeEx(NULL, COINIT_MULTITHREADED);
	if (SUCCEEDED(hr))
		hr = wine_reach_coordinator(&IID_IVssAdmin, (void **)&admin);
	if (FAILED(hr)) {
		printf("FAILED: 0x%08x\n", (unsigned)hr);
		return 1;
	}
	puts("held");
	fflush(stdout);
	Sleep(INFINITE);
	return 0;
}
