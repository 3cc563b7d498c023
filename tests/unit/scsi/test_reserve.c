/* SPDX-License-Identifier: Apache-2.0 */
/* Reservations: PERSISTENT RESERVE IN and OUT with all types, RESERVE and RELEASE(6), who conflicts with
 * whom. */
#include "tests/unit/scsi/client.h"

#include <string.h>
#include "array/scsi/reserve.h"
#include "array/util/bytes.h"

#define KEY_A 0xA1
#define KEY_B 0xB1
#define KEY_C 0xC1

enum {
	REGISTER,
	RESERVE,
	RELEASE,
	CLEAR,
	PREEMPT,
	PREEMPT_AND_ABORT,
	REGISTER_AND_IGNORE
};

static uint8_t buf[512];

static uint8_t out(struct client *c, uint8_t action, uint8_t type, uint64_t key, uint64_t action_key)
{
	uint8_t list[24] = {0};

	put_be64(list, key);
	put_be64(list + 8, action_key);
	return client_run(c, 1, CDB(0x5F, action, type, 0, 0, 0, 0, 0, 24, 0), list, 24);
}

static uint32_t generation(void)
{
	expect_good(run(a, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 1, 0, 0), NO_DATA));
	return get_be32(test_last.data);
}

/* Holder's type and key; type 0: none. */
static uint8_t reservation(uint64_t *key)
{
	expect_good(run(a, 1, CDB(0x5E, 1, 0, 0, 0, 0, 0, 1, 0, 0), NO_DATA));
	if (get_be32(test_last.data + 4) == 0) {
		assert_int_equal(test_last.len, 8);
		return 0;
	}
	assert_int_equal(test_last.len, 24);
	*key = get_be64(test_last.data + 8);
	return test_last.data[21];
}

static uint8_t tur(struct client *c)
{
	return client_run(c, 1, CDB(0x00), NO_DATA);
}

static uint8_t read_block(struct client *c)
{
	return client_run(c, 1, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA);
}

static uint8_t write_block(struct client *c)
{
	return client_run(c, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), buf, 512);
}

static void register_three(void)
{
	expect_good(out(&test_a, REGISTER, 0, 0, KEY_A));
	expect_good(out(&test_b, REGISTER, 0, 0, KEY_B));
	expect_good(out(&test_a2, REGISTER, 0, 0, KEY_C));
}

TEST(a_registration_belongs_to_a_nexus)
{
	assert_int_equal(generation(), 0);
	expect_conflict(out(&test_a, REGISTER, 0, 5, KEY_A)); /* not registered with 5 */
	expect_good(out(&test_a, REGISTER, 0, 0, KEY_A));
	expect_good(out(&test_b, REGISTER_AND_IGNORE, 0, 0x1234, KEY_B));
	assert_int_equal(generation(), 2);
	assert_int_equal(test_last.len, 24);
	assert_int_equal(get_be32(test_last.data + 4), 16);
	assert_int_equal(get_be64(test_last.data + 8), KEY_A);
	assert_int_equal(get_be64(test_last.data + 16), KEY_B);
	/* a second path of the same host is another nexus */
	expect_conflict(out(&test_a2, RESERVE, 1, KEY_A, 0));
	expect_conflict(out(&test_a, REGISTER, 0, 0, 9));
	expect_good(out(&test_a, REGISTER, 0, KEY_A, 9));
	expect_good(out(&test_a, REGISTER_AND_IGNORE, 0, 0, KEY_A));
	expect_good(out(&test_a, REGISTER, 0, KEY_A, 0));
	expect_good(out(&test_b, REGISTER_AND_IGNORE, 0, 0, 0));
	assert_int_equal(generation(), 6);
	assert_int_equal(get_be32(test_last.data + 4), 0);
	/* the registration outlives its session */
	expect_good(out(&test_b, REGISTER, 0, 0, KEY_B));
	scsi_nexus_destroy(test_b.nexus);
	client_login(&test_b, "iqn.test:b", 1, 2);
	client_clear_attentions(&test_b);
	expect_good(out(&test_b, RESERVE, 1, KEY_B, 0));
}

