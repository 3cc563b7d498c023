/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lab's vssapi.dll: IVssBackupComponents to …Ex4 for any requester, over the coordinator's ILabSession.
 *
 * Invariants:
 * - The order of calls is checked here, as VSS documents it, and where it leaves a freedom, on the strict side
 *   (README.md has the rules); whatever a provider is asked is the coordinator's.
 * - All COM happens on threads of this DLL in the multi-threaded apartment (mta.h), whatever the caller's thread is.
 * - There are no writers but those that a test names, which have a state and nothing else (writers.c): other counts are 0, and
 *   what names a writer or a component is VSS_E_OBJECT_NOT_FOUND.
 */
#ifndef LAB_VSSAPI_H
#define LAB_VSSAPI_H

#include <stdbool.h>
#include <windows.h>
#include <objbase.h>
#include <vss.h>
#include <vswriter.h>
#include <vsbackup.h>
#include <vsserror.h>
#include "lab/vssapi/lab_components.h"

#define VOLUME_LUNS_MAX 16
#define VOLUME_CHARS    64
#define RESYNC_MAX      64

enum phase {
	PHASE_NEW,
	PHASE_BACKUP,  /* InitializeForBackup */
	PHASE_RESTORE, /* InitializeForRestore */
	PHASE_ENDED    /* AbortBackup */
};

struct components {
	IVssBackupComponentsEx4 IVssBackupComponentsEx4_iface;
	ILabComponents ILabComponents_iface;
	LONG refs;
	CRITICAL_SECTION lock; /* of what follows; never held over a call to the coordinator */
	ILabSession *session;
	ILabRequester *requester;
	enum phase phase;
	LONG context;
	bool context_fixed; /* SetContext was called, or it is too late for it */
	bool state_set, gathered, status_gathered, prepared, done, completed;
	bool adding;  /* StartSnapshotSet … DoSnapshotSet */
	bool working; /* an operation that changes the set is under way */
	unsigned volumes;
	wchar_t *document; /* of the set that was made, or that InitializeForBackup was given */
	bool given;        /* … the latter */
	LAB_RESYNC_TARGET targets[RESYNC_MAX];
	ULONG target_count;
	HANDLE resync_cancel; /* an event, and its name; NULL: no RecoverSet was called */
	wchar_t cancel_name[VOLUME_CHARS];
	/* lab_components.c: */
	bool observed;      /* somebody asked for ILabComponents: what was done is kept */
	LAB_CREATE tuned;   /* owned; its LUNs are the volumes of LAB_VOLUME_NAME */
	bool release_early; /* a resync is not waited for */
	LAB_RESULT *last;   /* owned; what the last operation did, or NULL */
};

/* lab_components.c */
extern const struct ILabComponentsVtbl lab_components_vtbl;
HRESULT lab_tell_session(struct components *x); /* the session is new: what was tuned before */
void lab_keep_result(struct components *x, LAB_RESULT *result); /* or frees it; NULL: nothing */
void lab_free(struct components *x);

/* components.c */
HRESULT WINAPI create_components(IVssBackupComponents **out);
/* VSS_E_BAD_STATE unless it was initialized for a backup (or `any` kind of work); enters the lock when it is S_OK. */
HRESULT components_enter(struct components *x, bool any);
void components_leave(struct components *x);

/* async.c */
typedef HRESULT (*async_work)(
	struct components *x, void *arg); /* on a thread of the apartment; the status at the end */
/* `cancel` (may be NULL) is called by Cancel, on a thread of the apartment. arg is freed with free() at the end. */
HRESULT async_start(struct components *x, async_work work, void (*cancel)(struct components *x), void *arg,
	IVssAsync **out);

/* mta.c: runs work on a thread of the multi-threaded apartment and waits for it. */
HRESULT mta_run(HRESULT (*work)(void *arg), void *arg);
/* The same without waiting; false: no thread. */
bool mta_begin(HRESULT (*work)(void *arg), void *arg);

/* volumes.c: a volume as a requester names it: X:\, \\?\Volume{…}\, or LAB_VOLUME_NAME of what was tuned. */
struct volume {
	wchar_t name[VOLUME_CHARS];
	LAB_VOLUME_LUN own[VOLUME_LUNS_MAX];
	LAB_VOLUME_LUN *luns; /* own, or borrowed from tuned */
	ULONG count;          /* 0: it lies on no LUN of the lab */
};
/* VSS_E_OBJECT_NOT_FOUND: there is none. tuned may be NULL. */
HRESULT volume_find(const wchar_t *text, const LAB_CREATE *tuned, struct volume *out);

/* list.c */
HRESULT list_create(VSS_OBJECT_PROP *items, ULONG count, IVssEnumObject **out); /* takes the items over */
void list_free_items(VSS_OBJECT_PROP *items, ULONG count);
wchar_t *copy_text(const wchar_t *text); /* CoTaskMem; NULL stays NULL */
void free_snapshot(VSS_SNAPSHOT_PROP *prop);
void free_result(LAB_RESULT *r); /* NULL: nothing */

#endif
