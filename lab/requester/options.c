/* SPDX-License-Identifier: Apache-2.0 */
/* See options.h: the lab's own verbs and their options, and those that every language takes. */
#include "lab/requester/options.h"

#include <errno.h>
#include <objbase.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vss.h>
#include <wchar.h>

const char options_usage[] =
	"usage: umbra-lab-requester VERB ...\n"
	"  create --lun N[,N...] [--lun ...]   make a shadow copy set; each --lun is one volume, on one or "
	"several LUNs\n"
	"      (N: LUN number on the SCSI port; dN: \\\\.\\PHYSICALDRIVE<N>)\n"
	"      --transportable FILE   write the document FILE for another host's import instead of importing "
	"here\n"
	"      --context NAME[,NAME]  differential, plex, no-writers, persistent, no-auto-release, recovery,\n"
	"                             no-auto-recovery, client-accessible, app-rollback, nas-rollback, or 0xHEX\n"
	"      --hold-ms N            hold the writers N ms longer than needed\n"
	"      --targets-after post-commit|final   when to call GetTargetLuns (default post-commit)\n"
	"      --no-import            stop after GetTargetLuns\n"
	"      --any-context          ask hardware providers even where VSS itself would refuse the context\n"
	"      --document FILE        write the document also without --transportable\n"
	"  import FILE                import a transportable set on this host\n"
	"  list                       sets imported on this host\n"
	"  break SET [--mask] [--read-write] [--revert all|none]   make ordinary disks of an imported set\n"
	"  mask SET                   hide an imported set from this host; VSS forgets it, the array keeps it\n"
	"  resync FILE --snapshot SNAPSHOT[,TARGET] ...   copy shadow LUNs of the document FILE back onto their\n"
	"      originals, or onto the LUN TARGET (as in --lun)\n"
	"      --revert-identity      with the original's disk identity instead of the target's own\n"
	"      --no-volume-check      also where a volume that is not named gets lost\n"
	"      --cancel-after-ms N    cancel it then\n"
	"      --release-early        let go of the provider's IVssAsync at once\n"
	"  expose SNAPSHOT X:, unexpose SNAPSHOT   give a shadow copy a name\n"
	"  delete SET                 delete an imported set, SET as list shows it\n"
	"  delete-one SNAPSHOT, delete-oldest N, delete-all   one shadow copy; the oldest of LUN N; every set\n"
	"  scan                       the disks of this host's SCSI port as VSS sees them\n"
	"  providers                  registered providers\n"
	"  unload [--force]           OnUnload to the loaded providers\n"
	"every verb: --json (everything, for programs), --calls (each call to the provider), --provider ID (this "
	"one\n"
	"instead of the first that supports the volumes), --abandon-after METHOD (the requester is gone after the\n"
	"provider's METHOD: no AbortSnapshots), --abort-after METHOD, --unload (OnUnload at the end), --seed N (vary\n"
	"what VSS is free to do), --stagger-ms N (so much of the hold has passed before the last volume's), --help.\n"
	"Ends 0, 1 (failed, with the reason) or 2 (wrong usage).\n";

static bool is(const wchar_t *a, const wchar_t *b)
{
	return wcscmp(a, b) == 0;
}

bool options_number(const wchar_t *text, const wchar_t **end, LONG *out)
{
	wchar_t *stop;
	if (*text < L'0' || *text > L'9')
		return false;
	errno = 0;
	unsigned long value = wcstoul(text, &stop, 10);
	if (errno || value > 0x7fffffff)
		return false;
	*end = stop;
	*out = (LONG)value;
	return true;
}

bool options_add_volume(struct options *o, const wchar_t *text)
{
	for (;;) {
		if (o->create.count == MAX_VOLUME_LUNS)
			return false;
		LAB_VOLUME_LUN *l = &o->luns[o->create.count++];
		l->volume = o->volumes;
		l->by_drive = *text == L'd';
		if (!options_number(text + (l->by_drive ? 1 : 0), &text, &l->number))
			return false;
		if (*text == 0)
			break;
		if (*text++ != L',')
			return false;
	}
	o->volumes++;
	return true;
}

