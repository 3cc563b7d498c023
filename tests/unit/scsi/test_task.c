/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks in time: closed gates, order, task management, lost nexuses, LUNs that go away. */
#include "tests/unit/scsi/client.h"

#include <string.h>
#include "array/scsi/scsi.h"

static uint8_t buf[64 * 512];
static struct exchange x[8];

struct tmf {
	struct scsi_tmf_call call;
	bool done;
	enum scsi_tmf_result result;
};

static int teardown(void **state)
{
	int err = client_teardown(state);

	for (size_t i = 0; i < sizeof(x) / sizeof(x[0]); i++)
		exchange_free(&x[i]);
	return err;
}

static void expect_told(const struct exchange *e)
{
	assert_true(e->done && !e->task.aborted);
	assert_int_equal(e->task.status, SCSI_STATUS_TASK_ABORTED);
}

static void tmf_done(struct scsi_tmf_call *call, enum scsi_tmf_result result)
{
	struct tmf *t = container_of(call, struct tmf, call);

	assert_false(t->done);
	t->done = true;
	t->result = result;
}

static void tmf(struct tmf *t, struct client *c, enum scsi_tmf function, uint8_t lun, uint64_t tag)
{
	memset(t, 0, sizeof(*t));
	t->call.function = function;
	t->call.nexus = c->nexus;
	t->call.lun[1] = lun;
	t->call.tag = tag;
	t->call.done = tmf_done;
	scsi_tmf(&t->call);
}

static void write_begin(struct client *c, struct exchange *e, unsigned lun, uint64_t tag)
{
	client_begin_attribute(c, e, lun, CDB(0x2A, 0, 0, 0, 0, 8, 0, 0, 2, 0), buf, 1024, SCSI_SIMPLE, tag);
}

static void read_begin(struct client *c, struct exchange *e, unsigned lun, enum scsi_attribute attribute)
{
	client_begin_attribute(c, e, lun, CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 2, 0), NO_DATA, attribute, 0);
}

static uint8_t tur(struct client *c, unsigned lun)
{
	return client_run(c, lun, CDB(0x00), NO_DATA);
}

/* ---- the gate ------------------------------------------------------------------------------------------ */

TEST(writes_wait_at_the_gate_and_reads_pass)
{
	memset(buf, 0xAB, sizeof(buf));
	fake_gate(true);
	write_begin(&test_a, &x[0], 1, 1);
	client_begin(&test_a, &x[1], 1, CDB(0x93, 1, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 8, 0, 0), NO_DATA);
	assert_int_equal(fake_gate_queued, 2);
	expect_good(run(a, 1, CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 1, 0), NO_DATA));
	assert_memory_not_equal(test_last.data, buf, 512);
	expect_good(run(a, 1, CDB(0x35), NO_DATA));
	fake_gate(false);
	assert_true(x[0].done && x[1].done);
	expect_good(x[0].task.status);
	expect_good(x[1].task.status);
	expect_good(run(a, 1, CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 1, 0), NO_DATA));
	assert_memory_equal(test_last.data, buf, 512);
}

TEST(queued_writes_are_checked_again)
{
	uint8_t list[24] = {0};

	memset(buf, 0xAC, sizeof(buf));
	fake_gate(true);
	write_begin(&test_a, &x[0], 1, 1);
	write_begin(&test_a, &x[1], 2, 2);
	write_begin(&test_a, &x[2], 3, 3);
	/* meanwhile: b reserves the first, the second is unmapped, the third shrinks */
	list[15] = 1;
	expect_good(run(b, 1, CDB(0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0), list, 24));
	list[7] = 1;
	expect_good(run(b, 1, CDB(0x5F, 1, 0x01, 0, 0, 0, 0, 0, 24, 0), list, 24));
	fake_map(fake_host(0), 2, NULL);
	fake_luns[2].lun.size_bytes = 4096;
	fake_gate(false);
	assert_true(x[0].done && x[1].done && x[2].done);
	expect_conflict(x[0].task.status);
	assert_int_equal(x[0].task.sense_len, 0);
	assert_int_equal(x[1].asc, 0x2500);
	assert_int_equal(x[2].asc, 0x2100);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fake_luns[i].writes, 0);
}

