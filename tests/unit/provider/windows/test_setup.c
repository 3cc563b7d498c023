/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of set-up that need no VSS: who may change a program, what the registry keys allow, versions. */
#include <string.h>
#include <windows.h>
#include <aclapi.h>
#include <sddl.h>
#include <vss.h>
#include <vsadmin.h>
#include "check.h"
#include "provider/ids.h"
#include "provider/load_mark.h"
#include "provider/path_rights.h"
#include "provider/setup.h"
#include "provider/setup_bounded.h"
#include "provider/setup_registration.h"
#include "provider/setup_registry.h"
#include "provider/setup_service.h"
#include "provider/version.h"

#define TEST_KEY L"SOFTWARE\\Umbra-test\\Below"

static bool private_by(const WCHAR *sddl, enum path_kind kind, const WCHAR *self_text)
{
	PSECURITY_DESCRIPTOR sd = NULL;
	PSID owner = NULL, self = NULL;
	ACL *dacl = NULL;
	BOOL present, defaulted;

	CHECK(ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, SDDL_REVISION_1, &sd, NULL));
	CHECK(GetSecurityDescriptorOwner(sd, &owner, &defaulted));
	CHECK(GetSecurityDescriptorDacl(sd, &present, &dacl, &defaulted));
	if (self_text)
		CHECK(ConvertStringSidToSidW(self_text, &self));
	bool private = path_rights_judge(owner, present ? dacl : NULL, kind, self);
	LocalFree(self);
	LocalFree(sd);
	return private;
}

static void who_may_change_a_program(void)
{
#define SOMEBODY  L"S-1-5-21-1-2-3-1001"
#define INSTALLER L"S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
	/* as below Program Files */
	CHECK(private_by(L"O:SYD:(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;BU)", PATH_FILE, NULL));
	CHECK(private_by(L"O:" INSTALLER L"D:(A;;FA;;;" INSTALLER L")(A;;0x1301bf;;;SY)(A;;0x1200a9;;;BU)"
			 L"(A;OICIIO;GA;;;CO)",
		PATH_FOLDER, NULL));
	/* as in a folder that was made below C:\ */
	CHECK(!private_by(L"O:BAD:(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1301bf;;;AU)", PATH_FILE, NULL));
	CHECK(!private_by(L"O:BAD:(A;;FA;;;SY)(A;OICI;0x1301bf;;;AU)", PATH_FOLDER, NULL));
	/* each right that is enough, for everybody */
	CHECK(!private_by(L"O:BAD:(A;;0x2;;;WD)", PATH_FILE, NULL));
	CHECK(!private_by(L"O:BAD:(A;;0x4;;;WD)", PATH_FILE, NULL));
	CHECK(!private_by(L"O:BAD:(A;;SD;;;WD)", PATH_FILE, NULL));
	CHECK(!private_by(L"O:BAD:(A;;WD;;;WD)", PATH_FILE, NULL));
	CHECK(!private_by(L"O:BAD:(A;;WO;;;WD)", PATH_FILE, NULL));
	CHECK(!private_by(L"O:BAD:(A;;GA;;;WD)", PATH_FILE, NULL));
	CHECK(!private_by(L"O:BAD:(A;;GW;;;WD)", PATH_FILE, NULL));
	CHECK(!private_by(L"O:BAD:(A;;0x2;;;WD)", PATH_FOLDER, NULL));
	CHECK(!private_by(L"O:BAD:(A;;0x40;;;WD)", PATH_FOLDER, NULL));
	/* a folder in which others may make folders, as in C:\: they cannot touch this file */
	CHECK(private_by(L"O:BAD:(A;;0x4;;;AU)(A;;FA;;;SY)", PATH_FOLDER, NULL));
	/* what is only handed down does not apply here */
	CHECK(private_by(L"O:BAD:(A;OIIO;FA;;;WD)(A;;FA;;;SY)", PATH_FOLDER, NULL));
	/* an account of its own: trusted when it is who runs this */
	CHECK(!private_by(L"O:BAD:(A;;FA;;;" SOMEBODY L")", PATH_FILE, NULL));
	CHECK(private_by(L"O:" SOMEBODY L"D:(A;;FA;;;" SOMEBODY L")", PATH_FILE, SOMEBODY));
	CHECK(!private_by(
		L"O:" SOMEBODY L"D:(A;;FA;;;SY)", PATH_FILE, NULL)); /* an owner may change the rights */
	/* no list at all: everybody may do everything */
	CHECK(!private_by(L"O:BA", PATH_FILE, NULL));
	CHECK(!private_by(L"O:BAD:(D;;FA;;;WD)(A;;FA;;;WD)", PATH_FILE, NULL));
	/* keys */
	CHECK(private_by(UMBRA_KEY_SDDL, PATH_KEY, NULL));
	CHECK(private_by(L"O:SYD:(A;;KA;;;SY)(A;;KR;;;WD)", PATH_KEY, NULL));
	CHECK(!private_by(L"O:BAD:(A;;KW;;;BU)", PATH_KEY, NULL));
	CHECK(!private_by(L"O:BAD:(A;;0x4;;;BU)", PATH_KEY, NULL));
}

