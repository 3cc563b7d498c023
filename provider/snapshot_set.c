/* SPDX-License-Identifier: Apache-2.0 */
/* A shadow copy set on its arrays. See snapshot_set.h. */
#include "provider/snapshot_set.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include "events.h"
#include "proto/identity.h"
#include "provider/clock.h"
#include "provider/eventlog.h"
#include "provider/result.h"
#include "provider/set_cost.h"
#include "provider/window.h"

#define ARM_LIMIT_MS          60000
#define ARM_POLL_MS           50
#define ABORT_LIMIT_MS        10000
#define ARRAY_DEADLINE_MAX_MS 5000

struct set_array {
	uint8_t id[UP_ID_BYTES];
	char name[UP_NAME_MAX_BYTES + 1];
	uint32_t commit_budget_ms;
	uint64_t capabilities;
	bool begun, kept, capabilities_known;
};

struct set_pair {
	uint8_t original[UP_ID_BYTES], shadow[UP_ID_BYTES];
	unsigned array;
	enum up_copy_kind kind; /* as it was asked for */
	bool wanted;            /* a volume of the set stands on it; else it came with one that failed */
	bool handed;            /* GetTargetLuns gave it out */
};

struct snapshot_set {
	volatile LONG refs;
	volatile LONG cancelled;
	struct array_client *client;
	struct transport *transport;
	uint8_t id[UP_ID_BYTES];
	SRWLOCK lock; /* guards what follows; never held during I/O */
	bool keep_tried;
	unsigned array_count, pair_count, snapshot_count;
	struct set_array arrays[ARRAYS_MAX];
	struct set_pair pairs[SET_LUNS_MAX];
	uint8_t snapshots[SET_SNAPSHOTS_MAX][CS_ID_BYTES];
	/* of the method that runs; VSS makes one call at a time */
	struct window *window;
	uint32_t budget_ms;
	uint64_t commit_us;
	struct set_times times;
	uint32_t context;
	struct window_result committed[ARRAYS_MAX];
};

/* A request and its reply: too large for a stack. */
struct talk {
	struct up_msg request, reply;
	struct array_trouble trouble;
};

struct snapshot_set *set_create(
	struct array_client *client, struct transport *transport, const uint8_t set_id[UP_ID_BYTES])
{
	struct snapshot_set *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->refs = 1;
	s->client = client;
	s->transport = transport;
	memcpy(s->id, set_id, UP_ID_BYTES);
	InitializeSRWLock(&s->lock);
	return s;
}

void set_ref(struct snapshot_set *s)
{
	InterlockedIncrement(&s->refs);
}

void set_unref(struct snapshot_set *s)
{
	if (!s || InterlockedDecrement(&s->refs))
		return;
	window_close(s->window);
	free(s);
}

static enum cs_result out_of_memory(const char *call)
{
	result_event(UMBRA_EVENT_INTERNAL, call, NULL, NULL, "Out of memory.");
	return CS_OUT_OF_MEMORY;
}

/* A request about this set to one of its arrays. */
static int ask(struct snapshot_set *s, const uint8_t array_id[UP_ID_BYTES], enum up_op op, struct talk *talk,
	const uint8_t *lun_id, enum up_copy_kind kind)
{
	struct up_msg *m = &talk->request;

	up_request_init(m, op, 0);
	memcpy(m->set_id, s->id, UP_ID_BYTES);
	m->has = UP_HAS(UP_TAG_SET_ID);
	if (lun_id) {
		memcpy(m->lun_id, lun_id, UP_ID_BYTES);
		m->has |= UP_HAS(UP_TAG_LUN_ID);
	}
	if (op == UP_OP_SET_ADD) {
		m->copy_kind = (uint32_t)kind;
		m->has |= UP_HAS(UP_TAG_COPY_KIND);
	}
	if (op == UP_OP_DELETE) { /* its writers may have recovered it already */
		m->flags = UP_DELETE_WRITTEN;
		m->has |= UP_HAS(UP_TAG_FLAGS);
	}
	int err = array_client_request(s->client, array_id, NULL, m, &talk->reply, &talk->trouble);
	if (eventlog_tracing()) {
		char set_text[UP_SERIAL_BYTES + 1];
		up_id_format(s->id, set_text);
		eventlog_trace("set %s: %s on %s: %d %s", set_text, up_op_name(op), talk->trouble.array, err,
			err == -EPROTO ? up_status_name(talk->reply.status) : "");
	}
	/* Abort came while this was under way: it may have reached the array first. */
	if (s->cancelled && (op == UP_OP_SET_BEGIN || op == UP_OP_SET_ADD || op == UP_OP_SET_ARM)) {
		(void)ask(s, array_id, UP_OP_SET_ABORT, talk, NULL, UP_COPY_DEFAULT);
		return -ECANCELED;
	}
	return err;
}

