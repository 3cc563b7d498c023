/* SPDX-License-Identifier: Apache-2.0 */
/* See run.h. */
#include "ctl/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int run_become(const char *const *argv, int output, int error)
{
	int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);

	dup2(nothing, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	dup2(error, STDERR_FILENO);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	return errno;
}

int run_wait(pid_t pid)
{
	int status = -1;

	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* All that comes, of which the first part is kept. */
static void take(int from, char *out, size_t size)
{
	char rest[4096];
	size_t used = 0;

	for (;;) {
		bool room = used + 1 < size;
		ssize_t got = read(from, room ? out + used : rest, room ? size - 1 - used : sizeof(rest));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += room ? (size_t)got : 0;
	}
	out[used] = '\0';
}

int run_program(const char *const *argv, char *out, size_t size)
{
	int output[2];

	out[0] = '\0';
	if (pipe2(output, O_CLOEXEC))
		return -1;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		run_become(argv, output[1], output[1]);
		_exit(RUN_ABSENT);
	}
	close(output[1]);
	take(output[0], out, size);
	close(output[0]);
	return run_wait(pid);
}