static void a_real_file_is_judged(void)
{
	WCHAR folder[MAX_PATH], file[MAX_PATH];
	SECURITY_DESCRIPTOR sd;

	CHECK(GetTempPathW(MAX_PATH, folder) && GetTempFileNameW(folder, L"umb", 0, file));
	CHECK_HR(path_rights_private(file), S_OK);
	CHECK(InitializeSecurityDescriptor(&sd, SECURITY_DESCRIPTOR_REVISION));
	PSECURITY_DESCRIPTOR lax = NULL;
	CHECK(ConvertStringSecurityDescriptorToSecurityDescriptorW(
		L"D:P(A;;FA;;;WD)", SDDL_REVISION_1, &lax, NULL));
	CHECK(SetFileSecurityW(file, DACL_SECURITY_INFORMATION, lax));
	LocalFree(lax);
	CHECK_HR(path_rights_private(file), S_FALSE);
	CHECK(DeleteFileW(file));
	CHECK(FAILED(path_rights_private(file)));
}

/* LocalSystem and administrators everything, users to read, nobody else, nothing from above. */
static void keys_are_written_by_administrators_only(void)
{
	PSECURITY_DESCRIPTOR sd = NULL;
	SECURITY_DESCRIPTOR_CONTROL control;
	BOOL present, defaulted;
	DWORD revision;
	ACL *dacl = NULL;

	CHECK(ConvertStringSecurityDescriptorToSecurityDescriptorW(
		UMBRA_KEY_SDDL, SDDL_REVISION_1, &sd, NULL));
	CHECK(GetSecurityDescriptorControl(sd, &control, &revision) && control & SE_DACL_PROTECTED);
	CHECK(GetSecurityDescriptorDacl(sd, &present, &dacl, &defaulted) && present && dacl->AceCount == 3);
	for (DWORD i = 0; i < dacl->AceCount; i++) {
		ACCESS_ALLOWED_ACE *ace;
		CHECK(GetAce(dacl, i, (void **)&ace) && ace->Header.AceType == ACCESS_ALLOWED_ACE_TYPE);
		bool trusted = IsWellKnownSid(&ace->SidStart, WinLocalSystemSid) ||
			       IsWellKnownSid(&ace->SidStart, WinBuiltinAdministratorsSid);
		CHECK(trusted || IsWellKnownSid(&ace->SidStart, WinBuiltinUsersSid));
		CHECK(ace->Mask == (trusted ? KEY_ALL_ACCESS : KEY_READ));
		CHECK(ace->Header.AceFlags == CONTAINER_INHERIT_ACE);
	}
	LocalFree(sd);
}

static void keys_come_and_go(void)
{
	const WCHAR *parent = L"SOFTWARE\\Umbra-test";

	CHECK(!registry_exists(TEST_KEY));
	CHECK_HR(registry_delete(TEST_KEY), S_OK);
	CHECK_HR(registry_delete_empty(TEST_KEY), S_OK);
	CHECK_HR(registry_create(TEST_KEY), S_OK);
	CHECK_HR(registry_create(TEST_KEY), S_OK);
	CHECK_HR(path_rights_private_key(TEST_KEY), S_OK);
	CHECK_HR(registry_protect(TEST_KEY), S_OK);
	CHECK_HR(path_rights_private_key(TEST_KEY), S_OK);
	CHECK_HR(registry_delete_empty(parent), S_OK); /* it is not empty */
	CHECK(registry_exists(TEST_KEY));
	CHECK_HR(registry_set_text(TEST_KEY, L"name", REG_SZ, L"value"), S_OK);
	CHECK_HR(registry_delete_empty(TEST_KEY), S_OK);
	CHECK(registry_exists(TEST_KEY));
	CHECK_HR(registry_delete(parent), S_OK);
	CHECK(!registry_exists(TEST_KEY) && !registry_exists(parent));
	CHECK(FAILED(registry_protect(TEST_KEY)) && FAILED(path_rights_private_key(TEST_KEY)));
}

