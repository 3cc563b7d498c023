/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recycle bin. When recycle_s is set, a deleted shadow LUN of a kept set stays in the store, and in the
 * catalogue under its own id, until its time is over or the administrator purges it. It is no longer a LUN,
 * only a record, a disk and a reserved id.
 *
 * Invariants:
 * - Deletion, return and purge are changes. So what was a LUN is, durably, a LUN still, or in the bin, or
 *   gone.
 * - The record keeps what is needed to bring back its copy set, too, if the set has ended meanwhile.
 * - Its time is umbrad's running time: whatever the wall clock says at a start, nothing is purged for it.
 * - Nothing is purged before its time, not even when the store is full. An event says how much lies in the
 *   bin.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/lun/internal.h"
#include "proto/identity.h"

#define PURGE_RETRY_MS 60000u
#define RAN_NOTE_MS    60000u /* so much of the time in the bin may be lost with a crash */

/* ---- into the bin ---- */

bool lun_recycle_wanted(const struct lun *lun)
{
	return lun->kind == LUN_SHADOW && lun->array->options.recycle_s > 0 && !lun_unkept(lun);
}

struct lun_recycled *lun_recycled_new(const struct lun *lun, const struct lun_record_set *set)
{
	struct lun_recycled *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	lun_record_of(lun, &r->record);
	r->record.role = LUN_ROLE_RECYCLED;
	r->record.deleted_unix_ms = array_clock_unix_ms();
	r->record.purge_unix_ms = r->record.deleted_unix_ms + UINT64_C(1000) * lun->array->options.recycle_s;
	r->record.purge_ran_ms = array_ran_ms(lun->array) + UINT64_C(1000) * lun->array->options.recycle_s;
	r->disk = lun->disk;
	r->record.set = *set;
	return r;
}

void lun_recycled_free(struct lun_recycled *r)
{
	free(r);
}

int lun_recycled_put(struct array *a, struct store_txn *t, const struct lun_recycled *r)
{
	int err = lun_reservations_record_put(a, t, r->record.id, NULL, 0);

	err = err ? err : array_ran_put(a, t);
	return err ? err : lun_record_put(a, t, &r->record);
}

/* ---- the running time, noted while something counts by it ---- */

static int ran_check(struct change *c)
{
	(void)c;
	return 0;
}

static int ran_build(struct change *c, struct store_txn *t)
{
	int err = array_ran_put(c->array, t);

	list_for_each (n, &c->array->luns->recycled) {
		struct lun_recycled *r = container_of(n, struct lun_recycled, link);

		if (!err && r->timeless)
			err = lun_record_put(c->array, t, &r->record);
	}
	return err;
}

static void ran_end(struct change *c, int err)
{
	list_for_each (n, &c->array->luns->recycled)
		if (!err)
			container_of(n, struct lun_recycled, link)->timeless = false;
}

static void clock_arm(struct array *a)
{
	if (a->luns->recycled_count > 0 && a->luns->ran_timer.heap_index == 0)
		reactor_timer_arm(a->options.reactor, &a->luns->ran_timer, RAN_NOTE_MS);
}

void lun_recycle_ran_fire(struct reactor_timer *t)
{
	static const struct change_ops ops = {.check = ran_check, .build = ran_build, .end = ran_end};
	struct array *a = container_of(t, struct luns, ran_timer)->array;
	struct change *c = a->luns->recycled_count > 0 ? change_new(a, sizeof(*c), &ops, NULL) : NULL;

	clock_arm(a);
	if (c)
		change_submit(c);
}

static void timer_arm(struct array *a)
{
	uint64_t now = reactor_now_ns(a->options.reactor), first = UINT64_MAX;

	list_for_each (n, &a->luns->recycled) {
		const struct lun_recycled *r = container_of(n, struct lun_recycled, link);

		if (!r->purging && r->due_ns < first)
			first = r->due_ns;
	}
	clock_arm(a);
	reactor_timer_disarm(a->options.reactor, &a->luns->recycle_timer);
	if (first != UINT64_MAX)
		reactor_timer_arm(a->options.reactor, &a->luns->recycle_timer,
			first > now ? (first - now) / 1000000 + 1 : 0);
}

