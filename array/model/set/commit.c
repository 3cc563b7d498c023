/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit of a copy set. The array does one at a time; the others queue, each within its own deadline.
 *
 *	the store is ready → gates close in id order → cut → gates open → transaction with the forks → durable → reply
 *
 * Invariants:
 * - Gates are closed only between cut.begins and cut_done. The deadline or an abort opens them earlier, and
 *   then the cut is dropped. The array's own timer opens them, whatever the requester does.
 * - A commit that was given up has answered its call. It stays at the head of the queue until the store has
 *   let go of its cut: at once where what a cut needs may hang. If it became durable all the same, the set is
 *   undone (undo.c).
 * - The model allocates all the memory it needs before the gates close, or after they open.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/set/internal.h"
#include "proto/identity.h"

#define WHERE_BYTES (ARRAY_NAME_MAX_BYTES + 64)

struct commit {
	struct array *array;     /* NULL: closed */
	struct set *s;           /* held */
	struct array_call *call; /* NULL: answered */
	struct array_turn turn;
	struct reactor_timer deadline;
	uint64_t deadline_ns;
	uint32_t deadline_ms;
	bool gates_closed, in_store, given_up;
	bool awaited; /* the store will call back */
	uint64_t closed_ns, cut_ns;
	unsigned count;
	unsigned *order;           /* members by the id of the original */
	struct store_disk **disks; /* in that order */
	struct lun_box **boxes;    /* the shadow LUNs, in that order */
	struct store_cut cut;
};

static void commit_free(struct commit *c)
{
	for (unsigned i = 0; c->boxes && i < c->count; i++)
		if (c->boxes[i])
			lun_free(c->boxes[i]);
	free(c->boxes);
	free(c->order);
	free(c->disks);
	free(c);
}

static struct lun *commit_original(const struct commit *c, unsigned i)
{
	return c->s->sides[c->order[i]].original;
}

static struct commit *commit_new(struct set *s, struct array_call *call)
{
	struct commit *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->array = s->array;
	c->s = s;
	c->call = call;
	c->count = s->member_count;
	c->order = calloc(c->count, sizeof(*c->order));
	c->disks = calloc(c->count, sizeof(struct store_disk *));
	c->boxes = calloc(c->count, sizeof(struct lun_box *));
	if (!c->order || !c->disks || !c->boxes) {
		commit_free(c);
		return NULL;
	}
	for (unsigned i = 0; i < c->count; i++) {
		unsigned at = i;

		while (at > 0 && memcmp(s->members[c->order[at - 1]].original_id, s->members[i].original_id,
					 UP_ID_BYTES) > 0) {
			c->order[at] = c->order[at - 1];
			at--;
		}
		c->order[at] = i;
	}
	return c;
}

/* The store has let go of the cut: the next commit has its turn. */
static void commit_leave(struct commit *c)
{
	struct array *a = c->array;

	reactor_timer_disarm(a->options.reactor, &c->deadline);
	array_turn_leave(a, &c->turn);
	c->s->commit = NULL;
}

static void commit_gone(struct commit *c)
{
	struct array *a = c->array;

	set_release(c->s);
	commit_free(c);
	array_turns_run(a);
}

static void gates_open(struct commit *c)
{
	if (!c->gates_closed)
		return;
	c->gates_closed = false; /* first, because a write that goes on may come back here */
	for (unsigned i = 0; i < c->count; i++)
		lun_gate_open(commit_original(c, i));
}

static void commit_answer(struct commit *c, int err, const struct fault *fault)
{
	struct array_call *call = c->call;

	c->call = NULL;
	array_call_end(call, err, fault);
}

bool set_commit_give_up(struct set *s, int err, const struct fault *why)
{
	struct commit *c = s->commit;
	bool in_store;

	assert(s->state == UP_SET_COMMITTING && !c->given_up);
	if (c->awaited && array_cut_give_up(c->array, &c->cut))
		c->in_store = false;
	in_store = c->in_store;
	c->given_up = true;
	reactor_timer_disarm(c->array->options.reactor, &c->deadline);
	s->undo_due = in_store;
	set_hold(s);
	gates_open(c);
	if (!in_store)
		commit_leave(c);
	set_enter(s, UP_SET_ABORTED);
	commit_answer(c, err, why);
	if (!in_store)
		commit_gone(c);
	set_release(s);
	return in_store;
}

