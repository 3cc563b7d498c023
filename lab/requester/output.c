/* SPDX-License-Identifier: Apache-2.0 */
/* See output.h. lab/README.md lists the JSON members. */
#include "lab/requester/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vsserror.h>
#include "lab/coordinator/json.h"

#define NAME(code)                                                                                           \
	{                                                                                                    \
		code, #code                                                                                  \
	}

static const struct {
	HRESULT hr;
	const char *name;
} names[] = {NAME(S_OK), NAME(S_FALSE), NAME(E_FAIL), NAME(E_INVALIDARG), NAME(E_OUTOFMEMORY),
	NAME(E_ACCESSDENIED), NAME(E_NOTIMPL), NAME(E_NOINTERFACE), NAME(E_POINTER), NAME(E_UNEXPECTED),
	NAME(E_ABORT), NAME(E_PENDING), NAME(REGDB_E_CLASSNOTREG), NAME(CO_E_SERVER_EXEC_FAILURE),
	NAME(RPC_E_DISCONNECTED), NAME(VSS_E_BAD_STATE), NAME(VSS_E_UNEXPECTED),
	NAME(VSS_E_PROVIDER_ALREADY_REGISTERED), NAME(VSS_E_PROVIDER_NOT_REGISTERED),
	NAME(VSS_E_PROVIDER_VETO), NAME(VSS_E_PROVIDER_IN_USE), NAME(VSS_E_OBJECT_NOT_FOUND),
	NAME(VSS_E_VOLUME_NOT_SUPPORTED), NAME(VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER),
	NAME(VSS_E_OBJECT_ALREADY_EXISTS), NAME(VSS_E_UNEXPECTED_PROVIDER_ERROR),
	NAME(VSS_E_INVALID_XML_DOCUMENT), NAME(VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED),
	NAME(VSS_E_FLUSH_WRITES_TIMEOUT), NAME(VSS_E_HOLD_WRITES_TIMEOUT),
	NAME(VSS_E_SNAPSHOT_SET_IN_PROGRESS), NAME(VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED),
	NAME(VSS_E_UNSUPPORTED_CONTEXT), NAME(VSS_E_INSUFFICIENT_STORAGE), NAME(VSS_E_NO_SNAPSHOTS_IMPORTED),
	NAME(VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED), NAME(VSS_E_MISSING_DISK), NAME(VSS_E_NESTED_VOLUME_LIMIT),
	NAME(VSS_E_CANNOT_REVERT_DISKID), NAME(VSS_E_BREAK_REVERT_ID_FAILED), NAME(VSS_E_LEGACY_PROVIDER),
	NAME(VSS_E_AUTORECOVERY_FAILED), NAME(VSS_E_NONTRANSPORTABLE_BCD), NAME(VSS_E_RESYNC_IN_PROGRESS),
	NAME(VSS_E_UNSELECTED_VOLUME), NAME(VSS_E_SNAPSHOT_NOT_IN_SET), NAME(VSS_S_ASYNC_PENDING),
	NAME(VSS_S_ASYNC_FINISHED), NAME(VSS_S_ASYNC_CANCELLED)};

const char *hresult_name(HRESULT hr)
{
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (names[i].hr == hr)
			return names[i].name;
	return NULL;
}

char *utf8_of(const wchar_t *text)
{
	int bytes = WideCharToMultiByte(CP_UTF8, 0, text ? text : L"", -1, NULL, 0, NULL, NULL);
	char *out = malloc(bytes > 0 ? (size_t)bytes : 1);
	if (!out)
		abort();
	out[0] = 0;
	WideCharToMultiByte(CP_UTF8, 0, text ? text : L"", -1, out, bytes, NULL, NULL);
	return out;
}

static void put_wide(struct json_out *j, const char *key, const wchar_t *text)
{
	char *utf8 = utf8_of(text);
	json_string(j, key, utf8);
	free(utf8);
}

static void put_guid(struct json_out *j, const char *key, const GUID *id)
{
	wchar_t text[40];
	StringFromGUID2(id, text, 40);
	put_wide(j, key, text);
}

static void put_hr(struct json_out *j, HRESULT hr)
{
	json_hex32(j, "hresult", (uint32_t)hr);
	if (hresult_name(hr))
		json_string(j, "hresult_name", hresult_name(hr));
}