/* For events about a set as a whole: one of its LUNs on that array; NULL: none. */
static const uint8_t *a_lun_on(const struct snapshot_set *s, unsigned array)
{
	for (unsigned i = 0; i < s->pair_count; i++)
		if (s->pairs[i].array == array)
			return s->pairs[i].original;
	return NULL;
}

/* What a failed ask() means for the method. */
static enum cs_result failure(
	struct snapshot_set *s, struct talk *talk, const char *call, const uint8_t *lun_id)
{
	return s->cancelled ? CS_BAD_STATE : result_note(&talk->trouble, call, lun_id);
}

/* ---- adding --------------------------------------------------------------------------------------- */

static int index_of_array(struct snapshot_set *s, const uint8_t array_id[UP_ID_BYTES])
{
	for (unsigned i = 0; i < s->array_count; i++)
		if (memcmp(s->arrays[i].id, array_id, UP_ID_BYTES) == 0)
			return (int)i;
	return -1;
}

static struct set_pair *pair_of(struct snapshot_set *s, const uint8_t original[UP_ID_BYTES])
{
	for (unsigned i = 0; i < s->pair_count; i++)
		if (memcmp(s->pairs[i].original, original, UP_ID_BYTES) == 0)
			return &s->pairs[i];
	return NULL;
}

/* The set's entry for an array, made when it is new. It stands there before the set is begun: an abort from
 * then on reaches it. */
static enum cs_result enter_array(struct snapshot_set *s, const uint8_t array_id[UP_ID_BYTES],
	const uint8_t *lun, unsigned *index, const char *call)
{
	int known = index_of_array(s, array_id);

	if (known >= 0) {
		*index = (unsigned)known;
		return CS_OK;
	}
	if (s->array_count == ARRAYS_MAX) {
		result_event(UMBRA_EVENT_NOT_EVERYWHERE, call, lun, NULL, "at most 8");
		return CS_VETO;
	}
	struct array_info *info = calloc(1, sizeof(*info));
	if (!info)
		return out_of_memory(call);
	(void)array_client_info(s->client, array_id, info); /* gone meanwhile: the next request says so */
	AcquireSRWLockExclusive(&s->lock);
	struct set_array *a = &s->arrays[s->array_count];
	memset(a, 0, sizeof(*a));
	memcpy(a->id, array_id, UP_ID_BYTES);
	memcpy(a->name, info->name, sizeof(a->name));
	a->commit_budget_ms = info->commit_budget_ms;
	*index = s->array_count++;
	ReleaseSRWLockExclusive(&s->lock);
	free(info);
	return CS_OK;
}

/* The kind of copy to ask an array of the set for. AreLunsSupported has said before whether it can make it. */
static enum cs_result choose_kind(struct snapshot_set *s, unsigned array, const uint8_t *lun,
	const struct copy_wish *wish, struct talk *talk, enum up_copy_kind *kind, const char *call)
{
	struct set_array *a = &s->arrays[array];

	if (wish->kind != UP_COPY_DEFAULT && !a->capabilities_known) {
		if (array_client_capabilities(s->client, a->id, &a->capabilities, &talk->trouble) < 0)
			return failure(s, talk, call, lun);
		a->capabilities_known = true;
	}
	if (copy_wish_for(wish, a->capabilities, kind))
		return CS_OK;
	result_event(UMBRA_EVENT_COPY_KIND, call, lun, a->name, "The array does not offer it.");
	return CS_UNSUPPORTED_CONTEXT;
}

