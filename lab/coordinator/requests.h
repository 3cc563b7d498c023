/* SPDX-License-Identifier: Apache-2.0 */
/* ILabRequester's methods, and what session.c needs of them: a record around each request of sequence.h, one request at a
 * time. */
#ifndef LAB_REQUESTS_H
#define LAB_REQUESTS_H

#include <stdbool.h>
#include <windows.h>
#include "lab_requester.h"

struct record;

#define REQUEST_IN_THE_WAY L"another request is being worked on: try again later"

/* The request's turn, for which it waits; end_turn gives it back. */
void await_turn(void);
void end_turn(void);
/* A record, and its turn, for which it waits, or else fails with VSS_E_SNAPSHOT_SET_IN_PROGRESS. True: the request may run, and
 * request_end is due. False: *hr is the method's answer. */
bool request_begin(struct record *r, bool wait, LAB_RESULT **result, HRESULT *hr);
HRESULT request_end(struct record *r, LAB_RESULT **result);
void request_prepare(struct record *r); /* what every request begins with */
/* In UTF-8, malloc'ed; NULL: the record says that there was no memory. */
char *document_text(struct record *r, const WCHAR *document);

HRESULT STDMETHODCALLTYPE requester_Scan(ILabRequester *iface, LAB_RESULT **result);
HRESULT STDMETHODCALLTYPE requester_Break(
	ILabRequester *iface, GUID set_id, LONG break_flags, LONG flags, LAB_RESULT **result);
HRESULT STDMETHODCALLTYPE requester_Resync(
	ILabRequester *iface, WCHAR *document, LAB_RESYNC *request, LAB_RESULT **result);
HRESULT STDMETHODCALLTYPE requester_Expose(
	ILabRequester *iface, GUID snapshot_id, WCHAR *name, LAB_RESULT **result);
HRESULT STDMETHODCALLTYPE requester_Unload(ILabRequester *iface, WINBOOL force, LAB_RESULT **result);

#endif
