/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's COM object: IVssAdmin, as the VSS service offers it to a provider's set-up, and
 * ILabRequester for umbra-lab-requester.exe.
 *
 * Invariants: requests that drive a provider run one at a time (a second one gets
 * VSS_E_SNAPSHOT_SET_IN_PROGRESS); the process lives while an object or a lock exists, and for IdleMs longer
 * (main.c).
 */
#ifndef LAB_ADMIN_H
#define LAB_ADMIN_H

#include <stdbool.h>
#include <windows.h>

HRESULT coordinator_create(REFIID iid, void **out);

/* main.c counts what keeps the process. */
void server_hold(void);
void server_release(void);

/* wine_rpc.h's remedy, and the coordinator's own class registered anew. */
void server_forget_dead_classes(void);

/* One set is made at a time, which may take several requests (session.c); false: another one is being made. */
bool making_enter(void);
void making_leave(void);
bool making_now(void);

/* One request at a time; false: another one runs. */
bool request_enter(void);
void request_leave(void);

#endif
