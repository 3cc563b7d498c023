/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diskshadow's scripts, executed. A script is read whole first: nothing runs when a line is wrong. Then the commands run
 * one by one until one fails; errors name their line.
 *
 * Aliases stand for ids (%NAME%), in the document's file, too, so that another host's script can load them.
 * A transportable set whose file no SET METADATA named gets one in the working directory, named after the time and
 * the computer, as diskshadow does it.
 */
#include "lab/requester/request.h"

#include <objbase.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vsserror.h>
#include <wchar.h>
#include "lab/coordinator/json.h"
#include "lab/requester/client.h"
#include "lab/requester/log.h"
#include "lab/requester/output.h"
#include "lab/requester/program.h"
#include "lab/requester/script.h"

#define MAX_ALIASES 128
#define ALIAS_BYTES 64
#define WORD_CHARS  512

struct alias {
	char name[ALIAS_BYTES], value[ALIAS_BYTES];
	LONG volume; /* -1, or the volume of the set to come that it will stand for */
};

struct session {
	const struct options *like; /* --json and the like */
	struct options todo;        /* volumes and targets collected so far */
	LONG context;
	wchar_t metadata[WORD_CHARS], loaded[WORD_CHARS], own_name[WORD_CHARS];
	struct alias aliases[MAX_ALIASES];
	size_t alias_count;
	const struct script_line *line;
	struct log log;
	bool printed; /* something, in JSON */
	bool over;
};

static int wrong(struct session *s, const char *why)
{
	fprintf(stderr, "umbra-lab-requester: line %u: %s: %s\n", s->line->number, s->line->name, why);
	log_add(&s->log, "line %u: %s: %s\n", s->line->number, s->line->name, why);
	return 1;
}

/* --- aliases --- */

static bool is_name(const char *text)
{
	size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.");
	return len > 0 && len < ALIAS_BYTES && !text[len];
}

static bool set_alias(struct session *s, const char *name, const char *value, LONG volume)
{
	size_t i = 0;
	while (i < s->alias_count && _stricmp(s->aliases[i].name, name) != 0)
		i++;
	if (!is_name(name) || i == MAX_ALIASES || strlen(value) >= ALIAS_BYTES)
		return false;
	if (i == s->alias_count)
		s->alias_count++;
	snprintf(s->aliases[i].name, ALIAS_BYTES, "%s", name);
	snprintf(s->aliases[i].value, ALIAS_BYTES, "%s", value);
	s->aliases[i].volume = volume;
	return true;
}

static void set_alias_id(struct session *s, const char *name, const GUID *id)
{
	wchar_t wide[40];
	char text[40];
	StringFromGUID2(id, wide, 40);
	snprintf(text, sizeof text, "%ls", wide);
	set_alias(s, name, text, -1);
}

/* A word with its %ALIASES% replaced, as wide characters; an alias that is unknown stays as it is. */
static bool word(const struct session *s, unsigned n, wchar_t out[WORD_CHARS])
{
	char text[WORD_CHARS] = {0};
	size_t len = 0;
	for (const char *at = s->line->words[n]; *at;) {
		const char *close = *at == '%' ? strchr(at + 1, '%') : NULL, *with = NULL;
		for (size_t i = 0; close && i < s->alias_count && !with; i++)
			if (strlen(s->aliases[i].name) == (size_t)(close - at - 1) &&
				_strnicmp(s->aliases[i].name, at + 1, (size_t)(close - at - 1)) == 0)
				with = s->aliases[i].value;
		int put = snprintf(
			text + len, sizeof text - len, "%.*s", with ? ALIAS_BYTES : 1, with ? with : at);
		if (put < 0 || (size_t)put >= sizeof text - len)
			return false;
		len += (size_t)put;
		at = with ? close + 1 : at + 1;
	}
	return MultiByteToWideChar(CP_UTF8, 0, text, -1, out, WORD_CHARS) > 0;
}