static void recycled_link(struct array *a, struct lun_recycled *r, uint64_t left_ms)
{
	struct list_node *at = a->luns->recycled.head.prev;

	while (at != &a->luns->recycled.head &&
		container_of(at, struct lun_recycled, link)->record.deleted_unix_ms >
			r->record.deleted_unix_ms)
		at = at->prev;
	list_insert_after(at, &r->link);
	array_ident_add(a, &r->ident, r->record.id);
	array_index_add(&a->luns->recycled_by_id, &r->by_id, array_hash_id(r->record.id));
	a->luns->recycled_count++;
	r->due_ns = reactor_now_ns(a->options.reactor) + UINT64_C(1000000) * left_ms;
	timer_arm(a);
	lun_label_due_recycled(a, r);
}

void lun_recycled_take(struct array *a, struct lun_recycled *r)
{
	recycled_link(a, r, r->record.purge_unix_ms - r->record.deleted_unix_ms);
	array_event_tell(a, ARRAY_EVENT_INFO, "lun", "shadow LUN %s lies in the recycle bin for %u s",
		r->record.name, a->options.recycle_s);
}

int lun_recycled_load(struct array *a, const struct lun_record *record, struct store_disk *disk)
{
	/* One of an earlier program has the wall clock's times only: its time begins anew. */
	uint64_t now = array_ran_ms(a), whole_ms = record->purge_unix_ms - record->deleted_unix_ms;
	uint64_t due = record->purge_ran_ms ? record->purge_ran_ms : now + whole_ms;
	uint64_t left_ms = due > now ? due - now : 0;
	struct lun_recycled *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->record = *record;
	r->record.purge_ran_ms = due;
	r->disk = disk;
	r->timeless = !record->purge_ran_ms;
	recycled_link(a, r, left_ms < whole_ms ? left_ms : whole_ms);
	return 0;
}

void lun_recycled_unlink(struct array *a, struct lun_recycled *r)
{
	list_remove(&r->link);
	list_remove(&r->label_link);
	array_ident_remove(a, &r->ident);
	array_index_remove(&a->luns->recycled_by_id, &r->by_id);
	a->luns->recycled_count--;
	timer_arm(a);
}

void lun_recycle_close(struct array *a)
{
	struct list_node *n;

	reactor_timer_disarm(a->options.reactor, &a->luns->recycle_timer);
	reactor_timer_disarm(a->options.reactor, &a->luns->ran_timer);
	while ((n = list_pop(&a->luns->recycled)))
		free(container_of(n, struct lun_recycled, link));
}

/* ---- looking ---- */

struct lun_recycled *lun_recycled_find(struct array *a, const uint8_t id[UP_ID_BYTES])
{
	struct array_index_node *n = array_index_first(&a->luns->recycled_by_id, array_hash_id(id));

	for (; n; n = array_index_again(n)) {
		struct lun_recycled *r = container_of(n, struct lun_recycled, by_id);

		if (memcmp(r->record.id, id, UP_ID_BYTES) == 0)
			return r;
	}
	return NULL;
}

/* As far as the wall clock can tell now; rounded up, as nothing goes before its time. */
static uint64_t due_unix_ms(const struct lun_recycled *r)
{
	uint64_t now = reactor_now_ns(r->disk->store->reactor);
	uint64_t left_ms = r->due_ns > now ? (r->due_ns - now + 999999) / 1000000 : 0;
	uint64_t due = array_clock_unix_ms() + left_ms;

	return due > r->record.deleted_unix_ms ? due : r->record.deleted_unix_ms;
}

static uint64_t recycled_used(const struct lun_recycled *r)
{
	return r->disk->store->ops->disk_used(r->disk);
}

