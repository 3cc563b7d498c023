/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provider's state machine: every pair of state and call against a table written down independently, and
 * seeded random sequences with two interleaved sets against a model of what VSS must see.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "provider/copyset.h"
#include "tests/support/test.h"

static const uint8_t set_a[CS_ID_BYTES] = {0xA}, set_b[CS_ID_BYTES] = {0xB};

static const enum cs_call order[] = {CS_CALL_BEGIN_PREPARE, CS_CALL_END_PREPARE, CS_CALL_PRE_COMMIT,
	CS_CALL_COMMIT, CS_CALL_POST_COMMIT, CS_CALL_PRE_FINAL, CS_CALL_POST_FINAL};

static bool names_a_set(enum cs_call call)
{
	return call != CS_CALL_GET_TARGETS && call != CS_CALL_UNLOAD && call != CS_CALL_UNLOAD_FORCE;
}

static struct cs_step call(struct cs_machine *m, enum cs_call c, const uint8_t *set)
{
	return cs_call(m, c, names_a_set(c) ? set : NULL);
}

/* Carries a call out, its work ending with `outcome`. */
static enum cs_result carry_out(
	struct cs_machine *m, enum cs_call c, const uint8_t *set, enum cs_result outcome, unsigned *actions)
{
	struct cs_step step = call(m, c, set);
	unsigned after = 0;
	unsigned work = step.actions & ~CS_DO_END;

	*actions = step.actions;
	if (!work)
		return step.result;
	enum cs_result result = cs_done(m, c, step.epoch, outcome, &after);
	*actions |= after;
	return result;
}

/* Brings a fresh machine into a state, with set A. */
static void reach(struct cs_machine *m, enum cs_state state)
{
	unsigned actions;

	cs_init(m);
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]) && m->state != state; i++) {
		struct cs_step step = call(m, order[i], set_a);
		assert_int_equal(step.result, CS_OK);
		if (m->state == state)
			return;
		if (step.actions & ~CS_DO_END) {
			enum cs_result outcome =
				state == CS_FAILED && order[i] == CS_CALL_COMMIT ? CS_VETO : CS_OK;
			(void)cs_done(m, order[i], step.epoch, outcome, &actions);
		}
	}
	assert_int_equal(m->state, state);
}

/* What set A's own calls lead to: 'y' legal, '-' bad state. Columns as in enum cs_call, up to GET_TARGETS. */
static const char *const legal[CS_STATE_COUNT] = {
	[CS_EMPTY] = "y-------", /* unknown set: see below */
	[CS_PREPARING] = "yy------",
	[CS_ARMING] = "--------",
	[CS_ARMED] = "--y-----",
	[CS_READYING] = "--------",
	[CS_READY] = "---y----",
	[CS_COMMITTING] = "--------",
	[CS_COMMITTED] = "----y---",
	[CS_CHECKING] = "--------",
	[CS_POSTCOMMITTED] = "-----y-y",
	[CS_PREFINAL] = "------yy",
	[CS_CREATED] = "-------y",
	[CS_FAILED] = "--------",
};

static void every_state_and_call(void **unused)
{
	struct cs_machine m;

	(void)unused;
	for (enum cs_state s = CS_EMPTY; s < CS_STATE_COUNT; s++) {
		for (enum cs_call c = CS_CALL_BEGIN_PREPARE; c <= CS_CALL_GET_TARGETS; c++) {
			reach(&m, s);
			struct cs_step step = call(&m, c, set_a);
			enum cs_result wanted = legal[s][c] == 'y' ? CS_OK : CS_BAD_STATE;
			if (s == CS_EMPTY && c != CS_CALL_BEGIN_PREPARE)
				wanted = CS_NOT_FOUND;
			if (step.result != wanted)
				fail_msg("%s in state %s: %s, not %s", cs_call_name(c), cs_state_name(s),
					cs_result_name(step.result), cs_result_name(wanted));
			if (wanted != CS_OK) {
				assert_int_equal(step.actions, 0);
				assert_int_equal(m.state, s);
			}
		}
	}
}

