/* SPDX-License-Identifier: Apache-2.0 */
/* Reservations that outlive a restart (APTPL), and those for others: SPEC_I_PT, ALL_TG_PT, REGISTER AND MOVE.
 */
#include "tests/unit/scsi/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/scsi/reserve.h"
#include "array/util/bytes.h"

#define KEY_A 0xA1
#define KEY_B 0xB1
#define KEY_C 0xC1
#define A1    "iqn.test:a,i,0x800000000001"
#define A2    "iqn.test:a,i,0x800000000002"
#define B1    "iqn.test:b,i,0x800000000001"

static uint8_t list[4096];

/* flags: byte 20; ids: TransportIDs to append (NULL: none), each as a text. */
static size_t parameters(uint64_t key, uint64_t action_key, uint8_t flags, const char *const *ids)
{
	size_t len = 28;

	memset(list, 0, sizeof(list));
	put_be64(list, key);
	put_be64(list + 8, action_key);
	list[20] = flags;
	if (!ids)
		return 24;
	for (; *ids; ids++) {
		size_t text = (strlen(*ids) + 1 + 3) & ~(size_t)3;

		text = text < 20 ? 20 : text;
		list[len] = strchr(*ids, ',') ? 0x45 : 0x05;
		put_be16(list + len + 2, (uint16_t)text);
		memcpy(list + len + 4, *ids, strlen(*ids));
		len += 4 + text;
	}
	put_be32(list + 24, (uint32_t)(len - 28));
	return len;
}

static uint8_t send_list(struct client *c, enum scsi_pr_action action, uint8_t type, size_t len)
{
	return client_run(c, 1, CDB(0x5F, action, type, 0, 0, 0, 0, len >> 8, len & 0xFF, 0), list, len);
}

static uint8_t out(struct client *c, enum scsi_pr_action action, uint8_t type, uint64_t key,
	uint64_t action_key, uint8_t flags)
{
	return send_list(c, action, type, parameters(key, action_key, flags, NULL));
}

static uint8_t write_block(struct client *c)
{
	static uint8_t block[512];

	return client_run(c, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), block, 512);
}

/* Registrants, and through `found` whether (name, port) is one, with its key, and holds. */
struct found {
	unsigned count;
	uint64_t key;
	bool holds;
	uint8_t type;
};

static struct found full_status(const char *name, uint16_t port)
{
	struct found f = {0};
	const uint8_t *d;

	expect_good(run(a, 1, CDB(0x5E, 3, 0, 0, 0, 0, 0, 0xF0, 0, 0), NO_DATA));
	d = test_last.data + 8;
	while (d < test_last.data + test_last.len) {
		f.count++;
		if (strcmp((const char *)d + 28, name) == 0 && get_be16(d + 18) == port) {
			assert_int_equal(f.key, 0); /* once only */
			f.key = get_be64(d);
			f.holds = d[12] & 1;
			f.type = d[13];
		}
		d += 24 + get_be32(d + 20);
	}
	return f;
}

static void restart(void)
{
	client_teardown_sessions();
	fake_restart();
	client_login_all();
}

TEST(kept_over_a_restart)
{
	struct found f;

	expect_good(out(&test_a, PR_REGISTER, 0, 0, KEY_A, PR_APTPL));
	expect_good(out(&test_b, PR_REGISTER_AND_IGNORE, 0, 0, KEY_B, PR_APTPL));
	expect_good(out(&test_a2, PR_REGISTER, 0, 0, KEY_C, PR_APTPL));
	expect_good(out(&test_b, PR_RESERVE, 5, KEY_B, 0, 0));
	expect_good(run(a, 1, CDB(0x5E, 2, 0, 0, 0, 0, 0, 0, 8, 0), NO_DATA));
	assert_int_equal(test_last.data[3], 0x81);
	restart();
	f = full_status(B1, 2);
	assert_int_equal(f.count, 3);
	assert_true(f.holds);
	assert_int_equal(f.type, 5);
	assert_int_equal(f.key, KEY_B);
	assert_int_equal(full_status(A2, 1).key, KEY_C);
	expect_good(write_block(&test_a));
	expect_good(out(&test_a, PR_PREEMPT, 5, KEY_A, KEY_B, 0));
	restart();
	f = full_status(A1, 1);
	assert_int_equal(f.count, 2);
	assert_true(f.holds);
	expect_conflict(write_block(&test_b));
	expect_good(out(&test_a, PR_RELEASE, 5, KEY_A, 0, 0));
	restart();
	f = full_status(A1, 1);
	assert_int_equal(f.count, 2);
	assert_false(f.holds);
	/* all registrants: nobody in particular holds */
	expect_good(out(&test_a, PR_RESERVE, 8, KEY_A, 0, 0));
	restart();
	assert_int_equal(full_status(A2, 1).type, 8);
	expect_good(out(&test_a, PR_CLEAR, 0, KEY_A, 0, 0));
	assert_null(fake_luns[0].lun.reservations);
	restart();
	assert_int_equal(full_status(A1, 1).count, 0);
	/* another LUN was never touched */
	assert_null(fake_luns[1].lun.reservations);
}

