/* SPDX-License-Identifier: Apache-2.0 */
/* A setting of the lab in this host's registry: see port.h. */
#include <string.h>
#include <ntddk.h>
#include "lab/scsiport/port.h"

unsigned int port_setting(const wchar_t *name, unsigned int otherwise)
{
	union {
		KEY_VALUE_PARTIAL_INFORMATION v;
		UCHAR bytes[sizeof(KEY_VALUE_PARTIAL_INFORMATION) + sizeof(ULONG)];
	} u;
	UNICODE_STRING path, value;
	OBJECT_ATTRIBUTES attributes;
	ULONG got = 0, number = otherwise;
	HANDLE key;

	RtlInitUnicodeString(&path, L"\\Registry\\Machine\\Software\\Umbra\\Lab");
	RtlInitUnicodeString(&value, name);
	InitializeObjectAttributes(&attributes, &path, OBJ_CASE_INSENSITIVE, NULL, NULL);
	if (!NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes)))
		return otherwise;
	if (NT_SUCCESS(ZwQueryValueKey(key, &value, KeyValuePartialInformation, &u, sizeof(u), &got)) &&
		u.v.Type == REG_DWORD && u.v.DataLength == sizeof(number))
		memcpy(&number, u.v.Data, sizeof(number));
	ZwClose(key);
	return number;
}
