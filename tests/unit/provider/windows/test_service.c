/* SPDX-License-Identifier: Apache-2.0 */
/* The service as the service manager sees it: its states, what it accepts, how it ends. The service manager is played
 * here, and stricter than Wine's; so is what Windows lets a process lock in memory. */
#include <stdbool.h>
#include <windows.h>
#include <objbase.h>
#include "check.h"
#include "provider/memory.h"
#include "provider/service.h"

#define STATES        64
#define WAIT_MS       60000
#define DEFAULT_LEAST (50u * 4096) /* the minimum working set of a process that asked for nothing */
#define OVERHEAD      (8u * 4096)

static struct {
	LPSERVICE_MAIN_FUNCTIONW main;
	LPHANDLER_FUNCTION_EX handler;
	HANDLE runs, ends, stopped, third_checkpoint;
	CRITICAL_SECTION lock;
	SERVICE_STATUS states[STATES];
	unsigned count;
	SIZE_T least, locked;
	bool running;
	bool waited; /* it did what may take long before it had spoken to the service manager */
} scm;

static struct {
	unsigned secured, created, registered, resumed;
} com;

/* ---- what the service calls (see meson.build) ----------------------------------------------------- */

extern void *__wrap___imp_StartServiceCtrlDispatcherW, *__wrap___imp_RegisterServiceCtrlHandlerExW,
	*__wrap___imp_SetServiceStatus, *__wrap___imp_WaitForMultipleObjects,
	*__wrap___imp_SetProcessWorkingSetSize, *__wrap___imp_GetProcessWorkingSetSize,
	*__wrap___imp_VirtualLock, *__wrap___imp_VirtualUnlock;
extern DWORD(WINAPI *__real___imp_WaitForMultipleObjects)(DWORD, const HANDLE *, BOOL, DWORD);

static DWORD WINAPI main_thread(void *name)
{
	WCHAR *words[] = {name};

	scm.main(1, words);
	return 0;
}

static BOOL WINAPI dispatch(const SERVICE_TABLE_ENTRYW *table)
{
	scm.main = table->lpServiceProc;
	scm.waited = com.secured || com.created || com.registered;
	HANDLE thread = CreateThread(NULL, 0, main_thread, table->lpServiceName, 0, NULL);
	CHECK(thread && WaitForSingleObject(thread, WAIT_MS * 2) == WAIT_OBJECT_0);
	CloseHandle(thread);
	return TRUE;
}

static SERVICE_STATUS_HANDLE WINAPI take_handler(
	const WCHAR *name, LPHANDLER_FUNCTION_EX handler, void *context)
{
	(void)name;
	(void)context;
	scm.handler = handler;
	return (SERVICE_STATUS_HANDLE)&scm;
}

static BOOL WINAPI set_status(SERVICE_STATUS_HANDLE handle, SERVICE_STATUS *status)
{
	CHECK(handle == (SERVICE_STATUS_HANDLE)&scm);
	EnterCriticalSection(&scm.lock);
	scm.waited = scm.waited || (!scm.count && (com.secured || com.created || com.registered));
	CHECK(scm.count < STATES);
	scm.states[scm.count++] = *status;
	unsigned stopping = 0;
	for (unsigned i = 0; i < scm.count; i++)
		stopping += scm.states[i].dwCurrentState == SERVICE_STOP_PENDING;
	LeaveCriticalSection(&scm.lock);
	if (status->dwCurrentState == SERVICE_RUNNING) {
		scm.running = true;
		SetEvent(scm.runs);
	}
	if (status->dwCurrentState == SERVICE_STOPPED)
		SetEvent(scm.stopped);
	if (stopping)
		SetEvent(scm.ends);
	if (stopping >= 5)
		SetEvent(scm.third_checkpoint);
	return TRUE;
}

/* Waits of a bounded time, in which nothing happens, are over at once: an idle service has waited for long. */
static DWORD WINAPI wait_many(DWORD count, const HANDLE *handles, BOOL all, DWORD ms)
{
	return __real___imp_WaitForMultipleObjects(count, handles, all, ms == INFINITE ? INFINITE : 0);
}

static BOOL WINAPI get_working_set(HANDLE process, SIZE_T *least, SIZE_T *most)
{
	(void)process;
	*least = scm.least;
	*most = 345u * 4096;
	return TRUE;
}

static BOOL WINAPI set_working_set(HANDLE process, SIZE_T least, SIZE_T most)
{
	(void)process;
	CHECK(least <= most);
	scm.least = least;
	return TRUE;
}

static BOOL WINAPI lock(void *at, SIZE_T bytes)
{
	(void)at;
	if (scm.locked + bytes > scm.least - OVERHEAD) {
		SetLastError(ERROR_WORKING_SET_QUOTA);
		return FALSE;
	}
	scm.locked += bytes;
	return TRUE;
}