/* Two volumes on one LUN share the copy, if both can do with its kind. */
static enum cs_result share_pair(struct snapshot_set *s, const struct set_pair *known,
	const struct copy_wish *wish, unsigned *position, const char *call)
{
	*position = (unsigned)(known - s->pairs);
	if (!wish->required || known->kind == wish->kind)
		return CS_OK;
	result_event(UMBRA_EVENT_COPY_KIND, call, known->original, s->arrays[known->array].name,
		"Another volume of the set stands on the LUN, and its copy is of another kind.");
	return CS_UNSUPPORTED_CONTEXT;
}

/* One LUN; *position gets its pair. */
static enum cs_result add_lun(struct snapshot_set *s, const uint8_t lun_id[UP_ID_BYTES],
	const struct copy_wish *wish, struct talk *talk, unsigned *position, const char *call)
{
	struct up_lun lun;
	uint8_t array_id[UP_ID_BYTES];
	enum up_copy_kind kind;
	unsigned array;

	struct set_pair *known = pair_of(s, lun_id);
	if (known)
		return share_pair(s, known, wish, position, call);
	if (s->pair_count == SET_LUNS_MAX) {
		result_event(UMBRA_EVENT_LIMIT, call, lun_id, NULL,
			"The provider takes at most 256 LUNs in a set.");
		return CS_TOO_MANY_VOLUMES;
	}
	int err = array_client_find_lun(s->client, lun_id, &lun, array_id, &talk->trouble);
	if (err == -ENOENT) {
		result_event(UMBRA_EVENT_LUN_UNKNOWN, call, lun_id, NULL, NULL);
		return CS_NOT_SUPPORTED;
	}
	if (err < 0)
		return result_note(&talk->trouble, call, lun_id);
	enum cs_result result = enter_array(s, array_id, lun_id, &array, call);
	if (result == CS_OK)
		result = choose_kind(s, array, lun_id, wish, talk, &kind, call);
	if (result != CS_OK)
		return result;
	if (!s->arrays[array].begun && ask(s, array_id, UP_OP_SET_BEGIN, talk, NULL, UP_COPY_DEFAULT) < 0)
		return failure(s, talk, call, lun_id);
	s->arrays[array].begun = true;
	if (ask(s, array_id, UP_OP_SET_ADD, talk, lun_id, kind) < 0)
		return failure(s, talk, call, lun_id);
	if (!up_has(&talk->reply, UP_TAG_LUN_ID)) {
		result_event(UMBRA_EVENT_VERSION, call, lun_id, s->arrays[array].name,
			"The reply names no shadow LUN.");
		return CS_VETO;
	}
	AcquireSRWLockExclusive(&s->lock);
	struct set_pair *p = &s->pairs[s->pair_count];
	memset(p, 0, sizeof(*p));
	memcpy(p->original, lun_id, UP_ID_BYTES);
	memcpy(p->shadow, talk->reply.lun_id, UP_ID_BYTES);
	p->array = array;
	p->kind = kind;
	*position = s->pair_count++;
	ReleaseSRWLockExclusive(&s->lock);
	return CS_OK;
}

static bool knows_snapshot(const struct snapshot_set *s, const uint8_t snapshot_id[CS_ID_BYTES])
{
	for (unsigned i = 0; i < s->snapshot_count; i++)
		if (memcmp(s->snapshots[i], snapshot_id, CS_ID_BYTES) == 0)
			return true;
	return false;
}