static void unknown_sets_are_not_found(void **unused)
{
	struct cs_machine m;

	(void)unused;
	for (enum cs_state s = CS_EMPTY; s < CS_STATE_COUNT; s++) {
		for (enum cs_call c = CS_CALL_END_PREPARE; c <= CS_CALL_POST_FINAL; c++) {
			reach(&m, s);
			struct cs_step step = call(&m, c, set_b);
			assert_int_equal(step.result, CS_NOT_FOUND);
			assert_int_equal(step.actions, 0);
			assert_int_equal(m.state, s);
		}
	}
}

static void a_new_set_drops_the_old_one_in_any_state(void **unused)
{
	struct cs_machine m;

	(void)unused;
	for (enum cs_state s = CS_EMPTY; s < CS_STATE_COUNT; s++) {
		reach(&m, s);
		uint32_t epoch = m.epoch;
		struct cs_step step = call(&m, CS_CALL_BEGIN_PREPARE, set_b);
		assert_int_equal(step.result, CS_OK);
		assert_int_equal(step.actions, CS_DO_NEW | CS_DO_ADD | (s == CS_EMPTY ? 0 : CS_DO_UNDO));
		assert_int_equal(m.state, CS_PREPARING);
		assert_memory_equal(m.set_id, set_b, CS_ID_BYTES);
		assert_int_not_equal(step.epoch, epoch);
	}
}

static void abort_undoes_in_any_state_and_is_idempotent(void **unused)
{
	struct cs_machine m;

	(void)unused;
	for (enum cs_state s = CS_EMPTY; s < CS_STATE_COUNT; s++) {
		reach(&m, s);
		struct cs_step step = call(&m, CS_CALL_ABORT, set_b); /* somebody else's: nothing */
		assert_int_equal(step.result, CS_OK);
		assert_int_equal(step.actions, 0);
		assert_int_equal(m.state, s);
		step = call(&m, CS_CALL_ABORT, set_a);
		assert_int_equal(step.result, CS_OK);
		assert_int_equal(step.actions, s == CS_EMPTY ? 0 : CS_DO_UNDO);
		assert_int_equal(m.state, CS_EMPTY);
		step = call(&m, CS_CALL_ABORT, set_a);
		assert_int_equal(step.result, CS_OK);
		assert_int_equal(step.actions, 0);
	}
}

static void a_kept_set_is_never_undone(void **unused)
{
	static const enum cs_state states[] = {CS_POSTCOMMITTED, CS_PREFINAL, CS_CREATED};
	static const enum cs_call ends[] = {CS_CALL_ABORT, CS_CALL_UNLOAD_FORCE, CS_CALL_BEGIN_PREPARE};
	struct cs_machine m;

	(void)unused;
	for (size_t i = 0; i < 3; i++) {
		for (size_t n = 0; n < 3; n++) {
			reach(&m, states[i]);
			cs_kept(&m, m.epoch);
			struct cs_step step = call(&m, ends[n], ends[n] == CS_CALL_ABORT ? set_a : set_b);
			bool given_up = ends[n] == CS_CALL_ABORT && states[i] != CS_CREATED;
			assert_int_equal(step.result, CS_OK);
			assert_int_equal(step.actions & CS_DO_END, given_up ? CS_DO_WITHDRAW : CS_DO_FORGET);
		}
	}
}

static void keeping_a_set_that_is_gone_does_nothing(void **unused)
{
	struct cs_machine m;

	(void)unused;
	reach(&m, CS_CREATED);
	uint32_t epoch = m.epoch;
	call(&m, CS_CALL_BEGIN_PREPARE, set_b);
	cs_kept(&m, epoch);
	assert_false(m.kept);
}

static void unload_waits_for_a_busy_set_unless_forced(void **unused)
{
	struct cs_machine m;

	(void)unused;
	for (enum cs_state s = CS_EMPTY; s < CS_STATE_COUNT; s++) {
		reach(&m, s);
		bool busy = s != CS_EMPTY &&
			    s != CS_FAILED; /* created, but its identities not handed out: busy */
		assert_int_equal(cs_busy(&m), busy);
		struct cs_step step = call(&m, CS_CALL_UNLOAD, NULL);
		assert_int_equal(step.result, busy ? CS_BUSY : CS_OK);
		if (busy)
			assert_int_equal(m.state, s);
		step = call(&m, CS_CALL_UNLOAD_FORCE, NULL);
		assert_int_equal(step.result, CS_OK);
		assert_int_equal(m.state, CS_EMPTY);
		if (busy)
			assert_int_equal(step.actions, CS_DO_UNDO);
	}
	reach(&m, CS_CREATED);
	cs_kept(&m, m.epoch);
	assert_int_equal(call(&m, CS_CALL_UNLOAD, NULL).result, CS_OK);
}

