/* SPDX-License-Identifier: Apache-2.0 */
/* What an owner leaves for the nexuses of the other controller: told by it, or by the one that takes over; once, and for them alone. */
#include "tests/unit/scsi/two.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"

#define READ_KEYS      CDB(0x5E, 0, 0, 0, 0, 0, 0, 4, 0, 0)
#define REST_MS        16000
#define GENERATION_LEN 7 /* of a record with nothing else */

static struct scsi_target *taker;

/* The owner is gone, with all that it had in memory, and `other` owns the array: its process goes on. */
static void take_over(void)
{
	struct scsi_target_options options = {.array = fake_again(),
		.target_name = "iqn.test:target",
		.groups = groups,
		.group_count = 2,
		.group = 2};

	reset_groups(SCSI_ACCESS_UNAVAILABLE, SCSI_ACCESS_OPTIMIZED);
	assert_int_equal(scsi_target_create(&options, &taker), 0);
	scsi_remote_lost(owner, NULL);
	fake_restart();
	if (standby.nexus)
		rehome(&standby, taker);
	scsi_target_owns(taker);
}

static void give_back(void)
{
	rehome(&standby, other);
	client_run(&standby, 1, TUR, NO_DATA);
	client_run(&standby, 2, TUR, NO_DATA);
	scsi_target_destroy(taker);
	taker = NULL;
	reset_groups(SCSI_ACCESS_OPTIMIZED, SCSI_ACCESS_STANDBY);
}

/* What the standby path is told of LUN 1 by the one that takes over, besides 2A/06; 0: nothing. */
static unsigned told_by_the_taker(void)
{
	unsigned asc;

	take_over();
	expect_sense(client_run(&standby, 1, TUR, NO_DATA), 6, 0x2A06);
	client_run(&standby, 1, TUR, NO_DATA);
	asc = test_last.asc;
	expect_good(client_run(&standby, 1, TUR, NO_DATA));
	expect_sense(client_run(&standby, 2, TUR, NO_DATA), 6, 0x2A06);
	expect_good(client_run(&standby, 2, TUR, NO_DATA));
	give_back();
	return asc;
}

/* b does away with the standby path's registration, or with a reservation. */
static void released(void)
{
	expect_good(pr_out(&standby, 6, 0, 0, 7));
	expect_good(pr_out(&test_b, 6, 0, 0, 9));
	expect_good(pr_out(&test_b, 1, 5, 9, 0));
	expect_good(pr_out(&test_b, 2, 5, 9, 0));
}

static void unregistered(void)
{
	expect_good(pr_out(&standby, 6, 0, 0, 7));
	expect_good(pr_out(&test_b, 6, 0, 0, 9));
	expect_good(pr_out(&test_b, 1, 5, 9, 0));
	expect_good(pr_out(&test_b, 0, 0, 9, 0));
}

static void cleared(void)
{
	expect_good(pr_out(&standby, 6, 0, 0, 7));
	expect_good(pr_out(&test_b, 6, 0, 0, 9));
	expect_good(pr_out(&test_b, 3, 0, 9, 0));
}

static void preempted(void)
{
	expect_good(pr_out(&standby, 6, 0, 0, 7));
	expect_good(pr_out(&test_b, 6, 0, 0, 9));
	expect_good(pr_out(&test_b, 4, 5, 9, 7));
}

/* Its owner, which would have told with the next command that it is asked, ends before that. */
TEST(what_became_of_a_reservation_is_told_at_the_takeover)
{
	static const struct {
		void (*does)(void);
		unsigned asc, changes;
	} cases[] = {{released, 0x2A04, 4}, {unregistered, 0x2A04, 4}, {cleared, 0x2A03, 3},
		{preempted, 0x2A05, 3}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fake_keeps = 0;
		cases[i].does();
		assert_int_equal(fake_keeps, cases[i].changes); /* with the change itself */
		assert_int_equal(told_by_the_taker(), cases[i].asc);
		/* once, also if the array comes back to another owner of that side */
		assert_int_equal(told_by_the_taker(), 0);
	}
}

