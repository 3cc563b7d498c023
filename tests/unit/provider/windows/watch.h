/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watch over the commit window: while `frozen` is set, heap, file, registry and event log work by any thread of this
 * program, and new threads and kernel objects, end the test. The linker leads the provider's calls of
 * Windows through here (meson.build has the list), and guard.h those of the heap. Not forbidden: DeviceIoControl, which is the window's purpose, and what a thread of an
 * earlier set whose commit had hung gives back.
 */
#ifndef UMBRA_TESTS_PROVIDER_WATCH_H
#define UMBRA_TESTS_PROVIDER_WATCH_H

#include <stdbool.h>
#include <windows.h>

/* Set after PreCommitSnapshots has succeeded, cleared before PostCommitSnapshots or AbortSnapshots. */
extern volatile LONG frozen;
extern volatile LONG heap_calls; /* ever: so that a test can see that the watch works at all */

/* For the tests of the watch itself: violations are counted instead. */
extern volatile LONG count_violations, violations;
extern const char *volatile last_violation;

/* Says that `what` was done; the thread of main() is the one that VSS calls in. */
void watch_saw(const char *what);
void watch_main_thread(void);
void watch_heap(bool is_free); /* for guard_watch */

#endif
