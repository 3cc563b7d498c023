/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies: copies are taken when their time has come, whatever the clocks do, and deleted when no rule keeps them, never
 * else. The wall clock is the test's own; what the rules keep is also told by a second, slow reading of them.
 */
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "tests/unit/model/harness.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"

#define MINUTE_MS UINT64_C(60000)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)
#define START_MS  (UINT64_C(1767268800) * 1000) /* 2026-01-01 12:00:00 UTC */

static uint64_t wall_ms = START_MS;

/* In place of clock_gettime in the array's objects (meson.build). */
int harness_clock_gettime(clockid_t clock, struct timespec *t);

int harness_clock_gettime(clockid_t clock, struct timespec *t)
{
	if (clock != CLOCK_REALTIME)
		return (int)syscall(SYS_clock_gettime, clock, t);
	t->tv_sec = (time_t)(wall_ms / 1000);
	t->tv_nsec = (long)(wall_ms % 1000) * 1000000;
	return 0;
}

static int policy_test_setup(void **state)
{
	wall_ms = START_MS;
	setenv("TZ", "UTC", 1);
	tzset();
	return harness_setup(state);
}

/* Both clocks go on. */
static void pass(struct harness *h, uint64_t ms)
{
	for (uint64_t part; ms > 0; ms -= part) {
		part = ms < MINUTE_MS ? ms : MINUTE_MS;
		wall_ms += part;
		harness_advance(h, (unsigned)part);
	}
}

static struct policy_spec spec_of(struct harness *h, const char *lun, uint64_t every_ms, const char *keep)
{
	struct policy_spec s = {
		.name = "nightly", .label = "nightly", .every_ms = every_ms, .at_min = POLICY_NO_TIME};
	const struct lun *l = lun ? lun_find_name(h->array, lun) : NULL;

	if (l)
		memcpy(s.luns[s.lun_count++], l->id, UP_ID_BYTES);
	if (*keep)
		assert_true(keep_parse(keep, &s.keep));
	return s;
}

static int do_put(struct harness *h, const struct policy_spec *s, bool replace)
{
	struct waiter w;

	policy_put(h->array, s, replace, waiter_init(&w));
	return waiter_wait(h, &w);
}

static int do_policy_delete(struct harness *h, const char *name)
{
	struct waiter w;

	policy_delete(h->array, name, waiter_init(&w));
	return waiter_wait(h, &w);
}

static unsigned kept_sets(struct harness *h)
{
	struct set_view v;
	unsigned count = 0;

	for (struct set *s = set_next(h->array, NULL); s; s = set_next(h->array, s)) {
		set_view_of(s, &v);
		count += v.state == UP_SET_KEPT;
	}
	return count;
}

static struct set *newest(struct harness *h)
{
	struct set *last = NULL;

	for (struct set *s = set_next(h->array, NULL); s; s = set_next(h->array, s))
		last = s;
	return last;
}

TEST(copies_are_taken_on_time_and_kept_by_the_rules)
{
	struct harness *h = *state;
	struct policy_spec s;
	struct set_view v;

	make_lun(h, "a", MIB);
	s = spec_of(h, "a", HOUR_MS, "hourly=3,daily=2");
	assert_int_equal(do_put(h, &s, false), 0);
	pass(h, MINUTE_MS);
	assert_int_equal(kept_sets(h), 1); /* the first at once */
	set_view_of(newest(h), &v);
	assert_string_equal(v.name, "nightly-20260101T120100");
	assert_string_equal(v.notes.label, "nightly");
	pass(h, 58 * MINUTE_MS);
	assert_int_equal(kept_sets(h), 1);
	pass(h, 2 * MINUTE_MS); /* 13:01 */
	assert_int_equal(kept_sets(h), 2);
	set_view_of(newest(h), &v);
	assert_in_range(v.cut_unix_ms, START_MS + HOUR_MS, START_MS + HOUR_MS + MINUTE_MS);
	pass(h, 5 * HOUR_MS); /* 18:01 */
	assert_int_equal(kept_sets(h), 3);
	pass(h, 12 * HOUR_MS); /* 06:01: three of the night, and yesterday's last */
	assert_int_equal(kept_sets(h), 4);
	pass(h, 2 * DAY_MS);
	assert_int_equal(kept_sets(h), 4);
	assert_int_equal(events_with(h, "took copy set"), 66 + 1);
}

