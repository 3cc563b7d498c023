/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Set-up as a list of steps. Each can be done and undone any number of times.
 *
 * Invariants:
 * - What VSS may refuse comes first and before anything else is touched: a provider that is making a shadow copy is
 *   neither stopped nor replaced.
 * - A failed install takes away what it added and puts back what it replaced (service, event source, registration with
 *   VSS); a failed uninstall puts back what it removed. So either command leaves all or nothing.
 */
#include "provider/setup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <vsadmin.h>
#include "events.h"
#include "provider/com_security.h"
#include "provider/eventlog.h"
#include "provider/ids.h"
#include "provider/path_rights.h"
#include "provider/refusal.h"
#include "provider/settings.h"
#include "provider/setup_bounded.h"
#include "provider/setup_registration.h"
#include "provider/setup_registry.h"
#include "provider/setup_service.h"

#define PATH_CHARS 1024

static WCHAR own_path[PATH_CHARS];

const char *setup_explain(HRESULT hr)
{
	switch (hr) {
	case HRESULT_FROM_WIN32(ERROR_ACCESS_DENIED):
		return "Run the command from an elevated prompt, as an administrator.";
	case REGDB_E_CLASSNOTREG:
		return "This Windows has no Volume Shadow Copy service (only Windows Server can use hardware "
		       "providers), or it is damaged: see \"vssadmin list writers\".";
	case E_INVALIDARG:
		return "VSS takes hardware providers on Windows Server only; a client Windows refuses them.";
	case VSS_E_PROVIDER_IN_USE:
		return "A shadow copy is being made with the provider. Wait until it has ended, then try again.";
	case HRESULT_FROM_WIN32(ERROR_SERVICE_DISABLED):
		return "A service that is needed is disabled: enable \"Volume Shadow Copy\" (sc config vss start= demand).";
	case HRESULT_FROM_WIN32(ERROR_SERVICE_MARKED_FOR_DELETE):
		return "The old service is being deleted still, for another program holds it open (the Services "
		       "console, Task Manager, a monitoring agent): close that, or restart Windows, then try again.";
	case VSS_E_PROVIDER_ALREADY_REGISTERED:
		return "VSS says that the provider is registered already and does not replace it: run \"umbra-vss "
		       "uninstall\", then install again.";
	case HRESULT_FROM_WIN32(ERROR_SERVICE_REQUEST_TIMEOUT):
		return "The service umbra-vss does not end: wait for the shadow copy that is being made, or end its "
		       "process, then try again.";
	case HRESULT_FROM_WIN32(ERROR_INVALID_SECURITY_DESCR):
		return "Others than administrators can change this program or its folder, and it would run as "
		       "LocalSystem: copy it into a folder of its own below Program Files and run it from there.";
	case HRESULT_FROM_WIN32(ERROR_TIMEOUT):
		return "The service \"Volume Shadow Copy\" does not answer: restart it (or Windows), then try again.";
	case E_OUTOFMEMORY:
		return "Free memory and try again.";
	default:
		return "See the Application event log for entries of VSS at this moment, then try again.";
	}
}

/* ---- steps ----------------------------------------------------------------------------------------- */

static HRESULT set_list(const WCHAR *name, const WCHAR *sddl)
{
	DWORD size;
	SECURITY_DESCRIPTOR *sd = com_security_descriptor(sddl, &size);

	if (!sd)
		return HRESULT_FROM_WIN32(GetLastError());
	HRESULT hr = registry_set(UMBRA_KEY_APPID, name, REG_BINARY, sd, size);
	LocalFree(sd);
	return hr;
}