static BOOL WINAPI unlock(void *at, SIZE_T bytes)
{
	(void)at;
	scm.locked -= bytes;
	return TRUE;
}

/* ---- COM, whose order Wine does not mind ------------------------------------------------------------- */

extern HRESULT(WINAPI *__real___imp_CoInitializeSecurity)(PSECURITY_DESCRIPTOR, LONG,
	SOLE_AUTHENTICATION_SERVICE *, void *, DWORD, DWORD, void *, DWORD, void *);
extern HRESULT(WINAPI *__real___imp_CoCreateInstance)(REFCLSID, IUnknown *, DWORD, REFIID, void **);
extern HRESULT(WINAPI *__real___imp_CoRegisterClassObject)(REFCLSID, IUnknown *, DWORD, DWORD, DWORD *);
extern HRESULT(WINAPI *__real___imp_CoResumeClassObjects)(void);
extern void *__wrap___imp_CoInitializeSecurity, *__wrap___imp_CoCreateInstance,
	*__wrap___imp_CoRegisterClassObject, *__wrap___imp_CoResumeClassObjects;

static HRESULT WINAPI secure(PSECURITY_DESCRIPTOR sd, LONG count, SOLE_AUTHENTICATION_SERVICE *services,
	void *r1, DWORD level, DWORD impersonation, void *list, DWORD capabilities, void *r3)
{
	SECURITY_DESCRIPTOR_CONTROL control;
	BOOL present, defaulted;
	PSID owner = NULL, group = NULL;
	ACL *dacl = NULL;
	DWORD revision;

	if (com.secured++ || com.created || com.registered)
		return RPC_E_TOO_LATE;
	CHECK(IsValidSecurityDescriptor(sd) && GetSecurityDescriptorControl(sd, &control, &revision));
	CHECK(!(control & SE_SELF_RELATIVE)); /* COM takes the absolute form only */
	CHECK(GetSecurityDescriptorOwner(sd, &owner, &defaulted) && owner);
	CHECK(GetSecurityDescriptorGroup(sd, &group, &defaulted) && group);
	CHECK(GetSecurityDescriptorDacl(sd, &present, &dacl, &defaulted) && present && dacl);
	CHECK(level == RPC_C_AUTHN_LEVEL_PKT_PRIVACY && impersonation == RPC_C_IMP_LEVEL_IDENTIFY);
	return __real___imp_CoInitializeSecurity(
		sd, count, services, r1, level, impersonation, list, capabilities, r3);
}

static HRESULT WINAPI create_instance(REFCLSID clsid, IUnknown *outer, DWORD context, REFIID iid, void **out)
{
	com.created++;
	return __real___imp_CoCreateInstance(clsid, outer, context, iid, out);
}

static HRESULT WINAPI register_class(
	REFCLSID clsid, IUnknown *object, DWORD context, DWORD flags, DWORD *cookie)
{
	com.registered++;
	CHECK(com.secured == 1 && flags == (REGCLS_MULTIPLEUSE | REGCLS_SUSPENDED));
	return __real___imp_CoRegisterClassObject(clsid, object, context, flags, cookie);
}

static HRESULT WINAPI resume(void)
{
	com.resumed++;
	CHECK(com.registered == 1 && !scm.running); /* who activates it gets it before the service "runs" */
	return __real___imp_CoResumeClassObjects();
}

void *__wrap___imp_CoInitializeSecurity = secure;
void *__wrap___imp_CoCreateInstance = create_instance;
void *__wrap___imp_CoRegisterClassObject = register_class;
void *__wrap___imp_CoResumeClassObjects = resume;

void *__wrap___imp_StartServiceCtrlDispatcherW = dispatch;
void *__wrap___imp_RegisterServiceCtrlHandlerExW = take_handler;
void *__wrap___imp_SetServiceStatus = set_status;
void *__wrap___imp_WaitForMultipleObjects = wait_many;
void *__wrap___imp_GetProcessWorkingSetSize = get_working_set;
void *__wrap___imp_SetProcessWorkingSetSize = set_working_set;
void *__wrap___imp_VirtualLock = lock;
void *__wrap___imp_VirtualUnlock = unlock;

/* A path is dead: what is on it comes back only when Windows has given it up. */
void __wrap_provider_abort_all(void);

void __wrap_provider_abort_all(void)
{
	CHECK(WaitForSingleObject(scm.third_checkpoint, WAIT_MS) == WAIT_OBJECT_0);
}

/* ---- the tests -------------------------------------------------------------------------------------- */

static DWORD WINAPI run_thread(void *unused)
{
	(void)unused;
	return (DWORD)service_run();
}