/* What was missed while umbrad did not run is made up for once. */
TEST(a_missed_turn_comes_once)
{
	struct harness *h = *state;
	struct policy_spec s;

	make_lun(h, "a", MIB);
	s = spec_of(h, "a", HOUR_MS, "");
	assert_int_equal(do_put(h, &s, false), 0);
	pass(h, MINUTE_MS);
	assert_int_equal(kept_sets(h), 1);
	harness_close(h);
	harness_open(h);
	pass(h, MINUTE_MS);
	assert_int_equal(kept_sets(h), 1); /* it knows of its last turn */
	harness_close(h);
	wall_ms += 10 * DAY_MS;
	harness_open(h);
	pass(h, MINUTE_MS);
	assert_int_equal(kept_sets(h), 2);
	pass(h, 10 * MINUTE_MS);
	assert_int_equal(kept_sets(h), 2);
	pass(h, HOUR_MS);
	assert_int_equal(kept_sets(h), 3);
}

/* Ten years ahead, one copy, and back: no turn is missed for more than its time, and none comes twice. */
TEST(a_clock_that_leaps_harms_nothing)
{
	struct harness *h = *state;
	struct policy_spec s;

	make_lun(h, "a", MIB);
	s = spec_of(h, "a", HOUR_MS, "");
	assert_int_equal(do_put(h, &s, false), 0);
	pass(h, MINUTE_MS);
	assert_int_equal(kept_sets(h), 1);
	wall_ms += 3650 * DAY_MS;
	pass(h, MINUTE_MS);
	assert_int_equal(kept_sets(h), 2);
	wall_ms -= 3650 * DAY_MS;
	pass(h, 50 * MINUTE_MS);
	assert_int_equal(kept_sets(h), 2);
	pass(h, 10 * MINUTE_MS);
	assert_int_equal(kept_sets(h), 3);
	pass(h, 5 * HOUR_MS);
	assert_int_equal(kept_sets(h), 8);
	/* a minute back and forth over the hour */
	wall_ms = wall_ms / HOUR_MS * HOUR_MS + HOUR_MS;
	pass(h, 10000);
	assert_int_equal(kept_sets(h), 9);
	for (unsigned i = 0; i < 5; i++) {
		wall_ms -= MINUTE_MS;
		harness_advance(h, 10000);
		wall_ms += MINUTE_MS;
		harness_advance(h, 10000);
	}
	assert_int_equal(kept_sets(h), 9);
}

/*
 * A month ahead for two hours: what was taken then does not make each copy that is taken later the oldest, which goes. And a month
 * behind: what was taken before does not, either.
 */
TEST(a_clock_that_was_wrong_costs_no_copy_that_is_made_later)
{
	struct harness *h = *state;
	struct policy_spec s;

	make_lun(h, "a", MIB);
	s = spec_of(h, "a", HOUR_MS, "hourly=2");
	assert_int_equal(do_put(h, &s, false), 0);
	for (unsigned leap = 0; leap < 2; leap++) {
		uint64_t there = 30 * DAY_MS, back = -there;

		pass(h, 5 * HOUR_MS);
		assert_int_equal(kept_sets(h), 2 + 2 * leap);
		wall_ms += leap ? back : there;
		pass(h, 2 * HOUR_MS + 5 * MINUTE_MS);
		assert_int_equal(kept_sets(h), leap ? 6 : 2);
		if (!leap)
			wall_ms += back;
		for (unsigned hour = 0; hour < 5; hour++) {
			const struct set *last = newest(h);

			pass(h, HOUR_MS + 5 * MINUTE_MS);
			assert_ptr_not_equal(newest(h), last);
		}
		/* those two of the wrong clock, and the last two */
		assert_int_equal(kept_sets(h), leap ? 6 : 4);
	}
}

/* At 02:30: it is not there in spring, and twice in autumn. */
static void nights(struct harness *h, const char *first_noon_utc, unsigned days)
{
	struct policy_spec s = spec_of(h, "a", DAY_MS, "");
	struct tm tm = {0};
	unsigned before;

	s.at_min = 150;
	assert_non_null(strptime(first_noon_utc, "%Y-%m-%d %H:%M", &tm));
	wall_ms = (uint64_t)timegm(&tm) * 1000;
	assert_int_equal(do_put(h, &s, false), 0);
	pass(h, MINUTE_MS);
	before = kept_sets(h);
	for (unsigned day = 1; day <= days; day++) {
		pass(h, DAY_MS);
		assert_int_equal(kept_sets(h), before + day);
	}
	assert_int_equal(do_policy_delete(h, "nightly"), 0);
}

TEST(nights_when_clocks_change_have_one_turn)
{
	struct harness *h = *state;
	struct set_view v;

	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	make_lun(h, "a", MIB);
	nights(h, "2026-03-27 12:00", 4);
	nights(h, "2026-10-23 12:00", 4);
	set_view_of(newest(h), &v);
	assert_in_range(v.cut_unix_ms / 1000 % 86400, 90 * 60, 92 * 60); /* 02:30 CET */
}

