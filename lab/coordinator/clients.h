/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keeps the coordinator for a client: an object that the client has, while the client's process lives.
 *
 * Windows' COM takes back the references of a process that is gone; Wine's keeps them for ever, and the coordinator would never
 * end. A client that lives and does not release an object keeps the coordinator, as under Windows.
 */
#ifndef LAB_CLIENTS_H
#define LAB_CLIENTS_H

#include <windows.h>

struct client_hold;

/* server_hold() for the client whose call this thread answers, until client_release or the end of its process. E_UNEXPECTED:
 * nobody can tell who that is. */
HRESULT client_hold(struct client_hold **out);
/* NULL: nothing. */
void client_release(struct client_hold *hold);

#endif
