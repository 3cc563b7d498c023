/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Back from the recycle bin: the LUN becomes a member of its set again. If the set has ended meanwhile, it
 * returns, too, from what the record in the bin says of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/set/internal.h"

struct undelete {
	struct change c;
	uint8_t id[UP_ID_BYTES];
	struct lun_record record;   /* of the LUN that it becomes */
	struct lun_box *box;        /* until it is in the model */
	struct set *s;              /* held, or `fresh` */
	bool fresh;                 /* the set had ended; it is not in the model yet */
	struct set_member *members; /* room for one more */
	struct set_side *sides;
};

static struct undelete *undelete_of(struct change *c)
{
	return container_of(c, struct undelete, c);
}

/* The set as it was, without members. A name that another one has by now is lost. */
static int set_again(struct undelete *op, struct array *a)
{
	const struct lun_record *r = &op->record;

	if (a->sets->count >= a->options.sets_max)
		return fault_set(&op->c.fault, -EMLINK, "the array has its %u copy sets; delete one first",
			a->options.sets_max);
	op->s = set_new(a, r->set_id, r->set.owner, 1);
	if (!op->s)
		return -ENOMEM;
	op->fresh = true;
	if (!set_find_name(a, r->set.name))
		memcpy(op->s->name, r->set.name, sizeof(op->s->name));
	op->s->state = UP_SET_KEPT;
	op->s->cut_unix_ms = r->set.cut_unix_ms;
	op->s->window_ns = r->set.window_ns;
	op->s->durable_ns = r->set.durable_ns;
	op->s->notes = r->set.notes;
	return 0;
}

static int set_of(struct undelete *op, struct array *a)
{
	struct set *s = set_find(a, op->record.set_id, NULL);

	if (!s)
		return set_again(op, a);
	if (s->state != UP_SET_KEPT || s->cut_unix_ms != op->record.set.cut_unix_ms)
		return fault_set(&op->c.fault, -EBUSY,
			"another copy set has the id of that of LUN %s by now; delete that one first",
			op->record.name);
	op->s = s;
	set_hold(s);
	return 0;
}

static int members_make(struct undelete *op)
{
	unsigned count = op->s->member_count;

	op->members = calloc(count + 1, sizeof(*op->members));
	op->sides = calloc(count + 1, sizeof(*op->sides));
	if (!op->members || !op->sides)
		return -ENOMEM;
	memcpy(op->members, op->s->members, count * sizeof(*op->members));
	memcpy(op->sides, op->s->sides, count * sizeof(*op->sides));
	memcpy(op->members[count].original_id, op->record.origin_id, UP_ID_BYTES);
	memcpy(op->members[count].shadow_id, op->record.id, UP_ID_BYTES);
	op->members[count].kind =
		op->record.hydration == LUN_HYDRATION_NONE ? UP_COPY_DIFFERENTIAL : UP_COPY_PLEX;
	op->members[count].size_bytes = op->record.size_bytes;
	op->sides[count].shadow = &op->box->lun;
	return 0;
}

static int undelete_check(struct change *c)
{
	struct undelete *op = undelete_of(c);
	struct lun_recycled *r = lun_recycled_find(c->array, op->id);
	int err;

	if (!r)
		return fault_set(&c->fault, -ENOENT,
			"there is no such LUN in the recycle bin any more: umbractl shadow recycled shows what is there");
	if (lun_find_name(c->array, r->record.name))
		return fault_set(&c->fault, -EEXIST, "there is another LUN %s by now; rename that one first",
			r->record.name);
	op->record = r->record;
	op->record.role = LUN_ROLE_LIVE;
	op->box = lun_new(c->array, &op->record, r->disk);
	if (!op->box)
		return -ENOMEM;
	err = set_of(op, c->array);
	return err ? err : members_make(op);
}

static int undelete_build(struct change *c, struct store_txn *t)
{
	struct undelete *op = undelete_of(c);
	struct set_record set;
	int err = lun_record_put(c->array, t, &op->record);

	set_record_of(op->s, &set);
	set.members = op->members;
	set.member_count++;
	return err ? err : set_record_put(c->array, t, &set);
}

static void undelete_end(struct change *c, int err)
{
	struct undelete *op = undelete_of(c);
	struct lun_recycled *r = err ? NULL : lun_recycled_find(c->array, op->id);
	struct set *s = op->s;

	if (err)
		return;
	lun_recycled_unlink(c->array, r);
	lun_recycled_free(r);
	lun_link(op->box);
	free(s->members);
	free(s->sides);
	s->members = op->members;
	s->sides = op->sides;
	s->member_count++;
	op->members = NULL;
	op->sides = NULL;
	if (op->fresh) {
		set_link(s);
		op->s = NULL;
	}
	if (c->call)
		c->call->lun = &op->box->lun;
	array_event_tell(c->array, ARRAY_EVENT_INFO, "lun", "shadow LUN %s is back from the recycle bin",
		op->record.name);
	lun_hydration_kick(&op->box->lun);
	op->box = NULL;
}

static void undelete_clear(struct change *c)
{
	struct undelete *op = undelete_of(c);

	free(op->members);
	free(op->sides);
	if (op->box)
		lun_free(op->box);
	if (op->s && op->fresh)
		set_discard(op->s);
	else if (op->s && c->array)
		set_release(op->s);
}

void lun_undelete(struct array *a, const uint8_t id[UP_ID_BYTES], struct array_call *call)
{
	static const struct change_ops ops = {.check = undelete_check,
		.build = undelete_build,
		.end = undelete_end,
		.clear = undelete_clear};
	struct undelete *op = change_new(a, sizeof(*op), &ops, call);

	if (!op)
		return;
	memcpy(op->id, id, UP_ID_BYTES);
	change_submit(&op->c);
}
