/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbractl setup: from an installed package to an array that runs. It asks where, at which address and under which name, or
 * takes that from options; what it has made goes again when a later step fails. An array that is there already is not touched.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include "array/store/pool/public.h"
#include "array/util/fault.h"
#include "array/util/places.h"
#include "array/util/units.h"
#include "ctl/ctl.h"
#include "ctl/run.h"

#define ANSWER_BYTES    256
#define READY_TIMEOUT_S 60 /* systemctl has waited already */

struct setup {
	const struct invocation *in;
	const char *config;
	char pool[ANSWER_BYTES], portal[ANSWER_BYTES], name[ANSWER_BYTES];
	char *before; /* the configuration that was there; NULL: none */
	bool pool_made, folder_made, config_made;
};

/* ---- the three questions ------------------------------------------------------------------------------ */

static void trim(char *text)
{
	size_t len = strlen(text), begin = strspn(text, " \t");

	while (len > begin && isspace((unsigned char)text[len - 1]))
		len--;
	memmove(text, text + begin, len - begin);
	text[len - begin] = '\0';
}

/* The option's value, or what is answered; an empty answer is the proposal. */
static int ask(const struct invocation *in, const char *option, const char *question, const char *proposal,
	char out[ANSWER_BYTES])
{
	const char *given = ctl_option(in, option, 0);

	if (!given && !isatty(STDIN_FILENO) && !ctl_flag(in, "yes"))
		return ctl_usage(in,
			"--%s is needed where nobody can be asked (or --yes: take what is proposed, %s).",
			option, proposal);
	if (!given && !ctl_flag(in, "yes")) {
		printf("%s [%s] ", question, proposal);
		fflush(stdout);
		if (!fgets(out, ANSWER_BYTES, stdin))
			return ctl_usage(in, "no answer has come: nothing was made.");
		trim(out);
	}
	if (given && strlen(given) >= ANSWER_BYTES)
		return ctl_usage(in, "--%s is too long.", option);
	if (given || ctl_flag(in, "yes") || !*out)
		snprintf(out, ANSWER_BYTES, "%s", given ? given : proposal);
	if (strpbrk(out, "\r\n") || strstr(out, " #") || strstr(out, " ;"))
		return ctl_usage(in, "%s has characters that a configuration cannot have.", option);
	return CTL_OK;
}

static void proposed_name(char out[ANSWER_BYTES])
{
	size_t used = 0;

	if (gethostname(out, ANSWER_BYTES - 1))
		out[0] = '\0';
	out[strcspn(out, ".")] = '\0';
	for (const char *c = out; *c; c++)
		if (isalnum((unsigned char)*c) || (used && *c == '-'))
			out[used++] = *c;
	out[used] = '\0';
	if (!used)
		snprintf(out, ANSWER_BYTES, "umbra");
}

static int ask_all(struct setup *s)
{
	char name[ANSWER_BYTES];

	proposed_name(name);
	int code = ask(s->in, "pool", "Where may the pool lie (a directory on a file system with room)?",
		"/srv/umbra", s->pool);
	if (!code)
		code = ask(s->in, "portal",
			"At which address of the storage network do hosts find the array (0.0.0.0: at all)?",
			"0.0.0.0:3260", s->portal);
	if (!code)
		code = ask(s->in, "name", "What is the array called?", name, s->name);
	if (!code && s->pool[0] != '/')
		code = ctl_usage(
			s->in, "%s: the pool's directory is an absolute path (begin with /).", s->pool);
	return code;
}

/* ---- the pool ----------------------------------------------------------------------------------------- */

static int make_pool(struct setup *s)
{
	struct pool_options options = {.path = s->pool, .data_device = ctl_option(s->in, "data-device", 0)};
	struct fault fault = {0};

	s->folder_made = !mkdir(s->pool, 0700);
	if (!s->folder_made && errno != EEXIST)
		return ctl_fail(s->in, -errno,
			"%s cannot be made (%s): make its parent directory, or be root.", s->pool,
			strerror(errno));
	int err = pool_create(&options, &fault);
	if (err)
		return ctl_fail_fault(s->in, err, &fault);
	s->pool_made = true;
	return CTL_OK;
}

/* ---- the configuration -------------------------------------------------------------------------------- */

struct setting {
	const char *section, *key, *value;
	bool written;
};

