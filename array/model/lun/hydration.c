/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plex copies are made independent of their originals in the background: at most hydrations_max at a time,
 * the others wait in a queue. So are ordinary LUNs that resyncs and breaks have put behind too many disks. One that hangs in the store
 * has another one beside it, up to a bound; when it goes on after all none begins before there are fewer again.
 *
 * Invariants:
 * - A LUN hydrates only while lun->hydration is RUNS, its set is kept, and nobody deletes or resyncs it. Who
 *   does marks it first (gone, resyncing) and then waits with lun_hydration_halt.
 * - Its record says FULL (of an ordinary LUN: NONE) only after the store has made the disk independent,
 *   durably. After a restart in between it hydrates again, with nothing left to copy.
 * - A hydration begins in a turn of the reactor of its own, never inside the caller that made it possible.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/lun/internal.h"

#define HYDRATION_RETRY_MS 60000u
#define TELL_BYTES         (UINT64_C(4) << 20)
#define HUNG_LOOK_MS       1000u
#define HUNG_MOST          32u /* under way, where some of them hang */

struct lun_plex {
	struct array *array; /* NULL: closed */
	struct lun_box *box;
	struct store_hydration h;
	bool active, storing; /* the store works on it; its record is being changed */
	bool anew;            /* what is being stored is not of the disk that it has now */
	uint64_t told_bytes;  /* of passed_bytes, that it takes room */
	int told_err;         /* the last error that became an event */
	struct reactor_timer retry;
	struct list halts;     /* struct array_drain: they wait for its end */
	struct list_node link; /* array->luns->hydrations, or hydrating */
};

static void retry_fire(struct reactor_timer *t)
{
	lun_hydration_kick(&container_of(t, struct lun_plex, retry)->box->lun);
}

int lun_hydration_prepare(struct lun_box *b)
{
	b->plex = calloc(1, sizeof(*b->plex));
	if (!b->plex)
		return -ENOMEM;
	b->plex->array = b->lun.array;
	b->plex->box = b;
	b->plex->retry.fire = retry_fire;
	list_init(&b->plex->halts);
	return 0;
}

void lun_hydration_free(struct lun_box *b)
{
	struct lun_plex *p = b->plex;

	if (!p)
		return;
	b->plex = NULL;
	list_remove(&p->link);
	/* A LUN that never was in the model may outlive the array. */
	if (p->retry.heap_index)
		reactor_timer_disarm(p->array->options.reactor, &p->retry);
	if (!p->active) {
		free(p);
		return;
	}
	p->array = NULL;
	p->h.disk->store->ops->hydrate_cancel(&p->h);
}

unsigned lun_full_percent(const struct lun *lun)
{
	const struct lun_plex *p = lun_box_of(lun)->plex;
	uint64_t percent;

	if (lun->hydration == LUN_HYDRATION_FULL)
		return 100;
	if (lun->hydration == LUN_HYDRATION_NONE || !p || p->h.total_bytes == 0)
		return 0;
	percent = p->h.passed_bytes / (p->h.total_bytes / 100 + 1);
	return percent < 99 ? (unsigned)percent : 99;
}

/* ---- the queue ---- */

static bool eligible(const struct lun_plex *p)
{
	const struct lun *lun = &p->box->lun;

	return (lun->hydration == LUN_HYDRATION_RUNS || lun->hydration == LUN_HYDRATION_WAITS) &&
	       !lun->gone && !lun->resyncing && !p->active && !p->storing && !p->array->luns->stopping &&
	       p->array->options.store->ops->hydrate && !lun_unkept(lun);
}

static void row_wake(struct array *a)
{
	if (!list_empty(&a->luns->hydrations))
		reactor_timer_arm(a->options.reactor, &a->luns->hydration_timer, 0);
}