static void what_is_registered_is_of_this_version(void)
{
	static const GUID id = UMBRA_VERSION_ID;
	VSS_PROVIDER_PROP props;

	registration_of_this(&props);
	CHECK(registration_is_this(&props));
	CHECK(IsEqualGUID(&props.m_ProviderVersionId, &id) && IsEqualGUID(&id, &provider_version_id));
	CHECK(!strcmp(provider_version, UMBRA_VERSION) && wcslen(provider_version_wide) < 32);
	props.m_ProviderVersionId.Data1++;
	CHECK(!registration_is_this(&props));
}

/* Every failure that VSS or Windows may answer has words of its own, none says nothing. */
static void failures_are_explained(void)
{
	static const HRESULT all[] = {E_ACCESSDENIED, REGDB_E_CLASSNOTREG, E_INVALIDARG,
		VSS_E_PROVIDER_IN_USE, VSS_E_PROVIDER_ALREADY_REGISTERED,
		HRESULT_FROM_WIN32(ERROR_SERVICE_DISABLED),
		HRESULT_FROM_WIN32(ERROR_SERVICE_MARKED_FOR_DELETE),
		HRESULT_FROM_WIN32(ERROR_SERVICE_REQUEST_TIMEOUT),
		HRESULT_FROM_WIN32(ERROR_INVALID_SECURITY_DESCR), HRESULT_FROM_WIN32(ERROR_TIMEOUT),
		E_OUTOFMEMORY};
	const char *other = setup_explain(E_FAIL);

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		CHECK(setup_explain(all[i]) != other && strlen(setup_explain(all[i])) > 20);
	CHECK(strlen(other) > 20);
}

static HANDLE let_go;

static HRESULT hang(void *arg)
{
	WaitForSingleObject(let_go, INFINITE);
	*(bool *)arg = true;
	return S_OK;
}

static HRESULT answer(void *arg)
{
	return *(HRESULT *)arg;
}

static void calls_that_never_answer_are_given_up(void)
{
	static bool ended;
	HRESULT wanted = VSS_E_PROVIDER_IN_USE;
	VSS_PROVIDER_PROP props;

	CHECK_HR(setup_bounded(answer, &wanted, 60000), VSS_E_PROVIDER_IN_USE);
	CHECK(!setup_bounded_hangs());
	let_go = CreateEventW(NULL, TRUE, FALSE, NULL);
	CHECK_HR(setup_bounded(hang, &ended, 50), HRESULT_FROM_WIN32(ERROR_TIMEOUT));
	CHECK(setup_bounded_hangs() && !ended);
	/* and VSS is not asked again */
	CHECK_HR(registration_query(&props), HRESULT_FROM_WIN32(ERROR_TIMEOUT));
	CHECK_HR(registration_remove(), HRESULT_FROM_WIN32(ERROR_TIMEOUT));
	registration_of_this(&props);
	CHECK_HR(registration_add(&props), HRESULT_FROM_WIN32(ERROR_TIMEOUT));
	SetEvent(let_go);
}

/* What set-up asks of the service manager goes through here (see meson.build): Wine keeps little of it. */
typedef BOOL(WINAPI *change_config2)(SC_HANDLE service, DWORD level, void *info);
extern change_config2 __real___imp_ChangeServiceConfig2W;
extern change_config2 __wrap___imp_ChangeServiceConfig2W;

static struct {
	DWORD sid;
	DWORD preshutdown_ms;
	bool privileges, about;
	SC_ACTION actions[3];
	DWORD reset_s;
} asked;