static bool is_key(const char *line, const char *key)
{
	size_t len = strlen(key);

	line += strspn(line, " \t");
	return !strncmp(line, key, len) && line[len + strspn(line + len, " \t")] == '=';
}

/* The settings of the section that have not been written yet. */
static void write_rest(FILE *out, struct setting *all, size_t count, const char *section)
{
	for (size_t i = 0; i < count; i++)
		if (!all[i].written && all[i].value && !strcmp(all[i].section, section)) {
			fprintf(out, "%s = %s\n", all[i].key, all[i].value);
			all[i].written = true;
		}
}

/* One line of the old configuration: as it is, or with the new value. section: where it stands. */
static void write_line(FILE *out, const char *line, struct setting *all, size_t count, char section[64])
{
	const char *begin = line + strspn(line, " \t");

	if (*begin == '[') {
		write_rest(out, all, count, section);
		snprintf(section, 64, "%.*s", (int)strcspn(begin + 1, "]\n"), begin + 1);
	}
	for (size_t i = 0; i < count; i++)
		if (all[i].value && !strcmp(all[i].section, section) && is_key(line, all[i].key)) {
			if (!all[i].written)
				fprintf(out, "%s = %s\n", all[i].key, all[i].value);
			all[i].written = true;
			return;
		}
	fprintf(out, "%s\n", line);
}

/* What stands in the old one stays, but for what was asked. */
static void write_settings(struct setup *s, FILE *out)
{
	struct setting all[] = {{"array", "name", s->name, false}, {"pool", "path", s->pool, false},
		{"pool", "data_device", ctl_option(s->in, "data-device", 0), false},
		{"iscsi", "portals", s->portal, false}};
	const size_t count = sizeof(all) / sizeof(all[0]);
	char section[64] = "", *rest = s->before;

	for (char *line = rest ? strsep(&rest, "\n") : NULL; line; line = strsep(&rest, "\n"))
		if (rest || *line)
			write_line(out, line, all, count, section);
	write_rest(out, all, count, section);
	for (size_t i = 0; i < count; i++)
		if (!all[i].written && all[i].value) {
			fprintf(out, "\n[%s]\n", all[i].section);
			write_rest(out, all, count, all[i].section);
		}
}

static char *read_whole(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = file ? calloc(1, 65536) : NULL;

	if (text && fread(text, 1, 65535, file) == 65535) {
		free(text); /* no configuration is so long */
		text = NULL;
	}
	if (file)
		fclose(file);
	return text;
}

static int replace_file(const struct invocation *in, const char *path,
	void (*fill)(struct setup *s, FILE *out), struct setup *s)
{
	char partial[PATH_MAX];

	snprintf(partial, sizeof(partial), "%s.new", path);
	FILE *file = fopen(partial, "we");
	if (!file)
		return ctl_fail(in, -errno, "%s cannot be written (%s): be root.", path, strerror(errno));
	fchmod(fileno(file), 0644);
	fill(s, file);
	bool bad = fflush(file) || fsync(fileno(file));
	bad = fclose(file) || bad || rename(partial, path);
	return bad ? ctl_fail(in, -errno, "%s cannot be written (%s): look at its disk.", path,
			     strerror(errno))
		   : CTL_OK;
}

static void write_before(struct setup *s, FILE *out)
{
	fputs(s->before ? s->before : "", out);
}

static int write_config(struct setup *s)
{
	char folder[PATH_MAX], *slash;
	char *before = read_whole(s->config);

	snprintf(folder, sizeof(folder), "%s", s->config);
	slash = strrchr(folder, '/');
	if (slash && slash != folder) {
		*slash = '\0';
		mkdir(folder, 0755);
	}
	s->before = before ? strdup(before) : NULL; /* strsep takes it apart */
	int code = replace_file(s->in, s->config, write_settings, s);
	free(s->before);
	s->before = before;
	s->config_made = !code;
	return code;
}

static int check_config(struct setup *s)
{
	const char *argv[] = {"umbrad", "--config", s->config, "--check-config", NULL};
	char text[512] = "";
	int code = run_program(argv, text, sizeof(text));

	if (code == RUN_ABSENT)
		return ctl_fail(s->in, -ENOENT, "umbrad is not here: install the whole package.");
	return code ? ctl_fail(s->in, -EINVAL, "what was answered makes no configuration: %s", text) : CTL_OK;
}

/* ---- the service -------------------------------------------------------------------------------------- */