/* Registered by another path (ALL_TG_PT), and never a command of its own to the owner. */
static void preempt_through_all_ports(void)
{
	uint8_t list[24] = {[15] = 7, [20] = 4};

	if (standby.nexus)
		scsi_nexus_destroy(standby.nexus);
	test_target = other;
	client_login(&standby, "iqn.test:a", 1, 3); /* as test_a */
	for (unsigned lun = 1; lun <= 2; lun++)
		client_run(&standby, lun, TUR, NO_DATA);
	test_target = owner;
	expect_good(client_run(&test_a, 1, CDB(0x5F, 6, 0, 0, 0, 0, 0, 0, 24, 0), list, sizeof(list)));
	expect_good(pr_out(&test_b, 6, 0, 0, 9));
	expect_good(pr_out(&test_b, 4, 5, 9, 7));
}

TEST(a_path_that_another_one_registered_is_told)
{
	preempt_through_all_ports();
	assert_int_equal(told_by_the_taker(), 0x2A05);
	client_clear_attentions(&test_a); /* the owner's own path, as ever */
	preempt_through_all_ports();
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2A05);
	expect_good(client_run(&standby, 1, READ_KEYS, NO_DATA));
	expect_good(client_run(&standby, 2, READ_KEYS, NO_DATA));
	expect_sense(run(a, 1, TUR, NO_DATA), 6, 0x2A05);
	expect_good(run(a, 1, TUR, NO_DATA));
}

/* The answer may be lost with its owner. Once it cannot be any more, it is not told again. */
TEST(what_the_owner_told_is_told_again_only_if_it_ends_just_then)
{
	preempted();
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2A05);
	assert_int_equal(told_by_the_taker(), 0x2A05);
	/* it has rested */
	preempted();
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2A05);
	fake_advance(2 * REST_MS);
	assert_int_equal(told_by_the_taker(), 0);
	/* another command of that path, and some time */
	preempted();
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2A05);
	expect_good(client_run(&standby, 1, READ_KEYS, NO_DATA));
	fake_advance(REST_MS);
	assert_int_equal(told_by_the_taker(), 0);
	/* or another change of the LUN's */
	preempted();
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2A05);
	expect_good(pr_out(&standby, 6, 0, 0, 7));
	expect_good(pr_out(&standby, 6, 0, 0, 0));
	assert_int_equal(told_by_the_taker(), 0);
	/* or the array is moved in order */
	preempted();
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2A05);
	scsi_target_leaves(owner);
	assert_int_equal(told_by_the_taker(), 0);
	/* what comes after what was told is told as well */
	preempted();
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2A05);
	preempted();
	fake_advance(2 * REST_MS);
	assert_int_equal(told_by_the_taker(), 0x2A05);
	expect_good(pr_out(&test_b, 3, 0, 9, 0));
	assert_int_equal(fake_luns[0].lun.reservations_len, GENERATION_LEN);
}

static void quiet_done_attention(struct scsi_remote *r)
{
	assert_int_equal(r->err, 0);
	assert_int_equal(r->sense[2] & 0x0F, 6);
}

static void silent(struct scsi_tmf_call *call, enum scsi_tmf_result result)
{
	(void)call;
	assert_int_equal(result, SCSI_TMF_COMPLETE);
}