/* A path of this machine, /so/written, becomes Wine's. */
static bool path_word(const struct session *s, unsigned n, wchar_t out[WORD_CHARS])
{
	wchar_t plain[WORD_CHARS];
	if (!word(s, n, plain))
		return false;
	int len = _snwprintf(out, WORD_CHARS, L"%ls%ls", plain[0] == L'/' ? L"Z:" : L"", plain);
	for (wchar_t *at = plain[0] == L'/' ? out : out + wcslen(plain); len > 0 && len < WORD_CHARS && *at;
		at++)
		if (*at == L'/')
			*at = L'\\';
	return len > 0 && len < WORD_CHARS;
}

static bool id_word(const struct session *s, unsigned n, GUID *out)
{
	wchar_t text[WORD_CHARS];
	return word(s, n, text) && CLSIDFromString(text, out) == S_OK;
}

/* The aliases as a last member of the document. CoTaskMem; the old one stays the caller's. */
static wchar_t *with_aliases(const struct session *s, const wchar_t *document)
{
	struct json_out j = {0};
	json_open(&j, NULL, '{');
	json_open(&j, "aliases", '{');
	for (size_t i = 0; i < s->alias_count; i++)
		json_string(&j, s->aliases[i].name, s->aliases[i].value);
	json_close(&j, '}');
	json_close(&j, '}');
	size_t len = wcslen(document);
	wchar_t *out = j.failed || !len ? NULL : CoTaskMemAlloc((len + j.len + 2) * sizeof *out);
	if (out) {
		memcpy(out, document, (len - 1) * sizeof *out); /* without its closing brace */
		out[len - 1] = L',';
		for (size_t i = 1; i <= j.len; i++) /* ASCII; with the NUL */
			out[len + i - 1] = (wchar_t)(unsigned char)j.text[i];
	}
	json_out_free(&j);
	return out;
}

static void load_aliases(struct session *s, const wchar_t *document)
{
	char *utf8 = utf8_of(document);
	struct json_value *v = json_parse(utf8, strlen(utf8));
	const struct json_value *list = json_get(v, "aliases", JSON_OBJECT);
	for (const struct json_value *one = list ? list->child : NULL; one; one = one->next)
		if (one->type == JSON_STRING)
			set_alias(s, one->key, one->string, -1);
	json_free(v);
	free(utf8);
}

/* --- one request --- */

static struct options request_of(const struct session *s, enum verb verb)
{
	static struct options o;
	options_init(&o);
	o.verb = verb;
	o.json = s->like->json;
	o.calls = s->like->calls;
	o.create.provider_id = s->like->create.provider_id;
	return o;
}

/* In JSON the answers are the elements of one list. */
static void announce(struct session *s)
{
	if (s->like->json)
		printf("%s{\"line\":%u,\"command\":\"%s\",\"result\":\n", s->printed ? "," : "",
			s->line->number, s->line->name);
	else
		printf("-> %s\n", s->line->name);
	s->printed = true;
}

static int ask(struct session *s, struct options *o)
{
	announce(s);
	o->create.luns = o->luns; /* o may be a copy */
	o->resync.targets = o->targets;
	int rc = request_whole(o);
	if (s->like->json)
		puts("}");
	return rc ? wrong(s, "failed") : 0;
}

static int ask_by_id(struct session *s, struct options *o, unsigned n)
{
	o->has_id = true;
	return id_word(s, n, &o->id) ? ask(s, o) : wrong(s, "that is no id, and no alias of one");
}

/* --- the commands --- */

static int set_context(struct session *s)
{
	static const struct {
		const char *name;
		LONG bits;
	} bits[] = {{"persistent", VSS_VOLSNAP_ATTR_PERSISTENT | VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE},
		{"nowriters", VSS_VOLSNAP_ATTR_NO_WRITERS}, {"clientaccessible", VSS_CTX_CLIENT_ACCESSIBLE}};
	const LONG mine = VSS_VOLSNAP_ATTR_PERSISTENT | VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE |
			  VSS_VOLSNAP_ATTR_NO_WRITERS | VSS_CTX_CLIENT_ACCESSIBLE;
	s->context &= ~mine;
	for (unsigned n = 0; n < s->line->count; n++)
		for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++)
			if (script_is(s->line, n, bits[i].name))
				s->context |= bits[i].bits;
	return 0;
}