TEST(what_is_locked_or_seen_by_a_host_stays)
{
	struct harness *h = *state;
	struct policy_spec s;
	struct policy_verdict *verdicts;
	struct host *host = make_host(h, "a", IQN_A);
	size_t count;

	make_lun(h, "a", MIB);
	s = spec_of(h, "a", HOUR_MS, "hourly=1");
	s.lock_ms = 3 * HOUR_MS;
	assert_int_equal(do_put(h, &s, false), 0);
	pass(h, MINUTE_MS);
	struct set *first = newest(h);
	struct set_view v;
	set_view_of(first, &v);
	assert_true(v.lock_unix_ms > 0);
	struct lun *shadow = lun_find(h->array, v.members[0].shadow_id);
	assert_int_equal(do_map(h, host, shadow, 5), 5);
	pass(h, 2 * HOUR_MS);
	assert_int_equal(kept_sets(h), 3);
	assert_int_equal(policy_judge(h->array, &s, &verdicts, &count), 0);
	assert_int_equal(count, 3);
	assert_int_equal(verdicts[0].word, POLICY_KEEPS);
	assert_int_equal(verdicts[0].by, 1u << KEEP_HOURLY);
	assert_int_equal(verdicts[2].word, POLICY_LOCKED);
	assert_ptr_equal(verdicts[2].set, first);
	free(verdicts);
	pass(h, 3 * HOUR_MS);
	assert_int_equal(policy_judge(h->array, &s, &verdicts, &count), 0);
	assert_int_equal(verdicts[count - 1].word, POLICY_IN_USE);
	free(verdicts);
	unsigned with = kept_sets(h);
	assert_int_equal(do_unmap(h, host, shadow), 0);
	pass(h, 2 * MINUTE_MS);
	assert_int_equal(kept_sets(h), with - 1);
}