/* The set is aborted. Nothing of it is in the store. */
static void commit_failed(struct commit *c, int err, const char *what)
{
	const struct lun *at = NULL;
	struct set *s = c->s;
	char label[ARRAY_NAME_MAX_BYTES + 1], where[WHERE_BYTES];
	struct fault fault;

	c->in_store = false;
	if (c->given_up) {
		commit_leave(c);
		set_undo_settled(s, false);
		commit_gone(c);
		return;
	}
	/* Where the store is full, or lost, it is not the LUN's fault. */
	if (c->cut.failed < c->count && err != -ENOSPC && err != -ESHUTDOWN)
		at = commit_original(c, c->cut.failed);
	snprintf(where, sizeof(where), "%s%s%s", what, at ? " at LUN " : "", at ? at->name : "");
	array_store_fault(&fault, err, where);
	array_event_tell(c->array, ARRAY_EVENT_ERROR, "set", "the commit of copy set %s failed: %s",
		set_label(s, label), fault.text);
	set_commit_give_up(s, err, &fault);
}

/* "LUN a and 2 more": for which the store still has no answer. False: nobody knows. */
static bool commit_waits_for(const struct commit *c, char out[WHERE_BYTES])
{
	const struct store_ops *ops = c->array->options.store->ops;
	unsigned first = 0, count = c->awaited && ops->cut_waits ? ops->cut_waits(&c->cut, &first) : 0;
	const struct lun *lun = count ? commit_original(c, first) : NULL;

	if (!lun)
		return false;
	if (count > 1)
		snprintf(out, WHERE_BYTES, "LUN %s and %u more", lun->name, count - 1);
	else
		snprintf(out, WHERE_BYTES, "LUN %s", lun->name);
	return true;
}

static void commit_late(struct commit *c)
{
	char label[ARRAY_NAME_MAX_BYTES + 1], where[WHERE_BYTES];
	struct fault fault;

	if (commit_waits_for(c, where)) {
		fault_set(&fault, -ETIME,
			"the commit was not durable within its %u ms, for the store had no answer for %s; nothing is kept: "
			"look at the store (ceph health detail), then begin a new set",
			c->deadline_ms, where);
		array_event_tell(c->array, ARRAY_EVENT_ERROR, "set",
			"copy set %s aborted: its commit was not durable within %u ms, for the store had no answer for %s",
			set_label(c->s, label), c->deadline_ms, where);
		set_commit_give_up(c->s, -ETIME, &fault);
		return;
	}
	fault_set(&fault, -ETIME,
		"the commit was not durable within its %u ms; nothing is kept, the array is too busy: "
		"begin a new set",
		c->deadline_ms);
	array_event_tell(c->array, ARRAY_EVENT_ERROR, "set",
		"copy set %s aborted: its commit was not durable within %u ms", set_label(c->s, label),
		c->deadline_ms);
	set_commit_give_up(c->s, -ETIME, &fault);
}

static void deadline_fire(struct reactor_timer *t)
{
	commit_late(container_of(t, struct commit, deadline));
}

/* The timer may be late itself. */
static bool commit_is_late(const struct commit *c)
{
	return !c->given_up && reactor_now_ns(c->array->options.reactor) >= c->deadline_ns;
}

/* ---- durable ---- */

static void shadows_attach(struct commit *c, bool link)
{
	struct set *s = c->s;

	s->shadows_linked = link;
	for (unsigned i = 0; i < c->count; i++) {
		struct set_side *side = &s->sides[c->order[i]];

		side->shadow = &c->boxes[i]->lun;
		if (link) {
			array_ident_remove(s->array, &side->ident);
			side->reserved = false;
			s->array->luns->reserved_count--;
			lun_link(c->boxes[i]);
		}
		c->boxes[i] = NULL;
	}
}

/* Where nobody knew it before: the store knows it of a disk that was used. */
static void originals_hydrate(struct set *s)
{
	for (unsigned i = 0; i < s->member_count; i++) {
		struct lun *lun = s->sides[i].original;

		if (lun && lun->kind == LUN_ORDINARY && lun->hydration == LUN_HYDRATION_NONE &&
			lun_hydration_deep(lun->disk))
			lun_hydration_want(lun);
	}
}

