/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diskshadow's scripts: one command a line, words without regard to case, "quotes" around blanks, # begins a comment.
 * Pure C without an operating system; diskshadow.c executes what was read.
 *
 * Invariants: whatever a line holds, it becomes a command with a number of arguments that its row allows, or it is
 * refused with a reason; nothing points outside the line's own text.
 */
#ifndef LAB_REQUESTER_SCRIPT_H
#define LAB_REQUESTER_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

#define SCRIPT_MAX_LINE_BYTES 2048
#define SCRIPT_MAX_WORDS      16
#define SCRIPT_MAX_LINES      10000

enum script_op {
	SCRIPT_SET_CONTEXT,
	SCRIPT_SET_OPTION,
	SCRIPT_SET_METADATA,
	SCRIPT_SHOW_SETTINGS, /* set, alone */
	SCRIPT_LOAD_METADATA,
	SCRIPT_ADD_VOLUME,
	SCRIPT_ADD_SHADOW,
	SCRIPT_ADD_ALIAS,
	SCRIPT_SHOW_ADDED, /* add, alone */
	SCRIPT_CREATE,
	SCRIPT_IMPORT,
	SCRIPT_LIST,
	SCRIPT_LIST_PROVIDERS,
	SCRIPT_DELETE,
	SCRIPT_BREAK,
	SCRIPT_MASK,
	SCRIPT_RESYNC,
	SCRIPT_EXPOSE,
	SCRIPT_UNEXPOSE,
	SCRIPT_EXEC,
	SCRIPT_RESET,
	SCRIPT_HELP,
	SCRIPT_ACCEPTED, /* known, and nothing is to be done for it here */
	SCRIPT_REFUSED,  /* known, and impossible here */
	SCRIPT_EXIT
};

struct script_line {
	unsigned number; /* from 1 */
	enum script_op op;
	const char *name; /* of the command, constant: "set context" */
	unsigned count;
	const char *words[SCRIPT_MAX_WORDS]; /* what follows the name, in text */
	char text[SCRIPT_MAX_LINE_BYTES];
};

enum script_found {
	SCRIPT_BLANK, /* nothing, or a comment */
	SCRIPT_COMMAND,
	SCRIPT_ERROR /* *why is a constant text */
};

/* One line without its end. */
enum script_found script_parse(const char *line, size_t len, struct script_line *out, const char **why);

/* The next line of a text: its length, with *next behind its end (LF, CR LF or the text's end). */
size_t script_next_line(const char *text, size_t len, size_t *next);

/* The name of the n-th command; NULL: there are no more. */
const char *script_command(size_t n);

/* Is the n-th word that one? Without regard to case. */
bool script_is(const struct script_line *l, unsigned n, const char *word);

#endif
