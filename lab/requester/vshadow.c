/* SPDX-License-Identifier: Apache-2.0 */
/* vshadow's switches, for those who know them: one table. A volume is named by its LUN numbers, as in --lun. */
#include "lab/requester/options.h"

#include <objbase.h>
#include <stdio.h>
#include <string.h>
#include <vss.h>
#include <wchar.h>

const char vshadow_usage[] =
	"or, as vshadow has it: umbra-lab-requester [SWITCH...] VOLUME...   (VOLUME: N[,N...] or dN)\n"
	"  -p        persistent                      -nw       no writers\n"
	"  -ad       differential                    -ap       plex\n"
	"  -tr       with (TxF) auto-recovery        -nar      no auto-recovery\n"
	"  -t=FILE   transportable, the document     -bc=FILE  the document of one that is not\n"
	"  -script=FILE  a .cmd with the ids as variables   -exec=FILE  run this afterwards   -wait  for ENTER\n"
	"  -wi=WRITER, -wx=WRITER, -tracing   accepted: there are no VSS writers here, and calls are told by --calls\n"
	"  umbra-lab-requester SWITCH...\n"
	"  -i=FILE   import                          -q        list all; -qx=SET, -s=SNAPSHOT: one\n"
	"  -b=SET    break, stays read-only          -bw=SET   break, writable\n"
	"  -bex=SET  BreakSnapshotSetEx, with -mask (mask the LUNs), -rw (read-write), -forcerevert (all disk\n"
	"            identities or nothing), -norevert (none)\n"
	"  -addresync=SNAPSHOT[,TARGET] ... -resync=FILE [-revertsig] [-novolcheck]   resync the LUNs\n"
	"  -dx=SET   delete a set                    -ds=SNAPSHOT  one shadow copy\n"
	"  -do=N     the oldest of LUN N             -da           all\n"
	"  -el=SNAPSHOT,X:  expose                   -ul=SNAPSHOT  no longer\n";

enum kind {
	CONTEXT_BITS, /* bits for the context */
	BREAK_BITS,   /* bits for BreakSnapshotSetEx */
	RECOVER_BITS, /* bits for RecoverSet */
	TRANSPORTABLE,
	DOCUMENT,
	SOURCE, /* the file that the verb reads */
	SET,    /* the set that the verb is about */
	SNAPSHOT,
	EXPOSED, /* SNAPSHOT,NAME */
	VOLUME,
	TARGET,
	SCRIPT,
	COMMAND,
	WRITER,
	ALONE, /* those from here on take no value */
	WAIT,
	TRACING
};

static const struct {
	const wchar_t *name;
	enum kind kind;
	enum verb verb; /* VERB_NONE: it only qualifies one */
	LONG bits;
} switches[] = {
	{L"-p", CONTEXT_BITS, VERB_NONE, VSS_VOLSNAP_ATTR_PERSISTENT | VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE},
	{L"-nw", CONTEXT_BITS, VERB_NONE, VSS_VOLSNAP_ATTR_NO_WRITERS},
	{L"-ad", CONTEXT_BITS, VERB_NONE, VSS_VOLSNAP_ATTR_DIFFERENTIAL},
	{L"-ap", CONTEXT_BITS, VERB_NONE, VSS_VOLSNAP_ATTR_PLEX},
	{L"-tr", CONTEXT_BITS, VERB_NONE, VSS_VOLSNAP_ATTR_TXF_RECOVERY},
	{L"-nar", CONTEXT_BITS, VERB_NONE, VSS_VOLSNAP_ATTR_NO_AUTORECOVERY},
	{L"-t", TRANSPORTABLE, VERB_NONE, VSS_VOLSNAP_ATTR_TRANSPORTABLE}, {L"-bc", DOCUMENT, VERB_NONE, 0},
	{L"-script", SCRIPT, VERB_NONE, 0}, {L"-exec", COMMAND, VERB_NONE, 0}, {L"-wi", WRITER, VERB_NONE, 0},
	{L"-wx", WRITER, VERB_NONE, 0}, {L"-wait", WAIT, VERB_NONE, 0}, {L"-tracing", TRACING, VERB_NONE, 0},
	{L"-mask", BREAK_BITS, VERB_NONE, VSS_BREAKEX_FLAG_MASK_LUNS},
	{L"-rw", BREAK_BITS, VERB_NONE, VSS_BREAKEX_FLAG_MAKE_READ_WRITE},
	{L"-forcerevert", BREAK_BITS, VERB_NONE, VSS_BREAKEX_FLAG_REVERT_IDENTITY_ALL},
	{L"-norevert", BREAK_BITS, VERB_NONE, VSS_BREAKEX_FLAG_REVERT_IDENTITY_NONE},
	{L"-revertsig", RECOVER_BITS, VERB_NONE, VSS_RECOVERY_REVERT_IDENTITY_ALL},
	{L"-novolcheck", RECOVER_BITS, VERB_NONE, VSS_RECOVERY_NO_VOLUME_CHECK},
	{L"-addresync", TARGET, VERB_NONE, 0}, {L"-resync", SOURCE, VERB_RESYNC, 0},
	{L"-i", SOURCE, VERB_IMPORT, 0}, {L"-b", SET, VERB_BREAK, 0}, {L"-bex", SET, VERB_BREAK, 0},
	{L"-bw", SET, VERB_BREAK, LAB_WRITABLE_LATER}, {L"-q", ALONE, VERB_LIST, 0},
	{L"-qx", SET, VERB_LIST, 0}, {L"-s", SNAPSHOT, VERB_LIST, 0}, {L"-dx", SET, VERB_DELETE, 0},
	{L"-ds", SNAPSHOT, VERB_DELETE_ONE, 0}, {L"-do", VOLUME, VERB_DELETE_OLDEST, 0},
	{L"-da", ALONE, VERB_DELETE_ALL, 0}, {L"-el", EXPOSED, VERB_EXPOSE, 0},
	{L"-ul", SNAPSHOT, VERB_EXPOSE, 0}};

