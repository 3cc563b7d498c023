/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl status, sessions, session logout, events, top. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "array/util/units.h"
#include "ctl/ctl.h"

static const struct column session_columns[] = {
	{"HOST", text_of, "host"},
	{"INITIATOR", text_of, "initiator"},
	{"FROM", text_of, "peer"},
	{"CHAP", yes_of, "authenticated"},
	{">COMMANDS", count_of, "commands"},
	{">RECEIVED", size_of, "bytes_in"},
	{">SENT", size_of, "bytes_out"},
	{"SINCE", time_of, "since_unix_ms"},
	{NULL, NULL, NULL},
};

static void print_role(const json_t *controller)
{
	const json_t *other = json_object_get(controller, "other");
	const char *role = text_of(controller, "role"), *owner = text_of(controller, "owner");

	printf("control  controller %s, ", count_of(controller, "number"));
	if (strcmp(role, "owner") == 0)
		printf("which owns the array; controller %s: %s\n", count_of(other, "number"),
			text_of(other, "role"));
	else
		printf("which stands by%s%s\n", *owner ? "; the array is owned by umbrad on " : "", owner);
}

static void print_status(const json_t *status)
{
	const json_t *array = json_object_get(status, "array"), *pool = json_object_get(status, "pool");
	const json_t *counts = json_object_get(status, "counts"), *limits = json_object_get(status, "limits");
	const json_t *controller = json_object_get(status, "controller");
	bool read_only = json_is_true(json_object_get(pool, "read_only"));
	json_t *portal;
	size_t i;

	printf("array    %s (%s), umbrad %s, since %s\n", text_of(array, "name"), text_of(array, "id"),
		text_of(array, "version"), time_of(array, "started_unix_ms"));
	if (json_is_object(controller))
		print_role(controller);
	printf("target   %s\n", text_of(array, "target_name"));
	json_array_foreach(json_object_get(array, "portals"), i, portal) printf(
		"portal   %s port %s, group %s%s%s\n", text_of(portal, "address"), count_of(portal, "port"),
		count_of(portal, "group"), json_object_get(portal, "redirect") ? ", sends hosts to " : "",
		json_object_get(portal, "redirect") ? text_of(portal, "redirect") : "");
	bool known = json_integer_value(json_object_get(pool, "capacity_bytes")) > 0;
	printf("pool     %s: %s of %s used, %s being reclaimed, %s set aside for shadow copies%s%s\n",
		text_of(pool, "path"), known ? size_of(pool, "used_bytes") : "?",
		known ? size_of(pool, "capacity_bytes") : "?", size_of(pool, "reclaim_pending_bytes"),
		size_of(pool, "reserved_bytes"), read_only ? ", READ-ONLY: " : "",
		read_only ? text_of(pool, "read_only_reason") : "");
	printf("LUNs     %s and %s shadow LUNs of %s\n", count_of(counts, "luns"),
		count_of(counts, "shadows"), count_of(limits, "luns_max"));
	printf("hosts    %s of %s\n", count_of(counts, "hosts"), count_of(limits, "hosts_max"));
	if (json_is_null(json_object_get(counts, "sets")))
		printf("sets     ask the controller that owns the array\n\n");
	else
		printf("sets     %s of %s, %s of them not kept yet\n\n", count_of(counts, "sets"),
			count_of(limits, "sets_max"), count_of(counts, "sets_unkept"));
	print_rows(session_columns, json_object_get(status, "sessions"));
	if (json_is_true(json_object_get(status, "sessions_more")))
		puts("and more: umbractl sessions");
}

int verb_status(struct invocation *in)
{
	json_t *status = ctl_call(in, "status", NULL);

	if (status && !in->json)
		print_status(status);
	return print_result(in, status, "%s", "");
}

int verb_session_list(struct invocation *in)
{
	return print_list(in, "session.list", "sessions", "sessions", NULL, session_columns);
}

int verb_session_logout(struct invocation *in)
{
	bool all = strcmp(in->operands[0], "all") == 0;
	json_t *params = all ? NULL : json_pack("{s:s}", "host", in->operands[0]);
	json_t *result = ctl_call(in, "session.logout", params);

	return print_result(in, result, "%s session(s) asked to log out\n", count_of(result, "asked"));
}

/* ---- events --------------------------------------------------------------------------------------- */

static void print_event(const json_t *event)
{
	printf("%s  %-7s  %-8s %s [%s]\n", time_of(event, "unix_ms"), text_of(event, "level"),
		text_of(event, "area"), text_of(event, "text"), text_of(event, "id"));
}

