/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl: finds the command, parses its operands and options by the table, runs it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/places.h"
#include "ctl/ctl.h"

static const struct option_row global_options[] = {
	{"socket", "PATH", "umbrad's management socket (default " PLACE_SOCKET ", or $UMBRA_SOCKET)"},
	{"json", NULL, "print JSON"},
	{"help", NULL, "print this command's help"},
	{NULL, NULL, NULL},
};

/* ---- options -------------------------------------------------------------------------------------- */

static const struct option_row *find_option(const struct option_row *rows, const char *name, size_t len)
{
	for (; rows && rows->name; rows++)
		if (strlen(rows->name) == len && !memcmp(rows->name, name, len))
			return rows;
	return NULL;
}

/* One option at argv[*at]; advances *at over its value. */
static int take_option(struct invocation *in, char **argv, int argc, int *at)
{
	const char *name = argv[*at] + 2, *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const struct option_row *row = find_option(global_options, name, len);
	const char *value = equals ? equals + 1 : NULL;

	if (!row && in->verb)
		row = find_option(in->verb->options, name, len);
	if (!row)
		return ctl_usage(in, "unknown option --%.*s.", (int)len, name);
	if (row->argument && !value) {
		if (*at + 1 >= argc)
			return ctl_usage(in, "--%s needs a value (%s).", row->name, row->argument);
		value = argv[++*at];
	}
	if (!row->argument && value)
		return ctl_usage(in, "--%s takes no value.", row->name);
	if (in->option_count == CTL_OPTIONS_MAX)
		return ctl_usage(in, "more than %d options.", CTL_OPTIONS_MAX);
	in->options[in->option_count++] = (struct given_option){row, value};
	return CTL_OK;
}

/* ---- the command ---------------------------------------------------------------------------------- */

static bool noun_exists(const char *noun)
{
	for (const struct verb *v = ctl_verbs; v->noun; v++)
		if (!strcmp(v->noun, noun))
			return true;
	return false;
}

static const struct verb *find_verb(const char *noun, const char *name)
{
	for (const struct verb *v = ctl_verbs; v->noun; v++)
		if (!strcmp(v->noun, noun) && (!v->name || (name && !strcmp(v->name, name))))
			return v;
	return NULL;
}

static void print_noun_help(const char *noun)
{
	for (const struct verb *v = ctl_verbs; v->noun; v++)
		if (!strcmp(v->noun, noun))
			printf("  umbractl %s %s\n      %s\n", ctl_command_name(v), v->operands, v->text);
}

/* The words of the command line that are the command: the operands that follow stay in *first. */
static int find_command(struct invocation *in, int *first)
{
	const char *noun = in->operand_count > 0 ? in->operands[0] : NULL;
	const char *name = in->operand_count > 1 ? in->operands[1] : NULL;

	if (!noun)
		return CTL_USAGE;
	in->verb = find_verb(noun, name);
	*first = in->verb && in->verb->name ? 2 : 1;
	return in->verb ? CTL_OK : CTL_USAGE;
}

static bool asks_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

/* The first two words that are no options: enough to find the command before its options are known. The
 * options that take a value and may come before are the global ones. */
static void find_words(struct invocation *in, int argc, char **argv)
{
	for (int i = 1; i < argc && in->operand_count < 2; i++) {
		if (!strcmp(argv[i], "--socket"))
			i++;
		else if (strncmp(argv[i], "--", 2) != 0)
			in->operands[in->operand_count++] = argv[i];
	}
}

static int parse(struct invocation *in, int argc, char **argv, int first)
{
	bool options_end = false;
	int skip = first;

	in->operand_count = 0;
	for (int i = 1; i < argc; i++) {
		if (!options_end && !strcmp(argv[i], "--")) {
			options_end = true;
		} else if (!options_end && !strncmp(argv[i], "--", 2)) {
			int bad = take_option(in, argv, argc, &i);
			if (bad)
				return bad;
		} else if (skip > 0) {
			skip--;
		} else if (in->operand_count == CTL_OPERANDS_MAX) {
			return ctl_usage(in, "more than %d operands.", CTL_OPERANDS_MAX);
		} else {
			in->operands[in->operand_count++] = argv[i];
		}
	}
	if (in->operand_count < in->verb->operands_min)
		return ctl_usage(in, "%s needs %s.", ctl_command_name(in->verb), in->verb->operands);
	if (in->operand_count > in->verb->operands_max)
		return ctl_usage(in, "unexpected %s.", in->operands[in->verb->operands_max]);
	return CTL_OK;
}

static int no_command(const struct invocation *in, bool help)
{
	const char *noun = in->operand_count ? in->operands[0] : NULL;

	if (help && !noun) {
		ctl_print_overview();
		return CTL_OK;
	}
	if (help && noun_exists(noun)) {
		print_noun_help(noun);
		return CTL_OK;
	}
	if (!noun)
		return ctl_usage(NULL, "a command is needed.");
	if (!noun_exists(noun))
		return ctl_usage(NULL, "there is no command %s.", noun);
	if (in->operand_count < 2)
		ctl_usage(NULL, "%s needs one of the words below.", noun);
	else
		ctl_usage(NULL, "there is no command %s %s: see those below.", noun, in->operands[1]);
	for (const struct verb *v = ctl_verbs; v->noun; v++)
		if (!strcmp(v->noun, noun))
			fprintf(stderr, "  umbractl %s%s%s\n", ctl_command_name(v), *v->operands ? " " : "",
				v->operands);
	return CTL_USAGE;
}

/* What goes to umbrad goes as JSON, and so is UTF-8. Paths of pools stay here and may be anything. */
static int check_text(const struct invocation *in, int argc, char **argv)
{
	if (!strcmp(in->verb->noun, "pool"))
		return CTL_OK;
	for (int i = 1; i < argc; i++) {
		json_t *text = json_string(argv[i]);
		if (!text)
			return ctl_usage(in, "argument %d of the command line is not UTF-8.", i);
		json_decref(text);
	}
	return CTL_OK;
}

int main(int argc, char **argv)
{
	struct invocation in = {0};
	int first;

	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && !strcmp(argv[1], "--version")) {
		puts("umbractl " UMBRA_VERSION);
		return CTL_OK;
	}
	if (argc == 2 && !strcmp(argv[1], "--manual")) {
		ctl_print_manual();
		return CTL_OK;
	}
	find_words(&in, argc, argv);
	if (find_command(&in, &first))
		return no_command(&in, asks_help(argc, argv));
	if (asks_help(argc, argv)) {
		ctl_print_help(in.verb);
		return CTL_OK;
	}
	int bad = check_text(&in, argc, argv);
	if (!bad)
		bad = parse(&in, argc, argv, first);
	if (bad)
		return bad;
	const char *environment = getenv("UMBRA_SOCKET");
	in.socket_path = ctl_option(&in, "socket", 0);
	if (!in.socket_path)
		in.socket_path = environment && *environment ? environment : PLACE_SOCKET;
	in.json = ctl_flag(&in, "json");
	int code = in.verb->run(&in);
	errno = 0;
	if (fflush(stdout) || ferror(stdout)) {
		if (errno && errno != EPIPE) /* who closed the pipe knows */
			ctl_fail(&in, -errno, "the output cannot be written (%s): give it another place.",
				strerror(errno));
		code = code ? code : CTL_FAILED;
	}
	return code;
}
