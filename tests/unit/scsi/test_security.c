/* SPDX-License-Identifier: Apache-2.0 */
/* The door of the control channel: SECURITY PROTOCOL IN/OUT and the vendor opcodes. */
#include "tests/unit/scsi/client.h"

#include <errno.h>
#include <string.h>
#include "array/scsi/attention.h"
#include "array/util/bytes.h"

/* The control layer's part, played: one mailbox. */
static struct {
	int out_result;
	long in_result; /* of the next `in`, when it does not wait */
	bool waits, cancelled;
	struct host_nexus *nexus;
	struct lun *lun;
	uint16_t slot;
	uint8_t message[UP_REQUEST_MAX_BYTES];
	size_t len;
	unsigned outs, ins;
	uint8_t *buf;
	size_t cap;
	void (*done)(void *arg, long result);
	void *arg;
} box;

static int box_out(
	void *ctx, struct host_nexus *nexus, struct lun *lun, uint16_t slot, const uint8_t *data, size_t len)
{
	assert_ptr_equal(ctx, &box);
	box.nexus = nexus;
	box.lun = lun;
	box.slot = slot;
	box.len = len;
	box.outs++;
	if (len)
		memcpy(box.message, data, len);
	return box.out_result;
}

static void *box_in(void *ctx, struct host_nexus *nexus, uint16_t slot, uint8_t *buf, size_t cap,
	void (*done)(void *arg, long result), void *arg)
{
	assert_ptr_equal(ctx, &box);
	box.nexus = nexus;
	box.slot = slot;
	box.ins++;
	box.buf = buf;
	box.cap = cap;
	box.done = done;
	box.arg = arg;
	if (box.waits)
		return &box;
	if (box.in_result > 0)
		memset(buf, 0x5E, (size_t)box.in_result < cap ? (size_t)box.in_result : cap);
	done(arg, box.in_result);
	return NULL;
}

static void box_cancel(void *ctx, void *token)
{
	assert_ptr_equal(ctx, &box);
	assert_ptr_equal(token, &box);
	box.cancelled = true;
}

static const struct scsi_inband inband = {.ctx = &box, .out = box_out, .in = box_in, .cancel = box_cancel};

static int setup(void **state)
{
	memset(&box, 0, sizeof(box));
	return client_setup_inband(state, &inband);
}

static uint8_t put(
	struct client *c, unsigned lun, uint8_t opcode, uint8_t protocol, uint16_t slot, uint32_t len)
{
	static uint8_t data[UP_REQUEST_MAX_BYTES + 512];
	uint8_t cdb[16] = {opcode, protocol};

	memset(data, 0x3C, sizeof(data));
	put_be16(cdb + 2, slot);
	put_be32(cdb + 6, len);
	return client_run(c, lun, cdb, sizeof(cdb), data, len < sizeof(data) ? len : sizeof(data));
}

static uint8_t get(
	struct client *c, unsigned lun, uint8_t opcode, uint8_t protocol, uint16_t slot, uint32_t len)
{
	uint8_t cdb[16] = {opcode, protocol};

	put_be16(cdb + 2, slot);
	put_be32(cdb + 6, len);
	return client_run(c, lun, cdb, sizeof(cdb), NULL, 0);
}

TEST(messages_go_through)
{
	static const uint8_t opcodes[][2] = {{0xB5, 0xA2}, {0xC5, 0xC2}};

	for (unsigned i = 0; i < 2; i++) {
		expect_good(put(&test_a, 2, opcodes[i][0], 0xF0, 0x1234, 512));
		assert_ptr_equal(box.nexus, scsi_nexus_array(test_a.nexus));
		assert_ptr_equal(box.lun, &fake_luns[1].lun);
		assert_int_equal(box.slot, 0x1234);
		assert_int_equal(box.len, 512);
		assert_int_equal(box.message[511], 0x3C);
		box.in_result = 100;
		expect_good(get(&test_a, 2, opcodes[i][1], 0xF0, 0x1234, 65536));
		assert_int_equal(box.cap, UP_REPLY_MAX_BYTES);
		assert_int_equal(test_last.len, 100);
		assert_int_equal(test_last.data[99], 0x5E);
		expect_good(get(&test_a, 2, opcodes[i][1], 0xF0, 1, 50));
		assert_int_equal(test_last.len, 50);
	}
	/* the control LU is no LUN; LUN 0 that is absent has no door */
	expect_good(put(&test_c, 0, 0xB5, 0xF0, 1, 64));
	assert_null(box.lun);
	expect_sense(put(&test_a, 0, 0xB5, 0xF0, 1, 64), 5, 0x2500);
	expect_sense(get(&test_a, 9, 0xA2, 0xF0, 1, 64), 5, 0x2500);
	expect_good(put(&test_a, 1, 0xB5, 0xF0, 1, UP_REQUEST_MAX_BYTES));
}

