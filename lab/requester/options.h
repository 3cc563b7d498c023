/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command line of the requester asks for. Two languages say the same: the lab's own verbs (options.c) and vshadow's
 * switches (vshadow.c).
 *
 * Strings are borrowed from the command line.
 */
#ifndef LAB_REQUESTER_OPTIONS_H
#define LAB_REQUESTER_OPTIONS_H

#include <windows.h>
#include <stdbool.h>
#include "lab_requester.h"

#define MAX_VOLUME_LUNS 512
#define MAX_TARGETS     64

enum verb {
	VERB_NONE,
	VERB_CREATE,
	VERB_IMPORT,
	VERB_LIST,          /* id given: that set or shadow copy only */
	VERB_DELETE,        /* id: a set */
	VERB_DELETE_ONE,    /* id: a shadow copy */
	VERB_DELETE_OLDEST, /* lun */
	VERB_DELETE_ALL,
	VERB_BREAK,  /* id: a set; break_flags */
	VERB_RESYNC, /* file, resync */
	VERB_EXPOSE, /* id: a shadow copy; name, or empty to take it back */
	VERB_SCAN,
	VERB_PROVIDERS,
	VERB_UNLOAD,
	VERB_DISKSHADOW /* file: a script */
};

struct options {
	enum verb verb;
	bool json, calls, unload, force, help;
	const wchar_t *transportable, *document; /* files to write */
	const wchar_t *file;                     /* file to read */
	const wchar_t *log;                      /* DISKSHADOW: all that is said goes there, too */
	const wchar_t *name;                     /* of an exposed shadow copy */
	bool has_id, id_is_snapshot;
	GUID id;
	/* After a CREATE, as vshadow does it: a .cmd with the ids as variables, a command, a key. */
	const wchar_t *script, *command;
	bool wait;
	bool names_writers; /* -wi, -wx */
	LONG lun;           /* DELETE_OLDEST */
	LONG break_flags;   /* VSS_BREAKEX_FLAG_… */
	LONG late_flags;    /* LAB_WRITABLE_LATER */
	LAB_CREATE create;  /* its flags hold for every verb */
	LONG seed;          /* of what VSS varies; 0: nothing */
	LONG stagger_ms;    /* from the first volume's hold to the last one's; -1: as the seed has it */
	LAB_VOLUME_LUN luns[MAX_VOLUME_LUNS];
	LONG volumes;
	LAB_RESYNC resync;
	LONG cancel_after_ms; /* RESYNC: IVssAsync::Cancel after so long; -1: never */
	LAB_RESYNC_TARGET targets[MAX_TARGETS];
};

/* options.c */
extern const char options_usage[];
/* The words behind the lab's own verb; false: stderr says what is wrong. */
bool options_parse(struct options *o, int argc, wchar_t **argv);
/* What is missing, or NULL. */
const char *options_incomplete(const struct options *o);
void options_init(struct options *o);
/* "1,2,d3" as one more volume. */
bool options_add_volume(struct options *o, const wchar_t *text);
/* SNAPSHOT[,TARGET] as one more target of a resync. */
bool options_add_target(struct options *o, const wchar_t *text);
/* --json, --calls, --abandon-after METHOD and the others that every language takes. How many words of argv it took, 0:
 * it is none of them, -1: its value is missing or wrong. */
int options_common(struct options *o, int left, wchar_t **argv);
/* Decimal digits; *end is behind them. */
bool options_number(const wchar_t *text, const wchar_t **end, LONG *out);

/* vshadow.c */
extern const char vshadow_usage[];
/* True when the first word is one of vshadow's. */
bool vshadow_speaks(const wchar_t *first);
/* False: wrong usage, stderr says why. */
bool vshadow_parse(struct options *o, int argc, wchar_t **argv);

#endif