TEST(bad_parameters_are_refused)
{
	uint8_t list[25] = {0};

	expect_sense(run(a, 1, CDB(0x5F, 0, 0, 0, 0, 0, 0, 0, 23, 0), list, 23), 5, 0x1A00);
	expect_sense(run(a, 1, CDB(0x5F, 0, 0, 0, 0, 0, 0, 0, 25, 0), list, 25), 5, 0x1A00);
	expect_sense(run(a, 1, CDB(0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0), list, 20), 5, 0x1A00);
	list[20] = 0x08; /* SPEC_I_PT without a list */
	expect_sense(run(a, 1, CDB(0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0), list, 24), 5, 0x1A00);
	expect_good(out(&test_a, REGISTER, 0, 0, KEY_A));
	static const uint8_t types[] = {0, 2, 4, 9, 15};
	for (unsigned i = 0; i < sizeof(types); i++)
		expect_sense(out(&test_a, RESERVE, types[i], KEY_A, 0), 5, 0x2400);
	expect_sense(out(&test_a, RESERVE, 0x11, KEY_A, 0), 5, 0x2400); /* scope */
	expect_sense(out(&test_a, PREEMPT, 1, KEY_A, 0), 5, 0x2600);
}

/* SPC-4 tables 65 and 66, for each type: what the holder, a registrant and a stranger may do. */
/* What the control layer asks before a resync. */
static bool may_write(struct client *c)
{
	return c->nexus->array.ops->may_write(&c->nexus->array, &fake_luns[0].lun);
}

TEST(who_conflicts_with_whom)
{
	static const struct {
		uint8_t type;
		bool registrant_writes, registrant_reads, stranger_reads;
	} rows[] = {
		{1, false, true, true},
		{3, false, false, false},
		{5, true, true, true},
		{6, true, true, false},
		{7, true, true, true},
		{8, true, true, false},
	};

	expect_good(out(&test_a, REGISTER, 0, 0, KEY_A));
	expect_good(out(&test_b, REGISTER, 0, 0, KEY_B));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t key;

		expect_good(out(&test_a, RESERVE, rows[i].type, KEY_A, 0));
		assert_int_equal(reservation(&key), rows[i].type);
		assert_int_equal(key, rows[i].type >= 7 ? 0 : KEY_A);
		expect_good(read_block(&test_a));
		expect_good(write_block(&test_a));
		assert_int_equal(write_block(&test_b), rows[i].registrant_writes ? 0 : 0x18);
		assert_int_equal(read_block(&test_b), rows[i].registrant_reads ? 0 : 0x18);
		assert_int_equal(read_block(&test_a2), rows[i].stranger_reads ? 0 : 0x18);
		expect_conflict(write_block(&test_a2));
		assert_true(may_write(&test_a));
		assert_int_equal(may_write(&test_b), rows[i].registrant_writes);
		assert_false(may_write(&test_a2));
		expect_conflict(client_run(&test_a2, 1, CDB(0x35), NO_DATA));
		expect_conflict(client_run(&test_a2, 1, CDB(0x1B, 0, 0, 0, 0, 0), NO_DATA));
		/* always allowed */
		expect_good(tur(&test_a2));
		expect_good(client_run(&test_a2, 1, CDB(0x1B, 0, 0, 0, 1, 0), NO_DATA));
		expect_good(client_run(&test_a2, 1, CDB(0x1E), NO_DATA));
		expect_good(client_run(&test_a2, 1, CDB(0x25), NO_DATA));
		expect_good(client_run(&test_a2, 1, CDB(0x12, 0, 0, 0, 36, 0), NO_DATA));
		expect_good(client_run(&test_a2, 1, CDB(0x5E, 1, 0, 0, 0, 0, 0, 0, 24, 0), NO_DATA));
		/* a second reserve: the same type by the holder is fine, all else is not */
		expect_good(out(&test_a, RESERVE, rows[i].type, KEY_A, 0));
		expect_conflict(out(&test_a, RESERVE, rows[i].type == 1 ? 3 : 1, KEY_A, 0));
		assert_int_equal(out(&test_b, RESERVE, rows[i].type, KEY_B, 0), rows[i].type >= 7 ? 0 : 0x18);
		/* release by who does not hold does nothing; with another type is an error */
		if (rows[i].type < 7)
			expect_good(out(&test_b, RELEASE, rows[i].type, KEY_B, 0));
		assert_int_equal(reservation(&key), rows[i].type);
		expect_sense(out(&test_a, RELEASE, rows[i].type == 1 ? 3 : 1, KEY_A, 0), 5, 0x2604);
		expect_conflict(out(&test_a, RELEASE, rows[i].type, KEY_B, 0));
		expect_good(out(&test_a, RELEASE, rows[i].type, KEY_A, 0));
		assert_int_equal(reservation(&key), 0);
		if (rows[i].type >= 5)
			expect_sense(tur(&test_b), 6, 0x2A04);
		expect_good(tur(&test_b));
		expect_good(tur(&test_a2));
		assert_true(may_write(&test_a2));
	}
}