static BOOL WINAPI recording(SC_HANDLE service, DWORD level, void *info)
{
	static const WCHAR wanted[] =
		L"SeChangeNotifyPrivilege\0SeImpersonatePrivilege\0SeIncreaseWorkingSetPrivilege\0";

	if (level == SERVICE_CONFIG_SERVICE_SID_INFO) {
		asked.sid = ((SERVICE_SID_INFO *)info)->dwServiceSidType;
	} else if (level == SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO) {
		SERVICE_REQUIRED_PRIVILEGES_INFOW *required = info;
		asked.privileges = !memcmp(required->pmszRequiredPrivileges, wanted, sizeof(wanted));
	} else if (level == SERVICE_CONFIG_FAILURE_ACTIONS) {
		SERVICE_FAILURE_ACTIONSW *failure = info;
		CHECK(failure->cActions == 3);
		memcpy(asked.actions, failure->lpsaActions, sizeof(asked.actions));
		asked.reset_s = failure->dwResetPeriod;
	} else if (level == SERVICE_CONFIG_PRESHUTDOWN_INFO) {
		asked.preshutdown_ms = ((SERVICE_PRESHUTDOWN_INFO *)info)->dwPreshutdownTimeout;
	} else if (level == SERVICE_CONFIG_DESCRIPTION) {
		asked.about = true;
	}
	return __real___imp_ChangeServiceConfig2W(service, level, info);
}

change_config2 __wrap___imp_ChangeServiceConfig2W = recording;

static bool command_is(const WCHAR *wanted)
{
	static union {
		QUERY_SERVICE_CONFIGW c;
		BYTE bytes[8192];
	} u;
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
	SC_HANDLE service = OpenServiceW(manager, UMBRA_SERVICE_NAME, SERVICE_QUERY_CONFIG);
	DWORD needed;

	CHECK(service && QueryServiceConfigW(service, &u.c, sizeof(u), &needed));
	CloseServiceHandle(service);
	CloseServiceHandle(manager);
	return !wcscmp(u.c.lpBinaryPathName, wanted) && u.c.dwStartType == SERVICE_DEMAND_START &&
	       u.c.dwServiceType == SERVICE_WIN32_OWN_PROCESS;
}

static void the_service_is_hardened_quoted_and_put_back(void)
{
	static const WCHAR first[] = L"C:\\Program Files\\One\\umbra-vss.exe";
	static const WCHAR second[] = L"C:\\Program Files\\Two\\umbra-vss.exe";
	WCHAR too_long[2000];

	CHECK(!setup_service_remember());
	CHECK_HR(setup_service_delete(), S_OK);
	CHECK_HR(setup_service_create(first, true), S_OK);
	CHECK(asked.sid == SERVICE_SID_TYPE_UNRESTRICTED && asked.privileges && asked.about);
	CHECK(asked.actions[0].Type == SC_ACTION_RESTART && asked.actions[1].Type == SC_ACTION_RESTART &&
		asked.actions[2].Type == SC_ACTION_NONE && asked.reset_s == 86400);
	CHECK(asked.preshutdown_ms >= 90000); /* Windows gives 10 s to who does not ask */
	CHECK(!strcmp(setup_service_state(), "stopped"));
	CHECK(setup_service_remember());
	CHECK_HR(setup_service_create(second, false), S_OK);
	CHECK(command_is(L"\"C:\\Program Files\\Two\\umbra-vss.exe\" run"));
	CHECK_HR(setup_service_restore(), S_OK);
	CHECK(command_is(L"\"C:\\Program Files\\One\\umbra-vss.exe\" run"));
	CHECK_HR(setup_service_delete(), S_OK);
	CHECK(!strcmp(setup_service_state(), "not installed"));
	CHECK_HR(setup_service_restore(), S_OK); /* also when it is gone */
	CHECK(command_is(L"\"C:\\Program Files\\One\\umbra-vss.exe\" run"));
	CHECK_HR(setup_service_delete(), S_OK);
	for (int i = 0; i < 1999; i++)
		too_long[i] = L'x';
	too_long[1999] = 0;
	CHECK_HR(setup_service_create(too_long, false), HRESULT_FROM_WIN32(ERROR_FILENAME_EXCED_RANGE));
	CHECK(!setup_service_remember());
}

/* ---- a service that says "stopped" while its process is there still -------------------------------- */

extern BOOL(WINAPI *__real___imp_ControlService)(SC_HANDLE, DWORD, SERVICE_STATUS *);
extern BOOL(WINAPI *__real___imp_QueryServiceStatus)(SC_HANDLE, SERVICE_STATUS *);
extern BOOL(WINAPI *__real___imp_QueryServiceStatusEx)(SC_HANDLE, SC_STATUS_TYPE, BYTE *, DWORD, DWORD *);
extern void *__wrap___imp_ControlService, *__wrap___imp_QueryServiceStatus,
	*__wrap___imp_QueryServiceStatusEx;

