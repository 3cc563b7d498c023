/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commit threads. See window.h.
 *
 * An array has one thread that decides (the worker) and one for each way to it (the lanes), for a command that the driver
 * does not give back holds its thread. The worker asks over the first lane; when that fails, or says nothing for TRY_MS, it
 * sends the same request over the next one, too. Whichever answers first has it: the array does a request once, and
 * says the same to whoever asks for its reply.
 *
 * A lane that leads to a controller which stands by is refused at once. That one may be about to take the array over from the owner, which
 * died with the request or with its answer: so it is asked again, with a pause, as long as there is time. It knows what the owner did.
 *
 * A lane has a device, a message and room for the answer of its own, which nobody else touches while it is away. So
 * what comes back late ends there, and is known by its request id.
 */
#include "provider/window.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include "provider/clock.h"
#include "provider/memory.h"

#define LANES_MAX        4
#define LANE_TRIES       2    /* for one request */
#define STANDBY_PAUSE_MS 100  /* until who stands by is asked again, which is no try */
#define TRY_MS           1000 /* less when the budget has not so much for each lane */
#define BUSY_PAUSE_MS    10
#define UNDO_LIMIT_MS    30000 /* of one try */
#define HOLD_MS          9500  /* of the ten seconds that Windows holds writes */
#define BUDGET_LEAST_MS  1000
#define THREAD_STACK     (256 * 1024)

enum order {
	ORDER_NONE,
	ORDER_COMMIT,
	ORDER_END
};

enum lane_state {
	LANE_HERE, /* all of it is the worker's */
	LANE_AWAY, /* its thread has the channel, x and err; x's request id may be read */
	LANE_BACK  /* the worker's again, which does not know it yet */
};

struct lane {
	struct worker *worker;
	struct channel channel;
	struct channel_path path;
	HANDLE go; /* auto reset: it is away, or all is over */
	volatile LONG state;
	/* with the request of this moment */
	unsigned tries;
	bool stands_by;    /* refused, with all others of its controller's */
	uint64_t again_ms; /* of one that stands by */
	uint64_t sent_ms, deadline_ms;
	int err;
	struct exchange x;
};

struct worker {
	struct window *window;
	unsigned index, lane_count;
	struct lane *lanes; /* owned */
	HANDLE news;        /* auto reset: a lane is back */
	volatile LONG over; /* set before each lane's `go`: they end */
	struct up_msg commit, abort;
	uint16_t commit_slot, abort_slot;
	/* written by the thread before `done`, read after it */
	int err;
	const struct up_msg *reply; /* in a lane that is here */
	volatile LONG finished;
	char array[UP_NAME_MAX_BYTES + 1];
};

struct window {
	volatile LONG refs;  /* the set's, and one a thread */
	volatile LONG order; /* enum order, set before `go` */
	volatile LONG undo;  /* set before `verdict` */
	HANDLE go, verdict;  /* manual reset */
	struct array_client *client;
	uint32_t array_deadline_ms, budget_ms;
	uint64_t ready_ms; /* writes may be held since */
	unsigned count;
	HANDLE done[ARRAYS_MAX];
	struct window_result results[ARRAYS_MAX];
	struct worker workers[];
};

static void close_handle(HANDLE h)
{
	if (h)
		CloseHandle(h);
}

static void worker_free(struct worker *k)
{
	for (unsigned i = 0; i < k->lane_count; i++) {
		channel_close(&k->lanes[i].channel);
		close_handle(k->lanes[i].go);
	}
	close_handle(k->news);
	if (k->lanes)
		memory_unlock(k->lanes, k->lane_count * sizeof(*k->lanes));
	free(k->lanes);
}

static void window_deref(struct window *w)
{
	if (InterlockedDecrement(&w->refs))
		return;
	for (unsigned i = 0; i < w->count; i++) {
		worker_free(&w->workers[i]);
		close_handle(w->done[i]);
	}
	close_handle(w->go);
	close_handle(w->verdict);
	memory_unlock(w, sizeof(*w) + w->count * sizeof(struct worker));
	free(w);
}

/* ---- lanes ------------------------------------------------------------------------------------------ */

