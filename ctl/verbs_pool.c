/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl pool: create, check and dump work on the pool itself, status asks umbrad. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "array/model/array.h"
#include "array/reactor/reactor.h"
#include "array/store/pool/public.h"
#include "array/store/store.h"
#include "ctl/ctl.h"

static bool on_or_off(const char *word, bool *on)
{
	*on = strcmp(word, "on") == 0;
	return *on || strcmp(word, "off") == 0;
}

int verb_pool_create(struct invocation *in)
{
	struct pool_options options = {
		.path = in->operands[0], .data_device = ctl_option(in, "data-device", 0)};
	const char *checksums = ctl_option(in, "checksums", 0);
	char path[PATH_MAX];
	struct fault fault = {0};

	if (!ctl_size(in, "capacity", false, &options.capacity_bytes) ||
		!ctl_size(in, "log", false, &options.log_bytes))
		return CTL_USAGE;
	if (checksums && !on_or_off(checksums, &options.checksums))
		return ctl_usage(in, "--checksums takes on or off");
	if (mkdir(options.path, 0700) && errno != EEXIST)
		return ctl_fail(in, -errno, "%s cannot be made (%s): make its parent directory, or be root.",
			options.path, strerror(errno));
	int err = pool_create(&options, &fault);
	if (err)
		return ctl_fail_fault(in, err, &fault);
	/* umbrad.conf takes absolute paths only. */
	const char *absolute = *options.path != '/' && realpath(options.path, path) ? path : options.path;
	return print_result(in, json_pack("{s:o}", "path", json_text(absolute)),
		"Pool made in %s. Name it in umbrad.conf: [pool] path = %s%s%s\n", absolute, absolute,
		options.data_device ? ", data_device = " : "",
		options.data_device ? options.data_device : "");
}

int verb_pool_scrub(struct invocation *in)
{
	const char *word = in->operands[0];
	uint64_t rate = UINT64_C(64) << 20;
	json_t *params = NULL, *scrub;
	char method[32];

	if (strcmp(word, "start") != 0 && strcmp(word, "stop") != 0 && strcmp(word, "status") != 0)
		return ctl_usage(in, "pool scrub takes start, stop or status");
	if (ctl_option(in, "rate", 0) && strcmp(word, "start") != 0)
		return ctl_usage(in, "--rate goes with start");
	if (ctl_option(in, "rate", 0) && strcmp(ctl_option(in, "rate", 0), "0") == 0)
		rate = 0;
	else if (!ctl_size(in, "rate", false, &rate))
		return CTL_USAGE;
	if (strcmp(word, "start") == 0)
		params = json_pack("{s:I}", "bytes_per_s", (json_int_t)rate);
	snprintf(method, sizeof(method), "pool.scrub_%s", word);
	scrub = ctl_call(in, method, params);
	return print_result(in, scrub,
		"state      %s, %s %%\nread       %s\ndamaged    %s blocks\nunreadable %s places\nrate       %s a second\nsettling   %s chunks\n",
		text_of(scrub, "state"), count_of(scrub, "percent"), size_of(scrub, "read_bytes"),
		count_of(scrub, "damaged"), count_of(scrub, "unreadable"),
		json_integer_value(json_object_get(scrub, "rate")) ? size_of(scrub, "rate") : "all",
		count_of(scrub, "settling"));
}

int verb_pool_checksums(struct invocation *in)
{
	struct pool_options options = {.path = in->operands[0]};
	struct fault fault = {0};

	if (!on_or_off(in->operands[1], &options.checksums))
		return ctl_usage(in, "pool checksums takes on or off");
	int err = pool_checksums(&options, &fault);

	if (err)
		return ctl_fail_fault(in, err, &fault);
	return print_result(in,
		json_pack("{s:o, s:b}", "path", json_text(options.path), "checksums", options.checksums),
		options.checksums ? "%s keeps checksums of what is written from now on.\n"
				  : "%s keeps no checksums any more.\n",
		options.path);
}

int verb_pool_upgrade(struct invocation *in)
{
	struct pool_options options = {
		.path = in->operands[0], .data_device = ctl_option(in, "data-device", 0)};
	struct fault fault = {0};
	bool changed;
	int err = pool_upgrade(&options, &changed, &fault);

	if (err)
		return ctl_fail_fault(in, err, &fault);
	return print_result(in, json_pack("{s:o, s:b}", "path", json_text(options.path), "changed", changed),
		changed ? "%s has what new pools have.\n" : "%s had all that new pools have.\n",
		options.path);
}

