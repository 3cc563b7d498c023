/* SPDX-License-Identifier: Apache-2.0 */
/* See session.h. */
#include "lab/coordinator/session.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vss.h>
#include <vsserror.h>
#include "lab/coordinator/admin.h"
#include "lab/coordinator/catalogue.h"
#include "lab/coordinator/clients.h"
#include "lab/coordinator/provider_host.h"
#include "lab/coordinator/record.h"
#include "lab/coordinator/requests.h"
#include "lab/coordinator/sequence.h"
#include "lab/coordinator/settings.h"

#define OWNED_MAX      64
#define LOG_LINE_BYTES 512

struct session {
	ILabSession ILabSession_iface;
	LONG refs;
	struct client_hold *hold;
	HANDLE process, closing; /* closing: an event */
	CRITICAL_SECTION
	lock; /* of the members below, between threads; whoever changes them has the turn, too */
	bool closed, is_tuned;
	LAB_CREATE tuned;     /* owned */
	LAB_CREATE request;   /* of the set that is being made; its pointers are tuned's */
	struct record record; /* of that set, or of a Start that failed: until somebody wants it */
	struct creation *c;   /* the set that is being made */
	LAB_STRING why;       /* … the last Start or Add failed: for GiveUp */
	GUID owned[OWNED_MAX];
	ULONG owned_count, imports; /* imports: under way, or waiting for their turn */
};

static struct session *impl_from_ILabSession(ILabSession *iface)
{
	return CONTAINING_RECORD(iface, struct session, ILabSession_iface);
}

static HRESULT STDMETHODCALLTYPE session_QueryInterface(ILabSession *iface, REFIID iid, void **out)
{
	if (!out)
		return E_POINTER;
	*out = IsEqualIID(iid, &IID_IUnknown) || IsEqualIID(iid, &IID_ILabSession) ? iface : NULL;
	if (!*out)
		return E_NOINTERFACE;
	ILabSession_AddRef(iface);
	return S_OK;
}

static ULONG STDMETHODCALLTYPE session_AddRef(ILabSession *iface)
{
	return (ULONG)InterlockedIncrement(&impl_from_ILabSession(iface)->refs);
}

static void free_tuned(LAB_CREATE *tuned)
{
	free(tuned->luns);
	CoTaskMemFree(tuned->stop_after);
	memset(tuned, 0, sizeof *tuned);
}

static ULONG STDMETHODCALLTYPE session_Release(ILabSession *iface)
{
	struct session *s = impl_from_ILabSession(iface);
	LONG refs = InterlockedDecrement(&s->refs);
	if (refs == 0) {
		CloseHandle(s->process);
		CloseHandle(s->closing);
		DeleteCriticalSection(&s->lock);
		record_drop(&s->record);
		free_tuned(&s->tuned);
		CoTaskMemFree(s->why);
		client_release(s->hold);
		free(s);
	}
	return (ULONG)refs;
}

/* --- the log: what the provider was asked, for whoever wants to see what a requester caused --- */

static void log_line(HANDLE h, const wchar_t *set, const wchar_t *kind, const LAB_CALL *call)
{
	wchar_t text[LOG_LINE_BYTES];
	char line[LOG_LINE_BYTES * 3];
	DWORD got;
	_snwprintf(text, LOG_LINE_BYTES, L"%ls %ls %lld %lld 0x%08x %ls %ls\r\n", set, kind,
		(long long)(call->start_us / 1000), (long long)(call->us / 1000), (unsigned)call->hr,
		call->method ? call->method : L"", call->arguments ? call->arguments : L"");
	text[LOG_LINE_BYTES - 1] = 0;
	int bytes = WideCharToMultiByte(CP_UTF8, 0, text, -1, line, sizeof line, NULL, NULL);
	if (bytes > 1)
		WriteFile(h, line, (DWORD)bytes - 1, &got, NULL);
}

/* <StateDir>\sessions.log: a line for each call and phase: set, kind, begin and length in ms, code, name, arguments. */
static void log_session(const LAB_RESULT *result, const wchar_t *outcome)
{
	wchar_t dir[MAX_PATH], path[MAX_PATH], set[40];
	if (!settings_state_dir(dir, MAX_PATH) || _snwprintf(path, MAX_PATH, L"%ls\\sessions.log", dir) < 0)
		return;
	path[MAX_PATH - 1] = 0;
	HANDLE h = CreateFileW(
		path, FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_ALWAYS, 0, NULL);
	if (h == INVALID_HANDLE_VALUE)
		return;
	StringFromGUID2(&result->set_id, set, 40);
	for (ULONG i = 0; i < result->call_count; i++)
		log_line(h, set, L"call", &result->calls[i]);
	for (ULONG i = 0; i < result->phase_count; i++) {
		const LAB_PHASE *p = &result->phases[i];
		log_line(h, set, L"phase",
			&(LAB_CALL){.start_us = p->start_us, .us = p->us, .hr = p->hr, .method = p->name});
	}
	log_line(h, set, L"end",
		&(LAB_CALL){.hr = result->hr,
			.method = (wchar_t *)(uintptr_t)outcome,
			.arguments = result->message});
	CloseHandle(h);
}

