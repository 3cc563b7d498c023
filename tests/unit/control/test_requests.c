/* SPDX-License-Identifier: Apache-2.0 */
/* Every in-band request over the real model: what it answers, who may ask it, what can be asked again. */
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include "proto/identity.h"
#include "tests/support/test.h"
#include "tests/unit/control/rig.h"

static struct rig rig;
static struct up_msg ask, reply;
static struct lun *data, *log_lun, *foreign;
static const uint8_t set_one[UP_ID_BYTES] = {1, 2, 3}, set_two[UP_ID_BYTES] = {4, 5, 6},
		     nothing[UP_ID_BYTES] = {9, 9};

#define H1 (&rig.nexus[0])
#define H2 (&rig.nexus[1])
#define H3 (&rig.nexus[2])
#define H4 (&rig.nexus[3])

static int open_rig(void **state)
{
	(void)state;
	rig_open(&rig, NULL, NULL);
	data = rig_lun(&rig, "data", 64 << 20);
	log_lun = rig_lun(&rig, "log", 32 << 20);
	foreign = rig_lun(&rig, "foreign", 16 << 20);
	rig_map(&rig, 0, data);
	rig_map(&rig, 0, log_lun);
	rig_map(&rig, 1, foreign);
	return 0;
}

static int close_rig(void **state)
{
	(void)state;
	rig_close(&rig);
	return 0;
}

static enum up_status on_set(struct host_nexus *n, enum up_op op, const uint8_t id[UP_ID_BYTES])
{
	rig_request(&rig, &ask, op);
	rig_set_id(&ask, id);
	if (op == UP_OP_SET_COMMIT) {
		ask.deadline_ms = 5000;
		ask.has |= UP_HAS(UP_TAG_DEADLINE_MS);
	}
	return rig_ask(&rig, n, &ask, &reply);
}

static enum up_status on_lun(
	struct host_nexus *n, enum up_op op, const uint8_t id[UP_ID_BYTES], uint32_t scope)
{
	rig_request(&rig, &ask, op);
	rig_lun_id(&ask, id);
	if (scope) {
		ask.scope = scope;
		ask.has |= UP_HAS(UP_TAG_SCOPE);
	}
	return rig_ask(&rig, n, &ask, &reply);
}

static enum up_status add(
	struct host_nexus *n, const uint8_t set[UP_ID_BYTES], const struct lun *lun, int kind)
{
	rig_request(&rig, &ask, UP_OP_SET_ADD);
	rig_set_id(&ask, set);
	rig_lun_id(&ask, lun->id);
	if (kind >= 0) {
		ask.copy_kind = (uint32_t)kind;
		ask.has |= UP_HAS(UP_TAG_COPY_KIND);
	}
	return rig_ask(&rig, n, &ask, &reply);
}

/* A kept set of H1's with data in it; the shadow's id. */
static void make_kept(const uint8_t set[UP_ID_BYTES], uint8_t shadow[UP_ID_BYTES])
{
	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set), UP_OK);
	assert_int_equal(add(H1, set, data, -1), UP_OK);
	memcpy(shadow, reply.lun_id, UP_ID_BYTES);
	assert_int_equal(on_set(H1, UP_OP_SET_ARM, set), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_COMMIT, set), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_KEEP, set), UP_OK);
}

TEST(identify_tells_who_is_who)
{
	rig_request(&rig, &ask, UP_OP_IDENTIFY);
	assert_int_equal(rig_ask(&rig, &rig.second, &ask, &reply), UP_OK);
	assert_memory_equal(reply.array_id, array_id(rig.array), UP_ID_BYTES);
	assert_string_equal(reply.array_name, "rig");
	assert_string_equal(reply.initiator_name, "iqn.2026-01.test:h1");
	assert_int_equal(reply.authenticated, 1);
	assert_int_equal(
		reply.capabilities, UP_CAP_DIFFERENTIAL | UP_CAP_PLEX | UP_CAP_BREAK | UP_CAP_RESYNC);
	assert_int_equal(reply.max_set_luns, 64);
	assert_int_equal(reply.lease_ms, 600000);
	assert_int_equal(reply.commit_budget_ms, 5000);
	assert_int_equal(reply.max_request, UP_REQUEST_MAX_BYTES);
	/* who may take no copies is offered none */
	assert_int_equal(rig_ask(&rig, H3, &ask, &reply), UP_OK);
	assert_int_equal(reply.authenticated, 0);
	assert_int_equal(reply.capabilities, UP_CAP_BREAK | UP_CAP_RESYNC);
	assert_int_equal(rig_ask(&rig, H4, &ask, &reply), UP_OK);
	assert_int_equal(reply.authenticated, 0);
	assert_true(reply.capabilities & UP_CAP_DIFFERENTIAL);
	assert_false(reply.capabilities & UP_CAP_READ_ONLY);
}

TEST(identify_tells_of_a_read_only_pool)
{
	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	assert_int_equal(add(H1, set_one, data, -1), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_ARM, set_one), UP_OK);
	memstore_fail(rig.memory, 4, -EIO, true);
	assert_int_equal(on_set(H1, UP_OP_SET_COMMIT, set_one), UP_IO_ERROR);
	rig_request(&rig, &ask, UP_OP_IDENTIFY);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_OK);
	assert_true(reply.capabilities & UP_CAP_READ_ONLY);
	assert_true(reply.capabilities &
		    UP_CAP_DIFFERENTIAL); /* who does not know the bit is told as before, and vetoes */
}

TEST(describe_shows_what_the_host_may_see)
{
	assert_int_equal(on_lun(H1, UP_OP_DESCRIBE_LUN, data->id, 0), UP_OK);
	assert_int_equal(reply.lun_count, 1);
	assert_memory_equal(reply.luns[0].id, data->id, UP_ID_BYTES);
	assert_int_equal(reply.luns[0].size_bytes, 64 << 20);
	assert_int_equal(reply.luns[0].block_bytes, 512);
	assert_int_equal(reply.luns[0].kind, UP_LUN_ORDINARY);
	assert_int_equal(reply.luns[0].number, 1);
	assert_int_equal(on_lun(H1, UP_OP_DESCRIBE_LUN, foreign->id, 0), UP_NOT_MAPPED);
	assert_int_equal(on_lun(H1, UP_OP_DESCRIBE_LUN, nothing, 0), UP_NOT_FOUND);
	/* through a LUN, and through none */
	rig_request(&rig, &ask, UP_OP_DESCRIBE_LUN);
	assert_int_equal(rig_post(&rig, H1, log_lun, 1, &ask), 0);
	assert_true(rig_fetch(&rig, H1, 1, &reply));
	assert_memory_equal(reply.luns[0].id, log_lun->id, UP_ID_BYTES);
	rig_request(&rig, &ask, UP_OP_DESCRIBE_LUN);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_BAD_MESSAGE);
}

