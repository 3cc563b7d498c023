/* SPDX-License-Identifier: Apache-2.0 */
/* The codec between the SCSI port driver and the bridge: round trips, every truncation, lengths that lie. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/bytes.h"
#include "lab/bridge/wire.h"
#include "tests/support/test.h"

static uint8_t frame[LABW_LENGTH_BYTES + LABW_BODY_MAX_BYTES];
static uint8_t payload[LABW_DATA_MAX_BYTES];
static uint64_t seed;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static int set_seed(void **state)
{
	const char *text = getenv("UMBRA_TEST_SEED");

	(void)state;
	seed = text ? strtoull(text, NULL, 10) : 20250131;
	printf("UMBRA_TEST_SEED=%llu\n", (unsigned long long)seed);
	return 0;
}

static size_t whole_request(const struct labw_request *req)
{
	size_t head = labw_request_head(req, frame), data = req->direction == LABW_OUT ? req->data_bytes : 0;

	if (head && data)
		memcpy(frame + head, req->data, data);
	return head ? head + data : 0;
}

TEST(requests_round_trip)
{
	for (int i = 0; i < 2000; i++) {
		struct labw_request in = {.verb = (uint8_t)(1 + next_random() % (LABW_VERB_COUNT - 1))}, out;
		size_t len;

		in.tag = (uint32_t)next_random();
		in.flags = (uint16_t)next_random();
		if (in.verb == LABW_EXEC) {
			in.lun = (uint16_t)(next_random() % LABW_MAX_LUNS);
			in.timeout_ms = (uint32_t)next_random();
			in.direction = (uint8_t)(next_random() % 3);
			in.cdb_bytes = (uint8_t)(1 + next_random() % LABW_CDB_MAX_BYTES);
			memset(in.cdb, i, sizeof(in.cdb));
			in.data_bytes = in.direction ? (uint32_t)(1 + next_random() % 4096) : 0;
			in.data = in.direction == LABW_OUT ? payload : NULL;
		} else if (in.verb == LABW_RESET) {
			in.lun = (uint16_t)(next_random() % LABW_MAX_LUNS);
			in.timeout_ms = (uint32_t)next_random();
		} else if (in.verb == LABW_FAULT) {
			in.fault =
				(struct labw_fault){.kind = (uint8_t)(next_random() % LABW_FAULT_KIND_COUNT),
					.opcode = (uint16_t)(next_random() % (LABW_ANY_OPCODE + 1)),
					.lun = (uint16_t)next_random(),
					.count = (uint16_t)next_random(),
					.skip = (uint16_t)next_random(),
					.value_ms = (uint32_t)next_random()};
		}
		len = whole_request(&in);
		assert_true(len > 0);
		assert_int_equal(labw_body_bytes(frame), len - LABW_LENGTH_BYTES);
		assert_true(labw_request_decode(&out, frame + LABW_LENGTH_BYTES, len - LABW_LENGTH_BYTES));
		if (in.data) {
			assert_memory_equal(in.data, out.data, in.data_bytes);
			out.data = in.data;
		}
		assert_memory_equal(&in, &out, sizeof(in));
		for (size_t cut = 0; cut < len - LABW_LENGTH_BYTES; cut += 1 + cut / 64)
			assert_false(labw_request_decode(&out, frame + LABW_LENGTH_BYTES, cut));
		assert_false(
			labw_request_decode(&out, frame + LABW_LENGTH_BYTES, len - LABW_LENGTH_BYTES + 1));
	}
}

TEST(impossible_requests_are_not_made)
{
	struct labw_request req = {.verb = LABW_EXEC, .cdb_bytes = 6};
	uint8_t head[LABW_HEAD_MAX_BYTES];

	assert_true(labw_request_head(&req, head) > 0);
	req.cdb_bytes = 17;
	assert_int_equal(labw_request_head(&req, head), 0);
	req.cdb_bytes = 0;
	assert_int_equal(labw_request_head(&req, head), 0);
	req.cdb_bytes = 6;
	req.lun = LABW_MAX_LUNS;
	assert_int_equal(labw_request_head(&req, head), 0);
	req.lun = 0;
	req.data_bytes = 1; /* without a direction */
	assert_int_equal(labw_request_head(&req, head), 0);
	req.direction = LABW_IN;
	req.data_bytes = LABW_DATA_MAX_BYTES + 1;
	assert_int_equal(labw_request_head(&req, head), 0);
	req.verb = LABW_VERB_COUNT;
	assert_int_equal(labw_request_head(&req, head), 0);
}

