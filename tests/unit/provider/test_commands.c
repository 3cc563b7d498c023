/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of "umbra-vss orphans" and "umbra-vss check": words, rules, page 83, what is printed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "provider/copy_kind.h"
#include "provider/finding.h"
#include "provider/orphan_rules.h"
#include "provider/output.h"
#include "provider/page83.h"
#include "provider/set_cost.h"
#include "provider/set_words.h"
#include "provider/shadow_bits.h"
#include "provider/support_text.h"
#include "tests/support/test.h"

#define ID_A L"00112233445566778899aabbccddeeff"
#define ID_B L"{00112233-4455-6677-8899-AABBCCDDEE00}"

static struct orphan_words words;

#define PARSE(...)                                                                                           \
	orphan_parse((int)(sizeof((wchar_t *[]){__VA_ARGS__}) / sizeof(wchar_t *)),                          \
		(wchar_t *[]){__VA_ARGS__}, &words)

TEST(words_that_are_understood)
{
	assert_true(orphan_parse(0, NULL, &words));
	assert_true(!words.json && words.delete_count == 0);
	assert_true(PARSE(L"--json"));
	assert_true(words.json && words.delete_count == 0);
	assert_true(PARSE(L"--delete", ID_A, ID_B, L"--json"));
	assert_true(words.json && words.delete_count == 2);
	assert_int_equal(words.ids[0][15], 0xff);
	assert_int_equal(words.ids[1][15], 0);
	assert_true(PARSE(L"--json", L"--delete", ID_A, L"--delete", ID_A));
	assert_int_equal(words.delete_count, 1);
	assert_false(words.written[0]);
	assert_true(PARSE(L"--delete", ID_B, L"--delete-written", ID_A));
	assert_true(words.delete_count == 2 && !words.written[0] && words.written[1]);
	assert_true(PARSE(L"--delete", ID_A, L"--delete-written", ID_A, L"--delete", ID_A));
	assert_true(words.delete_count == 1 && words.written[0]);
	assert_true(PARSE(L"--unmap", ID_A, L"--delete-written", ID_B));
	assert_true(words.delete_count == 2 && words.unmap[0] && !words.unmap[1] && !words.written[0]);
	assert_true(PARSE(L"--delete-written", ID_B, L"--unmap", ID_A, ID_A));
	assert_true(words.delete_count == 2 && words.unmap[1] && !words.unmap[0] && !words.written[1]);
}

TEST(words_that_are_wrong)
{
	assert_false(PARSE(L"--delete"));
	assert_false(PARSE(L"--delete-written"));
	assert_false(PARSE(L"--unmap"));
	assert_false(PARSE(L"--unmap", ID_A, L"--delete", ID_A)); /* which of the two? */
	assert_false(PARSE(L"--delete-writte", ID_A));
	assert_false(PARSE(ID_A));
	assert_false(PARSE(ID_A, L"--delete"));
	assert_false(PARSE(L"--delete", L"--json"));
	assert_false(PARSE(L"--delete", ID_A, L"--force"));
	assert_false(PARSE(L"--delete", L""));
	assert_false(PARSE(L"--delete", L"00112233445566778899aabbccddeef"));
	assert_false(PARSE(L"--delete", L"00112233445566778899aabbccddeeff0"));
	assert_false(PARSE(L"--delete", L"0011223344556677889\x0161"
					L"abbccddeeff"));
	assert_false(PARSE(L"--delete", L"{{{{{{{{00112233445566778899aabbccddeeff}}}}}}}}"));
}

TEST(more_ids_than_one_command_takes_are_refused)
{
	static wchar_t texts[ORPHANS_DELETE_MAX + 1][33];
	static wchar_t *all[ORPHANS_DELETE_MAX + 2] = {L"--delete"};

	for (int i = 0; i <= ORPHANS_DELETE_MAX; i++) {
		swprintf(texts[i], 33, L"%032x", i);
		all[i + 1] = texts[i];
	}
	assert_true(orphan_parse(ORPHANS_DELETE_MAX + 1, all, &words));
	assert_int_equal(words.delete_count, ORPHANS_DELETE_MAX);
	assert_false(orphan_parse(ORPHANS_DELETE_MAX + 2, all, &words));
}