TEST(a_set_goes_its_way)
{
	uint8_t shadow[UP_ID_BYTES], second[UP_ID_BYTES];

	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	assert_int_equal(reply.state, UP_SET_PREPARING);
	assert_true(reply.lease_ms > 500000);
	assert_int_equal(add(H1, set_one, data, UP_COPY_DEFAULT), UP_OK);
	memcpy(shadow, reply.lun_id, UP_ID_BYTES);
	assert_int_equal(reply.lun_count, 1);
	assert_memory_equal(reply.luns[0].id, shadow, UP_ID_BYTES);
	assert_memory_equal(reply.luns[0].origin_id, data->id, UP_ID_BYTES);
	assert_memory_equal(reply.luns[0].set_id, set_one, UP_ID_BYTES);
	assert_int_equal(reply.luns[0].kind, UP_LUN_FUTURE_SHADOW);
	assert_int_equal(reply.luns[0].size_bytes, 64 << 20);
	/* two volumes on one disk: one shadow */
	assert_int_equal(add(H1, set_one, data, UP_COPY_DIFFERENTIAL), UP_OK);
	assert_memory_equal(reply.lun_id, shadow, UP_ID_BYTES);
	assert_int_equal(add(H1, set_one, log_lun, -1), UP_OK);
	memcpy(second, reply.lun_id, UP_ID_BYTES);
	assert_memory_not_equal(second, shadow, UP_ID_BYTES);

	assert_int_equal(on_lun(H1, UP_OP_DESCRIBE_LUN, second, 0), UP_OK);
	assert_int_equal(reply.luns[0].kind, UP_LUN_FUTURE_SHADOW);
	assert_int_equal(on_lun(H2, UP_OP_DESCRIBE_LUN, second, 0), UP_NOT_FOUND);
	assert_int_equal(on_lun(H1, UP_OP_MAP, second, 0), UP_BAD_STATE);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, second, 0), UP_BAD_STATE);

	assert_int_equal(on_set(H1, UP_OP_SET_ARM, set_one), UP_OK);
	assert_int_equal(reply.state, UP_SET_ARMED);
	assert_int_equal(on_set(H1, UP_OP_SET_ARM, set_one), UP_OK);
	assert_int_equal(add(H1, set_one, log_lun, -1), UP_BAD_STATE);
	assert_int_equal(on_set(H1, UP_OP_SET_COMMIT, set_one), UP_OK);
	assert_int_equal(reply.state, UP_SET_COMMITTED);
	assert_true(up_has(&reply, UP_TAG_WINDOW_NS) && up_has(&reply, UP_TAG_DURABLE_NS));
	assert_int_equal(on_set(H1, UP_OP_SET_COMMIT, set_one), UP_BAD_STATE);

	assert_int_equal(on_set(H1, UP_OP_SET_LUNS, set_one), UP_OK);
	assert_int_equal(reply.lun_count, 2);
	assert_int_equal(reply.cursor, 0);
	assert_int_equal(reply.luns[0].kind, UP_LUN_SHADOW);
	assert_memory_equal(reply.luns[1].id, second, UP_ID_BYTES);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, 0), UP_BUSY); /* not kept yet */
	assert_int_equal(on_set(H1, UP_OP_SET_KEEP, set_one), UP_OK);
	assert_int_equal(reply.state, UP_SET_KEPT);
	assert_int_equal(reply.lease_ms, 0);
	assert_int_equal(on_set(H1, UP_OP_SET_KEEP, set_one), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_ABORT, set_one), UP_BAD_STATE);
	assert_int_equal(on_set(H1, UP_OP_SET_STATE, set_one), UP_OK);
	assert_int_equal(reply.state, UP_SET_KEPT);
	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_ID_CONFLICT);
}

TEST(sets_belong_to_their_initiator)
{
	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	assert_int_equal(on_set(H2, UP_OP_SET_BEGIN, set_one), UP_ID_CONFLICT);
	assert_int_equal(on_set(H2, UP_OP_SET_STATE, set_one), UP_NOT_FOUND);
	assert_int_equal(add(H2, set_one, foreign, -1), UP_NOT_FOUND);
	assert_int_equal(on_set(H2, UP_OP_SET_ARM, set_one), UP_NOT_FOUND);
	assert_int_equal(on_set(H2, UP_OP_SET_COMMIT, set_one), UP_NOT_FOUND);
	assert_int_equal(on_set(H2, UP_OP_SET_KEEP, set_one), UP_NOT_FOUND);
	assert_int_equal(on_set(H2, UP_OP_SET_LUNS, set_one), UP_NOT_FOUND);
	/* abort of what is another's is "unknown": ok, and nothing is undone */
	assert_int_equal(on_set(H2, UP_OP_SET_ABORT, set_one), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_STATE, set_one), UP_OK);
	assert_int_equal(reply.state, UP_SET_PREPARING);
	/* the same host over its other path */
	assert_int_equal(on_set(&rig.second, UP_OP_SET_STATE, set_one), UP_OK);
	/* a LUN that belongs to another host */
	assert_int_equal(add(H1, set_one, foreign, -1), UP_NOT_MAPPED);
	assert_int_equal(on_set(H1, UP_OP_SET_ABORT, set_one), UP_OK);
	assert_int_equal(reply.state, UP_SET_ABORTED);
	assert_int_equal(on_set(H1, UP_OP_SET_ABORT, set_one), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_ABORT, nothing), UP_OK);
}

static enum up_status label_set(struct host_nexus *n, const uint8_t set[UP_ID_BYTES], const char *label)
{
	rig_request(&rig, &ask, UP_OP_SET_LABEL);
	rig_set_id(&ask, set);
	snprintf(ask.label, sizeof(ask.label), "%s", label);
	ask.has |= UP_HAS(UP_TAG_LABEL);
	return rig_ask(&rig, n, &ask, &reply);
}

#define COST                                                                                                 \
	(UP_HAS(UP_TAG_WRITERS) | UP_HAS(UP_TAG_FROZEN_US) | UP_HAS(UP_TAG_FLUSH_US) |                       \
		UP_HAS(UP_TAG_COMMIT_US) | UP_HAS(UP_TAG_RELEASE_US))

static enum up_status tell(
	struct host_nexus *n, const uint8_t set[UP_ID_BYTES], uint64_t what, uint64_t flush_us)
{
	rig_request(&rig, &ask, UP_OP_SET_TELL);
	rig_set_id(&ask, set);
	ask.writers = UP_WRITERS_TOOK_PART;
	ask.frozen_us = 812000;
	ask.flush_us = flush_us;
	ask.commit_us = 12000;
	ask.release_us = 22000;
	ask.import_us = 2100000;
	ask.has |= what;
	return rig_ask(&rig, n, &ask, &reply);
}