/* The APTPL bit of the last REGISTER decides. */
TEST(not_kept_without_aptpl)
{
	expect_good(out(&test_a, PR_REGISTER, 0, 0, KEY_A, 0));
	expect_good(out(&test_a, PR_RESERVE, 1, KEY_A, 0, 0));
	assert_int_equal(fake_keeps, 0);
	restart();
	assert_int_equal(full_status(A1, 1).count, 0);
	expect_good(out(&test_a, PR_REGISTER, 0, 0, KEY_A, PR_APTPL));
	expect_good(out(&test_b, PR_REGISTER, 0, 0, KEY_B, 0));
	assert_null(fake_luns[0].lun.reservations);
	restart();
	assert_int_equal(full_status(A1, 1).count, 0);
	/* also while the first is becoming durable */
	static struct exchange x, y;
	size_t len = parameters(0, KEY_A, PR_APTPL, NULL);

	fake_hold_keeps = true;
	client_begin(&test_a, &x, 1, CDB(0x5F, PR_REGISTER, 0, 0, 0, 0, 0, 0, 24, 0), list, len);
	len = parameters(0, KEY_B, 0, NULL);
	client_begin(&test_b, &y, 1, CDB(0x5F, PR_REGISTER, 0, 0, 0, 0, 0, 0, 24, 0), list, len);
	fake_kept();
	assert_true(x.done && y.done);
	assert_null(fake_luns[0].lun.reservations);
	exchange_free(&x);
	exchange_free(&y);
}

/* The answer waits until it is durable; a task that is aborted meanwhile ends, and the LUN may go. */
TEST(durable_before_the_answer)
{
	static struct exchange x;
	size_t len = parameters(0, KEY_A, PR_APTPL, NULL);

	fake_hold_keeps = true;
	client_begin(&test_a, &x, 1, CDB(0x5F, PR_REGISTER, 0, 0, 0, 0, 0, 0, 24, 0), list, len);
	assert_false(x.done);
	assert_null(fake_luns[0].lun.reservations);
	assert_int_equal(full_status(A1, 1).count, 1);
	fake_kept();
	assert_true(x.done);
	expect_good(x.task.status);
	/* the session goes while its command waits */
	len = parameters(KEY_A, 0, 0, NULL);
	client_begin(&test_a, &x, 1, CDB(0x5F, PR_REGISTER, 0, 0, 0, 0, 0, 0, 24, 0), list, len);
	scsi_nexus_destroy(test_a.nexus);
	assert_false(x.done);
	fake_kept();
	assert_true(x.done && x.task.aborted);
	assert_null(fake_luns[0].lun.reservations);
	client_login(&test_a, "iqn.test:a", 1, 1);
	exchange_free(&x);
}

TEST(what_cannot_be_kept_is_told)
{
	expect_good(out(&test_a, PR_REGISTER, 0, 0, KEY_A, PR_APTPL));
	fake_error = -EROFS;
	assert_int_equal(out(&test_b, PR_REGISTER, 0, 0, KEY_B, PR_APTPL), SCSI_STATUS_CHECK_CONDITION);
	fake_error = 0;
	/* the next one brings it up to date */
	expect_good(out(&test_a, PR_RESERVE, 1, KEY_A, 0, 0));
	restart();
	assert_int_equal(full_status(B1, 2).key, KEY_B);
	assert_int_equal(full_status(B1, 2).count, 2);
}

/* Whatever byte is wrong, or whatever is missing: the LUN is busy rather than free for everybody. */
TEST(damaged_bytes_do_not_open_the_lun)
{
	uint8_t good[512];
	size_t len;

	expect_good(out(&test_a, PR_REGISTER, 0, 0, KEY_A, PR_APTPL));
	expect_good(out(&test_b, PR_REGISTER, 0, 0, KEY_B, PR_APTPL));
	expect_good(out(&test_b, PR_RESERVE, 1, KEY_B, 0, 0));
	len = fake_luns[0].lun.reservations_len;
	assert_true(len < sizeof(good));
	memcpy(good, fake_luns[0].lun.reservations, len);
	for (size_t cut = 1; cut < len; cut++) {
		fake_restart();
		fake_luns[0].lun.reservations_len = (uint32_t)cut;
		assert_int_equal(run(a2, 1, CDB(0x00), NO_DATA), SCSI_STATUS_BUSY);
	}
	fake_luns[0].lun.reservations_len = (uint32_t)len;
	for (size_t at = 0; at < len; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			fake_restart();
			fake_luns[0].lun.reservations[at] ^= (uint8_t)(1u << bit);
			run(a2, 1, CDB(0x00), NO_DATA); /* nothing is read out of bounds */
			fake_luns[0].lun.reservations[at] ^= (uint8_t)(1u << bit);
		}
	fake_restart();
	assert_memory_equal(fake_luns[0].lun.reservations, good, len);
	expect_conflict(write_block(&test_a));
}

