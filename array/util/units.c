/* SPDX-License-Identifier: Apache-2.0 */
/* See units.h. */
#include "array/util/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char prefixes[] = "KMGTP";

/* The digits at *text as a number; false when there are none or too many. */
static bool take_number(const char **text, uint64_t *value)
{
	const char *at = *text;

	*value = 0;
	for (; isdigit((unsigned char)*at); at++) {
		if (*value > (UINT64_MAX - 9) / 10)
			return false;
		*value = *value * 10 + (uint64_t)(*at - '0');
	}
	bool any = at != *text;
	*text = at;
	return any;
}

/* The unit behind a size: its power of two, or -1. */
static int size_shift(const char *unit)
{
	int shift = 0;

	if (*unit) {
		const char *found = strchr(prefixes, toupper((unsigned char)*unit));
		if (found) {
			shift = 10 * (int)(found - prefixes + 1);
			unit++;
			if (*unit == 'i')
				unit++;
			else if (*unit == '\0')
				return shift;
		}
	}
	if (*unit == 'B' || *unit == 'b')
		unit++;
	return *unit ? -1 : shift;
}

int units_parse_bytes(const char *text, uint64_t *bytes)
{
	uint64_t whole, numerator = 0, denominator = 1;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	if (!take_number(&text, &whole))
		return -ERANGE;
	if (*text == '.') {
		const char *start = ++text;
		for (; isdigit((unsigned char)*text); text++) {
			if (text - start >= 6)
				return -EINVAL;
			numerator = numerator * 10 + (uint64_t)(*text - '0');
			denominator *= 10;
		}
		if (text == start)
			return -EINVAL;
	}
	if (*text == ' ')
		text++;
	int shift = size_shift(text);
	if (shift < 0 || (numerator && !shift))
		return -EINVAL;
	if (whole > ((uint64_t)INT64_MAX >> shift))
		return -ERANGE;
	uint64_t value = whole << shift;
	if (numerator)
		value += shift > 40 ? ((UINT64_C(1) << 40) * numerator / denominator) << (shift - 40)
				    : (UINT64_C(1) << shift) * numerator / denominator;
	if (value > INT64_MAX)
		return -ERANGE;
	*bytes = value;
	return 0;
}

struct time_unit {
	const char *unit; /* NULL ends the list */
	uint64_t ms;
};

static int parse_time(const char *text, const struct time_unit *units, uint64_t max, uint64_t *ms)
{
	uint64_t number;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	if (!take_number(&text, &number))
		return -ERANGE;
	if (*text == ' ')
		text++;
	for (; units->unit; units++) {
		if (strcmp(text, units->unit) != 0)
			continue;
		if (number > max / units->ms)
			return -ERANGE;
		*ms = number * units->ms;
		return 0;
	}
	return -EINVAL;
}

int units_parse_ms(const char *text, uint32_t *ms)
{
	static const struct time_unit units[] = {
		{"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {NULL, 0}};
	uint64_t value;
	int err = parse_time(text, units, UINT32_MAX, &value);

	if (!err)
		*ms = (uint32_t)value;
	return err;
}

int units_parse_long_ms(const char *text, uint64_t *ms)
{
	static const struct time_unit units[] = {{"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000},
		{"w", 7 * UINT64_C(86400000)}, {"y", 365 * UINT64_C(86400000)}, {NULL, 0}};

	return parse_time(text, units, INT64_MAX, ms);
}

void units_format_bytes(uint64_t bytes, char out[UNITS_TEXT_BYTES])
{
	int power = 0;
	uint64_t unit = 1;

	while (power < 5 && bytes / unit >= 1024) {
		unit *= 1024;
		power++;
	}
	if (!power)
		snprintf(out, UNITS_TEXT_BYTES, "%" PRIu64 " B", bytes);
	else if (bytes % unit == 0)
		snprintf(out, UNITS_TEXT_BYTES, "%" PRIu64 " %ciB", bytes / unit, prefixes[power - 1]);
	else
		snprintf(out, UNITS_TEXT_BYTES, "%.1f %ciB", (double)bytes / (double)unit,
			prefixes[power - 1]);
}