/* They get their buffers before others do, so that waiting writes never stop them. */
TEST(a_control_request_is_urgent_under_either_opcode)
{
	static uint8_t block[512];

	expect_good(put(&test_a, 1, 0xB5, 0xF0, 1, 64));
	assert_true(scsi_task_is_urgent(&test_last.task));
	expect_good(put(&test_a, 1, UP_OPCODE_VENDOR_OUT, 0xF0, 1, 64));
	assert_true(scsi_task_is_urgent(&test_last.task));
	expect_good(run(a, 1, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1), NO_DATA));
	assert_true(scsi_task_is_urgent(&test_last.task));
	expect_good(run(a, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1), block, sizeof(block)));
	assert_false(scsi_task_is_urgent(&test_last.task));
}

TEST(what_is_refused)
{
	static const uint8_t protocols[] = {0x01, 0x02, 0x20, 0x40, 0xEE, 0xEF, 0xF1, 0xFF};
	static const uint8_t opcodes[] = {0xA2, 0xB5, 0xC2, 0xC5};

	for (size_t i = 0; i < sizeof(opcodes); i++) {
		bool out = opcodes[i] == 0xB5 || opcodes[i] == 0xC5;

		for (size_t p = 0; p < sizeof(protocols); p++) {
			expect_sense(out ? put(&test_a, 1, opcodes[i], protocols[p], 0, 512)
					 : get(&test_a, 1, opcodes[i], protocols[p], 0, 512),
				5, 0x2400);
			assert_int_equal(get_be16(test_last.task.sense + 16), 1);
		}
		uint8_t inc[16] = {opcodes[i], 0xF0, 0, 0, 0x80, 0, 0, 0, 0, 1};
		expect_sense(client_run(&test_a, 1, inc, sizeof(inc), inc, 1), 5, 0x2400);
		assert_int_equal(get_be16(test_last.task.sense + 16), 4);
	}
	expect_sense(put(&test_a, 1, 0xB5, 0x00, 0, 0), 5, 0x2400);
	expect_sense(get(&test_a, 1, 0xC2, 0x00, 0, 512), 5, 0x2400);
	expect_sense(put(&test_a, 1, 0xB5, 0xF0, 0, 4 * UP_REQUEST_MAX_BYTES + 1), 5, 0x2400);
	expect_sense(get(&test_a, 1, 0xA2, 0x00, 2, 512), 5, 0x2400);
	assert_int_equal(box.outs + box.ins, 0);
	/* announced more than came */
	expect_sense(run(a, 1, CDB(0xB5, 0xF0, 0, 0, 0, 0, 0, 0, 1, 0), inband.ctx, 100), 5, 0x1A00);
}

TEST(protocol_00h_tells_what_there_is)
{
	expect_good(get(&test_a, 1, 0xA2, 0x00, 0, 512));
	assert_int_equal(test_last.len, 10);
	assert_memory_equal(test_last.data, "\0\0\0\0\0\0\0\2\x00\xF0", 10);
	expect_good(get(&test_a, 1, 0xA2, 0x00, 1, 512));
	assert_int_equal(test_last.len, 4);
	assert_memory_equal(test_last.data, "\0\0\0\0", 4);
}

TEST(errors_become_sense)
{
	box.out_result = -EMSGSIZE;
	expect_sense(put(&test_a, 1, 0xB5, 0xF0, 1, 64), 5, 0x1A00);
	box.out_result = -ENOBUFS;
	assert_int_equal(put(&test_a, 1, 0xB5, 0xF0, 1, 64), SCSI_STATUS_BUSY);
	box.out_result = -EBUSY;
	assert_int_equal(put(&test_a, 1, 0xB5, 0xF0, 1, 64), SCSI_STATUS_BUSY);
	box.in_result = -ENOENT;
	expect_sense(get(&test_a, 1, 0xA2, 0xF0, 1, 64), 5, 0x2C00);
}

