/* SPDX-License-Identifier: Apache-2.0 */
/* The words of "umbra-vss copy", "copies", "import", "delete" and "restore". Pure. */
#ifndef UMBRA_PROVIDER_COPY_WORDS_H
#define UMBRA_PROVIDER_COPY_WORDS_H

#include <stdbool.h>
#include <wchar.h>
#include "proto/keep_rules.h"

#define COPY_VOLUMES_MAX 64 /* VSS: of a set */
#define COPY_LABEL_CHARS 64 /* with the NUL; UTF-8 must fit, too */

enum copy_writers {
	COPY_WRITERS_ALL,   /* each that fails makes the copy a failure */
	COPY_WRITERS_NAMED, /* these must be there and succeed, others are told of */
	COPY_WRITERS_ANY,   /* failures are told of */
	COPY_WRITERS_NONE   /* no writer takes part */
};

/* Pointers are into the words. */
struct copy_words {
	unsigned volume_count;
	const wchar_t *volumes[COPY_VOLUMES_MAX];
	const wchar_t *label, *document; /* NULL: none */
	bool keep_given;
	struct keep_rules keep;
	enum copy_writers writers;
	const wchar_t *writer_names; /* of COPY_WRITERS_NAMED: "A,B" */
	bool json;
};

/* NULL: understood, else a sentence that says what is wrong with the words. */
const char *copy_parse(int count, wchar_t *const *words, struct copy_words *out);
/* Is `name` one of `list`, "A,B", without regard to case? */
bool copy_names_writer(const wchar_t *list, const wchar_t *name);
/* The n-th of a list "A,B" into out; false: there are not so many, or it has no room. */
bool copy_writer_at(const wchar_t *list, unsigned n, wchar_t *out, size_t chars);

/* Of the others: what is named, and their options. */
struct copies_words {
	unsigned id_count;
	const wchar_t *ids
		[COPY_VOLUMES_MAX]; /* delete: sets; import: one set or file; restore: the set, then volumes */
	const wchar_t *label;
	bool overwrite, json;
};

enum copies_option {
	COPIES_LABEL = 1,
	COPIES_OVERWRITE = 2
};

/* options: those that the command knows besides --json. */
const char *copies_parse(int count, wchar_t *const *words, unsigned options, unsigned least, unsigned most,
	struct copies_words *out);

#endif
