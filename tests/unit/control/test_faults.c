/* SPDX-License-Identifier: Apache-2.0 */
/* An errno of the array's is told in the same words wherever somebody reads of it. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "array/control/management.h"
#include "array/control/status.h"
#include "array/util/fault.h"
#include "tests/support/test.h"
#include "tests/unit/control/rig.h"

#define LUN_BYTES (1u << 20)

/* All that the array fails with. */
static const int errnos[] = {ENOSPC, EROFS, EIO, ENXIO, EUCLEAN, ETIME, ENOMEM, ESHUTDOWN, EAGAIN, EMLINK,
	ENOBUFS, ENOENT, ENODEV, EEXIST, EBUSY, EBADFD, ECANCELED, EXDEV, EINVAL, ERANGE, EMSGSIZE, ENOTSUP,
	EPERM, EACCES};
#define ERRNOS (sizeof(errnos) / sizeof(errnos[0]))

static struct rig rig;

static int open_rig(void **state)
{
	(void)state;
	rig_open(&rig, NULL, NULL);
	return 0;
}

static int close_rig(void **state)
{
	(void)state;
	rig_close(&rig);
	return 0;
}

TEST(every_errno_has_one_sentence)
{
	for (size_t i = 0; i < ERRNOS; i++) {
		const char *what = fault_what(-errnos[i]), *remedy = fault_remedy(-errnos[i]);
		struct fault f = {0};
		char both[sizeof(f.text)];

		snprintf(both, sizeof(both), "%s: %s", what, remedy);
		assert_string_equal(fault_sentence(-errnos[i]), both);
		assert_int_equal(fault_errno(&f, -errnos[i]), -errnos[i]);
		assert_int_equal(f.err, -errnos[i]);
		assert_string_equal(f.text, both);
		assert_string_not_equal(both, fault_sentence(-EDOM)); /* which the array does not know */
	}
	assert_string_equal(fault_sentence(-ENOMEM), FAULT_NO_MEMORY);
}

TEST(an_unknown_errno_is_told_in_the_c_librarys_word)
{
	struct fault f;

	fault_errno(&f, -EDOM);
	assert_non_null(strstr(f.text, strerror(EDOM)));
	assert_non_null(strstr(f.text, fault_remedy(-EDOM)));
	assert_string_equal(fault_what(-EDOM), strerror(EDOM));
}

/* A change that the store fails, and how the management tells it. */
TEST(the_model_and_the_management_say_it)
{
	static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lun.create\","
				   "\"params\":{\"name\":\"a\",\"size_bytes\":1048576}}";

	for (size_t i = 0; i < ERRNOS; i++) {
		memstore_fail(rig.memory, 2, -errnos[i], false); /* the first is that for memory */
		char *line = management_answer(rig.management, text, strlen(text));
		json_t *answer = json_loads(line, 0, NULL), *error = json_object_get(answer, "error");
		const char *message = json_string_value(json_object_get(error, "message"));
		const char *hint = json_string_value(json_object_get(json_object_get(error, "data"), "hint"));

		if (!message || !strstr(message, fault_sentence(-errnos[i])))
			fail_msg("%s: %s", strerror(errnos[i]), line);
		assert_string_equal(hint, fault_remedy(-errnos[i]));
		json_decref(answer);
		free(line);
	}
}

/* A change that the store fails, and how the host that asked is told. */
TEST(the_in_band_reply_says_it)
{
	struct lun *lun = rig_lun(&rig, "data", LUN_BYTES);
	struct up_msg ask, reply;

	rig_map(&rig, 0, lun);
	for (size_t i = 0; i < ERRNOS; i++) {
		uint8_t set_id[UP_ID_BYTES] = {1, (uint8_t)i};
		static const enum up_op ops[] = {UP_OP_SET_BEGIN, UP_OP_SET_ADD, UP_OP_SET_ARM};

		for (unsigned op = 0; op < 3; op++) {
			rig_request(&rig, &ask, ops[op]);
			rig_set_id(&ask, set_id);
			if (ops[op] == UP_OP_SET_ADD)
				rig_lun_id(&ask, lun->id);
			assert_int_equal(rig_ask(&rig, &rig.nexus[0], &ask, &reply), UP_OK);
		}
		memstore_fail(rig.memory, 1, -errnos[i], false);
		rig_request(&rig, &ask, UP_OP_SET_COMMIT);
		rig_set_id(&ask, set_id);
		ask.deadline_ms = 1000;
		ask.has |= UP_HAS(UP_TAG_DEADLINE_MS);
		assert_int_equal(rig_ask(&rig, &rig.nexus[0], &ask, &reply), control_status(-errnos[i]));
		if (!strstr(reply.text, fault_sentence(-errnos[i])))
			fail_msg("%s: %s", strerror(errnos[i]), reply.text);
		memstore_fail(rig.memory, 0, 0, false);
	}
}