/* The level of the last event of the area "set" that has the text; 0: there is none. */
static unsigned event_level(const char *text)
{
	const struct array_event *e;
	uint64_t after = 0;
	unsigned level = 0;

	while ((e = array_event_after(rig.array, after))) {
		after = e->serial;
		if (strcmp(e->area, "set") == 0 && strstr(e->text, text))
			level = e->level;
	}
	return level;
}

TEST(what_a_set_cost_is_told_and_shown)
{
	uint8_t shadow[UP_ID_BYTES];

	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	assert_false(up_has(&reply, UP_TAG_WRITERS) || up_has(&reply, UP_TAG_LABEL));
	assert_int_equal(tell(H1, set_one, COST, 61000), UP_BAD_STATE); /* nothing is cut yet */
	assert_int_equal(on_set(H1, UP_OP_SET_ABORT, set_one), UP_OK);
	assert_int_equal(tell(H1, set_one, COST, 61000), UP_BAD_STATE);
	make_kept(set_two, shadow);
	assert_int_equal(tell(H1, set_two, COST, 61000), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_STATE, set_two), UP_OK);
	assert_true((reply.has & COST) == COST && !up_has(&reply, UP_TAG_IMPORT_US));
	assert_int_equal(reply.writers, UP_WRITERS_TOOK_PART);
	assert_int_equal(reply.frozen_us, 812000);
	assert_int_equal(reply.flush_us, 61000);
	assert_int_equal(reply.commit_us, 12000);
	assert_int_equal(reply.release_us, 22000);
	assert_int_equal(event_level("I/O held 95 ms"), ARRAY_EVENT_INFO);
	assert_int_equal(event_level("slowest"), 0);
	/* 5 s are no warning yet, more are; the phase is named */
	assert_int_equal(tell(H1, set_two, COST, 5000000 - 34000), UP_OK);
	assert_int_equal(event_level("slowest"), 0);
	assert_int_equal(tell(H1, set_two, COST, 5000001 - 34000), UP_OK);
	assert_int_equal(event_level("slowest: flush and hold, 4967 ms"), ARRAY_EVENT_WARNING);
	/* what is no cost */
	assert_int_equal(tell(H1, set_two, 0, 0), UP_BAD_MESSAGE);
	assert_int_equal(tell(H1, set_two, COST & ~UP_HAS(UP_TAG_COMMIT_US), 0), UP_BAD_MESSAGE);
	assert_int_equal(
		tell(H1, set_two, UP_HAS(UP_TAG_IMPORT_US) | UP_HAS(UP_TAG_WRITERS), 0), UP_BAD_MESSAGE);
	assert_int_equal(tell(H1, set_two, COST, UP_COST_MAX_US + 1), UP_BAD_MESSAGE);
	rig_request(&rig, &ask, UP_OP_SET_TELL);
	rig_set_id(&ask, set_two);
	ask.has |= COST; /* writers 0 */
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_BAD_MESSAGE);
}

TEST(who_tells_of_a_set)
{
	uint8_t shadow[UP_ID_BYTES];

	make_kept(set_one, shadow);
	/* another host hears of no set that it may not import */
	assert_int_equal(tell(H2, set_one, COST, 1), UP_NOT_FOUND);
	assert_int_equal(tell(H2, set_one, UP_HAS(UP_TAG_IMPORT_US), 1), UP_NOT_FOUND);
	assert_int_equal(label_set(H2, set_one, "mine"), UP_NOT_FOUND);
	assert_int_equal(tell(H3, set_one, COST, 1), UP_NOT_AUTHENTICATED);
	assert_int_equal(label_set(H3, set_one, "mine"), UP_NOT_AUTHENTICATED);
	/* one that may import it tells of its import, and nothing else */
	assert_int_equal(tell(H4, set_one, COST, 1), UP_NOT_FOUND);
	assert_int_equal(tell(H4, set_one, COST | UP_HAS(UP_TAG_IMPORT_US), 1), UP_NOT_FOUND);
	assert_int_equal(tell(H4, set_one, UP_HAS(UP_TAG_IMPORT_US), 1), UP_OK);
	assert_int_equal(label_set(H4, set_one, "mine"), UP_NOT_FOUND);
	assert_int_equal(on_set(H1, UP_OP_SET_STATE, set_one), UP_OK);
	assert_true(up_has(&reply, UP_TAG_IMPORT_US) && !up_has(&reply, UP_TAG_WRITERS));
	assert_int_equal(reply.import_us, 2100000);
	assert_int_equal(tell(H1, nothing, COST, 1), UP_NOT_FOUND);
}

TEST(a_set_has_its_label_from_its_first_day)
{
	assert_int_equal(label_set(H1, set_one, "early"), UP_NOT_FOUND);
	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	assert_int_equal(label_set(H1, set_one, "first"), UP_OK);
	assert_string_equal(reply.label, "first");
	assert_int_equal(label_set(H1, set_one, "nightly \xC3\xA4"), UP_OK);
	assert_int_equal(label_set(H1, set_one, "\x1B[2J"), UP_BAD_MESSAGE);
	assert_int_equal(add(H1, set_one, data, -1), UP_OK);
	assert_string_equal(reply.label, "nightly \xC3\xA4");
	assert_int_equal(on_set(H1, UP_OP_SET_ARM, set_one), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_COMMIT, set_one), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_KEEP, set_one), UP_OK);
	assert_string_equal(reply.label, "nightly \xC3\xA4");
	assert_int_equal(event_level("kept, 1 LUN(s), label nightly \xC3\xA4"), ARRAY_EVENT_INFO);
	assert_int_equal(tell(H1, set_one, COST, 61000), UP_OK);
	assert_int_equal(event_level("release 22), label nightly \xC3\xA4"), ARRAY_EVENT_INFO);
	assert_int_equal(label_set(H1, set_one, ""), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_STATE, set_one), UP_OK);
	assert_false(up_has(&reply, UP_TAG_LABEL));
}

static enum up_status take(
	struct host_nexus *n, const uint8_t set[UP_ID_BYTES], struct lun *const *luns, unsigned count)
{
	rig_request(&rig, &ask, UP_OP_SET_TAKE);
	rig_set_id(&ask, set);
	for (unsigned i = 0; i < count; i++)
		memcpy(ask.luns[i].id, luns[i]->id, UP_ID_BYTES);
	ask.lun_count = count;
	if (count)
		ask.has |= UP_HAS(UP_TAG_LUN_ENTRY);
	snprintf(ask.label, sizeof(ask.label), "sql");
	ask.has |= UP_HAS(UP_TAG_LABEL);
	return rig_ask(&rig, n, &ask, &reply);
}

