/* SPDX-License-Identifier: Apache-2.0 */
/* See keep_rules.h. */
#include "proto/keep_rules.h"

#include <stdlib.h>
#include <string.h>

#define HOUR_S 3600
#define DAY_S  86400

const char *const keep_names[KEEP_PERIODS] = {[KEEP_HOURLY] = "hourly",
	[KEEP_DAILY] = "daily",
	[KEEP_WEEKLY] = "weekly",
	[KEEP_MONTHLY] = "monthly",
	[KEEP_YEARLY] = "yearly"};

/* One "daily=7"; *at is moved behind it. */
static bool parse_one(const char **at, struct keep_rules *out, bool seen[KEEP_PERIODS])
{
	for (size_t i = 0; i < KEEP_PERIODS; i++) {
		size_t len = strlen(keep_names[i]);
		unsigned number = 0;
		if (strncmp(*at, keep_names[i], len) != 0 || (*at)[len] != '=')
			continue;
		const char *digit = *at + len + 1;
		if (seen[i] || *digit < '0' || *digit > '9')
			return false;
		for (; *digit >= '0' && *digit <= '9'; digit++) {
			number = number * 10 + (unsigned)(*digit - '0');
			if (number > KEEP_COUNT_MAX)
				return false;
		}
		seen[i] = true;
		out->count[i] = number;
		*at = digit;
		return true;
	}
	return false;
}

bool keep_parse(const char *text, struct keep_rules *out)
{
	bool seen[KEEP_PERIODS] = {false}, any = false;

	memset(out, 0, sizeof(*out));
	for (;;) {
		if (!parse_one(&text, out, seen))
			return false;
		if (!*text)
			break;
		if (*text++ != ',')
			return false;
	}
	for (size_t i = 0; i < KEEP_PERIODS; i++)
		any = any || out->count[i];
	return any;
}

/* Rounds towards the past also before 1970. */
static int64_t floor_div(int64_t a, int64_t b)
{
	int64_t q = a / b;

	return a % b < 0 ? q - 1 : q;
}

/* Months since March of the year 0, and from them the years, in eras of 400 years that begin on 1 March. */
static int64_t month_of(int64_t day, int64_t *year)
{
	int64_t shifted = day + 719468, era = floor_div(shifted, 146097), in_era = shifted - era * 146097;
	int64_t years = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	int64_t in_year = in_era - (365 * years + years / 4 - years / 100);
	int64_t from_march = (5 * in_year + 2) / 153;

	*year = era * 400 + years + (from_march >= 10);
	return (era * 400 + years) * 12 + from_march;
}

/* A number that two copies share when, and only when, they are of one period. */
static int64_t period_of(enum keep_period kind, const struct keep_copy *c)
{
	int64_t day = floor_div(c->made_s + c->offset_s, DAY_S), year;
	int64_t month = month_of(day, &year);

	switch (kind) {
	case KEEP_HOURLY:
		return floor_div(c->made_s, HOUR_S);
	case KEEP_DAILY:
		return day;
	case KEEP_WEEKLY:
		return floor_div(day + 3, 7); /* 1970-01-01 was a Thursday */
	case KEEP_MONTHLY:
		return month;
	case KEEP_YEARLY:
	case KEEP_PERIODS:
		break;
	}
	return year;
}

static int newest_first(const void *a, const void *b)
{
	const struct keep_copy *x = a, *y = b;

	if (x->made_s != y->made_s)
		return x->made_s < y->made_s ? 1 : -1;
	return x->tag < y->tag ? 1 : x->tag > y->tag ? -1 : 0;
}

void keep_apply(const struct keep_rules *rules, struct keep_copy *copies, size_t count, int64_t now_s)
{
	size_t first = 0;

	if (!count)
		return;
	qsort(copies, count, sizeof(*copies), newest_first);
	for (size_t i = 0; i < count; i++) {
		copies[i].keep = copies[i].made_s > now_s;
		copies[i].by = 0;
		first += copies[i].keep;
	}
	for (size_t kind = 0; kind < KEEP_PERIODS; kind++) {
		unsigned left = rules->count[kind];
		int64_t last = 0;
		bool any = false;
		for (size_t i = first; i < count && left; i++) {
			int64_t period = period_of((enum keep_period)kind, &copies[i]);
			/* The wall clock may go back from one copy to the next: only a period before the last one is new. */
			if (any && period >= last)
				continue;
			any = true;
			last = period;
			copies[i].keep = true;
			copies[i].by |= 1u << kind;
			left--;
		}
	}
}