bool lun_recycled_next(struct array *a, const uint8_t after[UP_ID_BYTES], struct lun_recycled_view *out)
{
	const struct lun_recycled *r = after ? lun_recycled_find(a, after) : NULL;
	const struct list_node *n = !after ? a->luns->recycled.head.next
				    : r    ? r->link.next
					   : &a->luns->recycled.head;

	if (n == &a->luns->recycled.head)
		return false;
	r = container_of(n, struct lun_recycled, link);
	memset(out, 0, sizeof(*out));
	memcpy(out->id, r->record.id, UP_ID_BYTES);
	memcpy(out->origin_id, r->record.origin_id, UP_ID_BYTES);
	memcpy(out->set_id, r->record.set_id, UP_ID_BYTES);
	memcpy(out->name, r->record.name, sizeof(out->name));
	out->size_bytes = r->record.size_bytes;
	out->used_bytes = recycled_used(r);
	out->deleted_unix_ms = r->record.deleted_unix_ms;
	out->purge_unix_ms = due_unix_ms(r);
	return true;
}

uint64_t lun_recycled_bytes(const struct array *a)
{
	uint64_t bytes = 0;

	list_for_each (n, &a->luns->recycled)
		bytes += recycled_used(container_of(n, struct lun_recycled, link));
	return bytes;
}

/* ---- purge ---- */

struct purge {
	struct change c;
	uint8_t id[UP_ID_BYTES];
};

static int purge_check(struct change *c)
{
	if (!lun_recycled_find(c->array, container_of(c, struct purge, c)->id))
		return fault_set(&c->fault, -ENOENT,
			"there is no such LUN in the recycle bin any more: umbractl shadow recycled shows what is there");
	return 0;
}

static int purge_build(struct change *c, struct store_txn *t)
{
	const struct lun_recycled *r = lun_recycled_find(c->array, container_of(c, struct purge, c)->id);
	int err = lun_record_del(c->array, t, r->record.id);

	return err ? err : c->array->options.store->ops->txn_disk_delete(t, r->disk);
}

static void purge_end(struct change *c, int err)
{
	struct array *a = c->array;
	struct lun_recycled *r = lun_recycled_find(a, container_of(c, struct purge, c)->id);

	if (!r)
		return;
	if (err) {
		if (r->purging)
			r->due_ns = reactor_now_ns(a->options.reactor) + UINT64_C(1000000) * PURGE_RETRY_MS;
		r->purging = false;
		timer_arm(a);
		return;
	}
	array_event_tell(a, ARRAY_EVENT_INFO, "lun", "shadow LUN %s has left the recycle bin for good",
		r->record.name);
	lun_recycled_unlink(a, r);
	lun_recycled_free(r);
}

static bool purge_start(struct array *a, const uint8_t id[UP_ID_BYTES], struct array_call *call)
{
	static const struct change_ops ops = {.check = purge_check, .build = purge_build, .end = purge_end};
	struct purge *op = change_new(a, sizeof(*op), &ops, call);

	if (!op)
		return false;
	memcpy(op->id, id, UP_ID_BYTES);
	change_submit(&op->c);
	return true;
}

void lun_purge(struct array *a, const uint8_t id[UP_ID_BYTES], struct array_call *call)
{
	purge_start(a, id, call);
}

/* Purges one. The end of the purge arms the timer again for the next. */
void lun_recycle_fire(struct reactor_timer *t)
{
	struct array *a = container_of(t, struct luns, recycle_timer)->array;
	uint64_t now = reactor_now_ns(a->options.reactor);

	list_for_each (n, &a->luns->recycled) {
		struct lun_recycled *r = container_of(n, struct lun_recycled, link);

		if (r->purging || r->due_ns > now)
			continue;
		r->purging = true;
		if (!purge_start(a, r->record.id, NULL)) {
			r->purging = false;
			reactor_timer_arm(a->options.reactor, t, PURGE_RETRY_MS);
		}
		return;
	}
	timer_arm(a);
}
