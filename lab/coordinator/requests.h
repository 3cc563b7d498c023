/* SPDX-License-Identifier: Apache-2.0 */
/* ILabRequester's methods: a record around each request of sequence.h, one request at a time. */
#ifndef LAB_REQUESTS_H
#define LAB_REQUESTS_H

#include <stdbool.h>
#include <windows.h>
#include "lab_requester.h"

struct record;

/* For session.c: the request's turn, for which it waits; end_turn gives it back. Then a record, and its end. */
void await_turn(void);
void end_turn(void);
bool request_begin(struct record *r, LAB_RESULT **result, HRESULT *hr);
HRESULT request_end(struct record *r, LAB_RESULT **result);
void request_prepare(struct record *r); /* what every request begins with */
/* In UTF-8, malloc'ed; NULL: the record says that there was no memory. */
char *document_text(struct record *r, const WCHAR *document);

HRESULT STDMETHODCALLTYPE requester_Scan(ILabRequester *iface, LAB_RESULT **result);
HRESULT STDMETHODCALLTYPE requester_Create(ILabRequester *iface, LAB_CREATE *request, LAB_RESULT **result);
HRESULT STDMETHODCALLTYPE requester_Import(
	ILabRequester *iface, WCHAR *document, LONG flags, LAB_RESULT **result);
HRESULT STDMETHODCALLTYPE requester_List(ILabRequester *iface, LAB_RESULT **result);
HRESULT STDMETHODCALLTYPE requester_Delete(
	ILabRequester *iface, GUID set_id, LONG flags, LAB_RESULT **result);
HRESULT STDMETHODCALLTYPE requester_Break(
	ILabRequester *iface, GUID set_id, LONG break_flags, LONG flags, LAB_RESULT **result);
HRESULT STDMETHODCALLTYPE requester_Resync(
	ILabRequester *iface, WCHAR *document, LAB_RESYNC *request, LAB_RESULT **result);
HRESULT STDMETHODCALLTYPE requester_Expose(
	ILabRequester *iface, GUID snapshot_id, WCHAR *name, LAB_RESULT **result);
HRESULT STDMETHODCALLTYPE requester_Unload(ILabRequester *iface, WINBOOL force, LAB_RESULT **result);

#endif
