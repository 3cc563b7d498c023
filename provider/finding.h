/* SPDX-License-Identifier: Apache-2.0 */
/* What "umbra-vss check" found, one line each, with how to mend it. Pure. */
#ifndef UMBRA_PROVIDER_FINDING_H
#define UMBRA_PROVIDER_FINDING_H

#include <stdbool.h>
#include <stdio.h>

#define FINDINGS_MAX           96
#define FINDING_TEXT_MAX_BYTES 400

enum finding_level {
	FINDING_OK,
	FINDING_NOTE,    /* worth knowing; nothing is wrong */
	FINDING_SKIPPED, /* could not be looked at here */
	FINDING_WRONG
};

struct findings {
	unsigned count;
	struct finding {
		enum finding_level level;
		const char *area; /* a literal */
		char text[FINDING_TEXT_MAX_BYTES];
		char remedy[FINDING_TEXT_MAX_BYTES]; /* empty: nothing to do */
	} items[FINDINGS_MAX];
	unsigned lost; /* no room for so many */
};

/* remedy may be NULL. Texts that are too long are cut. */
void finding_add(struct findings *f, enum finding_level level, const char *area, const char *remedy,
	const char *format, ...) __attribute__((format(printf, 5, 6)));

bool findings_all_well(const struct findings *f);
void findings_print(const struct findings *f, FILE *out);
/* {"version": …, "well": …, "findings": […]} */
void findings_print_json(const struct findings *f, const char *version, FILE *out);

#endif
