/* SPDX-License-Identifier: Apache-2.0 */
/* See copies.h. */
#include "provider/copies.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "provider/copy_words.h"
#include "provider/ids.h"
#include "provider/output.h"
#include "provider/refusal.h"
#include "provider/vss_requester.h"

#define TEXT_BYTES    512
#define FILETIME_1970 116444736000000000ll

void copies_utf8(const WCHAR *text, char *out, size_t bytes)
{
	if (!text || !WideCharToMultiByte(CP_UTF8, 0, text, -1, out, (int)bytes, NULL, NULL))
		snprintf(out, bytes, "%s", text ? "?" : "");
}

void copies_volume_text(const WCHAR *name, char *out, size_t bytes)
{
	WCHAR paths[MAX_PATH];
	DWORD chars = 0;

	if (GetVolumePathNamesForVolumeNameW(name, paths, MAX_PATH, &chars) && paths[0])
		copies_utf8(paths, out, bytes);
	else
		copies_utf8(name, out, bytes);
}

static uint64_t unix_ms(LONGLONG filetime)
{
	return filetime > FILETIME_1970 ? (uint64_t)(filetime - FILETIME_1970) / 10000 : 0;
}

static bool is_ours(const struct shadow_copy *s)
{
	return IsEqualGUID(&s->provider, &UMBRA_PROVIDER_ID);
}

static bool knows_set(const struct shadow_list *list, const GUID *set)
{
	for (unsigned i = 0; i < list->count; i++)
		if (IsEqualGUID(&list->items[i].set, set))
			return true;
	return false;
}

/* ---- --keep ------------------------------------------------------------------------------------------- */

/* How far the wall clock was ahead of UTC then. */
static int32_t offset_at(LONGLONG filetime)
{
	FILETIME utc = {.dwLowDateTime = (DWORD)filetime, .dwHighDateTime = (DWORD)(filetime >> 32)}, wall;
	SYSTEMTIME then, local;

	if (!FileTimeToSystemTime(&utc, &then) || !SystemTimeToTzSpecificLocalTime(NULL, &then, &local) ||
		!SystemTimeToFileTime(&local, &wall))
		return 0;
	LONGLONG there = (LONGLONG)wall.dwHighDateTime << 32 | wall.dwLowDateTime;
	/* Both are cut to milliseconds by the way. */
	return (int32_t)((there - filetime + (there >= filetime ? 5000000 : -5000000)) / 10000000);
}

/* Is it of the same label and volumes, and nobody else's? One of which a part is gone counts for nothing, and is left alone. */
static bool is_of_series(const GUID *set, unsigned here, const struct book_entry *like)
{
	static struct book_entry e;
	bool same = book_read(set, &e) && !e.exported && e.count == here && !wcscmp(e.label, like->label) &&
		    book_same_volumes(&e, like);

	SysFreeString(e.document);
	return same;
}

/* The sets of the series, each once; tag: an index of the list. */
static size_t series_of(const struct shadow_list *list, const struct book_entry *like, struct keep_copy *out)
{
	size_t count = 0;

	for (unsigned i = 0; i < list->count; i++) {
		const struct shadow_copy *s = &list->items[i];
		bool seen = false;
		unsigned here = 0;
		for (unsigned k = 0; k < list->count; k++)
			here += IsEqualGUID(&list->items[k].set, &s->set);
		for (size_t k = 0; k < count; k++)
			seen = seen || IsEqualGUID(&list->items[out[k].tag].set, &s->set);
		if (seen || !is_ours(s) || !s->made || !is_of_series(&s->set, here, like))
			continue;
		out[count++] = (struct keep_copy){.made_s = (int64_t)(unix_ms(s->made) / 1000),
			.offset_s = offset_at(s->made),
			.tag = i};
	}
	return count;
}

static int by_time(const void *a, const void *b)
{
	const struct shadow_copy *x = a, *y = b;

	return x->made < y->made ? -1 : x->made > y->made;
}