enum cs_result set_add(struct snapshot_set *s, const uint8_t snapshot_id[CS_ID_BYTES],
	const uint8_t (*luns)[UP_ID_BYTES], unsigned count, const struct copy_wish *wish)
{
	const char *call = cs_call_name(CS_CALL_BEGIN_PREPARE);
	bool again = knows_snapshot(s, snapshot_id);
	enum cs_result result = CS_OK;

	if (!again && s->snapshot_count == SET_SNAPSHOTS_MAX)
		return CS_TOO_MANY_VOLUMES;
	if (count > SET_LUNS_MAX)
		return CS_TOO_MANY_VOLUMES;
	struct talk *talk = malloc(sizeof(*talk));
	unsigned *positions = malloc(count * sizeof(*positions));
	if (!talk || !positions)
		result = out_of_memory(call);
	else if (s->pair_count == 0)
		array_client_refresh(s->client);
	for (unsigned i = 0; i < count && result == CS_OK; i++) {
		result = add_lun(s, luns[i], wish, talk, &positions[i], call);
		if (result == CS_OK && s->cancelled)
			result = CS_BAD_STATE;
	}
	if (result == CS_OK) {
		AcquireSRWLockExclusive(&s->lock);
		for (unsigned i = 0; i < count; i++)
			s->pairs[positions[i]].wanted = true;
		if (!again)
			memcpy(s->snapshots[s->snapshot_count++], snapshot_id, CS_ID_BYTES);
		ReleaseSRWLockExclusive(&s->lock);
	}
	free(positions);
	free(talk);
	return result;
}

/* ---- arming and the window ------------------------------------------------------------------------- */

/* An array of which no volume came into the set leaves it again. */
static void drop_unwanted_arrays(struct snapshot_set *s, struct talk *talk)
{
	for (unsigned i = s->array_count; i-- > 0;) {
		bool wanted = false;
		for (unsigned n = 0; n < s->pair_count; n++)
			wanted = wanted || (s->pairs[n].array == i && s->pairs[n].wanted);
		if (wanted)
			continue;
		(void)ask(s, s->arrays[i].id, UP_OP_SET_ABORT, talk, NULL, UP_COPY_DEFAULT);
		AcquireSRWLockExclusive(&s->lock);
		unsigned kept = 0;
		for (unsigned n = 0; n < s->pair_count; n++) {
			if (s->pairs[n].array == i)
				continue;
			s->pairs[kept] = s->pairs[n];
			s->pairs[kept].array -= s->pairs[kept].array > i;
			kept++;
		}
		s->pair_count = kept;
		s->array_count--;
		memmove(&s->arrays[i], &s->arrays[i + 1], (s->array_count - i) * sizeof(s->arrays[0]));
		ReleaseSRWLockExclusive(&s->lock);
	}
}

/* Arm, then poll until the array says that it is. */
static enum cs_result arm_one(struct snapshot_set *s, unsigned array, struct talk *talk, const char *call)
{
	const uint8_t *array_id = s->arrays[array].id, *lun = a_lun_on(s, array);
	uint64_t end_ms = GetTickCount64() + ARM_LIMIT_MS;
	enum up_op op = UP_OP_SET_ARM;

	while (!s->cancelled) {
		int err = ask(s, array_id, op, talk, NULL, UP_COPY_DEFAULT);
		bool busy = err == -EPROTO && talk->reply.status == UP_BUSY;
		if (err < 0 && !busy)
			return failure(s, talk, call, lun);
		if (err == 0 && (op == UP_OP_SET_ARM ? !up_has(&talk->reply, UP_TAG_STATE) ||
							       talk->reply.state == UP_SET_ARMED
						     : talk->reply.state == UP_SET_ARMED))
			return CS_OK;
		if (err == 0)
			op = UP_OP_SET_STATE;
		if (GetTickCount64() >= end_ms) {
			talk->trouble.err = 0;
			talk->trouble.status = UP_BUSY;
			return result_note(&talk->trouble, call, lun);
		}
		Sleep(ARM_POLL_MS);
	}
	return CS_BAD_STATE;
}

