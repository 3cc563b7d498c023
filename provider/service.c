/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service: a COM local server in the multi-threaded apartment.
 *
 * It holds one reference to the process itself, so that COM never closes the door behind the last object: VSS
 * loads and unloads providers often. After IDLE_MS without an object it gives that reference up; if nobody
 * came in meanwhile COM has suspended the class object in the same step, and the service ends.
 */
#include "provider/service.h"

#include <stdio.h>
#include <windows.h>
#include <objbase.h>
#include "provider/class_object.h"
#include "provider/com_security.h"
#include "provider/eventlog.h"
#include "provider/ids.h"
#include "provider/provider.h"
#include "provider/settings.h"
#include "provider/version.h"

#define IDLE_MS       180000
#define START_HINT_MS 10000

static struct {
	SERVICE_STATUS_HANDLE status; /* NULL: in the foreground */
	HANDLE stop;                  /* manual reset */
	HANDLE changed;               /* the number of objects */
	volatile LONG live;
	int exit_code;
} service;

static void report(DWORD state, DWORD error)
{
	static DWORD checkpoint;
	SERVICE_STATUS s = {.dwServiceType = SERVICE_WIN32_OWN_PROCESS, .dwCurrentState = state};

	if (!service.status)
		return;
	if (state == SERVICE_RUNNING)
		s.dwControlsAccepted = SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN;
	if (state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING) {
		s.dwCheckPoint = ++checkpoint;
		s.dwWaitHint = START_HINT_MS;
	}
	if (error) {
		s.dwWin32ExitCode = ERROR_SERVICE_SPECIFIC_ERROR;
		s.dwServiceSpecificExitCode = error;
	}
	SetServiceStatus(service.status, &s);
}

static void objects_changed(LONG live)
{
	InterlockedExchange(&service.live, live);
	SetEvent(service.changed);
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

/* Until told to stop, or idle for long enough. */
static void wait_for_the_end(void)
{
	HANDLE handles[] = {service.stop, service.changed};

	for (;;) {
		DWORD woken = WaitForMultipleObjects(2, handles, FALSE, service.live ? INFINITE : IDLE_MS);
		if (woken == WAIT_OBJECT_0)
			return;
		if (woken == WAIT_TIMEOUT && !service.live && service.status) {
			if (CoReleaseServerProcess() == 0)
				return;
			CoAddRefServerProcess();
		}
	}
}

static HRESULT serve(void)
{
	static struct provider_context context = {.budget_ms = settings_commit_budget_ms,
		.copy_kind = settings_copy_kind,
		.objects_changed = objects_changed};
	HRESULT hr = com_security_server();

	if (FAILED(hr))
		return hr;
	do_not_handle_exceptions();
	context.transport = transport_spti();
	context.client = array_client_create(context.transport);
	if (!context.client)
		return E_OUTOFMEMORY;
	CoAddRefServerProcess();
	hr = class_object_register(&context);
	if (SUCCEEDED(hr))
		hr = class_object_resume();
	if (SUCCEEDED(hr)) {
		report(SERVICE_RUNNING, 0);
		eventlog_trace("umbra-vss %s serves", provider_version);
		if (!service.status)
			puts("umbra-vss serves in the foreground; Ctrl+C ends it.");
		wait_for_the_end();
		report(SERVICE_STOP_PENDING, 0);
		eventlog_trace("umbra-vss ends");
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
	case SERVICE_CONTROL_STOP:
	case SERVICE_CONTROL_SHUTDOWN:
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
	HRESULT hr = set_up_and_serve();
	service.exit_code = FAILED(hr);
	report(SERVICE_STOPPED, FAILED(hr) ? (DWORD)hr : 0);
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

	service.stop = CreateEventW(NULL, TRUE, FALSE, NULL);
	service.changed = CreateEventW(NULL, FALSE, FALSE, NULL);
	if (!service.stop || !service.changed)
		return 1;
	if (StartServiceCtrlDispatcherW(table))
		return service.exit_code;
	if (GetLastError() != ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) {
		fprintf(stderr, "umbra-vss: the service manager refused us (error %lu).\n", GetLastError());
		return 1;
	}
	SetConsoleCtrlHandler(on_ctrl_c, TRUE);
	HRESULT hr = set_up_and_serve();
	if (FAILED(hr))
		fprintf(stderr, "umbra-vss: COM refused to serve (0x%08lx). Run it as an administrator.\n",
			(unsigned long)hr);
	return FAILED(hr) ? 1 : 0;
}