TEST(when_the_holder_unregisters_its_reservation_ends)
{
	uint64_t key;

	register_three();
	expect_good(out(&test_a, RESERVE, 5, KEY_A, 0));
	expect_good(out(&test_a, REGISTER, 0, KEY_A, 0));
	assert_int_equal(reservation(&key), 0);
	expect_sense(tur(&test_b), 6, 0x2A04);
	expect_sense(tur(&test_a2), 6, 0x2A04);
	/* an all-registrants reservation lives as long as there is one */
	expect_good(out(&test_b, RESERVE, 8, KEY_B, 0));
	expect_good(out(&test_b, REGISTER, 0, KEY_B, 0));
	assert_int_equal(reservation(&key), 8);
	expect_conflict(read_block(&test_b));
	expect_good(read_block(&test_a2));
	expect_good(out(&test_a2, REGISTER, 0, KEY_C, 0));
	assert_int_equal(reservation(&key), 0);
	expect_good(read_block(&test_b));
}

TEST(clear_tells_the_others)
{
	register_three();
	expect_good(out(&test_a, RESERVE, 3, KEY_A, 0));
	expect_good(out(&test_b, CLEAR, 0, KEY_B, 0));
	expect_sense(tur(&test_a), 6, 0x2A03);
	expect_sense(tur(&test_a2), 6, 0x2A03);
	expect_good(tur(&test_b));
	assert_int_equal(generation(), 4);
	assert_int_equal(get_be32(test_last.data + 4), 0);
}

TEST(preempt_of_the_holder)
{
	uint64_t key;

	register_three();
	expect_good(out(&test_a, RESERVE, 5, KEY_A, 0));
	expect_conflict(out(&test_b, PREEMPT, 5, KEY_B, 0x999));
	expect_good(out(&test_b, PREEMPT, 6, KEY_B, KEY_A));
	expect_sense(tur(&test_a), 6, 0x2A05);
	expect_sense(tur(&test_a2), 6, 0x2A04); /* another type now */
	expect_good(tur(&test_b));
	assert_int_equal(reservation(&key), 6);
	assert_int_equal(key, KEY_B);
	expect_conflict(write_block(&test_a));
	expect_good(write_block(&test_a2));
}