enum cs_result set_arm(struct snapshot_set *s)
{
	const char *call = cs_call_name(CS_CALL_END_PREPARE);
	enum cs_result result = CS_OK;
	struct talk *talk = malloc(sizeof(*talk));

	if (!talk)
		return out_of_memory(call);
	if (!s->snapshot_count)
		result = CS_BAD_STATE; /* every volume failed */
	else
		drop_unwanted_arrays(s, talk);
	for (unsigned i = 0; i < s->array_count && result == CS_OK; i++)
		result = arm_one(s, i, talk, call);
	free(talk);
	return result;
}

/* The array's deadline ends well before the provider's budget. */
static uint32_t array_deadline_ms(const struct snapshot_set *s, uint32_t budget_ms)
{
	uint32_t deadline_ms = budget_ms / 8 * 5;

	if (deadline_ms > ARRAY_DEADLINE_MAX_MS)
		deadline_ms = ARRAY_DEADLINE_MAX_MS;
	for (unsigned i = 0; i < s->array_count; i++)
		if (s->arrays[i].commit_budget_ms && s->arrays[i].commit_budget_ms < deadline_ms)
			deadline_ms = s->arrays[i].commit_budget_ms;
	return deadline_ms ? deadline_ms : 1;
}

enum cs_result set_ready(struct snapshot_set *s, uint32_t budget_ms)
{
	const char *call = cs_call_name(CS_CALL_PRE_COMMIT);

	s->times.pre_commit_in = clock_us();
	struct array_info *infos = calloc(s->array_count, sizeof(*infos));
	unsigned failed = 0;
	int err = infos ? 0 : -ENOMEM;

	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < s->array_count && err == 0; i++) {
			failed = i;
			err = array_client_info(s->client, s->arrays[i].id, &infos[i]);
		}
		if (err == 0)
			err = window_open(s->client, s->transport, s->id, infos, s->array_count,
				array_deadline_ms(s, budget_ms), &s->window, &failed);
		if (err == 0 || err == -ENOMEM || round)
			break;
		array_client_discover(s->client); /* what was known may be stale */
		err = 0;
	}
	free(infos);
	s->budget_ms = budget_ms;
	s->times.pre_commit_out = clock_us();
	if (err == 0)
		return CS_OK;
	struct array_trouble trouble = {.err = err == -ENOENT ? -EHOSTUNREACH : err, .op = UP_OP_SET_COMMIT};
	memcpy(trouble.array, s->arrays[failed].name, sizeof(trouble.array));
	return result_note(&trouble, call, a_lun_on(s, failed));
}

/* What went wrong in the window, into the queue of events. */
static enum cs_result explain_commit(struct snapshot_set *s)
{
	const char *call = cs_call_name(CS_CALL_COMMIT);
	enum cs_result result = CS_OK;
	char detail[100];

	for (unsigned i = 0; i < s->array_count; i++) {
		struct window_result *r = &s->committed[i];
		if (r->ok)
			continue;
		if (r->answered) {
			result = result_note(&r->trouble, call, a_lun_on(s, i));
		} else {
			snprintf(detail, sizeof(detail), "No answer within %lu ms.",
				(unsigned long)s->budget_ms);
			result_event(UMBRA_EVENT_WINDOW, call, a_lun_on(s, i), s->arrays[i].name, detail);
		}
	}
	if (result == CS_OK) {
		snprintf(detail, sizeof(detail), "It took %lu ms of the %lu ms allowed.",
			(unsigned long)(s->commit_us / 1000), (unsigned long)s->budget_ms);
		result_event(UMBRA_EVENT_WINDOW, call, a_lun_on(s, 0), s->arrays[0].name, detail);
	}
	return CS_VETO;
}

enum cs_result set_commit(struct snapshot_set *s)
{
	s->times.commit_in = clock_us();
	bool ok = window_commit(s->window, s->budget_ms, &s->commit_us);

