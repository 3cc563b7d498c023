/* SPDX-License-Identifier: Apache-2.0 */
/* See settings.h. */
#include "provider/settings.h"

#include <stdbool.h>
#include <wchar.h>
#include "provider/copy_kind.h"
#include "provider/ids.h"
#include "provider/provider.h"

#define BUDGET_MIN_MS 100
#define BUDGET_MAX_MS 8000

static bool read_budget(DWORD *value)
{
	DWORD size = sizeof(*value);

	return RegGetValueW(HKEY_LOCAL_MACHINE, UMBRA_KEY_SETTINGS, L"CommitBudgetMs", RRF_RT_REG_DWORD, NULL,
		       value, &size) == ERROR_SUCCESS &&
	       *value >= BUDGET_MIN_MS && *value <= BUDGET_MAX_MS;
}

static bool read_kind(enum up_copy_kind *kind)
{
	char word[16];
	DWORD size = sizeof(word);

	return RegGetValueA(HKEY_LOCAL_MACHINE, UMBRA_KEY_SETTINGS_A, "DefaultCopyKind", RRF_RT_REG_SZ, NULL,
		       word, &size) == ERROR_SUCCESS &&
	       copy_kind_parse(word, kind);
}

static bool read_file(WCHAR out[MAX_PATH])
{
	DWORD size = MAX_PATH * sizeof(WCHAR);

	return RegGetValueW(HKEY_LOCAL_MACHINE, UMBRA_KEY_SETTINGS, L"TraceFile", RRF_RT_REG_SZ, NULL, out,
		       &size) == ERROR_SUCCESS;
}

uint32_t settings_commit_budget_ms(void)
{
	DWORD value;

	return read_budget(&value) ? value : PROVIDER_BUDGET_MS;
}

enum up_copy_kind settings_copy_kind(void)
{
	enum up_copy_kind kind;

	return read_kind(&kind) ? kind : UP_COPY_DEFAULT;
}

void settings_trace_file(WCHAR out[MAX_PATH])
{
	if (!read_file(out))
		out[0] = L'\0';
}

/* ---- for the preflight ---------------------------------------------------------------------------- */

static bool budget_is_good(void)
{
	DWORD value;

	return read_budget(&value);
}

static bool kind_is_good(void)
{
	enum up_copy_kind kind;

	return read_kind(&kind);
}

/* The service's current folder is Windows' own: a path must be a full one. */
static bool file_is_good(void)
{
	WCHAR path[MAX_PATH];

	if (!read_file(path))
		return false;
	WCHAR *end = wcsrchr(path, L'\\');
	if (!path[0] || !end)
		return !path[0];
	bool full = path[1] == L':' || (path[0] == L'\\' && path[1] == L'\\');
	end[1] = L'\0';
	DWORD folder = GetFileAttributesW(path);
	return full && folder != INVALID_FILE_ATTRIBUTES && (folder & FILE_ATTRIBUTE_DIRECTORY);
}

unsigned settings_fault(unsigned n, const WCHAR **name, const char **want)
{
	static const struct {
		const WCHAR *name;
		const char *want;
		bool (*is_good)(void);
	} rows[SETTINGS] = {
		{L"CommitBudgetMs", "a DWORD from 100 to 8000", budget_is_good},
		{L"DefaultCopyKind", "a string: differential, plex or array", kind_is_good},
		{L"TraceFile", "a string: the full path of a file, in a folder that is there", file_is_good},
	};

	for (; n < SETTINGS; n++) {
		*name = rows[n].name;
		*want = rows[n].want;
		if (RegGetValueW(HKEY_LOCAL_MACHINE, UMBRA_KEY_SETTINGS, rows[n].name, RRF_RT_ANY, NULL, NULL,
			    NULL) == ERROR_SUCCESS &&
			!rows[n].is_good())
			return n;
	}
	return SETTINGS;
}
