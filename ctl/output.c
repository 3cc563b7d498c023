/* SPDX-License-Identifier: Apache-2.0 */
/* What umbractl prints: tables for people, JSON for programs. */
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "array/util/units.h"
#include "ctl/ctl.h"

#define COLUMNS_MAX 16
#define TEXT_SLOTS  8
#define TEXT_BYTES  256

struct table {
	const char *const *headings;
	size_t columns;
	size_t count, size; /* of cells */
	char **cells;
};

static void *must(void *memory)
{
	if (memory)
		return memory;
	fputs("umbractl: no memory\n", stderr);
	exit(CTL_FAILED);
}

struct table *table_new(const char *const *headings)
{
	struct table *t = must(calloc(1, sizeof(*t)));

	t->headings = headings;
	while (headings[t->columns] && t->columns < COLUMNS_MAX)
		t->columns++;
	return t;
}

void table_cell(struct table *t, const char *text)
{
	if (t->count == t->size) {
		t->size = t->size ? 2 * t->size : 64;
		t->cells = must(realloc(t->cells, t->size * sizeof(*t->cells)));
	}
	t->cells[t->count++] = must(strdup(text));
}

static void print_cell(const struct table *t, size_t column, const char *text, size_t width)
{
	bool last = column + 1 == t->columns, right = t->headings[column][0] == '>';

	if (right)
		printf("%*s%s", (int)width, text, last ? "\n" : "  ");
	else if (last)
		printf("%s\n", text);
	else
		printf("%-*s  ", (int)width, text);
}

static const char *heading(const char *text)
{
	return *text == '>' ? text + 1 : text;
}

void table_print(struct table *t)
{
	size_t widths[COLUMNS_MAX] = {0};

	for (size_t i = 0; i < t->columns; i++)
		widths[i] = strlen(heading(t->headings[i]));
	for (size_t i = 0; i < t->count; i++)
		if (strlen(t->cells[i]) > widths[i % t->columns])
			widths[i % t->columns] = strlen(t->cells[i]);
	for (size_t i = 0; i < t->columns; i++)
		print_cell(t, i, heading(t->headings[i]), widths[i]);
	for (size_t i = 0; i < t->count; i++) {
		print_cell(t, i % t->columns, t->cells[i], widths[i % t->columns]);
		free(t->cells[i]);
	}
	free(t->cells);
	free(t);
}

void print_rows(const struct column *columns, const json_t *rows)
{
	const char *headings[COLUMNS_MAX + 1] = {NULL};
	json_t *row;
	size_t at;

	for (size_t i = 0; columns[i].heading && i < COLUMNS_MAX; i++)
		headings[i] = columns[i].heading;
	struct table *t = table_new(headings);
	json_array_foreach(rows, at, row)
	{
		for (const struct column *c = columns; c->heading; c++)
			table_cell(t, c->text(row, c->member));
	}
	table_print(t);
}

static char *slot(void)
{
	static char texts[TEXT_SLOTS][TEXT_BYTES];
	static unsigned next;

	return texts[next++ % TEXT_SLOTS];
}

const char *text_of(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));

	return text && *text ? text : "-";
}

const char *size_of(const json_t *object, const char *member)
{
	char *out = slot();

	if (json_is_null(json_object_get(object, member)))
		return "-";
	units_format_bytes((uint64_t)json_integer_value(json_object_get(object, member)), out);
	return out;
}

bool ctl_stands_by(const json_t *status)
{
	const json_t *controller = json_object_get(status, "controller");

	return json_is_object(controller) && strcmp(text_of(controller, "role"), "owner") != 0;
}

const char *count_of(const json_t *object, const char *member)
{
	char *out = slot();

	snprintf(out, TEXT_BYTES, "%" JSON_INTEGER_FORMAT,
		json_integer_value(json_object_get(object, member)));
	return out;
}

const char *percent_of(const json_t *object, const char *member)
{
	const json_t *percent = json_object_get(object, member);
	char *out = slot();

	if (!json_is_integer(percent))
		return "-";
	snprintf(out, TEXT_BYTES, "%" JSON_INTEGER_FORMAT " %%", json_integer_value(percent));
	return out;
}

const char *yes_of(const json_t *object, const char *member)
{
	return json_is_true(json_object_get(object, member)) ? "yes" : "no";
}

const char *time_of(const json_t *object, const char *member)
{
	json_int_t unix_ms = json_integer_value(json_object_get(object, member));
	time_t seconds = (time_t)(unix_ms / 1000);
	char *out = slot();
	struct tm local;

	if (!unix_ms || !localtime_r(&seconds, &local))
		return "-";
	strftime(out, TEXT_BYTES, "%Y-%m-%d %H:%M:%S", &local);
	return out;
}

const char *duration_of(const json_t *object, const char *member)
{
	json_int_t seconds = (json_integer_value(json_object_get(object, member)) + 999) / 1000;
	char *out = slot();

	if (!seconds)
		return "-";
	if (seconds >= 86400)
		snprintf(out, TEXT_BYTES, "%lld d %lld h", seconds / 86400, seconds % 86400 / 3600);
	else if (seconds >= 3600)
		snprintf(out, TEXT_BYTES, "%lld h %lld min", seconds / 3600, seconds % 3600 / 60);
	else
		snprintf(out, TEXT_BYTES, "%lld min %lld s", seconds / 60, seconds % 60);
	return out;
}

const char *nanoseconds_of(const json_t *object, const char *member)
{
	json_int_t ns = json_integer_value(json_object_get(object, member));
	char *out = slot();

	if (!ns)
		return "-";
	if (ns < 1000000)
		snprintf(out, TEXT_BYTES, "%.1f us", (double)ns / 1e3);
	else
		snprintf(out, TEXT_BYTES, "%.2f ms", (double)ns / 1e6);
	return out;
}

int print_json(json_t *value)
{
	char *text = value ? json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY) : NULL;

	json_decref(value);
	if (!text)
		return CTL_FAILED;
	puts(text);
	free(text);
	return CTL_OK;
}

void print_warning(const json_t *result)
{
	const char *text = json_string_value(json_object_get(result, "warning"));

	if (text)
		fprintf(stderr, "umbractl: warning: %s.\n", text);
}

int print_result(const struct invocation *in, json_t *value, const char *format, ...)
{
	va_list args;

	if (!value)
		return CTL_FAILED;
	print_warning(value);
	if (in->json)
		return print_json(value);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	const char *note = json_string_value(json_object_get(value, "note"));
	if (note)
		printf("%c%s.\n", toupper((unsigned char)*note), note + 1);
	json_decref(value);
	return CTL_OK;
}
