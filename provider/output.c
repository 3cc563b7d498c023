/* SPDX-License-Identifier: Apache-2.0 */
/* See output.h. */
#include "provider/output.h"

#define DAYS_400_YEARS 146097
#define DAY_S          86400

void output_json_string(FILE *out, const char *text)
{
	if (!text) {
		fputs("null", out);
		return;
	}
	fputc('"', out);
	for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
		if (*at == '"' || *at == '\\')
			fprintf(out, "\\%c", *at);
		else if (*at < 0x20 || *at == 0x7F)
			fprintf(out, "\\u%04x", (unsigned)*at);
		else
			fputc(*at, out);
	}
	fputc('"', out);
}

void output_set_id(const uint8_t id[UP_ID_BYTES], char out[OUTPUT_SET_ID_CHARS])
{
	snprintf(out, OUTPUT_SET_ID_CHARS,
		"{%02X%02X%02X%02X-%02X%02X-%02X%02X-%02X%02X-%02X%02X%02X%02X%02X%02X}", id[0], id[1], id[2],
		id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11], id[12], id[13], id[14],
		id[15]);
}

/* The calendar date of a day since 1970-01-01, counted in eras of 400 years that begin on 1 March. */
static void civil(uint64_t day, unsigned *year, unsigned *month, unsigned *of_month)
{
	uint64_t shifted = day + 719468, era = shifted / DAYS_400_YEARS;
	unsigned in_era = (unsigned)(shifted % DAYS_400_YEARS);
	unsigned years = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	unsigned in_year = in_era - (365 * years + years / 4 - years / 100);
	unsigned from_march = (5 * in_year + 2) / 153;

	*of_month = in_year - (153 * from_march + 2) / 5 + 1;
	*month = from_march < 10 ? from_march + 3 : from_march - 9;
	*year = (unsigned)(era * 400) + years + (*month <= 2);
}

void output_time(uint64_t unix_ms, char out[OUTPUT_TIME_CHARS])
{
	uint64_t seconds = unix_ms / 1000, of_day = seconds % DAY_S;
	unsigned year, month, day;

	if (!unix_ms || seconds / DAY_S > 2932896) { /* the last day of the year 9999 */
		snprintf(out, OUTPUT_TIME_CHARS, "-");
		return;
	}
	civil(seconds / DAY_S, &year, &month, &day);
	snprintf(out, OUTPUT_TIME_CHARS, "%04u-%02u-%02u %02u:%02u:%02u UTC", year % 10000, month, day,
		(unsigned)(of_day / 3600), (unsigned)(of_day / 60 % 60), (unsigned)(of_day % 60));
}
