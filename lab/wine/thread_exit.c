/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads of a lab host end at once: loaded into Wine's processes, in pthread_exit()'s place.
 *
 * When a Windows process ends, Wine's server sends SIGQUIT to its other threads. Wine 8 does not block it in a thread
 * that is just ending by itself: its handler ends the thread a second time, from inside pthread_exit(). Then the whole
 * process dies by SIGSEGV or SIGKILL, or ends with 1 instead of its own exit code and without a word; about one time in 100 where
 * some threads and the process end together. Windows knows nothing of the kind, so no program guards against it.
 *
 * Wine gives each thread its stack and joins it, which needs only that the kernel says it is gone. What pthread_exit()
 * does besides (cleanup handlers, thread-specific data) nobody in these processes waits for.
 */
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((noreturn)) void pthread_exit(void *value)
{
	(void)value;
	for (;;)
		syscall(SYS_exit, 0);
}
