/* SPDX-License-Identifier: Apache-2.0 */
/* What the lab's VSS varies by a seed: the same for the same seed, all of it within a few seeds. */
#include "tests/support/test.h"

#include <string.h>
#include <wchar.h>
#include "lab/coordinator/vary.h"

#define SEEDS 400

TEST(nothing_is_varied_without_a_seed)
{
	struct variation v, zero = {0};

	vary_choose(&v, 0);
	assert_memory_equal(&v, &zero, sizeof(v));
}

TEST(one_seed_says_the_same_each_time)
{
	struct variation a, b;

	for (uint32_t seed = 1; seed < SEEDS; seed++) {
		vary_choose(&a, seed);
		vary_choose(&b, seed);
		assert_memory_equal(&a, &b, sizeof(a));
	}
}

TEST(everything_comes_and_stays_in_bounds)
{
	unsigned trials[VARY_TRIALS] = {0}, late = 0, set = 0, reload = 0, in_hold = 0;
	const wchar_t *methods[16] = {NULL};
	unsigned method_count = 0;

	for (uint32_t seed = 1; seed <= SEEDS; seed++) {
		wchar_t text[VARY_TEXT_CHARS];
		struct variation v;
		unsigned i = 0;
		vary_choose(&v, seed);
		assert_true(v.trial < VARY_TRIALS && v.held_first < 64);
		assert_true(v.stagger_ms <= VARY_STAGGER_MAX_MS && v.freeze_ms <= VARY_FREEZE_MAX_MS);
		trials[v.trial]++;
		late += v.targets_late;
		set += v.locate_set;
		reload += v.reload;
		in_hold += v.held_first > 0;
		while (v.method && i < method_count && methods[i] != v.method)
			i++;
		if (v.method && i == method_count)
			methods[method_count++] = v.method;
		vary_text(&v, text);
		assert_true(wcslen(text) < VARY_TEXT_CHARS - 1);
	}
	for (unsigned i = 0; i < VARY_TRIALS; i++)
		assert_true(trials[i] > 0);
	assert_int_equal(method_count, 7);
	assert_true(late > SEEDS / 4 && set > SEEDS / 4 && reload > 0 && in_hold > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_varied_without_a_seed),
		cmocka_unit_test(one_seed_says_the_same_each_time),
		cmocka_unit_test(everything_comes_and_stays_in_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
