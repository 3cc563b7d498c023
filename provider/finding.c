/* SPDX-License-Identifier: Apache-2.0 */
/* See finding.h. */
#include "provider/finding.h"

#include <stdarg.h>
#include "provider/output.h"

static const char *const level_names[] = {[FINDING_OK] = "ok",
	[FINDING_NOTE] = "note",
	[FINDING_SKIPPED] = "skipped",
	[FINDING_WRONG] = "wrong"};

void finding_add(struct findings *f, enum finding_level level, const char *area, const char *remedy,
	const char *format, ...)
{
	va_list args;

	if (f->count == FINDINGS_MAX) {
		f->lost++;
		return;
	}
	struct finding *one = &f->items[f->count++];
	one->level = level;
	one->area = area;
	va_start(args, format);
	vsnprintf(one->text, sizeof(one->text), format, args);
	va_end(args);
	snprintf(one->remedy, sizeof(one->remedy), "%s", remedy ? remedy : "");
}

bool findings_all_well(const struct findings *f)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->items[i].level == FINDING_WRONG)
			return false;
	return f->lost == 0; /* what was not kept might be wrong */
}

void findings_print(const struct findings *f, FILE *out)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < f->count; i++) {
		const struct finding *one = &f->items[i];
		wrong += one->level == FINDING_WRONG;
		fprintf(out, "%-8s %-13s %s%s%s\n", level_names[one->level], one->area, one->text,
			one->remedy[0] ? " - " : "", one->remedy);
	}
	if (f->lost)
		fprintf(out, "%u more findings had no room: mend these first\n", f->lost);
	if (findings_all_well(f))
		fputs("All is well.\n", out);
	else
		fprintf(out, "%u to mend.\n", wrong + f->lost);
}

void findings_print_json(const struct findings *f, const char *version, FILE *out)
{
	fprintf(out, "{\"version\": ");
	output_json_string(out, version);
	fprintf(out, ", \"well\": %s, \"findings\": [", findings_all_well(f) ? "true" : "false");
	for (unsigned i = 0; i < f->count; i++) {
		const struct finding *one = &f->items[i];
		fprintf(out, "%s{\"level\": \"%s\", \"area\": ", i ? ", " : "", level_names[one->level]);
		output_json_string(out, one->area);
		fprintf(out, ", \"text\": ");
		output_json_string(out, one->text);
		fprintf(out, ", \"remedy\": ");
		output_json_string(out, one->remedy[0] ? one->remedy : NULL);
		fprintf(out, "}");
	}
	fprintf(out, "], \"lost\": %u}\n", f->lost);
}
