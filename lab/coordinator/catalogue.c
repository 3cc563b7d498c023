/* SPDX-License-Identifier: Apache-2.0 */
/* See catalogue.h. One file a set: <StateDir>\{id}.json. */
#include "lab/coordinator/catalogue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <objbase.h>
#include "lab/coordinator/json.h"
#include "lab/coordinator/lun_info.h"
#include "lab/coordinator/settings.h"

#define DOCUMENT_FORMAT  "umbra-lab-document"
#define DOCUMENT_VERSION 1

struct shadow_set *set_new(void)
{
	return calloc(1, sizeof(struct shadow_set));
}

void set_free(struct shadow_set *s)
{
	for (size_t i = 0; s && i < s->lun_count; i++) {
		lun_info_free(&s->luns[i].original);
		lun_info_free(&s->luns[i].shadow);
	}
	free(s);
}

int set_find_snapshot(const struct shadow_set *s, const GUID *snapshot_id)
{
	for (size_t v = 0; v < s->volume_count; v++)
		if (IsEqualGUID(&s->volumes[v].snapshot_id, snapshot_id))
			return (int)v;
	return -1;
}

bool set_uses_lun(const struct shadow_set *s, size_t lun, int except)
{
	for (size_t v = 0; v < s->volume_count; v++)
		for (size_t k = 0; (int)v != except && k < s->volumes[v].count; k++)
			if (s->members[s->volumes[v].first + k] == lun)
				return true;
	return false;
}

const GUID *set_lun_provider(const struct shadow_set *s, size_t lun)
{
	for (size_t v = 0; v < s->volume_count; v++)
		for (size_t k = 0; k < s->volumes[v].count; k++)
			if (s->members[s->volumes[v].first + k] == lun)
				return &s->volumes[v].provider_id;
	return &s->provider_id;
}

bool set_is_mixed(const struct shadow_set *s)
{
	for (size_t v = 0; v < s->volume_count; v++)
		if (!IsEqualGUID(&s->volumes[v].provider_id, &s->provider_id))
			return true;
	return false;
}

static void remove_lun(struct shadow_set *s, size_t lun)
{
	lun_info_free(&s->luns[lun].original);
	lun_info_free(&s->luns[lun].shadow);
	s->lun_count--;
	memmove(&s->luns[lun], &s->luns[lun + 1], (s->lun_count - lun) * sizeof s->luns[0]);
	for (size_t m = 0; m < s->member_count; m++)
		if (s->members[m] > lun)
			s->members[m]--;
}

void set_remove_volume(struct shadow_set *s, size_t volume)
{
	size_t first = s->volumes[volume].first, count = s->volumes[volume].count;
	s->member_count -= count;
	memmove(&s->members[first], &s->members[first + count],
		(s->member_count - first) * sizeof s->members[0]);
	s->volume_count--;
	memmove(&s->volumes[volume], &s->volumes[volume + 1],
		(s->volume_count - volume) * sizeof s->volumes[0]);
	for (size_t v = 0; v < s->volume_count; v++)
		if (s->volumes[v].first > first)
			s->volumes[v].first -= count;
	for (size_t lun = s->lun_count; lun-- > 0;)
		if (!set_uses_lun(s, lun, -1))
			remove_lun(s, lun);
}

static void put_guid(struct json_out *j, const char *key, const GUID *id)
{
	char text[40];
	snprintf(text, sizeof text, "{%08lx-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x}",
		(unsigned long)id->Data1, id->Data2, id->Data3, id->Data4[0], id->Data4[1], id->Data4[2],
		id->Data4[3], id->Data4[4], id->Data4[5], id->Data4[6], id->Data4[7]);
	json_string(j, key, text);
}

static bool get_guid(const struct json_value *v, const char *key, GUID *out)
{
	const char *text = json_get_string(v, key);
	wchar_t wide[40] = {0};
	if (!text || strlen(text) != 38)
		return false;
	for (int i = 0; i < 38; i++)
		wide[i] = (wchar_t)(unsigned char)text[i];
	return CLSIDFromString(wide, out) == S_OK;
}