static HRESULT com_do(void)
{
	HRESULT hr = registry_set_text(UMBRA_KEY_CLSID, NULL, REG_SZ, UMBRA_PROVIDER_NAME);
	if (SUCCEEDED(hr))
		hr = registry_set_text(UMBRA_KEY_CLSID, L"AppID", REG_SZ, UMBRA_APPID_TEXT);
	if (SUCCEEDED(hr))
		hr = registry_set_text(UMBRA_KEY_APPID, NULL, REG_SZ, UMBRA_PROVIDER_NAME);
	if (SUCCEEDED(hr))
		hr = registry_set_text(UMBRA_KEY_APPID, L"LocalService", REG_SZ, UMBRA_SERVICE_NAME);
	if (SUCCEEDED(hr))
		hr = set_list(L"LaunchPermission", UMBRA_LAUNCH_SDDL);
	if (SUCCEEDED(hr))
		hr = set_list(L"AccessPermission", UMBRA_ACCESS_SDDL);
	if (SUCCEEDED(hr))
		hr = registry_protect(UMBRA_KEY_CLSID);
	if (SUCCEEDED(hr))
		hr = registry_protect(UMBRA_KEY_APPID);
	return hr;
}

static HRESULT com_undo(void)
{
	HRESULT first = registry_delete(UMBRA_KEY_CLSID), second = registry_delete(UMBRA_KEY_APPID);

	return FAILED(first) ? first : second;
}

static bool com_is_there(void)
{
	return registry_exists(UMBRA_KEY_CLSID) && registry_exists(UMBRA_KEY_APPID);
}

/* The administrator's settings survive an uninstallation; an empty key does not. */
static HRESULT settings_do(void)
{
	HRESULT hr = registry_create(UMBRA_KEY_SETTINGS);

	return SUCCEEDED(hr) ? registry_protect(UMBRA_KEY_SETTINGS) : hr;
}

static HRESULT settings_undo(void)
{
	HRESULT hr = registry_delete_empty(UMBRA_KEY_SETTINGS);

	(void)registry_delete(
		UMBRA_KEY_LOADED); /* VSS, which does not know the provider any more, holds none */
	if (SUCCEEDED(hr))
		hr = registry_delete_empty(UMBRA_KEY_COPIES); /* what is known of copies stays */
	return SUCCEEDED(hr) ? registry_delete_empty(UMBRA_KEY_VENDOR) : hr;
}

static bool settings_are_there(void)
{
	return registry_exists(UMBRA_KEY_SETTINGS);
}

static WCHAR old_event_file[PATH_CHARS];

/* The DLL beside this program; where somebody copied the program alone, that has the texts, too. */
static const WCHAR *event_file(void)
{
	static WCHAR path[PATH_CHARS];
	const WCHAR *end = wcsrchr(own_path, L'\\');
	int folder_chars = end ? (int)(end - own_path) : 0;

	if (!end || folder_chars + 1 + wcslen(UMBRA_EVENT_DLL) >= PATH_CHARS)
		return own_path;
	_snwprintf(path, PATH_CHARS, L"%.*ls\\%ls", folder_chars, own_path, UMBRA_EVENT_DLL);
	return GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES ? path : own_path;
}

static HRESULT events_do(void)
{
	DWORD types = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
	HRESULT hr = registry_set_text(UMBRA_KEY_EVENTS, L"EventMessageFile", REG_EXPAND_SZ, event_file());

	if (SUCCEEDED(hr))
		hr = registry_set(UMBRA_KEY_EVENTS, L"TypesSupported", REG_DWORD, &types, sizeof(types));
	return SUCCEEDED(hr) ? registry_protect(UMBRA_KEY_EVENTS) : hr;
}

static HRESULT events_undo(void)
{
	return registry_delete(UMBRA_KEY_EVENTS);
}

static bool events_are_there(void)
{
	DWORD size = sizeof(old_event_file);

	return RegGetValueW(HKEY_LOCAL_MACHINE, UMBRA_KEY_EVENTS, L"EventMessageFile",
		       RRF_RT_REG_SZ | RRF_RT_REG_EXPAND_SZ | RRF_NOEXPAND, NULL, old_event_file,
		       &size) == ERROR_SUCCESS;
}

static HRESULT events_restore(void)
{
	return registry_set_text(UMBRA_KEY_EVENTS, L"EventMessageFile", REG_EXPAND_SZ, old_event_file);
}

static VSS_PROVIDER_PROP old_registration; /* registered before; else zero */
static bool taken_out;                     /* of VSS, by this command */

static bool vss_is_there(void)
{
	return old_registration.m_pwszProviderName != NULL;
}

