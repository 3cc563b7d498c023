/* SPDX-License-Identifier: Apache-2.0 */
/* The control protocol's codec: round trips, every bound, every truncation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proto/umbra_proto.h"
#include "tests/support/test.h"

static struct up_msg in, out;
static uint8_t wire[UP_REPLY_MAX_BYTES + 64];

static void fill(struct up_msg *m)
{
	up_request_init(m, UP_OP_SET_COMMIT, 0x1122334455667788);
	m->is_reply = true;
	m->status = UP_DEADLINE;
	for (unsigned tag = 1; tag < UP_TAG_COUNT; tag++)
		m->has |= UP_HAS(tag);
	memset(m->array_id, 1, UP_ID_BYTES);
	memset(m->set_id, 2, UP_ID_BYTES);
	memset(m->lun_id, 3, UP_ID_BYTES);
	memset(m->target_id, 4, UP_ID_BYTES);
	m->capabilities = UINT64_C(0x8000000000000001);
	m->window_ns = 123456789012;
	m->durable_ns = 5;
	m->authenticated = 1;
	m->max_set_luns = 64;
	m->lease_ms = 600000;
	m->copy_kind = UP_COPY_PLEX;
	m->state = UP_SET_ABORTED;
	m->deadline_ms = 5000;
	m->cursor = 7;
	m->lun_number = 16383;
	m->scope = UP_SCOPE_ALL;
	m->flags = 0xFFFFFFFF;
	m->percent = 100;
	m->max_request = UP_REQUEST_MAX_BYTES;
	m->commit_budget_ms = 5000;
	memset(m->text, 't', UP_TEXT_MAX_BYTES);
	memset(m->label, 'l', UP_LABEL_MAX_BYTES);
	m->writers = UP_WRITERS_LEFT_OUT;
	m->frozen_us = UP_COST_MAX_US;
	m->flush_us = 61000;
	m->commit_us = UINT64_C(0xFEDCBA9876543210);
	m->release_us = 1;
	m->import_us = 2100000;
	memset(m->array_name, 'a', UP_NAME_MAX_BYTES);
	snprintf(m->initiator_name, sizeof(m->initiator_name), "iqn.1991-05.com.microsoft:db1");
	m->lun_count = UP_PAGE_MAX_LUNS;
	for (unsigned i = 0; i < UP_PAGE_MAX_LUNS; i++) {
		struct up_lun *l = &m->luns[i];
		memset(l->id, (int)i, UP_ID_BYTES);
		memset(l->origin_id, 0x80, UP_ID_BYTES);
		memset(l->set_id, 0x81, UP_ID_BYTES);
		l->size_bytes = UINT64_C(1) << (i % 60);
		l->block_bytes = 512;
		l->kind = UP_LUN_SHADOW;
		l->number = i;
		l->copy_kind = UP_COPY_DIFFERENTIAL;
		l->set_state = UP_SET_KEPT;
		l->mapped_hosts = 3;
		l->created_unix_ms = UINT64_C(1764000000000) + i;
	}
}

TEST(everything_round_trips)
{
	fill(&in);
	size_t len = up_encode(&in, wire, sizeof(wire));
	assert_true(len > 0 && len <= UP_REPLY_MAX_BYTES);
	assert_int_equal(up_peek_length(wire, len), len);
	assert_int_equal(up_decode(&out, wire, sizeof(wire)), UP_OK);
	assert_memory_equal(&in, &out, sizeof(in));
}

TEST(every_truncation_is_refused)
{
	fill(&in);
	in.lun_count = 2;
	size_t len = up_encode(&in, wire, sizeof(wire));
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(up_decode(&out, wire, cut), UP_BAD_MESSAGE);
	for (size_t cap = 0; cap < len; cap++)
		assert_int_equal(up_encode(&in, wire, cap), 0);
}

/* Builds a message of one raw field behind a header. */
static size_t raw(uint8_t *buf, unsigned tag, unsigned len, unsigned present)
{
	up_request_init(&in, UP_OP_SET_BEGIN, 1);
	size_t used = up_encode(&in, buf, UP_HEADER_BYTES);
	buf[used] = (uint8_t)(tag >> 8);
	buf[used + 1] = (uint8_t)tag;
	buf[used + 2] = (uint8_t)(len >> 8);
	buf[used + 3] = (uint8_t)len;
	memset(buf + used + 4, 'x', present);
	used += 4 + present;
	buf[10] = (uint8_t)(used >> 8);
	buf[11] = (uint8_t)used;
	return used;
}

