/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a single LUN: its deletion, or the break, which makes an ordinary LUN of a shadow LUN. Either
 * way a shadow LUN leaves its set in the same transaction. A set ends with its last shadow LUN.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/set/internal.h"

struct end_change {
	struct change c;
	struct lun *lun;          /* held */
	bool marked;              /* lun->gone is this change's */
	struct lun_recycled *bin; /* what it becomes, NULL: nothing */
	/* of a break that mends */
	struct lun_marks *marks;
	bool gated, deep; /* deep: it is to hydrate */
	int mend_err;
};

static void end_clear(struct change *c)
{
	struct end_change *op = container_of(c, struct end_change, c);

	lun_recycled_free(op->bin);
	lun_marks_free(op->marks);
	if (c->array)
		lun_release(op->lun);
}

/* Its set's record without it, or no record when it is the last one. */
static int put_without(struct array *a, struct store_txn *t, const struct lun *lun)
{
	struct set *s = set_find(a, lun->set_id, NULL);
	struct set_record r;
	int err;

	if (!s)
		return 0;
	if (s->member_count == 1)
		return set_record_del(a, t, s->id);
	set_record_of(s, &r);
	r.member_count = 0;
	r.members = calloc(s->member_count, sizeof(*r.members));
	if (!r.members)
		return -ENOMEM;
	for (unsigned i = 0; i < s->member_count; i++)
		if (s->sides[i].shadow != lun)
			r.members[r.member_count++] = s->members[i];
	err = set_record_put(a, t, &r);
	free(r.members);
	return err;
}

/* Its set without it, which is gone with the last one. */
static void forget_shadow(struct array *a, const struct lun *lun)
{
	struct set *s = set_find(a, lun->set_id, NULL);
	char label[ARRAY_NAME_MAX_BYTES + 1];
	unsigned i = 0;

	if (!s)
		return;
	while (i < s->member_count && s->sides[i].shadow != lun)
		i++;
	assert(i < s->member_count && !s->sides[i].reserved && !s->sides[i].original);
	memmove(&s->members[i], &s->members[i + 1], (s->member_count - i - 1) * sizeof(*s->members));
	memmove(&s->sides[i], &s->sides[i + 1], (s->member_count - i - 1) * sizeof(*s->sides));
	if (--s->member_count > 0)
		return;
	array_event_tell(a, ARRAY_EVENT_INFO, "set", "copy set %s ended with its last shadow LUN",
		set_label(s, label));
	set_forget(s);
}

struct lun_recycled *set_recycled_new(const struct lun *lun)
{
	struct set *s = set_find(lun->array, lun->set_id, NULL);
	struct lun_record_set set = {0};

	if (s) {
		memcpy(set.name, s->name, sizeof(set.name));
		memcpy(set.owner, s->owner, sizeof(set.owner));
		set.cut_unix_ms = s->cut_unix_ms;
		set.window_ns = s->window_ns;
		set.durable_ns = s->durable_ns;
		set.notes = s->notes;
	}
	return lun_recycled_new(lun, &set);
}

/* ---- delete ----------------------------------------------------------------------------------------- */

static int delete_check(struct change *c)
{
	struct end_change *op = container_of(c, struct end_change, c);
	int err = lun_delete_check(op->lun, &c->fault);

	if (!err && lun_recycle_wanted(op->lun)) {
		op->bin = set_recycled_new(op->lun);
		err = op->bin ? 0 : -ENOMEM;
	}
	if (!err)
		op->lun->gone = op->marked = true;
	return err;
}

static bool delete_drain(struct change *c, unsigned index)
{
	return lun_change_drain(c, index == 0 ? container_of(c, struct end_change, c)->lun : NULL);
}

static int delete_build(struct change *c, struct store_txn *t)
{
	struct end_change *op = container_of(c, struct end_change, c);
	struct lun *lun = op->lun;
	int err = lun_put_end(lun, op->bin, t);

	if (!err && lun->kind == LUN_SHADOW)
		err = put_without(c->array, t, lun);
	return err;
}

static void delete_end(struct change *c, int err)
{
	struct end_change *op = container_of(c, struct end_change, c);
	struct lun *lun = op->lun;

	if (err) {
		if (op->marked)
			lun->gone = false;
		lun_hydration_kick(lun);
		return;
	}
	if (lun->kind == LUN_SHADOW)
		forget_shadow(c->array, lun);
	array_event_tell(c->array, ARRAY_EVENT_INFO, "lun", "LUN %s deleted", lun->name);
	lun_unlink(lun_box_of(lun));
	if (op->bin)
		lun_recycled_take(c->array, op->bin);
	op->bin = NULL;
}

void lun_delete(struct lun *lun, struct array_call *call)
{
	static const struct change_ops ops = {.check = delete_check,
		.drain = delete_drain,
		.build = delete_build,
		.end = delete_end,
		.clear = end_clear};
	struct end_change *op = change_new(lun->array, sizeof(*op), &ops, call);

	if (!op)
		return;
	op->lun = lun;
	lun_hold(lun);
	change_submit(&op->c);
}