static DWORD WINAPI lane_thread(void *arg)
{
	struct lane *l = arg;
	struct worker *k = l->worker;
	struct window *w = k->window;

	do {
		WaitForSingleObject(l->go, INFINITE);
		if (l->state != LANE_AWAY)
			continue;
		l->err = channel_exchange(&l->channel, &l->x, l->deadline_ms);
		InterlockedExchange(&l->state, LANE_BACK);
		SetEvent(k->news);
	} while (!k->over);
	channel_close(&l->channel); /* the others' may stay away for long */
	window_deref(w);
	return 0;
}

static void lane_send(
	struct lane *l, const struct up_msg *m, uint16_t slot, uint64_t now_ms, uint64_t deadline_ms)
{
	(void)exchange_prepare(&l->x, m, slot); /* it fits: see prepare_worker */
	l->sent_ms = now_ms;
	l->deadline_ms = deadline_ms;
	l->tries++;
	InterlockedExchange(&l->state, LANE_AWAY);
	SetEvent(l->go);
}

/* What there is to know of a worker's lanes. */
struct lanes_view {
	struct lane *answer; /* has the answer to the request */
	struct lane *next;   /* to be tried next */
	unsigned untried;    /* lanes that are here and did not have it yet, the next one among them */
	bool asked, away;    /* one is away with the request, with any */
	bool failed;         /* one has just come back without an answer to it */
	uint64_t again_ms; /* when one that stands by may be asked again; 0: there is none, or it is `next` */
};

/* A lane that is here with the request unanswered. */
static void lane_look(struct lanes_view *v, struct lane *l, uint64_t now_ms)
{
	v->untried += l->tries == 0;
	if (l->stands_by && now_ms < l->again_ms) {
		if (!v->again_ms || l->again_ms < v->again_ms)
			v->again_ms = l->again_ms;
		return;
	}
	if ((l->stands_by || l->tries < LANE_TRIES) && (!v->next || l->tries < v->next->tries))
		v->next = l;
}

/* Takes the lanes back that have ended. *err: how the request last failed. What a lane brings of an earlier
 * request does not count. */
static struct lanes_view lanes_look(struct worker *k, uint64_t request_id, uint64_t now_ms, int *err)
{
	struct lanes_view v = {0};

	for (unsigned i = 0; i < k->lane_count; i++) {
		struct lane *l = &k->lanes[i];
		LONG before = InterlockedCompareExchange(&l->state, LANE_HERE, LANE_BACK);
		if (before == LANE_AWAY) {
			v.away = true;
			v.asked = v.asked || l->x.request_id == request_id;
			continue;
		}
		if (before == LANE_BACK && l->x.request_id == request_id) {
			*err = l->err;
			v.failed = v.failed || l->err < 0;
			l->stands_by = l->err == -ENOTCONN;
			l->again_ms = now_ms + STANDBY_PAUSE_MS;
			if (l->err == 0)
				v.answer = l;
		}
		lane_look(&v, l, now_ms);
	}
	return v;
}

/* How long a lane may say nothing before the next one is tried, too: each gets its try before end_ms. */
static uint64_t try_ms(const struct lanes_view *v, uint64_t now_ms, uint64_t end_ms)
{
	uint64_t left_ms = end_ms > now_ms ? end_ms - now_ms : 0;
	uint64_t share_ms = v->untried ? left_ms / v->untried : TRY_MS;

	return share_ms < TRY_MS ? share_ms : TRY_MS;
}

/* Asks over one lane after the other until one has the answer: 0, *reply is in that lane. end_ms: see try_ms; who stands by is not asked
 * again later. Nothing is sent after send_until_ms, and no lane carries on for longer. stop (NULL: none) ends the waiting. */
