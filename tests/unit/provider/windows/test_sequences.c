/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeded random sequences of all calls over the object, two sets interleaved, arrays that refuse, hang up and come back:
 * - every return code is one that VSS allows to that method;
 * - every veto has an event with call, LUN, array and remedy, and no event came without a reason;
 * - the answer is the one that docs/provider-states.md has for the state (a model: the machine run beside it);
 * - what is on the arrays afterwards: only kept copies.
 *
 * The watch over the commit window and the heap guard are on throughout. UMBRA_TEST_SEED repeats a run.
 */
#include "objects.h"

#include <stdlib.h>
#include <string.h>
#include "events.h"
#include "provider/async.h"
#include "provider/copyset.h"
#include "provider/result.h"

#define ROUNDS     16
#define ROUNDS_MAX (8 * ROUNDS)
#define CALLS      60

static uint64_t seed;

static unsigned next_random(unsigned below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(seed >> 33) % below;
}

/* What Microsoft's documentation allows a provider to answer (and E_NOTIMPL to ResyncLuns: RecoverSet). */
static bool is_allowed(const char *method, HRESULT hr)
{
	static const HRESULT everywhere[] = {S_OK, E_OUTOFMEMORY, E_INVALIDARG, E_ACCESSDENIED,
		VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND, VSS_E_INSUFFICIENT_STORAGE,
		VSS_E_VOLUME_NOT_SUPPORTED, VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
		VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED, VSS_E_PROVIDER_VETO, VSS_E_CANNOT_REVERT_DISKID};
	static const HRESULT begin_only[] = {VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED,
		VSS_E_NESTED_VOLUME_LIMIT, VSS_E_UNSUPPORTED_CONTEXT};

	for (size_t i = 0; i < sizeof(everywhere) / sizeof(everywhere[0]); i++)
		if (hr == everywhere[i])
			return true;
	for (size_t i = 0; i < sizeof(begin_only) / sizeof(begin_only[0]); i++)
		if (hr == begin_only[i])
			return !strcmp(method, "BeginPrepareSnapshot");
	return (hr == S_FALSE && !strcmp(method, "OnUnload")) ||
	       (hr == E_NOTIMPL && !strcmp(method, "ResyncLuns"));
}

/* ---- the model: the machine, run beside the object ---- */

static struct cs_machine model;
static const VSS_ID *const sets[2] = {&set_id, &other_set_id};
static uint8_t set_ids[2][CS_ID_BYTES];
static unsigned vetoes, states[CS_STATE_COUNT];
static bool faulty; /* an array is being difficult: work may fail */

/* The answer must be the machine's, or, where there was work, the failure of the work. */
static void follow(enum cs_call c, const uint8_t *id, HRESULT hr)
{
	struct cs_step step = cs_call(&model, c, id);
	unsigned actions;
	enum cs_result outcome = CS_OK;

	if (!(step.actions & ~CS_DO_END)) {
		CHECK_HR(hr, result_hresult(step.result));
		return;
	}
	while (outcome < CS_RESULT_COUNT && result_hresult(outcome) != hr)
		outcome++;
	CHECK(outcome < CS_RESULT_COUNT);
	if (outcome != CS_OK && !faulty && c != CS_CALL_GET_TARGETS)
		CHECK(outcome == CS_BAD_STATE && c == CS_CALL_END_PREPARE); /* every volume had failed */
	(void)cs_done(&model, c, step.epoch, outcome, &actions);
	states[model.state]++;
}

/* ---- calls ---- */

/* Of a call that has ended. While the volumes may be frozen events wait. */
static void judge(const char *method, HRESULT hr)
{
	if (!is_allowed(method, hr)) {
		printf("%s answered 0x%08lx, which VSS does not allow\n", method, (unsigned long)hr);
		CHECK(is_allowed(method, hr));
	}
	vetoes += hr == VSS_E_PROVIDER_VETO;
	if (eventlog_held())
		return;
	eventlog_drain();
	if (hr == VSS_E_PROVIDER_VETO) /* objects.c looks at every one: LUN and array are there */
		CHECK(events > 0 && strlen(last_event.call) > 1);
	events = 0;
}

/* A commit that failed is undone by the window's threads, and the same id may come again at once. */
static void wait_for_undoing(void)
{
	for (int i = 0; i < 2000 && fake_open_sets(); i++)
		Sleep(10);
	CHECK(fake_open_sets() == 0);
}

