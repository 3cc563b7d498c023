/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See process.h. The boot's id comes from the kernel. A service may be kept from it (ProcSubset=pid): systemd, which reads it there
 * itself, then gives it in the environment. One that is given is for such a service only, and not looked at where the kernel tells.
 */
#include "array/util/process.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define BOOT_VARIABLE "UMBRA_BOOT_ID"
#define BOOT_CHARS    37 /* as a UUID, with the 0 */

/* ---- the machine ---- */

static bool boot_of_kernel(char out[BOOT_CHARS])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	bool good = file && fscanf(file, "%36s", out) == 1 && strlen(out) == BOOT_CHARS - 1;

	if (file)
		fclose(file);
	return good;
}

/* 32 hex digits, as systemd writes it (%b), or as a UUID. */
static bool boot_of_environment(char out[BOOT_CHARS])
{
	const char *given = getenv(BOOT_VARIABLE);
	unsigned digits = 0, len = 0;

	for (; given && *given; given++) {
		if (*given == '-')
			continue;
		if (!isxdigit((unsigned char)*given) || digits == 32)
			return false;
		if (digits == 8 || digits == 12 || digits == 16 || digits == 20)
			out[len++] = '-';
		out[len++] = (char)tolower((unsigned char)*given);
		digits++;
	}
	out[len] = 0;
	return digits == 32;
}

static char nowhere[24];

/* Nobody else's name. */
static void nowhere_draw(void)
{
	uint64_t number;

	while (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
		;
	snprintf(nowhere, sizeof(nowhere), "-%016" PRIx64, number);
}

static bool is_known(const char *machine)
{
	return machine[0] && machine[0] != '-';
}

static void machine_name(char out[80])
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	char boot[BOOT_CHARS], space[32] = "";
	ssize_t len = readlink("/proc/self/ns/pid", space, sizeof(space) - 1);

	if (len > 0 && (boot_of_kernel(boot) || boot_of_environment(boot))) {
		snprintf(out, 80, "%s:%s", boot, space);
		return;
	}
	pthread_once(&once, nowhere_draw);
	snprintf(out, 80, "%s", nowhere);
}

/* ---- a process of it ---- */

enum sight {
	SEEN,
	DEAD,
	UNSEEN /* it is not there, or is hidden from us */
};

/* start: when it began; 0: it is not known. */
static enum sight look(uint64_t pid, uint64_t *start)
{
	char path[64], text[1024];
	const char *p;
	FILE *file;
	size_t len;

	*start = 0;
	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return UNSEEN;
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = 0;
	p = strrchr(text, ')'); /* the name may hold blanks */
	if (!p)
		return UNSEEN;
	if (p[1] && (p[2] == 'Z' || p[2] == 'X'))
		return DEAD;
	for (unsigned i = 0; p && i < 20; i++) /* to field 22 */
		p = strchr(p + 1, ' ');
	*start = p ? strtoull(p + 1, NULL, 10) : 0;
	return *start ? SEEN : UNSEEN;
}

void process_self(struct process_id *out)
{
	memset(out, 0, sizeof(*out));
	machine_name(out->machine);
	out->pid = (uint64_t)getpid();
	look(out->pid, &out->start);
}

bool process_gone(const struct process_id *p)
{
	char here[80];
	uint64_t start;

	machine_name(here);
	if (!p->start || !p->pid || p->pid > INT32_MAX || !is_known(here) || strcmp(here, p->machine) != 0)
		return false;
	switch (look(p->pid, &start)) {
	case SEEN:
		return start != p->start;
	case DEAD:
		return true;
	default: /* the kernel says whether anybody has that number, also one whom /proc does not show (hidepid) */
		return kill((pid_t)p->pid, 0) && errno == ESRCH;
	}
}

bool process_same(const struct process_id *a, const struct process_id *b)
{
	return a->pid == b->pid && a->start == b->start && strcmp(a->machine, b->machine) == 0;
}