/* Strings of a LUN travel as hex: they are bytes of an INQUIRY answer, not text. */
static void put_bytes_string(struct json_out *j, const char *key, const char *text)
{
	if (text)
		json_bytes(j, key, (const uint8_t *)text, strlen(text));
}

static void put_info(struct json_out *j, const char *key, const VDS_LUN_INFORMATION *info)
{
	json_open(j, key, '{');
	json_int(j, "version", info->m_version);
	json_int(j, "device_type", info->m_DeviceType);
	json_int(j, "device_type_modifier", info->m_DeviceTypeModifier);
	json_bool(j, "command_queueing", info->m_bCommandQueueing != 0);
	json_int(j, "bus_type", info->m_BusType);
	put_bytes_string(j, "vendor", info->m_szVendorId);
	put_bytes_string(j, "product", info->m_szProductId);
	put_bytes_string(j, "revision", info->m_szProductRevision);
	put_bytes_string(j, "serial", info->m_szSerialNumber);
	put_guid(j, "disk_signature", &info->m_diskSignature);
	json_int(j, "descriptor_version", info->m_deviceIdDescriptor.m_version);
	json_open(j, "identifiers", '[');
	for (ULONG i = 0; i < info->m_deviceIdDescriptor.m_cIdentifiers; i++) {
		const VDS_STORAGE_IDENTIFIER *one = &info->m_deviceIdDescriptor.m_rgIdentifiers[i];
		json_open(j, NULL, '{');
		json_int(j, "code_set", one->m_CodeSet);
		json_int(j, "type", one->m_Type);
		json_bytes(j, "bytes", one->m_rgbIdentifier, one->m_cbIdentifier);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_close(j, '}');
}

/* {"kind", "disk", "partitions"}, the ids as hex; nothing for a disk without a partition table. */
static void put_identity(struct json_out *j, const char *key, const struct gpt_identity *id)
{
	if (id->kind != GPT_GPT && id->kind != GPT_MBR)
		return;
	json_open(j, key, '{');
	json_string(j, "kind", id->kind == GPT_GPT ? "gpt" : "mbr");
	json_bytes(j, "disk", id->disk_id, sizeof id->disk_id);
	json_bytes(j, "partitions", id->partition_ids[0], (size_t)id->count * sizeof id->partition_ids[0]);
	json_close(j, '}');
}

static bool get_identity(const struct json_value *v, struct gpt_identity *id)
{
	const char *kind = json_get_string(v, "kind");
	uint8_t *disk = NULL, *partitions = NULL;
	size_t disk_len = 0, partitions_len = 0;
	if (!v)
		return true;
	bool good = kind && (strcmp(kind, "gpt") == 0 || strcmp(kind, "mbr") == 0) &&
		    json_get_bytes(v, "disk", &disk, &disk_len) && disk_len == sizeof id->disk_id &&
		    json_get_bytes(v, "partitions", &partitions, &partitions_len) &&
		    partitions_len <= sizeof id->partition_ids && partitions_len % 16 == 0;
	if (good) {
		id->kind = kind[0] == 'g' ? GPT_GPT : GPT_MBR;
		memcpy(id->disk_id, disk, disk_len);
		id->count = (unsigned)(partitions_len / 16);
		if (partitions_len)
			memcpy(id->partition_ids, partitions, partitions_len);
	}
	free(disk);
	free(partitions);
	return good;
}

char *set_to_document(const struct shadow_set *s)
{
	struct json_out j = {0};
	json_open(&j, NULL, '{');
	json_string(&j, "format", DOCUMENT_FORMAT);
	json_int(&j, "format_version", DOCUMENT_VERSION);
	put_guid(&j, "set", &s->id);
	put_guid(&j, "provider", &s->provider_id);
	json_int(&j, "context", s->context);
	json_bool(&j, "transportable", s->transportable);
	json_bool(&j, "imported", s->imported);
	json_int(&j, "made", (int64_t)s->made_count);
	json_string(&j, "created", s->created);
	json_string(&j, "machine", s->machine);
	json_open(&j, "luns", '[');
	for (size_t i = 0; i < s->lun_count; i++) {
		const struct set_lun *l = &s->luns[i];
		json_open(&j, NULL, '{');
		json_int(&j, "drive", l->drive);
		json_int(&j, "lun", l->lun);
		json_int(&j, "size_bytes", (int64_t)l->size_bytes);
		put_info(&j, "original", &l->original);
		put_info(&j, "shadow", &l->shadow);
		put_identity(&j, "identity", &l->identity);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_open(&j, "volumes", '[');
	for (size_t i = 0; i < s->volume_count; i++) {
		json_open(&j, NULL, '{');
		put_guid(&j, "snapshot", &s->volumes[i].snapshot_id);
		if (!IsEqualGUID(&s->volumes[i].provider_id, &s->provider_id))
			put_guid(&j, "provider", &s->volumes[i].provider_id);
		if (s->volumes[i].name[0])
			json_string(&j, "name", s->volumes[i].name);
		if (s->volumes[i].device)
			json_int(&j, "device", s->volumes[i].device);
		if (s->volumes[i].exposed[0])
			json_string(&j, "exposed", s->volumes[i].exposed);
		json_open(&j, "luns", '[');
		for (size_t k = 0; k < s->volumes[i].count; k++)
			json_int(&j, NULL, (int64_t)s->members[s->volumes[i].first + k]);
		json_close(&j, ']');
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_close(&j, '}');
	char *out = j.failed ? NULL : CoTaskMemAlloc(j.len + 1);
	if (out)
		memcpy(out, j.text, j.len + 1);
	json_out_free(&j);
	return out;
}

/* Into a CoTaskMem block, with a NUL behind it; absent: NULL and true. */
static bool get_block(const struct json_value *v, const char *key, void **out, size_t *count)
{
	uint8_t *bytes;
	*out = NULL;
	*count = 0;
	if (!json_get_string(v, key))
		return true;
	if (!json_get_bytes(v, key, &bytes, count))
		return false;
	char *block = CoTaskMemAlloc(*count + 1);
	if (block) {
		if (*count)
			memcpy(block, bytes, *count);
		block[*count] = 0;
	}
	free(bytes);
	*out = block;
	return block != NULL;
}

static bool get_info(const struct json_value *v, VDS_LUN_INFORMATION *info)
{
	size_t len;
	const struct json_value *queueing = json_get(v, "command_queueing", JSON_BOOL);
	const struct json_value *list = json_get(v, "identifiers", JSON_ARRAY);
	VDS_STORAGE_DEVICE_ID_DESCRIPTOR *d = &info->m_deviceIdDescriptor;
	ULONG count = 0;
	if (!v || !list)
		return false;
	info->m_version = (ULONG)json_get_int(v, "version", 0);
	info->m_DeviceType = (BYTE)json_get_int(v, "device_type", 0);
	info->m_DeviceTypeModifier = (BYTE)json_get_int(v, "device_type_modifier", 0);
	info->m_bCommandQueueing = queueing && queueing->number;
	info->m_BusType = (VDS_STORAGE_BUS_TYPE)json_get_int(v, "bus_type", 0);
	if (!get_block(v, "vendor", (void **)&info->m_szVendorId, &len) ||
		!get_block(v, "product", (void **)&info->m_szProductId, &len) ||
		!get_block(v, "revision", (void **)&info->m_szProductRevision, &len) ||
		!get_block(v, "serial", (void **)&info->m_szSerialNumber, &len) ||
		!get_guid(v, "disk_signature", &info->m_diskSignature))
		return false;
	d->m_version = (ULONG)json_get_int(v, "descriptor_version", 0);
	for (const struct json_value *one = list->child; one; one = one->next)
		if (++count > LUN_INFO_MAX_IDENTIFIERS)
			return false;
	if (count == 0)
		return true;
	d->m_rgIdentifiers = CoTaskMemAlloc(count * sizeof *d->m_rgIdentifiers);
	if (!d->m_rgIdentifiers)
		return false;
	memset(d->m_rgIdentifiers, 0, count * sizeof *d->m_rgIdentifiers);
	d->m_cIdentifiers = count;
	VDS_STORAGE_IDENTIFIER *to = d->m_rgIdentifiers;
	for (const struct json_value *one = list->child; one; one = one->next, to++) {
		to->m_CodeSet = (VDS_STORAGE_IDENTIFIER_CODE_SET)json_get_int(one, "code_set", 0);
		to->m_Type = (VDS_STORAGE_IDENTIFIER_TYPE)json_get_int(one, "type", 0);
		if (!get_block(one, "bytes", (void **)&to->m_rgbIdentifier, &len) || len > LUN_INFO_MAX_BYTES)
			return false;
		to->m_cbIdentifier = (ULONG)len;
	}
	return true;
}

static bool get_luns(struct shadow_set *s, const struct json_value *list)
{
	for (const struct json_value *v = list ? list->child : NULL; v; v = v->next) {
		if (s->lun_count == SET_MAX_LUNS)
			return false;
		struct set_lun *l = &s->luns[s->lun_count++];
		l->drive = (int)json_get_int(v, "drive", -1);
		l->lun = (int)json_get_int(v, "lun", -1);
		l->size_bytes = (uint64_t)json_get_int(v, "size_bytes", 0);
		if (!get_info(json_get(v, "original", JSON_OBJECT), &l->original) ||
			!get_info(json_get(v, "shadow", JSON_OBJECT), &l->shadow) ||
			!get_identity(json_get(v, "identity", JSON_OBJECT), &l->identity) ||
			lun_info_unfit(&l->shadow))
			return false;
	}
	return s->lun_count > 0;
}

static bool get_volumes(struct shadow_set *s, const struct json_value *list)
{
	for (const struct json_value *v = list ? list->child : NULL; v; v = v->next) {
		const struct json_value *luns = json_get(v, "luns", JSON_ARRAY);
		if (s->volume_count == SET_MAX_VOLUMES || !luns || !luns->child)
			return false;
		struct set_volume *volume = &s->volumes[s->volume_count++];
		const char *exposed = json_get_string(v, "exposed"), *name = json_get_string(v, "name");
		volume->first = s->member_count;
		snprintf(volume->exposed, sizeof volume->exposed, "%s", exposed ? exposed : "");
		snprintf(volume->name, sizeof volume->name, "%s", name ? name : "");
		volume->device = (LONG)json_get_int(v, "device", 0);
		volume->provider_id = s->provider_id;
		if (!get_guid(v, "snapshot", &volume->snapshot_id) ||
			(json_get_string(v, "provider") && !get_guid(v, "provider", &volume->provider_id)))
			return false;
		for (const struct json_value *one = luns->child; one; one = one->next) {
			if (one->type != JSON_INT || one->number < 0 ||
				(uint64_t)one->number >= s->lun_count || s->member_count == SET_MAX_MEMBERS)
				return false;
			s->members[s->member_count++] = (size_t)one->number;
			volume->count++;
		}
	}
	return s->volume_count > 0;
}

static bool get_set(struct shadow_set *s, const struct json_value *v)
{
	const struct json_value *transportable = json_get(v, "transportable", JSON_BOOL);
	const struct json_value *imported = json_get(v, "imported", JSON_BOOL);
	const char *created = json_get_string(v, "created"), *machine = json_get_string(v, "machine");
	s->context = (LONG)json_get_int(v, "context", 0);
	s->made_count = (ULONG)json_get_int(v, "made", 0);
	s->transportable = transportable && transportable->number;
	s->imported = imported && imported->number;
	snprintf(s->created, sizeof s->created, "%s", created ? created : "");
	snprintf(s->machine, sizeof s->machine, "%s", machine ? machine : "");
	return get_guid(v, "set", &s->id) && get_guid(v, "provider", &s->provider_id) &&
	       get_luns(s, json_get(v, "luns", JSON_ARRAY)) &&
	       get_volumes(s, json_get(v, "volumes", JSON_ARRAY));
}

struct shadow_set *set_from_document(const char *text, size_t len, const char **why)
{
	struct json_value *v = len <= DOCUMENT_MAX_BYTES ? json_parse(text, len) : NULL;
	const char *format = json_get_string(v, "format");
	struct shadow_set *s = NULL;
	*why = "it is not JSON";
	if (v && (!format || strcmp(format, DOCUMENT_FORMAT) != 0)) {
		*why = "it is not a document that create --transportable wrote";
	} else if (v && json_get_int(v, "format_version", 0) != DOCUMENT_VERSION) {
		*why = "it is of another version";
	} else if (v) {
		*why = "a field is missing or wrong";
		s = set_new();
		if (s && !get_set(s, v)) {
			set_free(s);
			s = NULL;
		}
	}
	json_free(v);
	return s;
}

static bool path_of(const GUID *id, const wchar_t *ending, wchar_t *out, size_t chars)
{
	wchar_t dir[MAX_PATH], text[40];
	if (!settings_state_dir(dir, MAX_PATH))
		return false;
	StringFromGUID2(id, text, 40);
	int n = _snwprintf(out, chars, L"%ls\\%ls%ls", dir, text, ending);
	return n > 0 && (size_t)n < chars;
}

bool catalogue_has(const GUID *id)
{
	wchar_t path[MAX_PATH];
	return path_of(id, L".json", path, MAX_PATH) && GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES;
}

bool catalogue_store(const struct shadow_set *s)
{
	wchar_t path[MAX_PATH], beside[MAX_PATH];
	char *text = set_to_document(s);
	bool good = text && path_of(&s->id, L".json", path, MAX_PATH) &&
		    path_of(&s->id, L".new", beside, MAX_PATH);
	if (good) {
		HANDLE h = CreateFileW(
			beside, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
		DWORD len = (DWORD)strlen(text), got = 0;
		good = h != INVALID_HANDLE_VALUE && WriteFile(h, text, len, &got, NULL) && got == len &&
		       FlushFileBuffers(h);
		if (h != INVALID_HANDLE_VALUE)
			CloseHandle(h);
		good = good && MoveFileExW(beside, path, MOVEFILE_REPLACE_EXISTING);
	}
	CoTaskMemFree(text);
	return good;
}

struct shadow_set *catalogue_load(const GUID *id)
{
	wchar_t path[MAX_PATH];
	struct shadow_set *s = NULL;
	const char *why;
	if (!path_of(id, L".json", path, MAX_PATH))
		return NULL;
	HANDLE h = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
	if (h == INVALID_HANDLE_VALUE)
		return NULL;
	DWORD size = GetFileSize(h, NULL), got = 0;
	char *text = size <= DOCUMENT_MAX_BYTES ? malloc(size + 1) : NULL;
	if (text && ReadFile(h, text, size, &got, NULL) && got == size)
		s = set_from_document(text, size, &why);
	free(text);
	CloseHandle(h);
	return s;
}

bool catalogue_remove(const GUID *id)
{
	wchar_t path[MAX_PATH];
	return path_of(id, L".json", path, MAX_PATH) && DeleteFileW(path);
}

size_t catalogue_list(GUID *ids, size_t cap)
{
	wchar_t dir[MAX_PATH], pattern[MAX_PATH];
	WIN32_FIND_DATAW found;
	size_t count = 0;
	if (!settings_state_dir(dir, MAX_PATH))
		return 0;
	_snwprintf(pattern, MAX_PATH, L"%ls\\{*}.json", dir);
	pattern[MAX_PATH - 1] = 0;
	HANDLE h = FindFirstFileW(pattern, &found);
	if (h == INVALID_HANDLE_VALUE)
		return 0;
	do {
		wchar_t *dot = wcsrchr(found.cFileName, L'.');
		if (dot)
			*dot = 0;
		if (count < cap && CLSIDFromString(found.cFileName, &ids[count]) == S_OK)
			count++;
	} while (FindNextFileW(h, &found));
	FindClose(h);
	return count;
}

struct shadow_set *catalogue_find_snapshot(const GUID *snapshot_id, int *volume)
{
	GUID ids[CATALOGUE_MAX];
	size_t count = catalogue_list(ids, CATALOGUE_MAX);
	for (size_t i = 0; i < count; i++) {
		struct shadow_set *s = catalogue_load(&ids[i]);
		*volume = s ? set_find_snapshot(s, snapshot_id) : -1;
		if (*volume >= 0)
			return s;
		set_free(s);
	}
	return NULL;
}
