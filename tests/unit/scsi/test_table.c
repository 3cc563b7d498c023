/* SPDX-License-Identifier: Apache-2.0 */
/* The command table: every reserved bit of every command, REPORT SUPPORTED OPERATION CODES, sense forms. */
#include "tests/unit/scsi/client.h"

#include <string.h>
#include "array/scsi/command.h"
#include "array/scsi/sense.h"
#include "array/util/bytes.h"

TEST(every_reserved_bit_is_refused)
{
	for (unsigned i = 0; i < scsi_command_count; i++) {
		const struct scsi_command *row = &scsi_commands[i];

		for (unsigned bit = 8; bit < row->cdb_len * 8u; bit++) {
			uint8_t cdb[16] = {row->opcode};

			if (row->usage[bit / 8] & 1u << bit % 8)
				continue;
			if (row->flags & CMD_SA)
				cdb[1] = row->service_action;
			cdb[bit / 8] |= (uint8_t)(1u << bit % 8);
			expect_sense(client_run(&test_a, 1, cdb, sizeof(cdb), NULL, 0), 5, 0x2400);
			/* SKSV, C/D, BPV and the very bit */
			assert_int_equal(test_last.task.sense[15], 0xC8 | bit % 8);
			assert_int_equal(get_be16(test_last.task.sense + 16), bit / 8);
		}
	}
}

TEST(unknown_opcodes_and_actions)
{
	for (unsigned op = 0; op < 256; op++) {
		uint8_t cdb[16] = {(uint8_t)op, 0x1F};
		bool known;

		scsi_command_find(cdb, &known);
		if (!known)
			expect_sense(client_run(&test_a, 1, cdb, sizeof(cdb), NULL, 0), 5, 0x2000);
	}
	expect_sense(run(a, 1, CDB(0x9E, 0x1F), NO_DATA), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0xA3, 0x01), NO_DATA), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x5F, 0x08), NO_DATA), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x5E, 0x04), NO_DATA), 5, 0x2400);
}

TEST(short_cdbs_are_refused)
{
	for (unsigned i = 0; i < scsi_command_count; i++) {
		const struct scsi_command *row = &scsi_commands[i];
		struct scsi_task t = {.nexus = test_a.nexus, .lun = {0, 1}, .cdb_len = row->cdb_len - 1u};

		t.cdb[0] = row->opcode;
		t.cdb[1] = row->service_action;
		assert_false(scsi_task_parse(&t));
		assert_int_equal(get_be16(t.sense + 12), 0x2400);
	}
}

TEST(the_report_lists_every_command_of_the_table)
{
	const uint8_t *d;

	expect_good(run(a, 1, CDB(0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF), NO_DATA));
	d = test_last.data;
	assert_int_equal(get_be32(d), 8 * scsi_command_count);
	assert_int_equal(test_last.len, 4 + 8 * scsi_command_count);
	for (unsigned i = 0; i < scsi_command_count; i++) {
		const uint8_t *e = d + 4 + 8 * i;

		assert_int_equal(e[0], scsi_commands[i].opcode);
		assert_int_equal(get_be16(e + 2), scsi_commands[i].service_action);
		assert_int_equal(e[5], scsi_commands[i].flags & CMD_SA ? 1 : 0);
		assert_int_equal(get_be16(e + 6), scsi_commands[i].cdb_len);
	}
	/* with timeouts: CTDP and 12 bytes more each */
	expect_good(run(a, 1, CDB(0xA3, 0x0C, 0x80, 0, 0, 0, 0, 0, 0xFF, 0xFF), NO_DATA));
	assert_int_equal(get_be32(test_last.data), 20 * scsi_command_count);
	assert_int_equal(test_last.data[4 + 5] & 2, 2);
	assert_int_equal(get_be16(test_last.data + 4 + 8), 10);
	/* the control LU has fewer */
	expect_good(run(c, 0, CDB(0xA3, 0x0C, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF), NO_DATA));
	assert_true(get_be32(test_last.data) < 8 * 16);
}

