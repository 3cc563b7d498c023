/* SPDX-License-Identifier: Apache-2.0 */
/* --help and the manual page, from the table of commands. */
#include <stdio.h>
#include <string.h>
#include "array/util/places.h"
#include "ctl/ctl.h"

#define WRAP_COLUMNS 78

static void name_of(const struct verb *v, char *out, size_t size)
{
	snprintf(out, size, "%s%s%s%s%s", v->noun, v->name ? " " : "", v->name ? v->name : "",
		*v->operands ? " " : "", v->operands);
}

/* Words of text, wrapped and indented. */
static void print_wrapped(const char *text, int indent)
{
	int column = 0;

	while (*text) {
		size_t len = strcspn(text, " ");
		if (column && column + 1 + (int)len > WRAP_COLUMNS) {
			putchar('\n');
			column = 0;
		}
		if (column)
			column += printf(" ");
		else
			column = printf("%*s", indent, "");
		column += printf("%.*s", (int)len, text);
		text += len;
		text += strspn(text, " ");
	}
	putchar('\n');
}

void ctl_print_help(const struct verb *v)
{
	char name[128];

	name_of(v, name, sizeof(name));
	printf("usage: umbractl %s%s [--socket PATH] [--json]\n\n", name, v->options ? " [OPTIONS]" : "");
	print_wrapped(v->text, 0);
	if (v->options)
		putchar('\n');
	for (const struct option_row *o = v->options; o && o->name; o++) {
		printf("  --%s%s%s\n", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
		print_wrapped(o->text, 6);
	}
}

void ctl_print_overview(void)
{
	puts("usage: umbractl COMMAND … [--socket PATH] [--json]\n\nManages an Umbra array (umbrad).\n");
	for (const struct verb *v = ctl_verbs; v->noun; v++) {
		char name[128];
		name_of(v, name, sizeof(name));
		printf("  %s\n", name);
	}
	puts("\numbractl COMMAND --help tells what a command does. Exit codes: 0 done, 1 failed (with the reason and\n"
	     "what to do), 2 wrong usage. See umbractl(1).");
}

/* ---- the manual page -------------------------------------------------------------------------------- */

/* Text with what roff would take for its own escaped. */
static void roff(const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", stdout);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", stdout);
		else if (*text == '-')
			fputs("\\-", stdout);
		else if (!strncmp(text, "…", strlen("…"))) {
			fputs("...", stdout);
			text += strlen("…") - 1;
		} else {
			putchar(*text);
		}
	}
}

static void roff_option(const char *name, const char *argument, const char *text)
{
	fputs(".TP\n.B \\-\\-", stdout);
	roff(name);
	if (argument) {
		fputs(" \\fI", stdout);
		roff(argument);
		fputs("\\fR", stdout);
	}
	putchar('\n');
	roff(text);
	putchar('\n');
}

void ctl_print_manual(void)
{
	puts(".\\\" SPDX-License-Identifier: Apache-2.0\n"
	     ".\\\" Made by umbractl --manual from its table of commands; do not edit.\n"
	     ".TH UMBRACTL 1 \"\" \"Umbra " UMBRA_VERSION "\" \"Umbra\"\n"
	     ".SH NAME\numbractl \\- manage an Umbra array\n"
	     ".SH SYNOPSIS\n.B umbractl\n.I COMMAND\n\\&... [\\fB\\-\\-socket\\fR \\fIPATH\\fR] [\\fB\\-\\-json\\fR]\n"
	     ".SH DESCRIPTION\n"
	     "Everything an administrator does with an array: pool, LUNs, hosts, mappings, copy sets, shadow LUNs.\n"
	     "All but \\fBsetup\\fR, \\fBpool create\\fR, \\fBcheck\\fR, \\fBdump\\fR, \\fBrestore\\fR, \\fBchecksums\\fR, \\fBupgrade\\fR and \\fBgrow PATH\\fR ask the running \\fBumbrad\\fR(8) over its management\n"
	     "socket, which serves root, umbrad's own user and, where configured, a group.\n"
	     ".PP\nLUNs, hosts and sets are named by their name or id (a host also by an initiator name).\n"
	     "Sizes are written as in 500G, with powers of 1024.\n"
	     ".SH OPTIONS\nOf every command:");
	roff_option(
		"socket", "PATH", "umbrad's management socket (default " PLACE_SOCKET ", or $UMBRA_SOCKET).");
	roff_option("json", NULL,
		"Print JSON; a failure too is printed as JSON, with its text on standard error.");
	roff_option("help", NULL, "Print the command's help.");
	puts(".SH COMMANDS");
	for (const struct verb *v = ctl_verbs; v->noun; v++) {
		fputs(".SS ", stdout);
		char name[128];
		name_of(v, name, sizeof(name));
		roff(name);
		putchar('\n');
		roff(v->text);
		putchar('\n');
		for (const struct option_row *o = v->options; o && o->name; o++)
			roff_option(o->name, o->argument, o->text);
	}
	puts(".SH EXIT STATUS\n.TP\n.B 0\nDone.\n.TP\n.B 1\nFailed; the reason and what to do are on standard error.\n"
	     ".TP\n.B 2\nWrong usage.\n"
	     ".SH EXAMPLES\n.nf\n"
	     "umbractl pool create /srv/umbra\n"
	     "umbractl lun create sql\\-data \\-\\-size 500G\n"
	     "umbractl host add db1 \\-\\-iqn iqn.1991\\-05.com.microsoft:db1 \\-\\-chap\\-file secret\n"
	     "umbractl map sql\\-data db1\n"
	     "umbractl set create nightly sql\\-data sql\\-log\n"
	     ".fi\n.SH SEE ALSO\n\\fBumbrad\\fR(8), \\fBumbrad.conf\\fR(5)");
}
