/* SPDX-License-Identifier: Apache-2.0 */
/* The clock of intervals: monotonic, in microseconds. Takes no lock, no memory and no handle: also for the commit window. */
#ifndef UMBRA_PROVIDER_CLOCK_H
#define UMBRA_PROVIDER_CLOCK_H

#include <stdint.h>
#include <windows.h>

static inline uint64_t clock_us(void)
{
	LARGE_INTEGER count, frequency;

	QueryPerformanceCounter(&count);
	QueryPerformanceFrequency(&frequency);
	uint64_t whole = (uint64_t)(count.QuadPart / frequency.QuadPart);
	uint64_t rest = (uint64_t)(count.QuadPart % frequency.QuadPart);
	return whole * 1000000 + rest * 1000000 / (uint64_t)frequency.QuadPart;
}

#endif