/* --- the set that is being made --- */

/* The set is no longer being made. With the turn. */
static void end_making(struct session *s)
{
	EnterCriticalSection(&s->lock);
	struct creation *c = s->c;
	s->c = NULL;
	LeaveCriticalSection(&s->lock);
	creation_free(c);
	if (c)
		making_leave();
}

/* The record stays. With the turn. */
static void drop_set(struct session *s)
{
	if (!s->c)
		return;
	log_session(s->record.result, L"dropped");
	end_making(s);
}

/* The turn, for which it waits unless it was asked not to. */
static bool take_turn(const struct session *s)
{
	if (s->tuned.flags & LAB_NO_TURN)
		return request_enter();
	await_turn();
	return true;
}

static HRESULT STDMETHODCALLTYPE session_Tune(ILabSession *iface, LAB_CREATE *wishes)
{
	struct session *s = impl_from_ILabSession(iface);
	HRESULT hr = VSS_E_BAD_STATE;
	if (!wishes || (wishes->count && !wishes->luns) || wishes->count > SET_MAX_MEMBERS)
		return E_INVALIDARG;
	EnterCriticalSection(&s->lock);
	if (!s->c) {
		free_tuned(&s->tuned);
		s->tuned = *wishes;
		s->tuned.stop_after = wishes->stop_after ? record_text(wishes->stop_after) : NULL;
		s->tuned.luns = calloc(wishes->count + 1, sizeof *wishes->luns);
		if (s->tuned.luns && wishes->count)
			memcpy(s->tuned.luns, wishes->luns, wishes->count * sizeof *wishes->luns);
		hr = s->tuned.luns ? S_OK : E_OUTOFMEMORY;
		if (hr != S_OK)
			s->tuned.count = 0;
		s->is_tuned = true;
	}
	LeaveCriticalSection(&s->lock);
	return hr;
}

/* Takes the sentence over. */
static void keep_reason(struct session *s, LAB_STRING why)
{
	EnterCriticalSection(&s->lock);
	CoTaskMemFree(s->why);
	s->why = why;
	LeaveCriticalSection(&s->lock);
}

static HRESULT take_failure(struct session *s)
{
	LAB_STRING why;
	HRESULT hr = record_take_failure(&s->record, &why);
	keep_reason(s, why);
	return hr;
}

/* With the turn, without which nobody begins a set. */
static HRESULT start_set(struct session *s, LONG context)
{
	record_drop(&s->record);
	if (!record_begin(&s->record))
		return E_OUTOFMEMORY;
	s->request = s->tuned;
	s->request.context = context;
	request_prepare(&s->record);
	making_enter();
	s->c = creation_start(&s->record, &s->request);
	HRESULT hr = take_failure(s);
	if (!s->c)
		making_leave();
	if (!s->c && !s->is_tuned)
		record_drop(&s->record);
	return hr;
}

static HRESULT STDMETHODCALLTYPE session_Start(ILabSession *iface, LONG context, GUID *set_id)
{
	struct session *s = impl_from_ILabSession(iface);
	HRESULT hr = VSS_E_SNAPSHOT_SET_IN_PROGRESS;
	if (!set_id)
		return E_POINTER;
	if (!take_turn(s)) {
		keep_reason(s, record_text(REQUEST_IN_THE_WAY));
		return hr;
	}
	if (s->closed) {
		hr = VSS_E_BAD_STATE;
	} else if (!making_now()) {
		hr = start_set(s, context);
		if (s->c)
			*set_id = *creation_id(s->c);
	} else {
		keep_reason(
			s, record_text(L"another requester is making a shadow copy set: try again later"));
	}
	end_turn();
	return hr;
}

