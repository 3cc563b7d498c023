/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing whole sets: a committed one that nobody keeps, one whose commit became durable after the set had
 * been aborted, and a kept one that the administrator deletes. One transaction deletes every shadow LUN and
 * the set's record.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/set/internal.h"

struct removal {
	struct change c;
	struct set *s;              /* held */
	enum set_event event;       /* SET_ABORT, SET_DELETE */
	bool marked;                /* the shadow LUNs' gone is this change's */
	struct lun_recycled **bins; /* what the shadow LUNs become; NULL: nothing */
	unsigned bin_count;
};

static struct removal *removal_of(struct change *c)
{
	return container_of(c, struct removal, c);
}

static void shadows_mark(struct removal *op, bool gone)
{
	op->marked = gone;
	for (unsigned i = 0; i < op->s->member_count; i++) {
		op->s->sides[i].shadow->gone = gone;
		lun_hydration_kick(op->s->sides[i].shadow);
	}
}

static int delete_check(struct removal *op)
{
	struct set *s = op->s;
	enum up_set_state next;
	char label[ARRAY_NAME_MAX_BYTES + 1];
	int err;

	if (s->forgotten)
		return fault_set(
			&op->c.fault, -ENOENT, "the copy set is gone already: nothing is left to do");
	err = set_state_next(s->state, op->event, &next);
	if (err)
		return fault_set(&op->c.fault, err, "copy set %s is %s; %s", set_label(s, label),
			up_set_state_name(s->state),
			op->event == SET_DELETE ? "abort it instead" : "delete it instead");
	for (unsigned i = 0; !err && i < s->member_count && op->event == SET_DELETE; i++)
		err = lun_delete_check(s->sides[i].shadow, &op->c.fault);
	return err;
}

static int bins_make(struct removal *op)
{
	struct set *s = op->s;

	if (op->event != SET_DELETE || !lun_recycle_wanted(s->sides[0].shadow))
		return 0;
	op->bins = calloc(s->member_count, sizeof(struct lun_recycled *));
	for (; op->bins && op->bin_count < s->member_count; op->bin_count++) {
		op->bins[op->bin_count] = set_recycled_new(s->sides[op->bin_count].shadow);
		if (!op->bins[op->bin_count])
			return -ENOMEM;
	}
	return op->bins ? 0 : -ENOMEM;
}

static int removal_check(struct change *c)
{
	struct removal *op = removal_of(c);
	struct set *s = op->s;
	int err;

	if (op->event == SET_ABORT && s->state == UP_SET_ABORTED && !s->undo_due)
		return 1;
	err = delete_check(op);
	if (!err)
		err = bins_make(op);
	if (err)
		return err;
	shadows_mark(op, true);
	return 0;
}

static bool removal_drain(struct change *c, unsigned index)
{
	struct set *s = removal_of(c)->s;

	return lun_change_drain(c, index < s->member_count ? s->sides[index].shadow : NULL);
}

static int removal_build(struct change *c, struct store_txn *t)
{
	struct removal *op = removal_of(c);
	struct set *s = op->s;
	int err = set_record_del(c->array, t, s->id);

	for (unsigned i = 0; !err && i < s->member_count; i++)
		err = lun_put_end(s->sides[i].shadow, op->bins ? op->bins[i] : NULL, t);
	return err;
}

/* Takes the shadow LUNs out of the model, or frees those that never were in it. */
static void shadows_drop(struct set *s)
{
	for (unsigned i = 0; i < s->member_count; i++) {
		struct lun_box *b = lun_box_of(s->sides[i].shadow);

		s->sides[i].shadow = NULL;
		if (s->shadows_linked) {
			lun_unlink(b);
		} else {
			b->lun.gone = true;
			lun_release(&b->lun); /* a change that drains it may still hold it */
		}
	}
}

static void removal_failed(struct removal *op, int err)
{
	struct set *s = op->s;

	if (op->marked)
		shadows_mark(op, false);
	if (op->event == SET_DELETE || s->forgotten)
		return;
	set_tell(&s->undo_waiters, err, &op->c.fault);
	if (s->state == UP_SET_COMMITTED || s->undo_due) {
		array_event_tell(s->array, ARRAY_EVENT_ERROR, "set",
			"an aborted copy set could not be removed yet: %s", op->c.fault.text);
		reactor_timer_arm(s->array->options.reactor, &s->lease_timer, SET_RETRY_MS);
	}
}

static void removal_end(struct change *c, int err)
{
	struct removal *op = removal_of(c);
	struct set *s = op->s;
	char label[ARRAY_NAME_MAX_BYTES + 1];

	if (err) {
		removal_failed(op, err);
		return;
	}
	if (!op->marked)
		return;
	shadows_drop(s);
	for (unsigned i = 0; i < op->bin_count; i++)
		lun_recycled_take(c->array, op->bins[i]);
	op->bin_count = 0;
	if (op->event == SET_DELETE) {
		array_event_tell(
			c->array, ARRAY_EVENT_INFO, "set", "copy set %s deleted", set_label(s, label));
		set_forget(s);
		return;
	}
	array_event_tell(c->array, ARRAY_EVENT_INFO, "set", "copy set %s undone", set_label(s, label));
	s->undo_due = false;
	if (s->state == UP_SET_ABORTED)
		set_let_go(s);
	set_enter(s, UP_SET_ABORTED);
	set_tell(&s->undo_waiters, 0, NULL);
}

static void removal_clear(struct change *c)
{
	struct removal *op = removal_of(c);

	for (unsigned i = 0; i < op->bin_count; i++)
		lun_recycled_free(op->bins[i]);
	free(op->bins);
	if (c->array)
		set_release(removal_of(c)->s);
}

static void removal_start(struct set *s, enum set_event event, struct array_call *call)
{
	static const struct change_ops ops = {.check = removal_check,
		.drain = removal_drain,
		.build = removal_build,
		.end = removal_end,
		.clear = removal_clear};
	struct removal *op = change_new(s->array, sizeof(*op), &ops, call);

	if (!op) {
		if (event == SET_ABORT)
			reactor_timer_arm(s->array->options.reactor, &s->lease_timer, SET_RETRY_MS);
		return;
	}
	op->s = s;
	op->event = event;
	set_hold(s);
	change_submit(&op->c);
}

void set_undo_start(struct set *s, struct array_call *call)
{
	removal_start(s, SET_ABORT, call);
}

void set_undo_wait(struct set *s, struct array_call *call)
{
	if (!set_wait(&s->undo_waiters, call))
		return;
	/* Durable already and refused by the store before: try now, not at the next retry. */
	if (!s->commit)
		set_undo_start(s, NULL);
}

void set_undo_settled(struct set *s, bool durable)
{
	if (durable) {
		set_undo_start(s, NULL);
		return;
	}
	s->undo_due = false;
	set_let_go(s);
	set_lease_follow(s);
	set_tell(&s->undo_waiters, 0, NULL);
}

void set_delete(struct array *a, const uint8_t set_id[UP_ID_BYTES], struct array_call *call)
{
	struct set *s = set_find(a, set_id, NULL);

	if (!s)
		array_call_refuse(
			call, -ENOENT, "there is no such copy set: umbractl set list shows those there are");
	else
		removal_start(s, SET_DELETE, call);
}
