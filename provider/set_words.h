/* SPDX-License-Identifier: Apache-2.0 */
/* The words of "umbra-vss set". Pure. */
#ifndef UMBRA_PROVIDER_SET_WORDS_H
#define UMBRA_PROVIDER_SET_WORDS_H

#include <stdbool.h>
#include <stdint.h>
#include <wchar.h>
#include "proto/umbra_proto.h"

#define SET_WORDS_MAX 64 /* LUNs, volumes, or sets: what one request takes */

enum set_verb {
	SET_VERB_CREATE,
	SET_VERB_LIST,
	SET_VERB_RESTORE,
	SET_VERB_DELETE
};

/* Pointers are into the words. */
struct set_words {
	enum set_verb verb;
	unsigned name_count;
	const wchar_t *names[SET_WORDS_MAX]; /* of create: LUNs, or volumes */
	bool volumes;
	unsigned id_count;
	uint8_t ids[SET_WORDS_MAX][UP_ID_BYTES]; /* of restore and delete: sets */
	const wchar_t *label;                    /* NULL: none */
	enum up_copy_kind kind;
	bool overwrite, all, json;
};

/* The words after "set". NULL: understood, else a sentence that says what is wrong with them. */
const char *set_parse(int count, wchar_t *const *words, struct set_words *out);

/* A LUN as it is named: an id, then true; or a drive: PhysicalDrive3, \\.\PhysicalDrive3, 3, whose number goes to *drive.
 * False, and *drive -1: neither. */
bool set_parse_lun(const wchar_t *word, uint8_t id[UP_ID_BYTES], int *drive);

#endif