static int ask(struct worker *k, const struct up_msg *m, uint16_t slot, uint64_t end_ms,
	uint64_t send_until_ms, HANDLE stop, const struct up_msg **reply)
{
	HANDLE events[2] = {k->news, stop};
	uint64_t next_ms = 0;
	int err = -EHOSTUNREACH;

	for (unsigned i = 0; i < k->lane_count; i++) {
		k->lanes[i].tries = 0;
		k->lanes[i].stands_by = false;
	}
	for (;;) {
		uint64_t now_ms = GetTickCount64();
		struct lanes_view v = lanes_look(k, m->request_id, now_ms, &err);
		if (now_ms >= end_ms) {
			v.again_ms = 0;
			if (v.next && v.next->stands_by && v.next->tries >= LANE_TRIES)
				v.next = NULL;
		}
		if (v.answer) {
			*reply = &v.answer->x.reply;
			return 0;
		}
		if (now_ms >= send_until_ms) {
			if (!v.asked)
				return err == -ENOTCONN ? err : -ETIMEDOUT;
			v.next = NULL;
			v.again_ms = 0;
		}
		if (v.failed && v.untried)
			next_ms = now_ms;
		if (v.next && (!v.asked || now_ms >= next_ms)) {
			uint64_t carry_until_ms = now_ms + UNDO_LIMIT_MS;
			lane_send(v.next, m, slot, now_ms,
				carry_until_ms < send_until_ms ? carry_until_ms : send_until_ms);
			next_ms = now_ms + try_ms(&v, now_ms, end_ms);
			continue;
		}
		if (!v.next && !v.away && !v.again_ms)
			return err;
		DWORD wait_ms = v.next ? (DWORD)(next_ms - now_ms) : INFINITE;
		if (v.again_ms && v.again_ms - now_ms < wait_ms)
			wait_ms = (DWORD)(v.again_ms - now_ms);
		if (WaitForMultipleObjects(stop ? 2 : 1, events, FALSE, wait_ms) == WAIT_OBJECT_0 + 1)
			return -ETIMEDOUT;
	}
}

/* ---- workers ---------------------------------------------------------------------------------------- */

/* While another commit runs on the array, tries again within the deadline. */
static void do_commit(struct worker *k)
{
	struct window *w = k->window;
	uint64_t start_ms = GetTickCount64(), deadline_ms = start_ms + w->array_deadline_ms;

	for (;;) {
		k->err = ask(k, &k->commit, k->commit_slot, start_ms + w->budget_ms, deadline_ms + 1000,
			w->verdict, &k->reply);
		uint64_t now = GetTickCount64();
		if (k->err < 0 || k->reply->status != UP_BUSY || now + BUSY_PAUSE_MS >= deadline_ms)
			return;
		Sleep(BUSY_PAUSE_MS);
		k->commit.request_id = array_client_new_request_id(w->client);
		k->commit.deadline_ms = (uint32_t)(deadline_ms - now);
		k->commit_slot = array_client_new_slot(w->client);
	}
}

/* Over any lane that is here, and over one that comes back later: until then its command may still bring the
 * commit to the array. */
static void do_undo(struct worker *k)
{
	const struct up_msg *reply;
	uint64_t now = GetTickCount64();

	(void)ask(k, &k->abort, k->abort_slot, now + UNDO_LIMIT_MS, UINT64_MAX, NULL, &reply);
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
			do_undo(k);
	}
	InterlockedExchange(&k->over, 1);
	for (unsigned i = 0; i < k->lane_count; i++)
		SetEvent(k->lanes[i].go);
	window_deref(w);
	return 0;
}

static bool open_lane(struct worker *k, struct transport *t, const struct array_info *a, unsigned path)
{
	struct lane *l = &k->lanes[k->lane_count];
	int err = channel_open(t, &a->paths[path], &l->channel);

	if (err == -ETIMEDOUT)
		array_client_silent(k->window->client, a->id, &a->paths[path].device);
	if (err < 0)
		return err != -ETIMEDOUT;
	l->worker = k;
	l->path = a->paths[path];
	k->lane_count++;
	return true;
}

enum lane_kind {
	LANE_ORIGINAL,
	LANE_CONTROL,
	LANE_SHADOW,
	LANE_KINDS
};

static enum lane_kind lane_kind(const struct channel_path *p)
{
	if (p->is_shadow)
		return LANE_SHADOW;
	return channel_path_controls(p) ? LANE_CONTROL : LANE_ORIGINAL;
}

/* When a way becomes a lane, kind by kind: those that lead to a controller that stands by after the others, for they are refused at once;
 * silent ones last. */
enum lane_turn {
	TURN_OWNER,
	TURN_STANDBY,
	TURN_SILENT,
	LANE_TURNS
};

static enum lane_turn lane_turn(
	const struct channel_path *p, const uint32_t *silent_routes, unsigned silent_count, uint64_t now_ms)
{
	bool silent = channel_path_silent(p, now_ms);

	for (unsigned n = 0; n < silent_count; n++)
		silent = silent || (p->device.route && p->device.route == silent_routes[n]);
	return silent ? TURN_SILENT : p->stands_by ? TURN_STANDBY : TURN_OWNER;
}

