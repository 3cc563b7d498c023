/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A requester's way to VSS: vssapi.dll, IVssBackupComponents, waiting for what goes on there, and Ctrl+C.
 *
 * vssapi.dll is loaded when one of these commands runs, and by nothing else: the service does without it.
 */
#ifndef UMBRA_PROVIDER_VSS_REQUESTER_H
#define UMBRA_PROVIDER_VSS_REQUESTER_H

#include <stdbool.h>
#include <windows.h>
#include <ole2.h>
#include <vss.h>
#include <vswriter.h>
#include <vsbackup.h>
#include <vsserror.h>

/* What a wait gives when the user ended it, or a limit did. */
#define REQUESTER_STOPPED HRESULT_FROM_WIN32(ERROR_CANCELLED)

/* COM, vssapi.dll and Ctrl+C. False: stderr has the reason. Behind it requester_end, whatever it answered. */
bool requester_begin(void);
void requester_end(void);

/* A new object, initialized for a backup, with a document or without (NULL). Its caller releases it. */
HRESULT requester_open(BSTR document, LONG context, IVssBackupComponents **out);

enum requester_patience {
	REQUESTER_CANCELS,   /* Ctrl+C cancels it, and so does the limit */
	REQUESTER_BOUNDED,   /* the limit alone, and then it goes on without us */
	REQUESTER_TO_THE_END /* half of it would be worse than any wait */
};

/* Until the operation has ended; takes the reference over. hr: what the method answered that began it. S_OK, or why not;
 * HRESULT_FROM_WIN32(ERROR_TIMEOUT): it has not ended, and nobody knows how it will. VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED counts as
 * a failure. */
HRESULT requester_wait(HRESULT hr, IVssAsync *async, enum requester_patience patience);
/* Was Ctrl+C typed, the console closed, or the session ended? */
bool requester_stopped(void);

struct shadow_copy {
	GUID id, set, provider;
	LONG attributes;
	LONGLONG made; /* a FILETIME, UTC */
	WCHAR *device, *volume, *exposed;
};

struct shadow_list {
	unsigned count;
	struct shadow_copy *items; /* owned */
};

/* What VSS knows on this host, of all providers and contexts. Free it, whatever the answer. */
HRESULT requester_list(struct shadow_list *out);
void requester_list_free(struct shadow_list *list);
HRESULT requester_delete(const GUID *set);
/* Imports a set by its document. */
HRESULT requester_import(BSTR document);

/* A document's file is written in UTF-8 without a byte order mark, which vshadow reads; UTF-16 is read, too. */
HRESULT requester_write_file(const WCHAR *path, BSTR document);
BSTR requester_read_file(const WCHAR *path); /* NULL: GetLastError has the reason */

/* What to do about it: a sentence, never NULL. */
const char *requester_explain(HRESULT hr);
/* Says on stderr what failed, and what to do. */
void requester_complain(const char *what, HRESULT hr);

#endif