static int follow(struct invocation *in, json_int_t after)
{
	struct client *c = client_open(in);
	json_t *started = c ? client_call(c, "events.follow", json_pack("{s:I}", "after", after)) : NULL;
	json_t *event;

	if (!started) {
		client_close(c);
		return CTL_FAILED;
	}
	json_decref(started);
	while ((event = client_next_event(c))) {
		char *text = in->json ? json_dumps(event, JSON_COMPACT) : NULL;
		if (text)
			puts(text);
		else
			print_event(event);
		free(text);
		json_decref(event);
		if (fflush(stdout)) { /* nobody reads any more */
			client_close(c);
			return CTL_FAILED;
		}
	}
	client_close(c);
	return ctl_fail(in, 0, "umbrad ended the connection: it was stopped, or this reader was too slow.");
}

int verb_events(struct invocation *in)
{
	json_int_t after = 0;

	if (!ctl_number(in, "after", 0, INT64_MAX, &after))
		return CTL_USAGE;
	if (ctl_flag(in, "follow"))
		return follow(in, after);
	json_t *all = json_array(), *page, *event;
	bool more = true;
	size_t i;
	while (more && (page = ctl_call(in, "events.list", json_pack("{s:I}", "after", after)))) {
		json_array_extend(all, json_object_get(page, "events"));
		after = json_integer_value(json_object_get(page, "last"));
		more = json_is_true(json_object_get(page, "more"));
		json_decref(page);
	}
	if (more) {
		json_decref(all);
		return CTL_FAILED;
	}
	if (in->json)
		return print_json(json_pack("{s:o, s:I}", "events", all, "last", after));
	json_array_foreach(all, i, event) print_event(event);
	json_decref(all);
	return CTL_OK;
}

/* ---- top ------------------------------------------------------------------------------------------ */

static json_int_t number(const json_t *object, const char *member)
{
	return json_integer_value(json_object_get(object, member));
}

static const json_t *same_session(const json_t *sessions, const json_t *wanted)
{
	json_t *session;
	size_t i;

	json_array_foreach(
		sessions, i, session) if (!strcmp(text_of(session, "peer"), text_of(wanted, "peer")) &&
					  !strcmp(text_of(session, "initiator"),
						  text_of(wanted, "initiator"))) return session;
	return NULL;
}

static void rate_cell(struct table *t, const json_t *now, const json_t *before, const char *member,
	double seconds, bool bytes)
{
	double rate = (double)(number(now, member) - (before ? number(before, member) : 0)) / seconds;
	char text[32], size[UNITS_TEXT_BYTES];

	if (rate < 0)
		rate = 0;
	if (bytes) {
		units_format_bytes((uint64_t)rate, size);
		snprintf(text, sizeof(text), "%s/s", size);
	} else {
		snprintf(text, sizeof(text), "%.0f", rate);
	}
	table_cell(t, text);
}

static void print_rates(const json_t *now, const json_t *before)
{
	static const char *const headings[] = {"HOST", "FROM", ">COMMANDS/S", ">RECEIVED", ">SENT", NULL};
	double seconds = (double)(number(now, "unix_ms") - number(before, "unix_ms")) / 1000.0;
	const json_t *pool = json_object_get(now, "pool");
	struct table *t = table_new(headings);
	json_t *session;
	size_t i;

	if (seconds <= 0)
		seconds = 1;
	if (isatty(STDOUT_FILENO))
		fputs("\033[H\033[2J", stdout);
	printf("pool %s of %s used, %s being reclaimed\n\n", size_of(pool, "used_bytes"),
		size_of(pool, "capacity_bytes"), size_of(pool, "reclaim_pending_bytes"));
	json_array_foreach(json_object_get(now, "sessions"), i, session)
	{
		const json_t *old = same_session(json_object_get(before, "sessions"), session);
		table_cell(t, text_of(session, "host"));
		table_cell(t, text_of(session, "peer"));
		rate_cell(t, session, old, "commands", seconds, false);
		rate_cell(t, session, old, "bytes_in", seconds, true);
		rate_cell(t, session, old, "bytes_out", seconds, true);
	}
	table_print(t);
	fflush(stdout);
}

int verb_top(struct invocation *in)
{
	const char *interval = ctl_option(in, "interval", 0);
	json_int_t count = 0;
	uint32_t ms = 1000;

	if (interval && (units_parse_ms(interval, &ms) || ms < 100))
		return ctl_usage(in, "--interval %s is no time of 100ms or more, as in 2s.", interval);
	if (!ctl_number(in, "count", 1, 1000000, &count))
		return CTL_USAGE;
	struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	struct client *c = client_open(in);
	json_t *before = c ? client_call(c, "stats", NULL) : NULL, *now = NULL;
	bool failed = !before;
	for (json_int_t shown = 0; before && (!count || shown < count); shown++) {
		nanosleep(&pause, NULL);
		now = client_call(c, "stats", NULL);
		failed = !now;
		if (failed)
			break;
		if (in->json)
			print_json(json_incref(now));
		else
			print_rates(now, before);
		json_decref(before);
		before = now;
		now = NULL;
		if (fflush(stdout) || ferror(stdout)) /* nobody reads any more */
			break;
	}
	bool ok = !failed;
	json_decref(before);
	client_close(c);
	return ok ? CTL_OK : CTL_FAILED;
}