TEST(for_other_initiator_ports)
{
	static const char *const two[] = {A2, B1, NULL}, *const named[] = {"iqn.test:b", NULL},
				 *const absent[] = {"iqn.test:nobody", NULL};

	/* B's port is registered through A's target port, not through that of B's session */
	expect_good(send_list(&test_a, PR_REGISTER, 0, parameters(0, KEY_A, PR_SPEC_I_PT | PR_APTPL, two)));
	assert_int_equal(full_status(A2, 1).key, KEY_A);
	assert_int_equal(full_status(B1, 1).key, KEY_A);
	assert_int_equal(full_status(B1, 2).count, 3);
	restart();
	expect_good(out(&test_a2, PR_RESERVE, 1, KEY_A, 0, 0));
	expect_conflict(write_block(&test_b));
	expect_good(out(&test_a2, PR_CLEAR, 0, KEY_A, 0, 0));
	client_clear_attentions(&test_a);
	/* a registered nexus may not; nor may another action; nor may it be malformed */
	expect_good(out(&test_a, PR_REGISTER, 0, 0, KEY_A, 0));
	expect_sense(
		send_list(&test_a, PR_REGISTER, 0, parameters(KEY_A, KEY_C, PR_SPEC_I_PT, two)), 5, 0x2600);
	expect_sense(send_list(&test_b, PR_REGISTER_AND_IGNORE, 0, parameters(0, KEY_B, PR_SPEC_I_PT, two)),
		5, 0x2600);
	expect_sense(
		send_list(&test_b, PR_REGISTER, 0, parameters(0, KEY_B, PR_SPEC_I_PT, absent)), 5, 0x2600);
	for (size_t at = 24; at < 32; at++) {
		size_t len = parameters(0, KEY_B, PR_SPEC_I_PT, two);

		if (at == 29)
			continue; /* reserved */
		list[at] ^= 0x40;
		assert_int_equal(send_list(&test_b, PR_REGISTER, 0, len), SCSI_STATUS_CHECK_CONDITION);
	}
	assert_int_equal(full_status(A1, 1).count, 1);
	/* a device name stands for its living sessions; who is registered already stays as it is */
	expect_good(send_list(&test_a2, PR_REGISTER, 0, parameters(0, KEY_C, PR_SPEC_I_PT, named)));
	assert_int_equal(full_status(B1, 1).key, KEY_C);
	expect_good(send_list(&test_b, PR_REGISTER, 0, parameters(0, KEY_B, PR_SPEC_I_PT, two)));
	assert_int_equal(full_status(A1, 1).key, KEY_A);
	assert_int_equal(full_status(A2, 1).key, KEY_C);
	assert_int_equal(full_status(A2, 2).key, KEY_B);
}

TEST(through_all_target_ports)
{
	expect_good(out(&test_a, PR_REGISTER, 0, 0, KEY_A, PR_ALL_TG_PT));
	assert_int_equal(full_status(A1, 1).key, KEY_A);
	assert_int_equal(full_status(A1, 2).key, KEY_A);
	assert_int_equal(full_status(A1, 2).count, 2);
	expect_good(out(&test_a, PR_REGISTER, 0, KEY_A, KEY_C, PR_ALL_TG_PT));
	assert_int_equal(full_status(A1, 2).key, KEY_C);
	expect_sense(out(&test_a, PR_RESERVE, 1, KEY_C, 0, PR_ALL_TG_PT), 5, 0x2600);
	expect_good(out(&test_a, PR_REGISTER_AND_IGNORE, 0, 0, 0, PR_ALL_TG_PT));
	assert_int_equal(full_status(A1, 1).count, 0);
}