#define SWITCHES (sizeof switches / sizeof switches[0])

bool vshadow_speaks(const wchar_t *first)
{
	bool is_switch = first[0] == L'-' && first[1] && first[1] != L'-';
	return is_switch || wcscspn(first, L"0123456789") == 0 ||
	       (first[0] == L'd' && first[1] && wcscspn(first + 1, L"0123456789") == 0);
}

static bool id_of(struct options *o, const wchar_t *text, bool is_snapshot)
{
	o->has_id = CLSIDFromString(text, &o->id) == S_OK;
	o->id_is_snapshot = is_snapshot;
	return o->has_id;
}

/* SNAPSHOT,NAME */
static bool exposed(struct options *o, const wchar_t *value)
{
	wchar_t id[40] = {0};
	const wchar_t *comma = wcschr(value, L',');
	if (!comma || comma - value > 38 || !comma[1])
		return false;
	memcpy(id, value, (size_t)(comma - value) * sizeof *id);
	o->name = comma + 1;
	return id_of(o, id, true);
}

static bool take(struct options *o, size_t at, const wchar_t *value)
{
	const wchar_t *end;
	LONG bits = switches[at].bits;
	bool plain = switches[at].kind <= RECOVER_BITS || switches[at].kind >= ALONE;
	if (plain != (value == NULL) || (value && !*value))
		return false;
	switch (switches[at].kind) {
	case CONTEXT_BITS:
		o->create.context |= bits;
		return true;
	case BREAK_BITS:
		o->break_flags |= bits;
		return true;
	case RECOVER_BITS:
		o->resync.options |= bits;
		return true;
	case TRANSPORTABLE:
		o->create.context |= bits;
		o->transportable = value;
		return true;
	case DOCUMENT:
		o->document = value;
		return true;
	case SOURCE:
		o->file = value;
		return true;
	case SET:
		o->late_flags |= bits;
		return id_of(o, value, false);
	case SNAPSHOT:
		o->name = L"";
		return id_of(o, value, true);
	case EXPOSED:
		return exposed(o, value);
	case VOLUME:
		return options_number(value, &end, &o->lun) && *end == 0;
	case TARGET:
		return options_add_target(o, value);
	case SCRIPT:
		o->script = value;
		return true;
	case COMMAND:
		o->command = value;
		return true;
	case WRITER:
		return o->names_writers = true;
	case WAIT:
		return o->wait = true;
	default:
		return true;
	}
}

static bool parse_switch(struct options *o, const wchar_t *word)
{
	size_t len = wcscspn(word, L"=");
	for (size_t i = 0; i < SWITCHES; i++) {
		if (wcslen(switches[i].name) != len || wcsncmp(switches[i].name, word, len) != 0)
			continue;
		if (switches[i].verb != VERB_NONE && o->verb != VERB_NONE)
			return false; /* one at a time */
		if (switches[i].verb != VERB_NONE)
			o->verb = switches[i].verb;
		return take(o, i, word[len] ? word + len + 1 : NULL);
	}
	return false;
}

/* What goes with what. NULL: fine. */
static const char *contradiction(const struct options *o)
{
	LONG both = VSS_VOLSNAP_ATTR_DIFFERENTIAL | VSS_VOLSNAP_ATTR_PLEX;
	LONG recovery = VSS_VOLSNAP_ATTR_TXF_RECOVERY | VSS_VOLSNAP_ATTR_NO_AUTORECOVERY;
	if ((o->create.context & both) == both)
		return "-ad and -ap exclude each other";
	if ((o->create.context & recovery) == recovery)
		return "-tr and -nar exclude each other";
	if (o->transportable && o->document)
		return "-t and -bc exclude each other";
	if (o->names_writers && (o->create.context & VSS_VOLSNAP_ATTR_NO_WRITERS))
		return "-wi and -wx do not go with -nw";
	if (o->verb != VERB_CREATE && (o->create.context || o->volumes || o->document || o->script ||
					      o->command || o->wait || o->names_writers))
		return "volumes and what qualifies their copies do not go with this command";
	if (o->verb == VERB_CREATE && !o->volumes)
		return "no volume and no command is named";
	if (o->break_flags && o->verb != VERB_BREAK)
		return "-mask, -rw, -forcerevert and -norevert go with -bex";
	if ((o->verb == VERB_RESYNC) != (o->resync.count > 0))
		return "-resync and -addresync go together";
	return NULL;
}

bool vshadow_parse(struct options *o, int argc, wchar_t **argv)
{
	for (int i = 1; i < argc;) {
		int took = options_common(o, argc - i, argv + i);
		if (took == 0 &&
			(argv[i][0] == L'-' ? parse_switch(o, argv[i]) : options_add_volume(o, argv[i])))
			took = 1;
		if (took <= 0) {
			fwprintf(stderr, L"umbra-lab-requester: %ls: unknown, or a wrong value\n", argv[i]);
			return false;
		}
		i += took;
	}
	if (o->verb == VERB_NONE)
		o->verb = VERB_CREATE;
	const char *why = contradiction(o);
	if (why)
		fprintf(stderr, "umbra-lab-requester: %s; --help shows the usage\n", why);
	return !why;
}