/* A set of a host under the label. */
static void host_set(struct harness *h, const uint8_t *id, const char *label)
{
	struct lun *l = lun_find_name(h->array, "a");
	struct set_notes notes = {.writers = UP_WRITERS_NOT_TOLD};
	struct waiter w;

	snprintf(notes.label, sizeof(notes.label), "%s", label);
	make_armed(h, id, IQN_A, &l, 1, NULL);
	set_note(h->array, id, IQN_A, &notes, SET_NOTE_LABEL, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(do_commit(h, id, IQN_A, 0), 0);
	assert_int_equal(do_keep(h, id, IQN_A), 0);
}

TEST(sets_of_hosts_are_deleted_when_the_policy_says_so)
{
	struct harness *h = *state;
	struct policy_spec s;

	make_host(h, "a", IQN_A);
	make_lun(h, "a", MIB);
	for (unsigned i = 1; i <= 3; i++) {
		host_set(h, set_id(i), "sql");
		pass(h, HOUR_MS);
	}
	host_set(h, set_id(4), "other");
	host_set(h, set_id(5), "");
	s = spec_of(h, NULL, 0, "hourly=1");
	memcpy(s.label, "sql", 4);
	assert_int_equal(do_put(h, &s, false), 0);
	pass(h, 5 * MINUTE_MS);
	assert_int_equal(kept_sets(h), 5);
	s.hosts = true;
	assert_int_equal(do_put(h, &s, true), 0);
	pass(h, 5 * MINUTE_MS);
	assert_int_equal(kept_sets(h), 3);
	assert_int_equal(set_state(h, set_id(3)), UP_SET_KEPT);
	assert_int_equal(set_state(h, set_id(4)), UP_SET_KEPT);
	assert_int_equal(set_state(h, set_id(5)), UP_SET_KEPT);
}

TEST(a_turn_that_fails_is_told_once_and_leaves_nothing)
{
	struct harness *h = *state;
	struct policy_spec s;

	make_lun(h, "a", MIB);
	make_lun(h, "b", MIB);
	s = spec_of(h, "a", HOUR_MS, "");
	memcpy(s.luns[s.lun_count++], lun_find_name(h->array, "b")->id, UP_ID_BYTES);
	assert_int_equal(do_delete(h, lun_find_name(h->array, "b")), 0);
	assert_int_equal(do_put(h, &s, false), 0);
	pass(h, 10 * MINUTE_MS);
	assert_int_equal(kept_sets(h), 0);
	assert_int_equal(events_with(h, "took no copies"), 1);
	assert_int_equal(events_with(h, "umbractl policy set nightly --luns"), 1);
	s.lun_count = 1;
	assert_int_equal(do_put(h, &s, true), 0);
	pass(h, HOUR_MS);
	assert_int_equal(kept_sets(h), 1);
	memstore_fail(h->memory, 1, -EIO, false);
	pass(h, HOUR_MS);
	assert_true(memstore_failed(h->memory));
	memstore_fail(h->memory, 0, 0, false);
	assert_int_equal(kept_sets(h), 1);
	pass(h, HOUR_MS);
	assert_int_equal(kept_sets(h), 2);
}

TEST(what_cannot_be_is_refused)
{
	struct harness *h = *state;
	struct policy_spec s, good;

	make_lun(h, "a", MIB);
	good = spec_of(h, "a", DAY_MS, "daily=7");
#define REFUSED(change)                                                                                      \
	s = good;                                                                                            \
	change;                                                                                              \
	assert_int_equal(do_put(h, &s, false), -EINVAL)
	REFUSED(s.name[0] = '-');
	REFUSED(s.name[0] = 0);
	REFUSED(s.label[0] = 0);
	REFUSED(s.label[0] = '\n');
	REFUSED(s.lun_count = 0);
	REFUSED(s.every_ms = 1000);
	REFUSED(s.every_ms = 4000 * DAY_MS);
	REFUSED(s.at_min = 1440);
	REFUSED((s.at_min = 60, s.every_ms = HOUR_MS));
	REFUSED(s.every_ms = 0; s.lock_ms = DAY_MS);
	REFUSED(s.lock_ms = 40000 * DAY_MS);
	REFUSED(s.keep.count[0] = KEEP_COUNT_MAX + 1);
	REFUSED((s.every_ms = 0, memset(&s.keep, 0, sizeof(s.keep))));
	REFUSED((s.lun_count = 2, memcpy(s.luns[1], s.luns[0], UP_ID_BYTES)));
	assert_int_equal(do_put(h, &good, true), -ENOENT);
	assert_int_equal(do_put(h, &good, false), 0);
	assert_int_equal(do_put(h, &good, false), -EEXIST);
	s = good;
	s.name[0] = 'N'; /* under the same label */
	assert_int_equal(do_put(h, &s, false), -EEXIST);
	assert_int_equal(do_policy_delete(h, "Nightly"), -ENOENT);
	assert_int_equal(do_policy_delete(h, "nightly"), 0);
	assert_int_equal(do_policy_delete(h, "nightly"), -ENOENT);
}

TEST(policies_outlive_restarts_and_their_sets_them)
{
	struct harness *h = *state;
	struct policy_spec s;
	struct policy_view v;

	make_lun(h, "a", MIB);
	s = spec_of(h, "a", DAY_MS, "daily=7,yearly=9999");
	s.at_min = 61;
	s.lock_ms = DAY_MS;
	s.hosts = true;
	assert_int_equal(do_put(h, &s, false), 0);
	pass(h, MINUTE_MS);
	for (unsigned i = 0; i < 2; i++) {
		policy_view_of(policy_find(h->array, "nightly"), &v);
		assert_memory_equal(v.spec, &s, sizeof(s));
		assert_in_range(v.last_unix_ms, START_MS, START_MS + MINUTE_MS);
		assert_int_equal(v.next_unix_ms, START_MS + 13 * HOUR_MS + MINUTE_MS);
		assert_null(policy_next(h->array, policy_next(h->array, NULL)));
		harness_reopen(h);
	}
	assert_int_equal(do_policy_delete(h, "nightly"), 0);
	harness_reopen(h);
	assert_null(policy_next(h->array, NULL));
	assert_int_equal(kept_sets(h), 1);
}

/* ---- any history ------------------------------------------------------------------------------------ */

#define HISTORIES   10000u
#define HISTORY_MAX 60u

#define PERIOD_BYTES 40

/* The period's name by the C library's calendar. */
static void period_name(unsigned kind, int64_t made_s, char out[PERIOD_BYTES])
{
	time_t at = (time_t)made_s;
	struct tm tm;

	gmtime_r(&at, &tm);
	if (kind == KEEP_WEEKLY)
		strftime(out, PERIOD_BYTES, "%G %V", &tm);
	else
		snprintf(out, PERIOD_BYTES, "%d %d %d %d", tm.tm_year, kind == KEEP_YEARLY ? 0 : tm.tm_mon,
			kind <= KEEP_DAILY ? tm.tm_mday : 0, kind == KEEP_HOURLY ? tm.tm_hour : 0);
}

/* A second reading of the rules, by names and by counting: is there a rule under whose kind of period this is the newest of
 * its period, and fewer than N periods with a copy are newer? made: from old to new. */
static bool a_rule_keeps(const struct keep_rules *r, const int64_t *made, unsigned count, unsigned which)
{
	char mine[PERIOD_BYTES], other[PERIOD_BYTES], before[PERIOD_BYTES];

	for (unsigned kind = 0; kind < KEEP_PERIODS; kind++) {
		unsigned newer = 0;
		bool newest_of_it = true;

		period_name(kind, made[which], mine);
		memcpy(before, mine, sizeof(before));
		for (unsigned i = which + 1; i < count; i++) {
			period_name(kind, made[i], other);
			newest_of_it = newest_of_it && strcmp(other, mine) != 0;
			newer += strcmp(other, before) != 0;
			memcpy(before, other, sizeof(before));
		}
		if (newest_of_it && newer < r->count[kind])
			return true;
	}
	return false;
}

static unsigned long random_below(unsigned long n)
{
	return (unsigned long)random() % n;
}

TEST(no_history_loses_a_copy_that_a_rule_keeps_or_keeps_another)
{
	const char *given = getenv("UMBRA_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

	(void)state;
	print_message("seed: UMBRA_TEST_SEED=%u\n", seed);
	srandom(seed);
	for (unsigned round = 0; round < HISTORIES; round++) {
		static const int64_t steps[] = {1200, 5400, 50000, 200000, 2000000, 20000000};
		struct keep_copy copies[HISTORY_MAX];
		int64_t made[HISTORY_MAX], at = 1000000000 + (int64_t)random_below(1000000000);
		unsigned count = (unsigned)random_below(HISTORY_MAX + 1);
		struct keep_rules r = {{0}};

		for (unsigned i = 0; i < KEEP_PERIODS; i++)
			r.count[i] = random_below(2) ? (unsigned)random_below(8) : 0;
		for (unsigned i = 0; i < count; i++) {
			at += 1 + (int64_t)random_below((unsigned long)steps[random_below(6)]);
			made[i] = at;
			copies[i] = (struct keep_copy){.made_s = at, .tag = i};
		}
		keep_apply(&r, copies, count, INT64_MAX);
		for (unsigned i = 0; i < count; i++)
			assert_int_equal(copies[i].keep, a_rule_keeps(&r, made, count, copies[i].tag));
	}
}

/* The same of real sets: those that are left are those that a rule keeps. */
TEST(the_sets_that_are_left_are_those_that_the_rules_keep)
{
	struct harness *h = *state;
	struct policy_spec s;
	int64_t made[400];
	unsigned count = 0, left = 0;
	struct set_view v;

	make_lun(h, "a", MIB);
	s = spec_of(h, "a", 7 * HOUR_MS, "hourly=2,daily=3,weekly=4,monthly=2");
	assert_int_equal(do_put(h, &s, false), 0);
	for (unsigned day = 0; day < 90; day++) {
		for (unsigned hour = 0; hour < 24; hour++) {
			const struct set *last = newest(h);

			wall_ms += HOUR_MS;
			harness_advance(h, 90000);
			if (newest(h) == last)
				continue;
			set_view_of(newest(h), &v);
			made[count++] = (int64_t)(v.cut_unix_ms / 1000);
		}
	}
	assert_true(count > 300);
	for (struct set *one = set_next(h->array, NULL); one; one = set_next(h->array, one)) {
		bool found = false;

		set_view_of(one, &v);
		if (v.state != UP_SET_KEPT)
			continue;
		left++;
		for (unsigned i = 0; i < count; i++)
			if (made[i] == (int64_t)(v.cut_unix_ms / 1000))
				found = a_rule_keeps(&s.keep, made, count, i);
		assert_true(found);
	}
	for (unsigned i = 0; i < count; i++)
		left -= a_rule_keeps(&s.keep, made, count, i);
	assert_int_equal(left, 0);
}

#define t(name) cmocka_unit_test_setup_teardown(name, policy_test_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(copies_are_taken_on_time_and_kept_by_the_rules),
		t(a_missed_turn_comes_once),
		t(a_clock_that_leaps_harms_nothing),
		t(a_clock_that_was_wrong_costs_no_copy_that_is_made_later),
		t(nights_when_clocks_change_have_one_turn),
		t(what_is_locked_or_seen_by_a_host_stays),
		t(sets_of_hosts_are_deleted_when_the_policy_says_so),
		t(a_turn_that_fails_is_told_once_and_leaves_nothing),
		t(what_cannot_be_is_refused),
		t(policies_outlive_restarts_and_their_sets_them),
		cmocka_unit_test(no_history_loses_a_copy_that_a_rule_keeps_or_keeps_another),
		t(the_sets_that_are_left_are_those_that_the_rules_keep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