static void an_abort_overtakes_work_under_way(void **unused)
{
	static const struct {
		enum cs_state before;
		enum cs_call call;
	} rows[] = {{CS_PREPARING, CS_CALL_BEGIN_PREPARE}, {CS_PREPARING, CS_CALL_END_PREPARE},
		{CS_ARMED, CS_CALL_PRE_COMMIT}, {CS_READY, CS_CALL_COMMIT},
		{CS_COMMITTED, CS_CALL_POST_COMMIT}, {CS_CREATED, CS_CALL_GET_TARGETS}};
	struct cs_machine m;
	unsigned actions;

	(void)unused;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		reach(&m, rows[i].before);
		struct cs_step step = call(&m, rows[i].call, set_a);
		assert_int_equal(step.result, CS_OK);
		assert_int_equal(call(&m, CS_CALL_ABORT, set_a).actions, CS_DO_UNDO);
		assert_int_equal(cs_done(&m, rows[i].call, step.epoch, CS_OK, &actions), CS_BAD_STATE);
		assert_int_equal(actions, 0);
		assert_int_equal(m.state, CS_EMPTY);
	}
}

static void failures_of_the_whole_set_are_undone(void **unused)
{
	static const struct {
		enum cs_state before;
		enum cs_call call;
	} rows[] = {{CS_PREPARING, CS_CALL_END_PREPARE}, {CS_ARMED, CS_CALL_PRE_COMMIT},
		{CS_READY, CS_CALL_COMMIT}, {CS_COMMITTED, CS_CALL_POST_COMMIT}};
	struct cs_machine m;
	unsigned actions;

	(void)unused;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		reach(&m, rows[i].before);
		assert_int_equal(carry_out(&m, rows[i].call, set_a, CS_VETO, &actions), CS_VETO);
		assert_true(actions & CS_DO_UNDO);
		assert_int_equal(m.state, CS_FAILED);
	}
	/* one volume that fails does not end the set */
	reach(&m, CS_PREPARING);
	assert_int_equal(carry_out(&m, CS_CALL_BEGIN_PREPARE, set_a, CS_NO_STORAGE, &actions), CS_NO_STORAGE);
	assert_int_equal(m.state, CS_PREPARING);
}

static void the_window_is_between_precommit_and_postcommit(void **unused)
{
	struct cs_machine m;

	(void)unused;
	for (enum cs_state s = CS_EMPTY; s < CS_STATE_COUNT; s++) {
		reach(&m, s);
		assert_int_equal(cs_in_window(&m), s == CS_READY || s == CS_COMMITTING || s == CS_COMMITTED);
	}
}

static uint64_t seed;

static unsigned next_random(unsigned below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(seed >> 33) % below;
}

/* A set as the arrays would hold it. */
struct model {
	const uint8_t *current; /* NULL: none */
	bool on_arrays, kept;   /* of the current set */
	unsigned live;          /* unkept sets on the arrays: never more than the current one */
};

static void model_end(struct model *model, unsigned actions)
{
	if (actions & CS_DO_UNDO) {
		assert_non_null(model->current);
		assert_false(model->kept);
		model->on_arrays = false;
	}
	if (actions & (CS_DO_FORGET | CS_DO_WITHDRAW))
		assert_true(model->kept);
}

