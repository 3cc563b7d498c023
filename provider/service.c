/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service: a COM local server in the multi-threaded apartment.
 *
 * It holds one reference to the process itself, so that COM never closes the door behind the last object: VSS
 * loads and unloads providers often. It never ends by itself: who activates a class while its service ends gets an error
 * from COM (CO_E_SERVER_EXEC_FAILURE), and VSS would lose a shadow copy to that.
 *
 * Invariants: the service manager hears a new checkpoint each CHECKPOINT_MS while the start or the end goes on, at most
 * PENDING_LIMIT_MS long; its states come in order, SERVICE_STOPPED last.
 */
#include "provider/service.h"

#include <stdbool.h>
#include <stdio.h>
#include <windows.h>
#include <objbase.h>
#include "events.h"
#include "provider/class_object.h"
#include "provider/com_security.h"
#include "provider/eventlog.h"
#include "provider/ids.h"
#include "provider/load_mark.h"
#include "provider/memory.h"
#include "provider/provider.h"
#include "provider/refusal.h"
#include "provider/settings.h"
#include "provider/version.h"

#define CHECKPOINT_MS    2000
#define HINT_MS          20000
#define PENDING_LIMIT_MS 90000 /* as setup_service.c waits, and before a shutdown Windows */
/* What the windows of a set over all arrays lock, and as much again for what Windows itself counts. */
#define LOCKED_BYTES (4u << 20)

static struct {
	SERVICE_STATUS_HANDLE status; /* NULL: in the foreground */
	HANDLE stop;                  /* manual reset */
	HANDLE stopped;               /* manual reset: the last state was reported */
	volatile bool shutdown;       /* of Windows: what is stopped need not be told of */
	int exit_code;
	CRITICAL_SECTION lock; /* guards what follows */
	DWORD state, checkpoint;
	ULONGLONG pending_since_ms;
} service;

static bool is_pending(DWORD state)
{
	return state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING;
}

/* Under the lock. */
static void tell(DWORD error)
{
	SERVICE_STATUS s = {.dwServiceType = SERVICE_WIN32_OWN_PROCESS, .dwCurrentState = service.state};

	if (service.state == SERVICE_RUNNING)
		s.dwControlsAccepted = SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_PRESHUTDOWN;
	if (is_pending(service.state)) {
		s.dwCheckPoint = ++service.checkpoint;
		s.dwWaitHint = HINT_MS;
	}
	if (error) {
		s.dwWin32ExitCode = ERROR_SERVICE_SPECIFIC_ERROR;
		s.dwServiceSpecificExitCode = error;
	}
	SetServiceStatus(service.status, &s);
}

static void report(DWORD state, DWORD error)
{
	if (!service.status)
		return;
	EnterCriticalSection(&service.lock);
	bool backwards = service.state == SERVICE_STOPPED ||
			 (service.state == SERVICE_STOP_PENDING && state == SERVICE_RUNNING);
	if (!backwards) {
		if (state != service.state)
			service.pending_since_ms = GetTickCount64();
		service.state = state;
		tell(error);
	}
	LeaveCriticalSection(&service.lock);
	if (state == SERVICE_STOPPED)
		SetEvent(service.stopped);
}

/* While a start or an end takes its time: that it goes on. One that hangs is not told of for ever. */
static DWORD WINAPI checkpoints(void *unused)
{
	(void)unused;
	while (WaitForSingleObject(service.stopped, CHECKPOINT_MS) == WAIT_TIMEOUT) {
		EnterCriticalSection(&service.lock);
		if (is_pending(service.state) &&
			GetTickCount64() - service.pending_since_ms < PENDING_LIMIT_MS)
			tell(0);
		LeaveCriticalSection(&service.lock);
	}
	return 0;
}

/* A crash is to be seen, not to be swallowed by COM. */
static void do_not_handle_exceptions(void)
{
	IGlobalOptions *options;

	if (FAILED(CoCreateInstance(&CLSID_GlobalOptions, NULL, CLSCTX_INPROC_SERVER, &IID_IGlobalOptions,
		    (void **)&options)))
		return;
	(void)IGlobalOptions_Set(options, COMGLB_EXCEPTION_HANDLING, COMGLB_EXCEPTION_DONOT_HANDLE);
	IGlobalOptions_Release(options);
}

/* Of the process before this one, which ended without a word, or of this one. */
static void tell_if_loaded(bool loaded, const char *what)
{
	if (loaded && !service.shutdown)
		eventlog_note(UMBRA_EVENT_ENDED_LOADED, what, NULL, NULL, NULL);
}

