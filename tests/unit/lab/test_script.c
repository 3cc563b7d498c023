/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of a diskshadow script: what each becomes, and what is refused. */
#include <stdio.h>
#include <string.h>
#include "lab/requester/script.h"
#include "tests/support/test.h"

static enum script_found parse(const char *text, struct script_line *l, const char **why)
{
	*why = NULL;
	return script_parse(text, strlen(text), l, why);
}

TEST(the_commands_of_diskshadow_are_understood)
{
	static const struct {
		const char *text;
		enum script_op op;
		unsigned count;
		const char *first;
	} good[] = {{"set context persistent nowriters", SCRIPT_SET_CONTEXT, 2, "persistent"},
		{"  SET Option TRANSPORTABLE plex", SCRIPT_SET_OPTION, 2, "TRANSPORTABLE"},
		{"set metadata \"C:\\a b.cab\"", SCRIPT_SET_METADATA, 1, "C:\\a b.cab"},
		{"add volume 1 alias data", SCRIPT_ADD_VOLUME, 3, "1"}, {"create", SCRIPT_CREATE, 0, NULL},
		{"\tbreak readwrite %S%", SCRIPT_BREAK, 2, "readwrite"}, {"resync", SCRIPT_RESYNC, 0, NULL},
		{"delete shadows all", SCRIPT_DELETE, 1, "all"}, {"begin backup", SCRIPT_ACCEPTED, 0, NULL},
		{"Simulate RESTORE", SCRIPT_ACCEPTED, 0, NULL}, {"set", SCRIPT_SHOW_SETTINGS, 0, NULL},
		{"ADD", SCRIPT_SHOW_ADDED, 0, NULL}, {"help", SCRIPT_HELP, 0, NULL},
		{"revert {1}", SCRIPT_REFUSED, 1, "{1}"}, {"EXIT", SCRIPT_EXIT, 0, NULL},
		{"exec \"\"", SCRIPT_EXEC, 1, ""}};
	struct script_line l;
	const char *why;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_int_equal(parse(good[i].text, &l, &why), SCRIPT_COMMAND);
		assert_int_equal(l.op, good[i].op);
		assert_int_equal(l.count, good[i].count);
		if (good[i].first)
			assert_string_equal(l.words[0], good[i].first);
	}
	assert_true(parse("set option PLEX", &l, &why) == SCRIPT_COMMAND && script_is(&l, 0, "plex"));
	assert_false(script_is(&l, 1, "plex"));
}

TEST(what_is_no_command_is_refused_with_a_reason)
{
	static const char *const bad[] = {"jump", "set sideways", "help me", "set context",
		"set context sideways", "set option plex on", "set metadata", "set metadata a b",
		"add volume", "create now", "exec \"x", "list shadows", "unexpose",
		"a b c d e f g h i j k l m n o p q r"};
	struct script_line l;
	const char *why;
	char big[SCRIPT_MAX_LINE_BYTES + 10];
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(parse(bad[i], &l, &why), SCRIPT_ERROR);
		assert_non_null(why);
	}
	memset(big, 'x', sizeof big);
	assert_int_equal(script_parse(big, sizeof big, &l, &why), SCRIPT_ERROR);
	assert_int_equal(script_parse("cre\0ate", 7, &l, &why), SCRIPT_ERROR);
	assert_int_equal(parse("", &l, &why), SCRIPT_BLANK);
	assert_int_equal(parse("  # create", &l, &why), SCRIPT_BLANK);
}

TEST(every_command_is_listed_once)
{
	size_t n = 0;
	for (; script_command(n); n++)
		for (size_t k = 0; k < n; k++)
			assert_string_not_equal(script_command(k), script_command(n));
	assert_true(n > 30);
	assert_null(script_command(n));
}

TEST(lines_end_as_on_either_system)
{
	static const char text[] = "one\r\n\ntwo\nthree";
	static const size_t lengths[] = {3, 0, 3, 5};
	size_t at = 0, next;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(script_next_line(text + at, sizeof text - 1 - at, &next), lengths[i]);
		at += next;
	}
	assert_int_equal(at, sizeof text - 1);
	assert_int_equal(script_next_line("", 0, &next), 0);
	assert_int_equal(next, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_commands_of_diskshadow_are_understood),
		cmocka_unit_test(what_is_no_command_is_refused_with_a_reason),
		cmocka_unit_test(every_command_is_listed_once),
		cmocka_unit_test(lines_end_as_on_either_system)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
