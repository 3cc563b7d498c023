/* SPDX-License-Identifier: Apache-2.0 */
/* See settings.h. */
#include "provider/settings.h"

#include "provider/copy_kind.h"
#include "provider/ids.h"
#include "provider/provider.h"

#define BUDGET_MIN_MS 100
#define BUDGET_MAX_MS 9000

uint32_t settings_commit_budget_ms(void)
{
	DWORD value = 0, size = sizeof(value);

	if (RegGetValueW(HKEY_LOCAL_MACHINE, UMBRA_KEY_SETTINGS, L"CommitBudgetMs", RRF_RT_REG_DWORD, NULL,
		    &value, &size) != ERROR_SUCCESS ||
		value < BUDGET_MIN_MS || value > BUDGET_MAX_MS)
		return PROVIDER_BUDGET_MS;
	return value;
}

enum up_copy_kind settings_copy_kind(void)
{
	enum up_copy_kind kind = UP_COPY_DEFAULT;
	char word[16];
	DWORD size = sizeof(word);

	if (RegGetValueA(HKEY_LOCAL_MACHINE, UMBRA_KEY_SETTINGS_A, "DefaultCopyKind", RRF_RT_REG_SZ, NULL,
		    word, &size) == ERROR_SUCCESS)
		(void)copy_kind_parse(word, &kind);
	return kind;
}

void settings_trace_file(WCHAR out[MAX_PATH])
{
	DWORD size = MAX_PATH * sizeof(WCHAR);

	if (RegGetValueW(HKEY_LOCAL_MACHINE, UMBRA_KEY_SETTINGS, L"TraceFile", RRF_RT_REG_SZ, NULL, out,
		    &size) != ERROR_SUCCESS)
		out[0] = L'\0';
}
