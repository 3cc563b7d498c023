/* SPDX-License-Identifier: Apache-2.0 */
/* A copy set in one call and without VSS, for hosts, the administrator and policies: begun, cut, kept, locked; or undone
 * whole. */
#include <errno.h>
#include <string.h>
#include "array/model/set/internal.h"

static struct set_taking *taking_of(struct array_call *step)
{
	return container_of(step, struct set_taking, step);
}

static void take_done(struct set_taking *t, int err)
{
	array_call_end(t->call, err, &t->fault);
}

static void undone(struct array_call *step)
{
	take_done(taking_of(step), taking_of(step)->fault.err);
}

/* Undoes the set, then ends the call with what went wrong first. */
static void give_up(struct set_taking *t, const struct fault *fault)
{
	t->fault = *fault;
	memset(&t->step, 0, sizeof(t->step));
	t->step.done = undone;
	set_abort(t->array, t->set_id, t->owner, &t->step);
}

/* The next step is to end with `done`; false: this one has failed, and the set is given up. */
static bool go_on(struct array_call *step, void (*done)(struct array_call *step))
{
	struct fault fault = step->fault;

	if (fault.err) {
		give_up(taking_of(step), &fault);
		return false;
	}
	memset(step, 0, sizeof(*step));
	step->done = done;
	return true;
}

/* It is kept: it stays, even if it could not be locked. */
static void locked(struct array_call *step)
{
	struct set_taking *t = taking_of(step);

	t->fault = step->fault;
	take_done(t, step->fault.err);
}

static void kept(struct array_call *step)
{
	struct set_taking *t = taking_of(step);

	if (!go_on(step, locked))
		return;
	if (t->lock_ms)
		set_lock_for(t->array, t->set_id, t->lock_ms, step);
	else
		take_done(t, 0);
}

static void committed(struct array_call *step)
{
	struct set_taking *t = taking_of(step);

	if (!go_on(step, kept))
		return;
	if (t->keep)
		set_keep(t->array, t->set_id, t->owner, step);
	else
		take_done(t, 0);
}

static void armed(struct array_call *step)
{
	struct set_taking *t = taking_of(step);

	if (go_on(step, committed))
		set_commit(t->array, t->set_id, t->owner, t->deadline_ms, step);
}

static int order_luns(struct set_taking *t, const struct set_order *o)
{
	uint8_t id[UP_ID_BYTES];
	int err = 0;

	for (unsigned i = 0; !err && i < o->lun_count; i++)
		err = set_add(t->array, t->set_id, t->owner, o->luns[i], o->kind, id, &t->fault);
	return err;
}

/* The set with its name, its label and its LUNs. */
static int order_place(struct set_taking *t, const struct set_order *o)
{
	struct set *s = set_find(t->array, t->set_id, t->owner);
	int err = 0;

	if (o->name && o->name[0])
		err = set_rename(s, o->name, &t->fault);
	if (!err && (t->owner[0] || (o->label && o->label[0])))
		set_without_vss(s, o->label ? o->label : "");
	return err ? err : order_luns(t, o);
}

void set_take(struct array *a, struct set_taking *t, const struct set_order *o, struct array_call *call)
{
	struct fault fault;
	int err;

	t->array = a;
	t->call = call;
	t->owner = o->owner ? o->owner : "";
	t->keep = o->keep;
	t->lock_ms = o->lock_ms;
	t->deadline_ms = o->deadline_ms ? o->deadline_ms : a->options.commit_budget_ms;
	memset(&t->fault, 0, sizeof(t->fault));
	err = set_begin(a, t->set_id, t->owner, &t->fault);
	if (err) {
		take_done(t, err);
		return;
	}
	err = order_place(t, o);
	if (err) {
		fault = t->fault;
		give_up(t, &fault);
		return;
	}
	memset(&t->step, 0, sizeof(t->step));
	t->step.done = armed;
	set_arm(a, t->set_id, t->owner, &t->step);
}