/* Between parse and execute, while the transport collects data, the world may change. */
TEST(parsed_tasks_are_checked_again)
{
	struct exchange *e = &x[0];

	e->done = false;
	e->task = (struct scsi_task){.nexus = test_a.nexus,
		.lun = {0, 1},
		.cdb = {0x2A, 0, 0, 0, 0, 0, 0, 0, 1},
		.cdb_len = 16,
		.done = exchange_done};
	assert_true(scsi_task_parse(&e->task));
	assert_int_equal(e->task.direction, SCSI_FROM_INITIATOR);
	assert_int_equal(e->task.data_len, 512);
	assert_int_equal(fake_luns[0].holds, 1);
	expect_good(run(b, 1, CDB(0x16), NO_DATA));
	e->task.data = buf;
	e->task.data_in_hand = 512;
	scsi_task_execute(&e->task);
	assert_true(e->done);
	expect_conflict(e->task.status);
	assert_int_equal(fake_luns[0].writes, 0);
	expect_good(run(b, 1, CDB(0x17), NO_DATA));
	/* given up by the transport; aborted by another's reset before its data came */
	assert_true(scsi_task_parse(&e->task));
	scsi_task_discard(&e->task);
	assert_int_equal(fake_luns[0].holds, 0);
	struct tmf t;
	assert_true(scsi_task_parse(&e->task));
	tmf(&t, &test_b, SCSI_LUN_RESET, 1, 0);
	assert_true(t.done);
	e->done = false;
	e->task.data = buf;
	e->task.data_in_hand = 512;
	scsi_task_execute(&e->task);
	expect_told(e);
	assert_int_equal(fake_luns[0].writes, 0);
}

/* ---- aborts -------------------------------------------------------------------------------------------- */