/* Every combination: an orphan is a shadow LUN of a kept set that no host sees. */
TEST(an_orphan_is_a_kept_shadow_lun_that_no_host_sees)
{
	for (uint32_t kind = 0; kind <= 4; kind++)
		for (uint32_t number = 0; number <= 1; number++)
			for (uint32_t hosts = 0; hosts <= 2; hosts++)
				for (uint32_t set = 0; set <= UP_SET_ABORTED; set++) {
					struct up_lun lun = {.kind = kind,
						.number = number,
						.mapped_hosts = hosts,
						.set_state = set};
					enum orphan_verdict v = orphan_judge(&lun);
					bool want = kind == UP_LUN_SHADOW && !number && !hosts &&
						    (set == 0 || set == UP_SET_KEPT);
					assert_int_equal(v == ORPHAN_YES, want);
					assert_true(strlen(orphan_why(v)) > 10);
				}
	struct up_lun there = {.kind = UP_LUN_SHADOW, .mapped_hosts = 1, .set_state = UP_SET_KEPT};
	assert_int_equal(orphan_judge(&there), ORPHAN_MAPPED_THERE);
	there.number = 7;
	assert_int_equal(orphan_judge(&there), ORPHAN_MAPPED_HERE);
	/* what a host has written to may be somebody's disk by now */
	struct up_lun written = {.kind = UP_LUN_SHADOW,
		.set_state = UP_SET_KEPT,
		.notified = UP_NOTED_WRITTEN | UP_NOTIFY_ALL};
	assert_int_equal(orphan_judge(&written), ORPHAN_WRITTEN);
	assert_non_null(strstr(orphan_why(ORPHAN_WRITTEN), "shadow break"));
	written.notified = UP_NOTIFY_ALL;
	assert_int_equal(orphan_judge(&written), ORPHAN_YES);
	struct up_lun young = {.kind = UP_LUN_SHADOW, .set_state = UP_SET_COMMITTED};
	assert_int_equal(orphan_judge(&young), ORPHAN_NOT_KEPT);
}

TEST(json_strings_are_escaped)
{
	static const struct {
		const char *in, *out;
	} cases[] = {{NULL, "null"}, {"", "\"\""}, {"a\"b\\c", "\"a\\\"b\\\\c\""},
		{"\n\x01\x7f", "\"\\u000a\\u0001\\u007f\""}, {"Grün", "\"Grün\""}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char got[64] = "";
		FILE *out = fmemopen(got, sizeof(got), "w");
		output_json_string(out, cases[i].in);
		fclose(out);
		assert_string_equal(got, cases[i].out);
	}
}

TEST(set_ids_are_shown_as_guids)
{
	uint8_t id[UP_ID_BYTES] = {
		0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
	char text[OUTPUT_SET_ID_CHARS];

	output_set_id(id, text);
	assert_string_equal(text, "{00112233-4455-6677-8899-AABBCCDDEEFF}");
}

/* Against the C library, over the centuries. */
TEST(times_are_those_of_the_c_library)
{
	char text[OUTPUT_TIME_CHARS], want[OUTPUT_TIME_CHARS];

	output_time(0, text);
	assert_string_equal(text, "-");
	output_time(UINT64_MAX, text);
	assert_string_equal(text, "-");
	for (uint64_t s = 1; s < UINT64_C(253402300800); s += 86400 * 13 + 4321) {
		time_t t = (time_t)s;
		struct tm tm;
		gmtime_r(&t, &tm);
		strftime(want, sizeof(want), "%Y-%m-%d %H:%M:%S UTC", &tm);
		output_time(s * 1000 + 999, text);
		assert_string_equal(text, want);
	}
}

/* ---- check ---------------------------------------------------------------------------------------- */

TEST(what_is_wrong_decides)
{
	static struct findings f;
	static char got[4096];

	memset(&f, 0, sizeof(f));
	finding_add(&f, FINDING_OK, "a", NULL, "fine %d", 1);
	finding_add(&f, FINDING_NOTE, "b", "think", "so so");
	finding_add(&f, FINDING_SKIPPED, "c", NULL, "not here");
	assert_true(findings_all_well(&f));
	finding_add(&f, FINDING_WRONG, "d", "do \"x\"", "broken");
	assert_false(findings_all_well(&f));
	FILE *out = fmemopen(got, sizeof(got), "w");
	findings_print(&f, out);
	fclose(out);
	assert_non_null(strstr(got, "wrong    d             broken - do \"x\"\n1 to mend.\n"));
	out = fmemopen(got, sizeof(got), "w");
	findings_print_json(&f, "1.2", out);
	fclose(out);
	assert_non_null(strstr(got, "{\"version\": \"1.2\", \"well\": false, "));
	assert_non_null(strstr(got, "\"text\": \"broken\", \"remedy\": \"do \\\"x\\\"\"}"));
}

TEST(findings_that_have_no_room_are_not_well)
{
	static struct findings f;

	memset(&f, 0, sizeof(f));
	for (int i = 0; i < FINDINGS_MAX; i++)
		finding_add(&f, FINDING_OK, "a", NULL, "%0500d", i);
	assert_true(findings_all_well(&f));
	finding_add(&f, FINDING_OK, "a", NULL, "one more");
	assert_false(findings_all_well(&f));
}

/* A STORAGE_DEVICE_ID_DESCRIPTOR with these identifiers. */
struct made {
	uint8_t type, association, value, len;
};

static size_t make(uint8_t *buf, const struct made *ids, uint32_t count)
{
	size_t at = 12;

	memset(buf, 0, 1024);
	buf[8] = (uint8_t)count;
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *p = buf + at;
		size_t step = (16u + ids[i].len + 3u) & ~3u;
		p[4] = ids[i].type;
		p[8] = ids[i].len;
		p[10] = (uint8_t)step;
		p[12] = ids[i].association;
		memset(p + 16, ids[i].value, ids[i].len);
		at += step;
	}
	return at;
}

