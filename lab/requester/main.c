/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-requester.exe: the backup software's part in the lab. Asks the coordinator (umbra-lab-vss.exe)
 * over COM for shadow copy sets, prints what came of it. Ends 0 (done), 1 (failed: why and what to do on
 * stderr, or in the JSON), 2 (wrong usage).
 */
#define INITGUID
#include <windows.h>
#include <initguid.h>
#include <objbase.h>
#include <vss.h>
#include <vsadmin.h>
#include <vsserror.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include "lab/coordinator/wine_rpc.h"
#include "lab/requester/options.h"
#include "lab/requester/output.h"

#define DOCUMENT_MAX_BYTES (8u << 20)

static void usage(FILE *out)
{
	fputs(options_usage, out);
	fputs(vshadow_usage, out);
}

static bool is(const wchar_t *a, const wchar_t *b)
{
	return wcscmp(a, b) == 0;
}

static int fail(const char *what, HRESULT hr)
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

/* malloc'ed, or NULL. */
static wchar_t *read_file(const wchar_t *path)
{
	HANDLE h = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
	if (h == INVALID_HANDLE_VALUE)
		return NULL;
	DWORD size = GetFileSize(h, NULL), got = 0;
	char *text = size <= DOCUMENT_MAX_BYTES ? malloc(size + 1) : NULL;
	wchar_t *wide = NULL;
	if (text && ReadFile(h, text, size, &got, NULL) && got == size) {
		text[size] = 0;
		int chars = MultiByteToWideChar(CP_UTF8, 0, text, -1, NULL, 0);
		wide = chars > 0 ? malloc((size_t)chars * sizeof *wide) : NULL;
		if (wide)
			MultiByteToWideChar(CP_UTF8, 0, text, -1, wide, chars);
	}
	free(text);
	CloseHandle(h);
	return wide;
}

/* Prints one answer; the exit code. */
static int show(const char *verb, const struct options *o, HRESULT hr, const LAB_RESULT *res)
{
	const wchar_t *path = o->transportable ? o->transportable : o->document;
	if (FAILED(hr) || !res)
		return fail(
			"the coordinator did not answer: is umbra-lab-vss registered in this prefix?", hr);
	bool written = true;
	if (path && res->document)
		written = write_file(path, res->document);
	if (o->json)
		output_json(verb, res, path && res->document && written ? path : NULL);
	else
		output_text(verb, res, o->calls, path && res->document && written ? path : NULL);
	fflush(stdout);
	if (!written)
		return fail("the document cannot be written", HRESULT_FROM_WIN32(GetLastError()));
	return res->hr == S_OK ? 0 : 1;
}

static int providers(IVssAdmin *admin, const struct options *o)
{
	IVssEnumObject *list = NULL;
	VSS_OBJECT_PROP prop;
	ULONG got;
	HRESULT hr = IVssAdmin_QueryProviders(admin, &list);
	if (FAILED(hr))
		return fail("QueryProviders failed", hr);
	const char *separator = o->json ? "[" : "";
	while (IVssEnumObject_Next(list, 1, &prop, &got) == S_OK && got == 1) {
		VSS_PROVIDER_PROP *p = &prop.Obj.Prov;
		wchar_t id[40], clsid[40], version_id[40];
		StringFromGUID2(&p->m_ProviderId, id, 40);
		StringFromGUID2(&p->m_ClassId, clsid, 40);
		StringFromGUID2(&p->m_ProviderVersionId, version_id, 40);
		char *name = utf8_of(p->m_pwszProviderName), *version = utf8_of(p->m_pwszProviderVersion);
		if (o->json)
			printf("%s{\"id\":\"%ls\",\"clsid\":\"%ls\",\"version_id\":\"%ls\",\"type\":%d,\"name\":\"%s\",\"version\":"
			       "\"%s\"}",
				separator, id, clsid, version_id, p->m_eProviderType, name, version);
		else
			printf("%ls  class %ls  type %d  %s %s\n", id, clsid, p->m_eProviderType, name,
				version);
		separator = o->json ? "," : "";
		free(name);
		free(version);
		CoTaskMemFree(p->m_pwszProviderName);
		CoTaskMemFree(p->m_pwszProviderVersion);
	}
	if (o->json)
		printf("%s]\n", *separator == '[' ? "[" : "");
	IVssEnumObject_Release(list);
	return 0;
}

