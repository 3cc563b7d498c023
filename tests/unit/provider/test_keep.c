/* SPDX-License-Identifier: Apache-2.0 */
/* Which copies a rule keeps, and the words of "umbra-vss copy" and its like. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>
#include "provider/copy_words.h"
#include "proto/keep_rules.h"

#define HOUR 3600
#define DAY  86400
#define NOON INT64_C(1767268800) /* 2026-01-01 12:00:00 UTC, a Thursday */
#define MANY 400

static struct keep_rules rules_of(const char *text)
{
	struct keep_rules r;

	assert_true(keep_parse(text, &r));
	return r;
}

/* The copies are as many as there are times; which are kept, as a text of their tags. */
static const char *kept(const char *rules, const int64_t *made, size_t count, int32_t offset)
{
	static char text[256];
	struct keep_copy copies[32];
	struct keep_rules r = rules_of(rules);

	for (size_t i = 0; i < count; i++)
		copies[i] = (struct keep_copy){.made_s = made[i], .offset_s = offset, .tag = (unsigned)i};
	keep_apply(&r, copies, count, INT64_MAX);
	text[0] = '\0';
	for (size_t i = 0; i < count; i++)
		if (copies[i].keep)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%u ", copies[i].tag);
	return text;
}

TEST(rules_are_words_with_numbers)
{
	struct keep_rules r = rules_of("yearly=3,hourly=24,monthly=0");

	assert_int_equal(r.count[KEEP_HOURLY], 24);
	assert_int_equal(r.count[KEEP_DAILY], 0);
	assert_int_equal(r.count[KEEP_YEARLY], 3);
	static const char *const bad[] = {"", "daily", "daily=", "daily=x", "daily=-1", "daily=1,",
		",daily=1", "daily=1,daily=2", "daily=10000", "daily=99999999999", "daily=0", "weekly=1 ",
		"Daily=1", "daily=1;weekly=1"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(keep_parse(bad[i], &r));
}

TEST(the_newest_of_each_of_the_last_periods_stays)
{
	const int64_t hours[] = {NOON, NOON + 60, NOON + HOUR, NOON + HOUR + 1, NOON + 3 * HOUR};

	assert_string_equal(kept("hourly=1", hours, 5, 0), "4 ");
	assert_string_equal(kept("hourly=2", hours, 5, 0), "4 3 ");
	assert_string_equal(kept("hourly=9", hours, 5, 0), "4 3 1 ");
	assert_string_equal(kept("daily=9", hours, 5, 0), "4 ");
	const int64_t days[] = {
		NOON, NOON + DAY, NOON + 3 * DAY, NOON + 4 * DAY, NOON + 31 * DAY, NOON + 365 * DAY};
	assert_string_equal(kept("daily=2", days, 6, 0), "5 4 ");
	assert_string_equal(kept("weekly=3", days, 6, 0), "5 4 3 ");
	assert_string_equal(kept("weekly=9", days, 6, 0), "5 4 3 2 ");
	assert_string_equal(kept("monthly=9", days, 6, 0), "5 4 3 ");
	assert_string_equal(kept("yearly=9", days, 6, 0), "5 4 ");
	assert_string_equal(kept("yearly=1,daily=3", days, 6, 0), "5 4 3 ");
}

/* 2026-01-04 is a Sunday: with it the week of the 1st ends. */
TEST(weeks_begin_on_monday)
{
	const int64_t days[] = {NOON, NOON + 3 * DAY, NOON + 4 * DAY};

	assert_string_equal(kept("weekly=5", days, 3, 0), "2 1 ");
}

TEST(days_are_the_wall_clocks)
{
	const int64_t made[] = {NOON + 11 * HOUR + 1800, NOON + 12 * HOUR + 1800};

	assert_string_equal(kept("daily=5", made, 2, 0), "1 0 ");
	assert_string_equal(kept("daily=5", made, 2, HOUR), "1 ");
	assert_string_equal(kept("monthly=5,yearly=5", made, 2, -13 * HOUR), "1 ");
}

/* At 3:00 clocks go back to 2:00: 2:30 comes twice, and both hours count. */
TEST(an_hour_that_comes_twice_is_two)
{
	struct keep_copy copies[] = {
		{.made_s = NOON, .offset_s = 2 * HOUR}, {.made_s = NOON + HOUR, .offset_s = HOUR}};
	struct keep_rules r = rules_of("hourly=2");

	keep_apply(&r, copies, 2, INT64_MAX);
	assert_true(copies[0].keep && copies[1].keep);
}

/* Two are from a time to come: they stay, and cost no other its place. */
TEST(a_copy_from_the_future_takes_no_place)
{
	struct keep_copy copies[] = {{.made_s = NOON + 30 * DAY, .tag = 0}, {.made_s = NOON - DAY, .tag = 1},
		{.made_s = NOON + 1, .tag = 2}, {.made_s = NOON, .tag = 3},
		{.made_s = NOON - 2 * DAY, .tag = 4}};
	struct keep_rules r = rules_of("daily=2");

	keep_apply(&r, copies, 5, NOON);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(copies[i].keep, i < 4);
		assert_int_equal(copies[i].by, i == 2 || i == 3 ? 1u << KEEP_DAILY : 0);
	}
	keep_apply(&r, copies, 5, NOON + 30 * DAY);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(copies[i].keep, i < 2);
}

