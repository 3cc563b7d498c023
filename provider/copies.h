/* SPDX-License-Identifier: Apache-2.0 */
/* "umbra-vss copies", "import", "delete" and "restore": what happens to copies later. Exit codes: 0 done, 1 failed, 2 wrong
 * usage. */
#ifndef UMBRA_PROVIDER_COPIES_H
#define UMBRA_PROVIDER_COPIES_H

#include <windows.h>
#include "provider/copy_book.h"
#include "proto/keep_rules.h"

int copies_run(int count, WCHAR **words);
int import_run(int count, WCHAR **words);
int delete_run(int count, WCHAR **words);
int restore_run(int count, WCHAR **words);

/* Deletes the copies with the label and volumes of `like`, but `spared`, that the rules do not keep. How many went, how many
 * stay; false: stderr says what failed. */
bool copies_prune(const struct keep_rules *rules, const struct book_entry *like, const GUID *spared,
	unsigned *gone, unsigned *stay);

/* Of a volume's name: its drive letter or folder, or the name itself. */
void copies_volume_text(const WCHAR *name, char *out, size_t bytes);
void copies_utf8(const WCHAR *text, char *out, size_t bytes);

#endif
