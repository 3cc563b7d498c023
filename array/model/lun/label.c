/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What those see who administer what the store stands on: of each disk the LUN that it is. Whatever changes that puts the LUN on a
 * list, which is worked off in the background, as many at a time as the store takes, and not while copies are cut. At the start all
 * are on it: what an earlier life of the array did not come to is mended then. The store writes only what is not there already.
 * Nothing waits for any of it, and nothing fails with it.
 */
#include <string.h>
#include "array/model/lun/internal.h"
#include "proto/identity.h"

#define NEXT_MS     20u
#define NEXT_MAX_MS 1000u
#define CUT_MS      100u

static const struct store_ops *ops_of(const struct array *a)
{
	return a->options.store->ops;
}

static void arm(struct array *a, unsigned ms)
{
	if (a->luns->label_timer.heap_index == 0)
		reactor_timer_arm(a->options.reactor, &a->luns->label_timer, ms);
}

void lun_label_due(struct lun *lun)
{
	struct lun_box *b = lun_box_of(lun);

	if (!ops_of(lun->array)->label || list_linked(&b->label_link))
		return;
	list_push_back(&lun->array->luns->labels, &b->label_link);
	arm(lun->array, NEXT_MS);
}

void lun_label_due_recycled(struct array *a, struct lun_recycled *r)
{
	if (!ops_of(a)->label || list_linked(&r->label_link))
		return;
	list_push_back(&a->luns->labels_recycled, &r->label_link);
	arm(a, NEXT_MS);
}

void lun_label_due_image(struct lun_image *i)
{
	if (!ops_of(i->array)->label)
		return;
	list_push_back(&i->array->luns->labels_images, &i->label_link);
	arm(i->array, NEXT_MS);
}

void lun_label_due_copies(const struct lun *lun)
{
	struct array *a = lun->array;

	list_for_each (n, &a->luns->all) {
		struct lun *other = &container_of(n, struct lun_box, link)->lun;

		if (memcmp(other->origin_id, lun->id, UP_ID_BYTES) == 0)
			lun_label_due(other);
	}
	list_for_each (n, &a->luns->recycled) {
		struct lun_recycled *r = container_of(n, struct lun_recycled, link);

		if (memcmp(r->record.origin_id, lun->id, UP_ID_BYTES) == 0)
			lun_label_due_recycled(a, r);
	}
}

static bool show(struct array *a, struct store_disk *disk, const struct lun_record *r, const char *kind,
	const char *set_name)
{
	const struct lun *origin = r->kind == LUN_SHADOW ? lun_find(a, r->origin_id) : NULL;
	struct up_designator designators[UP_DESIGNATORS];
	char set_id[UP_SERIAL_BYTES + 1];

	up_id_designators(r->id, designators);
	up_id_format(r->set_id, set_id);
	if (!set_name || !set_name[0])
		set_name = set_id;
	return ops_of(a)->label(disk, &(struct store_label){.lun = r->name,
					      .naa = (const char *)designators[2].bytes,
					      .kind = kind,
					      .copy_of = origin ? origin->name : NULL,
					      .set = r->kind == LUN_SHADOW ? set_name : NULL});
}

static bool show_lun(struct lun_box *b)
{
	struct lun_record r;

	lun_record_of(&b->lun, &r);
	return show(b->lun.array, b->lun.disk, &r, b->lun.kind == LUN_SHADOW ? "copy" : "lun",
		b->lun.array->news->set_name(b->lun.array, b->lun.set_id));
}

static bool show_recycled(struct array *a, struct lun_recycled *r)
{
	return show(a, r->disk, &r->record, "recycled copy", r->record.set.name);
}

static bool show_image(struct array *a, struct lun_image *i)
{
	return ops_of(a)->label(i->disk, &(struct store_label){.kind = "passing copy", .copy_of = i->of});
}

/* The first that is due. False: the store has enough for now. */
static bool show_next(struct array *a)
{
	struct luns *l = a->luns;
	struct list_node *n;
	bool shown;

	if (!list_empty(&l->labels)) {
		n = l->labels.head.next;
		shown = show_lun(container_of(n, struct lun_box, label_link));
	} else if (!list_empty(&l->labels_recycled)) {
		n = l->labels_recycled.head.next;
		shown = show_recycled(a, container_of(n, struct lun_recycled, label_link));
	} else {
		n = l->labels_images.head.next;
		shown = show_image(a, container_of(n, struct lun_image, label_link));
	}
	if (shown)
		list_remove(n);
	return shown;
}

static bool is_due(const struct luns *l)
{
	return !list_empty(&l->labels) || !list_empty(&l->labels_recycled) || !list_empty(&l->labels_images);
}

void lun_label_fire(struct reactor_timer *t)
{
	struct luns *l = container_of(t, struct luns, label_timer);

	if (l->stopping)
		return;
	if (l->array->turn_count) {
		arm(l->array, CUT_MS);
		return;
	}
	l->label_ms = l->label_ms < NEXT_MAX_MS / 2 ? 2 * l->label_ms : NEXT_MAX_MS;
	while (is_due(l)) {
		if (!show_next(l->array)) {
			arm(l->array, l->label_ms);
			return;
		}
		l->label_ms = NEXT_MS;
	}
}

void lun_label_close(struct array *a)
{
	reactor_timer_disarm(a->options.reactor, &a->luns->label_timer);
}
