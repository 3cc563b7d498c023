/* SPDX-License-Identifier: Apache-2.0 */
/* The time of the wall, for what people read; and one that only goes on, over a sleep of the machine too, for what is waited for. */
#ifndef UMBRA_UTIL_CLOCK_H
#define UMBRA_UTIL_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_unix_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline uint64_t clock_boot_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#endif
