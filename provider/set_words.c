/* SPDX-License-Identifier: Apache-2.0 */
/* See set_words.h. */
#include "provider/set_words.h"

#include <string.h>
#include "proto/identity.h"
#include "provider/ascii.h"

#define ID_CHARS_MAX    38 /* with a GUID's dashes and braces */
#define DRIVE_DIGITS    4
#define DRIVE_PREFIX    L"PhysicalDrive"
#define DRIVE_NAMESPACE L"\\\\.\\"

static bool parse_id(const wchar_t *word, uint8_t id[UP_ID_BYTES])
{
	char text[ID_CHARS_MAX + 1];

	return ascii_of(word, text, sizeof(text)) && up_id_parse(text, id);
}

static const wchar_t *skip(const wchar_t *word, const wchar_t *prefix)
{
	for (size_t i = 0; prefix[i]; i++) {
		wchar_t c = word[i] >= L'A' && word[i] <= L'Z' ? word[i] + 32 : word[i];
		wchar_t p = prefix[i] >= L'A' && prefix[i] <= L'Z' ? prefix[i] + 32 : prefix[i];
		if (c != p)
			return word;
	}
	return word + wcslen(prefix);
}

bool set_parse_lun(const wchar_t *word, uint8_t id[UP_ID_BYTES], int *drive)
{
	const wchar_t *digits = skip(skip(word, DRIVE_NAMESPACE), DRIVE_PREFIX);
	int number = 0;

	*drive = -1;
	if (parse_id(word, id))
		return true;
	if (!*digits || wcslen(digits) > DRIVE_DIGITS)
		return false;
	for (; *digits; digits++) {
		if (*digits < L'0' || *digits > L'9')
			return false;
		number = number * 10 + (int)(*digits - L'0');
	}
	*drive = number;
	return false;
}

/* ---- the words ---------------------------------------------------------------------------------------- */

static const char *add_name(struct set_words *out, const wchar_t *word)
{
	if (out->name_count == SET_WORDS_MAX)
		return "a set has at most 64 of them: make two sets";
	for (unsigned i = 0; i < out->name_count; i++)
		if (!wcscmp(out->names[i], word))
			return "one of them is named twice";
	out->names[out->name_count++] = word;
	return NULL;
}

static const char *add_id(struct set_words *out, const wchar_t *word)
{
	if (out->id_count == (out->verb == SET_VERB_RESTORE ? 1u : SET_WORDS_MAX))
		return "too many sets are named at once";
	if (!parse_id(word, out->ids[out->id_count]))
		return "a set is named by its id, as \"umbra-vss set list\" shows it";
	out->id_count++;
	return NULL;
}

/* An option without a value. False: it is none of the verb's. */
static bool take_flag(struct set_words *out, const wchar_t *word)
{
	bool create = out->verb == SET_VERB_CREATE;

	if (!wcscmp(word, L"--json"))
		out->json = true;
	else if (!wcscmp(word, L"--plex") && create && out->kind != UP_COPY_DIFFERENTIAL)
		out->kind = UP_COPY_PLEX;
	else if (!wcscmp(word, L"--differential") && create && out->kind != UP_COPY_PLEX)
		out->kind = UP_COPY_DIFFERENTIAL;
	else if (!wcscmp(word, L"--all") && out->verb == SET_VERB_LIST)
		out->all = true;
	else if (!wcscmp(word, L"--overwrite") && out->verb == SET_VERB_RESTORE)
		out->overwrite = true;
	else
		return false;
	return true;
}

/* What is behind the option at words[*i]; *i goes to the last word that was taken. */
static const char *take_option(struct set_words *out, int count, wchar_t *const *words, int *i)
{
	const wchar_t *word = words[*i];
	bool names = !wcscmp(word, L"--luns") || !wcscmp(word, L"--volumes");

	if (!wcscmp(word, L"--label") && out->verb <= SET_VERB_LIST) {
		if (out->label || *i + 1 == count || !words[*i + 1][0])
			return "--label takes one text";
		out->label = words[++*i];
		return NULL;
	}
	if (!names || out->verb != SET_VERB_CREATE)
		return take_flag(out, word) ? NULL : "that option is not known here";
	if (out->name_count)
		return "a set is made of --luns or of --volumes, each named once";
	out->volumes = !wcscmp(word, L"--volumes");
	while (*i + 1 < count && wcsncmp(words[*i + 1], L"--", 2) != 0) {
		const char *wrong = add_name(out, words[++*i]);
		if (wrong)
			return wrong;
	}
	return out->name_count ? NULL : "behind --luns and --volumes stands what to copy";
}

static const char *complete(const struct set_words *out)
{
	if (out->verb == SET_VERB_CREATE && !out->name_count)
		return "--luns or --volumes says what to copy";
	if ((out->verb == SET_VERB_RESTORE || out->verb == SET_VERB_DELETE) && !out->id_count)
		return "a set must be named";
	if (out->verb == SET_VERB_RESTORE && !out->overwrite)
		return "a restore replaces all that the LUNs hold: --overwrite says that this is meant";
	return NULL;
}

const char *set_parse(int count, wchar_t *const *words, struct set_words *out)
{
	static const wchar_t *const verbs[] = {L"create", L"list", L"restore", L"delete"};
	const char *wrong = NULL;
	unsigned verb = 0;

	memset(out, 0, sizeof(*out));
	while (count && verb < 4 && wcscmp(words[0], verbs[verb]) != 0)
		verb++;
	if (!count || verb == 4)
		return "create, list, restore or delete";
	out->verb = (enum set_verb)verb;
	for (int i = 1; i < count && !wrong; i++) {
		if (!wcsncmp(words[i], L"--", 2))
			wrong = take_option(out, count, words, &i);
		else if (out->verb == SET_VERB_RESTORE || out->verb == SET_VERB_DELETE)
			wrong = add_id(out, words[i]);
		else
			wrong = "an option was expected";
	}
	return wrong ? wrong : complete(out);
}
