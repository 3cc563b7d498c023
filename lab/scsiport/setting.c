/* SPDX-License-Identifier: Apache-2.0 */
/* The lab's settings in this host's registry: see port.h. */
#include <string.h>
#include <ntddk.h>
#include "lab/scsiport/port.h"

#define VALUE_BYTES 512

union value {
	KEY_VALUE_PARTIAL_INFORMATION v;
	UCHAR bytes[sizeof(KEY_VALUE_PARTIAL_INFORMATION) + VALUE_BYTES];
};

static bool read_value(const wchar_t *key_path, const wchar_t *name, union value *out)
{
	UNICODE_STRING path, value;
	OBJECT_ATTRIBUTES attributes;
	ULONG got = 0;
	HANDLE key;

	RtlInitUnicodeString(&path, key_path);
	RtlInitUnicodeString(&value, name);
	InitializeObjectAttributes(&attributes, &path, OBJ_CASE_INSENSITIVE, NULL, NULL);
	if (!NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes)))
		return false;
	bool good =
		NT_SUCCESS(ZwQueryValueKey(key, &value, KeyValuePartialInformation, out, sizeof(*out), &got));
	ZwClose(key);
	return good;
}

unsigned int port_setting(const wchar_t *name, unsigned int otherwise)
{
	union value u;
	ULONG number = otherwise;

	if (read_value(L"\\Registry\\Machine\\Software\\Umbra\\Lab", name, &u) && u.v.Type == REG_DWORD &&
		u.v.DataLength == sizeof(number))
		memcpy(&number, u.v.Data, sizeof(number));
	return number;
}

bool port_text(const wchar_t *path, const wchar_t *name, wchar_t *out, unsigned int chars)
{
	union value u;

	if (!read_value(path, name, &u) || u.v.Type != REG_SZ || u.v.DataLength > chars * sizeof(*out) ||
		u.v.DataLength < sizeof(*out))
		return false;
	memcpy(out, u.v.Data, u.v.DataLength);
	out[u.v.DataLength / sizeof(*out) - 1] = 0;
	return true;
}
