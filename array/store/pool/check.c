/* SPDX-License-Identifier: Apache-2.0 */
/* Verifying a pool. */
#include "array/store/pool/pool.h"

int pool_check_on(struct pool_host *host, const struct pool_options *options, bool repair,
	void (*report)(void *arg, const char *line), void *arg, struct fault *fault)
{
	(void)host;
	(void)options;
	(void)repair;
	(void)report;
	(void)arg;
	(void)fault;
	return 0;
}