static void set_call(enum cs_call c, unsigned which)
{
	static const char *const names[] = {[CS_CALL_END_PREPARE] = "EndPrepareSnapshots",
		[CS_CALL_PRE_COMMIT] = "PreCommitSnapshots",
		[CS_CALL_COMMIT] = "CommitSnapshots",
		[CS_CALL_POST_COMMIT] = "PostCommitSnapshots",
		[CS_CALL_PRE_FINAL] = "PreFinalCommitSnapshots",
		[CS_CALL_POST_FINAL] = "PostFinalCommitSnapshots",
		[CS_CALL_ABORT] = "AbortSnapshots"};
	const VSS_ID *id = sets[which];
	bool was_frozen = frozen;
	HRESULT hr;

	/* VSS makes no other call in the window; a stray one there may allocate. */
	frozen = was_frozen && c == CS_CALL_COMMIT;
	switch (c) {
	case CS_CALL_END_PREPARE:
		hr = IVssProviderCreateSnapshotSet_EndPrepareSnapshots(set, *id);
		break;
	case CS_CALL_PRE_COMMIT:
		hr = IVssProviderCreateSnapshotSet_PreCommitSnapshots(set, *id);
		break;
	case CS_CALL_COMMIT:
		hr = IVssProviderCreateSnapshotSet_CommitSnapshots(set, *id);
		break;
	case CS_CALL_POST_COMMIT:
		hr = IVssProviderCreateSnapshotSet_PostCommitSnapshots(set, *id, 1);
		break;
	case CS_CALL_PRE_FINAL:
		hr = IVssProviderCreateSnapshotSet_PreFinalCommitSnapshots(set, *id);
		break;
	case CS_CALL_POST_FINAL:
		hr = IVssProviderCreateSnapshotSet_PostFinalCommitSnapshots(set, *id);
		break;
	default:
		hr = IVssProviderCreateSnapshotSet_AbortSnapshots(set, *id);
		break;
	}
	follow(c, set_ids[which], hr);
	frozen = cs_in_window(&model) && !async_busy();
	judge(names[c], hr);
	if (c == CS_CALL_COMMIT && model.state == CS_FAILED)
		wait_for_undoing();
}

static void begin_call(unsigned which)
{
	static const LONG contexts[] = {0, 0, 0, VSS_VOLSNAP_ATTR_TRANSPORTABLE, VSS_VOLSNAP_ATTR_PLEX,
		VSS_VOLSNAP_ATTR_DIFFERENTIAL, VSS_CTX_CLIENT_ACCESSIBLE,
		VSS_VOLSNAP_ATTR_PLEX | VSS_VOLSNAP_ATTR_DIFFERENTIAL};
	unsigned first = next_random(3), count = 1 + next_random(3 - first);
	LONG flags = contexts[next_random(8)];

	frozen = 0;
	HRESULT hr = begin(sets[which], next_random(2) ? &volume_id : &second_volume_id, flags, luns + first,
		(LONG)count);
	/* a context that no array makes ends the set before, too, when the id is a new one */
	bool refused = flags == VSS_CTX_CLIENT_ACCESSIBLE ||
		       flags == (VSS_VOLSNAP_ATTR_PLEX | VSS_VOLSNAP_ATTR_DIFFERENTIAL);
	bool was_faulty = faulty;
	faulty = faulty || hr == VSS_E_UNSUPPORTED_CONTEXT; /* two kinds of one LUN in a set */
	if (refused)
		CHECK(hr == VSS_E_UNSUPPORTED_CONTEXT || hr == VSS_E_BAD_STATE);
	follow(CS_CALL_BEGIN_PREPARE, set_ids[which], hr);
	faulty = was_faulty;
	judge("BeginPrepareSnapshot", hr);
}

/* The latest shadow copies that were handed out. */
static VDS_LUN_INFORMATION known[3];
static unsigned known_count;

static void forget_known(void)
{
	for (unsigned i = 0; i < 3; i++)
		lun_identity_clear(&known[i]);
	known_count = 0;
}

