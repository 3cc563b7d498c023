/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LUNs: creation, growth, names. A LUN's struct lives until the model and every lun_hold() have let go of it.
 * Its disk lives until its deletion is durable, and the deletion waits for the LUN's I/O.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/lun/internal.h"
#include "proto/identity.h"

int lun_setup(struct luns *luns, struct array *a)
{
	int err;

	a->luns = luns;
	luns->array = a;
	luns->serial = 1;
	list_init(&luns->all);
	list_init(&luns->images);
	list_init(&luns->images_dying);
	list_init(&luns->resyncs);
	list_init(&luns->marks_left);
	list_init(&luns->hydrations);
	list_init(&luns->hydrating);
	list_init(&luns->recycled);
	list_init(&luns->labels);
	list_init(&luns->labels_recycled);
	list_init(&luns->labels_images);
	luns->label_timer.fire = lun_label_fire;
	luns->hydration_timer.fire = lun_hydration_fire;
	luns->recycle_timer.fire = lun_recycle_fire;
	luns->ran_timer.fire = lun_recycle_ran_fire;
	err = array_index_init(&luns->by_id, a->options.luns_max);
	err = err ? err : array_index_init(&luns->by_name, a->options.luns_max);
	return err ? err : array_index_init(&luns->recycled_by_id, a->options.luns_max);
}

void lun_close_all(struct array *a)
{
	struct list_node *n;

	reactor_timer_disarm(a->options.reactor, &a->luns->hydration_timer);
	lun_label_close(a);
	while ((n = list_pop(&a->luns->all)))
		lun_free(container_of(n, struct lun_box, link));
}

void lun_teardown(struct array *a)
{
	array_index_free(&a->luns->by_id);
	array_index_free(&a->luns->by_name);
	array_index_free(&a->luns->recycled_by_id);
}

void lun_free(struct lun_box *b)
{
	if (b->lun.scsi && b->lun.scsi_free)
		b->lun.scsi_free(b->lun.scsi);
	lun_hydration_free(b);
	free(b->lun.reservations);
	free(b);
}

static void lun_bury(struct array_grave *g)
{
	lun_free(container_of(g, struct lun_box, grave));
}

void lun_hold(struct lun *lun)
{
	assert(lun_box_of(lun)->holds > 0);
	lun_box_of(lun)->holds++;
}

void lun_release(struct lun *lun)
{
	struct lun_box *b = lun_box_of(lun);

	assert(b->holds > 0);
	if (--b->holds == 0)
		array_grave_add(lun->array, &b->grave);
}

struct lun_box *lun_new(struct array *a, const struct lun_record *r, struct store_disk *disk)
{
	struct lun_box *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->lun.array = a;
	memcpy(b->lun.id, r->id, UP_ID_BYTES);
	memcpy(b->lun.origin_id, r->origin_id, UP_ID_BYTES);
	memcpy(b->lun.set_id, r->set_id, UP_ID_BYTES);
	memcpy(b->lun.name, r->name, sizeof(b->lun.name));
	b->lun.kind = r->kind;
	b->lun.size_bytes = r->size_bytes;
	b->lun.created_unix_ms = r->created_unix_ms;
	b->lun.notified = r->notified;
	b->lun.hydration = r->hydration;
	if (r->kind == LUN_SHADOW)
		b->lun.copy_kind = r->hydration == LUN_HYDRATION_NONE ? UP_COPY_DIFFERENTIAL : UP_COPY_PLEX;
	b->lun.disk = disk;
	b->holds = 1;
	b->serial = r->serial;
	b->grave.bury = lun_bury;
	list_init(&b->mappings);
	lun_gate_init(b);
	if (r->hydration == LUN_HYDRATION_RUNS && lun_hydration_prepare(b)) {
		free(b);
		return NULL;
	}
	return b;
}

static int by_serial(const void *a, const void *b)
{
	const struct lun_box *const *left = a, *const *right = b;

	return ((*left)->serial > (*right)->serial) - ((*left)->serial < (*right)->serial);
}

unsigned lun_taken(const struct array *a)
{
	return a->luns->count + a->luns->reserved_count + a->luns->recycled_count;
}