/* Every rule and every set of times, against what the rule says of a single copy. */
static void look_at(const struct keep_rules *r, struct keep_copy *copies, size_t count)
{
	size_t stay = 0, most = 0;

	keep_apply(r, copies, count, INT64_MAX);
	for (size_t i = 0; i < KEEP_PERIODS; i++)
		most += r->count[i];
	for (size_t i = 0; i < count; i++) {
		stay += copies[i].keep;
		if (i)
			assert_true(copies[i - 1].made_s >= copies[i].made_s);
		/* Hours have no wall clock: a copy in an hour of which a newer one is there is not kept for its hour. */
		bool hour_is_new = i == 0 || copies[i - 1].made_s / HOUR != copies[i].made_s / HOUR;
		size_t newer_hours = 0;
		for (size_t k = 1; k <= i; k++)
			newer_hours += copies[k - 1].made_s / HOUR != copies[k].made_s / HOUR;
		if (hour_is_new && newer_hours < r->count[KEEP_HOURLY])
			assert_true(copies[i].keep);
		/* What is kept at all is the newest of its hour: every longer period ends with an hour, too. */
		if (copies[i].keep && copies[i].offset_s % HOUR == 0)
			assert_true(hour_is_new);
	}
	assert_true(!count || copies[0].keep);
	assert_true(stay <= most);
}