static struct page83_disk disk_of(const struct made *ids, uint32_t count)
{
	uint8_t buf[1024];
	struct page83_disk disk;

	assert_true(page83_parse(buf, make(buf, ids, count), &disk));
	return disk;
}

TEST(disks_that_vss_can_tell_apart)
{
	const struct made a[] = {{1, 0, 'x', 20}, {3, 0, 1, 8}, {4, 1, 1, 4}},
			  b[] = {{1, 0, 'x', 20}, {3, 0, 2, 8}}, longer[] = {{3, 0, 1, 16}},
			  part[] = {{1, 0, 'x', 20}}, useless[] = {{5, 0, 1, 4}, {3, 1, 1, 8}};
	struct page83_disk da = disk_of(a, 3), db = disk_of(b, 2), dl = disk_of(longer, 1),
			   dp = disk_of(part, 1), du = disk_of(useless, 2), none = {.id_count = 0};

	assert_int_equal(da.id_count, 2); /* the target port's is not the disk's */
	assert_int_equal(du.id_count, 0);
	assert_true(page83_confused(&da, &da));
	assert_false(page83_confused(&da, &db));
	assert_false(page83_confused(&da, &dl));
	assert_true(page83_confused(&da, &dp)); /* dp has nothing of its own */
	assert_true(page83_confused(&dp, &da));
	assert_false(page83_confused(&du, &du));
	assert_false(page83_confused(&none, &da));
}

/* Cut anywhere, bent anywhere: it reads nothing outside (the sanitizers watch) and keeps its bounds. */
TEST(malformed_descriptors_are_read_within_their_bounds)
{
	const struct made ids[] = {{1, 0, 'x', 40}, {3, 0, 1, 8}, {8, 0, 'n', 24}, {2, 0, 3, 8}};
	uint8_t whole[1024];
	size_t len = make(whole, ids, 4);
	struct page83_disk disk;

	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);
		memcpy(exact, whole, cut);
		bool good = page83_parse(exact, cut, &disk);
		assert_true(disk.id_count <= 4 && (!good || cut > len - 4));
		free(exact);
	}
	for (size_t at = 0; at < len; at++)
		for (unsigned value = 0; value < 256; value += 5) {
			uint8_t *exact = malloc(len);
			memcpy(exact, whole, len);
			exact[at] = (uint8_t)value;
			(void)page83_parse(exact, len, &disk);
			assert_true(disk.id_count <= PAGE83_IDS_MAX);
			free(exact);
		}
}

TEST(words_of_the_setting_for_kinds)
{
	enum up_copy_kind kind = UP_COPY_PLEX;

	assert_false(copy_kind_parse("", &kind));
	assert_false(copy_kind_parse("Plex copy", &kind));
	assert_int_equal(kind, UP_COPY_PLEX);
	assert_true(copy_kind_parse("differential", &kind) && kind == UP_COPY_DIFFERENTIAL);
	assert_true(copy_kind_parse("plex", &kind) && kind == UP_COPY_PLEX);
	assert_true(copy_kind_parse("array", &kind) && kind == UP_COPY_DEFAULT);
}