/* The owner told it, and the answer was given up on, or its command was aborted meanwhile: 29/07 stands for whatever it was. */
TEST(what_was_told_in_an_answer_that_nobody_got_is_told_in_other_words)
{
	struct scsi_tmf_call abort = {
		.function = SCSI_ABORT_TASK_SET, .lun = {0, 1}, .nexus = standby.nexus, .done = silent};
	struct exchange x = {0};
	struct scsi_remote late;

	preempted();
	forward_waits = true;
	client_begin(&standby, &x, 1, READ_KEYS, NO_DATA);
	late = *kept;
	late.done = quiet_done_attention;
	scsi_remote_execute(owner, &late);
	kept->err = -EAGAIN; /* a read is tried again */
	kept->unsure = true;
	kept->done(kept);
	assert_int_equal(x.task.status, SCSI_STATUS_BUSY);
	exchange_free(&x);
	forward_waits = false;
	expect_good(client_run(&standby, 2, READ_KEYS, NO_DATA));
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2907);
	expect_good(client_run(&standby, 1, READ_KEYS, NO_DATA));
	/* the answer comes; its command was to end */
	preempted();
	forward_waits = true;
	client_begin(&standby, &x, 1, READ_KEYS, NO_DATA);
	scsi_tmf(&abort);
	scsi_remote_execute(owner, kept);
	exchange_free(&x);
	forward_waits = false;
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2907);
	expect_good(client_run(&standby, 1, READ_KEYS, NO_DATA));
	/* nothing was lost: it is not known to have been asked, or it told nothing */
	forward_error = -EAGAIN;
	assert_int_equal(client_run(&standby, 1, READ_KEYS, NO_DATA), SCSI_STATUS_BUSY);
	forward_error = 0;
	forward_waits = true;
	client_begin(&standby, &x, 1, READ_KEYS, NO_DATA);
	scsi_tmf(&abort);
	scsi_remote_execute(owner, kept);
	exchange_free(&x);
	forward_waits = false;
	expect_good(client_run(&standby, 1, READ_KEYS, NO_DATA));
	/* it goes on where the array goes */
	forward_error = -ETIMEDOUT;
	client_run(&standby, 1, READ_KEYS, NO_DATA);
	forward_error = 0;
	fake_advance(2 * REST_MS);
	take_over();
	expect_sense(client_run(&standby, 1, TUR, NO_DATA), 6, 0x2907);
	expect_sense(client_run(&standby, 1, TUR, NO_DATA), 6, 0x2A06);
	expect_good(client_run(&standby, 1, TUR, NO_DATA));
	client_run(&standby, 2, TUR, NO_DATA);
	give_back();
}

/* It is written once, and nothing goes on for it. */
TEST(what_was_told_costs_one_change)
{
	preempted();
	fake_keeps = 0;
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2A05);
	assert_int_equal(fake_keeps, 0);
	fake_advance(10 * REST_MS);
	assert_int_equal(fake_keeps, 1);
	for (unsigned i = 0; i < 10; i++)
		expect_good(client_run(&standby, 1, READ_KEYS, NO_DATA));
	fake_advance(10 * REST_MS);
	assert_int_equal(fake_keeps, 1);
}

/* 29/00 is what a new session is told. */
TEST(nothing_is_left_for_a_session_that_has_ended)
{
	struct scsi_remote r = {.initiator = "IQN.TEST:a", .isid = {0x80, 0, 0, 0, 0, 7}, .port = 3};

	/* its controller says so */
	preempted();
	scsi_remote_lost(owner, &r);
	assert_int_equal(told_by_the_taker(), 0);
	/* it was of the controller that takes over */
	preempted();
	scsi_nexus_destroy(standby.nexus);
	standby.nexus = NULL;
	take_over();
	test_target = taker;
	client_login(&standby, "iqn.test:a", 7, 3);
	test_target = owner;
	expect_sense(client_run(&standby, 1, TUR, NO_DATA), 6, 0x2900);
	expect_good(client_run(&standby, 1, TUR, NO_DATA));
	client_run(&standby, 2, TUR, NO_DATA);
	give_back();
	assert_int_equal(told_by_the_taker(), 0);
	/* one that stands for it anew has what the one before had not told */
	preempted();
	scsi_remote_lost(owner, NULL);
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2A05);
	expect_good(client_run(&standby, 1, READ_KEYS, NO_DATA));
	/* whose host does not see the LUN any more */
	preempted();
	fake_map(fake_host(0), 1, NULL);
	take_over();
	fake_map(fake_host(0), 1, &fake_luns[0].lun);
	give_back();
	assert_int_equal(told_by_the_taker(), 0);
}

/* Neither of a registration that holds, nor of one that the nexus gave up itself, nor of its own reservation. */
TEST(nothing_else_is_told_at_a_takeover)
{
	expect_good(pr_out(&standby, 0, 0, 0, 7));
	assert_int_equal(told_by_the_taker(), 0);
	expect_good(pr_out(&standby, 1, 5, 7, 0));
	expect_good(pr_out(&standby, 2, 5, 7, 0));
	assert_int_equal(told_by_the_taker(), 0);
	expect_good(pr_out(&standby, 4, 5, 7, 7));
	assert_int_equal(told_by_the_taker(), 0);
	expect_good(pr_out(&standby, 6, 0, 0, 7));
	expect_good(pr_out(&standby, 0, 0, 7, 0));
	assert_int_equal(told_by_the_taker(), 0);
}