static bool vss_is_current(void)
{
	return vss_is_there() && registration_is_this(&old_registration);
}

static HRESULT vss_do(void)
{
	VSS_PROVIDER_PROP props;

	if (vss_is_current() && !taken_out)
		return S_OK;
	registration_of_this(&props);
	return registration_add(&props);
}

static bool erase;     /* VSS cannot be asked */
static HRESULT erased; /* why, when its entry was erased */

static HRESULT vss_undo(void)
{
	HRESULT hr = erase ? registration_erase() : registration_remove();

	taken_out = SUCCEEDED(hr) && !erase;
	return hr;
}

static HRESULT vss_restore(void)
{
	return FAILED(erased) ? erased : taken_out ? registration_add(&old_registration) : S_OK;
}

static bool keep_service;

static HRESULT service_do(void)
{
	return setup_service_create(own_path, !vss_is_current());
}

static HRESULT service_undo(void)
{
	return keep_service ? setup_service_stop() : setup_service_delete();
}

/* is_there is asked before anything changes and remembers what restore puts back (NULL: act does). */
static const struct step {
	const char *what;
	HRESULT (*act)(void);
	HRESULT (*undo)(void);
	bool (*is_there)(void);
	HRESULT (*restore)(void);
} steps[] = {
	{"COM registration", com_do, com_undo, com_is_there, NULL},
	{"settings", settings_do, settings_undo, settings_are_there, NULL},
	{"event source", events_do, events_undo, events_are_there, events_restore},
	{"service", service_do, service_undo, setup_service_remember, setup_service_restore},
	{"registration with VSS", vss_do, vss_undo, vss_is_there, vss_restore},
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

static bool was_there[STEPS];

/* Whoever may not change what set-up changes learns that before anything is. */
static HRESULT enter(const char **what)
{
	*what = "rights";
	if (!path_rights_is_administrator())
		return HRESULT_FROM_WIN32(ERROR_ACCESS_DENIED);
	*what = "COM";
	HRESULT hr = CoInitializeEx(NULL, COINIT_MULTITHREADED | COINIT_DISABLE_OLE1DDE);

	return FAILED(hr) ? hr : com_security_client();
}

static void leave_com(void)
{
	if (!setup_bounded_hangs())
		CoUninitialize();
}

/* Says what failed, and how things stand now. Also to the Application log: of what a package starts nobody sees the
 * output. back: how putting back ended. */
static int failed(const char *command, const char *what, HRESULT hr, HRESULT back)
{
	WCHAR trace_file[MAX_PATH];
	char text[300];

	snprintf(text, sizeof(text), "%s: error 0x%08lx. %s", what, (unsigned long)hr, setup_explain(hr));
	refusal_say("%s: error 0x%08lx. %s", what, (unsigned long)hr, setup_explain(hr));
	if (FAILED(back))
		refusal_say(
			"putting things back failed too: error 0x%08lx. Run \"umbra-vss uninstall\", then "
			"install again.",
			(unsigned long)back);
	else
		refusal_say("everything is as it was before.");
	settings_trace_file(trace_file);
	if (eventlog_start(trace_file)) {
		eventlog_note(FAILED(back) ? UMBRA_EVENT_SETUP_HALF : UMBRA_EVENT_SETUP_FAILED, command, NULL,
			NULL, text);
		eventlog_stop();
	}
	return 1;
}

/* Everything that VSS or the file system may object to, before anything changes. A version that is to be stopped is taken out
 * of VSS here: it refuses while a shadow copy is being made, and unloads the provider, whose process it would call on. */
static HRESULT prepare(const char **what)
{
	DWORD length = GetModuleFileNameW(NULL, own_path, PATH_CHARS);

	*what = "this program's file";
	if (!length || length == PATH_CHARS)
		return HRESULT_FROM_WIN32(length ? ERROR_FILENAME_EXCED_RANGE : GetLastError());
	HRESULT hr = path_rights_private(own_path);
	if (hr != S_OK)
		return hr == S_FALSE ? HRESULT_FROM_WIN32(ERROR_INVALID_SECURITY_DESCR) : hr;
	*what = "VSS";
	hr = registration_query(&old_registration);
	for (size_t i = 0; i < STEPS && SUCCEEDED(hr); i++)
		was_there[i] = steps[i].is_there();
	if (hr == S_OK && (!vss_is_current() || !setup_service_runs(own_path)))
		hr = vss_undo();
	return FAILED(hr) ? hr : S_OK;
}

static HRESULT put_back(size_t step)
{
	return steps[step].restore ? steps[step].restore() : steps[step].act();
}

/* After the first `done` steps of an install, or what prepare() did: what was not there goes, what was comes back. */
static HRESULT roll_back(size_t done)
{
	HRESULT worst = S_OK;

	for (size_t n = STEPS; n-- > 0;) {
		HRESULT hr = was_there[n] ? put_back(n) : n < done ? steps[n].undo() : S_OK;
		if (FAILED(hr))
			worst = hr;
	}
	return worst;
}

int setup_install(void)
{
	const char *what;
	HRESULT hr = enter(&what);

	if (FAILED(hr))
		return failed("install", what, hr, S_OK);
	hr = prepare(&what);
	size_t done = 0;
	while (SUCCEEDED(hr) && done < STEPS) {
		what = steps[done].what;
		hr = steps[done++].act();
		if (SUCCEEDED(hr)) {
			printf("%s: done\n", what);
			fflush(stdout); /* the next one may take a while */
		}
	}
	if (FAILED(hr)) {
		(void)failed("install", what, hr, done ? roll_back(done) : S_OK);
	} else {
		puts("The provider is installed. \"umbra-vss check\" looks whether shadow copies can be made.");
	}
	registration_free(&old_registration);
	leave_com();
	return FAILED(hr) ? 1 : 0;
}

/* Is VSS to be asked? With S_FALSE it is not, or has nothing to tell; a failure: it should be, and cannot. */
static HRESULT ask_before_removal(bool force)
{
	HRESULT hr = registration_query(&old_registration);

	if (hr == REGDB_E_CLASSNOTREG)
		return S_FALSE; /* no VSS, no registration */
	/* Of a VSS that is disabled, or dead, no provider is in use. */
	erase = hr == HRESULT_FROM_WIN32(ERROR_SERVICE_DISABLED) || (force && FAILED(hr));
	if (!erase)
		return hr;
	printf("VSS cannot be asked (error 0x%08lx): its entry for the provider is erased\n",
		(unsigned long)hr);
	erased = hr;
	return S_FALSE;
}

int setup_uninstall(int count, WCHAR **words)
{
	bool force = false;

	for (int i = 0; i < count; i++) {
		if (!wcscmp(words[i], L"--keep-service"))
			keep_service = true;
		else if (!wcscmp(words[i], L"--force"))
			force = true;
		else {
			return refusal_words("uninstall takes --keep-service and --force",
				"Usage: umbra-vss uninstall [--keep-service] [--force]\n");
		}
	}
	const char *what;
	HRESULT hr = enter(&what);
	size_t left = STEPS;

	if (FAILED(hr))
		return failed("uninstall", what, hr, S_OK);
	hr = ask_before_removal(force);
	if (FAILED(hr))
		return failed("uninstall", "VSS", hr, S_OK);
	for (size_t i = 0; i < STEPS; i++)
		was_there[i] = steps[i].is_there();
	while (SUCCEEDED(hr) && left > 0) {
		hr = steps[--left].undo();
		if (SUCCEEDED(hr)) {
			printf("%s: %s\n", steps[left].what,
				keep_service && steps[left].undo == service_undo ? "stopped" : "removed");
			fflush(stdout);
		}
	}
	if (FAILED(hr)) {
		HRESULT back = S_OK;
		for (size_t i = left; i < STEPS; i++) {
			HRESULT one = was_there[i] ? put_back(i) : S_OK;
			back = FAILED(one) ? one : back;
		}
		(void)failed("uninstall", steps[left].what, hr, back);
	} else {
		puts("The provider is uninstalled. Shadow copies on the arrays are untouched.");
	}
	registration_free(&old_registration);
	leave_com();
	return FAILED(hr) ? 1 : 0;
}