static bool options_add_context(struct options *o, const wchar_t *text)
{
	static const struct {
		const wchar_t *name;
		LONG bits;
	} names[] = {{L"backup", VSS_CTX_BACKUP}, {L"differential", VSS_VOLSNAP_ATTR_DIFFERENTIAL},
		{L"plex", VSS_VOLSNAP_ATTR_PLEX}, {L"no-writers", VSS_VOLSNAP_ATTR_NO_WRITERS},
		{L"persistent", VSS_VOLSNAP_ATTR_PERSISTENT | VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE},
		{L"no-auto-release", VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE},
		{L"recovery", VSS_VOLSNAP_ATTR_TXF_RECOVERY},
		{L"no-auto-recovery", VSS_VOLSNAP_ATTR_NO_AUTORECOVERY},
		{L"client-accessible", VSS_CTX_CLIENT_ACCESSIBLE}, {L"app-rollback", VSS_CTX_APP_ROLLBACK},
		{L"nas-rollback", VSS_CTX_NAS_ROLLBACK}};
	while (*text) {
		size_t len = wcscspn(text, L","), i = 0;
		for (; i < sizeof names / sizeof names[0]; i++)
			if (wcslen(names[i].name) == len && wcsncmp(text, names[i].name, len) == 0)
				break;
		if (i < sizeof names / sizeof names[0]) {
			o->create.context |= names[i].bits;
		} else {
			wchar_t *stop;
			if (wcsncmp(text, L"0x", 2) != 0)
				return false;
			o->create.context |= (LONG)wcstoul(text + 2, &stop, 16);
			if (stop != text + len)
				return false;
		}
		text += len;
		if (*text == L',')
			text++;
	}
	return true;
}

void options_init(struct options *o)
{
	memset(o, 0, sizeof *o);
	o->stagger_ms = -1;
	o->cancel_after_ms = -1;
	o->create.luns = o->luns;
	o->resync.targets = o->targets;
}

bool options_add_target(struct options *o, const wchar_t *text)
{
	wchar_t id[40] = {0};
	size_t len = wcscspn(text, L",");
	if (o->resync.count == MAX_TARGETS || len > 38)
		return false;
	memcpy(id, text, len * sizeof *id);
	LAB_RESYNC_TARGET *t = &o->targets[o->resync.count++];
	const wchar_t *at = text[len] ? text + len + 1 : NULL;
	t->to_original = at == NULL;
	t->by_drive = at && *at == L'd';
	return CLSIDFromString(id, &t->snapshot_id) == S_OK &&
	       (!at || (options_number(at + (t->by_drive ? 1 : 0), &at, &t->number) && *at == 0));
}

int options_common(struct options *o, int left, wchar_t **argv)
{
	const wchar_t *name = argv[0], *value = left > 1 ? argv[1] : NULL;
	bool *plain = is(name, L"--json")     ? &o->json
		      : is(name, L"--calls")  ? &o->calls
		      : is(name, L"--unload") ? &o->unload
		      : is(name, L"--force")  ? &o->force
		      : is(name, L"--help")   ? &o->help
					      : NULL;
	bool abandon = is(name, L"--abandon-after"), abort = is(name, L"--abort-after");
	if (plain) {
		*plain = true;
		if (o->unload)
			o->create.flags |= LAB_UNLOAD_AFTER;
		return 1;
	}
	const wchar_t *end;
	if (is(name, L"--seed") || is(name, L"--stagger-ms")) {
		bool good = value &&
			    options_number(value, &end, is(name, L"--seed") ? &o->seed : &o->stagger_ms) &&
			    *end == 0;
		return good ? 2 : -1;
	}
	if (is(name, L"--provider"))
		return value && CLSIDFromString(value, &o->create.provider_id) == S_OK ? 2 : -1;
	if (!abandon && !abort)
		return 0;
	o->create.stop = abandon ? LAB_STOP_ABANDON : LAB_STOP_ABORT;
	o->create.stop_after = (wchar_t *)(uintptr_t)value;
	return value ? 2 : -1;
}

/* Options of the lab's own verbs that take a value; false: unknown, or a bad value. */
static bool valued_option(struct options *o, const wchar_t *name, const wchar_t *value)
{
	const wchar_t *end;
	if (is(name, L"--lun"))
		return options_add_volume(o, value);
	if (is(name, L"--context"))
		return options_add_context(o, value);
	if (is(name, L"--snapshot"))
		return options_add_target(o, value);
	if (is(name, L"--hold-ms"))
		return options_number(value, &end, &o->create.hold_ms) && *end == 0;
	if (is(name, L"--cancel-after-ms"))
		return options_number(value, &end, &o->cancel_after_ms) && *end == 0;
	if (is(name, L"--transportable") || is(name, L"--document")) {
		*(name[2] == L't' ? &o->transportable : &o->document) = value;
		return true;
	}
	if (is(name, L"--targets-after")) {
		o->create.flags |= is(value, L"final") ? LAB_TARGETS_AFTER_FINAL : LAB_TARGETS_AFTER_COMMIT;
		return is(value, L"final") || is(value, L"post-commit");
	}
	if (is(name, L"--revert")) {
		o->break_flags |= is(value, L"all") ? VSS_BREAKEX_FLAG_REVERT_IDENTITY_ALL
						    : VSS_BREAKEX_FLAG_REVERT_IDENTITY_NONE;
		return is(value, L"all") || is(value, L"none");
	}
	return false;
}