static void model_step(struct cs_machine *m, struct model *model)
{
	static const enum cs_result outcomes[] = {
		CS_OK, CS_OK, CS_OK, CS_OK, CS_OK, CS_OK, CS_VETO, CS_NO_STORAGE};
	enum cs_call c = (enum cs_call)next_random(CS_CALL_COUNT);
	const uint8_t *set = next_random(4) ? set_a : set_b;
	enum cs_result outcome = outcomes[next_random(8)];
	unsigned after = 0;

	if (next_random(2)) /* mostly in VSS's order, or nothing would ever get far */
		for (size_t i = 0; i + 1 < sizeof(order) / sizeof(order[0]); i++)
			if (legal[m->state][order[i + 1]] == 'y')
				c = order[i + 1];
	if (model->current && next_random(2))
		set = model->current;
	if ((c == CS_CALL_ABORT || c == CS_CALL_UNLOAD_FORCE) && next_random(4))
		return;
	struct cs_step step = call(m, c, set);
	assert_true(step.result < CS_RESULT_COUNT);
	assert_true(step.result != CS_BUSY || c == CS_CALL_UNLOAD);
	assert_true(step.result != CS_VETO); /* only work can veto: a veto has an event */
	model_end(model, step.actions);
	if (step.actions & CS_DO_END)
		*model = (struct model){0};
	if (step.actions & CS_DO_NEW) {
		assert_false(model->on_arrays); /* the old one was undone or kept: nothing is left behind */
		*model = (struct model){.current = set, .on_arrays = true};
	}
	unsigned work = step.actions & ~CS_DO_END;
	if (!work)
		return;
	if (!next_random(8)) { /* an abort comes in between */
		struct cs_step abort = call(m, CS_CALL_ABORT, model->current);
		model_end(model, abort.actions);
		*model = (struct model){0};
		assert_int_equal(cs_done(m, c, step.epoch, outcome, &after), CS_BAD_STATE);
		assert_int_equal(after, 0);
		return;
	}
	if ((work & CS_DO_TARGETS) && outcome == CS_OK && next_random(2)) {
		cs_kept(m, step.epoch);
		model->kept = true;
	}
	enum cs_result result = cs_done(m, c, step.epoch, outcome, &after);
	assert_int_equal(result, outcome);
	model_end(model, after);
}

static void random_sequences_follow_the_model(void **unused)
{
	const char *given = getenv("UMBRA_TEST_SEED");
	unsigned reached[CS_STATE_COUNT] = {0};

	(void)unused;
	seed = given ? strtoull(given, NULL, 0) : 20260202;
	print_message("seed %llu (UMBRA_TEST_SEED)\n", (unsigned long long)seed);
	for (unsigned round = 0; round < 2000; round++) {
		struct cs_machine m;
		struct model model = {0};
		cs_init(&m);
		for (unsigned n = 0; n < 100; n++) {
			model_step(&m, &model);
			reached[m.state]++;
			assert_int_equal(m.state == CS_EMPTY, model.current == NULL);
			assert_int_equal(m.kept, model.kept);
			if (m.state != CS_EMPTY && m.state != CS_FAILED)
				assert_true(model.on_arrays);
			if (m.state == CS_FAILED)
				assert_false(model.on_arrays);
		}
	}
	assert_true(reached[CS_CREATED] > 100);
	assert_true(reached[CS_FAILED] > 100);
}

static void names_are_never_null(void **unused)
{
	(void)unused;
	for (int i = 0; i < 32; i++) {
		assert_non_null(cs_state_name((enum cs_state)i));
		assert_non_null(cs_call_name((enum cs_call)i));
		assert_non_null(cs_result_name((enum cs_result)i));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_and_call),
		cmocka_unit_test(unknown_sets_are_not_found),
		cmocka_unit_test(a_new_set_drops_the_old_one_in_any_state),
		cmocka_unit_test(abort_undoes_in_any_state_and_is_idempotent),
		cmocka_unit_test(a_kept_set_is_never_undone),
		cmocka_unit_test(keeping_a_set_that_is_gone_does_nothing),
		cmocka_unit_test(unload_waits_for_a_busy_set_unless_forced),
		cmocka_unit_test(an_abort_overtakes_work_under_way),
		cmocka_unit_test(failures_of_the_whole_set_are_undone),
		cmocka_unit_test(the_window_is_between_precommit_and_postcommit),
		cmocka_unit_test(random_sequences_follow_the_model),
		cmocka_unit_test(names_are_never_null),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