/* Orders them by creation: the catalogue has them in the order of their ids. */
int lun_order_all(struct array *a)
{
	struct lun_box **all = calloc(a->luns->count + 1, sizeof(struct lun_box *));
	struct list_node *n;
	uint32_t count = 0;

	if (!all)
		return -ENOMEM;
	while ((n = list_pop(&a->luns->all)))
		all[count++] = container_of(n, struct lun_box, link);
	qsort(all, count, sizeof(struct lun_box *), by_serial);
	for (uint32_t i = 0; i < count; i++)
		list_push_back(&a->luns->all, &all[i]->link);
	free(all);
	return 0;
}

/* Keeps the order by creation. A new LUN is the last; commits and undeletes may link one that is older. */
static void lun_sort_in(struct array *a, struct lun_box *b)
{
	struct list_node *at = a->luns->all.head.prev;

	while (!a->luns->loading && at != &a->luns->all.head &&
		container_of(at, struct lun_box, link)->serial > b->serial)
		at = at->prev;
	list_insert_after(at, &b->link);
}

void lun_link(struct lun_box *b)
{
	struct array *a = b->lun.array;

	lun_sort_in(a, b);
	array_index_add(&a->luns->by_id, &b->by_id, array_hash_id(b->lun.id));
	array_index_add(&a->luns->by_name, &b->by_name, array_hash_text(b->lun.name));
	array_ident_add(a, &b->ident, b->lun.id);
	a->luns->count++;
	if (b->serial >= a->luns->serial)
		a->luns->serial = b->serial + 1;
	lun_label_due(&b->lun);
}

void lun_unlink(struct lun_box *b)
{
	struct array *a = b->lun.array;

	list_remove(&b->link);
	list_remove(&b->link_resized);
	list_remove(&b->label_link);
	array_index_remove(&a->luns->by_id, &b->by_id);
	array_index_remove(&a->luns->by_name, &b->by_name);
	array_ident_remove(a, &b->ident);
	a->luns->count--;
	b->lun.gone = true;
	b->lun.disk = NULL;
	lun_release(&b->lun);
}

void lun_damaged(struct array *a, uint64_t disk_id, uint64_t disk_offset, const char *where)
{
	const struct lun *found = NULL;

	list_for_each (n, &a->luns->all) {
		const struct lun *lun = &container_of(n, struct lun_box, link)->lun;

		if (lun->disk && disk_id && lun->disk->store->ops->disk_id(lun->disk) == disk_id)
			found = lun;
	}
	if (found)
		array_event_tell(a, ARRAY_EVENT_ERROR, "pool",
			"LUN %s: the block at LBA %llu is damaged (%s): what is read there is not what was written. Look at that disk; "
			"write the block again from a backup",
			found->name, (unsigned long long)(disk_offset / STORE_BLOCK_BYTES), where);
	else
		array_event_tell(a, ARRAY_EVENT_ERROR, "pool",
			"a block is damaged (%s): what is read there is not what was written. Look at that disk",
			where);
}

void lun_record_of(const struct lun *lun, struct lun_record *out)
{
	memset(out, 0, sizeof(*out));
	memcpy(out->id, lun->id, UP_ID_BYTES);
	memcpy(out->origin_id, lun->origin_id, UP_ID_BYTES);
	memcpy(out->set_id, lun->set_id, UP_ID_BYTES);
	memcpy(out->name, lun->name, sizeof(out->name));
	out->kind = lun->kind;
	out->serial = lun_box_of(lun)->serial;
	out->size_bytes = lun->size_bytes;
	out->created_unix_ms = lun->created_unix_ms;
	out->disk_id = lun->disk->store->ops->disk_id(lun->disk);
	out->notified = lun->notified;
	out->hydration = lun->hydration;
}

bool lun_unkept(const struct lun *lun)
{
	return lun_box_of(lun)->copy_unkept;
}

struct lun *lun_find(struct array *a, const uint8_t id[UP_ID_BYTES])
{
	struct array_index_node *n = array_index_first(&a->luns->by_id, array_hash_id(id));

