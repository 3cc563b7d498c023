/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbractl metrics: what umbrad counts and holds, in Prometheus' text format 0.0.4. All of a name stand together, behind its
 * HELP and TYPE. The text is whole before any of it is printed: who scrapes gets all of it, or an error.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "ctl/ctl.h"

/* LUNs or hosts in one answer: I/O waits while umbrad writes it, a few ms. */
#define PAGE 100

#define NS_DIGITS 9
#define MS_DIGITS 3
#define US_DIGITS 6

#define HTTP_REQUEST_BYTES 8192
#define HTTP_PATIENCE_S    10

/* ---- the format ------------------------------------------------------------------------------------ */

static void begin(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value: a backslash, a quote and a line's end are escaped. */
static void put_escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\\n", out);
		else if (*text == '\\' || *text == '"')
			fprintf(out, "\\%c", *text);
		else
			putc(*text, out);
	}
}

static void put_label(FILE *out, const char *label, const char *value, bool first)
{
	fprintf(out, "%c%s=\"", first ? '{' : ',', label);
	put_escaped(out, value);
	putc('"', out);
}

/* value * 10 to the power of -digits, whatever the locale. */
static void put_number(FILE *out, json_int_t value, unsigned digits)
{
	json_int_t unit = 1;

	for (unsigned i = 0; i < digits; i++)
		unit *= 10;
	if (!digits || value % unit == 0)
		fprintf(out, " %" JSON_INTEGER_FORMAT "\n", value / unit);
	else
		fprintf(out, " %s%" JSON_INTEGER_FORMAT ".%0*" JSON_INTEGER_FORMAT "\n", value < 0 ? "-" : "",
			llabs(value / unit), (int)digits, llabs(value % unit));
}

static void put_plain(
	FILE *out, const char *name, const char *type, const char *help, json_int_t value, unsigned digits)
{
	begin(out, name, type, help);
	fputs(name, out);
	put_number(out, value, digits);
}

static void put_labelled(FILE *out, const char *name, const char *label, const char *value, json_int_t number)
{
	fputs(name, out);
	put_label(out, label, value, true);
	putc('}', out);
	put_number(out, number, 0);
}

static const char *string(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));

	return text ? text : "";
}

static json_int_t number(const json_t *object, const char *member)
{
	return json_integer_value(json_object_get(object, member));
}

/* ---- LUNs and hosts: what they have alike -------------------------------------------------------------- */

/* What is listed: LUNs or hosts. */
struct subject {
	const char *label; /* "lun": umbra_lun_…{lun="…"} */
	const json_t *rows, *bounds_ns;
};

static void put_subject(FILE *out, const struct subject *s, const json_t *row, const char *rest)
{
	fprintf(out, "umbra_%s_%s", s->label, rest);
	put_label(out, s->label, string(row, "name"), true);
	if (json_object_get(row, "kind"))
		put_label(out, "kind", string(row, "kind"), false);
}

static void begin_subject(
	FILE *out, const struct subject *s, const char *rest, const char *type, const char *help)
{
	char name[80];

	snprintf(name, sizeof(name), "umbra_%s_%s", s->label, rest);
	begin(out, name, type, help);
}

static void put_member(FILE *out, const struct subject *s, const char *rest, const char *type,
	const char *member, const char *help)
{
	json_t *row;
	size_t i;

	begin_subject(out, s, rest, type, help);
	json_array_foreach(s->rows, i, row)
	{
		put_subject(out, s, row, rest);
		putc('}', out);
		put_number(out, number(row, member), 0);
	}
}

static void put_operation(FILE *out, const struct subject *s, const json_t *row, const char *rest,
	const char *operation, json_int_t value, unsigned digits)
{
	put_subject(out, s, row, rest);
	put_label(out, "operation", operation, false);
	putc('}', out);
	put_number(out, value, digits);
}

static const char *const transfers[] = {"read", "write"};
#define TRANSFERS (sizeof(transfers) / sizeof(transfers[0]))

static void put_operations(FILE *out, const struct subject *s)
{
	json_t *row;
	size_t i;

	begin_subject(out, s, "operations_total", "counter", "SCSI commands that ended well.");
	json_array_foreach(s->rows, i, row)
	{
		for (unsigned t = 0; t < TRANSFERS; t++)
			put_operation(out, s, row, "operations_total", transfers[t],
				number(json_object_get(row, transfers[t]), "operations"), 0);
		put_operation(out, s, row, "operations_total", "other", number(row, "other"), 0);
	}
	put_member(out, s, "failed_operations_total", "counter", "failed",
		"SCSI commands that ended otherwise, those that were aborted among them.");
	begin_subject(out, s, "transferred_bytes_total", "counter", "Data of the commands that ended well.");
	json_array_foreach(s->rows, i, row) for (unsigned t = 0; t < TRANSFERS; t++)
		put_operation(out, s, row, "transferred_bytes_total", transfers[t],
			number(json_object_get(row, transfers[t]), "bytes"), 0);
}

