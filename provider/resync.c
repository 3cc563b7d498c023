/* SPDX-License-Identifier: Apache-2.0 */
/* See resync.h. */
#include "provider/resync.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "events.h"
#include "proto/identity.h"
#include "provider/async.h"
#include "provider/result.h"

#define SILENT_LIMIT_MS        300000 /* the array's job goes on while it cannot be asked */
#define SILENT_CANCEL_LIMIT_MS 30000
#define CANCEL_LIMIT_MS        60000 /* a job that was told to end */

struct pair {
	uint8_t shadow[UP_ID_BYTES], target[UP_ID_BYTES], array_id[UP_ID_BYTES];
	char array[UP_NAME_MAX_BYTES + 1];
	uint32_t job;
	enum up_job_state state;
	unsigned percent;
	bool cancel_sent;
	uint64_t silent_since_ms; /* 0: it answered last time */
};

struct resync {
	struct array_client *client;
	HRESULT failure;        /* of the first pair that failed */
	uint64_t cancelling_ms; /* since when; 0: not */
	struct up_msg request, reply;
	struct array_trouble trouble;
	unsigned count;
	struct pair pairs[];
};

static const char call[] = "ResyncLuns";

/* ---- starting ------------------------------------------------------------------------------------------ */

static enum cs_result unfit(const struct pair *p, const uint8_t *lun, const char *why)
{
	result_event(UMBRA_EVENT_RESYNC_PAIR, call, lun, p->array[0] ? p->array : NULL, why);
	return CS_VETO;
}

/* Both LUNs as their array sees them. */
static enum cs_result check_pair(struct resync *r, struct pair *p)
{
	struct up_lun shadow, target;
	uint8_t other_array[UP_ID_BYTES];

	int err = array_client_find_lun(r->client, p->shadow, &shadow, p->array_id, &r->trouble);
	if (err == -ENOENT) {
		result_event(UMBRA_EVENT_LUN_UNKNOWN, call, p->shadow, NULL, NULL);
		return CS_VETO;
	}
	if (err < 0)
		return result_note(&r->trouble, call, p->shadow);
	array_client_name(r->client, p->array_id, p->array);
	if (shadow.kind != UP_LUN_SHADOW)
		return unfit(p, p->shadow, "The source is no shadow copy.");
	err = array_client_find_lun(r->client, p->target, &target, other_array, &r->trouble);
	if (err == -ENOENT)
		return unfit(p, p->target, "The target is not mapped to this host, or does not exist.");
	if (err < 0)
		return result_note(&r->trouble, call, p->target);
	if (memcmp(p->array_id, other_array, UP_ID_BYTES) != 0)
		return unfit(p, p->target, "The target lies on another array than the shadow copy.");
	if (target.kind != UP_LUN_ORDINARY || !target.number)
		return unfit(p, p->target, "The target is no ordinary LUN that this host sees.");
	if (target.size_bytes < shadow.size_bytes)
		return unfit(p, p->target, "The target is smaller than the shadow copy.");
	return CS_OK;
}

/* Two volumes on one LUN bring the same pair twice. */
static void add_pair(struct resync *r, const uint8_t shadow[UP_ID_BYTES], const uint8_t target[UP_ID_BYTES])
{
	for (unsigned i = 0; i < r->count; i++)
		if (!memcmp(r->pairs[i].shadow, shadow, UP_ID_BYTES) &&
			!memcmp(r->pairs[i].target, target, UP_ID_BYTES))
			return;
	memcpy(r->pairs[r->count].shadow, shadow, UP_ID_BYTES);
	memcpy(r->pairs[r->count].target, target, UP_ID_BYTES);
	r->count++;
}

static bool targets_differ(const struct resync *r)
{
	for (unsigned i = 0; i < r->count; i++)
		for (unsigned n = 0; n < i; n++)
			if (memcmp(r->pairs[i].target, r->pairs[n].target, UP_ID_BYTES) == 0)
				return false;
	return true;
}

/* All of the arrays must offer it before anything is started. */
static enum cs_result check_arrays(struct resync *r)
{
	uint64_t capabilities;

