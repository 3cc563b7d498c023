// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into umbrad: the clock of the wall, set forward by 30 days while the file $UMBRA_TEST_AHEAD exists, where a test has no
 * right to set the machine's. Running time goes on as ever.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define AHEAD_S (30 * 24 * 3600)

int clock_gettime(clockid_t clock, struct timespec *out)
{
	const char *file = getenv("UMBRA_TEST_AHEAD");
	int err = (int)syscall(SYS_clock_gettime, clock, out);

	if (!err && clock == CLOCK_REALTIME && file && access(file, F_OK) == 0)
		out->tv_sec += AHEAD_S;
	return err;
}
