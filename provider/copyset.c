/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of one shadow copy set: a table of state × call for calls that name the current set, and
 * a few rules around it for other ids, new sets, abort and unload. See copyset.h.
 */
#include "provider/copyset.h"

#include <assert.h>
#include <string.h>

struct row {
	enum cs_state next;
	unsigned actions;
};

/* For the current set. actions == 0 and next == CS_EMPTY: the call is refused with CS_BAD_STATE. */
#define CS_DO_NOTHING (1u << 31) /* legal, nothing to do */

static const struct row table[CS_STATE_COUNT][CS_CALL_GET_TARGETS + 1] =
	{
		[CS_PREPARING] =
			{
				[CS_CALL_BEGIN_PREPARE] = {CS_PREPARING, CS_DO_ADD},
				[CS_CALL_END_PREPARE] = {CS_ARMING, CS_DO_ARM},
			},
		[CS_ARMED] = {[CS_CALL_PRE_COMMIT] = {CS_READYING, CS_DO_READY}},
		[CS_READY] = {[CS_CALL_COMMIT] = {CS_COMMITTING, CS_DO_COMMIT}},
		[CS_COMMITTED] = {[CS_CALL_POST_COMMIT] = {CS_CHECKING, CS_DO_CHECK}},
		[CS_POSTCOMMITTED] =
			{
				[CS_CALL_PRE_FINAL] = {CS_PREFINAL, CS_DO_NOTHING},
				[CS_CALL_GET_TARGETS] = {CS_POSTCOMMITTED, CS_DO_TARGETS},
			},
		[CS_PREFINAL] =
			{
				[CS_CALL_POST_FINAL] = {CS_CREATED, CS_DO_TELL},
				[CS_CALL_GET_TARGETS] = {CS_PREFINAL, CS_DO_TARGETS},
			},
		[CS_CREATED] = {[CS_CALL_GET_TARGETS] = {CS_CREATED, CS_DO_TARGETS}},
};

/* Where the work of a call leads, once it has ended well. */
static const struct {
	enum cs_state from, to;
} finish[CS_CALL_COUNT] = {
	[CS_CALL_END_PREPARE] = {CS_ARMING, CS_ARMED},
	[CS_CALL_PRE_COMMIT] = {CS_READYING, CS_READY},
	[CS_CALL_COMMIT] = {CS_COMMITTING, CS_COMMITTED},
	[CS_CALL_POST_COMMIT] = {CS_CHECKING, CS_POSTCOMMITTED},
};

void cs_init(struct cs_machine *m)
{
	memset(m, 0, sizeof(*m));
}

static bool is_current(const struct cs_machine *m, const uint8_t *set_id)
{
	return m->state != CS_EMPTY && memcmp(m->set_id, set_id, CS_ID_BYTES) == 0;
}

/* Ends the current set. Returns the actions for it. */
static unsigned drop(struct cs_machine *m, bool given_up)
{
	unsigned actions = 0;

	if (m->state != CS_EMPTY && m->kept)
		actions = given_up && m->state != CS_CREATED ? CS_DO_WITHDRAW : CS_DO_FORGET;
	else if (m->state != CS_EMPTY)
		actions = CS_DO_UNDO;
	m->state = CS_EMPTY;
	m->kept = false;
	m->epoch++;
	memset(m->set_id, 0, sizeof(m->set_id));
	return actions;
}

static struct cs_step begin_new(struct cs_machine *m, const uint8_t *set_id)
{
	struct cs_step step = {CS_OK, drop(m, false) | CS_DO_NEW | CS_DO_ADD, 0};

	memcpy(m->set_id, set_id, CS_ID_BYTES);
	m->state = CS_PREPARING;
	step.epoch = m->epoch;
	return step;
}

static struct cs_step refuse(const struct cs_machine *m, enum cs_result result)
{
	return (struct cs_step){result, 0, m->epoch};
}

struct cs_step cs_call(struct cs_machine *m, enum cs_call call, const uint8_t *set_id)
{
	assert(call < CS_CALL_COUNT && m->state < CS_STATE_COUNT);
	switch (call) {
	case CS_CALL_UNLOAD:
		if (cs_busy(m))
			return refuse(m, CS_BUSY);
		/* fall through */
	case CS_CALL_UNLOAD_FORCE:
		return (struct cs_step){CS_OK, drop(m, false), m->epoch};
	case CS_CALL_ABORT: /* an unknown set is gone already */
		assert(set_id);
		if (!is_current(m, set_id))
			return refuse(m, CS_OK);
		return (struct cs_step){CS_OK, drop(m, true), m->epoch};
	case CS_CALL_BEGIN_PREPARE: /* a new id means that the set before was dropped */
		assert(set_id);
		if (!is_current(m, set_id))
			return begin_new(m, set_id);
		break;
	case CS_CALL_GET_TARGETS:
		if (m->state == CS_EMPTY)
			return refuse(m, CS_NOT_FOUND);
		break;
	default:
		assert(set_id);
		if (!is_current(m, set_id))
			return refuse(m, CS_NOT_FOUND);
		break;
	}