TEST(a_set_without_vss_takes_one_request)
{
	struct lun *luns[2] = {data, log_lun};

	assert_int_equal(take(H1, set_one, luns, 2), UP_OK);
	assert_int_equal(reply.state, UP_SET_KEPT);
	assert_int_equal(reply.writers, UP_WRITERS_NO_VSS);
	assert_string_equal(reply.label, "sql");
	assert_true(up_has(&reply, UP_TAG_WINDOW_NS) && up_has(&reply, UP_TAG_DURABLE_NS));
	assert_int_equal(reply.lun_count, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_memory_equal(reply.luns[i].origin_id, luns[i]->id, UP_ID_BYTES);
		assert_int_equal(reply.luns[i].kind, UP_LUN_SHADOW);
		assert_int_equal(reply.luns[i].set_state, UP_SET_KEPT);
	}
	/* the same rights as with VSS: the host's own, to map and to delete */
	uint8_t shadow[UP_ID_BYTES];
	memcpy(shadow, reply.luns[0].id, UP_ID_BYTES);
	assert_int_equal(on_lun(H2, UP_OP_MAP, shadow, 0), UP_DENIED);
	assert_int_equal(on_lun(H1, UP_OP_MAP, shadow, 0), UP_OK);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, 0), UP_OK);
	assert_int_equal(take(H1, set_one, luns, 2), UP_ID_CONFLICT);
}

TEST(a_set_without_vss_by_right)
{
	struct lun *mixed[2] = {data, foreign}, *twice[2] = {data, data}, nobody = {0};
	struct lun *unknown[2] = {data, &nobody};

	nobody.id[0] = 77;
	assert_int_equal(take(H1, set_one, mixed, 2), UP_NOT_MAPPED);
	assert_int_equal(take(H1, set_one, unknown, 2), UP_NOT_FOUND);
	assert_int_equal(take(H1, set_one, mixed, 0), UP_BAD_MESSAGE);
	assert_int_equal(take(H3, set_one, mixed, 1), UP_NOT_AUTHENTICATED);
	assert_int_equal(take(H2, set_one, mixed, 1), UP_NOT_MAPPED);
	assert_null(set_next(rig.array, NULL)); /* nothing was begun */
	assert_int_equal(take(H1, set_one, twice, 2), UP_OK);
	assert_int_equal(reply.lun_count, 1);
}

/* Whatever step fails: nothing is left, and the answer is what went wrong first. */
TEST(a_set_without_vss_is_whole_or_nothing)
{
	struct lun *luns[2] = {data, log_lun};

	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_two), UP_OK);
	assert_int_equal(add(H1, set_two, log_lun, -1), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_ARM, set_two), UP_OK);
	assert_int_equal(take(H1, set_one, luns, 2), UP_BUSY); /* VSS marks the partitions of one of them */
	assert_int_equal(on_set(H1, UP_OP_SET_STATE, set_one), UP_OK);
	assert_int_equal(reply.state, UP_SET_ABORTED);
	assert_int_equal(on_set(H1, UP_OP_SET_ABORT, set_two), UP_OK);
	for (unsigned nth = 1;; nth++) {
		uint8_t id[UP_ID_BYTES] = {(uint8_t)nth, 0xEE};
		memstore_fail(rig.memory, nth, -ENOMEM, false);
		enum up_status status = take(H1, id, luns, 2);
		bool failed = memstore_failed(rig.memory);
		memstore_fail(rig.memory, 0, 0, false);
		if (!failed) {
			assert_int_equal(status, UP_OK);
			assert_true(nth > 2);
			return;
		}
		assert_int_not_equal(status, UP_OK);
		rig_turn(&rig, 20);
		for (struct lun *l = lun_next(rig.array, NULL); l; l = lun_next(rig.array, l))
			assert_int_equal(l->kind, LUN_ORDINARY);
	}
}

TEST(unknown_sets_and_luns_are_not_found)
{
	static const enum up_op ops[] = {
		UP_OP_SET_STATE, UP_OP_SET_ARM, UP_OP_SET_COMMIT, UP_OP_SET_KEEP, UP_OP_SET_LUNS};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		assert_int_equal(on_set(H1, ops[i], nothing), UP_NOT_FOUND);
	assert_int_equal(on_lun(H1, UP_OP_MAP, nothing, 0), UP_NOT_FOUND);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, nothing, 0), UP_OK);
	assert_int_equal(on_lun(H1, UP_OP_UNMAP, nothing, UP_SCOPE_ME), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	struct lun unknown = {0};
	unknown.id[0] = 77;
	assert_int_equal(add(H1, set_one, &unknown, -1), UP_NOT_FOUND);
	assert_int_equal(on_set(H1, UP_OP_SET_COMMIT, set_one), UP_BAD_STATE); /* not armed */
}

TEST(changes_need_chap)
{
	static const enum up_op changing[] = {UP_OP_SET_BEGIN, UP_OP_SET_ADD, UP_OP_SET_ARM, UP_OP_SET_COMMIT,
		UP_OP_SET_KEEP, UP_OP_SET_ABORT, UP_OP_MAP, UP_OP_UNMAP, UP_OP_DELETE, UP_OP_BREAK,
		UP_OP_RESYNC_START, UP_OP_RESYNC_CANCEL, UP_OP_NOTIFY};
	static const enum up_op looking[] = {UP_OP_IDENTIFY, UP_OP_DESCRIBE_LUN, UP_OP_SET_STATE,
		UP_OP_SET_LUNS, UP_OP_LIST, UP_OP_RESYNC_STATE};

	for (size_t i = 0; i < sizeof(changing) / sizeof(changing[0]); i++) {
		rig_request(&rig, &ask, changing[i]);
		ask.has = UP_HAS(UP_TAG_SET_ID) | UP_HAS(UP_TAG_LUN_ID) | UP_HAS(UP_TAG_DEADLINE_MS) |
			  UP_HAS(UP_TAG_SCOPE) | UP_HAS(UP_TAG_TARGET_ID) | UP_HAS(UP_TAG_JOB) |
			  UP_HAS(UP_TAG_FLAGS);
		ask.scope = UP_SCOPE_ME;
		assert_int_equal(rig_ask(&rig, H3, &ask, &reply), UP_NOT_AUTHENTICATED);
		rig_request(&rig, &ask, changing[i]);
		ask.has = UP_HAS(UP_TAG_SET_ID) | UP_HAS(UP_TAG_LUN_ID) | UP_HAS(UP_TAG_DEADLINE_MS) |
			  UP_HAS(UP_TAG_SCOPE) | UP_HAS(UP_TAG_TARGET_ID) | UP_HAS(UP_TAG_JOB) |
			  UP_HAS(UP_TAG_FLAGS);
		ask.scope = UP_SCOPE_ME;
		assert_int_not_equal(rig_ask(&rig, H4, &ask, &reply), UP_NOT_AUTHENTICATED);
	}
	for (size_t i = 0; i < sizeof(looking) / sizeof(looking[0]); i++) {
		rig_request(&rig, &ask, looking[i]);
		ask.has = UP_HAS(UP_TAG_SET_ID) | UP_HAS(UP_TAG_LUN_ID) | UP_HAS(UP_TAG_TARGET_ID);
		assert_int_not_equal(rig_ask(&rig, H3, &ask, &reply), UP_NOT_AUTHENTICATED);
	}
}