/* Is there a way to a controller that stands by, which may be the owner before the window ends? */
static bool any_stands_by(const struct array_info *a, uint64_t now_ms)
{
	for (unsigned i = 0; i < a->path_count; i++)
		if (lane_kind(&a->paths[i]) != LANE_SHADOW &&
			lane_turn(&a->paths[i], NULL, 0, now_ms) == TURN_STANDBY)
			return true;
	return false;
}

/* A lane for each way, and one at least for a controller that stands by; the originals' before the control LU: they are what must answer
 * when the commit does. Through a shadow LUN only when there is nothing else, for somebody may delete it meanwhile: a host may see no LUN
 * of the array but such as were broken off their set unknown to the provider. Those over which nothing came back, lately or just now, only
 * when no other one leads to the owner: applications are frozen already. For them there is room then, however many stand by. */
static int open_lanes(struct worker *k, struct transport *t, const struct array_info *a)
{
	uint32_t silent_routes[ARRAY_PATHS_MAX];
	uint64_t now_ms = GetTickCount64();
	unsigned silent_count = 0, to_owner = 0, not_silent = 0;
	unsigned room = LANES_MAX - any_stands_by(a, now_ms);

	for (unsigned round = 0; round < LANE_TURNS * LANE_KINDS; round++) {
		enum lane_kind kind = (enum lane_kind)(round % LANE_KINDS);
		enum lane_turn turn = (enum lane_turn)(round / LANE_KINDS);
		if (round == TURN_STANDBY * LANE_KINDS) {
			to_owner = k->lane_count;
			room = to_owner ? LANES_MAX : LANES_MAX / 2;
		}
		if (round == TURN_SILENT * LANE_KINDS) {
			if (to_owner)
				break;
			not_silent = k->lane_count;
			room = LANES_MAX;
		}
		if (kind == LANE_SHADOW && k->lane_count > not_silent)
			continue;
		for (unsigned i = 0; i < a->path_count && k->lane_count < room; i++) {
			const struct channel_path *p = &a->paths[i];
			if (lane_kind(p) != kind || lane_turn(p, silent_routes, silent_count, now_ms) != turn)
				continue;
			if (!open_lane(k, t, a, i) && silent_count < ARRAY_PATHS_MAX)
				silent_routes[silent_count++] = p->device.route;
		}
	}
	return k->lane_count ? 0 : -EHOSTUNREACH;
}

/* Opens the lanes and builds both messages. */
static int prepare_worker(
	struct worker *k, struct transport *t, const struct array_info *a, const uint8_t set_id[UP_ID_BYTES])
{
	struct window *w = k->window;
	unsigned room = a->path_count < LANES_MAX ? a->path_count : LANES_MAX;

	snprintf(k->array, sizeof(k->array), "%s", a->name);
	k->news = CreateEventW(NULL, FALSE, FALSE, NULL);
	k->lanes = calloc(room ? room : 1, sizeof(*k->lanes));
	if (!k->news || !k->lanes)
		return -ENOMEM;
	int err = open_lanes(k, t, a);
	if (err < 0)
		return err;
	up_request_init(&k->abort, UP_OP_SET_ABORT, array_client_new_request_id(w->client));
	memcpy(k->abort.set_id, set_id, UP_ID_BYTES);
	k->abort.has = UP_HAS(UP_TAG_SET_ID);
	k->abort_slot = array_client_new_slot(w->client);
	err = exchange_prepare(&k->lanes[0].x, &k->abort, k->abort_slot);
	if (err < 0)
		return err;
	up_request_init(&k->commit, UP_OP_SET_COMMIT, array_client_new_request_id(w->client));
	memcpy(k->commit.set_id, set_id, UP_ID_BYTES);
	k->commit.deadline_ms = w->array_deadline_ms;
	k->commit.has = UP_HAS(UP_TAG_SET_ID) | UP_HAS(UP_TAG_DEADLINE_MS);
	k->commit_slot = array_client_new_slot(w->client);
	return exchange_prepare(&k->lanes[0].x, &k->commit, k->commit_slot);
}

