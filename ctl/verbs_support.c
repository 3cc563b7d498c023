/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbractl support: what somebody else needs to see, in one tar file. No secret is in it: umbrad never tells one, and of the
 * configuration lines whose key speaks of one are left out. Each part that cannot be had says why, in its place; the rest
 * is there all the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "array/util/places.h"
#include "ctl/ctl.h"
#include "ctl/run.h"

#define TEXT_BYTES  (8u << 20)
#define BLOCK_BYTES 512
#define FOLDER      "umbra-support"

struct tar {
	FILE *file;
	time_t now;
	json_t *parts; /* their names */
};

/* POSIX ustar. */
struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], time[12], sum[8], type, link[100], magic[6],
		version[2], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};

static void tar_add(struct tar *t, const char *name, const char *text, size_t len)
{
	static const char zeros[BLOCK_BYTES];
	struct header h = {
		.type = '0', .magic = "ustar", .version = {'0', '0'}, .user = "root", .group = "root"};
	unsigned sum = 0;

	snprintf(h.name, sizeof(h.name), "%s/%s", FOLDER, name);
	snprintf(h.mode, sizeof(h.mode), "%07o", 0600);
	snprintf(h.uid, sizeof(h.uid), "%07o", 0);
	snprintf(h.gid, sizeof(h.gid), "%07o", 0);
	snprintf(h.size, sizeof(h.size), "%011zo", len);
	snprintf(h.time, sizeof(h.time), "%011llo", (unsigned long long)t->now);
	memset(h.sum, ' ', sizeof(h.sum));
	for (size_t i = 0; i < sizeof(h); i++)
		sum += ((const unsigned char *)&h)[i];
	snprintf(h.sum, sizeof(h.sum), "%06o", sum & 0777777);
	fwrite(&h, sizeof(h), 1, t->file);
	fwrite(text, 1, len, t->file);
	fwrite(zeros, 1, (BLOCK_BYTES - len % BLOCK_BYTES) % BLOCK_BYTES, t->file);
	json_array_append_new(t->parts, json_string(name));
}

static void tar_end(struct tar *t)
{
	static const char zeros[2 * BLOCK_BYTES];

	fwrite(zeros, sizeof(zeros), 1, t->file);
}

/* ---- the parts ---------------------------------------------------------------------------------------- */

static void add_programs(struct tar *t)
{
	static const struct {
		const char *name;
		const char *argv[10];
	} rows[] = {
		{"uname.txt", {"uname", "-a"}},
		{"os-release.txt", {"cat", "/etc/os-release"}},
		{"memory.txt", {"cat", "/proc/meminfo"}},
		{"processors.txt", {"nproc"}},
		{"disks.txt",
			{"lsblk", "-o", "NAME,TYPE,SIZE,ROTA,MODEL,FSTYPE,MOUNTPOINTS,LOG-SEC,PHY-SEC"}},
		{"file-systems.txt", {"df", "-hT"}},
		{"addresses.txt", {"ip", "-brief", "address"}},
		{"sockets.txt", {"ss", "-tnip", "sport", "=", ":3260"}},
		{"service.txt", {"systemctl", "--no-pager", "--full", "status", "umbrad"}},
		{"unit.txt", {"systemctl", "--no-pager", "cat", "umbrad"}},
		{"journal.txt", {"journalctl", "--no-pager", "-u", "umbrad", "-n", "20000"}},
		{"kernel.txt", {"journalctl", "--no-pager", "-k", "-n", "3000"}},
		{"package.txt", {"dpkg", "-l", "umbra", "qemu-utils", "qemu-block-extra"}},
	};
	char *text = malloc(TEXT_BYTES);

	for (size_t i = 0; text && i < sizeof(rows) / sizeof(rows[0]); i++) {
		int code = run_program(rows[i].argv, text, TEXT_BYTES);
		size_t used = strlen(text);
		if (code)
			used += (size_t)snprintf(text + used, TEXT_BYTES - used, "\n(%s: exit code %d%s)\n",
				rows[i].argv[0], code, code == RUN_ABSENT ? ", it is not here" : "");
		tar_add(t, rows[i].name, text, used < TEXT_BYTES ? used : TEXT_BYTES - 1);
	}
	free(text);
}

/* Could the value of such a key be a secret? Both = and : stand between the two. */
static bool secret_line(const char *line)
{
	static const char *const words[] = {
		"secret", "password", "passwd", "chap", "token", "credential", "key", "private"};
	const char *known = "discovery_needs_chap", *mark = strpbrk(line, "=:");

	line += strspn(line, " \t");
	for (size_t i = 0; mark && i < sizeof(words) / sizeof(words[0]); i++) {
		const char *found = strcasestr(line, words[i]);
		if (found && found < mark)
			return strncmp(line, known, strlen(known)) != 0;
	}
	return false;
}

