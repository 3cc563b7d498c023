/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events for the Application log, and a diagnosis trace file (off by default). Both are queued in memory that
 * exists from the start and written by a thread of its own.
 *
 * Invariants:
 * - Noting an event or a trace line takes no heap, file, registry or event log work, at any time.
 * - Nothing is written while a hold is on (volumes may be frozen then). A hold that nobody lifts ends by
 *   itself after EVENTLOG_HOLD_LIMIT_MS: VSS freezes volumes for ten seconds at most.
 * - When the queue is full the newest entries are lost and their number is told.
 */
#ifndef UMBRA_PROVIDER_EVENTLOG_H
#define UMBRA_PROVIDER_EVENTLOG_H

#include <stdbool.h>
#include <stdint.h>
#include <windows.h>

#define EVENTLOG_HOLD_LIMIT_MS 15000

struct event_note {
	DWORD id; /* of events.mc; 0: a line of the trace only (in detail) */
	ULONGLONG time_100ns;
	char call[40];
	char lun[40];
	char array[64];
	char detail[300];
};

/* trace_file: NULL or empty: none. False: out of memory. */
bool eventlog_start(const WCHAR *trace_file);
/* Writes what is queued and ends the thread. */
void eventlog_stop(void);

/* NULLs are written as "-". */
void eventlog_note(DWORD id, const char *call, const char *lun, const char *array, const char *detail);
void eventlog_trace(const char *format, ...) __attribute__((format(gnu_printf, 1, 2)));
bool eventlog_tracing(void);

void eventlog_hold(void);
void eventlog_release(void);
/* A hold is on. */
bool eventlog_held(void);

/* For tests: gets every event instead of the Application log; NULL: back to it. */
void eventlog_set_sink(void (*sink)(const struct event_note *note));
/* For tests: waits until nothing is queued. */
void eventlog_drain(void);

#endif