TEST(preempting_a_key_takes_its_registrations_away)
{
	uint64_t key;

	register_three();
	/* no reservation: just the registration goes */
	expect_good(out(&test_b, PREEMPT, 1, KEY_B, KEY_C));
	expect_sense(tur(&test_a2), 6, 0x2A05);
	assert_int_equal(reservation(&key), 0);
	/* a registrant that does not hold; the reservation stays */
	expect_good(out(&test_a2, REGISTER, 0, 0, KEY_C));
	expect_good(out(&test_a, RESERVE, 1, KEY_A, 0));
	expect_good(out(&test_b, PREEMPT, 3, KEY_B, KEY_C));
	expect_sense(tur(&test_a2), 6, 0x2A05);
	assert_int_equal(reservation(&key), 1);
	assert_int_equal(key, KEY_A);
	/* all registrants, key 0: everybody else goes */
	expect_good(out(&test_a, RELEASE, 1, KEY_A, 0));
	expect_good(out(&test_a, RESERVE, 7, KEY_A, 0));
	expect_good(out(&test_b, PREEMPT, 3, KEY_B, 0));
	expect_sense(tur(&test_a), 6, 0x2A05);
	assert_int_equal(reservation(&key), 3);
	assert_int_equal(key, KEY_B);
	/* oneself: changes the type */
	expect_good(out(&test_b, PREEMPT, 1, KEY_B, KEY_B));
	assert_int_equal(reservation(&key), 1);
}

/* SPC-4 5.13.11.2: who preempts a key that does not hold removes all registrations with it, its own too, and is not
 * told; scope and type are for a reservation, which is not made. Who preempts the holder stays registered. */
TEST(preempt_of_ones_own_key)
{
	uint64_t key;

	register_three();
	expect_good(out(&test_b, REGISTER, 0, KEY_B, KEY_C));
	expect_good(out(&test_a, RESERVE, 5, KEY_A, 0));
	expect_good(out(&test_b, PREEMPT, 0xFF, KEY_C, KEY_C));
	expect_good(tur(&test_b));
	expect_sense(tur(&test_a2), 6, 0x2A05);
	assert_int_equal(reservation(&key), 5);
	assert_int_equal(key, KEY_A);
	expect_conflict(write_block(&test_b));
	expect_conflict(write_block(&test_a2));
	/* with all registrants holding a key that is not 0 */
	expect_good(out(&test_a, RELEASE, 5, KEY_A, 0));
	expect_good(out(&test_b, REGISTER, 0, 0, KEY_B));
	expect_good(out(&test_a, RESERVE, 7, KEY_A, 0));
	expect_good(out(&test_b, PREEMPT_AND_ABORT, 0, KEY_B, KEY_B));
	expect_good(tur(&test_b));
	assert_int_equal(reservation(&key), 7);
	expect_conflict(write_block(&test_b));
	expect_good(out(&test_a, PREEMPT, 1, KEY_A, KEY_A)); /* the last one: nothing is left */
	assert_int_equal(reservation(&key), 0);
	assert_int_equal(generation(), 8);
	assert_int_equal(get_be32(test_last.data + 4), 0);
	/* the holder's own: the type is checked, and it stays */
	expect_good(out(&test_a, REGISTER, 0, 0, KEY_A));
	expect_good(out(&test_a, RESERVE, 1, KEY_A, 0));
	expect_sense(out(&test_a, PREEMPT, 2, KEY_A, KEY_A), 5, 0x2400);
	expect_sense(out(&test_a, PREEMPT, 0x13, KEY_A, KEY_A), 5, 0x2400);
	expect_good(out(&test_a, PREEMPT, 3, KEY_A, KEY_A));
	assert_int_equal(reservation(&key), 3);
	assert_int_equal(key, KEY_A);
}

