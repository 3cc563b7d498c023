/* SPDX-License-Identifier: Apache-2.0 */
/* The clocks: the wall clock for times that people read, the monotonic one for durations. */
#include <time.h>
#include "array/model/base/internal.h"

uint64_t array_clock_unix_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t array_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}