/* What helps a pool is not what helps Ceph; what it is, and by which id it is looked up, stays. */
TEST(in_ceph_what_helps_is_another_thing)
{
	for (size_t i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++) {
		const char *what = fault_what(-errnos[i]);
		uint32_t id = fault_message(-errnos[i]);

		fault_in_ceph(true);
		const char *sentence = fault_sentence(-errnos[i]), *remedy = fault_remedy(-errnos[i]);
		fault_in_ceph(false);
		if (strstr(sentence, "umbractl pool") || strstr(sentence, "disk, then") ||
			!strstr(sentence, remedy))
			fail_msg("%s", sentence);
		assert_string_equal(fault_what(-errnos[i]), what);
		assert_int_equal(fault_message(-errnos[i]), id);
		assert_null(strstr(fault_remedy(-errnos[i]), "Ceph"));
	}
	fault_in_ceph(true);
	assert_non_null(strstr(fault_remedy(-ENOSPC), "quota"));
	fault_in_ceph(false);
	assert_non_null(strstr(fault_remedy(-ENOSPC), "pool grow"));
}

/* Where no text came with it: the protocol's own statuses have their own words, the array's failures have its. */
TEST(a_status_says_it)
{
	static const struct {
		enum up_status status;
		int err;
	} rows[] = {{UP_NO_SPACE, ENOSPC}, {UP_IO_ERROR, EIO}, {UP_LIMIT, EMLINK}, {UP_DEADLINE, ETIME},
		{UP_BUSY, EAGAIN}, {UP_OTHER_STORE, EXDEV}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_string_equal(control_remedy(rows[i].status), fault_sentence(-rows[i].err));
		assert_string_equal(control_sentence(-rows[i].err), fault_sentence(-rows[i].err));
	}
	assert_string_equal(control_sentence(-EROFS), fault_sentence(-EROFS));
	assert_string_equal(control_sentence(-ENOMEM), fault_sentence(-ENOMEM));
	assert_string_equal(control_sentence(-ENOENT), control_remedy(UP_NOT_FOUND));
	assert_string_equal(control_sentence(-EDOM), control_remedy(UP_INTERNAL));
	for (unsigned status = 1; status < UP_STATUS_COUNT; status++)
		assert_true(strlen(control_remedy((enum up_status)status)) > 10);
}

static int io_result;

static void io_done(struct lun_io *io, int err)
{
	(void)io;
	io_result = err;
}

/* The initiator gets its sense; this is for the administrator. */
TEST(the_event_of_a_failed_io_says_it)
{
	static const int told[] = {ENOSPC, EROFS, EIO};
	static uint8_t bytes[4096];
	struct lun *lun = rig_lun(&rig, "data", LUN_BYTES);
	struct iovec iov = {bytes, sizeof(bytes)};

	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
		struct lun_io io = {.lun = lun, .done = io_done};
		const struct array_event *e = NULL, *last = NULL;

		io.io = (struct store_io){
			.op = STORE_WRITE, .len = sizeof(bytes), .iov = &iov, .iov_count = 1};
		memstore_fail(rig.memory, 1, -told[i], false);
		lun_submit(&io);
		assert_int_equal(io_result, -told[i]);
		while ((e = array_event_after(rig.array, e ? e->serial : 0)))
			last = e;
		if (!last || !strstr(last->text, fault_sentence(-told[i])))
			fail_msg("%s: %s", strerror(told[i]), last ? last->text : "no event");
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_rig, close_rig)
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_errno_has_one_sentence),
		cmocka_unit_test(an_unknown_errno_is_told_in_the_c_librarys_word),
		T(the_model_and_the_management_say_it), T(the_in_band_reply_says_it),
		cmocka_unit_test(in_ceph_what_helps_is_another_thing), cmocka_unit_test(a_status_says_it),
		T(the_event_of_a_failed_io_says_it)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
