/* SPDX-License-Identifier: Apache-2.0 */
/* See support.h: what Windows tells. */
#include "provider/support.h"

#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <sddl.h>
#include "provider/ids.h"
#include "provider/settings.h"
#include "provider/setup_service.h"
#include "provider/support_text.h"

#define KEY_SERVICES    L"SYSTEM\\CurrentControlSet\\Services\\"
#define KEY_ADAPTERS    L"SYSTEM\\CurrentControlSet\\Control\\Class\\{4D36E97B-E325-11CE-BFC1-08002BE10318}"
#define DEPTH_MAX       4
#define NAMES_MAX       512 /* keys below one, and values of one */
#define VALUE_CAP       8192
#define SHOWN_BYTES     64
#define EVENT_DAYS      7
#define EVENTS_MAX      1000 /* of one log */
#define EVENT_BUF       (256 * 1024)
#define PROGRAM_LIMIT_S 60
#define PROGRAM_CAP     (512 * 1024)
#define TRACE_TAIL      (512 * 1024)

static void to_utf8(const WCHAR *text, char *out, size_t cap)
{
	(void)support_utf8((const uint8_t *)text, wcslen(text) * sizeof(*text), out, cap);
}

/* ---- system ------------------------------------------------------------------------------------------- */

static void show_text_value(FILE *out, const WCHAR *key, const WCHAR *name)
{
	WCHAR value[256];
	char text[512];
	DWORD size = sizeof(value);

	if (RegGetValueW(HKEY_LOCAL_MACHINE, key, name, RRF_RT_REG_SZ, NULL, value, &size) != ERROR_SUCCESS)
		return;
	to_utf8(value, text, sizeof(text));
	fprintf(out, "%ls: %s\n", name, text);
}

void support_system(FILE *out)
{
	static const WCHAR version[] = L"SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion";
	static const WCHAR *const names[] = {
		L"ProductName", L"DisplayVersion", L"CurrentBuildNumber", L"EditionID", L"InstallationType"};
	SYSTEMTIME now;
	DWORD ubr = 0, size = sizeof(ubr);
	HKEY cluster;

	GetSystemTime(&now);
	fprintf(out, "time: %04u-%02u-%02u %02u:%02u:%02u UTC, up for %llu s\n", now.wYear, now.wMonth,
		now.wDay, now.wHour, now.wMinute, now.wSecond, (unsigned long long)(GetTickCount64() / 1000));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		show_text_value(out, version, names[i]);
	if (RegGetValueW(HKEY_LOCAL_MACHINE, version, L"UBR", RRF_RT_REG_DWORD, NULL, &ubr, &size) ==
		ERROR_SUCCESS)
		fprintf(out, "UBR: %lu\n", (unsigned long)ubr);
	fprintf(out, "language: %04x, code pages %u and %u\n", GetSystemDefaultUILanguage(), GetACP(),
		GetOEMCP());
	bool node = RegOpenKeyExW(HKEY_LOCAL_MACHINE, L"Cluster", 0, KEY_READ, &cluster) == ERROR_SUCCESS;
	if (node)
		RegCloseKey(cluster);
	fprintf(out, "cluster node: %s\n", node ? "yes" : "no");
	fprintf(out, "service umbra-vss: %s\n", setup_service_state());
}

/* ---- registry ----------------------------------------------------------------------------------------- */

/* COM's lists of rights in words. */
static bool show_rights(FILE *out, const BYTE *value, DWORD len)
{
	LPWSTR text = NULL;

	if (len < sizeof(SECURITY_DESCRIPTOR_RELATIVE) ||
		!IsValidSecurityDescriptor((PSECURITY_DESCRIPTOR)value) ||
		GetSecurityDescriptorLength((PSECURITY_DESCRIPTOR)value) > len)
		return false;
	if (!ConvertSecurityDescriptorToStringSecurityDescriptorW((PSECURITY_DESCRIPTOR)value,
		    SDDL_REVISION_1,
		    OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
		    &text, NULL))
		return false;
	fprintf(out, "%ls", text);
	LocalFree(text);
	return true;
}

