/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mark in the registry while VSS has this process loaded: which process of the provider, and which of VSS. VSS gets no
 * word when the provider's process ends, and may go on calling it until it unloads its providers itself; whoever finds the
 * mark of a process that is gone can tell the administrator. The mark does not survive a restart of Windows.
 */
#ifndef UMBRA_PROVIDER_LOAD_MARK_H
#define UMBRA_PROVIDER_LOAD_MARK_H

#include <stdbool.h>
#include <windows.h>

/* OnLoad and OnUnload. Not in a commit window: they write to the registry. */
void load_mark_begin(void);
void load_mark_end(void);

/* Has VSS this process loaded now? */
bool load_mark_is_loaded(void);

struct load_mark {
	DWORD provider, vss; /* process ids; 0: not known */
};

/* Does VSS hold what is gone? now: what runs (0: nothing does, or, of VSS, that it cannot be told). Pure. */
bool load_mark_judge(const struct load_mark *mark, const struct load_mark *now, bool vss_is_told);

/* The same of what is marked and what runs here. */
bool load_mark_is_dead(void);

#endif