	const struct row *row = &table[m->state][call];
	if (!row->actions)
		return refuse(m, CS_BAD_STATE);
	m->state = row->next;
	return (struct cs_step){CS_OK, row->actions & ~CS_DO_NOTHING, m->epoch};
}

/* BeginPrepareSnapshot and GetTargetLuns may fail and leave the set as it is: VSS goes on without that
 * volume, or aborts. Arm, ready, commit and check fail the whole set. */
static bool fails_the_set(enum cs_call call)
{
	return call == CS_CALL_END_PREPARE || call == CS_CALL_PRE_COMMIT || call == CS_CALL_COMMIT ||
	       call == CS_CALL_POST_COMMIT;
}

enum cs_result cs_done(
	struct cs_machine *m, enum cs_call call, uint32_t epoch, enum cs_result outcome, unsigned *actions)
{
	assert(call < CS_CALL_COUNT && outcome < CS_RESULT_COUNT);
	*actions = 0;
	if (epoch != m->epoch)
		return CS_BAD_STATE;
	if (!fails_the_set(call))
		return outcome;
	assert(m->state == finish[call].from);
	if (outcome == CS_OK) {
		m->state = finish[call].to;
		return CS_OK;
	}
	m->state = CS_FAILED;
	*actions = CS_DO_UNDO;
	return outcome;
}

void cs_kept(struct cs_machine *m, uint32_t epoch)
{
	if (epoch != m->epoch)
		return;
	assert(m->state == CS_POSTCOMMITTED || m->state == CS_PREFINAL || m->state == CS_CREATED);
	m->kept = true;
}

bool cs_busy(const struct cs_machine *m)
{
	return m->state != CS_EMPTY && m->state != CS_FAILED && !(m->state == CS_CREATED && m->kept);
}

bool cs_in_window(const struct cs_machine *m)
{
	return m->state == CS_READY || m->state == CS_COMMITTING || m->state == CS_COMMITTED;
}

const char *cs_state_name(enum cs_state state)
{
	static const char *const names[CS_STATE_COUNT] = {
		[CS_EMPTY] = "empty",
		[CS_PREPARING] = "preparing",
		[CS_ARMING] = "arming",
		[CS_ARMED] = "armed",
		[CS_READYING] = "readying",
		[CS_READY] = "ready",
		[CS_COMMITTING] = "committing",
		[CS_COMMITTED] = "committed",
		[CS_CHECKING] = "checking",
		[CS_POSTCOMMITTED] = "post-committed",
		[CS_PREFINAL] = "pre-final",
		[CS_CREATED] = "created",
		[CS_FAILED] = "failed",
	};
	return (unsigned)state < CS_STATE_COUNT ? names[state] : "unknown state";
}

const char *cs_call_name(enum cs_call call)
{
	static const char *const names[CS_CALL_COUNT] = {
		[CS_CALL_BEGIN_PREPARE] = "BeginPrepareSnapshot",
		[CS_CALL_END_PREPARE] = "EndPrepareSnapshots",
		[CS_CALL_PRE_COMMIT] = "PreCommitSnapshots",
		[CS_CALL_COMMIT] = "CommitSnapshots",
		[CS_CALL_POST_COMMIT] = "PostCommitSnapshots",
		[CS_CALL_PRE_FINAL] = "PreFinalCommitSnapshots",
		[CS_CALL_POST_FINAL] = "PostFinalCommitSnapshots",
		[CS_CALL_GET_TARGETS] = "GetTargetLuns",
		[CS_CALL_ABORT] = "AbortSnapshots",
		[CS_CALL_UNLOAD] = "OnUnload",
		[CS_CALL_UNLOAD_FORCE] = "OnUnload (forced)",
	};
	return (unsigned)call < CS_CALL_COUNT ? names[call] : "unknown call";
}

const char *cs_result_name(enum cs_result result)
{
	static const char *const names[CS_RESULT_COUNT] = {
		[CS_OK] = "S_OK",
		[CS_BUSY] = "S_FALSE",
		[CS_OUT_OF_MEMORY] = "E_OUTOFMEMORY",
		[CS_INVALID_ARGUMENT] = "E_INVALIDARG",
		[CS_BAD_STATE] = "VSS_E_BAD_STATE",
		[CS_NOT_FOUND] = "VSS_E_OBJECT_NOT_FOUND",
		[CS_NO_STORAGE] = "VSS_E_INSUFFICIENT_STORAGE",
		[CS_TOO_MANY_SNAPSHOTS] = "VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED",
		[CS_TOO_MANY_VOLUMES] = "VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED",
		[CS_NOT_SUPPORTED] = "VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER",
		[CS_UNSUPPORTED_CONTEXT] = "VSS_E_UNSUPPORTED_CONTEXT",
		[CS_VETO] = "VSS_E_PROVIDER_VETO",
		[CS_NOT_IMPLEMENTED] = "E_NOTIMPL",
	};
	return (unsigned)result < CS_RESULT_COUNT ? names[result] : "unknown result";
}