TEST(what_is_not_offered_says_so)
{
	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	assert_int_equal(add(H1, set_one, data, 3), UP_UNSUPPORTED);
	rig_request(&rig, &ask, UP_OP_COUNT);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_UNSUPPORTED);
	rig_request(&rig, &ask, (enum up_op)0);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_UNSUPPORTED);
	rig_request(&rig, &ask, UP_OP_SET_ADD);
	rig_set_id(&ask, set_one);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_BAD_MESSAGE);
	assert_non_null(strstr(reply.text, "lun_id"));
	assert_int_equal(on_lun(H1, UP_OP_UNMAP, data->id, 3), UP_BAD_MESSAGE);
}

TEST(shadows_are_mapped_and_deleted_by_right)
{
	uint8_t shadow[UP_ID_BYTES];

	make_kept(set_one, shadow);
	assert_int_equal(on_lun(H2, UP_OP_MAP, shadow, 0), UP_DENIED);
	assert_int_equal(on_lun(H2, UP_OP_DELETE, shadow, 0), UP_DENIED);
	assert_int_equal(on_lun(H2, UP_OP_UNMAP, shadow, UP_SCOPE_ALL), UP_DENIED);
	assert_int_equal(on_lun(H2, UP_OP_DESCRIBE_LUN, shadow, 0), UP_DENIED);
	assert_int_equal(on_lun(H4, UP_OP_DESCRIBE_LUN, shadow, 0), UP_OK);
	assert_int_equal(reply.luns[0].number, 0);
	assert_int_equal(on_lun(H1, UP_OP_MAP, shadow, 0), UP_OK);
	assert_int_equal(reply.lun_number, 3);
	assert_int_equal(reply.luns[0].number, 3);
	assert_int_equal(reply.luns[0].copy_kind, UP_COPY_DIFFERENTIAL);
	assert_int_equal(on_lun(H1, UP_OP_MAP, shadow, 0), UP_OK);
	assert_int_equal(reply.lun_number, 3);
	assert_int_equal(on_lun(H4, UP_OP_MAP, shadow, 0), UP_OK);
	/* two hosts have it: the first is done with it, and it stays for the other */
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, 0), UP_OK);
	assert_int_equal(reply.lun_count, 1);
	assert_int_equal(reply.luns[0].mapped_hosts, 1);
	assert_int_equal(map_number(rig.hosts[0], lun_find(rig.array, shadow)), 0);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, 0), UP_BUSY);
	assert_int_equal(on_lun(H1, UP_OP_UNMAP, shadow, UP_SCOPE_ME), UP_OK);
	assert_int_equal(on_lun(H1, UP_OP_UNMAP, shadow, UP_SCOPE_ME), UP_OK);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, UP_SCOPE_ALL), UP_OK);
	assert_null(lun_find(rig.array, shadow));
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, 0), UP_OK);
	assert_int_equal(on_lun(H1, UP_OP_MAP, shadow, 0), UP_NOT_FOUND);
	/* a set of which all is deleted still shows an empty list, or is gone */
	enum up_status status = on_set(H1, UP_OP_SET_LUNS, set_one);
	assert_true(status == UP_NOT_FOUND || (status == UP_OK && reply.lun_count == 0));
}

TEST(a_mapped_shadow_is_unmapped_by_its_deletion)
{
	uint8_t shadow[UP_ID_BYTES];

	make_kept(set_two, shadow);
	assert_int_equal(on_lun(H1, UP_OP_MAP, shadow, 0), UP_OK);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, UP_SCOPE_ME), UP_OK);
	assert_null(lun_find(rig.array, shadow));
	assert_null(map_lun(rig.hosts[0], 3));
}

TEST(what_is_not_kept_is_not_mapped)
{
	uint8_t shadow[UP_ID_BYTES];

	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	assert_int_equal(add(H1, set_one, data, -1), UP_OK);
	memcpy(shadow, reply.lun_id, UP_ID_BYTES);
	assert_int_equal(on_set(H1, UP_OP_SET_ARM, set_one), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_COMMIT, set_one), UP_OK);
	assert_int_equal(on_lun(H1, UP_OP_MAP, shadow, 0), UP_BAD_STATE);
	assert_int_equal(on_lun(H4, UP_OP_MAP, shadow, 0), UP_BAD_STATE);
	assert_int_equal(on_set(H1, UP_OP_SET_ABORT, set_one), UP_OK);
	assert_null(lun_find(rig.array, shadow));
	assert_null(map_lun(rig.hosts[0], 3));
}

static enum up_status with_flags(
	struct host_nexus *n, enum up_op op, const uint8_t id[UP_ID_BYTES], uint32_t flags)
{
	rig_request(&rig, &ask, op);
	rig_lun_id(&ask, id);
	ask.flags = flags;
	ask.has |= UP_HAS(UP_TAG_FLAGS);
	return rig_ask(&rig, n, &ask, &reply);
}

static enum up_status resync(
	struct host_nexus *n, const uint8_t shadow[UP_ID_BYTES], const uint8_t target[UP_ID_BYTES])
{
	rig_request(&rig, &ask, UP_OP_RESYNC_START);
	rig_lun_id(&ask, shadow);
	memcpy(ask.target_id, target, UP_ID_BYTES);
	ask.has |= UP_HAS(UP_TAG_TARGET_ID);
	return rig_ask(&rig, n, &ask, &reply);
}

/* Of the LUNs that list shows: the one with this id, or NULL. */
static const struct up_lun *listed(struct host_nexus *n, const uint8_t id[UP_ID_BYTES])
{
	rig_request(&rig, &ask, UP_OP_LIST);
	assert_int_equal(rig_ask(&rig, n, &ask, &reply), UP_OK);
	for (uint32_t i = 0; i < reply.lun_count; i++)
		if (!memcmp(reply.luns[i].id, id, UP_ID_BYTES))
			return &reply.luns[i];
	return NULL;
}

/* A host that sees it, and VSS through it, deletes it as ever; one that does not must say that it means it. */
TEST(a_shadow_that_was_written_to_is_deleted_by_a_word_of_its_own)
{
	uint8_t shadow[UP_ID_BYTES];

	make_kept(set_one, shadow);
	lun_find(rig.array, shadow)->notified |= UP_NOTED_WRITTEN;
	assert_int_equal(listed(H1, shadow)->notified, UP_NOTED_WRITTEN);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, UP_SCOPE_ME), UP_DENIED);
	assert_non_null(strstr(reply.text, "umbractl shadow break"));
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, UP_SCOPE_ALL), UP_DENIED);
	assert_non_null(lun_find(rig.array, shadow));
	assert_int_equal(with_flags(H1, UP_OP_DELETE, shadow, UP_DELETE_WRITTEN), UP_OK);
	assert_null(lun_find(rig.array, shadow));
	make_kept(set_two, shadow);
	lun_find(rig.array, shadow)->notified |= UP_NOTED_WRITTEN;
	assert_int_equal(on_lun(H1, UP_OP_MAP, shadow, 0), UP_OK);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, UP_SCOPE_ME), UP_OK);
	assert_null(lun_find(rig.array, shadow));
}