TEST(wrong_field_lengths_are_refused)
{
	static const struct {
		unsigned tag, good;
	} rows[] = {{UP_TAG_SET_ID, 16}, {UP_TAG_DEADLINE_MS, 4}, {UP_TAG_CAPABILITIES, 8},
		{UP_TAG_LUN_ENTRY, 96}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t used = raw(wire, rows[i].tag, rows[i].good, rows[i].good);
		assert_int_equal(up_decode(&out, wire, used), UP_OK);
		for (unsigned len = 0; len < rows[i].good; len++) {
			used = raw(wire, rows[i].tag, len, (len + 3) & ~3u);
			assert_int_equal(up_decode(&out, wire, used), UP_BAD_MESSAGE);
		}
		/* says more than is there */
		used = raw(wire, rows[i].tag, rows[i].good, rows[i].good - 4);
		assert_int_equal(up_decode(&out, wire, used), UP_BAD_MESSAGE);
	}
	size_t used = raw(wire, UP_TAG_TEXT, UP_TEXT_MAX_BYTES + 1, UP_TEXT_MAX_BYTES + 1);
	assert_int_equal(up_decode(&out, wire, used), UP_BAD_MESSAGE);
}

TEST(unknown_fields_are_skipped)
{
	size_t used = raw(wire, 0x7777, 5, 8);
	assert_int_equal(up_decode(&out, wire, used), UP_OK);
	assert_int_equal(out.has, 0);
	used = raw(wire, 0xFFFF, 0, 0);
	assert_int_equal(up_decode(&out, wire, used), UP_OK);
}

TEST(repeated_fields_and_inner_nul_are_refused)
{
	size_t used = raw(wire, UP_TAG_CURSOR, 4, 4);
	memcpy(wire + used, wire + used - 8, 8);
	wire[11] = (uint8_t)(used + 8);
	assert_int_equal(up_decode(&out, wire, used + 8), UP_BAD_MESSAGE);
	used = raw(wire, UP_TAG_ARRAY_NAME, 4, 4);
	assert_int_equal(up_decode(&out, wire, used), UP_OK);
	wire[used - 2] = 0;
	assert_int_equal(up_decode(&out, wire, used), UP_BAD_MESSAGE);
}

TEST(too_many_lun_entries_are_refused)
{
	fill(&in);
	in.has = UP_HAS(UP_TAG_LUN_ENTRY);
	size_t len = up_encode(&in, wire, sizeof(wire));
	memcpy(wire + len, wire + len - 100, 100);
	len += 100;
	wire[10] = (uint8_t)(len >> 8);
	wire[11] = (uint8_t)len;
	assert_int_equal(up_decode(&out, wire, len), UP_BAD_MESSAGE);
	in.lun_count++;
	assert_int_equal(up_encode(&in, wire, sizeof(wire)), 0);
}

TEST(another_major_version_is_told)
{
	up_request_init(&in, UP_OP_IDENTIFY, 99);
	size_t len = up_encode(&in, wire, sizeof(wire));
	wire[4] = 2;
	assert_int_equal(up_decode(&out, wire, len), UP_BAD_VERSION);
	assert_int_equal(out.request_id, 99);
	assert_int_equal(out.version_major, 2);
	wire[4] = UP_VERSION_MAJOR;
	wire[5] = 200; /* a later minor version is understood */
	assert_int_equal(up_decode(&out, wire, len), UP_OK);
}

