/* SPDX-License-Identifier: Apache-2.0 */
/* Ctrl+C, for commands that have something to put away before they end. See image.h. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "ctl/image.h"

static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
static sigset_t before;
static int descriptor = -1;
static bool asked;

int stop_watch(const struct invocation *in)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaddset(&set, numbers[i]);
	sigprocmask(SIG_BLOCK, &set, &before);
	descriptor = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (descriptor < 0)
		return ctl_fail(in, -errno, "signals cannot be watched (%s): try again.", strerror(errno));
	return CTL_OK;
}

bool stop_asked(void)
{
	struct signalfd_siginfo info;

	while (descriptor >= 0 && read(descriptor, &info, sizeof(info)) == sizeof(info))
		asked = true;
	return asked;
}

int stop_descriptor(void)
{
	return descriptor;
}

void stop_child(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0); /* Ctrl+C is the parent's */
	sigprocmask(SIG_SETMASK, &before, NULL);
	signal(SIGPIPE, SIG_DFL);
}