/* One histogram; nothing of what had no operation. */
static void put_histogram(FILE *out, const struct subject *s, const json_t *row, const char *operation)
{
	const json_t *count = json_object_get(row, operation), *buckets = json_object_get(count, "buckets");
	json_int_t sum = 0;
	json_t *bucket;
	size_t i;

	json_array_foreach(buckets, i, bucket)
	{
		const json_t *bound = json_array_get(s->bounds_ns, i);

		sum += json_integer_value(bucket);
		put_subject(out, s, row, "operation_duration_seconds_bucket");
		put_label(out, "operation", operation, false);
		if (bound) {
			json_int_t ns = json_integer_value(bound);
			fprintf(out, ",le=\"%.10g\"}", (double)ns / 1e9);
		} else {
			fputs(",le=\"+Inf\"}", out);
		}
		put_number(out, sum, 0);
	}
	if (!buckets)
		return;
	put_operation(
		out, s, row, "operation_duration_seconds_sum", operation, number(count, "ns"), NS_DIGITS);
	put_operation(out, s, row, "operation_duration_seconds_count", operation, sum, 0);
}

static void put_load(FILE *out, const struct subject *s)
{
	json_t *row;
	size_t i;

	put_operations(out, s);
	put_member(out, s, "queue_length", "gauge", "queue", "SCSI commands under way in the array now.");
	put_member(out, s, "mappings", "gauge", "mappings",
		"LUNs that the host sees, or hosts that see the LUN.");
	begin_subject(out, s, "operation_duration_seconds", "histogram",
		"How long commands took in the array, from when it had their data to their result, by turns of umbrad's loop.");
	json_array_foreach(s->rows, i, row) for (unsigned t = 0; t < TRANSFERS; t++)
		put_histogram(out, s, row, transfers[t]);
}

/* ---- the array and its pool --------------------------------------------------------------------------- */

static void put_array(FILE *out, const json_t *array)
{
	begin(out, "umbra_build_info", "gauge", "Always 1; the version of umbrad.");
	put_labelled(out, "umbra_build_info", "version", string(array, "version"), 1);
	begin(out, "umbra_array_info", "gauge", "Always 1; which array this is.");
	fputs("umbra_array_info", out);
	put_label(out, "name", string(array, "name"), true);
	put_label(out, "id", string(array, "id"), false);
	put_label(out, "target", string(array, "target_name"), false);
	fputs("} 1\n", out);
	put_plain(out, "umbra_start_time_seconds", "gauge", "When umbrad was started, since 1970.",
		number(array, "started_unix_ms"), MS_DIGITS);
}

static json_int_t used_by(const json_t *luns, const char *kind)
{
	json_int_t sum = 0;
	json_t *lun;
	size_t i;

	json_array_foreach(luns, i, lun) if (!strcmp(string(lun, "kind"), kind)) sum +=
		number(lun, "used_bytes");
	return sum;
}

static void put_space(FILE *out, const json_t *pool, const json_t *luns, const json_t *counts)
{
	const struct {
		const char *owner;
		json_int_t bytes;
	} rows[] = {{"originals", used_by(luns, "ordinary")}, {"copies", used_by(luns, "shadow")},
		{"recycled", number(counts, "recycled_bytes")}, {"reserved", number(pool, "reserved_bytes")},
		{"reclaim", number(pool, "reclaim_pending_bytes")}};

	begin(out, "umbra_pool_space_bytes", "gauge",
		"Space by what it was written through: ordinary LUNs, shadow LUNs, those in the recycle bin; set aside for "
		"shadow copies; deleted and being given back. An estimate.");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		put_labelled(out, "umbra_pool_space_bytes", "owner", rows[i].owner, rows[i].bytes);
}