static int set_option(struct session *s)
{
	static const struct {
		const char *name;
		LONG bits, excludes;
	} bits[] = {{"differential", VSS_VOLSNAP_ATTR_DIFFERENTIAL, VSS_VOLSNAP_ATTR_PLEX},
		{"plex", VSS_VOLSNAP_ATTR_PLEX, VSS_VOLSNAP_ATTR_DIFFERENTIAL},
		{"transportable", VSS_VOLSNAP_ATTR_TRANSPORTABLE, 0},
		{"txfrecover", VSS_VOLSNAP_ATTR_TXF_RECOVERY, VSS_VOLSNAP_ATTR_NO_AUTORECOVERY},
		{"rollbackrecover", VSS_VOLSNAP_ATTR_ROLLBACK_RECOVERY, VSS_VOLSNAP_ATTR_NO_AUTORECOVERY},
		{"noautorecover", VSS_VOLSNAP_ATTR_NO_AUTORECOVERY,
			VSS_VOLSNAP_ATTR_TXF_RECOVERY | VSS_VOLSNAP_ATTR_ROLLBACK_RECOVERY}};
	for (unsigned n = 0; n < s->line->count; n++)
		for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
			if (!script_is(s->line, n, bits[i].name))
				continue;
			if (s->context & bits[i].excludes)
				return wrong(s, "these options exclude each other");
			s->context |= bits[i].bits;
		}
	return 0;
}

static int load_metadata(struct session *s)
{
	if (!path_word(s, 0, s->loaded))
		return wrong(s, "the path is too long");
	wchar_t *document = request_read_file(s->loaded);
	if (!document) {
		s->loaded[0] = 0;
		return wrong(s, "the file cannot be read");
	}
	load_aliases(s, document);
	free(document);
	return 0;
}

/* add volume LUNS [alias NAME] [provider ID] */
static int add_volume(struct session *s)
{
	wchar_t text[WORD_CHARS];
	if (!word(s, 0, text) || !options_add_volume(&s->todo, text))
		return wrong(s, "a volume is written as its LUN numbers: 1 or 1,2 or d3");
	for (unsigned n = 1; n < s->line->count; n += 2) {
		bool good = n + 1 < s->line->count;
		if (good && script_is(s->line, n, "alias"))
			good = set_alias(s, s->line->words[n + 1], "", s->todo.volumes - 1);
		else if (good && script_is(s->line, n, "provider"))
			good = id_word(s, n + 1, &s->todo.create.provider_id);
		else
			good = false;
		if (!good)
			return wrong(s, "behind the volume: alias NAME, provider ID");
	}
	return 0;
}

/* add alias NAME VALUE: the value may be an alias itself */
static int add_alias(struct session *s)
{
	wchar_t text[WORD_CHARS];
	bool good = word(s, 1, text);
	char *value = utf8_of(good ? text : L"");
	good = good && set_alias(s, s->line->words[0], value, -1);
	free(value);
	return good ? 0 : wrong(s, "a name of letters, digits, _, - and ., and a short value");
}

/* add shadow ID [LUN] */
static int add_shadow(struct session *s)
{
	wchar_t id[WORD_CHARS], target[WORD_CHARS] = {0}, both[2 * WORD_CHARS];
	bool has_target = s->line->count == 2;
	if (!word(s, 0, id) || (has_target && !word(s, 1, target)))
		return wrong(s, "the words are too long");
	_snwprintf(both, 2 * WORD_CHARS, L"%ls%ls%ls", id, has_target ? L"," : L"", target);
	return options_add_target(&s->todo, both) ? 0
						  : wrong(s, "a shadow copy's id, and perhaps a LUN number");
}

static void name_new_set(struct session *s, const LAB_RESULT *res)
{
	set_alias_id(s, "VSS_SHADOW_SET", &res->set_id);
	for (ULONG i = 0; i < res->snapshot_count; i++) {
		char name[32];
		snprintf(name, sizeof name, "VSS_SHADOW_%lu", i + 1);
		set_alias_id(s, name, &res->snapshots[i].id);
		for (size_t k = 0; k < s->alias_count; k++)
			if (s->aliases[k].volume == res->snapshots[i].volume)
				set_alias_id(s, s->aliases[k].name, &res->snapshots[i].id);
	}
}