/* TAS is 1. */
TEST(the_last_abort_says_who_did_it)
{
	struct tmf t, own;

	expect_good(run(b, 1, CDB(0x1A, 8, 0x0A, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.data[4 + 5] & 0x40, 0x40);
	fake_hold_io = true;
	write_begin(&test_b, &x[0], 1, 1);
	write_begin(&test_b, &x[1], 1, 2);
	write_begin(&test_b, &x[2], 1, 3);
	tmf(&t, &test_a, SCSI_LUN_RESET, 1, 0);
	tmf(&own, &test_b, SCSI_ABORT_TASK, 1, 2); /* then it wants no answer any more */
	assert_false(t.done || own.done);
	fake_complete();
	assert_true(t.done && own.done);
	expect_told(&x[0]);
	assert_true(x[1].done && x[1].task.aborted);
	expect_told(&x[2]);
	/* its nexus is lost: there is nobody to tell */
	client_clear_attentions(&test_b);
	write_begin(&test_b, &x[0], 1, 4);
	tmf(&t, &test_a, SCSI_LUN_RESET, 1, 0);
	scsi_nexus_destroy(test_b.nexus);
	test_b.nexus = NULL;
	fake_complete();
	assert_true(t.done && x[0].done && x[0].task.aborted);
}

TEST(an_aborted_task_ends_wherever_it_waits)
{
	struct tmf t;

	/* at the gate: ends at once */
	fake_gate(true);
	write_begin(&test_a, &x[0], 1, 77);
	write_begin(&test_a, &x[1], 1, 78);
	tmf(&t, &test_a, SCSI_ABORT_TASK, 1, 77);
	assert_true(t.done);
	assert_int_equal(t.result, SCSI_TMF_COMPLETE);
	assert_true(x[0].done && x[0].task.aborted);
	assert_false(x[1].done);
	tmf(&t, &test_a, SCSI_ABORT_TASK, 1, 77);
	assert_int_equal(t.result, SCSI_TMF_NO_TASK);
	tmf(&t, &test_a, SCSI_ABORT_TASK, 2, 78); /* of another LUN */
	assert_int_equal(t.result, SCSI_TMF_NO_TASK);
	tmf(&t, &test_b, SCSI_ABORT_TASK, 1, 78); /* of another nexus */
	assert_int_equal(t.result, SCSI_TMF_NO_TASK);
	fake_gate(false);
	assert_true(x[1].done && !x[1].task.aborted);
	assert_int_equal(fake_luns[0].writes, 1);
	/* under way: the function waits for it */
	fake_hold_io = true;
	write_begin(&test_a, &x[2], 1, 79);
	tmf(&t, &test_a, SCSI_ABORT_TASK, 1, 79);
	assert_false(t.done || x[2].done);
	fake_complete();
	assert_true(t.done && x[2].done && x[2].task.aborted);
	assert_int_equal(t.result, SCSI_TMF_COMPLETE);
	expect_good(tur(&test_a, 1));
}

TEST(abort_and_clear_task_set)
{
	struct tmf t;

	fake_gate(true);
	write_begin(&test_a, &x[0], 1, 1);
	write_begin(&test_a, &x[1], 2, 2);
	write_begin(&test_b, &x[2], 1, 1);
	tmf(&t, &test_a, SCSI_ABORT_TASK_SET, 1, 0);
	assert_true(t.done && x[0].done && x[0].task.aborted);
	assert_false(x[1].done || x[2].done);
	/* CLEAR TASK SET takes the other nexus's task, whose answer says so */
	write_begin(&test_a, &x[3], 1, 3);
	tmf(&t, &test_a, SCSI_CLEAR_TASK_SET, 1, 0);
	assert_true(t.done && x[3].done && x[3].task.aborted);
	expect_told(&x[2]);
	expect_good(tur(&test_a, 1));
	expect_good(tur(&test_a2, 1)); /* had no task */
	expect_good(tur(&test_b, 1));
	expect_good(tur(&test_b, 2));
	tmf(&t, &test_a, SCSI_CLEAR_TASK_SET, 9, 0);
	assert_int_equal(t.result, SCSI_TMF_NO_LUN);
	tmf(&t, &test_a, SCSI_CLEAR_ACA, 1, 0);
	assert_int_equal(t.result, SCSI_TMF_UNSUPPORTED);
	fake_gate(false);
	assert_int_equal(fake_luns[0].writes, 0);
	assert_int_equal(fake_luns[1].writes, 1);
}

TEST(a_lun_reset_ends_tasks_reservations_and_modes)
{
	static const uint8_t no_wce[24] = {0, 0, 0, 0, 0x08, 0x12};
	struct tmf t;

	expect_good(run(a, 1, CDB(0x15, 0x10, 0, 0, 24, 0), no_wce, 24));
	client_clear_attentions(&test_a2);
	client_clear_attentions(&test_b);
	expect_good(run(a, 1, CDB(0x16), NO_DATA)); /* RESERVE(6) */
	expect_conflict(tur(&test_b, 1));
	fake_hold_io = true;
	write_begin(&test_a, &x[0], 1, 1);
	read_begin(&test_a, &x[1], 2, SCSI_SIMPLE);
	tmf(&t, &test_b, SCSI_LUN_RESET, 1, 0);
	assert_false(t.done);
	fake_complete();
	assert_true(t.done);
	expect_told(&x[0]);
	assert_true(x[1].done && !x[1].task.aborted && x[1].task.status == 0);
	expect_sense(tur(&test_a, 1), 6, 0x2903);
	expect_sense(tur(&test_a2, 1), 6, 0x2903);
	expect_sense(tur(&test_b, 1), 6, 0x2903);
	expect_good(tur(&test_a, 2));
	expect_good(tur(&test_b, 1)); /* the reservation is gone, and the mode is the default one */
	expect_good(run(b, 1, CDB(0x1A, 8, 0x08, 0, 255, 0), NO_DATA));
	assert_int_equal(test_last.data[4 + 2], 0x04);
	tmf(&t, &test_a, SCSI_LUN_RESET, 0, 0); /* LUN 0 is absent for a */
	assert_int_equal(t.result, SCSI_TMF_NO_LUN);
	tmf(&t, &test_c, SCSI_LUN_RESET, 0, 0);
	assert_int_equal(t.result, SCSI_TMF_COMPLETE);
	expect_sense(tur(&test_c, 0), 6, 0x2903);
}

TEST(target_reset_reaches_what_the_host_sees)
{
	struct tmf t;

	fake_map(fake_host(0), 4, NULL); /* b alone sees LUN 4 */
	fake_gate(true);
	write_begin(&test_b, &x[0], 1, 1);
	write_begin(&test_b, &x[1], 4, 2);
	tmf(&t, &test_a, SCSI_TARGET_WARM_RESET, 0, 0);
	assert_true(t.done);
	expect_told(&x[0]);
	assert_false(x[1].done);
	for (unsigned lun = 1; lun <= 3; lun++) {
		expect_sense(tur(&test_a, lun), 6, 0x2902);
		expect_sense(tur(&test_b, lun), 6, 0x2902);
	}
	expect_good(tur(&test_b, 4));
	fake_gate(false);
	assert_true(x[1].done && !x[1].task.aborted);
}

/* Somebody who aborts again and again, so that some aborted task always runs, keeps nobody else waiting. */
TEST(a_function_does_not_wait_for_later_ones)
{
	struct tmf first, later[3];

	fake_hold_io = true;
	read_begin(&test_b, &x[0], 1, SCSI_SIMPLE);
	tmf(&first, &test_b, SCSI_ABORT_TASK_SET, 1, 0);
	for (unsigned i = 0; i < 3; i++) {
		read_begin(&test_a, &x[i + 1], 2, SCSI_SIMPLE);
		tmf(&later[i], &test_a, SCSI_ABORT_TASK_SET, 2, 0);
	}
	assert_false(first.done);
	fake_complete_one();
	assert_true(first.done && x[0].task.aborted && !later[0].done);
	fake_complete_one();
	assert_true(later[0].done && !later[1].done);
	fake_complete();
	assert_true(later[1].done && later[2].done && x[3].task.aborted);
}

TEST(lost_nexus_ends_its_tasks)
{
	struct tmf t;

	fake_gate(true);
	write_begin(&test_a, &x[0], 1, 1);
	fake_hold_io = true;
	read_begin(&test_a, &x[1], 1, SCSI_SIMPLE);
	tmf(&t, &test_a, SCSI_ABORT_TASK, 1, 0);
	assert_int_equal(t.done, false);
	scsi_nexus_destroy(test_a.nexus);
	test_a.nexus = NULL;
	assert_true(x[0].done && x[0].task.aborted);
	assert_false(x[1].done);
	assert_int_equal(fake_nexuses, 4); /* kept by the read */
	fake_complete();
	assert_true(x[1].done && x[1].task.aborted && t.done);
	assert_int_equal(fake_nexuses, 3);
	fake_hold_io = false;
	fake_gate(false);
	assert_int_equal(fake_luns[0].writes, 0);
}

TEST(unmapping_answers_what_waits)
{
	struct host_nexus *model = scsi_nexus_array(test_a.nexus);

	fake_gate(true);
	write_begin(&test_a, &x[0], 2, 1);
	write_begin(&test_b, &x[1], 2, 1);
	fake_map(fake_host(0), 2, NULL);
	model->ops->lun_unmapped(model, &fake_luns[1].lun, 2);
	assert_true(x[0].done && !x[0].task.aborted);
	assert_int_equal(x[0].asc, 0x2500);
	assert_false(x[1].done);
	fake_gate(false);
	expect_good(x[1].task.status);
	assert_int_equal(fake_luns[1].writes, 1);
}

TEST(steps_end_when_aborted)
{
	struct tmf t;

	fake_hold_io = true;
	client_begin_attribute(&test_a, &x[0], 1, CDB(0x41, 0, 0, 0, 0, 0, 0, 8, 0, 0), memset(buf, 1, 512),
		512, SCSI_SIMPLE, 5);
	tmf(&t, &test_a, SCSI_ABORT_TASK, 1, 5);
	assert_int_equal(fake_held, 1);
	fake_complete();
	assert_true(t.done && x[0].done && x[0].task.aborted);
	assert_int_equal(fake_held, 0);
	assert_int_equal(fake_luns[0].writes, 1); /* of four */
}

/* ---- order --------------------------------------------------------------------------------------------- */

TEST(ordered_waits_and_is_waited_for)
{
	fake_hold_io = true;
	read_begin(&test_a, &x[0], 1, SCSI_SIMPLE);
	read_begin(&test_a, &x[1], 1, SCSI_ORDERED);
	read_begin(&test_b, &x[2], 1, SCSI_SIMPLE);
	read_begin(&test_a, &x[3], 1, SCSI_HEAD_OF_QUEUE);
	read_begin(&test_a, &x[4], 2, SCSI_SIMPLE); /* another LUN */
	assert_int_equal(fake_held, 3);             /* 0, 3, 4 */
	fake_complete_one();
	assert_true(x[0].done && !x[1].done && fake_held == 2); /* 3 runs still on the LUN */
	fake_complete_one();
	assert_true(x[3].done && fake_held == 2); /* now the ordered one, alone */
	fake_complete_one();
	assert_true(x[4].done && !x[1].done && !x[2].done && fake_held == 1);
	fake_complete_one();
	assert_true(x[1].done && !x[2].done && fake_held == 1);
	fake_complete();
	assert_true(x[2].done);
	for (unsigned i = 0; i < 5; i++)
		expect_good(x[i].task.status);
	fake_hold_io = false;
	/* alone, an ordered task starts at once */
	read_begin(&test_a, &x[0], 1, SCSI_ORDERED);
	assert_true(x[0].done);
}

TEST(blocked_tasks_can_be_aborted)
{
	struct tmf t;

	fake_hold_io = true;
	read_begin(&test_a, &x[0], 1, SCSI_SIMPLE);
	client_begin_attribute(&test_a, &x[1], 1, CDB(0x35), NO_DATA, SCSI_ORDERED, 42);
	read_begin(&test_a, &x[2], 1, SCSI_SIMPLE);
	assert_int_equal(fake_held, 1);
	tmf(&t, &test_a, SCSI_ABORT_TASK, 1, 42);
	assert_true(t.done && x[1].done && x[1].task.aborted);
	assert_int_equal(fake_held, 2); /* the one behind goes on */
	fake_complete();
	assert_true(x[0].done && x[2].done);
}

/* ---- counters ------------------------------------------------------------------------------------------ */

static uint64_t operations(const struct load *l, enum load_kind kind)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i <= LOAD_BOUNDS; i++)
		sum += l->counts[kind].buckets[i];
	return sum;
}

