/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the preflight that concerns Windows: see check.h. */
#include "provider/check.h"

#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <ole2.h>
#include <vss.h>
#include <vsprov.h>
#include "provider/com_security.h"
#include "provider/ids.h"
#include "provider/load_mark.h"
#include "provider/path_rights.h"
#include "provider/settings.h"
#include "provider/setup.h"
#include "provider/setup_bounded.h"
#include "provider/setup_registration.h"
#include "provider/version.h"

#define INSTALL        "run \"umbra-vss install\""
#define PATH_CHARS     1024
#define START_LIMIT_MS 60000
#define KEY_PARTMGR    L"SYSTEM\\CurrentControlSet\\Services\\partmgr\\Parameters"

static void to_utf8(const WCHAR *text, char *out, int cap_bytes)
{
	if (!WideCharToMultiByte(CP_UTF8, 0, text, -1, out, cap_bytes, NULL, NULL))
		snprintf(out, (size_t)cap_bytes, "?");
}

/* ---- Windows and rights --------------------------------------------------------------------------- */

static void check_windows(struct findings *f)
{
	OSVERSIONINFOEXW want = {.dwOSVersionInfoSize = sizeof(want), .wProductType = VER_NT_WORKSTATION};
	DWORDLONG mask = VerSetConditionMask(0, VER_PRODUCT_TYPE, VER_EQUAL);

	finding_add(f, FINDING_OK, "program", NULL, "umbra-vss %s", provider_version);
	if (VerifyVersionInfoW(&want, VER_PRODUCT_TYPE, mask))
		finding_add(f, FINDING_WRONG, "Windows", "use Windows Server",
			"this is a client Windows, whose VSS takes no hardware providers");
	else
		finding_add(f, FINDING_OK, "Windows", NULL, "a server");
}

static void check_rights(struct findings *f)
{
	if (path_rights_is_administrator())
		finding_add(f, FINDING_OK, "rights", NULL, "an administrator, elevated");
	else
		finding_add(f, FINDING_WRONG, "rights", "start the command from an elevated prompt",
			"not an administrator: arrays and VSS cannot be asked");
}

/* ---- service -------------------------------------------------------------------------------------- */

struct service_facts {
	bool there;
	DWORD type, start;
	WCHAR command[PATH_CHARS], account[128];
};

static void read_config(SC_HANDLE service, struct service_facts *s)
{
	static union {
		QUERY_SERVICE_CONFIGW c;
		char bytes[8192];
	} u;
	DWORD needed;

	if (!QueryServiceConfigW(service, &u.c, sizeof(u), &needed))
		return;
	s->type = u.c.dwServiceType;
	s->start = u.c.dwStartType;
	_snwprintf(s->command, PATH_CHARS - 1, L"%ls", u.c.lpBinaryPathName ? u.c.lpBinaryPathName : L"");
	_snwprintf(s->account, 127, L"%ls", u.c.lpServiceStartName ? u.c.lpServiceStartName : L"");
}

static struct service_facts *read_service(const WCHAR *name)
{
	static struct service_facts s;
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE service = manager ? OpenServiceW(manager, name, SERVICE_QUERY_CONFIG) : NULL;

	memset(&s, 0, sizeof(s));
	s.there = service != NULL;
	if (service) {
		read_config(service, &s);
		CloseServiceHandle(service);
	}
	if (manager)
		CloseServiceHandle(manager);
	return &s;
}

/* The program in a service's command line ("…" run). */
static void program_of(const WCHAR *command, WCHAR out[PATH_CHARS])
{
	const WCHAR *from = command[0] == L'"' ? command + 1 : command;
	const WCHAR *end = wcschr(from, command[0] == L'"' ? L'"' : L' ');
	size_t len = end ? (size_t)(end - from) : wcslen(from);

	memcpy(out, from, len * sizeof(WCHAR));
	out[len] = L'\0';
}

static void check_program(struct findings *f, const WCHAR *command)
{
	static WCHAR program[PATH_CHARS], own[PATH_CHARS];
	char text[FINDING_TEXT_MAX_BYTES];

	program_of(command, program);
	to_utf8(program, text, sizeof(text));
	if (GetFileAttributesW(program) == INVALID_FILE_ATTRIBUTES)
		finding_add(f, FINDING_WRONG, "service", "install the program again, then " INSTALL,
			"its program is gone: %.250s", text);
	else if (GetModuleFileNameW(NULL, own, PATH_CHARS) && _wcsicmp(own, program) != 0)
		finding_add(f, FINDING_NOTE, "service",
			"run \"umbra-vss upgrade\" with the one that is meant",
			"it runs another copy of the program: %.250s", text);
	HRESULT rights = path_rights_private(program);
	if (rights == S_OK)
		finding_add(
			f, FINDING_OK, "service rights", NULL, "only administrators can change its program");
	else if (rights == S_FALSE)
		finding_add(f, FINDING_WRONG, "service rights",
			"move the program into a folder of its own below Program Files and run \"umbra-vss "
			"install\" there",
			"others than administrators can change its program, which runs as LocalSystem: %.200s",
			text);
}