static void show_value(FILE *out, const WCHAR *name, DWORD type, const BYTE *value, DWORD len, unsigned depth)
{
	char key[SUPPORT_NAME_CHARS * 3], text[VALUE_CAP];
	size_t name_len = wcslen(name);

	to_utf8(name, key, sizeof(key));
	fprintf(out, "%*s%s = ", 2 * (int)depth + 2, "", key[0] ? key : "(default)");
	bool rights = name_len > 10 && !wcscmp(name + name_len - 10, L"Permission");
	if (support_is_secret(key)) {
		fputs("(left out)", out);
	} else if (type == REG_DWORD && len == 4) {
		fprintf(out, "%lu", (unsigned long)*(const DWORD *)(const void *)value);
	} else if (type == REG_SZ || type == REG_EXPAND_SZ) {
		(void)support_utf8(value, len, text, sizeof(text));
		fprintf(out, "\"%s\"", text);
	} else if (type == REG_MULTI_SZ) {
		for (DWORD at = 0; at + 2 < len;) {
			at += (DWORD)support_utf8(value + at, len - at, text, sizeof(text));
			fprintf(out, "\"%s\" ", text);
		}
	} else if (!rights || !show_rights(out, value, len)) {
		support_hex(value, len, SHOWN_BYTES, out);
	}
	fputc('\n', out);
}

static void show_values(FILE *out, HKEY key, unsigned depth)
{
	BYTE *value = malloc(VALUE_CAP);

	for (DWORD i = 0; value && i < NAMES_MAX; i++) {
		WCHAR name[SUPPORT_NAME_CHARS];
		DWORD chars = SUPPORT_NAME_CHARS, len = VALUE_CAP, type = REG_NONE;
		LSTATUS err = RegEnumValueW(key, i, name, &chars, NULL, &type, value, &len);
		if (err == ERROR_NO_MORE_ITEMS)
			break;
		if (err == ERROR_SUCCESS)
			show_value(out, name, type, value, len, depth);
	}
	free(value);
}

/* only: of the keys right below, those of this name alone one level further down (the adapters' Parameters); NULL: all. */
static void show_key(FILE *out, HKEY parent, const WCHAR *path, const WCHAR *only, unsigned depth)
{
	char text[1024];
	HKEY key;

	if (RegOpenKeyExW(parent, path, 0, KEY_READ, &key) != ERROR_SUCCESS)
		return;
	to_utf8(path, text, sizeof(text));
	fprintf(out, "%*s[%s]\n", 2 * (int)depth, "", text);
	if (!only)
		show_values(out, key, depth);
	for (DWORD i = 0; depth < DEPTH_MAX && i < NAMES_MAX; i++) {
		WCHAR name[SUPPORT_NAME_CHARS], below[SUPPORT_NAME_CHARS * 2];
		DWORD chars = SUPPORT_NAME_CHARS;
		if (RegEnumKeyExW(key, i, name, &chars, NULL, NULL, NULL, NULL) != ERROR_SUCCESS)
			break;
		_snwprintf(below, SUPPORT_NAME_CHARS * 2 - 1, only ? L"%ls\\%ls" : L"%ls", name,
			only ? only : L"");
		below[SUPPORT_NAME_CHARS * 2 - 1] = L'\0';
		show_key(out, key, below, NULL, depth + 1);
	}
	RegCloseKey(key);
}

