/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ILabSession: what one IVssBackupComponents has in the coordinator (lab_requester.idl).
 *
 * Invariants: a set that is being made holds making_enter's place from Start until Do has ended or it was dropped; a
 * session watches its process, and is closed once, when that ends or says so; what it owns (made or imported in a context
 * with auto-release) is deleted then, and a set that is not done is dropped without a word to the provider, as VSS does it
 * before EndPrepareSnapshots.
 */
#ifndef LAB_SESSION_H
#define LAB_SESSION_H

#include <windows.h>
#include "lab_requester.h"

HRESULT STDMETHODCALLTYPE requester_OpenSession(
	ILabRequester *iface, ULONG process_id, ILabSession **session);

#endif