static void targets_call(void)
{
	VDS_LUN_INFORMATION out[3];
	unsigned first = next_random(3), count = 1 + next_random(3 - first);

	frozen = 0;
	memset(out, 0, sizeof(out));
	HRESULT hr = targets(luns + first, (LONG)count, out);
	/* kept or not is the arrays' word */
	struct cs_machine before = model;
	follow(CS_CALL_GET_TARGETS, NULL, hr);
	if (hr == S_OK && before.state != CS_EMPTY) {
		bool kept = false, open = false;
		for (unsigned a = 0; a < FAKE_ARRAYS; a++) {
			struct fake_set *s = fake_find_set(a, model.set_id);
			kept = kept || (s && s->state == UP_SET_KEPT);
			open = open || (s && s->state == UP_SET_COMMITTED);
		}
		if (kept && !open)
			cs_kept(&model, model.epoch);
		forget_known();
		memcpy(known, out, sizeof(out));
		known_count = count;
	} else {
		for (unsigned i = 0; i < 3; i++)
			CHECK(!out[i].m_szVendorId);
	}
	judge("GetTargetLuns", hr);
}

static void other_call(void)
{
	static const DWORD flags[] = {0, 0x100, 0x200, 0x400, 0x800, 0x900, 0xC00, 0xF00};
	VDS_LUN_INFORMATION destinations[3];
	IVssAsync *async = NULL;
	WINBOOL yes = 7;
	HRESULT hr, result;

	frozen = 0;
	if (!known_count)
		return;
	switch (next_random(6)) {
	case 0:
		judge("LocateLuns", IVssHardwareSnapshotProviderEx_LocateLuns(hw, (LONG)known_count, known));
		fake_rescan();
		break;
	case 1:
		judge("OnLunEmpty", IVssHardwareSnapshotProviderEx_OnLunEmpty(
					    hw, NULL, &known[next_random(known_count)]));
		fake_rescan();
		break;
	case 2:
		hr = IVssHardwareSnapshotProviderEx_OnLunStateChange(
			hw, known, NULL, known_count, flags[next_random(8)]);
		CHECK(hr == S_OK || hr == VSS_E_PROVIDER_VETO);
		judge("OnLunStateChange", hr);
		fake_rescan();
		break;
	case 3:
		for (unsigned i = 0; i < known_count; i++)
			describe(&destinations[i], ids[i]);
		hr = IVssHardwareSnapshotProviderEx_ResyncLuns(hw, known, destinations, known_count, &async);
		CHECK((hr == S_OK) == (async != NULL));
		/* Once it runs it may fail at any moment, and its event with it: judged when it has ended. */
		if (async) {
			HRESULT cancelled = next_random(2) ? IVssAsync_Cancel(async) : S_OK;
			CHECK_HR(IVssAsync_Wait(async, INFINITE), S_OK);
			CHECK_HR(IVssAsync_QueryStatus(async, &result, NULL), S_OK);
			CHECK(result == VSS_S_ASYNC_FINISHED || result == VSS_S_ASYNC_CANCELLED ||
				result == VSS_E_PROVIDER_VETO);
			CHECK(SUCCEEDED(cancelled) || cancelled == result);
			IVssAsync_Release(async);
			hr = result == VSS_E_PROVIDER_VETO ? result : S_OK;
		}
		judge("ResyncLuns", hr);
		for (unsigned i = 0; i < known_count; i++)
			lun_identity_clear(&destinations[i]);
		break;
	case 4:
		judge("AreLunsSupported",
			IVssHardwareSnapshotProviderEx_AreLunsSupported(hw, (LONG)known_count,
				(LONG)next_random(2) * VSS_VOLSNAP_ATTR_PLEX, NULL, known, &yes));
		CHECK(yes == TRUE || yes == FALSE);
		break;
	default:
		judge("FillInLunInfo",
			IVssHardwareSnapshotProviderEx_FillInLunInfo(hw, NULL, &known[0], &yes));
		CHECK(yes == TRUE);
		break;
	}
}

/* An array refuses one operation, or all is well again. */
static void change_the_weather(void)
{
	static const enum up_op ops[] = {UP_OP_SET_BEGIN, UP_OP_SET_ADD, UP_OP_SET_ARM, UP_OP_SET_COMMIT,
		UP_OP_SET_STATE, UP_OP_SET_KEEP, UP_OP_MAP, UP_OP_UNMAP, UP_OP_DELETE, UP_OP_BREAK,
		UP_OP_NOTIFY, UP_OP_RESYNC_START, UP_OP_RESYNC_STATE};
	static const enum up_status statuses[] = {UP_NO_SPACE, UP_LIMIT, UP_DENIED, UP_IO_ERROR, UP_NOT_FOUND,
		UP_UNSUPPORTED, UP_INTERNAL, UP_OTHER_STORE};

	for (unsigned a = 0; a < FAKE_ARRAYS; a++)
		memset(fakes[a].refuse, 0, sizeof(fakes[a].refuse));
	faulty = next_random(2);
	if (faulty)
		fakes[next_random(2)].refuse[ops[next_random(13)]] = statuses[next_random(8)];
}