static void commit_done(struct commit *c)
{
	struct set *s = c->s;
	struct array_call *call = c->call;
	char label[ARRAY_NAME_MAX_BYTES + 1];

	s->durable_ns = array_clock_ns() - c->cut_ns;
	shadows_attach(c, true);
	set_reserve_join(s);
	commit_leave(c);
	originals_hydrate(s);
	set_enter(s, UP_SET_COMMITTED);
	array_event_tell(s->array, ARRAY_EVENT_INFO, "set",
		"copy set %s committed: %u LUN(s), window %llu us, durable after %llu us",
		set_label(s, label), c->count, (unsigned long long)(s->window_ns / 1000),
		(unsigned long long)(s->durable_ns / 1000));
	if (call) {
		call->window_ns = s->window_ns;
		call->durable_ns = s->durable_ns;
	}
	commit_answer(c, 0, NULL);
	commit_gone(c);
}

static void commit_durable(void *arg, int err)
{
	struct commit *c = arg;
	struct set *s = c->s;

	c->awaited = false;
	if (!c->array) {
		commit_free(c);
		return;
	}
	if (err) {
		commit_failed(c, err, "the copies could not be made durable");
		return;
	}
	c->array->meta_durable = true;
	if (commit_is_late(c))
		commit_late(c);
	if (!c->given_up) {
		commit_done(c);
		return;
	}
	shadows_attach(c, false);
	commit_leave(c);
	set_undo_settled(s, true);
	commit_gone(c);
}

/* ---- the transaction ---- */

static int shadow_put(struct commit *c, struct store_txn *t, unsigned i)
{
	struct array *a = c->array;
	const struct store_ops *ops = a->options.store->ops;
	struct set_member *m = &c->s->members[c->order[i]];
	char serial[UP_SERIAL_BYTES + 1];
	struct store_disk *disk;
	struct lun_record r = {.kind = LUN_SHADOW,
		.serial = a->luns->serial++,
		.hydration = m->kind == UP_COPY_PLEX ? LUN_HYDRATION_RUNS : LUN_HYDRATION_NONE};
	int err = ops->txn_disk_fork(t, &c->cut, i, &disk);

	if (err)
		return err;
	m->size_bytes = r.size_bytes = ops->disk_size(disk);
	r.disk_id = ops->disk_id(disk);
	r.created_unix_ms = c->s->cut_unix_ms;
	memcpy(r.id, m->shadow_id, UP_ID_BYTES);
	memcpy(r.origin_id, m->original_id, UP_ID_BYTES);
	memcpy(r.set_id, c->s->id, UP_ID_BYTES);
	/* The first 15 digits are unique: they are the NAA. */
	up_id_format(m->shadow_id, serial);
	snprintf(r.name, sizeof(r.name), ARRAY_SHADOW_PREFIX "%.15s", serial);
	c->boxes[i] = lun_new(a, &r, disk);
	if (!c->boxes[i])
		return -ENOMEM;
	c->boxes[i]->copy_unkept = true;
	return lun_record_put(a, t, &r);
}

static int commit_build(struct commit *c, struct store_txn *t)
{
	struct set_record r;
	int err = array_meta_put(c->array, t);

	if (!err && c->s->owner[0])
		err = array_ran_put(c->array, t);
	for (unsigned i = 0; !err && i < c->count; i++)
		err = shadow_put(c, t, i);
	set_record_of(c->s, &r);
	r.state = UP_SET_COMMITTED;
	return err ? err : set_record_put(c->array, t, &r);
}

static void commit_write(struct commit *c)
{
	const struct store_ops *ops = c->array->options.store->ops;
	struct store_txn *t = ops->txn_begin(c->array->options.store);
	int err = t ? commit_build(c, t) : -ENOMEM;

	if (!err) {
		c->awaited = true;
		ops->cut_commit(&c->cut, t, commit_durable, c);
		return;
	}
	if (t)
		ops->txn_drop(t);
	ops->cut_drop(&c->cut);
	commit_failed(c, err, "the copies could not be prepared");
}

/* ---- the cut ---- */

