/* SPDX-License-Identifier: Apache-2.0 */
/* Commit threads. See window.h. */
#include "provider/window.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define CHANNELS      3
#define BUSY_PAUSE_MS 10
#define UNDO_LIMIT_MS 30000
#define WORKER_STACK  (256 * 1024)

enum order {
	ORDER_NONE,
	ORDER_COMMIT,
	ORDER_END
};

struct worker {
	struct window *window;
	unsigned index;
	struct channel channels[CHANNELS];
	unsigned channel_count;
	struct up_msg commit_request;
	struct exchange commit, abort;
	/* written by the thread before `done`, read after it */
	int err;
	volatile LONG finished;
	char array[UP_NAME_MAX_BYTES + 1];
};

struct window {
	volatile LONG refs;
	volatile LONG order; /* enum order, set before `go` */
	volatile LONG undo;  /* set before `verdict` */
	HANDLE go, verdict;  /* manual reset */
	struct array_client *client;
	uint32_t array_deadline_ms;
	unsigned count;
	HANDLE done[ARRAYS_MAX];
	struct window_result results[ARRAYS_MAX];
	struct worker workers[];
};

static void window_deref(struct window *w)
{
	if (InterlockedDecrement(&w->refs))
		return;
	for (unsigned i = 0; i < w->count; i++) {
		for (unsigned n = 0; n < w->workers[i].channel_count; n++)
			channel_close(&w->workers[i].channels[n]);
		if (w->done[i])
			CloseHandle(w->done[i]);
	}
	if (w->go)
		CloseHandle(w->go);
	if (w->verdict)
		CloseHandle(w->verdict);
	free(w);
}

/* Over one channel after the other, with the same request id. */
static int exchange_any(struct worker *k, struct exchange *x, uint64_t deadline_ms)
{
	int err = -EHOSTUNREACH;

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned n = 0; n < k->channel_count; n++) {
			if (GetTickCount64() >= deadline_ms)
				return -ETIMEDOUT;
			err = channel_exchange(&k->channels[n], x, deadline_ms);
			if (err == 0)
				return 0;
			if (err == -EBADMSG)
				x->slot = array_client_new_slot(k->window->client);
		}
	}
	return err;
}

/* While another commit runs on the array, tries again within the deadline. */
static void do_commit(struct worker *k)
{
	struct window *w = k->window;
	uint64_t deadline_ms = GetTickCount64() + w->array_deadline_ms;

	for (;;) {
		k->err = exchange_any(k, &k->commit, deadline_ms + 1000);
		uint64_t now = GetTickCount64();
		if (k->err < 0 || k->commit.reply.status != UP_BUSY || now + BUSY_PAUSE_MS >= deadline_ms)
			return;
		Sleep(BUSY_PAUSE_MS);
		k->commit_request.request_id = array_client_new_request_id(w->client);
		k->commit_request.deadline_ms = (uint32_t)(deadline_ms - now);
		(void)exchange_prepare(&k->commit, &k->commit_request, array_client_new_slot(w->client));
	}
}

static DWORD WINAPI commit_thread(void *arg)
{
	struct worker *k = arg;
	struct window *w = k->window;

	WaitForSingleObject(w->go, INFINITE);
	if (w->order == ORDER_COMMIT) {
		do_commit(k);
		InterlockedExchange(&k->finished, 1);
		SetEvent(w->done[k->index]);
		WaitForSingleObject(w->verdict, INFINITE);
		if (w->undo)
			(void)exchange_any(k, &k->abort, GetTickCount64() + UNDO_LIMIT_MS);
	}
	window_deref(w);
	return 0;
}

/* Opens up to CHANNELS ways and builds both messages. */
static int prepare_worker(
	struct worker *k, struct transport *t, const struct array_info *a, const uint8_t set_id[UP_ID_BYTES])
{
	struct window *w = k->window;
	struct up_msg *m = &k->commit_request;

	snprintf(k->array, sizeof(k->array), "%s", a->name);
	for (unsigned i = 0; i < a->path_count && k->channel_count < CHANNELS; i++)
		if (!a->paths[i].is_shadow &&
			channel_open(t, &a->paths[i], &k->channels[k->channel_count]) == 0)
			k->channel_count++;
	if (!k->channel_count)
		return -EHOSTUNREACH;