static void check_service(struct findings *f)
{
	const struct service_facts *s = read_service(UMBRA_SERVICE_NAME);

	if (!s->there) {
		finding_add(f, FINDING_WRONG, "service", INSTALL, "not installed");
		return;
	}
	check_program(f, s->command);
	if (s->start == SERVICE_DISABLED)
		finding_add(
			f, FINDING_WRONG, "service", "run \"sc config umbra-vss start= demand\"", "disabled");
	else if (!(s->type & SERVICE_WIN32_OWN_PROCESS))
		finding_add(f, FINDING_WRONG, "service", "run \"umbra-vss upgrade\"",
			"not configured as a process of its own");
	else if (_wcsicmp(s->account, L"LocalSystem") != 0)
		finding_add(f, FINDING_WRONG, "service", "run \"sc config umbra-vss obj= LocalSystem\"",
			"does not run as LocalSystem: it cannot reach the disks");
	else
		finding_add(f, FINDING_OK, "service", NULL, "installed, started on demand, as LocalSystem");
}

/* What a shadow copy needs of Windows' own services. One that is not there is not judged: names differ with the initiator. */
static void check_needed(struct findings *f)
{
	const struct service_facts *s = read_service(L"MSiSCSI");
	const bool initiator = !s->type || s->start == SERVICE_AUTO_START;

	if (!initiator)
		finding_add(f, FINDING_NOTE, "services",
			"run \"sc config MSiSCSI start= auto\", unless the LUNs come over an adapter with an initiator of its "
			"own",
			"the Microsoft iSCSI Initiator Service does not start with Windows: after a restart the LUNs are "
			"missing");
	s = read_service(L"EventSystem");
	if (s->type && s->start == SERVICE_DISABLED)
		finding_add(f, FINDING_WRONG, "services",
			"run \"sc config EventSystem start= auto\", then restart",
			"the COM+ Event System is disabled: VSS reaches no writer without it");
	else if (initiator)
		finding_add(
			f, FINDING_OK, "services", NULL, "those that shadow copies need are not disabled");
}

/* Its SID and the privileges that it keeps; a system that tells neither has neither. */
static void check_hardening(struct findings *f)
{
	static union {
		SERVICE_SID_INFO sid;
		SERVICE_REQUIRED_PRIVILEGES_INFOW required;
		BYTE bytes[4096];
	} u;
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE service = manager ? OpenServiceW(manager, UMBRA_SERVICE_NAME, SERVICE_QUERY_CONFIG) : NULL;
	DWORD needed;

	if (service) {
		memset(&u, 0, sizeof(u));
		bool told = QueryServiceConfig2W(
			service, SERVICE_CONFIG_SERVICE_SID_INFO, u.bytes, sizeof(u), &needed);
		bool sid = told && u.sid.dwServiceSidType == SERVICE_SID_TYPE_UNRESTRICTED;
		memset(&u, 0, sizeof(u));
		told = told && QueryServiceConfig2W(service, SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, u.bytes,
				       sizeof(u), &needed);
		bool few = told && u.required.pmszRequiredPrivileges && u.required.pmszRequiredPrivileges[0];
		if (!told)
			finding_add(f, FINDING_SKIPPED, "hardening", NULL,
				"this Windows does not tell a service's SID and privileges");
		else if (sid && few)
			finding_add(f, FINDING_OK, "hardening", NULL,
				"the service has a SID of its own and a short list of privileges");
		else
			finding_add(f, FINDING_WRONG, "hardening", "run \"umbra-vss upgrade\"",
				"the service keeps all of LocalSystem's privileges, or has no SID of its own");
		CloseServiceHandle(service);
	}
	if (manager)
		CloseServiceHandle(manager);
}

/* By the interface that VSS asks for: what carries its calls belongs to what is checked. With IUnknown Wine now and then loses
 * the call (lab/proxy-stub/keep.c), and the limit passes. */
