/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docs/scsi.md against the command table: the same rows in the same order with the same properties, and for each
 * command a unit test that is there and sends it. --print: the rows as they should be, but for names and tests.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/scsi/command.h"
#include "array/scsi/sense.h"
#include "tests/support/test.h"

#define COLUMNS 9

static const char *page_path, *tests_path;

static const char *conflict_text(enum scsi_conflict conflict)
{
	return conflict == CONFLICT_NEVER ? "never" : conflict == CONFLICT_READ ? "exclusive access" : "any";
}

static void where_text(const struct scsi_command *row, char out[40])
{
	snprintf(out, 40, "%s%s%s", row->flags & CMD_DATA ? "disk" : "",
		row->flags & CMD_CONTROL ? ", control LU" : "", row->flags & CMD_ABSENT ? ", any" : "");
}

static const char *elsewhere_text(const struct scsi_command *row)
{
	return row->flags & CMD_ALWAYS    ? "every state"
	       : row->flags & CMD_STANDBY ? "standby"
	       : row->flags & CMD_OWNER   ? "owner"
					  : "";
}

static void notes_text(const struct scsi_command *row, char out[120])
{
	static const struct {
		unsigned flag;
		const char *text;
	} notes[] = {{CMD_WRITES, "SWP"}, {CMD_QUIET, "quiet"}, {CMD_LEGACY_OK, "RESERVE(6) allows"},
		{CMD_SANITIZING, "while sanitized"}, {CMD_COPY, "store clones"},
		{CMD_INBAND, "control channel"}, {CMD_VENDOR, "vendor's"}};

	out[0] = 0;
	for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++)
		if (row->flags & notes[i].flag)
			snprintf(out + strlen(out), 120 - strlen(out), "%s%s", out[0] ? ", " : "",
				notes[i].text);
}

static void expected(const struct scsi_command *row, char out[COLUMNS][120])
{
	memset(out, 0, COLUMNS * 120);
	snprintf(out[0], 120, "%02Xh", row->opcode);
	if (row->flags & CMD_SA)
		snprintf(out[1], 120, "%02Xh", row->service_action);
	snprintf(out[3], 120, "%u", row->cdb_len);
	snprintf(out[4], 120, "%s", conflict_text(row->conflict));
	where_text(row, out[5]);
	snprintf(out[6], 120, "%s", elsewhere_text(row));
	notes_text(row, out[7]);
}

static char *trim(char *text)
{
	size_t len;

	while (*text == ' ')
		text++;
	len = strlen(text);
	while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\n'))
		text[--len] = 0;
	return text;
}

static bool file_has(const char *name, const char *text)
{
	char path[512], line[512];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", tests_path, name);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, text) != NULL;
	fclose(f);
	return found;
}

static void row_agrees(char *line, const struct scsi_command *row)
{
	char want[COLUMNS][120], opcode[8], *at = line + 1, *field;

	expected(row, want);
	snprintf(opcode, sizeof(opcode), "0x%02X", row->opcode);
	for (unsigned i = 0; i < COLUMNS; i++) {
		field = trim(strsep(&at, "|"));
		assert_non_null(at);
		if (i == 2 && !*field)
			fail_msg("%s %s has no name", want[0], want[1]);
		else if (i == 8 && !file_has(field, opcode))
			fail_msg("%s %s: %s is not there or does not send it", want[0], want[1], field);
		else if (i != 2 && i != 8 && strcmp(field, want[i]) != 0)
			fail_msg("%s %s, column %u: \"%s\", not \"%s\"", want[0], want[1], i + 1, field,
				want[i]);
	}
}

TEST(the_page_agrees_with_the_table)
{
	FILE *f = fopen(page_path, "re");
	char line[512];
	unsigned i = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (line[0] != '|' || strlen(line) < 6 || line[4] != 'h')
			continue;
		assert_true(i < scsi_command_count);
		row_agrees(line, &scsi_commands[i++]);
	}
	fclose(f);
	assert_int_equal(i, scsi_command_count);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_page_agrees_with_the_table)};

	if (argc == 2 && strcmp(argv[1], "--print") == 0) {
		for (unsigned i = 0; i < scsi_command_count; i++) {
			char c[COLUMNS][120];

			expected(&scsi_commands[i], c);
			printf("| %s | %s | NAME | %s | %s | %s | %s | %s | TESTS |\n", c[0], c[1], c[3],
				c[4], c[5], c[6], c[7]);
		}
		return 0;
	}
	if (argc != 3)
		return 2;
	page_path = argv[1];
	tests_path = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