static void put_pool(FILE *out, const json_t *pool)
{
	static const struct {
		const char *name, *member, *help;
	} rows[] = {
		{"umbra_pool_capacity_bytes", "capacity_bytes", "What the pool can hold."},
		{"umbra_pool_used_bytes", "used_bytes",
			"What of it is in use, what is being given back included."},
		{"umbra_pool_log_size_bytes", "log_bytes", "The intent log."},
		{"umbra_pool_log_used_bytes", "log_used_bytes", "What of the log waits for a checkpoint."},
		{"umbra_pool_map_cache_limit_bytes", "map_memory_bytes",
			"Memory that the map's cache may take."},
		{"umbra_pool_map_cache_bytes", "map_memory_used_bytes", "Memory that the map's cache takes."},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		put_plain(out, rows[i].name, "gauge", rows[i].help, number(pool, rows[i].member), 0);
	put_plain(out, "umbra_pool_read_only", "gauge",
		"1: the pool takes no writes; umbractl pool status says why.",
		json_is_true(json_object_get(pool, "read_only")), 0);
}

/* Of an array with two controllers. */
static void put_controller(FILE *out, const json_t *controller)
{
	static const char *const roles[] = {"owner", "standby", "leaving"};

	if (!json_is_object(controller))
		return;
	begin(out, "umbra_controller_role", "gauge",
		"1: the role of this one of two controllers; leaving: on its way to standby.");
	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		put_labelled(out, "umbra_controller_role", "role", roles[i],
			strcmp(string(controller, "role"), roles[i]) == 0);
	put_plain(out, "umbra_controller_other_up", "gauge", "1: the other controller is there.",
		json_is_true(json_object_get(json_object_get(controller, "other"), "lives")), 0);
	put_plain(out, "umbra_controller_takeovers_total", "counter",
		"How often this umbrad became the owner since it was started.",
		number(controller, "takeovers"), 0);
	put_plain(out, "umbra_controller_losses_total", "counter",
		"How often it was replaced by the other one without having given the array back.",
		number(controller, "losses"), 0);
	if (json_is_integer(json_object_get(controller, "lease_age_ms")))
		put_plain(out, "umbra_controller_lease_age_seconds", "gauge",
			"So long ago the owner's lease was renewed, as this one saw it; it lasts 6 s.",
			number(controller, "lease_age_ms"), MS_DIGITS);
}

static void put_counts(FILE *out, const json_t *status)
{
	const json_t *counts = json_object_get(status, "counts"), *limits = json_object_get(status, "limits");
	static const char *const severities[] = {"info", "warning", "error"};

	begin(out, "umbra_luns", "gauge", "LUNs by kind; recycled ones can be brought back.");
	put_labelled(out, "umbra_luns", "kind", "ordinary", number(counts, "luns"));
	put_labelled(out, "umbra_luns", "kind", "shadow", number(counts, "shadows"));
	if (json_is_integer(json_object_get(counts, "recycled")))
		put_labelled(out, "umbra_luns", "kind", "recycled", number(counts, "recycled"));
	put_plain(out, "umbra_luns_limit", "gauge", "Ordinary and shadow LUNs that there may be.",
		number(limits, "luns_max"), 0);
	put_plain(out, "umbra_hosts", "gauge", "Hosts that the array knows.", number(counts, "hosts"), 0);
	put_plain(out, "umbra_hosts_limit", "gauge", "Hosts that there may be.", number(limits, "hosts_max"),
		0);
	put_plain(out, "umbra_sets_limit", "gauge", "Copy sets that there may be.",
		number(limits, "sets_max"), 0);
	begin(out, "umbra_events_total", "counter", "Events since umbrad was started.");
	for (size_t i = 0; i < sizeof(severities) / sizeof(severities[0]); i++)
		put_labelled(out, "umbra_events_total", "severity", severities[i],
			number(json_object_get(status, "events"), severities[i]));
}

/* ---- copy sets and policies ----------------------------------------------------------------------------- */

/* The newest set of which the member is told; NULL: none. */
static const json_t *newest(const json_t *sets, const char *member)
{
	const json_t *found = NULL;
	json_t *set;
	size_t i;

	json_array_foreach(sets, i,
		set) if (number(set, "cut_unix_ms") && number(set, member) &&
			 (!found || number(set, "cut_unix_ms") >= number(found, "cut_unix_ms"))) found = set;
	return found;
}

static void put_set_states(FILE *out, const json_t *sets)
{
	static const char *const states[] = {
		"preparing", "armed", "committing", "committed", "kept", "aborted"};
	json_int_t locked = 0;
	json_t *set;
	size_t i;

	begin(out, "umbra_sets", "gauge", "Copy sets by state; aborted ones as long as they are remembered.");
	for (size_t s = 0; s < sizeof(states) / sizeof(states[0]); s++) {
		json_int_t count = 0;

		json_array_foreach(sets, i, set) count += !strcmp(string(set, "state"), states[s]);
		put_labelled(out, "umbra_sets", "state", states[s], count);
	}
	json_array_foreach(sets, i, set) locked += number(set, "lock_left_ms") > 0;
	put_plain(out, "umbra_sets_locked", "gauge", "Copy sets that are locked.", locked, 0);
}

static void put_sets(FILE *out, const json_t *sets)
{
	static const struct {
		const char *name, *member;
		unsigned digits;
		const char *help;
	} rows[] = {
		{"umbra_set_window_seconds", "window_ns", NS_DIGITS,
			"How long the newest copy set held writes to its LUNs."},
		{"umbra_set_durable_seconds", "durable_ns", NS_DIGITS,
			"How long the newest copy set took from its cut until it was durable."},
		{"umbra_set_frozen_seconds", "frozen_us", US_DIGITS,
			"How long applications stood still for the newest copy set whose host told."},
		{"umbra_set_held_seconds", "held_us", US_DIGITS,
			"How long the host held its I/O for the newest copy set whose host told."},
	};
	const json_t *last = newest(sets, "cut_unix_ms");

	put_set_states(out, sets);
	if (last)
		put_plain(out, "umbra_set_cut_timestamp_seconds", "gauge",
			"The instant of the newest copy set, since 1970.", number(last, "cut_unix_ms"),
			MS_DIGITS);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const json_t *set = newest(sets, rows[i].member);
		if (set)
			put_plain(out, rows[i].name, "gauge", rows[i].help, number(set, rows[i].member),
				rows[i].digits);
	}
}

