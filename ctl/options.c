/* SPDX-License-Identifier: Apache-2.0 */
/* What was given on the command line, as the commands ask for it; what they say when it, or anything else, is wrong. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "array/util/fault.h"
#include "array/util/message.h"
#include "array/util/units.h"
#include "ctl/ctl.h"

const char *ctl_option(const struct invocation *in, const char *name, int n)
{
	for (int i = 0; i < in->option_count; i++)
		if (!strcmp(in->options[i].row->name, name) && n-- == 0)
			return in->options[i].value ? in->options[i].value : "";
	return NULL;
}

bool ctl_flag(const struct invocation *in, const char *name)
{
	return ctl_option(in, name, 0) != NULL;
}

const char *ctl_command_name(const struct verb *v)
{
	static char name[64];

	snprintf(name, sizeof(name), "%s%s%s", v->noun, v->name ? " " : "", v->name ? v->name : "");
	return name;
}

int ctl_usage(const struct invocation *in, const char *format, ...)
{
	char id[MESSAGE_ID_BYTES];
	va_list args;

	fputs("umbractl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nSee umbractl %s%s--help. [%s]\n", in && in->verb ? ctl_command_name(in->verb) : "",
		in && in->verb ? " " : "", message_id(message_of(format), id));
	return CTL_USAGE;
}

static int fail(const struct invocation *in, int err, uint32_t message, const char *text)
{
	char id[MESSAGE_ID_BYTES];

	message_id(message, id);
	fprintf(stderr, "umbractl: %s\n  [%s]\n", text, id);
	if (in->json) {
		json_t *name = err ? json_string(strerrorname_np(-err)) : json_null();
		print_json(json_pack("{s:{s:o, s:{s:i, s:o, s:s}}}", "error", "message", json_text(text),
			"data", "errno", -err, "name", name, "id", id));
	}
	return CTL_FAILED;
}

int ctl_fail(const struct invocation *in, int err, const char *format, ...)
{
	char text[600];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return fail(in, err, message_of(format), text);
}

int ctl_confirm(const struct invocation *in, const char *warning, const char *what, const char *name)
{
	char line[4096];

	if (ctl_flag(in, "yes") || ctl_flag(in, "dry-run"))
		return CTL_OK;
	if (!isatty(STDIN_FILENO))
		return ctl_usage(in,
			"%s asks before it changes anything: --yes is needed where nobody can be asked",
			ctl_command_name(in->verb));
	fprintf(stderr, "%s\nType %s to go on: ", warning, what);
	if (!fgets(line, sizeof(line), stdin))
		line[0] = 0;
	line[strcspn(line, "\n")] = 0;
	return strcmp(line, name) == 0 ? CTL_OK
				       : ctl_fail(in, -1, "That is not %s: nothing has changed.", name);
}

int ctl_fail_fault(const struct invocation *in, int err, struct fault *fault)
{
	if (!fault->err)
		fault_errno(fault, err);
	return fail(in, err, fault->message, fault->text);
}

bool ctl_size(const struct invocation *in, const char *name, bool required, uint64_t *bytes)
{
	const char *text = ctl_option(in, name, 0);

	if (!text) {
		if (required)
			ctl_usage(in, "--%s is needed, as in --%s 500G.", name, name);
		return !required;
	}
	if (!units_parse_bytes(text, bytes) && *bytes > 0)
		return true;
	ctl_usage(in, "--%s %s is no size: write it as in 500G, 1.5T or 1048576.", name, text);
	return false;
}

/* what: how the user wrote it, as in "--number 5". */
static bool take_number(const struct invocation *in, const char *what, const char *text, json_int_t min,
	json_int_t max, json_int_t *number)
{
	char *end;

	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (isdigit((unsigned char)*text) && !*end && !errno && value >= min && value <= max) {
		*number = value;
		return true;
	}
	ctl_usage(in, "%s%s is no number from %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT ".", what,
		text, min, max);
	return false;
}

bool ctl_number(
	const struct invocation *in, const char *name, json_int_t min, json_int_t max, json_int_t *number)
{
	const char *text = ctl_option(in, name, 0);
	char what[40];

	snprintf(what, sizeof(what), "--%s ", name);
	return !text || take_number(in, what, text, min, max, number);
}

bool ctl_duration(const struct invocation *in, const char *name, json_int_t *ms)
{
	const char *text = ctl_option(in, name, 0);
	uint64_t value = 0;

	if (!text)
		return true;
	if (units_parse_long_ms(text, &value) || value == 0) {
		ctl_usage(in, "--%s %s is no time: write it as in 90min, 12h, 14d, 8w or 7y.", name, text);
		return false;
	}
	*ms = (json_int_t)value;
	return true;
}

/* The whole of the text in one of the formats, as local time or, with a Z, in UTC. */
static bool read_date(const char *text, struct tm *out, bool *utc)
{
	static const char *const formats[] = {
		"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		memset(out, 0, sizeof(*out));
		out->tm_isdst = -1;
		const char *end = strptime(text, formats[i], out);
		*utc = end && *end == 'Z';
		if (end && !end[*utc])
			return true;
	}
	return false;
}

bool ctl_date(const struct invocation *in, const char *name, json_int_t *unix_ms)
{
	const char *text = ctl_option(in, name, 0);
	struct tm date, as_read;
	bool utc;

	if (!text)
		return true;
	if (read_date(text, &date, &utc)) {
		as_read = date;
		time_t seconds = utc ? timegm(&date) : mktime(&date);
		if (seconds > 0 && date.tm_mday == as_read.tm_mday) { /* no 31st of a month without */
			*unix_ms = (json_int_t)seconds * 1000;
			return true;
		}
	}
	ctl_usage(in,
		"--%s %s is no date: write it as in 2027-01-31, \"2027-01-31 18:00\" or 2027-01-31T18:00:00Z.",
		name, text);
	return false;
}

bool ctl_operand_number(
	const struct invocation *in, int operand, json_int_t min, json_int_t max, json_int_t *number)
{
	return take_number(in, "", in->operands[operand], min, max, number);
}