	for (; n; n = array_index_again(n)) {
		struct lun_box *b = container_of(n, struct lun_box, by_id);

		if (memcmp(b->lun.id, id, UP_ID_BYTES) == 0)
			return &b->lun;
	}
	return NULL;
}

struct lun *lun_find_name(struct array *a, const char *name)
{
	struct array_index_node *n = array_index_first(&a->luns->by_name, array_hash_text(name));

	for (; n; n = array_index_again(n)) {
		struct lun_box *b = container_of(n, struct lun_box, by_name);

		if (strcmp(b->lun.name, name) == 0)
			return &b->lun;
	}
	return NULL;
}

struct lun *lun_next(struct array *a, const struct lun *after)
{
	struct list_node *n = after ? lun_box_of(after)->link.next : a->luns->all.head.next;

	return n && n != &a->luns->all.head ? &container_of(n, struct lun_box, link)->lun : NULL;
}

/* ---- create ---- */

struct lun_create {
	struct change c;
	struct lun_record record;
	struct lun_box *box;
	struct store_disk *disk;
};

int lun_name_check(const char *name, struct fault *fault)
{
	if (!array_name_allowed(name, fault))
		return -EINVAL;
	if (strncmp(name, ARRAY_SHADOW_PREFIX, strlen(ARRAY_SHADOW_PREFIX)) == 0)
		return fault_set(fault, -EINVAL,
			"names that begin with %s are the array's own; choose another", ARRAY_SHADOW_PREFIX);
	return 0;
}

int lun_size_check(uint64_t size_bytes, struct fault *fault)
{
	if (size_bytes < ARRAY_LUN_MIN_BYTES || size_bytes > ARRAY_LUN_MAX_BYTES ||
		size_bytes % STORE_BLOCK_BYTES)
		return fault_set(fault, -EINVAL,
			"a LUN has from 1 MiB to 256 TiB, in blocks of %d bytes: choose such a size",
			STORE_BLOCK_BYTES);
	return 0;
}

static int lun_name_free(struct array *a, const char *name, struct fault *fault)
{
	int err = lun_name_check(name, fault);

	if (err)
		return err;
	if (lun_find_name(a, name))
		return fault_set(fault, -EEXIST, "there is a LUN %s already; choose another name", name);
	return 0;
}

static int size_check(const struct array *a, uint64_t size_bytes, struct fault *fault)
{
	int err = lun_size_check(size_bytes, fault);

	if (err)
		return err;
	if (size_bytes > a->options.lun_max_bytes)
		return fault_set(fault, -EINVAL,
			"a LUN has at most %llu bytes here: choose less, or raise lun_size_max",
			(unsigned long long)a->options.lun_max_bytes);
	return 0;
}

static int create_check(struct change *c)
{
	struct lun_create *op = container_of(c, struct lun_create, c);
	struct array *a = c->array;
	int err = lun_name_free(a, op->record.name, &c->fault);

	if (!err)
		err = size_check(a, op->record.size_bytes, &c->fault);
	if (!err && lun_taken(a) >= a->options.luns_max)
		err = fault_set(&c->fault, -EMLINK, "the array has its %u LUNs; delete one or raise luns_max",
			a->options.luns_max);
	return err;
}

static int create_prepare(struct change *c, struct store_txn *t)
{
	struct lun_create *op = container_of(c, struct lun_create, c);

	return c->array->options.store->ops->txn_disk_create(t, op->record.size_bytes, &op->disk);
}

static int create_build(struct change *c, struct store_txn *t)
{
	struct lun_create *op = container_of(c, struct lun_create, c);
	int err = array_id_new(c->array, op->record.id);

	if (err)
		return err;
	op->record.serial = c->array->luns->serial++;
	op->record.disk_id = c->array->options.store->ops->disk_id(op->disk);
	op->box = lun_new(c->array, &op->record, op->disk);
	return op->box ? lun_record_put(c->array, t, &op->record) : -ENOMEM;
}