static PROCESS_INFORMATION lingering; /* hProcess NULL: the real service manager answers */
static HANDLE said_stopped;

/* A service that starts: it takes no orders until it runs. */
static struct {
	bool on;
	unsigned looks, refused, told;
} starting;

static BOOL WINAPI control(SC_HANDLE service, DWORD code, SERVICE_STATUS *status)
{
	if (starting.on && starting.looks < 3) {
		starting.refused++;
		SetLastError(ERROR_SERVICE_CANNOT_ACCEPT_CTRL);
		return FALSE;
	}
	if (starting.on) {
		starting.told++;
		return TRUE;
	}
	if (!lingering.hProcess)
		return __real___imp_ControlService(service, code, status);
	CHECK(code == SERVICE_CONTROL_STOP);
	return TRUE;
}

static BOOL WINAPI query_status(SC_HANDLE service, SERVICE_STATUS *status)
{
	if (starting.on) {
		DWORD state = starting.looks++ < 3 ? SERVICE_START_PENDING : SERVICE_RUNNING;
		*status = (SERVICE_STATUS){.dwCurrentState = starting.told ? SERVICE_STOPPED : state};
		return TRUE;
	}
	if (!lingering.hProcess)
		return __real___imp_QueryServiceStatus(service, status);
	*status = (SERVICE_STATUS){.dwCurrentState = SERVICE_STOPPED};
	SetEvent(said_stopped);
	return TRUE;
}

static BOOL WINAPI query_status_ex(
	SC_HANDLE service, SC_STATUS_TYPE type, BYTE *out, DWORD size, DWORD *needed)
{
	if (!lingering.hProcess)
		return __real___imp_QueryServiceStatusEx(service, type, out, size, needed);
	CHECK(size >= sizeof(SERVICE_STATUS_PROCESS));
	*(SERVICE_STATUS_PROCESS *)out = (SERVICE_STATUS_PROCESS){
		.dwCurrentState = SERVICE_RUNNING, .dwProcessId = lingering.dwProcessId};
	return TRUE;
}

extern HANDLE(WINAPI *__real___imp_OpenProcess)(DWORD access, BOOL inherit, DWORD id);
extern void *__wrap___imp_OpenProcess;
static unsigned denied; /* how often; 0: it is not */

static HANDLE WINAPI open_process(DWORD access, BOOL inherit, DWORD id)
{
	CHECK(access == SYNCHRONIZE); /* what an administrator has on a process of LocalSystem */
	if (!denied)
		return __real___imp_OpenProcess(access, inherit, id);
	denied++;
	SetLastError(ERROR_ACCESS_DENIED);
	return NULL;
}

void *__wrap___imp_OpenProcess = open_process;
void *__wrap___imp_ControlService = control;
void *__wrap___imp_QueryServiceStatus = query_status;
void *__wrap___imp_QueryServiceStatusEx = query_status_ex;

static DWORD WINAPI end_it_later(void *unused)
{
	(void)unused;
	WaitForSingleObject(said_stopped, INFINITE);
	Sleep(500); /* who does not wait for the process is back long before */
	TerminateProcess(lingering.hProcess, 0);
	return 0;
}

static void a_service_has_stopped_when_its_process_is_gone(void)
{
	static const WCHAR program[] = L"C:\\Program Files\\One\\umbra-vss.exe";
	STARTUPINFOW info = {.cb = sizeof(info)};
	WCHAR own[MAX_PATH], line[MAX_PATH + 16];

	CHECK(GetModuleFileNameW(NULL, own, MAX_PATH));
	_snwprintf(line, MAX_PATH + 16, L"\"%ls\" linger", own);
	CHECK_HR(setup_service_create(program, true), S_OK);
	CHECK(CreateProcessW(NULL, line, NULL, NULL, FALSE, 0, NULL, NULL, &info, &lingering));
	said_stopped = CreateEventW(NULL, TRUE, FALSE, NULL);
	HANDLE thread = CreateThread(NULL, 0, end_it_later, NULL, 0, NULL);
	CHECK_HR(setup_service_stop(), S_OK);
	CHECK(WaitForSingleObject(lingering.hProcess, 0) == WAIT_OBJECT_0);
	WaitForSingleObject(thread, INFINITE);
	lingering.hProcess = NULL;
	CHECK(setup_service_remember()); /* it stays */
	CHECK_HR(setup_service_delete(), S_OK);
	CHECK_HR(setup_service_stop(), S_OK); /* there is none */
}