bool copies_prune(const struct keep_rules *rules, const struct book_entry *like, const GUID *spared,
	unsigned *gone, unsigned *stay)
{
	struct shadow_list list;
	HRESULT hr = requester_list(&list);
	struct keep_copy *copies = SUCCEEDED(hr) ? calloc(list.count + 1, sizeof(*copies)) : NULL;
	size_t count;
	bool good = copies != NULL;
	FILETIME t;

	if (good && list.count) /* of two in one second the later one is the newer one */
		qsort(list.items, list.count, sizeof(list.items[0]), by_time);
	count = good ? series_of(&list, like, copies) : 0;
	if (!good)
		requester_complain("--keep", FAILED(hr) ? hr : E_OUTOFMEMORY);
	GetSystemTimeAsFileTime(&t);
	uint64_t now_ms = unix_ms((LONGLONG)((uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime));
	keep_apply(rules, copies, count, (int64_t)(now_ms / 1000));
	for (size_t i = 0; i < count; i++) {
		const GUID *set = &list.items[copies[i].tag].set;
		WCHAR id[40];
		char text[TEXT_BYTES];
		if (copies[i].keep || IsEqualGUID(set, spared)) {
			++*stay;
			continue;
		}
		hr = requester_delete(set);
		if (SUCCEEDED(hr) || hr == VSS_E_OBJECT_NOT_FOUND) {
			++*gone;
			book_forget(set);
			continue;
		}
		++*stay;
		good = false;
		StringFromGUID2(set, id, 40);
		copies_utf8(id, text, sizeof(text));
		requester_complain(text, hr);
	}
	free(copies);
	requester_list_free(&list);
	return good;
}

/* ---- copies ------------------------------------------------------------------------------------------- */

struct printer {
	const struct copies_words *words;
	unsigned count;
};

static void print_json(struct printer *p, const struct shadow_copy *s, const struct book_entry *e)
{
	WCHAR id[40];
	char text[TEXT_BYTES];

	StringFromGUID2(&s->set, id, 40);
	printf("%s{\"set\": \"%ls\", \"label\": ", p->count ? ", " : "", id);
	copies_utf8(e->label, text, sizeof(text));
	output_json_string(stdout, *text ? text : NULL);
	StringFromGUID2(&s->id, id, 40);
	printf(", \"copy\": \"%ls\", \"made_unix_ms\": %llu, \"volume\": ", id,
		(unsigned long long)unix_ms(s->made));
	copies_volume_text(s->volume, text, sizeof(text));
	output_json_string(stdout, text);
	copies_utf8(s->device, text, sizeof(text));
	printf(", \"device\": ");
	output_json_string(stdout, *text ? text : NULL);
	copies_utf8(s->exposed, text, sizeof(text));
	printf(", \"exposed\": ");
	output_json_string(stdout, *text ? text : NULL);
	printf(", \"restorable\": %s}", e->document ? "true" : "false");
}

static void print_line(const struct shadow_copy *s, const struct book_entry *e)
{
	WCHAR id[40];
	char volume[TEXT_BYTES], device[TEXT_BYTES], label[TEXT_BYTES], when[OUTPUT_TIME_CHARS];

	StringFromGUID2(&s->set, id, 40);
	output_time(unix_ms(s->made), when);
	copies_volume_text(s->volume, volume, sizeof(volume));
	copies_utf8(*s->exposed ? s->exposed : s->device, device, sizeof(device));
	copies_utf8(e->label, label, sizeof(label));
	printf("%ls  %s  %-8s %s%s%s%s\n", id, when, volume, *label ? "\"" : "", label, *label ? "\"  " : "",
		*device ? device : "not imported on this host");
}

static void show(struct printer *p, const struct shadow_copy *s, const struct book_entry *e)
{
	if (p->words->label && wcscmp(p->words->label, e->label) != 0)
		return;
	if (p->words->json)
		print_json(p, s, e);
	else
		print_line(s, e);
	p->count++;
}

/* What only the book has: its import failed, or is another host's, or VSS has forgotten it. */
static void show_unknown(struct printer *p, const struct shadow_list *list)
{
	static GUID sets[BOOK_ENTRIES_MAX];
	static struct book_entry e;
	unsigned count = book_list(sets, BOOK_ENTRIES_MAX);

	for (unsigned i = 0; i < count; i++) {
		if (knows_set(list, &sets[i]) || !book_read(&sets[i], &e))
			continue;
		for (unsigned k = 0; k < e.count; k++) {
			WCHAR none[] = L"";
			struct shadow_copy s = {.id = e.snapshots[k],
				.set = sets[i],
				.made = (LONGLONG)e.made_unix_ms * 10000 + FILETIME_1970,
				.device = none,
				.volume = e.volumes[k],
				.exposed = none};
			show(p, &s, &e);
		}
		SysFreeString(e.document);
	}
}

static int list_copies(const struct copies_words *words)
{
	static struct book_entry e;
	struct printer p = {.words = words};
	struct shadow_list list;
	HRESULT hr = requester_list(&list);

	if (words->json)
		printf("{\"copies\": [");
	for (unsigned i = 0; SUCCEEDED(hr) && i < list.count; i++) {
		if (!is_ours(&list.items[i]))
			continue;
		book_read(&list.items[i].set, &e);
		show(&p, &list.items[i], &e);
		SysFreeString(e.document);
	}
	if (SUCCEEDED(hr))
		show_unknown(&p, &list);
	if (words->json)
		puts("]}");
	else if (SUCCEEDED(hr) && !p.count)
		puts("There are no copies.");
	requester_list_free(&list);
	if (FAILED(hr))
		requester_complain("VSS", hr);
	return SUCCEEDED(hr) ? 0 : 1;
}

/* ---- what is done with one ---------------------------------------------------------------------------- */

/* An id with or without braces. */
static bool parse_id(const WCHAR *word, GUID *out)
{
	WCHAR text[40];
	int chars = _snwprintf(text, 40, word[0] == L'{' ? L"%ls" : L"{%ls}", word);

	return chars == 38 && CLSIDFromString(text, out) == S_OK;
}

static bool known_id(const WCHAR *word, GUID *out)
{
	char text[TEXT_BYTES];

	if (parse_id(word, out))
		return true;
	copies_utf8(word, text, sizeof(text));
	refusal_say("\"%s\" is no id of a set: \"umbra-vss copies\" shows them.", text);
	return false;
}

/* None of its LUNs is on the arrays that are reached: another host has deleted them, or an administrator. */
static HRESULT forget_gone(void)
{
	refusal_say(
		"none of its LUNs is there any more: forgotten. (Were they of an array that is not reached now, "
		"\"umbra-vss orphans\" will show them.)");
	return S_OK;
}

/* A set of ours. What VSS does not know and the book does is imported first: only so can VSS delete it. */
static HRESULT delete_set(const struct shadow_list *list, const GUID *set)
{
	static struct book_entry e;
	bool here = false, noted = book_read(set, &e);
	HRESULT hr = VSS_E_OBJECT_NOT_FOUND;

	for (unsigned i = 0; i < list->count; i++)
		here = here || (IsEqualGUID(&list->items[i].set, set) && is_ours(&list->items[i]));
	if (here) {
		hr = requester_delete(set);
	} else if (noted && e.document) {
		hr = requester_import(e.document);
		if (SUCCEEDED(hr) || hr == VSS_E_SOME_SNAPSHOTS_NOT_IMPORTED)
			hr = requester_delete(set);
		else if (hr == VSS_E_NO_SNAPSHOTS_IMPORTED || hr == VSS_E_OBJECT_NOT_FOUND)
			hr = forget_gone();
	} else if (noted) {
		hr = S_OK; /* it was never made */
	}
	SysFreeString(e.document);
	return SUCCEEDED(hr) ? book_forget(set) : hr;
}

static int delete_all(const struct copies_words *words)
{
	struct shadow_list list;
	HRESULT hr = requester_list(&list);
	int code = SUCCEEDED(hr) ? 0 : 1;

	if (FAILED(hr))
		requester_complain("VSS", hr);
	if (words->json)
		printf("{\"deleted\": [");
	for (unsigned i = 0, shown = 0; SUCCEEDED(hr) && i < words->id_count; i++) {
		GUID set;
		WCHAR id[40];
		char text[TEXT_BYTES];
		copies_utf8(words->ids[i], text, sizeof(text));
		HRESULT one = known_id(words->ids[i], &set) ? delete_set(&list, &set) : E_INVALIDARG;
		code = FAILED(one) ? 1 : code;
		if (FAILED(one)) {
			if (one != E_INVALIDARG)
				requester_complain(text, one);
			continue;
		}
		StringFromGUID2(&set, id, 40);
		printf(words->json ? "%s\"%ls\"" : "%s%ls: deleted\n", words->json && shown++ ? ", " : "",
			id);
	}
	if (words->json)
		puts("]}");
	requester_list_free(&list);
	return code;
}

/* A set of the book, or a file that another host wrote. */
static int import_one(const struct copies_words *words)
{
	static struct book_entry e;
	GUID set;
	char text[TEXT_BYTES];
	BSTR document = NULL;

	copies_utf8(words->ids[0], text, sizeof(text));
	if (parse_id(words->ids[0], &set) && book_read(&set, &e) && e.document)
		document = e.document;
	else
		document = requester_read_file(words->ids[0]);
	if (!document) {
		refusal_say(
			"\"%s\" is neither a set with a document (umbra-vss copies) nor a file with one (error %lu).",
			text, (unsigned long)GetLastError());
		return 1;
	}
	HRESULT hr = requester_import(document);
	SysFreeString(document);
	if (FAILED(hr)) {
		requester_complain(text, hr);
		return 1;
	}
	printf("%s: imported. \"umbra-vss copies\" shows where it is.\n", text);
	return 0;
}

/* ---- restore ------------------------------------------------------------------------------------------ */

/* Does a volume's name, or what it is mounted at, agree with the word? */
static bool names_volume(const WCHAR *word, const WCHAR *volume)
{
	WCHAR root[MAX_PATH], name[BOOK_VOLUME_CHARS];
	size_t len = wcslen(word);

	_snwprintf(root, MAX_PATH - 1, L"%ls%ls", word, len && word[len - 1] == L'\\' ? L"" : L"\\");
	root[MAX_PATH - 1] = L'\0';
	if (!_wcsicmp(root, volume))
		return true;
	return GetVolumeNameForVolumeMountPointW(root, name, BOOK_VOLUME_CHARS) && !_wcsicmp(name, volume);
}

/* Which of the set's copies are meant; all when no volume is named. */
static bool choose(
	const struct copies_words *words, const struct book_entry *e, bool chosen[COPY_VOLUMES_MAX])
{
	for (unsigned k = 0; k < e->count; k++)
		chosen[k] = words->id_count == 1;
	for (unsigned i = 1; i < words->id_count; i++) {
		bool found = false;
		char text[TEXT_BYTES];
		for (unsigned k = 0; k < e->count; k++)
			if (names_volume(words->ids[i], e->volumes[k]))
				found = chosen[k] = true;
		copies_utf8(words->ids[i], text, sizeof(text));
		if (!found) {
			refusal_say("the set has no copy of %s.", text);
			return false;
		}
	}
	return true;
}

static HRESULT resync(const struct book_entry *e, const bool chosen[COPY_VOLUMES_MAX])
{
	IVssBackupComponents *x;
	IVssBackupComponentsEx3 *ex = NULL;
	IVssAsync *async = NULL;
	HRESULT hr = requester_open(e->document, (LONG)VSS_CTX_ALL, &x);

	if (FAILED(hr))
		return hr;
	hr = IVssBackupComponents_QueryInterface(x, &IID_IVssBackupComponentsEx3, (void **)&ex);
	if (hr == E_NOINTERFACE)
		hr = E_NOTIMPL;
	for (unsigned k = 0; SUCCEEDED(hr) && k < e->count; k++)
		if (chosen[k])
			hr = IVssBackupComponentsEx3_AddSnapshotToRecoverySet(ex, e->snapshots[k], 0, NULL);
	if (SUCCEEDED(hr)) {
		hr = IVssBackupComponentsEx3_RecoverSet(ex, 0, &async);
		hr = requester_wait(hr, async, REQUESTER_TO_THE_END); /* half a restore is no volume */
	}
	if (ex)
		IVssBackupComponentsEx3_Release(ex);
	IVssBackupComponents_Release(x);
	return hr;
}

static int restore_set(const struct copies_words *words)
{
	static struct book_entry e;
	bool chosen[COPY_VOLUMES_MAX];
	char text[TEXT_BYTES];
	GUID set;

	if (!known_id(words->ids[0], &set))
		return 2;
	if (!book_read(&set, &e) || !e.document) {
		SysFreeString(e.document);
		refusal_say(
			"this host has no document of that set: \"umbra-vss copies\" shows which are restorable (--json). "
			"With a document of another program: diskshadow, \"resync\".");
		return 1;
	}
	bool good = choose(words, &e, chosen);
	for (unsigned k = 0; good && !words->overwrite && k < e.count; k++) {
		copies_volume_text(e.volumes[k], text, sizeof(text));
		if (chosen[k])
			refusal_say("%s and all else on its LUN would be overwritten.", text);
	}
	if (good && !words->overwrite) {
		refusal_say("nothing was done. End what uses the volumes, then give --overwrite.");
		good = false;
	}
	HRESULT hr = good ? resync(&e, chosen) : S_OK;
	SysFreeString(e.document);
	if (FAILED(hr))
		requester_complain("restore", hr);
	if (good && SUCCEEDED(hr))
		puts("Restored. The copy is still there.");
	return good && SUCCEEDED(hr) ? 0 : 1;
}

/* ---- the commands ------------------------------------------------------------------------------------- */

struct command {
	const char *usage;
	unsigned options, least, most;
	int (*work)(const struct copies_words *words);
};

static int run(const struct command *c, int count, WCHAR **words)
{
	static struct copies_words parsed;
	const char *why = copies_parse(count, words, c->options, c->least, c->most, &parsed);

	if (why) {
		return refusal_words(why, c->usage);
	}
	int code = requester_begin() ? c->work(&parsed) : 1;
	requester_end();
	return code;
}

int copies_run(int count, WCHAR **words)
{
	static const struct command c = {
		"Usage: umbra-vss copies [--label LABEL] [--json]\n"
		"The copies of Umbra's that VSS knows on this host, and those that \"copy\" made.\n",
		COPIES_LABEL, 0, 0, list_copies};

	return run(&c, count, words);
}

int import_run(int count, WCHAR **words)
{
	static const struct command c = {
		"Usage: umbra-vss import FILE|SET\n"
		"FILE is what \"copy --transportable\" wrote, here or on another host.\n",
		0, 1, 1, import_one};

	return run(&c, count, words);
}

int delete_run(int count, WCHAR **words)
{
	static const struct command c = {
		"Usage: umbra-vss delete SET ... [--json]\n", 0, 1, COPY_VOLUMES_MAX, delete_all};

	return run(&c, count, words);
}

int restore_run(int count, WCHAR **words)
{
	static const struct command c = {
		"Usage: umbra-vss restore SET [VOLUME ...] --overwrite\n"
		"The volumes named (or all of the set) get what they had when it was made, inside the array. What was written since\n"
		"is lost. Without --overwrite nothing is done but said.\n",
		COPIES_OVERWRITE, 1, COPY_VOLUMES_MAX, restore_set};

	return run(&c, count, words);
}
