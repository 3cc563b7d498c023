/* SPDX-License-Identifier: Apache-2.0 */
/* Runs qemu-img. See image.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ctl/image.h"
#include "ctl/run.h"

#define OUTPUT_MAX_BYTES (16u << 20)
#define TICK_MS          1000
#define MARK             "qemu-img: "

struct pipes {
	int output, error; /* our ends, -1: at its end */
	int start;         /* says why it could not be started */
	char line[512];    /* of error */
	size_t line_bytes;
	bool told; /* a line of its own has come */
	double percent;
	char number[16]; /* of the percentage that comes */
	int number_bytes;
};

void qemu_add(struct qemu_run *r, const char *argument)
{
	if (r->argument_count < QEMU_ARGUMENTS_MAX)
		r->arguments[r->argument_count++] = argument;
}

void qemu_clear(struct qemu_run *r)
{
	free(r->output);
	*r = (struct qemu_run){0};
}

bool qemu_option(char options[QEMU_OPTIONS_BYTES], const char *key, const char *value)
{
	size_t used = strlen(options);
	int more = snprintf(options + used, QEMU_OPTIONS_BYTES - used, "%s%s=", used ? "," : "", key);

	if (more < 0 || (size_t)more >= QEMU_OPTIONS_BYTES - used)
		return false;
	for (used += (size_t)more; *value; value++) {
		if (used + 3 > QEMU_OPTIONS_BYTES)
			return false;
		if (*value == ',')
			options[used++] = ',';
		options[used++] = *value;
	}
	options[used] = '\0';
	return true;
}

static void child(const struct qemu_run *r, const int output[2], const int error[2], int start)
{
	const char *argv[QEMU_ARGUMENTS_MAX + 2] = {"qemu-img"};
	int err;

	stop_child();
	for (int i = 0; i < 2; i++)
		if (r->inherited[i] > 0)
			fcntl(r->inherited[i], F_SETFD, 0);
	setenv("LC_ALL", "C", 1);
	memcpy(argv + 1, r->arguments, sizeof(r->arguments));
	err = run_become(argv, output[1], error[1]);
	(void)!write(start, &err, sizeof(err));
	_exit(127);
}

/* Its first own line on standard error says why. */
static void take_error(struct pipes *p, struct qemu_run *r, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool end = text[i] == '\n' || text[i] == '\r';
		if (!end && p->line_bytes < sizeof(p->line) - 1) {
			p->line[p->line_bytes++] = (unsigned char)text[i] < ' ' ? '?' : text[i];
			p->line[p->line_bytes] = '\0';
		}
		if (!end || !p->line_bytes)
			continue;
		bool own = !strncmp(p->line, MARK, strlen(MARK));
		if (!p->told && (own || !r->error[0]))
			snprintf(r->error, sizeof(r->error), "%.*s", (int)sizeof(r->error) - 1,
				p->line + (own ? strlen(MARK) : 0));
		p->told = p->told || own;
		p->line_bytes = 0;
	}
}

/* "    (12.34/100%)" again and again. */
static void take_percent(struct pipes *p, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '(') {
			p->number_bytes = 0;
		} else if (text[i] == '/') {
			p->number[p->number_bytes] = '\0';
			p->percent = strtod(p->number, NULL);
		} else if (p->number_bytes < (int)sizeof(p->number) - 1) {
			p->number[p->number_bytes++] = text[i];
		}
	}
}

static void take_output(struct pipes *p, struct qemu_run *r, const char *text, size_t len)
{
	if (r->progress) {
		take_percent(p, text, len);
		return;
	}
	char *grown = r->output_bytes + len < OUTPUT_MAX_BYTES ? realloc(r->output, r->output_bytes + len + 1)
							       : NULL;
	if (!grown)
		return; /* what is cut is no JSON, and so is refused */
	memcpy(grown + r->output_bytes, text, len);
	r->output = grown;
	r->output_bytes += len;
	grown[r->output_bytes] = '\0';
}

/* What has come on one of the pipes; at its end -1. */
static void drain(struct pipes *p, struct qemu_run *r, int *from)
{
	char text[4096];
	ssize_t got = read(*from, text, sizeof(text));

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0) {
		close(*from);
		*from = -1;
	} else if (from == &p->error) {
		take_error(p, r, text, (size_t)got);
	} else {
		take_output(p, r, text, (size_t)got);
	}
}

static void follow(struct pipes *p, struct qemu_run *r, pid_t pid)
{
	bool stopped = false;

	while (p->output >= 0 || p->error >= 0) {
		struct pollfd fds[3] = {{p->output, POLLIN, 0}, {p->error, POLLIN, 0},
			{stopped ? -1 : stop_descriptor(), POLLIN, 0}};
		if (poll(fds, 3, TICK_MS) < 0 && errno != EINTR)
			break;
		if (!stopped && stop_asked()) {
			stopped = true;
			kill(pid, SIGKILL); /* what it writes goes away with it */
		}
		if (fds[0].revents)
			drain(p, r, &p->output);
		if (fds[1].revents)
			drain(p, r, &p->error);
		if (r->progress && !stopped)
			r->progress(r->progress_arg, p->percent);
	}
}

static int cannot_start(const struct invocation *in, int err)
{
	if (err == ENOENT)
		return ctl_fail(in, -ENOENT,
			"qemu-img is not here: install it, with its iSCSI (Debian: apt install qemu-utils "
			"qemu-block-extra).");
	return ctl_fail(
		in, -err, "qemu-img cannot be started (%s): look at its installation.", strerror(err));
}

int qemu_do(const struct invocation *in, struct qemu_run *r)
{
	int output[2], error[2], start[2], err = 0;

	if (pipe2(output, O_CLOEXEC) || pipe2(error, O_CLOEXEC) || pipe2(start, O_CLOEXEC))
		return ctl_fail(in, -errno, "no pipe can be made (%s): try again.", strerror(errno));
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		child(r, output, error, start[1]);
	close(output[1]);
	close(error[1]);
	close(start[1]);
	struct pipes p = {.output = output[0], .error = error[0], .start = start[0]};
	if (pid < 0)
		err = errno;
	else if (read(p.start, &err, sizeof(err)) != sizeof(err))
		err = 0;
	close(p.start);
	if (err) {
		close(p.output);
		close(p.error);
	} else {
		follow(&p, r, pid);
	}
	r->code = run_wait(pid);
	return err ? cannot_start(in, err) : CTL_OK;
}

int qemu_check(const struct invocation *in)
{
	struct qemu_run r = {0};

	qemu_add(&r, "info");
	qemu_add(&r, "--image-opts");
	qemu_add(&r, "driver=iscsi"); /* it asks for more, if it knows that */
	int code = qemu_do(in, &r);
	if (!code && strstr(r.error, "Unknown driver"))
		code = ctl_fail(in, -ENOTSUP,
			"qemu-img has no iSCSI here: install it (Debian: apt install qemu-block-extra).");
	qemu_clear(&r);
	return code;
}