static void where_its_process_cannot_be_waited_for_its_state_counts(void)
{
	static const WCHAR program[] = L"C:\\Program Files\\One\\umbra-vss.exe";

	CHECK_HR(setup_service_create(program, true), S_OK);
	lingering.hProcess = GetCurrentProcess(); /* which does not end */
	lingering.dwProcessId = GetCurrentProcessId();
	said_stopped = CreateEventW(NULL, TRUE, FALSE, NULL);
	denied = 1;
	CHECK_HR(setup_service_stop(), S_OK);
	CHECK(denied > 1);
	denied = 0;
	lingering.hProcess = NULL;
	CHECK_HR(setup_service_delete(), S_OK);
}

static void a_service_that_starts_is_stopped_when_it_runs(void)
{
	static const WCHAR program[] = L"C:\\Program Files\\One\\umbra-vss.exe";

	CHECK_HR(setup_service_create(program, true), S_OK);
	starting.on = true;
	CHECK_HR(setup_service_stop(), S_OK);
	starting.on = false;
	CHECK(starting.refused > 0 && starting.told == 1);
	CHECK_HR(setup_service_delete(), S_OK);
}

/* ---- a name that is being deleted -------------------------------------------------------------------- */

static DWORD WINAPI close_it_later(void *handle)
{
	Sleep(1000);
	CloseServiceHandle(handle);
	return 0;
}

/* As the Services console does, somebody holds the service while it is deleted. */
static void a_service_that_is_being_deleted_is_waited_for(void)
{
	static const WCHAR program[] = L"C:\\Program Files\\One\\umbra-vss.exe";
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE);

	CHECK_HR(setup_service_create(program, true), S_OK);
	SC_HANDLE held = OpenServiceW(manager, UMBRA_SERVICE_NAME, SERVICE_QUERY_STATUS);
	CHECK(held);
	CHECK_HR(setup_service_delete(), S_OK);
	CHECK(CreateServiceW(manager, UMBRA_SERVICE_NAME, L"another", SERVICE_ALL_ACCESS,
		      SERVICE_WIN32_OWN_PROCESS, SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, program, NULL,
		      NULL, NULL, NULL, NULL) == NULL);
	CHECK(GetLastError() == ERROR_SERVICE_MARKED_FOR_DELETE);
	HANDLE thread = CreateThread(NULL, 0, close_it_later, held, 0, NULL);
	CHECK_HR(setup_service_create(program, true), S_OK);
	WaitForSingleObject(thread, INFINITE);
	CHECK(command_is(L"\"C:\\Program Files\\One\\umbra-vss.exe\" run"));
	CHECK_HR(setup_service_delete(), S_OK);
	CloseServiceHandle(manager);
}

/* ---- VSS is disabled ------------------------------------------------------------------------------------ */

extern HRESULT(WINAPI *__real___imp_CoCreateInstance)(REFCLSID, IUnknown *, DWORD, REFIID, void **);
extern void *__wrap___imp_CoCreateInstance;
static HRESULT vss_answers;
static unsigned vss_asked, vss_ends_for;

static HRESULT WINAPI create_instance(REFCLSID clsid, IUnknown *outer, DWORD context, REFIID iid, void **out)
{
	if (!vss_answers || !IsEqualIID(iid, &IID_IVssAdmin))
		return __real___imp_CoCreateInstance(clsid, outer, context, iid, out);
	vss_asked++;
	if (vss_ends_for && vss_ends_for--)
		return CO_E_SERVER_EXEC_FAILURE;
	return vss_answers;
}

void *__wrap___imp_CoCreateInstance = create_instance;

/* Then nothing that VSS knows is in use: removal goes on without it. */
static void a_disabled_vss_keeps_nobody_from_removing(void)
{
	static WCHAR force[] = L"--force", wrong[] = L"--nothing";
	WCHAR *words[] = {force}, *others[] = {wrong};

	CHECK(setup_uninstall(1, others) == 2);
	CHECK_HR(registry_set_text(UMBRA_KEY_VSS, NULL, REG_SZ, UMBRA_PROVIDER_NAME), S_OK);
	vss_answers = E_FAIL;
	CHECK(setup_uninstall(0, NULL) == 1 && registry_exists(UMBRA_KEY_VSS));
	vss_answers = HRESULT_FROM_WIN32(ERROR_SERVICE_DISABLED);
	CHECK(setup_uninstall(0, NULL) == 0 && !registry_exists(UMBRA_KEY_VSS));
	CHECK_HR(registry_set_text(UMBRA_KEY_VSS, NULL, REG_SZ, UMBRA_PROVIDER_NAME), S_OK);
	vss_answers = E_FAIL;
	CHECK(setup_uninstall(1, words) == 0 && !registry_exists(UMBRA_KEY_VSS));
	vss_answers = S_OK;
}

