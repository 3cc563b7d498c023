/* SPDX-License-Identifier: Apache-2.0 */
/* See copy.h. */
#include "provider/copy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "provider/copies.h"
#include "provider/copy_array.h"
#include "provider/copy_book.h"
#include "provider/copy_words.h"
#include "provider/ids.h"
#include "provider/output.h"
#include "provider/refusal.h"
#include "provider/vss_requester.h"

#define TURN_MS     (2 * 60 * 1000) /* so long for the end of another program's set */
#define TURN_PAUSE  500
#define WRITERS_MAX 128
#define NAME_CHARS  96
#define TEXT_BYTES  512
#define EXIT_HALF   3 /* the copy is there, something else failed */

enum phase {
	PHASE_WRITERS,  /* their metadata */
	PHASE_PREPARE,  /* the provider has the volumes, the writers are prepared */
	PHASE_SNAPSHOT, /* DoSnapshotSet: the freeze, the hold, the commit */
	PHASE_IMPORT,
	PHASES
};

static const char *const phase_names[PHASES] = {"writers", "prepare", "snapshot", "import"};

struct writer {
	WCHAR name[NAME_CHARS];
	VSS_WRITER_STATE state;
	HRESULT failure;
};

struct job {
	struct copy_words words;
	IVssBackupComponents *backup;
	GUID set;
	struct book_entry entry;
	unsigned long long ms[PHASES];
	unsigned writer_count;
	struct writer writers[WRITERS_MAX];
	bool began, made, imported, half;
	bool unsure; /* VSS never said how DoSnapshotSet ended */
	bool has_cost;
	struct set_cost cost; /* as the provider told the array */
	unsigned gone, stay;
	WCHAR devices[COPY_VOLUMES_MAX][BOOK_VOLUME_CHARS];
};

static const char usage[] =
	"Usage: umbra-vss copy VOLUME ... [--label LABEL] [--keep RULES] [--writers WHICH] [--transportable FILE] [--json]\n"
	"  VOLUME           D: or a mount point; all are copied at one instant\n"
	"  --label LABEL    a name for copies of this kind\n"
	"  --keep RULES     hourly=24,daily=7,weekly=4,monthly=12,yearly=3: afterwards the copies with this label and of these\n"
	"                   volumes are deleted, but the newest one of each of the last so many hours, days, ...\n"
	"  --writers WHICH  all (the default): when a writer fails there is no copy; any: failures are told of;\n"
	"                   NAME,NAME: these must take part and succeed; none: without writers, as after a power failure\n"
	"  --transportable FILE  not imported here: FILE is for the host that does (umbra-vss import, vshadow)\n"
	"Exit code: 0 done, 1 no copy (nothing is left), 2 wrong usage, 3 the copy is there, and something else failed.\n";

/* ---- writers ------------------------------------------------------------------------------------------ */

static bool writer_failed(const struct writer *w)
{
	return FAILED(w->failure) || w->state == VSS_WS_UNKNOWN || w->state >= VSS_WS_FAILED_AT_IDENTIFY;
}

