/* SPDX-License-Identifier: Apache-2.0 */
/* See request.h. */
#include "lab/requester/request.h"

#include <objbase.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vsserror.h>
#include <wchar.h>
#include "lab/requester/client.h"
#include "lab/requester/output.h"
#include "lab/requester/program.h"

#define DOCUMENT_MAX_BYTES (8u << 20)

int request_fail(const char *what, HRESULT hr)
{
	fprintf(stderr, "umbra-lab-requester: %s (%s, 0x%08x)\n", what,
		hresult_name(hr) ? hresult_name(hr) : "no name", (unsigned)hr);
	return 1;
}

static bool write_file(const wchar_t *path, const wchar_t *text)
{
	char *utf8 = utf8_of(text);
	DWORD len = (DWORD)strlen(utf8), got = 0;
	HANDLE h = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
	bool good = h != INVALID_HANDLE_VALUE && WriteFile(h, utf8, len, &got, NULL) && got == len;
	if (h != INVALID_HANDLE_VALUE)
		CloseHandle(h);
	free(utf8);
	return good;
}

/* Bytes as text: see request_read_file. NULL: there is a NUL in it, or no memory. */
static wchar_t *wide_of(const char *bytes, size_t len)
{
	bool utf16 = len >= 2 && len % 2 == 0 && memcmp(bytes, "\xff\xfe", 2) == 0;
	bool mark = len >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0;
	int size = (int)(mark ? len - 3 : len), chars;
	const char *text = mark ? bytes + 3 : bytes;
	wchar_t *wide = malloc((len + 1) * sizeof *wide);
	if (!wide)
		return NULL;
	if (utf16) {
		chars = (int)(len / 2 - 1);
		memcpy(wide, bytes + 2, (size_t)chars * sizeof *wide);
	} else {
		chars = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, size, wide, (int)len + 1);
		if (!chars && size)
			chars = MultiByteToWideChar(CP_ACP, 0, text, size, wide, (int)len + 1);
	}
	wide[chars] = 0;
	if (wcslen(wide) == (size_t)chars)
		return wide;
	free(wide);
	return NULL;
}

wchar_t *request_read_file(const wchar_t *path)
{
	HANDLE h = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
	if (h == INVALID_HANDLE_VALUE)
		return NULL;
	DWORD size = GetFileSize(h, NULL), got = 0;
	char *text = size <= DOCUMENT_MAX_BYTES ? malloc(size + 1) : NULL;
	wchar_t *wide = NULL;
	if (text && ReadFile(h, text, size, &got, NULL) && got == size) {
		wide = wide_of(text, size);
		SetLastError(wide ? ERROR_SUCCESS : ERROR_INVALID_DATA);
	}
	free(text);
	CloseHandle(h);
	return wide;
}

int request_show(const char *verb, const struct options *o, HRESULT hr, const LAB_RESULT *res)
{
	const wchar_t *path = o->transportable ? o->transportable : o->document;
	if (FAILED(hr) || !res)
		return request_fail(
			"vssapi.dll or the coordinator cannot be reached: lab/lab up puts both into a host",
			hr);
	bool written = true;
	if (path && res->document)
		written = write_file(path, res->document);
	if (o->json)
		output_json(verb, res, path && res->document && written ? path : NULL);
	else
		output_text(verb, res, o->calls, path && res->document && written ? path : NULL);
	fflush(stdout);
	if (!written)
		return request_fail("the document cannot be written", HRESULT_FROM_WIN32(GetLastError()));
	return res->hr == S_OK ? 0 : 1;
}

struct listing {
	bool json;
	const char *separator;
};

static void print_provider(const VSS_PROVIDER_PROP *p, void *arg)
{
	struct listing *l = arg;
	wchar_t id[40], clsid[40], version_id[40];
	StringFromGUID2(&p->m_ProviderId, id, 40);
	StringFromGUID2(&p->m_ClassId, clsid, 40);
	StringFromGUID2(&p->m_ProviderVersionId, version_id, 40);
	char *name = utf8_of(p->m_pwszProviderName), *version = utf8_of(p->m_pwszProviderVersion);
	if (l->json)
		printf("%s{\"id\":\"%ls\",\"clsid\":\"%ls\",\"version_id\":\"%ls\",\"type\":%d,\"name\":\"%s\","
		       "\"version\":\"%s\"}",
			l->separator, id, clsid, version_id, p->m_eProviderType, name, version);
	else
		printf("%ls  class %ls  type %d  %s %s\n", id, clsid, p->m_eProviderType, name, version);
	l->separator = ",";
	free(name);
	free(version);
}

static int providers(const struct options *o)
{
	struct listing l = {.json = o->json, .separator = "["};
	HRESULT hr = client_providers(print_provider, &l);
	if (FAILED(hr))
		return request_fail("the providers cannot be asked for", hr);
	if (o->json)
		printf("%s]\n", *l.separator == '[' ? "[" : "");
	return 0;
}