/* import and resync: what they read is handed over. */
static HRESULT with_document(ILabRequester *lab, struct options *o, LAB_RESULT **res)
{
	wchar_t *document = read_file(o->file);
	if (!document)
		return HRESULT_FROM_WIN32(GetLastError() ? GetLastError() : ERROR_INVALID_DATA);
	HRESULT hr = o->verb == VERB_IMPORT ? lab->lpVtbl->Import(lab, document, o->create.flags, res)
					    : lab->lpVtbl->Resync(lab, document, &o->resync, res);
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
static HRESULT delete_oldest(ILabRequester *lab, const struct options *o, LAB_RESULT **res)
{
	LAB_RESULT *all = NULL;
	const LAB_SNAPSHOT *oldest = NULL;
	HRESULT hr = lab->lpVtbl->List(lab, &all);
	for (ULONG i = 0; SUCCEEDED(hr) && all && i < all->snapshot_count; i++) {
		const LAB_SNAPSHOT *s = &all->snapshots[i];
		if (s->original_lun == o->lun && (!oldest || wcscmp(s->created, oldest->created) < 0))
			oldest = s;
	}
	if (oldest)
		return lab->lpVtbl->Delete(lab, oldest->id, o->create.flags | LAB_ONE_SNAPSHOT, res);
	if (SUCCEEDED(hr) && all)
		not_found(all);
	*res = all;
	return hr;
}

/* One answer for each set, in JSON as a list; 0 when every set went. */
static int delete_all(ILabRequester *lab, const struct options *o)
{
	LAB_RESULT *all = NULL;
	int rc = 0;
	HRESULT hr = lab->lpVtbl->List(lab, &all);
	if (FAILED(hr) || !all)
		return fail("the coordinator did not answer", hr);
	if (o->json)
		puts("[");
	for (ULONG i = 0; i < all->set_count; i++) {
		LAB_RESULT *res = NULL;
		if (o->json && i)
			puts(",");
		hr = lab->lpVtbl->Delete(lab, all->sets[i].id, o->create.flags, &res);
		rc |= show("delete", o, hr, res);
	}
	if (o->json)
		puts("]");
	return rc;
}

static const struct {
	const wchar_t *name;
	enum verb verb;
} verbs[] = {{L"create", VERB_CREATE}, {L"import", VERB_IMPORT}, {L"list", VERB_LIST},
	{L"delete", VERB_DELETE}, {L"delete-one", VERB_DELETE_ONE}, {L"delete-oldest", VERB_DELETE_OLDEST},
	{L"delete-all", VERB_DELETE_ALL}, {L"break", VERB_BREAK}, {L"mask", VERB_BREAK},
	{L"resync", VERB_RESYNC}, {L"expose", VERB_EXPOSE}, {L"unexpose", VERB_EXPOSE}, {L"scan", VERB_SCAN},
	{L"providers", VERB_PROVIDERS}, {L"unload", VERB_UNLOAD}};

static const char *name_of(enum verb verb)
{
	static char name[32];
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		if (verbs[i].verb == verb) {
			snprintf(name, sizeof name, "%ls", verbs[i].name);
			break;
		}
	return name;
}

static int run(struct options *o, IVssAdmin *admin, ILabRequester *lab)
{
	LAB_RESULT *res = NULL;
	HRESULT hr = E_INVALIDARG;
	switch (o->verb) {
	case VERB_CREATE:
		hr = lab->lpVtbl->Create(lab, &o->create, &res);
		break;
	case VERB_IMPORT:
	case VERB_RESYNC:
		hr = with_document(lab, o, &res);
		if (FAILED(hr) && !res)
			return fail("the document cannot be read, or the coordinator did not answer", hr);
		break;
	case VERB_LIST:
		hr = lab->lpVtbl->List(lab, &res);
		if (SUCCEEDED(hr) && res && o->has_id)
			narrow(o, res);
		break;
	case VERB_DELETE:
	case VERB_DELETE_ONE:
		hr = lab->lpVtbl->Delete(lab, o->id,
			o->create.flags | (o->verb == VERB_DELETE_ONE ? LAB_ONE_SNAPSHOT : 0), &res);
		break;
	case VERB_DELETE_OLDEST:
		hr = delete_oldest(lab, o, &res);
		break;
	case VERB_DELETE_ALL:
		return delete_all(lab, o);
	case VERB_BREAK:
		hr = lab->lpVtbl->Break(lab, o->id, o->break_flags, o->create.flags | o->late_flags, &res);
		break;
	case VERB_EXPOSE:
		hr = lab->lpVtbl->Expose(lab, o->id, (wchar_t *)(uintptr_t)o->name, &res);
		break;
	case VERB_SCAN:
		hr = lab->lpVtbl->Scan(lab, &res);
		break;
	case VERB_UNLOAD:
		hr = lab->lpVtbl->Unload(lab, o->force, &res);
		break;
	default:
		return providers(admin, o);
	}
	return show(name_of(o->verb), o, hr, res);
}

/* The verb that a word names, with what it means by itself. */
static void set_verb(struct options *o, const wchar_t *word)
{
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		if (is(word, verbs[i].name))
			o->verb = verbs[i].verb;
	if (is(word, L"mask"))
		o->break_flags = VSS_BREAKEX_FLAG_MASK_LUNS;
	if (is(word, L"unexpose"))
		o->name = L"";
}

/* 0: go on; 1: help was asked for; 2: wrong usage. */
static int understand(struct options *o, int argc, wchar_t **argv)
{
	options_init(o);
	if (argc == 2 && is(argv[1], L"--help"))
		return 1;
	if (argc >= 2 && vshadow_speaks(argv[1]))
		return !vshadow_parse(o, argc, argv) ? 2 : o->help;
	if (argc >= 2)
		set_verb(o, argv[1]);
	if (o->verb == VERB_NONE) {
		usage(stderr);
		return 2;
	}
	if (!options_parse(o, argc, argv))
		return 2;
	if (o->help)
		return 1;
	const char *why = options_incomplete(o);
	if (why)
		fprintf(stderr, "umbra-lab-requester: %s; --help shows the usage\n", why);
	return why ? 2 : 0;
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
	static struct options o;
	int rc = understand(&o, argc, argv);
	if (rc == 1)
		usage(stdout);
	if (rc != 0)
		return rc == 1 ? 0 : rc;
	IVssAdmin *admin = NULL;
	ILabRequester *lab = NULL;
	HRESULT hr = CoInitializeEx(NULL, COINIT_MULTITHREADED);
	for (int attempt = 0; attempt < 2 && SUCCEEDED(hr) && !admin; attempt++) {
		hr = CoCreateInstance(
			&CLSID_VSSCoordinator, NULL, CLSCTX_LOCAL_SERVER, &IID_IVssAdmin, (void **)&admin);
		if (attempt == 0 && wine_found_dead_class(hr)) {
			wine_forget_dead_classes(NULL);
			hr = S_OK;
		}
	}
	if (SUCCEEDED(hr))
		hr = IVssAdmin_QueryInterface(admin, &IID_ILabRequester, (void **)&lab);
	if (FAILED(hr))
		return fail("the coordinator cannot be reached: register vss_ps.dll and umbra-lab-vss in "
			    "this prefix",
			hr);
	rc = run(&o, admin, lab);
	lab->lpVtbl->Release(lab);
	IVssAdmin_Release(admin);
	CoUninitialize();
	return rc;
}
