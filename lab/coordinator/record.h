/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request did: every call made to the provider and every phase, with times, on the way into a
 * LAB_RESULT. One thread at a time.
 *
 * Invariants: room for calls and phases is there before the write hold begins (record_reserve), so recording
 * inside it allocates only the short texts; a record whose memory ran out says so in its result.
 */
#ifndef LAB_RECORD_H
#define LAB_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <windows.h>
#include "lab_requester.h"

struct record {
	LARGE_INTEGER zero, frequency;
	LAB_RESULT *result; /* owned until record_finish */
	size_t call_cap, phase_cap, lun_cap, set_cap, snapshot_cap;
	bool out_of_memory;
};

bool record_begin(struct record *r);
int64_t record_now_us(const struct record *r);

/* A call: begin gives an index, end fills it in. `format` makes the argument summary. */
ULONG record_call_begin(struct record *r, const wchar_t *method, const wchar_t *format, ...);
HRESULT record_call_end(struct record *r, ULONG index, HRESULT hr); /* returns hr */

ULONG record_phase_begin(struct record *r, const wchar_t *name);
HRESULT record_phase_end(struct record *r, ULONG index, HRESULT hr); /* returns hr */

/* A zeroed slot to fill in, or NULL without memory. Strings in it: record_text. */
LAB_LUN *record_add_lun(struct record *r);
LAB_SET *record_add_set(struct record *r);
LAB_SNAPSHOT *record_add_snapshot(struct record *r);

wchar_t *record_text(const wchar_t *text);       /* CoTaskMem copy; NULL text: "" */
wchar_t *record_utf8(const char *text, int len); /* from UTF-8, len -1: NUL-terminated */

/* The outcome; the first failure wins, later ones are ignored. Returns hr. */
HRESULT record_fail(struct record *r, HRESULT hr, const wchar_t *format, ...);

/* The outcome so far, which is forgotten, the calls are not; *why is its sentence, or NULL, CoTaskMem. */
HRESULT record_take_failure(struct record *r, LAB_STRING *why);

/* Where the record stands, and back to there: what came since is forgotten, the outcome too. */
struct record_mark {
	ULONG calls, phases, luns;
};
struct record_mark record_mark(const struct record *r);
void record_rewind(struct record *r, struct record_mark mark);

void record_drop(struct record *r); /* nobody wants it */

/* Hands the result to the caller. */
HRESULT record_finish(struct record *r, LAB_RESULT **result);

#endif