	for (unsigned i = 0; i < r->count; i++) {
		const struct pair *p = &r->pairs[i];
		if (i && memcmp(p->array_id, r->pairs[i - 1].array_id, UP_ID_BYTES) == 0)
			continue;
		if (array_client_capabilities(r->client, p->array_id, &capabilities, &r->trouble) < 0)
			return result_note(&r->trouble, call, p->shadow);
		if (!(capabilities & UP_CAP_RESYNC))
			return CS_NOT_IMPLEMENTED;
	}
	return CS_OK;
}

static int ask_job(struct resync *r, const struct pair *p, enum up_op op)
{
	up_request_init(&r->request, op, 0);
	r->request.job = p->job;
	r->request.has = UP_HAS(UP_TAG_JOB);
	return array_client_request(r->client, p->array_id, NULL, &r->request, &r->reply, &r->trouble);
}

static enum cs_result start_pair(struct resync *r, struct pair *p)
{
	up_request_init(&r->request, UP_OP_RESYNC_START, 0);
	memcpy(r->request.lun_id, p->shadow, UP_ID_BYTES);
	memcpy(r->request.target_id, p->target, UP_ID_BYTES);
	r->request.has = UP_HAS(UP_TAG_LUN_ID) | UP_HAS(UP_TAG_TARGET_ID);
	if (array_client_request(r->client, p->array_id, NULL, &r->request, &r->reply, &r->trouble) < 0)
		return result_note(&r->trouble, call, p->target);
	if (!up_has(&r->reply, UP_TAG_JOB)) {
		result_event(UMBRA_EVENT_VERSION, call, p->target, p->array, "The reply names no job.");
		return CS_VETO;
	}
	p->job = r->reply.job;
	p->state = UP_JOB_RUNNING;
	return CS_OK;
}

static void cancel_started(struct resync *r)
{
	for (unsigned i = 0; i < r->count; i++)
		if (r->pairs[i].state == UP_JOB_RUNNING)
			(void)ask_job(r, &r->pairs[i], UP_OP_RESYNC_CANCEL);
}

/* ---- the work of the async object ---------------------------------------------------------------------- */

/* The documented errors of ResyncLuns besides: E_OUTOFMEMORY, VSS_E_INSUFFICIENT_STORAGE. */
static void fail(struct resync *r, struct pair *p, HRESULT failure)
{
	p->state = UP_JOB_FAILED;
	if (r->failure == S_OK)
		r->failure = failure;
}

static void take_state(struct resync *r, struct pair *p)
{
	char detail[UP_TEXT_MAX_BYTES + 1];

	if (!up_has(&r->reply, UP_TAG_JOB_STATE))
		return;
	if (up_has(&r->reply, UP_TAG_PERCENT) && r->reply.percent <= 100)
		p->percent = r->reply.percent;
	switch (r->reply.job_state) {
	case UP_JOB_RUNNING:
		return;
	case UP_JOB_DONE:
		p->state = UP_JOB_DONE;
		p->percent = 100;
		return;
	case UP_JOB_CANCELLED:
		p->state = UP_JOB_CANCELLED;
		if (p->cancel_sent)
			return;
		result_event(UMBRA_EVENT_RESYNC_FAILED, call, p->target, p->array,
			"An administrator of the array cancelled it.");
		break;
	case UP_JOB_FAILED:
		memcpy(detail, r->reply.text, sizeof(detail));
		result_event(UMBRA_EVENT_RESYNC_FAILED, call, p->target, p->array, detail);
		break;
	default:
		result_event(UMBRA_EVENT_VERSION, call, p->target, p->array, "The job's state is unknown.");
		break;
	}
	fail(r, p, VSS_E_PROVIDER_VETO);
}

static void take_refusal(struct resync *r, struct pair *p)
{
	if (r->trouble.status == UP_BUSY || r->trouble.status == UP_PENDING)
		return; /* asked again */
	if (r->trouble.status == UP_BAD_STATE && r->request.op == UP_OP_RESYNC_CANCEL) {
		p->cancel_sent = true; /* it has ended: its state tells how */
		return;
	}
	if (r->trouble.status == UP_NOT_FOUND)
		result_event(UMBRA_EVENT_RESYNC_FAILED, call, p->target, p->array,
			"The array does not know the job any more: it was restarted.");
	else
		(void)result_note(&r->trouble, call, p->target);
	fail(r, p, VSS_E_PROVIDER_VETO);
}