static HRESULT start_work(void *unused)
{
	IVssHardwareSnapshotProvider *hw = NULL;
	HRESULT hr = CoCreateInstance(&CLSID_UmbraProvider, NULL, CLSCTX_LOCAL_SERVER,
		&IID_IVssHardwareSnapshotProvider, (void **)&hw);

	(void)unused;
	if (SUCCEEDED(hr))
		IVssHardwareSnapshotProvider_Release(hw);
	return hr;
}

/* As VSS does it. */
static void check_start(struct findings *f)
{
	HRESULT hr = setup_bounded(start_work, NULL, START_LIMIT_MS);

	if (SUCCEEDED(hr))
		finding_add(
			f, FINDING_OK, "start", NULL, "COM starts the service and makes the provider object");
	else
		finding_add(f, FINDING_WRONG, "start",
			"mend what is wrong with service and COM; else see the System event log for the service "
			"umbra-vss",
			"COM cannot start the provider: error 0x%08lx", (unsigned long)hr);
}

/* ---- registry ------------------------------------------------------------------------------------- */

static bool value_is(const WCHAR *key, const WCHAR *name, const WCHAR *want)
{
	WCHAR got[128];
	DWORD size = sizeof(got);

	return RegGetValueW(HKEY_LOCAL_MACHINE, key, name, RRF_RT_REG_SZ, NULL, got, &size) ==
		       ERROR_SUCCESS &&
	       _wcsicmp(got, want) == 0;
}

static bool permission_is(const WCHAR *name, const WCHAR *sddl)
{
	static BYTE got[4096];
	DWORD size = sizeof(got), own_size = 0;

	if (RegGetValueW(HKEY_LOCAL_MACHINE, UMBRA_KEY_APPID, name, RRF_RT_REG_BINARY, NULL, got, &size) !=
		ERROR_SUCCESS)
		return false;
	SECURITY_DESCRIPTOR *own = com_security_descriptor(sddl, &own_size);
	bool same = own && own_size == size && !memcmp(own, got, size);
	LocalFree(own);
	return same;
}

static void check_com(struct findings *f)
{
	const char *upgrade = "run \"umbra-vss upgrade\"";

	if (!value_is(UMBRA_KEY_CLSID, L"AppID", UMBRA_APPID_TEXT))
		finding_add(f, FINDING_WRONG, "COM class", INSTALL, "not registered");
	else if (!value_is(UMBRA_KEY_APPID, L"LocalService", UMBRA_SERVICE_NAME))
		finding_add(f, FINDING_WRONG, "COM class", INSTALL, "its AppID does not name the service");
	else
		finding_add(f, FINDING_OK, "COM class", NULL, "registered, served by the service");
	static const struct {
		const WCHAR *name, *sddl;
	} lists[] = {{L"LaunchPermission", UMBRA_LAUNCH_SDDL}, {L"AccessPermission", UMBRA_ACCESS_SDDL}};
	for (unsigned i = 0; i < 2; i++) {
		if (permission_is(lists[i].name, lists[i].sddl))
			finding_add(f, FINDING_OK, "COM rights", NULL,
				"%ls: LocalSystem and administrators only", lists[i].name);
		else
			finding_add(f, FINDING_WRONG, "COM rights", upgrade,
				"%ls of the AppID is not what this program installs (%ls): COM may refuse VSS",
				lists[i].name, lists[i].sddl);
	}
}

static void check_keys(struct findings *f)
{
	static const WCHAR *const keys[] = {
		UMBRA_KEY_CLSID, UMBRA_KEY_APPID, UMBRA_KEY_EVENTS, UMBRA_KEY_SETTINGS, UMBRA_KEY_SERVICE};
	bool private = true;

	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (path_rights_private_key(keys[i]) != S_FALSE)
			continue;
		finding_add(f, FINDING_WRONG, "registry", "run \"umbra-vss upgrade\"",
			"others than administrators can change HKLM\\%ls", keys[i]);
		private = false;
	}
	if (private)
		finding_add(f, FINDING_OK, "registry", NULL,
			"only administrators can change the provider's keys");
}

static void check_events(struct findings *f)
{
	WCHAR file[PATH_CHARS];
	DWORD size = sizeof(file);

	if (RegGetValueW(HKEY_LOCAL_MACHINE, UMBRA_KEY_EVENTS, L"EventMessageFile", RRF_RT_REG_SZ, NULL, file,
		    &size) == ERROR_SUCCESS &&
		GetFileAttributesW(file) != INVALID_FILE_ATTRIBUTES)
		finding_add(f, FINDING_OK, "event source", NULL, "%ls", UMBRA_EVENT_SOURCE);
	else
		finding_add(f, FINDING_WRONG, "event source", INSTALL,
			"not registered, or its file is gone: events would show no text");
}