/* REGISTER AND MOVE's list: flags at 17, the target port at 18, the TransportID's length at 20. */
static uint8_t move(struct client *c, uint64_t key, uint64_t action_key, uint8_t flags, uint16_t port,
	const char *id, size_t more)
{
	const char *const ids[] = {id, NULL};
	size_t len = parameters(key, action_key, 0, ids) - 4;

	memmove(list + 24, list + 28, len - 24);
	list[17] = flags;
	put_be16(list + 18, port);
	put_be32(list + 20, (uint32_t)(len - 24 + more));
	return send_list(c, PR_REGISTER_AND_MOVE, 0, len);
}

TEST(a_reservation_moves_to_another_nexus)
{
	expect_conflict(move(&test_a, KEY_A, KEY_B, 0, 2, B1, 0));
	expect_good(out(&test_a, PR_REGISTER, 0, 0, KEY_A, PR_APTPL));
	expect_sense(move(&test_a, KEY_A, KEY_B, 0, 2, B1, 0), 5, 0x2400); /* nothing is reserved */
	expect_good(out(&test_a, PR_RESERVE, 1, KEY_A, 0, 0));
	expect_conflict(move(&test_a, KEY_B, KEY_B, 0, 2, B1, 0));
	expect_sense(move(&test_a, KEY_A, 0, 0, 2, B1, 0), 5, 0x2600);
	expect_sense(move(&test_a, KEY_A, KEY_B, 0, 7, B1, 0), 5, 0x2600);
	expect_sense(move(&test_a, KEY_A, KEY_B, 0, 1, A1, 0), 5, 0x2600); /* itself */
	expect_sense(move(&test_a, KEY_A, KEY_B, 0, 2, B1, 4), 5, 0x1A00);
	expect_sense(move(&test_a, KEY_A, KEY_B, 0, 2, "iqn.test:b", 0), 5, 0x2600);
	expect_good(move(&test_a, KEY_A, KEY_B, 1, 2, B1, 0));
	assert_true(full_status(B1, 2).holds);
	assert_int_equal(full_status(B1, 2).type, 1);
	assert_int_equal(full_status(A1, 1).key, KEY_A);
	expect_conflict(write_block(&test_a));
	expect_good(write_block(&test_b));
	restart();
	expect_good(write_block(&test_b));
	expect_conflict(write_block(&test_a));
	/* to a registrant, and away with oneself; without APTPL nothing is kept any more */
	expect_good(move(&test_b, KEY_B, KEY_C, 2, 1, A1, 0));
	assert_int_equal(full_status(A1, 1).key, KEY_C);
	assert_true(full_status(A1, 1).holds);
	assert_int_equal(full_status(A1, 1).count, 1);
	assert_null(fake_luns[0].lun.reservations);
	/* one that all hold cannot move */
	expect_good(out(&test_a, PR_RELEASE, 1, KEY_C, 0, 0));
	expect_good(out(&test_a, PR_RESERVE, 7, KEY_C, 0, 0));
	expect_conflict(move(&test_a, KEY_C, KEY_B, 0, 2, B1, 0));
}

/* With the longest names what is kept is full before the registrants are. */
TEST(kept_bytes_are_bounded)
{
	static const char tail[] = ",i,0x800000000001";
	char names[8][UP_NAME_MAX_BYTES + sizeof(tail)];
	const char *ids[9] = {0};
	unsigned before;
	uint8_t status;

	for (unsigned round = 0;; round++) {
		for (unsigned i = 0; i < 8; i++) {
			memset(names[i], 'x', UP_NAME_MAX_BYTES);
			memcpy(names[i] + UP_NAME_MAX_BYTES, tail, sizeof(tail));
			names[i][0] = (char)('a' + i);
			names[i][1] = (char)('a' + round / 26);
			names[i][2] = (char)('a' + round % 26);
			ids[i] = names[i];
		}
		before = full_status("", 0).count;
		status = send_list(
			&test_a, PR_REGISTER, 0, parameters(0, KEY_A, PR_SPEC_I_PT | PR_APTPL, ids));
		if (status != SCSI_STATUS_GOOD)
			break;
		expect_good(out(&test_a, PR_REGISTER, 0, KEY_A, 0, PR_APTPL));
		assert_true(round < 100);
	}
	expect_sense(status, 5, 0x5504);
	assert_true(before > 200 && before < PR_REGISTRANTS_MAX);
	restart();
	assert_int_equal(full_status("", 0).count, before);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, client_setup, client_teardown)
	const struct CMUnitTest tests[] = {T(kept_over_a_restart), T(not_kept_without_aptpl),
		T(durable_before_the_answer), T(what_cannot_be_kept_is_told),
		T(damaged_bytes_do_not_open_the_lun), T(for_other_initiator_ports),
		T(through_all_target_ports), T(a_reservation_moves_to_another_nexus),
		T(kept_bytes_are_bounded)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
