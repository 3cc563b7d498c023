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
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include "lab_requester.h"
#include "lab/coordinator/wine_rpc.h"
#include "lab/requester/output.h"

#define MAX_VOLUME_LUNS    512
#define DOCUMENT_MAX_BYTES (8u << 20)

static const char usage_text[] =
	"usage: umbra-lab-requester VERB ...\n"
	"  create --lun N[,N...] [--lun ...]   make a shadow copy set; each --lun is one volume, on one or "
	"several LUNs\n"
	"      (N: LUN number on the SCSI port; dN: \\\\.\\PHYSICALDRIVE<N>)\n"
	"      --transportable FILE   write the document FILE for another host's import instead of importing "
	"here\n"
	"      --context NAME[,NAME]  differential, plex, no-writers, persistent, no-auto-release, "
	"no-auto-recovery,\n"
	"                             client-accessible, app-rollback, nas-rollback, or 0xHEX\n"
	"      --hold-ms N            hold the writers N ms longer than needed\n"
	"      --provider ID          this provider instead of the first that supports the volumes\n"
	"      --targets-after post-commit|final   when to call GetTargetLuns (default post-commit)\n"
	"      --no-import            stop after GetTargetLuns\n"
	"      --any-context          ask hardware providers even where VSS itself would refuse the context\n"
	"      --document FILE        write the document also without --transportable\n"
	"  import FILE                import a transportable set on this host\n"
	"  list                       sets imported on this host\n"
	"  delete SET                 delete an imported set, SET as list shows it\n"
	"  scan                       the disks of this host's SCSI port as VSS sees them\n"
	"  providers                  registered providers\n"
	"  unload [--force]           OnUnload to the loaded providers\n"
	"every verb: --json (everything, for programs), --calls (each call to the provider), --unload "
	"(OnUnload at\n"
	"the end), --help. Ends 0, 1 (failed, with the reason) or 2 (wrong usage).\n";

struct options {
	bool json, calls, unload, force, help;
	const wchar_t *transportable, *document, *operand;
	LAB_CREATE create;
	LAB_VOLUME_LUN luns[MAX_VOLUME_LUNS];
	LONG volumes;
};

static bool number_of(const wchar_t *text, const wchar_t **end, LONG *out)
{
	wchar_t *stop;
	if (*text < L'0' || *text > L'9')
		return false;
	errno = 0;
	unsigned long value = wcstoul(text, &stop, 10);
	if (errno || value > 0x7fffffff)
		return false;
	*end = stop;
	*out = (LONG)value;
	return true;
}

/* "1,2,d3" as one more volume. */
static bool add_volume(struct options *o, const wchar_t *text)
{
	for (;;) {
		if (o->create.count == MAX_VOLUME_LUNS)
			return false;
		LAB_VOLUME_LUN *l = &o->luns[o->create.count++];
		l->volume = o->volumes;
		l->by_drive = *text == L'd';
		if (!number_of(text + (l->by_drive ? 1 : 0), &text, &l->number))
			return false;
		if (*text == 0)
			break;
		if (*text++ != L',')
			return false;
	}
	o->volumes++;
	return true;
}

static bool add_context(struct options *o, const wchar_t *text)
{
	static const struct {
		const wchar_t *name;
		LONG bits;
	} names[] = {{L"backup", VSS_CTX_BACKUP}, {L"differential", VSS_VOLSNAP_ATTR_DIFFERENTIAL},
		{L"plex", VSS_VOLSNAP_ATTR_PLEX}, {L"no-writers", VSS_VOLSNAP_ATTR_NO_WRITERS},
		{L"persistent", VSS_VOLSNAP_ATTR_PERSISTENT},
		{L"no-auto-release", VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE},
		{L"no-auto-recovery", VSS_VOLSNAP_ATTR_NO_AUTORECOVERY},
		{L"client-accessible", VSS_CTX_CLIENT_ACCESSIBLE}, {L"app-rollback", VSS_CTX_APP_ROLLBACK},
		{L"nas-rollback", VSS_CTX_NAS_ROLLBACK}};
	while (*text) {
		size_t len = wcscspn(text, L","), i = 0;
		for (; i < sizeof names / sizeof names[0]; i++)
			if (wcslen(names[i].name) == len && wcsncmp(text, names[i].name, len) == 0)
				break;
		if (i < sizeof names / sizeof names[0]) {
			o->create.context |= names[i].bits;
		} else {
			wchar_t *stop;
			if (wcsncmp(text, L"0x", 2) != 0)
				return false;
			o->create.context |= (LONG)wcstoul(text + 2, &stop, 16);
			if (stop != text + len)
				return false;
		}
		text += len;
		if (*text == L',')
			text++;
	}
	return true;
}

static bool is(const wchar_t *a, const wchar_t *b)
{
	return wcscmp(a, b) == 0;
}

/* Options that take a value; false: unknown, or a bad value. */
static bool valued_option(struct options *o, const wchar_t *name, const wchar_t *value)
{
	const wchar_t *end;
	if (is(name, L"--lun"))
		return add_volume(o, value);
	if (is(name, L"--context"))
		return add_context(o, value);
	if (is(name, L"--hold-ms"))
		return number_of(value, &end, &o->create.hold_ms) && *end == 0;
	if (is(name, L"--provider"))
		return CLSIDFromString(value, &o->create.provider_id) == S_OK;
	if (is(name, L"--transportable")) {
		o->transportable = value;
		return true;
	}
	if (is(name, L"--document")) {
		o->document = value;
		return true;
	}
	if (is(name, L"--targets-after")) {
		if (is(value, L"final"))
			o->create.flags |= LAB_TARGETS_AFTER_FINAL;
		return is(value, L"final") || is(value, L"post-commit");
	}
	return false;
}