TEST(lengths_that_lie_are_refused)
{
	struct labw_request req = {.verb = LABW_EXEC,
		.cdb_bytes = 10,
		.direction = LABW_OUT,
		.data_bytes = 512,
		.data = payload};
	struct labw_request out;
	size_t len = whole_request(&req);
	uint8_t *body = frame + LABW_LENGTH_BYTES;

	put_be32(frame, 0xFFFFFFFF);
	assert_int_equal(labw_body_bytes(frame), 0);
	put_be32(frame, LABW_BODY_MAX_BYTES + 1);
	assert_int_equal(labw_body_bytes(frame), 0);
	put_be32(frame, 7);
	assert_int_equal(labw_body_bytes(frame), 0);
	put_be32(body + 16, 0xFFFFFFFF); /* data_bytes */
	assert_false(labw_request_decode(&out, body, len - LABW_LENGTH_BYTES));
	put_be32(body + 16, 513);
	assert_false(labw_request_decode(&out, body, len - LABW_LENGTH_BYTES));
	put_be32(body + 16, 511);
	assert_false(labw_request_decode(&out, body, len - LABW_LENGTH_BYTES));
	put_be32(body + 16, 512);
	assert_true(labw_request_decode(&out, body, len - LABW_LENGTH_BYTES));
	body[0] = LABW_VERSION + 1;
	assert_false(labw_request_decode(&out, body, len - LABW_LENGTH_BYTES));
}

static size_t whole_reply(const struct labw_reply *rep, const uint8_t *tail, size_t tail_bytes)
{
	size_t head = labw_reply_head(rep, frame);

	assert_true(head > 0);
	if (tail_bytes)
		memcpy(frame + head, tail, tail_bytes);
	return head + tail_bytes - LABW_LENGTH_BYTES;
}

TEST(an_answered_command_round_trips)
{
	uint8_t sense[LABW_SENSE_MAX_BYTES];
	struct labw_reply in = {
		.verb = LABW_EXEC, .tag = 9, .scsi_status = 2, .residual_bytes = 3, .sense = sense};
	struct labw_reply out;

	memset(sense, 0x5A, sizeof(sense));
	for (in.sense_bytes = 0; in.sense_bytes <= LABW_SENSE_MAX_BYTES; in.sense_bytes += 21) {
		size_t len;

		in.data_bytes = in.sense_bytes * 17;
		len = whole_reply(&in, payload, in.data_bytes);
		assert_true(labw_reply_decode(&out, frame + LABW_LENGTH_BYTES, len));
		assert_int_equal(out.sense_bytes, in.sense_bytes);
		assert_int_equal(out.data_bytes, in.data_bytes);
		assert_int_equal(out.scsi_status, 2);
		assert_int_equal(out.residual_bytes, 3);
		assert_memory_equal(out.sense, sense, in.sense_bytes);
		assert_memory_equal(out.data, payload, in.data_bytes);
		assert_false(labw_reply_decode(&out, frame + LABW_LENGTH_BYTES, len - 1));
	}
	in.sense_bytes = LABW_SENSE_MAX_BYTES + 1;
	assert_int_equal(labw_reply_head(&in, frame), 0);
}

TEST(lun_lists_round_trip)
{
	struct labw_reply in = {.verb = LABW_RESCAN, .lun_count = LABW_MAX_LUNS}, out;
	static uint8_t entries[LABW_MAX_LUNS * LABW_LUN_BYTES];
	struct labw_lun lun, back;
	size_t len;

	for (unsigned int i = 0; i < LABW_MAX_LUNS; i++) {
		lun = (struct labw_lun){.lun = (uint16_t)i,
			.inquiry_bytes = 36,
			.block_bytes = 512,
			.blocks = UINT64_C(1) << 40,
			.identity = i};
		memset(lun.inquiry, (int)i, sizeof(lun.inquiry));
		labw_lun_put(&lun, entries + i * LABW_LUN_BYTES);
	}
	len = whole_reply(&in, entries, sizeof(entries));
	assert_true(labw_reply_decode(&out, frame + LABW_LENGTH_BYTES, len));
	assert_int_equal(out.lun_count, LABW_MAX_LUNS);
	assert_true(labw_lun_get(&back, out.lun_entries + 255 * LABW_LUN_BYTES));
	assert_memory_equal(&back, &lun, sizeof(lun));
	assert_false(labw_reply_decode(&out, frame + LABW_LENGTH_BYTES, len - 1));
	lun.inquiry_bytes = LABW_INQUIRY_BYTES + 1;
	labw_lun_put(&lun, entries);
	assert_false(labw_lun_get(&back, entries));
	lun.inquiry_bytes = 35;
	labw_lun_put(&lun, entries);
	assert_false(labw_lun_get(&back, entries));
	in.lun_count = LABW_MAX_LUNS + 1;
	assert_int_equal(labw_reply_head(&in, frame), 0);
}

TEST(errors_carry_nothing_else)
{
	struct labw_reply in = {.verb = LABW_EXEC, .result = LABW_TIMEOUT, .data_bytes = 100}, out;
	size_t len = whole_reply(&in, NULL, 0);

	assert_true(labw_reply_decode(&out, frame + LABW_LENGTH_BYTES, len));
	assert_int_equal(out.result, LABW_TIMEOUT);
	assert_int_equal(out.data_bytes, 0);
	put_be32(frame + LABW_LENGTH_BYTES + 8, LABW_RESULT_COUNT);
	assert_false(labw_reply_decode(&out, frame + LABW_LENGTH_BYTES, len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_round_trip),
		cmocka_unit_test(impossible_requests_are_not_made),
		cmocka_unit_test(lengths_that_lie_are_refused),
		cmocka_unit_test(an_answered_command_round_trips),
		cmocka_unit_test(lun_lists_round_trip),
		cmocka_unit_test(errors_carry_nothing_else),
	};

	return cmocka_run_group_tests(tests, set_seed, NULL);
}