static bool plain_option(struct options *o, const wchar_t *name)
{
	static const struct {
		const wchar_t *name;
		size_t member;
		LONG bits;
	} flags[] = {{L"--no-import", offsetof(struct options, create.flags), LAB_NO_IMPORT},
		{L"--any-context", offsetof(struct options, create.flags), LAB_ANY_CONTEXT},
		{L"--mask", offsetof(struct options, break_flags), VSS_BREAKEX_FLAG_MASK_LUNS},
		{L"--read-write", offsetof(struct options, break_flags), VSS_BREAKEX_FLAG_MAKE_READ_WRITE},
		{L"--revert-identity", offsetof(struct options, resync.options),
			VSS_RECOVERY_REVERT_IDENTITY_ALL},
		{L"--no-volume-check", offsetof(struct options, resync.options),
			VSS_RECOVERY_NO_VOLUME_CHECK},
		{L"--release-early", offsetof(struct options, resync.release_early), 1}};
	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
		if (is(name, flags[i].name)) {
			*(LONG *)(void *)((char *)o + flags[i].member) |= flags[i].bits;
			return true;
		}
	return false;
}

/* A word that is no option: what the verb is about. */
static bool operand(struct options *o, const wchar_t *word)
{
	const wchar_t *end;
	if (o->verb == VERB_DISKSHADOW && !o->file &&
		(_wcsicmp(word, L"-s") == 0 || _wcsicmp(word, L"/s") == 0))
		return true;
	if (o->verb == VERB_DISKSHADOW || o->verb == VERB_IMPORT || o->verb == VERB_RESYNC) {
		bool first = !o->file;
		o->file = word;
		return first;
	}
	if (o->verb == VERB_DELETE_OLDEST)
		return options_number(word, &end, &o->lun) && *end == 0;
	if (o->verb == VERB_EXPOSE && o->has_id && !o->name) {
		o->name = word;
		return true;
	}
	bool wanted = o->verb == VERB_DELETE || o->verb == VERB_DELETE_ONE || o->verb == VERB_BREAK ||
		      o->verb == VERB_EXPOSE;
	bool first = !o->has_id;
	o->has_id = wanted && CLSIDFromString(word, &o->id) == S_OK;
	return first && o->has_id;
}

/* diskshadow's /l FILE. As options_common. */
static int log_option(struct options *o, int left, wchar_t **argv)
{
	if (o->verb != VERB_DISKSHADOW || (_wcsicmp(argv[0], L"-l") != 0 && _wcsicmp(argv[0], L"/l") != 0))
		return 0;
	if (left < 2 || o->log)
		return -1;
	o->log = argv[1];
	return 2;
}

bool options_parse(struct options *o, int argc, wchar_t **argv)
{
	for (int i = 2; i < argc;) {
		int took = options_common(o, argc - i, argv + i);
		if (took == 0)
			took = log_option(o, argc - i, argv + i);
		if (took == 0 && wcsncmp(argv[i], L"--", 2) != 0)
			took = operand(o, argv[i]) ? 1 : -1;
		else if (took == 0 && plain_option(o, argv[i]))
			took = 1;
		else if (took == 0)
			took = i + 1 < argc && valued_option(o, argv[i], argv[i + 1]) ? 2 : -1;
		if (took < 0) {
			fwprintf(stderr, L"umbra-lab-requester: %ls: unknown, or a wrong value\n", argv[i]);
			return false;
		}
		i += took;
	}
	if (o->transportable)
		o->create.context |= VSS_VOLSNAP_ATTR_TRANSPORTABLE;
	return true;
}

const char *options_incomplete(const struct options *o)
{
	if (o->verb == VERB_CREATE && !o->create.count)
		return "create needs at least one --lun";
	if ((o->verb == VERB_IMPORT || o->verb == VERB_RESYNC) && !o->file)
		return "the document's FILE is missing";
	if (o->verb == VERB_DISKSHADOW && !o->file)
		return "diskshadow needs -s FILE, a script";
	if (o->verb == VERB_RESYNC && !o->resync.count)
		return "resync needs at least one --snapshot";
	if ((o->verb == VERB_DELETE || o->verb == VERB_BREAK) && !o->has_id)
		return "a SET is missing, as {xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}";
	if ((o->verb == VERB_DELETE_ONE || o->verb == VERB_EXPOSE) && !o->has_id)
		return "a SNAPSHOT is missing, as {xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}";
	if (o->verb == VERB_EXPOSE && !o->name)
		return "expose needs a name, as X:";
	return NULL;
}