TEST(what_hosts_do_is_counted)
{
	struct lun *lun = &fake_luns[0].lun;
	const struct load before = lun->load, host_before = *host_load(fake_host(0));
	struct load *loads[] = {&lun->load, host_load(fake_host(0))};
	const struct load *olds[] = {&before, &host_before};
	struct tmf t;

	assert_int_equal(lun->queue, 0);
	fake_gate(true);
	fake_hold_io = true;
	read_begin(&test_a, &x[0], 1, SCSI_SIMPLE);
	write_begin(&test_a, &x[1], 1, 7);
	write_begin(&test_a2, &x[2], 1, 8);
	client_begin_attribute(&test_a, &x[3], 1, CDB(0x35), NO_DATA, SCSI_ORDERED, 9);
	assert_int_equal(lun->queue, 4); /* held, at the gate, behind others */
	assert_int_equal(scsi_nexus_array(test_a.nexus)->queue, 3);
	tmf(&t, &test_a, SCSI_ABORT_TASK, 1, 7);
	assert_true(x[1].done);
	assert_int_equal(lun->queue, 3);
	fake_advance(20);
	fake_hold_io = false;
	fake_complete();
	fake_gate(false);
	assert_true(x[0].done && x[2].done && x[3].done);
	assert_int_equal(lun->queue, 0);
	assert_int_equal(scsi_nexus_array(test_a.nexus)->queue, 0);
	for (unsigned i = 0; i < 2; i++) {
		const struct load_count *read = &loads[i]->counts[LOAD_READ];
		const struct load_count *old = &olds[i]->counts[LOAD_READ];

		assert_int_equal(loads[i]->failed - olds[i]->failed, 1);
		assert_int_equal(operations(loads[i], LOAD_READ) - operations(olds[i], LOAD_READ), 1);
		assert_int_equal(operations(loads[i], LOAD_WRITE) - operations(olds[i], LOAD_WRITE), 1);
		assert_int_equal(operations(loads[i], LOAD_OTHER) - operations(olds[i], LOAD_OTHER), 1);
		assert_int_equal(read->bytes - old->bytes, 1024);
		assert_int_equal(
			loads[i]->counts[LOAD_WRITE].bytes - olds[i]->counts[LOAD_WRITE].bytes, 1024);
		assert_int_equal(read->ns - old->ns, 20000000);
		assert_int_equal(read->buckets[5] - old->buckets[5], 1); /* up to 50 ms */
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, client_setup, teardown)
	const struct CMUnitTest tests[] = {T(writes_wait_at_the_gate_and_reads_pass),
		T(queued_writes_are_checked_again), T(parsed_tasks_are_checked_again),
		T(an_aborted_task_ends_wherever_it_waits), T(the_last_abort_says_who_did_it),
		T(abort_and_clear_task_set), T(a_lun_reset_ends_tasks_reservations_and_modes),
		T(target_reset_reaches_what_the_host_sees), T(a_function_does_not_wait_for_later_ones),
		T(lost_nexus_ends_its_tasks), T(unmapping_answers_what_waits), T(steps_end_when_aborted),
		T(ordered_waits_and_is_waited_for), T(blocked_tasks_can_be_aborted),
		T(what_hosts_do_is_counted)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
