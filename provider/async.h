/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IVssAsync for work that goes on after a method has returned: an object for the client, and a thread that carries the
 * work out step by step.
 *
 * Invariants:
 * - The client and the thread hold a reference each: the work goes on when the client goes away.
 * - Wait tells of the waiting only. What became of the work is QueryStatus's *pHrResult: VSS_S_ASYNC_PENDING,
 *   _FINISHED, _CANCELLED, or an error; once it is not PENDING any more it never changes.
 * - While an object lives the service does not idle out.
 * - No step begins while events are held back: volumes may be frozen then.
 */
#ifndef UMBRA_PROVIDER_ASYNC_H
#define UMBRA_PROVIDER_ASYNC_H

#include <stdbool.h>
#include <vss.h>
#include "provider/provider.h"

struct async_work {
	/* Goes on with it. VSS_S_ASYNC_PENDING: call again in a while. cancel: somebody wants it to end; it
	 * must then come to an end in bounded time. An error has queued its event. *percent: 0–100. */
	HRESULT (*step)(void *arg, bool cancel, unsigned *percent);
	/* The process ends before the work does: queues the event that says so. From another thread; asks nobody. */
	void (*left)(void *arg);
	void (*free)(void *arg);
};

/* One reference for the caller. Takes arg over: on failure (E_OUTOFMEMORY) it is the caller's still. */
HRESULT async_start(
	const struct provider_context *context, const struct async_work *work, void *arg, IVssAsync **out);

/* Some work is under way in this process. */
bool async_busy(void);
/* The process ends: the threads are told so and given a moment; the work itself is not ended. */
void async_leave_all(void);

#endif
