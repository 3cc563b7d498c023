/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of adapters, from the directory of all names (QueryDosDevice): ScsiN: has no upper bound that could be tried. Disks
 * are found by their interfaces (disk_numbers.c); an adapter's interface would tell no number, and by that its routes are known.
 */
#include "provider/device_names.h"

#include <stdlib.h>
#include <wchar.h>

#define FIRST_CHARS 32768
#define MOST_CHARS  (16 * 1024 * 1024)

struct device_names device_names_read(void)
{
	for (DWORD chars = FIRST_CHARS; chars <= MOST_CHARS; chars *= 2) {
		struct device_names names = {calloc(chars + 1, sizeof(WCHAR))};
		if (names.text && QueryDosDeviceW(NULL, names.text, chars))
			return names;
		DWORD error = names.text ? GetLastError() : ERROR_OUTOFMEMORY;
		free(names.text);
		if (error != ERROR_INSUFFICIENT_BUFFER)
			break;
	}
	return (struct device_names){NULL};
}

void device_names_free(struct device_names *names)
{
	free(names->text);
	names->text = NULL;
}

static bool number_in(const WCHAR *name, const WCHAR *prefix, const WCHAR *suffix, unsigned *n)
{
	size_t len = wcslen(prefix);
	WCHAR *end;

	if (_wcsnicmp(name, prefix, len) != 0 || name[len] < L'0' || name[len] > L'9')
		return false;
	unsigned long value = wcstoul(name + len, &end, 10);
	if (value > 0xFFFFFF || wcscmp(end, suffix) != 0)
		return false;
	*n = (unsigned)value;
	return true;
}

bool device_names_next(const struct device_names *names, const WCHAR *prefix, const WCHAR *suffix,
	unsigned from, unsigned *n)
{
	bool found = false;
	unsigned at;

	for (const WCHAR *name = names->text ? names->text : L""; *name; name += wcslen(name) + 1) {
		if (!number_in(name, prefix, suffix, &at) || at < from || (found && at >= *n))
			continue;
		*n = at;
		found = true;
	}
	return found;
}
