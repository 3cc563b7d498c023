/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to services that may never answer: in a thread of their own, waited for so long and no longer. */
#ifndef UMBRA_PROVIDER_SETUP_BOUNDED_H
#define UMBRA_PROVIDER_SETUP_BOUNDED_H

#include <stdbool.h>
#include <windows.h>

/* Does work(arg) in the multi-threaded apartment. HRESULT_FROM_WIN32(ERROR_TIMEOUT): it goes on, so arg must stay for good,
 * and COM must not be shut down. */
HRESULT setup_bounded(HRESULT (*work)(void *arg), void *arg, DWORD limit_ms);

/* Has a call been given up? */
bool setup_bounded_hangs(void);

#endif