/* ---- break ------------------------------------------------------------------------------------------ */

static int break_check(struct change *c)
{
	struct lun *lun = container_of(c, struct end_change, c)->lun;

	if (lun->gone)
		return fault_set(
			&c->fault, -ENODEV, "LUN %s is being deleted: nothing is left to do", lun->name);
	if (lun->kind == LUN_ORDINARY)
		return 1;
	if (lun->locked)
		return lun_locked_fault(lun, &c->fault);
	if (lun_unkept(lun))
		return fault_set(&c->fault, -EBUSY,
			"LUN %s belongs to a copy set that is not kept yet; keep the set first", lun->name);
	return lun_feeding_check(lun, &c->fault);
}

/* The marks go first: if the power fails before the break is durable, it is a shadow LUN without marks. */
static void break_mended(struct lun_marks *m, int err)
{
	struct end_change *op = m->arg;

	op->mend_err = err;
	change_drained(&op->c);
}

static void break_read(struct lun_marks *m, int err)
{
	if (err) {
		break_mended(m, err);
		return;
	}
	lun_marks_edit(m, NULL);
	lun_marks_write(m, break_mended);
}

/* First what hosts have under way; then nobody writes to the disk. */
static bool break_drain(struct change *c, unsigned index)
{
	struct end_change *op = container_of(c, struct end_change, c);

	if (!op->marks || index > 1)
		return false;
	if (index == 1) {
		lun_marks_read(op->marks, op->lun->disk, break_read);
		return true;
	}
	op->gated = true;
	lun_gate_close(op->lun);
	return lun_change_drain_io(c, op->lun);
}

static int break_build(struct change *c, struct store_txn *t)
{
	struct end_change *op = container_of(c, struct end_change, c);
	struct lun *lun = op->lun;
	struct lun_record r;
	int err = op->mend_err;

	if (err)
		return array_store_fault(&c->fault, err,
			"the marks of VSS in the copy's partition table could not be taken off");
	err = put_without(c->array, t, lun);
	lun_record_of(lun, &r);
	r.kind = LUN_ORDINARY;
	memset(r.origin_id, 0, sizeof(r.origin_id));
	memset(r.set_id, 0, sizeof(r.set_id));
	r.notified = 0;
	if (r.hydration == LUN_HYDRATION_FULL)
		r.hydration = LUN_HYDRATION_NONE;
	else if (r.hydration == LUN_HYDRATION_NONE && lun_hydration_deep(lun->disk))
		r.hydration = LUN_HYDRATION_RUNS;
	op->deep = r.hydration == LUN_HYDRATION_RUNS;
	return err ? err : lun_record_put(c->array, t, &r);
}

static void break_end(struct change *c, int err)
{
	struct end_change *op = container_of(c, struct end_change, c);
	struct lun *lun = op->lun;

	if (err && lun_marks_leave(op->marks, lun))
		op->marks = NULL;
	else if (op->gated)
		lun_gate_open(lun);
	if (err)
		return;
	if (c->call)
		c->call->lun = lun;
	if (c->call && op->marks)
		memcpy(c->call->note, op->marks->note, sizeof(c->call->note));
	if (lun->kind == LUN_ORDINARY)
		return;
	array_event_tell(c->array, ARRAY_EVENT_INFO, "lun", "shadow LUN %s is an ordinary LUN now%s%s",
		lun->name, op->marks && op->marks->note[0] ? "; " : "", op->marks ? op->marks->note : "");
	forget_shadow(c->array, lun);
	lun->kind = LUN_ORDINARY;
	memset(lun->origin_id, 0, sizeof(lun->origin_id));
	memset(lun->set_id, 0, sizeof(lun->set_id));
	lun->copy_kind = UP_COPY_DEFAULT;
	lun->notified = 0;
	if (lun->hydration == LUN_HYDRATION_FULL)
		lun->hydration = LUN_HYDRATION_NONE;
	else if (lun->hydration == LUN_HYDRATION_NONE && op->deep)
		lun_hydration_want(lun);
	lun_label_due(lun);
}

void lun_break(struct lun *lun, unsigned flags, struct array_call *call)
{
	static const struct change_ops ops = {.check = break_check,
		.drain = break_drain,
		.build = break_build,
		.end = break_end,
		.clear = end_clear};
	struct end_change *op = change_new(lun->array, sizeof(*op), &ops, call);

	if (!op)
		return;
	op->lun = lun;
	lun_hold(lun);
	if (flags & LUN_MEND_MARKS && lun->kind == LUN_SHADOW) {
		op->marks = lun_marks_new(lun->array, op);
		op->mend_err = op->marks ? 0 : -ENOMEM;
	}
	change_submit(&op->c);
}
