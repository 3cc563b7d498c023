// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into umbrad: the clock of the wall, set forward or back where a test has no right to set the machine's. By how many
 * seconds says an int64_t in the file $UMBRA_TEST_AHEAD, at any time. Running time goes on as ever.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define LONG_S (24 * 3600) /* the clock is set by much more; nobody waits for so long */

static volatile int64_t *ahead_s;

__attribute__((constructor)) static void begin(void)
{
	const char *file = getenv("UMBRA_TEST_AHEAD");
	int fd = file ? open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	void *at = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, sizeof(*ahead_s)) == 0)
		at = mmap(NULL, sizeof(*ahead_s), PROT_READ, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (at == MAP_FAILED)
		abort();
	ahead_s = at;
}

static int64_t ahead(void)
{
	return ahead_s ? *ahead_s : 0;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
	int err = (int)syscall(SYS_clock_gettime, clock, out);

	if (!err && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		out->tv_sec += ahead();
	return err;
}

int gettimeofday(struct timeval *out, void *zone)
{
	struct timespec t;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &t);
	*out = (struct timeval){t.tv_sec, t.tv_nsec / 1000};
	return 0;
}

time_t time(time_t *out)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME_COARSE, &t);
	if (out)
		*out = t.tv_sec;
	return t.tv_sec;
}

/* An instant that was reckoned by the clock as it is set is one of the kernel's, whose clock is not; others are left alone. */
static struct timespec of_kernel(const struct timespec *until)
{
	struct timespec now, t = *until;
	int64_t by = ahead();

	syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
	if (by && t.tv_sec > now.tv_sec + by - LONG_S && t.tv_sec < now.tv_sec + by + LONG_S)
		t.tv_sec -= by;
	return t;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
	static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
	struct timespec t = of_kernel(until);

	if (!next) /* x86-64's; an older one has that name as well */
		*(void **)&next = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
	return next(cond, mutex, &t);
}

int pthread_cond_clockwait(
	pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until)
{
	static int (*next)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
	struct timespec t = of_kernel(until);

	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
	return next(cond, mutex, clock, &t);
}