	up_request_init(m, UP_OP_SET_ABORT, array_client_new_request_id(w->client));
	memcpy(m->set_id, set_id, UP_ID_BYTES);
	m->has = UP_HAS(UP_TAG_SET_ID);
	int err = exchange_prepare(&k->abort, m, array_client_new_slot(w->client));
	if (err < 0)
		return err;
	up_request_init(m, UP_OP_SET_COMMIT, array_client_new_request_id(w->client));
	memcpy(m->set_id, set_id, UP_ID_BYTES);
	m->deadline_ms = w->array_deadline_ms;
	m->has = UP_HAS(UP_TAG_SET_ID) | UP_HAS(UP_TAG_DEADLINE_MS);
	return exchange_prepare(&k->commit, m, array_client_new_slot(w->client));
}

int window_open(struct array_client *client, struct transport *transport, const uint8_t set_id[UP_ID_BYTES],
	const struct array_info *arrays, unsigned count, uint32_t array_deadline_ms, struct window **out,
	unsigned *failed)
{
	assert(count > 0 && count <= ARRAYS_MAX);
	*out = NULL;
	*failed = 0;
	struct window *w = calloc(1, sizeof(*w) + count * sizeof(struct worker));
	if (!w)
		return -ENOMEM;
	w->refs = 1;
	w->client = client;
	w->array_deadline_ms = array_deadline_ms;
	w->count = count;
	w->go = CreateEventW(NULL, TRUE, FALSE, NULL);
	w->verdict = CreateEventW(NULL, TRUE, FALSE, NULL);
	int err = w->go && w->verdict ? 0 : -ENOMEM;
	for (unsigned i = 0; i < count && err == 0; i++) {
		struct worker *k = &w->workers[i];
		k->window = w;
		k->index = i;
		*failed = i;
		w->done[i] = CreateEventW(NULL, TRUE, FALSE, NULL);
		err = w->done[i] ? prepare_worker(k, transport, &arrays[i], set_id) : -ENOMEM;
		if (err < 0)
			break;
		InterlockedIncrement(&w->refs);
		HANDLE thread = CreateThread(
			NULL, WORKER_STACK, commit_thread, k, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
		if (!thread) {
			InterlockedDecrement(&w->refs);
			err = -ENOMEM;
			break;
		}
		SetThreadPriority(thread, THREAD_PRIORITY_HIGHEST);
		CloseHandle(thread);
	}
	if (err < 0) {
		window_close(w);
		return err;
	}
	(void)VirtualLock(w, sizeof(*w) + count * sizeof(struct worker));
	*out = w;
	return 0;
}

static void collect(struct window *w, unsigned i)
{
	struct window_result *r = &w->results[i];
	struct worker *k = &w->workers[i];

	memset(r, 0, sizeof(*r));
	r->trouble.op = UP_OP_SET_COMMIT;
	memcpy(r->trouble.array, k->array, sizeof(r->trouble.array));
	r->answered = InterlockedCompareExchange(&k->finished, 1, 1) == 1;
	if (!r->answered) {
		r->trouble.err = -ETIMEDOUT;
		return;
	}
	r->trouble.err = k->err;
	if (k->err == 0) {
		const struct up_msg *reply = &k->commit.reply;
		r->trouble.status = reply->status;
		memcpy(r->trouble.text, reply->text, sizeof(r->trouble.text));
		r->ok = reply->status == UP_OK;
		r->window_ns = reply->window_ns;
		r->durable_ns = reply->durable_ns;
	}
}

static uint64_t now_us(void)
{
	LARGE_INTEGER count, frequency;

	QueryPerformanceCounter(&count);
	QueryPerformanceFrequency(&frequency);
	uint64_t whole = (uint64_t)(count.QuadPart / frequency.QuadPart);
	uint64_t rest = (uint64_t)(count.QuadPart % frequency.QuadPart);
	return whole * 1000000 + rest * 1000000 / (uint64_t)frequency.QuadPart;
}

bool window_commit(struct window *w, uint32_t budget_ms, uint64_t *elapsed_us)
{
	uint64_t start_us = now_us();
	bool ok = true;

	InterlockedExchange(&w->order, ORDER_COMMIT);
	SetEvent(w->go);
	(void)WaitForMultipleObjects(w->count, w->done, TRUE, budget_ms);
	for (unsigned i = 0; i < w->count; i++) {
		collect(w, i);
		ok = ok && w->results[i].ok;
	}
	*elapsed_us = now_us() - start_us;
	if (*elapsed_us > (uint64_t)budget_ms * 1000)
		ok = false;
	InterlockedExchange(&w->undo, !ok);
	SetEvent(w->verdict);
	return ok;
}

void window_result(const struct window *w, unsigned index, struct window_result *out)
{
	assert(index < w->count);
	*out = w->results[index];
}

void window_close(struct window *w)
{
	if (!w)
		return;
	if (InterlockedCompareExchange(&w->order, ORDER_END, ORDER_NONE) == ORDER_NONE)
		SetEvent(w->go);
	window_deref(w);
}