	s->budget_ms = window_budget_ms(s->window);
	for (unsigned i = 0; i < s->array_count; i++)
		window_result(s->window, i, &s->committed[i]);
	s->times.commit_out = clock_us();
	return ok ? CS_OK : explain_commit(s);
}

static void trace_commit(const struct snapshot_set *s)
{
	char set_text[UP_SERIAL_BYTES + 1];

	up_id_format(s->id, set_text);
	eventlog_trace("set %s: commit took %llu us for %u LUNs on %u arrays", set_text,
		(unsigned long long)s->commit_us, s->pair_count, s->array_count);
	for (unsigned i = 0; i < s->array_count; i++)
		eventlog_trace("set %s: array %s: window %llu us, durable after %llu us", set_text,
			s->arrays[i].name, (unsigned long long)(s->committed[i].window_ns / 1000),
			(unsigned long long)(s->committed[i].durable_ns / 1000));
}

/* The set was made, but over some ways the arrays have not answered yet: they are asked last from now on, and the
 * administrator is told, once an array. */
static void note_silences(struct snapshot_set *s, const char *call)
{
	struct window_silence silence;
	char detail[TRANSPORT_NAME_MAX_BYTES + 40];

	for (unsigned i = 0; i < s->array_count; i++) {
		unsigned next = 0, count = 0;
		while (window_silent(s->window, i, &next, &silence)) {
			array_client_silent(s->client, s->arrays[i].id, &silence.device);
			snprintf(detail, sizeof(detail), "%s: nothing for %lu ms.", silence.device.name,
				(unsigned long)silence.for_ms);
			if (count++ == 0)
				result_event(UMBRA_EVENT_PATH_SILENT, call, a_lun_on(s, i), s->arrays[i].name,
					detail);
		}
	}
}

enum cs_result set_check(struct snapshot_set *s)
{
	const char *call = cs_call_name(CS_CALL_POST_COMMIT);
	enum cs_result result = CS_OK;

	s->times.post_commit_in = clock_us();
	struct talk *talk = malloc(sizeof(*talk));
	note_silences(s, call);
	window_close(s->window);
	s->window = NULL;
	trace_commit(s);
	if (!talk)
		return out_of_memory(call);
	for (unsigned i = 0; i < s->array_count && result == CS_OK; i++) {
		if (ask(s, s->arrays[i].id, UP_OP_SET_STATE, talk, NULL, UP_COPY_DEFAULT) < 0) {
			result = result_note(&talk->trouble, call, a_lun_on(s, i));
		} else if (talk->reply.state != UP_SET_COMMITTED) {
			result_event(UMBRA_EVENT_SET_LOST, call, a_lun_on(s, i), s->arrays[i].name,
				up_set_state_name(talk->reply.state));
			result = CS_VETO;
		}
	}
	free(talk);
	return result;
}

/* ---- what it cost ------------------------------------------------------------------------------------ */

void set_note_context(struct snapshot_set *s, uint32_t context)
{
	s->context = context;
}

/* True: the array has it, or is older and keeps no record. */
static bool tell_one(struct snapshot_set *s, unsigned array, const struct set_cost *cost, struct talk *talk)
{
	struct up_msg *m = &talk->request;

	up_request_init(m, UP_OP_SET_TELL, 0);
	memcpy(m->set_id, s->id, UP_ID_BYTES);
	m->writers = (uint32_t)cost->writers;
	m->frozen_us = cost->frozen_us;
	m->flush_us = cost->flush_us;
	m->commit_us = cost->commit_us;
	m->release_us = cost->release_us;
	m->has = UP_HAS(UP_TAG_SET_ID) | UP_HAS(UP_TAG_WRITERS) | UP_HAS(UP_TAG_FROZEN_US) |
		 UP_HAS(UP_TAG_FLUSH_US) | UP_HAS(UP_TAG_COMMIT_US) | UP_HAS(UP_TAG_RELEASE_US);
	int err = array_client_request(s->client, s->arrays[array].id, NULL, m, &talk->reply, &talk->trouble);

	return err == 0 || (err == -EPROTO && talk->reply.status == UP_UNSUPPORTED);
}