TEST(required_fields_are_checked)
{
	const char *missing;

	up_request_init(&in, UP_OP_SET_COMMIT, 1);
	in.has = UP_HAS(UP_TAG_SET_ID);
	assert_int_equal(up_request_check(&in, &missing), UP_BAD_MESSAGE);
	assert_string_equal(missing, "deadline_ms");
	in.has |= UP_HAS(UP_TAG_DEADLINE_MS);
	assert_int_equal(up_request_check(&in, &missing), UP_OK);
	in.op = UP_OP_COUNT;
	assert_int_equal(up_request_check(&in, &missing), UP_UNSUPPORTED);
	in.op = 0;
	assert_int_equal(up_request_check(&in, NULL), UP_UNSUPPORTED);
}

static uint32_t next_random(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33);
}

/* Property: whatever decodes encodes again to the same meaning; damaged bytes never do harm. */
TEST(damaged_messages_decode_or_are_refused)
{
	const char *given = getenv("UMBRA_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : 20260101;
	static struct up_msg again;
	static uint8_t second[UP_REPLY_MAX_BYTES];
	unsigned decoded = 0;

	print_message("seed %llu (UMBRA_TEST_SEED)\n", (unsigned long long)seed);
	for (unsigned round = 0; round < 20000; round++) {
		fill(&in);
		in.has &= ((uint64_t)next_random(&seed) << 32 | next_random(&seed));
		in.lun_count = next_random(&seed) % 3;
		if (!in.lun_count)
			in.has &= ~UP_HAS(UP_TAG_LUN_ENTRY);
		size_t len = up_encode(&in, wire, sizeof(wire));
		assert_true(len > 0);
		for (unsigned n = next_random(&seed) % 4; n; n--)
			wire[next_random(&seed) % len] = (uint8_t)next_random(&seed);
		if (up_decode(&out, wire, len) != UP_OK)
			continue;
		decoded++;
		out.version_minor = in.version_minor;
		size_t second_len = up_encode(&out, second, sizeof(second));
		assert_true(second_len > 0);
		assert_int_equal(up_decode(&again, second, second_len), UP_OK);
		if (!out.is_reply)
			out.status = 0;
		assert_memory_equal(&out, &again, sizeof(out));
	}
	assert_true(decoded > 1000);
}

TEST(labels_are_plain_text)
{
	static const char *const good[] = {
		"", "nightly", "Nacht und Tag", "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"};
	static const char *const bad[] = {"a\nb", "\x1B[31m", "\x7F",
		"\xC2\x85" /* a control character, U+0085 */, "\xC0\xAF" /* overlong */, "\xE0\x80\xAF",
		"\xF0\x80\x80\xAF", "\xED\xA0\x80" /* surrogate */, "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
		"\x80", "\xE2\x82", "\xFF"};
	char text[UP_LABEL_MAX_BYTES + 2];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(up_label_valid(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(up_label_valid(bad[i]));
	memset(text, 'x', sizeof(text));
	text[UP_LABEL_MAX_BYTES + 1] = '\0';
	assert_false(up_label_valid(text));
	text[UP_LABEL_MAX_BYTES] = '\0';
	assert_true(up_label_valid(text));
}

TEST(names_are_never_null)
{
	for (uint32_t i = 0; i < 40; i++) {
		assert_non_null(up_op_name(i));
		assert_non_null(up_status_name(i));
		assert_non_null(up_set_state_name(i));
		assert_non_null(up_writers_name(i));
	}
	assert_true(up_op_changes(UP_OP_DELETE));
	assert_false(up_op_changes(UP_OP_SET_STATE));
	assert_true(up_op_changes(4711));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_round_trips),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(wrong_field_lengths_are_refused),
		cmocka_unit_test(unknown_fields_are_skipped),
		cmocka_unit_test(repeated_fields_and_inner_nul_are_refused),
		cmocka_unit_test(too_many_lun_entries_are_refused),
		cmocka_unit_test(another_major_version_is_told),
		cmocka_unit_test(required_fields_are_checked),
		cmocka_unit_test(damaged_messages_decode_or_are_refused),
		cmocka_unit_test(labels_are_plain_text),
		cmocka_unit_test(names_are_never_null),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
