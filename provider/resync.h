/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ResyncLuns: LUNs take the data of shadow copies. Every pair is a job of its array, which goes on whatever becomes of
 * the provider; here it is started, watched and, if VSS wants that, cancelled.
 */
#ifndef UMBRA_PROVIDER_RESYNC_H
#define UMBRA_PROVIDER_RESYNC_H

#include <vss.h>
#include "provider/copyset.h"
#include "provider/provider.h"

/* targets[i] takes the data of shadows[i]. CS_OK: all jobs run, *out has one reference. Else none runs any
 * more (a job may have been done before it could be cancelled) and the event is queued; CS_NOT_IMPLEMENTED: an
 * array does not offer it, nothing was started. */
enum cs_result resync_start(const struct provider_context *context, const uint8_t (*shadows)[UP_ID_BYTES],
	const uint8_t (*targets)[UP_ID_BYTES], unsigned count, IVssAsync **out);

#endif