static HRESULT STDMETHODCALLTYPE session_IsSupported(ILabSession *iface, LONG context, GUID provider_id,
	ULONG count, LAB_VOLUME_LUN *luns, WINBOOL *supported)
{
	struct record r;
	LAB_STRING why;
	LAB_CREATE request = {.context = context, .provider_id = provider_id};
	(void)iface;
	if (!supported || (count && !luns))
		return E_POINTER;
	*supported = FALSE;
	if (!record_begin(&r))
		return E_OUTOFMEMORY;
	await_turn();
	request_prepare(&r);
	struct creation *c = creation_start(&r, &request);
	*supported = c && creation_supports(c, luns, count);
	creation_free(c);
	end_turn();
	HRESULT hr = record_take_failure(&r, &why);
	CoTaskMemFree(why);
	record_drop(&r);
	bool no = hr == VSS_E_VOLUME_NOT_SUPPORTED || hr == VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER ||
		  hr == VSS_E_UNSUPPORTED_CONTEXT;
	return no ? S_OK : hr;
}

static HRESULT STDMETHODCALLTYPE session_Add(ILabSession *iface, WCHAR *name, GUID provider_id, ULONG count,
	LAB_VOLUME_LUN *luns, GUID *snapshot_id)
{
	struct session *s = impl_from_ILabSession(iface);
	char utf8[SET_NAME_BYTES];
	if (!name || !snapshot_id || (count && !luns))
		return E_POINTER;
	if (!count || !WideCharToMultiByte(CP_UTF8, 0, name, -1, utf8, sizeof utf8, NULL, NULL))
		return E_INVALIDARG;
	await_turn();
	HRESULT hr = VSS_E_BAD_STATE;
	if (s->c) {
		s->request.provider_id = provider_id;
		creation_add(s->c, utf8, luns, count, snapshot_id);
		hr = take_failure(s);
	}
	end_turn();
	return hr;
}

/* Is it to go with its requester? */
static bool is_auto_release(LONG context)
{
	return !(context & VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE);
}

static void own(struct session *s, const LAB_RESULT *result, bool visible)
{
	if (s->tuned.flags & LAB_KEEP)
		return;
	if (visible && is_auto_release(result->context) && s->owned_count < OWNED_MAX)
		s->owned[s->owned_count++] = result->set_id;
}

static HRESULT STDMETHODCALLTYPE session_Do(ILabSession *iface, LAB_RESULT **result)
{
	struct session *s = impl_from_ILabSession(iface);
	if (!result)
		return E_POINTER;
	*result = NULL;
	await_turn();
	if (!s->c) {
		end_turn();
		return VSS_E_BAD_STATE;
	}
	creation_do(s->c);
	if (s->request.flags & LAB_UNLOAD_AFTER)
		providers_unload_all(false, &s->record);
	log_session(s->record.result, L"done");
	own(s, s->record.result, catalogue_has(&s->record.result->set_id));
	end_making(s);
	record_finish(&s->record, result);
	end_turn();
	return S_OK;
}

static HRESULT STDMETHODCALLTYPE session_Abort(ILabSession *iface)
{
	struct session *s = impl_from_ILabSession(iface);
	EnterCriticalSection(&s->lock);
	if (s->c)
		creation_cancel(s->c);
	LeaveCriticalSection(&s->lock);
	await_turn(); /* of a Do that runs this is the end, and there is nothing left to drop */
	drop_set(s);
	record_drop(&s->record);
	end_turn();
	return S_OK;
}

static HRESULT STDMETHODCALLTYPE session_GiveUp(ILabSession *iface, LAB_RESULT **result)
{
	struct session *s = impl_from_ILabSession(iface);
	if (!result)
		return E_POINTER;
	*result = NULL;
	if (!s->record.result && !s->why) /* this session's own calls make them */
		return VSS_E_BAD_STATE;
	await_turn();
	if (!s->record.result && !record_begin(&s->record)) {
		end_turn();
		return E_OUTOFMEMORY;
	}
	if (s->record.result && (s->request.flags & LAB_UNLOAD_AFTER))
		providers_unload_all(false, &s->record);
	drop_set(s);
	if (!s->record.result->message) {
		s->record.result->message = s->why;
		s->why = NULL;
	}
	HRESULT hr = record_finish(&s->record, result);
	end_turn();
	return hr;
}

/* --- the rest --- */

static bool waits(const struct session *s)
{
	return !(s->tuned.flags & LAB_NO_TURN);
}

/* What its requester leaves is put in order behind it. */
static void count_import(struct session *s, int by)
{
	EnterCriticalSection(&s->lock);
	s->imports += (ULONG)by;
	LeaveCriticalSection(&s->lock);
}

static void import(struct session *s, struct record *r, WCHAR *document)
{
	char *text = document_text(r, document);
	if (text)
		sequence_import(r, text, strlen(text), s->tuned.flags);
	free(text);
	bool mine = r->result->hr != VSS_E_OBJECT_ALREADY_EXISTS && catalogue_has(&r->result->set_id);
	own(s, r->result, mine);
}