void lun_hydration_kick(struct lun *lun)
{
	struct lun_plex *p = lun_box_of(lun)->plex;

	if (!p || !eligible(p))
		return;
	lun->hydration = LUN_HYDRATION_RUNS;
	reactor_timer_disarm(p->array->options.reactor, &p->retry);
	if (!list_linked(&p->link))
		list_push_back(&p->array->luns->hydrations, &p->link);
	row_wake(p->array);
}

bool lun_hydration_deep(const struct store_disk *disk)
{
	const struct store_ops *ops = disk->store->ops;

	return ops->hydrate && ops->copies_deep && ops->copies_deep(disk);
}

/* Without memory it is wanted again with the LUN's next copy. */
void lun_hydration_want(struct lun *lun)
{
	struct lun_box *b = lun_box_of(lun);

	if (!b->plex && lun_hydration_prepare(b))
		return;
	b->plex->anew = b->plex->storing;
	lun->hydration = LUN_HYDRATION_RUNS;
	lun_hydration_kick(lun);
}

void lun_hydration_halt(struct lun *lun, struct array_drain *d)
{
	struct lun_plex *p = lun_box_of(lun)->plex;

	if (!p || !p->active) {
		d->idle(d);
		return;
	}
	list_push_back(&p->halts, &d->link);
	p->h.disk->store->ops->hydrate_cancel(&p->h);
}

void lun_stop_check(struct array *a)
{
	void (*stopped)(void *arg) = a->luns->stopped;

	if (!stopped || a->luns->hydrations_active > 0)
		return;
	a->luns->stopped = NULL;
	stopped(a->luns->stopped_arg);
}

/* ---- full ---- */

struct full {
	struct change c;
	struct lun *lun; /* held */
};

static int full_check(struct change *c)
{
	const struct lun *lun = container_of(c, struct full, c)->lun;

	if (lun->gone)
		return fault_set(
			&c->fault, -ENODEV, "LUN %s is being deleted: nothing is left to do", lun->name);
	return lun->hydration == LUN_HYDRATION_NONE ||
	       lun_box_of(lun)->plex->anew; /* a resync has come first */
}

static enum lun_hydration full_state(const struct lun *lun)
{
	return lun->kind == LUN_SHADOW ? LUN_HYDRATION_FULL : LUN_HYDRATION_NONE;
}

static int full_build(struct change *c, struct store_txn *t)
{
	const struct lun *lun = container_of(c, struct full, c)->lun;
	struct lun_record r;

	lun_record_of(lun, &r);
	r.hydration = full_state(lun);
	return lun_record_put(c->array, t, &r);
}

static void wait_and_retry(struct lun_plex *p, int err, const char *why)
{
	struct lun *lun = &p->box->lun;

	lun->hydration = LUN_HYDRATION_WAITS;
	reactor_timer_arm(p->array->options.reactor, &p->retry, HYDRATION_RETRY_MS);
	if (p->told_err == err)
		return;
	p->told_err = err;
	array_event_tell(p->array, ARRAY_EVENT_WARNING, "lun",
		"LUN %s cannot be made independent of its original now, it is tried again every minute: %s",
		lun->name, why);
}

static void full_end(struct change *c, int err)
{
	struct lun *lun = container_of(c, struct full, c)->lun;
	struct lun_plex *p = lun_box_of(lun)->plex;

	p->storing = false;
	if (p->anew) {
		p->anew = false;
		lun_hydration_kick(lun);
		return;
	}
	if (lun->gone || lun->hydration == LUN_HYDRATION_NONE)
		return;
	if (err) {
		wait_and_retry(p, err, c->fault.text);
		return;
	}
	lun->hydration = full_state(lun);
	array_event_tell(c->array, ARRAY_EVENT_INFO, "lun",
		"LUN %s is full: it shares nothing with its original any more", lun->name);
}

static void full_clear(struct change *c)
{
	if (c->array)
		lun_release(container_of(c, struct full, c)->lun);
}