/* A GPT of two partitions in blocks of `block` bytes: Microsoft's reserved one, and one with these attributes. */
static void make_gpt(uint8_t *disk, size_t block, uint64_t attributes)
{
	uint8_t *header = disk + block, *entries = disk + 2 * block;

	memset(disk, 0, SHADOW_BITS_LOOK_BYTES);
	memcpy(header, "EFI PART", 8);
	header[72] = 2;
	header[80] = 128;
	header[84] = 128;
	memcpy(entries, (uint8_t[]){0x16, 0xe3, 0xc9, 0xe3}, 4);
	entries[128] = 0xa2;
	for (unsigned i = 0; i < 8; i++)
		entries[128 + 48 + i] = (uint8_t)(attributes >> (8 * i));
}

TEST(the_partition_table_tells_whether_vss_has_the_copy)
{
	static uint8_t disk[SHADOW_BITS_LOOK_BYTES];

	assert_int_equal(shadow_bits_of(disk, sizeof(disk)), SHADOW_BITS_UNKNOWN);
	for (size_t block = 512; block <= 4096; block *= 8) {
		make_gpt(disk, block, UINT64_C(0x7) << 60); /* read-only, shadow copy, hidden */
		assert_int_equal(shadow_bits_of(disk, sizeof(disk)), SHADOW_BITS_SET);
		make_gpt(disk, block, UINT64_C(0x5) << 60);
		assert_int_equal(shadow_bits_of(disk, sizeof(disk)), SHADOW_BITS_CLEAR);
		memset(disk + 2 * block + 128, 0, 16); /* the reserved one alone tells nothing */
		assert_int_equal(shadow_bits_of(disk, sizeof(disk)), SHADOW_BITS_UNKNOWN);
	}
}

/* Cut anywhere, bent anywhere: nothing outside is read (the sanitizers watch). */
TEST(malformed_partition_tables)
{
	static uint8_t disk[SHADOW_BITS_LOOK_BYTES];

	make_gpt(disk, 512, UINT64_C(1) << 61);
	for (size_t len = 0; len < 1600; len += 3) {
		uint8_t *exact = malloc(len ? len : 1);
		memcpy(exact, disk, len);
		assert_int_equal(shadow_bits_of(exact, len) == SHADOW_BITS_SET, len >= 1024 + 256);
		free(exact);
	}
	for (size_t at = 512 + 72; at < 512 + 92; at++)
		for (unsigned value = 0; value < 256; value += 17) {
			uint8_t *exact = malloc(2048);
			memcpy(exact, disk, 2048);
			exact[at] = (uint8_t)value;
			(void)shadow_bits_of(exact, 2048);
			free(exact);
		}
}

/* ---- support -------------------------------------------------------------------------------------- */

TEST(secrets_are_known_by_their_names)
{
	static const char *const secret[] = {
		"ChapSecret", "CHAP", "TargetPassword", "pwd", "apiToken", "Credentials"};
	static const char *const open[] = {
		"", "TraceFile", "LaunchPermission", "MaxRequestHoldTime", "Pass", "CommitBudgetMs"};

	for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
		assert_true(support_is_secret(secret[i]));
	for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++)
		assert_false(support_is_secret(open[i]));
	assert_true(support_source_wanted("iscsiprt") && support_source_wanted("VSS"));
	assert_false(support_source_wanted("VSSx"));
	assert_false(support_source_wanted("Security"));
}

static size_t put16(uint8_t *at, const char *text)
{
	size_t n = 0;

	do {
		at[2 * n] = (uint8_t)text[n];
		at[2 * n + 1] = 0;
	} while (text[n++]);
	return 2 * n;
}

/* An EVENTLOGRECORD with a source and two strings. */
static size_t make_event(uint8_t *r)
{
	size_t at = 56;

	memset(r, 0, 512);
	at += put16(r + at, "volsnap");
	at += put16(r + at, "HOST");
	r[36] = (uint8_t)at;
	at += put16(r + at, "C:");
	at += put16(r + at, "late");
	r[0] = (uint8_t)at;
	r[1] = (uint8_t)(at >> 8);
	r[13] = 1; /* 256 s after 1970 */
	r[20] = 8;
	r[23] = 0xc0;
	r[24] = 1;
	r[26] = 2;
	return at;
}