/* The thread has a reference of its own. */
static int start_thread(struct window *w, LPTHREAD_START_ROUTINE run, void *arg)
{
	InterlockedIncrement(&w->refs);
	HANDLE thread = CreateThread(NULL, THREAD_STACK, run, arg, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
	if (!thread) {
		InterlockedDecrement(&w->refs);
		return -ENOMEM;
	}
	SetThreadPriority(thread, THREAD_PRIORITY_HIGHEST);
	CloseHandle(thread);
	return 0;
}

/* The worker's thread comes first: it is the one that ends the lanes'. */
static int start_worker(struct worker *k)
{
	struct window *w = k->window;
	int err = 0;

	for (unsigned i = 0; i < k->lane_count && err == 0; i++) {
		k->lanes[i].go = CreateEventW(NULL, FALSE, FALSE, NULL);
		err = k->lanes[i].go ? 0 : -ENOMEM;
	}
	if (err == 0)
		err = start_thread(w, commit_thread, k);
	for (unsigned i = 0; i < k->lane_count && err == 0; i++)
		err = start_thread(w, lane_thread, &k->lanes[i]);
	(void)memory_lock(k->lanes, k->lane_count * sizeof(*k->lanes));
	return err;
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
		if (err == 0)
			err = start_worker(k);
	}
	if (err < 0) {
		window_close(w);
		return err;
	}
	(void)memory_lock(w, sizeof(*w) + count * sizeof(struct worker));
	w->ready_ms = GetTickCount64();
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
		r->trouble.status = k->reply->status;
		memcpy(r->trouble.text, k->reply->text, sizeof(r->trouble.text));
		r->ok = k->reply->status == UP_OK;
		r->window_ns = k->reply->window_ns;
		r->durable_ns = k->reply->durable_ns;
	}
}

/* The holds may have begun when the window was ready: what is left of their time, if it is less. Never nothing, for they may have
 * begun just now, too; VSS refuses a copy whose holds were broken. */
static void fit_budget(struct window *w, uint32_t budget_ms)
{
	uint64_t since_ms = GetTickCount64() - w->ready_ms;
	uint32_t left_ms =
		since_ms + BUDGET_LEAST_MS < HOLD_MS ? (uint32_t)(HOLD_MS - since_ms) : BUDGET_LEAST_MS;

	w->budget_ms = budget_ms < left_ms ? budget_ms : left_ms;
	if (w->budget_ms == budget_ms)
		return;
	uint32_t deadline_ms = w->budget_ms / 8 * 5;
	if (deadline_ms < w->array_deadline_ms)
		w->array_deadline_ms = deadline_ms;
	for (unsigned i = 0; i < w->count; i++)
		w->workers[i].commit.deadline_ms = w->array_deadline_ms;
}

uint32_t window_budget_ms(const struct window *w)
{
	return w->budget_ms;
}

bool window_commit(struct window *w, uint32_t budget_ms, uint64_t *elapsed_us)
{
	uint64_t start_us = clock_us();
	bool ok = true;

	fit_budget(w, budget_ms);
	budget_ms = w->budget_ms;
	InterlockedExchange(&w->order, ORDER_COMMIT);
	SetEvent(w->go);
	(void)WaitForMultipleObjects(w->count, w->done, TRUE, budget_ms);
	for (unsigned i = 0; i < w->count; i++) {
		collect(w, i);
		ok = ok && w->results[i].ok;
	}
	*elapsed_us = clock_us() - start_us;
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

bool window_silent(const struct window *w, unsigned index, unsigned *next, struct window_silence *out)
{
	assert(index < w->count);
	const struct worker *k = &w->workers[index];
	uint64_t now_ms = GetTickCount64();

	while (*next < k->lane_count) {
		const struct lane *l = &k->lanes[(*next)++];
		if (l->state != LANE_AWAY || now_ms - l->sent_ms < TRY_MS)
			continue;
		out->device = l->path.device;
		out->for_ms = (uint32_t)(now_ms - l->sent_ms);
		return true;
	}
	return false;
}

void window_close(struct window *w)
{
	if (!w)
		return;
	if (InterlockedCompareExchange(&w->order, ORDER_END, ORDER_NONE) == ORDER_NONE)
		SetEvent(w->go);
	window_deref(w);
}
