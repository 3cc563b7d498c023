/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which shadow LUNs are orphans, and the words of "umbra-vss orphans". Pure.
 *
 * An orphan is a shadow LUN of a kept set that no host sees. VSS on this host does not know it, for what VSS
 * knows it has imported, and importing maps the LUN to the host. What it may be besides a leftover: a
 * transportable copy that still waits for its import somewhere. Only a person can tell these two apart.
 *
 * One to which a host has written since may be more: a copy that was broken off its set (BreakSnapshotSet, of which no
 * provider hears) holds somebody's data. It is told apart, and deleted only by a word of its own.
 *
 * What a host sees is no orphan, but may be left over all the same: from an import that failed halfway. VSS on that
 * host knows; the list shows it apart, and a word of its own unmaps it from this host.
 */
#ifndef UMBRA_PROVIDER_ORPHAN_RULES_H
#define UMBRA_PROVIDER_ORPHAN_RULES_H

#include <stdbool.h>
#include <stdint.h>
#include <wchar.h>
#include "proto/umbra_proto.h"

#define ORPHANS_DELETE_MAX 256 /* ids in one command */

enum orphan_verdict {
	ORPHAN_YES,
	ORPHAN_WRITTEN,       /* it would be one, but a host wrote to it */
	ORPHAN_MAPPED_HERE,   /* this host sees it */
	ORPHAN_MAPPED_THERE,  /* another host does */
	ORPHAN_NOT_KEPT,      /* its set is under way: the array undoes it by itself when nobody keeps it */
	ORPHAN_NO_SHADOW_LUN, /* an ordinary LUN, or one that does not exist yet */
};

/* Of an entry of the array's list. */
enum orphan_verdict orphan_judge(const struct up_lun *lun);
/* Why it is not deleted; never NULL. */
const char *orphan_why(enum orphan_verdict verdict);

struct orphan_words {
	bool json;
	unsigned delete_count;
	uint8_t ids[ORPHANS_DELETE_MAX][UP_ID_BYTES];
	bool written[ORPHANS_DELETE_MAX]; /* named behind --delete-written */
	bool unmap[ORPHANS_DELETE_MAX];   /* named behind --unmap: not deleted */
};

/* The words after "orphans". False: wrong usage. An id given twice counts once. */
bool orphan_parse(int count, wchar_t *const *words, struct orphan_words *out);
/* Ids and --json alone, for "umbra-vss adopt": at least one id. */
bool orphan_parse_ids(int count, wchar_t *const *words, struct orphan_words *out);

#endif
