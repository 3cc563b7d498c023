/* SPDX-License-Identifier: Apache-2.0 */
/* See copy_words.h. */
#include "provider/copy_words.h"

#include <string.h>
#include <wctype.h>
#include "provider/ascii.h"

/* How long it is in UTF-8; what a surrogate pair stands for has four bytes, two a half. */
static size_t utf8_bytes(const wchar_t *text)
{
	size_t bytes = 0;

	for (; *text; text++) {
		unsigned long c = (unsigned long)*text;
		bool half = c >= 0xd800 && c < 0xe000;
		bytes += c < 0x80 ? 1 : c < 0x800 || half ? 2 : c < 0x10000 ? 3 : 4;
	}
	return bytes;
}

static bool label_is_good(const wchar_t *label)
{
	size_t len = wcslen(label);

	if (!len || utf8_bytes(label) >= COPY_LABEL_CHARS || label[0] == L' ' || label[len - 1] == L' ')
		return false;
	for (size_t i = 0; i < len; i++)
		if (label[i] < 0x20 || label[i] == 0x7f)
			return false;
	return true;
}

/* "a:" and "A:\" are one volume, "C:\data" and "c:\DATA\" too. */
static bool same_volume(const wchar_t *a, const wchar_t *b)
{
	for (;; a++, b++) {
		bool a_ends = !*a || (*a == L'\\' && !a[1]), b_ends = !*b || (*b == L'\\' && !b[1]);
		if (a_ends || b_ends)
			return a_ends && b_ends;
		if (towlower((wint_t)*a) != towlower((wint_t)*b))
			return false;
	}
}

static const char *add_volume(struct copy_words *out, const wchar_t *word)
{
	for (unsigned i = 0; i < out->volume_count; i++)
		if (same_volume(out->volumes[i], word))
			return "a volume is named twice";
	if (out->volume_count == COPY_VOLUMES_MAX)
		return "VSS copies at most 64 volumes in one set";
	out->volumes[out->volume_count++] = word;
	return NULL;
}

static const char *take_writers(struct copy_words *out, const wchar_t *value)
{
	static const struct {
		const wchar_t *word;
		enum copy_writers kind;
	} kinds[] = {{L"all", COPY_WRITERS_ALL}, {L"any", COPY_WRITERS_ANY}, {L"none", COPY_WRITERS_NONE}};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (wcscmp(value, kinds[i].word) != 0)
			continue;
		out->writers = kinds[i].kind;
		return NULL;
	}
	if (!*value || *value == L',' || value[wcslen(value) - 1] == L',' || wcsstr(value, L",,"))
		return "--writers takes all, any, none, or names with commas between them";
	out->writers = COPY_WRITERS_NAMED;
	out->writer_names = value;
	return NULL;
}

static bool take_keep(const wchar_t *value, struct keep_rules *out)
{
	char text[128];

	return ascii_of(value, text, sizeof(text)) && keep_parse(text, out);
}

static const char *take_option(struct copy_words *out, const wchar_t *name, const wchar_t *value)
{
	if (!wcscmp(name, L"--writers"))
		return take_writers(out, value);
	if (!wcscmp(name, L"--label")) {
		out->label = value;
		return label_is_good(value)
			       ? NULL
			       : "a label has 1 to 63 bytes of UTF-8, no control characters, and no blank at its ends";
	}
	if (!wcscmp(name, L"--transportable")) {
		out->document = value;
		return *value ? NULL : "--transportable needs the name of a file";
	}
	out->keep_given = true;
	return take_keep(value, &out->keep)
		       ? NULL
		       : "--keep takes hourly=N, daily=N, weekly=N, monthly=N and yearly=N with "
			 "commas between them, each once, one of them above 0";
}

static bool takes_value(const wchar_t *word)
{
	return !wcscmp(word, L"--writers") || !wcscmp(word, L"--label") ||
	       !wcscmp(word, L"--transportable") || !wcscmp(word, L"--keep");
}

const char *copy_parse(int count, wchar_t *const *words, struct copy_words *out)
{
	const char *why = NULL;

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < count && !why; i++) {
		if (!wcscmp(words[i], L"--json"))
			out->json = true;
		else if (takes_value(words[i]))
			why = i + 1 < count ? take_option(out, words[i], words[i + 1])
					    : "an option lacks its value";
		else if (words[i][0] == L'-' || !words[i][0])
			why = "there is no such option";
		else
			why = add_volume(out, words[i]);
		if (takes_value(words[i]))
			i++;
	}
	if (why)
		return why;
	if (!out->volume_count)
		return "name the volumes";
	if (out->keep_given && !out->label)
		return "--keep needs --label: only copies with the same label and volumes are deleted for it";
	if (out->keep_given && out->document)
		return "--keep and --transportable do not go together: a copy that another host imports is that host's";
	return NULL;
}

static bool same_name(const wchar_t *a, size_t len, const wchar_t *b)
{
	for (size_t i = 0; i < len; i++)
		if (!b[i] || towlower((wint_t)a[i]) != towlower((wint_t)b[i]))
			return false;
	return !b[len];
}

bool copy_names_writer(const wchar_t *list, const wchar_t *name)
{
	while (list && *list) {
		size_t len = wcscspn(list, L",");
		if (same_name(list, len, name))
			return true;
		list += len + (list[len] == L',');
	}
	return false;
}

bool copy_writer_at(const wchar_t *list, unsigned n, wchar_t *out, size_t chars)
{
	for (; list && *list; n--) {
		size_t len = wcscspn(list, L",");
		if (!n) {
			if (len >= chars)
				return false;
			wmemcpy(out, list, len);
			out[len] = L'\0';
			return true;
		}
		list += len + (list[len] == L',');
	}
	return false;
}

const char *copies_parse(int count, wchar_t *const *words, unsigned options, unsigned least, unsigned most,
	struct copies_words *out)
{
	memset(out, 0, sizeof(*out));
	for (int i = 0; i < count; i++) {
		if (!wcscmp(words[i], L"--json")) {
			out->json = true;
		} else if ((options & COPIES_OVERWRITE) && !wcscmp(words[i], L"--overwrite")) {
			out->overwrite = true;
		} else if ((options & COPIES_LABEL) && !wcscmp(words[i], L"--label")) {
			if (++i == count)
				return "an option lacks its value";
			out->label = words[i];
		} else if (words[i][0] == L'-' || !words[i][0]) {
			return "there is no such option";
		} else if (out->id_count == most) {
			return most ? "too many words" : "it takes no words";
		} else {
			out->ids[out->id_count++] = words[i];
		}
	}
	return out->id_count < least ? "a word is missing" : NULL;
}