TEST(events_become_lines)
{
	uint8_t record[512];
	size_t len = make_event(record);
	struct support_event e;
	char got[400] = "";

	assert_true(support_event_parse(record, len, 0, &e));
	assert_string_equal(e.source, "volsnap");
	FILE *out = fmemopen(got, sizeof(got), "w");
	support_event_print(record, len, 0, &e, out);
	fclose(out);
	assert_string_equal(got, "1970-01-01 00:04:16 UTC  error       volsnap 8: C: | late\n");
}

/* Cut anywhere, bent anywhere: nothing outside is read (the sanitizers watch). */
TEST(malformed_events)
{
	uint8_t record[512];
	size_t len = make_event(record);
	FILE *out = fopen("/dev/null", "w");
	struct support_event e;

	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);
		memcpy(exact, record, cut);
		assert_false(support_event_parse(exact, cut, 0, &e));
		free(exact);
	}
	for (size_t at = 0; at < len; at++)
		for (unsigned value = 0; value < 256; value += 15) {
			uint8_t *exact = malloc(len);
			memcpy(exact, record, len);
			exact[at] = (uint8_t)value;
			if (support_event_parse(exact, len, 0, &e))
				support_event_print(exact, len, 0, &e, out);
			free(exact);
		}
	fclose(out);
}

TEST(costs_are_what_lies_between_the_calls)
{
	struct set_times t = {.pre_commit_in = 1000,
		.pre_commit_out = 3000,
		.commit_in = 64000,
		.commit_out = 76000,
		.post_commit_in = 98000,
		.post_final_in = 813000};
	struct set_cost c;
	char text[300];

	set_cost_of(&t, 0, &c);
	assert_int_equal(c.writers, UP_WRITERS_TOOK_PART);
	assert_int_equal(c.frozen_us, 812000);
	assert_int_equal(c.flush_us, 61000);
	assert_int_equal(c.commit_us, 12000);
	assert_int_equal(c.release_us, 22000);
	assert_int_equal(set_cost_held_us(&c), 95000);
	assert_false(set_cost_slow(&c));
	set_cost_text(&c, "", text, sizeof(text));
	assert_string_equal(text,
		"Application-consistent (writers took part). Applications were frozen for 812 ms; I/O was held for 95 ms: "
		"flush 61, CommitSnapshots 12, release 22.");
	set_cost_of(&t, COST_CONTEXT_NO_WRITERS | 0x9, &c);
	assert_int_equal(c.writers, UP_WRITERS_LEFT_OUT);
	set_cost_text(&c, "nightly", text, sizeof(text));
	assert_non_null(strstr(text, "Crash-consistent (writers left out)"));
	assert_non_null(strstr(text, " Label: nightly"));
	/* a call that did not come makes no phase */
	t.post_final_in = 0;
	set_cost_of(&t, 0, &c);
	assert_int_equal(c.frozen_us, 0);
}

TEST(a_long_hold_names_its_slowest_phase)
{
	struct set_cost c = {.flush_us = 2000000, .commit_us = 2000000, .release_us = 1000000};
	char text[300];

	assert_false(set_cost_slow(&c)); /* 5 s and no more */
	c.release_us++;
	assert_true(set_cost_slow(&c));
	set_cost_slow_text(&c, text, sizeof(text));
	assert_non_null(strstr(text,
		"held for 5001 ms; the slowest phase was CommitSnapshots with 2000 ms: look at the array"));
	c.flush_us = 2000001;
	set_cost_slow_text(&c, text, sizeof(text));
	assert_non_null(strstr(text, "the slowest phase was flush and hold with 2001 ms"));
	c.release_us = 4000000;
	set_cost_slow_text(&c, text, sizeof(text));
	assert_non_null(strstr(text, "the slowest phase was the release with 4000 ms"));
}

#define SET_WORDS(...)                                                                                       \
	wchar_t *given[] = {__VA_ARGS__};                                                                    \
	struct set_words w;                                                                                  \
	const char *wrong = set_parse(sizeof(given) / sizeof(given[0]), given, &w)

TEST(the_words_of_set_create)
{
	SET_WORDS(L"create", L"--luns", L"3", L"PhysicalDrive12", L"--label", L"sql", L"--json", L"--plex");

	assert_null(wrong);
	assert_int_equal(w.verb, SET_VERB_CREATE);
	assert_int_equal(w.name_count, 2);
	assert_true(!w.volumes && w.json && w.kind == UP_COPY_PLEX);
	assert_int_equal(wcscmp(w.names[1], L"PhysicalDrive12"), 0);
	assert_int_equal(wcscmp(w.label, L"sql"), 0);
}

