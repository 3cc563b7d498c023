/* SPDX-License-Identifier: Apache-2.0 */
/* See script.h. */
#include "lab/requester/script.h"

#include <ctype.h>
#include <string.h>

/* The commands. `words`: those that may follow ("": any text in that place); the first row whose name fits counts. */
static const struct {
	const char *name;
	enum script_op op;
	unsigned least, most;
	const char *words[8]; /* none: any text everywhere */
} rows[] = {
	{"set context", SCRIPT_SET_CONTEXT, 1, 2,
		{"persistent", "volatile", "nowriters", "clientaccessible"}},
	{"set option", SCRIPT_SET_OPTION, 1, 5,
		{"differential", "plex", "transportable", "txfrecover", "rollbackrecover", "noautorecover"}},
	{"set metadata", SCRIPT_SET_METADATA, 1, 1, {0}},
	{"set verbose", SCRIPT_ACCEPTED, 1, 1, {"on", "off"}},
	{"set", SCRIPT_SHOW_SETTINGS, 0, 0, {0}},
	{"load metadata", SCRIPT_LOAD_METADATA, 1, 1, {0}},
	{"writer verify", SCRIPT_ACCEPTED, 1, 1, {0}},
	{"writer exclude", SCRIPT_ACCEPTED, 1, 1, {0}},
	{"add volume", SCRIPT_ADD_VOLUME, 1, 5, {0}},
	{"add lun", SCRIPT_ADD_VOLUME, 1, 5, {0}},
	{"add shadow", SCRIPT_ADD_SHADOW, 1, 2, {0}},
	{"add alias", SCRIPT_ADD_ALIAS, 2, 2, {0}},
	{"add", SCRIPT_SHOW_ADDED, 0, 0, {0}},
	{"create", SCRIPT_CREATE, 0, 0, {0}},
	{"import", SCRIPT_IMPORT, 0, 0, {0}},
	{"list shadows", SCRIPT_LIST, 1, 2, {0}},
	{"list providers", SCRIPT_LIST_PROVIDERS, 0, 0, {0}},
	{"list writers", SCRIPT_ACCEPTED, 0, 1, {"metadata", "detailed", "status"}},
	{"delete shadows", SCRIPT_DELETE, 1, 2, {0}},
	{"break", SCRIPT_BREAK, 1, 3, {0}},
	{"mask", SCRIPT_MASK, 1, 1, {0}},
	{"resync", SCRIPT_RESYNC, 0, 2, {"revertid", "novolcheck"}},
	{"expose", SCRIPT_EXPOSE, 2, 2, {0}},
	{"unexpose", SCRIPT_UNEXPOSE, 1, 1, {0}},
	{"exec", SCRIPT_EXEC, 1, 1, {0}},
	{"begin backup", SCRIPT_ACCEPTED, 0, 0, {0}},
	{"end backup", SCRIPT_ACCEPTED, 0, 0, {0}},
	{"begin restore", SCRIPT_ACCEPTED, 0, 0, {0}},
	{"end restore", SCRIPT_ACCEPTED, 0, 0, {0}},
	{"simulate restore", SCRIPT_ACCEPTED, 0, 0, {0}},
	{"revert", SCRIPT_REFUSED, 1, 1, {0}},
	{"reset", SCRIPT_RESET, 0, 0, {0}},
	{"help", SCRIPT_HELP, 0, 0, {0}},
	{"exit", SCRIPT_EXIT, 0, 0, {0}},
	{"quit", SCRIPT_EXIT, 0, 0, {0}},
};

static bool same(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (tolower((unsigned char)a[i]) != tolower((unsigned char)b[i]))
			return false;
	return true;
}

const char *script_command(size_t n)
{
	return n < sizeof rows / sizeof rows[0] ? rows[n].name : NULL;
}

bool script_is(const struct script_line *l, unsigned n, const char *word)
{
	return n < l->count && strlen(l->words[n]) == strlen(word) && same(l->words[n], word, strlen(word));
}

/* Cuts the text into words, in place. NULL, or what is wrong. */
static const char *cut(char *text, const char **words, unsigned *count)
{
	char *at = text;
	*count = 0;
	for (;;) {
		while (*at == ' ' || *at == '\t')
			at++;
		if (!*at)
			return NULL;
		if (*count == SCRIPT_MAX_WORDS)
			return "too many words";
		bool quoted = *at == '"';
		words[(*count)++] = at += quoted;
		at += strcspn(at, quoted ? "\"" : " \t");
		if (quoted && !*at)
			return "a quote is not closed";
		if (*at)
			*at++ = 0;
	}
}

/* How many words the row's name takes of the line; 0: it is another command. */
static unsigned name_words(const char *name, const char *const *words, unsigned count)
{
	unsigned n = 0;
	while (*name) {
		size_t len = strcspn(name, " ");
		if (n == count || strlen(words[n]) != len || !same(words[n], name, len))
			return 0;
		n++;
		name += len;
		name += *name == ' ';
	}
	return n;
}

static bool is_listed(size_t row, const char *word)
{
	for (size_t i = 0; i < sizeof rows[row].words / sizeof rows[row].words[0] && rows[row].words[i]; i++)
		if (strlen(rows[row].words[i]) == strlen(word) &&
			same(rows[row].words[i], word, strlen(word)))
			return true;
	return rows[row].words[0] == NULL;
}

enum script_found script_parse(const char *line, size_t len, struct script_line *out, const char **why)
{
	const char *words[SCRIPT_MAX_WORDS];
	unsigned count;
	if (len >= sizeof out->text || memchr(line, 0, len)) {
		*why = len >= sizeof out->text ? "the line is too long" : "there is a NUL in the line";
		return SCRIPT_ERROR;
	}
	if (len)
		memcpy(out->text, line, len);
	out->text[len] = 0;
	if (out->text[strspn(out->text, " \t")] == '#')
		return SCRIPT_BLANK;
	*why = cut(out->text, words, &count);
	if (*why || !count)
		return *why ? SCRIPT_ERROR : SCRIPT_BLANK;
	for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
		unsigned taken = name_words(rows[row].name, words, count);
		if (!taken)
			continue;
		out->op = rows[row].op;
		out->name = rows[row].name;
		out->count = count - taken;
		*why = out->count < rows[row].least  ? "something is missing behind the command"
		       : out->count > rows[row].most ? "there is too much behind the command"
						     : NULL;
		for (unsigned i = 0; i < out->count; i++) {
			out->words[i] = words[taken + i];
			if (!is_listed(row, out->words[i]))
				*why = "a word behind the command is unknown";
		}
		return *why ? SCRIPT_ERROR : SCRIPT_COMMAND;
	}
	*why = "there is no such command";
	return SCRIPT_ERROR;
}

size_t script_next_line(const char *text, size_t len, size_t *next)
{
	const char *end = len ? memchr(text, '\n', len) : NULL;
	size_t line = end ? (size_t)(end - text) : len;
	*next = end ? line + 1 : len;
	return line && text[line - 1] == '\r' ? line - 1 : line;
}