/* Keeping twice is keeping once; and who prunes after every copy ends with what one pruning at the end would leave. */
TEST(rules_hold_for_any_copies)
{
	static struct keep_copy copies[MANY], pruned[MANY], all[MANY];

	const char *given = getenv("UMBRA_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	printf("UMBRA_TEST_SEED=%u\n", seed);
	srandom(seed);
	for (unsigned round = 0; round < 300; round++) {
		struct keep_rules r;
		for (size_t i = 0; i < KEEP_PERIODS; i++)
			r.count[i] = (unsigned)(random() % 6);
		r.count[random() % KEEP_PERIODS] += 1;
		int32_t offset = (int32_t)(random() % 27 - 12) * HOUR;
		int64_t at = NOON - 3 * DAY * MANY, step = random() % 4 ? DAY : HOUR;
		size_t count = 0, left = 0;
		for (; count < MANY / 4; count++) {
			at += 1 + random() % (2 * step);
			copies[count] =
				(struct keep_copy){.made_s = at, .offset_s = offset, .tag = (unsigned)count};
			pruned[left++] = copies[count];
			keep_apply(&r, pruned, left, INT64_MAX);
			size_t stay = 0;
			for (size_t i = 0; i < left; i++)
				if (pruned[i].keep)
					pruned[stay++] = pruned[i];
			left = stay;
		}
		look_at(&r, copies, count);
		size_t stay = 0;
		for (size_t i = 0; i < count; i++)
			if (copies[i].keep)
				all[stay++] = copies[i];
		assert_int_equal(stay, left);
		for (size_t i = 0; i < stay; i++)
			assert_int_equal(all[i].tag, pruned[i].tag);
	}
}

static const char *parse(struct copy_words *out, int count, const wchar_t *const *words)
{
	return copy_parse(count, (wchar_t *const *)(uintptr_t)words, out);
}

#define WORDS(...)                                                                                           \
	(int)(sizeof((const wchar_t *const[]){__VA_ARGS__}) / sizeof(wchar_t *)), (const wchar_t *const[])   \
	{                                                                                                    \
		__VA_ARGS__                                                                                  \
	}

TEST(the_words_of_copy)
{
	struct copy_words w;

	assert_null(parse(&w,
		WORDS(L"D:", L"C:\\mnt\\data", L"--label", L"nightly", L"--keep", L"daily=7", L"--json")));
	assert_int_equal(w.volume_count, 2);
	assert_int_equal(w.keep.count[KEEP_DAILY], 7);
	assert_true(w.json && w.keep_given && w.writers == COPY_WRITERS_ALL && !w.document);
	assert_null(parse(&w, WORDS(L"--writers", L"none", L"D:")));
	assert_int_equal(w.writers, COPY_WRITERS_NONE);
	assert_null(parse(&w, WORDS(L"D:", L"--writers", L"SqlServerWriter,System Writer")));
	assert_int_equal(w.writers, COPY_WRITERS_NAMED);
	assert_non_null(parse(&w, WORDS(L"--json")));
	assert_non_null(parse(&w, WORDS(L"D:", L"--label")));
	assert_non_null(parse(&w, WORDS(L"D:", L"--label", L"")));
	assert_non_null(parse(&w, WORDS(L"D:", L"--label", L"a\nb")));
	assert_non_null(parse(&w, WORDS(L"D:", L"--label", L" a")));
	assert_non_null(parse(&w, WORDS(L"D:", L"d:\\")));
	assert_non_null(parse(&w, WORDS(L"D:", L"--keep", L"daily=7")));
	assert_non_null(parse(&w, WORDS(L"D:", L"--writers", L"a,,b")));
	assert_non_null(parse(&w, WORDS(L"D:", L"--writers", L"a,")));
	assert_non_null(
		parse(&w, WORDS(L"D:", L"--label", L"x", L"--keep", L"daily=7", L"--transportable", L"f")));
	assert_non_null(parse(&w, WORDS(L"D:", L"")));
}

TEST(a_label_is_as_long_as_the_array_takes)
{
	struct copy_words w;
	wchar_t label[70];

	for (size_t len = 1; len < 69; len++) {
		wmemset(label, L'x', len);
		label[len] = L'\0';
		assert_int_equal(parse(&w, WORDS(L"D:", L"--label", label)) == NULL, len <= 63);
		wmemset(label, 0xe4, len); /* two bytes each */
		assert_int_equal(parse(&w, WORDS(L"D:", L"--label", label)) == NULL, len <= 31);
	}
}

TEST(at_most_64_volumes)
{
	static wchar_t names[65][8];
	const wchar_t *words[65];
	struct copy_words w;

	for (int i = 0; i < 65; i++) {
		swprintf(names[i], 8, L"M:\\%d", i);
		words[i] = names[i];
	}
	assert_null(parse(&w, 64, words));
	assert_non_null(parse(&w, 65, words));
}

TEST(writers_are_named_without_regard_to_case)
{
	wchar_t name[8];

	assert_true(copy_names_writer(L"A b,Cd", L"a B") && copy_names_writer(L"A b,Cd", L"cD"));
	assert_false(copy_names_writer(L"A b,Cd", L"C") || copy_names_writer(L"A b,Cd", L"Cde") ||
		     copy_names_writer(NULL, L"a"));
	assert_true(copy_writer_at(L"A b,Cd", 1, name, 8) && !wcscmp(name, L"Cd"));
	assert_false(copy_writer_at(L"A b,Cd", 2, name, 8));
	assert_false(copy_writer_at(L"A b,Cdefghij", 1, name, 8));
}

TEST(the_words_of_the_others)
{
	struct copies_words w;
	const wchar_t *const one[] = {L"{1}", L"--overwrite"};
	wchar_t *const *words = (wchar_t *const *)(uintptr_t)one;

	assert_null(copies_parse(2, words, COPIES_OVERWRITE, 1, 64, &w));
	assert_true(w.overwrite && w.id_count == 1);
	assert_non_null(copies_parse(2, words, 0, 1, 64, &w));
	assert_non_null(copies_parse(1, words, 0, 0, 0, &w));
	assert_non_null(copies_parse(0, words, 0, 1, 64, &w));
	const wchar_t *const label[] = {L"--label"};
	assert_non_null(copies_parse(1, (wchar_t *const *)(uintptr_t)label, COPIES_LABEL, 0, 0, &w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_words_with_numbers),
		cmocka_unit_test(the_newest_of_each_of_the_last_periods_stays),
		cmocka_unit_test(weeks_begin_on_monday),
		cmocka_unit_test(days_are_the_wall_clocks),
		cmocka_unit_test(an_hour_that_comes_twice_is_two),
		cmocka_unit_test(a_copy_from_the_future_takes_no_place),
		cmocka_unit_test(rules_hold_for_any_copies),
		cmocka_unit_test(the_words_of_copy),
		cmocka_unit_test(a_label_is_as_long_as_the_array_takes),
		cmocka_unit_test(at_most_64_volumes),
		cmocka_unit_test(writers_are_named_without_regard_to_case),
		cmocka_unit_test(the_words_of_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