/* Refused before anything is unmapped. */
TEST(a_locked_shadow_stays_and_stays_mapped)
{
	uint8_t shadow[UP_ID_BYTES];

	make_kept(set_one, shadow);
	assert_int_equal(on_lun(H1, UP_OP_MAP, shadow, 0), UP_OK);
	rig_lock(&rig, set_one, 3600000);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, UP_SCOPE_ME), UP_DENIED);
	assert_non_null(strstr(reply.text, "locked"));
	assert_int_equal(with_flags(H1, UP_OP_DELETE, shadow, UP_DELETE_WRITTEN), UP_DENIED);
	assert_int_equal(with_flags(H1, UP_OP_BREAK, shadow, UP_BREAK_MASK), UP_DENIED);
	assert_int_equal(lun_find(rig.array, shadow)->mappings, 1);
	assert_int_equal(on_lun(H1, UP_OP_UNMAP, shadow, UP_SCOPE_ME), UP_OK);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, UP_SCOPE_ALL), UP_DENIED);
	assert_non_null(lun_find(rig.array, shadow));
}

TEST(shadows_are_broken_by_right)
{
	uint8_t shadow[UP_ID_BYTES];

	assert_int_equal(on_lun(H1, UP_OP_BREAK, nothing, 0), UP_NOT_FOUND);
	make_kept(set_one, shadow);
	assert_int_equal(on_lun(H2, UP_OP_BREAK, shadow, 0), UP_DENIED);
	assert_int_equal(with_flags(H1, UP_OP_BREAK, shadow, 2), UP_UNSUPPORTED);
	assert_int_equal(on_lun(H1, UP_OP_MAP, shadow, 0), UP_OK);
	assert_int_equal(on_lun(H4, UP_OP_MAP, shadow, 0), UP_OK);
	assert_int_equal(listed(H1, shadow)->kind, UP_LUN_SHADOW);
	assert_int_equal(with_flags(H1, UP_OP_BREAK, shadow, UP_BREAK_MASK), UP_OK);
	/* unmapped from the asker, from nobody else */
	assert_null(listed(H1, shadow));
	assert_int_equal(listed(H4, shadow)->kind, UP_LUN_ORDINARY);
	assert_int_equal(with_flags(H1, UP_OP_BREAK, shadow, UP_BREAK_MASK), UP_OK);
	assert_int_equal(on_lun(H4, UP_OP_BREAK, shadow, 0), UP_OK);
	assert_int_equal(map_number(rig.hosts[3], lun_find(rig.array, shadow)), 1);
	assert_int_equal(with_flags(H1, UP_OP_BREAK, data->id, 0), UP_OK);
	assert_int_equal(map_number(rig.hosts[0], data), 1);
	/* out of the hosts' reach from now on */
	assert_int_equal(on_lun(H4, UP_OP_DELETE, shadow, UP_SCOPE_ALL), UP_DENIED);
	assert_int_equal(on_lun(H1, UP_OP_MAP, shadow, 0), UP_DENIED);
	assert_non_null(lun_find(rig.array, shadow));
	assert_int_equal(on_set(H1, UP_OP_SET_STATE, set_one), UP_NOT_FOUND);
	make_kept(set_two, shadow);
	assert_int_equal(on_lun(H1, UP_OP_MAP, shadow, 0), UP_OK);
	assert_int_equal(on_lun(H1, UP_OP_BREAK, shadow, 0), UP_OK);
	assert_int_equal(listed(H1, shadow)->kind, UP_LUN_ORDINARY);
	/* masked by a request of its own */
	assert_int_equal(with_flags(H1, UP_OP_BREAK, shadow, UP_BREAK_MASK), UP_OK);
	assert_null(listed(H1, shadow));
}

TEST(plex_copies_become_full)
{
	uint8_t shadow[UP_ID_BYTES], other[UP_ID_BYTES];

	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	assert_int_equal(add(H1, set_one, data, UP_COPY_PLEX), UP_OK);
	memcpy(shadow, reply.lun_id, UP_ID_BYTES);
	assert_int_equal(reply.luns[0].copy_kind, UP_COPY_PLEX);
	assert_int_equal(add(H1, set_one, data, UP_COPY_DIFFERENTIAL), UP_BAD_STATE);
	assert_int_equal(add(H1, set_one, log_lun, -1), UP_OK);
	memcpy(other, reply.lun_id, UP_ID_BYTES);
	assert_int_equal(on_set(H1, UP_OP_SET_ARM, set_one), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_COMMIT, set_one), UP_OK);
	assert_int_equal(listed(H1, shadow)->full_percent, 0);
	assert_int_equal(listed(H1, shadow)->copy_kind, UP_COPY_PLEX);
	assert_int_equal(on_set(H1, UP_OP_SET_KEEP, set_one), UP_OK);
	for (unsigned i = 0; listed(H1, shadow)->full_percent < 100; i++) {
		assert_true(i < 1000);
		reactor_turn(rig.reactor, 1);
	}
	assert_int_equal(listed(H1, other)->copy_kind, UP_COPY_DIFFERENTIAL);
	assert_int_equal(listed(H1, other)->full_percent, 0);
}

/* A host deletes: the copy is gone for every host, and only the administrator brings it back. */
TEST(a_deleted_copy_is_out_of_the_hosts_reach)
{
	struct array_options options = {.recycle_s = 1000};
	uint8_t shadow[UP_ID_BYTES];
	struct lun_recycled_view bin;

	close_rig(state);
	rig_open(&rig, &options, NULL);
	data = rig_lun(&rig, "data", 64 << 20);
	rig_map(&rig, 0, data);
	make_kept(set_one, shadow);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, UP_SCOPE_ALL), UP_OK);
	assert_true(lun_recycled_next(rig.array, NULL, &bin));
	assert_memory_equal(bin.id, shadow, UP_ID_BYTES);
	assert_null(listed(H1, shadow));
	assert_int_equal(on_lun(H1, UP_OP_DESCRIBE_LUN, shadow, 0), UP_NOT_FOUND);
	assert_int_equal(on_lun(H1, UP_OP_MAP, shadow, 0), UP_NOT_FOUND);
	assert_int_equal(on_lun(H1, UP_OP_BREAK, shadow, 0), UP_NOT_FOUND);
	assert_int_equal(resync(H1, shadow, data->id), UP_NOT_FOUND);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, shadow, UP_SCOPE_ALL), UP_OK); /* purges nothing */
	assert_true(lun_recycled_next(rig.array, NULL, &bin));
}

