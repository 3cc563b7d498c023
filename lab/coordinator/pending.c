/* SPDX-License-Identifier: Apache-2.0 */
/* See pending.h. The file: {"luns": [{"serial", "partitions": [{"entry", "bits"}]}]}, bits shifted right
 * by 60. */
#include "lab/coordinator/pending.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lab/coordinator/json.h"
#include "lab/coordinator/settings.h"

#define FILE_MAX_BYTES (4u << 20)

static bool file_path(wchar_t *out, size_t chars)
{
	wchar_t dir[MAX_PATH];
	int n = settings_state_dir(dir, MAX_PATH) ? _snwprintf(out, chars, L"%ls\\flags.pending", dir) : -1;
	return n > 0 && (size_t)n < chars;
}

bool pending_note(const struct port_disk *const *disks, size_t count)
{
	wchar_t path[MAX_PATH];
	struct json_out j = {0};
	json_open(&j, NULL, '{');
	json_open(&j, "luns", '[');
	for (size_t i = 0; i < count; i++) {
		const struct gpt_state *t = &disks[i]->table;
		if (t->kind != GPT_GPT || !disks[i]->info.m_szSerialNumber)
			continue;
		json_open(&j, NULL, '{');
		json_string(&j, "serial", disks[i]->info.m_szSerialNumber);
		json_open(&j, "partitions", '[');
		for (int k = 0; k < GPT_MAX_ENTRIES; k++) {
			if (!t->bits[k])
				continue;
			json_open(&j, NULL, '{');
			json_int(&j, "entry", k);
			json_int(&j, "bits", (int64_t)(t->bits[k] >> 60));
			json_close(&j, '}');
		}
		json_close(&j, ']');
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_close(&j, '}');
	bool good = !j.failed && file_path(path, MAX_PATH);
	if (good) {
		HANDLE h =
			CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
		DWORD got = 0;
		good = h != INVALID_HANDLE_VALUE && WriteFile(h, j.text, (DWORD)j.len, &got, NULL) &&
		       got == j.len;
		if (h != INVALID_HANDLE_VALUE)
			CloseHandle(h);
	}
	json_out_free(&j);
	return good;
}

void pending_done(void)
{
	wchar_t path[MAX_PATH];
	if (file_path(path, MAX_PATH))
		DeleteFileW(path);
}

static struct json_value *read_file(void)
{
	wchar_t path[MAX_PATH];
	struct json_value *v = NULL;
	if (!file_path(path, MAX_PATH))
		return NULL;
	HANDLE h = CreateFileW(path, GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL);
	if (h == INVALID_HANDLE_VALUE)
		return NULL;
	DWORD size = GetFileSize(h, NULL), got = 0;
	char *text = size <= FILE_MAX_BYTES ? malloc(size + 1) : NULL;
	if (text && ReadFile(h, text, size, &got, NULL) && got == size)
		v = json_parse(text, size);
	free(text);
	CloseHandle(h);
	return v;
}

static bool mend_disk(const struct port_disk *d, const struct json_value *lun)
{
	struct gpt_state before = {.kind = GPT_GPT};
	const struct json_value *list = json_get(lun, "partitions", JSON_ARRAY);
	for (const struct json_value *v = list ? list->child : NULL; v; v = v->next) {
		int64_t at = json_get_int(v, "entry", -1);
		if (at >= 0 && at < GPT_MAX_ENTRIES)
			before.bits[at] = (uint64_t)json_get_int(v, "bits", 0) << 60;
	}
	return SUCCEEDED(port_restore_bits(d, &before));
}

void pending_mend(struct record *r)
{
	struct json_value *v = read_file();
	if (!v)
		return;
	ULONG phase = record_phase_begin(r, L"MendFlags");
	struct port_scan *scan = port_scan();
	const struct json_value *list = json_get(v, "luns", JSON_ARRAY);
	bool all = scan != NULL;
	for (const struct json_value *lun = list ? list->child : NULL; lun && scan; lun = lun->next) {
		const char *serial = json_get_string(lun, "serial");
		bool done = false;
		for (size_t i = 0; i < scan->count && serial && !done; i++) {
			const struct port_disk *d = &scan->disks[i];
			if (d->info.m_szSerialNumber && strcmp(d->info.m_szSerialNumber, serial) == 0)
				done = mend_disk(d, lun);
		}
		all = all && done;
	}
	record_phase_end(r, phase, all ? S_OK : S_FALSE);
	if (all)
		pending_done();
	port_scan_free(scan);
	json_free(v);
}