static bool plain_option(struct options *o, const wchar_t *name)
{
	if (is(name, L"--json"))
		o->json = true;
	else if (is(name, L"--calls"))
		o->calls = true;
	else if (is(name, L"--unload"))
		o->unload = true;
	else if (is(name, L"--force"))
		o->force = true;
	else if (is(name, L"--help"))
		o->help = true;
	else if (is(name, L"--no-import"))
		o->create.flags |= LAB_NO_IMPORT;
	else if (is(name, L"--any-context"))
		o->create.flags |= LAB_ANY_CONTEXT;
	else
		return false;
	return true;
}

static bool parse(struct options *o, int argc, wchar_t **argv)
{
	for (int i = 2; i < argc; i++) {
		if (plain_option(o, argv[i]))
			continue;
		if (wcsncmp(argv[i], L"--", 2) == 0) {
			if (i + 1 >= argc || !valued_option(o, argv[i], argv[i + 1])) {
				fwprintf(stderr, L"umbra-lab-requester: %ls: unknown, or a wrong value\n",
					argv[i]);
				return false;
			}
			i++;
		} else if (!o->operand) {
			o->operand = argv[i];
		} else {
			fwprintf(stderr, L"umbra-lab-requester: %ls: one argument too many\n", argv[i]);
			return false;
		}
	}
	if (o->unload)
		o->create.flags |= LAB_UNLOAD_AFTER;
	if (o->transportable)
		o->create.context |= VSS_VOLSNAP_ATTR_TRANSPORTABLE;
	o->create.luns = o->luns;
	return true;
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

static int wrong_usage(const char *what)
{
	fprintf(stderr, "umbra-lab-requester: %s; --help shows the usage\n", what);
	return 2;
}

static int create(ILabRequester *lab, struct options *o)
{
	LAB_RESULT *res = NULL;
	HRESULT hr = lab->lpVtbl->Create(lab, &o->create, &res);
	return show("create", o, hr, res);
}

static int import(ILabRequester *lab, struct options *o)
{
	LAB_RESULT *res = NULL;
	wchar_t *document = read_file(o->operand);
	if (!document)
		return fail("the document cannot be read", HRESULT_FROM_WIN32(GetLastError()));
	HRESULT hr = lab->lpVtbl->Import(lab, document, o->create.flags, &res);
	free(document);
	return show("import", o, hr, res);
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
		wchar_t id[40], clsid[40];
		StringFromGUID2(&p->m_ProviderId, id, 40);
		StringFromGUID2(&p->m_ClassId, clsid, 40);
		char *name = utf8_of(p->m_pwszProviderName), *version = utf8_of(p->m_pwszProviderVersion);
		if (o->json)
			printf("%s{\"id\":\"%ls\",\"clsid\":\"%ls\",\"type\":%d,\"name\":\"%s\",\"version\":"
			       "\"%s\"}",
				separator, id, clsid, p->m_eProviderType, name, version);
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

static int run(const wchar_t *verb, struct options *o, IVssAdmin *admin, ILabRequester *lab)
{
	LAB_RESULT *res = NULL;
	HRESULT hr;
	GUID id;
	if (is(verb, L"create"))
		return o->create.count ? create(lab, o) : wrong_usage("create needs at least one --lun");
	if (is(verb, L"import"))
		return o->operand ? import(lab, o) : wrong_usage("import needs the document's FILE");
	if (is(verb, L"list")) {
		hr = lab->lpVtbl->List(lab, &res);
		return show("list", o, hr, res);
	}
	if (is(verb, L"scan")) {
		hr = lab->lpVtbl->Scan(lab, &res);
		return show("scan", o, hr, res);
	}
	if (is(verb, L"unload")) {
		hr = lab->lpVtbl->Unload(lab, o->force, &res);
		return show("unload", o, hr, res);
	}
	if (is(verb, L"delete")) {
		if (!o->operand || CLSIDFromString(o->operand, &id) != S_OK)
			return wrong_usage("delete needs a SET, as {xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}");
		hr = lab->lpVtbl->Delete(lab, id, o->create.flags, &res);
		return show("delete", o, hr, res);
	}
	return providers(admin, o);
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
	static const wchar_t *const verbs[] = {
		L"create", L"import", L"list", L"delete", L"scan", L"providers", L"unload"};
	static struct options o;
	bool known = false;
	if (argc == 2 && is(argv[1], L"--help")) {
		fputs(usage_text, stdout);
		return 0;
	}
	for (size_t i = 0; argc >= 2 && i < sizeof verbs / sizeof verbs[0]; i++)
		known = known || is(argv[1], verbs[i]);
	if (!known) {
		fputs(usage_text, stderr);
		return 2;
	}
	if (!parse(&o, argc, argv))
		return 2;
	if (o.help) {
		fputs(usage_text, stdout);
		return 0;
	}
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
	int rc = run(argv[1], &o, admin, lab);
	lab->lpVtbl->Release(lab);
	IVssAdmin_Release(admin);
	CoUninitialize();
	return rc;
}