TEST(unkept_shadows_are_not_broken)
{
	uint8_t shadow[UP_ID_BYTES];

	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	assert_int_equal(add(H1, set_one, data, -1), UP_OK);
	memcpy(shadow, reply.lun_id, UP_ID_BYTES);
	assert_int_equal(on_lun(H1, UP_OP_BREAK, shadow, 0), UP_BAD_STATE);
	assert_int_equal(on_set(H1, UP_OP_SET_ARM, set_one), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_COMMIT, set_one), UP_OK);
	assert_int_equal(on_lun(H1, UP_OP_BREAK, shadow, 0), UP_BAD_STATE);
}

TEST(notifications_are_shown)
{
	uint8_t shadow[UP_ID_BYTES];

	make_kept(set_one, shadow);
	assert_int_equal(listed(H1, shadow)->notified, 0);
	assert_int_equal(with_flags(H1, UP_OP_NOTIFY, shadow, UP_NOTIFY_PRE_RECOVERY), UP_OK);
	assert_int_equal(with_flags(H1, UP_OP_NOTIFY, shadow, UP_NOTIFY_POST_RECOVERY), UP_OK);
	assert_int_equal(listed(H1, shadow)->notified, UP_NOTIFY_PRE_RECOVERY | UP_NOTIFY_POST_RECOVERY);
	assert_int_equal(with_flags(H1, UP_OP_NOTIFY, shadow, 0x800), UP_UNSUPPORTED);
	assert_int_equal(with_flags(H2, UP_OP_NOTIFY, shadow, UP_NOTIFY_READ_WRITE), UP_DENIED);
	assert_int_equal(with_flags(H1, UP_OP_NOTIFY, data->id, UP_NOTIFY_READ_WRITE), UP_DENIED);
	assert_int_equal(with_flags(H1, UP_OP_NOTIFY, nothing, UP_NOTIFY_READ_WRITE), UP_NOT_FOUND);
	assert_int_equal(on_lun(H1, UP_OP_NOTIFY, shadow, 0), UP_BAD_MESSAGE); /* flags missing */
}

static enum up_status on_job(struct host_nexus *n, enum up_op op, uint32_t job)
{
	rig_request(&rig, &ask, op);
	ask.job = job;
	ask.has |= UP_HAS(UP_TAG_JOB);
	return rig_ask(&rig, n, &ask, &reply);
}

TEST(resyncs_are_started_by_right)
{
	struct lun *small, *larger;
	uint8_t shadow[UP_ID_BYTES];
	uint32_t job;

	make_kept(set_one, shadow);
	small = rig_lun(&rig, "small", 1 << 20);
	larger = rig_lun(&rig, "larger", 65 << 20);
	rig_map(&rig, 0, small);
	assert_int_equal(resync(H1, nothing, data->id), UP_NOT_FOUND);
	assert_int_equal(resync(H1, shadow, nothing), UP_NOT_FOUND);
	assert_int_equal(resync(H1, shadow, larger->id), UP_NOT_MAPPED);
	assert_int_equal(resync(H1, shadow, small->id), UP_BAD_STATE);
	assert_int_equal(resync(H1, data->id, small->id), UP_BAD_STATE);
	assert_int_equal(resync(H2, shadow, foreign->id), UP_DENIED); /* may not import it */
	rig_reserved = data;
	assert_int_equal(resync(H1, shadow, data->id), UP_DENIED);
	rig_reserved = NULL;
	assert_int_equal(resync(H1, shadow, data->id), UP_OK);
	assert_true(up_has(&reply, UP_TAG_JOB) && up_has(&reply, UP_TAG_JOB_STATE));
	job = reply.job;
	assert_int_equal(on_job(H1, UP_OP_RESYNC_STATE, job), UP_OK);
	assert_int_equal(reply.job_state, UP_JOB_DONE);
	assert_int_equal(reply.percent, 100);
	assert_int_equal(reply.job, job);
	assert_int_equal(on_job(&rig.second, UP_OP_RESYNC_STATE, job), UP_OK);
	assert_int_equal(on_job(H2, UP_OP_RESYNC_STATE, job), UP_NOT_FOUND);
	assert_int_equal(on_job(H2, UP_OP_RESYNC_CANCEL, job), UP_NOT_FOUND);
	assert_int_equal(on_job(H1, UP_OP_RESYNC_CANCEL, job), UP_OK); /* it had ended */
	assert_int_equal(reply.job_state, UP_JOB_DONE);
	assert_int_equal(on_job(H1, UP_OP_RESYNC_STATE, job + 1), UP_NOT_FOUND);
	/* to another, larger LUN */
	rig_map(&rig, 0, larger);
	assert_int_equal(resync(H1, shadow, larger->id), UP_OK);
	assert_int_equal(larger->size_bytes, 64 << 20);
}

TEST(a_resync_is_cancelled_and_one_fails)
{
	uint8_t shadow[UP_ID_BYTES];
	uint32_t job;

	make_kept(set_one, shadow);
	memstore_slow_copy_cuts(rig.memory, 20);
	assert_int_equal(resync(H1, shadow, data->id), UP_OK);
	job = reply.job;
	assert_int_equal(reply.job_state, UP_JOB_RUNNING);
	assert_int_equal(resync(H1, shadow, data->id), UP_OK);
	assert_int_equal(reply.job, job);
	assert_int_equal(on_job(H1, UP_OP_RESYNC_CANCEL, job), UP_OK);
	assert_int_equal(reply.job_state, UP_JOB_CANCELLED);
	assert_int_equal(on_job(H1, UP_OP_RESYNC_STATE, job), UP_OK);
	assert_int_equal(reply.job_state, UP_JOB_CANCELLED);
	memstore_slow_copy_cuts(rig.memory, 0);
	while (memstore_pending(rig.memory))
		rig_turn(&rig, 1);
	memstore_fail(rig.memory, 1, -ENOSPC, false);
	assert_int_equal(resync(H1, shadow, data->id), UP_OK);
	assert_int_equal(reply.job_state, UP_JOB_FAILED);
	assert_true(up_has(&reply, UP_TAG_TEXT) && strlen(reply.text) > 20);
	assert_int_equal(on_job(H1, UP_OP_RESYNC_STATE, reply.job), UP_OK);
	assert_int_equal(reply.job_state, UP_JOB_FAILED);
}