static uint8_t one(uint8_t option, uint8_t opcode, uint16_t action)
{
	return run(a, 1,
		CDB(0xA3, 0x0C, option, opcode, (uint8_t)(action >> 8), (uint8_t)action, 0, 0, 1, 0, 0, 0),
		NO_DATA);
}

TEST(one_operation_code_is_reported_with_its_usage)
{
	static const uint8_t read16[] = {0, 3, 0, 16, 0x88, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
		0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0};
	static const uint8_t capacity16[] = {
		0, 3, 0, 16, 0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0};

	expect_good(one(1, 0x88, 0));
	assert_int_equal(test_last.len, sizeof(read16));
	assert_memory_equal(test_last.data, read16, sizeof(read16));
	expect_good(one(2, 0x9E, 0x10));
	assert_memory_equal(test_last.data, capacity16, sizeof(capacity16));
	expect_good(one(3, 0x9E, 0x10));
	assert_memory_equal(test_last.data, capacity16, sizeof(capacity16));
	expect_good(one(3, 0x88, 0));
	assert_int_equal(test_last.data[1], 3);
	expect_good(one(3, 0x88, 1));
	assert_int_equal(test_last.data[1], 1);
	expect_good(one(1, 0xC2, 0));
	assert_int_equal(test_last.data[1], 5); /* vendor's manner */
	expect_good(one(1, 0xEE, 0));
	assert_int_equal(test_last.len, 4);
	assert_int_equal(test_last.data[1], 1);
	expect_good(one(2, 0x9E, 0x1E));
	assert_int_equal(test_last.data[1], 1);
	expect_good(one(2, 0x9E, 0x110));
	assert_int_equal(test_last.data[1], 1);
	expect_good(one(0x81, 0x28, 0));
	assert_int_equal(test_last.len, 4 + 10 + 12);
	assert_int_equal(test_last.data[1], 0x83);
	/* an option that does not go with the opcode */
	expect_sense(one(1, 0x9E, 0), 5, 0x2400);
	expect_sense(one(2, 0x88, 0), 5, 0x2400);
	expect_sense(one(4, 0x88, 0), 5, 0x2400);
}