static HANDLE start(void)
{
	scm.runs = CreateEventW(NULL, TRUE, FALSE, NULL);
	scm.ends = CreateEventW(NULL, TRUE, FALSE, NULL);
	scm.stopped = CreateEventW(NULL, TRUE, FALSE, NULL);
	scm.third_checkpoint = CreateEventW(NULL, TRUE, FALSE, NULL);
	InitializeCriticalSection(&scm.lock);
	scm.least = DEFAULT_LEAST;
	HANDLE thread = CreateThread(NULL, 0, run_thread, NULL, 0, NULL);
	CHECK(thread && WaitForSingleObject(scm.runs, WAIT_MS) == WAIT_OBJECT_0);
	return thread;
}

/* An activation before CoInitializeSecurity would have COM choose for the process, and ours come too late. */
static void com_is_secured_first_and_once(void)
{
	CHECK(com.secured == 1 && com.created > 0 && com.registered == 1 && com.resumed == 1);
}

/* Windows gives one up (1053) that has not called the dispatcher, or not told of its start, within 30 s: nothing comes first
 * that could wait for others. */
static void the_service_manager_hears_of_it_first(void)
{
	CHECK(!scm.waited && scm.states[0].dwCurrentState == SERVICE_START_PENDING &&
		scm.states[0].dwCheckPoint == 1 && scm.states[0].dwWaitHint >= 5000);
}

static void what_the_window_needs_can_be_locked(void)
{
	static char lanes[4][40 << 10], buffers[4][17 << 10];

	for (unsigned i = 0; i < 4; i++)
		CHECK(memory_lock(lanes[i], sizeof(lanes[i])) && memory_lock(buffers[i], sizeof(buffers[i])));
	for (unsigned i = 0; i < 4; i++) {
		memory_unlock(lanes[i], sizeof(lanes[i]));
		memory_unlock(buffers[i], sizeof(buffers[i]));
	}
	CHECK(scm.locked == 0);
}

/* Nobody has an object, and nobody comes. */
static void it_does_not_end_by_itself(void)
{
	CHECK(WaitForSingleObject(scm.ends, 1000) == WAIT_TIMEOUT);
}

static void it_hears_of_a_shutdown_before_others_do(void)
{
	const SERVICE_STATUS *running = NULL;

	for (unsigned i = 0; i < scm.count; i++)
		if (scm.states[i].dwCurrentState == SERVICE_RUNNING)
			running = &scm.states[i];
	CHECK(running && running->dwControlsAccepted == (SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_PRESHUTDOWN));
	CHECK(scm.handler(SERVICE_CONTROL_INTERROGATE, 0, NULL, NULL) == NO_ERROR);
	CHECK(scm.handler(SERVICE_CONTROL_PAUSE, 0, NULL, NULL) == ERROR_CALL_NOT_IMPLEMENTED);
	CHECK(scm.handler(SERVICE_CONTROL_PRESHUTDOWN, 0, NULL, NULL) == NO_ERROR);
}

/* The service manager gives one up that says nothing for longer than it hinted at. */
static void an_end_that_takes_long_is_told_of(void)
{
	DWORD checkpoint = 0, last = 0;

	CHECK(WaitForSingleObject(scm.stopped, WAIT_MS) == WAIT_OBJECT_0);
	for (unsigned i = 0; i < scm.count; i++) {
		const SERVICE_STATUS *s = &scm.states[i];
		CHECK(s->dwServiceType == SERVICE_WIN32_OWN_PROCESS);
		if (s->dwCurrentState == SERVICE_STOP_PENDING) {
			CHECK(s->dwCheckPoint > checkpoint && s->dwWaitHint >= 5000 &&
				!s->dwControlsAccepted);
			checkpoint = s->dwCheckPoint;
		}
		/* start pending 2, stop pending 3, running 4, stopped 1: never back to running */
		CHECK(!(last == SERVICE_STOP_PENDING && s->dwCurrentState == SERVICE_RUNNING) &&
			last != SERVICE_STOPPED);
		last = s->dwCurrentState;
	}
	CHECK(last == SERVICE_STOPPED && scm.states[scm.count - 1].dwWin32ExitCode == NO_ERROR);
}

int main(void)
{
	static const struct test tests[] = {
		TEST(the_service_manager_hears_of_it_first),
		TEST(com_is_secured_first_and_once),
		TEST(what_the_window_needs_can_be_locked),
		TEST(it_does_not_end_by_itself),
		TEST(it_hears_of_a_shutdown_before_others_do),
		TEST(an_end_that_takes_long_is_told_of),
	};
	HANDLE thread = start();

	run_tests(tests, sizeof(tests) / sizeof(tests[0]));
	CHECK(WaitForSingleObject(thread, WAIT_MS) == WAIT_OBJECT_0);
	return 0;
}