TEST(ordinary_luns_are_out_of_reach)
{
	assert_int_equal(on_lun(H1, UP_OP_MAP, foreign->id, 0), UP_DENIED);
	assert_int_equal(on_lun(H4, UP_OP_MAP, foreign->id, 0), UP_DENIED);
	assert_int_equal(on_lun(H1, UP_OP_UNMAP, data->id, UP_SCOPE_ME), UP_DENIED);
	assert_int_equal(on_lun(H1, UP_OP_UNMAP, data->id, UP_SCOPE_ALL), UP_DENIED);
	assert_int_equal(on_lun(H1, UP_OP_DELETE, data->id, UP_SCOPE_ALL), UP_DENIED);
	assert_ptr_equal(lun_find(rig.array, data->id), data);
	assert_int_equal(map_number(rig.hosts[0], data), 1);
}

TEST(lists_are_paged)
{
	char name[32];
	unsigned seen = 0, pages = 0;

	for (unsigned i = 0; i < 150; i++) {
		snprintf(name, sizeof(name), "many-%u", i);
		struct lun *lun = rig_lun(&rig, name, 1 << 20);
		if (i % 2)
			rig_map(&rig, 2, lun);
	}
	for (uint32_t cursor = 0, first = 1; cursor || first; first = 0) {
		rig_request(&rig, &ask, UP_OP_LIST);
		ask.cursor = cursor;
		ask.has |= UP_HAS(UP_TAG_CURSOR);
		assert_int_equal(rig_ask(&rig, H3, &ask, &reply), UP_OK);
		for (uint32_t i = 0; i < reply.lun_count; i++)
			assert_true(reply.luns[i].number > 0);
		seen += reply.lun_count;
		cursor = reply.cursor;
		assert_true(++pages < 10);
	}
	assert_int_equal(seen, 75);
	assert_int_equal(pages, 2);
	rig_request(&rig, &ask, UP_OP_LIST);
	ask.cursor = UINT32_MAX;
	ask.has |= UP_HAS(UP_TAG_CURSOR);
	assert_int_equal(rig_ask(&rig, H3, &ask, &reply), UP_OK);
	assert_int_equal(reply.lun_count, 0);
	assert_int_equal(reply.cursor, 0);
}

TEST(a_set_of_64_fits_one_page)
{
	char name[32];

	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	for (unsigned i = 0; i < 65; i++) {
		snprintf(name, sizeof(name), "member-%u", i);
		struct lun *lun = rig_lun(&rig, name, 1 << 20);
		rig_map(&rig, 0, lun);
		assert_int_equal(add(H1, set_one, lun, -1), i < 64 ? UP_OK : UP_LIMIT);
	}
	assert_int_equal(on_set(H1, UP_OP_SET_LUNS, set_one), UP_OK);
	assert_int_equal(reply.lun_count, 64);
	assert_int_equal(reply.cursor, 0);
	assert_int_equal(reply.luns[63].kind, UP_LUN_FUTURE_SHADOW);
}

TEST(a_commit_past_its_deadline_keeps_nothing)
{
	uint8_t shadow[UP_ID_BYTES];

	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	assert_int_equal(add(H1, set_one, data, -1), UP_OK);
	memcpy(shadow, reply.lun_id, UP_ID_BYTES);
	assert_int_equal(on_set(H1, UP_OP_SET_ARM, set_one), UP_OK);
	memstore_timing(rig.memory, MEMSTORE_CUT_COMMIT, MEMSTORE_TIMED, 300);
	rig_request(&rig, &ask, UP_OP_SET_COMMIT);
	rig_set_id(&ask, set_one);
	ask.deadline_ms = 20;
	ask.has |= UP_HAS(UP_TAG_DEADLINE_MS);
	assert_int_equal(rig_ask(&rig, H1, &ask, &reply), UP_DEADLINE);
	assert_int_equal(reply.state, UP_SET_ABORTED);
	memstore_timing(rig.memory, MEMSTORE_CUT_COMMIT, MEMSTORE_INLINE, 0);
	assert_int_equal(on_set(H1, UP_OP_SET_COMMIT, set_one), UP_BAD_STATE);
	assert_int_equal(on_set(H1, UP_OP_SET_KEEP, set_one), UP_BAD_STATE);
	assert_int_equal(on_set(H1, UP_OP_SET_ABORT, set_one), UP_OK);
	assert_null(lun_find(rig.array, shadow));
	for (struct lun *l = lun_next(rig.array, NULL); l; l = lun_next(rig.array, l))
		assert_int_equal(l->kind, LUN_ORDINARY);
}

TEST(a_store_that_fails_is_told)
{
	assert_int_equal(on_set(H1, UP_OP_SET_BEGIN, set_one), UP_OK);
	assert_int_equal(add(H1, set_one, data, -1), UP_OK);
	assert_int_equal(on_set(H1, UP_OP_SET_ARM, set_one), UP_OK);
	memstore_fail(rig.memory, 1, -ENOSPC, false);
	assert_int_equal(on_set(H1, UP_OP_SET_COMMIT, set_one), UP_NO_SPACE);
	assert_true(memstore_failed(rig.memory));
	assert_int_equal(on_set(H1, UP_OP_SET_STATE, set_one), UP_OK);
	assert_int_equal(reply.state, UP_SET_ABORTED);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(identify_tells_who_is_who),
		WITH_RIG(identify_tells_of_a_read_only_pool),
		WITH_RIG(describe_shows_what_the_host_may_see),
		WITH_RIG(a_set_goes_its_way),
		WITH_RIG(sets_belong_to_their_initiator),
		WITH_RIG(what_a_set_cost_is_told_and_shown),
		WITH_RIG(who_tells_of_a_set),
		WITH_RIG(a_set_has_its_label_from_its_first_day),
		WITH_RIG(a_set_without_vss_takes_one_request),
		WITH_RIG(a_set_without_vss_by_right),
		WITH_RIG(a_set_without_vss_is_whole_or_nothing),
		WITH_RIG(unknown_sets_and_luns_are_not_found),
		WITH_RIG(changes_need_chap),
		WITH_RIG(what_is_not_offered_says_so),
		WITH_RIG(shadows_are_mapped_and_deleted_by_right),
		WITH_RIG(a_mapped_shadow_is_unmapped_by_its_deletion),
		WITH_RIG(what_is_not_kept_is_not_mapped),
		WITH_RIG(a_shadow_that_was_written_to_is_deleted_by_a_word_of_its_own),
		WITH_RIG(a_locked_shadow_stays_and_stays_mapped),
		WITH_RIG(shadows_are_broken_by_right),
		WITH_RIG(plex_copies_become_full),
		WITH_RIG(a_deleted_copy_is_out_of_the_hosts_reach),
		WITH_RIG(unkept_shadows_are_not_broken),
		WITH_RIG(notifications_are_shown),
		WITH_RIG(resyncs_are_started_by_right),
		WITH_RIG(a_resync_is_cancelled_and_one_fails),
		WITH_RIG(ordinary_luns_are_out_of_reach),
		WITH_RIG(lists_are_paged),
		WITH_RIG(a_set_of_64_fits_one_page),
		WITH_RIG(a_commit_past_its_deadline_keeps_nothing),
		WITH_RIG(a_store_that_fails_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