static void unload_call(void)
{
	bool force = next_random(2);
	enum cs_call c = force ? CS_CALL_UNLOAD_FORCE : CS_CALL_UNLOAD;

	frozen = 0;
	HRESULT hr = IVssProviderNotifications_OnUnload(notify, force);
	follow(c, NULL, hr);
	judge("OnUnload", hr);
}

/* Mostly the next step of the current set; else anything. */
static void any_call(void)
{
	static const enum cs_call next[CS_STATE_COUNT] = {[CS_PREPARING] = CS_CALL_END_PREPARE,
		[CS_ARMED] = CS_CALL_PRE_COMMIT,
		[CS_READY] = CS_CALL_COMMIT,
		[CS_COMMITTED] = CS_CALL_POST_COMMIT,
		[CS_POSTCOMMITTED] = CS_CALL_PRE_FINAL,
		[CS_PREFINAL] = CS_CALL_POST_FINAL};
	unsigned current = !memcmp(model.set_id, set_ids[1], CS_ID_BYTES);

	/* In the window VSS does nothing but commit: of all else, little. */
	if (cs_in_window(&model) ? next_random(8) : next_random(3)) {
		if (next[model.state])
			set_call(next[model.state], current);
		else if (model.state == CS_CREATED && !model.kept)
			targets_call();
		else
			begin_call(next_random(2));
		return;
	}
	switch (next_random(8)) {
	case 0:
		begin_call(next_random(2));
		break;
	case 1:
		targets_call();
		break;
	case 2:
	case 3:
		other_call();
		break;
	case 4:
		if (!next_random(3))
			unload_call();
		break;
	case 5:
		set_call(CS_CALL_ABORT, next_random(2));
		break;
	case 6:
		change_the_weather();
		break;
	default:
		set_call((enum cs_call)(CS_CALL_END_PREPARE + next_random(6)), next_random(2));
		break;
	}
}

/* Kept copies may be left, and copies of a set that one array kept while another refused to (told by an event). */
static void what_is_left(void)
{
	for (unsigned a = 0; a < FAKE_ARRAYS; a++)
		for (unsigned i = 0; i < FAKE_LUNS; i++)
			CHECK(!fakes[a].luns[i].there || fakes[a].luns[i].lun.kind != UP_LUN_FUTURE_SHADOW);
	CHECK(fake_open_sets() == 0);
}

static bool been_everywhere(void)
{
	static const enum cs_state wanted[] = {CS_ARMED, CS_READY, CS_COMMITTED, CS_POSTCOMMITTED, CS_FAILED};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (states[wanted[i]] <= 2)
			return false;
	return vetoes > 5;
}

static void random_sequences(void)
{
	const char *given = getenv("UMBRA_TEST_SEED");

	seed = given ? strtoull(given, NULL, 0) : 20261123;
	printf("seed %llu (UMBRA_TEST_SEED)\n", (unsigned long long)seed);
	fflush(stdout);
	provider_guid_bytes(&set_id, set_ids[0]);
	provider_guid_bytes(&other_set_id, set_ids[1]);
	/* Some seeds take longer to get everywhere. */
	for (unsigned round = 0; round < ROUNDS || (round < ROUNDS_MAX && !been_everywhere()); round++) {
		start_with(2, 1);
		cs_init(&model);
		faulty = false;
		for (unsigned n = 0; n < CALLS; n++)
			any_call();
		frozen = 0;
		memset(fakes[0].refuse, 0, sizeof(fakes[0].refuse));
		memset(fakes[1].refuse, 0, sizeof(fakes[1].refuse));
		if (model.state != CS_EMPTY)
			set_call(CS_CALL_ABORT, !memcmp(model.set_id, set_ids[1], CS_ID_BYTES));
		forget_known();
		finish();
		what_is_left();
	}
	CHECK(been_everywhere());
	printf("%u vetoes, %u commits\n", vetoes, states[CS_COMMITTED]);
}

int main(void)
{
	static const struct test tests[] = {TEST(random_sequences)};

	return run_object_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
