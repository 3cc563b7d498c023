/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl shadow, resync: shadow LUNs, the recycle bin, going back to a copy. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "ctl/ctl.h"

#define RESYNC_POLL_MS 200

int verb_shadow_list(struct invocation *in)
{
	static const struct column columns[] = {
		{"NAME", text_of, "name"},
		{"ORIGINAL", text_of, "origin"},
		{"COPY", text_of, "copy_kind"},
		{">FULL", percent_of, "full_percent"},
		{">SIZE", size_of, "size_bytes"},
		{">USED", size_of, "used_bytes"},
		{">HOSTS", count_of, "mappings"},
		{"CREATED", time_of, "created_unix_ms"},
		{"ID", text_of, "id"},
		{NULL, NULL, NULL},
	};

	return print_list(in, "shadow.list", "luns", "shadows", NULL, columns);
}

int verb_shadow_unmap(struct invocation *in)
{
	const char *host = in->operand_count > 1 ? in->operands[1] : NULL;
	json_t *params = json_pack("{s:s, s:s*}", "lun", in->operands[0], "host", host);

	return print_result(in, ctl_call(in, "shadow.unmap", params), "%s unmapped from %s\n",
		in->operands[0], host ? host : "all hosts");
}

int verb_shadow_delete(struct invocation *in)
{
	return print_result(
		in, ctl_call_named(in, "shadow.delete", "lun"), "Shadow LUN %s deleted\n", in->operands[0]);
}

int verb_shadow_break(struct invocation *in)
{
	json_t *lun = ctl_call(in, "shadow.break",
		json_pack("{s:s, s:b}", "lun", in->operands[0], "keep_marks", ctl_flag(in, "keep-marks")));

	return print_result(in, lun, "%s is an ordinary LUN now\n", in->operands[0]);
}

/* ---- the recycle bin ------------------------------------------------------------------------------ */

int verb_shadow_recycled(struct invocation *in)
{
	static const struct column columns[] = {
		{"NAME", text_of, "name"},
		{">SIZE", size_of, "size_bytes"},
		{"DELETED", time_of, "deleted_unix_ms"},
		{"GONE FOR GOOD", time_of, "purge_unix_ms"},
		{"ID", text_of, "id"},
		{NULL, NULL, NULL},
	};

	return print_list(in, "recycle.list", "luns", "luns", NULL, columns);
}

int verb_shadow_undelete(struct invocation *in)
{
	return print_result(in, ctl_call_named(in, "recycle.undelete", "lun"),
		"Shadow LUN %s is back; no host sees it\n", in->operands[0]);
}

int verb_shadow_purge(struct invocation *in)
{
	return print_result(in, ctl_call_named(in, "recycle.purge", "lun"),
		"Shadow LUN %s is deleted for good\n", in->operands[0]);
}

/* ---- resync --------------------------------------------------------------------------------------- */

static bool runs(const json_t *job)
{
	return json_object_get(job, "state") && !strcmp(text_of(job, "state"), "running");
}

/* Asks until the job has ended. Returns its last state (owned), NULL: said why. */
static json_t *wait_for(struct invocation *in, json_t *job)
{
	const struct timespec pause = {.tv_nsec = RESYNC_POLL_MS * 1000000L};
	struct client *c = client_open(in);
	bool shows = isatty(STDOUT_FILENO) && !in->json;
	json_int_t number = json_integer_value(json_object_get(job, "job"));

	if (!c) {
		json_decref(job);
		return NULL;
	}
	while (job && runs(job)) {
		if (shows) {
			printf("\rresync %" JSON_INTEGER_FORMAT ": %s", number, percent_of(job, "percent"));
			fflush(stdout);
		}
		nanosleep(&pause, NULL);
		json_decref(job);
		job = client_call(c, "resync.state", json_pack("{s:I}", "job", number));
	}
	if (shows)
		fputs("\r\033[K", stdout);
	client_close(c);
	return job;
}

/* Says how the job stands; frees it. */
static int tell(struct invocation *in, json_t *job)
{
	bool failed = !strcmp(text_of(job, "state"), "failed");

	if (failed && !in->json) {
		int code =
			ctl_fail(in, 0, "resync %s failed: %s", count_of(job, "job"), text_of(job, "error"));
		json_decref(job);
		return code;
	}
	int code = print_result(in, json_incref(job),
		runs(job) ? "Resync %s of %s goes on: %s\n" : "Resync %s of %s: %s\n", count_of(job, "job"),
		text_of(job, "target"), runs(job) ? percent_of(job, "percent") : text_of(job, "state"));
	json_decref(job);
	return failed ? CTL_FAILED : code;
}

int verb_shadow_resync(struct invocation *in)
{
	json_t *job = ctl_call(in, "resync.start",
		json_pack("{s:s, s:s, s:b}", "shadow", in->operands[0], "target", in->operands[1],
			"keep_marks", ctl_flag(in, "keep-marks")));

	if (job && runs(job) && !ctl_flag(in, "no-wait")) {
		print_warning(job);
		job = wait_for(in, job);
	}
	return job ? tell(in, job) : CTL_FAILED;
}

int verb_resync_list(struct invocation *in)
{
	static const struct column columns[] = {
		{">JOB", count_of, "job"},
		{"SHADOW", text_of, "shadow"},
		{"LUN", text_of, "target"},
		{"STATE", text_of, "state"},
		{">DONE", percent_of, "percent"},
		{"ERROR", text_of, "error"},
		{NULL, NULL, NULL},
	};

	return print_list(in, "resync.list", "jobs", "jobs", NULL, columns);
}

int verb_resync_cancel(struct invocation *in)
{
	json_int_t number;

	if (!ctl_operand_number(in, 0, 1, UINT32_MAX, &number))
		return CTL_USAGE;
	json_t *job = ctl_call(in, "resync.cancel", json_pack("{s:I}", "job", number));

	return job ? tell(in, job) : CTL_FAILED;
}