void set_tell(struct snapshot_set *s)
{
	const char *call = cs_call_name(CS_CALL_POST_FINAL);
	char detail[300], label[UP_LABEL_MAX_BYTES + 1] = "";
	struct set_cost cost;

	s->times.post_final_in = clock_us();
	set_cost_of(&s->times, s->context, &cost);
	struct talk *talk = malloc(sizeof(*talk));
	for (unsigned i = 0; i < s->array_count && talk && !s->cancelled; i++) {
		bool told = tell_one(s, i, &cost, talk);
		if (told && up_has(&talk->reply, UP_TAG_LABEL))
			snprintf(label, sizeof(label), "%s", talk->reply.label);
		if (told || s->cancelled)
			continue;
		snprintf(detail, sizeof(detail), "What the set cost was not recorded (%s).",
			talk->trouble.err < 0 ? "no answer" : up_status_name(talk->trouble.status));
		result_event(UMBRA_EVENT_NOT_TOLD, call, a_lun_on(s, i), s->arrays[i].name, detail);
	}
	free(talk);
	if (s->cancelled)
		return;
	set_cost_text(&cost, label, detail, sizeof(detail));
	result_event(UMBRA_EVENT_SET_COST, call, a_lun_on(s, 0), s->arrays[0].name, detail);
	if (!set_cost_slow(&cost))
		return;
	set_cost_slow_text(&cost, detail, sizeof(detail));
	result_event(UMBRA_EVENT_HOLD_SLOW, call, a_lun_on(s, 0), s->arrays[0].name, detail);
}

/* ---- identities and keeping ------------------------------------------------------------------------ */

static int delete_shadow(struct snapshot_set *s, const struct set_pair *p, struct talk *talk)
{
	return ask(s, s->arrays[p->array].id, UP_OP_DELETE, talk, p->shadow, UP_COPY_DEFAULT);
}

static enum cs_result keep_all(struct snapshot_set *s, struct talk *talk)
{
	const char *call = cs_call_name(CS_CALL_GET_TARGETS);

	s->keep_tried = true;
	for (unsigned i = 0; i < s->array_count; i++) {
		if (s->arrays[i].kept)
			continue;
		if (ask(s, s->arrays[i].id, UP_OP_SET_KEEP, talk, NULL, UP_COPY_DEFAULT) < 0)
			return result_note(&talk->trouble, call, a_lun_on(s, i));
		s->arrays[i].kept = true;
	}
	/* Copies of LUNs whose volume did not come into the set after all: nobody knows them. */
	for (unsigned i = 0; i < s->pair_count; i++)
		if (!s->pairs[i].wanted)
			(void)delete_shadow(s, &s->pairs[i], talk);
	return CS_OK;
}

enum cs_result set_lookup(struct snapshot_set *s, const uint8_t (*originals)[UP_ID_BYTES], unsigned count,
	uint8_t (*shadows)[UP_ID_BYTES])
{
	for (unsigned i = 0; i < count; i++) {
		struct set_pair *p = pair_of(s, originals[i]);
		if (!p || !p->wanted)
			return CS_NOT_FOUND;
		memcpy(shadows[i], p->shadow, UP_ID_BYTES);
	}
	return CS_OK;
}

enum cs_result set_handed(
	struct snapshot_set *s, const uint8_t (*originals)[UP_ID_BYTES], unsigned count, bool *kept)
{
	*kept = false;
	for (unsigned i = 0; i < count; i++)
		pair_of(s, originals[i])->handed = true;
	for (unsigned i = 0; i < s->pair_count; i++)
		if (s->pairs[i].wanted && !s->pairs[i].handed)
			return CS_OK;
	struct talk *talk = malloc(sizeof(*talk));
	if (!talk)
		return out_of_memory(cs_call_name(CS_CALL_GET_TARGETS));
	enum cs_result result = keep_all(s, talk);
	*kept = result == CS_OK;
	free(talk);
	return result;
}