/* Where the document goes; NULL: nowhere. */
static const wchar_t *document_name(struct session *s)
{
	wchar_t computer[MAX_COMPUTERNAME_LENGTH + 1] = L"host";
	DWORD len = MAX_COMPUTERNAME_LENGTH + 1;
	SYSTEMTIME t;
	if (s->metadata[0] || !(s->context & VSS_VOLSNAP_ATTR_TRANSPORTABLE))
		return s->metadata[0] ? s->metadata : NULL;
	GetComputerNameW(computer, &len);
	GetLocalTime(&t);
	_snwprintf(s->own_name, WORD_CHARS, L"%04d-%02d-%02d_%02d-%02d-%02d_%ls.cab", t.wYear, t.wMonth,
		t.wDay, t.wHour, t.wMinute, t.wSecond, computer);
	return s->own_name;
}

static int create(struct session *s)
{
	struct options *o = &s->todo;
	LAB_RESULT *res = NULL;
	if (!o->volumes)
		return wrong(s, "no volume was added");
	o->verb = VERB_CREATE;
	o->json = s->like->json;
	o->calls = s->like->calls;
	o->create.context = s->context;
	o->document = document_name(s);
	announce(s);
	HRESULT hr = request_run(o, &res);
	if (SUCCEEDED(hr) && res && res->hr == S_OK) {
		name_new_set(s, res);
		if (res->document)
			res->document = with_aliases(s, res->document);
	}
	int rc = request_show("create", o, hr, res);
	if (s->like->json)
		puts("}");
	options_init(o);
	return rc ? wrong(s, "failed") : 0;
}

static int list(struct session *s)
{
	struct options o = request_of(s, VERB_LIST);
	if (script_is(s->line, 0, "all") && s->line->count == 1)
		return ask(s, &o);
	o.id_is_snapshot = script_is(s->line, 0, "id");
	if (s->line->count == 2 && (o.id_is_snapshot || script_is(s->line, 0, "set")))
		return ask_by_id(s, &o, 1);
	return wrong(s, "all, set ID or id ID");
}

/* The shadow copy that has this name. */
static bool find_exposed(struct session *s, unsigned n, GUID *id)
{
	wchar_t name[WORD_CHARS];
	LAB_RESULT *all = NULL;
	if (!word(s, n, name) || FAILED(client_list(&all)) || !all)
		return false;
	for (ULONG i = 0; i < all->snapshot_count; i++)
		if (all->snapshots[i].exposed && _wcsicmp(all->snapshots[i].exposed, name) == 0) {
			*id = all->snapshots[i].id;
			return true;
		}
	return false;
}

/* Every shadow copy of a volume, oldest first. */
static int delete_volume(struct session *s, struct options *o, bool all)
{
	for (bool any = false;; any = true) {
		LAB_RESULT *res = NULL;
		HRESULT hr = request_run(o, &res);
		if (any && SUCCEEDED(hr) && res && res->hr == VSS_E_OBJECT_NOT_FOUND)
			return 0;
		announce(s);
		int rc = request_show("delete-oldest", o, hr, res);
		if (s->like->json)
			puts("}");
		if (rc)
			return wrong(s, "failed");
		if (!all)
			return 0;
	}
}

static int delete_shadows(struct session *s)
{
	struct options o = request_of(s, VERB_DELETE_ALL);
	wchar_t text[WORD_CHARS];
	const wchar_t *end;
	if (s->line->count == 1)
		return script_is(s->line, 0, "all") ? ask(s, &o) : wrong(s, "of what?");
	bool volume = script_is(s->line, 0, "volume"), oldest = script_is(s->line, 0, "oldest");
	if (script_is(s->line, 0, "set") || script_is(s->line, 0, "id")) {
		o.verb = script_is(s->line, 0, "set") ? VERB_DELETE : VERB_DELETE_ONE;
		return ask_by_id(s, &o, 1);
	}
	if (script_is(s->line, 0, "exposed")) {
		o.verb = VERB_DELETE_ONE;
		o.has_id = find_exposed(s, 1, &o.id);
		return o.has_id ? ask(s, &o) : wrong(s, "nothing is exposed by that name");
	}
	o.verb = VERB_DELETE_OLDEST;
	if ((volume || oldest) && word(s, 1, text) && options_number(text, &end, &o.lun) && !*end)
		return delete_volume(s, &o, volume);
	return wrong(s, "all, set ID, id ID, volume N, oldest N or exposed X:");
}