static void quiet_done(struct scsi_remote *r)
{
	assert_int_equal(r->err, 0);
	assert_int_equal(r->status, SCSI_STATUS_GOOD);
}

/* Paths of the other controller register and are preempted, twice so many at a time. */
static void many(const char *name, unsigned at_once)
{
	static uint8_t list[24] = {[15] = 7};

	for (unsigned i = 0; i < 2 * at_once; i++) {
		struct scsi_remote r = {.isid = {0x80, 0, 0, 1, (uint8_t)(i >> 8), (uint8_t)i},
			.port = 3,
			.authenticated = true,
			.cdb = {0x5F, 6, 0, 0, 0, 0, 0, 0, 24, 0},
			.cdb_len = 10,
			.direction = SCSI_FROM_INITIATOR,
			.data = list,
			.data_len = sizeof(list),
			.done = quiet_done};

		snprintf(r.initiator, sizeof(r.initiator), "%s", name);
		memcpy(r.lun_id, fake_luns[0].lun.id, sizeof(r.lun_id));
		scsi_remote_execute(owner, &r);
		if (i % at_once == at_once - 1) {
			expect_good(pr_out(&test_b, 6, 0, 0, 9));
			expect_good(pr_out(&test_b, 4, 5, 9, 7));
		}
	}
}

TEST(what_is_left_is_bounded)
{
	char *name = (char *)(uintptr_t)host_record_of(fake_host(4))->iqns[0];
	struct scsi_lun *s;

	many("iqn.test:a", 300);
	scsi_remote_lost(owner, NULL);
	fake_restart();
	s = scsi_lun_get(&fake_luns[0].lun);
	assert_non_null(s);
	assert_int_equal(s->notice_count, 512);
	assert_int_equal(s->registrant_count, 1);
	/* with long names, the oldest go for want of room */
	memset(name, 'e', 200);
	fake_map(fake_host(4), 1, &fake_luns[0].lun);
	many(name, 250);
	scsi_remote_lost(owner, NULL);
	fake_restart();
	s = scsi_lun_get(&fake_luns[0].lun);
	assert_non_null(s);
	assert_true(s->notice_count > 200 && s->notice_count < 300);
	assert_true(fake_luns[0].lun.reservations_len > LUN_RESERVATIONS_MAX_BYTES / 4 * 3);
	assert_int_equal(s->registrant_count, 1);
	/* registrations come first */
	for (unsigned i = 0; i < 2; i++)
		expect_good(pr_out(i ? &test_a2 : &test_a, 6, 0, 0, 7));
	fake_restart();
	s = scsi_lun_get(&fake_luns[0].lun);
	assert_non_null(s);
	assert_int_equal(s->registrant_count, 3);
}

/* WCE, D_SENSE, SWP of LUN 1 by MODE SELECT(6), both pages. */
static void select_mode(struct client *c, bool wce, bool d_sense, bool swp)
{
	uint8_t list[4 + 20 + 12] = {[4] = 0x08, 0x12, [24] = 0x0A, 0x0A};

	expect_good(client_run(c, 1, CDB(0x1A, 8, 0x08, 0, 255, 0), NO_DATA));
	memcpy(list + 4, test_last.data + 4, 20);
	expect_good(client_run(c, 1, CDB(0x1A, 8, 0x0A, 0, 255, 0), NO_DATA));
	memcpy(list + 24, test_last.data + 4, 12);
	list[4] &= 0x3F;
	list[24] &= 0x3F;
	list[4 + 2] = (uint8_t)((list[4 + 2] & ~4) | (wce ? 4 : 0));
	list[24 + 2] = (uint8_t)((list[24 + 2] & ~4) | (d_sense ? 4 : 0));
	list[24 + 4] = (uint8_t)((list[24 + 4] & ~8) | (swp ? 8 : 0));
	expect_good(client_run(c, 1, CDB(0x15, 0x10, 0, 0, sizeof(list), 0), list, sizeof(list)));
}

