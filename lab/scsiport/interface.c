/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See interface.h. Wine's SetupDi takes a half-made key for the end of the list. So the names sort as the slots of disks.h
 * are first used: a key that is being made is always the last.
 */
#include "lab/scsiport/interface.h"
#include "lab/scsiport/disks.h"

#define DISK_GUID   "{53f56307-b6bf-11d0-94f2-00a0c91efb8b}"
#define CLASS_GUID  L"{4d36e967-e325-11ce-bfc1-08002be10318}"
#define CONTROL_SET "\\Registry\\Machine\\System\\CurrentControlSet\\"
#define CLASSES     CONTROL_SET "Control\\DeviceClasses\\" DISK_GUID "\\##?#SCSI#Disk&Ven_LAB&Prod_Disk#5&0&"
#define ENUM        CONTROL_SET "Enum\\SCSI\\Disk&Ven_LAB&Prod_Disk\\5&0&"
#define FIRST_KEY   1000000 /* all numbers in names are of one length */

/* Makes what is missing of a path: all keys below CurrentControlSet. */
static NTSTATUS key_create(HANDLE *key, UNICODE_STRING *path, ULONG options)
{
	const USHORT whole = path->Length;
	const USHORT fixed = (USHORT)((sizeof(CONTROL_SET) - 1) * sizeof(WCHAR));
	NTSTATUS status = STATUS_SUCCESS;

	*key = NULL;
	for (USHORT at = fixed; NT_SUCCESS(status) && at <= whole; at += sizeof(WCHAR)) {
		OBJECT_ATTRIBUTES attributes;
		if (at < whole && path->Buffer[at / sizeof(WCHAR)] != L'\\')
			continue;
		if (*key)
			ZwClose(*key);
		path->Length = at;
		InitializeObjectAttributes(&attributes, path, OBJ_CASE_INSENSITIVE, NULL, NULL);
		status = ZwCreateKey(key, KEY_ALL_ACCESS, &attributes, 0, NULL,
			at == whole ? options : REG_OPTION_NON_VOLATILE, NULL);
	}
	path->Length = whole;
	return status;
}

static NTSTATUS value_set(unsigned int n, const char *prefix, const char *suffix, ULONG options,
	const WCHAR *name, ULONG type, const void *data, ULONG bytes)
{
	UNICODE_STRING path, value;
	WCHAR buf[INTERFACE_CHARS * 2];
	HANDLE key;

	port_name(&path, buf, prefix, FIRST_KEY + n, suffix);
	RtlInitUnicodeString(&value, name);
	NTSTATUS status = key_create(&key, &path, options);
	if (NT_SUCCESS(status)) {
		status = ZwSetValueKey(key, &value, 0, type, (void *)data, bytes);
		ZwClose(key);
	}
	return status;
}

static NTSTATUS text_set(
	unsigned int n, const char *prefix, const char *suffix, const WCHAR *name, const UNICODE_STRING *text)
{
	return value_set(n, prefix, suffix, REG_OPTION_NON_VOLATILE, name, REG_SZ, text->Buffer,
		text->Length + sizeof(WCHAR));
}

void interface_link(UNICODE_STRING *name, WCHAR buf[INTERFACE_CHARS], unsigned int n)
{
	port_name(name, buf, "\\DosDevices\\SCSI#Disk&Ven_LAB&Prod_Disk#5&0&", FIRST_KEY + n, "#" DISK_GUID);
}

static NTSTATUS interface_make(unsigned int n)
{
	UNICODE_STRING text;
	WCHAR buf[INTERFACE_CHARS];

	RtlInitUnicodeString(&text, CLASS_GUID);
	NTSTATUS status = text_set(n, ENUM, "", L"ClassGUID", &text);
	if (!NT_SUCCESS(status))
		return status;
	port_name(&text, buf, "SCSI\\Disk&Ven_LAB&Prod_Disk\\5&0&", FIRST_KEY + n, "");
	status = text_set(n, CLASSES, "#" DISK_GUID, L"DeviceInstance", &text);
	if (!NT_SUCCESS(status))
		return status;
	port_name(&text, buf, "\\\\?\\SCSI#Disk&Ven_LAB&Prod_Disk#5&0&", FIRST_KEY + n, "#" DISK_GUID);
	return text_set(n, CLASSES, "#" DISK_GUID "\\#", L"SymbolicLink", &text);
}

NTSTATUS interface_set(unsigned int n, bool listed)
{
	static bool made[DISKS_MAX + 1];
	const ULONG linked = listed;

	if (!made[n]) {
		NTSTATUS status = interface_make(n);
		if (!NT_SUCCESS(status))
			return status;
		made[n] = true;
	}
	return value_set(n, CLASSES, "#" DISK_GUID "\\#\\Control", REG_OPTION_VOLATILE, L"Linked", REG_DWORD,
		&linked, sizeof(linked));
}