TEST(the_words_of_the_other_set_commands)
{
	SET_WORDS(L"delete", L"{00112233-4455-6677-8899-AABBCCDDEEFF}", L"ffeeddccbbaa99887766554433221100");
	wchar_t *restore[] = {L"restore", L"00112233445566778899aabbccddeeff", L"--overwrite"};
	wchar_t *list[] = {L"list", L"--all", L"--label", L"x"};
	wchar_t *volumes[] = {L"create", L"--volumes", L"D:", L"E:\\data\\"};

	assert_null(wrong);
	assert_int_equal(w.id_count, 2);
	assert_int_equal(w.ids[0][1], 0x11);
	assert_int_equal(w.ids[1][0], 0xff);
	assert_null(set_parse(3, restore, &w));
	assert_true(w.verb == SET_VERB_RESTORE && w.overwrite && w.id_count == 1);
	assert_non_null(set_parse(2, restore, &w)); /* without --overwrite */
	assert_null(set_parse(4, list, &w));
	assert_true(w.all && w.label);
	assert_null(set_parse(4, volumes, &w));
	assert_true(w.volumes && w.name_count == 2);
}

TEST(wrong_words_of_set)
{
	static wchar_t *const wrong[][6] = {{0}, {L"make"}, {L"create"}, {L"create", L"--luns"},
		{L"create", L"D:"}, {L"create", L"--luns", L"3", L"3"},
		{L"create", L"--luns", L"3", L"--volumes", L"D:"}, {L"create", L"--luns", L"3", L"--label"},
		{L"create", L"--luns", L"3", L"--all"},
		{L"create", L"--luns", L"3", L"--plex", L"--differential"}, {L"list", L"3"},
		{L"list", L"--luns", L"3"}, {L"delete"}, {L"delete", L"nightly"},
		{L"delete", L"00112233445566778899aabbccddeeff", L"--label", L"x"},
		{L"restore", L"00112233445566778899aabbccddeeff"}};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct set_words w;
		int count = 0;
		while (count < 6 && wrong[i][count])
			count++;
		assert_non_null(set_parse(count, wrong[i], &w));
	}
}

TEST(luns_are_named_by_drive_or_id)
{
	uint8_t id[UP_ID_BYTES];
	int drive;

	assert_false(set_parse_lun(L"3", id, &drive));
	assert_int_equal(drive, 3);
	assert_false(set_parse_lun(L"\\\\.\\physicaldrive17", id, &drive));
	assert_int_equal(drive, 17);
	assert_true(set_parse_lun(L"00112233445566778899aabbccddeeff", id, &drive));
	assert_int_equal(id[15], 0xff);
	static const wchar_t *const neither[] = {
		L"", L"D:", L"PhysicalDrive", L"12345", L"-1", L"3x", L"\x20ac"};
	for (size_t i = 0; i < sizeof(neither) / sizeof(neither[0]); i++) {
		assert_false(set_parse_lun(neither[i], id, &drive));
		assert_int_equal(drive, -1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_of_the_setting_for_kinds),
		cmocka_unit_test(words_that_are_understood),
		cmocka_unit_test(words_that_are_wrong),
		cmocka_unit_test(more_ids_than_one_command_takes_are_refused),
		cmocka_unit_test(an_orphan_is_a_kept_shadow_lun_that_no_host_sees),
		cmocka_unit_test(json_strings_are_escaped),
		cmocka_unit_test(set_ids_are_shown_as_guids),
		cmocka_unit_test(times_are_those_of_the_c_library),
		cmocka_unit_test(what_is_wrong_decides),
		cmocka_unit_test(findings_that_have_no_room_are_not_well),
		cmocka_unit_test(disks_that_vss_can_tell_apart),
		cmocka_unit_test(malformed_descriptors_are_read_within_their_bounds),
		cmocka_unit_test(the_partition_table_tells_whether_vss_has_the_copy),
		cmocka_unit_test(malformed_partition_tables),
		cmocka_unit_test(secrets_are_known_by_their_names),
		cmocka_unit_test(events_become_lines),
		cmocka_unit_test(malformed_events),
		cmocka_unit_test(costs_are_what_lies_between_the_calls),
		cmocka_unit_test(a_long_hold_names_its_slowest_phase),
		cmocka_unit_test(the_words_of_set_create),
		cmocka_unit_test(the_words_of_the_other_set_commands),
		cmocka_unit_test(wrong_words_of_set),
		cmocka_unit_test(luns_are_named_by_drive_or_id),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