static void commit_cut_done(void *arg, int err)
{
	struct commit *c = arg;

	c->awaited = false;
	if (!c->array) {
		if (!err)
			c->cut.disks[0]->store->ops->cut_drop(&c->cut);
		commit_free(c);
		return;
	}
	c->cut_ns = array_clock_ns();
	c->s->window_ns = c->closed_ns ? c->cut_ns - c->closed_ns : 0;
	c->s->cut_unix_ms = array_clock_unix_ms();
	c->s->cut_ran_ms = array_ran_ms(c->s->array) + 1;
	gates_open(c);
	if (err) {
		commit_failed(c, err, "the cut failed");
		return;
	}
	if (commit_is_late(c))
		commit_late(c);
	if (c->given_up) {
		c->array->options.store->ops->cut_drop(&c->cut);
		commit_failed(c, -ECANCELED, "the commit was given up");
		return;
	}
	commit_write(c);
}

static void commit_gates_close(struct store_cut *cut)
{
	struct commit *c = container_of(cut, struct commit, cut);

	if (!c->array || c->given_up)
		return;
	c->gates_closed = true;
	c->closed_ns = array_clock_ns();
	for (unsigned i = 0; i < c->count; i++)
		lun_gate_close(commit_original(c, i));
}

static void commit_begin(struct array_turn *t)
{
	struct commit *c = container_of(t, struct commit, turn);
	struct store *store = c->array->options.store;

	if (commit_is_late(c)) {
		commit_late(c);
		return;
	}
	for (unsigned i = 0; i < c->count; i++)
		c->disks[i] = commit_original(c, i)->disk;
	c->cut.disks = c->disks;
	c->cut.count = c->cut.failed = c->count;
	c->cut.begins = commit_gates_close;
	c->in_store = c->awaited = true;
	store->ops->cut(store, &c->cut, commit_cut_done, c);
}

static void commit_orphan(struct array_turn *t)
{
	struct commit *c = container_of(t, struct commit, turn);

	reactor_timer_disarm(c->array->options.reactor, &c->deadline);
	c->array = NULL;
	c->s = NULL;
	if (!c->in_store)
		commit_free(c);
}

/* The control channel remembers what it has answered, but not over the array's end, and another controller has never seen it. */
static bool is_asked_again(const struct set *s, uint64_t request_id, struct array_call *call)
{
	if (s->state != UP_SET_COMMITTED || !request_id || request_id != s->commit_request)
		return false;
	call->window_ns = s->window_ns;
	call->durable_ns = s->durable_ns;
	array_call_end(call, 0, NULL);
	return true;
}

void set_commit(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, uint32_t deadline_ms,
	struct array_call *call)
{
	set_commit_asked(a, set_id, owner, 0, deadline_ms, call);
}

void set_commit_asked(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner,
	uint64_t request_id, uint32_t deadline_ms, struct array_call *call)
{
	struct set *s = set_find(a, set_id, owner);
	enum up_set_state next;
	char label[ARRAY_NAME_MAX_BYTES + 1];
	struct commit *c;
	int err = s ? set_state_next(s->state, SET_COMMIT, &next) : -ENOENT;

	call->window_ns = call->durable_ns = 0;
	if (err == -ENOENT) {
		array_call_refuse(call, err,
			"there is no such copy set; it may have been aborted when its lease ended: begin a new one");
		return;
	}
	if (err && is_asked_again(s, request_id, call))
		return;
	if (err) {
		array_call_refuse(call, err, "copy set %s is %s, not armed: %s", set_label(s, label),
			up_set_state_name(s->state),
			s->state == UP_SET_PREPARING ? "arm it first"
						     : "a set is committed once, begin a new one");
		return;
	}
	if (a->turn_count > SET_COMMITS_MAX) {
		array_call_refuse(call, -EBUSY, "%u other commits are waiting; try again", a->turn_count);
		return;
	}
	c = commit_new(s, call);
	if (!c) {
		array_call_refuse(call, -ENOMEM, FAULT_NO_MEMORY);
		return;
	}
	set_hold(s);
	s->commit = c;
	s->commit_request = request_id;
	if (deadline_ms == 0 || deadline_ms > a->options.commit_budget_ms)
		deadline_ms = a->options.commit_budget_ms;
	c->deadline_ms = deadline_ms;
	c->deadline.fire = deadline_fire;
	c->deadline_ns = reactor_now_ns(a->options.reactor) + UINT64_C(1000000) * deadline_ms;
	reactor_timer_arm(a->options.reactor, &c->deadline, deadline_ms);
	c->turn.begin = commit_begin;
	c->turn.orphan = commit_orphan;
	set_enter(s, next);
	array_turn_take(a, &c->turn);
}
