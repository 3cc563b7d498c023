// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into umbrad: its network to Ceph, cut and healed, also where a test has no right to change the machine's. While the file
 * $UMBRA_TEST_CUT exists, nothing goes in or out over the connections that this process has made, and none begins; nobody is told, as with a cable
 * that is pulled. umbrad makes none but to Ceph; its hosts make theirs to it, and have them still. When the file is gone the
 * connections of before end: whatever they had is as lost as what a network drops.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FDS     65536
#define LOOK_NS 5000000

static atomic_bool is_cut, ours[FDS];

static bool is_ours(int fd)
{
	return fd >= 0 && fd < FDS && atomic_load(&ours[fd]);
}

static bool stands_still(int fd)
{
	if (!atomic_load(&is_cut) || !is_ours(fd))
		return false;
	errno = EAGAIN;
	return true;
}

int connect(int fd, const struct sockaddr *address, socklen_t len_bytes)
{
	int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
	bool to_ceph = address->sa_family == AF_INET || address->sa_family == AF_INET6;

	if (to_ceph && atomic_load(&is_cut)) {
		errno = ENETUNREACH;
		return -1;
	}
	if (to_ceph && fd >= 0 && fd < FDS)
		atomic_store(&ours[fd], true);
	return real(fd, address, len_bytes);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t (*real)(int, const struct msghdr *, int) = dlsym(RTLD_NEXT, "sendmsg");

	return stands_still(fd) ? -1 : real(fd, message, flags);
}

ssize_t read(int fd, void *buf, size_t len)
{
	static _Atomic(void *) found;
	ssize_t (*real)(int, void *, size_t) = NULL;

	if (!atomic_load(&found))
		atomic_store(&found, dlsym(RTLD_NEXT, "read"));
	*(void **)&real = atomic_load(&found);
	return stands_still(fd) ? -1 : real(fd, buf, len);
}

int close(int fd)
{
	int (*real)(int) = dlsym(RTLD_NEXT, "close");

	if (is_ours(fd))
		atomic_store(&ours[fd], false);
	return real(fd);
}

static void *look(void *arg)
{
	const char *path = arg;

	for (;;) {
		struct timespec t = {.tv_nsec = LOOK_NS};
		bool now = access(path, F_OK) == 0;

		if (atomic_exchange(&is_cut, now) && !now)
			for (int fd = 0; fd < FDS; fd++)
				if (is_ours(fd))
					shutdown(fd, SHUT_RDWR);
		nanosleep(&t, NULL);
	}
	return NULL;
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("UMBRA_TEST_CUT");
	sigset_t all, before;
	pthread_t thread;

	if (!path)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, look, (void *)path))
		abort();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
