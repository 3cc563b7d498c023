/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl controller: the two controllers of an array, and giving it from one to the other. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "ctl/ctl.h"

#define LOOK_NS 50000000l

/* ---- list ---- */

static const char *number_text(const json_t *controller, const char *member)
{
	static char text[2][16];
	static unsigned at;

	at = 1 - at;
	snprintf(text[at], sizeof(text[at]), "%s%s", count_of(controller, member),
		json_is_true(json_object_get(controller, "self")) ? " (this)" : "");
	return text[at];
}

static const char *seen_text(const json_t *controller, const char *member)
{
	const json_t *ms = json_object_get(controller, member);
	static char text[32];

	if (json_is_true(json_object_get(controller, "lives")))
		return "now";
	if (!json_is_integer(ms))
		return "never";
	snprintf(text, sizeof(text), "%lld s ago", (long long)json_integer_value(ms) / 1000);
	return text;
}

/* "192.0.2.1:3260,1": as SendTargets has them. */
static const char *portals_text(const json_t *controller, const char *member)
{
	static char text[1024];
	size_t used = 0, i;
	json_t *portal;

	text[0] = 0;
	json_array_foreach(json_object_get(controller, member), i, portal)
	{
		const char *address = text_of(portal, "address");
		bool six = strchr(address, ':') != NULL;
		int n = snprintf(text + used, sizeof(text) - used, "%s%s%s%s:%s,%s", used ? " " : "",
			six ? "[" : "", address, six ? "]" : "", count_of(portal, "port"),
			count_of(portal, "group"));

		if (n < 0 || (size_t)n >= sizeof(text) - used)
			break;
		used += (size_t)n;
	}
	return text;
}

static void print_controllers(const json_t *result)
{
	static const struct column columns[] = {
		{"CONTROLLER", number_text, "number"},
		{"MACHINE", text_of, "machine"},
		{"ROLE", text_of, "role"},
		{"SINCE", time_of, "since_unix_ms"},
		{"SEEN", seen_text, "seen_ms_ago"},
		{"VERSION", text_of, "version"},
		{"PORTALS", portals_text, "portals"},
		{NULL, NULL, NULL},
	};
	const json_t *lease = json_object_get(result, "lease_age_ms"),
		     *move = json_object_get(result, "move");

	print_rows(columns, json_object_get(result, "controllers"));
	if (json_is_integer(lease))
		printf("\nlease    epoch %s, renewed %.1f s ago\n", count_of(result, "epoch"),
			(double)json_integer_value(lease) / 1000);
	if (*text_of(result, "problem"))
		printf("problem  %s\n", text_of(result, "problem"));
	if (strcmp(text_of(move, "state"), "failed") == 0)
		printf("move     the last one failed: %s\n", text_of(move, "text"));
	else if (strcmp(text_of(move, "state"), "none") != 0)
		printf("move     under way: waits for %s\n", text_of(move, "text"));
}

int verb_controller_list(struct invocation *in)
{
	json_t *result = ctl_call(in, "controller.list", NULL);

	if (result && !in->json)
		print_controllers(result);
	return print_result(in, result, "%s", "");
}

/* ---- move ---- */

static double seconds_since(const struct timespec *begun)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - begun->tv_sec) + (double)(now.tv_nsec - begun->tv_nsec) / 1e9;
}

/* What the move waits for, when that is something else than before. */
static void tell_wait(const struct invocation *in, const char *text, char told[300])
{
	if (in->json || !*text || strcmp(text, told) == 0)
		return;
	snprintf(told, 300, "%s", text);
	fprintf(stderr, "umbractl: waiting: %s\n", text);
}

/* The list when the move is over (owned); NULL: said why. */
static json_t *await_end(const struct invocation *in, struct client *c)
{
	const struct timespec pause = {.tv_nsec = LOOK_NS};
	char told[300] = "";
	json_t *list;

	for (;; json_decref(list)) {
		nanosleep(&pause, NULL);
		list = client_call(c, "controller.list", NULL);
		if (!list)
			return NULL;
		const json_t *move = json_object_get(list, "move");
		const char *state = text_of(move, "state");

		if (strcmp(state, "waits") == 0) {
			tell_wait(in, text_of(move, "text"), told);
		} else if (strcmp(state, "failed") == 0) {
			ctl_fail(in, -EBUSY, "the array was not moved: %s", text_of(move, "text"));
			json_decref(list);
			return NULL;
		} else if (strcmp(state, "none") == 0) {
			return list;
		}
	}
}

int verb_controller_move(struct invocation *in)
{
	struct timespec begun;
	struct client *c = client_open(in);
	json_t *to, *list = NULL;
	int code;

	clock_gettime(CLOCK_MONOTONIC, &begun);
	to = c ? client_call(c, "controller.move", json_pack("{s:b}", "force", ctl_flag(in, "force"))) : NULL;
	if (to)
		list = await_end(in, c);
	if (list)
		json_object_set_new(list, "seconds", json_real(seconds_since(&begun)));
	code = print_result(in, list, "Controller %s, on %s, owns the array (after %.1f s).\n",
		count_of(to, "to"), text_of(to, "machine"), seconds_since(&begun));
	json_decref(to);
	client_close(c);
	return code;
}
