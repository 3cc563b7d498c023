/* SPDX-License-Identifier: Apache-2.0 */
/* See requests.h. */
#include "lab/coordinator/requests.h"

#include <stdlib.h>
#include <string.h>
#include <vss.h>
#include <vsserror.h>
#include "lab/coordinator/admin.h"
#include "lab/coordinator/pending.h"
#include "lab/coordinator/provider_host.h"
#include "lab/coordinator/record.h"
#include "lab/coordinator/sequence.h"

#define TURN_PAUSE_MS 10

void request_prepare(struct record *r)
{
	pending_mend(r);
	variation_begin(r);
}

void await_turn(void)
{
	while (!request_enter())
		Sleep(TURN_PAUSE_MS);
}

void end_turn(void)
{
	request_leave();
}

bool request_begin(struct record *r, bool wait, LAB_RESULT **result, HRESULT *hr)
{
	if (!result) {
		*hr = E_POINTER;
		return false;
	}
	*result = NULL;
	if (!record_begin(r)) {
		*hr = E_OUTOFMEMORY;
		return false;
	}
	if (wait) {
		await_turn();
	} else if (!request_enter()) {
		record_fail(r, VSS_E_SNAPSHOT_SET_IN_PROGRESS, REQUEST_IN_THE_WAY);
		*hr = record_finish(r, result);
		return false;
	}
	request_prepare(r);
	return true;
}

HRESULT request_end(struct record *r, LAB_RESULT **result)
{
	request_leave();
	return record_finish(r, result);
}

HRESULT STDMETHODCALLTYPE requester_Scan(ILabRequester *iface, LAB_RESULT **result)
{
	struct record r;
	HRESULT hr;
	(void)iface;
	if (!request_begin(&r, false, result, &hr))
		return hr;
	sequence_scan(&r);
	return request_end(&r, result);
}

char *document_text(struct record *r, const WCHAR *document)
{
	int bytes = WideCharToMultiByte(CP_UTF8, 0, document, -1, NULL, 0, NULL, NULL);
	char *text = bytes > 0 ? malloc((size_t)bytes) : NULL;
	if (text)
		WideCharToMultiByte(CP_UTF8, 0, document, -1, text, bytes, NULL, NULL);
	else
		record_fail(r, E_OUTOFMEMORY, L"out of memory");
	return text;
}

HRESULT STDMETHODCALLTYPE requester_Break(
	ILabRequester *iface, GUID set_id, LONG break_flags, LONG flags, LAB_RESULT **result)
{
	struct record r;
	HRESULT hr;
	(void)iface;
	if (!request_begin(&r, false, result, &hr))
		return hr;
	sequence_break(&r, &set_id, break_flags, flags);
	return request_end(&r, result);
}

HRESULT STDMETHODCALLTYPE requester_Resync(
	ILabRequester *iface, WCHAR *document, LAB_RESYNC *request, LAB_RESULT **result)
{
	struct record r;
	(void)iface;
	if (!document || !request || (request->count && !request->targets))
		return E_INVALIDARG;
	HRESULT hr;
	if (!request_begin(&r, false, result, &hr))
		return hr;
	char *text = document_text(&r, document);
	if (text)
		sequence_resync(&r, text, strlen(text), request);
	free(text);
	return request_end(&r, result);
}

HRESULT STDMETHODCALLTYPE requester_Expose(
	ILabRequester *iface, GUID snapshot_id, WCHAR *name, LAB_RESULT **result)
{
	struct record r;
	(void)iface;
	if (!name)
		return E_INVALIDARG;
	HRESULT hr;
	if (!request_begin(&r, false, result, &hr))
		return hr;
	sequence_expose(&r, &snapshot_id, name);
	return request_end(&r, result);
}

HRESULT STDMETHODCALLTYPE requester_Unload(ILabRequester *iface, WINBOOL force, LAB_RESULT **result)
{
	struct record r;
	HRESULT hr;
	(void)iface;
	if (!request_begin(&r, false, result, &hr))
		return hr;
	if (!providers_unload_all(force, &r))
		record_fail(&r, S_FALSE, L"a provider is busy and stays loaded");
	return request_end(&r, result);
}