static const char *state_name(VSS_WRITER_STATE state)
{
	static const char *const names[] = {"unknown", "stable", "waiting for the freeze",
		"waiting for the thaw", "waiting for the end of the copy",
		"waiting for the end of the backup", "failed to say what it has", "failed to prepare",
		"failed to prepare for the copy", "failed to freeze", "failed to thaw",
		"failed after the copy", "failed at the end of the backup", "failed before a restore",
		"failed after a restore", "failed at its shutdown"};

	return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

/* Asks all of them. VSS has forgotten those that answered nothing: they are there with a failure. */
static HRESULT ask_writers(struct job *j)
{
	IVssAsync *async = NULL;
	UINT count = 0;

	j->writer_count = 0;
	if (j->words.writers == COPY_WRITERS_NONE)
		return S_OK;
	HRESULT hr = IVssBackupComponents_GatherWriterStatus(j->backup, &async);
	hr = requester_wait(hr, async, REQUESTER_CANCELS);
	if (SUCCEEDED(hr))
		hr = IVssBackupComponents_GetWriterStatusCount(j->backup, &count);
	for (UINT i = 0; SUCCEEDED(hr) && i < count && j->writer_count < WRITERS_MAX; i++) {
		struct writer *w = &j->writers[j->writer_count++];
		GUID instance, id;
		BSTR name = NULL;
		memset(w, 0, sizeof(*w));
		hr = IVssBackupComponents_GetWriterStatus(
			j->backup, i, &instance, &id, &name, &w->state, &w->failure);
		_snwprintf(w->name, NAME_CHARS - 1, L"%ls", name ? name : L"?");
		SysFreeString(name);
	}
	IVssBackupComponents_FreeWriterStatus(j->backup);
	return hr;
}

/* Is one of those failed, or missing, that must not be? Says all on stderr. */
static bool writers_are_well(struct job *j)
{
	bool well = true;
	char name[TEXT_BYTES];
	WCHAR wanted[NAME_CHARS];

	for (unsigned i = 0; i < j->writer_count; i++) {
		const struct writer *w = &j->writers[i];
		if (!writer_failed(w))
			continue;
		bool counts = j->words.writers == COPY_WRITERS_ALL ||
			      (j->words.writers == COPY_WRITERS_NAMED &&
				      copy_names_writer(j->words.writer_names, w->name));
		copies_utf8(w->name, name, sizeof(name));
		refusal_say("the writer \"%s\" %s (error 0x%08lx). %s", name, state_name(w->state),
			(unsigned long)w->failure,
			w->failure == VSS_E_WRITERERROR_RETRYABLE
				? "Try again."
				: "The Application log has its reason; restart its service (\"vssadmin list writers\").");
		well = well && !counts;
	}
	for (unsigned n = 0; j->words.writers == COPY_WRITERS_NAMED &&
			     copy_writer_at(j->words.writer_names, n, wanted, NAME_CHARS);
		n++) {
		unsigned i = 0;
		while (i < j->writer_count && _wcsicmp(j->writers[i].name, wanted) != 0)
			i++;
		if (i < j->writer_count)
			continue;
		copies_utf8(wanted, name, sizeof(name));
		refusal_say(
			"there is no writer \"%s\": \"vssadmin list writers\" has their names; is its service "
			"running?",
			name);
		well = false;
	}
	return well;
}

static unsigned failed_writers(const struct job *j)
{
	unsigned count = 0;

	for (unsigned i = 0; i < j->writer_count; i++)
		count += writer_failed(&j->writers[i]);
	return count;
}

/* ---- the set ------------------------------------------------------------------------------------------ */

/* A volume's own name, which is the same whatever it is mounted at; else, and VSS will say what it thinks of it, the root
 * that was named. */
static void name_volume(const WCHAR *word, WCHAR out[BOOK_VOLUME_CHARS])
{
	WCHAR root[MAX_PATH];
	size_t len = wcslen(word);

	_snwprintf(root, MAX_PATH - 1, L"%ls%ls", word, len && word[len - 1] == L'\\' ? L"" : L"\\");
	root[MAX_PATH - 1] = L'\0';
	if (!GetVolumeNameForVolumeMountPointW(root, out, BOOK_VOLUME_CHARS)) {
		_snwprintf(out, BOOK_VOLUME_CHARS - 1, L"%ls", root);
		out[BOOK_VOLUME_CHARS - 1] = L'\0';
	}
}

static bool fail(const char *what, HRESULT hr)
{
	requester_complain(what, hr);
	return false;
}

static bool fail_volume(const struct job *j, unsigned n, HRESULT hr)
{
	char text[TEXT_BYTES];

	copies_utf8(j->words.volumes[n], text, sizeof(text));
	return fail(text, hr);
}

static void lap(struct job *j, enum phase phase, ULONGLONG *since)
{
	ULONGLONG now = GetTickCount64();

	j->ms[phase] += now - *since;
	*since = now;
}

/* Another program's set ends some time; then it is this one's turn. */
static HRESULT start_set(struct job *j)
{
	ULONGLONG begun = GetTickCount64();
	HRESULT hr;

	do {
		hr = IVssBackupComponents_StartSnapshotSet(j->backup, &j->set);
		if (hr != VSS_E_SNAPSHOT_SET_IN_PROGRESS || requester_stopped())
			break;
		Sleep(TURN_PAUSE);
	} while (GetTickCount64() - begun < TURN_MS);
	return hr;
}

static bool add_volumes(struct job *j)
{
	for (unsigned i = 0; i < j->words.volume_count; i++) {
		name_volume(j->words.volumes[i], j->entry.volumes[i]);
		HRESULT hr = IVssBackupComponents_AddToSnapshotSet(
			j->backup, j->entry.volumes[i], UMBRA_PROVIDER_ID, &j->entry.snapshots[i]);
		if (FAILED(hr))
			return fail_volume(j, i, hr);
		if (requester_stopped())
			return fail("copy", REQUESTER_STOPPED);
	}
	j->entry.count = j->words.volume_count;
	return true;
}

static LONG context_of(const struct job *j)
{
	LONG base = j->words.writers == COPY_WRITERS_NONE ? VSS_CTX_NAS_ROLLBACK : VSS_CTX_APP_ROLLBACK;

	return base | VSS_VOLSNAP_ATTR_TRANSPORTABLE;
}

/* A copy beside other backups: nobody's logs are cut, nobody's bits are reset. No writer chooses components: all whose files
 * lie on the volumes take part. */
static bool prepare(struct job *j)
{
	IVssAsync *async = NULL;
	ULONGLONG since = GetTickCount64();
	bool writers = j->words.writers != COPY_WRITERS_NONE;
	HRESULT hr = requester_open(NULL, context_of(j), &j->backup);

	if (SUCCEEDED(hr))
		hr = IVssBackupComponents_SetBackupState(j->backup, FALSE, FALSE, VSS_BT_COPY, FALSE);
	if (SUCCEEDED(hr) && writers) {
		hr = IVssBackupComponents_GatherWriterMetadata(j->backup, &async);
		hr = requester_wait(hr, async, REQUESTER_CANCELS);
	}
	if (FAILED(hr))
		return fail("VSS", hr);
	lap(j, PHASE_WRITERS, &since);
	hr = start_set(j);
	if (FAILED(hr))
		return fail("StartSnapshotSet", hr);
	j->began = true;
	if (!add_volumes(j))
		return false;
	async = NULL;
	if (writers) {
		hr = IVssBackupComponents_PrepareForBackup(j->backup, &async);
		hr = requester_wait(hr, async, REQUESTER_CANCELS);
		if (SUCCEEDED(hr))
			hr = ask_writers(j);
		if (FAILED(hr))
			return fail("the writers", hr);
		if (!writers_are_well(j))
			return false;
	}
	lap(j, PHASE_PREPARE, &since);
	return true;
}

/* The label is there before the copy: whatever ends this program behind DoSnapshotSet, the copy has it. */
static bool note(struct job *j)
{
	FILETIME now;

	GetSystemTimeAsFileTime(&now);
	j->entry.made_unix_ms =
		(((uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime) - 116444736000000000ull) / 10000;
	if (j->words.label)
		wcscpy_s(j->entry.label, COPY_LABEL_CHARS, j->words.label);
	j->entry.exported = j->words.document != NULL;
	HRESULT hr = book_write(&j->set, &j->entry);
	if (FAILED(hr))
		return fail("HKLM\\SOFTWARE\\Umbra\\Copies", hr);
	if (j->words.label && !copy_tell_label(&j->set, j->words.label)) {
		refusal_say(
			"the array does not know the label: what it does by labels will not count this copy.");
		j->half = true;
	}
	return true;
}

static bool make(struct job *j)
{
	IVssAsync *async = NULL;
	ULONGLONG since = GetTickCount64();
	HRESULT hr = IVssBackupComponents_DoSnapshotSet(j->backup, &async);

	hr = requester_wait(hr, async, REQUESTER_CANCELS);
	j->unsure = hr == HRESULT_FROM_WIN32(ERROR_TIMEOUT);
	if (FAILED(hr))
		return fail("DoSnapshotSet", hr);
	j->made = true;
	lap(j, PHASE_SNAPSHOT, &since);
	hr = IVssBackupComponents_SaveAsXML(j->backup, &j->entry.document);
	if (SUCCEEDED(hr))
		hr = book_write(&j->set, &j->entry);
	if (FAILED(hr))
		return fail("the copy's document", hr);
	hr = ask_writers(j);
	if (FAILED(hr))
		return fail("the writers", hr);
	if (!writers_are_well(j))
		return false;
	return requester_stopped() ? fail("copy", REQUESTER_STOPPED) : true;
}

/* Where each lies now. */
static bool find_devices(struct job *j)
{
	struct shadow_list list;
	unsigned found = 0;
	HRESULT hr = requester_list(&list);

	for (unsigned i = 0; SUCCEEDED(hr) && i < list.count; i++)
		for (unsigned k = 0; k < j->entry.count; k++) {
			if (!IsEqualGUID(&list.items[i].id, &j->entry.snapshots[k]))
				continue;
			_snwprintf(j->devices[k], BOOK_VOLUME_CHARS - 1, L"%ls", list.items[i].device);
			if (*list.items[i].volume && wcslen(list.items[i].volume) < BOOK_VOLUME_CHARS)
				wcscpy_s(j->entry.volumes[k], BOOK_VOLUME_CHARS, list.items[i].volume);
			found++;
		}
	requester_list_free(&list);
	if (SUCCEEDED(hr) && found < j->entry.count)
		hr = VSS_E_SOME_SNAPSHOTS_NOT_IMPORTED;
	return SUCCEEDED(hr) ? true : fail("the imported copy", hr);
}

static bool import(struct job *j)
{
	ULONGLONG since = GetTickCount64();

	if (j->words.document) {
		HRESULT hr = requester_write_file(j->words.document, j->entry.document);
		return SUCCEEDED(hr) ? true : fail("the file of the document", hr);
	}
	HRESULT hr = requester_import(j->entry.document);
	if (FAILED(hr))
		return fail("ImportSnapshots", hr);
	j->imported = true;
	lap(j, PHASE_IMPORT, &since);
	if (!find_devices(j))
		return false;
	hr = book_write(&j->set, &j->entry); /* with the volumes as VSS calls them */
	if (FAILED(hr))
		return fail("HKLM\\SOFTWARE\\Umbra\\Copies", hr);
	return requester_stopped() ? fail("copy", REQUESTER_STOPPED) : true;
}

/* ---- the end ------------------------------------------------------------------------------------------ */

/* What is there of it goes. VSS deletes only what it has imported. */
static void take_back(struct job *j)
{
	HRESULT hr = S_OK;

	if (j->began)
		IVssBackupComponents_AbortBackup(j->backup); /* tells the writers, too */
	if (j->made) {
		if (!j->imported)
			hr = j->entry.document ? requester_import(j->entry.document) : E_UNEXPECTED;
		if (SUCCEEDED(hr) || j->imported)
			hr = requester_delete(&j->set);
	}
	if (SUCCEEDED(hr) && !j->unsure) {
		book_forget(&j->set);
		refusal_say("there is no copy, and nothing is left of it.");
		return;
	}
	if (FAILED(hr))
		requester_complain("deleting what was made of the copy", hr);
	refusal_say(
		"there may be something left: \"umbra-vss copies\", then \"umbra-vss delete ID\"; if it is not among them, \"umbra-vss "
		"orphans\".");
}

static void complete(struct job *j)
{
	IVssAsync *async = NULL;

	if (j->words.writers != COPY_WRITERS_NONE) {
		HRESULT hr = IVssBackupComponents_BackupComplete(j->backup, &async);
		hr = requester_wait(hr, async, REQUESTER_BOUNDED);
		if (FAILED(hr)) {
			requester_complain("BackupComplete, which ends it for the writers", hr);
			j->half = true;
		}
	}
	j->has_cost = copy_ask_cost(&j->set, &j->cost);
	if (j->words.keep_given && j->words.writers == COPY_WRITERS_ANY && failed_writers(j))
		refusal_say("no copy was deleted for --keep: a writer failed.");
	else if (j->words.keep_given && !copies_prune(&j->words.keep, &j->entry, &j->set, &j->gone, &j->stay))
		j->half = true;
	if (failed_writers(j))
		j->half = true;
}

static void print_text(const struct job *j)
{
	WCHAR id[40];
	char text[TEXT_BYTES];

	StringFromGUID2(&j->set, id, 40);
	printf("%ls", id);
	for (unsigned i = 0; i < j->entry.count; i++) {
		copies_volume_text(j->entry.volumes[i], text, sizeof(text));
		printf(" %s", text);
	}
	if (j->words.label) {
		copies_utf8(j->words.label, text, sizeof(text));
		printf(" \"%s\"", text);
	}
	if (j->words.writers == COPY_WRITERS_NONE)
		printf(": without writers");
	else if (failed_writers(j))
		printf(": %u of %u writers failed", failed_writers(j), j->writer_count);
	else
		printf(": application-consistent, %u writer%s", j->writer_count,
			j->writer_count == 1 ? "" : "s");
	for (size_t i = 0; i < PHASES; i++)
		if (i != PHASE_IMPORT || j->imported)
			printf("%s %s %llu ms", i ? "," : ";", phase_names[i], j->ms[i]);
	if (j->has_cost)
		printf("; applications frozen %.1f ms, I/O held %.1f ms", (double)j->cost.frozen_us / 1000,
			(double)set_cost_held_us(&j->cost) / 1000);
	if (j->words.keep_given)
		printf("; %u kept, %u deleted", j->stay, j->gone);
	putchar('\n');
}

static void print_writers(const struct job *j)
{
	char text[TEXT_BYTES];

	printf(", \"application_consistent\": %s, \"writers\": [",
		j->words.writers != COPY_WRITERS_NONE && !failed_writers(j) ? "true" : "false");
	for (unsigned i = 0; i < j->writer_count; i++) {
		copies_utf8(j->writers[i].name, text, sizeof(text));
		printf("%s{\"name\": ", i ? ", " : "");
		output_json_string(stdout, text);
		printf(", \"state\": \"%s\", \"failed\": %s, \"hresult\": \"0x%08lx\"}",
			state_name(j->writers[i].state), writer_failed(&j->writers[i]) ? "true" : "false",
			(unsigned long)j->writers[i].failure);
	}
	printf("]");
}

static void print_json(const struct job *j, int code)
{
	WCHAR id[40];
	char text[TEXT_BYTES];

	StringFromGUID2(&j->set, id, 40);
	printf("{\"exit_code\": %d, \"made\": %s", code, code == 0 || code == EXIT_HALF ? "true" : "false");
	if (j->began)
		printf(", \"set\": \"%ls\"", id);
	copies_utf8(j->words.label, text, sizeof(text));
	printf(", \"label\": ");
	output_json_string(stdout, j->words.label ? text : NULL);
	printf(", \"copies\": [");
	for (unsigned i = 0; i < j->entry.count; i++) {
		StringFromGUID2(&j->entry.snapshots[i], id, 40);
		copies_volume_text(j->entry.volumes[i], text, sizeof(text));
		printf("%s{\"copy\": \"%ls\", \"volume\": ", i ? ", " : "", id);
		output_json_string(stdout, text);
		copies_utf8(j->devices[i], text, sizeof(text));
		printf(", \"device\": ");
		output_json_string(stdout, *text ? text : NULL);
		printf("}");
	}
	printf("]");
	print_writers(j);
	printf(", \"phases_ms\": {");
	for (size_t i = 0; i < PHASES; i++)
		printf("%s\"%s\": %llu", i ? ", " : "", phase_names[i], j->ms[i]);
	printf("}, \"cost_us\": ");
	if (j->has_cost)
		printf("{\"frozen\": %llu, \"flush\": %llu, \"commit\": %llu, \"release\": %llu}",
			(unsigned long long)j->cost.frozen_us, (unsigned long long)j->cost.flush_us,
			(unsigned long long)j->cost.commit_us, (unsigned long long)j->cost.release_us);
	else
		printf("null");
	printf(", \"kept\": %u, \"deleted\": %u}\n", j->stay, j->gone);
}

static int work(struct job *j)
{
	int code = 1;

	if (prepare(j) && note(j) && make(j) && import(j)) {
		complete(j);
		code = j->half ? EXIT_HALF : 0;
	} else {
		take_back(j);
	}
	if (j->backup)
		IVssBackupComponents_Release(j->backup);
	SysFreeString(j->entry.document);
	if (j->words.json)
		print_json(j, code);
	else if (code != 1)
		print_text(j);
	return code;
}

int copy_run(int count, WCHAR **words)
{
	static struct job job;
	const char *why = copy_parse(count, words, &job.words);

	if (why) {
		return refusal_words(why, usage);
	}
	int code = requester_begin() ? work(&job) : 1;
	requester_end();
	return code;
}