/* What is not understood has no effect, and nobody says so when it is written. */
static void check_settings(struct findings *f)
{
	unsigned wrong = 0, n = 0;
	const WCHAR *name;
	const char *want;

	while ((n = settings_fault(n, &name, &want)) < SETTINGS) {
		finding_add(f, FINDING_WRONG, "settings", want,
			"HKLM\\%ls, %ls is not understood: the default stands in for it", UMBRA_KEY_SETTINGS,
			name);
		wrong++;
		n++;
	}
	if (!wrong)
		finding_add(f, FINDING_OK, "settings", NULL, "those that are made are understood");
}

/* ---- VSS ------------------------------------------------------------------------------------------ */

/* VSS hears nothing of a provider's end, and may call the process that is gone until it unloads its providers. */
static void check_loaded(struct findings *f)
{
	if (load_mark_is_dead())
		finding_add(f, FINDING_WRONG, "VSS",
			"while no backup runs, let VSS go: \"net stop vss\" (it starts again when it is needed); by itself it "
			"lets go some minutes after the last backup",
			"the provider's process has ended while VSS had it loaded: until VSS lets go of it shadow copies "
			"may fail (VSS_E_UNEXPECTED_PROVIDER_ERROR, 0x800706BA)");
}

static void check_vss(struct findings *f)
{
	const struct service_facts *s = read_service(L"VSS");
	VSS_PROVIDER_PROP props;
	char version[64] = "?";

	if (s->there && s->start == SERVICE_DISABLED)
		finding_add(
			f, FINDING_WRONG, "VSS service", "run \"sc config vss start= demand\"", "disabled");
	HRESULT hr = registration_query(&props);
	if (FAILED(hr)) {
		finding_add(f, FINDING_WRONG, "VSS", setup_explain(hr), "cannot be asked: error 0x%08lx",
			(unsigned long)hr);
		return;
	}
	if (hr == S_FALSE) {
		finding_add(f, FINDING_WRONG, "VSS", INSTALL, "the provider is not registered");
		return;
	}
	if (props.m_pwszProviderVersion)
		to_utf8(props.m_pwszProviderVersion, version, sizeof(version));
	if (registration_is_this(&props))
		finding_add(
			f, FINDING_OK, "VSS", NULL, "registered as a hardware provider, version %s", version);
	else
		finding_add(f, FINDING_WRONG, "VSS", "run \"umbra-vss upgrade\"",
			"version %s is registered, not this program (%s)", version, provider_version);
	registration_free(&props);
}

/* ---- SAN policy ----------------------------------------------------------------------------------- */

#define SAN_REMEDY                                                                                           \
	"OfflineShared is right for a node of a cluster; on a server by itself, where an imported or "       \
	"broken-off shadow copy stays offline: diskpart, \"san policy=OnlineAll\""

static void check_san_policy(struct findings *f)
{
	static const char *const names[] = {
		"unknown", "OnlineAll", "OfflineShared", "OfflineAll", "OfflineInternal"};
	DWORD policy = 0, size = sizeof(policy);

	if (RegGetValueW(HKEY_LOCAL_MACHINE, KEY_PARTMGR, L"SanPolicy", RRF_RT_REG_DWORD, NULL, &policy,
		    &size) != ERROR_SUCCESS ||
		policy == 0 || policy > 4)
		finding_add(f, FINDING_NOTE, "SAN policy", SAN_REMEDY,
			"not set in the registry: that of this edition of Windows holds, on a server often "
			"OfflineShared (diskpart, \"san\" shows it)");
	else if (policy == 1 || policy == 4)
		finding_add(f, FINDING_OK, "SAN policy", NULL,
			"%s: disks of arrays come online when they arrive", names[policy]);
	else
		finding_add(f, FINDING_NOTE, "SAN policy", SAN_REMEDY,
			"%s: disks of arrays stay offline and read-only when they arrive", names[policy]);
}

void check_system(struct findings *f)
{
	check_windows(f);
	check_rights(f);
	check_service(f);
	check_hardening(f);
	check_com(f);
	check_keys(f);
	check_needed(f);
	check_start(f);
	check_events(f);
	check_settings(f);
	check_vss(f);
	check_loaded(f);
	check_san_policy(f);
}