static int run_systemctl(const struct setup *s, const char *a, const char *b, const char *c)
{
	const char *argv[] = {"systemctl", a, b, c, NULL};
	char text[512] = "";
	int code = run_program(argv, text, sizeof(text));

	if (code == RUN_ABSENT)
		return ctl_fail(s->in, -ENOENT,
			"There is no systemd here. The pool and %s are made; start the array by: umbrad --config %s",
			s->config, s->config);
	return code ? ctl_fail(s->in, -EIO, "systemctl %s failed (%s): see journalctl -u umbrad.", a, text)
		    : CTL_OK;
}

static bool umbrad_answers(const struct invocation *in)
{
	struct client *c = client_try(in);

	client_close(c);
	return c != NULL;
}

static int start_service(struct setup *s)
{
	const struct timespec pause = {.tv_nsec = 100000000};
	/* At this systemd looks into the configuration: umbra-generator. */
	int code = run_systemctl(s, "daemon-reload", NULL, NULL);

	if (!code)
		code = run_systemctl(s, "enable", "--now", "umbrad");
	for (int i = 0; !code && i < READY_TIMEOUT_S * 10 && !umbrad_answers(s->in); i++)
		nanosleep(&pause, NULL);
	return code;
}

/* ---- all of it ---------------------------------------------------------------------------------------- */

static int check_before(struct setup *s)
{
	char free_text[UNITS_TEXT_BYTES], path[PATH_MAX];
	struct statvfs fs;
	struct stat status;

	if (umbrad_answers(s->in))
		return ctl_fail(s->in, -EEXIST,
			"An array runs here already: umbractl status shows it. setup is for a machine that has none.");
	snprintf(path, sizeof(path), "%s/pool", s->pool);
	if (!lstat(path, &status))
		return ctl_fail(s->in, -EEXIST,
			"%s has a pool already: name it in %s, and start umbrad; or choose another directory.",
			s->pool, s->config);
	snprintf(path, sizeof(path), "%s", s->pool);
	while (statvfs(path, &fs) && strrchr(path, '/') > path)
		*strrchr(path, '/') = '\0';
	units_format_bytes((uint64_t)fs.f_bavail * fs.f_frsize, free_text);
	if (!s->in->json)
		printf("The file system of %s has %s free.\n", s->pool, free_text);
	return CTL_OK;
}

/* A pool that was just made and has nothing in it. */
static void remove_pool(const struct setup *s)
{
	const char *argv[] = {"rm", "-rf", "--one-file-system", "--", s->pool, NULL};
	char text[128];

	if (s->folder_made)
		run_program(argv, text, sizeof(text));
	else
		fprintf(stderr, "umbractl: the empty pool in %s stays: delete what is in that directory.\n",
			s->pool);
}

static void undo(struct setup *s)
{
	if (s->config_made && s->before)
		replace_file(s->in, s->config, write_before, s);
	else if (s->config_made)
		unlink(s->config);
	if (s->pool_made)
		remove_pool(s);
}

static int tell(struct setup *s)
{
	json_t *status = ctl_call(s->in, "status", NULL);
	const json_t *array = json_object_get(status, "array");
	json_t *portal = json_array_get(json_object_get(array, "portals"), 0);

	return print_result(s->in, status,
		"The array %s runs. Hosts find %s at %s port %s.\n\nNext, for a server db1 (its initiator name stands in its "
		"iSCSI settings):\n"
		"  umbractl lun create sql-data --size 500G\n"
		"  umbractl host add db1 --iqn iqn.1991-05.com.microsoft:db1 --chap-file FILE --windows\n"
		"  umbractl map sql-data db1\n",
		text_of(array, "name"), text_of(array, "target_name"), text_of(portal, "address"),
		count_of(portal, "port"));
}

int verb_setup(struct invocation *in)
{
	const char *config = ctl_option(in, "config", 0);
	struct setup s = {.in = in, .config = config ? config : PLACE_CONFIG};
	int code = ask_all(&s);

	if (!code)
		code = check_before(&s);
	if (code)
		return code;
	code = make_pool(&s);
	if (!code)
		code = write_config(&s);
	if (!code)
		code = check_config(&s);
	if (code) {
		undo(&s);
	} else {
		code = start_service(&s);
		if (!code)
			code = tell(&s);
	}
	free(s.before);
	return code;
}