/* break [readwrite|writable] [norevertid] SET */
static int break_set(struct session *s)
{
	struct options o = request_of(s, VERB_BREAK);
	unsigned last = s->line->count - 1;
	for (unsigned n = 0; n < last; n++) {
		if (script_is(s->line, n, "readwrite") || script_is(s->line, n, "writable"))
			o.break_flags |= VSS_BREAKEX_FLAG_MAKE_READ_WRITE;
		else if (script_is(s->line, n, "norevertid"))
			o.break_flags |= VSS_BREAKEX_FLAG_REVERT_IDENTITY_NONE;
		else
			return wrong(s, "[readwrite] [norevertid] SET");
	}
	return ask_by_id(s, &o, last);
}

static int resync(struct session *s)
{
	struct options *o = &s->todo;
	if (!s->loaded[0] || !o->resync.count)
		return wrong(s, "load metadata and add shadow come first");
	o->verb = VERB_RESYNC;
	o->json = s->like->json;
	o->calls = s->like->calls;
	o->file = s->loaded;
	for (unsigned n = 0; n < s->line->count; n++)
		o->resync.options |= script_is(s->line, n, "revertid") ? VSS_RECOVERY_REVERT_IDENTITY_ALL
								       : VSS_RECOVERY_NO_VOLUME_CHECK;
	int rc = ask(s, o);
	options_init(o);
	return rc;
}

static int expose(struct session *s)
{
	wchar_t name[WORD_CHARS] = {0};
	struct options o = request_of(s, VERB_EXPOSE);
	if (s->line->op == SCRIPT_UNEXPOSE && find_exposed(s, 0, &o.id)) {
		o.name = L"";
		return ask(s, &o);
	}
	if (s->line->op == SCRIPT_EXPOSE && !word(s, 1, name))
		return wrong(s, "the name is too long");
	o.name = name;
	return ask_by_id(s, &o, 0);
}

static int execute(struct session *s)
{
	wchar_t path[WORD_CHARS];
	if (!path_word(s, 0, path))
		return wrong(s, "the path is too long");
	const char *why = program_run(path, s->like->json);
	return why ? wrong(s, why) : 0;
}

/* --- what only tells; in JSON the answers are VSS's alone --- */

static int show_settings(const struct session *s)
{
	if (s->like->json)
		return 0;
	printf("context and options 0x%08lx\n", (unsigned long)s->context);
	printf("metadata %ls\n", s->metadata[0] ? s->metadata : L"is named when a transportable set is made");
	if (s->loaded[0])
		printf("loaded %ls\n", s->loaded);
	return 0;
}

static int show_added(const struct session *s)
{
	if (s->like->json)
		return 0;
	for (ULONG i = 0; i < s->todo.create.count; i++)
		printf("volume %ld on %s %ld\n", s->todo.luns[i].volume + 1,
			s->todo.luns[i].by_drive ? "drive" : "LUN", s->todo.luns[i].number);
	for (size_t i = 0; i < s->alias_count; i++)
		printf("alias %s = %s\n", s->aliases[i].name,
			s->aliases[i].value[0] ? s->aliases[i].value : "(the shadow copy to come)");
	return 0;
}

static int help(const struct session *s)
{
	for (size_t i = 0; !s->like->json && script_command(i); i++)
		printf("%s\n", script_command(i));
	return 0;
}