static void full_start(struct lun_plex *p)
{
	static const struct change_ops ops = {
		.check = full_check, .build = full_build, .end = full_end, .clear = full_clear};
	struct full *op = change_new(p->array, sizeof(*op), &ops, NULL);

	if (!op) {
		wait_and_retry(p, -ENOMEM, "no memory, or too many changes are waiting");
		return;
	}
	p->storing = true;
	op->lun = &p->box->lun;
	lun_hold(op->lun);
	change_submit(&op->c);
}

/* ---- one hydration ---- */

static void tell_room(struct lun_plex *p)
{
	uint64_t passed = p->h.passed_bytes;

	if (p->array && passed > p->told_bytes)
		array_room_taken(p->array, passed - p->told_bytes);
	p->told_bytes = passed;
}

static void hydration_passed(struct store_hydration *h)
{
	struct lun_plex *p = container_of(h, struct lun_plex, h);

	if (h->passed_bytes > p->told_bytes + TELL_BYTES)
		tell_room(p);
}

static void hydration_done(struct store_hydration *h, int err)
{
	struct lun_plex *p = container_of(h, struct lun_plex, h);
	struct array *a = p->array;
	struct list_node *n;
	struct lun *lun;

	if (!a) {
		free(p);
		return;
	}
	lun = &p->box->lun;
	lun_hold(lun);
	p->active = false;
	list_remove(&p->link);
	tell_room(p);
	a->luns->hydrations_active--;
	if (!err) {
		full_start(p);
	} else if (err != -ECANCELED) {
		struct fault fault;

		wait_and_retry(p, err, (array_store_fault(&fault, err, lun->name), fault.text));
	}
	while ((n = list_pop(&p->halts))) {
		struct array_drain *d = container_of(n, struct array_drain, link);

		d->idle(d);
	}
	if (err == -ECANCELED)
		lun_hydration_kick(lun); /* what cancelled it may have been cancelled, too */
	lun_release(lun);
	row_wake(a);
	lun_stop_check(a);
}

static unsigned hung(const struct array *a)
{
	const struct store_ops *ops = a->options.store->ops;
	unsigned count = 0;

	if (ops->hydrate_hangs)
		list_for_each (n, &a->luns->hydrating)
			count += ops->hydrate_hangs(&container_of(n, struct lun_plex, link)->h);
	return count;
}

static bool one_more_may_begin(const struct array *a)
{
	unsigned active = a->luns->hydrations_active, max = a->options.hydrations_max;

	return active < max || (active < HUNG_MOST && active < max + hung(a));
}

void lun_hydration_fire(struct reactor_timer *t)
{
	struct array *a = container_of(t, struct luns, hydration_timer)->array;
	struct list_node *n;

	while (one_more_may_begin(a) && (n = list_pop(&a->luns->hydrations))) {
		struct lun_plex *p = container_of(n, struct lun_plex, link);

		if (!eligible(p))
			continue;
		p->active = true;
		a->luns->hydrations_active++;
		list_push_back(&a->luns->hydrating, &p->link);
		memset(&p->h, 0, sizeof(p->h));
		p->h.disk = p->box->lun.disk;
		p->h.bytes_per_s = a->options.hydrate_bytes_per_s;
		p->h.passed = hydration_passed;
		p->h.done = hydration_done;
		p->told_bytes = 0;
		a->options.store->ops->hydrate(&p->h);
	}
	if (a->options.store->ops->hydrate_hangs && !list_empty(&a->luns->hydrations))
		reactor_timer_arm(a->options.reactor, t, HUNG_LOOK_MS);
}

void lun_hydration_stop(struct array *a, void (*stopped)(void *arg), void *arg)
{
	a->luns->stopping = true;
	a->luns->stopped = stopped;
	a->luns->stopped_arg = arg;
	for (struct lun *lun = lun_next(a, NULL); lun; lun = lun_next(a, lun)) {
		struct lun_plex *p = lun_box_of(lun)->plex;

		if (p && p->active)
			p->h.disk->store->ops->hydrate_cancel(&p->h);
	}
	lun_stop_check(a);
}
