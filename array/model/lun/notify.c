/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a shadow LUN remembers of its hosts: the notifications that they sent it, and whether one of them has
 * written to it.
 */
#include <errno.h>
#include <string.h>
#include "array/model/lun/internal.h"

struct notify {
	struct change c;
	struct lun *lun; /* held */
	uint32_t flags;
};

static struct lun *lun_of(struct change *c)
{
	return container_of(c, struct notify, c)->lun;
}

static void notify_clear(struct change *c)
{
	if (c->array)
		lun_release(lun_of(c));
}

static struct notify *notify_new(struct lun *lun, const struct change_ops *ops, struct array_call *call)
{
	struct notify *op = change_new(lun->array, sizeof(*op), ops, call);

	if (!op)
		return NULL;
	op->lun = lun;
	lun_hold(lun);
	return op;
}

static int notify_check(struct change *c)
{
	struct lun *lun = lun_of(c);
	uint32_t flags = container_of(c, struct notify, c)->flags;

	if (lun->gone)
		return fault_set(
			&c->fault, -ENODEV, "LUN %s is being deleted: nothing is left to do", lun->name);
	if (lun->kind != LUN_SHADOW)
		return fault_set(&c->fault, -EINVAL,
			"LUN %s is an ordinary LUN; notifications are for shadow LUNs: notify before the break",
			lun->name);
	if (flags & ~UP_NOTIFY_ALL)
		return fault_set(&c->fault, -EINVAL,
			"unknown notification flags %#x: use 100h, 200h and 400h", flags & ~UP_NOTIFY_ALL);
	return (lun->notified | flags) == lun->notified;
}

static int notify_build(struct change *c, struct store_txn *t)
{
	struct lun_record r;

	lun_record_of(lun_of(c), &r);
	r.notified |= container_of(c, struct notify, c)->flags;
	return lun_record_put(c->array, t, &r);
}

static void notify_end(struct change *c, int err)
{
	struct lun *lun = lun_of(c);
	uint32_t flags = container_of(c, struct notify, c)->flags;

	if (err || (lun->notified | flags) == lun->notified)
		return;
	lun->notified |= flags;
	array_event_tell(c->array, ARRAY_EVENT_INFO, "lun", "a host told of shadow LUN %s:%s%s%s", lun->name,
		flags & UP_NOTIFY_READ_WRITE ? " made read-write" : "",
		flags & UP_NOTIFY_PRE_RECOVERY ? " about to be recovered by its writers" : "",
		flags & UP_NOTIFY_POST_RECOVERY ? " recovered by its writers" : "");
}

void lun_notify(struct lun *lun, uint32_t flags, struct array_call *call)
{
	static const struct change_ops ops = {
		.check = notify_check, .build = notify_build, .end = notify_end, .clear = notify_clear};
	struct notify *op = notify_new(lun, &ops, call);

	if (!op)
		return;
	op->flags = flags;
	change_submit(&op->c);
}

/* ---- the mark of a write ---- */

static int note_check(struct change *c)
{
	const struct lun *lun = lun_of(c);

	if (lun->gone)
		return -ENODEV;
	/* It may have been broken, or noted, meanwhile. */
	return lun->kind != LUN_SHADOW || (lun->notified & UP_NOTED_WRITTEN);
}

static void note_end(struct change *c, int err)
{
	struct lun *lun = lun_of(c);

	lun_box_of(lun)->noting = false;
	if (!err && lun->kind == LUN_SHADOW)
		lun->notified |= UP_NOTED_WRITTEN;
}

/* The write does not wait for the note: a change that drains the LUN would wait for the write, and the note
 * for that change. The note is begun before the write is. If it fails, the next write tries again. */
void lun_note_write(struct lun *lun)
{
	static const struct change_ops ops = {
		.check = note_check, .build = notify_build, .end = note_end, .clear = notify_clear};
	struct notify *op;

	if (lun_box_of(lun)->noting)
		return;
	op = notify_new(lun, &ops, NULL);
	if (!op)
		return;
	lun_box_of(lun)->noting = true;
	op->flags = UP_NOTED_WRITTEN;
	change_submit(&op->c);
}