/* Who works in a phase: the provider, the write hold, or what the VSS service itself does. */
static const char *kind_of(const wchar_t *name)
{
	static const wchar_t *const service[] = {L"Scan", L"SetFlags", L"ClearFlags", L"Arrival", L"Rescan",
		L"MendFlags", L"NewIdentities", L"RevertIdentity", L"MendTargets"};
	if (wcscmp(name, L"FlushAndHold") == 0 || wcscmp(name, L"ReleaseWrites") == 0)
		return "hold";
	for (size_t i = 0; i < sizeof service / sizeof service[0]; i++)
		if (wcscmp(name, service[i]) == 0)
			return "service";
	return "provider";
}

static void put_calls(struct json_out *j, const LAB_RESULT *res)
{
	json_open(j, "phases", '[');
	for (ULONG i = 0; i < res->phase_count; i++) {
		const LAB_PHASE *p = &res->phases[i];
		json_open(j, NULL, '{');
		put_wide(j, "name", p->name);
		json_string(j, "kind", kind_of(p->name));
		json_ms(j, "start_ms", p->start_us);
		json_ms(j, "ms", p->us);
		put_hr(j, p->hr);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_open(j, "calls", '[');
	for (ULONG i = 0; i < res->call_count; i++) {
		const LAB_CALL *c = &res->calls[i];
		json_open(j, NULL, '{');
		put_wide(j, "method", c->method);
		put_wide(j, "arguments", c->arguments);
		json_ms(j, "start_ms", c->start_us);
		json_ms(j, "ms", c->us);
		put_hr(j, c->hr);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_identifiers(struct json_out *j, const wchar_t *identifiers)
{
	char *text = utf8_of(identifiers), *at = text;
	json_open(j, "identifiers", '[');
	while (*at) {
		char *blank = strchr(at, ' ');
		if (blank)
			*blank = 0;
		json_string(j, NULL, at);
		if (!blank)
			break;
		at = blank + 1;
	}
	json_close(j, ']');
	free(text);
}

static void put_luns(struct json_out *j, const LAB_RESULT *res)
{
	json_open(j, "luns", '[');
	for (ULONG i = 0; i < res->lun_count; i++) {
		const LAB_LUN *l = &res->luns[i];
		json_open(j, NULL, '{');
		put_wide(j, "role", l->role);
		put_wide(j, "device", l->device);
		json_int(j, "drive", l->drive);
		json_int(j, "port", l->port);
		json_int(j, "path", l->path);
		json_int(j, "target", l->target);
		json_int(j, "lun", l->lun);
		json_int(j, "volume", l->volume);
		json_int(j, "size_bytes", (int64_t)l->size_bytes);
		put_wide(j, "vendor", l->vendor);
		put_wide(j, "product", l->product);
		put_wide(j, "revision", l->revision);
		put_wide(j, "serial", l->serial);
		put_identifiers(j, l->identifiers);
		put_wide(j, "table", l->state);
		put_wide(j, "pair", l->pair);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_sets(struct json_out *j, const LAB_RESULT *res)
{
	json_open(j, "sets", '[');
	for (ULONG i = 0; i < res->set_count; i++) {
		const LAB_SET *s = &res->sets[i];
		json_open(j, NULL, '{');
		put_guid(j, "set", &s->id);
		put_guid(j, "provider", &s->provider_id);
		put_wide(j, "state", s->state);
		put_wide(j, "created", s->created);
		json_bool(j, "transportable", s->transportable != 0);
		json_hex32(j, "context", (uint32_t)s->context);
		json_int(j, "luns", s->lun_count);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_snapshots(struct json_out *j, const LAB_RESULT *res)
{
	json_open(j, "snapshots", '[');
	for (ULONG i = 0; i < res->snapshot_count; i++) {
		const LAB_SNAPSHOT *s = &res->snapshots[i];
		json_open(j, NULL, '{');
		put_guid(j, "snapshot", &s->id);
		put_guid(j, "set", &s->set_id);
		json_int(j, "volume", s->volume);
		json_int(j, "original_lun", s->original_lun);
		json_int(j, "luns", s->lun_count);
		json_hex32(j, "context", (uint32_t)s->context);
		put_wide(j, "created", s->created);
		put_wide(j, "exposed", s->exposed);
		json_close(j, '}');
	}
	json_close(j, ']');
}

void output_json(const char *verb, const LAB_RESULT *res, const wchar_t *document_path)
{
	static const GUID none;
	struct json_out j = {0};
	json_open(&j, NULL, '{');
	json_string(&j, "verb", verb);
	put_hr(&j, res->hr);
	put_wide(&j, "message", res->message);
	if (!IsEqualGUID(&res->set_id, &none))
		put_guid(&j, "set", &res->set_id);
	json_bool(&j, "transportable", res->transportable != 0);
	json_hex32(&j, "context", (uint32_t)res->context);
	json_int(&j, "writers", res->writers);
	if (res->hold_us >= 0)
		json_ms(&j, "hold_ms", res->hold_us);
	if (res->commit_us >= 0)
		json_ms(&j, "commit_ms", res->commit_us);
	if (res->percent >= 0)
		json_int(&j, "percent", res->percent);
	if (document_path)
		put_wide(&j, "document", document_path);
	put_calls(&j, res);
	put_luns(&j, res);
	put_sets(&j, res);
	put_snapshots(&j, res);
	json_close(&j, '}');
	if (j.failed)
		abort();
	puts(j.text);
	json_out_free(&j);
}

/* Padded to width. */
static void print_wide(const char *before, const wchar_t *text, int width, const char *after)
{
	char *utf8 = utf8_of(text);
	printf("%s%-*s%s", before, width, utf8, after);
	free(utf8);
}

static void print_hr(HRESULT hr)
{
	if (hresult_name(hr))
		printf("%s", hresult_name(hr));
	else
		printf("0x%08x", (unsigned)hr);
}

static void print_guid(const GUID *id)
{
	wchar_t text[40];
	StringFromGUID2(id, text, 40);
	print_wide("", text, 0, "");
}

static void print_luns(const LAB_RESULT *res)
{
	for (ULONG i = 0; i < res->lun_count; i++) {
		const LAB_LUN *l = &res->luns[i];
		print_wide("", l->role, 9, "");
		if (l->drive >= 0) {
			print_wide("", l->device, 22, "");
			printf("%ld:%ld:%ld:%-4ld %8.1f MiB  ", l->port, l->path, l->target, l->lun,
				(double)l->size_bytes / 1048576.0);
			print_wide("", l->state, 10, "");
		}
		print_wide(" ", l->serial, 0, "");
		if (l->pair && *l->pair)
			print_wide(wcscmp(l->role, L"original") == 0 ? "  -> " : "  <- ", l->pair, 0, "");
		putchar('\n');
	}
}

static void print_calls(const LAB_RESULT *res)
{
	for (ULONG i = 0; i < res->call_count; i++) {
		const LAB_CALL *c = &res->calls[i];
		printf("%10.3f ms %9.3f ms  ", (double)c->start_us / 1000.0, (double)c->us / 1000.0);
		print_wide("", c->method, 26, "");
		print_hr(c->hr);
		print_wide("  ", c->arguments, 0, "\n");
	}
}

void output_text(const char *verb, const LAB_RESULT *res, bool with_calls, const wchar_t *document_path)
{
	static const GUID none;
	if (with_calls)
		print_calls(res);
	print_luns(res);
	for (ULONG i = 0; i < res->set_count; i++) {
		const LAB_SET *s = &res->sets[i];
		print_guid(&s->id);
		print_wide("  ", s->state, 0, "");
		print_wide("  ", s->created, 0, "");
		printf("  %lu LUNs%s\n", s->lun_count, s->transportable ? ", transportable" : "");
	}
	for (ULONG i = 0; i < res->snapshot_count; i++) {
		const LAB_SNAPSHOT *s = &res->snapshots[i];
		print_guid(&s->id);
		printf("  shadow copy of volume %ld (LUN %ld)", s->volume, s->original_lun);
		print_wide(s->exposed && *s->exposed ? ", exposed as " : "", s->exposed, 0, "\n");
	}
	if (!IsEqualGUID(&res->set_id, &none) && res->hr == S_OK) {
		printf("set ");
		print_guid(&res->set_id);
		putchar('\n');
	}
	if (res->commit_us >= 0)
		printf("CommitSnapshots %.3f ms, %ld writers held for %.3f ms\n",
			(double)res->commit_us / 1000.0, res->writers, (double)res->hold_us / 1000.0);
	if (document_path && res->hr == S_OK)
		print_wide("document ", document_path, 0, "\n");
	fflush(stdout);
	if (res->hr == S_OK)
		return;
	char *message = utf8_of(res->message);
	fprintf(stderr, "umbra-lab-requester: %s: %s (%s, 0x%08x)\n", verb, message,
		hresult_name(res->hr) ? hresult_name(res->hr) : "no name", (unsigned)res->hr);
	free(message);
}
