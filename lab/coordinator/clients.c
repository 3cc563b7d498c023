/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See clients.h. An object whose client is gone stays with Wine's stub until the coordinator ends: it counts no more, that is
 * all. To disconnect it would meet what the client's last calls still do with it, which Wine does not bear.
 */
#include "lab/coordinator/clients.h"

#include <rpc.h>
#include <rpcdcep.h>
#include <stdlib.h>
#include "lab/coordinator/admin.h"

struct client_hold {
	HANDLE process, wait;
	LONG counts;
};

static void count_no_more(struct client_hold *hold)
{
	if (InterlockedExchange(&hold->counts, 0))
		server_release();
}

static void CALLBACK client_is_gone(void *hold, BOOLEAN timed_out)
{
	(void)timed_out;
	count_no_more(hold);
}

HRESULT client_hold(struct client_hold **out)
{
	unsigned long process_id = 0;
	*out = NULL;
	if (I_RpcBindingInqLocalClientPID(NULL, &process_id) != RPC_S_OK)
		return E_UNEXPECTED;
	struct client_hold *hold = calloc(1, sizeof *hold);
	if (!hold)
		return E_OUTOFMEMORY;
	hold->counts = 1;
	server_hold();
	hold->process = OpenProcess(SYNCHRONIZE, FALSE, process_id);
	if (!hold->process || !RegisterWaitForSingleObject(&hold->wait, hold->process, client_is_gone, hold,
				      INFINITE, WT_EXECUTEONLYONCE)) {
		client_release(hold);
		return E_UNEXPECTED;
	}
	*out = hold;
	return S_OK;
}

void client_release(struct client_hold *hold)
{
	if (!hold)
		return;
	if (hold->wait)
		UnregisterWaitEx(hold->wait, INVALID_HANDLE_VALUE);
	count_no_more(hold);
	if (hold->process)
		CloseHandle(hold->process);
	free(hold);
}