static HRESULT serve(void)
{
	static struct provider_context context = {
		.budget_ms = settings_commit_budget_ms, .copy_kind = settings_copy_kind};
	HRESULT hr = com_security_server();

	if (FAILED(hr))
		return hr;
	do_not_handle_exceptions();
	memory_allow_locking(LOCKED_BYTES);
	context.transport = transport_spti();
	context.client = array_client_create(context.transport);
	if (!context.client)
		return E_OUTOFMEMORY;
	tell_if_loaded(load_mark_is_dead(), "the process before this one ended");
	CoAddRefServerProcess();
	hr = class_object_register(&context);
	if (SUCCEEDED(hr))
		hr = class_object_resume();
	if (SUCCEEDED(hr)) {
		report(SERVICE_RUNNING, 0);
		eventlog_trace("umbra-vss %s serves", provider_version);
		if (!service.status) {
			puts("umbra-vss serves in the foreground; Ctrl+C ends it.");
			fflush(stdout);
		}
		WaitForSingleObject(service.stop, INFINITE);
		report(SERVICE_STOP_PENDING, 0);
		eventlog_trace("umbra-vss ends");
		tell_if_loaded(load_mark_is_loaded(), "the service was stopped");
	}
	class_object_revoke();
	provider_abort_all();
	/* Threads of a window that hangs may use the client still: the process's end frees it. */
	return hr;
}

static HRESULT set_up_and_serve(void)
{
	WCHAR trace_file[MAX_PATH];

	settings_trace_file(trace_file);
	if (!eventlog_start(trace_file))
		return E_OUTOFMEMORY;
	HRESULT hr = CoInitializeEx(NULL, COINIT_MULTITHREADED | COINIT_DISABLE_OLE1DDE);
	if (SUCCEEDED(hr)) {
		hr = serve();
		CoUninitialize();
	}
	eventlog_stop();
	return hr;
}

static DWORD WINAPI control(DWORD code, DWORD type, void *data, void *context)
{
	(void)type;
	(void)data;
	(void)context;
	switch (code) {
	case SERVICE_CONTROL_PRESHUTDOWN:
		service.shutdown = true;
		/* fall through */
	case SERVICE_CONTROL_STOP:
		report(SERVICE_STOP_PENDING, 0);
		SetEvent(service.stop);
		return NO_ERROR;
	case SERVICE_CONTROL_INTERROGATE:
		return NO_ERROR;
	default:
		return ERROR_CALL_NOT_IMPLEMENTED;
	}
}

static void WINAPI service_main(DWORD argc, WCHAR **argv)
{
	(void)argc;
	(void)argv;
	service.status = RegisterServiceCtrlHandlerExW(UMBRA_SERVICE_NAME, control, NULL);
	if (!service.status)
		return;
	report(SERVICE_START_PENDING, 0);
	HANDLE thread = CreateThread(NULL, 0, checkpoints, NULL, 0, NULL); /* without it only fewer words */
	HRESULT hr = set_up_and_serve();
	service.exit_code = FAILED(hr);
	report(SERVICE_STOPPED, FAILED(hr) ? (DWORD)hr : 0);
	if (thread)
		CloseHandle(thread);
}

static BOOL WINAPI on_ctrl_c(DWORD type)
{
	(void)type;
	SetEvent(service.stop);
	return TRUE;
}

int service_run(void)
{
	static WCHAR name[] = UMBRA_SERVICE_NAME;
	static const SERVICE_TABLE_ENTRYW table[] = {{name, service_main}, {NULL, NULL}};

	InitializeCriticalSection(&service.lock);
	service.stop = CreateEventW(NULL, TRUE, FALSE, NULL);
	service.stopped = CreateEventW(NULL, TRUE, FALSE, NULL);
	if (!service.stop || !service.stopped) {
		refusal_say("out of memory: free memory and try again.");
		return 1;
	}
	if (StartServiceCtrlDispatcherW(table))
		return service.exit_code;
	if (GetLastError() != ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) {
		refusal_say("the service manager refused us (error %lu).", GetLastError());
		return 1;
	}
	SetConsoleCtrlHandler(on_ctrl_c, TRUE);
	HRESULT hr = set_up_and_serve();
	if (FAILED(hr))
		refusal_say("COM refused to serve (0x%08lx). Run it as an administrator.", (unsigned long)hr);
	return FAILED(hr) ? 1 : 0;
}