/* ---- undoing --------------------------------------------------------------------------------------- */

/* This array keeps the set already, but another one has failed to keep it. Nobody has all identities, so its
 * copies are of no use. */
static void delete_kept(struct snapshot_set *s, unsigned array, struct talk *talk)
{
	for (unsigned i = 0; i < s->pair_count; i++)
		if (s->pairs[i].array == array)
			(void)delete_shadow(s, &s->pairs[i], talk);
}

/* Waits for a commit that is under way. */
static int abort_on(struct snapshot_set *s, const uint8_t array_id[UP_ID_BYTES], struct talk *talk)
{
	uint64_t end_ms = GetTickCount64() + ABORT_LIMIT_MS;

	for (;;) {
		int err = ask(s, array_id, UP_OP_SET_ABORT, talk, NULL, UP_COPY_DEFAULT);
		if (err != -EPROTO || talk->reply.status != UP_BUSY || GetTickCount64() >= end_ms)
			return err;
		Sleep(ARM_POLL_MS);
	}
}

void set_undo(struct snapshot_set *s, const char *call)
{
	struct talk *talk = malloc(sizeof(*talk));
	uint8_t ids[ARRAYS_MAX][UP_ID_BYTES];

	InterlockedExchange(&s->cancelled, 1);
	AcquireSRWLockShared(&s->lock);
	unsigned count = s->array_count;
	for (unsigned i = 0; i < count; i++)
		memcpy(ids[i], s->arrays[i].id, UP_ID_BYTES);
	ReleaseSRWLockShared(&s->lock);
	for (unsigned i = 0; i < count && talk; i++) {
		int err = abort_on(s, ids[i], talk);
		if (err == -EPROTO && talk->reply.status == UP_NOT_FOUND)
			continue;
		if (err == -EPROTO && talk->reply.status == UP_BAD_STATE && s->keep_tried)
			delete_kept(s, i, talk);
		else if (err < 0)
			result_event(UMBRA_EVENT_UNDO_FAILED, call, NULL, talk->trouble.array,
				err == -EPROTO ? up_status_name(talk->reply.status) : "no way to it");
	}
	free(talk);
}

void set_left(struct snapshot_set *s, const char *call)
{
	char set_text[UP_SERIAL_BYTES + 1], detail[80];

	up_id_format(s->id, set_text);
	snprintf(detail, sizeof(detail), "Set %s, %u LUNs.", set_text, s->pair_count);
	result_event(UMBRA_EVENT_KEPT_LEFT, call, NULL, s->array_count ? s->arrays[0].name : NULL, detail);
}

/* Imported, perhaps: then VSS calls OnLunEmpty, or an administrator looks. */
static bool seen_by_hosts(struct snapshot_set *s, const struct set_pair *p, struct talk *talk)
{
	struct up_msg *m = &talk->request;

	up_request_init(m, UP_OP_DESCRIBE_LUN, 0);
	memcpy(m->lun_id, p->shadow, UP_ID_BYTES);
	m->has = UP_HAS(UP_TAG_LUN_ID);
	int err = array_client_request(
		s->client, s->arrays[p->array].id, NULL, m, &talk->reply, &talk->trouble);
	if (err == -EPROTO && talk->reply.status == UP_NOT_FOUND)
		return false;
	return err < 0 || talk->reply.lun_count != 1 || talk->reply.luns[0].number != 0 ||
	       talk->reply.luns[0].mapped_hosts != 0;
}

void set_withdraw(struct snapshot_set *s, const char *call)
{
	struct talk *talk = malloc(sizeof(*talk));
	unsigned left = 0;

	for (unsigned i = 0; i < s->pair_count; i++)
		left += !talk || seen_by_hosts(s, &s->pairs[i], talk) ||
			delete_shadow(s, &s->pairs[i], talk) < 0;
	free(talk);
	if (left)
		set_left(s, call);
}
