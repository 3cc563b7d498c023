/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine of a copy set: every state with every event, against a list of what is allowed. */
#include <errno.h>
#include "array/model/set/state.h"
#include "tests/support/test.h"

static const struct {
	enum up_set_state from;
	enum set_event event;
	enum up_set_state to;
} allowed[] = {
	{UP_SET_PREPARING, SET_BEGIN, UP_SET_PREPARING},
	{UP_SET_PREPARING, SET_ADD, UP_SET_PREPARING},
	{UP_SET_PREPARING, SET_ARM, UP_SET_ARMED},
	{UP_SET_PREPARING, SET_ABORT, UP_SET_ABORTED},
	{UP_SET_PREPARING, SET_EXPIRE, UP_SET_ABORTED},
	{UP_SET_ARMED, SET_ARM, UP_SET_ARMED},
	{UP_SET_ARMED, SET_COMMIT, UP_SET_COMMITTING},
	{UP_SET_ARMED, SET_ABORT, UP_SET_ABORTED},
	{UP_SET_ARMED, SET_EXPIRE, UP_SET_ABORTED},
	{UP_SET_COMMITTING, SET_DURABLE, UP_SET_COMMITTED},
	{UP_SET_COMMITTING, SET_FAILED, UP_SET_ABORTED},
	{UP_SET_COMMITTING, SET_ABORT, UP_SET_ABORTED},
	{UP_SET_COMMITTED, SET_KEEP, UP_SET_KEPT},
	{UP_SET_COMMITTED, SET_ABORT, UP_SET_ABORTED},
	{UP_SET_COMMITTED, SET_EXPIRE, UP_SET_ABORTED},
	{UP_SET_KEPT, SET_KEEP, UP_SET_KEPT},
	{UP_SET_KEPT, SET_DELETE, UP_SET_ABORTED},
	{UP_SET_ABORTED, SET_FAILED, UP_SET_ABORTED},
	{UP_SET_ABORTED, SET_ABORT, UP_SET_ABORTED},
	{UP_SET_ABORTED, SET_EXPIRE, UP_SET_ABORTED},
};

/* What is refused otherwise than by -EBADFD. */
static const struct {
	enum up_set_state from;
	enum set_event event;
	int err;
} special[] = {
	{UP_SET_COMMITTING, SET_BEGIN, -EEXIST},
	{UP_SET_COMMITTED, SET_BEGIN, -EEXIST},
	{UP_SET_KEPT, SET_BEGIN, -EEXIST},
	{UP_SET_COMMITTING, SET_EXPIRE, -EBUSY},
	{UP_SET_ABORTED, SET_DURABLE, -ECANCELED},
};

static int expected(enum up_set_state from, enum set_event event, enum up_set_state *to)
{
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (allowed[i].from == from && allowed[i].event == event) {
			*to = allowed[i].to;
			return 0;
		}
	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
		if (special[i].from == from && special[i].event == event)
			return special[i].err;
	return -EBADFD;
}

TEST(every_state_with_every_event)
{
	for (int from = UP_SET_PREPARING; from <= UP_SET_ABORTED; from++)
		for (int event = 0; event < SET_EVENTS; event++) {
			enum up_set_state want = 0, got = 0;
			int err = expected((enum up_set_state)from, (enum set_event)event, &want);

			assert_int_equal(
				set_state_next((enum up_set_state)from, (enum set_event)event, &got), err);
			assert_int_equal(got, want); /* untouched by a refusal */
		}
}

TEST(no_way_back)
{
	for (int from = UP_SET_PREPARING; from <= UP_SET_ABORTED; from++)
		for (int event = 0; event < SET_EVENTS; event++) {
			enum up_set_state got = 0;

			if (!set_state_next((enum up_set_state)from, (enum set_event)event, &got))
				assert_true((int)got >= from);
		}
}

/* A kept set ends by deletion only. */
TEST(kept_is_not_aborted)
{
	for (int event = 0; event < SET_EVENTS; event++) {
		enum up_set_state got = 0;

		if (!set_state_next(UP_SET_KEPT, (enum set_event)event, &got))
			assert_true(got == UP_SET_KEPT || event == SET_DELETE);
	}
}

TEST(unkept_states)
{
	assert_true(set_state_unkept(UP_SET_PREPARING));
	assert_true(set_state_unkept(UP_SET_ARMED));
	assert_true(set_state_unkept(UP_SET_COMMITTING));
	assert_true(set_state_unkept(UP_SET_COMMITTED));
	assert_false(set_state_unkept(UP_SET_KEPT));
	assert_false(set_state_unkept(UP_SET_ABORTED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_with_every_event),
		cmocka_unit_test(no_way_back),
		cmocka_unit_test(kept_is_not_aborted),
		cmocka_unit_test(unkept_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