static void whether_vss_holds_what_is_gone(void)
{
	static const struct {
		struct load_mark mark, now;
		bool told, dead;
	} cases[] = {
		{{0, 0}, {7, 9}, true, false},  /* nothing was loaded */
		{{7, 9}, {7, 9}, true, false},  /* it runs */
		{{7, 9}, {0, 9}, true, true},   /* it ended, */
		{{7, 9}, {8, 9}, true, true},   /* … and another one runs */
		{{7, 9}, {8, 10}, true, false}, /* of another VSS */
		{{7, 9}, {0, 0}, true, false},  /* VSS has ended, too */
		{{7, 0}, {8, 10}, true, true},  /* which one it was is not known */
		{{7, 0}, {8, 0}, false, true},  /* nor is the one of now */
		{{7, 0}, {7, 0}, false, false},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CHECK(load_mark_judge(&cases[i].mark, &cases[i].now, cases[i].told) == cases[i].dead);
}

static void what_a_vss_that_is_gone_had_loaded_does_not_count(void)
{
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE);
	SC_HANDLE vss = CreateServiceW(manager, L"VSS", NULL, SERVICE_ALL_ACCESS, SERVICE_WIN32_OWN_PROCESS,
		SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, L"C:\\vssvc.exe", NULL, NULL, NULL, NULL, NULL);

	CHECK(vss);
	lingering.hProcess = GetCurrentProcess(); /* so the service manager is played here */
	lingering.dwProcessId = 11;
	load_mark_begin();
	load_mark_begin();
	load_mark_end();
	CHECK(load_mark_is_loaded() && registry_exists(UMBRA_KEY_LOADED));
	lingering.dwProcessId = 12;
	load_mark_begin();
	load_mark_end();
	CHECK(!load_mark_is_loaded() && !registry_exists(UMBRA_KEY_LOADED));
	load_mark_end(); /* once too often */
	CHECK(!load_mark_is_loaded());
	lingering.hProcess = NULL;
	CHECK(DeleteService(vss));
	CloseServiceHandle(vss);
	CloseServiceHandle(manager);
}

/* It ends when it is idle, and starts for who asks again; one that never starts is given up. */
static void a_vss_that_is_ending_is_asked_again(void)
{
	VSS_PROVIDER_PROP props;

	vss_answers = VSS_E_UNEXPECTED;
	vss_asked = 0;
	vss_ends_for = 2;
	CHECK_HR(registration_query(&props), VSS_E_UNEXPECTED);
	CHECK(vss_asked == 3);
	vss_ends_for = 1000;
	vss_asked = 0;
	CHECK_HR(registration_remove(), CO_E_SERVER_EXEC_FAILURE);
	CHECK(vss_asked > 3 && vss_asked < 20);
	vss_ends_for = 0;
	vss_answers = S_OK;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "linger")) {
		Sleep(INFINITE);
		return 0;
	}
	static const struct test tests[] = {
		TEST(who_may_change_a_program),
		TEST(a_real_file_is_judged),
		TEST(keys_are_written_by_administrators_only),
		TEST(keys_come_and_go),
		TEST(what_is_registered_is_of_this_version),
		TEST(failures_are_explained),
		TEST(the_service_is_hardened_quoted_and_put_back),
		TEST(a_service_has_stopped_when_its_process_is_gone),
		TEST(where_its_process_cannot_be_waited_for_its_state_counts),
		TEST(a_service_that_starts_is_stopped_when_it_runs),
		TEST(a_service_that_is_being_deleted_is_waited_for),
		TEST(a_disabled_vss_keeps_nobody_from_removing),
		TEST(a_vss_that_is_ending_is_asked_again),
		TEST(whether_vss_holds_what_is_gone),
		TEST(what_a_vss_that_is_gone_had_loaded_does_not_count),
		TEST(calls_that_never_answer_are_given_up),
	};

	return run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