int verb_pool_grow(struct invocation *in)
{
	struct pool_options options = {.path = in->operand_count ? in->operands[0] : NULL,
		.data_device = ctl_option(in, "data-device", 0)};
	uint64_t capacity = 0;
	struct fault fault = {0};

	if (!ctl_size(in, "capacity", false, &options.capacity_bytes))
		return CTL_USAGE;
	if (!options.path) {
		json_t *pool = ctl_call(in, "pool.grow",
			json_pack("{s:I}", "capacity_bytes", (json_int_t)options.capacity_bytes));

		return print_result(in, pool, "%s has a capacity of %s.\n", text_of(pool, "path"),
			size_of(pool, "capacity_bytes"));
	}
	int err = pool_grow(&options, &capacity, &fault);

	if (err)
		return ctl_fail_fault(in, err, &fault);
	return print_result(in,
		json_pack("{s:o, s:I}", "path", json_text(options.path), "capacity_bytes",
			(json_int_t)capacity),
		"%s has a capacity of %llu MiB.\n", options.path, (unsigned long long)(capacity >> 20));
}

/* umbrad makes it, whose working directory is another. */
int verb_pool_backup(struct invocation *in)
{
	char here[PATH_MAX], path[2 * PATH_MAX];

	if (in->operands[0][0] == '/')
		snprintf(path, sizeof(path), "%s", in->operands[0]);
	else if (getcwd(here, sizeof(here)))
		snprintf(path, sizeof(path), "%s/%s", here, in->operands[0]);
	else
		return ctl_fail(in, -errno,
			"The working directory cannot be found (%s): give an absolute path.",
			strerror(errno));
	json_t *done = ctl_call(in, "pool.backup", json_pack("{s:o}", "path", json_text(path)));

	return print_result(in, done,
		"The pool's metadata is in %s. Keep it with the pool's log in mind: see umbractl pool backup "
		"--help.\n",
		text_of(done, "path"));
}

int verb_pool_restore(struct invocation *in)
{
	struct pool_options options = {
		.path = in->operands[0], .data_device = ctl_option(in, "data-device", 0)};
	const char *from = ctl_option(in, "from", 0);
	struct pool_restored done;
	struct fault fault = {0};

	if (!from)
		return ctl_usage(in, "pool restore needs --from DIRECTORY");
	char grown[160] = "";
	int err = pool_restore(&options, from, ctl_flag(in, "salvage"), &done, &fault);

	if (err)
		return ctl_fail_fault(in, err, &fault);
	if (done.capacity_bytes)
		snprintf(grown, sizeof(grown),
			" The pool had grown since that copy was made: its capacity is %llu MiB now, `umbractl pool grow` gives it what it had.",
			(unsigned long long)(done.capacity_bytes >> 20));
	return print_result(in,
		json_pack("{s:o, s:o, s:b, s:b, s:I, s:o, s:I}", "path", json_text(options.path), "from",
			json_text(from), "salvaged", done.salvaged, "damaged", done.damaged, "frames",
			(json_int_t)done.frames, "kept", json_text(done.kept), "grown_bytes",
			(json_int_t)done.capacity_bytes),
		"The metadata of %s is restored; %llu frames of the log follow it.%s%s%s%s\n", options.path,
		(unsigned long long)done.frames,
		done.damaged
			? " It is damaged: the pool is for reading only, and what it lost cannot be read, or is old. Copy what you need "
			  "and compare it; `umbractl pool check` tells what is lost."
		: done.salvaged
			? " It is older than the data: the pool is for reading only, what was written since may be missing or "
			  "another LUN's. Copy what you need and compare it."
			: " Nothing that was acknowledged is missing.",
		grown, done.kept[0] ? " What was there before is kept as " : "", done.kept);
}

struct check {
	const struct invocation *in;
	json_t *lines;
	bool shows; /* progress, on a terminal */
};

#define CLEAR_LINE "\r\033[K"

static void report(void *arg, const char *line)
{
	struct check *check = arg;

	if (check->in->json)
		json_array_append_new(check->lines, json_text(line));
	else
		printf("%s%s\n", check->shows ? CLEAR_LINE : "", line);
}

/* On a terminal: a pool of many terabytes takes minutes. */
static void show_progress(void *arg, unsigned percent)
{
	(void)arg;
	if (percent == 100)
		fputs(CLEAR_LINE, stdout);
	else
		printf("\rchecking the map: %u %%", percent);
	fflush(stdout);
}

/* With umbrad's own eyes. Where there is no reactor umbrad does not run either. */
static int look_at_catalogue(struct store *store, struct fault *fault)
{
	struct reactor_options options = {.ring_entries = 8, .workers = 1};
	struct reactor *reactor;
	int err = reactor_create(&reactor, &options);

	if (err)
		return 0;
	err = array_check(store, reactor, fault);
	reactor_destroy(reactor);
	return err;
}