static void put_policy_times(
	FILE *out, const json_t *policies, const char *name, const char *member, const char *help)
{
	json_t *policy;
	size_t i;

	begin(out, name, "gauge", help);
	json_array_foreach(policies, i, policy)
	{
		if (!number(policy, member))
			continue;
		fputs(name, out);
		put_label(out, "policy", string(policy, "name"), true);
		putc('}', out);
		put_number(out, number(policy, member), MS_DIGITS);
	}
}

/* ---- all of it ------------------------------------------------------------------------------------------ */

struct facts {
	json_t *status, *luns, *hosts, *lun_bounds, *sets, *policies;
};

/* All pages of a load.… method. A name comes once, even when something was renamed between two pages: twice would make
 * the whole text invalid. */
static json_t *loads(const struct invocation *in, const char *method, const char *member, json_t **bounds)
{
	struct client *c = client_open(in);
	json_t *all = c ? json_array() : NULL, *seen = json_object(), *row, *next = NULL, *page;
	json_int_t offset = 0;
	size_t i;

	while (all) {
		page = client_call(
			c, method, json_pack("{s:I, s:I}", "offset", offset, "limit", (json_int_t)PAGE));
		if (!page) {
			json_decref(all);
			all = NULL;
			break;
		}
		json_array_foreach(json_object_get(page, member), i, row)
		{
			if (json_object_get(seen, string(row, "name")))
				continue;
			json_object_set_new(seen, string(row, "name"), json_true());
			json_array_append(all, row);
		}
		if (!*bounds)
			*bounds = json_incref(json_object_get(page, "bounds_ns"));
		next = json_object_get(page, "next");
		bool more = json_is_integer(next) && json_integer_value(next) > offset;
		offset = json_integer_value(next);
		json_decref(page);
		if (!more)
			break;
	}
	json_decref(seen);
	client_close(c);
	return all;
}

static bool ask(const struct invocation *in, struct facts *f)
{
	*f = (struct facts){.status = ctl_call(in, "status", NULL)};
	if (f->status)
		f->luns = loads(in, "load.luns", "luns", &f->lun_bounds);
	if (f->luns)
		f->hosts = loads(in, "load.hosts", "hosts", &f->lun_bounds);
	if (!f->hosts || ctl_stands_by(f->status))
		return f->hosts;
	f->sets = ctl_list(in, "set.list", "sets", "all");
	if (f->sets)
		f->policies = ctl_list(in, "policy.list", "policies", NULL);
	return f->policies;
}

static void forget(struct facts *f)
{
	json_decref(f->status);
	json_decref(f->luns);
	json_decref(f->hosts);
	json_decref(f->lun_bounds);
	json_decref(f->sets);
	json_decref(f->policies);
}

