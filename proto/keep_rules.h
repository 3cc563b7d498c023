/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which copies of a series are kept: "hourly=24,daily=7". Pure. The host's own retention and the array's are this.
 *
 * For each kind of period the newest copy of each of the last N periods that have one is kept; all others go. A copy that
 * one kind keeps stays, whatever the others say. The last periods are counted among those that have a copy: a server that
 * was off for a month loses nothing by that.
 *
 * A copy from a time that is still to come was made while the clock was ahead, or the clock is behind. It stays, and takes the
 * place of no other: or each new copy would go at once, as the oldest, until the clock has come so far.
 *
 * Hours are those of UTC: no hour of a day on which clocks are put back is lost. Days, weeks (from Monday on), months and
 * years are the wall clock's.
 */
#ifndef UMBRA_KEEP_RULES_H
#define UMBRA_KEEP_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum keep_period {
	KEEP_HOURLY,
	KEEP_DAILY,
	KEEP_WEEKLY,
	KEEP_MONTHLY,
	KEEP_YEARLY,
	KEEP_PERIODS
};

#define KEEP_COUNT_MAX 9999

struct keep_rules {
	unsigned count[KEEP_PERIODS]; /* 0: this kind keeps nothing */
};

/* False: a word that is not understood, a kind named twice, or rules that would keep nothing at all. */
bool keep_parse(const char *text, struct keep_rules *out);
extern const char *const keep_names[KEEP_PERIODS]; /* "hourly" … */

struct keep_copy {
	int64_t made_s;   /* since 1970, UTC; negative: before */
	int32_t offset_s; /* of the wall clock at that time, east of UTC */
	unsigned tag;     /* the caller's */
	bool keep;        /* out */
	unsigned by;      /* out: a bit, 1u << KEEP_…, for each kind that keeps it */
};

/* Says for each whether it stays; now_s: what the clock says. The copies are in order afterwards, the newest first; of two made in
 * one second the one with the larger tag counts as newer. */
void keep_apply(const struct keep_rules *rules, struct keep_copy *copies, size_t count, int64_t now_s);

#endif