/* Fencing: answered only when nothing of the preempted nexus can change the medium any more. */
TEST(preempt_and_abort_waits)
{
	static struct exchange w, q, p;
	uint8_t list[24] = {0};

	register_three();
	expect_good(out(&test_a, RESERVE, 5, KEY_A, 0));
	fake_hold_io = true;
	client_begin(&test_a, &w, 1, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), buf, 512);
	client_begin(&test_a, &q, 2, CDB(0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0), buf, 512);
	put_be64(list, KEY_B);
	put_be64(list + 8, KEY_A);
	client_begin(&test_b, &p, 1, CDB(0x5F, PREEMPT_AND_ABORT, 5, 0, 0, 0, 0, 0, 24, 0), list, 24);
	assert_false(w.done || p.done);
	fake_complete();
	assert_true(w.done && !w.task.aborted);
	assert_int_equal(w.task.status, SCSI_STATUS_TASK_ABORTED);    /* by another nexus: it is told */
	assert_true(q.done && !q.task.aborted && q.task.status == 0); /* on another LUN */
	assert_true(p.done);
	expect_good(p.task.status);
	fake_hold_io = false;
	expect_sense(tur(&test_a), 6, 0x2A05);
	expect_conflict(write_block(&test_a));
	exchange_free(&w);
	exchange_free(&q);
	exchange_free(&p);
}

