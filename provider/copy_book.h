/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host remembers of the copies that "umbra-vss copy" made and VSS has no place for: the label, and the document by
 * which a copy is imported or its LUNs are resynced. HKLM\SOFTWARE\Umbra\Copies has a key for each set, named by its
 * id; administrators write there. What is said here of a set that VSS does not know is a reminder and no proof.
 */
#ifndef UMBRA_PROVIDER_COPY_BOOK_H
#define UMBRA_PROVIDER_COPY_BOOK_H

#include <stdbool.h>
#include <stdint.h>
#include <windows.h>
#include <oleauto.h>
#include "provider/copy_words.h"

#define BOOK_VOLUME_CHARS 64 /* \\?\Volume{…}\, or a path as it was given */
#define BOOK_ENTRIES_MAX  4096

struct book_entry {
	WCHAR label[COPY_LABEL_CHARS]; /* empty: none */
	unsigned count;
	GUID snapshots[COPY_VOLUMES_MAX];
	WCHAR volumes[COPY_VOLUMES_MAX][BOOK_VOLUME_CHARS]; /* of which each is a copy */
	uint64_t made_unix_ms;
	bool exported; /* its document was given to somebody: it is not this host's to delete for a rule */
	BSTR document; /* owned; NULL: the set was not complete yet */
};

/* Replaces what is there; durable when it returns. */
HRESULT book_write(const GUID *set, const struct book_entry *entry);
/* False: there is none. The document belongs to the caller: SysFreeString. */
bool book_read(const GUID *set, struct book_entry *out);
HRESULT book_forget(const GUID *set);
/* The sets that have an entry, at most cap; how many. */
unsigned book_list(GUID *sets, unsigned cap);
/* Are both of the same volumes, in whatever order? */
bool book_same_volumes(const struct book_entry *a, const struct book_entry *b);

#endif
