/* SPDX-License-Identifier: Apache-2.0 */
/* See process.h. */
#include "array/util/process.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* When it began; 0: there is none. */
static uint64_t process_start(uint64_t pid)
{
	char path[64], text[1024];
	const char *p;
	FILE *file;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = 0;
	p = strrchr(text, ')'); /* the name may hold blanks */
	if (p && p[1] && (p[2] == 'Z' || p[2] == 'X'))
		return 0;
	for (unsigned i = 0; p && i < 20; i++) /* to field 22 */
		p = strchr(p + 1, ' ');
	return p ? strtoull(p + 1, NULL, 10) : 0;
}

static void machine_name(char out[80])
{
	char boot[48] = "", space[32] = "";
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	ssize_t len = readlink("/proc/self/ns/pid", space, sizeof(space) - 1);

	if (file && fscanf(file, "%47s", boot) != 1)
		boot[0] = 0;
	if (file)
		fclose(file);
	if (boot[0] && len > 0)
		snprintf(out, 80, "%s:%s", boot, space);
	else
		snprintf(out, 80, "-");
}

void process_self(struct process_id *out)
{
	memset(out, 0, sizeof(*out));
	machine_name(out->machine);
	out->pid = (uint64_t)getpid();
	out->start = process_start(out->pid);
}

bool process_gone(const struct process_id *p)
{
	char here[80];

	machine_name(here);
	return p->start && strcmp(here, "-") != 0 && strcmp(here, p->machine) == 0 &&
	       process_start(p->pid) != p->start;
}

bool process_same(const struct process_id *a, const struct process_id *b)
{
	return a->pid == b->pid && a->start == b->start && strcmp(a->machine, b->machine) == 0;
}