static void put_all(FILE *out, const struct facts *f)
{
	const json_t *pool = json_object_get(f->status, "pool");
	struct subject luns = {"lun", f->luns, f->lun_bounds}, hosts = {"host", f->hosts, f->lun_bounds};

	put_array(out, json_object_get(f->status, "array"));
	if (f->sets) {
		put_pool(out, pool);
		put_space(out, pool, f->luns, json_object_get(f->status, "counts"));
	}
	put_counts(out, f->status);
	put_controller(out, json_object_get(f->status, "controller"));
	if (f->sets) {
		put_sets(out, f->sets);
		put_policy_times(out, f->policies, "umbra_policy_last_run_timestamp_seconds", "last_unix_ms",
			"When the policy last took copies, since 1970.");
		put_policy_times(out, f->policies, "umbra_policy_next_run_timestamp_seconds", "next_unix_ms",
			"When it will again, since 1970.");
	}
	put_member(out, &luns, "size_bytes", "gauge", "size_bytes", "How large the LUN is to its hosts.");
	if (f->sets)
		put_member(out, &luns, "used_bytes", "gauge", "used_bytes",
			"Space of the pool that was written through the LUN.");
	put_load(out, &luns);
	put_member(out, &hosts, "sessions", "gauge", "sessions", "iSCSI sessions of the host now.");
	put_load(out, &hosts);
}

/* The whole text, malloc'ed; NULL: said why. */
static char *metrics_text(const struct invocation *in, size_t *len)
{
	struct facts f;
	char *text = NULL;
	bool asked = ask(in, &f);
	FILE *out = asked ? open_memstream(&text, len) : NULL;

	if (out) {
		put_all(out, &f);
		bool bad = ferror(out);
		if (fclose(out) || bad) {
			free(text);
			text = NULL;
		}
	}
	forget(&f);
	if (asked && !text)
		ctl_fail(in, -ENOMEM, "there is no memory for the text: try again.");
	return text;
}

/* ---- HTTP: one request, one answer --------------------------------------------------------------------- */

/* Reads until the header's end, which must come soon. False: there was none. */
static bool read_request(char text[HTTP_REQUEST_BYTES])
{
	struct timespec now;
	size_t used = 0;

	clock_gettime(CLOCK_MONOTONIC, &now);
	time_t end = now.tv_sec + HTTP_PATIENCE_S;
	while (used < HTTP_REQUEST_BYTES - 1 && now.tv_sec < end) {
		struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
		ssize_t got = poll(&in, 1, (int)(end - now.tv_sec) * 1000) > 0
				      ? read(STDIN_FILENO, text + used, HTTP_REQUEST_BYTES - 1 - used)
				      : -1;
		if (got <= 0)
			return false;
		used += (size_t)got;
		text[used] = '\0';
		if (strlen(text) != used)
			return false;
		if (strstr(text, "\r\n\r\n") || strstr(text, "\n\n"))
			return true;
		clock_gettime(CLOCK_MONOTONIC, &now);
	}
	return false;
}

static void answer(const char *status, const char *more, const char *text, size_t len)
{
	printf("HTTP/1.0 %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: %zu\r\n"
	       "Connection: close\r\n%s\r\n",
		status, len, more);
	fwrite(text, 1, len, stdout);
}

static int refuse(const char *status, const char *more, const char *text)
{
	answer(status, more, text, strlen(text));
	return CTL_FAILED;
}

static int serve(struct invocation *in)
{
	char request[HTTP_REQUEST_BYTES], method[16] = "", path[64] = "", *text;
	size_t len = 0;

	if (!read_request(request) || sscanf(request, "%15s %63s HTTP/", method, path) != 2)
		return refuse("400 Bad Request", "", "No HTTP request came.\n");
	if (strcmp(method, "GET") != 0)
		return refuse("405 Method Not Allowed", "Allow: GET\r\n", "Only GET is served.\n");
	path[strcspn(path, "?")] = '\0';
	if (strcmp(path, "/metrics") != 0)
		return refuse("404 Not Found", "", "There is only /metrics.\n");
	text = metrics_text(in, &len);
	if (!text)
		return refuse("503 Service Unavailable", "", "umbrad does not answer: see the journal.\n");
	answer("200 OK", "", text, len);
	free(text);
	return CTL_OK;
}

int verb_metrics(struct invocation *in)
{
	size_t len = 0;
	char *text;

	if (in->json)
		return ctl_usage(in, "metrics has one format: without --json.");
	if (ctl_flag(in, "http"))
		return serve(in);
	text = metrics_text(in, &len);
	if (!text)
		return CTL_FAILED;
	fwrite(text, 1, len, stdout);
	free(text);
	return CTL_OK;
}