TEST(the_other_reports_tell_functions_and_ports)
{
	struct client gone;

	expect_good(run(a, 1, CDB(0xA3, 0x0D, 0, 0, 0, 0, 0, 0, 0, 16), NO_DATA));
	assert_int_equal(test_last.len, 4);
	assert_memory_equal(test_last.data, "\xDA\0\0\0", 4);
	expect_good(run(a, 1, CDB(0xA3, 0x0D, 0x80, 0, 0, 0, 0, 0, 0, 16), NO_DATA));
	assert_int_equal(test_last.len, 16);
	assert_memory_equal(test_last.data, "\xDA\0\0\x0C", 4);
	expect_sense(run(a, 1, CDB(0xA3, 0x0D, 0, 0, 0, 0, 0, 0, 0, 3), NO_DATA), 5, 0x2400);
	/* one group, both portals */
	expect_good(run(a, 1, CDB(0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA));
	assert_int_equal(test_last.len, 20);
	assert_memory_equal(test_last.data, "\0\0\0\x10\0\x01\0\x01\0\x02\0\x02\0\0\0\x01\0\0\0\x02", 20);
	/* a portal stays listed when its last session has gone */
	client_login(&gone, "iqn.test:b", 9, 9);
	scsi_nexus_destroy(gone.nexus);
	expect_good(run(a, 1, CDB(0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA));
	assert_int_equal(test_last.len, 24);
	assert_memory_equal(test_last.data + 11, "\x03\0\0\0\x01\0\0\0\x02\0\0\0\x09", 13);
	expect_good(run(a, 1, CDB(0xA3, 0x2A, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA));
	assert_int_equal(test_last.len, 28);
	assert_int_equal(test_last.data[4], 0x10);
	expect_sense(run(a, 1, CDB(0xA3, 0x4A, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA), 5, 0x2400);
}

TEST(sense_has_a_fixed_and_a_descriptor_form)
{
	struct scsi_sense s = {.key = SENSE_MISCOMPARE,
		.asc = 0x1D00,
		.has_information = true,
		.information = 0x123,
		.has_field = true,
		.field_in_cdb = true,
		.field_byte = 0x0203,
		.has_bit = true,
		.field_bit = 5};
	static const uint8_t fixed[] = {0xF0, 0, 0x0E, 0, 0, 1, 0x23, 10, 0, 0, 0, 0, 0x1D, 0, 0, 0xCD, 2, 3};
	static const uint8_t descriptors[] = {0x72, 0x0E, 0x1D, 0, 0, 0, 0, 20, 0, 10, 0x80, 0, 0, 0, 0, 0, 0,
		0, 1, 0x23, 2, 6, 0, 0, 0xCD, 2, 3, 0};
	uint8_t out[SCSI_SENSE_MAX_BYTES];

	assert_int_equal(scsi_sense_build(&s, false, out), sizeof(fixed));
	assert_memory_equal(out, fixed, sizeof(fixed));
	assert_int_equal(scsi_sense_build(&s, true, out), sizeof(descriptors));
	assert_memory_equal(out, descriptors, sizeof(descriptors));
	/* what does not fit the fixed form's 32 bits is not valid there */
	s.information = UINT64_C(1) << 40;
	scsi_sense_build(&s, false, out);
	assert_int_equal(out[0], 0x70);
}

TEST(log_pages_tell_how_full_the_pool_is)
{
	expect_good(run(a, 1, CDB(0x4D, 0, 0x40, 0, 0, 0, 0, 1, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 6);
	assert_memory_equal(test_last.data, "\x00\0\0\x02\x00\x0C", 6);
	expect_good(run(a, 1, CDB(0x4D, 0, 0x40, 0xFF, 0, 0, 0, 1, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 10);
	/* 6 GiB free, 256 MiB used, in MiB */
	expect_good(run(a, 1, CDB(0x4D, 0, 0x4C, 0, 0, 0, 0, 1, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 28);
	assert_memory_equal(test_last.data, "\x0C\0\0\x18\0\x01\x03\x08\0\0\x18\0\x02\0\0\0", 16);
	assert_memory_equal(test_last.data + 16, "\0\x02\x03\x08\0\0\x01\0\x01\0\0\0", 12);
	expect_good(run(a, 1, CDB(0x4D, 0, 0x4C, 0, 0, 0, 2, 1, 0, 0), NO_DATA));
	assert_int_equal(test_last.len, 16);
	expect_sense(run(a, 1, CDB(0x4D, 0, 0x4C, 0, 0, 0, 3, 1, 0, 0), NO_DATA), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x4D, 0, 0x4D, 0, 0, 0, 0, 1, 0, 0), NO_DATA), 5, 0x2400);
	expect_sense(run(a, 1, CDB(0x4D, 0, 0xCC, 0, 0, 0, 0, 1, 0, 0), NO_DATA), 5, 0x2400);
	/* a full pool that lies about its size does not wrap */
	fake_stats.used_bytes = fake_stats.capacity_bytes + 5;
	expect_good(run(a, 1, CDB(0x4D, 0, 0x4C, 0, 0, 0, 0, 1, 0, 0), NO_DATA));
	assert_int_equal(get_be32(test_last.data + 8), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, client_setup, client_teardown)
	const struct CMUnitTest tests[] = {T(every_reserved_bit_is_refused), T(unknown_opcodes_and_actions),
		T(short_cdbs_are_refused), T(the_report_lists_every_command_of_the_table),
		T(one_operation_code_is_reported_with_its_usage),
		T(the_other_reports_tell_functions_and_ports), T(sense_has_a_fixed_and_a_descriptor_form),
		T(log_pages_tell_how_full_the_pool_is)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