static int run_line(struct session *s)
{
	struct options o = request_of(s, VERB_NONE);
	switch (s->line->op) {
	case SCRIPT_SET_CONTEXT:
		return set_context(s);
	case SCRIPT_SET_OPTION:
		return set_option(s);
	case SCRIPT_SET_METADATA:
		return path_word(s, 0, s->metadata) ? 0 : wrong(s, "the path is too long");
	case SCRIPT_SHOW_SETTINGS:
		return show_settings(s);
	case SCRIPT_LOAD_METADATA:
		return load_metadata(s);
	case SCRIPT_ADD_VOLUME:
		return add_volume(s);
	case SCRIPT_ADD_SHADOW:
		return add_shadow(s);
	case SCRIPT_ADD_ALIAS:
		return add_alias(s);
	case SCRIPT_SHOW_ADDED:
		return show_added(s);
	case SCRIPT_CREATE:
		return create(s);
	case SCRIPT_IMPORT:
		o.verb = VERB_IMPORT;
		o.file = s->loaded;
		return s->loaded[0] ? ask(s, &o) : wrong(s, "load metadata comes first");
	case SCRIPT_LIST:
		return list(s);
	case SCRIPT_LIST_PROVIDERS:
		o.verb = VERB_PROVIDERS;
		return ask(s, &o);
	case SCRIPT_DELETE:
		return delete_shadows(s);
	case SCRIPT_BREAK:
		return break_set(s);
	case SCRIPT_MASK:
		o.verb = VERB_BREAK;
		o.break_flags = VSS_BREAKEX_FLAG_MASK_LUNS;
		return ask_by_id(s, &o, 0);
	case SCRIPT_RESYNC:
		return resync(s);
	case SCRIPT_EXPOSE:
	case SCRIPT_UNEXPOSE:
		return expose(s);
	case SCRIPT_EXEC:
		return execute(s);
	case SCRIPT_HELP:
		return help(s);
	case SCRIPT_RESET:
		options_init(&s->todo);
		s->context = 0;
		s->metadata[0] = s->loaded[0] = 0;
		return 0;
	case SCRIPT_REFUSED:
		return wrong(s, "hardware shadow copies are resynced, not reverted");
	case SCRIPT_EXIT:
		s->over = true;
		return 0;
	default:
		return 0;
	}
}

/* --- the file --- */

static void free_script(struct script_line **lines, size_t count)
{
	for (size_t i = 0; lines && i < count; i++)
		free(lines[i]);
	free(lines);
}

/* Every command, each a block of its own; NULL: the reason is on stderr. */
static struct script_line **read_script(const char *text, size_t len, size_t *count)
{
	struct script_line **lines = calloc(SCRIPT_MAX_LINES, sizeof *lines);
	const char *why = lines ? NULL : "no memory";
	unsigned number = 0;
	size_t next;
	*count = 0;
	for (size_t at = 0; at < len && !why; at += next) {
		struct script_line *one = malloc(sizeof *one);
		size_t line_len = script_next_line(text + at, len - at, &next);
		number++;
		if (!one || *count == SCRIPT_MAX_LINES) {
			why = one ? "there are too many lines" : "no memory";
			free(one);
			break;
		}
		if (script_parse(text + at, line_len, one, &why) != SCRIPT_COMMAND) {
			free(one);
			continue;
		}
		one->number = number;
		lines[(*count)++] = one;
	}
	if (!why)
		return lines;
	fprintf(stderr, "umbra-lab-requester: line %u: %s\n", number, why);
	free_script(lines, *count);
	return NULL;
}

/* Until one fails. */
static int run_lines(struct session *s, struct script_line **lines, size_t count)
{
	int rc = 0;
	if (s->like->log && !log_open(&s->log, s->like->log))
		return request_fail("the log cannot be written", HRESULT_FROM_WIN32(GetLastError()));
	if (s->like->json)
		puts("[");
	for (size_t i = 0; i < count && rc == 0 && !s->over; i++) {
		s->line = lines[i];
		rc = run_line(s);
		log_tell(&s->log);
	}
	if (s->like->json)
		puts("]");
	log_close(&s->log);
	return rc;
}

int diskshadow_run(const wchar_t *path, const struct options *like)
{
	wchar_t *wide = request_read_file(path);
	if (!wide)
		return request_fail("the script cannot be read", HRESULT_FROM_WIN32(GetLastError()));
	char *text = utf8_of(wide);
	size_t count;
	struct script_line **lines = read_script(text, strlen(text), &count);
	struct session *s = lines ? calloc(1, sizeof *s) : NULL;
	int rc = s ? 0 : 2;
	if (s) {
		s->like = like;
		options_init(&s->todo);
		rc = run_lines(s, lines, count);
	}
	free(s);
	free_script(lines, count);
	free(text);
	free(wide);
	return rc;
}