static void create_end(struct change *c, int err)
{
	struct lun_create *op = container_of(c, struct lun_create, c);

	if (err)
		return;
	lun_link(op->box);
	c->call->lun = &op->box->lun;
	array_event_tell(c->array, ARRAY_EVENT_INFO, "lun", "LUN %s created, %llu MiB", op->record.name,
		(unsigned long long)(op->record.size_bytes >> 20));
	op->box = NULL;
}

static void create_clear(struct change *c)
{
	free(container_of(c, struct lun_create, c)->box);
}

void lun_create(struct array *a, const char *name, uint64_t size_bytes, struct array_call *call)
{
	static const struct change_ops ops = {.check = create_check,
		.again = create_check,
		.prepare = create_prepare,
		.build = create_build,
		.end = create_end,
		.clear = create_clear};
	struct lun_create *op;
	struct fault fault;

	if (!array_name_allowed(name, &fault)) {
		array_call_end(call, -EINVAL, &fault);
		return;
	}
	op = change_new(a, sizeof(*op), &ops, call);
	if (!op)
		return;
	snprintf(op->record.name, sizeof(op->record.name), "%s", name);
	op->record.kind = LUN_ORDINARY;
	op->record.size_bytes = size_bytes;
	op->record.created_unix_ms = array_clock_unix_ms();
	change_submit(&op->c);
}

/* ---- resize, rename ---- */

struct lun_alter {
	struct change c;
	struct lun *lun; /* held */
	uint64_t size_bytes;
	char name[ARRAY_NAME_MAX_BYTES + 1];
};

static void alter_clear(struct change *c)
{
	struct lun_alter *op = container_of(c, struct lun_alter, c);

	if (c->array)
		lun_release(op->lun);
}

static int gone_check(struct change *c, const struct lun *lun)
{
	return lun->gone ? fault_set(&c->fault, -ENODEV, "LUN %s is being deleted: nothing is left to do",
				   lun->name)
			 : 0;
}

static int resize_check(struct change *c)
{
	struct lun_alter *op = container_of(c, struct lun_alter, c);
	int err = gone_check(c, op->lun);

	if (!err)
		err = size_check(c->array, op->size_bytes, &c->fault);
	if (!err && op->size_bytes < op->lun->size_bytes)
		err = fault_set(&c->fault, -EINVAL,
			"LUN %s has %llu bytes; a LUN only grows: create a smaller one and copy",
			op->lun->name, (unsigned long long)op->lun->size_bytes);
	if (!err && op->lun->locked)
		err = lun_locked_fault(op->lun, &c->fault);
	return err ? err : op->size_bytes == op->lun->size_bytes;
}

/* It may have waited for that since the check. */
static int resize_prepare(struct change *c, struct store_txn *t)
{
	struct lun_alter *op = container_of(c, struct lun_alter, c);
	int err = resize_check(c);

	if (!err)
		err = c->array->options.store->ops->txn_disk_resize(t, op->lun->disk, op->size_bytes);
	return err < 0 ? err : 0;
}

static int resize_build(struct change *c, struct store_txn *t)
{
	struct lun_alter *op = container_of(c, struct lun_alter, c);
	struct lun_record r;

	lun_record_of(op->lun, &r);
	r.size_bytes = op->size_bytes;
	return lun_record_put(c->array, t, &r);
}

static void resize_end(struct change *c, int err)
{
	struct lun_alter *op = container_of(c, struct lun_alter, c);

	if (err)
		return;
	c->call->lun = op->lun;
	if (op->lun->size_bytes == op->size_bytes)
		return;
	op->lun->size_bytes = op->size_bytes;
	array_event_tell(c->array, ARRAY_EVENT_INFO, "lun", "LUN %s has grown to %llu MiB", op->lun->name,
		(unsigned long long)(op->size_bytes >> 20));
	c->array->news->lun_resized(op->lun);
}

void lun_resize(struct lun *lun, uint64_t size_bytes, struct array_call *call)
{
	static const struct change_ops ops = {.check = resize_check,
		.again = resize_check,
		.prepare = resize_prepare,
		.build = resize_build,
		.end = resize_end,
		.clear = alter_clear};
	struct lun_alter *op = change_new(lun->array, sizeof(*op), &ops, call);

	if (!op)
		return;
	op->lun = lun;
	lun_hold(lun);
	op->size_bytes = size_bytes;
	change_submit(&op->c);
}