/* Neither attentions nor reservations nor the order of tasks stand in the way; and attentions stay for whom
 * they are meant. */
TEST(nothing_stands_in_the_way)
{
	static struct exchange hold, ordered;
	uint8_t list[24] = {0};

	scsi_attention_set(test_a.nexus, 1, ATTENTION_CAPACITY);
	scsi_attention_set(test_a.nexus, 0, ATTENTION_REPORTED_LUNS);
	list[15] = 9;
	expect_good(run(b, 1, CDB(0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0), list, 24));
	list[7] = 9;
	expect_good(run(b, 1, CDB(0x5F, 1, 3, 0, 0, 0, 0, 0, 24, 0), list, 24));
	expect_good(put(&test_a, 1, 0xB5, 0xF0, 1, 64));
	box.in_result = 32;
	expect_good(get(&test_a, 1, 0xA2, 0xF0, 1, 64));
	fake_hold_io = true;
	client_begin(&test_b, &hold, 1, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA);
	client_begin_attribute(&test_b, &ordered, 1, CDB(0x35), NO_DATA, SCSI_ORDERED, 1);
	expect_good(get(&test_a, 1, 0xA2, 0xF0, 1, 64));
	fake_complete();
	assert_true(hold.done && ordered.done);
	fake_hold_io = false;
	expect_sense(run(a, 1, CDB(0x00), NO_DATA), 6, 0x3F0E);
	expect_sense(run(a, 1, CDB(0x00), NO_DATA), 6, 0x2A09);
	/* another protocol is an ordinary command: it meets the reservation */
	expect_conflict(get(&test_a, 1, 0xA2, 0x00, 0, 64));
	exchange_free(&hold);
	exchange_free(&ordered);
}

static void tmf_done(struct scsi_tmf_call *call, enum scsi_tmf_result result)
{
	(void)call;
	assert_int_equal(result, SCSI_TMF_COMPLETE);
}

TEST(a_waiting_fetch_ends_late_or_is_given_up)
{
	static struct exchange x;
	static const uint8_t cdb[16] = {0xA2, 0xF0, 0, 7, 0, 0, 0, 0, 1, 0};
	struct scsi_tmf_call call = {.function = SCSI_ABORT_TASK, .lun = {0, 1}, .tag = 6, .done = tmf_done};

	box.waits = true;
	client_begin_attribute(&test_a, &x, 1, cdb, sizeof(cdb), NO_DATA, SCSI_SIMPLE, 5);
	assert_false(x.done);
	expect_good(run(a, 1, CDB(0x00), NO_DATA));
	memset(box.buf, 0x77, box.cap);
	box.done(box.arg, 256);
	assert_true(x.done);
	expect_good(x.task.status);
	assert_int_equal(x.len, 256);
	client_begin_attribute(&test_a, &x, 1, cdb, sizeof(cdb), NO_DATA, SCSI_SIMPLE, 6);
	call.nexus = test_a.nexus;
	scsi_tmf(&call);
	assert_true(box.cancelled && x.done && x.task.aborted);
	box.cancelled = false;
	client_begin_attribute(&test_a, &x, 1, cdb, sizeof(cdb), NO_DATA, SCSI_SIMPLE, 7);
	scsi_nexus_destroy(test_a.nexus);
	test_a.nexus = NULL;
	assert_true(box.cancelled && x.done && x.task.aborted);
	exchange_free(&x);
}

TEST(without_a_control_layer)
{
	expect_sense(put(&test_a, 1, 0xB5, 0xF0, 1, 64), 5, 0x2400);
	expect_good(get(&test_a, 1, 0xA2, 0x00, 0, 512));
	assert_int_equal(test_last.len, 9);
	assert_int_equal(test_last.data[7], 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, client_teardown)
	const struct CMUnitTest tests[] = {T(messages_go_through),
		T(a_control_request_is_urgent_under_either_opcode), T(what_is_refused),
		T(protocol_00h_tells_what_there_is), T(errors_become_sense), T(nothing_stands_in_the_way),
		T(a_waiting_fetch_ends_late_or_is_given_up),
		cmocka_unit_test_setup_teardown(without_a_control_layer, client_setup, client_teardown)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