int verb_pool_check(struct invocation *in)
{
	struct pool_options options = {.path = in->operands[0],
		.data_device = ctl_option(in, "data-device", 0),
		.read_only = !ctl_flag(in, "repair"),
		.catalogue = look_at_catalogue,
		.data = ctl_flag(in, "data")};
	struct check check = {.in = in, .lines = json_array(), .shows = isatty(STDOUT_FILENO) && !in->json};
	struct fault fault = {0};

	if (check.shows)
		options.progress = show_progress;
	int findings = pool_check(&options, ctl_flag(in, "repair"), report, &check, &fault);

	if (findings < 0) {
		json_decref(check.lines);
		return ctl_fail_fault(in, findings, &fault);
	}
	print_result(in,
		json_pack("{s:o, s:i, s:o}", "path", json_text(options.path), "findings", findings, "lines",
			check.lines),
		findings ? "%s: %d findings%s\n" : "%s: no findings\n", options.path, findings,
		options.read_only ? "; --repair mends what can be mended" : " left");
	return findings ? CTL_FAILED : CTL_OK;
}

/* A dump may be long: it is printed as it comes. */
struct dump {
	bool json;
	char table[16]; /* of the last row; empty: none yet */
};

static void dump_row_json(
	struct dump *d, const char *table, const struct pool_dump_field *fields, unsigned count)
{
	json_t *row = json_object();

	for (unsigned i = 0; i < count; i++)
		json_object_set_new(row, fields[i].name,
			fields[i].text ? json_string(fields[i].text)
				       : json_integer((json_int_t)fields[i].number));
	if (strcmp(d->table, table) == 0)
		printf(",\n    ");
	else
		printf("%s  \"%s\": [\n    ", d->table[0] ? "\n  ],\n" : "{\n", table);
	json_dumpf(row, stdout, JSON_COMPACT);
	json_decref(row);
}

static void dump_row(void *arg, const char *table, const struct pool_dump_field *fields, unsigned count)
{
	struct dump *d = arg;

	if (d->json) {
		dump_row_json(d, table, fields, count);
	} else {
		printf("%s", table);
		for (unsigned i = 0; i < count; i++) {
			if (fields[i].text)
				printf(" %s=%s", fields[i].name, fields[i].text);
			else
				printf(" %s=%llu", fields[i].name, (unsigned long long)fields[i].number);
		}
		putchar('\n');
	}
	snprintf(d->table, sizeof(d->table), "%s", table);
}

int verb_pool_dump(struct invocation *in)
{
	struct pool_options options = {.path = in->operands[0]};
	struct dump d = {.json = in->json};
	struct fault fault = {0};
	int err = pool_dump(&options, ctl_flag(in, "map"), dump_row, &d, &fault);

	if (d.json && d.table[0])
		puts("\n  ]\n}");
	return err ? ctl_fail_fault(in, err, &fault) : CTL_OK;
}

/* Of a store in Ceph: what Ceph itself keeps is not asked of it. */
static int print_ceph_pool(const struct invocation *in, json_t *pool)
{
	bool known = json_integer_value(json_object_get(pool, "capacity_bytes")) > 0;
	bool read_only = json_is_true(json_object_get(pool, "read_only"));

	return print_result(in, pool,
		"in Ceph    %s\ncapacity   %s\nused       %s\nreclaiming %s, %s images\nstate      %s%s\n",
		text_of(pool, "path"), known ? size_of(pool, "capacity_bytes") : "not known to the cluster",
		known ? size_of(pool, "used_bytes") : "not known to the cluster",
		size_of(pool, "reclaim_pending_bytes"), count_of(pool, "reclaim_pending_steps"),
		read_only ? "read-only: " : "read-write", read_only ? text_of(pool, "read_only_reason") : "");
}

int verb_pool_status(struct invocation *in)
{
	json_t *pool = ctl_call(in, "pool.status", NULL);
	bool read_only = json_is_true(json_object_get(pool, "read_only"));

	if (strcmp(text_of(pool, "store"), "rbd") == 0)
		return print_ceph_pool(in, pool);
	return print_result(in, pool,
		"path       %s\ncapacity   %s\nused       %s\nreclaiming %s, %s steps\nset aside  %s\nmirror     %s\nchecksums  %s\nstate      %s%s\n",
		text_of(pool, "path"), size_of(pool, "capacity_bytes"), size_of(pool, "used_bytes"),
		size_of(pool, "reclaim_pending_bytes"), count_of(pool, "reclaim_pending_steps"),
		size_of(pool, "reserved_bytes"), text_of(pool, "mirror"),
		json_is_true(json_object_get(pool, "checksums")) ? "on" : "off",
		read_only ? "read-only: " : "read-write", read_only ? text_of(pool, "read_only_reason") : "");
}