static void expect_mode(struct client *c, bool wce, bool d_sense, bool swp)
{
	expect_good(client_run(c, 1, CDB(0x1A, 8, 0x08, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.data[4 + 2] & 4, wce ? 4 : 0);
	expect_good(client_run(c, 1, CDB(0x1A, 8, 0x0A, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.data[4 + 2] & 4, d_sense ? 4 : 0);
	assert_int_equal(test_last.data[4 + 4] & 8, swp ? 8 : 0);
}

TEST(mode_pages_are_the_next_owners_too)
{
	for (unsigned i = 1; i < 8; i++) {
		unsigned flushes = fake_luns[0].flushes;

		fake_keeps = 0;
		select_mode(&test_a, !(i & 1), i & 2, i & 4);
		assert_int_equal(fake_keeps, 1);
		assert_int_equal(fake_luns[0].flushes - flushes, i & 1 ? 1 : 0);
		select_mode(&test_a, !(i & 1), i & 2, i & 4); /* the same again: nothing is written */
		assert_int_equal(fake_keeps, 1);
		take_over();
		client_run(&standby, 1, TUR, NO_DATA);
		expect_mode(&standby, !(i & 1), i & 2, i & 4);
		/* a change of reservations keeps them */
		expect_good(pr_out(&standby, 6, 0, 0, 7));
		fake_restart();
		expect_mode(&standby, !(i & 1), i & 2, i & 4);
		expect_good(pr_out(&standby, 6, 0, 0, 0));
		select_mode(&standby, true, false, false);
		assert_int_equal(fake_luns[0].lun.reservations_len, GENERATION_LEN);
		give_back();
	}
}

/* By the owner, or by the next one; nobody who has asked the owner nothing, for it knows no pages. */
TEST(changed_mode_pages_are_told_at_the_takeover)
{
	fake_keeps = 0;
	select_mode(&test_a, true, false, true);
	assert_int_equal(told_by_the_taker(), 0);
	expect_mode(&standby, true, false, true);
	expect_sense(run(b, 1, TUR, NO_DATA), 6, 0x2A01);
	select_mode(&test_a, true, false, false);
	expect_sense(run(b, 1, TUR, NO_DATA), 6, 0x2A01);
	assert_int_equal(told_by_the_taker(), 0x2A01);
	assert_int_equal(told_by_the_taker(), 0);
	expect_mode(&standby, true, false, false);
	select_mode(&test_a, true, false, true);
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2A01);
	expect_good(client_run(&standby, 1, READ_KEYS, NO_DATA));
	/* and the other way round */
	select_mode(&standby, true, false, false);
	run(a, 1, TUR, NO_DATA);
	expect_good(client_run(&standby, 1, READ_KEYS, NO_DATA));
}

static unsigned resets;

static void reset_over(struct scsi_tmf_call *call, enum scsi_tmf_result result)
{
	(void)call;
	assert_int_equal(result, SCSI_TMF_COMPLETE);
	resets++;
}

static void reset(struct scsi_tmf_call *call, enum scsi_tmf function)
{
	*call = (struct scsi_tmf_call){
		.function = function, .lun = {0, 1}, .nexus = test_b.nexus, .done = reset_over};
	resets = 0;
	scsi_tmf(call);
}

/* A reset ends when the next owner would know of it: that the pages are the first ones again, and whom it was not told. */
TEST(a_reset_is_one_for_the_next_owner_too)
{
	struct scsi_tmf_call call;

	for (unsigned i = 0; i < 2; i++) {
		expect_good(client_run(&standby, 1, READ_KEYS, NO_DATA));
		select_mode(&test_a, false, true, true);
		client_run(&test_b, 1, TUR, NO_DATA);
		expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2A01);
		fake_hold_keeps = true;
		reset(&call, i ? SCSI_TARGET_WARM_RESET : SCSI_LUN_RESET);
		assert_int_equal(resets, 0);
		fake_kept();
		fake_hold_keeps = false;
		assert_int_equal(resets, 1);
		take_over();
		expect_sense(client_run(&standby, 1, TUR, NO_DATA), 6, i ? 0x2902 : 0x2903);
		client_clear_attentions(&standby);
		expect_mode(&standby, true, false, false);
		give_back();
		client_clear_attentions(&test_a);
		client_clear_attentions(&test_b);
	}
	/* the owner lives, and tells it */
	expect_good(client_run(&standby, 1, READ_KEYS, NO_DATA));
	reset(&call, SCSI_LUN_RESET);
	expect_sense(client_run(&standby, 1, READ_KEYS, NO_DATA), 6, 0x2903);
	expect_good(client_run(&standby, 1, READ_KEYS, NO_DATA));
	client_clear_attentions(&test_a);
	client_clear_attentions(&test_b);
	/* and it cannot be kept */
	fake_error = -EIO;
	reset(&call, SCSI_LUN_RESET);
	assert_int_equal(resets, 1);
	fake_error = 0;
}

/* Nothing is written where there is nothing to keep. */
TEST(a_reset_that_nobody_else_is_to_know_of_is_not_kept)
{
	struct scsi_tmf_call call;

	fake_keeps = 0;
	reset(&call, SCSI_LUN_RESET);
	assert_int_equal(resets, 1);
	assert_int_equal(fake_keeps, 0);
	assert_int_equal(told_by_the_taker(), 0);
}

/* The change stands, and its initiator learns that it may not last. */
TEST(mode_pages_that_cannot_be_kept)
{
	uint8_t list[4 + 12];

	expect_good(run(a, 1, CDB(0x1A, 8, 0x0A, 0, 255, 0), NO_DATA));
	memcpy(list, test_last.data, sizeof(list));
	list[0] = list[2] = 0;
	list[4 + 4] |= 8;
	fake_error = -EIO;
	run(a, 1, CDB(0x15, 0x10, 0, 0, sizeof(list), 0), list, sizeof(list));
	assert_int_equal(test_last.task.status, SCSI_STATUS_CHECK_CONDITION);
	fake_error = 0;
	expect_mode(&test_a, true, false, true);
}

/* Cut anywhere, or with something else in it. */
TEST(a_damaged_record_of_them_does_not_open_the_lun)
{
	struct lun *lun = &fake_luns[0].lun;
	uint8_t good[256];
	uint32_t len;

	preempted();
	expect_good(pr_out(&test_b, 3, 0, 9, 0));
	len = lun->reservations_len;
	assert_true(len > 0 && len < sizeof(good));
	memcpy(good, lun->reservations, len);
	scsi_remote_lost(owner, NULL);
	fake_restart();
	for (lun->reservations_len = 1; lun->reservations_len < len; lun->reservations_len++)
		assert_null(scsi_lun_get(lun));
	for (unsigned bit = 0; bit < 8 * len; bit++) {
		lun->reservations[bit / 8] ^= (uint8_t)(1u << bit % 8);
		scsi_lun_get(lun); /* or is something else */
		fake_restart();
		lun->reservations[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(good[0], 0x50);
	assert_int_equal(good[5], 0x04); /* 2A/05 */
	for (unsigned i = 0; i < 2; i++) {
		lun->reservations[5] = i ? 0 : 0x44; /* none, or one that is unknown */
		assert_null(scsi_lun_get(lun));
	}
	memcpy(lun->reservations, good, len);
	lun->reservations[0] |= 0x20; /* mode pages, which are not there */
	assert_null(scsi_lun_get(lun));
	memcpy(lun->reservations, good, len);
	assert_non_null(scsi_lun_get(lun));
	assert_int_equal(told_by_the_taker(), 0x2A05);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, two_setup, two_teardown)
	const struct CMUnitTest tests[] = {T(what_became_of_a_reservation_is_told_at_the_takeover),
		T(a_path_that_another_one_registered_is_told),
		T(what_the_owner_told_is_told_again_only_if_it_ends_just_then),
		T(what_was_told_in_an_answer_that_nobody_got_is_told_in_other_words),
		T(what_was_told_costs_one_change), T(nothing_is_left_for_a_session_that_has_ended),
		T(nothing_else_is_told_at_a_takeover), T(what_is_left_is_bounded),
		T(mode_pages_are_the_next_owners_too), T(changed_mode_pages_are_told_at_the_takeover),
		T(a_reset_is_one_for_the_next_owner_too),
		T(a_reset_that_nobody_else_is_to_know_of_is_not_kept), T(mode_pages_that_cannot_be_kept),
		T(a_damaged_record_of_them_does_not_open_the_lun)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