/* import and resync: what they read is handed over. */
static HRESULT with_document(const struct options *o, LAB_RESULT **res)
{
	wchar_t *document = request_read_file(o->file);
	if (!document)
		return HRESULT_FROM_WIN32(GetLastError() ? GetLastError() : ERROR_INVALID_DATA);
	HRESULT hr =
		o->verb == VERB_IMPORT ? client_import(o, document, res) : client_resync(o, document, res);
	free(document);
	return hr;
}

static void not_found(LAB_RESULT *res)
{
	static wchar_t why[] = L"this host knows no such shadow copy; list shows them";
	res->hr = VSS_E_OBJECT_NOT_FOUND;
	res->message = why;
}

/* Only what has that id stays in a list. */
static void narrow(const struct options *o, LAB_RESULT *res)
{
	ULONG kept = 0;
	GUID set = o->id;
	for (ULONG i = 0; i < res->snapshot_count; i++) {
		const LAB_SNAPSHOT *s = &res->snapshots[i];
		if (!IsEqualGUID(o->id_is_snapshot ? &s->id : &s->set_id, &o->id))
			continue;
		set = s->set_id;
		res->snapshots[kept++] = *s;
	}
	res->snapshot_count = kept;
	kept = 0;
	for (ULONG i = 0; i < res->set_count; i++)
		if (IsEqualGUID(&res->sets[i].id, &set))
			res->sets[kept++] = res->sets[i];
	res->set_count = kept;
	res->lun_count = 0;
	if (!kept)
		not_found(res);
}

/* The oldest shadow copy of a volume that begins on that LUN. */
static HRESULT delete_oldest(const struct options *o, LAB_RESULT **res)
{
	LAB_RESULT *all = NULL;
	const LAB_SNAPSHOT *oldest = NULL;
	HRESULT hr = client_list(&all);
	for (ULONG i = 0; SUCCEEDED(hr) && all && i < all->snapshot_count; i++) {
		const LAB_SNAPSHOT *s = &all->snapshots[i];
		if (s->original_lun == o->lun && (!oldest || wcscmp(s->created, oldest->created) < 0))
			oldest = s;
	}
	if (oldest)
		return client_delete(&oldest->id, VSS_OBJECT_SNAPSHOT, o->create.flags, res);
	if (SUCCEEDED(hr) && all)
		not_found(all);
	*res = all;
	return hr;
}

/* One answer for each set, in JSON as a list; 0 when every set went. */
static int delete_all(const struct options *o)
{
	LAB_RESULT *all = NULL;
	int rc = 0;
	HRESULT hr = client_list(&all);
	if (FAILED(hr) || !all)
		return request_fail("the coordinator did not answer", hr);
	if (o->json)
		puts("[");
	for (ULONG i = 0; i < all->set_count; i++) {
		LAB_RESULT *res = NULL;
		if (o->json && i)
			puts(",");
		hr = client_delete(
			&all->sets[i].id, VSS_OBJECT_SNAPSHOT_SET, o->create.flags | LAB_FORGET_GONE, &res);
		rc |= request_show("delete", o, hr, res);
	}
	if (o->json)
		puts("]");
	return rc;
}

HRESULT request_run(const struct options *o, LAB_RESULT **res)
{
	HRESULT hr;
	switch (o->verb) {
	case VERB_CREATE:
		return client_create(o, res);
	case VERB_IMPORT:
	case VERB_RESYNC:
		return with_document(o, res);
	case VERB_LIST:
		hr = client_list(res);
		if (SUCCEEDED(hr) && o->has_id)
			narrow(o, *res);
		return hr;
	case VERB_DELETE:
	case VERB_DELETE_ONE:
		return client_delete(&o->id,
			o->verb == VERB_DELETE_ONE ? VSS_OBJECT_SNAPSHOT : VSS_OBJECT_SNAPSHOT_SET,
			o->create.flags, res);
	case VERB_DELETE_OLDEST:
		return delete_oldest(o, res);
	case VERB_BREAK:
		return client_break(o, res);
	case VERB_EXPOSE:
		return client_expose(o, res);
	case VERB_SCAN:
		return client_scan(res);
	case VERB_UNLOAD:
		return client_unload(o->force, res);
	default:
		return E_INVALIDARG;
	}
}

int request_whole(struct options *o)
{
	static const char *const names[] = {[VERB_CREATE] = "create",
		[VERB_IMPORT] = "import",
		[VERB_LIST] = "list",
		[VERB_DELETE] = "delete",
		[VERB_DELETE_ONE] = "delete-one",
		[VERB_DELETE_OLDEST] = "delete-oldest",
		[VERB_BREAK] = "break",
		[VERB_RESYNC] = "resync",
		[VERB_EXPOSE] = "expose",
		[VERB_SCAN] = "scan",
		[VERB_UNLOAD] = "unload"};
	LAB_RESULT *res = NULL;
	if (o->verb == VERB_DELETE_ALL)
		return delete_all(o);
	if (o->verb == VERB_PROVIDERS)
		return providers(o);
	HRESULT hr = request_run(o, &res);
	if (FAILED(hr) && !res && o->file)
		return request_fail("the document cannot be read, or the coordinator did not answer", hr);
	int rc = request_show(names[o->verb], o, hr, res);
	return rc == 0 && o->verb == VERB_CREATE ? program_after_create(o, res) : rc;
}