static void take_silence(struct resync *r, struct pair *p, uint64_t limit_ms)
{
	uint64_t now_ms = GetTickCount64();

	if (!p->silent_since_ms)
		p->silent_since_ms = now_ms;
	if (now_ms - p->silent_since_ms < limit_ms)
		return;
	(void)result_note(&r->trouble, call, p->target);
	fail(r, p, VSS_E_PROVIDER_VETO);
}

static void step_pair(struct resync *r, struct pair *p, bool cancel)
{
	enum up_op op = cancel && !p->cancel_sent ? UP_OP_RESYNC_CANCEL : UP_OP_RESYNC_STATE;
	int err = ask_job(r, p, op);

	if (err == 0 || err == -EPROTO)
		p->silent_since_ms = 0;
	if (err == -EPROTO) {
		take_refusal(r, p);
	} else if (err < 0) {
		take_silence(r, p, cancel ? SILENT_CANCEL_LIMIT_MS : SILENT_LIMIT_MS);
	} else {
		p->cancel_sent = p->cancel_sent || op == UP_OP_RESYNC_CANCEL;
		take_state(r, p);
	}
	if (p->state == UP_JOB_RUNNING && r->cancelling_ms &&
		GetTickCount64() - r->cancelling_ms > CANCEL_LIMIT_MS) {
		result_event(UMBRA_EVENT_BUSY, call, p->target, p->array, "The job does not end.");
		fail(r, p, VSS_E_PROVIDER_VETO);
	}
}

static HRESULT ended(struct resync *r)
{
	char detail[60];

	if (r->failure != S_OK)
		return r->failure;
	for (unsigned i = 0; i < r->count; i++)
		if (r->pairs[i].state == UP_JOB_CANCELLED)
			return VSS_S_ASYNC_CANCELLED;
	snprintf(detail, sizeof(detail), "%u LUNs.", r->count);
	result_event(UMBRA_EVENT_RESYNC_DONE, call, r->pairs[0].target, r->pairs[0].array, detail);
	return VSS_S_ASYNC_FINISHED;
}

/* All or error: when a pair fails the others are cancelled. */
static HRESULT resync_step(void *arg, bool cancel, unsigned *percent)
{
	struct resync *r = arg;
	unsigned running = 0, sum = 0;

	cancel = cancel || r->failure != S_OK;
	if (cancel && !r->cancelling_ms)
		r->cancelling_ms = GetTickCount64();
	for (unsigned i = 0; i < r->count; i++) {
		struct pair *p = &r->pairs[i];
		if (p->state == UP_JOB_RUNNING)
			step_pair(r, p, cancel);
		running += p->state == UP_JOB_RUNNING;
		sum += p->percent;
	}
	*percent = sum / r->count;
	return running ? VSS_S_ASYNC_PENDING : ended(r);
}

static void resync_left(void *arg)
{
	const struct resync *r = arg;
	char detail[60];

	snprintf(detail, sizeof(detail), "%u LUNs.", r->count);
	result_event(UMBRA_EVENT_RESYNC_LEFT, call, r->pairs[0].target, r->pairs[0].array, detail);
}

static const struct async_work resync_work = {resync_step, resync_left, free};

enum cs_result resync_start(const struct provider_context *context, const uint8_t (*shadows)[UP_ID_BYTES],
	const uint8_t (*targets)[UP_ID_BYTES], unsigned count, IVssAsync **out)
{
	struct resync *r = calloc(1, sizeof(*r) + count * sizeof(struct pair));
	enum cs_result result = CS_OK;

	*out = NULL;
	if (!r)
		return CS_OUT_OF_MEMORY;
	r->client = context->client;
	for (unsigned i = 0; i < count; i++)
		add_pair(r, shadows[i], targets[i]);
	if (!targets_differ(r))
		result = CS_INVALID_ARGUMENT;
	for (unsigned i = 0; i < r->count && result == CS_OK; i++)
		result = check_pair(r, &r->pairs[i]);
	if (result == CS_OK)
		result = check_arrays(r);
	for (unsigned i = 0; i < r->count && result == CS_OK; i++)
		result = start_pair(r, &r->pairs[i]);
	if (result == CS_OK && FAILED(async_start(context, &resync_work, r, out)))
		result = CS_OUT_OF_MEMORY;
	if (result == CS_OK)
		return CS_OK;
	cancel_started(r);
	free(r);
	return result;
}