TEST(capabilities_and_full_status)
{
	expect_good(run(a, 1, CDB(0x5E, 2, 0, 0, 0, 0, 0, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.len, 8);
	assert_memory_equal(test_last.data, "\0\x08\x0D\x80\xEA\x01\0\0", 8);
	expect_good(out(&test_a, REGISTER, 0, 0, KEY_A));
	expect_good(out(&test_b, REGISTER, 0, 0, KEY_B));
	expect_good(out(&test_b, RESERVE, 3, KEY_B, 0));
	expect_good(run(a, 1, CDB(0x5E, 3, 0, 0, 0, 0, 0, 2, 0, 0), NO_DATA));
	const uint8_t *d = test_last.data;
	static const char name[] = "iqn.test:b,i,0x800000000001";
	assert_int_equal(get_be32(d), 2);
	assert_int_equal(get_be32(d + 4), 2 * (24 + 4 + 28));
	assert_int_equal(test_last.len, 8 + 2 * 56);
	assert_int_equal(get_be64(d + 8), KEY_A);
	assert_int_equal(d[8 + 12], 0);
	assert_int_equal(get_be64(d + 64), KEY_B);
	assert_int_equal(d[64 + 12], 1);
	assert_int_equal(d[64 + 13], 3);
	assert_int_equal(get_be16(d + 64 + 18), 2);
	assert_int_equal(get_be32(d + 64 + 20), 32);
	assert_int_equal(d[64 + 24], 0x45);
	assert_int_equal(get_be16(d + 64 + 26), 28);
	assert_memory_equal(d + 64 + 28, name, sizeof(name));
	/* truncated */
	expect_good(run(a, 1, CDB(0x5E, 3, 0, 0, 0, 0, 0, 0, 9, 0), NO_DATA));
	assert_int_equal(test_last.len, 9);
}

TEST(registrations_are_bounded)
{
	struct client more;

	for (unsigned i = 0; i < PR_REGISTRANTS_MAX; i++) {
		client_login(&more, "iqn.test:b", (uint8_t)i, (uint16_t)(100 + i));
		client_run(&more, 1, CDB(0x00), NO_DATA);
		expect_good(out(&more, REGISTER, 0, 0, 1 + i));
		scsi_nexus_destroy(more.nexus);
	}
	expect_sense(out(&test_a, REGISTER, 0, 0, KEY_A), 5, 0x5504);
	expect_good(run(a, 1, CDB(0x5E, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0), NO_DATA));
	assert_int_equal(get_be32(test_last.data + 4), 8 * PR_REGISTRANTS_MAX);
}

TEST(reserve_6_holds_against_other_nexuses)
{
	expect_good(run(a, 1, CDB(0x16), NO_DATA));
	expect_good(run(a, 1, CDB(0x16), NO_DATA));
	expect_conflict(run(b, 1, CDB(0x16), NO_DATA));
	expect_conflict(tur(&test_b));
	expect_conflict(tur(&test_a2)); /* by nexus, not by host */
	expect_conflict(read_block(&test_b));
	expect_conflict(out(&test_b, REGISTER, 0, 0, KEY_B));
	expect_good(run(b, 1, CDB(0x12, 0, 0, 0, 36, 0), NO_DATA));
	expect_good(run(b, 1, CDB(0x03, 0, 0, 0, 18, 0), NO_DATA));
	expect_good(run(b, 1, CDB(0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 16), NO_DATA));
	expect_good(run(b, 1, CDB(0x1E), NO_DATA));
	expect_good(run(b, 1, CDB(0x17), NO_DATA)); /* not the holder's: nothing */
	expect_conflict(tur(&test_b));
	expect_good(run(b, 2, CDB(0x00), NO_DATA));
	expect_good(write_block(&test_a));
	expect_good(run(a, 1, CDB(0x17), NO_DATA));
	expect_good(write_block(&test_b));
	/* ends with its nexus */
	expect_good(run(a2, 1, CDB(0x16), NO_DATA));
	expect_conflict(write_block(&test_b));
	scsi_nexus_destroy(test_a2.nexus);
	test_a2.nexus = NULL;
	expect_good(write_block(&test_b));
	/* no registration beside it, not even the holder's: RELEASE(6) could not end it any more (SPC-2 5.5.1) */
	expect_good(run(a, 1, CDB(0x16), NO_DATA));
	expect_conflict(out(&test_a, REGISTER, 0, 0, KEY_A));
	expect_conflict(out(&test_a, REGISTER_AND_IGNORE, 0, 0, KEY_A));
	expect_good(run(a, 1, CDB(0x17), NO_DATA));
	expect_good(write_block(&test_b));
	/* not with persistent registrations about */
	expect_good(out(&test_b, REGISTER, 0, 0, KEY_B));
	expect_conflict(run(a, 1, CDB(0x16), NO_DATA));
	expect_conflict(run(b, 1, CDB(0x17), NO_DATA));
}

/* Windows failover clustering: register, reserve type 5, challenge by preempt, release; three nodes' nexuses.
 */
TEST(a_failover_cluster_can_challenge_and_take_over)
{
	uint64_t key;

	expect_good(out(&test_a, REGISTER_AND_IGNORE, 0, 0, KEY_A));
	expect_good(out(&test_b, REGISTER_AND_IGNORE, 0, 0, KEY_B));
	expect_good(out(&test_a2, REGISTER_AND_IGNORE, 0, 0, KEY_C));
	expect_good(out(&test_a, RESERVE, 5, KEY_A, 0));
	expect_good(write_block(&test_b));
	expect_conflict(out(&test_b, RESERVE, 5, KEY_B, 0));
	expect_good(out(&test_b, PREEMPT, 5, KEY_B, KEY_A));
	assert_int_equal(tur(&test_a), SCSI_STATUS_CHECK_CONDITION);
	expect_conflict(write_block(&test_a));
	expect_good(write_block(&test_a2));
	assert_int_equal(reservation(&key), 5);
	assert_int_equal(key, KEY_B);
	expect_conflict(out(&test_a, RELEASE, 5, KEY_A, 0));
	expect_good(out(&test_b, RELEASE, 5, KEY_B, 0));
	expect_sense(tur(&test_a2), 6, 0x2A04);
	expect_good(write_block(&test_a));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, client_setup, client_teardown)
	const struct CMUnitTest tests[] = {T(a_registration_belongs_to_a_nexus),
		T(bad_parameters_are_refused), T(who_conflicts_with_whom),
		T(when_the_holder_unregisters_its_reservation_ends), T(clear_tells_the_others),
		T(preempt_of_the_holder), T(preempting_a_key_takes_its_registrations_away),
		T(preempt_of_ones_own_key), T(preempt_and_abort_waits), T(capabilities_and_full_status),
		T(registrations_are_bounded), T(reserve_6_holds_against_other_nexuses),
		T(a_failover_cluster_can_challenge_and_take_over)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