static int rename_check(struct change *c)
{
	struct lun_alter *op = container_of(c, struct lun_alter, c);
	int err = gone_check(c, op->lun);

	if (!err && strcmp(op->name, op->lun->name) == 0)
		return 1;
	return err ? err : lun_name_free(c->array, op->name, &c->fault);
}

static int rename_build(struct change *c, struct store_txn *t)
{
	struct lun_alter *op = container_of(c, struct lun_alter, c);
	struct lun_record r;

	lun_record_of(op->lun, &r);
	memcpy(r.name, op->name, sizeof(r.name));
	return lun_record_put(c->array, t, &r);
}

static void rename_end(struct change *c, int err)
{
	struct lun_alter *op = container_of(c, struct lun_alter, c);
	struct lun_box *b = lun_box_of(op->lun);

	if (err)
		return;
	c->call->lun = op->lun;
	if (strcmp(op->name, op->lun->name) == 0)
		return;
	array_event_tell(
		c->array, ARRAY_EVENT_INFO, "lun", "LUN %s is now called %s", op->lun->name, op->name);
	array_index_remove(&c->array->luns->by_name, &b->by_name);
	memcpy(op->lun->name, op->name, sizeof(op->name));
	array_index_add(&c->array->luns->by_name, &b->by_name, array_hash_text(op->lun->name));
	lun_label_due(op->lun);
	lun_label_due_copies(op->lun);
}

void lun_rename(struct lun *lun, const char *name, struct array_call *call)
{
	static const struct change_ops ops = {
		.check = rename_check, .build = rename_build, .end = rename_end, .clear = alter_clear};
	struct lun_alter *op;
	struct fault fault;

	if (!array_name_allowed(name, &fault)) {
		array_call_end(call, -EINVAL, &fault);
		return;
	}
	op = change_new(lun->array, sizeof(*op), &ops, call);
	if (!op)
		return;
	op->lun = lun;
	lun_hold(lun);
	snprintf(op->name, sizeof(op->name), "%s", name);
	change_submit(&op->c);
}

/* ---- the end ---- */

int lun_locked_fault(const struct lun *lun, struct fault *fault)
{
	return fault_set(fault, -EPERM,
		"shadow LUN %s is locked with its copy set: wait until the lock ends (umbractl set show says when)",
		lun->name);
}

int lun_feeding_check(const struct lun *lun, struct fault *fault)
{
	if (lun->resyncing || lun_box_of(lun)->feeding > 0)
		return fault_set(fault, -EBUSY,
			"LUN %s is in a resync: wait for its end, or cancel it (umbractl resync list)",
			lun->name);
	if (lun_box_of(lun)->mending)
		return fault_set(fault, -EBUSY,
			"the partition table of LUN %s is still being written: try again when the cluster answers",
			lun->name);
	return 0;
}

int lun_delete_check(const struct lun *lun, struct fault *fault)
{
	if (lun->gone)
		return fault_set(
			fault, -ENODEV, "LUN %s is deleted already: nothing is left to do", lun->name);
	if (lun->locked)
		return lun_locked_fault(lun, fault);
	if (lun->mappings > 0)
		return fault_set(fault, -EBUSY, "LUN %s is mapped to %u host(s); unmap it first", lun->name,
			lun->mappings);
	if (lun_box_of(lun)->unkept > 0)
		return fault_set(fault, -EBUSY,
			"LUN %s belongs to a copy set that is not finished; keep or abort "
			"the set first",
			lun->name);
	if (lun_box_of(lun)->cutting > 0)
		return fault_set(fault, -EBUSY, "LUN %s is being copied just now; try again", lun->name);
	return lun_feeding_check(lun, fault);
}

int lun_put_end(const struct lun *lun, const struct lun_recycled *bin, struct store_txn *t)
{
	int err;

	if (bin)
		return lun_recycled_put(lun->array, t, bin);
	err = lun_record_del(lun->array, t, lun->id);
	return err ? err : lun->disk->store->ops->txn_disk_delete(t, lun->disk);
}