void support_registry(FILE *out)
{
	static const WCHAR *const keys[] = {UMBRA_KEY_CLSID, UMBRA_KEY_APPID, UMBRA_KEY_SERVICE,
		UMBRA_KEY_EVENTS, UMBRA_KEY_SETTINGS, KEY_SERVICES L"VSS\\Providers",
		KEY_SERVICES L"VSS\\Settings", KEY_SERVICES L"VSS\\VssAccessControl", KEY_SERVICES L"Disk",
		KEY_SERVICES L"partmgr\\Parameters", KEY_SERVICES L"mpio\\Parameters",
		KEY_SERVICES L"msdsm\\Parameters", L"SYSTEM\\CurrentControlSet\\Control\\MPDEV",
		L"SOFTWARE\\Microsoft\\Ole"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		show_key(out, HKEY_LOCAL_MACHINE, keys[i], NULL, 0);
	show_key(out, HKEY_LOCAL_MACHINE, KEY_ADAPTERS, L"Parameters", 0);
}

/* ---- events ------------------------------------------------------------------------------------------- */

static void show_log(FILE *out, const WCHAR *name, uint32_t since_s)
{
	HANDLE log = OpenEventLogW(NULL, name);
	uint8_t *buf = malloc(EVENT_BUF);
	unsigned shown = 0;
	bool old = false;
	DWORD got, needed;

	fprintf(out, "-- %ls, the newest first\n", name);
	while (log && buf && !old && shown < EVENTS_MAX &&
		ReadEventLogW(log, EVENTLOG_SEQUENTIAL_READ | EVENTLOG_BACKWARDS_READ, 0, buf, EVENT_BUF,
			&got, &needed)) {
		struct support_event e;
		for (size_t at = 0; !old && shown < EVENTS_MAX && support_event_parse(buf, got, at, &e);
			at += e.len_bytes) {
			old = e.unix_s < since_s;
			if (old || !support_source_wanted(e.source))
				continue;
			support_event_print(buf, got, at, &e, out);
			shown++;
		}
	}
	fprintf(out, "%u events%s\n", shown, log ? "" : "; the log cannot be opened");
	if (log)
		CloseEventLog(log);
	free(buf);
}

void support_events(FILE *out)
{
	const uint64_t to_1970_s = UINT64_C(11644473600);
	FILETIME now;

	GetSystemTimeAsFileTime(&now);
	uint64_t now_s = ((uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime) / 10000000 - to_1970_s;
	show_log(out, L"Application", (uint32_t)(now_s - EVENT_DAYS * 86400));
	show_log(out, L"System", (uint32_t)(now_s - EVENT_DAYS * 86400));
}

/* ---- programs of Windows --------------------------------------------------------------------------------- */

/* Its output comes into a file that goes when it is closed: a pipe could be held open by what it starts. */
static HANDLE temporary_file(void)
{
	SECURITY_ATTRIBUTES inherited = {.nLength = sizeof(inherited), .bInheritHandle = TRUE};
	WCHAR folder[MAX_PATH + 1], path[MAX_PATH + 1];

	if (!GetTempPathW(MAX_PATH, folder) || !GetTempFileNameW(folder, L"umb", 0, path))
		return INVALID_HANDLE_VALUE;
	return CreateFileW(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited,
		CREATE_ALWAYS, FILE_ATTRIBUTE_TEMPORARY | FILE_FLAG_DELETE_ON_CLOSE, NULL);
}

static void copy_output(FILE *out, HANDLE file)
{
	char *text = malloc(PROGRAM_CAP);
	DWORD got = 0;

	SetFilePointer(file, 0, NULL, FILE_BEGIN);
	if (text && ReadFile(file, text, PROGRAM_CAP, &got, NULL))
		fwrite(text, 1, got, out);
	free(text);
}

static void run_program(FILE *out, const WCHAR *words)
{
	WCHAR folder[MAX_PATH], command[MAX_PATH + 128];
	STARTUPINFOW start = {.cb = sizeof(start), .dwFlags = STARTF_USESTDHANDLES};
	PROCESS_INFORMATION process;
	HANDLE file = temporary_file();

	fprintf(out, "-- %ls\n", words);
	fflush(out);
	UINT len = GetSystemDirectoryW(folder, MAX_PATH);
	start.hStdOutput = start.hStdError = file;
	_snwprintf(command, MAX_PATH + 127, L"\"%ls\\%.*ls\"%ls", folder, (int)wcscspn(words, L" "), words,
		words + wcscspn(words, L" "));
	command[MAX_PATH + 127] = L'\0';
	if (!len || file == INVALID_HANDLE_VALUE ||
		!CreateProcessW(
			NULL, command, NULL, NULL, TRUE, CREATE_NO_WINDOW, NULL, NULL, &start, &process)) {
		fprintf(out, "cannot be started here: error %lu\n", (unsigned long)GetLastError());
	} else {
		if (WaitForSingleObject(process.hProcess, PROGRAM_LIMIT_S * 1000) != WAIT_OBJECT_0) {
			fprintf(out, "ended after %d s\n", PROGRAM_LIMIT_S);
			TerminateProcess(process.hProcess, 1);
			(void)WaitForSingleObject(process.hProcess, 5000);
		}
		CloseHandle(process.hThread);
		CloseHandle(process.hProcess);
		copy_output(out, file);
	}
	if (file != INVALID_HANDLE_VALUE)
		CloseHandle(file);
}

void support_programs(FILE *out)
{
	static const WCHAR *const all[] = {L"vssadmin.exe list providers", L"vssadmin.exe list writers",
		L"vssadmin.exe list shadows", L"vssadmin.exe list volumes", L"iscsicli.exe SessionList",
		L"mpclaim.exe -s -d", L"sc.exe queryex umbra-vss", L"sc.exe qc umbra-vss", L"sc.exe qc vss",
		L"fltmc.exe filters"};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		run_program(out, all[i]);
}

/* ---- trace -------------------------------------------------------------------------------------------- */

void support_trace(FILE *out)
{
	WCHAR path[MAX_PATH];
	char *text = malloc(TRACE_TAIL);

	settings_trace_file(path);
	FILE *trace = path[0] && text ? _wfopen(path, L"rb") : NULL;
	if (trace) {
		if (fseek(trace, 0, SEEK_END) == 0 && ftell(trace) > TRACE_TAIL)
			(void)fseek(trace, -TRACE_TAIL, SEEK_END);
		else
			rewind(trace);
		fwrite(text, 1, fread(text, 1, TRACE_TAIL, trace), out);
		fclose(trace);
	} else {
		fputs("none: TraceFile is not set, or cannot be read\n", out);
	}
	free(text);
}