static HRESULT STDMETHODCALLTYPE session_Import(ILabSession *iface, WCHAR *document, LAB_RESULT **result)
{
	struct session *s = impl_from_ILabSession(iface);
	struct record r;
	HRESULT hr;
	if (!document)
		return E_INVALIDARG;
	count_import(s, 1);
	if (!request_begin(&r, waits(s), result, &hr)) {
		count_import(s, -1);
		return hr;
	}
	if (s->closed)
		record_fail(&r, VSS_E_BAD_STATE, L"its requester is gone");
	else
		import(s, &r, document);
	count_import(s, -1);
	return request_end(&r, result);
}

static HRESULT STDMETHODCALLTYPE session_Delete(ILabSession *iface, GUID id, LONG flags, LAB_RESULT **result)
{
	struct record r;
	HRESULT hr;
	if (!request_begin(&r, waits(impl_from_ILabSession(iface)), result, &hr))
		return hr;
	sequence_delete(&r, &id,
		flags | (impl_from_ILabSession(iface)->tuned.flags & (LAB_UNLOAD_AFTER | LAB_FORGET_GONE)));
	return request_end(&r, result);
}

static HRESULT STDMETHODCALLTYPE session_Query(ILabSession *iface, LAB_RESULT **result)
{
	struct record r;
	HRESULT hr;
	if (!request_begin(&r, waits(impl_from_ILabSession(iface)), result, &hr))
		return hr;
	sequence_list(&r);
	return request_end(&r, result);
}

static void delete_owned(struct session *s)
{
	while (s->owned_count) {
		const GUID *id = &s->owned[--s->owned_count];
		struct record r;
		if (!catalogue_has(id) || !record_begin(&r))
			continue;
		request_prepare(&r);
		sequence_delete(&r, id, LAB_FORGET_GONE);
		log_session(r.result, L"released");
		record_drop(&r);
	}
}

static HRESULT STDMETHODCALLTYPE session_Close(ILabSession *iface)
{
	struct session *s = impl_from_ILabSession(iface);
	EnterCriticalSection(&s->lock);
	/* there is nothing for which it would need its turn */
	bool idle = !s->c && !s->owned_count && !s->imports;
	s->closed = s->closed || idle;
	LeaveCriticalSection(&s->lock);
	if (!idle) {
		session_Abort(iface);
		await_turn();
		if (!s->closed) {
			s->closed = true;
			delete_owned(s);
		}
		end_turn();
	}
	SetEvent(s->closing);
	return S_OK;
}

static const ILabSessionVtbl session_vtbl = {session_QueryInterface, session_AddRef, session_Release,
	session_Tune, session_Start, session_IsSupported, session_Add, session_Do, session_Abort,
	session_GiveUp, session_Import, session_Delete, session_Query, session_Close};

/* Has a reference of its own, and keeps the coordinator until what a client that is gone has left is put in order. */
static DWORD WINAPI watch(void *arg)
{
	struct session *s = arg;
	HANDLE either[] = {s->closing, s->process};
	CoInitializeEx(NULL, COINIT_MULTITHREADED);
	if (WaitForMultipleObjects(2, either, FALSE, INFINITE) != WAIT_OBJECT_0)
		session_Close(&s->ILabSession_iface);
	ILabSession_Release(&s->ILabSession_iface);
	CoUninitialize();
	server_release();
	return 0;
}

HRESULT STDMETHODCALLTYPE requester_OpenSession(ILabRequester *iface, ULONG process_id, ILabSession **session)
{
	(void)iface;
	if (!session)
		return E_POINTER;
	*session = NULL;
	struct session *s = calloc(1, sizeof *s);
	if (!s)
		return E_OUTOFMEMORY;
	s->ILabSession_iface.lpVtbl = (ILabSessionVtbl *)(uintptr_t)&session_vtbl;
	s->process = OpenProcess(SYNCHRONIZE, FALSE, process_id);
	s->closing = CreateEventW(NULL, TRUE, FALSE, NULL);
	HRESULT hr = s->process && s->closing ? client_hold(&s->hold) : HRESULT_FROM_WIN32(GetLastError());
	if (FAILED(hr)) {
		CloseHandle(s->process);
		CloseHandle(s->closing);
		free(s);
		return hr;
	}
	InitializeCriticalSection(&s->lock);
	s->refs = 2;
	server_hold();
	HANDLE watcher = CreateThread(NULL, 0, watch, s, 0, NULL);
	if (!watcher) {
		s->refs = 1;
		session_Release(&s->ILabSession_iface);
		server_release();
		return E_OUTOFMEMORY;
	}
	CloseHandle(watcher);
	*session = &s->ILabSession_iface;
	return S_OK;
}
