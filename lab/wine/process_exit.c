/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs of a lab host end at once: loaded into Wine's processes, in exit()'s place.
 *
 * A Windows program that ends leaves Wine's server first; then exit() runs what some twenty libraries have to do at the end.
 * A process that is still there half a second later is killed by the server, for one that hangs: on a busy machine a
 * program that had ended well was told of as ended by signal 9. There is nothing that they need to do.
 *
 * Only Wine's own loader is meant: its server, and the shell that starts it, have work to do in exit().
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static int is_loader(void)
{
	const char *path = (const char *)getauxval(AT_EXECFN), *slash = path ? strrchr(path, '/') : NULL;
	const char *name = slash ? slash + 1 : path;
	return name && !strncmp(name, "wine", 4) && strncmp(name, "wineserver", 10) != 0;
}

__attribute__((noreturn)) void exit(int status)
{
	if (is_loader()) {
		/* fflush(NULL) would wait for a lock that a thread held which was ended meanwhile. */
		if (!ftrylockfile(stdout))
			fflush_unlocked(stdout);
		_exit(status);
	}
	void (*theirs)(int);
	*(void **)&theirs = dlsym(RTLD_NEXT, "exit");
	theirs(status);
	abort();
}