/* Without lines of such keys, and those that go on with such a value. */
static void copy_redacted(FILE *in, FILE *out)
{
	bool left_out = false;
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, in) > 0) {
		left_out = secret_line(line) || (left_out && (line[0] == ' ' || line[0] == '\t'));
		fputs(left_out ? "(a line is left out)\n" : line, out);
	}
	free(line);
}

static void add_config(struct tar *t, const char *path)
{
	char *text = NULL;
	size_t len = 0;
	FILE *in = fopen(path, "re"), *out = open_memstream(&text, &len);

	if (!out)
		return;
	if (!in)
		fprintf(out, "%s: %s\n", path, strerror(errno));
	if (in) {
		copy_redacted(in, out);
		fclose(in);
	}
	fclose(out);
	tar_add(t, "umbrad.conf", text, len);
	free(text);
}

/* What umbrad answers; when it does not, all of it is one line. */
static bool add_calls(struct tar *t, const struct invocation *in)
{
	static const struct {
		const char *method, *member, *flag;
		bool owner; /* who stands by does not answer it */
	} rows[] = {
		{"status", NULL, NULL, false},
		{"pool.status", NULL, NULL, true},
		{"pool.scrub_status", NULL, NULL, true},
		{"stats", NULL, NULL, false},
		{"session.list", "sessions", NULL, false},
		{"lun.list", "luns", NULL, false},
		{"shadow.list", "luns", NULL, false},
		{"host.list", "hosts", NULL, false},
		{"map.list", "mappings", NULL, false},
		{"set.list", "sets", "all", true},
		{"policy.list", "policies", NULL, true},
		{"resync.list", "jobs", NULL, true},
		{"recycle.list", "luns", NULL, true},
		{"load.luns", "luns", NULL, false},
		{"load.hosts", "hosts", NULL, false},
		{"events.list", "events", NULL, false},
	};
	bool all = true, stands_by = false;

	for (size_t i = 0; all && i < sizeof(rows) / sizeof(rows[0]); i++) {
		char name[64], *text = NULL;

		if (stands_by && rows[i].owner)
			continue;
		json_t *answer = rows[i].member && strcmp(rows[i].member, "events") != 0
					 ? ctl_list(in, rows[i].method, rows[i].member, rows[i].flag)
					 : ctl_call(in, rows[i].method, NULL);
		all = answer != NULL;
		if (i == 0)
			stands_by = ctl_stands_by(answer);
		text = answer ? json_dumps(answer, JSON_INDENT(2)) : strdup("umbrad does not answer\n");
		snprintf(name, sizeof(name), "%s.json", rows[i].method);
		if (text)
			tar_add(t, answer ? name : "umbrad.txt", text, strlen(text));
		json_decref(answer);
		free(text);
	}
	return all;
}

static int open_tar(const struct invocation *in, struct tar *t, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	t->file = fd >= 0 ? fdopen(fd, "w") : NULL;
	return t->file ? CTL_OK
		       : ctl_fail(in, -errno, "%s cannot be made (%s): name a new file.", path,
				 strerror(errno));
}

int verb_support(struct invocation *in)
{
	const char *path = in->operands[0], *config = ctl_option(in, "config", 0);
	struct tar t = {.now = time(NULL), .parts = json_array()};
	int code = open_tar(in, &t, path);

	if (code) {
		json_decref(t.parts);
		return code;
	}
	const char *version = "umbractl " UMBRA_VERSION "\n";
	tar_add(&t, "version.txt", version, strlen(version));
	struct invocation quiet = *in;
	quiet.json = false; /* an error of umbrad's is for people here: the answer is the file */
	bool answers = add_calls(&t, &quiet);
	add_config(&t, config ? config : PLACE_CONFIG);
	add_programs(&t);
	tar_end(&t);
	bool bad = fflush(t.file) || ferror(t.file) || fsync(fileno(t.file));
	bad = fclose(t.file) || bad;
	if (bad) {
		unlink(path);
		json_decref(t.parts);
		return ctl_fail(in, -EIO, "%s cannot be written: name a file on another disk.", path);
	}
	return print_result(in,
		json_pack("{s:s, s:o, s:b}", "file", path, "parts", t.parts, "umbrad_answers", answers),
		"%s is written%s. No secret is in it, but names and addresses are: look through it before you pass it on.\n",
		path, answers ? "" : ", without what umbrad would have told");
}
